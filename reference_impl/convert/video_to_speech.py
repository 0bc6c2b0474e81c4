r"""
# Video to speech

A digit slides to its place, and a voice says which and where. The voice is made by **flow matching**: noise is carried to a log-mel
spectrogram along the velocity field of a network, and a vocoder turns that into sound. There is no noise schedule and no score, only a
regression. Draw noise $x_0$, data $x_1$ and a time $t$; walk a straight line between them; learn the velocity of that walk:

$$x_t = (1 - t)\, x_0 + t\, x_1, \qquad \mathcal L = \mathbb E\, \lVert v_\theta(x_t, t, y) - (x_1 - x_0) \rVert^2$$

Many lines cross at a point, so the network learns their mean there, $v(x, t) = \mathbb E[x_1 - x_0 \mid x_t = x]$. That mean is just what carries the
distribution of noise to that of the data. To sample, solve $\dot x = v_\theta(x, t, y)$ from noise at $t = 0$ to $t = 1$. **Euler** takes one
evaluation a step and errs in proportion to the step, **Heun** takes two and errs in proportion to its square. Between two Gaussians the
field is known in closed form, so that both claims can be checked.

What is asked for, y, is the digit and the place, as a small encoder sees them in the video, and a voice, or nobody's: then the noise decides who
speaks. From a tenth of the training items digit and place are withheld, so the same network also knows the field without them, and
**classifier-free guidance** can push away from it.

Why not regress the log-mel itself? Because thirteen voices say each phrase, and the mean of what they say is nobody's speech. Judges of words
cannot see that, since they hear one sample at a time. What a model makes *as a distribution* is compared with the voices by the **energy distance**,

$$D^2 = 2\, \mathbb E \lVert x - y \rVert - \mathbb E \lVert x - x' \rVert - \mathbb E \lVert y - y' \rVert,$$

which is 0 only if both are the same. The ablation trains the same network, on the same steps, to give the mean.

**Asked in interviews.** What is regressed on what, and why is the answer a valid velocity field although single lines cross? How does it relate
to diffusion? Why are the paths straight in training and curved in sampling? Why does Heun win at equal cost, and when not? What does a squared
error give where several answers are right, and which figure shows it?

**Sources.** Lipman et al., *Flow Matching for Generative Modeling* (2023), eq. 9, 20 to 23; Liu et al., *Flow Straight and Fast* (2023), eq. 1;
Ho and Salimans, *Classifier-Free Diffusion Guidance* (2022), eq. 6; Le et al., *Voicebox* (2023); Székely and Rizzo, *Energy Statistics: A Class
of Statistics Based on Distances* (2013).

**In this course.** [Question](../../questions/convert/video_to_speech.md) · [exercise](../../notebooks/convert/video_to_speech.ipynb) ·
[solution](../../solutions/convert/video_to_speech.ipynb) · imports the audio front end of [text to speech](text_to_speech.py)
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.convert.text_to_speech import DEVIATION, FLOOR, HOP, MEAN, MELS, log_mel, play, vocode
from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.judges import sphinx_judge, spoken_digit_judge, spoken_place_judge
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import SEEN

FRAMES_OF_SOUND = motion.SAMPLES // HOP  # 64: shorter utterances end in silence, which the model learns to make too
ANYBODY = "anybody"  # in place of a voice: the noise decides who speaks

Field = Callable[[Tensor, Tensor], Tensor]  # the velocity (B, ...) at points (B, ...) and times (B,)


def interpolate(
    noise: Float[Tensor, "B *rest"], data: Float[Tensor, "B *rest"], t: Float[Tensor, " B"], sigma: float = 0.0
) -> tuple[Float[Tensor, "B *rest"], Float[Tensor, "B *rest"]]:
    r"""The point at time `t` (in [0, 1], one for each item) of the straight path from noise to data, and the velocity there.

    $x_t = (1 - (1 - \sigma)\, t)\, x_0 + t\, x_1$ ends within a deviation of `sigma` of the data; the velocity is its derivative in t.
    Lipman et al. (2023), eq. 22 and 23; with sigma = 0 it is the rectified flow of Liu et al. (2023).
    """
    t = t.reshape(-1, *[1] * (data.ndim - 1))
    return (1 - (1 - sigma) * t) * noise + t * data, data - (1 - sigma) * noise


def time_features(t: Float[Tensor, " B"], features: int, slowest: float = 1.0, fastest: float = 100.0) -> Float[Tensor, "B F"]:
    """Sines, then cosines, of `t` at F / 2 angular frequencies from `slowest` to `fastest`, evenly spaced in their logarithm.

    Raises ValueError unless `features` is even and at least 4.
    """
    if features % 2 or features < 4:
        raise ValueError(f"features must be even and at least 4, got {features}")
    steps = torch.arange(features // 2, device=t.device, dtype=t.dtype) / (features // 2 - 1)
    angles = t[:, None] * slowest * (fastest / slowest) ** steps  # (B, F / 2)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def guided_velocity(
    conditional: Float[Tensor, "B *rest"], unconditional: Float[Tensor, "B *rest"], scale: float
) -> Float[Tensor, "B *rest"]:
    """Classifier-free guidance: `scale` 0 ignores the condition, 1 samples with it, more goes on in the same direction.

    Ho and Salimans (2022), eq. 6, where w = scale - 1.
    """
    return unconditional + scale * (conditional - unconditional)


class GaussianField(nn.Module):
    """The velocity field that carries N(0, I) to N(mean, deviation²) along the straight paths of independent pairs, in closed form."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, mean: Float[Tensor, "*rest"], deviation: Float[Tensor, "*rest"]) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Float[Tensor, "B *rest"], t: Float[Tensor, " B"]) -> Float[Tensor, "B *rest"]:
        r"""$E[x_1 - x_0 \mid x_t = x]$, with $x_1 = m + s\, z$ and independent standard Gaussians $x_0$ and $z$.

        $x_t = (1 - t) x_0 + t x_1$ is Gaussian with mean $t m$ and variance $(1 - t)^2 + t^2 s^2$, so the conditional mean is linear in x:
        $m + \operatorname{cov}(x_1 - x_0, x_t) / \operatorname{var}(x_t) \cdot (x - t m)$, each dimension on its own.
        """
        t = t.reshape(-1, *[1] * (x.ndim - 1))
        variance = self.deviation.square()
        covariance = t * variance - (1 - t)
        return self.mean + covariance / ((1 - t).square() + t.square() * variance) * (x - t * self.mean)


