"""Whose marks change between two runs, and why."""

import csv

import pytest
from typer.testing import CliRunner

from course.cli import app
from course.cli.common import console
from course.errors import CourseError
from course.grading.compare import compare, rows_of, table, totals
from course.grading.journal import Journal, Row
from course.grading.weights import Weights


def row(learner, stubs=None, unit="image/vae", **changes):
    results = {name: {"status": status, "message": message} for name, (status, message) in (stubs or {}).items()}
    score = sum(stub["status"] == "passed" for stub in results.values())
    status = "refused" if not results else "passed" if score == len(results) else "partial" if score else "failed"
    values = {
        "key": learner + status,
        "message": "",
        "isolation": "strict",
        "seconds": 0.1,
        "seed": 1,
        "status": status,
        **changes,
    }
    return Row(learner=learner, unit=unit, score=score, max_score=2, stubs=results, **values)


RIGHT = {"kl": ("passed", ""), "elbo": ("passed", "")}
HALF = {"kl": ("passed", ""), "elbo": ("failed", "differs at ;=1")}
OTHER = {"kl": ("failed", "returned a list"), "elbo": ("passed", "")}
TIMED = {"kl": ("passed", ""), "elbo": ("blocked", "needs kl")}
BEFORE = [
    row("ann", RIGHT),
    row("bob", HALF),
    row("cy", HALF),
    row("dan", HALF),
    row("eve", HALF),
    row("fay", RIGHT),
    row("gil", HALF),
]
AFTER = [row("ann", RIGHT), row("bob", RIGHT), row("cy", OTHER), row("dan", TIMED), row("eve", message="is not a notebook"),
         row("gil", HALF, seconds=9.0, key="another"), row("hal", HALF)]  # fmt: skip


def test_only_what_differs_and_which_way():
    changes = compare(BEFORE, AFTER)
    assert [(change.row.learner, change.kind, change.stubs) for change in changes] == [
        ("bob", "up", ("elbo",)),
        ("cy", "same score", ("kl", "elbo")),
        ("dan", "same score", ("elbo",)),
        ("eve", "down", ()),
        ("fay", "gone", ()),
        ("hal", "new", ()),
    ]
    assert compare(BEFORE, BEFORE) == []


def test_the_file_says_why():
    text = table(compare(BEFORE, AFTER))
    found = {(r["learner"], r["stub"]): r for r in csv.DictReader(text[1:].splitlines())}
    assert (found["bob", "elbo"]["old_status"], found["bob", "elbo"]["new_status"]) == ("failed", "passed")
    assert found["bob", "elbo"]["old_message"] == "differs at ;'=1", "a message of a learner's is no formula here either"
    assert found["cy", "kl"]["new_message"] == "returned a list"
    assert (found["eve", ""]["old_score"], found["eve", ""]["new_score"], found["eve", ""]["new_message"]) == (
        "1",
        "0",
        "is not a notebook",
    )
    assert (found["fay", ""]["new_score"], found["hal", ""]["old_score"]) == ("", "")


def test_the_totals():
    said = totals(BEFORE, AFTER, compare(BEFORE, AFTER))
    assert said == (
        "6 of 8 results differ (1 up, 1 down, 2 same score, 1 new, 1 gone); points 9 of 14 before, 8 of 14 now; "
        "learners 7 before, 7 now"
    )


def test_a_share_that_changed_is_a_change_where_shares_count():
    stubs = [{"kl": {"status": "failed", "message": "", "passed": passed, "cases": "4"}} for passed in "12"]
    old, new = (Row("k", "ann", "image/vae", 0, 1, "failed", "", "", 0.1, 1, each) for each in stubs)
    assert compare([old], [new]) == []
    (change,) = compare([old], [new], Weights(partial=True))
    assert change.kind == "same score"


@pytest.fixture
def folders(tmp_path):
    for name, rows in (("old", BEFORE), ("new", AFTER)):
        journal = Journal(tmp_path / name)
        for each in rows:
            journal.append(each)
        journal.close()
    return tmp_path


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    """The console takes its width from the terminal of whoever imports it first."""
    monkeypatch.setattr(console, "width", 200)


def command(*arguments):
    return CliRunner().invoke(app, ["grade-compare", *map(str, arguments)])


def test_two_folders_are_compared_without_grading(folders):
    done = command(folders / "old", folders / "new")
    assert done.exit_code == 0, done.output
    assert "bob" in done.output and "no longer: differs" in done.output and "gil" not in done.output
    assert "6 of 8 results differ" in done.output
    assert (folders / "new/changes.csv").read_text(encoding="utf-8-sig").startswith('"learner","unit","change"')


def test_journals_themselves_are_compared_too(folders):
    (folders / "elsewhere").mkdir()
    done = command(folders / "old/results.jsonl", folders / "new/results.jsonl", "--out", folders / "elsewhere/c.csv")
    assert done.exit_code == 0, done.output
    assert (folders / "elsewhere/c.csv").is_file() and not (folders / "new/changes.csv").exists()
    assert rows_of(folders / "old/results.jsonl") == rows_of(folders / "old")


def test_what_is_no_run_is_said_before_anything_is_graded(folders):
    (folders / "empty").mkdir()
    (folders / "empty/results.jsonl").write_text("")
    for wrong, said in (("nothing", "not a folder of results"), ("empty", "no results to compare with")):
        with pytest.raises(CourseError, match=said):
            raise command(folders / wrong, folders / "new").exception
        out = folders / "out"
        done = CliRunner().invoke(app, ["grade", str(folders), "--out", str(out), "--compare", str(folders / wrong)])
        assert isinstance(done.exception, CourseError) and not out.exists()
