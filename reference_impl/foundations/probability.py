r"""
# Probability: sampling, estimating, being unsure

Eight small functions on which generative models stand, on NumPy arrays. They fall into three parts.

**Sampling** turns uniform numbers into others. The inverse of a distribution function does it for a table of weights, a turn in
the plane for Gaussians, and noise that is added to logits for a softmax (the *Gumbel-max trick*):

$$k = \min\{k : u < F(k)\}, \qquad
z = \sqrt{-2 \log(1 - u)}\,(\cos 2\pi v, \sin 2\pi v), \qquad
k = \arg\max_k\, \bigl(\theta_k - \log(-\log u_k)\bigr).$$

**Estimating.** A mixture of Gaussians has no closed form for its maximum of likelihood, but given the *responsibilities* $r_{nk}$
each of its parameters is a weighted mean. The EM algorithm computes one from the other, in turn, and never makes the likelihood
smaller:

$$r_{nk} = \frac{\pi_k\, \mathcal N(x_n \mid \mu_k, \Sigma_k)}{\sum_j \pi_j\, \mathcal N(x_n \mid \mu_j, \Sigma_j)}, \qquad
N_k = \sum_n r_{nk}, \qquad \pi_k = \frac{N_k}{N}, \qquad \mu_k = \frac{1}{N_k} \sum_n r_{nk}\, x_n, \qquad
\Sigma_k = \frac{1}{N_k} \sum_n r_{nk}\, (x_n - \mu_k)(x_n - \mu_k)^\top.$$

All of it happens in log space, since densities underflow: $\log \sum_k e^{x_k} = m + \log \sum_k e^{x_k - m}$ with $m = \max_k x_k$.

**Being unsure.** How far one distribution is from another, how much a sample from the wrong one is worth, and how far an estimate
would move on other data:

$$D_{\mathrm{KL}}(p \,\|\, q) = \sum_k p_k \log \frac{p_k}{q_k}, \qquad
w_n = \frac{p(x_n) / q(x_n)}{\sum_m p(x_m) / q(x_m)}, \qquad N_{\text{eff}} = \frac{1}{\sum_n w_n^2}, \qquad
\hat\theta^{*} = \frac{\sum_i e_{i^*}}{\sum_i s_{i^*}},$$

the last one with rows $i^*$ that are drawn again, with replacement: the *bootstrap* of a ratio such as errors per word.

**Asked in interviews.** Why subtract the maximum, and what if it is $-\infty$? Why does Gumbel noise sample from a softmax? Why does EM
never go down, and how does it fail all the same? Which way round is the KL? When are a thousand weighted samples worth ten? Over what do you
resample: words, utterances or speakers?

**Sources.** Box and Muller, *A Note on the Generation of Random Normal Deviates* (1958); Maddison, Tarlow and Minka, *A\* Sampling*
(2014), section 2; Dempster, Laird and Rubin, *Maximum Likelihood from Incomplete Data via the EM Algorithm* (1977), theorem 1; Bishop, *Pattern
Recognition and Machine Learning* (2006), eq. 9.23 to 9.26; Kong, Liu and Wong, *Sequential Imputations and Bayesian Missing Data
Problems* (1994); Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), section 13.3.

**In this course.** [Question](../../questions/foundations/probability.md) · [exercise](../../notebooks/foundations/probability.ipynb) ·
[solution](../../solutions/foundations/probability.ipynb)
"""

import math
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from reference_impl.data import digits
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

Mixture = tuple[Float[np.ndarray, " K"], Float[np.ndarray, "K D"], Float[np.ndarray, "K D D"]]  # log-weights, means, covariances


def logsumexp(x: Float[np.ndarray, "*batch K"]) -> Float[np.ndarray, "*batch"]:
    r"""$\log \sum_k e^{x_k}$ over the last axis, without overflow: numbers of any size, $\pm\infty$ among them.

    A row of $-\infty$ gives $-\infty$, the logarithm of an empty sum. Raises ValueError if K is 0.
    """
    if x.shape[-1] == 0:
        raise ValueError(f"the last axis must hold at least one number, got shape {x.shape}")
    top = x.max(axis=-1, keepdims=True)  # (..., 1)
    shift = np.where(np.isfinite(top), top, 0)  # infinity minus infinity would be NaN
    total = np.exp(x - shift).sum(axis=-1)  # at least 1, the maximum's own share, unless the maximum is -inf
    return np.log(np.maximum(total, 1)) + top[..., 0]


