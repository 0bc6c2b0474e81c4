"""Figures quoted in prose are those of the record, rounded to the digits quoted."""

import json

import pytest

from course.authoring.figures import links, renewed, wrong_figures
from course.authoring.lint import complaints, lint_course
from course.errors import CourseError
from course.units.catalogue import find_unit, find_units

GATE = {
    "figures": {"nll": [88.0075, 87.8361, 87.2599], "accuracy": [0.986, 0.973, 0.9801], "accuracy_real": [0.99, 0.99, 0.99],
                "deviation": [2.2e-16, 2.8e-16, 2.2e-16], "items": [1024.0, 1024.0, 1024.0], "gain": [-0.5, -0.5, -0.5]},
    "ablations": {"no KL term (β = 0)": {"metric": "nll", "bound": "lower by ≥ 10", "whole": [88, 88, 87], "without": [120.0, 123.0, 121.5]}},
    "leaks": {"last frame alone": {"bound": "≤ 0.15", "chance": 0.1, "values": [0.11, 0.12, 0.1]}},
}  # fmt: skip


@pytest.fixture
def recorded(toy):
    path = toy / "benchmarks/records/toy/sums.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"gate": GATE}))
    (toy / "benchmarks/gates.md").write_text("# Gates\n")
    return toy


def said(root, text, title):
    link = f'So [{text}](../../benchmarks/gates.md "{title}") it is.'
    return [str(error) for error in wrong_figures(root / "questions/toy/sums.md", link, root)]


@pytest.mark.parametrize(("text", "title"), [
    ("87.7", "toy/sums nll"),
    ("87.70", "toy/sums nll"),
    ("88", "toy/sums nll"),
    ("87.7 nats", "toy/sums nll mean"),
    ("87.26", "toy/sums nll min"),
    ("88.0", "toy/sums nll max"),
    ("87.8", "toy/sums nll seed 1"),
    ("88.0, 87.8 and 87.3", "toy/sums nll seeds"),
    ("87.3 to 88.0", "toy/sums nll min, max"),
    ("约87.3–88.0", "toy/sums nll min, max"),
    ("98 %", "toy/sums accuracy"),
    ("98.0%", "toy/sums accuracy"),
    ("0.98", "toy/sums accuracy"),
    ("99 %", "toy/sums accuracy_real"),
    ("2.4e-16", "toy/sums deviation"),
    ("1,024 items", "toy/sums items"),
    ("−0.5", "toy/sums gain"),
    ("121.5", "toy/sums: no KL term (β = 0) / nll"),
    ("123", "toy/sums: no KL term (β = 0) / nll max"),
    ("0.11", "toy/sums: last frame alone / leak"),
    ("0.1", "toy/sums: last frame alone / chance"),
    ("0.10 against 0.12", "toy/sums: last frame alone / leak min, max"),
])  # fmt: skip
def test_what_the_record_says_is_accepted(recorded, text, title):
    assert said(recorded, text, title) == []


@pytest.mark.parametrize(("text", "title", "expected"), [
    ("87.8", "toy/sums nll", "sums.md: says 87.8 for toy/sums nll, but the record's mean is 87.7 (87.7012); write 87.7 (`aigc build --figures` does), or, if the text "
     "is right, record anew: `aigc gate toy/sums --write`"),
    ("87.71", "toy/sums nll", "write 87.70"),
    ("87.7", "toy/sums nll max", "the record's max is 88.0"),
    ("87.7 nats, 3 seeds", "toy/sums nll", "quotes 2 numbers, but its title names 1"),
    ("about that", "toy/sums nll", "quotes 0 numbers, but its title names 1"),
    ("97 %", "toy/sums accuracy", "the record's mean is 98 %"),
    ("0.98 %", "toy/sums accuracy", "the record's mean is 97.97 %"),
    ("0.5", "toy/sums gain", "the record's mean is -0.5"),
    ("1,025", "toy/sums items", "the record's mean is 1,024"),
    ("120", "toy/sums: no KL term (β = 0) / nll", "the record's mean is 122"),
    ("87.7", "", 'names no figure; give the link a title such as "image/vae neg_elbo"'),
    ("87.7", "toy/sum nll", "names no unit; did you mean 'toy/sums'?"),
    ("87.7", "nll", "names no unit"),
    ("87.7", "toy/sums nl", "names no figure of toy/sums; did you mean 'toy/sums nll'?"),
    ("87.7", "toy/sums", "names no figure of toy/sums"),
    ("87.7", "toy/sums: no KL term / nll", "did you mean 'toy/sums: no KL term (β = 0) / nll'?"),
    ("87.7", "toy/sums: no KL term (β = 0) / accuracy", "names no figure of toy/sums"),
    ("87.7", "toy/sums nll median", "asks for 'median' of 3 seeds; expected one of mean, min, max"),
    ("87.7", "toy/sums nll seed 3", "asks for 'seed 3' of 3 seeds"),
])  # fmt: skip
def test_anything_else_is_refused(recorded, text, title, expected):
    (message,) = said(recorded, text, title)
    assert message.startswith("questions/toy/sums.md: ") and expected in message


