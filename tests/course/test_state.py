"""The learner's state: nothing is lost to a kill, to two processes at once, to damage or to a newer version."""

import json
import os
import random
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

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
    old = {"version": 1, "units": {"a/b": {"attempts": 1}}, "cards": {"a/b#1": {**card, "last_review": None}}}
    old |= {"reviews": [["a/b#1", 3, NOW.isoformat()]], "days": ["2026-03-01"]}
    whole = {
        **old,
        "version": 2,
        "days": [["2026-02-28", None, None], ["2026-03-01", "2026-03-01T20:00:00+08:00", NOW.isoformat()]],
    }
    for right in (old, whole):  # so that each of the following is wrong for its own reason
        parse(json.dumps(right))
    yield json.dumps({**old, "version": 2})
    yield json.dumps({**whole, "version": 1})
    yield json.dumps({**old, "days": ["Sunday"]})
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
        (("cards", "a/b#1", "due"), "9999-12-31T23:00:00+00:00"),
        (("days", 0), "2026-02-28"),
        (("days", 0, 0), "Sunday"),
        (("days", 0, 0), "9999-12-31"),
        (("days", 0, 1), NOW.isoformat()),
        (("days", 1, 1), None),
        (("days", 1, 1), "2026-03-01T20:00:00"),
        (("days", 1, 2), "noon"),
        (("days", 1, 2), "0001-01-01T00:00:00+08:00"),
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
    store.path.write_text('{"version": 3, "anything": [1]}')
    assert store.read() == State()
    assert "newer version" in heard[0] and "format 3" in heard[0]
    assert [path.read_text() for path in store.folder.glob("state.*.json")] == ['{"version": 3, "anything": [1]}']


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


# Where and when something was done, as a clock on the wall says it (of March 2026, unless the month is named), then when the streak is asked, and how
# long it is.
JOURNEYS = {
    "at home": (["10 08:00 +09", "11 23:59 +09", "12 00:00 +09"], "12 09:00 +09", 3),
    "at home, a day missed": (["10 23:59 +09", "12 00:01 +09"], "12 09:00 +09", 1),
    "at home, yesterday missed": (["09 08:00 +09", "10 23:59 +09"], "12 00:01 +09", 0),
    "at home, two sessions in one day": (["10 08:00 +09", "10 09:00 +09", "10 23:00 +09"], "10 23:00 +09", 1),
    "Tokyo to Los Angeles, asked on landing": (["10 21:00 +09", "11 21:00 +09", "12 10:00 +09"], "11 19:00 -07", 3),
    "Tokyo to Los Angeles, one day only": (["12 00:30 +09"], "11 09:30 -07", 1),
    "Tokyo to Los Angeles, both halves of the long day": (["12 00:30 +09", "11 10:00 -07"], "11 20:00 -07", 1),
    "Tokyo to Los Angeles, and on": (["11 21:00 +09", "12 10:00 +09", "11 20:00 -07", "12 20:00 -07", "13 08:00 -07"], "13 08:00 -07", 3),
    "Tokyo to Los Angeles, a day missed there": (["11 21:00 +09", "12 10:00 +09", "11 20:00 -07", "14 01:00 -07"], "14 02:00 -07", 1),
    "Los Angeles to Tokyo": (["10 09:00 -07", "12 20:00 +09"], "12 20:00 +09", 2),
    "Los Angeles to Tokyo, asked on landing": (["09 09:00 -07", "10 20:00 -07"], "12 16:00 +09", 2),
    "Los Angeles to Tokyo, a day missed there": (["10 22:00 -07", "13 00:30 +09"], "13 09:00 +09", 1),
    "Auckland to Honolulu": (["10 20:00 +13", "11 20:00 +13", "12 09:00 +13", "11 19:00 -10", "13 08:00 -10"], "13 09:00 -10", 4),
    "Auckland to Honolulu, asked on landing": (["11 20:00 +13", "12 23:30 +13"], "11 23:30 -10", 2),
    "Honolulu to Auckland": (["10 08:00 -10", "12 20:00 +13", "13 07:00 +13"], "13 07:00 +13", 3),
    "Honolulu to Auckland, begun at midnight": (["10 00:30 -10", "12 20:00 +13"], "12 20:00 +13", 2),
    "Honolulu to Auckland, asked on landing": (["09 08:00 -10", "10 20:00 -10"], "12 07:00 +13", 2),
    "Honolulu to Auckland, a day missed there": (["10 20:00 -10", "13 00:10 +13"], "13 07:00 +13", 1),
    "Honolulu to Auckland, a day missed before": (["10 08:00 -10", "13 10:00 +13"], "13 10:00 +13", 1),
    "over the line and back": (["10 20:00 +13", "11 08:00 +13", "10 22:00 -10", "11 09:00 -10", "13 08:00 +13", "14 08:00 +13"], "14 08:00 +13", 4),
    "the night with 23 hours": (["28 23:50 +01", "29 23:50 +02", "30 00:10 +02"], "30 00:10 +02", 3),
    "the night with 23 hours, a day missed": (["28 23:50 +01", "30 00:10 +02"], "30 00:10 +02", 1),
    "the night with 25 hours": (["10-24 23:50 +02", "10-25 00:10 +02", "10-25 23:50 +01", "10-26 00:10 +01"], "10-26 01:00 +01", 3),
    "the night with 25 hours, a day missed": (["10-24 23:50 +02", "10-26 00:10 +01"], "10-26 00:10 +01", 1),
    "a clock set back by an hour at midnight": (["10 20:00 +01", "11 00:30 +01", "10 23:40 +01"], "10 23:50 +01", 2),
    "a clock set back by days": (["10 20:00 +01", "11 20:00 +01", "12 20:00 +01"], "05 08:00 +01", 3),
    "a clock set back by days, and set right": (["11 20:00 +01", "12 20:00 +01", "05 08:00 +01", "13 08:00 +01"], "13 09:00 +01", 3),
    "a clock that ran years ahead": (["10 20:00 +01", "11 20:00 +01", "2030-01-01 09:00 +01", "12 08:00 +01"], "12 08:00 +01", 3),
}  # fmt: skip


