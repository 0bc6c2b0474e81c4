import json
import subprocess
import sys
from itertools import pairwise

import pytest
from toy_course import write_question

from course.errors import CourseError
from course.units.catalogue import CODES, find_unit, find_units, syllabus

KEYS = [
    "id",
    "track",
    "title",
    "title_zh",
    "difficulty",
    "frequency",
    "syllabus",
    "stubs",
    "requires",
    "question",
    "question_zh",
    "module",
    "notebook",
    "solution",
    "tests",
]


def test_real_units_have_all_their_files(root):
    units = find_units(root)
    assert {"image/gan", "image/vae", "text/attention", "text/gpt"} <= {unit.id for unit in units}
    for unit in units:
        described = unit.describe()
        assert list(described) == KEYS, f"{unit.id}: `aigc list --json` promises exactly these keys"
        for key in ("question", "question_zh", "module", "notebook", "solution", "tests"):
            if described[key] is not None:
                assert (root / described[key]).is_file(), f"{unit.id}: {key} is missing"


def test_list_json_is_what_the_catalogue_says(root):
    out = subprocess.run(
        [sys.executable, "-m", "course.cli", "list", "--json"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out) == [unit.describe() for unit in find_units(root)]


def test_concept_question_has_no_files_of_code(toy):
    for name in ("what_is_it.md", "what_is_it.zh.md"):
        (toy / "questions/toy" / name).write_text(
            "---\ntitle: T\ndifficulty: 1\nfrequency: 1\nsyllabus: [P1]\n---\n", encoding="utf-8"
        )
    described = find_unit("what_is_it", toy).describe()
    assert [described[key] for key in ("module", "notebook", "solution", "tests")] == [None] * 4


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("sums.md", "title: Sums", "titel: Sums", r"sums\.md: unknown key 'titel'.*'title'"),
        ("sums.md", "difficulty: 1", "difficulty: 9", "difficulty goes from 1 to 5"),
        ("sums.md", "difficulty: 1", "difficulty: high", "needs difficulty: a int, got 'high'"),
        ("sums.md", "[B11]", "[XX]", "'XX' is not a syllabus code"),
        ("sums.md", "[B11]", "[B20]", "'B20' is not a syllabus code"),
        ("sums.md", "---\ntitle", "title", "has no front matter"),
        ("sums.md", "[B11]", "[B11", "front matter is not YAML"),
        ("sums.md", "## Question", "## Frage", "unknown section '## Frage'"),
        ("sums.md", "stubs:", "requires: toy/sums\nstubs:", r"sums\.md: front matter needs requires: a list, got 'toy/sums'"),
        ("sums.md", "stubs:", "requires: [toy/more]\nstubs:", r"sums\.zh\.md: requires differs from the English page: None"),
        ("sums.zh.md", "frequency: 1", "frequency: 2", r"sums\.zh\.md: frequency differs from the English page: 2, not 1"),
    ],
)
def test_malformed_question_is_named(toy, file, old, new, expected):
    path = toy / "questions/toy" / file
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CourseError, match=expected):
        find_units(toy)


def write_questions(toy, requires):
    """Questions of the track `toy` without code: name -> the text of its `requires:`."""
    for name, required in requires.items():
        write_question(toy, f"toy/{name}", requires=required)


def test_what_a_unit_requires_is_read_and_told(toy):
    write_questions(toy, {"base": "[]", "tower": "[toy/base, toy/sums]"})
    assert find_unit("tower", toy).requires == ("toy/base", "toy/sums")
    assert find_unit("tower", toy).describe()["requires"] == ["toy/base", "toy/sums"]
    assert find_unit("base", toy).requires == find_unit("sums", toy).requires == (), (
        "a page need not say that it requires nothing"
    )


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ({"tower": "[toy/smus]"}, r"questions/toy/tower\.md: requires 'toy/smus', which is no unit; did you mean toy/sums"),
        ({"tower": "[sums]"}, r"tower\.md: requires 'sums', which is no unit; did you mean toy/sums"),
        ({"tower": "[xyzzyx]"}, r"tower\.md: requires 'xyzzyx', which is no unit; `aigc list` shows them all"),
        ({"tower": "[7]"}, r"tower\.md: requires 7, which is no unit"),
        ({"tower": "[toy/tower]"}, r"tower\.md: requires itself; take toy/tower out"),
        ({"tower": "[toy/sums, toy/sums]"}, r"tower\.md: requires toy/sums twice; take one out"),
        ({"a": "[toy/b]", "b": "[toy/a]"}, r"requires in a circle: toy/(a → toy/b → toy/a|b → toy/a → toy/b); take out"),
    ],
)
def test_a_requirement_that_cannot_be_is_named_with_the_edit_that_mends_it(toy, requires, expected):
    write_questions(toy, requires)
    with pytest.raises(CourseError, match=expected) as caught:
        find_units(toy)
    assert "\n" not in str(caught.value) and "`requires:` of the front matter, the same in both languages" in str(caught.value)


