"""What a right answer to foundations/losses_optimizers must do.

Truths: `torch.nn.functional` and autograd, `torch.optim` and `torch.nn.init` step by step, singular values by LAPACK, and closed forms.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import special

from course.testing import Edit, assert_close, assert_equal, assert_true, raises

EXACT = 1e-12  # relative, of float64
INF = math.inf


def normal(draw, *size, scale=1.0, dtype=np.float64):
    return draw.normal(*size, scale=scale).numpy().astype(dtype)


def uniform(draw, *size, low=0.0, high=1.0):
    return draw.uniform(*size, low=low, high=high).numpy()


def by_torch(loss, x):
    """The value of a loss, and its gradient with respect to x."""
    with torch.enable_grad():
        leaf = torch.tensor(x).requires_grad_()
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient.numpy()


def assert_loss(came, truth, *, hint, tolerance=EXACT):
    """Value and gradient are those of the truth."""
    assert_close(came[0], truth[0], tolerance=tolerance, what="the loss", hint=hint, hint_for="values NaN type")
    gradient = f"{hint}; the gradient has the mean's factor in it, and the shape and dtype of its input"
    assert_close(came[1], truth[1], tolerance=tolerance, what="the gradient", hint=gradient, hint_for="values NaN shape dtype")


def classified(draw, *, few=1, scale=3.0):
    """Logits, targets, and a weight for each class."""
    N, K = draw.batch(), draw.size(few)
    return normal(draw, N, K, scale=scale), draw.integers(K, (N,)).numpy(), uniform(draw, K, low=0.2, high=3)


def spoiled(draw, array, value):
    """A copy in which one number, at a random place, is `value`."""
    copy = array.copy()
    copy.flat[draw.integer(0, copy.size - 1)] = value
    return copy


def assert_checks(impl_loss, draw):
    """What both losses refuse of targets and weights, and what they do not."""
    logits, targets, weights = classified(draw, few=2)
    K = logits.shape[1]
    for wrong in (-1, -K, K, K + 3):
        with raises(ValueError, hint=f"a target of {wrong} is no class of {K}; NumPy would take −1 for the last one"):
            impl_loss(logits, spoiled(draw, targets, wrong))
    for other in (targets[:-1], targets[:, None], np.concatenate([targets, targets])):
        with raises(ValueError, hint="one target for each row: anything else would be broadcast, or rows left out"):
            impl_loss(logits, other)
    for wrong in (weights[:-1], np.concatenate([weights, weights]), weights[:, None], weights[0]):
        with raises(ValueError, hint="one weight for each class: a single one would be broadcast"):
            impl_loss(logits, targets, np.asarray(wrong))
    for wrong in (-0.1, math.nan):
        with raises(ValueError, hint=f"a weight of {wrong}"):
            impl_loss(logits, targets, spoiled(draw, weights, wrong))
    unused = np.where(np.isin(np.arange(K), targets), 0.0, 1.0)
    with raises(ValueError, hint="the mean is divided by the sum of the weights of the targets, which is 0 here"):
        impl_loss(logits, targets, unused)
    with raises(ValueError, hint="no rows have no mean"):
        impl_loss(logits[:0], targets[:0])


# --- cross_entropy -------------------------------------------------------------------------------------------------------


@pytest.mark.stub("cross_entropy")
@pytest.mark.parametrize("smoothed", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_and_its_gradient_are_torchs(impl, draw, weighted, smoothed):
    """Value and gradient agree with F.cross_entropy and autograd, with weights and smoothing or without."""
    logits, targets, weights = classified(draw)
    chosen, smoothing = weights if weighted else None, draw.number(0.05, 0.95) if smoothed else 0.0
    truth = by_torch(
        lambda z: F.cross_entropy(
            z, torch.tensor(targets), None if chosen is None else torch.tensor(chosen), label_smoothing=smoothing
        ),
        logits,
    )
    hint = "q = w_k ((1 − ε)[k = y] + ε / K), every class with its own weight; divided by the sum of the targets' weights"
    assert_loss(impl.cross_entropy(logits, targets, chosen, smoothing), truth, hint=hint)


@pytest.mark.stub("cross_entropy")
def test_neither_weighted_nor_smoothed_by_default(impl, draw):
    logits, targets, weights = classified(draw)
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets)), logits)
    assert_loss(impl.cross_entropy(logits, targets), truth, hint="by default all weights are 1 and nothing is smoothed")
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights)), logits)
    assert_loss(impl.cross_entropy(logits, targets, weights), truth, hint="weights alone do not smooth")


@pytest.mark.stub("cross_entropy")
def test_everything_smoothed_is_even(impl, draw):
    """With a smoothing of 1 the targets do not matter any more."""
    logits, targets, _ = classified(draw)
    truth = by_torch(lambda z: -z.log_softmax(1).mean(), logits)
    assert_loss(impl.cross_entropy(logits, targets, None, 1.0), truth, hint="a smoothing of 1 is legal, as 0 is")


@pytest.mark.stub("cross_entropy")
@pytest.mark.parametrize("height", [1e4, -1e4])
def test_cross_entropy_of_logits_of_any_size(impl, draw, height):
    logits, targets, _ = classified(draw)
    logits = np.concatenate([logits + height - height, np.zeros_like(logits[:1])])  # rounded as at that height
    targets = np.append(targets, 0)  # of the zeros, so that the mean is never tiny: log-sum-exp - z is off by eps * height
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets)), logits)
    hint = "exp overflows above 709, and the logarithm of a softmax that is 0 is −∞: subtract the maximum, stay with logarithms"
    assert_loss(impl.cross_entropy(logits + height, targets), truth, hint=hint, tolerance=1e-10)
    far = np.array([[2 * height, 0.0, 0.0]])
    for target in range(3):
        truth = by_torch(lambda z, y=target: F.cross_entropy(z, torch.tensor([y])), far)
        assert_loss(impl.cross_entropy(far, np.array([target])), truth, hint=hint)


@pytest.mark.stub("cross_entropy")
def test_a_class_that_is_masked_adds_nothing(impl, draw):
    """A logit of −∞ is a class that cannot be; where the target has no share in it, it takes no part."""
    logits, targets, weights = classified(draw, few=2)
    kept = logits.shape[1]
    masked = np.concatenate([logits, np.full((len(logits), 1), -INF)], axis=1)
    heavier, smoothing = np.append(weights, 0.0), draw.number(0.1, 0.9)
    hint = "0 · −∞ is NaN: where q is 0, the term is 0"
    value, gradient = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets)), logits)
    padded = np.concatenate([gradient, np.zeros((len(logits), 1))], axis=1)
    assert_loss(impl.cross_entropy(masked, targets), (value, padded), hint=hint)
    share = smoothing * kept / (kept + 1)  # of K + 1 classes, the one without weight gets nothing
    value, gradient = by_torch(
        lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights), label_smoothing=share), logits
    )
    came = impl.cross_entropy(masked, targets, heavier, smoothing)
    # the loss is linear in q: (1 − ε) of the target and ε / (K + 1) of each class
    hard, hard_slope = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights)), logits)
    even = by_torch(
        lambda z: -(z.log_softmax(1) * torch.tensor(weights)).sum() / torch.tensor(weights[targets]).sum() / (kept + 1), logits
    )
    truth = (1 - smoothing) * hard + smoothing * even[0], (1 - smoothing) * hard_slope + smoothing * even[1]
    assert_loss(came, (truth[0], np.concatenate([truth[1], np.zeros((len(logits), 1))], axis=1)), hint=hint)


@pytest.mark.stub("cross_entropy")
def test_a_target_that_is_masked_costs_infinitely_much(impl, draw):
    """Only where q is 0 does a logit of −∞ add nothing: a target that cannot be must not pass for one that is met."""
    logits, targets, weights = classified(draw, few=2)
    row = draw.integer(0, len(targets) - 1)
    logits[row, targets[row]] = -INF
    hint = "the loss of a target of probability 0 is infinite: mask where q is 0, not where log p is −∞"
    for chosen in (None, weights):
        value, gradient = by_torch(
            lambda z, w=chosen: F.cross_entropy(z, torch.tensor(targets), None if w is None else torch.tensor(w)), logits
        )
        assert_loss(impl.cross_entropy(logits, targets, chosen), (value, gradient), hint=hint)
    smoothing, other = draw.number(0.1, 0.9), normal(draw, *logits.shape)
    place = draw.integer(0, other.size - 1)
    other.flat[place] = -INF
    _, slope = by_torch(
        lambda z: F.cross_entropy(z, torch.tensor(targets), label_smoothing=smoothing), np.maximum(other, -1e4)
    )  # the gradient has long reached its limit there
    hint = "a smoothed target has a share of every class: none of probability 0 is free"
    assert_loss(impl.cross_entropy(other, targets, None, smoothing), (INF, slope), hint=hint)


@pytest.mark.stub("cross_entropy")
def test_a_masked_target_without_weight_costs_nothing(impl, draw):
    logits, targets, weights = np.concatenate([normal(draw, 3, 3)] * 2), np.arange(3).repeat(2), np.array([0.0, 1.5, 0.5])
    logits[:2, 0] = -INF
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights)), np.maximum(logits, -1e4))
    assert_loss(impl.cross_entropy(logits, targets, weights), truth, hint="0 · −∞ is NaN: where q is 0, the term is 0")


@pytest.mark.stub("cross_entropy")
def test_cross_entropy_refuses_what_is_no_target(impl, draw):
    assert_checks(impl.cross_entropy, draw)
    logits, targets, weights = classified(draw)
    for wrong in (-0.01, 1.01, math.nan):
        with raises(ValueError, hint=f"a smoothing of {wrong}: it is a share, from 0 to 1"):
            impl.cross_entropy(logits, targets, weights, wrong)


@pytest.mark.stub("cross_entropy")
def test_a_target_without_weight_is_no_error(impl, draw):
    logits, K = normal(draw, 3, 3), 3
    weights, targets = np.array([0.0, 1.5, 0.5]), np.arange(K)
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights)), logits)
    assert_loss(impl.cross_entropy(logits, targets, weights), truth, hint="a class of weight 0 is left out; the others remain")


@pytest.mark.stub("cross_entropy")
def test_cross_entropy_in_float32(impl, draw):
    logits, targets, weights = classified(draw, scale=1)  # of a loss near 0, float32 keeps few digits
    logits, weights = logits.astype(np.float32), weights.astype(np.float32)
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights), label_smoothing=0.1), logits)
    for came, expected in (
        (impl.cross_entropy(logits, targets, weights, 0.1), truth),
        (impl.cross_entropy(logits, targets), by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets)), logits)),
    ):
        assert_loss(came, expected, hint="make one-hot rows and weights in the dtype of the logits", tolerance=2e-5)


# --- focal_loss ----------------------------------------------------------------------------------------------------------


def focal_by_torch(logits, targets, weights=None, gamma=2.0):
    scale = torch.ones(logits.shape[1], dtype=torch.tensor(logits).dtype) if weights is None else torch.tensor(weights)

    def loss(z):
        right = z.log_softmax(1).gather(1, torch.tensor(targets)[:, None]).squeeze(1)
        share = scale[torch.tensor(targets)]
        return -(share * (1 - right.exp()) ** gamma * right).sum() / share.sum()

    return by_torch(loss, logits)


@pytest.mark.stub("focal_loss")
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_focal_loss_and_its_gradient(impl, draw, weighted, gamma):
    """Value and gradient agree with autograd's of the formula."""
    logits, targets, weights = classified(draw, few=2, scale=2)
    chosen = weights if weighted else None
    hint = (
        "by log p the slope is −(1 − p)^γ + γ (1 − p)^(γ − 1) p log p, the factor moves with the logits too; then [k = y] − p_k"
    )
    truth = focal_by_torch(logits, targets, chosen, gamma)
    assert_loss(impl.focal_loss(logits, targets, chosen, gamma), truth, hint=hint, tolerance=1e-10)


@pytest.mark.stub("focal_loss")
def test_without_focus_it_is_cross_entropy(impl, draw):
    logits, targets, weights = classified(draw)
    truth = by_torch(lambda z: F.cross_entropy(z, torch.tensor(targets), torch.tensor(weights)), logits)
    assert_loss(impl.focal_loss(logits, targets, weights, 0.0), truth, hint="γ = 0 is legal, and then (1 − p)^γ is 1")


@pytest.mark.stub("focal_loss")
def test_gamma_is_two_by_default(impl, draw):
    logits, targets, weights = classified(draw, few=2, scale=2)
    hint = "γ is 2 by default, and the weights are 1"
    assert_loss(impl.focal_loss(logits, targets), focal_by_torch(logits, targets), hint=hint, tolerance=1e-10)
    truth = focal_by_torch(logits, targets, weights)
    assert_loss(impl.focal_loss(logits, targets, weights), truth, hint=hint, tolerance=1e-10)


