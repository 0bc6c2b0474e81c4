"""What a right answer to foundations/calculus must do. Truths: torch.func, SciPy, closed forms, and counts of what was asked for."""

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import scipy.stats
import torch

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, assert_true, raises

EXACT = 1e-11  # relative; right answers stay two orders below
BEST = {"float64": float(np.cbrt(2.0**-52)), "float32": float(np.cbrt(2.0**-23))}  # relative steps


def gaussian(draw, *size, dtype=np.float64):
    return draw.normal(*size).numpy().astype(dtype)


def positive(draw, *size, low=0.5, high=2.0):
    return draw.uniform(*size, low=low, high=high).numpy()


def counts(values=0, gradients=0, jvps=0, vjps=0):
    return {"values": values, "gradients": gradients, "jvps": jvps, "vjps": vjps}


# The module's functions again, in torch, which differentiates them.


def log_sum_exp(slopes, offsets):
    a, b = torch.from_numpy(slopes), torch.from_numpy(offsets)
    return lambda x: (a @ x + b).logsumexp(0)


def double_well(tilt):
    return lambda x: ((x**2 - 1) ** 2 / 4 + torch.from_numpy(tilt) * x).sum()


def some_function(impl, draw, kind, n):
    """A function of n numbers on the other side, and the same here."""
    if kind == "log-sum-exp":
        m = draw.integer(2, 5)
        slopes, offsets = gaussian(draw, m, n), gaussian(draw, m)
        return impl.LogSumExp(slopes, offsets), log_sum_exp(slopes, offsets)
    tilt = gaussian(draw, n)
    return impl.DoubleWell(tilt), double_well(tilt)


KINDS = pytest.mark.parametrize("kind", ["wells", "log-sum-exp"])


def gradient_of(f, x):
    return torch.func.grad(f)(torch.from_numpy(x)).numpy()


def hessian_of(f, x):
    return torch.func.hessian(f)(torch.from_numpy(x)).numpy()


def assert_near(found, expected, scale, *, tolerance, hint):
    """Both over `scale` and one more: a result that happens to be small is held to no more than others."""
    one = expected.dtype.type(1)
    assert_close(found / scale + one, expected / scale + one, tolerance=tolerance, hint=hint, hint_for="values precision dtype")


def hinge(impl, n, rate, at, precision):
    """log(e^z + e^-z) with z = rate (x_0 - at), of n numbers: bent so sharply that the step shows in a difference."""
    slopes = np.zeros((2, n), precision)
    slopes[:, 0] = rate, -rate
    return impl.LogSumExp(slopes, np.array([-rate * at, rate * at], precision))


def hinge_value(rate, at, x):
    return float(np.logaddexp(rate * (x - at), -rate * (x - at)))


# --- differences -------------------------------------------------------------------------------------------------------


@pytest.mark.stub("central_difference")
@pytest.mark.parametrize("step", [0.1, 0.01])
def test_the_step_of_each_coordinate(impl, draw, step):
    """On a polynomial of degree four the error is known: h² x, where h is the step times max(1, |x|)."""
    n = draw.size()
    x = gaussian(draw, n) * 10.0 ** draw.integers(2, (n,), low=-1).numpy()
    x[draw.integer(0, n - 1)] = draw.choice((0.0, 0.5, -3.0))
    tilt = gaussian(draw, n)
    hint = "h = step · max(1, |x_i|), for each coordinate its own, and (f(x + h) − f(x − h)) / 2h"
    for at in (x, 200 * positive(draw, n)):  # far out the step is longer than 1
        expected = at**3 - at + tilt + (step * np.maximum(1, np.abs(at))) ** 2 * at
        found = impl.central_difference(impl.DoubleWell(tilt), at, step)
        assert_near(found, expected, 1 + np.abs(at) ** 3, tolerance=1e-7, hint=hint)


@pytest.mark.stub("central_difference")
@KINDS
def test_gradients_agree_with_autograd(impl, draw, kind):
    """By default, eight digits of the gradient and more."""
    n = draw.size()
    f, truth = some_function(impl, draw, kind, n)
    x = gaussian(draw, n)
    expected = gradient_of(truth, x)
    scale = 1 + np.abs(expected).max()
    hint = "central, not forward: the error must be of the order h², and by default h ~ ∛eps"
    assert_near(impl.central_difference(f, x), expected, scale, tolerance=1e-8, hint=hint)


@pytest.mark.stub("central_difference")
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_step_by_default(impl, draw, precision):
    """By default the step is the cube root of the eps of the input's dtype."""
    rate = {"float64": 1000.0, "float32": 100.0}[precision] * draw.number(0.5, 1)
    at = 0.25
    h = BEST[precision]
    x = np.array([at + 0.3 / rate]).astype(precision)
    where = float(x[0])
    expected = (hinge_value(rate, at, where + h) - hinge_value(rate, at, where - h)) / (2 * h)
    found = impl.central_difference(hinge(impl, 1, rate, at, precision), x)
    hint = "∛eps, with the eps of x's dtype: np.cbrt(np.finfo(x.dtype).eps)"
    tolerance = {"float64": 1e-7, "float32": 2e-3}[precision]
    assert_close(
        found / rate,
        np.array([expected / rate]).astype(precision),
        tolerance=tolerance,
        hint=hint,
        hint_for="values dtype precision",
    )


@pytest.mark.stub("central_difference")
def test_divided_by_the_distance_as_rounded(impl, draw):
    """A linear function has an exact difference quotient, if the distance of the two points is the one that was taken."""
    n = draw.size()
    x = positive(draw, n, low=1.1, high=1.9)
    j = draw.integer(0, n - 1)
    f = impl.LogSumExp(np.eye(n)[j : j + 1], np.zeros(1))  # x_j itself
    hint = "x + h is rounded: divide by the distance of the points where f was asked, (x + h) − (x − h), not by 2h"
    assert_close(impl.central_difference(f, x, 1e-11), np.eye(n)[j], tolerance=1e-12, hint=hint, hint_for="values precision")


@pytest.mark.stub("central_difference")
def test_two_values_a_coordinate(impl, draw):
    """2n values are asked for, and nothing else."""
    n = draw.size()
    f = impl.Watched(impl.DoubleWell(gaussian(draw, n)))
    impl.central_difference(f, gaussian(draw, n))
    assert_equal(
        f.counts(), counts(values=2 * n), what="what was asked for", hint="one value ahead and one behind, along each axis"
    )


@pytest.mark.stub("central_difference")
def test_differences_of_nothing(impl):
    """A function of no numbers has an empty gradient."""
    assert_equal(impl.central_difference(impl.DoubleWell(np.zeros(0)), np.zeros(0)), np.zeros(0), hint="no axes, no differences")


@pytest.mark.stub("central_difference")
def test_differences_in_float32(impl, draw):
    """float32 in, float32 out."""
    n = draw.size()
    tilt, x = gaussian(draw, n, dtype=np.float32), gaussian(draw, n, dtype=np.float32)
    expected = gradient_of(double_well(tilt.astype(np.float64)), x.astype(np.float64)).astype(np.float32)
    scale = np.float32(1 + np.abs(expected).max())
    found = impl.central_difference(impl.DoubleWell(tilt), x)
    assert_near(found, expected, scale, tolerance=1e-2, hint="the result has x's dtype")


@pytest.mark.stub("central_difference")
@pytest.mark.parametrize("step", [0.0, -1e-3, math.inf, math.nan])
def test_a_step_that_is_none_is_refused(impl, draw, step):
    """A step must be positive and finite."""
    n = draw.size()
    with raises(ValueError, hint="0 divides by zero, and NaN compares as false with everything: ask `0 < step < inf`"):
        impl.central_difference(impl.DoubleWell(gaussian(draw, n)), gaussian(draw, n), step)


# --- checking a gradient -----------------------------------------------------------------------------------------------


@pytest.mark.stub("gradient_check")
@KINDS
def test_a_right_gradient_passes(impl, draw, kind):
    """The error of a right gradient is rounding."""
    n = draw.size()
    f, truth = some_function(impl, draw, kind, n)
    x = gaussian(draw, n)
    error = impl.gradient_check(f, x, gaussian(draw, draw.size(), n))
    hint = "a central difference along d with h = ∛eps · max(1, ‖x‖), compared with g·d"
    bound = 1e-7 * (1 + 1 / float(np.linalg.norm(gradient_of(truth, x))))
    assert_between(error, 0, bound, what="the error of a right gradient", hint=hint)


@pytest.mark.stub("gradient_check")
@KINDS
@pytest.mark.parametrize("size", [1.0, 0.01])
def test_the_error_of_a_wrong_gradient(impl, draw, kind, size):
    """|D − g·d| over the larger of ‖g‖ and |D|, at worst, for directions made to length 1."""
    n = draw.size()
    f, truth = some_function(impl, draw, kind, n)
    x, factors = gaussian(draw, n), size * gaussian(draw, n)
    directions = gaussian(draw, draw.size(), n) * 10.0 ** draw.number(-3, 3)
    units = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    right = gradient_of(truth, x)
    claimed = right * factors
    slopes = units @ right
    errors = np.abs(slopes - units @ claimed) / np.maximum(np.linalg.norm(claimed), np.abs(slopes))
    found = impl.gradient_check(impl.Watched(f, factors), x, directions)
    hint = "the largest over directions of |D − g·d| / max(‖g‖, |D|), with g the gradient that f claims and ‖d‖ = 1"
    assert_close(found + 1, float(errors.max()) + 1, tolerance=1e-6, hint=hint)


@pytest.mark.stub("gradient_check")
def test_a_gradient_of_nothing_but_zeros(impl, draw):
    """A claim of 0 is wholly wrong where there is a slope, and right where there is none."""
    n = draw.size()
    directions = gaussian(draw, draw.size(), n)
    flat = impl.LogSumExp(np.zeros((2, n)), gaussian(draw, 2))
    assert_close(
        impl.gradient_check(flat, gaussian(draw, n), directions),
        0.0,
        what="the error on a flat function",
        hint="0 / 0: no error is 0",
    )
    sloped = impl.LogSumExp(positive(draw, 1, n), np.zeros(1))
    found = impl.gradient_check(impl.Watched(sloped, np.zeros(n)), gaussian(draw, n), directions)
    assert_close(found, 1.0, what="the error of a gradient of zeros", hint="divide by the larger of ‖g‖ and |D|: here ‖g‖ is 0")


@pytest.mark.stub("gradient_check")
def test_nan_is_no_small_error(impl, draw):
    """A gradient of NaN must not pass."""
    n = draw.size()
    factors = np.ones(n)
    factors[draw.integer(0, n - 1)] = np.nan
    found = impl.gradient_check(
        impl.Watched(impl.DoubleWell(gaussian(draw, n)), factors), gaussian(draw, n), gaussian(draw, draw.size(), n)
    )
    assert_true(math.isnan(found), "a gradient of NaN passes", hint="max(0.0, nan) is 0.0 in Python: NaN must reach the result")


@pytest.mark.stub("gradient_check")
def test_a_value_of_nan_is_no_small_error(impl, draw):
    """Where one direction leads to a value of NaN, the result is NaN, whichever direction it is."""
    n, k = draw.size(2), draw.size(2)
    slopes, x = np.zeros((1, n)), np.zeros(n)
    slopes[0, 0], x[0] = np.finfo(np.float64).max / 2, 2 * (1 - 1e-6)  # a little further on the value overflows
    for place in (0, k - 1):
        directions = np.tile(np.eye(n)[1], (k, 1))
        directions[place] = np.eye(n)[0]
        found = impl.gradient_check(impl.LogSumExp(slopes, np.zeros(1)), x, directions)
        hint = "whether Python's max keeps a NaN depends on where it stands; np.max keeps it, np.nanmax never does"
        assert_true(math.isnan(found), "a value of NaN passes", hint=hint)


