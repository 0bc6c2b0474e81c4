"""What a right answer to convert/text_to_image must do. Truths: the schedule in plain Python, both views of v, explicit loops.

Where a stub calls a network it gets a small `UNet` with random weights in float64; the truth calls the same network item by item.
"""

import math

import numpy as np
import pytest
import torch

from course.testing import (
    Draw,
    Edit,
    assert_between,
    assert_close,
    assert_equal,
    assert_finite,
    assert_true,
    raises,
    weight_gradients,
)
from reference_impl.data import digits_in_motion as motion

NULL = [motion.BOS, motion.EOS] + [motion.PAD] * (motion.TOKENS - 2)


# --- alpha_bars --------------------------------------------------------------------------------------------------------


def schedule_in_python(timesteps, offset=0.008, largest_beta=0.999):
    def f(t):
        return math.cos((t / timesteps + offset) / (1 + offset) * math.pi / 2) ** 2

    products = [1.0]
    for t in range(1, timesteps + 1):
        products.append(products[-1] * (1 - min(1 - f(t) / f(t - 1), largest_beta)))
    return torch.tensor(products, dtype=torch.float64)


def assert_schedule(actual, expected):
    hint = "β_t = min(1 − f(t) / f(t − 1), β_max), and ᾱ is the running product of 1 − β, after a first 1 for the clean picture"
    assert_close(actual, expected.float(), hint=hint)
    hint = "the last values are tiny, and only right if computed in float64 and clipped: the logarithm of ᾱ is compared"
    assert_true(actual.min() > 0, "ᾱ is 0 somewhere", hint="without clipping β, nothing of the picture is left at T")
    assert_close(actual.double().log(), expected.log(), tolerance=2.3e-6, what="log ᾱ", hint=hint)


@pytest.mark.stub("alpha_bars")
@pytest.mark.parametrize("timesteps", ["one", "few", "a thousand"])
def test_schedule_is_the_product_of_clipped_steps(impl, draw, timesteps):
    T = {"one": 1, "few": draw.size(2, 40), "a thousand": 1000}[timesteps]
    assert_schedule(impl.alpha_bars(T), schedule_in_python(T))


@pytest.mark.stub("alpha_bars")
def test_offset_and_largest_beta_are_used(impl, draw):
    T, offset, largest = draw.size(3, 30), draw.number(0.01, 0.3), draw.number(0.3, 0.9)
    assert_schedule(impl.alpha_bars(T, offset, largest), schedule_in_python(T, offset, largest))


@pytest.mark.stub("alpha_bars")
def test_every_step_may_be_clipped(impl):
    expected = torch.tensor([0.875**t for t in range(7)], dtype=torch.float64)
    hint = "β_max holds for each β_t, and what is multiplied are the clipped ones"
    assert_close(impl.alpha_bars(6, 1.0, 0.125), expected.float(), hint=hint)  # an offset of 1: every step would be a larger one


@pytest.mark.stub("alpha_bars")
def test_schedule_falls_from_one(impl, draw):
    schedule = impl.alpha_bars(draw.size(1, 50))
    assert_equal(schedule[0].item(), 1.0, what="ᾱ at t = 0", hint="t = 0 is the clean picture")
    assert_true((schedule.diff() < 0).all(), "ᾱ does not fall all the way", hint="every step adds noise")


# --- q_sample ----------------------------------------------------------------------------------------------------------


def levels(draw, B):
    """ᾱ of each item, away from both ends."""
    return draw.uniform(B, low=0.05, high=0.95)


def shape_of(draw, B, pixels):
    """Of a batch of pictures with as many axes as `pixels` says."""
    return B, *{
        "flat": lambda: [draw.size()],
        "image": lambda: [1, *draw.sizes(2, 2, 5)],
        "video": lambda: [2, 1, *draw.sizes(2, 2, 4)],
    }[pixels]()


@pytest.mark.stub("q_sample")
@pytest.mark.parametrize("pixels", ["flat", "image", "video"])
def test_noisy_picture_is_mixed_item_by_item(impl, draw, pixels):
    B = draw.batch(2)
    shape = shape_of(draw, B, pixels)
    x0, noise, alpha_bar = draw.normal(*shape), draw.normal(*shape), levels(draw, B)
    pairs = zip(x0, noise, alpha_bar.tolist(), strict=True)
    expected = torch.stack([math.sqrt(a) * x + math.sqrt(1 - a) * e for x, e, a in pairs])
    hint = "√ᾱ of the picture and √(1 − ᾱ) of the noise; each item has its own ᾱ, on the first axis"
    assert_close(impl.q_sample(x0, alpha_bar, noise), expected, hint=hint)


@pytest.mark.stub("q_sample")
def test_ends_are_the_picture_and_the_noise(impl, draw):
    B = draw.batch()
    x0, noise = draw.normal(B, 1, 3, 2, dtype=torch.float32), draw.normal(B, 1, 3, 2, dtype=torch.float32)
    assert_close(impl.q_sample(x0, torch.ones(B), noise), x0, hint="ᾱ = 1 is a clean picture")
    assert_close(impl.q_sample(x0, torch.zeros(B), noise), noise, hint="ᾱ = 0 is pure noise")
    for alpha_bar in (1.0, 0.0):
        slope = impl.vjp("q_sample", x0, torch.full((B,), alpha_bar), noise, wrt=0, cotangent=torch.ones_like(x0))
        hint = "at both ends the picture has a slope, √ᾱ, and it is a number"
        assert_close(slope, torch.full_like(x0, alpha_bar), what=f"the gradient at ᾱ = {alpha_bar:g}", hint=hint)
    assert_close(
        impl.q_sample(x0, torch.full((B,), 1e-8), 0 * noise), 1e-4 * x0, hint="a level is not kept from 0", tolerance=1e-4
    )


