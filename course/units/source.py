"""Source code as text: split a module at its top-level definitions, cut holes, follow its imports.

Nothing here imports or runs what it reads.
"""

import ast
import io
import textwrap
import tokenize
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from course.errors import CourseError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class AnswerError(Exception):
    """A learner's notebook cannot be read as an answer; the message is for the learner."""


@dataclass(frozen=True)
class Segment:
    """A run of whole source lines: one definition with the comments above it, or neighbouring imports or statements."""

    kind: str  # imports, function, class, statements
    name: str  # of the definition; of the first assigned name; else empty
    text: str


def parse_module(source: str) -> tuple[str, list[Segment]]:
    """The docstring of a module and its segments; joined with blank lines between them, these say the same as `source`."""
    tree = ast.parse(source)
    lines = lines_of(source)
    body = tree.body
    docstring = ast.get_docstring(tree) or ""
    if docstring:
        body = body[1:]
    segments: list[Segment] = []
    for node in body:
        start, end = first_line(node, lines), node.end_lineno or node.lineno
        text = "\n".join(lines[start - 1 : end])
        if isinstance(node, ast.Import | ast.ImportFrom):
            if segments and segments[-1].kind == "imports":
                gap = "\n" * (1 + (lines[start - 2].strip() == ""))
                segments[-1] = Segment("imports", "", segments[-1].text + gap + text)
                continue
            segments.append(Segment("imports", "", text))
        elif isinstance(node, ast.ClassDef):
            segments.append(Segment("class", node.name, text))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            segments.append(Segment("function", node.name, text))
        else:
            segments.append(Segment("statements", _assigned(node), text))
    return docstring, segments


def lines_of(code: str) -> list[str]:
    """The lines of code as Python counts them: `str.splitlines` ends one at a form feed and at U+2028 too."""
    return code.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n").split("\n")


def first_line(node: ast.stmt, lines: list[str]) -> int:
    """The first line (from 1) of a statement, counting its decorators and the comment lines directly above it."""
    decorators = getattr(node, "decorator_list", None) or []
    start = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    while decorators and start > 1 and not lines[start - 1].lstrip().startswith("@"):
        start -= 1  # `@(`, and the name on a line of its own
    while start > 1 and lines[start - 2].lstrip().startswith("#"):
        start -= 1
    return start


def _assigned(node: ast.stmt) -> str:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return next((target.id for target in targets if isinstance(target, ast.Name)), "")


def find_definition(body: Iterable[ast.stmt], dotted: str) -> Definition | None:
    """The last definition called `dotted` (`function`, `Class` or `Class.method`) among top-level statements."""
    head, _, rest = dotted.partition(".")
    found = None
    for node in body:
        if isinstance(node, Definition) and node.name == head:
            found = node
    if rest and found is not None:
        return find_definition(found.body, rest) if isinstance(found, ast.ClassDef) else None
    return found


def stub_message(stub: str) -> str:
    return f"{stub}: yours to write"


def cut_holes(text: str, stubs: Iterable[str]) -> str:
    """`text` with the bodies of `stubs` replaced by `raise NotImplementedError`; signatures and docstrings stay.

    Raises CourseError if a stub is not defined in it, or is a whole class.
    """
    lines = lines_of(text)
    tree = ast.parse(text)
    cuts: list[tuple[int, int, str]] = []
    for stub in stubs:
        node = find_definition(tree.body, stub)
        if node is None:
            raise CourseError(f"stub {stub!r} is not defined at the top level (or as a method of a top-level class)")
        if isinstance(node, ast.ClassDef):
            raise CourseError(f"stub {stub!r} is a class: name one of its methods, such as {stub}.forward")
        statements = node.body[1:] if ast.get_docstring(node) is not None else node.body
        start = (node.body[0].end_lineno or 0) + 1 if statements is not node.body else node.body[0].lineno
        if not statements:
            raise CourseError(f"stub {stub!r} has no body to cut out")
        if start <= node.lineno:
            raise CourseError(f"stub {stub!r} is written on one line: put its body on lines of its own")
        indent = " " * statements[0].col_offset
        cuts.append((start, node.end_lineno or 0, f'{indent}raise NotImplementedError("{stub_message(stub)}")'))
    for start, end, replacement in sorted(cuts, reverse=True):
        lines[start - 1 : end] = [replacement]
    return "\n".join(lines)


def owner(stub: str) -> str:
    """The top-level definition that a stub lives in: itself, or its class."""
    return stub.partition(".")[0]


def module_with_holes(source: str, stubs: Iterable[str]) -> str:
    """The whole module with the bodies of `stubs` cut out."""
    return _with_holes(source, tuple(stubs))


@lru_cache(maxsize=64)  # a grader asks for the same ones a thousand times
def _with_holes(source: str, stubs: tuple[str, ...]) -> str:
    return cut_holes(source, stubs) + "\n"


def import_closure(module: Path, root: Path) -> list[Path]:
    """The files of `reference_impl` that `module` imports, directly or not, itself included, ordered by path."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                if name.split(".")[0] != "reference_impl":
                    continue
                parts = name.split(".")
                for depth in range(1, len(parts) + 1):
                    base = root.joinpath(*parts[:depth])
                    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
                        if candidate.is_file():
                            waiting.append(candidate)
    return sorted(found)


@lru_cache(maxsize=1024)
def without_prose(source: str, *, keep_lines: bool = False) -> str:
    """Python without comments, docstrings and empty lines (left empty with `keep_lines`, so that line numbers stay).

    As text: a syntax tree is printed otherwise by each Python.
    """
    lines = source.split("\n")
    opened: list[int] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        kind, (row, column), (last, _) = tokenize.tok_name[token.type], token.start, token.end
        if kind == "COMMENT":
            lines[row - 1] = lines[row - 1][:column]
        elif kind.endswith("STRING_START"):  # of an f-string, since Python 3.12
            opened.append(row)
        elif kind == "STRING" or kind.endswith("STRING_END"):
            for inside in range(opened.pop() if opened and kind != "STRING" else row, last):
                lines[inside - 1] += "⏎"  # the line ends inside of a string, where an empty line and a last space say something
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | Definition) and ast.get_docstring(node) is not None:
            said = node.body[0]
            first, last = said.lineno, said.end_lineno or 0
            before, after = lines[first - 1].encode()[: said.col_offset], lines[last - 1].encode()[said.end_col_offset :]
            lines[first - 1 : last] = [(before + after).decode(), *[""] * (last - first)]
    return "\n".join(line.rstrip() for line in lines if keep_lines or line.strip())


def is_hole(node: Definition, stub: str) -> bool:
    """Whether the body of a definition is still the hole that was cut for `stub`."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return [ast.unparse(statement) for statement in body] == [f"raise NotImplementedError({stub_message(stub)!r})"]


def definition_text(source: str, stub: str) -> str:
    """The whole definition of a function or method, with the comments above it, at the left margin.

    Raises CourseError if it is not there.
    """
    node = find_definition(ast.parse(source).body, stub)
    if node is None:
        raise CourseError(f"stub {stub!r} is not defined at the top level (or as a method of a top-level class)")
    lines = lines_of(source)
    return textwrap.dedent("\n".join(lines[first_line(node, lines) - 1 : node.end_lineno]))
