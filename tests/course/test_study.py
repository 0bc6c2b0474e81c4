"""Flashcards in a scripted terminal: quit, resume, narrow screens, no Unicode, and a schedule that is FSRS's own."""

import io
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from fsrs import Card, Rating, Scheduler
from fsrs import State as Learned
from rich.console import Console

from course.studying.cards import (
    SCHEDULER,
    WORDS,
    answer,
    card_id,
    due_count,
    flashcards,
    following,
    interval,
    is_due,
    study,
)
from course.studying.progress import survey
from course.studying.state import Store
from course.units.catalogue import find_unit

CARDS = 12
SHOW, GRADE, SAVED = "Enter: answer", "q: quit $", "comes back in"


@pytest.fixture
def deck(toy):
    """A unit with twelve cards in both languages, long enough to break on a narrow screen."""
    for suffix, section, question, front in ((".md", "Flashcards", "Question", "Front"), (".zh.md", "闪卡", "问题", "正面")):
        cards = "\n\n".join(
            f"**{front} {n}: what is $x_{n}$?** Back {n} with `code`, and 中文 {'long ' * 20}" for n in range(CARDS)
        )
        text = f"---\ntitle: Deck\ndifficulty: 1\nfrequency: 3\nsyllabus: [P1]\n---\n\n## {question}\nWhat?\n\n## {section}\n\n{cards}\n"
        (toy / f"questions/toy/deck{suffix}").write_text(text, encoding="utf-8")
    return find_unit("toy/deck", toy)


@pytest.fixture
def terminal(deck):
    """Start `aigc` in a terminal of its own; whatever still runs at the end is stopped."""
    pexpect = pytest.importorskip("pexpect")
    started = []

    def start(*arguments, columns=80, **env):
        of_pytest = {"COLUMNS", "LINES"}  # the size of another terminal
        inherited = {name: value for name, value in os.environ.items() if name not in of_pytest}
        child = pexpect.spawn(
            sys.executable, ["-m", "course.cli", *arguments],
            env={**inherited, "AIGC_ROOT": str(deck.root), "TERM": "xterm", **env},
            dimensions=(24, columns), encoding="utf-8", timeout=60,
        )  # fmt: skip
        child.logfile_read = io.StringIO()
        started.append(child)
        return child

    yield start
    for child in started:
        child.close(force=True)


def answer_one(child, grade):
    child.expect(SHOW)
    child.sendline("")
    child.expect("4 easy")
    child.sendline(grade)
    child.expect(SAVED)


def leave(child):
    """The exit status, once the child has ended by itself."""
    import pexpect

    child.expect(pexpect.EOF)
    child.close()
    assert "Traceback" not in child.logfile_read.getvalue()
    return child.exitstatus


def replayed(reviews):
    """What FSRS itself says of the same answers at the same times."""
    scheduler, cards = Scheduler(enable_fuzzing=False), {}
    for card, rating, moment in reviews:
        at = datetime.fromisoformat(moment)
        cards[card] = scheduler.review_card(cards.get(card) or Card(card_id=1, due=at), Rating(rating), at)[0]
    return {card: {**made.to_dict(), "card_id": None} for card, made in cards.items()}


def kept(state):
    return {card: {**made.to_dict(), "card_id": None} for card, made in state.cards.items()}


def test_ten_cards_with_an_interrupt_in_the_middle(terminal, store, deck):
    grades = [1, 2, 3, 4, 3, 4, 4, 2, 3, 3]
    child = terminal("study", "--unit", "deck", "--limit", "10")
    for number, grade in enumerate(grades[:4]):
        child.expect_exact(f"{number + 1}/10")
        child.expect_exact(f"Front {number}: what is $x_{number}$?")
        answer_one(child, str(grade))
        assert len(store.read().reviews) == number + 1, "an answer must be saved before the next card is shown"
    child.expect(SHOW)
    child.sendline("")
    child.expect_exact("Back 4")
    child.expect("4 easy")
    child.sendintr()
    child.expect_exact("4 answered (1 again), 0 still due")
    assert leave(child) == 0
    assert len(store.read().reviews) == 4

    child = terminal("study", "--unit", "deck", "--limit", "6")
    for number, grade in enumerate(grades[4:], start=4):
        child.expect_exact(f"Front {number}:")
        answer_one(child, str(grade))
    child.expect_exact("6 answered (0 again)")
    assert leave(child) == 0

    state = store.read()
    expected = [(card.id, grade) for card, grade in zip(flashcards(deck), grades, strict=False)]
    assert [(card, rating) for card, rating, _ in state.reviews] == expected
    assert kept(state) == replayed(state.reviews)


@pytest.mark.parametrize("prompt", [1, 2])
@pytest.mark.parametrize("way", ["q", "interrupt", "end of input"])
def test_every_way_out_at_every_prompt(terminal, store, prompt, way):
    child = terminal("study", "--unit", "deck")
    answer_one(child, "3")
    child.expect(SHOW)
    if prompt == 2:
        child.sendline("")
        child.expect("4 easy")
        child.expect("quit ")
    if way == "q":
        child.sendline("q")
    elif way == "interrupt":
        child.sendintr()
    else:
        child.sendeof()
    child.expect_exact("1 answered (0 again), 0 still due")
    assert leave(child) == 0
    assert len(store.read().reviews) == 1


