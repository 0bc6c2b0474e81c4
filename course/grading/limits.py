"""What the trusted side itself may use for one submission: processor time and memory, each as an exception in the one part that exceeds it.

A submission can be dear to read, and a value that it returns dear to judge. The coordinator's clock (`course.grading.pool`) stands behind
these: it also ends what cannot be interrupted.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

CHECK_SECONDS = 0.2  # between two looks at the clock of another thread, and between two attempts to interrupt


class OutOfTime(BaseException):
    """Too much processor time was used. No Exception: a test that catches everything does not catch this."""


@contextlib.contextmanager
def processor_seconds(most: float) -> Iterator[None]:
    """Raise OutOfTime inside once this process (off the main thread: this thread) has computed for `most` seconds. Waiting is free."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    with _by_signal(most) if threading.current_thread() is threading.main_thread() else _by_watching(most):
        yield


@contextlib.contextmanager
def _by_signal(most: float) -> Iterator[None]:
    armed = [True]

    def interrupt(*_: object) -> None:
        if armed:
            raise OutOfTime

    before = signal.signal(signal.SIGPROF, interrupt)
    try:
        signal.setitimer(signal.ITIMER_PROF, most, CHECK_SECONDS)
        yield
    finally:
        armed.clear()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _by_watching(most: float) -> Iterator[None]:
    """Where signals cannot be had, as in a thread of a Dask worker, another thread looks at this one's clock."""
    import ctypes
    import time

    thread = threading.get_ident()
    clock = time.pthread_getcpuclockid(thread)
    ends = time.clock_gettime(clock) + most
    done = threading.Event()
    turn = threading.Lock()

    def watch() -> None:
        while not done.wait(CHECK_SECONDS):
            with turn:
                if not done.is_set() and time.clock_gettime(clock) > ends:
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(OutOfTime))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with turn:
            done.set()
        watcher.join()


@contextlib.contextmanager
def memory(most: int) -> Iterator[None]:
    """Let this process have at most `most` bytes more than it has: then MemoryError, or torch's RuntimeError. Linux only; elsewhere nothing."""
    if sys.platform != "linux":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data() + most
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data() -> int:
    """Bytes of private memory that this process may write to."""
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * os.sysconf("SC_PAGE_SIZE")


def is_lack_of_memory(text: str) -> bool:
    """Whether the words of an error say that there was no memory to be had, in Python, NumPy or torch."""
    return any(sign in text for sign in ("MemoryError", "can't allocate memory", "not enough memory", "bad_alloc"))
