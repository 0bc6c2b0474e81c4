"""What people hand in: notebooks of the toy unit, one a kind, with what each has to get. Small specimens of kinds that public trackers report.

`P` passes, `F` fails, `T` is still to write: first `total`, then `Box.grow`. A cell is in the notebook as it stands here, between the
cells that are given before the stubs and those after them.
"""

from typing import Any

SETUP = 'from course.notebook import checks_for\n\ncheck = checks_for("toy/sums")'
BEFORE = ["import torch\nfrom jaxtyping import Float\nfrom torch import Tensor", "LIMIT = 3"]
AFTER = ["def twice(x: Float[Tensor, 'A B']) -> Float[Tensor, ' A']:\n    return 2 * total(x)"]
TOTAL = "def total(x, scale=1.0):\n    return scale * x.sum(1)\n"
INIT = "    def __init__(self, size: int) -> None:\n        self.size = size\n\n"
GROW = "    def grow(self, by):\n        return self.size + by\n"
BOX = "class Box:\n" + INIT + GROW
HOLE = (
    "class Box:\n" + INIT + '    def grow(self, by: int) -> int:\n        raise NotImplementedError("Box.grow: yours to write")\n'
)
PLAIN = "def total(x, scale=1.0):\n    return scale * ({})\n"

# kind -> (cells, what is to come of it, a part of what is said; empty if nothing is to be said)
KINDS: dict[str, tuple[list[str], str, str]] = {
    "as it should be": ([TOTAL, BOX], "PP", ""),
    "U+2028 in a comment": (["def total(x, scale=1.0):\n    # no key\u2028for a query\n    return scale * x.sum(1)\n", BOX], "PP", ""),
    "U+2028 in a string": (["NAME = 'a\u2028b'\n\n\ndef total(x, scale=1.0):\n    return scale * x.sum(1) * (len(NAME) == 3)\n", BOX], "PP", ""),
    "form feeds, VT and NEL in strings and comments": (
        ["\x0cMARKS = '\x0b\x85'  # \x0b \x85\n\x0cdef total(x, scale=1.0):\n\x0c    return scale * x.sum(1) * (len(MARKS) - 1)\n", BOX], "PP", ""),
    "line ends of an old Mac, and of Windows": ([TOTAL.replace("\n", "\r"), BOX.replace("\n", "\r\n")], "PP", ""),
    "%%time above a stub": (["%%time\n" + TOTAL, "%%capture out\n%%time\n\n" + BOX], "PP", ""),
    "%%timeit above a stub": (["%%timeit -n 1 -r 1\n" + TOTAL, BOX], "FP", "what %%timeit runs defines nothing"),
    "%%bash": (["%%bash\ntrue", TOTAL, BOX], "PP", "code cell 4 begins with %%bash and was left out"),
    "magics, shells and help": (
        ["%load_ext autoreload\n%autoreload 0\nfiles = !echo 'it(s'\nint?\n%time BASE = 0\n" + TOTAL.replace("x.sum", "(BASE + x).sum"), BOX],
        "PP", "cell 4, line 3: a shell command (!)"),
    "a comment that ends in a question mark": (
        ["%matplotlib inline\ndef total(x, scale=1.0):\n    axis = 1  # or 0?\n    return scale * x.sum(axis)\n", BOX], "PP", ""),
    "a magic in a block": (["if LIMIT:\n    %precision 3\n    AXIS = 1\n\n" + PLAIN.format("x.sum(AXIS)"), BOX], "PP", ""),
    "prompts copied along": ([">>> def total(x, scale=1.0):\n...     return scale * x.sum(1)\n", BOX], "PP", ""),
    "from __future__ in the first cell": (["from __future__ import annotations\nimport math", TOTAL, BOX], "PP", ""),
    "from __future__ in a later cell": (["import math", "from __future__ import annotations", TOTAL, BOX], "PP", ""),
    "a constant that is no literal": (["ONE = float('1')", PLAIN.format("ONE * x.sum(1)"), BOX], "PP", ""),
    "several constants at once": (["AXIS, (ONE, *_) = 1, (1.0, 2)", PLAIN.format("ONE * x.sum(AXIS)"), BOX], "PP", ""),
    "a helper by partial, an alias and a lambda": (
        ["from functools import partial\n\nadd = torch.sum\nrows = partial(add, dim=1)\nsame = lambda x: x", PLAIN.format("same(rows(x))"), BOX],
        "PP", ""),
    "constants built up step by step": (
        ["AXES = []\nfor n in range(3):\n    AXES.append(n)\nAXES[0] = 7\nAXES += [4]\nONE = 2\nONE -= 1\n", PLAIN.format("ONE * x.sum(AXES[ONE])"), BOX],
        "PP", ""),
    "a constant under with and try": (
        ["with torch.no_grad():\n    ONE = torch.ones(1)[0].item()\ntry:\n    AXIS = int('one')\nexcept ValueError:\n    AXIS = 1\n",
         PLAIN.format("ONE * x.sum(AXIS)"), BOX], "PP", ""),
    "a decorated helper": (
        ["def twice_over(f):\n    return lambda *a, **k: 2 * f(*a, **k)", "@(\n  twice_over\n)\ndef half(x):\n    return x.sum(1) / 2",
         PLAIN.format("half(x)"), BOX], "PP", ""),
    "helpers that need each other in their order": (
        ["def axis():\n    return AXIS\n\nAXIS = 1\nTAKEN = axis()\nAXIS = 0", PLAIN.format("x.sum(TAKEN)"), BOX], "PP", ""),
    "a helper registered by a decorator": (
        ["KNOWN = {}\n\ndef known(f):\n    KNOWN[f.__name__] = f\n    return f\n\n@known\ndef rows(x):\n    return x.sum(1)", PLAIN.format("KNOWN['rows'](x)"), BOX],
        "PP", ""),
    "a guarded import": (["try:\n    from einops_of_yesterday import rearrange\nexcept ImportError:\n    rearrange = None\n",
                          PLAIN.format("x.sum(1) if rearrange is None else rearrange"), BOX], "PP", ""),
    "a leftover of Colab": (["from colab_of_google.colab import drive\ndrive.mount('/content/drive')", TOTAL, BOX], "PP",
                            "cell 4, line 1: there is no colab_of_google.colab here"),
    "an import that fails, and what uses it": (["from einops_of_yesterday import reduce", PLAIN.format("reduce(x, 'a b -> a', 'sum')"), BOX], "FP",
                                              "there is no einops_of_yesterday here"),
    "import of everything": (["from math import *", PLAIN.format("x.sum(1) * cos(0)"), BOX], "PP", ""),
    "a part of a given package": (["import torch.nn.functional, os.path", PLAIN.format("torch.nn.functional.relu(x.sum(1) + 9) - 9 + len(os.path.join(''))"), BOX], "PP", ""),
    "a method assigned to its class": ([TOTAL, "class Box:\n" + INIT, "def grow(self, by):\n    return self.size + by\n\nBox.grow = grow"], "PP", ""),
    "a method set by setattr": ([TOTAL, HOLE, "setattr(Box, 'grow', lambda self, by: self.size + by)"], "PP", ""),
    "a class continued": ([TOTAL, HOLE, "class Box(Box):\n" + GROW], "PP", ""),
    "a class of another name": ([TOTAL, HOLE, "class Mine(Box):\n" + GROW, "Box = Mine"], "PP", ""),
    "a class under a condition": ([TOTAL, "if LIMIT == 3:\n    " + BOX.replace("\n", "\n    ")], "PP", ""),
    "a class indented by tabs, with methods and constants of its own": (
        [TOTAL, "class Box:\n\tSTEP: int = 1\n\tdef __init__(self, size):\n\t\tself.size = size\n\n\tdef more(self, by, step=STEP):\n\t\t\"\"\"Two\n\tlines.\"\"\"\n"
         "\t\treturn self.size + step * by\n\n\tdef grow(self, by):\n\t\treturn self.more(by)\n"], "PP", ""),
    "super in a method": ([TOTAL, BOX.replace("return self.size", "super().__init__()\n        return self.size")], "PP", ""),
    "a stub by a lambda": (["total = lambda x, scale=1.0: scale * x.sum(1)", BOX], "PP", ""),
    "a stub by another name": (["def mine(x, scale=1.0):\n    return scale * x.sum(1)\n\ntotal = mine", BOX], "PP", ""),
    "a stub that wraps its first version": ([PLAIN.format("x.sum(1) - 1"), "first = total\n\ndef total(x, scale=1.0):\n    return first(x, scale) + scale", BOX], "PP", ""),
    "a stub wrapped by itself": (["import functools", TOTAL, "total = functools.wraps(total)(total)", BOX], "PP", ""),
    "a stub under a condition": (["if LIMIT > 1:\n    " + TOTAL.replace("\n", "\n    "), BOX], "PP", ""),
    "a stub under try": (["try:\n    " + TOTAL.replace("\n", "\n    ") + "\nexcept Exception:\n    pass", BOX], "PP", ""),
    "the last definition": ([TOTAL.replace("1)", "0)"), BOX, TOTAL], "PP", ""),
    "the last definition is wrong": ([TOTAL, BOX, TOTAL.replace("1)", "0)")], "FP", ""),
    "another default argument": (["def total(x, scale=1.0, axis=-1):\n    return scale * x.sum(axis)", BOX], "PP", ""),
    "a letter that only looks the same": ([TOTAL.replace("total", "tоtal"), BOX], "FP", "a letter that only looks like the o of ASCII"),
    "a letter that is the same to Python": ([TOTAL.replace("total", "ｔotal"), BOX], "PP", ""),
    "another case": ([TOTAL.replace("total", "Total"), BOX], "FP", "cell 4, line 1 defines `Total`; capitals count"),
    "a slip of the pen": ([TOTAL.replace("total", "toatl"), BOX], "FP", "is it meant to be total?"),
    "a stub inside of a function": (["def outer():\n    " + TOTAL.replace("\n", "\n    "), BOX], "FP", "cell 4, line 2 defines `total` inside of `outer`"),
    "a deleted stub": ([TOTAL, BOX, "del total"], "FP", "missing stub total"),
    "a cell that is not Python": (["def broken(:\n    pass", TOTAL, BOX], "PP", "code cell 4 is not Python and was left out"),
    "a helper that nobody defines": ([PLAIN.format("rows(x)"), BOX], "FP", "cell 4, line 1: `rows` is used, and no statement"),
    "a definition that fails": (["def total(x, scale=torch.nothing_of_that_name):\n    return x", BOX], "FP", ""),
    "a deep notebook": (["x = " + "(" * 5000 + ")" * 5000, "y = " + "not " * 20_000 + "1", TOTAL, BOX], "PP", "code cell 4 is not Python and was left out"),
    "plots, trainings and demos": (["import matplotlib.pyplot as plt", TOTAL, BOX, "plt.plot([1])\nraise SystemExit", "model = twice(torch.ones(2, 2))\nprint(model)"], "PP", ""),
}  # fmt: skip

# What cannot be read as it runs: what is given is the course's, and what a program makes is not to be seen in it.
FILES_ALONE: dict[str, tuple[list[str], str, str]] = {
    "a class whose given part is another": ([TOTAL, BOX.replace("self.size = size", "self.size = 2 * size")], "PP", "`Box.__init__` stands as it was given"),
    "a stub made by exec": (["exec('''" + TOTAL + "''')", BOX], "FP", "calls exec"),
}  # fmt: skip


def code(source: Any) -> dict[str, Any]:
    return {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": source}


def notebook(cells: list[str]) -> dict[str, Any]:
    """A notebook of the toy unit with these cells."""
    every = [SETUP, *BEFORE, *cells, *AFTER]
    return {"cells": [code(cell) for cell in every], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