@pytest.mark.stub("focal_loss")
@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_certainty_is_no_trouble(impl, draw, gamma, precision):
    """Where p is 1 or 0 in floating point, loss and gradient are their limits."""
    height = draw.number(800, 2000)
    target = draw.integer(0, 1)
    logits = np.zeros((1, 2), precision)
    logits[0, target] = height
    hint = "(1 − p)^(γ − 1) is infinite where p is 1 and γ < 1, and ∞ · 0 is NaN: keep 1 − p above 0"
    sure = impl.focal_loss(logits, np.array([target]), None, gamma)
    assert_loss(sure, (0.0, np.zeros((1, 2), precision)), hint=hint)
    far = impl.focal_loss(logits, np.array([1 - target]), None, gamma)
    slope = np.full((1, 2), -1.0, precision)
    slope[0, target] = 1.0
    assert_loss(
        far, (float(logits[0, target]), slope), hint="where p is 0, the loss is that of cross-entropy; its logarithm is finite"
    )


@pytest.mark.stub("focal_loss")
def test_what_is_nearly_certain_still_counts(impl, draw):
    """With p of 0.99 and more the loss is small, and not cut off."""
    logits, targets = np.array([[draw.number(6, 8), 0.0]]), np.array([0])
    for gamma in (0.5, 1.0, 2.0):
        hint = "1 − p is kept above 0 by the least positive number of the dtype, not by a larger one"
        assert_loss(
            impl.focal_loss(logits, targets, None, gamma), focal_by_torch(logits, targets, None, gamma), hint=hint, tolerance=1e-8
        )


@pytest.mark.stub("focal_loss")
def test_focal_loss_of_logits_of_any_size(impl, draw):
    logits, targets, _ = classified(draw, few=2, scale=2)
    truth = focal_by_torch(logits, targets)
    for height in (1e4, -1e4):
        hint = "exp overflows above 709: log_softmax subtracts the maximum"
        assert_loss(impl.focal_loss(logits + height, targets), truth, hint=hint, tolerance=1e-9)


@pytest.mark.stub("focal_loss")
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_a_class_that_is_masked(impl, draw, gamma):
    """A logit of −∞ under another class takes no part; under the target it costs infinitely much, and its gradient has a limit."""
    logits, targets, weights = classified(draw, few=2, scale=2)
    value, gradient = focal_by_torch(logits, targets, weights, gamma)
    wider = np.concatenate([logits, np.full((len(logits), 1), -INF)], axis=1)
    padded = np.concatenate([gradient, np.zeros((len(logits), 1))], axis=1)
    hint = "a class that cannot be adds nothing: exp(−∞) is 0, and needs no care"
    assert_loss(impl.focal_loss(wider, targets, np.append(weights, 1.0), gamma), (value, padded), hint=hint, tolerance=1e-10)
    row = draw.integer(0, len(targets) - 1)
    logits[row, targets[row]] = -INF
    near = np.maximum(logits, -1e4)  # where p is 0 in floating point: the gradient has reached its limit
    hint = "p log p is 0 · −∞ there, which is NaN; its limit is 0. What is multiplied by 0 stays NaN, so select with np.where"
    for chosen in (None, weights):
        _, slope = focal_by_torch(near, targets, chosen, gamma)
        assert_loss(impl.focal_loss(logits, targets, chosen, gamma), (INF, slope), hint=hint, tolerance=1e-10)


@pytest.mark.stub("focal_loss")
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_a_masked_target_without_weight_adds_nothing(impl, draw, gamma):
    logits, targets, weights = np.concatenate([normal(draw, 3, 3)] * 2), np.arange(3).repeat(2), np.array([0.0, 1.5, 0.5])
    logits[:2, 0] = -INF
    truth = focal_by_torch(np.maximum(logits, -1e4), targets, weights, gamma)
    hint = "a weight of 0 times a loss of ∞ is NaN: what has no weight is left out"
    assert_loss(impl.focal_loss(logits, targets, weights, gamma), truth, hint=hint, tolerance=1e-10)


@pytest.mark.stub("focal_loss")
def test_focal_loss_refuses_what_is_no_target(impl, draw):
    assert_checks(impl.focal_loss, draw)
    logits, targets, weights = classified(draw)
    for wrong in (-0.5, -2.0, math.nan):
        with raises(ValueError, hint=f"γ = {wrong} would make what is easy loud"):
            impl.focal_loss(logits, targets, weights, wrong)


@pytest.mark.stub("focal_loss")
def test_focal_loss_in_float32(impl, draw):
    logits, targets, weights = classified(draw, few=2, scale=1)  # of 1 − p near 0, float32 keeps few digits
    truth = focal_by_torch(logits, targets, weights)
    came = impl.focal_loss(logits.astype(np.float32), targets, weights.astype(np.float32))
    truth = truth[0], truth[1].astype(np.float32)
    assert_loss(came, truth, hint="float32 in, float32 out", tolerance=1e-4)
    plain = focal_by_torch(logits, targets)
    came = impl.focal_loss(logits.astype(np.float32), targets)
    assert_loss(came, (plain[0], plain[1].astype(np.float32)), hint="float32 in, float32 out", tolerance=1e-4)


# --- huber ---------------------------------------------------------------------------------------------------------------


@pytest.mark.stub("huber")
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_huber_is_torchs(impl, draw, axes):
    """Value and gradient agree with F.huber_loss and autograd; both branches occur."""
    size = [draw.size() for _ in range(axes)]
    prediction, target = normal(draw, *size, scale=2), normal(draw, *size, scale=2)
    for delta in (draw.number(0.1, 0.6), draw.number(1.2, 4)):
        truth = by_torch(lambda x, d=delta: F.huber_loss(x, torch.tensor(target), delta=d), prediction)
        hint = "r²/2 up to δ, δ (|r| − δ/2) beyond: value and slope agree where they meet; the mean over all numbers"
        assert_loss(impl.huber(prediction, target, delta), truth, hint=hint)


@pytest.mark.stub("huber")
def test_delta_is_one_by_default(impl, draw):
    n = draw.size()
    prediction, target = normal(draw, n, scale=3), normal(draw, n, scale=3)
    truth = by_torch(lambda x: F.huber_loss(x, torch.tensor(target)), prediction)
    assert_loss(impl.huber(prediction, target), truth, hint="δ is 1 by default")


@pytest.mark.stub("huber")
def test_the_pull_of_an_outlier_is_bounded(impl, draw):
    n, delta = draw.size(2), draw.number(0.5, 2)
    prediction = np.zeros(n)
    target = np.full(n, 1e9)
    target[0] = -1e9
    came = impl.huber(prediction, target, delta)
    slope = np.full(n, -delta / n)
    slope[0] = delta / n
    assert_loss(came, (delta * (1e9 - delta / 2), slope), hint="no residual pulls with more than δ, in either direction")


@pytest.mark.stub("huber")
def test_where_the_branches_meet(impl, draw):
    delta = draw.choice((0.5, 1.0, 2.0))
    prediction = np.array([delta, -delta, 0.0, 2 * delta])
    truth = by_torch(lambda x: F.huber_loss(x, torch.zeros(4, dtype=torch.float64), delta=delta), prediction)
    assert_loss(impl.huber(prediction, np.zeros(4), delta), truth, hint="at |r| = δ the loss is δ²/2 and the slope ±δ")


@pytest.mark.stub("huber")
def test_an_infinite_delta_bounds_nothing(impl, draw):
    """The demo draws that line. The gradient alone is asked for: ∞ · 0 in a right formula for the value may be NaN."""
    n = draw.size()
    prediction, target = normal(draw, n, scale=9), normal(draw, n)
    _, slope = impl.huber(prediction, target, INF)
    hint = "any δ above 0 is legal: without a bound the slope is the residual"
    assert_close(slope, (prediction - target) / n, tolerance=EXACT, what="the gradient", hint=hint)


@pytest.mark.stub("huber")
def test_huber_refuses_what_would_be_broadcast(impl, draw):
    n, m = draw.size(2), draw.size(2)
    x = normal(draw, n, m)
    impl.huber(x, x, 0.5)
    for a, b in ((x[:, :1], x[:, 0]), (x, x[:1]), (x, x[0]), (x[:1], x), (x, x[:, :, None]), (x[:, 0], x[:, :1])):
        with raises(ValueError, hint="(N, 1) against (N,) becomes (N, N), the mean of which is a number too"):
            impl.huber(a, b)
    for empty in (x[:0], x[:, :0]):
        with raises(ValueError, hint="the mean of no numbers"):
            impl.huber(empty, empty)
    for wrong in (0.0, -1.0, math.nan):
        with raises(ValueError, hint=f"δ = {wrong}"):
            impl.huber(x, x, wrong)


@pytest.mark.stub("huber")
def test_huber_in_float32(impl, draw):
    n = draw.size()
    prediction, target = normal(draw, n, scale=3, dtype=np.float32), normal(draw, n, scale=3, dtype=np.float32)
    truth = by_torch(lambda x: F.huber_loss(x, torch.tensor(target)), prediction)
    assert_loss(impl.huber(prediction, target), truth, hint="float32 in, float32 out", tolerance=2e-5)


# --- sgd -----------------------------------------------------------------------------------------------------------------


def shaped(draw):
    return [draw.size() for _ in range(draw.integer(1, 3))]


def followed(optimizer, gradients, leaf):
    """The parameter after each step of an optimizer of torch."""
    for gradient in gradients:
        leaf.grad = torch.tensor(gradient)
        optimizer.step()
        yield leaf.detach().numpy().copy()


