"""What a right answer to foundations/linear_algebra must do. Truths: LAPACK by way of NumPy and SciPy, closed forms, and what defines each factor."""

import math

import numpy as np
import pytest
import scipy.linalg

from course.testing import Edit, assert_close, assert_equal, assert_finite, assert_true, raises

EXACT = 1e-11  # relative; right answers stay two orders below


def gaussian(draw, *size, dtype=np.float64):
    return draw.normal(*size).numpy().astype(dtype)


def orthonormal(draw, n, m):
    """m orthonormal columns of length n."""
    return np.linalg.qr(gaussian(draw, n, m))[0]


def with_values(draw, n, m, values):
    """An n by m matrix with these singular values."""
    k = len(values)
    return orthonormal(draw, n, k) * np.asarray(values) @ orthonormal(draw, m, k).T


def apart(draw, n, low=0.5):
    """n numbers above `low`, largest first, each at least a tenth from the next: their vectors are well determined."""
    return low + np.cumsum(0.1 + draw.uniform(n).numpy())[::-1]


def well(draw, n, m):
    """A matrix of full rank whose decompositions are well determined."""
    return with_values(draw, n, m, apart(draw, min(n, m)))


def symmetric(draw, values):
    v = orthonormal(draw, len(values), len(values))
    a = v * np.asarray(values) @ v.T
    return (a + a.T) / 2


def oriented(columns):
    """Columns turned so that the entry of largest magnitude is positive."""
    down = np.abs(columns.min(axis=0, initial=0)) > columns.max(axis=0, initial=0)
    return columns * np.where(down, -1, 1).astype(columns.dtype)


def assert_orthonormal(columns, *, what, hint="", tolerance=EXACT):
    expected, what = np.eye(columns.shape[1], dtype=columns.dtype), f"{what}, columns times columns,"
    assert_close(columns.T @ columns, expected, tolerance=tolerance, what=what, hint=hint, hint_for="values precision NaN")


def assert_positive_tops(columns, *, what):
    """Signs are as agreed: the entry of largest magnitude is positive."""
    top = columns[np.abs(columns).argmax(axis=0), np.arange(columns.shape[1])]
    hint = "turn the columns as `oriented` does, and those of U with those of V"
    assert_true(bool((top > 0).all()), f"the entry of largest magnitude of {what} is negative", hint=hint)


def powers(n, m):
    """A Vandermonde matrix: its columns depend on each other the more, the more there are."""
    return np.linspace(0, 1, n)[:, None] ** np.arange(m)


# --- QR ----------------------------------------------------------------------------------------------------------------


def assert_qr(impl, a, *, hint, tolerance=EXACT):
    q, r = impl.householder_qr(a)
    assert_finite(q, what="Q", hint=hint)
    assert_orthonormal(q, what="Q", hint=hint, tolerance=tolerance)
    below = "R is upper triangular: what lies below its diagonal is exactly 0, not nearly so"
    assert_equal(np.tril(r, -1), np.zeros_like(r), what="R below its diagonal", hint=below)
    assert_close(q @ r, a, tolerance=tolerance, what="Q R", hint=hint, hint_for="values precision")


@pytest.mark.stub("householder_qr")
@pytest.mark.parametrize("more", [0, 1, 4])
def test_q_is_orthonormal_and_r_triangular(impl, draw, more):
    """Q has orthonormal columns, R is upper triangular, and their product is the matrix."""
    m = draw.size()
    hint = (
        "each mirror sends the rest of its column to the first axis; Q is the product of the mirrors, of which m columns are kept"
    )
    assert_qr(impl, well(draw, m + more, m), hint=hint)


@pytest.mark.stub("householder_qr")
def test_q_stays_orthonormal_where_columns_are_nearly_dependent(impl, draw):
    """Q is orthonormal to the last digits also for an ill-conditioned matrix."""
    m = draw.integer(11, 14)  # with fewer columns, modified Gram–Schmidt still keeps eleven digits by luck
    hint = "Gram–Schmidt and Cholesky of AᵀA lose orthogonality as the columns come closer; mirrors cannot"
    assert_qr(impl, powers(m + draw.size(1, 6), m) * draw.number(0.5, 2), hint=hint)


@pytest.mark.stub("householder_qr")
def test_a_column_that_is_zero_or_depends_on_others(impl, draw):
    """Columns of zeros, and columns that depend on those before, still give an orthonormal Q."""
    n, m = draw.integer(5, 8), draw.integer(3, 5)
    a = well(draw, n, m)
    j = draw.integer(1, m - 1)
    repeated = a.copy()
    repeated[:, j] = a[:, 0]
    empty = a.copy()
    empty[:, j] = 0
    first = a.copy()
    first[:, 0] = 0
    hint = "a column of zeros has no direction to divide by: leave the mirror out; Q must be orthonormal all the same"
    for case in (empty, first, np.zeros((n, m))):
        assert_qr(impl, case, hint=hint)
    assert_qr(impl, repeated, hint="what is left of a dependent column is rounding; Q must be orthonormal all the same")


@pytest.mark.stub("householder_qr")
def test_a_pivot_of_zero(impl, draw):
    """A column that begins with 0 is reflected too."""
    m = draw.integer(2, 5)
    a = well(draw, m + draw.integer(0, 2), m)
    a[0, 0] = 0
    hint = "np.sign(0) is 0, and then the mirror is not the right one: take copysign, or ±1 by `x >= 0`"
    assert_qr(impl, a, hint=hint)
    assert_qr(impl, np.eye(m)[:, ::-1].copy(), hint=hint)


@pytest.mark.stub("householder_qr")
@pytest.mark.parametrize("sign", [1, -1])
def test_a_column_that_is_nearly_on_the_axis(impl, draw, sign):
    """A column that lies nearly on its axis, either way, loses no digits."""
    m = draw.integer(2, 4)
    a = well(draw, m + draw.integer(1, 3), m)
    a[1:, 0] *= 1e-8
    a[0, 0] = sign * draw.number(0.5, 2)
    hint = "add the norm with the sign of the first entry; with the other sign two nearly equal numbers are subtracted"
    assert_qr(impl, a, hint=hint, tolerance=1e-13)


@pytest.mark.stub("householder_qr")
def test_qr_of_large_and_of_tiny_numbers(impl, draw):
    """The size of the numbers does not matter."""
    m = draw.size()
    a = well(draw, m + draw.integer(0, 3), m)
    for scale in (1e-20, 1e20):
        q, r = impl.householder_qr(a * scale)
        hint = "no fixed threshold: what is small depends on the matrix"
        assert_orthonormal(q, what="Q", hint=hint)
        assert_close(q @ r / scale, a, tolerance=EXACT, what="Q R", hint=hint)


@pytest.mark.stub("householder_qr")
def test_qr_in_float32(impl, draw):
    """float32 in, float32 out."""
    m = draw.size()
    a = gaussian(draw, m + draw.integer(0, 3), m, dtype=np.float32)
    q, r = impl.householder_qr(a)
    hint = "make the identity in the dtype of the input"
    assert_close(q @ r, a, hint=hint, hint_for="values dtype", what="Q R")
    assert_close(q.T @ q, np.eye(m, dtype=np.float32), hint=hint, hint_for="values dtype", what="Qᵀ Q")
    assert_close(np.tril(r, -1), np.zeros_like(a, shape=(m, m)), hint=hint, hint_for="values dtype", what="R below its diagonal")


@pytest.mark.stub("householder_qr")
def test_fewer_rows_than_columns_are_refused(impl, draw):
    """A wide matrix is refused, a square one is not."""
    n = draw.size()
    a = well(draw, n, n)
    assert_close(np.matmul(*impl.householder_qr(a)), a, what="Q R of a square matrix", hint="n = m is legal")
    with raises(ValueError, hint="there is no thin QR with a square R where rows are fewer than columns"):
        impl.householder_qr(gaussian(draw, n, n + draw.integer(1, 3)))


@pytest.mark.stub("householder_qr")
def test_qr_of_no_columns(impl, draw):
    """A matrix without columns has factors without columns."""
    n = draw.size()
    for size in (n, 0):
        q, r = impl.householder_qr(np.zeros((size, 0)))
        assert_equal(q, np.zeros((size, 0)), what="Q", hint="nothing to reflect is no error")
        assert_equal(r, np.zeros((0, 0)), what="R", hint="nothing to reflect is no error")


# --- least squares -----------------------------------------------------------------------------------------------------


@pytest.mark.stub("least_squares")
@pytest.mark.parametrize("more", [0, 1, 5])
@pytest.mark.parametrize("columns", [None, 1, 3])
def test_least_squares_agree_with_lapack(impl, draw, more, columns):
    """The solution is LAPACK's, for one right-hand side and for several."""
    m = draw.size()
    a = well(draw, m + more, m)
    b = gaussian(draw, m + more, *(() if columns is None else (columns,)))
    hint = "R x = Qᵀ b, solved from the last row upwards; b may be one column or several, and x has its shape"
    assert_close(impl.least_squares(a, b), np.linalg.lstsq(a, b, rcond=None)[0], tolerance=EXACT, hint=hint)


@pytest.mark.stub("least_squares")
def test_half_the_digits_are_not_lost(impl, draw):
    """With a condition number of 10⁸, eight digits are lost and not sixteen."""
    m = draw.integer(3, 7)
    a = with_values(draw, m + draw.integer(0, 5), m, np.logspace(0, -8, m))
    x = gaussian(draw, m)
    hint = "AᵀA has the condition number squared, 10¹⁶, and no digit is left: do not form it"
    assert_close(impl.least_squares(a, a @ x), x, tolerance=1e-5, hint=hint, hint_for="values precision NaN")


@pytest.mark.stub("least_squares")
def test_least_squares_of_large_and_of_tiny_numbers(impl, draw):
    """Whether columns depend on each other is no question of size."""
    m = draw.size()
    a = well(draw, m + draw.integer(0, 3), m)
    b = gaussian(draw, len(a))
    expected = np.linalg.lstsq(a, b, rcond=None)[0]
    for scale in (1e-30, 1e30):
        found = impl.least_squares(a * scale, b) * scale
        assert_close(
            found, expected, tolerance=EXACT, hint="compare R's diagonal with its own largest entry, not with a fixed number"
        )


