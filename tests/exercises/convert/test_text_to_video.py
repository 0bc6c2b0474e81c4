"""What a right answer to convert/text_to_video must do. Truths: plain loops over items, frames and pixels, and counting by hand.

Where a stub calls a network it gets a small one with random weights in float64; the truth calls the same network item by item.
"""

import itertools
import math

import numpy as np
import pytest
import torch

from course.testing import Draw, Edit, assert_close, assert_equal, assert_true, raises, weight_gradients
from reference_impl.data import digits_in_motion as motion

NULL = [motion.BOS, motion.EOS] + [motion.PAD] * (motion.TOKENS - 2)


def falling_schedule(draw, T):
    """A ᾱ that falls unevenly from 1 to nearly 0, float64."""
    return torch.cat([torch.ones(1, dtype=torch.float64), draw.uniform(T, low=0.02, high=0.95).sort(descending=True).values])


# --- augment -----------------------------------------------------------------------------------------------------------


def spoiled(images, levels, noise, schedule):
    """The augmentation in a loop."""
    rows = []
    for image, level, e in zip(images, levels, noise, strict=True):
        a = schedule[level].item()
        rows.append(math.sqrt(a) * (2 * image - 1) + math.sqrt(1 - a) * e)
    return torch.stack(rows)


@pytest.mark.stub("augment")
def test_each_picture_is_spoiled_to_a_level_of_its_own(impl, draw):
    B, T = draw.batch(2), draw.size(3, 9)
    largest = draw.integer(1, T)
    images, schedule = draw.uniform(B, 1, *draw.sizes(2, 2, 5)), falling_schedule(draw, T)
    noise, uniforms = draw.normal(*images.shape), draw.uniform(B)
    noisy, levels = impl.augment(images, uniforms, noise, schedule, largest)
    expected = [math.floor(u * (largest + 1)) for u in uniforms.tolist()]
    assert_equal(
        levels, torch.tensor(expected), what="the levels", hint="⌊u (S + 1)⌋: whole numbers from 0 to S, int64, one per item"
    )
    hint = "√ᾱ_s of the picture, brought from [0, 1] to [−1, 1], and √(1 − ᾱ_s) of the noise; ᾱ_s = schedule[s] of each item"
    assert_close(noisy, spoiled(images, expected, noise, schedule), what="the noisy pictures", hint=hint)


@pytest.mark.stub("augment")
def test_level_zero_leaves_the_picture_and_the_largest_is_reached(impl, draw):
    B, T = draw.batch(), draw.size(3, 9)
    largest = draw.integer(1, T - 1)
    images, schedule = draw.uniform(B, 1, 3, 2), falling_schedule(draw, T)
    noise = draw.normal(*images.shape)
    noisy, levels = impl.augment(images, torch.zeros(B, dtype=torch.float64), noise, schedule, largest)
    assert_equal(
        levels, torch.zeros(B, dtype=torch.int64), what="the levels of u = 0", hint="level 0 belongs to the range: ⌊0⌋ = 0"
    )
    assert_close(
        noisy, 2 * images - 1, what="the picture of level 0", hint="ᾱ_0 = 1: nothing is added, only [0, 1] becomes [−1, 1]"
    )
    _, levels = impl.augment(images, torch.full((B,), 1 - 1e-9, dtype=torch.float64), noise, schedule, largest)
    hint = "level S belongs to the range too: there are S + 1 levels"
    assert_equal(levels, torch.full((B,), largest), what="the levels of u just below 1", hint=hint)


@pytest.mark.stub("augment")
@pytest.mark.parametrize("largest", [0, 1, 200])
def test_numbers_at_the_bounds_of_a_level(impl, largest):
    below = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).item()
    uniforms = torch.tensor([0.0, below, 0.5, 1 / (largest + 1) - 1e-6, 1 / (largest + 1) + 1e-6]).clamp(max=below)
    schedule = torch.linspace(1, 0, 202)  # longer than the largest level asks for
    images, noise = torch.full((5, 1, 1, 2), 0.75), torch.tensor([3.0, -1.0]).expand(5, 1, 1, 2)
    expected = [math.floor(u * (largest + 1)) for u in uniforms.tolist()]
    noisy, levels = impl.augment(images, uniforms, noise, schedule, largest)
    hint = "S + 1 levels, each of the same share of [0, 1): cut off, do not round; S = 0 leaves a single one"
    assert_equal(levels, torch.tensor(expected), what="the levels", hint=hint)
    assert_close(
        noisy, spoiled(images, expected, noise, schedule), what="the noisy pictures", hint="ᾱ_s = schedule[s], ends included"
    )


@pytest.mark.stub("augment")
def test_gradient_reaches_the_picture(impl, draw):
    B, T = draw.batch(2), draw.size(3, 9)
    images, uniforms, schedule = draw.uniform(B, 1, 2, 3), draw.uniform(B), falling_schedule(draw, T)
    noise, g = draw.normal(B, 1, 2, 3), draw.normal(B, 1, 2, 3)
    levels = (uniforms * (T + 1)).long()
    actual = impl.vjp("augment", images, uniforms, noise, schedule, T, wrt=0, cotangent=(g, None))
    assert_close(actual, 2 * schedule[levels].sqrt()[:, None, None, None] * g, hint="d x̃ / d x = 2 √ᾱ_s")


# --- level_embedding ---------------------------------------------------------------------------------------------------


@pytest.mark.stub("level_embedding")
@pytest.mark.parametrize("frequencies", [1, 2, "many"])
def test_sines_then_cosines_of_octaves(impl, draw, frequencies):
    K = draw.size(3, 6) if frequencies == "many" else frequencies
    largest = draw.integer(1, 500)
    levels = draw.integers(largest + 1, (draw.size(),))
    rows = []
    for level in levels.tolist():
        angles = [2**k * math.pi * level / largest for k in range(K)]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    hint = "angle = 2^k π s / S for k = 0 … K − 1; all sines first, then all cosines; float32"
    assert_close(impl.level_embedding(levels, largest, K), torch.tensor(rows), tolerance=3e-5, hint=hint, hint_for="values dtype")


