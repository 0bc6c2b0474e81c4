"""`aigc`: the command line of the course."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.syntax import Syntax
from rich.table import Table

from course import paths
from course.errors import CourseError
from course.units.catalogue import Item, Unit, exercises, find_unit, find_units, syllabus

if TYPE_CHECKING:
    from course.grading.journal import Row
    from course.media.convert import Comparison
    from course.proving.audit import Acceptance, UnitAudit
    from course.studying.progress import Standing
    from course.studying.state import State

app = typer.Typer(
    help="An offline interview-prep course on generative AI: read, fill the holes, be told at once what is wrong and why.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
console = Console()
errors = Console(stderr=True)

USAGE, FAILED = 2, 1
UnitName = Annotated[str, typer.Argument(help="A unit's id, such as image/vae, or its last part where that is enough.")]
SHADES = {"exercise": "green", "question": "green", "to come": "dim"}
STYLES = {"passed": "green", "failed": "red", "todo": "yellow", "blocked": "yellow", "absent": "dim"}


class Language(enum.StrEnum):
    """The languages of the pages."""

    EN = "en"
    ZH = "zh"


Lang = Annotated[Language, typer.Option(envvar="AIGC_LANG", help="en or zh.")]


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """With no command: the dashboard."""
    if context.invoked_subcommand is None:
        dashboard()


@app.command("list")
def list_units(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    ids: Annotated[bool, typer.Option("--exercises", help="Only the ids of the units with code, one a line.")] = False,
    by_code: Annotated[bool, typer.Option("--syllabus", help="Every code of the syllabus, and what covers it.")] = False,
) -> None:
    """The units of the course."""
    units = find_units()
    if by_code:
        if ids:
            raise CourseError("--exercises and --syllabus are two different lists: choose one")
        list_syllabus(syllabus(units), as_json)
        return
    if ids:
        for unit in exercises():
            typer.echo(unit.id)
        return
    if as_json:
        typer.echo(json.dumps([unit.describe() for unit in units], ensure_ascii=False, indent=2))
        return
    table = Table("unit", "title", "标题", "difficulty", "syllabus", "stubs", box=None, header_style="bold")
    for unit in units:
        stars = "★" * unit.difficulty + "☆" * (5 - unit.difficulty)
        table.add_row(unit.id, unit.title, unit.title_zh, stars, " ".join(unit.syllabus), ", ".join(unit.stubs))
    console.print(table)


def list_syllabus(items: list[Item], as_json: bool) -> None:
    """Code, question, unit and state, a row for each unit that covers a code; then how much is still to come."""
    if as_json:
        typer.echo(json.dumps([item.describe() for item in items], ensure_ascii=False, indent=2))
        return
    table = Table("code", "question", "问题", "unit", "state", box=None, header_style="bold")
    table.columns[0].no_wrap = True
    table.columns[2].overflow = "fold"
    for item in items:
        state = f"[{SHADES[item.state]}]{item.state}[/]"
        for number, unit in enumerate(item.units):
            first = (item.code, state) if number == 0 else ("", "")
            table.add_row(first[0], escape(unit.title), escape(unit.title_zh), unit.id, first[1])
        if not item.units:
            table.add_row(item.code, "—", "—", "—", state)
    console.print(table)
    counts = {state: sum(item.state == state for item in items) for state in SHADES}
    console.print(f"{len(items)} codes: " + ", ".join(f"{n} {state}" for state, n in counts.items()), highlight=False)


@app.command()
def build(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a build would change something.")] = False,
) -> None:
    """Generate notebooks, executed solutions and the README's index from the authored files."""
    from course.authoring import build as builder

    root = paths.root()
    if check:
        problems = builder.check(root)
        for problem in problems:
            errors.print(problem, markup=False, highlight=False, soft_wrap=True)
        if problems:
            raise typer.Exit(FAILED)
        console.print(f"{len(find_units(root))} units: everything generated is up to date")
        return
    changed = builder.build(root, report=lambda line: console.print(line, markup=False, highlight=False))
    for path in changed:
        console.print(f"wrote {path.relative_to(root)}", markup=False, highlight=False)
    if not changed:
        console.print("nothing to do: everything generated is up to date")


