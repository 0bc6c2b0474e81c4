"""How long it takes to read answers and to put them into the module, for code that is cheap to write and dear to read.

    python -m benchmarks.reading [--size 500000] [--kind NAME …]

A table of CPU seconds a kind, at half the size and at the whole: what Python's parser alone takes, and all of reading and grafting. Costs
that grow as the text does double; `grows` says by how much they did. Exit status 1 if something grew by more than GROWTH.
"""

import argparse
import ast
import sys
import time
import warnings
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from course import paths
from course.units.answers import read_answer
from course.units.catalogue import exercises, find_unit
from course.units.grafting import graft

UNIT = "image/vae"
GROWTH = 3.0  # of the seconds, where the text doubles: a quadratic cost would grow by 4
FLOOR = 0.05  # seconds below which nothing is said of growth


def stub(value: str) -> str:
    return f"def kl_divergence(mu, logvar):\n    return {value}\n"


def repeated(text: str, size: int) -> str:
    return text * (size // len(text))


def numbered(text: str, size: int) -> str:
    """Repetitions of `text`, each with the number of its own in place of `#`, of about `size` characters together."""
    made: list[str] = []
    length = 0
    while length < size:
        made.append(text.replace("#", str(len(made))))
        length += len(made[-1])
    return "".join(made)


KINDS: dict[str, Callable[[int], list[str]]] = {
    "a course module, again and again": lambda n: [repeated(find_unit(UNIT).module.read_text(encoding="utf-8"), n)],
    "comments above many assignments": lambda n: [repeated("# a\n", n * 4 // 5) + numbered("A#=#;", n // 5)],
    "assignments on a line": lambda n: [numbered("A#=#;", n) + "\n" + stub("A1")],
    "assignments on lines": lambda n: [numbered("A#=#\n", n) + stub("A1")],
    "assignments that are all needed": lambda n: [
        numbered("A#=g(#)\n", n // 2) + stub("[" + ",".join(f"A{i}" for i in range(n // 20)) + "]")
    ],
    "one name, bound again and again": lambda n: [repeated("x=f(1);", n) + "\n" + stub("x")],
    "one name, counted up": lambda n: ["x=0;" + repeated("x+=1;", n) + "\n" + stub("x")],
    "import os": lambda n: [repeated("import os;", n) + "\n" + stub("os")],
    "imports of what is not here": lambda n: [numbered("import m#\n", n)],
    "one stub, defined again and again": lambda n: [repeated(stub("mu"), n)],
    "a long body": lambda n: ["def kl_divergence(mu, logvar):\n" + repeated("    mu = mu + 2\n", n) + "    return mu\n"],
    "a long docstring": lambda n: ["def kl_divergence(mu, logvar):\n    '''" + repeated("x\n", n) + "'''\n    return mu\n"],
    "a list of numbers": lambda n: [stub("[" + repeated("1,", n) + "]")],
    "one f-string of many fields": lambda n: [stub('f"' + repeated("{a}", n) + '"')],
    "many f-strings": lambda n: [stub("(" + repeated('f"{a}"\n', n) + ")")],
    "new members of a class": lambda n: ["class VAE:\n" + numbered("    def m#(self): return 1\n", n)],
    "a class, defined again and again": lambda n: [repeated("class VAE:\n    def decode(self, z, labels): return z\n", n)],
    "methods assigned": lambda n: [repeated("VAE.decode = f;", n)],
    "decorators": lambda n: [repeated("@a\n", n) + stub("mu")],
    "conditions": lambda n: [repeated("if a:\n    x = 1\n", n) + stub("x")],
    "nested: ((((": lambda n: ["x = " + "(" * (n // 2) + ")" * (n // 2)],
    "nested: not not": lambda n: ["x = " + repeated("not ", n) + "1"],
    "nested: a+a+a": lambda n: [stub(repeated("a+", n) + "a")],
    "nested: ifs": lambda n: ["".join(" " * depth + "if a:\n" for depth in range(int((2 * n) ** 0.5)))],
    "nested: elif": lambda n: ["if a:\n    b\n" + repeated("elif a:\n    b\n", n)],
    "shell commands": lambda n: [repeated("!ls\n", n)],
    "shell commands in cells of their own": lambda n: ["!ls\nx = 1\n"] * (n // 10),
    "a shell command behind code": lambda n: [repeated("def f(x):\n    return x\n", n) + "!ls"],
    "letters that are not ASCII": lambda n: [repeated("é1=1;", n) + "\n" + stub("é1")],
    "names that look alike": lambda n: [numbered("def kl_divergenc#(): pass\n", n)],
}


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work()
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return time.process_time() - started


def measured(cells: list[str]) -> tuple[float, float, int]:
    """CPU seconds of Python's parser, and of reading and grafting; the characters of the graft."""
    unit = next(unit for unit in exercises(paths.root()) if unit.id == UNIT)
    source = unit.module.read_text(encoding="utf-8")
    made: list[str] = []
    whole = seconds(lambda: made.append(graft(source, unit.stubs, read_answer(cells, source, unit.stubs))))
    too_dear = any(
        cell.count("{") > 50_000 and cell.count("\n") < 10 for cell in cells
    )  # which Python takes seconds for; we refuse it
    parser = 0.0 if too_dear else seconds(lambda: [ast.parse(cell) for cell in cells])
    return parser, whole, len(made[0])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=500_000, help="characters of code")
    parser.add_argument("--kind", action="append", help="only this kind")
    chosen = parser.parse_args()
    table = Table("kind", *("size", "parser s", "read and graft s", "s per 100 kB", "grows", "graft"))
    measured(["x = 1", "!ls"])  # IPython's transformers are imported once
    worst = 0.0
    for kind in chosen.kind or KINDS:
        _, half, _ = measured(KINDS[kind](chosen.size // 2))
        cells = KINDS[kind](chosen.size)
        size = sum(map(len, cells))
        alone, whole, length = measured(cells)
        growth = whole / half if half > FLOOR else 0.0
        worst = max(worst, growth)
        numbers = (
            f"{size:,}",
            f"{alone:.3f}",
            f"{whole:.3f}",
            f"{whole / size * 1e5:.3f}",
            f"×{growth:.1f}" if growth else "–",
            f"{length:,}",
        )
        table.add_row(kind, *numbers)
    Console(width=130).print(table)
    return int(worst > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
