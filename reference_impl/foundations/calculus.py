r"""
# Calculus

What stands between a loss and its minimum, on arrays: derivatives by differences and how to trust them, the passes that make a
Jacobian or a Hessian, Newton's method, constraints, and how a density changes under a map.

A **difference** has two errors that pull its step in opposite directions. What Taylor's series leaves out shrinks with the step,
what rounding leaves behind grows:

$$\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + O\!\left(\frac{\varepsilon |f|}{h}\right), \qquad
h^\star \sim \sqrt[3]{\varepsilon}\, \max(1, |x|).$$

A **Jacobian** is never needed whole in training. Forward mode gives $J v$, reverse mode $u^\top J$, each for about the price of
the function; a matrix of $m$ by $n$ takes $n$ passes of the one or $m$ of the other. A product with a **Hessian** takes two
gradients:

$$H v = \frac{\nabla f(x + h v) - \nabla f(x - h v)}{2h} + O(h^2).$$

**Newton's method** minimises the quadratic model, and squares its error at each step near a minimum. Far from it, it needs two
guards. Curvature counts by its magnitude, so that saddle points repel; and a step is halved until the function falls by a share
of what its slope promises (Armijo):

$$d = -|H|^{-1} \nabla f, \qquad |H| = Q\,|\Lambda|\,Q^\top, \qquad f(x + t d) \le f(x) + c\, t\, \nabla f^\top d .$$

**Constraints** have multipliers. The point of the simplex nearest to $x$ has one, $\theta$, for the sum, and by the conditions of
Karush, Kuhn and Tucker every coordinate follows from it:

$$\min_w \tfrac12 \lVert w - x \rVert^2 \ \text{ with } \ w \ge 0, \ \textstyle\sum_i w_i = s
\qquad \Longrightarrow \qquad w_i = \max(x_i - \theta, 0).$$

A **density** is per volume. A flow $z = T_L(\cdots T_1(x))$ that sends data to a standard normal has the density

$$\log p(x) = \log \mathcal N(z; 0, I) + \sum_l \log \bigl| \det J_{T_l}(x_{l-1}) \bigr|, \qquad x_0 = x, \quad x_l = T_l(x_{l-1}).$$

**Asked in interviews.** Which step for a gradient check, and in which dtype? Why is backpropagation reverse mode? What does a
Hessian-vector product cost? Why does nobody train a network by Newton's method? What is the Jacobian of a softmax, and who needs
it? What does a multiplier tell you? Why must a flow's layers have a cheap determinant?

**Sources.** Nocedal and Wright, *Numerical Optimization* (2nd edition, 2006), section 8.1 and algorithm 3.1; Griewank and
Walther, *Evaluating Derivatives* (2nd edition, 2008), chapter 3; Pearlmutter, *Fast Exact Multiplication by the Hessian* (1994);
Dauphin et al., *Identifying and attacking the saddle point problem* (2014); Duchi et al., *Efficient Projections onto
the l1-Ball* (2008), figure 1; Rezende and Mohamed, *Variational Inference with Normalizing Flows* (2015), eq. 5 to 7.

**In this course.** [Question](../../questions/foundations/calculus.md) ·
[exercise](../../notebooks/foundations/calculus.ipynb) · [solution](../../solutions/foundations/calculus.ipynb)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

Vector = Float[np.ndarray, " n"]


class Smooth(Protocol):
    """A scalar function of a vector that knows its gradient."""

    def __call__(self, x: Vector, /) -> float: ...
    def gradient(self, x: Vector, /) -> Vector: ...


# --- named functions, in the dtype of what they are asked about ---


@dataclass(frozen=True, eq=False)
class Rosenbrock:
    """A curved valley: the sum of steepness (x_{i+1} - x_i²)² + (1 - x_i)² over neighbours. Rosenbrock (1960)."""

    steepness: float = 100.0

    def __call__(self, x: Vector) -> float:
        return float(np.sum(self.steepness * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))

    def gradient(self, x: Vector) -> Vector:
        result, miss = np.zeros_like(x), x[1:] - x[:-1] ** 2
        result[:-1] = -4 * self.steepness * miss * x[:-1] - 2 * (1 - x[:-1])
        result[1:] += 2 * self.steepness * miss
        return result


@dataclass(frozen=True, eq=False)
class LogSumExp:
    """log of the sum of exp(slopes @ x + offsets): convex, flat where one term rules, and linear if there is only one."""

    slopes: Float[np.ndarray, "m n"]
    offsets: Float[np.ndarray, " m"]

    def terms(self, x: Vector) -> Float[np.ndarray, " m"]:
        return self.slopes.astype(x.dtype) @ x + self.offsets.astype(x.dtype)

    def __call__(self, x: Vector) -> float:
        z = self.terms(x)
        return float(z.max() + np.log(np.exp(z - z.max()).sum()))

    def gradient(self, x: Vector) -> Vector:
        return softmax(self.terms(x)) @ self.slopes.astype(x.dtype)


@dataclass(frozen=True, eq=False)
class DoubleWell:
    """The sum of (x² - 1)² / 4 + tilt x: a minimum near each corner of ±1, saddle points between, a maximum near 0."""

    tilt: Vector

    def __call__(self, x: Vector) -> float:
        return float(np.sum((x**2 - 1) ** 2 / 4 + self.tilt.astype(x.dtype) * x))

    def gradient(self, x: Vector) -> Vector:
        return x**3 - x + self.tilt.astype(x.dtype)


def softmax(z: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Its Jacobian is diag(p) - p p^T."""
    e = np.exp(z - z.max())
    return e / e.sum()


