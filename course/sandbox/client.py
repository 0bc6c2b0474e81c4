"""The trusted side of the sandbox: starts a zygote for a unit, opens a session for each submission, and believes nothing it hears.

    with Zygote(preload, third_party) as zygote:
        with zygote.open(source) as session:      # a `course.checking.impl.Backend`
            verdicts = run(suite, Impl(session, reference_module(unit)))

What a submission can make of its end of the wire is what its functions could have returned anyway: a reply is data, it answers one
request (each has a number that cannot be guessed), and it is checked by `codec`. A submission that writes replies itself therefore gains
nothing beyond right answers that it computed.
"""

import contextlib
import json
import os
import queue
import secrets
import select
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol

from course.errors import CourseError
from course.sandbox import codec
from course.sandbox.boot import OWN
from course.sandbox.codec import WireError
from course.sandbox.terms import NOT_USED, REQUIRED, LayerError, Limits
from course.wire import ImplementationError, Remote, Target

REDUCED = "protects against crashes, not against attackers"
START_SECONDS = 120.0  # for a zygote to import its libraries
STOP_SECONDS = 5.0  # for a killed process to be gone
TEXT_LIMIT = {"what": 100, "kind": 80, "message": 300, "line": 200}
CAUSES = {"SIGKILL": " (most likely out of memory)", "SIGSEGV": " (invalid memory access or runaway recursion)"}
BOOT = "import sys; exec(compile(sys.argv[1], 'sent:boot', 'exec'))"  # so that its file is not "<string>", as a learner's may be
GONE = 1 << 16  # in place of an exit code: nobody is left to tell it
PARTS = ("alone", "cells", "codec", "isolation", "seccomp", "terms", "worker", "zygote")
SENT = ("course", "course.guard", "course.wire", "course.sandbox", *(f"course.sandbox.{part}" for part in PARTS))
# All that a sandboxed process has of an environment. One thread each: a zygote may not have more, and a child needs none.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive",
    "HOME": "/tmp", "TMPDIR": "/tmp", "USER": "sandbox", "MPLCONFIGDIR": "/tmp/matplotlib", "MPLBACKEND": "agg",
    "TORCHINDUCTOR_CACHE_DIR": "/tmp/inductor", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # large pages: a fork copies fewer tables
    "LC_ALL": "C.UTF-8", "PATH": "/nonexistent", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip


class IsolationError(CourseError):
    """The sandbox cannot be had on this host, or cannot import what the unit needs. `layer` names what is missing, if it is one."""

    def __init__(self, message: str, layer: str = "") -> None:
        super().__init__(message)
        self.layer = layer


class SessionError(ImplementationError):
    """A session is over, and it is the submission's doing. An ImplementationError, so that a test that meets it has failed."""

    def __init__(self, what: str, message: str) -> None:
        super().__init__(what, "", message)


class Timeout(SessionError):
    """An answer did not come in time; the child was killed."""


class Died(SessionError):
    """The child ended: it crashed, ran out of memory, or was made to exit. `signal` names what killed it, `code` is its exit code."""

    def __init__(self, what: str, message: str, signal: str = "", code: int | None = None) -> None:
        super().__init__(what, message)
        self.signal, self.code = signal, code


class BadReply(SessionError, WireError):
    """The child sent what is no valid reply; it was killed."""


class _Late(Exception):
    """The deadline passed."""


class _Wire(Protocol):
    def send(self, data: bytes, deadline: float) -> None: ...
    def receive(self, count: int, deadline: float) -> bytearray: ...
    def close(self) -> None: ...


