r"""
# Variational autoencoder

A latent-variable model that learns to generate by learning to compress. The encoder proposes where in latent space an image
lives, $q_\phi(z \mid x) = \mathcal N(\mu, \operatorname{diag} \sigma^2)$; the decoder says how likely the image is from there,
$p_\theta(x \mid z)$. Both are trained to raise one lower bound on the log-likelihood, the **ELBO**:

$$\log p_\theta(x \mid y) \;\ge\; \underbrace{\mathbb E_{q_\phi(z \mid x, y)} \log p_\theta(x \mid z, y)}_{-\text{reconstruction}}
\;-\; \underbrace{D_{\mathrm{KL}}\big(q_\phi(z \mid x, y) \,\|\, \mathcal N(0, I)\big)}_{\text{rate}}$$

The expectation is differentiable because the noise is drawn outside of the network and then moved and stretched,
$z = \mu + \sigma \odot \varepsilon$ (the **reparameterization trick**), and for two Gaussians the KL is a closed form:

$$D_{\mathrm{KL}} = \tfrac12 \sum_d \left( \mu_d^2 + \sigma_d^2 - \log \sigma_d^2 - 1 \right)$$

Here everything is conditioned on the digit $y$, so that we can ask for a three. A pixel of this data set is a count of inked
cells, 0 to 16. A binomial gives each count a probability, so the ELBO is a true bound in nats, comparable with other models; but
it takes the 16 cells of a pixel for independent, which those of a stroke are not.

**Against a sceptic.** A model without a network, which keeps the training images and lets each pixel stray from them more widely than a
binomial can (`memory_nll`), comes out slightly ahead of our ELBO. But the ELBO is some nats loose: by the importance-weighted bound,
which is tighter, the VAE is the better model.

**Asked in interviews.** Why a bound, and when is it tight? Why can't you sample $z$ directly? What happens if the KL is left out,
averaged instead of summed, or weighted by $\beta$? Why are VAE samples soft, and what is posterior collapse?

**Sources.** Kingma and Welling, *Auto-Encoding Variational Bayes* (2014), eq. 3, 4, 10 and appendix B; Sohn et al., *Learning Structured
Output Representation using Deep Conditional Generative Models* (2015), eq. 4; Higgins et al., *β-VAE* (2017), eq. 4; Burda et al.,
*Importance Weighted Autoencoders* (2016), eq. 8 (the tighter bound of `evaluate`).

**In this course.** [Question](../../questions/image/vae.md) · [exercise](../../notebooks/image/vae.ipynb) ·
[solution](../../solutions/image/vae.ipynb)
"""

import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from torch import Tensor, nn

from reference_impl.data import digits
from reference_impl.experiments import Ablation
from reference_impl.judges import digit_judge, diversity_ratio
from reference_impl.plotting import show_grid
from reference_impl.runtime import Gate, autocast, batches, maybe_compile, one_cycle, resolve_device, seed_everything, track
from reference_impl.samples import digit_leaks
from reference_impl.verbs import Verb, label_of


