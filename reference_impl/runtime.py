"""The few things that every reference module shares: device, precision, seeds, batches, schedules, progress, and what a gate is."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

S = TypeVar("S")
T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """`auto` takes CUDA, then Apple's MPS, then the CPU. Raises ValueError if a device is asked for that is not there."""
    name = str(device)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(name)
    except RuntimeError:
        raise ValueError(f"no device is called {name!r}: use auto, cpu, cuda or mps") from None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available.get(chosen.type, False):
        here = ", ".join(kind for kind, there in available.items() if there)
        raise ValueError(f"device {name!r} is not available on this machine; it has: {here}")
    return chosen


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Context for the forward pass: `float32` as it is, `bfloat16` with autocast. Raises ValueError on anything else."""
    if precision == "float32":
        return nullcontext()
    if precision == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    raise ValueError(f"precision must be float32 or bfloat16, got {precision!r}")


def maybe_compile(module: M, enabled: bool) -> M:
    """Compile `module` in place with `torch.compile` if asked to; it keeps its type, its parameters and their names."""
    if enabled:
        module.compile()
    return module


def seed_everything(seed: int) -> torch.Generator:
    """Seed torch's global generators (initialisation, dropout, device noise); return a CPU generator for batches."""
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def batches(count: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """`steps` batches of indices into `count` items, int64 `(batch_size,)`, reshuffled every epoch; a short tail is dropped."""
    if not 0 < batch_size <= count:
        raise ValueError(f"batch_size must lie in 1 to {count} (the number of items), got {batch_size}")
    made = 0
    while made < steps:
        for batch in torch.randperm(count, generator=generator).split(batch_size):
            if made == steps or len(batch) < batch_size:
                break
            yield batch
            made += 1


def one_cycle(
    optimizer: torch.optim.Optimizer, rate: float, steps: int, warm: float = 0.3
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Learning rates of `steps` steps: from `rate` / 25 up to `rate` over the share `warm` of them, then down to nearly 0, along cosines.

    The optimizer's betas stay as they are; torch's default would cycle the first one between 0.85 and 0.95. Runs so short that
    the way up would be less than two steps follow a longer plan, and stop on the way. Raises ValueError unless 0 < warm < 1 and steps > 0.
    Smith and Topin, *Super-Convergence* (2018).
    """
    if not 0 < warm < 1 or steps < 1:
        raise ValueError(f"warm must lie between 0 and 1 and steps must be positive, got {warm} and {steps}")
    planned = max(steps, math.ceil(2 / warm))  # torch divides by zero where the way up is a single step
    return torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=planned, pct_start=warm, cycle_momentum=False)


def track(items: Iterable[T], *, total: int, description: str, show: bool = True) -> Iterator[T]:
    """Pass `items` through under a progress bar; the bar appears only if `show` and the output is a terminal."""
    bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), transient=True)
    if not (show and bar.console.is_terminal):
        yield from items
        return
    with bar:
        yield from bar.track(items, total=total, description=description)


def milliseconds(work: Callable[[S], object], device: torch.device, *, prepare: Callable[[], S], times: int = 5) -> float:
    """Fastest of `times` runs of `work`, each on what `prepare` makes anew, which is not counted.

    An accelerator is waited for before the clock starts and before it stops: it goes on computing after a call has returned.
    """
    best = math.inf
    for _ in range(times):
        prepared = prepare()
        _wait_for(device)
        start = time.perf_counter()
        work(prepared)
        _wait_for(device)
        best = min(best, 1000 * (time.perf_counter() - start))
    return best


def _wait_for(device: torch.device) -> None:
    """Return once `device` has done all it was given; a CPU has when a call returns."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


@dataclass(frozen=True)
class Gate:
    """One condition on one of the figures that `evaluate` returns. All bounds given must hold.

    metric: the figure's key; at_least and at_most: fixed bounds; below and above: keys of other figures that it has to
    beat, such as a trivial baseline; baseline and ceiling: keys printed beside it (what knows nothing, what is perfect).
    """

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    below: str | None = None
    above: str | None = None
    baseline: str | None = None
    ceiling: str | None = None

    def holds(self, figures: dict[str, float]) -> bool:
        """Whether `figures` satisfy every bound; a NaN satisfies none."""
        value = figures[self.metric]
        return (
            value == value
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < figures[self.below])
            and (self.above is None or value > figures[self.above])
        )

    def __str__(self) -> str:
        bounds = [
            (f"≥ {self.at_least:g}" if self.at_least is not None else ""),
            (f"≤ {self.at_most:g}" if self.at_most is not None else ""),
            (f"< {self.below}" if self.below else ""),
            (f"> {self.above}" if self.above else ""),
        ]
        return " and ".join(bound for bound in bounds if bound)
