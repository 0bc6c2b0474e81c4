"""What a CPU second buys: quality of every converter after 30, 60 and 120 seconds of training, and how fast one item is converted.

    python -m benchmarks.generators [UNIT …] [--budgets 30 60 120] [--device cuda] [--write]

A budget is met by the number of steps (learning-rate schedules follow it), after a few steps have shown how long one takes. All
on one thread, so that CPU seconds mean the same on every machine. With `--device cuda`: samples a second of the converter on the
GPU and its ratio to the CPU, as it is, with bfloat16 and compiled. `--write` keeps each unit as soon as it is done, in
`benchmarks/records/`, and brings `benchmarks/generators.md` up to date.
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import torch
from rich.console import Console

from course.authoring import measurements
from course.checking.load import reference_module
from course.media.convert import given, system
from course.paths import root
from course.proving import records
from course.proving.records import Trained
from course.units.catalogue import Unit, exercises, find_unit
from reference_impl.data import digits_in_motion as motion
from reference_impl.runtime import autocast

REPEATS = 5
BATCH = 256  # items converted at once where throughput is measured


def held_out(unit: Unit, count: int) -> Any:
    """Held-out things of the kind that a unit takes."""
    split = motion.load("test")
    return given(unit.name.split("_to_")[0], split.select(torch.arange(count) % len(split)))


def train_for(module: Any, seconds: float, seed: int = 0) -> tuple[Any, float, int]:
    """A model trained for about so many CPU seconds, the seconds it took, and its steps."""
    default = module.Config()

    def timed(steps: int) -> tuple[Any, float]:
        started = time.process_time()
        model = module.train(dataclasses.replace(default, steps=steps), device="cpu", seed=seed, progress=False)
        return model, time.process_time() - started

    few = max(4, default.steps // 50)
    timed(few)  # loads the data, and whatever torch does only once: else it would be taken for what a training costs at its start
    _, fixed = timed(few)
    _, more = timed(4 * few)
    each = max(1e-4, (more - fixed) / (3 * few))
    steps = max(few, round((seconds - max(0.0, fixed - few * each)) / each))
    return *timed(steps), steps


def latency(unit: Unit, model: Any) -> float:
    """Median seconds to convert one item, warm."""
    module, one = reference_module(unit), held_out(unit, 1)
    module.convert(model, one)
    spent = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        module.convert(model, one)
        spent.append(time.perf_counter() - started)
    return statistics.median(spent)


def throughput(unit: Unit, device: str, precision: str = "float32", compiled: bool = False) -> float:
    """Items converted in a second, in batches, with the weights at hand."""
    module, model, things = reference_module(unit), system(unit, device=device), held_out(unit, BATCH)
    if compiled:
        model.compile()
    spent = []
    for _ in range(REPEATS + 1):
        if device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        with autocast(torch.device(device), precision):
            module.convert(model, things)
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)
    return BATCH / statistics.median(spent[1:])  # the first compiles and warms up


def on_cpu(unit: Unit, budgets: list[float]) -> tuple[list[Trained], float]:
    """What each budget came to, and the seconds to convert one item with the last model."""
    module: Any = reference_module(unit)
    trained, model = [], None
    for budget in budgets:
        model, seconds, steps = train_for(module, budget)
        figures = module.evaluate(model, seed=0)
        values = {gate.metric: figures[gate.metric] for gate in module.GATES}
        trained.append(Trained(budget, seconds, steps, values, {gate.metric: gate.holds(figures) for gate in module.GATES}))
    return trained, latency(unit, model)


def on_gpu(unit: Unit, device: str) -> tuple[float, dict[str, float]]:
    """Items a second on the CPU, and on `device` in several ways."""
    rates = {
        "as it is": throughput(unit, device),
        "bfloat16": throughput(unit, device, "bfloat16"),
        "bfloat16, compiled": throughput(unit, device, "bfloat16", True),
    }
    return throughput(unit, "cpu"), rates


def main() -> None:
    """Measure one unit after the other, say what was found, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("units", nargs="*", help="only these; all converters by default")
    parser.add_argument("--budgets", nargs="+", type=float, default=[30.0, 60.0, 120.0], help="CPU seconds of training")
    parser.add_argument("--device", default="cpu", help="cuda measures throughput there, beside the CPU")
    parser.add_argument("--write", action="store_true", help="keep what is found, and its table")
    options = parser.parse_args()
    units = [find_unit(name) for name in options.units] or [unit for unit in exercises() if unit.track == "convert"]
    console = Console()
    if options.device == "cpu":
        torch.set_num_threads(1)
    for unit in units:
        module: Any = reference_module(unit)
        if options.device == "cpu":
            trained, wait = on_cpu(unit, options.budgets)
            for one in trained:
                figures = "  ".join(f"{key} {value:.4g}{'' if one.holds[key] else ' ✗'}" for key, value in one.values.items())
                console.print(f"{unit.id}: {one.steps} steps in {one.seconds:.0f} CPU s: {figures}", highlight=False)
            console.print(f"{unit.id}: one item in {1000 * wait:.0f} ms", highlight=False)
            if options.write:
                records.record_budgets(unit, {gate.metric: str(gate) for gate in module.GATES}, trained, wait)
        else:
            cpu, rates = on_gpu(unit, options.device)
            console.print(f"{unit.id}: {cpu:.0f} items/s on the CPU", highlight=False)
            for way, rate in rates.items():
                console.print(f"{unit.id}: {rate:.0f} items/s ({rate / cpu:.1f}×) on {options.device}, {way}", highlight=False)
            if options.write:
                records.record_throughput(unit, options.device, cpu, rates)
        if options.write:
            measurements.write_pages(root())


if __name__ == "__main__":
    main()
