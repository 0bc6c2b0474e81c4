"""Builds what is generated: exercise notebooks, executed solutions, links between the pages, and the README's index.

Everything derives from three authored files a unit. Ids and order are fixed, so building twice changes nothing.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from course.authoring import measurements, pictures
from course.authoring.lint import lint_course
from course.authoring.markdown import table
from course.authoring.slim import slim
from course.errors import CourseError, at
from course.paths import write_atomic
from course.proving import records
from course.units.catalogue import TRACKS_ZH, Unit, find_units
from course.units.dependencies import hash_of
from course.units.order import by_track, learning_path
from course.units.source import Segment, cut_holes, find_definition, owner, parse_module

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


# --- notebooks ---------------------------------------------------------------------------------------------------------


def _slug(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9]+", "-", text).strip("-")


def cell_id(segment: Segment) -> str:
    """The id of the cell that holds `segment`, but for a number where two would have the same."""
    return f"{segment.kind}-{_slug(segment.name)}".rstrip("-")


def _markdown(identity: str, text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": identity, "metadata": {}, "source": text}


def _code(identity: str, text: str, tags: Iterable[str] = ()) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    return {"cell_type": "code", "execution_count": None, "id": identity, "metadata": metadata, "outputs": [], "source": text}


def _header(unit: Unit, docstring: str, solved: bool) -> str:
    other = f"[exercise](../../notebooks/{unit.id}.ipynb)" if solved else f"[solution](../../solutions/{unit.id}.ipynb)"
    links = (
        f"[Question](../../questions/{unit.id}.md) · [中文问题](../../questions/{unit.id}.zh.md) · "
        f"[module](../../reference_impl/{unit.id}.py) · {other}"
    )
    task = (
        "This is the solution: the reference module, executed."
        if solved
        else f"**Your task.** Fill in the bodies of {', '.join(f'`{stub}`' for stub in unit.stubs)}, and run the check below each. "
        "All else is given and works: your functions drive the real training loop and the demo at the end."
    )
    text = docstring.partition("**In this course.**")[0].rstrip()
    return "\n".join([text, "", "---", links, "", task])


def _exercise(unit: Unit, stub: str) -> str:
    """The markdown before a stub: its name and its hints, folded away."""
    lines = [f"### ✏️ {stub}", ""]
    for number, (english, chinese) in enumerate(
        zip(unit.pages["en"].hints[stub], unit.pages["zh"].hints[stub], strict=True), start=1
    ):
        lines += [f"<details><summary>Hint {number} · 提示 {number}</summary>", "", english, "", chinese, "", "</details>", ""]
    return "\n".join(lines).rstrip()


def compose(unit: Unit, *, solved: bool) -> dict[str, Any]:
    """The notebook of a unit as nbformat 4.5 JSON, without outputs: with holes, or `solved`."""
    docstring, segments = parse_module(unit.module.read_text(encoding="utf-8"))
    cells = [_markdown("title", _header(unit, docstring, solved))]
    setup = f'from course.notebook import checks_for\n\ncheck = checks_for("{unit.id}")'
    cells.append(_code("setup", setup))
    if unit.track == "convert":
        cells.append(
            _markdown(
                "finished",
                "## Finished, it does this\n\nHeld-out things, by the reference with weights that come with the course.",
            )
        )
        cells.append(_code("show", f'from course.notebook import show\n\nshow("{unit.id}")', ["show"]))
    used: set[str] = {cell["id"] for cell in cells}

    def unique(identity: str) -> str:
        candidate, n = identity[:60], 2
        while candidate in used:
            candidate, n = f"{identity[:56]}-{n}", n + 1
        used.add(candidate)
        return candidate

    for segment in segments:
        stubs = [stub for stub in unit.stubs if owner(stub) == segment.name]
        for stub in stubs:
            cells.append(_markdown(unique(f"exercise-{_slug(stub)}"), _exercise(unit, stub)))
        text = segment.text if solved or not stubs else cut_holes(segment.text, stubs)
        tags = ["stub"] if stubs else ["given"]
        cells.append(_code(unique(cell_id(segment)), text, tags))
        for stub in stubs:
            cells.append(_code(unique(f"check-{_slug(stub)}"), f'check("{stub}")', ["check"]))
    cells.append(_markdown("all", "## All together\n\nEvery check once more, then your system at work."))
    cells.append(_code("check", "check()", ["check"]))
    if any(segment.name == "demo" for segment in segments):
        cells.append(_code("demo-run", "figure = demo()", ["demo"]))
    return {
        "cells": cells,
        "metadata": {"kernelspec": KERNEL, "language_info": {"name": "python"}, "aigc": {"unit": unit.id}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def to_json(notebook: dict[str, Any]) -> str:
    """A notebook as it is written to disk: as Jupyter itself writes it, keys sorted, sources in lines."""
    node = nbformat.from_dict(notebook)
    nbformat.validate(node)
    return str(nbformat.writes(node)) + "\n"


def fill(notebook: dict[str, Any], source: str) -> dict[str, Any]:
    """A copy of a notebook with holes in which the cells of stubs hold the definitions found in `source`."""
    import ast
    import copy

    _, segments = parse_module(source)
    answers = {segment.name: segment.text for segment in segments if segment.kind in ("function", "class")}
    filled = copy.deepcopy(notebook)
    for cell in filled["cells"]:
        if "stub" in cell["metadata"].get("tags", []):
            name = next(node.name for node in ast.parse(cell["source"]).body if hasattr(node, "name"))
            if name in answers:
                cell["source"] = answers[name]
                continue
            for answer in [key for key in answers if find_definition(ast.parse(cell["source"]).body, key)]:
                cell["source"] = answers[answer]
    return filled


def stale_solution(unit: Unit) -> str:
    """Why the solution on disk is not what the sources say, in words; empty when it is."""
    try:
        content = unit.solution.read_bytes()
        existing = json.loads(content)
    except FileNotFoundError:
        return "is missing"
    except ValueError:
        return "is not JSON"
    expected = json.loads(to_json(compose(unit, solved=True)))

    def authored(notebook: dict[str, Any]) -> list[tuple[str, str, Any]]:
        return [(cell["id"], cell["cell_type"], cell["source"]) for cell in notebook["cells"]]

    if authored(existing) != authored(expected):
        return "differs from the module"
    record = records.read_record(unit)
    standing = records.standing(unit, "solution", record)
    if not standing.stands:
        return standing.reason
    if record["solution"].get("file") != hash_of(content):
        return "is not the file that was executed"
    outputs = [output for cell in existing["cells"] for output in cell.get("outputs", [])]
    if any(output["output_type"] == "error" for output in outputs) or not outputs:
        return "has no outputs, or an error among them"
    return ""


# Fifty steps of a small training, which is what demos do, in CPU seconds of one core; and what they take on the core for which
# bounds on seconds are meant: that of the first records, by demos that have not changed since and were timed again beside it.
YARDSTICK_SECONDS = 0.25
YARDSTICK = """
import time, torch
torch.set_num_threads(1)
def steps():
    x, w = torch.randn(32, 16, 24, 24), torch.randn(32, 16, 3, 3, requires_grad=True)
    for _ in range(50):
        torch.nn.functional.conv2d(x, w, padding=1).square().mean().backward()
