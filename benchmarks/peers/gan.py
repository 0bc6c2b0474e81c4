"""image/gan beside the DCGAN of PyTorch's examples, which is what people copy: the known GAN libraries are no longer looked after."""

from dataclasses import dataclass
from statistics import harmonic_mean
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from benchmarks.peers import validation
from benchmarks.peers.contest import Contest, Figure, Peer, Reference, count
from reference_impl.data import digits
from reference_impl.image import gan
from reference_impl.runtime import batches, seed_everything, track
from reference_impl.samples import precision_recall

BATCH = 64
NOISE = 100
CHANNELS = 32  # of the widest generator layer but one, and of the first of the discriminator


def initialise(module: nn.Module) -> None:
    """The example's weights: N(0, 0.02²) in convolutions, N(1, 0.02²) in norms."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class Generator(nn.Module):
    """The example's stack with the levels that 8×8 needs: noise and class as pixels of 1×1, then 2×2, 4×4, 8×8, and a tanh.

    It is called as ours is, so that `gan.evaluate` judges both.
    """

    def __init__(self) -> None:
        super().__init__()
        C = CHANNELS
        self.config = SimpleNamespace(latent=NOISE)
        self.main = nn.Sequential(
            nn.ConvTranspose2d(NOISE + digits.CLASSES, 2 * C, 2, bias=False), nn.BatchNorm2d(2 * C), nn.ReLU(True),  # (B, 2C, 2, 2)
            nn.ConvTranspose2d(2 * C, C, 4, 2, 1, bias=False), nn.BatchNorm2d(C), nn.ReLU(True),  # (B, C, 4, 4)
            nn.ConvTranspose2d(C, 1, 4, 2, 1, bias=False), nn.Tanh(),  # (B, 1, 8, 8)
        )  # fmt: skip
        self.apply(initialise)

    def forward(self, noise: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B 1 8 8"]:
        """Images with ink in (0, 1)."""
        given = torch.cat([noise, F.one_hot(labels, digits.CLASSES).to(noise.dtype)], dim=1)
        return (self.main(given[:, :, None, None]) + 1) / 2


class Discriminator(nn.Module):
    """The example's stack for 8×8; the class comes in as ten constant planes beside the image."""

    def __init__(self) -> None:
        super().__init__()
        C = CHANNELS
        self.main = nn.Sequential(
            nn.Conv2d(1 + digits.CLASSES, C, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True),  # (B, C, 4, 4)
            nn.Conv2d(C, 2 * C, 4, 2, 1, bias=False), nn.BatchNorm2d(2 * C), nn.LeakyReLU(0.2, True),  # (B, 2C, 2, 2)
            nn.Conv2d(2 * C, 1, 2, bias=False), nn.Sigmoid(), nn.Flatten(0),  # (B,)
        )  # fmt: skip
        self.apply(initialise)

    def forward(self, images: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"]) -> Float[Tensor, " B"]:
        """The probability that each image is real."""
        planes = F.one_hot(labels, digits.CLASSES).to(images.dtype)[:, :, None, None].expand(-1, -1, *images.shape[2:])
        return self.main(torch.cat([2 * images - 1, planes], dim=1))


def step(
    generator: Generator,
    discriminator: Discriminator,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    images: Float[Tensor, "B 1 8 8"],
    labels: Int[Tensor, " B"],
    noise: Float[Tensor, "B D"],
) -> None:
    """One update of the discriminator, real and fake batches apart, then one of the generator by the same fakes."""
    ones, zeros = torch.ones(len(images)), torch.zeros(len(images))
    discriminator.zero_grad()
    F.binary_cross_entropy(discriminator(images, labels), ones).backward()
    fakes = generator(noise, labels)
    F.binary_cross_entropy(discriminator(fakes.detach(), labels), zeros).backward()
    optimizers[1].step()
    generator.zero_grad()
    F.binary_cross_entropy(discriminator(fakes, labels), ones).backward()
    optimizers[0].step()


@dataclass(frozen=True)
class DCGAN(Peer):
    """The example's settings; the rate is that of both players."""

    rate: float = 2e-4

    def train(self, steps: int, *, seed: int, show: bool = False) -> Generator:
        random, data = seed_everything(seed), digits.load("train")
        if self.validating:
            data = validation.drawn(data, ~validation.handwriting())
        generator, discriminator = Generator().train(), Discriminator().train()
        optimizers = (
            torch.optim.Adam(generator.parameters(), lr=self.rate, betas=(0.5, 0.999)),
            torch.optim.Adam(discriminator.parameters(), lr=self.rate, betas=(0.5, 0.999)),
        )
        for batch in track(batches(len(data), BATCH, steps, random), total=steps, description="DCGAN", show=show):
            noise = torch.randn(BATCH, NOISE, generator=random)
            step(generator, discriminator, optimizers, data.images[batch], data.labels[batch], noise)
        return generator.eval()

    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        if not self.validating:
            return gan.evaluate(model, seed=seed)
        kept, asked = validation.drawn(digits.load("train"), validation.handwriting()), torch.arange(digits.CLASSES).repeat(450)
        shares = precision_recall(gan.generate(model, asked, seed=seed), asked, kept.images, kept.labels)
        return {"f1": harmonic_mean(shares)}

    def parameters(self) -> int:
        return count(Generator(), Discriminator())


F1 = Figure("f1", more=True)
CONTEST = Contest(
    unit="image/gan",
    title="DCGAN of PyTorch's examples",
    ours=Reference(gan, lambda model, seed: gan.evaluate(model, seed=seed), lambda: count(gan.Generator(), gan.Discriminator())),
    peer=DCGAN(),
    figures=(
        F1, Figure("precision", more=True), Figure("recall", more=True), Figure("judge_accuracy", more=True),
        Figure("diversity", more=None),
    ),
    chosen_by=F1,
    about=(
        "The known PyTorch libraries of GANs for pictures (torchgan, torch-mimicry, lightweight-gan, stylegan2-pytorch) have had no release for more than a year "
        "(as of 2026-11), so the peer is what people copy: `dcgan/main.py` of PyTorch's examples. "
        f"Settings: Adam, rate 2e-4, betas 0.5 and 0.999, batches of {BATCH}, {NOISE} numbers of noise, its initial weights, binary cross-entropy, the last weights."
    ),
    apart=(
        "The stack has the three levels that 8×8 pixels need, and the width that makes it as large as ours. The class goes in as a one-hot beside the noise and as planes "
        "beside the image. Samples are drawn in evaluation mode."
    ),
)  # fmt: skip
