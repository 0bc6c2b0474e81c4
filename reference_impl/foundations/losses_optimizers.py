r"""
# Losses and optimizers

Without automatic differentiation, each **loss** gives its value *and* its gradient. For a target distribution $q$, one-hot $y$
smoothed by $\varepsilon$ and weighted by class, and $p = \operatorname{softmax}(z)$:

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

**Sources.** Szegedy et al., *Rethinking the Inception Architecture* (2016); Lin et al., *Focal Loss* (2017); Huber, *Robust
Estimation of a Location Parameter* (1964); Sutskever et al., *On the importance of initialization and momentum* (2013); Kingma and
Ba, *Adam* (2015); Loshchilov and Hutter, *Decoupled Weight Decay Regularization* (2019) and *SGDR* (2017); Jordan et al., *Muon*
(2024); Pascanu et al., *On the difficulty of training recurrent neural networks* (2013); Glorot and Bengio, *Understanding the
difficulty of training deep feedforward neural networks* (2010); He et al., *Delving Deep into Rectifiers* (2015).

**In this course.** [Question](../../questions/foundations/losses_optimizers.md) ·
[exercise](../../notebooks/foundations/losses_optimizers.ipynb) · [solution](../../solutions/foundations/losses_optimizers.ipynb)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

Array = Float[np.ndarray, "*shape"]
Weights = Float[np.ndarray, " K"] | None  # of the classes
AdamState = tuple[Array, Array, int]  # first and second moments, steps taken
COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # Jordan et al.: the steepest start that still ends near 1

# --- losses, each with its gradient ---


def log_softmax(z: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N K"]:
    """Logarithms of the softmax of each row; the maximum is subtracted, so logits may have any size."""
    shifted = z - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def checked(logits: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"], weights: Weights) -> Float[np.ndarray, " K"]:
    """The weights of the classes, 1 each where None is given. Raises ValueError unless each row has a target from 0 to K - 1 (NumPy
    would take -1 for the last class), each class a weight, none is negative, and those of the targets add up to more than 0."""
    N, K = logits.shape
    scale = np.ones(K, logits.dtype) if weights is None else weights
    if targets.shape != (N,) or ((targets < 0) | (targets >= K)).any():
        raise ValueError(f"expected {N} targets of 0 to {K - 1}, got {targets}")
    if scale.shape != (K,) or not (scale >= 0).all() or not scale[targets].sum() > 0:
        raise ValueError(f"expected {K} weights, none negative and some target's above 0, got {scale} for targets {targets}")
    return scale


def cross_entropy(
    logits: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"], weights: Weights = None, smoothing: float = 0.0
) -> tuple[float, Float[np.ndarray, "N K"]]:
    r"""The mean in nats of $-\sum_k q_k \log p_k$, $q_k = w_k ((1 - \varepsilon)[k = y] + \varepsilon / K)$, and its gradient.

    The mean is weighted: the sum over rows is divided by the sum of the weights of their targets, as in `F.cross_entropy`. A class
    with q = 0 adds nothing, also where its logit is $-\infty$; where q > 0 that costs $\infty$. Szegedy et al. (2016), section 7.
    Raises ValueError for what `checked` refuses, and unless 0 <= smoothing <= 1.
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
    logits: Float[np.ndarray, "N K"], targets: Int[np.ndarray, " N"], weights: Weights = None, gamma: float = 2.0
) -> tuple[float, Float[np.ndarray, "N K"]]:
    r"""The weighted mean in nats of $-(1 - p_y)^\gamma \log p_y$, and its gradient; for $\gamma = 0$ it is `cross_entropy`.

    The gradient is finite for every $\gamma \ge 0$, also where $p_y$ is 1 in floating point or the target's logit is $-\infty$; that
    costs $\infty$, unless its weight is 0. Lin et al. (2017), eq. 5, whose $\alpha$ is the weight. Raises ValueError for what
    `checked` refuses, and if gamma is negative.
    """
    scale = checked(logits, targets, weights)
    if not gamma >= 0:
        raise ValueError(f"expected a gamma of at least 0, got {gamma}")
    rows, log_p = np.arange(len(targets)), log_softmax(logits)
    share, right = scale[targets] / scale[targets].sum(), log_p[rows, targets]  # (N,), (N,)
    p = np.exp(right)
    wrong = np.maximum(1 - p, np.finfo(logits.dtype).tiny)  # a power of it below 0 must stay finite
    loss = -(share * wrong**gamma * np.where(share > 0, right, 0)).sum()  # 0 times infinity is NaN, so select before
    slope = gamma * wrong ** (gamma - 1) * p * np.where(p > 0, right, 0) - wrong**gamma  # by log p of the target
    toward = np.eye(logits.shape[1], dtype=logits.dtype)[targets] - np.exp(log_p)  # log p by the logits
    return float(loss), (share * slope)[:, None] * toward


