"""`aigc watch`: checks again whatever a save has changed. torch stays imported, so a verdict takes as long as its tests."""

import ast
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from course.checking.judge import judge_answer
from course.checking.load import reference_module
from course.checking.runner import fresh_seed, load_suite
from course.units.catalogue import Unit
from course.units.notebooks import answer_source, read_notebook
from course.units.pieces import Answer, Piece
from course.units.source import AnswerError

PAUSE = 0.05  # seconds between two looks at a file
SETTLE = 0.1  # seconds for an editor that writes in place to finish

Report = Callable[["Watched", dict[str, str], str], None]


def fingerprints(answer: Answer, stubs: Sequence[str]) -> dict[str, str]:
    """Stub -> what its verdict depends on, as text: its definition, and whatever of the learner's it uses.

    Comments, spacing and other stubs make no difference.
    """
    return {stub: "\n".join(_said(piece, stub, stubs) for piece in answer.behind(stub, stubs)) for stub in stubs}


def _said(piece: Piece, stub: str, stubs: Sequence[str]) -> str:
    """The code of a piece; of a class that is continued, only what is not another stub."""
    nodes: list[ast.stmt] = [piece.node]
    if isinstance(piece.node, ast.ClassDef) and stub in piece.names:
        others = {other.rpartition(".")[2] for other in stubs if other != stub and other in piece.names}
        nodes = [part for part in piece.node.body if getattr(part, "name", "") not in others]
    try:
        return "\n".join(map(ast.dump, nodes))
    except RecursionError:
        return piece.text


class Watched:
    """A notebook of one unit, and what was last seen in it."""

    def __init__(self, unit: Unit, path: Path) -> None:
        self.unit, self.path = unit, path
        self.statuses: dict[str, str] = {}
        self._stamp: tuple[int, ...] | None = None
        self._seen: dict[str, str] = {}

    def warm_up(self) -> None:
        """Import all that the first check needs."""
        import IPython.core.inputtransformer2  # noqa: F401

        load_suite(self.unit)
        reference_module(self.unit)

    def changed(self) -> bool:
        """Whether the file was written since the last look."""
        try:
            found = self.path.stat()
        except OSError:  # away for a moment: editors replace files
            return False
        before, self._stamp = self._stamp, (found.st_mtime_ns, found.st_size, found.st_ino)
        return self._stamp != before

    def check(self) -> tuple[dict[str, str], str]:
        """Check the stubs that a save has changed, and those that waited for them: their statuses, and a line each."""
        try:
            source, answer = answer_source(read_notebook(self.path), self.unit)
        except AnswerError as error:
            time.sleep(SETTLE)
            return self.check() if self.changed() else ({}, str(error))
        before, self._seen = self._seen, fingerprints(answer, self.unit.stubs)
        touched = [stub for stub in self.unit.stubs if before.get(stub) != self._seen[stub]]
        if not touched:
            return {}, "\n".join(answer.notes)
        stubs = tuple(stub for stub in self.unit.stubs if stub in touched or self.statuses.get(stub) == "blocked")
        try:
            statuses, text = judge_answer(self.unit, source, answer, self.path.stem, stubs, fresh_seed(), short=True)
        except SystemExit:
            statuses, text = dict.fromkeys(stubs, "failed"), "your code ends the program: take out exit() or quit()"
        self.statuses.update(statuses)
        return statuses, text


def watch(watched: Sequence[Watched], report: Report, *, until: Callable[[], bool] = lambda: False) -> None:
    """Report on each notebook now if it is there, and after every save, until `until` says so. An interrupt goes to the caller."""
    while not until():
        for one in watched:
            if one.changed():
                report(one, *one.check())
        time.sleep(PAUSE)
