"""Rules that hold for every answer: each broken once by a wrong answer that a test of values alone would accept, and kept by right ones."""

import numpy as np
import pytest
import torch

from course.checking.impl import Impl
from course.checking.load import module_from_source
from course.checking.rules import RuleBroken
from course.checking.runner import ROUNDS, Case, Suite, run, run_case, singles
from course.executor import Executor
from course.guard import Guard, same, strided
from course.testing import CheckFailure, Draw, assert_close, raises, unchanged, weight_gradients
from course.wire import ImplementationError

REFERENCE = """
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

class Net(nn.Module):
    def __init__(self, width: int = 3):
        super().__init__()
        self.layer = nn.Linear(width, 2)
        self.norm = nn.BatchNorm1d(2)
    def forward(self, x: Float[Tensor, "B D"]) -> Float[Tensor, "B 2"]:
        return self.norm(self.layer(x))

def shifted(x: Float[Tensor, "B D"], by: Float[Tensor, " D"]) -> Float[Tensor, "B D"]:
    return x + by

def total(x: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    return x.reshape(-1).sum()

def rows(x: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    return x.sum(dim=1)

def counts(words: list[str], table: dict[str, int]) -> list[int]:
    return [table.get(word, 0) for word in words]

def score(net: Net, x: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    return net(x).mean()

def noisy(x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    return x + 0 * torch.randn_like(x)

def ema(averaged: nn.Module, model: nn.Module) -> None:
    with torch.no_grad():
        for old, new in zip(averaged.parameters(), model.parameters()):
            old.lerp_(new, 0.5)

def in_double(x: Float[Tensor, "B D"]) -> Float[Tensor, ""]:
    return x.double().sum()

def mean(x: Float[Tensor, "B D"]) -> float:
    return float(x.mean())

def size(x: Float[Tensor, "B D"]) -> int:
    return x.numel()

def logs(x: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    if (x <= 0).any():
        raise ValueError("not positive")
    return x.log()

def report(x: Float[Tensor, "B D"]) -> dict[str, float]:
    return {"mean": float(x.mean())}
"""


def answered(stub, body, **extra):
    """`impl` over the reference with one function written anew."""
    reference = module_from_source(REFERENCE, "reference")
    names = dict(vars(module_from_source(REFERENCE, "answer")))
    exec(f"{body}\n", names)
    made = Impl(Executor(names, **extra), reference)
    made.seed(5, thorough=True, stubs=[stub])
    return made


def asked(impl, stub):
    """One call of a stub with inputs that suit it, in a round that passes."""
    result = called(impl, stub)
    impl.conclude()
    return result


def called(impl, stub):
    x = Draw(3).normal(4, 3)
    if stub in ("score", "ema"):
        net, other = impl.Net(), impl.Net()
        for module in (net, other):
            module.double()
        return impl.score(net, x) if stub == "score" else impl.ema(net, other)
    if stub == "counts":
        return impl.counts(["a", "b"], {"a": 3})
    return getattr(impl, stub)(x, x[0]) if stub == "shifted" else getattr(impl, stub)(x)


RIGHT = {
    "shifted": ["def shifted(x, by):\n    return torch.stack([row + by for row in x])"],
    "total": ["def total(x):\n    return x.flatten().sum()", "def total(x):\n    return sum(x[i].sum() for i in range(len(x)))"],
    "rows": ["def rows(x):\n    return torch.tensor(x.tolist(), dtype=x.dtype).sum(1)", "def rows(x):\n    return torch.from_numpy(x.numpy().sum(1))"],
    "counts": ["def counts(words, table):\n    table = dict(table)\n    return [table.pop(word, 0) for word in words]"],
    "score": [
        "def score(net, x):\n    training = net.training\n    net.train()\n    y = net(x).mean()\n    net.train(training)\n    return y",
        "def score(net, x):\n    for p in net.parameters():\n        p.requires_grad_(True)\n    return net(x).sum() / net(x).numel()",
    ],
    "noisy": ["def noisy(x):\n    with torch.random.fork_rng():\n        torch.manual_seed(0)\n        return x + 0 * torch.rand_like(x)"],
    "ema": ["def ema(averaged, model):\n    for old, new in zip(averaged.parameters(), model.parameters()):\n        old.data = 0.5 * (old + new).detach()"],
    "in_double": ["def in_double(x):\n    return x.sum(dtype=torch.float64)"],
}  # fmt: skip

