r"""
# Calculus

What stands between a loss and its minimum, on arrays: derivatives by differences and how to trust them, the passes that make a
Jacobian or a Hessian, Newton's method, constraints, and how a density changes under a map.

A **difference** has two errors that pull its step in opposite directions: what Taylor's series leaves out shrinks with the step,
what rounding leaves behind grows. A product with a **Hessian** is such a difference too, of two gradients:

$$\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + O\!\left(\frac{\varepsilon |f|}{h}\right), \qquad
H v = \frac{\nabla f(x + h v) - \nabla f(x - h v)}{2h} + O(h^2).$$

A **Jacobian** is never needed whole in training: forward mode gives $J v$, reverse mode $u^\top J$, each for about the price of
the function. **Newton's method** squares its error at each step near a minimum. Far from it, curvature counts by its magnitude, so
that saddle points repel, and a step is halved until the function falls by a share of what its slope promises (Armijo):

$$d = -|H|^{-1} \nabla f, \qquad |H| = Q\,|\Lambda|\,Q^\top, \qquad f(x + t d) \le f(x) + c\, t\, \nabla f^\top d .$$

**Constraints** have multipliers: the point of the simplex nearest to $x$ is $w_i = \max(x_i - \theta, 0)$, with one $\theta$ for the
sum. And a **density** is per volume: a flow $z = T_L(\cdots T_1(x))$ that sends data to a standard normal has the density

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
from functools import partial, reduce
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

Vector = Float[np.ndarray, " n"]
# Means and deviations of two equal shares: no Gaussian has two peaks, and no single width of kernels suits two that differ by six.
PEAKS = np.array([[-1.5, 1.0], [0.2, 1.2]])
Smooth = Any  # a scalar function of a vector, with a method `gradient`


@dataclass(frozen=True, eq=False)
class DoubleWell:
    """The sum of (x² - 1)² / 4 + tilt x: a minimum near each corner of ±1, saddle points between, a maximum near 0."""

    tilt: Vector

    def __call__(self, x: Vector) -> float:
        return float(np.sum((x**2 - 1) ** 2 / 4 + self.tilt * x))

    def gradient(self, x: Vector) -> Vector:
        return x**3 - x + self.tilt


@dataclass(frozen=True, eq=False)
class Softmax:
    """softmax(slopes @ x + offsets): n numbers to m probabilities p. Their Jacobian, (diag(p) - p p^T) @ slopes, is never formed."""

    slopes: Float[np.ndarray, "m n"]
    offsets: Float[np.ndarray, " m"]

    def __call__(self, x: Vector) -> Float[np.ndarray, " m"]:
        z = self.slopes @ x + self.offsets
        e = np.exp(z - z.max())
        return e / e.sum()

    def jvp(self, x: Vector, v: Vector) -> Float[np.ndarray, " m"]:
        """From the input on: J v."""
        p, change = self(x), self.slopes @ v
        return p * (change - p @ change)

    def vjp(self, x: Vector, u: Float[np.ndarray, " m"]) -> Vector:
        """From the output back: u^T J."""
        p = self(x)
        return (p * (u - p @ u)) @ self.slopes


@dataclass(frozen=True, eq=False)
class LogSumExp:
    """log of the sum of exp(slopes @ x + offsets): convex, all but linear where one term rules, and linear if there is only one."""

    slopes: Float[np.ndarray, "m n"]
    offsets: Float[np.ndarray, " m"]

    def __call__(self, x: Vector) -> float:
        return float(np.logaddexp.reduce(self.slopes @ x + self.offsets))

    def gradient(self, x: Vector) -> Vector:
        return Softmax(self.slopes, self.offsets)(x) @ self.slopes


class Watched:
    """A function, how often its values, gradients and products were asked for, and a bug: its gradient comes times `factors`."""

    def __init__(self, function: Any, factors: Any = 1) -> None:
        self.function, self.factors, self.asked = function, factors, {"values": 0, "gradients": 0, "jvps": 0, "vjps": 0}

    def ask(self, what: str, method: Callable[..., Any], *args: Vector) -> Any:
        self.asked[what] += 1
        return method(*args)

    def __call__(self, x: Vector) -> Any:
        return self.ask("values", self.function, x)

    def gradient(self, x: Vector) -> Vector:
        return self.ask("gradients", self.function.gradient, x) * self.factors

    def jvp(self, x: Vector, v: Vector) -> Vector:
        return self.ask("jvps", self.function.jvp, x, v)

    def vjp(self, x: Vector, u: Vector) -> Vector:
        return self.ask("vjps", self.function.vjp, x, u)

    def counts(self) -> dict[str, int]:
        return dict(self.asked)


def central_difference(f: Callable[[Vector], float], x: Vector, step: float | None = None) -> Vector:
    """The gradient of `f` by one difference along each axis, f(x + h) - f(x - h) over the distance of the two points *as rounded*.

    step: relative, h = step times max(1, |x_i|); by default the cube root of eps of x's dtype. 2n values. Nocedal and Wright (2006),
    section 8.1. Raises ValueError unless step is positive and finite.
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


