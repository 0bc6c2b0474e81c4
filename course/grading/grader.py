"""Grades one submission: reads it as data, grafts its answers, runs them in a sandbox, and asks the unit's tests from outside.

The trusted side (this process) holds the tests and the expected values. It reads the notebook as text, and talks to the
answers through a `Session`, over which only validated bytes pass.
"""

import ast
import hashlib
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

from course.checking.impl import Impl
from course.checking.load import reference_module
from course.checking.runner import Verdict, load_suite, run_case, stub_status
from course.grading.feedback import re_execute
from course.grading.journal import Row
from course.grading.submissions import Refused, Submission, safe
from course.sandbox.client import IsolationError, Session, SessionError, Zygote
from course.sandbox.terms import Limits
from course.units.catalogue import Unit
from course.units.notebooks import answer_source, notebook_cells
from course.units.pieces import Answer
from course.units.source import AnswerError, import_closure
from course.wire import ImplementationError

CODE_LIMIT = 500_000  # characters of code in a notebook; ours have 15,000
MESSAGE_LIMIT = 300
CELL_SECONDS = 60.0  # for a cell of a notebook that is run again; our demos take up to 15
NOTEBOOK_PACKAGES = ["IPython.core.interactiveshell", "matplotlib_inline.backend_inline"]
UNLOADABLE = "the notebook's definitions cannot be loaded"


@dataclass(frozen=True)
class Settings:
    """What a run is graded with. seed: of the questions; seconds: wall clock for one submission, and for one call into it;
    nbval: whether notebooks are also run again, for feedback."""

    seed: int
    isolation: str = "strict"
    seconds: float = 120.0
    call_seconds: float = 10.0
    nbval: bool = False


class Grader:
    """Grades submissions one after another; keeps a zygote per unit. A context manager: leaving it ends the zygotes."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._zygotes: dict[str, Zygote] = {}

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all zygotes and whatever still runs in them."""
        for zygote in self._zygotes.values():
            zygote.close()
        self._zygotes.clear()

    def grade(self, submission: Submission, unit: Unit | None) -> Row:
        """The result of one submission. Never raises for what a submission contains or does."""
        started = time.monotonic()
        stubs: dict[str, dict[str, str]] = {}
        feedback: list[dict[str, str]] = []
        data = b""
        try:
            data = submission.read()
            if unit is None:
                raise Refused(submission.problem or f"there is no unit {submission.unit!r}")
            source, answer = _answer(data, unit)
            stubs = self._stubs(source, answer, unit)
            status, message = _summary(stubs, "; ".join(answer.notes))
            if self.settings.nbval:
                feedback = self._feedback(source, unit, stubs)
        except Refused as error:
            status, message = "refused", str(error)
        score = sum(stub["status"] == "passed" for stub in stubs.values())
        return Row(
            key=key_of(submission, data, unit, self.settings),
            learner=submission.learner,
            unit=submission.unit,
            score=score,
            max_score=len(unit.stubs) if unit else 0,
            status=status,
            message=safe(message, MESSAGE_LIMIT),
            isolation=self._in_force(unit),
            seconds=round(time.monotonic() - started, 3),
            seed=self.settings.seed,
            stubs=stubs,
            feedback=feedback,
        )

    def _in_force(self, unit: Unit | None) -> str:
        zygote = self._zygotes.get(unit.id) if unit else None
        return zygote.description if zygote else f"{self.settings.isolation} (nothing was run)"

    def _zygote(self, unit: Unit) -> Zygote:
        if unit.id not in self._zygotes:
            preload, third_party = closure_of(unit)
            if self.settings.nbval:
                third_party += NOTEBOOK_PACKAGES
            seconds = self.settings.call_seconds
            limits = Limits(load_seconds=seconds, call_seconds=seconds, session_seconds=self.settings.seconds)
            data = {name: unit.root / Path(*name.split(".")) for name in preload if name == "reference_impl.data"}
            self._zygotes[unit.id] = Zygote(preload, third_party, data=data, isolation=self.settings.isolation, limits=limits)
        return self._zygotes[unit.id]

    def _open(self, unit: Unit, source: str) -> Session:
        """A session with `source` loaded. A zygote that has died, of whatever, is replaced once."""
        zygote = self._zygote(unit)
        try:
            return zygote.open(source, label=unit.name)
        except IsolationError:
            if zygote.alive:
                raise
            zygote.close()
            del self._zygotes[unit.id]
            return self._zygote(unit).open(source, label=unit.name)

    def _stubs(self, source: str, answer: Answer, unit: Unit) -> dict[str, dict[str, str]]:
        """The status and message of each stub."""
        results = {stub: {"status": "missing", "message": safe(answer.complaint(stub), MESSAGE_LIMIT)} for stub in answer.missing}
        present = [stub for stub in unit.stubs if stub not in answer.missing]
        verdicts = self._verdicts(source, unit, present)
        for stub in present:
            results[stub] = _result(stub, verdicts)
        return {stub: results[stub] for stub in unit.stubs}

    def _feedback(self, source: str, unit: Unit, stubs: dict[str, dict[str, str]]) -> list[dict[str, str]]:
        """The notebook run again, in a process of its own and after the marks are given, so that nothing can reach them."""
        with self._open(unit, "") as session:
            return re_execute(session, unit, source, stubs, CELL_SECONDS)

    def _verdicts(self, source: str, unit: Unit, stubs: list[str]) -> list[Verdict]:
        """All verdicts on `source`. After a time-out or a death the next case gets a fresh process, so that one stub cannot
        take the others' marks with it; the clock of the whole submission runs on."""
        suite, reference = load_suite(unit), reference_module(unit)
        cases = [case for case in suite.cases if set(case.stubs) & set(stubs)]
        verdicts: list[Verdict] = []
        deadline = time.monotonic() + self.settings.seconds
        session: Session | None = None
        try:
            for case in cases:
                if time.monotonic() > deadline:
                    message = f"timed out: the whole submission may take {self.settings.seconds:g} s"
                    verdicts.append(Verdict(case, "failed", self.settings.seed, message, message))
                    continue
                if any(v.status == "failed" and set(case.stubs) <= set(v.case.stubs) for v in verdicts):
                    continue  # one failure decides a stub
                try:
                    if session is None:
                        session = self._open(unit, source)
                    verdict = run_case(case, Impl(session, reference), self.settings.seed)
                except (ImplementationError, SessionError) as error:  # the definitions themselves did not load
                    message = f"{UNLOADABLE}: {error.kind + ': ' if error.kind else ''}{error.message}"
                    return [Verdict(each, "failed", self.settings.seed, message, message) for each in cases]
                verdicts.append(verdict)
                if session is not None and session.dead:
                    session.close()
                    session = None
        finally:
            if session is not None:
                session.close()
        return verdicts


