"""What a finished unit has, thing by thing: what is there, what is missing, and the command or the edit that mends it."""

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from course.errors import CourseError
from course.proving import bars, records
from course.proving.devices import Ran
from course.proving.records import Standing
from course.units.catalogue import Unit
from course.units.dependencies import names

OWN_POINTS = ("hints", "cards", "fakes", "variants", "ablations", "leaks")  # rules of the linter that are points of their own


@dataclass(frozen=True)
class Point:
    """One thing that a finished unit has. said: what there is, or what is missing; mend: the command or the edit that makes it."""

    name: str
    ready: bool
    said: str
    mend: str = ""


@dataclass(frozen=True)
class Complaint:
    """What a rule of the linter has against a unit. message: begins with the file."""

    rule: str
    message: str


def points(unit: Unit, complaints: Iterable[Complaint], stale_solution: str) -> Iterator[Point]:
    """Every thing that a finished unit has, in the order in which one makes them.

    complaints: what the linter has against it; stale_solution: what the builder has against its solution, empty if nothing.
    """
    yield from _files(unit)
    by_rule: dict[str, list[Complaint]] = {}
    for one in complaints:
        by_rule.setdefault(one.rule, []).append(one)
    yield _linted(
        "pages", [one for rule, found in by_rule.items() if rule not in OWN_POINTS for one in found], "in two languages"
    )
    pages = unit.pages
    hints = sum(map(len, pages["en"].hints.values()))
    if not unit.is_concept:
        yield _linted("hints", by_rule.get("hints", []), f"{hints} for {len(unit.stubs)} stubs")
    yield _linted("cards", by_rule.get("cards", []), f"{len(pages['en'].cards)}")
    if unit.is_concept:
        return
    yield from _tests(unit)
    record = records.read_record(unit)
    yield from _audit(unit, record)
    if defines(unit, "GATES") or defines(unit, "train"):
        yield from _gate(unit, record)
    if defines(unit, "train"):
        yield _weights(unit)
        yield _devices(unit, record)
    yield solution(record, stale_solution)


def _files(unit: Unit) -> Iterator[Point]:
    paths = [unit.question, unit.question_zh]
    if not unit.is_concept:
        paths += [unit.module, unit.tests, unit.notebook, unit.solution]
    missing = [path for path in paths if not path.is_file()]
    named = ", ".join(path.relative_to(unit.root).as_posix() for path in missing)
    generated = missing and all(path in (unit.notebook, unit.solution) for path in missing)
    mend = "aigc build" if generated else "write them; CONTRIBUTING.md shows a whole unit"
    yield Point("files", not missing, f"missing: {named}" if missing else f"{len(paths)} there", mend if missing else "")


def _linted(name: str, found: list[Complaint], otherwise: str) -> Point:
    if not found:
        return Point(name, True, otherwise)
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return Point(name, False, found[0].message + more, "edit the page")


def _tests(unit: Unit) -> Iterator[Point]:
    from course.checking.runner import load_suite

    try:
        suite = load_suite(unit)
    except (CourseError, SyntaxError, ImportError) as error:
        yield Point("fakes", False, str(error), f"edit {unit.describe()['tests']}")
        return
    fakes = sum(map(len, suite.fakes.values()))
    bare = [stub for stub in unit.stubs if not suite.fakes.get(stub)]
    said = f"{fakes} fakes" + (f"; none of {', '.join(bare)}" if bare else "")
    yield Point(
        "fakes",
        fakes >= bars.FAKES_OF_A_UNIT and not bare,
        said,
        f"write wrong implementations into FAKES of {unit.describe()['tests']}",
    )
    few = [stub for stub in unit.stubs if len(suite.variants.get(stub, {})) < bars.VARIANTS_OF_A_STUB]
    said = (
        f"fewer than {bars.VARIANTS_OF_A_STUB} of {', '.join(few)}"
        if few
        else f"{sum(map(len, suite.variants.values()))} right variants"
    )
    yield Point("variants", not few, said, f"write right implementations into VARIANTS of {unit.describe()['tests']}")


def _proof(name: str, standing: Standing, wrong: str, said: str) -> Point:
    """A proof that stands and says what it must, or why not."""
    if not standing.stands:
        return Point(name, False, standing.reason, standing.command)
    return Point(name, not wrong, wrong or said, standing.command if wrong else "")


def _audit(unit: Unit, record: dict[str, Any]) -> Iterator[Point]:
    standing, found = records.standing(unit, "audit", record), record.get("audit", {})
    if not standing.stands:
        yield _proof("audit", standing, "", "")
        return
    mutants, equivalent, killed = (sum(stub[key] for stub in found["stubs"]) for key in ("mutants", "equivalent", "killed"))
    share = killed / max(1, mutants - equivalent)
    wrong = [
        f"{share:.1%} of mutants killed, {bars.BAR:.0%} demanded" if not bars.BAR <= share <= 1 else "",
        f"{found.get('problems')} problems in its test file" if found.get("problems") else "",
        f"{found['marks']:.1%} marked as equivalent, at most {bars.MARKED:.0%}" if found["marks"] > bars.MARKED else "",
        f"asked on {found.get('seeds', 0)} seeds, {bars.SEEDS_OF_A_VARIANT} demanded"
        if found.get("seeds", 0) < bars.SEEDS_OF_A_VARIANT
        else "",
        f"{found.get('wrongly_rejected')} right answers rejected" if found.get("wrongly_rejected") else "",
        f"{found.get('wrongly_accepted')} fakes accepted" if found.get("wrongly_accepted") else "",
    ]
    said = f"{killed} of {mutants - equivalent} mutants killed, {found.get('variants')} variants and {found.get('fakes')} fakes told apart"
    yield _proof("audit", standing, "; ".join(filter(None, wrong)), said)


