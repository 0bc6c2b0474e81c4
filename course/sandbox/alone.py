"""Imports what a unit needs; and a worker that nobody forked, for systems without fork."""

import gc
import importlib
import os
import sys
from typing import Any


def import_all(config: dict[str, Any]) -> None:
    """Import the worker and the third-party modules, with all that Python and torch set up at first use. Raises what an import raises."""
    sys.path.extend(path for path in config["sys_path"] if path not in sys.path)
    sys.dont_write_bytecode = True
    for name in ("course.sandbox.worker", *config["third_party"]):
        importlib.import_module(name)
    import torch

    torch.manual_seed(0)  # brings in what it needs now, once, instead of in every child
    torch.ones(1).half().float()  # asks what processor this is, which a child cannot see
    (3.0 * torch.ones(2, device="meta")).sum()  # imports for a second; a rule asks answers on a device without numbers
    sys.modules["course.sandbox.worker"].rehearse()
    keep()


def import_unit(config: dict[str, Any], importer: Any) -> None:
    """Import what one unit needs besides: its sources, which `importer` is given, and other third-party modules."""
    importer.modules |= config["modules"]
    importer.folders |= config["folders"]
    for name in (*config["third_party"], *config["modules"]):
        importlib.import_module(name)
    keep()


def keep() -> None:
    """What is in memory now stays: a collection need not look at it, and in a child would write to every page that it shares with us. So
    collections come seldom, too."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def serve_alone(config: dict[str, Any], importer: Any) -> None:
    """A worker that nobody forked, for systems without fork: imports all by itself, then serves on its standard input and output."""
    reading, writing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    if sys.platform == "win32":
        msvcrt: Any = importlib.import_module("msvcrt")
        for descriptor in (reading, writing):
            msvcrt.setmode(descriptor, os.O_BINARY)
    import_all(config)
    import_unit(config, importer)
    from course.sandbox import codec, worker

    worker.write_all(writing, codec.encode({"id": 0, "ok": "ready"}))
    worker.serve(reading, writing)
