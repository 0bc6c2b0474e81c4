"""How a learner's answers are found in cells and put into the module: as text, by name, in their order."""

import ast

import pytest

from course.units.answers import read_answer
from course.units.grafting import graft, grafted
from course.units.pieces import written
from course.units.source import AnswerError

MODULE = '''"""# Title"""

import math

LIMIT = 3


# above
@decorated
def f(x: float):
    """Doc."""
    y = x
    return y


class C:
    def __init__(self):
        self.a = 1

    def g(self, x):
        return x

    def h(self):
        return 2


TABLE = {"f": f}


def given():
    return f(1)
'''
STUBS = ("f", "C.g")


def module(*cells, stubs=STUBS):
    """The names of the module with the answers in these cells."""
    answer = read_answer(cells, MODULE, stubs)
    names = {"decorated": lambda f: f, "__name__": "answer"}
    exec(compile(graft(MODULE, stubs, answer), "<test>", "exec"), names)
    return names


def notes(*cells, stubs=STUBS):
    return "; ".join(read_answer(cells, MODULE, stubs).notes)


def test_what_an_answer_needs_comes_along_and_nothing_else():
    cells = [
        "import math\nfrom torch import nn\nimport json",
        "SCALE = 2\nOTHER = 3\nprint('ran')\nmodel = f(3)",
        "def helper(x):\n    return SCALE * x",
        "def f(x):\n    return helper(x)",
        "def given():\n    return 'changed'",
    ]
    answer = read_answer(cells, MODULE, STUBS)
    assert [name for name, _ in answer.definitions] == ["SCALE", "helper", "f"]
    assert answer.missing == ("C.g",)
    text = graft(MODULE, STUBS, answer)
    assert "ran" not in text and "model" not in text, "what nothing needs must not run"
    assert "changed" not in text and "`given` stands as it was given" in "; ".join(answer.notes)
    assert "C.g: yours to write" in text
    assert module(*cells)["given"]() == 2


def test_given_code_finds_the_answers_that_it_needs_when_it_is_loaded():
    assert module("ONE = int('1')", "def f(x, one=ONE):\n    return x + one")["TABLE"]["f"](1) == 2


def test_last_definition_of_a_stub_counts():
    answer = read_answer(["def f(x):\n    return 1", "def f(x):\n    return 2"], MODULE, ("f",))
    assert answer.definitions == (("f", "def f(x):\n    return 2"),)


@pytest.mark.parametrize(
    "cell",
    [
        "if True:\n    def f(x):\n        return x + 1",
        "f = lambda x: x + 1",
        "try:\n    def f(x): return x + 1\nexcept Exception: pass",
        "for f in [lambda x: x + 1]: pass",
        "g = lambda x: x + 1\nf = g",
        "from operator import add\nfrom functools import partial\nf = partial(add, 1)",
        "(f := lambda x: x + 1)",
        "f, *rest = [lambda x: x + 1]",
        "def f(x): return x\ndef louder(g): return lambda x: g(x) + 1\nf = louder(f)",
        "class Adder:\n    def __call__(self, x):\n        return x + 1\n\nf = Adder()",
        "@(\n  lambda g: lambda x: g(x) + 1\n)\ndef f(x):\n    return x",
        "x = 0; one = 1; f = lambda x: x + one; one = 1",
        "é = '×'; f = lambda x: x + len(é)",
        "%time f = lambda x: x + 1",
    ],
)
def test_whatever_binds_a_stub_live_is_an_answer(cell):
    assert module(cell)["f"](2) == 3


@pytest.mark.parametrize(
    "cell",
    [
        "class Outer:\n    def f(self, x):\n        return x",
        "def outer():\n    def f(x):\n        return x",
        "def outer():\n    global f\n    f = lambda x: x\n\nouter()",
        "exec('def f(x): return x')",
        "def f(x): return x\ndel f",
        "f: int",
    ],
)
def test_what_cannot_be_seen_to_bind_a_stub_is_missing(cell):
    answer = read_answer([cell], MODULE, ("f",))
    assert answer.missing == ("f",)
    assert answer.complaint("f").startswith("missing stub f: ")


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("class C:\n  def g(self, x):\n    return x + 1", 3),
        ("class C:\n\tONE = 1\n\tdef more(self, x): return x + self.ONE\n\tdef g(self, x, one=ONE): return self.more(x)", 3),
        ("class C(C):\n    def g(self, x):\n        return self.h() + x - 1", 3),
        ("class C:\n    def g(self, x):\n        return super().__hash__() * 0 + x + self.a", 3),
        ("def g(self, x):\n    return x + self.a\nC.g = g", 3),
        ("setattr(C, 'g', lambda self, x: x + 1)", 3),
        ("C.one = 1\nC.g = lambda self, x: x + self.one", 3),
        ("for name in ['g']:\n    C.g = lambda self, x: x + 1", 3),
        ("class Mine(C):\n    def g(self, x): return x + 1\nC = Mine", 3),
        ("class C:\n    def g(self, x): return x\nclass C:\n    def g(self, x): return x + 1", 3),
        ("class C:\n    def g(self, x): return x\nold = C.g\nC.g = lambda self, x: old(self, x) + 1", 3),
        ("class C:\n    def g(self, x):\n        '''Two\n  lines.'''\n        return len(self.g.__doc__) + x - 11", 3),
        ("def louder(g): return lambda self, x: g(self, x) + 1\nclass C:\n    @louder\n    def g(self, x): return x", 3),
    ],
)
def test_methods_come_from_wherever_they_are_defined(cell, expected):
    assert module(cell)["C"]().g(2) == expected


