"""The tables of what was proven and measured: `audit.md`, `gates.md`, `generators.md` and `peers.md` in `benchmarks/`, made from the records by a
build."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from course.authoring.markdown import table
from course.paths import write_atomic
from course.proving import records
from course.proving.bars import BAR, MARKED, SEEDS_OF_A_FAKE
from course.units.catalogue import Unit, find_units

CHANGED = "†"
EDGE = "‡"
WHO = {"ours": "ours", "published": "peer, as published", "tuned": "peer, rate chosen"}


def _name(unit: Unit, kind: str, found: dict[str, Any]) -> str:
    """The unit's name, marked if what was recorded is not of the sources as they are now."""
    return unit.id + (f" {CHANGED}" if records.standing(unit, kind, {kind: found}).state in ("changed", "version") else "")


def _made_with(records: Iterable[dict[str, Any]]) -> str:
    versions = dict.fromkeys(f"Python {r['python']}, torch {r['torch']}, {r['system']}" for r in records)
    return "; ".join(versions)


def audit_page(units: Sequence[Unit]) -> str:
    """The Markdown of `benchmarks/audit.md`; empty when nothing is recorded."""
    kept = [(unit, found) for unit in units if (found := records.read_record(unit).get("audit"))]
    if not kept:
        return ""
    lines = [
        "# Audit of the tests",
        "",
        "Generated from `benchmarks/records/`, which `aigc audit UNIT --write` makes; do not edit.",
        f"{_made_with(found for _, found in kept)}.",
        "",
        "A *mutant* is the reference with one small mistake in one stub (`course/proving/mutate.py` lists the operators). It is killed if",
        "the stub's own tests reject it on the one random seed that a learner gets. *Equivalent* ones, which no test could tell,",
        "are marked with a reason beside the tests and do not count. The bar: "
        f"{BAR:.0%} killed in every unit, at most {MARKED:.0%} marked.",
        "*Right but different*: the reference of every stub and each right variant, on as many seeds as said; each fake on "
        f"{SEEDS_OF_A_FAKE}.",
        f"{CHANGED}: the unit's module, what it imports, or its tests have changed since.",
        "",
    ]
    counts = ("mutants", "equivalent", "killed")
    judged = ("variants", "wrongly_rejected", "seeds", "fakes", "wrongly_accepted")
    rows = []
    for unit, found in kept:
        mutants, equivalent, killed = (sum(stub[key] for stub in found["stubs"]) for key in counts)
        score = f"**{killed / max(1, mutants - equivalent):.1%}**"
        cells = [_name(unit, "audit", found), mutants, f"{equivalent} ({found['marks']:.1%})", killed, score]
        rows.append(cells + [found.get(key, "—") for key in judged])
    figures = [*counts, "score", "right variants", "wrongly rejected", "seeds", "fakes", "wrongly accepted"]
    lines += table(["unit", *figures], rows, right=figures)
    for unit, found in kept:
        lines += ["", f"## {unit.id}", "", f"Seed {found['seed']}, {found['processor_seconds']} processor seconds.", ""]
        rows = [[f"`{stub['stub']}`", *(stub[key] for key in counts), f"{stub['score']:.1%}"] for stub in found["stubs"]]
        lines += table(["stub", *counts, "score"], rows, right=figures)
    return "\n".join(lines) + "\n"


def gate_page(units: Sequence[Unit]) -> str:
    """The Markdown of `benchmarks/gates.md`; empty when nothing is recorded."""
    kept = [(unit, found) for unit in units if (found := records.read_record(unit).get("gate"))]
    if not kept:
        return ""
    lines = [
        "# Outcome gates",
        "",
        "Generated from `benchmarks/records/`, which `aigc gate UNIT --write` makes; do not edit.",
        f"{_made_with(found for _, found in kept)}.",
        "",
        "Every system is trained on several seeds and measured on data that neither it nor the judges have seen. *Baseline* is a",
        "trivial answer to the same question, *ceiling* what the judge says of real data. CPU seconds are those of training.",
        f"{CHANGED}: the unit's module, or what it imports, has changed since.",
        "",
    ]
    rows = []
    for unit, found in kept:
        name, seconds = _name(unit, "gate", found), ", ".join(f"{s:.0f}" for s in found["seconds"])
        if found["device"] != "cpu":
            seconds += f" ({found['device']})"
        for gate in found["gates"]:
            beside = ["—" if gate[key] is None else f"{gate[key]:.4g}" for key in ("baseline", "ceiling")]
            values = ", ".join(f"{value:.4g}" for value in gate["values"])
            rows.append([name, f"`{gate['metric']}`", gate["bound"], values, *beside, seconds])
            name = seconds = ""
    header = ["unit", "figure", "gate", "by seed", "baseline", "ceiling", "CPU s"]
    lines += table(header, rows, right=("baseline", "ceiling"))
    lines += _ablation_lines(kept)
    for unit, found in kept:
        rows = [[f"`{key}`", ", ".join(f"{v:.4g}" for v in values)] for key, values in found["figures"].items()]
        lines += ["", f"## {unit.id}", "", *table(["figure", "by seed"], rows)]
    return "\n".join(lines) + "\n"


