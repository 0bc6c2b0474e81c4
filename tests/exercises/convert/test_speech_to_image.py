"""What a right answer to convert/speech_to_image must do. Truths: scikit-learn, layers written out with `F`, loops, running sums."""

import copy
import functools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, assert_true, raises

CONDITIONS = ("projection", "concatenation", "none")


def clusters(draw, N, E, K, scale=1.0):
    """Embeddings around K centres, some of whose points stray to another class; every class occurs."""
    centres = draw.normal(K, E)
    labels = torch.cat([torch.arange(K), draw.integers(K, (N - K,))])[draw.permutation(N)]
    return centres[labels] + draw.normal(N, E, scale=scale) + 2.0, labels


def read_by_ridge(train_x, train_y, test_x, test_y, ridge):
    """Ridge regression to one-hot rows as a least-squares problem with rows added, its bias a column that is not penalised."""
    N, E = train_x.shape
    K = int(train_y.max()) + 1
    design = np.vstack([np.hstack([train_x, np.ones((N, 1))]), np.hstack([math.sqrt(ridge) * np.eye(E), np.zeros((E, 1))])])
    targets = np.vstack([np.eye(K)[train_y], np.zeros((E, K))])
    solution = np.linalg.lstsq(design, targets, rcond=None)[0]
    read = (np.hstack([test_x, np.ones((len(test_x), 1))]) @ solution).argmax(1)
    return float((read == test_y.numpy()).mean())


