"""Each operator on a line or two; ids that outlive edits elsewhere; no mutant twice, none that is the original."""

import ast
import textwrap

import pytest

from course.errors import CourseError
from course.proving.mutate import mutants
from course.units.catalogue import exercises
from course.units.source import find_definition

HEAD = '''import math
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def f(x: Float[Tensor, "B D"], y: Float[Tensor, "B D"], keep: Bool[Tensor, "B D"], n: int, p: float = 0.5) -> Tensor:
    """Text that stays."""
'''


def made(body, head=HEAD, stub="f", **options):
    return mutants(head + textwrap.indent(textwrap.dedent(body), "    "), stub, **options)


def bodies(body, **options):
    """(operator, the mutated body on one line) of every mutant."""
    found = []
    for mutant in made(body, **options):
        function = find_definition(ast.parse(mutant.source).body, "f")
        found.append((mutant.operator, "; ".join(ast.unparse(s) for s in function.body[1:])))
    return found


@pytest.mark.parametrize(
    ("operator", "before", "after"),
    [
        # classic
        ("arithmetic", "return x + y", "return x - y"),
        ("arithmetic", "x += y", "x -= y"),
        ("operands", "return x - y", "return y - x"),
        ("operands", "return x @ y", "return y @ x"),
        ("comparison", "return n < 3", "return n <= 3"),
        ("comparison", "return n < 3", "return n >= 3"),
        ("comparison", "return 0 <= n <= 3", "return 0 <= n"),
        ("comparison", "return 0 <= n <= 3", "return n <= 3"),
        ("boolean", "return n or p", "return n and p"),
        ("boolean", "return n or p", "return p"),
        ("boolean", "return not n", "return n"),
        ("sign", "return math.exp(-n)", "return math.exp(n)"),
        ("sign", "return x * y", "return -(x * y)"),
        ("constant", "return x[3]", "return x[4]"),
        ("constant", "return x[3]", "return x[2]"),
        ("constant", "return x[3]", "return x[0]"),
        ("constant", "return 0.5 * x", "return 1.0 * x"),
        ("constant", "return g(mode='same')", "return g(mode='')"),
        ("constant", "return g(x, descending=True)", "return g(x, descending=False)"),
        ("condition", "if n > 1:\n    x = y\nreturn x", "if not n > 1:\n    x = y; return x"),
        ("condition", "return x if n else y", "return y"),
        ("condition", "return [i for i in x if i]", "return [i for i in x if True]"),
        ("branch", "if n > 1:\n    x = y\nreturn x", "if False:\n    x = y; return x"),
        ("return", "return x", "return None"),
        ("statement", "x = y\nreturn x", "pass; return x"),
        ("statement", "g.step()", "pass"),
        ("raise", "raise ValueError('no')", "pass"),
        ("raise", "raise ValueError('no')", "raise RuntimeError('no')"),
        ("loop", "for i in range(n):\n    g(i)", "for i in list(range(n))[1:]:\n    g(i)"),
        ("loop", "for i in range(n):\n    g(i)", "for i in list(range(n))[:-1]:\n    g(i)"),
        ("off by one", "for i in range(n):\n    g(i)", "for i in range(n - 1):\n    g(i)"),
        ("loop", "while n:\n    break", "while n:\n    continue"),
        # tensors
        ("dim", "return x.sum(dim=1)", "return x.sum(dim=0)"),
        ("dim", "return x.sum(dim=1)", "return x.sum()"),
        ("dim", "return x.sum(dim=(0, 1))", "return x.sum(dim=(1,))"),
        ("dim", "return torch.cat([x, y])", "return torch.cat([x, y], dim=1)"),
        ("keepdim", "return x.sum(dim=1, keepdim=True)", "return x.sum(dim=1, keepdim=False)"),
        ("keepdim", "return x.sum(dim=1)", "return x.sum(dim=1, keepdim=True)"),
        ("detach", "return x.detach() * 2", "return x * 2"),
        ("detach", "return x * 2", "return x.detach() * 2"),
        ("detach", "return x * 2", "return (x * 2).detach()"),
        ("no_grad", "z = x * y\nreturn z", "with torch.no_grad():\n    z = x * y; return z"),
        ("no_grad", "with torch.no_grad():\n    z = x\nreturn z", "z = x; return z"),
        ("function", "with torch.no_grad():\n    return x", "with torch.enable_grad():\n    return x"),
        ("context dropped", "with torch.no_grad(), g():\n    return x", "with torch.no_grad():\n    return x"),
        ("call dropped", "return x.transpose(0, 1) * y", "return x * y"),
        ("axes", "return x.mT @ y", "return x @ y"),
        ("axes", "return x.permute(1, 0, 2)", "return x.permute(0, 1, 2)"),
        ("axes", "return x[:, None]", "return x[None, :]"),
        ("broadcast", "return x[:, None] * y", "return x[:] * y"),
        ("scale", "return x / math.sqrt(n)", "return x"),
        ("scale", "return p * x", "return x"),
        ("term", "return x + y", "return x"),
        ("eps", "return x / (y + 1e-5)", "return x / y"),
        ("constant", "return x / (y + 1e-5)", "return x / (y + 0.01)"),
        ("reduction", "return x.mean(dim=1)", "return x.sum(dim=1)"),
        ("reduction", "return x.amax(dim=1)", "return x.amin(dim=1)"),
        ("reduction", "return x.logsumexp(dim=1)", "return x.amax(dim=1)"),
        ("bias", "return x.var(dim=1, correction=0)", "return x.var(dim=1)"),
        ("bias", "return x.var(dim=1)", "return x.var(dim=1, correction=0)"),
        ("function", "return torch.log1p(x)", "return torch.log(x)"),
        ("function", "return torch.expm1(x)", "return torch.exp(x)"),
        ("function", "n.train()", "n.eval()"),
        ("call dropped", "return x.clone() * y", "return x * y"),
        ("call dropped", "return torch.sigmoid(x) * y", "return x * y"),
        ("call dropped", "return F.softmax(x, dim=1) * y", "return x * y"),
        ("in place", "return x.mul(y)", "return x.mul_(y)"),
        ("in place", "x.mul_(y)", "x.mul(y)"),
        ("mask", "return x.masked_fill(~keep, 0)", "return x.masked_fill(keep, 0)"),
        ("mask", "return x.masked_fill(keep, 0)", "return x.masked_fill(~keep, 0)"),
        ("mask", "return keep & (x > 0)", "return keep"),
        ("slice", "return x[:, :n]", "return x[:, :n + 1]"),
        ("slice", "return x[:, n:]", "return x[:, n:-1]"),
        ("slice", "return x[:, n:]", "return x[:, :]"),
        ("constant", "return x[:, 1:]", "return x[:, 2:]"),
        ("slice", "return x[:, 0::2]", "return x[:, 0:]"),
        ("off by one", "return torch.arange(n)", "return torch.arange(n + 1)"),
        ("diagonal", "return x.tril()", "return x.tril(diagonal=1)"),
        ("diagonal", "return x.tril(diagonal=n)", "return x.tril(diagonal=n - 1)"),
        ("argument ignored", "return x * p", "p = 0.5; return x * p"),
        ("argument ignored", "return x * y", "y = torch.zeros_like(y); return x * y"),
        ("argument confused", "return x * y", "return y * y"),
        ("arguments swapped", "return g(x, y)", "return g(y, x)"),
        ("arguments swapped", "for a, b in zip(x, y, strict=True):\n    g(a)", "for a, b in zip(y, x, strict=True):\n    g(a)"),
        ("batch size", "return x.reshape(x.shape[0], -1)", "return x.reshape(2, -1)"),
        ("batch size", "return x.reshape(len(x), -1)", "return x.reshape(2, -1)"),
        ("batch size", "B, D = x.shape\nreturn x.reshape(B, D)", "B, D = x.shape; B = 2; return x.reshape(B, D)"),
        ("dtype", "return x.to(y.dtype)", "return x.to(torch.float64)"),
        ("dtype", "return x.float()", "return x.double()"),
        ("dtype", "return torch.ones(n, dtype=x.dtype)", "return torch.ones(n)"),
        ("call dropped", "return x.float() * y", "return x * y"),
        ("lerp", "return torch.lerp(x, y, p)", "return torch.lerp(x, y, 1 - p)"),
        ("arguments swapped", "return torch.where(keep, x, y)", "return torch.where(keep, y, x)"),
        ("where", "return x.where(keep, y)", "return x.where(~keep, y)"),
        ("order", "return torch.cat([x, y])", "return torch.cat([y, x])"),
        ("order", "return torch.stack([g(i) for i in x])", "return torch.stack([g(i) for i in list(x)[::-1]])"),
        ("function", "return torch.cat([x, y])", "return torch.stack([x, y])"),
        ("keyword dropped", "return F.conv2d(x, y, padding=1)", "return F.conv2d(x, y)"),
        ("function", "return x.sort().values", "return x.sort().indices"),
    ],
)
def test_operator_makes_its_mistake(operator, before, after):
    assert (operator, after) in bodies(before)


