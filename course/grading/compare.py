"""Two runs side by side: whose marks change, and why, after tests, the grader or the submissions did."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from course.errors import CourseError
from course.grading.journal import JOURNAL, Row, latest, read_history
from course.grading.reports import number, spreadsheet
from course.grading.weights import Weights

CHANGES = "changes.csv"
COLUMNS = (
    "learner", "unit", "change", "old_score", "new_score", "max_score", "old_points", "new_points", "stub",
    "old_status", "new_status", "old_message", "new_message",
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One learner's result of one unit that is not what it was; old or new is None where it stands in one run only.

    stubs: the names of those whose status changed, none of a submission that was not read in one of the runs.
    """

    old: Row | None
    new: Row | None
    stubs: tuple[str, ...] = ()

    @property
    def row(self) -> Row:
        row = self.new or self.old
        assert row is not None
        return row

    @property
    def kind(self) -> str:
        if self.old is None or self.new is None:
            return "new" if self.old is None else "gone"
        if self.old.score != self.new.score:
            return "up" if self.new.score > self.old.score else "down"
        return "same score"


def rows_of(path: Path) -> list[Row]:
    """The rows that count in a folder of results, or in a journal itself. Raises CourseError."""
    folder = path if path.is_dir() or path.name != JOURNAL else path.parent
    return latest(read_history(folder))


def compare(old: Iterable[Row], new: Iterable[Row], weights: Weights | None = None) -> list[Change]:
    """Everything in which two runs differ: score, points or status of a result, status of a stub, results in one run only."""
    weights = weights or Weights()
    before = {(row.learner, row.unit): row for row in old}
    after = {(row.learner, row.unit): row for row in new}
    changes = []
    for place in sorted({*before, *after}):
        first, second = before.get(place), after.get(place)
        if first is None or second is None:
            changes.append(Change(first, second))
            continue
        names = dict.fromkeys([*second.stubs, *first.stubs]) if first.stubs and second.stubs else {}
        stubs = tuple(name for name in names if _status(first, name) != _status(second, name))
        marks = [(row.score, row.max_score, row.status, weights.points(row)) for row in (first, second)]
        if stubs or marks[0] != marks[1]:
            changes.append(Change(first, second, stubs))
    return changes


def _status(row: Row | None, stub: str) -> str:
    return row.stubs[stub]["status"] if row is not None and stub in row.stubs else ""


def reasons(change: Change) -> list[tuple[str, str, str, str, str]]:
    """Why a result changed: stub, old and new status, old and new message; of a submission as a whole the stub is empty."""
    first, second = change.old, change.new
    if not change.stubs:
        statuses = (first.status if first else "", second.status if second else "")
        return [("", *statuses, first.message if first else "", second.message if second else "")]
    return [
        (name, _status(first, name), _status(second, name), _message(first, name), _message(second, name))
        for name in change.stubs
    ]


def _message(row: Row | None, stub: str) -> str:
    return row.stubs[stub]["message"] if row is not None and stub in row.stubs else ""


def table(changes: Iterable[Change], weights: Weights | None = None) -> str:
    """The changes as CSV: a line for each stub whose status changed, or for the whole result where none did."""
    weights = weights or Weights()
    lines = []
    for change in changes:
        scores = [row.score if row else "" for row in (change.old, change.new)]
        points = [number(weights.points(row)) if row else "" for row in (change.old, change.new)]
        head = [change.row.learner, change.row.unit, change.kind, *scores, change.row.max_score, *points]
        lines += [[*head, *reason] for reason in reasons(change)]
    return spreadsheet(COLUMNS, lines)


def totals(old: list[Row], new: list[Row], changes: list[Change], weights: Weights | None = None) -> str:
    """In one line: how many results changed which way, and all marks before and after."""
    weights = weights or Weights()
    kinds = [change.kind for change in changes]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("up", "down", "same score", "new", "gone") if kind in kinds)
    sums = [number(sum(weights.points(row) for row in rows)) for rows in (old, new)]
    out_of = [number(sum(weights.maximum(row) for row in rows)) for rows in (old, new)]
    learners = [len({row.learner for row in rows}) for rows in (old, new)]
    return (
        f"{len(changes)} of {len({(row.learner, row.unit) for row in [*old, *new]})} results differ"
        f"{f' ({counted})' if counted else ''}; points {sums[0]} of {out_of[0]} before, {sums[1]} of {out_of[1]} now; "
        f"learners {learners[0]} before, {learners[1]} now"
    )


def check(path: Path) -> Path:
    """`path`, if a run can be compared with it. Raises CourseError, before an hour of grading and not after it."""
    if not rows_of(path):
        raise CourseError(f"{path} holds no results to compare with")
    return path
