"""Right submissions of the real units, graded one after another by one worker: processor time of both sides, and memory.

    python -m benchmarks.grading --real [--beside CHECKOUT] [--units image/vae,text/gpt]

With --beside the same is measured of another checkout of the course in the same run, unit by unit in turn, so that a slower minute falls
on both. The measuring process below runs in either checkout: it asks only for what both have.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROUNDS = 3  # counted, after one that starts the sandbox
UNITS_LATER = 80  # of the forecast
# Put before the code of `measure`, which a bare interpreter runs: the checkout's modules, and this folder's `processes`.
START = """
import sys
sys.path[:0] = [{checkout!r}, {folder!r}]
import real_units
real_units.measure({threads})
"""


def measure(threads: int) -> None:
    """For each unit named on the standard input: grade its solution a few times, and print what that took as a line of JSON."""
    import time

    import processes  # type: ignore[import-not-found]  # by its own name: `benchmarks` is the other checkout's
    import torch

    from course.grading.grader import Grader, Settings
    from course.grading.submissions import Submission
    from course.units.catalogue import find_unit

    if threads:
        torch.set_num_threads(threads)
    with Grader(Settings(seed=0)) as grader:
        for line in sys.stdin:
            unit = find_unit(line.strip())
            submission = Submission("learner", unit.id, unit.solution)
            cpu, wall = [], []
            for turn in range(1 + ROUNDS):
                before, started = processes.cpu_seconds(), time.perf_counter()
                row = grader.grade(submission, unit)
                if turn:
                    cpu.append(processes.cpu_seconds() - before)
                    wall.append(time.perf_counter() - started)
                if row.status != "passed":
                    raise SystemExit(f"{unit.id}: {row.message}")
            print(json.dumps({"cpu": cpu, "wall": wall, "memory": processes.proportional_set_size()}), flush=True)


class _Checkout:
    """A process that grades with the code of one checkout."""

    def __init__(self, folder: Path, threads: int) -> None:
        start = START.format(checkout=str(folder), folder=str(Path(__file__).resolve().parent), threads=threads)
        self._process = subprocess.Popen(
            [sys.executable, "-c", start], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, unit: str) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(unit + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the measurement of {unit} ended early")
        return json.loads(answer)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def real_units(console: Console, beside: Path | None, only: list[str] | None = None) -> None:
    """Print the table of all units (or of `only` these), and how far the targets are met."""
    from course.units.catalogue import exercises

    names = [unit.id for unit in exercises() if only is None or unit.id in only]
    ours = _Checkout(Path(__file__).resolve().parent.parent, threads=1)  # as workers of the pool have
    theirs = _Checkout(beside.resolve(), threads=0) if beside else None
    columns = ("unit", "CPU s", "wall s", "MB so far", *(("CPU s before", "MB before", "ratio") if theirs else ()))
    table = Table(*columns, box=None, header_style="bold")
    cpu, memory = [], []
    for name in names:
        new = ours.ask(name)
        known = beside is not None and (beside / "solutions" / f"{name}.ipynb").exists()  # an older checkout lacks younger units
        old = theirs.ask(name) if theirs and known else None
        cpu.append(statistics.median(new["cpu"]))
        memory.append(new["memory"])
        row = [name, f"{cpu[-1]:.2f}", f"{statistics.median(new['wall']):.2f}", f"{memory[-1]:.0f}"]
        if old:
            was = statistics.median(old["cpu"])
            row += [f"{was:.2f}", f"{old['memory']:.0f}", f"{was / cpu[-1]:.1f}×"]
        elif theirs:
            row += ["–"] * 3
        table.add_row(*row)
    for checkout in (ours, theirs):
        if checkout is not None:
            checkout.close()
    console.print(table)
    growth = max(0.0, (memory[-1] - memory[len(memory) // 2]) / max(1, len(memory) - 1 - len(memory) // 2))
    console.print(
        f"CPU of one core, both sides: median {statistics.median(cpu):.2f} s (target 0.5), most {max(cpu):.2f} s (target 1.2)\n"
        f"a worker after {len(names)} units: {memory[-1]:.0f} MB of proportional set size (target 1200); it grew by {growth:.1f} MB a unit in "
        f"the second half, which makes {memory[-1] + growth * (UNITS_LATER - len(names)):.0f} MB after {UNITS_LATER}",
        highlight=False,
    )
