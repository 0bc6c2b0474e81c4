"""To look around: units, data sets, questions and their answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from course.cli.common import Lang, Language, UnitName, console, errors
from course.errors import CourseError
from course.units.catalogue import Item, exercises, find_unit, find_units, syllabus

SHADES = {"exercise": "green", "question": "green", "to come": "dim"}


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