@pytest.mark.stub("least_squares")
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_columns_at_the_edge_of_dependence(impl, draw, precision):
    """n eps times the largest diagonal entry is where dependence begins."""
    m = draw.integer(2, 5)
    n = 2 * m + draw.integer(0, 3)
    edge = n * float(np.finfo(precision).eps)
    large, small = (int(i) for i in draw.permutation(m)[:2])
    a = 4 * np.eye(n, m, dtype=precision)
    a[large, large] = 8
    b = gaussian(draw, n, dtype=precision)
    hint = "|r_jj| ≤ n · eps(dtype) · max |r_ii| is refused, nothing above it: n counts rows, eps is that of the input's dtype"
    a[small, small] = 0.7 * 8 * edge
    with raises(ValueError, hint=hint):
        impl.least_squares(a, b)
    a[small, small] = 1.5 * 8 * edge
    found = impl.least_squares(a, b)
    expected = b[:m] / np.diag(a)
    assert_close(found / expected, np.ones(m, dtype=precision), hint=hint, what="x over what it must be")


@pytest.mark.stub("least_squares")
def test_dependent_columns_are_refused(impl, draw):
    """Columns that depend on each other have no single solution."""
    m = draw.integer(2, 5)
    n = m + draw.integer(0, 4)
    b = gaussian(draw, n)
    empty = gaussian(draw, n, m)
    empty[:, draw.integer(0, m - 1)] = 0
    last = np.triu(gaussian(draw, n, m)) + 3 * np.eye(n, m)
    last[:, -1] = last[:, 0]
    for a in (empty, last, np.zeros((n, m))):
        with raises(
            ValueError, hint="an entry on R's diagonal that is 0 but for rounding: there are many solutions, do not pick one"
        ):
            impl.least_squares(a, b)


@pytest.mark.stub("least_squares")
def test_more_unknowns_than_equations_are_refused(impl, draw):
    """Fewer equations than unknowns are refused, as many are not."""
    n = draw.size()
    a, b = well(draw, n, n), gaussian(draw, n)
    assert_close(a @ impl.least_squares(a, b), b, what="A x of a square matrix", hint="n = m is legal")
    with raises(ValueError, hint="householder_qr refuses a wide matrix already"):
        impl.least_squares(gaussian(draw, n, n + draw.integer(1, 3)), gaussian(draw, n))


@pytest.mark.stub("least_squares")
def test_least_squares_in_float32(impl, draw):
    """float32 in, float32 out."""
    m = draw.size()
    a = with_values(draw, m + draw.integer(0, 3), m, 1 + draw.uniform(m).numpy())
    b = gaussian(draw, len(a))
    expected = np.linalg.lstsq(a, b, rcond=None)[0].astype(np.float32)
    found = impl.least_squares(a.astype(np.float32), b.astype(np.float32))
    assert_close(found, expected, tolerance=1e-4, hint="float32 in, float32 out", hint_for="values dtype")


@pytest.mark.stub("least_squares")
def test_no_unknowns(impl, draw):
    """Without unknowns the solution is empty."""
    n, k = draw.size(), draw.size()
    assert_equal(impl.least_squares(np.zeros((n, 0)), gaussian(draw, n)), np.zeros(0), hint="`max` of nothing needs an `initial`")
    assert_equal(
        impl.least_squares(np.zeros((n, 0)), gaussian(draw, n, k)), np.zeros((0, k)), hint="a row for each unknown: none"
    )


# --- power iteration ---------------------------------------------------------------------------------------------------


@pytest.mark.stub("power_iteration")
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_so_many_steps_and_no_more(impl, draw, steps):
    """After `steps` steps v has the direction of the matrix's power times the start, and the value is vᵀ A v."""
    n = draw.size()
    a, start = gaussian(draw, n, n), gaussian(draw, n)
    v = np.linalg.matrix_power(a, steps) @ start
    v /= np.linalg.norm(v)
    value, vector = impl.power_iteration(a, start, steps)
    assert_close(
        vector, v, hint="one product with A and one division by the norm for each step, signs as they come", what="the vector"
    )
    hint = "the Rayleigh quotient vᵀ A v of the last v: it has a sign, and with a finite number of steps it is no norm"
    assert_close(value, float(v @ a @ v), hint=hint, what="the value")


@pytest.mark.stub("power_iteration")
def test_finds_the_eigenvalue_of_largest_magnitude(impl, draw):
    """The eigenvalue found is the one of largest magnitude, with its sign."""
    n = draw.size(2)
    values = -np.sign(draw.number(-1, 1)) * np.array([4.0] + [2 * (-1) ** i / (i + 1) for i in range(n - 1)])
    a = symmetric(draw, values)
    start = np.linalg.eigh(a)[1].sum(axis=1)  # something of every eigenvector
    value, vector = impl.power_iteration(a, start, 60)
    assert_close(
        value, float(values[0]), what="the value", hint="a negative eigenvalue is found with its sign: vᵀ A v, not ‖A v‖"
    )
    assert_close(a @ vector, values[0] * vector, what="A v", hint="v is an eigenvector by now")


@pytest.mark.stub("power_iteration")
@pytest.mark.parametrize("scale", [1e60, 1e-60])
def test_powers_neither_overflow_nor_vanish(impl, draw, scale):
    """A hundred steps with large or with tiny numbers."""
    n = draw.size()
    a = symmetric(draw, apart(draw, n))
    start = gaussian(draw, n)
    v = np.linalg.matrix_power(a / np.abs(a).max(), 100) @ start
    v /= np.linalg.norm(v)
    value, vector = impl.power_iteration(a * scale, start, 100)
    assert_finite(vector, what="the vector", hint="Aᵏ overflows or becomes 0: divide by the norm at every step")
    assert_close(vector, v, tolerance=1e-7, what="the vector", hint="divide by the norm at every step, whatever it is")
    assert_close(
        value / scale, float(v @ a @ v), tolerance=1e-7, what="the value", hint="the quotient belongs to the A that was given"
    )


@pytest.mark.stub("power_iteration")
def test_a_start_that_is_mapped_to_zero(impl, draw):
    """Where A v is 0, v is an eigenvector of eigenvalue 0, and stays."""
    n = draw.size(2)
    shift = np.eye(n, k=1)  # sends each axis to the one before, the first to 0
    j = draw.integer(0, n - 1)
    scale = draw.number(0.5, 3)
    hint = "‖A v‖ = 0 leaves nothing to divide by: stop, v is an eigenvector and its eigenvalue is 0"
    for a, start, expected in (
        (shift, np.eye(n)[j] * scale, np.eye(n)[0]),
        (np.zeros((n, n)), -np.eye(n)[j] * scale, -np.eye(n)[j]),
    ):
        value, vector = impl.power_iteration(a, start, n + 3)
        assert_finite(vector, what="the vector", hint=hint)
        assert_close(vector, expected, what="the vector", hint=hint)
        assert_close(value, 0.0, what="the value", hint=hint)


@pytest.mark.stub("power_iteration")
def test_a_start_without_direction_is_refused(impl, draw):
    """A start of zeros is refused, one with some zeros is not."""
    n = draw.size(2)
    a = gaussian(draw, n, n)
    axis = np.eye(n)[draw.integer(0, n - 1)]
    for length in (1.0, 1e-12):
        _, vector = impl.power_iteration(a, axis * length, 0)
        hint = "only a start of nothing but zeros has no direction, however short it is"
        assert_close(vector, axis, what="the vector of no steps", hint=hint)
    with raises(ValueError, hint="a start of zeros has no direction"):
        impl.power_iteration(a, np.zeros(n), draw.integer(0, 3))


@pytest.mark.stub("power_iteration")
def test_power_iteration_in_float32(impl, draw):
    """float32 in, float32 out."""
    n = draw.size()
    a, start = symmetric(draw, apart(draw, n)), 1 + draw.uniform(n).numpy()
    v = np.linalg.matrix_power(a, 3) @ start
    v /= np.linalg.norm(v)
    _, vector = impl.power_iteration(a.astype(np.float32), start.astype(np.float32), 3)
    assert_close(vector, v.astype(np.float32), tolerance=1e-4, hint="float32 in, float32 out", hint_for="values dtype")


# --- the rotation ------------------------------------------------------------------------------------------------------


def assert_rotation(impl, alpha, beta, gamma, *, hint):
    """c and s, held to what defines them."""
    c, s = impl.jacobi_rotation(alpha, beta, gamma)
    assert_close(c * c + s * s, 1.0, tolerance=1e-13, what="c² + s²", hint="c = 1 / √(1 + t²) and s = t c")
    size = max(abs(alpha), abs(beta), abs(gamma))
    left = c * s * (alpha / size - gamma / size) + beta / size * (c * c - s * s)
    assert_close(left, 0.0, what="what is left off the diagonal, relative to the matrix,", hint=hint)
    small = "of the two roots take the smaller: turn by 45 degrees at most, else the sweeps need not converge"
    assert_true(c >= abs(s) - 1e-15, "the rotation turns by more than 45 degrees", hint=small, detail=f"c = {c:.6g}, s = {s:.6g}")
    return c, s


@pytest.mark.stub("jacobi_rotation")
def test_the_rotation_makes_a_matrix_diagonal(impl, draw):
    """The rotated matrix is diagonal, and the angle at most 45 degrees."""
    for _ in range(8):
        alpha, beta, gamma = (float(x) for x in draw.normal(3))
        hint = "t² + 2θt − 1 = 0 with θ = (γ − α) / 2β, and J is [[c, s], [−s, c]]: mind the sign of s"
        assert_rotation(impl, alpha, beta, gamma, hint=hint)


@pytest.mark.stub("jacobi_rotation")
def test_equal_entries_are_turned_by_45_degrees(impl, draw):
    """With equal diagonal entries the angle is 45 degrees."""
    alpha, beta = draw.number(-3, 3), draw.number(0.5, 2)
    for own in (beta, -beta):
        c, s = assert_rotation(impl, alpha, own, alpha, hint="θ is 0, and sign(0) must count as 1: np.sign(0) would turn nothing")
        assert_close(np.array([c, abs(s)]), np.full(2, math.sqrt(0.5)), what="c and |s|", hint="θ = 0 gives t = 1, or −1")


@pytest.mark.stub("jacobi_rotation")
def test_what_is_diagonal_is_not_turned(impl, draw):
    """Without an off-diagonal entry there is no rotation."""
    alpha, gamma = draw.number(-3, 3), draw.number(-3, 3)
    for pair in ((alpha, gamma), (gamma, alpha), (alpha, alpha), (0.0, 0.0)):
        c, s = impl.jacobi_rotation(pair[0], 0.0, pair[1])
        assert_equal(
            [float(c), abs(float(s))], [1.0, 0.0], what="c and |s|", hint="beta = 0: nothing to divide by, nothing to turn"
        )