@pytest.mark.stub("sgd")
@pytest.mark.parametrize("decayed", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("heavy", [False, True])
def test_sgd_follows_torch(impl, draw, heavy, nesterov, decayed):
    """Six steps of torch.optim.SGD, parameter and buffer."""
    size, rate = shaped(draw), draw.number(0.01, 0.5)
    momentum, decay = draw.number(0.3, 0.95) if heavy else 0.0, draw.number(0.05, 0.5) if decayed else 0.0
    parameter, gradients = normal(draw, *size), [normal(draw, *size) for _ in range(6)]
    leaf = torch.tensor(parameter).requires_grad_()
    optimizer = torch.optim.SGD([leaf], rate, momentum=momentum, nesterov=nesterov and heavy, weight_decay=decay)
    buffer = np.zeros(size)
    hint = "decay into the gradient; buffer = μ · buffer + gradient, by no 1 − μ; the step goes along it, or along gradient + μ · buffer"
    for gradient, expected in zip(gradients, followed(optimizer, gradients, leaf), strict=True):
        parameter, buffer = impl.sgd(parameter, gradient, buffer, rate, momentum, nesterov, decay)
        assert_close(parameter, expected, tolerance=EXACT, what="the parameter", hint=hint, hint_for="values shape")
        if heavy:
            truth = optimizer.state[leaf]["momentum_buffer"].numpy()
            assert_close(buffer, truth, tolerance=EXACT, what="the buffer", hint=hint, hint_for="values shape")


@pytest.mark.stub("sgd")
def test_plain_by_default(impl, draw):
    size = shaped(draw)
    parameter, gradient, buffer = normal(draw, *size), normal(draw, *size), normal(draw, *size)
    found, kept = impl.sgd(parameter, gradient, buffer, 0.25)
    hint = "no momentum, no Nesterov, no decay unless asked for"
    assert_close(found, parameter - 0.25 * gradient, tolerance=EXACT, what="the parameter", hint=hint)
    assert_close(kept, gradient, tolerance=EXACT, what="the buffer", hint=hint)
    found, kept = impl.sgd(parameter, gradient, buffer, 0.25, 0.5)
    assert_close(found, parameter - 0.25 * (gradient + 0.5 * buffer), tolerance=EXACT, what="the parameter", hint=hint)
    assert_close(kept, gradient + 0.5 * buffer, tolerance=EXACT, what="the buffer", hint=hint)


@pytest.mark.stub("sgd")
def test_a_rate_that_changes_does_not_reach_the_buffer(impl, draw):
    """The rate multiplies the step alone: with a schedule, one kept inside of the buffer would act late."""
    n = draw.size()
    parameter, gradient, buffer = normal(draw, n), normal(draw, n), normal(draw, n)
    hint = "the buffer holds gradients; the rate of today multiplies all of it"
    for rate in (0.0, 0.1, 10.0):
        found, kept = impl.sgd(parameter, gradient, buffer, rate, 0.5)
        assert_close(kept, gradient + 0.5 * buffer, tolerance=EXACT, what="the buffer", hint=hint)
        assert_close(found, parameter - rate * (gradient + 0.5 * buffer), tolerance=EXACT, what="the parameter", hint=hint)


def assert_shapes_refused(step, draw):
    """step: called with a parameter, a gradient and one array of state."""
    n, m = draw.sizes(2)
    x, row, column = normal(draw, n, m), normal(draw, m), normal(draw, n, 1)
    step(x, x, x)
    for wrong in (row, column, x[:1], x.T, x[None], x[:, :, None]):
        for case in ((wrong, x, x), (x, wrong, x), (x, x, wrong)):
            with raises(ValueError, hint="a gradient or a state of another shape would be broadcast"):
                step(*case)
    for case in ((column.T, column, column), (column, column.T, column), (column, column, column.T)):
        with raises(
            ValueError, hint="a column against a row becomes a matrix: as many numbers, or the same sizes, are not enough"
        ):
            step(*case)


@pytest.mark.stub("sgd")
def test_sgd_refuses_other_shapes_and_momenta(impl, draw):
    assert_shapes_refused(lambda p, g, b: impl.sgd(p, g, b, 0.1, 0.9), draw)
    x = normal(draw, draw.size())
    for wrong in (1.0, -0.1, 1.5, math.nan):
        with raises(ValueError, hint=f"a momentum of {wrong}: from 0 to below 1, else old gradients never fade"):
            impl.sgd(x, x, x, 0.1, wrong)


@pytest.mark.stub("sgd")
def test_sgd_in_float32_and_of_nothing(impl, draw):
    x = normal(draw, draw.size(), dtype=np.float32)
    found, kept = impl.sgd(x, x, x, 0.5, 0.5, True, 0.5)
    for came, factor in ((found, 1 - 0.5 * (1.5 + 0.5 * 2.0)), (kept, 2.0)):
        assert_close(came, x * np.float32(factor), hint="float32 in, float32 out", hint_for="values dtype")
    none = np.zeros((0, 3))
    assert_equal(impl.sgd(none, none, none, 0.1, 0.9)[0], none, hint="a parameter without numbers is a parameter")


# --- adam ----------------------------------------------------------------------------------------------------------------


@pytest.mark.stub("adam")
@pytest.mark.parametrize("decayed", [False, True])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_follows_torch(impl, draw, decoupled, decayed):
    """Six steps of torch.optim.AdamW, or of Adam: parameter, moments and their count."""
    size, rate, eps = shaped(draw), draw.number(0.01, 0.5), draw.choice((1e-8, 0.05, 0.5))
    betas, decay = (draw.number(0.1, 0.9), draw.number(0.5, 0.99)), draw.number(0.1, 0.6) if decayed else 0.0
    parameter, gradients = normal(draw, *size), [normal(draw, *size) for _ in range(6)]
    leaf = torch.tensor(parameter).requires_grad_()
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([leaf], rate, betas=betas, eps=eps, weight_decay=decay)
    state = (np.zeros(size), np.zeros(size), 0)
    hint = (
        "divide each moment by 1 − β^t, t from 1; ε is added to the corrected root, not under it; decay beside the division (AdamW) "
        "or into the gradient before both moments (L2)"
    )
    for steps, (gradient, expected) in enumerate(zip(gradients, followed(optimizer, gradients, leaf), strict=True), 1):
        parameter, state = impl.adam(parameter, gradient, state, rate, betas, eps, decay, decoupled)
        assert_close(parameter, expected, tolerance=EXACT, what="the parameter", hint=hint, hint_for="values shape")
        moments = optimizer.state[leaf]
        assert_close(state[0], moments["exp_avg"].numpy(), tolerance=EXACT, what="the first moment", hint=hint)
        assert_close(state[1], moments["exp_avg_sq"].numpy(), tolerance=EXACT, what="the second moment", hint=hint)
        assert_equal(state[2], steps, what="the number of steps", hint="an integer, one more with each step")


@pytest.mark.stub("adam")
def test_what_is_default_of_adam(impl, draw):
    """Betas of 0.9 and 0.999, an ε of 1e-8, no decay; and decay is decoupled."""
    n, rate = draw.size(), draw.number(0.01, 0.1)
    parameter, gradient = normal(draw, n), normal(draw, n, scale=1e-7)  # so small that ε counts
    for decay in (0.0, 0.3):
        leaf = torch.tensor(parameter).requires_grad_()
        optimizer = torch.optim.AdamW([leaf], rate, weight_decay=decay)
        found, state = parameter, (np.zeros(n), np.zeros(n), 0)
        for expected in followed(optimizer, [gradient, gradient * 2, gradient], leaf):
            slope = gradient * (2 if state[2] == 1 else 1)
            more = {"decay": decay} if decay else {}
            found, state = impl.adam(found, slope, state, rate, **more)
            assert_close(found, expected, tolerance=EXACT, what="the parameter", hint="(0.9, 0.999), 1e-8, no decay, decoupled")


@pytest.mark.stub("adam")
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_first_step_is_as_long_as_the_rate(impl, draw, scale):
    """Whatever the size of the gradient: its sign times the rate."""
    size, rate = shaped(draw), draw.number(0.01, 0.5)
    parameter = normal(draw, *size)
    gradient = scale * (0.5 + uniform(draw, *size)) * np.where(uniform(draw, *size) < 0.5, -1, 1)
    found, _ = impl.adam(parameter, gradient, (np.zeros(size), np.zeros(size), 0), rate, eps=1e-20)
    hint = "corrected, both moments are the gradient and its square: m / √v is a sign; uncorrected, the step is 3 times as long"
    assert_close(found, parameter - rate * np.sign(gradient), tolerance=1e-10, what="the parameter", hint=hint)


@pytest.mark.stub("adam")
def test_a_run_is_taken_up_where_it_stopped(impl, draw):
    """The state may come from a file, after any number of steps: after a thousand the second moment is still a third too small."""
    n, rate = draw.size(), 0.1
    parameter, gradient, first, second = normal(draw, n), normal(draw, n), normal(draw, n), uniform(draw, n, low=0.1)
    for steps in (draw.integer(3, 1000), draw.integer(1001, 4000)):
        leaf = torch.tensor(parameter).requires_grad_()
        optimizer = torch.optim.AdamW([leaf], rate, weight_decay=0.5)
        optimizer.state[leaf] = {
            "step": torch.tensor(float(steps)),
            "exp_avg": torch.tensor(first),
            "exp_avg_sq": torch.tensor(second),
        }
        (expected,) = followed(optimizer, [gradient], leaf)
        found, state = impl.adam(parameter, gradient, (first, second, steps), rate, decay=0.5)
        hint = "the correction depends on the steps in the state, and does not end"
        assert_close(found, expected, tolerance=EXACT, what="the parameter", hint=hint)
        assert_equal(state[2], steps + 1, what="the number of steps", hint="one more than in the state")


@pytest.mark.stub("adam")
def test_without_memory(impl, draw):
    """Betas of 0 are legal: every step is a sign."""
    n = draw.size()
    parameter, gradient = normal(draw, n), 1 + uniform(draw, n)
    found, _ = impl.adam(parameter, gradient, (np.ones(n), np.ones(n), 3), 0.5, (0.0, 0.0), 0.25)
    hint = "with β = 0 the moments are the gradient and its square"
    assert_close(found, parameter - 0.5 * gradient / (gradient + 0.25), tolerance=EXACT, what="the parameter", hint=hint)


@pytest.mark.stub("adam")
def test_adam_refuses_other_shapes_and_betas(impl, draw):
    n = draw.size()
    x = normal(draw, n)
    assert_shapes_refused(lambda p, g, m: impl.adam(p, g, (m, np.ones(m.shape), 0), 0.1), draw)
    assert_shapes_refused(lambda p, g, m: impl.adam(p, g, (m, np.ones(p.shape), 0), 0.1), draw)
    assert_shapes_refused(lambda p, g, v: impl.adam(p, g, (np.zeros(g.shape), v**2, 0), 0.1), draw)
    for wrong in ((1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, -0.1), (math.nan, 0.9), (0.9, math.nan)):
        with raises(ValueError, hint=f"betas of {wrong}: each from 0 to below 1, else 1 − β^t is 0 or less"):
            impl.adam(x, x, (x, x**2, 1), 0.1, wrong)


@pytest.mark.stub("adam")
def test_adam_in_float32_and_of_nothing(impl, draw):
    n = draw.size()
    x, zeros = (1 + uniform(draw, n)).astype(np.float32), np.zeros(n, np.float32)
    for decoupled in (False, True):
        found, (first, second, _) = impl.adam(x, x, (zeros, zeros, 0), 0.5, decay=0.5, decoupled=decoupled)
        slope = x if decoupled else x * np.float32(1.5)
        truth = (x * 0.75 if decoupled else x) - np.float32(0.5), slope * np.float32(0.1), slope**2 * np.float32(0.001)
        for came, expected, what in zip((found, first, second), truth, ("parameter", "first", "second"), strict=True):
            assert_close(
                came,
                expected.astype(np.float32),
                tolerance=1e-4,
                what=what,
                hint="float32 in, float32 out",
                hint_for="values dtype",
            )
    none = np.zeros((0, 2))
    assert_equal(impl.adam(none, none, (none, none, 0), 0.1)[0], none, hint="a parameter without numbers is a parameter")


# --- newton_schulz -------------------------------------------------------------------------------------------------------

TUNED = (3.4445, -4.7750, 2.0315)
CONVERGENT = (15 / 8, -10 / 8, 3 / 8)


def by_singular_values(matrix, steps=5, coefficients=TUNED):
    """The polynomial on the singular values, by LAPACK."""
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    a, b, c = coefficients
    s = s / np.sqrt((s**2).sum())
    for _ in range(steps):
        s = a * s + b * s**3 + c * s**5
    return u * s @ vt


@pytest.mark.stub("newton_schulz")
@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_the_polynomial_acts_on_singular_values(impl, draw, steps):
    """The result has the singular vectors of the matrix, and f(f(…f(σ/‖M‖))) for values; tall, wide and square."""
    n, m = draw.size(), draw.size()
    for matrix in (normal(draw, n, m), normal(draw, m, n), normal(draw, n, n)):
        hint = "divide by the Frobenius norm, then `steps` times a X + (b XXᵀ + c XXᵀXXᵀ) X"
        found = impl.newton_schulz(matrix, steps)
        assert_close(found, by_singular_values(matrix, steps), tolerance=1e-11, hint=hint, hint_for="values shape")


@pytest.mark.stub("newton_schulz")
def test_five_steps_with_the_tuned_coefficients_by_default(impl, draw):
    matrix = normal(draw, draw.size(2), draw.size(2))
    hint = "five steps, and (3.4445, −4.7750, 2.0315)"
    assert_close(impl.newton_schulz(matrix), by_singular_values(matrix), tolerance=1e-11, hint=hint)


@pytest.mark.stub("newton_schulz")
def test_other_coefficients_converge_to_an_orthogonal_matrix(impl, draw):
    """(15, −10, 3) / 8 reach the nearest matrix with orthonormal rows or columns: U Vᵀ."""
    n, m = draw.size(), draw.size()
    u, _, vt = np.linalg.svd(normal(draw, n, m), full_matrices=False)
    matrix = u * (0.5 + uniform(draw, len(vt))) @ vt
    found = impl.newton_schulz(matrix, 25, CONVERGENT)
    assert_close(found, u @ vt, tolerance=1e-10, hint="use the coefficients that are given: a, b and c belong to X, X³ and X⁵")
    a, b, c = (draw.number(-1, 1) for _ in range(3))
    truth = by_singular_values(matrix, 3, (a, b, c))
    assert_close(impl.newton_schulz(matrix, 3, (a, b, c)), truth, tolerance=1e-11, hint="a to X, b to X³, c to X⁵")


@pytest.mark.stub("newton_schulz")
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-30, 1e-9, 1e30, 1e200, 1e300])
def test_the_size_of_the_matrix_does_not_matter(impl, draw, scale):
    matrix = normal(draw, draw.size(), draw.size())
    truth = by_singular_values(matrix)
    hint = "M and a multiple of M have the same result: gradients may be tiny, an ε beside the norm would shrink them"
    if not 1e-100 < scale < 1e100:
        hint = "the norm squares all numbers: it overflows, or vanishes, unless they are divided by the largest of them before"
    assert_close(impl.newton_schulz(matrix * scale), truth, tolerance=1e-10, hint=hint, hint_for="values NaN")
    holed = matrix.copy()
    holed.flat[draw.integer(0, matrix.size - 1)] = holed.flat[0] = 0
    truth = by_singular_values(holed) if holed.any() else holed
    assert_close(impl.newton_schulz(holed * scale), truth, tolerance=1e-10, hint="any number may be 0, but for the largest one")
    same = -np.abs(matrix) * scale
    truth = by_singular_values(-np.abs(matrix))
    assert_close(
        impl.newton_schulz(same), truth, tolerance=1e-10, hint="magnitudes count, not the largest number: all are negative"
    )


@pytest.mark.stub("newton_schulz")
@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e20, 1e37])
def test_float32_has_fewer_sizes(impl, draw, scale):
    """Its squares overflow above 1.8e19 and vanish below 1e-22, where gradients may well lie."""
    matrix = normal(draw, draw.size(), draw.size(), dtype=np.float32)
    truth = by_singular_values(matrix.astype(np.float64)).astype(np.float32)
    hint = "the norm in float32 is infinite, and the result 0, or it is 0: divide by the largest number before; float32 stays"
    came = impl.newton_schulz(matrix * np.float32(scale))
    assert_close(came, truth, tolerance=1e-3, hint=hint, hint_for="values NaN dtype")


@pytest.mark.stub("newton_schulz")
def test_zeros_stay_zeros(impl, draw):
    n, m = draw.size(), draw.size()
    for size in ((n, m), (0, m), (n, 0)):
        hint = "a norm of 0 is nothing to divide by"
        assert_equal(impl.newton_schulz(np.zeros(size)), np.zeros(size), hint=hint)


@pytest.mark.stub("newton_schulz")
def test_only_matrices_are_orthogonalised(impl, draw):
    n, m = draw.size(), draw.size()
    for wrong in (normal(draw, n), normal(draw, n, m, 2), normal(draw, n, n, n), normal(draw, 1, 1, 1, 1)):
        for steps in (5, 0):
            with raises(ValueError, hint=f"an array with {wrong.ndim} axes is no matrix, however many the steps"):
                impl.newton_schulz(wrong, steps)