@pytest.mark.stub("gradient_check")
def test_neither_the_function_nor_a_direction_is_too_small(impl, draw):
    """The error is a share, however small the function, and directions are made to length 1, however long or short they are."""
    n, k, factor = draw.size(), draw.size(), draw.number(0.3, 0.9)
    slopes = positive(draw, n)
    units = positive(draw, k, n)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    directions = units * 10.0 ** draw.integers(101, (k, 1), low=-100).numpy()
    short = draw.integer(0, k - 1)
    directions[short] = 1e-100 * units[short]
    found = impl.gradient_check(
        impl.Watched(impl.LogSumExp(1e-30 * slopes[None], np.zeros(1)), np.full(n, factor)), gaussian(draw, n), directions
    )
    right = units @ slopes
    errors = (1 - factor) * right / np.maximum(factor * np.linalg.norm(slopes), right)
    hint = "a share has no smallest size: nothing is added to what is divided by, and no miss is small enough to be none"
    assert_close(found, float(errors.max()), tolerance=1e-6, hint=hint)


@pytest.mark.stub("gradient_check")
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_step_along_a_direction(impl, draw, far, precision):
    """The step is ∛eps · max(1, ‖x‖), for a direction of length 1, with the eps of the input's dtype."""
    n, rate = draw.size(), {"float64": 1000.0, "float32": 50.0}[precision] * draw.number(0.5, 1)
    x = (draw.uniform(n, low=2, high=4) if far else draw.uniform(n, low=0.1, high=0.2)).numpy().astype(precision)
    here = float(x[0])
    at = here - 0.3 / rate
    h = BEST[precision] * max(1.0, float(np.linalg.norm(x)))
    slope = (hinge_value(rate, at, here + h) - hinge_value(rate, at, here - h)) / (2 * h)
    right = rate * math.tanh(rate * (here - at))
    direction = (draw.number(0.1, 5) * np.eye(n)[:1]).astype(precision)
    found = impl.gradient_check(hinge(impl, n, rate, at, precision), x, direction)
    expected = abs(slope - right) / max(abs(slope), abs(right))
    assert_close(
        found / expected,
        1.0,
        tolerance=2e-2,
        what="the error over what it must be",
        hint="h = ∛eps · max(1, ‖x‖), whatever d's length; eps of x's dtype",
    )


@pytest.mark.stub("gradient_check")
def test_what_a_check_costs(impl, draw):
    """One gradient, and two values a direction."""
    n, k = draw.size(), draw.size()
    f = impl.Watched(impl.DoubleWell(gaussian(draw, n)))
    impl.gradient_check(f, gaussian(draw, n), gaussian(draw, k, n))
    assert_equal(
        f.counts(), counts(values=2 * k, gradients=1), what="what was asked for", hint="the gradient once, not for each direction"
    )


@pytest.mark.stub("gradient_check")
def test_directions_that_are_none_are_refused(impl, draw):
    """Without directions nothing is checked, and zero is no direction."""
    n, k = draw.size(), draw.size()
    f, x = impl.DoubleWell(gaussian(draw, n)), gaussian(draw, n)
    directions = gaussian(draw, k, n)
    directions[draw.integer(0, k - 1)] = 0
    with raises(ValueError, hint="a direction of length 0 cannot be made to length 1"):
        impl.gradient_check(f, x, directions)
    with raises(ValueError, hint="no direction would be no check: do not say that all is well"):
        impl.gradient_check(f, x, np.zeros((0, n)))


@pytest.mark.stub("gradient_check")
def test_a_check_in_float32(impl, draw):
    """In float32 the step is larger, and a gross bug is found all the same."""
    n = draw.size()
    f = impl.LogSumExp(positive(draw, 2, n).astype(np.float32), gaussian(draw, 2, dtype=np.float32))
    directions = gaussian(draw, 3, n, dtype=np.float32)
    x = gaussian(draw, n, dtype=np.float32)
    hint = "∛eps of float32 is 5e-3; with the step of float64 nothing but rounding is left"
    assert_between(impl.gradient_check(f, x, directions), 0, 2e-3, what="the error of a right gradient", hint=hint)
    wrong = impl.gradient_check(impl.Watched(f, -1.0), x, np.eye(n, dtype=np.float32))
    assert_between(wrong, 0.2, 2.1, what="the error of a gradient of the wrong sign", hint=hint)


# --- Jacobians ---------------------------------------------------------------------------------------------------------


def some_softmax(impl, draw, n, m, dtype=np.float64):
    slopes, offsets = gaussian(draw, m, n, dtype=dtype), gaussian(draw, m, dtype=dtype)
    a, b = torch.from_numpy(slopes).double(), torch.from_numpy(offsets).double()
    return impl.Softmax(slopes, offsets), lambda x: (a @ x + b).softmax(0)


@pytest.mark.stub("jacobian")
@pytest.mark.parametrize("way", ["fewer inputs", "fewer outputs", "any"])
def test_jacobians_agree_with_autograd(impl, draw, way):
    """A row for each output, a column for each input."""
    n, m = draw.size(), draw.size()
    if way == "fewer inputs":
        m += n
    if way == "fewer outputs":
        n += m
    f, truth = some_softmax(impl, draw, n, m)
    x = gaussian(draw, n)
    expected = torch.func.jacrev(truth)(torch.from_numpy(x)).numpy()
    hint = "J times the i-th axis is column i, the i-th axis times J is row i; J has m rows and n columns"
    assert_close(impl.jacobian(f, x), expected, tolerance=EXACT, hint=hint)


@pytest.mark.stub("jacobian")
@pytest.mark.parametrize("more", [-2, -1, 0, 1, 2])
def test_fewer_passes_are_made(impl, draw, more):
    """n passes forward or m backward, whichever is less."""
    n = draw.integer(3, 6)
    m = n + more
    f, _ = some_softmax(impl, draw, n, m)
    counted = impl.Watched(f)
    impl.jacobian(counted, gaussian(draw, n))
    expected = counts(values=1, jvps=n) if n <= m else counts(values=1, vjps=m)
    hint = "f(x) once, for m; then n of jvp if n <= m, else m of vjp"
    assert_equal(counted.counts(), expected, what="what was asked for", hint=hint)


@pytest.mark.stub("jacobian")
@pytest.mark.parametrize("tall", [True, False])
def test_jacobians_in_float32(impl, draw, tall):
    """float32 in, float32 out."""
    n = draw.size()
    m = n + 2
    n, m = (n, m) if tall else (m, n)
    f, truth = some_softmax(impl, draw, n, m, np.float32)
    x = gaussian(draw, n, dtype=np.float32)
    expected = torch.func.jacrev(truth)(torch.from_numpy(x).double()).numpy().astype(np.float32)
    assert_close(impl.jacobian(f, x), expected, tolerance=1e-4, hint="make the axes in x's dtype", hint_for="values dtype")


# --- products with a Hessian -------------------------------------------------------------------------------------------


@pytest.mark.stub("hessian_vector_product")
@KINDS
def test_products_agree_with_autograd(impl, draw, kind):
    """H v, for v of any length."""
    n = draw.size()
    f, truth = some_function(impl, draw, kind, n)
    x, v = gaussian(draw, n), gaussian(draw, n)
    h = hessian_of(truth, x)
    scale = (np.linalg.norm(h) + np.linalg.norm(gradient_of(truth, x)) + 1) * np.linalg.norm(v)
    for length in (1.0, 1e-9, 1e9, 1e-100):
        hint = "central: (g(x + h v) − g(x − h v)) / 2h; and h v must be ∛eps · max(1, ‖x‖) long, whatever v is"
        assert_near(impl.hessian_vector_product(f, x, length * v) / length, h @ v, scale, tolerance=1e-8, hint=hint)


@pytest.mark.stub("hessian_vector_product")
@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_step_of_a_product(impl, draw, far, precision):
    """The step is ∛eps · max(1, ‖x‖) long, with the eps of the input's dtype."""
    n, rate = draw.size(2), {"float64": 1000.0, "float32": 50.0}[precision] * draw.number(0.5, 1)
    x = draw.uniform(n, low=2, high=4).numpy() if far else draw.uniform(n, low=0.1, high=0.2).numpy()
    v = np.eye(n)[0] * draw.choice((-1.0, 1.0)) * draw.number(0.1, 9)
    v[draw.integer(1, n - 1)] = v[0] * draw.number(0.6, 1)  # the function changes along v_0 alone
    x[0] = 0.25
    x, v = x.astype(precision), v.astype(precision)
    at = 0.25 - 0.3 / rate
    h = BEST[precision] * max(1.0, float(np.linalg.norm(x))) * abs(float(v[0])) / float(np.linalg.norm(v))
    expected = np.zeros(n)
    expected[0] = rate * (math.tanh(rate * (0.25 + h - at)) - math.tanh(rate * (0.25 - h - at))) / (2 * h) * v[0]
    found = impl.hessian_vector_product(hinge(impl, n, rate, at, precision), x, v)
    scale = np.abs(expected[0])
    hint = "h = ∛eps · max(1, ‖x‖) / ‖v‖, eps of x's dtype"
    tolerance = {"float64": 1e-6, "float32": 1e-3}[precision]
    assert_close(
        found / scale.astype(precision),
        (expected / scale).astype(precision),
        tolerance=tolerance,
        hint=hint,
        hint_for="values dtype precision",
    )


@pytest.mark.stub("hessian_vector_product")
def test_a_vector_of_zeros(impl, draw):
    """H 0 = 0, and no gradient is needed for that."""
    n = draw.size()
    f = impl.Watched(impl.DoubleWell(gaussian(draw, n)))
    x = gaussian(draw, n)
    found = impl.hessian_vector_product(f, x, np.zeros(n))
    assert_equal(found, np.zeros(n), hint="a step of length 0 cannot be scaled: return zeros")
    assert_equal(f.counts(), counts(), what="what was asked for", hint="nothing has to be asked for H 0")
    impl.hessian_vector_product(f, x, 1e-100 * np.eye(n)[0])
    assert_equal(f.counts(), counts(gradients=2), what="what was asked for", hint="two gradients, and no value")
    single = impl.hessian_vector_product(f, x.astype(np.float32), np.zeros(n, np.float32))
    assert_equal(single, np.zeros(n, np.float32), what="H 0 in float32", hint="zeros are float64 unless they are told otherwise")


@pytest.mark.stub("hessian_vector_product")
def test_numbers_that_cancel_are_no_zeros(impl, draw):
    """A vector whose sum is 0 is not 0."""
    n = draw.size(2)
    x, v = gaussian(draw, n), np.eye(n)[0] - np.eye(n)[-1]
    found = impl.hessian_vector_product(impl.DoubleWell(gaussian(draw, n)), x, v)
    assert_near(found, (3 * x**2 - 1) * v, 1 + 3 * x @ x, tolerance=1e-7, hint="v is 0 where its length is, not where its sum is")


@pytest.mark.stub("hessian_vector_product")
def test_vectors_of_other_shapes_are_refused(impl, draw):
    """v has x's shape; what would broadcast is refused too."""
    n = draw.integer(2, 6)
    f = impl.DoubleWell(gaussian(draw, n))
    for other in (1, n - 1, n + 1) if n > 2 else (1, n + 1):
        with raises(ValueError, hint="compare the shapes: a v of one number would be spread over all of x"):
            impl.hessian_vector_product(f, gaussian(draw, n), gaussian(draw, other))
        with raises(ValueError, hint="zeros of another shape are refused too: compare the shapes first"):
            impl.hessian_vector_product(f, gaussian(draw, n), np.zeros(other))
    for shape in ((n, 1), (1, n)):
        with raises(ValueError, hint="as many numbers are not the same shape"):
            impl.hessian_vector_product(f, gaussian(draw, n), gaussian(draw, *shape))


# --- Newton's step -----------------------------------------------------------------------------------------------------


def orthonormal(draw, n):
    return np.linalg.qr(gaussian(draw, n, n))[0]


