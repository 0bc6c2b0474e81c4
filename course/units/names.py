"""What a statement of Python does to names, read from its syntax: which it binds, which it uses, whose objects it changes."""

import ast
import symtable
import warnings
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
Compound = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)
# Calls that change none of their arguments.
READERS = ("print", "display", "check", "show", "len", "repr", "str", "help", "isinstance", "plt")

UNFIT = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)  # what `reads` raises for what is not Python


@dataclass(frozen=True)
class Reads:
    """Names that a statement takes from the module: `now`, when it runs, and `later`, in the functions that it makes."""

    now: frozenset[str]
    later: frozenset[str]

    @property
    def all(self) -> frozenset[str]:
        return self.now | self.later


def reads(text: str, *nodes: ast.stmt) -> Reads:
    """What `text`, whose statements are `nodes`, uses of the module's names. Raises one of `UNFIT`.

    Python itself says so: a parameter, a local variable or the variable of a comprehension is no name of the module.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # What only the compiler knows to be wrong: a `return` outside of a function.
        compile(text, "<cell>", "exec", dont_inherit=True)
        top = symtable.symtable(text, "<cell>", "exec")
    now, later = set[str](), set[str]()
    waiting = [(top, True)]
    while waiting:
        table, at_once = waiting.pop()
        runs = at_once and (
            table is top or table.get_type() == "class" or table.get_name() in ("listcomp", "setcomp", "dictcomp", "genexpr")
        )
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is top or symbol.is_global()):
                (now if runs else later).add(symbol.get_name())
        waiting += [(child, runs) for child in table.get_children()]
    for node in (inner for outer in nodes for inner in within(outer)):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            now.add(node.target.id)  # which a symbol table takes for written alone
    return Reads(frozenset(now), frozenset(later))


def unfit(error: BaseException) -> str:
    """One of `UNFIT` in words."""
    return error.msg if isinstance(error, SyntaxError) else "it is nested too deeply"


def within(node: ast.stmt) -> list[ast.stmt]:
    """A statement and those nested in it that run with it in the same namespace: not the bodies of functions and classes."""
    if not isinstance(node, Compound):
        return [node]
    found: list[ast.stmt] = []
    waiting: list[ast.stmt] = [node]
    while waiting:
        part = waiting.pop()
        found.append(part)
        if isinstance(part, Compound):
            waiting += reversed(_blocks(part))
    return found


def _blocks(node: ast.stmt) -> list[ast.stmt]:
    parts: list[ast.stmt] = []
    for name in ("body", "handlers", "cases", "orelse", "finalbody"):
        for part in getattr(node, name, ()):
            parts += part.body if isinstance(part, ast.ExceptHandler | ast.match_case) else [part]
    return parts


def binds(node: ast.stmt, walrus: bool) -> list[str]:
    """The names of the module that a statement binds or deletes, in order. walrus: whether `:=` stands in its cell at all."""
    if type(node) is ast.Assign and len(node.targets) == 1 and type(node.targets[0]) is ast.Name and not walrus:
        return [node.targets[0].id]
    found: list[str] = []
    for statement in within(node):
        found += _binds_itself(statement)
        if walrus and not isinstance(statement, Definition) and not isinstance(statement, Compound):
            found += [inner.target.id for inner in ast.walk(statement) if isinstance(inner, ast.NamedExpr)]
    return list(dict.fromkeys(found))


def _binds_itself(node: ast.stmt) -> list[str]:
    if isinstance(node, Definition):
        return [node.name]
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names if alias.name != "*"]
    if isinstance(node, ast.Assign | ast.Delete):
        return [name for target in node.targets for name in _names(target)]
    if isinstance(node, ast.AugAssign) or (isinstance(node, ast.AnnAssign) and node.value is not None):
        return _names(node.target)
    if isinstance(node, ast.For | ast.AsyncFor):
        return _names(node.target)
    if isinstance(node, ast.With | ast.AsyncWith):
        return [name for item in node.items if item.optional_vars is not None for name in _names(item.optional_vars)]
    if isinstance(node, ast.Try | ast.TryStar):
        return [handler.name for handler in node.handlers if handler.name]
    if isinstance(node, ast.Match):
        patterns = [part for case in node.cases for part in ast.walk(case.pattern)]
        named = [getattr(part, "name", None) or getattr(part, "rest", None) for part in patterns]
        return [name for name in named if isinstance(name, str)]
    return []


def _names(target: ast.expr) -> list[str]:
    """The plain names in a target: none for an attribute or an item of something."""
    found: list[str] = []
    waiting = [target]
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.Name):
            found.append(part.id)
        elif isinstance(part, ast.Tuple | ast.List):
            waiting += reversed(part.elts)
        elif isinstance(part, ast.Starred):
            waiting.append(part.value)
    return found


def constant(node: ast.stmt) -> str:
    """The name that a statement binds to something that is no call, if it does nothing else; else nothing. The quickest of questions."""
    if (
        type(node) is ast.Assign
        and len(node.targets) == 1
        and type(node.targets[0]) is ast.Name
        and type(node.value) is not ast.Call
    ):
        return node.targets[0].id
    return ""


def changes(node: ast.stmt) -> tuple[list[str], list[str]]:
    """Names whose objects a statement changes for certain (`f.table = 1`, `setattr(f, …)`, `@f.register`), and those it may change.

    It may change what it calls a method of, and what it hands to a call.
    """
    surely: list[str] = []
    maybe: list[str] = []
    for statement in within(node):
        for target in targets(statement):
            surely += root(target)
        if isinstance(statement, Definition):
            surely += [name for decorator in statement.decorator_list for name in root(_called(decorator))]
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Call):
            if isinstance(value.func, ast.Name) and value.func.id in ("setattr", "delattr") and value.args:
                surely += root(value.args[0], plain=True)
            head = root(value.func, plain=True)
            if head and head[0] not in READERS:
                maybe += root(value.func)
                maybe += [argument.id for argument in value.args if isinstance(argument, ast.Name)]
    return surely, maybe


def targets(node: ast.stmt) -> list[ast.expr]:
    """The attributes and items that a statement itself assigns or deletes."""
    if isinstance(node, ast.Assign | ast.Delete):
        found = node.targets
    elif isinstance(node, ast.AugAssign | ast.AnnAssign):
        found = [node.target]
    else:
        return []
    flat = [part for target in found for part in (target.elts if isinstance(target, ast.Tuple | ast.List) else [target])]
    return [part for part in flat if isinstance(part, ast.Attribute | ast.Subscript)]


def root(node: ast.expr, *, plain: bool = False) -> list[str]:
    """The name that a chain of attributes and items begins with, as a list of one or none; a plain name only if `plain`."""
    if isinstance(node, ast.Name) and not plain:
        return []
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return [node.id] if isinstance(node, ast.Name) else []


def _called(node: ast.expr) -> ast.expr:
    return node.func if isinstance(node, ast.Call) else node


def same(one: object, other: object, *, annotated: bool = False) -> bool:
    """Whether two syntax trees say the same, apart from docstrings, comments, layout and, unless `annotated`, what functions announce."""
    waiting = [(one, other)]
    while waiting:
        a, b = waiting.pop()
        if type(a) is not type(b):
            return False
        if isinstance(a, ast.AST):
            for field in a._fields:
                if annotated or (field != "returns" and not (field == "annotation" and isinstance(a, ast.arg))):
                    waiting.append((_said(a, field), _said(b, field)))
        elif isinstance(a, list) and isinstance(b, list):
            if len(a) != len(b):
                return False
            waiting += zip(a, b, strict=True)
        elif a != b:
            return False
    return True


def _said(node: object, field: str) -> object:
    value = getattr(node, field, None)
    if field == "body" and isinstance(node, Definition) and ast.get_docstring(node, clean=False) is not None:
        return value[1:] if isinstance(value, list) else value
    return None if field in ("type_comment", "ctx") else value


def effects(node: Function) -> set[str]:
    """Names of the module whose objects a function changes when it is called, as far as its own statements say."""
    found: set[str] = set()
    for statement in (inner for part in node.body for inner in within(part)):
        surely, _ = changes(statement)
        found |= set(surely)
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
            found |= set(root(statement.value.func))
    return found


def calls(node: ast.stmt) -> list[str]:
    """The plain names that a statement calls for their effect: it is nothing but a call, or they decorate it."""
    if isinstance(node, ast.Expr):
        heads = [node.value] if isinstance(node.value, ast.Call) else []
    else:
        heads = list(getattr(node, "decorator_list", ()))
    called = [_called(head) for head in heads]
    return [head.id for head in called if isinstance(head, ast.Name) and head.id not in READERS]


def fallible(node: ast.stmt) -> bool:
    """Whether a definition or an import may fail when it runs: a plain function does not."""
    return not isinstance(node, Function) or active(node)


def active(node: ast.stmt) -> bool:
    """Whether a statement may run code of others than itself: all but imports, constants and plain functions."""
    if isinstance(node, Function):
        arguments = node.args
        return bool(node.decorator_list) or not all(
            isinstance(value, ast.Constant) for value in [*arguments.defaults, *arguments.kw_defaults] if value is not None
        )
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return not isinstance(node.value, ast.Constant | ast.Lambda)
    return not isinstance(node, ast.Import | ast.ImportFrom)
