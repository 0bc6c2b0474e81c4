"""Source code as text: split a module at its top-level definitions, cut holes, graft a learner's answers in.

Nothing here imports or runs what it reads, so it is safe on a stranger's notebook.
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
    lines = source.splitlines()
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


def first_line(node: ast.stmt, lines: list[str]) -> int:
    """The first line (from 1) of a statement, counting its decorators and the comment lines directly above it."""
    start = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
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
    lines = text.splitlines()
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


@dataclass(frozen=True)
class Answer:
    """What a learner wrote, as text: imports, stub definitions and helpers in their order, and what was left out."""

    imports: tuple[str, ...]
    definitions: tuple[tuple[str, str], ...]  # (name, text); helpers and constants stand before the stub they serve
    missing: tuple[str, ...]  # stubs of which there is no definition
    notes: tuple[str, ...]


def read_answer(cells: Iterable[str], module_source: str, stubs: tuple[str, ...]) -> Answer:
    """Pick a learner's definitions out of code cells, by name and as text. Raises AnswerError when there is no code at all.

    Taken: the last top-level definition of each stub (of a method, its whole class), imports, and whatever top-level
    functions, classes and constants the module does not have. Everything else at top level is ignored.
    """
    _, segments = parse_module(module_source)
    given = {segment.name for segment in segments if segment.name}
    wanted = {owner(stub) for stub in stubs}
    imports: list[str] = []
    taken: dict[str, str] = {}
    order: list[str] = []
    notes: list[str] = []
    assigned: set[str] = set()
    seen_code = False
    for number, cell in enumerate(cells, start=1):
        text = _without_magics(cell)
        if not text.strip():
            continue
        seen_code = True
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
            reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
            notes.append(f"code cell {number} is not Python and was left out ({reason}{where})")
            continue
        lines = text.splitlines()
        for node in tree.body:
            segment = "\n".join(lines[first_line(node, lines) - 1 : node.end_lineno])
            if isinstance(node, ast.Import | ast.ImportFrom):
                if not _of_the_course(node):
                    imports.append(segment)
                continue
            if isinstance(node, Definition):
                name = node.name
                if name in given and name not in wanted:
                    continue  # given code stands as it was given
            elif isinstance(node, ast.Assign | ast.AnnAssign) and _is_constant(node):
                name = _assigned(node)
                if not name or name in given:
                    assigned.add(name)
                    continue
            else:
                assigned.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
                assigned.update(n.name for n in ast.walk(node) if isinstance(n, Definition))
                continue
            if name in taken:
                order.remove(name)
            taken[name] = segment
            order.append(name)
    if not seen_code:
        raise AnswerError("the notebook has no code; start again from the exercise notebook")
    missing = []
    for stub in stubs:
        source = taken.get(owner(stub))
        if source is None or find_definition(ast.parse(source).body, stub) is None:
            missing.append(stub)
            if owner(stub) in assigned:
                notes.append(f"{owner(stub)} is assigned or defined inside another statement; write a plain top-level definition")
    return Answer(tuple(imports), tuple((name, taken[name]) for name in order), tuple(missing), tuple(dict.fromkeys(notes)))


def _of_the_course(node: ast.Import | ast.ImportFrom) -> bool:
    """Whether an import is that of the notebook's own setup cell: checks are no part of an answer."""
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return any(name.split(".")[0] == "course" for name in names)


def _without_magics(cell: str) -> str:
    """The cell without lines that only IPython understands; a cell magic drops the whole cell. Line numbers stay."""
    if cell.lstrip().startswith("%%"):
        return ""
    try:
        ast.parse(cell)
        return cell
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    kept = ["" if line.lstrip().startswith(("%", "!", "?")) or line.rstrip().endswith("?") else line for line in cell.split("\n")]
    return "\n".join(kept)


def _is_constant(node: ast.Assign | ast.AnnAssign) -> bool:
    """Whether the assigned value is a literal, so that evaluating it can do nothing else."""
    try:
        ast.literal_eval(node.value) if node.value is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return node.value is not None


def graft(module_source: str, stubs: tuple[str, ...], answer: Answer) -> str:
    """The module with holes, with the learner's definitions in place of the stubs they answer.

    A stub without an answer keeps its hole. Helpers are put before the first stub that follows them in the notebook.
    """
    _, segments = parse_module(module_with_holes(module_source, stubs))
    names = {owner(stub) for stub in stubs}
    answers: dict[str, str] = {}
    pending: list[str] = []
    for name, text in answer.definitions:
        pending.append(text)
        if name in names:
            answers[name] = "\n\n\n".join(pending)
            pending = []
    parts: list[str] = []
    for segment in segments:
        replaced = segment.name in names and segment.name in answers
        parts.append(answers[segment.name] if replaced else segment.text)
        if segment.kind == "imports" and answer.imports:
            parts.extend(answer.imports)
            answer = Answer((), answer.definitions, answer.missing, answer.notes)
    return "\n\n\n".join([*answer.imports, *parts, *pending]) + "\n"


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
    lines = source.split("\n")  # as Python counts them: `splitlines` also breaks at a form feed and at U+2028
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


def written(answer: Answer, stubs: Iterable[str]) -> tuple[str, ...]:
    """Those of `stubs` of which the learner wrote a body of their own."""
    texts = dict(answer.definitions)
    found = ((stub, find_definition(ast.parse(texts.get(owner(stub), "")).body, stub)) for stub in stubs)
    return tuple(stub for stub, node in found if node is not None and not is_hole(node, stub))


def definition_text(source: str, stub: str) -> str:
    """The whole definition of a function or method, with the comments above it, at the left margin.

    Raises CourseError if it is not there.
    """
    node = find_definition(ast.parse(source).body, stub)
    if node is None:
        raise CourseError(f"stub {stub!r} is not defined at the top level (or as a method of a top-level class)")
    lines = source.splitlines()
    return textwrap.dedent("\n".join(lines[first_line(node, lines) - 1 : node.end_lineno]))
