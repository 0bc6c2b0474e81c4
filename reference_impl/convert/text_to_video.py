r"""
# Text to video

A cascade: one model draws a picture of what the caption says, a second one makes the video that ends in it. Each has an easier task than a
single model that does all at once, and its own data, loss and test. The price: the second stage was trained on real pictures and is
handed drawn ones, and what the first gets wrong, the second never sees put right.

**Noise conditioning augmentation** closes that gap. In training, the second stage's picture is spoiled with noise to a random level s,

$$\tilde x_s = \sqrt{\bar\alpha_s}\, x + \sqrt{1 - \bar\alpha_s}\; \varepsilon, \qquad s \sim \mathcal U\{0, \dots, S\},$$

and the network is told s; the video it has to make stays clean. So it learns how far to trust its input: noise of level s drowns whatever is finer than
that, the strokes as well as the small errors of a drawn picture, which then can't mislead it. At s = 0 it copies. When the two are put together, s is chosen
by a sweep. The noisy picture may come from a finished one, spoiled again, or from a first stage that **stops** its denoising at s: **truncated** augmentation,
which can save the last steps. There the idea can be seen at work: a second stage that was trained on clean pictures takes the noise of an unfinished one
for ink and copies it into the video, while one that knows noise of this level takes it away. (On white paper, rubbing out all faint ink does that as well.)

The second stage here is as in image to video: it says where each pixel comes from, and warps. New is that it also cleans the picture first.

**Asked in interviews.** Why a cascade, when it could be one model? Why spoil the conditioning, and why tell the level? Truncated or not? Which stage is
to blame for a wrong video, and how do you find out? How is consistency over time measured, and how is that metric cheated?

**Sources.** Ho et al., *Cascaded Diffusion Models for High Fidelity Image Generation* (2022); Ho et al., *Imagen Video* (2022);
Mildenhall et al., *NeRF* (2020), eq. 4; Lai et al., *Learning Blind Video Temporal Consistency* (2018); Breiman et al.,
*Classification and Regression Trees* (1984), section 3.4.3.

**In this course.** [Question](../../questions/convert/text_to_video.md) · [exercise](../../notebooks/convert/text_to_video.ipynb) ·
[solution](../../solutions/convert/text_to_video.ipynb)
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.convert import text_to_image
from reference_impl.convert.image_to_video import Block, base_grid, integrate, psnr, smoothness, true_motion, warp
from reference_impl.convert.text_to_image import Config as PictureConfig
from reference_impl.convert.text_to_image import UNet, alpha_bars, ddim_step, guided_velocity, per_item, q_sample
from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.judges import direction_judge, motion_digit_judge, place_judge
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import KNOWN_WORDS, SEEN


def augment(
    images: Float[Tensor, "B 1 H W"],
    uniforms: Float[Tensor, " B"],
    noise: Float[Tensor, "B 1 H W"],
    schedule: Float[Tensor, " levels"],
    largest: int,
) -> tuple[Float[Tensor, "B 1 H W"], Int[Tensor, " B"]]:
    r"""Pictures (ink in [0, 1]) brought to [-1, 1] and spoiled, each to a level of its own; and these levels, 0 to `largest`.

    Level s is $\lfloor u (S + 1) \rfloor$ for a uniform number u in [0, 1) and S = `largest`, so that all are equally likely. The picture
    keeps the share `schedule[s]` of signal power, as in `q_sample`: level 0 leaves it as it is.
    Ho et al. (2022), non-truncated conditioning augmentation.
    """
    levels = (uniforms * (largest + 1)).long()
    return q_sample(2 * images - 1, schedule[levels], noise), levels


def level_embedding(levels: Int[Tensor, " B"], largest: int, frequencies: int) -> Float[Tensor, "B D"]:
    r"""What the second stage is told of the level: sines, then cosines, of $2^k \pi s / S$ for k = 0 … K - 1, float32.

    S = `largest` (at least 1), D = 2 K, K = `frequencies`. The slowest tells the ends of the range apart, the fastest its neighbours.
    Mildenhall et al. (2020), eq. 4.
    """
    octaves = 2.0 ** torch.arange(frequencies, device=levels.device)
    angles = math.pi / largest * levels[:, None] * octaves  # (B, K)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def clip_accuracy(found: Int[Tensor, "N T"], labels: Int[Tensor, " N"]) -> dict[str, float]:
    """Four ways to count videos right, from the class found in each frame and the label of each video.

    `frame`: share of all frames; `worst_frame`: share of videos right at the frame position where that is lowest; `majority`: share of
    videos with more than half of their frames right; `clip`: share of videos with all of them right.
    """
    right = found == labels[:, None]
    N, T = right.shape
    count = right.sum(dim=1)  # (N,)
    return {
        "frame": count.sum().item() / (N * T),
        "worst_frame": right.sum(dim=0).min().item() / N,
        "majority": (2 * count > T).sum().item() / N,
        "clip": (count == T).sum().item() / N,
    }


def error_budget(first: Bool[Tensor, " N"], both: Bool[Tensor, " N"]) -> dict[str, float]:
    """Where the errors of a cascade come from, as shares of all items: which are right after the first stage, and after both.

    `inherited`: wrong after the first and still wrong; `added`: right, and made wrong by the second; `mended`: wrong, and put right.
    So the first stage errs in inherited + mended, and the cascade in inherited + added.
    """
    N = len(first)
    return {
        "inherited": (~first & ~both).sum().item() / N,
        "added": (first & ~both).sum().item() / N,
        "mended": (~first & both).sum().item() / N,
    }


def warping_error(videos: Float[Tensor, "B T C H W"], flow: Float[Tensor, "B 2 H W"]) -> Float[Tensor, " B"]:
    """How far each frame is from the next one warped back onto it: mean square over all pairs, channels and pixels that count.

    `flow` leads from a frame to the next, in pixels, the same for all pairs: frame k at p is compared with frame k + 1 at p + flow(p).
    A pixel counts if that point is in the picture, on the centre of an outermost pixel at most. NaN if none counts. Lai et al. (2018), section 4.
    """
    T, (H, W) = videos.shape[1], videos.shape[-2:]
    flows = flow[:, None].expand(-1, T - 1, -1, -1, -1)
    warped = warp(videos[:, 1:].flatten(0, 1), flows.flatten(0, 1)).unflatten(0, (-1, T - 1))
    errors = (videos[:, :-1] - warped).square().flatten(1, 2).mean(dim=1)  # (B, H, W)
    x, y = (base_grid(flow) + flow).unbind(1)
    inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)
    return torch.where(inside, errors, 0).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)


def choose_level(levels: Sequence[int], accuracies: Sequence[float], count: int) -> int:
    r"""The smallest level whose accuracy lies no more than one standard error below the best, $\sqrt{a (1 - a) / n}$, n = `count`.

    A sweep of ten levels has a winner by chance; what can't be told from it is as good, and the least noise keeps most of the
    picture. Raises ValueError if there are no levels, or not an accuracy for each. Breiman et al. (1984), section 3.4.3.
    """
    best = max(accuracies)
    bar = best - math.sqrt(best * (1 - best) / count)
    return min(level for level, accuracy in zip(levels, accuracies, strict=True) if accuracy >= bar)


@dataclass(frozen=True)
class Config:
    """steps: of both stages, of which `share` go to the first, of width `first_channels`; the rest is about the second stage:

    channels (a multiple of 4) is its width, smoothness weighs the total variation of its motion, largest_level is the strongest
    augmentation in training. Without `augmented` it is trained on clean pictures, as level 0, and is told 0 whatever it is handed.
    `convert` uses level, and `sampling_steps` and `guidance` of the first stage.
    """

    steps: int = 1600
    share: float = 13 / 16
    first_channels: int = 32
    channels: int = 12
    batch_size: int = 32
    learning_rate: float = 4e-3
    smoothness: float = 3e-3
    augmented: bool = True
    largest_level: int = 200
    level: int = 0
    guidance: float = 1.3
    sampling_steps: int = 20


class VideoNet(nn.Module):
    """The second stage: from a spoiled picture and its level to a clean picture and the motion that led to it."""

    FREQUENCIES = 4

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C = config.channels
        self.config = config
        self.down = nn.ModuleList([Block(1, C), Block(C, 2 * C, 2), Block(2 * C, 4 * C, 2), Block(4 * C, 4 * C)])
        self.told = nn.ModuleList(nn.Linear(2 * self.FREQUENCIES, width) for width in (C, 2 * C, 4 * C, 4 * C))
        self.up = nn.ModuleList([Block(6 * C, 2 * C), Block(3 * C, C)])
        self.output = nn.Conv2d(C, 3, 3, padding=1)
        for parameter in self.output.parameters():
            nn.init.zeros_(parameter)  # so that training starts from a picture that stands still

    def forward(
        self, noisy: Float[Tensor, "B 1 H W"], levels: Int[Tensor, " B"], alpha_bar: Float[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B 8 1 H W"], Float[Tensor, "B 2 H W"]]:
        r"""The video, and the motion in pixels a frame; `noisy` as `augment` makes it, of these levels and their $\bar\alpha$.

        Its last frame is the clean picture, by way of a velocity: so level 0 is copied exactly. The others are warped from it.
        """
        told = level_embedding(levels, max(1, self.config.largest_level), self.FREQUENCIES).to(noisy.dtype)
        hidden, skips = noisy, []
        for block, level in zip(self.down, self.told, strict=True):
            hidden = block(hidden) + level(told)[:, :, None, None]
            skips.append(hidden)
        for block, skip in zip(self.up, (skips[1], skips[0]), strict=True):
            hidden = block(torch.cat([F.interpolate(hidden, scale_factor=2.0), skip], dim=1))
        velocity, flow = self.output(hidden).to(noisy.dtype).split([1, 2], dim=1)
        a = per_item(alpha_bar, noisy)
        picture = (a.sqrt() * noisy - (1 - a).sqrt() * velocity + 1) / 2
        flows = integrate(flow, motion.FRAMES - 1).flip(1)  # the first frame is the furthest from the picture
        repeated = picture[:, None].expand(-1, motion.FRAMES - 1, -1, -1, -1)
        before = warp(repeated.flatten(0, 1), flows.flatten(0, 1)).unflatten(0, (-1, motion.FRAMES - 1))
        return torch.cat([before, picture[:, None]], dim=1), flow

    def augmented_loss(
        self,
        videos: Float[Tensor, "B 8 1 H W"],
        uniforms: Float[Tensor, " B"],
        noise: Float[Tensor, "B 1 H W"],
        schedule: Float[Tensor, " levels"],
    ) -> Float[Tensor, ""]:
        """Mean squared error of all eight frames, plus `config.smoothness` times the mean `smoothness` of the motion.

        The network sees the last frame spoiled by `augment`, to a level of at most `config.largest_level`, and is told the level;
        what it has to make is the clean video.
        """
        noisy, levels = augment(videos[:, -1], uniforms, noise, schedule, self.config.largest_level)
        made, flow = self(noisy, levels, schedule[levels])
        return F.mse_loss(made, videos) + self.config.smoothness * smoothness(flow).mean()


def sample_until(
    model: nn.Module,
    tokens: Int[Tensor, "B L"],
    noise: Float[Tensor, "B 1 H W"],
    schedule: Float[Tensor, " levels"],
    stop: int,
    steps: int,
    guidance: float,
) -> Float[Tensor, "B 1 H W"]:
    """The first stage by `steps` DDIM steps, from pure noise at T down to level `stop` (0 is a finished picture), in [-1, 1] but for the noise.

    The levels are T to `stop`, evenly spaced, rounded to whole numbers (`torch.linspace`, then `round`). Each step asks
    `guided_velocity` with `guidance` at the level it comes from. Raises ValueError unless 0 <= stop < T.
    """
    T = len(schedule) - 1
    if not 0 <= stop < T:
        raise ValueError(f"stop must lie in 0 to {T - 1}, got {stop}")
    x = noise
    times = torch.linspace(T, stop, steps + 1).round().long().tolist()
    for now, then in itertools.pairwise(times):
        t = torch.full((len(x),), now, device=x.device)
        velocity = guided_velocity(model, x, t, tokens, guidance)
        x = ddim_step(x, velocity, schedule[t], schedule[torch.full_like(t, then)])
    return x


class Cascade(nn.Module):
    """Both stages; those that are not given are new."""

    def __init__(self, config: Config = Config(), pictures: UNet | None = None, videos: VideoNet | None = None) -> None:
        super().__init__()
        self.config = config
        self.pictures = pictures or UNet(PictureConfig(channels=config.first_channels))
        self.videos = videos or VideoNet(config)

    @property
    def schedule(self) -> Float[Tensor, " levels"]:
        """The first stage's, on the model's device."""
        return alpha_bars(self.pictures.config.timesteps).to(next(self.parameters()).device)

    def noise(self, count: int, seed: int) -> Float[Tensor, "N 1 24 24"]:
        """Standard normal and of the size of pictures; drawn on the CPU, so that a seed means the same on all devices."""
        drawn = torch.randn(count, 1, motion.SIZE, motion.SIZE, generator=torch.Generator().manual_seed(seed))
        return drawn.to(next(self.parameters()).device)

    @torch.no_grad()
    def draw(self, captions: Sequence[str], seed: int, stop: int = 0) -> Float[Tensor, "N 1 24 24"]:
        """The first stage's pictures in [-1, 1], denoised down to level `stop`. ValueError for no caption at all, and for an
        unknown word."""
        noise, schedule = self.noise(len(captions), seed), self.schedule
        tokens = motion.encode(motion.check_captions(captions)).to(noise.device)
        return sample_until(self.pictures, tokens, noise, schedule, stop, self.config.sampling_steps, self.config.guidance)

    @torch.no_grad()
    def film(self, noisy: Float[Tensor, "N 1 24 24"], level: int) -> Float[Tensor, "N 8 1 24 24"]:
        """The second stage's videos (ink in [0, 1]) for pictures in [-1, 1] of this level. ValueError for one that it was not trained on."""
        if not 0 <= level <= self.config.largest_level:
            raise ValueError(f"level must lie in 0 to {self.config.largest_level}, as in training, got {level}")
        told = level if self.config.augmented else 0  # all that it knows without augmentation
        levels = torch.full((len(noisy),), told, device=noisy.device)
        return self.videos(noisy, levels, self.schedule[levels])[0].clamp(0, 1)


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
    pictures: UNet | None = None,
) -> Cascade:
    """Train the first stage, unless one is given, then the second, which sees real pictures only: neither needs the other.

    precision: `float32` or `bfloat16` (autocast; the losses stay in float32). compile: use `torch.compile`.
    """
    first = max(2, round(config.share * config.steps))
    if pictures is None:
        drawing = PictureConfig(channels=config.first_channels, steps=first)
        pictures = text_to_image.train(drawing, device=device, seed=seed, progress=progress, precision=precision, compile=compile)
    device, generator = resolve_device(device), seed_everything(seed)
    data, B, steps = motion.load("train").videos, config.batch_size, max(2, config.steps - first)
    model = maybe_compile(VideoNet(config).to(device).train(), compile)
    schedule = alpha_bars(pictures.config.timesteps).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    rates = one_cycle(optimizer, config.learning_rate, steps)
    for batch in track(batches(len(data), B, steps, generator), total=steps, description="Image to video", show=progress):
        videos = data[batch].to(device)
        uniforms = (torch.rand(B, generator=generator) * config.augmented).to(
            device
        )  # all 0 without augmentation: so is the level
        noise = torch.randn(B, 1, motion.SIZE, motion.SIZE, generator=generator).to(device)
        with autocast(device, precision):
            loss = model.augmented_loss(videos, uniforms, noise, schedule)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
    return Cascade(config, pictures, model).eval()


