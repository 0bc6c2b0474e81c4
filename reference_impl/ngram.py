"""The baselines of the language models: interpolated n-grams over bytes, smoothed as Witten and Bell or as Kneser and Ney did."""

import math
from collections import Counter, defaultdict

import torch
from jaxtyping import Float, Int
from torch import Tensor


def even_mixture(one: Float[Tensor, " N"], other: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """-log of the mean of two probabilities, from -log of each, in nats."""
    return math.log(2) - torch.logaddexp(-one, -other)


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

    def probabilities(self, symbol: int, ids: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """p of one and the same symbol at each place of a text, given what stands before it."""
        text, start = bytes(ids.tolist()), self.order - 1
        p = [self.probability(text[max(0, end - start) : end], symbol) for end in range(len(text))]
        return torch.tensor(p, dtype=torch.float64)


class KneserNey(NGram):
    r"""Interpolated n-gram with modified Kneser-Ney smoothing, the strongest of its kind on texts of this size.

    $$p_n(w \mid h) = \frac{c(h, w) - D(h, w) + \sum_v D(h, v)\, p_{n-1}(w \mid h')}{\sum_v c(h, v)}$$

    What is seen once, twice or more often loses a discount D of its own, estimated for each order from how many n-grams are
    seen one to four times; h' and the mixture are as in `NGram`. Below the highest order, c(h, w) is not how often w followed
    h but after how many different symbols h w stood: what follows only one context says little about others. Chen and Goodman
    (1998), section 3.
    """

    def __init__(self, order: int, symbols: int, ids: Int[Tensor, " N"]) -> None:
        super().__init__(order, symbols, ids)
        for length in range(order - 1):  # upwards, since each needs the next as it was counted
            table: dict[bytes, dict[int, int]] = defaultdict(dict)
            for context, following in self.counts[length + 1].items():
                shorter = table[context[1:]]
                for symbol in following:
                    shorter[symbol] = shorter.get(symbol, 0) + 1
            self.counts[length] = dict(table)
        self.discounts = [self._discounts(table) for table in self.counts]

    @staticmethod
    def _discounts(table: dict[bytes, dict[int, int]]) -> tuple[float, ...]:
        """What counts of 0, 1, 2, and 3 or more lose; half of the count where a text is too small to tell."""
        seen = Counter(count for following in table.values() for count in following.values())
        y = seen[1] / max(1, seen[1] + 2 * seen[2])
        return (0.0, *(max(0.0, k - (k + 1) * y * seen[k + 1] / seen[k]) if seen[k] and y else k / 2 for k in (1, 2, 3)))

    def probability(self, context: bytes, symbol: int) -> float:
        """p(symbol | the last n - 1 symbols of `context`); a context shorter than that is used as far as it goes."""
        p = 1 / self.symbols
        for length in range(min(self.order, len(context) + 1)):
            following, discounts = self.counts[length].get(context[len(context) - length :]), self.discounts[length]
            if following is None:  # a longer context is then unseen too
                break
            count, kept = following.get(symbol, 0), sum(discounts[min(c, 3)] for c in following.values())
            p = (count - discounts[min(count, 3)] + kept * p) / sum(following.values())
        return p
