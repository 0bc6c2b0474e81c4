"""How fast strangers' notebooks are graded: ours in strict isolation beside a bare fork, nbval, nbgrader and otter.

    python -m benchmarks.grading [--rounds 5]
    python -m benchmarks.grading --real [--beside CHECKOUT] [--units image/vae,text/gpt]
    python -m benchmarks.grading --many-units 64 --learners 50

One run, one table. All grade the same right answers to the same three small questions (`benchmarks/toy_course`), two processes at a
time, in alternating rounds, so that a slower minute falls on all of them.

- *empty fork* does nothing but what isolation costs: fork from a process that has imported torch, enter the namespaces, set up Landlock and
  seccomp, and end.
- *bare fork* also loads the answer and asks the three questions as often as ours does, in the child itself and without a wire: what
  a grader would do that trusts the submission with the tests, the expected values and the verdict. Ours is timed beside it in the
  same two processes, from notebook bytes to result.
- *the whole command* adds starting up, the process pool, the fsynced journal and the reports.
- nbval, nbgrader and otter execute each notebook in a kernel of its own, without any isolation. Each gets a batch per process, so
  that its own start counts once. They come with `pip install -e '.[benchmarks]'`; without it their rows are left out.

With --real (`benchmarks.real_units`): processor time and memory per right submission of each real unit. With --many-units
(`benchmarks.many_units`): memory over a course of many units.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import nbformat
from rich.console import Console
from rich.table import Table

from benchmarks.many_units import many_units
from benchmarks.real_units import real_units

TOY = Path(__file__).resolve().parent / "toy_course"
UNIT = "toy/three"
PROCESSES = 2
FORKS = 40  # submissions of ours, and bare forks, in a round and process
KERNELS = 4  # notebooks that the others get in a round and process
WHOLE = 400  # submissions for the whole command
FORKED = ("ours", "bare fork", "empty fork")
QUESTIONS = {
    "softmax": "assert torch.allclose(softmax(x), torch.softmax(x, -1))",
    "cross_entropy": "assert torch.allclose(cross_entropy(x, y), torch.nn.functional.cross_entropy(x, y))",
    "accuracy": "assert torch.allclose(accuracy(x, y), (x.argmax(-1) == y).to(x.dtype).mean())",
}
ROUNDS = 4  # as `course.checking.runner` asks each of them
DATA = "x, y = torch.randn(5, 3, dtype=torch.float64), torch.randint(3, (5,))"


# --- ours ----------------------------------------------------------------------------------------------------------------


def _answers() -> list[str]:
    """The code cells of a right answer: imports, then one definition a cell."""
    from course.units.source import parse_module

    return [segment.text for segment in parse_module((TOY / f"reference_impl/{UNIT}.py").read_text(encoding="utf-8"))[1]]


def write_submission(path: Path) -> None:
    """A right answer as a notebook."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [nbformat.v4.new_code_cell(text) for text in _answers()]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def _alternate(path: Path, rounds: int, together: Barrier, results: Any) -> None:
    """In one of the processes: rounds of grading and of bare forks. Seconds of each round are put into `results`."""
    from course.grading.grader import Grader, Settings
    from course.grading.submissions import Submission
    from course.units.catalogue import find_unit
    from course.wire import Target

    unit, submission = find_unit(UNIT), Submission("learner", UNIT, path)
    with Grader(Settings(seed=0)) as grader:
        row = grader.grade(submission, unit)
        assert row.status == "passed", row.message
        zygote = grader._zygote(unit)
        checks = [f"        {DATA}\n        {check}" for check in QUESTIONS.values()]
        verdict = "\n".join(["def verdict():", f"    for _ in range({ROUNDS}):", *checks, f"    return {len(QUESTIONS)}"])
        trusting = "\n\n".join([*_answers(), verdict])

        def grade() -> None:
            assert grader.grade(submission, unit).score == len(QUESTIONS)

        def bare() -> None:
            with zygote.open(trusting) as session:
                assert session.call(Target("verdict"), [], {}) == len(QUESTIONS)

        def empty() -> None:
            zygote.open("").close()

        for _ in range(rounds):
            for name, action in (("ours", grade), ("bare fork", bare), ("empty fork", empty)):
                together.wait()
                started = time.perf_counter()
                for _ in range(FORKS):
                    action()
                results.put((name, (time.perf_counter() - started) / FORKS))


