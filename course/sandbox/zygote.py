"""The process that submissions are forked from: confined, single-threaded, libraries imported, no secret in its memory.

It talks to the trusted side in JSON over a socket of which no child has an end, and never runs or reads anything of a submission: a child
gets its two pipes, confines itself, and only then is sent the source.
"""

import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from course.sandbox import isolation as layers  # and nothing yet that brings torch: that comes when this process is confined
from course.sandbox.alone import import_all
from course.sandbox.terms import LayerError, Limits

WIRE_IN, WIRE_OUT = 3, 4


def main(config: dict[str, Any], importer: Any) -> None:
    """Confine, import, then fork on request until the trusted side hangs up.

    config: `control` (descriptor of the socket), `strict`, `paths`, `masks`, and what `import_all` takes.
    """
    control = socket.socket(fileno=config["control"])
    control.setblocking(True)
    strict = bool(config["strict"])
    try:
        if strict:
            own, status = layers.enter(config["paths"], config["masks"], 256 << 20)
        else:
            own, status = -1, os.open("/proc/self/status", os.O_RDONLY) if os.path.exists("/proc/self/status") else -1
        import_all(config)
        memory, threads = layers.usage(status) if status >= 0 else (1 << 50, 1)
        if threads != 1:
            raise RuntimeError(f"{threads} threads are running after the imports; a fork would tear them apart")
    except LayerError as error:
        _say(control, {"failed": {"layer": error.layer, "reason": error.reason}})
        os._exit(71)
    except BaseException as error:
        _say(control, {"failed": {"layer": "", "reason": f"{type(error).__name__}: {error}"[:500]}})
        os._exit(72)
    _say(control, {"ready": True})
    _Zygote(control, config, strict, own, memory).run()


def _say(control: socket.socket, message: dict[str, Any]) -> None:
    control.send(json.dumps(message).encode())


class _Zygote:
    def __init__(self, control: socket.socket, config: dict[str, Any], strict: bool, own: int, memory: int) -> None:
        self._control, self._strict, self._own, self._memory = control, strict, own, memory
        self._places = [place for _, place in config["paths"]]
        self._children: dict[int, tuple[int, int]] = {}  # serial -> process, descriptor of the process

    def run(self) -> NoReturn:
        """Serve until the trusted side is gone; then everything in this tree of processes goes."""
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
                process = self._fork(descriptors, Limits(**request["limits"]))
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

    def _fork(self, descriptors: list[int], limits: Limits) -> int:
        """The new child's number; -1 if there is none. Never returns in the child."""
        try:
            process = layers.fork_apart(self._own) if self._strict else os.fork()
        except OSError:
            return -1
        if process == 0:
            try:
                self._become_child(descriptors, limits)
            finally:
                os._exit(70)
        return process

    def _become_child(self, descriptors: list[int], limits: Limits) -> None:
        from course.sandbox import codec, worker

        os.setsid()  # a process group is shared across namespaces: kill(0, …) would reach the zygote
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
                layers.close_from(WIRE_OUT + 1)
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
