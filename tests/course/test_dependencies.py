"""What was proven is keyed by what it depends on: a change that matters is seen wherever it is, one that does not makes nothing doubtful."""

import ast
import random
import shutil

import pytest

from course.errors import CourseError
from course.proving import records
from course.units import dependencies
from course.units.catalogue import exercises, find_unit
from course.units.dependencies import WHOLE, fingerprints, reached

PACKAGE = {
    "reference_impl/__init__.py": "import os\n\nos.environ.setdefault('A', '1')\n",
    "reference_impl/toy/__init__.py": "",
    "reference_impl/toy/unit.py": '''"""A unit."""

from reference_impl import shared
from reference_impl.data import loader
from reference_impl.shared import helper as assist
from reference_impl.toy.other import Layer


import reference_impl.chained
from ..relative import near
from reference_impl import registry, text

try:
    from reference_impl.missing import either
except ImportError:
    from reference_impl.either import either


def train():
    return assist(Layer(), shared.RATE, loader.load()), near(), reference_impl.chained.far(), either(), registry.call(), text.SAID


def demo():
    return shared.unused()
''',
    "reference_impl/toy/other.py": """from reference_impl.shared import decorated, passed_on


class Base:
    size = 1


class Layer(Base):
    def forward(self, x):
        return decorated(x) + passed_on()


class Other:
    pass
""",
    "reference_impl/shared.py": """from reference_impl.third import passed_on

A, B = 1, 2
RATE: float = 0.1
COUNT = 0


def wrap(function):
    return function


@wrap
def decorated(x):
    return x * A


def helper(*things):
    def inner():
        return deep()

    return inner()


def deep():
    return "deep"


def unused():
    return COUNT


for _ in range(2):
    COUNT += 1
""",
    "reference_impl/third.py": "FLAG = 1\n\n\ndef passed_on():\n    return 1, FLAG\n\n\ndef never():\n    return 2\n",
    "reference_impl/relative.py": "def near():\n    return 5\n",
    "reference_impl/chained.py": "def far():\n    return 7\n",
    "reference_impl/either.py": "def either():\n    return 9\n",
    "reference_impl/registry.py": """ALL = {}


def register(function):
    ALL[function.__name__] = function
    return function


@register
def hidden():
    return 11


def call():
    return ALL["hidden"]()
""",
    "reference_impl/text.py": "SAID = '''one\n\ntwo'''\n",
    "reference_impl/data/__init__.py": "",
    "reference_impl/data/loader.py": 'def load():\n    return open("sounds")\n\n\ndef preview():\n    return "pictures"\n',
    "reference_impl/data/sounds/one.ogg": "first",
    "reference_impl/data/pictures/two.png": "second",
}


@pytest.fixture
def package(tmp_path):
    for name, text in PACKAGE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def of_train(root, names=("train",)):
    return fingerprints(reached({root / "reference_impl/toy/unit.py": names}, root), root)


def edit(root, name, old, new):
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, "the test's own edit does not fit"
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("toy/unit.py", "shared.RATE", "2 * shared.RATE"),
        ("toy/other.py", "size = 1", "size = 2"),  # of a base class
        ("toy/other.py", "+ passed_on()", "- passed_on()"),
        ("shared.py", "0.1", "0.2"),  # a constant taken as an attribute of the module
        ("shared.py", "A, B = 1, 2", "A, B = 1, 3"),  # assigned together with what is needed
        ("shared.py", "return function", "return print"),  # a decorator
        ("shared.py", '"deep"', '"deeper"'),  # behind an inner function, behind another name
        ("shared.py", "range(2)", "range(3)"),  # what runs at import
        ("third.py", "return 1,", "return 3,"),  # passed on by a module in between
        ("__init__.py", "'1'", "'2'"),
        ("data/loader.py", 'open("sounds")', 'print("sounds")'),
        ("data/sounds/one.ogg", "first", "last"),
        ("relative.py", "return 5", "return 6"),  # imported with dots
        ("chained.py", "return 7", "return 8"),  # as reference_impl.chained
        ("either.py", "return 9", "return 10"),  # under try
        ("registry.py", "return 11", "return 12"),  # registered by a decorator
        ("third.py", "FLAG = 1", "FLAG = 2"),  # changed from another module at import
        ("text.py", "one\n\ntwo", "one\ntwo"),  # an empty line inside of a string
    ],
)
def test_what_is_reached_is_seen_to_change(package, file, old, new):
    before = of_train(package)
    edit(package, f"reference_impl/{file}", old, new)
    after = of_train(package)
    assert [path for path in before if before[path] != after[path]] == [f"reference_impl/{file}"]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("toy/unit.py", "return shared.unused()", "return 1"),
        ("toy/unit.py", '"""A unit."""', '"""Another text."""'),
        ("toy/other.py", "class Other:\n    pass", "class Other:\n    size = 3"),
        ("third.py", "return 2", "return 4"),
        ("data/loader.py", 'return "pictures"', 'return "none"'),
        ("data/pictures/two.png", "second", "third"),
        ("shared.py", "def deep():", "# said of it\ndef deep():"),
        ("shared.py", "def unused():", "def new():\n    pass\n\n\ndef unused():"),
    ],
)
def test_what_is_not_reached_makes_nothing_doubtful(package, file, old, new):
    before = of_train(package)
    edit(package, f"reference_impl/{file}", old, new)
    assert of_train(package) == before


