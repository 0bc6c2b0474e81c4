"""Everything that is demanded of units, proven anew: what does not stand, or all of it. Can be interrupted, and goes on where it was."""

import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course.paths import write_atomic
from course.proving import records
from course.proving.records import KINDS, Standing
from course.units.catalogue import Unit

Task = tuple[Unit, str]  # a unit and a kind of proof


@dataclass(frozen=True)
class Found:
    """What a proof found, in a line, and whether it holds."""

    said: str
    holds: bool

    def __str__(self) -> str:
        return self.said if self.holds else f"{self.said}: DOES NOT HOLD"


Proof = Callable[[Unit], Found]  # makes a proof and records it


def standings(units: Iterable[Unit], kinds: Sequence[str] = KINDS) -> list[Standing]:
    """Whether each proof of each unit stands. What knows no torch knows no devices."""
    found = []
    for unit in units:
        record, torch = records.read_record(unit), knows_torch(unit)
        found += [records.standing(unit, kind, record) for kind in kinds if torch or kind != "devices"]
    return found


def knows_torch(unit: Unit) -> bool:
    """Whether a unit's module imports torch by itself."""
    return re.search(r"^(import|from) torch\b", unit.module.read_text(encoding="utf-8"), flags=re.MULTILINE) is not None


@dataclass(frozen=True)
class Asked:
    """Which units a test run asks itself, and which it takes from their records: for one kind of proof.

    anew: their record is not believed; sampled: it is, and they are asked all the same, drawn from the seed.
    """

    kind: str
    anew: tuple[Standing, ...]
    sampled: tuple[Unit, ...]
    taken: tuple[Unit, ...]

    def asks(self, unit: Unit) -> bool:
        return unit not in self.taken

    def __str__(self) -> str:
        """One line for people."""
        parts = [f"{len(self.taken)} taken from their records"]
        if self.sampled:
            parts.append(f"{', '.join(unit.id for unit in self.sampled)} asked again as a sample")
        if self.anew:
            named = "; ".join(f"{one.unit.id} ({one.reason})" for one in self.anew[:4])
            parts.append(f"asked anew: {named}" + (f" and {len(self.anew) - 4} more" if len(self.anew) > 4 else ""))
        return f"{self.kind}: " + ", ".join(parts)


def to_ask(units: Sequence[Unit], kind: str, seed: int, sample: int) -> Asked:
    """What a test run asks itself: every unit whose record is not believed, and `sample` of the others, drawn from `seed`."""
    found = standings(units, (kind,))
    believed = [one.unit for one in found if one.stands]
    sampled = random.Random(f"{seed}:{kind}").sample(believed, min(sample, len(believed)))
    taken = tuple(unit for unit in believed if unit not in sampled)
    return Asked(kind, tuple(one for one in found if not one.stands), tuple(sampled), taken)


def journal(root: Path) -> Path:
    """Where a run of `aigc prove --again` keeps what it has made."""
    return root / "work" / "proving.json"


def _made(root: Path) -> set[tuple[str, str]]:
    """What an interrupted run has made: (id of a unit, kind). What it was asked to make does not matter: another run may ask for more."""
    try:
        return {(unit, kind) for unit, kind in json.loads(journal(root).read_text(encoding="utf-8"))["made"]}
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return set()


def pending(root: Path, units: Sequence[Unit], kinds: Sequence[str], *, again: bool) -> tuple[list[Task], int]:
    """What is to be proven: all that does not stand, then with `again` everything else; and how much of that an interrupted run has done."""
    found = standings(units, kinds)
    fallen = [(one.unit, one.kind) for one in found if not one.stands]
    if not again:
        return fallen, 0
    tasks = [*fallen, *((one.unit, one.kind) for one in found if one.stands)]
    made = _made(root)
    going_on = [(unit, kind) for unit, kind in tasks if (unit.id, kind) not in made or (unit, kind) in fallen]
    return (going_on, len(tasks) - len(going_on)) if going_on else (tasks, 0)


def prove(
    root: Path,
    tasks: Sequence[Task],
    proofs: Mapping[str, Proof],
    *,
    again: bool,
    done: Callable[[Unit, str, Found], object],
) -> list[Task]:
    """Carry out each task by the entry of `proofs` for its kind: those that do not hold.

    With `again`, what holds is kept on the disk until all does, so that the next run asks only for the others.
    """
    made = _made(root) - {(unit.id, kind) for unit, kind in tasks}
    failed: list[Task] = []
    for unit, kind in tasks:  # all of them now: what this process imports for the first proof, it also runs for the last
        records.begin(unit, kind)
    for unit, kind in tasks:
        if again:
            write_atomic(journal(root), json.dumps({"made": sorted(made)}) + "\n")
        found = proofs[kind](unit)
        done(unit, kind, found)
        if found.holds:
            made.add((unit.id, kind))
        else:
            failed.append((unit, kind))
    if again and failed:
        write_atomic(journal(root), json.dumps({"made": sorted(made)}) + "\n")
    elif again:
        journal(root).unlink(missing_ok=True)
    return failed
