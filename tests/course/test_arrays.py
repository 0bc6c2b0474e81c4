"""Units of NumPy alone: arrays are handed in, watched, cast and compared as tensors are, and mutants and hollow answers are NumPy's."""

import ast
import random
import textwrap

import numpy as np
import pytest
import torch

from course.checking.impl import Impl, WrongType
from course.checking.load import module_from_source
from course.checking.rules import RuleBroken
from course.executor import Executor
from course.guard import as_tensor, has_arrays, tensors_in
from course.proving.gate import run_gate
from course.proving.hollow import hollows
from course.proving.mutate import mutants
from course.proving.ready import defines
from course.sandbox import codec
from course.testing import CheckFailure, assert_close, assert_equal, assert_finite
from course.wire import Target

REFERENCE = """
import numpy as np
from jaxtyping import Float, Int

def scaled(x: Float[np.ndarray, "B D"], by: Float[np.ndarray, " D"]) -> Float[np.ndarray, "B D"]:
    return x * by

def longest(x: Float[np.ndarray, "B D"]) -> Int[np.ndarray, " B"]:
    return np.abs(x).argmax(1)

def mean(x: Float[np.ndarray, "B D"]) -> float:
    return float(x.mean())

def total(x: Float[np.ndarray, "*batch D"]) -> Float[np.ndarray, "*batch"]:
    return x.sum(-1)

def refused(x: Float[np.ndarray, "B D"], most: float) -> float:
    if x.max() > most:
        raise ValueError("too large")
    return float(x.max())

class Box:
    def __init__(self, x: Float[np.ndarray, " D"]) -> None:
        self.x = x

    def plus(self, y: Float[np.ndarray, " D"]) -> Float[np.ndarray, " D"]:
        return self.x + y
"""
RIGHT = {
    "scaled": [
        "def scaled(x, by):\n    return np.einsum('bd,d->bd', x, by)",
        "def scaled(x, by):\n    y = x.copy()\n    y *= by\n    return y",
        "def scaled(x, by):\n    return (x.T * by[:, None]).T",
        "def scaled(x, by):\n    return np.stack([row * by for row in x])[::-1][::-1]",
    ],
    "longest": ["def longest(x):\n    return np.array([max(range(len(r)), key=lambda i: abs(r[i])) for r in x])"],
    "mean": ["def mean(x):\n    return x.mean()", "def mean(x):\n    return np.array(x.sum() / x.size)"],
}
WRONG = {
    ("scaled", "argument `x` in place"): "def scaled(x, by):\n    y = x * by\n    x[...] = 0\n    return y",
    ("scaled", "argument `by` in place"): "def scaled(x, by):\n    y = x * by\n    by += 1\n    return y",
    ("scaled", "float tensors are float32"): "def scaled(x, by):\n    return (x * by).astype(np.float64)",
    (
        "scaled",
        "where its float tensors are float32",
    ): "def scaled(x, by):\n    out = np.zeros(x.shape)\n    out[...] = x * by\n    return out",
    ("scaled", "NumPy's global generator"): "def scaled(x, by):\n    np.random.seed(0)\n    return x * by",
    ("scaled", "another result when it is called again"): (
        "kept = {}\ndef scaled(x, by):\n    kept.setdefault(x.shape, x * by)\n    return kept[x.shape]"
    ),
}
DRAWN = np.random.default_rng(3)


def answered(stub, body):
    """`impl` over the reference with one function written anew."""
    reference = module_from_source(REFERENCE, "reference")
    names = dict(vars(module_from_source(REFERENCE, "answer")))
    exec(f"{body}\n", names)
    made = Impl(Executor(names), reference)
    made.seed(5, thorough=True, stubs=[stub])
    return made


def asked(impl, stub):
    x = DRAWN.normal(size=(4, 3))
    result = impl.scaled(x, x[0]) if stub == "scaled" else getattr(impl, stub)(x)
    impl.conclude()
    return x, result


@pytest.mark.parametrize(("stub", "body"), [(stub, body) for stub, bodies in RIGHT.items() for body in bodies])
def test_right_answers_keep_the_rules(stub, body):
    x, result = asked(answered(stub, body), stub)
    if stub == "mean":
        assert type(result) is float, "a NumPy scalar is taken as the number that it is"
        assert result == pytest.approx(x.mean())
    else:
        assert isinstance(result, np.ndarray)
        (assert_close if stub == "scaled" else assert_equal)(result, x * x[0] if stub == "scaled" else np.abs(x).argmax(1))


