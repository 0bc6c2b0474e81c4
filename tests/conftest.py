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
from course.testing import Draw
from course.units.catalogue import Unit, exercises
from course.units.notebooks import answer_source, read_notebook

matplotlib.use("Agg")
ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--notebook", help="run the tests of an exercise on this notebook instead of on the reference")
    parser.addoption("--seed", type=int, help="repeat the questions of an earlier run")


def pytest_configure(config):
    chosen = getattr(config, "workerinput", {}).get("course_seed", config.getoption("--seed"))
    config.course_seed = fresh_seed() if chosen is None else chosen


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node):
    """With pytest-xdist: a worker asks what the process that prints the seed asks."""
    node.workerinput["course_seed"] = node.config.course_seed


# The graders of these folders run on all cores by themselves, and count the processes of this machine.
BY_THEMSELVES = [ROOT / "tests" / name for name in ("attacks", "grading", "sandbox")]


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`: what shares a costly fixture goes to one worker, and one grader runs at a time."""
    for item in items:
        if any(folder in item.path.parents for folder in BY_THEMSELVES):
            item.add_marker(pytest.mark.xdist_group("graders"))
        elif item.path.name != "test_fakes.py":  # whose rows have nothing in common
            item.add_marker(pytest.mark.xdist_group(str(item.path.relative_to(ROOT))))


def pytest_report_header(config):
    return f"course: questions drawn from --seed {config.course_seed}"


def unit_of(path: Path) -> Unit:
    return next(unit for unit in exercises(ROOT) if unit.tests == path)


def pytest_generate_tests(metafunc):
    if "impl" in metafunc.fixturenames:
        named = metafunc.config.getoption("--notebook")
        metafunc.parametrize("impl", [named] if named else ["reference", "solution"], indirect=True)


@pytest.fixture
def impl(request):
    unit = unit_of(request.path)
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