@pytest.mark.stub("jacobi_rotation")
@pytest.mark.parametrize("exponent", [-3, -9, -14, -20])
def test_a_small_angle_keeps_its_digits(impl, draw, exponent):
    """A small off-diagonal entry gives a small angle, exact to its last digits."""
    alpha, gap, beta = draw.number(-1, 1), draw.choice((-1.0, 1.0)) * draw.number(1, 2), draw.choice((-1.0, 1.0)) * 10.0**exponent
    gamma = alpha + gap
    angle = math.atan2(2 * beta, abs(gamma - alpha)) / 2 * math.copysign(1, gamma - alpha)
    c, s = impl.jacobi_rotation(alpha, beta, gamma)
    hint = "−θ + √(θ² + 1) subtracts two nearly equal numbers: take 1 / (|θ| + √(θ² + 1)), with the sign of θ, at any size of β"
    assert_close(s / math.sin(angle), 1.0, what="s over what it must be", hint=hint)
    assert_close(c, math.cos(angle), what="c", hint=hint)


@pytest.mark.stub("jacobi_rotation")
def test_angles_too_small_to_be_squared(impl, draw):
    """An angle that is next to nothing is 0, without an overflow."""
    gap = draw.choice((-1.0, 1.0)) * draw.number(1, 2)
    for beta, scale in ((1e-170, 1.0), (1e-250, 1e80), (-1e-200, 1e150)):
        c, s = impl.jacobi_rotation(0.0, beta, gap * scale)
        hint = "θ² overflows where θ does not: math.hypot(θ, 1)"
        assert_close(np.array([c, s]), np.array([1.0, 0.0]), what="c and s", hint=hint, hint_for="values NaN")


@pytest.mark.stub("jacobi_rotation")
def test_entries_of_any_size(impl, draw):
    """Only the ratios of the entries matter."""
    alpha, beta, gamma = (float(x) for x in draw.normal(3))
    for scale in (1e-60, 1e60):
        assert_rotation(impl, alpha * scale, beta * scale, gamma * scale, hint="no fixed threshold: only ratios matter")


# --- eigenvalues -------------------------------------------------------------------------------------------------------


@pytest.mark.stub("jacobi_eigh")
def test_eigenvalues_and_vectors_agree_with_lapack(impl, draw):
    """Eigenvalues come largest first, and the vectors stand in the same order, turned as agreed."""
    n = draw.size(1, 9)
    values = apart(draw, n, low=-3)
    a = symmetric(draw, values)
    found, vectors = impl.jacobi_eigh(a)
    assert_close(
        found, np.linalg.eigvalsh(a)[::-1].copy(), tolerance=EXACT, what="the eigenvalues", hint="largest first, with their signs"
    )
    expected = oriented(np.linalg.eigh(a)[1][:, ::-1])
    hint = "columns, in the order of the values, each turned by `oriented`: v collects every rotation from the right"
    assert_close(vectors, expected, what="the eigenvectors", hint=hint)
    assert_orthonormal(vectors, what="the eigenvectors", hint="rotations keep them orthonormal")


@pytest.mark.stub("jacobi_eigh")
def test_larger_matrices_converge_too(impl, draw):
    """A larger matrix is diagonal after all sweeps."""
    n = draw.integer(12, 16)
    a = gaussian(draw, n, n)
    a = a + a.T
    values, vectors = impl.jacobi_eigh(a)
    hint = "one sweep undoes part of what it did: sweep until nothing is left, SWEEPS times"
    assert_close(values, np.linalg.eigvalsh(a)[::-1].copy(), tolerance=EXACT, what="the eigenvalues", hint=hint)
    assert_close(a @ vectors, vectors * values, tolerance=EXACT, what="A V", hint=hint)
    assert_positive_tops(vectors, what="an eigenvector")


@pytest.mark.stub("jacobi_eigh")
def test_equal_eigenvalues(impl, draw):
    """Eigenvalues that are equal have orthonormal vectors too."""
    n = draw.integer(3, 6)
    u = orthonormal(draw, n, 1)
    height = draw.number(1, 4)
    plane = height * u @ u.T - np.eye(n)  # one eigenvalue by itself, n − 1 equal ones
    for a, expected in (
        (plane, [height - 1] + [-1.0] * (n - 1)),
        (np.ones((n, n)), [float(n)] + [0.0] * (n - 1)),
        (np.eye(n) * height, [height] * n),
        (np.zeros((n, n)), [0.0] * n),
    ):
        values, vectors = impl.jacobi_eigh(a)
        assert_close(
            values,
            np.array(expected),
            tolerance=EXACT,
            what="the eigenvalues",
            hint="equal diagonal entries are turned by 45 degrees",
        )
        assert_orthonormal(vectors, what="the eigenvectors", hint="every rotation keeps the columns orthonormal")
        assert_close(a @ vectors, vectors * values, tolerance=EXACT, what="A V", hint="each column belongs to its own value")


@pytest.mark.stub("jacobi_eigh")
def test_a_diagonal_matrix_is_only_sorted(impl, draw):
    """A diagonal matrix is sorted by value, not by magnitude."""
    n = draw.size()
    values = gaussian(draw, n) * 3
    order = np.argsort(-values)
    found, vectors = impl.jacobi_eigh(np.diag(values))
    assert_close(found, values[order], what="the eigenvalues", hint="largest first: −5 comes after 1")
    assert_close(vectors, np.eye(n)[:, order], what="the eigenvectors", hint="sort the columns with the values")


@pytest.mark.stub("jacobi_eigh")
def test_what_is_not_symmetric_is_refused(impl, draw):
    """A matrix that is not symmetric is refused, rounding apart."""
    n = draw.integer(2, 6)
    a = symmetric(draw, apart(draw, n))
    a /= np.linalg.norm(a)
    i, j = 0, draw.integer(1, n - 1)
    for scale in (1.0, 1e-12, 1e12):
        for off, refused in ((1.0, True), (2e-3, True), (1e-7, False)):
            b = a * scale
            b[i, j] += off * scale
            if refused:
                with raises(ValueError, hint="compare A with its transpose: by 1e-5 of its norm at most, whatever its size"):
                    impl.jacobi_eigh(b)
            else:
                values, _ = impl.jacobi_eigh(b)
                what = "the eigenvalues of a matrix that rounding made unsymmetric"
                assert_close(
                    values / scale, np.linalg.eigvalsh(a)[::-1].copy(), tolerance=1e-6, what=what, hint="rounding is no error"
                )
    b = np.diag(apart(draw, n))
    expected = np.diag(b).copy()
    b[i, j] = 1e-7  # beside a zero, on the other side of the diagonal
    values, _ = impl.jacobi_eigh(b)
    hint = "the norm of the difference counts, not how entries compare one by one: rounding falls beside zeros too"
    assert_close(values, expected, tolerance=1e-6, what="the eigenvalues of a diagonal matrix but for rounding", hint=hint)
    for shape in ((n, n + 1), (1, n), (n, 1)):
        with raises(ValueError, hint="a symmetric matrix is square; beware that (n, 1) and (1, n) broadcast"):
            impl.jacobi_eigh(np.zeros(shape))


@pytest.mark.stub("jacobi_eigh")
def test_eigenvalues_in_float32(impl, draw):
    """float32 in, float32 out."""
    n = draw.size()
    a = symmetric(draw, apart(draw, n)).astype(np.float32)
    values, vectors = impl.jacobi_eigh(a)
    hint = "make the identity and the rotation in the dtype of the input"
    assert_close(values, np.linalg.eigvalsh(a)[::-1].copy(), hint=hint, hint_for="values dtype", what="the eigenvalues")
    assert_close(a @ vectors, vectors * values, tolerance=1e-4, hint=hint, hint_for="values dtype", what="A V")


@pytest.mark.stub("jacobi_eigh")
def test_eigenvalues_of_nothing(impl):
    """An empty matrix has no eigenvalues."""
    values, vectors = impl.jacobi_eigh(np.zeros((0, 0)))
    assert_equal(values, np.zeros(0), what="the eigenvalues", hint="no pair of axes, nothing to do")
    assert_equal(vectors, np.zeros((0, 0)), what="the eigenvectors", hint="no pair of axes, nothing to do")


# --- singular values ---------------------------------------------------------------------------------------------------


def assert_svd(impl, a, *, hint, tolerance=EXACT):
    u, s, vt = impl.svd(a)
    expected = np.linalg.svd(a, compute_uv=False)
    assert_close(
        s,
        expected,
        tolerance=tolerance,
        what="the singular values",
        hint="lengths of the turned columns, largest first, never negative",
    )
    assert_close(u * s @ vt, a, tolerance=tolerance, what="U diag(s) Vᵀ", hint=hint)
    assert_orthonormal(u, what="U", hint=hint, tolerance=tolerance)
    assert_orthonormal(vt.T, what="V", hint=hint, tolerance=tolerance)
    return u, s, vt


@pytest.mark.stub("svd")
@pytest.mark.parametrize("shape", ["tall", "square", "wide"])
def test_the_singular_value_decomposition(impl, draw, shape):
    """U and V are orthonormal, the values are LAPACK's, and the product is the matrix."""
    k, more = draw.size(), draw.integer(1, 4)
    n, m = {"tall": (k + more, k), "square": (k, k), "wide": (k, k + more)}[shape]
    a = well(draw, n, m)
    hint = "thin factors, U (n, k) and Vᵀ (k, m); a wide matrix is transposed, and then U and V change places"
    _, _, vt = assert_svd(impl, a, hint=hint)
    expected = oriented(np.linalg.svd(a, full_matrices=False)[2].T).T
    hint = "rows of Vᵀ in the order of the values, V's columns turned by `oriented`, and U's with them"
    assert_close(vt, expected, what="Vᵀ", hint=hint)


@pytest.mark.stub("svd")
def test_svd_of_larger_matrices(impl, draw):
    """A larger matrix converges too."""
    n, m = draw.integer(10, 14), draw.integer(10, 14)
    _, _, vt = assert_svd(impl, gaussian(draw, n, m), hint="sweep over all pairs of columns, SWEEPS times")
    assert_positive_tops(vt.T, what="a right singular vector")


