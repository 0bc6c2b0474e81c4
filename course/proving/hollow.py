"""Hollow answers: the modules that a unit gives are emptied, and one stub returns nothing of worth. No test may take that for right.

A test that takes its truth from the answer's own modules, or that loops over the names which the answer reports, would: zero is zero.
"""

import ast
from collections.abc import Iterator, Sequence
from itertools import product

TOOLS = '''

import copy as _copy
import functools as _functools

import numpy as _numpy


def _emptied(value):
    """The same structure with zeros in it."""
    if isinstance(value, torch.Tensor):
        return value * 0 if value.is_floating_point() else torch.zeros_like(value)
    if isinstance(value, _numpy.ndarray):
        return _numpy.zeros_like(value)
    if isinstance(value, bool | int | float | str):
        return type(value)()
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(map(_emptied, value))
    if isinstance(value, dict):
        return {key: _emptied(item) for key, item in value.items()}
    return value


def _hollow(function):
    @_functools.wraps(function)
    def call(*args, **kwargs):
        return _emptied(function(*args, **kwargs))

    return call


def _zeros(function):
    """Does nothing to what it is given, and returns zeros."""

    @_functools.wraps(function)
    def call(*args, **kwargs):
        args, kwargs = _copy.deepcopy((args, kwargs))
        return _emptied(function(*args, **kwargs))

    return call


def _first(function):
    """Returns its first argument."""
    position = int("." in function.__qualname__)

    @_functools.wraps(function)
    def call(*args, **kwargs):
        return args[position] if len(args) > position else next(iter(kwargs.values()), None)

    return call
'''
LAZY = ("zeros", "first")
STATES = ("", "no state_dict")


def hollows(source: str, stubs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """A stub, a name, and the source of the module as `LAZY` says, with every given module emptied, for each stub and way."""
    classes = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and any("Module" in ast.unparse(base) for base in node.bases)
    ]
    forwards = [node.name for node in classes if any(isinstance(f, ast.FunctionDef) and f.name == "forward" for f in node.body)]
    emptied = [f"{name}.forward = _hollow({name}.forward)" for name in forwards if f"{name}.forward" not in stubs]
    hidden = [f"{node.name}.state_dict = lambda self, *args, **kwargs: {{}}" for node in classes]
    for stub, lazy, state in product(stubs, LAZY, STATES if classes else STATES[:1]):
        lines = [*emptied, *(hidden if state else []), f"{stub} = _{lazy}({stub})"]
        text = source + ("" if "import torch\n" in source else "\nimport torch\n") + TOOLS + "\n".join(["", *lines, ""])
        yield stub, ", ".join(filter(None, ("hollow", lazy, state))), text
