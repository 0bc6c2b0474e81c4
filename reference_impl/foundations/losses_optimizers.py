r"""
# Losses and optimizers

What is minimised, and how, without automatic differentiation: each loss gives its value *and* its gradient. For a target
distribution $q$, one-hot $y$ smoothed by $\varepsilon$ and weighted by class, and $p = \operatorname{softmax}(z)$:

$$q_k = w_k \Bigl((1 - \varepsilon)[k = y] + \frac{\varepsilon}{K}\Bigr), \qquad L = -\sum_k q_k \log p_k, \qquad
\frac{\partial L}{\partial z_k} = p_k \sum_j q_j - q_k .$$

The **focal loss** $-(1 - p_y)^\gamma \log p_y$ quietens what is easy; **Huber's** loss is a square near 0 and a line far off, so
that no residual pulls with more than $\delta$.

An **optimizer** turns gradients into steps. Momentum adds them up, Adam divides by their root mean square, and AdamW shrinks the
weights beside that division rather than through it:

$$m \leftarrow \beta_1 m + (1 - \beta_1) g, \qquad v \leftarrow \beta_2 v + (1 - \beta_2) g^2, \qquad
\theta \leftarrow (1 - \eta\lambda)\,\theta - \eta\, \frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon} .$$

Muon replaces the singular values of a matrix $M = U\Sigma V^\top$ of momentum by numbers near 1, with an odd polynomial that is
applied to the matrix itself, five times over:

$$X \leftarrow aX + b\,(XX^\top) X + c\,(XX^\top)^2 X = U\,(a\Sigma + b\Sigma^3 + c\Sigma^5)\,V^\top .$$

Around it: a **learning rate** that warms up and then falls along a cosine, **gradients clipped** by their common norm, and
**initial weights** whose variance, $2 / n_{\text{in}}$ before a ReLU, keeps signals of one size through thirty layers.

**Asked in interviews.** Derive the gradient of softmax with cross-entropy. What is the smoothed target, and by what is the
weighted mean divided? When does focal loss help? Why does Adam correct its bias? How do AdamW and Adam with L2 differ, in a
formula? What does Muon do to a matrix, and which parameters are not for it? Why warm up? Why He and not Glorot with a ReLU?

**Sources.** Szegedy et al., *Rethinking the Inception Architecture* (2016), section 7; Lin et al., *Focal Loss for Dense Object
Detection* (2017), eq. 4; Huber, *Robust Estimation of a Location Parameter* (1964); Sutskever et al., *On the importance of
initialization and momentum* (2013); Kingma and Ba, *Adam* (2015), algorithm 1; Loshchilov and Hutter, *Decoupled Weight Decay
Regularization* (2019), algorithm 2, and *SGDR* (2017), eq. 5; Jordan et al., *Muon* (2024); Pascanu et al., *On the difficulty of
training recurrent neural networks* (2013), algorithm 1; Glorot and Bengio (2010), eq. 16; He et al., *Delving Deep into
Rectifiers* (2015), eq. 10 and 15.

**In this course.** [Question](../../questions/foundations/losses_optimizers.md) ·
[exercise](../../notebooks/foundations/losses_optimizers.ipynb) ·
[solution](../../solutions/foundations/losses_optimizers.ipynb)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from reference_impl.data import digits
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

AdamState = tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"], int]  # first and second moments, steps taken
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al.: the steepest start that still ends near 1
FANS = ("fan_in", "fan_out", "average")

# --- losses, each with its gradient ---


def log_softmax(z: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Logarithms of the softmax of each row; the maximum is subtracted, so logits may have any size."""
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def checked(
    logits: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"], weights: Float[np.ndarray, " K"] | None
) -> Float[np.ndarray, " K"]:
    """The weights of the classes, 1 each where None is given.

    Raises ValueError unless each row has a target from 0 to K - 1 (NumPy would take -1 for the last class), there is one weight
    for each class, none of them negative, and the weights of the targets add up to more than 0.
    """
    N, K = logits.shape
    scale = np.ones(K, logits.dtype) if weights is None else weights
    if targets.shape != (N,) or ((targets < 0) | (targets >= K)).any():
        raise ValueError(f"expected {N} targets of 0 to {K - 1}, got {targets}")
    if scale.shape != (K,) or not (scale >= 0).all() or not scale[targets].sum() > 0:
        raise ValueError(f"expected {K} weights, none negative and some target's above 0, got {scale} for targets {targets}")
    return scale


