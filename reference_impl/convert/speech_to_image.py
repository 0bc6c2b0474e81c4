r"""
# Speech to image

"Three left" is heard, and a handwritten three appears on the left, every time another one. An **encoder** turns the sound into an
embedding e; a **generator** turns noise and the embedding into an image, $x = G(z, e)$; and a **discriminator** $D(x, e)$ says whether
an image is real *and* belongs to what was said. There is no class here, only a vector, and a conditional GAN must make sure of three
things: that the condition is used, that its parts can be put together anew, and that nothing else of it gets through.

**Used.** The **projection discriminator** takes the condition in through an inner product with the features of the image. If both
$\log\frac{p(x)}{q(x)}$ and $\log\frac{p(e \mid x)}{q(e \mid x)}$ are linear in features $\phi(x)$ of it, the second in $e$ as well, the best
score is

$$D(x, e) = \psi^\top \phi(x) + (V e)^\top \phi(x)$$

so an image is multiplied with its condition from the first step on. If e is only concatenated, a network has to discover that product,
and real data shows it no wrong pair: each image comes with its own phrase. **Mismatched pairs**, a real image with what was said of
another, are the wrong pairs that the data lacks. They count as fakes, beside those of the generator:

$$L_D = \mathbb E\,[1 - D(x, e)]_+ + \tfrac12\, \mathbb E\,[1 + D(G(z, e), e)]_+ + \tfrac12\, \mathbb E\,[1 + D(x, e')]_+, \qquad
L_G = -\,\mathbb E\, D(G(z, e), e)$$

In the generator noise and condition enter at every layer, as gain and bias of a **conditional batch norm**.

**Put together anew.** Four of the forty phrases occur in no training image. The embedding has two halves, $e_d$ for the digit and $e_p$ for
the place, and the generator uses each for one thing only: it **draws in the middle, then moves**,

$$G(z, e)(q) = g(z, e_d)\big(q - s(e_p)\big)$$

where q is a pixel, $g$ draws from noise and the digit's half, and $s$, a small head, says how many pixels right and down. The
picture is sampled between pixels, so $s$ learns from the score alone; nobody tells it where "left" is. Around the middle $g$ is 0, or else it could
do without the move. A seven that was drawn for three places
is then right at the fourth. A generator that sees the whole embedding everywhere has to learn each pair.

**Nothing else.** An utterance also has a voice. What of it the embedding lets through, the generator may learn to draw from, and a new
voice is then a place where it has never been. A linear **probe** measures that leak. The encoder is trained with two auxiliary
classifiers, of digit and place; noise is added to the embedding, there and in the game, so that points nearby have to mean the same.

What we sample from is an **exponential moving average** of the generator. Started at the first weights, it remembers them for long:
after t steps their share is $\beta^t$. Divided out, as Adam does for its moments, the step of the average is
$(1 - \beta) / (1 - \beta^t)$: all of the new weights at first, $1 - \beta$ in the end.

**Asked in interviews.** How does a discriminator find out that a sharp image is the wrong one? Concatenation, auxiliary classifier or
projection? What are mismatched pairs for? Why does a network that has seen a seven at three places fail at the fourth? How do you measure
whether the condition is used, and what else it gives away? Why is a young moving average wrong?

**Sources.** Miyato and Koyama, *cGANs with Projection Discriminator* (2018), section 3 and eq. 3; Reed et al., *Generative Adversarial
Text to Image Synthesis* (2016), section 4.2 (mismatched pairs); Lim and Ye, *Geometric GAN* (2017); Dumoulin et al., *A Learned
Representation for Artistic Style* (2017); Kingma and Ba, *Adam* (2015), section 3; Alain and Bengio, *Understanding Intermediate
Layers Using Linear Classifier Probes* (2017); Zhang et al., *StackGAN* (2017), section 3.2 (noise on the condition); Jaderberg et al.,
*Spatial Transformer Networks* (2015), eq. 5 (a picture moved by a learned amount).

**In this course.** [Question](../../questions/convert/speech_to_image.md) · [exercise](../../notebooks/convert/speech_to_image.ipynb) ·
[solution](../../solutions/convert/speech_to_image.ipynb)
"""

