r"""
# Image to speech

A picture of a three on the left in, a voice that says "three left" out. The picture says *what* is to be heard but not by *whom*, so there is no
one right answer: a network that has to give one gives the average of all voices. A **conditional VAE** keeps what the picture leaves open
in a latent z. In training the **posterior** looks at the answer, $q_\phi(z \mid x, c)$ for a log-mel x and the embedding c of its picture; when it
is used, z comes from the **prior** $p(z \mid c)$, here $\mathcal N(0, I)$: draw another z, hear another voice.

$$\log p_\theta(x \mid c) \;\ge\; \mathbb E_{q_\phi(z \mid x, c)} \log p_\theta(x \mid z, c) \;-\; \beta \, D_{\mathrm{KL}}\big(q_\phi(z \mid x, c) \,\|\, p(z \mid c)\big)$$

Two things can go wrong, on either side of one weight. If the KL is too strong, z carries nothing: **posterior collapse**, one voice for
all. If it is too weak, z carries *everything*, the digit and the place as well, since the posterior can read them in the
mel more easily than the image encoder can read handwriting. Reconstructions are then perfect, and a z from the prior says whatever digit it happens
to lie at: the **latent steals the class** and the picture is ignored. What one needs is a narrow channel: a heavy KL, a small
latent, and **free bits**, λ nats that each latent dimension may carry without a charge,

$$\sum_j \max\big(\lambda,\; \mathbb E_x\, D_{\mathrm{KL}}(q_\phi(z_j \mid x, c) \,\|\, p(z_j \mid c))\big)$$

so that z keeps the voice and nothing else. A linear **probe** that tries to read digit, place and voice out of z says whether it does.

**Asked in interviews.** What is conditional about a conditional VAE, and what may the prior see? How do you notice that the latent carries what the
condition should? What are free bits, and why is the maximum taken outside of the mean? How strong is the KL if both terms are averaged?

**Sources.** Sohn et al., *Learning Structured Output Representation using Deep Conditional Generative Models* (2015), eq. 4; Kingma et al., *Improving
Variational Inference with Inverse Autoregressive Flow* (2016), the objective with free bits; Higgins et al., *β-VAE* (2017), eq. 4; Alain and
Bengio, *Understanding Intermediate Layers Using Linear Classifier Probes* (2016).

**In this course.** [Question](../../questions/convert/image_to_speech.md) · [exercise](../../notebooks/convert/image_to_speech.ipynb) ·
[solution](../../solutions/convert/image_to_speech.ipynb)
"""

import contextlib
import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.convert.text_to_speech import DEVIATION, FLOOR, HOP, MEAN, MELS, log_mel, play, vocode
from reference_impl.data import digits_in_motion as motion
from reference_impl.experiments import Ablation
from reference_impl.judges import diversity_ratio, sphinx_judge, spoken_digit_judge, spoken_place_judge
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.shortcuts import SEEN

T = motion.SAMPLES // HOP  # frames of a log-mel: 64


