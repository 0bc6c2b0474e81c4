"""To work on an exercise: open it, check it, get a hint, see the solution, begin again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from course import paths
from course.checking.verdicts import NAMES, STYLES, overall
from course.cli.common import FAILED, Lang, Language, UnitName, confirm, console, errors, work_copy
from course.errors import CourseError
from course.units.catalogue import Unit, exercises, find_unit


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


def open_unit(unit: UnitName) -> None:
    """Open your copy of an exercise in JupyterLab."""
    lab(unit)


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
    from course.studying.progress import record_check
    from course.studying.state import Store
    from course.units.notebooks import answer_source, read_notebook
    from course.units.pieces import written
    from course.units.source import AnswerError

    if path.resolve() != unit.work.resolve():
        return
    try:
        answer = answer_source(read_notebook(path), unit)[1]
        record_check(Store(), unit, statuses, written(answer, statuses))
    except AnswerError:
        return  # there was nothing to read, so nothing was tried
    except CourseError as error:
        errors.print(f"this check is not remembered: {error}", markup=False, highlight=False, soft_wrap=True)


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
        from rich.syntax import Syntax

        console.print(Syntax(code, "python", theme="ansi_dark", background_color="default"))
    elif code:
        typer.echo(code)
    if closed:
        raise CourseError(
            f"not tried yet: {', '.join(closed)}. Write something of your own and run `aigc check {found.id}`, or add --give-up"
        )


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
