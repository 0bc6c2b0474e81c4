r"""
# Probability: sampling, estimating, being unsure

Eight small functions on which generative models stand, on NumPy arrays. They fall into three parts.

**Sampling** turns uniform numbers into others. The inverse of a distribution function does it for a table of weights, a turn in
the plane for Gaussians, and noise that is added to the logits for a softmax (the *Gumbel-max trick*):

$$k = \min\{k : u < F(k)\}, \qquad
z = \sqrt{-2 \log(1 - u)}\,(\cos 2\pi v, \sin 2\pi v), \qquad
k = \arg\max_k\, \bigl(\theta_k - \log(-\log u_k)\bigr).$$

**Estimating.** The likelihood of a mixture of Gaussians has no maximum in closed form. But given the *responsibilities* $r_{nk}$
each parameter is a weighted mean. The EM algorithm computes one from the other in turn, and never makes the likelihood smaller:

$$r_{nk} = \frac{\pi_k\, \mathcal N(x_n \mid \mu_k, \Sigma_k)}{\sum_j \pi_j\, \mathcal N(x_n \mid \mu_j, \Sigma_j)}, \qquad
N_k = \sum_n r_{nk}, \qquad \pi_k = \frac{N_k}{N}, \qquad \mu_k = \frac{1}{N_k} \sum_n r_{nk}\, x_n, \qquad
\Sigma_k = \frac{1}{N_k} \sum_n r_{nk}\, (x_n - \mu_k)(x_n - \mu_k)^\top.$$

All of it happens in log space, since densities underflow: $\log \sum_k e^{x_k} = m + \log \sum_k e^{x_k - m}$, $m = \max_k x_k$.

**Being unsure.** How far one distribution is from another, how much a sample from the wrong one is worth, and how far an estimate
would move on other data:

$$D_{\mathrm{KL}}(p \,\|\, q) = \sum_k p_k \log \frac{p_k}{q_k}, \qquad
w_n = \frac{p(x_n) / q(x_n)}{\sum_m p(x_m) / q(x_m)}, \qquad N_{\text{eff}} = \frac{1}{\sum_n w_n^2}, \qquad
\hat\theta^{*} = \frac{\sum_i e_{i^*}}{\sum_i s_{i^*}},$$

the last one with rows $i^*$ that are drawn again, with replacement: the *bootstrap* of a ratio such as errors per word.

**Asked in interviews.** Why subtract the maximum, and what if it is $-\infty$? Why does Gumbel noise sample from a softmax? Why
does EM never go down, and how does it fail all the same? Which way round is the KL? When are a thousand weighted samples worth
ten? Over what do you resample: words, utterances or speakers?

**Sources.** Box and Muller, *A Note on the Generation of Random Normal Deviates* (1958); Maddison, Tarlow and Minka, *A\*
Sampling* (2014), section 2; Dempster, Laird and Rubin, *Maximum Likelihood from Incomplete Data via the EM Algorithm* (1977),
theorem 1; Bishop, *Pattern Recognition and Machine Learning* (2006), eq. 9.23 to 9.26; Kong, Liu and Wong, *Sequential
Imputations and Bayesian Missing Data Problems* (1994); Efron and Tibshirani, *An Introduction to the Bootstrap* (1993), section
13.3.

**In this course.** [Question](../../questions/foundations/probability.md) ·
[exercise](../../notebooks/foundations/probability.ipynb) · [solution](../../solutions/foundations/probability.ipynb)
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
    top = x.max(axis=-1, keepdims=True)  # (..., 1); of no numbers NumPy raises ValueError itself
    shift = np.where(np.isfinite(top), top, 0)  # infinity minus infinity would be NaN
    total = np.exp(x - shift).sum(axis=-1)  # at least 1, the maximum's own share, unless the maximum is -inf
    return np.log(np.maximum(total, 1)) + top.squeeze(axis=-1)


def check_uniforms(*uniforms: Float[np.ndarray, "..."]) -> None:
    """Raises ValueError unless all numbers lie in [0, 1); NaN does not."""
    for u in uniforms:
        if not ((u >= 0) & (u < 1)).all():
            raise ValueError(f"uniform numbers must lie in [0, 1), got numbers from {u.min():g} to {u.max():g}")


def inverse_cdf(weights: Float[np.ndarray, " K"], uniforms: Float[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    r"""One draw from 0 to K - 1 for each uniform number u: the least k with $u < F(k)$, $F(k) = \sum_{j \le k} w_j / \sum_j w_j$.

    weights: finite, not negative, of any sum above 0. Their sums are kept in float64, whatever the dtype: in float32 a large
    vocabulary loses its small weights. uniforms: in [0, 1). What has weight 0 is never drawn. Raises ValueError for other weights
    or uniforms.
    """
    check_uniforms(uniforms)
    sums = weights.cumsum(dtype=np.float64)  # (K,)
    if not (len(weights) and (weights >= 0).all() and 0 < sums[-1] < np.inf):
        raise ValueError(f"weights must be finite, not negative and not all 0, got {weights}")
    return np.searchsorted(sums / sums[-1], uniforms, side="right")


def box_muller(
    u: Float[np.ndarray, "*shape"], v: Float[np.ndarray, "*shape"]
) -> tuple[Float[np.ndarray, "*shape"], Float[np.ndarray, "*shape"]]:
    r"""Two independent standard normals for each pair of uniforms: $\sqrt{-2\log(1 - u)}$ times cosine, and sine, of $2\pi v$.

    u, v: in [0, 1), so $1 - u$ is never 0. Box and Muller (1958). Raises ValueError for other numbers, and if the shapes differ.
    """
    if u.shape != v.shape:
        raise ValueError(f"each u needs its own v, got shapes {u.shape} and {v.shape}")
    check_uniforms(u, v)
    radius = np.sqrt(-2 * np.log1p(-u))
    angle = 2 * np.pi * v
    return radius * np.cos(angle), radius * np.sin(angle)


def gumbel_max(logits: Float[np.ndarray, "*batch K"], uniforms: Float[np.ndarray, "*batch K"]) -> Int[np.ndarray, "*batch"]:
    r"""One draw from the softmax of each row of logits: $\arg\max_k (\theta_k + g_k)$ with Gumbel noise $g_k = -\log(-\log u_k)$.

    Nothing is normalised. A logit of $-\infty$ is never drawn. uniforms: in [0, 1), one for each logit, since a shared one would
    tie draws together; a 0 counts as the least positive normal number of its dtype. Maddison et al. (2014), section 2. Raises
    ValueError for other uniforms or shapes, and for a row without a logit above $-\infty$.
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

    What p never draws (a logit of $-\infty$, or so far below the others that the probability is rounded to 0) adds nothing,
    whatever q says of it: $0 \log 0 = 0$. What p draws and q never does makes it infinite. Raises ValueError if the shapes differ,
    or if a row is no distribution: all $-\infty$, or with $+\infty$ or NaN in it.
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
    r"""$\log \mathcal N(x_n \mid \mu_k, \Sigma_k)$ in nats, by Cholesky factors.

    Raises LinAlgError, a ValueError, unless all covariances are positive definite.
    """
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
    ridge: float = 0.0,
) -> tuple[Float[np.ndarray, " K"], Float[np.ndarray, "K D"], Float[np.ndarray, "K D D"], float]:
    r"""One step of EM for a mixture: new log-weights, means, covariances, and the mean log-likelihood in nats of the *old* ones.

    Responsibilities are made in log space, so points far from everything are no trouble. Covariances are about the *new* means;
    `ridge` is added to their diagonals, so that a component which shrinks upon a single point stays a Gaussian (the likelihood is
    sure to rise only where it is 0). Bishop (2006), eq. 9.23 to 9.26. Raises ValueError if a component explains no point.
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
    squares = (responsibilities.T[:, :, None] * centred).swapaxes(1, 2) @ centred  # (K, D, D)
    new_covariances = squares / counts[:, None, None] + ridge * np.eye(D, dtype=x.dtype)
    return np.log(counts / N), new_means, new_covariances, float(evidence.mean())


def importance_weights(log_p: Float[np.ndarray, " N"], log_q: Float[np.ndarray, " N"]) -> tuple[Float[np.ndarray, " N"], float]:
    r"""Weights, adding up to 1, of draws from q that are to stand for p; and the effective sample size $1 / \sum w_n^2$.

    log_p, log_q: log densities of the draws, each up to a constant, so neither need be normalised. A draw with $\log p = -\infty$
    has weight 0. Kong et al. (1994). Raises ValueError if the shapes differ, if some $\log q$ is not finite (q cannot have drawn
    it), and if $\log p$ is $-\infty$ everywhere, or $+\infty$ or NaN somewhere.
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
    r"""A percentile interval for $\sum_i e_i / \sum_i s_i$, such as errors per word, of N independent rows (speakers, say).

    Each row of uniforms in [0, 1) draws N of them with replacement, $i = \lfloor u N \rfloor$, and gives the ratio of *their*
    sums. The bounds cut off $(1 - \text{level}) / 2$ of the R ratios on either side, linear between neighbours as in
    `np.quantile`. Efron and Tibshirani (1993), section 13.3. Raises ValueError for sizes that are not positive, for other shapes
    or uniforms, without a row or a resample, and for a level outside of (0, 1).
    """
    if not (errors.shape == sizes.shape == uniforms.shape[1:]) or uniforms.size == 0:
        raise ValueError(
            f"expected N errors, N sizes and (R, N) uniforms, got {errors.shape}, {sizes.shape} and {uniforms.shape}"
        )
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