steps()  # what is slow the first time
begun = time.process_time()
steps()
print(time.process_time() - begun)
"""


def slowness() -> float:
    """By how much one core of this machine is slower now than that one; at least 1. A shared processor may take twice as long from one
    hour to the next."""
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run([sys.executable, "-c", YARDSTICK], env=surroundings, capture_output=True, text=True, check=True).stdout
    return max(1.0, float(said) / YARDSTICK_SECONDS)


@dataclass(frozen=True)
class Executed:
    """A solution as it is written to disk, and the CPU seconds that all of it and its demo took, on one core.

    slowness: of the machine meanwhile; seconds are those of a core that is not slow.
    """

    text: str
    seconds: float
    demo_seconds: float
    slowness: float


def execute(unit: Unit, timeout: int = 600) -> Executed:
    """Execute the solved notebook in a fresh kernel of this interpreter. Raises CourseError naming the module if a cell fails."""
    import psutil
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    class ThisInterpreter(KernelSpecManager):
        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return KernelSpec(argv=argv, display_name=KERNEL["display_name"], language="python")

    before = slowness()
    node = nbformat.from_dict(compose(unit, solved=True))
    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    clock: dict[str, float] = {}  # cell id -> CPU seconds of the kernel after it

    def used() -> float:
        times = psutil.Process(manager.provisioner.pid).cpu_times()
        return float(times.user + times.system)

    client = NotebookClient(
        node, km=manager, timeout=timeout, record_timing=False, resources={"metadata": {"path": str(unit.root)}},
        on_cell_execute=lambda cell, cell_index: clock.update({f"before {cell.id}": used()}),
        on_cell_executed=lambda cell, cell_index, execute_reply: clock.update({cell.id: used()}),
    )  # fmt: skip
    try:
        # One thread, so that seconds are those of one core; a home of its own, since weights that were trained on this machine would go
        # before those of the course. The kernel's own log is no output; if it dies, nbclient says so. It ends with its notebook.
        with tempfile.TemporaryDirectory() as home:
            surroundings = {**os.environ, "AIGC_ROOT": str(unit.root), "AIGC_HOME": home, "OMP_NUM_THREADS": "1"}
            client.execute(cleanup_kc=True, env=surroundings, stderr=subprocess.DEVNULL)
    except CellExecutionError as error:
        raise at(unit.module, f"its solution does not run: {error.ename}: {error.evalue}", unit.root) from None
    for number, cell in enumerate((cell for cell in node.cells if cell.cell_type == "code"), start=1):
        cell.execution_count = number  # nbval takes a cell with outputs and no number for one that was never run
        cell.outputs = [slim(_quiet(output)) for output in cell.outputs if not _is_noise(output)]
    node.metadata.language_info = {"name": "python"}
    nbformat.validate(node)
    demo = clock["demo-run"] - clock["before demo-run"] if "demo-run" in clock else 0.0
    slow = min(before, slowness())  # the lesser: something beside it for a moment must not excuse a slow demo
    return Executed(str(nbformat.writes(node)) + "\n", max(clock.values()) / slow, demo / slow, slow)


def write_solution(unit: Unit) -> None:
    """Execute a solution, write it, and keep in its record what it was executed from and what it took."""
    records.begin(unit, "solution")
    made = execute(unit)
    write_atomic(unit.solution, made.text)
    content = made.text.encode()
    records.keep(unit, "solution", {
        "file": hash_of(content), "bytes": len(content), "seconds": round(made.seconds, 1), "demo_seconds": round(made.demo_seconds, 1),
        "slowness": round(made.slowness, 2),
    })  # fmt: skip


def _is_noise(output: Any) -> bool:
    return output.output_type == "stream" and output.name == "stderr"


def _quiet(output: Any) -> Any:
    if "execution_count" in output:
        output.execution_count = None
    return output


# --- pages -------------------------------------------------------------------------------------------------------------


def between(text: str, name: str, content: str, path: Path) -> str:
    """`text` with what stands between the markers of `name` replaced. Raises CourseError if the markers are not there."""
    start, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if text.count(start) != 1 or text.count(end) != 1 or text.index(start) > text.index(end):
        raise CourseError(f"{path.name}: needs the two lines {start} and {end}, once each and in this order")
    head, rest = text.split(start)
    return f"{head}{start}\n{content}\n{end}{rest.split(end)[1]}"


def page_links(unit: Unit, language: str) -> str:
    """The line of links under a question's front matter."""
    other = f"[中文]({unit.name}.zh.md)" if language == "en" else f"[English]({unit.name}.md)"
    if unit.is_concept:
        return other
    names = {
        "en": ("Exercise notebook", "Solution", "Reference module"),
        "zh": ("练习笔记本", "参考解答", "参考实现"),
    }[language]
    paths = (f"notebooks/{unit.id}.ipynb", f"solutions/{unit.id}.ipynb", f"reference_impl/{unit.id}.py")
    return " · ".join([*(f"[{name}](../../{path})" for name, path in zip(names, paths, strict=True)), other])


