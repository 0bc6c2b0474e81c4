r"""
# Text to image

A diffusion model that draws what a caption says. Training spoils a picture with a known amount of Gaussian noise and asks the
network what was mixed in; drawing starts from pure noise and takes it away step by step, as the caption directs.

With $\bar\alpha_t$ falling from 1 (a clean picture, $t = 0$) to almost 0 (pure noise, $t = T$), the noisy picture is one line,

$$x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\; \varepsilon, \qquad \varepsilon \sim \mathcal N(0, I),$$

and so is the target. Instead of $\varepsilon$ our network predicts the **velocity**, from which $x_0$ and $\varepsilon$ both follow without a division:

$$v = \sqrt{\bar\alpha_t}\; \varepsilon - \sqrt{1 - \bar\alpha_t}\; x_0, \qquad
x_0 = \sqrt{\bar\alpha_t}\; x_t - \sqrt{1 - \bar\alpha_t}\; v, \qquad \varepsilon = \sqrt{1 - \bar\alpha_t}\; x_t + \sqrt{\bar\alpha_t}\; v.$$

Now and then the caption is hidden in training, so that one network learns the picture with and without it. **Classifier-free guidance**
then goes further in the direction in which the caption pulls: $\tilde v = v_\varnothing + w\,(v_c - v_\varnothing)$. A **DDIM** step
guesses the clean picture and mixes it with the implied noise again, at a lower noise level.

**Put together anew.** Four pairs of digit and place are in no training picture. The caption gives two codes, $c_d$ for the digit and $c_p$ for
the place, each with one job. Let $R_s$ roll a picture by s whole pixels: what leaves on one side comes in on the other. The noisy picture
is rolled to the middle, a U-Net that is told the digit alone says the velocity there, and that is rolled back:

$$v(x, t, c) = R_{s}\; u\big(R_{-s}\, x,\ t,\ c_d\big), \qquad s = s(c_p)$$

A roll only puts pixels in another order, so independent noise stays what it was, and paper stays paper. How far a place is from the middle a
small head learns from where the ink of the training pictures is. A one that was drawn for three places is then right at the fourth.

The captions are English or Chinese; the one template that is tested is never seen in training.

**Asked in interviews.** What is the loss, and where does it come from? What is the network told besides the noisy picture? Noise, picture or
velocity: which target, and why? What does the guidance scale trade away? Why do forty steps suffice, after training with a thousand? Why
does a network that has drawn a one at three places fail at the fourth, and what helps?

**Sources.** Ho, Jain and Abbeel, *Denoising Diffusion Probabilistic Models* (2020), eq. 4 and 14; Nichol and Dhariwal, *Improved DDPM* (2021), eq. 17;
Song, Meng and Ermon, *Denoising Diffusion Implicit Models* (2021), eq. 12; Salimans and Ho, *Progressive Distillation* (2022), appendix D;
Ho and Salimans, *Classifier-Free Diffusion Guidance* (2022), eq. 6; Esser et al., *Scaling Rectified Flow Transformers* (2024), section 3.1.

**In this course.** [Question](../../questions/convert/text_to_image.md) · [exercise](../../notebooks/convert/text_to_image.ipynb) ·
[solution](../../solutions/convert/text_to_image.ipynb)
"""

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.image.gan import ema_update
from reference_impl.judges import centre_of_ink, diversity_ratio, motion_digit_judge, place_judge
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import KNOWN_WORDS, SEEN


def alpha_bars(timesteps: int, offset: float = 0.008, largest_beta: float = 0.999) -> Float[Tensor, " levels"]:
    r"""The share of signal power $\bar\alpha_0 \dots \bar\alpha_T$ (T = `timesteps`) of the cosine schedule, float32; $\bar\alpha_0 = 1$.

    $$f(t) = \cos^2\!\left(\frac{t / T + s}{1 + s} \cdot \frac{\pi}{2}\right), \quad
    \beta_t = \min\!\left(1 - \frac{f(t)}{f(t - 1)},\ \beta_{\max}\right), \quad \bar\alpha_t = \prod_{i \le t} (1 - \beta_i)$$

    with s = `offset`, which keeps the first steps from being too small, and $\beta_{\max}$ = `largest_beta`, without which
    $\bar\alpha_T$ would be 0. The cosine of nearly $\pi/2$ loses its digits, so work in float64. Nichol and Dhariwal (2021), eq. 17.
    """
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + offset) / (1 + offset) * math.pi / 2).square()
    betas = (1 - f[1:] / f[:-1]).clamp(max=largest_beta)
    return torch.cat([torch.ones(1), (1 - betas).cumprod(0).float()])


