"""What pages that stood before the pattern may still break, in `course/authoring/exceptions.toml`. The list only shrinks."""

import tomllib
from collections.abc import Collection
from pathlib import Path

from course.errors import at


def path(root: Path) -> Path:
    """Where the list of the course at `root` lies; a course without one excuses nothing."""
    return root / "course" / "authoring" / "exceptions.toml"


def read_exceptions(root: Path, rules: Collection[str]) -> dict[str, list[str]]:
    """Unit -> the rules that it may break. Raises CourseError if the file is not of that form or names what is no rule of `rules`."""
    try:
        found = tomllib.loads(path(root).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise at(path(root), f"is no TOML: {error}", root) from None
    for unit, named in found.items():
        if not isinstance(named, list) or not named:
            raise at(path(root), f'{unit} needs a list of rules, such as ["ladder"], got {named!r}', root)
        for rule in named:
            if rule not in rules:
                raise at(path(root), f"{unit} names {rule!r}, which is no rule that may be excused: {', '.join(rules)}", root)
    return found
