"""What was handed in, as data. Nothing of a submission is ever imported, extracted to disk, followed as a link, or run here.

Every learner has a row, and every notebook is graded, or named in a row of its learner with the reason why not.
"""

import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from course.errors import CourseError
from course.grading import identities
from course.grading.archives import count_members, members, members_of_class, read_member
from course.grading.choice import Claim, Notebook, Reasons, choose, claims_of, not_graded
from course.grading.places import ENTRIES_LIMIT, NAME_LIMIT, NOTEBOOK_LIMIT, TOO_MANY, Entry, Refused, read_file, safe, walk

__all__ = ["NOTEBOOK_LIMIT", "Found", "Refused", "Submission", "find_submissions", "safe", "scan"]

ARCHIVES_LIMIT = 50  # of one learner
LINE_LIMIT = 290  # characters; what the grader keeps of a message, and a little less
NOTHING = "the folder holds no notebook of a known unit"
RESULTS = {"run.json", "results.jsonl"}  # what a folder of results holds


@dataclass(frozen=True)
class Submission:
    """One notebook of one learner. It lies at `parts` below `location`, and inside of an archive it is `member` (index, name).

    problem: why it is not even opened. note: what else its author has to be told.
    """

    learner: str
    unit: str
    location: Path
    parts: tuple[str, ...] = ()
    member: tuple[int, str] | None = None
    problem: str = ""
    note: str = ""

    def read(self) -> bytes:
        """The notebook, read once. Raises Refused if it is no regular file, too large, or broken."""
        if self.problem:
            raise Refused(self.problem)
        if self.member is not None:
            return read_member(self.location, self.parts, self.member)
        return read_file(self.location, self.parts)


@dataclass
class Found:
    """The submissions, and what the instructor has to be told about the whole."""

    submissions: list[Submission]
    notes: list[str] = field(default_factory=list)


@dataclass
class _Learner:
    """What lies in one learner's place. problem: why nothing of it is opened."""

    notebooks: list[Notebook] = field(default_factory=list)
    unopened: Reasons = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    problem: str = ""
    count: int = 0


def find_submissions(path: Path, units: Iterable[str], wanted: Iterable[str] | None = None) -> list[Submission]:
    """`scan`, without what it has to say to the instructor."""
    return scan(path, units, wanted).submissions


def scan(path: Path, units: Iterable[str], wanted: Iterable[str] | None = None) -> Found:
    """Every notebook of a known unit below `path`: a folder or a zip of learners' folders, archives or files, one learner's
    folder, or a notebook.

    wanted: only these units; then a learner who has not handed one in gets a row that says so. Raises CourseError if there is
    nothing to grade at all.
    """
    known = set(units)
    chosen = set(wanted) if wanted is not None else known
    if not path.exists():
        raise CourseError(f"there is no file or folder {path}")
    if not path.is_dir() and identities.is_notebook(path.name):
        return Found([_one_notebook(path, known, chosen if wanted is not None else None)])
    if path.is_dir():
        entries, root = _below_wrapper([*_opened(path, walk(path))], known, given=True), path.resolve().name
    elif zipfile.is_zipfile(path):
        entries, root = _below_wrapper(members_of_class(path), known, given=False), path.stem
    else:
        raise CourseError(f"{path} is neither a folder, a notebook nor a zip archive")
    found = Found([])
    learners = _by_learner(path, entries, known, identities.learner_id(root), found.notes)
    for name, learner in learners.items():
        found.submissions += _handed_in(name, learner, path, known, chosen, every=wanted is not None)
    if not found.submissions:
        raise CourseError(f"{path} holds nothing to grade: expected <learner>/<track>/<unit>.ipynb, with units from `aigc list`")
    return _without_clashes(found)


def _one_notebook(path: Path, known: set[str], wanted: set[str] | None) -> Submission:
    """A notebook that was named itself. Raises CourseError if nothing says which unit it answers."""
    named = list(wanted or ())
    submission = Submission(identities.learner_id(path.resolve().parent.name or path.stem), "", path)
    if len(named) != 1:
        notebook = Notebook(Entry((path.resolve().parent.name, path.name)), submission.read)
        named = [claim.unit for claim in claims_of([notebook], known, wanted or known)[0]]
    if len(named) != 1:
        raise CourseError(f"cannot tell which unit {path.name} answers: name it with --units, such as --units image/vae")
    return replace(submission, unit=named[0])


# --- whose is it ---


def _opened(root: Path, entries: Iterable[Entry]) -> Iterable[Entry]:
    """The entries of a folder, archives in it opened one level deep, of each learner only so many."""
    archives: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for entry in entries:
        top = entry.parts[0]
        if entry.is_folder or entry.problem or not entry.parts[-1].lower().endswith(".zip"):
            yield entry
            continue
        archives[top] += 1
        try:
            if archives[top] > ARCHIVES_LIMIT:
                raise Refused(f"is one of more than {ARCHIVES_LIMIT} archives; hand in the notebooks alone")
            files[top] += count_members(root, entry.file)
            if files[top] > ENTRIES_LIMIT:
                raise Refused(TOO_MANY)
            inside = list(members(root, entry.file))
        except Refused as error:
            yield replace(entry, problem=str(error))
            continue
        yield replace(entry, is_folder=True)
        yield from inside


