"""What a test run takes from records and what it asks, and how units are proven anew."""

import json

import pytest

from course.authoring import measurements
from course.authoring.build import compose, to_json
from course.cli import prove as commands
from course.errors import CourseError
from course.proving import records
from course.proving.prove import Found, journal, pending, prove, standings, to_ask
from course.proving.records import KINDS
from course.units.catalogue import find_units

FACES = 5


@pytest.fixture
def units(toy, monkeypatch):
    """Five units alike, of all of which everything is recorded."""
    for number in range(1, FACES):
        for name in (
            "questions/toy/sums.md",
            "questions/toy/sums.zh.md",
            "reference_impl/toy/sums.py",
            "tests/exercises/toy/test_sums.py",
        ):
            path = toy / name
            path.with_name(path.name.replace("sums", f"sums{number}")).write_text(
                path.read_text(encoding="utf-8"), encoding="utf-8"
            )
    found = find_units(toy)
    assert len(found) == FACES
    for unit in found:
        for kind in records.KINDS:
            records.keep(unit, kind, {})
    monkeypatch.setattr(measurements, "write_pages", lambda root: None)  # there is nothing in these records to be shown
    return found


def touch(unit):
    unit.module.write_text(unit.module.read_text(encoding="utf-8") + "\nMORE = 1\n", encoding="utf-8")


def test_what_stands_is_taken_but_for_a_sample_from_the_seed(units):
    asked = to_ask(units, "audit", seed=3, sample=2)
    assert not asked.anew and len(asked.sampled) == 2 and len(asked.taken) == FACES - 2
    assert asked == to_ask(units, "audit", seed=3, sample=2), "the printed seed repeats the sample"
    drawn = {unit.id for seed in range(40) for unit in to_ask(units, "audit", seed, 2).sampled}
    assert drawn == {unit.id for unit in units}, "in the long run every unit is asked again"
    assert "3 taken from their records" in str(asked) and asked.sampled[0].id in str(asked)


def test_a_unit_that_was_touched_is_asked_anew_and_named(units):
    touch(units[2])
    asked = to_ask(units, "audit", seed=3, sample=1)
    assert [one.unit for one in asked.anew] == [units[2]] and asked.asks(units[2])
    assert units[2] not in asked.sampled and units[2] not in asked.taken
    assert f"asked anew: {units[2].id} (recorded before a change of reference_impl/toy/{units[2].name}.py)" in str(asked)


def test_a_sample_larger_than_what_stands_is_all_of_it(units):
    asked = to_ask(units, "devices", seed=0, sample=99)
    assert not asked.taken and len(asked.sampled) == FACES


def test_only_what_does_not_stand_is_proven(units, toy):
    touch(units[0])
    tasks, before = pending(toy, units, records.KINDS, again=False)
    assert [(unit.id, kind) for unit, kind in tasks] == [(units[0].id, kind) for kind in records.KINDS]
    assert before == 0


def run(toy, tasks, again, stop_after=99, wrong=()):
    made = []

    def proof(kind):
        def make(unit):
            if len(made) == stop_after:
                raise KeyboardInterrupt
            records.keep(unit, kind, {})
            return Found("asked", (unit.id, kind) not in wrong)

        return make

    ways = {kind: proof(kind) for kind in records.KINDS}
    prove(toy, tasks, ways, again=again, done=lambda unit, kind, found: made.append((unit.id, kind)))
    return made


def test_an_interrupted_run_of_everything_goes_on_where_it_was(units, toy):
    tasks, before = pending(toy, units, records.KINDS, again=True)
    assert len(tasks) == FACES * len(records.KINDS) and before == 0, "all of it, although all of it stands"
    with pytest.raises(KeyboardInterrupt):
        run(toy, tasks, again=True, stop_after=7)
    tasks, before = pending(toy, units, records.KINDS, again=True)
    assert before == 7 and len(tasks) == FACES * len(records.KINDS) - 7
    assert len(run(toy, tasks, again=True)) == len(tasks)
    assert not journal(toy).exists()
    assert pending(toy, units, records.KINDS, again=True)[1] == 0, "a finished run is not gone on with"


def test_what_does_not_hold_is_asked_again_and_alone(units, toy):
    tasks, _ = pending(toy, units, records.KINDS, again=True)
    wrong = {(units[1].id, "audit"), (units[3].id, "gate")}
    run(toy, tasks, again=True, wrong=wrong)
    tasks, before = pending(toy, units, records.KINDS, again=True)
    assert {(unit.id, kind) for unit, kind in tasks} == wrong and before == FACES * len(records.KINDS) - 2
    run(toy, tasks, again=True)
    assert not journal(toy).exists()