def check_uniforms(*uniforms: Float[np.ndarray, "..."]) -> None:
    """Raises ValueError unless all numbers lie in [0, 1); NaN does not."""
    for u in uniforms:
        if not ((u >= 0) & (u < 1)).all():
            raise ValueError(f"uniform numbers must lie in [0, 1), got numbers from {u.min():g} to {u.max():g}")


def inverse_cdf(weights: Float[np.ndarray, " K"], uniforms: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    r"""One draw from 0 to K - 1 for each uniform number $u$: the least k with $u < F(k)$, where $F(k) = \sum_{j \le k} w_j / \sum_j w_j$.

    weights: not negative, of any sum above 0. Sums are kept in float64, whatever the dtype: in float32 those of a large vocabulary
    lose the small weights. uniforms: in [0, 1). An outcome of weight 0 is never drawn. Raises ValueError for other weights or uniforms.
    """
    check_uniforms(uniforms)
    sums = weights.cumsum(dtype=np.float64)  # (K,)
    if not (len(weights) and (weights >= 0).all() and 0 < sums[-1] < np.inf):
        raise ValueError(f"weights must be finite, not negative and not all 0, got {weights}")
    return np.searchsorted(sums / sums[-1], uniforms, side="right")


def box_muller(
    u: Float[np.ndarray, "*shape"], v: Float[np.ndarray, "*shape"]
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    r"""Two independent standard normals for each pair of uniforms in [0, 1): radius $\sqrt{-2\log(1 - u)}$ times cosine, and sine, of $2\pi v$.

    The radius takes $1 - u$, which is never 0. Box and Muller (1958). Raises ValueError for other numbers, and if the shapes differ.
    """
    if u.shape != v.shape:
        raise ValueError(f"each u needs its own v, got shapes {u.shape} and {v.shape}")
    check_uniforms(u, v)
    radius = np.sqrt(-2 * np.log1p(-u))
    angle = 2 * np.pi * v
    return radius * np.cos(angle), radius * np.sin(angle)


def gumbel_max(logits: Float[np.ndarray, "*batch K"], uniforms: Float[np.ndarray, "*batch K"]) -> Int[np.ndarray, "*batch"]:
    r"""One draw from the softmax of each row of logits: $\arg\max_k (\theta_k + g_k)$ with Gumbel noise $g_k = -\log(-\log u_k)$.

    Nothing is normalised. A logit of $-\infty$ is never drawn. uniforms: in [0, 1), of the shape of the logits, since a number used twice would
    tie two draws together; a 0 counts as the least positive normal number of its dtype. Maddison et al. (2014), section 2.
    Raises ValueError for other uniforms or shapes, and for a row without a logit above $-\infty$.
    """
    if uniforms.shape != logits.shape:
        raise ValueError(f"each logit needs a uniform number of its own, got shapes {logits.shape} and {uniforms.shape}")
    check_uniforms(uniforms)
    if not (logits.max(axis=-1) > -np.inf).all():
        raise ValueError("a row has no logit above -inf: there is nothing to draw")
    positive = np.maximum(uniforms, np.finfo(uniforms.dtype).tiny)
    return (logits - np.log(-np.log(positive))).argmax(axis=-1)


def kl_categorical(
    logits_p: Float[np.ndarray, "*batch K"], logits_q: Float[np.ndarray, "*batch K"]
) -> Float[np.ndarray, "*batch"]:
    r"""$D_{\mathrm{KL}}(p \,\|\, q)$ in nats for each row, where p and q are the softmax of their logits.

    What p never draws (a logit of $-\infty$) adds nothing, whatever q says of it: $0 \log 0 = 0$. What p draws and q never does makes it
    infinite. Raises ValueError if the shapes differ, or if a row is no distribution: all $-\infty$, or with $+\infty$ or NaN in it.
    """
    if logits_p.shape != logits_q.shape:
        raise ValueError(f"p and q must have the same shape, got {logits_p.shape} and {logits_q.shape}")
    total_p, total_q = logsumexp(logits_p)[..., None], logsumexp(logits_q)[..., None]  # (..., 1)
    if not (np.isfinite(total_p) & np.isfinite(total_q)).all():
        raise ValueError("every row needs a logit above -inf, and none that is +inf or NaN")
    log_p, log_q = logits_p - total_p, logits_q - total_q
    p = np.exp(log_p)
    with np.errstate(invalid="ignore"):  # -inf minus -inf, which is left out below
        terms = p * (log_p - log_q)  # (..., K)
    return np.where(p > 0, terms, 0).sum(axis=-1)


def gaussian_log_density(
    x: Float[np.ndarray, "N D"], means: Float[np.ndarray, "K D"], covariances: Float[np.ndarray, "K D D"]
) -> Float[np.ndarray, "N K"]:
    r"""$\log \mathcal N(x_n \mid \mu_k, \Sigma_k)$ in nats, by Cholesky factors. Raises LinAlgError, a ValueError, unless all $\Sigma_k$ are
    positive definite."""
    D = x.shape[1]
    roots = np.linalg.cholesky(covariances)  # (K, D, D), lower triangles
    centred = x.T - means[:, :, None]  # (K, D, N)
    z = np.linalg.solve(roots, centred)  # (K, D, N), white
    log_det = 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)  # (K,)
    return -0.5 * ((z**2).sum(axis=1).T + log_det + D * math.log(2 * math.pi))


def em_step(
    x: Float[np.ndarray, "N D"],
    log_weights: Float[np.ndarray, " K"],
    means: Float[np.ndarray, "K D"],
    covariances: Float[np.ndarray, "K D D"],
    prior: float = 0.0,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, "K D"], Float[np.ndarray, "K D D"], float]:
    r"""One step of EM for a mixture of Gaussians: new log-weights, means and covariances, and the mean log-likelihood in nats of the *old* ones.

    Responsibilities are made in log space, so points far from everything are no trouble. Covariances are about the *new* means. `prior` (at least 0) is
    added to the diagonal of each component's *sum* of squares, before the division by $N_k$: that keeps one that shrinks upon a single
    point from becoming singular. Bishop (2006), eq. 9.23 to 9.26. Raises ValueError if a component explains no point, so that it has no mean.
    """
    N, D = x.shape
    joint = log_weights + gaussian_log_density(x, means, covariances)  # (N, K)
    evidence = logsumexp(joint)  # (N,)
    responsibilities = np.exp(joint - evidence[:, None])  # (N, K), rows add up to 1
    counts = responsibilities.sum(axis=0)  # (K,)
    if not (counts > 0).all():
        raise ValueError(f"components {np.flatnonzero(~(counts > 0)).tolist()} explain no point: start them elsewhere")
    new_means = responsibilities.T @ x / counts[:, None]  # (K, D)
    centred = x - new_means[:, None]  # (K, N, D)
    squares = np.einsum("nk,kni,knj->kij", responsibilities, centred, centred, optimize=True)  # (K, D, D)
    squares += prior * np.eye(D, dtype=x.dtype)
    return np.log(counts / N), new_means, squares / counts[:, None, None], float(evidence.mean())


