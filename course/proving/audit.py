"""Holds the tests of a unit to account: they must reject every mutant and every fake, and accept every right variant.

Each mutant is run in a process of its own, forked from one that has imported torch and computed nothing: it can loop, crash or
spoil global state without harm to the next. As a learner is graded once, a mutant gets one random seed, and no second chance.
"""

import ast
import contextlib
import difflib
import importlib
import random
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from course.checking.impl import Impl
from course.checking.load import impl_from, module_from_source, reference_impl, reference_module, variant_module
from course.checking.runner import Case, Suite, Verdict, fresh_seed, load_suite, run
from course.errors import CourseError, at
from course.proving.bars import BAR, MARKED, SEEDS_OF_A_FAKE, SEEDS_OF_A_HOLLOW, SEEDS_OF_A_VARIANT
from course.proving.forks import Ended, cores, forked, processor_seconds
from course.proving.hollow import hollows
from course.proving.mutate import Mutant, mutants
from course.units.catalogue import Unit
from course.units.source import find_definition

SHORTEST_LIMIT = 3.0  # seconds of processor time; never less than ten times what the reference took

Report = Callable[[int, int], None]  # how many are done, of how many


@dataclass(frozen=True)
class Result:
    """What the tests of a stub said of one of its mutants.

    status: `killed`; `survived`; `timeout` and `crashed` (the process had to be ended, or ended itself), which kill too.
    broken: a message of a test that crashed on what the mutant returned, a defect of the test. It kills nothing.
    """

    mutant: Mutant
    status: str
    seed: int
    case: str = ""
    message: str = ""
    broken: str = ""
    marked: bool = False

    @property
    def killed(self) -> bool:
        return self.status != "survived"


@dataclass(frozen=True)
class StubAudit:
    """The mutants of one stub. Marked ones count as equivalent, whatever the tests said of them."""

    stub: str
    results: tuple[Result, ...]

    @property
    def mutants(self) -> int:
        return len(self.results)

    @property
    def equivalent(self) -> int:
        return sum(result.marked for result in self.results)

    @property
    def killed(self) -> int:
        return sum(result.killed and not result.marked for result in self.results)

    @property
    def score(self) -> float:
        counted = self.mutants - self.equivalent
        return self.killed / counted if counted else 1.0

    @property
    def survivors(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if not result.killed and not result.marked)


@dataclass(frozen=True)
class UnitAudit:
    """A unit's stubs, and what is wrong in its test file (each problem begins with the file).

    marks: the share of all its mutants, those that a sample left out included, that are marked as equivalent.
    seconds, processor_seconds: what the mutants took on the clock, and summed over all processes.
    """

    unit: Unit
    source: str  # of the module, as it was when the mutants were made
    seed: int
    stubs: tuple[StubAudit, ...]
    problems: tuple[str, ...]
    marks: float
    seconds: float
    processor_seconds: float

    @property
    def mutants(self) -> int:
        return sum(stub.mutants for stub in self.stubs)

    @property
    def equivalent(self) -> int:
        return sum(stub.equivalent for stub in self.stubs)

    @property
    def killed(self) -> int:
        return sum(stub.killed for stub in self.stubs)

    @property
    def score(self) -> float:
        counted = self.mutants - self.equivalent
        return self.killed / counted if counted else 1.0

    def holds(self, bar: float = BAR) -> bool:
        """Whether enough mutants are killed, not too many are marked, and nothing is wrong in the test file."""
        return self.score >= bar and self.marks <= MARKED and not self.problems

    def rows(self) -> list[dict[str, Any]]:
        """As `aigc audit --json` prints it: one object per stub."""
        return [
            {
                "unit": self.unit.id,
                "stub": stub.stub,
                "mutants": stub.mutants,
                "equivalent": stub.equivalent,
                "killed": stub.killed,
                "score": round(stub.score, 4),
            }
            for stub in self.stubs
        ]


def one_by_one(suite: Suite, impl: Impl, stub: str, seed: int) -> list[Verdict]:
    """Verdicts up to the first case that fails. A broken test does not end it: another case may yet see the mistake."""
    verdicts: list[Verdict] = []
    cases = suite.of(stub)
    while cases:
        made = run(replace(suite, cases=cases), impl, stubs=[stub], seed=seed, stop_at_failure=True)
        verdicts += made
        if not made or made[-1].status != "broken":
            break
        cases = cases[len(made) :]
    return verdicts