def fit_gaussian(x: Float[np.ndarray, "N D"]) -> Mixture:
    """One Gaussian: a mixture of one, for which a single step of EM is the maximum of likelihood, wherever it starts."""
    return em_step(x, np.zeros(1), x[:1], np.eye(x.shape[1])[None])[:3]


def fit(
    x: Float[np.ndarray, "N D"], components: int, steps: int, *, ridge: float = 0.0, seed: int = 0
) -> tuple[Mixture, list[float]]:
    """A mixture by `steps` steps of EM, and the mean log-likelihood before each of them.

    Means start at points of `x`, each drawn with probability proportional to the squared distance to the nearest one before it
    (k-means++); covariances start as that of the whole.
    """
    distances, chosen = np.ones(len(x)), []
    for u in np.random.default_rng(seed).random((components, 1)):
        chosen.append(int(inverse_cdf(distances, u)[0]))
        gaps = ((x - x[chosen[-1]]) ** 2).sum(axis=1)  # (N,)
        distances = gaps if len(chosen) == 1 else np.minimum(distances, gaps)
    covariances = fit_gaussian(x)[2].repeat(components, axis=0)  # (K, D, D)
    mixture: Mixture = (np.full(components, -math.log(components)), x[chosen], covariances)
    trace = []
    for _ in range(steps):
        *parts, likelihood = em_step(x, *mixture, ridge)
        mixture = (parts[0], parts[1], parts[2])
        trace.append(likelihood)
    return mixture, trace