@dataclass(frozen=True, eq=False)
class Network:
    """softmax(second @ tanh(first @ x)), n inputs to m probabilities. No Jacobian of a layer is ever formed."""

    first: Float[np.ndarray, "h n"]
    second: Float[np.ndarray, "m h"]

    def __call__(self, x: Vector) -> Float[np.ndarray, " m"]:
        return softmax(self.second.astype(x.dtype) @ np.tanh(self.first.astype(x.dtype) @ x))

    def jvp(self, x: Vector, v: Vector) -> Float[np.ndarray, " m"]:
        """From the input on: as the values come, so do their changes."""
        first, second = self.first.astype(x.dtype), self.second.astype(x.dtype)
        hidden = np.tanh(first @ x)
        p, change = softmax(second @ hidden), second @ ((1 - hidden**2) * (first @ v))
        return p * (change - p @ change)

    def vjp(self, x: Vector, u: Float[np.ndarray, " m"]) -> Vector:
        """From the output back: values first, which are kept, then the same factors in the opposite order."""
        first, second = self.first.astype(x.dtype), self.second.astype(x.dtype)
        hidden = np.tanh(first @ x)
        p = softmax(second @ hidden)
        return ((p * (u - p @ u)) @ second * (1 - hidden**2)) @ first


@dataclass(frozen=True, eq=False)
class Mistaken:
    """A function whose gradient has a bug: each coordinate comes times its factor."""

    function: Smooth
    factors: Vector

    def __call__(self, x: Vector) -> float:
        return self.function(x)

    def gradient(self, x: Vector) -> Vector:
        return self.function.gradient(x) * self.factors.astype(x.dtype)


class Counted:
    """A function, and how often its values, gradients and products were asked for."""

    def __init__(self, function: Any) -> None:
        self.function, self.asked = function, {"values": 0, "gradients": 0, "jvps": 0, "vjps": 0}

    def __call__(self, x: Vector) -> Any:
        self.asked["values"] += 1
        return self.function(x)

    def gradient(self, x: Vector) -> Vector:
        self.asked["gradients"] += 1
        return self.function.gradient(x)

    def jvp(self, x: Vector, v: Vector) -> Float[np.ndarray, " m"]:
        self.asked["jvps"] += 1
        return self.function.jvp(x, v)

    def vjp(self, x: Vector, u: Float[np.ndarray, " m"]) -> Vector:
        self.asked["vjps"] += 1
        return self.function.vjp(x, u)

    def counts(self) -> dict[str, int]:
        return dict(self.asked)


# --- derivatives ---


def central_difference(
    f: Callable[[Vector], float], x: Float[np.ndarray, " n"], step: float | None = None
) -> Float[np.ndarray, " n"]:
    """The gradient of `f` by one difference along each axis, f(x + h) - f(x - h) over the distance of the two points *as rounded*.

    step: relative, h = step times max(1, |x_i|); by default the cube root of eps of x's dtype, which balances truncation against
    rounding. 2n values. Nocedal and Wright (2006), section 8.1. Raises ValueError unless step is positive and finite.
    """
    step = float(np.cbrt(np.finfo(x.dtype).eps)) if step is None else step
    if not 0 < step < math.inf:
        raise ValueError(f"expected a positive step, got {step}")
    result = np.empty_like(x)
    for i in range(len(x)):
        h = step * max(1.0, abs(float(x[i])))
        ahead, behind = x.copy(), x.copy()
        ahead[i] += h
        behind[i] -= h
        result[i] = (f(ahead) - f(behind)) / (float(ahead[i]) - float(behind[i]))
    return result


