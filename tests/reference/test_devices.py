"""Every system runs on another device than the CPU. With a GPU: the unit's own tests, and a step of training, on it.

Without one, torch's `meta` device stands in: it computes nothing, but it is a device of its own and refuses to be mixed
with the CPU, which is how code that makes a tensor on the wrong device fails.
"""

import dataclasses
import inspect
import sys

import pytest
import torch
from torch.fx.experimental import _config as meta_settings

from course.checking.load import reference_impl, reference_module
from course.checking.runner import load_suite, run
from course.units.catalogue import exercises

pytestmark = pytest.mark.proven_by("devices")
UNITS = [unit for unit in exercises() if hasattr(reference_module(unit), "train")]
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def brief(module, steps=2):
    """Settings under which every part of a system is trained for a few steps."""
    config = module.Config()
    parts = {"steps", "encoder_steps"} & {field.name for field in dataclasses.fields(config)}
    return dataclasses.replace(config, **dict.fromkeys(parts, steps))


@pytest.mark.parametrize("steps", [2, 5, 10])  # a schedule whose first phase is one step long must not divide by zero
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_training_makes_no_tensor_on_the_wrong_device(unit, steps, monkeypatch):
    module = reference_module(unit)
    for name, loaded in list(sys.modules.items()):  # a cascade trains the system of another module, too
        if name.startswith("reference_impl.") and hasattr(loaded, "resolve_device"):
            monkeypatch.setattr(loaded, "resolve_device", lambda device: torch.device("meta"))
    # How many places a mask picks out depends on numbers, and there are none: take it to be all.
    with meta_settings.patch(meta_nonzero_assume_all_nonzero=True):
        model = module.train(brief(module, steps), device="meta", progress=False)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


def test_the_meta_device_does_catch_a_tensor_on_the_wrong_device():
    """The test above can fail: a model that is handed noise made on the CPU refuses it."""
    with pytest.raises(RuntimeError, match="device"):
        torch.nn.Linear(3, 3, device="meta")(torch.randn(2, 3))


@gpu
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_the_tests_pass_on_the_gpu(unit):
    """Parity: on CUDA the reference meets the same independent truths, within the same tolerances."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for verdict in run(load_suite(unit), reference_impl(unit, device="cuda"), seed=0):
        assert verdict.status == "passed", f"{verdict.case.id}: {verdict.message}"


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=gpu)])
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_brief_training_gives_finite_weights(unit, device, precision):
    module = reference_module(unit)
    model = module.train(brief(module, 3), device=device, progress=False, precision=precision)
    for name, value in model.state_dict().items():
        assert value.isfinite().all(), f"{name} is not finite after three steps of {precision}"
        assert value.dtype in (torch.float32, torch.int64, torch.bool), f"{name}: autocast must leave the weights in float32"
    assert not model.training, "train() returns a model in evaluation mode"


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_same_seed_trains_the_same_model(unit):
    module = reference_module(unit)
    first, second, other = (module.train(brief(module), device="cpu", seed=seed, progress=False) for seed in (5, 5, 6))
    a, b, c = (torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (first, second, other))
    torch.testing.assert_close(a, b)
    assert not torch.allclose(a, c), "another seed must give another model"


@gpu
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_compile_is_an_option_that_works(unit):
    module = reference_module(unit)
    model = module.train(brief(module, 3), device="cuda", progress=False, compile=True)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_train_takes_what_the_command_line_gives(unit):
    parameters = inspect.signature(reference_module(unit).train).parameters
    assert {"device", "seed", "progress", "precision", "compile"} <= parameters.keys()
