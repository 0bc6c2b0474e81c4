"""The processes that submissions are forked from: confined, single-threaded, libraries imported, no secret in their memory.

There is one *root*, which has imported torch and nothing of a unit. From it a zygote is forked for each unit, which imports what that unit
needs and shares the rest; from that a child for each submission. Both talk to the trusted side in JSON over a socket of which no child has
an end, and never run or read anything of a submission: a child gets its two pipes, confines itself, and only then is sent the source.
"""

import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from course.sandbox import isolation as layers  # and nothing yet that brings torch: that comes when this process is confined
from course.sandbox import kernel
from course.sandbox.alone import import_all, import_unit
from course.sandbox.terms import LayerError, Limits

WIRE_IN, WIRE_OUT = 3, 4


def main(config: dict[str, Any], importer: Any) -> None:
    """The root: confine, import, then fork a zygote for each unit that is asked for, until the trusted side hangs up.

    config: `control` (descriptor of the socket), `strict`, `paths`, `masks`, and what `import_all` takes.
    """
    control = socket.socket(fileno=config["control"])
    control.setblocking(True)
    proc = -1
    try:
        if config["strict"]:
            proc = layers.enter(config["paths"], config["masks"], 256 << 20)
        elif os.path.exists("/proc/self/status"):
            proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        import_all(config)
        root = _Root(control, bool(config["strict"]), proc, importer)
    except BaseException as error:
        _give_up(control, error)
    _say(control, {"ready": True})
    root.run()


def _give_up(control: socket.socket, error: BaseException) -> NoReturn:
    layer, reason = (
        (error.layer, error.reason) if isinstance(error, LayerError) else ("", f"{type(error).__name__}: {error}"[:500])
    )
    _say(control, {"failed": {"layer": layer, "reason": reason}})
    os._exit(71)


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


class _Zygote:
    """Forks on request, and says when a child has ended. proc: a descriptor of /proc, -1 where there is none."""

    def __init__(self, control: socket.socket, strict: bool, proc: int) -> None:
        self._control, self._strict, self._proc = control, strict, proc
        self._own, self._memory = -1, 1 << 50
        self._children: dict[int, tuple[int, int]] = {}  # serial -> process, descriptor of the process
        if proc >= 0:
            self._own, status = layers.own_namespace(proc)
            self._memory, threads = layers.usage(status)
            if threads != 1:
                raise RuntimeError(f"{threads} threads are running after the imports; a fork would tear them apart")

    def run(self) -> NoReturn:
        """Serve until the trusted side is gone; then everything that was forked from here goes."""
        waiting = select.poll()
        waiting.register(self._control, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll()}
            for serial, (process, descriptor) in list(self._children.items()):
                if descriptor in ready:
                    _, status = os.waitpid(process, 0)
                    waiting.unregister(descriptor)
                    os.close(descriptor)
                    del self._children[serial]
                    _say(self._control, {"exited": serial, "status": os.waitstatus_to_exitcode(status)})
            if self._control.fileno() not in ready:
                continue
            data, descriptors, _, _ = socket.recv_fds(self._control, 65536, 2)
            if not data:
                for serial in self._children:
                    self._kill(serial)
                os._exit(0)
            request = json.loads(data)
            if request["op"] == "kill":
                self._kill(request["serial"])
            else:
                process = self._fork(descriptors, request)
                for descriptor in descriptors:
                    os.close(descriptor)
                if process < 0:
                    _say(self._control, {"exited": request["serial"], "status": 71})
                    continue
                self._children[request["serial"]] = (process, os.pidfd_open(process))
                waiting.register(self._children[request["serial"]][1], select.POLLIN)

    def _kill(self, serial: int) -> None:
        """Kill a child with all that it started: in strict the namespace of which it is the first process, else its group."""
        if serial in self._children:
            process, _ = self._children[serial]  # it is not reaped yet, so the number is still its own
            try:
                if not self._strict:
                    os.killpg(process, signal.SIGKILL)
            except OSError:
                pass  # it had not become a group yet
            os.kill(process, signal.SIGKILL)

    def _fork(self, descriptors: list[int], request: dict[str, Any]) -> int:
        """The new child's number; -1 if there is none. Never returns in the child."""
        try:
            process = layers.fork_apart(self._own) if self._strict else os.fork()
        except OSError:
            return -1
        if process == 0:
            try:
                if sys.platform == "linux":
                    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
                os.setsid()  # a process group is shared across namespaces: kill(0, …) would reach the zygote
                self._become(descriptors, request)
            finally:
                os._exit(70)
        return process

    def _become(self, descriptors: list[int], request: dict[str, Any]) -> None:
        raise NotImplementedError


class _Root(_Zygote):
    """Forks zygotes of units. A request brings the zygote's own socket, and a pipe from which it reads what it is to import."""

    def __init__(self, control: socket.socket, strict: bool, proc: int, importer: Any) -> None:
        super().__init__(control, strict, proc)
        self._importer = importer

    def _become(self, descriptors: list[int], request: dict[str, Any]) -> None:
        self._control.close()
        os.close(self._own) if self._own >= 0 else None
        for _, descriptor in self._children.values():
            os.close(descriptor)
        from course.sandbox.worker import Stream

        control = socket.socket(fileno=descriptors[0])
        control.setblocking(True)
        try:
            stream = Stream(descriptors[1])
            config: dict[str, Any] = json.loads(stream.read(int.from_bytes(stream.read(8), "big")))
            os.close(descriptors[1])
            import_unit(config, self._importer)
            zygote = _UnitZygote(control, self._strict, self._proc, config["places"])
        except BaseException as error:
            _give_up(control, error)
        _say(control, {"ready": True})
        zygote.run()


class _UnitZygote(_Zygote):
    """Forks the children of submissions. places: what of the disk they may read."""

    def __init__(self, control: socket.socket, strict: bool, proc: int, places: list[str]) -> None:
        super().__init__(control, strict, proc)
        self._places = places
        if proc >= 0:
            os.close(proc)

    def _become(self, descriptors: list[int], request: dict[str, Any]) -> None:
        from course.sandbox import codec, worker

        limits = Limits(**request["limits"])
        reading, writing = (os.dup(descriptor) for descriptor in descriptors)  # above the numbers that they are to have
        while min(reading, writing) <= WIRE_OUT:
            reading, writing = os.dup(reading), os.dup(writing)
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.dup2(reading, WIRE_IN)
        os.dup2(writing, WIRE_OUT)
        try:
            if sys.platform == "linux":
                kernel.close_from(WIRE_OUT + 1)
            else:
                os.closerange(WIRE_OUT + 1, 65536)
            if self._strict:
                layers.confine(limits, self._memory, self._places)
            else:
                layers.set_limits(limits, self._memory)
        except LayerError as error:
            problem = {"layer": error.layer, "reason": error.reason}
            worker.write_all(WIRE_OUT, codec.encode({"id": 0, "error": problem}))
            os._exit(71)
        worker.write_all(WIRE_OUT, codec.encode({"id": 0, "ok": "ready"}))
        worker.serve(WIRE_IN, WIRE_OUT)