@pytest.mark.stub("probe")
@pytest.mark.parametrize("ridge", [0.01, 1.0, 300.0])
def test_accuracy_of_ridge_regression(impl, draw, ridge):
    E, K = draw.integer(2, 6), draw.integer(2, 5)
    x, y = clusters(draw, 200, E, K)
    y[: 200 // 3] = 0  # classes of unequal size: the bias matters
    arguments = (x[::2] * 3, y[::2], x[1::2] * 3, y[1::2])
    hint = "(XᵀX + ridge · 1)⁻¹ XᵀY with one-hot rows Y, X and Y centred; then the class of the largest value"
    assert_close(impl.probe(*arguments, ridge=ridge), read_by_ridge(*arguments, ridge), hint=hint)


@pytest.mark.stub("probe")
def test_probe_has_a_ridge_of_one(impl, draw):
    x, y = clusters(draw, 60, 20, 3, scale=3)
    arguments = (x[:30] / 5, y[:30], x[30:] / 5, y[30:])
    y[:3] = torch.arange(3)
    assert_close(impl.probe(*arguments), read_by_ridge(*arguments, 1.0), hint="the default of `ridge` is 1")


@pytest.mark.stub("probe")
def test_what_does_not_depend_on_the_label_is_read_by_chance(impl, draw):
    K = draw.integer(2, 4)
    x, y = draw.normal(2000, 3), draw.integers(K, (2000,))
    accuracy = impl.probe(x[::2], y[::2], x[1::2], y[1::2])
    hint = "learn on `train`, measure on `test`: a probe that sees the labels it is asked for finds a leak anywhere"
    assert_between(accuracy, 1 / K - 0.08, 1 / K + 0.08, what="the accuracy on noise", hint=hint)


@pytest.mark.stub("probe")
def test_probe_takes_float32(impl, draw):
    K = draw.integer(2, 5)
    y = torch.arange(40) % K
    x = (5 * F.one_hot(y, K) + draw.normal(40, K, scale=0.1)).float()
    assert_close(
        impl.probe(x[:20], y[:20], x[20:], y[20:]), 1.0, hint="a clear case, with the targets in the dtype of the features"
    )


@pytest.mark.stub("probe")
def test_more_numbers_than_items_are_no_obstacle(impl, draw):
    x, y = clusters(draw, 24, 40, 2)
    y[:2] = torch.arange(2)
    arguments = (x[:12], y[:12], x[12:], y[12:])
    result = impl.probe(*arguments, ridge=0.5)
    assert_close(result, read_by_ridge(*arguments, 0.5), hint="without the ridge XᵀX has no inverse here")


@pytest.mark.stub("probe")
def test_one_item_labels_that_are_missing_and_a_faint_ridge(impl):
    x = torch.tensor([[1.0, 0], [0.9, 0.1], [1.1, -0.2], [0.8, 0], [-1.0, 0.1], [-0.9, 0]]).double()
    y = torch.tensor([0, 0, 0, 0, 2, 2])  # no item of class 1
    for test_x, test_y, ridge in (
        (x[4:5], y[4:5], 1.0),
        (x[:1], y[:1], 1.0),
        (x, torch.tensor([0, 0, 1, 3, 2, 2]), 1.0),
    ):
        expected = read_by_ridge(x, y, test_x, test_y, ridge)
        hint = (
            "what is learnt comes from `train` alone, the mean too: one item of the test is enough, and a class that training "
            "has not seen is never read"
        )
        assert_close(impl.probe(x, y, test_x, test_y, ridge), expected, hint=hint, hint_for="values NaN")
    faint = 0.01 * x
    assert_close(
        impl.probe(faint, y, faint, y, 1e-8), 1.0, hint="a faint ridge is legal, and is not the default", hint_for="values NaN"
    )
    unlike = torch.tensor([1, 1, 0, 0, 2, 2])
    assert_close(impl.probe(x, y, x, unlike), 4 / 6, hint="learnt on the labels of `train`, held against those of `test`")


def weights(impl, draw, kind, *arguments, mode="eval", dtype="double"):
    """A module with random weights, and those weights."""
    model = getattr(impl, kind)(*arguments)
    getattr(model, dtype)()
    state = draw.like(model.fresh_state())
    for name, value in state.items():
        if name.endswith("running_var"):
            state[name] = draw.uniform(*value.shape, low=0.5, high=2.0, dtype=value.dtype)
        if name.endswith("original"):  # power iterations that have settled
            u, _, v = torch.linalg.svd(value.flatten(1), full_matrices=False)
            state[name.replace("original", "0._u")], state[name.replace("original", "0._v")] = u[:, 0].clone(), v[0].clone()
    model.load_state_dict(state)
    getattr(model, mode)()
    return model, {name: value.clone() for name, value in state.items()}


def conditional_norm(state, x, e, training):
    """Batch norm written out, with the gain and bias of each item."""
    if training:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    else:
        mean, variance = state["norm.running_mean"], state["norm.running_var"]
    x = (x - mean[:, None, None]) / torch.sqrt(variance + 1e-5)[:, None, None]
    gain = 1 + e @ state["gain.weight"].T + state["gain.bias"]
    bias = e @ state["bias.weight"].T + state["bias.bias"]
    return torch.einsum("bc,bchw->bchw", gain, x) + bias[..., None, None]


@pytest.mark.stub("ConditionalBatchNorm.forward")
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_normalised_then_scaled_and_shifted_by_the_condition(impl, draw, mode):
    B, C, E, H, W = draw.batch(2), *draw.sizes(4, 2, 6)
    model, state = weights(impl, draw, "ConditionalBatchNorm", C, E, mode=mode)
    x, e = draw.normal(B, C, H, W, scale=2), draw.normal(B, E)
    expected = conditional_norm(state, x, e, mode == "train")
    hint = "(1 + gain(e)) · norm(x) + bias(e), one number per item and channel, the same at every pixel"
    assert_close(model(x, e), expected, tolerance=1e-6, hint=hint)


@pytest.mark.stub("ConditionalBatchNorm.forward")
def test_statistics_move_once_in_training_and_never_after(impl, draw):
    C, E = draw.sizes(2, 2, 6)
    x, e = draw.normal(4, C, 3, 3), draw.normal(4, E)
    for mode in ("train", "eval"):
        model, state = weights(impl, draw, "ConditionalBatchNorm", C, E, mode=mode)
        model(x, e)
        of_batch = {"mean": x.mean((0, 2, 3)), "var": x.var((0, 2, 3))}
        after, moves = model.state_dict(), mode == "train"
        hint = "pass through `norm` once, in the mode that the module is in"
        for name, value in of_batch.items():
            before = state[f"norm.running_{name}"]
            expected, what = (0.9 * before + 0.1 * value if moves else before), f"the running {name} in {mode} mode"
            assert_close(after[f"norm.running_{name}"], expected, tolerance=1e-6, what=what, hint=hint)
        counted = state["norm.num_batches_tracked"] + moves
        assert_equal(after["norm.num_batches_tracked"], counted, what=f"the number of batches seen in {mode} mode", hint=hint)


@pytest.mark.stub("ConditionalBatchNorm.forward")
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_image_and_condition_both_get_a_gradient(impl, draw, mode):
    C, E, H, W = draw.sizes(4, 2, 6)
    model, state = weights(impl, draw, "ConditionalBatchNorm", C, E, mode=mode)
    x, e, g = draw.normal(2, C, H, W), draw.normal(2, E), draw.normal(2, C, H, W)
    with torch.enable_grad():
        leaves = x.clone().requires_grad_(), e.clone().requires_grad_()
        expected = torch.autograd.grad((conditional_norm(state, *leaves, mode == "train") * g).sum(), leaves)
    actual = model.vjp(x, e, wrt=(0, 1), cotangent=g)
    for name, a, b in zip(("image", "condition"), actual, expected, strict=True):
        hint = "detach nothing; in training mode the statistics of the batch depend on the image too"
        assert_close(a, b, tolerance=1e-6, what=f"the gradient of the {name}", hint=hint)


def moved_by(pictures, shift):
    """Pictures moved right and down by (x, y) pixels: a tent around the point that a pixel comes from weighs the pixels beside it."""

    def share(n, distance):  # (B, n, n): how much pixel i takes of pixel j
        at = torch.arange(n, dtype=distance.dtype, device=distance.device)
        return (1 - (at[:, None] - distance[:, None, None] - at).abs()).clamp(min=0)

    H, W = pictures.shape[2:]
    right, down = shift.unbind(1)
    return torch.einsum("bij,bcjk,blk->bcil", share(H, down), pictures, share(W, right))


def drawn(truth, noise, e):
    """What a generator makes, by its own `draw`, `window` and `shift`."""
    if not truth.moved:
        return truth.draw(noise, e)
    half = e.shape[1] // 2
    return moved_by(truth.draw(noise, e[:, :half]) * truth.window, truth.shift(e[:, half:]))


def a_generator(impl, draw, moved, mode="eval"):
    """A generator that neither saturates nor moves all out of sight, and what to give it."""
    B, half, D, C = draw.batch(2), draw.size(1, 4), draw.size(), draw.size(1, 3)
    config = impl.Config(embedding=2 * half, latent=D, channels=C, moved=moved)
    model, state = weights(impl, draw, "Generator", config, mode=mode)
    state["ups.1.weight"] *= 0.2
    model.load_state_dict(state)
    return model, state, draw.normal(B, D), torch.cat([draw.normal(B, half), draw.normal(B, half, scale=3)], dim=1)


@pytest.mark.stub("Generator.forward")
@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("moved", [True, False])
def test_drawn_from_one_half_and_moved_by_the_other(impl, draw, moved, mode):
    model, _, noise, e = a_generator(impl, draw, moved, mode)
    truth = copy.deepcopy(model.reference)
    expected = drawn(truth, noise, e)
    hint = {
        True: "draw(noise, first half) times the window, moved by shift(second half): the pixel at q comes from q − shift, between pixels if need be",
        False: "without `moved` the whole embedding draws, and the picture stays where it is",
    }[moved]
    assert_close(model(noise, e), expected, tolerance=1e-6, hint=hint)
    after = model.state_dict()
    for name, value in truth.state_dict().items():
        if "running" in name or "tracked" in name:
            assert_close(after[name], value, tolerance=1e-6, what=f"{name} after a call", hint="draw once for each call")


@pytest.mark.stub("Generator.forward")
@pytest.mark.parametrize("shift", [(3, -2), (-4, 1), (0, 6), (9, -11), (-23, 0), (30, 5), (0, 0)])
def test_whole_pixels_shift_the_picture_and_no_ink_comes_in(impl, draw, shift):
    model, state, noise, e = a_generator(impl, draw, True)
    state["head.2.weight"].zero_()
    state["head.2.bias"] = torch.tensor(shift).double() / 12  # whatever is said of the place
    model.load_state_dict(state)
    right, down = shift
    pictures = model.reference.draw(noise, e[:, : e.shape[1] // 2])
    pictures[:, :, [*range(5), *range(19, 24)]] = 0
    pictures[:, :, :, [*range(5), *range(19, 24)]] = 0
    frame = F.pad(pictures, (40, 40, 40, 40))
    expected = frame[:, :, 40 - down : 64 - down, 40 - right : 64 - right]
    hint = "shift is (right, down) in pixels, warp looks backward, and outside of the picture there is no ink"
    assert_close(model(noise, e), expected, tolerance=1e-6, what=f"the picture moved by {shift}", hint=hint)


@pytest.mark.stub("Generator.forward")
@pytest.mark.parametrize("moved", [True, False])
def test_generator_learns_what_to_draw_and_how_far_to_move(impl, draw, moved):
    model, _, noise, e = a_generator(impl, draw, moved)
    truth, g = copy.deepcopy(model.reference), draw.normal(len(e), 1, 24, 24)
    with torch.enable_grad():
        leaves = noise.clone().requires_grad_(), e.clone().requires_grad_()
        expected = torch.autograd.grad((drawn(truth, *leaves) * g).sum(), leaves)
    actual = model.vjp(noise, e, wrt=(0, 1), cotangent=g)
    for name, a, b in zip(("noise", "embedding"), actual, expected, strict=True):
        hint = "the move has a gradient too: nothing rounded, nothing detached"
        assert_close(a, b, tolerance=1e-5, what=f"the gradient of the {name}", hint=hint)


def scored(state, images, e, condition):
    """The discriminator written out, its power iterations settled."""

    def weight(layer):
        original = state[f"{layer}.parametrizations.weight.original"]
        u, v = (state[f"{layer}.parametrizations.weight.0.{name}"] for name in ("_u", "_v"))
        return original / (u @ original.flatten(1) @ v)

    x = 2 * images - 1
    for layer in (0, 2, 4):
        x = F.leaky_relu(F.conv2d(x, weight(f"features.{layer}"), state[f"features.{layer}.bias"], stride=2, padding=1), 0.1)
    x = x.reshape(len(x), -1)
    if condition == "concatenation":
        hidden = F.leaky_relu(torch.hstack([x, e]) @ weight("head.0").T + state["head.0.bias"], 0.1)
        return (hidden @ weight("head.2").T + state["head.2.bias"])[:, 0]
    scores = torch.einsum("bf,f->b", x, weight("realness")[0])
    if condition == "projection":
        scores = scores + torch.einsum("be,fe,bf->b", e, weight("project"), x)
    return scores


@pytest.mark.stub("Discriminator.forward")
@pytest.mark.parametrize("condition", CONDITIONS)
def test_score_of_an_image_and_a_condition(impl, draw, condition):
    B, E = draw.batch(), draw.size()
    model, state = weights(impl, draw, "Discriminator", impl.Config(embedding=E, channels=draw.size(1, 3), condition=condition))
    images, e = draw.uniform(B, 1, 24, 24), draw.normal(B, E)
    hint = {
        "projection": "realness(φ) + the inner product of project(e) with φ, where φ = features(2 · images − 1)",
        "concatenation": "head of the features followed by the embedding",
        "none": "realness of the features, and nothing of the condition",
    }[condition]
    assert_close(model(images, e), scored(state, images, e, condition), tolerance=1e-6, hint=hint)


@pytest.mark.stub("Discriminator.forward")
@pytest.mark.parametrize("condition", CONDITIONS)
def test_gradient_of_image_and_condition(impl, draw, condition):
    B, E = draw.batch(), draw.size()
    model, state = weights(impl, draw, "Discriminator", impl.Config(embedding=E, channels=2, condition=condition))
    images, e, g = draw.uniform(B, 1, 24, 24), draw.normal(B, E), draw.normal(B)
    with torch.enable_grad():
        leaves = images.clone().requires_grad_(), e.clone().requires_grad_()
        by = torch.autograd.grad((scored(state, *leaves, condition) * g).sum(), leaves, allow_unused=True)
    actual = model.vjp(images, e, wrt=(0, 1), cotangent=g)
    expected = [torch.zeros_like(leaf) if value is None else value for value, leaf in zip(by, (images, e), strict=True)]
    for name, a, b in zip(("image", "condition"), actual, expected, strict=True):
        a = torch.zeros_like(b) if a is None else a
        assert_close(a, b, tolerance=1e-6, what=f"the gradient of the {name}", hint="the generator learns through the scores")


@pytest.mark.stub("Discriminator.forward")
def test_a_condition_that_is_not_looked_at_may_be_anything(impl, draw):
    model, state = weights(impl, draw, "Discriminator", impl.Config(embedding=3, channels=2, condition="none"))
    images, e = draw.uniform(2, 1, 24, 24), torch.tensor([[math.nan] * 3, [math.inf, 0.0, -math.inf]]).double()
    hint = "leave the condition out where it is `none`: 0 · NaN is NaN"
    assert_close(model(images, e), scored(state, images, e, "none"), tolerance=1e-6, hint=hint, hint_for="NaN")
    by_images, by_e = model.vjp(images, e, wrt=(0, 1), cotangent=torch.ones(2).double())
    assert_finite(by_images, what="the gradient of the image", hint=hint)
    assert_close(by_e, torch.zeros_like(e), what="the gradient of the condition", hint=hint, hint_for="NaN values")


@pytest.mark.stub("Discriminator.forward")
@pytest.mark.parametrize("condition", CONDITIONS)
def test_spectral_norm_moves_once_in_training(impl, condition):
    model = impl.Discriminator(impl.Config(embedding=3, channels=2, condition=condition))
    images, e = torch.linspace(0, 1, 2 * 576).reshape(2, 1, 24, 24), torch.linspace(-1, 1, 6).reshape(2, 3)
    before = model.state_dict()
    for name, value in before.items():
        if name.endswith("0._u"):  # far from settled, so that each iteration moves it
            before[name] = F.normalize(torch.arange(1.0, len(value) + 1).cos(), dim=0)
    model.load_state_dict(before)
    truth = copy.deepcopy(model.reference)
    model(images, e)
    truth(images, e)
    hint = "each weight is asked for once a call: another power iteration each time, in the mode that the module is in"
    for name, value in model.state_dict().items():
        if "features" in name and name.endswith("0._u"):
            assert_close(value, truth.state_dict()[name], tolerance=1e-4, what=f"{name} after a call in training", hint=hint)
            assert_true((value != before[name]).any(), f"{name} did not move in training", hint=hint)


@pytest.mark.stub("Discriminator.forward")
def test_conditions_differ_by_a_linear_function_of_the_features(impl, draw):
    model, _ = weights(impl, draw, "Discriminator", impl.Config(embedding=5, channels=2))
    image, e = draw.uniform(1, 1, 24, 24).expand(3, 1, 24, 24), draw.normal(2, 5)
    one, two, both = model(image, torch.stack([e[0], e[1], e.sum(0)])).tolist()
    (none,) = model(image[:1], torch.zeros(1, 5).double()).tolist()
    assert_close(both - none, (one - none) + (two - none), tolerance=1e-6, hint="an inner product: linear in the embedding")


@pytest.mark.stub("mismatch")
def test_largest_noise_among_the_other_classes(impl, draw):
    B = draw.integer(2, 9)
    classes, noise = draw.integers(draw.integer(2, 5), (B,)), draw.normal(B, B) - 3  # most of it negative
    classes[0], classes[1] = 7, 8  # never all of one class
    expected = [
        max((j for j in range(B) if classes[j] != classes[i]), key=lambda j: noise[i, j].item()) for i in range(B)
    ]  # fmt: skip
    hint = "item i is paired with the j of another class whose noise[i, j] is largest"
    assert_equal(impl.mismatch(classes, noise), torch.tensor(expected), what="the partners", hint=hint)


@pytest.mark.stub("mismatch")
def test_any_two_classes_are_enough(impl):
    large = 2**24
    for classes in ([0, 0, 1], [1, 0, 1, 1, 1], [3, -3], [large, large + 1, large], [2**40, 2**40 + 1, 2**40]):
        B = len(classes)
        noise = -1e12 * (1 + torch.arange(B * B).double().reshape(B, B).sin().abs())
        expected = [
            max((j for j in range(B) if classes[j] != classes[i]), key=lambda j, i=i: noise[i, j].item()) for i in range(B)
        ]
        hint = (
            "one item of another class is enough; classes are whole numbers of any size, and noise may be any number: mask by −∞"
        )
        assert_equal(impl.mismatch(torch.tensor(classes), noise), torch.tensor(expected), what="the partners", hint=hint)


@pytest.mark.stub("mismatch")
def test_every_other_item_comes_up_equally_often(impl, draw):
    classes = torch.tensor([0] * 20 + [1] * 10 + [2] * 10)[draw.permutation(40)]
    counts = torch.zeros(3, 3)
    for _ in range(10):
        partners = classes[impl.mismatch(classes, draw.uniform(40, 40, dtype=torch.float32))]
        counts.index_put_((classes, partners), torch.ones(40), accumulate=True)
    expected = torch.tensor([[0, 1 / 2, 1 / 2], [2 / 3, 0, 1 / 3], [2 / 3, 1 / 3, 0]])
    worst = (counts / counts.sum(1, keepdim=True) - expected).abs().max().item()
    assert_between(worst, 0, 0.25, what="the largest deviation from equal shares", hint="one of the others, none favoured")


@pytest.mark.stub("mismatch")
def test_one_class_alone_cannot_be_mismatched(impl, draw):
    for B in (1, draw.size()):
        with raises(ValueError, hint="no item of another class: raise a ValueError rather than pair an item with itself"):
            impl.mismatch(torch.full((B,), draw.integer(0, 9)), draw.normal(B, B))


def hinge(scores, sign):
    return sum(max(0.0, 1.0 - sign * score) for score in scores.tolist()) / len(scores)


def three_kinds(draw):
    N = draw.batch(2)
    return [draw.normal(N + more, scale=2) for more in (0, 1, 3)]  # so that a mean of each is no mean over all


@pytest.mark.stub("discriminator_loss")
def test_hinge_of_real_and_fake(impl, draw):
    real, fake, _ = three_kinds(draw)
    expected = torch.tensor(hinge(real, 1) + hinge(fake, -1), dtype=torch.float64)
    assert_close(impl.discriminator_loss(real, fake), expected, hint="[1 − s]₊ of real, [1 + s]₊ of fake, each a mean of its own")


@pytest.mark.stub("discriminator_loss")
def test_mismatched_pairs_share_the_weight_of_the_fakes(impl, draw):
    real, fake, other = three_kinds(draw)
    expected = torch.tensor(hinge(real, 1) + (hinge(fake, -1) + hinge(other, -1)) / 2, dtype=torch.float64)
    hint = "a mismatched pair belongs below −1 like a fake; means of each kind, half of the weight for each of the two"
    assert_close(impl.discriminator_loss(real, fake, other), expected, hint=hint)


@pytest.mark.stub("discriminator_loss")
def test_discriminator_loss_is_two_where_no_difference_is_seen(impl, draw):
    zeros = [torch.zeros(draw.size()) for _ in range(3)]
    for count in (2, 3):
        assert_close(impl.discriminator_loss(*zeros[:count]), torch.tensor(2.0), hint="with mismatched pairs or without")


@pytest.mark.stub("discriminator_loss")
def test_gradient_of_every_kind(impl, draw):
    real, fake, other = three_kinds(draw)
    actual = impl.vjp("discriminator_loss", real, fake, other, wrt=(0, 1, 2))
    expected = (
        -(real < 1).double() / len(real),
        (fake > -1).double() / (2 * len(fake)),
        (other > -1).double() / (2 * len(other)),
    )
    for name, a, b in zip(("real", "fake", "mismatched"), actual, expected, strict=True):
        assert_close(a, b, what=f"the gradient of the {name} scores", hint="only scores within the margin pull")
    (by_fake,) = impl.vjp("discriminator_loss", real, fake, wrt=(1,))
    assert_close(by_fake, 2 * expected[1], what="the gradient of the fake scores alone", hint="without mismatched pairs in full")


@pytest.mark.stub("ema_weight")
def test_average_is_the_weighted_mean_of_what_it_has_seen(impl, draw):
    decay, values = draw.number(0.3, 0.999), draw.normal(draw.integer(2, 12)).tolist()
    average, total, weight = 1e6, 0.0, 0.0  # what the average was before the first step must not matter
    for step, value in enumerate(values, start=1):
        share = impl.ema_weight(decay, step)
        average += share * (value - average)
        total, weight = decay * total + (1 - decay) * value, decay * weight + (1 - decay)
        expected = total / weight
        hint = "Adam's moment divided by 1 − βᵗ, as a step of the average itself: (1 − β) / (1 − βᵗ)"
        assert_close(average, expected, tolerance=1e-5, what=f"the average at step {step}", hint=hint)


@pytest.mark.stub("ema_weight")
def test_first_step_takes_all_and_late_ones_one_minus_decay(impl, draw):
    decay = draw.number(0.1, 0.9)
    assert_close(impl.ema_weight(decay, 1), 1.0, hint="at step 1 there is nothing worth keeping")
    assert_close(impl.ema_weight(decay, 10_000), 1 - decay, hint="in the long run it is the usual average")


@pytest.mark.stub("ema_weight")
def test_ends_of_the_range(impl, draw):
    step = draw.integer(2, 50)
    assert_close(impl.ema_weight(0.0, step), 1.0, hint="a decay of 0 keeps nothing")
    assert_close(impl.ema_weight(1.0, step), 1 / step, hint="a decay of 1 forgets nothing: the plain mean, not 0 / 0")
    assert_close(impl.ema_weight(1 - 1e-6, step), 1 / step, tolerance=1e-3, hint="the plain mean is the limit")


@pytest.mark.stub("ema_weight")
def test_near_the_ends_of_the_range(impl):
    for rest, step in (
        (1e-4, 10**5),
        (1e-3, 3),
        (1e-6, 5000),
        (1e-9, 1000),
        (1e-9, 1),
        (1 - 1e-9, 2),
        (0.5, 5000),
        (1.0, 1),
        (0.0, 1),
    ):
        decay = 1 - rest
        expected = rest / -math.expm1(step * math.log1p(-rest)) if 0 < rest < 1 else 1.0
        hint = (
            "the plain mean is for a decay of exactly 1, all is taken in at a decay of exactly 0; between them the formula holds"
        )
        assert_close(
            impl.ema_weight(decay, step), expected, tolerance=1e-5, what=f"the weight at decay {decay}, step {step}", hint=hint
        )


@pytest.mark.stub("ema_weight")
@pytest.mark.parametrize("wrong", ["decay -1e-9", "decay 1.000000001", "decay nan", "step 0", "step -1"])
def test_decay_and_step_outside_of_their_range_are_refused(impl, draw, wrong):
    name, value = wrong.split()
    decay, step = (float(value), 3) if name == "decay" else (draw.number(0.1, 0.9), int(value))
    with raises(ValueError, hint="0 ≤ decay ≤ 1 and step ≥ 1, else a ValueError"):
        impl.ema_weight(decay, step)


def probe_by(solve, centred=True):
    """A probe from a function of training features, one-hot targets and the ridge, which gives the weights."""

    def probe(train_x, train_y, test_x, test_y, ridge=1.0):
        targets = torch.eye(int(train_y.max()) + 1, dtype=train_x.dtype)[train_y]
        mean, prior = (train_x.mean(0), targets.mean(0)) if centred else (0.0, 0.0)
        read = ((test_x - mean) @ solve(train_x - mean, targets - prior, ridge) + prior).argmax(1)
        return (read == test_y).sum().item() / len(test_y)

    return probe


def normal_equations(x, y, ridge):
    return torch.linalg.inv(x.T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)) @ x.T @ y


def dual(x, y, ridge):
    return x.T @ torch.linalg.solve(x @ x.T + ridge * torch.eye(len(x), dtype=x.dtype), y)


def by_svd(x, y, ridge):
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    return vt.T @ ((s / (s.square() + ridge))[:, None] * (u.T @ y))


def nearest_mean(train_x, train_y, test_x, test_y, ridge=1.0):
    means = torch.stack([train_x[train_y == k].mean(0) for k in range(int(train_y.max()) + 1)])
    return (torch.cdist(test_x, means.nan_to_num(1e9)).argmin(1) == test_y).double().mean().item()


def counted_mismatch(classes, noise):
    B, rows = len(classes), []
    for i in range(B):
        others = [(noise[i, j].item(), j) for j in range(B) if classes[j] != classes[i]]
        if not others:
            raise ValueError
        rows.append(max(others)[1])
    return torch.tensor(rows)


def ranked_mismatch(classes, noise):
    if len(classes.unique()) < 2:
        raise ValueError
    order = noise.argsort(1, descending=True)
    return order.gather(1, (classes[order] != classes[:, None]).int().argmax(1, keepdim=True)).squeeze(1)


def shifted_mismatch(classes, noise):
    """Everyone gets the next one's, whatever it is."""
    if len(classes.unique()) < 2:
        raise ValueError
    return torch.arange(len(classes)).roll(-1)


def calm_norm(self, x, e):
    """The statistics of the batch taken for constants."""
    variance = x.detach().var((0, 2, 3), correction=0) if self.training else self.norm.running_var
    normal = self.norm(x.detach()) + (x - x.detach()) / (variance + 1e-5).sqrt()[:, None, None]
    return (1 + self.gain(e))[..., None, None] * normal + self.bias(e)[..., None, None]


def by_affine_grid(self, noise, e):
    """Torch's own grid of a translation, in which a picture is two units wide."""
    if not self.moved:
        return self.draw(noise, e)
    digit, place = e.tensor_split(2, dim=1)
    pictures = self.draw(noise, digit) * self.window
    still = torch.eye(2, dtype=pictures.dtype, device=pictures.device).expand(len(e), 2, 2)
    theta = torch.cat([still, -self.shift(place)[:, :, None] / (pictures.shape[-1] / 2)], dim=2)  # (B, 2, 3)
    return F.grid_sample(pictures, F.affine_grid(theta, list(pictures.shape), align_corners=False), align_corners=False)


def loss_by(combine):
    def discriminator_loss(real, fake, mismatched=None):
        return combine(real, fake, mismatched)

    return discriminator_loss


def relu_mean(x):
    return x.clamp(min=0).mean()


FAKES = {
    "probe": {
        "learnt on the test": lambda train_x, train_y, test_x, test_y, ridge=1.0: probe_by(normal_equations)(test_x, test_y, test_x, test_y, ridge),
        "measured on the training": lambda train_x, train_y, test_x, test_y, ridge=1.0: probe_by(normal_equations)(train_x, train_y, train_x, train_y, ridge),
        "the ridge ignored": probe_by(lambda x, y, ridge: dual(x, y, 1.0)),
        "the ridge squared": probe_by(lambda x, y, ridge: dual(x, y, ridge**2 + 3)),
        "nothing centred": probe_by(normal_equations, centred=False),
        "nearest mean": nearest_mean,
        "the share of the largest class": lambda train_x, train_y, test_x, test_y, ridge=1.0: (
            (test_y == train_y.mode().values).double().mean().item()
        ),
        "always right": lambda train_x, train_y, test_x, test_y, ridge=1.0: 1.0,
        "errors, not accuracy": lambda *arguments, **kwargs: 1 - probe_by(normal_equations)(*arguments, **kwargs),
        "the smallest value": Edit("argmax", "argmin"),
        "the bias forgotten": Edit("@ weight + prior", "@ weight"),
        "test features by their own mean": Edit("(test_x - mean)", "(test_x - test_x.mean(0))"),
        "a faint ridge taken for none": Edit("add_(ridge)", "add_(ridge if ridge > 1e-6 else 1.0)"),
        "no ridge below a hundredth": Edit("add_(ridge)", "add_(max(ridge, 1e-2))"),
        "only classes that training has seen": Edit("read == test_y).double().mean()", "read == test_y)[test_y <= train_y.max()].double().mean()"),
        "as many classes as kinds of labels": Edit("F.one_hot(train_y)", "F.one_hot(train_y.unique(return_inverse=True)[1])"),
    },
    "ConditionalBatchNorm.forward": {
        "without the 1": Edit("1 + self.gain(conditions)", "self.gain(conditions)"),
        "no bias": Edit(" + bias[:, :, None, None]", ""),
        "no gain": Edit("gain[:, :, None, None] * ", ""),
        "gain and bias swapped": Edit("1 + self.gain(conditions), self.bias(conditions)", "1 + self.bias(conditions), self.gain(conditions)"),
        "not normalised": Edit("self.norm(x)", "x"),
        "the condition of the first item": Edit("self.gain(conditions), self.bias(conditions)", "self.gain(conditions[:1]), self.bias(conditions[:1])"),
        "normalised by the batch, always": Edit("self.norm(x)", "F.batch_norm(x, None, None, training=True)"),
        "normalised twice": Edit("self.norm(x)", "self.norm(self.norm(x))"),
        "asked twice": Edit("gain[:, :, None, None] * self.norm(x)", "gain[:, :, None, None] * (self.norm(x) + self.norm(x)) / 2"),
        "statistics without a gradient": lambda self, x, e: calm_norm(self, x, e),
        "a mean condition": Edit("self.gain(conditions), self.bias(conditions)", "self.gain(conditions.mean(0)).expand(len(x), -1), self.bias(conditions.mean(0)).expand(len(x), -1)"),
        "shifted before it is scaled": Edit("gain[:, :, None, None] * self.norm(x) + bias[:, :, None, None]", "gain[:, :, None, None] * (self.norm(x) + bias[:, :, None, None])"),
        "the condition detached": Edit("1 + self.gain(conditions)", "1 + self.gain(conditions.detach())"),
    },
    "Generator.forward": {
        "moved the other way": Edit("-self.shift(place)", "self.shift(place)"),
        "down, then right": Edit("self.shift(place)", "self.shift(place).flip(1)"),
        "the place draws, the digit moves": Edit("digit, place = conditions", "place, digit = conditions"),
        "drawn and left there": Edit("return warp(pictures, flow.expand(-1, -1, *pictures.shape[2:]))", "return pictures"),
        "by whole pixels": Edit("self.shift(place)", "self.shift(place).round()"),
        "no further than a place is": Edit("self.shift(place)", "self.shift(place).clamp(-5.25, 5.25)"),
        "a canvas without a window": Edit("self.window * self", "self"),
        "a window behind the move": Edit("return warp(pictures,", "return self.window * warp(pictures,"),
        "a window where nothing moves": Edit("return self.draw(noise, conditions)", "return self.window * self.draw(noise, conditions)"),
        "all like the first": Edit("self.shift(place)", "self.shift(place)[:1].expand(len(place), -1)"),
        "all by the mean": Edit("self.shift(place)", "self.shift(place).mean(0).expand(len(place), -1)"),
        "a move that learns nothing": Edit("self.shift(place)", "self.shift(place).detach()"),
        "a digit that learns nothing": Edit("warp(pictures,", "warp(pictures.detach(),"),
        "drawn twice": Edit("self.window * self.draw(noise, digit)", "self.window * (self.draw(noise, digit) + self.draw(noise, digit)) / 2"),
        "moved twice": Edit("return warp(pictures,", "return warp(warp(pictures, flow.expand(-1, -1, *pictures.shape[2:]) / 2), 0.5 *"),
        "a grid with its corners on the pixels": lambda self, noise, e: by_affine_grid(self, noise, e) if not self.moved else F.grid_sample(
            self.window * self.draw(noise, e.chunk(2, 1)[0]),
            F.affine_grid(torch.cat([torch.eye(2, dtype=e.dtype).expand(len(e), 2, 2), -self.shift(e.chunk(2, 1)[1])[:, :, None] / 12], 2),
                          [len(e), 1, 24, 24], align_corners=True), align_corners=True,
        ),
        "a half of the embedding always": Edit("self.draw(noise, conditions)", "self.draw(noise, torch.cat([conditions.chunk(2, 1)[0]] * 2, 1))"),
    },
    "Discriminator.forward": {
        "the condition ignored": Edit('self.condition == "projection"', "False"),
        "multiplied by zero, not left out": Edit(
            "return scores + (self.project(conditions) * features).sum(dim=1) if self.condition == \"projection\" else scores",
            "return scores + float(self.condition == \"projection\") * (self.project(conditions) * features).sum(dim=1)",
        ),
        "always projected": Edit('self.condition == "projection"', "True"),
        "never concatenated": Edit('self.condition == "concatenation"', "False"),
        "only the condition": Edit("return scores + (self.project", "return (self.project"),
        "a mean, not an inner product": Edit(".sum(dim=1)", ".mean(dim=1)"),
        "pixels as they come": Edit("2 * images - 1", "images"),
        "the condition first": Edit("[features, conditions]", "[conditions, features]"),
        "the condition subtracted": Edit("scores + (self.project", "scores - (self.project"),
        "a column of scores": Edit(".squeeze(1)", ""),
        "features asked for twice": Edit("(2 * images - 1)", "((self.features(2 * images - 1) * 0).sum() + 2 * images - 1)"),
        "in evaluation mode from now on": Edit("self.features(2", "self.eval().features(2"),
        "features detached": Edit("* features)", "* features.detach())"),
        "a sigmoid": Edit("else scores", "else scores.sigmoid()"),
        "conditions of others": Edit("self.project(conditions)", "self.project(conditions.flip(0) + 0 * conditions)"),
    },
    "mismatch": {
        "the next one": shifted_mismatch,
        "anyone but itself": lambda classes, noise: (
            noise.masked_fill(torch.eye(len(classes), dtype=torch.bool), -torch.inf).argmax(1) if len(classes.unique()) > 1 else counted_mismatch(classes, noise)
        ),
        "of the same class": Edit("classes[:, None] == classes", "classes[:, None] != classes"),
        "the smallest noise": lambda classes, noise: counted_mismatch(classes, -noise),
        "noise by columns": lambda classes, noise: counted_mismatch(classes, noise.T),
        "the first of another class": lambda classes, noise: counted_mismatch(classes, -torch.arange(len(classes)).expand(len(classes), -1)),
        "itself where there is no other": Edit("(classes == classes[0]).all()", "False"),
        "masked by zero": Edit("-torch.inf", "0.0"),
        "masked by a large number": Edit("-torch.inf", "-1e9"),
        "a majority refused": Edit("(classes == classes[0]).all()", "classes.unique(return_counts=True)[1].max() > len(classes) // 2"),
        "classes as floats": Edit("classes[:, None] == classes", "classes[:, None].float() == classes.float()"),
        "classes as doubles of their distance": Edit("classes[:, None] == classes", "(classes[:, None].float() - classes).abs() < 0.5"),
        "classes, not items": lambda classes, noise: classes[counted_mismatch(classes, noise)],
    },
    "discriminator_loss": {
        "mismatched pairs ignored": loss_by(lambda r, f, m: relu_mean(1 - r) + relu_mean(1 + f)),
        "mismatched pairs in full": loss_by(lambda r, f, m: relu_mean(1 - r) + relu_mean(1 + f) + (0 if m is None else relu_mean(1 + m))),
        "mismatched pairs are real": loss_by(lambda r, f, m: relu_mean(1 - r) + (relu_mean(1 + f) if m is None else (relu_mean(1 + f) + relu_mean(1 - m)) / 2)),
        "one mean over fakes and mismatched": loss_by(lambda r, f, m: relu_mean(1 - r) + relu_mean(1 + (f if m is None else torch.cat([f, m])))),
        "fakes halved always": loss_by(lambda r, f, m: relu_mean(1 - r) + relu_mean(1 + f) / 2 + (0 if m is None else relu_mean(1 + m) / 2)),
        "three halves": Edit(") / 2", ") * 0.75"),
        "no hinge": loss_by(lambda r, f, m: (1 - r).mean() + (1 + (f if m is None else f / 2 + m.mean() / 2)).mean()),
        "signs swapped": loss_by(lambda r, f, m: relu_mean(1 + r) + (relu_mean(1 - f) if m is None else (relu_mean(1 - f) + relu_mean(1 - m)) / 2)),
        "mismatched pairs detached": Edit("(1 + mismatched)", "(1 + mismatched.detach())"),
        "cross entropy": loss_by(lambda r, f, m: F.softplus(-r).mean() + (F.softplus(f).mean() if m is None else (F.softplus(f).mean() + F.softplus(m).mean()) / 2)),
    },
    "ema_weight": {
        "not corrected": lambda decay, step: checked_weight(decay, step, 1 - decay),
        "counted from 0": Edit("decay**step", "decay ** (step - 1) * (step > 1)"),
        "a step late": Edit("decay**step", "decay ** (step + 1)"),
        "the usual warm-up": lambda decay, step: checked_weight(decay, step, 1 - min(decay, (1 + step) / (10 + step))),
        "always the mean": lambda decay, step: checked_weight(decay, step, 1 / max(1, step)),
        "the decay": lambda decay, step: checked_weight(decay, step, 1 - (1 - decay) / max(1e-9, 1 - decay**step)),
        "multiplied": lambda decay, step: checked_weight(decay, step, (1 - decay) * (1 - decay**step)),
        "nothing refused": Edit("not 0 <= decay <= 1 or step < 1", "step == 0.5"),
        "no plain mean": Edit("1 / step if decay == 1", "0.0 if decay == 1"),
        "the plain mean near 1": Edit("decay == 1 else", "1 - decay < 1e-3 else"),
        "the usual average from a thousand steps on": lambda decay, step: checked_weight(
            decay, step, 1 / max(1, step) if decay == 1 else 1 - decay if step > 1000 else (1 - decay) / (1 - decay ** max(1, step))
        ),
        "no decay that is no number": Edit("not 0 <= decay <= 1 or step < 1", "decay < 0 or decay > 1 or step < 1"),
        "NaN kept out, a little too much let in": Edit("not 0 <= decay <= 1", "not -1e-6 <= decay <= 1 + 1e-6"),
    },
}  # fmt: skip


def checked_weight(decay, step, weight):
    if not 0 <= decay <= 1 or step < 1:
        raise ValueError
    return weight


VARIANTS = {
    "probe": {
        "inverse": probe_by(normal_equations),
        "dual": probe_by(dual),
        "singular values": probe_by(by_svd),
    },
    "ConditionalBatchNorm.forward": {
        "einsum": Edit("gain[:, :, None, None] * self.norm(x) + bias[:, :, None, None]",
                       'torch.einsum("bc,bchw->bchw", gain, self.norm(x)) + bias.unsqueeze(-1).unsqueeze(-1)'),
        "addcmul": Edit("gain[:, :, None, None] * self.norm(x) + bias[:, :, None, None]",
                        "torch.addcmul(bias[..., None, None], gain[..., None, None], self.norm(x))"),
        "views": Edit("gain[:, :, None, None] * self.norm(x) + bias[:, :, None, None]",
                      "(self.norm(x).flatten(2) * gain.unsqueeze(2) + bias.unsqueeze(2)).view_as(x)"),
    },
    "Generator.forward": {
        "tents": drawn,
        "affine grid": by_affine_grid,
        "a flow by broadcasting": Edit("flow.expand(-1, -1, *pictures.shape[2:])", "flow * torch.ones_like(pictures)"),
    },
    "Discriminator.forward": {
        "einsum": Edit("(self.project(conditions) * features).sum(dim=1)", 'torch.einsum("bf,bf->b", self.project(conditions), features)'),
        "one inner product": Edit("scores + (self.project(conditions) * features).sum(dim=1)",
                                  "((self.project(conditions) + self.realness.weight) * features).sum(dim=1)"),
        "bmm": Edit("(self.project(conditions) * features).sum(dim=1)", "(features[:, None] @ self.project(conditions)[:, :, None]).flatten()"),
    },
    "mismatch": {
        "a loop": counted_mismatch,
        "ranked": ranked_mismatch,
        "where": Edit("noise.masked_fill(classes[:, None] == classes, -torch.inf)", "torch.where(classes[:, None] != classes[None], noise, float('-inf'))"),
    },
    "discriminator_loss": {
        "clamp": loss_by(lambda r, f, m: relu_mean(1 - r) + (relu_mean(1 + f) if m is None else 0.5 * relu_mean(1 + f) + 0.5 * relu_mean(1 + m))),
        "maximum": loss_by(lambda r, f, m: -torch.minimum(r - 1, torch.zeros_like(r)).mean() + (relu_mean(f + 1) if m is None else (relu_mean(f + 1) + relu_mean(m + 1)) / 2)),
        "a mean of means": loss_by(lambda r, f, m: F.relu(1 - r).mean() + torch.stack([F.relu(1 + s).mean() for s in (f, m) if s is not None]).mean()),
    },
    "ema_weight": {
        "a sum of powers": lambda decay, step: checked_weight(decay, step, 1 / sum(decay**i for i in range(max(1, step)))),
        "expm1": lambda decay, step: checked_weight(
            decay, step, 1 / max(1, step) if decay == 1 else 1.0 if decay == 0 else (1 - decay) / -math.expm1(max(1, step) * math.log(abs(decay)))
        ),
        "a ratio of sums": lambda decay, step: checked_weight(
            decay, step, functools.reduce(lambda weight, _: weight / (weight + decay), range(max(0, step - 1)), 1.0)
        ),
    },
}  # fmt: skip

# A probe is a measurement, and the classes and noise of `mismatch` are data.
NO_GRADIENT = {
    "probe": ("train_x", "test_x"),
    "mismatch": ("noise",),
}

EQUIVALENT = {
    "mismatch": {
        "constant: classes[0] -> classes[-1]": "if all are equal to one of them, it does not matter to which",
        "squeeze: noise.masked_fill(classes[:, Non… -> noise.masked_fill(classes[:, Non… 4f4988": "one item alone is refused",
    },
}
