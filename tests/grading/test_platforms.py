"""Submissions as platforms, browsers and file managers leave them: every learner has a row, every notebook is graded or named."""

import random
import re
import sys
import zipfile
from pathlib import Path

import pytest

from course.errors import CourseError
from course.grading.identities import is_notebook, units_by_name
from course.grading.submissions import find_submissions, scan

sys.path.insert(0, str(Path(__file__).parent))

from layouts import UNITS, notebook, notes, pack, rows, write

MOODLE = [
    "Alice Smith_12345_assignsubmission_file_/gan.ipynb",
    "Bob Ray_12346_assignsubmission_file/my gan (1).ipynb",
    "Wei Zhang_12347/gan-2.ipynb",
    "Wei Zhang_12348_assignsubmission_file_/gan.ipynb",
]
MOODLE_ROWS = {"Alice Smith_12345", "Bob Ray_12346", "Wei Zhang_12347", "Wei Zhang_12348"}


def graded(path, wanted=None):
    """The learners and units that are graded; a row with a problem fails the test."""
    found = rows(path, wanted)
    assert not any(found.values()), f"refused: {found}"
    return set(found)


def test_moodle_folders(tmp_path):
    write(tmp_path, *MOODLE)
    write(tmp_path, "Alice Smith_12345_assignsubmission_onlinetext_/onlinetext.html", content=b"done")
    assert graded(tmp_path) == {(name, "image/gan") for name in MOODLE_ROWS}, "two people of one name are two learners"


def test_moodle_files_without_folders(tmp_path):
    write(tmp_path, "Alice Smith_12345_assignsubmission_file_gan.ipynb", "Bob Ray_7_assignsubmission_file_gan (2).ipynb")
    assert graded(tmp_path) == {("Alice Smith_12345", "image/gan"), ("Bob Ray_7", "image/gan")}


def test_canvas(tmp_path):
    write(tmp_path, "smithalice_12345_678901_gan-1.ipynb", "raybob_LATE_12346_678902_gan.ipynb", "raybob_12346_678903_gpt.ipynb")
    write(tmp_path, "leecy_12347_678904_essay.pdf", content=b"%PDF")
    found = rows(tmp_path)
    assert {place for place, problem in found.items() if not problem} == {
        ("smithalice_12345", "image/gan"), ("raybob_12346", "image/gan"), ("raybob_12346", "text/gpt"),
    }  # fmt: skip
    assert "no notebook" in found["leecy_12347", ""] and "essay.pdf" in found["leecy_12347", ""], "handed in, and silently absent"


def test_gradescope_names_its_submitters(tmp_path):
    write(tmp_path, "submission_111/gan.ipynb", "submission_112/image/gan.ipynb", "submission_113/gan.ipynb")
    write(
        tmp_path,
        "submission_metadata.yml",
        content=b"---\nsubmission_111:\n  :submitters:\n  - :name: Ann Lee\n    :sid: '9'\n    :email: ann@x.edu\n"
        b"  - :name: Bob Ray\n    :email: bob@x.edu\n  :created_at: 2024-01-01 10:00:00.5 Z\n"
        b"submission_112:\n  :submitters:\n  - :name: Cy\n",
    )
    found = scan(tmp_path, UNITS)
    assert [s.learner for s in found.submissions] == ["Ann Lee_9 & Bob Ray_bob@x.edu", "Cy_112", "submission_113"]
    assert not found.notes
    (tmp_path / "submission_metadata.yml").write_text("[: not yaml")
    found = scan(tmp_path, UNITS)
    assert [s.learner for s in found.submissions] == ["submission_111", "submission_112", "submission_113"]
    assert "submission_metadata.yml" in found.notes[0], "the instructor is told why nobody has a name"


@pytest.mark.parametrize("top", ["submitted/", ""])
def test_nbgrader(tmp_path, top):
    write(tmp_path, f"{top}ann/ps1/gan.ipynb", f"{top}bob/ps1/gan.ipynb", f"{top}bob/ps2/gpt.ipynb")
    write(tmp_path, f"{top}ann/ps1/timestamp.txt", content=b"now")
    assert graded(tmp_path) == {("ann", "image/gan"), ("bob", "image/gan"), ("bob", "text/gpt")}