def test_a_circle_is_shown_as_it_runs(toy):
    write_questions(toy, {"a": "[toy/b]", "b": "[toy/sums, toy/c]", "c": "[toy/a]", "outside": "[toy/a]"})
    with pytest.raises(CourseError) as caught:
        find_units(toy)
    circle = str(caught.value).partition("circle: ")[2].partition(";")[0].split(" → ")
    assert circle[0] == circle[-1] and set(circle) == {"toy/a", "toy/b", "toy/c"} and len(circle) == 4
    assert set(pairwise(circle)) == {("toy/a", "toy/b"), ("toy/b", "toy/c"), ("toy/c", "toy/a")}
    assert str(caught.value).startswith(f"questions/{circle[0]}.md: ")


def test_missing_translation_is_named(toy):
    (toy / "questions/toy/sums.zh.md").unlink()
    with pytest.raises(CourseError, match=r"sums\.zh\.md: this translation is missing"):
        find_units(toy)


def test_unknown_unit_suggests_the_nearest(toy):
    with pytest.raises(CourseError, match="did you mean toy/sums"):
        find_unit("toy/sum", toy)
    with pytest.raises(CourseError, match="did you mean toy/sums"):
        find_unit("smus", toy)
    assert find_unit("sums", toy).id == "toy/sums"


def test_heading_inside_fenced_code_starts_no_section(toy):
    path = toy / "questions/toy/sums.md"
    path.write_text(path.read_text().replace("Add each term once.", "```\n## not a section\n```"))
    assert "## not a section" in find_unit("sums", toy).pages["en"].sections["pitfalls"]


def test_flashcards_are_paragraphs_with_a_bold_front(toy):
    path = toy / "questions/toy/sums.md"
    cards = "\n\n## Flashcards\n\n**What is a sum?** All terms,\nadded.\n\n**And of none?** 0, **always**.\n"
    path.write_text(path.read_text(encoding="utf-8") + cards, encoding="utf-8")
    expected = [("What is a sum?", "All terms, added."), ("And of none?", "0, **always**.")]
    assert find_unit("sums", toy).pages["en"].cards == expected


def test_the_syllabus_names_every_code_once_and_what_is_to_come(toy, aigc):
    assert len(CODES) == len(set(CODES)) == 95
    covered = {item.code: item for item in syllabus(find_units(toy)) if item.units}
    assert list(covered) == ["B11"] and covered["B11"].state == "exercise"
    listed = json.loads(aigc("list", "--syllabus", "--json")[1])
    assert [entry["code"] for entry in listed] == list(CODES)
    assert {entry["state"] for entry in listed} == {"exercise", "to come"}
    b11 = next(entry for entry in listed if entry["code"] == "B11")
    assert [unit["id"] for unit in b11["units"]] == ["toy/sums"] and b11["units"][0]["title_zh"] == "求和"
    status, out, _ = aigc("list", "--syllabus")
    assert status == 0 and "95 codes: 1 exercise, 0 question, 94 to come" in out
    assert aigc("list", "--syllabus", "--exercises")[0] == 2


def test_concept_codes_of_the_syllabus_are_covered(root):
    state = {item.code: item.state for item in syllabus(find_units(root))}
    wanted = [
        "P1",
        "P2",
        "P3",
        "P4",
        "P5",
        "Q1",
        "B1",
        "B2",
        "B3",
        "B4",
        "B5",
        "B6",
        "B10",
        "B13",
        "B15",
        "T5",
        "T6",
        "T7",
        "T8",
        "T9",
        "S2",
    ]
    assert [code for code in wanted if state[code] == "to come"] == []


def test_lists_of_a_track_and_of_exercises(toy, aigc):
    write_question(toy, "other/talk")
    write_question(toy, "other/build", stubs="[f]")
    assert [unit["id"] for unit in json.loads(aigc("list", "--track", "other", "--json")[1])] == ["other/build", "other/talk"]
    assert aigc("list", "--exercises")[1].split() == ["other/build", "toy/sums"]
    assert aigc("list", "--exercises", "--track", "other")[1].split() == ["other/build"]
    assert [unit["id"] for unit in json.loads(aigc("list", "--exercises", "--json")[1])] == ["other/build", "toy/sums"]
    listed = aigc("list", "--track", "other")[1]
    assert "other/talk" in listed and "to read" in listed and "toy/sums" not in listed
    status, _, err = aigc("list", "--track", "othr")
    assert status == 2 and "there is no track 'othr'; tracks are: other, toy" in err
    assert aigc("list", "--track", "other", "--syllabus")[0] == 2
