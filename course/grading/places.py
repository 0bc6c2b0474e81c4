"""Files below a folder that strangers have filled: found and opened from a handle of that folder, and no link followed at any level."""

import errno
import os
import stat
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from course.errors import CourseError

NOTEBOOK_LIMIT = 20 * 2**20  # bytes; outputs with pictures make notebooks large, their code is limited apart
ENTRIES_LIMIT = 20_000  # files of one learner, in folders or in an archive
LEARNERS_LIMIT = 100_000  # names in the folder of a class
DEPTH_LIMIT = 12  # folders inside of each other
NAME_LIMIT = 120

# What systems and tools leave beside the files that a person means to hand in.
JUNK = {"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN", ".ipynb_checkpoints", ".git", "__pycache__"}
TOOLS = {"node_modules", "site-packages", "venv", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".vscode", ".idea"}

# Where the system can open a name below an open folder, nobody can put a link in the way between looking and opening.
HANDLES = os.open in os.supports_dir_fd and os.scandir in os.supports_fd and hasattr(os, "O_NOFOLLOW")
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
JUNCTION = 0xA0000003  # as `stat` calls it on Windows alone
LINK = "is a symbolic link, which is not followed"
TOO_MANY = f"holds more than {ENTRIES_LIMIT} files; hand in the notebooks alone"


class Refused(Exception):
    """A submission cannot be read; the message is for the learner."""


@dataclass(frozen=True)
class Entry:
    """Something that was found. parts: its names, outermost first, inside of an archive too; file: the names that lead to the
    file on the disk. member: index and name inside of the archive `file`; problem: why it must not be opened."""

    parts: tuple[str, ...]
    file: tuple[str, ...] = ()
    member: tuple[int, str] | None = None
    problem: str = ""
    is_folder: bool = False


