"""Words that both sides of the sandbox use, on every system: the names of the layers, what is allowed, and what is missing."""

from dataclasses import dataclass

REQUIRED = (
    "user", "uid", "root", "mount", "pid", "network", "ipc", "uts", "limits", "capabilities", "no_new_privs", "landlock", "seccomp"
)  # fmt: skip
NOT_USED = {"cgroup": "not used: memory is held by RLIMIT_AS and the sizes of /tmp and /dev/shm, threads by RLIMIT_NPROC"}

ABORTED = 6  # exit code of a child whose code calls abort(): the kernel keeps such signals from the first process of a namespace


class LayerError(Exception):
    """A layer could not be set up."""

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"isolation layer {layer!r} is missing: {reason}")
        self.layer, self.reason = layer, reason


@dataclass(frozen=True)
class Limits:
    """What one submission may use. Seconds are of wall clock while an answer is waited for; the trusted side counts them and kills."""

    load_seconds: float = 10.0
    call_seconds: float = 10.0
    session_seconds: float = 120.0
    memory: int = 1 << 30  # bytes of address space on top of the zygote's
    folder: int = 64 << 20  # bytes in /tmp, and again in /dev/shm
    threads: int = 32
    files: int = 64
