"""The audit of a toy unit whose tests are made weak, wrong or slow in one way at a time."""

import os
import subprocess
import time

import pytest

from course.errors import CourseError
from course.proving.audit import audit_unit, changed_units, difference, variants_accepted
from course.proving.forks import Ended, forked

SCALE = """@pytest.mark.stub("total")
def test_scale(impl, draw):
    x = draw.normal(draw.size(), draw.size())
    assert_close(impl.total(x, scale=3.0), 3 * torch.einsum("ab->a", x))


"""
GRADIENT = """@pytest.mark.stub("total")
def test_gradient(impl, draw):
    x = draw.normal(draw.size(), draw.size())
    assert_close(impl.vjp("total", x, wrt=0, cotangent=torch.ones(len(x)).double()), torch.ones_like(x))


"""


def audit(unit, **options):
    return audit_unit(unit, jobs=2, **{"seed": 7, **options})


def rewrite(unit, old, new):
    text = unit.tests.read_text()
    assert old in text
    unit.tests.write_text(text.replace(old, new))
    os.utime(unit.tests, ns=(time.time_ns(), time.time_ns()))


@pytest.fixture
def good(unit):
    """The toy unit with the one test that it lacks."""
    rewrite(unit, SCALE, SCALE + GRADIENT)
    return unit


def survivors(made, stub="total"):
    return [result.mutant.id for audited in made.stubs if audited.stub == stub for result in audited.survivors]


def test_good_tests_kill_every_mutant(good):
    told = []
    made = audit(good, progress=lambda done, total: told.append((done, total)))
    assert [survivors(made, stub) for stub in good.stubs] == [[], []]
    assert made.score == 1
    assert made.holds()
    assert told[-1][0] == told[-1][1] == made.mutants > 20
    assert [set(row) for row in made.rows()] == [{"unit", "stub", "mutants", "equivalent", "killed", "score"}] * 2
    assert made.rows()[0] | {"mutants": 0, "killed": 0} == {
        "unit": "toy/sums", "stub": "total", "mutants": 0, "equivalent": 0, "killed": 0, "score": 1.0,
    }  # fmt: skip


def test_weak_test_is_caught_and_its_survivor_shown(good):
    rewrite(good, SCALE, "")
    made = audit(good)
    assert "scale: scale * x.sum(dim=-1) -> x.sum(dim=-1)" in survivors(made)
    assert not made.holds()
    assert made.stubs[0].score < 0.98 < made.stubs[1].score
    (shown,) = [difference(made.source, r.mutant) for r in made.stubs[0].survivors if r.mutant.operator == "scale"]
    assert "-    return scale * x.sum(dim=-1)\n+    return x.sum(dim=-1)" in shown
    assert len(shown.splitlines()) <= 7


def test_another_stubs_case_does_not_kill(good):
    rewrite(good, SCALE, SCALE.replace('"total"', '"Box.grow"'))
    assert "scale: scale * x.sum(dim=-1) -> x.sum(dim=-1)" in survivors(audit(good))


def test_same_seed_repeats_and_a_sample_is_a_part(good):
    rewrite(good, SCALE, "")
    first, second = audit(good, sample=19), audit(good, sample=19)
    assert first.stubs[0].mutants == 19
    rows = [[(r.mutant.id, r.seed, r.status) for r in made.stubs[0].results] for made in (first, second)]
    assert rows[0] == rows[1]  # which case kills a mutant may differ: the quickest is asked first
    assert survivors(first) != []


def test_mark_takes_a_mutant_out_of_the_count(good):
    rewrite(good, SCALE, "")
    rewrite(
        good, "FAKES =", 'EQUIVALENT = {"total": {"scale: scale * x.sum(dim=-1) -> x.sum(dim=-1)": "for this test"}}\nFAKES ='
    )
    made = audit(good)
    assert made.stubs[0].equivalent == 1
    assert "scale: scale * x.sum(dim=-1) -> x.sum(dim=-1)" not in survivors(made)
    assert made.problems == ()
    assert not made.holds(bar=0), "one mark is more than 3 % of so few mutants"
    assert audit(good, sample=1).marks == made.marks == 1 / made.mutants, "a sample must not make a mark weigh more"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('EQUIVALENT = {"total": {"scale: gone -> x": "a reason"}}', "names no mutant"),
        ('EQUIVALENT = {"total": {"return: return scale * x.sum(dim=-1) -> return None": " "}}', "gives no reason"),
        ('EQUIVALENT = {"totl": {}}', "no stub of toy/sums"),
        ('EQUIVALENT = {"total": ["a mark"]}', "EQUIVALENT must map"),
        ('NO_GRADIENT = {"total": ["y"]}', "NO_GRADIENT names 'y'"),
    ],
)
def test_wrong_mark_is_an_error_that_names_the_file(good, table, message):
    rewrite(good, "FAKES =", table + "\nFAKES =")
    with pytest.raises(CourseError, match=message) as raised:
        audit(good)
    assert str(raised.value).startswith("tests/exercises/toy/test_sums.py: ")