def test_of_a_class_only_stubs_and_new_members_are_the_learners():
    theirs = (
        "class C(dict):\n    def __init__(self):\n        self.a = 5\n    def g(self, x): return x\n    def h(self): return 9\n"
        "    def k(self): return 4\n    def state_dict(self): return {}"
    )
    made = module(theirs)["C"]()
    assert (made.a, made.h(), made.k(), isinstance(made, dict), hasattr(made, "state_dict")) == (1, 2, 4, False, False)
    said = notes(theirs)
    assert all(f"`C.{name}` stands" in said for name in ("__init__", "h", "state_dict")) and "bases" in said
    assert module("C.h = lambda self: 9\nC.g = lambda self, x: x")["C"]().h() == 2


def test_a_given_name_that_is_bound_to_the_same_is_no_word_worth():
    same = "import math as math\nfrom os import path\nLIMIT = 3  # three\n\ndef given():\n    '''Doc.'''\n    return f(1)\n"
    assert notes(same, "def f(x):\n    return path, x", stubs=("f",)) == ""
    assert "`math` stands" in notes("import cmath as math", stubs=("f",))
    assert "`LIMIT` stands" in notes("LIMIT = 4", stubs=("f",))
    assert "`given` stands" in notes("given.__code__ = (lambda: 1).__code__", stubs=("f",))


def test_a_failure_hurts_only_what_uses_it():
    names = module(
        "from nowhere_at_all import a as b\nimport nowhere_at_all.c\nTABLE_OF_MINE = 1 / 0",
        "def f(x, table=float('x')):\n    return x",
        "def other(x):\n    return b(x)\n\ndef rows(x):\n    return nowhere_at_all.c(x)\n\ndef of(x):\n    return TABLE_OF_MINE + x",
        "class C:\n    def g(self, x):\n        return {'b': other, 'n': rows, 't': of}[x](1) if x else 7",
    )
    assert names["C"]().g("") == 7
    for name, error in (("b", ImportError), ("n", ImportError), ("t", ZeroDivisionError)):
        with pytest.raises(error):
            names["C"]().g(name)
    with pytest.raises(ValueError):
        names["f"](1)


def test_a_class_that_cannot_be_made_leaves_the_given_one():
    names = module("class C:\n    def g(self, x: Missing):\n        return x")
    assert names["C"]().h() == 2
    with pytest.raises(NameError, match="Missing"):
        names["C"]().g(1)


def test_what_is_missing_is_still_the_hole():
    with pytest.raises(NotImplementedError, match="yours to write"):
        module("class C:\n    def g(self, x): return x")["f"](1)


def test_magics_shell_lines_and_broken_cells_do_not_spoil_the_rest():
    cells = ["%matplotlib inline\n!ls\ndef f(x):\n    return x", "%%bash\nrm -rf x", "def broken(:\n", "x?"]
    answer = read_answer(cells, MODULE, ("f",))
    assert answer.missing == ()
    assert [note.partition(" (")[0] for note in answer.notes] == [
        "cell 1, line 2: a shell command",
        "code cell 2 begins with %%bash and was left out",
        "code cell 3 is not Python and was left out",
    ]


