"""What the authored files of a unit must be: every rule, in the order in which they are asked."""

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path

from course.authoring import claims, figures, fit, pattern, pictures, prose
from course.errors import CourseError
from course.proving.ready import Complaint
from course.units.catalogue import Unit

Rule = Callable[[Unit], Iterator[CourseError]]

# Name -> the rule. A rule that only makes sense of what an earlier one demands yields nothing where that is missing.
RULES: dict[str, Rule] = {
    "sections": fit.sections,
    "hints": fit.hints,
    "cards": fit.cards,
    "links": fit.links,
    "module": fit.module,
    "fakes": fit.fakes,
    "formulas": prose.formulas_parse,
    "spoken": prose.spoken_in_two_minutes,
    "sources": prose.sources_are_named,
    "variants": fit.variants,
    "ablations": fit.ablations,
    "leaks": fit.leaks,
    "demo": pictures.demo_exists,
    "ladder": pattern.ladder,
    "weak answers": pattern.weak_answers,
    "derivation": pattern.derivation,
    "snippet": pattern.snippet,
    "figures": figures.quoted_figures,
    "dates": claims.dated_claims,
}


def complaints(unit: Unit) -> list[Complaint]:
    """All that is wrong with a unit's authored files; nothing is raised for it."""
    return [Complaint(name, message) for name, rule in RULES.items() for message in _said(rule, unit)]


def _said(rule: Rule, unit: Unit) -> Iterator[str]:
    """The messages of a rule, those that it raises included: what a rule reads may itself be malformed."""
    try:
        yield from (str(error) for error in rule(unit))
    except CourseError as error:
        yield str(error)


def lint(unit: Unit) -> None:
    """Refuse a unit whose authored files are not as they must be. Raises CourseError on the first thing that is not."""
    for complaint in complaints(unit):
        raise CourseError(complaint.message)


def lint_course(root: Path, units: list[Unit]) -> None:
    """Refuse a course with a malformed unit, with files of no unit, or with a README that quotes what no record says. Raises CourseError
    on the first."""
    for error in _of_the_whole(root, units):
        raise error
    for unit in units:
        lint(unit)


def _of_the_whole(root: Path, units: list[Unit]) -> Iterator[CourseError]:
    yield from fit.orphans(root, units)
    yield from fit.repeated_cards(root, units)
    for readme in (root / "README.md", root / "README.zh.md"):
        text = readme.read_text(encoding="utf-8")
        yield from figures.wrong_figures(readme, text, root)
        yield from claims.bad_claims(readme, text, root, datetime.date.today())


def old_claims(units: list[Unit], today: datetime.date | None = None) -> list[str]:
    """A line for each claim about the state of the field that was checked more than a year before `today`: to look at, not to refuse."""
    return [line for unit in units for line in claims.old_claims(unit, today)]
