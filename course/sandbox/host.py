"""What a sandbox is given of this host: which folders it sees, which sources it is sent, and the bare process that it begins as."""

import json
import os
import subprocess
import sys
import sysconfig
from importlib import resources
from pathlib import Path
from typing import Any

from course.errors import CourseError
from course.sandbox.boot import OWN
from course.sandbox.terms import NOT_USED, REQUIRED, LayerError
from course.sandbox.words import plain

REDUCED = "protects against crashes, not against attackers"
BOOT = "import sys; exec(compile(sys.argv[1], 'sent:boot', 'exec'))"  # so that its file is not "<string>", as a learner's may be
PARTS = ("alone", "cells", "codec", "isolation", "kernel", "probing", "seccomp", "terms", "worker", "zygote")
SENT = (
    "course",
    "course.guard",
    "course.wire",
    "course.executor",
    "course.sandbox",
    *(f"course.sandbox.{part}" for part in PARTS),
)
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


def isolation_error(problem: dict[str, Any]) -> IsolationError:
    """What a sandboxed process said of itself when it could not be made, as an error."""
    layer, reason = plain(str(problem.get("layer", "")), 40), plain(str(problem.get("reason", "no reason given")), 500)
    if layer:
        return IsolationError(f"{LayerError(layer, reason)}. --isolation reduced does without, but only {REDUCED}", layer)
    return IsolationError(f"the sandbox could not be prepared: {reason}")


def probe() -> dict[str, str]:
    """Each layer of isolation: "" if it works on this host, else the reason in words. Raises IsolationError if nobody could be asked."""
    if sys.platform != "linux":
        return dict.fromkeys(REQUIRED, f"this is {sys.platform}, not Linux") | NOT_USED
    with run_boot(stdout=subprocess.PIPE) as process:
        send_boot(process, own_sources(), "course.sandbox.probing:answer_probe", {"paths": library_paths()[0]}, close=True)
        assert process.stdout is not None
        answer = process.stdout.read()
    try:
        return json.loads(answer)
    except ValueError:
        raise IsolationError("the probe of the isolation layers ended without an answer") from None


def missing_layers() -> dict[str, str]:
    """The layers that strict isolation needs and this host lacks, with the reason in words. Raises IsolationError as `probe` does."""
    return {layer: reason for layer, reason in probe().items() if layer in REQUIRED and reason}


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


def own_sources() -> dict[str, str]:
    """The sources that every sandboxed process is sent, by module."""
    sources = {}
    for name in SENT:
        package, _, leaf = name.rpartition(".")
        inner = resources.files(name) if name in ("course", "course.sandbox") else None
        file = inner / "__init__.py" if inner is not None else resources.files(package) / f"{leaf}.py"
        sources[name] = file.read_text(encoding="utf-8")
    return sources


def run_boot(*, stdout: int, pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """A bare interpreter that waits for `send_boot`: no site, no user packages, no current folder, no environment, no descriptors."""
    text = (resources.files("course.sandbox") / "boot.py").read_text(encoding="utf-8")
    posix: dict[str, Any] = {"pass_fds": pass_fds, "start_new_session": True, "cwd": "/"} if os.name == "posix" else {}
    needed = {name: os.environ[name] for name in ("SYSTEMROOT", "TEMP") if os.name == "nt" and name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", BOOT, text],
        stdin=subprocess.PIPE, stdout=stdout, stderr=subprocess.PIPE if stdout == subprocess.DEVNULL else subprocess.DEVNULL,
        env=ENVIRONMENT | needed, **posix,
    )  # fmt: skip


def send_boot(
    process: subprocess.Popen[bytes], modules: dict[str, str], main: str, config: dict[str, Any], *, close: bool = True
) -> None:
    """Tell a bare interpreter what to be. Raises OSError if it is gone."""
    assert process.stdin is not None
    process.stdin.write(packed({"modules": modules, "main": main, "config": config}))
    process.stdin.flush()
    if close:
        process.stdin.close()


def packed(content: dict[str, Any]) -> bytes:
    """JSON with its length in front, as `boot` reads it."""
    data = json.dumps(content).encode()
    return len(data).to_bytes(8, "big") + data