WRONG = {
    ("shifted", "argument `x` in place"): "def shifted(x, by):\n    y = x + by\n    x.zero_()\n    return y",
    ("shifted", "argument `by` in place"): "def shifted(x, by):\n    y = x + by\n    by.data[0] = 7\n    return y",
    ("counts", "argument `table` in place"): "def counts(words, table):\n    return [table.setdefault(word, 0) for word in words]",
    ("counts", "argument `words` in place"): "def counts(words, table):\n    return [table.get(words.pop(0), 0) for _ in range(2)]",
    ("score", "leaves a module in another mode than it found it in (`net`)"): "def score(net, x):\n    y = net(x).mean()\n    net.eval()\n    return y",
    ("score", "parameters of `net` changed"): "def score(net, x):\n    net.requires_grad_(False)\n    return net(x).mean()",
    ("score", "the weights of `net`"): "def score(net, x):\n    y = net(x).mean()\n    net.layer.weight.data.mul_(2)\n    return y",
    ("ema", "the weights of `model`"): "def ema(averaged, model):\n    with torch.no_grad():\n        for old, new in zip(averaged.parameters(), model.parameters()):\n            old.lerp_(new, 0.5)\n            new.copy_(old)",
    ("shifted", "seeds torch's global generator"): "def shifted(x, by):\n    torch.manual_seed(0)\n    return x + by",
    ("rows", "seeds NumPy's global generator"): "def rows(x):\n    import numpy as np\n    np.random.seed(0)\n    return x.sum(1)",
    ("rows", "seeds Python's global generator"): "def rows(x):\n    import random\n    random.seed(0)\n    return x.sum(1)",
    ("rows", "torch's gradients changed"): "def rows(x):\n    torch.set_grad_enabled(False)\n    return x.sum(1)",
    ("rows", "torch's default dtype changed"): "def rows(x):\n    torch.set_default_dtype(torch.float64)\n    return x.sum(1)",
    ("rows", "makes a tensor on the CPU"): "def rows(x):\n    return x @ torch.ones(x.shape[1], dtype=x.dtype)",
    ("rows", "a tensor on the CPU"): "def rows(x):\n    return torch.zeros(len(x), dtype=x.dtype) if x.is_meta else x.sum(1)",
    ("rows", "argument `x` in place: work on a copy where no gradients are recorded"): "def rows(x):\n    y = x.sum(1)\n    if not torch.is_grad_enabled():\n        x.zero_()\n    return y",
    ("rows", "fails where no gradients are recorded"): "def rows(x):\n    return torch.autograd.grad((x * x.new_zeros(len(x), 1).requires_grad_()).sum(), x.new_zeros(1).requires_grad_(), allow_unused=True)[0] if not torch.is_grad_enabled() else x.sum(1)",
    ("rows", "another result when it is called again"): "KEPT = {}\ndef rows(x):\n    return KEPT.setdefault(str(x.tolist()) + str(x.dtype) + str(x.device), x.sum(1))",
    ("rows", "fails where its float tensors are float32"): "def rows(x):\n    return x @ torch.ones(x.shape[1], dtype=torch.float64, device=x.device)",
    ("rows", "returns float64 where its float tensors are float32"): "def rows(x):\n    return x.double().sum(1)",
    ("rows", "returns float32 where its float tensors are bfloat16"): "def rows(x):\n    return x.sum(1) if x.dtype is not torch.bfloat16 else x.float().sum(1)",
    ("rows", "another result where its float tensors are float32"): "def rows(x):\n    return x.sum(1) + (x.dtype is torch.float32)",
}  # fmt: skip


