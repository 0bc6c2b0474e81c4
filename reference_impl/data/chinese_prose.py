"""Chinese prose on generative AI: what the Chinese pages of this course said in November 2026, without code, formulas and headings.

42 pages, 118,700 characters, 313 KB of UTF-8. It is a copy that stays as it is, so that figures measured on it stay too while the
pages go on changing. Whole pages are held out, about an eighth; no line stands on two pages. Licence: MIT, as the course.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from reference_impl.data import Preview


@dataclass(frozen=True)
class Prose:
    """names: the pages, sorted; texts: their texts, one paragraph a line, in the same order."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """All pages, one after another."""
        return "\n".join(self.texts)

    def __len__(self) -> int:
        """Number of pages."""
        return len(self.names)


def _held_out(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 8 == 0


@lru_cache(maxsize=2)
def load(split: str) -> Prose:
    """The `train` or `test` pages. Raises ValueError for another name."""
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    file = files("reference_impl.data") / "prose" / "zh.txt"  # a form feed between two pages; each begins with its name in a line
    pages = [page.partition("\n") for page in file.read_text(encoding="utf-8").split("\f")]
    kept = [(name, text) for name, _, text in pages if _held_out(name) == (split == "test")]
    return Prose(tuple(name for name, _ in kept), tuple(text for _, text in kept))


def shared(length: int = 20) -> float:
    """Share of the windows of `length` characters of the held-out pages that stand in the training pages too."""
    train, test = load("train").text, load("test").text
    seen = {train[i : i + length] for i in range(len(train) - length + 1)}
    windows = [test[i : i + length] in seen for i in range(len(test) - length + 1)]
    return sum(windows) / len(windows)


def preview() -> Preview:
    """The beginning of three pages."""
    return Preview(text="\n\n[...]\n\n".join(text[:500] for text in load("train").texts[:3]))