def symmetric(draw, values):
    v = orthonormal(draw, len(values))
    a = v * np.asarray(values) @ v.T
    return (a + a.T) / 2


@pytest.mark.stub("newton_step")
def test_newtons_own_step_where_all_is_convex(impl, draw):
    """Where the Hessian is positive definite, H d = −g."""
    n = draw.size()
    h, g = symmetric(draw, positive(draw, n)), gaussian(draw, n)
    for scale in (1.0, 1e-20, 1e20):
        found = impl.newton_step(g, h * scale) * scale
        assert_close(found, -np.linalg.solve(h, g), tolerance=1e-9, hint="−H⁻¹ g: the step to the minimum of the quadratic model")


@pytest.mark.stub("newton_step")
def test_negative_curvature_counts_by_its_magnitude(impl, draw):
    """Near a saddle point the step is −|H|⁻¹ g, downhill."""
    n = draw.size()
    signs = np.where(draw.uniform(n).numpy() < 0.5, -1, 1)
    signs[draw.integer(0, n - 1)] = -1
    h, g = symmetric(draw, positive(draw, n) * signs), gaussian(draw, n)
    magnitude = scipy.linalg.polar(h)[1]
    found = impl.newton_step(g, h)
    hint = "the eigenvalues' magnitudes, the eigenvectors as they are: Q |Λ|⁻¹ Qᵀ"
    assert_close(found, -np.linalg.solve(magnitude, g), tolerance=1e-9, hint=hint)
    assert_true(float(found @ g) < 0, "the step leads uphill", hint=hint)


@pytest.mark.stub("newton_step")
@pytest.mark.parametrize("convex", [False, True])
@pytest.mark.parametrize("floor", [None, 1e-3, 0.3])
def test_small_curvature_is_raised_to_the_floor(impl, draw, floor, convex):
    """Curvature below `floor` times the largest magnitude counts as that much, whatever its sign; by default 1e-8."""
    n, share = draw.integer(3, 6), 1e-8 if floor is None else floor
    q = orthonormal(draw, n)
    sizes = np.linspace(1, 0.5, n)
    sizes[0], sizes[1], sizes[-1] = -1, share * draw.number(1.2, 2), share * draw.choice((-0.5, 0.0, 0.5))
    if convex:
        sizes[0], sizes[-1] = 1, share * 0.5
    unit = draw.number(0.5, 4)
    h = q * (unit * sizes) @ q.T
    h = (h + h.T) / 2
    coefficients = np.maximum(np.abs(sizes), share) * positive(draw, n)  # so that all parts of the step are of one size
    expected = -q @ (coefficients / (unit * np.maximum(np.abs(sizes), share)))
    found = impl.newton_step(q @ coefficients, h, *(() if floor is None else (floor,)))
    hint = "np.maximum(|λ|, floor · max |λ|): relative to the largest magnitude, and for curvature of either sign"
    assert_close(found, expected, tolerance=1e-6, hint=hint)


@pytest.mark.stub("newton_step")
def test_a_hessian_that_is_none_is_refused(impl, draw):
    """A Hessian is square, symmetric but for rounding, finite and not zero, and fits its gradient."""
    n = draw.integer(2, 6)
    h, g = symmetric(draw, positive(draw, n)), gaussian(draw, n)
    h /= np.linalg.norm(h)
    for scale in (1.0, 1e-12, 1e12):
        for off, refused in ((1.0, True), (2e-3, True), (1e-7, False)):
            other = h * scale
            other[0, -1] += off * scale
            if refused:
                with raises(ValueError, hint="compare H with its transpose, relative to its norm"):
                    impl.newton_step(g, other)
            else:
                found = impl.newton_step(g, other) * scale
                assert_close(found, -np.linalg.solve(h, g), tolerance=1e-5, hint="rounding is no asymmetry")
    for bad in (np.nan, np.inf, -np.inf):
        with raises(ValueError, hint="NaN compares as false with everything: ask for what must hold"):
            impl.newton_step(g, np.where(np.eye(n) > 0, bad, h))
    for shape in ((n, n), (n + 1, n + 1), (n, n + 1), (1, n), (n, 1), (1, 1), (1, n * n)):
        with raises(
            ValueError, hint="zeros have no curvature, and a Hessian has a row and a column for each number of the gradient"
        ):
            impl.newton_step(g, np.zeros(shape) if shape == (n, n) else np.ones(shape))
    for shape in ((1, 1, 1), (1, 1, 1, 1)):  # NumPy refuses most of the others by itself, and these it does not
        with raises(ValueError, hint="one number in a table of more axes is no matrix: compare the shapes"):
            impl.newton_step(g[:1], np.ones(shape))


@pytest.mark.stub("newton_step")
@pytest.mark.parametrize("spread", [False, True])
def test_how_far_a_hessian_may_be_from_its_transpose(impl, draw, spread):
    """By less than 1e-5 of its norm, all entries taken together: one that is 0 may differ, and many small differences add up."""
    n = draw.integer(4, 6)
    values, g = positive(draw, n), gaussian(draw, n)
    off = np.triu(np.ones((n, n)), 1) if spread else np.eye(n, k=n - 1)
    off *= np.linalg.norm(values) / np.linalg.norm(off - off.T)
    hint = "‖H − Hᵀ‖ < 1e-5 ‖H‖: norms of matrices, not entry by entry"
    found = impl.newton_step(g, np.diag(values) + 3e-6 * off)
    assert_close(found, -g / values, tolerance=1e-4, hint=hint)
    with raises(ValueError, hint=hint):
        impl.newton_step(g, np.diag(values) + 3e-5 * off)


@pytest.mark.stub("newton_step")
def test_newtons_step_in_float32(impl, draw):
    """float32 in, float32 out."""
    n = draw.size()
    h, g = symmetric(draw, positive(draw, n)), gaussian(draw, n)
    found = impl.newton_step(g.astype(np.float32), h.astype(np.float32))
    expected = -np.linalg.solve(h, g).astype(np.float32)
    assert_close(found, expected, tolerance=1e-4, hint="float32 in, float32 out", hint_for="values dtype")


# --- the line search ---------------------------------------------------------------------------------------------------


def first_step(f, x, direction, start, shrink, share):
    """By torch, one after the other. Also how many were tried."""
    x, d = torch.from_numpy(x), torch.from_numpy(direction)
    value, slope = float(f(x)), float(torch.func.grad(f)(x) @ d)
    step, tried = start, 1
    while not float(f(x + step * d)) <= value + share * step * slope:
        step, tried = step * shrink, tried + 1
    return step, tried


def downhill(draw, f, x):
    """A direction that is not the gradient's, and of any length."""
    g = gradient_of(f, x)
    d = gaussian(draw, len(x))
    d -= (d @ g / (g @ g) + draw.number(0.2, 2)) * g
    return d * 10.0 ** draw.number(-0.5, 1)


@pytest.mark.stub("backtracking")
@KINDS
def test_the_first_step_that_falls_enough(impl, draw, kind):
    """Of start, start·shrink, … the first one that falls by the share of what the slope promises; f is asked no oftener than that."""
    n = draw.size()
    f, truth = some_function(impl, draw, kind, n)
    x = 2 * gaussian(draw, n)
    direction = downhill(draw, truth, x)
    start, shrink, share = draw.number(0.5, 8), draw.number(0.3, 0.8), draw.number(0.1, 0.7)
    expected, tried = first_step(truth, x, direction, start, shrink, share)
    counted = impl.Watched(f)
    found = impl.backtracking(counted, x, direction, start, shrink, share, 200)
    hint = "f(x + t d) <= f(x) + share · t · g·d, with t = start, then shrunk each time; the first that holds"
    assert_close(found, expected, tolerance=1e-12, hint=hint)
    cost = "f(x) and the gradient once, and a value for each try"
    assert_equal(counted.counts(), counts(values=1 + tried, gradients=1), what="what was asked for", hint=cost)


def slide(impl, edge, share, dtype=np.float64):
    """A function of one number that from 0 on falls by `share` of what its slope promises, exactly, at `edge`, and by less beyond."""
    return impl.DoubleWell(np.array([(edge / 2 - edge**3 / 4) / (1 - share)], dtype))


@pytest.mark.stub("backtracking")
def test_exactly_enough_is_enough(impl, draw):
    """A fall by exactly the share is taken, on either side of it the step before or after."""
    scale, x = 2.0 ** draw.integer(-2, 3), np.zeros(1)
    d = np.array([scale])
    found = impl.backtracking(slide(impl, 2, 0.5), x, d, 2 / scale, 0.5, 0.5)
    assert_close(found * scale, 2.0, hint="<=, not <: a fall by exactly the share is enough")
    for share in (0.25, 0.75):
        edge = draw.number(2, 4)
        for nudge, expected in ((1 - 1e-9, 1.0), (1 + 1e-9, 0.5)):
            found = impl.backtracking(slide(impl, edge, share), x, d, edge / scale * nudge, 0.5, share)
            assert_close(
                found / (edge / scale * nudge),
                expected,
                what="the step over its start",
                hint="share · t · g·d is what f must fall by",
            )


@pytest.mark.stub("backtracking")
def test_a_little_less_is_not_enough(impl, draw):
    """f falls by t, and by promise it should fall by a little more: no step will do, though the values are large."""
    f, x, d = impl.LogSumExp(np.ones((1, 1)), np.array([1024.0])), np.zeros(1), -np.ones(1)
    start, little = 2.0 ** draw.integer(-2, 2), 2.0**-29
    for factor, expected in ((1 + little, 0.0), (1.0, start), (1 - little, start)):
        found = impl.backtracking(impl.Watched(f, np.full(1, 2 * factor)), x, d, start, 0.5, 0.5, 5)
        assert_close(
            found, expected, tolerance=1e-12, hint="no tolerance is added: f(x + t d) <= f(x) + share · t · g·d as it stands"
        )


@pytest.mark.stub("backtracking")
def test_what_a_line_search_does_by_default(impl, draw):
    """By default it starts with 1, halves, asks for a share of 1e-4, and gives up after 40 tries."""
    edge, x = draw.number(2, 4), np.zeros(1)
    f = slide(impl, edge, 1e-4)
    for length, expected in ((edge - 1e-6, 1.0), (edge + 1e-6, 0.5), (3.5 * edge, 0.25), (4.5 * edge, 0.125)):
        found = impl.backtracking(f, x, np.array([length]))
        assert_close(found, expected, hint="start = 1, shrink = 0.5, share = 1e-4")
    uphill = impl.Watched(f, -1.0)
    found = impl.backtracking(uphill, x, np.array([-1.0]))
    assert_close(found, 0.0, what="the step where nothing falls", hint="0, not the last that was tried")
    assert_equal(uphill.counts(), counts(values=41, gradients=1), what="what was asked for", hint="40 tries by default")


@pytest.mark.stub("backtracking")
def test_so_many_tries_and_no_more(impl, draw):
    """The last of the tries counts; after it the step is 0."""
    k, edge = draw.integer(0, 6), draw.number(2, 4)
    f, x, d = slide(impl, edge, 1e-4), np.zeros(1), np.array([0.75 * edge * 2.0**k])
    for tries, expected in ((k + 1, 2.0**-k), (k, 0.0), (k + 5, 2.0**-k), (0, 0.0)):
        found = impl.backtracking(f, x, d, tries=tries)
        assert_close(
            found, expected, hint="`tries` steps are tried: start · shrink^0 to start · shrink^(tries − 1); 0 if none will do"
        )
    f, truth = some_function(impl, draw, "wells", k + 1)
    x = gaussian(draw, k + 1)
    found = impl.backtracking(f, x, -gradient_of(truth, x), tries=0)
    assert_close(found, 0.0, what="the step of no tries", hint="0 if none of `tries` steps will do, wherever x is")


