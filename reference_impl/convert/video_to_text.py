r"""
# Video to text

Eight frames in, a caption out. A network that looks at frames one by one sees what is there, and not what happens; this one looks across time.
A **(2+1)D convolution** does so cheaply: a two-dimensional convolution within each frame, a nonlinearity, then a one-dimensional one over time,
in place of one over both. With

$$M = \left\lfloor \frac{t\, d^2\, N_{\text{in}} N_{\text{out}}}{d^2 N_{\text{in}} + t N_{\text{out}}} \right\rfloor$$

channels between the two it has as many weights as the three-dimensional one, and one nonlinearity more. **Temporal attention pooling** then makes a few
vectors of all frames: each of K learned queries takes its own weighted mean over time. The decoder of [image to text](image_to_text.ipynb) reads them.

It learns by **teacher forcing**: each word is predicted after the *true* words before it. When it writes it runs **free**, after its *own* words, and a mistake
leads it where training never was: **exposure bias**. **Scheduled sampling** replaces a growing share of the true words by the model's own,

$$\epsilon_i = \frac{k}{k + \exp(i / k)}$$

being the probability to keep the true one at step i.

What is asked for here needs the motion. The caption names the place to which the digit slides, "a three on the left", and the camera looks at it from anywhere, so
that where the digit *is* says nothing of where it *goes*.

**Asked in interviews.** Why factorise a three-dimensional convolution? What does a frame-by-frame model miss, and how would you show that yours does not? What is exposure
bias, how is it measured, and why is scheduled sampling not a consistent estimator? Why attend over time instead of taking the mean?

**Sources.** Tran et al., *A Closer Look at Spatiotemporal Convolutions for Action Recognition* (2018), section 3.5; Yao et al., *Describing Videos by Exploiting Temporal
Structure* (2015), section 3.2; Bengio et al., *Scheduled Sampling for Sequence Prediction with Recurrent Neural Networks* (2015), section 2.4;
Mihaylova and Martins, *Scheduled Sampling for Transformers* (2019).

**In this course.** [Question](../../questions/convert/video_to_text.md) · [exercise](../../notebooks/convert/video_to_text.ipynb) ·
[solution](../../solutions/convert/video_to_text.ipynb)
"""

import contextlib
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.convert.image_to_text import (
    IGNORED,
    LANGUAGES,
    CaptionDecoder,
    Toy,  # noqa: F401 - a language model that stands in for the decoder in the tests
    commonest_caption,
    nearest_captions,
    score_captions,
    start_tokens,
    teacher_forcing,
    write,
)
from reference_impl.data import digits_in_motion as motion
from reference_impl.data.digits_in_company import draw
from reference_impl.experiments import Ablation, Leak
from reference_impl.judges import direction_judge, motion_digit_judge
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track

# --- looking across time ---


