"""The learning path: an order that respects what is required, on graphs drawn at random; and the learner's screens at a hundred units."""

import json
import os
import random
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from toy_course import write_question

from course.authoring.build import readme_index
from course.units.catalogue import Unit, find_units
from course.units.order import by_track, learning_path, stages


def make_unit(identity, requires=(), *, frequency=1, difficulty=1, title=None, syllabus=()):
    return Unit(identity, title or identity, "题", difficulty, frequency, syllabus, (), Path(), tuple(requires))


def draw_course(draw):
    """Up to 40 units of three tracks that require earlier ones at random, shuffled; what tells them apart is their titles."""
    units = []
    for number in range(draw.randint(1, 40)):
        required = draw.sample(units, draw.randint(0, min(3, len(units))))
        units.append(
            make_unit(
                f"{draw.choice(['one', 'two', 'three'])}/u{number}",
                [unit.id for unit in required],
                frequency=draw.randint(1, 3),
                difficulty=draw.randint(1, 3),
                title=f"{draw.random()}",
                syllabus=draw.choice([(), ("P1",), ("B16", "C3")]),
            )
        )
    draw.shuffle(units)
    return units


@pytest.fixture(params=range(60))
def course(request):
    return draw_course(random.Random(request.param))


def is_order(path):
    """Whether graphlib lets the units be done one by one in this order."""
    sorter = TopologicalSorter({unit.id: unit.requires for unit in path})
    sorter.prepare()
    ready = set()
    for unit in path:
        ready.update(sorter.get_ready())
        if unit.id not in ready:
            return False
        sorter.done(unit.id)
    return not sorter.is_active()


def test_each_unit_comes_after_what_it_requires(course):
    path = learning_path(course)
    assert is_order(path)
    assert sorted(unit.id for unit in path) == sorted(unit.id for unit in course)


def test_this_truth_can_tell():
    """What one would write first, sorting by use, is an order on few of these graphs."""
    courses = [draw_course(random.Random(seed)) for seed in range(60)]
    right = sum(is_order(sorted(units, key=lambda unit: (-unit.frequency, unit.difficulty))) for units in courses)
    assert right < 10


def test_of_what_is_ready_the_most_used_and_then_the_easiest_comes_first(course):
    """By brute force: the use of a unit is the highest frequency among all units from which requirements lead to it."""

    def needed_by(unit):
        return {unit.id}.union(*(needed_by(other) for other in course if unit.id in other.requires))

    frequency = {unit.id: unit.frequency for unit in course}
    urgency = {unit.id: (-max(frequency[one] for one in needed_by(unit)), unit.difficulty) for unit in course}
    left = {unit.id: unit for unit in course}
    for unit in learning_path(course):
        ready = [other for other in left.values() if not left.keys() & set(other.requires)]
        assert urgency[unit.id] == min(urgency[other.id] for other in ready)
        del left[unit.id]


def test_the_order_does_not_depend_on_the_names_of_files_or_on_that_of_reading(course):
    draw = random.Random(1)
    names = [f"n{number:03d}" for number in range(len(course))]
    draw.shuffle(names)
    tracks = dict(zip(["one", "two", "three"], draw.sample(["a", "m", "z"], 3), strict=True))
    renamed = {unit.id: f"{tracks[unit.track]}/{name}" for unit, name in zip(course, names, strict=True)}
    moved = [replace(unit, id=renamed[unit.id], requires=tuple(renamed[one] for one in unit.requires)) for unit in course]
    draw.shuffle(moved)
    assert [unit.title for unit in learning_path(moved)] == [unit.title for unit in learning_path(course)]


def test_stages_are_the_path_cut_by_use(course):
    path = learning_path(course)
    cut = stages(path)
    assert [unit for own in cut.values() for unit in own] == path and list(cut) == sorted(cut, reverse=True)
    before = set()
    for own in cut.values():
        before |= {unit.id for unit in own}
        assert all(before.issuperset(unit.requires) for unit in own), "a stage requires nothing of a later one"


def test_a_track_is_kept_together_where_all_else_is_equal():
    units = [make_unit(f"{track}/{name}", title=f"{name} {track}") for name in "abc" for track in ("text", "image")]
    assert [unit.track for unit in learning_path(units)] == ["image"] * 3 + ["text"] * 3
    assert {track: len(own) for track, own in by_track(learning_path(units)).items()} == {"image": 3, "text": 3}


def test_what_much_asked_units_build_on_comes_early_although_nobody_asks_for_it():
    units = [make_unit("x/asked", ["x/base"], frequency=3), make_unit("x/base"), make_unit("x/other", frequency=2)]
    assert [unit.name for unit in learning_path(units)] == ["base", "asked", "other"]


def test_a_part_of_the_course_takes_the_rest_as_known():
    units = [make_unit("x/late", ["y/elsewhere"], frequency=3), make_unit("x/early", frequency=1)]
    assert [unit.name for unit in learning_path(units)] == ["late", "early"]


def test_the_course_names_direct_requirements_only(root):
    units = {unit.id: unit for unit in find_units(root)}

    def reach(identity):
        return set(units[identity].requires).union(*(reach(one) for one in units[identity].requires))

    for unit in units.values():
        told = set(unit.requires) & set().union(*map(reach, unit.requires))
        assert not told, f"{unit.id}: {told} is required by what it requires anyway"
    assert is_order(learning_path(units.values()))