@pytest.mark.stub("backtracking")
def test_nan_is_no_fall(impl, draw):
    """A value that is NaN means too far, not done."""
    n = draw.size(2)
    j = draw.integer(0, n - 1)
    f = impl.LogSumExp(np.eye(n)[j : j + 1], np.zeros(1))  # x_j itself, and NaN where another coordinate is infinite
    d = np.where(np.arange(n) == j, -1.0, 1e300)
    start = draw.number(1.05, 1.75) * 1e10
    found = impl.backtracking(f, np.zeros(n), d, start)
    hint = "every comparison with NaN is false: ask whether the step is good, not whether it is bad"
    assert_close(found, start / 64 if start / 64 * 1e300 < 1.7976931348623157e308 else start / 128, tolerance=1e-12, hint=hint)


@pytest.mark.stub("backtracking")
def test_no_way_down_is_refused(impl, draw):
    """A direction that leads uphill, or nowhere, is refused; so are numbers out of range."""
    n = draw.size()
    tilt, x = gaussian(draw, n), gaussian(draw, n)
    f, truth = impl.DoubleWell(tilt), double_well(tilt)
    d = downhill(draw, truth, x)
    hint = "Armijo's condition makes sense only where g·d < 0: ask `not slope < 0`, which NaN fails too"
    for bad in (-d, np.zeros(n), np.where(np.arange(n) == 0, np.nan, d)):
        with raises(ValueError, hint=hint):
            impl.backtracking(f, x, bad)
    hint = "start > 0, and shrink and share lie between 0 and 1, both excluded"
    for options in ({"start": 0.0}, {"start": -1.0}, {"start": math.nan}):
        with raises(ValueError, hint=hint):
            impl.backtracking(f, x, d, **options)
    for name in ("shrink", "share"):
        for value in (0.0, 1.0, -0.5, 1.5, math.nan):
            with raises(ValueError, hint=hint):
                impl.backtracking(f, x, d, **{name: value})


@pytest.mark.stub("backtracking")
def test_a_line_search_in_float32(impl, draw):
    """float32 works, and the step is a number."""
    length = np.array([4 * draw.number(1.05, 1.9)], np.float32)
    found = impl.backtracking(slide(impl, 2, 1e-4, np.float32), np.zeros(1, np.float32), length)
    assert_close(found, 0.25, hint="a step is a number, whatever the dtype", hint_for="values type")


# --- the simplex -------------------------------------------------------------------------------------------------------


def nearest(x, total):
    """The multiplier by a root search, and the point that follows from it."""
    low, high = x.min() - total - 1, x.max() + 1
    theta = scipy.optimize.brentq(lambda t: np.maximum(x - t, 0).sum() - total, low, high, xtol=1e-15, rtol=1e-15)
    return np.maximum(x - theta, 0), theta


def assert_projected(impl, x, total, *, hint, tolerance=1e-9):
    w, theta = impl.project_to_simplex(x, total)
    rows = [nearest(row, total) for row in x.reshape(-1, x.shape[-1])]
    assert_close(
        w / total, np.reshape([row[0] for row in rows], x.shape) / total, tolerance=tolerance, what="w over the total", hint=hint
    )
    size = total + np.abs(x).max(initial=0)
    expected = np.reshape([row[1] for row in rows], x.shape[:-1])
    assert_close(theta / size, expected / size, tolerance=tolerance, what="theta", hint="the θ with Σ max(x − θ, 0) = total")


@pytest.mark.stub("project_to_simplex")
@pytest.mark.parametrize("axes", [0, 1, 2])
def test_the_nearest_point_of_the_simplex(impl, draw, axes):
    """Each row by itself, whatever its sum."""
    x = gaussian(draw, *(draw.size() for _ in range(axes)), draw.size()) * draw.number(0.1, 2)
    hint = "θ = max over k of (sum of the k largest − total) / k, for each row; then max(x − θ, 0)"
    assert_projected(impl, x, draw.number(0.3, 3), hint=hint)


@pytest.mark.stub("project_to_simplex")
def test_the_sum_by_default(impl, draw):
    """By default the weights add up to 1."""
    x = gaussian(draw, draw.size(), draw.size())
    w, _ = impl.project_to_simplex(x)
    assert_close(w.sum(axis=-1), np.ones(len(x)), what="the sums", hint="total is 1 by default")


@pytest.mark.stub("project_to_simplex")
def test_corners_edges_and_ties(impl, draw):
    """A coordinate far ahead takes all, equal ones share, and a point of the simplex stays where it is."""
    n, total = draw.size(), draw.number(0.5, 2)
    j = draw.integer(0, n - 1)
    ahead = gaussian(draw, n)
    ahead[j] = np.abs(ahead).max() + total + draw.number(0.1, 5)
    hint = "x − θ below 0 becomes 0; the others keep their differences"
    assert_close(impl.project_to_simplex(ahead, total)[0], total * np.eye(n)[j], what="w of one far ahead", hint=hint)
    ahead[j] += 1e15
    far = "take off the largest and not the least: the digits of the largest decide"
    assert_close(impl.project_to_simplex(ahead, total)[0], total * np.eye(n)[j], what="w of one very far ahead", hint=far)
    equal = np.full(n, draw.number(-9, 9))
    assert_close(impl.project_to_simplex(equal, total)[0], np.full(n, total / n), what="w of equal numbers", hint=hint)
    inside = positive(draw, n)
    inside[draw.integer(0, n - 1)] *= 0 if n > 1 else 1
    inside *= total / inside.sum()
    w, theta = impl.project_to_simplex(inside, total)
    assert_close(w, inside, what="w of a point of the simplex", hint="it is the nearest to itself")
    assert_close(theta, np.asarray(0.0), what="theta of a point of the simplex", hint="θ is 0 where the sum is right already")
    below = positive(draw, draw.size(), n)
    below *= draw.number(0.1, 0.9) * total / below.sum(axis=-1, keepdims=True)
    assert_projected(impl, below, total, hint="the sum is to be `total`, not at most that: θ is negative where it is less")
    ties = np.array([1.0, 1.0, -3.0, 1.0, 0.0, 0.0])[draw.permutation(6).numpy()] * total
    assert_projected(impl, ties, total, hint=hint)
    assert_projected(impl, -np.abs(gaussian(draw, n)) - 3, total, hint="numbers that are all negative project like any others")


@pytest.mark.stub("project_to_simplex")
def test_what_all_have_in_common_does_not_matter(impl, draw):
    """Adding a number to all changes θ alone, and loses no digits of w."""
    n = draw.choice((3, 5, 6, 7))
    x = draw.integers(2048, (6, n)).numpy() / 1024.0
    far = 2.0 ** draw.integers(39, (6, 1), low=30).numpy() * draw.choice((-1.0, 1.0))
    w, _ = impl.project_to_simplex(x + far, float(n))
    expected, _ = zip(*(nearest(row, float(n)) for row in x), strict=True)
    hint = "take the largest off first: in sums of numbers of 1e10 the digits that matter are lost"
    assert_close(w, np.array(expected), tolerance=1e-10, hint=hint, hint_for="values precision")


@pytest.mark.stub("project_to_simplex")
def test_the_simplex_in_float32(impl, draw):
    """float32 in, float32 out, both results."""
    x = gaussian(draw, draw.size(), draw.size())
    w, theta = impl.project_to_simplex(x.astype(np.float32), 2.0)
    rows = [nearest(row, 2.0) for row in x]
    hint = "an int64 array of counts turns float32 into float64: make it in x's dtype"
    assert_close(w, np.array([row[0] for row in rows], np.float32), hint=hint, hint_for="values dtype", what="w")
    assert_close(theta, np.array([row[1] for row in rows], np.float32), hint=hint, hint_for="values dtype", what="theta")


@pytest.mark.stub("project_to_simplex")
def test_no_rows(impl, draw):
    """No rows have no nearest points."""
    n = draw.size()
    w, theta = impl.project_to_simplex(np.zeros((0, n)))
    assert_equal(w, np.zeros((0, n)), what="w", hint="an empty batch is no error")
    assert_equal(theta, np.zeros(0), what="theta", hint="an empty batch is no error")


@pytest.mark.stub("project_to_simplex")
def test_an_empty_simplex_is_refused(impl, draw):
    """There must be a coordinate, a positive finite sum, and finite numbers."""
    x = gaussian(draw, draw.size(), draw.size())
    for total in (0.0, -1.0, math.inf, math.nan):
        with raises(ValueError, hint="the sum must be positive and finite"):
            impl.project_to_simplex(x, total)
    with raises(ValueError, hint="without coordinates nothing can add up to 1"):
        impl.project_to_simplex(np.zeros((draw.size(), 0)))
    for bad in (np.nan, np.inf, -np.inf):
        other = x.copy()
        other[draw.integer(0, len(x) - 1), draw.integer(0, x.shape[1] - 1)] = bad
        with raises(ValueError, hint="numbers must be finite"):
            impl.project_to_simplex(other)


# --- densities ---------------------------------------------------------------------------------------------------------


def invertible(draw, n):
    """A matrix with singular values of 0.5 to 2, and a determinant of either sign."""
    turn = orthonormal(draw, n)
    turn[0] *= draw.choice((-1.0, 1.0))
    return orthonormal(draw, n) * positive(draw, n) @ turn


def layer(impl, draw, n, *, affine=False):
    """A layer of n numbers on the other side, and the same here, of one row."""
    matrix, shift = invertible(draw, n), gaussian(draw, n)
    height = draw.uniform(n, low=-0.8, high=3.0).numpy() * (0 if affine else 1)
    m, c, h = (torch.from_numpy(part) for part in (matrix, shift, height))

    def here(x):
        u = m @ x + c
        return u + h * torch.tanh(u)

    return impl.Layer(matrix, shift, height), here


@pytest.mark.stub("flow_log_density")
def test_an_affine_map_makes_a_gaussian(impl, draw):
    """One affine layer is a Gaussian with covariance (MᵀM)⁻¹."""
    n, d = draw.batch(), draw.size()
    matrix, shift, x = invertible(draw, d), gaussian(draw, d), gaussian(draw, n, d)
    inverse = np.linalg.inv(matrix)
    truth = scipy.stats.multivariate_normal(-inverse @ shift, inverse @ inverse.T)
    expected = np.reshape(truth.logpdf(x), n)
    hint = "log N(z; 0, I) + log |det M|: plus, since the map goes from the data to the noise, and of the magnitude"
    assert_close(impl.flow_log_density([impl.Layer(matrix, shift, np.zeros(d))], x), expected, hint=hint)


@pytest.mark.stub("flow_log_density")
def test_layers_follow_each_other(impl, draw):
    """Of several layers, each Jacobian is taken where its layer is entered."""
    n, d = draw.batch(), draw.size()
    kinds = [draw.choice((False, True)) for _ in range(draw.integer(0, 2))] + [False, False]
    layers, steps = zip(*(layer(impl, draw, d, affine=kind) for kind in kinds), strict=True)

    def whole(x):
        for step in steps:
            x = step(x)
        return x

    x = gaussian(draw, n, d)
    expected = []
    for row in torch.from_numpy(x):
        z = whole(row)
        expected.append(
            float(-0.5 * z @ z - 0.5 * d * math.log(2 * math.pi) + torch.linalg.slogdet(torch.func.jacrev(whole)(row))[1])
        )
    hint = "J of each layer at what the layer before has made of x, in the order of the layers; their log |det| add up"
    assert_close(impl.flow_log_density(list(layers), x), np.array(expected), tolerance=1e-8, hint=hint)


@pytest.mark.stub("flow_log_density")
def test_a_density_integrates_to_one(impl, draw):
    """In one dimension the sum over a fine grid is 1."""
    scales = (draw.number(0.5, 2), draw.number(0.8, 1.2), draw.number(0.8, 1.2))
    heights = draw.uniform(3, 1, low=-0.8, high=0.5).numpy()  # higher ones would press the density between two points of the grid
    layers = [impl.Layer(np.array([[scale]]), gaussian(draw, 1), h) for scale, h in zip(scales, heights, strict=True)]
    grid = np.linspace(-60, 60, 2401)[:, None]
    mass = float(np.exp(impl.flow_log_density(layers, grid)).sum() * 0.05)
    assert_close(
        mass, 1.0, tolerance=1e-4, what="the integral of the density", hint="is the volume change added, with the right sign?"
    )


