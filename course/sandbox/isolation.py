"""The layers that keep a stranger's code in, on Linux, with nothing but system calls.

Set up once, by the root of all zygotes (`enter`), before it imports anything of weight:
    user      its own user namespace, as a real non-root uid (root first becomes a uid of nobody)
    root      a fresh read-only root that holds libraries and nothing else: no home, no checkout, no /etc, no /proc, no /sys
    pid       its own process tree; when the root dies, all of it dies (and with the zygote of a unit all that was forked from it)
    network   no interface, not even loopback
    ipc, uts, mount
Set up by every child (`confine`), after the fork and before it reads a byte of a submission:
    pid       a process tree of its own, of which it is the first process (the zygote unshares it just before the fork)
    mount, ipc, uts   its own; /tmp and /dev/shm are new, empty and small
    limits    memory, threads, files, time
    user      one more user namespace, in which no uid is mapped and nothing can be
    capabilities, no_new_privs, landlock, seccomp

A layer that cannot be set up raises `LayerError`, and who gets it must stop: there is no way on with less.
"""

import ctypes
import os
import resource
import signal
import struct

from course.sandbox import seccomp
from course.sandbox.kernel import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    ATTR_NODEV,
    ATTR_NOEXEC,
    ATTR_NOSUID,
    ATTR_RDONLY,
    LANDLOCK_ADD,
    LANDLOCK_CREATE,
    LANDLOCK_RESTRICT,
    MNT_DETACH,
    MOUNT_SETATTR,
    MOVE_FROM_FD,
    MOVE_MOUNT,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    OPEN_TREE,
    OPEN_TREE_CLONE,
    PR_CAP_AMBIENT,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    checked,
    close_from,
    layer,
    libc,
    mount,
    number_of,
    prctl,
    setns,
    syscall,
    unshare,
    unshare_user,
)  # fmt: skip
from course.sandbox.terms import ABORTED, Limits

DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom")
WRITABLE = ("/tmp", "/dev/shm")
# What libraries ask before they convert to half precision. Copied, so that nothing of /proc or /sys is there; seen by the zygote alone.
PROCESSOR = ("/proc/cpuinfo", *(f"/sys/devices/system/cpu/{name}" for name in ("kernel_max", "possible", "present")))


# The root's and the zygotes' part