@pytest.mark.stub("q_sample")
def test_gradient_reaches_the_picture(impl, draw):
    B = draw.batch()
    x0, noise, g, alpha_bar = draw.normal(B, 3), draw.normal(B, 3), draw.normal(B, 3), levels(draw, B)
    expected = g * alpha_bar.sqrt()[:, None]
    assert_close(impl.vjp("q_sample", x0, alpha_bar, noise, wrt=0, cotangent=g), expected, hint="d x_t / d x_0 = √ᾱ")


@pytest.mark.stub("q_sample")
def test_gradient_reaches_the_level(impl, draw):
    B = draw.batch()
    x0, noise, g, alpha_bar = draw.normal(B, 3), draw.normal(B, 3), draw.normal(B, 3), levels(draw, B)
    slope = x0 / (2 * alpha_bar.sqrt()[:, None]) - noise / (2 * (1 - alpha_bar).sqrt()[:, None])
    hint = "a schedule may be learned: ᾱ has a gradient through both square roots"
    assert_close(impl.vjp("q_sample", x0, alpha_bar, noise, wrt=1, cotangent=g), (g * slope).sum(1), hint=hint)


# --- timestep_embedding ------------------------------------------------------------------------------------------------


@pytest.mark.stub("timestep_embedding")
@pytest.mark.parametrize("half", [1, 2, "many"])
def test_cosines_then_sines_of_falling_frequencies(impl, draw, half):
    half = draw.size(3, 9) if half == "many" else half
    t = draw.integers(1001, (draw.size(),))
    rows = []
    for step in t.tolist():
        angles = [step * 10000 ** (-i / half) for i in range(half)]
        rows.append([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
    hint = "angle = t · 10000^(−i / (D/2)), i = 0 … D/2 − 1; all cosines first, then all sines; float32"
    # An angle of a thousand has an error of 1e-4 in float32.
    assert_close(impl.timestep_embedding(t, 2 * half), torch.tensor(rows), tolerance=5e-4, hint=hint, hint_for="values dtype")


@pytest.mark.stub("timestep_embedding")
def test_embedding_of_time_zero(impl, draw):
    B, half = draw.batch(), draw.size()
    expected = torch.cat([torch.ones(B, half), torch.zeros(B, half)], dim=1)
    hint = "cos 0 = 1 in the first half, sin 0 = 0 in the second"
    assert_close(impl.timestep_embedding(torch.zeros(B, dtype=torch.int64), 2 * half), expected, hint=hint)


@pytest.mark.stub("timestep_embedding")
def test_embedding_is_exact_to_float32_for_small_times(impl, draw):
    half = draw.size(2)
    t = draw.integers(4, (draw.size(),), low=1)
    angles = t.double()[:, None] * torch.tensor([10000 ** (-i / half) for i in range(half)], dtype=torch.float64)
    expected = torch.cat([angles.cos(), angles.sin()], dim=1).float()
    hint = "divide i by D/2, not by D/2 − 1 or D, and take 10000, natural logarithm and all"
    assert_close(impl.timestep_embedding(t, 2 * half), expected, tolerance=2e-6, hint=hint)


@pytest.mark.stub("timestep_embedding")
@pytest.mark.parametrize("width", [-2, 0, 1, 7])
def test_odd_width_is_refused(impl, draw, width):
    with raises(ValueError, hint="half of the width is cosines, half is sines: say so if that cannot be"):
        impl.timestep_embedding(draw.integers(1000, (2,)), width)


# --- drop_condition ----------------------------------------------------------------------------------------------------


def captions(draw, B):
    """Token ids of random captions of either language and any template."""
    texts = []
    for _ in range(B):
        language = draw.choice(["en", "zh"])
        texts.append(motion.caption(draw.integer(0, 9), draw.choice(motion.PLACES), draw.integer(0, 4), language))
    return motion.encode(texts)


@pytest.mark.stub("drop_condition")
def test_whole_captions_are_hidden_where_the_number_is_below(impl, draw):
    B, probability = draw.batch(2), draw.number(0.2, 0.8)
    tokens, uniforms = captions(draw, B), draw.uniform(B, dtype=torch.float32)
    uniforms[0], uniforms[-1] = 0.0, 0.99  # one of each kind at least
    pairs = zip(tokens.tolist(), uniforms.tolist(), strict=True)
    expected = torch.tensor([NULL if u < probability else row for row, u in pairs])
    hint = "a hidden caption is <bos> <eos> and padding; hide the row, not single words, where uniform < probability"
    assert_equal(impl.drop_condition(tokens, uniforms, probability), expected, hint=hint)


@pytest.mark.stub("drop_condition")
def test_probability_of_zero_hides_none_and_of_one_hides_all(impl, draw):
    B = draw.batch()
    tokens, uniforms = captions(draw, B), draw.uniform(B, dtype=torch.float32)
    uniforms[0] = 0.0
    hint = "uniform < probability, strictly: numbers lie in [0, 1), so 0 hides nothing"
    assert_equal(impl.drop_condition(tokens, uniforms, 0.0), tokens, hint=hint)
    uniforms[0] = 1 - 2**-24
    hint = "every number of [0, 1) lies below 1"
    assert_equal(impl.drop_condition(tokens, uniforms, 1.0), torch.tensor([NULL] * B), hint=hint)


@pytest.mark.stub("drop_condition")
@pytest.mark.parametrize("length", [2, 3, motion.TOKENS + 2])
def test_captions_of_any_length_and_numbers_at_the_bound(impl, length):
    tokens = torch.tensor([[motion.BOS, *[5] * (length - 2), motion.EOS]]).repeat(4, 1)
    null = [motion.BOS, motion.EOS] + [motion.PAD] * (length - 2)
    for probability, hidden in ((0.5, [False, True, False, True]), (0, [False] * 4), (1, [True] * 4)):
        expected = torch.tensor([null if hide else row for row, hide in zip(tokens.tolist(), hidden, strict=True)])
        result = impl.drop_condition(tokens, torch.tensor([0.5, 0.25, 0.75, 0.0]), probability)
        hint = "a number that equals the probability does not lie below it; a hidden caption is a row of null_captions(tokens)"
        assert_equal(result, expected, hint=hint)


@pytest.mark.stub("drop_condition")
@pytest.mark.parametrize("probability", [-0.001, 1.001])
def test_probability_outside_of_zero_to_one_is_refused(impl, draw, probability):
    with raises(ValueError, hint="a probability lies in [0, 1]"):
        impl.drop_condition(captions(draw, 2), draw.uniform(2, dtype=torch.float32), probability)


# --- diffusion_loss ----------------------------------------------------------------------------------------------------


def network(impl, draw):
    """A small U-Net with random weights, in float64."""
    model = impl.UNet(impl.Config(channels=8, width=8))
    model.double()
    model.load_state_dict(draw.like(model.fresh_state()))
    model.eval()
    return model


def noisy_batch(draw, B, T):
    """Pictures, captions, timesteps, noise, and a schedule that falls unevenly from 1."""
    x0, noise = draw.uniform(B, 1, 24, 24, low=-1), draw.normal(B, 1, 24, 24)
    schedule = torch.cat([torch.ones(1, dtype=torch.float64), draw.uniform(T, low=0.02, high=0.95).sort(descending=True).values])
    return x0, captions(draw, B), draw.integers(T + 1, (B,), low=1), noise, schedule


def target_and_input(x0, noise, a):
    """v and x_t of one item by the angle φ of Salimans and Ho: cos φ = √ᾱ."""
    angle = math.acos(math.sqrt(a))
    return math.cos(angle) * noise - math.sin(angle) * x0, math.cos(angle) * x0 + math.sin(angle) * noise


@pytest.mark.stub("UNet.diffusion_loss")
def test_loss_is_the_squared_error_of_the_velocity(impl, draw):
    B, T = draw.batch(2, 4), draw.size(3, 9)
    model = network(impl, draw)
    x0, tokens, t, noise, schedule = noisy_batch(draw, B, T)
    total, truth = 0.0, model.reference
    for i in range(B):
        v, x = target_and_input(x0[i], noise[i], schedule[t[i]].item())
        total += (truth(x[None], t[i : i + 1], tokens[i : i + 1])[0] - v).square().sum().item()
    hint = (
        "ᾱ = schedule[t] of each item, v = √ᾱ ε − √(1 − ᾱ) x_0, the model sees x_t, t and the caption; the mean over all pixels"
    )
    assert_close(
        model.diffusion_loss(x0, tokens, t, noise, schedule),
        torch.tensor(total / x0.numel(), dtype=torch.float64),
        tolerance=1e-7,
        hint=hint,
    )


@pytest.mark.stub("UNet.diffusion_loss")
def test_loss_of_a_silent_network_is_the_power_of_the_velocity(impl, draw):
    B, T = draw.batch(), draw.size(3, 9)
    model = impl.UNet(impl.Config(channels=8, width=8))
    model.load_state_dict({name: torch.zeros_like(value) for name, value in model.state_dict().items()})
    x0, tokens, t, noise, schedule = noisy_batch(draw, B, T)
    x0, noise, schedule = x0.float(), noise.float(), schedule.float()
    v = torch.stack([target_and_input(x0[i], noise[i], schedule[t[i]].item())[0] for i in range(B)])
    hint = "a network that says 0 is wrong by the whole target, v = √ᾱ ε − √(1 − ᾱ) x_0"
    assert_close(model.diffusion_loss(x0, tokens, t, noise, schedule), v.square().mean(), tolerance=1e-5, hint=hint)


@pytest.mark.stub("UNet.diffusion_loss")
def test_loss_has_a_gradient_for_every_weight(impl, draw):
    B, T = draw.batch(2, 3), draw.size(3, 9)
    model = network(impl, draw)
    x0, tokens, t, noise, schedule = noisy_batch(draw, B, T)
    items = [target_and_input(x0[i], noise[i], schedule[t[i]].item()) for i in range(B)]
    v, x = torch.stack([item[0] for item in items]), torch.stack([item[1] for item in items])
    truth = model.reference
    with torch.enable_grad():
        loss = (truth(x, t, tokens) - v).square().sum() / x0.numel()
    expected = weight_gradients(truth, loss)
    actual = model.vjp(x0, tokens, t, noise, schedule, wrt="parameters", method="diffusion_loss")
    hint = "the mean square pulls at the prediction with 2 / N times its error; is the prediction detached?"
    for name in expected:
        assert_close(actual[name], expected[name], tolerance=1e-6, what=f"the gradient of {name}", hint=hint)


# --- guided_velocity ---------------------------------------------------------------------------------------------------


def both_velocities(model, x, t, tokens):
    """What the network, not the learner's, says with the caption and without, one item at a time."""
    truth, null = model.reference, torch.tensor([NULL])
    with torch.no_grad():
        with_caption = torch.cat([truth(x[i : i + 1], t[i : i + 1], tokens[i : i + 1]) for i in range(len(x))])
        without = torch.cat([truth(x[i : i + 1], t[i : i + 1], null) for i in range(len(x))])
    return with_caption, without


@pytest.mark.stub("guided_velocity")
@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0, "random"])
def test_guidance_goes_from_without_to_with_and_beyond(impl, draw, scale):
    B, scale = draw.batch(2, 4), draw.number(1.5, 7.0) if scale == "random" else scale
    model = network(impl, draw)
    x, t, tokens = draw.normal(B, 1, 24, 24), draw.integers(1001, (B,)), captions(draw, B)
    t[0] = (t[1 % B] + 500) % 1001  # not the same in both
    conditional, unconditional = both_velocities(model, x, t, tokens)
    expected = (1 - scale) * unconditional + scale * conditional
    hint = "v_∅ + w (v_c − v_∅): 0 ignores the caption, 1 is the conditional model; v_∅ is for the caption that says nothing"
    assert_close(impl.guided_velocity(model, x, t, tokens, scale), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("guided_velocity")
@pytest.mark.parametrize("length", [3, motion.TOKENS + 1])
def test_gradient_reaches_the_picture_by_both_ways_whatever_the_length_of_captions(impl, length):
    draw, scale = Draw(length), 2.5  # asked once: the network is what takes time here
    model, g = network(impl, draw), draw.normal(2, 1, 24, 24)
    x, t, tokens = draw.normal(2, 1, 24, 24), torch.tensor([900, 3]), draw.integers(40, (2, length), low=3)
    truth, null = model.reference, torch.tensor([[motion.BOS, motion.EOS] + [motion.PAD] * (length - 2)] * 2)
    with torch.enable_grad():
        leaf = x.clone().requires_grad_()
        guided = (1 - scale) * truth(leaf, t, null) + scale * truth(leaf, t, tokens)
        (expected,) = torch.autograd.grad((guided * g).sum(), leaf)
    hint = (
        "both halves pass their gradient on: no `no_grad`, nothing detached; null_captions(tokens) is as long as the captions are"
    )
    model.forward_calls()  # counted from here on
    actual = impl.vjp("guided_velocity", model, x, t, tokens, scale, wrt=1, cotangent=g)
    assert_close(actual, expected, tolerance=1e-6, what="the gradient of the picture", hint=hint)
    hint = "a sampler pays for each call of the network: put both halves into one batch"
    assert_true(model.forward_calls() <= 1, "the network is called more than once", hint=hint)


# --- ddim_step ---------------------------------------------------------------------------------------------------------


@pytest.mark.stub("ddim_step")
@pytest.mark.parametrize("pixels", ["flat", "image", "video"])
def test_true_velocity_leads_along_the_same_noise(impl, draw, pixels):
    B = draw.batch(2)
    shape = shape_of(draw, B, pixels)
    x0, noise, a, b = draw.uniform(*shape, low=-1), draw.normal(*shape), levels(draw, B), levels(draw, B)
    items = [target_and_input(x0[i], noise[i], a[i].item()) for i in range(B)]
    v, x = torch.stack([item[0] for item in items]), torch.stack([item[1] for item in items])
    expected = torch.stack([target_and_input(x0[i], noise[i], b[i].item())[1] for i in range(B)])
    hint = "given the true v, the step must land on the picture with the SAME noise at the other level, item by item"
    assert_close(impl.ddim_step(x, v, a, b), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("ddim_step")
def test_guess_is_clipped_and_the_noise_follows(impl, draw):
    B, N = draw.batch(2), draw.size(2)
    x, v, a, b = draw.normal(B, N, scale=3), draw.normal(B, N, scale=3), levels(draw, B), levels(draw, B)
    x[0, 0], v[0, 0], x[0, 1], v[0, 1] = 9.0, -9.0, -9.0, 9.0  # far beyond both ends
    expected = torch.zeros_like(x)
    for i in range(B):
        for n in range(N):
            guess = math.sqrt(a[i]) * x[i, n].item() - math.sqrt(1 - a[i]) * v[i, n].item()
            guess = min(1.0, max(-1.0, guess))
            rest = (x[i, n].item() - math.sqrt(a[i]) * guess) / math.sqrt(1 - a[i])
            expected[i, n] = math.sqrt(b[i]) * guess + math.sqrt(1 - b[i]) * rest
    hint = "clip the guess of x_0 to [−1, 1], then take as noise what remains of x: ε = (x − √ᾱ x_0) / √(1 − ᾱ)"
    assert_close(impl.ddim_step(x, v, a, b), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("ddim_step")
def test_step_to_zero_noise_gives_the_clipped_guess(impl, draw):
    B = draw.batch()
    x, v = draw.normal(B, 1, 3, 2, scale=2, dtype=torch.float32), draw.normal(B, 1, 3, 2, scale=2, dtype=torch.float32)
    a = draw.uniform(B, low=0.05, high=0.95, dtype=torch.float32)
    result = impl.ddim_step(x, v, a, torch.ones(B))
    shape = (B, 1, 1, 1)
    guess = (a.sqrt().view(shape) * x - (1 - a).sqrt().view(shape) * v).clamp(-1, 1)
    assert_close(result, guess, hint="at ᾱ = 1 nothing but the guess of x_0 remains")
    assert_between(result.abs().max().item(), 0.0, 1.0, what="the largest ink of a finished picture", hint="clip to [−1, 1]")


@pytest.mark.stub("ddim_step")
def test_step_from_almost_pure_noise_is_finite(impl, draw):
    B = draw.batch()
    x, v = draw.normal(B, 1, 3, 2, dtype=torch.float32), draw.normal(B, 1, 3, 2, dtype=torch.float32)
    a, b = torch.full((B,), 2.4e-9), torch.full((B,), 6e-3)
    result = impl.ddim_step(x, v, a, b)
    assert_finite(result, hint="the velocity gives x_0 without a division by √ᾱ")
    guess = (a[0].double().sqrt() * x - (1 - a[0].double()).sqrt() * v).clamp(-1, 1)
    rest = (x - a[0].double().sqrt() * guess) / (1 - a[0].double()).sqrt()
    expected = b[0].double().sqrt() * guess + (1 - b[0].double()).sqrt() * rest
    assert_close(result, expected.float(), hint="the velocity gives x_0 without a division by √ᾱ")


@pytest.mark.stub("ddim_step")
def test_step_from_pure_noise_to_any_level(impl):
    x, v = torch.tensor([[0.5, -3.0, 2.0]]).repeat(3, 1), torch.tensor([[-0.25, 4.0, 0.75]]).repeat(3, 1)
    guess = torch.tensor([0.25, -1.0, -0.75])  # minus the velocity, clipped
    expected = torch.stack([x[0], math.sqrt(0.5) * (guess + x[1]), guess])
    hint = "at ᾱ = 0 the velocity is minus the picture, and x is the noise: nothing is divided by √ᾱ"
    result = impl.ddim_step(x, v, torch.zeros(3), torch.tensor([0.0, 0.5, 1.0]))
    assert_close(result, expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("ddim_step")
def test_step_to_the_same_level_stays(impl, draw):
    B, N = draw.batch(), draw.size()
    x, v, a = draw.normal(B, N, scale=2), draw.normal(B, N, scale=2), levels(draw, B)
    hint = "picture and noise add up to x at its own level, clipped or not: is the noise computed before the clipping?"
    assert_close(impl.ddim_step(x, v, a, a), x, tolerance=1e-7, hint=hint)


# --- wrong answers -----------------------------------------------------------------------------------------------------


def linear_schedule(timesteps, offset=0.008, largest_beta=0.999):
    return torch.cat([torch.ones(1), (1 - torch.linspace(1e-4, 0.02, timesteps)).cumprod(0)])


def unclipped_schedule(timesteps, offset=0.008, largest_beta=0.999):
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    return (f / f[0]).float()


def clipped_at_the_end(timesteps, offset, largest_beta):
    """Right as long as no other step is too long."""
    u = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    bars = f / f[0]
    bars[-1] = torch.maximum(bars[-1], bars[-2] * (1 - largest_beta))
    return bars.float()


def words_dropped(tokens, uniforms, probability):
    if not 0 <= probability <= 1:
        raise ValueError
    return torch.where((uniforms < probability)[:, None], motion.PAD, tokens)


def guided_from_the_caption(model, x, t, tokens, scale):
    null = torch.tensor(NULL).expand(len(tokens), -1)
    conditional = model(x, t, tokens)
    return conditional + scale * (conditional - model(x, t, null))


def step_with_fresh_noise(x, velocity, alpha_bar, next_alpha_bar):
    shape = (-1, *[1] * (x.ndim - 1))
    a, b = alpha_bar.view(shape), next_alpha_bar.view(shape)
    x0 = (a.sqrt() * x - (1 - a).sqrt() * velocity).clamp(-1, 1)
    return b.sqrt() * x0 + (1 - b).sqrt() * torch.randn_like(x)


FAKES = {
    "alpha_bars": {
        "the linear schedule": linear_schedule,
        "not clipped": unclipped_schedule,
        "in float32": Edit("dtype=torch.float64", "dtype=torch.float32"),
        "β, not ᾱ": Edit("(1 - betas).cumprod(0)", "betas"),
        "α, not its product": Edit(".cumprod(0)", ""),
        "the square root of ᾱ": Edit("cumprod(0).float()", "cumprod(0).sqrt().float()"),
        "only the last step clipped": lambda timesteps, offset=0.008, largest_beta=0.999: clipped_at_the_end(
            timesteps, offset, largest_beta
        ),
        "the product clipped, not the steps": Edit(
            "betas = (1 - f[1:] / f[:-1]).clamp(max=largest_beta)", "betas = 1 - f[1:] / f[:-1]\n    betas[-1] = betas[-1].clamp(max=largest_beta)"
        ),
        "the offset left out": Edit("(u + offset) / (1 + offset)", "u"),
        "without the clean picture": lambda timesteps, offset=0.008, largest_beta=0.999: schedule_in_python(
            timesteps, offset, largest_beta
        )[1:].float(),
    },
    "q_sample": {
        "noise added on top": lambda x0, alpha_bar, noise: x0 + (1 - alpha_bar.reshape(-1, *[1] * (x0.ndim - 1))).sqrt() * noise,
        "without square roots": Edit("a.sqrt() * x0 + (1 - a).sqrt() * noise", "a * x0 + (1 - a) * noise"),
        "1 − √ᾱ for √(1 − ᾱ)": Edit("(1 - a).sqrt()", "(1 - a.sqrt())"),
        "noise and picture exchanged": Edit("a.sqrt() * x0 + (1 - a).sqrt() * noise", "a.sqrt() * noise + (1 - a).sqrt() * x0"),
        "one level for the whole batch": Edit("per_item(alpha_bar, x0)", "alpha_bar[0]"),
        "noise of its own": Edit("* noise", "* torch.randn_like(noise)"),
        "levels kept from 0 and 1": Edit("a = per_item(alpha_bar, x0)", "a = per_item(alpha_bar, x0).clamp(1e-5, 1 - 1e-5)"),
        "a logarithm of the level": Edit("a.sqrt() * x0", "(0.5 * (a + 1e-7).log()).exp() * x0"),
        "pictures alone": lambda x0, alpha_bar, noise: (
            alpha_bar[:, None, None, None].sqrt() * x0 + (1 - alpha_bar[:, None, None, None]).sqrt() * noise
            if x0.ndim != 5
            else x0.transpose(0, 1).mul(alpha_bar.sqrt()[0]).transpose(0, 1) + (1 - alpha_bar[0]).sqrt() * noise
        ),
        "the level on the last axis": Edit("per_item(alpha_bar, x0)", "alpha_bar.mean().expand(x0.shape[-1])"),
        "the picture as it is": lambda x0, alpha_bar, noise: x0.clone(),
    },
    "timestep_embedding": {
        "sines first": Edit("[angles.cos(), angles.sin()]", "[angles.sin(), angles.cos()]"),
        "interleaved": Edit("torch.cat([angles.cos(), angles.sin()], dim=1)", "torch.stack([angles.cos(), angles.sin()], dim=2).flatten(1)"),
        "to the last frequency": Edit("/ half)", "/ max(half - 1, 1))"),
        "divided by the width": Edit("/ half)", "/ width)"),
        "rising frequencies": Edit("-math.log(10000)", "math.log(10000)"),
        "a logarithm to base 10": Edit("math.log(10000)", "math.log10(10000)"),
        "time as a fraction": Edit("t[:, None]", "t[:, None] / 1000"),
        "only sines": Edit("angles.cos()", "angles.sin()"),
        "odd widths accepted": Edit("half < 1 or odd", "half < 1"),
        "the time itself": lambda t, width: t[:, None].float().expand(-1, width).clone(),
    },
    "drop_condition": {
        "padding instead of the null caption": words_dropped,
        "kept where it should be hidden": Edit("uniforms < probability", "uniforms >= probability"),
        "at the bound too": Edit("uniforms < probability", "uniforms <= probability"),
        "word by word": Edit("hidden[:, None]", "hidden[:, None] & (torch.rand(tokens.shape) < 0.5)"),
        "a toss of its own": Edit("uniforms < probability", "torch.rand_like(uniforms) < probability"),
        "all or none": Edit("uniforms < probability", "(uniforms < probability).all().expand(len(uniforms))"),
        "nothing hidden": Edit("return torch.where", "return tokens\n    torch.where"),
        "any probability accepted": Edit("not 0 <= probability <= 1", "False"),
        "as long as the course's captions": Edit("null_captions(tokens)", "torch.tensor([motion.BOS, motion.EOS] + [motion.PAD] * (motion.TOKENS - 2))"),
        "at the bound too, but for a probability of 0": Edit("uniforms < probability", "(uniforms <= probability) & (probability > 0)"),
        "the ends refused": Edit("not 0 <= probability <= 1", "not 0 < probability < 1"),
    },
    "UNet.diffusion_loss": {
        "noise for a target": Edit("a.sqrt() * noise - (1 - a).sqrt() * x0", "noise"),
        "the picture for a target": Edit("a.sqrt() * noise - (1 - a).sqrt() * x0", "x0"),
        "the sign of v turned": Edit("a.sqrt() * noise - (1 - a).sqrt() * x0", "(1 - a).sqrt() * x0 - a.sqrt() * noise"),
        "a sum": Edit("F.mse_loss(velocity, target)", "(velocity - target).square().sum()"),
        "a sum for each item": Edit("F.mse_loss(velocity, target)", "(velocity - target).square().flatten(1).sum(1).mean()"),
        "an absolute error": Edit("F.mse_loss", "F.l1_loss"),
        "the clean picture shown": Edit("self(q_sample(x0, alpha_bar, noise)", "self(x0"),
        "the prediction detached": Edit("F.mse_loss(velocity,", "F.mse_loss(velocity.detach() + 0 * velocity,"),
        "the wrong time told": Edit("noise), t, tokens)", "noise), t - 1, tokens)"),
        "the level of the step before": Edit("schedule[t]", "schedule[t - 1]"),
        "the caption hidden": Edit("noise), t, tokens)", "noise), t, null_captions(tokens))"),
        "zero": Edit("return F.mse_loss", "return 0 * F.mse_loss"),
    },
    "guided_velocity": {
        "from the caption on": guided_from_the_caption,
        "the two exchanged": Edit("unconditional + scale * (conditional - unconditional)", "conditional + scale * (unconditional - conditional)"),
        "the caption alone": Edit("return unconditional + scale * (conditional - unconditional)", "return conditional"),
        "not weighted": Edit("scale * ", ""),
        "scaled without the caption": Edit("unconditional + scale * (conditional - unconditional)", "scale * conditional"),
        "halves exchanged": Edit("conditional, unconditional = ", "unconditional, conditional = "),
        "another null caption": Edit("null_captions(tokens)", "torch.full_like(tokens, motion.PAD + 2)"),
        "noise levels exchanged": Edit("torch.cat([t, t])", "torch.cat([t, t.flip(0) + 1])"),
        "rescaled": Edit("return unconditional", "return (1 / (1 + abs(scale))) * unconditional"),
        "the way without a caption detached": Edit("return unconditional + scale * (conditional - unconditional)",
                                                   "return torch.lerp(unconditional.detach(), conditional, scale)"),
        "without gradients": Edit("conditional, unconditional = model(", "conditional, unconditional = torch.no_grad()(model)("),
        "as long as the course's captions": Edit(
            "null_captions(tokens)", "torch.tensor([motion.BOS, motion.EOS] + [motion.PAD] * (motion.TOKENS - 2)).expand(len(x), -1)"
        ),
        "times side by side": Edit("torch.cat([t, t])", "t.repeat_interleave(2)"),
        "two calls": Edit("model(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)", "[model(x, t, half) for half in both.chunk(2)]"),
    },
    "ddim_step": {
        "fresh noise": step_with_fresh_noise,
        "the velocity taken for noise": Edit("(a.sqrt() * x - (1 - a).sqrt() * velocity)", "((x - (1 - a).sqrt() * velocity) / a.sqrt())"),
        "not clipped": Edit(".clamp(-1, 1)", ""),
        "clipped to [0, 1]": Edit(".clamp(-1, 1)", ".clamp(0, 1)"),
        "the noise from before the clipping": Edit("(x - a.sqrt() * x0) / (1 - a).sqrt()", "(1 - a).sqrt() * x + a.sqrt() * velocity"),
        "the result clipped": Edit("return b.sqrt() * x0 + (1 - b).sqrt() * noise", "return (b.sqrt() * x0 + (1 - b).sqrt() * noise).clamp(-1, 1)"),
        "the guess alone": Edit("return b.sqrt() * x0 + (1 - b).sqrt() * noise", "return x0"),
        "the levels exchanged": Edit("(alpha_bar, next_alpha_bar))", "(next_alpha_bar, alpha_bar))"),
        "the old level again": Edit("(alpha_bar, next_alpha_bar))", "(alpha_bar, alpha_bar))"),
        "one level for the whole batch": Edit("per_item(level, x) for", "level[0] for"),
        "a plus in the guess": Edit("a.sqrt() * x - (1 - a)", "a.sqrt() * x + (1 - a)"),
        "by way of the noise": Edit(
            "(a.sqrt() * x - (1 - a).sqrt() * velocity)", "((x - (1 - a).sqrt() * (a.sqrt() * velocity + (1 - a).sqrt() * x)) / a.sqrt())"
        ),
        "levels kept from 0": Edit("(per_item(level, x) for", "(per_item(level, x).clamp(min=1e-4) for"),
    },
}  # fmt: skip


# --- right answers, written differently --------------------------------------------------------------------------------


def schedule_in_numpy(timesteps, offset=0.008, largest_beta=0.999):
    u = np.linspace(0, 1, timesteps + 1)
    f = np.cos((u + offset) / (1 + offset) * np.pi / 2) ** 2
    alphas = np.maximum(f[1:] / f[:-1], 1 - largest_beta)
    return torch.from_numpy(np.concatenate([[1.0], np.cumprod(alphas)])).float()


def schedule_in_a_loop(timesteps, offset=0.008, largest_beta=0.999):
    return schedule_in_python(timesteps, offset, largest_beta).float()


def looped_q_sample(x0, alpha_bar, noise):
    return torch.stack([a.sqrt() * x + (1 - a).sqrt() * e for x, a, e in zip(x0, alpha_bar, noise, strict=True)])


def looped_embedding(t, width):
    if width <= 0 or width % 2 == 1:
        raise ValueError("the width must be even")
    half = width // 2
    columns = [f(t.double() * 10000 ** (-i / half)) for f in (torch.cos, torch.sin) for i in range(half)]
    return torch.stack(columns, dim=1).float()


def embedding_by_power(t, width):
    if width < 2 or width % 2 != 0:
        raise ValueError("the width must be even")
    periods = 10000.0 ** (2 * torch.arange(width // 2, device=t.device) / width)
    angles = t.float().unsqueeze(1) / periods
    return torch.hstack([torch.cos(angles), torch.sin(angles)])


def null_rows(tokens):
    null = torch.full_like(tokens, motion.PAD)
    null[:, 0], null[:, 1] = motion.BOS, motion.EOS
    return null


def drop_in_a_loop(tokens, uniforms, probability):
    if probability < 0 or probability > 1:
        raise ValueError("no probability")
    null = null_rows(tokens)[0]
    return torch.stack([null if u < probability else row for row, u in zip(tokens, uniforms, strict=True)])


def drop_in_a_copy(tokens, uniforms, probability):
    if not (0 <= probability <= 1):
        raise ValueError("no probability")
    kept = tokens.clone()
    kept[uniforms < probability] = null_rows(tokens)[0]
    return kept


def one_call_the_other_way_round(model, x, t, tokens, scale):
    without, with_caption = model(torch.cat((x, x)), torch.cat((t, t)), torch.cat((null_rows(tokens), tokens))).split(len(x))
    return torch.lerp(without, with_caption, scale)


def ddim_in_a_loop(x, velocity, alpha_bar, next_alpha_bar):
    rows = []
    for row, v, a, b in zip(x, velocity, alpha_bar, next_alpha_bar, strict=True):
        x0 = torch.clamp(torch.sqrt(a) * row - torch.sqrt(1 - a) * v, -1.0, 1.0)
        rows.append(torch.sqrt(b) * x0 + torch.sqrt((1 - b) / (1 - a)) * (row - torch.sqrt(a) * x0))
    return torch.stack(rows)


def ddim_as_a_ratio(x, velocity, alpha_bar, next_alpha_bar):
    shape = [len(x)] + [1] * (x.ndim - 1)
    a, b = alpha_bar.view(shape), next_alpha_bar.view(shape)
    x0 = (a.sqrt() * x - (1 - a).sqrt() * velocity).clip(-1, 1)
    ratio = ((1 - b) / (1 - a)).sqrt()
    return ratio * x + (b.sqrt() - ratio * a.sqrt()) * x0


VARIANTS = {
    "alpha_bars": {
        "NumPy": schedule_in_numpy,
        "a loop": schedule_in_a_loop,
        "minimum": Edit("(1 - f[1:] / f[:-1]).clamp(max=largest_beta)", "torch.minimum(1 - f[1:] / f[:-1], torch.tensor(largest_beta))"),
        "an exponential of a sum": Edit("(1 - betas).cumprod(0).float()", "torch.log1p(-betas).cumsum(0).exp().float()"),
    },
    "q_sample": {
        "a loop": looped_q_sample,
        "einsum": lambda x0, alpha_bar, noise: (
            torch.einsum("b,b...->b...", alpha_bar**0.5, x0) + torch.einsum("b,b...->b...", (1 - alpha_bar) ** 0.5, noise)
        ),
        "axes moved": lambda x0, alpha_bar, noise: (
            x0.movedim(0, -1) * alpha_bar.sqrt() + noise.movedim(0, -1) * (1 - alpha_bar).sqrt()
        ).movedim(-1, 0),
    },
    "timestep_embedding": {
        "a loop": looped_embedding,
        "divided by periods": embedding_by_power,
        "logspace": Edit(
            "torch.exp(-math.log(10000) * torch.arange(half, device=t.device) / half)",
            "torch.logspace(0, -4 * (half - 1) / half, half, device=t.device)",
        ),
        "an outer product": Edit("t[:, None] * frequencies", "torch.outer(t.to(torch.float32), frequencies)"),
    },
    "drop_condition": {
        "a loop": drop_in_a_loop,
        "a copy": drop_in_a_copy,
        "masked_scatter": Edit(
            "torch.where(hidden[:, None], null_captions(tokens), tokens)",
            "tokens * ~hidden[:, None] + null_captions(tokens) * hidden[:, None]",
        ),
    },
    "UNet.diffusion_loss": {
        "without a helper": Edit("per_item(alpha_bar, x0)", "alpha_bar[:, None, None, None]"),
        "a mean of squares": Edit("F.mse_loss(velocity, target)", "torch.mean((target - velocity.to(target)) ** 2)"),
        "by item, then averaged": Edit(
            "F.mse_loss(velocity, target)", "(velocity - target).pow(2).flatten(1).mean(1).mean()"
        ),
        "nothing recorded of the data": Edit("a = per_item(alpha_bar, x0)", "x0, a = x0.detach(), per_item(alpha_bar, x0)"),
        "the module called by name": Edit("self(q_sample", "self.forward(q_sample"),
    },
    "guided_velocity": {
        "the other way round": one_call_the_other_way_round,
        "a convex sum": Edit("unconditional + scale * (conditional - unconditional)", "scale * conditional + (1 - scale) * unconditional"),
        "the paper's w": Edit(
            "unconditional + scale * (conditional - unconditional)",
            "conditional + (scale - 1) * (conditional - unconditional)",
        ),
        "repeat": Edit("torch.cat([x, x]), torch.cat([t, t])", "x.repeat(2, 1, 1, 1), t.repeat(2)"),
    },
    "ddim_step": {
        "a loop": ddim_in_a_loop,
        "one fraction": ddim_as_a_ratio,
        "minimum and maximum": Edit(".clamp(-1, 1)", ".minimum(torch.ones_like(x)).maximum(-torch.ones_like(x))"),
    },
}  # fmt: skip

# Data and levels: a right answer may detach them. Steps are not differentiated.
NO_GRADIENT = {
    "q_sample": ("noise",),
    "drop_condition": ("uniforms",),
    "UNet.diffusion_loss": ("x0", "noise", "schedule"),
    "guided_velocity": ("model",),
    "ddim_step": ("x", "velocity", "alpha_bar", "next_alpha_bar"),
}

SHAPE = "`per_item` takes nothing from its second argument but the number of axes, which is the same"
LENGTH = "`null_captions` takes nothing from its argument but its shape and device"

EQUIVALENT = {
    "alpha_bars": dict.fromkeys(
        (
            "dim: torch.cat([torch.ones(1), (1 - b… -> torch.cat([torch.ones(1), (1 - b… 630be1",
            "constant: (1 - betas).cumprod(0) -> (1 - betas).cumprod(-1)",
        ),
        "a schedule has one axis, so the first is the last",
    ),
    "q_sample": dict.fromkeys(
        (
            "argument confused: per_item(alpha_bar, x0) -> per_item(alpha_bar, noise)",
            "argument ignored: per_item(alpha_bar, x0) -> per_item(alpha_bar, torch.zeros_like(x0))",
            "detach: per_item(alpha_bar, x0) -> per_item(alpha_bar, x0.detach())",
        ),
        SHAPE,
    ),
    "drop_condition": {"argument ignored: null_captions(tokens) -> null_captions(torch.zeros_like(tokens))": LENGTH},
    "UNet.diffusion_loss": dict.fromkeys(
        (
            "argument confused: per_item(alpha_bar, x0) -> per_item(alpha_bar, noise)",
            "argument ignored: per_item(alpha_bar, x0) -> per_item(alpha_bar, torch.zeros_like(x0))",
        ),
        SHAPE,
    ),
    "guided_velocity": {
        "argument ignored: null_captions(tokens) -> null_captions(torch.zeros_like(tokens))": LENGTH,
        "dim: torch.cat([t, t]) -> torch.cat([t, t], dim=-1)": "timesteps have one axis, so the first is the last",
    },
    "ddim_step": dict.fromkeys(
        (
            "argument confused: per_item(level, x) -> per_item(level, velocity)",
            "argument ignored: per_item(level, x) -> per_item(level, torch.zeros_like(x))",
        ),
        SHAPE,
    ),
}