@pytest.mark.stub("svd")
def test_svd_of_dependent_columns(impl, draw):
    """U and V are orthonormal also where singular values are 0."""
    k = draw.integer(2, 5)
    n, m = k + draw.integer(0, 3), k + draw.integer(0, 3)
    rank = draw.integer(1, k - 1)
    a = with_values(draw, n, m, 1 + draw.uniform(rank).numpy())
    hint = "a column of length 0 gives U no direction: complete it to an orthonormal set, as householder_qr does"
    empty = gaussian(draw, n, m)
    empty[:, draw.integer(0, m - 1)] = 0
    for case in (empty, a, np.ones((n, m)), np.zeros((n, m))):
        _, s, _ = assert_svd(impl, case, hint=hint)
        assert_true(bool((s >= 0).all()), "a singular value is negative", hint="lengths are not: move the sign into U")


@pytest.mark.stub("svd")
@pytest.mark.parametrize("exponent", [-4, -6, -7, -11])
def test_small_singular_values_keep_their_digits(impl, draw, exponent):
    """Small singular values are not lost in a square."""
    k, small = draw.integer(2, 5), 10.0**exponent * draw.number(1, 3)
    a = np.vstack([np.ones((1, k)), small * np.eye(k)])  # Läuchli's: √(k + ε²) once, and ε for all others
    for case in (a, a.T.copy()):
        u, s, vt = impl.svd(case)
        hint = "AᵀA holds ε² beside 1, where ε² is lost: turn the columns of A itself, and round nothing down to 0"
        assert_close(
            s[1:] / small,
            np.ones(k - 1),
            tolerance=max(1e-6, 10.0 ** (-14 - exponent)),  # LAPACK's own digits
            what="the small singular values over ε",
            hint=hint,
            hint_for="values precision",
        )
        assert_orthonormal(u, what="U", hint=hint)
        assert_orthonormal(vt.T, what="V", hint=hint)
        assert_close(u * s @ vt, case, tolerance=EXACT, what="U diag(s) Vᵀ", hint=hint)


@pytest.mark.stub("svd")
def test_svd_of_a_single_row_or_column(impl, draw):
    """One row or one column is a direction and a length."""
    n = draw.size(2)
    x = gaussian(draw, n)
    for a in (x[:, None], x[None], -np.abs(x[:, None]), np.array([[-2.0]])):
        _, _, vt = assert_svd(impl, a, hint="the sign goes where `oriented` wants it, by V")
        assert_positive_tops(vt.T, what="V")


@pytest.mark.stub("svd")
def test_svd_of_large_and_of_tiny_numbers(impl, draw):
    """The size of the numbers does not matter."""
    n, m = draw.size(), draw.size()
    a = gaussian(draw, n, m)
    expected = np.linalg.svd(a, compute_uv=False)
    for scale in (1e-60, 1e60):
        u, s, vt = impl.svd(a * scale)
        assert_close(s / scale, expected, tolerance=EXACT, what="the singular values over the scale", hint="no fixed threshold")
        assert_close(u * (s / scale) @ vt, a, tolerance=EXACT, what="U diag(s) Vᵀ", hint="no fixed threshold")


@pytest.mark.stub("svd")
def test_svd_in_float32(impl, draw):
    """float32 in, float32 out."""
    n, m = draw.size(), draw.size()
    a = gaussian(draw, n, m, dtype=np.float32)
    u, s, vt = impl.svd(a)
    hint = "make the identity and the rotation in the dtype of the input"
    assert_close(s, np.linalg.svd(a, compute_uv=False), hint=hint, hint_for="values dtype", what="the singular values")
    assert_close(u * s @ vt, a, tolerance=1e-4, hint=hint, hint_for="values dtype", what="U diag(s) Vᵀ")


@pytest.mark.stub("svd")
@pytest.mark.parametrize("wide", [False, True])
def test_svd_of_nothing(impl, draw, wide):
    """A matrix without rows or columns has no singular values."""
    n = draw.size()
    shape = (0, n) if wide else (n, 0)
    u, s, vt = impl.svd(np.zeros(shape))
    assert_equal(u, np.zeros((shape[0], 0)), what="U", hint="k is the smaller of n and m: 0")
    assert_equal(s, np.zeros(0), what="the singular values", hint="k is the smaller of n and m: 0")
    assert_equal(vt, np.zeros((0, shape[1])), what="Vᵀ", hint="k is the smaller of n and m: 0")


# --- low rank ----------------------------------------------------------------------------------------------------------


@pytest.mark.stub("low_rank")
@pytest.mark.parametrize("shape", ["tall", "square", "wide"])
def test_the_nearest_matrix_of_a_rank(impl, draw, shape):
    """The product of the factors is the truncated decomposition, at every rank."""
    m, more = draw.size(), draw.integer(1, 3)
    n, m = {"tall": (m + more, m), "square": (m, m), "wide": (m, m + more)}[shape]
    a = well(draw, n, m)
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    for k in range(1, min(n, m) + 1):
        b, c = impl.low_rank(a, k)
        hint = "the k LARGEST singular values with their vectors, and none of the others"
        assert_close(b @ c, u[:, :k] * s[:k] @ vt[:k], tolerance=EXACT, what=f"the product at rank {k} of {min(n, m)}", hint=hint)
        half = "each factor has the root of the singular value: BᵀB and CCᵀ are both diag(s)"
        assert_close(b.T @ b, np.diag(s[:k]), tolerance=EXACT, what="Bᵀ B", hint=half)
        assert_close(c @ c.T, np.diag(s[:k]), tolerance=EXACT, what="C Cᵀ", hint=half)


@pytest.mark.stub("low_rank")
def test_a_rank_that_is_none_is_refused(impl, draw):
    """Ranks below 1 and above the smaller side are refused, that of the smaller side is not."""
    n = draw.size()
    m = n + draw.integer(1, 3)
    a = well(draw, n, m)
    for case in (a, a.T.copy(), a[:, :n].copy()):
        most = min(case.shape)
        assert_close(np.matmul(*impl.low_rank(case, most)), case, what="the product at full rank", hint="k = min(n, m) is legal")
        for k in (0, -1, most + 1, m + 2):
            with raises(ValueError, hint=f"a matrix of {case.shape} has a rank of 1 to {most}: slicing would not complain"):
                impl.low_rank(case, k)


@pytest.mark.stub("low_rank")
def test_more_rank_than_there_is(impl, draw):
    """A matrix of lower rank is met exactly."""
    n, m = draw.integer(3, 6), draw.integer(3, 6)
    rank = draw.integer(1, 2)
    a = with_values(draw, n, m, 1 + draw.uniform(rank).numpy())
    for k in (rank, rank + 1):
        b, c = impl.low_rank(a, k)
        assert_finite(b, what="the left factor", hint="the root of a singular value that is 0 is 0")
        assert_close(b @ c, a, tolerance=EXACT, what="the product", hint="nothing is lost where the rank suffices")
    b, c = impl.low_rank(np.zeros((n, m)), 1)
    assert_close(b @ c, np.zeros((n, m)), what="the product for a matrix of zeros", hint="nothing to divide by")


@pytest.mark.stub("low_rank")
def test_low_rank_in_float32(impl, draw):
    """float32 in, float32 out."""
    n, m = draw.size(2), draw.size(2)
    a = well(draw, n, m)
    k = draw.integer(1, min(n, m))
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    b, c = impl.low_rank(a.astype(np.float32), k)
    expected = (u[:, :k] * s[:k] @ vt[:k]).astype(np.float32)
    assert_close(b @ c, expected, tolerance=2e-4, hint="float32 in, float32 out", hint_for="values dtype", what="the product")


# --- principal components ----------------------------------------------------------------------------------------------


def spread(draw, n, d):
    """n items of d numbers about a mean far from 0, whose covariance has eigenvalues apart from each other."""
    k = min(n - 1, d)
    q = np.linalg.qr(np.column_stack([np.ones(n), gaussian(draw, n, k)]))[0][:, 1 : k + 1]  # orthogonal to a constant
    x = q * apart(draw, k) @ orthonormal(draw, d, k).T
    return x + 5 * gaussian(draw, d)


@pytest.mark.stub("pca")
@pytest.mark.parametrize("shape", ["many items", "many numbers"])
def test_components_are_those_of_the_covariance(impl, draw, shape):
    """Mean, directions and variances are those of the covariance matrix."""
    low, high = draw.size(2), draw.integer(2, 5)
    n, d = (low + high, low) if shape == "many items" else (low, low + high)
    x = spread(draw, n, d)
    k = draw.integer(1, min(n - 1, d))
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x.T)))
    mean, directions, variances = impl.pca(x, k)
    assert_close(mean, x.mean(axis=0), what="the mean", hint="of each number over the items")
    hint = "the singular values of the CENTRED items, squared, over n − 1"
    assert_close(variances, values[::-1][:k].copy(), tolerance=1e-9, what="the variances", hint=hint)
    hint = "the first k rows of Vᵀ, signs as `svd` has them; centre the items first, and do not scale them"
    assert_close(directions, oriented(vectors[:, ::-1][:, :k]).T, tolerance=1e-7, what="the directions", hint=hint)


@pytest.mark.stub("pca")
def test_the_mean_is_taken_off(impl, draw):
    """Moving all items moves the mean alone."""
    n, d = draw.integer(4, 8), draw.integer(2, 4)
    x, move = spread(draw, n, d), 100 * gaussian(draw, d)
    k = draw.integer(1, min(n - 1, d))
    values, vectors = np.linalg.eigh(np.cov(x.T))
    mean, directions, variances = impl.pca(x + move, k)
    hint = "without centring the first direction points at the mean"
    assert_close(mean, x.mean(axis=0) + move, what="the mean", hint=hint)
    assert_close(variances, values[::-1][:k].copy(), tolerance=1e-8, what="the variances", hint=hint)
    assert_close(directions, oriented(vectors[:, ::-1][:, :k]).T, tolerance=1e-7, what="the directions", hint=hint)


@pytest.mark.stub("pca")
def test_deviations_far_below_the_first(impl, draw):
    """A direction in which items vary a billion times less still has its variance."""
    n, d = draw.integer(6, 9), draw.integer(2, 4)
    around = np.linalg.qr(np.column_stack([np.ones(n), gaussian(draw, n, d)]))[0][:, 1:]  # orthonormal, of mean 0
    deviations = np.logspace(0, -9, d)
    _, _, variances = impl.pca(around * deviations @ orthonormal(draw, d, d).T, d)
    found = np.sqrt(np.maximum(variances, 0) * (n - 1)) / deviations
    hint = "the covariance holds 10⁻¹⁸ beside 1, which is lost there: take the SVD of the centred items themselves"
    assert_close(
        found, np.ones(d), tolerance=1e-4, what="deviations over what they must be", hint=hint, hint_for="values precision"
    )


