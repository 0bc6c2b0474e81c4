"""Sessions as the grader uses them: the same answers as in this process, clear errors, and nothing left behind."""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from course.checking.impl import Impl
from course.checking.load import reference_module
from course.checking.runner import load_suite, run
from course.sandbox import client, host
from course.sandbox.client import Died, IsolationError, Root, Session, Timeout, Zygote
from course.sandbox.terms import REQUIRED, Limits
from course.units.catalogue import find_unit
from course.units.source import import_closure
from course.wire import Changed, ImplementationError, Remote, Target

SOURCE = """
import torch
from reference_impl import helper
class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1, bias=False)
    def forward(self, x):
        return self.layer(x)
def double(x): return 2 * x
def draw(): return torch.randn(3)
def helped(): return helper.VALUE
def echo(*args, **kwargs): return [list(args), kwargs]
def halve(x): return x.half().float() / 2
def fails(x):
    y = x + 1
    raise ValueError("first line\\nsecond \\x1b[31mline")
def spoil(x, y):
    y.zero_()
    return x
def spoil_and_refuse(x, y):
    y.zero_()
    raise ValueError("no")
def hole(): raise NotImplementedError("hole: yours to write")
def train():
    model, x = Net(3), torch.ones(4, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for _ in range(20):
        loss = (model(x) - 1).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(loss.item())
    return losses
"""


@pytest.fixture
def session(zygote):
    with zygote.open(SOURCE) as opened:
        yield opened


def test_calls_methods_and_gradients(session):
    assert session.call(Target("double"), [torch.ones(2)], {}).tolist() == [2, 2]
    assert session.call(Target("helped"), [], {}) == 7, "the import closure is not there"
    sent = [1, 2.5, None, True, "x", [1, (2, 3)], {"a": float("inf")}]
    assert session.call(Target("echo"), sent, {"k": -1}) == [sent, {"k": -1}]
    assert session.call(Target("halve"), [torch.ones(2)], {}).tolist() == [0.5, 0.5], "half precision asks for the processor"
    net = session.call(Target("Net"), [3], {})
    assert isinstance(net, Remote) and net.type_name == "Net"
    weight = torch.tensor([[1.0, 2.0, 3.0]])
    session.call(Target("load_state_dict", net.id), [{"layer.weight": weight}], {})
    assert torch.equal(session.call(Target("state_dict", net.id), [], {})["layer.weight"], weight)
    assert session.call(Target("__call__", net.id), [torch.ones(1, 3)], {}).item() == 6
    assert torch.equal(session.vjp(Target("__call__", net.id), [torch.ones(1, 3)], {}, [0], None)[0], weight)
    assert session.vjp(Target("__call__", net.id), [torch.ones(1, 3)], {}, "parameters", None)["layer.weight"].tolist() == [
        [1, 1, 1]
    ]


def test_seed_repeats(session):
    session.seed(5)
    first = session.call(Target("draw"), [], {})
    session.seed(5)
    torch.manual_seed(5)
    assert torch.equal(first, session.call(Target("draw"), [], {})) and torch.equal(first, torch.randn(3))


def test_rules_are_kept_in_the_child(session):
    """What a call changes, strided inputs and calls in another dtype or on a device without numbers cross the wire."""
    session.seed(5, thorough=True)
    changed = session.call(Target("spoil"), [torch.ones(2), torch.ones(3)], {})
    assert isinstance(changed, Changed) and changed.changes == [("1", "")] and changed.value.tolist() == [1, 1]
    assert session.call(Target("double", how="meta"), [torch.ones(2)], {}) == ["meta"]
    (other,) = session.call(Target("double", how="bfloat16"), [torch.ones(2)], {})
    assert other.dtype is torch.bfloat16


def test_what_a_call_changed_before_it_raised_crosses_too(session):
    with pytest.raises(ImplementationError) as caught:
        session.call(Target("spoil_and_refuse"), [torch.ones(2), torch.ones(3)], {})
    assert (caught.value.kind, caught.value.changes) == ("ValueError", [("1", "")])
    with pytest.raises(ImplementationError) as caught:
        session.call(Target("fails"), [1], {})
    assert caught.value.changes == []