@pytest.mark.parametrize(("stub", "said", "body"), [(stub, said, body) for (stub, said), body in WRONG.items()])
def test_a_rule_that_is_broken_is_named(stub, said, body):
    with pytest.raises(RuleBroken, match=said):
        asked(answered(stub, body), stub)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def scaled(x, by):\n    return (x * by)[:, 0]", r"expected a float NumPy array of shape \(4, 3\)"),
        ("def scaled(x, by):\n    return (x * by).tolist()", "a list of 4"),
        ("def scaled(x, by):\n    return (x * by).astype(int)", "array int64"),
        ("import torch\ndef scaled(x, by):\n    return torch.from_numpy(x * by)", "float64"),
    ],
)
def test_what_the_signature_does_not_promise_is_refused(body, said):
    with pytest.raises(WrongType, match=said):
        asked(answered("scaled", body), "scaled")


@pytest.mark.parametrize("axes", [(3,), (2, 3), (1, 3), (2, 1, 3)])
@pytest.mark.parametrize("body", ["x.sum(-1)", "np.asarray(x.sum(-1))", "np.einsum('...d->...', x)"])
def test_a_number_of_numpy_is_an_array_without_axes_where_one_is_promised(axes, body):
    x = DRAWN.normal(size=axes)
    impl = answered("total", f"def total(x):\n    return {body}")
    got = impl.total(x)
    impl.conclude()
    assert isinstance(got, np.ndarray) and got.shape == axes[:-1]
    assert_close(got, np.asarray(x.sum(-1)))


@pytest.mark.parametrize("body", ["int(x.sum())", "bool(x.sum())", "str(x.sum())", "[x.sum()]", "x.sum(-1, keepdims=True)"])
def test_what_is_no_array_without_axes_is_refused(body):
    with pytest.raises(WrongType, match=r"NumPy array of shape"):
        answered("total", f"def total(x):\n    return {body}").total(DRAWN.normal(size=3))


def test_every_round_begins_with_the_same_global_generators():
    executor = Executor({"drawn": lambda: [float(np.random.random()), float(torch.rand(())), random.random()]})
    found = []
    for seed in (7, 7, -1, 2**40):
        executor.seed(seed)
        found.append(executor.call(Target("drawn"), [], {}))
        found[-1] = getattr(found[-1], "value", found[-1])
    assert found[0] == found[1]
    assert all(len({row[i] for row in found[1:]}) == 3 for i in range(3))


def test_arrays_are_handed_in_as_strided_views_in_a_thorough_round_only():
    executor = Executor({"strides": lambda x: [*x.strides, x.flags.c_contiguous]})
    x = DRAWN.normal(size=(4, 3))
    executor.seed(0, thorough=True)
    assert {tuple(executor.call(Target("strides"), [x], {})) for _ in range(4)}.isdisjoint({(24, 8, True)})
    executor.seed(0)
    assert executor.call(Target("strides"), [x], {}) == [24, 8, True]


def test_an_object_keeps_its_own_copy_of_an_array():
    impl = Impl(Executor(vars(module_from_source(REFERENCE, "reference"))), module_from_source(REFERENCE, "reference"))
    x = np.ones(3)
    box = impl.Box(x)
    x[...] = 5
    assert_close(box.plus(np.ones(3)), np.full(3, 2.0))


@pytest.mark.parametrize(
    "array",
    [DRAWN.normal(size=(3, 2)), DRAWN.normal(size=4)[::-1], np.broadcast_to(np.ones(1), (3,)), np.arange(6, dtype=">i4"), np.array(2.5)],
    ids=["plain", "backwards", "read-only", "foreign bytes", "number"],
)  # fmt: skip
def test_as_tensor_holds_what_the_array_holds(array):
    assert torch.equal(as_tensor(array), torch.tensor(array.tolist(), dtype=as_tensor(array).dtype))
    assert tuple(as_tensor(array).shape) == array.shape


def test_arrays_are_found_wherever_they_are():
    x = np.zeros(2)
    assert has_arrays([1, {"a": (x,)}]) and not has_arrays([1, {"a": (torch.zeros(2), "x")}])
    (found,) = tensors_in({"a": [x, np.array(["text"])]})
    found += 1
    assert x.tolist() == [1, 1], "it is the same memory"


def test_arrays_cross_the_wire_whatever_their_layout():
    for array in (DRAWN.normal(size=(3, 2)).T, DRAWN.normal(size=(5,))[::-2], np.zeros((0, 3), np.float32), np.array(True)):
        again = codec.decode(codec.encode([array]))[0]
        assert again.dtype == array.dtype and again.tolist() == array.tolist() and again.shape == array.shape


@pytest.mark.parametrize(
    ("came", "expected", "said"),
    [
        (np.ones(3), np.ones((3, 1)), "has shape"),
        (np.ones(3, np.float32), np.ones(3), "expected array float64"),
        (torch.ones(3), np.ones(3), "expected array float64"),
        ([1.0, 1.0, 1.0], np.ones(3), "a list of 3"),
        (np.array(["a"]), np.ones(1), "expected array float64"),
        (np.array([1, np.nan, 1]), np.ones(3), "NaN or infinity at index"),
        (np.array([1, 1 + 1e-7, 1]), np.ones(3), "differs only in precision"),
        (np.array([1, 1.1, 1]), np.ones(3), "differs at index"),
    ],
)
def test_assert_close_says_what_is_wrong_with_an_array(came, expected, said):
    with pytest.raises(CheckFailure, match=said):
        assert_close(came, expected)