def defines(unit: Unit, name: str) -> bool:
    """Whether the module defines it: `train` if there is a system to be trained, `GATES` if figures are held against bounds."""
    return name in names(unit.module, unit.root)


def _gate(unit: Unit, record: dict[str, Any]) -> Iterator[Point]:
    """Gate, ablations and leaks. Whether they hold is asked of the module's own bounds as they are now, not of what was written down."""
    from course.proving.gate import tables

    standing, found = records.standing(unit, "gate", record), record.get("gate", {})
    try:
        gates, ablations, leaks = tables(unit)
    except CourseError as error:
        yield Point("gate", False, str(error), f"edit {unit.describe()['module']}")
        return
    if not standing.stands:
        yield _proof("gate", standing, "", "")
        for name, table in (("ablation", ablations), ("leak check", leaks)):
            yield _proof(name, standing, "", "") if table else _none(unit, name)
        return
    figures, seeds = found["figures"], len(found["seconds"])
    by_seed = [{key: values[seed] for key, values in figures.items()} for seed in range(seeds)]
    missed = [
        f"{gate.metric} misses {gate} on seed {seed}" for gate in gates for seed, own in enumerate(by_seed) if not gate.holds(own)
    ]
    if seeds < bars.SEEDS_OF_A_GATE:
        missed.append(f"{seeds} seeds, {bars.SEEDS_OF_A_GATE} demanded")
    yield _proof("gate", standing, "; ".join(missed[:2]), f"{len(gates)} bounds hold on {seeds} seeds")
    lost = [
        f"without {name!r}, {ablation.metric} is {bad:.4g} beside {good:.4g} on seed {seed}, and {ablation} is demanded"
        for name, ablation in ablations.items()
        for seed, (good, bad) in enumerate(
            zip(found["ablations"][name]["whole"], found["ablations"][name]["without"], strict=True)
        )
        if not ablation.holds(good, bad)
    ]
    yield (
        _proof("ablation", standing, "; ".join(lost[:2]), f"wins against {', '.join(ablations)}")
        if ablations
        else _none(unit, "ablation")
    )
    open_ = [
        f"{name!r} reaches {value:.4g} on seed {seed}, may reach {leak}"
        for name, leak in leaks.items()
        for seed, value in enumerate(found["leaks"][name]["values"])
        if not leak.holds(value)
    ]
    yield (
        _proof("leak check", standing, "; ".join(open_[:2]), f"closed: {', '.join(leaks)}")
        if leaks
        else _none(unit, "leak check")
    )


def _none(unit: Unit, name: str) -> Point:
    rule = {"ablation": "ablations", "leak check": "leaks"}[name]
    return Point(
        name, False, "none defined", f"write {rule.upper()} into {unit.describe()['module']} (see reference_impl/experiments.py)"
    )


def _weights(unit: Unit) -> Point:
    weights: Any = importlib.import_module("reference_impl.weights")
    path = weights.shipped(unit.id)
    try:
        weights.load(unit.id, path=path, device="cpu")
    except (weights.WeightsError, FileNotFoundError) as error:
        return Point("weights", False, str(error).partition(";")[0], f"aigc train {unit.id} --ship")
    return Point("weights", True, f"{path.stat().st_size / 1000:.0f} kB come with the course")


def solution(record: dict[str, Any], stale: str = "") -> Point:
    """Whether an executed solution is up to date, small and quick. stale: what the builder has against it."""
    if stale:
        return Point("solution", False, stale, "aigc build")
    found = record["solution"]
    wrong = [
        f"{found['bytes'] / 1000:.0f} kB, at most {bars.SOLUTION_BYTES / 1000:.0f}"
        if found["bytes"] > bars.SOLUTION_BYTES
        else "",
        f"its demo takes {found['demo_seconds']:.0f} s of one core, at most {bars.DEMO_SECONDS:.0f}"
        if found["demo_seconds"] > bars.DEMO_SECONDS
        else "",
    ]
    said = f"{found['bytes'] / 1000:.0f} kB, demo in {found['demo_seconds']:.1f} s of one core"
    missed = "; ".join(filter(None, wrong))
    return Point("solution", not missed, missed or said, "shorten demo(), then aigc build" if missed else "")


def _devices(unit: Unit, record: dict[str, Any]) -> Point:
    found = record.get("devices", {})
    ran = Ran(found.get("passed", 0), found.get("failed", 0), found.get("device", ""))
    wrong = "" if ran.holds else f"{ran.passed} tests pass, {ran.failed} fail"
    return _proof("devices", records.standing(unit, "devices", record), wrong, f"{ran.passed} tests, on cpu and {ran.device}")
