"""The Free Spoken Digit Dataset: six people saying the ten digits in English, from a folder that the user has.

It is no part of the course and nothing downloads it: it is the human speech on which what was learnt from the synthetic voices
of `digits_in_motion` can be tried. Source: Z. Jackson and contributors,
https://github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_impl.data import Preview
from reference_impl.data.digits_in_motion import RATE, SAMPLES


@dataclass(frozen=True)
class SpokenDigits:
    """waveforms: float32 in [-1, 1] at 8 kHz, zero after `lengths`; speakers: who says each.

    Padded to the SAMPLES of `digits_in_motion`, or to the longest recording where that is longer (1.15 s in `test`).
    """

    waveforms: Float[Tensor, "N S"]
    lengths: Int[Tensor, " N"]
    digits: Int[Tensor, " N"]
    speakers: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.lengths)


def load(split: str = "test", folder: str | Path | None = None) -> SpokenDigits:
    """The recordings: the usual `test` split (index 0 to 4), or `train` (the rest).

    `folder`, or else the environment variable AIGC_FSDD, holds files `{digit}_{speaker}_{index}.wav`, 8 kHz and mono, itself or
    in a folder `recordings`. Raises ValueError if there is none, it has no such file, or a .wav in it is something else.
    """
    import soundfile

    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    named = folder if folder is not None else os.environ.get("AIGC_FSDD")
    if not named:
        raise ValueError(
            "the Free Spoken Digit Dataset is not part of the course: get it from "
            "https://github.com/Jakobovski/free-spoken-digit-dataset and name its folder, as an argument or in AIGC_FSDD"
        )
    place = Path(named)
    if not place.is_dir():
        raise ValueError(f"{place} is no folder: expected the recordings of the Free Spoken Digit Dataset")
    if (place / "recordings").is_dir():
        place = place / "recordings"
    found = sorted(place.glob("*.wav"))
    if not found:
        raise ValueError(f"{place} has no .wav file: expected recordings named like 3_theo_0.wav")
    chosen = []
    for path in found:
        match = re.fullmatch(r"([0-9])_([^_]+)_([0-9]+)", path.stem)
        if match is None:
            raise ValueError(f"{path} is no recording of the Free Spoken Digit Dataset: expected a name like 3_theo_0.wav")
        if (int(match[3]) < 5) == (split == "test"):
            chosen.append((path, int(match[1]), match[2]))
    if not chosen:
        raise ValueError(f"{place} has no recording of the {split} split (index {'0 to 4' if split == 'test' else '5 and up'})")
    sounds = []
    for path, _, _ in chosen:
        try:
            sound, rate = soundfile.read(path, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{path} cannot be read as sound: {error}") from None
        if rate != RATE or sound.ndim != 1 or not len(sound):
            channels = sound.shape[1] if sound.ndim == 2 else 1
            raise ValueError(
                f"{path}: expected sound at {RATE} Hz in one channel, got {len(sound)} samples at {rate} Hz in {channels}"
            )
        sounds.append(torch.from_numpy(sound))
    lengths = torch.tensor([len(sound) for sound in sounds])
    waveforms = torch.zeros(len(sounds), max(SAMPLES, int(lengths.max())))
    for row, sound in enumerate(sounds):
        waveforms[row, : len(sound)] = sound
    return SpokenDigits(waveforms, lengths, torch.tensor([digit for _, digit, _ in chosen]), tuple(who for _, _, who in chosen))


def preview() -> Preview:
    """Every 13th recording of `test`: all ten digits, all speakers. Raises ValueError as `load` does."""
    human = load("test")
    return Preview(sounds=[human.waveforms[row, : human.lengths[row]] for row in range(0, len(human), 13)], rate=RATE)