import copy
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from reference_impl.convert.image_to_video import warp
from reference_impl.convert.speech_to_text import audible, normalise
from reference_impl.convert.text_to_speech import MELS, Block, log_mel, play
from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.image.gan import ema_update, generator_loss, make_optimizer
from reference_impl.judges import diversity_ratio, motion_digit_judge, place_judge
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import LENGTH, SEEN


@dataclass(frozen=True)
class Config:
    """embedding, latent, hidden (of the encoder) and channels are widths. noise: the deviation of what is added to embeddings, which
    have deviation 1. moved: whether the generator draws in the middle and then moves the picture, or draws in place from one code for
    both. separate: whether what it then moves is drawn from the digit's half alone, or from the whole embedding. condition: how the
    discriminator takes the embedding in, `projection`, `concatenation` or `none`; mismatched: whether it sees mismatched pairs. The rest
    drives `train`."""

    embedding: int = 32
    latent: int = 32
    hidden: int = 64
    channels: int = 16
    noise: float = 0.7
    moved: bool = True
    separate: bool = True
    condition: str = "projection"
    mismatched: bool = True
    encoder_steps: int = 250
    encoder_rate: float = 3e-3
    steps: int = 1000
    batch_size: int = 64
    generator_rate: float = 1e-3
    discriminator_rate: float = 2e-3
    ema_decay: float = 0.99


# --- speech ---


class Encoder(nn.Module):
    """Log-mels to embeddings of two halves, each of mean 0 and variance 1 over its own numbers. A classifier reads the digit off the
    first half, another the place off the second: what each half is about is set by what is asked of it."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, E = config.hidden, config.embedding
        self.input = nn.Conv1d(MELS, C, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(Block(C, 0.1) for _ in range(3))
        self.output = nn.Linear(C, E)
        self.digits, self.places = nn.Linear(E // 2, motion.DIGITS), nn.Linear(E // 2, len(motion.PLACES))

    def forward(self, mels: Float[Tensor, "B M T"], frames: Int[Tensor, " B"]) -> Float[Tensor, "B E"]:
        """The embedding: each channel's maximum over the moments with sound, so it is about *what* is heard, not when."""
        x = self.input(mels).transpose(1, 2)  # (B, T / 2, C)
        mask = torch.arange(x.shape[1], device=x.device) < (frames[:, None] + 1) // 2
        for block in self.blocks:
            x = block(x, mask)
        halves = self.output(x.masked_fill(~mask.unsqueeze(2), -torch.inf).amax(1)).unflatten(1, (2, -1))  # (B, 2, E / 2)
        return F.layer_norm(halves, halves.shape[2:]).flatten(1)

    def classify(self, embedding: Float[Tensor, "B E"]) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B P"]]:
        """Logits of the digits, and of the places."""
        digit, place = embedding.chunk(2, dim=1)
        return self.digits(digit), self.places(place)


def probe(
    train_x: Float[Tensor, "N E"], train_y: Int[Tensor, " N"], test_x: Float[Tensor, "M E"], test_y: Int[Tensor, " M"],
    ridge: float = 1.0,
) -> float:  # fmt: skip
    """How well a linear map reads a label off an embedding: its accuracy on `test`, learnt on `train` by ridge regression.

    The targets are one-hot rows. The bias is not penalised: of centred features it is the mean of the targets. The class
    with the largest value is what it reads. Alain and Bengio (2017), with least squares for their softmax.
    """
    targets = F.one_hot(train_y).to(train_x.dtype)  # (N, K)
    mean, prior = train_x.mean(0), targets.mean(0)
    x = train_x - mean
    gram = x.T @ x  # (E, E)
    gram.diagonal().add_(ridge)
    weight = torch.linalg.solve(gram, x.T @ targets)  # (E, K)
    read = ((test_x - mean) @ weight + prior).argmax(1)
    return (read == test_y).double().mean().item()


# --- the game ---


