"""Sets of generated images beside sets of real ones: copies, coverage, and what a judge has seen before it is asked.

Unlike a judge, these look at a set as a whole, which is where a collapse and a cheat show. `digit_leaks` makes of them the leak checks of a
unit that draws digits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reference_impl.data import digits
from reference_impl.experiments import Leak
from reference_impl.judges import DigitJudge, digit_judge


def seen_by(judge: DigitJudge, images: Float[Tensor, "N 1 8 8"]) -> float:
    """Share of `images` (ink in [0, 1]) that lie among the judge's support vectors, those it keeps of what it was fitted on."""
    kept = torch.as_tensor(judge._svm.support_vectors_, dtype=torch.float32)  # (M, 64) counts
    counts = images.detach().float().cpu().flatten(1) * digits.LEVELS  # (N, 64)
    return (counts[:, None] == kept).all(-1).any(1).float().mean().item()


def copied_share(
    images: Float[Tensor, "N 1 H W"],
    training: Float[Tensor, "M 1 H W"],
    held_out: Float[Tensor, "K 1 H W"],
    closest: float = 0.05,
) -> float:
    """Share of `images` nearer to a training image than all but the `closest` share of held-out ones are.

    About `closest` for a generator that knows no more of the training set than of the held-out one; 1 for copies. The three samples
    are those of Meehan, Chaudhuri and Dasgupta, *A Non-Parametric Test to Detect Data-Copying in Generative Models* (2020).
    """
    training = training.flatten(1)

    def nearest(x: Tensor) -> Tensor:
        return torch.cdist(x.detach().float().cpu().flatten(1), training).amin(1)

    return (nearest(images) < nearest(held_out).quantile(closest)).float().mean().item()


def copied(train: Callable[..., Any], generate: Callable[..., Tensor], seed: int, device: str) -> float:
    """Share of 1,000 samples, a hundred of each digit, nearer to a training image than 19 of 20 held-out digits are.

    train and generate: those of a unit that draws digits by their label; the model is trained in full.
    """
    asked = torch.arange(digits.CLASSES).repeat(100)
    samples = generate(train(device=device, seed=seed, progress=False), asked, seed=seed)
    return copied_share(samples, digits.load("train").images, digits.load("test").images)


def digit_leaks(train: Callable[..., Any], generate: Callable[..., Tensor]) -> dict[str, Leak]:
    """What would explain the figures of a unit that draws digits without its having learned to: copies, and a judge that knows the test."""
    return {
        "copies of the training set": Leak(partial(copied, train, generate), chance=0.05, at_most=0.1),
        "the judge has seen the test": Leak(
            lambda seed, device: seen_by(digit_judge(), digits.load("test").images), chance=0.0, at_most=0.0
        ),
    }


def precision_recall(
    images: Float[Tensor, "N 1 H W"],
    labels: Int[Tensor, " N"],
    real: Float[Tensor, "M 1 H W"],
    real_labels: Int[Tensor, " M"],
    neighbours: int = 3,
) -> tuple[float, float]:
    """Share of generated images that lie among the real ones of their class, and of real ones that lie among the generated.

    A set covers a ball around each of its images, as far as its third neighbour in the set. Both figures depend on how many balls
    there are, so the generated images are taken in sets of as many as there are real ones of the class, and the sets' figures are
    averaged; ValueError where there are not enough for one. Kynkäänniemi et al. (2019), eq. 1 and 2, in pixels.
    """

    def covered(x: Tensor, by: Tensor) -> float:
        radius = torch.cdist(by, by).topk(neighbours + 1, largest=False).values[:, -1]  # the nearest is the image itself
        return (torch.cdist(x, by) <= radius).any(1).float().mean().item()

    precision, recall = [], []
    for c in real_labels.unique():
        target = real[real_labels == c].flatten(1)
        generated = images.detach().float().cpu()[labels.cpu() == c].flatten(1)
        if len(generated) < len(target):
            raise ValueError(
                f"expected at least {len(target)} generated images of class {c}, as many as real ones, got {len(generated)}"
            )
        for part in generated.split(len(target)):
            if len(part) == len(target):
                precision.append(covered(part, target))
                recall.append(covered(target, part))
    return sum(precision) / len(precision), sum(recall) / len(recall)
