"""What the cells of a notebook say, as IPython and Python read them: their statements, each with its place. Runs nothing."""

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any

# Cell magics that run their body in the learner's own namespace. (`%%timeit` does not: what it defines is lost.)
KEPT = ("time", "capture", "prun")
# Line magics that no answer misses, so that nobody need hear of them.
QUIET = (
    "matplotlib",
    "load_ext",
    "reload_ext",
    "autoreload",
    "config",
    "pinfo",
    "pinfo2",
    "psearch",
    "timeit",
    "precision",
    "reset",
)
WORK = 10**9  # of CPython's parser in the fields of f-strings, in fields × characters: a fifth of a second
# What `str.splitlines` takes for the end of a line and Python does not, and what stands for them where IPython splits lines so.
STRANGE = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
STAND_INS = "".join(chr(0xFDD0 + n) for n in range(len(STRANGE)))  # no characters at all
MAGICS = 500  # in a cell: IPython itself gives up there
ALL_MAGICS = 2000  # in a notebook
# Lines at which a magic may begin; whether one does is decided by IPython's transformers.
SUSPECT = re.compile(r"^\s*[%!?,;/]|=\s*[%!]|\?\s*$")
STRINGS = re.compile(
    r"#[^\n]*|(?P<prefix>[a-zA-Z]{0,2})(?P<body>'''(?:[^\\]|\\.)*?'''|\"\"\"(?:[^\\]|\\.)*?\"\"\"|'(?:[^\\\n']|\\.)*'|\"(?:[^\\\n\"]|\\.)*\")",
    flags=re.DOTALL,
)


class Unreadable(Exception):
    """Code that is not Python, with the reason in a learner's words."""