@pytest.mark.stub("newton_schulz")
def test_newton_schulz_in_float32(impl, draw):
    matrix = normal(draw, draw.size(), draw.size(), dtype=np.float32)
    truth = by_singular_values(matrix.astype(np.float64)).astype(np.float32)
    assert_close(impl.newton_schulz(matrix), truth, tolerance=1e-3, hint="float32 in, float32 out", hint_for="values dtype")
    zeros = np.zeros((2, 3), np.float32)
    assert_equal(impl.newton_schulz(zeros), zeros, hint="float32 in, float32 out")


@pytest.mark.stub("newton_schulz")
def test_muon_made_of_it_is_torchs(impl, draw):
    """Three steps of torch.optim.Muon, which computes in bfloat16: of well-conditioned gradients a digit survives."""
    n, m, rate = draw.size(2), draw.size(2), 0.1
    u, _, vt = np.linalg.svd(normal(draw, n, m), full_matrices=False)
    gradients = [u * (0.8 + 0.2 * uniform(draw, len(vt))) @ vt * draw.number(0.5, 2) for _ in range(3)]
    parameter, buffer = normal(draw, n, m), np.zeros((n, m))
    leaf = torch.tensor(parameter).requires_grad_()
    for gradient, expected in zip(
        gradients, followed(torch.optim.Muon([leaf], rate, weight_decay=0.3), gradients, leaf), strict=True
    ):
        found, buffer = impl.muon(parameter, gradient, buffer, rate, decay=0.3)
        hint = "Muon goes along what newton_schulz gives"
        assert_close(found - parameter, expected - parameter, tolerance=0.3, what="the step", hint=hint)
        parameter = expected


# --- warmup_cosine -------------------------------------------------------------------------------------------------------


def by_schedulers(peak, warmup, total, floor, count):
    """Rates of `count` steps: even parts, then torch's CosineAnnealingLR."""
    up = list(np.linspace(0, peak, warmup + 1)[1:])
    if total == warmup:
        return (up + [floor] * count)[:count]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], peak)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total - warmup, floor)
    down = []
    for _ in range(total - warmup):
        down.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return (up + down + [floor] * count)[:count]


@pytest.mark.stub("warmup_cosine")
@pytest.mark.parametrize("low", [False, True])
def test_every_rate_of_a_run(impl, draw, low):
    """All steps, the first, the peak, the last and those after it, agree with torch's schedule."""
    peak, warmup, length = draw.number(0.1, 3), draw.integer(0, 6), draw.integer(0, 9)
    floor = draw.number(0.01, 0.09) if low else 0.0
    total = warmup + length
    truth = by_schedulers(peak, warmup, total, floor, total + 4)
    hint = "(step + 1) / warmup of the peak while step < warmup; then x = (step − warmup) / (total − warmup) in (1 + cos πx) / 2"
    for step, expected in enumerate(truth):
        found = impl.warmup_cosine(step, peak, warmup, total, floor)
        assert_close(
            found, float(expected), tolerance=1e-11, what=f"the rate of step {step} of {total}, warmup {warmup},", hint=hint
        )


@pytest.mark.stub("warmup_cosine")
def test_first_and_last_rates(impl, draw):
    peak, warmup, length = draw.number(0.1, 3), draw.integer(1, 6), draw.integer(1, 9)
    total = warmup + length
    assert_close(impl.warmup_cosine(0, peak, warmup, total), peak / warmup, what="the first", hint="a rate of 0 wastes a step")
    for step in (warmup - 1, warmup):
        assert_close(impl.warmup_cosine(step, peak, warmup, total), peak, what="the highest", hint="both ends meet at the peak")
    for step in (total, total + 1, 3 * total):
        hint = "once it is down it stays there: a cosine that goes on would rise again"
        assert_close(impl.warmup_cosine(step, peak, warmup, total, 0.125), 0.125, what="what is left", hint=hint)
        assert_close(impl.warmup_cosine(step, peak, warmup, total), 0.0, what="what is left", hint="down to 0 by default")


@pytest.mark.stub("warmup_cosine")
def test_runs_without_warmup_and_without_descent(impl, draw):
    peak, total = draw.number(0.1, 3), draw.integer(1, 9)
    assert_close(impl.warmup_cosine(0, peak, 0, total), peak, what="the first rate without warmup", hint="0 / 0 is no share")
    last = impl.warmup_cosine(total - 1, peak, total, total, 0.05)
    assert_close(last, peak, what="the last rate of a run that only warms up", hint="warmup = total is legal")
    after = impl.warmup_cosine(total, peak, total, total, 0.05)
    assert_close(after, 0.05, what="the rate after it", hint="from `total` on it is the floor")
    assert_close(impl.warmup_cosine(0, peak, 0, 0, 0.05), 0.05, what="the rate of a run without steps", hint="the floor")


@pytest.mark.stub("warmup_cosine")
def test_a_warmup_knows_no_floor(impl, draw):
    """It rises from 0: the floor is where the cosine ends, and the first rates may lie below it."""
    peak, warmup = draw.number(0.1, 3), draw.integer(2, 6)
    floor = peak * draw.number(0.6, 0.95)
    for step in range(warmup):
        found = impl.warmup_cosine(step, peak, warmup, warmup + draw.integer(0, 5), floor)
        expected = peak * (step + 1) / warmup
        assert_close(found, expected, what="a rate of the warmup", hint="(step + 1) / warmup of the peak, whatever the floor")


@pytest.mark.stub("warmup_cosine")
def test_impossible_schedules_are_refused(impl, draw):
    total = draw.integer(2, 9)
    for step, warmup, length in ((-1, 1, total), (0, -1, total), (0, total + 1, total), (total, total + 1, total), (0, 0, -1)):
        with raises(ValueError, hint=f"step {step} of {length} with a warmup of {warmup}"):
            impl.warmup_cosine(step, 1.0, warmup, length)


# --- clip_by_global_norm -------------------------------------------------------------------------------------------------


def clipped_by_torch(gradients, limit):
    leaves = [torch.zeros(g.shape, dtype=torch.tensor(g).dtype, requires_grad=True) for g in gradients]
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = torch.tensor(gradient)
    norm = torch.nn.utils.clip_grad_norm_(leaves, limit)
    return [leaf.grad.numpy() for leaf in leaves], norm.item()


def several(draw, dtype=np.float64):
    return [normal(draw, *shaped(draw), dtype=dtype) for _ in range(draw.integer(1, 4))]


def assert_clipped(came, truth, *, hint, tolerance=EXACT):
    arrays, norm = came
    assert_close(norm, truth[1], tolerance=tolerance, what="the norm", hint=hint)
    assert_equal(len(arrays), len(truth[0]), what="the number of gradients", hint="one for each that came")
    for i, (array, expected) in enumerate(zip(arrays, truth[0], strict=True)):
        assert_close(array, expected, tolerance=tolerance, what=f"gradient {i}", hint=hint, hint_for="values shape dtype")


@pytest.mark.stub("clip_by_global_norm")
@pytest.mark.parametrize("share", [0.01, 0.5, 1.0, 1.5])
def test_one_factor_for_all_gradients(impl, draw, share):
    """Clipped gradients and the norm before agree with torch.nn.utils.clip_grad_norm_."""
    gradients = several(draw)
    limit = share * math.sqrt(sum(float((g**2).sum()) for g in gradients))
    hint = "one norm over all arrays, one factor limit / (norm + 1e-6) for all, and at most 1; the norm is that before"
    assert_clipped(impl.clip_by_global_norm(gradients, limit), clipped_by_torch(gradients, limit), hint=hint)


@pytest.mark.stub("clip_by_global_norm")
def test_what_is_short_enough_is_left_alone(impl, draw):
    gradients = several(draw)
    for limit in (1e4, INF):
        arrays, _ = impl.clip_by_global_norm(gradients, limit)
        assert_equal(len(arrays), len(gradients), what="the number of gradients", hint="one for each that came")
        for array, gradient in zip(arrays, gradients, strict=True):
            hint = "the factor is never above 1: clipping does not lengthen; without a limit it only measures"
            assert_equal(array, gradient, hint=hint)


@pytest.mark.stub("clip_by_global_norm")
@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_squares_neither_overflow_nor_vanish(impl, draw, scale):
    gradients = several(draw)
    norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
    hint = "magnitudes count, not the largest number: all of these are negative"
    _, found = impl.clip_by_global_norm([-np.abs(g) * scale for g in gradients], 1.0)
    assert_close(found / scale, norm, tolerance=1e-11, what="the norm over its scale", hint=hint, hint_for="values NaN")
    arrays, found = impl.clip_by_global_norm([g * scale for g in gradients], 1.0)
    hint = "1e250 squared is infinite and 1e-250 squared is 0: divide by the largest number before you square"
    assert_equal(len(arrays), len(gradients), what="the number of gradients", hint="one for each that came")
    assert_close(found / scale, norm, tolerance=1e-11, what="the norm over its scale", hint=hint, hint_for="values NaN")
    for array, gradient in zip(arrays, gradients, strict=True):
        expected = gradient / norm if scale > 1 else gradient
        assert_close(array if scale > 1 else array / scale, expected, tolerance=1e-11, what="a gradient", hint=hint)
    for j, own in enumerate(gradients):  # the others are far smaller
        _, found = impl.clip_by_global_norm(
            [own * scale if i == j else np.abs(g) * scale * 1e-200 for i, g in enumerate(gradients)], 1.0
        )
        alone = float(np.linalg.norm(own))
        assert_close(
            found / scale, alone, tolerance=1e-11, what="the norm", hint="the largest of *all* arrays", hint_for="values NaN"
        )


@pytest.mark.stub("clip_by_global_norm")
def test_clipping_in_float32(impl, draw):
    """float32 in, float32 out; its own squares would overflow above 1e19."""
    gradients = [g + np.float32(0.1) for g in several(draw, np.float32)]
    norm = math.sqrt(sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients))
    for scale in (np.float32(1), np.float32(1e25)):
        arrays, found = impl.clip_by_global_norm([g * scale for g in gradients], norm / 2)
        assert_equal(len(arrays), len(gradients), what="the number of gradients", hint="one for each that came")
        assert_close(
            found / float(scale), norm, tolerance=1e-6, what="the norm", hint="sum squares in float64", hint_for="values NaN"
        )
        for array, gradient in zip(arrays, gradients, strict=True):
            expected = (gradient / (2 * scale) * scale).astype(np.float32)
            assert_close(array, expected, hint="float32 in, float32 out", hint_for="values dtype NaN", tolerance=1e-4)
    many = normal(draw, 50, dtype=np.float32)
    _, found = impl.clip_by_global_norm([many], 1.0)
    truth = math.sqrt(math.fsum(float(x) ** 2 for x in many))
    assert_close(found, truth, tolerance=1e-12, what="the norm", hint="the norm is computed in float64, whatever the dtype")


@pytest.mark.stub("clip_by_global_norm")
def test_nothing_to_clip(impl, draw):
    n = draw.size()
    assert_equal(impl.clip_by_global_norm([], 1.0), ([], 0.0), hint="of no gradients the norm is 0")
    zeros = [np.zeros(n), np.zeros((0, n))]
    arrays, norm = impl.clip_by_global_norm(zeros, 1.0)
    assert_close(norm, 0.0, what="the norm of zeros", hint="zeros have a norm of 0, nothing to divide by")
    assert_equal(len(arrays), 2, what="the number of gradients", hint="one for each that came")
    for array, expected in zip(arrays, zeros, strict=True):
        assert_equal(array, expected, hint="zeros stay zeros, and an empty array stays empty")


@pytest.mark.stub("clip_by_global_norm")
def test_what_cannot_be_clipped_is_refused(impl, draw):
    gradients = [*several(draw), normal(draw, draw.size())]
    for wrong in (INF, -INF, math.nan):
        place = draw.integer(0, len(gradients) - 1)
        broken = [spoiled(draw, g, wrong) if i == place else g for i, g in enumerate(gradients)]
        with raises(
            ValueError, hint=f"a gradient with {wrong}: times limit / ∞ all others become 0, and itself NaN; skip the step"
        ):
            impl.clip_by_global_norm(broken, 1.0)
    for limit in (0.0, -1.0, math.nan):
        with raises(ValueError, hint=f"a limit of {limit}"):
            impl.clip_by_global_norm(gradients, limit)


# --- initial_weights -----------------------------------------------------------------------------------------------------

INITS = torch.nn.init


@pytest.mark.stub("initial_weights")
@pytest.mark.parametrize("axes", [0, 1, 2])
@pytest.mark.parametrize("fan", ["fan_in", "fan_out", "average"])
def test_initial_weights_are_torchs(impl, draw, fan, axes):
    """From the same uniform numbers as kaiming_uniform_ and xavier_uniform_, number by number."""
    size = (draw.size(), draw.size(), *[draw.size() for _ in range(axes)])
    slope = draw.choice((0.0, 0.2, 1.0, draw.number(0.3, 2)))
    seed = draw.integer(0, 10**6)
    uniforms = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).numpy()
    truth, generator = torch.empty(size, dtype=torch.float64), torch.Generator().manual_seed(seed)
    if fan == "average":
        INITS.xavier_uniform_(truth, INITS.calculate_gain("leaky_relu", slope), generator=generator)
    else:
        INITS.kaiming_uniform_(truth, slope, fan, "leaky_relu", generator=generator)
    hint = (
        "±√(3 · 2 / ((1 + slope²) n)): n counts the places of the kernel too, inputs for fan_in, outputs for fan_out, their mean"
    )
    assert_close(impl.initial_weights(uniforms, fan, slope), truth.numpy(), tolerance=EXACT, hint=hint)


