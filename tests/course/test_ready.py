"""`aigc ready`: one line for each thing that a finished unit has, what is missing, and the command that makes it."""

import pytest

from course.authoring.build import stale_solution
from course.authoring.lint import complaints
from course.proving import bars, records
from course.proving.ready import Complaint, points
from course.units.catalogue import exercises, find_unit

GOOD_AUDIT = {
    "stubs": [{"stub": "total", "mutants": 100, "equivalent": 0, "killed": 99}],
    "marks": 0.0, "seeds": 50, "variants": 6, "fakes": 6, "wrongly_rejected": 0, "wrongly_accepted": 0,
}  # fmt: skip


def found(unit, said=()):
    return {point.name: point for point in points(unit, list(said), stale_solution(unit))}


def test_of_a_new_unit_everything_is_missing_and_named(unit):
    own = found(unit)
    missing = {name: point.mend for name, point in own.items() if not point.ready}
    assert missing["files"] == "aigc build" and "notebooks/toy/sums.ipynb" in own["files"].said
    assert missing["audit"] == "aigc audit toy/sums --write" and missing["solution"] == "aigc build"
    assert own["hints"].ready and own["cards"].ready and own["fakes"].ready
    assert "gate" not in own, "a unit of functions alone trains nothing"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "99 of 100 mutants killed, 6 variants and 6 fakes told apart"),
        ({"stubs": [{"mutants": 100, "equivalent": 0, "killed": 97}]}, "97.0% of mutants killed, 98% demanded"),
        ({"marks": 0.04}, "4.0% marked as equivalent, at most 3%"),
        ({"seeds": 49}, "asked on 49 seeds, 50 demanded"),
        ({"wrongly_rejected": 2}, "2 right answers rejected"),
        ({"wrongly_accepted": 1}, "1 fakes accepted"),
        ({"problems": 2}, "2 problems in its test file"),
        ({"stubs": [{"mutants": 100, "equivalent": 0, "killed": 250}]}, "250.0% of mutants killed, 98% demanded"),
    ],
)
def test_an_audit_that_stands_must_also_hold(unit, change, said):
    records.keep(unit, "audit", GOOD_AUDIT | change)
    point = found(unit)["audit"]
    assert point.said == said and point.ready == (not change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "100 kB, demo in 3.0 s of one core"),
        ({"bytes": 250_001}, "250 kB, at most 250"),
        ({"demo_seconds": 10.1}, "its demo takes 10 s of one core, at most 10"),
    ],
)
def test_a_solution_is_small_and_its_demo_quick(unit, change, said):
    records.keep(unit, "solution", {"bytes": 100_000, "demo_seconds": 3.0} | change)
    (point,) = [point for point in points(unit, [], "") if point.name == "solution"]
    assert point.said == said and point.ready == (not change)


def test_what_the_linter_has_against_the_pages_is_told(unit):
    ladder = Complaint("ladder", "questions/toy/sums.md: needs five follow-ups")
    own = found(unit, [ladder])["pages"]
    assert not own.ready and own.said == ladder.message
    own = found(unit, [Complaint("snippet", "questions/toy/sums.md: has no snippet"), ladder])["pages"]
    assert own.said == "questions/toy/sums.md: has no snippet (and 1 more)"


def test_the_command_says_one_line_a_thing_and_fails_while_one_is_missing(built, aigc):
    status, out, _ = aigc("ready", "sums")
    assert status == 1
    assert next(line.split()[:2] for line in out.splitlines() if line.lstrip().startswith("✓")) == ["✓", "files"]
    assert "toy/sums: missing" in out and "audit" in out
    unit = find_unit("toy/sums")
    records.keep(unit, "audit", GOOD_AUDIT)
    own = found(unit, complaints(unit))
    left = {name for name, point in own.items() if not point.ready}
    assert (aigc("ready", "sums")[0] == 1) == bool(left)
    assert left <= {"variants", "pages"}, "the toy has fewer right variants than are demanded of a unit"


def test_tests_that_cannot_be_imported_are_a_line(unit):
    unit.tests.write_text("import nothing_of_that_name\n", encoding="utf-8")
    point = found(unit)["fakes"]
    assert not point.ready and "nothing_of_that_name" in point.said


TOOLS_ALONE = "recorded with other tools"  # `make test` asks such a unit anew itself, as far as it can afford


@pytest.mark.parametrize("unit", exercises(), ids=lambda unit: unit.id)
def test_every_unit_of_the_course_is_ready(unit):
    """A stale or missing record is refused here: what it vouched for has to be proven again."""
    missing = [
        f"{point.name}: {point.said}; {point.mend}"
        for point in points(unit, complaints(unit), stale_solution(unit))
        if not point.ready and not point.said.startswith(TOOLS_ALONE)
    ]
    assert not missing, "\n".join([f"{unit.id} is not ready (aigc ready {unit.id}):", *missing])


def test_the_numbers_are_those_of_the_design():
    assert bars.BAR == 0.98 and bars.MARKED == 0.03 and bars.SEEDS_OF_A_VARIANT == 50 and bars.SEEDS_OF_A_FAKE == 20
    assert bars.SEEDS_OF_A_GATE == 3 and bars.SOLUTION_BYTES == 250_000 and bars.DEMO_SECONDS == 10
