"""The trusted side of the sandbox: opens a session for each submission, and believes nothing it hears.

    with Root(["torch.nn"]) as root, Zygote(preload, third_party, root=root) as zygote:
        with zygote.open(source) as session:      # a `course.checking.impl.Backend`
            verdicts = run(suite, Impl(session, reference_module(unit)))

The root has imported torch and what most units need; a zygote is forked from it for each unit, and shares its memory.
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from course.errors import CourseError
from course.sandbox import host
from course.sandbox.codec import WireError
from course.sandbox.host import REDUCED, IsolationError, isolation_error, missing_layers, probe
from course.sandbox.root import Control, Root
from course.sandbox.session import GONE, BadReply, CellOutput, Clock, Died, Session, SessionError, Timeout
from course.sandbox.terms import Limits
from course.sandbox.wires import Late, Pipes, Threads

__all__ = [
    "REDUCED", "BadReply", "CellOutput", "Clock", "Died", "IsolationError", "Root", "Session", "SessionError", "Timeout", "Zygote", "missing_layers", "probe",
]  # fmt: skip


class Zygote:
    """A sandbox for one unit. A context manager. For one thread at a time.

    preload: sources of the modules that the unit imports from the course, by name; third_party: other modules to import beforehand;
    data, isolation: see `Root`; root: fork from this one, in place of one of its own. alive: False once the zygote was found dead, which no
    submission can bring about: what ran in it is to be graded again.
    """

    def __init__(
        self,
        preload: dict[str, str],
        third_party: list[str],
        *,
        data: Mapping[str, Path] | None = None,
        isolation: str = "strict",
        limits: Limits | None = None,
        root: Root | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.alive = True
        self._own_root = root is None
        self.root = root or Root(third_party, data=data, isolation=isolation)
        self._control: Control | None = None
        self._modules = preload
        folders, places = self.root.seen(data or {})
        self._config = {"modules": preload, "third_party": third_party, "folders": folders, "places": places}
        if self.root.can_fork:
            try:
                self._control, self._serial = self.root.adopt(self._config)
            except BaseException:
                self.close()
                raise

    @property
    def isolation(self) -> str:
        return self.root.isolation

    @property
    def in_force(self) -> dict[str, str]:
        """Each layer: "on", or why it is off."""
        return self.root.in_force

    @property
    def description(self) -> str:
        """What is in force, in one line."""
        return self.root.description

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def open(
        self,
        source: str,
        *,
        label: str = "submission",
        timeout: float | None = None,
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> Session:
        """A session in a new child, with `source` loaded. timeout: seconds for loading and for each call, in place of those of `limits`;
        clock: of the submission whose child this is, if it has had others.

        Raises ImplementationError or SessionError if the source does not load, IsolationError if a layer fails.
        """
        limits = limits or self.limits
        if timeout is not None:
            limits = replace(limits, load_seconds=timeout, call_seconds=timeout)
        session = self._fork(limits, clock) if self.root.can_fork else self._spawn(limits, clock)
        try:
            self._greet(session)
            session.load(source, label)
        except BaseException:
            session.close()
            raise
        return session

    def _greet(self, session: Session) -> None:
        try:
            reply = session.hello()
        except (Late, EOFError, OSError, WireError) as error:
            raise IsolationError(f"a sandboxed child did not come up ({type(error).__name__})") from None
        if reply == {"id": 0, "ok": "ready"}:
            return
        problem = reply.get("error") if isinstance(reply, dict) else None
        if not isinstance(problem, dict):
            raise IsolationError("a sandboxed child did not come up")
        raise isolation_error(problem)

    def _fork(self, limits: Limits, clock: Clock | None) -> Session:
        if self._control is None:
            raise CourseError("the sandbox is closed")
        child_reads, we_write = os.pipe()
        we_read, child_writes = os.pipe()
        try:
            serial = self._control.fork({"op": "fork", "limits": asdict(limits)}, [child_reads, child_writes])
        except OSError:
            os.close(we_write)
            os.close(we_read)
            self._found_dead()
            raise IsolationError("the sandbox has ended") from None
        finally:
            os.close(child_reads)
            os.close(child_writes)
        return Session(Pipes(we_read, we_write), _Forked(self, serial), limits, clock)

    def _spawn(self, limits: Limits, clock: Clock | None) -> Session:
        """A child by a new process, where there is no fork."""
        process = host.run_boot(stdout=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        session = Session(Threads(process.stdout, process.stdin), _Spawned(process), limits, clock)
        try:
            sent, config = host.own_sources() | self._modules, self.root.config | self._config
            host.send_boot(process, sent, "course.sandbox.alone:serve_alone", config, close=False)
        except OSError:
            session.close()
            raise IsolationError("a child did not start") from None
        return session

    def _found_dead(self) -> None:
        self.alive = False
        self.root.alive = self.root.alive and self.root.answers()

    def _ended(self, serial: int, seconds: float) -> int | None:
        try:
            return self._control.ended(serial, seconds) if self._control is not None else GONE
        except (EOFError, OSError):
            self._found_dead()
            return GONE  # the zygote, and every child with it

    def close(self) -> None:
        """End the zygote and every child, and the root if it is this one's own. Idempotent."""
        if self._control is not None:
            self._control.close()
            self._control = None
            if not self._own_root:
                self.root.let_go(self._serial)
        if self._own_root:
            self.root.close()


class _Forked:
    """A child of a zygote, seen from here."""

    def __init__(self, zygote: Zygote, serial: int) -> None:
        self._zygote, self._serial = zygote, serial

    def kill(self) -> None:
        if self._zygote._control is not None:
            self._zygote._control.kill(self._serial)

    def ended(self, seconds: float) -> int | None:
        return self._zygote._ended(self._serial, seconds)


class _Spawned:
    """A child of ours, where there is no fork."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def kill(self) -> None:
        self._process.kill()

    def ended(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