def test_mark_on_a_mutant_that_is_killed_is_a_problem(good):
    mark = "return: return scale * x.sum(dim=-1) -> return None"
    rewrite(good, "FAKES =", f'EQUIVALENT = {{"total": {{"{mark}": "not so"}}}}\nFAKES =')
    made = audit(good, sample=1)
    assert not made.holds(bar=0)
    (problem,) = made.problems
    assert problem.startswith("tests/exercises/toy/test_sums.py: ")
    assert mark in problem
    assert "test_" in problem


def test_endless_loop_ends_and_counts_as_killed(good, monkeypatch):
    monkeypatch.setattr("course.proving.audit.SHORTEST_LIMIT", 0.5)
    source = good.module.read_text()
    endless = "        while by > 0 and by != 0:\n            self.size, by = self.size + 1, by - 1\n        return self.size\n"
    good.module.write_text(source.replace("        return self.size + by\n", endless))
    rewrite(good, "FAKES", "# the module has changed\nFAKES")
    (grow,) = [stub for stub in audit(good).stubs if stub.stub == "Box.grow"]
    ended = [result for result in grow.results if result.status == "timeout"]
    assert ended
    assert all(result.killed for result in ended)
    assert grow.killed > len(ended)


def test_crashing_process_is_told_from_an_endless_one():
    def endless():
        while True:
            pass

    tasks = [lambda: os._exit(3), lambda: time.sleep(60), lambda: "fine", lambda: 1 / 0, endless]
    outcome = dict(forked(tasks, [20, 0.1, 20, 20, 3], jobs=2))
    assert outcome[2] == "fine"
    assert [outcome[i].status for i in (0, 1, 3, 4)] == ["crashed", "timeout", "crashed", "timeout"]
    assert "processor time" in outcome[4].message
    assert isinstance(outcome[3], Ended)
    assert "ZeroDivisionError" in outcome[3].message


def test_busy_machine_is_no_time_out():
    def slow():
        time.sleep(1.5)
        return "fine"

    assert dict(forked([slow], [0.5], jobs=1)) == {0: "fine"}


def test_test_that_crashes_is_reported_and_kills_nothing(good):
    rewrite(good, SCALE, SCALE.replace("impl.total(x, scale=3.0)", "impl.total(x, scale=3.0) + {0.0: None}.get(0.0, 0)"))
    with pytest.raises(CourseError, match="test_scale rejects the reference"):
        audit(good)
    rewrite(good, " + {0.0: None}.get(0.0, 0)", " * (1 if impl.total(x, scale=0.0).sum() == 0 else [])")
    made = audit(good)
    assert "scale: scale * x.sum(dim=-1) -> x.sum(dim=-1)" in survivors(made)
    assert any("test_scale crashed instead of judging" in problem for problem in made.problems)
    assert not made.holds(bar=0)


def test_variants_are_accepted_and_fakes_rejected(good):
    rows = variants_accepted(good, seeds=4, jobs=2, seed=1)
    assert {row.kind for row in rows} == {"reference", "variant", "fake"}
    assert not any(row.wrong for row in rows)
    assert {row.name for row in rows if row.name.startswith("hollow")} == {"hollow, zeros", "hollow, first"}
    rewrite(good, '"zeros": lambda', '"right": lambda x, scale=1.0: scale * x.sum(1), "zeros": lambda')
    rewrite(good, '"matmul": lambda', '"wrong": lambda x, scale=1.0: x.sum(0), "matmul": lambda')
    wrong = {(row.kind, row.name): row.wrong for row in variants_accepted(good, seeds=4, jobs=2, seed=1) if row.wrong}
    assert set(wrong) == {("fake", "right"), ("variant", "wrong")}
    assert wrong["fake", "right"] == tuple(f"seed {n}: accepted" for n in (1, 2, 3, 4))


def test_only_what_changed_is_audited(good, toy):
    def git(*arguments):
        subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], cwd=toy, check=True, capture_output=True
        )

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "all")
    assert changed_units([good], "HEAD", toy) == []
    (toy / "README.md").write_text("other")
    (toy / "reference_impl" / "shared.py").write_text("what no unit owns")
    assert changed_units([good], "HEAD", toy) == []
    good.module.write_text(good.module.read_text() + "# more\n")
    assert changed_units([good], "HEAD", toy) == [good]
    git("commit", "-qam", "more")
    rewrite(good, "FAKES", "# FAKES\nFAKES")
    assert changed_units([good], "HEAD", toy) == [good]
    with pytest.raises(CourseError, match="--changed nosuch"):
        changed_units([good], "nosuch", toy)
