"""`python -m benchmarks.peers`: what needs no peer: budgets, the choice of a rate, the table, and what is said of a package that is missing."""

import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `benchmarks` is no part of what is installed

from benchmarks.peers import command, contest, validation
from benchmarks.peers.budget import Pace, measure_pace
from benchmarks.peers.contest import OURS, PUBLISHED, TUNED, Contest, Entrant, Figure, Package, Peer, Run, best_rate, hold
from course.authoring import measurements
from course.proving import records
from reference_impl.data import digits, python_docs

ERROR = Figure("error", more=False)
WORTH = Figure("an_early_letter", more=None)


class Processor:
    """A clock that stands still except when somebody works."""

    def __init__(self):
        self.now, self.trainings = 0.0, []

    def __call__(self):
        return self.now

    def train(self, steps, fixed=0.5, each=0.01):
        self.now += fixed + each * steps
        self.trainings.append(steps)


@dataclass(frozen=True)
class Ours(Entrant):
    processor: Processor

    def train(self, steps, *, seed, show=False):
        self.processor.train(steps)
        return steps

    def quality(self, model, *, seed):
        return {"error": 1 / model, WORTH.name: 2.0}

    def parameters(self):
        return 1200


@dataclass(frozen=True)
class Theirs(Peer):
    processor: Processor = dataclasses.field(default_factory=Processor)
    best: float = 0.3  # the rate with the least error

    def train(self, steps, *, seed, show=False):
        self.processor.train(steps, each=0.02)
        return steps

    def quality(self, model, *, seed):
        found = {"error": abs(math.log(self.rate / self.best))}
        return found if self.validating else found | {WORTH.name: 1.0}

    def parameters(self):
        return 1100


@pytest.fixture
def processor(monkeypatch):
    clock = Processor()
    monkeypatch.setattr(contest, "cpu_seconds", lambda work: worked(clock, work))
    monkeypatch.setattr(contest, "measure_pace", lambda train: measure_pace(train, clock=clock))
    return clock


def worked(clock, work):
    started = clock()
    work()
    return clock() - started


def toy_contest(processor, **changes):
    held = Contest(
        unit="toy/sums", title="the peer", ours=Ours(processor), peer=Theirs(0.1, processor=processor), figures=(ERROR, WORTH),
        chosen_by=ERROR, about="From a book.", apart="It is older.",
    )  # fmt: skip
    return dataclasses.replace(held, **changes)


def test_the_pace_is_told_from_short_trainings():
    clock = Processor()
    pace = measure_pace(clock.train, clock=clock)
    assert pace.fixed == pytest.approx(0.5) and pace.each == pytest.approx(0.01)
    assert clock.trainings[-1] <= 128, "the last probe takes a second or two"
    slow = Processor()
    pace = measure_pace(lambda steps: slow.train(steps, each=2.0), clock=slow)
    assert pace.fixed == pytest.approx(0.5) and pace.each == pytest.approx(2.0)


def test_a_budget_becomes_steps():
    pace = Pace(fixed=2.0, each=0.1)
    assert pace.steps(12.0) == 100
    assert pace.steps(1.0) == 1, "less than nothing is one step"
    assert pace.seen(100, spent=22.0) == Pace(2.0, 0.2)
    assert pace.seen(100, spent=1.0).each > 0, "a clock that is coarse"


def test_a_training_that_missed_its_budget_is_repeated(processor):
    clock = contest.Clock(seed=0, show=False)
    clock._pace = Pace(0.5, 0.005)  # twice as fast as it is
    steps, spent = clock.train(Ours(processor), 10.5)[1:]
    assert processor.trainings == [2000, 1000] and steps == 1000 and spent == pytest.approx(10.5)


@pytest.mark.parametrize(("best", "chosen"), [(0.01, 0.1 / 3), (0.1, 0.1), (5.0, 0.3)])
def test_the_best_of_three_rates_is_chosen(best, chosen):
    rate, tried = best_rate(lambda rate: -abs(math.log(rate / best)), 0.1, more=True)
    assert rate == pytest.approx(chosen)
    assert [rate for rate, _ in tried] == pytest.approx([0.1 / 3, 0.1, 0.3])


def test_equal_and_failed_rates_leave_the_published_one():
    assert best_rate(lambda rate: 1.0, 0.1, more=False)[0] == 0.1
    assert best_rate(lambda rate: math.nan, 0.1, more=True)[0] == 0.1
    assert best_rate(lambda rate: math.nan if rate < 0.2 else 9.0, 0.1, more=False)[0] == pytest.approx(0.3)


