r"""
# Generative adversarial network

Two networks play against each other. The generator turns noise into an image, $x = G(z, y)$ with $z \sim \mathcal N(0, I)$;
the discriminator gives an image a score $D(x, y)$, high for real and low for fake. No likelihood is ever written down: all
that the generator learns about the data reaches it as a gradient through the discriminator. With the **hinge loss**,

$$L_D = \mathbb E_{x, y} \max\big(0,\, 1 - D(x, y)\big) + \mathbb E_{z, y} \max\big(0,\, 1 + D(G(z, y), y)\big),
\qquad L_G = -\,\mathbb E_{z, y}\, D(G(z, y), y)$$

a sample already beyond its margin no longer trains the discriminator, while the generator has no margin at which its gradient
would stop. Against the best discriminator $L_D = 2\,(1 - \mathrm{TV})$, where TV is the total variation distance between real
and fake: a loss of **2** means that the discriminator sees no difference, 0 that it has won. Neither loss says how good the
samples are.

Three devices keep the game steady:

- **spectral norm** divides each weight of the discriminator by its largest singular value, $\bar W = W / \sigma(W)$, so that
  every layer is about 1-Lipschitz (a convolution: up to a constant) and scores cannot run away. One step of power iteration at
  each forward pass keeps track of it: $v \propto W^\top u$, $u \propto W v$, $\sigma \approx u^\top W v$, and $u$ stays for
  the next pass;
- the **projection discriminator** takes the class in through an inner product with the features $\phi(x)$ of the image,
  $D(x, y) = \psi^\top \phi(x) + e_y^\top \phi(x)$, rather than beside the pixels;
- an **exponential moving average** of the generator's weights, $\bar\theta \leftarrow \beta \bar\theta + (1 - \beta)\,\theta$,
  is what we sample from: the players circle round the equilibrium, and the average lies nearer to its centre. (Here the rates
  fall to zero. That does not damp the circling, as a gradient penalty would; but the steps shrink until the players hardly move, and the
  last weights do nearly as well as the average.)

Without the first of them the samples collapse: each is a perfect digit, and there are too few kinds (`ABLATIONS`). So fidelity and
diversity are measured together, as **precision** and **recall**: does a sample lie among real digits, does a real digit lie among samples?

**Asked in interviews.** Which gradients must be stopped in which half-step, and what goes wrong otherwise? Why does the
minimax loss of the generator saturate, and what is done about it? What is mode collapse, and how would you measure it? Why
does the loss not tell you when to stop? What does spectral norm bound? Why is batch norm a poor choice in a discriminator? Why
are GAN samples sharp?

**Sources.** Goodfellow et al., *Generative Adversarial Nets* (2014), eq. 1, section 3 and algorithm 1; Lim and Ye, *Geometric
GAN* (2017); Miyato et al., *Spectral Normalization for Generative Adversarial Networks* (2018), eq. 8 (the norm), 16 and 17
(the losses); Miyato and Koyama, *cGANs with Projection Discriminator* (2018), section 3 and figure 1d; Yazıcı et al., *The
Unusual Effectiveness of Averaging in GAN Training* (2019); Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing
Generative Models* (2019), eq. 1 and 2.

**In this course.** [Question](../../questions/image/gan.md) · [exercise](../../notebooks/image/gan.ipynb) ·
[solution](../../solutions/image/gan.ipynb)
"""

import copy
from dataclasses import dataclass
from statistics import harmonic_mean

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from reference_impl.data import digits
from reference_impl.experiments import Ablation
from reference_impl.judges import digit_judge, diversity_ratio
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, resolve_device, seed_everything, track
from reference_impl.samples import digit_leaks, precision_recall
from reference_impl.verbs import Verb, label_of


