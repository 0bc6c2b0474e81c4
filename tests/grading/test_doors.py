"""What happens between finding a submission and reading it: links put in the way, archives that lie, learners who hand in too much."""

import os
import struct
import sys
import zipfile
from pathlib import Path

import pytest

from course.grading import archives, places, submissions
from course.grading.submissions import Refused, find_submissions

sys.path.insert(0, str(Path(__file__).parent))

from layouts import UNITS, notebook, pack, rows, write

NAME = "ann/image/gan.ipynb"


@pytest.fixture(params=["handles", "paths"])
def way(request, monkeypatch):
    """Both ways to open: from handles of folders, and by paths where a system has no such handles."""
    if request.param == "handles" and not places.HANDLES:
        pytest.skip("this system cannot open below a handle")
    monkeypatch.setattr(places, "HANDLES", request.param == "handles")


@pytest.mark.parametrize("level", ["ann", "ann/image", NAME])
def test_a_link_put_in_the_way_at_any_level_is_not_followed(tmp_path, way, level):
    elsewhere = write(tmp_path / "elsewhere", NAME, content=b"somebody else's")
    folder = write(tmp_path / "class", NAME)
    (submission,) = find_submissions(folder, UNITS)
    (folder / level).rename(tmp_path / "away")
    (folder / level).symlink_to(elsewhere / level)
    with pytest.raises(Refused, match="cannot be read: it, or a folder above it, is a link"):
        submission.read()


def test_the_folder_that_the_instructor_names_may_be_a_link(tmp_path, way):
    write(tmp_path / "class", NAME)
    (tmp_path / "link").symlink_to(tmp_path / "class")
    (submission,) = find_submissions(tmp_path / "link", UNITS)
    assert submission.read() == notebook(f"# {NAME}")


@pytest.mark.parametrize("kind", ["folder", "pipe", "gone", "file for its folder"])
def test_a_notebook_that_is_something_else_by_now_is_refused(tmp_path, way, kind):
    write(tmp_path, NAME)
    (submission,) = find_submissions(tmp_path, UNITS)
    path = tmp_path / NAME
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "gone":
        path.parent.rmdir()
        path.parent.write_text("a file")
    with pytest.raises(Refused):
        submission.read()


def test_archives_of_learners_are_opened_below_the_handle_too(tmp_path, way):
    pack(tmp_path / "elsewhere.zip", "gan.ipynb")
    (tmp_path / "class/ann").mkdir(parents=True)
    pack(tmp_path / "class/ann/hw.zip", "gan.ipynb")
    (submission,) = find_submissions(tmp_path / "class", UNITS)
    (tmp_path / "class/ann/hw.zip").unlink()
    (tmp_path / "class/ann/hw.zip").symlink_to(tmp_path / "elsewhere.zip")
    with pytest.raises(Refused, match="is a link"):
        submission.read()


# --- archives that are broken, or lie ---


