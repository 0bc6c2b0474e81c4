"""What `--dist loadgroup` is given: tests that share a costly fixture, or the cores, run in one worker."""

import pytest


def test_a_file_is_one_group_where_groups_are_asked_for(request):
    """pytest-xdist reads the group from the end of the test's id: marks that it does not find cost a quarter of `make test`, in silence."""
    if not request.config.getoption("loadgroup", False):
        pytest.skip("asked in a worker of `pytest --numprocesses N --dist loadgroup`")
    assert request.node.nodeid.endswith("@tests/course/test_groups.py"), (
        f"pytest-xdist knows this test as {request.node.nodeid!r}, without a group: do this pytest and this pytest-xdist go together?"
    )