def test_device_is_mutated_only_where_another_device_can_tell():
    body = "return torch.ones(n, device=x.device)"
    assert not any(operator == "device" for operator, _ in bodies(body))
    after = [text for operator, text in bodies(body, devices=True) if operator == "device"]
    assert after == ["return torch.ones(n)", "return torch.ones(n, device='cpu')"]


def test_data_may_be_detached_by_a_right_answer():
    body = "return x * y"
    assert ("detach", "return x * y.detach()") in bodies(body)
    found = bodies(body, no_gradient=["y"])
    assert ("detach", "return x.detach() * y") in found
    assert ("detach", "return x * y.detach()") not in found
    assert not any(operator in ("detach", "no_grad") for operator, _ in bodies(body, no_gradient=["x", "y"]))


@pytest.mark.parametrize("numpy", [False, True])
def test_an_alias_is_read_as_what_it_stands_for(numpy):
    """Also an alias of an alias: whoever names a long annotation gets the same mutants as whoever writes it out."""
    array, library = ("np.ndarray", "import numpy as np") if numpy else ("torch.Tensor", "import torch")
    head = f"{library}\nfrom jaxtyping import Float\n"
    body = "    if len(x) < 2:\n        raise ValueError('no')\n    return x * y\n"
    plain = f'Float[{array}, "B D"]'
    named = f"Matrix = {plain}\nWeights = Matrix | None\n"

    def found(annotation, other):
        return {m.id for m in mutants(f"{head}{named}def f(x: {annotation}, y: {other}) -> {annotation}:\n{body}", "f")}

    assert found("Matrix", "Weights") == found(plain, f"{plain} | None")
    operators = {name.partition(":")[0] for name in found("Matrix", "Matrix")}
    assert operators >= {"argument changed", "changed, then refused", "squeeze", "dtype"}


