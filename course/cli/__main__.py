"""`python -m course.cli`."""

from course.cli import run

run()
