"""What a test run costs, and what one more unit adds to it while nothing has changed since its records.

    python -m benchmarks.suite [--more 24] [--seed 1] [--beside CHECKOUT] [--units-only]

Copies this checkout into a temporary folder, and runs there what `make test` runs: CPU seconds of all processes, and seconds on the clock.
Then once more without the sample of believed units that is drawn and asked again, and so with some more units (a standing one under other ids,
with records that stand): what is drawn costs more than any unit adds, and from more units others would be drawn. With --beside the commands
of another checkout's `make test`, such as the last release's in its own environment, run first. The target: ten minutes on two cores, and five
CPU seconds a unit.
"""

import argparse
import itertools
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save

from course.paths import root
from reference_impl import weights

MODEL = "image/vae"  # the unit that is copied
ENOUGH_MINUTES, ENOUGH_CPU = 10.0, 5.0
TIES = "tests/course/test_site.py::test_a_term_leads_to_its_page"  # among equal copies of a page it has no first
CLONE = """
import json, sys
from course.authoring.build import build, compose, to_json
from course.paths import root, write_atomic
from course.proving import records
from course.units.catalogue import find_unit
from course.units.dependencies import hash_of

model = find_unit(sys.argv[1])
kept, shown = records.read_record(model), json.loads(model.solution.read_text(encoding="utf-8"))
for name in sys.argv[2:]:
    unit = find_unit(name)
    notebook = compose(unit, solved=True)
    outputs = {cell["id"]: cell for cell in shown["cells"]}
    for number, cell in enumerate((c for c in notebook["cells"] if c["cell_type"] == "code"), start=1):
        cell |= {"outputs": outputs[cell["id"]]["outputs"], "execution_count": number}
    text = to_json(notebook)
    write_atomic(unit.solution, text)
    for kind, found in kept.items():
        records.keep(unit, kind, {k: v for k, v in found.items() if k != "sources"} | ({"file": hash_of(text.encode())} if kind == "solution" else {}))
build(root())
"""


def copy_checkout(source: Path, target: Path) -> None:
    """What git knows of a checkout, as it stands on the disk."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=source, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / name, target / name)
    subprocess.run(["git", "init", "-q"], cwd=target, check=True)


def with_own_cards(page: str, name: str) -> str:
    """A copied page with questions of its own on its flashcards, since no two pages may ask the same."""
    parts, count = page.split("\n## "), itertools.count()
    for number, part in enumerate(parts):
        if part.startswith(("Flashcards", "闪卡")):
            parts[number] = re.sub(r"(?m)^\*\*.+?\*\*", lambda _: f"**{name}{next(count)}?**", part)
    return "\n## ".join(parts)


def rename_weights(source: Path, target: Path, unit: str) -> None:
    """The weights of a unit as those of another."""
    made = weights.about(source)
    target.write_bytes(save(load_file(source), made | {"unit": unit, "command": made["command"].replace(made["unit"], unit)}))


def add_units(folder: Path, count: int) -> None:
    """Copies of the model unit under other ids, their records standing."""
    track, name = MODEL.split("/")
    names = [f"{track}/spare_{number}" for number in range(count)]  # vae_1 would be taken for a second copy of vae by name
    sources = [
        f"questions/{MODEL}.md", f"questions/{MODEL}.zh.md", f"reference_impl/{MODEL}.py", f"tests/exercises/{track}/test_{name}.py",
        f"reference_impl/weights/{MODEL}.safetensors",
    ]  # fmt: skip
    for new in names:
        own = new.split("/")[1]
        for source in sources:
            target = folder / source.replace(f"test_{name}.py", f"test_{own}.py").replace(MODEL, new)
            if source.endswith(".safetensors"):
                rename_weights(folder / source, target, new)
                continue
            text = (folder / source).read_text(encoding="utf-8")
            for old, fresh in (
                (MODEL, new),
                (f"{track}.{name}", f"{track}.{own}"),
                (f"images/{name}.png", f"images/{own}.png"),
                (f"({name}.", f"({own}."),
            ):
                text = text.replace(old, fresh)
            if source.endswith(".md"):
                text = with_own_cards(text, own)
            target.write_text(text, encoding="utf-8")
    if names:
        run([sys.executable, "-c", CLONE, MODEL, *names], folder)


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU seconds, and seconds on the clock, of a command in a checkout. Raises SystemExit with its last lines if it fails."""
    surroundings = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    for name in ("AIGC_ROOT", "PYTHONPATH"):  # the checkout that a command is run in is found by where it is run
        surroundings.pop(name, None)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ran = subprocess.run(
        command, cwd=folder, env=surroundings, capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)[:200]} failed in {folder}:\n{ran.stdout[-3000:]}{ran.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - started


def make_test(folder: Path, seed: int, sample: int | None = None) -> tuple[float, float]:
    """What `make test` runs. sample: of how many believed units each proof is made anew, by default as many as there."""
    python, workers = sys.executable, ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "loadgroup"]
    commands = [
        [python, "-m", "ruff", "check", "."],
        [python, "-m", "ruff", "format", "--check", "."],
        [python, "-m", "mypy"],
        [python, "-m", "course.cli", "build", "--check"],
        [python, "-m", "pytest", "-q", *workers, "--from-records", "--seed", str(seed), "--deselect", TIES],
    ]
    if sample is not None:
        commands[-1] += ["--sample", str(sample)]
    took = [run(command, folder) for command in commands]
    return sum(cpu for cpu, _ in took), sum(clock for _, clock in took)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--more", type=int, default=24, help="how many units more in the last run")
    parser.add_argument("--seed", type=int, default=1, help="of the questions and of the sample")
    parser.add_argument(
        "--beside", type=Path, help="another checkout, with an environment in .venv, whose `make test` runs first"
    )
    parser.add_argument("--units-only", action="store_true", help="only what a further unit costs: the two runs without a sample")
    options = parser.parse_args()
    rows: list[tuple[str, float, float]] = []
    if options.beside:
        rows.append(("beside", *run(["make", "test"], options.beside.resolve())))
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # some tests run as another user, who has to see the course
        folder = Path(temporary) / "course"
        copy_checkout(root(), folder)
        if not options.units_only:
            rows.append(("as it is", *make_test(folder, options.seed)))
        rows.append(("without a sample", *make_test(folder, options.seed, 0)))
        add_units(folder, options.more)
        rows.append((f"{options.more} units more", *make_test(folder, options.seed, 0)))
    table = Table("make test", "CPU s", "minutes", "ratio of CPU s", box=None, header_style="bold")
    (_, bare, _), (_, grown, _) = rows[-2:]
    _, whole, seconds = rows[-2 if options.units_only else -3]
    for name, cpu, clock in rows:
        table.add_row(name, f"{cpu:.0f}", f"{clock / 60:.1f}", f"{cpu / whole:.2f}")
    Console().print(table)
    each, minutes = (grown - bare) / max(1, options.more), seconds / 60
    print(json.dumps({"cpu_seconds_a_unit": round(each, 2), "minutes": round(minutes, 1)}))
    raise SystemExit(each > ENOUGH_CPU or minutes > ENOUGH_MINUTES)


if __name__ == "__main__":
    main()