@pytest.mark.stub("pca")
def test_as_many_components_as_there_can_be(impl, draw):
    """As many components as the smaller side has are allowed, also where the last has no variance."""
    n, d = draw.integer(2, 6), draw.integer(1, 6)
    x = gaussian(draw, n, d) + 3
    k = min(n, d)
    _, directions, variances = impl.pca(x, k)
    values = np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T)))[::-1][:k]
    assert_close(variances, np.maximum(values, 0), tolerance=1e-9, what="the variances", hint="k = min(n, d) is legal")
    assert_orthonormal(directions.T, what="the directions", hint="orthonormal rows, all k of them")


@pytest.mark.stub("pca")
def test_impossible_requests_are_refused(impl, draw):
    """Too few items, and numbers of components that cannot be, are refused."""
    n = draw.integer(2, 5)
    d = n + draw.integer(1, 3)
    x = spread(draw, n, d)
    for legal in (x, x[:2]):
        _, _, variances = impl.pca(legal, 1)
        expected = np.linalg.eigvalsh(np.cov(legal.T))[-1:]
        assert_close(variances, expected, tolerance=1e-9, what="the variance", hint="one component, and two items, are legal")
    for case in (x, x.T.copy(), x[:, :n].copy()):
        for k in (0, -1, n + 1, d + 2):
            with raises(ValueError, hint=f"{len(case)} items have 1 to {n} components here: slicing would not complain"):
                impl.pca(case, k)
    for few in (x[:1], x[:0]):
        with raises(ValueError, hint="one item has no variance: n − 1 is 0"):
            impl.pca(few, 1)


@pytest.mark.stub("pca")
def test_pca_in_float32(impl, draw):
    """float32 in, float32 out."""
    n, d = draw.integer(4, 8), draw.integer(2, 3)
    x = spread(draw, n, d)
    x += 1 - x.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    mean, directions, variances = impl.pca(x.astype(np.float32), 1)
    hint = "float32 in, float32 out"
    assert_close(mean, np.ones(d, np.float32), tolerance=1e-5, what="the mean", hint=hint, hint_for="values dtype")
    assert_close(
        variances, values[-1:].astype(np.float32), tolerance=1e-4, what="the variances", hint=hint, hint_for="values dtype"
    )
    assert_close(
        directions,
        oriented(vectors[:, -1:]).T.astype(np.float32),
        tolerance=1e-3,
        what="the directions",
        hint=hint,
        hint_for="values dtype",
    )


# --- wrong answers -----------------------------------------------------------------------------------------------------


def classical_gram_schmidt(a):
    """Right until columns come close to each other. Wide matrices and empty columns are seen to, so that only orthogonality is amiss."""
    return gram_schmidt(a, times=1, modified=False)


def gram_schmidt(a, *, times, modified=True):
    n, m = a.shape
    if n < m:
        raise ValueError("wide")
    q, r = np.zeros((n, m), a.dtype), np.zeros((m, m), a.dtype)
    for j in range(m):
        w = a[:, j].copy()
        size = np.linalg.norm(w)
        for _ in range(times):
            if modified:
                for i in range(j):
                    h = q[:, i] @ w
                    r[i, j] += h
                    w -= h * q[:, i]
            else:
                h = q[:, :j].T @ w
                r[:j, j] += h
                w -= q[:, :j] @ h
        length = np.linalg.norm(w)
        if length <= 10 * np.finfo(a.dtype).eps * size:  # nothing left: any direction that the others do not have
            w = max((e - q[:, :j] @ (q[:, :j].T @ e) for e in np.eye(n, dtype=a.dtype)), key=np.linalg.norm)
            w -= q[:, :j] @ (q[:, :j].T @ w)
            q[:, j] = w / np.linalg.norm(w)
        else:
            r[j, j] = length
            q[:, j] = w / length
    return q, r


def cholesky_qr(a):
    if a.shape[0] < a.shape[1]:
        raise ValueError("wide")
    r = np.linalg.cholesky(a.T @ a).T
    return a @ np.linalg.inv(r), np.triu(r)


def lapack_qr(a, mode="reduced"):
    if a.shape[0] < a.shape[1]:
        raise ValueError("wide")
    return np.linalg.qr(a, mode)


def refused_if_dependent(a, factor=1.0):
    """R's diagonal by LAPACK, looked at as the docstring says."""
    diagonal = np.abs(np.diag(lapack_qr(a)[1]))
    if np.any(diagonal <= factor * len(a) * np.finfo(a.dtype).eps * diagonal.max(initial=0)):
        raise ValueError("dependent")


def normal_equations(a, b):
    refused_if_dependent(a)
    return np.linalg.solve(a.T @ a, a.T @ b) if a.shape[1] else np.zeros((0, *b.shape[1:]), b.dtype)


def through_cholesky(a, b):
    refused_if_dependent(a)
    r = np.linalg.cholesky(a.T @ a + 1e-15 * np.linalg.norm(a) ** 2 * np.eye(a.shape[1], dtype=a.dtype))
    return np.linalg.solve(r.T, np.linalg.solve(r, a.T @ b))


def least_norm(a, b):
    """Picks the shortest of many solutions where there are many."""
    if a.shape[0] < a.shape[1]:
        raise ValueError("wide")
    return np.linalg.lstsq(a, b, rcond=None)[0]


def normalised_last(a, start, steps):
    if not np.any(start):
        raise ValueError("zero")
    v = start
    for _ in range(steps):
        w = a @ v
        if not np.any(w):
            break
        v = w
    v = v / np.linalg.norm(v)
    return float(v @ a @ v), v


def power_by(*, norm=np.linalg.norm, value=lambda a, v: float(v @ a @ v), step=lambda a, v: a @ v, sign=lambda v: v):
    """Power iteration with one thing done otherwise."""

    def iteration(a, start, steps):
        if not np.any(start):
            raise ValueError("zero")
        v = start / norm(start)
        for _ in range(steps):
            w = step(a, v)
            if not np.any(w):
                break
            v = sign(w / norm(w))
        return value(a, v), v

    return iteration


def exact_eigenvector(a, start, steps):
    """Does not iterate at all."""
    if not np.any(start):
        raise ValueError("zero")
    values, vectors = np.linalg.eig(a)
    top = np.abs(values).argmax()
    v = vectors[:, top].real
    return float(values[top].real), v.astype(a.dtype)


def rotation_by(root, *, zero=(1.0, 0.0)):
    """A rotation from θ by another root."""

    def rotation(alpha, beta, gamma):
        if beta == 0:
            return zero
        t = root((gamma - alpha) / (2 * beta))
        c = 1 / math.hypot(t, 1)
        return c, t * c

    return rotation


def with_sign(theta, sign):
    return sign / (abs(theta) + math.hypot(theta, 1))


def eigh_by(*, keep=lambda values, vectors: (values, vectors), of=lambda a: a, orient=oriented):
    """LAPACK's eigenvalues, largest first, with one thing done otherwise."""

    def decomposition(a):
        if a.shape != a.T.shape or np.linalg.norm(a - a.T) > 1e-5 * np.linalg.norm(a):
            raise ValueError("not symmetric")
        values, vectors = np.linalg.eigh(of(a))
        values, vectors = keep(values[::-1].copy(), vectors[:, ::-1])
        return values, orient(vectors)

    return decomposition


def turned_by_first(columns):
    return columns * np.where(columns[:1] < 0, -1, 1)[0].astype(columns.dtype)


def svd_by(*, keep=lambda u, s, vt: (u, s, vt), of=np.linalg.svd, orient=oriented):
    """LAPACK's singular values with one thing done otherwise."""

    def decomposition(a):
        u, s, vt = keep(*of(a, full_matrices=False))
        if vt.shape[0] == 0:
            return u, s, vt
        v = orient(vt.T)
        flips = np.sign((v * vt.T).sum(axis=0)).astype(a.dtype)
        return u * flips, s, v.T

    return decomposition


def gram_svd(a, full_matrices=False):
    """By the eigenvalues of AᵀA, and a QR so that U is orthonormal all the same."""
    if a.shape[0] < a.shape[1]:
        u, s, vt = gram_svd(np.ascontiguousarray(a.T))
        return vt.T, s, u.T
    values, v = np.linalg.eigh(a.T @ a)
    v = v[:, ::-1]
    u, r = np.linalg.qr(a @ v)
    d = np.diag(r)
    return u * np.where(d < 0, -1, 1).astype(a.dtype), np.sqrt(np.maximum(values[::-1], 0)), v.T


def low_rank_by(factors, *, check=lambda k, a: 1 <= k <= min(a.shape)):
    """Factors of LAPACK's decomposition, put together by `factors`."""

    def decomposition(a, k):
        if not check(k, a):
            raise ValueError(f"rank {k}")
        return factors(*np.linalg.svd(a, full_matrices=False), k, a)

    return decomposition


def halves(u, s, vt, k):
    root = np.sqrt(s[:k])
    return u[:, :k] * root, root[:, None] * vt[:k]


def pca_by(
    *,
    centre=lambda x: x - x.mean(axis=0),
    variances=lambda s, x: s**2 / (len(x) - 1),
    mean=lambda x: x.mean(axis=0),
    check=lambda x, k: len(x) >= 2 and 1 <= k <= min(x.shape),
    rows=lambda vt, k: vt[:k],
    of=np.linalg.svd,
):
    """Principal components by LAPACK with one thing done otherwise."""

    def components(x, k):
        if not check(x, k):
            raise ValueError(f"{x.shape} and {k}")
        _, s, vt = of(centre(x), full_matrices=False)
        return mean(x), oriented(rows(vt, k).T).T, variances(s, x)[:k]

    return components


def covariance_pca(x, k):
    """By the eigenvalues of the covariance, which squares the condition number: right for the leading directions alone."""
    n, d = x.shape
    if n < 2 or k < 1 or k > n or k > d:
        raise ValueError("impossible")
    values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(x.T.astype(np.float64))))
    top = vectors[:, ::-1][:, :k]
    return x.mean(axis=0), oriented(top).T.astype(x.dtype), np.maximum(values[::-1][:k], 0).astype(x.dtype)


def short_start_refused(a, start, steps):
    """Takes a short start for none."""
    if np.allclose(start, 0):
        raise ValueError("zero")
    return power_by()(a, start, steps)


def entries_compared(a):
    """Holds each entry against its own partner, so that rounding beside a zero is refused."""
    if a.shape != a.T.shape or not np.allclose(a, a.T, atol=0):
        raise ValueError("not symmetric")
    return eigh_by()(a)


