"""What a CPU second buys: quality of every converter after 30, 60 and 120 seconds of training, and how fast one item is converted.

    python -m benchmarks.generators [UNIT …] [--budgets 30 60 120] [--device cuda] [--write]

A budget is met by the number of steps (learning-rate schedules follow it), after a few steps have shown how long one takes. All
on one thread, so that CPU seconds mean the same on every machine. With `--device cuda`: samples a second of the converter on the
GPU and its ratio to the CPU, as it is, with bfloat16 and compiled. `--write` keeps the table as `benchmarks/generators.md`.
"""

import argparse
import dataclasses
import statistics
import time
from typing import Any

import torch
from rich.console import Console

from course.catalogue import Unit, exercises, find_unit
from course.convert import given, system
from course.load import reference_module
from course.paths import root, write_atomic
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
    _, fixed = timed(few)
    _, more = timed(3 * few)
    each = max(1e-4, (more - fixed) / (2 * few))
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


def on_cpu(units: list[Unit], budgets: list[float], say: Any) -> list[list[str]]:
    """A row a unit and gate: its figure at each budget, and the latency of one item."""
    rows = []
    for unit in units:
        module: Any = reference_module(unit)
        columns: list[list[str]] = [[] for _ in module.GATES]
        reached, model = "—", None
        for budget in budgets:
            model, seconds, steps = train_for(module, budget)
            figures = module.evaluate(model, seed=0)
            for column, gate in zip(columns, module.GATES, strict=True):
                column.append(f"{figures[gate.metric]:.4g}" + ("" if gate.holds(figures) else " ✗"))
            if reached == "—" and all(gate.holds(figures) for gate in module.GATES):
                reached = f"≤ {seconds:.0f}"
            say(f"{unit.id}: {steps} steps in {seconds:.0f} CPU s")
        wait = f"{1000 * latency(unit, model):.0f} ms"
        for index, (gate, column) in enumerate(zip(module.GATES, columns, strict=True)):
            rows.append(
                [unit.id if not index else "", gate.metric, str(gate), *column, *((reached, wait) if not index else ("", ""))]
            )
    return rows


def on_gpu(units: list[Unit], device: str) -> list[list[str]]:
    """A row a unit: samples a second on the CPU and on `device`, and the ratios."""
    rows = []
    for unit in units:
        cpu = throughput(unit, "cpu")
        rates = [throughput(unit, device), throughput(unit, device, "bfloat16"), throughput(unit, device, "bfloat16", True)]
        rows.append([unit.id, f"{cpu:.0f}", *(f"{rate:.0f} ({rate / cpu:.1f}×)" for rate in rates)])
    return rows


def main() -> None:
    """Print the table, and keep it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("units", nargs="*", help="only these; all converters by default")
    parser.add_argument("--budgets", nargs="+", type=float, default=[30.0, 60.0, 120.0], help="CPU seconds of training")
    parser.add_argument("--device", default="cpu", help="cuda measures throughput there, beside the CPU")
    parser.add_argument("--write", action="store_true", help="keep the table")
    options = parser.parse_args()
    units = [find_unit(name) for name in options.units] or [unit for unit in exercises() if unit.track == "convert"]
    console = Console()
    if options.device == "cpu":
        torch.set_num_threads(1)
        header = ["unit", "figure", "gate", *(f"at {b:g} CPU s" for b in options.budgets), "CPU s to the gate", "one item"]
        rows = on_cpu(units, options.budgets, lambda line: console.print(line, highlight=False))
    else:
        header = ["unit", "CPU items/s", f"{options.device} items/s", "bfloat16", "bfloat16, compiled"]
        rows = on_gpu(units, options.device)
    lines = ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows)]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    if options.write:
        command = "python -m benchmarks.generators --write" + ("" if options.device == "cpu" else f" --device {options.device}")
        text = f"# What a CPU second buys\n\nGenerated by `{command}`; do not edit. Seed 0, one thread; ✗: misses its gate.\n\n"
        write_atomic(root() / "benchmarks" / "generators.md", text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
