"""Runs of the real `aigc grade`: a class graded whole equals the class graded in pieces, killed and resumed, or in shards."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from course.authoring.build import compose, fill, to_json
from course.sandbox.client import missing_layers
from course.units.catalogue import exercises, find_unit

UNIT = "image/vae"
LEARNERS = 9
MARKS = {"right": "6", "half_done": "3", "wrong": "0"}
MISSING = list(missing_layers())
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"strict isolation is not to be had here, missing: {MISSING}")


def command(folder: Path, out: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "course.cli", "grade", str(folder), "--out", str(out), "--seed", "5", *arguments]


def scores(out: Path) -> dict[str, tuple[str, str, str]]:
    with (out / "grades.csv").open(encoding="utf-8-sig", newline="") as file:
        return {row["learner"]: (row["score"], row["status"], row["message"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def klass(tmp_path_factory, root):
    """A class whose learners hand in the three example answers in turn."""
    unit, folder = find_unit(UNIT, root), tmp_path_factory.mktemp("class")
    exercise = compose(unit, solved=False)
    for i in range(LEARNERS):
        source = (root / "tests/submissions" / UNIT / f"{list(MARKS)[i % 3]}.py").read_text(encoding="utf-8")
        path = folder / f"learner-{i:02}" / f"{UNIT}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(to_json(fill(exercise, source)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(klass, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    done = subprocess.run(command(klass, out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return scores(out)


def test_marks_are_what_was_earned(whole):
    assert {learner: row[0] for learner, row in whole.items()} == {
        f"learner-{i:02}": list(MARKS.values())[i % 3] for i in range(LEARNERS)
    }


def test_every_solution_gets_full_marks_in_the_sandbox(tmp_path, root, request):
    """What passes in a notebook must pass when it is graded: the sandbox may take nothing away that a right answer needs.

    With `--from-records`: the units that are asked anew and the sample, at most eight, so that a run stays as short as it is.
    """
    config = request.config
    asked = [unit for unit in exercises(root) if unit.id not in config.course_taken.get("audit", ())]
    if config.getoption("--from-records"):
        asked = random.Random(config.course_seed).sample(asked, min(8, len(asked)))
    if not asked:
        pytest.skip("every audit is believed, and no sample is asked for (--sample 0)")
    for unit in asked:
        target = tmp_path / "solutions" / f"{unit.id}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(unit.solution, target)
    done = subprocess.run(command(tmp_path / "solutions", tmp_path / "out"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out/grades.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["unit"] for row in rows} == {unit.id for unit in asked}
    assert [row for row in rows if row["status"] != "passed"] == []


def rows_so_far(out: Path) -> int:
    journal = out / "results.jsonl"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for(out: Path, count: int, process: subprocess.Popen) -> None:
    while rows_so_far(out) < count:
        assert process.poll() is None, "the run ended too early"
        time.sleep(0.02)


def children_of(pid: int) -> list[int]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            stat = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(stat[1]) == pid:
            found.append(int(name))
    return found


def test_killed_worker_then_killed_run_then_resumed_is_the_whole_run(klass, whole, tmp_path):
    out = tmp_path / "out"
    process = subprocess.Popen(command(klass, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(out, 3, process)
    workers = [pid for pid in children_of(process.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    wait_for(out, 6, process)
    process.kill()
    process.wait()
    assert rows_so_far(out) < LEARNERS, "the run was over before it could be killed"
    done = subprocess.run(command(klass, out, "--resume"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert scores(out) == whole
    keys = [json.loads(line)["key"] for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == LEARNERS


def test_shards_joined_are_the_whole_run(klass, whole, tmp_path):
    for i in (1, 2):
        subprocess.run(
            command(klass, tmp_path / f"part-{i}", "--shard", f"{i}/2", "--jobs", "1"), check=True, capture_output=True
        )
    merge = [sys.executable, "-m", "course.cli", "grade-merge", str(tmp_path / "part-1"), str(tmp_path / "part-2")]
    subprocess.run([*merge, "--out", str(tmp_path / "all")], check=True, capture_output=True)
    assert scores(tmp_path / "all") == whole


def test_a_dask_cluster_gives_the_same_verdicts(klass, whole, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        done = subprocess.run(
            command(klass, tmp_path / "out", "--scheduler", cluster.scheduler_address), capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path / "out") == whole


def test_reduced_isolation_is_called_by_its_honest_name(klass, whole, tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        command(klass / "learner-00", out, "--isolation", "reduced"), capture_output=True, text=True, check=True
    )
    assert "protects against crashes, not against attackers" in " ".join(done.stdout.split())
    assert "protects against crashes, not against attackers" in (out / "grades.csv").read_text()


def test_unreachable_scheduler_and_used_folder_are_usage_errors(klass, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_text("{}")
    done = subprocess.run(command(klass, tmp_path / "out"), capture_output=True, text=True)
    assert done.returncode == 2
    assert "already holds results" in done.stderr
    assert "Traceback" not in done.stderr
