"""The learner's loop in the terminal: hints, solutions, reset, what is remembered, and what comes next."""

import io
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from toy_course import write_question, write_work

from course.authoring.build import compose, fill
from course.cli import practise
from course.notebook import Checker, NotYet
from course.studying.cards import answer, card_id, flashcards
from course.studying.progress import steps, survey
from course.units.answers import read_answer
from course.units.catalogue import find_units
from course.units.pieces import written

RIGHT = "def total(x, scale=1.0):\n    return scale * x.sum(1)\n"
WRONG = "def total(x, scale=1.0):\n    return scale * x.sum(0)\n"


def test_hints_come_one_at_a_time_and_are_remembered(aigc, built, store):
    assert [line.split() for line in aigc("hint", "sums", "total")[1].splitlines()] == [["1/3", "one"]]
    assert store.read().units["toy/sums"].hints == {"total": 1}
    assert aigc("hint", "sums", "total")[1].split() == ["1/3", "one", "2/3", "two"]
    assert aigc("hint", "sums", "Box.grow")[1].split() == ["1/3", "one"], "each stub counts its own"
    assert aigc("hint", "sums", "total", "--lang", "zh")[1].split() == ["1/3", "一", "2/3", "二", "3/3", "三"]
    for _ in range(2):
        out = aigc("hint", "sums", "total")[1]
        assert "3/3  three" in out and "there are no more hints" in out
    assert store.read().units["toy/sums"].hints == {"total": 3, "Box.grow": 1}


def test_solution_is_shown_only_after_an_attempt(aigc, built, unit, store):
    reference = "# The comment above a stub is kept.\ndef total("
    assert aigc("solution", "sums", "total")[:2] == (2, "")
    aigc("check", "sums")
    status, out, err = aigc("solution", "sums", "total")
    assert (status, out) == (2, ""), "a hole that was checked is no attempt"
    assert "not tried yet: total" in err and "--give-up" in err
    write_work(unit, fill(compose(unit, solved=False), WRONG))
    assert aigc("solution", "sums", "total")[0] == 2, "what was never checked is no attempt"
    aigc("check", "sums")
    status, out, _ = aigc("solution", "sums", "total")
    assert status == 0
    assert out.startswith(reference) and "scale * x.sum(dim=-1)" in out
    assert "\x1b" not in out and not any(line.endswith(" ") for line in out.splitlines()), "a pipe gets the plain source"
    status, out, err = aigc("solution", "sums")
    assert status == 2 and out.startswith(reference) and "not tried yet: Box.grow" in err
    status, out, _ = aigc("solution", "sums", "Box.grow", "--give-up")
    assert status == 0 and out.startswith("def grow(self, by: int) -> int:\n    ")
    assert store.read().units["toy/sums"].given_up == ["Box.grow"]
    assert aigc("solution", "sums")[0] == 0


def test_solution_has_colours_on_a_terminal(aigc, built, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(practise, "console", Console(file=screen, force_terminal=True, width=80, color_system="standard"))
    assert aigc("solution", "sums", "--give-up")[0] == 0
    assert "\x1b[" in screen.getvalue()


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (WRONG, ("total",)),
        ("def total(x, scale=1.0):\n    pass", ("total",)),
        ('def total(x):\n    "Mine."\n    raise NotImplementedError("total: yours to write")', ()),
        ('class Box:\n    def grow(self, by):\n        raise NotImplementedError("Box.grow: yours to write")', ()),
        ("class Box:\n    def grow(self, by):\n        return by", ("Box.grow",)),
        ("class Box:\n    pass", ()),
        ("x = 1", ()),
    ],
)
def test_what_counts_as_written(unit, cell, expected):
    source = unit.module.read_text()
    assert written(read_answer([cell], source, unit.stubs), unit.stubs) == expected


