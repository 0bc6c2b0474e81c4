"""Why a stub was not found: the names in a notebook that somebody may have meant for it."""

import ast
import difflib
import itertools
import re
from collections.abc import Container, Iterable, Iterator

from course.units import names
from course.units.cells import Statement
from course.units.source import owner

MOST = 2000  # names and statements that are looked at
CLOSE = 0.75  # of the letters of two names, that one may be a slip of the pen for the other


def reason(stub: str, statements: Iterable[Statement], known: Container[str]) -> str:
    """In words, what stands in the notebook instead of `stub`, and is none of the `known` names; empty if nothing does."""
    wanted = stub.rpartition(".")[2]
    close = ""
    for count, (name, place, outer) in enumerate(_defined(statements)):
        if count > MOST:
            break
        where = f"{place} defines `{name}`"
        if name == wanted and outer and outer != owner(stub):
            return (
                f"{where} inside of `{outer}`; write it at the top level" if "." not in stub else f"{where} inside of `{outer}`"
            )
        if name == wanted and not outer and "." in stub:
            return f"{where} outside of the class; write it in {owner(stub)}, or add {stub} = {name}"
        if letter := _in_disguise(name, wanted):
            return f"{where}, which has a letter that only looks like the {letter} of ASCII"
        if name != wanted and name.casefold() == wanted.casefold():
            return f"{where}; capitals count"
        if not close and name not in known and difflib.get_close_matches(name, [wanted], 1, CLOSE):
            close = f"{where}; is it meant to be {wanted}?"
    return close or _out_of_reach(stub, statements)


def _in_disguise(name: str, wanted: str) -> str:
    """The letter of `wanted` for which `name` has one of another alphabet, if that is all in which they differ."""
    if len(name) != len(wanted) or name.isascii():
        return ""
    differing = [(mine, theirs) for mine, theirs in zip(name, wanted, strict=True) if mine != theirs]
    return differing[0][1] if differing and not any(mine.isascii() for mine, _ in differing) else ""


def _defined(statements: Iterable[Statement]) -> Iterator[tuple[str, str, str]]:
    """What a notebook defines: (name, place, the function or class around it)."""
    for statement in statements:
        for name in names.binds(statement.node, statement.code.walrus):
            yield name, statement.place, ""
        waiting = [(inner, "") for inner in names.within(statement.node)]
        while waiting:
            node, outer = waiting.pop()
            if isinstance(node, names.Definition):
                if outer:
                    yield node.name, statement.part(node).place, outer
                waiting += [(inner, node.name) for part in node.body for inner in names.within(part)]


def _out_of_reach(stub: str, statements: Iterable[Statement]) -> str:
    """Whether something that only runs could have made it."""
    for statement in itertools.islice(statements, MOST):
        if re.search(rf"\bglobal\b[^\n]*\b{re.escape(owner(stub))}\b", statement.text) if "global" in statement.text else False:
            return f"{statement.place} makes it with `global`, which cannot be read; define it at the top level"
        node = statement.node
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "exec":
            return f"{statement.place} calls exec, and what that defines cannot be read; define it at the top level"
    return ""
