"""Finds a learner's answers in the cells of a notebook: the last definition of each stub, and every statement that one needs.

What runs live must grade the same, so what Python's own parser and symbol tables say decides, and the learner's order is kept. But what
is given is the course's: of a class, only the bodies of stubs and new members are taken. Whatever is left out is named to its author.
"""

import ast
import bisect
import builtins
import contextlib
import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator

from course.units import names
from course.units.cells import Code, Statement, read_cells
from course.units.classes import ClassReading
from course.units.given import Given, given, imported
from course.units.lookalikes import reason
from course.units.packages import complaint as import_complaint
from course.units.pieces import Answer, Piece, piece_of
from course.units.source import AnswerError, owner

CALLED = 200  # functions that are looked into for what they change
PIECES = 2000  # statements that may be needed
NOTES = 20
LONG = 200  # characters of a note, which may quote a name
IMPLICIT = {
    *dir(builtins), "__name__", "__file__", "__doc__", "__builtins__", "__spec__", "__loader__", "__package__", "__class__",
    "get_ipython", "display",
}  # fmt: skip


def read_answer(cells: Iterable[str], module_source: str, stubs: tuple[str, ...]) -> Answer:
    """The answers to `stubs` of a module in the sources of code cells. Raises AnswerError when there is no code at all."""
    with _no_collection():
        statements, notes, seen = read_cells(cells)
        if not seen:
            raise AnswerError("the notebook has no code; start again from the exercise notebook")
        return _Reading(given(module_source, stubs), stubs, statements, notes).answer()


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Without the search for cycles, in which syntax trees have none: it takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Reading:
    """One notebook as it is read. Statements are known by their number in it.

    binders: name -> the statements that bind it; surely and maybe: name -> those that change its object.
    """

    def __init__(self, around: Given, stubs: tuple[str, ...], statements: list[Statement], notes: list[str]) -> None:
        self.given, self.stubs, self.statements, self.notes = around, stubs, statements, notes
        self.binders: dict[str, list[int]] = defaultdict(list)
        self.surely: dict[str, list[int]] = defaultdict(list)
        self.maybe: dict[str, list[int]] = defaultdict(list)
        self.callers: dict[str, list[int]] = defaultdict(list)  # function -> the statements that call it for its effect
        self.attributes: dict[str, list[str]] = {}  # class -> its members that are assigned from outside
        self.defines: dict[int, list[str]] = {}
        self.pieces: dict[int, Piece] = {}
        self.unfit: set[int] = set()
        self.stars: list[int] = []
        self.futures: dict[str, None] = {}
        self.unknown: dict[str, str] = {}  # name that nothing defines -> where it is used
        self._needed: set[str] = set()
        self._imports: dict[str, str] = {}  # name -> the import that bound it last
        self.classes = {
            name: ClassReading(name, node, stubs, notes)
            for name, node in around.definitions.items()
            if isinstance(node, ast.ClassDef)
        }
        for number, statement in enumerate(statements):
            self._file(number, statement)

    def answer(self) -> Answer:
        """What was found."""
        self._need(stub for stub in self.stubs if "." not in stub)
        self._methods()
        before = -1
        while before != len(self.pieces):
            before = len(self.pieces)
            self._effects()
            self._versions()
        stars = self._stars()
        pieces = tuple(self.pieces[number] for number in sorted(self.pieces))
        missing = tuple(stub for stub in self.stubs if not self._defined(stub, pieces))
        return Answer(
            pieces,
            missing,
            self._said(),
            members={name: tuple(one.members) for name, one in self.classes.items() if one.members},
            stars=stars,
            futures=tuple(self.futures),
            reasons={stub: reason(stub, self.statements, self._known())[:LONG] for stub in missing},
        )

    def _methods(self) -> None:
        """Take what makes up the classes that have stubs, and all that it needs."""
        for name, one in self.classes.items():
            for number, attributes in one.finish(self.statements, self.binders):
                self.defines[number] = list(dict.fromkeys([*self.defines.get(number, ()), *attributes]))
                for attribute in attributes:
                    self.binders[attribute].append(number)
            self.attributes[name] = [attribute for attribute in self.binders if attribute.startswith(f"{name}.")]
            self._need(self.attributes[name])
            self.pieces |= one.continued
            for piece in [*one.members, *one.continued.values()]:
                self._need(piece.reads.all - {name}, piece.place)

    def _said(self) -> tuple[str, ...]:
        """The notes, short and few."""
        self.notes += import_complaint(self.statements)
        for name, place in self.unknown.items():
            self.notes.append(f"{place}: `{name}` is used, and no statement that could be taken defines it")
        notes = [note if len(note) <= LONG else f"{note[:LONG]}…" for note in dict.fromkeys(self.notes)]
        return (*notes[:NOTES], *([f"and {len(notes) - NOTES} notes more"] if len(notes) > NOTES else []))

    def _defined(self, stub: str, pieces: tuple[Piece, ...]) -> bool:
        if "." in stub and any(stub in piece.names for piece in self.classes[owner(stub)].members):
            return True
        return any(stub in piece.names for piece in pieces)

    def _known(self) -> set[str]:
        """Names that nobody means for another."""
        members = {name for one in self.classes for name in self.given.members(one)}
        return {*self.given.names, *self.given.definitions, *members}

    # What each statement does, noted before it is known which are needed.

    def _file(self, number: int, statement: Statement) -> None:
        node = statement.node
        if (
            (name := names.constant(node))
            and not statement.code.walrus
            and name not in self.given.names
            and name not in self.classes
        ):
            self.binders[name].append(number)
            self.defines[number] = [name]
            self._imports.pop(name, None)
            return
        if isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.names[0].name == "*"):
            if node.module == "__future__":
                self._future(statement)
            else:
                self.stars.append(number)
            return
        bound = names.binds(node, statement.code.walrus)
        if any(name in self.classes for name in bound):
            for name in bound:
                if name in self.classes:
                    self.classes[name].defined(number, statement)
            return
        if any(name in self.given.names for name in bound):
            bound = self._beside_given(number, statement, bound)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            said = ast.dump(node)
            if all(self._imports.get(name) == said for name in bound):
                return  # the same import once more
            self._imports |= dict.fromkeys(bound, said)
        else:
            for name in bound:
                self._imports.pop(name, None)
        for name in bound:
            self.binders[name].append(number)
        if bound and not isinstance(node, ast.Delete):
            self.defines[number] = bound
        if isinstance(node, names.Function) and not node.decorator_list:
            return
        for name in names.calls(node):
            self.callers[name].append(number)
        surely, maybe = names.changes(node)
        for name in dict.fromkeys(surely):
            if name in self.classes:
                self.classes[name].changed(number, statement)
            elif name in self.given.names and name not in self.given.imports and names.targets(node):
                self._stands(statement, name)
            else:
                self.surely[name].append(number)
        for name in maybe:
            self.maybe[name].append(number)

    def _future(self, statement: Statement) -> None:
        import __future__

        for alias in statement.node.names:  # type: ignore[attr-defined]
            if alias.name in __future__.all_feature_names:
                self.futures[alias.name] = None
            else:
                self.notes.append(f"{statement.place}: Python has no future feature {alias.name}")

    def _beside_given(self, number: int, statement: Statement, bound: list[str]) -> list[str]:
        """What a statement binds beside given names, which stand as they were given. Says so where the learner's differ."""
        node = statement.node
        if isinstance(node, ast.Import | ast.ImportFrom):
            stands = imported(node)
            for name in bound:
                if name in self.given.names and stands[name] != self.given.imports.get(name):
                    self._stands(statement, name)
            own = [a for a in node.names if (a.asname or a.name.partition(".")[0]) not in self.given.names]
            dotted = [a for a in node.names if isinstance(node, ast.Import) and not a.asname and "." in a.name and a not in own]
            if not own and not dotted:
                return []
            text = ast.unparse(type(node)(**{**dict(ast.iter_fields(node)), "names": [*own, *dotted]}))
            self.statements[number] = Statement(ast.parse(text).body[0], Code(text), statement.cell, statement.line - 1)
            for alias in dotted:  # `import torch.distributions` brings a part of what is given as `torch`
                self.surely[alias.name.partition(".")[0]].append(number)
            self.defines[number] = []
            return [alias.asname or alias.name.partition(".")[0] for alias in own]
        for name in bound:
            if name in self.given.names and not isinstance(node, names.Compound) and not names.same(node, self.given.nodes[name]):
                self._stands(statement, name)
        return []

    def _stands(self, statement: Statement, name: str) -> None:
        self.notes.append(f"{statement.place}: `{name}` stands as it was given, and yours is not used; give it another name")

    # Which statements are needed.

    def _need(self, wanted: Iterable[str], place: str = "") -> None:
        """Take the statements that define these names, and all that they need in turn."""
        waiting = [(name, place) for name in wanted]
        while waiting:
            name, where = waiting.pop()
            if name in self._needed:
                continue
            self._needed.add(name)
            numbers = self._defining(name)
            if not numbers and name not in self.given.names and name not in self.given.definitions and name not in IMPLICIT:
                self.unknown.setdefault(name, where)
            for number in numbers:
                piece = self._piece(number)
                if piece is not None:
                    waiting += [(other, piece.place) for other in piece.reads.all]

    def _defining(self, name: str) -> list[int]:
        """The statement that binds a name last, and those that change what it stands for."""
        if name in self.given.names:
            return [n for n in self.surely.get(name, ()) if isinstance(self.statements[n].node, ast.Import)]
        if name not in self.binders:
            return []
        last = self.binders[name][-1]
        node = self.statements[last].node
        if isinstance(node, ast.Delete):
            self.notes.append(f"{self.statements[last].place}: `{name}` is deleted")
            return [last]
        data = not isinstance(node, names.Definition | ast.Import | ast.ImportFrom)
        return [last, *self.surely.get(name, ()), *(self.maybe.get(name, ()) if data else ())]

    def _piece(self, number: int) -> Piece | None:
        """The piece that a statement becomes, the first time that it is asked for."""
        if number in self.pieces or number in self.unfit:
            return None
        if len(self.pieces) >= PIECES:
            self.notes.append(f"answers that need more than {PIECES} statements are not read further")
            return None
        statement = self.statements[number]
        try:
            self.pieces[number] = piece_of(statement, self.defines.get(number, ()))
        except names.UNFIT as error:
            self.notes.append(f"{statement.place}: cannot be taken ({names.unfit(error)})")
            self.unfit.add(number)
            return None
        return self.pieces[number]

    def _take(self, number: int) -> None:
        piece = self._piece(number)
        if piece is not None:
            self._need(piece.reads.all, piece.place)

    def _effects(self) -> None:
        """Take the calls of the learner's own functions that change what is needed: `@register`, `fill_table()`."""
        changed = {name: self._changed_by(name) for name in list(self.callers)[:CALLED]}
        before = -1
        while before != len(self.pieces):
            before = len(self.pieces)
            for name, effects in changed.items():
                if effects & self._needed:
                    for number in self.callers[name]:
                        self._take(number)

    def _changed_by(self, name: str) -> set[str]:
        node = self.statements[self.binders[name][-1]].node if name in self.binders else None
        return names.effects(node) & self.binders.keys() if isinstance(node, names.Function) else set()

    def _versions(self) -> None:
        """Take the definitions that a needed statement still found when it ran, where its names were defined anew behind it.

        What a statement reads itself it finds as it was; and if it runs other code, so does that code.
        """
        done: set[int] = set()
        later: set[str] = set()
        while fresh := sorted(self.pieces.keys() - done):
            done.update(fresh)
            seen = len(later)
            for number in fresh:
                later |= {name for name in self.pieces[number].reads.later if len(self.binders.get(name, ())) > 1}
            for number in sorted(self.pieces) if len(later) > seen else fresh:
                piece = self.pieces[number]
                if isinstance(piece.node, names.Definition | ast.Import | ast.ImportFrom) and names.fallible(piece.node):
                    for name in piece.names:  # if it fails, what was before it stays
                        self._take_before(name, number)
                for name in piece.reads.now | later if names.active(piece.node) else piece.reads.now:
                    for each in [name, *self.attributes.get(name, ())]:
                        self._take_before(each, number)

    def _take_before(self, name: str, number: int) -> None:
        """Take the statement that bound a name last before this one."""
        before = bisect.bisect_left(self.binders.get(name, ()), number) - 1
        if before >= 0:
            self._take(self.binders[name][before])

    def _stars(self) -> tuple[Piece, ...]:
        """`from … import *`, if there are names that nothing else defines: any of these may come from there."""
        if not self.unknown:
            return ()
        found = []
        for number in self.stars:
            piece = self._piece(number)
            if piece is not None:
                found.append(Piece(tuple(self.unknown), piece.lines, piece.reads, piece.node))
                del self.pieces[number]
        if found:
            self.unknown = {}
        return tuple(found)
