r"""
# Three small questions

**In this course.** [Question](../../questions/toy/three.md) · [exercise](../../notebooks/toy/three.ipynb) ·
[solution](../../solutions/toy/three.ipynb)
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def softmax(x: Float[Tensor, "N K"]) -> Float[Tensor, "N K"]:
    """Softmax over the last axis."""
    e = (x - x.max(-1, keepdim=True).values).exp()
    return e / e.sum(-1, keepdim=True)


def cross_entropy(logits: Float[Tensor, "N K"], targets: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Mean negative log-likelihood of `targets`."""
    return -torch.log_softmax(logits, -1)[torch.arange(len(targets)), targets].mean()


def accuracy(logits: Float[Tensor, "N K"], targets: Int[Tensor, " N"]) -> Float[Tensor, ""]:
    """Share of rows whose largest logit is the target's."""
    return (logits.argmax(-1) == targets).to(logits.dtype).mean()
