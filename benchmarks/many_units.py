"""A course of many small units graded by two workers: memory that does not grow with the number of units.

python -m benchmarks.grading --many-units 64 --learners 50
"""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import processes

PARTS = 8  # lines of the table
PROCESSES = 2


def write_course(toy: Path, folder: Path, count: int) -> list[str]:
    """A course of `count` copies of the toy course's unit; their ids."""
    names = [f"unit_{number:03}" for number in range(count)]
    for path in sorted(toy.rglob("*")):
        if path.is_dir() or "__pycache__" in path.parts:
            continue
        for name in names if "three" in path.name else [""]:
            target = folder / str(path.relative_to(toy)).replace("three", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(path.read_text(encoding="utf-8").replace("toy/three", f"toy/{name}"), encoding="utf-8")
    return [f"toy/{name}" for name in names]


def many_units(console: Console, toy: Path, notebook: Path, count: int, learners: int) -> None:
    """Grade `learners` copies of a right `notebook` for each of `count` units; print memory as it goes."""
    from course.grading.grader import Settings
    from course.grading.pool import local_pool
    from course.grading.submissions import Submission

    with tempfile.TemporaryDirectory() as name:
        units = write_course(toy, Path(name) / "course", count)
        os.environ["AIGC_ROOT"] = str(Path(name) / "course")  # which the workers take for the course, and
        sys.path.insert(0, os.environ["AIGC_ROOT"])  # from which they import its units
        tasks = []
        for learner in range(learners):
            for unit in units:
                path = Path(name) / f"class/learner-{learner:03}/{unit}.ipynb"
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(notebook, path)
                tasks.append(Submission(f"learner-{learner:03}", unit, path))
        table = Table("submissions", "units", "MB, both workers", "submissions/s", box=None, header_style="bold")
        seen: set[str] = set()
        sizes: list[float] = []
        started, part = time.perf_counter(), max(1, len(tasks) // PARTS)
        for done, row in enumerate(local_pool(tasks, Settings(seed=0), PROCESSES), start=1):
            assert row.status == "passed", row
            seen.add(row.unit)
            if done % part == 0:
                sizes.append(sum(processes.proportional_set_size(worker.pid) for worker in processes.children()))
                rate = part / (time.perf_counter() - started)
                table.add_row(str(done), str(len(seen)), f"{sizes[-1]:.0f}", f"{rate:.0f}")
                started = time.perf_counter()
        sys.path.remove(os.environ.pop("AIGC_ROOT"))
    console.print(table)
    console.print(
        f"{count} units, {learners} learners, {PROCESSES} workers: from {sizes[0]:.0f} MB to {sizes[-1]:.0f} MB, "
        f"{(sizes[-1] - sizes[0]) / max(1, count) / PROCESSES:+.2f} MB per unit and worker",
        highlight=False,
    )
