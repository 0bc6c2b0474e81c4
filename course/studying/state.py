"""What the learner has done: one small JSON file in the user's data folder, written after every answer.

    store = Store()
    store.read().units["image/vae"].verdicts         as it stands
    with store.update() as state:                    read, change, write, while no other process can
        state.unit("image/vae").hints["elbo"] = 2

A file that cannot be used (damaged, or of a newer version of the course) is renamed and kept, and a fresh one begun.
"""

import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from filelock import FileLock, Timeout
from fsrs import Card
from fsrs import State as Learned
from rich.console import Console

from course.errors import CourseError
from course.paths import write_atomic

VERSION = 2  # of format 1, `days` held only dates; it is still read
ONE_DAY = timedelta(days=1)
DAYLIGHT_SAVING = timedelta(hours=1)  # a clock that moves by no more has not flown
Date = TypeVar("Date", bound=date)
LOCK_SECONDS = 10.0  # a write takes milliseconds, so whoever holds the lock for this long is stuck


@dataclass
class UnitRecord:
    """One unit. verdicts: stub -> status at its last check; tried: stubs that were checked with a body of the learner's own."""

    attempts: int = 0
    verdicts: dict[str, str] = field(default_factory=dict)
    tried: list[str] = field(default_factory=list)
    hints: dict[str, int] = field(default_factory=dict)
    given_up: list[str] = field(default_factory=list)
    read: bool = False

    @property
    def solved(self) -> list[str]:
        return [stub for stub, status in self.verdicts.items() if status == "passed"]


def local_date(moment: datetime) -> date:
    """The date of `moment` (aware) by the calendar of the place where this machine is now."""
    return moment.astimezone().date()


@dataclass(frozen=True)
class Day:
    """A day on which something was done: its local date, and the moments of the first and last thing done, with the offset of the place.

    A day of which only the date is known, as in a file of format 1, has no moments.
    """

    on: date
    first: datetime | None = None
    last: datetime | None = None

    @classmethod
    def of(cls, now: "datetime | date | None") -> "Day":
        """The day of an aware moment by the calendar of its own offset, of a date alone, or of this machine's clock."""
        if isinstance(now, date) and not isinstance(now, datetime):
            return cls(now)
        now = (now or datetime.now().astimezone()).replace(microsecond=0)
        return cls(now.date(), now, now)

    def and_then(self, later: "Day") -> "Day":
        """This day, on which what is known of `later` was done too."""
        moments = [moment for moment in (self.first, self.last, later.last) if moment is not None]
        return Day(self.on, min(moments, default=None), max(moments, default=None))

    def follows(self, before: "Day") -> bool:
        """Whether no day was missed after `before`: by the dates or, if the learner flew in between, by the calendar of either place."""
        if self.on - before.on <= ONE_DAY:
            return True
        if self.first is None or before.last is None:
            return False
        here, there = self.first.tzinfo, before.last.tzinfo
        if abs(self.first.replace(tzinfo=there) - self.first) <= DAYLIGHT_SAVING:
            return False
        date_there, last_date_here = self.first.astimezone(there).date(), before.last.astimezone(here).date()
        return min(date_there - before.on, self.on - last_date_here) <= ONE_DAY

    def entry(self) -> list[str | None]:
        """The day as the file holds it."""
        return [self.on.isoformat(), *(None if moment is None else moment.isoformat() for moment in (self.first, self.last))]


@dataclass
class State:
    """All that is remembered. reviews: (card, rating from 1 to 4, time in UTC); days: those on which something was done, by date.

    The streak counts days of the learner's own calendar, wherever that is:

    - What is done counts for the local date of the machine. Where the newest date is tomorrow's, a flight west or over the date line has turned the
      calendar back: the long day goes on and counts once, and a date that comes twice need be studied once.
    - A date on which nothing was done breaks the streak, unless a flight east took it away: where the offset has changed by more than the hour of
      daylight saving, it is enough that no date is missing by the calendar of the place left or by that of the place reached.
    - A streak lasts up to today, or to yesterday while today is still to come. A clock that was wrong may have left dates ahead of today: their
      streak holds too, and the longer one counts. So no clock that is set back loses a streak, and no date of the file is ever thrown away.
    """

    units: dict[str, UnitRecord] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    reviews: list[tuple[str, int, str]] = field(default_factory=list)
    days: list[Day] = field(default_factory=list)

    def unit(self, unit: str) -> UnitRecord:
        """The record of a unit, made if there is none."""
        return self.units.setdefault(unit, UnitRecord())

    def active(self, now: datetime | date | None = None) -> None:
        """Something was done at `now` (see `Day.of`)."""
        today, known = Day.of(now), {day.on: day for day in self.days}
        newest = max(known, default=today.on)
        on = newest if newest - today.on == ONE_DAY else today.on
        known[on] = known[on].and_then(today) if on in known else today
        self.days = [known[on] for on in sorted(known)]

    def streak(self, now: datetime | date | None = None) -> int:
        """Days in a row on which something was done, up to `now` (see `Day.of`)."""
        today = Day.of(now)
        runs: list[list[Day]] = []
        for day in self.days:
            if runs and day.follows(runs[-1][-1]):
                runs[-1].append(day)
            else:
                runs.append([day])
        return max((len(run) for run in runs if today.follows(run[-1])), default=0)

    def dump(self) -> str:
        """The file's text."""
        units = {key: vars(record) for key, record in sorted(self.units.items())}
        cards = {key: card.to_dict() for key, card in self.cards.items()}
        days = [day.entry() for day in self.days]
        whole = {"version": VERSION, "units": units, "cards": cards, "reviews": self.reviews, "days": days}
        return json.dumps(whole, separators=(",", ":")) + "\n"


class Unusable(Exception):
    """The text is no state of this version; the message says why."""


