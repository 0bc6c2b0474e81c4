"""Reports from the journal: tables for a spreadsheet, JUnit XML, the results.json that Gradescope reads, and pages of feedback."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from course.grading import feedback
from course.grading.journal import Row
from course.grading.weights import Weights, row_share, share
from course.paths import write_atomic

COLUMNS = (
    "learner", "unit", "score", "max_score", "share", "points", "max_points", "status", "message", "note", "isolation", "seconds",
)  # fmt: skip
STUB_COLUMNS = ("learner", "unit", "stub", "status", "passed", "cases", "share", "points", "max_points", "message")

# Where a spreadsheet begins to read a formula: at the start of a cell, and of whatever it may split the cell into.
_FORMULA = re.compile(r"(^|[;|\t\r\n])(\s*)(?=[=+\-@\t\r＝＋－＠])|(?<=,)(?=[=+\-@＝＋－＠])")


def write_reports(folder: Path, rows: Iterable[Row], weights: Weights | None = None) -> None:
    """Write `grades.csv`, `stubs.csv`, `junit.xml`, `gradescope/<learner>.json` and, where notebooks were run again,
    `feedback/<learner>/<unit>.md`. weights: what stubs are worth, by default a point each."""
    weights = weights or Weights()
    ordered = sorted(rows, key=lambda row: (row.learner, row.unit))
    write_atomic(folder / "grades.csv", gradebook(ordered, weights))
    write_atomic(folder / "stubs.csv", stub_table(ordered, weights))
    write_atomic(folder / "junit.xml", junit(ordered))
    by_learner: dict[str, list[Row]] = {}
    for row in ordered:
        by_learner.setdefault(row.learner, []).append(row)
    names = file_names(by_learner)
    for learner, own in by_learner.items():
        result = json.dumps(gradescope(own, weights), indent=2)
        write_atomic(folder / "gradescope" / f"{names[learner]}.json", result + "\n")
        for row in own:
            if row.feedback:
                path = folder / "feedback" / names[learner] / f"{row.unit}.md"
                write_atomic(path, feedback.markdown(learner, row.unit, row.feedback))


def file_names(learners: Iterable[str]) -> dict[str, str]:
    """A file name for each learner, fit for any system, and never that of another: a name of plain letters and digits stays as
    it is; any other is spelled in these and carries a hash after `--`, which no plain name has."""
    return {learner: learner if _is_plain(learner) else f"{_plain(learner)}--{_digest(learner)}" for learner in learners}


def _is_plain(learner: str) -> bool:
    """Whether a name can be a file's: lower case, since some systems ignore it, and none that Windows keeps for itself."""
    reserved = re.fullmatch(r"(con|nul|aux|prn|com\d|lpt\d)(\..*)?", learner)
    plain = re.fullmatch(r"[a-z0-9_](?:[a-z0-9._-]{0,58}[a-z0-9_-])?", learner)
    return plain is not None and reserved is None and "--" not in learner


def _plain(learner: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", learner).strip(".")[:60] or "learner"


def _digest(learner: str) -> str:
    return hashlib.sha256(learner.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def spreadsheet(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV that spreadsheets open as it is: marked as UTF-8, every cell quoted, and none of them a formula."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([_FORMULA.sub(r"\1\2'", cell) if isinstance(cell, str) else cell for cell in row] for row in rows)
    return "\ufeff" + out.getvalue()


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def number(value: float) -> str:
    """Points as people write them: 2 and 1.5, not 2.0."""
    return f"{value:.4f}".rstrip("0").rstrip(".")


def gradebook(rows: Iterable[Row], weights: Weights | None = None) -> str:
    """A line for each learner and unit. share: of the cases passed, each stub counting alike, 0 to 1; empty where an earlier
    version of the grader did not count them. points: by the weights."""
    weights = weights or Weights()
    table = []
    for row in rows:
        points = {"points": number(weights.points(row)), "max_points": number(weights.maximum(row))}
        extra = {"share": _share(row_share(row)), **points}
        table.append([extra[column] if column in extra else getattr(row, column) for column in COLUMNS])
    return spreadsheet(COLUMNS, table)


def stub_table(rows: Iterable[Row], weights: Weights | None = None) -> str:
    """A line for each learner, unit and stub; of a submission that could not be read there are none."""
    weights = weights or Weights()
    return spreadsheet(
        STUB_COLUMNS,
        (
            [
                *(row.learner, row.unit, name, stub["status"], stub.get("passed", ""), stub.get("cases", "")),
                *(_share(share(stub)), number(weights.earned(row, name)), number(weights.worth(row.unit, name))),
                stub["message"],
            ]
            for row in rows
            for name, stub in row.stubs.items()
        ),
    )


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
        if row.note:
            ElementTree.SubElement(suite, "system-err").text = row.note
    ElementTree.indent(top)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(top, encoding="unicode") + "\n"


def _line(cell: dict[str, str]) -> str:
    return f"{cell['cell']} {cell['verdict']}" + (f": {cell['detail']}" if cell["detail"] else "")


def gradescope(rows: list[Row], weights: Weights | None = None) -> dict[str, Any]:
    """A learner's rows in Gradescope's `results.json` form; what strangers wrote is text there, with no address to follow."""
    weights = weights or Weights()
    tests: list[dict[str, Any]] = []
    for row in rows:
        for stub, result in row.stubs.items():
            passed, points = result["status"] == "passed", weights.worth(row.unit, stub)
            scored = {"score": _whole(weights.earned(row, stub)), "max_score": _whole(points)}
            tests.append(_test(f"{row.unit}: {stub}", result["message"], **scored, status="passed" if passed else "failed"))
        if row.feedback:
            said = [feedback.NOTE, *(_line(cell) for cell in row.feedback if cell["verdict"] != "same")]
            tests.append(_test(f"{row.unit}: the notebook, run again (no score)", "\n".join(said)))
        if not row.stubs:
            maximum = _whole(weights.maximum(row))
            tests.append(_test(row.unit or "submission", row.message, score=0, max_score=maximum, status="failed"))
        if row.note:
            tests.append(_test(f"{row.unit or 'submission'}: what else was handed in (no score)", row.note))
    return {
        "score": _whole(sum(weights.points(row) for row in rows)),
        "execution_time": round(sum(row.seconds for row in rows), 3),
        "output": f"Isolation while grading: {rows[0].isolation}. Questions drawn from seed {rows[0].seed}.",
        "output_format": "text",
        "visibility": "visible",
        "tests": tests,
    }


def _test(name: str, output: str, **scored: object) -> dict[str, Any]:
    shown = "\n".join(feedback.without_links(line) for line in output.split("\n"))
    return {"name": name, **scored, "output": shown, "output_format": "text", "visibility": "visible"}


def _whole(points: float) -> float:
    """Points as a whole number where they are one."""
    return int(points) if points == int(points) else round(points, 4)
