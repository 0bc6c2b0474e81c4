"""To make the course: build its files and its site, prove its units."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from course import paths
from course.cli.common import FAILED, UnitName, console, errors
from course.errors import CourseError
from course.units.catalogue import exercises, find_unit, find_units

if TYPE_CHECKING:
    from course.proving.audit import Acceptance, UnitAudit


def build(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a build would change something.")] = False,
) -> None:
    """Generate notebooks, executed solutions and the README's index from the authored files."""
    from course.authoring import build as builder
    from course.authoring.lint import old_claims

    root = paths.root()
    if check:
        problems = builder.check(root)
        for claim in old_claims(find_units(root)):  # to look at again: the passing of time makes no build fail
            errors.print(f"note: {claim}", markup=False, highlight=False, soft_wrap=True)
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


def site(out: Annotated[Path, typer.Option(help="The folder to write: new, empty, or an earlier site.")]) -> None:
    """The course as static pages in both languages: open index.html in a browser; no server or network is needed."""
    from course.site.pages import build_site

    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bars:
        line = bars.add_task("pages")
        count = build_site(paths.root(), out, lambda done, total: bars.update(line, completed=done, total=total))
    console.print(f"wrote {count} pages; open {out / 'index.html'}", markup=False, highlight=False, soft_wrap=True)


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
    from course.authoring import measurements
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
        measurements.write_pages(found.root)
    if not all(outcome.holds for outcome in outcomes):
        raise typer.Exit(FAILED)


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
    from course.authoring import measurements
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
        measurements.write_pages(root)
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