def test_a_repository_of_the_course_is_graded_without_its_solutions(tmp_path):
    for login in ("ann", "bob"):
        repository = f"assignment-{login}"
        write(tmp_path, *(f"{repository}/{folder}/image/gan.ipynb" for folder in ("notebooks", "solutions", ".git")))
        write(tmp_path, f"{repository}/solutions/text/gpt.ipynb", f"{repository}/tests/attic/notes.txt")
    write(tmp_path, str(Path("assignment-bob", "work", "image", "gan.ipynb")))
    found = {s.learner: s for s in find_submissions(tmp_path, UNITS)}
    assert {(s.learner, s.unit) for s in found.values()} == {("assignment-ann", "image/gan"), ("assignment-bob", "image/gan")}
    assert found["assignment-ann"].parts == ("assignment-ann", "notebooks", "image", "gan.ipynb")
    assert found["assignment-bob"].parts == ("assignment-bob", "work", "image", "gan.ipynb"), "the exercise as it was given"
    assert "solutions" in found["assignment-ann"].note and "text/gpt" not in found["assignment-ann"].note


def test_only_the_solutions_of_the_course(tmp_path):
    write(tmp_path, "ann/solutions/image/gan.ipynb")
    assert "solutions" in rows(tmp_path)["ann", ""], "our own solution earned somebody marks, or nobody was told"


def test_flat_folder_of_a_class(tmp_path):
    write(tmp_path, "ann_gan.ipynb", "gan-bob.ipynb", "20231234_gan_final.ipynb", "ann_gpt.ipynb")
    write(tmp_path, "cy.ipynb", content=notebook(unit="text/gpt"))
    assert graded(tmp_path) == {
        ("ann", "image/gan"), ("bob", "image/gan"), ("20231234", "image/gan"), ("ann", "text/gpt"), ("cy", "text/gpt"),
    }  # fmt: skip


def test_flat_folder_of_one_learner(tmp_path):
    write(tmp_path / "ann", "gan.ipynb", "gpt (1).ipynb")
    assert graded(tmp_path / "ann") == {("ann", "image/gan"), ("ann", "text/gpt")}


def test_a_flat_folder_named_after_people_needs_one_unit_asked_for(tmp_path):
    write(tmp_path, "ann.ipynb", "bob.ipynb")
    assert graded(tmp_path, ["image/vae"]) == {("ann", "image/vae"), ("bob", "image/vae")}
    assert "no unit has that name" in rows(tmp_path)["ann", ""]


def test_zip_of_every_kind(tmp_path):
    course = [f"assignment-ann/{folder}/image/gan.ipynb" for folder in ("notebooks", "solutions")]
    kinds = {
        "moodle": (MOODLE, {(name, "image/gan") for name in MOODLE_ROWS}),
        "canvas": (["smithalice_1_2_gan-1.ipynb", "raybob_3_4_gan.ipynb"], {("smithalice_1", "image/gan"), ("raybob_3", "image/gan")}),
        "wrapped": (["hw1/ann/image/gan.ipynb", "hw1/bob/gan.ipynb"], {("ann", "image/gan"), ("bob", "image/gan")}),
        "windows": (["hw1\\ann\\image\\gan.ipynb", "hw1\\bob\\gan.ipynb"], {("ann", "image/gan"), ("bob", "image/gan")}),
        "nbgrader": (["submitted/ann/ps1/gan.ipynb"], {("ann", "image/gan")}),
        "github": ([*course, "assignment-bob/notebooks/image/gan.ipynb"], {("assignment-ann", "image/gan"), ("assignment-bob", "image/gan")}),
        "one learner": (["image/gan.ipynb", "text/gpt.ipynb"], {("one learner", "image/gan"), ("one learner", "text/gpt")}),
        "her folder": (["ann/gan.ipynb", "ann/gpt.ipynb"], {("ann", "image/gan"), ("ann", "text/gpt")}),
    }  # fmt: skip
    for name, (members, expected) in kinds.items():
        assert graded(pack(tmp_path / f"{name}.zip", *members)) == expected, name