def _below_wrapper(entries: list[Entry], known: set[str], *, given: bool) -> list[Entry]:
    """The entries without the one folder in which a file manager packs a class, or nbgrader keeps it.

    given: this is a folder that was named as the class. Then whatever lies in it is a learner's, who may have filled it with
    folders named after others.
    """
    tops = {entry.parts[0] for entry in entries if len(entry.parts) > 1}
    handed_in = (".zip", *identities.ARCHIVES)
    files = [entry.parts[0].lower() for entry in entries if len(entry.parts) == 1 and not entry.is_folder]
    kept = {"submitted"} if "submitted" in tops else tops
    others = tops - kept - {"source", "release", "autograded", "feedback"}
    if len(kept) != 1 or others or any(identities.is_notebook(name) or name.endswith(handed_in) for name in files):
        return entries
    (top,) = kept
    if top != "submitted" and (given or _is_one_learners(top, entries, known)):
        return entries
    return [
        replace(entry, parts=entry.parts[1:], is_folder=entry.is_folder and len(entry.parts) == 2)
        for entry in entries
        if entry.parts[0] == top and len(entry.parts) > 1
    ]


def _is_one_learners(top: str, entries: list[Entry], known: set[str]) -> bool:
    """Whether a folder that holds everything is a learner's own: its name is a platform's, or units lie right below it."""
    tracks = {unit.split("/")[0] for unit in known}
    if top in tracks or top in identities.COURSE_FOLDERS or top.lower().endswith(".zip"):
        return True
    if identities.owner_of_folder(top, {}) != identities.learner_id(top):
        return True
    below = [entry.parts[1:] for entry in entries if len(entry.parts) > 1 and not entry.is_folder]
    if any(parts[0] in tracks or parts[0] in identities.COURSE_FOLDERS for parts in below if len(parts) > 1):
        return True
    return any(len(parts) == 1 and identities.units_by_name(parts, known) for parts in below)


def _by_learner(path: Path, entries: list[Entry], known: set[str], root: str, notes: list[str]) -> dict[str, _Learner]:
    """Everything that was found, by learner; the outermost name alone says whose it is."""
    learners: dict[str, _Learner] = {}
    results = {e.parts[0] for e in entries if e.parts[1:] in {(name,) for name in RESULTS}}
    results = {top for top in results if _holds_results(top, entries)}
    notes.extend(f"{safe(top)}: holds results of an earlier run, and is no submission" for top in sorted(results))
    names = _gradescope(path, entries, notes)
    owner = _owner(entries, known, root, names)
    strays: list[str] = []
    for entry in entries:
        whose = owner(entry) if entry.parts[0] not in results else None
        if whose is None:
            own = entry.parts[0] in results or entry.parts[0] == identities.METADATA or entry.parts[0].startswith(".")
            strays += [] if own else [entry.parts[0]]
            continue
        learner = learners.setdefault(whose[0], _Learner())
        _add(learner, replace(entry, parts=whose[1]), path)
    if strays:
        shown = ", ".join(map(safe, sorted(strays)[:5])) + (f" and {len(strays) - 5} more" if len(strays) > 5 else "")
        notes.append(f"not taken for submissions: {shown}")
    return learners


def _holds_results(top: str, entries: list[Entry]) -> bool:
    inside = {entry.parts[1] for entry in entries if entry.parts[0] == top and len(entry.parts) == 2}
    handed_in = (identities.is_notebook(e.parts[-1]) or e.member for e in entries if e.parts[0] == top and not e.is_folder)
    return inside >= RESULTS and not any(handed_in)


def _gradescope(path: Path, entries: list[Entry], notes: list[str]) -> dict[str, str]:
    """Folder -> who handed it in, if Gradescope's metadata lie beside the folders."""
    for entry in entries:
        if entry.parts == (identities.METADATA,):
            try:
                return identities.submitters(Submission("", "", path, entry.file, entry.member, entry.problem).read())
            except (Refused, ValueError) as error:
                notes.append(f"{identities.METADATA}: {safe(str(error), 200)}; learners are called by their folders")
    return {}


def _owner(
    entries: list[Entry], known: set[str], root: str, names: dict[str, str]
) -> Callable[[Entry], tuple[str, tuple[str, ...]] | None]:
    """For an entry: whose it is, and its path in that learner's place."""
    tracks = {unit.split("/")[0] for unit in known}
    own = tracks | {
        top
        for top in identities.COURSE_FOLDERS
        if any(e.parts[0] == top and e.parts[1:2] and e.parts[1] in tracks for e in entries)
    }

    def owner(entry: Entry) -> tuple[str, tuple[str, ...]] | None:
        top, *rest = entry.parts
        zipped = top.lower().endswith(".zip")
        if not zipped and (rest or entry.is_folder):
            return (root, entry.parts) if top.casefold() in own else (identities.owner_of_folder(top, names), tuple(rest))
        platform = identities.owner_of_file(top)
        if platform is not None:
            return platform[0], (platform[1], *rest)
        if zipped:
            return identities.owner_of_folder(top[: -len(".zip")], names), tuple(rest) or (top,)
        if identities.is_notebook(top):
            return _owner_of_notebook(top, known, root), (top,)
        if entry.problem:
            return identities.owner_of_folder(top, names), ()
        return (identities.learner_id(top), (top,)) if top.lower().endswith(identities.ARCHIVES) else None

    return owner