@pytest.mark.stub("flow_log_density")
def test_no_layers(impl, draw):
    """Without layers the data are standard normal; without rows there are no densities."""
    n, d = draw.batch(), draw.size()
    x = gaussian(draw, n, d)
    assert_close(impl.flow_log_density([], x), scipy.stats.norm.logpdf(x).sum(axis=1), hint="a volume change of 0 for each row")
    one, _ = layer(impl, draw, d)
    assert_equal(impl.flow_log_density([one], np.zeros((0, d))), np.zeros(0), hint="no rows, no densities")


@pytest.mark.stub("flow_log_density")
@pytest.mark.parametrize("exponent", [-12, 12])
def test_determinants_neither_overflow_nor_vanish(impl, draw, exponent):
    """Forty dimensions, each scaled by 10^12 or by 10^-12."""
    d = draw.integer(36, 44)
    x = gaussian(draw, 2, d) * 10.0**-exponent
    found = impl.flow_log_density([impl.Layer(np.eye(d) * 10.0**exponent, np.zeros(d), np.zeros(d))], x)
    expected = scipy.stats.norm.logpdf(x * 10.0**exponent).sum(axis=1) + d * exponent * math.log(10)
    hint = "the determinant of forty numbers of 10^±12 is out of range: slogdet"
    assert_close(found, expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("flow_log_density")
def test_a_layer_that_cannot_be_undone_is_refused(impl, draw):
    """A determinant of 0 loses a dimension, and there is no density."""
    n, d = draw.batch(), draw.size()
    flat = np.triu(invertible(draw, d))
    flat[draw.integer(0, d - 1)] = 0
    (good, _), bad = layer(impl, draw, d), impl.Layer(flat, gaussian(draw, d), np.zeros(d))
    for layers in ([bad], [good, bad]):
        with raises(ValueError, hint="slogdet says so by a sign of 0"):
            impl.flow_log_density(layers, gaussian(draw, n, d))
    stuck = impl.Layer(np.eye(d), np.zeros(d), -np.ones(d))  # its slope is 0 at 0, and only there
    x = gaussian(draw, n + 1, d)
    x[draw.integer(0, n)] = 0
    assert_finite(impl.flow_log_density([stuck], x[(x != 0).all(axis=1)]), hint="elsewhere it has a slope")
    with raises(ValueError, hint="one row where the determinant is 0 is enough"):
        impl.flow_log_density([stuck], x)


@pytest.mark.stub("flow_log_density")
def test_densities_in_float32(impl, draw):
    """float32 in, float32 out."""
    n, d = draw.batch(), draw.size()
    x = gaussian(draw, n, d, dtype=np.float32)
    hint = "zeros are float64 unless they are told otherwise"
    none = scipy.stats.norm.logpdf(x).sum(axis=1).astype(np.float32)
    assert_close(impl.flow_log_density([], x), none, tolerance=1e-5, hint=hint, hint_for="values dtype")
    matrix, shift = invertible(draw, d), gaussian(draw, d)
    expected = scipy.stats.norm.logpdf(x @ matrix.T + shift).sum(axis=1) + np.linalg.slogdet(matrix)[1]
    affine = impl.Layer(matrix.astype(np.float32), shift.astype(np.float32), np.zeros(d, np.float32))
    found = impl.flow_log_density([affine], x)
    assert_close(found, expected.astype(np.float32), tolerance=1e-4, hint=hint, hint_for="values dtype")


# --- wrong answers -----------------------------------------------------------------------------------------------------


def doubled(function):
    """Computed, and returned, in float64."""

    def up(value):
        return value.astype(np.float64) if isinstance(value, np.ndarray) else value

    return lambda *args, **kwargs: function(*map(up, args), **{key: up(value) for key, value in kwargs.items()})


def needed(condition):
    if not condition:
        raise ValueError("bad input")


def eps(x):
    return float(np.finfo(x.dtype).eps)


def axes(x):
    return np.eye(len(x), dtype=x.dtype)


def difference_by(quotient, *, default=lambda x: eps(x) ** (1 / 3), size=lambda x: np.maximum(1, np.abs(x)), check=True):
    """quotient(f, x, axis, h): the derivative along an axis."""

    def central_difference(f, x, step=None):
        step = default(x) if step is None else step
        needed(not check or 0 < step < math.inf)
        steps = np.broadcast_to(step * size(x), x.shape)
        return np.array([quotient(f, x, axis, float(h)) for axis, h in zip(axes(x), steps, strict=True)], dtype=x.dtype)

    return central_difference


def both_sides(f, x, axis, h):
    ahead, behind = x + h * axis, x - h * axis
    return (f(ahead) - f(behind)) / float((ahead - behind) @ axis)


def check_by(
    error=lambda slope, g, d: abs(slope - g @ d) / max(np.linalg.norm(g), abs(slope)) if slope != g @ d else 0.0,
    *,
    worst=np.max,
    step=lambda x: eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x)),
    slope=lambda f, x, d, h: (f(x + h * d) - f(x - h * d)) / (2 * h),
    unit=lambda d: d / np.linalg.norm(d),
    check=lambda directions: len(directions) > 0 and np.all(np.any(directions != 0, axis=1)),
):
    def gradient_check(f, x, directions):
        needed(check(directions))
        g, h = f.gradient(x), float(step(x))
        return float(worst([error(slope(f, x, unit(d), h), g, unit(d)) for d in directions]))

    return gradient_check


def by_columns(f, x):
    f(x)
    return np.stack([f.jvp(x, axis) for axis in axes(x)], axis=1)


def by_rows(f, x):
    return np.stack([f.vjp(x, axis) for axis in np.eye(len(f(x)), dtype=x.dtype)])


def jacobian_by_differences(f, x):
    values = f(x)
    h = eps(x) ** (1 / 3)
    columns = [(f(x + h * axis) - f(x - h * axis)) / (2 * h) for axis in axes(x)]
    return np.stack(columns, axis=1) if len(x) <= len(values) else by_rows(f, x)


def either_way(columns, rows, *, fewer=lambda n, m: n <= m):
    return lambda f, x: columns(f, x) if fewer(len(x), len(f(x))) else rows(f, x)


def product_by(
    quotient=lambda g, x, v, h: (g(x + h * v) - g(x - h * v)) / (2 * h),
    *,
    step=lambda x, v: eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x)) / np.linalg.norm(v),
    check=lambda x, v: x.shape == v.shape,
    zero=True,
):
    def hessian_vector_product(f, x, v):
        needed(check(x, v))
        if zero and not v.any():
            return np.zeros_like(x)
        return quotient(f.gradient, x, v, float(step(x, v))).astype(x.dtype)

    return hessian_vector_product


def proper(g, h):
    return h.shape == (len(g), len(g)) and h.any() and np.isfinite(h).all() and np.linalg.norm(h - h.T) < 1e-5 * np.linalg.norm(h)


def step_by(sizes=lambda values, floor: np.maximum(np.abs(values), floor * np.abs(values).max()), *, check=proper, default=1e-8):
    def newton_step(gradient, hessian, floor=default):
        needed(check(gradient, hessian))
        values, vectors = np.linalg.eigh(hessian)
        return -(vectors / sizes(values, floor)) @ (vectors.T @ gradient)

    return newton_step


def solved(gradient, hessian, floor=1e-8):
    needed(proper(gradient, hessian))
    return -np.linalg.solve(hessian, gradient)


def search_by(
    enough=lambda new, old, step, slope, share: new <= old + share * step * slope,
    *,
    failed=0.0,
    check=lambda start, shrink, share: start > 0 and 0 < shrink < 1 and 0 < share < 1,
    steep=lambda slope: slope < 0,
    values=lambda f, x: f,
):
    def backtracking(f, x, direction, start=1.0, shrink=0.5, share=1e-4, tries=40):
        needed(check(start, shrink, share))
        old, slope = f(x), float(f.gradient(x) @ direction)
        needed(steep(slope))
        for k in range(tries):
            step = start * shrink**k
            if enough(f(x + step * direction), old, step, slope, share):
                return step
        return failed

    return backtracking


def legal(x, total):
    return total > 0 and math.isfinite(total) and x.shape[-1] > 0 and bool(np.isfinite(x).all())


def simplex_by(theta, *, check=legal, point=lambda x, theta: np.maximum(x - theta, 0), total=1.0):
    """theta(row, total): of one row."""

    def project_to_simplex(x, total=total):
        needed(check(x, total))
        thetas = np.array([theta(row, total) for row in x.reshape(math.prod(x.shape[:-1]), x.shape[-1])], dtype=x.dtype).reshape(
            x.shape[:-1]
        )
        return point(x, thetas[..., None]), thetas

    return project_to_simplex


def sorted_theta(row, total):
    top = row.max()
    ranked = np.sort(row - top)[::-1]
    return top + np.max((np.cumsum(ranked) - total) / np.arange(1, len(row) + 1))


def rescaled(x, total=1.0):
    """Negative numbers to 0, then divided by the sum."""
    needed(legal(x, total))
    w = np.maximum(x, 0)
    w = total * w / np.maximum(w.sum(axis=-1, keepdims=True), np.finfo(x.dtype).tiny)
    return w.astype(x.dtype), np.zeros(x.shape[:-1], x.dtype)


def exponentials(x, total=1.0):
    needed(legal(x, total))
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return (total * e / e.sum(axis=-1, keepdims=True)).astype(x.dtype), np.zeros(x.shape[:-1], x.dtype)


def shifted(x, total=1.0):
    """The right sum, and nothing more: numbers may be negative."""
    needed(legal(x, total))
    theta = (x.sum(axis=-1) - total) / x.dtype.type(x.shape[-1])
    return x - theta[..., None], theta


def log_normal(z):
    return -0.5 * (z**2).sum(axis=1) - z.dtype.type(0.5 * z.shape[1] * math.log(2 * math.pi))


def density_by(
    change=lambda layer, before, after: np.linalg.slogdet(layer.jacobian(before)),
    *,
    base=log_normal,
    total=lambda base, volume: base + volume,
    check=True,
    order=lambda layers: layers,
):
    def flow_log_density(layers, x):
        z, volume = x, np.zeros(len(x), x.dtype)
        for layer in order(layers):
            after = layer(z)
            sign, size = change(layer, z, after)
            needed(not check or np.all(sign))
            volume, z = volume + size, after
        return total(base(z), volume)

    return flow_log_density


def plain_logarithm(layer, before, after):
    with np.errstate(all="ignore"):
        det = np.linalg.det(layer.jacobian(before))
        return det, np.log(np.abs(det))


