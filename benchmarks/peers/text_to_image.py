"""convert/text_to_image beside the classifier-free guidance of `denoising-diffusion-pytorch`, of about the same size."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from benchmarks.peers import validation
from benchmarks.peers.contest import Contest, Figure, Package, Peer, Reference, count
from reference_impl.convert import text_to_image
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import diversity_ratio, motion_digit_judge, place_judge
from reference_impl.runtime import batches, seed_everything, track

BATCH = 16
WIDTH, LEVELS = 16, (1, 2, 2)
SAMPLING = 100  # steps
AT_ONCE = 144  # pictures drawn in one batch
ASKED, TRIED = 4, 2  # captions of each pair that a model is asked for, and in validation: a picture of the peer takes a second
PACKAGE = "denoising_diffusion_pytorch"

Draw = Callable[[Sequence[str]], Float[Tensor, "B 1 24 24"]]


def judged(draw: Draw, data: motion.Split) -> dict[str, float]:
    """What the judges see in a picture for each caption of `data`, English and Chinese in turn, as in `text_to_image.evaluate`."""
    captions = [(data.captions, data.captions_zh)[i % 2][i] for i in range(len(data))]
    pictures = draw(captions)
    digit = motion_digit_judge().classify(pictures) == data.digits
    place = place_judge().classify(pictures) == data.places
    pairs = data.digits * len(motion.PLACES) + data.places
    return {
        "digit": digit.float().mean().item(),
        "place": place.float().mean().item(),
        "both": (digit & place).float().mean().item(),
        "diversity": diversity_ratio(pictures, pairs, data.images, pairs),
    }


def of_ours(model: text_to_image.UNet, seed: int) -> dict[str, float]:
    """The judges' view of ours; also of the pairs of digit and place that training never shows, for which the peer has no class."""

    def draw(captions: Sequence[str]) -> Float[Tensor, "B 1 24 24"]:
        return text_to_image.convert(model, captions, seed=seed)

    figures = judged(draw, few(motion.load("test"), ASKED))
    unseen = judged(draw, motion.load("compositional"))
    return figures | {"both_compositional": unseen["both"]}


def classes(captions: Sequence[str]) -> Int[Tensor, " B"]:
    """Digit × place, which is all that a caption says, as one of forty classes."""
    said = [motion.meaning(caption) for caption in captions]
    return torch.tensor([digit * len(motion.PLACES) + motion.PLACES.index(place) for digit, place in said])


def library() -> Any:
    """The module `classifier_free_guidance`, on its own: the package itself imports a trainer, and with it torchvision and accelerate."""
    name = f"{PACKAGE}.classifier_free_guidance"
    if name not in sys.modules:
        package = importlib.util.find_spec(PACKAGE)
        assert package is not None and package.origin is not None
        spec = importlib.util.spec_from_file_location(name, Path(package.origin).with_name("classifier_free_guidance.py"))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]


def few(data: motion.Split, each: int) -> motion.Split:
    """The first `each` items of every pair."""
    pairs = data.digits * len(motion.PLACES) + data.places
    return data.select(torch.cat([(pairs == pair).nonzero()[:each, 0] for pair in pairs.unique()]))


@dataclass(frozen=True)
class Denoising(Peer):
    """`Unet` and `GaussianDiffusion`, trained as the package's `Trainer` does: Adam at a constant rate, and an average of the weights."""

    rate: float = 1e-4

    def new(self) -> Any:
        """A diffusion with random weights."""
        unet = library().Unet(WIDTH, num_classes=motion.DIGITS * len(motion.PLACES), dim_mults=LEVELS, channels=1)
        return library().GaussianDiffusion(unet, image_size=motion.SIZE, sampling_timesteps=SAMPLING)

    def train(self, steps: int, *, seed: int, show: bool = False) -> Any:
        from ema_pytorch import EMA

        generator, data = seed_everything(seed), motion.load("train")
        if self.validating:
            data = data.select((~validation.pictures()).nonzero()[:, 0])
        pairs = data.digits * len(motion.PLACES) + data.places
        diffusion = self.new().train()
        optimizer = torch.optim.Adam(diffusion.parameters(), lr=self.rate, betas=(0.9, 0.99))
        averaged = EMA(diffusion, beta=0.995, update_every=10)
        rows = batches(len(data), BATCH, steps, generator)
        for batch in track(rows, total=steps, description="denoising-diffusion-pytorch", show=show):
            loss = diffusion(data.images[batch], classes=pairs[batch])  # it scales ink to [-1, 1] itself
            loss.backward()
            nn.utils.clip_grad_norm_(diffusion.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            averaged.update()
        return averaged.ema_model.eval()

    def draw(self, model: Any, captions: Sequence[str], seed: int) -> Float[Tensor, "B 1 24 24"]:
        """A picture for each caption, with the package's own guidance."""
        torch.manual_seed(seed)
        return torch.cat([model.sample(part) for part in classes(captions).split(AT_ONCE)]).clamp(0, 1)

    def quality(self, model: Any, *, seed: int) -> dict[str, float]:
        if self.validating:
            data = few(motion.load("train").select(validation.pictures().nonzero()[:, 0]), TRIED)
        else:
            data = few(motion.load("test"), ASKED)
        return judged(lambda captions: self.draw(model, captions, seed), data)

    def parameters(self) -> int:
        return count(self.new())


BOTH = Figure("both", more=True)
CONTEST = Contest(
    unit="convert/text_to_image",
    title="denoising-diffusion-pytorch",
    ours=Reference(text_to_image, of_ours, lambda: count(text_to_image.UNet())),
    peer=Denoising(),
    figures=(
        BOTH, Figure("digit", more=True), Figure("place", more=True), Figure("diversity", more=None),
        Figure("both_compositional", more=True),
    ),
    chosen_by=BOTH,
    packages=(
        Package("einops", "einops"),
        Package("ema-pytorch", "ema_pytorch"),
        Package("denoising-diffusion-pytorch", PACKAGE, "pip install --no-deps -c constraints.txt denoising-diffusion-pytorch"),
    ),
    about=(
        f"`Unet` (width {WIDTH}, multiples {', '.join(map(str, LEVELS))}) and `GaussianDiffusion` of its module `classifier_free_guidance`. Settings: the "
        "defaults of both and of its `Trainer`: 1,000 timesteps, cosine schedule, noise as the target, classes hidden in half of the cases; Adam, rate 1e-4, betas "
        f"0.9 and 0.99, batches of {BATCH}, gradients clipped at 1, an average of the weights (0.995, every 10 steps); guidance 6, rescaled by 0.7."
    ),
    apart=(
        "The peer reads no captions: it is told digit and place as one of forty classes, which is the easier task, and it has no class for the pairs that training "
        f"never shows (`both_compositional`). The `Trainer` reads folders of files and cannot pass a class, so its loop is written out. It samples in {SAMPLING} steps, "
        f"not the 250 of its README, and {ASKED} held-out captions of each pair are asked of either side, since its network is slow on a CPU."
    ),
)  # fmt: skip
