"""What a run leaves: rows that count and their history, results where they belong, and one line when they cannot be written.

The sandbox has no part in this: a pool of our own says what each submission earned.
"""

import csv
import errno
import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from course.cli import app, common
from course.errors import CourseError
from course.grading import run as running
from course.grading.grader import key_of
from course.grading.journal import Journal, Row, latest, read_history, read_rows
from course.grading.results import summary
from course.grading.run import Plan, grade, merge
from course.grading.submissions import Refused
from course.units.catalogue import exercises

sys.path.insert(0, str(Path(__file__).parent))

from layouts import notebook, pack, write

NAME = "image/vae.ipynb"


@pytest.fixture
def pool(monkeypatch):
    """A pool that gives `marks` of six to each submission, by the number in its code; the list of what it graded."""
    units = {unit.id: unit for unit in exercises()}
    monkeypatch.setattr(running, "exercises", lambda: list(units.values()))
    monkeypatch.setattr(running, "grader_version", lambda unit: "1")
    graded = []

    def local_pool(tasks, settings, jobs):
        for task in tasks:
            graded.append((task.learner, task.unit))
            try:
                data, status, message = task.read(), "partial", ""
                score = int(json.loads(data)["cells"][0]["source"])
            except Refused as error:
                data, score, status, message = b"", 0, "refused", str(error)
            unit = units.get(task.unit)
            key = key_of(task, data, unit, settings)
            maximum = len(unit.stubs) if unit else 0
            yield Row(key, task.learner, task.unit, score, maximum, status, message, settings.isolation, 0.1, settings.seed)

    monkeypatch.setattr(running.pool, "local_pool", local_pool)
    return graded


def carry_out(folder, out, **options):
    return grade(Plan(folder, out, isolation="reduced", seed=1, **options), lambda rows, total: rows)[0]


