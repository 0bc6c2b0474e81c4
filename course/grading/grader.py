"""Grades one submission: reads it as data, grafts its answers, runs them in a sandbox, and asks the unit's tests from outside.

The trusted side (this process) holds the tests and the expected values. It reads the notebook as text, and talks to the
answers through a `Session`, over which only validated bytes pass.
"""

import ast
import hashlib
import sys
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from course.checking.load import reference_module
from course.checking.runner import load_suite
from course.grading import limits
from course.grading.journal import Row
from course.grading.judging import Judging
from course.grading.results import MESSAGE_LIMIT, stub_results, summary
from course.grading.submissions import Refused, Submission, safe
from course.sandbox.client import Clock, IsolationError, Root, Session, Zygote
from course.sandbox.terms import Limits
from course.units.catalogue import Unit
from course.units.notebooks import answer_source, notebook_cells
from course.units.pieces import Answer
from course.units.source import AnswerError, import_closure

CODE_LIMIT = 500_000  # characters of code in a notebook; ours have 15,000
CELL_SECONDS = 60.0  # for a cell of a notebook that is run again; our demos take up to 15
READ_SECONDS = 10.0  # processor time for reading and grafting; a notebook of ours takes below 0.1
READ_MEMORY = 1 << 30  # bytes beyond what the worker holds already
ZYGOTES = 4  # kept per worker: those of the units that were graded last
NOTEBOOK_PACKAGES = ["IPython.core.interactiveshell", "matplotlib_inline.backend_inline"]
READING, STARTING, JUDGING, FEEDBACK = "reading", "starting the sandbox", "judging", "running the notebook again"
TOO_LONG = "took too long to read: hand in only your own code, without generated or repeated text"
TOO_MUCH = "took too much memory to read: hand in only your own code, without generated or repeated text"

Made = TypeVar("Made")


@dataclass(frozen=True)
class Settings:
    """What a run is graded with. seed: of the questions; seconds: of the learner's own time for one submission, and for one call into it;
    nbval: whether notebooks are also run again, for feedback; grace: seconds that a worker may be past any limit before it is ended."""

    seed: int
    isolation: str = "strict"
    seconds: float = 120.0
    call_seconds: float = 10.0
    nbval: bool = False
    grace: float = 30.0