def forks(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds per submission in one process, two at work: of our grader, of a bare fork, and of an empty one."""
    path = folder / "learner.ipynb"
    write_submission(path)
    context = multiprocessing.get_context("spawn")
    together, results = context.Barrier(PROCESSES), context.Queue()
    workers = [context.Process(target=_alternate, args=(path, rounds, together, results)) for _ in range(PROCESSES)]
    for worker in workers:
        worker.start()
    found: dict[str, list[float]] = {title: [] for title in FORKED}
    for _ in range(len(FORKED) * PROCESSES * rounds):
        name, seconds = results.get()
        found[name].append(seconds)
    for worker in workers:
        worker.join()
    return found


def whole_command(folder: Path) -> float:
    """Seconds of a run from beginning to end: find, start, grade, journal, report."""
    from course.grading.run import Plan, grade

    for i in range(WHOLE):
        write_submission(folder / f"class/learner-{i:04}/{UNIT}.ipynb")
    started = time.perf_counter()
    rows, _ = grade(Plan(folder / "class", folder / "out", jobs=PROCESSES), lambda rows, total: rows)
    seconds = time.perf_counter() - started
    assert [row.score for row in rows] == [len(QUESTIONS)] * WHOLE
    return seconds


# --- the others ----------------------------------------------------------------------------------------------------------


def _together(commands: Sequence[tuple[Sequence[str], Path]]) -> float:
    """Seconds until all commands, each in its folder, have ended well."""
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # nbgrader calls alembic by its name
    environment = {**os.environ, "PATH": beside}
    started = time.perf_counter()
    processes = [
        subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for command, folder in commands
    ]
    for process in processes:
        output, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"{process.args!r} failed:\n{output[-2000:]}")
    return time.perf_counter() - started


def nbval(folder: Path) -> Callable[[], float]:
    """Seconds per notebook that asserts its own answers."""
    checks = [f"{DATA}\n{check}" for check in QUESTIONS.values()]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in [*_answers(), *checks]])
    for number in range(PROCESSES):
        for i in range(KERNELS):
            path = folder / f"nbval-{number}/learner-{i}.ipynb"
            path.parent.mkdir(exist_ok=True)
            nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "."]
    return lambda: _together([(command, folder / f"nbval-{number}") for number in range(PROCESSES)]) / KERNELS


def nbgrader(folder: Path) -> Callable[[], float]:
    """Seconds per notebook of `nbgrader autograde`, of an assignment with a solution and a test cell per question."""
    cells = []
    for text in _answers():
        name = next((name for name in QUESTIONS if f"def {name}(" in text), None)
        if name is None:
            cells.append(nbformat.v4.new_code_cell(text))
            continue
        common = {"schema_version": 3, "locked": False}
        solution = {**common, "grade": False, "solution": True, "task": False, "grade_id": name}
        test = {
            **common,
            "grade": True,
            "solution": False,
            "task": False,
            "grade_id": f"test-{name}",
            "points": 1,
            "locked": True,
        }
        marked = text.replace('"""\n', '"""\n    ### BEGIN SOLUTION\n', 1).rstrip() + "\n    ### END SOLUTION"
        cells.append(nbformat.v4.new_code_cell(marked, metadata={"nbgrader": solution}))
        cells.append(nbformat.v4.new_code_cell(f"{DATA}\n{QUESTIONS[name]}", metadata={"nbgrader": test}))
    commands = []
    for number in range(PROCESSES):
        place = folder / f"nbgrader-{number}"
        source = place / "source/ps/three.ipynb"
        source.parent.mkdir(parents=True)
        nbformat.write(nbformat.v4.new_notebook(cells=cells), source)
        (place / "nbgrader_config.py").write_text("c = get_config()\nc.CourseDirectory.course_id = 'toy'\n", encoding="utf-8")
        tool = [sys.executable, "-m", "nbgrader"]
        _together([([*tool, "generate_assignment", "ps", "--force"], place)])
        for i in range(KERNELS):
            submitted = place / f"submitted/learner-{i}/ps/three.ipynb"
            submitted.parent.mkdir(parents=True)
            shutil.copy(source, submitted)
        commands.append(([*tool, "autograde", "ps", "--force"], place))
    return lambda: _together(commands) / KERNELS


def otter(folder: Path) -> Callable[[], float]:
    """Seconds per notebook of `otter run`, which grades one; the batch goes through one process after another."""
    place = folder / "otter"
    (place / "tests").mkdir(parents=True)
    cells = [nbformat.v4.new_code_cell(text) for text in _answers()]
    for name, check in QUESTIONS.items():
        case = {"code": f">>> {DATA}\n>>> {check}\n", "hidden": False, "locked": False}
        test = {
            "name": name,
            "points": 1,
            "suites": [{"cases": [case], "scored": True, "setup": "", "teardown": "", "type": "doctest"}],
        }
        (place / f"tests/{name}.py").write_text(f"OK_FORMAT = True\ntest = {test!r}\n", encoding="utf-8")
    nbformat.write(nbformat.v4.new_notebook(cells=cells), place / "three.ipynb")
    tool = [sys.executable, "-m", "otter"]
    _together([([*tool, "generate", "--no-environment", "-o", "autograder.zip"], place)])
    commands = []
    for number in range(PROCESSES):
        own = folder / f"otter-{number}"
        own.mkdir()
        for name in ("three.ipynb", "autograder.zip"):
            shutil.copy(place / name, own / name)
        commands.append(([*tool, "run", "three.ipynb"], own))
    _together(commands)
    result = json.loads((folder / "otter-0/results.json").read_text(encoding="utf-8"))
    assert sum(test.get("score", 0) for test in result["tests"]) == len(QUESTIONS), result
    return lambda: _together(commands)


OTHERS: dict[str, tuple[str, Callable[[Path], Callable[[], float]]]] = {
    "nbval": ("nbval", nbval),
    "nbgrader": ("nbgrader", nbgrader),
    "otter": ("otter", otter),
}


# --- the table -----------------------------------------------------------------------------------------------------------


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of every grader")
    parser.add_argument("--real", action="store_true", help="measure the real units instead")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="with --real: an older checkout, measured in turn")
    parser.add_argument("--units", help="with --real: only these, separated by commas")
    parser.add_argument("--many-units", type=int, metavar="N", help="measure a course of N small units instead")
    parser.add_argument("--learners", type=int, default=50, help="with --many-units: submissions for each of them")
    options = parser.parse_args()
    console = Console()
    if options.real:
        real_units(console, options.beside, options.units.split(",") if options.units else None)
        return
    if options.many_units:
        with tempfile.TemporaryDirectory() as name:
            write_submission(Path(name) / "right.ipynb")
            many_units(console, TOY, Path(name) / "right.ipynb", options.many_units, options.learners)
        return
    os.environ["AIGC_ROOT"] = str(TOY)  # which the processes take for the course, and
    os.environ["PYTHONPATH"] = str(TOY)  # from which they import the unit
    sys.path.insert(0, str(TOY))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        others = {title: make(folder) for title, (module, make) in OTHERS.items() if _installed(module)}
        seconds: dict[str, list[float]] = {title: [] for title in (*FORKED, *others)}
        for _ in range(options.rounds):
            for title, values in forks(folder, 3).items():
                seconds[title] += values
            for title, measure in others.items():
                seconds[title].append(measure())
        whole = whole_command(folder)
    rates = {title: PROCESSES / statistics.median(values) for title, values in seconds.items()}
    table = Table("", "submissions/s", "ms, one process", "range", "ours is faster by", box=None, header_style="bold")
    for title, values in seconds.items():
        low, middle, high = (1000 * value for value in (min(values), statistics.median(values), max(values)))
        factor = "" if title == "ours" else f"{rates['ours'] / rates[title]:.3g}×"
        table.add_row(title, f"{rates[title]:.3g}", f"{middle:.0f}", f"{low:.0f} to {high:.0f}", factor)
    console.print(table)
    share = rates["ours"] / rates["bare fork"]
    console.print(
        f"ours reaches {share:.0%} of the bare fork-and-isolate limit (target: 85 %), {rates['ours']:.0f} submissions/s (target: 40)",
        highlight=False,
    )
    console.print(f"the whole command: {WHOLE} submissions in {whole:.1f} s, {WHOLE / whole:.0f}/s", highlight=False)
    missing = [title for title, (module, _) in OTHERS.items() if not _installed(module)]
    if missing:
        console.print(f"not installed, so not measured: {', '.join(missing)} (pip install -e '.[benchmarks]')", highlight=False)


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


if __name__ == "__main__":
    main()
