"""What a right answer to convert/video_to_speech must do. Truths: loops, SciPy, the flow between two Gaussians in closed form, its
derivative by automatic differentiation, and the order in which the error of a sampler falls."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from course.testing import Edit, assert_between, assert_close, raises


def random_shape(draw):
    return draw.size(), *draw.sizes(draw.size(1, 3), 1, 5)


# --- the path ---


@pytest.mark.stub("interpolate")
@pytest.mark.parametrize("given", [{}, {"sigma": 0.0}, {"sigma": 0.3}])
def test_a_straight_path_at_an_even_speed(impl, draw, given):
    shape, sigma = random_shape(draw), given.get("sigma", 0.0)
    noise, data, t = draw.normal(*shape), draw.normal(*shape), draw.uniform(shape[0])
    points = [(1 - s * (1 - sigma)) * a + s * b for a, b, s in zip(noise, data, t.tolist(), strict=True)]
    x, velocity = impl.interpolate(noise, data, t, **given)
    hint = "(1 − (1 − σ) t) · noise + t · data, each item at its own t: noise at 0, data at 1"
    assert_close(x, torch.stack(points), what="the point", hint=hint)
    hint = "the derivative of the point in t: data − (1 − σ) noise, the same at all times"
    assert_close(velocity, data - (1 - sigma) * noise, what="the velocity", hint=hint)


@pytest.mark.stub("interpolate")
def test_the_velocity_leads_from_point_to_point(impl, draw):
    shape, sigma = random_shape(draw), draw.number(0, 0.5)
    noise, data = draw.normal(*shape), draw.normal(*shape)
    early, late = draw.uniform(2, shape[0]).sort(dim=0).values
    (start, velocity), (end, _) = (impl.interpolate(noise, data, t, sigma) for t in (early, late))
    expected = start + (late - early).reshape(-1, *[1] * (len(shape) - 1)) * velocity
    assert_close(end, expected, hint="going on from one time at this velocity must end where the path is at a later time")


@pytest.mark.stub("interpolate")
def test_the_ends_of_the_path(impl, draw):
    shape = random_shape(draw)
    noise, data = draw.normal(*shape, dtype=torch.float32), draw.normal(*shape, dtype=torch.float32)
    for t, expected in ((0.0, noise), (1.0, data)):
        x, velocity = impl.interpolate(noise, data, torch.full(shape[:1], t))
        assert_close(x, expected, what=f"the point at t = {t:g}", hint="t = 0 is noise and t = 1 is data, unlike in diffusion")
        hint = "data − noise at every t: divide by no time, it is 0 at one of the ends"
        assert_close(velocity, data - noise, what=f"the velocity at t = {t:g}", hint=hint, hint_for="values NaN")


@pytest.mark.stub("interpolate")
def test_paths_of_single_numbers_and_their_gradients(impl, draw):
    B, sigma = draw.batch(2), draw.choice([0.0, 0.3])
    noise, data, t = draw.normal(3, B).unbind()
    x, velocity = impl.interpolate(noise, data, t, sigma)
    hint = "an item may be a single number, a picture, a video: only its first axis is known"
    assert_close(x, (1 - (1 - sigma) * t) * noise + t * data, what="the point", hint=hint)
    assert_close(velocity, data - (1 - sigma) * noise, what="the velocity", hint=hint)
    shape = B, 2, 3
    noise, data, (g, h) = draw.normal(*shape), draw.normal(*shape), draw.normal(2, *shape)
    s = t[:, None, None]
    expected = (
        (1 - (1 - sigma) * s) * g - (1 - sigma) * h, s * g + h, ((data - (1 - sigma) * noise) * g).sum((1, 2)),
    )  # fmt: skip
    actual = impl.vjp("interpolate", noise, data, t, sigma, wrt=(0, 1, 2), cotangent=[g, h])
    hint = "data may come from an encoder that learns, so detach nothing"
    for name, mine, truth in zip(("noise", "data", "t"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


# --- the time ---


@pytest.mark.stub("time_features")
def test_sines_and_cosines_of_even_logarithms(impl, draw):
    B, pairs = draw.batch(), draw.size(2, 6)
    slowest, fastest = draw.number(0.3, 2), draw.number(20, 300)
    t = draw.uniform(B)
    for given in ({}, {"slowest": slowest, "fastest": fastest}):
        low, high = given.get("slowest", 1.0), given.get("fastest", 100.0)
        frequencies = np.exp(np.linspace(math.log(low), math.log(high), pairs))
        rows = [[*(math.sin(s * w) for w in frequencies), *(math.cos(s * w) for w in frequencies)] for s in t.tolist()]
        hint = (
            "angular frequencies from slowest to fastest, both included, each a constant factor above the one before; sines first"
        )
        assert_close(
            impl.time_features(t, 2 * pairs, **given), torch.tensor(rows, dtype=torch.float64), tolerance=1e-7, hint=hint
        )


@pytest.mark.stub("time_features")
@pytest.mark.parametrize("features", [-4, 0, 2, 3, 5, 7])
def test_features_come_in_pairs(impl, draw, features):
    with raises(ValueError, hint="an odd number has no half, and two frequencies are needed to lie between slowest and fastest"):
        impl.time_features(draw.uniform(3), features)


@pytest.mark.stub("time_features")
def test_time_features_follow_the_dtype(impl, draw):
    t, pairs = draw.uniform(draw.size(), dtype=torch.float32), draw.size(2, 6)
    angles = t[:, None].double() * torch.logspace(0, 2, pairs, dtype=torch.float64)
    expected = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    assert_close(
        impl.time_features(t, 2 * pairs), expected, tolerance=1e-4, hint="the dtype is that of t", hint_for="values dtype"
    )


@pytest.mark.stub("time_features")
def test_features_at_the_ends_of_time(impl):
    t = torch.tensor([0.0, 1.0, -0.5, 1000.0]).double()
    for slowest, fastest in ((1.0, 100.0), (2.0, 2.0), (50.0, 0.5)):
        angles = t[:, None] * torch.tensor([slowest, fastest]).double()
        expected = torch.cat([angles.sin(), angles.cos()], dim=1)
        hint = "four features are the fewest: both ends of the range, which may be equal or fall, at any time"
        assert_close(impl.time_features(t, 4, slowest, fastest), expected, hint=hint, hint_for="values NaN")
    empty = impl.time_features(t[:0], 6)
    assert_close(empty, torch.zeros(0, 6).double(), hint="no times, no rows", hint_for="shape")


# --- Gaussians ---


def flow_of(mean, deviation, x, t):
    """Where the exact flow from N(0, I) carries `x` (B, ...) by the times `t` (B,)."""
    t = t.reshape(-1, *[1] * (x.ndim - 1))
    return t * mean + torch.sqrt((1 - t) ** 2 + (t * deviation) ** 2) * x


def velocity_of(mean, deviation, x, t):
    """The velocity at `x`, as the derivative in t of the flow that passes there."""
    view = t.reshape(-1, *[1] * (x.ndim - 1))
    start = (x - view * mean) / torch.sqrt((1 - view) ** 2 + (view * deviation) ** 2)
    _, velocity = torch.func.jvp(lambda s: flow_of(mean, deviation, start, s), (t,), (torch.ones_like(t),))
    return velocity


def random_gaussian(impl, draw):
    """The field of a random Gaussian, its mean and deviation, and a batch of noise."""
    shape = draw.sizes(draw.size(1, 3), 1, 5)
    mean, deviation = draw.normal(*shape, scale=2), draw.uniform(*shape, low=0.2, high=3)
    return impl.GaussianField(mean, deviation), mean, deviation, draw.normal(draw.batch(), *shape)


@pytest.mark.stub("GaussianField.forward")
def test_is_the_derivative_of_the_exact_flow(impl, draw):
    field, mean, deviation, noise = random_gaussian(impl, draw)
    t = draw.uniform(len(noise))
    x = flow_of(mean, deviation, noise, t)
    hint = "m + (t s² − (1 − t)) / ((1 − t)² + t² s²) · (x − t m), each item at its own t"
    assert_close(field(x, t), velocity_of(mean, deviation, x, t), hint=hint)


@pytest.mark.stub("GaussianField.forward")
def test_is_the_mean_of_all_paths_through_a_point(impl, draw):
    field, mean, deviation, noise = random_gaussian(impl, draw)
    for moment in (0.0, draw.number(0.2, 0.8), 1.0):
        t = torch.full((len(noise),), moment, dtype=torch.float64)
        x = flow_of(mean, deviation, noise, t)
        # Bayes: of the data z, given the point, the density is a Gaussian; its mean by a sum over a fine grid.
        grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
        z = (mean[..., None] + deviation[..., None] * grid).expand(*noise.shape, -1)
        if moment == 1:
            paths = x  # the data is the point, and the noise could be any: its mean is 0
        elif moment == 0:
            paths = mean - x
        else:
            start = (x[..., None] - moment * z) / (1 - moment)
            weight = torch.softmax(-0.5 * (start**2 + grid**2), dim=-1)
            paths = ((z - start) * weight).sum(-1)
        hint = "at t = 0 it is m − x, at t = 1 it is x, between E[data − noise] over all pairs whose path passes through x"
        assert_close(field(x, t), paths, tolerance=1e-6, what=f"the velocity at t = {moment:.2f}", hint=hint)


@pytest.mark.stub("GaussianField.forward")
def test_gradient_of_the_field(impl, draw):
    field, mean, deviation, noise = random_gaussian(impl, draw)
    t, g = draw.uniform(len(noise)), draw.normal(*noise.shape)
    slope = velocity_of(mean, deviation, noise, t) - velocity_of(
        mean, deviation, 0 * noise, t
    )  # linear in x, dimension by dimension
    expected = g * slope / noise
    hint = "likelihoods of flows are made of this derivative"
    assert_close(field.vjp(noise, t, wrt=0, cotangent=g), expected, tolerance=1e-6, hint=hint)


@pytest.mark.stub("GaussianField.forward")
def test_a_gaussian_without_width_and_one_of_any_width(impl):
    deviation = torch.tensor([0.0, 1e-4, 1.0, 1e4]).double()
    mean, x = torch.tensor([1.0, -2.0, 0.0, 3.0]).double(), torch.tensor([[0.5, 1.0, -1.0, 2.0]] * 3).double()
    t = torch.tensor([0.0, 0.5, 0.999]).double()
    s = t[:, None]
    expected = mean + (s * deviation**2 - (1 - s)) / ((1 - s) ** 2 + (s * deviation) ** 2) * (x - s * mean)
    actual = impl.GaussianField(mean, deviation)(x, t)
    hint = "all of the data may be one point: the velocity leads straight to it, and nothing is added below the bar"
    for k, name in enumerate(("0", "1e-4", "1", "1e4")):
        assert_close(
            actual[:, k], expected[:, k], what=f"the velocity for a deviation of {name}", hint=hint, hint_for="values NaN"
        )


# --- samplers ---


def followed(mean, deviation, x, steps, sampler):
    """Step by step, the velocity from the exact flow."""
    h = 1 / steps
    for k in range(steps):
        t = torch.full((len(x),), k * h, dtype=x.dtype)
        v = velocity_of(mean, deviation, x, t)
        if sampler == "heun":
            v = 0.5 * v + 0.5 * velocity_of(mean, deviation, x + h * v, t + h)
        x = x + h * v
    return x


def check_steps(impl, draw, sampler, hint):
    field, mean, deviation, noise = random_gaussian(impl, draw)
    for steps in (1, 2, draw.integer(3, 7)):
        expected = followed(mean, deviation, noise, steps, sampler)
        actual = getattr(impl, sampler)(field, noise, steps)
        assert_close(actual, expected, tolerance=1e-8, what=f"the end after {steps} steps", hint=hint)


def check_order(impl, draw, sampler, order, hint):
    """Half the step: the error falls by 2 to the power of the order."""
    mean, deviation = draw.normal(5, scale=2), draw.uniform(5, low=0.4, high=0.7)
    field, noise = impl.GaussianField(mean, deviation), draw.normal(3, 5) + 2
    errors = []
    for steps in (32, 64):
        end = getattr(impl, sampler)(field, noise, steps)
        errors.append((end - (mean + deviation * noise)).norm().item())
    found = math.log2(errors[0] / max(errors[1], 1e-300))
    assert_between(found, order - 0.35, order + 0.35, what="the order of convergence", hint=hint)


@pytest.mark.stub("euler")
def test_euler_goes_along_the_velocity_at_the_start_of_each_step(impl, draw):
    hint = "x ← x + v(x, k / steps) / steps, for k = 0 … steps − 1; t is a vector, one for each item"
    check_steps(impl, draw, "euler", hint)


@pytest.mark.stub("euler")
def test_euler_is_of_first_order(impl, draw):
    hint = "twice the steps should halve the distance to the exact end m + s · noise"
    check_order(impl, draw, "euler", 1, hint)


@pytest.mark.stub("heun")
def test_heun_goes_along_the_mean_of_both_ends(impl, draw):
    hint = "the second velocity is taken at the end of the Euler step, at time (k + 1) / steps; then the mean of both, from the start"
    check_steps(impl, draw, "heun", hint)


@pytest.mark.stub("heun")
def test_heun_is_of_second_order(impl, draw):
    hint = "twice the steps should quarter the distance to the exact end m + s · noise"
    check_order(impl, draw, "heun", 2, hint)


def check_gradient(impl, draw, sampler):
    field, mean, deviation, noise = random_gaussian(impl, draw)
    steps, g = draw.integer(2, 4), draw.normal(*noise.shape)
    ends = [followed(mean, deviation, start, steps, sampler) for start in (noise, 0 * noise)]
    expected = g * (ends[0] - ends[1]) / noise  # the field is linear in x, dimension by dimension
    actual = impl.vjp(sampler, field, noise, steps, wrt=1, cotangent=g)
    assert_close(actual, expected, tolerance=1e-6, hint="samples are also tuned by gradient: detach nothing")


@pytest.mark.stub("euler")
def test_gradient_goes_back_through_euler(impl, draw):
    check_gradient(impl, draw, "euler")


@pytest.mark.stub("heun")
def test_gradient_goes_back_through_heun(impl, draw):
    check_gradient(impl, draw, "heun")


# --- the network ---


def small_model(impl, draw, dtype="double"):
    model = impl.VideoToSpeech(impl.Config(channels=4 * draw.size(1, 2), layers=draw.size(1, 2), prompt=draw.size(1, 3)))
    getattr(model, dtype)()
    model.eval()
    weights = draw.like(model.fresh_state())
    model.load_state_dict(weights)
    return model, weights


@pytest.mark.stub("VideoToSpeech.condition")
def test_a_sure_encoder_and_nobody_told(impl):
    model = impl.VideoToSpeech(impl.Config(channels=4, layers=1, prompt=1))
    state = model.state_dict()
    state["nothing"] = torch.linspace(-1, 1, len(state["nothing"]))
    model.load_state_dict(state)
    digits, places = 1e4 * (torch.eye(10)[[3, 9, 0]] - 0.5), -1e4 * (1 - torch.eye(4)[[1, 0, 3]])
    last = len(state["voices.weight"]) - 1
    voices = torch.tensor([last, 0, last])
    expected = state["digits.weight"].T[[3, 9, 0]] + state["places.weight"].T[[1, 0, 3]] + state["voices.weight"][voices]
    hint = "a softmax of large logits is one-hot, not NaN: it subtracts the largest first; the last row of `voices` is anybody's"
    assert_close(model.condition(digits, places, voices), expected, hint=hint, hint_for="values NaN")
    untold, hint = torch.zeros(3, dtype=torch.bool), "nobody is told: `nothing` and the voice, whatever the encoder says"
    expected = state["nothing"] + state["voices.weight"][voices]
    assert_close(model.condition(digits, places, voices, untold), expected, hint=hint)
    g = torch.ones_like(expected)
    by = model.vjp(digits, places, voices, untold, wrt=(0, 1), cotangent=g, method="condition")
    assert_close(by[0], torch.zeros(3, 10), what="the gradient of digits that are not told", hint=hint, hint_for="values NaN")


def asked_of(weights, digits, places, voices, told):
    rows = []
    for i in range(len(voices)):
        said = weights["nothing"]
        if told is None or bool(told[i]):
            d, p = (torch.exp(z[i]) / torch.exp(z[i]).sum() for z in (digits, places))
            said = sum(d[k] * weights["digits.weight"][:, k] for k in range(10))
            said = said + sum(p[k] * weights["places.weight"][:, k] for k in range(4))
        rows.append(said + weights["voices.weight"][voices[i]])
    return torch.stack(rows)


def random_request(draw):
    B = draw.batch(2, 6)
    return draw.normal(B, 10), draw.normal(B, 4), draw.integers(16, (B,))


@pytest.mark.stub("VideoToSpeech.condition")
def test_condition_adds_digit_place_and_voice(impl, draw):
    model, weights = small_model(impl, draw)
    digits, places, voices = random_request(draw)
    expected = asked_of(weights, digits, places, voices, None)
    hint = "probabilities (a softmax of each), not logits, weigh the columns of `digits` and `places`; the voice is added"
    assert_close(model.condition(digits, places, voices), expected, hint=hint)
    assert_close(model.condition(digits, places, voices, torch.ones(len(voices), dtype=torch.bool)), expected, hint=hint)


@pytest.mark.stub("VideoToSpeech.condition")
def test_what_is_not_told_is_replaced_item_by_item(impl, draw):
    model, weights = small_model(impl, draw)
    digits, places, voices = random_request(draw)
    told = torch.arange(len(voices)) % 2 == draw.integer(0, 1)
    expected = asked_of(weights, digits, places, voices, told)
    hint = "where `told` is False, `nothing` stands in place of digit and place; the voice stays"
    assert_close(model.condition(digits, places, voices, told), expected, hint=hint)


@pytest.mark.stub("VideoToSpeech.condition")
def test_gradients_reach_the_encoder_and_the_tables(impl, draw):
    model, weights = small_model(impl, draw)
    digits, places, voices = random_request(draw)
    told = torch.arange(len(voices)) % 2 == 0
    g = draw.normal(len(voices), len(weights["nothing"]))
    names = ["nothing", "digits.weight", "places.weight", "voices.weight"]
    with torch.enable_grad():
        leaves = [value.clone().requires_grad_() for value in (digits, places, *(weights[name] for name in names))]
        table = dict(zip(names, leaves[2:], strict=True))
        total = (asked_of(table, *leaves[:2], voices, told) * g).sum()
        expected = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    hint = "the encoder learns from the sound as well; what is withheld teaches `nothing`"
    actual = model.vjp(digits, places, voices, told, wrt=(0, 1), cotangent=g, method="condition")
    for name, one, other in zip(("digits", "places"), actual, expected[:2], strict=True):
        assert_close(one, other, what=f"the gradient of {name}", hint=hint)
    actual = model.vjp(digits, places, voices, told, wrt="parameters", cotangent=g, method="condition")
    for name, other in zip(names, expected[2:], strict=True):
        assert_close(actual[name], other, what=f"the gradient of {name}", hint=hint)


def random_batch(draw, model_width):
    B = draw.batch(1, 3)
    data, noise = draw.normal(2, B, 48, 64)
    return data, draw.normal(B, model_width), noise, draw.uniform(B, low=0.05, high=0.95)


@pytest.mark.stub("flow_matching_loss")
def test_velocity_is_regressed_at_the_points_of_the_path(impl, draw):
    model, weights = small_model(impl, draw)
    data, condition, noise, t = random_batch(draw, len(weights["nothing"]))
    s = t[:, None, None]
    with torch.no_grad():
        expected = ((model.reference((1 - s) * noise + s * data, t, condition) - (data - noise)) ** 2).mean()
    hint = "the network sees the point between noise and data, and t; its target is data − noise; the mean over all elements"
    assert_close(impl.flow_matching_loss(model, data, condition, noise, t), expected, hint=hint)


@pytest.mark.stub("flow_matching_loss")
@pytest.mark.parametrize("dtype", ["float", "double"])
def test_velocity_at_both_ends_of_time(impl, draw, dtype):
    model, weights = small_model(impl, draw, dtype)
    number = getattr(torch, dtype)
    (data, noise), condition = draw.normal(2, 1, 48, 64, dtype=number), draw.normal(1, len(weights["nothing"]), dtype=number)
    for moment in (0, 1):
        t = torch.full((1,), moment, dtype=number)
        with torch.no_grad():
            expected = (model.reference(data if moment else noise, t, condition) - (data - noise)).square().mean()
        hint = "the velocity is data − noise at every t: nothing is divided by the time that is left, or that has passed"
        loss = impl.flow_matching_loss(model, data, condition, noise, t)
        assert_close(loss, expected, tolerance=1e-4, what=f"the loss at t = {moment}", hint=hint, hint_for="values NaN")


@pytest.mark.stub("flow_matching_loss")
def test_gradient_of_the_loss_goes_through_the_network(impl, draw):
    model, weights = small_model(impl, draw)
    data, condition, noise, t = random_batch(draw, len(weights["nothing"]))
    s = t[:, None, None]
    x = (1 - s) * noise + s * data
    with torch.enable_grad():
        leaf = condition.clone().requires_grad_()
        (expected,) = torch.autograd.grad((model.reference(x, t, leaf) - (data - noise)).square().mean(), leaf)
    actual = impl.vjp("flow_matching_loss", model, data, condition, noise, t, wrt=2)
    assert_close(actual, expected, hint="2 · error / elements, back through the network: detach nothing")


# --- how far two samples are apart ---


def looped_distance(made, real):
    """Pair by pair, in Python's own numbers."""
    across, within, among = (
        math.fsum(math.dist(x, y) for x in a for y in b) / (len(a) * len(b))
        for a, b in ((made, real), (made, made), (real, real))
    )  # fmt: skip
    return 2 * across - within - among


