"""The untrusted end of the wire: runs one grafted module and answers calls on it until the connection closes.

From the first line of the submission on, this process belongs to the learner: whatever it says is only what a stranger says.
"""

import linecache
import os
import sys
import types
from typing import Any

import torch

from course.sandbox import codec
from course.wire import Executor, ImplementationError, Target, last_line

MODULE = "answer"


def serve(reading: int, writing: int) -> None:
    """Answer requests. Ends the process when the other side hangs up."""
    executor: Executor | None = None
    cells: Any = None
    while True:
        try:
            request = codec.read_message(lambda count: read_exactly(reading, count))
        except (EOFError, codec.WireError, OSError):
            os._exit(0)
        try:
            if request["op"] == "load":
                executor = Executor(vars(run_module(request["source"], request["label"])))
                reply: dict[str, Any] = {"ok": None}
            elif request["op"] == "cell":
                if cells is None:
                    from course.sandbox.cells import Cells  # brings IPython, which no other request needs

                    cells = Cells()
                reply = {"ok": cells.run(request["code"])}
            else:
                reply = {"ok": answer(executor, request)}
        except BaseException as error:  # SystemExit and KeyboardInterrupt too: a learner's function may raise anything
            reply = {"error": describe_error(error, request)}
        try:
            message = codec.encode({"id": request["id"], **reply})
        except Exception as error:
            text = f"{what_of(request)} returned what cannot be sent: {error}"
            problem = {"what": what_of(request), "kind": "", "line": "", "message": text}
            message = codec.encode({"id": request["id"], "error": problem})
        try:
            write_all(writing, message)
        except OSError:
            os._exit(0)


def answer(executor: Executor | None, request: dict[str, Any]) -> Any:
    if executor is None:
        raise ImplementationError("", "", "nothing is loaded")
    if "seed" in request:
        executor.seed(*request["seed"])
    target = Target(*request["target"])
    if request["op"] == "call":
        return executor.call(target, request["args"], request["kwargs"])
    return executor.vjp(target, request["args"], request["kwargs"], request["wrt"], request["cotangent"])


def rehearse() -> None:
    """Answer a few calls of a function of our own. What Python and torch set up or specialise at first use is then set up in the
    zygote, once, instead of in every child, where it would also cost copies of the pages that are written. No gradients: a
    process that is to be forked must not have run backward."""
    executor = Executor({"f": lambda x: torch.log_softmax(x, -1)})
    call = {"op": "call", "target": ["f", None, ""], "args": [torch.ones(2, 3, dtype=torch.float64)], "kwargs": {}}
    for number in range(20):
        request = codec.decode(codec.encode({"id": number, "seed": [number, False], **call}))
        codec.decode(codec.encode({"id": number, "ok": answer(executor, request)}))


def run_module(source: str, label: str) -> types.ModuleType:
    """Execute a grafted module. Its lines are known to tracebacks, and its file is spelled as `course.wire` spells an answer's."""
    filename = f"<{label}>"
    module = types.ModuleType(MODULE)
    module.__file__ = filename
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    sys.modules[MODULE] = module  # dataclasses look their module up
    exec(compile(source, filename, "exec", dont_inherit=True), module.__dict__)
    return module


def what_of(request: dict[str, Any]) -> str:
    return request["target"][0] if "target" in request else request["op"]


def describe_error(error: BaseException, request: dict[str, Any]) -> dict[str, str]:
    """What, kind, first line of the message and line of code, as `ImplementationError` has them."""
    if isinstance(error, ImplementationError):
        found = (error.what, error.kind, error.message, error.line)
    else:
        try:
            first = (str(error).strip() or "no message").splitlines()[0]
            line = last_line(error)
        except BaseException:
            first, line = "no message", ""
        found = (what_of(request), type(error).__name__, first, line)
    clean = (str(part).encode("utf-8", "replace").decode()[:1000] for part in found)
    return dict(zip(("what", "kind", "message", "line"), clean, strict=True))


def read_exactly(descriptor: int, count: int) -> bytearray:
    """`count` bytes. Raises EOFError if the stream ends before."""
    data = bytearray()
    while len(data) < count:
        part = os.read(descriptor, min(count - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return data


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(descriptor, view[: 1 << 20]) :]