def test_what_changed_since_the_interruption_is_proven_too(units, toy):
    tasks, _ = pending(toy, units, records.KINDS, again=True)
    with pytest.raises(KeyboardInterrupt):
        run(toy, tasks, again=True, stop_after=8)
    touch(units[0])
    assert (units[0], "audit") in pending(toy, units, records.KINDS, again=True)[0]


def test_an_interrupted_run_of_a_part_says_nothing_of_the_whole(units, toy):
    with pytest.raises(KeyboardInterrupt):
        run(toy, pending(toy, units[:1], ("devices",), again=True)[0], again=True, stop_after=0)
    tasks, before = pending(toy, units, records.KINDS, again=True)
    assert len(tasks) == FACES * len(records.KINDS) and before == 0


@pytest.mark.parametrize("text", ["", "{", "3", "[[1]]", '{"a": 1}', '[["toy/sums", "audit"]]'])
def test_a_damaged_journal_begins_again(units, toy, text):
    journal(toy).parent.mkdir(exist_ok=True)
    journal(toy).write_text(text)
    assert len(pending(toy, units, records.KINDS, again=True)[0]) == FACES * len(records.KINDS)


def test_standings_of_nothing_recorded(unit):
    assert [one.state for one in standings([unit])] == ["missing"] * len(records.KINDS)
    assert str(records.standing(unit, "solution")) == "solution: nothing is recorded; run `aigc build`"


@pytest.mark.parametrize("content", ["[]", '{"audit": 3}', "3"])
def test_what_is_no_record_is_said(unit, content):
    path = records.record_path(unit)
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(CourseError, match=r"toy/sums\.json: is no record; delete it, and run `aigc prove toy/sums`"):
        records.standing(unit, "audit")


def test_the_command_lists_what_does_not_stand(units, aigc):
    assert aigc("prove", "--list")[:2] == (0, f"{FACES * 4} of {FACES * 4} proofs stand\n")
    touch(units[1])
    status, out, _ = aigc("prove", "--list", "--only", "audit")
    assert status == 1
    assert out.splitlines()[0].startswith(f"{units[1].id}: audit: recorded before a change of ")
    assert out.splitlines()[-1] == f"{FACES - 1} of {FACES} proofs stand"


def test_the_command_proves_and_says_what_does_not_hold(units, aigc, monkeypatch):
    touch(units[1])

    def ways(bars, jobs):
        def make(unit):
            return Found("90 of 100 mutants killed", holds=False)

        return dict.fromkeys(records.KINDS, make)

    monkeypatch.setattr(commands, "proofs", ways)
    status, out, _ = aigc("prove", "--only", "audit")
    assert status == 1
    assert out == f"{units[1].id}: audit: 90 of 100 mutants killed: DOES NOT HOLD\n0 proofs made, 1 do not hold\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "everything"), "--only is one of audit, gate, solution, devices; got 'everything'"),
        (("nothing",), "there is no unit 'nothing'"),
    ],
)
def test_bad_arguments_are_one_line(units, aigc, arguments, message):
    status, _, err = aigc("prove", *arguments)
    assert status == 2 and message in err


def test_an_audit_of_a_part_is_not_kept(unit, aigc):
    for option in (("--sample", "2"), ("--mutants-only",), ("--seeds", "49"), ("--device", "cuda")):
        status, _, err = aigc("audit", "sums", "--write", *option)
        assert status == 2 and "--write keeps a whole audit" in err
    assert json.dumps(records.read_record(unit)) == "{}"


def test_what_knows_no_torch_owes_no_devices(unit):
    assert {one.kind for one in standings([unit])} == set(KINDS)
    source = unit.module.read_text(encoding="utf-8")
    unit.module.write_text(
        source.replace("import torch\n", "import numpy as np\n").replace("from torch", "from numpy"), encoding="utf-8"
    )
    assert {one.kind for one in standings([unit])} == set(KINDS) - {"devices"}


def test_a_solution_is_proven_only_if_it_earns_everything_when_it_is_graded(unit):
    unit.solution.parent.mkdir(parents=True, exist_ok=True)
    text = to_json(compose(unit, solved=True))
    unit.solution.write_text(text, encoding="utf-8")
    said, earned = commands.graded(unit)
    if "no sandbox" in said:
        pytest.skip(said)
    assert (said, earned) == ("graded 2 of 2", True)
    unit.solution.write_text(text.replace("x.sum(dim=-1)", "x.sum(dim=-1).to(torch.float32)"), encoding="utf-8")
    said, earned = commands.graded(unit)
    assert said.startswith("graded 1 of 2 (total: ") and not earned, said
