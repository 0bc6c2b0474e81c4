"""The gate of a toy system: the whole against its bounds, its ablation by a margin, its shortcuts near chance."""

import json

import pytest

from course.proving import records
from course.proving.gate import run_gate
from reference_impl.experiments import Ablation, Leak

SYSTEM = """

from dataclasses import dataclass

from torch import nn

from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate, resolve_device


@dataclass(frozen=True)
class Config:
    gain: float = 4.0


class Model(nn.Module):
    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.gain = nn.Parameter(torch.tensor(config.gain))


def train(config=Config(), *, device="auto", seed=0, progress=True, precision="float32", compile=False) -> Model:
    return Model(config).to(resolve_device(device))


def evaluate(model, *, seed=0):
    return {"error": 1 / model.gain.item() + seed / 100, "constant": 0.5}


GATES = (Gate("error", at_most=0.4, below="constant", baseline="constant"),)
ABLATIONS = {"no gain": Ablation(Config(gain=1.0), "error", lower_by=0.5)}
LEAKS = {"the answer alone": Leak(lambda seed, device: 0.1 + seed / 100, chance=0.1, at_most=0.15)}
"""


@pytest.fixture
def system(unit):
    unit.module.write_text(unit.module.read_text(encoding="utf-8") + SYSTEM, encoding="utf-8")
    return unit


def rewrite(unit, old, new):
    text = unit.module.read_text(encoding="utf-8")
    assert text.count(old) == 1
    unit.module.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_whole_its_ablations_and_its_leaks_are_measured_on_every_seed(system, jobs):
    told = []
    proof = run_gate(system, 3, jobs=jobs, progress=lambda done, total: told.append((done, total)))
    assert [(o.seed, o.value, o.holds) for o in proof.outcomes] == [(s, pytest.approx(0.25 + s / 100), True) for s in range(3)]
    assert [(c.seed, c.whole, c.without) for c in proof.contrasts] == [
        (s, pytest.approx(0.25 + s / 100), pytest.approx(1 + s / 100)) for s in range(3)
    ]
    assert [(s.seed, s.value, s.chance) for s in proof.shortcuts] == [(s, pytest.approx(0.1 + s / 100), 0.1) for s in range(3)]
    assert proof.holds
    assert told == [(n, 9) for n in range(1, 10)]
    assert proof.weights == b""


def test_the_first_seed_is_kept_if_asked_for(system):
    assert len(run_gate(system, 1, keep=True).weights) > 50


def test_the_whole_alone_is_measured_if_that_is_asked(system):
    proof = run_gate(system, 1, ablations=False)
    assert len(proof.outcomes) == 1 and not proof.contrasts and not proof.shortcuts


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gain=1.0", "gain=2.0"),  # the idea does not win by its margin
        ("lower_by=0.5", "higher_by=0.5"),  # it wins in the wrong direction
        ("at_most=0.15", "at_most=0.105"),  # a shortcut on the second seed
        ("at_most=0.4", "at_most=0.255"),
        ('"error": 1 /', '"error": float("nan") *'),
    ],
)
def test_what_does_not_hold_fails_the_gate(system, old, new, aigc):
    rewrite(system, old, new)
    status, out, _ = aigc("gate", "sums", "--device", "cpu")
    assert status == 1 and "fails" in out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Config(gain=1.0)", "Config()", "the ablation 'no gain' takes nothing away: its config is the default"),
        ("Config(gain=1.0)", "None", "the config of the ablation 'no gain' is no Config"),
        (
            '"error", lower_by',
            '"eror", lower_by',
            "a bound is on 'eror', which evaluate() does not return; it has: error, constant",
        ),
        ('below="constant"', 'below="nothing"', "a bound is on 'nothing'"),
        ("ABLATIONS = {", "ABLATIONS = 3 or {", "ABLATIONS must map names to Ablation(…) of reference_impl.experiments"),
        ("LEAKS = {", "LEAKS = [] or [3] or {", "LEAKS must map names to Leak(…) of reference_impl.experiments"),
        ("return Model(config)", 'raise ValueError("no such thing")', "no such thing"),
        ("return Model(config)", "raise KeyError(3)", "sums.py: a training of its gate crashed: "),
    ],
)
def test_a_table_that_is_wrong_is_named(system, old, new, message, aigc):
    rewrite(system, old, new)
    status, _, err = aigc("gate", "sums", "--device", "cpu")
    assert status == 2 and message in err


def test_a_gate_is_written_and_shown_with_its_ablations(system, toy, aigc):
    status, _, err = aigc("gate", "sums", "--device", "cpu", "--write")
    assert status == 0, err
    found = records.read_record(system)["gate"]
    assert found["ablations"]["no gain"]["bound"] == "lower by ≥ 0.5"
    assert found["ablations"]["no gain"]["without"] == pytest.approx([1.0, 1.01, 1.02])
    assert found["leaks"]["the answer alone"]["values"] == pytest.approx([0.1, 0.11, 0.12])
    assert records.standing(system, "gate").stands
    page = (toy / "benchmarks/gates.md").read_text(encoding="utf-8")
    assert "| toy/sums | no gain | `error` | lower by ≥ 0.5 | 0.25, 0.26, 0.27 | 1, 1.01, 1.02 |" in page
    assert "| toy/sums | the answer alone | ≤ 0.15 | 0.1, 0.11, 0.12 | 0.1 |" in page


def test_programs_get_a_row_for_each_gate_ablation_and_leak(system, aigc):
    status, out, _ = aigc("gate", "sums", "--device", "cpu", "--json", "--seeds", "2")
    rows = json.loads(out)
    assert status == 0 and [row["kind"] for row in rows] == ["gate"] * 2 + ["ablation"] * 2 + ["leak"] * 2


@pytest.mark.parametrize("option", [("--whole-only",), ("--seeds", "2"), ("--precision", "bfloat16")])
def test_half_a_gate_is_not_kept(system, aigc, option):
    status, _, err = aigc("gate", "sums", "--write", *option)
    assert status == 2 and "--write keeps a whole gate" in err
    assert records.read_record(system) == {}


@pytest.mark.parametrize(
    "margins", [{}, {"lower_by": 1.0, "higher_by": 1.0}, {"lower_by": 0.0}, {"higher_by": -1.0}, {"lower_by": float("nan")}]
)
def test_an_ablation_has_one_positive_margin(margins):
    with pytest.raises(ValueError, match="one positive margin"):
        Ablation(None, "error", **margins)


def test_margins_and_bounds_at_their_edge():
    lower, higher = Ablation(None, "error", lower_by=0.5), Ablation(None, "score", higher_by=0.5)
    assert lower.holds(1.0, 1.5) and not lower.holds(1.0, 1.25) and not lower.holds(1.5, 1.0)
    assert higher.holds(1.5, 1.0) and not higher.holds(1.25, 1.0) and not higher.holds(1.0, 1.5)
    nan = float("nan")
    assert not lower.holds(nan, 9.0) and not higher.holds(9.0, nan)
    leak = Leak(lambda seed, device: 0.0, 0.1, 0.25)
    assert leak.holds(0.25) and not leak.holds(0.26) and not leak.holds(nan)


def test_bad_device_is_one_line(system, aigc):
    status, _, err = aigc("gate", "sums", "--device", "tpu")
    assert status == 2 and "no device is called 'tpu'" in err
