"""image/vae beside `AutoencoderKL`, the VAE of `diffusers`, of about the same size."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from benchmarks.peers import validation
from benchmarks.peers.contest import Contest, Figure, Package, Peer, Reference, count
from reference_impl.data import digits
from reference_impl.image import vae
from reference_impl.runtime import batches, seed_everything, track
from reference_impl.samples import precision_recall

BATCH = 128
CHANNELS = (16, 32, 40)
LATENT, SIDE = 2, 2  # 2 channels of 2×2: 8 numbers, as many as ours
DRAWS = 16  # of noise, in validation


class ClassAutoencoder(nn.Module):
    """`AutoencoderKL` that is told the class: as ten constant planes beside the image, and as ten more latent channels for the decoder.

    It is called as ours is, so that `vae.evaluate` judges both.
    """

    def __init__(self) -> None:
        from diffusers import AutoencoderKL

        super().__init__()
        self.config = SimpleNamespace(latent=LATENT * SIDE * SIDE)
        self.vae: Any = AutoencoderKL(
            in_channels=1 + digits.CLASSES, out_channels=1, latent_channels=LATENT + digits.CLASSES,
            down_block_types=("DownEncoderBlock2D",) * len(CHANNELS), up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
            block_out_channels=CHANNELS, norm_num_groups=8, sample_size=digits.SIZE,
        )  # fmt: skip

    def encode(
        self, images: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Mean and log-variance of the latent; what the encoder says of the channels that hold the class is not used."""
        found = self.vae.encode(torch.cat([2 * images - 1, planes(labels, digits.SIZE)], dim=1)).latent_dist
        return found.mean[:, :LATENT].flatten(1), found.logvar[:, :LATENT].flatten(1)

    def decode(self, z: Float[Tensor, "B D"], labels: Int[Tensor, " B"]) -> Float[Tensor, "B 1 8 8"]:
        """Logits of ink per pixel."""
        latent = torch.cat([z.unflatten(1, (LATENT, SIDE, SIDE)), planes(labels, SIDE)], dim=1)
        return self.vae.decode(latent).sample

    def forward(
        self, counts: Float[Tensor, "B 1 8 8"], labels: Int[Tensor, " B"], noise: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B 1 8 8"], Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Encode, sample with the given noise, decode: logits, mu, logvar."""
        mu, logvar = self.encode(counts / digits.LEVELS, labels)
        return self.decode(vae.reparameterize(mu, logvar, noise), labels), mu, logvar


def planes(labels: Int[Tensor, " B"], side: int) -> Float[Tensor, "B K S S"]:
    """The class as ten constant planes."""
    return F.one_hot(labels, digits.CLASSES).float()[:, :, None, None].expand(-1, -1, side, side)


@torch.no_grad()
def neg_elbo(model: Any, data: digits.Digits, seed: int) -> float:
    """The mean of minus the ELBO over `data`, in nats, from a few draws of noise."""
    generator, total = torch.Generator().manual_seed(seed), 0.0
    for _ in range(DRAWS):
        noise = torch.randn(len(data), model.config.latent, generator=generator)
        total -= vae.elbo(*_in_order(model(data.counts, data.labels, noise), data.counts)).mean().item()
    return total / DRAWS


def _in_order(found: tuple[Tensor, Tensor, Tensor], counts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    logits, mu, logvar = found
    return logits, counts, mu, logvar


def judged(model: Any, seed: int) -> dict[str, float]:
    """What `vae.evaluate` says, and how 4,500 samples share the space of the held-out digits."""
    held_out, asked = digits.load("test"), torch.arange(digits.CLASSES).repeat(450)
    precision, recall = precision_recall(vae.generate(model, asked, seed=seed), asked, held_out.images, held_out.labels)
    return vae.evaluate(model, seed=seed) | {"precision": precision, "recall": recall}


@dataclass(frozen=True)
class Diffusers(Peer):
    """`AutoencoderKL` under our likelihood."""

    rate: float = 4.5e-6 * BATCH

    def train(self, steps: int, *, seed: int, show: bool = False) -> ClassAutoencoder:
        generator, data = seed_everything(seed), digits.load("train")
        if self.validating:
            data = validation.drawn(data, ~validation.handwriting())
        model = ClassAutoencoder().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.rate, betas=(0.9, 0.999), weight_decay=1e-2)
        rows = batches(len(data), BATCH, steps, generator)
        for batch in track(rows, total=steps, description="AutoencoderKL of diffusers", show=show):
            x, y = data.counts[batch], data.labels[batch]
            noise = torch.randn(len(batch), model.config.latent, generator=generator)
            loss = -vae.elbo(*_in_order(model(x, y, noise), x)).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return model.eval()

    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        if self.validating:
            return {"neg_elbo": neg_elbo(model, validation.drawn(digits.load("train"), validation.handwriting()), seed)}
        return judged(model, seed)

    def parameters(self) -> int:
        return count(ClassAutoencoder())


NATS = Figure("neg_elbo", more=False)
CONTEST = Contest(
    unit="image/vae",
    title="AutoencoderKL of diffusers",
    ours=Reference(vae, judged, lambda: count(vae.VAE())),
    peer=Diffusers(),
    figures=(
        NATS, Figure("neg_log_likelihood", more=False), Figure("judge_accuracy", more=True), Figure("precision", more=True), Figure("recall", more=True),
    ),
    chosen_by=NATS,
    packages=(Package("diffusers", "diffusers"),),
    about=(
        f"`AutoencoderKL` with {', '.join(map(str, CHANNELS))} channels and as many latent numbers as ours (pythae, a library of VAEs, has had no release since 2023). Settings: "
        "`train_autoencoderkl.py` in the repository of diffusers (`examples/research_projects/autoencoderkl`): AdamW, betas 0.9 and 0.999, weight decay 0.01, "
        "gradients clipped at 1, a constant rate of 4.5e-6 times the batch (its `--scale_lr`, the rule of latent diffusion)."
    ),
    apart=(
        f"Batches of {BATCH}, as ours, not of 4. That script's loss is squared error with LPIPS, a discriminator after 50,000 steps and a KL of weight 1e-6, which is no bound "
        "in nats; here the output of the decoder is the logits of our likelihood, and the KL counts in full, so the ELBOs compare. The class goes in as planes "
        "beside the image and beside the latent."
    ),
)  # fmt: skip
