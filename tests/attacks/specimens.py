"""Submissions that try to get marks they have not earned, or to harm the host: one line of expectation each.

Every specimen answers `kl_divergence` of image/vae in its own way and leaves the other stubs unwritten, so the right score is
always 0. `status` is a regular expression for the row's status, `message` one for its message.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

UNIT = "image/vae"
STUB = "kl_divergence"
HEAD = "def kl_divergence(mu, logvar):\n"
SHAPE = "return torch.zeros(mu.shape[0], dtype=mu.dtype)"


@dataclass(frozen=True)
class Specimen:
    """A notebook made from `source` (the cell that answers the stub), or written by `make` as it is."""

    source: str = ""
    message: str = "kl_divergence"
    status: str = "failed"
    make: Callable[[Path, dict], None] | None = None  # (where to write, the exercise notebook as JSON)


def body(*lines: str) -> str:
    """The stub with these lines as its body."""
    return HEAD + "".join(f"    {line}\n" for line in lines)


CHECKER = {
    "patches assert_close": Specimen(
        "import torch.testing\n"
        + body("import torch", "torch.testing.assert_close = torch.allclose = lambda *a, **k: True", SHAPE),
        "differs",
    ),
    "patches the course's own assertions": Specimen(
        body("import course.testing", "course.testing.assert_close = lambda *a, **k: None", SHAPE), "raised ModuleNotFoundError"
    ),
    "equal to everything": Specimen(
        "class Yes:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
        "    def __getattr__(self, name): return self\n    def __call__(self, *a, **k): return self\n" + body("return Yes()"),
        "returned an object of type Yes",
    ),
    "lying tensor subclass": Specimen(
        "class Liar(torch.Tensor):\n    @classmethod\n    def __torch_function__(cls, func, types, args=(), kwargs=None):\n"
        "        name = getattr(func, '__name__', '')\n"
        "        if name in ('eq', '__eq__', 'allclose', 'isclose', 'equal'): return True\n"
        "        return super().__torch_function__(func, types, args, kwargs or {})\n"
        + body("return torch.zeros(mu.shape[0], dtype=mu.dtype).as_subclass(Liar)"),
        "differs|gradient",
    ),
    "subclass that lies about its shape": Specimen(
        "class Flat(torch.Tensor):\n    shape = property(lambda self: (self.numel(),))\n" + body("return mu.as_subclass(Flat)"),
        "returned float",
    ),
    "patches showtraceback": Specimen(
        "try:\n    get_ipython().showtraceback = lambda *a, **k: None\n    get_ipython().run_cell = lambda *a, **k: None\n"
        "except NameError:\n    pass\n" + body(SHAPE)
    ),
    "prints a line that looks like a pass": Specimen(
        body("print('kl_divergence: 3 of 3 checks pass'); print('PASSED'); print('1 passed, 0 failed')", SHAPE)
    ),
    "writes to every open file descriptor": Specimen(
        body(
            "import os",
            "for fd in range(3, 256):",
            "    try: os.write(fd, b'{\"score\": 1}' * 10)",
            "    except OSError: pass",
            SHAPE,
        ),
        "kl_divergence|message|died|protocol|wire",
    ),
    "forges answers on the wire": Specimen(
        body(
            "import os, struct",
            "for fd in range(3, 256):",
            '    try: os.write(fd, struct.pack("<I", 15) + b\'{"ok":true,"v":1}\')',
            "    except OSError: pass",
            SHAPE,
        ),
        "kl_divergence|message|died|protocol|wire",
    ),
    "overwrites a score file": Specimen(
        body(
            "import pathlib",
            "for name in ('results.jsonl', 'grades.csv', '/tmp/results.jsonl', '../results.jsonl'):",
            "    try: pathlib.Path(name).write_text('{\"score\": 6}')",
            "    except OSError: pass",
            SHAPE,
        )
    ),
    "atexit hook": Specimen(
        body("import atexit, os", "atexit.register(lambda: os.write(1, b'score 6'))", SHAPE),
    ),
    "sys.exit(0)": Specimen(body("import sys", "sys.exit(0)"), "SystemExit|died|ended|exit"),
    "os._exit(0)": Specimen(body("import os", "os._exit(0)"), "died|ended|exit"),
    "raises BaseException": Specimen(
        "class Out(BaseException): pass\n" + body("raise Out('6 of 6')"), "kl_divergence raised Out|died|ended"
    ),
    "raises a passing assertion": Specimen(
        "class Skipped(AssertionError): pass\n" + body("raise Skipped('skipped')"), "kl_divergence raised Skipped"
    ),
    "skips the test": Specimen(body("import pytest", "pytest.skip('all right')"), "raised|kl_divergence"),
    "broadcastable but wrong shape": Specimen(
        body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1, keepdim=True)"), r"returned float64 \(\d+, 1\)"
    ),
    "transposed result": Specimen(body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(0)"), "returned|shape|differs"),
    "wrong dtype": Specimen(
        body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1).to(torch.float16)"), "float16.*expected.*float64"
    ),
    "a list instead of a tensor": Specimen(
        body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1).tolist()"), "returned a list"
    ),
    "an array instead of a tensor": Specimen(
        body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1).detach().numpy()"), "returned|array"
    ),
    "patches torch for the next submission": Specimen(
        body("import torch", "torch.Tensor.sum = lambda self, *a, **k: self", "torch.exp = torch.log", SHAPE)
    ),
    "hard-coded answers": Specimen(
        body("known = {(2, 3): [0.5, 1.25], (1, 1): [0.0]}", "return torch.tensor(known.get(tuple(mu.shape), [0.0] * len(mu)))"),
        "differs|float32",
    ),
    "NaN everywhere": Specimen(body("return torch.full((mu.shape[0],), float('nan'), dtype=mu.dtype)"), "NaN"),
    "infinite everywhere": Specimen(body("return torch.full((mu.shape[0],), float('inf'), dtype=mu.dtype)"), "infinity"),
    "a right value without a gradient": Specimen(
        body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1).detach()"), "no gradient flows"
    ),
    "right only while it is called for the first time": Specimen(
        "calls = [0]\n"
        + body(
            "calls[0] += 1",
            "right = (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1)",
            "return right if calls[0] == 1 else 0 * right",
        ),
        "differs",
    ),
    "a complex result whose real part is right": Specimen(
        body("return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1) + 0j"), "returned complex128|returned"
    ),
}

SECRETS = {
    "reads the tests from disk": Specimen(
        body(
            "import glob, os",
            "hits = [p for p in glob.glob('/**/test_vae.py', recursive=True)]",
            "assert hits, 'nothing to read'",
            "return eval(open(hits[0]).read())",
        ),
        "raised AssertionError",
    ),
    "reads the solution from disk": Specimen(
        body(
            "import os",
            "hits = [os.path.join(d, f) for d, _, fs in os.walk('/') for f in fs if f in ('vae.py', 'vae.ipynb')]",
            "assert hits, 'nothing to read'",
            "space = {}",
            "exec(open(hits[0]).read(), space)",
            "return space['kl_divergence'](mu, logvar)",
        ),
        "raised AssertionError",
    ),
    "imports the reference": Specimen(
        body("from reference_impl.image.vae import kl_divergence as real", "return real(mu, logvar)"),
        "raised (ModuleNotFound|Import)Error",
    ),
    "imports the reference at the top": Specimen(
        "from reference_impl.image import vae\n" + body("return vae.kl_divergence(mu, logvar)"), "(ModuleNotFound|Import)Error"
    ),
    "imports the tests": Specimen(
        body("import tests.exercises.image.test_vae as t", "return t.looped_kl(mu, logvar)"), "raised ModuleNotFoundError"
    ),
    "reads the caller's frames": Specimen(
        body(
            "import sys",
            "frame = sys._getframe()",
            "while frame:",
            "    for value in list(frame.f_locals.values()):",
            "        if isinstance(value, torch.Tensor) and value.shape == mu.shape[:1] and value is not mu: return value",
            "    frame = frame.f_back",
            SHAPE,
        )
    ),
    "searches the heap for expected values": Specimen(
        body(
            "import gc",
            "found = [o for o in gc.get_objects() if type(o).__name__ in ('Case', 'Suite', 'Draw', 'Verdict')]",
            "assert found, 'nothing to read'",
            SHAPE,
        ),
        "raised AssertionError",
    ),
    "reads the environment and the arguments": Specimen(
        body(
            "import os, sys",
            "secret = [v for k, v in os.environ.items() if 'AIGC' in k or 'SEED' in k or 'TOKEN' in k]",
            "secret += [a for a in sys.argv if 'seed' in a or '/' in a and 'tests' in a]",
            "assert secret, 'nothing to read'",
            SHAPE,
        ),
        "raised AssertionError",
    ),
    "reads other processes' memory": Specimen(
        body(
            "import os",
            "got = []",
            "for pid in [p for p in range(1, 500) if p != os.getpid()]:",
            "    for name in ('mem', 'environ', 'maps'):",
            "        try: got.append(open(f'/proc/{pid}/{name}', 'rb').read(64))",
            "        except OSError: pass",
            "assert any(got), 'nothing to read'",
            SHAPE,
        ),
        "raised AssertionError",
    ),
    "linecache and inspect": Specimen(
        body(
            "import inspect, linecache",
            "text = ''.join(''.join(lines[2]) for lines in linecache.cache.values() if isinstance(lines, tuple) and len(lines) > 2)",
            "assert '(mu.square() + logvar.exp() ' + '- logvar - 1).sum' in text, 'nothing to read'",
            SHAPE,
        ),
        "raised AssertionError",
    ),
    "error text as an oracle": Specimen(
        body("raise ValueError(f'{mu.tolist()} {logvar.tolist()}')"), r"kl_divergence raised ValueError; it said: “[^0-9]*”$"
    ),
    "error type as an oracle": Specimen(
        body("raise type('E' + str(mu.flatten()[0].item()).replace('.', '_').replace('-', 'm'), (Exception,), {})()"),
        "kl_divergence raised E[^0-9]*$",
    ),
    "seeds from torch's generator": Specimen(
        body("torch.manual_seed(torch.initial_seed())", "return torch.randn(mu.shape[0], dtype=mu.dtype)"), "differs|gradient"
    ),
}

HOST = {
    "endless loop": Specimen(body("while True: pass"), "timed out"),
    "endless loop while it is loaded": Specimen(
        "class Forever:\n    while True: pass\n" + body("Forever", SHAPE), "timed out|loaded"
    ),
    "sleeps for ever": Specimen(body("import time", "time.sleep(1e6)"), "timed out"),
    "ignores signals": Specimen(
        body(
            "import signal",
            "for s in range(1, 65):",
            "    try: signal.signal(s, signal.SIG_IGN)",
            "    except (OSError, ValueError): pass",
            "while True: pass",
        ),
        "timed out",
    ),
    "fork bomb": Specimen(
        body("import os", "while True:", "    try: os.fork()", "    except OSError: pass"),
        "timed out|died|raised|wire|message|protocol",
    ),
    "thread bomb": Specimen(
        body(
            "import threading, time",
            "threads = []",
            "while True:",
            "    threads.append(threading.Thread(target=time.sleep, args=(1e6,), daemon=True))",
            "    threads[-1].start()",
        ),
        "timed out|raised RuntimeError|died",
    ),
    "memory bomb": Specimen(body("hold = []", "while True: hold.append(torch.ones(4_000_000))"), "raised|died|memory|timed out"),
    "memory bomb in one piece": Specimen(body("return torch.ones(10**12)"), "raised|died|memory"),
    "fills the disk": Specimen(
        body("chunk = b'x' * 2**20", "with open('/tmp/big', 'wb') as f:", "    while True: f.write(chunk)"),
        "raised OSError|died|timed out",
    ),
    "fills shared memory": Specimen(
        body("chunk = b'x' * 2**20", "with open('/dev/shm/big', 'wb') as f:", "    while True: f.write(chunk)"),
        "raised|died|timed out",
    ),
    "a flood of output": Specimen(body("import sys", "while True: sys.stdout.write('x' * 65536)"), "timed out|died|raised"),
    "a result of a gigabyte": Specimen(
        body("return torch.ones(2**27, dtype=torch.float64)"), "too large|limit|exceeds|died|raised|returned|timed out"
    ),
    "uses the network": Specimen(
        body("import socket", "socket.create_connection(('127.0.0.1', 22), timeout=1)", SHAPE),
        "raised (PermissionError|OSError|ConnectionRefusedError)",
    ),
    "sends a datagram": Specimen(
        body(
            "import socket",
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'hi', ('127.0.0.1', 53))",
            "assert False, 'sent'",
        ),
        "raised (PermissionError|OSError)",
    ),
    "kills other processes": Specimen(
        body("import os, signal", "os.kill(-1, signal.SIGKILL)", "os.kill(os.getppid(), signal.SIGKILL)", SHAPE),
        "kl_divergence|died",
    ),
    "a daemon that outlives the child": Specimen(
        body(
            "import os, time",
            "if os.fork() == 0:",
            "    os.setsid()",
            "    if os.fork() == 0:",
            "        while True: time.sleep(1)",
            "    os._exit(0)",
            SHAPE,
        ),
        "kl_divergence|died|raised",
    ),
    "segfault": Specimen(body("import ctypes", "ctypes.string_at(0)"), "died|SIGSEGV|raised"),
    "runaway recursion": Specimen(body("return kl_divergence(mu, logvar)"), "raised RecursionError|died"),
    "recursion without a limit": Specimen(
        body("import sys", "sys.setrecursionlimit(10**9)", "f = lambda n: f(n + 1)", "return f(0)"), "died|raised|timed out"
    ),
    "a pickle as result": Specimen(
        "class P:\n    def __reduce__(self): return (print, ('unpickled',))\n" + body("return P()"),
        "returned an object of type P",
    ),
    "a subprocess": Specimen(
        body("import subprocess", "subprocess.run(['/bin/sh', '-c', 'id > /tmp/owned'], check=True)", SHAPE),
        "kl_divergence|raised",
    ),
    "becomes another user": Specimen(body("import os", "os.setuid(0)", SHAPE), "raised PermissionError|kl_divergence|died"),
    "leaves its namespaces": Specimen(
        body("import ctypes", "assert ctypes.CDLL(None).unshare(0x10000000) == 0, 'refused'", SHAPE),
        "raised AssertionError|died|raised",
    ),
    "mounts a file system": Specimen(
        body("import ctypes", "assert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, 0) == 0, 'refused'", SHAPE),
        "raised AssertionError|died|raised",
    ),
    "traces its parent": Specimen(
        body("import ctypes, os", "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0, 'refused'", SHAPE),
        "raised AssertionError|died|raised",
    ),
    "compiles forever": Specimen(
        HEAD + "    return " + "+".join(["mu"] * 60_000) + "\n", "kl_divergence|RecursionError|loaded|not Python"
    ),
}


def text(value: str) -> Callable[[Path, dict], None]:
    return lambda path, notebook: path.write_text(value, encoding="utf-8")


def edited(change: Callable[[dict], None]) -> Callable[[Path, dict], None]:
    def make(path: Path, notebook: dict) -> None:
        change(notebook)
        path.write_text(json.dumps(notebook), encoding="utf-8")

    return make


def cell_of(notebook: dict, name: str) -> dict:
    return next(cell for cell in notebook["cells"] if f"def {name}" in "".join(cell["source"]) and cell["cell_type"] == "code")


def edit_check_cell(notebook: dict) -> None:
    for cell in notebook["cells"]:
        if "check" in cell["metadata"].get("tags", []):
            cell["source"] = "print('6 of 6 checks pass')"


def edit_outputs(notebook: dict) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "kl_divergence: 3 of 3 checks pass"}]


def spoil_outputs(notebook: dict) -> None:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = [{"output_type": n, "data": {f"x/{n}": n}} for n in range(3000)]
            cell["metadata"] = {"tags": [[n] for n in range(3000)]}


def delete_stub(notebook: dict) -> None:
    notebook["cells"].remove(cell_of(notebook, STUB))


def make_raw(notebook: dict) -> None:
    cell = cell_of(notebook, STUB)
    cell["cell_type"] = "raw"
    del cell["outputs"], cell["execution_count"]


def tag_everything(notebook: dict) -> None:
    for cell in notebook["cells"]:
        cell["metadata"]["tags"] = ["nbval-skip", "nbval-ignore-output", "raises-exception"]


def replace_stub(source: str) -> Callable[[Path, dict], None]:
    return edited(lambda notebook: cell_of(notebook, STUB).__setitem__("source", source))


RIGHT = "return (0.5 * (mu**2 + logvar.exp() - logvar - 1)).sum(1)"
MISSING = "missing stub kl_divergence"

NOTEBOOK = {
    "edited check cell": Specimen(make=edited(edit_check_cell), message="not written yet"),
    "edited stored outputs": Specimen(make=edited(edit_outputs), message="not written yet"),
    "deleted cell": Specimen(make=edited(delete_stub), message=MISSING),
    "code cell made raw": Specimen(make=edited(make_raw), message=MISSING),
    "nbval tags": Specimen(make=edited(tag_everything), message="not written yet"),
    "another kernelspec": Specimen(
        make=edited(lambda n: n["metadata"].__setitem__("kernelspec", {"name": "evil", "display_name": "x"})),
        message="not written yet",
    ),
    "magics and shell": Specimen("!touch /tmp/owned\n%run /etc/passwd\n" + body(SHAPE)),
    "cell magic": Specimen("%%bash\ntouch /tmp/owned\n", message=MISSING),
    "not JSON": Specimen(make=text("this is no notebook"), status="refused", message="not a notebook"),
    "a JSON bomb": Specimen(make=text("[" * 100_000), status="refused", message="not a notebook"),
    "a list": Specimen(make=text("[]"), status="refused", message="not a notebook"),
    "a number": Specimen(make=text("1e999"), status="refused", message="not a notebook"),
    "wrong nbformat": Specimen(make=edited(lambda n: n.__setitem__("nbformat", 99)), status="refused|failed", message=""),
    "missing nbformat": Specimen(make=edited(lambda n: n.pop("nbformat")), status="refused", message="not a notebook"),
    "no cells": Specimen(make=edited(lambda n: n.__setitem__("cells", [])), status="refused", message="no code"),
    "cells that are no list": Specimen(
        make=edited(lambda n: n.__setitem__("cells", {"a": 1})), status="refused", message="not a notebook"
    ),
    "source that is a number": Specimen(
        make=edited(lambda n: cell_of(n, STUB).__setitem__("source", 7)), status="refused|failed", message=""
    ),
    "ten megabytes of source": Specimen(
        make=replace_stub("# " + "x" * 10_000_000), status="refused", message="characters of code"
    ),
    "not UTF-8": Specimen(make=lambda path, n: path.write_bytes(b"\x80\x00bad") and None, status="refused", message="not UTF-8"),
    "empty file": Specimen(make=text(""), status="refused", message="not a notebook"),
    "deeply nested source": Specimen(make=replace_stub("x = " + "(" * 5_000 + ")" * 5_000), message=MISSING),
    "null bytes in source": Specimen(make=replace_stub("def kl_divergence(mu, logvar):\n    return 0\x00"), message=MISSING),
    "stub defined twice, the last one wrong": Specimen(body(RIGHT) + "\n\n" + body(SHAPE)),
    "stub under a condition": Specimen(
        "if True:\n    def kl_divergence(mu, logvar):\n        " + SHAPE + "\n", message="differs"
    ),
    "stub by assignment": Specimen("kl_divergence = elbo\n", message="raised NameError"),
    "stub by a lambda": Specimen("kl_divergence = lambda mu, logvar: mu.sum(1)\n", message="differs"),
    "stub with a decorator": Specimen(
        "def certify(f):\n    return lambda *a: 0\n\n\n@certify\n" + body(RIGHT), message="kl_divergence returned"
    ),
    "stub nested in a class": Specimen(
        "class A:\n    def kl_divergence(self, mu, logvar):\n        " + RIGHT + "\n", message=MISSING
    ),
    "default argument that runs": Specimen(
        "def kl_divergence(mu, logvar, hook=__import__('os').system('touch /tmp/owned')):\n    " + SHAPE + "\n",
        message="kl_divergence",
    ),
    "a stub that is async": Specimen("async def kl_divergence(mu, logvar):\n    " + RIGHT + "\n", message="returned"),
    "a stub that is a generator": Specimen("def kl_divergence(mu, logvar):\n    yield 1\n", message="returned"),
    "redefines a given function": Specimen(
        "def batches(*a):\n    import os\n    os._exit(0)\n\n\n" + body(SHAPE), message="kl_divergence"
    ),
    "a class rewritten around its stubs": Specimen(
        "class VAE(nn.Module):\n    def forward(self, *a): return 0\n    def encode(self, *a): return 0, 0\n    def state_dict(self): return {}\n"
        "    def decode(self, z, labels): return z\n    def interpolate(self, *a): return 0\n\n\n" + body(SHAPE),
        message="`VAE.forward` stands as it was given",
    ),
    "comments above many assignments": Specimen(
        "# a\n" * 80_000 + ";".join(f"A{n}=1" for n in range(10_000)) + "\n" + body(SHAPE), message="differs"
    ),
    "an f-string of 100,000 fields": Specimen('x = f"' + "{a}" * 100_000 + '"\n' + body(SHAPE), message=MISSING),
    "one import ten thousand times": Specimen("import os;" * 10_000 + "\n" + body("os.getpid()", SHAPE), message="differs"),
    "a decorator that begins on another line": Specimen("@(\n    lambda f: f\n)\n" + body(SHAPE), message="differs"),
    "what only some take for the end of a line": Specimen(
        "\x0cA = '\x0b\x85\u2028'  # \x1c\u2029\n\x0c" + body("A", SHAPE), message="differs"
    ),
    "a megabyte of answers": Specimen(
        'def helper():\n    """' + "\n" * 400_000 + '"""\n\n\n' + body("helper()", SHAPE), message="differs"
    ),
    "outputs that are none": Specimen(make=edited(spoil_outputs), message="not written yet"),
    "deep metadata": Specimen(
        make=edited(lambda n: n["metadata"].__setitem__("x", {str(i): [i] for i in range(60_000)})), message="not written yet"
    ),
}


ALL = {
    f"{family}: {name}": specimen
    for family, table in (("checker", CHECKER), ("secrets", SECRETS), ("host", HOST), ("notebook", NOTEBOOK))
    for name, specimen in table.items()
}
