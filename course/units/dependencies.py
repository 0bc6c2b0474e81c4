"""What a piece of code depends on, down to the definitions that it reaches, as hashes: what was proven with them is stale once one differs.

    needs = reached({module: ("train", "evaluate")}, root)      # {path: names of definitions}, over all of `reference_impl`
    fingerprints(needs, root)                                    # {"reference_impl/runtime.py": "3f…", …}

By definition and not by file, because eighty units share a few modules: a helper added to `reference_impl/runtime.py` must not
make all that was ever proven doubtful. Of a module that is only imported, the definitions count that are reached by name from
those that are needed; where a module is handed about as an object, all of it counts, and so does whatever stands at its top
level and is neither an import, a definition nor an assignment to a name. Nothing here imports what it reads.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from course.units.source import Definition, without_prose

WHOLE = "*"  # instead of a definition's name: all of a module
FILE_NAME = re.compile(r"\w[\w.-]{0,99}")
Needs = dict[Path, set[str]]


class Import(NamedTuple):
    """What a name stands for that a module imports from the course: a module, or a name in it."""

    module: Path
    name: str  # empty for the module itself


class Outline(NamedTuple):
    """A module by its top level. imports: what each name is bound to, inside of functions too; loose: what counts whatever is needed of it."""

    definitions: dict[str, list[ast.stmt]]
    imports: dict[str, list[Import]]
    loose: list[ast.stmt]
    lines: list[str]  # without prose, at the line numbers of the file


def module_file(dotted: str, root: Path) -> Path | None:
    """The file of a module below `root`, if there is one. Of a file and a folder of one name, Python imports the folder."""
    base = root.joinpath(*dotted.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _import(node: ast.Import | ast.ImportFrom, path: Path, package: str, root: Path) -> Iterator[tuple[str, Import]]:
    """Each name that an import in `path` binds to something of `package`; `WHOLE` for a star, which may bind any."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.split(".")[0] == package and (whole := module_file(alias.name, root)) is not None:
                yield (alias.asname, Import(whole, "")) if alias.asname else (package, Import(whole, WHOLE))
        return
    folders = path.parent.relative_to(root).parts
    above = folders[: len(folders) + 1 - node.level] if node.level else ()
    dotted = ".".join([*above, *filter(None, [node.module])])
    if dotted.split(".")[0] != package:
        return
    source = module_file(dotted, root)
    for alias in node.names:
        if (whole := module_file(f"{dotted}.{alias.name}", root)) is not None:
            yield alias.asname or alias.name, Import(whole, "")
        elif source is not None:
            yield (WHOLE if alias.name == "*" else alias.asname or alias.name), Import(source, alias.name)


@lru_cache(maxsize=1024)
def _outline(path: Path, stamp: int, package: str, root: Path) -> Outline:
    source = path.read_text(encoding="utf-8")
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, list[Import]] = {}
    loose: list[ast.stmt] = []
    tree = ast.parse(source)
    for node in ast.walk(tree):  # those inside of functions too; one name may be bound twice, as under `try`
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name, target in _import(node, path, package, root):
                imports.setdefault(name, []).append(target)
    for node in tree.body:
        if isinstance(node, Definition):
            definitions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = list(node.targets) if isinstance(node, ast.Assign) else [node.target]
            targets += [part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr)]
            stored = [
                part for target in targets for part in ast.walk(target) if isinstance(getattr(part, "ctx", None), ast.Store)
            ]
            for part in stored:
                if isinstance(part, ast.Name):
                    definitions.setdefault(part.id, []).append(node)
            if any(isinstance(part, ast.Attribute | ast.Subscript) for part in stored):  # it changes what stands elsewhere
                loose.append(node)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            loose.append(node)
    own = definitions.keys() | imports.keys()
    for node in tree.body:  # a decorator of the course's own may put what it decorates anywhere
        decorators = [part for d in getattr(node, "decorator_list", []) for part in ast.walk(d)]
        if any(isinstance(part, ast.Name) and part.id in own for part in decorators):
            loose.append(node)
    return Outline(definitions, imports, loose, without_prose(source, keep_lines=True).split("\n"))


def outline(path: Path, package: str, root: Path) -> Outline:
    """The outline of a module as it stands on the disk."""
    return _outline(path, path.stat().st_mtime_ns, package, root)


def names(path: Path, root: Path, package: str = "reference_impl") -> set[str]:
    """Every name that a module defines or takes from its package: what a unit takes from another is its own too."""
    found = outline(path, package, root)
    return found.definitions.keys() | found.imports.keys()


def _parents(path: Path, root: Path) -> Iterator[Path]:
    """The `__init__.py` of each package that a module lies in."""
    folder = path.parent
    while folder != root and folder.is_relative_to(root):
        if (folder / "__init__.py").is_file():
            yield folder / "__init__.py"
        folder = folder.parent


