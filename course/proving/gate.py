"""Outcome gates: train a system, its ablations and its shortcuts, evaluate on held-out data, and hold the figures against what must be reached."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from course.checking.load import reference_module
from course.errors import CourseError, at
from course.proving.forks import Ended, cores, forked
from course.units.catalogue import Unit

LONGEST = 4 * 3600.0  # CPU seconds that one training may take before it is ended
Report = Callable[[int, int], None]  # how many trainings are done, of how many


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


@dataclass(frozen=True)
class Contrast:
    """One ablation on one seed: the figure of the whole system, without its idea, and whether the idea wins by its margin."""

    unit: str
    ablation: str
    seed: int
    metric: str
    whole: float
    without: float
    bound: str
    holds: bool
    seconds: float


@dataclass(frozen=True)
class Shortcut:
    """One leak on one seed: what the cheating model reaches, what knowing nothing does, and whether it stays as low as demanded."""

    unit: str
    leak: str
    seed: int
    value: float
    chance: float
    bound: str
    holds: bool


@dataclass(frozen=True)
class Proof:
    """All that a gate found of a unit, seed by seed. weights: of the first seed, as a file's bytes, if they were asked for."""

    unit: Unit
    outcomes: tuple[Outcome, ...]
    contrasts: tuple[Contrast, ...] = ()
    shortcuts: tuple[Shortcut, ...] = ()
    weights: bytes = b""

    @property
    def holds(self) -> bool:
        rows: tuple[Outcome | Contrast | Shortcut, ...] = (*self.outcomes, *self.contrasts, *self.shortcuts)
        return all(row.holds for row in rows)

    def rows(self) -> list[dict[str, Any]]:
        """As `aigc gate --json` prints it: an object per gate, ablation or leak and seed."""
        return [
            *({"kind": "gate", **asdict(row)} for row in self.outcomes),
            *({"kind": "ablation", **asdict(row)} for row in self.contrasts),
            *({"kind": "leak", **asdict(row)} for row in self.shortcuts),
        ]

    def by_ablation(self) -> dict[str, list[Contrast]]:
        """Ablation -> its rows by seed."""
        return {name: [row for row in self.contrasts if row.ablation == name] for name in _names(self.contrasts, "ablation")}

    def by_leak(self) -> dict[str, list[Shortcut]]:
        """Leak -> its rows by seed."""
        return {name: [row for row in self.shortcuts if row.leak == name] for name in _names(self.shortcuts, "leak")}


def _names(rows: Iterable[Any], key: str) -> list[str]:
    return list(dict.fromkeys(getattr(row, key) for row in rows))


@dataclass(frozen=True)
class Settings:
    """How a system is trained: on which device, `float32` or `bfloat16`, with `torch.compile` or without."""

    device: str = "cpu"
    precision: str = "float32"
    compile: bool = False


@dataclass(frozen=True)
class Measured:
    """A system trained and evaluated: its figures, CPU seconds of training, and its weights as a file's bytes if asked for."""

    figures: dict[str, float]
    seconds: float
    weights: bytes = b""


def tables(unit: Unit) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    """`GATES`, `ABLATIONS` and `LEAKS` of a module. Raises CourseError naming the module if one of them is not what it must be."""
    from reference_impl.experiments import Ablation, Leak

    module: Any = reference_module(unit)
    for name in ("Config", "evaluate", "GATES"):
        if not hasattr(module, name):
            raise at(unit.module, f"defines no {name}, so it has no gate", unit.root)
    whole = module.Config()
    found = []
    for name, kind in (("ABLATIONS", Ablation), ("LEAKS", Leak)):
        table = getattr(module, name, {})
        if not isinstance(table, dict) or not all(isinstance(row, kind) for row in table.values()):
            raise at(unit.module, f"{name} must map names to {kind.__name__}(…) of reference_impl.experiments", unit.root)
        found.append(table)
    for name, ablation in found[0].items():
        if type(ablation.config) is not type(whole):
            raise at(unit.module, f"the config of the ablation {name!r} is no Config", unit.root)
        if ablation.config == whole:
            raise at(unit.module, f"the ablation {name!r} takes nothing away: its config is the default", unit.root)
    return tuple(module.GATES), found[0], found[1]


def measure(unit: Unit, config: Any, seed: int, settings: Settings, *, keep: bool = False) -> Measured:
    """Train with `config` on one seed and evaluate on held-out data."""
    module: Any = reference_module(unit)
    started = time.process_time()
    options = {"device": settings.device, "precision": settings.precision, "compile": settings.compile}
    model = module.train(config, seed=seed, progress=False, **options)
    seconds = time.process_time() - started
    figures: dict[str, float] = {key: float(value) for key, value in module.evaluate(model, seed=seed).items()}
    if keep:
        from reference_impl import weights

        return Measured(figures, seconds, weights.to_bytes(unit.id, model, config, seed))
    return Measured(figures, seconds)


def compute(unit: Unit, config: Any, seed: int) -> Measured:
    """The figures of a unit that trains nothing: `evaluate(config, seed=…)`."""
    module: Any = reference_module(unit)
    started = time.process_time()
    figures: dict[str, float] = {key: float(value) for key, value in module.evaluate(config, seed=seed).items()}
    return Measured(figures, time.process_time() - started)


