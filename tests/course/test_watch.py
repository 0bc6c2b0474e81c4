"""`aigc watch`: what a save has changed is checked again, nothing else, and nothing that a learner saves ends it."""

import os
import sys
import time

import pytest
from toy_course import write_work

from course.authoring.build import compose, fill, to_json
from course.checking import watch as watcher
from course.checking.watch import Watched, fingerprints, watch
from course.units.answers import read_answer
from course.units.catalogue import find_unit

RIGHT = "def total(x, scale=1.0):\n    return scale * x.sum(1)\n"
WRONG = "def total(x, scale=1.0):\n    return scale * x.sum(0)\n"


def answered(unit, source, *cells):
    notebook = fill(compose(unit, solved=False), source)
    notebook["cells"] += [
        {"cell_type": "code", "id": f"x{n}", "metadata": {}, "source": c, "outputs": []} for n, c in enumerate(cells)
    ]
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["execution_count"] = None
    return notebook


@pytest.fixture
def watched(built, unit):
    write_work(unit, unit.notebook.read_text())
    return Watched(unit, unit.work)


def look(watched):
    """Statuses of what a look checked, or None if it found no new save; and the text."""
    return watched.check() if watched.changed() else (None, "")


def test_only_what_changed_is_checked(watched, unit):
    assert look(watched)[0] == {"total": "todo", "Box.grow": "todo"}, "the first look checks all"
    assert look(watched)[0] is None, "nothing was saved"
    write_work(unit, answered(unit, WRONG))
    statuses, text = look(watched)
    assert statuses == {"total": "failed"} and text.startswith("  ✗ total: ")
    write_work(unit, answered(unit, WRONG.replace("return", "# a comment\n    return")))
    assert look(watched)[0] == {}, "a comment changes no verdict"
    write_work(unit, answered(unit, RIGHT))
    assert look(watched)[0] == {"total": "passed"}
    write_work(unit, answered(unit, unit.module.read_text()))
    assert watched.changed()
    assert watched.check()[0].keys() >= {"Box.grow"}
    assert watched.statuses == {"total": "passed", "Box.grow": "passed"}


def test_what_waited_for_another_stub_is_checked_with_it(watched, unit):
    look(watched)
    watched.statuses["Box.grow"] = "blocked"
    write_work(unit, answered(unit, RIGHT))
    assert look(watched)[0].keys() == {"total", "Box.grow"}


BOX = "class Box:\n    def __init__(self, size):\n        self.size = size\n    def grow(self, by):\n        return self.size + by\n"
USING = (
    "import math\n\nFACTOR = 1\n\ndef mine(x):\n    return FACTOR * x\n\ndef total(x, scale=1.0):\n    return mine(x) + math.pi\n"
)


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([RIGHT, BOX], [WRONG, BOX], {"total"}),
        ([RIGHT, BOX], [RIGHT, BOX.replace("+ by", "- by")], {"Box.grow"}),
        ([RIGHT, BOX], [RIGHT, BOX.replace("= size", "= 2 * size")], set()),  # which is given, and stands
        ([RIGHT, BOX], [RIGHT, BOX + "    def more(self):\n        return 1\n"], set()),  # which nothing uses yet
        ([RIGHT, BOX], [RIGHT, BOX, "def given_to_grow(self, by):\n    return by\n\nBox.grow = given_to_grow"], {"Box.grow"}),
        ([RIGHT, BOX], ["def mine(x):\n    return x", RIGHT, BOX], set()),
        ([USING, BOX], [USING.replace("FACTOR * x", "x"), BOX], {"total"}),
        ([USING, BOX], [USING.replace("FACTOR = 1", "FACTOR = 2"), BOX], {"total"}),
        ([USING, BOX], [USING.replace("import math", "import cmath as math"), BOX], {"total"}),
        ([RIGHT, BOX], [RIGHT], {"Box.grow"}),
        ([RIGHT, BOX], [BOX, RIGHT, "print(total)"], set()),
    ],
)
def test_a_fingerprint_changes_with_what_a_verdict_depends_on(unit, before, after, changed):
    source = unit.module.read_text()
    first, second = (fingerprints(read_answer(cells, source, unit.stubs), unit.stubs) for cells in (before, after))
    assert {stub for stub in unit.stubs if first[stub] != second[stub]} == changed


