"""At the door: what counts as a submission, and how hostile names, links and archives are turned away."""

import os
import stat
import zipfile

import pytest

from course.errors import CourseError
from course.grading.submissions import NOTEBOOK_LIMIT, Refused, find_submissions, safe

UNITS = ["image/vae", "image/gan", "text/gpt"]


def write(folder, *names, content="{}"):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def found(path, wanted=None):
    return {(s.learner, s.unit): s.problem for s in find_submissions(path, UNITS, wanted)}


def test_folder_of_learners(tmp_path):
    write(tmp_path, "ann/image/vae.ipynb", "ann/text/gpt.ipynb", "bob/image/vae.ipynb", "bob/notes.txt", "bob/image/other.ipynb")
    assert found(tmp_path) == {("ann", "image/vae"): "", ("ann", "text/gpt"): "", ("bob", "image/vae"): ""}


def test_one_learners_folder_and_one_notebook(tmp_path):
    write(tmp_path, "ann/image/vae.ipynb")
    assert found(tmp_path / "ann") == {("ann", "image/vae"): ""}
    assert found(tmp_path / "ann/image/vae.ipynb") == {("image", "image/vae"): ""}
    write(tmp_path, "mine.ipynb")
    assert found(tmp_path / "mine.ipynb", ["image/gan"]) == {(tmp_path.name, "image/gan"): ""}
    with pytest.raises(CourseError, match="cannot tell which unit"):
        found(tmp_path / "mine.ipynb")


def test_chosen_units_give_every_learner_a_row(tmp_path):
    write(tmp_path, "ann/image/vae.ipynb", "bob/text/gpt.ipynb")
    rows = found(tmp_path, ["image/vae"])
    assert rows[("ann", "image/vae")] == ""
    (tmp_path / "cy").mkdir()
    rows = found(tmp_path, ["image/vae", "text/gpt"])
    assert rows[("bob", "image/vae")] == "not handed in"
    assert rows[("cy", "text/gpt")] == "not handed in"


def test_empty_folder_of_a_learner_is_reported(tmp_path):
    write(tmp_path, "ann/image/vae.ipynb")
    (tmp_path / "bob").mkdir()
    assert found(tmp_path)[("bob", "")] == "the folder holds no notebook of a known unit"


def test_nothing_to_grade_is_a_usage_error(tmp_path):
    with pytest.raises(CourseError, match="holds nothing to grade"):
        found(tmp_path)
    with pytest.raises(CourseError, match="there is no file or folder"):
        found(tmp_path / "gone")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(CourseError, match="neither a folder, a notebook nor a zip"):
        found(tmp_path / "a.txt")


def test_links_are_reported_and_never_followed(tmp_path):
    write(tmp_path, "secret.ipynb", content="secret")
    write(tmp_path / "class", "bob/image/vae.ipynb")
    (tmp_path / "class/ann/image").mkdir(parents=True)
    os.symlink(tmp_path / "secret.ipynb", tmp_path / "class/ann/image/vae.ipynb")
    os.symlink(tmp_path, tmp_path / "class/eve")
    rows = found(tmp_path / "class")
    assert "symbolic link" in rows[("ann", "image/vae")]
    assert "symbolic link" in rows[("eve", "")]


def test_file_swapped_for_a_link_after_it_was_found_is_refused(tmp_path):
    write(tmp_path, "ann/image/vae.ipynb", "secret")
    (submission,) = find_submissions(tmp_path, UNITS)
    (tmp_path / "ann/image/vae.ipynb").unlink()
    os.symlink(tmp_path / "secret", tmp_path / "ann/image/vae.ipynb")
    with pytest.raises(Refused, match="cannot be read"):
        submission.read()


def test_pipe_folder_and_giant_are_refused(tmp_path):
    (tmp_path / "ann/image").mkdir(parents=True)
    os.mkfifo(tmp_path / "ann/image/vae.ipynb")
    (tmp_path / "bob/image/vae.ipynb").mkdir(parents=True)
    (tmp_path / "cy/image").mkdir(parents=True)
    with (tmp_path / "cy/image/vae.ipynb").open("wb") as file:
        file.truncate(NOTEBOOK_LIMIT + 1)
    by_name = {s.learner: s for s in find_submissions(tmp_path, UNITS)}
    with pytest.raises(Refused, match="not a regular file"):
        by_name["ann"].read()
    with pytest.raises(Refused, match="larger than 20 MB"):
        by_name["cy"].read()
    assert by_name["bob"].unit == "", "a folder called like a notebook is none"


def test_zip_of_a_class_with_hostile_members(tmp_path):
    path = tmp_path / "class.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ann/image/vae.ipynb", "{}")
        archive.writestr("../../eve/image/vae.ipynb", "{}")
        archive.writestr("/etc/image/vae.ipynb", "{}")
        link = zipfile.ZipInfo("mallory/image/vae.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("bob/image/vae.ipynb", "{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("bob/image/vae.ipynb", "[]")
    rows = found(path)
    assert rows[("ann", "image/vae")] == ""
    assert "outside" in rows[("eve", "image/vae")]
    assert "outside" in rows[("etc", "image/vae")]
    assert "symbolic link" in rows[("mallory", "image/vae")]
    assert "two notebooks answer image/vae" in rows[("bob", "image/vae")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["class.zip"], "nothing may be extracted"


def test_zip_packed_as_one_folder(tmp_path):
    path = tmp_path / "class.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("course/ann/image/vae.ipynb", "{}")
        archive.writestr("course/bob/text/gpt.ipynb", "{}")
    assert found(path) == {("ann", "image/vae"): "", ("bob", "text/gpt"): ""}


def test_zip_bomb_is_read_only_up_to_the_limit(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("ann/image/vae.ipynb", "w") as member:
        for _ in range(200):
            member.write(b"0" * 2**20)
    (submission,) = find_submissions(path, UNITS)
    with pytest.raises(Refused, match="larger than 20 MB"):
        submission.read()


def test_broken_zip_is_a_usage_error(tmp_path):
    path = tmp_path / "class.zip"
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CourseError):
        found(path)


def test_hostile_names_are_shown_safely(tmp_path):
    raw = b"\xff\x1b[2J\nann"
    os.makedirs(os.path.join(os.fsencode(tmp_path), raw, b"image"))
    with open(os.path.join(os.fsencode(tmp_path), raw, b"image", b"vae.ipynb"), "w") as file:
        file.write("{}")
    ((learner, unit),) = found(tmp_path)
    assert unit == "image/vae"
    assert learner.isprintable()
    assert learner == "\\udcff\\x1b[2J\\x0aann"
    assert safe("a\u202eb") == "a\\u202eb", "a mark that turns the direction of writing is shown, not obeyed"
    assert safe("a\u2028b\u2029c\x85d").splitlines() == ["a\\u2028b\\u2029c\\x85d"]
    assert safe("李\u3000雷") == "李\u3000雷", "a space as people write it"
    assert len(safe("x" * 1000)) == 120