def test_the_index_follows_the_path_and_not_the_alphabet(toy):
    write_question(toy, "early/z_first", frequency=3)
    write_question(toy, "early/a_later", requires="[early/z_first]", frequency=3)
    write_question(toy, "aside/seldom", frequency=1, difficulty=5)
    text = readme_index(find_units(toy), "zh")
    assert re.findall(r"^### (.*)", text, flags=re.MULTILINE) == ["early", "toy", "aside"]
    assert "[early/z_first 题](questions/early/z_first.zh.md) · [early/a_later 题](questions/early/a_later.zh.md)" in text


# --- the screens ---


@pytest.fixture
def ladder(toy):
    """Beside the toy exercise: `start`, on which `middle` builds, on which `end` does."""
    write_question(toy, "steps/start", frequency=3)
    write_question(toy, "steps/middle", requires="[steps/start]", frequency=3)
    write_question(toy, "steps/end", requires="[steps/middle, toy/sums]", difficulty=4)
    return toy


def steps_of(aigc, *arguments):
    return {step["id"]: step for step in json.loads(aigc("path", "--json", *arguments)[1])}


def test_the_path_knows_where_the_learner_is(ladder, aigc, store):
    found = steps_of(aigc)
    assert list(found) == ["steps/start", "steps/middle", "toy/sums", "steps/end"]
    assert [step["number"] for step in found.values()] == [1, 2, 3, 4]
    assert [step["stage"] for step in found.values()] == ["open", "later", "open", "later"]
    assert {step["state"] for step in found.values()} == {"new"}
    assert found["steps/end"]["requires"] == found["steps/end"]["missing"] == ["steps/middle", "toy/sums"]
    for unit in ("steps/start", "steps/middle"):
        aigc("read", unit)
    with store.update() as state:
        state.unit("toy/sums").verdicts = {"total": "passed", "Box.grow": "failed"}
    found = steps_of(aigc)
    assert [(step["state"], step["stage"]) for step in found.values()] == [
        ("read", "done"), ("read", "done"), ("begun", "open"), ("new", "later"),
    ]  # fmt: skip
    assert found["steps/end"]["missing"] == ["toy/sums"], "begun is not known yet"
    with store.update() as state:
        state.unit("toy/sums").verdicts = {"total": "passed", "Box.grow": "passed"}
    found = steps_of(aigc)
    assert (found["toy/sums"]["state"], found["toy/sums"]["stage"]) == ("solved", "done"), "also if it was read elsewhere"
    assert found["steps/end"]["stage"] == "open" and found["steps/end"]["missing"] == []


def test_the_path_in_words(ladder, aigc, store):
    with store.update() as state:
        state.unit("toy/sums").verdicts = {"total": "passed"}
    status, out, _ = aigc("path", "--all")
    assert status == 0
    rows = {words[1]: words for line in out.splitlines() if len(words := line.split()) > 2}
    assert out.startswith("4 units: 0 done, 2 open to you, 2 for later")
    assert rows["toy/sums"] == ["3", "toy/sums", "Sums", "1", "of", "2", "solved"]
    assert rows["steps/end"][-3:] == ["after", "2,", "3"], "by the numbers of the path"
    out = aigc("path", "--lang", "zh", "--track", "steps")[1]
    assert "共 3 个单元：完成 0，现在可学 1，以后再学 2" in out and "steps/end 题" in out and "先修 2、3" in out
    assert "toy/sums" not in out, "it is a step of another track"
    assert "there is no track 'stps'; tracks are: steps, toy" in aigc("path", "--track", "stps")[2]


@pytest.fixture(scope="module")
def hundred(root, tmp_path_factory):
    """A course of 100 units in 8 tracks, as the benchmark of the start makes it, with a learner half-way: the environment to run in."""
    made = runpy.run_path(str(root / "benchmarks" / "startup.py"))
    course, home = tmp_path_factory.mktemp("hundred") / "course", tmp_path_factory.mktemp("learner")
    made["write_course"](course, 100, 8)
    made["write_learner"](home, course)
    return {"AIGC_ROOT": str(course), "AIGC_HOME": str(home), "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize("command", [[], ["path"], ["path", "--lang", "zh"], ["status"], ["next"]], ids=" ".join)
@pytest.mark.parametrize("begun", [True, False], ids=["half-way", "new"])
def test_a_screen_holds_a_hundred_units(hundred, tmp_path, command, begun):
    env = {**os.environ, **hundred, **({} if begun else {"AIGC_HOME": str(tmp_path)})}
    ran = subprocess.run(
        [sys.executable, "-m", "course.cli", *command], env=env, capture_output=True, encoding="utf-8", check=True
    )
    lines = ran.stdout.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80, ran.stdout
    if not command:
        units = find_units(Path(hundred["AIGC_ROOT"]))
        for track in {unit.track for unit in units}:
            assert sum(line.split()[:1] == [track] for line in lines) == 1, f"one line for {track}"
        assert "aigc path" in ran.stdout and "aigc list --track" in ran.stdout, "how to unfold"
        assert "/100" in ran.stdout and "next: " in ran.stdout and "streak: " in ran.stdout


def test_what_is_folded_can_be_unfolded(hundred):
    env = {**os.environ, **hundred}
    command = [sys.executable, "-m", "course.cli", "path", "--all"]
    out = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=True).stdout
    for unit in find_units(Path(hundred["AIGC_ROOT"])):
        assert f" {unit.id} " in out, "an id is never cut, since it is to be typed"
