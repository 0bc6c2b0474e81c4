"""Says which packages a notebook imports that are not on this machine, without importing anything of them."""

import ast
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib.machinery import PathFinder
from importlib.util import find_spec

from course.units.cells import Statement

MOST = 50  # different modules that are looked for in a notebook


def complaint(statements: Iterable[Statement]) -> list[str]:
    """A line for each top-level import of what is not here."""
    found: dict[str, str] = {}
    for statement in statements:
        node = statement.node
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = ["." * node.level + (node.module or "")]
        else:
            continue
        for module in modules:
            if len(found) < MOST:
                found.setdefault(module, statement.place)
    return [
        f"{place}: there is no {module} here, and only what uses it is hurt; install it or remove the import"
        for module, place in found.items()
        if not _here(module)
    ]


@lru_cache(maxsize=1024)
def _here(module: str) -> bool:
    """Whether a module could be imported, as far as the folders of its packages say."""
    if module.startswith("."):
        return False
    head, *rest = module.split(".")
    if head in sys.stdlib_module_names or module in sys.modules:
        return True
    folders: list[str] | None = None
    try:
        for depth in range(1, len(rest) + 2):
            name = ".".join((head, *rest)[:depth])
            spec = PathFinder.find_spec(name, folders) if folders is not None else find_spec(name)  # of an editable install too
            if spec is None:
                return False
            if spec.submodule_search_locations is None:
                return True  # the last part, or a module that makes its parts when it is imported
            folders = list(spec.submodule_search_locations)
    except Exception:  # a package in several folders wants its parent imported: whether it is here is not to be seen
        return True
    return True
