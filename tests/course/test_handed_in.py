"""What people hand in grades as it runs live: `check` of a file, the grader's own reading, and a live shell give one answer."""

import json

import pytest
from handed_in import AFTER, BEFORE, FILES_ALONE, KINDS, SETUP, notebook

from course.checking.judge import judge_notebook
from course.checking.load import impl_from
from course.checking.runner import load_suite, run, stub_status
from course.grading.grader import Grader, Settings
from course.grading.submissions import find_submissions
from course.sandbox.client import missing_layers

MISSING = list(missing_layers())
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


@pytest.mark.filterwarnings("ignore:.*make_tokens_by_line")  # of IPython, about U+2028
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gets_what_it_gets_live(kind, unit, shell, tmp_path):
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


@pytest.mark.parametrize("kind", FILES_ALONE)
def test_what_cannot_be_read_as_it_runs_is_named(kind, unit, tmp_path):
    cells, marks, said = FILES_ALONE[kind]
    path = tmp_path / "sums.ipynb"
    path.write_text(json.dumps(notebook(cells)), encoding="utf-8")
    statuses, text = judge_notebook(unit, path, unit.stubs, seed=7)
    assert "".join(statuses[stub][0].upper() for stub in unit.stubs) == marks and said in text


def test_an_error_of_loading_names_the_cell_and_its_line(unit, tmp_path):
    """A definition that is too long to be guarded."""
    long = "\n\ndef total(x, scale=1 / 0):\n" + "    # why\n" * 11_000 + "    return x"
    path = tmp_path / "sums.ipynb"
    path.write_text(json.dumps(notebook(["A = 1", long])), encoding="utf-8")
    statuses, text = judge_notebook(unit, path, unit.stubs, seed=7)
    assert set(statuses.values()) == {"failed"}
    assert "cannot be loaded: cell 5, line 3: ZeroDivisionError: division by zero" in text


@pytest.mark.xdist_group("graders")
@pytest.mark.skipif(bool(MISSING), reason=f"strict isolation is not to be had here, missing: {MISSING}")
def test_the_grader_gives_what_a_file_gets(unit, tmp_path):
    every = KINDS | FILES_ALONE
    for number, (cells, _, _) in enumerate(every.values()):
        path = tmp_path / "class" / f"learner-{number:02}" / f"{unit.id}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook(cells)), encoding="utf-8")
    submissions = sorted(find_submissions(tmp_path / "class", [unit.id]), key=lambda found: found.learner)
    with Grader(Settings(seed=7)) as grader:
        rows = [grader.grade(submission, unit) for submission in submissions]
    for (kind, (_, marks, said)), row in zip(every.items(), rows, strict=True):
        found = "".join("P" if row.stubs[stub]["status"] == "passed" else "F" for stub in unit.stubs)
        assert found == marks, f"{kind} is graded otherwise than it runs: {row.message}"
        assert said in row.message, f"whoever hands in {kind} is not told"