def spoilt(path, change):
    """An archive of two learners; `change` edits its bytes, given where the data of the first and its index entry begin."""
    text = notebook("x = 1\n" * 2000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(NAME, text)
        archive.writestr("bob/image/gan.ipynb", text)
    raw = bytearray(path.read_bytes())
    change(raw, 30 + len(NAME), raw.index(b"PK\x01\x02"))
    path.write_bytes(raw)
    return path


def broken_stream(raw, data, index):
    raw[data + 5 : data + 25] = b"\xff" * 20


def stored_in_an_unknown_way(raw, data, index):
    struct.pack_into("<H", raw, index + 10, 97)


def promises_less(raw, data, index):
    struct.pack_into("<I", raw, index + 24, 100)


def promises_more(raw, data, index):
    struct.pack_into("<I", raw, index + 24, 10**6)


def encrypted(raw, data, index):
    for place in (6, index + 8):
        raw[place] |= 1


def wrong_sum(raw, data, index):
    struct.pack_into("<I", raw, index + 16, 12345)


def points_outside(raw, data, index):
    struct.pack_into("<I", raw, index + 42, 2**31)


def another_name_inside(raw, data, index):
    raw[30] = ord("X")


@pytest.mark.parametrize(
    "change",
    [
        broken_stream,
        stored_in_an_unknown_way,
        promises_less,
        promises_more,
        encrypted,
        wrong_sum,
        points_outside,
        another_name_inside,
    ],
)
def test_a_broken_member_is_its_own_rows_refusal(tmp_path, change):
    path = spoilt(tmp_path / "class.zip", change)
    ann, bob = find_submissions(path, UNITS)
    for _ in range(2):  # again, as a resumed run reads it
        with pytest.raises(Refused):
            ann.read()
    assert len(bob.read()) > 10_000, "one learner's broken member took another's with it"


def test_an_archive_cut_short_is_its_learners_refusal(tmp_path):
    write(tmp_path, "bob/image/gan.ipynb")
    whole = pack(tmp_path / "ann.zip", "gan.ipynb").read_bytes()
    (tmp_path / "ann.zip").write_bytes(whole[: len(whole) // 2])
    found = rows(tmp_path)
    assert "ann.zip (is not a zip archive that can be read" in found["ann", ""]
    assert found["bob", "image/gan"] == ""


def test_an_archive_that_was_replaced_is_not_read_as_the_old_one(tmp_path):
    path = pack(tmp_path / "class.zip", NAME, "bob/image/gan.ipynb")
    ann, bob = find_submissions(path, UNITS)
    pack(path, "bob/image/gan.ipynb", "cy/image/gan.ipynb", NAME)
    with pytest.raises(Refused, match="changed after it was looked at"):
        ann.read()
    with pytest.raises(Refused, match="changed after it was looked at"):
        bob.read()


# --- too much ---


def test_a_large_archive_is_indexed_once_and_not_for_each_notebook(tmp_path, monkeypatch):
    path = pack(tmp_path / "class.zip", *(f"learner-{i}/image/gan.ipynb" for i in range(50)))
    found = find_submissions(path, UNITS)
    indexed = []

    class Counted(zipfile.ZipFile):
        def __init__(self, *args, **kwargs):
            indexed.append(args)
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(archives.zipfile, "ZipFile", Counted)
    archives.close_all()
    assert all(submission.read() for submission in found)
    assert len(indexed) == 1, f"the index of the archive was read {len(indexed)} times for 50 notebooks"


def test_archives_do_not_stay_open_without_end(tmp_path):
    for i in range(3 * archives.KEPT_OPEN):
        pack(tmp_path / f"learner-{i:02}.zip", "gan.ipynb")
    found = find_submissions(tmp_path, UNITS)
    assert all(submission.read() for submission in found)
    assert len(archives._open) <= archives.KEPT_OPEN
    opened = [path for path in Path("/proc/self/fd").iterdir() if str(tmp_path) in os.path.realpath(path)]
    assert len(opened) <= archives.KEPT_OPEN, "handles of archives are lost"


@pytest.mark.parametrize("kind", ["folder", "folders", "archive in it", "archive"])
def test_a_learner_above_the_limit_has_a_row_and_the_others_are_graded(tmp_path, monkeypatch, kind):
    for module in (places, submissions):
        monkeypatch.setattr(module, "ENTRIES_LIMIT", 10)
    many = [f"{i}.txt" for i in range(11)]
    if kind == "archive":
        path = pack(tmp_path / "class.zip", "bob/image/gan.ipynb", "eve/gan.ipynb", *(f"eve/{name}" for name in many))
    else:
        path = write(tmp_path / "class", "bob/image/gan.ipynb", *(f"eve/{name}" for name in many if kind == "folder"))
        for name in many if kind == "folders" else ():
            (path / "eve" / name).mkdir(parents=True)
        if kind == "archive in it":
            pack(path / "eve.zip", *many)
    found = rows(path)
    assert "files; hand in the notebooks alone" in found.pop(("eve", "")), found
    assert found == {("bob", "image/gan"): ""}


def test_an_index_that_would_fill_memory_is_not_read(tmp_path):
    """An index is cheap to make: its entries need no data. The end of the archive says how large it is."""
    pack(tmp_path / "bob.zip", "gan.ipynb")
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"x"
    index = entry * (archives.INDEX_LIMIT // len(entry) + 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(index), 0, 0)
    (tmp_path / "eve.zip").write_bytes(index + end)
    lying = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 10, 0, 0)
    giant = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(index), 0)
    (tmp_path / "mallory.zip").write_bytes(index + giant + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(index), 1) + lying)
    found = {learner: problem for (learner, _), problem in rows(tmp_path).items()}
    assert found.pop("bob") == ""
    assert all("files; hand in the notebooks alone" in problem for problem in found.values()), found


def test_a_folder_of_archives_is_not_opened_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "ARCHIVES_LIMIT", 3)
    (tmp_path / "eve").mkdir()
    for i in range(5):
        pack(tmp_path / f"eve/{i}.zip", f"{i}.ipynb")
    write(tmp_path, "bob/image/gan.ipynb")
    found = rows(tmp_path)
    assert "3.zip, 4.zip (is one of more than 3 archives" in found["eve", ""], found
    assert found["bob", "image/gan"] == ""


def test_names_longer_than_any_file_systems_cost_no_time(tmp_path):
    name = "gan_" * 10_000
    path = pack(tmp_path / "class.zip", *(f"eve/{name}{i}.ipynb" for i in range(50)), "bob/image/gan.ipynb")
    assert rows(path)["bob", "image/gan"] == ""


def test_a_folder_too_deep_is_named(tmp_path):
    write(tmp_path, "/".join(["ann", *map(str, range(places.DEPTH_LIMIT)), "gan.ipynb"]), "bob/image/gan.ipynb")
    found = rows(tmp_path)
    assert "folders deep" in found["ann", ""] and found["bob", "image/gan"] == ""


def test_only_so_many_notebooks_of_a_learner_are_looked_into(tmp_path, monkeypatch):
    from course.grading import choice

    monkeypatch.setattr(choice, "PEEKS", 3)
    write(tmp_path, *(f"ann/{i}.ipynb" for i in range(6)), "ann/image/gan.ipynb", "bob/image/gan.ipynb")
    found = find_submissions(tmp_path, UNITS)
    assert [(s.learner, s.unit, s.problem) for s in found] == [("ann", "image/gan", ""), ("bob", "image/gan", "")]
    assert "3.ipynb, 4.ipynb, 5.ipynb (too many notebooks to look into all" in found[0].note