def test_training_with_adam(zygote):
    with zygote.open(SOURCE, timeout=60) as opened:
        losses = opened.call(Target("train"), [], {})
    assert losses[-1] < losses[0] / 2, f"the loss went {losses[0]} -> {losses[-1]}"


def test_errors_of_the_learner_arrive_as_they_are_here(session):
    with pytest.raises(ImplementationError) as caught:
        session.call(Target("fails"), [1], {})
    error = caught.value
    assert (error.what, error.kind, error.message) == ("fails", "ValueError", "first line"), error
    assert error.line == 'in fails: raise ValueError("first line\\nsecond \\x1b[31mline")', error.line
    assert list(error.bases) == ["ValueError", "Exception", "BaseException", "object"], "a test may expect one of these"
    with pytest.raises(ImplementationError) as caught:
        session.call(Target("hole"), [], {})
    assert (caught.value.kind, caught.value.message) == ("NotImplementedError", "hole: yours to write")
    with pytest.raises(ImplementationError, match="absent is not defined"):
        session.call(Target("absent"), [], {})
    assert session.call(Target("double"), [1], {}) == 2, "the session ended with an error of the learner"


def test_an_error_while_loading_knows_its_line(zygote):
    for source, line in (
        ("x = 1\n\ny = nothing\n", 3),
        ("x = 1\ndef f(:\n", 2),
        ("def f():\n    return [][1]\nclass A:\n    x = f()\n", 2),
    ):
        with pytest.raises(ImplementationError) as caught:
            zygote.open(source)
        assert caught.value.number == line, f"{source!r}: {caught.value}, line {caught.value.number}"


def test_large_messages_pass_both_ways(session):
    big = torch.randn(1 << 21)  # 8 MiB, many times a pipe
    assert torch.equal(session.call(Target("double"), [big], {}), 2 * big)


def test_the_session_as_a_whole_has_a_deadline(zygote):
    limits = Limits(call_seconds=5, session_seconds=1.5)
    source = "import time\ndef nap(): time.sleep(0.4)"
    with zygote.open(source, limits=limits) as opened, pytest.raises(Timeout, match=r"1\.5 s in all"):
        [opened.call(Target("nap"), [], {}) for _ in range(10)]