def test_a_killed_session_keeps_every_answer_it_confirmed(terminal, store):
    child = terminal("study", "--unit", "deck")
    answer_one(child, "3")
    answer_one(child, "1")
    child.kill(signal.SIGKILL)
    assert [rating for _, rating, _ in store.read().reviews] == [3, 1]


def test_two_sessions_at_once_keep_both_schedules(terminal, store):
    first, second = terminal("study", "--unit", "deck"), terminal("study", "--unit", "deck")
    first.expect(SHOW)
    second.expect(SHOW)
    for child in (first, second):
        child.sendline("")
        child.expect("4 easy")
    for child, grade in ((first, "3"), (second, "4")):  # both were shown the same card
        child.sendline(grade)
        child.expect(SAVED)
    state = store.read()
    assert [rating for _, rating, _ in state.reviews] == [3, 4]
    assert kept(state) == replayed(state.reviews)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_narrow_terminal_without_colour_or_unicode(terminal, store, lang):
    plain = {"LANG": "C", "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "NO_COLOR": "1"}
    child = terminal("study", "--unit", "deck", "--lang", lang, columns=40, **plain)
    child.expect("q")
    child.sendline("nonsense")
    child.expect("4")
    child.sendline("7")
    child.sendline("中")
    child.sendline("3")
    child.expect("2/20")
    child.sendintr()
    assert leave(child) == 0
    shown = child.logfile_read.getvalue()
    assert "\x1b[3" not in shown and "\x1b[9" not in shown, "NO_COLOR is set"
    assert "$x_0$" in shown, "formulas stay as they are"
    wide = [line for line in shown.splitlines() if len(line) > 40]
    assert not wide, f"wider than the terminal: {wide}"
    assert len(store.read().reviews) == 1


def test_the_two_languages_are_one_schedule(terminal, store, deck):
    child = terminal("study", "--unit", "deck", "--lang", "zh", "--limit", "1")
    child.expect_exact("正面 0")
    child.sendline("")
    child.expect_exact("4 轻松")
    child.sendline("4")
    child.expect_exact("答了 1 次")
    assert leave(child) == 0
    assert list(store.read().cards) == [card_id(deck, "Front 0: what is $x_0$?")]


def test_a_pipe_is_refused_and_told_what_to_do(deck):
    env = {**os.environ, "AIGC_ROOT": str(deck.root)}
    done = subprocess.run(
        [sys.executable, "-m", "course.cli", "study"], input="\n3\n", env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "the input is no terminal; run it in one" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--track", "nope"), "there is no track 'nope'; tracks are: toy"),
        (("--unit", "bare"), "toy/bare has no flashcards"),
        (("--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_usage_errors_are_one_line(aigc, deck, arguments, expected):
    for suffix in (".md", ".zh.md"):
        text = "---\ntitle: Bare\ndifficulty: 1\nfrequency: 1\nsyllabus: [P2]\n---\n"
        (deck.root / f"questions/toy/bare{suffix}").write_text(text, encoding="utf-8")
    status, out, err = aigc("study", *arguments)
    assert status == 2 and expected in err
    assert "Traceback" not in out + err


def test_due_only_asks_no_new_cards(terminal):
    child = terminal("study", "--due", "--unit", "deck")
    child.expect_exact("no card is due; `aigc study` also asks the new ones")
    assert leave(child) == 0


def scripted(monkeypatch, deck, store, lines, *, minutes=0, **options):
    """A session in this process whose clock moves `minutes` at each look; what it printed, and the fronts in order."""
    answers, screen = iter(lines), io.StringIO()
    clock = [datetime(2026, 3, 1, tzinfo=UTC)]

    def now():
        clock[0] += timedelta(minutes=minutes)
        return clock[0]

    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    study(flashcards(deck), store, Console(file=screen, width=200), now=now, **options)
    text = screen.getvalue()
    return text, [line.split(":")[0] for line in text.splitlines() if line.startswith("Front")]


def test_a_forgotten_card_is_asked_again_in_the_same_session(monkeypatch, deck, store):
    lines = ["", "1", "", "4", "", "4", "", "3", "q"]
    _, fronts = scripted(monkeypatch, deck, store, lines, minutes=1)
    assert fronts[:2] == ["Front 0", "Front 0"], "it was due after a minute, before any new card"
    state = store.read()
    assert kept(state) == replayed(state.reviews)


def test_the_schedule_is_that_of_fsrs_over_months(monkeypatch, deck, store):
    grades = [1 + (7 * n + n * n) % 4 for n in range(60)]
    scripted(monkeypatch, deck, store, [line for grade in grades for line in ("", str(grade))], minutes=36 * 60, limit=60)
    state = store.read()
    assert [rating for _, rating, _ in state.reviews] == grades
    assert kept(state) == replayed(state.reviews)
    assert {card.state.name for card in state.cards.values()} >= {"Review"}


def test_limit_and_an_empty_deck(monkeypatch, deck, store):
    text, fronts = scripted(monkeypatch, deck, store, ["", "4"] * 3, limit=3)
    assert fronts == ["Front 0", "Front 1", "Front 2"] and "3 answered (0 again), 0 still due" in text
    text, _ = scripted(monkeypatch, deck, store, ["", "4"] * CARDS, limit=CARDS)
    assert f"{CARDS - 3} answered" in text
    text, _ = scripted(monkeypatch, deck, store, [])
    assert text == "no card is due\n"


def in_review(due, last_review):
    return Card(1, state=Learned.Review, stability=5.0, difficulty=5.0, due=due, last_review=last_review)


def test_what_is_due_later_today_is_asked_today_and_the_minutes_of_learning_are_waited_for(at_home, deck, store):
    zone = at_home("America/Los_Angeles")
    now = datetime(2026, 3, 11, 0, 5, tzinfo=zone).astimezone(UTC)
    today, tomorrow, learnt = (card.id for card in flashcards(deck)[:3])
    with store.update() as state:
        for card, day, clock in ((today, 11, (23, 59)), (tomorrow, 12, (0, 0))):
            due = datetime(2026, 3, day, *clock, tzinfo=zone).astimezone(UTC)
            state.cards[card] = in_review(due, due - timedelta(days=3))
    answer(store, learnt, 1, now)
    state = store.read()
    cards = flashcards(deck)
    assert due_count(cards, state, now) == 1 and following(cards, state, now, True).id == today
    assert survey([deck], state, now)[0].due == 1
    assert due_count(cards, state, now + timedelta(minutes=1)) == 2 == survey([deck], state, now + timedelta(minutes=1))[0].due
    assert due_count(cards, state, now + timedelta(days=1)) == 3


def test_a_card_asked_in_the_morning_of_its_day_has_waited_for_all_its_days(at_home, store):
    """FSRS counts whole days of 24 h, and holds an answer within less for one of the same sitting."""
    evening = datetime(2026, 3, 10, 21, tzinfo=at_home("UTC")).astimezone(UTC)
    answer(store, "toy/deck#1", 4, evening)
    with store.update() as state:
        state.cards["toy/deck#1"].due = evening + timedelta(days=1)
        before = state.cards["toy/deck#1"]
    on_time = SCHEDULER.review_card(before, Rating.Good, before.due)[0]
    early = answer(store, "toy/deck#1", 3, evening + timedelta(hours=11))
    assert (early.stability, early.due - on_time.due) == (on_time.stability, timedelta(hours=-13))
    assert early.last_review == evening + timedelta(hours=11)
    again = answer(store, "toy/deck#1", 3, evening + timedelta(hours=12))
    assert again.stability < 1.2 * early.stability, "in another terminal, an hour later: no days have passed"


def test_waits_are_said_in_minutes_and_in_days_of_the_calendar(at_home):
    zone, words = at_home("Europe/Berlin"), WORDS["en"]
    now = datetime(2026, 7, 11, 23, 50, tzinfo=zone).astimezone(UTC)

    def said(card):
        return interval(card, now, words)

    waits = [timedelta(seconds=1), timedelta(minutes=10), timedelta(hours=5)]
    assert [said(Card(1, due=now + wait)) for wait in waits] == ["1 min", "10 min", "5 h"]
    assert [said(in_review(now + timedelta(days=days), now)) for days in (1, 3, 90)] == ["1 d", "3 d", "90 d"]
    before = now - timedelta(days=5)
    morning = datetime(2026, 7, 12, 6, tzinfo=zone).astimezone(UTC)
    assert said(in_review(morning, before)) == "1 d", "tomorrow by the calendar, though it is in six hours"


def test_an_answer_on_the_day_of_25_hours_is_not_asked_again_on_it(at_home):
    zone = at_home("Europe/Berlin")
    night = datetime(2026, 10, 25, 0, 10, tzinfo=zone).astimezone(UTC)
    card = in_review(night + timedelta(days=1), night)  # 23:10 on the same date
    assert not is_due(card, night) and not is_due(card, card.due) and interval(card, night, WORDS["en"]) == "1 d"
    assert is_due(card, datetime(2026, 10, 26, 0, 0, tzinfo=zone).astimezone(UTC))


@pytest.mark.parametrize("way", ["n", "interrupt", "end of input", "y"])
def test_what_asks_first_changes_nothing_without_a_yes(terminal, store, way):
    with store.update() as state:
        state.unit("toy/deck").read = True
    child = terminal("state", "--delete")
    child.expect_exact("[y/N] ")
    if way == "interrupt":
        child.sendintr()
    elif way == "end of input":
        child.sendeof()
    else:
        child.sendline(way)
    assert leave(child) == (130 if way == "interrupt" else 0)
    assert store.path.exists() == (way != "y")
    assert Store().read().units.keys() == (set() if way == "y" else {"toy/deck"})
