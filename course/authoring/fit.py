"""Whether the authored files of a unit fit together: sections, hints, cards, links, the module's stubs, and its tests.

Every rule takes a unit and yields a CourseError, which names the file, for each thing that is wrong.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from course.authoring.prose import without_code
from course.checking.runner import Suite, load_suite
from course.errors import CourseError, at
from course.proving.bars import FAKES_OF_A_UNIT, VARIANTS_OF_A_STUB
from course.units.catalogue import SECTIONS, Unit
from course.units.dependencies import names
from course.units.source import cut_holes, parse_module

HINTS_PER_STUB = 3
CARDS = 3
SAME_CARD = 0.6  # cosine of two fronts: what a reader would call one question has above 0.9, the most alike of the others 0.54
ASKING = [
    "what",
    "is",
    "are",
    "does",
    "do",
    "did",
    "why",
    "how",
    "when",
    "which",
    "the",
    "of",
    "in",
    "to",
    "and",
    "an",
    "it",
    "its",
    "one",
    "for",
]


def sections(unit: Unit) -> Iterator[CourseError]:
    """Each page has all sections, and something in them; only a concept question needs no hints."""
    for language, page in enumerate(unit.pages.values()):
        for key, headings in SECTIONS.items():
            if not (key == "hints" and unit.is_concept) and not page.sections.get(key):
                yield at(page.path, f"section '## {headings[language]}' is missing or empty", unit.root)


def hints(unit: Unit) -> Iterator[CourseError]:
    """Each stub has its three hints, and nothing else has any."""
    for page in unit.pages.values():
        for stub in unit.stubs:
            if (count := len(page.hints.get(stub, []))) != HINTS_PER_STUB:
                yield at(page.path, f"needs {HINTS_PER_STUB} numbered hints under '### {stub}', has {count}", unit.root)
        for name in page.hints.keys() - set(unit.stubs):
            yield at(page.path, f"has hints for {name!r}, which is no stub", unit.root)


def cards(unit: Unit) -> Iterator[CourseError]:
    """Three flashcards or more, as many in each language, and nothing between them."""
    for page in unit.pages.values():
        paragraphs = [part for part in re.split(r"\n\s*\n", page.sections.get("cards", "")) if part.strip()]
        if len(page.cards) != len(paragraphs):
            yield at(page.path, "every paragraph of the flashcards reads '**front** back'; one does not", unit.root)
        if len(page.cards) != len(unit.pages["en"].cards):
            yield at(page.path, f"has {len(page.cards)} flashcards, the other language {len(unit.pages['en'].cards)}", unit.root)
        if len(page.cards) < CARDS:
            yield at(page.path, f"needs at least {CARDS} flashcards, has {len(page.cards)}", unit.root)


def links(unit: Unit) -> Iterator[CourseError]:
    """Every relative link of the pages leads to a file, or to one that a build makes."""
    for page in unit.pages.values():
        text = without_code(page.path.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s#]+)[^)]*\)", text):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not (page.path.parent / target).exists() and not _will_exist(page.path.parent / target, unit.root):
                yield at(page.path, f"link to {target}, which does not exist", unit.root)


def _will_exist(path: Path, root: Path) -> bool:
    """Whether a missing file is one that the builder makes."""
    try:
        parts = path.resolve().relative_to(root.resolve()).with_suffix("").parts
    except ValueError:
        return False
    if parts[0] == "questions" and len(parts) == 4 and parts[2] == "images":
        return (root / "questions" / parts[1] / f"{parts[3]}.md").is_file()
    return parts[0] in ("notebooks", "solutions") and (root / "questions" / Path(*parts[1:])).with_suffix(".md").is_file()


def module(unit: Unit) -> Iterator[CourseError]:
    """The module is there, opens with its title and its links, and defines each stub."""
    if unit.is_concept:
        return
    if not unit.module.is_file():
        yield at(unit.question, f"names stubs, but {unit.describe()['module']} does not exist", unit.root)
        return
    source = unit.module.read_text(encoding="utf-8")
    try:
        docstring, _ = parse_module(source)
        if not docstring.startswith("# "):
            yield at(unit.module, "must begin with a Markdown docstring under a '# ' title", unit.root)
        cut_holes(source, unit.stubs)
    except SyntaxError as error:
        yield at(unit.module, f"is no Python: line {error.lineno}: {error.msg}", unit.root)
        return
    except CourseError as error:
        yield at(unit.module, str(error), unit.root)
    for target in (f"../../questions/{unit.id}.md", f"../../notebooks/{unit.id}.ipynb", f"../../solutions/{unit.id}.ipynb"):
        if f"({target})" not in docstring:
            yield at(unit.module, f"the docstring does not link to {target}", unit.root)


def fakes(unit: Unit) -> Iterator[CourseError]:
    """The tests are there, and have six wrong implementations or more to reject."""
    if suite := _suite(unit):
        count = sum(len(table) for table in suite.fakes.values())
        if count < FAKES_OF_A_UNIT:
            yield at(unit.tests, f"needs at least {FAKES_OF_A_UNIT} wrong implementations in FAKES, has {count}", unit.root)


def variants(unit: Unit) -> Iterator[CourseError]:
    """The tests have three right variants or more of each stub to accept."""
    if suite := _suite(unit):
        for stub in unit.stubs:
            if (count := len(suite.variants.get(stub, {}))) < VARIANTS_OF_A_STUB:
                message = f"needs at least {VARIANTS_OF_A_STUB} right implementations of {stub} in VARIANTS, has {count}"
                yield at(unit.tests, message, unit.root)


def ablations(unit: Unit) -> Iterator[CourseError]:
    """A module that trains or measures takes its own idea away."""
    yield from _table(
        unit, "ABLATIONS", "names no ablation: what trains or measures shows in ABLATIONS what it is without its idea"
    )


def leaks(unit: Unit) -> Iterator[CourseError]:
    """A module that trains or measures names what would cheat."""
    yield from _table(unit, "LEAKS", "names no leak: what trains or measures shows in LEAKS that a shortcut leads nowhere")


def _table(unit: Unit, name: str, message: str) -> Iterator[CourseError]:
    if unit.is_concept or not unit.module.is_file():
        return
    try:
        known = names(unit.module, unit.root)
    except SyntaxError:  # which the rule "module" says
        return
    if ("train" in known or "GATES" in known) and name not in known:
        yield at(unit.module, f"{message} (reference_impl/experiments.py)", unit.root)


def _suite(unit: Unit) -> Suite | None:
    """The tests of an exercise. Raises CourseError also where the file itself raises something when it is imported."""
    if unit.is_concept:
        return None
    try:
        return load_suite(unit)
    except CourseError:
        raise
    except Exception as error:  # whatever stands in a half-written file
        raise at(unit.tests, f"cannot be imported: {type(error).__name__}: {error}", unit.root) from None


def repeated_cards(root: Path, units: list[Unit]) -> Iterator[CourseError]:
    """Two pages that ask one question on their flashcards: who learns both would be asked twice. By the words of the fronts, each weighed by
    how few cards have it (tf-idf); in English, since the Chinese cards say the same in the same order."""
    from sklearn.feature_extraction.text import TfidfVectorizer  # here, because it takes a second to import

    cards = [(unit, front) for unit in units for front, _ in unit.pages["en"].cards]
    if not any(re.search(r"\w\w", front) for _, front in cards):
        return
    words = TfidfVectorizer(sublinear_tf=True, stop_words=ASKING).fit_transform(front for _, front in cards)
    alike = (words @ words.T).tocoo()
    for first, second, cosine in zip(alike.row, alike.col, alike.data, strict=True):
        (one, front), (other, again) = cards[first], cards[second]
        if first < second and one != other and cosine > SAME_CARD:
            message = f"its card {again!r} is much like {front!r} of {one.id}; ask something else there"
            yield at(other.pages["en"].path, message, root)


def orphans(root: Path, units: list[Unit]) -> Iterator[CourseError]:
    """Authored files that belong to no unit: a module or tests without a question, a translation without its original."""
    known = {path for unit in units for path in (unit.module, unit.tests)}
    for path in sorted((root / "reference_impl").glob("*/*.py")):
        if path.name != "__init__.py" and path.parent.name != "data" and path not in known:
            yield at(path, f"has no question: write questions/{path.parent.name}/{path.stem}.md", root)
    for page in sorted((root / "questions").glob("*/*.zh.md")):
        if not page.with_name(page.name.replace(".zh.md", ".md")).is_file():
            yield at(page, "is a translation of no question", root)
    for tests in sorted((root / "tests" / "exercises").glob("*/test_*.py")):
        if tests not in known:
            yield at(tests, "tests no unit: there is no question of that name", root)