def importance_weights(log_p: Float[np.ndarray, " N"], log_q: Float[np.ndarray, " N"]) -> tuple[Float[np.ndarray, " N"], float]:
    r"""Weights that add up to 1 for draws from q which are to stand for p, and the effective sample size $1 / \sum w_n^2$, between 1 and N.

    log_p, log_q: log densities of the N draws, each up to a constant, so neither needs to be normalised. A draw with $\log p = -\infty$
    has weight 0. Kong et al. (1994). Raises ValueError if the shapes differ, if some $\log q$ is not finite (q cannot have drawn it), and if
    no $\log p$ is above $-\infty$.
    """
    if log_p.shape != log_q.shape or not np.isfinite(log_q).all():
        raise ValueError(f"each draw needs log p and a finite log q, got shapes {log_p.shape} and {log_q.shape}")
    ratios = log_p - log_q
    total = logsumexp(ratios)
    if not np.isfinite(total):
        raise ValueError("no draw has a finite log p: p and q have nothing in common here")
    weights = np.exp(ratios - total)
    return weights, float(1 / (weights**2).sum())


def bootstrap_interval(
    errors: Float[np.ndarray, " N"], sizes: Float[np.ndarray, " N"], uniforms: Float[np.ndarray, "R N"], level: float = 0.95
) -> tuple[float, float]:
    r"""A percentile interval for $\sum_i e_i / \sum_i s_i$, such as errors per word, of N rows that are independent of each other (speakers, say).

    Each of the R rows of uniforms in [0, 1) draws N rows with replacement, $i = \lfloor u N \rfloor$, and has the ratio of *their* sums. The bounds cut
    off $(1 - \text{level}) / 2$ of the R ratios on each side, linear between neighbours as `np.quantile` has it. Efron and Tibshirani (1993),
    section 13.3. Raises ValueError for sizes that are not positive, other shapes or uniforms, and a level outside of (0, 1).
    """
    if not (errors.shape == sizes.shape == uniforms.shape[1:]) or uniforms.size == 0:
        raise ValueError(f"expected N errors, N sizes and (R, N) uniforms, got {errors.shape}, {sizes.shape} and {uniforms.shape}")
    if not (sizes > 0).all():
        raise ValueError(f"sizes must be positive, got {sizes.min():g}")
    if not 0 < level < 1:
        raise ValueError(f"the level must lie between 0 and 1, got {level}")
    check_uniforms(uniforms)
    rows = (uniforms * len(errors)).astype(np.int64)  # (R, N)
    ratios = errors[rows].sum(axis=1) / sizes[rows].sum(axis=1)  # (R,)
    tail = (1 - level) / 2
    low, high = np.quantile(ratios, [tail, 1 - tail])
    return float(low), float(high)


