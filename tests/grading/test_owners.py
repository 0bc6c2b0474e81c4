"""Whose a submission is: the outermost place alone says so, under a name that reads as it was written and is nobody else's."""

import sys
import zipfile
from pathlib import Path

import pytest

from course.grading.archives import readable
from course.grading.identities import learner_id
from course.grading.submissions import find_submissions, scan

sys.path.insert(0, str(Path(__file__).parent))

from layouts import UNITS, pack, rows, write


def test_a_learner_cannot_make_rows_for_others(tmp_path):
    write(tmp_path / "class", "eve/ann/image/gan.ipynb", "eve/bob/gpt.ipynb")
    pack(tmp_path / "class/mallory.zip", "ann/image/gan.ipynb", "bob/gpt.ipynb", "../cy/image/gan.ipynb")
    assert {learner for learner, _ in rows(tmp_path / "class")} == {"eve", "mallory"}


def test_a_notebook_that_is_an_archive_is_a_notebook(tmp_path):
    pack(tmp_path / "inner.zip", "ann/image/gan.ipynb", "bob/image/gan.ipynb").rename(tmp_path / "gan.ipynb")
    assert rows(tmp_path / "gan.ipynb") == {(tmp_path.name, "image/gan"): ""}
    write(tmp_path / "class", "eve/image/gan.ipynb", content=(tmp_path / "gan.ipynb").read_bytes())
    assert rows(tmp_path / "class") == {("eve", "image/gan"): ""}


def test_a_path_that_leaves_the_archive_voids_nobodys_notebook(tmp_path):
    assert rows(pack(tmp_path / "class.zip", "ann/image/gan.ipynb", "../ann/image/gan.ipynb", "bob/gpt.ipynb")) == {
        ("ann", "image/gan"): "",
        ("bob", "text/gpt"): "",
    }


def test_a_clash_of_names_is_the_instructors(tmp_path):
    path = pack(tmp_path / "class.zip", "Ann/image/gan.ipynb", "ann/image/gan.ipynb", "bob/image/gan.ipynb")
    found = rows(path)
    assert "another learner's name, “ann”" in found["Ann", "image/gan"] and "instructor" in found["Ann", "image/gan"]
    assert "hand in one" not in found["Ann", "image/gan"], "nobody can hand in less than one"
    assert found["bob", "image/gan"] == ""
    assert scan(path, UNITS).notes == ["Ann and ann are one name to many systems: rename all but one, and grade these again"]


def test_no_two_names_become_one():
    names = ["a\x1b", r"a\x1b", "x" * 200, "x" * 201, learner_id("x" * 200), "ann", "ann "]
    assert len({learner_id(name) for name in names}) == len(names)
    assert all(len(learner_id(name)) <= 120 for name in names)


def test_results_of_an_earlier_run_are_no_learner(tmp_path):
    write(tmp_path, "ann/image/gan.ipynb")
    write(tmp_path, "out/results.jsonl", "out/run.json", "out/gradescope/ann.json", content=b"{}")
    assert rows(tmp_path) == {("ann", "image/gan"): ""}
    assert scan(tmp_path, UNITS).notes == ["out: holds results of an earlier run, and is no submission"]
    write(tmp_path, "out/image/gan.ipynb")
    assert rows(tmp_path)["out", "image/gan"] == "", "whoever hands in such files beside a notebook is a learner"


# --- names in archives ---


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("张三", "gbk"), ("李喆", "gbk"), ("王镕基", "gbk"), ("张三", "utf-8"), ("山田太郎", "shift_jis"), ("さくら", "shift_jis"), ("高橋", "shift_jis"),
     ("Müller", "cp437"), ("José García", "cp437"), ("Jürgen Groß", "cp437"), ("Łukasz", "utf-8"), ("zoe", "ascii"), ("誠", "shift_jis")],
)  # fmt: skip
def test_a_name_reads_as_it_was_written(name, encoding):
    info = zipfile.ZipInfo(f"{name}/image/gan.ipynb".encode(encoding).decode("cp437"))
    assert readable(info) == f"{name}/image/gan.ipynb"
    info.flag_bits = 0x800
    info.filename = "╒┼╚²/gan.ipynb"
    assert readable(info) == "╒┼╚²/gan.ipynb", "a name that is marked as UTF-8 is that"


def test_an_archive_of_a_chinese_windows(tmp_path):
    path = tmp_path / "class.zip"
    raw = "张三\\text\\gpt.ipynb".encode("gbk")
    pack(path, "x" * len(raw))
    path.write_bytes(path.read_bytes().replace(b"x" * len(raw), raw))
    assert rows(path) == {("张三", "text/gpt"): ""}
    (submission,) = find_submissions(path, UNITS)
    assert submission.read().startswith(b"{")
