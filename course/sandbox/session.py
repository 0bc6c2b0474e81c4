"""One submission in one child, seen from the trusted side: what is asked of it, how long it may take, and what its answers may say.

What a submission can make of its end of the wire is what its functions could have returned anyway: a reply is data, it answers one
request (each has a number that cannot be guessed), and it is checked by `codec`. A submission that writes replies itself therefore gains
nothing beyond right answers that it computed. What was called is known here, and is never taken from a reply.
"""

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Protocol

from course.errors import CourseError
from course.sandbox import codec, words
from course.sandbox.codec import WireError
from course.sandbox.host import IsolationError
from course.sandbox.terms import ABORTED, Limits
from course.sandbox.wires import Late, Wire
from course.wire import EAGER, ImplementationError, Remote, Target

START_SECONDS = 120.0  # for a process of the sandbox to import its libraries
STOP_SECONDS = 5.0  # for a killed process to be gone
TEXT_LIMIT = {"kind": 200, "message": 300, "line": 200}
GONE = 1 << 16  # in place of an exit code: nobody is left to tell it
OURS = 1 << 32  # objects that this side has named have numbers from here on; the child counts from 1
QUEUE_LIMIT = 4 << 20  # bytes that may wait
HOLE = ": yours to write"  # how the message of an unwritten stub ends (`course.units.source.stub_message`)
TARGET = [field.name for field in fields(Target)]


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


