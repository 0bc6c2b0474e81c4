"""The task of text/attention, to name the token seen `delay` steps ago, and what can be guessed of it without looking there."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor


def sequences(vocabulary: int, count: int, length: int, *, seed: int) -> Int[Tensor, "N T"]:
    """`count` random sequences of the task, on the CPU: every token is drawn by itself, so no other tells what it was."""
    return torch.randint(vocabulary, (count, length), generator=torch.Generator().manual_seed(seed))


def accuracy(guess: Callable[[Tensor], Tensor], vocabulary: int, delay: int, length: int, *, seed: int) -> float:
    """Share of right guesses on 256 fresh sequences of `length` tokens.

    guess: from tokens (N, T) to what it takes for the tokens seen `delay` steps before each of them, (N, T).
    """
    ids = sequences(vocabulary, 256, length, seed=10_000 + seed)  # other sequences than those of training
    return (guess(ids)[:, delay:] == ids[:, :-delay]).float().mean().item()


def most_frequent(ids: Int[Tensor, "N T"]) -> Int[Tensor, "N T"]:
    """The token seen most often before each position: the best guess of what is blind to order."""
    counted = F.one_hot(ids)  # (N, T, V)
    return (counted.cumsum(dim=1) - counted).argmax(dim=-1)


def likeliest_answers(ids: Int[Tensor, "N T"], vocabulary: int, delay: int) -> Int[Tensor, " V"]:
    """For each token the one that stood most often `delay` steps before it, counted in `ids`."""
    pairs = vocabulary * ids[:, delay:] + ids[:, :-delay]  # the token and its answer as one number
    return pairs.flatten().bincount(minlength=vocabulary**2).view(vocabulary, vocabulary).argmax(dim=1)  # (V,)