def gaussian_a_label(x: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], ridge: float) -> Mixture:
    """A Gaussian for each label from 0 on: what could be had without EM, if the components were known."""
    parts = [fit_gaussian(x[labels == label]) for label in range(labels.max() + 1)]
    means, covariances = (np.concatenate([part[i] for part in parts]) for i in (1, 2))  # (K, D), (K, D, D)
    return np.log(np.bincount(labels) / len(x)), means, covariances + ridge * np.eye(x.shape[1])


def mean_log_likelihood(x: Float[np.ndarray, "N D"], mixture: Mixture) -> float:
    """In nats a point."""
    log_weights, means, covariances = mixture
    return float(logsumexp(log_weights + gaussian_log_density(x, means, covariances)).mean())


def sample(mixture: Mixture, count: int, seed: int = 0) -> Float[np.ndarray, "count D"]:
    """Points drawn from a mixture: a component by `gumbel_max`, then normals by `box_muller`, shaped by its Cholesky factor."""
    log_weights, means, covariances = mixture
    rng, (K, D) = np.random.default_rng(seed), means.shape
    drawn = gumbel_max(np.broadcast_to(log_weights, (count, K)), rng.random((count, K)))  # (count,)
    normals, _ = box_muller(rng.random((count, D)), rng.random((count, D)))
    return means[drawn] + np.einsum("nij,nj->ni", np.linalg.cholesky(covariances)[drawn], normals)