def audit_unit(
    unit: Unit,
    sample: int | None = None,
    jobs: int | None = None,
    progress: Report | None = None,
    *,
    seed: int | None = None,
    device: str = "cpu",
) -> UnitAudit:
    """Run the tests of each stub on each of its mutants, or on `sample` of them per stub (marked ones besides).

    A mutant's own seed follows from `seed` and its id, so the same `seed` repeats every verdict. device: where the
    implementations run; on another than the CPU there are mutants of the device too. Raises CourseError if a mark in the
    test file is wrong, or if the reference does not pass.
    """
    started, used = time.monotonic(), processor_seconds()
    seed, jobs = fresh_seed() if seed is None else seed, jobs or cores()
    suite = load_suite(unit)
    reference_module(unit)
    source = unit.module.read_text(encoding="utf-8")
    found = find_mutants(unit, suite, source, devices=device != "cpu")
    marks = marked(unit, suite, found)
    taken = {stub: _sampled(made, sample, marks.get(stub, {}), seed) for stub, made in found.items()}
    _import_beforehand(suite, device)
    suite, seconds = _timed(suite, seed, device, jobs)
    work = [(stub, mutant) for stub, made in taken.items() for mutant in made]
    limits = [max(SHORTEST_LIMIT, 10 * seconds[stub]) for stub, _ in work]
    tasks = [_mutant_task(suite, stub, mutant, seed, device) for stub, mutant in work]
    results: dict[int, Result] = {}
    for index, outcome in forked(tasks, limits, jobs):
        stub, mutant = work[index]
        if isinstance(outcome, Ended):
            outcome = Result(mutant, outcome.status, _own_seed(seed, stub, mutant), message=outcome.message)
        if isinstance(outcome, Exception):
            raise outcome
        results[index] = replace(outcome, mutant=mutant, marked=mutant.id in marks.get(stub, {}))
        if progress is not None:
            progress(len(results), len(work))
    by_stub = {stub: tuple(results[i] for i, (s, _) in enumerate(work) if s == stub) for stub in unit.stubs}
    stubs = tuple(StubAudit(stub, made) for stub, made in by_stub.items())
    share = sum(map(len, marks.values())) / max(1, sum(map(len, found.values())))
    spent = time.monotonic() - started, processor_seconds() - used
    return UnitAudit(unit, source, seed, stubs, tuple(_problems(unit, stubs)), share, *spent)


def _own_seed(seed: int, stub: str, mutant: Mutant) -> int:
    return zlib.crc32(f"{seed}:{stub}:{mutant.id}".encode()) >> 1


def _mutant_task(suite: Suite, stub: str, mutant: Mutant, seed: int, device: str) -> Callable[[], Result]:
    own = _own_seed(seed, stub, mutant)

    def task() -> Result:
        try:
            module = module_from_source(mutant.source, stub)
        except Exception as error:  # a module that cannot be loaded is rejected before any test
            return Result(mutant, "killed", own, message=f"{type(error).__name__}: {error}")
        verdicts = one_by_one(suite, impl_from(module, suite.unit, device), stub, own)
        broken = next((f"{v.case.id}: {v.message}" for v in verdicts if v.status == "broken"), "")
        last = verdicts[-1]
        # torch raises NotImplementedError too (softmax of integers), which the runner takes for a stub that is not written.
        status = "killed" if last.status in ("failed", "todo") else "survived"
        return Result(mutant, status, own, last.case.id if status == "killed" else "", last.message[:300], broken[:300])

    return task


def _import_beforehand(suite: Suite, device: str) -> None:
    """Import what the reference makes torch import only when it is needed (a second's worth for an optimizer), once for all forks."""

    def task() -> list[str]:
        before = set(sys.modules)
        run(suite, reference_impl(suite.unit, device))
        return [name for name in sys.modules if name not in before]

    for _, outcome in forked([task], [600.0], 1):
        for name in outcome if isinstance(outcome, list) else ():
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _timed(suite: Suite, seed: int, device: str, jobs: int) -> tuple[Suite, dict[str, float]]:
    """The suite with its quickest cases first, and the processor time of each stub's cases on the reference, which must pass all."""

    def measure(case: Case) -> Callable[[], tuple[str, str, float]]:
        def task() -> tuple[str, str, float]:
            impl = reference_impl(suite.unit, device)
            started = time.process_time()
            (verdict,) = run(replace(suite, cases=(case,)), impl, seed=seed)
            return verdict.status, verdict.message, time.process_time() - started

        return task

    seconds: dict[str, float] = {}
    tasks = [measure(case) for case in suite.cases]
    for index, outcome in forked(tasks, [600.0] * len(tasks), jobs):
        case = suite.cases[index]
        status, message = (outcome.status, outcome.message) if isinstance(outcome, Ended) else outcome[:2]
        if status != "passed":
            raise at(suite.unit.tests, f"{case.id} rejects the reference (seed {seed}): {message}", suite.unit.root)
        seconds[case.id] = outcome[2]
    ordered = tuple(sorted(suite.cases, key=lambda case: seconds[case.id]))
    return replace(suite, cases=ordered), {stub: sum(seconds[case.id] for case in suite.of(stub)) for stub in suite.unit.stubs}