def per_item(values: Float[Tensor, " B"], x: Float[Tensor, "B *pixels"]) -> Float[Tensor, "B *ones"]:
    """A number for each item, with as many trailing axes of 1 as it takes to multiply `x` (given)."""
    return values.reshape(-1, *[1] * (x.ndim - 1))


def q_sample(
    x0: Float[Tensor, "B *pixels"], alpha_bar: Float[Tensor, " B"], noise: Float[Tensor, "B *pixels"]
) -> Float[Tensor, "B *pixels"]:
    r"""A draw of $q(x_t \mid x_0)$ in one jump: the signal scaled by $\sqrt{\bar\alpha}$, the noise by $\sqrt{1 - \bar\alpha}$.

    Each item has its own `alpha_bar`. Ho et al. (2020), eq. 4.
    """
    a = per_item(alpha_bar, x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def draw_timesteps(uniforms: Float[Tensor, " B"], timesteps: int, location: float = 0.5) -> Int[Tensor, " B"]:
    r"""A timestep in 1 to T = `timesteps` for each of a batch, mostly in the middle: t / T is logit-normal, $\sigma(z + m)$ with
    $z \sim \mathcal N(0, 1)$ and m = `location` (given).

    There a blur has to become one digit in one handwriting. At pure noise the caption decides alone, but the best answer is an average that
    is soon learned; near the picture what is left is strokes.
    Uniform numbers in [0, 1) pick one z from each of B equally likely ranges, so every batch sees all noise levels.
    Esser et al. (2024), section 3.1.
    """
    B = len(uniforms)
    even = (torch.arange(B) + uniforms) / B
    z = torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4))
    return 1 + (torch.sigmoid(z + location) * timesteps).long().clamp(max=timesteps - 1)


def timestep_embedding(t: Int[Tensor, " B"], width: int) -> Float[Tensor, "B D"]:
    r"""Sinusoids of the timestep, float32: first D/2 cosines, then D/2 sines, D = `width`.

    Frequency $i = 0 \dots D/2 - 1$ is $10000^{-i / (D/2)}$ radians per step. Raises ValueError if the width is odd or not positive.
    Vaswani et al. (2017), section 3.5; laid out as in the code of Nichol and Dhariwal (2021), with the cosines first.
    """
    half, odd = divmod(width, 2)
    if half < 1 or odd:
        raise ValueError(f"width must be even and at least 2, got {width}")
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)
    angles = t[:, None] * frequencies  # (B, D/2)
    return torch.cat([angles.cos(), angles.sin()], dim=1)


def null_captions(tokens: Int[Tensor, "B L"]) -> Int[Tensor, "B L"]:
    """The caption that says nothing, <bos> <eos> and padding, once for each row of `tokens` (given)."""
    ids = [motion.BOS, motion.EOS] + [motion.PAD] * (tokens.shape[1] - 2)
    return torch.tensor(ids, device=tokens.device).expand(len(tokens), -1)


