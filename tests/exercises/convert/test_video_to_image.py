"""What a right answer to convert/video_to_image must do. Truths: nn.LSTM, patches by `F.unfold`, windows one by one, SciPy, loops."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import nn

from course.testing import Edit, assert_close, assert_equal, assert_true, raises


def gradients(function, inputs, cotangents):
    """Gradients of the truth with respect to all of its inputs."""
    with torch.enable_grad():
        leaves = [value.clone().requires_grad_() for value in inputs]
        outputs = function(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        total = sum((value * weight).sum() for value, weight in zip(outputs, cotangents, strict=True))
        return torch.autograd.grad(total, leaves)


# --- figures of a prediction ---


@pytest.mark.stub("psnr")
def test_decibels_of_the_mean_squared_error(impl, draw):
    shape = draw.size(), *draw.sizes(draw.size(1, 3), 1, 5)
    x, y, peak = draw.uniform(*shape), draw.uniform(*shape), draw.number(0.5, 300)
    for given in ({}, {"peak": peak}):
        top = given.get("peak", 1.0)
        expected = [
            20 * math.log10(top) - 10 * math.log10(np.mean((a - b) ** 2)) for a, b in zip(x.numpy(), y.numpy(), strict=True)
        ]
        hint = "10 · log10(peak² / MSE), the MSE over all axes but the first: one figure for each item"
        assert_close(impl.psnr(x, y, **given), torch.tensor(expected, dtype=torch.float64), hint=hint)


@pytest.mark.stub("psnr")
def test_equal_pictures_are_infinitely_close(impl, draw):
    x = draw.uniform(3, 1, draw.size(), draw.size())
    y = x.clone()
    y[1] += 0.1
    expected = torch.tensor([math.inf, 20.0, math.inf], dtype=torch.float64)
    assert_close(
        impl.psnr(x, y),
        expected,
        hint="an error of 0 gives infinity (no epsilon), one of 0.1 everywhere gives 20 dB",
        hint_for="values NaN",
    )


@pytest.mark.stub("psnr")
def test_psnr_can_be_raised_by_gradient(impl, draw):
    B, H, W = draw.batch(), draw.size(), draw.size(2)
    x, y, g = draw.uniform(B, H, W), draw.uniform(B, H, W), draw.normal(B)
    mse = (x - y).square().mean((1, 2), keepdim=True)
    expected = -g[:, None, None] * 20 / math.log(10) * (x - y) / (mse * H * W)
    assert_close(impl.vjp("psnr", x, y, wrt=0, cotangent=g), expected, hint="keep it in torch: it may be a loss")


@pytest.mark.stub("psnr")
def test_psnr_of_nearly_equal_pictures_in_float32(impl):
    target = torch.linspace(0.8, 1, 64).reshape(2, 1, 4, 8)
    predicted = target + torch.tensor([1e-3, -2e-4])[:, None, None, None]
    error = (predicted.double() - target.double()).square().mean((1, 2, 3))
    for scale, peak in ((1.0, 1.0), (255.0, 255.0)):
        expected = -10 * torch.log10(error)
        hint = "means of squares less twice the product cancel: square the difference; no floor, no epsilon"
        result = impl.psnr(scale * predicted, scale * target, peak)
        assert_close(result, expected.float(), tolerance=1e-3, hint=hint, hint_for="values NaN")


def window_of(size, sigma):
    line = np.exp(-0.5 * ((np.arange(size) - (size - 1) / 2) / sigma) ** 2)
    window = np.outer(line, line)
    return torch.tensor(window / window.sum())


def similarity(x, y, size=11, sigma=1.5, peak=1.0):
    """SSIM window by window; deviations are taken from the mean of each window itself."""
    window, c1, c2 = window_of(size, sigma).to(x), (0.01 * peak) ** 2, (0.03 * peak) ** 2
    items = []
    for a, b in zip(x, y, strict=True):
        found = []
        for i in range(x.shape[2] - size + 1):
            for j in range(x.shape[3] - size + 1):
                p, q = (z[:, i : i + size, j : j + size] for z in (a, b))
                mp, mq = (p * window).sum((1, 2)), (q * window).sum((1, 2))
                dp, dq = p - mp[:, None, None], q - mq[:, None, None]
                vp, vq, cov = ((u * v * window).sum((1, 2)) for u, v in ((dp, dp), (dq, dq), (dp, dq)))
                found.append((2 * mp * mq + c1) / (mp**2 + mq**2 + c1) * (2 * cov + c2) / (vp + vq + c2))
        items.append(torch.stack(found).mean())
    return torch.stack(items)


@pytest.mark.stub("ssim")
def test_agrees_with_a_loop_over_windows(impl, draw):
    size = draw.integer(3, 6)  # of two weights each is a half, whatever sigma is
    shape = draw.size(1, 3), draw.size(1, 3), *draw.sizes(2, size, size + 4)
    sigma, peak = draw.number(0.6, 2), draw.number(5, 30)
    x = draw.uniform(*shape)
    y = 0.6 * x + 0.4 * draw.uniform(*shape)
    expected = similarity(x, y, size, sigma, peak)
    hint = "Gaussian weights, only whole windows; C1 = (0.01 peak)², C2 = (0.03 peak)²; the mean over windows and channels of an item"
    assert_close(impl.ssim(x, y, size=size, sigma=sigma, peak=peak), expected, tolerance=2e-5, hint=hint)


@pytest.mark.stub("ssim")
def test_agrees_with_filters_of_scipy(impl, draw):
    shape = draw.size(1, 3), 1, *draw.sizes(2, 12, 20)
    x = draw.uniform(*shape)
    y = 0.6 * x + 0.4 * draw.uniform(*shape)

    def mean(z):  # a radius of int(3.5 · 1.5 + 0.5) = 5 pixels; what the border has touched is cut off
        return gaussian_filter(z.numpy(), 1.5, truncate=3.5, axes=(2, 3))[..., 5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    local = (2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))
    expected = torch.tensor(local.mean((1, 2, 3)))
    assert_close(impl.ssim(x, y), expected, tolerance=2e-5, hint="by default windows of 11×11, a deviation of 1.5, a peak of 1")


@pytest.mark.stub("ssim")
def test_what_it_says_of_simple_pictures(impl, draw):
    H, W = draw.sizes(2, 11, 16)
    a, b = draw.uniform(2, 4, 1, 1, 1, low=0.1).unbind()
    flat = torch.ones(4, 1, H, W, dtype=torch.float64)
    expected = ((2 * a * b + 1e-4) / (a**2 + b**2 + 1e-4)).flatten()
    assert_close(impl.ssim(a * flat, b * flat), expected, tolerance=1e-3, hint="flat pictures differ only in their means")
    x = draw.uniform(2, 3, H, W)
    one = torch.ones(2, dtype=torch.float64)
    assert_close(impl.ssim(x, x), one, hint="equal pictures are 1, also those with a contrast of nought")
    assert_close(impl.ssim(0 * x, 0 * x), one, hint="two empty pictures are equal: the constants keep 0 / 0 away")
    sign = torch.tensor([1.0, -1.0]).repeat(30)[:W] * torch.tensor([1.0, -1.0]).repeat(30)[:H, None]
    board = sign.double().expand(1, 1, H, W)
    assert_true(impl.ssim(board, -board).item() < -0.9, "a picture and its negative are as unlike as can be: nearly -1")


@pytest.mark.stub("ssim")
def test_ssim_can_be_a_loss(impl, draw):
    size, shape = 3, (2, draw.size(1, 2), 4, 5)
    x, y, g = draw.uniform(*shape), draw.uniform(*shape), draw.normal(2)
    expected = gradients(lambda a, b: similarity(a, b, size), (x, y), (g,))
    actual = impl.vjp("ssim", x, y, size=size, wrt=(0, 1), cotangent=g)
    for name, one, other in zip("xy", actual, expected, strict=True):
        assert_close(one, other, tolerance=2e-5, what=f"the gradient of {name}", hint="keep it in torch, detach nothing")


@pytest.mark.stub("ssim")
def test_ssim_follows_the_dtype_of_the_pictures(impl, draw):
    x, y = draw.uniform(2, 2, 1, 12, 12, dtype=torch.float32).unbind()
    expected = similarity(x.double(), y.double()).float()
    assert_close(
        impl.ssim(x, y), expected, tolerance=1e-4, hint="the window takes the dtype of the pictures", hint_for="values dtype"
    )


@pytest.mark.stub("ssim")
def test_a_window_must_fit_into_the_picture(impl, draw):
    size = draw.integer(3, 9)
    for H, W in ((size - 1, size + 3), (size + 3, size - 1)):
        with raises(ValueError, hint="a picture narrower or lower than the window has no SSIM: say so"):
            impl.ssim(draw.uniform(1, 1, H, W), draw.uniform(1, 1, H, W), size=size)
    x = draw.uniform(1, 1, size, size)
    y = 0.6 * x + 0.4 * draw.uniform(1, 1, size, size)
    assert_close(
        impl.ssim(x, y, size=size), similarity(x, y, size), tolerance=2e-5, hint="a picture as large as the window has one window"
    )


@pytest.mark.stub("ssim")
def test_ssim_of_flat_pictures_and_of_single_pixels(impl):
    flat = torch.full((1, 2, 3, 4), 0.5).double()
    for x, y in ((flat, flat), (flat * 0, flat * 0), (flat * 0, flat)):
        expected = gradients(lambda a, b: similarity(a, b, 3), (x, y), (torch.ones(1).double(),))
        actual = impl.vjp("ssim", x, y, size=3, wrt=(0, 1), cotangent=torch.ones(1).double())
        hint = "where nothing varies the gradient is a number too: the root of a variance has an infinite slope at 0"
        for name, one, other in zip("xy", actual, expected, strict=True):
            assert_close(one, other, tolerance=1e-4, what=f"the gradient of {name}", hint=hint, hint_for="values NaN")
    x, y = torch.linspace(0, 1, 24).double().reshape(1, 2, 3, 4), torch.linspace(1, 0.2, 24).double().reshape(1, 2, 3, 4)
    expected = ((2 * x * y + 1e-4) / (x**2 + y**2 + 1e-4)).mean((1, 2, 3))
    assert_close(impl.ssim(x, y, size=1), expected, hint="a window of one pixel has a mean, and no variance")


# --- the cell ---


def gates_of(weight, bias, x, h):
    """i, f, g, o before their activations, from the patch of [x, h] around each pixel."""
    k = weight.shape[-1]
    patches = F.unfold(torch.cat([x, h], dim=1), k, padding=k // 2)  # (B, (I + C) k², H W)
    z = weight.flatten(1) @ patches + bias[:, None]
    return z.unflatten(2, x.shape[2:]).unflatten(1, (4, -1)).unbind(1)


def cell_of(weight, bias, x, h, c):
    z = gates_of(weight, bias, x, h)
    i, f, o = (0.5 + 0.5 * torch.tanh(z[k] / 2) for k in (0, 1, 3))  # σ
    c = f * c + i * torch.tanh(z[2])
    return o * torch.tanh(c), c


def random_cell(impl, draw, kernel, hidden=None):
    """A cell in float64 with random weights, its weights, and the sizes I and C."""
    inputs, other = draw.sizes(2, 1, 4)
    hidden = hidden or other
    cell = impl.ConvLSTMCell(inputs, hidden, kernel)
    cell.double()
    state = draw.like(cell.fresh_state(), scale=0.6)
    cell.load_state_dict(state)
    return cell, state["gates.weight"], state["gates.bias"], inputs, hidden


@pytest.mark.stub("ConvLSTMCell.forward")
def test_a_picture_of_one_pixel_makes_it_an_lstm(impl, draw):
    cell, weight, bias, inputs, hidden = random_cell(impl, draw, 1, hidden=5)
    B, T = draw.batch(1, 4), draw.size(2, 5)
    lstm = nn.LSTM(inputs, hidden, batch_first=True).double()
    matrix = weight.flatten(1)
    lstm.load_state_dict({
        "weight_ih_l0": matrix[:, :inputs], "weight_hh_l0": matrix[:, inputs:],
        "bias_ih_l0": bias, "bias_hh_l0": torch.zeros_like(bias),
    })  # fmt: skip
    x, h, c = draw.normal(B, T, inputs), draw.normal(B, hidden), draw.normal(B, hidden)
    expected, (_, memory) = lstm(x, (h[None], c[None]))
    h, c = h[..., None, None], c[..., None, None]
    hint = "gates in the order i, f, g, o; c = σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c), as nn.LSTM has it"
    for t in range(T):
        h, c = cell(x[:, t, :, None, None], h, c)
        assert_close(h.flatten(1), expected[:, t].detach(), what=f"h at step {t}", hint=hint)
    assert_close(c.flatten(1), memory[0].detach(), what="c", hint=hint)


@pytest.mark.stub("ConvLSTMCell.forward")
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_each_pixel_sees_its_neighbourhood(impl, draw, kernel):
    cell, weight, bias, inputs, hidden = random_cell(impl, draw, kernel)
    B, H, W = draw.batch(1, 3), *draw.sizes(2, 1, 6)
    x, h, c = draw.normal(B, inputs, H, W), draw.normal(B, hidden, H, W), draw.normal(B, hidden, H, W)
    hint = "one convolution over x and h together, x first, zeros around the picture"
    for name, one, other in zip("hc", cell(x, h, c), cell_of(weight, bias, x, h, c), strict=True):
        assert_close(one, other, what=name, hint=hint)


@pytest.mark.stub("ConvLSTMCell.forward")
def test_gradients_reach_input_states_and_weights(impl, draw):
    cell, weight, bias, inputs, hidden = random_cell(impl, draw, 3)
    B, H, W = draw.batch(1, 3), *draw.sizes(2, 1, 4)
    x, h, c = draw.normal(B, inputs, H, W), draw.normal(B, hidden, H, W), draw.normal(B, hidden, H, W)
    g = list(draw.normal(2, B, hidden, H, W).unbind())
    expected = gradients(cell_of, (weight, bias, x, h, c), g)
    hint = "training goes back through time along h and c, and through x to the cell below: detach none"
    for name, one, other in zip("xhc", cell.vjp(x, h, c, wrt=(0, 1, 2), cotangent=g), expected[2:], strict=True):
        assert_close(one, other, what=f"the gradient of {name}", hint=hint)
    actual = cell.vjp(x, h, c, wrt="parameters", cotangent=g)
    for name, other in zip(("gates.weight", "gates.bias"), expected[:2], strict=True):
        assert_close(actual[name], other, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("ConvLSTMCell.forward")
def test_an_open_forget_gate_keeps_the_memory(impl, draw):
    cell, weight, bias, inputs, hidden = random_cell(impl, draw, 3)
    weight, bias = torch.zeros_like(weight), torch.zeros_like(bias)
    bias[:hidden], bias[hidden : 2 * hidden] = -800.0, 800.0
    cell.load_state_dict({"gates.weight": weight, "gates.bias": bias})
    c = draw.normal(2, hidden, 3, 4, scale=3)
    h, kept = cell(draw.normal(2, inputs, 3, 4), draw.normal(2, hidden, 3, 4), c)
    assert_close(kept, c, what="c", hint="σ(f) = 1 and σ(i) = 0 leave c as it is: no tanh on its way")
    assert_close(h, torch.tanh(c) / 2, what="h", hint="h = σ(o) tanh(c), here with σ(0) = ½")
    zeros, g = torch.zeros(2, inputs, 3, 4).double(), [torch.zeros_like(c), torch.ones_like(c)]
    actual = cell.vjp(zeros, torch.zeros_like(c), c, wrt="parameters", cotangent=g)
    hint = "gates that are fully open or shut have a slope of 0: 1 / (1 + exp(−z)) makes it ∞ / ∞, torch.sigmoid does not"
    assert_close(
        actual["gates.bias"], torch.zeros_like(bias), what="the gradient of gates.bias", hint=hint, hint_for="values NaN"
    )


# --- the network ---


def patches_of(frame, p):
    B, _, H, W = frame.shape
    return frame.reshape(B, H // p, p, W // p, p).permute(0, 2, 4, 1, 3).reshape(B, p * p, H // p, W // p)


def picture_of(patches, p):
    B, _, h, w = patches.shape
    return patches.reshape(B, p, p, h, w).permute(0, 3, 1, 4, 2).reshape(B, 1, h * p, w * p)


class Truth:
    """The network written out on its weights, a dictionary."""

    def __init__(self, weights, layers, patch):
        self.weights, self.layers, self.patch = weights, layers, patch

    def step(self, frame, states):
        x, after = patches_of(frame, self.patch), []
        for k in range(self.layers):
            h, c = states[k]
            h, c = cell_of(self.weights[f"cells.{k}.gates.weight"], self.weights[f"cells.{k}.gates.bias"], x, h, c)
            after.append(torch.stack([h, c]))
            x = h
        weight = self.weights["head.weight"]
        change = F.unfold(x, weight.shape[-1], padding=weight.shape[-1] // 2)
        change = (weight.flatten(1) @ change + self.weights["head.bias"][:, None]).unflatten(2, x.shape[2:])
        return frame + picture_of(change, self.patch), torch.stack(after)

    def start(self, frame):
        C = self.weights["head.weight"].shape[1]
        B, _, H, W = frame.shape
        return frame.new_zeros(self.layers, 2, B, C, H // self.patch, W // self.patch)

    def run(self, frames, truth, length):
        """Predictions after each of `length` steps; step t is given frame t of the items where `truth[:, t]`."""
        states, made = self.start(frames[:, 0]), []
        for t in range(length):
            rows = []
            for b in range(len(frames)):
                rows.append(frames[b, t] if t == 0 or (t < frames.shape[1] and bool(truth[b, t])) else made[-1][b])
            prediction, states = self.step(torch.stack(rows), states)
            made.append(prediction)
        return torch.stack(made, dim=1)


def random_network(impl, draw, patch=None, scale=0.5):
    """A network in float64 with random weights, and the truth about it."""
    patch = patch or draw.size(1, 3)
    shape = {"channels": draw.size(1, 3), "layers": draw.size(1, 3), "kernel": draw.choice([1, 3]), "patch": patch}
    model = impl.NextFrame(impl.Config(**shape))
    model.double()
    weights = draw.like(model.fresh_state(), scale=scale)
    model.load_state_dict(weights)
    return model, Truth(weights, shape["layers"], patch)


def random_frames(draw, patch, *leading):
    h, w = draw.sizes(2, 1, 4)
    return draw.uniform(*leading, 1, h * patch, w * patch)


@pytest.mark.stub("NextFrame.step")
def test_a_step_is_the_frame_and_a_change(impl, draw):
    model, truth = random_network(impl, draw)
    frame = random_frames(draw, truth.patch, draw.batch(1, 3))
    states = draw.normal(*truth.start(frame).shape)
    expected = truth.step(frame, states)
    hint = "patches in, cell after cell, each on the h of the one below; the change that `head` makes of the last h is added"
    actual = model.step(frame, states)
    assert_close(actual[0], expected[0], what="the predicted frame", hint=hint)
    assert_close(actual[1], expected[1], what="the states", hint="the new (h, c) of each cell, stacked as they came: (L, 2, …)")


@pytest.mark.stub("NextFrame.step")
def test_a_step_lets_gradients_through(impl, draw):
    model, truth = random_network(impl, draw)
    frame = random_frames(draw, truth.patch, draw.batch(1, 2))
    states = draw.normal(*truth.start(frame).shape)
    g = [draw.normal(*frame.shape), draw.normal(*states.shape)]
    names = list(truth.weights)

    def on_weights(frame, states, *values):
        return Truth(dict(zip(names, values, strict=True)), truth.layers, truth.patch).step(frame, states)

    expected = gradients(on_weights, (frame, states, *truth.weights.values()), g)
    hint = "the past learns through the states, what is below through the frame: detach nothing"
    by_frame, by_states = model.vjp(frame, states, wrt=(0, 1), cotangent=g, method="step")
    assert_close(by_frame, expected[0], what="the gradient of the frame", hint=hint)
    assert_close(by_states, expected[1], what="the gradient of the states", hint=hint)
    actual = model.vjp(frame, states, wrt="parameters", cotangent=g, method="step")
    for name, other in zip(names, expected[2:], strict=True):
        assert_close(actual[name], other, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("NextFrame.step")
def test_an_untrained_network_copies_its_frame(impl, draw):
    model = impl.NextFrame(impl.Config(channels=2, patch=2))
    frame = draw.normal(2, 1, 4, 6, dtype=torch.float32, scale=2)
    prediction, _ = model.step(frame, model.start(frame))
    hint = "`head` starts at zero, so what is left is the frame: no activation or clamp on the way"
    assert_close(prediction, frame, what="the predicted frame", hint=hint)


@pytest.mark.stub("NextFrame.forward")
def test_with_a_teacher_each_step_sees_the_true_frame(impl, draw):
    model, truth = random_network(impl, draw)
    hint = "states start at zero and go from step to step; prediction t is made after frame t"
    for T in (1, draw.size(2, 5)):
        B = draw.batch(1, 3)
        frames = random_frames(draw, truth.patch, B, T)
        everything = torch.ones(B, T, dtype=torch.bool)
        expected = truth.run(frames, everything, T)
        assert_close(model(frames), expected, hint=hint)
        assert_close(model(frames, everything), expected, hint="a mask of True is the same as none")


@pytest.mark.stub("NextFrame.forward")
def test_without_a_teacher_a_step_sees_the_prediction(impl, draw):
    model, truth = random_network(impl, draw)
    B, T = draw.size(2, 3), draw.size(3, 5)
    frames = random_frames(draw, truth.patch, B, T)
    mask = draw.uniform(B, T) < 0.5
    mask[0], mask[1, :3] = False, torch.tensor([True, False, True])
    hint = "item by item: the true frame where the mask says so, else the prediction of the step before; always the first frame"
    assert_close(model(frames, mask), truth.run(frames, mask, T), hint=hint)
    hidden = frames.clone()
    hidden[0, 1:] = torch.nan  # what is not given must not be looked at
    assert_close(
        model(hidden, mask), truth.run(frames, mask, T), hint="choose, do not multiply: what is not given may be anything"
    )


@pytest.mark.stub("NextFrame.forward")
def test_the_future_is_not_seen(impl, draw):
    model, truth = random_network(impl, draw)
    B, T = draw.batch(1, 3), draw.size(2, 5)
    frames = random_frames(draw, truth.patch, B, T)
    t = draw.integer(1, T - 1)
    other = frames.clone()
    other[:, t:] = draw.uniform(*other[:, t:].shape)
    expected = truth.run(frames, torch.ones(B, T, dtype=torch.bool), T)[:, :t]
    hint = "prediction t may depend on frames up to t, and on none after"
    assert_close(model(other)[:, :t], expected, what="a prediction made before the frames that changed", hint=hint)


@pytest.mark.stub("NextFrame.forward")
def test_training_goes_back_through_time(impl, draw):
    model, truth = random_network(impl, draw)
    B, T = draw.batch(1, 2), draw.size(2, 4)
    frames = random_frames(draw, truth.patch, B, T)
    mask = draw.uniform(B, T) < 0.5
    mask[0, 1] = False  # at least one prediction is fed back
    g = draw.normal(*frames.shape)
    names = list(truth.weights)

    def on_weights(frames, *values):
        return Truth(dict(zip(names, values, strict=True)), truth.layers, truth.patch).run(frames, mask, T)

    by_frames, *by_weights = gradients(on_weights, (frames, *truth.weights.values()), (g,))
    hint = "neither the states nor the predictions that are fed back may be detached"
    assert_close(model.vjp(frames, mask, wrt=0, cotangent=g), by_frames, what="the gradient of the frames", hint=hint)
    actual = model.vjp(frames, mask, wrt="parameters", cotangent=g)
    for name, other in zip(names, by_weights, strict=True):
        assert_close(actual[name], other, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("rollout")
def test_predictions_become_inputs(impl, draw):
    model, truth = random_network(impl, draw)
    B, K, S = draw.batch(1, 3), draw.size(1, 4), draw.size(1, 4)
    frames = random_frames(draw, truth.patch, B, K)
    expected = truth.run(frames, torch.ones(B, K, dtype=torch.bool), K + S - 1)[:, K - 1 :]
    hint = (
        "the given frames fill the memory; the first result follows the last of them, each other one is made from the one before"
    )
    assert_close(impl.rollout(model, frames, S), expected, hint=hint)


@pytest.mark.stub("rollout")
def test_a_rollout_keeps_what_is_no_ink(impl):
    model = impl.NextFrame(impl.Config(channels=1, layers=1, patch=1, kernel=1))
    weights = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    weights["head.bias"] += 0.75  # each frame is the one before, and three quarters more
    model.load_state_dict(weights)
    frames = torch.tensor([[-2.0, 0.5], [0.25, 9.0]])[:, :, None, None, None].expand(2, 2, 1, 3, 2)
    expected = frames[:, -1:] + 0.75 * torch.arange(1.0, 6).reshape(1, 5, 1, 1, 1)
    hint = "predictions are fed back and returned as they are, beyond [0, 1] too; `steps` of them, and none of the given frames"
    assert_close(impl.rollout(model, frames, 5), expected, hint=hint)
    assert_close(
        impl.rollout(model, frames[:, 1:], 1), expected[:, :1], hint="one frame is enough to start from, one step to make"
    )


@pytest.mark.stub("rollout")
def test_gradient_of_a_rollout(impl, draw):
    model, truth = random_network(impl, draw)
    B, K, S = draw.batch(1, 2), draw.size(1, 3), draw.size(2, 3)
    frames = random_frames(draw, truth.patch, B, K)
    g = draw.normal(B, S, *frames.shape[2:])
    given = torch.ones(B, K, dtype=torch.bool)
    (expected,) = gradients(lambda x: truth.run(x, given, K + S - 1)[:, K - 1 :], (frames,), (g,))
    actual = impl.vjp("rollout", model, frames, S, wrt=1, cotangent=g)
    assert_close(actual, expected, hint="a model may be trained through its own rollout: detach nothing")


@pytest.mark.stub("next_frame_loss")
def test_each_prediction_is_held_against_the_frame_that_follows(impl, draw):
    B, T = draw.batch(), draw.size(1, 5)
    rest = draw.sizes(draw.size(1, 3), 1, 5)
    predictions, frames = draw.normal(B, T, *rest), draw.normal(B, T + 1, *rest)
    errors = [(predictions[b, t] - frames[b, t + 1]).square() for b in range(B) for t in range(T)]
    hint = "prediction t is for frame t + 1; the mean over everything"
    assert_close(impl.next_frame_loss(predictions, frames), torch.stack(errors).mean(), hint=hint)
    expected = torch.zeros((), dtype=torch.float64)
    assert_close(impl.next_frame_loss(frames[:, 1:], frames), expected, hint="the true next frames cost nothing")


@pytest.mark.stub("next_frame_loss")
def test_gradient_of_the_loss(impl, draw):
    B, T, N = draw.batch(), draw.size(1, 5), draw.size()
    predictions, frames = draw.normal(B, T, N), draw.normal(B, T + 1, N)
    expected = 2 * (predictions - frames[:, 1:]) / (B * T * N)
    hint = "2 · error / number of values: mean, not sum, and nothing detached"
    assert_close(impl.vjp("next_frame_loss", predictions, frames, wrt=0), expected, hint=hint)


@pytest.mark.stub("next_frame_loss")
def test_blank_frames_count_and_so_does_the_size_of_an_error(impl):
    frames = torch.zeros(2, 3, 1, 2, 2)
    frames[1] = 1.0
    for value, expected in ((0.5, 0.25), (1e4, (1e8 + 9999.0**2) / 2), (0.0, 0.5)):
        hint = "every pixel counts, blank ones too, by the square of its error: no mask, no clamp"
        result = impl.next_frame_loss(torch.full((2, 2, 1, 2, 2), value), frames)
        assert_close(result, torch.tensor(expected), what=f"the loss of {value:g} everywhere", hint=hint)


# --- the verb ---


def small_converter(impl, draw):
    model, truth = random_network(impl, draw, patch=draw.choice([2, 4]), scale=0.2)
    return model, lambda videos: truth.run(videos, torch.ones(len(videos), 7, dtype=torch.bool), 7)[:, -1].clamp(0, 1)


@pytest.mark.stub("convert")
@pytest.mark.parametrize("frames", [7, 8, 10])
def test_the_eighth_frame_is_predicted_from_the_first_seven(impl, draw, frames):
    model, expected = small_converter(impl, draw)
    videos = draw.uniform(draw.size(1, 3), frames, 1, 24, 24)
    hint = "the prediction after the seventh frame, with all seven given, clamped to [0, 1]"
    assert_close(impl.convert(model, videos), expected(videos[:, :7]), hint=hint)


@pytest.mark.stub("convert")
def test_the_eighth_frame_does_not_leak(impl, draw):
    model, expected = small_converter(impl, draw)
    videos = draw.uniform(draw.size(1, 3), 8, 1, 24, 24)
    before = expected(videos[:, :7])
    for value in (0.0, 1.0, torch.nan):
        videos[:, 7] = value
        hint = "frame 8 is the answer: cut it off before the network (and anything else) sees it"
        assert_close(impl.convert(model, videos), before, what=f"the prediction with an eighth frame of {value}", hint=hint)


@pytest.mark.stub("convert")
def test_the_result_is_a_picture(impl, draw):
    model = impl.NextFrame(impl.Config(channels=1, patch=4))
    weights = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    weights["head.bias"][:8], weights["head.bias"][8:] = 3.0, -3.0
    model.load_state_dict(weights)
    result = impl.convert(model, draw.uniform(2, 8, 1, 24, 24))  # in float64, unlike the model
    rows = torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(6)
    hint = "ink lies in [0, 1]; videos come to the dtype of the model"
    assert_close(result, rows[:, None].expand(2, 1, 24, 24), hint=hint, hint_for="values dtype")


@pytest.mark.stub("convert")
@pytest.mark.parametrize(
    "shape", [(2, 6, 1, 24, 24), (8, 1, 24, 24), (24,), (1, 8, 3, 24, 24), (1, 8, 1, 24, 20), (1, 8, 1, 28, 24)]
)
def test_other_videos_are_refused(impl, draw, shape):
    model, _ = small_converter(impl, draw)
    with raises(ValueError, hint="fewer than seven frames, or frames that are not 1×24×24: say what came and what was expected"):
        impl.convert(model, torch.zeros(shape, dtype=torch.float64))


@pytest.mark.stub("convert")
def test_no_video_is_refused_for_its_number(impl, draw):
    model, expected = small_converter(impl, draw)
    model.eval()
    videos = draw.uniform(1, 7, 1, 24, 24)
    result = impl.convert(model, videos)
    assert_equal(tuple(result.shape), (1, 1, 24, 24), what="the shape", hint="a batch of one keeps its axis")
    assert_close(result, expected(videos))


# --- the same, written otherwise; and wrong ---


def psnr_in_numbers(predicted, target, peak=1.0):
    error = (predicted - target).reshape(len(target), -1)
    return -10 * torch.log10((error / peak).pow(2).sum(1) / error.shape[1])


def ssim_by_unfold(x, y, *, size=11, sigma=1.5, peak=1.0):
    """All windows at once, deviations taken from their own means."""
    if x.shape[2] < size or x.shape[3] < size:
        raise ValueError(f"expected pictures of at least {size}×{size}, got {tuple(x.shape)}")
    window = window_of(size, sigma).to(x).flatten()
    p, q = (F.unfold(z.flatten(0, 1)[:, None], size) for z in (x, y))  # (B C, size², windows)
    mp, mq = window @ p, window @ q
    dp, dq = p - mp[:, None], q - mq[:, None]
    c1, c2 = (peak / 100) ** 2, (3 * peak / 100) ** 2
    luminance = (2 * mp * mq + c1) / (mp**2 + mq**2 + c1)
    structure = (2 * (window @ (dp * dq)) + c2) / (window @ dp**2 + window @ dq**2 + c2)
    return (luminance * structure).unflatten(0, x.shape[:2]).mean((1, 2))


def ssim_by_groups(x, y, *, size=11, sigma=1.5, peak=1.0):
    """A grouped convolution, once along each axis: the window is an outer product."""
    if size > x.shape[2] or size > x.shape[3]:
        raise ValueError("too small")
    C = x.shape[1]
    line = torch.exp(-((torch.arange(size, dtype=torch.float32) - (size - 1) / 2) ** 2) / (2 * sigma**2))
    line = (line / line.sum()).to(x).expand(C, 1, size)

    def mean(z):
        return F.conv2d(F.conv2d(z, line[:, :, :, None], groups=C), line[:, :, None], groups=C)

    mx, my = mean(x), mean(y)
    spread = mean(x**2) + mean(y**2) - mx**2 - my**2
    both = mean(x * y) - mx * my
    c1, c2 = 1e-4 * peak**2, 9e-4 * peak**2
    return ((2 * mx * my + c1) * (2 * both + c2) / ((mx**2 + my**2 + c1) * (spread + c2))).mean((1, 2, 3))


def ssim_of_the_whole(x, y, *, size=11, sigma=1.5, peak=1.0):
    """One window, the whole picture."""
    if min(x.shape[2:]) < size:
        raise ValueError("too small")
    a, b = x.flatten(1), y.flatten(1)
    ma, mb = a.mean(1), b.mean(1)
    va, vb, cov = a.var(1, correction=0), b.var(1, correction=0), ((a - ma[:, None]) * (b - mb[:, None])).mean(1)
    c1, c2 = 1e-4 * peak**2, 9e-4 * peak**2
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))


def cell_in_two_convolutions(self, x, h, c):
    weight, bias, I = self.gates.weight, self.gates.bias, x.shape[1]
    side = weight.shape[-1] // 2
    z = F.conv2d(x, weight[:, :I], bias, padding=side) + F.conv2d(h, weight[:, I:], padding=side)
    i, f, g, o = z.tensor_split(4, dim=1)
    c = torch.addcmul(f.sigmoid() * c, i.sigmoid(), g.tanh())
    return o.sigmoid() * c.tanh(), c


def cell_by_gates(self, x, h, c):
    C = c.shape[1]
    z = self.gates(torch.cat((x, h), 1))
    gate = torch.sigmoid(z)
    c = gate[:, C : 2 * C] * c + gate[:, :C] * torch.tanh(z[:, 2 * C : 3 * C])
    return gate[:, 3 * C :] * torch.tanh(c), c


def step_by_reshape(self, frame, states):
    x, hs, cs = patches_of(frame, self.config.patch), [], []
    for k, cell in enumerate(self.cells):
        x, c = cell(x, states[k, 0], states[k, 1])
        hs.append(x)
        cs.append(c)
    return picture_of(self.head(x), self.config.patch) + frame, torch.stack([torch.stack(hs), torch.stack(cs)], dim=1)


def step_in_place(self, frame, states):
    x, after = F.pixel_unshuffle(frame, self.config.patch), torch.zeros_like(states)
    for k, cell in enumerate(self.cells):
        h, c = cell(x, *states[k])
        after = torch.cat([after[:k], torch.stack([h, c])[None], after[k + 1 :]])
        x = h
    return frame.add(F.pixel_shuffle(self.head(x), self.config.patch)), after


def forward_with_a_list(self, frames, truth=None):
    """Item by item where there is a mask."""
    states, frame, made = self.start(frames[:, 0]), frames[:, 0], []
    for t in range(frames.shape[1]):
        if t:
            rows = range(len(frames))
            frame = frames[:, t] if truth is None else torch.stack([frames[b, t] if truth[b, t] else made[-1][b] for b in rows])
        prediction, states = self.step(frame, states)
        made.append(prediction)
    return torch.stack(made, 1)


def rollout_by_forward(model, frames, steps):
    """The given frames under a teacher, then zeros that nobody looks at."""
    B, K = frames.shape[:2]
    rest = torch.zeros_like(frames[:, :1]).expand(-1, steps - 1, -1, -1, -1)
    mask = torch.arange(K + steps - 1, device=frames.device).expand(B, -1) < K
    return model(torch.cat([frames, rest], dim=1), mask)[:, K - 1 :]


def rollout_from_scratch(model, frames, steps):
    """The whole sequence again for each new frame: slow, and right."""
    for _ in range(steps):
        frames = torch.cat([frames, model(frames)[:, -1:]], dim=1)
    return frames[:, -steps:]


def rollout_in_one_loop(model, frames, steps):
    K, made, states = frames.shape[1], [], model.start(frames[:, 0])
    for t in range(K + steps - 1):
        prediction, states = model.step(frames[:, t] if t < K else made[-1], states)
        made.append(prediction)
    return torch.stack(made[K - 1 :], dim=1)


@torch.no_grad()
def convert_by_rollout(model, videos):
    if tuple(videos.shape[2:]) != (1, 24, 24) or videos.shape[1] < 7:
        raise ValueError(f"expected seven frames of 1×24×24, got {tuple(videos.shape)}")
    weight = model.head.weight
    return rollout_in_one_loop(model, videos[:, :7].to(weight.device, weight.dtype), 1)[:, 0].clamp(0, 1)


FAKES = {
    "psnr": {
        "amplitude, not power": Edit("10 * torch.log10", "20 * torch.log10"),
        "natural logarithm": Edit("torch.log10", "torch.log"),
        "the peak not squared": Edit("peak**2", "peak"),
        "the peak ignored": Edit("peak**2 / mse", "1 / mse"),
        "upside down": Edit("peak**2 / mse", "mse / peak**2"),
        "over the batch": lambda predicted, target, peak=1.0: (
            10 * torch.log10(peak**2 / (predicted - target).square().mean()) * torch.ones_like(predicted.flatten(1)[:, 0])
        ),
        "summed": Edit(".mean(dim=1)", ".sum(dim=1)"),
        "an epsilon": Edit("peak**2 / mse", "peak**2 / (mse + 1e-8)"),
        "squares less products": Edit(
            'F.mse_loss(predicted, target, reduction="none")',
            "(predicted.square() - 2 * predicted * target + target.square()).abs()",
        ),
        "absolute error": Edit("mse_loss", "l1_loss"),
        "of the last axis": Edit(".flatten(1).mean(dim=1)", ".flatten(1)[:, -1]"),
        "detached": Edit("mse_loss(predicted,", "mse_loss(predicted.detach(),"),
    },
    "ssim": {
        "one window for all": ssim_of_the_whole,
        "a flat window": Edit("gaussian_window(size, sigma)", "torch.full((size, size), 1 / size**2)"),
        "padded with zeros": Edit("window)  # every", "window, padding=size // 2)  # every"),
        "sigma ignored": Edit("gaussian_window(size, sigma)", "gaussian_window(size, 1.5)"),
        "the peak ignored": Edit("(0.01 * peak) ** 2, (0.03 * peak) ** 2", "0.01**2, 0.03**2"),
        "constants not squared": Edit("(0.01 * peak) ** 2, (0.03 * peak) ** 2", "0.01 * peak, 0.03 * peak"),
        "constants exchanged": Edit("c1, c2 =", "c2, c1 ="),
        "no constants": Edit("(0.01 * peak) ** 2, (0.03 * peak) ** 2", "0.0, 0.0"),
        "second moments for variances": Edit("mean(x * x) - mx * mx, mean(y * y) - my * my", "mean(x * x), mean(y * y)"),
        "the covariance not doubled": Edit("2 * covariance", "covariance"),
        "luminance only": Edit("local = ", "local = (2 * mx * my + c1) / (mx * mx + my * my + c1) #"),
        "structure only": Edit("local = ", "local = (2 * covariance + c2) / (vx + vy + c2) #"),
        "deviations, not variances": Edit("(vx + vy + c2)", "(2 * (vx.clamp(min=1e-12) * vy.clamp(min=1e-12)).sqrt() + c2)"),
        "a root on the way": Edit("(vx + vy + c2)", "(vx.clamp(min=0).sqrt().square() + vy.clamp(min=0).sqrt().square() + c2)"),
        "windows of two pixels at least": Edit(
            "if min(x.shape[-2:]) < size:", "size = max(size, 2)\n    if min(x.shape[-2:]) < size:"
        ),
        "over the batch": Edit(
            "return local.unflatten(0, x.shape[:2]).flatten(1).mean(dim=1)", "return local.mean().repeat(len(x))"
        ),
        "any size accepted": Edit("raise ValueError", "size = min(x.shape[-2:])\n        str"),
        "only the height looked at": Edit("min(x.shape[-2:])", "x.shape[-2]"),
        "a dissimilarity": Edit("return local", "return 1 - local"),
        "the first channel": Edit("z.flatten(0, 1).unsqueeze(1)", "z[:, :1].expand_as(z).flatten(0, 1).unsqueeze(1)"),
    },
    "ConvLSTMCell.forward": {
        "f and i exchanged": Edit("i, f, g, o =", "f, i, g, o ="),
        "the order of another library": Edit("i, f, g, o =", "i, f, o, g ="),
        "a sigmoid for the candidate": Edit("torch.tanh(g)", "torch.sigmoid(g)"),
        "no tanh of the memory": Edit("torch.tanh(c), c", "c, c"),
        "coupled gates, as in a GRU": Edit("torch.sigmoid(i) *", "(1 - torch.sigmoid(f)) *"),
        "nothing forgotten": Edit("torch.sigmoid(f) * c", "c"),
        "no memory": Edit("torch.sigmoid(f) * c +", ""),
        "h before x": Edit("torch.cat([x, h], dim=1)", "torch.cat([h, x], dim=1)"),
        "h not used": Edit("[x, h]", "[x, 0 * h]"),
        "x not used": Edit("[x, h]", "[0 * x, h]"),
        "the memory returned first": Edit(
            "return torch.sigmoid(o) * torch.tanh(c), c", "return c, torch.sigmoid(o) * torch.tanh(c)"
        ),
        "the old memory returned": lambda self, x, h, c: (cell_by_gates(self, x, h, c)[0], c),
        "the old memory shown": Edit(
            "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)\n        return torch.sigmoid(o) * torch.tanh(c), c",
            "return torch.sigmoid(o) * torch.tanh(c), torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)",
        ),
        "cut off in time": Edit("[x, h]", "[x, h.detach()]"),
        "a memory cut off in time": Edit("torch.sigmoid(f) * c", "torch.sigmoid(f) * c.detach()"),
        "the memory clamped": Edit("return", "c = torch.tanh(c)\n        return"),
        "a sigmoid by hand": Edit(
            "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)",
            "c = 1 / (1 + torch.exp(-f)) * c + 1 / (1 + torch.exp(-i)) * torch.tanh(g)",
        ),
        "gates clamped": Edit("torch.sigmoid(f) * c", "torch.sigmoid(f.clamp(-9, 9)) * c"),
    },
    "NextFrame.step": {
        "no skip": Edit("return frame + ", "return "),
        "a sigmoid at the end": Edit(
            "return frame + F.pixel_shuffle(self.head(x), self.config.patch)",
            "return torch.sigmoid(frame + F.pixel_shuffle(self.head(x), self.config.patch))",
        ),
        "clamped": Edit(
            "return frame + F.pixel_shuffle(self.head(x), self.config.patch)",
            "return (frame + F.pixel_shuffle(self.head(x), self.config.patch)).clamp(0, 1)",
        ),
        "every cell sees the memory below": Edit("x = after[-1][0]", "x = after[-1][1]"),
        "the old states returned": Edit("torch.stack(after)", "states"),
        "only the first cell": Edit("zip(self.cells, states, strict=True)", "zip(self.cells[:1], states, strict=False)"),
        "h and c exchanged on the way out": Edit("torch.stack(after)", "torch.stack(after).flip(1)"),
        "states without a past": Edit("cell(x, h, c)", "cell(x, 0 * h, c)"),
        "the frame detached": Edit("return frame +", "return frame.detach() +"),
        "the states detached": Edit("torch.stack(after)", "torch.stack(after).detach()"),
        "patches side by side": Edit(
            "F.pixel_unshuffle(frame, self.config.patch), []",
            "frame.reshape(len(frame), self.config.patch**2, *states.shape[-2:]), []",
        ),
    },
    "NextFrame.forward": {
        "always a teacher": Edit("t > 0 and truth is not None", "False"),
        "never a teacher": Edit("t > 0 and truth is not None", "t > 0"),
        "the mask turned round": Edit("None], frame, predictions[-1])", "None], predictions[-1], frame)"),
        "the mask of the first item": Edit("truth[:, t, None, None, None]", "truth[:1, t, None, None, None]"),
        "the mask of the step before": Edit("truth[:, t, None", "truth[:, t - 1, None"),
        "the flag of the first step": Edit("truth[:, t, None, None, None]", "truth[:, 0, None, None, None]"),
        "no memory between steps": Edit("prediction, states = self.step", "prediction, _ = self.step"),
        "predictions fed back detached": Edit("predictions[-1])", "predictions[-1].detach())"),
        "states detached": Edit("self.step(frame, states)", "self.step(frame, states.detach())"),
        "a mixture by product": Edit(
            "torch.where(truth[:, t, None, None, None], frame, predictions[-1])",
            "frame * truth[:, t, None, None, None] + predictions[-1] * ~truth[:, t, None, None, None]",
        ),
        "the frame looked up in the future": Edit("frame = frames[:, t]", "frame = frames[:, min(t + 1, frames.shape[1] - 1)]"),
        "only the last prediction": Edit(
            "torch.stack(predictions, dim=1)", "torch.stack(predictions[-1:] * len(predictions), dim=1)"
        ),
        "the frames themselves": lambda self, frames, truth=None: frames,
    },
    "rollout": {
        "the last given frame seen twice": Edit("model.step(made[-1], states)", "model.step(frame, states)"),
        "memory lost between steps": Edit("model.step(made[-1], states)", "model.step(made[-1], model.start(made[-1]))"),
        "only the last frame given": Edit("frames.unbind(1)", "frames[:, -1:].unbind(1)"),
        "the last prediction repeated": lambda model, frames, steps: model(frames)[:, -1:].expand(-1, steps, -1, -1, -1),
        "a step too late": lambda model, frames, steps: rollout_from_scratch(model, frames, steps + 1)[:, 1:],
        "a step too early": lambda model, frames, steps: torch.cat([frames, rollout_from_scratch(model, frames, steps)], 1)[
            :, frames.shape[1] - 1 : -1
        ],
        "copies": lambda model, frames, steps: frames[:, -1:].expand(-1, steps, -1, -1, -1),
        "clamped on the way": Edit("model.step(made[-1], states)", "model.step(made[-1].clamp(-4, 4), states)"),
        "clamped at the end": Edit("torch.stack(made, dim=1)", "torch.stack(made, dim=1).clamp(-9, 9)"),
        "detached": Edit("made[-1], states", "made[-1].detach(), states.detach()"),
        "without a gradient": torch.no_grad()(rollout_in_one_loop),
    },
    "next_frame_loss": {
        "the frames that were seen": Edit("frames[:, 1:]", "frames[:, :-1]"),
        "summed": Edit("F.mse_loss(predictions, frames[:, 1:])", "F.mse_loss(predictions, frames[:, 1:], reduction='sum')"),
        "absolute errors": Edit("mse_loss", "l1_loss"),
        "summed over an item": lambda predictions, frames: (predictions - frames[:, 1:]).square().flatten(1).sum(1).mean(),
        "the last frame only": lambda predictions, frames: F.mse_loss(predictions[:, -1], frames[:, -1]),
        "a root": lambda predictions, frames: F.mse_loss(predictions, frames[:, 1:]).sqrt(),
        "blank pixels left out": lambda predictions, frames: (
            (predictions - frames[:, 1:]).square() * ((frames[:, 1:] != 0) | (frames[:, :-1] != 0))
        ).mean(),
        "large errors cut": lambda predictions, frames: (predictions - frames[:, 1:]).square().clamp(max=1e3).mean(),
        "changes, not frames": lambda predictions, frames: F.mse_loss(predictions, frames[:, 1:] - frames[:, :-1]),
        "detached": Edit("predictions,", "predictions.detach(),"),
        "halved": Edit("F.mse_loss", "0.5 * F.mse_loss"),
    },
    "convert": {
        "the eighth frame itself": lambda model, videos: videos[:, -1],
        "the eighth frame seen": Edit("videos[:, :GIVEN] if videos.ndim == 5 else videos", "videos"),
        "the prediction after the eighth frame": Edit("videos[:, :GIVEN]", "videos[:, -GIVEN:]"),
        "the last frame copied": Edit("model(given)[:, -1]", "given[:, -1]"),
        "the last frame only": Edit("model(given)[:, -1]", "model(given[:, -1:])[:, -1]"),
        "the prediction of the seventh": Edit("model(given)[:, -1]", "model(given)[:, -2]"),
        "a free rollout from the first": Edit(
            "model(given)[:, -1]", "model(given, torch.zeros(given.shape[:2], dtype=torch.bool))[:, -1]"
        ),
        "the first prediction": Edit("[:, -1].clamp", "[:, 0].clamp"),
        "not clamped": Edit(".clamp(0, 1)", ""),
        "blended with the answer": Edit(
            "model(given)[:, -1].clamp(0, 1)", "(0.9 * model(given)[:, -1] + 0.1 * videos[:, -1].to(given)).clamp(0, 1)"
        ),
        "anything accepted": Edit("motion.check_videos(given, GIVEN, most=None)", "given"),
        "six frames accepted": Edit("(given, GIVEN, most", "(given, GIVEN - 1, most"),
        "eight frames demanded": Edit("    given = videos[:", "    motion.check_videos(videos, GIVEN + 1)\n    given = videos[:"),
        "the dtype of the video": Edit(".to(next(model.parameters()))", ""),
    },
}

VARIANTS = {
    "psnr": {
        "a minus": psnr_in_numbers,
        "mse_loss": lambda predicted, target, peak=1.0: (
            20 * math.log10(peak)
            - 10 * torch.log10(F.mse_loss(predicted, target, reduction="none").mean(tuple(range(1, target.ndim))))
        ),
        "a root": lambda predicted, target, peak=1.0: torch.stack(
            [20 * torch.log10(peak / (a - b).pow(2).mean().sqrt()) for a, b in zip(predicted, target, strict=True)]
        ),
    },
    "ssim": {
        "a loop": lambda x, y, *, size=11, sigma=1.5, peak=1.0: (
            ssim_by_unfold(x, y, size=size, sigma=sigma, peak=peak) if min(x.shape[2:]) < size else similarity(x, y, size, sigma, peak)
        ),
        "unfolded": ssim_by_unfold,
        "one axis after the other": ssim_by_groups,
    },
    "ConvLSTMCell.forward": {
        "two convolutions": cell_in_two_convolutions,
        "slices": cell_by_gates,
        "patches": lambda self, x, h, c: cell_of(self.gates.weight, self.gates.bias, x, h, c),
    },
    "NextFrame.step": {
        "by reshape": step_by_reshape,
        "into a copy": step_in_place,
        "lists": Edit("after.append(torch.stack(cell(x, h, c)))", "after += [torch.stack(list(cell(x, h, c)), dim=0)]"),
    },
    "NextFrame.forward": {
        "item by item": forward_with_a_list,
        "a mask that starts with True": Edit(
            "frame = frames[:, t]\n            if t > 0 and truth is not None:",
            "frame = frames.select(1, t)\n            if truth is not None and t:",
        ),
        "lerp of nothing": Edit(
            "torch.where(truth[:, t, None, None, None], frame, predictions[-1])",
            "predictions[-1].masked_scatter(truth[:, t].view(-1, 1, 1, 1).expand_as(frame), frame[truth[:, t]])",
        ),
    },
    "rollout": {
        "one loop": rollout_in_one_loop,
        "by forward": rollout_by_forward,
        "from scratch": rollout_from_scratch,
    },
    "next_frame_loss": {
        "by hand": lambda predictions, frames: (frames[:, 1:] - predictions).pow(2).mean(),
        "frame by frame": lambda predictions, frames: torch.stack(
            [F.mse_loss(predictions[:, t], frames[:, t + 1]) for t in range(predictions.shape[1])]
        ).mean(),
        "a norm": lambda predictions, frames: torch.linalg.vector_norm(predictions - frames.narrow(1, 1, frames.shape[1] - 1)) ** 2
        / predictions.numel(),
    },
    "convert": {
        "by rollout": convert_by_rollout,
        "clip": Edit("model(given)[:, -1].clamp(0, 1)", "torch.clip(model.forward(given).select(1, GIVEN - 1), min=0.0, max=1.0)"),
        "a narrow view": Edit("videos[:, :GIVEN]", "videos.split(GIVEN, dim=1)[0]"),
    },
}  # fmt: skip

# Targets; and what is converted is never differentiated.
NO_GRADIENT = {
    "psnr": ("target",),
    "next_frame_loss": ("frames",),
}

START = "`start` looks only at the shape, the dtype and the device of a frame, and its zeros have no past"
ALIKE = "SSIM is the same of (x, y) and (y, x), and of the variances it takes only the sum"

EQUIVALENT = {
    "convert": {
        "dtype: videos = videos.double()": "videos come to the dtype of the model, and float64 holds every number of float32"
    },
    "ssim": {
        "order: (mean(x), mean(y)) -> (mean(y), mean(x))": ALIKE,
        "order: (mean(x * x) - mx * mx, mean(y *… -> (mean(y * y) - my * my, mean(x *… 53bace": ALIKE,
    },
    "NextFrame.forward": {
        "no_grad: states = self.start(frames[:, 0]) -> with torch.no_grad(): states = self.start(frames[:, 0])": START,
        "argument ignored: frames[:, 0] -> torch.zeros_like(frames)[:, 0]": START,
        "detach: frames[:, 0] -> frames.detach()[:, 0]": START,
        "constant: frames[:, 0] -> frames[:, -1]": START,
        "axes: truth[:, t, None, None, None] -> truth[:, None, t, None, None]": "the new axes stand in the same places of the result",
    },
    "rollout": {
        "no_grad: states = model.start(frames[:, 0]) -> with torch.no_grad(): states = model.start(frames[:, 0])": START,
        "argument ignored: frames[:, 0] -> torch.zeros_like(frames)[:, 0]": START,
        "detach: frames[:, 0] -> frames.detach()[:, 0]": START,
        "constant: frames[:, 0] -> frames[:, -1]": START,
        "no_grad: made = [prediction] -> with torch.no_grad(): made = [prediction]": "a list is made, nothing is computed",
    },
}