class Code:
    """Source that is cut by the positions of its syntax tree, whose columns are counted in UTF-8 bytes."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.walrus = ":=" in text
        self._encoded: dict[int, bytes] = {}

    def row(self, node: ast.stmt) -> int:
        """The first row of a statement, from 1, its decorators counted in."""
        decorators = getattr(node, "decorator_list", None)
        if not decorators:
            return node.lineno
        row = min(decorator.lineno for decorator in decorators)
        while row > 1 and not self.lines[row - 1].lstrip().startswith("@"):  # `@(`, and the name on a line of its own
            row -= 1
        return row

    def cut(self, node: ast.stmt) -> str:
        """The text of a statement from its first character to its last, decorators included."""
        row, last = self.row(node), node.end_lineno or node.lineno
        column = node.col_offset if row == node.lineno else len(self.lines[row - 1]) - len(self.lines[row - 1].lstrip())
        end = node.end_col_offset or 0
        if row == last:
            return self._part(row, column, end)
        return "\n".join([self._part(row, column, None), *self.lines[row : last - 1], self._part(last, 0, end)])

    def _part(self, row: int, start: int, end: int | None) -> str:
        line = self.lines[row - 1]
        if line.isascii():
            return line[start:end]
        if row not in self._encoded:
            self._encoded[row] = line.encode()
        return self._encoded[row][start:end].decode()


class Statement:
    """A top-level statement of a code cell. cell and line count from 1, as a learner counts code cells and their lines."""

    def __init__(self, node: ast.stmt, code: Code, cell: int, shift: int = 0) -> None:
        self.node, self.code, self.cell, self._shift = node, code, cell, shift

    def part(self, node: ast.stmt) -> "Statement":
        """A statement inside of this one."""
        return Statement(node, self.code, self.cell, self._shift)

    @cached_property
    def row(self) -> int:
        return self.code.row(self.node)

    @property
    def line(self) -> int:
        return self.row + self._shift

    @cached_property
    def text(self) -> str:
        return self.code.cut(self.node)

    @property
    def place(self) -> str:
        return f"cell {self.cell}, line {self.line}"


def normal(text: str) -> str:
    """`text` with the line ends that Python knows, `\\n`, `\\r\\n` and `\\r`, made one."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def parse(code: str) -> ast.Module:
    """The syntax tree, and no warning to anybody's terminal. Raises Unreadable."""
    if code.count("{") > 1000 and _work(code) > WORK:
        raise Unreadable("an f-string has too many fields")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        raise Unreadable(f"{' '.join(error.msg.split())[:120]}{where}") from None
    except (RecursionError, MemoryError):
        raise Unreadable("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise Unreadable("half a character: a lone surrogate") from None
    except (ValueError, OverflowError) as error:
        raise Unreadable(str(error)[:120]) from None


def _work(code: str) -> int:
    """What the f-strings of `code` cost CPython's parser, which looks for each field from the start of the string: fields × characters."""
    found = (match for match in STRINGS.finditer(code) if match["body"] and "f" in match["prefix"].lower())
    return sum(match["body"].count("{") * len(match["body"]) for match in found)


def read_cells(cells: Iterable[str]) -> tuple[list[Statement], list[str], bool]:
    """The top-level statements of the code cells in their order; what was left out, a line each; whether there was any code."""
    statements: list[Statement] = []
    notes: list[str] = []
    seen, magics = False, 0
    for number, cell in enumerate(cells, start=1):
        code = normal(cell)
        if not code.strip():
            continue
        seen = True
        try:
            try:
                tree = parse(code)
            except Unreadable:
                if magics >= ALL_MAGICS:
                    raise
                code, found = as_python(code, min(MAGICS, ALL_MAGICS - magics))
                magics += found
                tree = parse(code)
        except Unreadable as error:
            notes.append(f"code cell {number} is not Python and was left out ({error})")
            continue
        except LeftOut as error:
            notes.append(f"code cell {number} {error}")
            continue
        statements += _statements(tree, Code(code), number, notes)
    return statements, notes, seen


def _statements(tree: ast.Module, code: Code, number: int, notes: list[str], shift: int = 0) -> Iterator[Statement]:
    for node in tree.body:
        statement = Statement(node, code, number, shift)
        magic = _magic(node) if type(getattr(node, "value", None)) is ast.Call else None
        if magic is None:
            yield statement
            continue
        name, argument = magic
        if name in ("time", "prun") and isinstance(node, ast.Expr) and not argument.startswith("-"):
            try:  # these run the rest of the line in the learner's own namespace
                inner = parse(argument)
            except Unreadable as error:
                notes.append(f"{statement.place}: %{name} runs what is not Python ({error})")
            else:
                yield from _statements(inner, Code(argument), number, notes, shift + node.lineno - 1)
        elif name not in QUIET:
            shown = f"%{name}" if name.isidentifier() else name
            notes.append(f"{statement.place}: {shown} is for IPython alone and was left out")


def _magic(node: ast.stmt) -> tuple[str, str] | None:
    """The magic and its argument where a statement is what IPython makes of one."""
    call = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call)):
        return None
    if not (isinstance(call.func.value.func, ast.Name) and call.func.value.func.id == "get_ipython"):
        return None
    texts = [argument.value for argument in call.args if isinstance(argument, ast.Constant) and isinstance(argument.value, str)]
    if call.func.attr in ("system", "getoutput"):
        return "a shell command (!)", "".join(texts)
    if call.func.attr in ("run_line_magic", "run_cell_magic") and texts:
        return texts[0], texts[1] if len(texts) > 1 else ""
    return ("pinfo", "") if call.func.attr == "show_usage" else None


class LeftOut(Exception):
    """A cell that says nothing of an answer, with the reason in a learner's words."""


def as_python(code: str, limit: int = MAGICS) -> tuple[str, int]:
    """A cell as IPython hands it to Python, its lines where they were, and the number of magics in it.

    Raises LeftOut where a cell magic takes all of it, Unreadable where it has more than `limit` magics.
    """
    from IPython.core import inputtransformer2 as ipython  # takes half a second to import, and most notebooks need none of it

    lines = [f"{line}\n" for line in code.split("\n")]
    start = 0
    while start < len(lines):
        if lines[start].isspace():
            start += 1
        elif lines[start].startswith("%%") and not re.match(r"%%\w+\?", lines[start]):
            _enter(lines[start])
            lines[start] = "\n"
        else:
            break
    hidden = [line.translate(str.maketrans(STRANGE, STAND_INS)) for line in lines[start:]]
    manager: Any = ipython.TransformerManager()
    for clean in manager.cleanup_transforms:  # prompts, and what all lines are indented by
        hidden = clean(hidden)
    body = [line.translate(str.maketrans(STAND_INS, STRANGE)) for line in hidden]
    body, changes = _transformed(body, manager, ipython, limit)
    return "".join([*lines[:start], *body]), changes


