"""What `aigc generate` asks of a trained system: what it takes, what it gives, and the function that makes the one of the other."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

TAKEN = ("nothing", "text", "image")
GIVEN = ("text", "image", "speech", "video")


@dataclass(frozen=True)
class Verb:
    """The verb of a unit, named `VERB` in its module.

    takes: `text`, `image` or `nothing`; gives: `text`, `image`, `speech` or `video`. example: a text to try it with.
    make: called with the model, then with what was given: a str that is not empty, or ink (1, 24, 24) in [0, 1]; nothing where
    nothing is taken. It returns a str, ink (1, h, w), a waveform (S,) at 8 kHz or ink (T, 1, h, w). Its keyword arguments are
    what people may set: numbers or strings with a default, `seed` among them where something is drawn. One called `say`, if there
    is one, is told in a line what was done to the input. It raises ValueError for what does not suit it, in words for whoever typed it.
    Raises ValueError for other kinds, and for a keyword argument without such a default.
    """

    takes: str
    gives: str
    make: Callable[..., Any]
    example: str = ""

    def __post_init__(self) -> None:
        if self.takes not in TAKEN or self.gives not in GIVEN:
            raise ValueError(f"a verb takes one of {TAKEN} and gives one of {GIVEN}, got {self.takes!r} and {self.gives!r}")
        odd = [name for name, default in self.settings.items() if type(default) not in (int, float, str)]
        if odd:
            raise ValueError(f"{self.make.__name__} needs a number or a string as the default of {', '.join(odd)}")

    @property
    def settings(self) -> dict[str, Any]:
        """What people may set, with its defaults."""
        keywords = [p for p in inspect.signature(self.make).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {p.name: p.default for p in keywords if p.name != "say"}

    @property
    def says(self) -> bool:
        """Whether `make` wants to tell what it did to the input."""
        return "say" in inspect.signature(self.make).parameters


def label_of(text: str, classes: int) -> int:
    """The label that somebody typed. Raises ValueError unless it is one of 0 to `classes` - 1."""
    if text.strip() not in map(str, range(classes)):
        raise ValueError(f"expected a whole number, 0 to {classes - 1}, got {text[:40]!r}")
    return int(text)
