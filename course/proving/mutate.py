"""First-order mutants of a stub: the module again and again, each time with one small mistake in the body of one function.

The classic operators are ours too, since neither library fitted when probed: cosmic-ray 8.7 can be called without its
framework, but 44 of its 51 mutants of a ten-line tensor function were arithmetic that only crashes (`<<`, `%`), it knows neither
statements nor arguments, and it brings SQLAlchemy and aiohttp; mutmut 3.8 refuses to work outside of a configured project.
Both think in text or in concrete syntax, whereas one `ast` for all operators is what lets us drop duplicates and give stable ids.

What is left out on purpose, because no test could tell, or because any test would: the text of error messages, `strict=` of
`zip`, deletions that leave a name undefined, and (unless `devices` is set, for an audit on an accelerator) the device.
"""

import ast
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from course.errors import CourseError
from course.proving.breaches import aliases, breaches, written_out
from course.units.source import find_definition


@dataclass(frozen=True)
class Mutant:
    """A module with one mistake. `before` and `after` are the code around it; `id` is made of these, not of where it stands."""

    id: str
    operator: str
    line: int
    before: str
    after: str
    source: str


# A change: the operator, the node to be replaced, and what takes its place (for a statement: any number of statements).
Change = tuple[str, ast.AST, ast.AST | list[ast.stmt]]

ARITHMETIC: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.Div,), ast.Div: (ast.Mult,), ast.FloorDiv: (ast.Mult,),
    ast.Mod: (ast.FloorDiv,), ast.Pow: (ast.Mult,), ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,), ast.BitXor: (ast.BitOr,),
}  # fmt: skip
NOT_COMMUTATIVE = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.MatMult)
# The boundary moved, and the contrary.
COMPARISON: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
}  # fmt: skip

REDUCTIONS = {
    "sum": ("mean",), "mean": ("sum",), "nansum": ("nanmean",), "nanmean": ("nansum",), "prod": ("sum",),
    "amax": ("amin", "sum"), "amin": ("amax",), "max": ("min",), "min": ("max",), "argmax": ("argmin",), "argmin": ("argmax",),
    "logsumexp": ("amax", "sum"), "any": ("all",), "all": ("any",), "std": ("var",), "var": ("std",), "median": ("mean",),
    "cumsum": ("cumprod",), "cumprod": ("cumsum",), "maximum": ("minimum",), "minimum": ("maximum",),
}  # fmt: skip
FUNCTIONS = {
    "log1p": ("log",), "log": ("log1p",), "expm1": ("exp",), "exp": ("expm1",), "exp2": ("exp",), "log2": ("log",),
    "sin": ("cos",), "cos": ("sin",), "sqrt": ("rsqrt", "square"), "rsqrt": ("sqrt",), "square": ("abs",), "abs": ("square",),
    "softmax": ("log_softmax", "softmin"), "log_softmax": ("softmax",), "sigmoid": ("tanh",), "logsigmoid": ("sigmoid",),
    "tanh": ("sigmoid",), "relu": ("leaky_relu", "softplus"), "gelu": ("relu",), "silu": ("relu",), "softplus": ("relu",),
    "floor": ("ceil",), "ceil": ("floor",), "round": ("floor",), "tril": ("triu",), "triu": ("tril",),
    "zeros": ("ones",), "ones": ("zeros",), "zeros_like": ("ones_like",), "ones_like": ("zeros_like",),
    "rand": ("randn",), "randn": ("rand",), "rand_like": ("randn_like",), "randn_like": ("rand_like", "zeros_like"),
    "cat": ("stack",), "stack": ("cat",), "concatenate": ("stack",), "repeat": ("repeat_interleave",), "repeat_interleave": ("repeat",),
    "lgamma": ("digamma",), "cross_entropy": ("nll_loss",), "mse_loss": ("l1_loss",), "l1_loss": ("mse_loss",),
    "expand": ("repeat",), "no_grad": ("enable_grad",), "enable_grad": ("no_grad",), "inference_mode": ("enable_grad",),
    "train": ("eval",), "eval": ("train",), "parameters": ("buffers",), "buffers": ("parameters",),
}  # fmt: skip
ATTRIBUTES = {"values": "indices", "indices": "values", "real": "imag", "imag": "real"}
IN_PLACE = {
    "abs", "add", "addcdiv", "addcmul", "clamp", "cos", "cumsum", "div", "exp", "expm1", "fill", "index_fill", "lerp", "log",
    "log1p", "masked_fill", "mul", "neg", "pow", "relu", "rsqrt", "scatter", "scatter_add", "sigmoid", "sin", "sqrt", "square",
    "squeeze", "sub", "t", "tanh", "transpose", "tril", "triu", "unsqueeze",
}  # fmt: skip

DIM_KEYWORDS = ("dim", "axis", "dims", "start_dim", "end_dim", "dim0", "dim1")
AXES_CALLS = ("transpose", "permute", "swapaxes", "movedim", "flatten", "unflatten", "gather", "scatter", "unsqueeze", "squeeze")
COUNTED = {"range", "arange", "linspace", "randint", "split", "chunk", "topk", "unfold", "narrow", "repeat", "repeat_interleave"}
SYMMETRIC = {"max", "min", "maximum", "minimum", "add", "mul", "logaddexp", "allclose", "isclose", "equal", "promote_types",
             "transpose", "swapaxes", "mse_loss", "l1_loss", "zip_longest", "eq", "ne", "logical_and", "logical_or"}  # fmt: skip