def fit_gaussian(x: Float[np.ndarray, "N D"], prior: float = 0.0) -> Mixture:
    """One Gaussian: a mixture of one component, for which a single step of EM is the maximum of likelihood, wherever it starts."""
    return em_step(x, np.zeros(1), x[:1], np.eye(x.shape[1])[None], prior)[:3]


def fit(
    x: Float[np.ndarray, "N D"], components: int, steps: int, *, prior: float = 0.0, seed: int = 0
) -> tuple[Mixture, list[float]]:
    """A mixture by `steps` steps of EM, and the mean log-likelihood before each of them.

    Means start at points of `x` that lie far apart: each is drawn with probability proportional to the squared distance to the nearest
    one before it (k-means++). All covariances start as that of the whole.
    """
    uniforms = np.random.default_rng(seed).random(components)
    distances, chosen = np.ones(len(x)), []
    for u in uniforms:
        chosen.append(int(inverse_cdf(distances, u[None])[0]))
        gaps = ((x - x[chosen[-1]]) ** 2).sum(axis=1)  # (N,)
        distances = gaps if len(chosen) == 1 else np.minimum(distances, gaps)
    whole = fit_gaussian(x, prior)[2]
    mixture: Mixture = (np.full(components, -math.log(components)), x[chosen], whole.repeat(components, axis=0))
    trace = []
    for _ in range(steps):
        *mixture, likelihood = em_step(x, *mixture, prior)
        trace.append(likelihood)
    return tuple(mixture), trace


def mean_log_likelihood(x: Float[np.ndarray, "N D"], mixture: Mixture) -> float:
    """In nats a point."""
    log_weights, means, covariances = mixture
    return float(logsumexp(log_weights + gaussian_log_density(x, means, covariances)).mean())


