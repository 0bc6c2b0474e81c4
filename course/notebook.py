"""`check` in a live notebook: runs the tests on the definitions of the running kernel and says what is wrong and why."""

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from course.checking.load import impl_from, reference_module
from course.checking.runner import Suite, load_suite, run, stub_status
from course.checking.verdicts import report
from course.errors import CourseError
from course.studying.progress import record_check
from course.studying.state import Store
from course.units.catalogue import Unit, find_unit
from course.units.source import owner


class NotYet(Exception):
    """A check did not pass. Jupyter shows one line instead of a traceback; nbval sees a failed cell."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class Checker:
    """`check("name of a stub")` checks one, `check()` all. `seed` repeats the questions of an earlier run."""

    def __init__(self, unit: Unit, namespace: Mapping[str, Any]) -> None:
        self._unit, self._namespace = unit, namespace
        self._suite: Suite = load_suite(unit)
        reference_module(unit)  # imported now, so that the first check answers at once

    def __call__(self, stub: str | None = None, *, seed: int | None = None) -> None:
        unit = self._unit
        if stub == unit.id:
            stub = None
        if stub is not None and stub not in unit.stubs:
            raise NotYet(f"there is no exercise {stub!r} in {unit.id}; it has: {', '.join(unit.stubs)}")
        stubs = unit.stubs if stub is None else (stub,)
        verdicts = run(self._suite, impl_from(self._namespace, unit), stubs=stubs, seed=seed)
        print(report(verdicts, stubs))
        self._remember({stub: stub_status(verdicts, stub) for stub in stubs})
        short = [s for s in stubs if any(s in v.case.stubs and v.status != "passed" for v in verdicts)]
        if short:
            raise NotYet(f"not there yet: {', '.join(short)}")

    def _remember(self, statuses: dict[str, str]) -> None:
        """Note the check if this notebook is the learner's copy in work/: Jupyter and VS Code say which file a kernel is for."""
        path = self._namespace.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME")
        if path is None or Path(path).resolve() != self._unit.work.resolve():
            return
        tried = [stub for stub, status in statuses.items() if status != "todo" and owner(stub) in self._namespace]
        try:
            record_check(Store(), self._unit, statuses, tried)
        except CourseError as error:
            print(f"this check is not remembered: {error}")

    def __repr__(self) -> str:
        return f"check of {self._unit.id}: check() or check(name), with name one of {', '.join(self._unit.stubs)}"


def checks_for(unit: str) -> Checker:
    """The `check` of a unit, bound to the namespace of the notebook that calls this."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    try:
        return Checker(find_unit(unit), frame.f_back.f_globals)
    except CourseError as error:
        raise NotYet(str(error)) from None


def show(unit: str) -> None:
    """What the reference of a converter makes of held-out things, at the top of its notebook."""
    from course.media.showcase import show as carry_out

    carry_out(unit)
