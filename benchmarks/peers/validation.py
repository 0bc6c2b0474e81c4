"""The validation parts of the training sets, on which a peer's learning rate is chosen. No part of a test set is among them."""

import torch
from jaxtyping import Bool
from torch import Tensor

from reference_impl.data import digits, python_docs
from reference_impl.data import digits_in_motion as motion

SHARE = 5  # one handwriting of so many of each digit
TOPICS = 10  # one topic of so many
VOICES = 2  # of the thirteen that the training set has


def handwriting() -> Bool[Tensor, " N"]:
    """Which of `digits.load("train")` are kept for validation: every fifth of each digit."""
    labels = digits.load("train").labels
    kept = torch.zeros(len(labels), dtype=torch.bool)
    for digit in range(digits.CLASSES):
        kept[(labels == digit).nonzero()[::SHARE, 0]] = True
    return kept


def drawn(data: digits.Digits, part: Bool[Tensor, " N"]) -> digits.Digits:
    """Some of the digits."""
    return digits.Digits(data.counts[part], data.labels[part], data.rows[part])


def pictures() -> Bool[Tensor, " N"]:
    """Which of `motion.load("train")` show a handwriting that is kept for validation."""
    rows = digits.load("train").rows[handwriting()]
    return torch.isin(motion.load("train").rows, rows)


def topics(validating: bool) -> python_docs.Documentation:
    """The topics of the training text that are kept for validation, or the rest."""
    train = python_docs.load("train")
    chosen = [i for i in range(len(train.names)) if (i % TOPICS == 0) == validating]
    return python_docs.Documentation(tuple(train.names[i] for i in chosen), tuple(train.texts[i] for i in chosen))


def utterances() -> Bool[Tensor, " U"]:
    """Which of `motion.speech("train")` are of the voices that are kept for validation."""
    voices = motion.speech("train").voices
    return torch.isin(voices, voices.unique()[-VOICES:])