def wall(text):
    """The moment of `[[year-]month-]day hour:minute offset`."""
    day, clock, offset = text.split()
    return datetime.fromisoformat(f"{('2026-03-', '2026-', '')[day.count('-')]}{day}T{clock}{offset}:00")


def lived(moments):
    """The state of who did something at these moments; each time the file was written and read."""
    state = State()
    for moment in moments:
        state.active(moment)
        state = parse(state.dump())
    return state


@pytest.mark.parametrize("journey", JOURNEYS)
def test_a_streak_is_counted_in_days_as_they_were_lived(journey):
    done, asked, length = JOURNEYS[journey]
    assert lived(map(wall, done)).streak(wall(asked)) == length


def test_at_home_a_streak_is_the_dates_in_a_row():
    """Against a loop over dates, in a place with and without daylight saving."""
    draw = random.Random(os.getpid())
    for _ in range(200):
        summer = datetime(2026, 3, draw.randrange(1, 31), 2, tzinfo=UTC)
        moments = sorted(
            datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=draw.uniform(0, 720)) for _ in range(draw.randrange(60))
        )
        local = [moment.astimezone(timezone(timedelta(hours=2 if moment >= summer else 1))) for moment in moments]
        now = max(local, default=summer) + timedelta(hours=draw.uniform(0, 60))
        dates = {moment.date() for moment in local}
        day = now.date() if now.date() in dates else now.date() - timedelta(days=1)
        expected = next(length for length in range(60) if day - timedelta(days=length) not in dates)
        assert lived(local).streak(now) == expected


def test_no_flight_breaks_or_doubles_a_streak():
    """Journeys at random: who does something on every date of their calendar, in every place, keeps the streak, which is no longer than the time was."""
    draw = random.Random(os.getpid())
    for _ in range(200):
        now, place = datetime(2026, 3, 1, draw.randrange(24), tzinfo=UTC), timezone(timedelta(hours=draw.randrange(-11, 15)))
        moments = [now.astimezone(place)]
        for _ in range(400):  # each an hour or a flight
            flies = draw.random() < 0.02
            now += timedelta(hours=draw.randrange(10, 16) if flies else 1)
            place = timezone(timedelta(hours=draw.randrange(-11, 15))) if flies else place
            if flies or now.astimezone(place).date() != moments[-1].date():
                moments.append(now.astimezone(place))
        streak, elapsed = lived(moments).streak(moments[-1]), (moments[-1] - moments[0]) / timedelta(days=1)
        dates = len(
            {moment.date() for moment in moments}
        )  # fewer than the days that went by: a flight to the east may leave one out
        assert dates - 1 <= streak <= dates and streak < elapsed + 3, [moment.isoformat() for moment in moments]


def test_a_file_of_format_1_is_read_and_written_as_format_2(store):
    store.path.write_text('{"version":1,"units":{},"cards":{},"reviews":[],"days":["2026-03-09","2026-03-11","2026-03-10"]}')
    assert store.read().streak(wall("11 09:00 +08")) == 3
    assert store.read().streak(wall("13 00:10 +08")) == 0, "of a date alone no flight is assumed"
    with store.update() as state:
        state.active(wall("12 08:00 +08"))
    assert json.loads(store.path.read_text())["version"] == 2
    assert store.read().streak(wall("12 09:00 +08")) == 4
    assert list(store.folder.glob("state.*.json")) == []


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
