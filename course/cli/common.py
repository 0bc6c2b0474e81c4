"""What the groups of commands share: where they print, the options that several take, a question to the person."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from course import paths
from course.errors import CourseError
from course.units.catalogue import Unit, exercises, find_unit

if TYPE_CHECKING:
    from rich.progress import Progress

    from course.studying.path import Step

USAGE, FAILED = 2, 1
STEPS = {"solved": "green", "read": "green", "begun": "yellow", "new": "dim"}  # the colours of a step's state


UnitName = Annotated[str, typer.Argument(help="A unit's id, such as image/vae, or its last part where that is enough.")]


class Language(enum.StrEnum):
    """The languages of the pages."""

    EN = "en"
    ZH = "zh"


Lang = Annotated[Language, typer.Option(envvar="AIGC_LANG", help="en or zh.")]


console = Console(emoji=False)


errors = Console(stderr=True, emoji=False)


def confirm(question: str, option: str) -> bool:
    """Ask on the terminal; anything but y or yes is no. Raises CourseError where nobody can answer."""
    if not sys.stdin.isatty():
        raise CourseError(f"this asks first ({question}), but the input is no terminal; add {option} to say so beforehand")
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        console.print()
        return False


def choose_track(units: list[Unit], track: str | None) -> list[Unit]:
    """The units of a track, or all. Raises CourseError that names the tracks."""
    tracks = dict.fromkeys(unit.track for unit in units)
    if track is not None and track not in tracks:
        raise CourseError(f"there is no track {track!r}; tracks are: {', '.join(tracks)}")
    return [unit for unit in units if track in (None, unit.track)]


def choose_exercises(names: list[str] | None, nothing: str) -> list[Unit]:
    """The units of these names, or all that have code. Raises CourseError on a concept question, which has `nothing`."""
    units = [find_unit(name) for name in names] if names else exercises()
    for unit in units:
        if unit.is_concept:
            raise CourseError(f"{unit.id} is a concept question: it has {nothing}")
    return units


def progress_bars() -> Progress:
    """Bars for work that takes long: on the terminal's error stream, none where that is no terminal, gone when all is done."""
    from rich.progress import Progress  # which most commands do without

    return Progress(console=errors, transient=True, disable=not errors.is_terminal)


def work_copy(unit: Unit) -> Path:
    """The learner's copy of an exercise, made on first use; an existing one is never touched."""
    if not unit.notebook.is_file():
        raise CourseError(f"{unit.describe()['notebook']} does not exist; run `aigc build`")
    if not unit.work.exists():
        paths.write_atomic(unit.work, unit.notebook.read_bytes())
        console.print(f"made your copy: {unit.work.relative_to(unit.root)}", markup=False, highlight=False)
    return unit.work


def path_table(steps: list[Step], lang: Language) -> Table:
    """A line a step: its number, unit, title, the learner's state, and the numbers of what it requires, yellow where that is unknown.

    Where the terminal is narrow the title is cut, or left out: the rest is to be typed, or says what comes first.
    """
    rows = [(str(step.number), step.standing.unit.id, step.state_in(lang), step.requires_in(lang)) for step in steps]
    room = console.width - sum(max(map(cell_len, column)) + 2 for column in zip(*rows, strict=True))
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(justify="right")
    table.add_column()
    if room >= 8:
        table.add_column(max_width=room - 2)
    for step, (number, unit, state, requires) in zip(steps, rows, strict=True):
        title = [escape(step.standing.unit.title_in(lang))] if room >= 8 else []
        shade = "yellow" if step.missing else "dim"
        table.add_row(number, unit, *title, f"[{STEPS[step.state]}]{state}[/]", f"[{shade}]{requires}[/]")
    for column in table.columns:
        column.no_wrap = True
    return table
