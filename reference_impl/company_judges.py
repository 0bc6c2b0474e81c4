"""Judges of Digits in Company: what a picture, a video or a sound of two digits says. Trained on the real training split only.

Each reads a thing into *events*, so that a generator's work can be held against what was asked, and says how much a real thing gets:
`ceiling`. What is not there is NOTHING, and never right.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from sklearn.svm import SVC
from torch import Tensor

from reference_impl.data import digits
from reference_impl.data import digits_in_company as company
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import NOTHING, SpokenJudge

PLACES = (
    torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES]) * company.REACH
)  # (4, 2), pixels down and right of the middle
WINDOW = 10  # pixels around a place in which its digit is looked for, and around its ink in which it is read
INKED = 5.0  # pixels' worth of ink in a window: less is no digit


@dataclass(frozen=True)
class Reading:
    """What a judge reads at each of the four places: a digit or NOTHING, and how far its ink is from the place, in pixels."""

    digits: Int[Tensor, "N 4"]
    offsets: Float[Tensor, "N 4 2"]

    def events(self, digits: Int[Tensor, "N 2"], places: Int[Tensor, "N 2"]) -> Bool[Tensor, "N 2"]:
        """Which of two asked events are there: the digit at its place."""
        return self.digits.gather(1, places.cpu()) == digits.cpu()

    def exact(self, digits: Int[Tensor, "N 2"], places: Int[Tensor, "N 2"]) -> Bool[Tensor, " N"]:
        """Where both asked events are there, and nothing at the other two places."""
        return self.events(digits, places).all(1) & ((self.digits != NOTHING).sum(1) == 2)

    def place_error(self, places: Int[Tensor, "N 2"]) -> float:
        """Mean distance, in pixels, of what stands at two places from where it should; what is not there does not count."""
        there = self.digits.gather(1, places.cpu()) != NOTHING
        offsets = self.offsets.gather(1, places.cpu()[:, :, None].expand(-1, -1, 2))
        return offsets.norm(dim=2)[there].mean().item()


def _windows(images: Float[Tensor, "N 1 24 24"], centres: Float[Tensor, "N 2"]) -> Float[Tensor, "N W W"]:
    """The WINDOW×WINDOW pixels around centres, pixels down and right of the middle; nothing beyond the edge."""
    line = torch.arange(WINDOW) + 0.5 - WINDOW / 2
    down, right = (line + centres[:, :1]) / (motion.SIZE / 2), (line + centres[:, 1:]) / (motion.SIZE / 2)  # (N, W) in [-1, 1]
    shape = (-1, WINDOW, WINDOW)
    grid = torch.stack([right[:, None, :].expand(shape), down[:, :, None].expand(shape)], dim=3)
    return F.grid_sample(images, grid, align_corners=False)[:, 0]


class PairJudge:
    """Which digits a 24×24 picture of two shows, and where: a support vector machine on a window around the ink near each place."""

    def __init__(self) -> None:
        real = digits.load("train")
        generator = torch.Generator().manual_seed(0)
        examples, labels = [], []
        for place in range(len(PLACES)):  # each handwriting at every place, beside another one
            other = (place + torch.randint(1, 4, (len(real),), generator=generator)) % 4
            beside = torch.randperm(len(real), generator=generator)
            jitter = company.JITTER * (2 * torch.rand(2, len(real), 2, generator=generator) - 1)
            one = company.draw(real.images[:, 0], PLACES[place] + jitter[0])
            two = company.draw(real.images[beside, 0], PLACES[other] + jitter[1])
            windows, _, _ = self._looked_at((one + two).clamp(max=1)[:, None], torch.full((len(real),), place))
            examples.append(windows.flatten(1))
            labels.append(real.labels)
        self._svm = SVC(C=10.0, gamma=0.05).fit(torch.cat(examples).numpy(), torch.cat(labels).numpy())

    @staticmethod
    def _looked_at(
        images: Float[Tensor, "N 1 24 24"], places: Int[Tensor, " N"]
    ) -> tuple[Float[Tensor, "N W W"], Float[Tensor, "N 2"], Float[Tensor, " N"]]:
        """The windows to read, the offset of their ink from the places, and how much of it there is."""
        near = _windows(images, PLACES[places])
        ink = torch.where(near >= 0.1, near, 0.0)
        mass = ink.sum((1, 2))
        line = torch.arange(WINDOW) + 0.5 - WINDOW / 2
        offset = torch.stack([(ink.sum(2) * line).sum(1), (ink.sum(1) * line).sum(1)], dim=1) / mass.clamp(min=1e-6)[:, None]
        return _windows(images, PLACES[places] + offset), offset, mass

    def read(self, images: Float[Tensor, "N 1 24 24"]) -> Reading:
        """What stands at each place of each image (ink in [0, 1])."""
        flat = images.detach().float().cpu().nan_to_num().clamp(0, 1)
        N = len(flat)
        places = torch.arange(4).repeat(N)
        windows, offsets, mass = self._looked_at(flat.repeat_interleave(4, dim=0), places)
        found = torch.full((4 * N,), NOTHING)
        there = mass >= INKED
        if there.any():
            found[there] = torch.as_tensor(self._svm.predict(windows[there].flatten(1).numpy()))
        return Reading(found.view(N, 4), offsets.view(N, 4, 2))

    def ceiling(self, split: str = "test") -> dict[str, float]:
        """`events` and `exact`, the shares that it reads right in real pictures, and their `place_error` in pixels: that of the jitter."""
        real = company.load(split)
        return scores(self.read(real.images), real)


def scores(reading: Reading, asked: company.Split) -> dict[str, float]:
    """What a reading of pictures is worth, beside what was asked for: `events`, `exact` (shares) and `place_error` (pixels)."""
    return {
        "events": reading.events(asked.digits, asked.places).float().mean().item(),
        "exact": reading.exact(asked.digits, asked.places).float().mean().item(),
        "place_error": reading.place_error(asked.places),
    }


def moves_as_told(videos: Float[Tensor, "N 8 1 24 24"], places: Int[Tensor, "N 2"]) -> Bool[Tensor, " N"]:
    """Where the first digit slides to its place in the first half and the second in the second half, at every single step. Closed form.

    Each step, that between the halves included, has to go between half and twice the way of a real one, in the right direction: what
    jumps, stands or comes in the other order does not move as told. Of the second half only the ink counts that was not there before.
    """
    frames = videos.detach().float().cpu().nan_to_num().clamp(0, 1)[:, :, 0]  # (N, 8, 24, 24)
    half = motion.FRAMES // 2
    fresh = torch.cat([frames[:, :half], (frames[:, half:] - frames[:, half - 1 : half]).clamp(min=0)], dim=1)
    ink = torch.where(fresh >= 0.1, fresh, 0.0)
    mass = ink.sum((2, 3))
    line = torch.arange(motion.SIZE) + 0.5 - motion.SIZE / 2
    centre = torch.stack([(ink.sum(3) * line).sum(2), (ink.sum(2) * line).sum(2)], dim=2) / mass.clamp(min=1e-6)[..., None]
    step = company.REACH / half
    right = (mass >= INKED).all(1)
    for part in range(2):
        way = (PLACES / company.REACH)[places[:, part].cpu()]  # (N, 2)
        here = centre[:, part * half : (part + 1) * half]
        along = (here * way[:, None]).sum(2)  # (N, 4): how far on its way
        aside = (here - along[..., None] * way[:, None]).norm(dim=2)
        steps = torch.cat([along[:, :1], along.diff(dim=1)], dim=1)
        right &= ((steps >= step / 2) & (steps <= 2 * step)).all(1) & (aside <= 2.0).all(1)
    stays = (frames[:, half:] - frames[:, half - 1 : half]).clamp(max=0).abs().sum((2, 3)) <= mass[
        :, :1
    ] / 4  # the first stays where it is
    return right & stays.all(1)


def halves(waveforms: Float[Tensor, "N S"]) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N S"]]:
    """Each sound cut in the middle of its longest silence, as two sounds of the same length. Where there is none: all, and nothing."""
    window = 80
    loud = waveforms.unfold(1, window, window).abs().amax(2)  # (N, T)
    sounding = loud > 0.02 * loud.amax(1, keepdim=True)
    first, second = torch.zeros_like(waveforms), torch.zeros_like(waveforms)
    for row, on in enumerate(sounding):
        times = on.nonzero()[:, 0]
        if not len(times):
            continue
        gaps = times.diff()
        cut = len(waveforms[row])
        if len(gaps) and int(gaps.max()) > 2:
            widest = int(gaps.argmax())
            cut = int(times[widest] + times[widest + 1]) * window // 2
        first[row, :cut] = waveforms[row, :cut]
        second[row, : len(waveforms[row]) - cut] = waveforms[row, cut:]
    return first, second


class _HalfJudge(SpokenJudge):
    """The digit by the first 14 of 32 moments of an utterance and the place by the others: at any speed, and in a pair never heard, either
    word must be judged without the other."""

    HEARD: ClassVar = {"digits": slice(0, 14), "places": slice(14, 32)}


@lru_cache(maxsize=2)
def _half_judge(of: str) -> _HalfJudge:
    return _HalfJudge(of)


def heard(waveforms: Float[Tensor, "N S"]) -> tuple[Int[Tensor, "N 2"], Int[Tensor, "N 2"]]:
    """The digits and the places that are said, first and second, by a judge of single utterances on `halves`."""
    parts = halves(waveforms.detach().float().cpu().nan_to_num())
    digit, place = (torch.stack([_half_judge(of).classify(part) for part in parts], dim=1) for of in ("digits", "places"))
    return digit, place


@lru_cache(maxsize=1)
def pair_judge() -> PairJudge:
    """The judge of pictures of two digits, trained once per process."""
    return PairJudge()
