"""Mutants that break one of the rules that hold for every answer (`course.checking.rules`), each with one statement or one call.

In a module of NumPy alone the same is done to arrays; there are no modes and no devices.

Left out are those that no test could tell: a squeezed number or table, a cast where nothing floating is returned, a view of what one
axis holds, and a change of what an argument's name no longer stands for.
"""

import ast
import copy
from collections.abc import Iterator, Mapping, Sequence

Change = tuple[str, ast.AST, ast.AST | list[ast.stmt]]

RESULT = "_result"
SPOILED = 2  # arguments of a stub that are changed in place, one a mutant


def aliases(tree: ast.Module) -> dict[str, ast.expr]:
    """What the module's own names stand for in an annotation: `Vector = Float[np.ndarray, " n"]`."""
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    return {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}


def written_out(annotation: ast.expr | None, names: Mapping[str, ast.expr]) -> str:
    """The text of an annotation with the module's aliases replaced by what they stand for; empty if there is none."""
    return "" if annotation is None else ast.unparse(_WrittenOut(names).visit(copy.deepcopy(annotation)))


class _WrittenOut(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, ast.expr]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.visit(copy.deepcopy(self.names[node.id])) if node.id in self.names else node


def breaches(
    function: ast.FunctionDef | ast.AsyncFunctionDef,
    body: Sequence[ast.stmt],
    names: Mapping[str, ast.expr],
    *,
    of_module: bool,
    numpy: bool = False,
) -> Iterator[Change]:
    """The changes that break a rule. body: the statements without the docstring; names: the module's `aliases`; of_module: whether it is a
    method of a module; numpy: whether the function is of a module that knows NumPy and no torch."""
    arguments = {a.arg: written_out(a.annotation, names) for a in _all(function.args)}
    first, returned = body[0], written_out(function.returns, names)
    yield "seed", first, [_statement("np.random.seed(0)" if numpy else "torch.manual_seed(0)"), first]
    tensors = [name for name, kind in arguments.items() if _is_tensor(kind)]
    rebound = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    unspoiled = [name for name in tensors if name not in rebound]
    for name in unspoiled[:SPOILED]:
        yield "argument changed", *_afterwards(body[-1], f"{name}[...] = 0" if numpy else f"{name}.zero_()")
    refusal = next((n for s in body for n in ast.walk(s) if isinstance(n, ast.Raise)), None)
    if unspoiled and refusal is not None:  # no value stays what it was
        other = f"{unspoiled[0]} == 0"
        code = f"{unspoiled[0]}[...] = {other}" if numpy else f"{unspoiled[0]}.copy_({other})"
        yield "changed, then refused", refusal, [_statement(code), refusal]
    called = {n.func.id for s in body for n in ast.walk(s) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    modules = [name for name, kind in arguments.items() if name in called or kind.endswith("Module")]
    for name in modules + (["self"] if of_module else []):
        yield "mode", *_afterwards(body[-1], f"{name}.train(not {name}.training)")
    if "Float" in returned:
        for name in [name for name in tensors if "Float" in arguments[name]][:1]:
            for cast in ("astype(np.float32)", "astype(np.float64)") if numpy else ("float()", "double()"):
                yield "dtype", first, [_statement(f"{name} = {name}.{cast}"), first]
    last = body[-1]
    given = {axis for kind in arguments.values() for axis in _axes(kind)}
    if isinstance(last, ast.Return) and last.value is not None and _is_tensor(returned) and given & set(_axes(returned)):
        yield "squeeze", last.value, ast.Call(ast.Attribute(last.value, "squeeze", ast.Load()), [], [])
    for node in (n for s in body for n in ast.walk(s)):
        if numpy or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute) or node.func.attr != "flatten":
            continue
        name = ast.unparse(node.func.value)
        bounds = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, int)]
        if name in set(tensors) - rebound and len(bounds) == len(node.args) and len(_axes(arguments[name])) > 1:
            yield "view", node, _viewed(name, *bounds)


def _viewed(name: str, first: int = 0, last: int | None = None) -> ast.expr:
    """What `name.flatten(first, last)` gives, by a view, which only a contiguous tensor allows."""
    before = f"*{name}.shape[:{first}], " if first else ""
    after = f", *{name}.shape[{last + 1}:]" if last is not None else ""
    return ast.parse(f"{name}.view({before}-1{after})", mode="eval").body


def _afterwards(last: ast.stmt, code: str) -> tuple[ast.stmt, list[ast.stmt]]:
    """`code` run when everything is computed, just before the function returns."""
    if not isinstance(last, ast.Return) or last.value is None:
        return last, [last, _statement(code)]
    kept = ast.Assign([ast.Name(RESULT, ast.Store())], last.value, lineno=0)
    return last, [kept, _statement(code), ast.Return(ast.Name(RESULT, ast.Load()))]


def _statement(code: str) -> ast.stmt:
    return ast.parse(code).body[0]


def _all(given: ast.arguments) -> list[ast.arg]:
    return [a for a in [*given.posonlyargs, *given.args, *given.kwonlyargs] if a.arg not in ("self", "cls")]


def _is_tensor(annotation: str) -> bool:
    """Whether it is one tensor, and always one."""
    return annotation.startswith(("Float[", "Int[", "Bool[")) and "|" not in annotation


def _axes(annotation: str) -> list[str]:
    """The names of the axes of an annotated tensor."""
    parts = annotation.replace('"', "'").split("'")
    return parts[1].split() if len(parts) > 1 else []
