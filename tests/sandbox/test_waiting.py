"""Calls whose value nobody needs yet: one message with the next question, the same errors with the same names, and none forgotten."""

import pytest
import torch

from course.checking.impl import Impl
from course.checking.runner import Case, run_case
from course.sandbox.client import Clock, Died, Session, Timeout
from course.sandbox.terms import Limits
from course.testing import CheckFailure, raises
from course.wire import ImplementationError, Target

SOURCE = """
import os, time, torch
class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        if width < 0:
            raise ValueError(f"width is {width}")
        if width == 99:
            while True: pass
        self.layer = torch.nn.Linear(width, 1, bias=False)
    def forward(self, x):
        return self.layer(x)
    def widen(self, by):
        raise ValueError("no")
def one(): return 1
def number(): return torch.rand(()).item()
def nap(seconds): time.sleep(seconds)
def leave(): os._exit(3)
def Made(): return torch.zeros(3)
"""


class Reference:
    """Stands for a unit's module, of which only classes are asked for here."""

    class Net(torch.nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer = torch.nn.Linear(width, 1, bias=False)

        def forward(self, x):
            return self.layer(x)

    class Made:
        pass


@pytest.fixture
def session(zygote):
    with zygote.open(SOURCE, limits=Limits(call_seconds=2)) as opened:
        yield opened


@pytest.fixture
def sent(monkeypatch):
    """How many questions have been asked."""
    asked = []
    ask = Session._ask
    monkeypatch.setattr(Session, "_ask", lambda self, op, *rest, **body: (asked.append(op), ask(self, op, *rest, **body))[1])
    return asked


def test_a_model_is_made_loaded_and_asked_in_one_message(session, sent):
    weight = torch.tensor([[1.0, 2.0, 3.0]])
    net = Impl(session, Reference).Net(3)
    net.load_state_dict({"layer.weight": weight})
    net.eval()
    weight.zero_()  # what was handed over is what counts
    assert net(torch.ones(1, 3)).item() == 6
    assert sent == ["call"], f"asked {sent}"
    assert Impl(session, Reference).one() == 1, "the objects of this side and of the child have the same numbers"


def test_the_seed_comes_before_what_waits(session):
    found = []
    for _ in range(2):
        session.seed(5)
        net = Impl(session, Reference).Net(2)
        found.append((net.state_dict()["layer.weight"], session.call(Target("number"), [], {})))
    assert torch.equal(found[0][0], found[1][0]) and found[0][1] == found[1][1]


def test_an_error_comes_with_the_next_question_and_has_its_own_name(session, sent):
    impl = Impl(session, Reference)
    net = impl.Net(-1)
    impl.Net(2)
    with pytest.raises(ImplementationError) as caught:
        net(torch.ones(1))
    assert (caught.value.what, caught.value.kind, caught.value.late) == ("Net", "ValueError", True), caught.value
    assert caught.value.said == "; it said: “width is #”"
    assert impl.one() == 1, "an error of earlier comes up twice"


@pytest.mark.parametrize(
    "make", [lambda impl: impl.Net(-1), lambda impl: impl.Net(2).load_state_dict({}), lambda impl: impl.Made()]
)
def test_what_nobody_uses_is_made_all_the_same(session, make):
    """A test that only constructs has passed when the object was made, not before."""
    case = Case("case", "title", ("Net",), lambda impl: make(impl) and None, {})
    verdict = run_case(case, Impl(session, Reference), 0)
    assert verdict.status == "failed", verdict
    assert (
        run_case(Case("case", "title", ("Net",), lambda impl: impl.Net(2) and None, {}), Impl(session, Reference), 0).status
        == "passed"
    )


def test_bad_input_is_refused_where_it_is_given(session):
    impl = Impl(session, Reference)
    with raises(ValueError):
        impl.Net(-1)
    with pytest.raises(CheckFailure, match="bad input was accepted"), raises(ValueError):
        impl.Net(1)
    assert impl.one() == 1


def test_an_earlier_error_is_not_taken_for_the_refusal_of_bad_input(session):
    impl = Impl(session, Reference)
    net = impl.Net(-1)  # a mistake of the answer
    with pytest.raises(ImplementationError) as caught, raises(ValueError):
        net.widen(1)  # which would have been right to refuse
    assert caught.value.what == "Net" and caught.value.late, caught.value
    other = impl.Net(-1)
    with pytest.raises(ImplementationError) as caught, raises(ValueError):
        impl.Net(-2)
    assert caught.value.late and other is not None, "the earlier call passed for the later one"


def test_a_new_round_forgets_what_waited(session):
    impl = Impl(session, Reference)
    impl.Net(-1)
    impl.seed(1)
    assert impl.one() == 1


def test_who_hangs_in_what_waited_is_among_those_named(session):
    impl = Impl(session, Reference)
    net = impl.Net(99)
    with pytest.raises(Timeout, match=r"^timed out after 2 s in Net.forward \(or in Net before it\)$"):
        net(torch.ones(1))


def test_much_that_waits_is_sent(session, sent):
    net = Impl(session, Reference).Net(1 << 20)
    for _ in range(3):
        net.load_state_dict({"layer.weight": torch.zeros(1, 1 << 20)})
    assert sent and set(sent) == {"settle"}, "messages wait without a limit"


def test_the_clock_of_a_submission_runs_on_in_its_next_child(zygote):
    clock = Clock(1.0)
    with zygote.open(SOURCE, clock=clock) as first:
        first.call(Target("nap"), [0.4], {})
        with pytest.raises(Died, match="exit code 3"):
            first.call(Target("leave"), [], {})
    before = clock.left
    assert 0 < before < 0.6, "the time of a child that has ended is forgotten"
    with zygote.open(SOURCE, clock=clock) as second, pytest.raises(Timeout, match="1 s in all"):
        second.call(Target("nap"), [5.0], {})
    assert clock.left <= 0
