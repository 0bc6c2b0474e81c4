"""What a right answer to foundations/probability must do. Truths: scipy.special, scipy.stats, and plain loops."""

import math

import numpy as np
import pytest
from scipy import special, stats

from course.testing import Edit, assert_close, assert_equal, assert_true, raises

BELOW_ONE = math.nextafter(1, 0)
NO_UNIFORM = (1.0, -0.25, 1.5, math.nan)  # the numbers that are outside of [0, 1), the boundary first
INF = math.inf


def normal(draw, *size, scale=1.0):
    return draw.normal(*size, scale=scale).numpy()


def uniform(draw, *size, low=0.0, high=1.0):
    return draw.uniform(*size, low=low, high=high).numpy()


def with_one(draw, array, value):
    """A copy in which one number, at a random place, is `value`."""
    spoiled = array.copy()
    spoiled.flat[draw.integer(0, spoiled.size - 1)] = value
    return spoiled


# --- logsumexp -----------------------------------------------------------------------------------------------------------


@pytest.mark.stub("logsumexp")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_agrees_with_scipy_over_the_last_axis(impl, draw, axes):
    x = normal(draw, *[draw.size() for _ in range(axes)], draw.size(), scale=3)
    hint = "log(sum(exp(x))) over the last axis, which is gone afterwards; all axes before it stay"
    assert_close(impl.logsumexp(x), special.logsumexp(x, axis=-1), hint=hint, hint_for="values shape")


@pytest.mark.stub("logsumexp")
def test_rows_thousands_apart_keep_their_digits(impl, draw):
    B, K = draw.size(2), draw.size(2)
    x = normal(draw, B, K)
    heights = 2000 * (draw.permutation(B).numpy() - B / 2)  # far above and far below 0
    result = impl.logsumexp(x + heights[:, None])
    hint = "exp overflows above 709 and underflows below −745: subtract each row's own maximum, and add it again"
    assert_close(result - heights, special.logsumexp(x, axis=-1), hint=hint, hint_for="values NaN", what="a row less its height")


@pytest.mark.stub("logsumexp")
def test_small_terms_beside_a_large_one_count(impl, draw):
    K = draw.size(2)
    x = np.full((1, K), -30.0)
    x[0, draw.integer(0, K - 1)] = 0.0
    hint = "the sum is one large term and many small ones; none may be left out"
    expected = np.array([math.log1p((K - 1) * math.exp(-30))])
    assert_true(abs(impl.logsumexp(x)[0] - expected[0]) < 2e-14, "the small terms of a row count", hint=hint)