class ConditionalBatchNorm(nn.Module):
    """Batch norm whose gain and bias come from the condition. De Vries et al. (2017); Dumoulin et al. (2017)."""

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = nn.Linear(embedding, channels), nn.Linear(embedding, channels)

    def forward(self, x: Float[Tensor, "B C H W"], conditions: Float[Tensor, "B E"]) -> Float[Tensor, "B C H W"]:
        """Each channel, normalised by `norm`, times 1 + gain(e), plus bias(e): the same at every pixel, another for every item."""
        gain, bias = 1 + self.gain(conditions), self.bias(conditions)  # (B, C)
        return gain[:, :, None, None] * self.norm(x) + bias[:, :, None, None]


def told(embeddings: Float[Tensor, "B E"], config: Config) -> Float[Tensor, "B K"]:
    """What the generator is given of them: all, K = E. Unless `separate`, for the ablation, in a row twice as long: its first half, which
    draws, is the whole embedding, and its second, which moves, has the place's half alone, behind zeros."""
    if config.separate:
        return embeddings
    digit, place = embeddings.chunk(2, dim=1)  # (B, E / 2) each
    return torch.cat([digit, place, torch.zeros_like(digit), place], dim=1)  # (B, 2E)


class Generator(nn.Module):
    """From noise and an embedding to a 24×24 image: drawn in the middle by what is said of the digit, then moved by what is said of the
    place. Without `moved`, the ablation, the whole embedding draws, and in place.

    `window` is 1 in the middle, as wide as a digit, and 0 around it. With ink all over the canvas a move could slide out of sight what
    is too much, and bring the digit of another place in."""

    window: Float[Tensor, "24 24"]

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, half = config.channels, config.embedding // (2 if config.separate else 1)  # half of what it is `told`
        self.moved = config.moved
        inputs = config.latent + (half if config.moved else 2 * half)
        self.input = nn.Linear(inputs, 36 * 4 * C)
        self.norms = nn.ModuleList(ConditionalBatchNorm(width, inputs) for width in (4 * C, 2 * C))
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1) for before, after in ((4 * C, 2 * C), (2 * C, 1))
        )
        self.head = nn.Sequential(nn.Linear(half, 32), nn.ReLU(), nn.Linear(32, 2))
        edge = int(motion.REACH)  # so far a digit can move
        middle = torch.ones(motion.SIZE - 2 * edge, motion.SIZE - 2 * edge)
        self.register_buffer("window", F.pad(middle, (edge,) * 4), persistent=False)

    def draw(self, noise: Float[Tensor, "B D"], codes: Float[Tensor, "B K"]) -> Float[Tensor, "B 1 24 24"]:
        """Pictures with ink in (0, 1); the size doubles twice. Noise and code also set every norm, as in BigGAN (Brock et al., 2019)."""
        both = torch.cat([noise, codes], dim=1)
        x = self.input(both).unflatten(1, (-1, 6, 6))  # (B, 4C, 6, 6)
        for norm, up in zip(self.norms, self.ups, strict=True):
            x = up(F.relu(norm(x, both)))
        return torch.sigmoid(x).to(noise.dtype)

    def shift(self, codes: Float[Tensor, "B K"]) -> Float[Tensor, "B 2"]:
        """How far to move, in pixels to the right and down, in the dtype of `codes`: under autocast bfloat16 would be too coarse.

        The head says it in halves of a picture, as a spatial transformer does: at the rate of the weights it would hardly move in pixels.
        """
        return motion.SIZE / 2 * self.head(codes).to(codes.dtype)

    def forward(self, noise: Float[Tensor, "B D"], conditions: Float[Tensor, "B E"]) -> Float[Tensor, "B 1 24 24"]:
        """Images with ink in [0, 1].

        With `moved`, `draw` is given the noise and the first half of the embedding, that of the digit. What it draws in the `window` is
        moved right and down by the `shift` that the second half asks for, between pixels if need be; from outside comes no ink. `warp`
        looks backward. Otherwise `draw` is given the whole embedding; there is no window, and nothing is moved.
        """
        if not self.moved:
            return self.draw(noise, conditions)
        digit, place = conditions.chunk(2, dim=1)  # (B, E / 2) each
        pictures = self.window * self.draw(noise, digit)  # (B, 1, 24, 24), in the middle
        flow = -self.shift(place)[:, :, None, None]  # (B, 2, 1, 1): where to look is where it came from
        return warp(pictures, flow.expand(-1, -1, *pictures.shape[2:]))


