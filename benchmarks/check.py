"""How long a learner waits: `check` on every stub in a live process, beside the test's own compute, and each demo.

    python -m benchmarks.check [--demos]

One run, one table. "tests" is the time spent inside of the test functions with the reference as the answer, which no
tool can save; "beyond" is what `check` adds to it, the first time and the median of the next.
"""

import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.table import Table

from course.checking.load import impl_from, reference_module
from course.checking.runner import load_suite, run
from course.notebook import Checker
from course.units.catalogue import exercises

REPEATS = 5


def timed(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        function()
    return time.perf_counter() - started


def main() -> None:
    """Print the table; with --demos, also how long each demo takes."""
    console = Console()
    table = Table("unit", "stub", "tests (ms)", "beyond, first (ms)", "beyond (ms)", "ratio", box=None, header_style="bold")
    for unit in exercises():
        module = reference_module(unit)
        check, suite = Checker(unit, vars(module)), load_suite(unit)
        impl = impl_from(module, unit)
        for stub in unit.stubs:
            first = timed(partial(check, stub, seed=0))
            checks, tests = [], []
            for seed in range(REPEATS):  # alternating, so that a slower minute falls on both
                checks.append(timed(partial(check, stub, seed=seed)))
                tests.append(timed(partial(run, suite, impl, stubs=[stub], seed=seed)))
            whole, own = statistics.median(checks), statistics.median(tests)
            row = [f"{1000 * value:.1f}" for value in (own, first - own, whole - own)]
            table.add_row(unit.id, stub, *row, f"{whole / own:.2f}")
    console.print(table)
    if "--demos" in sys.argv[1:]:
        for unit in exercises():
            seconds = timed(reference_module(unit).demo)
            console.print(f"demo of {unit.id}: {seconds:.1f} s (at most 15)", highlight=False)


if __name__ == "__main__":
    main()