def gradient_check(f: Smooth, x: Vector, directions: Float[np.ndarray, "k n"]) -> float:
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


def jacobian(f: Softmax | Watched, x: Vector) -> Float[np.ndarray, "m n"]:
    """The Jacobian of `f` at x, from products in the mode that needs fewer: n of `jvp` or m of `vjp` (of two equals, `jvp`).

    f(x) is asked for once, for its size; n and m are 1 or more. Griewank and Walther (2008), chapter 3.
    """
    n, m = len(x), len(f(x))
    if n <= m:
        return np.stack([f.jvp(x, axis) for axis in np.eye(n, dtype=x.dtype)], axis=1)  # columns
    return np.stack([f.vjp(x, axis) for axis in np.eye(m, dtype=x.dtype)])  # rows


def hessian_vector_product(f: Smooth, x: Vector, v: Vector) -> Vector:
    """H v from two gradients, a central difference along v with a step of length cbrt(eps) max(1, |x|), however long v is.

    Zero where v is, and then no gradient is asked for. Nocedal and Wright (2006), section 8.1, there from one side; Pearlmutter (1994) is
    the exact product. Raises ValueError if the shapes differ.
    """
    if x.shape != v.shape:
        raise ValueError(f"expected a vector of the shape of x, {x.shape}, got {v.shape}")
    length = float(np.linalg.norm(v))
    if length == 0:
        return np.zeros_like(x)
    h = float(np.cbrt(np.finfo(x.dtype).eps)) * max(1.0, float(np.linalg.norm(x))) / length
    return (f.gradient(x + h * v) - f.gradient(x - h * v)) / (2 * h)


def newton_step(gradient: Vector, hessian: Float[np.ndarray, "n n"], floor: float = 1e-8) -> Vector:
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
    f: Smooth, x: Vector, direction: Vector, start: float = 1.0, shrink: float = 0.5, share: float = 1e-4, tries: int = 40
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