def work_copy(unit: Unit) -> Path:
    """The learner's copy of an exercise, made on first use; an existing one is never touched."""
    if not unit.notebook.is_file():
        raise CourseError(f"{unit.describe()['notebook']} does not exist; run `aigc build`")
    if not unit.work.exists():
        paths.write_atomic(unit.work, unit.notebook.read_bytes())
        console.print(f"made your copy: {unit.work.relative_to(unit.root)}", markup=False, highlight=False)
    return unit.work


@app.command()
def check(
    unit: UnitName,
    stub: Annotated[list[str] | None, typer.Option("--stub", "-s", help="Only this stub; may be repeated.")] = None,
    notebook: Annotated[Path | None, typer.Option("--notebook", "-n", help="Another notebook than your copy in work/.")] = None,
    seed: Annotated[int | None, typer.Option(help="Ask the questions of an earlier run again.")] = None,
) -> None:
    """Check your answers to a unit: your copy in work/, or any notebook file."""
    from course.checking.judge import judge_notebook
    from course.checking.runner import fresh_seed
    from course.studying.progress import find_stub

    found = find_unit(unit)
    if found.is_concept:
        raise CourseError(f"{found.id} is a concept question: it has nothing to check")
    for name in stub or ():
        find_stub(found, name)
    if notebook is None:
        notebook = work_copy(found)
    elif not notebook.exists():
        raise CourseError(f"there is no file {notebook}")
    statuses, text = judge_notebook(found, notebook, tuple(stub or found.stubs), fresh_seed() if seed is None else seed)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    verdict, passed = overall(statuses)
    console.print(f"{found.id}: [{STYLES[verdict]}]{NAMES[verdict]}[/] ({passed} of {len(statuses)} stubs)")
    remember(found, notebook, statuses)
    if verdict != "passed":
        raise typer.Exit(FAILED)


@app.command()
def watch(
    unit: Annotated[str | None, typer.Argument(help="Only this unit; without one, every copy in work/.")] = None,
    notebook: Annotated[Path | None, typer.Option("--notebook", "-n", help="Another notebook than your copy in work/.")] = None,
) -> None:
    """Check again whenever you save: a line for each stub that has changed. Ctrl-C ends it."""
    from course.checking import watch as watcher

    if notebook is not None and unit is None:
        raise CourseError("--notebook needs to know the unit: aigc watch UNIT --notebook FILE")
    if notebook is not None and not notebook.exists():
        raise CourseError(f"there is no file {notebook}")
    found = [find_unit(unit)] if unit else exercises()
    if unit and found[0].is_concept:
        raise CourseError(f"{found[0].id} is a concept question: it has nothing to check")
    if unit and notebook is None:
        work_copy(found[0])
    watched = [watcher.Watched(one, notebook or one.work) for one in found]
    begun = [one for one in watched if one.path.exists()]
    if not begun:
        raise CourseError("there is no copy in work/ yet: make one with `aigc open UNIT`")

    def report(one: watcher.Watched, statuses: dict[str, str], text: str) -> None:
        if text:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
        if statuses:
            verdict, passed = overall(one.statuses)
            console.print(f"{one.unit.id}: [{STYLES[verdict]}]{NAMES[verdict]}[/] ({passed} of {len(one.unit.stubs)} stubs)")
            remember(one.unit, one.path, statuses)

    try:
        for one in begun:
            one.warm_up()
        console.print("checking now, and whenever you save; Ctrl-C ends this", highlight=False)
        watcher.watch(watched, report)
    except KeyboardInterrupt:
        console.print()


def remember(unit: Unit, path: Path, statuses: dict[str, str]) -> None:
    """Note a check of the learner's own copy. A state that cannot be written is said, and takes nothing from the verdict."""
    from course.checking.load import answer_source, read_notebook
    from course.studying.progress import record_check
    from course.studying.state import Store
    from course.units.source import AnswerError, written

    if path.resolve() != unit.work.resolve():
        return
    try:
        answer = answer_source(read_notebook(path), unit)[1]
        record_check(Store(), unit, statuses, written(answer, statuses))
    except AnswerError:
        return  # there was nothing to read, so nothing was tried
    except CourseError as error:
        errors.print(f"this check is not remembered: {error}", markup=False, highlight=False, soft_wrap=True)


NAMES = {"passed": "pass", "todo": "partial", "failed": "fail", "absent": "not started"}


def overall(statuses: dict[str, str]) -> tuple[str, int]:
    """One verdict over stubs (`failed` if any is wrong, `todo` if some are only unwritten, else `passed`), and how many pass."""
    values = list(statuses.values())
    verdict = "failed" if "failed" in values else "passed" if all(v == "passed" for v in values) else "todo"
    return verdict, values.count("passed")