FAKES = {
    "central_difference": {
        "forward": difference_by(lambda f, x, axis, h: (f(x + h * axis) - f(x)) / h),
        "backward": difference_by(lambda f, x, axis, h: (f(x) - f(x - h * axis)) / h),
        "forward, with its own best step": difference_by(
            lambda f, x, axis, h: (f(x + h * axis) - f(x)) / h, default=lambda x: eps(x) ** 0.5
        ),
        "one h, not two": difference_by(lambda f, x, axis, h: (f(x + h * axis) - f(x - h * axis)) / h),
        "half a step either way": difference_by(lambda f, x, axis, h: both_sides(f, x, axis, h / 2)),
        "2h, not the distance as rounded": difference_by(lambda f, x, axis, h: (f(x + h * axis) - f(x - h * axis)) / (2 * h)),
        "a step of 1e-5": difference_by(both_sides, default=lambda x: 1e-5),
        "the root of eps": difference_by(both_sides, default=lambda x: eps(x) ** 0.5),
        "the eps of float64": Edit("np.finfo(x.dtype).eps", "np.finfo(np.float64).eps"),
        "the same step for all": difference_by(both_sides, size=lambda x: np.ones_like(x)),
        "the step of the largest": difference_by(both_sides, size=lambda x: max(1, np.abs(x).max(initial=0))),
        "the step of the norm": difference_by(both_sides, size=lambda x: max(1, np.linalg.norm(x))),
        "no step at 0": Edit("max(1.0, abs(float(x[i])))", "abs(float(x[i]))"),
        "a step of at most 1": difference_by(lambda f, x, axis, h: both_sides(f, x, axis, min(h, 1.0))),
        "a step of 1 + |x|": difference_by(both_sides, size=lambda x: 1 + np.abs(x)),
        "steps of negative numbers are 1": Edit("abs(float(x[i]))", "float(x[i])"),
        "the step given is ignored": lambda f, x, step=None: (
            needed(step is None or 0 < step < math.inf),
            difference_by(both_sides)(f, x),
        )[1],
        "any step accepted": difference_by(both_sides, check=False),
        "a step of infinity accepted": Edit("0 < step < math.inf", "0 < step"),
        "all axes at once": difference_by(lambda f, x, axis, h: both_sides(f, x, np.ones_like(x), h)),
        "the point left where the difference ended": Edit("ahead, behind = x.copy(), x.copy()", "ahead, behind = x, x.copy()"),
        "the gradient as it is claimed": lambda f, x, step=None: (needed(step is None or 0 < step < math.inf), f.gradient(x))[1],
        "float64 for all": doubled(difference_by(both_sides)),
        "the value once for each axis more": difference_by(lambda f, x, axis, h: (f(x), both_sides(f, x, axis, h))[1]),
    },
    "gradient_check": {
        "the mean over directions": check_by(worst=np.mean),
        "the best over directions": check_by(worst=np.min),
        "the first direction only": check_by(worst=lambda errors: errors[0]),
        "NaN lost in a maximum": check_by(worst=lambda errors: max([0.0, *errors])),
        "NaN lost or kept by its place": check_by(worst=max),
        "NaN left out": check_by(worst=lambda errors: np.nan_to_num(np.nanmax(errors))),
        "a little added to what divides": check_by(
            lambda slope, g, d: abs(slope - g @ d) / (max(np.linalg.norm(g), abs(slope)) + 1e-12)
        ),
        "a small miss counts as none": check_by(
            lambda slope, g, d: abs(slope - g @ d) / max(np.linalg.norm(g), abs(slope)) if abs(slope - g @ d) > 1e-9 else 0.0
        ),
        "short directions refused": check_by(check=lambda d: len(d) > 0 and np.linalg.norm(d, axis=1).min() > 1e-6),
        "the step of float64, and its points": check_by(
            step=lambda x: BEST["float64"] * max(1.0, np.linalg.norm(x)),
            slope=lambda f, x, d, h: (f(x.astype(np.float64) + h * d) - f(x.astype(np.float64) - h * d)) / (2 * h),
        ),
        "an absolute error": check_by(lambda slope, g, d: abs(slope - g @ d)),
        "relative to the claimed gradient": check_by(
            lambda slope, g, d: abs(slope - g @ d) / np.linalg.norm(g) if g.any() else 0.0
        ),
        "relative to the slope": check_by(lambda slope, g, d: abs(slope - g @ d) / max(abs(slope), 1e-300)),
        "relative to the two slopes": check_by(lambda slope, g, d: abs(slope - g @ d) / max(abs(slope), abs(g @ d), 1e-300)),
        "divided by the sum": check_by(lambda slope, g, d: abs(slope - g @ d) / (np.linalg.norm(g) + abs(slope) + 1e-300)),
        "zero by zero": check_by(lambda slope, g, d: np.float64(abs(slope - g @ d)) / max(np.linalg.norm(g), abs(slope))),
        "with its sign": check_by(lambda slope, g, d: (slope - g @ d) / max(np.linalg.norm(g), abs(slope), 1e-300)),
        "directions as long as they are": check_by(unit=lambda d: d),
        "forward differences": check_by(slope=lambda f, x, d, h: (f(x + h * d) - f(x)) / h),
        "forward differences with their own best step": check_by(
            slope=lambda f, x, d, h: (f(x + h * d) - f(x)) / h, step=lambda x: eps(x) ** 0.5 * max(1.0, np.linalg.norm(x))
        ),
        "a fixed step": check_by(step=lambda x: eps(x) ** (1 / 3)),
        "the step of the largest coordinate": check_by(step=lambda x: eps(x) ** (1 / 3) * max(1.0, np.abs(x).max())),
        "a step of 1e-5 in any dtype": check_by(step=lambda x: 6e-6 * max(1.0, np.linalg.norm(x))),
        "along the axes": lambda f, x, directions: check_by()(
            f, x, (needed(len(directions) and directions.any(axis=1).all()), axes(x))[1]
        ),
        "the gradient anew for each direction": lambda f, x, directions: check_by()(
            f, x, (needed(len(directions) and directions.any(axis=1).all()), [f.gradient(x) for _ in directions], directions)[2]
        ),
        "no directions accepted": check_by(
            worst=lambda errors: np.max(errors, initial=0.0), check=lambda d: np.all(d.any(axis=1))
        ),
        "directions of zeros accepted": check_by(
            unit=lambda d: d / max(np.linalg.norm(d), 1e-300), check=lambda directions: len(directions) > 0
        ),
        "all is well": lambda f, x, directions: (needed(len(directions) and directions.any(axis=1).all()), 0.0)[1],
    },
    "jacobian": {
        "columns always": by_columns,
        "rows always": by_rows,
        "the mode that needs more": either_way(by_rows, by_columns),
        "rows where equal": either_way(by_columns, by_rows, fewer=lambda n, m: n < m),
        "transposed": lambda f, x: either_way(by_columns, by_rows)(f, x).T,
        "columns as rows": Edit("axis=1)  # columns", "axis=0)  # columns"),
        "rows as columns": Edit("for axis in np.eye(m, dtype=x.dtype)])", "for axis in np.eye(m, dtype=x.dtype)], axis=1)"),
        "right for square ones only": lambda f, x: np.stack(
            [f.jvp(x, axis) for axis in np.eye(len(f(x)), len(x), dtype=x.dtype)], axis=1
        ),
        "by differences": jacobian_by_differences,
        "the axes in float64": Edit("dtype=x.dtype", "dtype=np.float64"),
        "float64 for all": doubled(either_way(by_columns, by_rows)),
        "one pass with ones": lambda f, x: np.tile(f.jvp(x, np.ones_like(x))[:, None], (1, len(x))),
        "one axis too few": Edit(
            "for axis in np.eye(m, dtype=x.dtype)]",
            "for axis in [*np.eye(m, dtype=x.dtype)[:-1], 0 * np.eye(m, dtype=x.dtype)[0]]]",
        ),
        "f asked twice": lambda f, x: (f(x), Ellipsis, by_columns(f, x) if len(x) <= len(f(x)) else by_rows(f, x))[2],
    },
    "hessian_vector_product": {
        "one side only": product_by(lambda g, x, v, h: (g(x + h * v) - g(x)) / h),
        "one side with its own best step": product_by(
            lambda g, x, v, h: (g(x + h * v) - g(x)) / h,
            step=lambda x, v: eps(x) ** 0.5 * max(1.0, np.linalg.norm(x)) / np.linalg.norm(v),
        ),
        "one h, not two": product_by(lambda g, x, v, h: (g(x + h * v) - g(x - h * v)) / h),
        "v's length ignored": product_by(step=lambda x, v: eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x))),
        "v's square for its length": product_by(step=lambda x, v: eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x)) / (v @ v)),
        "x's size ignored": product_by(step=lambda x, v: eps(x) ** (1 / 3) / np.linalg.norm(v)),
        "x's largest entry for its size": product_by(
            step=lambda x, v: eps(x) ** (1 / 3) * max(1.0, np.abs(x).max()) / np.linalg.norm(v)
        ),
        "no step at the origin": product_by(step=lambda x, v: eps(x) ** (1 / 3) * np.linalg.norm(x) / np.linalg.norm(v)),
        "the root of eps": product_by(step=lambda x, v: eps(x) ** 0.5 * max(1.0, np.linalg.norm(x)) / np.linalg.norm(v)),
        "the eps of float64": Edit("np.finfo(x.dtype).eps", "np.finfo(np.float64).eps"),
        "for the unit vector": product_by(lambda g, x, v, h: (g(x + h * v) - g(x - h * v)) / (2 * h * np.linalg.norm(v))),
        "the gradient itself": product_by(lambda g, x, v, h: g(x)),
        "a number, vᵀ H v": product_by(lambda g, x, v, h: np.full_like(x, (g(x + h * v) - g(x - h * v)) @ v / (2 * h))),
        "zeros divided by zeros": product_by(zero=False),
        "gradients asked for zeros": lambda f, x, v: (f.gradient(x), product_by()(f, x, v))[1],
        "short vectors taken for zero": Edit("if length == 0:", "if length < 1e-12:"),
        "one number spread over all": product_by(check=lambda x, v: True),
        "as many numbers, in another shape": product_by(check=lambda x, v: x.size == v.size),
        "zeros of any shape": lambda f, x, v: product_by()(f, x, v) if v.any() else np.zeros_like(x),
        "zeros in float64": Edit("np.zeros_like(x)", "np.zeros(len(x))"),
        "numbers that cancel taken for zero": Edit("length == 0", "v.sum() == 0"),
        "v's largest entry for its length": product_by(
            step=lambda x, v: eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x)) / np.abs(v).max()
        ),
        "a little added to the length": product_by(
            step=lambda x, v: eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x)) / (np.linalg.norm(v) + 1e-12)
        ),
        "v added in place": Edit("f.gradient(x + h * v) -", "f.gradient(np.add(x, h * v, out=x)) -"),
        "float64 for all": doubled(product_by()),
    },
    "newton_step": {
        "H⁻¹ as it is": solved,
        "uphill": lambda g, h, floor=1e-8: -step_by()(g, h, floor),
        "negative curvature cut off": step_by(lambda values, floor: np.maximum(values, floor * np.abs(values).max())),
        "a floor that is no share": step_by(lambda values, floor: np.maximum(np.abs(values), floor)),
        "a share of the largest value, not magnitude": step_by(
            lambda values, floor: np.maximum(np.abs(values), floor * values.max())
        ),
        "the floor added": step_by(lambda values, floor: np.abs(values) + floor * np.abs(values).max()),
        "no floor": step_by(lambda values, floor: np.abs(values)),
        "the floor by default, always": lambda g, h, floor=1e-8: step_by()(g, h),
        "another floor": step_by(default=1e-6),
        "small curvature left out": step_by(
            lambda values, floor: np.where(np.abs(values) < floor * np.abs(values).max(), np.inf, np.abs(values))
        ),
        "the gradient": lambda g, h, floor=1e-8: (needed(proper(g, h)), -g)[1],
        "the diagonal only": lambda g, h, floor=1e-8: (
            needed(proper(g, h)),
            -g / np.maximum(np.abs(np.diag(h)), floor * np.abs(h).max()),
        )[1],
        "rows of the eigenvectors": Edit("-vectors @ (vectors.T @ gradient", "-vectors.T @ (vectors @ gradient"),
        "all accepted": step_by(check=lambda g, h: h.shape == (len(g), len(g))),
        "what is not symmetric made so": Edit(
            "not np.linalg.norm(hessian - hessian.T) < 1e-5 * np.linalg.norm(hessian)", "not hessian.any()"
        ),
        "ten times the threshold": Edit("1e-5 *", "1e-4 *"),
        "symmetric entry by entry": step_by(
            check=lambda g, h: h.shape == (len(g), len(g)) and h.any() and np.allclose(h, h.T, rtol=1e-5, atol=0)
        ),
        "the largest difference only": step_by(
            check=lambda g, h: h.shape == (len(g), len(g)) and np.abs(h - h.T).max() < 1e-5 * np.linalg.norm(h)
        ),
        "as many numbers, in another shape": Edit("hessian.shape != (n, n)", "hessian.size != n * n"),
        "no floor where all is convex": lambda g, h, floor=1e-8: (
            (needed(proper(g, h)), -np.linalg.solve(h, g))[1]
            if proper(g, h) and np.linalg.eigvalsh(h)[0] > 0
            else step_by()(g, h, floor)
        ),
        "a fixed threshold": Edit("1e-5 * np.linalg.norm(hessian)", "1e-5"),
        "rounding refused": Edit("< 1e-5 * np.linalg.norm(hessian)", "== 0"),
        "NaN accepted": Edit("not np.linalg.norm(hessian - hessian.T) < 1e-5", "np.linalg.norm(hessian - hessian.T) >= 1e-5"),
        "zeros accepted": step_by(
            check=lambda g, h: h.shape == (len(g), len(g)) and np.linalg.norm(h - h.T) <= 1e-5 * np.linalg.norm(h)
        ),
        "float64 for all": doubled(step_by()),
    },
    "backtracking": {
        "any fall is enough": search_by(lambda new, old, step, slope, share: new <= old),
        "less, not as much": search_by(lambda new, old, step, slope, share: new < old + share * step * slope),
        "not more is enough, and NaN is not more": search_by(
            lambda new, old, step, slope, share: not new > old + share * step * slope
        ),
        "rounding forgiven": search_by(lambda new, old, step, slope, share: new <= old + share * step * slope + 1e-12 * abs(old)),
        "no tries refused": lambda *args, **kwargs: (
            needed(kwargs.get("tries", args[6] if len(args) > 6 else 1) > 0),
            search_by()(*args, **kwargs),
        )[1],
        "the step forgotten in what is promised": search_by(lambda new, old, step, slope, share: new <= old + share * slope),
        "the whole slope": search_by(lambda new, old, step, slope, share: new <= old + step * slope),
        "half of the slope, always": search_by(lambda new, old, step, slope, share: new <= old + 0.5 * step * slope),
        "the slope's magnitude": search_by(lambda new, old, step, slope, share: new <= old + share * step * abs(slope)),
        "the gradient's length for the slope": Edit("float(f.gradient(x) @ direction)", "-float(f.gradient(x) @ f.gradient(x))"),
        "the last step, fall or no fall": search_by(failed=0.5**39),
        "one try more": Edit("range(tries)", "range(tries + 1)"),
        "one try less": Edit("range(tries)", "range(tries - 1)"),
        "forty tries, always": Edit("range(tries)", "range(40)"),
        "halved, always": Edit("step *= shrink", "step *= 0.5"),
        "begins with 1, always": Edit("step = start", "step = 1.0"),
        "begins one further on": Edit("step = start\n", "step = start * shrink\n"),
        "shrunk by what is taken off": Edit("step *= shrink", "step *= 1 - shrink"),
        "the full step": lambda f, x, direction, start=1.0, shrink=0.5, share=1e-4, tries=40: (
            needed(start > 0 and 0 < shrink < 1 and 0 < share < 1 and f.gradient(x) @ direction < 0),
            start,
        )[1],
        "uphill accepted": search_by(steep=lambda slope: True),
        "flat accepted": search_by(steep=lambda slope: slope <= 0),
        "NaN accepted": search_by(steep=lambda slope: not slope >= 0),
        "any numbers accepted": search_by(check=lambda start, shrink, share: True),
        "a share of 1 accepted": search_by(check=lambda start, shrink, share: start > 0 and 0 < shrink < 1 and 0 < share <= 1),
        "a share of 0 accepted": search_by(check=lambda start, shrink, share: start > 0 and 0 < shrink < 1 and 0 <= share < 1),
        "the gradient at every try": Edit("share * step * slope", "share * step * float(f.gradient(x) @ direction)"),
        "f(x) at every try": Edit("<= value +", "<= f(x) +"),
        "moves x": Edit("f(x + step * direction)", "f(np.add(x, step * direction, out=x))"),
    },
    "project_to_simplex": {
        "clipped and divided by the sum": rescaled,
        "softmax": exponentials,
        "the right sum, some negative": shifted,
        "clipped after a shift": lambda x, total=1.0: (np.maximum(shifted(x, total)[0], 0), shifted(x, total)[1]),
        "shifted, clipped, divided": lambda x, total=1.0: (
            total * rescaled(np.maximum(shifted(x, total)[0], 0))[0],
            shifted(x, total)[1],
        ),
        "what is below the simplex left there": lambda x, total=1.0: (
            (x.copy(), np.zeros(x.shape[:-1], x.dtype))
            if legal(x, total) and (x >= 0).all() and (x.sum(axis=-1) <= total).all()
            else simplex_by(sorted_theta)(x, total)
        ),
        "always 1": lambda x, total=1.0: (needed(legal(x, total)), simplex_by(sorted_theta)(x, 1.0))[1],
        "another sum by default": simplex_by(sorted_theta, total=2.0),
        "smallest first": simplex_by(
            lambda row, total: row.max() + np.max((np.cumsum(np.sort(row - row.max())) - total) / np.arange(1, len(row) + 1))
        ),
        "all coordinates stay": simplex_by(lambda row, total: (row.sum() - total) / len(row)),
        "one coordinate stays": simplex_by(lambda row, total: row.max() - total),
        "theta with the other sign": lambda x, total=1.0: (lambda w, theta: (w, -theta))(*simplex_by(sorted_theta)(x, total)),
        "theta relative to the largest": lambda x, total=1.0: (lambda w, theta: (w, theta - x.max(axis=-1)))(
            *simplex_by(sorted_theta)(x, total)
        ),
        "the least taken off": Edit("x.max(axis=-1, keepdims=True)  #", "x.min(axis=-1, keepdims=True)  #"),
        "the largest of all rows taken off": Edit("x.max(axis=-1, keepdims=True)  #", "x.max(keepdims=True)  #"),
        "digits lost far from 0": simplex_by(
            lambda row, total: np.max((np.cumsum(np.sort(row)[::-1]) - total) / np.arange(1, len(row) + 1))
        ),
        "the first row's theta for all": lambda x, total=1.0: (
            needed(legal(x, total)),
            simplex_by(lambda row, total: sorted_theta(x.reshape(-1, x.shape[-1])[0], total))(x, total),
        )[1],
        "sorted in place": Edit("x.max(axis=-1, keepdims=True)", "(x.sort(axis=-1), x.max(axis=-1, keepdims=True))[1]"),
        "w sorted": lambda x, total=1.0: (lambda w, theta: (np.sort(w, axis=-1), theta))(*simplex_by(sorted_theta)(x, total)),
        "any total accepted": simplex_by(sorted_theta, check=lambda x, total: legal(x, 1.0)),
        "a total of 0 accepted": simplex_by(sorted_theta, check=lambda x, total: legal(x, total or 1.0)),
        "a total of infinity accepted": simplex_by(sorted_theta, check=lambda x, total: legal(x, min(total, 1.0))),
        "any numbers accepted": simplex_by(
            lambda row, total: sorted_theta(np.nan_to_num(row), total),
            check=lambda x, total: 0 < total < math.inf and x.shape[-1],
        ),
        "counts in int64": Edit("dtype=x.dtype", "dtype=np.int64"),
        "float64 for all": doubled(simplex_by(sorted_theta)),
        "no rows, no maximum": lambda x, total=1.0: (x.max(), simplex_by(sorted_theta)(x, total))[1],
    },
    "flow_log_density": {
        "no volume change": density_by(total=lambda base, volume: base),
        "the volume change taken off": density_by(total=lambda base, volume: base - volume),
        "the volume change alone": density_by(total=lambda base, volume: volume),
        "the Jacobian where the layer is left": density_by(lambda layer, before, after: np.linalg.slogdet(layer.jacobian(after))),
        "all Jacobians at the data": lambda layers, x: density_by(
            lambda layer, before, after: np.linalg.slogdet(layer.jacobian(x))
        )(layers, x),
        "the logarithm of a determinant": density_by(plain_logarithm),
        "positive determinants only": density_by(
            lambda layer, before, after: (
                np.linalg.slogdet(layer.jacobian(before))[0],
                np.where(np.linalg.slogdet(layer.jacobian(before))[0] > 0, np.linalg.slogdet(layer.jacobian(before))[1], np.nan),
            )
        ),
        "reflections refused": density_by(
            lambda layer, before, after: (
                np.linalg.slogdet(layer.jacobian(before))[0] > 0,
                np.linalg.slogdet(layer.jacobian(before))[1],
            )
        ),
        "the diagonal only": density_by(
            lambda layer, before, after: (
                np.linalg.slogdet(layer.jacobian(before))[0],
                np.log(np.abs(np.diagonal(layer.jacobian(before), axis1=1, axis2=2)) + 1e-300).sum(axis=1),
            )
        ),
        "the trace": density_by(
            lambda layer, before, after: (
                np.linalg.slogdet(layer.jacobian(before))[0],
                np.trace(layer.jacobian(before), axis1=1, axis2=2),
            )
        ),
        "the last layer only": Edit("volume = volume + log_size", "volume = log_size"),
        "last layer first": density_by(order=lambda layers: layers[::-1]),
        "the same change for all rows": density_by(
            lambda layer, before, after: (
                np.linalg.slogdet(layer.jacobian(before))[0],
                np.resize(np.linalg.slogdet(layer.jacobian(before))[1][:1], len(before)),
            )
        ),
        "the mean change": density_by(
            lambda layer, before, after: (
                np.linalg.slogdet(layer.jacobian(before))[0],
                np.full(len(before), np.linalg.slogdet(layer.jacobian(before))[1].sum() / max(1, len(before)), before.dtype),
            )
        ),
        "the constant of one dimension": density_by(
            base=lambda z: -0.5 * (z**2).sum(axis=1) - z.dtype.type(0.5 * math.log(2 * math.pi))
        ),
        "no constant": density_by(base=lambda z: -0.5 * (z**2).sum(axis=1)),
        "the data's own density": lambda layers, x: (
            density_by()(layers, x) - density_by(total=lambda base, volume: base)(layers, x) + log_normal(x)
        ),
        "what cannot be undone accepted": density_by(check=False),
        "refused only where all rows are lost": Edit("if not sign.all():", "if not sign.any() and len(sign):"),
        "zeros in float64": Edit("np.zeros(len(x), dtype=x.dtype)", "np.zeros(len(x))"),
        "float64 for all": doubled(density_by()),
    },
}


