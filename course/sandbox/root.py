"""The root of the sandbox, from which zygotes of units are forked, and the socket over which such processes are told what to fork."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from course.errors import CourseError
from course.sandbox import host
from course.sandbox.host import REDUCED, IsolationError, isolation_error
from course.sandbox.session import START_SECONDS, STOP_SECONDS
from course.sandbox.terms import NOT_USED, REQUIRED


class Control:
    """This side's end of the socket of a process that forks."""

    def __init__(self) -> None:
        self._socket: socket.socket | None
        self._socket, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._statuses: dict[int, int] = {}
        self._serial = 0

    def fork(self, request: dict[str, Any], descriptors: list[int]) -> int:
        """Ask for a child that gets `descriptors`; its serial number. Raises OSError if nobody hears."""
        if self._socket is None:
            raise CourseError("the sandbox is closed")
        self._serial += 1
        socket.send_fds(self._socket, [json.dumps({**request, "serial": self._serial}).encode()], descriptors)
        return self._serial

    def kill(self, serial: int) -> None:
        if self._socket is not None and serial not in self._statuses:
            with contextlib.suppress(OSError):
                self._socket.send(json.dumps({"op": "kill", "serial": serial}).encode())

    def ended(self, serial: int, seconds: float) -> int | None:
        """A child's exit code; None if it does not end in time. Raises EOFError or OSError if the process that forked it is gone."""
        deadline = time.monotonic() + seconds
        while serial not in self._statuses:
            message = self.hear(deadline)
            if message is None:
                return None
            self._statuses[message["exited"]] = message["status"]
        return self._statuses[serial]

    def hear(self, deadline: float) -> dict[str, Any] | None:
        """The next message; None if none comes in time. Raises EOFError if the other end is gone."""
        if self._socket is None:
            raise EOFError
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._socket], [], [], left)[0]:
            return None
        data = self._socket.recv(65536)
        if not data:
            raise EOFError
        return json.loads(data)

    def ready(self) -> None:
        """Wait until the other end has imported what it is to have. Raises IsolationError, or EOFError or OSError if it is gone."""
        message = self.hear(time.monotonic() + START_SECONDS)
        if message is None:
            raise IsolationError(f"the sandbox did not start within {START_SECONDS:g} s")
        if "ready" not in message:
            raise isolation_error(message.get("failed", {}))

    def close(self) -> None:
        """At which the other end exits, and with it all that was forked from it."""
        self.theirs.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Root:
    """The process that zygotes of units are forked from. A context manager. For one thread at a time.

    third_party: modules to import beforehand, for all units; data: of packages of the course, the folder in which the files lie that they
    read (its subfolders without Python code are seen by the units that ask for them).
    isolation: "strict" (all of `isolation.REQUIRED`, or IsolationError) or "reduced" (see REDUCED).
    in_force: each layer, "on" or why it is off. description: that in one line. alive: False once it was found dead.
    """

    can_fork = sys.platform == "linux"  # elsewhere a fork after such imports is not to be relied on

    def __init__(
        self, third_party: Iterable[str] = (), *, data: Mapping[str, Path] | None = None, isolation: str = "strict"
    ) -> None:
        if isolation not in ("strict", "reduced"):
            raise CourseError(f"isolation is 'strict' or 'reduced', got {isolation!r}")
        self.isolation = isolation
        self.alive = True
        self._process: subprocess.Popen[bytes] | None = None
        self._control: Control | None = None
        paths, site = host.library_paths()
        self._folders: dict[str, str] = {}
        for number, (package, folder) in enumerate((data or {}).items()):
            inside = [entry for entry in folder.iterdir() if entry.is_dir() and not any(entry.glob("*.py"))]
            self._folders[package] = f"/data/{number}" if isolation == "strict" else str(folder)
            paths += [(str(entry), f"/data/{number}/{entry.name}") for entry in inside]
        self._places = [place for _, place in paths]
        seen = [place for path, place in paths if path in site] if isolation == "strict" else site
        self.config = {
            "strict": isolation == "strict", "paths": paths, "masks": host.masked(paths, site), "sys_path": seen,
            "third_party": list(third_party),
        }  # fmt: skip
        if isolation == "strict":
            if sys.platform != "linux":
                raise IsolationError(
                    f"strict isolation needs Linux, this is {sys.platform}; --isolation reduced {REDUCED}", "user"
                )
            self.in_force = dict.fromkeys(REQUIRED, "on") | NOT_USED
            self.description = f"strict ({', '.join(REQUIRED)})"
        else:
            self.in_force = dict.fromkeys((*REQUIRED, *NOT_USED), "off: reduced isolation")
            self.in_force["limits"] = "on" if os.name == "posix" else "off: only on POSIX systems"
            self.description = f"reduced ({REDUCED})"
        if self.can_fork:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start(self) -> None:
        self._control = Control()
        try:
            with self._control.theirs as theirs:
                self._process = host.run_boot(pass_fds=(theirs.fileno(),), stdout=subprocess.DEVNULL)
                config = self.config | {"control": theirs.fileno()}
            host.send_boot(self._process, host.own_sources(), "course.sandbox.zygote:main", config)
            self._control.ready()
        except (BrokenPipeError, EOFError, ConnectionResetError):
            said = self._complaint()
            self.close()
            raise IsolationError(f"the sandbox did not start: {said}") from None
        except BaseException:
            self.close()
            raise

    def _complaint(self) -> str:
        assert self._process is not None and self._process.stderr is not None
        self._process.kill()
        lines = self._process.stderr.read(65536).decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it ended without a word"

    def seen(self, packages: Iterable[str]) -> tuple[dict[str, str], list[str]]:
        """For a unit that reads these packages' files: where each lies, and all that it may see of the disk."""
        folders = {package: self._folders[package] for package in packages}
        hidden = [f"{place}/" for package, place in self._folders.items() if package not in folders]
        return folders, [place for place in self._places if not place.startswith(tuple(hidden))]

    def adopt(self, config: dict[str, Any]) -> tuple[Control, int]:
        """Fork a process of a unit: its socket, and its serial number. Raises IsolationError."""
        assert self._control is not None
        control = Control()
        theirs_read, ours = os.pipe()
        try:
            with control.theirs as theirs:
                serial = self._control.fork({"op": "unit"}, [theirs.fileno(), theirs_read])
            os.close(theirs_read)
            theirs_read = -1
            with os.fdopen(ours, "wb") as pipe:
                ours = -1
                pipe.write(host.packed(config))
            control.ready()
        except (EOFError, OSError):
            control.close()
            self.alive = self.answers()
            raise IsolationError("the sandbox has ended") from None
        except BaseException:
            control.close()
            raise
        finally:
            for descriptor in (theirs_read, ours):
                if descriptor >= 0:
                    os.close(descriptor)
        return control, serial

    def answers(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def let_go(self, serial: int) -> None:
        """Wait until the process of a unit, whose socket has been closed, is gone."""
        if self._control is None:
            return
        try:
            if self._control.ended(serial, STOP_SECONDS) is None:
                self._control.kill(serial)
                self._control.ended(serial, STOP_SECONDS)
        except (EOFError, OSError):
            self.alive = False

    def close(self) -> None:
        """End the root, every zygote and every child. Idempotent."""
        if self._control is not None:
            self._control.close()  # as the first process of its namespace it takes all others with it
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            for stream in (self._process.stdin, self._process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            self._process = None
