import csv
import io
import json
import os
from xml.etree import ElementTree

import pytest

from course.errors import CourseError
from course.grading.journal import Journal, Row, read_rows, start_run
from course.grading.pool import shard
from course.grading.reports import file_names, gradebook, gradescope, junit, write_reports
from course.grading.run import merge, parse_shard


def row(learner="ann", unit="image/vae", key=None, **changes):
    values = {
        "key": key or f"{learner}:{unit}", "learner": learner, "unit": unit, "score": 1, "max_score": 2, "status": "partial",
        "message": "elbo: differs", "isolation": "strict (…)", "seconds": 0.5, "seed": 7,
        "stubs": {"kl": {"status": "passed", "message": ""}, "elbo": {"status": "failed", "message": "differs"}},
    }  # fmt: skip
    return Row(**{**values, **changes})


def test_rows_survive_a_kill_at_any_byte(tmp_path):
    journal = Journal(tmp_path)
    for i in range(3):
        journal.append(row(f"learner-{i}"))
    journal.close()
    whole = journal.path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        journal.path.write_bytes(whole[:cut])
        complete = sum(end <= cut for end in ends)
        assert len(list(read_rows(tmp_path))) == complete
        again = Journal(tmp_path)
        again.append(row("next"))
        again.close()
        assert [r.learner for r in read_rows(tmp_path)] == [f"learner-{i}" for i in range(complete)] + ["next"]


def test_damage_that_is_no_kill_is_an_error(tmp_path):
    (tmp_path / "results.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(CourseError, match=r"line 1 is not a result"):
        list(read_rows(tmp_path))
    with pytest.raises(CourseError, match="not a folder of results"):
        list(read_rows(tmp_path / "nothing"))


def test_a_run_is_resumed_only_as_it_was(tmp_path):
    asked = {"seed": None, "isolation": "strict", "nbval": False, "version": {"image/vae": "1"}}
    first = start_run(tmp_path, asked, resume=False)
    assert isinstance(first["seed"], int)
    with pytest.raises(CourseError, match="already holds results; go on with --resume"):
        start_run(tmp_path, asked, resume=False)
    assert start_run(tmp_path, asked, resume=True) == first
    with pytest.raises(CourseError, match="graded with version"):
        start_run(tmp_path, {**asked, "version": {"image/vae": "2"}}, resume=True)
    with pytest.raises(CourseError, match="graded with isolation"):
        start_run(tmp_path, {**asked, "isolation": "reduced"}, resume=True)
    with pytest.raises(CourseError, match="graded with seed"):
        start_run(tmp_path, {**asked, "seed": first["seed"] + 1}, resume=True)


def test_gradebook_cannot_carry_a_formula():
    rows = [row("=cmd|'/c calc'!A1", message="+1+1"), row("@x"), row("-1"), row('quote " comma ,')]
    table = list(csv.DictReader(io.StringIO(gradebook(rows))))
    assert [r["learner"] for r in table] == ["'=cmd|'/c calc'!A1", "'@x", "'-1", 'quote " comma ,']
    assert table[0]["message"] == "'+1+1"
    assert list(table[0]) == ["learner", "unit", "score", "max_score", "status", "message", "isolation", "seconds"]


def test_junit_is_well_formed_whatever_the_names():
    tree = ElementTree.fromstring(junit([row('<a & "b">'), row("bob", stubs={}, status="refused", message="<not> a notebook")]))
    suites = tree.findall("testsuite")
    assert [suite.get("failures") for suite in suites] == ["1", "0"]
    assert suites[1].get("errors") == "1"
    assert suites[0].find("testcase/failure").get("message") == "differs"


def test_gradescope_form():
    result = gradescope(
        [row(), row(unit="image/gan", stubs={}, status="refused", message="not a notebook", score=0, max_score=5)]
    )
    assert result["score"] == 1
    assert [test["score"] for test in result["tests"]] == [1, 0, 0]
    assert {"name", "score", "max_score", "status", "output", "visibility"} == set(result["tests"][0])
    assert "seed 7" in result["output"]


def test_file_names_stay_apart_and_inside(tmp_path):
    names = ["ann", "Ann", "../../etc/passwd", "a/b", "a_b", "con", "", "..", "안나", "安娜", "x" * 300]
    files = list(file_names(names).values())
    assert len(set(map(str.lower, files))) == len(files), "some file systems ignore case"
    assert all("/" not in name and name not in ("", ".", "..") and len(name) < 80 for name in files)
    write_reports(tmp_path / "out", [row(name) for name in names])
    assert len(os.listdir(tmp_path / "out/gradescope")) == len(names)


def test_shards_are_everything_once():
    tasks = list(range(23))
    parts = [shard(tasks, i, 5) for i in range(1, 6)]
    assert sorted(task for part in parts for task in part) == tasks
    assert parse_shard("2/5") == (2, 5)
    for wrong in ("0/5", "6/5", "a/b", "3", "1/0", "-1/2"):
        with pytest.raises(CourseError, match="--shard takes i/n"):
            parse_shard(wrong)


def test_merge_joins_and_refuses_contradictions(tmp_path):
    for name, learners in (("one", ["ann", "bob"]), ("two", ["cy", "ann"])):
        journal = Journal(tmp_path / name)
        for learner in learners:
            journal.append(row(learner))
        journal.close()
    rows = merge([tmp_path / "one", tmp_path / "two"], tmp_path / "all")
    assert sorted(r.learner for r in rows) == ["ann", "bob", "cy"]
    assert (tmp_path / "all/grades.csv").is_file()
    assert len(json.loads((tmp_path / "all/gradescope/ann.json").read_text())["tests"]) == 2
    with pytest.raises(CourseError, match="already holds results"):
        merge([tmp_path / "one"], tmp_path / "all")
    journal = Journal(tmp_path / "three")
    journal.append(row("ann", key="another"))
    journal.append(row("dan", seed=8))
    journal.close()
    with pytest.raises(CourseError, match="stands in two journals with different results"):
        merge([tmp_path / "one", tmp_path / "three"], tmp_path / "other")