def cross_entropy(
    logits: Float[np.ndarray, "N K"],
    targets: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " K"] | None = None,
    smoothing: float = 0.0,
) -> tuple[float, Float[np.ndarray, "N K"]]:
    r"""The mean in nats of $-\sum_k q_k \log p_k$, $q_k = w_k ((1 - \varepsilon)[k = y] + \varepsilon / K)$, and its gradient.

    The mean is weighted: the sum over rows is divided by the sum of the weights of their targets, as in `F.cross_entropy`. A class
    with q = 0 adds nothing, so its logit may be $-\infty$. Szegedy et al. (2016), section 7. Raises ValueError for what `checked`
    refuses, and unless 0 <= smoothing <= 1.
    """
    scale = checked(logits, targets, weights)
    if not 0 <= smoothing <= 1:
        raise ValueError(f"expected a smoothing of 0 to 1, got {smoothing}")
    K, log_p = logits.shape[1], log_softmax(logits)
    q = ((1 - smoothing) * np.eye(K, dtype=logits.dtype)[targets] + smoothing / K) * scale  # (N, K); a row need not add up to 1
    total = scale[targets].sum()
    loss = -(q * np.where(q > 0, log_p, 0)).sum() / total
    return float(loss), (np.exp(log_p) * q.sum(axis=1, keepdims=True) - q) / total


def focal_loss(
    logits: Float[np.ndarray, "N K"],
    targets: Int[np.ndarray, " N"],
    weights: Float[np.ndarray, " K"] | None = None,
    gamma: float = 2.0,
) -> tuple[float, Float[np.ndarray, "N K"]]:
    r"""The weighted mean in nats of $-(1 - p_y)^\gamma \log p_y$, and its gradient: for $\gamma = 0$ that of `cross_entropy`.

    The gradient stays finite where $p_y$ is 1 in floating point, for any $\gamma \ge 0$. Lin et al. (2017), eq. 5, whose $\alpha$
    is the weight. Raises ValueError for what `checked` refuses, and if gamma is negative.
    """
    scale = checked(logits, targets, weights)
    if not gamma >= 0:
        raise ValueError(f"expected a gamma of at least 0, got {gamma}")
    rows, log_p = np.arange(len(targets)), log_softmax(logits)
    right = log_p[rows, targets]  # (N,)
    wrong = np.maximum(1 - np.exp(right), np.finfo(logits.dtype).tiny)  # 1 - p; a power of it below 0 must stay finite
    share = scale[targets] / scale[targets].sum()
    slope = -(wrong**gamma) + gamma * wrong ** (gamma - 1) * np.exp(right) * right  # by log p of the target
    toward = np.eye(logits.shape[1], dtype=logits.dtype)[targets] - np.exp(log_p)  # log p by the logits
    return float(-(share * wrong**gamma * right).sum()), (share * slope)[:, None] * toward


def huber(
    prediction: Float[np.ndarray, "*shape"], target: Float[np.ndarray, "*shape"], delta: float = 1.0
) -> tuple[float, Float[np.ndarray, "*shape"]]:
    r"""The mean of $r^2 / 2$ where $|r| \le \delta$ and of $\delta (|r| - \delta / 2)$ elsewhere, and its gradient.

    r: prediction - target; the gradient is that of the prediction. Huber (1964). Raises ValueError if the shapes differ (they
    would be broadcast), if they are empty, and unless delta > 0.
    """
    if prediction.shape != target.shape or prediction.size == 0 or not delta > 0:
        raise ValueError(f"expected equal shapes and delta > 0, got {prediction.shape}, {target.shape} and {delta}")
    residual = prediction - target
    pull = np.clip(residual, -delta, delta)  # the derivative
    loss = (pull * (residual - pull / 2)).mean()  # r²/2 where pull is r, delta |r| - delta²/2 where it is ± delta
    return float(loss), pull / residual.size


