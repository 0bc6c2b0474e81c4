"""What of a notebook makes up the answers to a unit: pieces of a learner's code, each line with its place."""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from course.units import names
from course.units.cells import Statement
from course.units.names import Reads
from course.units.source import find_definition, is_hole, owner

NOTHING = Reads(frozenset(), frozenset())


@dataclass(frozen=True)
class Line:
    """A line of an answer: where it stands (code cell and line, from 1; 0 where it is ours), and whether it begins inside of a string."""

    text: str
    cell: int = 0
    line: int = 0
    inside: bool = False


@dataclass(frozen=True)
class Piece:
    """A statement of the learner that an answer needs.

    names: what it defines, `f`, or `Class.member` for a part of a class; lines: from the left margin on; node: its syntax;
    before: for a new member of a class, the given member that it stands before.
    """

    names: tuple[str, ...]
    lines: tuple[Line, ...]
    reads: Reads
    node: ast.stmt
    before: str = ""

    @property
    def text(self) -> str:
        return "\n".join(line.text for line in self.lines)

    @property
    def place(self) -> str:
        return f"cell {self.lines[0].cell}, line {self.lines[0].line}"


@dataclass(frozen=True)
class Answer:
    """What a learner wrote, as text, in their order.

    pieces: top-level statements; members: class -> what goes into it; stars: imports of everything; futures: `__future__` features;
    missing: stubs of which there is no definition, reasons: why; notes: what was left out, for the learner; origins: line of the
    grafted module -> (code cell, line), once it is grafted.
    """

    pieces: tuple[Piece, ...]
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    members: Mapping[str, tuple[Piece, ...]] = field(default_factory=dict)
    stars: tuple[Piece, ...] = ()
    futures: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def all(self) -> tuple[Piece, ...]:
        """Every piece, of classes too."""
        return (*self.stars, *self.pieces, *(piece for own in self.members.values() for piece in own))

    @property
    def definitions(self) -> tuple[tuple[str, str], ...]:
        """(name, text) of each piece that defines something."""
        return tuple((piece.names[0], piece.text) for piece in self.all if piece.names)

    def complaint(self, stub: str) -> str:
        """What is to be said of a stub that is missing."""
        return f"missing stub {stub}: {self.reasons.get(stub) or 'put back its definition (deleted or renamed?)'}"

    def where(self, line: int) -> str:
        """Where a line of the grafted module stands in the notebook, such as `cell 4, line 12`; empty for a line that is given."""
        cell, row = self.origins.get(line, (0, 0))
        return f"cell {cell}, line {row}" if cell else ""

    def behind(self, stub: str, others: Iterable[str]) -> tuple[Piece, ...]:
        """The pieces that a stub stands on: its own, and whatever these use, directly or not, but not through one of `others`."""
        defining: dict[str, list[Piece]] = {}
        for piece in self.all:
            for name in piece.names:
                defining.setdefault(name, []).append(piece)
        found: dict[int, Piece] = {}
        waiting, seen = [stub], set(others) - {stub}
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for piece in defining.get(name, ()):
                found[id(piece)] = piece
                waiting += piece.reads.all
        return tuple(piece for piece in self.all if id(piece) in found)


def piece_of(statement: Statement, defines: Iterable[str], before: str = "") -> Piece:
    """A statement as a piece. Raises what `course.units.names.reads` raises for what is not Python."""
    lines, node = lines_of(statement), statement.node
    if any(line.text.lstrip(" \t").startswith("\\") and not line.inside for line in lines):
        raise SyntaxError("a line begins with a backslash")  # which changes what the line after it is indented by
    if (
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Constant)
        and all(isinstance(t, ast.Name) for t in node.targets)
    ):
        uses = NOTHING
    else:
        uses = names.reads("\n".join(line.text for line in lines), node)
    return Piece(tuple(defines), lines, uses, node, before)


def lines_of(statement: Statement) -> tuple[Line, ...]:
    """The lines of a statement, moved to the left margin."""
    first, line, texts = statement.row, statement.line, statement.text.split("\n")
    margin = statement.code.lines[first - 1]
    margin = margin[: len(margin) - len(margin.lstrip(" \t\f"))]
    inside = _inside(statement.node) if any(mark in statement.text for mark in ('"""', "'''", "\\\n")) else set()
    found = []
    for number, text in enumerate(texts):
        row = first + number
        if number and row not in inside:
            text = text.removeprefix(margin) if margin else text
            if "\f" in text:  # after which Python counts the indentation from nothing
                text = re.sub(r"^[ \t\f]*\f", "", text)
        found.append(Line(text, statement.cell, line + number, row in inside))
    return tuple(found)


def indented(lines: Iterable[Line]) -> list[Line]:
    """The lines one level further in, but for what is inside of a string."""
    return [line if line.inside or not line.text else replace(line, text=f"    {line.text}") for line in lines]


def _inside(node: ast.stmt) -> set[int]:
    """The rows that begin inside of a string, where a space more or less would change it."""
    rows: set[int] = set()
    for part in ast.walk(node):
        if isinstance(part, ast.JoinedStr) or (isinstance(part, ast.Constant) and isinstance(part.value, str | bytes)):
            rows.update(range(part.lineno + 1, (part.end_lineno or part.lineno) + 1))
    return rows


def written(answer: Answer, stubs: Iterable[str]) -> tuple[str, ...]:
    """Those of `stubs` of which the learner wrote a body of their own."""
    return tuple(stub for stub in stubs if stub not in answer.missing and not _still_a_hole(answer, stub))


def _still_a_hole(answer: Answer, stub: str) -> bool:
    last = next((piece.node for piece in reversed(answer.pieces) if stub in piece.names), None)
    if isinstance(last, ast.ClassDef) and "." in stub:
        last = find_definition([last], f"{last.name}.{stub.partition('.')[2]}")
    if last is None:
        last = next((piece.node for piece in reversed(answer.members.get(owner(stub), ())) if stub in piece.names), None)
    return isinstance(last, names.Function) and is_hole(last, stub)