def _answer(data: bytes, unit: Unit) -> tuple[str, Answer]:
    """The module with a submission's answers in it. Raises Refused."""
    try:
        cells = notebook_cells(data, "the submission")
        if sum(map(len, cells)) > CODE_LIMIT:
            raise AnswerError(f"has more than {CODE_LIMIT} characters of code")
        return answer_source(cells, unit)
    except AnswerError as error:
        raise Refused(str(error)) from None


def _result(stub: str, verdicts: list[Verdict]) -> dict[str, str]:
    """One stub: its status, and of the first case that did not pass what may be told without giving a value away."""
    status = stub_status(verdicts, stub)
    own = [v for v in verdicts if stub in v.case.stubs and v.status != "passed"]
    first = next((v for v in own if v.status == status or (status, v.status) == ("failed", "broken")), None)
    if first is None:
        return {"status": status, "message": ""}
    if status in ("todo", "blocked"):
        return {"status": status, "message": safe(first.public, MESSAGE_LIMIT)}
    if first.public.startswith(UNLOADABLE):
        return {"status": status, "message": safe(first.public, MESSAGE_LIMIT)}
    hint = f" (likely cause: {first.hint})" if first.hint else ""
    return {"status": status, "message": safe(f"{first.case.title}: {first.public}{hint}", MESSAGE_LIMIT)}


def _summary(stubs: dict[str, dict[str, str]], note: str) -> tuple[str, str]:
    """The status and the one line of a whole submission."""
    passed = sum(stub["status"] == "passed" for stub in stubs.values())
    status = "passed" if passed == len(stubs) else "partial" if passed else "failed"
    short = {name: stub for name, stub in stubs.items() if stub["status"] != "passed"}
    order = sorted(short, key=lambda name: short[name]["status"] in ("todo", "blocked"))  # what is wrong before what is missing
    first = next((f"{name}: {short[name]['message']}" for name in order), "")
    return status, "; ".join(part for part in (first, note) if part)


def key_of(submission: Submission, data: bytes, unit: Unit | None, settings: Settings) -> str:
    """What makes a result the same result: whose, which unit, these bytes, these questions, this grader."""
    version = grader_version(unit) if unit else ""
    asked = (str(settings.seed), settings.isolation, *(["nbval"] if settings.nbval else []))
    parts = (submission.learner, submission.unit, submission.problem, version, *asked)
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace") + b"\0" + data).hexdigest()[:32]


@lru_cache(maxsize=256)
def grader_version(unit: Unit) -> str:
    """Hash of everything that a verdict on a unit comes from: its tests, its module with all it imports, and these tools."""
    digest = hashlib.sha256()
    tools = sorted(Path(__file__).parent.parent.rglob("*.py"))
    for path in [*import_closure(unit.module, unit.root), unit.tests, *tools]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def closure_of(unit: Unit) -> tuple[dict[str, str], list[str]]:
    """What a zygote of `unit` needs: sources of the modules it imports from the course (never its own), and other packages."""
    sources: dict[str, str] = {}
    packages: set[str] = set()
    for path in import_closure(unit.module, unit.root):
        text = path.read_text(encoding="utf-8")
        if path != unit.module:
            parts = path.relative_to(unit.root).with_suffix("").parts
            sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = text
        packages.update(_third_party(text))
        if "torch.optim" in text:
            packages.add("torch._dynamo")  # which an optimizer imports at its first use, for two seconds in every child
    return sources, sorted(packages)


def _third_party(source: str) -> Iterable[str]:
    """The packages that a module imports when it is imported itself; what a function imports is an extra, or comes when it is called."""
    for node in ast.parse(source).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        yield from (name for name in names if name.split(".")[0] not in ("reference_impl", *sys.stdlib_module_names))
