"""The journal: one line of JSON per graded submission, on disk before the next one counts. A killed run loses nothing.

What a learner handed in again is graded again, and stands below the older result: the last one counts, the others are history.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from course.errors import CourseError
from course.paths import write_atomic

JOURNAL, RUN = "results.jsonl", "run.json"


@dataclass(frozen=True)
class Row:
    """The result of one submission.

    status: `passed` (full marks), `partial`, `failed` (no mark), `refused` (could not be read), `error` (the grader's own fault).
    stubs: name -> {status, message}, and `passed` of `cases` where they were counted, as decimal digits. feedback: of the notebook run again, {cell, verdict, detail} of each cell.
    key: hash of what was graded, by what, with which questions. note: what else the learner handed in, and why it was not graded.
    """

    key: str
    learner: str
    unit: str
    score: int
    max_score: int
    status: str
    message: str
    isolation: str
    seconds: float
    seed: int
    stubs: dict[str, dict[str, str]] = field(default_factory=dict)
    feedback: list[dict[str, str]] = field(default_factory=list)
    note: str = ""


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns what the system says of a folder that is full, gone or not ours to write into one line. Raises CourseError."""
    try:
        yield
    except OSError as error:
        kept = f"; what was graded is in {folder / JOURNAL}" if (folder / JOURNAL).is_file() else ""
        said = f"cannot write to {folder}: {error.strerror or error}{kept}"
        raise CourseError(f"{said}; mend that and go on with --resume, or name another folder with --out") from None


class Journal:
    """Append-only and fsynced. A last line cut short by a kill is dropped when it is opened again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / JOURNAL
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("ab")
        self._repair()

    def _repair(self) -> None:
        size = self.path.stat().st_size
        with self.path.open("rb") as file:
            keep = 0
            for line in file:
                if not line.endswith(b"\n"):
                    break
                keep += len(line)
        if keep < size:
            os.truncate(self.path, keep)

    def append(self, row: Row) -> None:
        """Write one row; when this returns, it survives a power cut. Raises OSError if it cannot, or if the file was deleted."""
        self._file.write(json.dumps(asdict(row), ensure_ascii=True).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        if not self.path.exists():
            raise FileNotFoundError(errno.ENOENT, "the folder was removed or renamed during the run")

    def close(self) -> None:
        self._file.close()


def read_history(folder: Path) -> Iterator[Row]:
    """All rows of a journal, oldest first. Raises CourseError if a line that is not the last is not a row."""
    path = folder / JOURNAL
    if not path.is_file():
        raise CourseError(f"{folder} holds no {JOURNAL}: it is not a folder of results")
    try:
        file = path.open("rb")
    except OSError as error:
        raise CourseError(f"cannot read {path}: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break  # the run was killed while it wrote this
            try:
                yield Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise CourseError(f"{path}, line {number} is not a result: {error}") from None


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows that count, in the order of their first appearance: of each learner and unit the last. Raises CourseError."""
    yield from latest(read_history(folder))


def latest(history: Iterable[Row]) -> list[Row]:
    """Of each learner and unit the last row; one that says that a learner handed in nothing counts until there is another."""
    rows: dict[tuple[str, str], Row] = {}
    for row in history:
        if row.unit:
            rows.pop((row.learner, ""), None)
        rows[row.learner, row.unit] = row
    return list(rows.values())


def start_run(folder: Path, settings: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """Open a folder for results: new, or `resume` one, whose settings (the seed above all) then hold. Raises CourseError."""
    path = folder / RUN
    if path.is_file():
        if not resume:
            raise CourseError(f"{folder} already holds results; go on with --resume, or name another folder with --out")
        try:
            earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CourseError(f"{path} is not readable: {error}") from None
        if not isinstance(earlier, dict):
            raise CourseError(f"{path} does not hold the settings of a run; name another folder with --out")
        for key in ("isolation", "nbval", "version"):
            if earlier.get(key) != settings[key]:
                raise CourseError(f"{folder} was graded with {key} {earlier.get(key)!r}, now it is {settings[key]!r}; start anew")
        if settings["seed"] is not None and settings["seed"] != earlier["seed"]:
            raise CourseError(f"{folder} was graded with seed {earlier['seed']}, not {settings['seed']}; start anew")
        return earlier
    folder.mkdir(parents=True, exist_ok=True)
    if settings["seed"] is None:
        from course.checking.runner import fresh_seed

        settings = {**settings, "seed": fresh_seed()}
    write_atomic(path, json.dumps(settings, indent=2) + "\n")
    return settings
