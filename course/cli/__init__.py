"""`aigc`: the command line of the course. A module for each group of commands, and nothing in them but words and arguments.

Never does the work itself: a command reads what was typed, calls the room whose work it is, and prints what comes back.
"""

import sys
from collections.abc import Callable
from typing import Any

import typer

from course.cli import author, browse, grade, practise, prove, study, systems
from course.cli.common import USAGE, errors
from course.errors import CourseError

# Every command, in the groups and in the order in which `aigc --help` shows them.
COMMANDS: dict[str, dict[str, Callable[..., Any]]] = {
    "Look around": {"list": browse.list_units, "path": browse.show_path, "read": browse.read, "data": browse.data_sets},
    "Work on an exercise": {
        "open": practise.open_unit,
        "lab": practise.lab,
        "check": practise.check,
        "watch": practise.watch,
        "hint": practise.hint,
        "solution": practise.solution,
        "reset": practise.reset,
    },
    "Keep going": {
        "next": study.next_steps,
        "status": study.status,
        "study": study.study,
        "anki": study.anki,
        "state": study.show_state,
        "start": study.start,
    },
    "See the systems at work": {"convert": systems.convert, "generate": systems.generate, "train": systems.train},
    "Grade": {"grade": grade.grade, "grade-merge": grade.grade_merge, "grade-compare": grade.grade_compare},
    "Make the course": {
        "build": author.build,
        "ready": prove.ready,
        "prove": prove.prove,
        "gate": prove.gate,
        "audit": prove.audit,
        "site": author.site,
    },
}

app = typer.Typer(
    help="An offline interview-prep course on generative AI: read, fill the holes, be told at once what is wrong and why.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def main(context: typer.Context) -> None:
    """With no command: the dashboard."""
    if context.invoked_subcommand is None:
        study.dashboard()


for panel, commands in COMMANDS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)


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