def drop_condition(tokens: Int[Tensor, "B L"], uniforms: Float[Tensor, " B"], probability: float) -> Int[Tensor, "B L"]:
    """Captions of which each is hidden, as a whole, where its uniform number in [0, 1) lies below `probability`.

    A hidden caption is a row of `null_captions`. `tokens` is left alone. Raises ValueError if the probability lies outside [0, 1].
    Ho and Salimans (2022), algorithm 1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"probability must lie in [0, 1], got {probability}")
    hidden = uniforms < probability
    return torch.where(hidden[:, None], null_captions(tokens), tokens)


@dataclass(frozen=True)
class Config:
    """channels (a multiple of 8) and width: of the U-Net and of its condition; timesteps T; drop: share of captions hidden.

    moved: whether the digit is drawn in the middle and then moved, or in place, from one code for both.
    guidance and sampling_steps are what `convert` uses; steps, batch_size, learning_rate and ema_decay drive `train`.
    """

    channels: int = 32
    width: int = 128
    timesteps: int = 1000
    drop: float = 0.1
    moved: bool = True
    guidance: float = 1.5
    sampling_steps: int = 40
    steps: int = 1300
    batch_size: int = 32
    learning_rate: float = 5e-3
    ema_decay: float = 0.995


class CaptionEncoder(nn.Module):
    """Word embeddings under attention pooling: two learned queries, so that one may look for the digit and one for the place.

    With `moved` each has a job of its own: what the first finds becomes the condition, and a head on what the second finds says how far
    from the middle the digit is. Without, both together are the condition.
    The pooled words carry no order. Neither does the meaning of a caption, so a new order of known words is no new language.
    """

    def __init__(self, width: int, moved: bool = True, embedding: int = 64) -> None:
        super().__init__()
        self.moved = moved
        self.embedding = nn.Embedding(len(motion.VOCABULARY), embedding)
        self.queries = nn.Linear(embedding, 2, bias=False)
        self.output = nn.Linear(embedding if moved else 2 * embedding, width)
        self.head = nn.Sequential(nn.Linear(embedding, 32), nn.SiLU(), nn.Linear(32, 2))

    def forward(self, tokens: Int[Tensor, "B L"]) -> tuple[Float[Tensor, "B W"], Float[Tensor, "B E"]]:
        """The condition of each caption, and the code of what it says of the place; padding gets no attention."""
        words = self.embedding(tokens)  # (B, L, E)
        scores = self.queries(words).masked_fill((tokens == motion.PAD)[:, :, None], -math.inf)  # (B, L, 2)
        pooled = scores.softmax(dim=1).transpose(1, 2) @ words  # (B, 2, E)
        pooled = 4 * pooled  # two words of seven matter: 4 makes up for averaging them with the rest
        digit, place = pooled.unbind(1)
        return self.output(digit if self.moved else pooled.flatten(1)), place

    def shift(self, place: Float[Tensor, "B E"]) -> Float[Tensor, "B 2"]:
        """How far down and right of the middle that is, in halves of a picture: pixels would be too large at first to say."""
        return self.head(place)


def roll(pictures: Float[Tensor, "B C H W"], shift: Int[Tensor, "B 2"]) -> Float[Tensor, "B C H W"]:
    """Each picture moved by its own `shift`, whole pixels down and right; what leaves on one side comes in on the other (given).

    No pixel is lost, mixed or made up: independent noise stays what it was.
    """
    rows, columns = (
        (torch.arange(size, device=shift.device) - shift[:, axis, None]) % size for axis, size in enumerate(pictures.shape[2:])
    )  # (B, H) and (B, W): where each comes from
    pictures = pictures.gather(2, rows[:, None, :, None].expand_as(pictures))
    return pictures.gather(3, columns[:, None, None, :].expand_as(pictures))


class ResBlock(nn.Module):
    """Two convolutions around a shortcut; the condition scales and shifts every channel between them (FiLM)."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(8, inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.film = nn.Linear(width, 2 * outputs)
        self.norm2, self.conv2 = nn.GroupNorm(8, outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        nn.init.zeros_(self.conv2.weight)  # the block starts as its shortcut

    def forward(self, x: Float[Tensor, "B I H W"], condition: Float[Tensor, "B D"]) -> Float[Tensor, "B O H W"]:
        hidden = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(hidden) * (1 + scale) + shift))


