"""What a unit gives: its module with holes, seen as what stands around a learner's answers."""

import ast
import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from course.units import names
from course.units.source import Segment, module_with_holes, owner, parse_module


@dataclass(frozen=True)
class Given:
    """The module with holes. A stub is no given name, and neither is the class that a stub is a method of.

    names: each name that given code binds -> the segment that binds it; nodes: the statement; imports: what an imported name stands for,
    as `package.module.name`; definitions: the functions that are stubs and the classes that have some; needs: for each segment, those of
    `definitions` that it uses when the module is loaded.
    """

    segments: tuple[Segment, ...]
    names: dict[str, int]
    nodes: dict[str, ast.stmt]
    imports: dict[str, str]
    definitions: dict[str, ast.stmt]
    needs: tuple[frozenset[str], ...]

    def members(self, name: str) -> dict[str, ast.stmt]:
        """What the body of a class binds: name -> statement."""
        node = self.definitions[name]
        return members(node) if isinstance(node, ast.ClassDef) else {}


def members(node: ast.ClassDef) -> dict[str, ast.stmt]:
    """Names that the body of a class binds, with the last statement that does."""
    return {name: part for part in node.body for name in names.binds(part, walrus=False)}


@lru_cache(maxsize=64)  # a grader asks for the same ones a thousand times
def given(module_source: str, stubs: tuple[str, ...]) -> Given:
    """What is given beside `stubs`."""
    segments = tuple(parse_module(module_with_holes(module_source, stubs))[1])
    owners = {owner(stub) for stub in stubs}
    places: dict[str, int] = {}
    nodes: dict[str, ast.stmt] = {}
    imports: dict[str, str] = {}
    definitions: dict[str, ast.stmt] = {}
    trees = [ast.parse(segment.text).body for segment in segments]
    for number, node in ((number, node) for number, tree in enumerate(trees) for node in tree):
        for name in names.binds(node, walrus=False):
            if name in owners and isinstance(node, names.Definition):
                definitions[name] = node
            else:
                places[name], nodes[name] = number, node
        imports |= imported(node)
    return Given(segments, places, nodes, imports, definitions, tuple(_needs(trees, owners)))


def imported(node: ast.stmt) -> dict[str, str]:
    """Name -> what an import binds it to: `nn` -> `torch.nn`, however it is written."""
    if isinstance(node, ast.Import):
        return {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0] for a in node.names}
    if isinstance(node, ast.ImportFrom):
        return {a.asname or a.name: f"{'.' * node.level}{node.module or ''}.{a.name}" for a in node.names if a.name != "*"}
    return {}


def _needs(trees: list[list[ast.stmt]], owners: Iterable[str]) -> Iterator[frozenset[str]]:
    """For each segment, the names among `owners` that it uses at once: what it mentions, and what the functions use that it calls."""
    bare = [ast.fix_missing_locations(_Bare().visit(ast.Module(copy.deepcopy(tree), []))) for tree in trees]
    used = [names.reads(ast.unparse(tree), *tree.body) for tree in bare]
    made = {name: number for number, tree in enumerate(trees) for node in tree for name in names.binds(node, walrus=False)}
    for number, tree in enumerate(bare):
        found = set(used[number].now)
        waiting = [name for name in _calls(tree) if name in made]
        seen = set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                found |= used[made[name]].all
                waiting += [other for other in used[made[name]].later if other in made]
        own = {name for name in found if made.get(name) == number}
        yield frozenset(found & set(owners) - own)


def _calls(tree: ast.Module) -> Iterator[str]:
    """The plain names that a module calls when it is loaded: not those within its functions."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, names.Function):
            waiting += [
                *node.decorator_list,
                *node.args.defaults,
                *(value for value in node.args.kw_defaults if value is not None),
            ]
            continue
        if isinstance(node, ast.Lambda):
            continue
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id
        if isinstance(node, names.Definition):
            yield from (decorator.id for decorator in node.decorator_list if isinstance(decorator, ast.Name))
        waiting += ast.iter_child_nodes(node)


class _Bare(ast.NodeTransformer):
    """Without annotations: they mention classes and call nothing of them."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)