@pytest.mark.stub("energy_distance")
def test_energy_of_single_numbers_is_the_square_of_scipys(impl, draw):
    made, real = draw.normal(draw.batch(1, 40), 1), 1 + draw.normal(draw.batch(1, 40), 1, scale=2)
    expected = torch.tensor(stats.energy_distance(made[:, 0].numpy(), real[:, 0].numpy()) ** 2, dtype=torch.float64)
    hint = "twice the mean over all pairs of one made and one real row, less the mean of all N² pairs made, less that of all M² pairs real"
    assert_close(impl.energy_distance(made, real), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("energy_distance")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_energy_of_rows_pair_by_pair(impl, draw, dtype):
    D, scale = draw.size(2, 6), draw.choice([0.1, 1.0, 30.0])
    made, real = draw.normal(draw.batch(), D, scale=scale), draw.number(0.5, 2) + draw.normal(draw.batch(), D)
    made, real = made.to(getattr(torch, dtype)), real.to(getattr(torch, dtype))
    expected = torch.tensor(looped_distance(made.tolist(), real.tolist()), dtype=made.dtype)
    hint = "Euclidean distances, neither squared nor their parts added up; a row makes a pair with itself too; no root at the end"
    assert_close(impl.energy_distance(made, real), expected, tolerance=1e-4 if dtype == "float32" else 1e-9, hint=hint)


@pytest.mark.stub("energy_distance")
def test_no_energy_between_samples_with_the_same_frequencies(impl, draw):
    rows = draw.normal(draw.size(2), draw.size())
    twice = torch.cat([rows, rows])[draw.permutation(2 * len(rows))]
    hint = "where each row is as frequent in one as in the other, the three means cancel: over all pairs, a row with itself among them"
    assert_close(impl.energy_distance(rows, twice), torch.tensor(0.0).double(), hint=hint)
    assert_close(impl.energy_distance(twice, rows), torch.tensor(0.0).double(), hint=hint)


@pytest.mark.stub("energy_distance")
def test_many_rows_far_from_the_origin(impl, draw):
    N, M, D = draw.integer(26, 40), draw.integer(26, 40), draw.size(2, 5)
    made, real = draw.normal(N, D) + 1000, 0.5 + draw.normal(M, D) + 1000
    made, real = made.float(), real.float()
    expected = torch.tensor(looped_distance(made.tolist(), real.tolist()))
    hint = "only differences count; |x|² + |y|² − 2 x·y loses them far from 0, and torch.cdist takes that way from 26 rows on"
    assert_close(impl.energy_distance(made, real), expected, tolerance=1e-2, hint=hint)


@pytest.mark.stub("energy_distance")
def test_gradient_of_the_energy(impl, draw):
    N, M, D = draw.batch(), draw.batch(), draw.size()
    made, real = draw.normal(N, D), 1 + draw.normal(M, D)

    def pull(x, others):
        """The sum of the unit vectors from each of `others` to x; none comes from x itself."""
        away = [x - y for y in others if not torch.equal(x, y)]
        return sum((d / math.hypot(*d.tolist()) for d in away), torch.zeros_like(x))

    by = impl.vjp("energy_distance", made, real, wrt=(0, 1))
    hint = "it trains generators as well; detach nothing. The root of 0 has an infinite slope: a row's distance to itself has the gradient 0"
    for name, mine, own, other in (("made", by[0], made, real), ("real", by[1], real, made)):
        n, m = len(own), len(other)
        expected = torch.stack([2 * pull(x, other) / (n * m) - 2 * pull(x, own) / n**2 for x in own])
        assert_close(mine, expected, tolerance=1e-8, what=f"the gradient of {name}", hint=hint, hint_for="values NaN")


@pytest.mark.stub("energy_distance")
@pytest.mark.parametrize(
    ("made", "real"),
    [((3, 2), (3, 1)), ((1, 1), (4, 3)), ((0, 2), (3, 2)), ((3, 2), (0, 2)), ((3,), (3,)), ((2, 3, 4), (5, 3, 4)), ((3, 2), (3, 2, 2))],
)  # fmt: skip
def test_rows_must_be_there_and_of_one_length(impl, draw, made, real):
    with raises(ValueError, hint="rows of other lengths would be broadcast, none have no mean, and a sample is a list of rows"):
        impl.energy_distance(draw.normal(*made), draw.normal(*real))


# --- the same, written otherwise; and wrong ---


def check_rows(made, real):
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1] or 0 in (len(made), len(real)):
        raise ValueError(f"got {tuple(made.shape)}, {tuple(real.shape)}")