METADATA = {"shape", "dtype", "device", "ndim", "requires_grad", "is_cuda"}
# Calls that look at an argument without reading its numbers, or through which no gradient flows.
SHAPE_ONLY = {"len", "size", "dim", "numel", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
              "new_empty", "new_zeros", "new_ones", "new_full", "new_tensor", "type_as", "isinstance"}  # fmt: skip
NO_GRADIENT = SHAPE_ONLY | {"argmax", "argmin", "argsort", "one_hot", "arange", "detach", "item", "tolist", "isfinite", "isnan",
                            "multinomial", "bernoulli", "any", "all", "eq", "searchsorted", "parameters", "buffers", "finfo"}  # fmt: skip
BUILTINS = {"len", "range", "zip", "list", "tuple", "dict", "set", "enumerate", "isinstance", "int", "float", "bool", "str",
            "max", "min", "sum", "print", "super", "sorted", "reversed", "getattr", "abs", "round", "all", "any", "map"}  # fmt: skip
NEVER_DROPPED = {"contiguous", "size", "dim", "parameters", "buffers", "named_parameters", "items", "keys", "tolist"}


@dataclass
class Scope:
    """What the operators may know about the function besides the node at hand."""

    function: ast.FunctionDef | ast.AsyncFunctionDef
    imported: set[str]
    detached: frozenset[str]  # arguments of which no gradient is asked
    devices: bool
    aliases: dict[str, ast.expr]  # of annotations
    parents: dict[int, tuple[ast.AST, str, int | None]] = field(default_factory=dict)
    arguments: dict[str, ast.arg] = field(default_factory=dict)
    defaults: dict[str, ast.expr] = field(default_factory=dict)
    bound: Counter[str] = field(default_factory=Counter)  # how often a name is assigned
    loaded: Counter[str] = field(default_factory=Counter)
    differentiable: set[str] = field(default_factory=set)

    @property
    def library(self) -> str:
        """What the module calls that which computes: `np` if it knows NumPy and no torch, so that there are no gradients; else `torch`."""
        return "np" if "np" in self.imported and "torch" not in self.imported else "torch"

    def parent(self, node: ast.AST) -> ast.AST:
        return self.parents[id(node)][0]

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        while id(node) in self.parents:
            node = self.parents[id(node)][0]
            yield node

    def annotation(self, name: str) -> str:
        argument = self.arguments.get(name)
        return written_out(argument.annotation, self.aliases) if argument is not None else ""

    def is_tensor(self, name: str) -> bool:
        return any(word in self.annotation(name) for word in ("Float[", "Int[", "Bool[", "Tensor"))

    def without_gradient(self, node: ast.AST) -> bool:
        """Whether `node` stands under a `no_grad`, be it a decorator or a block."""
        blocks = [item.context_expr for a in self.ancestors(node) if isinstance(a, ast.With) for item in a.items]
        return any(
            "no_grad" in ast.unparse(x) or "inference_mode" in ast.unparse(x) for x in [*blocks, *self.function.decorator_list]
        )

    def flows(self, node: ast.AST) -> bool:
        """Whether gradients may flow through the value of `node`, as far as one can see without running it."""
        if isinstance(node, ast.Name):
            return node.id in self.differentiable
        if isinstance(node, ast.Attribute):
            return node.attr not in METADATA and self.flows(node.value)
        if isinstance(node, ast.Compare | ast.BoolOp | ast.Constant):
            return False
        if isinstance(node, ast.Call):
            if called(node) in NO_GRADIENT:
                return False
            root = root_name(node.func)
            if root in self.detached:
                return False
            if root == "self" or (isinstance(node.func, ast.Name) and root in self.arguments):
                return True  # a layer with weights
            values: list[ast.AST] = [*node.args, *(k.value for k in node.keywords)]
            return any(map(self.flows, values)) or (isinstance(node.func, ast.Attribute) and self.flows(node.func.value))
        return any(map(self.flows, ast.iter_child_nodes(node)))


def mutants(source: str, stub: str, *, no_gradient: Iterable[str] = (), devices: bool = False) -> list[Mutant]:
    """All first-order mutants of the body of `stub` in the module `source`, without duplicates.

    no_gradient: arguments that a right answer may as well detach, since they are data (`self` stands for a module's weights).
    devices: also the mutants that only another device than the CPU can tell. Raises CourseError if there is no such function.
    """
    tree = ast.parse(source)
    function = find_definition(tree.body, stub)
    if function is None or isinstance(function, ast.ClassDef):
        raise CourseError(f"{stub!r} is no function of the module: it cannot be mutated")
    scope = _survey(tree, function, frozenset(no_gradient), devices)
    writer = _Writer(source, function, scope)
    seen = {ast.dump(function)}
    found: list[Mutant] = []
    counts: Counter[tuple[str, str, str]] = Counter()
    of_module = any(
        isinstance(node, ast.ClassDef) and function in node.body and any("Module" in ast.unparse(base) for base in node.bases)
        for node in tree.body
    )
    broken = breaches(function, _body(function), scope.aliases, of_module=of_module, numpy=scope.library == "np")
    # The breaches last: a change that both make keeps its older name.
    for operator, target, replacement in itertools.chain(_changes(function, scope), broken):
        made = writer.write(target, replacement, seen)
        if made is None:
            continue
        before, after, text = made
        counts[operator, before, after] += 1
        line = getattr(target, "lineno", function.lineno)
        found.append(
            Mutant(_identity(operator, before, after, counts[operator, before, after]), operator, line, before, after, text)
        )
    return found


