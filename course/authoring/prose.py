"""What the text of a question must be, beyond having all its sections: formulas that parse, a spoken answer that can be
spoken, and an entry for whatever is cited."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from course.authoring.maths import BadFormula, formulas, parse
from course.errors import CourseError, at
from course.units.catalogue import Page, Unit
from course.units.source import parse_module

# Two minutes of calm speech. The longest answers stand at 314 words and 539 characters.
SPOKEN = {"en": 340, "zh": 600}

_NAME = r"[A-Z][A-Za-zÀ-ž'’-]+"
_AUTHORS = rf"({_NAME})(?:(?:, and |, |、| and | 和 | 与 |和|与){_NAME})*"
_VENUE = r"(?:[A-Z][A-Za-z ]+ )?(?:19|20)\d\d"
CITATIONS = (
    re.compile(rf"[(（]{_AUTHORS}(?: et al\.| ?等)?[,，] ?{_VENUE}[)）]"),  # (Kingma and Welling, 2014)
    re.compile(rf"{_AUTHORS}(?: et al\.| ?等) ?[(（]{_VENUE}[)）]"),  # Higgins et al. (ICLR 2017)
)


def formulas_parse(unit: Unit) -> Iterator[CourseError]:
    """Every formula of the pages and of the module's docstring parses."""
    for path, text in texts(unit):
        for formula in formulas(text):
            try:
                parse(formula)
            except BadFormula as error:
                yield at(path, f"the formula ${formula.latex}$ does not parse: {error}", unit.root)


def spoken_in_two_minutes(unit: Unit) -> Iterator[CourseError]:
    """The spoken answer can be spoken in two minutes."""
    for language, page in unit.pages.items():
        length, words = spoken_length(page.sections.get("spoken", ""), language), {"en": "words", "zh": "characters"}[language]
        if length > SPOKEN[language]:
            message = f"the spoken answer has {length} {words}, two minutes hold {SPOKEN[language]}; move detail into the depth"
            yield at(page.path, message, unit.root)


def sources_are_named(unit: Unit) -> Iterator[CourseError]:
    """Whatever is cited by author and year has an entry among the references."""
    for page in unit.pages.values():
        for citation in missing_sources(page):
            yield at(page.path, f"cites {citation}, but no reference names its first author", unit.root)


def texts(unit: Unit) -> list[tuple[Path, str]]:
    """The Markdown that a person writes for a unit, each with its file: the pages, and the module's docstring where there is one."""
    written = [(page.path, page.path.read_text(encoding="utf-8")) for page in unit.pages.values()]
    if not unit.is_concept and unit.module.is_file():
        with contextlib.suppress(SyntaxError):  # which the rule of the module names
            written.append((unit.module, parse_module(unit.module.read_text(encoding="utf-8"))[0]))
    return written


def without_code(text: str) -> str:
    """A Markdown text without its fenced blocks."""
    return re.sub(r"^(`{3,}).*?^\1`*\s*?$", "", text, flags=re.DOTALL | re.MULTILINE)


def spoken_length(text: str, language: str) -> int:
    """Words of English; characters of Chinese, punctuation included, where a word or number in Latin letters counts once and so does a formula."""
    text = re.sub(r"\$[^$]+\$", "x", text)
    return len(text.split() if language == "en" else re.findall(r"[A-Za-z0-9_.%'-]+|[^\sA-Za-z0-9]", text))


def missing_sources(page: Page) -> list[str]:
    """Citations by author and year whose first author no reference names."""
    body = "\n".join(text for key, text in page.sections.items() if key != "references")
    references = page.sections.get("references", "")
    return [match[0] for pattern in CITATIONS for match in pattern.finditer(without_code(body)) if match[1] not in references]