@pytest.mark.stub("logsumexp")
def test_infinite_numbers_are_numbers(impl, draw):
    K = draw.size(2)
    some, one, mixed = normal(draw, 3, K)
    some[0] = one[-1] = mixed[0] = -INF
    one[0], mixed[-1] = INF, INF
    nothing = np.full(K, -INF)
    x = np.stack([some, nothing, one, nothing, mixed])
    expected = np.array([special.logsumexp(some), -INF, INF, -INF, INF])
    hint = "∞ − ∞ is NaN: where the maximum is infinite, subtract 0. A row of −∞ gives −∞, a row with +∞ gives +∞"
    assert_close(impl.logsumexp(x), expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("logsumexp")
@pytest.mark.parametrize("height", [2000.0, -2000.0])
def test_a_masked_row_far_from_zero(impl, draw, height):
    x = normal(draw, 3, draw.size(2)) + height
    x[0, 0] = -INF
    hint = "a −∞ in the array is no reason to leave the shift out: the other numbers overflow or underflow all the same"
    expected = special.logsumexp(x - height, axis=-1)
    assert_close(impl.logsumexp(x) - height, expected, hint=hint, hint_for="values NaN", what="a row less its height")


@pytest.mark.stub("logsumexp")
def test_float32_survives_where_its_exponential_does_not(impl, draw):
    x = (normal(draw, draw.size(2), draw.size(2)) + 200).astype(np.float32)
    hint = "float32 in, float32 out; its exp overflows above 88"
    expected = special.logsumexp(x.astype(np.float64), axis=-1).astype(np.float32)
    assert_close(impl.logsumexp(x), expected, hint=hint, hint_for="values NaN dtype")


@pytest.mark.stub("logsumexp")
def test_empty_batches_and_empty_rows(impl, draw):
    K = draw.size()
    assert_equal(impl.logsumexp(np.zeros((0, K))), np.zeros(0), hint="no rows, no results")
    with raises(ValueError, hint="a row without numbers has no maximum"):
        impl.logsumexp(np.zeros((K, 0)))


# --- inverse_cdf ---------------------------------------------------------------------------------------------------------


@pytest.mark.stub("inverse_cdf")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_each_number_falls_into_its_interval(impl, draw, axes):
    K = draw.size()
    weights = uniform(draw, K, low=0.1) * draw.choice((1e-3, 1.0, 50.0))
    uniforms = uniform(draw, *[draw.size() for _ in range(axes)])
    total, expected = math.fsum(weights), np.zeros(uniforms.shape, np.int64)
    for place, u in np.ndenumerate(uniforms):
        expected[place] = next(k for k in range(K) if u < math.fsum(weights[: k + 1]) / total or k == K - 1)
    hint = "the least k whose cumulative share lies above u; the weights need not add up to 1"
    assert_equal(impl.inverse_cdf(weights, uniforms), expected, hint=hint)


@pytest.mark.stub("inverse_cdf")
@pytest.mark.parametrize("scale", [1.0, 0.125, 3.0])
def test_boundaries_belong_to_the_next_outcome(impl, draw, scale):
    counts = np.array([0, 0, 1, 1, 2, 4])[draw.permutation(6).numpy()]
    expected = np.repeat(np.arange(6), counts)  # eight intervals of equal length, and the outcome of each
    starts = np.arange(8) / 8
    hint = "u < F(k) is strict: at u = F(k) the draw is the next outcome of positive weight, so one of weight 0 is never drawn"
    assert_equal(impl.inverse_cdf(counts * scale, starts), expected, hint=hint, what="the outcome where an interval begins")
    ends = np.nextafter(starts + 0.125, 0)
    assert_equal(impl.inverse_cdf(counts * scale, ends), expected, hint=hint, what="the outcome just before an interval ends")


@pytest.mark.stub("inverse_cdf")
def test_small_weights_beside_a_large_one_in_float32(impl, draw):
    K = draw.integer(50, 100)
    weights = np.ones(K, np.float32)
    weights[0] = 2.0**24
    outcomes = np.arange(1, K)
    uniforms = (2.0**24 + outcomes - 0.5) / (2.0**24 + K - 1)  # the middle of each small interval
    hint = "2²⁴ + 1 is 2²⁴ in float32, so a sum kept there stands still: keep it in float64"
    assert_equal(impl.inverse_cdf(weights, uniforms), outcomes, hint=hint)


@pytest.mark.stub("inverse_cdf")
def test_float32_numbers_against_sums_in_float64(impl, draw):
    scale = draw.number(0.5, 2)
    weights = np.array([1 + 2.0**-28, 1, 1, 1 + 2.0**-28]) * scale  # F(0) lies just above 1/4, F(2) just below 3/4
    uniforms = np.array([0.25, 0.75], np.float32)
    hint = "the sums stay in float64 to the end: rounded to the dtype of the uniform numbers, they fall upon them"
    assert_equal(impl.inverse_cdf(weights, uniforms), np.array([0, 3]), hint=hint)


@pytest.mark.stub("inverse_cdf")
def test_what_is_no_distribution_is_refused(impl, draw):
    K = draw.size(2)
    uniforms, weights = uniform(draw, 3), uniform(draw, K, low=0.1)
    assert_equal(impl.inverse_cdf(weights, np.zeros(0)), np.zeros(0, np.int64), hint="no uniform numbers, no draws")
    for wrong in (-0.05, math.nan, INF):
        with raises(ValueError, hint=f"one of the weights is {wrong}"):
            impl.inverse_cdf(with_one(draw, weights, wrong), uniforms)
    for none in (np.zeros(K), np.zeros(0)):
        with raises(ValueError, hint="there is nothing to draw: every weight is 0, or there is none"):
            impl.inverse_cdf(none, uniforms)
    for wrong in NO_UNIFORM:
        with raises(ValueError, hint=f"one of the uniform numbers is {wrong}: they lie in [0, 1)"):
            impl.inverse_cdf(weights, with_one(draw, uniforms, wrong))


# --- box_muller ----------------------------------------------------------------------------------------------------------


@pytest.mark.stub("box_muller")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_radius_and_angle(impl, draw, axes):
    size = [draw.size() for _ in range(axes)]
    u, v = uniform(draw, *size), uniform(draw, *size)
    radius = np.array([math.sqrt(-2 * math.log(1 - x)) for x in u.flat]).reshape(size)
    first, second = impl.box_muller(u, v)
    hint = "the radius is √(−2 log(1 − u)) and the angle 2πv; the cosine comes first"
    assert_close(first, radius * np.array([math.cos(2 * math.pi * x) for x in v.flat]).reshape(size), hint=hint, what="the first")
    assert_close(
        second, radius * np.array([math.sin(2 * math.pi * x) for x in v.flat]).reshape(size), hint=hint, what="the second"
    )


@pytest.mark.stub("box_muller")
def test_an_even_grid_becomes_normal(impl):
    n = 200
    u, v = np.meshgrid((np.arange(n) + 0.5) / n, (np.arange(n) + 0.5) / n)
    for values, what in zip(impl.box_muller(u, v), ("the first", "the second"), strict=True):
        shares = [float((values < edge).mean()) for edge in (-2, -1, 0, 1, 2)]
        hint = "evenly spread uniforms must give the shares of the standard normal below −2, −1, 0, 1 and 2"
        assert_close(np.array(shares), stats.norm.cdf([-2, -1, 0, 1, 2]), tolerance=0.01, hint=hint, what=f"the spread of {what}")


@pytest.mark.stub("box_muller")
def test_the_ends_of_the_interval(impl, draw):
    u, v = np.array([0.0, 0.0, BELOW_ONE, BELOW_ONE]), np.array([0.0, draw.number(0, 1), 0.0, 0.25])
    far = math.sqrt(-2 * math.log(1 - BELOW_ONE))  # 8.6
    hint = "0 is a uniform number and 1 is not: the logarithm of 1 − u is always finite, that of u is not"
    first, second = impl.box_muller(u, v)
    assert_close(first, np.array([0.0, 0.0, far, 0.0]), hint=hint, hint_for="values NaN", what="the first")
    assert_close(second, np.array([0.0, 0.0, 0.0, far]), hint=hint, hint_for="values NaN", what="the second")


@pytest.mark.stub("box_muller")
def test_normals_in_float32(impl, draw):
    n = draw.size(3)
    u, v = (uniform(draw, n, high=0.999).astype(np.float32) for _ in range(2))
    radius, angle = np.sqrt(-2 * np.log1p(-u.astype(np.float64))), 2 * np.pi * v.astype(np.float64)
    for came, truth in zip(impl.box_muller(u, v), (radius * np.cos(angle), radius * np.sin(angle)), strict=True):
        assert_close(
            came, truth.astype(np.float32), tolerance=1e-4, hint="float32 in, float32 out, both of them", hint_for="values dtype"
        )


@pytest.mark.stub("box_muller")
def test_other_numbers_and_shapes_are_refused(impl, draw):
    n = draw.size(2)
    u, v = uniform(draw, n), uniform(draw, n)
    impl.box_muller(u, v)  # these are right; each of what follows has one fault
    for wrong in NO_UNIFORM:
        with raises(ValueError, hint=f"one of the radii comes from {wrong}, which is outside of [0, 1)"):
            impl.box_muller(with_one(draw, u, wrong), v)
        with raises(ValueError, hint=f"one of the angles comes from {wrong}, which is outside of [0, 1)"):
            impl.box_muller(u, with_one(draw, v, wrong))
    for other in (v[:1], v[None], np.zeros(n + 1)):
        with raises(ValueError, hint="each u needs a v of its own: a shape that broadcasts would use one twice"):
            impl.box_muller(u, other)
        with raises(ValueError, hint="each u needs a v of its own: a shape that broadcasts would use one twice"):
            impl.box_muller(other, u)


# --- gumbel_max ----------------------------------------------------------------------------------------------------------


def with_noise(logits, uniforms):
    """The draws, number by number."""
    K, tiny = logits.shape[-1], float(np.finfo(uniforms.dtype).tiny)
    best = []
    for row, u in zip(logits.reshape(-1, K).tolist(), uniforms.reshape(-1, K).tolist(), strict=True):
        best.append(max(range(K), key=lambda k: row[k] - math.log(-math.log(max(u[k], tiny)))))
    return np.array(best, np.int64).reshape(logits.shape[:-1])


@pytest.mark.stub("gumbel_max")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_largest_of_logit_plus_noise(impl, draw, axes):
    size = (*[draw.size() for _ in range(axes)], draw.size(2))
    logits, uniforms = normal(draw, *size), uniform(draw, *size)
    hint = "noise −log(−log u) for each logit, and the place of the largest sum in each row"
    assert_equal(impl.gumbel_max(logits, uniforms), with_noise(logits, uniforms), hint=hint)


@pytest.mark.stub("gumbel_max")
def test_draws_follow_the_softmax(impl, draw):
    K, n = draw.size(3, 6), 20_000
    logits = normal(draw, K)
    drawn = impl.gumbel_max(np.tile(logits, (n, 1)), uniform(draw, n, K))
    expected = special.softmax(logits) * n
    counts = np.bincount(np.clip(drawn, 0, K - 1), minlength=K)
    hint = "over many rows, outcome k must come up in a share softmax(θ)ₖ of them"
    assert_true(stats.chisquare(counts, expected).pvalue > 1e-7, "the shares of the draws are those of the softmax", hint=hint)


@pytest.mark.stub("gumbel_max")
def test_logits_may_be_huge_or_minus_infinity(impl, draw):
    K = draw.size(3)
    uniforms = uniform(draw, 4, K)
    logits = normal(draw, 4, K) + np.array([[1e4], [-1e4], [800], [0]])
    logits[:, 0] = -INF
    logits[3, 1:] = -INF
    logits[3, K - 1] = -1e6
    uniforms[3] = BELOW_ONE  # the largest noise everywhere but at the one that can be drawn
    uniforms[3, K - 1] = 0.0
    hint = "stay in log space, and never draw a logit of −∞, not even where the noise of the others is −log(−log 0)"
    assert_equal(impl.gumbel_max(logits, uniforms), with_noise(logits, uniforms), hint=hint)
    half = np.zeros((K, K))
    half[np.arange(K) != np.arange(K)[:, None]] = -INF
    assert_equal(impl.gumbel_max(half, np.zeros((K, K))), np.arange(K), hint=hint, what="the only outcome of each row")


@pytest.mark.stub("gumbel_max")
def test_a_uniform_number_of_zero(impl, draw):
    noiseless = math.exp(-1)  # its noise is 0
    for dtype, noise in ((np.float64, -6.563), (np.float32, -4.470)):  # −log(−log tiny); of the least number of all −6.61, −4.64
        logits = np.array([[0.0, noise - 0.02], [0.0, noise + 0.02]], dtype)
        uniforms = np.array([[0.0, noiseless]] * 2, dtype)
        hint = f"0 counts as np.finfo(np.{dtype.__name__}).tiny, so that its noise is finite and belongs to the dtype"
        assert_equal(impl.gumbel_max(logits, uniforms), np.array([0, 1]), hint=hint)
    K = draw.size(2)
    logits = normal(draw, 3, K)
    assert_equal(impl.gumbel_max(logits, np.zeros((3, K))), logits.argmax(1), hint="equal noise leaves the largest logit on top")


@pytest.mark.stub("gumbel_max")
def test_a_uniform_number_next_to_one(impl, draw):
    for dtype, noise in ((np.float64, 36.7), (np.float32, 16.6)):  # of the largest number below 1
        nearest = np.nextafter(dtype(1), dtype(0))
        logits = np.array([[0.0, 1 - noise], [0.0, -1 - noise]], dtype)  # beside noise of 0
        uniforms = np.array([[math.exp(-1), nearest]] * 2, dtype)
        hint = "the noise of a number next to 1 is large but finite: only 0 has to be raised, nothing has to be lowered"
        assert_equal(impl.gumbel_max(logits, uniforms), np.array([1, 0]), hint=hint)


@pytest.mark.stub("gumbel_max")
def test_what_cannot_be_drawn_from_is_refused(impl, draw):
    B, K = draw.size(2), draw.size(2)
    logits, uniforms = normal(draw, B, K), uniform(draw, B, K)
    assert_equal(impl.gumbel_max(np.zeros((0, K)), np.zeros((0, K))), np.zeros(0, np.int64), hint="no rows, no draws")
    for wrong in NO_UNIFORM:
        with raises(ValueError, hint=f"one of the uniform numbers is {wrong}: they lie in [0, 1)"):
            impl.gumbel_max(logits, with_one(draw, uniforms, wrong))
    for other in (uniforms[:1], uniforms[:, :1], uniforms[0], uniforms[None]):
        with raises(ValueError, hint="a uniform number that two logits share ties their draws together: refuse to broadcast"):
            impl.gumbel_max(logits, other)
    logits[draw.integer(0, B - 1)] = -INF
    with raises(ValueError, hint="a row of −∞ has nothing to draw"):
        impl.gumbel_max(logits, uniforms)


# --- kl_categorical ------------------------------------------------------------------------------------------------------


def divergence(p, q):
    """Of the softmax of two arrays of logits. Exact where a probability is 0."""
    log_p, log_q = special.log_softmax(p, axis=-1), special.log_softmax(q, axis=-1)
    terms = np.zeros_like(log_p)
    inside = np.exp(log_p) > 0
    terms[inside] = np.exp(log_p[inside]) * (log_p[inside] - log_q[inside])
    return terms.sum(axis=-1)


@pytest.mark.stub("kl_categorical")
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_agrees_with_scipy(impl, draw, axes):
    size = (*[draw.size() for _ in range(axes)], draw.size())
    p, q = normal(draw, *size, scale=2), normal(draw, *size, scale=2)
    expected = special.rel_entr(special.softmax(p, axis=-1), special.softmax(q, axis=-1)).sum(axis=-1)
    hint = "Σ p (log p − log q) over the last axis, in nats: both come as logits, so normalise both; p stands in front"
    assert_close(impl.kl_categorical(p, q), expected, hint=hint)


@pytest.mark.stub("kl_categorical")
def test_logits_of_any_height(impl, draw):
    B, K = draw.size(), draw.size(2)
    p, q = normal(draw, B, K), normal(draw, B, K)
    p[:, 0] -= 2000  # a probability that underflows to 0
    q[:, -1] -= 900  # and one of which only the logarithm is left
    heights = normal(draw, 2, B, 1, scale=1e4)
    hint = "logits are known up to a constant, and a probability of e⁻⁹⁰⁰ still has a logarithm: log-softmax, not log of softmax"
    assert_close(impl.kl_categorical(p + heights[0], q + heights[1]), divergence(p, q), hint=hint, hint_for="values NaN")


@pytest.mark.stub("kl_categorical")
def test_outcomes_of_probability_zero(impl, draw):
    K = draw.size(3)
    p, q = normal(draw, 4, K), normal(draw, 4, K)
    p[0, 0] = p[1, 0] = q[1, 0] = q[2, 0] = -INF
    p[3, 1:] = q[3, 2:] = -INF
    expected = divergence(p[[0, 1, 3]], q[[0, 1, 3]])
    hint = "0 log 0 is 0, also where q is 0 too; where only q is 0 the divergence is infinite, and nothing is ever NaN"
    result = impl.kl_categorical(p, q)
    assert_close(result, np.array([expected[0], expected[1], INF, expected[2]]), hint=hint, hint_for="values NaN")


@pytest.mark.stub("kl_categorical")
def test_float32_stays_float32(impl, draw):
    p, q = normal(draw, draw.size(), draw.size()).astype(np.float32), None
    q = (p[:, ::-1] * 2).astype(np.float32)
    expected = divergence(p.astype(np.float64), q.astype(np.float64)).astype(np.float32)
    assert_close(impl.kl_categorical(p, q), expected, tolerance=1e-4, hint="float32 in, float32 out", hint_for="values dtype")


@pytest.mark.stub("kl_categorical")
def test_what_is_no_pair_of_distributions_is_refused(impl, draw):
    B, K = draw.size(2), draw.size(2)
    p, q = normal(draw, B, K), normal(draw, B, K)
    impl.kl_categorical(p, q)  # these are right; each of what follows has one fault
    for other in (q[:1], q[:, :1], q[0], q[:, : K - 1]):
        with raises(ValueError, hint="p and q are compared row by row: refuse another shape, also one that broadcasts"):
            impl.kl_categorical(p, other)
        with raises(ValueError, hint="p and q are compared row by row: refuse another shape, also one that broadcasts"):
            impl.kl_categorical(other, p)
    closed = p.copy()
    closed[draw.integer(0, B - 1)] = -INF
    for wrong in (closed, with_one(draw, p, INF), with_one(draw, p, math.nan)):
        with raises(ValueError, hint="a row of −∞, or one that holds +∞ or NaN, is no distribution, as p"):
            impl.kl_categorical(wrong, q)
        with raises(ValueError, hint="a row of −∞, or one that holds +∞ or NaN, is no distribution, as q"):
            impl.kl_categorical(q, wrong)


# --- em_step -------------------------------------------------------------------------------------------------------------


def a_mixture(draw, K, D, spread=3.0):
    roots = normal(draw, K, D, D)
    covariances = roots @ roots.swapaxes(1, 2) + np.eye(D)
    return special.log_softmax(normal(draw, K)), normal(draw, K, D, scale=spread), covariances


def one_step(x, log_weights, means, covariances, ridge=0.0):
    """The step, component by component and point by point."""
    N, K = len(x), len(means)
    joint = np.empty((N, K))
    for k in range(K):
        joint[:, k] = log_weights[k] + stats.multivariate_normal(means[k], covariances[k]).logpdf(x)
    evidence = special.logsumexp(joint, axis=1)
    r = np.exp(joint - evidence[:, None])
    new_means, new_covariances = np.zeros_like(means), np.zeros_like(covariances)
    for k in range(K):
        new_means[k] = sum(r[n, k] * x[n] for n in range(N)) / r[:, k].sum()
        squares = sum(r[n, k] * np.outer(x[n] - new_means[k], x[n] - new_means[k]) for n in range(N))
        new_covariances[k] = squares / r[:, k].sum() + ridge * np.eye(x.shape[1])
    return np.log(r.mean(axis=0)), new_means, new_covariances, float(evidence.mean())


NAMES = ("the log-weights", "the means", "the covariances", "the log-likelihood")
HINTS = (
    "log(N_k / N), where N_k is the sum of a component's responsibilities",
    "the mean of the points, weighted by the responsibilities, divided by N_k and not by N",
    "weighted outer products about the new mean, all D × D of them, divided by N_k and not by N or N_k − 1; then the ridge on the diagonal",
    "of the parameters that came in, not of the new ones: the mean over the points of log Σ_k π_k N(x | k)",
)


def compare(actual, expected, tolerance=None, hint="", **kwargs):
    for name, own, came, truth in zip(NAMES, HINTS, actual, expected, strict=True):
        assert_close(came, truth, tolerance=tolerance, hint=hint or own, what=name, **kwargs)


@pytest.mark.stub("em_step")
@pytest.mark.parametrize("ridge", [0.0, 0.7])
def test_one_step_agrees_with_loops(impl, draw, ridge):
    K, D = draw.size(1, 5), draw.size(1, 4)
    N = draw.size(5, 8) if draw.integer(0, 1) else 30
    mixture = a_mixture(draw, K, D)
    x = normal(draw, N, D, scale=3)
    compare(impl.em_step(x, *mixture, ridge) if ridge else impl.em_step(x, *mixture), one_step(x, *mixture, ridge))


@pytest.mark.stub("em_step")
def test_points_far_from_every_component(impl, draw):
    K, D = draw.size(2, 4), draw.size(1, 3)
    mixture = a_mixture(draw, K, D, spread=1.0)
    x = normal(draw, 12, D)
    x[:3] += 300 * np.sign(normal(draw, 3, D))  # densities of e^-20000 and less
    hint = "a density this small is 0 as a number and 0/0 as a share: subtract the log-evidence, then exponentiate"
    compare(impl.em_step(x, *mixture), one_step(x, *mixture), hint=hint, hint_for="values NaN")


@pytest.mark.stub("em_step")
def test_data_far_from_the_origin(impl, draw):
    K, D = draw.size(1, 3), draw.size(1, 3)
    log_weights, means, covariances = a_mixture(draw, K, D, spread=1.0)
    x, far = normal(draw, 20, D), 1e6 * normal(draw, D)
    expected = one_step(x, log_weights, means, covariances)
    *_, found, _ = impl.em_step(x + far, log_weights, means + far, covariances)
    hint = "E[xxᵀ] − μμᵀ loses twelve digits here: centre first, then multiply"
    assert_close(found, expected[2], tolerance=1e-6, hint=hint, what="the covariances")


@pytest.mark.stub("em_step")
def test_the_likelihood_never_falls(impl, draw):
    K, D = draw.size(2, 4), draw.size(1, 3)
    x = np.concatenate([normal(draw, 20, D) + 4 * normal(draw, D) for _ in range(3)])
    mixture = np.full(K, -math.log(K)), x[draw.permutation(60).numpy()[:K]], np.tile(10 * np.eye(D), (K, 1, 1))
    likelihoods = []
    for _ in range(6):
        *mixture, likelihood = impl.em_step(x, *mixture)
        likelihoods.append(likelihood)
    rises = np.diff(likelihoods)
    hint = "each step returns the likelihood of what it was given, and the next one's must not be lower"
    assert_true((rises > -1e-9).all() and rises[0] > 1e-6, "the log-likelihood rises from step to step", hint=hint)


@pytest.mark.stub("em_step")
def test_a_step_in_float32_stays_there(impl, draw):
    K, D = draw.size(1, 3), draw.size(1, 3)
    mixture = [part.astype(np.float32) for part in a_mixture(draw, K, D)]
    x = normal(draw, 20, D, scale=3).astype(np.float32)
    expected = one_step(*(part.astype(np.float64) for part in (x, *mixture)), 0.5)
    truth = [*(part.astype(np.float32) for part in expected[:3]), expected[3]]
    hint = "float32 in, float32 out: np.eye and np.log(2π) of NumPy are float64 unless you say otherwise"
    compare(impl.em_step(x, *mixture, 0.5), truth, tolerance=1e-3, hint=hint, hint_for="values dtype")


@pytest.mark.stub("em_step")
def test_a_component_that_explains_next_to_nothing(impl, draw):
    D = draw.size(1, 3)
    x, means, covariances = normal(draw, 10, D), np.zeros((2, D)), np.tile(np.eye(D), (2, 1, 1))
    means[1, 0] = 9 + draw.number(0, 1)  # the nearest point is e^-20 its own, all others less
    mixture = np.log([0.5, 0.5]) - [0, 20], means, covariances
    hint = "a component explains no point only where N_k is 0; with however little it has a mean, and nothing is added to N_k"
    expected, found = one_step(x, *mixture), impl.em_step(x, *mixture)
    compare(found, expected, hint=hint, tolerance=1e-7)
    assert_close(found[0][1], float(expected[0][1]), tolerance=1e-9, hint=hint, what="the log-weight of the lesser component")


@pytest.mark.stub("em_step")
def test_a_component_that_explains_no_point(impl, draw):
    K, D = draw.size(2, 4), draw.size(1, 3)
    log_weights, means, covariances = a_mixture(draw, K, D)
    x, lost = normal(draw, 10, D), draw.integer(0, K - 1)
    compare(impl.em_step(x, log_weights, means, covariances), one_step(x, log_weights, means, covariances))
    means[lost] = 1e6
    with raises(ValueError, hint="all its responsibilities are 0, so its mean would be 0/0: say so instead of returning NaN"):
        impl.em_step(x, log_weights, means, covariances)
    means[lost] = 0
    with raises(ValueError, hint="no points at all: no component explains any"):
        impl.em_step(x[:0], log_weights, means, covariances)


# --- importance_weights --------------------------------------------------------------------------------------------------


def weighted(log_p, log_q):
    w = special.softmax(log_p - log_q)
    return w, 1 / math.fsum(w**2)


@pytest.mark.stub("importance_weights")
@pytest.mark.parametrize("height", [0.0, 3000.0])
def test_weights_and_their_effective_number(impl, draw, height):
    N = draw.size()
    log_p, log_q = normal(draw, N, scale=2) - height, normal(draw, N, scale=2) + 2 * height
    w, effective = weighted(log_p, log_q)
    found, size = impl.importance_weights(log_p, log_q)
    hint = "p / q of each draw, divided by their sum; densities are known up to a factor, so subtract in log space before any exp"
    assert_close(found, w, hint=hint, hint_for="values NaN", what="the weights")
    assert_close(
        size, effective, hint="1 / Σ w² of weights that add up to 1: N if all are equal", what="the effective sample size"
    )


@pytest.mark.stub("importance_weights")
def test_from_all_alike_to_one_alone(impl, draw):
    N, shift = draw.size(2), draw.number(-5, 5)
    log_q = normal(draw, N)
    _, size = impl.importance_weights(log_q + shift, log_q)
    assert_close(size, float(N), hint="p = q up to a factor: every draw counts in full", what="the effective sample size")
    best = draw.integer(0, N - 1)
    log_p = np.where(np.arange(N) == best, 0.0, -INF)
    found, size = impl.importance_weights(log_p, log_q)
    hint = "a draw that p never makes has weight 0; one draw alone is worth 1"
    assert_close(found, (np.arange(N) == best).astype(float), hint=hint, hint_for="values NaN", what="the weights")
    assert_close(size, 1.0, hint=hint, what="the effective sample size")


@pytest.mark.stub("importance_weights")
def test_densities_thousands_apart_from_draw_to_draw(impl, draw):
    N = draw.size(3)
    log_p, log_q = normal(draw, N), normal(draw, N)
    heights = 2000.0 * draw.permutation(N).numpy()
    w, effective = weighted(log_p, log_q)
    found, size = impl.importance_weights(log_p - heights, log_q - heights)
    hint = "only the difference of the two logarithms counts: take it first, and then its maximum"
    assert_close(found, w, tolerance=1e-8, hint=hint, hint_for="values NaN", what="the weights")
    assert_close(size, effective, tolerance=1e-8, hint=hint, what="the effective sample size")
    best = draw.integer(0, N - 1)
    log_p[best] += 5000
    found, size = impl.importance_weights(log_p, log_q)
    hint = "one ratio may lie thousands above all others: take off the largest, not the mean"
    assert_close(found, (np.arange(N) == best).astype(float), hint=hint, hint_for="values NaN", what="the weights")
    assert_close(size, 1.0, hint=hint, what="the effective sample size")


@pytest.mark.stub("importance_weights")
def test_weights_in_float32(impl, draw):
    log_p, log_q = (normal(draw, draw.size(2)) - 400).astype(np.float32), None
    log_q = (log_p[::-1] + 100).astype(np.float32)
    w, effective = weighted(log_p.astype(np.float64), log_q.astype(np.float64))
    found, size = impl.importance_weights(log_p, log_q)
    assert_close(found, w.astype(np.float32), tolerance=1e-3, hint="float32 in, float32 out", hint_for="values dtype NaN")
    assert_close(size, effective, tolerance=1e-3, what="the effective sample size")


@pytest.mark.stub("importance_weights")
def test_weights_that_do_not_exist_are_refused(impl, draw):
    N = draw.size(2)
    log_p, log_q = normal(draw, N), normal(draw, N)
    impl.importance_weights(log_p, log_q)  # these are right; each of what follows has one fault
    for wrong in (-INF, INF, math.nan):
        with raises(ValueError, hint=f"log q is {wrong} at a draw which q is said to have made"):
            impl.importance_weights(log_p, with_one(draw, log_q, wrong))
    for wrong in (INF, math.nan):
        with raises(ValueError, hint=f"log p is {wrong} at one of the draws"):
            impl.importance_weights(with_one(draw, log_p, wrong), log_q)
    with raises(ValueError, hint="p makes none of these draws: all weights would be 0/0"):
        impl.importance_weights(np.full(N, -INF), log_q)
    for other in (log_q[:1], log_q[:, None], np.zeros(N + 1)):
        with raises(
            ValueError, hint="each draw has a log p and a log q of its own: refuse other shapes, also those that broadcast"
        ):
            impl.importance_weights(log_p, other)
        with raises(
            ValueError, hint="each draw has a log p and a log q of its own: refuse other shapes, also those that broadcast"
        ):
            impl.importance_weights(other, log_p)
    with raises(ValueError, hint="no draws, no weights"):
        impl.importance_weights(np.zeros(0), np.zeros(0))


# --- bootstrap_interval --------------------------------------------------------------------------------------------------


def between(values, share):
    """The quantile of sorted values, linear between neighbours."""
    place = share * (len(values) - 1)
    below = min(int(place), len(values) - 1)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def interval(errors, sizes, uniforms, level=0.95):
    N, ratios = len(errors), []
    for row in uniforms.tolist():
        rows = [int(u * N) for u in row]
        ratios.append(sum(errors[i] for i in rows) / sum(sizes[i] for i in rows))
    ratios.sort()
    return between(ratios, (1 - level) / 2), between(ratios, 1 - (1 - level) / 2)


def same_bounds(found, expected, hint):
    for came, truth, what in zip(found, expected, ("the lower bound", "the upper bound"), strict=True):
        assert_close(came, float(truth), hint=hint, what=what)


@pytest.mark.stub("bootstrap_interval")
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
def test_interval_agrees_with_loops(impl, draw, level):
    N, R = draw.size(), draw.choice((1, 2, 7, 40))
    errors, sizes = uniform(draw, N, high=9), uniform(draw, N, low=0.5, high=40)
    uniforms = uniform(draw, R, N)
    found = impl.bootstrap_interval(errors, sizes, uniforms, level)
    hint = (
        "each resample: the rows ⌊uN⌋, the sum of their errors by the sum of their sizes; then two quantiles, of (1 ∓ level) / 2"
    )
    same_bounds(found, interval(errors, sizes, uniforms, level), hint)


@pytest.mark.stub("bootstrap_interval")
def test_a_level_of_ninety_five_percent_by_default(impl, draw):
    errors, sizes, uniforms = uniform(draw, 8, high=9), uniform(draw, 8, low=0.5, high=40), uniform(draw, 40, 8)
    hint = "2.5 % of the resamples are cut off on each side unless something else is asked"
    same_bounds(impl.bootstrap_interval(errors, sizes, uniforms), interval(errors, sizes, uniforms, 0.95), hint)


@pytest.mark.stub("bootstrap_interval")
def test_every_row_has_an_equal_share_of_the_uniforms(impl, draw):
    N = draw.choice((2, 4, 8))
    errors, sizes = uniform(draw, N, high=9), uniform(draw, N, low=0.5, high=2)
    for i in range(N):
        for u in (i / N, math.nextafter((i + 1) / N, 0)):  # the first and the last number that stand for row i
            hint = f"u from {i}/{N} up to but not including {i + 1}/{N} draws row {i}: round down"
            same_bounds(impl.bootstrap_interval(errors, sizes, np.full((3, N), u)), [errors[i] / sizes[i]] * 2, hint)


@pytest.mark.stub("bootstrap_interval")
def test_interval_of_what_came_in_float32(impl, draw):
    N = draw.size(2)
    errors, sizes = uniform(draw, N, high=9).astype(np.float32), uniform(draw, N, low=0.5, high=40).astype(np.float32)
    uniforms = uniform(draw, 20, N)
    found, expected = impl.bootstrap_interval(errors, sizes, uniforms, 0.8), interval(errors, sizes, uniforms, 0.8)
    for came, truth in zip(found, expected, strict=True):
        assert_close(came, float(truth), tolerance=1e-5, hint="two plain numbers, whatever the dtype of the rows")


@pytest.mark.stub("bootstrap_interval")
def test_what_has_no_interval_is_refused(impl, draw):
    N, R = draw.size(2), draw.size(2)
    errors, sizes, uniforms = uniform(draw, N, high=9), uniform(draw, N, low=0.5, high=40), uniform(draw, R, N)
    impl.bootstrap_interval(errors, sizes, uniforms)  # these are right; each of what follows has one fault
    for wrong in (0.0, -1.0, math.nan):
        with raises(ValueError, hint=f"one of the sizes is {wrong}: there would be errors among no words"):
            impl.bootstrap_interval(errors, with_one(draw, sizes, wrong), uniforms)
    for level in (0.0, 1.0, -0.5, 95.0, math.nan):
        with raises(ValueError, hint=f"the level is {level}, and must lie between 0 and 1"):
            impl.bootstrap_interval(errors, sizes, uniforms, level)
    for wrong in NO_UNIFORM:
        with raises(ValueError, hint=f"one of the uniform numbers is {wrong}: they lie in [0, 1)"):
            impl.bootstrap_interval(errors, sizes, with_one(draw, uniforms, wrong))
    cases = {
        "as many sizes as errors": (errors, sizes[:-1], uniforms),
        "as many errors as sizes": (errors[:1], sizes, uniforms),
        "a size for each error": (errors, sizes[:1], uniforms),
        "N uniform numbers for a resample of N rows": (errors, sizes, uniforms[:, :-1]),
        "an axis of resamples": (errors, sizes, uniforms[0]),
        "at least one resample": (errors, sizes, uniforms[:0]),
        "at least one row": (errors[:0], sizes[:0], uniforms[:, :0]),
    }
    for needed, arguments in cases.items():
        with raises(ValueError, hint=f"it takes {needed}"):
            impl.bootstrap_interval(*arguments)


# --- wrong answers -------------------------------------------------------------------------------------------------------


def in_range(*uniforms):
    if any(not ((u >= 0) & (u < 1)).all() for u in uniforms):
        raise ValueError("not in [0, 1)")


def sums_by(*, dtype=np.float64, side="right", shift=0.0):
    def draws(weights, uniforms):
        in_range(uniforms)
        sums = np.cumsum(weights, dtype=dtype)
        if len(weights) == 0 or (weights < 0).any() or not np.isfinite(weights).all() or sums[-1] == 0:
            raise ValueError("no weights")
        return np.searchsorted(sums, uniforms * sums[-1] + shift, side=side)

    return draws


def turned_by(*, radius=lambda u: -2 * np.log1p(-u), turn=2 * math.pi, order=(np.cos, np.sin)):
    def pairs(u, v):
        if u.shape != v.shape:
            raise ValueError("shapes")
        in_range(u, v)
        r = np.sqrt(radius(u))
        return r * order[0](turn * v), r * order[1](turn * v)

    return pairs


def raced(noise, *, lowest=None):
    """The largest of logit plus noise, with all that has to be refused."""

    def draws(logits, uniforms):
        if logits.shape != uniforms.shape:
            raise ValueError("shapes")
        in_range(uniforms)
        if np.isneginf(logits).all(axis=-1).any():
            raise ValueError("empty row")
        u = np.maximum(uniforms, np.finfo(uniforms.dtype).tiny if lowest is None else lowest)
        return np.argmax(logits + noise(u), axis=-1)

    return draws


def divergence_by(term):
    """Row sums of a term of log p and log q, with all that has to be refused."""

    def rows(logits_p, logits_q):
        if logits_p.shape != logits_q.shape:
            raise ValueError("shapes")
        for x in (logits_p, logits_q):
            if np.isnan(x).any() or np.isposinf(x).any() or np.isneginf(x).all(axis=-1).any():
                raise ValueError("no distribution")
        with np.errstate(all="ignore"):
            return term(special.log_softmax(logits_p, axis=-1), special.log_softmax(logits_q, axis=-1)).sum(axis=-1)

    return rows


def inside(log_p, terms):
    return np.where(np.exp(log_p) > 0, terms, 0)


def em_by(*, densities=False, soften=None, about=None, divide=None, evidence_of_new=False, refuse=True):
    """A step of EM with one thing done otherwise."""

    def step(x, log_weights, means, covariances, ridge=0.0):
        N, D = x.shape
        with np.errstate(all="ignore"):
            joint = log_weights + log_densities(x, means, covariances)
            if densities:
                evidence = np.log(np.exp(joint).sum(axis=1))
                r = np.exp(joint) / np.exp(joint).sum(axis=1, keepdims=True)
            else:
                evidence = special.logsumexp(joint, axis=1)
                r = np.exp(joint - evidence[:, None])
            r = r if soften is None else soften(r)
            counts = r.sum(axis=0)
            if refuse and not (counts > 0).all():
                raise ValueError("a component explains no point")
            new = (r.T @ x) / counts[:, None]
            centre = new if about is None else means
            gaps = x[:, None] - centre  # (N, K, D)
            total = np.einsum("nk,nki,nkj->kij", r, gaps, gaps)
            shares = counts if divide is None else divide(counts, N)
            mixture = np.log(counts / N), new, (total / shares.reshape(-1, 1, 1) + ridge * np.eye(D)).astype(x.dtype)
            if evidence_of_new:
                evidence = special.logsumexp(mixture[0] + log_densities(x, *mixture[1:]), axis=1)
        return *mixture, float(evidence.mean())

    return step


def log_densities(x, means, covariances):
    """By inverse and determinant."""
    gaps = x[:, None] - means  # (N, K, D)
    distances = np.einsum("nki,kij,nkj->nk", gaps, np.linalg.inv(covariances), gaps)
    return -(distances + np.linalg.slogdet(covariances)[1] + x.shape[1] * math.log(2 * math.pi)) / 2


def raw_moments(x, log_weights, means, covariances, ridge=0.0):
    """The covariance as a difference of two large numbers."""
    N, D = x.shape
    joint = log_weights + log_densities(x, means, covariances)
    evidence = special.logsumexp(joint, axis=1)
    r = np.exp(joint - evidence[:, None])
    counts = r.sum(axis=0)
    if not (counts > 0).all():
        raise ValueError("a component explains no point")
    new = (r.T @ x) / counts[:, None]
    seconds = np.einsum("nk,ni,nj->kij", r, x, x) / counts[:, None, None]
    squares = seconds - new[:, :, None] * new[:, None, :] + ridge * np.eye(D).astype(x.dtype)
    return np.log(counts / N), new, squares, float(evidence.mean())


def weights_by(*, ratio=lambda log_p, log_q: log_p - log_q, log_space=True, size=lambda w: 1 / (w**2).sum(), normalise=True):
    def found(log_p, log_q):
        if log_p.shape != log_q.shape or log_p.ndim != 1 or len(log_p) == 0 or not np.isfinite(log_q).all():
            raise ValueError("shapes, or log q")
        if np.isnan(log_p).any() or log_p.max() in (INF, -INF):
            raise ValueError("log p")
        with np.errstate(all="ignore"):
            logs = ratio(log_p, log_q)
            w = np.exp(logs - logs.max()) if log_space else np.exp(logs)
            w = w / w.sum() if normalise else w
        return w, float(size(w))

    return found


def resampled(*, rows=lambda u, N: np.floor(u * N), ratio=None, tails=lambda level: ((1 - level) / 2, (1 + level) / 2)):
    """An interval with one thing done otherwise."""

    def bounds(errors, sizes, uniforms, level=0.95):
        N = len(errors)
        if uniforms.ndim != 2 or sizes.shape != errors.shape or uniforms.shape[1] != N or N == 0 or len(uniforms) == 0:
            raise ValueError("shapes")
        if not (sizes > 0).all() or not 0 < level < 1:
            raise ValueError("sizes, or level")
        in_range(uniforms)
        i = np.clip(rows(uniforms, N), 0, N - 1).astype(int)
        ratios = errors[i].sum(1) / sizes[i].sum(1) if ratio is None else ratio(errors[i], sizes[i])
        low, high = np.quantile(ratios, tails(level))
        return float(low), float(high)

    return bounds


FAKES = {
    "logsumexp": {
        "no shift where there is an infinity": Edit(
            "np.where(np.isfinite(top), top, 0)", "np.where(np.isfinite(x).all(), top, 0)"
        ),
        "no maximum subtracted": lambda x: np.log(np.exp(x).sum(axis=-1)) if x.shape[-1] else special.logsumexp(x, axis=-1),
        "one maximum for all rows": Edit(
            "top = x.max(axis=-1, keepdims=True)", "top = x.max(axis=(*range(x.ndim),), keepdims=True)"
        ),
        "the maximum alone": lambda x: x.max(axis=-1),
        "over the first axis": Edit("axis=-1", "axis=0"),
        "over all axes": Edit("axis=-1", "axis=None"),
        "the maximum not added again": Edit(" + top.squeeze(axis=-1)", ""),
        "NaN where the maximum is infinite": Edit("np.where(np.isfinite(top), top, 0)", "top"),
        "−∞ becomes 0": Edit("+ top.squeeze(axis=-1)", "+ shift.squeeze(axis=-1)"),
        "clipped, not shifted": lambda x: np.log(np.exp(np.clip(x, -700, 700)).sum(axis=-1)) if x.shape[-1] else x.max(axis=-1),
        "small terms thrown away": Edit("np.exp(x - shift)", "np.where(x > shift - 20, np.exp(x - shift), 0)"),
        "pairwise from 0": lambda x: np.logaddexp.reduce(np.concatenate([np.zeros_like(x[..., :1]), x], axis=-1), axis=-1),
        "in float64 throughout": Edit("np.exp(x - shift)", "np.exp(x.astype(np.float64) - shift)"),
        "the mean": Edit(".sum(axis=-1)", ".mean(axis=-1)"),
        "empty rows accepted": lambda x: special.logsumexp(x, axis=-1) if x.shape[-1] else np.full(x.shape[:-1], -INF),
    },
    "inverse_cdf": {
        "rounded to the dtype of the uniforms": Edit("sums / sums[-1]", "(sums / sums[-1]).astype(uniforms.dtype)"),
        "boundaries belong to the outcome before": sums_by(side="left"),
        "sums in float32": sums_by(dtype=np.float32),
        "sums in the dtype of the weights": sums_by(dtype=None),
        "weights taken for probabilities": Edit("sums / sums[-1]", "sums"),
        "divided by the largest weight": Edit("sums / sums[-1]", "sums / weights.max()"),
        "one draw too far": Edit('side="right")', 'side="right") + 1'),
        "negative weights accepted": Edit("(weights >= 0).all()", "sums[-1] == sums[-1]"),
        "cut off at 0, not refused": lambda weights, uniforms: sums_by()(np.maximum(weights, 0), uniforms),
        "no weights accepted": lambda weights, uniforms: (
            sums_by()(weights, uniforms) if len(weights) and weights.any() else np.zeros(uniforms.shape, np.int64)
        ),
        "infinite weights accepted": Edit("0 < sums[-1] < np.inf", "0 < sums[-1]"),
        "1 accepted": Edit("check_uniforms(uniforms)", "check_uniforms(uniforms[uniforms != 1])"),
        "uniforms not looked at": Edit("check_uniforms(uniforms)", "pass"),
        "uniforms wrapped round": lambda weights, uniforms: sums_by()(weights, uniforms % 1),
        "a flat result": Edit("np.searchsorted(sums / sums[-1], uniforms", "np.searchsorted(sums / sums[-1], uniforms.ravel()"),
        "the largest weight": lambda weights, uniforms: sums_by()(weights, uniforms) * 0 + int(weights.argmax()),
        "a small number added against ties": sums_by(shift=1e-9),
    },
    "box_muller": {
        "the logarithm of u": turned_by(radius=lambda u: -2 * np.log(np.maximum(u, 1e-300))),
        "no factor of 2": turned_by(radius=lambda u: -np.log1p(-u)),
        "half a turn": turned_by(turn=math.pi),
        "radians for turns": turned_by(turn=1.0),
        "sine first": turned_by(order=(np.sin, np.cos)),
        "the same one twice": turned_by(order=(np.cos, np.cos)),
        "radius and angle of one number": Edit("2 * np.pi * v", "2 * np.pi * u"),
        "u and v confused": Edit("np.log1p(-u)", "np.log1p(-v)"),
        "no root": Edit("np.sqrt(-2 * np.log1p(-u))", "-2 * np.log1p(-u)"),
        "clipped away from the end": turned_by(radius=lambda u: -2 * np.log1p(-np.minimum(u, 1 - 1e-6))),
        "1 accepted": Edit("check_uniforms(u, v)", "check_uniforms(np.where(u == 1, 0, u), v)"),
        "angles not looked at": Edit("check_uniforms(u, v)", "check_uniforms(u)"),
        "radii not looked at": Edit("check_uniforms(u, v)", "check_uniforms(v)"),
        "shapes that broadcast": Edit("if u.shape != v.shape:", "if u.size != v.size and 1 not in (u.size, v.size):"),
        "the second from the pair turned round": lambda u, v: (turned_by()(u, v)[0], turned_by()(v, u)[0]),
    },
    "gumbel_max": {
        "1 lowered by 10⁻⁷": raced(lambda u: -np.log(-np.log(np.minimum(u, 1 - 1e-7)))),
        "0 raised to the least number of all": Edit(
            "np.finfo(uniforms.dtype).tiny", "np.finfo(uniforms.dtype).smallest_subnormal"
        ),
        "no noise": raced(lambda u: 0 * u),
        "one logarithm": raced(lambda u: np.log(u)),
        "the sign of the noise": raced(lambda u: np.log(-np.log(u))),
        "Gaussian noise": raced(lambda u: special.ndtri(u)),
        "uniform noise": raced(lambda u: u),
        "half the noise": raced(lambda u: -0.5 * np.log(-np.log(u))),
        "an eps inside both logarithms": raced(lambda u: -np.log(-np.log(u + 1e-3) + 1e-3)),
        "0 raised by 10⁻¹⁰": raced(lambda u: -np.log(-np.log(u)), lowest=1e-10),
        "float64's least number in every dtype": raced(lambda u: -np.log(-np.log(u.astype(np.float64))), lowest=2.3e-308),
        "0 left as it is": Edit("np.maximum(uniforms, np.finfo(uniforms.dtype).tiny)", "uniforms"),
        "a race of exponentials outside of log space": lambda logits, uniforms: (
            raced(lambda u: 0 * u)(logits, uniforms) * 0
            + np.argmin(-np.log(np.maximum(uniforms, np.finfo(uniforms.dtype).tiny)) / np.exp(logits), axis=-1)
        ),
        "the largest of the whole batch": Edit(".argmax(axis=-1)", ".argmax()"),
        "over the first axis": Edit("axis=-1", "axis=0"),
        "uniforms that broadcast": Edit(
            "if uniforms.shape != logits.shape:", "if uniforms.shape[-1] not in (1, logits.shape[-1]):"
        ),
        "shapes that broadcast in front": Edit(
            "if uniforms.shape != logits.shape:", "if uniforms.shape[-1] != logits.shape[-1]:"
        ),
        "uniforms not looked at": Edit("check_uniforms(uniforms)", "pass"),
        "a row of −∞ accepted": Edit("if not (logits.max(axis=-1) > -np.inf).all():", "if False:"),
        "refused only where all rows are −∞": Edit("> -np.inf).all()", "> -np.inf).any()"),
        "an empty batch refused": Edit("if not (logits.max(axis=-1) > -np.inf).all():", "if not logits.max() > -np.inf:"),
    },
    "kl_categorical": {
        "the other way round": divergence_by(lambda p, q: inside(q, np.exp(q) * (q - p))),
        "the cross-entropy": divergence_by(lambda p, q: inside(p, -np.exp(p) * q)),
        "in bits": divergence_by(lambda p, q: inside(p, np.exp(p) * (p - q)) / math.log(2)),
        "both ways": divergence_by(lambda p, q: inside(p, np.exp(p) * (p - q)) / 2 + inside(q, np.exp(q) * (q - p)) / 2),
        "the mean over outcomes": divergence_by(lambda p, q: inside(p, np.exp(p) * (p - q)) / p.shape[-1]),
        "the sign": divergence_by(lambda p, q: inside(p, np.exp(p) * (q - p))),
        "weights left out": divergence_by(lambda p, q: inside(p, p - q)),
        "log of softmax": divergence_by(
            lambda p, q: special.rel_entr(np.exp(p), np.exp(q)),
        ),
        "NaN where p is 0": Edit("np.where(p > 0, terms, 0)", "terms"),
        "everything that is not finite left out": Edit("np.where(p > 0, terms, 0)", "np.where(np.isfinite(terms), terms, 0)"),
        "a small number added": divergence_by(lambda p, q: np.exp(p) * np.log((np.exp(p) + 1e-12) / (np.exp(q) + 1e-12))),
        "logits not normalised": Edit(
            "log_p, log_q = logits_p - total_p, logits_q - total_q", "log_p, log_q = logits_p, logits_q"
        ),
        "q not normalised": Edit("logits_q - total_q", "logits_q"),
        "over all rows": Edit(
            "np.where(p > 0, terms, 0).sum(axis=-1)", "np.where(p > 0, terms, 0).sum(axis=-1) * 0 + terms.sum()"
        ),
        "another shape accepted": Edit("if logits_p.shape != logits_q.shape:", "if False:"),
        "rows that are none accepted": Edit("if not (np.isfinite(total_p) & np.isfinite(total_q)).all():", "if False:"),
        "only p looked at": Edit("(np.isfinite(total_p) & np.isfinite(total_q))", "np.isfinite(total_p)"),
        "only q looked at": Edit("(np.isfinite(total_p) & np.isfinite(total_q))", "np.isfinite(total_q)"),
        "in float64 throughout": Edit("np.exp(log_p)", "np.exp(log_p.astype(np.float64))"),
    },
    "em_step": {
        "little taken for nothing": Edit("(counts > 0).all()", "(counts > 1e-10).all()"),
        "a small number added to the counts": Edit(
            "responsibilities.sum(axis=0)", "responsibilities.sum(axis=0) + 10 * np.finfo(x.dtype).eps"
        ),
        "densities, not their logarithms": em_by(densities=True),
        "hard assignments": em_by(soften=lambda r: (r == r.max(axis=1, keepdims=True)).astype(r.dtype)),
        "responsibilities that add up over the points": em_by(soften=lambda r: r / r.sum(axis=0)),
        "equal responsibilities": em_by(soften=lambda r: np.full_like(r, 1 / r.shape[1])),
        "covariances about the old means": em_by(about="old"),
        "covariances divided by N": em_by(divide=lambda counts, N: np.full_like(counts, N)),
        "covariances divided by N_k − 1": em_by(divide=lambda counts, N: counts - 1),
        "the likelihood of the new parameters": em_by(evidence_of_new=True),
        "NaN for a component that is lost": em_by(refuse=False),
        "E[xxᵀ] − μμᵀ": raw_moments,
        "diagonal covariances": Edit("new_covariances = squares /", "new_covariances = squares * np.eye(D, dtype=x.dtype) /"),
        "weights, not their logarithms": Edit("return np.log(counts / N)", "return counts / N"),
        "counts, not shares": Edit("np.log(counts / N)", "np.log(counts)"),
        "old log-weights left out": Edit("joint = log_weights + ", "joint = "),
        "the likelihood summed": Edit("evidence.mean()", "evidence.sum()"),
        "the ridge forgotten": Edit(" + ridge * np.eye(D, dtype=x.dtype)", ""),
        "the ridge divided by N_k": Edit(
            "ridge * np.eye(D, dtype=x.dtype)", "ridge * np.eye(D, dtype=x.dtype) / counts[:, None, None]"
        ),
        "the ridge in every entry": Edit("ridge * np.eye(D, dtype=x.dtype)", "ridge"),
        "the ridge as a floor": Edit(
            "squares / counts[:, None, None] + ridge * np.eye(D, dtype=x.dtype)",
            "np.maximum(squares / counts[:, None, None], ridge * np.eye(D, dtype=x.dtype))",
        ),
        "an identity in float64": Edit("np.eye(D, dtype=x.dtype)", "np.eye(D)"),
        "the data centred in place": Edit(
            "centred = x - new_means[:, None]", "centred = x - new_means[:, None]; x -= new_means[0]"
        ),
        "the old means returned": Edit("return np.log(counts / N), new_means", "return np.log(counts / N), means"),
        "means over N": Edit("responsibilities.T @ x / counts[:, None]", "responsibilities.T @ x / N"),
    },
    "importance_weights": {
        "each density less its own maximum": Edit(
            "weights = np.exp(ratios - total)",
            "weights = np.exp(log_p - log_p.max()) / np.exp(log_q - log_q.max())\n    weights = weights / weights.sum()",
        ),
        "less the mean ratio": Edit(
            "weights = np.exp(ratios - total)",
            "weights = np.exp(ratios - ratios[np.isfinite(ratios)].mean())\n    weights = weights / weights.sum()",
        ),
        "upside down": weights_by(ratio=lambda log_p, log_q: log_q - log_p),
        "p alone": weights_by(ratio=lambda log_p, log_q: log_p),
        "a ratio of logarithms": weights_by(ratio=lambda log_p, log_q: log_p / (log_q + 1e-9)),
        "outside of log space": weights_by(log_space=False),
        "not normalised": weights_by(normalise=False),
        "divided by the number of draws": lambda log_p, log_q: (
            lambda made: (made[0] * math.exp(min(700, special.logsumexp(log_p - log_q))) / len(log_p), made[1])
        )(weights_by()(log_p, log_q)),
        "the sum of squares": weights_by(size=lambda w: (w**2).sum()),
        "the square of the sum": weights_by(size=lambda w: w.sum() ** 2),
        "the exponential of the entropy": weights_by(size=lambda w: math.exp(special.entr(w).sum())),
        "one by the largest": weights_by(size=lambda w: 1 / w.max()),
        "the number of draws": weights_by(size=len),
        "weights clipped": weights_by(ratio=lambda log_p, log_q: np.clip(log_p - log_q, -1, 1)),
        "log q of −∞ accepted": Edit(" or not np.isfinite(log_q).all()", ""),
        "shapes that broadcast": Edit("log_p.shape != log_q.shape or ", ""),
        "nothing in common accepted": Edit("if not np.isfinite(total):", "if False:"),
        "infinite log p accepted": Edit("if not np.isfinite(total):", "if total == -np.inf:"),
        "a draw of weight 0 refused": Edit("np.isfinite(log_q).all()", "(np.isfinite(log_q) & np.isfinite(log_p)).all()"),
        "in float64 throughout": Edit("ratios = log_p - log_q", "ratios = log_p.astype(np.float64) - log_q"),
    },
    "bootstrap_interval": {
        "one size for all": Edit(
            "if not (errors", "sizes = np.broadcast_to(sizes, errors.shape) if sizes.size == 1 else sizes\n    if not (errors"
        ),
        "the mean of ratios": resampled(ratio=lambda e, s: (e / s).mean(axis=1)),
        "sums over the resamples": resampled(ratio=lambda e, s: e.sum(axis=0) / s.sum(axis=0)),
        "errors and sizes of different rows": resampled(ratio=lambda e, s: e.sum(axis=1) / s[::-1].sum(axis=1)),
        "sizes not resampled": Edit("sizes[rows].sum(axis=1)", "sizes.sum()"),
        "rounded, not cut off": resampled(rows=lambda u, N: np.rint(u * N)),
        "rounded up": resampled(rows=lambda u, N: np.ceil(u * N)),
        "the last row never drawn": resampled(rows=lambda u, N: np.floor(u * max(1, N - 1))),
        "counted from 1": resampled(rows=lambda u, N: np.floor(u * N) + 1),
        "without replacement": resampled(rows=lambda u, N: u.argsort(axis=1)),
        "both tails on each side": resampled(tails=lambda level: (1 - level, level)),
        "a level of 95 % whatever is asked": resampled(tails=lambda level: (0.025, 0.975)),
        "90 % by default": lambda errors, sizes, uniforms, level=0.9: resampled()(errors, sizes, uniforms, level),
        "mean and two standard errors": resampled(
            ratio=lambda e, s: np.array([-1.96, 0, 1.96]) * (e.sum(1) / s.sum(1)).std() + (e.sum(1) / s.sum(1)).mean(),
            tails=lambda level: (0.0, 1.0),
        ),
        "whole ranks": Edit("np.quantile(ratios, [tail, 1 - tail])", "np.quantile(ratios, [tail, 1 - tail], method='lower')"),
        "upside down": Edit("return float(low), float(high)", "return float(high), float(low)"),
        "the level not looked at": Edit("if not 0 < level < 1:", "if False:"),
        "levels 0 and 1 accepted": Edit("0 < level < 1", "0 <= level <= 1"),
        "sizes of 0 accepted": Edit("(sizes > 0)", "(sizes >= 0)"),
        "uniforms not looked at": Edit("check_uniforms(uniforms)", "uniforms = np.nan_to_num(uniforms) % 1"),
        "no resamples accepted": Edit(" or uniforms.size == 0", ""),
        "shapes not looked at": Edit("errors.shape == sizes.shape == uniforms.shape[1:]", "len(errors) <= len(sizes)"),
    },
}


# --- right answers, written otherwise ------------------------------------------------------------------------------------


def paired_logsumexp(x):
    """Two at a time, by the library's own sum of two."""
    if x.shape[-1] == 0:
        raise ValueError("empty")
    return np.logaddexp.reduce(x, axis=-1)


def looped_logsumexp(x):
    """A running maximum and a running sum, as an online softmax has them."""
    if x.shape[-1] == 0:
        raise ValueError("empty")
    top, total = np.full(x.shape[:-1], -np.inf, x.dtype), np.zeros(x.shape[:-1], x.dtype)
    with np.errstate(all="ignore"):
        for k in range(x.shape[-1]):
            new = np.maximum(top, x[..., k])
            old = np.where(np.isinf(new), total * (top == new), total * np.exp(top - new))
            own = np.where(np.isinf(new), x[..., k] == new, np.exp(x[..., k] - new))
            top, total = new, (old + own).astype(x.dtype)
        return np.where(np.isneginf(top), top, top + np.log(total))


def sorted_logsumexp(x):
    """The largest last, apart from the rest."""
    if x.shape[-1] < 1:
        raise ValueError("empty")
    ordered = np.sort(x, axis=-1)
    top = ordered[..., -1]
    with np.errstate(all="ignore"):
        rest = np.exp(ordered[..., :-1] - top[..., None]).sum(axis=-1)
        return np.where(np.isinf(top), top, top + np.log1p(rest))


def looped_inverse_cdf(weights, uniforms):
    in_range(uniforms)
    if not len(weights) or not all(0 <= w < INF for w in weights.tolist()) or not weights.any():
        raise ValueError("weights")
    sums, total = [], 0.0
    for w in weights.tolist():
        total += w
        sums.append(total)
    flat = [next(k for k, s in enumerate(sums) if u * total < s) for u in uniforms.ravel().tolist()]
    return np.array(flat, np.int64).reshape(uniforms.shape)


def counted_inverse_cdf(weights, uniforms):
    """As many outcomes lie before the draw as there are sums that u has reached."""
    in_range(uniforms)
    if len(weights) == 0 or not np.isfinite(weights).all() or weights.min() < 0 or weights.max() == 0:
        raise ValueError("weights")
    edges = np.cumsum(weights.astype(np.float64))
    return (uniforms[..., None] >= edges / edges[-1]).sum(axis=-1)


def complex_box_muller(u, v):
    """Radius times e^(2πiv)."""
    if np.shape(u) != np.shape(v):
        raise ValueError("shapes")
    in_range(u, v)
    z = np.sqrt(-2 * np.log(1 - u)) * np.exp(2j * np.pi * v)
    return z.real.astype(u.dtype), z.imag.astype(u.dtype)


def looped_box_muller(u, v):
    if u.shape != v.shape:
        raise ValueError("shapes")
    first, second = np.empty_like(u), np.empty_like(v)
    for place in np.ndindex(u.shape):
        if not (0 <= u[place] < 1 and 0 <= v[place] < 1):
            raise ValueError("not in [0, 1)")
        radius, angle = math.sqrt(2) * math.sqrt(-math.log1p(-u[place])), math.tau * v[place]
        first[place], second[place] = radius * math.cos(angle), radius * math.sin(angle)
    return first, second


def gumbel_race(logits, uniforms):
    """The first of K alarms, in log space: the least log(−log u) − θ."""
    if logits.shape != uniforms.shape or np.isneginf(logits).all(axis=-1).any():
        raise ValueError("shapes, or an empty row")
    in_range(uniforms)
    u = np.where(uniforms == 0, np.finfo(uniforms.dtype).tiny, uniforms)
    return np.argmin(np.log(-np.log(u)) - logits, axis=-1)


def looped_gumbel(logits, uniforms):
    if logits.shape != uniforms.shape or (~(logits > -np.inf)).all(axis=-1).any():
        raise ValueError("shapes, or an empty row")
    in_range(uniforms)
    return with_noise(np.ascontiguousarray(logits), np.ascontiguousarray(uniforms))


def normalised_gumbel(logits, uniforms):
    """With probabilities' logarithms in place of logits: the constant changes nothing."""
    if logits.shape != uniforms.shape:
        raise ValueError("shapes")
    in_range(uniforms)
    if (np.max(logits, axis=-1) == -np.inf).any():
        raise ValueError("empty row")
    u = np.maximum(uniforms, np.finfo(uniforms.dtype).smallest_normal)
    return np.argmax(special.log_softmax(logits, axis=-1) - np.log(-np.log(u)), axis=-1)


def selected_divergence(logits_p, logits_q):
    """Row by row, over what p draws."""
    if logits_p.shape != logits_q.shape:
        raise ValueError("shapes")
    K, out = logits_p.shape[-1], []
    for a, b in zip(logits_p.reshape(-1, K), logits_q.reshape(-1, K), strict=True):
        if not (np.isfinite(a.max()) and np.isfinite(b.max())):
            raise ValueError("no distribution")
        a, b = (x - x.max() - np.log(np.exp(x - x.max()).sum()) for x in (a, b))
        drawn = np.exp(a) > 0
        out.append(np.sum(np.exp(a[drawn]) * (a[drawn] - b[drawn])))
    return np.array(out, logits_p.dtype).reshape(logits_p.shape[:-1])


def crossed_divergence(logits_p, logits_q):
    """Cross-entropy less entropy."""
    if logits_p.shape != logits_q.shape:
        raise ValueError("shapes")
    if not all(np.isfinite(x.max(axis=-1)).all() for x in (logits_p, logits_q)):
        raise ValueError("no distribution")
    log_p, log_q = special.log_softmax(logits_p, axis=-1), special.log_softmax(logits_q, axis=-1)
    p = np.exp(log_p)
    zero = p == 0
    entropy = -(p * np.where(zero, 0, log_p)).sum(axis=-1)
    return (p * -np.where(zero, 0, log_q)).sum(axis=-1) - entropy


def looped_em_step(x, log_weights, means, covariances, ridge=0.0):
    """Component by component, by the library's densities; each point weighted by the root of its responsibility."""
    joint = np.stack(
        [
            w + stats.multivariate_normal.logpdf(x, m, c).reshape(-1)
            for w, m, c in zip(log_weights, means, covariances, strict=True)
        ],
        1,
    )
    evidence = special.logsumexp(joint, axis=1) if len(x) else np.zeros(0)
    r = np.exp(joint - evidence[:, None]).astype(x.dtype)
    if (r.sum(0) == 0).any():
        raise ValueError("a component explains no point")
    new_means = np.stack([np.average(x, axis=0, weights=r[:, k]) for k in range(len(means))]).astype(x.dtype)
    spread = []
    for k, mean in enumerate(new_means):
        rooted = np.sqrt(r[:, k])[:, None] * (x - mean)
        spread.append(rooted.T @ rooted / r[:, k].sum() + ridge * np.eye(x.shape[1]))
    return np.log(r.mean(0)), new_means, np.stack(spread).astype(x.dtype), evidence.mean()


def named_interval(errors, sizes, uniforms, level=0.95):
    """By percentiles, with `take`."""
    N = errors.shape[0]
    if errors.shape != (N,) or sizes.shape != (N,) or uniforms.shape != (len(uniforms), N) or not (N and len(uniforms)):
        raise ValueError("shapes")
    if not np.all(sizes > 0) or not 0 < level < 1:
        raise ValueError("sizes, or level")
    in_range(uniforms)
    i = np.floor(uniforms * N).astype(np.intp)
    ratios = np.take(errors, i).sum(-1) / np.take(sizes, i).sum(-1)
    half = 50 * (1 - level)
    return float(np.percentile(ratios, half)), float(np.percentile(ratios, 100 - half))


def counted_interval(errors, sizes, uniforms, level=0.95):
    """By how often each row is drawn: a matrix of counts times the two columns."""
    N = len(errors)
    if sizes.shape != errors.shape or uniforms.ndim != 2 or uniforms.shape[1] != N or 0 in uniforms.shape:
        raise ValueError("shapes")
    if not (sizes > 0).all() or level <= 0 or not level < 1:
        raise ValueError("sizes, or level")
    in_range(uniforms)
    drawn = (uniforms * N).astype(int)
    counts = np.stack([np.bincount(row, minlength=N) for row in drawn]).astype(np.float64)  # (R, N)
    ratios = np.sort(counts @ errors.astype(np.float64) / (counts @ sizes.astype(np.float64)))
    return tuple(
        float(np.interp(share * (len(ratios) - 1), np.arange(len(ratios)), ratios))
        for share in ((1 - level) / 2, (1 + level) / 2)
    )


VARIANTS = {
    "logsumexp": {
        "two at a time": paired_logsumexp,
        "a running maximum": looped_logsumexp,
        "the rest beside the largest": sorted_logsumexp,
        "the shift kept": Edit(
            "np.log(np.maximum(total, 1)) + top.squeeze(axis=-1)",
            "np.where(total > 0, np.log(np.maximum(total, 1)) + shift.squeeze(axis=-1), -np.inf).astype(x.dtype)",
        ),
    },
    "inverse_cdf": {
        "uniforms scaled, not sums": sums_by(),
        "a loop": looped_inverse_cdf,
        "a count of sums": counted_inverse_cdf,
        "probabilities first": Edit("weights.cumsum(dtype=np.float64)", "np.cumsum(weights, dtype=np.float64)"),
    },
    "box_muller": {
        "a complex number": complex_box_muller,
        "number by number": looped_box_muller,
        "log of 1 − u": turned_by(radius=lambda u: -2 * np.log(1 - u)),
    },
    "gumbel_max": {"a race": gumbel_race, "number by number": looped_gumbel, "log-probabilities": normalised_gumbel},
    "kl_categorical": {
        "row by row": selected_divergence,
        "cross-entropy less entropy": crossed_divergence,
        "log-softmax of the library": divergence_by(lambda p, q: inside(p, np.exp(p) * (p - q))),
    },
    "em_step": {
        "component by component": looped_em_step,
        "inverse and determinant": em_by(),
        "softmax of the library": Edit(
            "np.exp(joint - evidence[:, None])",
            "(lambda e: e / e.sum(axis=1, keepdims=True))(np.exp(joint - joint.max(axis=1, keepdims=True)))",
        ),
    },
    "importance_weights": {
        "the largest subtracted": weights_by(),
        "an ESS of logarithms": weights_by(size=lambda w: math.exp(-special.logsumexp(2 * np.log(w[w > 0])))),
        "softmax": Edit("np.exp(ratios - total)", "(lambda e: e / e.sum())(np.exp(ratios - ratios.max()))"),
    },
    "bootstrap_interval": {"percentiles": named_interval, "counts": counted_interval, "written anew": resampled()},
}

QUIET = "it keeps NumPy from warning, and changes no value"
EMPTY = "only a row of −∞ has a sum below 1; its logarithm, whatever it is, is lost beside the −∞ that is added"
EQUIVALENT = {
    "logsumexp": {
        "call dropped: np.log(np.maximum(total, 1)) -> np.log(total)": EMPTY,
        "constant: np.maximum(total, 1) -> np.maximum(total, 0)": EMPTY,
        "constant: np.where(np.isfinite(top), top, 0) -> np.where(np.isfinite(top), top, 1)": "±∞ less 1 is ±∞",
        "constant: np.where(np.isfinite(top), top, 0) -> np.where(np.isfinite(top), top, -1)": "±∞ plus 1 is ±∞",
    },
    "box_muller": {"arguments swapped: check_uniforms(u, v) -> check_uniforms(v, u)": "both are looked at, in any order"},
    "gumbel_max": {
        "keepdim: logits.max(axis=-1) -> logits.max(axis=-1, keepdims=True)": "whether all are above −∞ is asked in any shape",
    },
    "kl_categorical": {
        "context dropped: with np.errstate(invalid='ignore'): terms = p * (log_p - log_q) -> terms = p * (log_p - log_q)": QUIET,
        "keyword dropped: np.errstate(invalid='ignore') -> np.errstate()": QUIET,
    },
    "em_step": {
        "operands: x - new_means[:, None] -> new_means[:, None] - x": "it is multiplied by itself",
    },
    "bootstrap_interval": {
        "argument ignored: uniforms.size -> np.zeros_like(uniforms).size": "the size of an array of zeros is the same"
    },
}