def closure_of(unit):
    sources, packages = {}, set()
    for path in import_closure(unit.module, unit.root):
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            packages |= {n for n in names if n.split(".")[0] not in ("reference_impl", *sys.stdlib_module_names)}
        if path != unit.module:
            parts = path.relative_to(unit.root).with_suffix("").parts
            sources[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = text
    return sources, sorted(packages)


def test_the_reference_passes_all_tests_of_its_unit(zygote):
    unit = find_unit("image/vae")
    preload, packages = closure_of(unit)
    assert unit.module_name not in preload
    with Zygote(preload, packages) as own, own.open(unit.module.read_text(encoding="utf-8")) as opened:
        verdicts = run(load_suite(unit), Impl(opened, reference_module(unit)))
        with (
            own.open("def look():\n    import reference_impl.image.vae") as other,
            pytest.raises(ImplementationError, match="No module named"),
        ):
            other.call(Target("look"), [], {})
    wrong = [f"{v.case.id}: {v.status} {v.message}" for v in verdicts if v.status != "passed"]
    assert verdicts and not wrong, "\n".join(wrong)


# Isolation itself: refusals, and what is left


SPOIL = {  # layer: file, text of it, and what stands there instead
    "seccomp": ("seccomp", "    done = ", "    raise OSError('spoilt')\n    done = "),
    "landlock": ("isolation", "        abi = landlock_abi()", "        raise OSError('spoilt')"),
    "capabilities": ("isolation", "        none = ctypes.c_ulong(0)", "        raise OSError('spoilt')"),
    "limits": ("isolation", "        for kind, most in (", "        raise OSError('spoilt')\n        for kind, most in ("),
    "mount": ("isolation", 'mount("tmpfs", path, MS', 'mount("nosuchfs", path, MS'),
    "network": ("isolation", '("network", NEWNET)', '("network", 0x7FFFFFF)'),
    "pid": ("isolation", "        if os.getpid() != 1:", "        if os.getpid() == 1:"),
    "root": ("isolation", "number_of(\"pivot_root\"), b\".\"", "number_of(\"pivot_root\"), b\"/nowhere\""),
    "uid": ("isolation", "        if 0 in (os.getuid(),", "        if True or 0 in (os.getuid(),"),
}  # fmt: skip


@pytest.mark.parametrize("layer", SPOIL)
def test_a_layer_that_fails_is_named_and_nothing_runs(zygote, monkeypatch, layer):
    file, old, new = SPOIL[layer]
    sources = host.own_sources()
    name = f"course.sandbox.{file}"
    assert old in sources[name], "the test spoils a text that has changed"
    sources[name] = sources[name].replace(old, new)
    monkeypatch.setattr(host, "own_sources", lambda: sources)
    with pytest.raises(IsolationError) as caught, Zygote({}, []) as spoilt:
        spoilt.open("def attack(): return 1")
    assert caught.value.layer == layer, f"it blames {caught.value.layer!r}: {caught.value}"


def test_other_layers_hold_without_seccomp_and_landlock(zygote, monkeypatch):
    """Were the filter and Landlock to fail, namespaces and uids still keep a submission from the host, the zygote and its siblings."""
    sources = host.own_sources()
    for file, old, new in (
        ("seccomp", "    header = ctypes.create", "    return\n    header = ctypes.create"),
        ("isolation", "        abi = landlock_abi()", "        return"),
    ):
        assert old in sources[f"course.sandbox.{file}"], "the test spoils a text that has changed"
        sources[f"course.sandbox.{file}"] = sources[f"course.sandbox.{file}"].replace(old, new)
    monkeypatch.setattr(host, "own_sources", lambda: sources)
    source = """
import os, socket, signal
def attack():
    out = []
    def connect(family, kind, address):
        with socket.socket(family, kind) as s:
            s.settimeout(1); s.connect(address); s.send(b"x")
    for action in (lambda: os.kill(-1, 9), lambda: os.setuid(0), lambda: os.chroot("/tmp"), lambda: os.listdir("/proc"), lambda: open("/etc/passwd"),
                   lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 22)), lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ("8.8.8.8", 53)),
                   lambda: os.kill(2, 9), lambda: os.execv("/bin/sh", ["sh"]), lambda: open("/site/0/torch/x", "w")):
        try: out.append("DID " + repr(action()))
        except OSError as error: out.append(type(error).__name__)
    os.kill(0, signal.SIGKILL)  # its own group, of which the zygote must be no part
    return out
"""
    with Zygote({}, []) as own, own.open("def one(): return 1") as other:
        with own.open(source) as opened:
            result = opened.call(Target("attack"), [], {})
        assert not [item for item in result if item.startswith("DID")], result
        assert other.call(Target("one"), [], {}) == 1, "a sibling was harmed"


def sandboxed():
    """Processes of the sandbox that run now."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if b"The first code of a sandbox process" in (entry / "cmdline").read_bytes():
                    found.add(entry.name)
            except OSError:
                pass
    return found


def state():
    folders = [entry for place in (tempfile.gettempdir(), "/dev/shm") for entry in os.listdir(place)]
    marked = {name for name in folders if any(word in name for word in ("torch", "matplotlib", "sandbox", "inductor"))}
    return sandboxed(), Path("/proc/self/mountinfo").read_text(), sorted(os.listdir("/proc/self/fd")), marked


def outliving(before, patience=10.0):
    """The sandboxed processes that were not there `before` and do not end; a busy machine takes a while to bury the dead."""
    deadline = time.monotonic() + patience
    while (left := sandboxed() - before) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_nothing_is_left(zygote):
    before = state()
    with Zygote({"reference_impl.helper": ""}, []) as own:
        for source in (
            SOURCE,
            "import os\ndef f(): os._exit(1)",
            "def f():\n    while True: pass",
            "import threading\ndef f(): threading.Thread(target=f).start()",
        ):
            try:
                with own.open(source, limits=Limits(call_seconds=0.5)) as opened:
                    opened.call(Target("f"), [], {})
            except ImplementationError:
                pass
        own.open(SOURCE)  # and one that nobody closes
    assert not outliving(before[0]), "processes were left"
    for name, was, now in zip(("mounts", "descriptors", "files"), before[1:], state()[1:], strict=True):
        assert name == "descriptors" or was == now, f"{name} were left: {now}"
    assert len(state()[2]) <= len(before[2]) + 2, "descriptors were left, more than those of the session that was never closed"


def test_a_killed_zygote_takes_its_children_along(zygote):
    before = sandboxed()
    with Zygote({}, []) as own:
        opened = own.open("def f():\n    while True: pass", limits=Limits(call_seconds=30))
        own.root._process.send_signal(signal.SIGKILL)
        with pytest.raises(Died, match="the sandbox itself ended"):
            opened.call(Target("f"), [], {})
        assert not own.alive, "a dead zygote says that it lives"
        with pytest.raises(IsolationError):
            own.open(SOURCE)
        opened.close()
    assert not outliving(before), "processes outlived their zygote"


def test_units_share_one_root_and_nothing_of_each_other(zygote):
    """Zygotes of units are forked on demand and let go one by one; what one has imported or may read, another has not."""
    before = sandboxed()
    look = "def look():\n    import reference_impl.helper\n    return reference_impl.helper.VALUE"
    with Root(["torch.nn"]) as root:
        alone = sandboxed() - before
        with Zygote({"reference_impl.helper": "VALUE = 1"}, ["wave"], root=root) as one, Zygote({}, [], root=root) as two:
            assert len(sandboxed() - before) == len(alone) + 2, "a zygote of a unit is one process"
            with one.open(look) as mine, two.open(look) as theirs:
                assert mine.call(Target("look"), [], {}) == 1
                with pytest.raises(ImplementationError, match="No module named"):
                    theirs.call(Target("look"), [], {})
            with Zygote({"reference_impl.helper": "VALUE = 2"}, [], root=root) as three, three.open(look) as other:
                assert other.call(Target("look"), [], {}) == 2, "the modules of one unit reached another"
        assert not outliving(before | alone), "a zygote was let go and is still there"
        assert root.alive and root.answers()
        with Zygote({}, [], root=root) as again, again.open("def f(): return 3") as opened:
            assert opened.call(Target("f"), [], {}) == 3
    assert not outliving(before)


def test_a_unit_that_cannot_be_imported_says_so_and_its_root_goes_on(zygote):
    with pytest.raises(IsolationError, match="ZeroDivisionError"):
        Zygote({"reference_impl.helper": "1 / 0"}, [], root=zygote.root)
    with pytest.raises(IsolationError, match="No module named 'nowhere'"):
        Zygote({}, ["nowhere"], root=zygote.root)
    with pytest.raises(IsolationError, match="threads are running"):
        Zygote(
            {"reference_impl.helper": "import threading\nthreading.Thread(target=threading.Event().wait).start()"},
            [],
            root=zygote.root,
        )
    with zygote.open("def f(): return 1") as opened:
        assert opened.call(Target("f"), [], {}) == 1


def test_a_killed_zygote_of_a_unit_takes_its_children_along_and_no_others(zygote):
    before = sandboxed()
    with Zygote({}, [], root=zygote.root) as own:
        (process,) = sandboxed() - before
        opened = own.open("def f():\n    while True: pass", limits=Limits(call_seconds=30))
        os.kill(int(process), signal.SIGKILL)
        with pytest.raises(Died, match="the sandbox itself ended"):
            opened.call(Target("f"), [], {})
        assert not own.alive and zygote.root.alive, "the wrong one is said to be dead"
        opened.close()
    assert not outliving(before), "children outlived the zygote of their unit"
    with zygote.open("def f(): return 1") as opened:
        assert opened.call(Target("f"), [], {}) == 1


def test_a_killed_grader_leaves_nothing(zygote):
    before = sandboxed()
    code = """
import os, signal, time
from course.sandbox.client import Zygote
from course.wire import Target
zygote = Zygote({}, [])
session = zygote.open("def f():\\n    while True: pass")
session._wire.send(b"\\0\\0\\0\\2\\0\\0\\0\\0{}", time.monotonic() + 5)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert not outliving(before), "processes outlived the grader"


def test_closing_twice_and_using_after(zygote):
    opened = zygote.open(SOURCE)
    opened.close()
    opened.close()
    assert opened.dead
    with pytest.raises(Exception, match="closed"):
        opened.call(Target("double"), [1], {})


def test_two_sessions_at_once(zygote):
    with zygote.open("def f(): return 1") as one, zygote.open("def f(): return 2") as two:
        assert (one.call(Target("f"), [], {}), two.call(Target("f"), [], {})) == (1, 2)


# Less than strict


@pytest.mark.parametrize("forks", [True, False], ids=["fork", "spawn"])
def test_reduced_says_so_and_works(forks, monkeypatch):
    if forks and sys.platform != "linux":
        pytest.skip("only Linux forks after such imports")
    if not forks:
        monkeypatch.setattr(client.Root, "can_fork", False)
    with Zygote({"reference_impl.helper": "VALUE = 7\n"}, ["torch.nn"], isolation="reduced") as own:
        assert "not against attackers" in own.description and own.in_force["seccomp"].startswith("off")
        with own.open(SOURCE) as opened:
            assert isinstance(opened, Session)
            assert opened.call(Target("double"), [torch.ones(2)], {}).tolist() == [2, 2]
            with pytest.raises(ImplementationError, match="ValueError"):
                opened.call(Target("fails"), [1], {})
        for source, kind in (("def f():\n    while True: pass", Timeout), ("import os\ndef f(): os._exit(3)", Died)):
            with own.open(source, limits=Limits(call_seconds=1, load_seconds=60)) as opened, pytest.raises(kind):
                opened.call(Target("f"), [], {})


def test_strict_or_reduced_only():
    with pytest.raises(Exception, match="'strict' or 'reduced'"):
        Zygote({}, [], isolation="none")


# Other users


ATTEMPT = """
import json
from course.sandbox.client import IsolationError, Zygote, probe
from course.wire import Target
source = '''
import os
def look():
    out = []
    for action in (lambda: open("/etc/passwd"), lambda: os.listdir("/proc"), os.fork, lambda: __import__("socket").socket(), lambda: os.kill(-1, 9)):
        try: out.append(repr(action()))
        except OSError as error: out.append("")
    return [out, list(os.getresuid())]
'''
result = {"probe": probe()}
try:
    with Zygote({}, []) as zygote, zygote.open(source) as session:
        result["looked"] = session.call(Target("look"), [], {})
except IsolationError as error:
    result["refused"], result["layer"] = str(error), error.layer
print(json.dumps(result))
"""
DENY = """
import ctypes, os, sys
user, group = os.getuid(), os.getgid()
assert ctypes.CDLL(None, use_errno=True).unshare(0x10000000) == 0
for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {user} 1"), ("gid_map", f"1000 {group} 1")):
    open(f"/proc/self/{name}", "w").write(text)
open("/proc/sys/user/max_user_namespaces", "w").write("0")
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""


def as_ordinary_user(*arguments):
    """Runs Python as an ordinary user; gives its answer. Skips where there is no interpreter that such a user may run."""
    identity = {"user": 65534, "group": 65534, "extra_groups": []} if os.getuid() == 0 else {}
    paths = os.pathsep.join([str(Path(client.__file__).parents[2]), *host.library_paths()[1]])
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for interpreter in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):

        def python(*rest, program=interpreter):
            return subprocess.run(
                [program, *rest],
                env={"PYTHONPATH": paths},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=100,
                check=False,
                **identity,
            )

        try:
            again = "import subprocess, sys; import torch; subprocess.run([sys.executable, '-c', ''], check=True)"
            if python("-c", again).returncode:
                continue
        except OSError:
            continue
        done = python("-c", *arguments)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout)
    pytest.skip("there is no interpreter with these packages that an ordinary user may run")


def test_as_an_ordinary_user(zygote):
    result = as_ordinary_user(ATTEMPT)
    assert not [name for name in REQUIRED if result["probe"][name]], f"layers are missing: {result['probe']}"
    attempts, ids = result["looked"]
    assert not any(attempts), f"it got through: {attempts}"
    assert 0 not in ids, f"it is root: {ids}"


def test_without_user_namespaces_strict_refuses(zygote):
    result = as_ordinary_user(DENY, ATTEMPT)
    assert result.get("layer") == "user" and "'user'" in result["refused"], result
    assert "user namespaces are not allowed" in result["probe"]["user"], result["probe"]
    assert "'user'" in result["probe"]["network"], result["probe"]


def test_an_installed_course_is_hidden(tmp_path, zygote):
    """Where this course is installed among the packages, or a checkout lies below a visible folder, the sandbox sees an empty one."""
    (tmp_path / "course").mkdir(parents=True)
    (tmp_path / "course" / "secret.py").write_text("answer = 42")
    (tmp_path / "other").mkdir()
    assert "/site/0/course" in host.masked([(str(tmp_path), "/site/0")], [str(tmp_path)])
    checkout = Path(client.__file__).resolve().parents[2]
    assert f"/seen/{checkout.name}" in host.masked([(str(checkout.parent), "/seen")], [])
    look = """
import json, os
from course.sandbox import isolation
def look(config, _):
    isolation.enter(config["paths"], config["masks"], 1 << 20)
    out = {}
    for path in ("/", "/site/9", "/site/9/course"):
        try: out[path] = sorted(os.listdir(path))
        except OSError as error: out[path] = type(error).__name__
    os.write(1, json.dumps(out).encode())
"""
    paths = [*host.library_paths()[0], (str(tmp_path), "/site/9")]
    with host.run_boot(stdout=subprocess.PIPE) as process:
        config = {"paths": paths, "masks": ["/site/9/course"]}
        host.send_boot(process, host.own_sources() | {"look": look}, "look:look", config)
        seen = json.loads(process.stdout.read())
    assert seen["/site/9"] in (["course", "other"], "PermissionError"), seen  # pytest's own folders are closed to others
    assert seen["/site/9/course"] in ([], "PermissionError"), seen
    assert set(seen["/"]) <= {"dev", "etc", "lib", "lib64", "site", "tmp", "usr", "root", "opt", "home", "var", "proc", "sys"}, (
        seen["/"]
    )


def test_an_error_in_an_import_shows_the_learners_line(session, zygote):
    with zygote.open("def look():\n    import tests.secret") as opened, pytest.raises(ImplementationError) as caught:
        opened.call(Target("look"), [], {})
    assert caught.value.line == "in look: import tests.secret", caught.value.line


def test_a_package_reads_its_data_and_nothing_beside_it(tmp_path):
    (tmp_path / "sounds").mkdir()
    (tmp_path / "sounds" / "a.txt").write_text("heard")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "secret.py").write_text("SECRET = 1")
    (tmp_path / "beside.txt").write_text("secret")
    os.chmod(tmp_path, 0o755)
    source = """
from importlib.resources import files
def read(*names):
    path = files("reference_impl.data")
    for name in names: path = path / name
    return path.read_text()
def write():
    (files("reference_impl.data") / "sounds" / "b.txt").write_text("mine")
"""
    preload = {"reference_impl": "", "reference_impl.data": "", "reference_impl.data.sounds": ""}
    with Zygote(preload, ["torch"], data={"reference_impl.data": tmp_path}) as zygote, zygote.open(source) as session:
        assert session.call(Target("read"), ["sounds", "a.txt"], {}) == "heard"
        for names in (["beside.txt"], ["code", "secret.py"]):
            with pytest.raises(ImplementationError, match=r"FileNotFoundError|PermissionError"):
                session.call(Target("read"), names, {})
        with pytest.raises(ImplementationError, match=r"OSError|PermissionError"):
            session.call(Target("write"), [], {})
        look = "import os\ndef look(): return os.listdir('/data/0/sounds')"
        with (
            Zygote({}, [], root=zygote.root) as other,
            other.open(look) as stranger,
            pytest.raises(ImplementationError, match="PermissionError"),
        ):
            stranger.call(Target("look"), [], {})
