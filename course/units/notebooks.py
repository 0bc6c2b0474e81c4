"""A notebook read as data: its code cells, and the answers to a unit found in them."""

from pathlib import Path

from course.units.catalogue import Unit
from course.units.source import Answer, AnswerError, graft, read_answer


def read_notebook(path: Path) -> list[str]:
    """The sources of a notebook's code cells. Raises AnswerError with what is wrong in one line."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise AnswerError(f"there is no file {path}") from None
    except (IsADirectoryError, PermissionError) as error:
        raise AnswerError(f"cannot read {path}: {error.strerror}") from None
    return notebook_cells(raw, path.name)


def notebook_cells(raw: bytes, name: str) -> list[str]:
    """The sources of the code cells in the bytes of a notebook, called `name` in messages. Raises AnswerError."""
    import nbformat  # takes a second or more to import (its JSON schema formats), which a live `check` need not wait for

    try:
        notebook = nbformat.reads(raw.decode("utf-8"), as_version=4)
        return [str(cell.source) for cell in notebook.cells if cell.cell_type == "code"]
    except UnicodeDecodeError:
        raise AnswerError(f"{name} is not a notebook: it is not UTF-8 text") from None
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise AnswerError(f"{name} is not a notebook: {reason}") from None


def answer_source(cells: list[str], unit: Unit) -> tuple[str, Answer]:
    """The module with the answers found in `cells` grafted in, and what was found."""
    source = unit.module.read_text(encoding="utf-8")
    answer = read_answer(cells, source, unit.stubs)
    return graft(source, unit.stubs, answer), answer


def notebook_unit(raw: bytes) -> str | None:
    """The unit that a notebook says it answers, if it says so."""
    import json

    try:
        unit = json.loads(raw)["metadata"]["aigc"]["unit"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return unit if isinstance(unit, str) else None
