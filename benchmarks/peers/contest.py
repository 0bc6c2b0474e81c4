"""A reference of ours beside what a user would take instead: the same split, the same processor seconds, the same judge.

Ours runs with its own settings. The peer runs with those that were published with it, and once more with the best of three learning rates
(the published one, three times it, a third of it), chosen within the same budget on a part of the training set that it then has not seen.
"""

import dataclasses
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.peers.budget import Pace, cpu_seconds, measure_pace

FACTOR = 3.0  # between neighbouring learning rates
FURTHER = 3  # rates that a wider search may try on either side
NEAR = 0.1  # a training that misses its budget by more than this share is repeated at the pace that it showed,
AGAIN = 2  # so often at most
OURS, PUBLISHED, TUNED = "ours", "published", "tuned"  # the three runs of each budget


def count(*modules: nn.Module) -> int:
    """The numbers that training learns."""
    return sum(weight.numel() for module in modules for weight in module.parameters())


class Entrant(ABC):
    """One side of a contest. `train` is timed, `quality` is not."""

    @abstractmethod
    def train(self, steps: int, *, seed: int, show: bool = False) -> Any:
        """A model after so many steps from random weights; schedules end with the last. show: a progress bar, in a terminal."""

    @abstractmethod
    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        """Held-out figures of a trained model."""

    @abstractmethod
    def parameters(self) -> int:
        """How many numbers training learns."""


@dataclass(frozen=True)
class Reference(Entrant):
    """Ours: the unit's own `train` with the settings of its `Config`; judge: what both sides are judged by; size: of its networks."""

    module: Any
    judge: Callable[[Any, int], dict[str, float]]
    size: Callable[[], int]

    def train(self, steps: int, *, seed: int, show: bool = False) -> Any:
        config = dataclasses.replace(self.module.Config(), steps=steps)
        return self.module.train(config, device="cpu", seed=seed, progress=show)

    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        return self.judge(model, seed)

    def parameters(self) -> int:
        return self.size()


@dataclass(frozen=True)
class Peer(Entrant):
    """What a user would take instead. rate: its learning rate, by default the published one; validating: it learns from the training set
    without its validation part, and is judged on that part."""

    rate: float
    validating: bool = False


@dataclass(frozen=True)
class Package:
    """What has to be installed, under which name it is imported, and the command that installs it."""

    name: str
    module: str
    command: str = "pip install -e '.[benchmarks]' -c constraints.txt"

    @property
    def installed(self) -> bool:
        return importlib.util.find_spec(self.module) is not None


@dataclass(frozen=True)
class Figure:
    """A figure of the table, as `quality` calls it, and whether more of it is better (None: neither, such as a ratio that should be 1)."""

    name: str
    more: bool | None

    @property
    def arrow(self) -> str:
        """Which way is better, for the head of a row."""
        return {True: "↑", False: "↓", None: ""}[self.more]


@dataclass(frozen=True)
class Contest:
    """A unit beside its peer.

    figures: what is shown; chosen_by: what the learning rate is chosen by, on the validation part; packages: what the peer needs;
    about: the peer's published settings and where they are from; apart: what differs between the two sides besides.
    """

    unit: str
    title: str
    ours: Entrant
    peer: Peer
    figures: tuple[Figure, ...]
    chosen_by: Figure
    about: str
    apart: str = ""
    packages: tuple[Package, ...] = ()

    @property
    def missing(self) -> tuple[Package, ...]:
        """The packages that are not installed."""
        return tuple(package for package in self.packages if not package.installed)


@dataclass(frozen=True)
class Run:
    """One training and what it came to. who: OURS, PUBLISHED or TUNED; tried: of TUNED, the figure that each rate reached in validation."""

    who: str
    budget: float
    spent: float
    steps: int
    figures: dict[str, float]
    rate: float | None = None
    tried: tuple[tuple[float, float], ...] = ()

    @property
    def at_the_edge(self) -> bool:
        """Whether the chosen rate is the least or the largest that was tried: a better one may lie beyond."""
        rates = [rate for rate, _ in self.tried]
        return bool(rates) and self.rate in (min(rates), max(rates))


