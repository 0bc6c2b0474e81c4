"""Claims about the state of the field carry the month in which they were checked: `(as of 2026-11)`, in Chinese `（截至 2026-11）`."""

import datetime
import re
from collections.abc import Iterator
from pathlib import Path

from course.authoring.prose import texts, without_code
from course.errors import CourseError, at
from course.units.catalogue import Unit

FORM = {"en": "(as of 2026-11)", "zh": "（截至 2026-11）"}
OLD = 12  # months after which a claim is worth another look
_EXACT = {"en": re.compile(r"\(as of (\d{4})-(0[1-9]|1[0-2])\)"), "zh": re.compile(r"（截至 (\d{4})-(0[1-9]|1[0-2])）")}
# Whatever begins like one: in brackets, or followed by a year.
_LIKE = re.compile(
    r"[(（]\s*(?:as of\b|截至)[^)）\n]*[)）]?|(?:\bas of|截至)\s*(?:(?:early|mid|late|\w+)[ -]+)?\d{4}[^\s,.，。]*",
    flags=re.IGNORECASE,
)


def dated_claims(unit: Unit) -> Iterator[CourseError]:
    """The claims of a unit's pages and docstring are dated in the fixed form, and not in the future."""
    for path, text in texts(unit):
        yield from bad_claims(path, text, unit.root, _today())


def bad_claims(path: Path, text: str, root: Path, today: datetime.date) -> Iterator[CourseError]:
    """What the Markdown `text` of the file at `path` dates in another form, or after `today`."""
    language = _language(path)
    for written in _LIKE.findall(_prose(text)):
        if not (match := _EXACT[language].fullmatch(written)):
            yield at(path, f"a claim is dated {written!r}; the form is {FORM[language]}", root)
        elif _age(match, today) < 0:
            yield at(path, f"a claim is dated {written}, which is yet to come; write the month in which it was checked", root)


def old_claims(unit: Unit, today: datetime.date | None = None) -> list[str]:
    """A line for each claim of a unit that is more than a year old: no error, but it should be checked again and its month renewed."""
    today = today or _today()
    lines = []
    for path, text in texts(unit):
        for match in _EXACT[_language(path)].finditer(_prose(text)):
            if (age := _age(match, today)) > OLD:
                lines.append(
                    str(at(path, f"a claim {match[0]} is {age} months old; check it again and renew its month", unit.root))
                )
    return lines


def _language(path: Path) -> str:
    return "zh" if path.name.endswith(".zh.md") else "en"


def _prose(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", without_code(text))


def _age(match: re.Match[str], today: datetime.date) -> int:
    """Months from the one that was written to `today`."""
    return 12 * (today.year - int(match[1])) + today.month - int(match[2])


def _today() -> datetime.date:
    return datetime.date.today()
