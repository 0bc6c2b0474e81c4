"""The pattern of a question page: each rule refuses a page that breaks it, in either language, and takes one that meets it."""

import json
import re
import subprocess
import sys

import pytest

from course.authoring.lint import RULES, complaints, lint
from course.authoring.pattern import Snippet, follow_ups, longest_derivation, relations, snippets
from course.errors import CourseError
from course.units.catalogue import Page, find_unit, find_units

EN, ZH, TESTS, MODULE = (
    "questions/toy/sums.md", "questions/toy/sums.zh.md", "tests/exercises/toy/test_sums.py", "reference_impl/toy/sums.py",
)  # fmt: skip


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_the_toy_course_meets_every_rule(unit):
    assert complaints(unit) == []
    lint(unit)


BREAKS = [
    ("ladder", EN, "**How fast?** In one pass.\n", "", r"sums\.md: needs at least 5 follow-ups .*, has 4"),
    ("ladder", ZH, "**多快？** 扫一遍。\n", "", r"sums\.zh\.md: needs at least 5 follow-ups .*, has 4"),
    ("ladder", EN, "**How fast?**", "**On speed.**", r"sums\.md: needs at least 5 follow-ups .*, has 4"),
    ("ladder", EN, "**How fast?** In one pass.", "```text\n**How fast?** In one pass.\n```", "follow-ups .*, has 4"),
    ("ladder", EN, "**How fast?** In one pass.", "**How fast?**", "follow-ups .*, has 4"),
    ("ladder", ZH, "**多快？**", "**多准？** 很准。\n\n**多快？**", r"sums\.zh\.md: has other follow-ups than the English page"),
    ("weak answers", EN, "*A weak answer:* often. ", "", r"sums\.md: needs a line .* in at least 2 follow-ups, has it in 1"),
    ("weak answers", EN, "*A weak answer:* often.", "Say not *A weak answer:* often.", "in at least 2 follow-ups, has it in 1"),
    ("weak answers", EN, "*A weak answer:* often. The question asks for a number.", "*A weak answer:*", "has it in 1"),
    ("weak answers", ZH, "*减分的回答：* 很多次", "*减分回答：* 很多次", r"sums\.zh\.md: needs a line .*减分的回答.*, has it in 1"),
    ("weak answers", ZH, "**加几次？** 一次。\n\n*减分的回答：* 很多次。问的是具体的数。\n\n**多快？** 扫一遍。",
     "**加几次？** 一次。\n\n**多快？** 扫一遍。\n\n*减分的回答：* 很快。问的是复杂度。",
     r"sums\.zh\.md: has weak answers in the follow-ups \[1, 3\], the English page in \[1, 2\]"),
    ("derivation", EN, "= 3 + 3 = (1 + 1) \\cdot 3 = 6$$", "= 6$$", r"sums\.md: 'In depth' must write one derivation out.* has 1"),
    ("derivation", ZH, "$$1 + 2", "$1 + 2", r"sums\.zh\.md: .*derivation.* has 0"),
    ("snippet", EN, "```text\n5\n```", "5", r"sums\.md: needs a pitfall that was run"),
    ("snippet", ZH, "\n每一项只加一次。\n", "", r"sums\.zh\.md: needs a pitfall that was run"),
    ("snippet", EN, "```python", "```", r"sums\.md: needs a pitfall that was run"),
    ("snippet", EN, "It prints", "### It prints", r"sums\.md: needs a pitfall that was run"),
    ("snippet", ZH, "sum([1, 2, 2])", "sum([1, 1, 2])", r"sums\.zh\.md: shows other broken code, or prints something else"),
    ("variants", TESTS, '"axis by its number": Edit("dim=-1", "dim=1"),', "",
     r"test_sums\.py: needs at least 3 right implementations of total in VARIANTS, has 2"),
    ("fakes", TESTS, '"nothing": lambda x, scale=1.0: None,', "", r"test_sums\.py: needs at least 6 wrong implementations"),
    ("fakes", TESTS, "import torch\n", "import torch\n1 / 0\n", r"test_sums\.py: cannot be imported: ZeroDivisionError"),
    ("demo", MODULE, "def demo", "def show", r"sums\.py: needs a demo\(\) that draws the finished thing"),
    ("demo", MODULE, '    """Show the sum of one and two: a bar of three."""\n', "", r"sums\.py: needs a demo\(\)"),
    ("module", MODULE, "LIMIT = 3", "LIMIT = = 3", r"sums\.py: is no Python: line \d+"),
    ("cards", EN, "**And of one?** It.\n", "", r"sums\.md: needs at least 3 flashcards, has 2"),
    ("hints", ZH, "3. 三\n### Box", "### Box", r"needs 3 numbered hints under '### total', has 2"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "path", "old", "new", "expected"), BREAKS)
def test_a_page_that_breaks_a_rule_is_refused(toy, rule, path, old, new, expected):
    change(toy / path, old, new)
    unit = find_unit("toy/sums", toy)
    found = [complaint for complaint in complaints(unit) if complaint.rule == rule]
    assert found, complaints(unit)
    assert any(re.search(expected, complaint.message) for complaint in found), found
    with pytest.raises(CourseError):
        lint(unit)


def test_all_complaints_are_listed_at_once(toy):
    change(toy / EN, "**How fast?** In one pass.\n", "")
    change(toy / EN, "```text\n5\n```", "5")
    change(toy / ZH, "$$1 + 2", "$1 + 2")
    assert {complaint.rule for complaint in complaints(find_unit("toy/sums", toy))} == {"ladder", "derivation", "snippet"}