# --- right answers, written differently --------------------------------------------------------------------------------


def vectorised_difference(f, x, step=None):
    """All points at once, as rows of two tables."""
    if step is None:
        step = np.finfo(x.dtype).eps ** (1 / 3)
    if step <= 0 or not np.isfinite(step):
        raise ValueError("step")
    moves = np.diag(step * np.maximum(1, np.abs(x))).astype(x.dtype)
    ahead, behind = x + moves, x - moves
    values = np.array([[f(p), f(q)] for p, q in zip(ahead, behind, strict=True)]).reshape(-1, 2)
    gaps = np.diag(ahead).astype(np.float64) - np.diag(behind)
    return ((values[:, 0] - values[:, 1]) / gaps).astype(x.dtype)


def difference_in_one_buffer(f, x, step=None):
    """One copy, of which a coordinate is moved and put back."""
    step = math.pow(float(np.finfo(x.dtype).eps), 1 / 3) if step is None else step
    if not (step > 0 and step != math.inf):
        raise ValueError(step)
    point, result = np.array(x), np.empty_like(x)
    for i, here in enumerate(x):
        h = step * float(max(1, abs(here)))
        point[i] = here + h
        high, up = point[i], f(point)
        point[i] = here - h
        low, down = point[i], f(point)
        point[i] = here
        result[i] = (up - down) / (float(high) - float(low))
    return result


