"""Making implementations: the reference, the reference with a stub replaced, a notebook's answer."""

import importlib
import itertools
import linecache
import sys
import types
import warnings
from collections.abc import Mapping
from typing import Any

from course.checking.impl import Impl
from course.errors import CourseError, at
from course.executor import Executor
from course.testing import Edit, Variant
from course.units.answers import read_answer
from course.units.catalogue import Unit
from course.units.grafting import graft
from course.units.source import find_definition, lines_of, parse_module

_serial = itertools.count(1)


def reference_module(unit: Unit) -> types.ModuleType:
    """The unit's module, imported. Raises CourseError if it is missing."""
    if not unit.module.is_file():
        raise at(unit.question, f"names stubs, but its module {unit.describe()['module']} is missing", unit.root)
    return importlib.import_module(unit.module_name)


def module_from_source(source: str, label: str) -> types.ModuleType:
    """Run `source` as a module of its own; its lines are known to tracebacks and to `inspect`."""
    name = f"answer_{next(_serial)}"
    filename = f"<{label} {name}>"
    module = types.ModuleType(name)
    module.__file__ = filename
    linecache.cache[filename] = (len(source), None, [f"{line}\n" for line in lines_of(source)], filename)
    sys.modules[name] = module  # dataclasses look their module up
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an `is` with a literal is said by the learner's own editor, with the right line
            code = compile(source, filename, "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except BaseException:
        forget(module)
        raise
    return module


def forget(module: types.ModuleType) -> None:
    """Drop what `module_from_source` registered."""
    sys.modules.pop(module.__name__, None)
    linecache.cache.pop(module.__file__ or "", None)


def impl_from(namespace: Mapping[str, Any] | types.ModuleType, unit: Unit, device: str = "cpu") -> Impl:
    """An `impl` that runs in this process on the names of `namespace`."""
    names = vars(namespace) if isinstance(namespace, types.ModuleType) else namespace
    return Impl(Executor(names, device), reference_module(unit))


def reference_impl(unit: Unit, device: str = "cpu") -> Impl:
    """The reference itself."""
    return impl_from(reference_module(unit), unit, device)


def variant_module(unit: Unit, stub: str, variant: Variant) -> types.ModuleType:
    """A fresh copy of the reference in which `stub` is replaced: by a callable, by an `Edit`, or by the source of a definition."""
    source = unit.module.read_text(encoding="utf-8")
    if isinstance(variant, Edit):
        return module_from_source(edited(source, stub, variant, unit), stub)
    if isinstance(variant, str):
        answer = read_answer([variant], source, (stub,))
        if "." in stub:
            raise CourseError(f"{unit.id}: a variant of the method {stub} must be a callable or an Edit")
        return module_from_source(graft(source, (stub,), answer), stub)
    module = module_from_source(source, stub)
    head, _, method = stub.partition(".")
    if method:
        setattr(getattr(module, head), method, variant)
    else:
        setattr(module, head, variant)
    return module


def edited(source: str, stub: str, edit: Edit, unit: Unit) -> str:
    """`source` with `edit` done in the body of `stub`. Raises CourseError if the text is not there."""
    import ast

    node = find_definition(ast.parse(source).body, stub)
    if node is None:
        raise at(unit.tests, f"a variant names {stub}, which the module does not define", unit.root)
    lines = [f"{line}\n" for line in lines_of(source)]
    body_start = node.body[0].lineno - 1
    body = "".join(lines[body_start : node.end_lineno])
    if edit.old not in body:
        raise at(unit.tests, f"Edit({edit.old!r}, …) finds no such text in {stub}; the reference has changed", unit.root)
    return "".join(lines[:body_start]) + body.replace(edit.old, edit.new) + "".join(lines[node.end_lineno or 0 :])


def filled_cells(unit: Unit) -> list[str]:
    """The reference as code cells: what a learner who got everything right would hand in."""
    return [segment.text for segment in parse_module(unit.module.read_text(encoding="utf-8"))[1]]
