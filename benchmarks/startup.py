"""Whether the learner's screens come at once: CPU seconds of the quick commands on a course of many units, and what they are made of.

    python -m benchmarks.startup [--units 100] [--runs 5] [--beside CHECKOUT]

Writes a course of N units into a temporary folder (the standing questions, in both languages, under other ids, with requirements and with
a learner half-way through), and runs each command there as a process of its own; the least of the runs counts, since a busy machine only
adds. Ratios are to a bare interpreter. With --beside the same is measured with the code of another checkout, such as that of the last
commit. Exit status 1 if `aigc` or `aigc next` took more than LIMIT.
"""

import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fsrs import Card

from course import paths
from course.studying.cards import flashcards
from course.studying.state import Store
from course.units.catalogue import find_units

LIMIT = 0.5  # CPU seconds
TRACKS = ("concepts", "foundations", "text", "image", "audio", "video", "convert", "serving")
AIGC = ("-m", "course.cli")
COMMANDS = {
    "python": ("-c", "pass"),
    "import typer, rich": ("-c", "import typer.core, typer.main, rich.table"),
    "aigc": AIGC,
    "aigc next": (*AIGC, "next"),
    "aigc status": (*AIGC, "status"),
    "aigc path": (*AIGC, "path"),
    "aigc list": (*AIGC, "list"),
    "aigc list --json": (*AIGC, "list", "--json"),
    "aigc --help": (*AIGC, "--help"),
}
HELD = ("aigc", "aigc next")


def write_course(folder: Path, units: int, tracks: int = len(TRACKS), seed: int = 0) -> None:
    """A course of `units` questions in `tracks` tracks: the standing ones copied under other ids, each with up to two requirements."""
    draw = random.Random(seed)
    standing = find_units(paths.root())
    made: list[str] = []
    for number in range(units):
        unit = standing[number % len(standing)]
        name = f"{TRACKS[number % tracks]}/{unit.name}_{number}"
        requires = ", ".join(sorted(draw.sample(made, min(len(made), draw.randint(0, 2)))))
        for source, suffix in ((unit.question, ".md"), (unit.question_zh, ".zh.md")):
            text = re.sub(r"^requires:.*\n", "", source.read_text(encoding="utf-8"), count=1, flags=re.MULTILINE)
            text = text.replace("\n---\n", f"\nrequires: [{requires}]\n---\n", 1)
            paths.write_atomic(folder / "questions" / f"{name}{suffix}", text)
        made.append(name)


def write_learner(folder: Path, root: Path, seed: int = 0) -> None:
    """A learner half-way through the course at `root`: half of it read, a third of the exercises begun, their cards in the schedule."""
    draw, now = random.Random(seed), datetime.now(UTC)
    with Store(folder).update() as state:
        for unit in find_units(root):
            if draw.random() < 0.5:
                continue
            record = state.unit(unit.id)
            record.read = True
            if draw.random() < 0.6:
                record.verdicts = {stub: draw.choice(["passed", "passed", "todo", "failed"]) for stub in unit.stubs}
                record.tried = list(unit.stubs)
            for card in flashcards(unit):
                state.cards[card.id] = Card(len(state.cards), due=now + timedelta(hours=draw.randint(-48, 480)))
                state.reviews.append((card.id, 3, now.isoformat()))
        state.active()


def cpu_seconds(arguments: tuple[str, ...], checkout: Path, env: dict[str, str]) -> float:
    """User and system time of one run of Python with these arguments and the code of `checkout`, which must end well."""
    env = {**os.environ, **env, "PYTHONPATH": str(checkout), "COLUMNS": "80"}
    child = subprocess.Popen([sys.executable, *arguments], cwd=checkout, env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return float("nan")  # a command that the other checkout has not
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a table of CPU seconds and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=100)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another checkout to measure beside this one")
    options = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = [here, *([options.beside.resolve()] if options.beside else [])]
    with tempfile.TemporaryDirectory() as made:
        course, home = Path(made) / "course", Path(made) / "home"
        write_course(course, options.units)
        write_learner(home, course)
        env = {"AIGC_ROOT": str(course), "AIGC_HOME": str(home)}
        seconds = {
            (command, checkout): min(cpu_seconds(arguments, checkout, env) for _ in range(options.runs))
            for command, arguments in COMMANDS.items()
            for checkout in checkouts
        }
    print(
        f"{options.units} units, CPU seconds (least of {options.runs} runs)"
        + (f"; beside: {checkouts[1]}" if checkouts[1:] else "")
    )
    print(f"{'command':20}{'seconds':>9}{'× python':>10}" + (f"{'beside':>9}{'ratio':>8}" if checkouts[1:] else ""))
    for command in COMMANDS:
        own = seconds[command, here]
        line = f"{command:20}{own:9.3f}{own / seconds['python', here]:10.1f}"
        if checkouts[1:]:
            other = seconds[command, checkouts[1]]
            line += f"{other:9.3f}{own / other:8.2f}"
        print(line)
    slow = [command for command in HELD if not seconds[command, here] <= LIMIT]
    print(f"limit {LIMIT} s for {' and '.join(HELD)}: " + (f"MISSED by {', '.join(slow)}" if slow else "kept"))
    sys.exit(bool(slow))


if __name__ == "__main__":
    main()
