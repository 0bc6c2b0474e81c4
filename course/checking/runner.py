"""Runs a unit's tests on an implementation. The tests are plain pytest functions that ask for `impl` and `draw`."""

import importlib.util
import inspect
import itertools
import secrets
import sys
import types
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from course.checking.impl import Impl
from course.errors import at
from course.testing import CheckFailure, Draw, Variant
from course.units.catalogue import Unit
from course.units.source import stub_message
from course.wire import ImplementationError


@dataclass(frozen=True)
class Case:
    """One test with its parameters. `title` is what a learner reads: the docstring's first line, or the name in words."""

    id: str
    title: str
    stubs: tuple[str, ...]
    function: Callable[..., None]
    arguments: dict[str, Any]

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """What its function asks for: `impl`, `draw`, or one of `arguments`."""
        return tuple(inspect.signature(self.function).parameters)


@dataclass(frozen=True)
class Suite:
    """All that a test file says of a unit: its cases, wrong implementations per stub, and right but different ones."""

    unit: Unit
    cases: tuple[Case, ...]
    fakes: dict[str, dict[str, Variant]]
    variants: dict[str, dict[str, Variant]]

    def of(self, stub: str) -> tuple[Case, ...]:
        """The cases that test `stub`."""
        return tuple(case for case in self.cases if stub in case.stubs)


@dataclass(frozen=True)
class Verdict:
    """What a case said of an implementation.

    status: `passed`; `failed` (the answer is wrong); `todo` (its stub is not written); `blocked` (another stub is not
    written, named in `message`); `broken` (the test itself crashed). `public` gives no expected value away.
    """

    case: Case
    status: str
    seed: int
    message: str = ""
    public: str = ""
    hint: str = ""
    line: str = ""


_suites: dict[Path, tuple[int, Suite]] = {}


def load_suite(unit: Unit) -> Suite:
    """Import the unit's test file (again if it changed) and read its cases. Raises CourseError naming what is wrong in it."""
    try:
        stamp = unit.tests.stat().st_mtime_ns
    except FileNotFoundError:
        raise at(unit.tests, f"the tests of {unit.id} are missing; write them", unit.root) from None
    if unit.tests in _suites and _suites[unit.tests][0] == stamp:
        return _suites[unit.tests][1]
    name = f"course_tests_{unit.id.replace('/', '_')}"
    spec = importlib.util.spec_from_file_location(name, unit.tests)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    suite = Suite(unit, tuple(_cases(module, unit)), getattr(module, "FAKES", {}), getattr(module, "VARIANTS", {}))
    for kind, table in (("FAKES", suite.fakes), ("VARIANTS", suite.variants)):
        for stub in table.keys() - set(unit.stubs):
            raise at(unit.tests, f"{kind} names {stub!r}, which is no stub of {unit.id}", unit.root)
    for stub in unit.stubs:
        if not suite.of(stub):
            raise at(unit.tests, f'no test is marked @pytest.mark.stub("{stub}")', unit.root)
    _suites[unit.tests] = (stamp, suite)
    return suite


def _cases(module: types.ModuleType, unit: Unit) -> Iterator[Case]:
    for name, function in vars(module).items():
        if not name.startswith("test_") or not inspect.isfunction(function):
            continue
        marks = getattr(function, "pytestmark", [])
        stubs = tuple(stub for mark in marks if mark.name == "stub" for stub in mark.args)
        for stub in stubs or ("",):
            if stub not in unit.stubs:
                raise at(unit.tests, f"{name} must be marked with stubs of {unit.id}, got {stub!r}", unit.root)
        grid = [list(_parameters(mark)) for mark in marks if mark.name == "parametrize"]
        for combination in itertools.product(*grid):
            arguments = {key: value for part in combination for key, value in part.items()}
            unknown = set(inspect.signature(function).parameters) - {"impl", "draw"} - arguments.keys()
            if unknown:
                raise at(unit.tests, f"{name} asks for {', '.join(sorted(unknown))}; only impl and draw are given", unit.root)
            title = (inspect.getdoc(function) or name.removeprefix("test_").replace("_", " ")).splitlines()[0].rstrip(".")
            suffix = ", ".join(f"{key}={value}" for key, value in arguments.items())
            yield Case(
                f"{name}[{suffix}]" if suffix else name, f"{title} ({suffix})" if suffix else title, stubs, function, arguments
            )


def _parameters(mark: Any) -> Iterator[dict[str, Any]]:
    names, rows = mark.args
    keys = [key.strip() for key in names.split(",")] if isinstance(names, str) else list(names)
    for row in rows:
        yield dict(zip(keys, row if len(keys) > 1 else (row,), strict=True))