def spoil(model: Cascade, pictures: Float[Tensor, "N 1 24 24"], level: int, seed: int) -> Float[Tensor, "N 1 24 24"]:
    """Finished pictures in [-1, 1] with noise added to a level: non-truncated augmentation."""
    alpha_bar = model.schedule[level].expand(len(pictures))
    return q_sample(pictures, alpha_bar, model.noise(len(pictures), seed + 1))


@torch.no_grad()
def leap(model: Cascade, noisy: Float[Tensor, "N 1 24 24"], captions: Sequence[str], level: int) -> Float[Tensor, "N 1 24 24"]:
    """Pictures in [-1, 1] that the first stage stopped at `level`, above 0, finished by a single step of it: what could be done instead."""
    tokens = motion.encode(captions).to(noisy.device)
    t = torch.full((len(noisy),), level, device=noisy.device)
    velocity = guided_velocity(model.pictures, noisy, t, tokens, model.config.guidance)
    return ddim_step(noisy, velocity, model.schedule[t], model.schedule[torch.zeros_like(t)])


def convert(
    model: Cascade, captions: Sequence[str], *, level: int | None = None, truncated: bool = False, seed: int = 0
) -> Float[Tensor, "N 8 1 24 24"]:
    """A video (ink in [0, 1]) for each caption, English or Chinese; noise is drawn with `seed`, `level` is the model's own if not given.

    The first stage's picture is finished and spoiled again, or, if `truncated`, taken when its denoising reaches the level. Raises
    ValueError for no caption at all, for a word that is not in the vocabulary, and for a level outside 0 to `largest_level`.
    """
    level = model.config.level if level is None else level
    if truncated:
        return model.film(model.draw(captions, seed, stop=level), level)
    return model.film(spoil(model, model.draw(captions, seed), level, seed), level)


