import ast
import json

import nbformat
import pytest

from course.authoring import build as builder
from course.checking.load import impl_from, module_from_source
from course.checking.runner import load_suite, run
from course.errors import CourseError
from course.units.catalogue import exercises, find_unit, find_units
from course.units.notebooks import answer_source, read_notebook


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_build_then_check_then_build_again(toy):
    changed = builder.build(toy)
    names = {path.relative_to(toy).as_posix() for path in changed}
    assert {"notebooks/toy/sums.ipynb", "solutions/toy/sums.ipynb", "README.md"} <= names
    assert builder.check(toy) == []
    before = {path: path.read_bytes() for path in toy.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert builder.build(toy) == [], "a second build must change nothing"
    after = {path: path.read_bytes() for path in before}
    assert before == after
    assert "[Sums](questions/toy/sums.md)" in (toy / "README.md").read_text()
    assert "[求和](questions/toy/sums.zh.md)" in (toy / "README.zh.md").read_text(encoding="utf-8")
    assert "notebooks/toy/sums.ipynb" in (toy / "questions/toy/sums.zh.md").read_text(encoding="utf-8")

    (toy / "notebooks/toy/sums.ipynb").unlink()
    (toy / "solutions/toy/sums.ipynb").unlink()
    builder.build(toy)
    assert (toy / "notebooks/toy/sums.ipynb").read_bytes() == before[toy / "notebooks/toy/sums.ipynb"]
    restored = json.loads((toy / "solutions/toy/sums.ipynb").read_text())
    original = json.loads(before[toy / "solutions/toy/sums.ipynb"])
    assert [cell["source"] for cell in restored["cells"]] == [cell["source"] for cell in original["cells"]]

    change(toy / "reference_impl/toy/sums.py", "Sum over", "The sum over")
    assert any("notebooks/toy/sums.ipynb: differs" in problem for problem in builder.check(toy))
    assert any("solutions/toy/sums.ipynb: differs from the module" in problem for problem in builder.check(toy))
    builder.build(toy)
    kept = (toy / "solutions/toy/sums.ipynb").read_bytes()
    (toy / "solutions/toy/sums.ipynb").write_bytes(kept.replace(b"2 of 2 checks pass", b"9 of 9 checks pass"))
    assert any("is not the file that was executed" in problem for problem in builder.check(toy)), "outputs written by hand"
    (toy / "solutions/toy/sums.ipynb").write_bytes(kept)
    change(toy / "tests/exercises/toy/test_sums.py", '"the last axis"', '"the last axis, please"')
    assert any("recorded before a change of tests/exercises/toy/test_sums.py" in problem for problem in builder.check(toy))


def test_concept_questions_of_a_track_stand_below_its_table(toy, concept):
    lines = builder.readme_index(find_units(toy), "en").splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("| [Sums]"))
    below = ["", "[What is it](questions/toy/concept.md)"]
    assert lines[row + 1 : row + 3] == below, "without an empty line they would be one more row of the table"


def test_notebook_has_a_check_after_each_stub(root):
    for unit in exercises(root):
        cells = builder.compose(unit, solved=False)["cells"]
        ids = [cell["id"] for cell in cells]
        assert len(set(ids)) == len(ids)
        for stub in unit.stubs:
            here = next(i for i, cell in enumerate(cells) if cell["source"] == f'check("{stub}")')
            before = [cell for cell in cells[:here] if "stub" in cell["metadata"].get("tags", [])]
            assert f'"{stub}: yours to write"' in before[-1]["source"], f"{unit.id}: {stub}"
        nbformat.validate(nbformat.from_dict(builder.compose(unit, solved=False)))


def test_solution_shows_what_the_demo_draws(root):
    for unit in exercises(root):
        cells = json.loads(unit.solution.read_text(encoding="utf-8"))["cells"]
        demo = next(cell for cell in cells if cell["id"] == "demo-run")
        kinds = {kind for output in demo["outputs"] for kind in output.get("data", {})}
        assert kinds & {"image/png", "text/html"}, f"{unit.id}: the demo's outputs are {kinds}"


def test_filled_notebook_passes_and_the_empty_one_fails(root):
    for unit in exercises(root):
        empty = builder.compose(unit, solved=False)
        filled = builder.fill(empty, unit.module.read_text(encoding="utf-8"))
        sources = [cell["source"] for cell in filled["cells"] if cell["cell_type"] == "code"]
        verdicts = run(load_suite(unit), impl_from(module_from_source(answer_source(sources, unit)[0], "filled"), unit))
        assert {verdict.status for verdict in verdicts} == {"passed"}, unit.id
        holed, _ = answer_source(read_notebook(unit.notebook), unit)
        verdicts = run(load_suite(unit), impl_from(module_from_source(holed, "empty"), unit))
        assert {verdict.status for verdict in verdicts} <= {"todo", "blocked"}, unit.id


