"""Renders the spoken captions of `digits_in_motion`, `python -m reference_impl.data.render_speech [FOLDER]`, with the extra `render`.

eSpeak NG (https://github.com/espeak-ng/espeak-ng) says "three left" and the other 39 phrases in every voice. One Ogg Vorbis file
a voice holds them in slots of equal length, and `index.json` says how many samples of each slot are speech. The program is
GPL-3.0-or-later; only its output is committed. It is not reproducible to the bit, and Vorbis is lossy: to render again is
to make another data set, on which figures have to be measured again.
"""

import ctypes
import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from reference_impl.data.digits_in_motion import DIGITS, PLACES, RATE, SAMPLES, VOICES, Voice, phrase

RETRIEVAL, UTF8, POSITION_CHARACTER, RATE_PARAMETER, PITCH_PARAMETER = 1, 1, 1, 1, 3  # from eSpeak NG's speak_lib.h
LOUDNESS, PEAK = 0.1, 0.9  # root mean square of an utterance, and the most that a sample may reach
LEVEL = 0.8  # of Vorbis compression: 76 KB a voice at 19 dB of signal to noise


class Synthesizer:
    """eSpeak NG through its C library. Raises RuntimeError if it cannot start or does not know a voice."""

    def __init__(self) -> None:
        import espeakng_loader

        self._chunks: list[np.ndarray] = []
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._rate = self._library.espeak_Initialize(RETRIEVAL, 0, espeakng_loader.get_data_path().encode(), 0)
        if self._rate <= 0:
            raise RuntimeError("eSpeak NG did not start")
        self._library.espeak_Info.restype = ctypes.c_char_p
        self.version: str = self._library.espeak_Info(None).decode().split()[0]
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
        self._callback = kind(self._receive)  # kept, since the library holds only a bare pointer
        self._library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text: str, voice: Voice) -> np.ndarray:
        """The sound of `text`, float64 at `RATE`, with silence cut and at an even loudness."""
        if self._library.espeak_SetVoiceByName(voice.espeak.encode()) != 0:
            raise RuntimeError(f"eSpeak NG {self.version} has no voice {voice.espeak!r}")
        self._library.espeak_SetParameter(RATE_PARAMETER, voice.speed, 0)
        self._library.espeak_SetParameter(PITCH_PARAMETER, voice.pitch, 0)
        self._chunks.clear()
        raw = text.encode()
        if self._library.espeak_Synth(raw, len(raw) + 1, 0, POSITION_CHARACTER, 0, UTF8, None, None) != 0:
            raise RuntimeError(f"eSpeak NG could not say {text!r}")
        self._library.espeak_Synchronize()
        sound = resample_poly(np.concatenate(self._chunks) / 32768, RATE, self._rate)
        loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
        sound = sound[max(0, loud[0] - RATE // 100) : loud[-1] + RATE // 50]  # 10 ms before, 20 ms after
        sound = sound * (LOUDNESS / np.sqrt(np.mean(sound**2)))
        return sound * min(1.0, PEAK / np.abs(sound).max())


def render(folder: Path) -> None:
    """Write the sound files and the index into `folder`. Raises RuntimeError for an utterance that does not fit its slot."""
    synthesizer = Synthesizer()
    folder.mkdir(parents=True, exist_ok=True)
    lengths: dict[str, list[int]] = {}
    for name, voice in VOICES.items():
        sounds = [synthesizer.say(phrase(digit, place), voice) for digit in range(DIGITS) for place in PLACES]
        lengths[name] = [len(sound) for sound in sounds]
        if max(lengths[name]) > SAMPLES:
            raise RuntimeError(f"voice {name}: an utterance of {max(lengths[name])} samples does not fit into {SAMPLES}")
        slots = np.concatenate([np.pad(sound, (0, SAMPLES - len(sound))) for sound in sounds])
        soundfile.write(folder / f"{name}.ogg", slots, RATE, format="OGG", subtype="VORBIS", compression_level=LEVEL)
    index = {"engine": f"eSpeak NG {synthesizer.version}", "rate": RATE, "slot": SAMPLES, "lengths": lengths}
    (folder / "index.json").write_text(json.dumps(index) + "\n")


if __name__ == "__main__":
    render(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "speech")