def safe(text: str, limit: int = NAME_LIMIT) -> str:
    """`text` fit for a terminal, a file and a table: one line, no control characters, no undecodable bytes, no invisible
    direction marks."""
    shown = "".join(
        c if _is_visible(c) else f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}" for c in text[: limit + 1]
    )
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def _is_visible(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind[0] != "C" and kind not in ("Zl", "Zp")


def is_junk(parts: tuple[str, ...]) -> bool:
    """Whether this is something that no person hands in: what systems, editors and version control leave behind."""
    return parts[-1].startswith("._") or not JUNK.isdisjoint(parts) or not TOOLS.isdisjoint(parts[1:])


def open_below(root: Path, parts: tuple[str, ...]) -> int:
    """A descriptor of the file `parts` below the folder `root` (of `root` itself if there are none). Raises OSError, also
    where a link stands at any level of `parts`."""
    if not parts:
        return os.open(root, _FILE | _NO_LINK)
    if not HANDLES:
        return _open_checked(root, parts)
    folder = os.open(root, _FOLDER)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _FOLDER | _NO_LINK, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(parts[-1], _FILE | _NO_LINK, dir_fd=folder)
    finally:
        os.close(folder)


def _open_checked(root: Path, parts: tuple[str, ...]) -> int:
    """The same by paths, for systems without handles of folders: every level is looked at, and the file again once it is open."""
    path, seen = root, None
    for part in parts:
        path = path / part
        seen = os.lstat(path)
        if _is_link(seen):
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    handle = os.open(path, _FILE | _NO_LINK)
    if seen is None or not os.path.samestat(seen, os.fstat(handle)):
        os.close(handle)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return handle


def _is_link(found: os.stat_result) -> bool:
    """A symbolic link, or what Windows calls a junction."""
    return stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == JUNCTION


def open_regular(root: Path, parts: tuple[str, ...]) -> int:
    """`open_below`, for regular files alone. Raises Refused."""
    try:
        handle = open_below(root, parts)
    except OSError as error:
        changed = error.errno in (errno.ELOOP, errno.ENOTDIR)
        reason = "it, or a folder above it, is a link" if changed else error.strerror
        raise Refused(f"cannot be read: {reason}") from None
    except ValueError as error:  # a name with a null byte
        raise Refused(f"cannot be read: {error}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Refused("is not a regular file")
    return handle


def read_file(root: Path, parts: tuple[str, ...]) -> bytes:
    """A file's bytes, read once. Raises Refused if it is no regular file, or too large."""
    try:
        with os.fdopen(open_regular(root, parts), "rb") as file:
            return within_limit(file.read(NOTEBOOK_LIMIT + 1))
    except OSError as error:
        raise Refused(f"cannot be read: {error.strerror}") from None


def within_limit(data: bytes) -> bytes:
    """`data`, if a notebook may be as large. Raises Refused."""
    if len(data) > NOTEBOOK_LIMIT:
        raise Refused(f"is larger than {NOTEBOOK_LIMIT // 2**20} MB; clear the outputs and hand it in again")
    return data


def walk(root: Path) -> Iterator[Entry]:
    """Everything below `root`, folders at the top included; links are reported, never followed.

    One learner's name (whatever stands at the top) with too much below it is one entry that says so. Raises CourseError if
    `root` cannot be read, or holds too many names itself.
    """
    try:
        names = _names(root, (), LEARNERS_LIMIT)
    except OSError as error:
        raise CourseError(f"cannot read {root}: {error.strerror}") from None
    if len(names) > LEARNERS_LIMIT:
        raise CourseError(f"{root} holds more than {LEARNERS_LIMIT} names; grade it in parts")
    for name, kind in names:
        if is_junk((name,)):
            continue
        if kind != "folder":
            yield Entry((name,), (name,), problem=LINK if kind == "link" else "")
            continue
        yield Entry((name,), (name,), is_folder=True)
        inside = _inside(root, name)
        if inside is None:
            yield Entry((name,), (name,), problem=TOO_MANY)
        else:
            yield from inside


def _inside(root: Path, top: str) -> list[Entry] | None:
    """What lies below one name; None if that is more than one learner may hand in."""
    found: list[Entry] = []
    count = 0
    waiting: list[tuple[str, ...]] = [(top,)]
    while waiting:
        here = waiting.pop()
        try:
            names = _names(root, here, ENTRIES_LIMIT)
        except OSError as error:
            found.append(Entry(here, here, problem=f"cannot be read: {error.strerror}"))
            continue
        count += len(names)
        if count > ENTRIES_LIMIT:
            return None
        for name, kind in names:
            inner = (*here, name)
            if is_junk(inner):
                continue
            if kind != "folder":
                found.append(Entry(inner, inner, problem=LINK if kind == "link" else ""))
            elif len(inner) < DEPTH_LIMIT:
                waiting.append(inner)
            else:
                found.append(Entry(inner, inner, problem=f"lies more than {DEPTH_LIMIT} folders deep"))
    return found


def _names(root: Path, parts: tuple[str, ...], limit: int) -> list[tuple[str, str]]:
    """The names in one folder, sorted, each as a `link`, a `folder` or a `file`; at most one more than `limit`."""
    found: list[tuple[str, str]] = []
    handle = _open_folder(root, parts) if HANDLES else None
    try:
        with os.scandir(root.joinpath(*parts) if handle is None else handle) as entries:
            for entry in entries:
                found.append((entry.name, _kind(entry)))
                if len(found) > limit:
                    break
    finally:
        if handle is not None:
            os.close(handle)
    return sorted(found)


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:  # gone since; it will be missed when it is opened
        return "file"
    return "link" if _is_link(status) else "folder" if stat.S_ISDIR(status.st_mode) else "file"


def _open_folder(root: Path, parts: tuple[str, ...]) -> int:
    handle = os.open(root, _FOLDER)
    for part in parts:
        try:
            inner = os.open(part, _FOLDER | _NO_LINK, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    return handle