def test_all_of_a_module_counts_where_it_is_handed_about(package):
    edit(package, "reference_impl/toy/unit.py", "shared.RATE", "vars(shared)")
    before = of_train(package)
    edit(package, "reference_impl/shared.py", "return COUNT", "return COUNT + 1")
    assert of_train(package) != before


def test_the_whole_of_a_module_is_what_stands_in_it(package):
    before = of_train(package, (WHOLE,))
    edit(package, "reference_impl/toy/unit.py", "def demo():", "NEW = 1\n\n\ndef demo():")
    assert of_train(package, (WHOLE,)) != before


def test_a_new_file_beside_bundled_ones_is_seen(package):
    before = of_train(package)
    (package / "reference_impl/data/sounds/two.ogg").write_text("more")
    assert of_train(package).keys() - before.keys() == {"reference_impl/data/sounds/two.ogg"}


# --- nothing that is recorded of the real course can lie -----------------------------------------------------------------


@pytest.fixture
def copy(root, tmp_path, monkeypatch):
    """The course's authored files and its tools in a folder of their own, with a record of one unit in which all proofs stand."""
    for name in ("questions", "reference_impl", "course", "tests"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    monkeypatch.setattr(records, "HOUSE", tmp_path)
    records.tools.cache_clear()
    unit = find_unit("image/vae", tmp_path)
    for kind in records.KINDS:
        records.keep(unit, kind, {})
        assert records.standing(unit, kind).stands
    yield unit
    records.tools.cache_clear()


def states(unit):
    records.tools.cache_clear()
    return {kind: records.standing(unit, kind).state for kind in records.KINDS}


def spoil(path, line):
    """Add a statement that does nothing to a function."""
    text = path.read_text(encoding="utf-8")
    assert text.count(line) == 1
    indent = line[: len(line) - len(line.lstrip())]
    path.write_text(text.replace(line, f"{indent}_ = 0\n{line}"), encoding="utf-8")


def test_one_line_of_a_reference_refuses_every_proof(copy):
    spoil(copy.module, "    device, generator = resolve_device(device), seed_everything(seed)")
    assert states(copy) == dict.fromkeys(records.KINDS, "changed")
    said = str(records.standing(copy, "audit"))
    assert "reference_impl/image/vae.py" in said and "run `aigc audit image/vae --write`" in said


def test_one_line_of_a_test_refuses_the_proofs_that_ran_it(copy):
    path = copy.tests
    path.write_text(path.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert states(copy) == {"audit": "changed", "gate": "stands", "solution": "changed", "devices": "stands"}


@pytest.mark.parametrize("room", ["checking/runner.py", "checking/impl.py", "testing.py", "proving/mutate.py", "wire.py"])
def test_one_line_of_the_tools_refuses_the_audit(copy, room):
    path = copy.root / "course" / room
    path.write_text(path.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert states(copy) == {"audit": "tools", "gate": "stands", "solution": "stands", "devices": "stands"}
    assert f"recorded with other tools (course/{room})" in str(records.standing(copy, "audit"))


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("executor.py", "        number = len(self._objects) + 1 if identity is None else identity"),
        ("guard.py", "        self._given = list(given)"),
        ("checking/rules.py", "    if x.shape != y.shape:"),
        ("checking/twins.py", "        fresh = _fresh[key]"),
        ("proving/breaches.py", "    arguments = {a.arg: written_out(a.annotation, names)"),
    ],
)
def test_one_function_that_the_tools_lean_on_refuses_the_audit(copy, room, line):
    spoil(copy.root / "course" / room, line)
    assert states(copy) == {"audit": "tools", "gate": "stands", "solution": "stands", "devices": "stands"}
    assert f"recorded with other tools (course/{room})" in str(records.standing(copy, "audit"))


def test_what_the_gate_is_made_with_refuses_the_gate(copy):
    path = copy.root / "course/proving/gate.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")
    assert states(copy)["gate"] == "stands", "how rows are put together is no part of a figure"
    spoil(
        path, "    figures: dict[str, float] = {key: float(value) for key, value in module.evaluate(config, seed=seed).items()}"
    )
    assert states(copy)["gate"] == "stands", "the copy is trained, and this is for what is not"
    spoil(path, "    model = module.train(config, seed=seed, progress=False, **options)")
    assert states(copy)["gate"] == "tools"


