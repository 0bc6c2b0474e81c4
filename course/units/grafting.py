"""Puts a learner's answers into the module with holes: the course's code as it was given, and theirs in their order.

A statement that fails when the module is loaded hurts only what uses it: what it should have defined raises the same error when it is used.
"""

import ast
from collections.abc import Iterable, Mapping

from course.units import names
from course.units.given import Given, given, members
from course.units.pieces import Answer, Line, Piece, indented
from course.units.source import first_line, lines_of, owner

GUARDS = 40_000  # characters of guards around statements; statements behind that have none, so that a graft is no longer than its parts

UNUSABLE = '''
class _Unusable:
    """Stands for what could not be defined, and raises why wherever it is used."""

    def __init__(self, error):
        self.__dict__["_error"] = error, error.__traceback__

    def _fail(self, *args, **kwargs):
        error, trace = self.__dict__["_error"]
        raise error.with_traceback(trace)

    __call__ = __getattr__ = __setattr__ = __getitem__ = __setitem__ = __iter__ = __len__ = __bool__ = __contains__ = _fail
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __matmul__ = __rmatmul__ = __truediv__ = __rtruediv__ = _fail
    __neg__ = __pow__ = __rpow__ = __mod__ = __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __or__ = __ror__ = _fail
    __int__ = __float__ = __index__ = __enter__ = __exit__ = __instancecheck__ = __mro_entries__ = __torch_function__ = _fail
    __hash__ = object.__hash__


def _unusable(error, names):
    for name in names.split():
        head, _, member = name.partition(".")
        if member:
            setattr(globals()[head], member, property(_Unusable(error)._fail))
        else:
            globals()[head] = _Unusable(error)
'''
SHELL = '''
class _Shell:
    """Answers for the IPython that is not here: magics, shell commands and pictures do nothing."""

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


def get_ipython():
    return _Shell()


def display(*things, **options):
    pass
'''

HELPERS = ("_Unusable", "_unusable", "_Shell", "get_ipython", "display")  # what these define


def graft(module_source: str, stubs: tuple[str, ...], answer: Answer) -> str:
    """The module with holes, with the learner's answers. A stub without an answer keeps its hole."""
    return grafted(module_source, stubs, answer)[0]


def grafted(module_source: str, stubs: tuple[str, ...], answer: Answer) -> tuple[str, dict[int, tuple[int, int]]]:
    """The module with the answers in it, and where its lines come from: line -> (code cell, line)."""
    around = given(module_source, stubs)
    writer = _Writer(around, answer)
    waiting = dict(enumerate(answer.pieces))
    due = _due(around, answer)
    for number, segment in enumerate(around.segments):
        for each in [each for each in waiting if due.get(each, len(around.segments)) <= number]:
            writer.piece(waiting.pop(each))
        if segment.name in answer.members:
            writer.a_class(segment.name, segment.text, answer.members[segment.name])
        elif segment.name not in writer.replaced:
            writer.ours(segment.text)
    for piece in waiting.values():
        writer.piece(piece)
    return writer.finish()


def _due(around: Given, answer: Answer) -> dict[int, int]:
    """The pieces that given code needs when it is loaded: number of the piece -> the segment that it has to stand before."""
    defining: dict[str, list[int]] = {}
    for number, piece in enumerate(answer.pieces):
        for name in piece.names:
            defining.setdefault(name, []).append(number)
            defining.setdefault(owner(name), []).append(number)
    due: dict[int, int] = {}
    for place, segment in enumerate(around.segments):
        waiting = [*around.needs[place], *(n for piece in answer.members.get(segment.name, ()) for n in piece.reads.now)]
        seen = {segment.name}
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                for number in defining.get(name, ()):
                    due.setdefault(number, place)
                    waiting += answer.pieces[number].reads.all
    return due