def parse(text: str) -> State:
    """The state in a file's text, of this format or of 1. Raises Unusable if anything in it is not as `State.dump` writes it."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("it is damaged (not JSON)") from None
    version = whole.get("version") if isinstance(whole, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise Unusable(f"a newer version of the course wrote it (format {version}, this one reads {VERSION})")
    try:
        if version not in (1, VERSION) or whole.keys() - {"version", "units", "cards", "reviews", "days"}:
            raise ValueError
        return State(
            {str(key): _record(value) for key, value in whole["units"].items()},
            {str(key): _card(value) for key, value in whole["cards"].items()},
            [_review(*entry) for entry in whole["reviews"]],
            _days([[day, None, None] for day in whole["days"]] if version == 1 else whole["days"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
        raise Unusable("it is damaged (its entries are not as expected)") from None


def _record(entry: dict[str, Any]) -> UnitRecord:
    record, empty = UnitRecord(**entry), UnitRecord()
    if any(type(value) is not type(getattr(empty, key)) for key, value in vars(record).items()):
        raise ValueError
    texts = [*record.verdicts, *record.verdicts.values(), *record.tried, *record.hints, *record.given_up]
    if not all(isinstance(text, str) for text in texts) or not all(type(n) is int for n in record.hints.values()):
        raise ValueError
    return record


def _card(entry: Any) -> Card:
    card = Card.from_dict(entry)
    moments = [moment for moment in (card.due, card.last_review) if moment is not None]
    if any(_countable(moment).tzinfo != UTC for moment in moments):  # the scheduler counts in UTC and refuses all else
        raise ValueError
    numbers = [number for number in (card.stability, card.difficulty) if number is not None]
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        raise ValueError
    if card.state is not Learned.Review and type(card.step) is not int:
        raise ValueError
    return card


def _review(card: str, rating: int, moment: str) -> tuple[str, int, str]:
    if not isinstance(card, str) or rating not in (1, 2, 3, 4):
        raise ValueError
    return card, rating, datetime.fromisoformat(moment).isoformat()


def _days(entries: list[list[Any]]) -> list[Day]:
    days = {}
    for day, first, last in entries:
        if (first is None) != (last is None):
            raise ValueError
        on = _countable(date.fromisoformat(day))
        days[on] = Day(on) if first is None else Day(on, _moment(first), _moment(last))
    return [days[on] for on in sorted(days)]


def _moment(text: str) -> datetime:
    moment = _countable(datetime.fromisoformat(text))
    if moment.utcoffset() is None:
        raise ValueError
    return moment


def _countable(day: Date) -> Date:
    """`day`, if the days around it are dates too, in any place."""
    if not date.min.year < day.year < date.max.year:
        raise ValueError
    return day


def home() -> Path:
    """The folder of the state: `AIGC_HOME` if set, else the place that the operating system has for a user's data."""
    named = os.environ.get("AIGC_HOME")
    return Path(named) if named else platformdirs.user_data_path("aigc-interview", appauthor=False)


def _say(line: str) -> None:
    Console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)


class Store:
    """The state file in `folder`. `say` is told, in one line, when an unusable file had to be put aside."""

    def __init__(self, folder: Path | None = None, say: Callable[[str], None] = _say) -> None:
        self.folder = folder or home()
        self.path = self.folder / "state.json"
        self._say = say

    def read(self) -> State:
        """The state as it stands. Raises CourseError if the file cannot be opened."""
        try:
            return self._load()
        except Unusable:
            with self._locked():
                return self._load_or_begin()

    @contextmanager
    def update(self) -> Iterator[State]:
        """The state to change: written when the block ends, forgotten if it raises. Raises CourseError if it cannot be written."""
        with self._locked():
            state = self._load_or_begin()
            before = state.dump()
            yield state
            after = state.dump()
            if after == before and self.path.exists():
                return
            try:
                for partial in self.folder.glob(f".{self.path.name}.*"):  # of a writer that was killed; no other is at work
                    if partial.suffix != ".lock":
                        partial.unlink()
                write_atomic(self.path, after)
            except OSError as error:
                raise self._refused("write", error) from None

    def delete(self) -> list[Path]:
        """Remove the state and every file that was put aside; the files removed."""
        with self._locked():
            found = sorted(self.folder.glob("state*.json"))
            try:
                for path in found:
                    path.unlink()
            except OSError as error:
                raise self._refused("delete", error) from None
        return found

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".state.json.lock", timeout=LOCK_SECONDS)
            lock.acquire()
        except Timeout:
            raise CourseError(
                f"another aigc has held {self.path} for {LOCK_SECONDS:.0f} s; end it, then run this again"
            ) from None
        except OSError as error:
            raise self._refused("write", error) from None
        try:
            yield
        finally:
            lock.release()

    def _load(self) -> State:
        try:
            return parse(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return State()
        except UnicodeDecodeError:
            raise Unusable("it is damaged (not UTF-8 text)") from None
        except OSError as error:
            raise self._refused("read", error) from None

    def _load_or_begin(self) -> State:
        try:
            return self._load()
        except Unusable as reason:
            stamp = time.strftime("%Y%m%dT%H%M%S")
            names = (self.folder / f"state.{stamp}{f'-{number}' if number else ''}.json" for number in itertools.count())
            aside = next(name for name in names if not name.exists())
            try:
                self.path.rename(aside)
            except OSError as error:
                raise self._refused("rename", error) from None
            self._say(f"cannot use {self.path}: {reason}; it is kept as {aside.name}, and a fresh one begins")
            return State()

    def _refused(self, verb: str, error: OSError) -> CourseError:
        return CourseError(
            f"cannot {verb} {self.path}: {error.strerror or error}; mend that, or set AIGC_HOME to a folder of yours"
        )
