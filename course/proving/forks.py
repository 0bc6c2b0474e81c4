"""Tasks in forked processes of their own: one can loop, crash or spoil global state without harm to the next."""

import gc
import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from course.errors import CourseError

PATIENCE = 10  # how much longer than its limit a process may take on the wall clock: the machine may be busy
MEMORY = 8 * 2**30  # bytes that a task may claim besides what it starts with


@dataclass(frozen=True)
class Ended:
    """A forked task that did not come back: `timeout` (it was killed at the limit) or `crashed`, and how."""

    status: str
    message: str


def forked(tasks: Sequence[Callable[[], Any]], limits: Sequence[float], jobs: int) -> Iterator[tuple[int, Any]]:
    """Run each task in a forked process of its own, `jobs` at a time: its index and what it returned, or `Ended`, as they end.

    limits: seconds of processor time per task, which do not depend on what else the machine does; a task that only waits is
    ended too, after `PATIENCE` times as long. The parent must not have computed with torch: threads do not survive a fork.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise CourseError("an audit forks processes, which this system cannot do; run it on Linux, macOS or WSL")
    context = multiprocessing.get_context("fork")
    waiting = list(range(len(tasks)))[::-1]
    running: dict[Connection, tuple[int, Any, float]] = {}
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()  # else a collection in a child would touch, and so copy, every page that it shares with this process
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                index = waiting.pop()
                receiver, sender = context.Pipe(duplex=False)
                process = context.Process(target=_work, args=(tasks[index], limits[index], sender), daemon=True)
                process.start()
                sender.close()
                running[receiver] = (index, process, time.monotonic() + PATIENCE * limits[index])
            patience = max(0.0, min(until for _, _, until in running.values()) - time.monotonic())
            ready = {connection for connection in wait(list(running), patience) if isinstance(connection, Connection)}
            for connection, (index, process, until) in list(running.items()):
                if connection in ready:
                    try:
                        outcome = connection.recv()
                    except EOFError:
                        process.join()
                        outcome = Ended("crashed", f"the process ended with status {process.exitcode}")
                        if process.exitcode == -signal.SIGXCPU:
                            outcome = Ended("timeout", f"still running after {limits[index]:.0f} s of processor time")
                elif time.monotonic() >= until:
                    outcome = Ended("timeout", f"still there after {PATIENCE * limits[index]:.0f} s")
                    process.kill()
                else:
                    continue
                process.join(1)
                if process.is_alive():  # it has answered, but something keeps it from ending
                    process.kill()
                    process.join()
                connection.close()
                del running[connection]
                yield index, outcome
    finally:
        gc.unfreeze()
        for connection, (_, process, _) in running.items():
            process.kill()
            process.join()
            connection.close()


def _work(task: Callable[[], Any], limit: float, sender: Connection) -> None:
    """In the child: quiet, with one thread, `limit` seconds of processor time, and not all the memory of the machine."""
    import resource

    import torch

    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    torch.set_num_threads(1)

    def at_most(kind: int, amount: int) -> None:
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (amount if hard == resource.RLIM_INFINITY else min(amount, hard), hard))

    at_most(resource.RLIMIT_CORE, 0)
    at_most(resource.RLIMIT_CPU, math.ceil(limit))
    if sys.platform == "linux" and not torch.cuda.is_available():  # CUDA reserves more addresses than there is memory
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        at_most(resource.RLIMIT_AS, used + MEMORY)
    try:
        outcome = task()
    except CourseError as error:
        outcome = error
    except BaseException:
        outcome = Ended("crashed", traceback.format_exc(limit=-3))
    sender.send(outcome)
    sender.close()


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor_seconds() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])
