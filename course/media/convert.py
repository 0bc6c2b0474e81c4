"""`aigc convert` and `aigc train`: the converters at work, with the weights that come with the course or were trained here."""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course.checking.load import reference_module
from course.errors import CourseError
from course.media import files as media
from course.paths import write_atomic
from course.units.catalogue import Unit, find_unit
from reference_impl import weights
from reference_impl.data import digits_in_motion as motion
from reference_impl.runtime import resolve_device

KINDS = tuple(media.KINDS)
VOICE = "us_m1"  # who speaks unless told otherwise
Say = Callable[[str], None]


def unit_of(source: str, target: str) -> Unit:
    """The unit that turns one kind into another. Raises CourseError for kinds that do not exist, or twice the same."""
    for kind in (source, target):
        if kind not in KINDS:
            raise CourseError(f"{kind!r} is not something to convert: use {', '.join(KINDS)}")
    if source == target:
        raise CourseError(f"from {source} to {target} there is nothing to convert")
    return find_unit(f"convert/{source}_to_{target}")


def trained(unit: Unit, device: str, seed: int) -> Any:
    """A unit's system, trained with its own settings."""
    module: Any = reference_module(unit)
    return module.train(module.Config(), device=device, seed=seed)


def train(unit: Unit, *, device: str = "auto", seed: int = 0, say: Say = lambda _: None) -> None:
    """Train a unit's system with its own settings and keep the weights in the user's folder."""
    started = time.process_time()
    write_atomic(weights.own(unit.id), trained_weights(unit, device, seed))
    say(f"{unit.id}: trained in {time.process_time() - started:.0f} CPU s, kept in {weights.own(unit.id)}")


def system(unit: Unit, *, device: str = "auto", say: Say = lambda _: None) -> Any:
    """The trained model of a unit; trained first if there are no weights. Raises CourseError if there are unusable ones."""
    if weights.find(unit.id) is None:
        say(f"{unit.id} has no weights yet: training it first (a minute or two)")
        train(unit, device=device, say=say)
    try:
        return weights.load(unit.id, device=device)
    except weights.WeightsError as error:
        raise CourseError(str(error)) from None


def given(kind: str, split: motion.Split) -> Any:
    """The items of a split in one kind, as converters take them. The phrase is the text that all of them understand."""
    return {"text": split.phrases, "image": split.images, "video": split.videos, "speech": split.waveforms}[kind]


def run(unit: Unit, model: Any, things: Any, *, say: Say = lambda _: None, voice: str = VOICE) -> Any:
    """Turn a batch of one kind into another: texts (captions) or a tensor, as the unit's `convert` takes them.

    What is said is the phrase of a caption, in a voice of the data set; what is heard is made to fit by `media.fit`.
    """
    module, (source, target) = reference_module(unit), unit.name.split("_to_")
    if source == "speech":
        things = torch.stack([media.fit(sound, say) for sound in things])
    if (source, target) == ("text", "speech"):
        phrases = [motion.phrase(*motion.meaning(text)) for text in things]
        for phrase in phrases:
            say(f"saying {phrase!r} in the voice {voice}")
        return module.convert(model, phrases, [voice] * len(phrases))
    return module.convert(model, things)


def step(unit: Unit, thing: Any, *, device: str = "auto", say: Say = lambda _: None, voice: str = VOICE) -> Any:
    """Turn one thing into another with a unit's system."""
    things = [thing] if isinstance(thing, str) else thing[None]
    return run(unit, system(unit, device=device, say=say), things, say=say, voice=voice)[0]


def chain(
    kinds: Sequence[str],
    thing: Any,
    *,
    device: str = "auto",
    say: Say = lambda _: None,
    voice: str = VOICE,
    keep: Callable[[str, Any], None],
) -> Any:
    """Turn a thing of the first kind into the second, that into the third, and so on; `keep` is told of each result.

    voice: of the data set, for steps from text to speech. Raises CourseError for one that no weights know.
    """
    if voice not in motion.SEEN_VOICES:
        raise CourseError(f"no voice is called {voice!r}: use one of {', '.join(motion.SEEN_VOICES)}")
    resolve_device(device)
    units = [unit_of(*pair) for pair in itertools.pairwise(kinds)]
    for unit, kind in zip(units, kinds[1:], strict=True):
        thing = step(unit, thing, device=device, say=say, voice=voice)
        keep(kind, thing)
    return thing


def trained_weights(unit: Unit, device: str, seed: int) -> bytes:
    """A unit's system trained with its own settings, as the bytes of a file of weights."""
    module: Any = reference_module(unit)
    return weights.to_bytes(unit.id, trained(unit, device, seed), module.Config(), seed)


def ship(unit: Unit, made: bytes, seed: int, *, device: str = "auto") -> Path:
    """Put trained weights, as bytes, into the course; the file. Raises CourseError if, rounded, they miss a gate or are too large."""
    module: Any = reference_module(unit)
    if len(made) > weights.LARGEST:
        raise CourseError(f"{unit.id}: {len(made):,} bytes of weights, and at most {weights.LARGEST:,} come with the course")
    with tempfile.TemporaryDirectory() as folder:  # read back as from the course, beside whatever the user has trained
        path = Path(folder) / "rounded.safetensors"
        path.write_bytes(made)
        figures = module.evaluate(weights.load(unit.id, path=path, device=device), seed=seed)
    for gate in module.GATES:
        if not gate.holds(figures):
            raise CourseError(f"{unit.id}: {gate.metric} is {figures[gate.metric]:.4g} in half precision, and the gate is {gate}")
    write_atomic(weights.shipped(unit.id), made)
    return weights.shipped(unit.id)


@dataclass(frozen=True)
class Comparison:
    """One gate of a unit: its figure with the weights at hand and with new ones, and whether both hold."""

    metric: str
    bound: str
    kept: float
    fresh: float
    holds: bool


def verify(unit: Unit, *, device: str = "auto") -> list[Comparison]:
    """Train again with the seed that made the weights at hand and compare figures, not bytes. Raises CourseError without weights."""
    module: Any = reference_module(unit)
    path = weights.find(unit.id)
    if path is None:
        raise CourseError(f"there are no weights of {unit.id} to verify; make them with `aigc train {unit.id}`")
    try:
        kept, seed = weights.load(unit.id, path=path, device=device), int(weights.about(path)["seed"])
    except weights.WeightsError as error:
        raise CourseError(str(error)) from None
    before, after = (module.evaluate(model, seed=seed) for model in (kept, trained(unit, device, seed)))
    return [
        Comparison(gate.metric, str(gate), before[gate.metric], after[gate.metric], gate.holds(before) and gate.holds(after))
        for gate in module.GATES
    ]
