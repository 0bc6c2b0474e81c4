"""`aigc generate`: the systems at work that take a text, a picture or nothing, each by the `VERB` of its module."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from course.checking.load import reference_module
from course.errors import CourseError
from course.media import files as media
from course.media.convert import system
from course.units.catalogue import Unit, find_units
from course.units.dependencies import names
from reference_impl.runtime import resolve_device
from reference_impl.verbs import Verb

SHOWN = 192  # pixels: how wide a picture is in a file, if that can be

Say = Callable[[str], None]


def able(units: Iterable[Unit]) -> list[tuple[Unit, Verb]]:
    """The units that have a verb, with it."""
    return [(unit, reference_module(unit).VERB) for unit in units if has_verb(unit)]


def has_verb(unit: Unit) -> bool:
    """Whether a unit has a verb, told without importing it."""
    return not unit.is_concept and "VERB" in names(unit.module, unit.root)


def verb_of(unit: Unit) -> Verb:
    """The verb of a unit. Raises CourseError that names the units that have one, if it has none."""
    if unit.track == "convert":
        raise CourseError(f"{unit.id} turns one thing into another: use `aigc convert`")
    if not has_verb(unit):
        others = ", ".join(one.id for one in find_units(unit.root) if has_verb(one))
        raise CourseError(f"{unit.id} generates nothing; these do: {others or 'none'}")
    verb: Verb = reference_module(unit).VERB
    return verb


def settings(verb: Verb, given: Sequence[str], seed: int | None = None) -> dict[str, Any]:
    """Settings from texts such as `temperature=0.5`, each in the type of its default. Raises CourseError for one that is none."""
    known = verb.settings
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            may = ", ".join(f"{name}={default}" for name, default in known.items())
            raise CourseError(f"--set {text}: expected a name and a value, of these: {may or 'there is nothing to set'}")
        kind = type(known[name])
        try:
            found[name] = kind(value)
            if kind is float and not math.isfinite(found[name]):
                raise ValueError
        except ValueError:
            wanted = {int: "a whole number", float: "a number"}[kind]
            raise CourseError(f"--set {text}: {name} is {wanted}, such as {known[name]}") from None
    if seed is not None:
        if "seed" not in known:
            raise CourseError("nothing is drawn here: leave out --seed")
        found["seed"] = seed
    return found


def given(verb: Verb, thing: str | None, say: Say) -> list[Any]:
    """What was typed, as `make` takes it: no argument or one. Raises CourseError if it is not what the verb takes, or is missing."""
    if verb.takes == "nothing":
        if thing is not None:
            raise CourseError(f"this takes nothing: leave out {thing!r}")
        return []
    if thing is None:
        example = f", such as {verb.example!r}" if verb.example else ""
        raise CourseError(f"this takes {'a text' if verb.takes == 'text' else 'a picture'}{example}")
    if verb.takes == "image":
        if media.kind_of(Path(thing)) != "image":
            raise CourseError(f"{thing} is no picture: expected a name that ends in .png")
        return [media.read_image(Path(thing), say)]
    return [media.plain_text(thing)]


def make(
    unit: Unit, verb: Verb, things: Sequence[Any], options: Mapping[str, Any], *, device: str = "auto", say: Say = lambda _: None
) -> Any:
    """Let a unit's system make something. Raises CourseError in the words of the unit for what does not suit it."""
    try:
        resolve_device(device)
        told = {"say": say} if verb.says else {}
        return verb.make(system(unit, device=device, say=say), *things, **options, **told)
    except ValueError as error:
        raise CourseError(str(error)) from None


def to_bytes(verb: Verb, made: Any, ending: str) -> bytes:
    """What was made, as a file; small pictures enlarged."""
    scale = max(1, SHOWN // made.shape[-1]) if verb.gives in ("image", "video") else 1
    return media.to_bytes(verb.gives, made, ending, scale)
