"""What `aigc build --check` refuses in the text of a question."""

from types import SimpleNamespace

import pytest

from course.authoring import build as builder
from course.authoring.fit import repeated_cards
from course.authoring.maths import BadFormula, Formula, formulas, parse, render
from course.authoring.prose import missing_sources, spoken_length
from course.errors import CourseError
from course.units.catalogue import find_unit, find_units


@pytest.mark.parametrize(
    "latex",
    [
        r"\frac{1}{", "a}", "{a", r"\foo x", r"\left( x", "a_b_c", r"\begin{cases} a", r"\frac{a}", "x^", "a & b", "x # y",
        r"\end{cases}", r"\underbrace{a}_", r"\begin{foo}a\end{foo}", "a % b", "损失", r"\mathbb",
    ],
)  # fmt: skip
def test_a_broken_formula_is_refused(latex):
    for act in (parse, render):
        with pytest.raises(BadFormula):
            act(Formula(latex, False))


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        (r"\mathbb E", "double-struck"),
        (r"\underbrace{a + b}_{\text{损失}}", "munder"),
        (r"\operatorname{softmax}(x)", "softmax"),
        (r"\begin{cases} 1 & x > 0 \\ 0 \end{cases}", "mtable"),
        (r"\begin{aligned} a &= b \\ &= c \end{aligned}", "mtable"),
        (r"\bigl\| x \bigr\|", "∥"),
    ],
)
def test_what_the_pages_use_is_set_as_mathml_too(latex, shown):
    html = render(Formula(latex, True))
    assert shown in html and 'class="katex-display"' in html and "<math" in html


def test_formulas_are_found_where_the_site_sets_them():
    text = "Costs $5 and $6, or $x$.\n\n$$\ny\n$$\n\n`$a$` and \\$b\\$\n\n```\n$c$\n```\n\n| $|d|$ is no cell |\n|---|\n| $e$ $$f$$ |\n"
    found = [(formula.latex, formula.display) for formula in formulas(text)]
    assert found[:2] == [("x", False), ("y", True)] and ("e", False) in found and ("f", True) in found
    assert not {"a", "b", "c"} & {latex for latex, _ in found}, "code and escaped dollars are no formulas"


def test_every_formula_of_the_course_parses(root):
    found = [f for unit in find_units(root) for page in unit.pages.values() for f in formulas(page.path.read_text("utf-8"))]
    assert len(found) > 1200
    for formula in set(found):
        parse(formula)


@pytest.mark.parametrize(("text", "language", "length"), [
    ("one two\nthree, $a + b$ four", "en", 5),
    ("先采样 $z$，再用 decoder 解码。", "zh", 11),
    ("", "zh", 0),
])  # fmt: skip
def test_spoken_length(text, language, length):
    assert spoken_length(text, language) == length


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("questions/toy/sums.md", "Add them all.", r"Add $\sum_{i$.", r"sums\.md: the formula \$\\sum_\{i\$ does not parse: "),
        ("questions/toy/sums.zh.md", "全部相加。", "$损失$", r"sums\.zh\.md: the formula \$损失\$ does not parse: "),
        ("reference_impl/toy/sums.py", "Adding.", r"Adding $\\summ x$.", r"sums\.py: the formula .* does not parse: Undefined control"),
        ("questions/toy/sums.md", "Add them.", "Add " * 341, r"sums\.md: the spoken answer has 341 words, two minutes hold 340"),
        ("questions/toy/sums.zh.md", "相加。\n## 深", "加" * 601 + "\n## 深", r"sums\.zh\.md: the spoken answer has 601 characters"),
        ("questions/toy/sums.md", "Why?", "Why (Gauss, 1901)?", r"sums\.md: cites \(Gauss, 1901\), but no reference names"),
        ("questions/toy/sums.zh.md", "为什么？", "Gauss 等（1901）怎么说？", "cites Gauss 等（1901）"),
    ],
)  # fmt: skip
def test_bad_text_is_named(toy, path, old, new, expected):
    change(toy / path, old, new)
    with pytest.raises(CourseError, match=expected):
        builder.check(toy)


def test_too_few_flashcards_are_refused(toy):
    change(toy / "questions/toy/sums.md", "**And of one?** It.\n", "")
    change(toy / "questions/toy/sums.zh.md", "**只有一项呢？** 它自己。\n", "")
    with pytest.raises(CourseError, match=r"sums\.md: needs at least 3 flashcards, has 2"):
        builder.check(toy)


def test_a_cited_author_with_an_entry_is_accepted(toy):
    change(
        toy / "questions/toy/sums.md",
        "Why?",
        "Why (Gauss and Euler, NeurIPS 1991; not checked), (Gauss, 1991), Gauss et al. (1991)?",
    )
    change(toy / "questions/toy/sums.md", "- none", "- C. F. Gauss, *Sums*, 1991.")
    assert missing_sources(find_unit("toy/sums", toy).pages["en"]) == []


@pytest.mark.parametrize(("front", "again"), [
    ("What is exposure bias?", "What is exposure bias?"),
    ("What is scheduled sampling?", "What does scheduled sampling do?"),
    ("Why does the loss $\\log(1 - D)$ saturate?", "When does the generator's loss $\\log(1 - D)$ saturate?"),
])  # fmt: skip
def test_two_pages_that_ask_one_question_are_found(root, front, again):
    units = find_units(root)
    pages = [
        SimpleNamespace(id=name, pages={"en": SimpleNamespace(cards=[(card, "")], path=root / f"{name}.md")})
        for name, card in (("a/one", front), ("a/other", again))
    ]
    (found,) = (error for error in repeated_cards(root, [*units, *pages]) if "of a/one;" in str(error))
    assert "other.md" in str(found) and "ask something else there" in str(found)


@pytest.mark.parametrize("front", ["What does LPIPS compare?", "What is the entropy of a Gaussian?", "什么？", ""])
def test_two_pages_that_ask_like_things_may(root, front):
    page = SimpleNamespace(id="a/one", pages={"en": SimpleNamespace(cards=[(front, "")], path=root / "one.md")})
    assert not list(repeated_cards(root, [*find_units(root), page]))
    assert not list(repeated_cards(root, [page, page]))