def test_packages_are_looked_for_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "several_folders" / "inner").mkdir(parents=True)
    (tmp_path / "several_folders" / "part.py").write_text("raise SystemExit")
    (tmp_path / "sudden.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(str(tmp_path))
    here = (
        "import several_folders.part, several_folders.inner.x, sudden.made_up, os.path, torch.nn.functional\nfrom math import *"
    )
    assert notes(here, "def f(x): return x", stubs=("f",)) == ""
    assert "there is no several_folders.other here" in notes("import several_folders.other", stubs=("f",))
    assert "cell 1, line 2: there is no .mine here" in notes("\nfrom .mine import x", stubs=("f",))


def test_a_note_is_short():
    name = "x" * 100_000
    read = read_answer([f"def f(x): return {name}", "!ls\n" * 300], MODULE, STUBS)
    assert len(read.notes) <= 21 and max(map(len, read.notes)) < 210
    assert len(read_answer([f"{name} = 1\ndef C_g{name}(): pass"], MODULE, STUBS).complaint("C.g")) < 300


def test_what_only_a_notebook_has_does_nothing():
    shown = "if LIMIT:\n    %time 1\n    ONE = 1\n\ndef f(x):\n    display(x)\n    get_ipython().run_line_magic('ls', '')\n    return x + ONE"
    assert module(shown)["f"](1) == 2 and notes(shown, stubs=("f",)) == ""


def test_no_code_at_all_is_an_answer_error():
    with pytest.raises(AnswerError, match="no code"):
        read_answer(["", "   "], MODULE, ("f",))


def test_class_without_its_stub_method_is_missing():
    answer = read_answer(["class C:\n    def h(self): return 1"], MODULE, ("C.g",))
    assert answer.missing == ("C.g",)


def test_lines_are_known_by_cell_and_line():
    cells = [
        "\n\nONE = 1\n",
        "%%time\nimport os\n\nclass C:\n    '''A\n    class.'''\n    def g(self, x: int):\n        # why\n        return x\n",
    ]
    cells.append("ONE = 2; f = lambda x: (x +\n   ONE)")
    answer = read_answer(cells, MODULE, STUBS)
    text, origins = grafted(MODULE, STUBS, answer)
    for number, line in enumerate(text.split("\n"), start=1):
        if number in origins:
            cell, row = origins[number]
            assert line.strip() in cells[cell - 1].split("\n")[row - 1], (
                "a line of the graft is not where it is said to come from"
            )
    assert {cell for cell, _ in origins.values()} == {2, 3}
    assert {row for cell, row in origins.values() if cell == 2} == {7, 8, 9}


def test_what_is_written_is_told_from_holes():
    hole = 'def f(x):\n    raise NotImplementedError("f: yours to write")'
    assert written(read_answer([hole], MODULE, STUBS), STUBS) == ()
    assert written(read_answer([hole, "C.g = lambda self, x: x\nf = abs"], MODULE, STUBS), STUBS) == STUBS
    assert written(read_answer(["class C(C):\n    def g(self, x): return x"], MODULE, STUBS), STUBS) == ("C.g",)


@pytest.mark.parametrize(
    "source",
    [
        "# a comment\n" * 20_000 + ";".join(f"A{n} = {n}" for n in range(2000)),
        "import os;" * 5000,
        "def f(x): return x\n" * 2000,
        "x = f(1);" * 3000 + "\ndef f(y): return x",
        "".join(f"A{n} = g({n})\n" for n in range(3000)) + "def f(x): return [" + ",".join(f"A{n}" for n in range(3000)) + "]",
        "def f(x):\n    '''" + "\n" * 20_000 + "'''\n    return x",
    ],
    ids=["comments", "imports", "definitions", "versions", "needs", "docstring"],
)
def test_a_graft_is_no_longer_than_its_parts(source):
    answer = read_answer([source], MODULE, ("f",))
    text = graft(MODULE, ("f",), answer)
    ast.parse(text)
    assert len(text) <= len(source) + 2 * len(MODULE) + 50_000


@pytest.mark.parametrize(
    "source",
    [
        "x = " + "(" * 5000 + ")" * 5000,
        "x = " + "not " * 50_000 + "1",
        "x = " + "+".join(["a"] * 100_000),
        "x = a" + ".b" * 100_000,
        "if a:\n    b\n" + "elif a:\n    b\n" * 10_000,
        "".join(" " * n + "if a:\n" for n in range(2000)),
        'x = f"' + "{a}" * 100_000 + '"',
        "x = 1\x00",
        "x = '\ud800'",
        "return 1\ndef f(x): return await x",
        "x = " + "1" * 100_000,
        "\x0b",
        "%%",
        "%",
        "!" * 1000,
        "a\\",
        "?" * 1000,
        "%%time\n" * 2000,
        "def f(x):\n" + "    if x:\n" * 2,
    ],
)
def test_no_content_of_a_cell_is_an_exception(source):
    answer = read_answer([source, "C.g = lambda self, x: x"], MODULE, STUBS)
    assert answer.missing == ("f",)
    ast.parse(graft(MODULE, STUBS, answer))