def test_a_unit_without_a_record_cannot_be_quoted(toy):
    (message,) = said(toy, "87.7", "toy/sums nll")
    assert "quotes toy/sums, which has no record; make it: `aigc gate toy/sums --write`" in message


def test_a_figure_that_is_no_number_is_never_right(recorded):
    path = recorded / "benchmarks/records/toy/sums.json"
    path.write_text(json.dumps({"gate": {"figures": {"nll": [float("nan")]}}}))
    (message,) = said(recorded, "87.7", "toy/sums nll")
    assert "the record's mean is nan" in message


def test_links_are_found_where_a_reader_sees_them():
    text = (
        "A [1.5](benchmarks/gates.md 'a/b c'), [all figures](benchmarks/gates.md), [2 of it](../../benchmarks/gates.md#x) and "
        "`[3](benchmarks/gates.md)`, [98 %](benchmarks/audit.md).\n\n```\n[4](benchmarks/gates.md)\n```\n\n- [**5**](benchmarks/gates.md)\n"
    )
    assert [(link.text, link.title) for link in links(text)] == [("1.5", "a/b c"), ("2 of it", ""), ("5", "")]


@pytest.mark.parametrize("name", ["questions/toy/sums.md", "questions/toy/sums.zh.md", "reference_impl/toy/sums.py"])
def test_pages_and_docstrings_are_read(recorded, name):
    for number, count in (("87.7", 0), ("87.8", 1)):
        path = recorded / name
        before = path.read_text(encoding="utf-8")
        at = {"sums.md": "Add them all.", "sums.zh.md": "全部相加。", "sums.py": "Adding."}[path.name]
        path.write_text(before.replace(at, f'{at} [{number}](../../benchmarks/gates.md "toy/sums nll")'), encoding="utf-8")
        found = complaints(find_unit("toy/sums", recorded))
        assert [complaint.rule for complaint in found] == ["figures"] * count
        assert all(complaint.message.startswith(f"{name}: says 87.8") for complaint in found)
        path.write_text(before, encoding="utf-8")


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_readmes_are_read(recorded, name):
    path = recorded / name
    path.write_text(path.read_text(encoding="utf-8") + '\n[87.8](benchmarks/gates.md "toy/sums nll")\n', encoding="utf-8")
    with pytest.raises(CourseError, match=rf"^{name}: says 87\.8 for toy/sums nll"):
        lint_course(recorded, find_units(recorded))


@pytest.mark.parametrize(("text", "title", "right"), [
    ("91.2", "toy/sums nll", "87.7"),
    ("91.20 nats", "toy/sums nll", "87.70 nats"),
    ("88.0, 88.1 and 89.3", "toy/sums nll seeds", "88.0, 87.8 and 87.3"),
    ("约86.0–89.0", "toy/sums nll min, max", "约87.3–88.0"),
    ("91 %", "toy/sums accuracy", "98 %"),
    ("91.0%", "toy/sums accuracy", "98.0%"),
    ("3.5e-12", "toy/sums deviation", "2.4e-16"),
    ("2,048 items", "toy/sums items", "1,024 items"),
    ("−0.7", "toy/sums gain", "−0.5"),
    ("-0.75", "toy/sums gain", "-0.50"),
    ("87.7", "toy/sums nll", "87.7"),
    ("1 and 2", "toy/sums nll", "1 and 2"),
    ("12", "toy/sums nothing", "12"),
])  # fmt: skip
def test_figures_are_set_to_what_the_record_says(recorded, text, title, right):
    def link(quoted):
        return f'So 12 of [{quoted}](../../benchmarks/gates.md "{title}"), [12](other.md "12") it is.'

    new, lines = renewed(link(text), recorded)
    assert new == link(right)
    assert bool(lines) == (text != right)
    if right != text:
        assert said(recorded, right, title) == [], "what was written is what the linter wants"
        assert renewed(new, recorded) == (new, [])


def test_the_builder_sets_them_on_request(recorded, aigc, monkeypatch):
    path = recorded / "questions/toy/sums.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("## Pitfalls", 'It is [91.2](../../benchmarks/gates.md "toy/sums nll").\n\n## Pitfalls', 1), encoding="utf-8"
    )
    status, _, err = aigc("build", "--check", "--figures")
    assert status != 0 and "use one of them" in err
    monkeypatch.setattr("course.authoring.build.build", lambda root, report: [])
    _, out, _ = aigc("build", "--figures")
    assert "toy/sums nll (mean): 91.2 is 87.7 now" in " ".join(out.split())
    assert '[87.7](../../benchmarks/gates.md "toy/sums nll")' in path.read_text(encoding="utf-8")
