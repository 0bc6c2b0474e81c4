"""The learner's state: nothing is lost to a kill, to two processes at once, to damage or to a newer version."""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest

from course.errors import CourseError
from course.studying import state as states
from course.studying.cards import answer
from course.studying.state import State, Store, Unusable, parse

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def filled(store):
    with store.update() as state:
        record = state.unit("toy/sums")
        record.attempts, record.verdicts, record.hints = 2, {"total": "passed", "Box.grow": "todo"}, {"total": 1}
        record.tried, record.given_up, record.read = ["total"], ["Box.grow"], True
    answer(store, "toy/sums#0123", 3, NOW)
    return store


def test_what_is_written_is_read(store):
    state = filled(store).read()
    assert state.dump() == parse(state.dump()).dump() == store.path.read_text()
    assert state.units["toy/sums"].solved == ["total"]
    assert state.cards["toy/sums#0123"].last_review == NOW
    assert state.reviews == [("toy/sums#0123", 3, NOW.isoformat())]


def test_a_missing_file_is_an_empty_state_and_reading_makes_none(store):
    assert store.read() == State()
    assert not store.path.exists()


def interrupted_update(store):
    with store.update() as state:
        state.unit("toy/sums").attempts = 99
        raise KeyboardInterrupt


def test_an_interrupt_in_an_update_changes_nothing(store):
    before = filled(store).path.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        interrupted_update(store)
    assert store.path.read_bytes() == before


def damaged():
    """Texts that are no state, one for each way in which one may be damaged."""
    card = {"card_id": 1, "state": 2, "step": None, "stability": 3.0, "difficulty": 5.0, "due": NOW.isoformat()}
    whole = {"version": 1, "units": {"a/b": {"attempts": 1}}, "cards": {"a/b#1": {**card, "last_review": None}}}
    whole |= {"reviews": [["a/b#1", 3, NOW.isoformat()]], "days": ["2026-03-01"]}
    parse(json.dumps(whole))  # this one is right, so that each of the following is wrong for its own reason
    yield ""
    yield json.dumps(whole)[:-9]
    yield "[" * 100_000
    yield "[]"
    for key in whole:
        yield json.dumps({name: value for name, value in whole.items() if name != key})
    for path, value in [
        (("version",), "1"),
        (("more",), 1),
        (("units",), []),
        (("units", "a/b"), 3),
        (("units", "a/b", "attempts"), "1"),
        (("units", "a/b", "unknown"), 1),
        (("units", "a/b", "verdicts"), {"s": 1}),
        (("units", "a/b", "hints"), {"s": "1"}),
        (("units", "a/b", "tried"), [1]),
        (("cards", "a/b#1"), {}),
        (("cards", "a/b#1", "due"), "yesterday"),
        (("cards", "a/b#1", "due"), "2026-03-01T12:00:00"),
        (("cards", "a/b#1", "state"), 7),
        (("cards", "a/b#1", "state"), 3),
        (("cards", "a/b#1", "stability"), float("nan")),
        (("cards", "a/b#1", "difficulty"), -1),
        (("reviews", 0, 1), 5),
        (("reviews", 0, 2), "noon"),
        (("days", 0), "Sunday"),
        (("days",), 3),
    ]:
        changed = json.loads(json.dumps(whole))
        place = changed
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        yield json.dumps(changed)


@pytest.mark.parametrize("text", list(damaged()), ids=range(len(list(damaged()))))
def test_damage_is_kept_aside_said_once_and_a_fresh_state_begins(store, text):
    heard = []
    store = Store(store.folder, heard.append)
    store.path.write_text(text)
    assert store.read() == State()
    assert len(heard) == 1 and "damaged" in heard[0] and "\n" not in heard[0]
    kept = list(store.folder.glob("state.*.json"))
    assert [path.read_text() for path in kept] == [text], "the damaged file must be kept as it was"
    answer(store, "toy/sums#0123", 3, NOW)
    assert len(store.read().reviews) == 1
    assert len(heard) == 1