class Clock:
    """The learner's own time: what all children of one submission take for their answers, and nothing that this side does meanwhile."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.spent = seconds, 0.0

    @property
    def left(self) -> float:
        return self.seconds - self.spent


class Child(Protocol):
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
    """One submission in one child: a `course.checking.impl.Backend`. Once it has failed it is `dead`, and every further call fails in the same way.

    What is constructed and told waits, and goes with the next question in one message: its error comes up there, with its own name.
    """

    def __init__(self, wire: Wire, child: Child, limits: Limits, clock: Clock | None = None) -> None:
        self._wire, self._child, self._limits = wire, child, limits
        self._clock = clock or Clock(limits.session_seconds)
        self._names: dict[int, str] = {}
        self._seed: list[Any] | None = None
        self._made = OURS
        self._queue: list[str] = []  # what each waiting message is about
        self._waiting = bytearray()
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
        """Begin a round, as `Executor.seed`: the child is told with the next call. What nobody waits for any more is forgotten."""
        self._seed = [int(seed), thorough]
        self._forget()

    def call(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """As `Executor.call`. Raises ImplementationError for what the learner's code raises, SessionError for what it does."""
        return self._act("call", target, args=list(args), kwargs=dict(kwargs))

    def vjp(
        self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any], wrt: Sequence[int] | str, cotangent: Any
    ) -> Any:
        """As `Executor.vjp`; raises as `call` does."""
        positions = wrt if isinstance(wrt, str) else list(wrt)
        return self._act("vjp", target, args=list(args), kwargs=dict(kwargs), wrt=positions, cotangent=cotangent)

    def construct(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Remote:
        """As `Executor.construct`, sooner or later."""
        self._made += 1
        self._names[self._made] = target.name
        self._later("construct", target, args=list(args), kwargs=dict(kwargs), identity=self._made)
        return Remote(self._made, target.name)

    def tell(self, target: Target, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """As `Executor.tell`, sooner or later."""
        self._later("tell", target, args=list(args), kwargs=dict(kwargs))

    def settle(self) -> None:
        """Wait for all that was constructed and told. Raises what the first of it to fail raised."""
        if self._queue:
            self._ask("settle", self._queue[-1], self._limits.call_seconds)

    def load(self, source: str, label: str) -> None:
        """Run the definitions of a grafted module in the child."""
        self._ask("load", label, self._limits.load_seconds, source=source, label=label)

    def run_cell(self, code: str, seconds: float) -> CellOutput:
        """Run one cell of a notebook in the child, apart from what `load` loaded. Raises SessionError."""
        reply = self._ask("cell", "the cell", seconds, code=code)
        try:
            text, outputs, error = reply["text"], reply["outputs"], reply["error"]
            shown = tuple((tuple(words.plain(kind, 80) for kind in kinds), str(plain)) for kinds, plain in outputs)
            kind, _, message = error.partition(": ")
            own = f"{codec.name(kind, 'an exception')}{words.said(message)}" if error else ""
            return CellOutput(str(text), shown, own)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._failure = BadReply("the cell", "the cell sent an invalid reply")
            self._child.kill()
            raise self._failure from None

    def _act(self, op: str, target: Target, **body: Any) -> Any:
        value = self._ask(op, self._spell(target), self._limits.call_seconds, **self._addressed(target), **body)
        if isinstance(value, Remote):
            self._names[value.id] = value.type_name
        return value

    def _later(self, op: str, target: Target, **body: Any) -> None:
        """Put a message in the queue, as its arguments are now. It goes at once if an error is waited for, or if much waits already."""
        self._refuse_if_over()
        at_once = EAGER.get()
        if at_once:
            self.settle()  # what was asked before is judged apart from this
        what = self._spell(target)
        self._waiting += self._encoded(what, {"op": op, **self._addressed(target), **body})
        self._queue.append(what)
        if at_once or len(self._waiting) > QUEUE_LIMIT:
            self._ask("settle", what, self._limits.call_seconds, at_once=at_once)

    def _addressed(self, target: Target) -> dict[str, Any]:
        """The target for the wire; and the seed, if the child has not been told it yet."""
        seed, self._seed = self._seed, None
        return {"target": [getattr(target, name) for name in TARGET], **({} if seed is None else {"seed": seed})}

    def _spell(self, target: Target) -> str:
        if target.object_id is None:
            return target.name
        owner = self._names.get(target.object_id, "object")
        return f"{owner}.{'forward' if target.name == '__call__' else target.name}"

    def _refuse_if_over(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)
        if self._closed:
            raise CourseError("the session is closed")

    def _encoded(self, what: str, message: dict[str, Any]) -> bytes:
        try:
            return codec.encode(message)
        except WireError as error:
            raise CourseError(f"the test gives {what} something that cannot be sent: {error}") from None

    def _forget(self) -> list[str]:
        queue, self._queue = self._queue, []
        self._waiting = bytearray()
        return queue

    def _ask(self, op: str, what: str, seconds: float, *, at_once: bool = False, **body: Any) -> Any:
        """Send what waits and one question, and hear the answer. The time until it comes is the learner's."""
        self._refuse_if_over()
        number = secrets.randbits(62)  # not to be guessed, so a reply cannot be sent ahead of its question
        message = self._encoded(what, {"op": op, "id": number, **body})
        if self._waiting:
            message = bytes(self._waiting) + message
        asked = [*self._forget(), what]
        started = time.monotonic()
        deadline = started + min(seconds, self._clock.left)
        try:
            self._wire.send(message, deadline)
            reply = codec.read_message(lambda count: self._wire.receive(count, deadline))
            return self._value(reply, number, asked, at_once)
        except Late:
            spent = f"{seconds:g} s" if seconds <= self._clock.left else f"{self._clock.seconds:g} s in all"
            self._failure = Timeout(what, f"timed out after {spent} in {_among(asked)}")
        except (EOFError, OSError):
            self._failure = self._death(what, _among(asked))
        except WireError as error:
            self._failure = BadReply(what, f"{what} sent an invalid reply: {error}")
        finally:
            self._clock.spent += time.monotonic() - started
        self._child.kill()
        raise self._failure

    def _value(self, reply: Any, number: int, asked: list[str], at_once: bool) -> Any:
        """What a reply carries. Raises ImplementationError if that is an error, WireError if it is no reply to this request."""
        if type(reply) is not dict or reply.get("id") != number or reply.keys() not in ({"id", "ok"}, {"id", "error"}):
            raise WireError("it answers another question, or none")
        if "ok" in reply:
            return reply["ok"]
        error = reply["error"]
        if type(error) is not dict or error.keys() != {*TEXT_LIMIT, "at", "number", "changes", "bases"}:
            raise WireError("its error is malformed")
        at, line, changes, bases = error.pop("at"), error.pop("number"), error.pop("changes"), error.pop("bases")
        if (
            type(at) is not int
            or not 0 <= at < len(asked)
            or type(line) is not int
            or type(changes) is not list
            or type(bases) is not list
            or any(type(text) is not str for text in (*error.values(), *bases))
        ):
            raise WireError("its error is malformed")
        raised = _raised(asked[at], **{name: words.plain(error[name], limit) for name, limit in TEXT_LIMIT.items()})
        raised.number, raised.changes, raised.bases = line, changes, bases
        raised.late = at < len(asked) - 1 and not at_once
        raise raised

    def _death(self, what: str, asked: str) -> Died:
        code = self._child.ended(STOP_SECONDS)
        if code == GONE:
            return Died(what, f"the sandbox itself ended while it ran {asked}")
        if code is None:
            return Died(what, f"{asked} closed the connection to the grader")
        code = -6 if code == ABORTED else code
        how, by = words.ending(code)
        return Died(what, f"{asked} {how}", by, None if by else code)

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


def _raised(what: str, kind: str, message: str, line: str) -> ImplementationError:
    """What the learner's code raised, or what our code at its end complains of. Whoever fakes the latter is quoted instead."""
    if not kind:
        ours = words.complaint(message, what)
        return ImplementationError(what, "", ours if ours else f"{what} failed{words.said(message)}", line)
    kind = codec.name(kind, "an exception")
    if kind == "NotImplementedError" and message.endswith(HOLE):  # by which the tests know a stub that is not written
        if message.removesuffix(HOLE).replace(".", "_").isidentifier():
            return ImplementationError(what, kind, message, line)
        message = f"“{message}”"
    error = ImplementationError(what, kind, message, line)
    error.said = words.said(message)
    return error


def _among(asked: list[str]) -> str:
    """The question, and what went with it, since nobody can tell which of them it was."""
    before = [name for name in dict.fromkeys(asked[:-1]) if name != asked[-1]]
    shown = ", ".join(before[:3]) + (", …" if len(before) > 3 else "")
    return f"{asked[-1]} (or in {shown} before it)" if before else asked[-1]
