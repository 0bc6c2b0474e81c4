"""A notebook read as data: its code cells, the unit it belongs to, and the answers found in it.

Only what says something of an answer is looked at: outputs, metadata and other cells may be as they like.
"""

import codecs
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from course.units.answers import read_answer
from course.units.catalogue import ID, Unit
from course.units.grafting import grafted
from course.units.pieces import Answer
from course.units.source import AnswerError

NAMED = re.compile(rf"""\bchecks_for\(\s*(?:unit\s*=\s*)?["']({ID.pattern})["']""")
CHECKED = re.compile(rf"""\bcheck\(\s*["']({ID.pattern})["']""")


def read_notebook(path: Path) -> list[str]:
    """The sources of a notebook's code cells. Raises AnswerError with what is wrong in one line."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise AnswerError(f"there is no file {path}") from None
    except OSError as error:
        raise AnswerError(f"cannot read {path}: {error.strerror}") from None
    return notebook_cells(raw, path.name)


def notebook_cells(raw: bytes, name: str) -> list[str]:
    """The sources of the code cells in the bytes of a notebook, called `name` in messages. Raises AnswerError."""
    try:
        return _code_cells(_notebook(raw))
    except AnswerError as error:
        raise AnswerError(f"{name} is not a notebook: {error}") from None


def notebook_unit(raw: bytes) -> str | None:
    """The id of the unit that a notebook says it is of: in its metadata, in the cell that sets it up, or where it checks itself."""
    try:
        notebook = _notebook(raw)
        metadata = notebook.get("metadata")
        ours = metadata.get("aigc") if isinstance(metadata, dict) else None
        named = ours.get("unit") if isinstance(ours, dict) else None
        if isinstance(named, str) and ID.fullmatch(named):
            return named
        cells = _code_cells(notebook)
    except AnswerError:
        return None
    found = (match[1] for pattern in (NAMED, CHECKED) for cell in cells for match in pattern.finditer(cell))
    return next(found, None)


def _notebook(raw: bytes) -> dict[str, Any]:
    """The JSON object that a notebook is. Raises AnswerError with a reason."""
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError:
        raise AnswerError("it is not UTF-8 text") from None
    try:
        # Numbers are of no interest, and one of a million digits would take a minute to read.
        notebook = json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except RecursionError:
        raise AnswerError("its JSON is nested too deeply") from None
    except MemoryError:
        raise AnswerError("it does not fit into memory") from None
    except ValueError as error:
        said = f"{error.msg}, line {error.lineno}" if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise AnswerError(f"it is not JSON ({said}); was it saved completely?" if text.strip() else "the file is empty") from None
    if not isinstance(notebook, dict) or "nbformat" not in notebook:
        raise AnswerError("it is JSON of another kind, without `nbformat` and `cells`")
    return notebook


def _code_cells(notebook: dict[str, Any]) -> list[str]:
    """The sources of the code cells of a notebook of any version. Raises AnswerError."""
    sheets = [notebook] if "cells" in notebook else notebook.get("worksheets", [])  # before version 4
    if not isinstance(sheets, list) or not all(
        isinstance(sheet, dict) and isinstance(sheet.get("cells"), list) for sheet in sheets
    ):
        raise AnswerError("its cells are not a list")
    cells = (cell for sheet in sheets for cell in sheet["cells"] if isinstance(cell, dict) and cell.get("cell_type") == "code")
    return [_source(cell.get("source", cell.get("input"))) for cell in cells]


def _source(source: object) -> str:
    """The text of a cell, which is a string or a list of strings."""
    parts = source if isinstance(source, list) else [source]
    return "".join(part for part in parts if isinstance(part, str))


def answer_source(cells: list[str], unit: Unit) -> tuple[str, Answer]:
    """The module with the answers found in `cells` grafted in, and what was found. Raises AnswerError."""
    source = unit.module.read_text(encoding="utf-8")
    answer = read_answer(cells, source, unit.stubs)
    text, origins = grafted(source, unit.stubs, answer)
    return text, replace(answer, origins=origins)
