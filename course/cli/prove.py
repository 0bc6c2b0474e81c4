"""To prove units: what is ready, gates with their ablations, audits, and all of it anew."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from course import paths
from course.cli.common import FAILED, UnitName, choose_exercises, console, errors, progress_bars
from course.errors import CourseError
from course.proving.bars import BAR, SEEDS_OF_A_GATE, SEEDS_OF_A_VARIANT
from course.units.catalogue import Unit, find_unit, find_units

if TYPE_CHECKING:
    from rich.progress import Progress

    from course.proving.audit import Acceptance, UnitAudit
    from course.proving.gate import Proof
    from course.proving.prove import Found


def gate(
    unit: UnitName,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0.")] = SEEDS_OF_A_GATE,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32 or bfloat16 (autocast).")] = "float32",
    compile: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Trainings at a time on the CPU; by default one per core.")] = None,
    whole_only: Annotated[bool, typer.Option("--whole-only", help="Leave out the ablations and the leaks.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found, in benchmarks/records and its table.")] = False,
    ship: Annotated[
        bool, typer.Option("--ship", help="Keep the first seed's weights in the course itself, if they hold.")
    ] = False,
) -> None:
    """Train the reference and its ablations, and hold their figures, on held-out data, against the unit's gate."""
    from course.authoring import measurements
    from course.media import convert as converter
    from course.proving import records
    from course.proving.gate import Settings, run_gate
    from reference_impl.runtime import resolve_device

    (found,) = choose_exercises([unit], "no gate")
    if write and (whole_only or seeds < SEEDS_OF_A_GATE or precision != "float32"):
        raise CourseError(
            f"--write keeps a whole gate in float32: leave out --whole-only and --precision, and take at least {SEEDS_OF_A_GATE} seeds"
        )
    try:
        where = str(resolve_device(device))
    except ValueError as error:
        raise CourseError(str(error)) from None
    if write:
        records.begin(found, "gate")
    with progress_bars() as bars:
        line = bars.add_task(f"{found.id}: trainings")
        proof = run_gate(
            found, seeds, Settings(where, precision, compile), jobs=jobs, keep=ship, ablations=not whole_only,
            progress=lambda done, total: bars.update(line, completed=done, total=total),
        )  # fmt: skip
    if ship:
        console.print(f"wrote {converter.ship(found, proof.weights, 0, device=where)}", highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps(proof.rows(), indent=2))
    else:
        show_proof(proof)
    if write:
        records.record_gate(proof, where)
        measurements.write_pages(found.root)
    if not proof.holds:
        raise typer.Exit(FAILED)


def show_proof(proof: Proof) -> None:
    """Gates, ablations and leaks, a row for each seed."""
    verdict = {True: "[green]holds[/]", False: "[red]fails[/]"}
    console.print(f"{proof.unit.id} on held-out data", highlight=False)
    table = Table("seed", "metric", "value", "gate", "baseline", "ceiling", "", box=None, header_style="bold")
    for o in proof.outcomes:
        shown = ["—" if v is None else f"{v:.4g}" for v in (o.baseline, o.ceiling)]
        table.add_row(str(o.seed), o.metric, f"{o.value:.4g}", o.bound, *shown, verdict[o.holds])
    console.print(table)
    if proof.contrasts:
        table = Table("seed", "taken away", "metric", "whole", "without", "margin", "", box=None, header_style="bold")
        for row in proof.contrasts:
            figures = f"{row.whole:.4g}", f"{row.without:.4g}"
            table.add_row(str(row.seed), row.ablation, row.metric, *figures, row.bound, verdict[row.holds])
        console.print(table)
    if proof.shortcuts:
        table = Table("seed", "shortcut", "reaches", "chance", "may reach", "", box=None, header_style="bold")
        for short in proof.shortcuts:
            figures = f"{short.value:.4g}", f"{short.chance:.4g}"
            table.add_row(str(short.seed), short.leak, *figures, short.bound, verdict[short.holds])
        console.print(table)
    for outcome in {o.seed: o for o in proof.outcomes}.values():
        extra = "  ".join(f"{key} {value:.4g}" for key, value in outcome.figures.items())
        console.print(f"seed {outcome.seed}: {extra}  ({outcome.seconds:.0f} CPU s of training)", highlight=False)


