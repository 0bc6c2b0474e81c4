"""To keep going: the dashboard, what is next, flashcards, and the state that all this is kept in."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from course import paths
from course.cli.common import Lang, Language, choose_track, confirm, console, path_table
from course.errors import CourseError
from course.units.catalogue import find_unit, find_units
from course.units.order import by_track, learning_path

if TYPE_CHECKING:
    from course.studying.progress import Standing
    from course.studying.state import State

AHEAD = 4  # steps of the path on the dashboard


def dashboard() -> None:
    """A line a track, what is next, and the next steps of the path: a screen, however many units. Quick: the verdicts are those of the last checks."""
    from course.studying.path import by_stage, path_of
    from course.studying.progress import survey
    from course.studying.state import Store

    state = Store().read()
    standings = survey(find_units(), state)
    show_status(standings, state)
    steps = path_of(standings)
    if ahead := by_stage(steps)["open"][:AHEAD]:
        console.print("\nopen to you, in the order of the path", style="bold")
        console.print(path_table(ahead, Language.EN))
    track = (ahead or steps)[0].standing.unit.track if steps else "TRACK"
    console.print(f"\nall {len(steps)} in order: aigc path; a track: aigc list --track {track}", highlight=False, soft_wrap=True)


def show_status(standings: list[Standing], state: State) -> None:
    """A line a track in the order of the path, the streak, and the next step."""
    from course.studying.progress import steps

    table = Table("track", "studied", "attempted", "solved", "cards due", "new", box=None, header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    tracks = by_track(standing.unit for standing in standings)
    rows = {track: [standing for standing in standings if standing.unit.track == track] for track in tracks}
    for track, own in (rows | {"all": standings}).items():
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


def status() -> None:
    """How far you are, by track: studied, attempted, solved, cards due, and your streak."""
    from course.studying.progress import survey
    from course.studying.state import Store

    state = Store().read()
    show_status(survey(find_units(), state), state)


def next_steps() -> None:
    """What to do next, and why."""
    from course.studying.progress import steps, survey
    from course.studying.state import Store

    found = steps(survey(find_units(), Store().read()))
    for number, (command, why) in enumerate(found, start=1):
        console.print(f"{number}. [bold]{command}[/]  {escape(why)}", highlight=False)
    if not found:
        console.print("nothing: all is read and solved, and no card is due")


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
    from course.studying.state import Store

    units = choose_track([find_unit(unit)] if unit else learning_path(find_units()), track)
    cards = [card for found in units for card in flashcards(found, lang)]
    if not cards:
        raise CourseError(f"{units[0].id if unit else 'this selection'} has no flashcards")
    if not sys.stdin.isatty():
        raise CourseError("study asks and waits for answers, but the input is no terminal; run it in one, without a pipe")
    session(cards, Store(), console, language=lang, only_due=due, limit=limit)


def anki(
    out: Annotated[Path, typer.Option(help="The file to write, such as deck.apkg.")],
    lang: Lang = Language.EN,
    track: Annotated[str | None, typer.Option(help="Only the cards of this track.")] = None,
) -> None:
    """The flashcards as a package for Anki. Import a newer one over it: cards are updated, not doubled."""
    from course.studying.deck import write_deck

    if out.is_dir():
        raise CourseError(f"{out} is a folder: --out needs a file, such as {out}/deck.apkg")
    count = write_deck(choose_track(learning_path(find_units()), track), lang, out)
    console.print(f"wrote {count} cards to {out}", markup=False, highlight=False, soft_wrap=True)


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


def start() -> None:
    """A tour: the dashboard, three example submissions and their verdicts, and a page of digits drawn by the reference VAE."""
    from course.studying.tour import tour

    dashboard()
    tour(console)