def _captions(data: motion.Split) -> list[str]:
    """English and Chinese in turn."""
    return [(data.captions, data.captions_zh)[i % 2][i] for i in range(len(data))]


def sweep(model: Cascade, levels: Sequence[int], *, count: int = 300, seed: int = 1) -> dict[int, float]:
    """The share of videos whose digit and direction are right, at each level, for `count` captions of the training split.

    All levels get the same finished pictures. The level is chosen on these; `test` is for the last word.
    """
    data = motion.load("train")
    data = data.select(torch.linspace(0, len(data) - 1, count).long())
    pictures, right = model.draw(_captions(data), seed), {}
    for level in levels:
        videos = model.film(spoil(model, pictures, level, seed), level)
        digit = (motion_digit_judge().classify(videos) == data.digits[:, None]).all(dim=1)
        right[level] = (digit & (direction_judge().classify(videos) == data.places)).float().mean().item()
    return right


def evaluate(model: Cascade, *, seed: int = 0) -> dict[str, float]:
    """What the judges see in a video for each caption of `test` and `compositional`, English and Chinese in turn.

    digit is that of the worst frame. `_first` is the finished picture before the second stage, `_real` the second stage given real
    pictures, `_copy` the finished picture standing still. `_augmented` is the cascade at three quarters of the largest level; for
    `_truncated` the first stage stops there, after as many steps, `_stopped` is the picture that it then hands over, and `_leap` the
    cascade if a single step finishes this picture first.
    """
    digits, directions, places = motion_digit_judge(), direction_judge(), place_judge()
    level, strong = model.config.level, 3 * model.config.largest_level // 4
    figures = {"digit_chance": 1 / motion.DIGITS}
    for split, suffix in (("test", ""), ("compositional", "_compositional")):
        data, captions = motion.load(split), _captions(motion.load(split))
        drawn, stopped, real = model.draw(captions, seed), model.draw(captions, seed, stop=strong), 2 * data.images - 1
        made = {
            "": model.film(spoil(model, drawn, level, seed), level),
            "_augmented": model.film(spoil(model, drawn, strong, seed), strong),
            "_truncated": model.film(stopped, strong),
            "_leap": model.film(leap(model, stopped, captions, strong), 0),
            "_real": model.film(spoil(model, real.to(drawn.device), level, seed), level),
            "_ceiling": data.videos,
            "_copy": ((drawn + 1) / 2).clamp(0, 1)[:, None].expand(-1, motion.FRAMES, -1, -1, -1),
        }
        toward = true_motion(data.places).expand(-1, -1, motion.SIZE, motion.SIZE)  # the data's own, from a frame to the next
        right = {}
        for name, videos in made.items():
            videos = videos.cpu()
            found = digits.classify(videos)
            right[name] = (found == data.digits[:, None]).all(dim=1)
            counted = clip_accuracy(found, data.digits)
            figures |= {
                f"digit{name}{suffix}": counted["worst_frame"],
                f"digit_clip{name}{suffix}": counted["clip"],
                f"direction{name}{suffix}": directions.accuracy(videos, data.places),
                f"warping_error{name}{suffix}": warping_error(videos, toward).mean().item(),
            }
        first = digits.classify((drawn + 1) / 2) == data.digits
        figures |= {
            f"digit_stopped{suffix}": digits.accuracy((stopped + 1) / 2, data.digits),
            f"digit_first{suffix}": first.float().mean().item(),
            f"place_first{suffix}": places.accuracy((drawn + 1) / 2, data.places),
            f"psnr_real{suffix}": psnr(made["_real"].cpu(), data.videos).mean().item(),
        }
        figures |= {f"{name}{suffix}": value for name, value in error_budget(first, right[""]).items()}
    return figures