def middle_channels(inputs: int, outputs: int, *, size: int = 3, time: int = 3) -> int:
    """M, the channels between the two halves of a (2+1)D convolution, so that it has at most the weights of a 3-D one, and at least one.

    size: of the kernel in space (d), time: over frames (t). Tran et al. (2018), section 3.5.
    """
    return max(1, time * size**2 * inputs * outputs // (size**2 * inputs + time * outputs))


class Conv2Plus1D(nn.Module):
    """A convolution within each frame (`space`), a ReLU, and one over time at each pixel (`time`). Biases are in both."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        M = middle_channels(inputs, outputs)
        self.space = nn.Conv2d(inputs, M, 3, stride=stride, padding=1)
        self.time = nn.Conv1d(M, outputs, 3, padding=1)

    def forward(self, x: Float[Tensor, "B T C H W"]) -> Float[Tensor, "B T D h w"]:
        """Frames are items to `space`, pixels are items to `time`. Tran et al. (2018), section 3.5, fig. 2."""
        B, T, _, _, _ = x.shape
        x = F.relu(self.space(x.flatten(0, 1)))  # (B T, M, h, w)
        _, _, h, w = x.shape
        x = x.unflatten(0, (B, T)).permute(0, 3, 4, 2, 1).flatten(0, 2)  # (B h w, M, T)
        return self.time(x).unflatten(0, (B, h, w)).permute(0, 4, 3, 1, 2)


class AttentionPool(nn.Module):
    """A few vectors of many frames: K queries, each a softmax over time of how relevant a frame is."""

    def __init__(self, width: int, queries: int) -> None:
        super().__init__()
        self.hidden, self.relevance = nn.Linear(width, width), nn.Linear(width, queries)

    def forward(self, frames: Float[Tensor, "B T C"]) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K T"]]:
        r"""Each query's mean of the frames under its weights, and these: softmax over time of `relevance`(tanh `hidden`(frame)).

        Yao et al. (2015), section 3.2, with learned queries in place of the decoder's state.
        """
        weights = self.relevance(torch.tanh(self.hidden(frames))).transpose(1, 2).softmax(dim=2)  # (B, K, T)
        return weights @ frames, weights


# --- learning to go on after one's own words ---


def inverse_sigmoid_decay(step: int, k: float) -> float:
    r"""The probability $k / (k + \exp(i / k))$ that a true word is kept at step i; near 1 at first, then falls to 0.

    Finite for any step. Raises ValueError unless k is at least 1. Bengio et al. (2015), section 2.4.
    """
    if not k >= 1:
        raise ValueError(f"k must be at least 1, got {k}")
    return 1 / (1 + math.exp(min(step / k, 700.0)) / k)


def scheduled_inputs(
    inputs: Int[Tensor, "B T"], logits: Float[Tensor, "B T V"], uniforms: Float[Tensor, "B T"], keep: float
) -> Int[Tensor, "B T"]:
    """The decoder's inputs, some of the true words replaced by what the model would have written in their place.

    logits: of a first pass over `inputs`; those at position t say what it would write at t + 1, its likeliest word. uniforms: in [0, 1); a word
    is kept where its own is below `keep`. The start token always is. Mihaylova and Martins (2019), with the arg max.
    """
    written = logits[:, :-1].argmax(dim=2)  # (B, T - 1): for positions 1 to T - 1
    return torch.cat([inputs[:, :1], torch.where(uniforms[:, 1:] < keep, inputs[:, 1:], written)], dim=1)


def run_free(
    score: Callable[[Int[Tensor, "B T"]], Float[Tensor, "B V"]], starts: Int[Tensor, " B"], length: int
) -> Int[Tensor, "B L"]:
    """What the model writes after its own words: the likeliest next word, again and again; <pad> after <eos>, L = `length`.

    score: logits of the next word, given the start token and what is written so far.
    """
    ids = starts[:, None]
    ended = torch.zeros_like(starts, dtype=torch.bool)
    for _ in range(length):
        word = score(ids).argmax(dim=1).masked_fill(ended, motion.PAD)
        ended = ended | (word == motion.EOS)
        ids = torch.cat([ids, word[:, None]], dim=1)
    return ids[:, 1:]


def word_accuracy(written: Int[Tensor, "B L"], targets: Int[Tensor, "B L"]) -> float:
    """The share of targets, without those that are IGNORED, that stand where they should."""
    counted = targets != IGNORED
    return ((written == targets) & counted).sum().item() / counted.sum().item()


# --- a camera that does not look at the middle ---


def displace(
    handwriting: Float[Tensor, "N 1 8 8"], places: Int[Tensor, " N"], generator: torch.Generator
) -> Float[Tensor, "N 8 1 24 24"]:
    """The videos of Digits in Motion as a camera sees them that looks elsewhere, all frames alike; on the CPU.

    A digit slides over REACH pixels and must stay in the picture. So it begins up to REACH back from the middle along its way, and up to REACH
    to either side across, by fractions of a pixel: it is drawn anew, not moved. Then the last frame alone leaves two directions, each as
    likely as the other. (Whole pixels would leave the way's fraction in the ink, and with it the direction: REACH is 5.25.)
    """
    N, way = (
        len(handwriting),
        torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])[places],
    )  # (N, 2), down and right
    back, across = torch.rand(N, 1, generator=generator), 2 * torch.rand(N, 1, generator=generator) - 1
    start = motion.REACH * (across * way.flip(1).abs() - back * way)
    progress = torch.arange(motion.FRAMES) / (motion.FRAMES - 1)
    centres = start[:, None] + motion.REACH * progress[:, None] * way[:, None]  # (N, 8, 2)
    frames = draw(handwriting[:, 0].repeat_interleave(motion.FRAMES, dim=0), centres.flatten(0, 1), motion.SCALE)
    return frames.view(N, motion.FRAMES, 1, motion.SIZE, motion.SIZE)


# --- the system ---


@dataclass(frozen=True)
class Config:
    """frames: how many of the 8 are seen, evenly spread, the last among them; 1 is a photograph. channels, width, heads, layers and queries shape the network.

    decay: k of `inverse_sigmoid_decay`; 0 is teacher forcing to the end. weight_decay: of AdamW; a strong one, for pairs of digit and place
    that training never shows: without it the network also learns which digits never slide to a place, and reads another in their stead.
    """

    frames: int = 4
    channels: int = 16
    width: int = 64
    heads: int = 4
    layers: int = 1
    queries: int = 4
    decay: float = 0.0
    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 4e-3
    weight_decay: float = 0.5


class VideoToText(nn.Module):
    """(2+1)D convolutions, attention over time, and the decoder of image to text."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, W = config.channels, config.width
        self.config = config
        sizes = ((1, C), (C, 2 * C), (2 * C, W))
        strides = (2, 2, 1)  # a digit is 12 pixels wide: three at the end, and a vector sees 15
        self.convolutions = nn.ModuleList(Conv2Plus1D(*size, stride=stride) for size, stride in zip(sizes, strides, strict=True))
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _, outputs in sizes)
        self.frame = nn.Linear(W, W)
        self.pool = AttentionPool(W, config.queries)
        self.norm = nn.LayerNorm(W)
        self.decoder = CaptionDecoder(W, config.heads, config.layers)

    def encode(self, videos: Float[Tensor, "B T 1 24 24"]) -> tuple[Float[Tensor, "B K C"], Float[Tensor, "B K T"]]:
        """The memory, a vector for each query, and which frames each query looked at. Ink in [0, 1]."""
        every = motion.FRAMES // self.config.frames
        x = 2 * videos[:, every - 1 :: every] - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x)  # (B, T, C, h, w)
            x = F.relu(norm(x.flatten(0, 1))).view_as(x)
        pooled, weights = self.pool(self.frame(x.amax((3, 4))))
        return self.norm(pooled), weights

    def forward(self, videos: Float[Tensor, "B T 1 24 24"]) -> Float[Tensor, "B K C"]:
        """The memory alone, for the decoder."""
        return self.encode(videos)[0]


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> VideoToText:
    """Train on the training split, displaced anew at every step, with captions in both languages; return the model in evaluation mode.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    data = motion.load("train")
    tokens = torch.stack([data.tokens, data.tokens_zh])  # (2, N, L)
    starts = start_tokens(torch.arange(len(LANGUAGES)))
    model = maybe_compile(VideoToText(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    schedule = one_cycle(optimizer, config.learning_rate, config.steps, warm=0.2)
    steps = batches(len(data), config.batch_size, config.steps, generator)
    for step, batch in enumerate(track(steps, total=config.steps, description="Video to text", show=progress)):
        videos = displace(data.handwriting[batch], data.places[batch], generator).to(device)
        inputs, targets = teacher_forcing(tokens[:, batch].flatten(0, 1), starts.repeat_interleave(len(batch)))
        uniforms = torch.rand(inputs.shape, generator=generator)
        inputs, targets, uniforms = inputs.to(device), targets.to(device), uniforms.to(device)
        with autocast(device, precision):
            memory = model(videos).repeat(len(LANGUAGES), 1, 1)  # encoded once, read for each language
            if config.decay:
                with torch.no_grad():
                    guess, _ = model.decoder(inputs, memory)
                inputs = scheduled_inputs(inputs, guess, uniforms, inverse_sigmoid_decay(step, config.decay))
            logits, _ = model.decoder(inputs, memory)
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def convert(
    model: VideoToText,
    videos: Float[Tensor, "N 8 1 24 24"],
    language: motion.Language = "en",
    *,
    width: int = 4,
    alpha: float = 0.6,
) -> list[str]:
    """A caption of each video (ink in [0, 1]): the digit, and where it slides to. width and alpha: see `image_to_text.beam_search`.

    Raises ValueError for what `motion.check_videos` refuses, or another language.
    """
    videos = motion.check_videos(videos).to(model.frame.weight)
    return write(model.decoder, model(videos), language, width=width, alpha=alpha)


@torch.no_grad()
def exposure(
    model: VideoToText, videos: Float[Tensor, "N 8 1 24 24"], split: motion.Split, language: motion.Language
) -> dict[str, float]:
    """The share of words that are right when the model runs free, and when it is given the true words before each (`..._forced`).

    Of the captions that are right, the truth is the one nearest to what the model writes by itself.
    """
    memory = model(videos.to(model.frame.weight.device))
    starts = start_tokens(torch.full((len(split),), LANGUAGES.index(language), device=memory.device))
    free = run_free(lambda ids: model.decoder(ids, memory)[0][:, -1], starts, motion.TOKENS - 1)
    truth = motion.encode(nearest_captions(motion.decode(free), split, language)).to(memory.device)
    inputs, targets = teacher_forcing(truth, starts)
    forced = model.decoder(inputs, memory)[0].argmax(dim=2)
    return {"words_free": word_accuracy(free, targets), "words_forced": word_accuracy(forced, targets)}


def baselines(split: motion.Split, language: motion.Language) -> dict[str, float]:
    """What says one caption of everything; what copies the caption of the training video that is nearest; what the judges know.

    `exact_judges` is the share in which the judge of the digit (of the last frame) and that of the direction are both right.
    """
    known = motion.load("train")
    captions = known.captions if language == "en" else known.captions_zh
    nearest = torch.cdist(split.videos.flatten(1), known.videos.flatten(1)).argmin(1).tolist()
    digits, places = motion_digit_judge().classify(split.images), direction_judge().classify(split.videos)
    return {
        **{
            f"{key}_constant": value
            for key, value in score_captions([commonest_caption(language)] * len(split), split, language).items()
        },
        "exact_nearest": score_captions([captions[i] for i in nearest], split, language)["exact"],
        "exact_judges": ((digits == split.digits) & (places == split.places)).float().mean().item(),
    }


def place_named(texts: Sequence[str], split: motion.Split) -> float:
    """The share of texts that name the place of their item, whatever the digit. What is no caption names none."""
    right = 0
    for text, place in zip(texts, split.places.tolist(), strict=True):
        with contextlib.suppress(ValueError):
            right += motion.meaning(text)[1] == motion.PLACES[place]
    return right / len(texts)


def evaluate(model: VideoToText, *, seed: int = 0) -> dict[str, float]:
    """`score_captions` of held-out handwriting, the mean of both languages, beside the `baselines`; words free and forced.

    `..._displaced`: the camera looks elsewhere (drawn from `seed`); `place_displaced`: the share of captions that name the right place. `..._frozen`: the last frame of these, eight times. `opposite_reversed`:
    played backwards, the share that says the opposite place. All again for pairs that training never shows (`..._compositional`).
    """
    figures: dict[str, float] = {}
    for split, suffix in ((motion.load("test"), ""), (motion.load("compositional"), "_compositional")):
        displaced = displace(split.handwriting, split.places, torch.Generator().manual_seed(seed))
        frozen = displaced[:, -1:].expand_as(displaced)
        opposite = replace(split, places=split.places ^ 1)  # left and right, top and bottom are neighbours in PLACES
        rows = []
        for language in LANGUAGES:
            scored = {
                "": score_captions(convert(model, split.videos, language), split, language),
                "_displaced": score_captions(convert(model, displaced, language), split, language),
                "_frozen": score_captions(convert(model, frozen, language), split, language),
            }
            row = {key + kind: value for kind, found in scored.items() for key, value in found.items()}
            row["place_displaced"] = place_named(convert(model, displaced, language), split)
            row["opposite_reversed"] = score_captions(convert(model, displaced.flip(1), language), opposite, language)["exact"]
            rows.append(row | exposure(model, displaced, split, language) | baselines(split, language))
            figures[f"exact_{language}{suffix}"] = row["exact"]
        figures |= {key + suffix: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return figures


GATES = (
    Gate("exact", at_least=0.95, above="exact_constant", baseline="exact_constant", ceiling="exact_judges"),
    Gate("cer", at_most=0.01, below="cer_constant", baseline="cer_constant"),
    Gate("exact_displaced", at_least=0.95, above="exact_frozen", baseline="exact_frozen", ceiling="exact_judges"),
    Gate(
        "exact_displaced_compositional",
        at_least=0.8,
        above="exact_nearest_compositional",
        baseline="exact_nearest_compositional",
        ceiling="exact_judges_compositional",
    ),
)


def place_from_the_last_frame(seed: int, device: str) -> float:
    """How often the place is right that a model names which is trained in full on the last frame of displaced videos."""
    return evaluate(train(Config(frames=1), device=device, seed=seed, progress=False), seed=seed)["place_displaced"]


ABLATIONS = {"one frame": Ablation(Config(frames=1), "exact_displaced", higher_by=0.4)}
# A last frame leaves two directions. Of four digits in ten one place is never shown, so that in a third of their frames the other direction
# is none: 0.6 · 1/2 + 0.4 · (1/3 + 2/3 · 1/2).
LEAKS = {"the last frame alone": Leak(place_from_the_last_frame, chance=0.567, at_most=0.62)}


BRIEF = Config(steps=165, learning_rate=5e-3, weight_decay=0.01)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; first, middle and last frames of displaced videos with captions, and which frames each query of the pool looks at."""
    model = train(config, device=device, progress=False)
    split = motion.load("test").select(torch.arange(0, 18, 3))
    videos = displace(split.handwriting, split.places, torch.Generator().manual_seed(0))
    english, chinese = (convert(model, videos, language) for language in LANGUAGES)
    print("\n".join(f"{a}  |  {b}" for a, b in zip(english, chinese, strict=True)))
    with torch.no_grad():
        weights = model.encode(videos.to(model.frame.weight.device))[1].cpu()  # (N, K, T)
    figure, axes = plt.subplots(3, len(split), figsize=(13, 6), layout="constrained")
    for (first, last, below), video, caption, looked in zip(axes.T, videos, english, weights, strict=True):
        first.imshow(video[0, 0], cmap="gray_r", vmin=0, vmax=1)
        last.imshow(video[-1, 0], cmap="gray_r", vmin=0, vmax=1)
        below.imshow(looked, cmap="magma", vmin=0, aspect="auto")
        first.set_title("\n".join(textwrap.wrap(caption, 16)), fontsize=10)
        below.set_xlabel("frame")
        for ax in (first, last):
            ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("first frame")
    axes[1, 0].set_ylabel("last frame")
    axes[2, 0].set_ylabel("query")
    return figure
