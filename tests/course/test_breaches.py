"""Mutants that break a rule, and the hollow answers: what is made, and what is left out because no test could tell."""

import ast

import pytest
import torch

from course.proving.hollow import hollows
from course.proving.mutate import mutants
from course.units.catalogue import exercises

HEAD = """import torch
import torch.nn as nn
from jaxtyping import Float, Int
from torch import Tensor


"""
RULES = ("seed", "argument changed", "changed, then refused", "mode", "squeeze", "view")


def made(text, stub="f"):
    found = {(m.operator, m.after): m.source for m in mutants(HEAD + text, stub)}
    return {key for key in found if key[0] in RULES or (key[0] == "dtype" and key[1].endswith("()"))}


def test_each_rule_is_broken_once():
    body = "def f(model, x: Float[Tensor, 'B D'], n: int) -> Float[Tensor, ' B']:\n    return model(x.flatten()).sum(n)\n"
    assert made(body) == {
        ("seed", "torch.manual_seed(0)"),
        ("argument changed", "_result = model(x.flatten()).sum(n); x.zero_(); return _result"),
        ("mode", "_result = model(x.flatten()).sum(n); model.train(not model.training); return _result"),
        ("dtype", "x = x.float()"),
        ("dtype", "x = x.double()"),
        ("squeeze", "model(x.flatten()).sum(n).squeeze()"),
        ("view", "x.view(-1)"),
    }


def test_view_keeps_the_axes_that_flatten_keeps():
    body = "def f(x: Float[Tensor, 'A B C D']) -> Float[Tensor, 'A BC D']:\n    return x.flatten(1, 2)\n"
    (text,) = [after for operator, after in made(body) if operator == "view"]
    x = torch.zeros(2, 3, 4, 5)
    assert eval(text).shape == x.flatten(1, 2).shape


def test_what_no_test_could_tell_is_left_out():
    number = "def f(x: Float[Tensor, 'B D'], i: Int[Tensor, ' B']) -> Float[Tensor, '']:\n    x = x + 1\n    return x.flatten(1).sum()\n"
    assert not {operator for operator, _ in made(number)} & {"squeeze", "view", "mode"}
    spoiled = [after for operator, after in made(number) if operator == "argument changed"]
    assert len(spoiled) == 1 and "i.zero_()" in spoiled[0], "x stands for something else by then"
    assert not any(o == "squeeze" for o, _ in made("def f(n: int) -> Float[Tensor, ' n']:\n    return torch.ones(n)\n"))
    assert not any(
        o == "dtype" for o, _ in made("def f(x: Float[Tensor, 'B D']) -> Int[Tensor, ' B']:\n    return x.argmax(1)\n")
    )


def test_what_is_refused_is_changed_before():
    body = "def f(x: Float[Tensor, 'B D']) -> int:\n    if x.ndim != 2:\n        raise ValueError('axes')\n    return len(x)\n"
    (text,) = [after for operator, after in made(body) if operator == "changed, then refused"]
    assert text == "x.copy_(x == 0)", "before the `raise`"
    x = torch.tensor([0.0, 2.0, -1.0, float("nan"), float("inf")])
    assert not bool((x.clone().copy_(x == 0) == x).any()), "no value stays what it was"
    rebound = "def f(x: Float[Tensor, 'B D']) -> int:\n    x = x + 1\n    if x.ndim != 2:\n        raise ValueError('axes')\n    return len(x)\n"
    assert "changed, then refused" not in {operator for operator, _ in made(rebound)}


def test_a_method_leaves_its_own_module_in_another_mode():
    body = "class Net(nn.Module):\n    def forward(self, x):\n        self.last = x\n"
    assert ("mode", "self.train(not self.training)") in made(body, "Net.forward")


@pytest.mark.parametrize("unit", exercises(), ids=lambda unit: unit.id)
def test_every_hollow_answer_can_be_loaded(unit):
    made = list(hollows(unit.module.read_text(encoding="utf-8"), unit.stubs))
    assert {stub for stub, _, _ in made} == set(unit.stubs)
    ast.parse(made[-1][2])


def test_hollow_answer_empties_what_is_given_and_not_what_is_asked():
    source = HEAD + (
        "class Given(nn.Module):\n    def forward(self, x):\n        return (x + 1, [x])\n\n"
        "class Asked(nn.Module):\n    def forward(self, x):\n        return x\n\n"
        "def f(x):\n    x += 1\n    return {'loss': x, 'n': 3}\n"
    )
    found = {(stub, name): text for stub, name, text in hollows(source, ("Asked.forward", "f"))}
    assert len(found) == 8
    names: dict = {}
    exec(found["f", "hollow, zeros, no state_dict"], names)
    torch = names["torch"]
    x = torch.ones(2)
    made = names["f"](x)
    assert torch.equal(made["loss"], torch.zeros(2)) and made["n"] == 0
    assert torch.equal(x, torch.ones(2)), "it does nothing to what it is given"
    first, (second,) = names["Given"]()(x)
    assert not first.any() and not second.any()
    assert torch.equal(names["Asked"]()(x), x)
    assert names["Given"]().state_dict() == {}
    exec(found["Asked.forward", "hollow, first"], names)
    assert names["Asked"]()(x) is x
