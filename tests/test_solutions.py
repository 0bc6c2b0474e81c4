"""Every solution runs again from top to bottom, as nbval sees it: a cell that raises fails, and so does a check that does not pass."""

import os
import subprocess
import sys

import pytest

from course.units.catalogue import exercises


@pytest.mark.proven_by("solution")
@pytest.mark.parametrize("unit", exercises(), ids=lambda unit: unit.id)
def test_solution_runs(unit):
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--nbval-lax",
        str(unit.solution),
    ]
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    ran = subprocess.run(command, cwd=unit.root, env={**surroundings, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
