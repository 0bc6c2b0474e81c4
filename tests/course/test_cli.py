"""The command line as a learner meets it: exit statuses, one-line errors, nothing lost."""

import json
import os
import subprocess
import sys

import pytest
from toy_course import write_work

from course.authoring.build import compose, fill, to_json
from course.studying.tour import EXAMPLES


def test_first_check_makes_a_copy_and_says_what_is_to_do(aigc, built, unit):
    status, out, err = aigc("check", "toy/sums")
    assert status == 1
    assert err == ""
    assert "made your copy: work/toy/sums.ipynb" in out
    assert "total: not written yet" in out
    assert unit.work.read_bytes() == unit.notebook.read_bytes()


def test_right_answer_passes_and_wrong_answer_teaches(aigc, built, unit):
    exercise = compose(unit, solved=False)
    write_work(unit, fill(exercise, unit.module.read_text()))
    assert aigc("check", "sums")[0] == 0
    write_work(unit, fill(exercise, "def total(x, scale=1.0):\n    return scale * x.sum(0)\n"))
    status, out, _ = aigc("check", "sums", "--seed", "3")
    assert status == 1
    assert "expected a float tensor of shape" in out
    assert "the same questions again: aigc check toy/sums --seed 3" in out
    assert out == aigc("check", "sums", "--seed", "3")[1], "the same seed must give the same words"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("this is no JSON", "sums.ipynb is not a notebook"),
        ("[]", "sums.ipynb is not a notebook"),
        ("{}", "sums.ipynb is not a notebook"),
        ('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "the notebook has no code"),
        ("", "sums.ipynb is not a notebook"),
    ],
)
def test_unreadable_notebook_is_one_line(aigc, built, unit, content, expected):
    write_work(unit, content)
    status, out, err = aigc("check", "toy/sums")
    assert status == 1
    assert expected in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def renamed(x):\n    return x", "missing stub total: put back its definition"),
        ("def total(x, scale=1.0):\n    raise KeyError('k')", "total raised KeyError: 'k'"),
        (
            "import not_there\ndef total(x, scale=1.0):\n    return x.sum(1)",
            "there is no not_there here, and only what uses it is hurt; install it",
        ),
        ("def total(x):\n    return x.sum(1)", "total raised TypeError"),
        ("def total(x, scale=1.0):\n    return x.sm(1)", "in total: return x.sm(1)"),
    ],
)
def test_broken_answer_is_one_cause_and_what_to_do(aigc, built, unit, source, expected):
    notebook = compose(unit, solved=False)
    cell = next(cell for cell in notebook["cells"] if "total: yours" in cell["source"])
    cell["source"] = source
    write_work(unit, notebook)
    status, out, err = aigc("check", "toy/sums")
    assert status == 1
    assert expected in out, out
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("check", "toy/smus"), "aigc: there is no unit 'toy/smus'; did you mean toy/sums?"),
        (("check", "sums", "--stub", "nope"), "toy/sums has no stub 'nope'; it has: total, Box.grow"),
        (("check", "sums", "--notebook", "gone.ipynb"), "there is no file gone.ipynb"),
        (("gate", "sums"), "sums.py: defines no Config, so it has no gate"),
        (("gate", "sums", "--seeds", "0"), "Invalid value for '--seeds'"),
        (("nonsense",), "No such command 'nonsense'"),
    ],
)
def test_usage_errors_exit_with_two_and_no_traceback(aigc, built, arguments, expected):
    status, out, err = aigc(*arguments)
    assert status == 2
    assert expected in err
    assert "Traceback" not in out + err


def test_no_course_here(aigc, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGC_ROOT", str(tmp_path))
    status, _, err = aigc("list")
    assert status == 2
    assert "no course at" in err


def test_build_check_exits_with_one_when_stale(aigc, built):
    assert aigc("build", "--check")[0] == 0
    (built / "notebooks/toy/sums.ipynb").write_text("{}")
    status, _, err = aigc("build", "--check")
    assert status == 1
    assert "notebooks/toy/sums.ipynb: differs from its sources; run `aigc build`" in err


def test_works_without_unicode_colour_or_a_wide_terminal(aigc, built):
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "NO_COLOR": "1", "COLUMNS": "40"}
    env = {**os.environ, **plain, "AIGC_ROOT": str(built)}
    done = subprocess.run([sys.executable, "-m", "course.cli"], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert "toy/sums" in done.stdout


def test_unreadable_gate_device_is_refused(aigc):
    status, _, err = aigc("gate", "image/vae", "--device", "tpu")
    assert status == 2
    assert "no device is called 'tpu'" in err


@pytest.mark.parametrize(("name", "expected"), list(zip(EXAMPLES, ["pass", "partial", "fail"], strict=True)))
def test_example_submissions_get_their_verdicts(aigc, root, tmp_path, name, expected):
    from course.units.catalogue import find_unit

    unit = find_unit("image/vae", root)
    path = tmp_path / "answer.ipynb"
    source = (root / "tests/submissions/image/vae" / f"{name}.py").read_text(encoding="utf-8")
    path.write_text(to_json(fill(compose(unit, solved=False), source)), encoding="utf-8")
    status, out, _ = aigc("check", "image/vae", "--notebook", str(path))
    assert f"image/vae: {expected} (" in out
    assert status == (0 if expected == "pass" else 1)


def test_list_json_is_one_list(aigc, built):
    status, out, _ = aigc("list", "--json")
    assert status == 0
    assert [unit["id"] for unit in json.loads(out)] == ["toy/sums"]
