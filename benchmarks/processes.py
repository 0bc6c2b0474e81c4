"""What a tree of processes costs: processor time and memory. For benchmarks; it imports nothing of the course, so that it can measure another checkout."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil


def tree(process: int | None = None) -> Iterator[psutil.Process]:
    """A process (this one) and all that it started, as far as they still run."""
    top = psutil.Process(process)
    yield top
    yield from top.children(recursive=True)


def cpu_seconds(process: int | None = None) -> float:
    """Processor time of the tree so far, with that of children that have ended and been waited for."""
    total = 0.0
    for each in tree(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = each.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def proportional_set_size(process: int | None = None) -> float:
    """Megabytes of memory of the tree, each page that several processes share divided among them (Linux)."""
    total = 0
    for each in tree(process):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):  # one that has just ended
            fields = Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in fields if line.startswith("Pss:"))
    return total / 1024


def children(process: int | None = None) -> list[psutil.Process]:
    """What a process (this one) has started itself and still runs."""
    return psutil.Process(process).children()