# --- optimizers: pure functions from parameter, gradient and state to parameter and state ---


def sgd(
    parameter: Float[np.ndarray, "*shape"],
    gradient: Float[np.ndarray, "*shape"],
    buffer: Float[np.ndarray, "*shape"],
    rate: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    decay: float = 0.0,
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    """The parameter and the buffer after one step, as in `torch.optim.SGD`; the buffer begins with zeros.

    decay: L2, added to the gradient. Then the buffer becomes momentum times itself plus the gradient; the step goes along it, or
    with `nesterov` along gradient + momentum * buffer. Sutskever et al. (2013), eq. 1 to 4, the rate taken out of the buffer.
    Raises ValueError if the three shapes differ, and unless 0 <= momentum < 1.
    """
    if not parameter.shape == gradient.shape == buffer.shape or not 0 <= momentum < 1:
        raise ValueError(
            f"expected equal shapes, momentum in [0, 1), got {parameter.shape}, {gradient.shape}, {buffer.shape}, {momentum}"
        )
    gradient = gradient + decay * parameter
    buffer = momentum * buffer + gradient
    along = gradient + momentum * buffer if nesterov else buffer
    return parameter - rate * along, buffer


def adam(
    parameter: Float[np.ndarray, "*shape"],
    gradient: Float[np.ndarray, "*shape"],
    state: AdamState,
    rate: float,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    decay: float = 0.0,
    decoupled: bool = True,
) -> tuple[Float[np.ndarray, "*shape"], AdamState]:
    """The parameter and (first moment, second moment, steps taken) after one step; the state begins with zeros, zeros and 0.

    decay: with `decoupled` the parameter is first multiplied by 1 - rate * decay (AdamW), else decay times the parameter is added
    to the gradient (L2). eps is added to the root of the corrected second moment. Kingma and Ba (2015), algorithm 1; Loshchilov
    and Hutter (2019), algorithm 2. Raises ValueError if shapes differ, and unless both betas lie in [0, 1).
    """
    first, second, steps = state
    if not parameter.shape == gradient.shape == first.shape == second.shape or not all(0 <= beta < 1 for beta in betas):
        raise ValueError(f"expected equal shapes and betas in [0, 1), got {parameter.shape}, {gradient.shape} and {betas}")
    if decoupled:
        parameter = parameter * (1 - rate * decay)
    else:
        gradient = gradient + decay * parameter
    first = betas[0] * first + (1 - betas[0]) * gradient
    second = betas[1] * second + (1 - betas[1]) * gradient**2
    mean = first / (1 - betas[0] ** (steps + 1))  # both began at 0 and are too small by these factors
    size = np.sqrt(second / (1 - betas[1] ** (steps + 1)))
    return parameter - rate * mean / (size + eps), (first, second, steps + 1)


def newton_schulz(
    matrix: Float[np.ndarray, "n m"], steps: int = 5, coefficients: tuple[float, float, float] = COEFFICIENTS
) -> Float[np.ndarray, "n m"]:
    r"""$U f(\dots f(\Sigma / \lVert M \rVert_F)) V^\top$ of $M = U \Sigma V^\top$, with $f(x) = ax + bx^3 + cx^5$ applied `steps` times.

    No decomposition is made: f acts on the matrix, by products. Of zeros it is zeros. With the default coefficients, singular
    values of 1/500 of the norm and more end between 0.68 and 1.21 after five steps. Jordan et al. (2024). Raises ValueError for
    anything but a matrix: a kernel is to be flattened, a vector belongs to another optimizer.
    """
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix, got an array of shape {matrix.shape}")
    norm = np.linalg.norm(matrix)
    a, b, c = coefficients
    x = matrix / norm if norm > 0 else matrix.copy()  # no singular value is above 1 now
    for _ in range(steps):
        gram = x @ x.T  # (n, n)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def muon(
    parameter: Float[np.ndarray, "n m"],
    gradient: Float[np.ndarray, "n m"],
    buffer: Float[np.ndarray, "n m"],
    rate: float,
    momentum: float = 0.95,
    decay: float = 0.0,
) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "n m"]]:
    """The parameter and the buffer after one step along the orthogonalised Nesterov momentum, with decoupled decay.

    As in `torch.optim.Muon`: the step is longer by the root of n / m where a matrix is tall. Jordan et al. (2024).
    """
    buffer = momentum * buffer + gradient
    along = newton_schulz(gradient + momentum * buffer)
    n, m = parameter.shape
    return parameter * (1 - rate * decay) - rate * math.sqrt(max(1.0, n / m)) * along, buffer