def doubled(function):
    """Computes in float64 and returns that."""

    def call(a, *rest):
        found = function(a.astype(np.float64), *(r.astype(np.float64) if isinstance(r, np.ndarray) else r for r in rest))
        return found

    return call


FAKES = {
    "householder_qr": {
        "the other sign": Edit("v[0] += np.copysign", "v[0] -= np.copysign"),
        "np.sign of the pivot": Edit("v[0] += np.copysign(np.linalg.norm(v), v[0])", "v[0] += np.sign(v[0]) * np.linalg.norm(v)"),
        "always plus the norm": Edit("np.copysign(np.linalg.norm(v), v[0])", "np.linalg.norm(v)"),
        "classical Gram–Schmidt": classical_gram_schmidt,
        "modified Gram–Schmidt": lambda a: gram_schmidt(a, times=1),
        "Cholesky of AᵀA": cholesky_qr,
        "the whole of Q": lambda a: lapack_qr(a, "complete"),
        "divided by nothing": Edit("if length > 0:", "if True:"),
        "R with rounding below": Edit("np.triu(r[:m])", "r[:m]"),
        "a wide matrix accepted": Edit("if n < m:", "if False:"),
        "a square matrix refused": Edit("if n < m:", "if n <= m:"),
        "written over its input": Edit("a.copy(), np.eye", "a, np.eye"),
        "right for square matrices only": Edit(
            "mirrors = a.copy(), np.eye(n, m, dtype=a.dtype), []",
            "mirrors = a.copy(), np.eye(n, m, dtype=a.dtype), []\n    m = min(m, n - 1)",
        ),
        "mirrors in the wrong order": Edit("reversed(range(m))", "range(m)"),
        "Q transposed": lambda a: (lapack_qr(a)[0].T, lapack_qr(a)[1]),
        "a mirror not of length 1": Edit("v /= length", "v /= max(length, 1)"),
        "float64 for all": lambda a: doubled(lapack_qr)(a),
        "the identity in float64": Edit(", dtype=a.dtype", ""),
        "small columns left out": Edit("if length > 0:", "if length > 1e-12:"),
    },
    "least_squares": {
        "the normal equations": normal_equations,
        "Cholesky of AᵀA with a ridge": through_cholesky,
        "only the diagonal of R": Edit("x[i] - r[i, i + 1 :] @ x[i + 1 :]", "x[i]"),
        "from the first row downwards": Edit("reversed(range(len(r)))", "range(len(r))"),
        "one right-hand side only": lambda a, b: least_norm_checked(a, b.ravel()[: len(a)]),
        "the shortest of many solutions": least_norm,
        "only exact zeros refused": Edit("len(a) * np.finfo(a.dtype).eps * diagonal.max(initial=0)", "0"),
        "a fixed threshold": Edit("len(a) * np.finfo(a.dtype).eps * diagonal.max(initial=0)", "1e-12"),
        "the eps of float64": Edit("np.finfo(a.dtype).eps", "np.finfo(np.float64).eps"),
        "columns counted, not rows": Edit("len(a) * np", "a.shape[1] * np"),
        "too strict": Edit("len(a) * np", "4 * len(a) * np"),
        "no columns, no maximum": Edit("initial=0", ""),
        "Q not transposed": Edit("q.T @ b", "q[: len(r)] @ b[: len(r)]"),
        "right for square matrices only": lambda a, b: (
            refused_if_dependent(a),
            np.linalg.solve(a[: a.shape[1]], b[: a.shape[1]]),
        )[1],
        "a coarse pseudo-inverse": lambda a, b: (refused_if_dependent(a), np.linalg.pinv(a, rcond=1e-7) @ b)[1],
        "float64 for all": doubled(lambda a, b: least_norm_checked(a, b)),
        "sums of R's rows forgotten behind the next": Edit(
            "r[i, i + 1 :] @ x[i + 1 :]", "r[i, i + 1 : i + 2] @ x[i + 1 : i + 2]"
        ),
    },
    "power_iteration": {
        "a short start refused": short_start_refused,
        "divided by the norm at the end only": normalised_last,
        "the norm for the value": power_by(value=lambda a, v: float(np.linalg.norm(a @ v))),
        "no iteration": exact_eigenvector,
        "one step more": Edit("range(steps)", "range(steps + 1)"),
        "one step less": Edit("range(steps)", "range(steps - 1)"),
        "a start of zeros accepted": Edit("if not np.any(start):", "if False:"),
        "a start with a zero refused": Edit("np.any(start)", "np.all(start)"),
        "NaN where A v is zero": Edit("if length == 0:", "if False:"),
        "zero where A v is zero": Edit("            break", "            return 0.0, w"),
        "tiny products taken for zero": Edit("if length == 0:", "if length < 1e-12:"),
        "signs thrown away": power_by(sign=np.abs),
        "turned to a positive first entry": power_by(sign=lambda v: v if v[0] >= 0 else -v),
        "divided by the largest entry": power_by(norm=lambda v: np.abs(v).max()),
        "Aᵀ, as if A were symmetric": power_by(step=lambda a, v: a.T @ v),
        "the ratio of first entries": power_by(value=lambda a, v: float((a @ v)[0] / v[0]) if v[0] else 0.0),
        "the value of the step before": Edit("v @ (a @ v)", "np.linalg.norm(a @ v)"),
        "the start not of length 1": Edit("start / np.linalg.norm(start)", "start"),
        "float64 for all": doubled(power_by()),
    },
    "jacobi_rotation": {
        "the larger root": rotation_by(lambda theta: -theta - math.copysign(1, theta) * math.hypot(theta, 1)),
        "np.sign of θ": rotation_by(lambda theta: with_sign(theta, float(np.sign(theta)))),
        "two nearly equal numbers subtracted": rotation_by(
            lambda theta: math.copysign(1, theta) * (math.hypot(theta, 1) - abs(theta))
        ),
        "the other way": rotation_by(lambda theta: -with_sign(theta, math.copysign(1, theta))),
        "the sign of θ forgotten": rotation_by(lambda theta: with_sign(theta, 1)),
        "θ squared": rotation_by(lambda theta: math.copysign(1, theta) / (abs(theta) + math.sqrt(theta**2 + 1))),
        "θ without the 2": Edit("(2 * beta)", "beta"),
        "θ upside down": Edit("(gamma - alpha) / (2 * beta)", "(alpha - gamma) / (2 * beta)"),
        "an angle of up to 90 degrees": lambda alpha, beta, gamma: (
            (1.0, 0.0)
            if beta == 0
            else (math.cos(math.atan2(2 * beta, gamma - alpha) / 2), math.sin(math.atan2(2 * beta, gamma - alpha) / 2))
        ),
        "nothing to divide by": Edit("if beta == 0:", "if False:"),
        "small entries left alone": Edit("if beta == 0:", "if abs(beta) < 1e-12:"),
        "a matrix that is diagonal turned by 45 degrees": rotation_by(
            lambda theta: with_sign(theta, math.copysign(1, theta)), zero=(math.sqrt(0.5), math.sqrt(0.5))
        ),
        "sine and cosine confused": Edit("return c, t * c", "return t * c, c"),
        "the tangent for the sine": Edit("return c, t * c", "return c, t"),
    },
    "jacobi_eigh": {
        "entries compared one by one": entries_compared,
        "smallest first": Edit("np.argsort(-np.diag(d))", "np.argsort(np.diag(d))"),
        "by magnitude": Edit("np.argsort(-np.diag(d))", "np.argsort(-np.abs(np.diag(d)))"),
        "vectors in rows": eigh_by(orient=lambda v: oriented(v).T),
        "signs as they come": Edit("oriented(v[:, order])", "[v[:, order]]"),
        "turned by the first entry": eigh_by(orient=turned_by_first),
        "a single sweep": Edit(" * SWEEPS", ""),
        "three sweeps": Edit(" * SWEEPS", " * 3"),
        "vectors not sorted": Edit("oriented(v[:, order])", "oriented(v)"),
        "anything accepted": Edit("a.shape[0] != a.shape[1] or np.linalg.norm(a - a.T) > 1e-5 * np.linalg.norm(a)", "False"),
        "shapes that broadcast accepted": Edit("a.shape[0] != a.shape[1] or ", ""),
        "compared by a fixed threshold": Edit("1e-5 * np.linalg.norm(a)", "1e-5"),
        "rounding refused": Edit("> 1e-5 * np.linalg.norm(a)", "> 0"),
        "made symmetric, not refused": Edit("np.linalg.norm(a - a.T) > 1e-5 * np.linalg.norm(a)", "a.ndim > 2"),
        "singular values": eigh_by(keep=lambda values, vectors: (np.abs(values), vectors)),
        "written over its input": Edit("a.copy(), np.eye", "a, np.eye"),
        "rows not turned": Edit("turn(d.T, p, q, c, s)", "pass"),
        "vectors turned the other way": Edit("turn(v, p, q, c, s)", "turn(v, p, q, c, -s)"),
        "rows of the vectors turned": Edit("turn(v, p, q, c, s)", "turn(v.T, p, q, c, s)"),
        "turned the wrong way": Edit(", c, s)", ", c, -s)"),
        "neighbours only": Edit("combinations(range(len(a)), 2)", "((p, p + 1) for p in range(len(a) - 1))"),
        "the identity in float64": Edit("np.eye(len(a), dtype=a.dtype)", "np.eye(len(a))"),
        "float64 for all": doubled(eigh_by()),
    },
    "svd": {
        "small singular values rounded down": svd_by(
            keep=lambda u, s, vt: (u, np.where(s < 1e-8 * s.max(initial=0), 0, s).astype(s.dtype), vt)
        ),
        "through AᵀA": svd_by(of=gram_svd),
        "smallest first": svd_by(keep=lambda u, s, vt: (u[:, ::-1], s[::-1].copy(), vt[::-1])),
        "V, not its transpose": svd_by(keep=lambda u, s, vt: (u, s, vt.T)),
        "the whole of U and V": lambda a: np.linalg.svd(a),
        "wide matrices not transposed": Edit("wide = a.shape[0] < a.shape[1]", "wide = False"),
        "U and V not exchanged back": Edit("u, v = v, u", "pass"),
        "square matrices transposed": Edit(
            "wide = a.shape[0] < a.shape[1]", "wide = a.shape[0] <= a.shape[1]\n    a = a.T if a.shape[0] == a.shape[1] else a"
        ),
        "columns of U divided by a zero": Edit(
            "householder_qr(w[:, order])",
            "(w[:, order] / np.linalg.norm(w[:, order], axis=0), np.diag(np.linalg.norm(w[:, order], axis=0)))",
        ),
        "columns of U left at zero": svd_by(keep=lambda u, s, vt: (u * (s > 1e-12 * s.max(initial=0)).astype(u.dtype), s, vt)),
        "signs as they come": Edit("v, u = oriented(v, u)", "pass"),
        "signs as LAPACK gives them": svd_by(orient=lambda v: v),
        "turned by U": Edit("v, u = oriented(v, u)", "u, v = oriented(u, v)"),
        "V turned, U not": Edit("v, u = oriented(v, u)", "(v,) = oriented(v)"),
        "values with signs": Edit("return u, np.abs(np.diag(r)), v.T", "return u, np.diag(r).copy(), v.T"),
        "signs of R forgotten in U": Edit("u * np.copysign(1, np.diag(r))", "u"),
        "V not turned along": Edit("turn(v, p, q, c, s)", "pass"),
        "squares": svd_by(keep=lambda u, s, vt: (u, s**2, vt)),
        "a single sweep": Edit(" * SWEEPS", ""),
        "two sweeps": Edit(" * SWEEPS", " * 2"),
        "columns not sorted": Edit("np.argsort(-np.linalg.norm(w, axis=0))", "np.arange(len(v))"),
        "written over its input": Edit("(a.T if wide else a).copy()", "a.T if wide else a"),
        "small values cut off": svd_by(
            keep=lambda u, s, vt: (u, np.where(s > 1e-6 * s.max(initial=0), s, 0).astype(s.dtype), vt)
        ),
        "float64 for all": doubled(svd_by()),
        "the identity in float64": Edit("np.eye(w.shape[1], dtype=a.dtype)", "np.eye(w.shape[1])"),
    },
    "low_rank": {
        "all of the values on the left": low_rank_by(lambda u, s, vt, k, a: (u[:, :k] * s[:k], vt[:k])),
        "all of the values on the right": low_rank_by(lambda u, s, vt, k, a: (u[:, :k], s[:k, None] * vt[:k])),
        "the values on both sides": low_rank_by(lambda u, s, vt, k, a: (u[:, :k] * s[:k], s[:k, None] * vt[:k])),
        "without the values": low_rank_by(lambda u, s, vt, k, a: (u[:, :k], vt[:k])),
        "the smallest values": low_rank_by(lambda u, s, vt, k, a: halves(u[:, ::-1], s[::-1], vt[::-1], k)),
        "one value more": low_rank_by(lambda u, s, vt, k, a: halves(u, s, vt, min(k + 1, len(s)))),
        "the first columns as they are": low_rank_by(
            lambda u, s, vt, k, a: (a[:, :k], np.linalg.lstsq(a[:, :k], a, rcond=None)[0])
        ),
        "everything, whatever the rank": low_rank_by(lambda u, s, vt, k, a: halves(u, s, vt, len(s))),
        "rows of U": low_rank_by(
            lambda u, s, vt, k, a: (
                (u[:k].T * np.sqrt(s[:k]), np.sqrt(s[:k, None]) * vt[:k])
                if u.shape[0] == u.shape[1]
                else halves(u[:, ::-1], s[::-1], vt[::-1], k)
            )
        ),
        "a rank of 0 accepted": low_rank_by(
            lambda u, s, vt, k, a: halves(u, s, vt, k), check=lambda k, a: 0 <= k <= min(a.shape)
        ),
        "too large a rank accepted": low_rank_by(lambda u, s, vt, k, a: halves(u, s, vt, k), check=lambda k, a: k >= 1),
        "the full rank refused": low_rank_by(
            lambda u, s, vt, k, a: halves(u, s, vt, k), check=lambda k, a: 1 <= k < min(a.shape)
        ),
        "held against the columns alone": low_rank_by(
            lambda u, s, vt, k, a: halves(u, s, vt, k), check=lambda k, a: 1 <= k <= a.shape[1]
        ),
        "float64 for all": doubled(low_rank_by(lambda u, s, vt, k, a: halves(u, s, vt, k))),
        "each entry's own root": low_rank_by(lambda u, s, vt, k, a: (u[:, :k] * np.sqrt(s[:k]), np.sqrt(s[0]) * vt[:k])),
    },
    "pca": {
        "not centred": pca_by(centre=lambda x: x),
        "centred by one mean for all": pca_by(centre=lambda x: x - x.mean()),
        "centred row by row": pca_by(centre=lambda x: x - x.mean(axis=1, keepdims=True)),
        "scaled to unit variance": pca_by(centre=lambda x: (x - x.mean(axis=0)) / x.std(axis=0)),
        "divided by n": pca_by(variances=lambda s, x: s**2 / len(x)),
        "standard deviations": pca_by(variances=lambda s, x: s / np.sqrt(np.asarray(len(x) - 1, x.dtype))),
        "singular values": pca_by(variances=lambda s, x: s),
        "shares of the variance": pca_by(variances=lambda s, x: s**2 / (s**2).sum()),
        "divided by the number of columns": pca_by(variances=lambda s, x: s**2 / max(1, x.shape[1] - 1)),
        "directions in columns": lambda x, k: (lambda mean, rows, variances: (mean, rows.T, variances))(*pca_by()(x, k)),
        "the last directions": pca_by(rows=lambda vt, k: vt[::-1][:k]),
        "directions as long as their deviation": lambda x, k: (lambda mean, rows, v: (mean, rows * np.sqrt(v)[:, None], v))(
            *pca_by()(x, k)
        ),
        "the mean of the centred": pca_by(mean=lambda x: (x - x.mean(axis=0)).mean(axis=0)),
        "a single item accepted": pca_by(check=lambda x, k: 1 <= k <= min(x.shape)),
        "no component accepted": pca_by(check=lambda x, k: len(x) >= 2 and 0 <= k <= min(x.shape)),
        "too many components accepted": pca_by(check=lambda x, k: len(x) >= 2 and k >= 1),
        "the last component refused": pca_by(check=lambda x, k: len(x) >= 2 and 1 <= k < min(x.shape)),
        "held against the columns alone": pca_by(check=lambda x, k: len(x) >= 2 and 1 <= k <= x.shape[1]),
        "written over its input": Edit("svd(x - mean)", "svd(np.subtract(x, mean, out=x))"),
        "float64 for all": doubled(pca_by()),
        "signs as they come": lambda x, k: (lambda mean, rows, v: (mean, -rows, v))(*pca_by()(x, k)),
        "the covariance": covariance_pca,
    },
}


