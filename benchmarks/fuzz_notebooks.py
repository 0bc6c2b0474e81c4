"""Mutates right notebooks as people and their systems do, and worse, and reads each: no exception, and a graft that is Python.

    python -m benchmarks.fuzz_notebooks [--count 10000] [--seed 1] [--unit image/vae]

Every mutant is made from the seed and its number alone, so `--only NUMBER` repeats one, and shows what it is. Exit status 1 if one failed.
"""

import argparse
import json
import random
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from course import paths
from course.authoring.build import compose
from course.units import packages
from course.units.catalogue import Unit, find_unit
from course.units.notebooks import answer_source, notebook_cells, notebook_unit
from course.units.source import AnswerError

CODE_LIMIT = 500_000  # characters that the grader reads of a notebook
SECONDS = 2.0  # CPU seconds for 100 kB, above which reading is no longer in proportion
STRANGE = "\x00\x07\x08\x0b\x0c\r\x1b\x1c\x1e\x85\xa0\xad\u200b\u2028\u2029\u202e\ufeff\ud800\U0010ffff\ufdd0éо"
MAGICS = (
    "%matplotlib inline", "%%time", "%%capture out", "%%bash", "%%timeit -n 1", "!ls -la", "x = !ls", "?print", "print?", "%pip install x",
    "%%", "%", "%time x = 1", "/f 1", ",f a b", "%run x.py", "!!", "??", "%%prun", "files = %ls", "!echo '", "%%time?", ">>> x = 1", "In [1]: y",
)  # fmt: skip
STATEMENTS = (
    "kl_divergence = lambda mu, logvar: mu", "VAE.decode = lambda self, z, labels: z", "class VAE(VAE):\n    pass", "del VAE", "del elbo",
    "from math import *", "from __future__ import annotations", "from __future__ import braces", "import a.b.c as d", "from . import x",
    "setattr(VAE, 'decode', elbo)", "elbo = kl_divergence", "VAE = elbo", "class elbo: pass", "def VAE(): pass", "return 1", "yield", "await x",
    "break", "x: int", "global x", "nonlocal x", "exec('x = 1')", "if True:\n    def elbo(): pass", "try:\n    import q\nexcept ImportError:\n    q = 0",
    "for elbo in []: pass", "with x as elbo: pass", "match x:\n    case elbo: pass", "(elbo := 1)", "elbo += 1", "@VAE.x\ndef elbo(): pass",
    "import torch.nn as VAE", "torch = 1", "*a, b = c", "lambda: (yield)", "async def elbo(): pass", "x = *a,", "VAE.x.y = 1", "VAE['x'] = 1",
    "class VAE(elbo, metaclass=VAE):\n    def decode(self): return super()\n    decode = decode", "while 0: elbo = 1\nelse: elbo = 2", "type X = int",
)  # fmt: skip


def code_of(cell: dict[str, Any]) -> str:
    source = cell.get("source", "")
    return (
        source
        if isinstance(source, str)
        else "".join(part for part in source if isinstance(part, str))
        if isinstance(source, list)
        else ""
    )


# Each of these changes a notebook in place.


def shuffle(notebook: dict[str, Any], draw: random.Random) -> None:
    draw.shuffle(notebook["cells"])


def drop(notebook: dict[str, Any], draw: random.Random) -> None:
    notebook["cells"] = [cell for cell in notebook["cells"] if draw.random() > 0.2]


def double(notebook: dict[str, Any], draw: random.Random) -> None:
    notebook["cells"] += draw.choices(notebook["cells"], k=3)


def split(notebook: dict[str, Any], draw: random.Random) -> None:
    cell = draw.choice(notebook["cells"])
    source = code_of(cell)
    cut = draw.randrange(len(source) + 1)
    place = draw.randrange(len(notebook["cells"]) + 1)
    cell["source"] = source[:cut]
    notebook["cells"].insert(place, {**cell, "source": source[cut:]})


def merge(notebook: dict[str, Any], draw: random.Random) -> None:
    first, second = draw.choice(notebook["cells"]), draw.choice(notebook["cells"])
    first["source"] = code_of(first) + draw.choice(["\n", "\n\n", "", ";", "\r", "\x0c"]) + code_of(second)