class Clock:
    """Trains entrants of one side for a number of processor seconds. It learns their pace on the way."""

    def __init__(self, seed: int, show: bool) -> None:
        self._seed, self._show = seed, show
        self._pace: Pace | None = None

    def train(self, entrant: Entrant, seconds: float) -> tuple[Any, int, float]:
        """A model, the steps that its training took, and the processor seconds: about `seconds`, as far as whole steps allow."""
        pace = self._pace or measure_pace(lambda steps: entrant.train(steps, seed=self._seed))
        for _ in range(1 + AGAIN):
            steps, made = pace.steps(seconds), []
            spent = cpu_seconds(lambda: made.append(entrant.train(steps, seed=self._seed, show=self._show)))  # noqa: B023
            self._pace = pace = pace.seen(steps, spent)
            if abs(spent - seconds) <= NEAR * seconds or pace.steps(seconds) == steps:
                break
        return made[0], steps, spent

    def run(self, entrant: Entrant, who: str, seconds: float) -> Run:
        """Train and judge."""
        model, steps, spent = self.train(entrant, seconds)
        rate = entrant.rate if isinstance(entrant, Peer) else None
        return Run(who, seconds, spent, steps, entrant.quality(model, seed=self._seed), rate)


def best_rate(
    value: Callable[[float], float], published: float, more: bool, wider: bool = False
) -> tuple[float, tuple[tuple[float, float], ...]]:
    """The learning rate with the best `value`, and the values of all that were tried, by rate: `published`, FACTOR times and a FACTORth of it.

    wider: while the best is the least or the largest of those tried, go on beyond it, up to FURTHER times. A NaN is never the best; of equal
    values the rate nearer to the published one stands.
    """
    tried: dict[int, float] = {}

    def score(power: int) -> tuple[bool, float, int]:
        if power not in tried:
            tried[power] = value(published * FACTOR**power)
        found = tried[power]
        return found == found, (found if more else -found) if found == found else 0.0, -abs(power)

    for power in (0, 1, -1):
        score(power)
    best = max(tried, key=score)
    while wider and best in (min(tried), max(tried)) and abs(best) <= FURTHER:
        score(best + (1 if best == max(tried) else -1))
        best = max(tried, key=score)
    return published * FACTOR**best, tuple((published * FACTOR**power, tried[power]) for power in sorted(tried))


def tuned(clock: Clock, contest: Contest, published: Run, wider: bool) -> Run:
    """The peer with the best of its learning rates, trained on all of the training set; `published` itself where no other is better."""
    peer, seconds, figure = contest.peer, published.budget, contest.chosen_by

    def value(rate: float) -> float:
        trying = dataclasses.replace(peer, rate=rate, validating=True)
        return clock.run(trying, TUNED, seconds).figures[figure.name]

    rate, tried = best_rate(value, peer.rate, bool(figure.more), wider)
    if rate == peer.rate:
        return dataclasses.replace(published, who=TUNED, tried=tried)
    return dataclasses.replace(clock.run(dataclasses.replace(peer, rate=rate), TUNED, seconds), tried=tried)


def hold(contest: Contest, budgets: Sequence[float], seed: int, *, show: bool = False, wider: bool = False) -> Iterator[Run]:
    """Three runs for each budget, as they are done: ours, the peer as published, and the peer with the rate that was chosen."""
    mine, theirs = Clock(seed, show), Clock(seed, show)
    for seconds in sorted(budgets):
        yield mine.run(contest.ours, OURS, seconds)
        published = theirs.run(contest.peer, PUBLISHED, seconds)
        yield published
        yield tuned(theirs, contest, published, wider)
