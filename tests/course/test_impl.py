"""The protocol by which a test meets an implementation, and the assertions it is written with."""

import pytest
import torch
from torch import nn

from course.checking.impl import Impl
from course.checking.load import impl_from, module_from_source
from course.checking.promises import check_signature
from course.checking.runner import load_suite, run, run_case, stub_status
from course.executor import Executor
from course.testing import CheckFailure, Draw, assert_close, assert_equal, assert_finite, raises
from course.wire import ImplementationError

SOURCE = """
import torch
from dataclasses import dataclass
from jaxtyping import Float
from torch import Tensor, nn

@dataclass(frozen=True)
class Config:
    width: int = 3

class Net(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.layer = nn.Linear(config.width, 2)
        self.drop = nn.Dropout(0.5)
    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
        return self.layer(self.drop(x))

def square(x):
    return x * x

def apply(function, x):
    return function(x)

def spoil(x):
    x.add_(1)
    return x.sum()

def pair(x: Float[Tensor, "B D"]) -> tuple[Float[Tensor, " B"], Float[Tensor, "B D"]]:
    return x.sum(1), x

def nested(x):
    return 2 * x, (3 * x, [4 * x])

def unwritten(x):
    raise NotImplementedError("unwritten: yours to write")

def fails(x):
    raise ValueError("x must be positive\\nsecond line")

def cut(x):
    return x.detach().sum()

def step(net, optimizer, x):
    optimizer.zero_grad()
    net(x).sum().backward()
    optimizer.step()

def make_optimizer(net):
    return torch.optim.SGD(net.parameters(), lr=0.5)

class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if "eq" in getattr(func, "__name__", ""):
            return True
        return super().__torch_function__(func, types, args, kwargs or {})

def lie(x):
    return x.as_subclass(Liar)
"""


@pytest.fixture
def impl():
    module = module_from_source(SOURCE, "test")
    return Impl(Executor(vars(module)), module)


def test_functions_objects_methods_and_state(impl):
    net = impl.Net(impl.Config(width=4))
    net.eval()
    state = {"layer.weight": torch.randn(2, 4), "layer.bias": torch.randn(2)}
    net.load_state_dict(state)
    x = torch.randn(3, 4)
    assert_close(net(x), x @ state["layer.weight"].T + state["layer.bias"])
    assert net.state_dict().keys() == state.keys()
    net.train()
    assert (net(torch.ones(64, 4)) - net(torch.ones(64, 4))).abs().sum() > 0, "train() must switch dropout on"


def test_calls_of_a_module_are_counted_from_the_first_question_on(impl):
    net, other = impl.Net(impl.Config()), impl.Net(impl.Config())
    net(torch.ones(1, 3))
    assert net.forward_calls() == 0, "what was before the first question is not counted"
    impl.apply(net, torch.ones(1, 3))
    impl.vjp("apply", net, torch.ones(1, 3), wrt=1, cotangent=torch.ones(1, 2))
    other(torch.ones(1, 3))
    assert (net.forward_calls(), net.forward_calls()) == (2, 0)


def test_effects_on_held_objects_are_seen_through_their_state(impl):
    net = impl.Net(impl.Config())
    net.eval()
    optimizer = impl.make_optimizer(net)
    before = net.state_dict()
    impl.step(net, optimizer, torch.ones(1, 3))
    assert_close(net.state_dict()["layer.bias"], before["layer.bias"] - 0.5)