def _sampled(made: list[Mutant], sample: int | None, marks: Mapping[str, str], seed: int) -> list[Mutant]:
    if sample is None or sample >= len(made):
        return made
    chosen = set(random.Random(f"{seed}:{len(made)}").sample(range(len(made)), sample))
    return [mutant for i, mutant in enumerate(made) if i in chosen or mutant.id in marks]


def find_mutants(unit: Unit, suite: Suite, source: str, *, devices: bool = False) -> dict[str, list[Mutant]]:
    """The mutants of each stub. Raises CourseError if `NO_GRADIENT` of the test file names what is not there.

    `NO_GRADIENT = {"stub": ("argument", ...)}` says which arguments are data, to which a right answer need pass no gradient.
    """
    table = _table(unit, suite, "NO_GRADIENT", list | tuple)
    for stub, names in table.items():
        node = find_definition(ast.parse(source).body, stub)
        given = {argument.arg for argument in ast.walk(node) if isinstance(argument, ast.arg)} if node is not None else set()
        for name in names:
            if stub not in unit.stubs or name not in given:
                raise at(unit.tests, f"NO_GRADIENT names {name!r} of {stub!r}, which is no argument of a stub", unit.root)
    return {stub: mutants(source, stub, no_gradient=table.get(stub, ()), devices=devices) for stub in unit.stubs}


def _table(unit: Unit, suite: Suite, name: str, kind: Any) -> dict[str, Any]:
    """A table of the test file: stub -> something of `kind`. Raises CourseError if it is not that."""
    table = getattr(sys.modules[suite.cases[0].function.__module__], name, {})
    if not isinstance(table, dict) or not all(isinstance(row, kind) for row in table.values()):
        raise at(unit.tests, f"{name} must map each stub to a table of its own, got {table!r:.80}", unit.root)
    return table


def marked(unit: Unit, suite: Suite, found: Mapping[str, Sequence[Mutant]]) -> dict[str, dict[str, str]]:
    """`EQUIVALENT` of the unit's test file: stub -> mutant id -> reason. Raises CourseError naming every mark that is wrong."""
    table = _table(unit, suite, "EQUIVALENT", dict)
    wrong = []
    for stub, marks in table.items():
        if stub not in found:
            wrong.append(f"EQUIVALENT names {stub!r}, which is no stub of {unit.id}")
            continue
        ids = {mutant.id for mutant in found[stub]}
        for name, reason in marks.items():
            if not isinstance(reason, str) or not reason.strip():
                wrong.append(f"the mark {name!r} of {stub} gives no reason: say why no test could tell this mutant")
            if name not in ids:
                near = difflib.get_close_matches(str(name), ids, 1)
                hint = f"; the nearest one is {near[0]!r}" if near else ""
                wrong.append(f"the mark {name!r} of {stub} names no mutant (any more): remove it{hint}")
    if wrong:
        raise at(unit.tests, "\n".join(wrong), unit.root)
    return table


def _problems(unit: Unit, stubs: Iterable[StubAudit]) -> Iterator[str]:
    tests = unit.tests.relative_to(unit.root)
    broken: dict[str, Result] = {}
    for audited in stubs:
        for result in audited.results:
            if result.marked and result.killed:
                why = result.case or result.message or result.status
                yield f"{tests}: {result.mutant.id!r} of {audited.stub} is marked as equivalent, but the tests kill it ({why}): unmark it"
            if result.broken:
                broken.setdefault(result.broken.partition(":")[0], result)
    for case, result in broken.items():
        example = f"on {result.mutant.id!r}, seed {result.seed}"
        yield f"{tests}: {case} crashed instead of judging, {example}: {result.broken.partition(': ')[2]}"


def difference(source: str, mutant: Mutant) -> str:
    """The mutant beside the module that it was made from, as a unified diff of a few lines."""
    lines = source.splitlines(), mutant.source.splitlines()
    return "\n".join(list(difflib.unified_diff(*lines, n=1, lineterm=""))[2:])


# The other half of soundness: right answers are accepted, however they are written, and wrong ones are not.


@dataclass(frozen=True)
class Acceptance:
    """One implementation on many seeds. kind: `reference`, `variant` (both must pass) or `fake` (must fail)."""

    unit: Unit
    kind: str
    stub: str
    name: str
    seeds: int
    wrong: tuple[str, ...]  # a message for each seed on which the verdict was not the right one
    processor_seconds: float = 0.0  # of all of these processes