def sample(mixture: Mixture, count: int, seed: int = 0) -> Float[np.ndarray, "count D"]:
    """Points drawn from a mixture: first a component by `gumbel_max`, then normals by `box_muller`, shaped by its Cholesky factor."""
    log_weights, means, covariances = mixture
    rng, (K, D) = np.random.default_rng(seed), means.shape
    drawn = gumbel_max(np.broadcast_to(log_weights, (count, K)), rng.random((count, K)))  # (count,)
    normals, _ = box_muller(rng.random((count, D)), rng.random((count, D)))
    return means[drawn] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances)[drawn], normals)


@dataclass(frozen=True)
class Config:
    """What is measured: a mixture on digits, the rates of errors of speakers, and a new policy judged by an old one's answers.

    dimensions: principal components of the digits that the mixture sees. resampled: what the bootstrap takes for independent, `speakers`
    or `utterances`. weighted: whether draws from the old policy are weighted as if they were the new one's.
    """

    components: int = 10
    dimensions: int = 10
    steps: int = 100
    prior: float = 1.0
    speakers: int = 80
    utterances: int = 8
    experiments: int = 1000
    resampled: str = "speakers"
    weighted: bool = True


ERRORS_PER_WORD = 0.1  # the truth that intervals have to cover


def principal_scores(dimensions: int) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "M D"], Float[np.ndarray, "D P"]]:
    """Training and test digits by their first principal components, and these; mean and components are those of training alone."""
    train, test = (digits.load(split).images.flatten(1).double().numpy() for split in ("train", "test"))
    mean = train.mean(axis=0)
    _, _, axes = np.linalg.svd(train - mean, full_matrices=False)  # (P, P), rows by falling variance
    axes = axes[:dimensions]
    return (train - mean) @ axes.T, (test - mean) @ axes.T, axes


def digits_in_a_mixture(config: Config, seed: int) -> dict[str, float]:
    """Log-likelihoods of test digits, in nats an image of `dimensions` numbers: the mixture's and those that it is held against.

    largest_fall: by how much the log-likelihood of training fell in any step of EM, 0 if it never did.
    """
    x, test, _ = principal_scores(config.dimensions)
    mixture, trace = fit(x, config.components, config.steps, seed=seed)
    return {
        "log_likelihood": mean_log_likelihood(test, mixture),
        "one_gaussian": mean_log_likelihood(test, fit_gaussian(x)),
        "kernel_density": kernel_density(x, test),
        "with_labels": mean_log_likelihood(test, fit_classes(x, digits.load("train").labels.numpy())),
        "largest_fall": max(0.0, -float(np.diff(trace).min())),
    }


