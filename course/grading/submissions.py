"""What was handed in, as data. Nothing of a submission is ever imported, extracted to disk, followed as a link, or run here."""

import os
import stat
import unicodedata
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from course.errors import CourseError

NOTEBOOK_LIMIT = 20 * 2**20  # bytes; outputs with pictures make notebooks large, their code is limited apart
MEMBERS_LIMIT = 1_000_000  # entries of a folder or an archive
NAME_LIMIT = 120


class Refused(Exception):
    """A submission cannot be read; the message is for the learner."""


@dataclass(frozen=True)
class Submission:
    """One notebook of one learner. `member` names it inside of an archive; `problem` says why it is not even opened."""

    learner: str
    unit: str
    location: Path
    member: str | None = None
    problem: str = ""

    def read(self) -> bytes:
        """The notebook, read once. Raises Refused if it is no regular file or too large."""
        if self.problem:
            raise Refused(self.problem)
        return self._read_member() if self.member is not None else self._read_file()

    def _read_file(self) -> bytes:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(self.location, flags)
        except OSError as error:
            raise Refused(f"cannot be read: {error.strerror}") from None
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Refused("is not a regular file")
            data = file.read(NOTEBOOK_LIMIT + 1)
        return _within_limit(data)

    def _read_member(self) -> bytes:
        assert self.member is not None
        try:
            with zipfile.ZipFile(self.location) as archive, archive.open(self.member) as file:
                return _within_limit(file.read(NOTEBOOK_LIMIT + 1))  # read() stops there, whatever the header promises
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, KeyError) as error:
            raise Refused(f"cannot be read from the archive: {safe(str(error))}") from None


def _within_limit(data: bytes) -> bytes:
    if len(data) > NOTEBOOK_LIMIT:
        raise Refused(f"is larger than {NOTEBOOK_LIMIT // 2**20} MB; clear the outputs and hand it in again")
    return data