def audit(
    units: Annotated[list[str] | None, typer.Argument(help="Only these units; all of them by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs: an object per stub.")] = False,
    sample: Annotated[int | None, typer.Option(min=1, help="At most so many mutants of each stub.")] = None,
    sample_units: Annotated[int | None, typer.Option(min=1, help="Only so many units, drawn from the seed.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Repeat an earlier audit.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
    bar: Annotated[float, typer.Option(min=0, max=1, help="Share of mutants that the tests of a unit must kill.")] = BAR,
    mutants_only: Annotated[bool, typer.Option("--mutants-only", help="Leave out the right variants and the fakes.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="On how many seeds a right variant must be accepted.")] = SEEDS_OF_A_VARIANT,
    device: Annotated[str, typer.Option(help="cpu, or cuda: there are mutants that only another device can tell.")] = "cpu",
    changed: Annotated[str | None, typer.Option(metavar="BASE", help="Only what changed since this git revision.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Keep what was found, in benchmarks/records and its table.")] = False,
) -> None:
    """Audit the tests: do they reject every small mistake and every fake, and accept every right answer?"""
    from course.authoring import measurements
    from course.checking.runner import fresh_seed
    from course.proving import audit as auditor

    if write and (sample or mutants_only or device != "cpu" or seeds < SEEDS_OF_A_VARIANT):
        raise CourseError(
            f"--write keeps a whole audit: leave out --sample, --mutants-only and --device, and take at least {SEEDS_OF_A_VARIANT} seeds"
        )
    root = paths.root()
    chosen = choose_exercises(units, "no tests to audit")
    if changed is not None:
        chosen = auditor.changed_units(chosen, changed, root)
    seed = fresh_seed() if seed is None else seed
    if sample_units is not None and sample_units < len(chosen):
        chosen = sorted(random.Random(seed).sample(chosen, sample_units), key=lambda unit: unit.id)
    audits: list[UnitAudit] = []
    accepted: list[Acceptance] = []
    with progress_bars() as bars:
        for unit in chosen:
            own = audit_one(unit, bars, sample, jobs, seed, seeds, device, mutants_only, write)
            audits.append(own[0])
            accepted += own[1]
    wrong = [row for row in accepted if row.wrong]
    if as_json:
        typer.echo(json.dumps([row for made in audits for row in made.rows()], indent=2))
    else:
        show_audits(audits, accepted, bar)
    if write:
        measurements.write_pages(root)
    if wrong or not all(made.holds(bar) for made in audits):
        raise typer.Exit(FAILED)


def audit_one(
    unit: Unit,
    bars: Progress,
    sample: int | None,
    jobs: int | None,
    seed: int,
    seeds: int,
    device: str,
    mutants_only: bool,
    write: bool,
) -> tuple[UnitAudit, list[Acceptance]]:
    """Audit one unit under a progress bar, say at once what is wrong, and keep what was found if that is asked for."""
    from course.proving import audit as auditor
    from course.proving import records

    if write:
        records.begin(unit, "audit")
    line = bars.add_task(f"{unit.id}: mutants")

    def tell(done: int, total: int) -> None:
        bars.update(line, completed=done, total=total)

    made = auditor.audit_unit(unit, sample, jobs, tell, seed=seed, device=device)
    accepted: list[Acceptance] = []
    if not mutants_only:
        bars.update(line, description=f"{unit.id}: right variants and fakes", completed=0)
        accepted = auditor.variants_accepted(unit, seeds, jobs, tell, seed=seed)
    bars.remove_task(line)
    show_problems(made, accepted)  # not only after the last unit
    if write:
        records.record_audit(made, accepted, seeds)
    return made, accepted


def ready(
    units: Annotated[list[str] | None, typer.Argument(help="Only these units; all of them by default.")] = None,
) -> None:
    """What a finished unit has: a line for each thing, what is missing, and what mends it. Of several units, a line each."""
    from course.authoring.build import stale_solution
    from course.authoring.lint import complaints
    from course.proving.ready import Point, points

    chosen = [find_unit(name) for name in units] if units else find_units()
    found: dict[str, list[Point]] = {}
    for unit in chosen:
        stale = "" if unit.is_concept or not unit.module.is_file() else stale_solution(unit)
        found[unit.id] = list(points(unit, complaints(unit), stale))
    if len(chosen) == 1:
        table = Table("", "what", "", "to do", box=None, header_style="bold")
        for point in found[chosen[0].id]:
            mark = "[green]✓[/]" if point.ready else "[red]✗[/]"
            table.add_row(mark, point.name, escape(point.said), "" if point.ready else escape(point.mend))
        console.print(table)
    for name, own in found.items():
        missing = [point.name for point in own if not point.ready]
        line = f"[green]{'ready':>8}[/]" if not missing else f"[red]{len(own) - len(missing):>2} of {len(own):>2}[/]"
        line += f"  [bold]{name}[/]" + (f": missing {', '.join(missing)}" if missing else "")
        console.print(line, highlight=False, soft_wrap=True)
    if any(not point.ready for own in found.values() for point in own):
        raise typer.Exit(FAILED)


def prove(
    units: Annotated[list[str] | None, typer.Argument(help="Only these units; all of them by default.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="audit, gate, solution or devices; may be repeated.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="All of it, also what stands. Interrupted, it goes on where it was.")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="Only say what does not stand, and why.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; by default one per core.")] = None,
) -> None:
    """Prove units: whatever is not recorded, or was recorded before something changed. Each proof is kept as soon as it is made."""
    from course.authoring import measurements
    from course.proving import records
    from course.proving.prove import pending, standings
    from course.proving.prove import prove as carry_out

    for kind in only or ():
        if kind not in records.KINDS:
            raise CourseError(f"--only is one of {', '.join(records.KINDS)}; got {kind!r}")
    kinds = tuple(kind for kind in records.KINDS if not only or kind in only)
    root = paths.root()
    chosen = choose_exercises(units, "nothing to prove")
    if show:
        owed = standings(chosen, kinds)
        found = [one for one in owed if not one.stands]
        for one in found:
            console.print(f"{one.unit.id}: {one}", markup=False, highlight=False, soft_wrap=True)
        console.print(f"{len(owed) - len(found)} of {len(owed)} proofs stand", highlight=False)
        if found:
            raise typer.Exit(FAILED)
        return
    tasks, made_before = pending(root, chosen, kinds, again=again)
    if made_before:
        console.print(
            f"going on with an interrupted run: {made_before} of {made_before + len(tasks)} proofs are made", highlight=False
        )
    with progress_bars() as bars:
        line = bars.add_task("proofs", total=len(tasks))

        def done(unit: Unit, kind: str, found: Found) -> None:
            bars.advance(line)
            console.print(f"{unit.id}: {kind}: {found}", markup=False, highlight=False, soft_wrap=True)

        try:
            failed = carry_out(root, tasks, proofs(bars, jobs), again=again, done=done)
        finally:
            measurements.write_pages(root)
    console.print(f"{len(tasks) - len(failed)} proofs made" + (f", {len(failed)} do not hold" if failed else ""), highlight=False)
    if failed:
        raise typer.Exit(FAILED)


def proofs(bars: Progress, jobs: int | None) -> dict[str, Callable[[Unit], Found]]:
    """How each kind of proof is made and recorded."""
    from course.authoring.build import write_solution
    from course.checking.runner import fresh_seed
    from course.proving import records
    from course.proving.devices import record_devices, run_device_tests
    from course.proving.gate import run_gate
    from course.proving.prove import Found
    from course.proving.ready import solution

    def audited(unit: Unit) -> Found:
        made, accepted = audit_one(unit, bars, None, jobs, fresh_seed(), SEEDS_OF_A_VARIANT, "cpu", False, True)
        seconds = made.processor_seconds + sum(row.processor_seconds for row in accepted)
        right = made.holds() and not any(row.wrong for row in accepted)
        return Found(f"{made.killed} of {made.mutants - made.equivalent} mutants killed ({seconds:.0f} CPU s)", right)

    def gated(unit: Unit) -> Found:
        line = bars.add_task(f"{unit.id}: trainings")
        try:
            proof = run_gate(unit, jobs=jobs, progress=lambda done, total: bars.update(line, completed=done, total=total))
        finally:
            bars.remove_task(line)
        records.record_gate(proof, "cpu")
        rows = f"{len(proof.outcomes)} gates, {len(proof.contrasts)} ablations and {len(proof.shortcuts)} leaks by seed"
        return Found(rows, proof.holds)

    def solved(unit: Unit) -> Found:
        write_solution(unit)
        point = solution(records.read_record(unit))
        mark, earned = graded(unit)
        return Found(f"{point.said}; {mark}", point.ready and earned)

    def on_devices(unit: Unit) -> Found:
        ran = run_device_tests(unit)
        record_devices(unit, ran)
        return Found(f"{ran.passed} tests pass, {ran.failed} fail" + (f"\n{ran.said}" if ran.said else ""), ran.holds)

    return {"audit": audited, "gate": gated, "solution": solved, "devices": on_devices}


def graded(unit: Unit) -> tuple[str, bool]:
    """What a unit's solution earns when it is graded as a stranger's notebook, in a line, and whether that is all there is. On a host without
    the layers of the sandbox nobody can ask."""
    from course.checking.runner import fresh_seed
    from course.grading.grader import Grader, Settings
    from course.grading.submissions import Submission
    from course.sandbox.client import missing_layers

    if missing_layers():
        return "not graded: there is no sandbox on this host", True
    with Grader(Settings(fresh_seed())) as grader:
        row = grader.grade(Submission("solution", unit.id, unit.solution), unit)
    lost = "; ".join(f"{name}: {stub['message']}" for name, stub in row.stubs.items() if stub["status"] != "passed")
    said = f"graded {row.score} of {row.max_score}" + (f" ({lost or row.message})" if row.status != "passed" else "")
    return said, row.status == "passed"


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
            soft_wrap=True,
        )
    if not audits:
        console.print("nothing to audit")
