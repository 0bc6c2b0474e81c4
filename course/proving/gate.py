"""Outcome gates: train a system, evaluate it on held-out data, and hold the figures against what it must reach."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from course.checking.load import reference_module
from course.errors import at
from course.units.catalogue import Unit


@dataclass(frozen=True)
class Outcome:
    """One gate on one seed: its figure, the figures printed beside it, and whether it holds."""

    unit: str
    seed: int
    metric: str
    value: float
    bound: str
    baseline: float | None
    ceiling: float | None
    holds: bool
    figures: dict[str, float]
    seconds: float


def run_gate(
    unit: Unit,
    seed: int,
    device: str,
    precision: str = "float32",
    compile: bool = False,
    trained: Callable[[Any], None] = lambda model: None,
) -> Iterator[Outcome]:
    """Train with the default config on one seed and judge it by each of the module's `GATES`; `trained` is handed the model."""
    module: Any = reference_module(unit)
    for name in ("train", "evaluate", "GATES"):
        if not hasattr(module, name):
            raise at(unit.module, f"defines no {name}, so it has no gate", unit.root)
    started = time.process_time()
    model = module.train(module.Config(), device=device, seed=seed, precision=precision, compile=compile)
    seconds = time.process_time() - started
    trained(model)
    figures: dict[str, float] = module.evaluate(model, seed=seed)
    for gate in module.GATES:
        yield Outcome(
            unit=unit.id,
            seed=seed,
            metric=gate.metric,
            value=figures[gate.metric],
            bound=str(gate),
            baseline=figures[gate.baseline] if gate.baseline else None,
            ceiling=figures[gate.ceiling] if gate.ceiling else None,
            holds=gate.holds(figures),
            figures=figures,
            seconds=seconds,
        )