def _by_seed(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)


def _ablation_lines(kept: Sequence[tuple[Unit, dict[str, Any]]]) -> list[str]:
    """The tables of what was taken away and of what would cheat; nothing where there is none."""
    lines: list[str] = []
    contrasts = [
        [unit.id, name, f"`{row['metric']}`", row["bound"], _by_seed(row["whole"]), _by_seed(row["without"])]
        for unit, found in kept
        for name, row in found["ablations"].items()
    ]
    if contrasts:
        lines += [
            "",
            "## Ablations",
            "",
            "The same system without one of its ideas, trained with the same budget and seeds. The whole must be better by the margin on",
            "every seed.",
            "",
            *table(["unit", "without", "figure", "margin", "whole", "without it"], contrasts),
        ]
    shortcuts = [
        [unit.id, name, row["bound"], _by_seed(row["values"]), f"{row['chance']:.4g}"]
        for unit, found in kept
        for name, row in found["leaks"].items()
    ]
    if shortcuts:
        lines += [
            "",
            "## Leaks",
            "",
            "What a model reaches on held-out data that sees only what must not give the answer away, trained in full; it must stay near",
            "chance.",
            "",
            *table(["unit", "shortcut", "may reach", "by seed", "chance"], shortcuts, right=("chance",)),
        ]
    return lines


def _budget_rows(kept: Sequence[tuple[Unit, dict[str, Any]]]) -> Iterator[list[str]]:
    for unit, found in kept:
        trained = [records.Trained(**one) for one in found["trained"]]
        held = next((f"≤ {one.seconds:.0f}" for one in trained if all(one.holds.values())), "—")
        first = [_name(unit, "budgets", found), held, f"{1000 * found['latency']:.0f} ms"]
        for metric, bound in found["bounds"].items():
            values = [f"{one.values[metric]:.4g}" + ("" if one.holds[metric] else " ✗") for one in trained]
            yield [first[0], f"`{metric}`", bound, *values, *first[1:]]
            first = ["", "", ""]


def generators_page(units: Sequence[Unit]) -> str:
    """The Markdown of `benchmarks/generators.md`; empty when nothing is recorded."""
    kept = [(unit, found) for unit in units if (found := records.read_record(unit).get("budgets"))]
    fast = [(unit, found) for unit in units if (found := records.read_record(unit).get("throughput"))]
    if not kept and not fast:
        return ""
    lines = [
        "# What a CPU second buys",
        "",
        "Generated from `benchmarks/records/`, which `python -m benchmarks.generators UNIT --write` makes; do not edit.",
        f"{_made_with(found for _, found in [*kept, *fast])}.",
        "",
        "A converter is trained for about so many CPU seconds on one thread, on seed 0; its schedules fit the steps that this allows.",
        "*To the gate*: the seconds of the first run that holds all of its gates. *One item*: to convert it, warm, on the CPU.",
        f"✗: misses its gate. {CHANGED}: the unit's module, or what it imports, has changed since.",
    ]
    budgets = sorted({one["budget"] for _, found in kept for one in found["trained"]})
    if kept:
        header = ["unit", "figure", "gate", *(f"{budget:g} CPU s" for budget in budgets), "to the gate", "one item"]
        lines += ["", *table(header, _budget_rows(kept))]
    if fast:
        ways = list(dict.fromkeys(way for _, found in fast for way in found["rates"]))
        rows = [
            [_name(unit, "throughput", found), f"{found['cpu']:.0f}", found["device"]]
            + [f"{found['rates'][way]:.0f} ({found['rates'][way] / found['cpu']:.1f}×)" for way in ways]
            for unit, found in fast
        ]
        lines += ["", "Items converted in a second, in batches, and how many times as many as on the CPU:", ""]
        lines += table(["unit", "CPU", "device", *ways], rows)
    return "\n".join(lines) + "\n"


