"""Asking which layers of isolation this host has, each tried for itself. Runs in a bare process, for it changes what it tries."""

import json
import os
import sys
from collections.abc import Callable

from course.sandbox import isolation, seccomp
from course.sandbox.kernel import NEWIPC, NEWNET, NEWNS, NEWPID, NEWUTS, PR_SET_NO_NEW_PRIVS, layer, prctl, unshare, unshare_user
from course.sandbox.terms import NOT_USED, REQUIRED, LayerError, Limits


def probe_here(paths: list[list[str]]) -> dict[str, str]:
    """Each layer tried for itself, in a process of its own: "" if it works here, else why not. For a small single-threaded process."""
    if sys.platform != "linux":
        return dict.fromkeys(REQUIRED, "this is not Linux") | NOT_USED
    found: dict[str, str] = {}

    def user() -> None:
        if os.geteuid() == 0:
            isolation.become_nobody()
        unshare_user()

    def inside(action: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with layer("user"):
                user()
            action()

        return run

    def blocked() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install(seccomp.prepare())
        try:
            os.execv("/bin/true", ["true"])
        except PermissionError:
            return
        except OSError as error:
            raise OSError("the filter does not bite") from error

    def locked() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        isolation.restrict_files([], [])
        try:
            os.listdir("/")
        except PermissionError:
            return
        raise OSError("the rules do not bite")

    def not_root() -> None:
        if os.geteuid() == 0:
            isolation.become_nobody()

    def no_new_privileges() -> None:
        prctl(PR_SET_NO_NEW_PRIVS, 1)

    trials: dict[str, Callable[[], None]] = {
        "user": user,
        "uid": not_root,
        "root": lambda: _try_root(paths),
        "mount": inside(lambda: unshare(NEWNS)),
        "pid": inside(lambda: unshare(NEWPID)),
        "network": inside(lambda: unshare(NEWNET)),
        "ipc": inside(lambda: unshare(NEWIPC)),
        "uts": inside(lambda: unshare(NEWUTS)),
        "limits": lambda: isolation.set_limits(Limits(), 1 << 30),
        "capabilities": inside(isolation.drop_capabilities),
        "no_new_privs": no_new_privileges,
        "landlock": locked,
        "seccomp": blocked,
    }
    for name, trial in trials.items():
        found[name] = _attempt(name, trial)
    return found | NOT_USED


def _try_root(paths: list[list[str]]) -> None:
    isolation.enter(paths, [], 1 << 20)


def _attempt(name: str, trial: Callable[[], None]) -> str:
    """What went wrong when a forked process tried; "" if nothing did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        text = "it failed"
        try:
            with layer(name):
                trial()
            text = ""
        except LayerError as error:
            text = error.reason if error.layer == name else f"it needs the layer {error.layer!r}: {error.reason}"
        finally:
            os.write(writing, text.encode()[:500] or b"\0")
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answers:
        answer = answers.read()
    os.waitpid(child, 0)
    return "it died without a word" if not answer else "" if answer == b"\0" else answer.decode(errors="replace")


def answer_probe(config: dict, _: object) -> None:
    """What runs in a process that only answers `probe`: JSON on its standard output."""
    os.write(1, json.dumps(probe_here(config["paths"])).encode())
