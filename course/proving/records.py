"""What audits, gates and benchmarks of generators found, kept per unit in `benchmarks/records/`.

A record is made by `aigc audit UNIT --write`, `aigc gate UNIT --write` or `python -m benchmarks.generators UNIT --write`.
"""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.errors import at
from course.paths import write_atomic
from course.units.catalogue import Unit
from course.units.source import fingerprint, import_closure

if TYPE_CHECKING:  # an audit takes its bar from here, and both import torch, which the tables do not need
    from course.proving.audit import Acceptance, UnitAudit
    from course.proving.gate import Outcome


def record_path(unit: Unit) -> Path:
    """Where the record of a unit lies."""
    return unit.root / "benchmarks" / "records" / f"{unit.id}.json"


def read_record(unit: Unit) -> dict[str, Any]:
    """The record of a unit: under `audit` and `gate` what was last found; empty if nothing was recorded."""
    path = record_path(unit)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise at(path, "is not JSON; delete it, and record the unit again", unit.root) from None
    return record


def sources(unit: Unit, kind: str) -> str:
    """Fingerprint of what a record comes from; a gate has nothing to do with the tests."""
    return fingerprint([*import_closure(unit.module, unit.root), *([unit.tests] if kind == "audit" else [])], unit.root)


def _write(unit: Unit, kind: str, found: dict[str, Any]) -> None:
    import torch

    made_with = {
        "sources": sources(unit, kind),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.system(),
    }
    record = read_record(unit) | {kind: made_with | found}
    write_atomic(record_path(unit), json.dumps(record, indent=1, sort_keys=True) + "\n")


def record_audit(made: "UnitAudit", accepted: Sequence["Acceptance"], seeds: int) -> None:
    """Keep an audit of all mutants, and what it found of right variants and fakes (none: only mutants were made)."""
    found: dict[str, Any] = {
        "seed": made.seed,
        "processor_seconds": round(made.processor_seconds),
        "marks": round(made.marks, 4),
        "stubs": made.rows(),
    }
    if accepted:
        right, fakes = [row for row in accepted if row.kind != "fake"], [row for row in accepted if row.kind == "fake"]
        found |= {
            "seeds": seeds,
            "variants": sum(row.kind == "variant" for row in right),
            "wrongly_rejected": sum(bool(row.wrong) for row in right),
            "fakes": len(fakes),
            "wrongly_accepted": sum(bool(row.wrong) for row in fakes),
        }
    _write(made.unit, "audit", found)


def record_gate(unit: Unit, outcomes: Sequence["Outcome"], device: str) -> None:
    """Keep the outcomes of a gate on some seeds."""
    seeds = {outcome.seed: outcome for outcome in outcomes}
    found = {
        "device": device,
        "seconds": [round(outcome.seconds, 1) for outcome in seeds.values()],
        "gates": [
            {
                "metric": gate.metric,
                "bound": gate.bound,
                "values": [o.value for o in outcomes if (o.metric, o.bound) == (gate.metric, gate.bound)],
                "baseline": gate.baseline,
                "ceiling": gate.ceiling,
            }
            for gate in outcomes
            if gate.seed == next(iter(seeds))
        ],
        "figures": {key: [outcome.figures[key] for outcome in seeds.values()] for key in outcomes[0].figures},
    }
    _write(unit, "gate", found)


@dataclass(frozen=True)
class Trained:
    """A system after a budget of training: seconds of processor time that it took, steps, its gates' figures, and which hold."""

    budget: float
    seconds: float
    steps: int
    values: dict[str, float]
    holds: dict[str, bool]


def record_budgets(unit: Unit, bounds: dict[str, str], trained: Sequence[Trained], latency: float) -> None:
    """Keep what several budgets of training came to. bounds: the gates; latency: seconds to convert one item, warm."""
    _write(unit, "budgets", {"bounds": bounds, "trained": [asdict(one) for one in trained], "latency": round(latency, 4)})


def record_throughput(unit: Unit, device: str, cpu: float, rates: dict[str, float]) -> None:
    """Keep how many items a second are converted in batches, on the CPU and, as said by the keys of `rates`, on `device`."""
    _write(unit, "throughput", {"device": device, "cpu": cpu, "rates": rates})