def gradient_check(f: Smooth, x: Float[np.ndarray, " n"], directions: Float[np.ndarray, "k n"]) -> float:
    """How far the gradient that `f` claims is from differences along directions, at worst: about 1e-9 if it is right, in float64.

    For each unit vector d: |D - g·d| / max(|g|, |D|), where D is the central difference along d with h = cbrt(eps) max(1, |x|); 0
    where they agree. Measured against the whole gradient, for a slope near 0 is all rounding. NaN where the gradient or a value is.
    Raises ValueError without directions, and for one that is zero.
    """
    lengths = np.linalg.norm(directions, axis=1)  # (k,)
    if not (lengths > 0).all() or len(directions) == 0:
        raise ValueError(f"expected directions of positive length, got lengths {lengths}")
    gradient, worst = f.gradient(x), 0.0
    h = float(np.cbrt(np.finfo(x.dtype).eps)) * max(1.0, float(np.linalg.norm(x)))
    for d in directions / lengths[:, None]:
        slope = (f(x + h * d) - f(x - h * d)) / (2 * h)
        error = abs(slope - float(gradient @ d))
        share = error / max(float(np.linalg.norm(gradient)), abs(slope)) if error else 0.0
        worst = float(np.maximum(worst, share))  # unlike Python's own, it lets no NaN slip through
    return worst


def jacobian(f: Network | Counted, x: Float[np.ndarray, " n"]) -> Float[np.ndarray, "m n"]:
    """The Jacobian of `f` at x, from products in the mode that needs fewer: n of `jvp` or m of `vjp` (of two equals, `jvp`).

    f(x) is asked for once, for its size; n and m are 1 or more. Griewank and Walther (2008), chapter 3.
    """
    n, m = len(x), len(f(x))
    if n <= m:
        return np.stack([f.jvp(x, axis) for axis in np.eye(n, dtype=x.dtype)], axis=1)  # columns
    return np.stack([f.vjp(x, axis) for axis in np.eye(m, dtype=x.dtype)])  # rows


