"""The system calls that a sandboxed child may still make, as a filter for the kernel (classic BPF, built here).

An allow-list: what Python and torch need to compute on memory and on their own temporary folder. There is no way to make a socket, a process,
a namespace, a mount, a message queue or shared memory, to run a program, to send a file descriptor, or to look into another process.
What is not listed fails with EPERM; what is newer than 2019 and not listed with ENOSYS, so that libraries fall back to the older call.
"""

import ctypes
import platform
import struct
from functools import cache

# name, number on x86_64, number on aarch64 ("-": that architecture has no such call)
ALLOWED = """
    access 21 -, arch_prctl 158 -, brk 12 214, chdir 80 49, chmod 90 -, clock_getres 229 114, clock_gettime 228 113,
    clock_nanosleep 230 115, close 3 57, dup 32 23, dup2 33 -, dup3 292 24, exit 60 93, exit_group 231 94, faccessat 269 48,
    faccessat2 439 439, fadvise64 221 223, fallocate 285 47, fchdir 81 50, fchmod 91 52, fchmodat 268 53, fcntl 72 25,
    fdatasync 75 83, flock 73 32, fstat 5 80, fstatfs 138 44, fsync 74 82, ftruncate 77 46, futex 202 98,
    get_robust_list 274 100, getcpu 309 168, getcwd 79 17, getdents64 217 61, getegid 108 177, geteuid 107 175,
    getgid 104 176, getgroups 115 158, getpgid 121 155, getpgrp 111 -, getpid 39 172, getppid 110 173, getrandom 318 278,
    getresgid 120 150, getresuid 118 148, getrlimit 97 163, getrusage 98 165, getsid 124 156, gettid 186 178,
    gettimeofday 96 169, getuid 102 174, link 86 -, linkat 265 37, lseek 8 62, lstat 6 -, madvise 28 233, membarrier 324 283,
    mkdir 83 -, mkdirat 258 34, mmap 9 222, mprotect 10 226, mremap 25 216, msync 26 227, munmap 11 215, nanosleep 35 101,
    newfstatat 262 79, open 2 -, openat 257 56, pipe 22 -, pipe2 293 59, poll 7 -, ppoll 271 73, pread64 17 67,
    prlimit64 302 261, pselect6 270 72, pwrite64 18 68, read 0 63, readlink 89 -, readlinkat 267 78, readv 19 65,
    rename 82 -, renameat 264 38, renameat2 316 276, restart_syscall 219 128, rmdir 84 -, rseq 334 293, rt_sigaction 13 134,
    rt_sigpending 127 136, rt_sigprocmask 14 135, rt_sigreturn 15 139, sched_get_priority_max 146 125,
    sched_get_priority_min 147 126, sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler 145 120,
    sched_yield 24 124, select 23 -, set_robust_list 273 99, set_tid_address 218 96, sigaltstack 131 132, stat 4 -,
    statfs 137 43, statx 332 291, symlink 88 -, symlinkat 266 36, sysinfo 99 179, tgkill 234 131, time 201 -, times 100 153,
    truncate 76 45, umask 95 166, uname 63 160, unlink 87 -, unlinkat 263 35, utimensat 280 88, write 1 64, writev 20 66,
"""
ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column in the table, AUDIT_ARCH
CLONE, PRCTL, IOCTL = (56, 220), (157, 167), (16, 29)
SECCOMP = (317, 277)

THREAD_FLAGS = 0x00010000 | 0x00000100 | 0x00000800  # CLONE_THREAD, _VM, _SIGHAND: a thread, never a process
NAMESPACE_FLAGS = 0x7E020000  # every CLONE_NEW*
PRCTLS = (15, 16, 0x53564D41)  # set and get the thread's name, name a mapping
IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)  # is it a terminal, bytes to read, non-blocking, close on exec or not
FIRST_NEW = 424  # numbers from here on are the same everywhere, and a library expects that a kernel may lack them

ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
LOAD, EQUAL, AT_LEAST, AND, RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
NUMBER, ARCH, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data; the low half of an argument comes first on both


def table(machine: str) -> dict[str, int]:
    """Allowed calls by name, with their numbers on a machine."""
    column = ARCHITECTURES[machine][0]
    rows = (entry.split() for entry in ALLOWED.replace("\n", " ").split(",") if entry.strip())
    return {row[0]: int(row[1 + column]) for row in rows if row[1 + column] != "-"}


def program(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as (code, jump if true, jump if false, operand). Every test is followed by its own answer, so jumps stay short."""
    column, arch = ARCHITECTURES[machine]

    def step(code: int, operand: int, yes: int = 0, no: int = 0) -> tuple[int, int, int, int]:
        return (code, yes, no, operand)

    steps = [
        step(LOAD, ARCH), step(EQUAL, arch, yes=1), step(RETURN, KILL),  # 32-bit calls on a 64-bit kernel have other numbers
        step(LOAD, NUMBER), step(AT_LEAST, 0x40000000, no=1), step(RETURN, KILL),  # so has x32
    ]  # fmt: skip
    for number in table(machine).values():
        steps += [step(EQUAL, number, no=1), step(RETURN, ALLOW)]
    flags = ARGUMENTS
    steps += [
        step(EQUAL, CLONE[column], no=9),
        step(LOAD, flags), step(AND, THREAD_FLAGS), step(EQUAL, THREAD_FLAGS, yes=1), step(RETURN, EPERM),
        step(LOAD, flags), step(AND, NAMESPACE_FLAGS), step(EQUAL, 0, yes=1), step(RETURN, EPERM), step(RETURN, ALLOW),
    ]  # fmt: skip
    for call, argument, values in ((PRCTL[column], 0, PRCTLS), (IOCTL[column], 1, IOCTLS)):
        steps += [step(LOAD, NUMBER), step(EQUAL, call, no=2 + 2 * len(values)), step(LOAD, ARGUMENTS + 8 * argument)]
        for value in values:
            steps += [step(EQUAL, value, no=1), step(RETURN, ALLOW)]
        steps.append(step(RETURN, EPERM))
    return [*steps, step(LOAD, NUMBER), step(AT_LEAST, FIRST_NEW, no=1), step(RETURN, ENOSYS), step(RETURN, EPERM)]


@cache
def prepare() -> ctypes.Array:
    """The filter of this machine as bytes for the kernel, built once (by the zygote, for all its children). Raises OSError on an architecture it is not written for."""
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(f"no filter for the architecture {machine}")
    steps = program(machine)
    return ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *entry) for entry in steps), 8 * len(steps))


def install(filter_bytes: ctypes.Array) -> None:
    """Put the filter on this thread and all it starts, for good. Raises OSError."""
    header = ctypes.create_string_buffer(struct.pack("@HP", len(filter_bytes) // 8, ctypes.addressof(filter_bytes)))
    libc = ctypes.CDLL(None, use_errno=True)
    number = SECCOMP[ARCHITECTURES[platform.machine()][0]]
    done = libc.syscall(ctypes.c_long(number), ctypes.c_long(1), ctypes.c_long(0), header)  # SECCOMP_SET_MODE_FILTER
    if done != 0:
        raise OSError(ctypes.get_errno(), "the kernel refused the filter")
