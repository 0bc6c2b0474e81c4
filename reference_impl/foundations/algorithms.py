r"""
# Data structures and algorithms

Eight structures that sit under generative systems, each with the idea that makes it cheap:

| structure | idea | cost | used for |
|---|---|---|---|
| edit script | a table over all pairs of prefixes | $O(nm)$ | word error rate, aligning, diffs |
| topological order | count what is still missing | $O(V + E)$ | backpropagation, pipelines |
| heap of size $k$ | only the weakest of the best matters | $O(n + k \log k \log n)$, random order | top-k sampling, beam search |
| LRU cache | a ring of links beside a hash table | $O(1)$ | caches of keys and values, of embeddings |
| trie | what begins alike is stored once | $O(\text{prefix} + \text{output})$ | shared prompts, constrained decoding |
| reservoir | item $t$ enters with probability $k/t$ | $O(n)$ time, $O(k)$ memory | samples of a stream of unknown length |
| alias table | every column holds two outcomes at most | $O(n)$ once, $O(1)$ a draw | negative sampling, mixtures of data |
| union-find | the smaller tree hangs under the larger | nearly $O(1)$ | merging near-duplicates |

The edit distance obeys, over prefixes of length $i$ and $j$,

$$d_{ij} = \min\bigl(d_{i-1,j-1} + s\,[a_i \ne b_j],\; d_{i-1,j} + 1,\; d_{i,j-1} + 1\bigr), \qquad d_{i0} = i,\; d_{0j} = j,$$

with $s = 1$ for Levenshtein's distance. With $s = 2$ a substitution is worth no more than a deletion and an insertion, so what
is kept is a longest common subsequence, of length $(n + m - d_{nm}) / 2$. An alias table of $n$ weights $w$ has thresholds $q$
and aliases $a$ with

$$\frac{w_i}{\sum_j w_j} = \frac1n \Bigl(q_i + \sum_{j:\, a_j = i} (1 - q_j)\Bigr).$$

**Asked in interviews.** Which words were wrong, not only how many? How does one find a circle among dependencies? Top 10 of a
billion scores, in what memory? Why does an LRU cache need two structures? When does a trie beat a sorted list? How does one
draw fairly from a stream? From a million weights in constant time? What does union by size guarantee?

Here operations are *counted* (comparisons, hashes, reads), never timed: a count is the same on every machine.

**Sources.** Wagner and Fischer, *The String-to-String Correction Problem* (1974), algorithms X and Y; Kahn, *Topological
Sorting of Large Networks* (1962); Fredkin, *Trie Memory* (1960); Vitter, *Random Sampling with a Reservoir* (1985), algorithm
R; Walker (1977) and Vose (1991) on the alias method; Tarjan and van Leeuwen, *Worst-Case Analysis of Set Union Algorithms*
(1984).

**In this course.** [Question](../../questions/foundations/algorithms.md) · [exercise](../../notebooks/foundations/algorithms.ipynb) ·
[solution](../../solutions/foundations/algorithms.ipynb)
"""

import heapq
import re
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any
from weakref import WeakSet

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from reference_impl.data import python_docs
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

# Before each exercise stands how its operations are counted: by values that count how often they are compared or hashed, and lists
# that count how often they are read. Where there is one, the way without the idea stands beside it.


@dataclass(frozen=True)
class Config:
    """Which ideas are used; without one, the task is done as its comment says. shortest: the least size, doubled four times."""

    heap: bool = True  # else everything is sorted
    missing: bool = True  # else what is left is looked at again in every round
    ring: bool = True  # else the order of use is kept in a list
    trie: bool = True  # else the entries are in a sorted list
    sizes: bool = True  # else the first root is hung under the second, and no path is shortened
    alias: bool = True  # else the sums of the weights are searched by halving
    falling: bool = True  # else every item of a stream enters the sample with the same probability
    shortest: int = 64


class Tally:
    """What was counted so far."""

    count = 0


