"""What a submission may cost: the learner's own time, and the trusted side's time and memory, each with a row that says what to do."""

import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "course"))

from toy_course import TOY, importable_toy, write_toy

from course.authoring.build import compose, fill, to_json
from course.grading import grader as grading
from course.grading import judging, limits, pool
from course.grading.grader import JUDGING, READING, STARTING, Grader, Settings
from course.grading.submissions import Submission
from course.sandbox.client import Root, Session, missing_layers
from course.units.catalogue import find_unit

MISSING = list(missing_layers())
strict = pytest.mark.skipif(bool(MISSING), reason=f"strict isolation is not to be had here, missing: {MISSING}")

RIGHT = """
def total(x, scale=1.0):
    return scale * x.sum(dim=-1)


class Box:
    def __init__(self, size):
        self.size = size

    def grow(self, by):
        return self.size + by
"""
# Tests that do with what they are given what a careless author does: loop so often, make so much, wait so long.
CARELESS = """

@pytest.mark.stub("Box.grow")
def test_use(impl):
    value = impl.Box(4).grow(1)
    if value > 10**12:
        __import__("time").sleep(60)
    if value > 10**9:
        torch.zeros(value)
    for _ in range(value):
        pass
"""


def toy(folder: Path, name: str = "sums"):
    """The toy course with a careless test; `name`: of another unit like it."""
    if not (folder / "questions").is_dir():
        write_toy(folder)
    for path, text in TOY.items():
        if "sums" in path:
            place = folder / path.replace("sums", name)
            place.write_text(text.replace("toy/sums", f"toy/{name}") + (CARELESS if "test_" in path else ""), encoding="utf-8")
    return find_unit(f"toy/{name}", folder)


@pytest.fixture(scope="module")
def unit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    with importable_toy(folder):
        yield toy(folder)


@pytest.fixture(scope="module")
def grader():
    with Grader(Settings(seed=1, seconds=3, call_seconds=1)) as shared:
        yield shared


def handed_in(folder, unit, source, learner="ann"):
    path = folder / learner / f"{unit.id}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_json(fill(compose(unit, solved=False), source)), encoding="utf-8")
    return Submission(learner, unit.id, path)


def changed(body, stub="return self.size + by"):
    assert stub in RIGHT
    return RIGHT.replace(stub, body)


@strict
def test_the_clock_is_the_learners_own_time(grader, unit, tmp_path, monkeypatch):
    """What the sandbox takes to come up is not theirs: here each child needs more than a whole submission may."""
    hello = Session.hello
    monkeypatch.setattr(Session, "hello", lambda self: (time.sleep(3.2), hello(self))[1])
    row = grader.grade(handed_in(tmp_path, unit, RIGHT), unit)
    assert row.status == "passed", row
    assert row.stubs["total"] == {"status": "passed", "message": "", "passed": "2", "cases": "2"}


@strict
def test_each_stub_says_how_many_cases_passed(grader, unit, tmp_path):
    row = grader.grade(handed_in(tmp_path, unit, changed("return x.sum(dim=-1)", "return scale * x.sum(dim=-1)")), unit)
    assert (row.status, row.stubs["total"]["passed"], row.stubs["total"]["cases"]) == ("partial", "1", "2"), row
    assert (row.stubs["Box.grow"]["passed"], row.stubs["Box.grow"]["cases"]) == ("3", "3"), row


@strict
def test_sleeping_below_the_limit_of_each_call_ends_with_the_submissions_clock(unit, tmp_path):
    """Children that die in between do not set the clock back. A call may take far longer than it sleeps: the machine may be busy."""
    source = changed("__import__('time').sleep(0.7); __import__('os')._exit(by)")
    source = source.replace("return scale * x.sum", "__import__('time').sleep(0.7); return scale * x.sum")
    with Grader(Settings(5, seconds=3, call_seconds=2.5)) as grader:
        row = grader.grade(handed_in(tmp_path, unit, source), unit)
    assert row.status == "failed" and "3 s in all" in row.stubs["total"]["message"], row
    assert row.stubs["Box.grow"]["message"].endswith("the whole submission may take 3 s"), row