class Discriminator(nn.Module):
    """Scores images given an embedding, with spectral norm on every weight. `head` serves only `concatenation`, the ablation."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, E, width = config.channels, config.embedding, 36 * config.channels
        self.condition = config.condition
        self.features = nn.Sequential(
            spectral_norm(nn.Conv2d(1, C, 4, stride=2, padding=1)), nn.LeakyReLU(0.1),  # (B, C, 12, 12)
            spectral_norm(nn.Conv2d(C, 2 * C, 4, stride=2, padding=1)), nn.LeakyReLU(0.1),  # (B, 2C, 6, 6)
            spectral_norm(nn.Conv2d(2 * C, 4 * C, 4, stride=2, padding=1)), nn.LeakyReLU(0.1),  # (B, 4C, 3, 3)
            nn.Flatten(),  # (B, 36C)
        )  # fmt: skip
        self.realness = spectral_norm(nn.Linear(width, 1, bias=False))
        self.project = spectral_norm(nn.Linear(E, width, bias=False))
        self.head = nn.Sequential(
            spectral_norm(nn.Linear(width + E, 128)), nn.LeakyReLU(0.1), spectral_norm(nn.Linear(128, 1))
        )  # fmt: skip

    def forward(self, images: Float[Tensor, "B 1 24 24"], conditions: Float[Tensor, "B E"]) -> Float[Tensor, " B"]:
        r"""A score per pair. With φ = `features` of 2 · images − 1:

        - `projection`: $\psi^\top \phi + (V e)^\top \phi$, where ψ is `realness` and V is `project`. Miyato and Koyama (2018), eq. 3;
        - `concatenation`: `head` of φ followed by the embedding;
        - `none`: $\psi^\top \phi$; the condition is not looked at.
        """
        features = self.features(2 * images - 1)  # (B, 36C)
        if self.condition == "concatenation":
            return self.head(torch.cat([features, conditions], dim=1)).squeeze(1)
        scores = self.realness(features).squeeze(1)
        return scores + (self.project(conditions) * features).sum(dim=1) if self.condition == "projection" else scores


def mismatch(classes: Int[Tensor, " B"], noise: Float[Tensor, "B B"]) -> Int[Tensor, " B"]:
    """For each item another one that is of another class: in its row of `noise`, the largest among those allowed.

    With independent noise each of them is equally likely. Raises ValueError if all items are of one class.
    """
    if (classes == classes[0]).all():
        raise ValueError(f"all {len(classes)} items are of the same class: nothing to mismatch them with")
    return noise.masked_fill(classes[:, None] == classes, -torch.inf).argmax(dim=1)


def discriminator_loss(
    real: Float[Tensor, " B"], fake: Float[Tensor, " N"], mismatched: Float[Tensor, " M"] | None = None
) -> Float[Tensor, ""]:
    """Hinge loss: scores of real pairs belong above 1, those of fakes below -1; so do those of mismatched pairs, where there are any.

    Each kind is averaged by itself. Fakes and mismatched pairs then share the weight of the fakes, half each, so that the
    loss is 2 where no difference is seen, with or without them. Lim and Ye (2017); Reed et al. (2016), algorithm 1.
    """
    wrong = F.relu(1 + fake).mean()
    if mismatched is not None:
        wrong = (wrong + F.relu(1 + mismatched).mean()) / 2
    return F.relu(1 - real).mean() + wrong


def ema_weight(decay: float, step: int) -> float:
    r"""How much of the new weights an average takes in at `step` (1, 2, …): $(1 - \beta) / (1 - \beta^t)$.

    So, after t steps, the weights of step s count $\beta^{t-s} (1 - \beta) / (1 - \beta^t)$, which sums to 1: nothing is left of what the
    average was before. With a decay of 1 it is the plain mean, 1 / t. Raises ValueError unless 0 ≤ decay ≤ 1 and step ≥ 1.
    Kingma and Ba (2015), section 3.
    """
    if not 0 <= decay <= 1 or step < 1:
        raise ValueError(f"expected a decay in [0, 1] and a step from 1, got {decay} and {step}")
    return 1 / step if decay == 1 else (1 - decay) / (1 - decay**step)


class SpeechToImage(nn.Module):
    """What is kept: the encoder, and the averaged generator."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.generator = Encoder(config), Generator(config)

    def embed(self, waveforms: Float[Tensor, "N S"]) -> Float[Tensor, "N E"]:
        """The embedding of each waveform (8 kHz), on the model's device. Raises ValueError for one in which nothing is heard, and for what
        `motion.check_waveforms` refuses."""
        frames = audible(motion.check_waveforms(waveforms))
        if not frames.all():
            silent = int((frames == 0).nonzero()[0])
            raise ValueError(f"waveform {silent} is silent: expected speech at {motion.RATE} Hz in [-1, 1]")
        waveforms = F.pad(waveforms.float(), (0, -waveforms.shape[1] % 256))  # an even number of frames
        device = self.encoder.input.weight.device
        return self.encoder(normalise(log_mel(waveforms), frames).to(device), frames.to(device))