def reparameterize(
    mu: Float[Tensor, "B D"], logvar: Float[Tensor, "B D"], noise: Float[Tensor, "B D"], temperature: float = 1.0
) -> Float[Tensor, "B D"]:
    r"""A sample of $\mathcal N(\mu, (\tau \sigma)^2)$, moved and stretched from `noise` of $\mathcal N(0, I)$, so that gradients pass.

    `logvar` is $\log \sigma^2$. The temperature τ is 1 in training; below it, samples are safer and less varied, and at 0 they are the
    mean. Raises ValueError for a negative one. Kingma and Welling (2014), section 2.4.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 (the mean) or more (1 is the distribution itself), got {temperature}")
    return mu + temperature * torch.exp(0.5 * logvar) * noise


def gaussian_kl(
    mu: Float[Tensor, "B D"],
    logvar: Float[Tensor, "B D"],
    prior_mu: Float[Tensor, "B D"],
    prior_logvar: Float[Tensor, "B D"],
) -> Float[Tensor, "B D"]:
    r"""$D_{\mathrm{KL}}(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(\mu_p, \sigma_p^2))$ of each item and each latent dimension, in nats.

    $$\tfrac12 \left( \frac{\sigma^2 + (\mu - \mu_p)^2}{\sigma_p^2} - 1 - \log \frac{\sigma^2}{\sigma_p^2} \right)$$
    """
    log_ratio = logvar - prior_logvar
    return 0.5 * (log_ratio.exp() + (mu - prior_mu).square() * torch.exp(-prior_logvar) - 1 - log_ratio)


def free_bits(kl: Float[Tensor, "B D"], least: float) -> Float[Tensor, ""]:
    r"""What the latent costs, in nats an item: each dimension its mean KL over the batch, but at least `least`; their sum.

    $\sum_j \max(\lambda, \tfrac1B \sum_b D_{bj})$. A dimension below λ has no gradient, so it may fill up to λ nats for nothing.
    Kingma et al. (2016), the objective with free bits.
    """
    return kl.mean(dim=0).clamp(min=least).sum()


def negative_elbo(
    predicted: Float[Tensor, "B M T"],
    mels: Float[Tensor, "B M T"],
    kl: Float[Tensor, "B D"],
    *,
    beta: float = 1.0,
    least: float = 0.0,
) -> Float[Tensor, ""]:
    r"""The loss, in nats an item, mean over the batch: ½ of the squared error *summed* over an item's bands and frames, plus β `free_bits`.

    The first term is $-\log p(x \mid z, c)$ of a Gaussian of unit variance around `predicted`, without its constant. With β it
    is as if the variance were β: only how the two terms compare matters. Higgins et al. (2017), eq. 4.
    """
    squared = F.mse_loss(predicted, mels, reduction="sum") / len(mels)
    return 0.5 * squared + beta * free_bits(kl, least)


def linear_probe(
    features: Float[Tensor, "N D"], labels: Int[Tensor, " N"], held_out: Float[Tensor, "M D"], classes: int, ridge: float = 1e-3
) -> Float[Tensor, "M K"]:
    r"""What a linear map can read of the class (K = `classes`) in `features`: its scores for features it has not seen.

    Both are standardised by mean and deviation (n, not n - 1) of `features`; a feature that hardly varies there, by at most 1e-6, counts
    as 0. W is fitted to one-hot labels Y less their mean, $\min_W \tfrac1N \lVert X W - (Y - \bar y) \rVert^2 + \rho \lVert W \rVert^2$ with
    ρ = `ridge`, and the scores are $X' W + \bar y$. Alain and Bengio (2016), section 3, with least squares for the logistic loss.
    """
    deviation, mean = torch.std_mean(features, dim=0, correction=0)
    scale = torch.where(deviation > 1e-6, deviation, torch.inf)
    x, unseen = (features - mean) / scale, (held_out - mean) / scale
    onehot = F.one_hot(labels, classes).to(x.dtype)  # (N, K)
    covariance = x.T @ x / len(x)  # (D, D)
    covariance.diagonal().add_(ridge)
    weights = torch.linalg.solve(covariance, x.T @ onehot / len(x))  # (D, K); the columns of x add up to 0, so the mean may stay
    return unseen @ weights + onehot.mean(dim=0)


@dataclass(frozen=True)
class Config:
    """latent, channels and condition are widths; beta weighs the KL and `least` is free of it, in nats a dimension; the rest drive `train`.

    learned_prior: p(z | c) is a Gaussian computed from the condition, not the same N(0, I) for every picture.
    """

    latent: int = 4
    channels: int = 96
    condition: int = 64
    beta: float = 30.0
    least: float = 0.6
    learned_prior: bool = False
    steps: int = 1200
    batch_size: int = 32
    learning_rate: float = 2e-3


WINDOW = 14  # pixels on each side of what the image encoder looks at: a digit is 12 wide, and a little blurred


def glimpse(images: Float[Tensor, "B 1 H W"]) -> tuple[Float[Tensor, "B 1 14 14"], Float[Tensor, "B 2"]]:
    """What is drawn, cut out around the centre of the ink, and where that centre is: right and down, each in [-1, 1]."""
    B, _, H, W = images.shape
    mass = images.sum(dim=(1, 2, 3)).clamp(min=1e-6)
    across, down = ((torch.arange(n, device=images.device) + 0.5) * 2 / n - 1 for n in (W, H))
    x, y = images.sum(dim=(1, 2)) @ across / mass, images.sum(dim=(1, 3)) @ down / mass  # (B,) each
    offset = torch.arange(WINDOW, device=images.device) + 0.5 - WINDOW / 2  # pixels
    columns, rows = x[:, None, None] + offset * 2 / W, y[:, None, None] + offset[:, None] * 2 / H
    grid = torch.stack([columns.expand(B, WINDOW, WINDOW), rows.expand(B, WINDOW, WINDOW)], dim=3)
    return F.grid_sample(images, grid, align_corners=False), torch.stack([x, y], dim=1)


class ImageEncoder(nn.Module):
    """The condition c: an embedding of what is shown, blind to where, and then where. So a digit is known at a place it never had."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.what = nn.Sequential(
            nn.Conv2d(1, 24, 3, padding=1), nn.GroupNorm(4, 24), nn.SiLU(), nn.MaxPool2d(2),  # (B, 24, 7, 7)
            nn.Conv2d(24, 48, 3, padding=1), nn.GroupNorm(4, 48), nn.SiLU(), nn.MaxPool2d(2),  # (B, 48, 3, 3)
            nn.Flatten(), nn.Dropout(0.1), nn.Linear(432, width - 2),
        )  # fmt: skip

    def forward(self, images: Float[Tensor, "B 1 24 24"]) -> Float[Tensor, "B E"]:
        cut, centre = glimpse(images)
        return torch.cat([self.what(cut), 4 * centre], dim=1)  # a place is 0.44 from the middle: bring it to unit size


