"""Figures that prose quotes are those of the record: `[87.7](../../benchmarks/gates.md "image/vae neg_elbo")`.

The title names a unit and a figure, then, after a space, which value is meant: `mean` over the seeds (if nothing is said), `min`, `max`, `seed 0`,
or `seeds`, all of them; several stand with commas, one for each number that is quoted. Of an ablation it reads
`image/vae: no KL term / neg_elbo` (what is left without the idea), of a leak `image/vae: last frame alone / leak` or `… / chance`.
"""

import difflib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from course.authoring.maths import markdown
from course.authoring.prose import texts
from course.errors import CourseError, at
from course.proving.records import read_record
from course.units.catalogue import Unit, read_unit

PAGE = "benchmarks/gates.md"
NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])([-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[-−+]?\d+)?)(?![A-Za-z0-9_])(\s?[%％])?",
    flags=re.IGNORECASE,
)
LINK = re.compile(rf'\[([^\[\]]*)\](\([^()\s]*{re.escape(PAGE)}[^()\s]* "([^"]*)"\))')
STATISTICS = "mean, min, max, seed 0, seeds"


@dataclass(frozen=True)
class Quoted:
    """A link to the page of gates: its text, and its title."""

    text: str
    title: str


def quoted_figures(unit: Unit) -> Iterator[CourseError]:
    """What the pages and the module's docstring quote is what the records say."""
    for path, text in texts(unit):
        yield from wrong_figures(path, text, unit.root)


def wrong_figures(path: Path, text: str, root: Path) -> Iterator[CourseError]:
    """What the Markdown `text` of the file at `path` quotes otherwise than the records say."""
    for quoted in links(text):
        try:
            check(quoted, root)
        except CourseError as error:
            yield at(path, str(error), root)


def links(text: str) -> list[Quoted]:
    """The links to the page of gates that quote a number or have a title."""
    found: list[Quoted] = []
    for block in markdown().parse(text):
        link: Any = None
        words = ""
        for token in block.children or []:
            if token.type == "link_open":
                link, words = token, ""
            elif token.type == "link_close" and link is not None:
                quoted = Quoted(words, str(link.attrGet("title") or ""))
                if str(link.attrGet("href")).partition("#")[0].endswith(PAGE) and (quoted.title or NUMBER.search(words)):
                    found.append(quoted)
                link = None
            else:
                words += token.content
    return found


def check(quoted: Quoted, root: Path) -> None:
    """Raises CourseError, without the file, if the numbers are not those that the title names, rounded to the digits quoted."""
    name, numbers = _compared(quoted, root)
    for number, statistic, value in numbers:
        right = _right(number, value)
        if right != number[0]:
            raise CourseError(
                f"says {number[0]} for {name}, but the record's {statistic} is {right} ({value:.6g}); write {right} (`aigc build "
                f"--figures` does), or, if the text is right, record anew: `aigc gate {name.partition(' ')[0].rstrip(':')} --write`"
            )


def _compared(quoted: Quoted, root: Path) -> tuple[str, list[tuple[re.Match[str], str, float]]]:
    """The figure that is quoted; each number of the text, which value it is of that figure, and that value. Raises CourseError."""
    shown = f'[{quoted.text}]({PAGE} "{quoted.title}")'
    if not quoted.title:
        raise CourseError(f'{shown} names no figure; give the link a title such as "image/vae neg_elbo"')
    name, values = look_up(quoted.title, shown, root)
    numbers = list(NUMBER.finditer(quoted.text))
    if len(numbers) != len(values):
        raise CourseError(
            f"{shown} quotes {len(numbers)} number{'s' * (len(numbers) != 1)}, but its title names {len(values)}; "
            f"name one value for each number ({STATISTICS})"
        )
    return name, [(number, *pair) for number, pair in zip(numbers, values, strict=True)]