def with_links(text: str, links: str) -> str:
    """A question with its line of links, put between markers right below the front matter."""
    block = f"<!-- links:start -->\n{links}\n<!-- links:end -->"
    if "<!-- links:start -->" in text:
        return re.sub(r"<!-- links:start -->.*?<!-- links:end -->", lambda _: block, text, count=1, flags=re.DOTALL)
    return re.sub(r"(\A---\n.*?\n---\n)\n*", lambda match: f"{match[1]}\n{block}\n\n", text, count=1, flags=re.DOTALL)


INDEX = {
    "en": ("question", "difficulty", "exercise", "solution", "reference", "notebook", "solution", "module"),
    "zh": ("题目", "难度", "练习", "解答", "参考实现", "notebook", "解答", "模块"),
}


def readme_index(units: list[Unit], language: str) -> str:
    """The course by track, as Markdown tables: exercises with their files, and concept questions as a list; in the order of the path."""
    lines: list[str] = []
    head, names = INDEX[language][:5], INDEX[language][5:]
    for track, own in by_track(learning_path(units)).items():
        lines += [f"### {TRACKS_ZH.get(track, track) if language == 'zh' else track}", ""]
        concepts = [unit for unit in own if unit.is_concept]
        rows = []
        for unit in (unit for unit in own if not unit.is_concept):
            code = unit.describe()
            links = [f"[{name}]({code[key]})" for name, key in zip(names, ("notebook", "solution", "module"), strict=True)]
            rows.append([_title_link(unit, language), "★" * unit.difficulty + "☆" * (5 - unit.difficulty), *links])
        if rows:
            lines += [*table(head, rows), ""]
        if concepts:
            lines += [" · ".join(_title_link(unit, language) for unit in concepts), ""]
    return "\n".join(lines).rstrip()