def test_fill_leaves_the_stubs_that_are_not_answered(unit):
    notebook = builder.compose(unit, solved=False)
    filled = builder.fill(notebook, "def total(x, scale=1.0):\n    return scale * x.sum(-1)\n")
    sources = "\n".join(cell["source"] for cell in filled["cells"])
    assert "total: yours to write" not in sources
    assert "Box.grow: yours to write" in sources
    assert notebook == builder.compose(unit, solved=False), "the original is not changed"


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("questions/toy/sums.md", "stubs: [total, Box.grow]", "stubs: [absent, Box.grow]", "differs from the English"),
        ("reference_impl/toy/sums.py", "def total", "def sum_up", r"sums\.py: stub 'total' is not defined"),
        ("reference_impl/toy/sums.py", "../../questions/toy/sums.md", "elsewhere", r"sums\.py: the docstring does not link"),
        ("reference_impl/toy/sums.py", "# Sums", "Sums", "must begin with a Markdown docstring"),
        ("questions/toy/sums.md", "### Box.grow", "### Box.shrink", r"sums\.md: needs 3 numbered hints under '### Box\.grow'"),
        (
            "questions/toy/sums.zh.md",
            "3. 三\n### Box",
            "### Box",
            r"sums\.zh\.md: needs 3 numbered hints under '### total', has 2",
        ),
        ("questions/toy/sums.md", "Add them.\n", "", r"'## Say it in two minutes' is missing or empty"),
        ("questions/toy/sums.md", "**And of none?** Zero.", "No front.", r"every paragraph of the flashcards reads"),
        ("questions/toy/sums.zh.md", "## 参考文献", "**和？** 3\n\n## 参考文献", r"has 4 flashcards, the other language 3"),
        ("questions/toy/sums.md", "Why?", "[why](nowhere.md)", r"sums\.md: link to nowhere\.md, which does not exist"),
        ("tests/exercises/toy/test_sums.py", '"stays"', '"total": 1, "stays"', None),
        ("tests/exercises/toy/test_sums.py", '"nothing": lambda x, scale=1.0: None,', "", "at least 6 wrong implementations"),
        ("tests/exercises/toy/test_sums.py", 'stub("Box.grow")', 'stub("Box.shrink")', r"must be marked with stubs of toy/sums"),
        ("tests/exercises/toy/test_sums.py", '"Box.grow": {', '"Box.shrink": {', "FAKES names 'Box.shrink'"),
        ("README.md", "<!-- index:end -->", "", "needs the two lines"),
    ],
)
def test_what_does_not_fit_together_is_named(toy, path, old, new, expected):
    change(toy / path, old, new)
    if expected is None:
        return
    with pytest.raises(CourseError, match=expected):
        builder.check(toy)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("reference_impl/toy/sums.py", r"names stubs, but reference_impl/toy/sums\.py does not exist"),
        ("tests/exercises/toy/test_sums.py", r"test_sums\.py: the tests of toy/sums are missing"),
        ("questions/toy/sums.zh.md", "this translation is missing"),
    ],
)
def test_missing_file_is_named(toy, path, expected):
    (toy / path).unlink()
    with pytest.raises(CourseError, match=expected):
        builder.check(toy)


def test_module_without_question_is_named(toy):
    (toy / "reference_impl/toy/lonely.py").write_text('"""# Lonely"""\n')
    with pytest.raises(CourseError, match=r"lonely\.py: has no question"):
        builder.check(toy)


def test_stray_notebook_is_reported(toy):
    builder.build(toy)
    (toy / "notebooks/toy/old.ipynb").write_text("{}")
    assert builder.check(toy) == ["notebooks/toy/old.ipynb: belongs to no unit; delete it"]


def test_solution_that_does_not_run_is_an_error(toy):
    change(toy / "reference_impl/toy/sums.py", "LIMIT = 3", "LIMIT = 1 / 0")
    with pytest.raises(CourseError, match="ZeroDivisionError"):
        builder.execute(find_unit("toy/sums", toy))


def test_generated_notebooks_hold_no_path_of_a_machine(root):
    for unit in exercises(root):
        for path in (unit.notebook, unit.solution):
            text = path.read_text(encoding="utf-8")
            assert str(root) not in text, f"{path} names the folder that it was built in"
            code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
            numbers = [None] * len(code) if path == unit.notebook else list(range(1, len(code) + 1))
            assert [cell["execution_count"] for cell in code] == numbers


def test_code_of_all_units_parses_on_its_own(root):
    for unit in exercises(root):
        for segment in builder.segments_of(unit):
            ast.parse(segment.text)


def test_seconds_are_those_of_a_core_that_is_not_slow(toy, monkeypatch):
    """A processor that is shared takes twice as long from one hour to the next; a bound on seconds is not about that."""
    assert builder.slowness() >= 1
    measured = [1e6, 3e6]
    monkeypatch.setattr(builder, "slowness", measured.pop)
    made = builder.execute(find_unit("toy/sums", toy))
    assert made.slowness == 1e6 and 0 < made.seconds < 0.01, "the lesser of the two: what disturbs one excuses nothing"
