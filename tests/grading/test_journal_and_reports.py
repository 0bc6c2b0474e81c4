import csv
import io
import json
import os
import re
from xml.etree import ElementTree

import pytest

from course.errors import CourseError
from course.grading.journal import Journal, Row, read_rows, start_run
from course.grading.pool import shard
from course.grading.reports import file_names, gradebook, gradescope, junit, stub_table, write_reports
from course.grading.run import merge, parse_shard
from course.grading.weights import Weights


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


def read(text):
    assert text.startswith("\ufeff"), "without the mark a spreadsheet takes UTF-8 for the system's old encoding"
    return list(csv.DictReader(io.StringIO(text[1:])))


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("+1+1", "'+1+1"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        (" =1", " '=1"),
        ("a;=1+1", "a;'=1+1"),
        ("a; @x", "a; '@x"),
        ("a\tb\t=1", "a\tb\t'=1"),
        ("a\n+1", "a\n'+1"),
        ("a,=1", "a,'=1"),
        ("a|=1", "a|'=1"),
        ("＝1", "'＝1"),
        ("\t=1", "\t'=1"),
        ('quote " comma , and (3, -1)', 'quote " comma , and (3, -1)'),
        ("differs by -1e-5; expected x-y", "differs by -1e-5; expected x-y"),
    ],
)
def test_no_cell_is_a_formula(cell, shown):
    (found,) = read(gradebook([row("ann", message=cell)]))
    assert found["message"] == shown
    assert read(gradebook([row(cell)]))[0]["learner"] == shown


def test_every_cell_is_quoted():
    for text in (gradebook([row("a;b", message="1,5")]), stub_table([row()])):
        assert all(line[0] == line[-1] == '"' for line in text[1:].splitlines()), text
        assert all(cell.count('"') == 0 for line in text[1:].splitlines() for cell in line[1:-1].split('","')), text


def counted(passed, cases, status="failed", message="differs"):
    return {"status": status, "message": message, "passed": str(passed), "cases": str(cases)}


def test_the_share_of_cases_in_both_tables():
    stubs = {"kl": counted(8, 8, "passed", ""), "elbo": counted(2, 8), "VAE.forward": counted(0, 4)}
    rows = [
        row(max_score=3, stubs=stubs),
        row("bob"),
        row("cy", stubs={}, status="refused", score=0),
        row("dan", unit="", stubs={}, max_score=0),
    ]
    grades = read(gradebook(rows))
    assert list(grades[0]) == [
        "learner", "unit", "score", "max_score", "share", "points", "max_points", "status", "message", "note", "isolation", "seconds",
    ]  # fmt: skip
    assert [r["share"] for r in grades] == ["0.417", "", "0.000", ""], (
        "(1 + 2/8 + 0) / 3; not counted; nothing read; nothing to do"
    )
    assert [(r["points"], r["max_points"]) for r in grades] == [("1", "3"), ("1", "2"), ("0", "2"), ("0", "0")]
    table = read(stub_table(rows))
    assert [(r["learner"], r["stub"], r["status"], r["passed"], r["cases"], r["share"], r["points"]) for r in table] == [
        ("ann", "kl", "passed", "8", "8", "1.000", "1"),
        ("ann", "elbo", "failed", "2", "8", "0.250", "0"),
        ("ann", "VAE.forward", "failed", "0", "4", "0.000", "0"),
        ("bob", "kl", "passed", "", "", "1.000", "1"),
        ("bob", "elbo", "failed", "", "", "", "0"),
    ]
    assert table[1]["message"] == "differs"


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
    assert {"name", "score", "max_score", "status", "output", "output_format", "visibility"} == set(result["tests"][0])
    assert "seed 7" in result["output"]
    assert {test["output_format"] for test in result["tests"]} == {"text"}, (
        "Gradescope reads Markdown or HTML where it is told to"
    )


def test_gradescope_scores_follow_the_weights():
    stubs = {"kl": counted(8, 8, "passed", ""), "elbo": counted(2, 8)}
    weights = Weights(
        {"image/vae": ["kl", "elbo"], "image/gan": ["step"]}, {("image/vae", "kl"): 2.5, ("*", "*"): 4}, partial=True
    )
    result = gradescope([row(stubs=stubs), row(unit="image/gan", stubs={}, status="refused", score=0)], weights)
    assert [(test["score"], test["max_score"]) for test in result["tests"]] == [(2.5, 2.5), (1, 4), (0, 4)]
    assert [test.get("status") for test in result["tests"]] == ["passed", "failed", "failed"], "a share of the points is no pass"
    assert result["score"] == 3.5


def test_gradescope_files_hold_nothing_to_follow():
    said = "see http://evil.com/a?b=1, www.evil.com or [here](//evil.com) ![x](data:x) <img src=x> to a@evil.com"
    result = gradescope(
        [row(message=said, stubs={}, note=said), row(unit="image/gan", stubs={"kl": counted(0, 1, message=said)})]
    )
    for test in result["tests"]:
        for bad in ("http://", "www.e", "](", "<img", "data:x", "(//evil", "a@evil", "evil.com"):
            assert bad not in test["output"], test


def test_file_names_stay_apart_and_inside(tmp_path):
    names = [
        "ann",
        "Ann",
        "../../etc/passwd",
        "a/b",
        "a_b",
        "con",
        "com1.x",
        "",
        "..",
        "안나",
        "安娜",
        "x" * 300,
        "a--b",
        "x" * 61,
        "ann.",
    ]
    names += list(file_names(names).values())  # learners who call themselves after the files of others
    names = list(dict.fromkeys(names))
    files = file_names(names)
    assert len({name.lower() for name in files.values()}) == len(names), "some file systems ignore case"
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,79}", name) and name not in (".", "..") for name in files.values())
    assert files == {name: file_names([name])[name] for name in names}, "whose file it is depends on who else is there"
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
