"""What a right answer to convert/image_to_video must do. Truths: SciPy's map_coordinates, loops over pixels, shifted pictures,
`F.affine_grid`, and a bilinear interpolation of four gathers for the gradients; for the step, loss and updates written out.

Pictures are at least 2×2, so that a warp with `align_corners=True` and its own normalisation, which is right too, is accepted.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from course.testing import Draw, Edit, assert_close, assert_finite, assert_true

SCIPY = {"zeros": "grid-constant", "border": "nearest"}


def position_of(flow):
    """Where each pixel's flow leads: columns and rows, (B, H, W) each."""
    H, W = flow.shape[-2:]
    columns = torch.arange(W, device=flow.device, dtype=flow.dtype)
    rows = torch.arange(H, device=flow.device, dtype=flow.dtype)[:, None]
    return flow[:, 0] + columns, flow[:, 1] + rows


def sample(images, x, y, padding="zeros"):
    """Bilinear interpolation by four gathers, differentiable: (B, C, H, W) at columns x and rows y."""
    B, C, H, W = images.shape
    if padding == "border":
        x, y = x.clamp(0, W - 1), y.clamp(0, H - 1)
    total = 0
    for down in (0, 1):
        for right in (0, 1):
            column, row = x.detach().floor().long() + right, y.detach().floor().long() + down
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < W) & (row >= 0) & (row < H)
            index = (row.clamp(0, H - 1) * W + column.clamp(0, W - 1)).flatten(1)[:, None].expand(B, C, -1)
            values = images.flatten(2).gather(2, index).unflatten(2, x.shape[1:])
            total = total + (weight * inside)[:, None] * values
    return total


def by_gathers(images, flow, padding="zeros"):
    return sample(images, *position_of(flow), padding)


def by_scipy(images, flow, padding):
    x, y = position_of(flow)
    return torch.stack([
        torch.stack([
            torch.from_numpy(map_coordinates(plane.numpy(), np.stack([b, a]), order=1, mode=SCIPY[padding]))
            for plane in item
        ])
        for item, a, b in zip(images, x.numpy(), y.numpy(), strict=True)
    ])  # fmt: skip


def composed(first, second):
    return first + by_gathers(second, first, "border")


def gradients(function, inputs, cotangent):
    """Gradients of the truth with respect to all of its inputs."""
    with torch.enable_grad():
        leaves = [value.clone().requires_grad_() for value in inputs]
        return torch.autograd.grad((function(*leaves) * cotangent).sum(), leaves)


def constant(vector, B, H, W):
    """A flow that is the same everywhere."""
    return torch.as_tensor(vector, dtype=torch.float64)[None, :, None, None].expand(B, 2, H, W).contiguous()


# --- warping -----------------------------------------------------------------------------------------------------------


@pytest.mark.stub("warp")
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_warp_agrees_with_scipy(impl, draw, padding):
    B, C, (H, W) = draw.batch(high=4), draw.size(high=4), draw.sizes(2)
    images, flow = draw.normal(B, C, H, W), draw.normal(B, 2, H, W, scale=2)
    hint = (
        "the result at p is the image at p + flow(p), the flow in pixels: right, then down; half a pixel off? see align_corners"
    )
    assert_close(impl.warp(images, flow, padding), by_scipy(images, flow, padding), hint=hint)


@pytest.mark.stub("warp")
def test_outside_of_the_picture_is_nothing_unless_asked(impl, draw):
    B, C, (H, W) = draw.batch(high=4), draw.size(high=4), draw.sizes(2)
    images, flow = draw.normal(B, C, H, W), draw.normal(B, 2, H, W, scale=4)
    assert_close(impl.warp(images, flow), by_scipy(images, flow, "zeros"), hint="`padding` is zeros by default: is it passed on?")


@pytest.mark.stub("warp")
def test_a_whole_number_of_pixels_is_a_shift(impl, draw):
    B, C, (H, W) = draw.batch(high=4), draw.size(high=4), draw.sizes(2)
    right, down = draw.integer(-3, 3), draw.integer(-3, 3)
    images, expected = draw.normal(B, C, H, W), torch.zeros(B, C, H, W, dtype=torch.float64)
    for row in range(H):
        for column in range(W):
            if 0 <= row + down < H and 0 <= column + right < W:
                expected[:, :, row, column] = images[:, :, row + down, column + right]
    hint = f"with a flow of ({right}, {down}) each pixel is copied from {right} to its right and {down} below"
    assert_close(impl.warp(images, constant((right, down), B, H, W)), expected, hint=hint)


@pytest.mark.stub("warp")
def test_no_flow_changes_nothing(impl, draw):
    B, C, (H, W) = draw.batch(), draw.size(), draw.sizes(2)
    images = draw.normal(B, C, H, W, dtype=torch.float32)
    hint = "a flow of zero must give the image itself, not a blurred one: align_corners and the normalisation must agree"
    assert_close(impl.warp(images, torch.zeros(B, 2, H, W)), images, hint=hint)


FAR = ((1e5, 0.0), (-1e5, 0.25), (0.0, 1e5), (0.25, -1e5), (-0.5, 0.0), (0.0, -0.5), (3.5, 0.0), (0.0, 1.5))


@pytest.mark.stub("warp")
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_flows_that_lead_out_of_the_picture(impl, padding):
    images, flow = torch.arange(2.0, 18.0).double().reshape(1, 2, 2, 4), torch.tensor(FAR).double()[:, :, None, None]
    inputs = images.expand(len(FAR), -1, -1, -1).contiguous(), flow.expand(-1, 2, 2, 4).contiguous()
    hint = "far outside lie zeros, or the nearest pixel of the border; half a pixel outside, half of each of two neighbours"
    assert_close(impl.warp(*inputs, padding), by_gathers(*inputs, padding), hint=hint, hint_for="values NaN")
    g = torch.ones(len(FAR), 2, 2, 4).double()
    by_images, by_flow = impl.vjp("warp", *inputs, padding, wrt=(0, 1), cotangent=g)
    (expected,) = gradients(lambda image: by_gathers(image, inputs[1], padding), inputs[:1], g)
    assert_close(by_images, expected, what="the gradient of images", hint=hint, hint_for="values NaN")
    far = torch.cat([by_flow[:2, 0], by_flow[2:4, 1]])
    assert_close(far, torch.zeros(4, 2, 4).double(), what="the gradient of a flow far outside", hint=hint)


@pytest.mark.stub("warp")
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 1)])
def test_flows_that_lead_out_of_a_picture_one_pixel_wide(impl, size):
    aside = torch.tensor(((0.0, 0.0), (0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5), (1.0, 0.0), (0.0, -1.0), (9.0, 9.0)))
    images, flow = torch.arange(2.0, 2.0 + size[0] * size[1]).reshape(1, 1, *size).double(), aside.double()[:, :, None, None]
    inputs = images.expand(len(aside), 1, *size).contiguous(), flow.expand(-1, 2, *size).contiguous()
    for padding in ("zeros", "border"):
        hint = "zeros outside, half of it at half a pixel: with aligned corners the only column is found everywhere"
        actual = impl.warp(*inputs, padding)
        assert_close(actual, by_gathers(*inputs, padding), what=f"{padding}: the result", hint=hint, hint_for="values NaN")