def discriminator_loss(real_logits: Float[Tensor, " B"], fake_logits: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """The hinge loss of the discriminator: scores of real images belong above 1, scores of fakes below -1.

    Each kind is averaged over its own batch, and the two means are added. At least 0; exactly 2 where every score is 0.
    Lim and Ye (2017); Miyato et al. (2018), eq. 16 with its sign turned, so that it is to be lowered.
    """
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def generator_loss(fake_logits: Float[Tensor, " N"]) -> Float[Tensor, ""]:
    """The generator's side of the hinge game: minus the mean score of its fakes, without a margin, so it never saturates.

    Miyato et al. (2018), eq. 17 as it stands there.
    """
    return -fake_logits.mean()


@dataclass(frozen=True)
class Config:
    """latent and channels are widths; the rest drives `train`. The discriminator learns at twice the generator's rate, so that
    it keeps up with one update per update of the generator. spectral_norm: whether the discriminator's slope is bounded."""

    latent: int = 32
    channels: int = 16
    steps: int = 2000
    batch_size: int = 64
    generator_rate: float = 1e-3
    discriminator_rate: float = 2e-3
    ema_decay: float = 0.99
    spectral_norm: bool = True


class Generator(nn.Module):
    """From noise and a class to an 8×8 digit. No bias before a batch norm: it would be subtracted again."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, D, K = config.channels, config.latent, digits.CLASSES
        self.config = config
        self.input = nn.Linear(D + K, 16 * C, bias=False)
        self.body = nn.Sequential(
            nn.BatchNorm2d(4 * C), nn.ReLU(),  # (B, 4C, 2, 2)
            nn.ConvTranspose2d(4 * C, 2 * C, 4, stride=2, padding=1, bias=False),  # (B, 2C, 4, 4)
            nn.BatchNorm2d(2 * C), nn.ReLU(),
            nn.ConvTranspose2d(2 * C, C, 4, stride=2, padding=1, bias=False),  # (B, C, 8, 8)
            nn.BatchNorm2d(C), nn.ReLU(),
            nn.Conv2d(C, 1, 3, padding=1),  # (B, 1, 8, 8)
        )  # fmt: skip

    def forward(self, noise: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B 1 8 8"]:
        """Images with ink in (0, 1): noise followed by the one-hot class, through `input`, `body` and a sigmoid.

        `input` makes 16C numbers of each item, which `body` expects as 4C channels of 2×2 pixels.
        Raises ValueError unless noise is (B, config.latent).
        """
        B, D = len(labels), self.config.latent
        if noise.shape != (B, D):
            raise ValueError(f"noise must have shape {(B, D)}, got {tuple(noise.shape)}")
        onehot = F.one_hot(labels, digits.CLASSES).to(noise.dtype)  # (B, K)
        hidden = self.input(torch.cat([noise, onehot], dim=1)).unflatten(1, (-1, 2, 2))  # (B, 4C, 2, 2)
        return torch.sigmoid(self.body(hidden))


class Discriminator(nn.Module):
    """Scores images given their class, with spectral norm on every weight, that of the embedding included (unless it is off)."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, K = config.channels, digits.CLASSES
        bounded = spectral_norm if config.spectral_norm else lambda module: module
        self.features = nn.Sequential(
            bounded(nn.Conv2d(1, C, 3, padding=1)), nn.LeakyReLU(0.1),  # (B, C, 8, 8)
            bounded(nn.Conv2d(C, 2 * C, 4, stride=2, padding=1)), nn.LeakyReLU(0.1),  # (B, 2C, 4, 4)
            bounded(nn.Conv2d(2 * C, 4 * C, 4, stride=2, padding=1)), nn.LeakyReLU(0.1),  # (B, 4C, 2, 2)
            nn.Flatten(),  # (B, 16C)
        )  # fmt: skip
        self.realness = bounded(nn.Linear(16 * C, 1, bias=False))
        self.embedding = bounded(nn.Embedding(K, 16 * C))

    def forward(self, images: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """A score per image: how real it looks at all, plus how well its features agree with its class.

        In training mode every call also moves the power iteration one step on (buffers, not weights).
        Miyato and Koyama (2018), section 3.
        """
        features = self.features(2 * images - 1)  # (B, 16C)
        return self.realness(features).squeeze(1) + (self.embedding(labels) * features).sum(dim=1)


def make_optimizer(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam without momentum: the other player moves, so yesterday's gradient points at a place that is no longer there."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.0, 0.99))


def ema_update(averaged: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `averaged` towards `model`, of the same architecture, in place: parameters become decay * old + (1 - decay) * new.

    Buffers are copied as they are: batch norm's statistics are averages already, and its step count is an integer.
    No gradient is recorded, and `model` is left alone. Raises ValueError if decay lies outside [0, 1].
    Yazıcı et al. (2019).
    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must lie in [0, 1], got {decay}")
    with torch.no_grad():
        for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
            old.lerp_(new, 1 - decay)
        for old_buffer, new_buffer in zip(averaged.buffers(), model.buffers(), strict=True):
            old_buffer.copy_(new_buffer)


def train_step(
    generator: Generator,
    discriminator: Discriminator,
    generator_optimizer: torch.optim.Optimizer,
    discriminator_optimizer: torch.optim.Optimizer,
    images: Float[Tensor, "B 1 8 8"],
    labels: Int[Tensor, " B"],
    discriminator_noise: Float[Tensor, "B D"],
    generator_noise: Float[Tensor, "B D"],
    precision: str = "float32",
) -> dict[str, Tensor]:
    """One alternating update, in place: first the discriminator, then the generator against the new discriminator.

    images: real ones, ink in [0, 1]; the fakes of both half-steps are of the same labels, each half-step with its own noise.
    The first moves no weight of the generator; the second moves no weight of the discriminator and leaves no gradient there.
    Both modules stay in the mode they are in, and a weight that was frozen before stays frozen. Each forward pass runs under an
    `autocast(images.device, precision)` of its own: the context caches the weights that it has cast, and they would be stale after an update.
    Returns the losses before each update, detached, as `discriminator_loss` and `generator_loss`.
    Goodfellow et al. (2014), algorithm 1 with k = 1.
    """
    with torch.no_grad(), autocast(images.device, precision):  # the fakes are mere data here
        fakes = generator(discriminator_noise, labels)
    with autocast(images.device, precision):  # in one pass: without batch norm, real and fake do not mix
        real_logits, fake_logits = discriminator(torch.cat([images, fakes]), labels.repeat(2)).chunk(2)
    d_loss = discriminator_loss(real_logits, fake_logits)
    discriminator_optimizer.zero_grad()
    d_loss.backward()
    discriminator_optimizer.step()

    trained = [weight for weight in discriminator.parameters() if weight.requires_grad]
    for weight in trained:
        weight.requires_grad_(False)  # gradients pass through to the generator, and none stays
    with autocast(images.device, precision):
        fake_logits = discriminator(generator(generator_noise, labels), labels)
    g_loss = generator_loss(fake_logits)
    generator_optimizer.zero_grad()
    g_loss.backward()
    generator_optimizer.step()
    for weight in trained:
        weight.requires_grad_(True)
    return {"discriminator_loss": d_loss.detach(), "generator_loss": g_loss.detach()}  # .item() would wait for the GPU


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> Generator:
    """Train on the training split; return the averaged generator in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast). compile: use `torch.compile`.
    """
    device, random = resolve_device(device), seed_everything(seed)
    data = digits.load("train")
    images, labels = data.images, data.labels
    generator, discriminator = Generator(config).to(device).train(), Discriminator(config).to(device).train()
    averaged = copy.deepcopy(generator).eval()
    generator, discriminator = maybe_compile(generator, compile), maybe_compile(discriminator, compile)
    optimizers = make_optimizer(generator, config.generator_rate), make_optimizer(discriminator, config.discriminator_rate)
    # Full rate for the first half, then down to zero in a straight line: smaller steps leave less of the noise of the batches.
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, 2 * (1 - step / config.steps)))
        for optimizer in optimizers
    ]
    steps = batches(len(data), config.batch_size, config.steps, random)
    for batch in track(steps, total=config.steps, description="GAN", show=progress):
        x, y = images[batch].to(device), labels[batch].to(device)
        noises = torch.randn(2, len(batch), config.latent, generator=random).to(device)
        train_step(generator, discriminator, *optimizers, x, y, noises[0], noises[1], precision)
        ema_update(averaged, generator, config.ema_decay)
        for schedule in schedules:
            schedule.step()
    return averaged


@torch.no_grad()
def generate(model: Generator, labels: Int[Tensor, " B"], *, seed: int = 0) -> Float[Tensor, "B 1 8 8"]:
    """A digit (ink in [0, 1]) for each label, on the model's device. Raises ValueError if a label is not one of 0 to 9."""
    if labels.numel() and (labels.min() < 0 or labels.max() >= digits.CLASSES):
        raise ValueError(f"labels must lie in 0 to {digits.CLASSES - 1}, got {labels.min()} to {labels.max()}")
    device = next(model.parameters()).device
    noise = torch.randn(len(labels), model.config.latent, generator=torch.Generator().manual_seed(seed))
    return model(noise.to(device), labels.to(device))


def class_gaussians(labels: Int[Tensor, " B"], *, seed: int = 0) -> Float[Tensor, "B 1 8 8"]:
    """A sceptic's generator without a network: the mean and the covariance of the training images of each class, cut to [0, 1]."""
    real, noise = digits.load("train"), torch.randn(len(labels), digits.SIZE**2, generator=torch.Generator().manual_seed(seed))
    flat = torch.empty_like(noise)  # (B, 64)
    for digit in range(digits.CLASSES):
        x = real.images[real.labels == digit].flatten(1)
        # Some pixels never vary: a little variance keeps the covariance positive definite.
        factor = torch.linalg.cholesky(torch.cov(x.T) + 1e-6 * torch.eye(digits.SIZE**2))
        flat[labels == digit] = x.mean(0) + noise[labels == digit] @ factor.T
    return flat.clamp(0, 1).view(-1, 1, digits.SIZE, digits.SIZE)


@torch.no_grad()
def evaluate(model: Generator, *, seed: int = 0) -> dict[str, float]:
    """The judge's view of 1,000 samples, and how 4,500 share the space of held-out digits, beside a Gaussian and real digits.

    `f1` is the harmonic mean of `precision` (does a sample lie among held-out digits of its class?) and `recall` (does a held-out
    digit lie among samples?): the first alone is won by an average, the second by noise.
    """
    held_out, real = digits.load("test"), digits.load("train")
    many = torch.arange(digits.CLASSES).repeat(450)
    precision, recall = precision_recall(generate(model, many, seed=seed), many, held_out.images, held_out.labels)
    gaussian = precision_recall(class_gaussians(many, seed=seed), many, held_out.images, held_out.labels)
    ceiling = precision_recall(real.images, real.labels, held_out.images, held_out.labels)
    asked = torch.arange(digits.CLASSES).repeat(100)
    samples = generate(model, asked, seed=seed)
    judge = digit_judge()
    return {
        "judge_accuracy": judge.accuracy(samples, asked),
        "judge_ceiling": judge.ceiling(),
        "chance": 1 / digits.CLASSES,
        "diversity": diversity_ratio(samples, asked, held_out.images, held_out.labels),
        "precision": precision,
        "recall": recall,
        "f1": harmonic_mean((precision, recall)),
        "gaussian_f1": harmonic_mean(gaussian),
        "real_f1": harmonic_mean(ceiling),
    }


GATES = (
    Gate("judge_accuracy", at_least=0.95, baseline="chance", ceiling="judge_ceiling"),
    Gate("diversity", at_least=0.8, at_most=1.2),
    Gate("f1", above="gaussian_f1", baseline="gaussian_f1", ceiling="real_f1"),
)

ABLATIONS = {"no spectral norm": Ablation(Config(spectral_norm=False), "f1", higher_by=0.12)}


LEAKS = digit_leaks(train, generate)


def a_digit(model: Generator, digit: str, *, seed: int = 0) -> Float[Tensor, "1 8 8"]:
    """Ink of the digit that somebody typed. Raises ValueError if it is none."""
    label = torch.tensor([label_of(digit, digits.CLASSES)], device=next(model.parameters()).device)
    return generate(model, label, seed=seed)[0]


VERB = Verb("text", "image", a_digit, example="7")


BRIEF = Config(steps=400, generator_rate=2e-3, discriminator_rate=4e-3, ema_decay=0.98)  # for the demo: hastier, less varied


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show samples of every digit (left), and the training image nearest to each (right): new, or copied?"""
    model = train(config, device=device, progress=False)
    labels = torch.arange(digits.CLASSES).repeat(8)
    samples, real = generate(model, labels).cpu(), digits.load("train").images
    nearest = torch.cdist(samples.flatten(1), real.flatten(1)).argmin(dim=1)  # (B,)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4))
    show_grid(left, samples, columns=10, title="Samples: a column per digit asked for")
    show_grid(right, real[nearest], columns=10, title="The nearest training image of each")
    return figure