def test_a_wider_search_goes_on_beyond_the_edge():
    rate, tried = best_rate(lambda rate: abs(math.log(rate / 0.9)), 0.1, more=False, wider=True)
    assert rate == pytest.approx(0.9)
    assert [rate for rate, _ in tried] == pytest.approx([0.1 / 3, 0.1, 0.3, 0.9, 2.7])
    endless, tried = best_rate(lambda rate: rate, 0.1, more=True, wider=True)
    assert len(tried) == 3 + contest.FURTHER and endless == pytest.approx(0.1 * 3 ** (1 + contest.FURTHER))


def test_a_contest_has_three_runs_for_each_budget(processor):
    runs = list(hold(toy_contest(processor), [20.0, 10.0], seed=0))
    assert [(run.budget, run.who) for run in runs] == [(b, who) for b in (10.0, 20.0) for who in (OURS, PUBLISHED, TUNED)]
    assert all(run.spent == pytest.approx(run.budget, rel=0.01) for run in runs)
    assert [run.rate for run in runs[:3]] == [None, 0.1, pytest.approx(0.3)]
    assert runs[2].at_the_edge and runs[2].figures[WORTH.name] == 1.0, "judged on the test set in the end"


def test_a_published_rate_that_is_the_best_is_not_trained_twice(processor):
    held = toy_contest(processor, peer=Theirs(0.3, processor=processor))
    _, published, tuned = hold(held, [10.0], seed=0)
    assert tuned == dataclasses.replace(published, who=TUNED, tried=tuned.tried) and not tuned.at_the_edge


def test_the_table_is_made_of_the_record(unit, processor):
    held = toy_contest(processor)
    runs = list(hold(held, [10.0, 20.0], seed=4))
    kept = command.found(held, runs, seed=4)
    records.keep(unit, "peers", kept)
    text = measurements.peers_page([unit])
    assert "## toy/sums beside the peer\n\nFrom a book.\n\nIt is older. Ours learns 1,200 numbers, the peer 1,100.\n" in text
    assert "| figure | of | 10 CPU s | 20 CPU s |\n|---|---|---:|---:|\n| `error` ↓ | ours |" in text
    assert "| `an_early_letter` | ours | 2 | 2 |\n|  | peer, as published | 1 | 1 |" in text
    assert "| learning rate | peer, as published | 0.1 | 0.1 |\n|  | peer, rate chosen | 0.3 ‡ | 0.3 ‡ |" in text
    assert f"| CPU s of training | ours | {runs[0].spent:.1f} | {runs[3].spent:.1f} |" in text
    assert f"seed 4, {torch.get_num_threads()} threads." in text
    assert measurements.pages(unit.root, [unit]) == {unit.root / "benchmarks" / "peers.md": text}
    assert command.shown(records.read_record(unit)["peers"]).row_count == text.count("\n|  |") + 5


def test_a_figure_that_the_peer_has_not_is_a_dash(processor):
    run = Run(OURS, 10.0, 10.0, 5, {"error": 0.5})
    rows = list(measurements.peer_rows(command.found(toy_contest(processor), [run], seed=0)))
    assert rows[2] == ["`an_early_letter`", "ours", "—"]


def test_what_is_not_installed_is_said_with_the_command(monkeypatch, capsys, processor):
    packages = (
        Package("not-there", "not_there"),
        Package("nor-this", "nor_this", "pip install --no-deps nor-this"),
        Package("torch", "torch"),
    )
    held = toy_contest(processor, packages=packages)
    monkeypatch.setattr(command, "contest", lambda name: held)
    monkeypatch.setattr(sys, "argv", ["peers", "--only", "text/gpt"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 1
    assert capsys.readouterr().out == (
        "toy/sums: not measured, without not-there, nor-this; install with: pip install -e '.[benchmarks]' -c constraints.txt && "
        "pip install --no-deps nor-this\n"
    )


def test_an_interrupt_is_said_in_one_line(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "contest", interrupted)
    monkeypatch.setattr(sys, "argv", ["peers"])
    with pytest.raises(SystemExit) as stopped:
        command.main()
    assert stopped.value.code == 130 and capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--seconds", "0"], "such as 30"), (["--only", "text/vae2"], "is none of gpt,")]
)
def test_bad_arguments_are_refused(monkeypatch, capsys, arguments, said):
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    with pytest.raises(SystemExit):
        command.main()
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", command.NAMES)
def test_every_contest_can_be_read_without_its_packages(name):
    held = command.contest(name)
    assert held.unit.endswith(name) and held.chosen_by in held.figures
    assert not held.peer.validating


def test_the_validation_parts_lie_within_the_training_sets():
    kept, labels = validation.handwriting(), digits.load("train").labels
    assert 0.19 < kept.float().mean() < 0.21 and set(labels[kept].tolist()) == set(range(10))
    train, names = python_docs.load("train"), [set(validation.topics(part).names) for part in (True, False)]
    assert not names[0] & names[1] and names[0] | names[1] == set(train.names)
    assert validation.utterances().sum() == 2 * 36