def reparameterize(mu: Float[Tensor, "B D"], logvar: Float[Tensor, "B D"], noise: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
    r"""A sample of $\mathcal N(\mu, \sigma^2)$ through which gradients reach `mu` and `logvar`.

    `logvar` is $\log \sigma^2$, whatever its size, and `noise` is drawn from $\mathcal N(0, I)$. Result and gradients are finite
    wherever $\sigma$ is: even where $\sigma^2$ is too large or too small a number. Kingma and Welling (2014), section 2.4.
    """
    return mu + torch.exp(0.5 * logvar) * noise


def kl_divergence(mu: Float[Tensor, "B D"], logvar: Float[Tensor, "B D"]) -> Float[Tensor, " B"]:
    r"""$D_{\mathrm{KL}}(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(0, I))$ of each item, in nats, summed over the latent axis.

    Finite also where $\sigma^2$ is too small for a number of its own: `logvar` still says how small. Kingma and Welling (2014), appendix B.
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(dim=1)


def reconstruction_nll(logits: Float[Tensor, "B *pixels"], counts: Float[Tensor, "B *pixels"]) -> Float[Tensor, " B"]:
    r"""$-\log p(x \mid z)$ of each item, in nats, summed over its pixels.

    A pixel counts the inked ones of its n = 16 cells (`digits.LEVELS`), each inked with probability sigmoid(logit):
    $$-\log p(k) = -\log \tbinom{n}{k} - k \log p - (n - k) \log (1 - p)$$
    It must stay finite for logits of a hundred, so work with log-sigmoids, never with the logarithm of a sigmoid.
    """
    n = torch.full_like(counts, digits.LEVELS)
    log_choose = torch.lgamma(n + 1) - torch.lgamma(counts + 1) - torch.lgamma(n - counts + 1)
    log_likelihood = log_choose + counts * F.logsigmoid(logits) + (n - counts) * F.logsigmoid(-logits)
    return -log_likelihood.flatten(1).sum(dim=1)


def elbo(
    logits: Float[Tensor, "B *pixels"],
    counts: Float[Tensor, "B *pixels"],
    mu: Float[Tensor, "B D"],
    logvar: Float[Tensor, "B D"],
    beta: float = 1.0,
) -> Float[Tensor, " B"]:
    """The evidence lower bound of each item, in nats: to be raised. `beta` weighs the KL.

    With a beta above 1 it bounds log p(x) from below, too, only more loosely, since a KL is never negative; with one below 1 it need not.
    Kingma and Welling (2014), eq. 3; Higgins et al. (2017), eq. 4.
    """
    return -reconstruction_nll(logits, counts) - beta * kl_divergence(mu, logvar)


@dataclass(frozen=True)
class Config:
    """latent and channels are widths; steps, batch_size, learning_rate and beta drive `train`.

    reparameterized: whether gradients reach the encoder through its sample; without, it learns from the KL alone.
    """

    latent: int = 8
    channels: int = 32
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 2e-3
    beta: float = 1.0
    reparameterized: bool = True


class VAE(nn.Module):
    """A convolutional VAE of 8×8 digits, conditioned on the class in the encoder and in the decoder."""

    def __init__(self, config: Config = Config()) -> None:
        super().__init__()
        C, D, K = config.channels, config.latent, digits.CLASSES
        self.config = config
        self.encoder = nn.Sequential(
            nn.Conv2d(1 + K, C, 3, padding=1), nn.SiLU(),  # (B, C, 8, 8)
            nn.Conv2d(C, 2 * C, 4, stride=2, padding=1), nn.SiLU(),  # (B, 2C, 4, 4)
            nn.Conv2d(2 * C, 4 * C, 4, stride=2, padding=1), nn.SiLU(),  # (B, 4C, 2, 2)
            nn.Flatten(), nn.Linear(16 * C, 2 * D),  # (B, 2D)
        )  # fmt: skip
        self.decoder_input = nn.Linear(D + K, 16 * C)
        self.decoder = nn.Sequential(
            nn.SiLU(), nn.ConvTranspose2d(4 * C, 2 * C, 4, stride=2, padding=1),  # (B, 2C, 4, 4)
            nn.SiLU(), nn.ConvTranspose2d(2 * C, C, 4, stride=2, padding=1),  # (B, C, 8, 8)
            nn.SiLU(), nn.Conv2d(C, 1, 3, padding=1),  # (B, 1, 8, 8)
        )  # fmt: skip

    def encode(
        self, images: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Mean and log-variance of q(z | x, y). The class comes in as ten constant planes beside the image."""
        B, _, H, W = images.shape
        planes = F.one_hot(labels, digits.CLASSES).to(images.dtype)[:, :, None, None].expand(B, -1, H, W)  # (B, K, H, W)
        mu, logvar = self.encoder(torch.cat([2 * images - 1, planes], dim=1)).chunk(2, dim=1)  # (B, D) each
        return mu, logvar

    def decode(self, z: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B 1 8 8"]:
        """Logits of ink per pixel, from a latent followed by the one-hot class (`decoder_input`, then `decoder`)."""
        onehot = F.one_hot(labels, digits.CLASSES).to(z.dtype)  # (B, K)
        hidden = self.decoder_input(torch.cat([z, onehot], dim=1)).unflatten(1, (-1, 2, 2))  # (B, 4C, 2, 2)
        return self.decoder(hidden)

    def interpolate(
        self, start: Float[Tensor, "B D"], end: Float[Tensor, "B D"], labels: Int[Tensor, " B"], steps: int
    ) -> Float[Tensor, "S B 1 8 8"]:
        """Mean images (ink in [0, 1]) at `steps` evenly spaced latents on the straight line from `start` to `end`, both included."""
        weights = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)
        return torch.stack([torch.sigmoid(self.decode(torch.lerp(start, end, w), labels)) for w in weights])

    def forward(
        self, counts: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"], noise: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B 1 8 8"], Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Encode, sample with the given noise, decode: logits, mu, logvar."""
        mu, logvar = self.encode(counts / digits.LEVELS, labels)
        z = reparameterize(mu, logvar, noise)  # (B, D)
        if not self.config.reparameterized:
            z = z.detach()  # as if drawn by `torch.normal(mu, sigma)`, which lets no gradient pass
        return self.decode(z, labels), mu, logvar


def train(
    config: Config = Config(),
    *,
    device: str | torch.device = "auto",
    seed: int = 0,
    progress: bool = True,
    precision: str = "float32",
    compile: bool = False,
) -> VAE:
    """Train on the training split; return the model in evaluation mode, on `device`.

    precision: `float32` or `bfloat16` (autocast; the loss stays in float32). compile: use `torch.compile`.
    """
    device, generator = resolve_device(device), seed_everything(seed)
    data = digits.load("train")
    counts, labels = data.counts, data.labels
    model = maybe_compile(VAE(config).to(device).train(), compile)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
    schedule = one_cycle(optimizer, config.learning_rate, config.steps)
    steps = batches(len(data), config.batch_size, config.steps, generator)
    for batch in track(steps, total=config.steps, description="VAE", show=progress):
        x, y = counts[batch].to(device), labels[batch].to(device)
        noise = torch.randn(len(batch), config.latent, generator=generator).to(device)
        with autocast(device, precision):
            logits, mu, logvar = model(x, y, noise)
        loss = -elbo(logits.float(), x, mu.float(), logvar.float(), config.beta).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def generate(model: VAE, labels: Int[Tensor, " B"], *, seed: int = 0) -> Float[Tensor, "B 1 8 8"]:
    """A digit (ink in [0, 1]) for each label: decode z drawn from the prior, and take the mean image."""
    device = next(model.parameters()).device
    noise = torch.randn(len(labels), model.config.latent, generator=torch.Generator().manual_seed(seed))
    return torch.sigmoid(model.decode(noise.to(device), labels.to(device)))


def memory_nll(spread: float = 0.2, concentration: float = 5.0) -> float:
    """Held-out −log p(x | y) in nats of a sceptic's model that only remembers: a kernel density over the training set.

    Draw a training image of the class, blend it with the class mean (a share `spread`), and let every pixel be beta-binomial
    around that, with a + b = `concentration`. Both were chosen by leaving one training image out.
    """
    real, held_out = digits.load("train"), digits.load("test")
    n, total = digits.LEVELS, 0.0
    for digit in range(digits.CLASSES):
        images = real.images[real.labels == digit].flatten(1)  # (M, P)
        p = ((1 - spread) * images + spread * images.mean(0)).clamp(0.01, 0.99)
        k = held_out.counts[held_out.labels == digit].flatten(1).unsqueeze(1)  # (N, 1, P)
        a, b = concentration * p, concentration * (1 - p)
        log_choose = math.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        rising = torch.lgamma(k + a) - torch.lgamma(a) + torch.lgamma(n - k + b) - torch.lgamma(b)  # (N, M, P)
        norm = math.lgamma(n + concentration) - math.lgamma(concentration)
        log_p = (log_choose + rising - norm).sum(-1).logsumexp(1) - math.log(len(images))  # (N,)
        total -= log_p.sum().item()
    return total / len(held_out)


@torch.no_grad()
def evaluate(model: VAE, *, seed: int = 0, draws: int = 64) -> dict[str, float]:
    """Held-out figures in nats beside what knows no latent and what only remembers; the judge's view of 1,000 samples.

    `neg_elbo` is the mean over `draws` noises; `neg_log_likelihood` is the importance-weighted bound on −log p(x | y) from the
    same noises, tighter (Burda et al., 2016, eq. 8).
    """
    device = next(model.parameters()).device
    real, held_out = digits.load("train"), digits.load("test")
    generator = torch.Generator().manual_seed(seed)
    counts, labels = held_out.counts.to(device), held_out.labels.to(device)
    bounds, log_weights = [], []
    for _ in range(draws):
        noise = torch.randn(len(counts), model.config.latent, generator=generator).to(device)
        logits, mu, logvar = model(counts, labels, noise)
        logits, mu, logvar = logits.float(), mu.float(), logvar.float()
        bounds.append(elbo(logits, counts, mu, logvar).mean())
        z = reparameterize(mu, logvar, noise)
        log_ratio = 0.5 * (noise.square() + logvar - z.square()).sum(dim=1)  # log p(z) − log q(z | x, y)
        log_weights.append(log_ratio - reconstruction_nll(logits, counts))  # (N,)
    log_likelihood = torch.stack(log_weights).logsumexp(0) - math.log(draws)
    # The baseline knows the class but no latent: every pixel has its own probability of ink.
    means = torch.stack([real.images[real.labels == k].mean(0) for k in range(digits.CLASSES)])  # (K, 1, 8, 8)
    baseline = reconstruction_nll(torch.logit(means, eps=1e-3)[held_out.labels], held_out.counts)
    asked = torch.arange(digits.CLASSES).repeat(100)
    samples = generate(model, asked, seed=seed)
    judge = digit_judge()
    return {
        "neg_elbo": -torch.stack(bounds).mean().item(),
        "neg_log_likelihood": -log_likelihood.mean().item(),
        "pixel_baseline": baseline.mean().item(),
        "memory_baseline": memory_nll(),
        "judge_accuracy": judge.accuracy(samples, asked),
        "judge_ceiling": judge.ceiling(),
        "chance": 1 / digits.CLASSES,
        "diversity": diversity_ratio(samples, asked, held_out.images, held_out.labels),
    }


GATES = (
    Gate("neg_elbo", at_most=95.0, below="pixel_baseline", baseline="pixel_baseline"),
    Gate("neg_log_likelihood", below="memory_baseline", baseline="memory_baseline"),
    Gate("judge_accuracy", at_least=0.95, baseline="chance", ceiling="judge_ceiling"),
)

ABLATIONS = {
    "no KL": Ablation(Config(beta=0.0), "judge_accuracy", higher_by=0.3),
    "no reparameterization": Ablation(Config(reparameterized=False), "neg_elbo", lower_by=30.0),
}


LEAKS = digit_leaks(train, generate)


def a_digit(model: VAE, digit: str, *, seed: int = 0) -> Float[Tensor, "1 8 8"]:
    """Ink of the digit that somebody typed. Raises ValueError if it is none."""
    label = torch.tensor([label_of(digit, digits.CLASSES)], device=next(model.parameters()).device)
    return generate(model, label, seed=seed)[0]


VERB = Verb("text", "image", a_digit, example="7")


BRIEF = Config(latent=5, channels=16, steps=600, batch_size=64, learning_rate=4e-3)  # for the demo: smaller and hastier


def demo(config: Config = BRIEF, *, device: str | torch.device = "auto") -> Figure:
    """Train briefly; show samples of every digit (left) and walks through latent space between two handwritings (right)."""
    model = train(config, device=device, progress=False)
    device = next(model.parameters()).device
    labels = torch.arange(digits.CLASSES, device=device)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.4))
    show_grid(left, generate(model, labels.repeat(8)), columns=10, title="Samples: a column per digit asked for")
    with torch.no_grad():
        start, end = torch.randn(2, len(labels), config.latent, generator=torch.Generator().manual_seed(1)).to(device)
        walk = model.interpolate(start, end, labels, steps=8)  # (S, K, 1, 8, 8)
    show_grid(right, walk.flatten(0, 1), columns=10, title="From one latent (top) to another (bottom)")
    return figure
