"""What our references reach beside what a user would take from a package, on the same split, in the same CPU seconds.

    python -m benchmarks.peers [--seconds 30 60 120] [--only NAME …] [--seed 0] [--wider] [--write]

A budget is processor time of this process, both threads together, of training alone. `--wider` goes on beyond a learning rate that
was the largest or the least of the three tried. `--write` keeps each contest as soon as it is done, in `benchmarks/records/`, and brings
`benchmarks/peers.md` up to date.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from importlib.metadata import version

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.peers.contest import Contest, Run, hold
from course.authoring import measurements
from course.paths import root
from course.proving import records
from course.units.catalogue import find_unit

NAMES = ("gpt", "vae", "gan", "text_to_image", "speech_to_text")
THREADS = 2


def contest(name: str) -> Contest:
    """The contest of a unit, by the last part of its name."""
    return importlib.import_module(f"benchmarks.peers.{name}").CONTEST


def told(missing: Contest) -> str:
    """One line: what is not installed, so not measured, and the commands that install it."""
    commands = dict.fromkeys(package.command for package in missing.missing)
    names = ", ".join(package.name for package in missing.missing)
    return f"{missing.unit}: not measured, without {names}; install with: {' && '.join(commands)}"


def said(unit: str, run: Run) -> str:
    """One line for a run."""
    rate = "" if run.rate is None else f", rate {run.rate:.3g}"
    figures = "  ".join(f"{name} {value:.4g}" for name, value in run.figures.items())
    return f"{unit}, {run.budget:g} s, {run.who}{rate}: {run.steps} steps in {run.spent:.1f} CPU s: {figures}"


def found(held: Contest, runs: Sequence[Run], seed: int) -> dict[str, object]:
    """What is recorded of a contest; the table is made of it."""
    return {
        "title": held.title,
        "about": held.about,
        "apart": held.apart,
        "packages": {package.name: version(package.name) for package in held.packages},
        "parameters": [held.ours.parameters(), held.peer.parameters()],
        "figures": [{"name": figure.name, "arrow": figure.arrow} for figure in held.figures],
        "chosen_by": held.chosen_by.name,
        "seed": seed,
        "threads": torch.get_num_threads(),
        "runs": [
            {
                "who": run.who,
                "budget": run.budget,
                "spent": round(run.spent, 2),
                "steps": run.steps,
                "rate": run.rate,
                "edge": run.at_the_edge,
                "tried": [list(pair) for pair in run.tried],
                "figures": {figure.name: run.figures.get(figure.name) for figure in held.figures},
            }
            for run in runs
        ],
    }


def shown(kept: dict[str, object]) -> Table:
    """The table of a contest, for a terminal."""
    header, *rows = measurements.peer_rows(kept)
    table = Table(*header, box=None, header_style="bold")
    for row in rows:
        table.add_row(*row)
    return table


def measure(options: argparse.Namespace, console: Console) -> int:
    """Hold the contests that were asked for; the number of those that could be."""
    done = 0
    for name in options.only or NAMES:
        held = contest(name)
        if held.missing:
            console.print(told(held), markup=False, highlight=False, soft_wrap=True)
            continue
        unit = find_unit(held.unit)
        if options.write:
            records.begin(unit, "peers")
        runs = []
        for run in hold(held, options.seconds, options.seed, show=console.is_terminal, wider=options.wider):
            runs.append(run)
            console.print(said(held.unit, run), markup=False, highlight=False, soft_wrap=True)
        kept = found(held, runs, options.seed)
        console.print(f"\n{held.unit} beside {held.title}", highlight=False)
        console.print(shown(kept), "")
        if options.write:
            records.keep(unit, "peers", kept)
            measurements.write_pages(root())
        done += 1
    return done


def name_of(text: str) -> str:
    """A contest's name, from its own or that of its unit."""
    last = text.rpartition("/")[2]
    if last not in NAMES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(NAMES)}")
    return last


def budget(text: str) -> float:
    """A number of CPU seconds, above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected CPU seconds such as 30, got {text!r}")
    return seconds


def main() -> None:
    """Measure, print, and keep if asked to. Exit status: 1 if nothing could be measured, 130 after an interrupt."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", nargs="+", type=budget, default=[30.0, 60.0, 120.0], help="CPU seconds of training")
    parser.add_argument("--only", nargs="+", type=name_of, metavar="NAME", help=f"only these: {', '.join(NAMES)}")
    parser.add_argument("--seed", type=int, default=0, help="of weights, batches and samples")
    parser.add_argument("--wider", action="store_true", help="try further learning rates while the best is at the edge")
    parser.add_argument("--write", action="store_true", help="keep what is found, and its table")
    options = parser.parse_args()
    torch.set_num_threads(THREADS)
    try:
        done = measure(options, Console())
    except KeyboardInterrupt:
        Console(stderr=True).print("interrupted" + ("; the contests before this one are kept" if options.write else ""))
        sys.exit(130)
    sys.exit(0 if done else 1)