def train_encoder(
    encoder: Encoder, config: Config, bank: motion.Speech, generator: torch.Generator, precision: str, progress: bool
) -> None:
    """Train it in place to tell digit and place, through an embedding to which noise is added."""
    device = encoder.input.weight.device
    frames = audible(bank.waveforms)
    mels = normalise(log_mel(bank.waveforms), frames)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=config.encoder_rate, weight_decay=1e-2)
    schedule = one_cycle(optimizer, config.encoder_rate, config.encoder_steps)
    steps = batches(len(bank), 32, config.encoder_steps, generator)
    for batch in track(steps, total=config.encoder_steps, description="Encoder", show=progress):
        x, length, digits, places = (tensor[batch].to(device) for tensor in (mels, frames, bank.digits, bank.places))
        noise = torch.randn(len(batch), config.embedding, generator=generator).to(device)
        with autocast(device, precision):
            embedding = encoder(x, length) + config.noise * noise
            digit_logits, place_logits = encoder.classify(embedding)
        loss = F.cross_entropy(digit_logits.float(), digits) + F.cross_entropy(place_logits.float(), places)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> SpeechToImage:
    """Train the encoder, then the game on its embeddings; return the model with the averaged generator in evaluation mode, on `device`.

    The encoder stands still during the game: what the generator gains from it, it must not gain by hiding the image in it.
    precision: `float32` or `bfloat16` (autocast). compile: use `torch.compile`.
    """
    device, random = resolve_device(device), seed_everything(seed)
    data = motion.load("train")
    classes = data.digits * len(motion.PLACES) + data.places
    model = SpeechToImage(config).to(device).train()
    train_encoder(maybe_compile(model.encoder, compile), config, data.speech, random, precision, progress)
    with torch.no_grad():
        embeddings = model.eval().embed(data.speech.waveforms)  # (U, E)
    averaged, generator = model.generator, copy.deepcopy(model.generator).train()
    discriminator = Discriminator(config).to(device).train()
    generator, discriminator = maybe_compile(generator, compile), maybe_compile(discriminator, compile)
    optimizers = make_optimizer(generator, config.generator_rate), make_optimizer(discriminator, config.discriminator_rate)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / config.steps)))
        for optimizer in optimizers
    ]
    steps = batches(len(data), config.batch_size, config.steps, random)
    for step, batch in enumerate(track(steps, total=config.steps, description="GAN", show=progress), start=1):
        B = len(batch)
        x, heard = data.images[batch].to(device), embeddings[data.utterances[batch].to(device)]
        e = heard + config.noise * torch.randn(B, config.embedding, generator=random).to(device)
        z = torch.randn(2, B, config.latent, generator=random).to(device)
        other = mismatch(classes[batch], torch.rand(B, B, generator=random)).to(device)

        with torch.no_grad(), autocast(device, precision):
            fakes = generator(z[0], told(e, config))
        kinds = 3 if config.mismatched else 2  # real, fake, mismatched
        images, conditions = torch.cat([x, fakes, x][:kinds]), torch.cat([e, e, e[other]][:kinds])
        with autocast(device, precision):
            scores = discriminator(images, conditions)
        optimizers[1].zero_grad()
        discriminator_loss(*scores.float().chunk(kinds)).backward()
        optimizers[1].step()

        discriminator.requires_grad_(False)
        with autocast(device, precision):
            scores = discriminator(generator(z[1], told(e, config)), e)
        optimizers[0].zero_grad()
        generator_loss(scores.float()).backward()
        optimizers[0].step()
        discriminator.requires_grad_(True)

        ema_update(averaged, generator, 1 - ema_weight(config.ema_decay, step))
        for schedule in schedules:
            schedule.step()
    return model


