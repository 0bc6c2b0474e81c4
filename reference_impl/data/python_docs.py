"""The Python language reference as plain text: the help topics of `help("for")`, which CPython ships as `pydoc_data.topics`.

79 topics, 465 KB in Python 3.11; number and size depend on the version of Python, so figures from two versions do not compare.
Whole topics are held out, about a tenth. That alone would leak: topics overlap (`compound` repeats `for`, `while` and `with`
word for word; in 3.11 a fifth of the held-out text also stands in other topics), so a training topic loses every paragraph
that stands in a held-out one. Source: https://docs.python.org/3/reference/, Python Software Foundation, PSF License Version
2.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pydoc_data.topics import topics

import torch
from jaxtyping import Int
from torch import Tensor

from reference_impl.data import Preview

SYMBOLS = 256  # a token is a byte of UTF-8


@dataclass(frozen=True)
class Documentation:
    """names: the topics, sorted; texts: their texts, in the same order."""

    names: tuple[str, ...]
    texts: tuple[str, ...]

    @property
    def text(self) -> str:
        """All topics, one after another."""
        return "\n\n".join(self.texts)

    @property
    def ids(self) -> Int[Tensor, " N"]:
        """The bytes of `text` as int64, 0 to 255. Nearly every character is a single byte (N is 0.2 % above `len`)."""
        return encode(self.text)

    def __len__(self) -> int:
        """Number of characters in `text`."""
        return len(self.text)


def encode(text: str) -> Int[Tensor, " N"]:
    """The UTF-8 bytes of `text` as int64."""
    return torch.tensor(list(text.encode()), dtype=torch.int64)


def decode(ids: Int[Tensor, " N"]) -> str:
    """The inverse of `encode`; bytes that are no UTF-8 become U+FFFD."""
    return bytes(ids.tolist()).decode(errors="replace")


def _held_out(name: str) -> bool:
    """A hash, so that a topic keeps its side when a version of Python adds others."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0


def _words(paragraph: str) -> str:
    """A paragraph apart from its indentation and line breaks, which differ between a topic and the one that quotes it."""
    return " ".join(paragraph.split())


@lru_cache(maxsize=2)
def load(split: str) -> Documentation:
    """The `train` or `test` topics. Raises ValueError for another name."""
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    test = [name for name in sorted(topics) if _held_out(name)]
    if split == "test":
        return Documentation(tuple(test), tuple(topics[name] for name in test))
    seen = {_words(paragraph) for name in test for paragraph in topics[name].split("\n\n")}
    kept = {}
    for name in sorted(set(topics) - set(test)):
        paragraphs = topics[name].split("\n\n")
        kept[name] = "\n\n".join(paragraph for paragraph in paragraphs if _words(paragraph) not in seen)
    return Documentation(tuple(kept), tuple(kept.values()))


def shared(length: int = 50) -> float:
    """Share of the windows of `length` characters of the held-out text that stand in the training text too, line breaks aside."""
    train, test = (_words(load(split).text) for split in ("train", "test"))
    seen = {train[i : i + length] for i in range(len(train) - length + 1)}
    windows = [test[i : i + length] in seen for i in range(len(test) - length + 1)]
    return sum(windows) / len(windows)


def preview() -> Preview:
    """The beginning of three topics."""
    documentation = load("train")
    return Preview(text="\n\n[...]\n\n".join(text[:1000] for text in documentation.texts[:3]))