def variants_accepted(
    unit: Unit,
    seeds: int = SEEDS_OF_A_VARIANT,
    jobs: int | None = None,
    progress: Report | None = None,
    *,
    seed: int | None = None,
) -> list[Acceptance]:
    """The reference and every entry of VARIANTS accepted on `seeds` seeds, every entry of FAKES rejected on twenty of them.

    So is every answer of `hollow.hollows`, on a few seeds: it needs no chance to be seen.
    """
    jobs, first = jobs or cores(), fresh_seed() if seed is None else seed
    suite = load_suite(unit)
    reference_module(unit)
    _import_beforehand(suite, "cpu")
    fakes = min(seeds, SEEDS_OF_A_FAKE)
    rows = [("reference", stub, "", seeds) for stub in unit.stubs]
    rows += [("variant", stub, name, seeds) for stub, table in suite.variants.items() for name in table]
    rows += [("fake", stub, name, fakes) for stub, table in suite.fakes.items() for name in table]
    emptied = {(stub, name): text for stub, name, text in hollows(unit.module.read_text(encoding="utf-8"), unit.stubs)}
    rows += [("fake", *key, min(seeds, SEEDS_OF_A_HOLLOW)) for key in emptied]
    chunk = 10  # seeds per process: enough to be worth a fork, few enough to share between processors
    parts = [(row, range(first + at_, first + min(at_ + chunk, row[3]))) for row in rows for at_ in range(0, row[3], chunk)]
    tasks = [_acceptance_task(suite, *row[:3], part, emptied.get(row[1:3], "")) for row, part in parts]
    wrong: dict[tuple[str, str, str], list[str]] = {row[:3]: [] for row in rows}
    spent: dict[tuple[str, str, str], float] = dict.fromkeys(wrong, 0.0)
    for done, (index, outcome) in enumerate(forked(tasks, [600.0] * len(tasks), jobs), start=1):
        (kind, stub, name, _), part = parts[index]
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Ended):
            outcome = [f"seeds {part.start} to {part.stop - 1}: {outcome.status}, {outcome.message}"], 0.0
        wrong[kind, stub, name] += outcome[0]
        spent[kind, stub, name] += outcome[1]
        if progress is not None:
            progress(done, len(parts))
    return [
        Acceptance(unit, kind, stub, name, n, tuple(wrong[kind, stub, name]), spent[kind, stub, name])
        for kind, stub, name, n in rows
    ]


def _acceptance_task(
    suite: Suite, kind: str, stub: str, name: str, seeds: range, source: str
) -> Callable[[], tuple[list[str], float]]:
    """source: of the answer, where it is none of the suite's."""

    def task() -> tuple[list[str], float]:
        if kind == "reference":
            impl = reference_impl(suite.unit)
        elif source:
            impl = impl_from(module_from_source(source, stub), suite.unit)
        else:
            table = suite.variants if kind == "variant" else suite.fakes
            impl = impl_from(variant_module(suite.unit, stub, table[stub][name]), suite.unit)
        wrong, asked, started = [], suite, time.process_time()
        for seed in seeds:
            verdicts = one_by_one(asked, impl, stub, seed)
            last = verdicts[-1].case
            if kind == "fake":  # what gave it away is asked first from now on: it most likely does so again
                asked = replace(suite, cases=(last, *(case for case in suite.cases if case != last)))
            broken = next((v for v in verdicts if v.status == "broken"), None)
            if broken is not None:
                wrong.append(f"seed {seed}: {broken.case.id}: {broken.message}")
            elif kind == "fake" and verdicts[-1].status not in ("failed", "todo"):
                wrong.append(f"seed {seed}: accepted")
            elif kind != "fake" and verdicts[-1].status != "passed":
                wrong.append(f"seed {seed}: {verdicts[-1].case.id}: {verdicts[-1].message}")
        return wrong, time.process_time() - started

    return task


def changed_units(units: Iterable[Unit], base: str, root: Path) -> list[Unit]:
    """Those of which the question, the module or the tests differ from the git revision `base`, new files included.

    What units share (a module that many import, the assertions, the runner) would bring all of them; a sample of every unit is
    the better answer to that. Raises CourseError if there is no such revision, or no git.
    """
    commands = [["git", "diff", "--name-only", "--relative", base, "--"], ["git", "ls-files", "--others", "--exclude-standard"]]
    changed: set[Path] = set()
    for command in commands:
        try:
            ended = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            raise CourseError("--changed asks git what has changed, and git is not installed") from None
        except subprocess.CalledProcessError as error:
            reason = " ".join(error.stderr.split())[:200]
            raise CourseError(f"--changed {base}: git cannot compare with it ({reason})") from None
        changed |= {root / line for line in ended.stdout.splitlines()}
    return [unit for unit in units if changed & {unit.question, unit.module, unit.tests}]