class Upsample(nn.Module):
    """Twice as many frames, then a residual convolution over time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.grow = nn.Sequential(
            nn.GroupNorm(8, channels), nn.SiLU(), nn.ConvTranspose1d(channels, channels, 4, stride=2, padding=1)
        )
        self.refine = nn.Sequential(nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv1d(channels, channels, 3, padding=1))

    def forward(self, x: Float[Tensor, "B C S"]) -> Float[Tensor, "B C 2*S"]:
        x = self.grow(x)
        return x + self.refine(x)


class ImageToSpeech(nn.Module):
    """A conditional VAE: an image encoder for the condition, a posterior of log-mels, and a decoder of both."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, D, E = config.channels, config.latent, config.condition
        self.config = config
        self.image_encoder = ImageEncoder(E)
        self.mel_encoder = nn.Sequential(
            nn.Conv1d(MELS, 64, 4, stride=2, padding=1), nn.SiLU(),  # (B, 64, 32)
            nn.Conv1d(64, 64, 4, stride=2, padding=1), nn.SiLU(),  # (B, 64, 16)
            nn.Conv1d(64, 64, 4, stride=2, padding=1), nn.SiLU(), nn.Flatten(),  # (B, 512)
        )  # fmt: skip
        self.posterior_head = nn.Linear(512 + E, 2 * D)
        self.prior_head = nn.Linear(E, 2 * D) if config.learned_prior else None
        self.decoder_input = nn.Linear(D + E, C * T // 8)
        self.decoder = nn.Sequential(
            Upsample(C), Upsample(C), Upsample(C),  # (B, C, 64)
            nn.GroupNorm(8, C), nn.SiLU(), nn.Conv1d(C, MELS, 5, padding=2),
        )  # fmt: skip

    def posterior(
        self, mels: Float[Tensor, "B M T"], condition: Float[Tensor, "B E"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Mean and log-variance of q(z | x, c): it sees the answer, so it serves training only."""
        mu, logvar = self.posterior_head(torch.cat([self.mel_encoder(mels), condition], dim=1)).chunk(2, dim=1)
        return mu, logvar

    def prior(self, condition: Float[Tensor, "B E"]) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Mean and log-variance of p(z | c). Zeros unless `learned_prior`: who speaks does not depend on what is shown."""
        if self.prior_head is None:
            zeros = condition.new_zeros(len(condition), self.config.latent)
            return zeros, zeros
        mu, logvar = self.prior_head(condition).chunk(2, dim=1)
        return mu, logvar

    def decode(self, z: Float[Tensor, "B D"], condition: Float[Tensor, "B E"]) -> Float[Tensor, "B M T"]:
        """The mean log-mel of p(x | z, c): the latent followed by the condition, through `decoder_input`, to (B, C, T / 8) and the `decoder`."""
        hidden = self.decoder_input(torch.cat([z, condition], dim=1))
        return self.decoder(hidden.unflatten(1, (self.config.channels, T // 8)))

    def sample(
        self, images: Float[Tensor, "B 1 24 24"], noise: Float[Tensor, "B D"], temperature: float = 1.0
    ) -> Float[Tensor, "B M T"]:
        """A log-mel for each image, with z drawn from the prior at a temperature, by the given noise; the posterior has no part
        in it. In the mode that the model is in."""
        condition = self.image_encoder(images)
        mu, logvar = self.prior(condition)
        return self.decode(reparameterize(mu, logvar, noise, temperature), condition)

    def forward(
        self, images: Float[Tensor, "B 1 24 24"], mels: Float[Tensor, "B M T"], noise: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B M T"], Float[Tensor, "B D"]]:
        """For training: the log-mel decoded from a sample of the posterior, and the KL of each latent dimension."""
        condition = self.image_encoder(images)
        mu, logvar = self.posterior(mels, condition)
        kl = gaussian_kl(mu, logvar, *self.prior(condition))
        return self.decode(reparameterize(mu, logvar, noise), condition), kl


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> ImageToSpeech:
    """Train on the training handwriting and voices; return the model in evaluation mode, on `device`.

    Each time a picture comes up, another voice says it: with one fixed voice each, the net could learn by heart who goes with whom.
    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    data, bank = motion.load("train"), motion.speech("train")
    images, mels = data.images, (log_mel(bank.waveforms) - MEAN) / DEVIATION
    voices = len(motion.SEEN_VOICES)
    pairs = len(bank) // voices  # the bank goes voice by voice, and the phrases have the same order in each
    model = maybe_compile(ImageToSpeech(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(data), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="Image to speech", show=progress):
        voice = torch.randint(voices, batch.shape, generator=generator)
        x, mel = images[batch].to(device), mels[voice * pairs + data.utterances[batch] % pairs].to(device)
        noise = torch.randn(len(batch), config.latent, generator=generator).to(device)
        with autocast(device, precision):
            predicted, kl = model(x, mel, noise)
        loss = negative_elbo(predicted.float(), mel, kl.float(), beta=config.beta, least=config.least)
        optimizer.zero_grad()
        (loss / mel[0].numel()).backward()  # the same minimum, with gradients of ordinary size
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def predict(
    model: ImageToSpeech,
    images: Float[Tensor, "N 1 24 24"],
    noise: Float[Tensor, "N D"] | None = None,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> Float[Tensor, "N M T"]:
    """The log-mel of each picture (ink in [0, 1]), as `log_mel` scales it. Rows of equal `noise` speak alike; without any it is drawn.

    Raises ValueError for what `motion.check_images` refuses, noise of another shape, or a negative temperature.
    """
    images = motion.check_images(images).to(model.decoder_input.weight)
    shape = (len(images), model.config.latent)
    if noise is None:
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    if noise.shape != shape:
        raise ValueError(f"expected noise {shape}, a row of latents for each picture, got {tuple(noise.shape)}")
    mels = model.sample(images, noise.to(images), temperature) * DEVIATION + MEAN
    return mels.clamp(min=math.log(FLOOR))


def convert(
    model: ImageToSpeech,
    images: Float[Tensor, "N 1 24 24"],
    noise: Float[Tensor, "N D"] | None = None,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> Float[Tensor, "N S"]:
    """Say what each picture shows: waveforms in [-1, 1], 8192 samples at 8 kHz. See `predict`; `seed` draws noise and first phases."""
    return vocode(predict(model, images, noise, temperature=temperature, seed=seed), seed=seed)


@torch.no_grad()
def leak(model: ImageToSpeech, *, seed: int = 0, draws: int = 8) -> dict[str, float]:
    """How well a linear probe reads digit, place and voice of the training utterances in samples of z, and the `rate`: the KL in nats.

    In *samples*: the mean may hold a trace of the digit that the noise drowns, and which the decoder therefore never sees. Digit and place
    are read in voices, and the voice in phrases, that the probe was not fitted to.
    """
    bank, data = motion.speech("train"), motion.load("train")
    pairs = len(bank) // len(motion.SEEN_VOICES)
    shown = [int((data.utterances % pairs == pair).nonzero()[0]) for pair in range(pairs)]  # a picture for each phrase
    device = model.decoder_input.weight.device
    condition = model.image_encoder(data.images[shown].to(device)).repeat(len(motion.SEEN_VOICES), 1)
    mu, logvar = model.posterior(((log_mel(bank.waveforms) - MEAN) / DEVIATION).to(device), condition)
    rate = gaussian_kl(mu, logvar, *model.prior(condition)).sum(dim=1).mean().item()
    mu, logvar = mu.cpu().repeat(draws, 1), logvar.cpu().repeat(draws, 1)
    z = reparameterize(mu, logvar, torch.randn(mu.shape, generator=torch.Generator().manual_seed(seed)))
    phrases = bank.digits * len(motion.PLACES) + bank.places
    figures = {"rate": rate}
    for name, labels, groups in (
        ("digit", bank.digits, bank.voices),
        ("place", bank.places, bank.voices),
        ("voice", bank.voices, phrases),
    ):
        labels, unseen = labels.repeat(draws), (groups % 3 == 0).repeat(draws)
        scores = linear_probe(z[~unseen], labels[~unseen], z[unseen], int(labels.max()) + 1)
        figures[f"{name}_in_latent"] = (scores.argmax(dim=1) == labels[unseen]).double().mean().item()
    return figures


def judged(spoken: Float[Tensor, "N S"], split: motion.Split, suffix: str = "") -> dict[str, float]:
    """In how many waveforms the judges hear what the picture shows; in a third of them pocketsphinx, if installed, beside its ceiling."""
    figures = {
        "digit_accuracy" + suffix: spoken_digit_judge().accuracy(spoken, split.digits),
        "place_accuracy" + suffix: spoken_place_judge().accuracy(spoken, split.places),
    }
    with contextlib.suppress(ImportError):
        third = sphinx_judge().accuracy(spoken[::3], split.digits[::3], split.places[::3])
        figures["sphinx_accuracy" + suffix] = third["both"]
        figures["sphinx_ceiling" + suffix] = sphinx_judge().ceiling(split.name)["both"]
    return figures


def evaluate(model: ImageToSpeech, *, seed: int = 0) -> dict[str, float]:
    """What the judges hear in pictures of unseen handwriting, each in a voice of its own, and of unseen pairs (`..._compositional`).

    Beside it: `leak`; how far the log-mels of a phrase lie apart, relative to those of the 13 real voices (`diversity`).
    """
    test, unseen, bank = motion.load("test"), motion.load("compositional"), motion.speech("train")
    mels, real = predict(model, test.images, seed=seed), log_mel(bank.waveforms)
    phrases = [split.digits * len(motion.PLACES) + split.places for split in (test, bank)]
    return {
        **judged(vocode(mels, seed=seed), test),
        **judged(convert(model, unseen.images, seed=seed), unseen, "_compositional"),
        **leak(model, seed=seed),
        "diversity": diversity_ratio(mels.unsqueeze(1), phrases[0], real.unsqueeze(1), phrases[1]),
        "digit_chance": 1 / motion.DIGITS,
        "place_chance": 1 / len(motion.PLACES),
        "voice_chance": 1 / len(motion.SEEN_VOICES),
        "digit_ceiling": spoken_digit_judge().ceiling(),
        "place_ceiling": spoken_place_judge().ceiling(),
    }


GATES = (
    Gate("digit_accuracy", at_least=0.9, baseline="digit_chance", ceiling="digit_ceiling"),
    Gate("place_accuracy", at_least=0.94, baseline="place_chance", ceiling="place_ceiling"),
    Gate("digit_in_latent", at_most=0.25, baseline="digit_chance"),
    Gate("diversity", at_least=0.5),
)
ABLATIONS = {"a wide channel": Ablation(Config(beta=1.0), "digit_accuracy", higher_by=0.3)}
LEAKS = SEEN

BRIEF = Config(channels=64, steps=250, learning_rate=4e-3)


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show three pictures of unseen handwriting and how each is said with three latents, a column for each; and play them."""
    model = train(config, device=device, progress=False)
    test = motion.load("test")
    rows = [test.phrases.index(phrase) for phrase in ("three left", "eight right", "five top")]
    noise = torch.randn(3, config.latent, generator=torch.Generator().manual_seed(1))
    mels = predict(model, test.images[rows].repeat_interleave(3, dim=0), noise.repeat(3, 1))  # three latents for each picture
    waveforms = vocode(mels)
    figure, axes = plt.subplots(3, 4, figsize=(12, 6.5), width_ratios=(1, 2, 2, 2), layout="constrained")
    for i, row in enumerate(rows):
        axes[i, 0].imshow(test.images[row, 0], cmap="gray_r", vmin=0, vmax=1)
        axes[i, 0].axis("off")
        for j in range(3):
            panel = axes[i, j + 1]
            panel.imshow(mels[3 * i + j].cpu(), origin="lower", aspect="auto", cmap="magma", vmin=math.log(FLOOR), vmax=4)
            panel.set_title(f"“{test.phrases[row]}”, latent {j + 1}", fontsize=10)
            play(waveforms[3 * i + j], f"{test.phrases[row]}, latent {j + 1}")
    for panel in axes[-1, 1:]:
        panel.set_xlabel("frame (16 ms)")
    return figure
