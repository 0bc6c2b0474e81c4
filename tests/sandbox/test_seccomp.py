"""The filter, walked through as the kernel does, for both architectures whichever this is."""

import struct

import pytest

from course.sandbox import seccomp
from course.sandbox.seccomp import ALLOW, ENOSYS, EPERM, KILL

FORBIDDEN = {  # name: x86_64, aarch64
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "sendmsg": (46, 211), "fork": (57, None), "vfork": (58, None),
    "execve": (59, 221), "execveat": (322, 281), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268),
    "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219), "add_key": (248, 217), "kexec_load": (246, 104),
    "userfaultfd": (323, 282), "memfd_create": (319, 279), "shmget": (29, 194), "msgget": (68, 186), "mq_open": (240, 180),
    "setuid": (105, 146), "setresuid": (117, 147), "kill": (62, 129), "init_module": (175, 105), "reboot": (169, 142), "swapon": (167, 224),
    "open_by_handle_at": (304, 265), "personality": (135, 92), "mknodat": (259, 33), "seccomp": (317, 277), "process_madvise": (440, 440),
    "io_uring_setup": (425, 425), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "clone3": (435, 435), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "memfd_secret": (447, 447), "landlock_restrict_self": (446, 446),
}  # fmt: skip


def judge(machine, number, arguments=(), arch=None):
    """What the filter answers: classic BPF over struct seccomp_data."""
    arch = seccomp.ARCHITECTURES[machine][1] if arch is None else arch
    data = struct.pack(
        "=iIQ6Q", number - (1 << 32) if number >= 1 << 31 else number, arch, 0, *(*arguments, *[0] * (6 - len(arguments)))
    )
    steps, at, accumulator = seccomp.program(machine), 0, 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == seccomp.LOAD:
            (accumulator,) = struct.unpack_from("=I", data, operand)
        elif code == seccomp.AND:
            accumulator &= operand
        elif code == seccomp.RETURN:
            return operand
        else:
            at += yes if (accumulator == operand if code == seccomp.EQUAL else accumulator >= operand) else no


@pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)
class TestFilter:
    def test_what_is_listed_is_allowed(self, machine):
        for name, number in seccomp.table(machine).items():
            assert judge(machine, number) == ALLOW, f"{name} is not allowed"

    def test_what_is_forbidden_is_refused(self, machine):
        column = seccomp.ARCHITECTURES[machine][0]
        for name, numbers in FORBIDDEN.items():
            number = numbers[column]
            if number is not None:
                assert judge(machine, number) in (EPERM, ENOSYS), f"{name} is let through"

    def test_everything_else_is_refused(self, machine):
        special = {pair[seccomp.ARCHITECTURES[machine][0]] for pair in (seccomp.CLONE, seccomp.PRCTL, seccomp.IOCTL)}
        known = set(seccomp.table(machine).values()) | special
        let = [n for n in range(1000) if n not in known and judge(machine, n) not in (EPERM, ENOSYS)]
        assert not let, f"calls {let} are let through"

    def test_other_architectures_are_killed(self, machine):
        for arch in (0x40000003, 0x40000028, 0, 0xC0000015):
            assert judge(machine, seccomp.table(machine)["read"], arch=arch) == KILL, (
                f"calls of architecture {arch:#x} are let through"
            )
        assert judge(machine, 0x40000000 | 41) == KILL and judge(machine, 0xFFFFFFFF) == KILL, "x32 calls are let through"

    def test_threads_yes_processes_and_namespaces_no(self, machine):
        clone = seccomp.CLONE[seccomp.ARCHITECTURES[machine][0]]
        thread = 0x3D0F00  # what pthread_create asks for
        assert judge(machine, clone, (thread,)) == ALLOW, "a thread is refused"
        for flags in (0, 17, 0x1200011, 0x4111, *(thread | 1 << bit for bit in (17, 25, 26, 27, 28, 29, 30))):
            assert judge(machine, clone, (flags,)) == EPERM, f"clone({flags:#x}) is let through"

    def test_few_prctls_and_ioctls(self, machine):
        column = seccomp.ARCHITECTURES[machine][0]
        assert (
            judge(machine, seccomp.PRCTL[column], (15,)) == ALLOW and judge(machine, seccomp.IOCTL[column], (1, 0x5401)) == ALLOW
        )
        for option in (1, 4, 8, 22, 23, 24, 35, 38, 47):
            assert judge(machine, seccomp.PRCTL[column], (option,)) == EPERM, f"prctl({option}) is let through"
        for request in (0x5412, 0x541C, 0x8933, 0xAE01):
            assert judge(machine, seccomp.IOCTL[column], (0, request)) == EPERM, f"ioctl({request:#x}) is let through"

    def test_it_fits_the_kernel(self, machine):
        assert len(seccomp.program(machine)) < 4096
        assert len(set(seccomp.table(machine).values())) == len(seccomp.table(machine)), "a number is listed twice"
