"""Bytes to and from a sandboxed process, never waited for past a deadline."""

import contextlib
import os
import queue
import select
import threading
import time
from typing import IO, Protocol

CHUNK = 1 << 16  # bytes of one read: most replies come whole


class Late(Exception):
    """The deadline passed."""


class Wire(Protocol):
    def send(self, data: bytes, deadline: float) -> None: ...
    def receive(self, count: int, deadline: float) -> bytearray: ...
    def close(self) -> None: ...


class Pipes:
    """Two pipes."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(reading, select.POLLIN)
        self._writable.register(writing, select.POLLOUT)
        self._rest = bytearray()  # what came beyond what was asked for

    def send(self, data: bytes, deadline: float) -> None:
        """Raises Late, or OSError if nobody reads."""
        view = memoryview(data)
        while len(view):
            try:
                view = view[os.write(self._writing, view[: 1 << 20]) :]
            except BlockingIOError:
                self._wait(self._writable, deadline)

    def receive(self, count: int, deadline: float) -> bytearray:
        """Raises Late, or EOFError."""
        data = self._rest
        while len(data) < count:
            self._wait(self._readable, deadline)
            with contextlib.suppress(BlockingIOError):
                part = os.read(self._reading, min(max(count - len(data), CHUNK), 1 << 20))
                if not part:
                    raise EOFError
                data += part
        self._rest = data[count:]
        del data[count:]
        return data

    def _wait(self, poll: "select.poll", deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise Late

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


class Threads:
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
            while part := os.read(self._reading.fileno(), CHUNK):
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
            raise Late

    def receive(self, count: int, deadline: float) -> bytearray:
        while len(self._rest) < count:
            if self._ended:
                raise EOFError
            try:
                part = self._incoming.get(timeout=max(0.001, deadline - time.monotonic()))
            except queue.Empty:
                raise Late from None
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
