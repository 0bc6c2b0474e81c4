"""One run of the real `aigc grade` over every attack mixed with honest submissions: no mark unearned, none lost, nothing left."""

import contextlib
import csv
import itertools
import json
import os
import re
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import clocks
import specimens
from doors import DOOR, HOSTILE_NAMES, TWINS, place
from specimens import STUB, UNIT

from course.authoring.build import compose, fill, to_json
from course.checking.load import filled_cells
from course.paths import write_atomic
from course.sandbox.client import missing_layers
from course.units.catalogue import find_unit

ALL = {**specimens.ALL, **clocks.ALL}
HONEST = 20
CHANGING = "door-changing"
CALL_SECONDS = 3

MISSING = list(missing_layers())
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"strict isolation is not to be had here, missing: {MISSING}")


def answers(unit) -> list[tuple[str, int]]:
    """Honest answers of every quality, with the marks they have earned."""
    folder = unit.root / "tests" / "submissions" / unit.id
    right, half, wrong = ((folder / f"{name}.py").read_text(encoding="utf-8") for name in ("right", "half_done", "wrong"))
    reference = "\n\n\n".join(filled_cells(unit))
    return [(right, 6), (half, 3), (wrong, 0), (reference, 6), ("", 0)]


def handed_in(folder: Path, unit, names=None) -> dict[str, int]:
    """Write a class's submissions; learner -> marks earned."""
    exercise = compose(unit, solved=False)
    earned = {}
    for i in range(HONEST):
        source, marks = answers(unit)[i % 5]
        learner = f"honest-{i:02}"
        path = folder / learner / f"{UNIT}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(to_json(fill(exercise, source)), encoding="utf-8")
        earned[learner] = marks
    for name, specimen in ALL.items():
        if names is not None and name not in names:
            continue
        learner = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        path = folder / learner / f"{UNIT}.ipynb"
        path.parent.mkdir(parents=True)
        notebook = json.loads(to_json(exercise))
        if specimen.make is not None:
            specimen.make(path, notebook)
        else:
            cell = next(cell for cell in notebook["cells"] if f"def {STUB}" in "".join(cell["source"]))
            cell["source"] = specimen.source
            path.write_text(json.dumps(notebook), encoding="utf-8")
        for planted in ("conftest.py", "sitecustomize.py", "torch.py", "evil.pth"):
            (path.parent / planted).write_text("import os; os.system('touch /tmp/owned')\n")
        earned[learner] = 0
    return earned