GATES = (
    Gate("digit", at_least=0.9, baseline="digit_chance", ceiling="digit_ceiling"),
    Gate("digit_truncated", at_least=0.88, above="digit_stopped", baseline="digit_stopped", ceiling="digit_ceiling"),
    Gate("direction", at_least=0.95, baseline="direction_copy", ceiling="direction_ceiling"),
)
ABLATIONS = {"no augmentation": Ablation(Config(augmented=False), "digit_truncated", higher_by=0.4)}
LEAKS = KNOWN_WORDS | SEEN


# For the demo: the digits are not yet good.
BRIEF = Config(steps=350, share=0.5, first_channels=16, channels=8, batch_size=12, learning_rate=6e-3)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show videos of captions (left), and a real picture spoiled to rising levels with the videos made of it (right).

    In the last row the second stage is told level 0, and copies the noise.
    """
    model = train(config, device=device, progress=False)
    captions = [motion.caption(digit, motion.PLACES[digit % 4], template=4) for digit in range(5)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 3.5), layout="constrained")
    show_grid(
        left,
        convert(model, captions).flatten(0, 1),
        columns=motion.FRAMES,
        title="A video per caption: 0 left, 1 right, 2 top, …",
    )
    rows = []
    picture = 2 * motion.load("test").images[:1].to(next(model.parameters()).device) - 1
    for level, told in ((0, 0), (50, 50), (100, 100), (150, 150), (150, 0)):
        noisy = spoil(model, picture, level, seed=0)
        rows.append(torch.cat([(noisy[:, None] + 1) / 2, model.film(noisy, told)], dim=1))
    show_grid(
        right,
        torch.cat(rows).flatten(0, 1),
        columns=9,
        title="A real picture spoiled to level 0, 50, 100, 150; last, 150, but told 0",
    )
    return figure
