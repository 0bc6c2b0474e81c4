"""To make the course: build its files and its site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from course import paths
from course.cli.common import FAILED, console, errors, progress_bars
from course.units.catalogue import find_units

if TYPE_CHECKING:
    pass


def build(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if a build would change something.")] = False,
) -> None:
    """Generate notebooks, executed solutions and the README's index from the authored files."""
    from course.authoring import build as builder
    from course.authoring.lint import old_claims

    root = paths.root()
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


def site(out: Annotated[Path, typer.Option(help="The folder to write: new, empty, or an earlier site.")]) -> None:
    """The course as static pages in both languages: open index.html in a browser; no server or network is needed."""
    from course.site.pages import build_site

    with progress_bars() as bars:
        line = bars.add_task("pages")
        count = build_site(paths.root(), out, lambda done, total: bars.update(line, completed=done, total=total))
    console.print(f"wrote {count} pages; open {out / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