def _enter(line: str) -> None:
    """Whether the body of the cell under this cell magic runs as if it stood alone. Raises LeftOut if not."""
    name, _, arguments = line[2:].rstrip().partition(" ")
    if name == "timeit":
        raise LeftOut("was left out: what %%timeit runs defines nothing; take that line out")
    if name not in KEPT or (name == "time" and not all(word.startswith("-") for word in arguments.split())):
        raise LeftOut(f"begins with %%{name[:40]} and was left out")


def _transformed(lines: list[str], manager: Any, ipython: Any, limit: int) -> tuple[list[str], int]:
    """`lines` with every magic made a call by IPython's own transformers, and how many. Raises Unreadable above `limit`.

    These read all of the cell again after each change; here they read on behind it, so that many magics cost no more than few.
    """
    suspects = [number for number, line in enumerate(lines) if SUSPECT.search(line)]
    done: list[str] = []
    start = changes = following = 0
    while start < len(lines):
        while following < len(suspects) and suspects[following] < start:
            following += 1
        if following == len(suspects):
            return done + lines[start:], changes
        if _whole(lines[start : suspects[following]]):
            done += lines[start : suspects[following]]
            start = suspects[following]
        text, last = _next_change(lines, start, manager, ipython)
        done += text
        start = last
        changes += 1
        if changes > limit:
            raise Unreadable("there are too many magics")
    return done, changes


def _whole(lines: list[str]) -> bool:
    """Whether these lines are statements of Python, none of them begun and not ended: a magic may follow."""
    try:
        parse("".join(lines))
    except Unreadable:
        return False
    return True


def _next_change(lines: list[str], start: int, manager: Any, ipython: Any) -> tuple[list[str], int]:
    """The lines from `start` to the end of the next magic with that made a call, and the line after it."""
    for tokens in _logical_lines(lines, start):
        found = [one for kind in manager.token_transformers if (one := kind.find([tokens]))]
        changed = _change(lines, start, sorted(found, key=lambda one: one.sortby()), ipython) if found else None
        if changed is not None:
            text, last = changed
            return text + ["\n"] * (last - start - len(text)), last
    return lines[start:], len(lines)


def _change(lines: list[str], start: int, found: list[Any], ipython: Any) -> tuple[list[str], int] | None:
    """The lines from `start` on as the first of the transformers that succeeds makes them, and the line at which it is done."""
    for one in found:
        last = ipython.find_end_of_continued_line(lines, start + one.start_line)
        last = min(max(last, start + getattr(one, "q_line", 0)) + 1, len(lines))
        try:
            return one.transform(lines[start:last]), last
        except (SyntaxError, AssertionError, IndexError):
            continue
    return None


def _logical_lines(lines: list[str], start: int) -> Iterator[list[Any]]:
    """The tokens of each logical line from `start` on, as IPython groups them, one at a time."""
    import tokenize

    from IPython.utils.tokenutil import generate_tokens_catch_errors

    tokens: list[Any] = []
    depth = 0
    try:
        for token in generate_tokens_catch_errors(
            (line for line in _from(lines, start)).__next__, extra_errors_to_catch=["expected EOF"]
        ):
            tokens.append(token)
            if token.type == tokenize.NEWLINE or (token.type == tokenize.NL and depth <= 0):
                yield tokens
                tokens = []
            elif token.type == tokenize.OP and token.string in ("(", "[", "{"):
                depth += 1
            elif token.type == tokenize.OP and token.string in (")", "]", "}"):
                depth = max(depth - 1, 0)
    except (tokenize.TokenError, SyntaxError):
        pass  # it ends inside of a string or of brackets
    if tokens:
        yield tokens


def _from(lines: list[str], start: int) -> Iterator[str]:
    for index in range(start, len(lines)):
        yield lines[index]