def test_random_bytes_never_raise(store):
    heard = []
    store = Store(filled(store).folder, heard.append)
    right, draw = store.path.read_bytes(), random.Random(os.getpid())
    for _ in range(200):
        wrong = bytearray(right)
        wrong[draw.randrange(len(wrong))] = draw.randrange(256)
        store.path.write_bytes(wrong)
        store.read().dump()
    assert len(list(store.folder.glob("state.*.json"))) == len(heard), "a file of the same second must not take another's place"


def test_a_newer_file_is_kept_aside(store):
    heard = []
    store = Store(store.folder, heard.append)
    store.path.write_text('{"version": 2, "anything": [1]}')
    assert store.read() == State()
    assert "newer version" in heard[0] and "format 2" in heard[0]
    assert [path.read_text() for path in store.folder.glob("state.*.json")] == ['{"version": 2, "anything": [1]}']


def test_a_folder_that_cannot_be_written_is_one_line_and_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(CourseError, match=r"cannot write .*set AIGC_HOME to a folder of yours"),
        Store(tmp_path / "file" / "in").update(),
    ):
        pass
    (tmp_path / "state.json").mkdir()
    with pytest.raises(CourseError, match="cannot read"):
        Store(tmp_path).read()
    assert (tmp_path / "state.json").is_dir()


def test_a_held_lock_is_an_error_after_a_while(store, monkeypatch):
    monkeypatch.setattr(states, "LOCK_SECONDS", 0.05)
    with store.update(), pytest.raises(CourseError, match="another aigc has held"), Store(store.folder).update():
        pass


COUNT_UP = """
import sys
from pathlib import Path
from course.studying.state import Store
store = Store(Path(sys.argv[1]))
for _ in range(100):
    with store.update() as state:
        state.unit("toy/sums").attempts += 1
        state.unit(sys.argv[2]).attempts += 1
"""


def test_two_processes_at_once_lose_nothing(store):
    writers = [subprocess.Popen([sys.executable, "-c", COUNT_UP, str(store.folder), f"toy/{name}"]) for name in "ab"]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    attempts = {key: record.attempts for key, record in store.read().units.items()}
    assert attempts == {"toy/a": 100, "toy/b": 100, "toy/sums": 200}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the benchmark forks its writers")
def test_a_kill_at_any_moment_loses_nothing(root):
    done = subprocess.run([sys.executable, "-m", "benchmarks.state", "--kills", "50"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 times readable" in done.stdout and " 0 lost" in done.stdout


def test_what_a_killed_writer_left_is_swept(store):
    (filled(store).folder / ".state.json.abcd1234").write_text("half")
    answer(store, "toy/sums#0123", 3, NOW)
    assert [path.name for path in store.folder.iterdir() if "abcd" in path.name] == []


def test_streak_counts_days_in_a_row_up_to_yesterday():
    today = date(2026, 3, 1)
    state = State()
    assert state.streak(today) == 0
    for back in (9, 3, 2, 1):
        state.active(today - timedelta(days=back))
    assert state.streak(today) == 3, "today may still come"
    state.active(today)
    state.active(today)
    assert state.streak(today) == 4
    assert state.streak(today + timedelta(days=2)) == 0
    assert len(state.days) == 5


def test_unusable_names_no_cause_that_is_not_there():
    with pytest.raises(Unusable, match="not JSON"):
        parse("{")


def test_export_and_delete(aigc, store, tmp_path):
    copy = tmp_path / "copy.json"
    text = filled(store).path.read_text()
    status, _, _ = aigc("state", "--export", str(copy))
    assert status == 0 and copy.read_text() == text
    assert str(store.path) in aigc("state")[1]
    (store.folder / "state.20260301T120000.json").write_text("old")
    status, _, err = aigc("state", "--delete")
    assert status == 2 and "add --yes" in err, "where nobody can answer, nothing is deleted"
    assert store.path.read_text() == text
    assert aigc("state", "--delete", "--yes")[0] == 0
    assert list(store.folder.glob("state*")) == []
    assert store.read() == State()


def test_export_to_nowhere_is_one_line(aigc, tmp_path):
    (tmp_path / "file").write_text("")
    status, out, err = aigc("state", "--export", str(tmp_path / "file" / "copy.json"))
    assert status == 2
    assert "cannot write" in err and "Traceback" not in out + err
