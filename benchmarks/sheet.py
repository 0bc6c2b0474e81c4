"""The picture in the README: one held-out item in four kinds, and each of them turned into the three others.

    python -m benchmarks.sheet [--item N] [--out FILE]

Row: what is given; column: what is made of it. On the diagonal stand the real things.
"""

import argparse
import io
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from course.media.convert import KINDS, step, unit_of
from course.paths import root, write_atomic
from reference_impl.convert.text_to_speech import log_mel
from reference_impl.data import digits_in_motion as motion


def draw(axes: Axes, kind: str, thing: Any) -> None:
    """One thing: a text as it is, ink on paper, the frames of a video side by side, the log-mel spectrogram of a sound."""
    axes.set_xticks([])
    axes.set_yticks([])
    if kind == "text":
        axes.text(0.5, 0.5, f"“{thing}”", ha="center", va="center", fontsize=11, style="italic", transform=axes.transAxes)
    elif kind == "speech":
        axes.imshow(log_mel(thing.cpu()[None, : motion.SAMPLES])[0], origin="lower", aspect="auto", cmap="magma")
    else:
        ink = thing.detach().cpu()
        if kind == "video":  # two rows of four frames
            ink = torch.cat([torch.cat(list(half), dim=-1) for half in ink.split(4)], dim=-2)
        axes.imshow(ink[0], cmap="gray_r", vmin=0, vmax=1)


def sheet(item: motion.Item) -> Figure:
    """Four by four: row the given kind, column the made one."""
    things = {"text": item.caption, "image": item.image, "video": item.video, "speech": item.waveform}
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    grid = figure.subplots(4, 4)
    for row, source in enumerate(KINDS):
        for column, target in enumerate(KINDS):
            axes = grid[row, column]
            made = things[source] if source == target else step(unit_of(source, target), things[source], device="cpu")
            draw(axes, target, made)
            if source == target:
                for spine in axes.spines.values():
                    spine.set(color="tab:blue", linewidth=2.5)
            if not row:
                axes.set_title(f"to {target}")
            if not column:
                axes.set_ylabel(f"from {source}", fontsize=12)
    return figure


def main() -> None:
    """Draw the sheet into a PNG."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--item", type=int, default=3, help="which of the held-out items")
    parser.add_argument("--out", type=Path, default=root() / "benchmarks" / "sheet.png")
    options = parser.parse_args()
    file = io.BytesIO()
    sheet(motion.load("test")[options.item]).savefig(file, format="png", dpi=90, metadata={"Software": None})
    write_atomic(options.out, file.getvalue())
    Console().print(f"wrote {options.out}", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
