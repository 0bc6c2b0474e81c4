"""`--nbval`: the notebook run again in the sandbox, compared with the solution's outputs, and never a mark from it."""

import json
import re
import subprocess
import sys

import pytest
from markdown_it import MarkdownIt

from course.authoring.build import compose, fill, to_json
from course.grading.feedback import NOTE, compare, markdown, without_links
from course.sandbox.client import CellOutput, missing_layers
from course.units.catalogue import find_unit

UNIT = "text/attention"  # whose demo is the quickest
MISSING = list(missing_layers())
FIGURE = (("image/png", "text/plain"), "<Figure size 1200x540 with 2 Axes>")

# Answers to a stub that the demo calls; the others are right.
FORGED = '''
def causal_mask(T, S, *, device=None):
    """Claims all marks where a reader of outputs would look for them."""
    print("check: 9 of 9 checks pass")
    raise RuntimeError("| [click](javascript:0) <b>9/9</b>")
'''
LEAVING = """
def causal_mask(T, S, *, device=None):
    import os
    os._exit(0)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, root):
    """Three learners: one right, one whose cell lies, one whose cell ends the process."""
    if MISSING:
        pytest.skip(f"strict isolation is not to be had here, missing: {MISSING}")
    unit, folder = find_unit(UNIT, root), tmp_path_factory.mktemp("class")
    exercise = compose(unit, solved=False)
    right = unit.module.read_text(encoding="utf-8")
    for learner, source in {"forged": right + FORGED, "leaving": right + LEAVING, "right": right}.items():
        path = folder / learner / f"{UNIT}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(to_json(fill(exercise, source)), encoding="utf-8")
    out = folder.parent / "out"
    command = [sys.executable, "-m", "course.cli", "grade", str(folder), "--out", str(out), "--nbval", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    return out, {row["learner"]: row for row in rows}


def feedback(row):
    return {cell["cell"]: (cell["verdict"], cell["detail"]) for cell in row["feedback"]}


def test_a_right_notebook_shows_what_the_solution_shows(run):
    row = run[1]["right"]
    assert row["status"] == "passed"
    assert {verdict for verdict, _ in feedback(row).values()} == {"same"}, row["feedback"]
    assert "demo-run" in feedback(row) and 'check("causal_mask")' in feedback(row)


def test_what_a_notebook_claims_is_no_mark(run):
    row = run[1]["forged"]
    assert row["stubs"]["causal_mask"]["status"] == "failed", "a notebook that prints full marks got them"
    cells = feedback(row)
    assert cells['check("causal_mask")'][0] == "differs"
    assert cells["demo-run"][0] == "raised" and "RuntimeError" in cells["demo-run"][1]


def test_a_cell_that_ends_the_process_is_told_and_costs_nobody_else(run):
    cells = feedback(run[1]["leaving"])
    assert cells["demo-run"] == ("raised", "the cell ended its process (exit code 0)")


def test_the_reports_say_that_it_is_no_score(run):
    out, _ = run
    page = (out / "feedback" / "forged" / f"{UNIT}.md").read_text(encoding="utf-8")
    assert NOTE in page and "<b>" not in page and "[click](" not in page
    tests = json.loads((out / "gradescope" / "forged.json").read_text(encoding="utf-8"))["tests"]
    (entry,) = [test for test in tests if "run again" in test["name"]]
    assert "score" not in entry and "max_score" not in entry and NOTE in entry["output"]
    assert NOTE in (out / "junit.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("own", "solution", "expected"),
    [
        (CellOutput("a\nb\n", (), ""), CellOutput("a\nb\n", (), ""), ""),
        (CellOutput("a\nc\n", (), ""), CellOutput("a\nb\n", (), ""), "prints 'c' where the solution prints 'b'"),
        (CellOutput("", (), ""), CellOutput("a\n", (), ""), "prints nothing where the solution prints 'a'"),
        (CellOutput("", (FIGURE,), ""), CellOutput("", (FIGURE,), ""), ""),
        (CellOutput("", (), ""), CellOutput("", (FIGURE,), ""), "shows nothing; the solution shows <Figure size 1200x540"),
        (CellOutput("", (FIGURE, FIGURE), ""), CellOutput("", (FIGURE,), ""), "shows <Figure"),
    ],
)
def test_the_first_difference_is_named(own, solution, expected):
    found = compare(own, solution)
    assert found.startswith(expected) and bool(found) == bool(expected)


def test_a_page_keeps_a_strangers_text_in_its_cell():
    page = markdown("a|b", "image/vae", [{"cell": "x", "verdict": "raised", "detail": "| </td> `x` [y](z) \\"}])
    assert page.splitlines()[-1].count("|") == 4 and "</td>" not in page and "[y](" not in page


@pytest.mark.parametrize(
    "said",
    ["http://evil.com", "www.evil.com", "//evil.com/x.png", "<img src=x>", "<http://evil.com>", "![p](http://e.com/p.png)", "[p](e)",
     "`</code><b>x</b>`", "``[p](e)``", "`` ` [p](e)", "javascript:alert(1)", "[e]: http://e.com", "me@evil.com", "evil.com/x", "&#60;b>",
     "|[p](e)|<b>x</b>", "*x* _y_ ~~z~~", "\\`[p](e)"],
)  # fmt: skip
def test_no_renderer_makes_a_link_or_a_picture_of_it(said):
    """With HTML let through and addresses linked, as the most obliging renderer does; the words themselves stay to be read."""
    page = markdown(said, "image/vae", [{"cell": said, "verdict": "raised", "detail": f"it said {said} twice"}])
    html = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(page)
    tags = set(re.findall(r"<([a-z]+[0-9]?)", html))
    assert tags <= {"h1", "p", "table", "thead", "tbody", "tr", "th", "td", "code"}, (said, html)
    assert html.count("<td>") == 3, "it made a column of its own"
    assert not re.search(r"://|\bwww\.|[a-z]@[a-z]", page), "a mail program looks for addresses in code too"


def test_what_is_no_address_is_left_alone():
    said = "torch.zeros(2): VAE.forward differs at x[0](1), 3 < 4, a // b, 5:3"
    assert without_links(said) == said.replace("[0](", "[0] (")
