"""At the door: what a class's folder may hold instead of a learner's notebook, and under which names.

Each writes into the class's folder, under the learner `name`; `right` is a notebook that earns full marks.
"""

import io
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

from specimens import UNIT

EMPTY = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}'


def link_to_a_right_notebook(folder: Path, name: str, right: str) -> None:
    place(folder, name).symlink_to(place(folder, "honest-00"))


def link_as_a_learner(folder: Path, name: str, right: str) -> None:
    (folder / name).symlink_to(folder / "honest-00", target_is_directory=True)


def pipe(folder: Path, name: str, right: str) -> None:
    os.mkfifo(place(folder, name))


def folder_for_a_notebook(folder: Path, name: str, right: str) -> None:
    place(folder, name).mkdir()


def empty_folder(folder: Path, name: str, right: str) -> None:
    (folder / name).mkdir()


def giant(folder: Path, name: str, right: str) -> None:
    with place(folder, name).open("wb") as file:
        file.truncate(2**33)  # eight gigabytes, none of them on the disk


def not_a_unit(folder: Path, name: str, right: str) -> None:
    place(folder, name).with_name("vae2.ipynb").write_text(EMPTY, encoding="utf-8")


def two_notebooks(folder: Path, name: str, right: str) -> None:
    place(folder, name).write_text(right, encoding="utf-8")
    (folder / name / "vae (1).ipynb").write_text(EMPTY, encoding="utf-8")


def linked_track(folder: Path, name: str, right: str) -> None:
    (folder / name).mkdir()
    (folder / name / "image").symlink_to(folder / "honest-00" / "image", target_is_directory=True)


def the_courses_solution(folder: Path, name: str, right: str) -> None:
    place(folder, f"{name}/solutions").write_text(right, encoding="utf-8")


def packed(members: dict[str, str | bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def of_two_others(right: str) -> bytes:
    return packed({f"honest-01/{UNIT}.ipynb": right, f"honest-02/{UNIT}.ipynb": EMPTY})


def archive_for_a_notebook(folder: Path, name: str, right: str) -> None:
    place(folder, name).write_bytes(of_two_others(right))


def archive(make: Callable[[str], bytes]) -> Callable[[Path, str, str], None]:
    """A learner's folder with an archive in it, of the bytes that `make` makes of the right notebook."""

    def hand_in(folder: Path, name: str, right: str) -> None:
        (folder / name).mkdir()
        (folder / name / "homework.zip").write_bytes(make(right))

    return hand_in


def broken_stream(right: str) -> bytes:
    raw = bytearray(packed({f"{UNIT}.ipynb": right}))
    raw[200:260] = b"\xff" * 60
    return bytes(raw)


def lying_size(right: str) -> bytes:
    raw = bytearray(packed({f"{UNIT}.ipynb": right}))
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 100)
    return bytes(raw)


def cut_short(right: str) -> bytes:
    return packed({f"{UNIT}.ipynb": right})[:-40]


def out_of_itself(right: str) -> bytes:
    return packed({f"../honest-03/{UNIT}.ipynb": right})


def archive_in_an_archive(right: str) -> bytes:
    return packed({"inner.zip": packed({f"{UNIT}.ipynb": right})})


def too_many_members(right: str) -> bytes:
    return packed({f"{UNIT}.ipynb": right, **dict.fromkeys(map(str, range(20_000)), "")})


def place(folder: Path, name: str) -> Path:
    path = folder / name / f"{UNIT}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


DOOR: dict[str, tuple[Callable[[Path, str, str], None], str]] = {
    "door-link": (link_to_a_right_notebook, "is a symbolic link, which is not followed"),
    "door-linked-learner": (link_as_a_learner, "is a symbolic link, which is not followed"),
    "door-pipe": (pipe, "is not a regular file"),
    "door-folder": (folder_for_a_notebook, "the folder holds no notebook of a known unit"),
    "door-empty": (empty_folder, "the folder holds no notebook of a known unit"),
    "door-giant": (giant, "is larger than 20 MB"),
    "door-unknown-unit": (not_a_unit, "the folder holds no notebook of a known unit"),
    "door-two-notebooks": (two_notebooks, "two notebooks answer image/vae: “image/vae.ipynb” and “vae (1).ipynb”; hand in one"),
    "door-linked-track": (linked_track, "is a symbolic link, which is not followed"),
    "door-solution": (the_courses_solution, "the course's own solutions"),
    "door-archive-for-a-notebook": (archive_for_a_notebook, "is not a notebook"),
    "door-archive-of-others": (archive(of_two_others), "two notebooks answer image/vae"),
    "door-broken-stream": (archive(broken_stream), "cannot be read from the archive"),
    "door-lying-size": (archive(lying_size), "cannot be read from the archive"),
    "door-cut-short": (archive(cut_short), "homework.zip (is not a zip archive that can be read"),
    "door-out-of-itself": (archive(out_of_itself), "leads outside"),
    "door-archive-in-an-archive": (archive(archive_in_an_archive), "inner.zip (is a zip inside of a zip"),
    "door-too-many-members": (archive(too_many_members), "holds more than 20000 files"),
    ":skull:": (empty_folder, "the folder holds no notebook of a known unit"),
    "honest-04--0123456789ab": (empty_folder, "the folder holds no notebook of a known unit"),
}
HOSTILE_NAMES = {  # on the disk -> in the gradebook; each holds a right notebook and gets its marks
    b"=cmd|calc": "'=cmd|calc",
    b"two\nlines": "two\\x0alines",
    b"escape\x1b[31m": "escape\\x1b[31m",
    b"no-utf8-\xff": "no-utf8-\\udcff",
    "right-to-left-\u202etxt".encode(): "right-to-left-\\u202etxt",
    b"<script>alert(1)": "<script>alert(1)",
}
TWINS = ("Twin", "twin")  # one name to a file system that ignores case: neither can be told to be the right one
