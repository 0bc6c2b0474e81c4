"""Reads the answers that are methods: of a class, the bodies of stubs and new members are the learner's, all else the course's.

A learner writes a method where it stood in the class, in a class that continues it (`class VAE(VAE)`), or assigns it to the class.
"""

import ast
from collections.abc import Iterator, Mapping, Sequence

from course.units import names
from course.units.cells import Statement
from course.units.given import members
from course.units.pieces import Line, Piece, indented, piece_of

# What a module of torch brings along, and a test relies on: given like all else that is not a stub.
INHERITED = {
    "__call__", "__getattr__", "__getattribute__", "__setattr__", "__setstate__", "__new__", "__init_subclass__", "__class__", "__del__",
    "apply", "buffers", "children", "cpu", "double", "eval", "float", "half", "load_state_dict", "modules", "named_buffers", "named_children",
    "named_modules", "named_parameters", "parameters", "requires_grad_", "state_dict", "to", "train", "type", "zero_grad",
    "_load_from_state_dict", "_save_to_state_dict", "_call_impl", "_wrapped_call_impl",
}  # fmt: skip
NEW = 200  # members that a class may have beside those that are given


class ClassReading:
    """One class that has stubs, as a notebook defines, continues and changes it.

    members: what goes into the given class; continued: number of a statement -> the class that it continues with.
    """

    def __init__(self, name: str, node: ast.ClassDef, stubs: Sequence[str], notes: list[str]) -> None:
        self.name, self._node, self._notes = name, node, notes
        self._given = members(node)
        self._stubs = {stub.partition(".")[2] for stub in stubs if stub.startswith(f"{name}.")}
        self._definitions: list[tuple[int, Statement]] = []
        self._aliases: list[tuple[int, str, Statement]] = []
        self._attributes: dict[int, list[str]] = {}
        self._new: set[str] = set()
        self.members: list[Piece] = []
        self.continued: dict[int, Piece] = {}

    def defined(self, number: int, statement: Statement) -> None:
        """Note a statement that binds the class."""
        for inner in names.within(statement.node):
            value = getattr(inner, "value", None)
            if isinstance(inner, ast.ClassDef) and inner.name == self.name:
                self._definitions.append((number, statement.part(inner)))
            elif isinstance(inner, ast.Assign) and self.name in names.binds(inner, walrus=False):
                if isinstance(value, ast.Name):
                    self._aliases.append((number, value.id, statement))
                elif not (
                    isinstance(value, ast.Call)
                    and any(isinstance(part, ast.Name) and part.id == self.name for part in value.args)
                ):
                    self._stands(statement, self.name)
            elif not isinstance(inner, names.Compound) and self.name in names.binds(inner, walrus=False):
                self._stands(statement, self.name)

    def changed(self, number: int, statement: Statement) -> list[str]:
        """The members, as `Class.member`, that a statement assigns from outside of the class, if all of them may be."""
        found: list[str] = []
        for inner in names.within(statement.node):
            for target in names.targets(inner):
                if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == self.name:
                    found.append(target.attr)
            call = getattr(inner, "value", None)
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Name)
                and call.func.id == "setattr"
                and len(call.args) > 1
            ):
                of, attribute = call.args[:2]
                if isinstance(of, ast.Name) and of.id == self.name:
                    plain = isinstance(attribute, ast.Constant) and isinstance(attribute.value, str)
                    found.append(str(attribute.value) if plain else "")  # type: ignore[attr-defined]
        if "" in found:
            self._notes.append(
                f"{statement.place}: setattr with a name that is computed cannot be read; write {self.name}.name = …"
            )
            return []
        if not found or isinstance(statement.node, ast.Delete) or not all(self._open(statement, name) for name in found):
            return []
        self._attributes[number] = [f"{self.name}.{name}" for name in found]
        return self._attributes[number]

    def finish(self, statements: Sequence[Statement], binders: Mapping[str, Sequence[int]]) -> Iterator[tuple[int, list[str]]]:
        """Settle which definition of each member counts, the last one; the statements from outside that may, with what they define."""
        for number, other, statement in self._aliases:
            earlier = [n for n in binders.get(other, ()) if n < number]
            node = statements[earlier[-1]].node if earlier else None
            if isinstance(node, ast.ClassDef):
                self._definitions.append((number, statements[earlier[-1]]))
            else:
                self._stands(statement, self.name)
        inside: dict[str, tuple[int, Statement, str]] = {}
        outside: dict[int, list[Statement]] = {}
        for number, statement in sorted(self._definitions, key=lambda pair: pair[0]):
            if self._continues(statement):
                outside[number] = [part for part, _ in self._parts(statement)]
                continue
            for part, before in self._parts(statement):
                for name in names.binds(part.node, walrus=False):
                    inside[name] = (number, part, before)
        for number, parts in outside.items():
            self._continue(
                number, [p for p in parts if all(inside.get(n, (-1,))[0] < number for n in names.binds(p.node, walrus=False))]
            )
        for _, part, before in dict.fromkeys(inside.values()):
            own = [f"{self.name}.{name}" for name in names.binds(part.node, walrus=False)]
            try:
                self.members.append(piece_of(part, own, before))
            except names.UNFIT as error:
                self._unfit(part, error)
        for number, attributes in self._attributes.items():
            if all(inside.get(attribute.partition(".")[2], (-1,))[0] < number for attribute in attributes):
                yield number, attributes

    def _parts(self, statement: Statement) -> Iterator[tuple[Statement, str]]:
        """What may be taken of a learner's class, each with the given member that a new one stands before."""
        node = statement.node
        assert isinstance(node, ast.ClassDef)
        if not self._continues(statement) and not _same_frame(node, self._node) and node.name == self.name:
            self._notes.append(f"{statement.place}: the bases and decorators of {self.name} stand as they were given")
        waiting: list[Statement] = []
        for inner in node.body:
            part = statement.part(inner)
            bound = names.binds(inner, walrus=False)
            known = [name for name in bound if name in self._given]
            if bound and all(name in self._stubs or self._open(part, name) for name in bound):
                waiting.append(part)
            if known:
                yield from ((each, "" if each is part else known[0]) for each in waiting)
                waiting = []
        yield from ((part, "") for part in waiting)

    def _open(self, statement: Statement, name: str) -> bool:
        """Whether a member may come from the learner. Says so if not, where theirs differs from what is given."""
        if name in self._stubs:
            return True
        if name in self._given:
            if not names.same(statement.node, self._given[name]):
                self._stands(statement, f"{self.name}.{name}")
            return False
        if name in INHERITED:
            self._stands(statement, f"{self.name}.{name}")
            return False
        self._new.add(name)
        return len(self._new) <= NEW

    def _continues(self, statement: Statement) -> bool:
        node = statement.node
        return isinstance(node, ast.ClassDef) and any(isinstance(base, ast.Name) and base.id == self.name for base in node.bases)

    def _continue(self, number: int, parts: list[Statement]) -> None:
        """Keep a class that continues the given one with `parts`."""
        pieces = []
        for part in parts:
            try:
                pieces.append(piece_of(part, names.binds(part.node, walrus=False)))
            except names.UNFIT as error:
                self._unfit(part, error)
        if pieces:
            cell, line = pieces[0].lines[0].cell, pieces[0].lines[0].line
            lines = [Line(f"class {self.name}({self.name}):", cell, line), *(line for p in pieces for line in indented(p.lines))]
            uses = names.reads("\n".join(line.text for line in lines))
            defined = tuple(f"{self.name}.{name}" for piece in pieces for name in piece.names)
            body: list[ast.stmt] = [piece.node for piece in pieces]
            node = ast.ClassDef(self.name, [ast.Name(self.name)], [], body, [])
            self.continued[number] = Piece(defined, tuple(lines), uses, node)

    def _unfit(self, part: Statement, error: BaseException) -> None:
        self._notes.append(f"{part.place}: cannot be taken ({names.unfit(error)})")

    def _stands(self, statement: Statement, name: str) -> None:
        self._notes.append(
            f"{statement.place}: `{name}` stands as it was given, and yours is not used; only stubs and new names are yours"
        )


def _same_frame(one: ast.ClassDef, other: ast.ClassDef) -> bool:
    return all(names.same(getattr(one, part), getattr(other, part)) for part in ("bases", "keywords", "decorator_list"))
