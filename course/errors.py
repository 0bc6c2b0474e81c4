"""Errors that a person caused and can mend. The command line prints them as one line, without a traceback."""

from pathlib import Path


class CourseError(Exception):
    """Something authored or given is wrong: says what came, what was expected, and what to do."""


def at(path: Path, message: str, root: Path | None = None) -> CourseError:
    """A CourseError that begins with the file at fault, relative to `root` where it lies inside."""
    shown = path.relative_to(root) if root is not None and path.is_relative_to(root) else path
    return CourseError(f"{shown}: {message}")
