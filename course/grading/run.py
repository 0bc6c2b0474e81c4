"""A grading run from beginning to end: find, shard, grade, journal, report."""

import contextlib
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from course.errors import CourseError
from course.grading import pool
from course.grading.grader import Settings, grader_version, key_of
from course.grading.journal import JOURNAL, Journal, Row, latest, read_history, read_rows, start_run, writing
from course.grading.reports import write_reports
from course.grading.submissions import Refused, Submission, scan
from course.grading.weights import Weights
from course.sandbox.client import REDUCED, missing_layers
from course.units.catalogue import Unit, exercises


@dataclass(frozen=True)
class Plan:
    """What a run is asked to do; see `aigc grade --help`."""

    submissions: Path
    out: Path
    units: tuple[str, ...] | None = None
    jobs: int | None = None
    isolation: str = "strict"
    scheduler: str | None = None
    shard: tuple[int, int] = (1, 1)
    resume: bool = False
    seed: int | None = None
    seconds: float = 120.0
    call_seconds: float = 10.0
    nbval: bool = False
    weights: Weights = field(default_factory=Weights)


def parse_shard(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5). Raises CourseError."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise CourseError(f"--shard takes i/n with 1 <= i <= n, such as 2/5; got {text!r}")
    return int(number), int(count)


def grade(plan: Plan, progress: Callable[[Iterator[Row], int], Iterator[Row]]) -> tuple[list[Row], dict[str, Any]]:
    """Carry out `plan`; `progress` is given the rows as they come, and how many will. Returns the rows that count, and the run's
    settings with `notes` for the instructor.

    Whatever ends it early, what was graded is in the journal, and the reports are written from that. Raises CourseError.
    """
    if plan.isolation == "strict" and not plan.scheduler:
        missing = missing_layers()
        if missing:
            reasons = "; ".join(f"{layer} ({reason})" for layer, reason in missing.items())
            raise CourseError(
                f"strict isolation is not to be had on this host. Missing: {reasons}. --isolation reduced {REDUCED}"
            )
    _apart(plan.submissions, plan.out)
    units = exercises()
    version = {unit.id: grader_version(unit) for unit in units}
    asked = {"seed": plan.seed, "isolation": plan.isolation, "nbval": plan.nbval, "version": version}
    found = scan(plan.submissions, version, plan.units)
    submissions = pool.shard(found.submissions, *plan.shard)
    with writing(plan.out):
        run = start_run(plan.out, asked, resume=plan.resume)
        journal = Journal(plan.out)
    settings = Settings(run["seed"], plan.isolation, plan.seconds, plan.call_seconds, plan.nbval)
    try:
        tasks = _not_graded_yet(submissions, plan.out, journal, {unit.id: unit for unit in units}, settings)
        notes = {(task.learner, task.unit): task.note for task in tasks}
        rows = (
            pool.dask_pool(tasks, settings, plan.scheduler)
            if plan.scheduler
            else pool.local_pool(tasks, settings, plan.jobs or pool.cores())
        )
        with contextlib.closing(cast(Generator[Row], rows)):  # so that an error here ends the workers too
            for row in progress(rows, len(tasks)):
                with writing(plan.out):
                    journal.append(replace(row, note=notes.get((row.learner, row.unit), "")))
    finally:
        with contextlib.suppress(OSError):  # what is not on the disk by now has been reported
            journal.close()
        _report(plan.out, plan.weights)
    return list(read_rows(plan.out)), {**run, "notes": found.notes}


def _apart(submissions: Path, out: Path) -> None:
    """Refuse results inside of the submissions, where the next run would take them for a learner's."""
    if submissions.is_dir() and out.resolve().is_relative_to(submissions.resolve()):
        raise CourseError(f"--out {out} lies inside of the submissions; name a folder beside {submissions}")


def _report(out: Path, weights: Weights) -> None:
    """The reports, from what the journal holds. An error that ended the run is the one to be told, not that of its reports."""
    ended = sys.exc_info()[0] is not None
    try:
        with writing(out):
            write_reports(out, read_rows(out), weights)
    except CourseError:
        if not ended:
            raise


def _not_graded_yet(
    submissions: list[Submission], out: Path, journal: Journal, units: dict[str, Unit], settings: Settings
) -> list[Submission]:
    """The submissions whose result is not in the journal. One that was handed in before the last one, and is again, counts again."""
    history = list(read_history(out))
    known = {row.key: row for row in history}
    counts = {row.key: row.note for row in latest(history)}
    tasks = []
    for submission in submissions:
        key = _key(submission, units, settings) if known else ""
        if key not in known:
            tasks.append(submission)
        elif counts.get(key) != submission.note:
            with writing(out):
                journal.append(replace(known[key], note=submission.note))
    return tasks


def _key(submission: Submission, units: dict[str, Unit], settings: Settings) -> str:
    try:
        data = submission.read()
    except Refused:
        data = b""
    return key_of(submission, data, units.get(submission.unit), settings)


def merge(folders: list[Path], out: Path, weights: Weights | None = None) -> list[Row]:
    """Join the journals of shards into one folder with reports. Raises CourseError if two of them were asked other questions."""
    rows: dict[tuple[str, str], Row] = {}
    for folder in folders:
        for row in read_rows(folder):
            earlier = rows.get((row.learner, row.unit))
            if earlier is not None and earlier.key != row.key:
                raise CourseError(f"{row.learner}, {row.unit} stands in two journals with different results; grade it once")
            rows[row.learner, row.unit] = row
    seeds = {row.seed for row in rows.values()}
    if len(seeds) > 1:
        raise CourseError(f"the journals were graded with different seeds {sorted(seeds)}; give each shard the same --seed")
    if (out / JOURNAL).exists():
        raise CourseError(f"{out} already holds results; name another folder")
    with writing(out):
        with contextlib.closing(Journal(out)) as journal:
            for row in rows.values():
                journal.append(row)
        write_reports(out, rows.values(), weights)
    return list(rows.values())