def test_a_zip_for_each_learner(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    pack(folder / "ann.zip", "gan.ipynb")
    pack(folder / "raybob_1_2_hw.ZIP", "hw/image/gan.ipynb", "__MACOSX/hw/image/._gan.ipynb")
    (folder / "Cy_3_assignsubmission_file_").mkdir()
    pack(folder / "Cy_3_assignsubmission_file_/all.zip", "gan.ipynb", "notes.txt")
    assert graded(folder) == {("ann", "image/gan"), ("raybob_1", "image/gan"), ("Cy_3", "image/gan")}
    (submission,) = [s for s in find_submissions(folder, UNITS) if s.learner == "Cy_3"]
    assert submission.read() == notebook("# gan.ipynb")


def test_a_zip_inside_of_a_zip_is_refused_by_name(tmp_path):
    (tmp_path / "class").mkdir()
    inner = pack(tmp_path / "inner.zip", "gan.ipynb").read_bytes()
    with zipfile.ZipFile(tmp_path / "class/ann.zip", "w") as archive:
        archive.writestr("inner.zip", inner)
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.writestr("ann.zip", inner)
        archive.writestr("bob/gan.ipynb", notebook())
    for path, name in ((tmp_path / "class", "inner.zip"), (tmp_path / "class.zip", "ann.zip")):
        problem = rows(path)["ann", ""]
        assert name in problem and "a zip inside of a zip" in problem, problem
    assert rows(tmp_path / "class.zip")["bob", "image/gan"] == ""


def test_other_archives_and_other_files_are_named(tmp_path):
    write(tmp_path, "ann/hw.rar", "bob/gan.py", "cy.7z", "README.txt", content=b"x")
    found = rows(tmp_path)
    assert "hw.rar" in found["ann", ""] and "archive" in found["ann", ""]
    assert "gan.py" in found["bob", ""]
    assert "cy.7z" in found["cy.7z", ""]
    assert scan(tmp_path, UNITS).notes == ["not taken for submissions: README.txt"]


def test_what_macos_and_windows_leave_behind_has_no_row(tmp_path):
    junk = ["__MACOSX/ann/image/._gan.ipynb", "ann/.DS_Store", ".DS_Store", "ann/._gan.ipynb", "ann/Thumbs.db",
            "ann/.ipynb_checkpoints/gan-checkpoint.ipynb", "._ann.ipynb", "desktop.ini"]  # fmt: skip
    write(tmp_path / "class", *junk, "ann/image/gan.ipynb")
    pack(tmp_path / "class.zip", *junk, "ann/image/gan.ipynb")
    for path in (tmp_path / "class", tmp_path / "class.zip"):
        assert rows(path) == {("ann", "image/gan"): ""}
        assert not notes(path) and not scan(path, UNITS).notes


@pytest.mark.parametrize(
    "name",
    ["gan (1).ipynb", "gan(1).ipynb", "gan-2.ipynb", "Copy of gan.ipynb", "gan - Copy.ipynb", "gan-Copy1.ipynb", "gan_final.ipynb",
     "gan_final_v2.ipynb", "GAN.IPYNB", "gan.ipynb.txt", "gan.ipynb.json", "gan.ipynb (1)", "gan (1).ipynb.txt", "image_gan.ipynb",
     "image-gan-answers.ipynb", "hw3_gan_submission.ipynb", "gan - 副本.ipynb", "gan的副本.ipynb", "Kopie von gan.ipynb", "gan_20240131.ipynb"],
)  # fmt: skip
def test_renamed_on_the_way(tmp_path, name):
    write(tmp_path / "class", f"ann/{name}", "bob/image/gan.ipynb")
    assert rows(tmp_path / "class") == {("ann", "image/gan"): "", ("bob", "image/gan"): ""}


@pytest.mark.parametrize(
    "name", ["organ.ipynb", "gan2.ipynb", "began.ipynb", "stylegan.ipynb", "gan notes.ipynb", "gan.html", "gan.ipynb.html"]
)
def test_what_only_looks_like_a_name(tmp_path, name):
    assert not (is_notebook(name) and units_by_name((name,), UNITS)), f"{name} was taken for image/gan"


def test_learners_put_their_names_into_those_of_their_files(tmp_path):
    write(
        tmp_path, "Alice Smith_7_assignsubmission_file_/alice-smith gan.ipynb", "bob/bob_gan.ipynb", "cy/gan of cy and bob.ipynb"
    )
    write(tmp_path, "dan/gan.ipynb", "dan/gan lecture.ipynb", "eve/gan or gpt.ipynb")
    found = rows(tmp_path)
    assert [problem for (_, unit), problem in found.items() if unit == "image/gan"] == ["", "", "", ""]
    assert notes(tmp_path) == {("dan", "image/gan"): "not graded: gan lecture.ipynb (image/gan is handed in as gan.ipynb)"}
    assert "gan or gpt.ipynb" in found["eve", ""], "two units in one name"


def test_the_words_of_a_long_name():
    assert units_by_name(("Text To Speech (2).ipynb",), UNITS) == ["convert/text_to_speech"]
    assert units_by_name(("text-to-speech.ipynb",), UNITS) == ["convert/text_to_speech"]


def test_a_name_that_two_units_have(tmp_path):
    write(tmp_path, "ann/vae.ipynb", "bob/text/vae (1).ipynb", "cy/Image/VAE.ipynb", "dan/text-vae.ipynb")
    found = rows(tmp_path)
    assert "may be image/vae or text/vae" in found["ann", ""], "a guess between two units"
    assert {place for place, problem in found.items() if not problem} == {
        ("bob", "text/vae"), ("cy", "image/vae"), ("dan", "text/vae"),
    }  # fmt: skip
    assert rows(tmp_path, ["image/vae"])["ann", "image/vae"] == "", "only one of the two is asked for"


def test_a_notebook_says_which_unit_it_is(tmp_path):
    write(tmp_path, "ann/homework.ipynb", "bob/gan.ipynb", content=notebook(unit="text/gpt"))
    write(tmp_path, "cy/image/gan.ipynb", content=notebook(unit="text/gpt"))
    write(tmp_path, "dan/homework.ipynb", content=notebook(unit="no/unit"))
    found = rows(tmp_path)
    assert found["ann", "text/gpt"] == "" and found["bob", "text/gpt"] == ""
    assert found["cy", "image/gan"] == "", "the exact path is the strongest word"
    assert "homework.ipynb" in found["dan", ""]


def test_two_notebooks_for_one_unit(tmp_path):
    write(tmp_path, "ann/gan.ipynb", "ann/gan (1).ipynb", "bob/image/gan.ipynb")
    problem = rows(tmp_path)["ann", "image/gan"]
    assert problem == "two notebooks answer image/gan: “gan.ipynb” and “gan (1).ipynb”; hand in one"
    write(tmp_path, "ann/gan.ipynb", "ann/gan (1).ipynb", content=notebook("x = 1"))
    assert rows(tmp_path)["ann", "image/gan"] == "", "their code is equal: either will do"
    assert notes(tmp_path) == {("ann", "image/gan"): "not graded: gan (1).ipynb (has the code of gan.ipynb)"}


def test_an_experiment_beside_the_notebook_is_no_second_answer(tmp_path):
    write(tmp_path, "ann/image/gan.ipynb", "ann/playground.ipynb", content=notebook("x = 1", unit="image/gan"))
    write(tmp_path, "ann/image/gan.ipynb")
    assert rows(tmp_path) == {("ann", "image/gan"): ""}
    assert notes(tmp_path) == {("ann", "image/gan"): "not graded: playground.ipynb (image/gan is handed in as image/gan.ipynb)"}


def test_every_notebook_is_graded_or_named(tmp_path):
    names = [f"sketch {i}.ipynb" for i in "abcde"]
    write(tmp_path, "ann/image/gan.ipynb", *(f"ann/{name}" for name in names), *(f"bob/{name}" for name in names))
    (note,) = notes(tmp_path).values()
    assert all(name in note for name in names), note
    assert all(name in rows(tmp_path)["bob", ""] for name in names)
    absent = rows(tmp_path, ["image/gan", "text/gpt"])["bob", "image/gan"]
    assert absent.startswith("not handed in; not graded: sketch a.ipynb"), absent


def test_too_many_to_name_are_counted(tmp_path):
    write(tmp_path, *(f"ann/sketch number {i}.ipynb" for i in range(90)))
    assert rows(tmp_path)["ann", ""] == "the folder holds no notebook of a known unit; see the note"
    assert re.search(r"sketch number 0\.ipynb.* and \d+ more$", notes(tmp_path)["ann", ""])


def test_nothing_to_grade_says_what_was_expected(tmp_path):
    (tmp_path / "class").mkdir()
    with pytest.raises(CourseError, match="holds nothing to grade: expected <learner>/<track>/<unit>"):
        find_submissions(tmp_path / "class", UNITS)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_the_folders_every_notebook_is_graded_or_named_and_every_learner_has_a_row(tmp_path, seed):
    draw = random.Random(seed)
    learners = ["ann", "Bob Ray_12_assignsubmission_file_", "submission_5", "张三", "assignment-cy"]
    folders = ["", "image/", "text/", "hw1/", "notebooks/image/", "work/image/", "Image/", "a/b/c/"]
    files = ["gan.ipynb", "vae.ipynb", "gan (1).ipynb", "GAN.IPYNB", "vae.ipynb.txt", "sketch.ipynb", "gan lecture.ipynb", "x.py"]
    units = [None, None, "image/gan", "no/unit"]
    paths = sorted(
        {draw.choice(learners) + "/" + draw.choice(folders) + draw.choice(files) for _ in range(draw.randrange(1, 12))}
    )
    for path in paths:
        write(tmp_path, path, content=notebook(path, unit=draw.choice(units)))
    found = find_submissions(tmp_path, UNITS)
    assert {s.learner for s in found} == {p.split("/")[0].removesuffix("_assignsubmission_file_") for p in paths}
    assert len({(s.learner, s.unit) for s in found}) == len(found)
    graded = {"/".join(s.parts) for s in found if not s.problem}
    assert all(len(s.problem) <= 300 for s in found), "a gradebook's message ends there"
    for path in [p for p in paths if p not in graded and not p.endswith(".py")]:
        learner, _, place = path.partition("/")
        said = " ".join(f"{s.problem} {s.note}" for s in found if s.parts[:1] == (learner,) or learner.startswith(s.learner))
        assert place in said, f"{path} is neither graded nor named: {found}"