def _title_link(unit: Unit, language: str) -> str:
    code = unit.describe()
    return f"[{unit.title_in(language)}]({code['question' if language == 'en' else 'question_zh']})"


# --- the whole ---------------------------------------------------------------------------------------------------------


def generated_texts(root: Path, units: list[Unit]) -> dict[Path, str]:
    """Every generated file but the solutions, with what it has to contain."""
    texts: dict[Path, str] = {}
    for unit in units:
        if not unit.is_concept:
            texts[unit.notebook] = to_json(compose(unit, solved=False))
        for language, page in unit.pages.items():
            text = with_links(page.path.read_text(encoding="utf-8"), page_links(unit, language))
            texts[page.path] = text if unit.is_concept else pictures.embed(text, unit, language)
    texts |= measurements.pages(root, units)
    for language, readme in (("en", root / "README.md"), ("zh", root / "README.zh.md")):
        texts[readme] = between(readme.read_text(encoding="utf-8"), "index", readme_index(units, language), readme)
    return texts


def strays(root: Path, units: list[Unit]) -> list[Path]:
    """Generated notebooks and pictures that belong to no unit."""
    made = [unit for unit in units if not unit.is_concept]
    known = {path for unit in made for path in (unit.notebook, unit.solution, pictures.path(unit))}
    found = [p for folder in ("notebooks", "solutions") for p in (root / folder).rglob("*.ipynb")]
    found += (root / "questions").glob("*/images/[!.]*")
    return sorted(path for path in found if path not in known and ".ipynb_checkpoints" not in path.parts)


def check(root: Path) -> list[str]:
    """Everything that is not as a build would leave it, a line each. Raises CourseError on a malformed unit."""
    units = find_units(root)
    lint_course(root, units)
    problems = [
        f"{path.relative_to(root)}: differs from its sources; run `aigc build`"
        for path, text in generated_texts(root, units).items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    problems += [f"{path.relative_to(root)}: belongs to no unit; delete it" for path in strays(root, units)]
    for unit in (unit for unit in units if not unit.is_concept):
        if reason := stale_solution(unit):
            problems.append(f"{unit.solution.relative_to(root)}: {reason}; run `aigc build`")
        elif reason := pictures.stale(unit):
            problems.append(f"{pictures.path(unit).relative_to(root)}: {reason}; run `aigc build`")
    return problems


def build(root: Path, *, report: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Bring every generated file up to date; return those that changed. Solutions are executed only when stale."""
    units = find_units(root)
    lint_course(root, units)
    changed: list[Path] = []
    for path, text in generated_texts(root, units).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomic(path, text)
            changed.append(path)
    for unit in (unit for unit in units if not unit.is_concept):
        if reason := stale_solution(unit):
            report(f"executing {unit.solution.relative_to(root)} (it {reason})")
            write_solution(unit)
            changed.append(unit.solution)
        if pictures.stale(unit):
            write_atomic(pictures.path(unit), pictures.make(unit))
            changed.append(pictures.path(unit))
    return changed


def segments_of(unit: Unit) -> list[Segment]:
    """The segments of a unit's module."""
    return parse_module(unit.module.read_text(encoding="utf-8"))[1]