def _identity(operator: str, before: str, after: str, occurrence: int) -> str:
    text = f"{before} -> {after}" if before else after
    if len(text) > 100:
        digest = hashlib.sha256(text.encode()).hexdigest()[:6]
        text = f"{before[:32]}… -> {after[:32]}… {digest}"
    return f"{operator}: {text}" + (f" #{occurrence}" if occurrence > 1 else "")


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) is not None else function.body


def _survey(tree: ast.Module, function: ast.FunctionDef | ast.AsyncFunctionDef, detached: frozenset[str], devices: bool) -> Scope:
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
    scope = Scope(function, names, detached, devices, aliases(tree))
    waiting: list[ast.AST] = [function]
    while waiting:
        node = waiting.pop()
        for name, value in ast.iter_fields(node):
            for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(child, ast.AST):
                    scope.parents[id(child)] = (node, name, index)
                    waiting.append(child)
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    scope.arguments = {a.arg: a for a in [*positional, *given.kwonlyargs] if a.arg not in ("self", "cls")}
    pairs = [
        *zip(reversed(positional), reversed(given.defaults), strict=False),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    scope.defaults = {argument.arg: default for argument, default in pairs if default is not None}
    scope.bound.update(list(scope.arguments))
    scope.differentiable = {
        name for name in scope.arguments if "Float[" in scope.annotation(name) or scope.annotation(name) == "Tensor"
    }
    scope.differentiable -= detached
    if scope.library == "np" or any(called(node) == "backward" for node in ast.walk(function)):
        scope.differentiable = set()  # or a training step: gradients go to weights, and its inputs are data
    for statement in _body(function):
        for node in ast.walk(statement):
            if isinstance(node, ast.Name):
                (scope.loaded if isinstance(node.ctx, ast.Load) else scope.bound)[node.id] += 1
    for _ in range(2):  # twice, for loops
        for statement in _body(function):
            for node in ast.walk(statement):
                sources = [(node.targets, node.value)] if isinstance(node, ast.Assign) else []
                sources += [([node.target], node.iter)] if isinstance(node, ast.For | ast.comprehension) else []
                for targets, origin in sources:
                    if scope.flows(origin) and not scope.without_gradient(origin):
                        stored = [
                            n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
                        ]
                        scope.differentiable.update(stored)
    return scope


class _Writer:
    """Puts a change into the tree, writes the module with it in the author's own layout, and takes it out again."""

    def __init__(self, source: str, function: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        self.lines = source.encode().splitlines(keepends=True)  # columns of the tree count bytes
        self.function, self.scope = function, scope
        self.first, self.last = function.lineno, function.end_lineno or function.lineno
        self.offsets = [0, *itertools.accumulate(map(len, self.lines))]
        self.raw = b"".join(self.lines)

    def write(self, target: ast.AST, replacement: ast.AST | list[ast.stmt], seen: set[str]) -> tuple[str, str, str] | None:
        """The code around the change before and after, and the module with it. None if that module was `seen` already."""
        around = self._around(target, replacement)
        before = _words(around)
        parent, name, index = self.scope.parents[id(target)]
        value = getattr(parent, name)
        if index is None:
            setattr(parent, name, replacement)
        else:
            put = replacement if isinstance(replacement, list) else [replacement]
            setattr(parent, name, [*value[:index], *put, *value[index + 1 :]])
        try:
            dump = ast.dump(self.function)
            if dump in seen:
                return None
            seen.add(dump)
            after = _words(replacement if around is target else around)
            if isinstance(replacement, list) and target in replacement:  # a statement put beside it
                before, after = "", _words([item for item in replacement if item is not target])
            return before, after, self._module(target, replacement, dump)
        finally:
            setattr(parent, name, value)

    def _around(self, target: ast.AST, replacement: ast.AST | list[ast.stmt]) -> ast.AST:
        """The smallest piece of code that says what is changed: for a number the call or the sum that it stands in."""
        node = target
        small = (
            ast.Constant,
            ast.Name,
            ast.keyword,
            ast.UnaryOp,
            ast.Slice,
            ast.Tuple,
            ast.List,
            ast.operator,
            ast.cmpop,
            ast.withitem,
        )
        while isinstance(node, small) or (isinstance(node, ast.expr) and isinstance(replacement, ast.Name | ast.Constant)):
            parent = self.scope.parent(node)
            if isinstance(parent, ast.stmt | ast.comprehension):
                return node if isinstance(node, ast.expr) else parent
            node = parent
            if not isinstance(node, small) and isinstance(node, ast.expr):
                break
        return node if len(_words(node)) <= 80 or not isinstance(target, ast.expr) else target

    def _module(self, target: ast.AST, replacement: ast.AST | list[ast.stmt], dump: str) -> str:
        """The module's text with the change in the smallest piece that can be written anew, so that its layout stays."""
        node, written = target, replacement
        while True:
            for text in self._spliced(node, written):
                if self._parsed(text) == dump:
                    return (self.raw[: self.offsets[self.first - 1]] + text + self.raw[self.offsets[self.last] :]).decode()
            assert node is not self.function, f"cannot write the change of {_words(target)}"
            written = node = self.scope.parent(node)

    def _parsed(self, text: bytes) -> str:
        """The dump of a function's text, with the decorators that stand above it."""
        try:
            (node,) = ast.parse(b"if 1:\n" + text if self.function.col_offset else text).body
        except SyntaxError:
            return ""
        node = node.body[0] if isinstance(node, ast.If) else node
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        node.decorator_list = self.function.decorator_list
        return ast.dump(node)

    def _spliced(self, target: ast.AST, replacement: ast.AST | list[ast.stmt]) -> Iterator[bytes]:
        """The function's text with the change in it, in the ways in which it might be right."""
        if not isinstance(target, ast.expr | ast.stmt | ast.keyword):
            return
        base = self.offsets[self.first - 1]
        start = self.offsets[target.lineno - 1] + target.col_offset
        end = self.offsets[(target.end_lineno or target.lineno) - 1] + (target.end_col_offset or 0)
        head, old, tail = self.raw[base:start], self.raw[start:end], self.raw[end : self.offsets[self.last]]
        indent = " " * target.col_offset
        if isinstance(replacement, list):
            pieces = [old.decode() if item is target else ast.unparse(item).replace("\n", "\n" + indent) for item in replacement]
            yield head + f"\n{indent}".join(pieces).encode() + tail
            if len(replacement) == 1 and isinstance(replacement[0], ast.With):  # a block around it, its lines moved in
                header = ast.unparse(block(replacement[0].items, [ast.Pass()])).splitlines()[0]
                moved = (indent + old.decode()).replace("\n", "\n    ")
                yield head + f"{header}\n    {moved}".encode() + tail
            return
        text = ast.unparse(replacement)
        if isinstance(replacement, ast.stmt):
            text = text.replace("\n", "\n" + indent)
        for shown in (text, f"({text})"):
            yield head + shown.encode() + tail


def _words(node: ast.AST | list[ast.stmt]) -> str:
    """Code on one line, spaced in one way."""
    nodes = node if isinstance(node, list) else [node]
    return " ".join("; ".join(ast.unparse(n) for n in nodes).split())


# What follows looks at nodes. Helpers first, then one generator for each kind of node, and last the walk.


def called(node: ast.AST) -> str:
    """The last name of what a call calls: `sum` of `x.exp().sum(dim=1)`; empty if it is no call."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""


def root_name(node: ast.AST) -> str:
    """`torch` of `torch.nn.functional.relu`; empty where something other than a name is at the root."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def code(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def number(node: ast.AST) -> int | float | None:
    """The value of a literal number, signed or not."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]
    return None


def literal(value: int | float) -> ast.expr:
    return code(repr(value))


def call_with(node: ast.Call, args: Iterable[ast.expr] | None = None, keywords: Iterable[ast.keyword] | None = None) -> ast.Call:
    return ast.Call(node.func, list(node.args if args is None else args), list(node.keywords if keywords is None else keywords))


def method(value: ast.expr, name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(ast.Attribute(value, name, ast.Load()), list(args), [])


def block(items: list[ast.withitem], body: list[ast.stmt]) -> ast.With:
    return ast.With(items, body, lineno=0)


def swapped(items: list[Any]) -> Iterator[list[Any]]:
    """`items` with each two neighbours exchanged."""
    for i in range(len(items) - 1):
        yield [*items[:i], items[i + 1], items[i], *items[i + 2 :]]


def beside(node: ast.expr) -> Iterator[ast.expr]:
    """One more and one less than an expression that is not a literal (literals are mutated wherever they stand)."""
    if number(node) is None and not isinstance(node, ast.Constant | ast.Starred):
        yield ast.BinOp(node, ast.Add(), literal(1))
        yield ast.BinOp(node, ast.Sub(), literal(1))


def _changes(function: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Iterator[Change]:
    """Operators for tensors come before the classic ones, so that a change that both make is called by the better name."""
    nodes = list(_visible(_body(function)))
    yield from _whole_body(function, scope)
    for node in nodes:
        if isinstance(node, ast.Call):
            yield from _call(node, scope)
        elif isinstance(node, ast.Subscript):
            yield from _subscript(node)
        elif isinstance(node, ast.Attribute):
            yield from _attribute(node)
        elif isinstance(node, ast.With):
            yield from _with(node)
        elif isinstance(node, ast.List | ast.Tuple):
            yield from _display(node)
        elif isinstance(node, ast.Name):
            yield from _name(node, scope)
        elif isinstance(node, ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp):
            yield from _comprehension(node)
        elif isinstance(node, ast.BinOp | ast.AugAssign):
            yield from _binary(node, scope)
    for node in nodes:
        if isinstance(node, ast.Compare):
            yield from _compare(node)
        elif isinstance(node, ast.BoolOp | ast.IfExp):
            yield from _logic(node)
        elif isinstance(node, ast.UnaryOp):
            yield from _unary(node, scope)
        elif isinstance(node, ast.Constant):
            yield from _constant(node, scope)
        elif isinstance(node, ast.stmt):
            yield from _statement(node, scope)


def _visible(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes in the order of the code, without annotations and without the texts of errors and of f-strings."""
    for node in body:
        yield node
        if isinstance(node, ast.Raise | ast.JoinedStr):
            continue
        children = [child for name, child in _fields(node) if name not in ("annotation", "op", "ops", "ctx")]
        yield from _visible(children)


def _fields(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield name, child


def _whole_body(function: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> Iterator[Change]:
    first = _body(function)[0]
    for name in scope.arguments:
        for value in _stand_ins(name, scope):
            if any(
                isinstance(n, ast.Name) and n.id == name and not _looked_at(n, scope)
                for s in _body(function)
                for n in ast.walk(s)
            ):
                yield "argument ignored", first, [ast.Assign([ast.Name(name, ast.Store())], value, lineno=0), first]
    for statement in _body(function):
        if not isinstance(statement, ast.Assign | ast.Return) or statement.value is None:
            continue
        if scope.flows(statement.value) and not scope.without_gradient(statement):
            yield "no_grad", statement, [block([ast.withitem(code("torch.no_grad()"))], [statement])]


def _stand_ins(name: str, scope: Scope) -> Iterator[ast.expr]:
    """What a learner who overlooks an argument would in effect compute with."""
    if name in scope.defaults:
        yield scope.defaults[name]
    if scope.annotation(name).startswith("Bool["):
        yield method(code(scope.library), "ones_like", ast.Name(name, ast.Load()))
    elif scope.is_tensor(name) and "tuple[" not in scope.annotation(name) and "list[" not in scope.annotation(name):
        yield method(code(scope.library), "zeros_like", ast.Name(name, ast.Load()))
        yield method(code(scope.library), "ones_like", ast.Name(name, ast.Load()))
    elif scope.annotation(name) in ("int", "float") and name not in scope.defaults:
        yield literal(1)
    elif scope.annotation(name) == "bool":
        yield code("True")
        yield code("False")


def _looked_at(node: ast.Name, scope: Scope) -> bool:
    """Whether only the shape, type or device of a name is asked for at this place, not its numbers."""
    parent = scope.parent(node)
    if isinstance(parent, ast.Attribute):
        return parent.attr in METADATA or (parent.attr in SHAPE_ONLY and called(scope.parent(parent)) == parent.attr)
    return isinstance(parent, ast.Call) and called(parent) in SHAPE_ONLY and parent.args[:1] == [node]


def _name(node: ast.Name, scope: Scope) -> Iterator[Change]:
    if not isinstance(node.ctx, ast.Load) or _looked_at(node, scope):
        return
    parent = scope.parent(node)
    if isinstance(parent, ast.Call) and parent.func is node:
        return
    if node.id in scope.arguments and scope.bound[node.id] == 1:
        if any(
            isinstance(a, ast.Compare) and any(isinstance(o, ast.Is | ast.IsNot) for o in a.ops) for a in scope.ancestors(node)
        ):
            return
        annotation = scope.annotation(node.id)
        kin = [name for name in scope.arguments if scope.annotation(name) == annotation and annotation]
        if len(kin) > 1:
            other = kin[(kin.index(node.id) + 1) % len(kin)]
            yield "argument confused", node, ast.Name(other, ast.Load())
        if scope.loaded[node.id] > 1:
            for value in itertools.islice(_stand_ins(node.id, scope), 1):
                yield "argument ignored", node, value
    if "Bool[" in scope.annotation(node.id):
        yield "mask", node, ast.UnaryOp(ast.Invert(), node)
    # A comparison passes no gradient on, and neither does what only steers a branch.
    matters = all(scope.flows(a) for a in scope.ancestors(node) if isinstance(a, ast.expr))
    if node.id in scope.differentiable and matters and not scope.without_gradient(node):
        yield "detach", node, method(node, "detach")


def _call(node: ast.Call, scope: Scope) -> Iterator[Change]:
    name, parent = called(node), scope.parent(node)
    attribute = node.func if isinstance(node.func, ast.Attribute) else None
    library = attribute is not None and root_name(attribute) in scope.imported  # torch.exp(x), not x.exp()
    of_self = attribute is not None and root_name(attribute) in ("self", "super")
    yield from _dims(node, name, scope.library == "np")
    for keyword in node.keywords:
        others = [k for k in node.keywords if k is not keyword]
        if keyword.arg == "strict" or (keyword.arg == "device" and not scope.devices):
            continue
        operator = keyword.arg if keyword.arg in ("dim", "keepdim", "dtype", "device", "diagonal") else "keyword dropped"
        operator = {"axis": "dim", "keepdims": "keepdim"}.get(str(keyword.arg), operator)
        if keyword.arg in ("correction", "unbiased", "ddof"):
            operator = "bias"
        yield str(operator), node, call_with(node, keywords=others)
        if keyword.arg == "dtype":
            other = "float32" if "float64" in ast.unparse(keyword.value) else "float64"
            yield "dtype", keyword.value, code(f"{scope.library}.{other}")
        if keyword.arg == "device":
            yield "device", keyword.value, code("'cpu'")
    if name in ("var", "std", "var_mean", "std_mean") and not any(
        k.arg in ("correction", "unbiased", "ddof") for k in node.keywords
    ):
        uncorrected = ast.keyword("ddof", literal(1)) if scope.library == "np" else ast.keyword("correction", literal(0))
        yield "bias", node, call_with(node, keywords=[*node.keywords, uncorrected])
    if name in ("tril", "triu"):
        given = [k for k in node.keywords if k.arg == "diagonal"]
        for keyword in given:
            for value in beside(keyword.value):
                yield "diagonal", keyword.value, value
        if not given and len(node.args) == int(library):
            for offset in (1, -1):
                yield "diagonal", node, call_with(node, keywords=[*node.keywords, ast.keyword("diagonal", literal(offset))])
    if name in ("lerp", "lerp_") and node.args:
        yield "lerp", node.args[-1], ast.BinOp(literal(1), ast.Sub(), node.args[-1])
    if name == "where" and not library and node.args:
        yield "where", node.args[0], ast.UnaryOp(ast.Invert(), node.args[0])
    if name in COUNTED:
        for argument in node.args[int(library and name not in ("arange", "linspace", "randint")) :]:
            strided = len(node.args) == 3 and argument is node.args[1]  # one less may well be no less
            for value in itertools.islice(beside(argument), 1 if strided else 2):
                yield "off by one", argument, value
    if name == "len" and not isinstance(parent, ast.Compare):
        yield "batch size", node, literal(2)
    # Other functions, other order of arguments.
    if attribute is not None:
        table = REDUCTIONS if name in REDUCTIONS else FUNCTIONS
        for other in table.get(name, ()):
            yield (
                ("reduction" if name in REDUCTIONS else "function"),
                attribute,
                ast.Attribute(attribute.value, other, ast.Load()),
            )
    if name not in SYMMETRIC and not any(isinstance(a, ast.Starred) for a in node.args):
        for order in swapped(node.args):
            if not (library and name in ("full", "zeros", "ones") and len(node.args) == 1):
                yield "arguments swapped", node, call_with(node, args=order)
    # Casts.
    if name in ("float", "double", "half", "bfloat16") and attribute is not None and not library:
        yield "dtype", attribute, ast.Attribute(attribute.value, "float" if name == "double" else "double", ast.Load())
    if name == "astype" and not any("float64" in ast.unparse(a) for a in node.args):
        yield "dtype", node, call_with(node, args=[code("np.float64")])
    if name == "to" and any("dtype" in ast.unparse(a) for a in node.args):
        yield "dtype", node, call_with(node, args=[code("torch.float64")])
    # Dropped, in place.
    if isinstance(parent, ast.Expr | ast.withitem):
        pass  # a statement is deleted elsewhere
    elif attribute is not None and not library and not of_self:
        is_device = name == "to" and any("device" in ast.unparse(a) for a in [*node.args, *(k.value for k in node.keywords)])
        if name not in NEVER_DROPPED and not name.startswith("new_") and (scope.devices or not is_device):
            yield ("detach" if name == "detach" else "call dropped"), node, attribute.value
    elif node.args and name[:1].islower() and name not in (SHAPE_ONLY if library or of_self else SHAPE_ONLY | BUILTINS):
        yield "call dropped", node, node.args[0]
    yield from _in_place(node, name, attribute, library, scope)


def _in_place(node: ast.Call, name: str, attribute: ast.Attribute | None, library: bool, scope: Scope) -> Iterator[Change]:
    """Writing into a value that someone else still reads; on a passing value it would make no difference."""
    if attribute is None:
        return
    if name.endswith("_") and not name.startswith("_") and name[:-1] in IN_PLACE:
        yield "in place", attribute, ast.Attribute(attribute.value, name[:-1], ast.Load())
    receiver = node.args[0] if library and node.args else attribute.value
    if name not in IN_PLACE or not isinstance(receiver, ast.Name) or receiver.id not in scope.differentiable:
        return
    parent = scope.parent(node)
    rebound = isinstance(parent, ast.Assign) and ast.unparse(parent.targets[0]) == receiver.id
    if scope.without_gradient(node) or (receiver.id not in scope.arguments and (rebound or scope.loaded[receiver.id] == 1)):
        return
    rest = node.args[1:] if library else node.args
    yield "in place", node, ast.Call(ast.Attribute(receiver, name + "_", ast.Load()), rest, node.keywords)


def _dims(node: ast.Call, name: str, numpy: bool) -> Iterator[Change]:
    for keyword in node.keywords:
        if keyword.arg in DIM_KEYWORDS:
            for value in _other_dims(keyword.value):
                yield "dim", keyword.value, value
        if keyword.arg in ("keepdim", "keepdims") and isinstance(keyword.value, ast.Constant):
            yield "keepdim", keyword.value, ast.Constant(not keyword.value.value)
    given = {k.arg for k in node.keywords} & {"dim", "axis"}
    reduces = (name in REDUCTIONS or name in ("norm", "var", "std")) and bool(given)
    if reduces and name not in ("cumsum", "cumprod") and not any(k.arg in ("keepdim", "keepdims") for k in node.keywords):
        keep = "keepdims" if "axis" in given else "keepdim"
        yield "keepdim", node, call_with(node, keywords=[*node.keywords, ast.keyword(keep, ast.Constant(True))])
    if name in ("cat", "stack", "concatenate") and len(node.args) == 1 and not given:
        for dim in (1, -1):
            yield "dim", node, call_with(node, keywords=[ast.keyword("axis" if numpy else "dim", literal(dim))])
    if name == "permute":
        for order in swapped(node.args):
            yield "axes", node, call_with(node, args=order)


def _other_dims(node: ast.expr) -> Iterator[ast.expr]:
    """Neighbouring axes. Never the same one counted from the other end: that would be no mistake."""
    value = number(node)
    if isinstance(value, int):
        others = {0: (1,), -1: (-2, 0)}.get(value, (value - 1, value + 1))
        yield from map(literal, others)
    if isinstance(node, ast.Tuple | ast.List) and len(node.elts) > 1:
        for i in range(len(node.elts)):
            yield ast.Tuple([item for j, item in enumerate(node.elts) if j != i], ast.Load())


def _subscript(node: ast.Subscript) -> Iterator[Change]:
    index = node.slice
    if isinstance(node.value, ast.Attribute) and node.value.attr == "shape" and isinstance(node.ctx, ast.Load):
        if number(index) is not None:
            yield "batch size", node, literal(2)
        return
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    for part in parts:
        if isinstance(part, ast.Slice):
            yield from _slice(part)
        elif not isinstance(part, ast.Name | ast.Compare | ast.Starred):
            for value in beside(part):
                yield "off by one", part, value
    if isinstance(index, ast.Tuple):
        for order in swapped(index.elts):
            yield "axes", index, ast.Tuple(order, ast.Load())
        for i, part in enumerate(index.elts):
            if isinstance(part, ast.Constant) and part.value is None:
                rest = index.elts[:i] + index.elts[i + 1 :]
                yield "broadcast", index, rest[0] if len(rest) == 1 else ast.Tuple(rest, ast.Load())


def _slice(part: ast.Slice) -> Iterator[Change]:
    if part.lower is None and part.upper is None and part.step is None:
        return
    for bound in (part.lower, part.upper):
        if bound is not None:
            for value in beside(bound):
                yield "slice", bound, value
    lower, upper, step = part.lower, part.upper, part.step
    if lower is None:
        yield "slice", part, ast.Slice(literal(1), upper, step)
    elif number(lower) != 0:
        yield "slice", part, ast.Slice(None, upper, step)
    if upper is not None or step is None or (lower is not None and number(lower) != 0):  # else the last one may be skipped anyway
        yield "slice", part, ast.Slice(lower, None if upper is not None else literal(-1), step)
    if step is not None:
        yield "slice", part, ast.Slice(lower, upper, None)


def _attribute(node: ast.Attribute) -> Iterator[Change]:
    if node.attr in ATTRIBUTES and isinstance(node.ctx, ast.Load):
        yield "function", node, ast.Attribute(node.value, ATTRIBUTES[node.attr], ast.Load())
    if node.attr in ("T", "mT", "H", "mH"):
        yield "axes", node, node.value


def _with(node: ast.With) -> Iterator[Change]:
    for item in node.items:
        others = [other for other in node.items if other is not item]
        operator = "no_grad" if called(item.context_expr) in ("no_grad", "inference_mode") else "context dropped"
        yield operator, node, [block(others, node.body)] if others else list(node.body)


def _display(node: ast.List | ast.Tuple) -> Iterator[Change]:
    if isinstance(node.ctx, ast.Load) and len(node.elts) > 1:
        if any(isinstance(e, ast.Slice) or (isinstance(e, ast.Constant) and e.value is None) for e in node.elts):
            return  # an index, which `_subscript` looks after
        for order in swapped(node.elts):
            yield "order", node, type(node)(order, node.ctx)


def _comprehension(node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp) -> Iterator[Change]:
    for generator in node.generators:
        for test in generator.ifs:
            yield "condition", test, ast.UnaryOp(ast.Not(), test)
            yield "condition", test, ast.Constant(True)
        yield from _shorter(generator.iter)
        if isinstance(node, ast.ListComp | ast.GeneratorExp) and len(node.generators) == 1:
            yield "order", generator.iter, ast.Subscript(code_call("list", generator.iter), code_slice("::-1"), ast.Load())


def _shorter(iterable: ast.expr) -> Iterator[Change]:
    """A loop without its first or its last round."""
    for bounds in ("1:", ":-1"):
        yield "loop", iterable, ast.Subscript(code_call("list", iterable), code_slice(bounds), ast.Load())


def code_call(name: str, argument: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), [argument], [])


def code_slice(bounds: str) -> ast.expr:
    subscript = code(f"x[{bounds}]")
    assert isinstance(subscript, ast.Subscript)
    return subscript.slice


def _binary(node: ast.BinOp | ast.AugAssign, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.AugAssign):
        for other in ARITHMETIC.get(type(node.op), ()):
            yield "arithmetic", node, ast.AugAssign(node.target, other(), node.value)
        yield "arithmetic", node, ast.Assign([node.target], node.value, lineno=0)
        return
    left, right = node.left, node.right
    if not isinstance(node.op, ast.MatMult | ast.Mod | ast.FloorDiv):
        tiny = [
            abs(value) <= 1e-3 if (value := number(side)) else "eps" in ast.unparse(side).split(".")[-1] for side in (left, right)
        ]
        name = (
            "scale"
            if isinstance(node.op, ast.Mult | ast.Div)
            else "mask"
            if isinstance(node.op, ast.BitAnd | ast.BitOr)
            else "term"
        )
        yield ("eps" if tiny[1] else name), node, left
        yield ("eps" if tiny[0] else name), node, right
    for other in ARITHMETIC.get(type(node.op), ()):
        yield "arithmetic", node, ast.BinOp(left, other(), right)
    if isinstance(node.op, NOT_COMMUTATIVE):
        yield "operands", node, ast.BinOp(right, node.op, left)


def _compare(node: ast.Compare) -> Iterator[Change]:
    for i, op in enumerate(node.ops):
        for other in COMPARISON.get(type(op), ()):
            yield "comparison", node, ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators)
    if len(node.ops) > 1:
        yield "comparison", node, ast.Compare(node.left, node.ops[:-1], node.comparators[:-1])
        yield "comparison", node, ast.Compare(node.comparators[0], node.ops[1:], node.comparators[1:])


def _logic(node: ast.BoolOp | ast.IfExp) -> Iterator[Change]:
    if isinstance(node, ast.IfExp):
        yield "condition", node, node.body
        yield "condition", node, node.orelse
        yield "condition", node, ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        return
    yield "boolean", node, ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    for i in range(len(node.values)):
        rest = node.values[:i] + node.values[i + 1 :]
        yield "boolean", node, rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)


def _unary(node: ast.UnaryOp, scope: Scope) -> Iterator[Change]:
    if isinstance(node.op, ast.Invert):
        yield "mask", node, node.operand
    elif isinstance(node.op, ast.Not):
        yield "boolean", node, node.operand
    elif isinstance(number(node), int):
        parent = scope.parent(node)
        of_shape = any(isinstance(a, ast.Subscript) and ast.unparse(a.value).endswith(".shape") for a in scope.ancestors(node))
        if not isinstance(parent, ast.Call | ast.keyword | ast.Tuple) and not of_shape:
            yield "sign", node, node.operand  # but an axis counted from the other end may be the same one
        yield from _numbers(node, scope)
    else:
        yield "sign", node, node.operand


def _constant(node: ast.Constant, scope: Scope) -> Iterator[Change]:
    parent = scope.parent(node)
    if isinstance(parent, ast.keyword) and (parent.arg == "strict" or (parent.arg == "device" and not scope.devices)):
        return
    if isinstance(node.value, bool):
        yield "constant", node, ast.Constant(not node.value)
    elif isinstance(node.value, str) and not isinstance(parent, ast.Expr):
        yield "constant", node, ast.Constant("" if node.value else "x")
    elif isinstance(node.value, int | float) and not (isinstance(parent, ast.UnaryOp) and isinstance(node.value, int)):
        yield from _numbers(node, scope)


def _numbers(node: ast.expr, scope: Scope) -> Iterator[Change]:
    value = number(node)
    assert value is not None
    parent = scope.parent(node)
    if isinstance(parent, ast.keyword) and parent.arg in DIM_KEYWORDS:
        return  # `_dims` has done it
    if isinstance(parent, ast.Call) and called(parent) in AXES_CALLS:
        others: tuple[float, ...] = {0: (1,), -1: (-2, 0)}.get(int(value), (value - 1, value + 1))
    elif isinstance(value, int):
        others = (value + 1, value - 1, 0)
    elif 0 < abs(value) <= 1e-3:
        others = (0.0, 1000 * value)
    else:
        others = (0.0, 2 * value, value / 2)
    for other in others:
        if other != value:
            yield "constant", node, literal(other)


def _statement(node: ast.stmt, scope: Scope) -> Iterator[Change]:
    if isinstance(node, ast.Return) and node.value is not None:
        yield "return", node, ast.Return(ast.Constant(None))
        if isinstance(node.value, ast.BinOp | ast.Call | ast.Name) and scope.flows(node.value):
            yield "sign", node.value, ast.UnaryOp(ast.USub(), node.value)
            if not scope.without_gradient(node):
                yield "detach", node.value, method(node.value, "detach")
        return
    if isinstance(node, ast.If | ast.While):
        yield "condition", node.test, ast.UnaryOp(ast.Not(), node.test)
    if isinstance(node, ast.If):
        yield "branch", node.test, ast.Constant(True)
        yield "branch", node.test, ast.Constant(False)
    elif isinstance(node, ast.For):
        yield from _shorter(node.iter)
    elif isinstance(node, ast.Raise):
        yield "raise", node, ast.Pass()
        if isinstance(node.exc, ast.Call):
            yield "raise", node.exc, ast.Call(code("RuntimeError"), node.exc.args, node.exc.keywords)
    elif isinstance(node, ast.Break):
        yield "loop", node, ast.Continue()
    elif isinstance(node, ast.Continue):
        yield "loop", node, ast.Break()
    if isinstance(node, ast.Assign):
        stored = [
            n for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        ]
        if isinstance(node.value, ast.Attribute) and node.value.attr == "shape" and stored:
            yield "batch size", node, [node, ast.Assign([ast.Name(stored[0].id, ast.Store())], literal(2), lineno=0)]
        if stored and all(scope.bound[n.id] == 1 for n in stored):
            return  # what reads it would only find nothing
    if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Expr | ast.Delete | ast.Assert):
        yield "statement", node, ast.Pass()