def fresh_seed() -> int:
    """A seed that nobody can know beforehand."""
    return secrets.randbelow(2**31)


def run(
    suite: Suite, impl: Impl, *, stubs: Iterable[str] | None = None, seed: int | None = None, stop_at_failure: bool = False
) -> list[Verdict]:
    """Verdicts of all cases, or of those that test one of `stubs`. The same seed repeats the same questions."""
    seed = fresh_seed() if seed is None else seed
    wanted = set(stubs) if stubs is not None else None
    verdicts = []
    for case in suite.cases:
        if wanted is None or wanted & set(case.stubs):
            verdicts.append(run_case(case, impl, seed))
            if stop_at_failure and verdicts[-1].status != "passed":
                break
    return verdicts


ROUNDS = 4  # how often a case asks, each time with other sizes


def run_case(case: Case, impl: Impl, seed: int) -> Verdict:
    """One verdict: that of the first round that does not pass. A case that takes no `draw` has nothing new to ask.

    The first round hands in strided views, and no axis has size 1, so that no two can be mistaken for each other. In the second every
    batch has one item, or the first size that the case draws is 1, which most often is the batch. Then two of the others are, in turn.
    """
    draw = Draw(_stream(seed, case, 0), single=-1)
    verdict = _run_once(case, impl, draw, seed, thorough=True)
    turns = singles(draw.axes, draw.seed, batch=draw.batches > 0) if "draw" in case.parameters else []
    for number, axis in enumerate(turns, start=1):
        if verdict.status != "passed":
            break
        verdict = _run_once(case, impl, Draw(_stream(seed, case, number), single=axis, alone=number == 1), seed)
    return _concluded(verdict, impl) if verdict.status == "passed" else verdict


def _concluded(verdict: Verdict, impl: Impl) -> Verdict:
    """A verdict after all values were right: what was wrong in other dtypes or on another device fails a case too."""
    try:
        impl.conclude()
    except CheckFailure as error:
        return replace(verdict, status="failed", message=str(error), public=error.public, hint=error.hint)
    return verdict


def singles(axes: int, turn: int, *, batch: bool = False) -> list[int]:
    """Which of `axes` axes has size 1 in each round after the first: the first one, and two of the others; -1 where none is left.

    batch: whether batches are drawn as such. Then they are 1 in the second round, and all axes are others.
    """
    first = 0 if batch else 1
    others = [first + (turn + i) % (axes - first) for i in range(min(2, axes - first))] if axes > first else []
    return ([-1 if batch else 0] + others + [-1] * ROUNDS)[: ROUNDS - 1]


def _stream(seed: int, case: Case, number: int) -> int:
    """Each case and round draws from a stream of its own, so that it can be repeated alone."""
    return zlib.crc32(f"{seed}:{case.id}:{number}".encode())


def _run_once(case: Case, impl: Impl, draw: Draw, seed: int, *, thorough: bool = False) -> Verdict:
    impl.seed(draw.seed, thorough=thorough, stubs=case.stubs if thorough else ())
    given = {"impl": impl, "draw": draw, **case.arguments}
    try:
        case.function(**{name: given[name] for name in case.parameters})
        impl.settle()
    except ImplementationError as error:
        if error.kind == "NotImplementedError":
            hole = error.message.partition(":")[0]
            if error.message == stub_message(hole):  # torch raises NotImplementedError too, for what it cannot do
                if hole in case.stubs:
                    return Verdict(case, "todo", seed, f"{hole} is not written yet", f"{hole} is not written yet")
                return Verdict(case, "blocked", seed, f"waits for {hole}", f"waits for {hole}")
        return Verdict(case, "failed", seed, str(error), error.public + error.said, error.hint, error.line)
    except CheckFailure as error:
        return Verdict(case, "failed", seed, str(error), error.public, error.hint)
    except AssertionError as error:
        return Verdict(case, "failed", seed, str(error) or "an assertion failed", "an assertion failed")
    except Exception as error:
        message = f"the test itself crashed with {type(error).__name__}: {error}"
        return Verdict(case, "broken", seed, message, "the test could not use what was returned")
    return Verdict(case, "passed", seed)


def stub_status(verdicts: list[Verdict], stub: str) -> str:
    """One word for a stub: `passed` if all its cases did, else `todo`, `blocked` or `failed`."""
    own = {verdict.status for verdict in verdicts if stub in verdict.case.stubs}
    for status in ("failed", "broken", "todo", "blocked"):
        if status in own:
            return "failed" if status == "broken" else status
    return "passed" if own else "todo"