class _Writer:
    """Collects the lines of a graft."""

    def __init__(self, around: Given, answer: Answer) -> None:
        self._given, self._answer = around, answer
        self._lines: list[Line] = []
        self._guards = GUARDS
        self._bound: set[str] = set()
        plainly = [piece for piece in answer.pieces if not isinstance(piece.node, names.Compound)]
        self.replaced = {name for piece in plainly for name in piece.names if name in around.definitions}
        if answer.futures:
            self._lines.append(Line(f"from __future__ import {', '.join(answer.futures)}"))
        self._helpers()
        for piece in answer.stars:  # first, so that they take nothing from what is given
            self.piece(piece)

    def _helpers(self) -> None:
        if any(not self._safe(piece) for piece in self._answer.all):
            self.ours(UNUSABLE)
        used = {name for piece in self._answer.all for name in piece.reads.all}
        if not used.isdisjoint(("get_ipython", "display")) and "display" not in self._given.names:
            self.ours(SHELL)

    def ours(self, text: str) -> None:
        """Add given code."""
        self._gap()
        self._lines += [Line(line) for line in text.strip("\n").split("\n")]

    def piece(self, piece: Piece) -> None:
        """Add a statement of the learner, guarded unless nothing in it can fail."""
        if not (self._lines and self._lines[-1].cell):
            self._gap()
        if self._safe(piece):
            self._lines += piece.lines
        else:
            self._guarded(list(piece.lines), piece.names)
        self._bound.update(piece.names)

    def a_class(self, name: str, text: str, parts: tuple[Piece, ...]) -> None:
        """Add a given class with the learner's members in it; if one of these may fail, the class with holes before it."""
        lines = _with_members(name, text, parts)
        if all(self._safe(part) for part in parts):
            self._gap()
            self._lines += lines
        else:
            self.ours(text)
            self._guarded(lines, [member for part in parts for member in part.names])
        self._bound.update(member for part in parts for member in part.names)

    def _guarded(self, lines: list[Line], defined: Iterable[str]) -> None:
        """Add lines that may fail. What an earlier piece defined stays as it is if they do."""
        lost = " ".join(name for name in defined if name not in self._bound)
        guard = [Line("try:"), Line("except Exception as _error:"), Line(f'    _unusable(_error, "{lost}")')]
        cost = sum(len(line.text) + 1 for line in guard) + 4 * len(lines)
        if cost > self._guards:
            self._lines += lines
            return
        self._guards -= cost
        self._lines += [guard[0], *indented(lines), *guard[1:]]

    def _gap(self) -> None:
        if self._lines:
            self._lines += [Line("")] * 2

    def _safe(self, piece: Piece) -> bool:
        """Whether a piece cannot fail when it is loaded: constants, lambdas, functions that look as they were given or say nothing more."""
        node = piece.node
        if isinstance(node, ast.Assign):
            plain = all(isinstance(target, ast.Name) for target in node.targets)
            return plain and (
                isinstance(node.value, ast.Constant) or (isinstance(node.value, ast.Lambda) and _bare(node.value.args))
            )
        if not isinstance(node, names.Function):
            return False
        if not node.decorator_list and node.returns is None and _bare(node.args):
            return True
        like = self._like(piece.names)
        if not isinstance(like, names.Function):
            return False
        return all(
            names.same(getattr(node, part), getattr(like, part), annotated=True) for part in ("args", "returns", "decorator_list")
        )

    def _like(self, defined: tuple[str, ...]) -> ast.stmt | None:
        """The given stub that a piece answers."""
        head, _, member = defined[0].partition(".") if defined else ("", "", "")
        return (
            self._given.members(head).get(member)
            if member and head in self._given.definitions
            else self._given.definitions.get(head)
        )

    def finish(self) -> tuple[str, dict[int, tuple[int, int]]]:
        origins = {number: (line.cell, line.line) for number, line in enumerate(self._lines, start=1) if line.cell}
        return "\n".join(line.text for line in self._lines) + "\n", origins


def _bare(arguments: ast.arguments) -> bool:
    """Whether the parameters of a function have no annotations, and nothing but constants for defaults."""
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    defaults = [*arguments.defaults, *arguments.kw_defaults]
    return all(a is None or a.annotation is None for a in every) and all(
        d is None or isinstance(d, ast.Constant) for d in defaults
    )


def _with_members(name: str, text: str, parts: tuple[Piece, ...]) -> list[Line]:
    """A given class with members of a learner: stubs in the place of their holes, new ones before the member that followed them, or last."""
    node = ast.parse(text).body[0]
    assert isinstance(node, ast.ClassDef)
    rows = lines_of(text)
    inside = [Line(row) for row in rows]
    spans: Mapping[str, ast.stmt] = members(node)
    replaced = {part.names[0].partition(".")[2]: part for part in parts if part.names[0].partition(".")[2] in spans}
    after: list[Line] = []
    new: dict[str, list[Line]] = {}
    for part in parts:
        if part.names[0].partition(".")[2] not in spans:
            (new.setdefault(part.before, []) if part.before in spans else after).extend([Line(""), *indented(part.lines)])
    edits = {}
    for member in {*replaced, *new}:
        first, last = first_line(spans[member], rows), spans[member].end_lineno or 0
        own = indented(replaced[member].lines) if member in replaced else inside[first - 1 : last]
        edits[first, last] = [*new.get(member, [])[1:], *([Line("")] if member in new else []), *own]
    for first, last in sorted(edits, reverse=True):
        inside[first - 1 : last] = edits[first, last]
    return [*inside, *after]
