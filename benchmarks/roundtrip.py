"""What is left of a thing that is turned into another and back: every chain of two converters, on held-out items.

    python -m benchmarks.roundtrip [--items N] [--write]

Row A, column B: the share of items of which digit and place are right after A → B → A. On the diagonal nothing is converted:
what the judge makes of real things. A second table has the single steps A → B. `--write` keeps both as `benchmarks/roundtrip.md`
and `roundtrip.png`.
"""

import argparse
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from course.authoring.markdown import table
from course.media import files as media
from course.media.convert import KINDS, given, run, system, unit_of
from course.paths import root, write_atomic
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import motion_digit_judge, place_judge, spoken_digit_judge, spoken_place_judge
from reference_impl.runtime import track

Pair = tuple[int, str]


def read(kind: str, things: Any) -> list[Pair | None]:
    """The digit and the place in each thing, by its judge; of a text, what it says, or None if it is no caption."""
    if kind == "text":
        return [meaning(text) for text in things]
    if kind == "speech":
        digits, places = spoken_digit_judge().classify(things), spoken_place_judge().classify(things)
    else:
        pictures = things if kind == "image" else things[:, -1]
        digits, places = motion_digit_judge().classify(pictures), place_judge().classify(pictures)
    return [
        (digit, motion.PLACES[place]) if digit >= 0 and place >= 0 else None
        for digit, place in zip(digits.tolist(), places.tolist(), strict=True)
    ]


def meaning(text: str) -> Pair | None:
    """What a caption says; None if it is none."""
    try:
        return motion.meaning(text)
    except ValueError:
        return None


def convert(source: str, target: str, things: Any) -> Any:
    """Turn a batch of one kind into another; a text that is no caption cannot be drawn or said, and becomes an empty thing."""
    unit = unit_of(source, target)
    model = system(unit, device="cpu", say=Console(stderr=True).print)
    if source != "text":
        return run(unit, model, things)
    good = [text for text in things if meaning(text) is not None]
    empty = {"image": torch.zeros(1, 24, 24), "video": torch.zeros(8, 1, 24, 24), "speech": torch.zeros(motion.SAMPLES)}[target]
    made = iter(run(unit, model, good) if good else ())
    rows = [next(made).cpu() if meaning(text) is not None else empty for text in things]
    return torch.stack([media.fit(row, lambda _: None) for row in rows] if target == "speech" else rows)


def accuracy(kind: str, things: Any, split: motion.Split) -> float:
    """Share of things of which both are right."""
    wanted = [(digit, motion.PLACES[place]) for digit, place in zip(split.digits.tolist(), split.places.tolist(), strict=True)]
    found = read(kind, things)
    return sum(a == b for a, b in zip(found, wanted, strict=True)) / len(wanted)


def measure(split: motion.Split) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy of each step A → B and of each chain A → B → A, both (4, 4); the diagonals are real things."""
    steps, chains = np.zeros((4, 4)), np.zeros((4, 4))
    for a, source in track(list(enumerate(KINDS)), total=4, description="chains"):
        steps[a, a] = chains[a, a] = accuracy(source, given(source, split), split)
        for b, target in enumerate(KINDS):
            if a != b:
                there = convert(source, target, given(source, split))
                steps[a, b] = accuracy(target, there, split)
                chains[a, b] = accuracy(source, convert(target, source, there), split)
    return steps, chains


def picture(steps: NDArray[np.float64], chains: NDArray[np.float64]) -> Figure:
    """Both tables as heat maps."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, values, title in zip(figure.subplots(1, 2), (steps, chains), ("A → B", "A → B → A"), strict=True):
        axes.imshow(values, cmap="viridis", vmin=0, vmax=1)
        axes.set(title=title, xlabel="B", ylabel="A")
        axes.set_xticks(range(4), KINDS)
        axes.set_yticks(range(4), KINDS)
        for (a, b), value in np.ndenumerate(values):
            axes.text(b, a, f"{value:.0%}", ha="center", va="center", color="white" if value < 0.7 else "black")
    return figure


def markdown(values: NDArray[np.float64], corner: str) -> str:
    """A table as Markdown."""
    rows = [[f"**{kind}**", *(f"{v:.1%}" for v in row)] for kind, row in zip(KINDS, values, strict=True)]
    return "\n".join(table([corner, *KINDS], rows, right=KINDS))


def show(values: NDArray[np.float64], title: str, say: Callable[..., None]) -> None:
    """Print a table."""
    table = Table("", *KINDS, title=title, box=None, header_style="bold")
    for kind, row in zip(KINDS, values, strict=True):
        table.add_row(kind, *(f"{value:.1%}" for value in row))
    say(table)


def main() -> None:
    """Measure, print, and keep if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=150, help="how many of the 450 held-out items")
    parser.add_argument("--write", action="store_true", help="keep the tables and the picture")
    options = parser.parse_args()
    every = motion.load("test")
    split = every.select(torch.linspace(0, len(every) - 1, min(options.items, len(every))).round().long())
    steps, chains = measure(split)
    console = Console()
    show(steps, "digit and place right after A → B (diagonal: real things)", console.print)
    show(chains, "and after A → B → A", console.print)
    if options.write:
        file = io.BytesIO()
        picture(steps, chains).savefig(file, format="png", dpi=110, metadata={"Software": None})
        write_atomic(root() / "benchmarks" / "roundtrip.png", file.getvalue())
        text = (
            "# There and back\n\n"
            f"Generated by `python -m benchmarks.roundtrip --write`; do not edit. {len(split)} held-out items (handwriting and voices "
            "that training has not seen), shipped weights, digit and place both right by the judges.\n\n"
            f"![both tables as heat maps](roundtrip.png)\n\n## One step\n\n{markdown(steps, 'A → B')}\n\n"
            f"## There and back\n\n{markdown(chains, 'A → B → A')}\n\nThe diagonal: real things, not converted.\n"
        )
        write_atomic(root() / "benchmarks" / "roundtrip.md", text)


if __name__ == "__main__":
    main()