def run_gate(
    unit: Unit,
    seeds: int = 3,
    settings: Settings = Settings(),
    *,
    jobs: int | None = None,
    keep: bool = False,
    ablations: bool = True,
    progress: Report = lambda done, total: None,
) -> Proof:
    """Train the whole system and each of its ablations on seeds 0, 1, …, measure each leak, and hold all of it against the module's bounds.
    What trains nothing is only evaluated.

    On the CPU every training has a process and a thread of its own, `jobs` at a time; on another device, and where a system cannot
    fork, one follows the other in this process.
    Raises CourseError if a training fails, or if a gate or an ablation names a figure that `evaluate` does not return.
    """
    gates, without, leaks = tables(unit)
    if not ablations:
        without, leaks = {}, {}
    module: Any = reference_module(unit)
    arms: dict[tuple[str, str, int], Callable[[], Any]] = {}
    for seed in range(seeds):
        arms["whole", "", seed] = _arm(unit, module.Config(), seed, settings, keep and seed == 0)
    for seed in range(seeds):
        for name, ablation in without.items():
            arms["ablation", name, seed] = _arm(unit, ablation.config, seed, settings, False)
        for name, leak in leaks.items():
            arms["leak", name, seed] = _leak(unit, leak, seed, settings.device)
    found = dict(zip(arms, _carry_out(unit, list(arms.values()), settings, jobs, progress), strict=True))
    whole: dict[int, Measured] = {seed: found["whole", "", seed] for seed in range(seeds)}
    _named(unit, whole[0].figures, gates, without)
    outcomes = tuple(
        Outcome(
            unit=unit.id,
            seed=seed,
            metric=gate.metric,
            value=made.figures[gate.metric],
            bound=str(gate),
            baseline=made.figures[gate.baseline] if gate.baseline else None,
            ceiling=made.figures[gate.ceiling] if gate.ceiling else None,
            holds=gate.holds(made.figures),
            figures=made.figures,
            seconds=made.seconds,
        )
        for seed, made in whole.items()
        for gate in gates
    )
    contrasts = tuple(
        Contrast(
            unit.id, name, seed, ablation.metric, whole[seed].figures[ablation.metric], made.figures[ablation.metric],
            str(ablation), ablation.holds(whole[seed].figures[ablation.metric], made.figures[ablation.metric]), made.seconds,
        )
        for name, ablation in without.items()
        for seed in range(seeds)
        for made in [found["ablation", name, seed]]
    )  # fmt: skip
    shortcuts = tuple(
        Shortcut(unit.id, name, seed, value, leak.chance, str(leak), leak.holds(value))
        for name, leak in leaks.items()
        for seed in range(seeds)
        for value in [found["leak", name, seed]]
    )
    return Proof(unit, outcomes, contrasts, shortcuts, whole[0].weights)


def _arm(unit: Unit, config: Any, seed: int, settings: Settings, keep: bool) -> Callable[[], Measured]:
    if not hasattr(reference_module(unit), "train"):
        return lambda: compute(unit, config, seed)
    return lambda: measure(unit, config, seed, settings, keep=keep)


def _leak(unit: Unit, leak: Any, seed: int, device: str) -> Callable[[], float]:
    return lambda: float(leak.measure(seed, device))


def _carry_out(
    unit: Unit, tasks: list[Callable[[], Any]], settings: Settings, jobs: int | None, progress: Report
) -> Iterator[Any]:
    """What each task returns, in their order."""

    def guarded(task: Callable[[], Any]) -> Callable[[], Any]:
        def work() -> Any:
            try:
                return task()
            except ValueError as error:  # of a unit: there is no such device or precision
                raise CourseError(str(error)) from None

        return work

    results: dict[int, Any] = {}
    if settings.device != "cpu" or "fork" not in multiprocessing.get_all_start_methods():
        for index, task in enumerate(tasks):
            results[index] = guarded(task)()
            progress(len(results), len(tasks))
    else:
        for index, outcome in forked([guarded(task) for task in tasks], [LONGEST] * len(tasks), jobs or cores()):
            if isinstance(outcome, Ended):
                raise at(unit.module, f"a training of its gate {outcome.status}: {outcome.message.strip()}", unit.root)
            if isinstance(outcome, Exception):
                raise outcome
            results[index] = outcome
            progress(len(results), len(tasks))
    return (results[index] for index in range(len(tasks)))


def _named(unit: Unit, figures: dict[str, float], gates: tuple[Any, ...], without: dict[str, Any]) -> None:
    """Raises CourseError if a bound is on a figure that `evaluate` does not return."""
    asked = {key for gate in gates for key in (gate.metric, gate.below, gate.above, gate.baseline, gate.ceiling) if key}
    for key in sorted(asked | {ablation.metric for ablation in without.values()}):
        if key not in figures:
            raise at(
                unit.module, f"a bound is on {key!r}, which evaluate() does not return; it has: {', '.join(figures)}", unit.root
            )