@pytest.mark.stub("level_embedding")
def test_ends_of_the_range_are_half_a_turn_apart(impl, draw):
    largest, K = draw.integer(1, 50), draw.size()
    ends = impl.level_embedding(torch.tensor([0, largest]), largest, K)
    cosines = [[1.0] * K, [-1.0] + [1.0] * (K - 1)]  # of 0, and of 2^k π
    assert_close(
        ends[:, K:], torch.tensor(cosines), tolerance=3e-5, what="the cosines at both ends", hint="s / S runs from 0 to 1"
    )


@pytest.mark.stub("level_embedding")
def test_a_batch_need_not_show_the_largest_level(impl):
    for levels, largest in (([0, 50], 200), ([7], 7), ([0], 1), ([3, 3], 12)):
        rows = [[f(2**k * math.pi * s / largest) for f in (math.sin, math.cos) for k in range(3)] for s in levels]
        hint = "S is `largest`, whatever levels a batch holds"
        assert_close(impl.level_embedding(torch.tensor(levels), largest, 3), torch.tensor(rows), tolerance=3e-5, hint=hint)


# --- augmented_loss ----------------------------------------------------------------------------------------------------


def video_net(impl, draw, largest, weight):
    """A small second stage with random weights, in float64."""
    model = impl.VideoNet(impl.Config(channels=4, largest_level=largest, smoothness=weight))
    model.double()
    model.load_state_dict(draw.like(model.fresh_state()))
    model.eval()
    return model


def total_variation(flow):
    """Of one flow (2, H, W), per pixel, by differences of neighbours."""
    across = (flow[:, :, 1:] - flow[:, :, :-1]).abs().sum()
    down = (flow[:, 1:, :] - flow[:, :-1, :]).abs().sum()
    return ((across + down) / flow[0].numel()).item()


def loss_case(impl, draw):
    """A network, the weight of its smoothness (as much as the error), its largest level, and a batch."""
    B, T = draw.batch(2, 3), draw.size(4, 9)
    weight, largest = draw.number(0.2, 2.0), draw.integer(1, T - 1)
    model = video_net(impl, draw, largest, weight)
    videos, schedule = draw.uniform(B, 8, 1, 8, 8), falling_schedule(draw, T)
    return model, weight, largest, videos, draw.uniform(B), draw.normal(B, 1, 8, 8), schedule


@pytest.mark.stub("VideoNet.augmented_loss")
def test_loss_compares_with_the_clean_video(impl, draw):
    model, weight, largest, videos, uniforms, noise, schedule = loss_case(impl, draw)
    levels = torch.tensor([math.floor(u * (largest + 1)) for u in uniforms.tolist()])
    noisy = spoiled(videos[:, -1], levels.tolist(), noise, schedule)
    squares, variation, truth = 0.0, 0.0, model.reference
    for i in range(len(videos)):
        made, flow = truth(noisy[i : i + 1], levels[i : i + 1], schedule[levels[i : i + 1]])
        squares += (made[0] - videos[i]).square().sum().item()
        variation += total_variation(flow[0])
    expected = squares / videos.numel() + weight * variation / len(videos)
    hint = "the LAST frame is spoiled, the level and its ᾱ are told, all eight CLEAN frames are the target; plus smoothness · mean variation"
    actual = model.augmented_loss(videos, uniforms, noise, schedule)
    assert_close(actual, torch.tensor(expected, dtype=torch.float64), tolerance=1e-7, hint=hint)


@pytest.mark.stub("VideoNet.augmented_loss")
def test_loss_has_a_gradient_for_every_weight(impl, draw):
    model, weight, largest, videos, uniforms, noise, schedule = loss_case(impl, draw)
    levels = torch.tensor([math.floor(u * (largest + 1)) for u in uniforms.tolist()])
    noisy = spoiled(videos[:, -1], levels.tolist(), noise, schedule)
    truth = model.reference
    with torch.enable_grad():
        made, flow = truth(noisy, levels, schedule[levels])
        variation = flow.diff(dim=-1).abs().sum() + flow.diff(dim=-2).abs().sum()
        loss = (made - videos).square().mean() + weight * variation / flow[0, 0].numel() / len(flow)
    expected = weight_gradients(truth, loss)
    actual = model.vjp(videos, uniforms, noise, schedule, wrt="parameters", method="augmented_loss")
    hint = "both parts of the loss must reach the weights: is something detached?"
    for name in expected:
        assert_close(actual[name], expected[name], tolerance=1e-6, what=f"the gradient of {name}", hint=hint)


# --- sample_until ------------------------------------------------------------------------------------------------------


def captions(draw, B):
    """Token ids of random captions of either language."""
    texts = []
    for _ in range(B):
        language = draw.choice(["en", "zh"])
        texts.append(motion.caption(draw.integer(0, 9), draw.choice(motion.PLACES), draw.integer(0, 4), language))
    return motion.encode(texts)


def sampled(model, tokens, noise, schedule, times, guidance):
    """DDIM from level to level, one item after another, by the formulas of text to image."""
    null = torch.tensor([NULL], device=tokens.device)
    rows = []
    for x, row in zip(noise.split(1), tokens.split(1), strict=True):
        for now, then in itertools.pairwise(times):
            t = torch.tensor([now], device=tokens.device)
            with_caption, without = model(x, t, row), model(x, t, null)
            v = without + guidance * (with_caption - without)
            a, b = schedule[now].item(), schedule[then].item()
            guess = (math.sqrt(a) * x - math.sqrt(1 - a) * v).clamp(-1, 1)
            rest = (x - math.sqrt(a) * guess) / math.sqrt(1 - a)
            x = math.sqrt(b) * guess + math.sqrt(1 - b) * rest
        rows.append(x)
    return torch.cat(rows)