@strict
def test_after_a_time_out_a_stub_is_not_asked_again_and_the_others_are(unit, grader, tmp_path, monkeypatch):
    opened = []
    open_ = Grader._open
    monkeypatch.setattr(Grader, "_open", lambda self, *args: (opened.append(1), open_(self, *args))[1])
    row = grader.grade(handed_in(tmp_path, unit, changed("while True: pass", "return scale * x.sum(dim=-1)")), unit)
    assert "timed out after 1 s in total" in row.stubs["total"]["message"], row
    assert (row.stubs["total"]["passed"], row.stubs["Box.grow"]["status"]) == ("0", "passed"), row
    assert len(opened) == 2, "a second question of the same stub was asked, and waited for"


@strict
@pytest.mark.parametrize(("value", "told"), [("10**9", judging.TOO_LONG), ("10**11", judging.TOO_MUCH)])
def test_a_value_that_is_dear_to_judge_costs_its_stub_only(unit, grader, tmp_path, monkeypatch, value, told):
    monkeypatch.setattr(judging, "CASE_SECONDS", 0.5)
    row = grader.grade(handed_in(tmp_path, unit, changed(f"return {value} if by == 1 else self.size + by")), unit)
    grown = row.stubs["Box.grow"]
    assert row.stubs["total"]["status"] == "passed" and grown["status"] == "failed", row
    verdicts = judging.Judging(unit, 1, 3, lambda clock: grader._open(unit, changed(f"return {value}"), clock)).verdicts(
        ["Box.grow"]
    )
    assert told in {verdict.public for verdict in verdicts}, [verdict.public for verdict in verdicts]


@strict
def test_definitions_that_do_not_load_are_told_with_their_place_in_the_notebook(unit, grader):
    opened = judging.Judging(
        unit, 1, 3, lambda clock: grader._open(unit, "x = 1\ny = x[2.5]\n", clock), lambda line: f"cell 4, line {line}"
    )
    told = {verdict.public for verdict in opened.verdicts(["total", "Box.grow"])}
    assert told == {f"{judging.UNLOADABLE}: TypeError; it said: “'int' object is not subscriptable” (cell 4, line 2)"}


@strict
def test_a_zygote_that_dies_is_replaced_and_the_answer_not_blamed(unit, grader, tmp_path, monkeypatch):
    call, killed = Session.call, []

    def once(self, *args):
        if not killed:
            killed.append(grader._zygotes[unit.id])
            killed[0]._control.close()  # at which the zygote ends, and all in it
        return call(self, *args)

    monkeypatch.setattr(Session, "call", once)
    row = grader.grade(handed_in(tmp_path, unit, RIGHT), unit)
    assert row.status == "passed" and killed, row
    assert grader._zygotes[unit.id] is not killed[0]


@strict
@pytest.mark.parametrize("when", ["between two submissions", "in the middle of a call"])
def test_a_sandbox_that_is_killed_is_replaced_and_no_answer_blamed(unit, grader, tmp_path, monkeypatch, when):
    """All of it but its first process, which takes a moment to notice: until then it seems to be there."""
    submission, call, killed = handed_in(tmp_path, unit, RIGHT), Session.call, []
    assert grader.grade(submission, unit).status == "passed"
    first = grader._root

    def kill(*args):
        if not killed:
            killed.extend(psutil.Process(first._process.pid).children(recursive=True))
            for process in killed:
                process.kill()
            psutil.wait_procs(killed, timeout=10)

    def once(self, *args):
        kill()
        return call(self, *args)

    monkeypatch.setattr(Root, "answers", lambda self: True)
    if when == "in the middle of a call":
        monkeypatch.setattr(Session, "call", once)
    else:
        kill()
    row = grader.grade(submission, unit)
    assert row.status == "passed" and killed, row
    assert grader._root is not first


@strict
def test_zygotes_of_units_are_let_go_and_share_one_root(unit, grader, tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "ZYGOTES", 1)
    other = toy(unit.root, "others")
    for each in (unit, other, unit):
        row = grader.grade(handed_in(tmp_path, each, RIGHT), each)
        assert row.status == "passed", row
        assert list(grader._zygotes) == [each.id], "idle zygotes are kept"


