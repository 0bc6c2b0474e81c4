"""What a right answer to convert/image_to_speech must do. Truths: torch.distributions, loops, scikit-learn's ridge regression, and the networks written out."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import Ridge
from torch.distributions import Normal
from torch.distributions import kl_divergence as torch_kl

from course.testing import Edit, assert_close, assert_finite, assert_true, raises

T = 64  # frames of a log-mel


@pytest.mark.stub("reparameterize")
@pytest.mark.parametrize("temperature", [None, 0.0, 0.6, 1.5])
def test_sample_is_mean_plus_scaled_deviation_times_noise(impl, draw, temperature):
    B, D = draw.batch(), draw.size()
    mu, logvar, noise = draw.normal(B, D), draw.normal(B, D), draw.normal(B, D)
    expected = mu + (1.0 if temperature is None else temperature) * torch.sqrt(torch.exp(logvar)) * noise
    given = (mu, logvar, noise) if temperature is None else (mu, logvar, noise, temperature)
    hint = "logvar is log σ²; the temperature scales the deviation, not the variance, and leaves the mean alone"
    assert_close(impl.reparameterize(*given), expected, hint=hint)


@pytest.mark.stub("reparameterize")
def test_gradient_reaches_mean_and_log_variance(impl, draw):
    B, D, temperature = draw.batch(), draw.size(), draw.number(0.3, 2)
    mu, logvar, noise, g = draw.normal(B, D), draw.normal(B, D), draw.normal(B, D), draw.normal(B, D)
    by_mu, by_logvar = impl.vjp("reparameterize", mu, logvar, noise, temperature, wrt=(0, 1), cotangent=g)
    assert_close(by_mu, g, what="the gradient of mu", hint="is mu detached?")
    expected = g * noise * temperature * 0.5 * torch.exp(logvar / 2)
    assert_close(by_logvar, expected, what="the gradient of logvar", hint="the encoder learns its deviation through this one")


@pytest.mark.stub("reparameterize")
@pytest.mark.parametrize("temperature", [-0.5, -1e-6, math.nan])
def test_a_temperature_below_zero_is_refused(impl, draw, temperature):
    x = draw.normal(3, draw.size(), 2)
    with raises(ValueError, hint="a negative temperature is a mistake, and NaN too: `not temperature >= 0` catches both"):
        impl.reparameterize(x[0], x[1], x[2], temperature)


@pytest.mark.stub("reparameterize")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_any_log_variance_is_legal(impl, precision):
    """Samples and gradients of narrow and wide Gaussians, the noise such that each lies about a unit from its mean."""
    dtype, size = getattr(torch, precision), torch.linspace(-1.5, 2, 5).double()
    logvar = torch.tensor([[-110, -30, 0, 30, 100] if dtype == torch.float32 else [-700, -100, 0, 100, 700]] * 2).double()
    noise, mu = size * torch.exp(-logvar / 2), torch.tensor([[0.5], [-1.0]]).double().expand(2, 5)
    given = [x.to(dtype) for x in (mu, logvar, noise)]
    hint = "no clamp, and σ = exp(½ log σ²): the root of a variance that underflows has an infinite slope, and one that overflows no number"
    assert_close(impl.reparameterize(*given), (mu + size).to(dtype), hint=hint, hint_for="values NaN")
    by_logvar = impl.vjp("reparameterize", *given, 0.5, wrt=1, cotangent=torch.ones(2, 5, dtype=dtype))
    expected = (0.25 * size).expand(2, 5).to(dtype)
    assert_close(by_logvar, expected, what="the gradient of logvar", hint=hint, hint_for="values NaN")


def kl_by_torch(mu, logvar, prior_mu, prior_logvar):
    return torch_kl(Normal(mu, torch.exp(logvar / 2)), Normal(prior_mu, torch.exp(prior_logvar / 2)))


@pytest.mark.stub("gaussian_kl")
def test_kl_equals_that_of_torch_distributions(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, logvar, prior_mu, prior_logvar = draw.normal(4, B, D)
    hint = "½ ((σ² + (μ − μₚ)²) / σₚ² − 1 − log(σ² / σₚ²)), posterior first, for each item and dimension: sum nothing yet"
    assert_close(impl.gaussian_kl(mu, logvar, prior_mu, prior_logvar), kl_by_torch(mu, logvar, prior_mu, prior_logvar), hint=hint)


@pytest.mark.stub("gaussian_kl")
def test_kl_of_a_gaussian_to_itself_is_zero(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, logvar = draw.normal(B, D, scale=3), draw.normal(B, D)
    hint = "equal Gaussians have no divergence, wherever they lie"
    assert_close(impl.gaussian_kl(mu, logvar, mu, logvar), torch.zeros_like(mu), hint=hint)


@pytest.mark.stub("gaussian_kl")
def test_kl_trains_posterior_and_prior(impl, draw):
    B, D = draw.batch(), draw.size()
    given, g = list(draw.normal(4, B, D)), draw.normal(B, D)
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_() for x in given]
        expected = torch.autograd.grad(kl_by_torch(*leaves), leaves, g)
    actual = impl.vjp("gaussian_kl", *given, wrt=(0, 1, 2, 3), cotangent=g)
    for name, a, e in zip(("mu", "logvar", "prior_mu", "prior_logvar"), actual, expected, strict=True):
        assert_close(
            a, e, what=f"the gradient of {name}", hint="a prior that depends on the condition learns as well: detach nothing"
        )


@pytest.mark.stub("gaussian_kl")
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_kl_of_narrow_and_wide_gaussians(impl, precision):
    dtype, most = getattr(torch, precision), 60.0 if precision == "float32" else 600.0
    pairs = [(-most, -most), (most, most), (-most, 0.0), (0.0, most), (-most / 2, most / 2), (0.0, 0.0)]
    logvar, prior_logvar = torch.tensor(pairs, dtype=torch.float64).T[:, None]
    apart = torch.linspace(0.5, 2, len(pairs)).double()[None]  # in deviations of the prior
    mu, prior_mu = apart * torch.exp(prior_logvar / 2), torch.zeros_like(apart)
    given = [x.to(dtype) for x in (mu, logvar, prior_mu, prior_logvar)]
    share = torch.exp(logvar - prior_logvar)
    expected = 0.5 * (share + apart.square() - 1 - (logvar - prior_logvar))
    hint = "no clamp and no epsilon; the ratio of variances is the exponential of a difference, and its logarithm that difference"
    assert_close(impl.gaussian_kl(*given), expected.to(dtype), hint=hint, hint_for="values NaN")
    cotangent = torch.ones(1, len(pairs), dtype=dtype)
    by_mu, by_logvar, by_prior = impl.vjp("gaussian_kl", *given, wrt=(0, 1, 3), cotangent=cotangent)
    by_mu = (by_mu.double() * torch.exp(prior_logvar / 2)).to(dtype)  # what is left is the distance in deviations
    for name, actual, truth in (
        ("mu", by_mu, apart), ("logvar", by_logvar, 0.5 * (share - 1)), ("prior_logvar", by_prior, 0.5 * (1 - share - apart.square())),
    ):  # fmt: skip
        assert_close(actual, truth.to(dtype), what=f"the gradient of {name}", hint=hint, hint_for="values NaN")


def free_bits_by_loop(kl, least):
    B, D = kl.shape
    return sum(max(sum(kl[b, d].item() for b in range(B)) / B, least) for d in range(D))


@pytest.mark.stub("free_bits")
def test_each_dimension_costs_its_mean_but_at_least_the_free_nats(impl, draw):
    B, D = draw.batch(), draw.size()
    kl = draw.normal(B, D).square() * draw.uniform(D, low=0.1, high=2)
    for least in (0.0, kl.mean(0).median().item() * draw.number(0.8, 1.2), draw.number(0.2, 1)):
        expected = torch.tensor(free_bits_by_loop(kl, least), dtype=torch.float64)
        hint = "mean over the batch first, then the maximum with λ for each dimension, then the sum over dimensions"
        assert_close(impl.free_bits(kl, least), expected, hint=hint)


@pytest.mark.stub("free_bits")
def test_a_dimension_below_its_free_nats_is_not_pushed(impl, draw):
    B, D = draw.batch(), draw.size(2)
    least = draw.number(0.3, 1)
    mean = torch.where(torch.arange(D) % 2 == 0, 0.5 * least, 2 * least)[draw.permutation(D)]
    spread = draw.uniform(B, D, low=0.2, high=1.8)
    kl = (
        spread / spread.mean(0) * mean
    )  # the mean of each column is exactly half or twice λ, single items lie on both sides of it
    expected = (mean > least).double().div(B).expand(B, D).contiguous()
    hint = "the mean decides, not the single item: a dimension below λ has no gradient, one above has 1 / B for every item"
    assert_close(impl.vjp("free_bits", kl, least, wrt=0), expected, hint=hint)


@pytest.mark.stub("negative_elbo")
@pytest.mark.parametrize("given", [{}, {"beta": 0.0}, {"beta": 7.0}, {"least": 0.8}, {"beta": 3.0, "least": 0.4}], ids=str)
def test_loss_is_summed_error_plus_weighted_kl(impl, draw, given):
    B, M, frames, D = draw.batch(), *draw.sizes(3, 2, 7)
    predicted, mels, kl = draw.normal(B, M, frames), draw.normal(B, M, frames), draw.normal(B, D).square()
    likelihood = Normal(predicted, 1.0).log_prob(mels).sum() / B + M * frames * 0.5 * math.log(2 * math.pi)
    expected = -likelihood + given.get("beta", 1.0) * free_bits_by_loop(kl, given.get("least", 0.0))
    hint = (
        "½ of the squared error summed over bands and frames and averaged over the batch only, plus β times free_bits(kl, least): "
        "with an error averaged over M·T elements, the KL is M·T times too strong"
    )
    assert_close(impl.negative_elbo(predicted, mels, kl, **given), expected, hint=hint)


@pytest.mark.stub("negative_elbo")
def test_loss_trains_decoder_and_posterior(impl, draw):
    B, M, frames, D = draw.batch(), *draw.sizes(3, 2, 7)
    predicted, mels, kl = draw.normal(B, M, frames), draw.normal(B, M, frames), draw.normal(B, D).square() + 0.2
    beta, g = draw.number(0.5, 5), torch.tensor(draw.number(0.5, 2), dtype=torch.float64)
    costly = torch.arange(D) % 2 == 1  # of the others each item, and so their mean, lies below λ = 0.1
    kl = torch.where(costly, kl, kl.clamp(max=1) * 0.05)
    by_predicted, by_kl = impl.vjp("negative_elbo", predicted, mels, kl, beta=beta, least=0.1, wrt=(0, 2), cotangent=g)
    assert_close(by_predicted, g * (predicted - mels) / B, what="the gradient of predicted", hint="the derivative of ½ (x̂ − x)²")
    hint = "β / B for each item of a dimension that costs more than λ on average, 0 for the others"
    assert_close(by_kl, (g * beta / B * costly).expand(B, D), what="the gradient of kl", hint=hint)


def standardised(features, held_out):
    x, y = features.numpy(), held_out.numpy()
    mean, deviation = x.mean(0), x.std(0)
    kept = deviation > 1e-6
    return (x[:, kept] - mean[kept]) / deviation[kept], (y[:, kept] - mean[kept]) / deviation[kept]


def ridge_scores(features, labels, held_out, classes, ridge=1e-3):
    """By scikit-learn, which sums where the course takes the mean: its alpha is N times ours."""
    x, y = standardised(features, held_out)
    onehot = np.eye(classes)[labels.numpy()]
    fitted = Ridge(alpha=ridge * len(x), solver="svd").fit(x, onehot)
    return torch.from_numpy(fitted.predict(y).reshape(len(y), classes))


def probed(draw, classes):
    """Features of N items that say something of their class, each on its own scale and around its own mean."""
    N, M, D = draw.integer(6, 20), draw.size(), draw.size(1, 4)
    labels = draw.integers(classes, (N,))
    scale, shift = 10 ** draw.uniform(D, low=-2, high=2), draw.normal(D, scale=5)
    features = (draw.normal(classes, D)[labels] + draw.normal(N, D)) * scale + shift
    return features, labels, draw.normal(M, D, scale=2) * scale + shift


@pytest.mark.stub("linear_probe")
def test_scores_are_those_of_a_ridge_regression(impl, draw):
    classes, ridge = draw.size(2, 6), draw.choice([None, 1e-6, 0.3, 4.0])
    features, labels, held_out = probed(draw, classes)
    given = {} if ridge is None else {"ridge": ridge}
    hint = "standardise with the statistics of `features` only, take the mean of the one-hot labels off and put it back; ρ counts per item"
    expected = ridge_scores(features, labels, held_out, classes, **given)
    assert_close(impl.linear_probe(features, labels, held_out, classes, **given), expected, tolerance=1e-7, hint=hint)


@pytest.mark.stub("linear_probe")
def test_probe_does_not_mind_units(impl, draw):
    features, labels, held_out = probed(draw, 3)
    factor, shift = 10 ** draw.number(-3, 3), draw.normal(features.shape[1], scale=3)
    expected = ridge_scores(features, labels, held_out, 3)
    actual = impl.linear_probe(features * factor + shift, labels, held_out * factor + shift, 3)
    assert_close(actual, expected, tolerance=1e-6, hint="in other units the latent holds the same: standardise each feature")


@pytest.mark.stub("linear_probe")
def test_a_collapsed_dimension_says_nothing(impl, draw):
    features, labels, held_out = probed(draw, 4)
    at, size = draw.integer(0, features.shape[1]), draw.choice((0.0, 1e-8))  # of what rounding leaves
    dead, unseen = draw.number(-2, 2) + size * draw.normal(len(features), 1), draw.normal(len(held_out), 1)
    wide = torch.cat([features[:, :at], dead, features[:, at:]], dim=1)
    wider = torch.cat([held_out[:, :at], unseen, held_out[:, at:]], dim=1)
    actual = impl.linear_probe(wide, labels, wider, 4)
    assert_finite(actual, hint="a constant feature has a deviation of 0: do not divide by it")
    assert_close(
        actual,
        ridge_scores(features, labels, held_out, 4),
        tolerance=1e-7,
        hint="what varies by 1e-6 or less is rounding: it counts as 0",
    )


@pytest.mark.stub("linear_probe")
def test_probe_keeps_the_dtype_of_its_features(impl, draw):
    N, M, D, classes = draw.integer(8, 20), draw.size(), draw.size(1, 4), draw.size(2, 5)
    features, held_out = draw.normal(N, D, dtype=torch.float32), draw.normal(M, D, dtype=torch.float32)
    labels = draw.integers(classes, (N,))
    expected = ridge_scores(features.double(), labels, held_out.double(), classes, 0.1).float()
    hint = "one-hot labels are integers: bring them to the dtype of the features"
    assert_close(
        impl.linear_probe(features, labels, held_out, classes, 0.1), expected, tolerance=1e-3, hint=hint, hint_for="values dtype"
    )


@pytest.mark.stub("linear_probe")
def test_a_class_that_never_comes_scores_zero(impl, draw):
    features, labels, held_out = probed(draw, 3)
    expected = ridge_scores(features, labels, held_out, 7)
    actual = impl.linear_probe(features, labels, held_out, 7)
    assert_close(actual, expected, tolerance=1e-7, hint="one column for each of `classes`, whichever of them occur")


@pytest.mark.stub("linear_probe")
def test_what_hardly_varies_and_what_lies_far_out(impl):
    labels, side = torch.tensor([0, 1, 0, 1, 1, 0]), torch.tensor([-1.0, 1, -1, 1, 1, -1]).double()[:, None]
    other = torch.tensor([0.3, -0.2, 0.9, 0.4, -1.0, 0.1]).double()[:, None]
    for spread, counts in ((9e-7, False), (1.1e-6, True)):
        x = torch.cat([other, spread * side], dim=1)
        expected = ridge_scores(x / (spread if counts else 1), labels, x / (spread if counts else 1), 2)
        hint = f"a feature with a deviation of {spread:g} {'counts in full' if counts else 'counts as 0'}: the bound is 1e-6"
        assert_close(impl.linear_probe(x, labels, x, 2), expected, tolerance=1e-6, hint=hint)
    x = torch.cat([other, side], dim=1)
    expected = ridge_scores(x, labels, x[:1], 2, 1.0)
    hint = "far from 0 a mean of squares less the square of a mean cancels: subtract the mean first"
    assert_close(
        impl.linear_probe(x + 1e7, labels, x[:1] + 1e7, 2, 1.0), expected, tolerance=1e-6, hint=hint, hint_for="values NaN"
    )
    hint = "a ridge of 0 is legal, and is not the default"
    assert_close(impl.linear_probe(x, labels, x[:1], 2, 0.0), ridge_scores(x, labels, x[:1], 2, 0.0), tolerance=1e-7, hint=hint)
    expected = torch.tensor([[0.5, 0.5, 0.0]] * 2).double()
    hint = "where nothing varies only the share of each class is known, and it may be a single item"
    assert_close(impl.linear_probe(x * 0 + 3, labels, x[:2], 3), expected, hint=hint, hint_for="values NaN")
    single = impl.linear_probe(x[:1], labels[1:2], x[:2], 3)
    assert_close(single, torch.tensor([[0.0, 1, 0]] * 2).double(), hint=hint, hint_for="values NaN")


def group_norm_silu(x, state, name, groups):
    return F.silu(F.group_norm(x, groups, state[f"{name}.weight"], state[f"{name}.bias"]))


def reference_condition(state, images):
    """The image encoder written out, its dropout off: (B, E). The window is read off the picture pixel by pixel."""
    ink = images.double()
    line = torch.arange(24, dtype=torch.float64) + 0.5
    mass = ink.sum((1, 2, 3))
    x, y = (ink.sum((1, 2)) * line).sum(1) / mass, (ink.sum((1, 3)) * line).sum(1) / mass
    cut = torch.zeros(len(ink), 1, 14, 14, dtype=torch.float64)
    padded = F.pad(ink, (24, 24, 24, 24))[:, 0]
    for b in range(len(ink)):
        top, left = y[b].item() - 7 + 24, x[b].item() - 7 + 24  # of the window, in the padded picture
        i, j = math.floor(top), math.floor(left)
        v, u = top - i, left - j
        patch = padded[b, i : i + 15, j : j + 15]
        rows = (1 - v) * patch[:-1] + v * patch[1:]
        cut[b, 0] = (1 - u) * rows[:, :-1] + u * rows[:, 1:]
    hidden = cut.float()
    for layer in (0, 4):
        weight, bias = (state[f"image_encoder.what.{layer}.{part}"] for part in ("weight", "bias"))
        hidden = group_norm_silu(F.conv2d(hidden, weight, bias, padding=1), state, f"image_encoder.what.{layer + 1}", 4)
        hidden = F.max_pool2d(hidden, 2)
    what = F.linear(hidden.flatten(1), state["image_encoder.what.10.weight"], state["image_encoder.what.10.bias"])
    centre = torch.stack([x, y], dim=1).float() / 12 - 1
    return torch.cat([what, 4 * centre], dim=1)


def reference_decoder(state, z, condition):
    """The decoder written out: log-mels (B, 48, 64)."""
    x = torch.cat([z, condition], dim=1) @ state["decoder_input.weight"].T + state["decoder_input.bias"]
    x = x.reshape(len(z), -1, T // 8)
    for block in range(3):
        name = f"decoder.{block}"
        x = group_norm_silu(x, state, f"{name}.grow.0", 8)
        x = F.conv_transpose1d(x, state[f"{name}.grow.2.weight"], state[f"{name}.grow.2.bias"], stride=2, padding=1)
        hidden = group_norm_silu(x, state, f"{name}.refine.0", 8)
        x = x + F.conv1d(hidden, state[f"{name}.refine.2.weight"], state[f"{name}.refine.2.bias"], padding=1)
    return F.conv1d(group_norm_silu(x, state, "decoder.3", 8), state["decoder.5.weight"], state["decoder.5.bias"], padding=2)


def with_random_weights(impl, draw, latent, condition, **config):
    model = impl.ImageToSpeech(impl.Config(latent=latent, condition=condition, channels=draw.choice((8, 16)), **config))
    state = draw.like(model.fresh_state())
    model.load_state_dict(state)
    model.eval()
    return model, state


@pytest.mark.stub("ImageToSpeech.decode")
def test_decode_feeds_latent_and_condition_to_the_decoder(impl, draw):
    B, (D, E) = draw.batch(), draw.sizes(2, 3, 8)
    model, state = with_random_weights(impl, draw, D, E)
    model.train()
    z, condition = draw.normal(B, D, dtype=torch.float32), draw.normal(B, E, dtype=torch.float32)
    hint = "the latent comes first, then the condition; the linear layer's output is (B, channels, 8), channels before frames"
    assert_close(model.decode(z, condition), reference_decoder(state, z, condition), tolerance=1e-4, hint=hint)


@pytest.mark.stub("ImageToSpeech.decode")
def test_gradient_flows_from_sound_to_latent_and_condition(impl, draw):
    B, (D, E) = draw.batch(), draw.sizes(2, 3, 8)
    model, state = with_random_weights(impl, draw, D, E)
    z, condition = draw.normal(B, D, dtype=torch.float32), draw.normal(B, E, dtype=torch.float32)
    g = draw.normal(B, 48, T, dtype=torch.float32)
    with torch.enable_grad():
        leaves = [z.clone().requires_grad_(), condition.clone().requires_grad_()]
        expected = torch.autograd.grad((reference_decoder(state, *leaves) * g).sum(), leaves)
    actual = model.vjp(z, condition, wrt=(0, 1), cotangent=g, method="decode")
    for name, a, e in zip(("z", "the condition"), actual, expected, strict=True):
        assert_close(
            a, e, tolerance=1e-4, what=f"the gradient of {name}", hint="both encoders learn through the decoder: detach nothing"
        )


@pytest.mark.stub("ImageToSpeech.sample")
@pytest.mark.parametrize("learned", [True, False], ids=["learned prior", "standard prior"])
@pytest.mark.parametrize("temperature", [None, 0.0, 0.7])
def test_sample_decodes_a_draw_from_the_prior(impl, draw, learned, temperature):
    B, (D, E) = draw.batch(), draw.sizes(2, 3, 8)
    model, state = with_random_weights(impl, draw, D, E, learned_prior=learned)
    images = draw.uniform(B, 1, 24, 24, dtype=torch.float32) ** 8  # nearly black, with its ink now here, now there
    noise = draw.normal(B, D, dtype=torch.float32)
    condition = reference_condition(state, images)
    mu, logvar = torch.zeros(B, D), torch.zeros(B, D)
    if learned:
        mu, logvar = (condition @ state["prior_head.weight"].T + state["prior_head.bias"]).chunk(2, dim=1)
    z = mu + (1.0 if temperature is None else temperature) * torch.exp(0.5 * logvar) * noise
    actual = model.sample(images, noise) if temperature is None else model.sample(images, noise, temperature)
    hint = "embed the picture, ask the prior (not the posterior, which needs the answer), reparameterise with the temperature, decode"
    assert_close(actual, reference_decoder(state, z, condition), tolerance=1e-3, hint=hint)


@pytest.mark.stub("ImageToSpeech.sample")
def test_a_model_in_training_stays_in_training(impl):
    model = impl.ImageToSpeech(impl.Config(latent=2, condition=3, channels=8))
    images, noise = torch.linspace(0, 1, 2 * 24 * 24).reshape(2, 1, 24, 24), torch.tensor([[0.5, -1.0], [1.0, 0.0]])
    moved = model.sample(images, noise)
    model.eval()
    hint = "who calls decides on the mode: neither `eval` nor `train` belongs in here"
    settled = model.sample(images, noise)
    assert_true((moved != settled).any(), "in training mode the dropout of the image encoder is at work", hint=hint)


def looped_kl(mu, logvar, prior_mu, prior_logvar):
    out = torch.zeros_like(mu)
    for d in range(mu.shape[1]):
        variance, prior = logvar[:, d].exp(), prior_logvar[:, d].exp()
        term = torch.log(prior.sqrt() / variance.sqrt()) + (variance + (mu[:, d] - prior_mu[:, d]) ** 2) / (2 * prior) - 0.5
        out = out + F.one_hot(torch.tensor(d, device=mu.device), mu.shape[1]) * term[:, None]
    return out


def kl_in_three_parts(mu, logvar, prior_mu, prior_logvar):
    spread = torch.expm1(logvar - prior_logvar) - (logvar - prior_logvar)
    return (spread + ((mu - prior_mu) / (prior_logvar / 2).exp()) ** 2) / 2


def summed_loss(predicted, mels, kl, *, beta=1.0, least=0.0):
    total = sum(0.5 * ((p - m) ** 2).sum() for p, m in zip(predicted, mels, strict=True)) / len(mels)
    return total + beta * torch.maximum(kl.mean(0), torch.full_like(kl[0], least)).sum()


def probe_by(x, labels, y, classes, ridge, *, ddof=0, mean_of_both=False, centred=True, intercept=True, scaled=True):
    """The probe with its parts to be left out; stacked least squares instead of the normal equations."""
    pool = torch.cat([x, y]) if mean_of_both else x
    mean, deviation = pool.mean(0), pool.std(0, correction=ddof)
    dead = deviation <= 1e-6
    deviation = torch.where(dead, 1.0, deviation) if scaled else torch.ones_like(deviation)
    a, b = (((part - mean if centred else part) / deviation).masked_fill(dead, 0) for part in (x, y))
    onehot = torch.eye(classes, dtype=x.dtype, device=x.device)[labels]
    share = onehot.mean(0) if intercept else torch.zeros(classes, dtype=x.dtype, device=x.device)
    penalty = (ridge * len(x)) ** 0.5 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    target = torch.cat([onehot - share, torch.zeros(x.shape[1], classes, dtype=x.dtype, device=x.device)])
    return b @ torch.linalg.lstsq(torch.cat([a, penalty]), target).solution + share


def probed_with(**parts):
    return lambda features, labels, held_out, classes, ridge=1e-3: probe_by(features, labels, held_out, classes, ridge, **parts)


def looped_probe(features, labels, held_out, classes, ridge=1e-3):
    """A class at a time, by the inverse; a dead feature is taken out instead of set to 0."""
    mean, deviation = features.mean(0), (features - features.mean(0)).square().mean(0).sqrt()
    kept = deviation > 1e-6
    x, y = ((part - mean)[:, kept] / deviation[kept] for part in (features, held_out))
    inverse = torch.linalg.inv(x.T @ x + len(x) * ridge * torch.eye(x.shape[1], dtype=x.dtype, device=x.device))
    columns = []
    for k in range(classes):
        is_k = (labels == k).to(x.dtype)
        columns.append(y @ (inverse @ (x.T @ (is_k - is_k.mean()))) + is_k.mean())
    return torch.stack(columns, dim=1)


FAKES = {
    "reparameterize": {
        "the mean, no noise": lambda mu, logvar, noise, temperature=1.0: mu,
        "logvar taken for log σ": Edit("0.5 * logvar", "logvar"),
        "logvar taken for σ": Edit("torch.exp(0.5 * logvar)", "logvar"),
        "the temperature on the variance": Edit("temperature * ", "temperature**0.5 * "),
        "the temperature on the whole sample": Edit(
            "mu + temperature * torch.exp(0.5 * logvar) * noise", "temperature * (mu + torch.exp(0.5 * logvar) * noise)"
        ),
        "the temperature ignored": Edit("temperature * ", ""),
        "noise of its own": Edit("* noise", "* torch.randn_like(noise)"),
        "σ detached": Edit("torch.exp(0.5 * logvar)", "torch.exp(0.5 * logvar).detach()"),
        "noise subtracted": Edit("mu + temp", "mu - temp"),
        "a square root of the variance": Edit("torch.exp(0.5 * logvar)", "logvar.exp().sqrt()"),
        "log-variances clamped": Edit("0.5 * logvar", "0.5 * logvar.clamp(-50, 50)"),
        "clamped from below": Edit("0.5 * logvar", "0.5 * logvar.clamp(min=-20)"),
        "NaN accepted": Edit("not temperature >= 0", "temperature < 0"),
        "zero refused": Edit("not temperature >= 0", "not temperature > 0"),
        "no check": Edit("not temperature >= 0", "False"),
    },
    "gaussian_kl": {
        "to N(0, I), whatever the prior": lambda mu, logvar, prior_mu, prior_logvar: (
            0.5 * (mu.square() + logvar.exp() - logvar - 1)
        ),
        "of the wrong direction": lambda mu, logvar, prior_mu, prior_logvar: looped_kl(prior_mu, prior_logvar, mu, logvar),
        "the distance not over σₚ²": Edit(" * torch.exp(-prior_logvar)", ""),
        "the distance over σ²": Edit("torch.exp(-prior_logvar)", "torch.exp(-logvar)"),
        "the distance over σₚ": Edit("torch.exp(-prior_logvar)", "torch.exp(-0.5 * prior_logvar)"),
        "the −1 forgotten": Edit(" - 1 - ", " - "),
        "the ½ forgotten": Edit("0.5 * (", "1.0 * ("),
        "an epsilon under the variance": Edit("torch.exp(-prior_logvar)", "1 / (prior_logvar.exp() + 1e-12)"),
        "log-variances clamped": Edit("log_ratio = logvar - prior_logvar", "log_ratio = (logvar - prior_logvar).clamp(-30, 30)"),
        "the logarithm of a ratio": Edit("1 - log_ratio", "1 - (logvar.exp() / prior_logvar.exp() + 1e-20).log()"),
        "the log-ratio added": Edit("- 1 - log_ratio", "- 1 + log_ratio"),
        "logvar taken for log σ": Edit("log_ratio = logvar - prior_logvar", "log_ratio = 2 * (logvar - prior_logvar)"),
        "averaged": Edit("return 0.5 * (", "return 0 * mu + 0.5 * torch.mean("),
        "the prior detached": Edit(
            "log_ratio = logvar - prior_logvar",
            "prior_mu, prior_logvar = prior_mu.detach(), prior_logvar.detach()\n    log_ratio = logvar - prior_logvar",
        ),
        "zeros": lambda mu, logvar, prior_mu, prior_logvar: 0 * mu,
    },
    "free_bits": {
        "the maximum for each item": lambda kl, least: kl.clamp(min=least).mean(0).sum(),
        "the maximum of the whole": lambda kl, least: kl.mean(0).sum().clamp(min=least),
        "the maximum of the sum, λ for each dimension": lambda kl, least: kl.mean(0).sum().clamp(min=least * kl.shape[1]),
        "averaged over dimensions": lambda kl, least: kl.mean(0).clamp(min=least).mean(),
        "summed over the batch": lambda kl, least: kl.sum(0).clamp(min=least).sum(),
        "λ taken off": lambda kl, least: (kl.mean(0) - least).clamp(min=0).sum(),
        "a cap, not a floor": lambda kl, least: kl.mean(0).clamp(max=least).sum(),
        "no free bits": lambda kl, least: kl.mean(0).sum(),
        "over the wrong axis": lambda kl, least: kl.mean(1).clamp(min=least).sum(),
        "cheap ones left out": lambda kl, least: torch.where(kl.mean(0) > least, kl.mean(0), 0.0).sum(),
        "still pushed below": lambda kl, least: kl.mean(0).sum() + (kl.mean(0).clamp(min=least) - kl.mean(0)).detach().sum(),
    },
    "negative_elbo": {
        "averaged over elements": Edit("/ len(mels)", "/ mels.numel()"),
        "averaged over frames": Edit("/ len(mels)", "/ (len(mels) * mels.shape[2])"),
        "averaged over bands": Edit("/ len(mels)", "/ (len(mels) * mels.shape[1])"),
        "summed over the batch": Edit(" / len(mels)", ""),
        "no ½": Edit("0.5 * squared", "1.0 * squared"),
        "the KL left out": Edit(" + beta * free_bits(kl, least)", ""),
        "a bound, not a loss": Edit("+ beta", "- beta"),
        "beta ignored": Edit("beta * ", ""),
        "the free nats ignored": Edit("free_bits(kl, least)", "free_bits(kl, 0.0)"),
        "beta on the error": Edit("0.5 * squared + beta *", "0.5 * beta * squared +"),
        "absolute errors": Edit("F.mse_loss", "F.l1_loss"),
        "the KL detached": Edit("free_bits(kl, least)", "free_bits(kl.detach(), least)"),
        "the KL per dimension": Edit("free_bits(kl, least)", "free_bits(kl, least) / kl.shape[1]"),
        "the free nats without a say in the gradient": Edit(
            "free_bits(kl, least)", "(kl.mean(dim=0).sum() + (free_bits(kl, least) - kl.mean(dim=0).sum()).detach())"
        ),
    },
    "linear_probe": {
        "scores by the labels' share": lambda features, labels, held_out, classes, ridge=1e-3: (
            torch.eye(classes, dtype=features.dtype)[labels].mean(0).expand(len(held_out), -1)
        ),
        "standardised with the held-out as well": probed_with(mean_of_both=True),
        "deviation by n - 1": probed_with(ddof=1),
        "not standardised": probed_with(scaled=False),
        "not centred": probed_with(centred=False),
        "no intercept": probed_with(intercept=False),
        "the ridge not per item": Edit("add_(ridge)", "add_(ridge / len(x))"),
        "no ridge": Edit("covariance.diagonal().add_(ridge)", "pass"),
        "held-out standardised by itself": Edit("(held_out - mean) / scale", "(held_out - held_out.mean(dim=0)) / scale"),
        "a small number added to the deviation": Edit(
            "scale = torch.where(deviation > 1e-6, deviation, torch.inf)", "scale = deviation + 1e-6"
        ),
        "divided by zero": Edit("scale = torch.where(deviation > 1e-6, deviation, torch.inf)", "scale = deviation"),
        "another bound": Edit("deviation > 1e-6", "deviation > 5e-7"),
        "a wider bound": Edit("deviation > 1e-6", "deviation > 1e-5"),
        "a ridge of 0 taken for none": Edit("add_(ridge)", "add_(ridge or 1e-3)"),
        "a mean of squares less the square of the mean": Edit(
            "deviation, mean = torch.std_mean(features, dim=0, correction=0)",
            "mean = features.mean(dim=0)\n    deviation = (features.square().mean(dim=0) - mean.square()).clamp(min=0).sqrt()",
        ),
        "as many classes as labels": Edit("F.one_hot(labels, classes)", "F.one_hot(labels)"),
        "probabilities": Edit(
            "return unseen @ weights + onehot.mean(dim=0)", "return (unseen @ weights + onehot.mean(dim=0)).softmax(dim=1)"
        ),
        "the class": Edit(
            "return unseen @ weights + onehot.mean(dim=0)",
            "return F.one_hot((unseen @ weights + onehot.mean(dim=0)).argmax(1), classes).to(x)",
        ),
        "the nearest mean": lambda features, labels, held_out, classes, ridge=1e-3: (
            -torch.stack([(held_out - features[labels == k].mean(0)).square().sum(1) for k in range(classes)], dim=1)
        ),
    },
    "ImageToSpeech.decode": {
        "the condition ignored": Edit("[z, condition]", "[z, 0 * condition]"),
        "the latent ignored": Edit("[z, condition]", "[0 * z, condition]"),
        "the condition first": Edit("[z, condition]", "[condition, z]"),
        "the latent detached": Edit("[z, condition]", "[z.detach(), condition]"),
        "the condition detached": Edit("[z, condition]", "[z, condition.detach()]"),
        "frames before channels": Edit(
            "hidden.unflatten(1, (self.config.channels, T // 8))", "hidden.unflatten(1, (T // 8, self.config.channels)).mT"
        ),
        "a hard-coded width": Edit("self.config.channels", "96"),
        "nothing below zero": lambda self, z, condition: F.relu(
            self.decoder(self.decoder_input(torch.cat([z, condition], 1)).unflatten(1, (-1, T // 8)))
        ),
    },
    "ImageToSpeech.sample": {
        "the prior ignored": Edit("reparameterize(mu, logvar, noise, temperature)", "temperature * noise"),
        "the temperature ignored": Edit("noise, temperature)", "noise)"),
        "noise of its own": Edit("logvar, noise, temp", "logvar, torch.randn_like(noise), temp"),
        "always the mean": Edit("reparameterize(mu, logvar, noise, temperature)", "mu + 0 * noise"),
        "the posterior of silence": Edit(
            "self.prior(condition)", "self.posterior(images.new_zeros(len(images), MELS, T), condition)"
        ),
        "the picture ignored": Edit("self.image_encoder(images)", "self.image_encoder(torch.ones_like(images))"),
        "the picture inverted": Edit("self.image_encoder(images)", "self.image_encoder(1 - images)"),
        "one voice for all": Edit("logvar, noise, temp", "logvar, noise[:1].expand_as(noise), temp"),
        "in evaluation mode from now on": Edit("self.image_encoder(images)", "self.eval().image_encoder(images)"),
        "in evaluation mode for now": lambda self, images, noise, temperature=1.0: calm_sample(self, images, noise, temperature),
    },
}

VARIANTS = {
    "reparameterize": {
        "a power of e": Edit("torch.exp(0.5 * logvar)", "math.e ** (logvar / 2)"),
        "addcmul": Edit(
            "mu + temperature * torch.exp(0.5 * logvar) * noise",
            "torch.addcmul(mu, (logvar / 2).exp(), noise, value=temperature)",
        ),
        "the noise scaled first": Edit(
            "mu + temperature * torch.exp(0.5 * logvar) * noise", "(temperature * noise) * (logvar / 2).exp() + mu"
        ),
    },
    "gaussian_kl": {
        "torch.distributions": kl_by_torch,
        "a loop": looped_kl,
        "expm1": kl_in_three_parts,
    },
    "free_bits": {
        "a maximum": lambda kl, least: torch.maximum(kl.mean(0), torch.tensor(least, dtype=kl.dtype, device=kl.device)).sum(),
        "relu": lambda kl, least: (F.relu(kl.mean(0) - least) + least).sum(),
        "a loop": lambda kl, least: sum(kl[:, d].sum().div(len(kl)).clamp_min(least) for d in range(kl.shape[1])),
        "where": lambda kl, least: torch.where(kl.mean(0) > least, kl.mean(0), torch.full_like(kl[0], least)).sum(),
    },
    "negative_elbo": {
        "a loop": summed_loss,
        "mse_loss": lambda predicted, mels, kl, *, beta=1.0, least=0.0: (
            F.mse_loss(predicted, mels, reduction="sum") / (2 * len(mels)) + beta * kl.mean(0).clamp(min=least).sum()
        ),
        "the mean times the number of elements": Edit(
            'F.mse_loss(predicted, mels, reduction="sum") / len(mels)', "F.mse_loss(predicted, mels) * mels[0].numel()"
        ),
        "einsum": Edit("0.5 * squared", 'torch.einsum("bmt,bmt->b", predicted - mels, predicted - mels).mean() / 2'),
    },
    "linear_probe": {
        "stacked least squares": probed_with(),
        "a class at a time": looped_probe,
        "labels less their mean": Edit("x.T @ onehot", "x.mT @ (onehot - onehot.mean(0))"),
        "a product with an inverse": Edit(
            "torch.linalg.solve(covariance, x.T @ onehot / len(x))", "torch.linalg.inv(covariance) @ x.T @ onehot / len(x)"
        ),
        "an identity": Edit(
            "covariance.diagonal().add_(ridge)", "covariance = covariance + ridge * torch.eye(x.shape[1]).to(x)"
        ),
    },
    "ImageToSpeech.decode": {
        "a view": Edit("hidden.unflatten(1, (self.config.channels, T // 8))", "hidden.view(len(z), -1, T // 8)"),
        "two products": Edit(
            "self.decoder_input(torch.cat([z, condition], dim=1))",
            "F.linear(z, self.decoder_input.weight[:, : z.shape[1]]) "
            "+ F.linear(condition, self.decoder_input.weight[:, z.shape[1] :], self.decoder_input.bias)",
        ),
        "hstack": Edit("torch.cat([z, condition], dim=1)", "torch.hstack((z, condition))"),
    },
    "ImageToSpeech.sample": {
        "by hand": lambda self, images, noise, temperature=1.0: sampled_by_hand(self, images, noise, temperature),
        "one line": Edit(
            "return self.decode(reparameterize(mu, logvar, noise, temperature), condition)",
            "return self.decode(z=mu + noise * temperature * logvar.div(2).exp(), condition=condition)",
        ),
        "the prior unpacked": Edit("reparameterize(mu, logvar, noise, temperature)", "reparameterize(*self.prior(condition), noise, temperature)"),
    },
}  # fmt: skip


def sampled_by_hand(self, images, noise, temperature):
    c = self.image_encoder(images)
    mean, logvar = self.prior(c)
    return self.decode(torch.normal(mean, 0.0) + temperature * logvar.exp().pow(0.5) * noise, c)


def calm_sample(self, images, noise, temperature):
    """The dropout is switched off, and back on."""
    mode = self.training
    result = sampled_by_hand(self.eval(), images, noise, temperature)
    self.train(mode)
    return result


# Data, noise and sampling: nothing learns through them. The probe is fitted in closed form.
NO_GRADIENT = {
    "reparameterize": ("noise",),
    "negative_elbo": ("mels",),
    "linear_probe": ("features", "held_out"),
    "ImageToSpeech.sample": ("self", "images", "noise"),
}

NO_AXIS = "an axis of size 1 in front broadcasts as none does"
EQUIVALENT = {
    "gaussian_kl": {"operands: mu - prior_mu -> prior_mu - mu": "the difference is squared"},
    "free_bits": {"keepdim: kl.mean(dim=0) -> kl.mean(dim=0, keepdim=True)": "the sum takes all axes"},
    "linear_probe": {
        "keepdim: onehot.mean(dim=0) -> onehot.mean(dim=0, keepdim=True)": NO_AXIS,
        "comparison: deviation > 1e-06 -> deviation >= 1e-06": "a drawn feature never varies by 1e-6 exactly",
    },
}