def _owner_of_notebook(name: str, known: set[str], root: str) -> str:
    """The learner of a notebook that lies beside those of others: what its name says besides the unit; `root` if nothing."""
    stem = identities.stem(name)
    left = [rest for unit in sorted(known) if (rest := identities.without_unit(stem, unit)) is not None]
    return identities.learner_id(min(left, key=len)) or root if left else identities.learner_id(stem)


def _add(learner: _Learner, entry: Entry, path: Path) -> None:
    """Put something that was found into its learner's place."""
    learner.count += 1
    if learner.count > ENTRIES_LIMIT:
        learner.problem = TOO_MANY
    elif not entry.parts:
        learner.problem = learner.problem or entry.problem
    elif not entry.is_folder:
        name = entry.parts[-1]
        shown = safe("/".join(entry.parts), NAME_LIMIT)
        if identities.is_notebook(name):
            read = Submission("", "", path, entry.file, entry.member, entry.problem).read
            learner.notebooks.append(Notebook(entry, read))
        elif entry.problem:
            learner.unopened.append((shown, entry.problem))
        elif name.lower().endswith(identities.ARCHIVES):
            learner.unopened.append((shown, "an archive of a kind that is not opened; hand in the notebook or a zip"))
        else:
            learner.others.append(shown)


# --- what is graded of it ---


def _handed_in(name: str, learner: _Learner, path: Path, known: set[str], chosen: set[str], *, every: bool) -> list[Submission]:
    """The rows of one learner; every: also for the units of which nothing was handed in."""
    if learner.problem:
        return [Submission(name, unit, path, problem=learner.problem) for unit in (sorted(chosen) if every else [""])]
    claims, reasons, nameless = claims_of(learner.notebooks, known, chosen, name)
    by_unit: dict[str, list[Claim]] = {}
    for claim in claims:
        by_unit.setdefault(claim.unit, []).append(claim)
    if len(chosen) == 1 and every and not by_unit.keys() & chosen and len(nameless) == 1:  # what else should it be
        (unit,) = chosen
        by_unit[unit] = [Claim(nameless[0], unit)]
        reasons = [reason for reason in reasons if reason[0] != nameless[0].shown]
    reasons += learner.unopened
    rows = []
    for unit in sorted(by_unit.keys() & chosen):
        notebook, problem, left = choose(by_unit[unit])
        entry = notebook.entry
        rows.append(Submission(name, unit, path, entry.file, entry.member, problem or entry.problem, not_graded(left)))
    rest = not_graded(reasons)
    if rows and rest:
        rows[0] = replace(rows[0], note="; ".join(filter(None, (rows[0].note, rest))))
    if every:
        absent, note = _told("not handed in", rest)
        rows += [Submission(name, unit, path, problem=absent, note=note) for unit in sorted(chosen - by_unit.keys())]
    elif not rows:
        held = f"; it holds {', '.join(learner.others[:3])}" if learner.others else ""
        nothing, note = _told(NOTHING + held, rest)
        rows.append(Submission(name, "", path, problem=nothing, note=note))
    return rows


def _told(problem: str, rest: str) -> tuple[str, str]:
    """A problem and what belongs to it as one line where a message has room for both, else as a problem and a note."""
    whole = "; ".join(filter(None, (problem, rest)))
    return (whole, "") if len(whole) <= LINE_LIMIT else (f"{problem}; see the note", rest)


def _without_clashes(found: Found) -> Found:
    """Learners whose names are one to systems that ignore case or form: nobody may get the other's marks, so none is graded."""
    alike: dict[str, set[str]] = {}
    for submission in found.submissions:
        alike.setdefault(unicodedata.normalize("NFKC", submission.learner).casefold(), set()).add(submission.learner)
    clashes = {learner: sorted(names) for names in alike.values() if len(names) > 1 for learner in names}
    for names in {tuple(names) for names in clashes.values()}:
        found.notes.append(f"{' and '.join(names)} are one name to many systems: rename all but one, and grade these again")
    result = []
    for submission in sorted(found.submissions, key=lambda s: (s.learner, s.unit)):
        others = [f"“{name}”" for name in clashes.get(submission.learner, ()) if name != submission.learner]
        if others:
            clash = f"another learner's name, {' or '.join(others)}, is the same but for capitals or form; the instructor has to rename one"
            submission = replace(submission, problem=submission.problem or clash)
        result.append(submission)
    return Found(result, found.notes)