@pytest.mark.parametrize(("stub", "said"), WRONG, ids=lambda part: part)
def test_broken_rule_is_named_with_its_argument(stub, said):
    impl = answered(stub, WRONG[stub, said])
    with pytest.raises(RuleBroken) as caught:
        asked(impl, stub)
    assert said in caught.value.public
    assert caught.value.public.startswith(stub)
    assert torch.is_grad_enabled(), "what an answer switches is put back, for whoever runs after it in this process"
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize(("stub", "body"), [(stub, body) for stub, bodies in RIGHT.items() for body in bodies])
def test_right_answer_breaks_no_rule(stub, body):
    asked(answered(stub, body), stub)


def test_only_contiguous_is_told_by_strided_inputs():
    impl = answered("total", "def total(x):\n    return x.view(-1).sum()")
    with pytest.raises(ImplementationError, match="view size is not compatible"):
        asked(impl, "total")
    impl.seed(5)
    asked(impl, "total")


def test_rule_that_the_reference_breaks_does_not_apply():
    asked(answered("in_double", "def in_double(x):\n    return x.double().sum()"), "in_double")
    asked(answered("score", "def score(net, x):\n    return net(x).mean()"), "score")  # moves the statistics of its batch norm
    asked(answered("ema", ""), "ema")


def test_statistics_may_not_move_in_another_module():
    wrong = "def ema(averaged, model):\n    for old, new in zip(averaged.parameters(), model.parameters()):\n        old.data.lerp_(new, 0.5)\n    model.norm.running_mean += 1"
    with pytest.raises(RuleBroken, match="the buffers of `model`"):
        asked(answered("ema", wrong), "ema")


def test_made_up_change_is_no_answer():
    from course.checking.rules import judge_changes
    from course.checking.twins import Twins
    from course.wire import Target

    reference = module_from_source(REFERENCE, "reference")
    twins = Twins(reference)
    x = torch.zeros(2, 3)
    for change in (("GRADER: enter 6 of 6", ""), ("0", "mu is 0.33"), 5, ["0"], ("99", "")):
        call = twins.note(Target("total"), [x], {}, torch.zeros(()))
        with pytest.raises(RuleBroken) as caught:
            judge_changes(reference.total, [change], call, twins)
        assert "mu" not in caught.value.public
        assert "6" not in caught.value.public


def test_numbers_of_numpy_and_of_torch_are_numbers():
    for value in ("np.float64(x.mean())", "np.float32(x.mean())", "x.mean()", "np.asarray(x.mean())", "int(x.mean())"):
        got = asked(answered("mean", f"import numpy as np\ndef mean(x):\n    return {value}"), "mean")
        assert type(got) in (float, int)
    for value in ("np.int64(x.numel())", "torch.tensor(x.numel())", "np.asarray(x.numel())"):
        assert asked(answered("size", f"import numpy as np\ndef size(x):\n    return {value}"), "size") == 12
    for value in ("True", "float(x.numel())", "torch.tensor(True)", "np.bool_(True)", "torch.tensor([12])", "'12'"):
        with pytest.raises(ImplementationError, match="expected a int"):
            asked(answered("size", f"import numpy as np\ndef size(x):\n    return {value}"), "size")
    got = asked(answered("report", "def report(x):\n    return {'mean': x.mean()}"), "report")
    assert type(got["mean"]) is float


CHANGED_THEN_REFUSED = "def logs(x):\n    x.clamp_(min=1)\n    raise ValueError('not positive')"


def test_what_is_refused_is_left_alone():
    x = Draw(3).normal(4, 3)
    with pytest.raises(RuleBroken, match="logs changes its argument `x` in place"), raises():
        answered("logs", CHANGED_THEN_REFUSED).logs(x)
    for body in (
        "def logs(x):\n    x = x.clone()\n    x.clamp_(min=1)\n    raise ValueError('no')",
        "def logs(x):\n    raise ValueError('no')",
    ):
        with raises():
            answered("logs", body).logs(x)