def reached(roots: Mapping[Path, Iterable[str]], root: Path, package: str = "reference_impl") -> Needs:
    """All definitions of `package` that those in `roots` reach, themselves included: {file: names}; `WHOLE` stands for all of a file."""
    needs: Needs = {}
    waiting = [(path, name) for path, names in roots.items() for name in names]
    while waiting:
        path, name = waiting.pop()
        if name in needs.get(path, ()) or WHOLE in needs.get(path, ()):
            continue
        found = outline(path, package, root)
        if path not in needs:  # what runs at import counts, whatever is needed of it: here, and in all that this imports
            needs[path] = set()
            imported = (target.module for group in found.imports.values() for target in group)
            waiting += [(module, "") for module in (*_parents(path, root), path, *imported)]
            waiting += [(target.module, WHOLE) for target in found.imports.get(WHOLE, ())]
        needs[path].add(name)
        if name == WHOLE:
            nodes: list[ast.stmt] = [*found.loose, *(node for group in found.definitions.values() for node in group)]
            waiting += [(target.module, target.name or WHOLE) for group in found.imports.values() for target in group]
        else:
            nodes = found.definitions.get(name, []) if name else found.loose
            passed_on = [(target.module, target.name or WHOLE) for target in found.imports.get(name, ())]
            if name and not nodes and not passed_on:
                inner = module_file(name, path.parent) if path.name == "__init__.py" else None
                passed_on = [(inner, WHOLE)] if inner else [(path, "__getattr__")] if "__getattr__" in found.definitions else []
            waiting += passed_on
        for node in nodes:
            waiting += _used(node, path, found)
    return {path: names for path, names in needs.items() if names != {""} or _runs(path, outline(path, package, root))}


def _runs(path: Path, found: Outline) -> bool:
    """Whether a module of which nothing is needed by name counts: a package, or one that at import does more than to define names."""
    loose = [node for node in found.loose if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant)]
    return bool(loose or (found.loose and path.name == "__init__.py"))


def _used(node: ast.stmt, path: Path, found: Outline) -> Iterator[tuple[Path, str]]:
    """What a statement of `path` uses: (a module, the name in it). A name that is both defined and imported stands for both."""
    bases = {id(part.value): part.attr for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            if part.id in found.definitions:
                yield path, part.id
            elif part.id == "globals":
                yield path, WHOLE
            for target in found.imports.get(part.id, ()):
                # `digits.load` needs `load`; a module that is handed about may be asked for anything
                yield target.module, target.name or bases.get(id(part), WHOLE)


def _text(path: Path, names: set[str], package: str, root: Path) -> str:
    """The needed lines of a module, in its order, without prose."""
    found = outline(path, package, root)
    if WHOLE in names:
        return "\n".join(line for line in found.lines if line)
    nodes = [*found.loose, *(node for name in names for node in found.definitions.get(name, []))]
    wanted: set[int] = set()
    for node in nodes:
        first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        wanted.update(range(first, (node.end_lineno or node.lineno) + 1))
    return "\n".join(found.lines[number - 1] for number in sorted(wanted) if found.lines[number - 1])


def bundled(path: Path, names: set[str], package: str, root: Path) -> list[Path]:
    """The files that come with a loader of data: those beside it, or in a folder beside it, that the needed code names in a string."""
    found = outline(path, package, root)
    nodes = [node for name, group in found.definitions.items() if name in names or WHOLE in names for node in group]
    constants = {part.value for node in nodes for part in ast.walk(node) if isinstance(part, ast.Constant)}
    files: list[Path] = []
    named = {text.split("/")[0] for text in constants if isinstance(text, str)}
    for name in sorted(text for text in named if FILE_NAME.fullmatch(text)):
        beside = path.parent / name
        if beside.is_dir():
            files += sorted(inner for inner in beside.rglob("*") if inner.is_file() and inner.suffix not in (".py", ".pyc"))
        elif beside.is_file() and beside.suffix != ".py":
            files.append(beside)
    return files


def hash_of(content: bytes) -> str:
    """Sixteen hexadecimal digits that stand for some bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def fingerprints(needs: Needs, root: Path, package: str = "reference_impl") -> dict[str, str]:
    """The hash of what is needed of each file, and of the files that loaders of data read, by path below `root`."""
    found: dict[str, str] = {}
    for path, names in sorted(needs.items()):
        found[path.relative_to(root).as_posix()] = hash_of(_text(path, names, package, root).encode())
        data = bundled(path, names, package, root) if path.parent.name == "data" else []
        for file in data:
            found[file.relative_to(root).as_posix()] = hash_of(file.read_bytes())
    return found


def files(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """The hash of each file by its path below `root`; of Python its code alone, without prose."""
    found = {}
    for path in sorted(paths):
        python = path.suffix == ".py"
        content = without_prose(path.read_text(encoding="utf-8")).encode() if python else path.read_bytes()
        found[path.relative_to(root).as_posix()] = hash_of(content)
    return found