def test_assertions_take_arrays():
    assert_close(np.array([1 + 1e-12, 2]), np.array([1.0, 2]))
    assert_close(np.ones(2, np.float32)[::-1], np.ones(2, np.float32))
    assert_equal(np.array([1, 2]), np.array([1, 2]))
    for wrong in (np.array([1, 3]), np.array([1.0, 2]), [1, 2], torch.tensor([1, 2])):
        with pytest.raises(CheckFailure):
            assert_equal(wrong, np.array([1, 2]))
    assert_finite(np.ones(2))
    for wrong in (np.array([1, np.inf]), "x", np.array(["x"])):
        with pytest.raises(CheckFailure):
            assert_finite(wrong)


HEAD = '''import numpy as np
from jaxtyping import Float


def f(x: Float[np.ndarray, "B D"], n: int) -> Float[np.ndarray, "B D"]:
    """Text."""
'''


def bodies(body):
    found = []
    for mutant in mutants(HEAD + textwrap.indent(body, "    "), "f"):
        ast.parse(mutant.source)
        found.append((mutant.operator, mutant.after))
        assert "torch" not in mutant.source.replace(HEAD, ""), f"{mutant.id}: torch is not there"
    return found


@pytest.mark.parametrize(
    ("body", "mutant"),
    [
        ("return x.sum(axis=1, keepdims=True) + x", ("dim", "x.sum(axis=0, keepdims=True)")),
        ("return x.sum(axis=1, keepdims=True) + x", ("keepdim", "x.sum(axis=1, keepdims=False)")),
        ("return x - x.mean(axis=0)", ("keepdim", "x.mean(axis=0, keepdims=True)")),
        ("return x / x.std(axis=0, ddof=1)", ("bias", "x.std(axis=0)")),
        ("return x / x.std(axis=0)", ("bias", "x.std(axis=0, ddof=1)")),
        ("return np.concatenate([x, x])", ("function", "np.stack")),
        ("return np.concatenate([x, x])", ("dim", "np.concatenate([x, x], axis=1)")),
        ("return np.zeros(x.shape, dtype=np.float64) + x", ("dtype", "np.float32")),
        ("return x * n", ("argument ignored", "x = np.zeros_like(x)")),
        ("return x * n", ("argument changed", "_result = x * n; x[...] = 0; return _result")),
        ("return x * n", ("seed", "np.random.seed(0)")),
        ("return x * n", ("dtype", "x = x.astype(np.float32)")),
    ],
)
def test_mutants_of_numpy_are_written_in_numpy(body, mutant):
    operator, after = mutant
    assert any(operator == made and after in text for made, text in bodies(body)), bodies(body)


def test_there_is_no_gradient_to_cut_off():
    operators = {operator for operator, _ in bodies("y = np.exp(x)\nreturn y / y.sum(axis=1, keepdims=True)")}
    assert not operators & {"detach", "no_grad", "in place", "view"}


def test_hollow_answers_return_empty_arrays():
    source = "import numpy as np\n\n\ndef f(x):\n    return {'y': x + 1, 'n': 3}\n"
    text = next(text for stub, name, text in hollows(source, ("f",)) if name == "hollow, zeros")
    x = np.ones(2)
    found = module_from_source(text, "hollow").f(x)
    assert found["n"] == 0 and found["y"].tolist() == [0, 0] and x.tolist() == [1, 1]


COMPUTED = """

from dataclasses import dataclass

from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate


@dataclass(frozen=True)
class Config:
    terms: int = 10


def evaluate(config=Config(), *, seed=0):
    return {"error": 1 / config.terms + seed / 100, "constant": 0.5}


GATES = (Gate("error", at_most=0.2, below="constant", baseline="constant"),)
ABLATIONS = {"one term": Ablation(Config(terms=1), "error", lower_by=0.5)}
LEAKS = {"the answer alone": Leak(lambda seed, device: 0.1, chance=0.1, at_most=0.15)}
"""


def test_what_trains_nothing_is_held_against_its_gate(unit):
    unit.module.write_text(unit.module.read_text(encoding="utf-8") + COMPUTED, encoding="utf-8")
    proof = run_gate(unit, 2, jobs=1)
    assert [(o.seed, o.value) for o in proof.outcomes] == [(s, pytest.approx(0.1 + s / 100)) for s in range(2)]
    assert [(c.whole, c.without) for c in proof.contrasts] == [
        (pytest.approx(0.1 + s / 100), pytest.approx(1 + s / 100)) for s in range(2)
    ]
    assert proof.holds and proof.weights == b"", "there is nothing to ship"
    assert defines(unit, "GATES") and not defines(unit, "train")
