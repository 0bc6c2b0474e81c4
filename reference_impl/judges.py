"""Judges: classifiers that score what a generator made. Trained on the real training split only, apart from any generator.

A judge is asked `accuracy(things, labels)`, the share in which it finds what was asked for, and `ceiling()`, the same on real held-out
things: no generator can honestly be asked for more. `NOTHING` is the class of an empty picture, a video that stands still or
silence. It is never right, so a generator that makes nothing scores 0, not chance.
"""

import math
import os
import tempfile
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from sklearn.svm import SVC
from torch import Tensor

from reference_impl.data import digits
from reference_impl.data import digits_in_motion as motion

NOTHING = -1


class DigitJudge:
    """A support vector machine with an RBF kernel on the 64 pixel counts: 99.3 % on held-out real digits.

    It shares neither architecture nor training with the neural generators it judges.
    """

    def __init__(self) -> None:
        real = digits.load("train")
        self._svm = SVC(C=10.0, gamma=0.001).fit(real.counts.flatten(1).numpy(), real.labels.numpy())

    def classify(self, images: Float[Tensor, "N 1 8 8"]) -> Int[Tensor, " N"]:
        """The class that the judge reads in each image (ink in [0, 1])."""
        counts = images.detach().float().cpu().flatten(1) * digits.LEVELS  # (N, 64)
        return torch.as_tensor(self._svm.predict(counts.numpy()))

    def accuracy(self, images: Float[Tensor, "N 1 8 8"], labels: Int[Tensor, " N"]) -> float:
        """Share of `images` in which the judge reads the class that was asked for."""
        return (self.classify(images) == labels.cpu()).float().mean().item()

    def ceiling(self) -> float:
        """Accuracy on real held-out digits: no generator can honestly be asked for more."""
        real = digits.load("test")
        return self.accuracy(real.images, real.labels)


@lru_cache(maxsize=1)
def digit_judge() -> DigitJudge:
    """The judge, trained once per process (0.1 s)."""
    return DigitJudge()


class Judge(ABC):
    """What the judges of Digits in Motion share. `classify` keeps the leading axes, so a video gives a class for each frame."""

    @abstractmethod
    def classify(self, things: Float[Tensor, "*B _"]) -> Int[Tensor, "*B"]:
        """The class of each thing, or NOTHING."""

    @abstractmethod
    def ceiling(self, split: str = "test") -> float:
        """Accuracy on the real things of `test` or `compositional`."""

    def accuracy(self, things: Float[Tensor, "*B _"], labels: Int[Tensor, "*B"]) -> float:
        """Share of `things` in which the judge finds the class that was asked for."""
        found = self.classify(things)
        if found.shape != labels.shape:
            raise ValueError(f"expected a label for each thing, {tuple(found.shape)}, got {tuple(labels.shape)}")
        return (found == labels.cpu()).float().mean().item()


def centre_of_ink(images: Float[Tensor, "*B 1 H W"]) -> tuple[Float[Tensor, "*B 2"], Float[Tensor, "*B"]]:
    """Where the ink of each image is, in pixels down and right of the middle, and how much there is.

    Values below 0.1 are haze and do not count, those above 1 count as 1; without ink the centre is the middle.
    """
    ink = images.detach().float().cpu().squeeze(-3).clamp(max=1.0)
    ink = torch.where(ink >= 0.1, ink, 0.0)  # NaN is no ink either
    H, W = ink.shape[-2:]
    mass = ink.sum((-2, -1))
    down = (ink.sum(-1) * (torch.arange(H) + 0.5 - H / 2)).sum(-1)
    right = (ink.sum(-2) * (torch.arange(W) + 0.5 - W / 2)).sum(-1)
    return torch.stack([down, right], dim=-1) / mass.clamp(min=1e-6).unsqueeze(-1), mass


def _towards(shift: Float[Tensor, "*B 2"], least: float) -> Int[Tensor, "*B"]:
    """The place (index into `PLACES`) that a shift of at least so many pixels points to, else NOTHING."""
    steps = torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])  # (4, 2)
    far, place = (shift @ steps.T).max(dim=-1)
    return torch.where(far >= least, place, NOTHING)


INKED = 10.0  # pixels' worth of ink: less is no digit (the faintest real one has 30)


