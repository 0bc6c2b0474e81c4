"""The list of what pages from before the pattern may still break: it excuses what it names, and only shrinks."""

import tomllib
from collections import Counter

import pytest

from course.authoring import build as builder
from course.authoring import exceptions
from course.authoring.lint import EXCUSABLE, RULES, complaints, lint, lint_course
from course.errors import CourseError
from course.units.catalogue import find_unit, find_units

# The pages that stood when the pattern became a rule, less those that were given up. Nothing is ever added here.
STANDING: set[str] = set()
# How many pages broke each rule then; lower a number when pages are mended, never raise it.
AT_MOST = {"ablations": 0, "leaks": 0, "ladder": 0, "weak answers": 0, "derivation": 0, "snippet": 0, "dates": 0}


def test_the_list_of_the_course_only_shrinks(root):
    found = exceptions.read_exceptions(root, EXCUSABLE)
    assert found.keys() <= STANDING, "a new page meets the pattern"
    counts = Counter(rule for rules in found.values() for rule in rules)
    assert set(EXCUSABLE) == set(AT_MOST) and not {rule for rule in counts if counts[rule] > AT_MOST[rule]}, counts
    assert set(EXCUSABLE) <= RULES.keys()


def test_the_course_has_no_complaint_that_is_not_excused(root):
    units = find_units(root)
    lint_course(root, units)
    excused = {(unit.id, one.rule) for unit in units for one in complaints(unit)}
    listed = {(unit, rule) for unit, rules in exceptions.read_exceptions(root, EXCUSABLE).items() for rule in rules}
    assert excused == listed


@pytest.fixture
def broken(toy):
    """The toy course with a follow-up too few."""
    path = toy / "questions/toy/sums.md"
    path.write_text(path.read_text(encoding="utf-8").replace("**How fast?** In one pass.\n", ""), encoding="utf-8")
    return toy


def allow(root, text):
    exceptions.path(root).parent.mkdir(parents=True)
    exceptions.path(root).write_text(text, encoding="utf-8")


def test_an_exception_excuses_its_rule_and_no_other(broken):
    allow(broken, '"toy/sums" = ["ladder"]\n')
    unit = find_unit("toy/sums", broken)
    assert {(complaint.rule, complaint.excused) for complaint in complaints(unit)} == {("ladder", True)}
    lint(unit)
    path = broken / "questions/toy/sums.md"
    path.write_text(path.read_text(encoding="utf-8").replace("```text", "```"), encoding="utf-8")
    with pytest.raises(CourseError, match="needs a pitfall that was run"):
        lint(find_unit("toy/sums", broken))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"toy/sums" = ["ladder", "snippet"]', r"exceptions\.toml: toy/sums meets the rule 'snippet' by now; remove it"),
        (
            '"toy/sums" = ["ladder"]\n"toy/other" = ["ladder"]',
            r"exceptions\.toml: excuses toy/other, which is no unit; remove it",
        ),
        (
            '"toy/sums" = ["ladders"]',
            r"exceptions\.toml: toy/sums names 'ladders', which is no rule that may be excused: ablations, ",
        ),
        ('"toy/sums" = ["hints"]', "names 'hints', which is no rule that may be excused"),
        ('"toy/sums" = "ladder"', r"toy/sums needs a list of rules, such as \[\"ladder\"\], got 'ladder'"),
        ('"toy/sums" = []', "toy/sums needs a list of rules"),
        ("toy/sums", r"exceptions\.toml: is no TOML"),
    ],
)
def test_an_entry_that_is_not_needed_or_names_nothing_is_refused(broken, text, expected):
    allow(broken, text)
    with pytest.raises(CourseError, match=expected):
        builder.check(broken)


def test_it_is_read_as_a_person_wrote_it(root):
    assert tomllib.loads(exceptions.path(root).read_text(encoding="utf-8")) == exceptions.read_exceptions(root, EXCUSABLE)