@dataclass(frozen=True)
class Config:
    """What is measured: a mixture on digits, rates of errors among speakers, and a new policy judged by an old one's answers.

    dimensions: principal components of the digits that the mixture sees. resampled: what the bootstrap takes for independent,
    `speakers` or `utterances`. weighted: whether answers of the old policy are weighted as if they were the new one's.
    """

    components: int = 20
    dimensions: int = 20
    steps: int = 60
    ridge: float = 0.01  # the best of 0.001, 0.003, 0.01 and 0.03 for the last 347 training digits, fitted on the others
    speakers: int = 150
    utterances: int = 6  # of each speaker
    experiments: int = 2500
    resampled: str = "speakers"
    weighted: bool = True


def principal_scores(
    dimensions: int,
) -> tuple[Float[np.ndarray, "N D"], Float[np.ndarray, "M D"], Float[np.ndarray, " P"], Float[np.ndarray, "D P"]]:
    """Training and test digits by their first principal components; the mean image and the components, of training alone."""
    train, test = (digits.load(split).images.flatten(1).double().numpy() for split in ("train", "test"))
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:dimensions]  # rows by falling variance
    return (train - mean) @ axes.T, (test - mean) @ axes.T, mean, axes


def digits_in_a_mixture(config: Config, seed: int) -> dict[str, float]:
    """Log-likelihoods of test digits, in nats an image of `dimensions` numbers: the mixture's and those it is held against.

    kernel_density: a round Gaussian on every training digit, its width by cross-validation on training. labelled: a Gaussian for
    each digit, by the labels, which the mixture does not know; its ridge was chosen as that of `Config` was. seen: of a mixture
    fitted to the test digits as well, out of reach. largest_fall: by how much training's log-likelihood fell at most in a step of plain
    EM (10 components in 10 dimensions, no ridge), 0 if it never did; fall_with_ridge: the same of the mixture itself.
    """
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KernelDensity

    x, test, _, _ = principal_scores(config.dimensions)
    mixture, trace = fit(x, config.components, config.steps, ridge=config.ridge, seed=seed)
    seen, _ = fit(np.concatenate([x, test]), config.components, config.steps, ridge=config.ridge, seed=seed)
    _, plain = fit(x[:, :10], 10, config.steps, seed=seed)
    labelled = gaussian_a_label(x, digits.load("train").labels.numpy(), ridge=0.003)
    kernels = GridSearchCV(KernelDensity(), {"bandwidth": np.geomspace(0.15, 0.3, 8)}, cv=5).fit(x)
    return {
        "log_likelihood": mean_log_likelihood(test, mixture),
        "one_gaussian": mean_log_likelihood(test, fit_gaussian(x)),
        "kernel_density": kernels.score(test) / len(test),
        "labelled": mean_log_likelihood(test, labelled),
        "seen": mean_log_likelihood(test, seen),
        "largest_fall": max(0.0, -float(np.diff(plain).min())),
        "fall_with_ridge": max(0.0, -float(np.diff(trace).min())),
    }


ERRORS_PER_WORD = 0.1  # the truth that intervals have to cover


def simulated_test(rng: np.random.Generator, config: Config) -> tuple[Float[np.ndarray, "S U"], Float[np.ndarray, "S U"]]:
    """Errors and words of each utterance. Speakers' rates have a mean of `ERRORS_PER_WORD` and a standard deviation of 0.054."""
    rates = rng.beta(3, 3 / ERRORS_PER_WORD - 3, size=(config.speakers, 1))
    words = rng.integers(4, 17, size=(config.speakers, config.utterances))
    return rng.binomial(words, rates).astype(np.float64), words.astype(np.float64)