@pytest.mark.stub("initial_weights")
def test_kaiming_for_a_relu_by_default(impl, draw):
    uniforms = uniform(draw, draw.size(), draw.size(), draw.size())
    bound = math.sqrt(6 / (uniforms.shape[1] * uniforms.shape[2]))
    expected = bound * (2 * uniforms - 1)
    assert_close(impl.initial_weights(uniforms), expected, tolerance=EXACT, hint="fan_in and a slope of 0 by default")
    assert_close(impl.initial_weights(uniforms, "fan_in"), expected, tolerance=EXACT, hint="a slope of 0 by default")


@pytest.mark.stub("initial_weights")
def test_weights_lie_about_zero(impl):
    """An even grid of uniforms has the variance 2 / n and the mean 0."""
    grid = np.linspace(0, 1, 40001)[:-1] + 0.5 / 40000
    weights = impl.initial_weights(grid.reshape(100, 400))
    hint = "uniform numbers in [0, 1) have the mean 1/2 and the variance 1/12; on ±b it is b²/3"
    assert_close(float(weights.var()), 2 / 400, tolerance=1e-4, what="the variance", hint=hint)
    assert_true(abs(float(weights.mean())) < 1e-10, "the mean is 0", hint=hint)


@pytest.mark.stub("initial_weights")
def test_what_has_no_fan_is_refused(impl, draw):
    n, m = draw.size(), draw.size()
    for wrong in ("fan", "fan_avg", "FAN_IN", ""):
        with raises(ValueError, hint=f"there is no fan called {wrong!r}"):
            impl.initial_weights(uniform(draw, n, m), wrong)
    for fan in ("fan_in", "fan_out", "average"):
        with raises(ValueError, hint="a vector (a bias) has no inputs and outputs"):
            impl.initial_weights(uniform(draw, n), fan)


@pytest.mark.stub("initial_weights")
def test_initial_weights_in_float32(impl, draw):
    uniforms = uniform(draw, draw.size(), draw.size()).astype(np.float32)
    expected = (math.sqrt(6 / uniforms.shape[1]) * (2 * uniforms.astype(np.float64) - 1)).astype(np.float32)
    assert_close(impl.initial_weights(uniforms), expected, hint="float32 in, float32 out", hint_for="values dtype")


# --- wrong answers -------------------------------------------------------------------------------------------------------


def refuse(logits, targets, weights=None):
    """The checks of both losses, written once more; the weights."""
    N, K = logits.shape
    w = np.ones(K, logits.dtype) if weights is None else weights
    if targets.shape != (N,) or any(not 0 <= y < K for y in targets.tolist()):
        raise ValueError("targets")
    if w.shape != (K,) or not (w >= 0).all() or sum(w[y] for y in targets) <= 0:
        raise ValueError("weights")
    return w


def entropy_by(logits_of=lambda z: z, *, finish=lambda loss, gradient, logits: (loss, gradient)):
    """Cross-entropy by SciPy, with one thing done otherwise."""

    def loss(logits, targets, weights=None, smoothing=0.0):
        w = refuse(logits, targets, weights)
        if not (smoothing >= 0 and smoothing <= 1):
            raise ValueError("smoothing")
        z = logits_of(logits)
        K, total = z.shape[1], w[targets].sum()
        q = np.full(z.shape, smoothing / K, z.dtype)
        q[np.arange(len(z)), targets] += 1 - smoothing
        q *= w
        log_p = special.log_softmax(z, axis=1)
        value = -float(np.multiply(q, log_p, where=q > 0, out=np.zeros_like(z)).sum() / total)
        return finish(value, (special.softmax(z, axis=1) * q.sum(1)[:, None] - q) / total, logits)

    return loss


def focal_by(slope, *, power=lambda wrong, gamma: wrong**gamma, total=lambda share: share.sum(), default=2.0):
    """Focal loss with one thing done otherwise."""

    def loss(logits, targets, weights=None, gamma=default):
        w = refuse(logits, targets, weights)
        if not gamma >= 0:
            raise ValueError("gamma")
        log_p = special.log_softmax(logits, axis=1)
        right = np.take_along_axis(log_p, targets[:, None], 1)[:, 0]
        p, share = np.exp(right), w[targets] / total(w[targets])
        wrong = np.maximum(1 - p, np.finfo(logits.dtype).tiny)
        onehot = np.eye(logits.shape[1], dtype=logits.dtype)[targets]
        gradient = (share * slope(p, wrong, right, gamma))[:, None] * (onehot - np.exp(log_p))
        return -float((share * power(wrong, gamma) * np.where(share > 0, right, 0)).sum()), gradient

    return loss


def right_slope(p, wrong, right, gamma):
    return -gamma * wrong ** (gamma - 1) * special.entr(p) - wrong**gamma


def huber_by(value, slope, check=lambda a, b, delta: a.shape == b.shape and a.size > 0 and delta > 0):
    def loss(prediction, target, delta=1.0):
        if not check(prediction, target, delta):
            raise ValueError("shapes or delta")
        r = prediction - target
        return float(np.mean(value(r, delta))), slope(r, delta)

    return loss


def huber_value(r, delta):
    return np.where(np.abs(r) <= delta, r**2 / 2, delta * (np.abs(r) - delta / 2))


def huber_slope(r, delta):
    return np.where(np.abs(r) <= delta, r, delta * np.sign(r)) / r.size


def sgd_by(step):
    def call(parameter, gradient, buffer, rate, momentum=0.0, nesterov=False, decay=0.0):
        if parameter.shape != gradient.shape or gradient.shape != buffer.shape or not (momentum >= 0 and momentum < 1):
            raise ValueError("shapes or momentum")
        return step(parameter, gradient, buffer, rate, momentum, nesterov, decay)

    return call


def velocity(p, g, b, rate, mu, nesterov, decay):
    """Sutskever's own form: the rate is inside of the buffer."""
    v = mu * b + rate * (g + decay * p)
    return (p - (mu * v + rate * (g + decay * p) if nesterov else v)), v


def adam_by(step):
    def call(parameter, gradient, state, rate, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=True):
        m, v, t = state
        if len({parameter.shape, gradient.shape, m.shape, v.shape}) > 1 or not (min(betas) >= 0 and max(betas) < 1):
            raise ValueError("shapes or betas")
        if any(beta != beta for beta in betas):
            raise ValueError("betas")
        return step(parameter, gradient, m, v, t + 1, rate, *betas, eps, decay, decoupled)

    return call


def amsgrad(p, g, m, v, t, rate, b1, b2, eps, decay, decoupled):
    g = g if decoupled else g + decay * p
    m, v = b1 * m + (1 - b1) * g, np.maximum(v, b2 * v + (1 - b2) * g * g)
    root = np.sqrt(v / (1 - b2**t)) + eps
    return (p * (1 - rate * decay) if decoupled else p) - rate * m / (1 - b1**t) / root, (m, v, t)


def matrix_only(function):
    def call(matrix, steps=5, coefficients=TUNED):
        if len(matrix.shape) != 2:
            raise ValueError("no matrix")
        return function(matrix, steps, coefficients)

    return call


def schedule_by(descent, *, up=lambda step, warmup: (step + 1) / warmup):
    def rate(step, peak, warmup, total, floor=0.0):
        if step < 0 or warmup < 0 or warmup > total:
            raise ValueError("impossible")
        if step < warmup:
            return peak * up(step, warmup)
        if step >= total:
            return floor
        return descent((step - warmup) / (total - warmup), peak, floor)

    return rate


def clip_by(factor, norm=lambda arrays: math.hypot(*(float(x) for a in arrays for x in a.flat))):
    def clip(gradients, limit):
        if not limit > 0 or any(not np.isfinite(g).all() for g in gradients):
            raise ValueError("limit or numbers")
        size = norm(gradients)
        return factor(gradients, limit, size), size

    return clip


def scaled(gradients, limit, norm):
    return [g * min(1.0, limit / (norm + 1e-6)) for g in gradients]


def weights_by(bound, count):
    def initial(uniforms, fan="fan_in", slope=0.0):
        if fan not in ("fan_in", "fan_out", "average") or uniforms.ndim < 2:
            raise ValueError("fan")
        return (bound(slope, count(uniforms.shape, fan)) * (2 * uniforms - 1)).astype(uniforms.dtype)

    return initial


def fan_of(shape, fan):
    places = math.prod(shape[2:])
    return {"fan_in": shape[1] * places, "fan_out": shape[0] * places, "average": (shape[0] + shape[1]) * places / 2}[fan]


def kaiming(slope, n):
    return math.sqrt(6 / ((1 + slope * slope) * n))


def doubled(function):
    """Computes in float64 and returns that."""

    def wide(x):
        if isinstance(x, np.ndarray) and x.dtype.kind == "f":
            return x.astype(np.float64)
        return type(x)(map(wide, x)) if isinstance(x, list | tuple) else x

    return lambda *args, **kwargs: function(*map(wide, args), **kwargs)


TOTAL = "total = scale[targets].sum()"
SHARED = "(1 - smoothing) * np.eye(K, dtype=logits.dtype)[targets] + smoothing / K"
SLOPE = "-(wrong**gamma) + gamma * wrong ** (gamma - 1) * np.exp(right) * right"
NORMED = "    x = x / max(float(np.linalg.norm(x)), 1.0)  # 0 or at least 1; now no singular value is above 1\n"
SCALED = "x = matrix / (largest if largest > 0 else 1.0)\n" + NORMED.rstrip("\n")
CHECKED = "scale = checked(logits, targets, weights)"
MET = "met = np.isfinite(logits[np.arange(len(targets)), targets]); logits, targets = logits[met], targets[met]"
UNCHECKED = "scale = np.ones(logits.shape[1], logits.dtype) if weights is None else weights"

