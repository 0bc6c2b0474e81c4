"""What is said of a host that lacks layers of isolation, as by a probe that finds none: most hosts of these tests have them all."""

import pytest

from course.errors import CourseError
from course.grading.run import Plan, grade
from course.sandbox import host
from course.sandbox.terms import NOT_USED, REQUIRED


def test_only_what_is_required_and_fails_is_missing(monkeypatch):
    monkeypatch.setattr(host, "probe", lambda: dict.fromkeys(REQUIRED, "") | NOT_USED)
    assert host.missing_layers() == {}, "what is not used anywhere is not missing"
    monkeypatch.setattr(
        host, "probe", lambda: dict.fromkeys(REQUIRED, "") | NOT_USED | {"pid": "no namespaces", "landlock": "old"}
    )
    assert host.missing_layers() == {"pid": "no namespaces", "landlock": "old"}, "the rest works"


def test_a_strict_run_refuses_and_names_them_before_it_writes(monkeypatch, tmp_path):
    monkeypatch.setattr(host, "probe", lambda: dict.fromkeys(REQUIRED, "") | {"pid": "no namespaces", "landlock": "old kernel"})
    with pytest.raises(CourseError) as refused:
        grade(Plan(tmp_path, tmp_path / "out"), lambda rows, total: rows)
    assert "Missing: pid (no namespaces); landlock (old kernel). --isolation reduced" in str(refused.value)
    assert not (tmp_path / "out").exists(), "nothing is written by a run that does not begin"