@pytest.mark.parametrize(
    "change",
    [
        "words.sort()",
        "words[0] = ''",
        "words[:] = [word.lower() for word in words]",
        "table.update({'A': 7})",
        "table['A'] = float(table['A'])",
    ],
)
def test_lists_of_plain_values_are_left_alone(change):
    """At equal length too, where only a value tells."""
    right = "return [table.get(word, 0) for word in words]"
    words, table = ["b", "A"], {"A": 1}
    assert answered("counts", f"def counts(words, table):\n    {right}").counts(words, table) == [0, 1]
    wrong = f"def counts(words, table):\n    was = [table.get(word, 0) for word in words]\n    {change}\n    return was"
    with pytest.raises(RuleBroken, match=r"counts changes its argument `(words|table)` in place"):
        answered("counts", wrong).counts(words, table)


def test_numbers_are_the_same_by_value_and_type():
    nan = float("nan")
    assert same([nan, 1, "a", None, b"x", True], [nan, 1, "a", None, b"x", True])
    assert same(np.float64(2.0), np.float64(2.0))
    for came, copy in [([1], [2]), ([1], [1.0]), ([True], [1]), ([nan], [1.0]), (["a"], ["b"]), ([b"a"], ["a"]), ([0.5], [nan])]:
        assert not same(came, copy), f"{copy} is not {came}"


def test_an_error_derived_from_the_expected_one_is_a_refusal():
    for error in ("np.linalg.LinAlgError('singular')", "type('Mine', (ValueError,), {})('no')"):
        with raises(ValueError):
            answered("logs", f"import numpy as np\ndef logs(x):\n    raise {error}").logs(Draw(3).normal(4, 3))
    with pytest.raises(ImplementationError, match="expected a LookupError"), raises(LookupError):
        answered("logs", "def logs(x):\n    raise ValueError('no')").logs(Draw(3).normal(4, 3))
    with pytest.raises(ImplementationError, match="logs"), raises(RuntimeError):  # though Python derives the one from the other
        answered("logs", "def logs(x):\n    raise NotImplementedError('logs: yours to write')").logs(Draw(3).normal(4, 3))


def test_an_unexpected_error_is_told_as_it_is():
    """Whoever crashes half-way is told of the crash, not of what was changed before it."""
    with pytest.raises(ImplementationError, match="ValueError: not positive"):
        answered("logs", CHANGED_THEN_REFUSED).logs(Draw(3).normal(4, 3))
    with pytest.raises(ImplementationError, match="expected a ValueError"), raises():
        answered("logs", CHANGED_THEN_REFUSED.replace("ValueError", "KeyError")).logs(Draw(3).normal(4, 3))


def test_what_a_dict_holds_is_said():
    with pytest.raises(
        ImplementationError,
        match=r"returned a dict of 2 \('mean': .*, …: a value of type str\), expected a dict, each item a float",
    ):
        asked(answered("report", "def report(x):\n    return {'mean': x, 'mu is 0.33': ''}"), "report")


# --- the trusted side's own modules


HOLLOW = """
class Net(Net):
    def forward(self, x):
        return 0 * super().forward(x)
"""


def test_truth_comes_from_the_trusted_side():
    impl = answered("score", HOLLOW)
    net = impl.Net()
    net.double()
    state = Draw(1).like(net.state_dict())
    net.load_state_dict(state)
    net.eval()
    state["layer.weight"].zero_()  # a test may go on to change what it has loaded
    x = Draw(2).normal(4, 3)
    truth = net.reference
    assert not truth.training
    with torch.no_grad():
        assert truth(x).abs().sum() > 0, "the truth is not what the answer says of its module"
    assert net(x).abs().sum() == 0
    assert truth.layer.weight.abs().sum() > 0
    gradients = weight_gradients(truth, truth(x).sum())
    assert gradients.keys() == dict(truth.named_parameters()).keys()