FAKES = {
    "cross_entropy": {
        "weights ignored": Edit("+ smoothing / K) * scale", "+ smoothing / K)"),
        "smoothing ignored": Edit(SHARED, "np.eye(K, dtype=logits.dtype)[targets]"),
        "divided by the rows": Edit(TOTAL, "total = len(targets)"),
        "summed": Edit(TOTAL, "total = 1.0"),
        "divided by the sum of all weights": Edit(TOTAL, "total = scale.sum()"),
        "shared among the other classes": Edit(
            "np.eye(K, dtype=logits.dtype)[targets] + smoothing / K",
            "np.eye(K, dtype=logits.dtype)[targets] + smoothing / max(K - 1, 1) * (1 - np.eye(K, dtype=logits.dtype)[targets])",
        ),
        "the target's weight for all classes": Edit("+ smoothing / K) * scale", "+ smoothing / K) * scale[targets][:, None]"),
        "rows taken to add up to one": Edit("np.exp(log_p) * q.sum(axis=1, keepdims=True) - q", "np.exp(log_p) - q"),
        "a gradient that is not averaged": Edit("- q) / total", "- q)"),
        "the gradient upwards": entropy_by(finish=lambda loss, gradient, _: (loss, -gradient)),
        "minus infinity times zero": Edit("np.where(q > 0, log_p, 0)", "log_p"),
        "minus infinity made finite": Edit("np.where(q > 0, log_p, 0)", "np.maximum(log_p, -100)"),
        "minus infinity masked under a target too": Edit("np.where(q > 0, log_p, 0)", "np.where(np.isinf(log_p), 0, log_p)"),
        "negative targets wrap around": Edit(CHECKED, UNCHECKED),
        "a smoothing of 1 refused": Edit("0 <= smoothing <= 1", "0 <= smoothing < 1"),
        "no smoothing refused": Edit("0 <= smoothing <= 1", "0 < smoothing <= 1"),
        "any smoothing accepted": Edit("if not 0 <= smoothing <= 1", "if False"),
        "the log of a softmax": Edit("log_softmax(logits)", "np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))"),
        "one maximum and one sum for all rows": Edit("log_softmax(logits)", "logits - np.log(np.exp(logits).sum())"),
        "normalised over the batch": Edit("log_softmax(logits)", "log_softmax(logits.T).T"),
        "in bits": entropy_by(finish=lambda loss, gradient, _: (loss / math.log(2), gradient / math.log(2))),
        "float64 for all": doubled(entropy_by()),
        "the identity in float64": Edit("np.eye(K, dtype=logits.dtype)", "np.eye(K)"),
        "always a tenth": Edit("K, log_p =", "smoothing = 0.1 if smoothing else 0.0\n    K, log_p ="),
    },
    "focal_loss": {
        "the factor taken for a constant": focal_by(lambda p, wrong, right, gamma: -(wrong**gamma)),
        "the gradient of cross-entropy": focal_by(lambda p, wrong, right, gamma: -np.ones_like(p)),
        "p forgotten in the chain": focal_by(lambda p, wrong, right, gamma: gamma * wrong ** (gamma - 1) * right - wrong**gamma),
        "the sign of the inner derivative": focal_by(
            lambda p, wrong, right, gamma: -gamma * wrong ** (gamma - 1) * p * right - wrong**gamma
        ),
        "what is easy made loud": focal_by(right_slope, power=lambda wrong, gamma: (1 - wrong) ** gamma),
        "always two": Edit(CHECKED, f"{CHECKED}\n    gamma = 2.0 if gamma else 0.0"),
        "another default": focal_by(right_slope, default=1.0),
        "divided by the rows": focal_by(right_slope, total=len),
        "summed": focal_by(right_slope, total=lambda share: 1.0),
        "weights ignored": Edit(CHECKED, f"{CHECKED} * 0 + 1"),
        "not kept above 0": Edit("np.maximum(1 - p, np.finfo(logits.dtype).tiny)", "1 - p"),
        "p log p as it is": Edit("np.where(p > 0, right, 0)", "right"),
        "no weight times infinity": Edit("np.where(share > 0, right, 0)", "right"),
        "a masked target that costs a hundred": Edit("log_p[rows, targets]", "np.maximum(log_p[rows, targets], -100)"),
        "a masked target for free": Edit("np.where(share > 0, right, 0)", "np.where(p > 0, right, 0)"),
        "a masked target that does not pull": Edit("share * slope)", "share * slope * (p > 0))"),
        "what is not a number taken for 0": Edit("return float(loss), (", "return float(np.nan_to_num(loss)), np.nan_to_num("),
        "rows with a masked target left out": Edit(CHECKED, f"{CHECKED}\n    {MET}"),
        "kept far above 0": Edit("np.finfo(logits.dtype).tiny", "0.01"),
        "the tiniest of float64": Edit("np.finfo(logits.dtype).tiny", "np.finfo(np.float64).tiny"),
        "no focus refused": Edit("if not gamma >= 0", "if not gamma > 0"),
        "any gamma accepted": Edit("if not gamma >= 0", "if False"),
        "negative targets wrap around": Edit(CHECKED, UNCHECKED),
        "the log of a softmax": Edit("log_softmax(logits)", "np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))"),
        "softmax for one-hot": Edit("[targets] - np.exp(log_p)", "[targets] + np.exp(log_p)"),
        "the target's logit alone": Edit(" - np.exp(log_p)  # log p", "  # log p"),
        "float64 for all": doubled(focal_by(right_slope)),
    },
    "huber": {
        "half a square everywhere": huber_by(lambda r, d: r**2 / 2, lambda r, d: r / r.size),
        "no half": huber_by(
            lambda r, d: np.where(np.abs(r) <= d, r**2, d * (2 * np.abs(r) - d)), lambda r, d: 2 * huber_slope(r, d)
        ),
        "a jump where the branches meet": huber_by(lambda r, d: np.where(np.abs(r) <= d, r**2 / 2, d * np.abs(r)), huber_slope),
        "divided by δ, as smooth L1": huber_by(lambda r, d: huber_value(r, d) / d, lambda r, d: huber_slope(r, d) / d),
        "always one": huber_by(lambda r, d: huber_value(r, 1.0), lambda r, d: huber_slope(r, 1.0)),
        "summed": huber_by(lambda r, d: huber_value(r, d).sum(), lambda r, d: huber_slope(r, d) * r.size),
        "a gradient that is not averaged": huber_by(huber_value, lambda r, d: huber_slope(r, d) * r.size),
        "divided by the first axis alone": huber_by(huber_value, lambda r, d: huber_slope(r, d) * r.size / len(r)),
        "the gradient of the target": huber_by(huber_value, lambda r, d: -huber_slope(r, d)),
        "residuals clipped before the square": huber_by(lambda r, d: np.clip(r, -d, d) ** 2 / 2, huber_slope),
        "only large positive residuals held": huber_by(huber_value, lambda r, d: np.minimum(r, d) / r.size),
        "no pull from outliers": huber_by(huber_value, lambda r, d: np.where(np.abs(r) <= d, r, 0) / r.size),
        "the sign alone": huber_by(huber_value, lambda r, d: d * np.sign(r) / r.size),
        "broadcast": huber_by(huber_value, huber_slope, lambda a, b, d: a.size > 0 and d > 0),
        "as many numbers are enough": huber_by(
            lambda r, d: huber_value(r, d), huber_slope, lambda a, b, d: a.size == b.size > 0 and d > 0
        ),
        "nothing accepted": Edit("prediction.size == 0 or ", ""),
        "only the first axis looked at": Edit("prediction.size == 0", "(prediction.ndim > 0 and len(prediction) == 0)"),
        "any delta accepted": Edit(" or not delta > 0", ""),
        "an infinite delta refused": Edit("not delta > 0", "not 0 < delta < math.inf"),
        "written into places, of which a number has none": Edit(
            "pull = np.clip(residual, -delta, delta)",
            "pull = residual.copy()\n    pull[residual > delta] = delta\n    pull[residual < -delta] = -delta",
        ),
        "float64 for all": doubled(huber_by(huber_value, huber_slope)),
    },
    "sgd": {
        "a mean in place of a sum": Edit(
            "buffer = momentum * buffer + gradient", "buffer = momentum * buffer + (1 - momentum) * gradient"
        ),
        "the rate inside of the buffer": sgd_by(velocity),
        "Nesterov ignored": Edit("gradient + momentum * buffer if nesterov else buffer", "buffer"),
        "Nesterov always": Edit("gradient + momentum * buffer if nesterov else buffer", "gradient + momentum * buffer"),
        "Nesterov along the old buffer": Edit(
            "    buffer = momentum * buffer + gradient\n    along = gradient + momentum * buffer if nesterov else buffer",
            "    along = gradient + momentum * buffer\n    buffer = momentum * buffer + gradient",
        ),
        "Nesterov added to the buffer": Edit(
            "gradient + momentum * buffer if nesterov", "buffer + momentum * buffer if nesterov"
        ),
        "decay ignored": Edit("gradient + decay * parameter", "gradient"),
        "decay beside the buffer": sgd_by(
            lambda p, g, b, rate, mu, nesterov, decay: (
                lambda n: (p * (1 - rate * decay) - rate * (g + mu * n if nesterov else n), n)
            )(mu * b + g)
        ),
        "decay upwards": Edit("gradient + decay * parameter", "gradient - decay * parameter"),
        "uphill": Edit("parameter - rate * along", "parameter + rate * along"),
        "the old buffer returned": sgd_by(lambda p, g, b, rate, mu, nesterov, decay: (p - rate * (mu * b + g + decay * p), b)),
        "written over its input": Edit(
            "return parameter - rate * along, buffer", "parameter -= rate * along\n    return parameter, buffer"
        ),
        "the buffer written over": Edit("buffer = momentum * buffer + gradient", "buffer *= momentum\n    buffer += gradient"),
        "broadcast": Edit("len(set(shapes)) > 1 or ", ""),
        "as many numbers are enough": Edit("len(set(shapes)) > 1", "len(set(map(math.prod, shapes))) > 1"),
        "the buffer's shape not looked at": Edit("set(shapes)", "set(shapes[:2])"),
        "the same sizes are enough": Edit("set(shapes)", "set(tuple(sorted(shape)) for shape in shapes)"),
        "a momentum of 1 accepted": Edit("momentum < 1", "momentum <= 1"),
        "no momentum refused": Edit("0 <= momentum", "0 < momentum"),
        "momentum by default": lambda parameter, gradient, buffer, rate, momentum=0.9, nesterov=False, decay=0.0: (
            lambda n: (parameter - rate * (gradient + momentum * n if nesterov else n), n)
        )(momentum * buffer + gradient + decay * parameter),
        "float64 for all": doubled(
            sgd_by(
                lambda p, g, b, rate, mu, nesterov, decay: (lambda g, n: (p - rate * (g + mu * n if nesterov else n), n))(
                    g + decay * p, mu * b + g + decay * p
                )
            )
        ),
    },
    "adam": {
        "first moment not corrected": Edit("first / (1 - betas[0] ** (steps + 1))", "first"),
        "second moment not corrected": Edit("second / (1 - betas[1] ** (steps + 1))", "second"),
        "corrected by the step before": Edit("betas[1] ** (steps + 1)", "betas[1] ** max(steps, 1)"),
        "corrected for a thousand steps": Edit("betas[1] ** (steps + 1)", "(betas[1] ** (steps + 1) if steps < 1000 else 0)"),
        "corrected moments kept": adam_by(
            lambda p, g, m, v, t, rate, b1, b2, eps, decay, decoupled: (
                lambda g, p: (lambda m, v: (p - rate * m / (np.sqrt(v) + eps), (m, v, t)))(
                    (b1 * m + (1 - b1) * g) / (1 - b1**t), (b2 * v + (1 - b2) * g * g) / (1 - b2**t)
                )
            )(g if decoupled else g + decay * p, p * (1 - rate * decay) if decoupled else p)
        ),
        "ε under the root": Edit("mean / (size + eps)", "mean / np.sqrt(size**2 + eps)"),
        "ε before the correction": Edit(
            "size = np.sqrt(second / (1 - betas[1] ** (steps + 1)))",
            "size = (np.sqrt(second) + eps) / math.sqrt(1 - betas[1] ** (steps + 1)) - eps",
        ),
        "no ε": Edit("(size + eps)", "np.maximum(size, 1e-300)"),
        "decay through the division only": Edit("if decoupled:", "if False:"),
        "decay always decoupled": Edit("if decoupled:", "if True:"),
        "decay ignored": Edit("(1 - rate * decay)", "1"),
        "decay without the rate": Edit("(1 - rate * decay)", "(1 - decay)"),
        "decay after the step": adam_by(
            lambda p, g, m, v, t, rate, b1, b2, eps, decay, decoupled: (
                lambda g: (
                    lambda m, v: (
                        (p - rate * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)) * (1 - rate * decay * decoupled),
                        (m, v, t),
                    )
                )(b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g)
            )(g if decoupled else g + decay * p)
        ),
        "L2 in the first moment alone": Edit(
            "(1 - betas[1]) * gradient**2",
            "(1 - betas[1]) * (gradient - (0 if decoupled else decay) * parameter) ** 2",
        ),
        "betas exchanged": Edit("first, second, steps = state", "first, second, steps = state\n    betas = betas[::-1]"),
        "the gradient not squared": Edit("gradient**2", "np.abs(gradient)"),
        "the mean square of all numbers": Edit("gradient**2", "(gradient**2).mean()"),
        "the largest second moment kept": adam_by(amsgrad),
        "steps not counted": Edit("(first, second, steps + 1)", "(first, second, steps)"),
        "written over its input": Edit("parameter = parameter * (1 - rate * decay)", "parameter *= 1 - rate * decay"),
        "moments written over": Edit(
            "first = betas[0] * first", "first *= 1.0\n    first += 1e-30\n    first = betas[0] * first"
        ),
        "another ε by default": lambda parameter, gradient, state, rate, betas=(0.9, 0.999), eps=1e-7, decay=0.0, decoupled=True: (
            adam_by(plain_adam)(parameter, gradient, state, rate, betas, eps, decay, decoupled)
        ),
        "L2 by default": lambda parameter, gradient, state, rate, betas=(0.9, 0.999), eps=1e-8, decay=0.0, decoupled=False: (
            adam_by(plain_adam)(parameter, gradient, state, rate, betas, eps, decay, decoupled)
        ),
        "a hundredth of decay by default": lambda p, g, s, rate, betas=(0.9, 0.999), eps=1e-8, decay=0.01, decoupled=True: (
            adam_by(plain_adam)(p, g, s, rate, betas, eps, decay, decoupled)
        ),
        "broadcast": Edit("not parameter.shape == gradient.shape == first.shape == second.shape or ", ""),
        "the second moment not looked at": Edit("== first.shape == second.shape", "== first.shape"),
        "a beta of 1 accepted": Edit("beta < 1", "beta <= 1"),
        "betas of 0 refused": Edit("0 <= beta", "0 < beta"),
        "the first beta alone looked at": Edit("for beta in betas", "for beta in betas[:1]"),
        "float64 for all": doubled(lambda *a, **k: adam_by(plain_adam)(*a, **k)),
    },
    "newton_schulz": {
        "not divided by the norm": Edit(SCALED, "x = matrix.copy()"),
        "divided by the largest number": Edit(NORMED, ""),
        "divided by the spectral norm": Edit("np.linalg.norm(x)", "np.linalg.norm(x, 2) if x.size else 0.0"),
        "ε beside the norm": Edit(SCALED, "x = matrix / (np.linalg.norm(matrix) + 1e-7)"),
        "the norm at least 1e-7": Edit(SCALED, "x = matrix / max(np.linalg.norm(matrix), 1e-7)"),
        "ε beside the largest number": Edit("(largest if largest > 0 else 1.0)", "(largest + 1e-30)"),
        "zeros divided by zero": Edit("(largest if largest > 0 else 1.0)", "largest"),
        "squares as they are": Edit(SCALED, "size = float(np.linalg.norm(matrix))\n    x = matrix / (size if size > 0 else 1.0)"),
        "squares in float64, whatever the dtype": Edit(
            SCALED, "size = float(np.linalg.norm(matrix.astype(np.float64)))\n    x = matrix / (size if size > 0 else 1.0)"
        ),
        "only what is large made small": Edit(SCALED, "x = matrix / max(float(np.linalg.norm(matrix)), 1.0)"),
        "the first number for the largest": Edit("np.abs(matrix).max(initial=0)", "np.abs(matrix.flat[0]) if matrix.size else 0"),
        "the largest of positive numbers": Edit("np.abs(matrix).max(initial=0)", "matrix.max(initial=0)"),
        "five steps whatever is asked": Edit("range(steps)", "range(5)"),
        "one step less": Edit("range(steps)", "range(steps - 1)"),
        "the tuned coefficients always": Edit(", coefficients\n", ", COEFFICIENTS\n"),
        "the convergent coefficients always": Edit(", coefficients\n", ", (15 / 8, -10 / 8, 3 / 8)\n"),
        "the convergent coefficients by default": lambda matrix, steps=5, coefficients=CONVERGENT: matrix_only(
            by_singular_values
        )(matrix, steps, coefficients),
        "cubic": Edit("(b * gram + c * gram @ gram)", "(b * gram)"),
        "entries for the matrix": Edit("(b * gram + c * gram @ gram) @ x", "b * x**3 + c * x**5"),
        "the gram matrix's entries squared": Edit("c * gram @ gram", "c * gram * gram"),
        "right for square matrices only": Edit("gram = x @ x.T", "gram = x.T @ x"),
        "right for symmetric matrices only": Edit("gram = x @ x.T", "gram = x @ x if x.shape[0] == x.shape[1] else x @ x.T"),
        "tall matrices returned transposed": matrix_only(
            lambda matrix, steps, coefficients: by_singular_values(
                matrix.T if len(matrix) > matrix.shape[1] else matrix, steps, coefficients
            )
        ),
        "the exact factor": matrix_only(
            lambda matrix, steps, coefficients: (lambda u, _, vt: u @ vt)(*np.linalg.svd(matrix, full_matrices=False))
        ),
        "the sign of each entry": matrix_only(lambda matrix, steps, coefficients: np.sign(matrix)),
        "stacks accepted": Edit("matrix.ndim != 2", "matrix.ndim < 2"),
        "looked at only where there is a step": Edit("matrix.ndim != 2", "matrix.ndim != 2 and steps > 0"),
        "vectors accepted": Edit("matrix.ndim != 2", "matrix.ndim > 2"),
        "float64 for all": doubled(matrix_only(by_singular_values)),
    },
    "warmup_cosine": {
        "the first rate 0": Edit("peak * (step + 1) / warmup", "peak * step / warmup"),
        "the peak one step late": Edit("peak * (step + 1) / warmup", "peak * (step + 1) / (warmup + 1)"),
        "no warmup": Edit("peak * (step + 1) / warmup", "peak"),
        "the cosine from step 0": Edit("(step - warmup) / (total - warmup)", "step / total"),
        "the cosine to total, counted from warmup": Edit("(step - warmup) / (total - warmup)", "(step - warmup) / total"),
        "down one step early": Edit("(step - warmup) / (total - warmup)", "(step - warmup) / max(total - warmup - 1, 1)"),
        "a straight line down": schedule_by(lambda x, peak, floor: floor + (peak - floor) * (1 - x)),
        "a quarter of a cosine": schedule_by(lambda x, peak, floor: floor + (peak - floor) * math.cos(math.pi * x / 2)),
        "down and up again": schedule_by(lambda x, peak, floor: floor + (peak - floor) * (1 + math.cos(2 * math.pi * x)) / 2),
        "rising again after total": Edit("if step >= total:", "if step >= total and total == warmup:"),
        "nothing after total": schedule_by(lambda x, peak, floor: max(floor, peak * (1 + math.cos(math.pi * x)) / 2)),
        "the floor added": Edit("floor + (peak - floor) *", "floor + peak *"),
        "the floor ignored": Edit("floor + (peak - floor) *", "peak *"),
        "the floor forgotten after total": Edit("return floor\n", "return 0.0\n"),
        "a warmup never below the floor": Edit("peak * (step + 1) / warmup", "max(floor, peak * (step + 1) / warmup)"),
        "a warmup from the floor": Edit("peak * (step + 1) / warmup", "floor + (peak - floor) * (step + 1) / warmup"),
        "no warmup divides by zero": Edit("if step < warmup:", "if step <= warmup:"),
        "warmup without descent refused": Edit("warmup <= total", "warmup < total"),
        "a negative step accepted": Edit("step < 0 or ", ""),
        "a negative warmup accepted": Edit("not 0 <= warmup <= total", "not warmup <= total"),
        "a warmup longer than the run accepted": Edit("not 0 <= warmup <= total", "not 0 <= warmup"),
    },
    "clip_by_global_norm": {
        "each gradient by its own norm": clip_by(
            lambda gradients, limit, norm: [scaled([g], limit, np.linalg.norm(g))[0] for g in gradients]
        ),
        "each number cut off": clip_by(lambda gradients, limit, norm: [np.clip(g, -limit, limit) for g in gradients]),
        "always as long as the limit": clip_by(lambda gradients, limit, norm: [g * (limit / (norm + 1e-6)) for g in gradients]),
        "no 1e-6": clip_by(lambda gradients, limit, norm: [g * min(1.0, limit / norm) if norm else g for g in gradients]),
        "the square of the norm": clip_by(scaled, lambda arrays: sum(float((a**2).sum()) for a in arrays)),
        "the norm of the first": clip_by(scaled, lambda arrays: float(np.linalg.norm(arrays[0])) if arrays else 0.0),
        "the largest number for the norm": clip_by(
            scaled, lambda arrays: max((float(np.abs(a).max(initial=0)) for a in arrays), default=0.0)
        ),
        "the sum of the norms": clip_by(scaled, lambda arrays: sum(float(np.linalg.norm(a)) for a in arrays)),
        "the mean square": clip_by(scaled, lambda arrays: math.sqrt(sum(float((a**2).mean()) for a in arrays if a.size))),
        "the norm after clipping": lambda gradients, limit: (lambda arrays, norm: (arrays, min(norm, limit)))(
            *clip_by(scaled)(gradients, limit)
        ),
        "squares as they are": Edit("unit = largest if largest > 0 else 1.0", "unit = 1.0"),
        "squares in the dtype of the gradient": Edit("gradient.astype(np.float64) / unit", "gradient / unit"),
        "zeros divided by zero": Edit("largest if largest > 0 else 1.0", "largest"),
        "no gradients, no maximum": Edit(", default=0.0", ""),
        "no numbers, no maximum": Edit("max(initial=0)", "max()"),
        "infinite numbers accepted": Edit(" or not all(np.isfinite(gradient).all() for gradient in gradients)", ""),
        "only NaN refused": Edit("np.isfinite(gradient)", "~np.isnan(gradient)"),
        "any limit accepted": Edit("not limit > 0 or ", ""),
        "an infinite limit refused": Edit("not limit > 0", "not 0 < limit < math.inf"),
        "written over its input": Edit(
            "return [gradient * factor for gradient in gradients], norm",
            "for gradient in gradients:\n        gradient *= factor\n    return list(gradients), norm",
        ),
        "the first gradient alone": clip_by(lambda gradients, limit, norm: [*scaled(gradients[:1], limit, norm), *gradients[1:]]),
        "one long vector": clip_by(
            lambda gradients, limit, norm: [np.concatenate([g.ravel() for g in scaled(gradients, limit, norm)])]
        ),
        "a tuple": clip_by(lambda gradients, limit, norm: tuple(scaled(gradients, limit, norm))),
        "float64 for all": doubled(clip_by(scaled)),
    },
    "initial_weights": {
        "inputs and outputs confused": weights_by(kaiming, lambda shape, fan: fan_of((shape[1], shape[0], *shape[2:]), fan)),
        "the kernel forgotten": weights_by(kaiming, lambda shape, fan: fan_of(shape[:2], fan)),
        "the first axis of the kernel alone": weights_by(kaiming, lambda shape, fan: fan_of(shape[:3], fan)),
        "always fan_in": weights_by(kaiming, lambda shape, fan: fan_of(shape, "fan_in")),
        "the sum for the average": weights_by(kaiming, lambda shape, fan: fan_of(shape, fan) * (1 + (fan == "average"))),
        "the average without the kernel": weights_by(
            kaiming, lambda shape, fan: fan_of(shape[:2] if fan == "average" else shape, fan)
        ),
        "the geometric mean": weights_by(
            kaiming,
            lambda shape, fan: (
                math.sqrt(fan_of(shape, "fan_in") * fan_of(shape, "fan_out")) if fan == "average" else fan_of(shape, fan)
            ),
        ),
        "the deviation for the bound": weights_by(lambda slope, n: math.sqrt(2 / (1 + slope**2) / n), fan_of),
        "the variance for the bound": weights_by(lambda slope, n: 6 / (1 + slope**2) / n, fan_of),
        "no gain for the ReLU": weights_by(lambda slope, n: math.sqrt(3 / n), fan_of),
        "the slope ignored": weights_by(lambda slope, n: math.sqrt(6 / n), fan_of),
        "the slope not squared": weights_by(lambda slope, n: math.sqrt(6 / ((1 + slope) * n)), fan_of),
        "a slope of √5 by default": lambda uniforms, fan="fan_in", slope=math.sqrt(5): weights_by(kaiming, fan_of)(
            uniforms, fan, slope
        ),
        "fan_out by default": lambda uniforms, fan="fan_out", slope=0.0: weights_by(kaiming, fan_of)(uniforms, fan, slope),
        "positive weights": Edit("(2 * uniforms - 1)", "uniforms"),
        "half as far": Edit("(2 * uniforms - 1)", "(uniforms - 0.5)"),
        "the wrong end first": Edit("(2 * uniforms - 1)", "(1 - 2 * uniforms)"),
        "another fan accepted": lambda uniforms, fan="fan_in", slope=0.0: weights_by(kaiming, fan_of)(
            uniforms, fan if fan in ("fan_out", "average") else "fan_in", slope
        ),
        "vectors accepted": lambda uniforms, fan="fan_in", slope=0.0: weights_by(kaiming, fan_of)(
            uniforms if uniforms.ndim > 1 else uniforms[:, None], fan, slope
        ).reshape(uniforms.shape),
        "float64 for all": lambda uniforms, fan="fan_in", slope=0.0: weights_by(kaiming, fan_of)(
            uniforms.astype(np.float64), fan, slope
        ),
    },
}