def insert_text(notebook: dict[str, Any], draw: random.Random) -> None:
    """Something strange anywhere in a cell."""
    cell = draw.choice(notebook["cells"])
    source = code_of(cell)
    place = draw.randrange(len(source) + 1)
    text = draw.choice(
        [*STRANGE, *"()[]{}'\"\\#:;@%!?\t\n,=", "'''", '"""', "\\\n", "\r\n", f"{draw.choice(MAGICS)}\n", "    ", "f'{"]
    )
    cell["source"] = source[:place] + text * draw.choice([1, 1, 1, 2, 300]) + source[place:]


def insert_line(notebook: dict[str, Any], draw: random.Random) -> None:
    """A magic or a statement on a line of its own."""
    cell = draw.choice(notebook["cells"])
    lines = code_of(cell).split("\n")
    lines.insert(draw.randrange(len(lines) + 1), draw.choice(MAGICS + STATEMENTS))
    cell["source"] = "\n".join(lines)


def insert_cell(notebook: dict[str, Any], draw: random.Random) -> None:
    source = "\n".join(draw.choices(MAGICS + STATEMENTS, k=draw.randrange(1, 6)))
    cell: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": source}
    notebook["cells"].insert(draw.randrange(len(notebook["cells"]) + 1), cell)


def line_ends(notebook: dict[str, Any], draw: random.Random) -> None:
    end = draw.choice(["\r\n", "\r", "\n\n", "\x0c\n", "\u2028", "\x85\n", "\\\n", " \n"])
    for cell in draw.sample(notebook["cells"], k=draw.randrange(1, len(notebook["cells"]) + 1)):
        cell["source"] = code_of(cell).replace("\n", end)


def indentation(notebook: dict[str, Any], draw: random.Random) -> None:
    cell = draw.choice(notebook["cells"])
    before, after = draw.choice([("    ", "\t"), ("\n", "\n    "), ("    ", "  "), ("    ", "")])
    cell["source"] = draw.choice(["", "    ", "if 1:\n    "]) + code_of(cell).replace(before, after)


def rename(notebook: dict[str, Any], draw: random.Random) -> None:
    """One name for another, everywhere."""
    names = [
        "elbo",
        "kl_divergence",
        "VAE",
        "decode",
        "self",
        "torch",
        "Config",
        "reparameterize",
        "train",
        "mu",
        "lambda",
        "x",
        "еlbo",
        "super",
    ]
    before, after = draw.sample(names, k=2)
    for cell in notebook["cells"]:
        cell["source"] = code_of(cell).replace(before, after)


def deepen(notebook: dict[str, Any], draw: random.Random) -> None:
    """An expression or a statement nested deeply."""
    depth = draw.choice([50, 150, 900, 3000, 20_000])
    head, inner, tail = draw.choice(
        [("(", "1", ")"), ("[", "", "]"), ("not ", "1", ""), ("-", "1", ""), ("a+", "a", ""), ("f(", "", ")"), ("lambda:", "1", ""),
         ("{1:", "1", "}"), ("a.", "a", ""), ("a if a else ", "a", ""), ("a**", "a", ""), ("f'{", "1", "}'")]
    )  # fmt: skip
    draw.choice(notebook["cells"])["source"] = (
        draw.choice(["elbo = ", "", "def elbo(x):\n    return "]) + head * depth + inner + tail * depth
    )


def swap_types(notebook: dict[str, Any], draw: random.Random) -> None:
    odd: list[Any] = [None, 7, 1.5, True, [], {}, "code", [1, "x = 1\n", None], {"a": 1}, "\ud800", [[["x"]]]]
    where = draw.choice([notebook, notebook, *draw.sample(notebook["cells"], k=3)])
    if where:
        where[draw.choice(list(where))] = draw.choice(odd)


def drop_key(notebook: dict[str, Any], draw: random.Random) -> None:
    where = draw.choice([notebook, *notebook["cells"]])
    where.pop(draw.choice(list(where)), None)


MUTATIONS: tuple[Callable[[dict[str, Any], random.Random], None], ...] = (
    shuffle, drop, double, split, merge, insert_text, insert_text, insert_line, insert_line, insert_cell, insert_cell, line_ends,
    indentation, rename, rename, deepen, swap_types, drop_key,
)  # fmt: skip