# --- right answers, written differently --------------------------------------------------------------------------------


def least_norm_checked(a, b):
    refused_if_dependent(a)
    return np.linalg.lstsq(a, b, rcond=None)[0]


def givens_qr(a):
    """One entry after the other made 0 by a rotation of two rows."""
    n, m = a.shape
    if n < m:
        raise ValueError("wide")
    r, q = a.copy(), np.eye(n, dtype=a.dtype)
    for j in range(m):
        for i in range(n - 1, j, -1):
            x, y = float(r[i - 1, j]), float(r[i, j])
            length = math.hypot(x, y)
            c, s = (x / length, y / length) if length else (1.0, 0.0)
            turn = np.array([[c, s], [-s, c]], dtype=a.dtype)
            r[[i - 1, i]] = turn @ r[[i - 1, i]]
            q[:, [i - 1, i]] = q[:, [i - 1, i]] @ turn.T
    return q[:, :m].copy(), np.triu(r[:m])


def scipy_qr(a):
    if a.shape[0] < a.shape[1]:
        raise ValueError("wide")
    if a.shape[1] == 0:
        return a.copy(), np.zeros((0, 0), a.dtype)
    return scipy.linalg.qr(a, mode="economic")


def whole_mirrors_qr(a):
    """Every mirror as a full matrix."""
    n, m = a.shape
    if m > n:
        raise ValueError("wide")
    q, r = np.identity(n, dtype=a.dtype), a.copy()
    for j in range(m):
        x = np.where(np.arange(n) >= j, r[:, j], 0).astype(a.dtype)
        v = x.copy()
        v[j] += np.sqrt(x @ x) if x[j] >= 0 else -np.sqrt(x @ x)
        if np.any(v):
            h = np.identity(n, dtype=a.dtype) - np.outer(v, v) * (2 / (v @ v))
            q, r = q @ h, h @ r
    return q[:, :m], np.triu(r)[:m]


def triangular_least_squares(a, b):
    """LAPACK's triangular solver."""
    q, r = lapack_qr(a)
    size = np.abs(np.diagonal(r))
    if size.size and size.min() <= a.shape[0] * np.finfo(a.dtype).eps * size.max():
        raise ValueError("dependent")
    return scipy.linalg.solve_triangular(r, q.T @ b).astype(a.dtype) if size.size else np.zeros((0, *b.shape[1:]), a.dtype)


def singular_least_squares(a, b):
    """By the pseudo-inverse."""
    if a.shape[0] < a.shape[1]:
        raise ValueError("wide")
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    if np.any(s <= len(a) * np.finfo(a.dtype).eps * s.max(initial=0)):
        raise ValueError("dependent")
    return (vt.T / s) @ (u.T @ b)


def columnwise_least_squares(a, b):
    """Back substitution column by column of R: what is known is taken off all rows above."""
    q, r = scipy_qr(a)
    d = np.abs(np.diag(r))
    if (d <= len(a) * np.finfo(a.dtype).eps * max(d, default=0)).any():
        raise ValueError("dependent")
    y = (q.T @ b).copy()
    for j in range(len(r) - 1, -1, -1):
        y[j] = y[j] / r[j, j]
        y[:j] -= np.multiply.outer(r[:j, j], y[j])
    return y


def powered(a, start, steps):
    """Divided by the largest entry on the way, by the norm at the end."""
    if np.count_nonzero(start) == 0:
        raise ValueError("zero")
    v = start / np.abs(start).max()
    while steps > 0:
        w = np.einsum("ij,j->i", a, v)
        if np.abs(w).max() == 0:
            break
        v, steps = w / np.abs(w).max(), steps - 1
    v = v / np.sqrt(v @ v)
    return np.einsum("i,ij,j->", v, a, v), v


def recursive_power(a, start, steps):
    size = np.linalg.norm(start)
    if size == 0:
        raise ValueError("zero")
    v = start / size
    w = a @ v
    if steps < 1 or not w.any():
        return (v @ w).item(), v
    return recursive_power(a, w, steps - 1)


def half_angle_rotation(alpha, beta, gamma):
    """By the angle itself, folded into the range of 45 degrees either way."""
    if not beta:
        return 1.0, 0.0
    difference = gamma - alpha
    angle = 0.5 * math.atan2(2 * beta if difference >= 0 else -2 * beta, abs(difference))
    return math.cos(angle), math.sin(angle)


