"""What makes an experiment able to fail: the idea taken away, and the shortcut that would explain its figure without it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ablation:
    """A unit's own idea taken away, trained with the same budget and seeds and measured by the same `evaluate`.

    config: the unit's `Config` without the idea. metric: the figure of `evaluate` that is compared. The whole system must be
    better by a margin on every seed: `lower_by` where less is better, `higher_by` where more is (one of the two, in the
    figure's own unit, positive). Raises ValueError otherwise.
    """

    config: Any
    metric: str
    lower_by: float | None = None
    higher_by: float | None = None

    def __post_init__(self) -> None:
        given = [margin for margin in (self.lower_by, self.higher_by) if margin is not None]
        if len(given) != 1 or not given[0] > 0:
            raise ValueError(
                f"an ablation needs one positive margin, lower_by or higher_by; got {self.lower_by}, {self.higher_by}"
            )

    def margin(self, whole: float, without: float) -> float:
        """By how much the whole system is better than the one without its idea; negative where it is worse."""
        return without - whole if self.lower_by is not None else whole - without

    def holds(self, whole: float, without: float) -> bool:
        """Whether the idea wins by the stated margin; a NaN never does."""
        return self.margin(whole, without) >= (self.lower_by or self.higher_by or 0.0)

    def __str__(self) -> str:
        return f"lower by ≥ {self.lower_by:g}" if self.lower_by is not None else f"higher by ≥ {self.higher_by:g}"


@dataclass(frozen=True)
class Leak:
    """A shortcut that would explain a unit's figure, if the data let it: the last frame alone, the length, a copy of the training set.

    measure: called with seed and device, trains the cheating model in full and returns its figure on held-out data. It must
    stay near `chance` (what knows nothing reaches): at most `at_most`. Where the cheat is a fact of the data (an item of the
    test split that a judge was fitted on), chance is 0 and so is the bound.
    """

    measure: Callable[[int, str], float]
    chance: float
    at_most: float

    def holds(self, value: float) -> bool:
        """Whether the shortcut leads nowhere; a NaN never holds."""
        return value <= self.at_most

    def __str__(self) -> str:
        return f"≤ {self.at_most:g}"
