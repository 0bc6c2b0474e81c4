"""Many submissions at once: worker processes that may die or hang without taking the run with them, or a Dask cluster."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from course.errors import CourseError
from course.grading import judging
from course.grading.grader import FEEDBACK, JUDGING, READ_SECONDS, READING, TOO_LONG, Grader, Settings, key_of
from course.grading.journal import Row
from course.grading.submissions import Refused, Submission
from course.sandbox.alone import keep
from course.units.catalogue import Unit, find_unit

ATTEMPTS = 2  # a submission whose grading kills its worker is tried once more, then reported
START_SECONDS = 300.0  # for a worker to import its libraries and start a sandbox, on the slowest of machines
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")  # what a process does to itself; others come from outside


def _unit(submission: Submission) -> Unit | None:
    return find_unit(submission.unit) if submission.unit else None


def _work(connection: Connection, settings: Settings) -> None:
    """A worker process: grade what comes, until the other end closes. Sends each phase as it begins, and then the row."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator is interrupted, and closes the connection
    torch.set_num_threads(1)  # there is a worker for each core
    units: dict[str, Unit | None] = {}
    with contextlib.suppress(BrokenPipeError), Grader(settings, connection.send) as grader:
        keep()
        while True:
            try:
                submission = connection.recv()
            except EOFError:
                return
            if submission.unit not in units:
                units[submission.unit] = _unit(submission)
            connection.send(grader.grade(submission, units[submission.unit]))


