"""What a learner's own notebook shows when it runs, beside what the solution shows: feedback, never score.

What a notebook prints is written by its author, so any output can be forged. Cells therefore run in the sandbox, their outputs
are compared here as text, and no mark comes from them. The check cells hold the grader's verdict instead: the tests never
enter the sandbox.
"""

import difflib
import json
from typing import Any

from course.authoring.build import cell_id
from course.authoring.markdown import table
from course.grading.submissions import safe
from course.sandbox.client import CellOutput, Session
from course.units.catalogue import Unit
from course.units.grafting import HELPERS
from course.units.source import owner, parse_module
from course.wire import ImplementationError

NOTE = "Feedback only: what a notebook shows can be forged, so no mark comes from it. Pictures are counted, not compared."
DETAIL_LIMIT = 300
DEMO = "demo-run"


def re_execute(
    session: Session, unit: Unit, source: str, stubs: dict[str, dict[str, str]], seconds: float
) -> list[dict[str, str]]:
    """Run the grafted module `source` cell by cell in `session`; each cell as {cell, verdict, detail}.

    verdict: `same`, `differs` (from the solution's stored outputs), `raised`, or `not run`. stubs: what grading found, for the
    check cells. seconds: wall clock of a cell; one that exceeds it ends the session, and the cells after it are not run.
    """
    stored = _stored(unit)
    rows: list[dict[str, str]] = []
    segments = parse_module(source)[1]
    for segment in segments:
        row = _ran(session, cell_id(segment), segment.text, stored, seconds)
        if segment.name not in HELPERS:
            rows.append(row)
        for stub in unit.stubs:
            if owner(stub) == segment.name:
                rows.append(_checked(stub, stubs[stub]))
    unnamed = {owner(stub) for stub in unit.stubs} - {
        segment.name for segment in segments
    }  # defined under a guard or a condition
    rows += [_checked(stub, stubs[stub]) for stub in unit.stubs if owner(stub) in unnamed]
    if any(segment.name == "demo" for segment in segments):
        rows.append(_ran(session, DEMO, "figure = demo()", stored, seconds))
    return rows


def _row(cell: str, verdict: str, detail: str = "") -> dict[str, str]:
    return {"cell": safe(cell), "verdict": verdict, "detail": safe(detail, DETAIL_LIMIT)}


def _checked(stub: str, result: dict[str, str]) -> dict[str, str]:
    same = result["status"] == "passed"
    return _row(f'check("{stub}")', "same" if same else "differs", "" if same else result["message"] or result["status"])


def _ran(session: Session, cell: str, code: str, stored: dict[str, CellOutput], seconds: float) -> dict[str, str]:
    if session.dead:
        return _row(cell, "not run", "an earlier cell ended the process")
    try:
        output = session.run_cell(code, seconds)
    except ImplementationError as error:
        return _row(cell, "raised", error.message)
    if output.error:
        return _row(cell, "raised", output.error)
    difference = compare(output, stored.get(cell, CellOutput("", (), "")))
    return _row(cell, "differs" if difference else "same", difference)


def compare(own: CellOutput, solution: CellOutput) -> str:
    """In words, the first thing in which a cell's outputs differ from the solution's; empty if none."""
    if own.text != solution.text:
        lines = difflib.ndiff(solution.text.splitlines(), own.text.splitlines())
        changed = [line for line in lines if line[0] in "-+"]
        mine, theirs = (next((repr(line[2:]) for line in changed if line[0] == sign), "nothing") for sign in "+-")
        return f"prints {mine} where the solution prints {theirs}"
    if own.outputs != solution.outputs:
        return f"shows {_spell(own)}; the solution shows {_spell(solution)}"
    return ""


def _spell(output: CellOutput) -> str:
    return ", ".join(f"{plain or '?'} ({'/'.join(kinds)})" for kinds, plain in output.outputs) or "nothing"


def _stored(unit: Unit) -> dict[str, CellOutput]:
    """The outputs of the cells of our own solution, by cell id; empty if it has not been built."""
    if not unit.solution.is_file():
        return {}
    notebook = json.loads(unit.solution.read_text(encoding="utf-8"))
    return {cell["id"]: _output(cell["outputs"]) for cell in notebook["cells"] if cell["cell_type"] == "code"}


def _output(outputs: list[dict[str, Any]]) -> CellOutput:
    text = "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")
    shown = tuple(
        (tuple(sorted(output["data"])), "".join(output["data"].get("text/plain", ""))) for output in outputs if "data" in output
    )
    return CellOutput(text, shown, "")


def markdown(learner: str, unit: str, rows: list[dict[str, str]]) -> str:
    """The feedback on one submission as a page for its author."""
    lines = [
        f"# {_cell(learner)}, {_cell(unit)}: the notebook, run again",
        "",
        NOTE,
        "",
        *table(["cell", "verdict", "detail"], [[_cell(row["cell"]), row["verdict"], _cell(row["detail"])] for row in rows]),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """`text` as a stranger wrote it, harmless in a Markdown table: no HTML, no link, no column of its own."""
    return "".join(f"&#{ord(c)};" if c in "|<>&[]`\\" else c for c in text)
