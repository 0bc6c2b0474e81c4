"""Reports from the journal: a gradebook (CSV), JUnit XML, the results.json that Gradescope reads, and pages of feedback."""

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from course.grading import feedback
from course.grading.journal import Row
from course.paths import write_atomic

COLUMNS = ("learner", "unit", "score", "max_score", "status", "message", "isolation", "seconds")


def write_reports(folder: Path, rows: Iterable[Row]) -> None:
    """Write `grades.csv`, `junit.xml`, `gradescope/<learner>.json` and, where notebooks were run again, `feedback/<learner>/<unit>.md`."""
    ordered = sorted(rows, key=lambda row: (row.learner, row.unit))
    write_atomic(folder / "grades.csv", gradebook(ordered))
    write_atomic(folder / "junit.xml", junit(ordered))
    by_learner: dict[str, list[Row]] = {}
    for row in ordered:
        by_learner.setdefault(row.learner, []).append(row)
    names = file_names(by_learner)
    for learner, own in by_learner.items():
        write_atomic(folder / "gradescope" / f"{names[learner]}.json", json.dumps(gradescope(own), indent=2) + "\n")
        for row in own:
            if row.feedback:
                path = folder / "feedback" / names[learner] / f"{row.unit}.md"
                write_atomic(path, feedback.markdown(learner, row.unit, row.feedback))


def file_names(learners: Iterable[str]) -> dict[str, str]:
    """A file name for each learner, fit for any system; names that had to be changed, or differ in case only, stay distinct by a hash."""
    plain = {learner: _plain_name(learner) for learner in learners}
    counts = Counter(name.lower() for name in plain.values())
    return {
        learner: name if name == learner and counts[name.lower()] == 1 else f"{name or 'learner'}-{_digest(learner)}"
        for learner, name in plain.items()
    }


def _plain_name(learner: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", learner).strip(".")[:60]
    return f"{plain}_" if plain.lower() in ("con", "nul", "aux", "prn") else plain


def _digest(learner: str) -> str:
    return hashlib.sha256(learner.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def gradebook(rows: Iterable[Row]) -> str:
    """The table as CSV. A cell that a spreadsheet would take for a formula is quoted with an apostrophe."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cells = [getattr(row, column) for column in COLUMNS]
        writer.writerow([f"'{c}" if isinstance(c, str) and c[:1] in ("=", "+", "-", "@", "\t", "\r") else c for c in cells])
    return out.getvalue()


def junit(rows: Iterable[Row]) -> str:
    """One suite per submission, one case per stub, in the form that CI systems read."""
    top = ElementTree.Element("testsuites")
    for row in rows:
        name = f"{row.learner}: {row.unit}"
        failures = sum(stub["status"] != "passed" for stub in row.stubs.values())
        attributes = {"name": name, "tests": str(max(len(row.stubs), 1)), "time": f"{row.seconds:.3f}"}
        broken = row.status in ("refused", "error")
        suite = ElementTree.SubElement(
            top, "testsuite", {**attributes, "failures": str(failures), "errors": str(int(broken and not row.stubs))}
        )
        ElementTree.SubElement(
            ElementTree.SubElement(suite, "properties"), "property", {"name": "isolation", "value": row.isolation}
        )
        for stub, result in row.stubs.items():
            case = ElementTree.SubElement(suite, "testcase", {"classname": f"{row.learner}.{row.unit}", "name": stub})
            if result["status"] != "passed":
                ElementTree.SubElement(case, "failure", {"message": result["message"]})
        if row.feedback:
            said = ElementTree.SubElement(suite, "system-out")
            said.text = "\n".join([feedback.NOTE, *map(_line, row.feedback)])
        if not row.stubs:
            case = ElementTree.SubElement(suite, "testcase", {"classname": f"{row.learner}.{row.unit}", "name": "submission"})
            ElementTree.SubElement(case, "error", {"message": row.message})
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"


def _line(cell: dict[str, str]) -> str:
    return f"{cell['cell']} {cell['verdict']}" + (f": {cell['detail']}" if cell["detail"] else "")


def gradescope(rows: list[Row]) -> dict[str, Any]:
    """A learner's rows in Gradescope's `results.json` form."""
    tests = []
    for row in rows:
        for stub, result in row.stubs.items():
            passed = result["status"] == "passed"
            tests.append(
                {
                    "name": f"{row.unit}: {stub}",
                    "score": int(passed),
                    "max_score": 1,
                    "status": "passed" if passed else "failed",
                    "output": result["message"],
                    "visibility": "visible",
                }
            )
        if row.feedback:
            tests.append(
                {
                    "name": f"{row.unit}: the notebook, run again (no score)",
                    "output": "\n".join([feedback.NOTE, *(_line(cell) for cell in row.feedback if cell["verdict"] != "same")]),
                    "visibility": "visible",
                }
            )
        if not row.stubs:
            name = row.unit or "submission"
            tests.append(
                {
                    "name": name,
                    "score": 0,
                    "max_score": row.max_score,
                    "status": "failed",
                    "output": row.message,
                    "visibility": "visible",
                }
            )
    return {
        "score": sum(row.score for row in rows),
        "execution_time": round(sum(row.seconds for row in rows), 3),
        "output": f"Isolation while grading: {rows[0].isolation}. Questions drawn from seed {rows[0].seed}.",
        "visibility": "visible",
        "tests": tests,
    }