def test_module_that_no_test_has_loaded_has_the_answers_weights():
    impl = answered("score", "")
    net = impl.Net(5)
    truth = net.reference
    assert all(torch.equal(value, truth.state_dict()[name]) for name, value in net.state_dict().items())


def test_weights_to_draw_by_are_the_trusted_sides_and_cost_no_question(monkeypatch):
    impl = answered("score", "class Net(Net):\n    def state_dict(self):\n        return {}")
    net = impl.Net(5)
    net.double()
    monkeypatch.setattr(impl._backend, "call", lambda *asked: pytest.fail(f"asked {asked[0]}"))
    fresh = net.fresh_state()
    assert {name: (tuple(value.shape), value.dtype) for name, value in fresh.items()} == {
        name: (tuple(value.shape), torch.float64 if value.is_floating_point() else value.dtype)
        for name, value in module_from_source(REFERENCE, "other").Net(5).state_dict().items()
    }
    fresh["layer.weight"].zero_()
    assert net.fresh_state()["layer.weight"].any(), "a copy: who draws may write to it"


def test_a_module_whose_weights_are_loaded_is_not_asked_for_them():
    impl = answered("score", "")
    net = impl.Net()
    net.load_state_dict(Draw(1).like(net.fresh_state()))
    asked = []
    call = impl._backend.call
    impl._backend.call = lambda target, *rest: asked.append(target.name) or call(target, *rest)
    assert torch.equal(net.reference.layer.weight, Draw(1).like(net.fresh_state())["layer.weight"]) and not asked


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("return {}", "Net has no parameter `layer.weight`, expected float32"),
        ("return {n: v.long() for n, v in super().state_dict().items()}", "`layer.weight` of Net is int64"),
        ("return {n: v[:0] for n, v in super().state_dict().items() if v.ndim}", r"`layer.weight` of Net is float32 \(0, 3\)"),
        ("return {**super().state_dict(), 'more': torch.zeros(1)}", "Net has 8 parameters and buffers, expected 7"),
        ("return 5", "state_dict"),
    ],
)
def test_weights_have_the_names_shapes_and_dtypes_of_the_reference(method, message):
    impl = answered(
        "score", f"class Net(Net):\n    def state_dict(self):\n        {method}\n".replace("super()", "super(Net, self)")
    )
    with pytest.raises(ImplementationError, match=message):
        impl.Net().state_dict()


def test_unchanged_compares_bit_for_bit():
    impl = answered("score", "def spoil(net):\n    net.layer.weight.data[0, 0] += 1e-3\n    raise ValueError('no')")
    net = impl.Net()
    with unchanged(net):
        asked(impl, "shifted")
    with pytest.raises(CheckFailure, match=r"layer\.weight was changed"), unchanged(net), pytest.raises(ImplementationError):
        impl.spoil(net)


# --- rounds


def test_each_round_has_its_axis_of_size_one():
    seen = []

    def case(impl, draw):
        seen.append([draw.size(), draw.size(2), *draw.sizes(2, 1, 5), draw.size(1, 1)])

    impl = answered("rows", "")
    verdict = run_case(Case("case", "case", ("rows",), case, {}), impl, seed=0)
    assert verdict.status == "passed"
    assert len(seen) == ROUNDS
    singled = [[i for i, n in enumerate(sizes[:4]) if n == 1] for sizes in seen]
    assert singled[0] == []
    assert singled[1] == [0], "the batch, which is most often drawn first, is 1 in every run"
    assert sorted(singled[2] + singled[3]) == [2, 3]
    assert [sizes[4] for sizes in seen] == [1] * ROUNDS, "what can only be 1 is no axis"