# --- right answers, written differently ----------------------------------------------------------------------------------


def entropy_by_torch(logits, targets, weights=None, smoothing=0.0):
    w = refuse(logits, targets, weights)
    if not 0 <= smoothing <= 1:
        raise ValueError("smoothing")
    with torch.enable_grad():
        z = torch.tensor(logits).requires_grad_()
        log_p = z.log_softmax(1)
        heavy = torch.tensor(w)
        q = heavy * ((1 - smoothing) * F.one_hot(torch.tensor(targets), len(w)).to(z.dtype) + smoothing / len(w))
        value = -torch.where(q > 0, q * log_p.where(q > 0, 0), 0).sum() / heavy[torch.tensor(targets)].sum()
        (gradient,) = torch.autograd.grad(value, z)
    return value.item(), gradient.numpy()


def entropy_by_loops(logits, targets, weights=None, smoothing=0.0):
    """Row by row, class by class, in Python's own numbers."""
    w = refuse(logits, targets, weights).tolist()
    if smoothing < 0 or smoothing > 1 or smoothing != smoothing:
        raise ValueError("smoothing")
    K, value, gradient = len(w), 0.0, np.zeros_like(logits)
    total = sum(w[y] for y in targets)
    for i, row in enumerate(logits.tolist()):
        top = max(row)
        lse = top + math.log(math.fsum(math.exp(z - top) for z in row))
        q = [w[k] * ((1 - smoothing) * (k == targets[i]) + smoothing / K) for k in range(K)]
        value -= sum(q[k] * (row[k] - lse) for k in range(K) if q[k]) / total
        for k in range(K):
            gradient[i, k] = (math.exp(row[k] - lse) * math.fsum(q) - q[k]) / total
    return value, gradient


def focal_with_expm1(logits, targets, weights=None, gamma=2.0):
    """1 − p without cancellation, and the factor drawn out in front."""
    w = refuse(logits, targets, weights)
    if gamma < 0 or gamma != gamma:
        raise ValueError("gamma")
    N = len(targets)
    log_p = special.log_softmax(logits, axis=1)
    right = log_p[range(N), targets]
    wrong = -np.expm1(right)
    ratio = np.divide(right, wrong, out=np.full_like(right, -1), where=wrong > 0)  # log p / (1 - p), -1 in the limit
    share = w[targets] / w[targets].sum()
    gradient = np.exp(log_p)
    gradient[range(N), targets] -= 1
    with np.errstate(invalid="ignore"):
        p = np.exp(right)
        slope = share * wrong**gamma * (1 - gamma * p * np.where(p > 0, ratio, 0))
    paid = share > 0
    return float(-(share * wrong**gamma * right)[paid].sum()), gradient * slope[:, None]