def test_what_nobody_expected_is_one_row_with_its_phase(unit, tmp_path, monkeypatch):
    def fails(*_):
        raise KeyError("secret")

    submission = handed_in(tmp_path, unit, RIGHT)
    monkeypatch.setattr(grading, "answer_source", fails)
    with Grader(Settings(seed=1)) as own:
        row = own.grade(submission, unit)
    assert row.status == "error" and "failed while reading (KeyError in test_clocks.py" in row.message, row
    assert "secret" not in row.message


@pytest.mark.parametrize("dear", ["time", "memory"])
def test_what_is_dear_to_read_is_refused(unit, tmp_path, monkeypatch, dear):
    def reads(*_):
        held = bytearray(1 << 28) if dear == "memory" else b""
        for _ in iter(int, 1):
            pass
        return held

    submission = handed_in(tmp_path, unit, RIGHT)
    monkeypatch.setattr(grading, "answer_source", reads)
    monkeypatch.setattr(grading, "READ_SECONDS", 0.3)
    monkeypatch.setattr(grading, "READ_MEMORY", 1 << 26)
    with Grader(Settings(seed=1)) as own:
        row = own.grade(submission, unit)
    expected = grading.TOO_MUCH if dear == "memory" and hasattr(signal, "setitimer") else grading.TOO_LONG
    assert (row.status, row.message) == ("refused", expected), row


def test_the_limit_of_a_thread_that_gets_no_signals():
    found = []

    def work():
        try:
            with limits.processor_seconds(0.2):
                for _ in iter(int, 1):
                    pass
        except limits.OutOfTime:
            found.append("ended")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert found == ["ended"]


@strict
def test_the_coordinator_ends_a_worker_that_hangs_and_goes_on(unit, tmp_path, monkeypatch):
    """The test waits for a minute, which costs no processor time: only the coordinator's clock sees that."""
    monkeypatch.setenv("AIGC_ROOT", str(unit.root))
    monkeypatch.syspath_prepend(str(unit.root))
    hanging = handed_in(tmp_path, unit, changed("return 10**13 if by == 1 else self.size + by"), "ann")
    right = handed_in(tmp_path, unit, RIGHT, "bob")
    rows = {row.learner: row for row in pool.local_pool([hanging, right], Settings(seed=1, seconds=2, grace=3), 1)}
    assert (rows["ann"].status, rows["ann"].message) == ("failed", judging.TOO_LONG), rows["ann"]
    assert rows["bob"].status == "passed", rows["bob"]


def test_the_rows_of_what_killed_the_grader_say_what_to_do(unit, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGC_ROOT", str(unit.root))
    task, settings = handed_in(tmp_path, unit, RIGHT), Settings(seed=1)
    crashed = pool.died(task, settings, READING, -signal.SIGSEGV)
    assert crashed.status == "refused" and "the process that read it was killed by SIGSEGV" in crashed.message
    starved = pool.died(task, settings, JUDGING, -signal.SIGKILL)
    assert starved.status == "error" and "was killed by SIGKILL 2 times while judging" in starved.message
    assert "--jobs 1" in starved.message, "the instructor is not told what to do"
    assert pool.past_its_time(task, settings, READING).message == grading.TOO_LONG
    assert pool.past_its_time(task, settings, STARTING).status == "error", "the learner is blamed for the sandbox"
    assert pool.past_its_time(task, settings, JUDGING).key == grading.key_of(task, task.read(), unit, settings), (
        "a resumed run would judge it again"
    )


def test_workers_keep_to_a_unit_and_share_the_last_one():
    tasks = pool._Tasks([Submission(f"learner-{i}", f"toy/{i % 3}", Path()) for i in range(9)])
    first = tasks.next("", [])
    assert first.unit == "toy/0"
    assert tasks.next("", [first.unit]).unit == "toy/1", "two workers begin with one unit"
    assert [tasks.next("toy/0", ["toy/1"]).unit for _ in range(3)] == ["toy/0", "toy/0", "toy/2"]
    tasks.again(first)
    assert tasks.next("toy/9", ["toy/1"]) == first, "what is to be tried again is not tried first"
    left = [tasks.next("toy/2", ["toy/1"]).unit for _ in range(len(tasks))]
    assert sorted(left) == ["toy/1", "toy/1", "toy/2", "toy/2"] and left[:2] == ["toy/2", "toy/2"]
    assert not len(tasks)