def interval_over(
    what: str, errors: Float[np.ndarray, "S U"], words: Float[np.ndarray, "S U"], rng: np.random.Generator
) -> tuple[float, float]:
    """The bootstrap's 95 % interval if `what`, `speakers` or `utterances`, are drawn again."""
    if what == "speakers":
        errors, words = errors.sum(axis=1), words.sum(axis=1)
    return bootstrap_interval(errors.ravel(), words.ravel(), rng.random((400, errors.size)))


def coverage_of_intervals(config: Config, seed: int) -> dict[str, float]:
    """Shares of 95 % intervals that hold the true rate of errors: the bootstrap's, and the binomial formula's over words."""
    rng, hits, naive = np.random.default_rng(seed), 0, 0
    for _ in range(config.experiments):
        errors, words = simulated_test(rng, config)
        low, high = interval_over(config.resampled, errors, words, rng)
        hits += low <= ERRORS_PER_WORD <= high
        rate = errors.sum() / words.sum()
        naive += bool(abs(rate - ERRORS_PER_WORD) <= 1.96 * math.sqrt(rate * (1 - rate) / words.sum()))
    return {"coverage": hits / config.experiments, "words_independent": naive / config.experiments}


def judged_by_another(config: Config, seed: int) -> dict[str, float]:
    """Root mean square errors of a new policy's mean reward, estimated from 400 answers of the old one, 300 times.

    unweighted: of the old policy's own mean. on_policy: from 400 answers of the new one. effective: the mean share of the 400
    that the weights leave. gumbel_g: the G statistic per degree of freedom of all answers against the old policy's probabilities,
    near 1 if they are drawn from them. gaussian_noise_g: the same with Gaussian noise of equal variance in place of Gumbel's.
    """
    rng, K, shape = np.random.default_rng(seed), 30, (300, 400, 30)
    old = 0.5 * rng.normal(size=K)
    new = old + rng.normal(size=K)
    reward = rng.random(K) + (new > old)  # what the new policy does more often is better
    answers, own = (gumbel_max(np.broadcast_to(logits, shape), rng.random(shape)) for logits in (old, new))  # (300, 400)
    weights, sizes = zip(*(importance_weights(new[row], old[row]) for row in answers), strict=True)
    normals = math.pi / math.sqrt(6) * box_muller(rng.random(shape), rng.random(shape))[0]

    def error(estimates: Float[np.ndarray, " R"]) -> float:
        return float(np.sqrt(((estimates - np.exp(new - logsumexp(new)) @ reward) ** 2).mean()))

    def g_statistic(drawn: Int[np.ndarray, "R N"]) -> float:
        log_counts = np.log(np.bincount(drawn.ravel(), minlength=K))
        return float(2 * drawn.size * kl_categorical(log_counts, old) / (K - 1))

    unweighted = reward[answers].mean(axis=1)
    return {
        "off_policy": error((np.array(weights) * reward[answers]).sum(axis=1) if config.weighted else unweighted),
        "unweighted": error(unweighted),
        "on_policy": error(reward[own].mean(axis=1)),
        "effective": float(np.mean(sizes)) / shape[1],
        "gumbel_g": g_statistic(answers),
        "gaussian_noise_g": g_statistic((old + normals).argmax(axis=-1)),
    }


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """All figures of `digits_in_a_mixture`, `coverage_of_intervals` and `judged_by_another`."""
    return digits_in_a_mixture(config, seed) | coverage_of_intervals(config, seed) | judged_by_another(config, seed)