def euler(field: Field, noise: Float[Tensor, "B *rest"], steps: int) -> Float[Tensor, "B *rest"]:
    """Follow the field from `noise` at t = 0 to t = 1 in `steps` equal steps, each along the velocity at its start.

    One evaluation of the field a step; the error falls in proportion to the length of a step.
    """
    x = noise
    for k in range(steps):
        x = x + field(x, x.new_full((len(x),), k / steps)) / steps
    return x


def heun(field: Field, noise: Float[Tensor, "B *rest"], steps: int) -> Float[Tensor, "B *rest"]:
    """As `euler`, but each step goes along the mean of the velocity at its start and that at the end which Euler would reach.

    Two evaluations of the field a step; the error falls in proportion to the square of the length of a step.
    """
    x = noise
    for k in range(steps):
        start, end = (x.new_full((len(x),), moment / steps) for moment in (k, k + 1))
        first = field(x, start)
        second = field(x + first / steps, end)
        x = x + (first + second) / (2 * steps)
    return x


@dataclass(frozen=True)
class Config:
    """channels, layers, prompt (features of the condition in each frame) and dropout (of the encoder) shape the network.

    withheld is the share of training items that are told neither digit nor place, anybody that of those that are told no voice.
    flow: whether noise is carried to speech; without, the same network regresses the log-mel itself on the condition.
    """

    channels: int = 80
    layers: int = 5
    prompt: int = 48
    dropout: float = 0.2
    withheld: float = 0.1
    anybody: float = 0.25
    flow: bool = True
    steps: int = 1000
    batch_size: int = 32
    learning_rate: float = 1e-2


