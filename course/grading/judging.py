"""Asks a unit's cases of one submission in the sandbox, each under clocks: the learner's own time, and what judging it may cost this side."""

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from course.checking.impl import Impl
from course.checking.load import reference_module
from course.checking.runner import Case, Verdict, load_suite, run_case
from course.grading import limits
from course.sandbox.client import Clock, Session, SessionError, Zygote
from course.units.catalogue import Unit
from course.wire import ImplementationError

CASE_SECONDS = 5.0  # processor time of this side for one case; a right answer's whole submission takes below one
JUDGE_SECONDS = 30.0  # and for all cases of a submission
JUDGE_MEMORY = 1 << 30  # bytes beyond what the worker holds already
UNLOADABLE = "the notebook's definitions cannot be loaded"
TOO_LONG = "took too long to judge: look at the size of what is returned, and at each number in it"
TOO_MUCH = "took too much memory to judge: look at the size of what is returned, and at each number in it"
NOT_ASKED = "was not asked, because an earlier question ended the process of this answer"

Open = Callable[[Clock], tuple[Zygote, Session]]


class _Running(NamedTuple):
    zygote: Zygote
    session: Session


class Judging:
    """One submission's cases. open_: gives a child with the submission loaded, and the zygote that it comes from; where: a line of the
    grafted module as a place in the notebook, empty for one that is given.

    After a time-out or a death the next case gets a fresh child, so that one stub cannot take the others' marks with it; the clock of
    the whole submission runs on.
    """

    def __init__(self, unit: Unit, seed: int, seconds: float, open_: Open, where: Callable[[int], str] = lambda line: "") -> None:
        self._unit, self._seed, self._open, self._where = unit, seed, open_, where
        self._clock = Clock(seconds)
        self._running: _Running | None = None
        self._ended: set[str] = set()  # stubs in whose cases a child has ended

    def verdicts(self, stubs: Iterable[str]) -> list[Verdict]:
        """A verdict for each case that tests one of `stubs`."""
        wanted = set(stubs)
        cases = [case for case in load_suite(self._unit).cases if wanted & set(case.stubs)]
        begun = time.process_time()
        found: list[Verdict] = []
        try:
            for case in cases:
                if self._clock.left <= 0:
                    found.append(self._failed(case, f"timed out: the whole submission may take {self._clock.seconds:g} s"))
                elif time.process_time() - begun > JUDGE_SECONDS:
                    found.append(self._failed(case, TOO_LONG))
                elif set(case.stubs) <= self._ended:
                    found.append(self._failed(case, NOT_ASKED))
                else:
                    found.append(self._verdict(case))
        except _UnloadableError as error:
            return [self._failed(case, str(error)) for case in cases]
        finally:
            self._close()
        return found

    def _failed(self, case: Case, message: str) -> Verdict:
        return Verdict(case, "failed", self._seed, message, message)

    def _verdict(self, case: Case, *, again: bool = False) -> Verdict:
        running = self._child()
        try:
            with limits.memory(JUDGE_MEMORY), limits.processor_seconds(CASE_SECONDS):
                verdict = run_case(case, Impl(running.session, reference_module(self._unit)), self._seed)
        except limits.OutOfTime:
            self._close()  # in the middle of a message, it may be
            return self._failed(case, TOO_LONG)
        if verdict.status == "broken" and limits.is_lack_of_memory(verdict.message):
            return self._failed(case, TOO_MUCH)
        if not running.session.dead:
            return verdict
        self._close()
        if not running.zygote.alive and not again:  # which is none of the answer's doing
            return self._verdict(case, again=True)
        self._ended |= set(case.stubs)
        return verdict

    def _child(self) -> _Running:
        if self._running is None:
            try:
                self._running = _Running(*self._open(self._clock))
            except SessionError as error:
                raise _UnloadableError(f"{UNLOADABLE}: {error.message}") from None
            except ImplementationError as error:
                place = self._where(error.number)
                came = f"{error.kind}{error.said}" if error.kind else error.message
                raise _UnloadableError(f"{UNLOADABLE}: {came}{f' ({place})' if place else ''}") from None
        return self._running

    def _close(self) -> None:
        if self._running is not None:
            self._running.session.close()
            self._running = None


class _UnloadableError(Exception):
    """The definitions themselves do not load, so there is nothing to ask."""