class UNet(nn.Module):
    """Predicts the velocity: of a digit in the middle, with `moved`, and the noisy picture is rolled there and its velocity back.

    Pixels go in and out as 12×12 cells of 2×2, the middle of the net works at 6×6. A condition that is added to all places alike does
    not say where; what convolutions know of their place they have from the padding. So the net is also given a rough plan drawn from
    the condition alone: a sum of `RANK` products of a map ("where", 6×6) and a vector ("what", 2C).
    """

    RANK = 8

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, D = config.channels, config.width
        self.config = config
        self.captions = CaptionEncoder(D, config.moved)
        self.time = nn.Sequential(nn.Linear(D // 2, D), nn.SiLU(), nn.Linear(D, D))
        self.input, self.output = nn.Conv2d(4, C, 3, padding=1), nn.Conv2d(C, 4, 3, padding=1)
        self.down, self.up = nn.Conv2d(C, 2 * C, 2, stride=2), nn.ConvTranspose2d(2 * C, C, 2, stride=2)
        self.left, self.right = ResBlock(C, C, D), ResBlock(2 * C, C, D)
        self.middle = nn.ModuleList([ResBlock(2 * C, 2 * C, D), ResBlock(2 * C, 2 * C, D)])
        self.where, self.what = nn.Linear(D, self.RANK * 36), nn.Linear(D, self.RANK * 2 * C)
        self.norm = nn.GroupNorm(8, C)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU

    def draw(
        self, x: Float[Tensor, "B 1 24 24"], t: Int[Tensor, " B"], captions: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B 1 24 24"]:
        """The velocity at noisy pictures `x`, given the condition of their captions."""
        embedded = timestep_embedding(t, self.config.width // 2).to(x.dtype)
        condition = F.silu(self.time(embedded) + captions)  # (B, D)
        where = self.where(condition).unflatten(1, (self.RANK, 6, 6))
        what = self.what(condition).unflatten(1, (self.RANK, -1))
        plan = torch.einsum("brhw,brc->bchw", where, what)  # (B, 2C, 6, 6)
        hidden = self.input(F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last))  # (B, C, 12, 12)
        skip = self.left(hidden, condition)
        hidden = self.down(skip) + plan  # (B, 2C, 6, 6)
        for block in self.middle:
            hidden = block(hidden, condition)
        hidden = self.right(torch.cat([self.up(hidden), skip], dim=1), condition)  # (B, C, 12, 12)
        return F.pixel_shuffle(self.output(F.silu(self.norm(hidden))), 2)

    def forward(
        self, x: Float[Tensor, "B 1 24 24"], t: Int[Tensor, " B"], tokens: Int[Tensor, "B L"]
    ) -> Float[Tensor, "B 1 24 24"]:
        """The velocity at noisy pictures `x`, in [-1, 1] but for the noise, of timestep `t` and caption `tokens`."""
        captions, place = self.captions(tokens)
        if not self.config.moved:
            return self.draw(x, t, captions)
        shift = motion.SIZE / 2 * self.captions.shift(place)  # (B, 2), in pixels
        pixels = shift.round().long()  # this has no gradient: the head has a loss of its own
        return roll(self.draw(roll(x, -pixels), t, captions), pixels)

    def diffusion_loss(
        self,
        x0: Float[Tensor, "B 1 24 24"],
        tokens: Int[Tensor, "B L"],
        t: Int[Tensor, " B"],
        noise: Float[Tensor, "B 1 24 24"],
        schedule: Float[Tensor, " levels"],
    ) -> Float[Tensor, ""]:
        r"""Mean squared error of the velocity that this network predicts, over all items and pixels.

        `schedule` holds $\bar\alpha_0 \dots \bar\alpha_T$; the network sees $x_0$ spoiled by `noise` to the level of its timestep t.
        The target is $v = \sqrt{\bar\alpha_t}\, \varepsilon - \sqrt{1 - \bar\alpha_t}\, x_0$. Ho et al. (2020), eq. 14; Salimans and Ho (2022), appendix D.
        """
        alpha_bar = schedule[t]
        a = per_item(alpha_bar, x0)
        target = a.sqrt() * noise - (1 - a).sqrt() * x0
        velocity = self(q_sample(x0, alpha_bar, noise), t, tokens)
        return F.mse_loss(velocity, target)


def guided_velocity(
    model: nn.Module,
    x: Float[Tensor, "B 1 24 24"],
    t: Int[Tensor, " B"],
    tokens: Int[Tensor, "B L"],
    scale: float,
) -> Float[Tensor, "B 1 24 24"]:
    r"""Classifier-free guidance $v_\varnothing + w\,(v_c - v_\varnothing)$, w = `scale`; $v_\varnothing$ is for `null_captions`.

    So 0 ignores the caption, 1 is the plain conditional model, and above 1 the caption is overstated. One call of
    `model(x, t, tokens)`, with both halves in one batch, and both pass gradients on. Ho and Salimans (2022), eq. 6, whose w is
    `scale` - 1.
    """
    both = torch.cat([tokens, null_captions(tokens)])
    conditional, unconditional = model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
    return unconditional + scale * (conditional - unconditional)


def ddim_step(
    x: Float[Tensor, "B *pixels"],
    velocity: Float[Tensor, "B *pixels"],
    alpha_bar: Float[Tensor, " B"],
    next_alpha_bar: Float[Tensor, " B"],
) -> Float[Tensor, "B *pixels"]:
    r"""From noise level `alpha_bar` (below 1) to `next_alpha_bar` without new noise (η = 0).

    The velocity gives a guess of the clean picture, which is clipped to [-1, 1]. The noise is what then remains in `x`, so that both
    still add up to `x` at the old level; they are mixed again at the new one. Song et al. (2021), eq. 12.
    """
    a, b = (per_item(level, x) for level in (alpha_bar, next_alpha_bar))
    x0 = (a.sqrt() * x - (1 - a).sqrt() * velocity).clamp(-1, 1)
    noise = (x - a.sqrt() * x0) / (1 - a).sqrt()
    return b.sqrt() * x0 + (1 - b).sqrt() * noise


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> UNet:
    """Train on the training split, each item with its English or its Chinese caption; return the averaged model, on `device`.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    data, B = motion.load("train"), config.batch_size
    pictures, captions = 2 * data.images - 1, torch.stack([data.tokens, data.tokens_zh])
    centres = centre_of_ink(data.images)[0] * 2 / motion.SIZE  # (N, 2), in halves of a picture
    model = UNet(config).to(device).train()
    averaged = copy.deepcopy(model).eval()
    maybe_compile(model, compile)
    schedule = alpha_bars(config.timesteps).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    rates = one_cycle(optimizer, config.learning_rate, config.steps, warm=0.1)
    steps = batches(len(data), B, config.steps, generator)
    for step, batch in enumerate(track(steps, total=config.steps, description="Text to image", show=progress)):
        language = torch.randint(2, (B,), generator=generator)
        tokens = drop_condition(captions[language, batch], torch.rand(B, generator=generator), config.drop)
        t = draw_timesteps(torch.rand(B, generator=generator), config.timesteps)
        noise = torch.randn(B, 1, motion.SIZE, motion.SIZE, generator=generator)
        x0, tokens, t, noise = pictures[batch].to(device), tokens.to(device), t.to(device), noise.to(device)
        with autocast(device, precision):
            loss = model.diffusion_loss(x0, tokens, t, noise, schedule)
            _, place = model.captions(tokens)
            shift = model.captions.shift(place)
        loss = loss + F.mse_loss(shift.float(), centres[batch].to(device))  # where the ink is: all that is told of a place
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        ema_update(averaged, model, min(config.ema_decay, (1 + step) / (10 + step)))  # at first it forgets faster
    return averaged


@torch.no_grad()
def convert(
    model: UNet,
    captions: Sequence[str],
    *,
    guidance: float | None = None,
    steps: int | None = None,
    seed: int = 0,
    path: list[Tensor] | None = None,
) -> Float[Tensor, "B 1 24 24"]:
    """A picture (ink in [0, 1]) for each caption, English or Chinese, by `steps` DDIM steps from noise drawn with `seed`.

    guidance and steps are the model's own if not given; `path` is given every noisy picture on the way. Raises ValueError for no caption
    at all, and for a word that is not in the vocabulary.
    """
    config, device = model.config, next(model.parameters()).device
    guidance = config.guidance if guidance is None else guidance
    steps = config.sampling_steps if steps is None else steps
    tokens, B = motion.encode(motion.check_captions(captions)).to(device), len(captions)
    schedule = alpha_bars(config.timesteps).to(device)
    x = torch.randn(B, 1, motion.SIZE, motion.SIZE, generator=torch.Generator().manual_seed(seed)).to(device)
    times = torch.linspace(config.timesteps, 0, steps + 1).round().long().tolist()
    for now, then in itertools.pairwise(times):
        t = torch.full((B,), now, device=device)
        velocity = guided_velocity(model, x, t, tokens, guidance).float()
        x = ddim_step(x, velocity, schedule[t], schedule[then].expand(B))
        if path is not None:
            path.append((x + 1) / 2)
    return ((x + 1) / 2).clamp(0, 1)


@torch.no_grad()
def evaluate(model: UNet, *, seed: int = 0) -> dict[str, float]:
    """What the judges see in a picture for each caption of `test` and `compositional`, English and Chinese in turn.

    Both splits use a caption template that training never shows. `_chance` is what a picture of anything would score; place_error is in pixels.
    """
    digit_judge, places_judge = motion_digit_judge(), place_judge()
    figures = {"digit_chance": 1 / motion.DIGITS, "place_chance": 1 / len(motion.PLACES)}
    for split, suffix in (("test", ""), ("compositional", "_compositional")):
        data = motion.load(split)
        chinese = torch.arange(len(data)) % 2 == 1
        captions = [(data.captions, data.captions_zh)[i % 2][i] for i in range(len(data))]
        pictures = convert(model, captions, seed=seed)
        right = digit_judge.classify(pictures) == data.digits
        pairs = data.digits * len(motion.PLACES) + data.places
        figures |= {
            f"digit{suffix}": right.float().mean().item(),
            f"digit_english{suffix}": right[~chinese].float().mean().item(),
            f"digit_chinese{suffix}": right[chinese].float().mean().item(),
            f"digit_ceiling{suffix}": digit_judge.ceiling(split),
            f"place{suffix}": places_judge.accuracy(pictures, data.places),
            f"place_ceiling{suffix}": places_judge.ceiling(split),
            f"place_error{suffix}": places_judge.error(pictures, data.places),
            f"place_error_real{suffix}": places_judge.error(data.images, data.places),
            f"diversity{suffix}": diversity_ratio(pictures, pairs, data.images, pairs),
        }
    return figures


GATES = (
    Gate("digit", at_least=0.95, baseline="digit_chance", ceiling="digit_ceiling"),
    Gate("place", at_least=0.95, baseline="place_chance", ceiling="place_ceiling"),
    Gate("diversity", at_least=0.75, at_most=1.2),
    Gate("digit_compositional", at_least=0.8, baseline="digit_chance", ceiling="digit_ceiling_compositional"),
    Gate("place_compositional", at_least=0.95, baseline="place_chance", ceiling="place_ceiling_compositional"),
)
ABLATIONS = {
    "no guidance": Ablation(Config(guidance=1.0), "digit", higher_by=0.03),
    "one code for digit and place": Ablation(Config(moved=False), "digit_compositional", higher_by=0.5),
}
LEAKS = KNOWN_WORDS | SEEN


BRIEF = Config(channels=16, steps=360)  # for the demo: places are learned, digits not yet well


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show pictures coming out of noise (left) and what the guidance scale does to one row of noise (right)."""
    model = train(config, device=device, progress=False)
    captions = [motion.caption(digit, motion.PLACES[digit % 4], template=4) for digit in range(motion.DIGITS)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    path: list[Tensor] = []
    convert(model, captions[:8], path=path)
    show_grid(left, torch.stack(path[::8] + path[-1:], 1).flatten(0, 1), columns=6, title="From noise: a row per caption")
    scales = (0.0, 1.0, 2.0, 4.0)
    drawn = torch.cat([convert(model, captions, guidance=scale) for scale in scales])
    show_grid(right, drawn, columns=10, title=f"Digits 0 to 9 with a guidance scale of {', '.join(f'{s:g}' for s in scales)}")
    return figure