def test_gradients_by_argument_and_by_parameter(impl):
    x, g = torch.randn(5, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    assert_close(impl.vjp("square", x, wrt=0, cotangent=g), 2 * x * g)
    net = impl.Net(impl.Config())
    net.eval()
    batch = torch.randn(4, 3)
    by_name = net.vjp(batch, wrt="parameters", cotangent=torch.ones(4, 2))
    assert_close(by_name["layer.bias"], torch.full((2,), 4.0))
    assert_close(by_name["layer.weight"], batch.sum(0).expand(2, 3))
    some = impl.vjp("pair", torch.ones(2, 3), wrt=0, cotangent=[None, torch.full((2, 3), 7.0)])
    assert_close(some, torch.full((2, 3), 7.0))
    a, b = torch.randn(2, 3), torch.randn(2, 3)
    assert_close(impl.vjp("nested", a, wrt=0, cotangent=(a, (None, [b]))), 2 * a + 4 * b)


def test_function_passed_to_a_function(impl):
    assert_close(impl.apply(impl.given("square"), torch.tensor([3.0])), torch.tensor([9.0]))


def test_arguments_are_copies(impl):
    x = torch.zeros(3)
    impl.spoil(x)
    assert_equal(x, torch.zeros(3))


def test_subclass_of_tensor_is_taken_for_what_it_holds(impl):
    with pytest.raises(CheckFailure):
        assert_close(impl.lie(torch.zeros(3)), torch.ones(3))


def test_errors_name_what_and_where(impl):
    with pytest.raises(ImplementationError, match=r"fails raised ValueError: x must be positive$") as caught:
        impl.fails(torch.zeros(1))
    assert "raise ValueError" in caught.value.line
    with pytest.raises(ImplementationError, match="gone is not defined"):
        impl.gone(1)
    with pytest.raises(ImplementationError, match="no gradient flows through cut"):
        impl.vjp("cut", torch.zeros(2), wrt=0)
    with raises(ValueError):
        impl.fails(torch.zeros(1))
    with pytest.raises(CheckFailure, match="bad input was accepted"), raises(ValueError):
        impl.square(torch.zeros(1))


def test_signature_catches_what_would_broadcast(impl):
    def promise(x: "object", y: int = 0):
        return None

    module = module_from_source(SOURCE.replace("return x.sum(1), x", "return x.sum(0), x"), "test")
    wrong = Impl(Executor(vars(module)), module)
    with pytest.raises(ImplementationError, match=r"pair returned .*expected a tuple of 2: a float tensor of shape \(2,\)"):
        wrong.pair(torch.zeros(2, 3))
    assert check_signature(promise, (1,), {}, object()) == "", "without an annotation there is nothing to hold a value against"


@pytest.mark.parametrize(
    ("actual", "expected", "message"),
    [
        (torch.zeros(3, 1), torch.zeros(3), r"shape \(3, 1\), expected \(3,\)"),
        (torch.zeros(3), torch.zeros(3, dtype=torch.float64), "float32 .* expected float64"),
        (None, torch.zeros(3), "None"),
        (torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0]), r"index \(1,\) \(1 of 2 elements\); got 2, expected 1"),
        (torch.tensor([float("nan")]), torch.tensor([1.0]), "NaN or infinity"),
        (torch.tensor([1.0]), torch.tensor([float("-inf")]), "a finite number where none is expected"),
        (torch.tensor([float("inf")]), torch.tensor([float("-inf")]), "NaN or infinity|finite"),
        (torch.zeros(4), torch.full((4,), 1e-5), "differs"),
        (torch.ones(2, dtype=torch.float64) + 1e-7, torch.ones(2, dtype=torch.float64), "differs"),
    ],
)
def test_assert_close_rejects(actual, expected, message):
    with pytest.raises(CheckFailure, match=message):
        assert_close(actual, expected)


def test_difference_of_precision_names_digits_and_dtypes_and_no_formula():
    truth = torch.tensor([1.0, 2.0], dtype=torch.float64) / 3
    with pytest.raises(CheckFailure, match=r"differs only in precision .*from digit [78] on: float64 .*float32") as caught:
        assert_close(truth.float().double(), truth, hint="another formula")
    assert caught.value.hint == "", "a formula is not what is wrong"
    assert "0.33333334" in str(caught.value) and "0.3333" not in caught.value.public
    with pytest.raises(CheckFailure) as caught:
        assert_close(truth + 1e-5, truth, hint="another formula")
    assert "precision" not in str(caught.value), "a missing term of 1e-5 is no rounding"
    assert caught.value.hint == "another formula"


@pytest.mark.parametrize(
    ("actual", "about"),
    [
        (torch.zeros(3), "shape"),
        (torch.zeros(2), "dtype"),
        (torch.tensor([0.0, float("nan")], dtype=torch.float64), "NaN"),
        (None, "type"),
        (torch.ones(2, dtype=torch.float64), "values"),
    ],
)
def test_hint_belongs_to_the_property_that_failed(actual, about):
    expected = torch.zeros(2, dtype=torch.float64)
    for hint_for in ("values", f"values {about}", "type shape dtype NaN precision"):
        with pytest.raises(CheckFailure) as caught:
            assert_close(actual, expected, hint="likely", hint_for=hint_for)
        assert caught.value.hint == ("likely" if about in hint_for.split() else "")


