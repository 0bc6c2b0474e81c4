r"""
# Linear algebra

From orthogonality to low rank, on arrays. An orthogonal matrix changes no length, so it enlarges no rounding error either: all
that follows is made of **reflections** and **rotations**. A reflection $H = I - 2vv^\top$ with $\lVert v \rVert = 1$ sends a
column $x$ to a multiple of the first axis. One after the other they make a matrix triangular, and that solves least squares:

$$v \propto x + \operatorname{sign}(x_1)\,\lVert x \rVert\, e_1, \qquad H_m \cdots H_1 A = \begin{pmatrix} R \\ 0 \end{pmatrix},
\qquad \min_x \lVert Ax - b \rVert \;\Longleftrightarrow\; Rx = Q^\top b .$$

A rotation of two axes, by the smaller angle whose tangent $t$ fits, makes a symmetric 2×2 matrix diagonal:

$$\theta = \frac{\gamma - \alpha}{2\beta}, \qquad t = \frac{\operatorname{sign}(\theta)}{|\theta| + \sqrt{1 + \theta^2}}, \qquad
J = \begin{pmatrix} c & s \\ -s & c \end{pmatrix}, \qquad
J^\top \begin{pmatrix} \alpha & \beta \\ \beta & \gamma \end{pmatrix} J = \text{diagonal}.$$

Turned pair by pair, a symmetric matrix becomes diagonal (**Jacobi**). Turned on one side only, until any two columns are
orthogonal, a matrix becomes $AV = U\Sigma$, its **singular value decomposition**. $A^\top A$ is never formed, for its condition
number is the square of $\kappa = \sigma_1 / \sigma_m$. Of all matrices of rank $k$ none is nearer than the first $k$ terms:

$$A = \sum_i \sigma_i\, u_i v_i^\top, \qquad \min_{\operatorname{rank} B \le k} \lVert A - B \rVert_F^2
= \lVert A - A_k \rVert_F^2 = \sum_{i > k} \sigma_i^2 .$$

Of centred data these terms are the **principal components**. Two thin factors with $k(n + m)$ numbers, in place of $nm$, are
the form in which LoRA keeps the change of a weight.

Conventions: decompositions are thin; eigenvalues and singular values come largest first. The signs of their vectors are free,
so one is fixed: the entry of largest magnitude is positive.

**Asked in interviews.** Why QR and not $(A^\top A)^{-1} A^\top b$? Why that sign in the reflection? How many digits does a
condition number cost? How fast does power iteration converge? How are PCA and SVD related? Why is the truncated SVD the best
fit of its rank, and what does LoRA take from that?

**Sources.** Trefethen and Bau, *Numerical Linear Algebra* (1997): algorithms 10.1, 11.2 and 27.1, theorems 5.9 and 27.1; Golub
and Van Loan, *Matrix Computations* (4th edition, 2013), sections 8.5 and 8.6; Hu et al., *LoRA* (2022), eq. 3.

**In this course.** [Question](../../questions/foundations/linear_algebra.md) ·
[exercise](../../notebooks/foundations/linear_algebra.ipynb) · [solution](../../solutions/foundations/linear_algebra.ipynb)
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from reference_impl.data import digits
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

SWEEPS = 12  # of Jacobi, over all pairs: convergence is quadratic, a handful is enough, and what has converged is hardly turned


def householder_qr(a: Float[np.ndarray, "n m"]) -> tuple[Float[np.ndarray, "n m"], Float[np.ndarray, "m m"]]:
    """Q with orthonormal columns and R, upper triangular, such that Q R = a; signs are free. Trefethen and Bau, algorithm 10.1.

    Q stays orthonormal to the last digit however dependent the columns are, also where one is zero. Raises ValueError if n < m.
    """
    n, m = a.shape
    if n < m:
        raise ValueError(f"expected at least as many rows as columns, got a matrix of {n} by {m}")
    r, q, mirrors = a.copy(), np.eye(n, m, dtype=a.dtype), []
    for j in range(m):
        v = r[j:, j].copy()
        v[0] += np.copysign(np.linalg.norm(v), v[0])  # away from zero: the other sign would cancel
        length = np.linalg.norm(v)
        if length > 0:  # a column of zeros needs no mirror
            v /= length
        r[j:] -= 2 * np.outer(v, v @ r[j:])
        mirrors.append(v)
    for j in reversed(range(m)):  # Q is the product of all mirrors, applied to the first m axes from the last one on
        q[j:] -= 2 * np.outer(mirrors[j], mirrors[j] @ q[j:])
    return q, np.triu(r[:m])


def least_squares(a: Float[np.ndarray, "n m"], b: Float[np.ndarray, "n *k"]) -> Float[np.ndarray, "m *k"]:
    """The x for which the norm of a x - b is least, for each column of b if there are several. Trefethen and Bau, algorithm 11.2.

    By `householder_qr` and back substitution; a^T a is never formed. Raises ValueError if n < m, or if the columns of `a` depend
    on each other to working precision: in magnitude, an entry on R's diagonal is at most n eps times the largest one.
    """
    q, r = householder_qr(a)
    diagonal = np.abs(np.diag(r))
    if np.any(diagonal <= len(a) * np.finfo(a.dtype).eps * diagonal.max(initial=0)):
        raise ValueError(f"expected independent columns, got a matrix of {a.shape} whose R has the diagonal {diagonal}")
    x = q.T @ b
    for i in reversed(range(len(r))):
        x[i] = (x[i] - r[i, i + 1 :] @ x[i + 1 :]) / r[i, i]
    return x


def power_iteration(
    a: Float[np.ndarray, "n n"], start: Float[np.ndarray, " n"], steps: int
) -> tuple[float, Float[np.ndarray, " n"]]:
    """The direction of a^steps start, of length 1, and its Rayleigh quotient v^T a v. Trefethen and Bau, algorithm 27.1.

    They approach the eigenvector of the eigenvalue of largest magnitude, and that eigenvalue. Where a v = 0, v is an eigenvector
    already and is kept. Raises ValueError if `start` is zero.
    """
    if not np.any(start):
        raise ValueError(f"expected a start with a direction, got {start}")
    v = start / np.linalg.norm(start)
    for _ in range(steps):
        w = a @ v
        length = np.linalg.norm(w)
        if length == 0:
            break
        v = w / length
    return float(v @ (a @ v)), v


def jacobi_rotation(alpha: float, beta: float, gamma: float) -> tuple[float, float]:
    """Cosine and sine of the rotation J = [[c, s], [-s, c]] for which J^T [[alpha, beta], [beta, gamma]] J is diagonal.

    Of the angles that do it, one of at most 45 degrees: c >= |s|. No rotation, (1, 0), if beta is 0. Golub, Van Loan, 8.5.
    """
    if beta == 0:
        return 1.0, 0.0
    theta = (gamma - alpha) / (2 * beta)
    t = math.copysign(1, theta) / (abs(theta) + math.hypot(theta, 1))  # the smaller root of t² + 2 theta t = 1
    c = 1 / math.hypot(t, 1)  # rounded once; √(1 + t²) is rounded twice, and thousands of rotations would add that up
    return c, t * c


def turn(x: Float[np.ndarray, "n m"], p: int, q: int, c: float, s: float) -> None:
    """Turn the columns p and q of x in place: x becomes x J."""
    x[:, [p, q]] = x[:, [p, q]] @ np.array([[c, s], [-s, c]], dtype=x.dtype)


def oriented(v: Float[np.ndarray, "n k"], *more: Float[np.ndarray, "_ k"]) -> list[Float[np.ndarray, "_ k"]]:
    """Columns of v times 1 or -1 so that the entry of largest magnitude is positive, and those of other matrices likewise."""
    signs = np.where(v.max(axis=0, initial=0) >= -v.min(axis=0, initial=0), 1, -1).astype(v.dtype)
    return [x * signs for x in (v, *more)]


def jacobi_eigh(a: Float[np.ndarray, "n n"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n n"]]:
    """Eigenvalues of a symmetric matrix, largest first, and orthonormal eigenvectors as columns, signs as `oriented` has them.

    `SWEEPS` times, every pair of axes is turned by `jacobi_rotation` so that the entry they share becomes 0. Golub and Van Loan,
    section 8.5. Raises ValueError unless `a` is square and differs from its transpose by at most 1e-5 of its norm.
    """
    if a.shape[0] != a.shape[1] or np.linalg.norm(a - a.T) > 1e-5 * np.linalg.norm(a):
        raise ValueError(f"expected a symmetric matrix, got {a}")
    d, v = a.copy(), np.eye(len(a), dtype=a.dtype)
    for p, q in [*combinations(range(len(a)), 2)] * SWEEPS:
        c, s = jacobi_rotation(float(d[p, p]), float(d[p, q]), float(d[q, q]))
        turn(d, p, q, c, s)
        turn(d.T, p, q, c, s)  # a view: these are the rows of d
        turn(v, p, q, c, s)
    order = np.argsort(-np.diag(d))
    (v,) = oriented(v[:, order])
    return np.diag(d)[order], v


def svd(a: Float[np.ndarray, "n m"]) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, " k"], Float[np.ndarray, "k m"]]:
    """U, s and V^T such that a = U diag(s) V^T, singular values largest first, V as `oriented` has it; k is the smaller side.

    One-sided Jacobi: `SWEEPS` times, each pair of columns is turned so that their 2x2 matrix of scalar products becomes diagonal;
    a wide matrix is transposed first. Small singular values keep their digits, and U and V are orthonormal even where some are 0.
    Golub and Van Loan, section 8.6.
    """
    wide = a.shape[0] < a.shape[1]
    w = (a.T if wide else a).copy()
    v = np.eye(w.shape[1], dtype=a.dtype)
    for p, q in [*combinations(range(len(v)), 2)] * SWEEPS:
        pair = w[:, [p, q]]
        (alpha, beta), (_, gamma) = (pair.T @ pair).tolist()
        c, s = jacobi_rotation(alpha, beta, gamma)
        turn(w, p, q, c, s)
        turn(v, p, q, c, s)
    order = np.argsort(-np.linalg.norm(w, axis=0))
    u, r = householder_qr(w[:, order])  # the columns are orthogonal by now: R is diagonal, the singular values up to signs
    u, v = u * np.copysign(1, np.diag(r)), v[:, order]
    if wide:
        u, v = v, u
    v, u = oriented(v, u)
    return u, np.abs(np.diag(r)), v.T


def low_rank(a: Float[np.ndarray, "n m"], k: int) -> tuple[Float[np.ndarray, "n k"], Float[np.ndarray, "k m"]]:
    """Factors whose product is nearest to `a` (Frobenius) of all matrices of rank k; each has the roots of the singular values.

    Eckart and Young (1936); Trefethen and Bau, theorem 5.9. Raises ValueError unless 1 <= k <= min(n, m).
    """
    if not 1 <= k <= min(a.shape):
        raise ValueError(f"expected a rank of 1 to {min(a.shape)} for a matrix of {a.shape}, got {k}")
    u, s, vt = svd(a)
    root = np.sqrt(s[:k])
    return u[:, :k] * root, root[:, None] * vt[:k]


def pca(x: Float[np.ndarray, "n d"], k: int) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "k d"], Float[np.ndarray, " k"]]:
    """The mean of n items, the k directions (orthonormal rows, signs as in `svd`) in which they vary most, and their variances.

    Variances are unbiased: divided by n - 1. By `svd` of the centred items; their covariance is never formed. Raises ValueError
    if n < 2, or unless 1 <= k <= min(n, d).
    """
    if len(x) < 2 or not 1 <= k <= min(x.shape):
        raise ValueError(f"expected 2 items or more and 1 to min(n, d) components, got {x.shape} and {k}")
    mean = x.mean(axis=0)
    _, s, vt = svd(x - mean)
    return mean, vt[:k], s[:k] ** 2 / (len(x) - 1)


# --- what it is measured against ---


def condition_number(a: Float[np.ndarray, "n m"]) -> float:
    """The largest singular value over the smallest, infinite where that is 0: by how much `a` may enlarge a relative error."""
    _, s, _ = svd(a)
    return float(s[0] / s[-1]) if s[-1] > 0 else math.inf


def normal_equations(a: Float[np.ndarray, "n m"], b: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
    """The least squares solution from a^T a x = a^T b, whose condition number is that of `a` squared; zeros where nothing is left of it."""
    try:
        return np.linalg.solve(a.T @ a, a.T @ b)
    except np.linalg.LinAlgError:  # singular to working precision, which some processors' rounding makes it sooner
        return np.zeros_like(b, shape=a.shape[1:])


def gram_values(a: Float[np.ndarray, "n m"]) -> Float[np.ndarray, " m"]:
    """Singular values as roots of the eigenvalues of a^T a: those below the root of eps times the largest are lost."""
    return np.sqrt(np.maximum(jacobi_eigh(a.T @ a)[0], 0))


def hilbert(n: int) -> Float[np.ndarray, "n n"]:
    """1 / (i + j + 1) for i and j from 0; the 8 by 8 one has the condition number 1.5e10."""
    return 1 / (np.arange(n)[:, None] + np.arange(n) + 1.0)


def vandermonde(n: int, m: int) -> Float[np.ndarray, "n m"]:
    """The powers 0 to m - 1 of n even points from 0 to 1, to fit a polynomial with; 100 by 15 has the condition number 2.3e10."""
    return np.linspace(0, 1, n)[:, None] ** np.arange(m)


def handwriting(split: str) -> Float[np.ndarray, "N 64"]:
    """The pictures of a split as rows, ink from 0 to 1."""
    return digits.load(split).images.flatten(1).numpy().astype(np.float64)


def correct_digits(x: Float[np.ndarray, " m"], truth: Float[np.ndarray, " m"]) -> float:
    """Decimal digits of x that are right, 0 to 16, by norm."""
    return float(np.clip(-np.log10(np.linalg.norm(x - truth) / np.linalg.norm(truth) + 1e-16), 0, 16))


def explained(directions: Float[np.ndarray, "k d"], mean: Float[np.ndarray, " d"], x: Float[np.ndarray, "n d"]) -> float:
    """The share of the squared distances from `mean` that lies along orthonormal directions."""
    return float(np.sum(((x - mean) @ directions.T) ** 2) / np.sum((x - mean) ** 2))


def errors(a: Float[np.ndarray, "n m"], x: Float[np.ndarray, " m"], functions: Sequence[Callable]) -> Float[np.ndarray, " 8"]:
    """Of QR, a solver, eigenvectors (of a^T a) and SVD: how far products are from the whole, and columns from orthonormal."""
    qr, solve, eigh, singular = functions
    (q, r), (values, v), (u, s, vt) = qr(a), eigh(a.T @ a), singular(a)
    pairs = [(q @ r, a), (v * values @ v.T, a.T @ a), (u * s @ vt, a), (a @ solve(a, a @ x), a @ x)]
    off = [np.linalg.norm(made - whole) / np.linalg.norm(whole) for made, whole in pairs]
    return np.array(off + [np.linalg.norm(w.T @ w - np.eye(w.shape[1])) for w in (q, v, u, vt.T)])


def best_other_fit(a: Float[np.ndarray, "n m"], k: int, chosen: Int[np.ndarray, " k"], seed: int) -> float:
    """The least relative error of three fits of rank k that a sceptic would try. chosen: k columns, to fit the others by."""
    sketch = left = a @ np.random.default_rng(seed).normal(size=(a.shape[1], k))  # Halko et al. (2011), algorithm 4.1
    for _ in range(2):  # alternating least squares, two rounds
        left = a @ np.linalg.pinv(np.linalg.pinv(left) @ a)
    bases = [np.linalg.qr(columns)[0] for columns in (a[:, chosen], sketch, left)]
    return min(float(np.linalg.norm(a - q @ (q.T @ a)) / np.linalg.norm(a)) for q in bases)


@dataclass(frozen=True)
class Config:
    """solver: `orthogonal`, or `normal` (through a^T a). directions: `principal`, or `pixels` (the k that vary most). rank: k."""

    solver: str = "orthogonal"
    directions: str = "principal"
    rank: int = 10


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """Errors beside LAPACK's, digits that survive ill-conditioning, and what k directions keep of handwriting they have not seen.

    residual_ratio: the largest of `errors`, in multiples of LAPACK's (or of eps, where that is larger). digits: of a solution,
    the worse of a Hilbert and a Vandermonde matrix; digits_small: of singular values of about 1e-6. explained: the share of the
    variance of the test handwriting along directions found in training, beside that along the k directions in which the k + 1
    centres of k-means differ, found there too; sheet_error: of the test handwriting as one matrix, fitted at that rank.
    """
    import scipy.linalg
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    rng, k, eps = np.random.default_rng(seed), config.rank, np.finfo(np.float64).eps
    ours = (householder_qr, least_squares, jacobi_eigh, svd)
    thin = partial(np.linalg.svd, full_matrices=False)
    lapack = (np.linalg.qr, lambda a, b: np.linalg.lstsq(a, b)[0], np.linalg.eigh, thin)
    graded = rng.normal(size=(40, 20)) * np.logspace(0, -8, 20)
    systems = [(a, rng.normal(size=a.shape[1:])) for a in (hilbert(8), vandermonde(100, 15), graded)]
    small = 10 ** rng.uniform(-6.5, -5.5)
    lauchli = np.vstack([np.ones((1, 4)), small * np.eye(4)])  # its last three singular values are `small`
    ways = {"_normal": (normal_equations, gram_values), "_lapack": (lapack[1], lambda a: thin(a)[1])}
    ways[""] = ways["_normal"] if config.solver == "normal" else (least_squares, lambda a: svd(a)[1])
    ratios = [np.max(errors(a, x, ours) / np.maximum(errors(a, x, lapack), eps)) for a, x in systems]
    figures: dict[str, float] = {"residual_ratio": float(max(ratios))}
    for way, (solve, values) in ways.items():
        figures[f"digits{way}"] = min(correct_digits(solve(a, a @ x), x) for a, x in systems[:2])
        figures[f"digits_small{way}"] = correct_digits(values(lauchli)[1:], np.full(3, small))
    train, test = handwriting("train"), handwriting("test")
    mean, principal, variances = pca(train, k)
    pixels = np.eye(train.shape[1])[np.argsort(-train.var(axis=0))[:k]]
    sklearn = explained(PCA(k, svd_solver="full").fit(train).components_, mean, test)
    chosen = scipy.linalg.qr(train - mean, mode="r", pivoting=True)[1][:k]
    _, between, _ = pca(KMeans(k + 1, n_init=10, random_state=seed).fit(train).cluster_centers_, k)
    left, right = low_rank(test, k)
    largest, _ = power_iteration(np.cov(train.T), rng.normal(size=train.shape[1:]), 200)
    return figures | {
        "explained": explained(principal if config.directions == "principal" else pixels, mean, test),
        "explained_clusters": explained(between, mean, test),
        "explained_sklearn": sklearn,
        "explained_gap": abs(explained(principal, mean, test) - sklearn),
        "sheet_error": float(np.linalg.norm(test - left @ right) / np.linalg.norm(test)),
        "sheet_error_other": best_other_fit(test, k, chosen, seed),
        "power_gap": abs(largest / variances[0] - 1),
    }


GATES = (
    Gate("residual_ratio", at_most=20),
    Gate("digits", at_least=5, above="digits_normal", baseline="digits_normal", ceiling="digits_lapack"),
    Gate("digits_small", at_least=14, above="digits_small_normal", baseline="digits_small_normal", ceiling="digits_small_lapack"),
    Gate("explained", at_least=0.7, above="explained_clusters", baseline="explained_clusters", ceiling="explained_sklearn"),
    Gate("explained_gap", at_most=1e-10),
    Gate("sheet_error", below="sheet_error_other", baseline="sheet_error_other"),
    Gate("power_gap", at_most=1e-8),
)
ABLATIONS = {
    "least squares by AᵀA": Ablation(Config(solver="normal"), "digits", higher_by=4),
    "singular values by AᵀA": Ablation(Config(solver="normal"), "digits_small", higher_by=8),
    "pixels for directions": Ablation(Config(directions="pixels"), "explained", higher_by=0.3),
}


def random_directions(k: int, seed: int) -> Float[np.ndarray, "k 64"]:
    """Orthonormal rows that know no data."""
    return householder_qr(np.random.default_rng(seed).normal(size=(digits.SIZE**2, k)))[0].T


def by_chance(seed: int, device: str) -> float:
    """The share of the variance that as many random directions explain."""
    return explained(random_directions(Config().rank, seed), handwriting("train").mean(axis=0), handwriting("test"))


def known_handwriting(seed: int, device: str) -> float:
    """The share of the test handwriting that training has."""
    seen = {row.tobytes() for row in handwriting("train")}
    return float(np.mean([row.tobytes() in seen for row in handwriting("test")]))


LEAKS = {
    "directions drawn at random": Leak(by_chance, chance=Config().rank / digits.SIZE**2, at_most=0.25),
    "handwriting that training has": Leak(known_handwriting, chance=0.0, at_most=0.0),
}


def demo(config: Config = Config()) -> Figure:
    """Digits that two ways to least squares keep, the share of unseen handwriting along k directions, and what it looks like."""
    figure, axes = plt.subplot_mosaic([["digits", "share"], ["sheet", "sheet"]], figsize=(10, 7), layout="constrained")
    sizes, rng = range(2, 19), np.random.default_rng(0)
    systems = [(vandermonde(100, m), rng.normal(size=m)) for m in sizes]
    conditions = np.array([condition_number(a) for a, _ in systems])
    for name, solve, cost in (("QR", least_squares, r"16 - \log_{10} κ"), ("AᵀA", normal_equations, r"16 - 2 \log_{10} κ")):
        (line,) = axes["digits"].plot(sizes, [correct_digits(solve(a, a @ x), x) for a, x in systems], "o-", label=name)
        predicted = np.maximum(16 - (1 + (name != "QR")) * np.log10(conditions), 0)
        axes["digits"].plot(sizes, predicted, "--", color=line.get_color(), label=f"${cost}$")
    axes["digits"].set(title="A polynomial through 100 points", xlabel="coefficients", ylabel="correct digits")
    train, test = handwriting("train"), handwriting("test")
    mean, principal, _ = pca(train, train.shape[1])
    pixels = np.eye(len(mean))[np.argsort(-train.var(axis=0))]
    for name, directions in (("principal", principal), ("pixels", pixels), ("random", random_directions(len(mean), 0))):
        axes["share"].plot(range(1, 41), [explained(directions[:k], mean, test) for k in range(1, 41)], label=name)
    axes["share"].set(title="Unseen handwriting along k directions", xlabel="k", ylabel="share of the variance")
    shown = (1, 3, config.rank, 30, len(mean))
    rows = [mean + (test[:20] - mean) @ principal[:k].T @ principal[:k] for k in shown]  # (20, 64) each
    sheet = np.pad(np.stack(rows).reshape(len(shown), 20, 8, 8), ((0, 0), (0, 0), (1, 1), (1, 1)))
    axes["sheet"].imshow(sheet.transpose(0, 2, 1, 3).reshape(10 * len(shown), 200), cmap="gray_r", vmin=0, vmax=1)
    axes["sheet"].set(title="The same handwriting at rank k", ylabel="k", xticks=[])
    axes["sheet"].set_yticks([10 * i + 4.5 for i in range(len(shown))], [str(k) for k in shown])
    for name in ("digits", "share"):
        axes[name].legend()
    return figure