def _budget_of(run: Mapping[str, Any]) -> str:
    return f"{run['budget']:g} CPU s"


def _rate(run: Mapping[str, Any]) -> str:
    return "—" if run["rate"] is None else f"{run['rate']:.3g}" + (f" {EDGE}" if run["edge"] else "")


def peer_rows(found: Mapping[str, Any]) -> Iterator[list[str]]:
    """The table of one contest, its head first: for each figure, and for rate, steps and seconds, a row for each of the three runs of a budget."""
    budgets = list(dict.fromkeys(_budget_of(run) for run in found["runs"]))
    by_who: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run in found["runs"]:
        by_who.setdefault(run["who"], {})[_budget_of(run)] = run

    def figure(name: str) -> Callable[[Mapping[str, Any]], str]:
        return lambda run: "—" if run["figures"][name] is None else f"{run['figures'][name]:.4g}"

    cells = {f"`{one['name']}` {one['arrow']}".strip(): figure(one["name"]) for one in found["figures"]}
    cells |= {
        "learning rate": _rate,
        "steps": lambda run: str(run["steps"]),
        "CPU s of training": lambda run: f"{run['spent']:.1f}",
    }
    yield ["figure", "of", *budgets]
    for head, cell in cells.items():
        for who, runs in by_who.items():
            if head == "learning rate" and all(run["rate"] is None for run in runs.values()):
                continue  # ours has a schedule of its own
            yield [head, WHO[who], *(cell(runs[budget]) if budget in runs else "—" for budget in budgets)]
            head = ""


def peers_page(units: Sequence[Unit]) -> str:
    """The Markdown of `benchmarks/peers.md`; empty when nothing is recorded."""
    kept = [(unit, found) for unit in units if (found := records.read_record(unit).get("peers"))]
    if not kept:
        return ""
    versions = dict.fromkeys(f"{name} {release}" for _, found in kept for name, release in found["packages"].items())
    setting = dict.fromkeys(f"seed {found['seed']}, {found['threads']} threads" for _, found in kept)
    lines = [
        "# Why not just take a package?",
        "",
        "Generated from `benchmarks/records/`, which `python -m benchmarks.peers --write` makes; do not edit.",
        f"{'; '.join(filter(None, [_made_with(found for _, found in kept), ', '.join(versions), *setting]))}.",
        "",
        "Each reference beside what a user would take instead: the same split, the same judge, and training for the same processor seconds",
        "(all threads together; evaluation is not counted). The number of steps is what these seconds allow, and every learning-rate schedule ends",
        "with the last. *As published*: the settings that come with the peer, said below with their source and with what had to differ. *Rate",
        "chosen*: the same with the best of three learning rates (the published one, three times it, a third of it; with `--wider` also on in the",
        "direction of the best), chosen in runs of the same length on a part of the training set that they had not seen, then trained on all of it.",
        "Ours runs with the settings that it has in the course, which were chosen by hand on these data sets: a close result is the peer's.",
        f"↑: more is better; ↓: less is. {EDGE}: the largest or the least of the rates tried, so a better one may lie beyond. {CHANGED}: the unit's module,",
        "or what it imports, has changed since. One run each: differences in the last digit mean nothing.",
        "",
        "To repeat it: `pip install -e '.[benchmarks]' -c constraints.txt`, `pip install --no-deps -c constraints.txt denoising-diffusion-pytorch`, and",
        "`python -m benchmarks.peers`.",
    ]  # fmt: skip
    for unit, found in kept:
        header, *rows = peer_rows(found)
        ours, theirs = found["parameters"]
        lines += ["", f"## {_name(unit, 'peers', found)} beside {found['title']}", ""]
        lines += [found["about"], "", f"{found['apart']} Ours learns {ours:,} numbers, the peer {theirs:,}.".strip(), ""]
        lines += table(header, rows, right=header[2:])
    return "\n".join(lines) + "\n"


def pages(root: Path, units: Sequence[Unit]) -> dict[Path, str]:
    """The tables that records are shown in; those without any are left out."""
    folder = root / "benchmarks"
    makers = {"audit.md": audit_page, "gates.md": gate_page, "generators.md": generators_page, "peers.md": peers_page}
    texts = {folder / name: make(units) for name, make in makers.items()}
    return {path: text for path, text in texts.items() if text}


def write_pages(root: Path) -> None:
    """Bring the tables up to date."""
    for path, text in pages(root, find_units(root)).items():
        write_atomic(path, text)