def test_an_empty_concept_question_is_listed_and_nothing_is_raised(concept):
    found = [complaint.rule for complaint in complaints(concept)]
    assert {"sections", "cards", "ladder", "weak answers", "derivation", "snippet"} == set(found)
    assert not {"demo", "fakes", "variants", "hints"} & set(found), "a concept question has no code"


def test_every_rule_says_what_it_demands():
    assert all(rule.__doc__ for rule in RULES.values())


def page(**sections):
    return Page(None, {}, sections)


def test_follow_ups_are_counted_by_their_questions():
    text = "**One?** a\nb **not one?** c\n\nmore of one\n\n- a list\n\n**Two？** b\n\n   \n**Three of\ntwo lines?** c\n\n**Not one.** d\n"
    assert [one.question for one in follow_ups(page(follow_ups=text))] == ["One?", "Two？", "Three of\ntwo lines?"]
    assert follow_ups(page()) == []


@pytest.mark.parametrize(("latex", "steps"), [
    ("a = b", 1),
    ("a = b \\le c \\approx d", 3),
    ("\\begin{aligned} a &= b \\\\ &= c && \\text{(why)} \\\\ &= d \\end{aligned}", 3),
    ("a = b, \\qquad c = d, \\qquad e = f", 1),  # three definitions side by side
    ("q_k = (1 - \\varepsilon)\\,[k = y] + \\sum_{i=1}^{K} x_{i=k}", 1),
    ("a \\stackrel{(1)}{=} b \\overset{!}{=} c", 2),
    ("f = \\begin{cases} 1 & x > 0 \\\\ 0 & x < 0 \\end{cases}", 1),
    ("x \\in [0, 1), \\quad a = b = c", 2),
    ("\\underbrace{a = b}_{c = d} + e", 0),
])  # fmt: skip
def test_steps_of_a_formula(latex, steps):
    assert relations(latex) == steps


def test_formulas_of_one_part_are_a_derivation_and_those_of_several_are_not():
    one = "**Lead.** First\n\n$$a = b$$\n\nthen\n\n$$b = c$$\n\nand so\n\n$$c = d$$\n"
    assert longest_derivation(one) == 3
    assert longest_derivation(one.replace("then", "**Then.** So")) == 2
    assert longest_derivation(one.replace("$$b = c$$", "$$b$$")) == 2, "a formula without a relation is no step"
    assert longest_derivation("```\n" + one + "```\n") == 0


def test_a_snippet_is_code_then_output_then_the_remedy():
    whole = "### A\n```python\ncode\n```\nprints\n```text\nout\n```\nremedy\n"
    (found,) = snippets(whole)
    assert (found.code, found.printed) == ("code\n", "out\n")
    for spoilt in (
        whole.replace("remedy\n", ""),
        whole.replace("out\n", ""),
        whole.replace("python", "sh"),
        whole.replace("prints", "### B"),
        "### A\n```text\nout\n```\n```python\ncode\n```\nremedy\n",
    ):
        assert snippets(spoilt) == [], spoilt


# All snippets in one process, each with names and a random state of its own: torch is imported once.
RUNNER = """
import contextlib, io, json, sys, traceback, torch
printed = []
for code in json.load(sys.stdin):
    torch.manual_seed(0)
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()):
        try:
            exec(compile(code, "snippet", "exec"), {"__name__": "__main__"})
        except Exception as error:
            print(traceback.format_exception_only(error)[-1].strip())
    printed.append(out.getvalue())
json.dump(printed, sys.stdout)
"""
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def printed_otherwise(found):
    """What each of `found` prints that does not print what it says, numbers within a tolerance: another machine rounds otherwise."""
    codes = json.dumps([one.code for one in found])
    ran = subprocess.run(
        [sys.executable, "-c", RUNNER], input=codes, capture_output=True, text=True, encoding="utf-8", timeout=300
    )
    assert ran.returncode == 0, ran.stderr
    wrong = []
    for one, printed in zip(found, json.loads(ran.stdout), strict=True):
        said, done = (" ".join(text.split()) for text in (one.printed, printed))
        numbers = [[float(number) for number in NUMBER.findall(text)] for text in (said, done)]
        if NUMBER.sub("0", said) != NUMBER.sub("0", done) or numbers[1] != pytest.approx(numbers[0], rel=1e-2, abs=1e-4):
            wrong.append((one.code, one.printed, printed))
    return wrong


def test_a_snippet_that_prints_something_else_is_found():
    right = [
        Snippet("print(1 / 3, 'a')", "0.3333  a\n"),
        Snippet("import torch\ntorch.ones(2) @ torch.ones(3)", "RuntimeError: x"),
    ]
    assert [row[:2] for row in printed_otherwise(right)] == [(right[1].code, right[1].printed)]
    assert "inconsistent tensor size" in printed_otherwise(right)[0][2], "of an exception its last line"
    for said in ("0.4 a", "0.3333 b", "a", "0.3333 a 1"):
        assert printed_otherwise([Snippet(right[0].code, said)]), said


def test_every_pitfall_of_the_course_prints_what_it_says(root):
    pages = [page for unit in find_units(root) for page in unit.pages.values()]
    found = list(dict.fromkeys(one for page in pages for one in snippets(page.sections["pitfalls"])))
    assert printed_otherwise(found) == []
