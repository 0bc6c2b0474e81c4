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
from typing import Any

import platformdirs
from filelock import FileLock, Timeout
from fsrs import Card
from fsrs import State as Learned
from rich.console import Console

from course.errors import CourseError
from course.paths import write_atomic

VERSION = 1
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


@dataclass
class State:
    """All that is remembered. reviews: (card, rating from 1 to 4, time in UTC); days: local dates on which something was done."""

    units: dict[str, UnitRecord] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    reviews: list[tuple[str, int, str]] = field(default_factory=list)
    days: list[str] = field(default_factory=list)

    def unit(self, unit: str) -> UnitRecord:
        """The record of a unit, made if there is none."""
        return self.units.setdefault(unit, UnitRecord())

    def active(self, today: date | None = None) -> None:
        """Something was done today."""
        day = (today or date.today()).isoformat()
        if day not in self.days:
            self.days.append(day)

    def streak(self, today: date | None = None) -> int:
        """Days in a row on which something was done, up to today, or to yesterday while today is still to come."""
        day = today or date.today()
        if day.isoformat() not in self.days:
            day -= timedelta(days=1)
        length = 0
        while day.isoformat() in self.days:
            length, day = length + 1, day - timedelta(days=1)
        return length

    def dump(self) -> str:
        """The file's text."""
        units = {key: vars(record) for key, record in sorted(self.units.items())}
        cards = {key: card.to_dict() for key, card in self.cards.items()}
        whole = {"version": VERSION, "units": units, "cards": cards, "reviews": self.reviews, "days": self.days}
        return json.dumps(whole, separators=(",", ":")) + "\n"


class Unusable(Exception):
    """The text is no state of this version; the message says why."""


def parse(text: str) -> State:
    """The state in a file's text. Raises Unusable if anything in it is not as `State.dump` writes it."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        raise Unusable("it is damaged (not JSON)") from None
    version = whole.get("version") if isinstance(whole, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise Unusable(f"a newer version of the course wrote it (format {version}, this one reads {VERSION})")
    try:
        if version != VERSION or whole.keys() - {"version", "units", "cards", "reviews", "days"}:
            raise ValueError
        return State(
            {str(key): _record(value) for key, value in whole["units"].items()},
            {str(key): _card(value) for key, value in whole["cards"].items()},
            [_review(*entry) for entry in whole["reviews"]],
            [date.fromisoformat(day).isoformat() for day in whole["days"]],
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
    if any(moment.tzinfo != UTC for moment in moments):  # the scheduler counts in UTC and refuses all else
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