def test_axes_take_turns():
    assert {axis for turn in range(6) for axis in singles(6, turn)} == set(range(6))
    assert singles(1, 9) == [0, -1, -1]
    assert sorted(singles(2, 9)) == [-1, 0, 1]
    assert singles(0, 9) == [0, -1, -1]


def test_batch_of_one_is_asked_in_every_run(unit):
    """What is right but for a batch of one is rejected on each of many seeds."""

    def case(impl, draw):
        x = draw.normal(draw.size(), draw.size())
        assert_close(impl.rows(x), x.sum(1))

    impl = answered("rows", "def rows(x):\n    return x.sum(1).squeeze()")
    suite = Suite(unit, (Case("case", "case", ("rows",), case, {}),), {}, {})
    for seed in range(20):
        (verdict,) = run(suite, impl, seed=seed)
        assert verdict.status == "failed"
        assert "rows" in verdict.message


# --- the guard


def test_same_is_bit_for_bit_and_takes_nan_for_itself():
    x = torch.tensor([1.0, float("nan"), -0.0])
    assert same(x, x.clone())
    assert not same(x, torch.tensor([1.0, float("nan"), 1e-40]))
    assert same({"a": [x, np.ones(2)]}, {"a": [x.clone(), np.ones(2)]})
    assert not same({"a": 1}, {"a": 1, "b": 2}) and not same([1, 2], [1])


def test_guard_reports_each_change_once():
    x, net = torch.zeros(2), torch.nn.BatchNorm1d(2)
    guard = Guard([("x", x.clone(), x), ("net", net, net), ("again", net, net)])
    x += 1
    net.eval()
    net.running_mean += 1
    assert set(guard.changes()) == {("x", ""), ("net", "mode"), ("net", "buffers"), ("again", "mode"), ("again", "buffers")}


@pytest.mark.parametrize("turn", [0, 1])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (5,), (3, 4), (1, 4), (3, 1), (2, 3, 4), (0, 3)])
def test_strided_tensor_has_equal_values_in_another_layout(shape, turn):
    x = Draw(0).normal(*shape)
    view = strided(x, turn)
    assert torch.equal(view, x)
    assert view.data_ptr() != x.data_ptr() or not x.numel()
    if x.numel() > 1 and 1 not in shape:
        assert not view.is_contiguous()
    constant = torch.ones(3, 2)
    assert strided(constant, turn).stride()[0] == 0


@pytest.mark.parametrize("turn", [0, 1])
def test_strided_keeps_the_sign_of_zero(turn):
    x = torch.tensor([[0.0, 1.0], [-0.0, 1.0]])
    assert strided(x, turn).signbit().tolist() == x.signbit().tolist()


def test_same_compares_dtype_shape_and_value():
    nan = np.array([np.nan, 1.0])
    assert same(nan, nan.copy()) and same(torch.from_numpy(nan), torch.from_numpy(nan.copy()))
    assert same(np.zeros(2), -np.zeros(2)) and same(torch.zeros(2), -torch.zeros(2))
    assert not same(np.zeros(2), np.zeros(2, dtype=int)) and not same(torch.zeros(2), torch.zeros(2, dtype=int))
    assert not same(np.zeros(2), np.zeros((1, 2))) and not same(nan, np.array([np.nan, 2.0]))


def test_wrong_value_is_told_before_another_dtype_or_device(unit):
    def case(impl, draw):
        x = draw.normal(draw.batch(), draw.size())
        assert_close(impl.rows(x), x.sum(1))

    wrong = "def rows(x):\n    return 2 * x @ torch.ones(x.shape[1], dtype=x.dtype)"
    verdict = run_case(Case("case", "case", ("rows",), case, {}), answered("rows", wrong), seed=0)
    assert verdict.message.startswith("the result differs")
    impl = answered("rows", wrong.replace("2 * ", ""))
    for _ in range(2):
        verdict = run_case(Case("case", "case", ("rows",), case, {}), impl, seed=0)
        assert "makes a tensor on the CPU" in verdict.public, "the same questions again have the same verdict"
