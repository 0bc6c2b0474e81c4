"""What the learner did, seen by unit: hints, attempts, solutions, and what to do next. Nothing here imports torch."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from course import paths
from course.errors import CourseError
from course.studying.cards import flashcards, is_due
from course.studying.state import State, Store, UnitRecord
from course.units.catalogue import Unit
from course.units.order import learning_path
from course.units.source import definition_text


def find_stub(unit: Unit, name: str) -> str:
    """`name` if it is a stub of the unit. Raises CourseError that lists them."""
    if unit.is_concept:
        raise CourseError(f"{unit.id} is a concept question: it has nothing to write")
    if name not in unit.stubs:
        raise CourseError(f"{unit.id} has no stub {name!r}; it has: {', '.join(unit.stubs)}")
    return name


def record_check(store: Store, unit: Unit, verdicts: Mapping[str, str], tried: Iterable[str]) -> None:
    """Remember a check: the status of each stub, and which of them the learner had written something for."""
    tried = list(tried)
    with store.update() as state:
        record = state.unit(unit.id)
        record.verdicts.update(verdicts)
        record.tried += [stub for stub in tried if stub not in record.tried]
        if tried:
            record.attempts += 1
            state.active()


def next_hint(store: Store, unit: Unit, stub: str, language: str) -> tuple[list[str], int, bool]:
    """The hints of a stub shown so far and one more, how many there are, and whether one is new."""
    hints = unit.pages[language].hints.get(stub, [])
    with store.update() as state:
        record = state.unit(unit.id)
        shown = record.hints.get(stub, 0)
        record.hints[stub] = max(shown, min(shown + 1, len(hints)))
    return hints[: shown + 1], len(hints), shown < len(hints)


def solutions(store: Store, unit: Unit, stubs: tuple[str, ...], give_up: bool) -> tuple[dict[str, str], list[str]]:
    """The reference's definition of each stub that was tried or given up, and the stubs that were not."""
    with store.update() as state:
        record = state.unit(unit.id)
        if give_up:
            record.given_up += [stub for stub in stubs if stub not in (*record.tried, *record.given_up)]
        earned = [stub for stub in stubs if stub in record.tried or stub in record.given_up]
    source = unit.module.read_text(encoding="utf-8")
    return {stub: definition_text(source, stub) for stub in earned}, [stub for stub in stubs if stub not in earned]


def reset(store: Store, unit: Unit) -> Path | None:
    """Put the exercise back as it was, and forget its checks and hints. The old copy is renamed: its new path, if there was one."""
    numbers = (unit.work.with_name(f"{unit.name}.bak-{number}.ipynb") for number in range(1, 10_000))
    backup = next(path for path in numbers if not path.exists()) if unit.work.exists() else None
    if backup is not None:
        unit.work.rename(backup)
    paths.write_atomic(unit.work, unit.notebook.read_bytes())
    with store.update() as state:
        read = state.unit(unit.id).read
        state.units[unit.id] = UnitRecord(read=read)
    return backup


@dataclass(frozen=True)
class Standing:
    """How far the learner is with a unit. due: cards to be asked again by now; new: cards never asked."""

    unit: Unit
    record: UnitRecord
    due: int
    new: int

    @property
    def studied(self) -> bool:
        return self.record.read

    @property
    def verdicts(self) -> dict[str, str] | None:
        """Stub -> status at its last check, or None if nothing was begun."""
        if self.unit.is_concept or not (self.record.verdicts or self.unit.work.is_file()):
            return None
        return {stub: self.record.verdicts.get(stub, "todo") for stub in self.unit.stubs}

    @property
    def attempted(self) -> bool:
        return bool(self.record.tried)

    @property
    def solved(self) -> bool:
        return not self.unit.is_concept and set(self.unit.stubs) <= set(self.record.solved)

    @property
    def known(self) -> bool:
        """Whether what requires this unit may be read: it is read, or solved by somebody who read it elsewhere."""
        return self.studied or self.solved

    @property
    def done(self) -> bool:
        """Whether nothing is left to do but the flashcards: a concept question is read, an exercise solved."""
        return self.studied if self.unit.is_concept else self.solved


def survey(units: Iterable[Unit], state: State, now: datetime | None = None) -> list[Standing]:
    """The standing of every unit at `now`, in the order of the learning path."""
    now = now or datetime.now(UTC)
    standings = []
    for unit in learning_path(units):
        cards = [state.cards.get(card.id) for card in flashcards(unit)]
        due = sum(card is not None and is_due(card, now) for card in cards)
        standings.append(Standing(unit, state.units.get(unit.id, UnitRecord()), due, cards.count(None)))
    return standings


def steps(standings: list[Standing]) -> list[tuple[str, str]]:
    """What to do next, the most urgent first, from the standings that `survey` gives: (command, why).

    To read is the first unread unit on the path: all that it requires stands before it, so that is read. To build is the first that is read
    and all of whose requirements are done.
    """
    found = []
    due = sum(standing.due for standing in standings)
    if due:
        found.append(("aigc study --due", f"{due} flashcard{'s are' if due > 1 else ' is'} due"))
    undone = {standing.unit.id for standing in standings if not standing.done}
    exercises = [standing for standing in standings if not standing.unit.is_concept and not standing.solved]
    begun = next((standing for standing in exercises if standing.verdicts is not None), None)
    if begun is not None:
        verdicts = begun.verdicts or {}
        stub = next(stub for stub in verdicts if verdicts[stub] != "passed")
        solved = f"{list(verdicts.values()).count('passed')} of {len(verdicts)} stubs"
        found.append((f"aigc open {begun.unit.id}", f"begun: {solved} solved, {stub} is next"))
    ready = (standing.unit for standing in exercises if standing.verdicts is None and standing.studied)
    to_build = next((unit for unit in ready if undone.isdisjoint(unit.requires)), None)
    if to_build is not None:
        found.append((f"aigc open {to_build.id}", f"you have read “{to_build.title}”; now build it"))
    unread = next((standing.unit for standing in standings if not standing.studied), None)
    if unread is not None:
        often = ", and it is asked often" if unread.frequency == 3 else ""
        found.append((f"aigc read {unread.id}", f"you have not read “{unread.title}”{often}"))
    new = sum(standing.new for standing in standings)
    if new:
        found.append(("aigc study", f"{new} flashcard{'s are' if new > 1 else ' is'} new"))
    return found