def test_methods_of_one_class_have_fingerprints_of_their_own(unit):
    two = BOX + "    def shrink(self, by):\n        return self.size - by\n"
    stubs = ("Box.grow", "Box.shrink")
    source = unit.module.read_text().replace(
        "    def grow", "    def shrink(self, by):\n        return self.size - by\n\n    def grow"
    )
    prints = [fingerprints(read_answer([text], source, stubs), stubs) for text in (two, two.replace("- by", "* by"))]
    assert prints[0]["Box.grow"] == prints[1]["Box.grow"]
    assert prints[0]["Box.shrink"] != prints[1]["Box.shrink"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "sums.ipynb is not a notebook"),
        ('{"cells": [', "sums.ipynb is not a notebook"),
        ('{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}', "the notebook has no code"),
    ],
)
def test_what_is_no_notebook_is_said_in_a_line_and_watching_goes_on(watched, unit, monkeypatch, text, expected):
    monkeypatch.setattr(watcher, "SETTLE", 0)
    look(watched)
    write_work(unit, text)
    statuses, said = look(watched)
    assert statuses == {} and expected in said and "\n" not in said
    write_work(unit, answered(unit, RIGHT))
    assert look(watched)[0] == {"total": "passed"}


def test_a_save_that_is_half_written_is_waited_for(watched, unit, monkeypatch):
    look(watched)
    write_work(unit, '{"cells": [')
    monkeypatch.setattr(time, "sleep", lambda seconds: write_work(unit, answered(unit, RIGHT)))
    assert look(watched)[0] == {"total": "passed"}


def test_a_file_that_is_away_for_a_moment_is_waited_for(watched, unit):
    look(watched)
    kept = unit.work.read_text()
    unit.work.unlink()
    assert look(watched)[0] is None
    write_work(unit, kept)
    assert look(watched)[0] == {}, "it came back as it was"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def total(x, scale=1.0):\n    exit()", "take out exit()"),
        ("def total(x, scale=exit()):\n    return x", "take out exit()"),
        ("from not_there import rows\n\n\n" + RIGHT.replace("x.sum", "rows(x).sum"), "No module named 'not_there'"),
        ("def total(x, scale=1.0):\n    return x.sm(1)", "✗ total"),
    ],
)
def test_nothing_that_is_saved_ends_it(watched, unit, source, expected):
    look(watched)
    write_work(unit, answered(unit, "", source))
    statuses, text = look(watched)
    assert statuses["total"] == "failed" and expected in text


def test_the_loop_reports_each_save_once(watched, unit):
    seen, looks = [], iter(range(6))

    def report(one, statuses, text):
        seen.append(statuses)
        write_work(unit, answered(unit, RIGHT))

    watch([watched], report, until=lambda: next(looks) == 5)
    assert seen[:2] == [{"total": "todo", "Box.grow": "todo"}, {"total": "passed"}]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "there is no copy in work/ yet"),
        (("--notebook", "x.ipynb"), "needs to know the unit"),
        (("sums", "--notebook", "gone.ipynb"), "there is no file gone.ipynb"),
        (("smus",), "did you mean toy/sums?"),
    ],
)
def test_usage_errors_are_one_line(aigc, built, arguments, expected):
    status, out, err = aigc("watch", *arguments)
    assert status == 2 and expected in err
    assert "Traceback" not in out + err


def test_a_save_gets_its_verdict_and_an_interrupt_ends_quietly(root, store, tmp_path):
    pexpect = pytest.importorskip("pexpect")
    unit = find_unit("image/vae", root)
    path = tmp_path / "vae.ipynb"
    exercise = compose(unit, solved=False)
    path.write_text(to_json(exercise), encoding="utf-8")
    child = pexpect.spawn(
        sys.executable, ["-m", "course.cli", "watch", "vae", "--notebook", str(path)],
        env={**os.environ, "TERM": "dumb"}, cwd=str(root), dimensions=(24, 100), encoding="utf-8", timeout=120,
    )  # fmt: skip
    try:
        child.expect_exact("(0 of 6 stubs)")
        right = "def kl_divergence(mu, logvar):\n    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(-1)\n"
        path.write_text(to_json(fill(exercise, right)), encoding="utf-8")
        child.expect_exact("✓ kl_divergence")
        child.expect_exact("(1 of 6 stubs)")
        child.sendintr()
        child.expect(pexpect.EOF)
        assert "Traceback" not in child.before
    finally:
        child.close(force=True)
    assert child.exitstatus == 0
    assert store.read().units == {}, "another notebook than the learner's copy is not remembered"