class Grader:
    """Grades submissions one after another, with one root and the zygotes of a few units. A context manager: leaving it ends them.

    tell: hears which phase begins, of those above.
    """

    def __init__(self, settings: Settings, tell: Callable[[str], object] = lambda phase: None) -> None:
        self.settings = settings
        self._tell = tell
        self._phase = READING
        self._root: Root | None = None
        self._zygotes: OrderedDict[str, Zygote] = OrderedDict()

    def __enter__(self) -> "Grader":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all zygotes and whatever still runs in them."""
        for zygote in self._zygotes.values():
            zygote.close()
        self._zygotes.clear()
        if self._root is not None:
            self._root.close()
            self._root = None

    def grade(self, submission: Submission, unit: Unit | None) -> Row:
        """The result of one submission. Never raises for what a submission contains or does."""
        started = time.monotonic()
        data = b""
        stubs: dict[str, dict[str, str]] = {}
        feedback: list[dict[str, str]] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would be about a stranger's code and values, in the instructor's terminal
            try:
                self._enter(READING)
                with limits.memory(READ_MEMORY), limits.processor_seconds(READ_SECONDS):
                    data = submission.read()
                    if unit is None:
                        raise Refused(submission.problem or f"there is no unit {submission.unit!r}")
                    source, answer = _answer(data, unit)
                stubs = self._stubs(source, answer, unit)
                status, message = summary(stubs, "; ".join(answer.notes))
                if self.settings.nbval:
                    self._enter(FEEDBACK)
                    feedback = self._feedback(source, unit, stubs)
            except Refused as error:
                status, message = "refused", str(error)
            except limits.OutOfTime:
                status, message = "refused", TOO_LONG
            except Exception as error:
                status, message = self._fault(error)
        return Row(
            key=key_of(submission, data, unit, self.settings),
            learner=submission.learner,
            unit=submission.unit,
            score=sum(stub["status"] == "passed" for stub in stubs.values()),
            max_score=len(unit.stubs) if unit else 0,
            status=status,
            message=safe(message, MESSAGE_LIMIT),
            isolation=self._root.description if self._root and stubs else f"{self.settings.isolation} (nothing was run)",
            seconds=round(time.monotonic() - started, 3),
            seed=self.settings.seed,
            stubs=stubs,
            feedback=feedback,
        )

    def _enter(self, phase: str) -> None:
        self._phase = phase
        self._tell(phase)

    def _fault(self, error: Exception) -> tuple[str, str]:
        """The status and message for what nobody expected: whose fault it is, and what can be done."""
        if self._phase == READING and (isinstance(error, MemoryError) or limits.is_lack_of_memory(str(error))):
            return "refused", TOO_MUCH
        if isinstance(error, IsolationError):
            return "error", f"not graded, and not the learner's fault: {error}"
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
        return "error", f"not graded: the grader failed while {self._phase} ({where}); grade it by hand, and report this as a bug"

    def _zygote(self, unit: Unit) -> Zygote:
        """The unit's zygote, which is now the last that will be let go; in place of one that has died, of whatever, another.

        The first unit's packages are imported in the root, for all units: those of one course need much the same.
        """
        if self._root is not None and not self._root.answers():
            self.close()
        if unit.id in self._zygotes and not self._zygotes[unit.id].alive:
            self._zygotes.pop(unit.id).close()
        if unit.id not in self._zygotes:
            self._zygotes[unit.id] = self._start(unit)
            while len(self._zygotes) > ZYGOTES:
                self._zygotes.popitem(last=False)[1].close()
        self._zygotes.move_to_end(unit.id)
        return self._zygotes[unit.id]

    def _start(self, unit: Unit) -> Zygote:
        preload, third_party = closure_of(unit)
        if self.settings.nbval:
            third_party += NOTEBOOK_PACKAGES
        folder = unit.root / "reference_impl" / "data"
        data = {"reference_impl.data": folder} if folder.is_dir() else {}
        if self._root is None:
            self._root = Root(third_party, data=data, isolation=self.settings.isolation)
        seconds = self.settings.call_seconds
        allowed = Limits(load_seconds=seconds, call_seconds=seconds, session_seconds=self.settings.seconds)
        read = {name: path for name, path in data.items() if name in preload}
        return Zygote(preload, third_party, data=read, limits=allowed, root=self._root)

    def _sandboxed(self, unit: Unit, use: Callable[[Zygote], Made]) -> Made:
        """What `use` makes of the unit's zygote. If the sandbox turns out to have ended, once more in another, root and all: of one
        that was killed, the parts do not end in any order."""
        try:
            return use(self._zygote(unit))
        except IsolationError as error:
            if error.layer:  # which this host does not have, not for another sandbox either
                raise
        self.close()
        return use(self._zygote(unit))

    def _open(self, unit: Unit, source: str, clock: Clock) -> tuple[Zygote, Session]:
        """A session with `source` loaded, and its zygote."""
        return self._sandboxed(unit, lambda zygote: (zygote, zygote.open(source, label=unit.name, clock=clock)))

    def _stubs(self, source: str, answer: Answer, unit: Unit) -> dict[str, dict[str, str]]:
        """The status, message and share of each stub."""
        self._enter(STARTING)  # what is slow the first time, and is nobody's time
        suite = load_suite(unit)
        reference_module(unit)
        present = [stub for stub in unit.stubs if stub not in answer.missing]
        if present:
            self._sandboxed(unit, lambda zygote: zygote)
        self._enter(JUDGING)
        judging = Judging(
            unit, self.settings.seed, self.settings.seconds, lambda clock: self._open(unit, source, clock), answer.where
        )
        cases = {stub: len(suite.of(stub)) for stub in unit.stubs}
        return stub_results(
            unit.stubs, {stub: answer.complaint(stub) for stub in answer.missing}, judging.verdicts(present), cases
        )

    def _feedback(self, source: str, unit: Unit, stubs: dict[str, dict[str, str]]) -> list[dict[str, str]]:
        """The notebook run again, in a process of its own and after the marks are given, so that nothing can reach them."""
        # Here, because it brings in nbformat, two seconds' worth, for which most runs need not wait.
        from course.grading.feedback import re_execute

        reason = "its outputs took too long to compare with the solution's"
        try:
            _, session = self._open(unit, "", Clock(self.settings.seconds))
            with session, limits.memory(READ_MEMORY), limits.processor_seconds(READ_SECONDS):
                return re_execute(session, unit, source, stubs, CELL_SECONDS)
        except (limits.OutOfTime, MemoryError):
            pass
        except Exception as error:
            reason = self._fault(error)[1]
        return [{"cell": "", "verdict": "not run", "detail": safe(reason, MESSAGE_LIMIT)}]


def _answer(data: bytes, unit: Unit) -> tuple[str, Answer]:
    """The module with a submission's answers in it. Raises Refused."""
    try:
        cells = notebook_cells(data, "the submission")
        if sum(map(len, cells)) > CODE_LIMIT:
            raise AnswerError(f"has more than {CODE_LIMIT} characters of code")
        return answer_source(cells, unit)
    except AnswerError as error:
        raise Refused(str(error)) from None


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
