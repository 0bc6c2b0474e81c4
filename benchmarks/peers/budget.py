"""A budget of processor seconds, met by the number of steps: so that the learning-rate schedule of a training ends with the budget."""

import time
from collections.abc import Callable
from dataclasses import dataclass

PROBE = 1.0  # CPU seconds of the longest training that only measures the pace


@dataclass(frozen=True)
class Pace:
    """What a training costs in CPU seconds: `fixed`, whatever its length (features, a new network), and `each` of its steps."""

    fixed: float
    each: float

    def steps(self, seconds: float) -> int:
        """How many steps fit into `seconds`; at least one."""
        return max(1, round((seconds - self.fixed) / self.each))

    def seen(self, steps: int, spent: float) -> "Pace":
        """The pace after a training of so many steps took `spent` seconds: a long run tells more than the probes before it."""
        return Pace(self.fixed, max(1e-6, (spent - self.fixed) / steps))


def cpu_seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Processor time of this process, all threads together, that `work` takes."""
    started = clock()
    work()
    return clock() - started


def measure_pace(train: Callable[[int], object], probe: float = PROBE, clock: Callable[[], float] = time.process_time) -> Pace:
    """The pace of `train(steps)`, from two short trainings. One before them is not counted: it loads data and whatever loads only once."""
    few = 4
    train(few)
    short = cpu_seconds(lambda: train(few), clock)
    many, long = few, short
    while long < probe:
        many *= 2
        long = cpu_seconds(lambda: train(many), clock)  # noqa: B023 - called at once
    if many == few:  # a single step is long
        many, long = 2 * few, cpu_seconds(lambda: train(2 * few), clock)
    each = max(1e-6, (long - short) / (many - few))
    return Pace(max(0.0, short - few * each), each)