def huber(
    prediction: Float[np.ndarray, "*shape"], target: Float[np.ndarray, "*shape"], delta: float = 1.0
) -> tuple[float, Float[np.ndarray, "*shape"]]:
    r"""The mean of $r^2 / 2$ where $|r| \le \delta$ and of $\delta (|r| - \delta / 2)$ elsewhere, and its gradient by the prediction.

    r: prediction - target. Huber (1964). Raises ValueError if shapes differ (they would be broadcast) or hold nothing, or delta <= 0.
    """
    if prediction.shape != target.shape or prediction.size == 0 or not delta > 0:
        raise ValueError(f"expected equal shapes and delta > 0, got {prediction.shape}, {target.shape} and {delta}")
    residual = prediction - target
    pull = np.clip(residual, -delta, delta)  # the derivative
    loss = (pull * (residual - pull / 2)).mean()  # r²/2 where pull is r, delta |r| - delta²/2 where it is ± delta
    return float(loss), pull / residual.size


# --- optimizers: pure functions from parameter, gradient and state to parameter and state ---


def sgd(
    parameter: Float[np.ndarray, "*shape"], gradient: Float[np.ndarray, "*shape"], buffer: Float[np.ndarray, "*shape"],
    rate: float, momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0,
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:  # fmt: skip
    """The parameter and the buffer after one step, as in `torch.optim.SGD`; the buffer begins with zeros.

    decay: L2, added to the gradient. Then the buffer becomes momentum times itself plus the gradient; the step goes along it, or
    with `nesterov` along gradient + momentum * buffer. Sutskever et al. (2013), eq. 1 to 4, the rate taken out of the buffer.
    Raises ValueError if the three shapes differ, and unless 0 <= momentum < 1.
    """
    shapes = parameter.shape, gradient.shape, buffer.shape
    if len(set(shapes)) > 1 or not 0 <= momentum < 1:
        raise ValueError(f"expected equal shapes and a momentum in [0, 1), got {shapes} and {momentum}")
    gradient = gradient + decay * parameter
    buffer = momentum * buffer + gradient
    along = gradient + momentum * buffer if nesterov else buffer
    return parameter - rate * along, buffer


def adam(
    parameter: Float[np.ndarray, "*shape"], gradient: Float[np.ndarray, "*shape"], state: AdamState, rate: float,
    betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, decay: float = 0.0, decoupled: bool = True,
) -> tuple[Float[np.ndarray, "*shape"], AdamState]:  # fmt: skip
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


def muon(
    parameter: Array, gradient: Array, buffer: Array, rate: float, momentum: float = 0.95, decay: float = 0.0, steps: int = 5
) -> tuple[Array, Array]:
    """One step along the orthogonalised Nesterov momentum, longer by √(n / m) where a matrix is tall, as in `torch.optim.Muon`."""
    (n, m), buffer = parameter.shape, momentum * buffer + gradient
    along = newton_schulz(gradient + momentum * buffer, steps)
    return parameter * (1 - rate * decay) - rate * math.sqrt(max(1.0, n / m)) * along, buffer


def newton_schulz(
    matrix: Float[np.ndarray, "n m"], steps: int = 5, coefficients: tuple[float, float, float] = COEFFICIENTS
) -> Float[np.ndarray, "n m"]:
    r"""$U f(\dots f(\Sigma / \lVert M \rVert_F)) V^\top$ of $M = U \Sigma V^\top$, with $f(x) = ax + bx^3 + cx^5$ applied `steps` times.

    M may be so large or so small that its squares overflow or vanish; of zeros the result is zeros. By default, singular values of
    1/500 of the norm and more end between 0.68 and 1.21. Jordan et al. (2024). Raises ValueError unless M has two axes.
    """
    if matrix.ndim != 2:
        raise ValueError(f"expected a matrix, got an array of shape {matrix.shape}")
    largest, (a, b, c) = float(np.abs(matrix).max(initial=0)), coefficients
    x = matrix / (largest if largest > 0 else 1.0)
    x = x / max(float(np.linalg.norm(x)), 1.0)  # 0 or at least 1; now no singular value is above 1
    for _ in range(steps):
        gram = x @ x.T  # (n, n)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


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


def clip_by_global_norm(gradients: list[Float[np.ndarray, "..."]], limit: float) -> tuple[list[Float[np.ndarray, "..."]], float]:
    r"""All gradients times $\min(1, \text{limit} / (\lVert g \rVert + 10^{-6}))$, and their common norm before that.

    The norm is that of all numbers of all arrays, computed in float64 and relative to the largest, so that squares neither overflow
    nor vanish; of nothing it is 0. As `torch.nn.utils.clip_grad_norm_`. Pascanu et al. (2013), algorithm 1. Raises ValueError
    unless limit > 0, and if a number is infinite or NaN: such a step is to be skipped.
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
    ReLU behind the layer, 0 for a ReLU and 1 for none; the default is Kaiming's, `average` with a slope of 1 Xavier's. He et al.
    (2015), eq. 15; Glorot and Bengio (2010), eq. 16. Raises ValueError for another fan, and for fewer than two axes.
    """
    out, inp, *kernel = uniforms.shape  # of fewer axes Python raises ValueError itself
    ways = {"fan_in": inp, "fan_out": out, "average": (out + inp) / 2}
    if fan not in ways:
        raise ValueError(f"expected one of {', '.join(ways)}, got {fan!r}")
    variance = 2 / (1 + slope**2) / (ways[fan] * math.prod(kernel))
    return (2 * uniforms - 1) * math.sqrt(3 * variance)  # uniform on ±b has the variance b²/3


# --- what it is measured by ---

Problem = tuple[Callable[[Array], tuple[float, Array]], Array]  # the loss with its gradient, and where it starts
TOLERANCE, PATIENCE = 1e-4, 4000  # a run is over where its loss is that share of the first, or after so many steps
OCTAVES = [2.0**k for k in range(-12, 2)]  # of learning rates
SCALES, RATE, DECAY, STEPS = np.array([0.25, 1.0, 4.0]), 3e-3, 0.02, 2000  # gradients and settings where decay is measured


def quadratic(seed: int) -> Problem:
    """Half the squared norm of L (W - W*) R for an 8 by 8 W, from zeros. L and R are symmetric with eigenvalues from 0.1 to 1, so
    curvatures are from 1/10,000 to 1; their axes are random, so that no curvature belongs to one number of W."""
    rng, stretch = np.random.default_rng(seed), np.logspace(0, -1, 8)
    left, right = ((q * stretch) @ q.T for q in (np.linalg.qr(rng.normal(size=(8, 8)))[0] for _ in range(2)))
    best = rng.normal(size=(8, 8))

    def loss(w: Array) -> tuple[float, Array]:
        error = left @ (w - best) @ right
        return 0.5 * float((error**2).sum()), left @ error @ right

    return loss, np.zeros((8, 8))


def rosenbrock(seed: int) -> Problem:
    """Eight of Rosenbrock's valleys side by side, (1 - a)² + 100 (b - a²)², from points around his own start, (-1.2, 1)."""

    def loss(w: Array) -> tuple[float, Array]:
        a, gap = w[0], w[1] - w[0] ** 2
        return float(((1 - a) ** 2 + 100 * gap**2).sum()), np.stack([-2 * (1 - a) - 400 * a * gap, 200 * gap])

    return loss, np.array([[-1.2], [1.0]]) + 0.3 * np.random.default_rng(seed).normal(size=(2, 8))


OPTIMIZERS: dict[str, Callable] = {
    "sgd": sgd, "momentum": partial(sgd, momentum=0.9), "nesterov": partial(sgd, momentum=0.9, nesterov=True),
    "adam": adam, "muon": muon, "normalised": partial(muon, steps=0),  # the last: momentum over its norm, no Newton–Schulz
}  # fmt: skip


def run(name: str, problem: Problem, rate: float, patience: float = PATIENCE) -> list[float]:
    """Losses over the one at the start, after each step until one is at most `TOLERANCE`; cut short where the run explodes."""
    loss, w = problem
    state = (np.zeros_like(w), np.zeros_like(w), 0) if name == "adam" else np.zeros_like(w)
    (first, gradient), losses = loss(w), [1.0]
    while TOLERANCE < losses[-1] < 1e6 and len(losses) <= patience:
        w, state = OPTIMIZERS[name](w, gradient, state, rate)
        value, gradient = loss(w)
        losses.append(value / first)
    return losses


def fewest_steps(name: str, problems: Sequence[Problem], rates: Sequence[float]) -> tuple[float, float]:
    """Steps to solve all of the problems at that of the rates which needs fewest, and this rate; infinite if none does."""
    best = math.inf, rates[0]
    for rate in sorted(rates, reverse=True):  # large ones explode early; what is slower than the best so far is cut short
        total = 0.0
        for problem in problems:
            if total < best[0]:
                losses = run(name, problem, rate, min(PATIENCE, best[0] - total))
                total += len(losses) - 1 if losses[-1] <= TOLERANCE else math.inf
        best = (total, rate) if total < best[0] else best
    return best


def descent(problem: Problem) -> float:
    """Steps of plain SGD at the best rate for this very problem: the best octave, then the best of 64 parts of those beside it."""
    _, rate = fewest_steps("sgd", [problem], OCTAVES)
    return fewest_steps("sgd", [problem], [rate * 2 ** (k / 64) for k in range(-64, 65)])[0]


def races(config: "Config", seed: int) -> dict[str, float]:
    """Steps of every optimizer on both problems, with a rate that was found on five others, in octaves, but for SGD's (`descent`)."""
    figures: dict[str, float] = {}
    for problem, make in (("quadratic", quadratic), ("rosenbrock", rosenbrock)):
        steps, others = {"sgd": descent(make(seed))}, [make(1000 + 5 * seed + i) for i in range(5)]
        for name in ("momentum", "nesterov", "adam", "muon", "normalised"):
            entrant = "normalised" if name == "muon" and not config.orthogonal else name
            steps[name] = fewest_steps(entrant, [make(seed)], [fewest_steps(entrant, others, OCTAVES)[1]])[0]
        steps["slowest"] = max(steps[name] for name in ("momentum", "nesterov", "adam", "muon"))
        figures |= {f"{problem}_{name}": count for name, count in steps.items()}
    return figures


def through_layers(slope: float, seed: int, *, width: int = 512, networks: int = 8) -> Float[np.ndarray, "2 L"]:
    """Mean squares of activations after each of thirty ReLU layers, and of gradients on their way back, both 1 at first. A mean
    over networks: one alone strays by a factor of 1.5 or so. slope: that of `initial_weights`, of which only 0 is right here."""
    rng, squares = np.random.default_rng(seed), np.zeros((2, 30))
    for _ in range(networks):
        x, back, passed = rng.normal(size=(width, 16)), rng.normal(size=(width, 16)), []
        for i in range(30):
            w = initial_weights(rng.random((width, width)), slope=slope)
            x = np.maximum(w @ x, 0)
            passed.append((w, x > 0))
            squares[0, i] += (x**2).mean() / networks
        for i, (w, positive) in enumerate(reversed(passed)):
            back = w.T @ (back * positive)
            squares[1, i] += (back**2).mean() / networks
    return squares


def shrinking(decoupled: bool, seed: int) -> Float[np.ndarray, "T 3"]:
    """How far weights of 1 have shrunk, as -log of their mean, after each step, where gradients are noise: ± each of `SCALES`. Each
    noise is used with both signs, so that in the mean of two weights only what is not noise remains."""
    rng, w, logs = np.random.default_rng(seed), np.ones((2, 200, 3)), np.zeros((STEPS, 3))
    state: AdamState = np.zeros_like(w), np.zeros_like(w), 0
    for i in range(STEPS):
        noise = rng.choice([-1.0, 1.0], size=(200, 3)) * SCALES
        w, state = adam(w, np.stack([noise, -noise]), state, RATE, decay=DECAY, decoupled=decoupled)
        logs[i] = -np.log(w.mean(axis=(0, 1)))
    return logs


@dataclass(frozen=True)
class Config:
    """What ablations take away."""

    slope: float = 0.0  # for which weights before a ReLU are made: 0 is right
    decoupled: bool = True  # whether decay goes past Adam's division
    orthogonal: bool = True  # whether Muon orthogonalises, or only divides by the norm


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """Figures of `races`; forward, backward: mean squares after thirty layers, 1 at first; octaves: how often the worse of them was
    halved or doubled. decay_error, l2_error: the largest relative error of what theory says of either decay; decay_spread: the
    largest shrinking over the smallest, for gradients that differ by a factor of 16; decay_spread_l2: the same by L2."""
    forward, back = through_layers(config.slope, seed)[:, -1].tolist()
    decayed, l2 = shrinking(config.decoupled, seed)[-1], shrinking(False, seed)[-1]
    return races(config, seed) | {
        "forward": forward,
        "backward": back,
        "octaves": max(abs(math.log2(forward)), abs(math.log2(back))),
        "decay_error": float(np.abs(decayed / (-STEPS * math.log(1 - RATE * DECAY)) - 1).max()),
        "l2_error": float(np.abs(l2 / (STEPS * RATE * DECAY / SCALES) - 1).max()),
        "decay_spread": float(decayed.max() / decayed.min()),
        "decay_spread_l2": float(l2.max() / l2.min()),
    }


GATES = (
    Gate("octaves", at_most=1),
    Gate("decay_error", at_most=0.001),
    Gate("l2_error", at_most=0.02),
    Gate("decay_spread", at_most=1.01, below="decay_spread_l2", baseline="decay_spread_l2"),
    Gate("quadratic_slowest", below="quadratic_sgd", baseline="quadratic_sgd"),
    Gate("rosenbrock_slowest", below="rosenbrock_sgd", baseline="rosenbrock_sgd"),
)
ABLATIONS = {
    "no gain for the ReLU": Ablation(Config(slope=1.0), "octaves", lower_by=20),
    "decay through the division": Ablation(Config(decoupled=False), "decay_spread", lower_by=10),
    "no Newton–Schulz": Ablation(Config(orthogonal=False), "quadratic_muon", lower_by=20),
}


def by_own_curvature(seed: int, device: str) -> float:
    """How many times faster SGD is on the quadratic, told each number's own curvature; were axes those of numbers, one step would do."""
    loss, w = quadratic(seed)
    root = np.sqrt([((loss(w + unit)[1] - loss(w)[1]) * unit).sum() for unit in np.eye(64).reshape(64, 8, 8)]).reshape(8, 8)
    return descent((loss, w)) / descent((lambda v: (loss(v / root)[0], loss(v / root)[1] / root), w * root))


LEAKS = {"curvatures known number by number": Leak(by_own_curvature, chance=1.0, at_most=3.0)}


def demo(config: Config = Config()) -> Figure:
    """Races, signals through thirty layers, two kinds of decay, what Muon does to singular values, a schedule, and Huber's pull."""
    figure, ((race, layers, decay), (values, schedule, pulls)) = plt.subplots(2, 3, figsize=(12, 7), layout="constrained")
    for name, rate in {"sgd": 1.95, "momentum": 2.0, "nesterov": 1.0, "adam": 0.5, "muon": 1 / 16}.items():
        race.loglog(run(name, quadratic(0), rate), label=name)
    race.set(title="Curvatures from 1/10,000 to 1", xlabel="step", ylabel="loss over the first")
    for label, slope in (("2 / n (He)", 0.0), ("1 / n (Glorot)", 1.0), ("1 / 3n (torch's Linear)", 5**0.5)):
        layers.semilogy(range(1, 31), through_layers(slope, 0, width=256, networks=4)[0], label=label)
    layers.set(title="ReLU networks by weight variance", xlabel="layer", ylabel="mean square of activations")
    for kind, decoupled, style in (("AdamW", True, "-"), ("Adam + L2", False, "--")):
        for i, line in enumerate(shrinking(decoupled, 0).T):
            decay.plot(np.exp(-line), style, color=f"C{i}", label=f"{kind}, g = ±{SCALES[i]:g}")
    decay.set(title="Decay beside the division, or through it", xlabel="step", ylabel="weights, 1 at first")
    for steps in (0, 1, 3, 5):
        x = newton_schulz(np.random.default_rng(0).normal(size=(64, 64)), steps)
        values.plot(np.linalg.svd(x, compute_uv=False), label=f"{steps} steps")
    values.set(title="Newton–Schulz on a random matrix", xlabel="place", ylabel="singular value")
    schedule.plot([warmup_cosine(i, 1.0, 20, 200, 0.1) for i in range(220)])
    schedule.set(title="20 steps up, 180 down, a floor of 0.1", xlabel="step", ylabel="learning rate", ylim=(0, 1.05))
    residuals = np.linspace(-3, 3, 121)
    for delta in (0.5, 1.0, np.inf):
        pulls.plot(residuals, 121 * huber(residuals, np.zeros(121), delta)[1], label=f"δ = {delta:g}")
    pulls.set(title="Huber: no residual pulls with more than δ", xlabel="residual", ylabel="gradient")
    for panel in (race, layers, decay, values, pulls):
        panel.legend(fontsize=8)
    return figure
