"""What people hand in grades as it runs live: `check` of a file, the grader's own reading, and a live shell give one answer."""

import json

import pytest
from handed_in import AFTER, BEFORE, KINDS, SETUP, notebook

from course.checking.judge import judge_notebook
from course.checking.load import impl_from
from course.checking.runner import load_suite, run, stub_status

WORDS = {"P": "passed", "F": "failed", "T": "todo"}


@pytest.fixture
def shell():
    """What runs the cells of a notebook, without a kernel around it."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell(config=config)
    for name in ("showtraceback", "showsyntaxerror", "enable_gui"):
        setattr(made, name, lambda *arguments, **named: None)
    yield made
    made.restore_sys_module_state()


def live(shell, unit, cells, seed):
    for cell in cells:
        shell.run_cell(cell, store_history=False)
    verdicts = run(load_suite(unit), impl_from(shell.user_ns, unit), seed=seed)
    return {stub: stub_status(verdicts, stub) for stub in unit.stubs}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gets_what_it_gets_live(kind, unit, shell, tmp_path, capsys):
    cells, marks, said = KINDS[kind]
    expected = dict(zip(unit.stubs, (WORDS[mark] for mark in marks), strict=True))
    path = tmp_path / "sums.ipynb"
    path.write_text(json.dumps(notebook(cells)), encoding="utf-8")
    statuses, text = judge_notebook(unit, path, unit.stubs, seed=7)
    assert statuses == expected, f"a file with {kind} is judged otherwise: {text}"
    assert said in text, f"whoever hands in {kind} is not told: {text}"
    noted = text.split("✓")[0].split("✗")[0].splitlines()[:-1] if not said and marks == "PP" else []
    assert not [line for line in noted if "left out" in line or "stands" in line], "what works needs no note"
    assert live(shell, unit, [SETUP, *BEFORE, *cells, *AFTER], seed=7) == expected, f"{kind} runs otherwise live"