@pytest.mark.stub("sample_until")
@pytest.mark.parametrize("stop", ["finished", "truncated"])
def test_sampling_goes_from_noise_to_the_level_and_no_further(impl, draw, stop):
    B, T, steps = draw.batch(1, 3), 3 * draw.integer(2, 9) + draw.integer(1, 2), 3  # thirds are never halfway between numbers
    stop = 0 if stop == "finished" else draw.integer(1, T - 4)
    model = impl.UNet(impl.PictureConfig(channels=8, width=8))
    model.double()
    model.load_state_dict(draw.like(model.fresh_state()))
    model.eval()
    tokens, noise, schedule = captions(draw, B), draw.normal(B, 1, 24, 24), falling_schedule(draw, T)
    guidance = draw.number(0.5, 3.0)
    times = [round(T + (stop - T) * i / steps) for i in range(steps + 1)]
    with torch.no_grad():
        expected = sampled(model.reference, tokens, noise, schedule, times, guidance)
    hint = "levels linspace(T, stop, steps + 1), rounded; each step asks at the level it comes from and goes to the next; return x of `stop`"
    assert_close(impl.sample_until(model, tokens, noise, schedule, stop, steps, guidance), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("sample_until")
@pytest.mark.parametrize(("stop", "steps"), [(0, 2), (1, 1), (4, 1)])
def test_levels_halfway_and_a_single_step(impl, stop, steps):
    draw, T = Draw(steps), 5  # asked once: the network is what takes time here
    model = impl.UNet(impl.PictureConfig(channels=8, width=8))
    model.double()
    model.load_state_dict(draw.like(model.fresh_state()))
    model.eval()
    tokens, noise, schedule = captions(draw, 1), draw.normal(1, 1, 24, 24), falling_schedule(draw, T)
    times = [round(T + (stop - T) * i / steps) for i in range(steps + 1)]  # Python rounds a half as torch does: to the even one
    with torch.no_grad():
        expected = sampled(model.reference, tokens, noise, schedule, times, 2.0)
    hint = "`round` takes 2.5 to 2; one step is enough; T − 1 is a level to stop at"
    assert_close(impl.sample_until(model, tokens, noise, schedule, stop, steps, 2.0), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("sample_until")
@pytest.mark.parametrize("stop", ["negative", "the noise itself", "beyond"])
def test_level_to_stop_at_must_lie_below_the_noise(impl, draw, stop):
    T = draw.integer(4, 9)
    stop = {"negative": -1, "the noise itself": T, "beyond": T + 1}[stop]
    model = impl.UNet(impl.PictureConfig(channels=8, width=8))
    model.double()
    with raises(ValueError, hint="0 is a finished picture, T is pure noise: there is nothing to sample"):
        impl.sample_until(model, captions(draw, 1), draw.normal(1, 1, 24, 24), falling_schedule(draw, T), stop, 2, 1.0)


# --- clip_accuracy -----------------------------------------------------------------------------------------------------


def counted(found, labels):
    """The four figures, by counting."""
    rows = [[cell == label for cell in row] for row, label in zip(found.tolist(), labels.tolist(), strict=True)]
    N, T = len(rows), len(rows[0])
    return {
        "frame": sum(map(sum, rows)) / (N * T),
        "worst_frame": min(sum(row[t] for row in rows) / N for t in range(T)),
        "majority": sum(2 * sum(row) > T for row in rows) / N,
        "clip": sum(all(row) for row in rows) / N,
    }


def assert_figures(actual, expected, hint):
    assert_equal(sorted(actual), sorted(expected), what="the names of the figures", hint="see the docstring")
    for name, value in expected.items():
        measured = torch.tensor(actual[name], dtype=torch.float64)
        assert_close(measured, torch.tensor(value, dtype=torch.float64), tolerance=1e-6, what=name, hint=hint)


@pytest.mark.stub("clip_accuracy")
@pytest.mark.parametrize("frames", ["even", "odd"])
def test_frames_and_clips_are_counted(impl, draw, frames):
    N, T = draw.batch(2), 2 * draw.size(1, 4) + (frames == "odd")
    labels = draw.integers(10, (N,))
    found = torch.where(draw.uniform(N, T) < 0.7, labels[:, None], draw.integers(10, (N, T)))
    found[0] = labels[0]  # one clip is right throughout
    hint = "frame: over all; worst_frame: the lowest of the means over videos; majority: more than half; clip: every frame"
    assert_figures(impl.clip_accuracy(found, labels), counted(found, labels), hint)


@pytest.mark.stub("clip_accuracy")
def test_half_of_the_frames_is_no_majority(impl, draw):
    N, T = draw.batch(2), 2 * draw.size(1, 4)
    labels = draw.integers(10, (N,))
    found = labels[:, None].repeat(1, T)
    found[:, : T // 2] = -1  # nothing was found
    expected = {"frame": 0.5, "worst_frame": 0.0, "majority": 0.0, "clip": 0.0}
    assert_figures(impl.clip_accuracy(found, labels), expected, "half of the frames right is not MORE than half")


@pytest.mark.stub("clip_accuracy")
def test_the_commonest_class_is_no_majority(impl):
    found = torch.tensor([[3, 3, 3, 1, 2, 4, 5, 6], [1, 2, 3, 3, 3, 3, 3, 7], [8] * 8, [9, 0, 0, 0, 0, 9, 9, 9]])
    labels = torch.tensor([3, 3, 8, 9])
    expected = {"frame": 20 / 32, "worst_frame": 0.5, "majority": 0.5, "clip": 0.25}
    hint = "a video is right by majority if more than half of its frames are, not if its commonest class is"
    assert_figures(impl.clip_accuracy(found, labels), expected, hint)
    for found, share in (([[4]], 1.0), ([[5]], 0.0)):
        expected = dict.fromkeys(expected, share)
        assert_figures(
            impl.clip_accuracy(torch.tensor(found), torch.tensor([4])), expected, "one video of one frame is right or wrong"
        )


# --- error_budget ------------------------------------------------------------------------------------------------------


@pytest.mark.stub("error_budget")
def test_errors_are_inherited_added_or_mended(impl, draw):
    N = draw.batch(2, 40)
    first, both = draw.uniform(N) < 0.6, draw.uniform(N) < 0.5
    pairs = list(zip(first.tolist(), both.tolist(), strict=True))
    expected = {
        "inherited": pairs.count((False, False)) / N,
        "added": pairs.count((True, False)) / N,
        "mended": pairs.count((False, True)) / N,
    }
    hint = "inherited: wrong, wrong; added: right, then wrong; mended: wrong, then right; each a share of ALL items"
    assert_figures(impl.error_budget(first, both), expected, hint)


@pytest.mark.stub("error_budget")
def test_a_second_stage_that_changes_nothing_adds_and_mends_nothing(impl, draw):
    first = torch.cat([draw.uniform(draw.size() * 3) < 0.5, torch.tensor([True, False])])
    expected = {"inherited": 1 - first.double().mean().item(), "added": 0.0, "mended": 0.0}
    assert_figures(impl.error_budget(first, first.clone()), expected, "the same items are wrong before and after: all inherited")


@pytest.mark.stub("error_budget")
def test_what_is_added_and_what_is_mended_do_not_cancel(impl):
    first, both = torch.tensor([True, False, True, True, True]), torch.tensor([False, True, True, True, True])
    expected = {"inherited": 0.0, "added": 0.2, "mended": 0.2}
    assert_figures(impl.error_budget(first, both), expected, "count items one by one: the same accuracy may hide both")
    for right, wrong in (([True], 0.0), ([False], 1.0)):
        expected = {"inherited": wrong, "added": 0.0, "mended": 0.0}
        hint = "a share of all items, also where none is wrong"
        assert_figures(impl.error_budget(torch.tensor(right), torch.tensor(right)), expected, hint)


# --- warping_error -----------------------------------------------------------------------------------------------------


def bilinear(plane, y, x):
    """The value of an H×W plane between its pixels, (y, x) within the outermost centres."""
    H, W = plane.shape
    top, left = min(int(y), H - 1), min(int(x), W - 1)
    low, right = min(top + 1, H - 1), min(left + 1, W - 1)
    dy, dx = y - top, x - left
    upper = (1 - dx) * plane[top, left] + dx * plane[top, right]
    lower = (1 - dx) * plane[low, left] + dx * plane[low, right]
    return ((1 - dy) * upper + dy * lower).item()


@pytest.mark.stub("warping_error")
def test_each_frame_is_compared_with_the_next_where_the_motion_leads(impl, draw):
    B, T, C, (H, W) = draw.batch(1, 2), draw.size(2, 4), draw.size(1, 2), draw.sizes(2, 3, 5)
    videos = draw.uniform(B, T, C, H, W)
    flow = draw.uniform(B, 2, H, W, low=-1.2, high=1.2)
    flow[:, :, H // 2, W // 2] = 0.25  # one pixel at least that counts
    expected = []
    for video, field in zip(videos, flow, strict=True):
        total, count = 0.0, 0
        for y, x in itertools.product(range(H), range(W)):
            to_x, to_y = x + field[0, y, x].item(), y + field[1, y, x].item()
            if not (0 <= to_x <= W - 1 and 0 <= to_y <= H - 1):
                continue
            count += 1
            for t, c in itertools.product(range(T - 1), range(C)):
                total += (video[t, c, y, x].item() - bilinear(video[t + 1, c], to_y, to_x)) ** 2 / ((T - 1) * C)
        expected.append(total / count)
    hint = (
        "frame k at p against frame k + 1 at p + flow(p), flow is (x, y); squares, averaged over pairs, channels and the pixels "
        "whose p + flow(p) lies in the picture"
    )
    assert_close(impl.warping_error(videos, flow), torch.tensor(expected, dtype=torch.float64), tolerance=1e-7, hint=hint)


@pytest.mark.stub("warping_error")
def test_true_motion_explains_a_sliding_picture(impl, draw):
    B, T = draw.batch(1, 3), draw.size(2, 4)
    still = draw.uniform(B, 1, 9, 9)
    videos = torch.stack([still.roll((t, -t), dims=(2, 3)) for t in range(T)], dim=1)  # a pixel down and one to the left a frame
    flow = torch.tensor([-1.0, 1.0], dtype=torch.float64)[None, :, None, None].expand(B, 2, 9, 9)
    error = impl.warping_error(videos, flow)
    hint = "what moves as the flow says has no error; pixels that come from outside do not count"
    assert_close(error, torch.zeros(B, dtype=torch.float64), tolerance=1e-12, hint=hint)


@pytest.mark.stub("warping_error")
def test_a_motion_that_ends_on_the_border_counts(impl):
    videos = (
        torch.tensor([[[[1.0, 0.0, 4.0]]], [[[0.0, 0.0, 2.0]]]], dtype=torch.float64).view(1, 2, 1, 1, 3).repeat(3, 1, 1, 1, 1)
    )
    flow = torch.zeros(3, 2, 1, 3, dtype=torch.float64)
    flow[0, 0], flow[1, 0], flow[2, 0] = torch.tensor([2.0, 1.0, 0.5]), -1.0, torch.tensor([5.0, -1.5, 0.0])
    expected = torch.tensor([(1 + 4) / 2, (0 + 16) / 2, 4.0], dtype=torch.float64)
    hint = "a point on the centre of an outermost pixel is in the picture, one beyond is not; divide by the pixels that count"
    assert_close(impl.warping_error(videos, flow), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("warping_error")
def test_without_a_motion_every_pixel_counts(impl, draw):
    B, T, (H, W) = draw.batch(), draw.size(2, 4), draw.sizes(2, 2, 5)
    videos = draw.uniform(B, T, 1, H, W)
    expected = (videos[:, 1:] - videos[:, :-1]).square().flatten(1).mean(1)
    hint = "the centres of the outermost pixels are in the picture: 0 and W − 1, 0 and H − 1 count too"
    assert_close(impl.warping_error(videos, torch.zeros(B, 2, H, W, dtype=torch.float64)), expected, tolerance=1e-9, hint=hint)


@pytest.mark.stub("warping_error")
def test_a_clip_with_no_pixel_to_compare_is_not_a_number(impl, draw):
    videos, flow = draw.uniform(2, 3, 1, 4, 5), torch.zeros(2, 2, 4, 5, dtype=torch.float64)
    flow[0] = 99.0
    error = impl.warping_error(videos, flow)
    assert_true(
        error[0].isnan() and error[1].isfinite(), "the first should be NaN, the second a number", hint="0 / 0, and only there"
    )


# --- choose_level ------------------------------------------------------------------------------------------------------


@pytest.mark.stub("choose_level")
def test_smallest_level_within_a_standard_error_of_the_best(impl, draw):
    count, best = draw.integer(50, 1000), draw.number(0.6, 0.95)
    bar = best - math.sqrt(best * (1 - best) / count)
    margin = draw.number(1e-4, 2e-3)
    levels = [*sorted({100 * draw.size() + i for i in range(4)}), 2000]
    low, sufficient, high, top = bar - margin, bar + margin, bar + 2 * margin, best
    accuracies = [low, sufficient, high, top, low]
    order = torch.randperm(5, generator=torch.Generator().manual_seed(draw.integer(0, 999))).tolist()
    chosen = impl.choose_level([levels[i] for i in order], [accuracies[i] for i in order], count)
    hint = (
        "best − √(best (1 − best) / n) is the bar; among all levels at or above it take the smallest, in whatever order they come"
    )
    assert_equal(chosen, levels[1], what="the level", hint=hint)


@pytest.mark.stub("choose_level")
def test_no_error_at_all_asks_for_the_best_itself(impl, draw):
    level = draw.integer(1, 100)
    chosen = impl.choose_level([0, level, level + 5], [0.999, 1.0, 1.0], draw.integer(5, 99))
    assert_equal(
        chosen, level, what="the level", hint="at an accuracy of 1 the standard error is 0: a tie goes to the smaller level"
    )


@pytest.mark.stub("choose_level")
@pytest.mark.parametrize("best", ["first", "last", "only"])
def test_every_level_of_the_list_is_looked_at(impl, draw, best):
    level = draw.integer(1, 100)
    levels, accuracies = {
        "first": ([level, level + 7], [0.9, 0.1]),
        "last": ([level + 7, level], [0.1, 0.9]),
        "only": ([level], [draw.number(0.1, 0.9)]),
    }[best]
    assert_equal(
        impl.choose_level(levels, accuracies, 1000), level, what="the level", hint="the best may stand anywhere in the list"
    )


@pytest.mark.stub("choose_level")
def test_ties_bounds_and_any_order(impl):
    for levels, accuracies, count, level, hint in (
        ([100, 0, 50], [0.7, 0.7, 0.7], 100, 0, "of equal accuracies the smallest level, wherever it stands"),
        (
            [50, 100, 20],
            [0.5, 0.75, 0.25],
            3,
            50,
            "0.75 − √(0.75 · 0.25 / 3) is 0.5: the bar itself is no more than one error below",
        ),
        ([9, 3], [0.5, 0.25], 4, 3, "½ − √(¼ / 4) is ¼: the bar itself is no more than one error below"),
        ([9, 3], [0.5, 0.2499], 4, 9, "0.2499 lies below the bar of ¼"),
        ([30, 7, 8], [0.0, 0.0, 0.0], 10, 7, "where all fail, all are as good"),
        ([30, 7, 8], [1.0, 0.999999, 1.0], 10, 8, "at an accuracy of 1 the standard error is 0"),
        ([4, 2], [0.5, 0.5], 1, 2, "a count of one is a count, too"),
        ([2**24 + 3, 2**24 + 1], [0.5, 0.5], 9, 2**24 + 1, "a level is a whole number, and may be a large one: no float32"),
        ([300, 20, 100], [0.9, 0.1, 0.9], 1000, 100, "levels are numbers: 20 is smaller than 100, but its accuracy is too low"),
    ):
        what = f"the level among {levels} with accuracies {accuracies}, n = {count}"
        assert_equal(impl.choose_level(levels, accuracies, count), level, what=what, hint=hint)


@pytest.mark.stub("choose_level")
@pytest.mark.parametrize("case", ["no levels", "one accuracy too few", "one too many"])
def test_levels_and_accuracies_belong_together(impl, case):
    levels, accuracies = {"no levels": ([], []), "one accuracy too few": ([0, 9], [0.5]), "one too many": ([0], [0.5, 0.6])}[case]
    with raises(ValueError, hint="one accuracy for each level, and at least one"):
        impl.choose_level(levels, accuracies, 10)


# --- wrong answers -----------------------------------------------------------------------------------------------------


def one_step_too_many(model, tokens, noise, schedule, stop, steps, guidance):
    if not 0 <= stop < len(schedule) - 1:
        raise ValueError
    times = torch.linspace(len(schedule) - 1, stop, steps + 1).round().long().tolist()
    return sampled(model, tokens, noise, schedule, [*times, 0], guidance)


def steps_for_levels(model, tokens, noise, schedule, stop, steps, guidance):
    if not 0 <= stop < len(schedule) - 1:
        raise ValueError
    times = torch.linspace(len(schedule) - 1, stop, steps).round().long().tolist()
    return sampled(model, tokens, noise, schedule, times, guidance)


def counted_by_videos(found, labels):
    right = (found == labels[:, None]).float()
    return counted(found, labels) | {"worst_frame": right.mean(1).min().item()}


FAKES = {
    "augment": {
        "one level for the whole batch": Edit("(uniforms * (largest + 1)).long()", "(uniforms[:1] * (largest + 1)).long().expand(len(uniforms))"),
        "the largest level never": Edit("largest + 1", "largest"),
        "never clean": Edit("(uniforms * (largest + 1)).long()", "1 + (uniforms * largest).long()"),
        "rounded": Edit("(uniforms * (largest + 1)).long()", "(uniforms * largest).round().long()"),
        "a share of the whole schedule": Edit("(uniforms * (largest + 1)).long()", "(uniforms * len(schedule)).long().clamp(max=largest)"),
        "at least one level of noise": Edit("(uniforms * (largest + 1)).long()", "(uniforms * (max(largest, 1) + 1)).long()"),
        "ink left in [0, 1]": Edit("2 * images - 1", "images"),
        "always the largest": Edit("schedule[levels]", "schedule[torch.full_like(levels, largest)]"),
        "noise of its own": Edit("noise), levels", "torch.randn_like(noise)), levels"),
        "not spoiled": Edit("q_sample(2 * images - 1, schedule[levels], noise)", "2 * images - 1"),
        "the levels kept to itself": Edit("noise), levels", "noise), torch.zeros_like(levels)"),
    },
    "level_embedding": {
        "cosines first": Edit("[angles.sin(), angles.cos()]", "[angles.cos(), angles.sin()]"),
        "interleaved": Edit("torch.cat([angles.sin(), angles.cos()], dim=1)", "torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)"),
        "multiples for octaves": Edit("2.0 ** torch.arange(frequencies, device=levels.device)", "1.0 + torch.arange(frequencies, device=levels.device)"),
        "without π": Edit("math.pi / largest", "1 / largest"),
        "a whole turn": Edit("math.pi / largest", "2 * math.pi / largest"),
        "not divided by the largest": Edit("math.pi / largest", "math.pi"),
        "the largest of the batch": Edit("math.pi / largest", "math.pi / levels.max().clamp(min=1)"),
        "divided by a level too many": Edit("math.pi / largest", "math.pi / (largest + 1)"),
    },
    "VideoNet.augmented_loss": {
        "not spoiled": Edit("augment(videos[:, -1], uniforms, noise,", "augment(videos[:, -1], uniforms, 0 * noise,"),
        "the first frame shown": Edit("videos[:, -1]", "videos[:, 0]"),
        "the level not told": Edit("self(noisy, levels,", "self(noisy, 0 * levels,"),
        "another level told": Edit("self(noisy, levels,", "self(noisy, self.config.largest_level - levels,"),
        "the ᾱ of a clean picture": Edit("schedule[levels])\n", "schedule[0 * levels])\n"),
        "without the last frame": Edit("F.mse_loss(made, videos)", "F.mse_loss(made[:, :-1], videos[:, :-1])"),
        "the noisy picture for a target": Edit(
            "F.mse_loss(made, videos)",
            "F.mse_loss(made, torch.cat([videos[:, :-1], (noisy[:, None] + 1) / 2], 1))",
        ),
        "not smooth": Edit(" + self.config.smoothness * smoothness(flow).mean()", ""),
        "smoothness summed": Edit("smoothness(flow).mean()", "smoothness(flow).sum()"),
        "smoothness not weighted": Edit("self.config.smoothness * ", ""),
        "smoothness detached": Edit("smoothness(flow)", "smoothness(flow.detach())"),
        "an absolute error": Edit("F.mse_loss", "F.l1_loss"),
        "a sum": Edit("F.mse_loss(made, videos)", "F.mse_loss(made, videos, reduction='sum')"),
        "the prediction detached": Edit("F.mse_loss(made,", "F.mse_loss(made.detach(),"),
    },
    "sample_until": {
        "always finished": Edit("torch.linspace(T, stop,", "torch.linspace(T, 0,"),
        "one step too many": one_step_too_many,
        "steps for levels": steps_for_levels,
        "a half rounded up": Edit(".round().long()", ".add(0.5).floor().long()"),
        "at least two steps": Edit("steps + 1)", "max(steps, 2) + 1)"),
        "the last level before the noise refused": Edit("0 <= stop < T", "0 <= stop < T - 1"),
        "levels cut off": Edit(".round().long()", ".long()"),
        "asked at the level it goes to": Edit("guided_velocity(model, x, t, tokens, guidance)", "guided_velocity(model, x, torch.full_like(t, then), tokens, guidance)"),
        "without guidance": Edit("guided_velocity(model, x, t, tokens, guidance)", "model(x, t, tokens)"),
        "guidance of one": Edit("tokens, guidance)", "tokens, 1.0)"),
        "clean in one step": Edit("torch.full_like(t, then)])", "torch.zeros_like(t)])"),
        "fresh noise": Edit("    x = noise", "    x = torch.randn_like(noise)"),
        "any stop accepted": Edit("not 0 <= stop < T", "False"),
        "the noise itself accepted": Edit("0 <= stop < T", "0 <= stop <= T"),
        "negative stops accepted": Edit("not 0 <= stop < T", "stop >= T"),
        "the noise returned": Edit("return x", "return noise"),
    },
    "clip_accuracy": {
        "half is a majority": Edit("2 * count > T", "2 * count >= T"),
        "the commonest class": lambda found, labels: (
            counted(found, labels) | {"majority": (found.mode(dim=1).values == labels).double().mean().item()}
        ),
        "any frame is enough": Edit("count == T", "count > 0"),
        "the best frame": Edit(".sum(dim=0).min()", ".sum(dim=0).max()"),
        "the worst video": counted_by_videos,
        "the last frame only": Edit("count == T", "right[:, -1]"),
        "the first frame only": Edit("right = found == labels[:, None]", "right = (found == labels[:, None])[:, :1].expand_as(found)"),
        "counts for shares": Edit("(count == T).sum().item() / N", "(count == T).sum().item()"),
        "all right": lambda found, labels: {"frame": 1.0, "worst_frame": 1.0, "majority": 1.0, "clip": 1.0},
    },
    "error_budget": {
        "added and mended exchanged": Edit("(first & ~both)", "(~first & both)"),
        "inherited: all errors of the first": Edit("(~first & ~both)", "(~first)"),
        "added: all errors of the cascade": Edit("(first & ~both)", "(~both)"),
        "mended: all that is right": Edit("(~first & both)", "both"),
        "shares of the errors": lambda first, both: {
            "inherited": (~first & ~both).sum().item() / max(1, (~both).sum().item()),
            "added": (first & ~both).sum().item() / max(1, (~both).sum().item()),
            "mended": (~first & both).sum().item() / max(1, (~first).sum().item()),
        },
        "a difference of accuracies": lambda first, both: {
            "inherited": (~first).float().mean().item(),
            "added": max(0.0, (first.float().mean() - both.float().mean()).item()),
            "mended": max(0.0, (both.float().mean() - first.float().mean()).item()),
        },
        "counts": Edit("(~first & ~both).sum().item() / N", "(~first & ~both).sum().item()"),
        "what cancels left out": lambda first, both: (
            lambda added, mended, N: {
                "inherited": ((~first & ~both).sum().item() + min(added, mended) * (added == mended)) / N,
                "added": added * (added != mended) / N,
                "mended": mended * (added != mended) / N,
            }
        )((first & ~both).sum().item(), (~first & both).sum().item(), len(first)),
    },
    "warping_error": {
        "without a motion": Edit("x, y = (base_grid(flow) + flow)", "warped = videos[:, 1:]\n    errors = (videos[:, :-1] - warped).square().mean(dim=(1, 2))\n    x, y = (base_grid(flow) + flow)"),
        "warped the other way": Edit("flow[:, None].expand", "(-flow)[:, None].expand"),
        "the earlier frame warped": lambda videos, flow: torch.full((len(videos),), 0.0, dtype=videos.dtype)
        + (videos[:, 1:] - videos[:, :-1]).square().mean((1, 2, 3, 4)),
        "all pixels count": Edit("torch.where(inside, errors, 0).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)", "errors.mean(dim=(1, 2))"),
        "averaged over all pixels": Edit("/ inside.flatten(1).sum(dim=1)", "/ (H * W)"),
        "an absolute error": Edit(".square()", ".abs()"),
        "a root": Edit("return torch.where(inside, errors, 0).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)", "return (torch.where(inside, errors, 0).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)).sqrt()"),
        "only the first pair": Edit("(videos[:, :-1] - warped)", "(videos[:, :1] - warped[:, :1])"),
        "axes exchanged": Edit("flow[:, None].expand", "flow.flip(1)[:, None].expand"),
        "the last centre left out": Edit("(x <= W - 1)", "(x < W - 1)"),
        "the first centre left out": Edit("(x >= 0)", "(x > 0)"),
        "up to the outer edge": Edit("(x >= 0) & (x <= W - 1)", "(x >= -0.5) & (x <= W - 0.5)"),
        "zero for nothing": Edit("/ inside.flatten(1).sum(dim=1)", "/ inside.flatten(1).sum(dim=1).clamp(min=1)"),
        "the borders closed": Edit("(x >= 0) & (x <= W - 1)", "(x > 0.5) & (x < W - 1.5)"),
        "nothing": lambda videos, flow: torch.zeros(len(videos), dtype=videos.dtype),
    },
    "choose_level": {
        "the best": lambda levels, accuracies, count: max(zip(accuracies, levels, strict=True))[1]
        if levels and len(levels) == len(accuracies)
        else (_ for _ in ()).throw(ValueError),
        "the largest": Edit("return min(", "return max("),
        "the smallest of all": Edit("if accuracy >= bar", "if accuracy >= 0"),
        "two standard errors": Edit("best - math.sqrt", "best - 2 * math.sqrt"),
        "a variance": Edit("math.sqrt(best * (1 - best) / count)", "best * (1 - best) / count"),
        "a deviation": Edit("(1 - best) / count)", "(1 - best))"),
        "the first in the list": Edit(
            "min(level for level, accuracy in zip(levels, accuracies, strict=True) if accuracy >= bar)",
            "next(level for level, accuracy in zip(levels, accuracies, strict=True) if accuracy >= bar)",
        ),
        "strictly above the bar": Edit("accuracy >= bar", "accuracy > bar"),
        "strictly above, or the best": Edit("accuracy >= bar", "accuracy > bar or accuracy == best"),
        "an error of n − 1": Edit("(1 - best) / count)", "(1 - best) / max(1, count - 1))"),
        "levels in float32": Edit(
            "return min(level for level,", "return min(int(torch.tensor(float(level))) for level,"
        ),
        "sorted as words": Edit("return min(level for level, accuracy in zip(levels, accuracies, strict=True) if accuracy >= bar)", "return min((level for level, accuracy in zip(levels, accuracies, strict=True) if accuracy >= bar), key=str)"),
        "the first of equal ones": Edit(
            "return min(level for level, accuracy in zip(levels, accuracies, strict=True) if accuracy >= bar)",
            "pairs = list(zip(levels, accuracies, strict=True))\n"
            "    if min(accuracies) == best:\n"
            "        return pairs[0][0]\n"
            "    return min(level for level, accuracy in pairs if accuracy >= bar)",
        ),
    },
}  # fmt: skip


# --- right answers, written differently --------------------------------------------------------------------------------


def augmented_in_a_loop(images, uniforms, noise, schedule, largest):
    levels = torch.floor(uniforms * (largest + 1)).to(torch.int64)
    rows = []
    for image, level, e in zip(images, levels, noise, strict=True):
        rows.append(schedule[level].sqrt() * (image * 2 - 1) + (1 - schedule[level]).sqrt() * e)
    return torch.stack(rows), levels


def embedded_in_a_loop(levels, largest, frequencies):
    shares = levels.double() / largest
    columns = [f(2**k * math.pi * shares) for f in (torch.sin, torch.cos) for k in range(frequencies)]
    return torch.stack(columns, dim=1).float()


def sampled_all_at_once(model, tokens, noise, schedule, stop, steps, guidance):
    T = schedule.shape[0] - 1
    if stop < 0 or stop >= T:
        raise ValueError("nothing to sample")
    x, null = noise.clone(), torch.tensor(NULL, device=noise.device).expand(len(noise), -1)
    now = T
    for i in range(1, steps + 1):
        then = round(T + (stop - T) * i / steps)
        t = torch.tensor([now] * len(x), device=noise.device)
        v = torch.lerp(model(x, t, null), model(x, t, tokens), guidance)
        a, b = schedule[now], schedule[then]
        guess = (a.sqrt() * x - (1 - a).sqrt() * v).clip(-1, 1)
        x, now = b.sqrt() * guess + ((1 - b) / (1 - a)).sqrt() * (x - a.sqrt() * guess), then
    return x


def warped_in_a_loop(videos, flow):
    T, H, W = videos.shape[1], *videos.shape[-2:]
    y, x = torch.meshgrid(torch.arange(H).to(flow), torch.arange(W).to(flow), indexing="ij")
    x, y = x + flow[:, 0], y + flow[:, 1]
    grid = torch.stack([2 * x / max(W - 1, 1) - 1, 2 * y / max(H - 1, 1) - 1], dim=3)
    inside = (x >= 0) & (x <= W - 1) & (y >= 0) & (y <= H - 1)
    total = torch.zeros_like(x)
    for t in range(T - 1):
        warped = torch.nn.functional.grid_sample(videos[:, t + 1], grid, align_corners=True)
        total = total + (videos[:, t] - warped).pow(2).mean(1) / (T - 1)
    return (total * inside).flatten(1).sum(1) / inside.flatten(1).sum(1)


VARIANTS = {
    "augment": {
        "a loop": augmented_in_a_loop,
        "floor": Edit("(uniforms * (largest + 1)).long()", "torch.floor(uniforms * (1 + largest)).int().long()"),
        "centred": Edit("2 * images - 1", "(images - 0.5) * 2"),
    },
    "level_embedding": {
        "a loop": embedded_in_a_loop,
        "outer": Edit("math.pi / largest * levels[:, None] * octaves", "torch.outer(levels.float() / largest, octaves * math.pi)"),
        "shifts": Edit("2.0 ** torch.arange(frequencies, device=levels.device)", "torch.tensor([float(1 << k) for k in range(frequencies)], device=levels.device)"),
    },
    "VideoNet.augmented_loss": {
        "a mean of squares": Edit("F.mse_loss(made, videos)", "(videos - made).pow(2).mean()"),
        "frame by frame": Edit(
            "F.mse_loss(made, videos)",
            "torch.stack([F.mse_loss(a, b) for a, b in zip(made.unbind(1), videos.unbind(1), strict=True)]).mean()",
        ),
        "the last frame selected": Edit("videos[:, -1]", "videos.select(1, videos.shape[1] - 1)"),
        "the module called by name": Edit("self(noisy", "self.forward(noisy"),
    },
    "sample_until": {
        "all at once": sampled_all_at_once,
        "item by item": lambda model, tokens, noise, schedule, stop, steps, guidance: sampled(
            model, tokens, noise, schedule, checked_times(schedule, stop, steps), guidance
        ),
        "levels in pairs": Edit("itertools.pairwise(times)", "zip(times[:-1], times[1:], strict=True)"),
    },
    "clip_accuracy": {
        "counting": counted,
        "shares": Edit("2 * count > T", "count / T > 0.5"),
        "no wrong frame": Edit("count == T", "right.all(dim=1)"),
    },
    "error_budget": {
        "a loop": lambda first, both: {
            name: sum(pair == wanted for pair in zip(first.tolist(), both.tolist(), strict=True)) / len(first)
            for name, wanted in (("inherited", (False, False)), ("added", (True, False)), ("mended", (False, True)))
        },
        "differences": lambda first, both: {
            "inherited": 1 - (first | both).double().mean().item(),
            "added": first.double().mean().item() - (first & both).double().mean().item(),
            "mended": both.double().mean().item() - (first & both).double().mean().item(),
        },
        "comparisons": Edit("(~first & both)", "(both > first)"),
    },
    "warping_error": {
        "a loop": warped_in_a_loop,
        "a mean of what counts": Edit(
            "torch.where(inside, errors, 0).flatten(1).sum(dim=1) / inside.flatten(1).sum(dim=1)",
            "torch.stack([e[i].mean() for e, i in zip(errors, inside, strict=True)])",
        ),
        "multiplied by the mask": Edit("torch.where(inside, errors, 0).flatten(1)", "(errors * inside).flatten(1)"),
    },
    "choose_level": {
        "sorted": lambda levels, accuracies, count: sorted_choice(levels, accuracies, count),
        "NumPy": lambda levels, accuracies, count: numpy_choice(levels, accuracies, count),
        "a difference": Edit("accuracy >= bar", "best - accuracy <= math.sqrt(best * (1 - best) / count)"),
    },
}  # fmt: skip


def checked_times(schedule, stop, steps):
    T = len(schedule) - 1
    if stop not in range(T):
        raise ValueError("nothing to sample")
    return [round(T - (T - stop) * i / steps) for i in range(steps + 1)]


def sorted_choice(levels, accuracies, count):
    if len(levels) == 0 or len(levels) != len(accuracies):
        raise ValueError("an accuracy for each level")
    best = max(accuracies)
    for level, accuracy in sorted(zip(levels, accuracies, strict=True)):
        if accuracy >= best - (best * (1 - best) / count) ** 0.5:
            return level
    raise AssertionError("the best is never below itself")


def numpy_choice(levels, accuracies, count):
    if not len(levels) or len(levels) != len(accuracies):
        raise ValueError("an accuracy for each level")
    scores = np.asarray(accuracies)
    best = scores.max()
    return int(np.asarray(levels)[scores >= best - np.sqrt(best * (1 - best) / count)].min())


# Data and levels: a right answer may detach them. What is sampled or counted needs no gradient.
NO_GRADIENT = {
    "augment": ("uniforms", "noise", "schedule"),
    "VideoNet.augmented_loss": ("videos", "uniforms", "noise", "schedule"),
    "sample_until": ("model", "noise", "schedule"),
    "warping_error": ("videos", "flow"),
}

EQUIVALENT = {
    "clip_accuracy": {
        "keepdim: right.sum(dim=1) -> right.sum(dim=1, keepdim=True)": "the clips are only counted, in whichever shape",
        "keepdim: right.sum(dim=0) -> right.sum(dim=0, keepdim=True)": "the smallest is taken over all axes",
    },
    "warping_error": {
        "operands: videos[:, :-1] - warped -> warped - videos[:, :-1]": "a square is the same from either side",
        "argument ignored: base_grid(flow) -> base_grid(torch.zeros_like(flow))": (
            "`base_grid` takes nothing from its argument but its size, dtype and device"
        ),
    },
    "choose_level": {
        "order: zip(levels, accuracies, strict=True) -> list(zip(levels, accuracies, strict=True))[::-1]": (
            "the smallest of some levels, in whichever order they come"
        ),
    },
}
