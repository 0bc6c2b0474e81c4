"""Points for stubs: what an instructor's file says each of them is worth, and what a result is worth by it."""

import csv
import difflib
import io
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from course.errors import CourseError
from course.grading.journal import Row

ANY = "*"
COLUMNS = ("unit", "stub", "points")


@dataclass(frozen=True)
class Weights:
    """What each stub is worth. stubs: those of each unit; rules: (unit, stub) -> points, with `*` for any; without rules every
    stub is worth one point. partial: a stub that did not pass earns its share of cases."""

    stubs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    rules: Mapping[tuple[str, str], float] = field(default_factory=dict)
    partial: bool = False

    def worth(self, unit: str, stub: str) -> float:
        """The points for a stub that passed; the narrowest rule counts, and a stub without any is worth nothing."""
        if not self.rules:
            return 1.0
        places = ((unit, stub), (unit, ANY), (ANY, stub), (ANY, ANY))
        return next((self.rules[place] for place in places if place in self.rules), 0.0)

    def earned(self, row: Row, stub: str) -> float:
        """The points of one stub of a result."""
        if row.stubs[stub]["status"] == "passed":
            return self.worth(row.unit, stub)
        return self.worth(row.unit, stub) * (share(row.stubs[stub]) or 0.0) if self.partial else 0.0

    def points(self, row: Row) -> float:
        """The points of a whole result."""
        return tidy(sum(self.earned(row, stub) for stub in row.stubs))

    def maximum(self, row: Row) -> float:
        """The most that could be had where this result stands."""
        stubs = row.stubs or self.stubs.get(row.unit)
        if stubs is None:
            return 0.0 if self.rules else float(row.max_score)
        return tidy(sum(self.worth(row.unit, stub) for stub in stubs))

    def worthless(self, units: set[str]) -> list[str]:
        """The stubs of these units that no rule gives points, as `unit stub`."""
        return [f"{unit} {stub}" for unit in sorted(units) for stub in self.stubs.get(unit, ()) if not self.worth(unit, stub)]


def tidy(number: float) -> float:
    """A sum of points without the dust of binary fractions."""
    return round(number, 4)


def share(stub: Mapping[str, str]) -> float | None:
    """The share of its cases that a stub passed, 0 to 1; None where a row of an earlier version does not say."""
    if stub["status"] == "passed":
        return 1.0
    passed, cases = stub.get("passed", ""), stub.get("cases", "")
    if not (passed.isdecimal() and cases.isdecimal() and int(cases)):
        return None
    return min(int(passed) / int(cases), 1.0)


def row_share(row: Row) -> float | None:
    """The share of cases passed of a whole result, each stub counting alike as it does for the score; None if not known."""
    if not row.stubs:
        return 0.0 if row.max_score else None
    shares = [share(stub) for stub in row.stubs.values()]
    return None if None in shares else sum(s for s in shares if s is not None) / len(shares)


def load_weights(path: Path | None, stubs: Mapping[str, Sequence[str]], *, partial: bool = False) -> Weights:
    """The weights in a file: CSV with the columns unit, stub, points, or TOML with a table for each unit.

    stubs: the units and their stubs; `*` stands for any of them. Raises CourseError with a line for each mistake.
    """
    if path is None:
        return Weights(stubs, {}, partial)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise CourseError(f"cannot read the weights in {path}: {reason}") from None
    rules: dict[tuple[str, str], float] = {}
    lines: dict[tuple[str, str], int] = {}
    mistakes: list[str] = []
    for line in _from_toml(path, text) if path.suffix.lower() == ".toml" else _from_csv(path, text):
        place = (line.unit, line.stub)
        said = line.problem or _mistake(line, stubs)
        if not said and place in lines:
            said = f"{line.unit}, {line.stub} has its points in line {lines[place]} already"
        if said:
            mistakes.append(f"{path}, line {line.number}: {said}")
        else:
            rules[place], lines[place] = float(line.points), line.number
    if not rules and not mistakes:
        mistakes.append(f"{path} gives no points; expected lines such as image/vae,kl_divergence,2")
    if mistakes:
        raise CourseError("\n".join(mistakes))
    return Weights(stubs, rules, partial)


@dataclass(frozen=True)
class _Line:
    number: int
    unit: str = ""
    stub: str = ""
    points: str = ""
    problem: str = ""


def _from_csv(path: Path, text: str) -> Iterator[_Line]:
    """Its lines; a head, comments and blank lines are left out. Spreadsheets of many countries write `;` and a decimal comma."""
    first = text.split("\n", 1)[0]
    delimiter = ";" if ";" in first else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        for cells in reader:
            fields = [cell.strip() for cell in cells]
            if not any(fields) or fields[0].startswith("#") or tuple(map(str.lower, fields[:3])) == COLUMNS:
                continue
            if len(fields) < 3 or any(fields[3:]):
                yield _Line(reader.line_num, problem=f"expected unit, stub and points, got {delimiter.join(fields)!r}")
            else:
                points = fields[2].replace(",", ".") if delimiter == ";" else fields[2]
                yield _Line(reader.line_num, fields[0], fields[1], points)
    except csv.Error as error:
        raise CourseError(f"{path}, line {reader.line_num} is not CSV: {error}") from None


def _from_toml(path: Path, text: str) -> Iterator[_Line]:
    """Its lines. It is read as a whole first, and then line by line, so that each mistake can be found."""
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f'{path} is not TOML: {error}; a unit stands in quotes, ["image/vae"], and so does "*"') from None
    unit = ""
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            found = tomllib.loads(line.rstrip("\r"))
        except tomllib.TOMLDecodeError:
            yield _Line(number, problem=f'expected a table such as ["image/vae"], or points such as encode = 2, got {line!r}')
            continue
        for key, value in found.items():
            if line.lstrip().startswith("["):
                unit = key
            elif isinstance(value, dict):  # VAE.forward = 2, which TOML reads as a table
                yield from (_Line(number, unit, f"{key}.{inner}", str(points)) for inner, points in value.items())
            else:
                yield _Line(number, unit, key, str(value))


def _mistake(line: _Line, stubs: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with a line, in words; empty if nothing."""
    if not line.unit:
        return "it names no unit; * stands for any"
    if line.unit not in stubs and line.unit != ANY:
        return f"there is no unit {line.unit!r} with code{_nearest(line.unit, list(stubs))}"
    known = list(stubs[line.unit]) if line.unit != ANY else [name for names in stubs.values() for name in names]
    if line.stub not in known and line.stub != ANY:
        where = line.unit if line.unit != ANY else "the course"
        return f"{where} has no stub {line.stub!r}{_nearest(line.stub, known)}"
    try:
        number = float(line.points)
    except ValueError:
        number = math.nan
    return "" if math.isfinite(number) and number >= 0 else f"points are a number from 0, got {line.points!r}"


def _nearest(name: str, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]}?" if close else ""