def as_bytes(notebook: dict[str, Any], draw: random.Random) -> bytes:
    """A notebook on the disk: mostly as it is, sometimes cut off, nested, or in another encoding."""
    text = json.dumps(notebook, ensure_ascii=draw.random() < 0.5)
    choice = draw.random()
    if choice < 0.03:
        text = text[: draw.randrange(len(text))]
    elif choice < 0.05:
        text = text.replace("null", draw.choice(["[" * 3000, "NaN", "1" * 6000, "1e999", '{"a":1,"a":2}']), 1)
    raw = text.encode(draw.choice(["utf-8"] * 8 + ["utf-8-sig", "utf-16"]), "surrogatepass")
    if choice > 0.97:
        place = draw.randrange(len(raw))
        raw = raw[:place] + draw.randbytes(3) + raw[place:]
    return raw


def mutants(unit: Unit, numbers: Iterable[int], seed: int) -> Iterator[tuple[int, bytes]]:
    """Notebooks of a unit, right ones and such with holes, each changed a few times."""
    originals = [json.dumps(compose(unit, solved=solved)) for solved in (True, False)]
    for number in numbers:
        draw = random.Random(f"{seed}:{number}")
        notebook = json.loads(draw.choice(originals))
        notebook["cells"] = [cell for cell in notebook["cells"] if cell["cell_type"] == "code" or draw.random() < 0.1]
        for _ in range(draw.choice([1, 1, 2, 3, 5, 8])):
            try:
                draw.choice(MUTATIONS)(notebook, draw)
            except (TypeError, AttributeError, IndexError, KeyError, ValueError):
                break  # what was changed before cannot be changed further in this way
        yield number, as_bytes(notebook, draw)


def fault(unit: Unit, raw: bytes) -> tuple[str, str]:
    """What came of a notebook (`read`, or why it is none), and what is wrong with that: an exception, no Python, or too long a time."""
    started, size = time.process_time(), 0
    try:
        notebook_unit(raw)
        cells = notebook_cells(raw, "it")
        size = sum(map(len, cells))
        if size > CODE_LIMIT:
            return "too much code", ""
        source, answer = answer_source(cells, unit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(source, "<graft>", "exec")
        for line, (cell, row) in answer.origins.items():
            if not (0 < cell <= len(cells) and row > 0 and answer.where(line)):
                return "read", f"line {line} comes from no place: {cell}, {row}"
        "\n".join([*answer.notes, *map(answer.complaint, answer.missing)]).encode("utf-8")
    except AnswerError as error:
        if "\n" in str(error):
            return "refused", f"not one line: {error}"
        return "refused", ""
    except Exception:
        return "read", traceback.format_exc()
    took = time.process_time() - started
    return "read", f"took {took:.1f} s for {size:,} characters" if took > SECONDS * max(1.0, size / 100_000) else ""


def run(unit: Unit, count: int, seed: int) -> tuple[Counter[str], dict[int, str]]:
    """What came of `count` mutants, and those that failed: number -> what is wrong. Slow is what is slow twice."""
    outcomes: Counter[str] = Counter()
    failed: dict[int, str] = {}
    for number, raw in mutants(unit, range(count), seed):
        outcome, wrong = fault(unit, raw)
        if wrong.startswith("took"):  # once more, as cold: the collector of a large process may have had that time
            packages._here.cache_clear()
            outcome, wrong = fault(unit, raw)
        outcomes[outcome] += 1
        if wrong:
            failed[number] = wrong
    return outcomes, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unit", default="image/vae")
    parser.add_argument("--only", type=int, help="the number of one mutant: write it to stdout, and what is wrong to stderr")
    chosen = parser.parse_args()
    unit = find_unit(chosen.unit, paths.root())
    if chosen.only is not None:
        _, raw = next(mutants(unit, [chosen.only], chosen.seed))
        sys.stdout.buffer.write(raw)
        print(*fault(unit, raw), file=sys.stderr)
        return 0
    started = time.process_time()
    outcomes, failed = run(unit, chosen.count, chosen.seed)
    print(f"{chosen.count} mutants of {unit.id}, seed {chosen.seed}, {time.process_time() - started:.0f} CPU s: {dict(outcomes)}")
    for number, wrong in failed.items():
        print(f"--- {number}\n{wrong}")
    print(f"{len(failed)} failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
