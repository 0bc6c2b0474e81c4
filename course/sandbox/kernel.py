"""What the layers of isolation ask of the kernel: system calls by `ctypes`, their numbers and flags."""

import ctypes
import errno
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

from course.sandbox.terms import LayerError

NEWNS, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = 0x20000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE, MNT_DETACH = 1, 2, 4, 8, 0x4000, 0x40000, 2
AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, MOVE_FROM_FD = 0x1000, 0x8000, 1, 4
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_GET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 4, 21, 24, 38, 47
# Calls newer than 2011 have the same number on every architecture; these few do not.
OLD = {"x86_64": {"pivot_root": 155, "capget": 125, "capset": 126}, "aarch64": {"pivot_root": 41, "capget": 90, "capset": 91}}
OPEN_TREE, MOVE_MOUNT, CLOSE_RANGE, MOUNT_SETATTR = 428, 429, 436, 442
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446

libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def layer(name: str) -> Iterator[None]:
    """Whatever fails inside is the failure of layer `name`."""
    try:
        yield
    except LayerError:
        raise
    except Exception as error:
        raise LayerError(name, f"{getattr(error, 'strerror', None) or error}") from None


def checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(what: str, number: int, *arguments: int | bytes | ctypes.Array | None) -> int:
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return checked(libc.syscall(ctypes.c_long(number), *plain), what)


def number_of(name: str) -> int:
    if platform.machine() not in OLD:
        raise OSError(f"not written for the architecture {platform.machine()}")
    return OLD[platform.machine()][name]


def unshare(flags: int) -> None:
    checked(libc.unshare(ctypes.c_int(flags)), "unshare")


def unshare_user() -> None:
    try:
        unshare(NEWUSER)
    except OSError as error:
        hint = {errno.ENOSPC: "sysctl user.max_user_namespaces", errno.EPERM: "a sysctl, AppArmor or the container forbids it"}
        raise OSError(f"user namespaces are not allowed here ({hint.get(error.errno or 0, error)})") from None


def setns(descriptor: int, kind: int) -> None:
    checked(libc.setns(ctypes.c_int(descriptor), ctypes.c_int(kind)), "setns")


def prctl(option: int, value: int = 0) -> int:
    return checked(libc.prctl(ctypes.c_int(option), *(ctypes.c_ulong(v) for v in (value, 0, 0, 0))), "prctl")


def mount(kind: str, target: str, flags: int, options: str = "") -> None:
    checked(libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()), f"mount {target}")


def close_from(first: int) -> None:
    """Close every file descriptor from `first` on."""
    syscall("close_range", CLOSE_RANGE, first, 0xFFFFFFFF, 0)