def focal_by_autograd(logits, targets, weights=None, gamma=2.0):
    w = refuse(logits, targets, weights)
    if not gamma >= 0:
        raise ValueError("gamma")
    low = float(np.finfo(logits.dtype).min) / 1e9  # in place of −∞: all else has its limit there
    with torch.enable_grad():
        z = torch.tensor(np.maximum(logits, low)).requires_grad_()
        right = F.cross_entropy(z, torch.tensor(targets), reduction="none")
        wrong = (1 - (-right).exp()).clamp(min=torch.finfo(z.dtype).tiny)
        share = torch.tensor(w)[torch.tensor(targets)]
        value = (share * wrong**gamma * right).sum() / share.sum()
        (gradient,) = torch.autograd.grad(value, z)
    return (INF if value > -low / 1e9 else value.item()), gradient.numpy()


def huber_by_torch(prediction, target, delta=1.0):
    if prediction.shape != target.shape or not prediction.size or not delta > 0:
        raise ValueError("shapes or delta")
    return by_torch(lambda x: F.huber_loss(x, torch.tensor(target), delta=delta), prediction)


def nesterov_by_two_looks(p, g, b, rate, mu, nesterov, decay):
    g = g + np.multiply(decay, p)
    n = g + np.multiply(mu, b)
    step = g + mu * (mu * b + g) if nesterov else n
    return np.subtract(p, np.multiply(rate, step)), n


def numbers_one_by_one(p, g, b, rate, mu, nesterov, decay):
    found, kept = np.empty_like(p), np.empty_like(b)
    for place in np.ndindex(p.shape):
        slope = g[place] + decay * p[place]
        kept[place] = mu * b[place] + slope
        found[place] = p[place] - rate * (slope + mu * kept[place] if nesterov else kept[place])
    return found, kept


def sgd_by_torch(p, g, b, rate, mu, nesterov, decay):
    leaf = torch.tensor(p)
    leaf.grad = torch.tensor(g)
    slope = g + decay * p
    if mu == 0:
        torch.optim.SGD([leaf], rate, weight_decay=decay).step()
        return leaf.numpy(), slope
    optimizer = torch.optim.SGD([leaf], rate, momentum=mu, nesterov=nesterov, weight_decay=decay)
    optimizer.state[leaf]["momentum_buffer"] = torch.tensor(b)
    optimizer.step()
    return leaf.numpy(), optimizer.state[leaf]["momentum_buffer"].numpy()


def plain_adam(p, g, m, v, t, rate, b1, b2, eps, decay, decoupled):
    g = g if decoupled else g + decay * p
    m, v = m + (1 - b1) * (g - m), b2 * v + (1 - b2) * g * g
    shrunk = p - rate * decay * p if decoupled else p
    return shrunk - rate * (m / (1 - b1**t)) / ((v / (1 - b2**t)) ** 0.5 + eps), (m, v, t)


def folded_adam(p, g, m, v, t, rate, b1, b2, eps, decay, decoupled):
    """The corrections folded into the rate and ε, as in the paper's remark."""
    if not decoupled:
        g = g + decay * p
    m, v = np.add(b1 * m, (1 - b1) * g), np.add(b2 * v, (1 - b2) * np.square(g))
    root = math.sqrt(1 - b2**t)
    step = m / (np.sqrt(v) + eps * root) * (rate * root / (1 - b1**t))
    return (p * (1 - rate * decay) if decoupled else p) - step, (m, v, t)


def adam_by_torch(p, g, m, v, t, rate, b1, b2, eps, decay, decoupled):
    leaf = torch.tensor(p)
    leaf.grad = torch.tensor(g)
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind([leaf], rate, betas=(b1, b2), eps=eps, weight_decay=decay)
    moments = {"step": torch.tensor(t - 1.0), "exp_avg": torch.tensor(m), "exp_avg_sq": torch.tensor(v)}
    optimizer.state[leaf] = moments
    optimizer.step()
    return leaf.numpy(), (moments["exp_avg"].numpy(), moments["exp_avg_sq"].numpy(), t)


def newton_schulz_transposed(matrix, steps, coefficients):
    """The smaller of both gram matrices, as torch has it."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    for size in (np.abs(x).max(initial=0), 0):
        size = size or np.sqrt((x * x).sum())
        x = x / (size if size > 0 else x.dtype.type(1))
    a, b, c = coefficients
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + b * gram @ x + c * gram @ (gram @ x)
    return np.ascontiguousarray(x.T) if tall else x


def newton_schulz_by_horner(matrix, steps, coefficients):
    exact = matrix.astype(np.longdouble)  # its exponents are longer: nothing overflows, nothing vanishes
    size = np.sqrt((exact**2).sum())
    x = matrix * 1.0 if size == 0 else (exact / size).astype(matrix.dtype)
    for _ in range(steps):
        right = x.T @ x
        inner = coefficients[1] * np.eye(len(right), dtype=x.dtype) + coefficients[2] * right
        x = x @ (coefficients[0] * np.eye(len(right), dtype=x.dtype) + right @ inner)
    return x


def newton_schulz_by_values(matrix, steps, coefficients):
    if not matrix.any():
        return np.zeros_like(matrix)
    return by_singular_values(matrix / np.abs(matrix).max(), steps, coefficients).astype(matrix.dtype)


def half_angle(x, peak, floor):
    return floor + (peak - floor) * math.cos(math.pi * x / 2) ** 2


def norm_by_largest(arrays):
    flat = np.concatenate([a.astype(np.float64).ravel() for a in arrays] or [np.zeros(0)])
    top = float(np.abs(flat).max(initial=0))
    return top * float(np.linalg.norm(flat / top)) if top else 0.0


def weights_by_interpolation(uniforms, fan="fan_in", slope=0.0):
    if fan not in ("fan_in", "fan_out", "average") or uniforms.ndim < 2:
        raise ValueError("fan")
    bound = kaiming(slope, fan_of(uniforms.shape, fan))
    return (-bound * (1 - uniforms) + bound * uniforms).astype(uniforms.dtype)


def weights_in_two_steps(uniforms, fan="fan_in", slope=0.0):
    if uniforms.ndim < 2:
        raise ValueError("no fans")
    places = uniforms[0, 0].size
    ins, outs = uniforms.shape[1] * places, uniforms.shape[0] * places
    if fan == "fan_in":
        n = ins
    elif fan == "fan_out":
        n = outs
    elif fan == "average":
        n = (ins + outs) / 2
    else:
        raise ValueError(fan)
    gain = math.sqrt(2 / (1 + slope**2))
    standard = (uniforms - 0.5) * math.sqrt(12)  # of variance 1
    return standard * (gain / math.sqrt(n))


VARIANTS = {
    "cross_entropy": {
        "SciPy": entropy_by(),
        "torch": entropy_by_torch,
        "loops": entropy_by_loops,
        "one-hot by comparison": Edit(
            "np.eye(K, dtype=logits.dtype)[targets]", "(np.arange(K) == targets[:, None]).astype(logits.dtype)"
        ),
    },
    "focal_loss": {
        "SciPy": focal_by(right_slope),
        "expm1": focal_with_expm1,
        "autograd": focal_by_autograd,
        "one-hot by comparison": Edit(
            "np.eye(logits.shape[1], dtype=logits.dtype)[targets]",
            "(np.arange(logits.shape[1]) == targets[:, None]).astype(logits.dtype)",
        ),
        "a floor under log p": Edit("np.where(p > 0, right, 0)", "np.maximum(right, np.finfo(logits.dtype).min)"),
    },
    "huber": {
        "two branches": huber_by(huber_value, huber_slope),
        "torch": huber_by_torch,
        "the smaller part squared": huber_by(
            lambda r, d: np.minimum(np.abs(r), d) ** 2 / 2 + d * np.maximum(np.abs(r) - d, 0),
            lambda r, d: np.sign(r) * np.minimum(np.abs(r), d) / r.size,
        ),
    },
    "sgd": {
        "two looks": sgd_by(nesterov_by_two_looks),
        "number by number": sgd_by(numbers_one_by_one),
        "torch": sgd_by(sgd_by_torch),
        "rate first": Edit("parameter - rate * along", "parameter + along * -rate"),
    },
    "adam": {
        "differences": adam_by(plain_adam),
        "folded into the rate": adam_by(folded_adam),
        "torch": adam_by(adam_by_torch),
        "products": Edit("gradient**2", "gradient * gradient"),
    },
    "newton_schulz": {
        "by a power of two": Edit(
            "x = matrix / (largest if largest > 0 else 1.0)", "x = np.ldexp(matrix, -np.frexp(largest)[1] + 1)"
        ),
        "the smaller gram matrix": matrix_only(newton_schulz_transposed),
        "Horner's rule on the right": matrix_only(newton_schulz_by_horner),
        "by singular values": matrix_only(newton_schulz_by_values),
    },
    "warmup_cosine": {
        "half the angle": schedule_by(half_angle),
        "in complex numbers": schedule_by(
            lambda x, peak, floor: (peak + floor) / 2 + (peak - floor) / 2 * (complex(-1) ** x).real
        ),
        "linear interpolation": schedule_by(
            lambda x, peak, floor: peak * (0.5 + 0.5 * math.cos(math.pi * x)) + floor * (0.5 - 0.5 * math.cos(math.pi * x))
        ),
        "up by differences": schedule_by(half_angle, up=lambda step, warmup: 1 - (warmup - 1 - step) / warmup),
    },
    "clip_by_global_norm": {
        "math.hypot": clip_by(scaled),
        "one long vector for the norm": clip_by(scaled, norm_by_largest),
        "two cases": clip_by(
            lambda gradients, limit, norm: (
                [g.copy() for g in gradients]
                if norm + 1e-6 <= limit
                else [(g * (limit / (norm + 1e-6))).astype(g.dtype) for g in gradients]
            )
        ),
    },
    "initial_weights": {
        "by a bound": weights_by(kaiming, fan_of),
        "between two ends": weights_by_interpolation,
        "of variance 1 first": weights_in_two_steps,
    },
}

SHAPE = "only the shape and the dtype of the logits are looked at there"
EQUAL = "the shapes are equal there, and a size belongs to a shape"
NOTHING = "it is multiplied by q, which is 0 there"
SHARE = "it is multiplied by the share, which is 0 there"
NEVER = "it is multiplied by p, which is 0 there"
ZEROS = "zeros divided by anything are zeros"
SET = "a set has no order"
SUM = "a maximum, a sum and `all` do not depend on the order"
EQUIVALENT = {
    "cross_entropy": {
        "argument ignored: checked(logits, targets, weights) -> checked(np.zeros_like(logits), targets, weights)": SHAPE,
        "constant: np.where(q > 0, log_p, 0) -> np.where(q > 0, log_p, 1)": NOTHING,
        "constant: np.where(q > 0, log_p, 0) -> np.where(q > 0, log_p, -1)": NOTHING,
    },
    "focal_loss": {
        "constant: np.where(share > 0, right, 0) -> np.where(share > 0, right, 1)": SHARE,
        "constant: np.where(share > 0, right, 0) -> np.where(share > 0, right, -1)": SHARE,
        "constant: np.where(p > 0, right, 0) -> np.where(p > 0, right, 1)": NEVER,
        "constant: np.where(p > 0, right, 0) -> np.where(p > 0, right, -1)": NEVER,
        "argument ignored: checked(logits, targets, weights) -> checked(np.zeros_like(logits), targets, weights)": SHAPE,
    },
    "huber": {
        "argument confused: prediction.size -> target.size": EQUAL,
        "argument ignored: prediction.size -> np.zeros_like(prediction).size": EQUAL,
    },
    "sgd": {
        "order: (parameter.shape, gradient.shape, buffer.shape) -> (gradient.shape, parameter.shape, buffer.shape)": SET,
        "order: (parameter.shape, gradient.shape, buffer.shape) -> (parameter.shape, buffer.shape, gradient.shape)": SET,
    },
    "adam": {"order: betas -> list(betas)[::-1]": SUM},
    "newton_schulz": {
        "constant: np.abs(matrix).max(initial=0) -> np.abs(matrix).max(initial=-1)": "magnitudes are never negative; of none, 1 is taken",
        "constant: largest if largest > 0 else 1.0 -> largest if largest > 0 else 2.0": ZEROS,
        "constant: largest if largest > 0 else 1.0 -> largest if largest > 0 else 0.5": ZEROS,
        "constant: max(float(np.linalg.norm(x)), 1.0) -> max(float(np.linalg.norm(x)), 0.5)": "the norm is 0 or at least 1",
        "operands: c * gram @ gram -> gram @ (c * gram)": "a number may stand anywhere in a product",
    },
    "warmup_cosine": {
        "operands: step - warmup -> warmup - step": "the cosine is even",
        "operands: total - warmup -> warmup - total": "the cosine is even",
    },
    "clip_by_global_norm": {
        "order: gradients -> list(gradients)[::-1]": SUM,
        "order: gradients -> list(gradients)[::-1] #2": SUM,
        "order: gradients -> list(gradients)[::-1] #3": SUM,
        "constant: np.abs(gradient).max(initial=0) -> np.abs(gradient).max(initial=-1)": "magnitudes are never negative; of none, 1 is taken",
        "constant: largest if largest > 0 else 1.0 -> largest if largest > 0 else 2.0": ZEROS,
        "constant: largest if largest > 0 else 1.0 -> largest if largest > 0 else 0.5": ZEROS,
    },
}
