"""`pytest --from-records`, as `make test` runs it: what stands is taken from records, but for a sample; without the option everything is asked."""

import re
import subprocess
import sys

import pytest

from course.proving.prove import knows_torch, to_ask
from course.units.catalogue import exercises

SEED = 20261128


def collected(root, *options):
    """The tests that a run would ask, and what it says."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--seed", str(SEED), *options]
    places = ("tests/exercises", "tests/test_fakes.py", "tests/test_solutions.py", "tests/reference/test_devices.py")
    ran = subprocess.run([*command, *places], cwd=root, capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    return [line for line in ran.stdout.splitlines() if "::" in line], ran.stdout


@pytest.fixture(scope="module")
def asked(root):
    return collected(root, "--from-records")


def units_in(lines, place):
    """The units that the collected tests of a place are about."""
    ids = [unit.id for unit in exercises()]
    own = [line for line in lines if line.startswith(place)]
    return {
        unit
        for unit in ids
        for line in own
        if re.search(rf"\[{unit}[\]:-]|-{unit}\]|exercises/{unit.replace('/', '/test_')}\.py", line)
    }


def concerned(place):
    """The units that a place has tests of: what knows no torch runs on no device."""
    return [unit for unit in exercises() if "devices" not in place or knows_torch(unit)]


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("tests/exercises", "audit"),
        ("tests/test_fakes.py", "audit"),
        ("tests/test_solutions.py", "solution"),
        ("tests/reference/test_devices.py", "devices"),
    ],
)
def test_what_stands_is_left_out_but_for_the_sample(asked, place, kind):
    lines, said = asked
    expected = to_ask(exercises(), kind, SEED, 2)
    assert units_in(lines, place) == {unit.id for unit in concerned(place) if expected.asks(unit)}
    assert f"course: {expected}" in said.replace("\n", " ") or str(expected) in said


def test_without_the_option_everything_is_asked(root, asked):
    lines, said = collected(root)
    for place in ("tests/exercises", "tests/test_fakes.py", "tests/test_solutions.py", "tests/reference/test_devices.py"):
        assert units_in(lines, place) == {unit.id for unit in concerned(place)}, place
    assert "taken from their records" not in said
    kept = [line for line in lines if "the_meta_device_does_catch" in line]
    assert kept and set(kept) <= set(asked[0]), "a test that is about no unit is always asked"


def test_one_unit_alone(root):
    lines, _ = collected(root, "--unit", "image/vae", "--from-records")
    assert lines and units_in(lines, "tests/") == {"image/vae"}
