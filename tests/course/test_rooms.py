"""The floors of the house hold: `[tool.importlinter]` in pyproject.toml says who may import whom, and these tests run it."""

import ast
import os
import shutil
import subprocess
import sys

import pytest

ROOMS = ["units", "checking", "media", "sandbox", "proving", "authoring", "studying", "grading", "site", "cli"]


def lint_imports(folder):
    """Hold the packages in `folder` against its pyproject.toml: (exit status, what is said)."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    env = {**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"}
    ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8")
    return ran.returncode, ran.stdout + ran.stderr


@pytest.fixture
def house(root, tmp_path):
    """A copy of the packages, to be spoilt."""
    for name in ("course", "reference_impl"):
        ignore = shutil.ignore_patterns("__pycache__", "assets", "weights", "speech", "*.safetensors")
        shutil.copytree(root / name, tmp_path / name, ignore=ignore)
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def test_no_room_knows_of_a_higher_one_and_there_is_no_circle(root):
    status, said = lint_imports(root)
    assert status == 0, said


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("course/errors.py", "from course import paths", "a room knows nothing of those above it"),
        ("course/units/source.py", "def late():\n    from course.proving import bars", "a room knows nothing of those above it"),
        ("course/proving/bars.py", "from course.proving import audit", "no circle anywhere"),
        ("reference_impl/runtime.py", "import course.paths", "the reference systems stand alone"),
        (
            "course/sandbox/worker.py",
            "from course.units import catalogue",
            "a sandboxed process knows of the course only the wire",
        ),
    ],
)
def test_a_wrong_import_is_found(house, file, line, contract):
    path = house / file
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    status, said = lint_imports(house)
    assert status == 1, said
    assert f"{contract} BROKEN" in said


def test_a_room_that_has_no_floor_is_found(house):
    (house / "course" / "attic.py").write_text("")
    status, said = lint_imports(house)
    assert status != 0 and "attic" in said


def test_every_room_says_what_it_is_for_and_what_it_never_does(root):
    found = {path.parent.name: path for path in (root / "course").glob("*/__init__.py")}
    assert sorted(found) == sorted(ROOMS), "a new room needs its row here and in pyproject.toml"
    for room, path in found.items():
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert said.count("\n\n") == 1 and "Never " in said, f"{room}/__init__.py: two paragraphs, what for and what never"
