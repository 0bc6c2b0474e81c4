"""Data sets that need no download, one a file, each with a card: `cards/<name>.md` says where it comes from and what it cannot show.

A data set `<name>` has a module `<name>` with `load(split)` and `preview()`, and a card in both languages.
"""

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Preview:
    """A few items of a data set to look at and listen to; what a set does not have is left empty.

    pictures and videos: ink in [0, 1], shown ten to a row; sounds: waveforms in [-1, 1], `rate` samples a second.
    """

    pictures: Float[Tensor, "N 1 H W"] | None = None
    videos: Float[Tensor, "N T 1 H W"] | None = None
    sounds: list[Float[Tensor, " S"]] = field(default_factory=list)
    rate: int = 0
    text: str = ""