@app.command()
def gate(
    unit: UnitName,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16 (autocast).")] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found, in benchmarks/records and its table.")] = False,
    ship: Annotated[
        bool, typer.Option("--ship", help="Keep the first seed's weights in the course itself, if they hold.")
    ] = False,
) -> None:
    """Train the reference and hold its figures, on held-out data, against the unit's gate."""
    from course.media import convert as converter
    from course.proving import records
    from course.proving.gate import Outcome, run_gate
    from reference_impl.runtime import resolve_device

    found = find_unit(unit)
    if found.is_concept:
        raise CourseError(f"{found.id} is a concept question: it has no gate")
    outcomes: list[Outcome] = []
    models: list[Any] = []
    try:
        for seed in range(seeds):
            outcomes += run_gate(found, seed, device, precision, compile, models.append)
        if ship:
            console.print(f"wrote {converter.ship(found, models[0], 0, device=device)}", highlight=False, soft_wrap=True)
    except ValueError as error:
        raise CourseError(str(error)) from None
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], indent=2))
    else:
        table = Table("seed", "metric", "value", "gate", "baseline", "ceiling", "", box=None, header_style="bold")
        for o in outcomes:
            shown = ["—" if v is None else f"{v:.4g}" for v in (o.baseline, o.ceiling)]
            table.add_row(
                str(o.seed), o.metric, f"{o.value:.4g}", o.bound, *shown, "[green]holds[/]" if o.holds else "[red]fails[/]"
            )
        console.print(f"{found.id} on held-out data", highlight=False)
        console.print(table)
        for outcome in {o.seed: o for o in outcomes}.values():
            extra = "  ".join(f"{key} {value:.4g}" for key, value in outcome.figures.items())
            console.print(f"seed {outcome.seed}: {extra}  ({outcome.seconds:.0f} CPU s of training)", highlight=False)
    if write:
        records.record_gate(found, outcomes, str(resolve_device(device)))
        records.write_pages(found.root)
    if not all(outcome.holds for outcome in outcomes):
        raise typer.Exit(FAILED)


@app.command()
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


@app.command("grade-merge")
def grade_merge(
    folders: Annotated[list[Path], typer.Argument(help="The --out folders of the shards.")],
    out: Annotated[Path, typer.Option(help="Folder for the joined results.")],
) -> None:
    """Join the journals of shards, and write the reports of the whole."""
    from course.grading.run import merge

    show_grades(merge(folders, out))