def enter(paths: list[list[str]], masks: list[str], folder: int) -> int:
    """Move this process into the sandbox; it goes on in a child, as the first process of its tree. Returns a descriptor of /proc, for
    `own_namespace`, which no child of a submission may have.

    paths: what of the disk stays visible, read-only, and under which name. masks: folders (by these names) that are hidden.
    Raises LayerError.
    """
    with layer("no_new_privs"):
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    with layer("root"):
        proc = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # to write our own maps; closed below
    root_first = os.geteuid() == 0  # root can read libraries that a nobody cannot reach, so it builds the root while it is root
    if root_first:
        with layer("mount"):
            unshare(NEWNS)
        build_root(paths, masks, folder)
        become_nobody()
    uid, gid = os.getuid(), os.getgid()
    with layer("user"):
        unshare_user()
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            descriptor = os.open(f"self/{name}", os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
            os.write(descriptor, text.encode())
            os.close(descriptor)
    with layer("uid"):
        if 0 in (os.getuid(), os.geteuid(), os.getgid()):
            raise OSError("this would still be root")
    for name, flag in (("mount", NEWNS), ("ipc", NEWIPC), ("uts", NEWUTS), ("network", NEWNET), ("pid", NEWPID)):
        with layer(name):
            unshare(flag)
    if root_first:
        mount_writable(folder)  # those of before belong to a user namespace of which we are no part now
    else:
        build_root(paths, masks, folder)
    with layer("uts"):
        checked(libc.sethostname(b"sandbox", ctypes.c_size_t(7)), "sethostname")
    with layer("pid"):
        _fork_and_wait()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getpid() != 1:
            raise OSError("this is not the first process of its namespace")
    with layer("seccomp"):
        seccomp.prepare()  # kept for the children
    return proc


def own_namespace(proc: int) -> tuple[int, int]:
    """Two descriptors of this process: of its own pid namespace, for `fork_apart`, and of its own status, for `usage`. Raises LayerError."""
    with layer("pid"):
        own = os.open("self/ns/pid", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
        status = os.open("self/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    return own, status


def usage(status: int) -> tuple[int, int]:
    """Bytes of address space and number of threads, of the process whose /proc/…/status this is; closes it."""
    with os.fdopen(status) as file:
        fields = dict(line.split(":", 1) for line in file)
    return int(fields["VmSize"].split()[0]) << 10, int(fields["Threads"])


def become_nobody() -> None:
    """From root to a uid and gid that nothing else has. Raises LayerError."""
    with layer("uid"):
        spare = os.getpid() % 100_000  # so that two zygotes are strangers to each other as well
        for number in (0x70000000 + spare, 60_100 + spare % 5000, 65534):
            try:
                os.setgroups([])
                os.setresgid(number, number, number)
                os.setresuid(number, number, number)
                break
            except OSError:
                if os.getuid() != 0:
                    raise
        prctl(PR_SET_DUMPABLE, 1)  # else /proc/self, with the maps to be written, is still root's
        if os.getuid() == 0:
            raise OSError("root cannot become another uid here")


def _fork_and_wait() -> None:
    """Go on in a child; the parent holds nothing and only waits, so that it can be killed and take the child with it."""
    child = os.fork()
    if child == 0:
        return
    try:
        close_from(0)
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0x7F)
    finally:
        os._exit(70)


def build_root(paths: list[list[str]], masks: list[str], folder: int) -> None:
    """Make a tmpfs the root, with `paths` bound into it read-only, and let go of the old one. Arguments and errors: see `enter`."""
    with layer("root"):
        os.umask(0o022)
        checked(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "make mounts private")
        bound: list[tuple[str, int, bool]] = []
        links: list[tuple[str, str]] = []
        for path, place in (*paths, *((device, device) for device in DEVICES)):
            if any(f"{place}/".startswith(f"{own}/") for own in WRITABLE):
                raise OSError(f"{place} would be hidden by the sandbox's own {WRITABLE[0]}; install Python elsewhere")
            if os.path.islink(path):
                links.append((place, os.readlink(path)))
            elif os.path.exists(path):
                tree = syscall("open_tree", OPEN_TREE, -100, path.encode(), OPEN_TREE_CLONE | AT_RECURSIVE | os.O_CLOEXEC)
                restrict = ATTR_RDONLY | ATTR_NOSUID | (ATTR_NOEXEC if path in DEVICES else ATTR_NODEV)
                _setattr(tree, restrict)
                bound.append((place, tree, os.path.isdir(path)))
        processor = {path: _contents(path) for path in PROCESSOR if os.path.isfile(path)}
        old = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        mount("tmpfs", "/tmp", MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4m,nr_inodes=4096,mode=755")
        for name, tree, is_folder in bound:
            place = f"/tmp{name}"
            os.makedirs(place if is_folder else os.path.dirname(place), exist_ok=True)
            if not is_folder:
                os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o644))
            syscall("move_mount", MOVE_MOUNT, tree, b"", -100, place.encode(), MOVE_FROM_FD)
            os.close(tree)
        for name, target in links:
            os.makedirs(os.path.dirname(f"/tmp{name}"), exist_ok=True)
            os.symlink(target, f"/tmp{name}")
        for name, data in processor.items():
            os.makedirs(os.path.dirname(f"/tmp{name}"), exist_ok=True)
            with open(f"/tmp{name}", "wb") as file:
                file.write(data)
            os.chmod("/tmp/" + name.split("/")[1], 0o111)  # who knows the name may ask; nobody may look around
        for name in masks:
            if os.path.isdir(f"/tmp{name}"):
                mount("tmpfs", f"/tmp{name}", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, "size=4k,nr_inodes=1,mode=000")
        for name in WRITABLE:
            os.makedirs(f"/tmp{name}", exist_ok=True)
        os.chdir("/tmp")
        syscall("pivot_root", number_of("pivot_root"), b".", b".")
        os.fchdir(old)
        checked(libc.umount2(b".", ctypes.c_int(MNT_DETACH)), "umount")
        os.close(old)
        os.chdir("/")
        here = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        _setattr(here, ATTR_RDONLY, recursive=False)
        os.close(here)
    mount_writable(folder)


def _contents(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(1 << 20)


def _setattr(tree: int, restrict: int, recursive: bool = True) -> None:
    wanted = ctypes.create_string_buffer(struct.pack("=QQQQ", restrict, 0, 0, 0), 32)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    syscall("mount_setattr", MOUNT_SETATTR, tree, b"", flags, wanted, 32)


def mount_writable(folder: int) -> None:
    """New, empty, small: the only places that can be written."""
    with layer("mount"):
        for path in WRITABLE:
            mount("tmpfs", path, MS_NOSUID | MS_NODEV | MS_NOEXEC, f"size={folder},nr_inodes=2048,mode=1777")


def fork_apart(own: int) -> int:
    """Fork a child that is the first process of a new pid namespace. Returns as os.fork does."""
    unshare(NEWPID)
    child = -1
    try:
        child = os.fork()
    finally:
        if child:
            setns(own, NEWPID)  # the next fork is to get yet another one
    return child


# The child's part


def confine(limits: Limits, in_use: int, paths: list[str]) -> None:
    """All layers of a child, in the order in which each still has the rights to be set up. Raises LayerError; the caller must then die.

    in_use: bytes of address space that the zygote has already.
    """
    with layer("pid"):
        if os.getpid() != 1:
            raise OSError("this is not the first process of its namespace")
    for name, flag in (("mount", NEWNS), ("ipc", NEWIPC), ("uts", NEWUTS)):
        with layer(name):
            unshare(flag)
    mount_writable(limits.folder)
    set_limits(limits, in_use)
    with layer("user"):
        unshare(NEWUSER)
        # Threads are counted per user namespace from here on: only our own count.
        resource.setrlimit(resource.RLIMIT_NPROC, (limits.threads, limits.threads))
    drop_capabilities()
    with layer("no_new_privs"):
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    restrict_files([*paths, *DEVICES[1:]], [*WRITABLE, DEVICES[0]])
    # abort() would raise a signal that the first process of a namespace does not get, and then fault: it ends with its number instead.
    libc.signal(ctypes.c_int(ABORTED), ctypes.cast(libc._exit, ctypes.c_void_p))
    with layer("seccomp"):
        seccomp.install(seccomp.prepare())


def set_limits(limits: Limits, in_use: int) -> None:
    """Memory, processor time, open files, file size, stack; no core files. Raises LayerError."""
    seconds = int(limits.session_seconds) + 5
    with layer("limits"):
        for kind, most in (
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_NOFILE, limits.files),
            (resource.RLIMIT_FSIZE, limits.folder),
            (resource.RLIMIT_MEMLOCK, 0),
            (resource.RLIMIT_STACK, 8 << 20),
            (resource.RLIMIT_AS, in_use + limits.memory),
        ):
            _, hard = resource.getrlimit(kind)
            most = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (most, most))