def table(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_a_notebook_changed_before_resuming_has_one_row_its_newest(tmp_path, pool):
    folder, out = tmp_path / "class", tmp_path / "out"
    for marks in ("2", "5"):
        write(folder, f"ann/{NAME}", content=notebook(marks))
        write(folder, f"bob/{NAME}", content=notebook("3"))
        rows = carry_out(folder, out, resume=(out / "run.json").exists())
    assert pool == [("ann", "image/vae"), ("bob", "image/vae"), ("ann", "image/vae")], "what stands is graded again"
    assert {row.learner: row.score for row in rows} == {"ann": 5, "bob": 3}
    assert [(row["learner"], row["score"]) for row in table(out / "grades.csv")] == [("ann", "5"), ("bob", "3")]
    result = json.loads((out / "gradescope/ann.json").read_text())
    assert result["score"] <= 6 and len(result["tests"]) == 1, "the total is of two submissions"
    assert [row.score for row in read_history(out) if row.learner == "ann"] == [2, 5], "the older result is history"


def test_a_notebook_changed_back_counts_again_without_being_graded_again(tmp_path, pool):
    folder, out = tmp_path / "class", tmp_path / "out"
    for marks in ("2", "5", "2", "2"):
        write(folder, f"ann/{NAME}", content=notebook(marks))
        rows = carry_out(folder, out, resume=(out / "run.json").exists())
    assert [row.score for row in rows] == [2] and len(pool) == 2
    assert [row.score for row in read_history(out)] == [2, 5, 2], "a row is written when what counts changes, and only then"


def test_who_hands_in_after_all_has_no_row_of_having_handed_in_nothing(tmp_path, pool):
    folder, out = tmp_path / "class", tmp_path / "out"
    write(folder, f"ann/{NAME}", "bob/vae.py", content=notebook("2"))
    assert {(row.learner, row.unit) for row in carry_out(folder, out)} == {("ann", "image/vae"), ("bob", "")}
    write(folder, f"bob/{NAME}", content=notebook("4"))
    rows = carry_out(folder, out, resume=True)
    assert {(row.learner, row.unit) for row in rows} == {("ann", "image/vae"), ("bob", "image/vae")}


def test_notes_reach_the_gradebook(tmp_path, pool):
    folder, out = tmp_path / "class", tmp_path / "out"
    write(folder, f"ann/{NAME}", content=notebook("2"))
    carry_out(folder, out)
    write(folder, "ann/scratch.ipynb", content=notebook("7"))
    carry_out(folder, out, resume=True)
    (row,) = table(out / "grades.csv")
    assert row["note"] == "not graded: scratch.ipynb (no unit has that name)" and row["message"] == ""
    assert "scratch.ipynb" in (out / "junit.xml").read_text()
    assert "scratch.ipynb" in (out / "gradescope/ann.json").read_text()


def test_results_inside_of_the_submissions_are_refused_at_once(tmp_path, pool):
    folder = write(tmp_path / "class", f"ann/{NAME}", content=notebook("2"))
    (tmp_path / "link").symlink_to(folder)
    for out in (folder, folder / "out", tmp_path / "link/deep/er"):
        with pytest.raises(CourseError, match="lies inside of the submissions; name a folder beside"):
            carry_out(folder, out)
    assert [path.name for path in folder.iterdir()] == ["ann"] and not pool


# --- a place that cannot be written to ---


def refusing(monkeypatch, after, number):
    """After `after` rows, the journal's disk says `number`."""
    count = []
    sync = os.fsync

    def fsync(handle):
        count.append(handle)
        if len(count) > after:
            raise OSError(number, os.strerror(number))
        sync(handle)

    monkeypatch.setattr("course.grading.journal.os.fsync", fsync)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_full_disk_ends_the_run_in_one_line_and_keeps_what_is_graded(tmp_path, pool, monkeypatch, number):
    folder, out = tmp_path / "class", tmp_path / "out"
    write(folder, *(f"{name}/{NAME}" for name in ("ann", "bob", "cy")), content=notebook("2"))
    with monkeypatch.context() as patch:
        refusing(patch, 2, number)
        with pytest.raises(CourseError) as raised:
            carry_out(folder, out)
    assert "what was graded is in" in str(raised.value)
    assert os.strerror(number) in str(raised.value) and "--resume" in str(raised.value) and "\n" not in str(raised.value)
    assert {"ann", "bob"} <= {row.learner for row in read_rows(out)}
    assert len(carry_out(folder, out, resume=True)) == 3, "the run cannot go on where it ended"


def test_a_folder_that_vanishes_ends_the_run(tmp_path, pool, monkeypatch):
    folder, out = tmp_path / "class", tmp_path / "out"
    write(folder, *(f"{name}/{NAME}" for name in ("ann", "bob")), content=notebook("2"))

    def progress(rows, total):
        for row in rows:
            out.rename(tmp_path / "elsewhere") if out.exists() else None
            yield row

    with pytest.raises(CourseError, match="removed or renamed during the run"):
        grade(Plan(folder, out, isolation="reduced", seed=1), progress)
    assert len(pool) == 1, "the rest was graded for nothing"
    assert [row.learner for row in read_rows(tmp_path / "elsewhere")] == ["ann"]


def test_the_workers_are_let_go_when_the_run_ends_early(tmp_path, pool, monkeypatch):
    ended = []

    def local_pool(tasks, settings, jobs):
        try:
            while True:
                yield Row("k", "ann", "image/vae", 0, 6, "failed", "", "reduced", 0.1, 1)
        finally:
            ended.append(True)

    monkeypatch.setattr(running.pool, "local_pool", local_pool)
    refusing(monkeypatch, 2, errno.ENOSPC)
    with pytest.raises(CourseError):
        carry_out(write(tmp_path / "class", f"ann/{NAME}"), tmp_path / "out")
    assert ended


@pytest.mark.parametrize("where", ["a file", "below a file", "reports"])
def test_no_traceback_for_a_place_that_is_none(tmp_path, pool, where):
    folder = write(tmp_path / "class", f"ann/{NAME}", content=notebook("2"))
    (tmp_path / "file").write_text("")
    out = {"a file": tmp_path / "file", "below a file": tmp_path / "file/out", "reports": tmp_path / "out"}[where]
    if where == "reports":
        write(out, "gradescope", content=b"in the way")
    done = CliRunner().invoke(app, ["grade", str(folder), "--out", str(out), "--isolation", "reduced"])
    assert isinstance(done.exception, CourseError) and "cannot write to" in str(done.exception), done.exception
    if where == "reports":
        assert [row.learner for row in read_rows(out)] == ["ann"]


def test_the_terminal_shows_what_was_written_and_obeys_none_of_it(tmp_path, pool):
    pack(tmp_path / "class.zip", f":skull:[red]x/{NAME}", "Eve/vae.py", f"eve/{NAME}", content=notebook("2"))
    done = CliRunner().invoke(
        app,
        ["grade", str(tmp_path / "class.zip"), "--out", str(tmp_path / "out"), "--isolation", "reduced"],
        env={"COLUMNS": "300"},
    )
    assert done.exit_code == 0, done.output
    assert ":skull:[red]x" in done.output
    assert "note: Eve and eve are one name" in done.output


def test_an_error_shows_a_learners_name_as_it_is():
    for console in (common.console, common.errors):
        with console.capture() as shown:
            console.print("aigc: :skull: stands in two journals", markup=False)
        assert ":skull:" in shown.get()


# --- the journal ---


def row(learner="ann", unit="image/vae", key="k", **changes):
    values = {"score": 1, "max_score": 2, "status": "partial", "message": "", "isolation": "strict", "seconds": 0.5, "seed": 7}
    return Row(key, learner, unit, **{**values, **changes})


def test_rows_of_earlier_versions_are_read(tmp_path):
    old = {"key": "k", "learner": "ann", "unit": "image/vae", "score": 1, "max_score": 2, "status": "partial", "message": "m",
           "isolation": "strict", "seconds": 0.5, "seed": 7, "stubs": {"kl": {"status": "passed", "message": ""}}, "feedback": []}  # fmt: skip
    (tmp_path / "results.jsonl").write_text(json.dumps(old) + "\n")
    assert [(r.learner, r.note, r.stubs["kl"]["status"]) for r in read_rows(tmp_path)] == [("ann", "", "passed")]


def test_the_last_row_of_a_learner_and_unit_counts():
    rows = [row(key="1", score=1), row("bob", ""), row(key="2", score=2), row("bob", key="3"), row("cy", ""), row("cy", "")]
    assert [(r.learner, r.unit, r.key) for r in latest(rows)] == [
        ("ann", "image/vae", "2"),
        ("bob", "image/vae", "3"),
        ("cy", "", "k"),
    ]


def test_shards_that_were_resumed_are_joined_by_what_counts(tmp_path):
    for name, rows in (("one", [row(key="old"), row(key="new", score=2)]), ("two", [row("bob")])):
        journal = Journal(tmp_path / name)
        for each in rows:
            journal.append(each)
        journal.close()
    assert {r.learner: r.score for r in merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")} == {"ann": 2, "bob": 1}


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("missing stub total: put back its definition", "missing stub total: put back its definition"),
        ("adds up: raised a ValueError", "total: adds up: raised a ValueError"),
    ],
)
def test_the_line_of_a_submission_names_a_stub_once(message, said):
    failed = {"status": "failed", "message": message, "passed": "0", "cases": "2"}
    assert summary({"total": failed}, "")[1] == said
