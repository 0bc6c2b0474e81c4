import pytest

from course.sandbox.client import Zygote, missing_layers


@pytest.fixture(scope="session")
def zygote():
    """A strict zygote with torch and nothing of a unit, shared by the tests: no test may leave it changed."""
    if missing := missing_layers():
        reasons = "; ".join(f"{layer}: {reason}" for layer, reason in missing.items())
        pytest.skip(f"this host lacks layers of isolation ({reasons})")
    with Zygote({"reference_impl.helper": "VALUE = 7\n"}, ["torch.nn"]) as shared:
        yield shared