class MotionDigitJudge(Judge):
    """Which digit a 24×24 picture shows, at any place: a support vector machine on the 14×14 pixels around the centre of its ink."""

    WINDOW = 14

    def __init__(self) -> None:
        real = digits.load("train")
        generator = torch.Generator().manual_seed(0)
        examples = []
        for place in range(len(motion.PLACES)):  # each handwriting at every place, its centre a little off, as in a generated one
            picture = motion.draw(real.images, torch.full_like(real.labels, place))
            examples.append(self._windows(picture, 0.3 * torch.randn(len(real), 2, generator=generator)))
        labels = real.labels.repeat(len(examples))
        self._svm = SVC(C=10.0, gamma=0.05).fit(torch.cat(examples).numpy(), labels.numpy())

    def _windows(self, images: Float[Tensor, "N 1 24 24"], jitter: Float[Tensor, "N 2"] | float = 0.0) -> Float[Tensor, "N 196"]:
        centre, _ = centre_of_ink(images)
        y, x = (centre + jitter).unbind(1)  # pixels from the middle
        line = torch.arange(self.WINDOW) + 0.5 - self.WINDOW / 2
        across, down = (line + x[:, None]) / (motion.SIZE / 2), (line + y[:, None]) / (motion.SIZE / 2)  # in [-1, 1]
        shape = (-1, self.WINDOW, self.WINDOW)
        grid = torch.stack([across[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=-1)
        return F.grid_sample(images, grid, align_corners=False).flatten(1)

    def classify(self, images: Float[Tensor, "*B 1 24 24"]) -> Int[Tensor, "*B"]:
        """The digit in each image (ink in [0, 1]); NOTHING where there is hardly any ink."""
        flat = images.detach().float().cpu().nan_to_num().clamp(0, 1).reshape(-1, 1, motion.SIZE, motion.SIZE)
        if not len(flat):
            return torch.zeros(images.shape[:-3], dtype=torch.int64)
        found = torch.as_tensor(self._svm.predict(self._windows(flat).numpy()))
        return torch.where(centre_of_ink(flat)[1] >= INKED, found, NOTHING).reshape(images.shape[:-3])

    def ceiling(self, split: str = "test") -> float:
        real = motion.load(split)
        return self.accuracy(real.images, real.digits)


class PlaceJudge(Judge):
    """At which place the ink of a 24×24 picture is: its centre, more than half the way from the middle to a place. Closed form."""

    def classify(self, images: Float[Tensor, "*B 1 24 24"]) -> Int[Tensor, "*B"]:
        """The place (index into `PLACES`) of each image; NOTHING where the ink is in the middle, or hardly there."""
        centre, mass = centre_of_ink(images)
        return torch.where(mass >= INKED, _towards(centre, motion.REACH / 2), NOTHING)

    def error(self, images: Float[Tensor, "N 1 24 24"], places: Int[Tensor, " N"]) -> float:
        """Mean distance of the centre of the ink from where that of a real digit is on average at its place, in pixels: `classify` forgives
        a digit that goes only part of the way, this does not."""
        centre, _ = centre_of_ink(images)
        way = torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])[places.cpu()]
        return (centre - motion.REACH * way).norm(dim=-1).mean().item()

    def ceiling(self, split: str = "test") -> float:
        real = motion.load(split)
        return self.accuracy(real.images, real.places)


class DirectionJudge(Judge):
    """Which way a video moves: the displacement of the centre of its ink. Closed form.

    It has to go at least half of the real way, and every one of its steps has to go that way, between a quarter and three times as far as a
    real one: a picture that stands at its place, or jumps there, does not move.
    """

    def classify(self, videos: Float[Tensor, "*B 8 1 24 24"]) -> Int[Tensor, "*B"]:
        """The direction (index into `PLACES`) of each video; NOTHING if it stands still, jumps, or loses its ink on the way."""
        centre, mass = centre_of_ink(videos)  # (*B, 8, 2), (*B, 8)
        step = motion.REACH / (motion.FRAMES - 1)
        whole = _towards(centre[..., -1, :] - centre[..., 0, :], motion.REACH / 2)
        way = torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])[whole]  # (*B, 2), of any where there is none
        steps = (centre.diff(dim=-2) * way[..., None, :]).sum(-1)  # (*B, 7)
        moves = ((steps >= step / 4) & (steps <= 3 * step)).all(-1) & (mass.amin(-1) >= INKED)
        return torch.where(moves, whole, NOTHING)

    def ceiling(self, split: str = "test") -> float:
        real = motion.load(split)
        return self.accuracy(real.videos, real.places)


