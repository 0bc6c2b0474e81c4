"""A class graded whole, and once more by a run that is killed again and again and resumed: are all rows the same, and is nothing left?

    python -m benchmarks.survival [--count 600] [--kills 3] [--dask] [--seed 1]

The class: for each learner the solution of a unit, and in every fourth something broken in it (an answer that is a hole, raises,
returns nothing, or a file cut in half). The first run ends by itself. The second is killed without warning (SIGKILL) at moments
drawn from the seed: the command itself, except for one time that a worker alone is; then it goes on with `--resume`. With --dask both grade on
a cluster of two worker processes on this machine.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from course.units.catalogue import Unit, exercises

BROKEN = 4  # of so many submissions one is
OWN = ("key", "seconds", "isolation")  # fields of a row in which two runs may differ: the key holds what is equal, time does not
GRACE = 30.0  # seconds after a run until what it has started must be gone


def hole(source: str) -> str:
    """The first answer of a cell not given."""
    return source.replace("\n    return ", "\n    raise NotImplementedError  # return ", 1)


def raising(source: str) -> str:
    """The first answer of a cell an error of its own."""
    return source.replace("\n    return ", "\n    return 1 / 0 or ", 1)


def silent(source: str) -> str:
    """The first answer of a cell nothing."""
    return source.replace("\n    return ", "\n    pass  # return ", 1)


def write_class(folder: Path, units: list[Unit], count: int, drawn: random.Random) -> int:
    """A folder of `count` learners; how many of them hand in something broken."""
    ways: list[Callable[[str], str]] = [hole, raising, silent]
    broken = 0
    for number in range(count):
        unit = units[number % len(units)]
        target = folder / f"learner-{number:04}" / f"{unit.id}.ipynb"
        target.parent.mkdir(parents=True)
        text = unit.solution.read_text(encoding="utf-8")
        if number % BROKEN == 0:
            broken += 1
            if (way := drawn.randrange(len(ways) + 1)) == len(ways):
                text = text[: len(text) // 2]
            else:
                notebook = json.loads(text)
                cells = [
                    cell for cell in notebook["cells"] if cell["cell_type"] == "code" and "    return " in "".join(cell["source"])
                ]
                cell = drawn.choice(cells)
                cell["source"] = ways[way]("".join(cell["source"]))
                text = json.dumps(notebook)
        target.write_text(text, encoding="utf-8")
    return broken


def command(submissions: Path, out: Path, more: list[str]) -> list[str]:
    return [sys.executable, "-m", "course.cli", "grade", str(submissions), "--out", str(out), "--seed", "1", *more]


def rows_of(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """What counts of a run, by learner and unit: the last row of each, without what may differ."""
    found = {}
    for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError):  # the line at which a run was killed
            row = json.loads(line)
            if "learner" in row:
                found[row["learner"], row["unit"]] = {name: value for name, value in row.items() if name not in OWN}
    return found


def graded(out: Path) -> int:
    path = out / "results.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def killed_run(
    submissions: Path, out: Path, more: list[str], count: int, kills: int, drawn: random.Random, cluster: int | None
) -> None:
    """Grade, with `kills` kills on the way; the second of them, if there is one, hits one worker, the others the command itself.

    cluster: the process whose children are the workers, where it is not the command.
    """
    moments = sorted(drawn.sample(range(count // 10, count - count // 10), kills))
    resume: list[str] = []
    running = None
    for number, moment in enumerate(moments):
        if running is None:
            running = subprocess.Popen(
                command(submissions, out, [*more, *resume]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            resume = ["--resume"]
        while graded(out) < moment and running.poll() is None:
            time.sleep(0.05)
        if running.poll() is not None:
            raise SystemExit(
                f"the run ended before it was killed: {(running.stderr.read() if running.stderr else b'').decode()[-1000:]}"
            )
        if number == 1:
            workers = [child for child in psutil.Process(cluster or running.pid).children(recursive=True) if child.children()]
            os.kill(drawn.choice(workers or psutil.Process(running.pid).children()).pid, signal.SIGKILL)
            continue
        running.kill()
        running.wait()
        running = None
    if running is None:
        running = subprocess.Popen(command(submissions, out, [*more, *resume]), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, said = running.communicate()
    if running.returncode not in (0, 1):
        raise SystemExit(f"the resumed run ended with {running.returncode}: {said.decode()[-2000:]}")


def left_behind(before: set[int]) -> list[str]:
    """The processes of this user that were not there before and have not ended within the grace."""
    ended = time.monotonic() + GRACE
    while True:
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if (
                    process.pid not in before
                    and process.status() != psutil.STATUS_ZOMBIE
                    and "course" in " ".join(process.cmdline())
                ):
                    left.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
        if not left or time.monotonic() > ended:
            return left
        time.sleep(0.5)


@contextlib.contextmanager
def workers(dask: bool) -> Iterator[tuple[list[str], int | None]]:
    """The options of a run, and the process whose children are its workers, if that is another than the run's."""
    if not dask:
        yield [], None
        return
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield ["--scheduler", cluster.scheduler_address], os.getpid()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=600, help="submissions")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--dask", action="store_true", help="on a Dask cluster of this machine")
    parser.add_argument("--seed", type=int, default=1, help="of what is broken, and of when a run is killed")
    options = parser.parse_args()
    drawn, console = random.Random(options.seed), Console()
    table = Table("run", "rows", "seconds", box=None, header_style="bold")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "class"
        broken = write_class(folder, exercises(), options.count, drawn)
        before = set(psutil.pids())
        with workers(options.dask) as (more, cluster):
            for title in ("whole", f"{options.kills} kills"):
                out, started = Path(name) / title.replace(" ", "-"), time.monotonic()
                if title == "whole":
                    subprocess.run(command(folder, out, more), stdout=subprocess.DEVNULL, check=False)
                else:
                    killed_run(folder, out, more, options.count, options.kills, drawn, cluster)
                rows = rows_of(out)
                table.add_row(title, str(len(rows)), f"{time.monotonic() - started:.0f}")
        one, two = rows_of(Path(name) / "whole"), rows_of(out)
        differ = [f"{key}: {one.get(key)} / {two.get(key)}" for key in sorted({*one, *two}) if one.get(key) != two.get(key)]
        left = left_behind(before)
        statuses: dict[str, int] = {}
        for row in one.values():
            statuses[row["status"]] = statuses.get(row["status"], 0) + 1
    console.print(table)
    console.print(
        f"{options.count} submissions, {broken} of them broken: {', '.join(f'{n} {status}' for status, n in sorted(statuses.items()))}\n"
        f"rows that differ: {len(differ)}; processes left: {len(left)}",
        highlight=False,
    )
    for line in [*differ[:10], *left[:10]]:
        console.print(line, markup=False, highlight=False)
    raise SystemExit(bool(differ or left or len(one) != options.count))


if __name__ == "__main__":
    main()
