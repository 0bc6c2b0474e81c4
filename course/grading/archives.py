"""Zip archives as strangers' systems make them: what is in them, under readable names, and the bytes of one member."""

import atexit
import os
import stat
import unicodedata
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from course.errors import CourseError
from course.grading.places import NOTEBOOK_LIMIT, TOO_MANY, Entry, Refused, is_junk, open_regular, safe, within_limit

MEMBERS_LIMIT = 1_000_000  # entries of the archive of a class
INDEX_LIMIT = 4 * 2**20  # bytes of the index of a learner's archive, which is read and kept as a whole
KEPT_OPEN = 4  # archives; the index of a large one takes longer to read than a notebook in it
UTF8, ENCRYPTED = 0x800, 0x1  # flags of a member
END, END_SIZE, GIANT = b"PK\x05\x06", 22, b"PK\x06\x07"  # the record that ends an archive, and the mark of giant ones before it

_open: OrderedDict[tuple[object, ...], zipfile.ZipFile] = OrderedDict()


def members(root: Path, file: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The members of the archive `file` below `root` (of the archive `root` if there is none), with `file` before their names.

    One that would leave the archive, is a link, or is itself an archive, is reported and never opened. Raises Refused if this
    is no archive that can be read.
    """
    archive = _archive(root, file)
    for index, info in enumerate(archive.infolist()):
        name = readable(info)
        parts = PurePosixPath(name).parts
        problem = ""
        if ".." in parts or name.startswith("/") or (parts and len(parts[0]) == 2 and parts[0][1] == ":"):
            problem = "its path in the archive leads outside of it"
            parts = tuple(part for part in parts if part not in ("..", "/"))
        if not parts or is_junk((*file, *parts)) or is_junk(parts):
            continue
        if stat.S_ISLNK(info.external_attr >> 16):
            problem = problem or "is a symbolic link, which is not followed"
        elif info.flag_bits & ENCRYPTED:
            problem = problem or "is encrypted"
        elif parts[-1].lower().endswith(".zip"):
            problem = problem or "is a zip inside of a zip, which is not opened; hand in the notebooks themselves"
        is_folder = name.endswith("/")
        yield Entry((*file, *parts), file, (index, info.filename), problem, is_folder)


def count_members(root: Path, file: tuple[str, ...] = ()) -> int:
    """How many entries an archive has. Raises Refused if it cannot be read."""
    return len(_archive(root, file).infolist())


def members_of_class(path: Path) -> list[Entry]:
    """The members of the archive of a whole class. Raises CourseError if it cannot be read or is too large."""
    try:
        if count_members(path) > MEMBERS_LIMIT:
            raise CourseError(f"{path} holds more than {MEMBERS_LIMIT} entries; extract it and grade the folder in parts")
        return list(members(path))
    except Refused as error:
        raise CourseError(f"{path} is not a readable zip archive: {error}") from None


def read_member(root: Path, file: tuple[str, ...], member: tuple[int, str]) -> bytes:
    """The bytes of a member. Raises Refused, whatever the archive holds."""
    index, name = member
    archive = _archive(root, file)
    if index >= len(archive.infolist()) or archive.infolist()[index].filename != name:
        raise Refused("cannot be read from the archive: it was changed after it was looked at")
    info = archive.infolist()[index]
    try:
        with archive.open(info) as stream:
            data = stream.read(NOTEBOOK_LIMIT + 1)  # and stops there, whatever the header promises
    except Exception as error:  # a stranger's bytes reach zlib, bz2, lzma and struct, each with errors of its own
        raise Refused(f"cannot be read from the archive: {safe(str(error)) or type(error).__name__}") from None
    if len(within_limit(data)) != info.file_size:
        raise Refused(f"cannot be read from the archive: it has {len(data)} bytes where {info.file_size} are promised")
    return data


def _archive(root: Path, file: tuple[str, ...]) -> zipfile.ZipFile:
    """The archive, open; the last few stay open, each as long as its file is the same. Raises Refused."""
    handle = open_regular(root, file)
    status = os.fstat(handle)
    key = (root, file, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if key in _open:
        os.close(handle)
        _open.move_to_end(key)
        return _open[key]
    stream = os.fdopen(handle, "rb")
    try:
        if file and _index_size(stream) > INDEX_LIMIT:
            raise Refused(TOO_MANY)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive = zipfile.ZipFile(stream)
    except Refused:
        stream.close()
        raise
    except Exception as error:  # as above
        stream.close()
        raise Refused(f"is not a zip archive that can be read: {safe(str(error)) or type(error).__name__}") from None
    _open[key] = archive
    if len(_open) > KEPT_OPEN:
        _close(_open.popitem(last=False)[1])
    return archive


def _index_size(stream: BinaryIO) -> int:
    """The bytes of an archive's index, as `zipfile` is going to find it; of one in the format for giant archives, all of it."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - END_SIZE - 2**16, 0))
    tail = stream.read()
    at = len(tail) - END_SIZE if tail[-END_SIZE:].startswith(END) else tail.rfind(END)
    if at < 0:
        return 0
    if tail[max(at - 20, 0) : at].startswith(GIANT):
        return size
    return int.from_bytes(tail[at + 12 : at + 16], "little")


def _close(archive: zipfile.ZipFile) -> None:
    stream = archive.fp
    archive.close()  # which leaves a file open that was handed in open
    if stream is not None:
        stream.close()


@atexit.register
def close_all() -> None:
    """Close the archives that are kept open."""
    while _open:
        _close(_open.popitem()[1])


# --- names ---


def readable(info: zipfile.ZipInfo) -> str:
    """A member's name with `/` between its parts, read in the encoding in which it was written.

    Only one flag says that a name is UTF-8; without it the name is in whatever its author's system uses, and `zipfile` takes it
    for CP437.
    """
    name = info.filename
    if not info.flag_bits & UTF8 and not name.isascii():
        try:
            raw = name.encode("cp437")
        except UnicodeEncodeError:
            return name.replace("\\", "/")
        name = "/".join(_decoded(part) for part in raw.split(b"/"))
    return name.replace("\\", "/")


@lru_cache(maxsize=4096)
def _decoded(raw: bytes) -> str:
    """`raw` in the encoding in which it reads most like a name: UTF-8 where it is valid, else by the kind of its letters."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        pass
    best, text = -1.0, raw.decode("cp437")
    for encoding in ("gbk", "shift_jis", "cp437"):
        try:
            candidate = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        letters = [c for c in candidate if not c.isascii()]
        sense = sum(_sense(c, encoding) for c in letters) / max(len(letters), 1)
        if sense > best:
            best, text = sense, candidate
    return text


def _sense(character: str, encoding: str) -> float:
    """How likely a character is to stand in a name that was written in `encoding`: 1 a usual letter, 0 none at all."""
    if encoding == "cp437":
        return 1.0 if unicodedata.name(character, "").startswith("LATIN") else 0.0
    if encoding == "shift_jis":
        if "\u3040" <= character <= "\u30ff":
            return 1.0  # kana, but for those of half width, as which most of GBK can be read
        return (0.9 if character.encode("shift_jis") < b"\x98\x9f" else 0.6) if _is_han(character) else 0.0
    if not _is_han(character):
        return 0.2 if character.isalpha() else 0.0
    try:
        return 1.0 if character.encode("gb2312") < b"\xd8" else 0.9  # its first level holds the characters in daily use
    except UnicodeEncodeError:
        return 0.5


def _is_han(character: str) -> bool:
    return "\u4e00" <= character <= "\u9fff"