@dataclass(frozen=True, eq=False)
class Layer:
    """Rows x to u + height tanh(u), where u = x @ matrix.T + shift: affine where height is 0, and no fold where it is above -1."""

    matrix: Float[np.ndarray, "D D"]
    shift: Float[np.ndarray, " D"]
    height: Float[np.ndarray, " D"]

    def __call__(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
        u = x @ self.matrix.T + self.shift
        return u + self.height * np.tanh(u)

    def jacobian(self, x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D D"]:
        slopes = 1 + self.height * (1 - np.tanh(x @ self.matrix.T + self.shift) ** 2)  # (N, D)
        return slopes[:, :, None] * self.matrix


def standard_normal(z: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
    """Log density of each row in nats."""
    return -0.5 * (z**2).sum(axis=1) - 0.5 * z.shape[1] * math.log(2 * math.pi)


def flow_log_density(layers: Sequence[Layer], x: Float[np.ndarray, "N D"]) -> Float[np.ndarray, " N"]:
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

DIFFERENCES: dict[str, Callable[..., Vector]] = {
    "central": central_difference,
    "forward": lambda f, x, step=2.0**-26: np.array([(f(x + step * axis) - f(x)) / step for axis in np.eye(len(x))]),
    "fixed": lambda f, x, step=1e-5: central_difference(lambda way: f(x + way), np.zeros_like(x), step),  # one step for all
}


def digits(found: Vector, truth: Vector) -> float:
    """Decimal digits that are right, by norm, 0 to 16."""
    return float(np.clip(-np.log10(np.linalg.norm(found - truth) / np.linalg.norm(truth) + 1e-16), 0, 16))


def hessian(f: Smooth, x: Vector) -> Float[np.ndarray, "n n"]:
    """One product an axis, and the mean with its transpose, from which it differs by rounding."""
    rows = np.stack([hessian_vector_product(f, x, axis) for axis in np.eye(len(x))])
    return (rows + rows.T) / 2


@np.errstate(over="ignore", invalid="ignore")  # of steps that go too far
def minimise(f: Smooth, x: Vector, steps: int = 60, *, signed: bool = False, line_search: bool = True) -> list[Vector]:
    """The points that Newton's method passes, to a gradient of 1e-8 or until it is lost. signed: by H^-1 as it is."""
    path = [x]
    while len(path) <= steps and np.linalg.norm(gradient := f.gradient(x)) > 1e-8:
        h = hessian(f, x)
        if not (np.isfinite(h).all() and h.any()):
            break
        direction = -np.linalg.pinv(h) @ gradient if signed else newton_step(gradient, h)
        step = backtracking(f, x, direction) if line_search and gradient @ direction < 0 else 1.0
        if step == 0:
            break
        path.append(x := x + step * direction)
    return path


def bfgs(f: Smooth, x: Vector) -> list[Vector]:
    """The points that SciPy's quasi-Newton method passes, to the same gradient: its curvature is made of the gradients it has met."""
    from scipy.optimize import minimize

    path = [x]
    minimize(f, x, jac=f.gradient, method="BFGS", callback=lambda y: path.append(y.copy()), options={"gtol": 1e-8, "norm": 2})
    return path


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The mean negative log-likelihood of numbers under a flow, by its parameters, in nats; without `volume`, of where they arrive."""

    points: Float[np.ndarray, "N 1"]
    volume: bool = True

    def log_density(self, parameters: Vector, x: Float[np.ndarray, "N 1"]) -> Float[np.ndarray, " N"]:
        """Of two bends and an affine map, which rise everywhere whatever the eight parameters are."""
        rows = np.append(parameters, 0).reshape(3, 3, 1)
        layers = [Layer(np.exp(scale[:, None].clip(-20)), shift, np.expm1(height)) for scale, shift, height in rows]
        return flow_log_density(layers, x) if self.volume else standard_normal(reduce(lambda z, layer: layer(z), layers, x))

    def __call__(self, parameters: Vector) -> float:
        return float(-self.log_density(parameters, self.points).mean())

    def gradient(self, parameters: Vector) -> Vector:
        return central_difference(self, parameters)

    def fitted(self) -> Vector:
        """Parameters after 25 steps from the identity, its two bends a little apart."""
        return minimise(self, np.array([0, -1.0, 0, 0, 2, 0, 0, -1]), 25)[-1]


def draw(rng: np.random.Generator, peaks: Float[np.ndarray, "2 K"] = PEAKS) -> list[Float[np.ndarray, "_ 1"]]:
    """300 numbers to fit, and 2,000 others."""
    means, deviations = peaks[:, rng.integers(peaks.shape[1], size=2300)]
    return np.split((means + deviations * rng.normal(size=2300))[:, None], [300])


def mixture(x: Float[np.ndarray, "M 1"], means: Vector, deviations: Vector) -> Float[np.ndarray, " M"]:
    """The log density at x of Gaussians of equal shares."""
    return np.logaddexp.reduce(-0.5 * ((x - means) / deviations) ** 2 - np.log(deviations * len(means) * math.tau**0.5), axis=1)


def kernels(x: Float[np.ndarray, "N 1"], test: Float[np.ndarray, "M 1"]) -> float:
    """The mean log density of `test` by a Gaussian around each x, of the widths that are best in hindsight: narrower where points are
    dense (Abramson, 1982), or all alike, as the widest of the first estimates leaves them."""
    points, widths, found = x[:, 0], x.std() * np.logspace(-2, 0, 21), []
    for first in (*widths[5:16:5], 1e3):
        dense = mixture(x, points, np.full(len(x), first))
        found += [mixture(test, points, width * np.exp((dense.mean() - dense) / 2)).mean() for width in widths]
    return float(max(found))


@dataclass(frozen=True)
class Config:
    """difference: of `DIFFERENCES`. signed, line_search: see `minimise`. clipped: negative weights to 0 and all divided by the sum,
    in place of the projection. volume: whether a density has its Jacobian term."""

    difference: str = "central"
    signed: bool = False
    line_search: bool = True
    clipped: bool = False
    volume: bool = True


def convex(rng: np.random.Generator, n: int) -> LogSumExp:
    return LogSumExp(rng.normal(size=(8 * n, n)), rng.normal(size=8 * n))


def of_derivatives(config: Config, rng: np.random.Generator) -> dict[str, float]:
    """order, digits: of gradients by differences, the worst; two points lie far out. check_right, check_wrong: the largest error found in
    right gradients, the least where one coordinate of 20 is 1 % off. hvp_digits: the worst, against a step along the imaginary axis,
    which subtracts nothing (Squire and Trapp, 1998)."""
    difference, well, wide = DIFFERENCES[config.difference], DoubleWell(0.1 * rng.normal(size=5)), convex(rng, 20)
    near = [(f, rng.normal(size=5), rng.normal(size=5)) for f in (well, convex(rng, 5)) for _ in range(2)]
    points = [(f, x) for f, x, _ in near] + [(well, size * rng.normal(size=5)) for size in (1e2, 1e4)]
    steps, places, ways = np.logspace(-3.5, -2, 7), rng.normal(size=(20, 20)), rng.normal(size=(20, 10, 20))
    errors = [[np.linalg.norm(difference(f, x, step) - f.gradient(x)) for step in steps] for f, x, _ in near]
    wrong = [Watched(wide, 1 + 0.01 * axis) for axis in np.eye(20)]
    exact = [f.gradient(x + 1e-200j * v).imag / 1e-200 for f, x, v in near]
    return {
        "order": min(float(np.polyfit(np.log(steps), np.log(error), 1)[0]) for error in errors),
        "digits": min(digits(difference(f, x), f.gradient(x)) for f, x in points),
        "check_right": max(gradient_check(wide, x, way) for x, way in zip(places, ways, strict=True)),
        "check_wrong": min(gradient_check(f, x, way) for f, x, way in zip(wrong, places, ways, strict=True)),
        "hvp_digits": min(digits(hessian_vector_product(*at), truth) for at, truth in zip(near, exact, strict=True)),
    }


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def of_minima(config: Config, rng: np.random.Generator) -> dict[str, float]:
    """For Newton's method and BFGS, from 60 starts, half of them on convex functions and half on wells. solved: the share that ends in a
    minimum, no slope and curved upwards; steps, gradients: how many it takes, the mean; order: the power of a gradient's norm with which
    the next one shrinks, the median. gap: how far |a w - y|² / 2, over |y|², is from its least on the simplex after 300 gradient steps,
    at most: the objective is convex, so g·w - min(g) bounds that."""
    starts: list[tuple[Smooth, Vector]] = [(convex(rng, 5), 4 * rng.normal(size=5)) for _ in range(30)]
    starts += [(DoubleWell(0.1 * rng.normal(size=5)), rng.normal(size=5)) for _ in range(30)]
    figures: dict[str, float] = {}
    for name, method in (("newton", partial(minimise, signed=config.signed, line_search=config.line_search)), ("bfgs", bfgs)):
        runs = []
        for f, x in starts:
            path = method(watched := Watched(f), x)
            norms = [float(np.linalg.norm(f.gradient(y))) for y in path]
            a, b, c = np.log([1.0, 1, 1, *(norm for norm in norms if norm > 1e-10)][-3:])
            solved = norms[-1] < 1e-6 and np.linalg.eigvalsh(hessian(f, path[-1]))[0] > 0
            runs.append([float(solved), len(path) - 1, watched.counts()["gradients"], (c - b) / (b - a)])
        values = [*np.mean(runs, axis=0)[:3], np.nanmedian(runs, axis=0)[3]]
        figures |= {f"{name}_{what}": float(x) for what, x in zip(("solved", "steps", "gradients", "order"), values, strict=True)}
    # The weights add up to 2, so that the sum binds: clip and divide rests where g = -c w, with a gap of c (max w - w·w). Were the
    # columns orthogonal, c would be 60, |y|² 64, and the gap over it .08: half of that is the ablation's margin.
    a, w = rng.normal(size=(60, 30)), np.full(30, 1 / 30)
    y = a[:, :5] @ np.array([5, 4, 3, 2, 1]) / 7.5 + 0.3 * rng.normal(size=60)
    for _ in range(300):
        moved = w - a.T @ (a @ w - y) / np.linalg.norm(a, 2) ** 2
        w = np.maximum(moved, 0) / np.maximum(moved, 0).sum() if config.clipped else project_to_simplex(moved)[0]
    gradient = a.T @ (a @ w - y)
    return figures | {"gap": float((gradient @ w - gradient.min()) / (y @ y))}


def of_densities(config: Config, rng: np.random.Generator, peaks: Float[np.ndarray, "2 K"] = PEAKS) -> dict[str, float]:
    """mass_error: by how much the integral of a density differs from 1, that of a flow fitted to 300 numbers. log_likelihood: of 2,000
    others under it, in nats; and under one Gaussian, under `kernels`, and under the density that all come from."""
    x, test = draw(rng, peaks)
    likelihood, grid = Likelihood(x, config.volume), np.linspace(-60, 60, 24001)[:, None]
    fitted = likelihood.fitted()
    return {
        "mass_error": abs(float(np.exp(likelihood.log_density(fitted, grid)).sum()) * 120 / 24000 - 1),
        "log_likelihood": float(likelihood.log_density(fitted, test).mean()),
        "log_likelihood_gaussian": float(mixture(test, x.mean(axis=0), x.std(axis=0)).mean()),
        "log_likelihood_kernels": kernels(x, test),
        "log_likelihood_truth": float(mixture(test, *peaks).mean()),
    }


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """All figures of `of_derivatives`, `of_minima` and `of_densities`."""
    rng = np.random.default_rng(seed)
    return of_derivatives(config, rng) | of_minima(config, rng) | of_densities(config, rng)


GATES = (
    Gate("order", at_least=1.9, at_most=2.1),
    Gate("digits", at_least=9),
    Gate("check_right", at_most=1e-8),
    Gate("check_wrong", at_least=1e-6),
    Gate("hvp_digits", at_least=8),
    Gate("newton_solved", at_least=0.95, ceiling="bfgs_solved"),
    Gate("newton_steps", below="bfgs_steps", baseline="bfgs_steps"),
    Gate("newton_order", at_least=1.75, at_most=2.25, above="bfgs_order", baseline="bfgs_order"),
    Gate("gap", at_most=1e-9),
    Gate("mass_error", at_most=1e-6),
    Gate("log_likelihood", above="log_likelihood_gaussian", baseline="log_likelihood_kernels", ceiling="log_likelihood_truth"),
)
ABLATIONS = {
    "forward differences": Ablation(Config(difference="forward"), "order", higher_by=0.8),
    "one step for all": Ablation(Config(difference="fixed"), "digits", higher_by=1.5),
    "signed curvature": Ablation(Config(signed=True), "newton_solved", higher_by=0.2),
    "no line search": Ablation(Config(line_search=False), "newton_solved", higher_by=0.2),
    "clipped, not projected": Ablation(Config(clipped=True), "gap", lower_by=0.04),
    "no Jacobian term": Ablation(Config(volume=False), "mass_error", lower_by=5),
}


def gain_on_gaussian_data(seed: int, device: str) -> float:
    """What the flow gains over one Gaussian, in nats, where the numbers are one Gaussian's."""
    figures = of_densities(Config(), np.random.default_rng(seed), np.array([[0.0], [1.0]]))
    return figures["log_likelihood"] - figures["log_likelihood_gaussian"]


LEAKS = {"a flow on Gaussian data": Leak(gain_on_gaussian_data, chance=0.0, at_most=0.02)}


def demo(config: Config = Config()) -> Figure:
    """The error of differences by their step, the gradient's norm on the way down, and a flow with and without its Jacobian term."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    rng, steps, grid = np.random.default_rng(0), np.logspace(-13, -0.5, 80), np.linspace(-4, 5, 400)[:, None]
    (points, _), f, x = draw(rng), convex(rng, 5), rng.normal(size=5)
    for name, best in (("forward", 1 / 2), ("central", 1 / 3)):
        errors = [10 ** -digits(DIFFERENCES[name](f, x, step), f.gradient(x)) for step in steps]
        (line,) = left.loglog(steps, errors, label=name)
        left.axvline(2.0 ** (-52 * best), color=line.get_color(), linestyle="--", label=f"eps to the power of {best:.2g}")
    left.set(title="A gradient by differences", xlabel="step", ylabel="relative error")
    for name, method in (("Newton", minimise), ("no line search", partial(minimise, line_search=False)), ("BFGS", bfgs)):
        middle.semilogy([np.linalg.norm(f.gradient(y)) for y in method(f, 4 * x)], "o-", markersize=4, label=name)
    middle.set(title="Down log-sum-exp, from far", xlabel="step", ylabel="norm of the gradient", ylim=(1e-12, 1e2))
    right.hist(points[:, 0], bins=40, density=True, color="lightgrey", label="300 points")
    right.plot(grid, np.exp(mixture(grid, *PEAKS)), "k:", label="where they come from")
    for name, likelihood in (("flow", Likelihood(points)), ("no Jacobian term", Likelihood(points, volume=False))):
        right.plot(grid, np.exp(likelihood.log_density(likelihood.fitted(), grid)), label=name)
    right.set(title="A density by change of variables", xlabel="x", ylabel="density")
    for panel in (left, middle, right):
        panel.legend(fontsize=8)
    return figure