@pytest.mark.stub("warp")
def test_warp_agrees_with_an_affine_grid(impl, draw):
    B, C, (H, W) = draw.batch(high=4), draw.size(high=4), draw.sizes(2)
    images, theta = draw.normal(B, C, H, W), draw.normal(B, 2, 3, scale=0.5)
    grid = F.affine_grid(theta, [B, C, H, W], align_corners=False)  # of Spatial Transformer Networks
    x, y = ((grid + 1) * torch.tensor([W, H]) - 1).div(2).unbind(-1)  # in pixels
    zero = torch.zeros(B, 2, H, W, dtype=torch.float64)
    flow = torch.stack([x, y], 1) - torch.stack(position_of(zero), 1)
    expected = F.grid_sample(images, grid, align_corners=False)
    assert_close(impl.warp(images, flow), expected, hint="a turned and stretched picture: x is divided by W, y by H")


@pytest.mark.stub("warp")
@pytest.mark.parametrize("padding", ["zeros", "border"])
def test_gradient_of_warp(impl, draw, padding):
    B, C, (H, W) = draw.batch(high=4), draw.size(high=4), draw.sizes(2)
    inputs, g = [draw.normal(B, C, H, W), draw.normal(B, 2, H, W, scale=1.5)], draw.normal(B, C, H, W)
    expected = gradients(lambda images, flow: by_gathers(images, flow, padding), inputs, g)
    actual = impl.vjp("warp", *inputs, padding, wrt=(0, 1), cotangent=g)
    hint = "the network learns the motion through the gradient of the flow: nothing may be rounded or detached"
    for name, mine, truth in zip(("images", "flow"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


# --- composing ---------------------------------------------------------------------------------------------------------


@pytest.mark.stub("compose_flows")
def test_second_flow_is_read_where_the_first_one_leads(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2)
    first, second = draw.normal(2, B, 2, H, W, scale=1.5)
    hint = "first(p) + second(p + first(p)); outside of the picture, second goes on as at its border"
    assert_close(impl.compose_flows(first, second), composed(first, second), hint=hint)


@pytest.mark.stub("compose_flows")
def test_translations_add(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2)
    a, b = draw.normal(2, scale=3), draw.normal(2, scale=3)
    expected = constant(a + b, B, H, W)
    hint = "two translations are one, up to the border and beyond: are there zeros outside of the second flow?"
    assert_close(impl.compose_flows(constant(a, B, H, W), constant(b, B, H, W)), expected, hint=hint)


@pytest.mark.stub("compose_flows")
def test_warping_twice_is_warping_by_the_composition(impl, draw):
    B, (H, W) = draw.batch(high=4), draw.sizes(2, 5, 8)
    right, down = draw.integer(-2, 2), draw.integer(-2, 2)
    picture = draw.normal(B, 1, H, W)
    second = draw.integers(3, (B, 2, H, W), low=-2).double()
    first = constant((right, down), B, H, W)
    once = by_gathers(picture, impl.compose_flows(first, second))
    twice = by_gathers(by_gathers(picture, second), first)
    inner = (..., slice(2, H - 2), slice(2, W - 2))  # from where `first` stays in the picture
    hint = "warp by `second`, then the result by `first`: the last one to be applied is the first one to be followed"
    assert_close(once[inner], twice[inner], what="the picture warped by the composition", hint=hint)


@pytest.mark.stub("compose_flows")
def test_gradient_of_the_composition(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2)
    inputs, g = list(draw.normal(2, B, 2, H, W, scale=1.5)), draw.normal(B, 2, H, W)
    expected = gradients(composed, inputs, g)
    actual = impl.vjp("compose_flows", *inputs, wrt=(0, 1), cotangent=g)
    hint = "the first flow counts twice: as a summand, and as the place where the second is read; detach nothing"
    for name, mine, truth in zip(("first", "second"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


def integrated(motion, steps):
    """Each pixel is followed on its own, step by step; (B, S, 2, H, W)."""
    start = torch.stack(position_of(torch.zeros_like(motion)), dim=1)
    at, flows = start, []
    for _ in range(steps):
        at = at + sample(motion, at[:, 0], at[:, 1], "border")
        flows.append(at - start)
    return torch.stack(flows, dim=1)


@pytest.mark.stub("integrate")
def test_each_pixel_follows_the_field_step_by_step(impl, draw):
    B, S, (H, W) = draw.batch(), draw.size(), draw.sizes(2)
    motion = draw.normal(B, 2, H, W)
    hint = "F₁ is the motion itself, and Fₖ₊₁(p) = Fₖ(p) + M(p + Fₖ(p)); one flow per step, on axis 1"
    assert_close(impl.integrate(motion, S), integrated(motion, S), hint=hint)


@pytest.mark.stub("integrate")
def test_an_even_motion_grows_by_the_same_in_each_step(impl, draw):
    B, S, (H, W) = draw.batch(), draw.size(3), draw.sizes(2)
    step = draw.normal(2)
    expected = torch.stack([constant(step * k, B, H, W) for k in range(1, S + 1)], dim=1)
    hint = "k steps of a translation lead k times as far, at the border too"
    assert_close(impl.integrate(constant(step, B, H, W), S), expected, hint=hint)


@pytest.mark.stub("integrate")
def test_gradient_passes_through_every_step(impl, draw):
    B, S, (H, W) = draw.batch(high=4), draw.size(2, 5), draw.sizes(2)
    motion, g = draw.normal(B, 2, H, W), draw.normal(B, S, 2, H, W)
    (expected,) = gradients(lambda field: integrated(field, S), [motion], g)
    hint = "every step reads the same field, so all of them send it a gradient: detach nothing on the way"
    assert_close(impl.vjp("integrate", motion, S, wrt=0, cotangent=g), expected, hint=hint)


OUTWARD = torch.arange(24.0).double().reshape(1, 2, 3, 4) - 6  # a motion that leaves a picture of 3×4
BEYOND = "outside of the picture the motion goes on as at the nearest border, however far the way has led"


@pytest.mark.stub("compose_flows")
def test_a_way_that_leaves_the_picture_goes_on(impl):
    for far in (1.0, 1e4):
        expected = composed(far * OUTWARD, OUTWARD)
        assert_close(impl.compose_flows(far * OUTWARD, OUTWARD), expected, hint=BEYOND, hint_for="values NaN")


@pytest.mark.stub("integrate")
def test_steps_beyond_the_picture_go_on(impl):
    for far, steps in ((1.0, 1), (1.0, 4), (1e4, 3)):
        expected = integrated(far * OUTWARD, steps)
        result = impl.integrate(far * OUTWARD, steps)
        assert_close(result, expected, what=f"the flows of {steps} steps", hint=BEYOND, hint_for="values NaN")


# --- trust -------------------------------------------------------------------------------------------------------------


def looped_mask(flow, reverse, alpha, beta):
    """Pixel by pixel, (B, 1, H, W)."""
    B, _, H, W = flow.shape
    x, y = position_of(flow)
    back = sample(reverse, x, y, "border")
    mask = torch.zeros(B, 1, H, W, dtype=flow.dtype)
    for b in range(B):
        for row in range(H):
            for column in range(W):
                there, home = flow[b, :, row, column].tolist(), back[b, :, row, column].tolist()
                error = sum((u + v) ** 2 for u, v in zip(there, home, strict=True))
                length = sum(u * u for u in there + home)
                inside = 0 <= x[b, row, column] <= W - 1 and 0 <= y[b, row, column] <= H - 1
                mask[b, 0, row, column] = float(inside and error < alpha * length + beta)
    return mask


MASK = "trusted where |F(p) + R(q)|² < α (|F(p)|² + |R(q)|²) + β at q = p + F(p), and q lies in the picture"


@pytest.mark.stub("occlusion_mask")
@pytest.mark.parametrize("bounds", ["default", "alpha", "beta", "both"])
def test_mask_agrees_with_a_loop(impl, draw, bounds):
    B, (H, W) = draw.batch(2), draw.sizes(2, 3, 8)
    flow = draw.normal(B, 2, H, W)
    reverse = draw.normal(B, 2, H, W, scale=0.7) - 0.6 * flow
    alpha = draw.number(0.2, 1.2) if bounds in ("alpha", "both") else 0.01
    beta = draw.number(0.8, 3) if bounds in ("beta", "both") else 0.5
    given = {"default": {}, "alpha": {"alpha": alpha}, "beta": {"beta": beta}, "both": {"alpha": alpha, "beta": beta}}[bounds]
    assert_close(impl.occlusion_mask(flow, reverse, **given), looped_mask(flow, reverse, alpha, beta), hint=MASK)


@pytest.mark.stub("occlusion_mask")
def test_where_a_thing_left_its_ghost_is_not_trusted(impl, draw):
    side, shift = draw.integer(2, 3), draw.integer(3, 4)
    H, W = side + 2, side + shift + 2
    flow, reverse = torch.zeros(1, 2, H, W), torch.zeros(1, 2, H, W)
    flow[:, 0, 1 : 1 + side, 1 : 1 + side] = shift  # in the frame the thing is at the left: look for it `shift` to the right
    reverse[:, 0, 1 : 1 + side, 1 + shift : 1 + shift + side] = -shift
    expected = torch.ones(1, 1, H, W)
    expected[:, :, 1 : 1 + side, 1 + shift : 1 + shift + side] = 0
    hint = (
        "what stands still reads the thing a second time, where the image shows it: the way back leads elsewhere. "
        "The reverse flow is to be read at p + flow(p)"
    )
    assert_close(impl.occlusion_mask(flow, reverse), expected, hint=hint)


@pytest.mark.stub("occlusion_mask")
def test_what_comes_from_outside_is_not_trusted(impl, draw):
    B, (H, W) = draw.batch(high=4), draw.sizes(2, 3, 8)
    right, down = draw.integer(-2, 2), draw.integer(-2, 2)
    flow = constant((right, down), B, H, W)
    expected = torch.zeros(B, 1, H, W, dtype=torch.float64)
    for row in range(H):
        for column in range(W):
            expected[:, :, row, column] = float(0 <= row + down < H and 0 <= column + right < W)
    hint = "flow and reverse agree everywhere, but the image ends at columns 0 and W − 1, rows 0 and H − 1, themselves included"
    assert_close(impl.occlusion_mask(flow, -flow), expected, hint=hint)


@pytest.mark.stub("occlusion_mask")
def test_an_error_as_large_as_allowed_is_too_large(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2)
    flow, reverse = torch.zeros(B, 2, H, W), torch.zeros(B, 2, H, W)
    reverse[:, draw.integer(0, 1)] = 2.0
    hint = "an error of 4 with a bound of 4 (α = 0, β = 4, or α = 1, β = 0): the inequality is strict"
    for alpha, beta in ((0.0, 4.0), (1.0, 0.0)):
        assert_close(impl.occlusion_mask(flow, reverse, alpha, beta), torch.zeros(B, 1, H, W), hint=hint)


@pytest.mark.stub("occlusion_mask")
def test_a_hair_outside_is_outside(impl):
    for beyond in (0.0, 1e-3):
        for axis, sign in ((0, 1), (0, -1), (1, 1), (1, -1)):
            flow = torch.zeros(2, 2, 3, 4).double()
            flow[1, axis] = sign * (1 + beyond)
            expected = torch.ones(2, 1, 3, 4).double()
            border = expected[1, 0].T if axis == 0 else expected[1, 0]
            border[-1 if sign == 1 else 0] = 0.0
            if beyond:
                border[-2 if sign == 1 else 1] = 0.0
            hint = "the centre of an outermost pixel is in the picture, what lies a thousandth beyond it is not"
            assert_close(impl.occlusion_mask(flow, -flow), expected, hint=hint)
    still = torch.zeros(2, 2, 3, 4)
    nothing = impl.occlusion_mask(still, still, 0.01, 0.0)
    assert_close(nothing, torch.zeros(2, 1, 3, 4), hint="0 < 0 is false: the inequality is strict, and a beta of 0 is legal")


# --- loss and picture --------------------------------------------------------------------------------------------------


def looped_variation(flow):
    H, W = flow.shape[-2:]
    totals = []
    for item in flow.tolist():
        total = 0.0
        for plane in item:
            for row in range(H):
                for column in range(W):
                    here = plane[row][column]
                    total += abs(plane[row][column + 1] - here) if column + 1 < W else 0.0
                    total += abs(plane[row + 1][column] - here) if row + 1 < H else 0.0
        totals.append(total / (H * W))
    return torch.tensor(totals, dtype=torch.float64)


@pytest.mark.stub("smoothness")
def test_variation_agrees_with_a_loop(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2, 1, 8)
    flow = draw.normal(B, 2, H, W)
    hint = "absolute differences to the right and to the lower neighbour, of both planes, summed per item, over H·W"
    assert_close(impl.smoothness(flow), looped_variation(flow), hint=hint)


@pytest.mark.stub("smoothness")
def test_a_translation_costs_nothing(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2)
    flow = constant(draw.normal(2, scale=5), B, H, W)
    hint = "only changes cost, not motion itself, and the last column has no neighbour to its right: the picture does not wrap"
    assert_close(impl.smoothness(flow), torch.zeros(B, dtype=torch.float64), hint=hint)


@pytest.mark.stub("smoothness")
def test_gradient_of_the_variation(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2)
    flow, g = draw.normal(B, 2, H, W), draw.normal(B)

    def variation(x):
        across, down = x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]
        return (across.abs().flatten(1).sum(1) + down.abs().flatten(1).sum(1)) / (H * W)

    (expected,) = gradients(variation, [flow], g)
    assert_close(impl.vjp("smoothness", flow, wrt=0, cotangent=g), expected, hint="the sign of each difference, over H·W")


@pytest.mark.stub("smoothness")
def test_where_nothing_changes_the_gradient_is_a_number(impl):
    for H, W in ((1, 1), (1, 4), (3, 1), (3, 4)):
        flow = torch.full((2, 2, H, W), 2.5)
        assert_close(
            impl.smoothness(flow), torch.zeros(2), what=f"the variation of {H}×{W} pixels", hint="no neighbour, no difference"
        )
        gradient = impl.vjp("smoothness", flow, wrt=0, cotangent=torch.ones(2)) if H * W > 1 else flow * 0
        hint = "the slope of a root is infinite at 0: take absolute values"
        assert_finite(gradient, what="the gradient where all differences are 0", hint=hint)
        assert_true(
            gradient.abs().max() <= 4 / (H * W), "a flow that stands still is pulled no harder than one that moves", hint=hint
        )


def mixed(images, flows, masks, residuals):
    """Frame by frame."""
    frames = []
    for t in range(flows.shape[1]):
        warped = by_gathers(images, flows[:, t])
        frames.append(masks[:, t] * warped + (1 - masks[:, t]) * residuals[:, t])
    return torch.stack(frames, dim=1)


def layers(draw):
    """Image, flows, masks and residuals of random sizes."""
    B, T, C, (H, W) = draw.batch(2, 4), draw.size(2, 5), draw.size(high=4), draw.sizes(2)
    image, flows = draw.normal(B, C, H, W), draw.normal(B, T, 2, H, W, scale=1.5)
    return image, flows, draw.uniform(B, T, 1, H, W), draw.normal(B, T, C, H, W)


@pytest.mark.stub("synthesise")
@pytest.mark.parametrize("size", [(1, 3), (3, 1)])
def test_an_image_one_pixel_wide_leaves_the_picture_too(impl, size):
    images = torch.arange(2.0, 5.0).reshape(1, 1, *size).double()
    flows = torch.tensor([[[0.5, 0.5], [-1.0, 0.0], [0.0, 1.0]]]).double()[..., None, None].expand(1, 3, 2, *size).contiguous()
    inputs = images, flows, torch.full((1, 3, 1, *size), 0.75).double(), torch.ones(1, 3, 1, *size).double()
    hint = "zeros outside of the image, also where it has a single column or row: warp it with `warp`"
    assert_close(impl.synthesise(*inputs), mixed(*inputs), hint=hint, hint_for="values NaN")


@pytest.mark.stub("synthesise")
def test_frames_mix_the_warped_image_and_the_residual(impl, draw):
    inputs = layers(draw)
    hint = "each item's image, warped by each of its own flows: mask · warped + (1 − mask) · residual, zeros outside of the image"
    assert_close(impl.synthesise(*inputs), mixed(*inputs), hint=hint)


@pytest.mark.stub("synthesise")
@pytest.mark.parametrize("trust", [0, 1])
def test_mask_chooses(impl, draw, trust):
    image, flows, masks, residuals = layers(draw)
    expected = mixed(image, flows, torch.ones_like(masks), residuals) if trust else residuals
    hint = f"with a mask of {trust} everywhere a frame is {'the warped image' if trust else 'the residual'}, and nothing else"
    assert_close(impl.synthesise(image, flows, torch.full_like(masks, trust), residuals), expected, hint=hint)


@pytest.mark.stub("synthesise")
def test_gradient_reaches_flow_mask_and_residual(impl, draw):
    inputs = layers(draw)
    g = draw.normal(*inputs[3].shape)
    expected = gradients(mixed, inputs, g)
    actual = impl.vjp("synthesise", *inputs, wrt=(0, 1, 2, 3), cotangent=g)
    hint = "a frame depends on all four: is one of them detached?"
    for name, mine, truth in zip(("images", "flows", "masks", "residuals"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("psnr")
@pytest.mark.parametrize("axes", [1, 2, 4])
def test_psnr_agrees_with_its_definition(impl, draw, axes):
    B, rest = draw.batch(), [draw.size(2, 4) for _ in range(axes)]
    predicted, target = draw.uniform(2, B, *rest)
    expected = []
    for a, b in zip(predicted.flatten(1).tolist(), target.flatten(1).tolist(), strict=True):
        error = sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / len(a)
        expected.append(10 * math.log10(1 / error))
    hint = "10 log₁₀ (1 / MSE), the error averaged over all axes of an item, and a figure for each item"
    assert_close(impl.psnr(predicted, target), torch.tensor(expected, dtype=torch.float64), hint=hint)


@pytest.mark.stub("psnr")
def test_a_tenth_of_the_error_is_twenty_decibels(impl, draw):
    target, noise = draw.uniform(draw.size(), draw.size(2)), draw.number(0.1, 0.5)
    gain = impl.psnr(target + noise / 10, target) - impl.psnr(target + noise, target)
    hint = "PSNR is about squared errors and the logarithm to base 10"
    assert_close(gain, torch.full((len(target),), 20.0, dtype=torch.float64), hint=hint, tolerance=1e-7, what="the gain")


@pytest.mark.stub("psnr")
def test_nearly_equal_pictures_in_float32(impl):
    target = torch.linspace(0.8, 1, 64).reshape(2, 32)
    predicted = target + torch.tensor([[1e-3], [-2e-4]])
    expected = -10 * torch.log10((predicted.double() - target.double()).square().mean(1))
    hint = "means of squares less twice the product cancel: square the difference; no floor, no epsilon"
    assert_close(impl.psnr(predicted, target), expected.float(), tolerance=1e-4, hint=hint, hint_for="values NaN")


@pytest.mark.stub("psnr")
def test_equal_pictures_have_no_noise(impl, draw):
    B = draw.batch()
    target = draw.uniform(B, draw.size(), draw.size(), dtype=torch.float32)
    hint = "1 / 0 is infinite: a small number added to the error would cap the figure"
    assert_close(impl.psnr(target, target), torch.full((B,), torch.inf), hint=hint, hint_for="values NaN")


# --- training ----------------------------------------------------------------------------------------------------------


class Learner:
    """A small network on the implementation's side, and the truth beside it: the same weights, moved by steps written out."""

    def __init__(self, impl, draw, mode="train", dtype="double"):
        self.impl, self.draw, self.dtype = impl, draw, {"double": torch.float64, "float": torch.float32}[dtype]
        self.size = draw.choice(((8, 8), (8, 16), (16, 8)))
        self.model = impl.FlowNet(impl.Config(channels=4))
        getattr(self.model, dtype)()
        self.load(draw.like(self.model.fresh_state()))
        getattr(self.model, mode)()
        self.twin = self.model.reference

    def load(self, weights):
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.model.load_state_dict(weights)

    def videos(self, B):
        return self.draw.uniform(B, 8, 1, *self.size, dtype=self.dtype)

    def descent(self, rate, part=None):
        """An optimizer that follows the gradient as it is, of the whole network or of a part of it."""
        return self.impl.make_optimizer(self.model.get_submodule(part) if part else self.model, rate, adaptive=False)

    def slopes(self, videos, weight):
        """The loss at the weights of the truth, and the slope of each weight."""
        with torch.enable_grad():
            leaves = {name: value.clone().requires_grad_() for name, value in self.weights.items()}
            frames, motion, _ = torch.func.functional_call(self.twin, leaves, (videos[:, 7],))
            errors = [(frames[:, t] - videos[:, t]).square().mean() for t in range(7)]
            loss = sum(errors) / 7 + weight * looped_slices(motion).sum() / len(videos)
            found = torch.autograd.grad(loss, list(leaves.values()))
        return loss.detach(), dict(zip(leaves, found, strict=True))

    def descend(self, videos, weight, rate, part=""):
        """One step of the truth, and the loss before it."""
        loss, slopes = self.slopes(videos, weight)
        for name, slope in slopes.items():
            if name.startswith(part):
                self.weights[name] = self.weights[name] - rate * slope
        return loss

    def compare(self, hint, tolerance=1e-7):
        actual = self.model.state_dict()
        for name, expected in self.weights.items():
            assert_close(actual[name], expected, tolerance=tolerance, what=f"{name} after the step", hint=hint)


@pytest.mark.stub("train_step")
def test_step_goes_down_the_slope_of_the_loss(impl, draw):
    net, weight, rate = Learner(impl, draw), draw.number(5, 50), draw.number(0.01, 0.1)
    videos = net.videos(draw.batch(high=4))
    loss = impl.train_step(net.model, net.descent(rate), videos, weight)
    expected = net.descend(videos, weight, rate)
    hint = (
        "the model gets the last frame, and its frames are held against the other seven: their mean squared error, plus `weight` "
        "times the mean of `smoothness(motion)` over the batch"
    )
    assert_close(loss, expected, what="the loss", hint=hint + "; return it as it was before the update")
    net.compare(hint + "; one step of the optimizer, in the mode that the model is in")


@pytest.mark.stub("train_step")
def test_gradients_that_were_there_before_count_for_nothing(impl, draw):
    """Gradients that were there before count for nothing: a first step, on a part of the network, leaves some in the rest."""
    net, weight, rate = Learner(impl, draw), draw.number(0.2, 2), draw.number(0.1, 0.3)
    videos = net.videos(draw.integer(1, 3))
    loss = impl.train_step(net.model, net.descent(rate, "output"), videos)
    assert_close(loss, net.descend(videos, 3e-3, rate, "output"), what="the loss", hint="`weight` is 3e-3 by default")
    net.model.eval()
    videos = net.videos(draw.integer(1, 3))
    loss = impl.train_step(net.model, net.descent(rate), videos, weight)
    expected = net.descend(videos, weight, rate)
    hint = "backward adds to the gradients that are there: clear them before it, not after the step"
    assert_close(
        loss, expected, tolerance=1e-7, what="the loss of a second step", hint="move what the optimizer moves, and no more"
    )
    net.compare(hint)


@pytest.mark.stub("train_step")
def test_update_is_left_to_the_optimizer(impl):
    """The update is left to the optimizer that is given, AdamW for one."""
    net = Learner(impl, Draw(1))  # asked once: the network is what takes time here
    videos = net.videos(2)
    impl.train_step(net.model, impl.make_optimizer(net.model, 0.1), videos, 0.5)
    for name, slope in net.slopes(videos, 0.5)[1].items():  # at its first step, AdamW decays, then goes nearly by the sign
        net.weights[name] = net.weights[name] * (1 - 1e-5) - 0.1 * slope / (slope.abs() + 1e-8)
    net.compare("`optimizer.step()` once, and nothing moved by hand", tolerance=1e-5)


@pytest.mark.stub("train_step")
def test_a_weight_of_0_is_a_weight(impl):
    net = Learner(impl, Draw(3))  # asked once, as above
    videos = net.videos(1)
    loss = impl.train_step(net.model, net.descent(0.1), videos, 0.0)
    hint = "a `weight` of 0 leaves the error of the frames alone; it does not stand for the default"
    assert_close(loss, net.descend(videos, 0.0, 0.1), what="the loss", hint=hint)


@pytest.mark.stub("train_step")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_forward_pass_is_in_the_precision_asked_for(impl, precision):
    net = Learner(impl, Draw(2), dtype="float")  # asked once, as above
    weights = {name: value.clone() for name, value in net.weights.items()}
    weights["output.weight"] /= 50  # nearly even motion: no rounding decides which pixel is trusted
    weights["output.bias"][:2] = 0.3
    net.load(weights)
    videos = net.videos(2)
    impl.train_step(net.model, net.descent(1.0), videos, 0.5, precision)
    _, slopes = net.slopes(videos, 0.5)
    moved, steepest = net.model.state_dict(), max(float(slope.abs().max()) for slope in slopes.values())
    off = max(float((moved[name] - net.weights[name] + slope).abs().max()) for name, slope in slopes.items()) / steepest
    hint = "run the model, and nothing else, under `autocast(videos.device, precision)`"
    assert_true(off < 1, f"the step in {precision} is far off", hint=hint, detail=f"by {off:.2g} of the steepest slope")
    rounded = off > 1e-3
    asked = f"the network did {'' if rounded else 'not '}compute in bfloat16, asked for was {precision}"
    assert_true(rounded == (precision == "bfloat16"), asked, hint=hint, detail=f"by {off:.2g} of the steepest slope")


# --- wrong and right ---------------------------------------------------------------------------------------------------


def mean_variation(flow):
    return flow.diff(dim=-1).abs().mean((1, 2, 3)) + flow.diff(dim=-2).abs().mean((1, 2, 3))


def rolled_variation(flow):
    H, W = flow.shape[-2:]
    across, down = (flow - flow.roll(1, -1)).abs(), (flow - flow.roll(1, -2)).abs()
    return (across + down).sum((1, 2, 3)) / (H * W)


def euclidean_variation(flow):
    H, W = flow.shape[-2:]
    across, down = F.pad(flow.diff(dim=-1), (0, 1)), F.pad(flow.diff(dim=-2), (0, 0, 0, 1))
    return (across.square() + down.square() + 1e-12).sqrt().sum((1, 2, 3)) / (H * W)


def splat(images, flow, padding="zeros"):
    """Forward warping: every pixel is sent where its flow points, the last one to arrive wins, and holes stay."""
    result = torch.zeros_like(images)
    H, W = images.shape[-2:]
    for b in range(len(images)):
        for row in range(H):
            for column in range(W):
                x, y = column + round(flow[b, 0, row, column].item()), row + round(flow[b, 1, row, column].item())
                if 0 <= x < W and 0 <= y < H:
                    result[b, :, y, x] = images[b, :, row, column]
    return result


def whole(flow):
    """1 where a flow stays in the picture, (B, 1, H, W)."""
    x, y = position_of(flow)
    return ((x >= 0) & (x <= flow.shape[3] - 1) & (y >= 0) & (y <= flow.shape[2] - 1)).to(flow)[:, None]


def squared_integral(motion, steps):
    flows = [motion]
    for _ in range(steps - 1):
        flows.append(composed(flows[-1], flows[-1]))
    return torch.stack(flows, 1)


FAKES = {
    "warp": {
        "another align_corners than the normalisation": Edit("align_corners=False", "align_corners=True"),
        "the normalisation of aligned corners": Edit(
            "[(2 * x + 1) / W - 1, (2 * y + 1) / H - 1]", "[2 * x / (W - 1) - 1, 2 * y / (H - 1) - 1]"
        ),
        "a side of one pixel found everywhere": lambda images, flow, padding="zeros": only_pixel_everywhere(
            images, flow, padding
        ),
        "the half pixel forgotten": Edit("[(2 * x + 1) / W - 1, (2 * y + 1) / H - 1]", "[2 * x / W - 1, 2 * y / H - 1]"),
        "the flow subtracted": Edit("base_grid(flow) + flow", "base_grid(flow) - flow"),
        "forwards": splat,
        "down before right": Edit("x, y = (base_grid(flow) + flow)", "x, y = (base_grid(flow) + flow.flip(1))"),
        "y before x in the grid": Edit(
            "torch.stack([(2 * x + 1) / W - 1, (2 * y + 1) / H - 1]", "torch.stack([(2 * y + 1) / H - 1, (2 * x + 1) / W - 1]"
        ),
        "both divided by the width": Edit("(2 * y + 1) / H", "(2 * y + 1) / W"),
        "the nearest pixel": Edit("padding_mode=padding", 'mode="nearest", padding_mode=padding'),
        "padding ignored": Edit("padding_mode=padding, ", ""),
        "always the border": Edit("padding_mode=padding", 'padding_mode="border"'),
        "the flow detached": Edit("base_grid(flow) + flow)", "base_grid(flow) + flow.detach())"),
        "nothing half outside": lambda images, flow, padding="zeros": (
            by_gathers(images, flow, "border") * (whole(flow) if padding == "zeros" else 1)
        ),
        "the image, not warped": lambda images, flow, padding="zeros": images.clone(),
        "a normalised flow": lambda images, flow, padding="zeros": F.grid_sample(
            images,
            F.affine_grid(torch.eye(2, 3, dtype=flow.dtype).expand(len(flow), 2, 3), list(images.shape), align_corners=False)
            + flow.movedim(1, -1),
            padding_mode=padding,
            align_corners=False,
        ),
    },
    "compose_flows": {
        "a mere sum": lambda first, second: first + second,
        "the other way round": lambda first, second: composed(second, first),
        "zeros beyond the border": Edit(', padding="border"', ""),
        "only the second": Edit("first + warp", "warp"),
        "read at minus the first": lambda first, second: first + by_gathers(second, -first, "border"),
        "the second added to its place": lambda first, second: second + by_gathers(second, first, "border"),
        "the place detached": Edit("warp(second, first,", "warp(second, first.detach(),"),
        "the second detached": Edit("warp(second, first,", "warp(second.detach(), first,"),
        "the way held in the picture": Edit("return first + ", "return first.clamp(-99, 99) + "),
    },
    "integrate": {
        "k times the motion": lambda motion, steps: torch.stack([motion * (k + 1) for k in range(steps)], 1),
        "squared": squared_integral,
        "one step short": Edit("range(steps - 1)", "range(steps - 2)"),
        "one step too many": Edit("range(steps - 1)", "range(steps)"),
        "from no motion at all": lambda motion, steps: torch.stack(
            [torch.zeros_like(motion), *integrated(motion, steps).unbind(1)][:steps], 1
        ),
        "the furthest first": lambda motion, steps: integrated(motion, steps).flip(1),
        "steps detached": Edit("flows[-1], motion", "flows[-1].detach(), motion"),
        "the field detached": Edit("flows[-1], motion", "flows[-1], motion.detach()"),
        "steps before the batch": Edit("dim=1", "dim=0"),
        "two steps at least": Edit("range(steps - 1)", "range(max(1, steps - 1))"),
        "zeros beyond the border": lambda motion, steps: torch.stack(
            [x for f in [[motion]] for k in range(steps) for x in [f[-1]] if f.append(x + by_gathers(motion, x)) is None], 1
        ),
    },
    "occlusion_mask": {
        "trust in everything": lambda flow, reverse, alpha=0.01, beta=0.5: torch.ones_like(flow[:, :1]),
        "only inside or outside": Edit("(inside & (error < alpha * length + beta))", "inside"),
        "only there and back": Edit("(inside & (error", "((error"),
        "the reverse flow not moved": Edit("warp(reverse, flow)", "reverse"),
        "the difference of the flows": Edit("flow + back", "flow - back"),
        "hidden and seen mixed up": Edit("return (inside &", "return 1 - (inside &"),
        "lengths, not their squares": Edit(".square().sum(dim=1, keepdim=True)\n", ".square().sum(dim=1, keepdim=True).sqrt()\n"),
        "a fixed bound": Edit("alpha * length + beta", "0.5"),
        "outside to the left only": Edit("(x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)", "(x >= 0) & (y >= 0)"),
        "a pixel too far": Edit("(x <= W - 1) & (y >= 0) & (y <= H - 1)", "(x <= W) & (y >= 0) & (y <= H)"),
        "a hair too far": Edit("(x >= 0) & (x <= W - 1)", "(x >= -0.01) & (x <= W - 0.99)"),
        "the border left out": Edit("(y >= 0) & (y <= H - 1)", "(y > 0) & (y < H - 1)"),
        "a beta of 0 taken for none": Edit("+ beta", "+ (beta or 0.5)"),
        "a weak inequality": Edit("error < alpha", "error <= alpha"),
    },
    "smoothness": {
        "zeros": lambda flow: torch.zeros_like(flow[:, 0, 0, 0]),
        "squares": Edit("abs()", "square()"),
        "across only": lambda flow: flow.diff(dim=-1).abs().sum((1, 2, 3)) / flow[0, 0].numel(),
        "down only": lambda flow: flow.diff(dim=-2).abs().sum((1, 2, 3)) / flow[0, 0].numel(),
        "means": mean_variation,
        "over the edge": rolled_variation,
        "length of the gradient": euclidean_variation,
        "one plane": lambda flow: looped_slices(flow[:, :1]),
        "the motion itself": lambda flow: flow.abs().sum((1, 2, 3)) / flow[0, 0].numel(),
        "not divided": Edit(" / (H * W)", ""),
        "of the whole batch": lambda flow: looped_slices(flow).mean().expand(len(flow)) + 0 * flow[:, 0, 0, 0],
        "signed": Edit(".abs()", ""),
        "a root of squares": Edit(".abs()", ".square().sqrt()"),
        "means, times their number": lambda flow: (
            2
            * (
                flow.diff(dim=-1).abs().mean((1, 2, 3)) * (1 - 1 / flow.shape[-1])
                + flow.diff(dim=-2).abs().mean((1, 2, 3)) * (1 - 1 / flow.shape[-2])
            )
        ),
        "detached": lambda flow: looped_slices(flow.detach()),
    },
    "synthesise": {
        "a side of one pixel found everywhere": lambda images, flows, masks, residuals: torch.lerp(
            residuals, torch.stack([only_pixel_everywhere(images, flow) for flow in flows.unbind(1)], dim=1), masks
        ),
        "the mask turned": Edit("masks * warped + (1 - masks) * residuals", "(1 - masks) * warped + masks * residuals"),
        "the residual added": Edit("(1 - masks) * residuals", "residuals"),
        "the residual only": lambda images, flows, masks, residuals: residuals.clone(),
        "the warped image only": Edit("masks * warped + (1 - masks) * residuals", "warped"),
        "the image not warped": Edit("masks * warped", "masks * repeated"),
        "images of other items": Edit(
            "images[:, None].expand(-1, T, -1, -1, -1)", "images.repeat(T, 1, 1, 1).unflatten(0, (-1, T))"
        ),
        "the last flow for all": Edit("flows.flatten(0, 1)", "flows[:, -1:].expand_as(flows).flatten(0, 1)"),
        "the mask detached": Edit("masks * warped", "masks.detach() * warped"),
        "a hard mask": Edit("return masks * warped + (1 - masks)", "return masks.round() * warped + (1 - masks.round())"),
        "the border drawn out": Edit("flows.flatten(0, 1))", 'flows.flatten(0, 1), padding="border")'),
    },
    "psnr": {
        "twice as much": Edit("-10 *", "-20 *"),
        "natural logarithm": Edit("log10", "log"),
        "of the whole batch": lambda predicted, target: (
            (-10 * torch.log10((predicted - target).square().mean())).expand(len(target)).clone()
        ),
        "the error summed": Edit(".mean(dim=1)", ".sum(dim=1)"),
        "absolute errors": Edit("square()", "abs()"),
        "the sign turned": Edit("-10 *", "10 *"),
        "capped": Edit(".mean(dim=1))", ".mean(dim=1) + 1e-8)"),
        "squares less products": Edit(
            "(predicted - target).square()", "(predicted.square() - 2 * predicted * target + target.square()).abs()"
        ),
        "a peak of 255": lambda predicted, target: 10 * torch.log10(255**2 / (predicted - target).square().flatten(1).mean(1)),
        "the mean of decibels per pixel": lambda predicted, target: (
            -10 * torch.log10((predicted - target).square()).flatten(1).mean(1)
        ),
    },
    "train_step": {
        "nothing moves": Edit("    optimizer.step()\n", ""),
        "gradients never cleared": Edit("    optimizer.zero_grad()\n", ""),
        "gradients cleared after backward": Edit(
            "    optimizer.zero_grad()\n    loss.backward()\n", "    loss.backward()\n    optimizer.zero_grad()\n"
        ),
        "gradients cleared after the step": Edit(
            "    optimizer.zero_grad()\n    loss.backward()\n    optimizer.step()\n",
            "    loss.backward()\n    optimizer.step()\n    optimizer.zero_grad()\n",
        ),
        "two steps": Edit("    optimizer.step()\n", "    optimizer.step()\n    optimizer.step()\n"),
        "plain descent, whatever the optimizer": Edit(
            "    optimizer.step()\n",
            "    for parameter in model.parameters():\n"
            "        parameter.data -= optimizer.param_groups[0]['lr'] * parameter.grad\n",
        ),
        "the given frame counts too": lambda *args, **kwargs: trained_by(loss_of_all_eight)(*args, **kwargs),
        "the first frame is the image": Edit("model(videos[:, -1])", "model(videos[:, 0])"),
        "the frames after the first": Edit("F.mse_loss(frames, videos[:, :-1])", "F.mse_loss(frames, videos[:, 1:])"),
        "the first frame only": Edit("F.mse_loss(frames, videos[:, :-1])", "F.mse_loss(frames[:, 0], videos[:, 0])"),
        "absolute errors": Edit("F.mse_loss", "F.l1_loss"),
        "a sum over a frame, a mean over the rest": Edit(
            "F.mse_loss(frames, videos[:, :-1])", "(frames - videos[:, :-1]).square().sum((2, 3, 4)).mean()"
        ),
        "frames cut to the ink there is": Edit("F.mse_loss(frames,", "F.mse_loss(frames.clamp(0, 1),"),
        "minus PSNR": Edit("F.mse_loss(frames, videos[:, :-1])", "-psnr(frames, videos[:, :-1]).mean()"),
        "no smoothness": Edit(" + weight * smoothness(motion).mean()", ""),
        "smoothness not weighed": Edit("weight * smoothness", "smoothness"),
        "always the default weight": Edit("weight * smoothness", "3e-3 * smoothness"),
        "a weight of 0 taken for none": Edit("weight * smoothness", "(weight or 3e-3) * smoothness"),
        "smoothness summed over the batch": Edit("smoothness(motion).mean()", "smoothness(motion).sum()"),
        "smoothness of the first item": Edit("smoothness(motion).mean()", "smoothness(motion)[0]"),
        "smoothness detached": Edit("smoothness(motion)", "smoothness(motion.detach())"),
        "smoothness of the frames": Edit("smoothness(motion)", "smoothness(frames.flatten(1, 2))"),
        "frames detached": Edit("F.mse_loss(frames,", "F.mse_loss(frames.detach(),"),
        "gradients clipped": Edit(
            "    optimizer.step()\n", "    nn.utils.clip_grad_norm_(model.parameters(), 1.0)\n    optimizer.step()\n"
        ),
        "twice the slope": Edit("loss.backward()", "(2 * loss).backward()"),
        "the loss after the update": Edit(
            "    return loss.detach()",
            "    frames, motion, _ = model(videos[:, -1])\n"
            "    loss = F.mse_loss(frames, videos[:, :-1]) + weight * smoothness(motion).mean()\n"
            "    return loss.detach()",
        ),
        "the error alone returned": Edit("return loss.detach()", "return F.mse_loss(frames, videos[:, :-1]).detach()"),
        "put into training mode": Edit("    with autocast", "    model.train()\n    with autocast"),
        "put into evaluation mode": Edit("    return loss", "    model.eval()\n    return loss"),
        "always in float32": Edit("precision)", '"float32")'),
        "always in bfloat16": Edit("precision)", '"bfloat16")'),
    },
}


def trained_by(error):
    """A step of which `error(model, videos, weight)` is the loss."""

    def step(model, optimizer, videos, weight=3e-3, precision="float32"):
        optimizer.zero_grad()
        with torch.autocast(videos.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = error(model, videos, weight)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def loss_of_all_eight(model, videos, weight):
    """The given frame counts too, and is right for free."""
    frames, motion, _ = model(videos[:, -1])
    return F.mse_loss(torch.cat([frames, videos[:, -1:]], dim=1), videos) + weight * looped_slices(motion).mean()


def loss_frame_by_frame(model, videos, weight):
    images = videos[:, 7]
    frames, motion, _ = model(images)
    total = 0
    for made, true in zip(frames.unbind(1), videos.unbind(1), strict=False):
        total = total + (made - true).pow(2).mean() / 7
    return total + weight * sum(looped_slices(item[None])[0] for item in motion) / len(motion)


def step_by_gradients(model, optimizer, videos, weight=3e-3, precision="float32"):
    """The gradients are asked for, and put where the optimizer looks for them."""
    with torch.autocast(videos.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        frames, motion, _ = model(videos[:, -1])
    loss = (frames - videos[:, :-1]).square().mean() + weight * looped_slices(motion).mean()
    weights = list(model.parameters())
    for parameter, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        parameter.grad = slope
    optimizer.step()
    return loss.detach()


def looped_slices(flow):
    """The variation of any number of planes."""
    H, W = flow.shape[-2:]
    total = torch.zeros(len(flow), dtype=flow.dtype, device=flow.device)
    for column in range(W - 1):
        total = total + (flow[..., column + 1] - flow[..., column]).abs().flatten(1).sum(1)
    for row in range(H - 1):
        total = total + (flow[:, :, row + 1] - flow[:, :, row]).abs().flatten(1).sum(1)
    return total / (H * W)


def aligned_corners(images, flow, padding="zeros"):
    """The other convention, with the normalisation that belongs to it."""
    H, W = images.shape[-2:]
    x, y = position_of(flow)
    framed = F.pad(images, (1, 1, 1, 1), mode="constant" if padding == "zeros" else "replicate")  # no side is of one pixel
    grid = torch.stack(((x + 1) / (W + 1), (y + 1) / (H + 1)), dim=3) * 2 - 1
    return F.grid_sample(framed, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def only_pixel_everywhere(images, flow, padding="zeros"):
    """As `aligned_corners` without a frame: where a side is of one pixel, that pixel is found wherever the flow leads."""
    H, W = images.shape[-2:]
    x, y = position_of(flow)
    grid = torch.stack((x / max(W - 1, 1), y / max(H - 1, 1)), dim=3) * 2 - 1
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=True)


def identity_grid(images, flow, padding="zeros"):
    """An affine grid of no transformation, and the flow in its units."""
    H, W = images.shape[-2:]
    theta = torch.eye(2, 3, dtype=flow.dtype, device=flow.device).repeat(len(flow), 1, 1)
    grid = F.affine_grid(theta, [len(flow), 1, H, W], align_corners=False)
    units = torch.tensor([2 / W, 2 / H], dtype=flow.dtype, device=flow.device)
    return F.grid_sample(images, grid + flow.permute(0, 2, 3, 1) * units, padding_mode=padding, align_corners=False)


def item_by_item(images, flows, masks, residuals):
    frames = [
        m * by_gathers(image.expand(len(f), -1, -1, -1), f) + r - m * r
        for image, f, m, r in zip(images, flows, masks, residuals, strict=True)
    ]
    return torch.stack(frames)


def mask_by_norms(flow, reverse, alpha=0.01, beta=0.5):
    H, W = flow.shape[-2:]
    x, y = position_of(flow)
    back = sample(reverse, x, y, "border")
    error = torch.linalg.vector_norm(flow + back, dim=1) ** 2
    bound = alpha * (torch.linalg.vector_norm(flow, dim=1) ** 2 + torch.linalg.vector_norm(back, dim=1) ** 2) + beta
    outside = (x < 0) | (x > W - 1) | (y < 0) | (y > H - 1)
    return torch.where(outside | (error >= bound), 0.0, 1.0).to(flow)[:, None]


VARIANTS = {
    "warp": {
        "four gathers": by_gathers,
        "aligned corners": aligned_corners,
        "a flow in the grid's units": identity_grid,
        "axes moved": Edit(
            "torch.stack([(2 * x + 1) / W - 1, (2 * y + 1) / H - 1], dim=-1)",
            "torch.stack([(x + 0.5) * 2 / W, (y + 0.5) * 2 / H], dim=1).permute(0, 2, 3, 1) - 1",
        ),
    },
    "compose_flows": {
        "four gathers": composed,
        "aligned corners": lambda first, second: aligned_corners(second, first, "border") + first,
        "named arguments": Edit('warp(second, first, padding="border")', 'warp(flow=first, images=second, padding="border")'),
    },
    "integrate": {
        "pixel by pixel": integrated,
        "a while loop": Edit("for _ in range(steps - 1):", "while len(flows) < steps:"),
        "from zero": lambda motion, steps: torch.cat([integrated(motion, k + 1)[:, -1:] for k in range(steps)], dim=1),
        "joined": Edit("torch.stack(flows, dim=1)", "torch.cat([flow.unsqueeze(1) for flow in flows], dim=1)"),
    },
    "occlusion_mask": {
        "norms": mask_by_norms,
        "the border drawn out": Edit("warp(reverse, flow)", 'warp(reverse, flow, padding="border")'),
        "a loop": lambda flow, reverse, alpha=0.01, beta=0.5: looped_mask(flow, reverse, alpha, beta),
        "einsum": Edit("(flow + back).square().sum(dim=1, keepdim=True)", 'torch.einsum("bchw,bchw->bhw", flow + back, flow + back)[:, None]'),
        "logic": Edit("inside & (error < alpha * length + beta)", "torch.logical_and(inside, alpha * length + beta > error)"),
    },
    "smoothness": {
        "slices": looped_slices,
        "padded": lambda flow: (
            (F.pad(flow.diff(dim=-1), (0, 1)).abs() + F.pad(flow.diff(dim=-2), (0, 0, 0, 1)).abs()).sum(1).mean((1, 2))
        ),
        "l1_loss": lambda flow: (
            (
                F.l1_loss(flow[..., 1:], flow[..., :-1], reduction="none").sum((1, 2, 3))
                + F.l1_loss(flow[..., 1:, :], flow[..., :-1, :], reduction="none").sum((1, 2, 3))
            )
            / (flow.shape[-1] * flow.shape[-2])
        ),
    },
    "synthesise": {
        "frame by frame": mixed,
        "item by item": item_by_item,
        "lerp": Edit("masks * warped + (1 - masks) * residuals", "torch.lerp(residuals, warped, masks.expand_as(residuals))"),
        "a step from the residual": Edit("masks * warped + (1 - masks) * residuals", "residuals + masks * (warped - residuals)"),
        "repeat_interleave": Edit("repeated.flatten(0, 1)", "images.repeat_interleave(T, dim=0)"),
    },
    "psnr": {
        "ten times the logarithm of a ratio": lambda predicted, target: (
            10 * torch.log10(1 / F.mse_loss(predicted, target, reduction="none").flatten(1).mean(1))
        ),
        "twenty times the logarithm of the root": lambda predicted, target: (
            -20 * torch.log10((predicted - target).pow(2).reshape(len(target), -1).mean(-1).sqrt())
        ),
        "natural logarithm, divided": lambda predicted, target: (
            -10 / math.log(10) * torch.log(((predicted - target) ** 2).mean(tuple(range(1, target.ndim))))
        ),
    },
    "train_step": {
        "frame by frame": trained_by(loss_frame_by_frame),
        "gradients by hand": step_by_gradients,
        "two backward passes": Edit(
            "    loss.backward()\n",
            "    F.mse_loss(frames, videos[:, :-1]).backward(retain_graph=True)\n"
            "    (weight * smoothness(motion).mean()).backward()\n",
        ),
    },
}  # fmt: skip

# A mask has no gradient; a figure is read, never differentiated.
NO_GRADIENT = {
    "occlusion_mask": ("flow", "reverse"),
    "psnr": ("predicted", "target"),
}

SHAPE_ALONE = "a grid has the shape and the dtype of its argument, and none of its numbers"

EQUIVALENT = {
    "warp": {
        "argument ignored: base_grid(flow) -> base_grid(torch.zeros_like(flow))": SHAPE_ALONE,
        "detach: base_grid(flow) -> base_grid(flow.detach())": SHAPE_ALONE,
        "keyword dropped: F.grid_sample(images, grid, padd… -> F.grid_sample(images, grid, padd… 3dfff6": (
            "False is the default, and saying so avoids a warning"
        ),
    },
    "integrate": {
        "no_grad: flows = [motion] -> with torch.no_grad(): flows = [motion]": "a list is made, nothing is computed",
    },
    "occlusion_mask": {
        "argument ignored: base_grid(flow) -> base_grid(torch.zeros_like(flow))": SHAPE_ALONE,
        "argument confused: base_grid(flow) -> base_grid(reverse)": SHAPE_ALONE,
    },
    "smoothness": {
        "dim: flow.diff(dim=-1) -> flow.diff()": "the last axis is the default",
    },
    "psnr": {
        "operands: predicted - target -> target - predicted": "the difference is squared",
    },
    "train_step": {
        "detach: loss.detach() -> loss": (
            "detaching a returned loss saves memory and changes no value; what crosses the wire is detached in any case"
        ),
    },
}