@torch.no_grad()
def imagine(model: SpeechToImage, embeddings: Float[Tensor, "N E"], seed: int) -> Float[Tensor, "N 1 24 24"]:
    """An image (ink in [0, 1]) for each embedding, with noise drawn from `seed`."""
    noise = torch.randn(len(embeddings), model.config.latent, generator=torch.Generator().manual_seed(seed))
    return model.generator(noise.to(embeddings), told(embeddings, model.config)).clamp(0, 1)


def convert(model: SpeechToImage, waveforms: Float[Tensor, "N S"], *, seed: int = 0) -> Float[Tensor, "N 1 24 24"]:
    """An image (ink in [0, 1]) of what is said in each waveform (8 kHz). Raises ValueError for a silent one."""
    return imagine(model, model.embed(waveforms), seed)


@torch.no_grad()
def class_means(model: SpeechToImage, digits: Int[Tensor, " N"], places: Int[Tensor, " N"]) -> Float[Tensor, "N E"]:
    """Embeddings that hold a class and nothing more: in each half the mean over the training utterances of that digit, or that place."""
    bank = motion.speech("train")
    halves = model.embed(bank.waveforms).chunk(2, dim=1)
    means = [
        torch.stack([half[said == k].mean(0) for k in range(int(said.max()) + 1)])
        for half, said in zip(halves, (bank.digits, bank.places), strict=True)
    ]  # (10, E / 2) and (4, E / 2)
    return torch.cat([means[0][digits], means[1][places]], dim=1)


def change(images: Float[Tensor, "N 1 H W"], others: Float[Tensor, "N 1 H W"]) -> float:
    """Root mean square of the difference of two pixels that correspond, in ink."""
    return (images - others).square().mean().sqrt().item()


