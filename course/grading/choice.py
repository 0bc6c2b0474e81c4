"""Which of a learner's notebooks answers which unit: by its path, else by what it says itself, else by its name."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

from course.grading.identities import exact_unit, units_by_name
from course.grading.places import Entry, Refused, safe
from course.units.notebooks import notebook_cells, notebook_unit
from course.units.source import AnswerError

PEEKS = 100  # notebooks of one learner that are looked into
PEEKED = 40 * 2**20  # bytes of these
COPIES = 5  # notebooks for one unit that are held against each other
NOTE_LIMIT, SHOWN_LIMIT = 600, 80
NO_UNIT = "no unit has that name"
SOLUTION = "the course's own solutions, which are not graded"

Reasons = list[tuple[str, str]]  # a file, and why it is not graded


@dataclass(frozen=True, eq=False)
class Notebook:
    """A file that may be a notebook; `entry.parts` is its path in the learner's place. read: its bytes, or Refused."""

    entry: Entry
    read: Callable[[], bytes]

    @property
    def shown(self) -> str:
        return safe("/".join(self.entry.parts), SHOWN_LIMIT)


@dataclass(frozen=True)
class Claim:
    """A notebook as an answer to a unit. by_name: its path or name says so, and not its content alone, or one word of many."""

    notebook: Notebook
    unit: str
    by_name: bool = True


def claims_of(
    notebooks: list[Notebook], known: set[str], chosen: set[str], learner: str = ""
) -> tuple[list[Claim], Reasons, list[Notebook]]:
    """What each notebook of a learner answers; of the others why that cannot be told; and those whose name says nothing at all.

    chosen: the units that are graded; of several units of one name, one of these is meant.
    """
    claims: list[Claim] = []
    reasons: Reasons = []
    nameless: list[Notebook] = []
    peeks, peeked = 0, 0
    for notebook in notebooks:
        parts = notebook.entry.parts
        unit = exact_unit(parts, known)
        if unit is not None:
            if parts[-3:-2] == ("solutions",):
                reasons.append((safe("/".join(parts[:-2]) + "/", SHOWN_LIMIT), SOLUTION))
            else:
                claims.append(Claim(notebook, unit))
            continue
        named = units_by_name(parts, known, learner)
        named = [unit for unit in named if unit in chosen] or named
        said, reason = None, notebook.entry.problem
        if not reason and (peeks >= PEEKS or peeked >= PEEKED):
            reason = "too many notebooks to look into all; hand in those that answer a unit"
        if not reason:
            try:
                raw = notebook.read()
                peeks, peeked = peeks + 1, peeked + len(raw)
                said = notebook_unit(raw)
            except Refused as error:
                reason = str(error)
        loosely = units_by_name(parts, known, loose=True)
        if said in known:
            claims.append(Claim(notebook, said, said in named))
        elif len(named) == 1:
            claims.append(Claim(notebook, named[0]))
        elif not named and len(loosely) == 1:
            claims.append(Claim(notebook, loosely[0], by_name=False))
        else:
            several = f"may be {' or '.join(named)}: put it into a folder {named[0].split('/')[0]}/" if named else NO_UNIT
            reasons.append((notebook.shown, reason or several))
            nameless += [] if reason or named else [notebook]
    return claims, reasons, nameless


def choose(claims: list[Claim]) -> tuple[Notebook, str, Reasons]:
    """Of the notebooks that answer one unit the one to grade, why none can be told to be the right one, and those left out."""
    unit = claims[0].unit
    named = [claim.notebook for claim in claims if claim.by_name] or [claim.notebook for claim in claims]
    open_ones = [notebook for notebook in named if not notebook.entry.problem] or named[:1]
    copies = sorted(_begun(open_ones), key=lambda n: (exact_unit(n.entry.parts, {unit}) is None, len(n.shown), n.shown))
    first = copies[0]
    left = [claim.notebook for claim in claims if claim.notebook not in copies]
    reasons = [(n.shown, n.entry.problem or f"{unit} is handed in as {first.shown}") for n in left]
    if len(copies) == 1:
        return first, "", reasons
    if _same_code(copies):
        return first, "", reasons + [(n.shown, f"has the code of {first.shown}") for n in copies if n is not first]
    names = " and ".join(f"“{safe(notebook.shown, 60)}”" for notebook in copies[:3])
    more = f" and {len(copies) - 3} more" if len(copies) > 3 else ""
    reasons += [(notebook.shown, f"one of {len(copies)} that answer {unit}") for notebook in copies[3:]]
    number = {2: "two"}.get(len(copies), str(len(copies)))
    return first, f"{number} notebooks answer {unit}: {names}{more}; hand in one", reasons


def _begun(notebooks: list[Notebook]) -> list[Notebook]:
    """Without the exercises as they were given, where the same repository also holds the learner's copies of them."""
    begun = {n.entry.parts[:-3] for n in notebooks if n.entry.parts[-3:-2] == ("work",)}
    return [n for n in notebooks if n.entry.parts[-3:-2] != ("notebooks",) or n.entry.parts[:-3] not in begun]


def _same_code(notebooks: list[Notebook]) -> bool:
    """Whether all have the same code; not asked of more than a person would hand in by mistake."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first = _code(notebooks[0])
        return len(notebooks) <= COPIES and first is not None and all(_code(other) == first for other in notebooks[1:])


def _code(notebook: Notebook) -> tuple[str, ...] | bytes | None:
    """What is compared of a notebook: its cells of code, its bytes if they are no notebook; None if they cannot be read."""
    try:
        raw = notebook.read()
    except Refused:
        return None
    try:
        return tuple(cell.strip() for cell in notebook_cells(raw, notebook.shown) if cell.strip())
    except AnswerError:
        return raw


def not_graded(reasons: Reasons) -> str:
    """The files that are not graded, and why, in one line; empty if there are none."""
    names: dict[str, list[str]] = {}
    for name, reason in dict.fromkeys(reasons):
        names.setdefault(reason, []).append(name)
    parts: list[str] = []
    count = 0
    for reason, files in names.items():
        for i in range(0, len(files), 3):
            part = f"{', '.join(files[i : i + 3])} ({reason})"
            if sum(map(len, parts)) + len(part) < NOTE_LIMIT:
                parts.append(part)
                count += len(files[i : i + 3])
    more = sum(len(files) for files in names.values()) - count
    return f"not graded: {'; '.join(parts)}{f' and {more} more' if more else ''}" if names else ""