def energy_by_cdist(made, real):
    check_rows(made, real)

    def apart(a, b):
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").mean()

    return 2 * apart(made, real) - apart(made, made) - apart(real, real)


def energy_as_a_form(made, real):
    """All rows together, those made with the weight 1 / N and the real ones with -1 / M: minus a quadratic form."""
    check_rows(made, real)
    rows = torch.cat([made, real])
    weight = torch.cat([torch.full_like(made[:, 0], 1 / len(made)), torch.full_like(real[:, 0], -1 / len(real))])
    return -torch.einsum("i,ij,j->", weight, (rows[:, None] - rows).norm(dim=2), weight)


def energy_row_by_row(made, real):
    check_rows(made, real)
    total = 0
    for a, b, sign in ((made, real, 2), (made, made, -1), (real, real, -1)):
        total = total + sign * torch.stack([torch.linalg.norm(b - row, dim=1).mean() for row in a]).mean()
    return total


def energy_side_by_side(made, real):
    """Each made row with the real one beside it, no other."""
    check_rows(made, real)
    n = min(len(made), len(real))
    beside = torch.linalg.vector_norm(made[:n] - real[:n], dim=1).mean()
    return energy_by_cdist(made, real) + 2 * (beside - torch.cdist(made, real).mean())


def energy_of_norms(made, real, norm=None, within=None):
    """To be gone wrong with: `norm` of the differences (N, M, D), and the mean over pairs of one sample."""
    check_rows(made, real)
    norm = norm or (lambda d: torch.linalg.vector_norm(d, dim=2))
    within = within or (lambda d: d.mean())
    own = sum(within(norm(rows[:, None] - rows)) for rows in (made, real))
    return 2 * norm(made[:, None] - real).mean() - own


