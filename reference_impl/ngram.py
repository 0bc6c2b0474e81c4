"""The baseline of the language models: an interpolated n-gram over bytes, smoothed by the method of Witten and Bell."""

from collections import defaultdict

import torch
from jaxtyping import Float, Int
from torch import Tensor


class NGram:
    r"""Interpolated Witten-Bell n-gram: what followed the last n - 1 symbols, mixed with what followed shorter contexts.

    $$p_n(w \mid h) = \frac{c(h, w) + t(h)\, p_{n-1}(w \mid h')}{c(h) + t(h)}$$

    c(h, w): how often w followed h in training; t(h): how many different symbols did; h': h without its first symbol. The
    more ways a context has gone on, the likelier it goes on in a new one. Below the unigram lies the uniform distribution.
    Witten and Bell, *The zero-frequency problem* (1991), method C; Chen and Goodman (1998), section 2.5.
    """

    def __init__(self, order: int, symbols: int, ids: Int[Tensor, " N"]) -> None:
        if order < 1:
            raise ValueError(f"the order must be at least 1, got {order}")
        self.order, self.symbols = order, symbols
        text = bytes(ids.tolist())
        self.counts: list[dict[bytes, dict[int, int]]] = []  # one dict per length of context: context -> symbol -> count
        for length in range(order):
            table: dict[bytes, dict[int, int]] = defaultdict(dict)
            for end in range(length, len(text)):
                following = table[text[end - length : end]]
                following[text[end]] = following.get(text[end], 0) + 1
            self.counts.append(dict(table))

    def probability(self, context: bytes, symbol: int) -> float:
        """p(symbol | the last n - 1 symbols of `context`); a context shorter than that is used as far as it goes."""
        p = 1 / self.symbols
        for length in range(min(self.order, len(context) + 1)):
            following = self.counts[length].get(context[len(context) - length :])
            if following is None:  # a longer context is then unseen too
                break
            kinds = len(following)
            p = (following.get(symbol, 0) + kinds * p) / (sum(following.values()) + kinds)
        return p

    def nll(self, ids: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """-log p of each symbol of a text given those before it, in nats."""
        text = bytes(ids.tolist())
        start = self.order - 1
        p = [self.probability(text[max(0, end - start) : end], text[end]) for end in range(len(text))]
        return -torch.tensor(p, dtype=torch.float64).log()
