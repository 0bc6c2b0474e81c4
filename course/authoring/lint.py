"""What the text of a question must be, beyond having all its sections: formulas that parse, a spoken answer that can be
spoken, flashcards, and an entry for whatever is cited."""

import re
from pathlib import Path

from course.authoring.maths import BadFormula, formulas, parse
from course.errors import at
from course.units.catalogue import Page, Unit
from course.units.source import parse_module

# Two minutes of calm speech. The longest answers stand at 314 words and 539 characters.
SPOKEN = {"en": 340, "zh": 600}
CARDS = 3

_NAME = r"[A-Z][A-Za-zÀ-ž'’-]+"
_AUTHORS = rf"({_NAME})(?:(?:, and |, |、| and | 和 | 与 |和|与){_NAME})*"
_VENUE = r"(?:[A-Z][A-Za-z ]+ )?(?:19|20)\d\d"
CITATIONS = (
    re.compile(rf"[(（]{_AUTHORS}(?: et al\.| ?等)?[,，] ?{_VENUE}[)）]"),  # (Kingma and Welling, 2014)
    re.compile(rf"{_AUTHORS}(?: et al\.| ?等) ?[(（]{_VENUE}[)）]"),  # Higgins et al. (ICLR 2017)
)


def lint_text(unit: Unit) -> None:
    """Refuse pages and a module docstring that break these rules. Raises CourseError that names the file."""
    for language, page in unit.pages.items():
        text = page.path.read_text(encoding="utf-8")
        lint_formulas(page.path, text, unit.root)
        length, words = spoken_length(page.sections["spoken"], language), {"en": "words", "zh": "characters"}[language]
        if length > SPOKEN[language]:
            message = f"the spoken answer has {length} {words}, two minutes hold {SPOKEN[language]}; move detail into the depth"
            raise at(page.path, message, unit.root)
        if len(page.cards) < CARDS:
            raise at(page.path, f"needs at least {CARDS} flashcards, has {len(page.cards)}", unit.root)
        if missing := missing_sources(page):
            raise at(page.path, f"cites {missing[0]}, but no reference names its first author", unit.root)
    if not unit.is_concept:
        docstring, _ = parse_module(unit.module.read_text(encoding="utf-8"))
        lint_formulas(unit.module, docstring, unit.root)


def lint_formulas(path: Path, text: str, root: Path) -> None:
    """Every formula of a Markdown text must parse. Raises CourseError on the first that does not."""
    for formula in formulas(text):
        try:
            parse(formula)
        except BadFormula as error:
            raise at(path, f"the formula ${formula.latex}$ does not parse: {error}", root) from None


def spoken_length(text: str, language: str) -> int:
    """Words of English; characters of Chinese, punctuation included, where a word or number in Latin letters counts once and so does a formula."""
    text = re.sub(r"\$[^$]+\$", "x", text)
    return len(text.split() if language == "en" else re.findall(r"[A-Za-z0-9_.%'-]+|[^\sA-Za-z0-9]", text))


def missing_sources(page: Page) -> list[str]:
    """Citations by author and year whose first author no reference names."""
    body = "\n".join(text for key, text in page.sections.items() if key != "references")
    body = re.sub(r"^```.*?^```", "", body, flags=re.DOTALL | re.MULTILINE)
    references = page.sections["references"]
    return [match[0] for pattern in CITATIONS for match in pattern.finditer(body) if match[1] not in references]