def test_other_error_than_expected_is_named_beside_it(impl):
    with pytest.raises(ImplementationError) as caught, raises(KeyError, hint="look it up"):
        impl.fails(torch.zeros(1))
    assert str(caught.value) == "fails: expected a KeyError, it raised a ValueError: x must be positive"
    assert caught.value.public == "fails: expected a KeyError, it raised a ValueError", (
        "what the answer says stays with its author"
    )
    assert caught.value.kind == "ValueError"


def test_assert_close_accepts_another_order_of_summation():
    x = torch.randn(4096)
    assert_close(x.flip(0).sum(), x.double().sum().float(), tolerance=1e-3)
    assert_close(torch.tensor([float("-inf"), 1.0]), torch.tensor([float("-inf"), 1.0]))
    with pytest.raises(CheckFailure, match="NaN"):
        assert_finite(torch.tensor([float("nan")]))


def test_public_message_never_holds_a_value():
    with pytest.raises(CheckFailure) as caught:
        assert_close(torch.tensor([0.25]), torch.tensor([0.75]))
    assert "0.75" in str(caught.value)
    assert "0.75" not in caught.value.public
    assert "0.25" not in caught.value.public


def test_draw_repeats_and_reaches_one_and_primes():
    assert Draw(3).normal(4).equal(Draw(3).normal(4))
    draw = Draw(0)
    seen = {draw.size() for _ in range(300)}
    assert seen == set(range(1, 9))
    assert len(set(draw.sizes(3))) == 3


def test_statuses(unit):
    suite = load_suite(unit)

    def statuses(source: str) -> dict[str, str]:
        module = module_from_source(source, "toy")
        verdicts = run(suite, impl_from(module, unit), seed=1)
        return {stub: stub_status(verdicts, stub) for stub in unit.stubs}

    source = unit.module.read_text()
    assert statuses(source) == {"total": "passed", "Box.grow": "passed"}
    from course.units.source import module_with_holes

    assert statuses(module_with_holes(source, unit.stubs)) == {"total": "todo", "Box.grow": "todo"}
    assert statuses(source.replace("self.size + by", "self.size - by"))["Box.grow"] == "failed"
    assert statuses(source.replace("return self.size + by", "return total()"))["Box.grow"] == "failed"
    blocked = module_with_holes(source, ["total"]).replace("return self.size + by", "return int(total(torch.ones(1, 1)))")
    assert statuses(blocked) == {"total": "todo", "Box.grow": "blocked"}


def test_a_test_that_crashes_is_told_apart(unit):
    from course.checking.runner import Case

    def crashing(impl):
        raise KeyError("a defect of the test")

    verdict = run_case(Case("crashing", "crashing", ("total",), crashing, {}), impl_from({}, unit), seed=0)
    assert verdict.status == "broken"


def test_wrong_kind_of_refusal_comes_with_the_hint_of_its_test(unit):
    from course.checking.runner import Case

    def refusing(impl):
        with raises(ValueError, hint="check the input first"):
            impl.total(1)

    module = module_from_source("def total(x):\n    return x + ''\n", "toy")
    verdict = run_case(Case("refusing", "refusing", ("total",), refusing, {}), impl_from(module, unit), seed=0)
    assert (verdict.status, verdict.hint) == ("failed", "check the input first")
    assert "TypeError" in verdict.message
    assert verdict.line


def test_the_same_tests_run_on_another_device(impl):
    module = module_from_source("import torch\ndef f(x):\n    return x + torch.ones(3)\n", "test")
    on_meta = Executor(vars(module), "meta")
    from course.wire import Target

    with pytest.raises(ImplementationError, match="device"):
        on_meta.call(Target("f"), [torch.zeros(3)], {})
    assert isinstance(nn.Identity(), nn.Module)


def test_signature_binds_optional_arguments_and_sums_of_sizes():
    from jaxtyping import Float
    from torch import Tensor

    def grow(x: Float[Tensor, "B T"], extra: Float[Tensor, "B N"] | None = None) -> Float[Tensor, "B T+N"]:
        return x

    x, extra = torch.zeros(2, 3), torch.zeros(2, 4)
    assert check_signature(grow, (x, extra), {}, torch.zeros(2, 7)) == ""
    assert "shape (2, T+N)" in check_signature(grow, (x, extra), {}, torch.zeros(2, 6))
    assert check_signature(grow, (x,), {}, torch.zeros(2, 9)) == "", "N is not known where `extra` is not given"
    assert check_signature(grow, (x,), {}, torch.zeros(9)) != ""
