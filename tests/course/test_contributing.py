"""The example in CONTRIBUTING.md works: its files are written as they stand there, and its commands run, in a copy of the course."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from course.authoring.pattern import snippets

BLOCK = re.compile(r"^(`{3,})(\w+)(?: file=(\S+))?\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
PARTS = ("course", "questions", "reference_impl", "notebooks", "solutions", "tests/exercises", "benchmarks")


@pytest.fixture(scope="module")
def blocks(pytestconfig):
    text = (pytestconfig.rootpath / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return [match.groups()[1:] for match in BLOCK.finditer(text)]


@pytest.fixture
def copy(pytestconfig, tmp_path):
    """The course in a folder of its own."""
    for part in PARTS:
        shutil.copytree(pytestconfig.rootpath / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("README.md", "README.zh.md", "CONTRIBUTING.md", "LICENSE", "pyproject.toml"):
        shutil.copy(pytestconfig.rootpath / name, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["README.md", "README.zh.md", "CONTRIBUTING.md"])
def test_every_link_leads_somewhere(name, pytestconfig):
    text = re.sub(
        r"^(`{3,}).*?^\1$", "", (pytestconfig.rootpath / name).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    text = re.sub(r"`[^`\n]+`", "", text)  # which shows how a link is written
    found = [target for target in re.findall(r"\]\(([^)\s#]+)", text) if "://" not in target]
    gone = [target for target in found if not (pytestconfig.rootpath / target).exists()]
    assert not gone, f"{name} links to what does not exist: {gone}"


def run(copy, command):
    program, *arguments = shlex.split(command)
    assert program == "aigc", command
    return subprocess.run(
        [sys.executable, "-m", "course.cli", *arguments], cwd=copy, capture_output=True, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(copy), "AIGC_ROOT": str(copy), "PYTHONIOENCODING": "utf-8"}, timeout=600,
    )  # fmt: skip


def test_the_example_is_a_unit_in_three_files(blocks, copy):
    files = {name: text for _, name, text in blocks if name}
    assert [name.split("/")[0] for name in files] == ["reference_impl", "questions", "questions", "tests"]
    for name, text in files.items():
        assert not (copy / name).exists(), "the example is not part of the course"
        (copy / name).write_text(text, encoding="utf-8")
    (steps,) = [text for _, name, text in blocks if "aigc build\n" in text and name is None]
    for command in steps.splitlines():
        ran = run(copy, command)
        assert ran.returncode == 0, f"{command}\n{ran.stdout}\n{ran.stderr}"
        if command.startswith("aigc audit"):
            assert "100.0%" in ran.stdout, ran.stdout
            assert "4 of 4 right implementations accepted on all of 20 seeds, 10 of 10 fakes rejected" in ran.stdout, ran.stdout
    for made in ("notebooks/text/label_smoothing.ipynb", "solutions/text/label_smoothing.ipynb"):
        assert (copy / made).is_file()
    assert "questions/text/label_smoothing.md" in (copy / "README.md").read_text(encoding="utf-8")
    page = (copy / "questions/text/label_smoothing.md").read_text(encoding="utf-8")
    assert "](images/label_smoothing.png)" in page and (copy / "questions/text/images/label_smoothing.png").is_file()


def test_the_pitfall_of_the_example_prints_what_it_says(blocks):
    (pitfall,) = {snippet for _, name, text in blocks if name and name.endswith(".md") for snippet in snippets(text)}
    ran = subprocess.run([sys.executable, "-c", pitfall.code], capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert (ran.stdout, ran.stderr) == (pitfall.printed, "")


def test_the_example_is_formatted_as_the_course_is(blocks, pytestconfig, tmp_path):
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # also where no environment is active
    ruff = shutil.which("ruff", path=beside) or pytest.skip("ruff is in the extra dev")
    for _, name, text in blocks:
        if name and name.endswith(".py"):
            for arguments in (["format", "--diff"], ["check"]):
                options = ["--stdin-filename", str(pytestconfig.rootpath / name), "-"]
                ran = subprocess.run([ruff, *arguments, *options], input=text, capture_output=True, text=True, encoding="utf-8")
                assert ran.returncode == 0, ran.stdout + ran.stderr