class _Worker:
    """One process, and what it works on. phase: of `grader`; empty until it has begun. ends: when it will have had enough time."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, settings), name="aigc-grader")
        self.process.start()
        theirs.close()
        self.task: Submission | None = None
        self.unit = ""
        self._settings = settings
        self._allow("")

    def start(self, task: Submission) -> None:
        self.task, self.unit = task, task.unit
        self._allow("")
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died; the next recv() says so
            self.connection.send(task)

    def hear(self) -> Row | None:
        """A row, if that is what came, and not the next phase. Raises EOFError or OSError if the process is gone."""
        message = self.connection.recv()
        if isinstance(message, Row):
            self.task = None
            return message
        self._allow(message)
        return None

    def _allow(self, phase: str) -> None:
        asked = {READING: READ_SECONDS, JUDGING: self._settings.seconds, FEEDBACK: self._settings.seconds}
        self.phase = phase
        self.ends = time.monotonic() + asked.get(phase, START_SECONDS) + self._settings.grace

    def stop(self, patience: float = 10.0) -> int:
        """End the process, which has `patience` seconds to do so by itself; its exit code, negative for a signal."""
        self.connection.close()
        self.process.join(patience)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        return self.process.exitcode or 0


class _Tasks:
    """What waits, by unit, so that a worker seldom changes to a unit of which it has no sandbox yet."""

    def __init__(self, tasks: Iterable[Submission]) -> None:
        self._by_unit: OrderedDict[str, deque[Submission]] = OrderedDict()
        for task in tasks:
            self._by_unit.setdefault(task.unit, deque()).append(task)

    def __len__(self) -> int:
        return sum(map(len, self._by_unit.values()))

    def again(self, task: Submission) -> None:
        """Put a task first."""
        self._by_unit.setdefault(task.unit, deque()).appendleft(task)
        self._by_unit.move_to_end(task.unit, last=False)

    def next(self, unit: str, busy: Iterable[str]) -> Submission:
        """One for a worker that knows `unit`: of that, else the first unit that nobody of `busy` works on, else the longest queue."""
        taken = set(busy)
        free = (name for name in self._by_unit if name not in taken)
        chosen = unit if unit in self._by_unit else next(free, None)
        if chosen is None:
            chosen = max(self._by_unit, key=lambda name: len(self._by_unit[name]))
        task = self._by_unit[chosen].popleft()
        if not self._by_unit[chosen]:
            del self._by_unit[chosen]
        return task


CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextlib.contextmanager
def _cache_of_torch() -> Iterator[None]:
    """A folder for what torch caches in the workers (its first optimizer makes one), that goes with them."""
    before = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory(prefix="aigc-grading-") as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[CACHE]
            else:
                os.environ[CACHE] = before


def local_pool(tasks: Iterable[Submission], settings: Settings, jobs: int) -> Iterator[Row]:
    """Rows as they are done, by `jobs` processes. A worker that dies is replaced, and what it worked on is tried again; one that is past
    its time is ended and replaced, and what it worked on has a row that says so."""
    with _cache_of_torch():
        yield from _local_pool(tasks, settings, jobs)


def _local_pool(tasks: Iterable[Submission], settings: Settings, jobs: int) -> Iterator[Row]:
    waiting = _Tasks(tasks)
    attempts: dict[Submission, int] = {}
    workers = [_Worker(settings) for _ in range(min(jobs, len(waiting)))]

    def give(worker: _Worker) -> None:
        if len(waiting):
            worker.start(waiting.next(worker.unit, [other.unit for other in workers if other is not worker and other.task]))

    def replace(worker: _Worker, patience: float) -> tuple[Submission, int]:
        task = worker.task
        assert task is not None
        code = worker.stop(patience)
        workers[workers.index(worker)] = _Worker(settings)
        return task, code

    try:
        for worker in workers:
            give(worker)
        while busy := [worker for worker in workers if worker.task]:
            ready = wait([worker.connection for worker in busy], max(0.0, min(worker.ends for worker in busy) - time.monotonic()))
            for worker in busy:
                row = None
                if worker.connection in ready:
                    try:
                        row = worker.hear()
                    except (EOFError, OSError):
                        task, code = replace(worker, 2.0)  # it has ended, or nearly
                        attempts[task] = attempts.get(task, 0) + 1
                        if attempts[task] < ATTEMPTS and not _crashed_reading(worker.phase, code):
                            waiting.again(task)
                        else:
                            row = died(task, settings, worker.phase, code)
                elif time.monotonic() > worker.ends:
                    task, _ = replace(worker, 0.0)
                    row = past_its_time(task, settings, worker.phase)
                if row is not None:
                    yield row
            for worker in workers:
                if worker.task is None:
                    give(worker)
    finally:
        for worker in workers:
            worker.stop(0.0 if worker.task else 10.0)


def _crashed_reading(phase: str, code: int) -> bool:
    """Whether a worker fell over what it read: it would do so again."""
    return phase == READING and _signal(code) in CRASHES


def _signal(code: int) -> str:
    return signal.Signals(-code).name if -code in set(signal.Signals) else ""


def died(task: Submission, settings: Settings, phase: str, code: int) -> Row:
    """The row of a submission on which the process of the grader ended, as often as it was tried."""
    how = f"was killed by {_signal(code)}" if _signal(code) else f"ended with exit code {code}"
    if _crashed_reading(phase, code):
        return _row(
            task, settings, "refused", f"cannot be read: the process that read it {how}; hand in plain code, not nested so deeply"
        )
    during = f"while {phase}" if phase else "before it had begun"
    advice = "give it more memory, or run it alone with --jobs 1" if _signal(code) == "SIGKILL" else "report this as a bug"
    return failure(
        task, settings, f"not graded: the grader's process {how} {ATTEMPTS} times {during}; grade it by hand, and {advice}"
    )


def past_its_time(task: Submission, settings: Settings, phase: str) -> Row:
    """The row of a submission at which a worker was ended by the clock: what it did then is what took too long."""
    if phase == READING:
        return _row(task, settings, "refused", TOO_LONG)
    if phase == JUDGING:
        return _row(task, settings, "failed", judging.TOO_LONG)
    during = f"while {phase}" if phase else "before it had begun"
    return failure(
        task, settings, f"not graded: the grader's process hung {during}; grade it again, on a machine with less to do"
    )


def failure(submission: Submission, settings: Settings, message: str) -> Row:
    """A row that says that the grader, not the learner, is at fault. A resumed run tries again."""
    return _row(submission, settings, "error", message, data=b"")


def _row(submission: Submission, settings: Settings, status: str, message: str, *, data: bytes | None = None) -> Row:
    unit = _unit(submission)
    if data is None:
        try:
            data = submission.read()
        except Refused:
            data = b""
    key = key_of(submission, data, unit, settings)
    maximum = len(unit.stubs) if unit else 0
    return Row(key, submission.learner, submission.unit, 0, maximum, status, message, settings.isolation, 0.0, settings.seed)


_grader: Grader | None = None
_turn = threading.Lock()


def _grade_on_cluster(submission: Submission, settings: Settings) -> Row:
    """Runs in a Dask worker, which keeps its zygotes between tasks; its threads take turns. The limits of `grader` hold here too (that of
    memory for the whole process meanwhile), but there is no coordinator to end it: what cannot be interrupted, such as one call into torch
    that takes for ever, holds the worker until Dask ends it."""
    global _grader
    with _turn:
        if _grader is None or _grader.settings != settings:
            if _grader is not None:
                _grader.close()
            _grader = Grader(settings)
            atexit.register(_grader.close)
        return _grader.grade(submission, _unit(submission))


def dask_pool(tasks: Iterable[Submission], settings: Settings, address: str) -> Iterator[Row]:
    """Rows as they are done, by the workers of the Dask scheduler at `address`; they need the same files at the same paths.

    Raises CourseError if Dask is not installed or the scheduler cannot be reached.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise CourseError("--scheduler needs Dask: run `pip install -e '.[cluster]'`") from None
    try:
        client = Client(address, timeout="10s", set_as_default=False)
    except (OSError, ValueError) as error:
        raise CourseError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        submissions = sorted(tasks, key=lambda submission: submission.unit)  # a worker seldom changes its unit
        futures = {
            client.submit(_grade_on_cluster, submission, settings, pure=False, retries=ATTEMPTS - 1): submission
            for submission in submissions
        }
        for future in as_completed(list(futures), loop=client.loop):
            if future.status == "finished":
                yield future.result()
            else:
                yield failure(
                    futures[future], settings, "not graded: the Dask worker was lost on this submission; grade it by hand"
                )
            futures.pop(future)


def shard(tasks: list[Submission], number: int, count: int) -> list[Submission]:
    """Part `number` (from 1) of `count`: every count-th, so that shards are of equal size and together everything."""
    return tasks[number - 1 :: count]


def cores() -> int:
    """Processors that this process may use."""
    affinity: Callable[[int], Any] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
