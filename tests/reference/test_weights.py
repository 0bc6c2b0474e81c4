"""Weights are read back as they were kept, and what cannot be used is refused with what to do."""

import json
from dataclasses import dataclass

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load as tensors
from safetensors.torch import save
from torch import nn

from course.checking.load import reference_module
from course.units.catalogue import exercises
from reference_impl import weights
from reference_impl.image import gan, vae


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGC_HOME", str(tmp_path))


def kept(module, model, unit, path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(weights.to_bytes(unit, model, module.Config(), seed))
    return path


def test_a_model_comes_back_in_half_precision(tmp_path):
    model = gan.Generator(gan.Config())
    model.train()(torch.randn(8, 32), torch.arange(8))  # so that the running statistics are not those of a new model
    path = kept(gan, model, "image/gan", weights.own("image/gan"), seed=3)
    assert weights.find("image/gan") == path, "what was trained here goes before what came with the course"
    back = weights.load("image/gan", device="cpu")
    assert not back.training
    for (name, before), after in zip(model.state_dict().items(), back.state_dict().values(), strict=True):
        assert after.dtype == before.dtype, name
        assert torch.equal(after, before.half().to(before.dtype)), name
    made = weights.about(path)
    assert (made["unit"], made["command"], made["seed"]) == ("image/gan", "aigc train image/gan --seed 3", "3")
    assert path.stat().st_size < 2.2 * sum(v.numel() for v in model.state_dict().values()) + 10_000


def test_numbers_too_large_for_half_precision_keep_their_own():
    module = nn.Linear(2, 1)
    module.weight.data[:] = torch.tensor([[1e6, 1.0]])
    module.register_buffer("steps", torch.tensor(2**40))

    @dataclass(frozen=True)
    class Config:
        width: int = 2

    state = tensors(weights.to_bytes("a/b", module, Config(), 0))
    assert state["weight"].dtype == torch.float32 and state["bias"].dtype == torch.float16
    assert state["weight"][0, 0] == 1e6 and state["steps"] == 2**40


def test_tied_weights_are_kept():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

    state = tensors(weights.to_bytes("a/b", Tied(), vae.Config(), 0))
    assert torch.equal(state["a.weight"], state["b.weight"])


def rewritten(path, **changes):
    with safe_open(path, "pt") as file:
        made = file.metadata() | changes
    path.write_bytes(save(tensors(path.read_bytes()), {key: value for key, value in made.items() if value is not None}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no file"),
        (lambda path: path.write_bytes(b""), "is damaged or no file of weights"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged or no file of weights"),
        (lambda path: path.write_bytes(b"x" * 1000), "is damaged or no file of weights"),
        (lambda path: rewritten(path, unit="image/gan"), "holds the weights of image/gan, not of image/vae"),
        (lambda path: rewritten(path, unit=None), "holds the weights of no unit"),
        (lambda path: rewritten(path, format="2"), "was made for another version of image/vae"),
        (lambda path: rewritten(path, config=json.dumps({"latent": 3})), "was made for another version of image/vae"),
        (lambda path: path.write_bytes(save({"w": torch.zeros(1)}, weights.about(path))), "was made for another version"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, damage, message):
    path = kept(vae, vae.VAE(vae.Config()), "image/vae", tmp_path / "vae.safetensors")
    damage(path)
    with pytest.raises(weights.WeightsError) as caught:
        weights.load("image/vae", path=path, device="cpu")
    assert message in str(caught.value)


def test_none_at_all(monkeypatch):
    monkeypatch.setattr(weights, "find", lambda unit: None)
    with pytest.raises(
        weights.WeightsError, match="there are no weights of image/vae yet; make them with `aigc train image/vae`"
    ):
        weights.load("image/vae")


@pytest.mark.parametrize("unit", [unit.id for unit in exercises() if hasattr(reference_module(unit), "train")])
def test_every_unit_comes_with_weights_that_fit(unit):
    """Whether they are any good is for `aigc train --verify` to say."""
    path = weights.shipped(unit)
    assert path.is_file(), f"make them: aigc train {unit} --ship"
    assert path.stat().st_size <= weights.LARGEST
    made = weights.about(path)
    assert made["command"] == f"aigc train {unit} --seed {made['seed']}"
    model = weights.load(unit, path=path, device="cpu")
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
