"""What a submission tries, run for real in a strict session: each layer has to bite, and nothing may be left behind."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from course.sandbox.client import BadReply, Died, SessionError, Timeout
from course.sandbox.terms import Limits
from course.wire import ImplementationError, Remote, Target

HEAD = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def honest(x):
    return 2 * x
def refused(action):
    # the errors of what failed; what worked is named
    try:
        result = action()
    except (OSError, ImportError, AttributeError) as error:
        return type(error).__name__
    return f"DID: {result!r}"[:300]
def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "the call succeeded"
"""
QUICK = Limits(load_seconds=3, call_seconds=3, session_seconds=20, memory=512 << 20, folder=8 << 20, threads=16)
PATIENT = replace(QUICK, load_seconds=60, call_seconds=60, session_seconds=120)  # where another limit than the clock is to end it


def attack(zygote, source, name="attack", limits=QUICK):
    with zygote.open(HEAD + source, limits=limits) as session:
        return session.call(Target(name), [], {})


def all_refused(result):
    done = [item for item in result if str(item).startswith("DID")]
    assert not done, f"it got through: {done}"
    assert result, "nothing was tried"


REFUSED = {
    "files of the host": """
def attack():
    paths = ["/etc/passwd", "/etc/shadow", "/etc/hostname", "/root/.bashrc", "/home", "/proc/1/environ", "/proc/self/environ", "/proc/1/mem",
        "/proc/self/mem", "/proc/self/maps", "/proc/cpuinfo", "/sys/devices/system/cpu/present", "/sys/kernel", "/dev/mem", "/dev/tty", "/dev/kmsg", "/var/log", "/run", "/bin/sh", "/usr/bin/python3", CHECKOUT]
    return [refused(lambda: os.listdir(p) if os.path.isdir(p) else open(p, "rb").read(20)) for p in paths]
""",
    "writing outside of its folders": """
def attack():
    paths = ["/x", "/usr/lib/x", "/site/0/torch/x.py", "/site/0/x", "/dev/x", "/etc/x", os.__file__, sys.modules["torch"].__file__]
    return [refused(lambda: open(p, "r+b" if os.path.exists(p) else "wb").write(b"x")) for p in paths]
""",
    "network": """
def attack():
    import socket
    kinds = [(socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_INET6, socket.SOCK_STREAM), (socket.AF_UNIX, socket.SOCK_STREAM),
        (socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_NETLINK, socket.SOCK_RAW), (socket.AF_PACKET, socket.SOCK_RAW), (38, 5), (40, 1)]
    return [refused(lambda: socket.socket(*kind)) for kind in kinds] + [refused(lambda: socket.socketpair()),
        refused(lambda: socket.create_connection(("127.0.0.1", 80), 1)), refused(lambda: socket.getaddrinfo("example.org", 80))]
""",
    "processes": """
def attack():
    import subprocess, multiprocessing
    return [refused(os.fork), refused(lambda: os.execv("/bin/sh", ["sh"])), refused(lambda: subprocess.run(["true"])), refused(lambda: os.system("true") or None) if os.system("true") == 0 else "-1",
        refused(lambda: os.posix_spawn("/bin/true", ["true"], {})), refused(lambda: multiprocessing.get_context("fork").Process(target=print).start())]
""",
    "kill and ptrace": """
def attack():
    import signal
    numbers = {"x86_64": (101, 310, 311, 434), "aarch64": (117, 270, 271, 434)}[os.uname().machine]
    return [refused(lambda: os.kill(-1, signal.SIGKILL)), refused(lambda: os.kill(1, signal.SIGKILL)), refused(lambda: os.kill(os.getppid(), 9)), refused(lambda: os.killpg(0, 9)),
        *[refused(lambda: call(n, 0, 1, 0, 0)) for n in numbers]]
""",
    "namespaces, mounts and roots": """
def attack():
    import errno
    flags = [0x20000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000]
    out = [refused(lambda: call({"x86_64": 272, "aarch64": 97}[os.uname().machine], f)) for f in flags]
    out += [refused(lambda: os.chroot("/tmp")), refused(lambda: os.setuid(0)), refused(lambda: os.setgid(0)), refused(lambda: os.setgroups([0])), refused(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)))]
    for number in {"x86_64": (165, 166, 155), "aarch64": (40, 39, 41)}[os.uname().machine]:
        out.append(refused(lambda: call(number, b"none", b"/tmp", b"tmpfs", 0, 0)))
    return out + [refused(lambda: call(n, 0, 0, 0, 0)) for n in (425, 428, 429, 430, 435, 442)]
""",
    "imports of the course": """
def attack():
    import importlib
    names = ["course.checking.impl", "course.checking.runner", "course.testing", "course.checking.load", "course.sandbox.client", "tests", "tests.conftest", "reference_impl.image.vae", "reference_impl.data", "solutions", "benchmarks"]
    return [refused(lambda: importlib.import_module(n)) for n in names]
""",
    "the same from the disk": """
def attack():
    found = []
    for base in ("/", "/site", "/site/0", *sys.path):
        for name in ("course", "reference_impl", "tests", "solutions", "questions"):
            found.append(refused(lambda: os.listdir(f"{base}/{name}")))
    return found
""",
    "raising limits": """
def attack():
    import resource
    names = ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_FSIZE", "RLIMIT_CPU", "RLIMIT_CORE")
    def raise_(name):
        try:
            resource.setrlimit(getattr(resource, name), (resource.RLIM_INFINITY,) * 2)
        except ValueError:
            raise OSError from None
    return [refused(lambda: raise_(n)) for n in names]
""",
    "memory that no limit counts": """
def attack():
    import mmap
    numbers = {"x86_64": (29, 319, 240), "aarch64": (194, 279, 180)}[os.uname().machine]
    return [refused(lambda: os.memfd_create("x")), *[refused(lambda: call(n, 0, 1 << 20, 0o1600)) for n in numbers]]
""",
    "setuid and modes": """
def attack():
    open("/tmp/run", "wb").write(b"#!/bin/sh\\n"); os.chmod("/tmp/run", 0o4777)
    return [refused(lambda: os.execv("/tmp/run", ["run"])), refused(lambda: os.execv("/usr/bin/su", ["su"])), refused(lambda: os.chown("/tmp/run", 0, 0))]
""",
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(zygote, name):
    checkout = str(Path(__file__).resolve().parent.parent.parent)
    all_refused(attack(zygote, f"CHECKOUT = {checkout!r}\n" + REFUSED[name]))


def test_it_is_nobody_with_nothing(zygote):
    result = attack(
        zygote,
        """
def attack():
    held = ctypes.create_string_buffer(24)
    libc.syscall({"x86_64": 125, "aarch64": 90}[os.uname().machine], (0x20080522).to_bytes(4, sys.byteorder) + bytes(4), held)
    return {"ids": [*os.getresuid(), *os.getresgid()], "pid": os.getpid(), "parent": os.getppid(), "capabilities": any(held.raw), "host": os.uname().nodename,
        "environment": sorted(os.environ), "arguments": sys.argv, "root": sorted(os.listdir("/tmp")), "descriptors": [fd for fd in range(256) if exists(fd)]}
def exists(fd):
    try: os.fstat(fd)
    except OSError: return False
    return True
""",
    )
    assert 0 not in result["ids"], f"it is root: {result['ids']}"
    assert (result["pid"], result["parent"]) == (1, 0), f"it sees other processes: {result}"
    assert not result["capabilities"] and result["host"] == "sandbox" and result["root"] == [], (
        f"it has more than it should: {result}"
    )
    assert result["descriptors"] == [0, 1, 2, 3, 4], f"it has inherited descriptors: {result['descriptors']}"
    secret = {name for name in os.environ if name not in result["environment"]}
    assert secret, "it has the whole environment of the grader"
    assert result["arguments"] == ["-c"], f"it has arguments of the grader: {result['arguments']}"
    assert not any("AIGC" in name or "TOKEN" in name or "PYTEST" in name for name in result["environment"])


def test_no_secret_is_within_reach_of_frames_and_memory(zygote):
    marker = "marker" + os.urandom(8).hex()  # in this process only
    names = attack(
        zygote,
        """
def attack():
    import gc
    files, frame = [], sys._getframe()
    while frame:
        files.append(frame.f_code.co_filename); frame = frame.f_back
    texts = [o for o in gc.get_objects() if isinstance(o, dict)]
    text = " ".join(str(k) for o in texts for k in list(o) if isinstance(k, str))
    return files, sorted(m for m in sys.modules if m.split(".")[0] in ("course", "reference_impl", "tests", "pytest", "__main__")), text[:900000]
""",
    )
    files, modules, text = names
    assert all(name.startswith(("<submission>", "sent:course.", "<frozen", "sent:boot", "<string>")) for name in files), (
        f"frames of {files}"
    )
    assert not any(name.startswith(("tests", "pytest", "course.checking")) for name in modules), modules
    assert marker not in text


BOMBS = {
    "fork bomb": ("def attack():\n    while True:\n        os.fork()", ImplementationError),
    "thread bomb": (
        "import threading, time\ndef attack():\n    while True:\n        threading.Thread(target=time.sleep, args=(99,)).start()",
        ImplementationError,
    ),
    "memory bomb": (
        "def attack():\n    held = []\n    while True:\n        held.append(bytearray(b'x') * (1 << 24))",
        ImplementationError,
    ),
    "torch memory bomb": (
        "import torch\ndef attack():\n    held = []\n    while True:\n        held.append(torch.ones(1 << 22))",
        ImplementationError,
    ),
    "a disk filled": (
        "def attack():\n    n = 0\n    while True:\n        n += 1\n        open(f'/tmp/{n}', 'wb').write(b'x' * (1 << 20))",
        ImplementationError,
    ),
    "shared memory filled": (
        "def attack():\n    n = 0\n    while True:\n        n += 1\n        open(f'/dev/shm/{n}', 'wb').write(b'x' * (1 << 20))",
        ImplementationError,
    ),
    "inodes filled": (
        "def attack():\n    n = 0\n    while True:\n        n += 1\n        open(f'/tmp/{n}', 'wb').close()",
        ImplementationError,
    ),
    "descriptors": ("def attack():\n    held = []\n    while True:\n        held.append(open('/dev/null'))", ImplementationError),
    "one huge file": ("def attack():\n    os.truncate(os.open('/tmp/x', os.O_CREAT | os.O_RDWR), 1 << 40)", ImplementationError),
    "endless loop": ("def attack():\n    while True:\n        pass", Timeout),
    "sleep": ("import time\ndef attack():\n    time.sleep(99999)", Timeout),
    "signals ignored": (
        "import signal\ndef attack():\n    for s in range(1, 32):\n        try: signal.signal(s, signal.SIG_IGN)\n        except OSError: pass\n"
        "    while True: pass",
        Timeout,
    ),
    "swallows everything": (
        "def attack():\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
        Timeout,
    ),
    "endless loop in C": ("def attack():\n    return sum(iter(int, 1))", Timeout),
    "sys.exit": ("def attack():\n    sys.exit(0)", ImplementationError),
    "KeyboardInterrupt": ("def attack():\n    raise KeyboardInterrupt", ImplementationError),
    "os._exit": ("def attack():\n    os._exit(0)", Died),
    "abort": ("def attack():\n    os.abort()", Died),
    "segfault": ("def attack():\n    ctypes.string_at(8)", Died),
    "runaway recursion": ("def attack():\n    return attack()", ImplementationError),
    "recursion without limit": (
        "def attack():\n    sys.setrecursionlimit(10**9)\n    def f(): return f()\n    return eval('f()', {'f': f})",
        (SessionError, ImplementationError),  # out of time, or the interpreter out of memory, which raises: whichever comes first
    ),
    "recursive repr": (
        "class Bad(Exception):\n    def __str__(self): return str(self)\ndef attack():\n    raise Bad",
        ImplementationError,
    ),
    "closes all descriptors": ("def attack():\n    os.closerange(0, 256)", Died),
    "a daemon thread that goes on": (
        "import threading\ndef attack():\n    threading.Thread(target=lambda: [0 for _ in iter(int, 1)], daemon=True).start()\n    os._exit(3)",
        Died,
    ),
    "atexit": ("import atexit\ndef attack():\n    atexit.register(print, 'passed')\n    os._exit(0)", Died),
    "endless output": ("def attack():\n    return 'x' * (1 << 27)", ImplementationError),
    "endless list": ("def attack():\n    return [0] * 1_000_000", ImplementationError),
    "a huge tensor": ("import torch\ndef attack():\n    return torch.zeros(1 << 26)", ImplementationError),
    "a self-containing list": ("def attack():\n    x = []\n    x.append(x)\n    return x", ImplementationError),
}


@pytest.mark.parametrize("name", BOMBS)
def test_it_ends_and_is_told(zygote, name):
    source, expected = BOMBS[name]
    limits = PATIENT if expected is ImplementationError else QUICK
    started = time.monotonic()
    with zygote.open(HEAD + source, limits=limits) as session:
        with pytest.raises(expected) as caught:
            session.call(Target("attack"), [], {})
        if not isinstance(
            expected, tuple
        ):  # a SessionError is an ImplementationError too; two are named where either end is right
            assert isinstance(caught.value, SessionError) == (expected is not ImplementationError), (
                f"it ended as {caught.value!r}"
            )
        if isinstance(caught.value, SessionError):
            assert session.dead, "the session of a dead child says that it lives"
            with pytest.raises(type(caught.value)):
                session.call(Target("honest"), [1], {})
    if limits is QUICK:
        assert time.monotonic() - started < 9, f"it took {time.monotonic() - started:.1f} s to end"
    text = str(caught.value)
    assert len(text) < 500 and text.isprintable(), f"the message is {text!r}"
    with zygote.open(HEAD) as session:  # and the next submission is unharmed
        assert session.call(Target("honest"), [21], {}) == 42, "the next session does not work"


def test_messages_name_what_happened(zygote):
    for source, words in (
        ("def attack():\n    while True: pass", "timed out after 3 s in attack"),
        ("def attack():\n    os._exit(3)", "exit code 3"),
        ("def attack():\n    ctypes.string_at(8)", "SIGSEGV"),
        ("class A:\n    def m(self):\n        while True: pass\ndef attack():\n    return A()", "timed out after 3 s in A.m"),
    ):
        with zygote.open(HEAD + source, limits=QUICK) as session, pytest.raises(SessionError, match=words):
            session.call(Target("m", session.call(Target("attack"), [], {}).id), [], {})


def test_output_goes_nowhere(zygote, capfd):
    flood = "def attack():\n    for fd in (0, 1, 2):\n        for _ in range(200):\n            os.write(fd, b'PASSED 100/100\\n' * 1000)\n    print('passed')\n    return 1"
    assert attack(zygote, flood) == 1
    out, err = capfd.readouterr()
    assert out == err == "", "output of a submission reached the grader's"


FORGERIES = {
    "noise": "os.write(4, os.urandom(4096))",
    "zeros": "os.write(4, bytes(4096))",
    "a huge length": "os.write(4, b'\\xff' * 8)",
    "a reply to no question": "os.write(4, codec.encode({'id': 0, 'ok': 42}))",
    "many replies ahead": "[os.write(4, codec.encode({'id': i, 'ok': 42})) for i in range(100)]",
    "a verdict": "os.write(4, codec.encode({'id': 1, 'ok': 42, 'passed': True}))",
    "every descriptor": "[os.write(fd, codec.encode({'id': 1, 'ok': 42})) for fd in (0, 1, 2, 4)]",
    "half a message": "os.write(4, codec.encode({'id': 1, 'ok': 42})[:-3])",
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged_replies_end_the_session(zygote, name):
    source = f"from course.sandbox import codec\ndef attack():\n    {FORGERIES[name]}\n    return 1"
    with pytest.raises((BadReply, Timeout)):
        attack(zygote, source)


def test_a_reply_forged_with_the_right_number_is_only_a_return_value(zygote):
    """With frames a submission can find the request's number. What it then says is what its function could have returned."""
    source = """
from course.sandbox import codec
def attack():
    frame = sys._getframe()
    while "request" not in frame.f_locals: frame = frame.f_back
    os.write(4, codec.encode({"id": frame.f_locals["request"]["id"], "ok": 42}))
    while True: pass
"""
    with zygote.open(HEAD + source, limits=QUICK) as session:
        assert session.call(Target("attack"), [], {}) == 42
        with pytest.raises(Timeout):
            session.call(Target("honest"), [1], {})


def test_a_lying_tensor_arrives_as_a_plain_one(zygote):
    source = """
import torch
class Liar(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
    def __eq__(self, other): return True
class Always:
    def __eq__(self, other): return True
def attack(): return torch.zeros(3).as_subclass(Liar)
def other(): return Always()
"""
    with zygote.open(HEAD + source, limits=QUICK) as session:
        try:
            value = session.call(Target("attack"), [], {})
            assert type(value) is torch.Tensor and value.tolist() == [0, 0, 0], f"got {value!r}"
        except ImplementationError:
            pass  # refused altogether
        assert session.call(Target("other"), [], {}) != 7, "an object that equals everything came through"


def test_a_pickle_stays_where_it_is(zygote):
    source = "import pickle\nclass Evil:\n    def __reduce__(self): return (print, ('owned',))\ndef attack(): return pickle.dumps(Evil())"
    value = attack(zygote, source)
    assert isinstance(value, Remote) and value.type_name == "bytes", f"got {value!r}"


def test_patches_and_files_of_one_do_not_reach_the_next(zygote):
    spoil = """
import torch, builtins, reference_impl.helper
def attack():
    torch.testing.assert_close = torch.allclose = lambda *a, **k: True
    torch.ones = lambda *a: "spoilt"
    reference_impl.helper.VALUE = 8
    builtins.planted = True
    open("/tmp/note", "w").write("x"); open("/dev/shm/note", "w").write("x")
    os.environ["NOTE"] = "x"
    return 1
"""
    look = """
import torch, builtins, reference_impl.helper
def attack():
    return [type(torch.ones(1)).__name__, reference_impl.helper.VALUE, hasattr(builtins, "planted"), os.listdir("/tmp"), os.listdir("/dev/shm"), "NOTE" in os.environ]
"""
    with zygote.open(HEAD + spoil, limits=QUICK) as first:
        assert first.call(Target("attack"), [], {}) == 1
        assert attack(zygote, look) == ["Tensor", 7, False, [], [], False], "a session sees what another one did at the same time"
    assert attack(zygote, look) == ["Tensor", 7, False, [], [], False], "a session sees what an earlier one did"


def test_attacks_at_definition_time(zygote):
    for body, expected in (
        ("while True: pass", Timeout),
        ("import os; os._exit(1)", Died),
        ("raise SystemExit", ImplementationError),
        ("def broken(:", ImplementationError),
        ("raise ValueError('no' * 10000 + chr(27) + '[31m')", ImplementationError),
        ("x = 1 +" + "(" * 5000, ImplementationError),
        ("\0", ImplementationError),
    ):
        with pytest.raises(expected) as caught:
            zygote.open(body, limits=Limits(load_seconds=2))
        assert len(str(caught.value)) < 500 and str(caught.value).isprintable(), f"{body[:20]}: {caught.value!r}"