def test_another_torch_refuses_all_but_solutions(copy, monkeypatch):
    monkeypatch.setattr(records, "_torch", lambda: "9.9.0")
    assert states(copy) == {"audit": "tools", "gate": "tools", "solution": "stands", "devices": "tools"}
    assert "recorded with other tools (torch 9.9.0)" in str(records.standing(copy, "gate"))


def test_what_changes_while_it_is_proven_is_not_kept(copy):
    before = records.record_path(copy).read_bytes()
    records.begin(copy, "audit")
    spoil(copy.module, "    device, generator = resolve_device(device), seed_everything(seed)")
    with pytest.raises(CourseError, match="is left as it was: while its audit was proven, image/vae changed; prove it again"):
        records.keep(copy, "audit", {})
    assert records.record_path(copy).read_bytes() == before


@pytest.mark.parametrize("unit", exercises(), ids=lambda unit: unit.id)
def test_an_exercise_imports_nothing_that_its_record_does_not_watch(unit):
    for node in ast.walk(ast.parse(unit.tests.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["." * node.level + (node.module or "")]
        else:
            continue
        for name in names:
            head = name.partition(".")[0]
            assert head and not unit.tests.with_name(f"{head}.py").exists() and head not in ("tests", "conftest"), name
            assert head != "course" or name in ("course.testing", "course.wire"), name


def test_every_file_that_comes_with_the_references_is_watched(root):
    base = root / "reference_impl"
    seen = fingerprints({path: {WHOLE} for path in base.rglob("*.py")}, root)
    rest = [p.relative_to(root).as_posix() for p in base.rglob("*") if p.is_file() and p.suffix not in (".py", ".pyc")]
    left = [name for name in rest if name not in seen and "/weights/" not in name and "/cards/" not in name]
    assert not left, "name each file, or its folder, in a string of the loader in reference_impl/data that reads it"


def test_shared_code_refuses_only_where_it_is_reached(copy):
    path = copy.root / "reference_impl/runtime.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n\ndef new():\n    return 1\n", encoding="utf-8")
    assert set(states(copy).values()) == {"stands"}
    spoil(path, "    torch.manual_seed(seed)")
    assert set(states(copy).values()) == {"changed"}


def test_a_record_of_another_format_is_refused(copy, monkeypatch):
    monkeypatch.setattr(records, "VERSION", 99)
    assert set(states(copy).values()) == {"version"}
    assert "recorded in another format than 99; run `aigc gate image/vae --write`" in str(records.standing(copy, "gate"))


@pytest.mark.parametrize("unit", exercises(), ids=lambda unit: unit.id)
def test_every_definition_that_training_reaches_is_watched(unit, root):
    """A line put into any definition said to be needed changes the fingerprint: nothing is listed that is not hashed."""
    needs = reached({unit.module: ("train", "evaluate")}, root)
    path = random.Random(unit.id).choice(sorted(path for path, names in needs.items() if names - {""}))
    found = dependencies.outline(path, "reference_impl", root)
    text = {name: dependencies._text(path, {name}, "reference_impl", root) for name in needs[path] if name in found.definitions}
    whole = dependencies._text(path, needs[path], "reference_impl", root)
    for name, lines in text.items():
        assert all(line in whole for line in lines.splitlines()), f"{name} of {path.name} is needed, and not all of it is hashed"