def drop_capabilities() -> None:
    """None held, none to be had again. Raises LayerError."""
    with layer("capabilities"):
        none = ctypes.c_ulong(0)
        last = 0
        while last < 64 and libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(last), none, none, none) == 0:
            last += 1
        if last < 37:
            raise OSError("the bounding set could not be emptied")
        prctl(PR_CAP_AMBIENT, 4)  # clear all
        header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0), 8)
        syscall("capset", number_of("capset"), header, ctypes.create_string_buffer(24))
        held = ctypes.create_string_buffer(24)
        syscall("capget", number_of("capget"), header, held)
        if any(held.raw):
            raise OSError("capabilities are still held")


FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}  # Landlock's ABI -> how many rights on files it knows; 16 from 5 on
READ, WRITE_FILE = (1 << 2) | (1 << 3), (1 << 1) | (1 << 2) | (1 << 14)
IN_FOLDER = 0b111111110000 | (1 << 12) | (1 << 13)  # make and remove; refer
NO_DEVICES = ~((1 << 6) | (1 << 11))  # neither character nor block devices are made


def landlock_abi() -> int:
    """The version of Landlock in this kernel. Raises OSError if there is none."""
    return syscall("landlock", LANDLOCK_CREATE, None, 0, 1)


def restrict_files(readable: list[str], writable: list[str]) -> None:
    """Landlock: only these can be opened, no TCP, and no signal or abstract socket to the outside where the kernel knows that."""
    with layer("landlock"):
        abi = landlock_abi()
        handled = (1 << FS_RIGHTS.get(abi, 16)) - 1
        attributes = struct.pack("=QQQ", handled, 3, 3)[: 8 if abi < 4 else 16 if abi < 6 else 24]
        rules = syscall("landlock_create_ruleset", LANDLOCK_CREATE, attributes, len(attributes), 0)
        for paths, rights in ((readable, READ), (writable, READ | WRITE_FILE | IN_FOLDER & NO_DEVICES)):
            for path in paths:
                if os.path.islink(path) or not os.path.exists(path):
                    continue
                place = os.open(path, os.O_PATH | os.O_CLOEXEC)
                allowed = rights & handled & (-1 if os.path.isdir(path) else 1 << 1 | 1 << 2 | 1 << 14)
                rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed, place), 12)
                syscall("landlock_add_rule", LANDLOCK_ADD, rules, 1, rule, 0)
                os.close(place)
        syscall("landlock_restrict_self", LANDLOCK_RESTRICT, rules, 0)
        os.close(rules)
