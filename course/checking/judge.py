"""The verdict on a notebook file, in this process: what `aigc check` and `aigc watch` print."""

import traceback
from pathlib import Path

from course.checking.load import forget, impl_from, module_from_source
from course.checking.runner import load_suite, run, stub_status
from course.checking.verdicts import brief, report
from course.units.catalogue import Unit
from course.units.notebooks import answer_source, read_notebook
from course.units.pieces import Answer
from course.units.source import AnswerError


def judge_notebook(
    unit: Unit, path: Path, stubs: tuple[str, ...], seed: int, *, short: bool = False
) -> tuple[dict[str, str], str]:
    """Check a notebook file: the status of each stub, and the report to print (a line a stub if `short`)."""
    try:
        source, answer = answer_source(read_notebook(path), unit)
    except AnswerError as error:
        return dict.fromkeys(stubs, "failed"), str(error)
    return judge_answer(unit, source, answer, path.stem, stubs, seed, short=short)


def judge_answer(
    unit: Unit, source: str, answer: Answer, label: str, stubs: tuple[str, ...], seed: int, *, short: bool = False
) -> tuple[dict[str, str], str]:
    """The same for what `answer_source` made of a notebook, called `label` in tracebacks."""
    notes = [answer.complaint(stub) for stub in stubs if stub in answer.missing]
    notes += answer.notes
    try:
        module = module_from_source(source, label)
    except Exception as error:
        notes.append(f"the notebook's definitions cannot be loaded: {_spelled(error, answer, label)}")
        return dict.fromkeys(stubs, "failed"), "\n".join(notes)
    try:
        present = tuple(stub for stub in stubs if stub not in answer.missing)
        verdicts = run(load_suite(unit), impl_from(module, unit), stubs=present, seed=seed)
    finally:
        forget(module)
    statuses = {stub: "failed" if stub in answer.missing else stub_status(verdicts, stub) for stub in stubs}
    text = brief(verdicts, present) if short else report(verdicts, present, replay=f"aigc check {unit.id}")
    shown = [text] if present else []
    return statuses, "\n".join([*notes, *shown])


def _spelled(error: Exception, answer: Answer, label: str) -> str:
    """An error of loading in a line: what it is, and the cell and line of the notebook that it comes from."""
    said = str(error).strip().split("\n")[0]
    hint = "; install it or remove the import" if isinstance(error, ImportError) else ""
    rows = [frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(f"<{label} ")]
    if isinstance(error, SyntaxError):
        rows.append(error.lineno or 0)
        said = error.msg
    where = next((place for row in reversed(rows) if (place := answer.where(row))), "")
    return f"{where}{': ' if where else ''}{type(error).__name__}: {said}{hint}"
