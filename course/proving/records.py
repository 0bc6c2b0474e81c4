"""What was proven of a unit, kept in `benchmarks/records/` with the hashes of all that it depends on, and whether that still stands.

Made by `aigc prove` and its parts (`aigc audit UNIT --write`, `aigc gate UNIT --write`, `aigc build`), and by `python -m
benchmarks.generators UNIT --write` and `python -m benchmarks.peers --write`. A record is believed while every file that it names has the hash that it names. What a unit is
made of is told from the tools it was proven with: a unit that has changed has to be proven again by whoever changed it; with other
tools, nothing is believed either, and `make test` asks again what it can afford, but the unit is not at fault.
"""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.errors import at
from course.paths import write_atomic
from course.units import dependencies
from course.units.catalogue import Unit
from course.units.dependencies import WHOLE, fingerprints, reached

if TYPE_CHECKING:  # both import torch, which the tables do not need
    from course.proving.audit import Acceptance, UnitAudit
    from course.proving.gate import Proof

VERSION = 2  # of the format of a record
# The definitions of a module that a proof asks, where that is not all of them.
ASKED = {
    "gate": ("Config", "train", "evaluate", "GATES", "ABLATIONS", "LEAKS"),  # what trains nothing has no "train"
    "devices": ("Config", "train"),
    "budgets": ("Config", "train", "evaluate", "GATES", "convert"),
    "throughput": ("Config", "convert"),
    "peers": ("Config", "train", "evaluate", "generate", "convert"),
}
KINDS = ("audit", "gate", "solution", "devices")  # what is demanded of a unit
COMMANDS = {
    "audit": "aigc audit {} --write",
    "gate": "aigc gate {} --write",
    "solution": "aigc build",
    "devices": "aigc prove {} --only devices",
    "budgets": "python -m benchmarks.generators {} --write",
    "throughput": "python -m benchmarks.generators {} --write",
    "peers": "python -m benchmarks.peers --only {} --write",
}
AUDITED_WITH = (
    "testing", "wire", "checking.impl", "checking.load", "checking.runner", "proving.audit", "proving.bars", "proving.forks",
    "proving.mutate",
)  # fmt: skip
HOUSE = Path(dependencies.__file__).parents[2]  # where the tools lie, wherever the course does


def record_path(unit: Unit) -> Path:
    """Where the record of a unit lies."""
    return unit.root / "benchmarks" / "records" / f"{unit.id}.json"


def read_record(unit: Unit) -> dict[str, Any]:
    """The record of a unit: by kind of proof what was last found; empty if nothing was recorded."""
    path = record_path(unit)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise at(path, f"is not JSON; delete it, and run `aigc prove {unit.id}`", unit.root) from None
    if not isinstance(record, dict) or not all(isinstance(found, dict) for found in record.values()):
        raise at(path, f"is no record; delete it, and run `aigc prove {unit.id}`", unit.root)
    return record


def device_tests(root: Path) -> Path:
    """The tests that every system passes on every device."""
    return root / "tests" / "reference" / "test_devices.py"


def sources(unit: Unit, kind: str) -> dict[str, str]:
    """The hash of everything that a proof depends on, by path. Those below `course/` are tools, all others what the unit is made of."""
    roots: dict[Path, Sequence[str]] = {unit.module: (WHOLE,)}
    trains = True
    if kind in ASKED:
        known = dependencies.names(unit.module, unit.root)
        trains = "train" in known
        roots = {unit.module: tuple(name for name in ASKED[kind] if name in known) or (WHOLE,)}
    if kind in ("audit", "solution"):
        roots[unit.tests] = (WHOLE,)
    besides: list[Path] = []
    if kind == "solution" and unit.track == "convert":  # shown at the top of its notebook
        besides.append(unit.root / "reference_impl" / "weights" / f"{unit.id}.safetensors")
    if kind == "devices":
        besides.append(device_tests(unit.root))
    own = fingerprints(reached(roots, unit.root), unit.root)
    return own | dependencies.files(filter(Path.is_file, besides), unit.root) | tools(kind, trains=trains)


@lru_cache(maxsize=8)
def tools(kind: str, *, trains: bool = True) -> dict[str, str]:
    """The hash of the tools that a proof of this kind is made with, by path. For the life of a process: they are loaded by now.
    trains: whether the unit's gate trains something."""
    if kind == "gate":  # what trains and evaluates; whether figures hold is asked of them anew wherever a record is read
        asked = ("measure",) if trains else ("compute",)
        return fingerprints(reached({HOUSE / "course" / "proving" / "gate.py": asked}, HOUSE, "course"), HOUSE, "course")
    if kind != "audit":  # what executes a solution is not watched: every run of the tests executes two of them anew
        return {}
    roots: dict[Path, Sequence[str]] = {
        HOUSE.joinpath("course", *name.split(".")).with_suffix(".py"): (WHOLE,) for name in AUDITED_WITH
    }
    return fingerprints(reached(roots, HOUSE, "course"), HOUSE, "course")