def _right(number: re.Match[str], value: float) -> str:
    """A quoted number as it must be: itself if the record says so, else what the record says, with as many digits, signs as written."""
    written, scale = Decimal(number[1].replace(",", "").replace("−", "-")), 0.01 if number[2] else 1.0
    step = 10.0 ** int(written.as_tuple().exponent)
    if abs(float(written) - value / scale) <= step * (0.5 + 1e-6):
        return number[0]
    if not math.isfinite(value):
        return str(value)
    mantissa, exponent, _ = number[1].lower().partition("e")
    digits = len(mantissa.partition(".")[2])
    right = f"{value / scale:{',' if ',' in number[1] else ''}.{digits}{'e' if exponent else 'f'}}"
    return (right.replace("-", "−") if "−" in number[1] else right) + (number[2] or "")


def renewed(text: str, root: Path) -> tuple[str, list[str]]:
    """A text of which each quoted figure is what the records say, and a line for each that was not.

    A quotation that names nothing, or not a value for each number, stays for the linter to refuse.
    """
    lines: list[str] = []

    def set_anew(link: re.Match[str]) -> str:
        try:
            name, numbers = _compared(Quoted(link[1], link[3]), root)
        except CourseError:
            return link[0]
        quoted = link[1]
        for number, statistic, value in reversed(numbers):
            right = _right(number, value)
            if right != number[0]:
                lines.append(f"{name} ({statistic}): {number[0]} is {right} now")
                quoted = quoted[: number.start()] + right + quoted[number.end() :]
        return f"[{quoted}]{link[2]}"

    return LINK.sub(set_anew, text), lines


def look_up(title: str, shown: str, root: Path) -> tuple[str, list[tuple[str, float]]]:
    """The figure that a title names, and the values of it that are meant, each with its name. Raises CourseError if there is no such thing."""
    match = re.match(r"([a-z0-9_]+/[a-z0-9_]+)(?=:? |$)", title)
    path = root / "questions" / f"{match[1] if match else title.split(' ')[0].rstrip(':')}.md"
    if not match or not path.is_file():
        units = [found.relative_to(root / "questions").with_suffix("").as_posix() for found in root.glob("questions/*/*.md")]
        raise CourseError(f"{shown} names no unit{_nearest(title.split(' ')[0].rstrip(':'), units)}")
    unit = read_unit(path, root)
    named = series(unit)
    if not named:
        raise CourseError(f"{shown} quotes {unit.id}, which has no record; make it: `aigc gate {unit.id} --write`")
    name = max((name for name in named if title == name or title.startswith(f"{name} ")), key=len, default="")
    if not name:
        raise CourseError(f"{shown} names no figure of {unit.id}{_nearest(title, list(named))}")
    asked = [part.strip() for part in title.removeprefix(name).split(",")]
    return name, [pair for statistic in asked for pair in _values(statistic or "mean", named[name], shown)]


def series(unit: Unit) -> dict[str, list[float]]:
    """What is recorded of a unit's gate, by the name that a title gives it: a value for each seed."""
    gate = read_record(unit).get("gate", {})
    named = {f"{unit.id} {figure}": values for figure, values in gate.get("figures", {}).items()}
    for name, found in gate.get("ablations", {}).items():
        named[f"{unit.id}: {name} / {found['metric']}"] = found["without"]
    for name, found in gate.get("leaks", {}).items():
        named |= {f"{unit.id}: {name} / leak": found["values"], f"{unit.id}: {name} / chance": [found["chance"]]}
    return named


def _values(statistic: str, values: list[float], shown: str) -> list[tuple[str, float]]:
    simple = {"mean": math.fsum(values) / len(values), "min": min(values), "max": max(values)}
    if statistic in simple:
        return [(statistic, simple[statistic])]
    by_seed = [(f"seed {seed}", value) for seed, value in enumerate(values)]
    if statistic == "seeds":
        return by_seed
    if chosen := [pair for pair in by_seed if pair[0] == statistic]:
        return chosen
    raise CourseError(f"{shown} asks for {statistic!r} of {len(values)} seeds; expected one of {STATISTICS}")


def _nearest(given: str, known: list[str]) -> str:
    near = difflib.get_close_matches(given, known, 1, 0.4)
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(sorted(known)[:5])}, …"