def fit_classes(x: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"]) -> Mixture:
    """A Gaussian for each class, what EM has to find without the labels."""
    weights, means, covariances = zip(*(fit_gaussian(x[labels == c]) for c in range(digits.CLASSES)), strict=True)
    shares = np.bincount(labels) / len(labels)
    return np.log(shares), np.concatenate(means), np.concatenate(covariances)


def kernel_density(x: Float[np.ndarray, "N D"], test: Float[np.ndarray, "M D"]) -> float:
    """Mean log-likelihood of a round Gaussian on every training point, of the width that suits each of them best without itself."""
    N, D = x.shape

    def log_density(gaps: Float[np.ndarray, "M N"], width: float, count: int) -> Float[np.ndarray, " M"]:
        return logsumexp(-0.5 * gaps / width**2) - math.log(count) - D * math.log(width * math.sqrt(2 * math.pi))

    among = ((x[:, None] - x) ** 2).sum(axis=2) + np.diag(np.full(N, np.inf))  # (N, N)
    width = max(np.geomspace(0.05, 1, 20), key=lambda h: log_density(among, h, N - 1).mean())
    return float(log_density(((test[:, None] - x) ** 2).sum(axis=2), width, N).mean())


def coverage_of_intervals(config: Config, seed: int) -> dict[str, float]:
    """Shares of 95 % intervals that hold the true rate of errors, over simulated tests in which speakers differ from each other.

    coverage: the bootstrap's; words_independent: that of the binomial formula, which takes each word for a draw of its own.
    """
    rng, S, U = np.random.default_rng(seed), config.speakers, config.utterances
    hits, naive = 0, 0
    for _ in range(config.experiments):
        rates = rng.beta(3, 3 / ERRORS_PER_WORD - 3, size=(S, 1))
        sizes = rng.integers(4, 17, size=(S, U))  # words of an utterance
        errors = rng.binomial(sizes, rates)
        rate, words = errors.sum() / sizes.sum(), sizes.sum()
        if config.resampled == "speakers":
            errors, sizes = errors.sum(axis=1), sizes.sum(axis=1)
        rows = errors.astype(np.float64).ravel(), sizes.astype(np.float64).ravel()
        low, high = bootstrap_interval(*rows, rng.random((500, len(rows[0]))))
        hits += low <= ERRORS_PER_WORD <= high
        naive += abs(rate - ERRORS_PER_WORD) <= 1.96 * math.sqrt(rate * (1 - rate) / words)
    return {"coverage": hits / config.experiments, "words_independent": naive / config.experiments}


def judged_by_another(config: Config, seed: int) -> dict[str, float]:
    """Root mean square errors of a new policy's mean reward, estimated from 400 answers of the old one, over 300 repetitions.

    unweighted: of the old policy's own mean; on_policy: of 400 answers of the new one. effective: the mean share of the 400 that the weights leave.
    gumbel_g: the G statistic per degree of freedom of all those answers against the old policy's probabilities, near 1 if they are drawn from
    them; gaussian_noise_g: the same with Gaussian noise of equal variance in place of Gumbel's.
    """
    rng, K, n, repetitions = np.random.default_rng(seed), 30, 400, 300
    old = 1.5 * rng.normal(size=K)
    new = old + rng.normal(size=K)
    reward = rng.random(K) + (new > old)  # what the new policy does more often is better
    new_p = np.exp(new - logsumexp(new))
    shape = (repetitions, n, K)
    answers = gumbel_max(np.broadcast_to(old, shape), rng.random(shape))  # (repetitions, n)
    own = gumbel_max(np.broadcast_to(new, shape), rng.random(shape))
    estimates, shares = [], []
    for row in answers:
        weights, effective = importance_weights(new[row], old[row])
        estimates.append((weights if config.weighted else np.full(n, 1 / n)) @ reward[row])
        shares.append(effective / n)
    normals = math.pi / math.sqrt(6) * box_muller(rng.random(shape), rng.random(shape))[0]

    def rms(values: Float[np.ndarray, " R"]) -> float:
        return float(np.sqrt(np.mean((values - new_p @ reward) ** 2)))

    def g(drawn: Int[np.ndarray, "R N"]) -> float:
        counts = np.bincount(drawn.ravel(), minlength=K)
        logs = np.log(counts, where=counts > 0, out=np.full(K, -np.inf))
        return float(2 * drawn.size * kl_categorical(logs, old) / (K - 1))

    return {
        "off_policy": rms(np.array(estimates)),
        "unweighted": rms(reward[answers].mean(axis=1)),
        "on_policy": rms(reward[own].mean(axis=1)),
        "effective": float(np.mean(shares)),
        "gumbel_g": g(answers),
        "gaussian_noise_g": g((old + normals).argmax(axis=-1)),
    }


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """All figures of `digits_in_a_mixture`, `coverage_of_intervals` and `judged_by_another`."""
    return digits_in_a_mixture(config, seed) | coverage_of_intervals(config, seed) | judged_by_another(config, seed)


GATES = (
    Gate("log_likelihood", above="kernel_density", baseline="one_gaussian", ceiling="with_labels"),
    Gate("largest_fall", at_most=1e-10),
    Gate("coverage", at_least=0.93, at_most=0.97, above="words_independent", baseline="words_independent"),
    Gate("off_policy", below="unweighted", baseline="unweighted", ceiling="on_policy"),
    Gate("gumbel_g", at_most=1.8, below="gaussian_noise_g", baseline="gaussian_noise_g"),
)
ABLATIONS = {
    "one component": Ablation(Config(components=1), "log_likelihood", higher_by=1.0),
    "utterances resampled": Ablation(Config(resampled="utterances"), "coverage", higher_by=0.1),
    "no weights": Ablation(Config(weighted=False), "off_policy", lower_by=0.1),
}
