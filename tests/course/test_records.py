"""Records of audits and gates, and the tables made from them."""

import json
import sys

import pytest

from course.authoring import measurements
from course.authoring.build import check, generated_texts
from course.errors import CourseError
from course.proving import records
from course.proving.audit import Acceptance, StubAudit, UnitAudit
from course.proving.gate import Outcome, Proof
from course.proving.mutate import mutants


def audited(unit, killed=("killed", "killed", "survived")):
    from course.proving.audit import Result

    made = list(mutants(unit.module.read_text(), "total"))[: len(killed)]
    results = tuple(Result(mutant, status, 7, marked=status == "marked") for mutant, status in zip(made, killed, strict=True))
    return UnitAudit(unit, unit.module.read_text(), 7, (StubAudit("total", results),), (), 0.01, 3.0, 5.0)


def outcomes(unit):
    for seed in (0, 1):
        for metric, ceiling in (("accuracy", 0.99), ("error", None)):
            yield Outcome(
                unit=unit.id, seed=seed, metric=metric, value=0.9 + seed / 100, bound="≥ 0.8", baseline=0.1, ceiling=ceiling,
                holds=True, figures={"accuracy": 0.9 + seed / 100, "other": float(seed)}, seconds=20.0 + seed,
            )  # fmt: skip


def test_nothing_is_shown_of_what_was_never_recorded(unit, toy):
    assert records.read_record(unit) == {}
    assert measurements.pages(toy, [unit]) == {}


def test_an_audit_is_kept_and_shown(unit, toy):
    accepted = [
        Acceptance(unit, "reference", "total", "", 200, ()),
        Acceptance(unit, "variant", "total", "matmul", 200, ("seed 3: …",)),
        Acceptance(unit, "fake", "total", "zeros", 20, ()),
    ]
    records.record_audit(audited(unit, ("killed", "survived", "marked")), accepted, 200)
    measurements.write_pages(toy)
    text = (toy / "benchmarks" / "audit.md").read_text()
    assert "| toy/sums | 3 | 1 (1.0%) | 1 | **50.0%** | 1 | 1 | 200 | 1 | 0 |" in text
    assert "| `total` | 3 | 1 | 1 | 50.0% |" in text
    assert "†: " in text and "sums †" not in text
    assert not (toy / "benchmarks" / "gates.md").exists()


def test_a_gate_is_kept_beside_the_audit(unit, toy):
    records.record_audit(audited(unit), [], 200)
    records.record_gate(Proof(unit, tuple(outcomes(unit))), "cpu")
    assert records.read_record(unit).keys() == {"audit", "gate"}
    text = measurements.pages(toy, [unit])[toy / "benchmarks" / "gates.md"]
    assert "| toy/sums | `accuracy` | ≥ 0.8 | 0.9, 0.91 | 0.1 | 0.99 | 20, 21 |" in text
    assert "|  | `error` | ≥ 0.8 | 0.9, 0.91 | 0.1 | — |  |" in text, "the unit is named once"
    assert "| `other` | 0, 1 |" in text
    assert "| toy/sums | 3 | 0 (1.0%) | 2 | **66.7%** | — | — | — | — | — |" in measurements.audit_page([unit])


def test_budgets_and_throughput_are_kept_and_shown(unit, toy):
    bounds = {"accuracy": "≥ 0.8", "error": "≤ 0.1"}
    trained = [
        records.Trained(30.0, 31.2, 100, {"accuracy": 0.75, "error": 0.05}, {"accuracy": False, "error": True}),
        records.Trained(60.0, 58.8, 200, {"accuracy": 0.91, "error": 0.04}, {"accuracy": True, "error": True}),
    ]
    records.record_budgets(unit, bounds, trained, 0.0123)
    text = measurements.pages(toy, [unit])[toy / "benchmarks" / "generators.md"]
    assert "| unit | figure | gate | 30 CPU s | 60 CPU s | to the gate | one item |" in text
    assert "| toy/sums | `accuracy` | ≥ 0.8 | 0.75 ✗ | 0.91 | ≤ 59 | 12 ms |" in text
    assert "|  | `error` | ≤ 0.1 | 0.05 | 0.04 |  |  |" in text, "the unit is named once"
    assert "in a second" not in text
    records.record_throughput(unit, "cuda", 50.0, {"as it is": 1000.0, "bfloat16": 1500.0})
    assert "| toy/sums | 50 | cuda | 1000 (20.0×) | 1500 (30.0×) |" in measurements.generators_page([unit])


def test_a_system_that_misses_its_gate_in_every_budget_is_shown_so(unit):
    missed = records.Trained(30.0, 31.2, 100, {"accuracy": 0.75}, {"accuracy": False})
    records.record_budgets(unit, {"accuracy": "≥ 0.8"}, [missed], 0.5)
    assert "| 0.75 ✗ | — | 500 ms |" in measurements.generators_page([unit])


def test_what_has_changed_since_is_marked(unit):
    records.record_audit(audited(unit), [], 200)
    records.record_gate(Proof(unit, tuple(outcomes(unit))), "cuda")
    unit.tests.write_text(unit.tests.read_text() + "# a comment\n")
    assert "| toy/sums |" in measurements.audit_page([unit]), "what is said of the code changes nothing"
    unit.tests.write_text(unit.tests.read_text() + "MORE = 1\n")
    assert "| toy/sums † |" in measurements.audit_page([unit])
    assert "| toy/sums |" in measurements.gate_page([unit]), "a gate has nothing to do with the tests"
    unit.module.write_text(unit.module.read_text() + "MORE = 1\n")
    assert "| toy/sums † |" in measurements.gate_page([unit])
    assert "20, 21 (cuda) |" in measurements.gate_page([unit])


def test_a_build_keeps_the_tables_in_step(built, unit, toy):
    records.record_audit(audited(unit), [], 200)
    assert toy / "benchmarks" / "audit.md" in generated_texts(toy, [unit])
    assert [line for line in check(toy) if "audit.md" in line] == [
        "benchmarks/audit.md: differs from its sources; run `aigc build`"
    ]
    measurements.write_pages(toy)
    assert not [line for line in check(toy) if "audit.md" in line]


def test_a_broken_record_is_said(unit):
    path = records.record_path(unit)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(CourseError, match=r"benchmarks/records/toy/sums\.json: is not JSON; delete it"):
        measurements.audit_page([unit])


def test_a_build_has_no_need_of_torch(unit, toy):
    import subprocess

    records.record_audit(audited(unit), [], 200)
    script = f"import sys, pathlib; from course.authoring import measurements; measurements.write_pages(pathlib.Path({str(toy)!r})); print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
    assert json.loads(records.record_path(unit).read_text())["audit"]["seed"] == 7