@dataclass(frozen=True)
class Standing:
    """Whether a record of a unit is believed.

    state: `stands`; `missing`; `changed` (what the unit is made of, in `files`); `tools` (only what it was proven with, in
    `files`); `version` (the record has another format).
    """

    unit: Unit
    kind: str
    state: str
    files: tuple[str, ...] = ()

    @property
    def stands(self) -> bool:
        return self.state == "stands"

    @property
    def command(self) -> str:
        """What makes the proof anew."""
        return COMMANDS[self.kind].format(self.unit.id)

    @property
    def reason(self) -> str:
        """Why the record is not believed; empty if it is."""
        named = ", ".join(self.files[:3]) + (f" and {len(self.files) - 3} more" if len(self.files) > 3 else "")
        return {
            "stands": "",
            "missing": "nothing is recorded",
            "changed": f"recorded before a change of {named}",
            "tools": f"recorded with other tools ({named})",
            "version": f"recorded in another format than {VERSION}",
        }[self.state]

    def __str__(self) -> str:
        """The reason, and what to do; empty if the record is believed."""
        return self.reason and f"{self.kind}: {self.reason}; run `{self.command}`"


def standing(unit: Unit, kind: str, record: Mapping[str, Any] | None = None) -> Standing:
    """Whether what is recorded of a unit under `kind` may be believed."""
    found = (read_record(unit) if record is None else record).get(kind)
    if found is None:
        return Standing(unit, kind, "missing")
    kept = found.get("sources")
    if found.get("version") != VERSION or not isinstance(kept, dict):
        return Standing(unit, kind, "version")
    now = sources(unit, kind)
    changed = sorted(path for path in kept.keys() | now.keys() if kept.get(path) != now.get(path))
    own = tuple(path for path in changed if not path.startswith("course/"))
    if own:
        return Standing(unit, kind, "changed", own)
    here = _torch()
    if kind != "solution" and str(found.get("torch")).partition("+")[0] != here:  # of a solution only the last digits may differ
        changed.append(f"torch {here}")
    return Standing(unit, kind, "tools" if changed else "stands", tuple(changed))


@lru_cache(maxsize=1)
def _torch() -> str:
    """The release of torch on this machine, without what it was built for. Asked of the package's metadata: torch takes seconds to import."""
    from importlib.metadata import version

    return version("torch").partition("+")[0]


_began: dict[tuple[Path, str], dict[str, str]] = {}  # by the path of the record, and the kind


def begin(unit: Unit, kind: str) -> None:
    """Note what a proof depends on, before its code is imported: `keep` refuses what was found if it is something else by then."""
    _began.setdefault((record_path(unit), kind), sources(unit, kind))


def keep(unit: Unit, kind: str, found: dict[str, Any]) -> None:
    """Put what was found into the unit's record, with the hashes of what it depends on and the versions that it was made with."""
    now = sources(unit, kind)
    if _began.pop((record_path(unit), kind), now) != now:
        raise at(
            record_path(unit), f"is left as it was: while its {kind} was proven, {unit.id} changed; prove it again", unit.root
        )
    made_with = {
        "version": VERSION,
        "sources": now,
        "python": platform.python_version(),
        "torch": _torch(),
        "system": platform.system(),
    }
    record = read_record(unit) | {kind: made_with | found}
    write_atomic(record_path(unit), json.dumps(record, indent=1, sort_keys=True) + "\n")


def record_audit(made: "UnitAudit", accepted: Sequence["Acceptance"], seeds: int) -> None:
    """Keep an audit of all mutants, and what it found of right variants and fakes (none: only mutants were made)."""
    found: dict[str, Any] = {
        "seed": made.seed,
        "processor_seconds": round(made.processor_seconds + sum(row.processor_seconds for row in accepted)),
        "marks": round(made.marks, 4),
        "problems": len(made.problems),
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
    keep(made.unit, "audit", found)


def record_gate(proof: "Proof", device: str) -> None:
    """Keep the outcomes of a gate on some seeds, of its ablations and of its leaks."""
    outcomes = proof.outcomes
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
        "ablations": {
            name: {
                "metric": rows[0].metric,
                "bound": rows[0].bound,
                "whole": [row.whole for row in rows],
                "without": [row.without for row in rows],
                "seconds": [round(row.seconds, 1) for row in rows],
            }
            for name, rows in proof.by_ablation().items()
        },
        "leaks": {
            name: {"bound": rows[0].bound, "chance": rows[0].chance, "values": [row.value for row in rows]}
            for name, rows in proof.by_leak().items()
        },
    }
    keep(proof.unit, "gate", found)


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
    keep(unit, "budgets", {"bounds": bounds, "trained": [asdict(one) for one in trained], "latency": round(latency, 4)})


def record_throughput(unit: Unit, device: str, cpu: float, rates: dict[str, float]) -> None:
    """Keep how many items a second are converted in batches, on the CPU and, as said by the keys of `rates`, on `device`."""
    keep(unit, "throughput", {"device": device, "cpu": cpu, "rates": rates})
