"""What crosses between a test and an implementation: stand-ins for what stays on the other side, calls, changes and errors."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from course.guard import Change

UNCOPIED = "Uncopied"  # the kind of an error: what a call is given cannot be copied, so the call cannot be made again
# Whether calls whose value nobody needs yet must be made at once, since an error is waited for (`course.testing.raises` sets it).
EAGER: ContextVar[bool] = ContextVar("eager", default=False)


@dataclass(frozen=True)
class Remote:
    """Stands for an object on the implementation's side: a module, an optimizer, a cache, a config."""

    id: int
    type_name: str


@dataclass(frozen=True)
class Named:
    """Stands for a function or class of the implementation, so that a test can pass one of them to another."""

    name: str


@dataclass(frozen=True)
class Target:
    """What is called: a top-level name, or a method of a remote object (`__call__` for the object itself).

    how: empty, or the name of a dtype or `meta`: the call is made on copies of all that it is given, cast or moved there; or `again`:
    on copies, twice, without gradients, what the first call returned written over before the second.
    """

    name: str
    object_id: int | None = None
    how: str = ""


@dataclass(frozen=True)
class Changed:
    """What a call returned, and what it changed besides: pairs of an argument (its position, its keyword or `self`) and what of it."""

    value: Any
    changes: list[Change]


class ImplementationError(AssertionError):
    """The implementation raised, or is not there. An assertion, since it is the implementation that is wrong, not the test.

    hint: a likely cause, where the test knows one. late: it is of a call made earlier than the one that brought it up.
    changes: what the call had changed when it raised, as in `Changed`. broken: what is wrong with that, once it was judged.
    bases: the built-in exceptions that what was raised is one of, by name (`ValueError` of a `LinAlgError`).
    said: what the answer says of it, in quotes and fit for a report, where the answer is a stranger's. number: the line of the answer's
    file that it came from, if that is known.
    public: what may be told to everybody; it repeats nothing that the answer said.
    """

    hint = ""
    late = False
    broken: AssertionError | None = None
    bases: Sequence[str] = ()
    said = ""
    number = 0

    def __init__(self, what: str, kind: str, message: str, line: str = "") -> None:
        super().__init__(f"{what} raised {kind}: {message}" if kind else message)
        self.what, self.kind, self.message, self.line = what, kind, message, line
        self.changes: list[Change] = []
        self.public = f"{what} raised {kind}" if kind else message

    def instead_of(self, expected: str) -> None:
        """Say which error was expected in place of the one that was raised."""
        self.public = f"{self.what}: expected a {expected}, it raised a {self.kind}"
        self.args = (f"{self.public}: {self.message}",)


def describe(value: Any) -> str:
    """What a value is, never what it contains: `float32 (4, 8)`, `a list of 3`, `None`."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"array {value.dtype} {value.shape}"
    if value is None:
        return "None (is a return missing?)"
    if isinstance(value, list | tuple):
        inner = ", ".join(describe(item) for item in value[:4]) + (", …" if len(value) > 4 else "")
        return f"a {type(value).__name__} of {len(value)} ({inner})"
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)}: {describe(item)}" for key, item in list(value.items())[:4])
        return f"a dict of {len(value)} ({inner}{', …' if len(value) > 4 else ''})"
    if isinstance(value, Remote):
        return f"an object of type {value.type_name}"
    return f"a value of type {type(value).__name__}"


def _key(key: Any) -> str:
    """A key of a learner's dict, if it is a plain name: with digits it could tell what was asked."""
    return repr(key) if isinstance(key, str) and len(key) <= 30 and key.replace("_", "").isalpha() else "…"


def bases_of(error: BaseException) -> list[str]:
    """The built-in exceptions that an error is one of, by name."""
    return [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]


def is_answer_file(filename: str) -> bool:
    """Whether a traceback's file is an answer: an IPython cell, or a grafted module (see `course.checking.load`)."""
    return "ipykernel_" in filename or filename.startswith("<")