def test_what_no_test_could_tell_is_left_alone():
    found = [
        text
        for _, text in bodies('if n < 0:\n    raise ValueError(f"got {n + 1}: no")\nfor a in zip(x, y, strict=True):\n    g(a)')
    ]
    assert found
    assert all("got {n + 1}: no" in text or "pass" in text for text in found)
    assert all("strict=True" in text for text in found)


def test_signature_docstring_and_neighbours_stay():
    source = HEAD + "    # A comment.\n    z = 2 * x  # (B, D)\n    return z\n\n\ndef g(x):\n    return x  # not mine\n"
    for mutant in mutants(source, "f"):
        lines = mutant.source.splitlines()
        assert lines[:9] == source.splitlines()[:9]
        assert mutant.source.endswith("\n\n\ndef g(x):\n    return x  # not mine\n")
        assert "# A comment." in mutant.source
        assert source.splitlines()[mutant.line - 1].strip() in ("z = 2 * x  # (B, D)", "return z")


def test_method_is_found_and_layout_kept():
    source = 'class A:\n    def g(self, n: int) -> int:\n        """Doc."""\n        return (n\n                + 1)  # odd, but theirs\n'
    found = {mutant.operator: mutant.source for mutant in mutants(source, "A.g")}
    assert found["arithmetic"].endswith("        return (n - 1)  # odd, but theirs\n")
    for missing in ("A", "A.h", "g"):
        with pytest.raises(CourseError, match="no function of the module"):
            mutants(source, missing)


def test_ids_outlive_edits_elsewhere():
    body = "z = x.sum(dim=1) + y.sum(dim=1)\nreturn z + z"
    before = [mutant.id for mutant in made(body)]
    assert len(set(before)) == len(before)
    moved = [mutant.id for mutant in made(body, head="# one line more\n\nLIMIT = 3\n" + HEAD)]
    assert moved == before
    longer = [mutant.id for mutant in made("g(n)\n" + body)]
    assert set(before) <= set(longer)
    assert any(name.endswith("#2") for name in [m.id for m in made("g(x + 1)\ng(x + 1)")])


def test_every_mutant_of_every_unit_is_new_and_can_be_parsed():
    for unit in exercises():
        source = unit.module.read_text(encoding="utf-8")
        for stub in unit.stubs:
            found = mutants(source, stub)
            assert len({mutant.id for mutant in found}) == len(found) >= 5
            assert len({mutant.source for mutant in found} - {source}) == len(found)
            original = ast.dump(find_definition(ast.parse(source).body, stub))
            some = [ast.dump(find_definition(ast.parse(mutant.source).body, stub)) for mutant in found[::10]]
            assert len({*some, original}) == len(some) + 1
