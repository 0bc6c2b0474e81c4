"""The untrusted end of the wire: runs one grafted module and answers calls on it until the connection closes.

From the first line of the submission on, this process belongs to the learner: whatever it says is only what a stranger says.
"""

import linecache
import os
import sys
import traceback
import types
from typing import Any

import torch

from course.executor import Executor, last_line
from course.sandbox import codec
from course.wire import ImplementationError, Target, bases_of, is_answer_file

MODULE = "answer"


def serve(reading: int, writing: int) -> None:
    """Answer requests. Ends the process when the other side hangs up.

    A request without a number is told: no reply goes back, but if it fails, nothing more is done until a question comes, whose answer is
    that error.
    """
    served = Served()
    stream = Stream(reading)
    failed: dict[str, Any] | None = None
    told = 0
    while True:
        try:
            request = codec.read_message(stream.read)
        except (EOFError, codec.WireError, OSError):
            os._exit(0)
        value = None
        if failed is None:
            try:
                value = served.do(request)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too: a learner's function may raise anything
                failed = {**describe_error(error), **around(error), "number": line_number(error), "at": told}
        if "id" not in request:
            told += 1
            continue
        reply = {"id": request["id"], "ok": value} if failed is None else {"id": request["id"], "error": failed}
        try:
            message = codec.encode(reply)
        except Exception as error:
            text = f"{what_of(request)} returned what cannot be sent: {error}"
            problem = {"kind": "", "line": "", "message": text, "changes": [], "bases": [], "number": 0, "at": told}
            message = codec.encode({"id": request["id"], "error": problem})
        failed, told = None, 0
        try:
            write_all(writing, message)
        except OSError:
            os._exit(0)


class Served:
    """What a submission's process holds: its grafted module, or a shell for its cells."""

    def __init__(self) -> None:
        self.executor: Executor | None = None
        self._cells: Any = None

    def do(self, request: dict[str, Any]) -> Any:
        """What is asked for. Raises whatever the submission raises."""
        op = request["op"]
        if op == "load":
            self.executor = Executor(vars(run_module(request["source"], request["label"])))
            return None
        if op == "cell":
            if self._cells is None:
                from course.sandbox.cells import Cells  # brings IPython, which no other request needs

                self._cells = Cells()
            return self._cells.run(request["code"])
        if op == "settle":
            return None
        if self.executor is None:
            raise ImplementationError("", "", "nothing is loaded")
        return answer(self.executor, request)


def answer(executor: Executor, request: dict[str, Any]) -> Any:
    if "seed" in request:
        executor.seed(*request["seed"])
    target = Target(*request["target"])
    args, kwargs = request["args"], request["kwargs"]
    if request["op"] == "call":
        return executor.call(target, args, kwargs)
    if request["op"] == "construct":
        return executor.construct(target, args, kwargs, request["identity"])
    if request["op"] == "tell":
        return executor.tell(target, args, kwargs)
    return executor.vjp(target, args, kwargs, request["wrt"], request["cotangent"])


def rehearse() -> None:
    """Answer a few calls of a function of our own. What Python and torch set up or specialise at first use is then set up in the
    zygote, once, instead of in every child, where it would also cost copies of the pages that are written. No gradients: a
    process that is to be forked must not have run backward."""
    served = Served()
    served.executor = Executor({"f": lambda x: torch.log_softmax(x, -1), "Linear": torch.nn.Linear})
    ones = torch.ones(2, 3, dtype=torch.float64)
    for number in range(20):
        for request in (
            {"op": "construct", "target": ["Linear", None], "args": [3, 2], "kwargs": {}, "identity": 1 << 32, "seed": [number]},
            {"op": "tell", "target": ["eval", 1 << 32], "args": [], "kwargs": {}},
            {"op": "call", "target": ["state_dict", 1 << 32], "args": [], "kwargs": {}},
            {"op": "call", "target": ["f", None], "args": [ones], "kwargs": {}},
        ):
            value = served.do(codec.decode(codec.encode(request)))
            codec.decode(codec.encode({"id": number, "ok": value if request["op"] == "call" else None}))


def run_module(source: str, label: str) -> types.ModuleType:
    """Execute a grafted module. Its lines are known to tracebacks, and its file is spelled as `course.wire` spells an answer's."""
    filename = f"<{label}>"
    module = types.ModuleType(MODULE)
    module.__file__ = filename
    lines = [f"{line}\n" for line in source.split("\n")]  # as Python counts them, whatever else breaks a line elsewhere
    linecache.cache[filename] = (len(source), None, lines, filename)
    sys.modules[MODULE] = module  # dataclasses look their module up
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    return module


def what_of(request: dict[str, Any]) -> str:
    return request["target"][0] if "target" in request else request["op"]


def describe_error(error: BaseException) -> dict[str, str]:
    """Kind, first line of the message and line of code, as `ImplementationError` has them. What was called, the other side knows."""
    if isinstance(error, ImplementationError):
        found = (error.kind, error.message, error.line)
    else:
        try:
            first = (str(error).strip() or "no message").splitlines()[0]
            line = last_line(error)
        except BaseException:
            first, line = "no message", ""
        found = (type(error).__name__, first, line)
    clean = (str(part).encode("utf-8", "replace").decode()[:1000] for part in found)
    return dict(zip(("kind", "message", "line"), clean, strict=True))


def around(error: BaseException) -> dict[str, Any]:
    """What a call had changed when it raised, and which built-in exceptions its error is one of."""
    if isinstance(error, ImplementationError):
        return {"changes": error.changes, "bases": list(error.bases)}
    return {"changes": [], "bases": bases_of(error)}


def line_number(error: BaseException) -> int:
    """The innermost line of the answer's file that an error passed through; 0 if there is none."""
    try:
        if isinstance(error, SyntaxError) and is_answer_file(str(error.filename)):
            return int(error.lineno or 0)
        lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if is_answer_file(frame.f_code.co_filename)]
        return lines[-1] if lines else 0
    except BaseException:
        return 0


class Stream:
    """A descriptor, read in large pieces: messages that were sent together are read together."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._rest = descriptor, bytearray()

    def read(self, count: int) -> bytearray:
        """`count` bytes. Raises EOFError if the stream ends before."""
        data = self._rest
        while len(data) < count:
            part = os.read(self._descriptor, min(max(count - len(data), 1 << 16), 1 << 20))
            if not part:
                raise EOFError
            data += part
        self._rest = data[count:]
        del data[count:]
        return data


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view[: 1 << 20]) :]