def check_along_a_line(f, x, directions):
    """By central differences of the function of one number t, f(x + t d)."""
    if directions.shape[0] < 1 or (np.abs(directions).max(axis=1) == 0).any():
        raise ValueError("directions")
    g = f.gradient(x)
    h = np.finfo(x.dtype).eps ** (1 / 3) * max(1, math.sqrt(float(x @ x)))
    found = []
    for d in directions:
        d = d / math.sqrt(float(d @ d))
        slope = (f(x + x.dtype.type(h) * d) - f(x - x.dtype.type(h) * d)) / h / 2
        off, size = abs(slope - np.sum(g * d)), max(math.sqrt(float(g @ g)), abs(slope))
        found.append(off / size if size != 0 else 0)
    return sorted(found, key=lambda one: (math.isnan(one), one))[-1]


def check_at_once(f, x, directions):
    """All slopes first, as an array."""
    lengths = np.sqrt((directions**2).sum(axis=1, keepdims=True))
    if len(lengths) == 0 or lengths.min() == 0:
        raise ValueError("directions")
    units = directions / lengths
    h = np.cbrt(np.finfo(x.dtype).eps) * np.maximum(1, np.linalg.norm(x))
    slopes = np.array([f(x + h * d) - f(x - h * d) for d in units]) / (2 * h)
    g = f.gradient(x)
    sizes = np.maximum(np.linalg.norm(g), np.abs(slopes))
    errors = np.divide(np.abs(slopes - units @ g), sizes, out=np.zeros(len(units)), where=sizes != 0)
    return errors.max().item()


def jacobian_filled(f, x):
    """An array, filled column by column or row by row."""
    m, n = f(x).size, x.size
    result = np.empty((m, n), x.dtype)
    for i in range(min(m, n)):
        axis = np.zeros(n if n <= m else m, x.dtype)
        axis[i] = 1
        if n <= m:
            result[:, i] = f.jvp(x, axis)
        else:
            result[i, :] = f.vjp(x, axis)
    return result


def jacobian_transposed(f, x):
    outputs, inputs = len(f(x)), len(x)
    forward = not inputs > outputs
    product, size = (f.jvp, inputs) if forward else (f.vjp, outputs)
    table = np.array([product(x, axis) for axis in np.identity(size, x.dtype)])
    return table.T.copy() if forward else table


def product_of_unit(f, x, v):
    """Along the unit vector, times the length."""
    if np.shape(x) != np.shape(v):
        raise ValueError("shapes")
    size = math.hypot(*v)
    if size == 0:
        return 0 * v
    h = np.cbrt(np.finfo(x.dtype).eps) * max(1, math.hypot(*x))
    move = (v / size * h).astype(x.dtype)
    return ((f.gradient(x + move) - f.gradient(x - move)) * x.dtype.type(size / (2 * h))).astype(x.dtype)


def product_from_both_halves(f, x, v):
    """The mean of a step ahead and a step behind."""
    if x.shape != v.shape:
        raise ValueError("shapes")
    if np.count_nonzero(v) == 0:
        return np.zeros(len(x), x.dtype)
    h = float(eps(x) ** (1 / 3) * max(1.0, np.linalg.norm(x)) / np.linalg.norm(v))
    ends = [f.gradient(x + sign * h * v) * sign for sign in (-1, 1)]
    return (ends[0] + ends[1]) / x.dtype.type(2) / x.dtype.type(h) if h < 1e30 else (ends[0] + ends[1]) / (2 * h)


def by_polar_factor(gradient, hessian, floor=1e-8):
    """By singular values, which are the magnitudes of eigenvalues, and by right singular vectors, which are eigenvectors."""
    if not proper(gradient, hessian):
        raise ValueError("Hessian")
    _, s, vt = np.linalg.svd(hessian)
    return -(vt.T * (1 / np.maximum(s, floor * s[0]))) @ vt @ gradient


def one_direction_at_a_time(gradient, hessian, floor=1e-8):
    if hessian.ndim != 2 or set(hessian.shape) != {len(gradient)} or not proper(gradient, hessian):
        raise ValueError("Hessian")
    values, vectors = scipy.linalg.eigh(hessian)
    least = floor * max(abs(values[0]), abs(values[-1]))
    step = np.zeros_like(gradient)
    for value, vector in zip(values, vectors.T, strict=True):
        step -= (vector @ gradient) / max(abs(value), least) * vector
    return step


def inverted(gradient, hessian, floor=1e-8):
    """The matrix |H|, and its inverse."""
    if not proper(gradient, hessian):
        raise ValueError("Hessian")
    values, vectors = np.linalg.eigh(hessian)
    sizes = np.abs(values)
    magnitude = vectors @ np.diag(np.clip(sizes, floor * sizes.max(), None)) @ vectors.T
    return -np.linalg.inv(magnitude) @ gradient


def recursive_search(f, x, direction, start=1.0, shrink=0.5, share=1e-4, tries=40):
    if not start > 0:
        raise ValueError("start")
    if not (0 < shrink < 1) or not (0 < share < 1):
        raise ValueError("range")
    value, slope = f(x), np.dot(f.gradient(x), direction)
    if math.isnan(slope) or slope >= 0:
        raise ValueError("uphill")

    def search(step, left):
        if left == 0:
            return 0.0
        new = f(x + step * direction)
        return step if new - value <= share * step * float(slope) else search(step * shrink, left - 1)

    return search(start, tries)


def search_by_loop(f, x, direction, start=1.0, shrink=0.5, share=1e-4, tries=40):
    if start <= 0 or math.isnan(start) or not 0 < shrink < 1 or not 0 < share < 1:
        raise ValueError("numbers")
    slope = float(np.sum(f.gradient(x) * direction))
    if not slope < 0:
        raise ValueError("uphill")
    value, step, k = f(x), start, 0
    while k < tries:
        new = f(x + step * direction)
        if not math.isnan(new) and value + share * step * slope >= new:
            return float(step)
        step, k = shrink * step, k + 1
    return 0


def theta_by_removal(row, total):
    """All stay at first; whoever would be negative is left out, until nobody is."""
    top, row = row.max(), row - row.max()
    while True:
        theta = (row.sum() - total) / len(row)
        if (row > theta).all() or len(row) == 1:
            return theta + top
        row = row[row > theta]


def theta_by_breakpoints(row, total):
    """The sum of max(row - theta, 0) falls piece by piece: find the piece, then the place."""
    top, ranked = row.max(), sorted(row - row.max(), reverse=True)
    for k in range(1, len(ranked) + 1):
        theta = (math.fsum(ranked[:k]) - total) / k
        if k == len(ranked) or ranked[k] <= theta:
            return theta + top
    return None


def pivoted(x, total=1.0):
    """The support by comparison, then its theta."""
    if not legal(x, total):
        raise ValueError("input")
    top = x.max(axis=-1, keepdims=True)
    ranked = -np.sort(top - x, axis=-1)
    sums = np.cumsum(ranked, axis=-1) - x.dtype.type(total)
    k = (ranked * np.arange(1, x.shape[-1] + 1).astype(x.dtype) > sums).sum(axis=-1, keepdims=True)
    theta = np.take_along_axis(sums, np.maximum(k, 1) - 1, axis=-1) / k.astype(x.dtype)
    return np.clip(x - top - theta, 0, None), (top + theta)[..., 0]


def precise(theta):
    """In coordinates relative to the largest, for w."""

    def project_to_simplex(x, total=1.0):
        needed(legal(x, total))
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        relative = np.array([theta(row - row.max(), total) for row in rows], dtype=x.dtype).reshape(x.shape[:-1])
        top = x.max(axis=-1)
        return np.maximum(x - top[..., None] - relative[..., None], 0), relative + top

    return project_to_simplex


def by_rows_of_data(layers, x):
    """One row after the other."""
    found = []
    for row in x:
        point, volume = row[None], 0.0
        for layer in layers:
            sign, size = np.linalg.slogdet(layer.jacobian(point)[0])
            if sign == 0:
                raise ValueError("singular")
            volume, point = volume + float(size), layer(point)
        found.append(float(log_normal(point)[0]) + volume)
    return np.array(found, dtype=x.dtype)


def by_the_whole_jacobian(layers, x):
    """The product of all Jacobians, rescaled on the way, and its determinant at last."""
    z, whole, scales = (
        x,
        np.broadcast_to(np.eye(x.shape[1], dtype=x.dtype), (len(x), x.shape[1], x.shape[1])),
        np.zeros(len(x), x.dtype),
    )
    for layer in layers:
        j = layer.jacobian(z)
        if (np.linalg.slogdet(j)[0] == 0).any():
            raise ValueError("singular")
        size = np.abs(j).max(axis=(1, 2), initial=0)
        whole, scales, z = (j / size[:, None, None]) @ whole, scales + x.shape[1] * np.log(size), layer(z)
    return log_normal(z) + scales + np.linalg.slogdet(whole)[1]


def by_singular_values(layers, x):
    log_sizes, z = [np.zeros(len(x), x.dtype)], x
    for layer in layers:
        j = layer.jacobian(z)
        if not np.all(np.linalg.slogdet(j)[0]):
            raise ValueError("singular")
        log_sizes.append(np.log(np.linalg.svd(j, compute_uv=False)).sum(axis=1))
        z = layer(z)
    return log_normal(z) + sum(log_sizes)


VARIANTS = {
    "central_difference": {
        "all points at once": vectorised_difference,
        "one buffer": difference_in_one_buffer,
        "by a function of the axis": difference_by(both_sides),
        "logarithms for the root": Edit("float(np.cbrt(np.finfo(x.dtype).eps))", "math.exp(math.log(np.finfo(x.dtype).eps) / 3)"),
    },
    "gradient_check": {
        "a function of one number": check_along_a_line,
        "all slopes first": check_at_once,
        "by functions": check_by(),
    },
    "jacobian": {
        "filled": jacobian_filled,
        "transposed": jacobian_transposed,
        "by functions": lambda f, x: (
            np.column_stack([f.jvp(x, axis) for axis in axes(x)])
            if len(x) <= (m := len(f(x)))
            else np.vstack([f.vjp(x, axis) for axis in np.eye(m, dtype=x.dtype)])
        ),
    },
    "hessian_vector_product": {
        "along the unit vector": product_of_unit,
        "both halves": product_from_both_halves,
        "by functions": product_by(),
    },
    "newton_step": {
        "singular values": by_polar_factor,
        "one direction at a time": one_direction_at_a_time,
        "by functions": step_by(),
        "a matrix inverse": inverted,
    },
    "backtracking": {
        "recursive": recursive_search,
        "a loop": search_by_loop,
        "by functions": search_by(),
    },
    "project_to_simplex": {
        "the support by comparison": pivoted,
        "who is negative is left out": precise(theta_by_removal),
        "break points": precise(theta_by_breakpoints),
        "row by row": precise(sorted_theta),
    },
    "flow_log_density": {
        "row by row": by_rows_of_data,
        "the whole Jacobian": by_the_whole_jacobian,
        "singular values": by_singular_values,
        "by functions": density_by(),
    },
}


PRODUCT = "the scalar product is symmetric"
EQUIVALENT = {
    "gradient_check": {
        "operands: slope - float(gradient @ d) -> float(gradient @ d) - slope": "only the magnitude is looked at",
        "operands: gradient @ d -> d @ gradient": PRODUCT,
    },
    "jacobian": {
        "argument ignored: f(x) -> f(np.zeros_like(x))": "only the number of outputs is looked at, and f has as many everywhere"
    },
    "newton_step": {
        "operands: hessian - hessian.T -> hessian.T - hessian": "only the norm of the difference is looked at",
    },
    "backtracking": {"operands: f.gradient(x) @ direction -> direction @ f.gradient(x)": PRODUCT},
}
