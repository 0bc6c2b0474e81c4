"""How long after a save `aigc watch` gives its verdict, stub by stub.

    python -m benchmarks.watch [UNIT …]

The notebook holds the pictures of the executed solution, as a learner's does. A stub is written, the file renamed into its
place, and the clock runs until the line with the verdict arrives.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from rich.console import Console
from rich.table import Table

from course.authoring.build import compose, fill, to_json
from course.paths import write_atomic
from course.units.catalogue import Unit, exercises, find_unit
from course.units.source import module_with_holes

REPEATS = 3


def notebook(unit: Unit, holes: tuple[str, ...]) -> dict[str, Any]:
    """The exercise with all stubs answered but `holes`, and with the outputs of the solution."""
    solution = json.loads(unit.solution.read_text(encoding="utf-8"))
    outputs = {cell["id"]: cell.get("outputs") for cell in solution["cells"]}
    source = unit.module.read_text(encoding="utf-8")
    made = fill(compose(unit, solved=False), module_with_holes(source, holes) if holes else source)
    for cell in made["cells"]:
        if cell["cell_type"] == "code" and outputs.get(cell["id"]):
            cell["outputs"] = outputs[cell["id"]]
    return made


def wait_for(lines: IO[str], beginning: str) -> str:
    """Read on to the line that begins so."""
    for line in lines:
        if line.strip().startswith(beginning):
            return line
    raise SystemExit(f"aigc watch ended before it said {beginning!r}")


def latencies(unit: Unit, folder: Path) -> dict[str, list[float]]:
    """Stub -> seconds from the save to the verdict, of each repeat."""
    path = folder / f"{unit.name}.ipynb"
    found: dict[str, list[float]] = {stub: [] for stub in unit.stubs}
    whole = to_json(notebook(unit, ()))
    write_atomic(path, whole)
    command = [sys.executable, "-m", "course.cli", "watch", unit.id, "--notebook", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", env={**os.environ, "PYTHONIOENCODING": "utf-8"}
    ) as watching:
        assert watching.stdout is not None
        try:
            wait_for(watching.stdout, f"{unit.id}:")
            for stub in unit.stubs:
                hole = to_json(notebook(unit, (stub,)))
                for _ in range(REPEATS):
                    write_atomic(path, hole)
                    wait_for(watching.stdout, f"○ {stub}")
                    wait_for(watching.stdout, f"{unit.id}:")
                    time.sleep(0.2)
                    started = time.perf_counter()
                    write_atomic(path, whole)
                    wait_for(watching.stdout, f"✓ {stub}")
                    found[stub].append(time.perf_counter() - started)
                    wait_for(watching.stdout, f"{unit.id}:")
        finally:
            watching.terminate()
    return found


def main() -> None:
    """Print the table."""
    console = Console()
    table = Table("unit", "stub", "save to verdict, median (s)", "worst (s)", box=None, header_style="bold")
    names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for unit in [find_unit(name) for name in names] if names else exercises():
            for stub, seconds in latencies(unit, Path(folder)).items():
                table.add_row(unit.id, stub, f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")
    console.print(table)


if __name__ == "__main__":
    main()
