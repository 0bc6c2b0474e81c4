"""To look around: units, data sets, questions and their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from course.checking.verdicts import NAMES, STYLES, overall
from course.cli.common import Lang, Language, UnitName, choose_track, console, errors, path_table
from course.errors import CourseError
from course.units.catalogue import Item, find_unit, find_units, syllabus
from course.units.order import by_track

if TYPE_CHECKING:
    from course.studying.progress import Standing

SHADES = {"exercise": "green", "question": "green", "to come": "dim"}
FOLDED = {"done": 0, "open": 8, "later": 4}  # so many steps of the path are shown where it is folded: a screen of 24 lines


def list_units(
    track: Annotated[str | None, typer.Option(help="Only this track, such as image.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    only_exercises: Annotated[bool, typer.Option("--exercises", help="Only the units with code: their ids, one a line.")] = False,
    by_code: Annotated[bool, typer.Option("--syllabus", help="Every code of the syllabus, and what covers it.")] = False,
) -> None:
    """The units of the course, by track, and how far you are with each."""
    found = find_units()
    if by_code:
        if only_exercises or track:
            raise CourseError(f"--{'track' if track else 'exercises'} and --syllabus are two different lists: choose one")
        list_syllabus(syllabus(found), as_json)
        return
    units = [unit for unit in choose_track(found, track) if not (only_exercises and unit.is_concept)]
    if as_json:
        typer.echo(json.dumps([unit.describe() for unit in units], ensure_ascii=False, indent=2))
        return
    if only_exercises:
        for unit in units:
            typer.echo(unit.id)
        return
    from course.studying.progress import survey
    from course.studying.state import Store

    chosen = {unit.id for unit in units}
    console.print(unit_table([standing for standing in survey(found, Store().read()) if standing.unit.id in chosen]))


def unit_table(standings: list[Standing]) -> Table:
    """A row a unit, from standings in the order of the path, those of a track together."""
    table = Table("unit", "title", "标题", "difficulty", "syllabus", "your answer", box=None, header_style="bold")
    for column in table.columns:
        column.no_wrap = column.header in ("unit", "difficulty", "your answer")
    table.columns[2].overflow = "fold"  # Chinese has no spaces to break a line at
    by_id = {standing.unit.id: standing for standing in standings}
    for own in by_track(standing.unit for standing in standings).values():
        for unit in own:
            stars = "★" * unit.difficulty + "☆" * (5 - unit.difficulty)
            answer = answer_in_words(by_id[unit.id])
            table.add_row(unit.id, escape(unit.title), escape(unit.title_zh), stars, " ".join(unit.syllabus), answer)
    return table


def answer_in_words(standing: Standing) -> str:
    """Markup for how far the learner is with a unit: the verdict of the last check, or whether a concept question is read."""
    verdicts = standing.verdicts
    if standing.unit.is_concept:
        return "[green]read[/]" if standing.studied else "[dim]to read[/]"
    if verdicts is None:
        return f"[dim]{NAMES['absent']}[/]"
    verdict, passed = overall(verdicts)
    return f"[{STYLES[verdict]}]{NAMES[verdict]}, {passed} of {len(verdicts)}[/]"


def show_path(
    track: Annotated[str | None, typer.Option(help="Only the steps of this track, such as image.")] = None,
    whole: Annotated[bool, typer.Option("--all", help="Every step, also those that are done or far away.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
    lang: Lang = Language.EN,
) -> None:
    """The order in which to learn the units: what each requires, how far you are, and what is open to you now."""
    from course.studying.path import WORDS, by_stage, path_of
    from course.studying.progress import survey
    from course.studying.state import Store

    units = find_units()
    chosen = {unit.id for unit in choose_track(units, track)}
    steps = [step for step in path_of(survey(units, Store().read())) if step.standing.unit.id in chosen]
    if as_json:
        typer.echo(json.dumps([step.describe() for step in steps], ensure_ascii=False, indent=2))
        return
    words, stages = WORDS[lang], by_stage(steps)
    console.print(words["counts"].format(len(steps), *map(len, stages.values())), highlight=False)
    for stage, own in stages.items():
        shown = own if whole or track else own[: FOLDED[stage]]
        if not shown:
            continue
        console.print(f"\n{words[stage]}", style="bold", highlight=False)
        console.print(path_table(shown, lang))
        if len(own) > len(shown):
            console.print("  " + words["more"].format(len(own) - len(shown), "aigc path --all"), style="dim", highlight=False)


def list_syllabus(items: list[Item], as_json: bool) -> None:
    """Code, question, unit and state, a row for each unit that covers a code; then how much is still to come."""
    if as_json:
        typer.echo(json.dumps([item.describe() for item in items], ensure_ascii=False, indent=2))
        return
    table = Table("code", "question", "题目", "unit", "state", box=None, header_style="bold")
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