def cepstrum(waveforms: Float[Tensor, "N S"], *, points: int = 32, coefficients: int = 13) -> Float[Tensor, "N P C"]:
    """What the judges of speech hear: cepstral coefficients at `points` moments, from the start of the utterance to its end.

    24 mel bands of windows of 32 ms every 10 ms, from the first to the last window with sound in it, by straight lines between
    windows; the mean over time of each coefficient is taken off. The code is the judges' own, shared with no unit.
    """
    window, hop, bands, floor = 256, 80, 24, 1e-3
    mel = 2595 * torch.log10(1 + torch.linspace(0, motion.RATE / 2, window // 2 + 1) / 700)
    edges = torch.linspace(2595 * math.log10(1 + 80 / 700), mel[-1].item(), bands + 2)  # triangles from 80 Hz up
    rise = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rise, fall).clamp(min=0)  # (F, M)
    spectrum = torch.stft(waveforms, window, hop, window=torch.hann_window(window), return_complex=True).abs().square()
    power = spectrum.transpose(1, 2) @ filters  # (N, T, M)
    # Sound is what lies above -30 dB of the loudest window and, where there is a hiss, well above the quiet ones.
    energy = power.sum(2)
    peak, hiss = energy.amax(1, keepdim=True), energy.quantile(0.1, dim=1, keepdim=True)
    loud = (energy > torch.maximum(floor * peak, (4 * hiss).clamp(max=0.1 * peak))).float()
    T = loud.shape[1]
    start, end = loud.argmax(1), T - 1 - loud.flip(1).argmax(1)
    at = start[:, None] + (end - start)[:, None] * torch.linspace(0, 1, points)  # (N, P)
    before = at.floor().long()
    after = (before + 1).clamp(max=T - 1)
    weight = (at - before).unsqueeze(2)
    logs = torch.log(power / power.amax((1, 2), keepdim=True) + floor)
    rows = torch.arange(len(logs))[:, None]
    moments = (1 - weight) * logs[rows, before] + weight * logs[rows, after]  # (N, P, M)
    k, m = torch.arange(coefficients), torch.arange(bands) + 0.5
    cepstra = moments @ torch.cos(math.pi / bands * m[:, None] * k)  # (N, P, C)
    return cepstra - cepstra.mean(1, keepdim=True)


def known_utterances() -> Int[Tensor, " K"]:
    """The utterances of the training bank that a judge of speech may hear: those that no generator is asked to say in a test."""
    return (~motion.withheld(motion.speech("train"))).nonzero()[:, 0]


@lru_cache(maxsize=1)
def _spoken_examples() -> Float[Tensor, "N P C"]:
    """The cepstra of `known_utterances` four times: as they are, then with a little noise as they are, faster and slower."""
    waveforms = motion.speech("train").waveforms[known_utterances()]
    generator = torch.Generator().manual_seed(0)
    heard = [cepstrum(waveforms)]
    for speed in (1.0, 1.08, 0.92):
        changed = F.interpolate(waveforms[:, None], scale_factor=1 / speed, mode="linear").squeeze(1)[:, : motion.SAMPLES]
        heard.append(cepstrum(changed + 0.005 * torch.randn(changed.shape, generator=generator)))
    return torch.cat(heard)


class SpokenJudge(Judge):
    """Which digit, or which place, an utterance names: a support vector machine on its cepstrum.

    The digit is judged by the first 20 of 32 moments and the place by the last 20, so that a pair never heard in training is
    judged by its words. Trained on the 13 training voices, without the utterances `motion.withheld`; with a little noise and change of
    speed, to judge vocoders too.
    """

    HEARD: ClassVar = {"digits": slice(0, 20), "places": slice(12, 32)}

    def __init__(self, of: str) -> None:
        if of not in self.HEARD:
            raise ValueError(f"the judge hears 'digits' or 'places', got {of!r}")
        self._of = of
        examples = _spoken_examples()[:, self.HEARD[of]].flatten(1)
        labels = getattr(motion.speech("train"), of)[known_utterances()]
        self._mean, self._spread = examples.mean(0), examples.std(0)
        scaled = (examples - self._mean) / self._spread
        self._svm = SVC(C=10.0).fit(scaled.numpy(), labels.repeat(len(examples) // len(labels)).numpy())

    def classify(self, waveforms: Float[Tensor, "*B S"]) -> Int[Tensor, "*B"]:
        """The digit, or the place (index into `PLACES`), in each waveform at 8 kHz; NOTHING in silence.

        Raises ValueError for fewer than 1,000 samples (an eighth of a second).
        """
        if waveforms.shape[-1] < 1000:
            raise ValueError(f"expected at least 1000 samples at {motion.RATE} Hz, got {waveforms.shape[-1]}")
        flat = waveforms.detach().float().cpu().nan_to_num().reshape(-1, waveforms.shape[-1])
        audible = flat.abs().amax(1) > 1e-4
        found = torch.full((len(flat),), NOTHING)
        if audible.any():
            scaled = (cepstrum(flat[audible])[:, self.HEARD[self._of]].flatten(1) - self._mean) / self._spread
            found[audible] = torch.as_tensor(self._svm.predict(scaled.numpy()))
        return found.reshape(waveforms.shape[:-1])

    def ceiling(self, split: str = "test") -> float:
        real = motion.speech(split)
        return self.accuracy(real.waveforms, getattr(real, self._of))


class SphinxJudge:
    """pocketsphinx, a recogniser trained by others on human speech, with a grammar of a digit and a place. Extra `judges`.

    It finds synthetic voices hard, so its score means something only beside its `ceiling`, the same on real audio.
    Raises ImportError without the extra. Source: D. Huggins-Daines et al., PocketSphinx, ICASSP (2006).
    """

    RATE = 16000  # of its acoustic model
    NOISE = 3e-3  # its model knows no digital silence, nor an empty upper half of the spectrum
    SILENCE = 3200  # samples before and after

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError:
            raise ImportError("the judge of speech needs pocketsphinx: pip install 'aigc-interview[judges]'") from None
        grammar = f"({' | '.join(motion.WORDS)}) ({' | '.join(motion.PLACES)})"
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "phrase.gram")
            with open(path, "w") as file:
                file.write(f"#JSGF V1.0;\ngrammar phrase;\npublic <phrase> = {grammar};\n")
            self._decoder = Decoder(samprate=float(self.RATE), lm=None, jsgf=path, loglevel="FATAL")

    def transcribe(self, waveforms: Float[Tensor, "N S"]) -> list[str]:
        """What it hears in each waveform at 8 kHz, such as "three left"; an empty text if nothing fits the grammar."""
        from scipy.signal import resample_poly

        random = np.random.default_rng(0)
        texts = []
        for waveform in waveforms.detach().float().cpu().nan_to_num().numpy():
            sounding = np.flatnonzero(np.abs(waveform) > 1e-4)
            if not len(sounding):
                texts.append("")
                continue
            sound = resample_poly(waveform[: sounding[-1] + 1], self.RATE // motion.RATE, 1)
            sound = np.pad(sound, self.SILENCE)
            sound = sound + self.NOISE * random.standard_normal(len(sound))
            self._decoder.start_utt()
            self._decoder.process_raw((sound.clip(-1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
            self._decoder.end_utt()
            heard = self._decoder.hyp()
            texts.append(heard.hypstr if heard else "")
        return texts

    def accuracy(self, waveforms: Float[Tensor, "N S"], digits: Int[Tensor, " N"], places: Int[Tensor, " N"]) -> dict[str, float]:
        """Share of waveforms in which it hears the `digit`, the `place`, and `both`."""
        heard = [text.split() for text in self.transcribe(waveforms)]
        asked = [(motion.WORDS[d], motion.PLACES[p]) for d, p in zip(digits.tolist(), places.tolist(), strict=True)]
        right = torch.tensor([[words[:1] == [d], words[1:] == [p]] for words, (d, p) in zip(heard, asked, strict=True)])
        digit, place = right.float().mean(0).tolist()
        return {"digit": digit, "place": place, "both": right.all(1).float().mean().item()}

    @lru_cache(maxsize=2)  # noqa: B019 - there is one such judge
    def ceiling(self, split: str = "test") -> dict[str, float]:
        """`accuracy` on the real utterances of `test` or `compositional`."""
        real = motion.speech(split)
        return self.accuracy(real.waveforms, real.digits, real.places)


@lru_cache(maxsize=1)
def motion_digit_judge() -> MotionDigitJudge:
    """The judge of the digit in a picture, trained once per process."""
    return MotionDigitJudge()


@lru_cache(maxsize=1)
def place_judge() -> PlaceJudge:
    """The judge of the place in a picture."""
    return PlaceJudge()


@lru_cache(maxsize=1)
def direction_judge() -> DirectionJudge:
    """The judge of the direction of a video."""
    return DirectionJudge()


@lru_cache(maxsize=1)
def spoken_digit_judge() -> SpokenJudge:
    """The judge of the digit in an utterance, trained once per process."""
    return SpokenJudge("digits")


@lru_cache(maxsize=1)
def spoken_place_judge() -> SpokenJudge:
    """The judge of the place in an utterance, trained once per process."""
    return SpokenJudge("places")


@lru_cache(maxsize=1)
def sphinx_judge() -> SphinxJudge:
    """pocketsphinx, loaded once per process."""
    return SphinxJudge()


def diversity_ratio(
    images: Float[Tensor, "N 1 H W"], labels: Int[Tensor, " N"], real: Float[Tensor, "M 1 H W"], real_labels: Int[Tensor, " M"]
) -> float:
    """Mean pairwise distance of generated images within a class, over that of real images. 1 is as varied; 0 is collapsed.

    A class needs two images of each kind. In Digits in Motion it is a pair, `digits * 4 + places`: a digit elsewhere is far away.
    """

    def spread(x: Tensor, y: Tensor) -> float:
        per_class = [torch.pdist(x[y == c].flatten(1)).mean() for c in y.unique()]
        return torch.stack(per_class).mean().item()

    return spread(images.detach().float().cpu(), labels.cpu()) / spread(real, real_labels)