@app.command()
def audit(
    units: Annotated[list[str] | None, typer.Argument(help="Only these units; all of them by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs: an object per stub.")] = False,
    sample: Annotated[int | None, typer.Option(min=1, help="At most so many mutants of each stub.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat an earlier audit.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    bar: Annotated[float, typer.Option(min=0, max=1, help="Share of mutants that the tests of a unit must kill.")] = 0.98,
    mutants_only: Annotated[bool, typer.Option("--mutants-only", help="Leave out the right variants and the fakes.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="On how many seeds a right variant must be accepted.")] = 200,
    device: Annotated[str, typer.Option(help="cpu, or cuda: there are mutants that only another device can tell.")] = "cpu",
    changed: Annotated[str | None, typer.Option(metavar="BASE", help="Only what changed since this git revision.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found, in benchmarks/records and its table.")] = False,
) -> None:
    """Audit the tests: do they reject every small mistake and every fake, and accept every right answer?"""
    from course.checking.runner import fresh_seed
    from course.proving import audit as auditor
    from course.proving import records

    if write and (sample or device != "cpu"):
        raise CourseError("--write keeps a whole audit: leave out --sample and --device")
    root = paths.root()
    chosen = [find_unit(name) for name in units] if units else exercises()
    for unit in chosen:
        if unit.is_concept:
            raise CourseError(f"{unit.id} is a concept question: it has no tests to audit")
    if changed is not None:
        chosen = auditor.changed_units(chosen, changed, root)
    seed = fresh_seed() if seed is None else seed
    audits: list[auditor.UnitAudit] = []
    accepted: list[auditor.Acceptance] = []
    with Progress(console=errors, transient=True) as bars:
        for unit in chosen:
            line = bars.add_task(f"{unit.id}: mutants")

            def tell(done: int, total: int) -> None:
                bars.update(line, completed=done, total=total)  # noqa: B023 - called within this round of the loop

            audits.append(auditor.audit_unit(unit, sample, jobs, tell, seed=seed, device=device))
            if not mutants_only:
                bars.update(line, description=f"{unit.id}: right variants and fakes", completed=0)
                accepted += auditor.variants_accepted(unit, seeds, jobs, tell, seed=seed)
            bars.remove_task(line)
            own = [row for row in accepted if row.unit.id == unit.id]
            show_problems(audits[-1], own)  # not only after the last unit
            if write:
                records.record_audit(audits[-1], own, seeds)
    wrong = [row for row in accepted if row.wrong]
    if as_json:
        typer.echo(json.dumps([row for made in audits for row in made.rows()], indent=2))
    else:
        show_audits(audits, accepted, bar)
    if write:
        records.write_pages(root)
    if wrong or not all(made.holds(bar) for made in audits):
        raise typer.Exit(FAILED)


def show_problems(made: UnitAudit, accepted: list[Acceptance]) -> None:
    """What is wrong in a unit's test file: marks, crashes, right answers that it rejects and fakes that it accepts."""
    lines = list(made.problems)
    for row in accepted:
        if row.wrong:
            name = f"{row.unit.id} {row.stub}: {row.kind} {row.name}".rstrip()
            verdict = "accepted" if row.kind == "fake" else "rejected"
            lines.append(f"{name}: wrongly {verdict} on {len(row.wrong)} of {row.seeds} seeds, {row.wrong[0]}")
    for line in lines:
        errors.print(line, markup=False, highlight=False, soft_wrap=True)


def show_audits(audits: list[UnitAudit], accepted: list[Acceptance], bar: float) -> None:
    """Figures per stub, then each survivor as a diff."""
    from course.proving.audit import difference

    table = Table("unit", "stub", "mutants", "equivalent", "killed", "score", box=None, header_style="bold")
    for made in audits:
        for stub in made.stubs:
            score = f"[{'green' if stub.score >= bar else 'red'}]{stub.score:.1%}[/]"
            table.add_row(made.unit.id, stub.stub, str(stub.mutants), str(stub.equivalent), str(stub.killed), score)
        verdict = "[green]holds[/]" if made.holds(bar) else "[red]fails[/]"
        figures = (str(made.mutants), str(made.equivalent), str(made.killed), f"{made.score:.1%}")
        table.add_row(f"[bold]{made.unit.id}[/]", f"{verdict} in {made.seconds:.0f} s", *figures)
    console.print(table)
    for made in audits:
        for stub in made.stubs:
            for result in stub.survivors:
                console.print(f"\n[bold]{made.unit.id} {stub.stub}[/]: survived, {escape(result.mutant.id)}", highlight=False)
                console.print(difference(made.source, result.mutant), markup=False, highlight=False, soft_wrap=True)
        console.print(
            f"\n{made.unit.id}: {made.marks:.1%} marked as equivalent; `aigc audit {made.unit.id} --seed {made.seed}` repeats this",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    if accepted:
        right, fakes = [r for r in accepted if r.kind != "fake"], [r for r in accepted if r.kind == "fake"]
        console.print(
            f"{sum(not r.wrong for r in right)} of {len(right)} right implementations accepted on all of {right[0].seeds} seeds, "
            f"{sum(not r.wrong for r in fakes)} of {len(fakes)} fakes rejected",
            highlight=False,
        )
    if not audits:
        console.print("nothing to audit")


@app.command()
def convert(
    thing: Annotated[str, typer.Argument(metavar="TEXT|FILE", help="A caption, or a file: .txt, .png, .wav, .gif, .mp4.")],
    out: Annotated[Path | None, typer.Option(help="The file to write; with --chain also a folder, for every step.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="text, image, speech or video; by default, what THING is.")] = None,
    target: Annotated[str | None, typer.Option("--to", help="text, image, speech or video; by default, what --out is.")] = None,
    chain: Annotated[str | None, typer.Option(help="Several steps, such as text,speech,image,video.")] = None,
    voice: Annotated[str | None, typer.Option(help="Who says a text.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Turn a text, picture, sound or video into another: aigc convert "three left" --to speech --out three.wav"""
    from course.media import convert as converter
    from course.media import files as media

    def say(line: str) -> None:
        errors.print(line, markup=False, highlight=False, soft_wrap=True)

    if chain is not None:
        if source or target:
            raise CourseError("--chain says what to convert from and to: leave out --from and --to")
        kinds = [kind.strip() for kind in chain.split(",")]
        if len(kinds) < 2:
            raise CourseError(f"--chain needs two kinds or more, such as text,speech,image; got {chain!r}")
    else:
        is_file = Path(thing).suffix.lower() in {ending for endings in media.KINDS.values() for ending in endings}
        source = source or (media.kind_of(Path(thing)) if is_file else "text")
        target = target or (media.kind_of(out) if out else None)
        if target is None:
            raise CourseError("say what to convert to, by --to text or by --out three.wav")
        kinds = [source, target]
    for pair in itertools.pairwise(kinds):
        converter.unit_of(*pair)
    steps = out if out is not None and chain is not None and not out.suffix else None  # a folder for every step
    if out is None and kinds[-1] != "text":
        raise CourseError(f"{kinds[-1]} needs a file to be written to: --out result{media.KINDS[kinds[-1]][0]}")
    if steps is not None and steps.exists() and not steps.is_dir():
        raise CourseError(f"{steps} is a file: --out needs a folder, or a name with an ending")
    if out is not None and steps is None:
        if out.is_dir():
            raise CourseError(f"{out} is a folder: --out needs a file, such as {out}/result{media.KINDS[kinds[-1]][0]}")
        if media.kind_of(out) != kinds[-1]:
            raise CourseError(f"--out {out} is a name for {media.kind_of(out)}, and the result is {kinds[-1]}")

    def write(path: Path, kind: str, result: Any) -> None:
        try:
            paths.write_atomic(path, media.to_bytes(kind, result, path.suffix.lower()))
        except OSError as error:
            raise CourseError(f"{path} cannot be written: {error.strerror}") from None
        say(f"wrote {path}")

    made = itertools.count(1)

    def keep(kind: str, result: Any) -> None:
        if steps is not None:
            write(steps / f"{next(made)}_{kind}{media.KINDS[kind][0]}", kind, result)

    try:
        result = converter.chain(
            kinds, media.read(kinds[0], thing, say), device=device, say=say, voice=voice or converter.VOICE, keep=keep
        )
    except ValueError as error:  # of a unit: what it was given does not suit it, or there is no such device
        raise CourseError(str(error)) from None
    if out is not None and steps is None:
        write(out, kinds[-1], result)
    elif kinds[-1] == "text":
        typer.echo(result)


@app.command()
def train(
    units: Annotated[list[str] | None, typer.Argument(help="Only these units; all of them by default.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    ship: Annotated[
        bool, typer.Option("--ship", help="Keep the weights in the course itself, if they hold the unit's gate.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Train again as the weights at hand were, and compare the quality of the two.")
    ] = False,
) -> None:
    """Train reference systems and keep their weights; `aigc convert` uses them."""
    from course.media import convert as converter

    if ship and verify:
        raise CourseError("--ship and --verify are two different things: ship first, then verify")
    chosen = [find_unit(name) for name in units] if units else exercises()
    for unit in chosen:
        if unit.is_concept:
            raise CourseError(f"{unit.id} is a concept question: it has nothing to train")

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    held = True
    try:
        for unit in chosen:
            if verify:
                held &= show_comparison(unit, converter.verify(unit, device=device))
            elif ship:
                say(f"wrote {converter.ship(unit, converter.trained(unit, device, seed), seed, device=device)}")
            else:
                converter.train(unit, device=device, seed=seed, say=say)
    except ValueError as error:
        raise CourseError(str(error)) from None
    if not held:
        raise typer.Exit(FAILED)


def show_comparison(unit: Unit, rows: list[Comparison]) -> bool:
    """The gates of a unit with weights as they are and trained anew; whether all hold."""
    table = Table("metric", "gate", "weights at hand", "trained anew", "", box=None, header_style="bold")
    for row in rows:
        verdict = "[green]holds[/]" if row.holds else "[red]fails[/]"
        table.add_row(row.metric, row.bound, f"{row.kept:.4g}", f"{row.fresh:.4g}", verdict)
    console.print(unit.id, highlight=False)
    console.print(table)
    return all(row.holds for row in rows)


@app.command("data")
def data_sets(
    name: Annotated[str | None, typer.Argument(help="Only this data set, such as digits; all of them by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    preview: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a preview into this folder: PNG, GIF, WAV, TXT.")
    ] = None,
) -> None:
    """The data sets of the course: what they are, their size and licence, and a preview."""
    from course.media import previews as data

    cards = [data.find_card(name)] if name else data.find_cards()
    if as_json:
        typer.echo(json.dumps([card.describe() for card in cards], ensure_ascii=False, indent=2))
    else:
        table = Table("data set", "what", "内容", "size", "licence", box=None, header_style="bold")
        for column in table.columns:
            column.overflow = "fold"  # Chinese has no spaces to break a line at
        table.columns[0].no_wrap = True
        for card in cards:
            table.add_row(
                *(
                    escape(text)
                    for text in (
                        card.name,
                        card.english["what"],
                        card.chinese["what"],
                        card.english["size"],
                        card.english["licence"],
                    )
                )
            )
        console.print(table)
        if cards:
            console.print(f"more about each, also in Chinese: {cards[0].describe()['card'].rpartition('/')[0]}/", highlight=False)
    if preview is None:
        return
    for card in cards:
        try:
            written = data.write_preview(card, preview)
        except data.Absent as absent:
            if name:
                raise
            errors.print(f"no preview of {card.name}: {absent}", markup=False, highlight=False, soft_wrap=True)
            continue
        for path in written:
            (errors if as_json else console).print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)


def choose_track(units: list[Unit], track: str | None) -> list[Unit]:
    """The units of a track, or all. Raises CourseError that names the tracks."""
    tracks = dict.fromkeys(unit.track for unit in units)
    if track is not None and track not in tracks:
        raise CourseError(f"there is no track {track!r}; tracks are: {', '.join(tracks)}")
    return [unit for unit in units if track in (None, unit.track)]


@app.command()
def anki(
    out: Annotated[Path, typer.Option(help="The file to write, such as deck.apkg.")],
    lang: Lang = Language.EN,
    track: Annotated[str | None, typer.Option(help="Only the cards of this track.")] = None,
) -> None:
    """The flashcards as a package for Anki. Import a newer one over it: cards are updated, not doubled."""
    from course.studying.deck import write_deck

    if out.is_dir():
        raise CourseError(f"{out} is a folder: --out needs a file, such as {out}/deck.apkg")
    count = write_deck(choose_track(find_units(), track), lang, out)
    console.print(f"wrote {count} cards to {out}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def site(out: Annotated[Path, typer.Option(help="The folder to write: new, empty, or an earlier site.")]) -> None:
    """The course as static pages in both languages: open index.html in a browser; no server or network is needed."""
    from course.site.pages import build_site

    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bars:
        line = bars.add_task("pages")
        count = build_site(paths.root(), out, lambda done, total: bars.update(line, completed=done, total=total))
    console.print(f"wrote {count} pages; open {out / 'index.html'}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def lab(unit: Annotated[str | None, typer.Argument(help="Open this unit; without one, the folder work/.")] = None) -> None:
    """Open JupyterLab on your copies of the exercises (made in work/ on first use)."""
    if shutil.which("jupyter-lab", path=str(Path(sys.executable).parent)) is None:
        raise CourseError("JupyterLab is not installed: run `pip install -e '.[lab]'`")
    targets = [find_unit(unit)] if unit else exercises()
    for found in targets:
        if found.is_concept:
            raise CourseError(f"{found.id} is a concept question: read {found.describe()['question']}")
        work_copy(found)
    root = paths.root()
    where = f"/lab/tree/{targets[0].work.relative_to(root).as_posix() if unit else 'work'}"
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--LabApp.default_url={where}"]
    raise typer.Exit(subprocess.run(command).returncode)


@app.command("open")
def open_unit(unit: UnitName) -> None:
    """Open your copy of an exercise in JupyterLab."""
    lab(unit)


@app.command()
def read(unit: UnitName, lang: Lang = Language.EN) -> None:
    """Show a question and its answer, and remember that you have read it."""
    from course.studying.state import Store
    from course.units.catalogue import SECTIONS

    found = find_unit(unit)
    page = found.pages[lang]
    console.print(f"# {page.meta['title']}", style="bold", markup=False, highlight=False, soft_wrap=True)
    for key, body in page.sections.items():
        if key in ("hints", "cards"):
            continue  # these have commands of their own
        heading = SECTIONS[key][lang is Language.ZH]
        console.print(f"\n## {heading}\n", style="bold", markup=False, highlight=False, soft_wrap=True)
        console.print(body, markup=False, highlight=False, soft_wrap=True)
    with Store().update() as state:
        state.unit(found.id).read = True
        state.active()


@app.command()
def hint(
    unit: UnitName,
    stub: Annotated[str, typer.Argument(help="A stub of the unit.")],
    lang: Lang = Language.EN,
) -> None:
    """One hint more for a stub, after those that you have seen."""
    from course.studying.progress import find_stub, next_hint
    from course.studying.state import Store

    found = find_unit(unit)
    shown, count, fresh = next_hint(Store(), found, find_stub(found, stub), lang)
    for number, text in enumerate(shown, start=1):
        style = "dim" if fresh and number < len(shown) else ""
        console.print(f"{number}/{count}  {text}", style=style, markup=False, highlight=False)
    if not fresh:
        console.print(f"there are no more hints; the answer is behind `aigc solution {found.id} {stub}`", highlight=False)


@app.command()
def solution(
    unit: UnitName,
    stub: Annotated[str | None, typer.Argument(help="Only this stub; all of them by default.")] = None,
    give_up: Annotated[bool, typer.Option("--give-up", help="Show it although you have not tried.")] = False,
) -> None:
    """The reference's answer to a stub, once you have tried your own."""
    from course.studying.progress import find_stub, solutions
    from course.studying.state import Store

    found = find_unit(unit)
    if found.is_concept:
        raise CourseError(f"{found.id} is a concept question: `aigc read {found.id}` shows its answer")
    stubs = found.stubs if stub is None else (find_stub(found, stub),)
    texts, closed = solutions(Store(), found, stubs, give_up)
    code = "\n\n\n".join(texts.values())
    if code and console.is_terminal:
        console.print(Syntax(code, "python", theme="ansi_dark", background_color="default"))
    elif code:
        typer.echo(code)
    if closed:
        raise CourseError(
            f"not tried yet: {', '.join(closed)}. Write something of your own and run `aigc check {found.id}`, or add --give-up"
        )


@app.command()
def reset(
    unit: UnitName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Begin an exercise again; your copy is kept under another name."""
    from course.studying.progress import reset as carry_out
    from course.studying.state import Store

    found = find_unit(unit)
    if found.is_concept:
        raise CourseError(f"{found.id} is a concept question: it has nothing to reset")
    if not found.notebook.is_file():
        raise CourseError(f"{found.describe()['notebook']} does not exist; run `aigc build`")
    if not yes and not confirm(f"begin {found.id} again, and forget its checks and hints?", "--yes"):
        console.print("nothing is changed")
        return
    backup = carry_out(Store(), found)
    if backup is not None:
        console.print(f"your answers are kept in {backup.relative_to(found.root)}", markup=False, highlight=False)
    console.print(f"{found.work.relative_to(found.root)} is as new", markup=False, highlight=False)


def confirm(question: str, option: str) -> bool:
    """Ask on the terminal; anything but y or yes is no. Raises CourseError where nobody can answer."""
    if not sys.stdin.isatty():
        raise CourseError(f"this asks first ({question}), but the input is no terminal; add {option} to say so beforehand")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        console.print()
        return False


@app.command("state")
def show_state(
    export: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a copy to this file.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Forget everything; asks first.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Where your progress is kept, and what it holds; take it with you, or delete it."""
    from course.studying.state import Store

    store = Store()
    state = store.read()
    if export is not None:
        try:
            paths.write_atomic(export, state.dump())
        except OSError as error:
            raise CourseError(f"cannot write {export}: {error.strerror}") from None
        console.print(f"wrote {export}; put it in the place of {store.path} to go on elsewhere", markup=False, highlight=False)
    if delete:
        if not yes and not confirm(f"delete all progress in {store.folder}?", "--yes"):
            console.print("nothing is deleted")
            return
        for path in store.delete():
            console.print(f"deleted {path}", markup=False, highlight=False, soft_wrap=True)
    elif export is None:
        console.print(str(store.path), markup=False, highlight=False, soft_wrap=True)
        console.print(
            f"{len(state.units)} units, {len(state.cards)} flashcards, {len(state.reviews)} answers to them, "
            f"{len(state.days)} days",
            highlight=False,
        )


def dashboard() -> None:
    """Every unit and its state, the tracks, and what to do next. Quick: the verdicts are those of the last checks."""
    from course.studying.progress import survey
    from course.studying.state import Store

    state = Store().read()
    standings = survey(find_units(), state)
    table = Table("unit", "title", "标题", "difficulty", "your answer", box=None, header_style="bold")
    for standing in standings:
        unit, verdicts = standing.unit, standing.verdicts
        if verdicts is None and unit.is_concept:
            shown = "[green]read[/]" if standing.studied else "[dim]to read[/]"
        elif verdicts is None:
            shown = f"[dim]{NAMES['absent']}[/]"
        else:
            verdict, passed = overall(verdicts)
            shown = f"[{STYLES[verdict]}]{NAMES[verdict]}, {passed} of {len(unit.stubs)}[/]"
        table.add_row(unit.id, unit.title, unit.title_zh, "★" * unit.difficulty, shown)
    console.print(table)
    console.print()
    show_status(standings, state)


def show_status(standings: list[Standing], state: State) -> None:
    """A line a track, the streak, and the next step."""
    from course.studying.progress import steps

    table = Table("track", "studied", "attempted", "solved", "cards due", "new", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    tracks = {standing.unit.track: [s for s in standings if s.unit.track == standing.unit.track] for standing in standings}
    for track, own in [*tracks.items(), ("all", standings)]:
        exercises = [standing for standing in own if not standing.unit.is_concept]
        code = [
            f"{sum(getattr(standing, what) for standing in exercises)}/{len(exercises)}" if exercises else "—"
            for what in ("attempted", "solved")
        ]
        cards = [str(sum(standing.due for standing in own)), str(sum(standing.new for standing in own))]
        table.add_row(track, f"{sum(standing.studied for standing in own)}/{len(own)}", *code, *cards)
    console.print(table)
    streak = state.streak()
    console.print(f"\nstreak: {streak} day{'' if streak == 1 else 's'}", highlight=False)
    found = steps(standings)
    if found:
        command, why = found[0]
        console.print(f"next: [bold]{command}[/] ({escape(why)})", highlight=False)
    else:
        console.print("next: nothing; all is read and solved, and no card is due")


@app.command()
def study(
    track: Annotated[str | None, typer.Option(help="Only this track, such as image.")] = None,
    unit: Annotated[str | None, typer.Option(help="Only this unit.")] = None,
    lang: Lang = Language.EN,
    due: Annotated[bool, typer.Option("--due", help="Only cards that are due; no new ones.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many answers.")] = 20,
) -> None:
    """Flashcards: say the back aloud, look, and grade yourself; FSRS decides when each comes back."""
    from course.studying.cards import flashcards
    from course.studying.cards import study as session
    from course.studying.progress import by_use
    from course.studying.state import Store

    units = choose_track([find_unit(unit)] if unit else find_units(), track)
    cards = [card for found in sorted(units, key=by_use) for card in flashcards(found, lang)]
    if not cards:
        raise CourseError(f"{units[0].id if unit else 'this selection'} has no flashcards")
    if not sys.stdin.isatty():
        raise CourseError("study asks and waits for answers, but the input is no terminal; run it in one, without a pipe")
    session(cards, Store(), console, language=lang, only_due=due, limit=limit)


@app.command()
def status() -> None:
    """How far you are, by track: studied, attempted, solved, cards due, and your streak."""
    from course.studying.progress import survey
    from course.studying.state import Store

    state = Store().read()
    show_status(survey(find_units(), state), state)


@app.command("next")
def next_steps() -> None:
    """What to do next, and why."""
    from course.studying.progress import steps, survey
    from course.studying.state import Store

    found = steps(survey(find_units(), Store().read()))
    for number, (command, why) in enumerate(found, start=1):
        console.print(f"{number}. [bold]{command}[/]  {escape(why)}", highlight=False)
    if not found:
        console.print("nothing: all is read and solved, and no card is due")


@app.command()
def start() -> None:
    """A tour: the dashboard, three example submissions and their verdicts, and a page of digits drawn by the reference VAE."""
    from course.studying.tour import tour

    dashboard()
    tour(console)


def run() -> None:
    """The console command: our own errors in one line with exit status 2, an interrupt quietly with 130."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # a terminal that cannot show ✓ or 中 gets a stand-in, not a crash
            reconfigure(errors="replace")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")
    try:
        app()
    except CourseError as error:
        errors.print(f"aigc: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    run()
