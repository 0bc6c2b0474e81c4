import sys

import pytest

from course.sandbox.client import Zygote, probe
from course.sandbox.terms import NOT_USED


def missing_layers() -> str:
    if sys.platform != "linux":
        return f"strict isolation needs Linux, this is {sys.platform}"
    return "; ".join(f"{name}: {reason}" for name, reason in probe().items() if reason and name not in NOT_USED)


@pytest.fixture(scope="session")
def zygote():
    """A strict zygote with torch and nothing of a unit, shared by the tests: no test may leave it changed."""
    if reason := missing_layers():
        pytest.skip(f"this host lacks layers of isolation ({reason})")
    with Zygote({"reference_impl.helper": "VALUE = 7\n"}, ["torch.nn"]) as shared:
        yield shared