class Counted:
    """A value of which every comparison and every hash is counted."""

    def __init__(self, value: Any, tally: Tally) -> None:
        self.value, self.tally = value, tally

    def counting(self) -> Any:
        self.tally.count += 1
        return self.value

    def __eq__(self, other: Any) -> bool:
        return self.counting() == other.value

    def __lt__(self, other: Any) -> bool:
        return self.counting() < other.value

    def __le__(self, other: Any) -> bool:
        return self.counting() <= other.value

    def __hash__(self) -> int:
        return hash(self.counting())


class CountedList(list[Any]):
    """A list of which every reading of one item is counted."""

    def __init__(self, items: Iterable[Any], tally: Tally) -> None:
        super().__init__(items)
        self.tally = tally

    def __getitem__(self, index: Any) -> Any:
        self.tally.count += 1
        return super().__getitem__(index)


def count_edit(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Comparisons of two texts of n tokens."""
    random, tally = np.random.default_rng(seed), Tally()
    a, b = ([Counted(token, tally) for token in random.integers(0, 4, n)] for _ in "ab")
    edit_script(a, b)
    return tally.count


def edit_script(a: Sequence[Any], b: Sequence[Any], substitution: int = 1) -> list[tuple[str, int, int]]:
    """A cheapest way to turn `a` into `b`: steps (what, i, j), from left to right.

    what: `keep` (a[i] is equal to b[j], for nothing), `delete` (a[i], for 1), `insert` (b[j], for 1), or `substitute` (b[j] for
    a[i], at the price `substitution`). In every step i items of `a` are used up before it and j items of `b` written. Of
    several cheapest scripts, any one. O(n m) comparisons. Raises ValueError unless `substitution` is positive. Wagner and
    Fischer (1974), algorithms X (distances) and Y (the way back).
    """
    if substitution < 1:
        raise ValueError(f"a substitution must cost 1 or more, got {substitution}")
    costs = [list(range(len(b) + 1))]  # costs[i][j]: of turning the first i items of a into the first j of b
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            row.append(min(costs[-1][j - 1] + (substitution if x != y else 0), costs[-1][j] + 1, row[-1] + 1))
        costs.append(row)
    script, i, j = [], len(a), len(b)
    while i > 0 or j > 0:
        if i > 0 and costs[i][j] == costs[i - 1][j] + 1:
            i, what = i - 1, "delete"
        elif costs[i][j] == costs[i][j - 1] + 1:  # where j is 0, the first test has held
            j, what = j - 1, "insert"
        else:
            i, j = i - 1, j - 1
            what = "keep" if costs[i + 1][j + 1] == costs[i][j] else "substitute"
        script.append((what, i, j))
    return script[::-1]


def longest_common_subsequence(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    """What a cheapest script keeps where a substitution is no bargain."""
    return [a[i] for what, i, _ in edit_script(a, b, substitution=2) if what == "keep"]


def rescanned_order(needs: dict[str, list[str]]) -> list[str]:
    """All that is left is looked at again in every round."""
    order: dict[str, None] = {}
    while left := [name for name in needs if name not in order]:
        order |= dict.fromkeys(name for name in left if all(other in order for other in needs[name]))
    return list(order)


def count_order(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Hashes for n layers, of which each needs the one before and two others; they are given in any order."""
    random, tally = np.random.default_rng(seed), Tally()
    names = [Counted(i, tally) for i in range(n)]
    needs: Any = {names[i]: [names[j] for j in (i - 1, *random.integers(0, i, 2))] if i else [] for i in random.permutation(n)}
    tally.count = 0
    (topological_sort if config.missing else rescanned_order)(needs)
    return tally.count


def topological_sort(needs: dict[str, list[str]]) -> list[str]:
    """All names in an order in which each comes after everything that it needs; what is only needed counts too.

    needs: name -> names, in any order. O(V + E), without recursion. Kahn (1962).
    Raises ValueError if some need each other in a circle.
    """
    missing = dict.fromkeys(needs, 0)  # how much of what a name needs is not in the order yet
    users: dict[str, list[str]] = {}
    for name, needed in needs.items():
        for other in needed:
            missing.setdefault(other, 0)
            missing[name] += 1
            users.setdefault(other, []).append(name)
    ready = deque(name for name, count in missing.items() if count == 0)
    order = []
    while ready:
        order.append(ready.popleft())
        for user in users.get(order[-1], []):
            missing[user] -= 1
            if missing[user] == 0:
                ready.append(user)
    if len(order) < len(missing):
        raise ValueError(f"{sorted(set(missing) - set(order))} are in a circle of needs, or behind one; expected none")
    return order


def sorted_top_k(values: Sequence[Any], k: int) -> list[int]:
    """Everything sorted."""
    return sorted(range(len(values)), key=lambda i: values[i], reverse=True)[:k]


def count_top_k(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Comparisons for the best 10 of 64 n values in any order."""
    random, tally = np.random.default_rng(seed), Tally()
    values = [Counted(value, tally) for value in random.permutation(64 * n)]
    (top_k if config.heap else sorted_top_k)(values, 10)
    return tally.count


def top_k(values: Sequence[Any], k: int) -> list[int]:
    """Positions of the k largest values, largest first; of equal ones the earlier comes first. Values need `<` and `==`, no more.

    One comparison for most values, O(log k) for those that enter a heap of size k.
    Raises ValueError unless 0 <= k <= len(values).
    """
    if not 0 <= k <= len(values):
        raise ValueError(f"k must lie in 0 to {len(values)}, the number of values; got {k}")
    heap = [(values[i], -i) for i in range(k)]  # on top the weakest of the best: the least, of equal ones the latest
    heapq.heapify(heap)
    for i in range(k, len(values)):
        if heap and heap[0][0] < values[i]:
            heapq.heapreplace(heap, (values[i], -i))
    return [-i for _, i in sorted(heap, reverse=True)]


def count_cache(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Hashes and comparisons for each use of a cache for n of 2 n keys."""
    random, tally = np.random.default_rng(seed), Tally()
    cache, keys = (LRUCache if config.ring else ListCache)(n), [Counted(i, tally) for i in range(2 * n)]
    for i in random.integers(0, 2 * n, 4 * n):
        if cache.get(keys[i]) is None:
            cache.put(keys[i], True)
    return tally.count / (4 * n)


class Link:
    """An entry of an `LRUCache` between its neighbours in the order of use; a new one is a ring of its own."""

    def __init__(self, key: Any = None, value: Any = None) -> None:
        self.key, self.value = key, value
        self.older = self.newer = self


class LRUCache:
    """Keeps the `capacity` entries used last. links: by key; end: closes the ring, from `end.newer` (used longest ago) on."""

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a cache must have room for 1 entry or more, got {capacity}")
        self.capacity = capacity
        self.links: dict[Any, Link] = {}
        self.end = Link()

    def get(self, key: Any) -> Any:
        """The value of `key`, which then counts as used last; None if it is not there. O(1)."""
        link = self.links.get(key)
        if link is None:
            return None
        self.put(key, link.value)
        return link.value

    def put(self, key: Any, value: Any) -> Any:
        """Store `value` under `key`, which then counts as used last, as `links[key]`, a `Link`. O(1).

        Returns the key that had to go for it, the one used longest ago, if the cache was full and `key` is new; else None.
        """
        link, gone = self.links.get(key), None
        if link is None and len(self.links) == self.capacity:
            gone = self.end.newer.key
            link = self.links.pop(gone)
        if link is None:
            link = Link()
        link.older.newer, link.newer.older = link.newer, link.older  # out of the ring
        link.older, link.newer = self.end.older, self.end
        link.older.newer = self.end.older = link  # back in, as the newest
        link.key, link.value = key, value
        self.links[key] = link
        return gone


class ListCache(LRUCache):
    """The order of use in a list: what is used has to be found in it."""

    def put(self, key: Any, value: Any) -> Any:
        order: list[Any] = self.__dict__.setdefault("order", [])
        if key in order:
            order.remove(key)
        gone = order.pop(0) if len(order) == self.capacity else None
        self.links.pop(gone, None)
        order.append(key)
        self.links[key] = Link(key, value)
        return gone


class SortedEntries:
    """All entries in a sorted list that is searched by halving."""

    def __init__(self, entries: Iterable[Sequence[Any]]) -> None:
        self.entries = sorted(map(list, entries))

    def complete(self, prefix: Sequence[Any], limit: int) -> list[list[Any]]:
        start = bisect_left(self.entries, list(prefix))
        found = self.entries[start : start + limit]
        while found and found[-1][: len(prefix)] != list(prefix):  # if the last one begins so, all do
            found.pop()
        return found


def count_trie(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Hashes and comparisons for the first 4 of n prompts with a given beginning; they have 3 beginnings of 64, and ends of 8."""
    random, tally = np.random.default_rng(seed), Tally()
    heads = random.integers(0, 64, (3, 64))
    entries = [[Counted(token, tally) for token in (*heads[i % 3], *random.integers(0, 4, 8))] for i in range(n)]
    known = (Trie if config.trie else SortedEntries)(entries)
    tally.count = 0
    for head in heads:
        known.complete([Counted(token, tally) for token in head], limit=4)
    return tally.count / 3


class TrieNode:
    """One beginning. children: by the token that follows; ends: whether it is also a whole entry."""

    def __init__(self) -> None:
        self.children: dict[Any, TrieNode] = {}
        self.ends = False


class Trie:
    """Sequences of tokens (or strings, whose tokens are characters), such that what begins alike is stored once."""

    def __init__(self, entries: Iterable[Sequence[Any]] = ()) -> None:
        self.root = TrieNode()
        for entry in entries:
            self.insert(entry)

    def insert(self, entry: Sequence[Any]) -> None:
        """O(len(entry)), whatever is stored already."""
        node = self.root
        for token in entry:
            node = node.children.setdefault(token, TrieNode())
        node.ends = True

    def complete(self, prefix: Sequence[Any], limit: int | None = None) -> list[list[Any]]:
        """The entries that begin with `prefix`, itself included: lists of tokens as `sorted` has them, at most the first `limit`.

        Visits the prefix and what it returns, with their siblings, however much is stored. Fredkin (1960).
        Without recursion: prompts are long.
        """
        node = self.root
        for token in prefix:
            child = node.children.get(token)
            if child is None:
                return []
            node = child
        found: list[list[Any]] = []
        waiting = [(list(prefix), node)]
        while waiting and (limit is None or len(found) < limit):
            entry, node = waiting.pop()
            if node.ends:
                found.append(entry)
            waiting += [([*entry, token], node.children[token]) for token in sorted(node.children, reverse=True)]
        return found


def count_memory(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Items of a stream that are held at once while 10 of n are chosen."""
    random, tally = np.random.default_rng(seed), Tally()
    held: WeakSet[Counted] = WeakSet()
    counts = []

    def stream() -> Iterator[Counted]:
        for i in range(n):
            item = Counted(i, tally)
            held.add(item)
            counts.append(len(held))
            yield item

    reservoir_sample(stream(), 10, random.random(n))
    return max(counts)


def reservoir_sample(stream: Iterable[Any], k: int, uniforms: Float[np.ndarray, " n"]) -> list[Any]:
    """k items of a stream, every set of k equally likely, in one pass and memory for k; all items if there are fewer.

    The first k items fill the sample in their order. A later one, number t from 0, replaces the item at place
    floor(uniforms[t] * (t + 1)) of the sample, if there is such a place; uniforms lie in [0, 1). Vitter (1985), algorithm R.
    Raises ValueError for a negative k and for fewer uniforms than items.
    """
    if k < 0:
        raise ValueError(f"a sample must have 0 items or more, got {k}")
    sample: list[Any] = []
    for t, item in enumerate(stream):
        if t >= len(uniforms):
            raise ValueError(f"expected a uniform number for each item, got {len(uniforms)} for more items than that")
        place = int(uniforms[t] * (t + 1))
        if t < k:
            sample.append(item)
        elif place < k:
            sample[place] = item
    return sample


def count_draw(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Readings for each draw from n weights."""
    random, tally = np.random.default_rng(seed), Tally()
    weights = random.random(n)
    threshold, alias = (CountedList(part.tolist(), tally) for part in alias_table(weights))
    sums = CountedList(np.cumsum(weights) / weights.sum(), tally)
    for uniform in random.random(1000):
        if config.alias:
            alias_draw(threshold, alias, uniform)
        else:
            bisect_right(range(n - 1), uniform, key=sums.__getitem__)
    return tally.count / 1000


def alias_table(weights: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Thresholds in [0, 1] and int64 aliases, such that `alias_draw` draws i with probability weights[i] / sum. O(n).

    Thresholds have the dtype of `weights`. Vose (1991).
    Raises ValueError unless all weights are 0 or more (NaN is not) and their sum is positive and finite.
    """
    n = len(weights)
    if not ((weights >= 0).all() and 0 < weights.sum() < np.inf):
        raise ValueError(f"weights must be 0 or more, with a sum that is positive and finite; got {weights}")
    threshold = weights / weights.sum() * n  # how full a column of height 1 would be of its own outcome alone
    alias = np.arange(n)
    small, large = list[int](), list[int]()
    for i in range(n):
        (small if threshold[i] < 1 else large).append(i)
    while small and large:
        i, j = small.pop(), large[-1]
        alias[i] = j  # the rest of column i is filled from j
        threshold[j] -= 1 - threshold[i]
        if threshold[j] < 1:
            small.append(large.pop())
    return np.minimum(threshold, 1), alias  # what is left is full but for rounding, and its own alias


def alias_draw(threshold: Sequence[float], alias: Sequence[int], uniform: float) -> int:
    """One outcome from one uniform number in [0, 1): times n, its whole part says which column, its fraction which half. O(1)."""
    column = int(uniform * len(alias))
    return column if uniform * len(alias) - column < threshold[column] else int(alias[column])


def count_sets(n: int, config: Config = Config(), *, seed: int = 0) -> float:
    """Readings of a parent for each union and find: n items in a chain of neighbours, n in a tournament of sets of equal size."""
    random, tally = np.random.default_rng(seed), Tally()
    sets = (UnionFind if config.sizes else ChainedSets)(2 * n)
    sets.parent = CountedList(sets.parent, tally)
    unions = [(i, i + 1) for i in range(n - 1)]
    for width in (2**level for level in range(n.bit_length() - 1)):
        starts = range(n, 2 * n - 2 * width + 1, 2 * width)
        unions += [(start + int(random.integers(width)), start + width + int(random.integers(width))) for start in starts]
    for a, b in unions:
        sets.union(a, b)
    for item in random.permutation(2 * n):
        sets.find(int(item))
    return tally.count / (len(unions) + 2 * n)


class UnionFind:
    """Sets of the items 0 to n - 1, each at first alone. parent: of a root itself; sizes: of the trees, known at their roots."""

    def __init__(self, n: int) -> None:
        self.parent = list(range(n))
        self.sizes = [1] * n

    def find(self, item: int) -> int:
        """The root of the tree of `item`. On the way each second item is hung under its grandparent (path halving)."""
        while self.parent[item] != item:
            self.parent[item] = self.parent[self.parent[item]]
            item = self.parent[item]
        return item

    def union(self, a: int, b: int) -> bool:
        """Make one set of those of `a` and `b`: hang the root of the smaller tree under the larger's. Whether they were two sets.

        No item is ever more than log2(size of its set) steps below its root. Keeps `sizes` of roots right.
        Tarjan and van Leeuwen (1984).
        """
        a, b = self.find(a), self.find(b)
        if a == b:
            return False
        if self.sizes[a] < self.sizes[b]:
            a, b = b, a
        self.parent[b] = a
        self.sizes[a] += self.sizes[b]
        return True

    def size(self, item: int) -> int:
        """How many items the set of `item` has."""
        return self.sizes[self.find(item)]

    def depth(self, item: int) -> int:
        """Steps from `item` to its root; nothing is moved."""
        return 0 if self.parent[item] == item else 1 + self.depth(self.parent[item])

    def groups(self) -> list[list[int]]:
        """The sets, each in ascending order, by their least items."""
        found: dict[int, list[int]] = {}
        for item in range(len(self.parent)):
            found.setdefault(self.find(item), []).append(item)
        return list(found.values())


class ChainedSets(UnionFind):
    """The first root under the second, whatever their sizes; no path is shortened."""

    def find(self, item: int) -> int:
        while self.parent[item] != item:
            item = self.parent[item]
        return item

    def union(self, a: int, b: int) -> bool:
        self.parent[self.find(a)] = self.find(b)
        return True


# Task -> how its operations are counted, and the power of n with which they are claimed to grow.
TASKS: dict[str, tuple[Callable[..., float], int]] = {
    "edit": (count_edit, 2),
    "order": (count_order, 1),
    "top_k": (count_top_k, 1),
    "cache": (count_cache, 0),
    "trie": (count_trie, 0),
    "sets": (count_sets, 0),
    "draw": (count_draw, 0),
    "memory": (count_memory, 0),
}


def samples_drawn(config: Config, seed: int, runs: int = 20_000) -> list[int]:
    """How often each set of 3 of 6 items was the sample of a stream."""
    uniforms, counts = np.random.default_rng(seed).random((runs, 6)), Counter[tuple[int, ...]]()
    if not config.falling:
        uniforms[:, 4:] *= 4 / np.arange(5, 7)  # floor(u (t + 1)) is below 3 with the probability that it has for t = 3
    counts.update(tuple(sorted(reservoir_sample(range(6), 3, row))) for row in uniforms)
    return [counts[chosen] for chosen in combinations(range(6), 3)]


def word_weights() -> Float[np.ndarray, "1000"]:
    """Counts of the 1,000 commonest words of Python's documentation, to the power 3/4 as for negative samples (word2vec)."""
    words = Counter(re.findall(r"[a-z_]+", python_docs.load("train").text.lower()))
    return np.array([count for _, count in words.most_common(1000)]) ** 0.75


def words_drawn(seed: int, draws: int = 100_000) -> Int[np.ndarray, "1000"]:
    """How often an alias table drew each of these words."""
    threshold, alias = (part.tolist() for part in alias_table(word_weights()))
    uniforms = np.random.default_rng(seed).random(draws).tolist()
    return np.bincount([alias_draw(threshold, alias, uniform) for uniform in uniforms], minlength=1000)


def chi_square(counts: np.ndarray | list[int], weights: np.ndarray | list[int]) -> tuple[float, float]:
    """Pearson's statistic for each degree of freedom, about 1 where counts were drawn by these weights, and its p-value."""
    from scipy.stats import chisquare

    found = chisquare(counts, np.array(weights) * (np.sum(counts) / np.sum(weights)))
    return float(found.statistic) / (len(counts) - 1), float(found.pvalue)


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """exponent_*: of a task's counted operations over sizes that double. *_operations: at the largest size, for each value or use.

    chi2_* (for each degree of freedom) and p_*: of the sets that a reservoir chose, and of the words that an alias table drew.
    """
    sizes = [config.shortest * 2**doubling for doubling in range(5)]
    figures: dict[str, float] = {}
    for task, (count, _) in TASKS.items():
        counts = [count(n, config, seed=seed) for n in sizes]
        figures[f"exponent_{task}"] = float(np.polyfit(range(5), np.log2(counts), 1)[0])
    n, rivals = sizes[-1], Config(heap=False, trie=False, alias=False)
    for task, each in (("top_k", 64 * n), ("trie", 1), ("draw", 1)):
        figures[f"{task}_operations"] = TASKS[task][0](n, config, seed=seed) / each
        figures[f"{task}_rival"] = TASKS[task][0](n, rivals, seed=seed) / each
    figures["top_k_least"] = 1 - 1 / (64 * n)  # every value but the largest has to lose at least once
    figures["chi2_sample"], figures["p_sample"] = chi_square(samples_drawn(config, seed), [1] * 20)
    figures["chi2_draw"], figures["p_draw"] = chi_square(words_drawn(seed), word_weights())
    return figures


GATES = (
    *(Gate(f"exponent_{task}", at_least=power - 0.1, at_most=power + 0.1) for task, (_, power) in TASKS.items()),
    Gate("top_k_operations", at_most=1.2, below="top_k_rival", baseline="top_k_rival", ceiling="top_k_least"),
    Gate("trie_operations", below="trie_rival", baseline="trie_rival"),
    Gate("draw_operations", at_most=2, below="draw_rival", baseline="draw_rival"),
    Gate("p_sample", at_least=0.001),
    Gate("p_draw", at_least=0.001),
)
ABLATIONS = {
    "everything sorted": Ablation(Config(heap=False), "top_k_operations", lower_by=5),
    "all that is left looked at again": Ablation(Config(missing=False), "exponent_order", lower_by=0.7),
    "the order of use in a list": Ablation(Config(ring=False), "exponent_cache", lower_by=0.7),
    "a sorted list of prompts": Ablation(Config(trie=False), "trie_operations", lower_by=200),
    "trees of any height": Ablation(Config(sizes=False), "exponent_sets", lower_by=0.7),
    "sums searched by halving": Ablation(Config(alias=False), "draw_operations", lower_by=5),
    "a constant probability": Ablation(Config(falling=False), "chi2_sample", lower_by=10),
}


def passed_by_rank(seed: int) -> float:
    """The p-value of words that were drawn by rank alone, as Zipf's law has it."""
    zipf = np.arange(1, 1001) ** -0.75
    return chi_square(np.random.default_rng(seed).multinomial(100_000, zipf / zipf.sum()), word_weights())[1]


LEAKS = {"words drawn by rank alone": Leak(lambda seed, device: passed_by_rank(seed), chance=0.0, at_most=1e-6)}


def demo() -> Figure:
    """A cheapest script as a path through its table, and how counted operations grow with each idea and without it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    a, b = "intention", "execution"
    costs = [[sum(what != "keep" for what, *_ in edit_script(a[:i], b[:j])) for j in range(10)] for i in range(10)]
    left.imshow(costs, cmap="Blues")
    for i, j in np.ndindex(10, 10):
        left.text(j, i, str(costs[i][j]), ha="center", va="center")
    path = [*((j, i) for _, i, j in edit_script(a, b)), (9, 9)]
    left.plot(*zip(*path, strict=True), "o-", color="tab:red", alpha=0.5, markersize=16)
    left.set_xticks(range(10), ["", *b])
    left.set_yticks(range(10), ["", *a])
    left.set(title=f"{a} to {b}: {costs[9][9]} edits", xlabel="written", ylabel="used up")
    sizes, without = [16, 32, 64, 128, 256], Config(missing=False, ring=False, sizes=False, alias=False)
    for colour, task in zip(("C0", "C1", "C2", "C3"), ("order", "cache", "sets", "draw"), strict=True):
        for config, style, label in ((Config(), "o-", task), (without, "x--", None)):
            counts = np.array([TASKS[task][0](n, config) for n in sizes])
            right.loglog(sizes, counts / counts[0], style, color=colour, label=label)
    right.set_xscale("log", base=2)
    right.set(title="Solid: with the idea, dashed: without", xlabel="size", ylabel="counted operations, relative to size 16")
    right.legend()
    return figure
