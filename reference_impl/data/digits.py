"""Handwritten digits: 1,797 images of 8×8 pixels, bundled with scikit-learn (UCI Optical Recognition of Handwritten Digits).

Each pixel is a *count*: the original 32×32 bitmaps were cut into 4×4 blocks and the inked cells of each block were counted,
so a pixel is an integer from 0 to 16. A binomial gives each of these counts a probability and so is a valid likelihood, but not the true
one: it takes the 16 cells of a block for independent, and the cells that a stroke covers are inked together.
Source: E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49, CC BY 4.0.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor

from reference_impl.data import Preview

CLASSES = 10
SIZE = 8
LEVELS = 16  # the largest count


@dataclass(frozen=True)
class Digits:
    """counts: 0 to 16; images: the same as ink in [0, 1]; labels: 0 to 9; rows: which of scikit-learn's 1,797 images."""

    counts: Float[Tensor, "N 1 8 8"]
    labels: Int[Tensor, " N"]
    rows: Int[Tensor, " N"]

    @property
    def images(self) -> Float[Tensor, "N 1 8 8"]:
        return self.counts / LEVELS

    def __len__(self) -> int:
        return len(self.labels)


@lru_cache(maxsize=2)
def load(split: str) -> Digits:
    """The `train` (1,347) or `test` (450) part of a fixed, stratified split. Raises ValueError for another name."""
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    raw = load_digits()
    parts = train_test_split(range(len(raw.target)), test_size=450, stratify=raw.target, random_state=0)
    index = parts[0] if split == "train" else parts[1]
    counts = torch.tensor(raw.images[index], dtype=torch.float32).unsqueeze(1)  # (N, 1, 8, 8)
    return Digits(counts, torch.tensor(raw.target[index], dtype=torch.int64), torch.tensor(index, dtype=torch.int64))


def preview() -> Preview:
    """Ten handwritings (rows) of every digit (columns)."""
    digits = load("train")
    rows = torch.stack([(digits.labels == digit).nonzero()[:10, 0] for digit in range(CLASSES)], dim=1)
    return Preview(pictures=digits.images[rows.flatten()])
