"""A grading run from beginning to end: find, shard, grade, journal, report."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from course.errors import CourseError
from course.grading import pool
from course.grading.grader import Settings, grader_version, key_of
from course.grading.journal import JOURNAL, Journal, Row, read_rows, start_run
from course.grading.reports import write_reports
from course.grading.submissions import Refused, Submission, find_submissions
from course.sandbox.client import REDUCED, probe
from course.sandbox.terms import REQUIRED
from course.units.catalogue import exercises


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


def parse_shard(text: str) -> tuple[int, int]:
    """`2/5` as (2, 5). Raises CourseError."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise CourseError(f"--shard takes i/n with 1 <= i <= n, such as 2/5; got {text!r}")
    return int(number), int(count)


def grade(plan: Plan, progress: Callable[[Iterator[Row], int], Iterator[Row]]) -> tuple[list[Row], dict[str, object]]:
    """Carry out `plan`; `progress` is given the rows as they come, and how many will. Returns all rows and the run's settings.

    Whatever ends it early, what was graded is in the journal, and the reports are written from that.
    """
    if plan.isolation == "strict" and not plan.scheduler:
        missing = {layer: reason for layer, reason in probe().items() if layer in REQUIRED and reason}
        if missing:
            reasons = "; ".join(f"{layer} ({reason})" for layer, reason in missing.items())
            raise CourseError(
                f"strict isolation is not to be had on this host. Missing: {reasons}. --isolation reduced {REDUCED}"
            )
    units = exercises()
    version = {unit.id: grader_version(unit) for unit in units}
    asked = {"seed": plan.seed, "isolation": plan.isolation, "nbval": plan.nbval, "version": version}
    found = pool.shard(find_submissions(plan.submissions, version, plan.units), *plan.shard)
    run = start_run(plan.out, asked, resume=plan.resume)
    settings = Settings(run["seed"], plan.isolation, plan.seconds, plan.call_seconds, plan.nbval)
    done = {row.key for row in read_rows(plan.out)} if plan.resume and (plan.out / JOURNAL).is_file() else set()
    by_id = {unit.id: unit for unit in units}
    tasks = [task for task in found if not done or _key(task, by_id, settings) not in done]
    rows = (
        pool.dask_pool(tasks, settings, plan.scheduler)
        if plan.scheduler
        else pool.local_pool(tasks, settings, plan.jobs or pool.cores())
    )
    journal = Journal(plan.out)
    try:
        for row in progress(rows, len(tasks)):
            journal.append(row)
    finally:
        journal.close()
        write_reports(plan.out, read_rows(plan.out))
    return list(read_rows(plan.out)), run


def _key(submission: Submission, units: dict, settings: Settings) -> str:
    try:
        data = submission.read()
    except Refused:
        data = b""
    return key_of(submission, data, units.get(submission.unit), settings)


def merge(folders: list[Path], out: Path) -> list[Row]:
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
    journal = Journal(out)
    try:
        for row in rows.values():
            journal.append(row)
    finally:
        journal.close()
    write_reports(out, rows.values())
    return list(rows.values())