def test_checks_of_the_copy_in_work_are_remembered_and_no_others(aigc, built, unit, store, tmp_path):
    write_work(unit, fill(compose(unit, solved=False), RIGHT))
    elsewhere = tmp_path / "other.ipynb"
    elsewhere.write_bytes(unit.work.read_bytes())
    aigc("check", "sums", "--notebook", str(elsewhere))
    assert store.read().units == {}
    aigc("check", "sums", "--stub", "total")
    aigc("check", "sums", "--notebook", str(unit.work))
    record = store.read().units["toy/sums"]
    assert (record.attempts, record.tried, record.verdicts) == (2, ["total"], {"total": "passed", "Box.grow": "todo"})
    assert store.read().streak() == 1
    write_work(unit, fill(compose(unit, solved=False), WRONG))
    aigc("check", "sums")
    assert store.read().units["toy/sums"].solved == [], "an answer that was broken again is not solved"
    write_work(unit, "no notebook")
    aigc("check", "sums")
    assert store.read().units["toy/sums"].attempts == 3, "what cannot be read is no attempt"


def test_a_check_in_the_notebook_is_remembered_if_it_is_the_learners(built, unit, store, monkeypatch, tmp_path):
    names = {}
    exec("def total(x, scale=1.0):\n    return scale * x.sum(1)", names)
    check = Checker(unit, names)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "solutions/toy/sums.ipynb"))
    check("total")
    assert store.read().units == {}
    monkeypatch.setenv("JPY_SESSION_NAME", str(unit.work))
    check("total")
    with pytest.raises(NotYet):
        check("Box.grow")
    record = store.read().units["toy/sums"]
    assert (record.attempts, record.tried, record.solved) == (1, ["total"], ["total"])


def test_a_verdict_is_given_where_nothing_can_be_remembered(aigc, built, unit, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGC_HOME", str(tmp_path / "file" / "in"))
    write_work(unit, fill(compose(unit, solved=False), unit.module.read_text()))
    status, out, err = aigc("check", "sums")
    assert status == 0 and "toy/sums: pass" in out
    assert "this check is not remembered" in err and "AIGC_HOME" in err
    assert aigc()[0] == 0


def test_reset_asks_keeps_a_backup_and_begins_again(aigc, built, unit, store):
    aigc("read", "sums")
    answers = [fill(compose(unit, solved=False), text) for text in (RIGHT, WRONG)]
    for number, notebook in enumerate(answers, start=1):
        write_work(unit, notebook)
        before = unit.work.read_bytes()
        aigc("check", "sums")
        status, _, err = aigc("reset", "sums")
        assert status == 2 and "add --yes" in err and unit.work.read_bytes() == before
        assert aigc("reset", "sums", "--yes")[0] == 0
        assert unit.work.read_bytes() == unit.notebook.read_bytes()
        assert unit.work.with_name(f"sums.bak-{number}.ipynb").read_bytes() == before
    record = store.read().units["toy/sums"]
    assert (record.attempts, record.tried, record.verdicts, record.read) == (0, [], {}, True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("hint", "sums", "nope"), "toy/sums has no stub 'nope'; it has: total, Box.grow"),
        (("hint", "concept", "x"), "toy/concept is a concept question"),
        (("hint", "sums", "total", "--lang", "fr"), "Invalid value for '--lang'"),
        (("solution", "sums", "nope"), "has no stub 'nope'"),
        (("solution", "concept"), "`aigc read toy/concept` shows its answer"),
        (("reset", "concept", "--yes"), "nothing to reset"),
        (("read", "smus"), "did you mean toy/sums?"),
    ],
)
def test_usage_errors_are_one_line(aigc, built, concept, arguments, expected):
    status, out, err = aigc(*arguments)
    assert status == 2
    assert expected in err
    assert "Traceback" not in out + err


def test_read_shows_the_page_and_remembers(aigc, concept, store):
    status, out, _ = aigc("read", "concept", "--lang", "zh")
    assert status == 0
    assert "## 问题" in out and "什么？" in out
    assert "闪卡" not in out, "the backs of the cards are for `aigc study`"
    assert store.read().units["toy/concept"].read