GATES = (
    Gate("log_likelihood", above="kernel_density", baseline="kernel_density", ceiling="seen"),
    Gate("log_likelihood", above="labelled", baseline="labelled"),
    Gate("largest_fall", at_most=1e-10),
    Gate("coverage", at_least=0.93, at_most=0.97, above="words_independent", baseline="words_independent"),
    Gate("off_policy", below="unweighted", baseline="unweighted", ceiling="on_policy"),
    Gate("gumbel_g", at_most=2, below="gaussian_noise_g", baseline="gaussian_noise_g"),
)
ABLATIONS = {
    "one component": Ablation(Config(components=1), "log_likelihood", higher_by=5.0),
    "utterances resampled": Ablation(Config(resampled="utterances"), "coverage", higher_by=0.1),
    "no weights": Ablation(Config(weighted=False), "off_policy", lower_by=0.05),
}


def known_digits() -> float:
    """Share of the test digits that training has, pixel for pixel."""
    train, test = (digits.load(split).counts.numpy() for split in ("train", "test"))
    known = {image.tobytes() for image in train}
    return sum(image.tobytes() in known for image in test) / len(test)


def gain_on_gaussian_data(seed: int) -> float:
    """What the mixture gains over one Gaussian, in nats, on data that are one Gaussian of the digits' mean and covariance."""
    config = Config()
    x, test, _, _ = principal_scores(config.dimensions)
    whole = fit_gaussian(x)
    x, test = sample(whole, len(x), seed), sample(whole, len(test), seed + 1000)
    mixture, _ = fit(x, config.components, config.steps, ridge=config.ridge, seed=seed)
    return mean_log_likelihood(test, mixture) - mean_log_likelihood(test, fit_gaussian(x))


LEAKS = {
    "test digits that training has": Leak(lambda seed, device: known_digits(), chance=0.0, at_most=0.0),
    "many components on Gaussian data": Leak(lambda seed, device: gain_on_gaussian_data(seed), chance=0.0, at_most=0.05),
}


def demo(config: Config = Config()) -> Figure:
    """Digits drawn from one Gaussian and from a mixture, what each step of EM brings, and forty intervals of either kind."""
    x, _, mean, axes = principal_scores(config.dimensions)
    mixture, trace = fit(x, config.components, config.steps, ridge=config.ridge)
    figure = plt.figure(figsize=(11, 7.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, squeeze=False)[:, 0]
    drawn = {"Real digits": x[:48], "From one Gaussian": sample(fit_gaussian(x), 48), "From the mixture": sample(mixture, 48)}
    for panel, (title, scores) in zip(top.subplots(1, 3), drawn.items(), strict=True):
        images = (mean + scores @ axes).reshape(6, 8, digits.SIZE, digits.SIZE)  # rows, columns, height, width
        sheet = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).transpose(0, 2, 1, 3).reshape(6 * 10, 8 * 10)
        panel.imshow(sheet, cmap="gray_r", vmin=0, vmax=1)
        panel.set(title=f"{title}, {config.dimensions} components of 64", xticks=[], yticks=[])
    left, middle, right = bottom.subplots(1, 3)
    left.plot(trace, label=f"{config.components} components")
    left.axhline(mean_log_likelihood(x, fit_gaussian(x)), color="tab:orange", label="one Gaussian")
    left.set(title="Each step of EM", xlabel="step", ylabel="log-likelihood (nats an image)")
    left.legend()
    tests = [simulated_test(np.random.default_rng(i), config) for i in range(40)]
    for panel, what in ((middle, "speakers"), (right, "utterances")):
        intervals = np.array(
            [interval_over(what, *test, np.random.default_rng(40 + i)) for i, test in enumerate(tests)]
        )  # (40, 2)
        missed = (intervals[:, 0] > ERRORS_PER_WORD) | (intervals[:, 1] < ERRORS_PER_WORD)
        panel.hlines(range(40), *intervals.T, color=np.where(missed, "tab:red", "tab:blue"))
        panel.axvline(ERRORS_PER_WORD, color="black", linewidth=0.8)
        panel.set(
            title=f"{what.capitalize()} resampled: {missed.sum()} of 40 miss",
            xlabel="errors per word",
            yticks=[],
            xlim=(0.07, 0.13),
        )
    return figure