# --- around the step ---


def warmup_cosine(step: int, peak: float, warmup: int, total: int, floor: float = 0.0) -> float:
    r"""The learning rate of step 0, 1, …: up in `warmup` even parts, the first not 0 and the last the peak, then down along a cosine.

    From step `warmup` on it is $\text{floor} + (\text{peak} - \text{floor}) (1 + \cos \pi x) / 2$, x the share of the other
    `total - warmup` steps that has passed; from `total` on it is the floor. Loshchilov and Hutter (2017), eq. 5. Raises ValueError
    for a negative step, and unless 0 <= warmup <= total.
    """
    if step < 0 or not 0 <= warmup <= total:
        raise ValueError(f"expected a step of at least 0 and 0 <= warmup <= total, got {step}, {warmup} and {total}")
    if step < warmup:
        return peak * (step + 1) / warmup
    if step >= total:
        return floor
    passed = (step - warmup) / (total - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * passed)) / 2


def clip_by_global_norm(
    gradients: Sequence[Float[np.ndarray, "..."]], limit: float
) -> tuple[list[Float[np.ndarray, "..."]], float]:
    r"""All gradients times $\min(1, \text{limit} / (\lVert g \rVert + 10^{-6}))$, and their common norm before that.

    The direction stays. The norm is that of all numbers of all arrays, computed in float64 and relative to the largest of them, so
    that squares neither overflow nor vanish; of nothing it is 0. As `torch.nn.utils.clip_grad_norm_`. Pascanu et al. (2013),
    algorithm 1. Raises ValueError unless limit > 0, and if a number is infinite or NaN: such a step is to be skipped.
    """
    if not limit > 0 or not all(np.isfinite(gradient).all() for gradient in gradients):
        raise ValueError(f"expected finite gradients and a limit above 0, got {limit} and {gradients}")
    largest = max((float(np.abs(gradient).max(initial=0)) for gradient in gradients), default=0.0)
    unit = largest if largest > 0 else 1.0
    norm = unit * math.sqrt(sum(float(((gradient.astype(np.float64) / unit) ** 2).sum()) for gradient in gradients))
    factor = min(1.0, limit / (norm + 1e-6))
    return [gradient * factor for gradient in gradients], norm


def initial_weights(
    uniforms: Float[np.ndarray, "out inp *kernel"], fan: str = "fan_in", slope: float = 0.0
) -> Float[np.ndarray, "out inp *kernel"]:
    r"""Uniform weights of mean 0 and variance $2 / ((1 + \text{slope}^2)\, n)$, from uniform numbers in [0, 1).

    n: inputs times places of the kernel (`fan_in`), outputs times places (`fan_out`), or their `average`. slope: that of the leaky
    ReLU behind the layer for negative numbers, 0 for a ReLU and 1 for none. So the default is Kaiming's, and `average` with a slope
    of 1 is Xavier's. He et al. (2015), eq. 15; Glorot and Bengio (2010), eq. 16. Raises ValueError for another fan, and for fewer
    than two axes.
    """
    if fan not in FANS or uniforms.ndim < 2:
        raise ValueError(f"expected one of {FANS} and at least two axes, got {fan!r} and {uniforms.shape}")
    out, inp, *kernel = uniforms.shape
    ways = {"fan_in": inp, "fan_out": out, "average": (out + inp) / 2}[fan]
    variance = 2 / (1 + slope**2) / (ways * math.prod(kernel))
    return (2 * uniforms - 1) * math.sqrt(3 * variance)  # uniform on ±b has the variance b²/3