class Block(nn.Module):
    """A residual convolution over the frames, scaled and shifted by what is known of the time t."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels, affine=False)
        self.modulation = nn.Linear(channels, 2 * channels)
        self.conv = nn.Conv1d(channels, channels, 5, padding=2 * dilation, dilation=dilation)

    def forward(self, x: Float[Tensor, "B C T"], time: Float[Tensor, "B C"]) -> Float[Tensor, "B C T"]:
        scale, shift = self.modulation(time).unsqueeze(2).chunk(2, dim=1)  # (B, C, 1) each
        return x + self.conv(F.silu(self.norm(x) * (1 + scale) + shift))


class VideoToSpeech(nn.Module):
    """A video and a voice to a velocity field over log-mels (on the scale of mean 0 and deviation about 1)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, E = config.channels, config.prompt
        self.config = config
        self.digit = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.GELU(),  # (B, 32, 12, 12)
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.GELU(),  # (B, 64, 6, 6)
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.GELU(),  # (B, 64, 3, 3)
            nn.Flatten(), nn.Dropout(config.dropout), nn.Linear(9 * 64, motion.DIGITS),
        )  # fmt: skip
        self.place = nn.Linear(motion.SIZE**2, len(motion.PLACES))
        self.digits = nn.Linear(motion.DIGITS, E * FRAMES_OF_SOUND, bias=False)
        self.places = nn.Linear(len(motion.PLACES), E * FRAMES_OF_SOUND, bias=False)
        self.voices = nn.Embedding(len(motion.VOICES) + 1, E * FRAMES_OF_SOUND)  # the last row is ANYBODY's
        self.nothing = nn.Parameter(torch.zeros(E * FRAMES_OF_SOUND))  # in place of a digit and a place
        self.time = nn.Sequential(nn.Linear(C, C), nn.SiLU(), nn.Linear(C, C), nn.SiLU())
        self.input = nn.Conv1d(MELS + E, C, 3, padding=1)
        self.blocks = nn.ModuleList(Block(C, 2 ** (k % 4)) for k in range(config.layers))
        self.output = nn.Conv1d(C, MELS, 3, padding=1)
        self.skip = nn.Linear(C, MELS)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.skip.weight)

    def see(self, videos: Float[Tensor, "B 8 1 24 24"]) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B P"]]:
        """Logits of the digit, by the first frame, where it is in the centre at any place; and of the place, by what has moved."""
        first, last = videos[:, 0], videos[:, -1]
        return self.digit(2 * first - 1), self.place((last - first).flatten(1))

    def condition(
        self,
        digits: Float[Tensor, "B K"],
        places: Float[Tensor, "B P"],
        voices: Int[Tensor, " B"],
        told: Bool[Tensor, " B"] | None = None,
    ) -> Float[Tensor, "B ET"]:
        """What the field is asked for, E features for each of T frames: embeddings of digit, place and voice, added up.

        Those of the digit and of the place are means, weighted by the probabilities that `digits` and `places` are the logits of.
        Where `told` is False, `nothing` stands in place of both.
        """
        asked = self.digits(digits.softmax(dim=1)) + self.places(places.softmax(dim=1))
        if told is not None:
            asked = torch.where(told[:, None], asked, self.nothing)
        return asked + self.voices(voices)

    def forward(
        self, x: Float[Tensor, "B M T"], t: Float[Tensor, " B"], condition: Float[Tensor, "B ET"]
    ) -> Float[Tensor, "B M T"]:
        """The velocity at the points `x` and times `t`. What it contains of x itself need not go through the blocks (`skip`)."""
        time = self.time(time_features(t, self.config.channels))
        prompt = condition.unflatten(1, (self.config.prompt, -1)).to(x.dtype)  # (B, E, T)
        hidden = self.input(torch.cat([x, prompt], dim=1))
        for block in self.blocks:
            hidden = block(hidden, time)
        return self.output(F.silu(hidden)) + self.skip(time).unsqueeze(2) * x