def grade(folder: Path, out: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """Run `aigc grade` in a process of its own; learner -> row of the gradebook."""
    command = [sys.executable, "-m", "course.cli", "grade", str(folder), "--out", str(out), *arguments]
    scratch = out.parent / "scratch"  # for whatever the grader itself puts into a temporary folder
    scratch.mkdir(exist_ok=True)
    environment = {**os.environ, "AIGC_CALL_SECONDS": str(CALL_SECONDS), "TMPDIR": str(scratch)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    for unwanted in ("Traceback", "Warning"):
        assert unwanted not in done.stdout + done.stderr, done.stderr[-2000:]
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["learner"]: row for row in csv.DictReader(file)}


def census() -> tuple[set[str], set[str]]:
    """Processes of the grader, and mounts. Others on this machine come and go, and are none of our business."""
    processes = set()
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "course.cli\0grade" in command or "spawn_main" in command or "sandbox process" in command:
            processes.add(f"{pid} {command[:100]}")
    return processes, set(Path("/proc/self/mounts").read_text().splitlines())


def at_the_door(folder: Path, unit) -> dict[str, int]:
    """What is no notebook, and right notebooks under hostile or double names; learner in the gradebook -> marks earned."""
    right = to_json(fill(compose(unit, solved=False), answers(unit)[0][0]))
    earned = {}
    for name, (make, _) in DOOR.items():
        make(folder, name, right)
        earned[name] = 0
    for raw, shown in HOSTILE_NAMES.items():
        place(folder, os.fsdecode(raw)).write_text(right, encoding="utf-8")
        earned[shown] = 6
    for name in TWINS:
        place(folder, name).write_text(right, encoding="utf-8")
        earned[name] = 0
    return earned


@contextlib.contextmanager
def rewritten_all_the_time(path: Path, texts: list[str]) -> Iterator[None]:
    """A submission that its author keeps changing while it is graded: at every moment one of `texts`, whole."""
    done = threading.Event()

    def rewrite() -> None:
        for text in itertools.cycle(texts):
            write_atomic(path, text)
            if done.wait(0.05):
                return

    write_atomic(path, texts[0])
    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def graded(tmp_path_factory, root):
    unit = find_unit(UNIT, root)
    folder, out = tmp_path_factory.mktemp("class"), tmp_path_factory.mktemp("out") / "results"
    earned = handed_in(folder, unit) | at_the_door(folder, unit)
    before = census()
    right, half, _ = (to_json(fill(compose(unit, solved=False), source)) for source, _ in answers(unit)[:3])
    with rewritten_all_the_time(place(folder, CHANGING), [right, half]):
        rows = grade(folder, out, "--seed", "7")
    return earned, rows, before, census(), out


@pytest.mark.parametrize("name", ALL)
def test_specimen_scores_nothing_and_its_row_says_why(graded, name):
    _, rows, *_ = graded
    row = rows[re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")]
    specimen = ALL[name]
    assert row["score"] == "0", f"{name}: a mark that was not earned: {row}"
    assert re.fullmatch(specimen.status, row["status"]), f"{name}: {row}"
    assert re.search(specimen.message, row["message"], re.IGNORECASE), f"{name}: {row}"
    assert "\n" not in row["message"]
    assert len(row["message"]) <= 300


def test_honest_submissions_get_exactly_what_they_earned(graded):
    earned, rows, *_ = graded
    got = {learner: int(rows[learner]["score"]) for learner in earned if learner.startswith("honest")}
    assert got == {learner: marks for learner, marks in earned.items() if learner.startswith("honest")}


@pytest.mark.parametrize("name", DOOR)
def test_what_is_no_notebook_is_refused_at_the_door(graded, name):
    row = graded[1][name]
    assert (row["score"], row["status"]) == ("0", "refused"), row
    assert DOOR[name][1] in row["message"], row


def test_a_hostile_name_costs_no_mark_and_reaches_no_terminal(graded):
    _, rows, *_, out = graded
    assert {shown: rows[shown]["score"] for shown in HOSTILE_NAMES.values()} == dict.fromkeys(HOSTILE_NAMES.values(), "6")
    files = [path.name for path in (out / "gradescope").iterdir()]
    assert len(files) == len(set(map(str.lower, files))) == len(rows)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in files), files


def test_two_learners_of_one_name_are_both_refused(graded):
    for name in TWINS:
        row = graded[1][name]
        assert (row["score"], row["status"]) == ("0", "refused") and "another learner's name" in row["message"], row


def test_a_submission_that_changes_is_graded_as_it_was_read(graded):
    row = graded[1][CHANGING]
    assert (row["status"], row["score"]) in (("passed", "6"), ("partial", "3")), "neither of the texts has these marks"


def test_every_submission_has_one_row(graded):
    earned, rows, _, _, out = graded
    assert set(rows) == {*earned, CHANGING}
    assert len((out / "results.jsonl").read_text().splitlines()) == len(rows)
    assert {row["isolation"] for row in rows.values() if row["status"] != "refused"} != {""}


def test_nothing_is_left_behind(graded):
    _, _, before, after, out = graded
    left = after[0] - before[0]
    deadline = time.monotonic() + 30
    while left and time.monotonic() < deadline:  # another run's child is soon gone; what was left behind by ours stays
        time.sleep(1)
        left &= census()[0]
    assert not left, f"processes left behind: {sorted(left)}"
    assert after[1] <= before[1], f"mounts left behind: {sorted(after[1] - before[1])}"
    assert not list((out.parent / "scratch").iterdir()), "temporary files were left behind"
    assert not Path("/tmp/owned").exists()


def test_a_hostile_archive_through_the_same_door(graded, tmp_path, root):
    unit = find_unit(UNIT, root)
    right = to_json(fill(compose(unit, solved=False), answers(unit)[0][0]))
    path = tmp_path / "class.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"ann/{UNIT}.ipynb", right)
        archive.writestr(f"../../eve/{UNIT}.ipynb", right)
        link = zipfile.ZipInfo(f"mallory/{UNIT}.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, f"../ann/{UNIT}.ipynb")
        with archive.open(f"bomb/{UNIT}.ipynb", "w") as member:
            for _ in range(500):
                member.write(bytes(2**20))
    rows = grade(path, tmp_path / "out", "--seed", "7", "--jobs", "1")
    assert rows["ann"]["score"] == "6"
    for learner, message in (("eve", "leads outside"), ("mallory", "symbolic link"), ("bomb", "is larger than 20 MB")):
        assert (rows[learner]["score"], rows[learner]["status"]) == ("0", "refused")
        assert message in rows[learner]["message"], rows[learner]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["class.zip", "out", "scratch"], "something was extracted"


def test_seed_repeats_every_verdict(graded, tmp_path, root):
    unit = find_unit(UNIT, root)
    names = ["checker: hard-coded answers", "checker: NaN everywhere", "checker: transposed result"]
    handed_in(tmp_path / "class", unit, names)
    _, rows, *_ = graded
    again = grade(tmp_path / "class", tmp_path / "out", "--seed", "7", "--jobs", "1")
    for learner, row in again.items():
        for key in ("score", "status", "message"):
            assert row[key] == rows[learner][key], f"{learner}: --seed 7 gave another {key}"
