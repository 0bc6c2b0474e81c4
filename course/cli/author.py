"""To make the course: build its files and its site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course import paths
from course.cli.common import FAILED, console, errors, progress_bars
from course.errors import CourseError
from course.units.catalogue import find_units

if TYPE_CHECKING:
    pass


def build(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a build would change something.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="First set the figures that prose quotes to what the records say, and list each.")
    ] = False,
) -> None:
    """Generate notebooks, executed solutions and the README's index from the authored files."""
    from course.authoring import build as builder
    from course.authoring.lint import old_claims

    if check and figures:
        raise CourseError("--check changes nothing, and --figures does: use one of them")
    root = paths.root()
    if figures:
        _renew_figures(root)
    if check:
        problems = builder.check(root)
        for claim in old_claims(find_units(root)):  # to look at again: the passing of time makes no build fail
            errors.print(f"note: {claim}", markup=False, highlight=False, soft_wrap=True)
        for problem in problems:
            errors.print(problem, markup=False, highlight=False, soft_wrap=True)
        if problems:
            raise typer.Exit(FAILED)
        console.print(f"{len(find_units(root))} units: everything generated is up to date")
        return
    changed = builder.build(root, report=lambda line: console.print(line, markup=False, highlight=False))
    for path in changed:
        console.print(f"wrote {path.relative_to(root)}", markup=False, highlight=False)
    if not changed:
        console.print("nothing to do: everything generated is up to date")


def _renew_figures(root: Path) -> None:
    """Where the records have changed, what prose quotes of them: the sentence around a number is for its author to read again."""
    from course.authoring.figures import renewed
    from course.authoring.prose import texts

    written = [path for unit in find_units(root) for path, _ in texts(unit)]
    for path in [root / "README.md", root / "README.zh.md", *written]:
        text = path.read_text(encoding="utf-8")
        new, lines = renewed(text, root)
        for line in lines:
            console.print(f"{path.relative_to(root)}: {line}", markup=False, highlight=False, soft_wrap=True)
        if new != text:
            paths.write_atomic(path, new)


def site(out: Annotated[Path, typer.Option(help="The folder to write: new, empty, or an earlier site.")]) -> None:
    """The course as static pages in both languages: open index.html in a browser; no server or network is needed."""
    from course.site.pages import build_site

    with progress_bars() as bars:
        line = bars.add_task("pages")
        count = build_site(paths.root(), out, lambda done, total: bars.update(line, completed=done, total=total))
    console.print(f"wrote {count} pages; open {out / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