def flow_matching_loss(
    model: Callable[..., Tensor],
    data: Float[Tensor, "B *rest"],
    condition: Float[Tensor, "B C"],
    noise: Float[Tensor, "B *rest"],
    t: Float[Tensor, " B"],
) -> Float[Tensor, ""]:
    """Mean squared error of `model(x, t, condition)` against the velocity of the paths from noise to data, at their points at t.

    Lipman et al. (2023), eq. 23, averaged over all elements.
    """
    x, velocity = interpolate(noise, data, t)
    return F.mse_loss(model(x, t, condition), velocity)


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> VideoToSpeech:
    """Train on the training split; return the model in evaluation mode, on `device`.

    The encoder learns from the digits and places and, through its probabilities, from the sound as well.
    precision: `float32` or `bfloat16` (autocast; the losses stay in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    split = motion.load("train")
    mels = (log_mel(split.speech.waveforms) - MEAN) / DEVIATION  # of each utterance, (U, M, T)
    columns = split.videos, split.digits, split.places, split.voices, split.utterances
    model = maybe_compile(VideoToSpeech(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(split), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Video to speech", show=progress):
        videos, digit, place, voice = (column[batch].to(device) for column in columns[:-1])
        data = mels[split.utterances[batch]].to(device)
        noise = torch.randn(data.shape, generator=generator).to(device)
        t, coin, other = torch.rand(3, len(batch), generator=generator).to(device)
        if not config.flow:  # all paths begin at 0 and are met there alone: what is left to regress is the data
            noise, t = torch.zeros_like(noise), torch.zeros_like(t)
        voice = torch.where(other < config.anybody, len(motion.VOICES), voice)
        with autocast(device, precision):
            digits, places = model.see(videos)
            condition = model.condition(digits, places, voice, coin >= config.withheld)
            loss = flow_matching_loss(lambda *given: model(*given).float(), data, condition, noise, t)
        loss = loss + F.cross_entropy(digits.float(), digit) + F.cross_entropy(places.float(), place)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


SAMPLERS = {"euler": euler, "heun": heun}


@torch.no_grad()
def sample(
    model: VideoToSpeech,
    asked: Float[Tensor, "N ET"],
    unasked: Float[Tensor, "N ET"],
    noise: Float[Tensor, "N M T"],
    *,
    steps: int = 6,
    sampler: str = "heun",
    guidance: float = 2.0,
) -> Float[Tensor, "N M T"]:
    """The log-mels that the field carries `noise` to, asked for `asked`, and pushed away from what it does for `unasked`."""
    if not model.config.flow:  # nothing to follow: the mean lies one step from 0, the only point that training has asked about
        sampler, steps, guidance, noise = "euler", 1, 1.0, torch.zeros_like(noise)

    def field(x: Tensor, t: Tensor) -> Tensor:
        if guidance == 1:
            return model(x, t, asked)
        return guided_velocity(model(x, t, asked), model(x, t, unasked), guidance)

    mels = SAMPLERS[sampler](field, noise, steps) * DEVIATION + MEAN
    return mels.clamp(min=math.log(FLOOR))


@torch.no_grad()
def generate(
    model: VideoToSpeech,
    videos: Float[Tensor, "N 8 1 24 24"],
    voices: Sequence[str] | None = None,
    *,
    steps: int = 6,
    sampler: str = "heun",
    guidance: float = 2.0,
    seed: int = 0,
) -> Float[Tensor, "N M T"]:
    """The log-mel of what is said of each video. See `convert`."""
    motion.check_videos(videos)
    if sampler not in SAMPLERS or steps < 1:
        raise ValueError(f"expected a sampler of {', '.join(SAMPLERS)} and 1 step or more, got {sampler!r} and {steps}")
    device, generator, N = model.nothing.device, torch.Generator().manual_seed(seed), len(videos)
    voices = [ANYBODY] * N if voices is None else voices
    names = {name: list(motion.VOICES).index(name) for name in motion.SEEN_VOICES} | {ANYBODY: len(motion.VOICES)}
    if len(voices) != N or not set(voices) <= names.keys():
        raise ValueError(f"expected for each of {N} videos one of the voices {', '.join(names)}, got {list(voices)}")
    chosen = torch.tensor([names[name] for name in voices])
    noise = torch.randn(N, MELS, FRAMES_OF_SOUND, generator=generator).to(device)
    digits, places = model.see(videos.to(device, noise.dtype))
    asked = model.condition(digits, places, chosen.to(device))
    unasked = model.condition(digits, places, chosen.to(device), torch.zeros(N, dtype=torch.bool, device=device))
    return sample(model, asked, unasked, noise, steps=steps, sampler=sampler, guidance=guidance)


def convert(
    model: VideoToSpeech,
    videos: Float[Tensor, "N 8 1 24 24"],
    voices: Sequence[str] | None = None,
    *,
    steps: int = 6,
    sampler: str = "heun",
    guidance: float = 2.0,
    seed: int = 0,
) -> Float[Tensor, "N S"]:
    """Say what each video shows: waveforms of 8192 samples in [-1, 1] at 8 kHz.

    voices: a name of `SEEN_VOICES` for each, or ANYBODY; without any it is ANYBODY for all, and the noise, drawn from `seed`, decides
    who speaks. Raises ValueError for what `motion.check_videos` refuses, another voice, an unknown sampler or no step.
    """
    return vocode(generate(model, videos, voices, steps=steps, sampler=sampler, guidance=guidance, seed=seed), seed=seed)


def energy_distance(made: Float[Tensor, "N D"], real: Float[Tensor, "M D"]) -> Float[Tensor, ""]:
    r"""How far the rows `made` are from the rows `real`, as samples of two distributions: 0 only if every row is as frequent in both.

    $2\, E\lVert x - y \rVert - E\lVert x - x' \rVert - E\lVert y - y' \rVert$ with Euclidean norms, each mean over all pairs, those of a row with itself
    among them (a V-statistic): so it is never negative, and for two samples of one distribution it is $(1/N + 1/M)\, E\lVert y - y' \rVert$ on average, not 0.
    Where two rows are equal their distance has the gradient 0. Székely and Rizzo (2013); some call its root the distance.
    Raises ValueError unless both have rows, all of one length.
    """
    if made.ndim != 2 or made.shape[1:] != real.shape[1:] or not len(made) or not len(real):
        raise ValueError(f"expected rows of one length, at least one of each, got {tuple(made.shape)} and {tuple(real.shape)}")
    across, within, among = (
        torch.linalg.vector_norm(a[:, None] - b, dim=2).mean()  # over the pairs (N, M), (N, N) and (M, M)
        for a, b in ((made, real), (made, made), (real, real))
    )
    return 2 * across - within - among


def rows_of(mels: Float[Tensor, "N M T"]) -> Float[Tensor, "N D"]:
    """Log-mels as rows on which a distance is the root mean square over all M T cells, in deviations of `log_mel`."""
    return mels.cpu().double().flatten(1) / (DEVIATION * math.sqrt(mels[0].numel()))


def pairs(things: motion.Split | motion.Speech) -> Int[Tensor, " N"]:
    """A number for each digit and place together: which phrase it is."""
    return things.digits * len(motion.PLACES) + things.places


def distance_from_real(mels: Float[Tensor, "N M T"], split: motion.Split) -> float:
    """The `energy_distance` of log-mels made for the videos of `split` from those of the thirteen training voices, phrase by phrase, on average.

    What is compared are whole log-mels (`rows_of`), before any vocoder. The videos are of handwriting that training has not; the voices are
    those of training, since a voice is what the noise has to decide.
    """
    bank = motion.speech("train")
    made, real, phrases = rows_of(mels), rows_of(log_mel(bank.waveforms)), pairs(split)
    found = [energy_distance(made[phrases == phrase], real[pairs(bank) == phrase]) for phrase in phrases.unique()]
    return torch.stack(found).mean().item()


def heard(spoken: Float[Tensor, "N S"], split: motion.Split, suffix: str = "") -> dict[str, float]:
    """In how many waveforms the judges hear what the videos show: the digit, the place, both."""
    digits = spoken_digit_judge().classify(spoken) == split.digits
    places = spoken_place_judge().classify(spoken) == split.places
    right = {"digit": digits, "place": places, "both": digits & places}
    return {f"{name}_accuracy{suffix}": found.double().mean().item() for name, found in right.items()}


def judged(spoken: Float[Tensor, "N S"], split: motion.Split, suffix: str = "") -> dict[str, float]:
    """What is `heard`, and in how many waveforms pocketsphinx, if it is installed, hears both words."""
    figures = heard(spoken, split, suffix)
    with contextlib.suppress(ImportError):
        figures["sphinx_accuracy" + suffix] = sphinx_judge().accuracy(spoken, split.digits, split.places)["both"]
    return figures


def baselines() -> dict[str, float]:
    """What needs no training: the sound of the training video whose pixels are nearest (`_nearest`), and the mean of the real voices.

    `energy_distance_mean` is that of the exact mean of the thirteen log-mels of a phrase, where a squared error ends that is told no voice;
    `voices_apart` the mean distance of two different ones.
    """
    known, bank = motion.load("train"), motion.speech("train")
    figures: dict[str, float] = {}
    for name, suffix in (("test", ""), ("compositional", "_compositional")):
        split = motion.load(name)
        nearest = torch.cdist(split.videos.flatten(1), known.videos.flatten(1)).argmin(1)
        spoken = bank.waveforms[known.utterances[nearest]]
        figures |= heard(spoken, split, "_nearest" + suffix)
        if name == "test":
            figures["energy_distance_nearest"] = distance_from_real(log_mel(spoken), split)
    real = rows_of(log_mel(bank.waveforms))
    voices = [real[pairs(bank) == phrase] for phrase in pairs(bank).unique()]
    means = [energy_distance(rows.mean(0, keepdim=True), rows) for rows in voices]
    return figures | {
        "energy_distance_mean": torch.stack(means).mean().item(),
        "voices_apart": torch.stack([torch.pdist(rows).mean() for rows in voices]).mean().item(),
    }


@torch.no_grad()
def class_alone(model: VideoToSpeech, split: motion.Split, *, seed: int = 0) -> dict[str, float]:
    """What becomes of every third video's speech when its condition is replaced by the mean of all that the encoder puts in its class.

    A class is a digit and a place. `class_digit_same`: how often the judge hears the digit that it heard before; `class_change`: how far the
    log-mel moves (`rows_of`), from the same noise; `noise_change`: how far it moves if the noise is another instead.
    """
    digits, places = model.see(split.videos.to(model.nothing))
    nobody = torch.full((len(split),), len(motion.VOICES), device=digits.device)
    asked = model.condition(digits, places, nobody)
    unasked = model.condition(digits, places, nobody, torch.zeros_like(nobody, dtype=torch.bool))
    seen = digits.argmax(1) * len(motion.PLACES) + places.argmax(1)
    same = (seen[:, None] == seen).to(asked)  # (N, N)
    means = same @ asked / same.sum(1, keepdim=True)
    noise = torch.randn(2, len(split), MELS, FRAMES_OF_SOUND, generator=torch.Generator().manual_seed(seed)).to(asked)
    own, alone, other = (
        sample(model, condition[::3], unasked[::3], x[::3])
        for condition, x in ((asked, noise[0]), (means, noise[0]), (asked, noise[1]))
    )
    before, after = (spoken_digit_judge().classify(vocode(mels, seed=seed)) for mels in (own, alone))
    return {
        "class_digit_same": (before == after).double().mean().item(),
        "class_change": (rows_of(alone) - rows_of(own)).norm(dim=1).mean().item(),
        "noise_change": (rows_of(other) - rows_of(own)).norm(dim=1).mean().item(),
    }


@torch.no_grad()
def evaluate(model: VideoToSpeech, *, seed: int = 0) -> dict[str, float]:
    """What the judges hear said of held-out handwriting, and of pairs that training never has (`..._compositional`).

    Every video is spoken once, by nobody in particular; `energy_distance` says how far all of it is from the real voices (`distance_from_real`).
    Also: in each seen voice in turn (`_voices`), by a single step of Euler (`_one_step`), which at guidance w gives about w times the
    mean of all voices, less w - 1 times that without digit and place, and without guidance (`_unguided`); there the judges hear every third
    video. `seen_digit` and `seen_place` are what the encoder makes of the video, `sphinx_accuracy_real` is what pocketsphinx hears in the
    real utterances of the seen voices. See `baselines` and `class_alone` for the others.
    """
    test, unseen, bank = motion.load("test"), motion.load("compositional"), motion.speech("train")
    voices = [motion.SEEN_VOICES[row % len(motion.SEEN_VOICES)] for row in range(len(test))]
    made = {
        "": generate(model, test.videos, seed=seed),
        "_voices": generate(model, test.videos, voices, seed=seed),
        "_one_step": generate(model, test.videos, steps=1, sampler="euler", seed=seed),
        "_unguided": generate(model, test.videos, guidance=1.0, seed=seed),
    }
    figures = judged(convert(model, unseen.videos, seed=seed), unseen, "_compositional")
    for suffix, mels in made.items():
        every = 3 if suffix else 1
        figures |= judged(vocode(mels[::every], seed=seed), test.select(torch.arange(0, len(test), every)), suffix)
        figures["energy_distance" + suffix] = distance_from_real(mels, test)
    for split, suffix in ((test, ""), (unseen, "_compositional")):
        digits, places = model.see(split.videos.to(model.nothing.device))
        figures["seen_digit" + suffix] = (digits.argmax(1).cpu() == split.digits).double().mean().item()
        figures["seen_place" + suffix] = (places.argmax(1).cpu() == split.places).double().mean().item()
    with contextlib.suppress(ImportError):
        figures["sphinx_accuracy_real"] = sphinx_judge().accuracy(bank.waveforms, bank.digits, bank.places)["both"]
    return {
        **figures,
        **baselines(),
        **class_alone(model, test, seed=seed),
        "digit_chance": 1 / motion.DIGITS,
        "place_chance": 1 / len(motion.PLACES),
        "digit_ceiling": spoken_digit_judge().ceiling(),
        "place_ceiling": spoken_place_judge().ceiling(),
    }


GATES = (
    Gate("digit_accuracy", at_least=0.88, baseline="digit_accuracy_nearest", ceiling="digit_ceiling"),
    Gate("place_accuracy", at_least=0.88, baseline="place_accuracy_nearest", ceiling="place_ceiling"),
    Gate(
        "energy_distance_unguided",
        below="energy_distance_mean",
        baseline="energy_distance_mean",
        ceiling="energy_distance_nearest",
    ),
    Gate("both_accuracy_compositional", at_least=0.5, baseline="both_accuracy_nearest_compositional"),
)
ABLATIONS = {"no flow": Ablation(Config(flow=False), "energy_distance_unguided", lower_by=0.15)}
LEAKS = SEEN


def sampler_errors(steps: Sequence[int]) -> dict[str, list[float]]:
    """How far each sampler ends from the exact flow between two Gaussians, by the number of its steps."""
    mean, deviation = torch.tensor([2.0, -1.0], dtype=torch.float64), torch.tensor([0.3, 0.6], dtype=torch.float64)
    noise = torch.randn(100, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    field, exact = GaussianField(mean, deviation), mean + deviation * noise
    return {
        name: [(sampler(field, noise, n) - exact).norm(dim=1).mean().item() for n in steps] for name, sampler in SAMPLERS.items()
    }


BRIEF = Config(channels=64, layers=4, steps=165)  # for the demo: a tenth of the work, and it sounds like it


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; how noise becomes speech (above), and the error of both samplers where the end is known (below, on the left).

    The phrases to hear are said of videos of held-out handwriting; the last one shows a pair that training never has.
    """
    model = train(config, device=device, progress=False)
    test, unseen = motion.load("test"), motion.load("compositional")
    chosen = [(test, 0), (test, 7), (unseen, 0)]
    videos = torch.stack([split.videos[row] for split, row in chosen])
    voices = ["us_m1", "gb_f3", "us_f1"]
    waveforms = convert(model, videos, voices)
    figure, axes = plt.subplots(2, 4, figsize=(10, 4.4), layout="constrained")
    look = {"origin": "lower", "aspect": "auto", "cmap": "magma", "vmin": math.log(FLOOR), "vmax": 4}
    for axis, steps in zip(axes[0], (1, 2, 4, 6), strict=True):
        axis.imshow(generate(model, videos[:1], voices[:1], steps=steps)[0].cpu(), **look)
        axis.set_title(f"“{test.phrases[0]}”, {steps} step{'s' if steps > 1 else ''} of Heun", fontsize=10)
    counts = [1, 2, 4, 8, 16, 32, 64]
    for name, errors in sampler_errors(counts).items():
        evaluations = [n * (2 if name == "heun" else 1) for n in counts]
        axes[1, 0].loglog(evaluations, errors, marker="o", label=name.capitalize())
    axes[1, 0].set(xlabel="evaluations of the field", title="error between two Gaussians")
    axes[1, 0].legend()
    for axis, waveform, (split, row), voice in zip(axes[1, 1:], waveforms, chosen, voices, strict=True):
        axis.imshow(log_mel(waveform[None].cpu())[0], **look)
        axis.set_title(f"“{split.phrases[row]}” in the voice {voice}", fontsize=10)
        axis.set_xlabel("frame (16 ms)")
        play(waveform, split.phrases[row])
    return figure
