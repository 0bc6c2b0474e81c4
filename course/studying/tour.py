"""The tour that `make start` gives: the dashboard's state, three example submissions, and a page of generated digits."""

from pathlib import Path

from rich.console import Console

from course import paths
from course.authoring.build import compose, fill, to_json
from course.checking.judge import judge_notebook
from course.checking.load import reference_module
from course.checking.verdicts import NAMES, STYLES, overall
from course.errors import CourseError
from course.units.catalogue import Unit, exercises

EXAMPLES = ("right", "half_done", "wrong")


def example_notebook(unit: Unit, name: str) -> Path:
    """The exercise filled in with one of the example answers, as a notebook in work/examples."""
    answer = unit.root / "tests" / "submissions" / unit.id / f"{name}.py"
    try:
        source = answer.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"the example answer {answer.relative_to(unit.root)} is missing") from None
    path = unit.root / "work" / "examples" / unit.id / f"{name}.ipynb"
    paths.write_atomic(path, to_json(fill(compose(unit, solved=False), source)))
    return path


def tour(console: Console) -> None:
    """Check three submissions, draw digits, say what to type next."""
    unit = next((u for u in exercises() if (u.root / "tests" / "submissions" / u.id).is_dir()), None)
    if unit is None:
        raise CourseError("there are no example answers: expected a folder tests/submissions/<track>/<unit>")
    for name in EXAMPLES:
        path = example_notebook(unit, name)
        statuses, text = judge_notebook(unit, path, unit.stubs, seed=0, short=True)
        verdict, passed = overall(statuses)
        console.rule(f"{path.relative_to(unit.root)}")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
        console.print(f"verdict: [bold {STYLES[verdict]}]{NAMES[verdict]}[/] ({passed} of {len(statuses)} stubs)")
    console.rule(f"{unit.title}: the reference at work")
    console.print("training it briefly on real data …")
    import matplotlib

    matplotlib.use("Agg")
    figure = reference_module(unit).demo()
    picture = unit.root / "work" / f"{unit.name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    partial = picture.with_suffix(".part.png")
    figure.savefig(partial, dpi=150, bbox_inches="tight")
    partial.replace(picture)
    console.print(f"drew what it makes: {picture.relative_to(unit.root)}", highlight=False)
    console.rule("what next")
    console.print(
        "  make lab                    open JupyterLab on your copies of the exercises\n"
        "  .venv/bin/aigc check vae    check your answers from the terminal\n"
        "  .venv/bin/aigc path         see where to begin, and what comes after\n"
        "  README.md, README.zh.md     the index of the course, in English and Chinese",
        markup=False,
        highlight=False,
    )