def safe(text: str, limit: int = NAME_LIMIT) -> str:
    """`text` fit for a terminal, a file and a table: no control characters, no undecodable bytes, no invisible direction marks."""
    shown = "".join(
        c if unicodedata.category(c)[0] != "C" else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def find_submissions(path: Path, units: Iterable[str], wanted: Iterable[str] | None = None) -> list[Submission]:
    """Every notebook of a known unit below `path`: a folder of learners, one learner's folder, a notebook, or a zip of these.

    wanted: only these units; then a learner who has not handed one in gets a row that says so. Raises CourseError if there is
    nothing to grade at all.
    """
    known = set(units)
    chosen = set(wanted) if wanted is not None else known
    if not path.exists():
        raise CourseError(f"there is no file or folder {path}")
    if path.is_dir():
        entries = list(_walk(path))
        root = path.resolve().name
    elif zipfile.is_zipfile(path):
        entries = list(_members(path))
        root = path.stem
    elif path.suffix == ".ipynb":
        matches = [unit for unit in known if unit.split("/")[1] == path.stem]
        named = [unit for unit in matches if unit.split("/")[0] == path.resolve().parent.name] or matches
        if wanted is not None and len(chosen) == 1:
            named = list(chosen)
        if len(named) != 1:
            raise CourseError(f"cannot tell which unit {path.name} answers: name it with --units, such as --units image/vae")
        return [Submission(safe(path.resolve().parent.name or path.stem), named[0], path)]
    else:
        raise CourseError(f"{path} is neither a folder, a notebook nor a zip archive")
    found = list(_by_learner(entries, known, safe(root)))
    found = [submission for submission in found if not submission.unit or submission.unit in chosen]
    learners = list(dict.fromkeys(submission.learner for submission in found))
    if wanted is not None:
        present = {(submission.learner, submission.unit) for submission in found}
        absent = [(learner, unit) for learner in learners for unit in sorted(chosen) if (learner, unit) not in present]
        found = [s for s in found if s.unit] + [
            Submission(learner, unit, path, problem="not handed in") for learner, unit in absent
        ]
    if not found:
        raise CourseError(f"{path} holds nothing to grade: expected <learner>/<track>/<unit>.ipynb, with units from `aigc list`")
    return _without_doubles(found)


@dataclass(frozen=True)
class _Entry:
    parts: tuple[str, ...]
    location: Path
    member: str | None = None
    problem: str = ""
    is_folder: bool = False


def _walk(folder: Path) -> Iterator[_Entry]:
    """Files up to three levels down, and the first level's folders; links are reported, never followed."""
    count = 0
    waiting: list[tuple[Path, tuple[str, ...]]] = [(folder, ())]
    while waiting:
        here, parts = waiting.pop()
        try:
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            yield _Entry(parts, here, problem=f"cannot be read: {error.strerror}")
            continue
        for entry in entries:
            count += 1
            if count > MEMBERS_LIMIT:
                raise CourseError(f"{folder} holds more than {MEMBERS_LIMIT} files; grade it in parts")
            inner = (*parts, entry.name)
            if entry.is_symlink():
                yield _Entry(inner, Path(entry.path), problem="is a symbolic link, which is not followed")
            elif entry.is_dir(follow_symlinks=False):
                if len(inner) == 1:
                    yield _Entry(inner, Path(entry.path), is_folder=True)
                if len(inner) < 3:
                    waiting.append((Path(entry.path), inner))
            else:
                yield _Entry(inner, Path(entry.path))


def _members(path: Path) -> Iterator[_Entry]:
    """The entries of an archive; one that would leave it, or is a link, is reported and never opened."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise CourseError(f"{path} is not a readable zip archive: {error}") from None
    if len(members) > MEMBERS_LIMIT:
        raise CourseError(f"{path} holds more than {MEMBERS_LIMIT} entries; grade it in parts")
    tops = {PurePosixPath(member.filename).parts[0] for member in members if PurePosixPath(member.filename).parts}
    for member in members:
        name = member.filename.replace("\\", "/")
        parts = PurePosixPath(name).parts
        if not parts:
            continue
        problem = ""
        if ".." in parts or name.startswith("/") or (len(parts[0]) == 2 and parts[0][1] == ":"):
            problem = "its path in the archive leads outside of it"
            parts = tuple(part for part in parts if part not in ("..", "/"))
        elif stat.S_ISLNK(member.external_attr >> 16):
            problem = "is a symbolic link, which is not followed"
        elif member.flag_bits & 1:
            problem = "is encrypted"
        if len(tops) == 1 and len(parts) == 4:  # everything lies in one folder, as file managers pack it
            parts = parts[1:]
        yield _Entry(parts, path, member.filename, problem, is_folder=member.is_dir() and len(parts) == 1)


def _by_learner(entries: list[_Entry], known: set[str], root: str) -> Iterator[Submission]:
    """Entries as submissions: `<learner>/<track>/<unit>.ipynb`, or `<track>/<unit>.ipynb` of one learner called `root`."""
    learners: dict[str, bool] = {}  # name -> whether anything of theirs is graded
    tracks = {unit.split("/")[0] for unit in known}
    for entry in entries:
        one_learner = len(entry.parts) == 2 and entry.parts[0] in tracks
        parts = (root, *entry.parts) if one_learner else entry.parts
        if entry.is_folder and entry.parts[0] not in tracks:
            learners.setdefault(safe(entry.parts[0]), False)
        if len(parts) == 1 and entry.problem:  # a learner's folder that is a link, say
            yield Submission(safe(parts[0]), "", entry.location, entry.member, entry.problem)
            learners[safe(parts[0])] = True
        unit = "/".join(parts[1:]).removesuffix(".ipynb")
        if len(parts) != 3 or not parts[2].endswith(".ipynb") or unit not in known:
            continue
        learners[safe(parts[0])] = True
        yield Submission(safe(parts[0]), unit, entry.location, entry.member, entry.problem)
    for learner, handed_in in learners.items():
        if not handed_in:
            yield Submission(learner, "", Path(), problem="the folder holds no notebook of a known unit")


def _without_doubles(found: list[Submission]) -> list[Submission]:
    """Two notebooks under one name: none of them can be told to be the right one, so both are refused."""

    def name(submission: Submission) -> tuple[str, str]:
        return unicodedata.normalize("NFKC", submission.learner).casefold(), submission.unit

    counts: dict[tuple[str, str], int] = {}
    for submission in found:
        counts[name(submission)] = counts.get(name(submission), 0) + 1
    refused = "two submissions under one name; hand in one"
    result = [replace(s, problem=s.problem or refused) if counts[name(s)] > 1 else s for s in found]
    seen: set[tuple[str, str]] = set()
    unique = []
    for submission in sorted(result, key=lambda s: (s.learner, s.unit)):
        if (submission.learner, submission.unit) not in seen:
            unique.append(submission)
            seen.add((submission.learner, submission.unit))
    return unique