@torch.no_grad()
def evaluate(model: SpeechToImage, *, seed: int = 0) -> dict[str, float]:
    """Is the digit that was said at the place that was said, in voices never heard (`test`), also in pairs never seen (`compositional`)?

    Beside it: how varied the images of a pair are, relative to real ones; what the encoder's own classifiers hear; what is drawn of
    `class_means` (`_class`), and by how much a pixel changes then (`change_class`) or by other noise (`change_noise`); and the leaks that
    a `probe` finds in what the game was played with, noise and all: how well the voice is read off the embedding, in phrases that it was not shown (`voice_leak`), and in
    voices that it was not shown, the place off the half of the digit (`place_leak`) and the other way round (`digit_leak`).
    """
    figures = {
        "digit_chance": 1 / motion.DIGITS,
        "place_chance": 1 / len(motion.PLACES),
        "voice_chance": 1 / len(motion.SEEN_VOICES),
    }
    for split, suffix in (("test", ""), ("compositional", "_compositional")):
        data = motion.load(split)
        images = convert(model, data.waveforms, seed=seed)
        classes = data.digits * len(motion.PLACES) + data.places
        digit_logits, place_logits = (logits.cpu() for logits in model.encoder.classify(model.embed(data.speech.waveforms)))
        figures |= {
            "digit_accuracy" + suffix: motion_digit_judge().accuracy(images, data.digits),
            "place_accuracy" + suffix: place_judge().accuracy(images, data.places),
            "digit_ceiling" + suffix: motion_digit_judge().ceiling(split),
            "place_ceiling" + suffix: place_judge().ceiling(split),
            "place_error" + suffix: place_judge().error(images, data.places),  # in pixels
            "place_error_real" + suffix: place_judge().error(data.images, data.places),
            "diversity" + suffix: diversity_ratio(images, classes, data.images, classes),
            "digit_heard" + suffix: (digit_logits.argmax(1) == data.speech.digits).double().mean().item(),
            "place_heard" + suffix: (place_logits.argmax(1) == data.speech.places).double().mean().item(),
        }
    data = motion.load("test")
    images = convert(model, data.waveforms, seed=seed)
    of_means = imagine(model, class_means(model, data.digits, data.places), seed)
    figures |= {
        "digit_accuracy_class": motion_digit_judge().accuracy(of_means, data.digits),
        "place_accuracy_class": place_judge().accuracy(of_means, data.places),
        "change_class": change(images, of_means),
        "change_noise": change(images, convert(model, data.waveforms, seed=seed + 1)),
    }
    bank, others = motion.speech("train"), motion.speech("test")
    random = torch.Generator().manual_seed(seed)
    clean = (model.embed(speech.waveforms).cpu().double() for speech in (bank, others))
    seen, unseen = (e + model.config.noise * torch.randn(e.shape, generator=random, dtype=e.dtype) for e in clean)
    shown = (bank.digits + bank.places) % 2 == 0
    half = seen.shape[1] // 2
    return figures | {
        "voice_leak": probe(seen[shown], bank.voices[shown], seen[~shown], bank.voices[~shown]),
        "place_leak": probe(seen[:, :half], bank.places, unseen[:, :half], others.places),
        "digit_leak": probe(seen[:, half:], bank.digits, unseen[:, half:], others.digits),
    }


GATES = (
    Gate("digit_accuracy", at_least=0.9, baseline="digit_chance", ceiling="digit_ceiling"),
    Gate("place_accuracy", at_least=0.9, baseline="place_chance", ceiling="place_ceiling"),
    Gate("digit_accuracy_compositional", at_least=0.8, baseline="digit_chance", ceiling="digit_ceiling_compositional"),
    Gate("place_accuracy_compositional", at_least=0.8, baseline="place_chance", ceiling="place_ceiling_compositional"),
)
ABLATIONS = {
    "a discriminator that is not told the condition": Ablation(Config(condition="none"), "digit_accuracy", higher_by=0.5),
    "one code for digit and place": Ablation(Config(moved=False), "digit_accuracy_compositional", higher_by=0.5),
    "one code, then moved": Ablation(Config(separate=False), "digit_accuracy_compositional", higher_by=0.5),
}
LEAKS = LENGTH | SEEN


BRIEF = Config(channels=8, encoder_steps=120, steps=230, generator_rate=2e-3, discriminator_rate=4e-3, ema_decay=0.98)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; all forty phrases in a voice never heard (left; four of them were never said in training), and four phrases
    with the noise drawn anew (right)."""
    model = train(config, device=device, progress=False)
    said: dict[str, Tensor] = {}
    for split in ("test", "compositional"):
        bank = motion.speech(split)
        said |= dict(zip(reversed(bank.phrases), bank.waveforms.flip(0), strict=True))  # the first voice
    every = [motion.phrase(digit, place) for place in motion.PLACES for digit in range(motion.DIGITS)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.5), width_ratios=(10, 8), layout="constrained")
    show_grid(
        left,
        convert(model, torch.stack([said[phrase] for phrase in every])),
        columns=10,
        title="A column per digit, a row per place",
    )
    chosen = ("three left", "seven bottom", "five right", "zero top")
    again = torch.stack([said[phrase] for phrase in chosen]).repeat_interleave(8, dim=0)
    show_grid(right, convert(model, again, seed=1), columns=8, title=", ".join(chosen) + ": eight times each")
    for phrase in chosen:
        play(said[phrase], phrase)
    return figure
