"""To grade strangers' work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from course.cli.common import FAILED, console
from course.errors import CourseError
from course.units.catalogue import exercises, find_unit

if TYPE_CHECKING:
    from course.grading.journal import Row
    from course.grading.weights import Weights

SHOWN = 100  # lines of a table on the terminal; the files hold all
STYLES = {"passed": "green", "partial": "yellow", "up": "green", "new": "green"}

WeightsFile = Annotated[
    Path | None, typer.Option("--weights", help="CSV (unit, stub, points; * for any) or TOML: what each stub is worth.")
]
Partial = Annotated[bool, typer.Option("--partial", help="A stub that fails earns its share of cases passed.")]


def grade(
    submissions: Annotated[
        Path,
        typer.Argument(help="A folder or zip of learners, as Moodle, Canvas, Gradescope or people make it, or a notebook."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results, outside of the submissions.")],
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
    weights: WeightsFile = None,
    partial: Partial = False,
    compare: Annotated[
        Path | None, typer.Option(help="Results of an earlier run: say whose marks change, and why, also in changes.csv.")
    ] = None,
) -> None:
    """Grade strangers' notebooks in a sandbox: a gradebook, JUnit XML and Gradescope files."""
    from course.grading.compare import check
    from course.grading.run import Plan, parse_shard
    from course.grading.run import grade as carry_out
    from reference_impl.runtime import track

    if isolation not in ("strict", "reduced"):
        raise CourseError(f"--isolation is strict or reduced, got {isolation!r}")
    names = tuple(find_unit(name.strip()).id for name in units.split(",")) if units else None
    earlier = check(compare) if compare else None
    worth = _weights(weights, partial)
    part = parse_shard(shard)
    plan = Plan(submissions, out, names, jobs, isolation, scheduler, part, resume, seed, seconds, call_seconds, nbval, worth)
    rows, run = carry_out(plan, lambda rows, total: track(rows, total=total, description="grading"))
    show_grades(rows, worth)
    for note in run["notes"]:
        say(f"note: {note}")
    say(f"questions drawn from seed {run['seed']}: `--seed {run['seed']}` repeats every verdict")
    say(f"results: {out}/grades.csv, stubs.csv, junit.xml, gradescope/, results.jsonl")
    if earlier:
        show_changes(earlier, out, worth)
    if any(row.status == "error" for row in rows):
        raise typer.Exit(FAILED)


def say(line: str) -> None:
    """Print what strangers may have had a part in: no markup, no colours, no `:skull:` of theirs."""
    console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)


def show_grades(rows: list[Row], weights: Weights | None = None) -> None:
    """The grades as a table; of a large class the first hundred, and how many of each status there are."""
    from course.grading.reports import number
    from course.grading.weights import Weights

    weights = weights or Weights()
    weighted = bool(weights.rules) or weights.partial
    table = Table(
        "learner", "unit", "score", *(["points"] if weighted else []), "status", "message", box=None, header_style="bold"
    )
    for row in sorted(rows, key=lambda row: (row.learner, row.unit))[:SHOWN]:
        points = [f"{number(weights.points(row))}/{number(weights.maximum(row))}"] if weighted else []
        message = "; ".join(filter(None, (row.message, row.note)))
        status = Text(row.status, STYLES.get(row.status, "red"))
        table.add_row(*map(Text, (row.learner, row.unit, f"{row.score}/{row.max_score}", *points)), status, Text(message))
    console.print(table)
    if len(rows) > SHOWN:
        say(f"… and {len(rows) - SHOWN} more in grades.csv")
    counts = {status: sum(row.status == status for row in rows) for status in dict.fromkeys(row.status for row in rows)}
    say(f"{len(rows)} submissions: " + ", ".join(f"{n} {status}" for status, n in counts.items()))
    say("isolation: " + "; ".join(sorted({row.isolation for row in rows})))
    without = weights.worthless({row.unit for row in rows})
    if without:
        say(f"worth no points by these weights: {', '.join(without[:10])}" + (" …" if len(without) > 10 else ""))


def show_changes(old: Path, new: Path, weights: Weights, out: Path | None = None) -> None:
    """Whose marks differ between two folders of results, and why: a table, and `changes.csv` in `new` unless `out` names a file."""
    from course.grading.compare import CHANGES, compare, reasons, rows_of, table, totals
    from course.grading.journal import writing
    from course.paths import write_atomic

    before, after = rows_of(old), rows_of(new)
    changes = compare(before, after, weights)
    path = out or (new if new.is_dir() else new.parent) / CHANGES
    with writing(path.parent):
        write_atomic(path, table(changes, weights))
    if changes:
        shown = Table(box=None, header_style="bold")
        for title in ("learner", "unit", "score", "change"):
            shown.add_column(title, no_wrap=True)
        shown.add_column("why")
        for change in changes[:SHOWN]:
            scores = " → ".join(str(row.score) if row else "–" for row in (change.old, change.new))
            kind = Text(change.kind, STYLES.get(change.kind, "red" if change.kind in ("down", "gone") else ""))
            shown.add_row(*map(Text, (change.row.learner, change.row.unit, scores)), kind, Text(_why(reasons(change))))
        console.print(shown)
        if len(changes) > SHOWN:
            say(f"… and {len(changes) - SHOWN} more in {path.name}")
    say(f"compared with {old}: {totals(before, after, changes, weights)}")
    say(f"changes: {path}")


def _why(reasons: list[tuple[str, str, str, str, str]]) -> str:
    """The first reason for a change in a line, and how many more there are; the file has all."""
    stub, was, now, old_message, new_message = reasons[0]
    message = new_message or (f"no longer: {old_message}" if old_message else "")
    more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    moved = f"{was} → {now}" if was and now else was or now
    return ": ".join(filter(None, (stub, moved, message[:120]))) + more


def _weights(path: Path | None, partial: bool) -> Weights:
    from course.grading.weights import load_weights

    return load_weights(path, {unit.id: unit.stubs for unit in exercises()}, partial=partial)


def grade_merge(
    folders: Annotated[list[Path], typer.Argument(help="The --out folders of the shards.")],
    out: Annotated[Path, typer.Option(help="Folder for the joined results.")],
    weights: WeightsFile = None,
    partial: Partial = False,
) -> None:
    """Join the journals of shards, and write the reports of the whole."""
    from course.grading.run import merge

    worth = _weights(weights, partial)
    show_grades(merge(folders, out, worth), worth)


def grade_compare(
    old: Annotated[Path, typer.Argument(help="The --out folder of the earlier run, or its results.jsonl.")],
    new: Annotated[Path, typer.Argument(help="The --out folder of the later run, or its results.jsonl.")],
    out: Annotated[Path | None, typer.Option(help="File for the changes; by default changes.csv in NEW.")] = None,
    weights: WeightsFile = None,
    partial: Partial = False,
) -> None:
    """Say whose marks differ between two runs, and why, without grading again."""
    from course.grading.compare import check

    show_changes(check(old), check(new), _weights(weights, partial), out)
