"""Tests of exercises ask for `impl`, which is the reference and the executed solution here, or a learner's notebook:

pytest tests/exercises/image/test_vae.py --notebook work/image/vae.ipynb
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from pathlib import Path

import matplotlib
import pytest
import torch

from course.checking.load import impl_from, module_from_source, reference_impl
from course.checking.runner import fresh_seed
from course.proving.prove import to_ask
from course.proving.records import read_record
from course.testing import Draw
from course.units.catalogue import Unit, exercises
from course.units.notebooks import answer_source, read_notebook

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent
EXERCISE_TESTS = ROOT / "tests" / "exercises"
EXERCISES = exercises(ROOT)
SAMPLE = {"audit": 2, "devices": 2, "solution": 2}  # units that are asked although their record stands, drawn from the seed


def pytest_addoption(parser):
    parser.addoption("--notebook", help="run the tests of an exercise on this notebook instead of on the reference")
    parser.addoption("--seed", type=int, help="repeat the questions of an earlier run")
    parser.addoption("--unit", help="only the tests that are about this unit")
    parser.addoption("--from-records", action="store_true", help="of units whose records stand, ask only a sample anew")
    parser.addoption("--sample", type=int, help="how large that sample is, for each kind of proof")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "proven_by(kind): what a record of this kind vouches for, of the unit that is its parameter"
    )
    given = getattr(config, "workerinput", {})
    chosen = given.get("course_seed", config.getoption("--seed"))
    config.course_seed = fresh_seed() if chosen is None else chosen
    config.course_asked = {}
    if given:
        config.course_taken = given["course_taken"]
    elif config.getoption("--from-records"):
        sample = config.getoption("--sample")
        counts = SAMPLE if sample is None else dict.fromkeys(SAMPLE, sample)
        config.course_asked = {kind: to_ask(EXERCISES, kind, config.course_seed, n) for kind, n in counts.items()}
    if not given:
        config.course_taken = {kind: [unit.id for unit in asked.taken] for kind, asked in config.course_asked.items()}
        if torch.cuda.is_available() and config.course_taken:  # what was proven without a GPU says nothing about one
            seen = {unit.id for unit in EXERCISES if read_record(unit).get("devices", {}).get("device") == "cuda"}
            config.course_taken["devices"] = [unit for unit in config.course_taken["devices"] if unit in seen]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """With pytest-xdist: a worker asks what the process that prints the seed asks."""
    node.workerinput["course_seed"] = node.config.course_seed
    node.workerinput["course_taken"] = node.config.course_taken


def units_of(item) -> list[str]:
    """The units that a test is about: its parameter, or the unit whose tests lie in its file."""
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    firsts = [next(iter(value), None) if isinstance(value, tuple) else value for value in parameters]  # (suite, stub, name) too
    ids = [unit.id for unit in (getattr(first, "unit", first) for first in firsts) if isinstance(unit, Unit)]
    return ids or [unit.id for unit in EXERCISES if unit.tests == item.path]


def vouched_for(item, taken) -> bool:
    """Whether the records that stand say already what this test would say."""
    if EXERCISE_TESTS in item.path.parents:  # the reference, and the solution, whose code is the reference's
        kinds = ["audit"]
    else:
        kinds = [kind for mark in item.iter_markers("proven_by") for kind in mark.args]
    about = units_of(item) if kinds else []
    return bool(about) and all(unit in taken.get(kind, ()) for kind in kinds for unit in about)


# The graders of these folders run on all cores by themselves, and count the processes of this machine.
BY_THEMSELVES = [ROOT / "tests" / name for name in ("attacks", "grading", "sandbox")]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(config, items):
    """Leave out what records vouch for, and with `--dist loadgroup`: what shares a costly fixture goes to one worker, one grader runs at a time."""
    only, notebook = config.getoption("--unit"), config.getoption("--notebook")
    left_out = [
        item
        for item in items
        if (only and only not in units_of(item)) or (not only and not notebook and vouched_for(item, config.course_taken))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
    for item in items:
        if item.get_closest_marker("xdist_group"):  # pytest-xdist would join the names of two groups to a third
            continue
        if any(folder in item.path.parents for folder in BY_THEMSELVES):
            item.add_marker(pytest.mark.xdist_group("graders"))
        elif item.path.name != "test_fakes.py":  # whose rows have nothing in common
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(ROOT))))


def pytest_report_header(config):
    return [
        f"course: questions drawn from --seed {config.course_seed}",
        *(f"course: {asked}" for asked in config.course_asked.values()),
    ]


def pytest_terminal_summary(terminalreporter, config):
    """Said again where people look: what was taken from records, and what was asked."""
    for asked in config.course_asked.values():
        terminalreporter.write_line(f"course: {asked} (--seed {config.course_seed})")


def pytest_generate_tests(metafunc):
    if "impl" in metafunc.fixturenames:
        named = metafunc.config.getoption("--notebook")
        metafunc.parametrize("impl", [named] if named else ["reference", "solution"], indirect=True)


@pytest.fixture
def impl(request):
    unit = next(unit for unit in EXERCISES if unit.tests == request.path)
    if request.param == "reference":
        made = reference_impl(unit)
    else:
        path = unit.solution if request.param == "solution" else Path(request.param)
        made = impl_from(module_from_source(answer_source(read_notebook(path), unit)[0], unit.name), unit)
    made.seed(request.config.course_seed)
    return made


@pytest.fixture
def draw(request):
    return Draw(request.config.course_seed)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(autouse=True, scope="session")
def nobodys_state(tmp_path_factory):
    """No test reads or writes what the person who runs it has learnt."""
    os.environ["AIGC_HOME"] = str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True, scope="session")
def few_threads():
    """Two, or one for each of several workers: more would only wait for each other."""
    torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))
