"""The reference systems at work: convert a thing into another, generate, train."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from course import paths
from course.cli.common import FAILED, choose_exercises, console, errors
from course.errors import CourseError
from course.units.catalogue import Unit, find_unit, find_units

if TYPE_CHECKING:
    from course.media.convert import Comparison
    from reference_impl.verbs import Verb


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
    if steps is not None and steps.exists() and not steps.is_dir():
        raise CourseError(f"{steps} is a file: --out needs a folder, or a name with an ending")
    if steps is None:
        check_out(out, kinds[-1])

    made = itertools.count(1)

    def keep(kind: str, result: Any) -> None:
        if steps is not None:
            ending = media.KINDS[kind][0]
            write(steps / f"{next(made)}_{kind}{ending}", media.to_bytes(kind, result, ending))

    try:
        result = converter.chain(
            kinds, media.read(kinds[0], thing, say), device=device, say=say, voice=voice or converter.VOICE, keep=keep
        )
    except ValueError as error:  # of a unit: what it was given does not suit it, or there is no such device
        raise CourseError(str(error)) from None
    if out is not None and steps is None:
        write(out, media.to_bytes(kinds[-1], result, out.suffix.lower()))
    elif kinds[-1] == "text":
        typer.echo(result)


def generate(
    unit: Annotated[str | None, typer.Argument(help="A unit that generates; without one, all that do are listed.")] = None,
    thing: Annotated[
        str | None, typer.Argument(metavar="TEXT|FILE", help="What the unit takes: a text, or a .txt or .png.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file to write; a text is printed without one.")] = None,
    chosen: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the unit, such as temperature=0.5.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Another seed draws another result.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
) -> None:
    """Let a system of the course make something: aigc generate text/gpt "The value of" --set length=300"""
    from course.media import generate as generator

    if unit is None:
        show_verbs(generator.able(find_units()))
        return
    found = find_unit(unit)
    verb = generator.verb_of(found)
    check_out(out, verb.gives)
    options = generator.settings(verb, chosen or (), seed)
    made = generator.make(found, verb, generator.given(verb, thing, say), options, device=device, say=say)
    if out is None:
        typer.echo(made)
    else:
        write(out, generator.to_bytes(verb, made, out.suffix.lower()))


def show_verbs(able: list[tuple[Unit, Verb]]) -> None:
    """Which units generate, from what, and what may be set."""
    table = Table("unit", "takes", "gives", "try", "--set", box=None, header_style="bold")
    for unit, verb in able:
        options = " ".join(f"{name}={default}" for name, default in verb.settings.items() if name != "seed")
        table.add_row(unit.id, verb.takes, verb.gives, escape(verb.example), escape(options))
    console.print(table)


def say(line: str) -> None:
    """A line beside the result, for people."""
    errors.print(line, markup=False, highlight=False, soft_wrap=True)


def check_out(path: Path | None, kind: str) -> None:
    """Raises CourseError unless a thing of a kind can be written to a file of this name; a text needs none."""
    from course.media import files as media

    if path is None:
        if kind != "text":
            raise CourseError(f"{kind} needs a file to be written to: --out result{media.KINDS[kind][0]}")
        return
    if path.is_dir():
        raise CourseError(f"{path} is a folder: --out needs a file, such as {path}/result{media.KINDS[kind][0]}")
    if media.kind_of(path) != kind:
        raise CourseError(f"--out {path} is a name for {media.kind_of(path)}, and the result is {kind}")


def write(path: Path, content: bytes) -> None:
    """Write a result as a whole, and say so."""
    try:
        paths.write_atomic(path, content)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror}") from None
    say(f"wrote {path}")


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
    chosen = choose_exercises(units, "nothing to train")

    def tell(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    held = True
    try:
        for unit in chosen:
            if verify:
                held &= show_comparison(unit, converter.verify(unit, device=device))
            elif ship:
                tell(f"wrote {converter.ship(unit, converter.trained_weights(unit, device, seed), seed, device=device)}")
            else:
                converter.train(unit, device=device, seed=seed, say=tell)
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