class _Pipes:
    """Two pipes, read and written without ever waiting past a deadline."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(reading, select.POLLIN)
        self._writable.register(writing, select.POLLOUT)

    def send(self, data: bytes, deadline: float) -> None:
        """Raises _Late, or OSError if nobody reads."""
        view = memoryview(data)
        while len(view):
            self._wait(self._writable, deadline)
            with contextlib.suppress(BlockingIOError):
                view = view[os.write(self._writing, view[: 1 << 20]) :]

    def receive(self, count: int, deadline: float) -> bytearray:
        """Raises _Late, or EOFError."""
        data = bytearray()
        while len(data) < count:
            self._wait(self._readable, deadline)
            with contextlib.suppress(BlockingIOError):
                part = os.read(self._reading, min(count - len(data), 1 << 20))
                if not part:
                    raise EOFError
                data += part
        return data

    def _wait(self, poll: "select.poll", deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise _Late

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class _Threads:
    """The same over a subprocess's pipes where they cannot be polled (Windows): one thread reads, one writes."""

    def __init__(self, reading: IO[bytes], writing: IO[bytes]) -> None:
        self._reading, self._writing = reading, writing
        self._incoming: queue.Queue[bytes] = queue.Queue(maxsize=64)
        self._outgoing: queue.Queue[tuple[bytes, threading.Event] | None] = queue.Queue()
        self._rest = bytearray()
        self._ended = False
        for work in (self._read, self._write):
            threading.Thread(target=work, daemon=True).start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(self._reading.fileno(), 1 << 16):
                self._incoming.put(part)
        self._incoming.put(b"")

    def _write(self) -> None:
        while (job := self._outgoing.get()) is not None:
            with contextlib.suppress(OSError, ValueError):
                self._writing.write(job[0])
                self._writing.flush()
            job[1].set()

    def send(self, data: bytes, deadline: float) -> None:
        done = threading.Event()
        self._outgoing.put((data, done))
        if not done.wait(max(0.0, deadline - time.monotonic())):
            raise _Late

    def receive(self, count: int, deadline: float) -> bytearray:
        while len(self._rest) < count:
            if self._ended:
                raise EOFError
            try:
                part = self._incoming.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise _Late from None
            self._ended = not part
            self._rest += part
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def close(self) -> None:
        self._outgoing.put(None)
        while not self._ended:  # let the reading thread, which may wait for room, come to its end
            self._ended = not self._incoming.get()
        for stream in (self._reading, self._writing):
            with contextlib.suppress(OSError):
                stream.close()


class _Child(Protocol):
    def kill(self) -> None: ...
    def ended(self, seconds: float) -> int | None:
        """Its exit code, negative for a signal; GONE if its zygote is gone with it; None if it did not end in time."""


@dataclass(frozen=True)
class CellOutput:
    """What a stranger's notebook cell made, by its own account: printed text, (MIME types, plain text) of each output, and its error."""

    text: str
    outputs: tuple[tuple[tuple[str, ...], str], ...]
    error: str


