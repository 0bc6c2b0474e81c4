"""The bytes of a notebook: what is read of them, and what is said of those that are none."""

import json
import runpy

import pytest

from course.units.catalogue import find_unit
from course.units.notebooks import notebook_cells, notebook_unit
from course.units.source import AnswerError

CELL = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None, "source": ["x = 1\n", "y = 2"]}
PLAIN = {"cells": [CELL, {"cell_type": "markdown", "source": "x"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
CODE = ["x = 1\ny = 2"]


def text(**changed):
    return json.dumps(PLAIN | changed)


@pytest.mark.parametrize(
    "raw",
    [
        text().encode(),
        text().encode("utf-8-sig"),
        text().encode("utf-16"),
        b"\xfe\xff" + text().encode("utf-16-be"),
        text(cells=[CELL | {"source": "x = 1\ny = 2"}]).encode(),
        json.dumps({"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": "x = 1\ny = 2"}]}]}).encode(),
        text(cells=[CELL | {"outputs": [{"output_type": n, "data": [n]} for n in range(20_000)]}]).encode(),
        text(metadata={"tags": {str(n): None for n in range(20_000)}, "kernelspec": 7}).encode(),
        text(nbformat=99, cells=[CELL | {"metadata": [], "execution_count": "one"}]).encode(),
        text(cells=[7, None, [], {"cell_type": "code2"}, CELL]).encode(),
        text().replace('"nbformat_minor": 5', '"nbformat_minor": ' + "9" * 1_000_000).encode(),
        text().replace('"nbformat_minor": 5', '"nbformat_minor": NaN, "metadata": -Infinity, "x": 1e99999').encode(),
        text().replace('"cells"', '"cells": 7, "cells"', 1).encode(),
    ],
    ids=[
        "utf-8", "byte order mark", "utf-16", "utf-16 big end first", "source as one string", "version 3", "invalid outputs", "odd metadata",
        "a later version", "odd cells", "a number of a million digits", "numbers that are none", "a key that comes twice",
    ],
)  # fmt: skip
def test_code_is_read_whatever_stands_around_it(raw):
    assert notebook_cells(raw, "vae.ipynb") == CODE


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "the file is empty"),
        (b"\xff\xfex", "not UTF-8 text"),
        (b"\x80", "not UTF-8 text"),
        (text().encode()[:-40], "it is not JSON"),
        (b"[]", "JSON of another kind"),
        (b"7", "JSON of another kind"),
        (b'{"cells": []}', "JSON of another kind"),
        (b'{"nbformat": 4}', ""),
        (text(cells={"a": 1}).encode(), "its cells are not a list"),
        (b'{"nbformat": 3, "worksheets": [7]}', "its cells are not a list"),
        (b'{"nbformat": 4, "cells": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_notebook_is_said_in_a_line(raw, reason):
    if not reason:
        assert notebook_cells(raw, "vae.ipynb") == []
        return
    with pytest.raises(AnswerError) as caught:
        notebook_cells(raw, "vae.ipynb")
    assert str(caught.value).startswith("vae.ipynb is not a notebook: ") and reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("cells", "metadata", "unit"),
    [
        ([], {"aigc": {"unit": "image/vae"}}, "image/vae"),
        (['check = checks_for("text/gpt")'], {"aigc": {"unit": "image/vae"}}, "image/vae"),
        (['from course.notebook import checks_for\n\ncheck = checks_for("text/gpt")'], {}, "text/gpt"),
        (["check = checks_for(unit='text/gpt')"], {"aigc": {"unit": ["image/vae"]}}, "text/gpt"),
        (["check('total')", "check('convert/text_to_speech')"], {"aigc": 7}, "convert/text_to_speech"),
        (["check('total')"], {"aigc": {"unit": "../../etc/passwd"}}, None),
        ([], [], None),
    ],
)
def test_a_notebook_says_which_unit_it_is_of(cells, metadata, unit):
    raw = text(cells=[CELL | {"source": cell} for cell in cells], metadata=metadata).encode()
    assert notebook_unit(raw) == unit
    assert notebook_unit(raw[:-30]) is None


def test_our_own_notebooks_say_which_unit_they_are_of(root):
    for path in [*(root / "notebooks").rglob("*.ipynb"), *(root / "solutions").rglob("*.ipynb")]:
        notebook = json.loads(path.read_bytes())
        unit = "/".join(path.with_suffix("").parts[-2:])
        assert notebook_unit(path.read_bytes()) == unit
        assert notebook_unit(json.dumps(notebook | {"metadata": {}}).encode()) == unit, "the setup cell names it too"


def test_no_notebook_is_an_exception(root):
    """200 mutants of right notebooks; `python -m benchmarks.fuzz_notebooks` asks for 10,000."""
    fuzz = runpy.run_path(str(root / "benchmarks" / "fuzz_notebooks.py"))
    outcomes, failed = fuzz["run"](find_unit("image/vae", root), 200, seed=1)
    assert not failed, "python -m benchmarks.fuzz_notebooks --seed 1 --only " + ", ".join(map(str, failed))
    assert outcomes["read"] > 150
