"""Judges: classifiers that score what a generator made. Trained on the real training split only, apart from any generator."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from sklearn.svm import SVC
from torch import Tensor

from reference_impl.data import digits


class DigitJudge:
    """A support vector machine with an RBF kernel on the 64 pixel counts: 99.3 % on held-out real digits.

    It shares neither architecture nor training with the neural generators it judges.
    """

    def __init__(self) -> None:
        real = digits.load("train")
        self._svm = SVC(C=10.0, gamma=0.001).fit(real.counts.flatten(1).numpy(), real.labels.numpy())

    def classify(self, images: Float[Tensor, "N 1 8 8"]) -> Int[Tensor, " N"]:
        """The class that the judge reads in each image (ink in [0, 1])."""
        counts = images.detach().float().cpu().flatten(1) * digits.LEVELS  # (N, 64)
        return torch.as_tensor(self._svm.predict(counts.numpy()))

    def accuracy(self, images: Float[Tensor, "N 1 8 8"], labels: Int[Tensor, " N"]) -> float:
        """Share of `images` in which the judge reads the class that was asked for."""
        return (self.classify(images) == labels.cpu()).float().mean().item()

    def ceiling(self) -> float:
        """Accuracy on real held-out digits: no generator can honestly be asked for more."""
        real = digits.load("test")
        return self.accuracy(real.images, real.labels)


@lru_cache(maxsize=1)
def digit_judge() -> DigitJudge:
    """The judge, trained once per process (0.1 s)."""
    return DigitJudge()


def diversity_ratio(
    images: Float[Tensor, "N 1 8 8"], labels: Int[Tensor, " N"], real: Float[Tensor, "M 1 8 8"], real_labels: Int[Tensor, " M"]
) -> float:
    """Mean pairwise distance of generated images within a class, over that of real images. 1 is as varied; 0 is collapsed."""

    def spread(x: Tensor, y: Tensor) -> float:
        per_class = [torch.pdist(x[y == c].flatten(1)).mean() for c in y.unique()]
        return torch.stack(per_class).mean().item()

    return spread(images.detach().float().cpu(), labels.cpu()) / spread(real, real_labels)
