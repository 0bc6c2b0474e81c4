"""Notebooks in real kernels: the live `check`, and nbval on notebooks with holes, filled ones and solutions."""

import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from course.authoring.build import compose, fill, to_json
from course.notebook import Checker, NotYet
from course.units.catalogue import find_unit


def nbval(path):
    """nbval's outcome per code cell, in order: True where the cell passed."""
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "-v", "-p", "no:cacheprovider", "--color=no", str(path)]
    out = subprocess.run(command, capture_output=True, text=True, cwd=path.parent).stdout
    lines = [line for line in out.splitlines() if "::Cell " in line and ("PASSED" in line or "FAILED" in line) and "[" in line]
    return [" PASSED" in line for line in lines]


@pytest.fixture
def vae(root):
    return find_unit("image/vae", root)


def without_demo(notebook):
    """The demo trains a network; it is the business of `pytest --nbval-lax solutions`."""
    return {**notebook, "cells": [cell for cell in notebook["cells"] if cell["id"] != "demo-run"]}


def test_nbval_fails_at_every_check_cell_of_the_exercise_and_nowhere_else(vae, tmp_path):
    notebook = without_demo(compose(vae, solved=False))
    path = tmp_path / "vae.ipynb"
    path.write_text(to_json(notebook), encoding="utf-8")
    outcomes = nbval(path)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(outcomes) == len(code)
    assert [not passed for passed in outcomes] == ["check" in cell["metadata"].get("tags", []) for cell in code]


def test_nbval_passes_on_the_exercise_filled_with_the_reference(vae, tmp_path):
    path = tmp_path / "vae.ipynb"
    path.write_text(
        to_json(without_demo(fill(compose(vae, solved=False), vae.module.read_text(encoding="utf-8")))), encoding="utf-8"
    )
    outcomes = nbval(path)
    assert outcomes
    assert all(outcomes)


def test_filling_one_hole_in_a_live_kernel(vae):
    notebook = nbformat.from_dict(without_demo(compose(vae, solved=False)))
    client = NotebookClient(notebook, kernel_name="python3", allow_errors=True)
    with client.setup_kernel():

        def run(source):
            cell = nbformat.v4.new_code_cell(source)
            notebook.cells.append(cell)
            client.execute_cell(cell, len(notebook.cells) - 1)
            return cell.outputs

        def text(outputs):
            return "".join(output.get("text", "") + "\n".join(output.get("traceback", [])) for output in outputs)

        for cell in [
            cell for cell in notebook.cells if cell.cell_type == "code" and "check" not in cell.metadata.get("tags", [])
        ]:
            run(cell.source)
        unwritten = text(run('check("kl_divergence")'))
        assert "kl_divergence: not written yet" in unwritten
        assert "not there yet: kl_divergence" in unwritten
        assert "Traceback" not in unwritten, "a learner sees one line, not our stack"
        run("def kl_divergence(mu, logvar):\n    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean(1)")
        wrong = text(run('check("kl_divergence")'))
        assert "likely cause: ½ Σ (μ² + σ² − log σ² − 1), summed over the latent axis only" in wrong
        assert 'the same questions again: check("kl_divergence", seed=' in wrong
        run("def kl_divergence(mu, logvar):\n    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1)")
        outputs = run('check("kl_divergence")')
        assert [output.output_type for output in outputs] == ["stream"]
        assert "kl_divergence: 4 of 4 checks pass" in text(outputs)
        assert text(run('check("kl_divergence")')) == text(outputs), "the same answer must print the same words"
        whole = text(run("check()"))
        assert "elbo: not written yet" in whole


def test_unknown_exercise_in_a_check_is_one_line(vae):
    with pytest.raises(NotYet, match="there is no exercise 'kl'"):
        Checker(vae, {})("kl")


def test_deleted_stub_is_named(vae, capsys):
    with pytest.raises(NotYet):
        Checker(vae, {})("elbo")
    assert "elbo is not defined (deleted or renamed?)" in capsys.readouterr().out