def test_next_goes_from_due_cards_to_begun_units_to_unread_questions(aigc, built, concept, unit, store):
    def commands(now=None):
        return [command for command, _ in steps(survey([concept, unit], store.read(), now))]

    assert commands() == ["aigc read toy/concept", "aigc study"], "what is asked most comes first"
    aigc("read", "concept")
    assert commands()[0] == "aigc read toy/sums"
    aigc("read", "sums")
    assert commands() == ["aigc open toy/sums", "aigc study"]
    write_work(unit, fill(compose(unit, solved=False), RIGHT))
    aigc("check", "sums")
    found = aigc("next")[1]
    assert "aigc open toy/sums" in found and "1 of 2 stubs solved, Box.grow is next" in " ".join(found.split())
    now = datetime.now(UTC)
    answer(store, card_id(concept, "What is $x_1$?"), 1, now)
    assert commands(now)[0] == "aigc open toy/sums", "a card is not due before its time"
    assert commands(now + timedelta(minutes=2))[0] == "aigc study --due"
    for card in [flashcards(concept)[1], *flashcards(unit)]:
        answer(store, card.id, 4, now)
    write_work(unit, fill(compose(unit, solved=False), unit.module.read_text()))
    aigc("check", "sums")
    assert commands(now) == []
    assert "nothing" in aigc("next")[1]


def test_both_languages_share_a_cards_id(concept):
    english, chinese = flashcards(concept), flashcards(concept, "zh")
    assert [card.id for card in english] == [card.id for card in chinese]
    assert [card.front for card in chinese] == ["$x_1$ 是什么？", "y 呢？"]
    assert len({card.id for card in english}) == 2


def test_status_counts_by_track(aigc, built, concept, unit, store):
    aigc("read", "concept")
    write_work(unit, fill(compose(unit, solved=False), unit.module.read_text()))
    aigc("check", "sums")
    answer(store, card_id(concept, "And y?"), 1, datetime.now(UTC) - timedelta(days=1))
    status, out, _ = aigc("status")
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip()}
    assert rows["track"] == ["studied", "attempted", "solved", "cards", "due", "new"]
    assert rows["toy"] == rows["all"] == ["1/2", "1/1", "1/1", "1", str(1 + len(flashcards(unit)))]
    assert rows["streak:"] == ["1", "day"]
    assert "1/2" in aigc()[1] and "aigc list --track toy" in aigc()[1], (
        "the dashboard has the same lines, and says how to unfold one"
    )
    assert "pass, 2 of 2" in aigc("list")[1]


def test_next_follows_the_path_and_not_the_alphabet(toy, store):
    """A question is offered when what it requires is read, an exercise when that is solved, however often it is asked itself."""
    write_question(toy, "toy/zero")
    write_question(toy, "toy/apex", requires="[toy/zero]", frequency=3, stubs="[climb]")
    write_question(toy, "toy/base", frequency=3, difficulty=2, stubs="[stand]")
    write_question(toy, "toy/crown", requires="[toy/base]", frequency=3, stubs="[shine]")

    def commands():
        return [command for command, _ in steps(survey(find_units(toy), store.read())) if command != "aigc study"]

    def mark(unit, **record):
        with store.update() as state:
            vars(state.unit(unit)).update(record)

    seen = []
    while commands()[-1].startswith("aigc read"):
        seen.append(commands()[-1].removeprefix("aigc read "))
        mark(seen[-1], read=True)
    assert seen == ["toy/zero", "toy/apex", "toy/base", "toy/crown", "toy/sums"]
    assert commands() == ["aigc open toy/apex"]
    mark("toy/apex", verdicts={"climb": "passed"})
    assert commands() == ["aigc open toy/base"], "the crown is read and easier, but its base is not built"
    mark("toy/base", verdicts={"stand": "failed"})
    assert commands() == ["aigc open toy/base", "aigc open toy/sums"], "begun, and beside it what is ready"
    mark("toy/base", verdicts={"stand": "passed"})
    assert commands() == ["aigc open toy/crown"]


@pytest.mark.parametrize("call", ["study.dashboard()", "study.next_steps()", "browse.show_path()"])
def test_a_screen_does_not_wait_for_torch(built, unit, call):
    write_work(unit, fill(compose(unit, solved=False), RIGHT))
    program = f"import sys; from course.cli import browse, study; {call}; sys.exit('torch' in sys.modules)"
    env = {**os.environ, "AIGC_ROOT": str(built)}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == 0, "`aigc` must answer at once, and torch takes seconds to import\n" + done.stderr


def test_open_is_lab_for_one_unit(aigc, concept, monkeypatch):
    opened = []
    monkeypatch.setattr(practise, "lab", opened.append)
    assert aigc("open", "sums")[0] == 0
    assert opened == ["sums"]