def hessian_vector_product(f: Smooth, x: Float[np.ndarray, " n"], v: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """H v from two gradients, a central difference along v with a step of length cbrt(eps) max(1, |x|), however long v is.

    Zero where v is, and then no gradient is asked for. Pearlmutter (1994), where one side only is taken. Raises ValueError if the
    shapes differ.
    """
    if x.shape != v.shape:
        raise ValueError(f"expected a vector of the shape of x, {x.shape}, got {v.shape}")
    length = float(np.linalg.norm(v))
    if length == 0:
        return np.zeros_like(x)
    h = float(np.cbrt(np.finfo(x.dtype).eps)) * max(1.0, float(np.linalg.norm(x))) / length
    return (f.gradient(x + h * v) - f.gradient(x - h * v)) / (2 * h)


# --- minima ---


def newton_step(
    gradient: Float[np.ndarray, " n"], hessian: Float[np.ndarray, "n n"], floor: float = 1e-8
) -> Float[np.ndarray, " n"]:
    """The step -|H|^-1 g: each eigenvalue counts by its magnitude, but as no less than `floor` times the largest. Always downhill.

    Where H is positive definite and well conditioned, this is Newton's step. Dauphin et al. (2014). Raises ValueError
    unless H fits the gradient, is finite, is not zero, and differs from its transpose by less than 1e-5 of its norm.
    """
    n = len(gradient)
    if hessian.shape != (n, n) or not np.linalg.norm(hessian - hessian.T) < 1e-5 * np.linalg.norm(hessian):
        raise ValueError(f"expected a symmetric Hessian of {n} by {n} that is finite and not zero, got {hessian}")
    values, vectors = np.linalg.eigh(hessian)
    sizes = np.abs(values)
    return -vectors @ (vectors.T @ gradient / np.maximum(sizes, floor * sizes.max()))


def backtracking(
    f: Smooth,
    x: Float[np.ndarray, " n"],
    direction: Float[np.ndarray, " n"],
    start: float = 1.0,
    shrink: float = 0.5,
    share: float = 1e-4,
    tries: int = 40,
) -> float:
    """The first of the steps start, start·shrink, start·shrink², … with f(x + t d) <= f(x) + share·t·g·d; 0 if none of `tries` has it.

    A value that is NaN is no fall: the step was too far. Asks for one gradient, for f(x), and for one value a try. Nocedal and
    Wright (2006), algorithm 3.1. Raises ValueError unless d points downhill, start > 0, and shrink and share lie in (0, 1).
    """
    if not (start > 0 and 0 < shrink < 1 and 0 < share < 1):
        raise ValueError(f"expected start > 0, shrink and share in (0, 1), got {start}, {shrink} and {share}")
    value, slope = f(x), float(f.gradient(x) @ direction)
    if not slope < 0:
        raise ValueError(f"expected a direction that points downhill, got one of slope {slope}")
    step = start
    for _ in range(tries):
        if f(x + step * direction) <= value + share * step * slope:
            return step
        step *= shrink
    return 0.0


def project_to_simplex(
    x: Float[np.ndarray, "*batch n"], total: float = 1.0
) -> tuple[Float[np.ndarray, "*batch n"], Float[np.ndarray, "*batch"]]:
    """For each row the nearest w with w >= 0 and sum(w) = total, and the multiplier theta of the sum: w = max(x - theta, 0).

    If the k largest stay, theta is (their sum - total) / k. That rises with k as long as the next one exceeds it, then falls: so
    the right theta is the largest. Held et al. (1974); Duchi et al. (2008), figure 1. Raises ValueError unless total is positive
    and finite, x finite and n at least 1.
    """
    if not (0 < total < math.inf and np.isfinite(x).all()):
        raise ValueError(f"expected a positive total and rows of finite numbers, got {total} and {x}")
    top = x.max(axis=-1, keepdims=True)  # of no numbers NumPy raises ValueError itself
    ranked = np.sort(x - top)[..., ::-1]  # relative to the largest: digits that all share would be lost in the sums
    counts = np.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    theta = ((ranked.cumsum(axis=-1) - total) / counts).max(axis=-1, keepdims=True)
    return np.maximum(x - top - theta, 0), (theta + top).squeeze(axis=-1)


# --- densities ---


@dataclass(frozen=True, eq=False)
class Affine:
    """Rows x to x @ matrix.T + shift."""

    matrix: Float[np.ndarray, "D D"]
    shift: Float[np.ndarray, " D"]

    def __call__(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        return x @ self.matrix.astype(x.dtype).T + self.shift.astype(x.dtype)

    def jacobian(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D D"]:
        return np.broadcast_to(self.matrix.astype(x.dtype), (len(x), *self.matrix.shape))


@dataclass(frozen=True, eq=False)
class Bend:
    """x + height tanh(rate x + shift), coordinate by coordinate; invertible where height times rate is above -1."""

    height: Float[np.ndarray, " D"]
    rate: Float[np.ndarray, " D"]
    shift: Float[np.ndarray, " D"]

    def __call__(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        height, rate, shift = (part.astype(x.dtype) for part in (self.height, self.rate, self.shift))
        return x + height * np.tanh(rate * x + shift)

    def jacobian(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D D"]:
        height, rate, shift = (part.astype(x.dtype) for part in (self.height, self.rate, self.shift))
        slopes = 1 + height * rate * (1 - np.tanh(rate * x + shift) ** 2)  # (N, D)
        return slopes[:, :, None] * np.eye(x.shape[1], dtype=x.dtype)


def standard_normal(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    """Log density of each row in nats."""
    return -0.5 * (z**2).sum(axis=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


def flow_log_density(layers: Sequence[Affine | Bend], x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    """Log density in nats of rows that `layers`, first to last, send to a standard normal: its density there, and every volume change.

    A volume change is log |det J|, J taken where the layer is entered; its sign does not matter (a reflection keeps volumes).
    Rezende and Mohamed (2015), eq. 5 to 7. Raises ValueError where a determinant is 0: the layer cannot be undone.
    """
    z, volume = x, np.zeros(len(x), dtype=x.dtype)
    for layer in layers:
        sign, log_size = np.linalg.slogdet(layer.jacobian(z))  # a product of many factors would overflow or vanish
        if not sign.all():
            raise ValueError(f"expected layers that can be undone, got {layer} with a determinant of 0")
        volume = volume + log_size
        z = layer(z)
    return standard_normal(z) + volume


# --- what they are measured by ---


def forward_difference(f: Callable[[Vector], float], x: Vector, step: float = 2.0**-26) -> Vector:
    """One value a coordinate, and an error of first order; by default with its own best step, the root of eps."""
    steps = step * np.maximum(1, np.abs(x))
    return np.array([(f(x + h * axis) - f(x)) / h for h, axis in zip(steps, np.eye(len(x)), strict=True)])


def fixed_difference(f: Callable[[Vector], float], x: Vector, step: float = 1e-5) -> Vector:
    """Central, with one step for all coordinates, whatever their size."""
    return np.array([(f(x + step * axis) - f(x - step * axis)) / (2 * step) for axis in np.eye(len(x))])


def product_from_values(f: Smooth, x: Vector, v: Vector) -> Vector:
    """H v without a gradient, by a difference of differences, with its own best step, the fourth root of eps."""
    h = 2.0**-13 * max(1.0, float(np.linalg.norm(x)))
    way = h * v / np.linalg.norm(v)
    corners = [[f(x + s * way + t * h * axis) * s * t for s in (1, -1) for t in (1, -1)] for axis in np.eye(len(x))]
    return np.sum(corners, axis=1) / (4 * h * h) * np.linalg.norm(v)


DIFFERENCES: dict[str, Callable[..., Vector]] = {
    "central": central_difference, "forward": forward_difference, "fixed": fixed_difference,
}  # fmt: skip


def digits(found: Vector, truth: Vector) -> float:
    """Decimal digits that are right, by norm, 0 to 16."""
    return float(np.clip(-np.log10(np.linalg.norm(found - truth) / np.linalg.norm(truth) + 1e-16), 0, 16))


def order(difference: Callable[..., Vector], f: Smooth, x: Vector) -> float:
    """The power of the step with which the error shrinks, fitted where truncation is all there is."""
    steps = np.logspace(-3.5, -2, 7)
    errors = [np.linalg.norm(difference(f, x, step) - f.gradient(x)) for step in steps]
    return float(np.polyfit(np.log(steps), np.log(errors), 1)[0])


def hessian(f: Smooth, x: Vector) -> Float[np.ndarray, "n n"]:
    """One product an axis, and the mean with its transpose, from which it differs by rounding."""
    rows = np.stack([hessian_vector_product(f, x, axis) for axis in np.eye(len(x))])
    return (rows + rows.T) / 2


def minimise(f: Smooth, x: Vector, steps: int = 60, *, curvature: str = "absolute", line_search: bool = True) -> list[Vector]:
    """The points that Newton's method passes, until it stops or diverges. curvature: `absolute`, `signed` (H^-1 as it is) or `none`."""
    path = [x]
    for _ in range(steps):
        gradient = f.gradient(x)
        if not 1e-9 < np.linalg.norm(gradient) < 1e9:
            break
        direction = -gradient
        if curvature != "none":
            h = hessian(f, x)
            if not np.isfinite(h).all() or not h.any():
                break
            direction = newton_step(gradient, h) if curvature == "absolute" else -np.linalg.pinv(h) @ gradient
        step = backtracking(f, x, direction) if line_search and gradient @ direction < 0 else 1.0
        if step == 0:
            break
        x = x + step * direction
        path.append(x)
    return path


def clipped(x: Vector) -> tuple[Vector, float]:
    """What a sceptic does in place of the projection: negative numbers to 0, then divided by the sum."""
    w = np.maximum(x, 0)
    return w / w.sum(), 0.0


def multiplicative(w: Vector, change: Vector) -> Vector:
    """A step of mirror descent, which needs no projection: weights times exp of the change, divided by their sum."""
    return softmax(np.log(np.maximum(w, 1e-300)) + change)


def gap(a: Float[np.ndarray, "m n"], y: Float[np.ndarray, " m"], update: Callable[[Vector, Vector], Vector]) -> float:
    """How far |a w - y|² / 2, over |y|², is from its least on the simplex, at most, after 300 gradient steps by `update(w, change)`.

    The objective is convex, so g·w - min(g) bounds that at any w, and nothing has to be known of the minimum.
    """
    w, rate = np.full(a.shape[1], 1 / a.shape[1]), 1 / np.linalg.norm(a, 2) ** 2
    for _ in range(300):
        w = update(w, -rate * (a.T @ (a @ w - y)))
    gradient = a.T @ (a @ w - y)
    return float((gradient @ w - gradient.min()) / (y @ y))


def flow(parameters: Vector) -> list[Affine | Bend]:
    """A flow of one dimension: an affine map, then bends, three numbers each. Whatever the parameters, it rises everywhere."""
    scale, shift, *bends = parameters
    layers: list[Affine | Bend] = [Affine(np.exp([[scale]]), np.array([shift]))]
    for size, rate, place in np.reshape(bends, (-1, 3)):
        steepness = np.exp([rate])
        layers.append(Bend(np.expm1([size]) / steepness, steepness, np.array([place])))
    return layers


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The mean negative log-likelihood of points under `flow`, in nats; without `volume`, of where they arrive."""

    points: Float[np.ndarray, "N 1"]
    volume: bool = True

    def log_density(self, parameters: Vector, x: Float[np.ndarray, "N 1"]) -> Float[np.ndarray, " N"]:
        layers = flow(parameters)
        return flow_log_density(layers, x) if self.volume else standard_normal(reduce(lambda z, layer: layer(z), layers, x))

    def __call__(self, parameters: Vector) -> float:
        return float(-self.log_density(parameters, self.points).mean())

    def gradient(self, parameters: Vector) -> Vector:
        return central_difference(self, parameters)

    def fitted(self) -> Vector:
        """Parameters after 25 steps from the identity, its two bends a little apart."""
        with np.errstate(over="ignore", invalid="ignore"):
            return minimise(self, np.array([0, 0, 0, 0, -1.0, 0, 0, 1.0]), 25)[-1]

    def gaussian(self) -> Vector:
        """The flow that is one affine map: the Gaussian that fits best."""
        return np.array([-math.log(self.points.std()), -self.points.mean() / self.points.std()])


PEAKS = ((0.5, -1.5, 0.2), (0.5, 1.0, 1.2))  # share, mean and standard deviation of what the flow is to learn


def draw(rng: np.random.Generator, count: int) -> Float[np.ndarray, "count 1"]:
    (share, *left), (_, *right) = PEAKS
    mean, deviation = np.where(rng.random((count, 1)) < share, np.reshape(left, (2, 1, 1)), np.reshape(right, (2, 1, 1)))
    return mean + deviation * rng.normal(size=(count, 1))


def true_log_density(x: Float[np.ndarray, "N 1"]) -> Float[np.ndarray, " N"]:
    peaks = [share * np.exp(standard_normal((x - mean) / deviation)) / deviation for share, mean, deviation in PEAKS]
    return np.log(np.sum(peaks, axis=0))


@dataclass(frozen=True)
class Config:
    """difference: `central`, `forward`, or `fixed` (central, 1e-5 for all). curvature, line_search: see `minimise`. projection:
    `nearest` or `clipped`. volume: whether a density has its Jacobian term."""

    difference: str = "central"
    curvature: str = "absolute"
    line_search: bool = True
    projection: str = "nearest"
    volume: bool = True


def named_functions(rng: np.random.Generator, n: int = 5) -> list[tuple[Smooth, float]]:
    """Rosenbrock's, a convex one and one of many minima, each with the spread of the points to start from."""
    convex = LogSumExp(rng.normal(size=(8 * n, n)), rng.normal(size=8 * n))
    return [(Rosenbrock(), 1.5), (convex, 4.0), (DoubleWell(0.1 * rng.normal(size=n)), 1.0)]


def of_derivatives(config: Config, seed: int) -> dict[str, float]:
    """order, digits: of gradients by differences, the worst over functions and, for digits, points of sizes up to 10^4.

    check_right, check_wrong: the largest error that `gradient_check` finds in right gradients, the least it finds where one of 20
    coordinates is 1 % off. passes: of a Jacobian of 10 by 64. hvp_digits: of H v, the worst, against a step along the imaginary
    axis, which subtracts nothing and so rounds nothing away (Squire and Trapp, 1998).
    """
    rng, difference = np.random.default_rng(seed), DIFFERENCES[config.difference]
    functions = [f for f, _ in named_functions(rng)]
    points = [(f, rng.normal(size=5)) for f in functions] + [(functions[0], 10**size * rng.normal(size=5)) for size in (2, 4)]
    products = [(f, x, rng.normal(size=5)) for f, x in points[:3]]
    exact = [f.gradient(x + 1e-200j * v).imag / 1e-200 for f, x, v in products]
    wide, places, ways = (
        LogSumExp(rng.normal(size=(40, 20)), np.zeros(40)),
        rng.normal(size=(20, 20)),
        rng.normal(size=(20, 10, 20)),
    )
    bugs = 1 + 0.01 * np.eye(20)
    network, x = Counted(Network(rng.normal(size=(16, 64)) / 8, rng.normal(size=(10, 16)) / 4)), rng.normal(size=64)
    jacobian(network, x)
    return {
        "order": min(order(difference, f, x) for f, x in points[:3]),
        "digits": min(digits(difference(f, x), f.gradient(x)) for f, x in points),
        "digits_fixed": min(digits(fixed_difference(f, x), f.gradient(x)) for f, x in points),
        "check_right": max(gradient_check(wide, x, way) for x, way in zip(places, ways, strict=True)),
        "check_wrong": min(gradient_check(Mistaken(wide, bug), x, way) for x, way, bug in zip(places, ways, bugs, strict=True)),
        "passes": float(network.counts()["jvps"] + network.counts()["vjps"]),
        "hvp_digits": min(digits(hessian_vector_product(*at), truth) for at, truth in zip(products, exact, strict=True)),
        "hvp_digits_values": min(digits(product_from_values(*at), truth) for at, truth in zip(products, exact, strict=True)),
    }


def of_minima(config: Config, seed: int) -> dict[str, float]:
    """solved: the share of 60 starts, on three functions, from which 60 steps lead to a minimum: no slope, and curved upwards.

    solved_gradient: with the gradient alone, the same line search and ten times the steps. newton_order: the power of the last
    gradient's norm with which the next one shrinks, the median over starts. gap: of weights on the simplex; gap_mirror: of
    multiplicative steps, with the best of four rates in hindsight.
    """
    rng = np.random.default_rng(seed)
    functions = named_functions(rng)
    starts = [(f, x) for f, spread in functions for x in spread * rng.normal(size=(20, 5))]

    def solved(steps: int, curvature: str, line_search: bool) -> float:
        ends = [(f, minimise(f, x, steps, curvature=curvature, line_search=line_search)[-1]) for f, x in starts]
        flat = [(f, x) for f, x in ends if np.linalg.norm(f.gradient(x)) < 1e-6]
        return sum(np.linalg.eigvalsh(hessian(f, x))[0] > 0 for f, x in flat) / len(starts)

    convex, orders = functions[1][0], []
    for x in rng.normal(size=(20, 5)):
        norms = [float(np.linalg.norm(convex.gradient(y))) for y in minimise(convex, x)]
        threes = [three for three in zip(norms, norms[1:], norms[2:], strict=False) if three[0] < 0.3 and three[2] > 1e-10]
        orders += [math.log(c / b) / math.log(b / a) for a, b, c in threes[-1:]]
    a = rng.normal(size=(60, 30))
    y = a[:, :5] @ rng.dirichlet(np.ones(5)) + 0.3 * rng.normal(size=60)  # five of thirty weights are not 0
    nearest: Callable[[Vector], tuple[Vector, Any]] = project_to_simplex if config.projection == "nearest" else clipped
    return {
        "solved": solved(60, config.curvature, config.line_search),
        "solved_gradient": solved(600, "none", True),
        "newton_order": float(np.median(orders)),
        "gap": gap(a, y, lambda w, change: nearest(w + change)[0]),
        "gap_mirror": min(gap(a, y, lambda w, change, rate=rate: multiplicative(w, rate * change)) for rate in (1, 3, 10, 30)),  # type: ignore[misc]
    }


def of_densities(config: Config, seed: int) -> dict[str, float]:
    """mass_error: by how much the integral of the fitted flow's density differs from 1. log_likelihood: of 2,000 points that the flow,
    fitted to 300 others, has not seen, in nats; beside one Gaussian, kernels of the best width in hindsight, and the truth."""
    from scipy.stats import gaussian_kde

    rng, grid = np.random.default_rng(seed), np.linspace(-60, 60, 24001)[:, None]
    x, test = draw(rng, 300), draw(rng, 2000)
    likelihood = Likelihood(x, config.volume)
    fitted = likelihood.fitted()
    return {
        "mass_error": abs(float(np.exp(likelihood.log_density(fitted, grid)).sum()) * 120 / 24000 - 1),
        "log_likelihood": float(likelihood.log_density(fitted, test).mean()),
        "log_likelihood_gaussian": float(Likelihood(x).log_density(likelihood.gaussian(), test).mean()),
        "log_likelihood_kernels": max(
            float(gaussian_kde(x.T, width).logpdf(test.T).mean()) for width in np.logspace(-1.5, 0, 16)
        ),
        "log_likelihood_truth": float(true_log_density(test).mean()),
    }


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """All figures of `of_derivatives`, `of_minima` and `of_densities`."""
    with np.errstate(over="ignore", invalid="ignore"):  # of steps that go too far
        return of_derivatives(config, seed) | of_minima(config, seed) | of_densities(config, seed)


GATES = (
    Gate("order", at_least=1.9, at_most=2.1),
    Gate("digits", at_least=9, above="digits_fixed", baseline="digits_fixed"),
    Gate("check_right", at_most=1e-8),
    Gate("check_wrong", at_least=1e-6),
    Gate("passes", at_most=10),
    Gate("hvp_digits", at_least=8, above="hvp_digits_values", baseline="hvp_digits_values"),
    Gate("solved", at_least=0.95, above="solved_gradient", baseline="solved_gradient"),
    Gate("newton_order", at_least=1.75, at_most=2.25),
    Gate("gap", at_most=1e-9, below="gap_mirror", baseline="gap_mirror"),
    Gate("mass_error", at_most=1e-6),
    Gate("log_likelihood", above="log_likelihood_kernels", baseline="log_likelihood_kernels", ceiling="log_likelihood_truth"),
)
ABLATIONS = {
    "forward differences": Ablation(Config(difference="forward"), "order", higher_by=0.8),
    "one step for all": Ablation(Config(difference="fixed"), "digits", higher_by=1.5),
    "signed curvature": Ablation(Config(curvature="signed"), "solved", higher_by=0.2),
    "no line search": Ablation(Config(line_search=False), "solved", higher_by=0.2),
    "clipped, not projected": Ablation(Config(projection="clipped"), "gap", lower_by=0.01),
    "no Jacobian term": Ablation(Config(volume=False), "mass_error", lower_by=5),
}


def random_gradients_accepted(seed: int, device: str) -> float:
    """The share of 200 random vectors, as long as the gradient, that the check takes for it."""
    rng = np.random.default_rng(seed)
    f, x = LogSumExp(rng.normal(size=(40, 20)), np.zeros(40)), rng.normal(size=20)
    lengths = np.linalg.norm(f.gradient(x)) / f.gradient(x)
    guesses = [Mistaken(f, lengths * guess / np.linalg.norm(guess)) for guess in rng.normal(size=(200, 20))]
    return float(np.mean([gradient_check(guess, x, rng.normal(size=(10, 20))) < 1e-6 for guess in guesses]))


def gain_on_gaussian_data(seed: int, device: str) -> float:
    """What the flow gains over one Gaussian on unseen points, in nats, where the points are one Gaussian's."""
    rng = np.random.default_rng(seed)
    likelihood, test = Likelihood(rng.normal(size=(300, 1))), rng.normal(size=(2000, 1))
    gains = likelihood.log_density(likelihood.fitted(), test) - likelihood.log_density(likelihood.gaussian(), test)
    return float(gains.mean())


LEAKS = {
    "random gradients that the check accepts": Leak(random_gradients_accepted, chance=0.0, at_most=0.0),
    "a flow on Gaussian data": Leak(gain_on_gaussian_data, chance=0.0, at_most=0.02),
}


def demo(config: Config = Config()) -> Figure:
    """The error of differences by their step, the gradient's norm on the way down, and a flow with and without its Jacobian term."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    rng = np.random.default_rng(0)
    convex, x, steps = named_functions(rng)[1][0], rng.normal(size=5), np.logspace(-13, -0.5, 80)
    for name, root in (("forward", 2), ("central", 3)):
        (line,) = left.loglog(
            steps, [10 ** -digits(DIFFERENCES[name](convex, x, step), convex.gradient(x)) for step in steps], label=name
        )
        left.axvline(
            np.finfo(float).eps ** (1 / root), color=line.get_color(), linestyle="--", label=f"eps to the power of 1/{root}"
        )
    left.set(title="A gradient by differences", xlabel="step", ylabel="relative error")
    start = 4 * rng.normal(size=5)
    ways: dict[str, dict[str, Any]] = {
        "Newton": {},
        "no line search: lost at once": {"line_search": False},
        "gradient": {"curvature": "none"},
    }
    for name, options in ways.items():
        with np.errstate(over="ignore", invalid="ignore"):
            path = minimise(convex, start, 30, **options)
        middle.semilogy(
            [np.linalg.norm(convex.gradient(y)) for y in path if np.isfinite(y).all()], "o-", markersize=4, label=name
        )
    middle.set(title="Down log-sum-exp, from far", xlabel="step", ylabel="norm of the gradient", ylim=(1e-12, 1e2))
    points, grid = draw(rng, 300), np.linspace(-4, 5, 400)[:, None]
    right.hist(points[:, 0], bins=40, density=True, color="lightgrey", label="300 points")
    for volume, name in ((True, "flow"), (False, "no Jacobian term")):
        likelihood = Likelihood(points, volume)
        right.plot(grid, np.exp(likelihood.log_density(likelihood.fitted(), grid)), label=name)
    right.plot(grid, np.exp(true_log_density(grid)), "k:", label="where they come from")
    right.set(title="A density by change of variables", xlabel="x", ylabel="density")
    for panel in (left, middle, right):
        panel.legend(fontsize=8)
    return figure