def looped_interpolate(noise, data, t, sigma=0.0):
    points = [torch.lerp(a, b, s) + sigma * s * a for a, b, s in zip(noise, data, t, strict=True)]
    return torch.stack(points), data - noise + sigma * noise


def einsum_interpolate(noise, data, t, sigma=0.0):
    velocity = data - (1 - sigma) * noise
    return noise + torch.einsum("b,b...->b...", t, velocity), velocity


def transposed_interpolate(noise, data, t, sigma=0.0):
    """Broadcast from the right, with the batch turned to the end."""
    turned = noise.movedim(0, -1) * (1 - t + sigma * t) + data.movedim(0, -1) * t
    return turned.movedim(-1, 0), torch.sub(data, noise, alpha=1 - sigma)


def looped_features(t, features, slowest=1.0, fastest=100.0):
    half, odd = divmod(features, 2)
    if odd or half < 2:
        raise ValueError(f"got {features}")
    factor = (fastest / slowest) ** (1 / (half - 1))
    angles = torch.stack([slowest * factor**k * t for k in range(half)], dim=1)
    return torch.hstack([torch.sin(angles), torch.cos(angles)])


def logspaced_features(t, features, slowest=1.0, fastest=100.0):
    if features < 4 or features % 2 == 1:
        raise ValueError(f"got {features}")
    w = torch.logspace(math.log10(slowest), math.log10(fastest), features // 2, dtype=torch.float64).to(t)
    unit = torch.polar(torch.ones_like(t[:, None] * w), t[:, None] * w)
    return torch.cat([unit.imag, unit.real], dim=1)


def field_by_posterior(self, x, t):
    """The mean of the data given the point, then what is left of the noise."""
    t = t.reshape(-1, *[1] * (x.ndim - 1))
    precision = (1 - t) ** 2 + (t * self.deviation) ** 2
    residual = x - t * self.mean
    data = self.mean + t * self.deviation**2 / precision * residual
    noise = (1 - t) / precision * residual
    return data - noise


def field_by_logarithm(self, x, t):
    """m + d log(standard deviation) / dt · (x − t m)."""
    t = t.view([-1] + [1] * self.mean.ndim)
    spread = torch.hypot(1 - t, t * self.deviation)
    slope = (t * self.deviation.square() + t - 1) / spread
    return torch.addcmul(self.mean, slope / spread, x - self.mean * t)


def euler_by_times(field, noise, steps):
    x, times = noise.clone(), torch.linspace(0, 1, steps + 1, dtype=noise.dtype, device=noise.device)
    for start, end in itertools.pairwise(times):
        x = torch.add(x, field(x, start.expand(len(x))) * (end - start))
    return x


def euler_recursive(field, noise, steps):
    x, h = noise, 1.0 / steps
    t = torch.zeros(len(noise), dtype=noise.dtype, device=noise.device)
    for _ in range(steps):
        x, t = x + h * field(x, t), t + h
    return x


def heun_by_times(field, noise, steps):
    x, times = noise, torch.linspace(0, 1, steps + 1, dtype=noise.dtype, device=noise.device)
    for start, end in itertools.pairwise(times):
        h = end - start
        v = field(x, start.expand(len(x)))
        ahead = x + h * v
        x = (x + ahead + h * field(ahead, end.expand(len(x)))) / 2
    return x


def heun_of_two(field, noise, steps):
    x, ones = noise, torch.ones(len(noise), dtype=noise.dtype, device=noise.device)
    for k in range(steps):
        a = field(x, ones * k / steps) / steps
        b = field(x + a, ones * (k + 1) / steps) / steps
        x = x + torch.stack([a, b]).mean(0)
    return x


def midpoint(field, noise, steps):
    """Of second order as well, but not Heun."""
    x, ones = noise, torch.ones(len(noise), dtype=noise.dtype, device=noise.device)
    for k in range(steps):
        half = x + field(x, ones * k / steps) / (2 * steps)
        x = x + field(half, ones * (k + 0.5) / steps) / steps
    return x


def condition_by_where(self, digits, places, voices, told=None):
    p = torch.cat([digits.softmax(-1), places.softmax(-1)], dim=1)
    asked = p @ torch.cat([self.digits.weight, self.places.weight], dim=1).T
    keep = torch.ones_like(voices).bool() if told is None else told
    return self.voices.weight[voices] + torch.stack([row if k else self.nothing for row, k in zip(asked, keep, strict=True)])


def loss_by_hand(model, data, condition, noise, t):
    s = t.view(-1, *[1] * (data.ndim - 1))
    return (model(noise + s * (data - noise), t, condition) - data + noise).pow(2).mean()


FAKES = {
    "interpolate": {
        "time reversed, as in diffusion": lambda noise, data, t, sigma=0.0: (
            looped_interpolate(noise, data, 1 - t, sigma)[0], data - (1 - sigma) * noise
        ),
        "the velocity turned round": Edit("data - (1 - sigma) * noise", "(1 - sigma) * noise - data"),
        "the data as target": Edit("data - (1 - sigma) * noise", "data"),
        "the noise as target": Edit("data - (1 - sigma) * noise", "noise"),
        "sigma ignored": Edit("(1 - sigma)", "1"),
        "sigma ignored in the velocity": Edit(", data - (1 - sigma) * noise", ", data - noise"),
        "one time for all": Edit("t = t.reshape(-1, *[1] * (data.ndim - 1))", "t = t.mean()"),
        "the time of the first item": Edit("t = t.reshape(-1, *[1] * (data.ndim - 1))", "t = t[0]"),
        "only for items with axes": Edit("t = t.reshape(-1, *[1] * (data.ndim - 1))", "t = t[:, None].reshape(-1, 1, *[1] * (data.ndim - 2))"),
        "the path detached": Edit("t * data, data", "t * data.detach(), data"),
        "the target detached": Edit(", data - (1 - sigma) * noise", ", (data - (1 - sigma) * noise).detach()"),
        "a circle, as in a variance-preserving path": lambda noise, data, t, sigma=0.0: (
            torch.einsum("b,b...->b...", torch.cos(t * math.pi / 2), noise) + torch.einsum("b,b...->b...", torch.sin(t * math.pi / 2), data),
            data - (1 - sigma) * noise,
        ),
        "what is left, over the time that is left": lambda noise, data, t, sigma=0.0: (
            lambda x: (x, torch.einsum("b...,b->b...", data + sigma * noise - x, 1 / (1 - t)))
        )(einsum_interpolate(noise, data, t, sigma)[0]),
        "the way so far, over the time so far": lambda noise, data, t, sigma=0.0: (
            lambda x: (x, torch.einsum("b...,b->b...", x - noise, 1 / t))
        )(einsum_interpolate(noise, data, t, sigma)[0]),
        "what is left to go": lambda noise, data, t, sigma=0.0: (
            einsum_interpolate(noise, data, t, sigma)[0], data - einsum_interpolate(noise, data, t, sigma)[0]
        ),
    },
    "time_features": {
        "cosines first": Edit("[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]"),
        "sines only": Edit("angles.cos()]", "angles.sin()]"),
        "frequencies evenly spaced": Edit("slowest * (fastest / slowest) ** steps", "(slowest + (fastest - slowest) * steps)"),
        "the last frequency left out": Edit("(features // 2 - 1)", "(features // 2)"),
        "upside down": Edit("** steps", "** -steps"),
        "slowest ignored": Edit("* slowest * (fastest / slowest)", "* fastest"),
        "in turns": Edit("* slowest", "* 2 * math.pi * slowest"),
        "stacked, not joined": Edit("torch.cat([angles.sin(), angles.cos()], dim=1)", "torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)"),
        "odd numbers accepted": Edit("features % 2 or features < 4", "features < 4"),
        "two accepted": Edit("features % 2 or features < 4", "features % 2 or features < 2"),
        "three accepted": Edit("features % 2 or features < 4", "features != 3 and features % 2 or features < 3"),
        "four refused": Edit("features < 4", "features < 5"),
        "an epsilon in the logarithm": lambda t, features, slowest=1.0, fastest=100.0: (
            looped_features(t.clamp(0, 1), features, slowest, fastest)
        ),
        "the time itself": lambda t, features, slowest=1.0, fastest=100.0: t[:, None].expand(-1, features),
    },
    "GaussianField.forward": {
        "straight to the mean": lambda self, x, t: self.mean - x,
        "straight to the end of x": lambda self, x, t: self.mean + self.deviation * x - x,
        "the mean velocity everywhere": lambda self, x, t: self.mean.expand_as(x) + 0 * x,
        "the deviation for the variance": Edit("self.deviation.square()", "self.deviation"),
        "the sign of the noise lost": Edit("t * variance - (1 - t)", "t * variance + (1 - t)"),
        "divided by the deviation": Edit("(1 - t).square() + t.square() * variance", "((1 - t).square() + t.square() * variance).sqrt()"),
        "weights not squared": Edit("(1 - t).square() + t.square() * variance", "(1 - t) + t * variance"),
        "the mean not on its way": Edit("(x - t * self.mean)", "(x - self.mean)"),
        "the mean left out": Edit("self.mean + covariance", "covariance"),
        "one time for all": Edit("t = t.reshape(-1, *[1] * (x.ndim - 1))", "t = t[0]"),
        "the gradient cut": Edit("(x - t", "(x.detach() - t"),
        "an epsilon below the bar": Edit("t.square() * variance)", "t.square() * variance + 1e-6)"),
        "a deviation of at least a thousandth": Edit("self.deviation.square()", "self.deviation.clamp(min=1e-3).square()"),
        "divided by the deviation on the way": lambda self, x, t: (
            field_by_posterior(self, x / self.deviation * self.deviation, t)
        ),
    },
    "euler": {
        "backwards in time": Edit("k / steps", "1 - k / steps"),
        "the time at the end of a step": Edit("k / steps", "(k + 1) / steps"),
        "the middle of a step": Edit("k / steps", "(k + 0.5) / steps"),
        "a step too few": Edit("range(steps)", "range(steps - 1)"),
        "a step too many": Edit("range(steps)", "range(steps + 1)"),
        "steps too long": Edit(")) / steps", "))"),
        "a single step": lambda field, noise, steps: noise + field(noise, noise.new_zeros(len(noise))),
        "always the time 0": Edit("k / steps", "0.0"),
        "always from the noise": Edit("field(x,", "field(noise,"),
        "against the velocity": Edit("x = x + field", "x = x - field"),
        "Heun": heun_by_times,
        "detached": Edit("field(x,", "field(x.detach(),"),
    },
    "heun": {
        "Euler": euler_by_times,
        "the midpoint": midpoint,
        "both velocities at the start": Edit("field(x + first / steps, end)", "field(x, start)"),
        "the second at the start's time": Edit("field(x + first / steps, end)", "field(x + first / steps, start)"),
        "the second at the old place": Edit("field(x + first / steps, end)", "field(x, end)"),
        "the sum, not the mean": Edit("(2 * steps)", "steps"),
        "the second only": Edit("(first + second) / (2 * steps)", "second / steps"),
        "half a step ahead": Edit("first / steps, end", "first / (2 * steps), end"),
        "from the end of the Euler step": Edit("x = x + (first", "x = x + first / steps + (first"),
        "a step too few": Edit("range(steps)", "range(steps - 1)"),
        "the time of the whole way": Edit("moment / steps", "moment"),
        "backwards in time": Edit("moment / steps", "1 - moment / steps"),
        "the second detached": Edit("second = field(x + first / steps, end)", "second = field((x + first / steps).detach(), end)"),
    },
    "VideoToSpeech.condition": {
        "logits for probabilities": Edit("digits.softmax(dim=1)", "digits"),
        "one-hot": Edit("digits.softmax(dim=1)", "F.one_hot(digits.argmax(1), 10).to(digits)"),
        "a softmax over the batch": Edit("places.softmax(dim=1)", "places.softmax(dim=0)"),
        "no place": Edit(" + self.places(places.softmax(dim=1))", ""),
        "the voice left out": Edit("return asked + self.voices(voices)", "return asked"),
        "the voice withheld too": Edit("return asked + self.voices(voices)",
            "return asked + self.voices(voices) * (1 if told is None else told[:, None].to(asked))"),
        "zeros for nothing": Edit("self.nothing", "0 * self.nothing"),
        "all or none": Edit("told[:, None]", "told.all()"),
        "the mask turned round": Edit("asked, self.nothing)", "self.nothing, asked)"),
        "never withheld": Edit("told is not None", "False"),
        "exponentials over their sum": Edit("digits.softmax(dim=1)", "digits.exp() / digits.exp().sum(1, keepdim=True)"),
        "logits clamped": Edit("places.softmax(dim=1)", "places.clamp(-5, 5).softmax(dim=1)"),
        "anybody has no voice": Edit("self.voices(voices)", "self.voices(voices) * (voices < len(motion.VOICES))[:, None]"),
        "nothing added, not put in place": Edit("torch.where(told[:, None], asked, self.nothing)",
            "asked + self.nothing * ~told[:, None]"),
        "the encoder cut off": Edit("digits.softmax(dim=1)", "digits.detach().softmax(dim=1)"),
    },
    "flow_matching_loss": {
        "the data regressed": Edit(", velocity)", ", data)"),
        "the noise regressed": Edit(", velocity)", ", noise)"),
        "the network sees the data": Edit("model(x,", "model(data,"),
        "the network sees the noise": Edit("model(x,", "model(noise,"),
        "noise and data exchanged": Edit("interpolate(noise, data, t)", "interpolate(data, noise, t)"),
        "time turned round": Edit("model(x, t,", "model(x, 1 - t,"),
        "no time": Edit("model(x, t,", "model(x, 0 * t,"),
        "no condition": Edit("condition), velocity", "0 * condition), velocity"),
        "what is left, over the time that is left": Edit(", velocity)", ", (data - x) / (1 - t).view(-1, *[1] * (x.ndim - 1)))"),
        "the way so far, over the time so far": Edit(", velocity)", ", (x - noise) / t.view(-1, *[1] * (x.ndim - 1)))"),
        "a bound below the time that is left": Edit(
            ", velocity)", ", (data - x) / (1 - t).clamp(min=1e-6).view(-1, *[1] * (x.ndim - 1)))"
        ),
        "absolute errors": Edit("mse_loss", "l1_loss"),
        "summed": Edit("velocity)", "velocity, reduction='sum')"),
        "noise of its own": Edit("interpolate(noise,", "interpolate(torch.randn_like(noise),"),
        "a time of its own": Edit("interpolate(noise, data, t)", "interpolate(noise, data, torch.rand_like(t))"),
        "detached": Edit("model(x, t, condition), velocity", "model(x, t, condition.detach()), velocity"),
    },
    "energy_distance": {
        "its root": Edit("return 2 * across - within - among", "return (2 * across - within - among).clamp(min=0).sqrt()"),
        "half of it, as Cramér's": Edit("return 2 * across - within - among", "return across - (within + among) / 2"),
        "across alone": Edit("return 2 * across - within - among", "return across"),
        "made for real": Edit("(real, real)", "(made, made)"),
        "only pairs of different rows": lambda made, real: energy_of_norms(
            made, real, within=lambda d: d.sum() / max(1, len(d) * (len(d) - 1))
        ),
        "each pair once": lambda made, real: energy_of_norms(made, real, within=lambda d: torch.triu(d).mean()),
        "distances squared": Edit("torch.linalg.vector_norm(a[:, None] - b, dim=2)", "(a[:, None] - b).square().sum(2)"),
        "absolute differences added up": Edit("a[:, None] - b, dim=2", "a[:, None] - b, ord=1, dim=2"),
        "a mean over the cells": Edit("torch.linalg.vector_norm(a[:, None] - b, dim=2)",
            "torch.linalg.vector_norm(a[:, None] - b, dim=2) / a.shape[1] ** 0.5"),
        "the distance of the means": lambda made, real: (check_rows(made, real), 2 * (made.mean(0) - real.mean(0)).norm())[1],
        "only with the row beside it": energy_side_by_side,
        "summed": Edit("dim=2).mean()", "dim=2).sum()"),
        "by products": lambda made, real: (
            check_rows(made, real),
            sum(
                sign * torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist").mean()
                for a, b, sign in ((made, real, 2), (made, made, -1), (real, real, -1))
            ),
        )[1],
        "the slope at 0 left to itself": lambda made, real: energy_of_norms(made, real, lambda d: d.square().sum(2).sqrt()),
        "an epsilon below the root": lambda made, real: energy_of_norms(made, real, lambda d: (d.square().sum(2) + 1e-6).sqrt()),
        "rows broadcast": Edit("made.shape[1:] != real.shape[1:] or ", ""),
        "no rows, no number": Edit(" or not len(made) or not len(real)", ""),
        "real rows detached": Edit("for a, b in ((made, real)", "for a, b in ((made, real.detach())"),
    },
}  # fmt: skip

VARIANTS = {
    "interpolate": {
        "a loop": looped_interpolate,
        "along the velocity": einsum_interpolate,
        "the batch last": transposed_interpolate,
    },
    "time_features": {
        "powers of a factor": looped_features,
        "complex numbers": logspaced_features,
        "exponentials": Edit("(fastest / slowest) ** steps", "torch.exp(steps * math.log(fastest / slowest))"),
    },
    "GaussianField.forward": {
        "means of data and noise": field_by_posterior,
        "the slope of the deviation": field_by_logarithm,
        "the derivative of the flow": lambda self, x, t: velocity_of(self.mean, self.deviation, x, t),
    },
    "euler": {
        "linspace": euler_by_times,
        "the time added up": euler_recursive,
        "addcdiv": Edit("x = x + field(x, x.new_full((len(x),), k / steps)) / steps",
            "x = torch.add(x, field(x, torch.full_like(x.flatten(1)[:, 0], k / steps)), alpha=1 / steps)"),
    },
    "heun": {
        "linspace": heun_by_times,
        "a mean of two": heun_of_two,
        "lerp": Edit("(first + second) / (2 * steps)", "torch.lerp(first, second, 0.5) / steps"),
    },
    "VideoToSpeech.condition": {
        "one product": condition_by_where,
        "embedding bags": Edit("self.digits(digits.softmax(dim=1))", "digits.softmax(-1) @ self.digits.weight.mT"),
        "masked": Edit("torch.where(told[:, None], asked, self.nothing)",
            "asked * told[:, None] + self.nothing * ~told[:, None]"),
    },
    "flow_matching_loss": {
        "by hand": loss_by_hand,
        "a mean of items": Edit("F.mse_loss(model(x, t, condition), velocity)",
            "(model(x, t, condition) - velocity).square().flatten(1).mean(dim=1).mean()"),
        "a norm": Edit("F.mse_loss(model(x, t, condition), velocity)",
            "torch.linalg.vector_norm(velocity - model(x, t, condition)).square() / velocity.numel()"),
    },
    "energy_distance": {
        "cdist without products": energy_by_cdist,
        "a quadratic form": energy_as_a_form,
        "row by row": energy_row_by_row,
    },
}  # fmt: skip

# Noise, data and times are given to the loss, and nothing learns through them.
NO_GRADIENT = {
    "time_features": ("t",),
    "GaussianField.forward": ("self", "t"),
    "flow_matching_loss": ("data", "noise", "t"),
}

NO_COMPUTATION = dict.fromkeys(
    ("no_grad: x = noise -> with torch.no_grad(): x = noise", "no_grad: return x -> with torch.no_grad(): return x"),
    "nothing is computed in that statement, so no gradient is lost",
)

EQUIVALENT = {
    "time_features": {"constant: features < 4 -> features < 3": "three is odd, and so refused in any case"},
    "GaussianField.forward": {"operands: 1 - t -> t - 1 #2": "it is squared"},
    "euler": NO_COMPUTATION,
    "heun": NO_COMPUTATION,
    "energy_distance": {
        "operands: a[:, None] - b -> b - a[:, None]": "a norm knows no sign",
        "order: ((made, real), (made, made), (real, real)) -> ((made, real), (real, real), (made, made))": "both are taken off alike",
        "order: ((made, real), (made, made), (real, real)) -> ((real, made), (made, made), (real, real))": "a mean over the same pairs",
    },
}