class Session:
    """One submission in one child: a `course.checking.impl.Backend`. Once it has failed it is `dead`, and every further call fails in the same way."""

    def __init__(self, wire: _Wire, child: _Child, limits: Limits) -> None:
        self._wire, self._child, self._limits = wire, child, limits
        self._ends = time.monotonic() + limits.session_seconds
        self._names: dict[int, str] = {}
        self._seed: list[int] | None = None
        self._failure: SessionError | None = None
        self._closed = False

    @property
    def dead(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._closed or self._failure is not None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def seed(self, seed: int, thorough: bool = False) -> None:
        """Seed the child's own randomness, as `Executor.seed`: it is told with the next call, which saves a round trip."""
        self._seed = [int(seed), thorough]

    def call(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """As `Executor.call`. Raises ImplementationError for what the learner's code raises, SessionError for what it does."""
        return self._act("call", target, args=list(args), kwargs=dict(kwargs))

    def vjp(
        self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], wrt: Sequence[int] | str, cotangent: Any
    ) -> Any:
        """As `Executor.vjp`; raises as `call` does."""
        positions = wrt if isinstance(wrt, str) else list(wrt)
        return self._act("vjp", target, args=list(args), kwargs=dict(kwargs), wrt=positions, cotangent=cotangent)

    def load(self, source: str, label: str) -> None:
        """Run the definitions of a grafted module in the child."""
        self._ask("load", label, self._limits.load_seconds, source=source, label=label)

    def run_cell(self, code: str, seconds: float) -> CellOutput:
        """Run one cell of a notebook in the child, apart from what `load` loaded. Raises SessionError."""
        reply = self._ask("cell", "the cell", seconds, code=code)
        try:
            text, outputs, error = reply["text"], reply["outputs"], reply["error"]
            shown = tuple((tuple(_plain(kind, 80) for kind in kinds), str(plain)) for kinds, plain in outputs)
            return CellOutput(str(text), shown, _plain(error, TEXT_LIMIT["message"]))
        except (KeyError, TypeError, ValueError, AttributeError):
            self._failure = BadReply("the cell", "the cell sent an invalid reply")
            self._child.kill()
            raise self._failure from None

    def _act(self, op: str, target: Target, **body: Any) -> Any:
        what = self._spell(target)
        if self._seed is not None:
            body["seed"], self._seed = self._seed, None
        value = self._ask(op, what, self._limits.call_seconds, target=[target.name, target.object_id, target.how], **body)
        if isinstance(value, Remote):
            self._names[value.id] = _plain(value.type_name, 80)
        return value

    def _spell(self, target: Target) -> str:
        if target.object_id is None:
            return target.name
        owner = self._names.get(target.object_id, "object")
        return f"{owner}.{'forward' if target.name == '__call__' else target.name}"

    def _ask(self, op: str, what: str, seconds: float, **body: Any) -> Any:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._closed:
            raise CourseError("the session is closed")
        number = secrets.randbits(62)  # not to be guessed, so a reply cannot be sent ahead of its question
        try:
            message = codec.encode({"op": op, "id": number, **body})
        except WireError as error:
            raise CourseError(f"the test gives {what} something that cannot be sent: {error}") from None
        now = time.monotonic()
        deadline = min(now + seconds, self._ends)
        try:
            self._wire.send(message, deadline)
            reply = codec.read_message(lambda count: self._wire.receive(count, deadline))
            return self._value(reply, number)
        except _Late:
            spent = f"{seconds:g} s" if deadline == now + seconds else f"{self._limits.session_seconds:g} s in all"
            self._failure = Timeout(what, f"timed out after {spent} in {what}")
        except (EOFError, OSError):
            self._failure = self._death(what)
        except WireError as error:
            self._failure = BadReply(what, f"{what} sent an invalid reply: {error}")
        self._child.kill()
        raise self._failure

    def _value(self, reply: Any, number: int) -> Any:
        """What a reply carries. Raises ImplementationError if that is an error, WireError if it is no reply to this request."""
        if type(reply) is not dict or reply.get("id") != number or reply.keys() not in ({"id", "ok"}, {"id", "error"}):
            raise WireError("it answers another question, or none")
        if "ok" in reply:
            return reply["ok"]
        error = reply["error"]
        if type(error) is not dict or error.keys() != TEXT_LIMIT.keys() or any(type(part) is not str for part in error.values()):
            raise WireError("its error is malformed")
        parts = {name: _plain(error[name], limit) for name, limit in TEXT_LIMIT.items()}
        raise ImplementationError(parts["what"], parts["kind"], parts["message"], parts["line"])

    def _death(self, what: str) -> Died:
        code = self._child.ended(STOP_SECONDS)
        if code == GONE:
            return Died(what, f"the sandbox itself ended while it ran {what}")
        if code is None:
            return Died(what, f"{what} closed the connection to the grader")
        if code >= 0:
            return Died(what, f"{what} ended its process (exit code {code})", code=code)
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return Died(what, f"{what} was killed by {name}{CAUSES.get(name, '')}", signal=name)

    def hello(self) -> Any:
        """The child's first message, sent before it has seen anything of a submission."""
        deadline = time.monotonic() + START_SECONDS
        return codec.read_message(lambda count: self._wire.receive(count, deadline))

    def close(self) -> None:
        """Kill the child with all that it started, and wait until it is gone. Raises IsolationError if that cannot be done."""
        if self._closed:
            return
        self._closed = True
        self._child.kill()
        self._wire.close()
        if self._child.ended(STOP_SECONDS) is None:
            raise IsolationError("a sandboxed process could not be ended")


class _Forked:
    """A child of the zygote, seen from here."""

    def __init__(self, zygote: "Zygote", serial: int) -> None:
        self._zygote, self._serial = zygote, serial

    def kill(self) -> None:
        self._zygote._kill(self._serial)

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


class Zygote:
    """A sandbox for one unit. A context manager. For one thread at a time.

    preload: sources of the modules that the unit imports from the course, by name; third_party: other modules to import beforehand;
    data: of packages among these, the folder in which the files lie that they read (its subfolders without Python code are seen).
    isolation: "strict" (all of `isolation.REQUIRED`, or IsolationError) or "reduced" (see REDUCED).
    in_force: each layer, "on" or why it is off. description: that in one line. alive: False once the zygote was found dead, which no
    submission can bring about: what ran in it is to be graded again.
    """

    _can_fork = sys.platform == "linux"  # elsewhere a fork after such imports is not to be relied on

    def __init__(
        self,
        preload: dict[str, str],
        third_party: list[str],
        *,
        data: Mapping[str, Path] | None = None,
        isolation: str = "strict",
        limits: Limits | None = None,
    ) -> None:
        if isolation not in ("strict", "reduced"):
            raise CourseError(f"isolation is 'strict' or 'reduced', got {isolation!r}")
        self.isolation, self.limits = isolation, limits or Limits()
        self.alive = True
        self._statuses: dict[int, int] = {}
        self._serial = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        paths, site = library_paths()
        folders: dict[str, str] = {}
        for number, (package, folder) in enumerate((data or {}).items()):
            inside = [entry for entry in folder.iterdir() if entry.is_dir() and not any(entry.glob("*.py"))]
            folders[package] = f"/data/{number}" if isolation == "strict" else str(folder)
            paths += [(str(entry), f"/data/{number}/{entry.name}") for entry in inside]
        seen = [place for path, place in paths if path in site] if isolation == "strict" else site
        self._config = {
            "strict": isolation == "strict", "paths": paths, "masks": masked(paths, site), "sys_path": seen,
            "third_party": third_party, "preload": list(preload), "folders": folders,
        }  # fmt: skip
        self._modules = _own_sources() | preload
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
        if self._can_fork:
            self._start()

    def __enter__(self) -> "Zygote":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def open(
        self, source: str, *, label: str = "submission", timeout: float | None = None, limits: Limits | None = None
    ) -> Session:
        """A session in a new child, with `source` loaded. timeout: seconds for loading and for each call, in place of those of `limits`.

        Raises ImplementationError or SessionError if the source does not load, IsolationError if a layer fails.
        """
        limits = limits or self.limits
        if timeout is not None:
            limits = replace(limits, load_seconds=timeout, call_seconds=timeout)
        session = self._fork(limits) if self._can_fork else self._spawn(limits)
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
        except (_Late, EOFError, OSError, WireError) as error:
            raise IsolationError(f"a sandboxed child did not come up ({type(error).__name__})") from None
        if reply == {"id": 0, "ok": "ready"}:
            return
        problem = reply.get("error") if isinstance(reply, dict) else None
        if not isinstance(problem, dict):
            raise IsolationError("a sandboxed child did not come up")
        raise _isolation_error(problem)

    # A child by fork

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._control = ours
            self._process = _run_boot(pass_fds=(theirs.fileno(),), stdout=subprocess.DEVNULL)
            config = self._config | {"control": theirs.fileno()}
        try:
            _send_boot(self._process, self._modules, "course.sandbox.zygote:main", config)
            message = self._hear(time.monotonic() + START_SECONDS)
            if message is None:
                raise IsolationError(f"the sandbox did not start within {START_SECONDS:g} s")
            if "ready" not in message:
                raise _isolation_error(message.get("failed", {}))
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

    def _fork(self, limits: Limits) -> Session:
        if self._control is None:
            raise CourseError("the sandbox is closed")
        self._serial += 1
        request = json.dumps({"op": "fork", "serial": self._serial, "limits": asdict(limits)}).encode()
        child_reads, we_write = os.pipe()
        we_read, child_writes = os.pipe()
        try:
            socket.send_fds(self._control, [request], [child_reads, child_writes])
        except OSError:
            os.close(we_write)
            os.close(we_read)
            self.alive = False
            raise IsolationError("the sandbox has ended") from None
        finally:
            os.close(child_reads)
            os.close(child_writes)
        return Session(_Pipes(we_read, we_write), _Forked(self, self._serial), limits)

    def _kill(self, serial: int) -> None:
        if self._control is not None and serial not in self._statuses:
            with contextlib.suppress(OSError):
                self._control.send(json.dumps({"op": "kill", "serial": serial}).encode())

    def _ended(self, serial: int, seconds: float) -> int | None:
        deadline = time.monotonic() + seconds
        while serial not in self._statuses:
            try:
                message = self._hear(deadline)
            except (EOFError, OSError):
                self.alive = False
                return GONE  # the zygote, and every child with it
            if message is None:
                return None
            self._statuses[message["exited"]] = message["status"]
        return self._statuses[serial]

    def _hear(self, deadline: float) -> dict[str, Any] | None:
        """The zygote's next message; None if none comes in time. Raises EOFError if it is gone."""
        if self._control is None:
            raise EOFError
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._control], [], [], left)[0]:
            return None
        data = self._control.recv(65536)
        if not data:
            raise EOFError
        return json.loads(data)

    # A child by a new process

    def _spawn(self, limits: Limits) -> Session:
        process = _run_boot(stdout=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        session = Session(_Threads(process.stdout, process.stdin), _Spawned(process), limits)
        try:
            _send_boot(process, self._modules, "course.sandbox.alone:serve_alone", self._config, close=False)
        except OSError:
            session.close()
            raise IsolationError("a child did not start") from None
        return session

    def close(self) -> None:
        """End the zygote and every child. Idempotent."""
        if self._control is not None:
            self._control.close()  # at which it exits, and as the first process of its namespace it takes all others with it
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


def probe() -> dict[str, str]:
    """Each layer of isolation: "" if it works on this host, else the reason in words. Raises IsolationError if nobody could be asked."""
    if sys.platform != "linux":
        return dict.fromkeys(REQUIRED, f"this is {sys.platform}, not Linux") | NOT_USED
    with _run_boot(stdout=subprocess.PIPE) as process:
        _send_boot(process, _own_sources(), "course.sandbox.isolation:answer_probe", {"paths": library_paths()[0]}, close=True)
        assert process.stdout is not None
        answer = process.stdout.read()
    try:
        return json.loads(answer)
    except ValueError:
        raise IsolationError("the probe of the isolation layers ended without an answer") from None


def library_paths() -> tuple[list[tuple[str, str]], list[str]]:
    """What a sandbox sees of the disk (interpreter's libraries, installed packages, system libraries), each with the name that it has there;
    and the packages' folders alone, by their names here."""
    known = [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    site = [path for path in dict.fromkeys([*known, *sys.path]) if Path(path).name in ("site-packages", "dist-packages")]
    site = [path for path in site if os.path.isdir(path)]
    base = "/usr/lib" if sys.base_prefix == "/usr" else f"{sys.base_prefix}/lib"
    system = dict.fromkeys((base, sysconfig.get_path("stdlib"), "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"))
    wanted = [path for path in system if os.path.exists(path)]
    outer = [path for path in wanted if not any(path != other and Path(path).is_relative_to(other) for other in wanted)]
    return [(path, path) for path in outer] + [(path, f"/site/{number}") for number, path in enumerate(site)], site


def masked(paths: list[tuple[str, str]], site: list[str]) -> list[str]:
    """Folders to hide: this course, wherever an installation or a checkout of it lies below a visible one."""
    hidden = [Path(path) / name for path in site for name in sorted(OWN)] + [Path(__file__).resolve().parent.parent.parent]
    return [
        str(Path(place) / secret.relative_to(path))
        for path, place in paths
        for secret in hidden
        if secret.is_relative_to(path) and secret != Path(path)
    ]


def _own_sources() -> dict[str, str]:
    sources = {}
    for name in SENT:
        package, _, leaf = name.rpartition(".")
        inner = resources.files(name) if name in ("course", "course.sandbox") else None
        file = inner / "__init__.py" if inner is not None else resources.files(package) / f"{leaf}.py"
        sources[name] = file.read_text(encoding="utf-8")
    return sources


def _run_boot(*, stdout: int, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """A bare interpreter that waits for `_send_boot`: no site, no user packages, no current folder, no environment, no descriptors."""
    text = (resources.files("course.sandbox") / "boot.py").read_text(encoding="utf-8")
    posix: dict[str, Any] = {"pass_fds": pass_fds, "start_new_session": True, "cwd": "/"} if os.name == "posix" else {}
    needed = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP") if os.name == "nt" and name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", BOOT, text],
        stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE if stdout == subprocess.DEVNULL else subprocess.DEVNULL,
        env=ENVIRONMENT | needed, **posix,
    )  # fmt: skip


def _send_boot(
    process: subprocess.Popen[bytes], modules: dict[str, str], main: str, config: dict[str, Any], *, close: bool = True
) -> None:
    assert process.stdin is not None
    data = json.dumps({"modules": modules, "main": main, "config": config}).encode()
    process.stdin.write(len(data).to_bytes(8, "big") + data)
    process.stdin.flush()
    if close:
        process.stdin.close()


def _isolation_error(problem: dict[str, Any]) -> IsolationError:
    layer, reason = _plain(str(problem.get("layer", "")), 40), _plain(str(problem.get("reason", "no reason given")), 500)
    if layer:
        return IsolationError(f"{LayerError(layer, reason)}. --isolation reduced does without, but only {REDUCED}", layer)
    return IsolationError(f"the sandbox could not be prepared: {reason}")


def _plain(text: str, limit: int) -> str:
    """One line of printable characters, capped."""
    line = "".join(character if character.isprintable() else " " for character in text[: 4 * limit])
    return line if len(line) <= limit else line[: limit - 1] + "…"
