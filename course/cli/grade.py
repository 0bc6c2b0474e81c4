"""To grade strangers' work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from course.cli.common import FAILED, console
from course.errors import CourseError
from course.units.catalogue import find_unit

if TYPE_CHECKING:
    from course.grading.journal import Row


def grade(
    submissions: Annotated[
        Path, typer.Argument(help="A folder <learner>/<track>/<unit>.ipynb, one learner's, a notebook, or a zip.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    units: Annotated[
        str | None, typer.Option(help="Only these units, separated by commas; each learner gets a row for each.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    isolation: Annotated[
        str, typer.Option(help="strict, or reduced (protects against crashes, not against attackers).")
    ] = "strict",
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler to grade on.")] = None,
    shard: Annotated[str, typer.Option(help="Grade only part i of n, as i/n; join with grade-merge.")] = "1/1",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the results in --out.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat the questions of an earlier run.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Wall clock for one submission.")] = 120.0,
    call_seconds: Annotated[
        float, typer.Option(min=0.1, envvar="AIGC_CALL_SECONDS", help="Wall clock for one call of an answer.")
    ] = 10.0,
    nbval: Annotated[
        bool,
        typer.Option("--nbval", help="Also run each notebook again and say what differs from the solution: feedback, no score."),
    ] = False,
) -> None:
    """Grade strangers' notebooks in a sandbox: a gradebook, JUnit XML and Gradescope files."""
    from course.grading.run import Plan, parse_shard
    from course.grading.run import grade as carry_out
    from reference_impl.runtime import track

    if isolation not in ("strict", "reduced"):
        raise CourseError(f"--isolation is strict or reduced, got {isolation!r}")
    names = tuple(find_unit(name.strip()).id for name in units.split(",")) if units else None
    part = parse_shard(shard)
    plan = Plan(submissions, out, names, jobs, isolation, scheduler, part, resume, seed, seconds, call_seconds, nbval)
    rows, run = carry_out(plan, lambda rows, total: track(rows, total=total, description="grading"))
    show_grades(rows)
    console.print(f"questions drawn from seed {run['seed']}: `--seed {run['seed']}` repeats every verdict", highlight=False)
    console.print(f"results: {out}/grades.csv, junit.xml, gradescope/, results.jsonl", markup=False, highlight=False)
    if any(row.status == "error" for row in rows):
        raise typer.Exit(FAILED)


def show_grades(rows: list[Row], limit: int = 100) -> None:
    """The grades as a table; of a large class the first hundred, and how many of each status there are."""
    table = Table("learner", "unit", "score", "status", "message", box=None, header_style="bold")
    styles = {"passed": "green", "partial": "yellow"}
    for row in sorted(rows, key=lambda row: (row.learner, row.unit))[:limit]:
        status = f"[{styles.get(row.status, 'red')}]{row.status}[/]"
        table.add_row(escape(row.learner), row.unit, f"{row.score}/{row.max_score}", status, escape(row.message))
    console.print(table)
    if len(rows) > limit:
        console.print(f"… and {len(rows) - limit} more in grades.csv")
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)}
    console.print(f"{len(rows)} submissions: " + ", ".join(f"{n} {status}" for status, n in counts.items()), highlight=False)
    console.print("isolation: " + "; ".join(sorted({row.isolation for row in rows})), markup=False, highlight=False)


def grade_merge(
    folders: Annotated[list[Path], typer.Argument(help="The --out folders of the shards.")],
    out: Annotated[Path, typer.Option(help="Folder for the joined results.")],
) -> None:
    """Join the journals of shards, and write the reports of the whole."""
    from course.grading.run import merge

    show_grades(merge(folders, out))
