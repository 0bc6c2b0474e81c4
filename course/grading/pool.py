"""Many submissions at once: worker processes that may die without taking the run with them, or a Dask cluster."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from course.errors import CourseError
from course.grading.grader import Grader, Settings, key_of
from course.grading.journal import Row
from course.grading.submissions import Submission
from course.units.catalogue import Unit, find_unit

ATTEMPTS = 2  # a submission whose grading kills its worker is tried once more, then reported as the grader's own fault


def _unit(submission: Submission) -> Unit | None:
    return find_unit(submission.unit) if submission.unit else None


def _work(connection: Connection, settings: Settings) -> None:
    """A worker process: grade what comes, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the coordinator is interrupted, and closes the connection
    units: dict[str, Unit | None] = {}
    with Grader(settings) as grader:
        while True:
            try:
                submission = connection.recv()
            except EOFError:
                return
            if submission.unit not in units:
                units[submission.unit] = _unit(submission)
            row = grader.grade(submission, units[submission.unit])
            try:
                connection.send(row)
            except BrokenPipeError:
                return


class _Worker:
    """One process, and what it works on."""

    def __init__(self, settings: Settings) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, settings), name="aigc-grader")
        self.process.start()
        theirs.close()
        self.task: Submission | None = None

    def start(self, task: Submission) -> None:
        self.task = task
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died; the next recv() says so
            self.connection.send(task)

    def stop(self) -> None:
        self.connection.close()
        self.process.join(10)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


def local_pool(tasks: Iterable[Submission], settings: Settings, jobs: int) -> Iterator[Row]:
    """Rows as they are done, by `jobs` processes. A worker that dies is replaced; what it worked on is tried again."""
    waiting: deque[Submission] = deque(tasks)
    attempts: dict[Submission, int] = {}
    workers = [_Worker(settings) for _ in range(min(jobs, len(waiting)))]
    try:
        for worker in workers:
            worker.start(waiting.popleft())
        while any(worker.task for worker in workers):
            busy = {worker.connection: worker for worker in workers if worker.task}
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                task = worker.task
                assert task is not None
                try:
                    yield worker.connection.recv()
                    worker.task = None
                except (EOFError, ConnectionResetError, OSError):
                    workers[workers.index(worker)] = replacement = _Worker(settings)
                    worker.stop()
                    worker = replacement
                    attempts[task] = attempts.get(task, 0) + 1
                    if attempts[task] < ATTEMPTS:
                        waiting.appendleft(task)
                    else:
                        yield failure(task, settings, f"the grader died {ATTEMPTS} times on this submission; grade it by hand")
                if waiting:
                    worker.start(waiting.popleft())
    finally:
        for worker in workers:
            worker.stop()


def failure(submission: Submission, settings: Settings, message: str) -> Row:
    """A row that says that the grader, not the learner, is at fault."""
    unit = _unit(submission)
    key = key_of(submission, b"", unit, settings)
    maximum = len(unit.stubs) if unit else 0
    return Row(key, submission.learner, submission.unit, 0, maximum, "error", message, settings.isolation, 0.0, settings.seed)


_grader: Grader | None = None
_turn = threading.Lock()


def _grade_on_cluster(submission: Submission, settings: Settings) -> Row:
    """Runs in a Dask worker, which keeps its zygotes between tasks; its threads take turns."""
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
        submissions = list(tasks)
        futures = {
            client.submit(_grade_on_cluster, submission, settings, pure=False, retries=ATTEMPTS - 1): submission
            for submission in submissions
        }
        for future in as_completed(list(futures), loop=client.loop):
            if future.status == "finished":
                yield future.result()
            else:
                yield failure(futures[future], settings, "the grader died on this submission; grade it by hand")
            futures.pop(future)


def shard(tasks: list[Submission], number: int, count: int) -> list[Submission]:
    """Part `number` (from 1) of `count`: every count-th, so that shards are of equal size and together everything."""
    return tasks[number - 1 :: count]


def cores() -> int:
    """Processors that this process may use."""
    affinity: Callable[[int], Any] | None = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