def double_angle_rotation(alpha, beta, gamma):
    """By the cosine of the double angle; the sine by 2 c s = sin."""
    if beta == 0:
        return 1, 0
    length = math.hypot(2 * beta, gamma - alpha)
    c = math.sqrt((1 + abs(gamma - alpha) / length) / 2)
    return c, math.copysign(1, gamma - alpha) * (beta / length) / c


def quotient_rotation(alpha, beta, gamma):
    """Golub and Van Loan's two cases, in NumPy."""
    if beta == 0.0:
        return np.float64(1), np.float64(0)
    with np.errstate(all="ignore"):
        tau = np.float64(gamma - alpha) / (2 * beta)
        t = 1 / (tau + np.hypot(1, tau)) if tau >= 0 else -1 / (np.hypot(1, tau) - tau)
    c = 1 / np.sqrt(1 + t * t)
    return c, t * c


def greedy_eigh(a):
    """Jacobi's own order: the largest entry first, until none is left."""
    if a.ndim != 2 or a.shape[0] != a.shape[1] or np.sqrt(((a - a.T) ** 2).sum()) > 1e-5 * np.sqrt((a**2).sum()):
        raise ValueError("not symmetric")
    n = len(a)
    d, v = ((a + a.T) / 2).astype(a.dtype), np.eye(n, dtype=a.dtype)
    for _ in range(20 * n * n):
        off = np.abs(np.triu(d, 1))
        if n < 2 or off.max() <= np.finfo(a.dtype).eps * np.abs(d).max() / 8:
            break
        p, q = np.unravel_index(off.argmax(), d.shape)
        c, s = half_angle_rotation(float(d[p, p]), float(d[p, q]), float(d[q, q]))
        j = np.eye(n, dtype=a.dtype)
        j[p, p], j[q, q], j[p, q], j[q, p] = c, c, s, -s
        d, v = j.T @ d @ j, v @ j
        d[p, q] = d[q, p] = 0
    order = np.diag(d).argsort()[::-1]
    v = v[:, order]
    return np.diag(d)[order], oriented(v) if n else v


def lapack_svd(a):
    return svd_by()(a)


def reduced_svd(a):
    """QR first, then one-sided Jacobi on the small triangle, until a sweep turns nothing."""
    if a.shape[0] < a.shape[1]:
        u, s, v = reduced_jacobi(np.ascontiguousarray(a.T))
        u, v = v, u
    else:
        u, s, v = reduced_jacobi(a)
    if not s.size:
        return u, s, v.T
    flips = np.where(v[np.abs(v).argmax(axis=0), np.arange(len(s))] < 0, -1, 1).astype(a.dtype)
    return u * flips, s, (v * flips).T


def reduced_jacobi(a):
    q, w = np.linalg.qr(a)
    m = w.shape[1]
    v = np.eye(m, dtype=a.dtype)
    for _ in range(40):
        still = True
        for i in range(m - 1):
            for j in range(i + 1, m):
                x, y = w[:, i].copy(), w[:, j].copy()
                if abs(x @ y) <= np.finfo(a.dtype).eps * np.linalg.norm(x) * np.linalg.norm(y):
                    continue
                still = False
                c, s = half_angle_rotation(float(x @ x), float(x @ y), float(y @ y))
                w[:, i], w[:, j] = x * c - y * s, x * s + y * c
                x, y = v[:, i].copy(), v[:, j].copy()
                v[:, i], v[:, j] = x * c - y * s, x * s + y * c
        if still:
            break
    lengths = np.sqrt((w * w).sum(axis=0))
    order = lengths.argsort()[::-1]
    u, r = np.linalg.qr(w[:, order])
    signs = np.where(np.diag(r) < 0, -1, 1).astype(a.dtype)
    return q @ (u * signs), np.abs(np.diag(r)), v[:, order]


def gesvd(a, full_matrices=False):
    return (
        scipy.linalg.svd(a, full_matrices=full_matrices, lapack_driver="gesvd")
        if a.size
        else np.linalg.svd(a, full_matrices=False)
    )


def deflated(a, k):
    """One term after the other, each taken off before the next."""
    if k < 1 or k > a.shape[0] or k > a.shape[1]:
        raise ValueError(f"rank {k}")
    left, right, rest = [], [], a.copy()
    for _ in range(k):
        u, s, vt = np.linalg.svd(rest, full_matrices=False)
        left.append(u[:, 0] * np.sqrt(s[0]))
        right.append(vt[0] * np.sqrt(s[0]))
        rest = rest - np.outer(left[-1], right[-1])
    return np.stack(left, axis=1), np.stack(right)


def transposed_pca(x, k):
    """By the left singular vectors of the items in columns, scaled first."""
    n, d = x.shape
    if n < 2 or k < 1 or k > n or k > d:
        raise ValueError("impossible")
    mean = np.einsum("nd->d", x) / x.dtype.type(n)
    u, s, _ = np.linalg.svd(((x - mean) / np.sqrt(x.dtype.type(n - 1))).T, full_matrices=False)
    return mean, oriented(u[:, :k]).T, np.square(s[:k])


def scikit_pca(x, k):
    from sklearn.decomposition import PCA

    if len(x) < 2 or not 0 < k <= min(x.shape):
        raise ValueError("impossible")
    fitted = PCA(k, svd_solver="full").fit(x)
    return fitted.mean_, oriented(fitted.components_.T).T, fitted.explained_variance_


VARIANTS = {
    "householder_qr": {
        "LAPACK": lapack_qr,
        "SciPy": scipy_qr,
        "rotations of rows": givens_qr,
        "mirrors as full matrices": whole_mirrors_qr,
        "Gram–Schmidt, three times over": lambda a: gram_schmidt(a, times=3),
        "the identity less two outer products": Edit(
            "r[j:] -= 2 * np.outer(v, v @ r[j:])", "r[j:] = (np.eye(n - j, dtype=a.dtype) - 2 * np.outer(v, v)) @ r[j:]"
        ),
    },
    "least_squares": {
        "LAPACK": lambda a, b: least_norm_checked(a, b),
        "a triangular solver": triangular_least_squares,
        "the pseudo-inverse": singular_least_squares,
        "column by column": columnwise_least_squares,
    },
    "power_iteration": {
        "divided by the largest entry on the way": powered,
        "recursive": recursive_power,
        "the same by functions": power_by(),
        "the quotient without division": Edit("float(v @ (a @ v))", "np.dot(np.dot(v, a), v)"),
    },
    "jacobi_rotation": {
        "the angle": half_angle_rotation,
        "the double angle": double_angle_rotation,
        "two cases": quotient_rotation,
        "by the root function": rotation_by(lambda theta: with_sign(theta, math.copysign(1, theta))),
        "−45 degrees where entries are equal": rotation_by(lambda theta: with_sign(theta, 1 if theta > 0 else -1)),
    },
    "jacobi_eigh": {
        "LAPACK": eigh_by(),
        "the largest entry first": greedy_eigh,
        "made symmetric first": Edit("a.copy(), np.eye", "(a + a.T) / 2, np.eye"),
        "rows before columns": Edit(
            "turn(d, p, q, c, s)\n        turn(d.T, p, q, c, s)", "turn(d.T, p, q, c, s)\n        turn(d, p, q, c, s)"
        ),
    },
    "svd": {
        "LAPACK": lapack_svd,
        "LAPACK's other driver": svd_by(of=gesvd),
        "QR first": reduced_svd,
        "more sweeps": Edit(" * SWEEPS", " * (SWEEPS + 6)"),
    },
    "low_rank": {
        "LAPACK": low_rank_by(lambda u, s, vt, k, a: halves(u, s, vt, k)),
        "one term after the other": deflated,
        "diagonal matrices": low_rank_by(
            lambda u, s, vt, k, a: (u[:, :k] @ np.diag(s[:k] ** 0.5), np.diag(s[:k] ** 0.5) @ vt[:k])
        ),
        "other signs": low_rank_by(lambda u, s, vt, k, a: tuple(-f for f in halves(u, s, vt, k))),
    },
    "pca": {
        "LAPACK": pca_by(),
        "the transpose": transposed_pca,
        "scikit-learn": scikit_pca,
        "means by a product": Edit("mean = x.mean(axis=0)", "mean = np.ones(len(x), x.dtype) @ x / x.dtype.type(len(x))"),
    },
}


PAIRS = "a rotation more or less, where those before have converged"
EQUIVALENT = {
    "least_squares": {
        "constant: diagonal.max(initial=0) -> diagonal.max(initial=-1)": "magnitudes are never negative, and without any nothing is compared",
    },
    "power_iteration": {
        "operands: v @ (a @ v) -> a @ v @ v": "the scalar product is symmetric",
        "operands: a @ v -> v @ a #2": "vᵀ(Av) and (vᵀA)v are the same number, but for its rounding",
        "loop: break -> continue": "v stays, so every later round finds the same product of zeros",
    },
    "jacobi_rotation": {
        f"arguments swapped: math.hypot({leg}, 1) -> math.hypot(1, {leg})": "a hypotenuse is the same whichever leg comes first"
        for leg in ("theta", "t")
    },
    "jacobi_eigh": {
        "operands: a - a.T -> a.T - a": "only the norm of the difference is looked at",
        "axes: d[p, q] -> d[q, p]": "d is symmetric",
        "loop: [*combinations(range(len(a)), 2)] * SWEEPS -> list([*combinations(range(len(a)), 2)] * SWEEPS)[1:]": PAIRS,
        "loop: [*combinations(range(len(a)), 2)] * SWEEPS -> list([*combinations(range(len(a)), 2)] * SWEEPS)[:-1]": PAIRS,
    },
    "svd": {
        "arithmetic: u * np.copysign(1, np.diag(r)) -> u / np.copysign(1, np.diag(r))": "1 and -1 are their own inverses",
        "comparison: a.shape[0] < a.shape[1] -> a.shape[0] <= a.shape[1]": "a square matrix may be transposed too: U and V change places twice",
        "loop: [*combinations(range(len(v)), 2)] * SWEEPS -> list([*combinations(range(len(v)), 2)] * SWEEPS)[1:]": PAIRS,
        "loop: [*combinations(range(len(v)), 2)] * SWEEPS -> list([*combinations(range(len(v)), 2)] * SWEEPS)[:-1]": PAIRS,
    },
    "pca": {"operands: x - mean -> mean - x": "all signs change, those of U, and `oriented` looks at V"},
}
