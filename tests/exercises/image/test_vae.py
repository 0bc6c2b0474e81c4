"""What a right answer to image/vae must do. Truths: torch.distributions, and the decoder written out with `F`."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Binomial, Normal
from torch.distributions import kl_divergence as torch_kl

from course.testing import Edit, assert_close, assert_finite, assert_true

LEVELS = 16


@pytest.mark.stub("reparameterize")
def test_sample_is_mean_plus_deviation_times_noise(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, logvar, noise = draw.normal(B, D), draw.normal(B, D), draw.normal(B, D)
    expected = mu + torch.sqrt(torch.exp(logvar)) * noise
    assert_close(impl.reparameterize(mu, logvar, noise), expected, hint="logvar is log σ²: the deviation is exp(logvar / 2)")


@pytest.mark.stub("reparameterize")
def test_gradient_reaches_mean_and_log_variance(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, logvar, noise, g = draw.normal(B, D), draw.normal(B, D), draw.normal(B, D), draw.normal(B, D)
    by_mu, by_logvar = impl.vjp("reparameterize", mu, logvar, noise, wrt=(0, 1), cotangent=g)
    assert_close(by_mu, g, what="the gradient of mu", hint="is mu detached?")
    expected = g * noise * 0.5 * torch.exp(logvar / 2)
    assert_close(by_logvar, expected, what="the gradient of logvar", hint="the noise must multiply a function of logvar")


@pytest.mark.stub("reparameterize")
def test_follows_the_dtype_and_the_noise_it_is_given(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, noise = draw.normal(B, D, dtype=torch.float32), draw.normal(B, D, dtype=torch.float32)
    result = impl.reparameterize(mu, torch.full_like(mu, -60.0), noise)
    assert_close(result, mu, hint="with a vanishing variance the sample is the mean; draw no noise of your own")


@pytest.mark.stub("reparameterize")
def test_any_log_variance_gives_its_own_deviation(impl):
    noise = torch.tensor([[1.0, -2.0, 0.5]])
    for dtype, level in (
        (torch.float32, -110),
        (torch.float32, 100),
        (torch.float64, -60),
        (torch.float64, 60),
        (torch.float64, 1000),
    ):
        x, zeros = noise.to(dtype), torch.zeros(1, 3, dtype=dtype)
        logvar, expected = torch.full_like(zeros, level), x * math.exp(level / 2)
        what, hint = (
            f"the sample at a log σ² of {level}",
            "clamp nothing, and take exp(logvar / 2) at once: exp(logvar) is gone long before its root",
        )
        assert_close(impl.reparameterize(zeros, logvar, x), expected, what=what, hint=hint, hint_for="values NaN")
        slope = impl.vjp("reparameterize", zeros, logvar, x, wrt=1, cotangent=torch.ones_like(x))
        assert_close(slope, expected / 2, what=f"the gradient of a logvar of {level}", hint=hint, hint_for="values NaN")


@pytest.mark.stub("kl_divergence")
def test_equals_the_kl_of_torch_distributions(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, logvar = draw.normal(B, D), draw.normal(B, D)
    prior = Normal(torch.zeros_like(mu), torch.ones_like(mu))
    expected = torch_kl(Normal(mu, torch.exp(0.5 * logvar)), prior).sum(1)
    assert_close(impl.kl_divergence(mu, logvar), expected, hint="½ Σ (μ² + σ² − log σ² − 1), summed over the latent axis only")


@pytest.mark.stub("kl_divergence")
def test_kl_is_zero_at_the_prior(impl, draw):
    B, D = draw.batch(), draw.size(2)
    zeros = torch.zeros(B, D, dtype=torch.float64)
    assert_close(
        impl.kl_divergence(zeros, zeros), torch.zeros(B, dtype=torch.float64), hint="−1 for each latent: missing, or once only?"
    )


@pytest.mark.stub("kl_divergence")
def test_kl_gradient(impl, draw):
    B, D = draw.batch(), draw.size()
    mu, logvar, g = draw.normal(B, D), draw.normal(B, D), draw.normal(B)
    by_mu, by_logvar = impl.vjp("kl_divergence", mu, logvar, wrt=(0, 1), cotangent=g)
    assert_close(by_mu, g[:, None] * mu, what="the gradient of mu", hint="d KL / dμ = μ")
    expected = g[:, None] * (torch.exp(logvar) - 1) / 2
    assert_close(by_logvar, expected, what="the gradient of logvar", hint="d KL / d log σ² = (σ² − 1) / 2")


@pytest.mark.stub("kl_divergence")
def test_many_and_extreme_log_variances(impl):
    hint = "sum logarithms, never take the logarithm of a product, and clamp nothing: log σ² is `logvar` as it is"
    for dtype, level, D in (
        (torch.float32, 80, 2),
        (torch.float32, 160, 2),  # the variance is 0 in the first row, its logarithm is not
        (torch.float64, 600, 2),
        (torch.float64, 1400, 2),
        (torch.float64, 7, 256),
    ):
        logvar = torch.tensor([[-float(level)] * D, [level / 2] * D], dtype=dtype)
        mu = torch.tensor([[1000.0], [-2.0]], dtype=dtype).expand(2, D)
        expected = torch.tensor([sum(0.5 * (m * m + math.exp(v) - v - 1) for m, v in zip(*row, strict=True))
                                 for row in zip(mu.tolist(), logvar.tolist(), strict=True)], dtype=torch.float64)  # fmt: skip
        for i in range(2):
            what = f"the KL of {D} latents with a log σ² of {logvar[i, 0]:g}"
            actual = impl.kl_divergence(mu[i : i + 1], logvar[i : i + 1])
            assert_close(actual, expected[i : i + 1].to(dtype), what=what, hint=hint, hint_for="values NaN")
            slope = impl.vjp("kl_divergence", mu[i : i + 1], logvar[i : i + 1], wrt=1, cotangent=torch.ones(1, dtype=dtype))
            hint_of_slope = "d KL / d log σ² = (σ² − 1) / 2, however small or large σ² is"
            assert_close(
                slope,
                (logvar[i : i + 1].exp() - 1) / 2,
                what=f"the gradient of {what}",
                hint=hint_of_slope,
                hint_for="values NaN",
            )


@pytest.mark.stub("reconstruction_nll")
@pytest.mark.parametrize("pixels", ["flat", "image", "video"])
def test_equals_the_binomial_of_torch_distributions(impl, draw, pixels):
    axes = {
        "flat": lambda: [draw.size()],
        "image": lambda: [1, *draw.sizes(2, 2, 5)],
        "video": lambda: [2, 1, *draw.sizes(2, 2, 4)],
    }
    shape = (draw.batch(), *axes[pixels]())
    logits, counts = draw.normal(*shape, scale=3), draw.integers(LEVELS + 1, shape).double()
    expected = -Binomial(LEVELS, logits=logits).log_prob(counts).flatten(1).sum(1)
    hint = "k of n = 16 cells inked: the binomial coefficient, k log p and (n − k) log(1 − p), summed over all pixels of an item"
    assert_close(impl.reconstruction_nll(logits, counts), expected, hint=hint)


@pytest.mark.stub("reconstruction_nll")
def test_probabilities_of_all_counts_sum_to_one(impl, draw):
    counts = torch.arange(LEVELS + 1, dtype=torch.float64)[:, None]
    logits = draw.normal(1, 1, scale=2).expand(LEVELS + 1, 1)
    total = torch.exp(-impl.reconstruction_nll(logits, counts)).sum()
    assert_close(
        total, 1.0, what="Σ p(k)", hint="a likelihood sums to one: is the binomial coefficient there, is the sign right?"
    )


@pytest.mark.stub("reconstruction_nll")
def test_survives_certain_logits(impl):
    logits = torch.tensor([[200.0, -200.0, 150.0], [-300.0, 200.0, -90.0]])
    counts = torch.tensor([[16.0, 0.0, 9.0], [3.0, 5.0, 0.0]])
    result = impl.reconstruction_nll(logits, counts)
    assert_finite(result, hint="log(sigmoid(x)) is log(0) for large −x: use F.logsigmoid")
    expected = -Binomial(LEVELS, logits=logits.double()).log_prob(counts.double()).sum(1).float()
    assert_close(result, expected, hint="clamping the probability changes the loss: use F.logsigmoid")
    alone = impl.reconstruction_nll(logits[1:], counts[1:])
    assert_close(alone, expected[1:], what="the result of an item alone", hint="n is 16, whatever counts a batch holds")
    slope = impl.vjp("reconstruction_nll", logits, counts, wrt=0, cotangent=torch.ones(2))
    hint = "d / d logit = n·p − k is a finite number for any logit: no 0 · ∞ on the way back, and nothing clamped"
    assert_close(slope, LEVELS * torch.sigmoid(logits) - counts, what="the gradient", hint=hint, hint_for="values NaN")


@pytest.mark.stub("reconstruction_nll")
def test_nll_gradient(impl, draw):
    B, N = draw.batch(), draw.size()
    logits, counts, g = draw.normal(B, N), draw.integers(LEVELS + 1, (B, N)).double(), draw.normal(B)
    expected = g[:, None] * (LEVELS * torch.sigmoid(logits) - counts)
    assert_close(impl.vjp("reconstruction_nll", logits, counts, wrt=0, cotangent=g), expected, hint="d / d logit = n·p − k")


@pytest.mark.stub("elbo")
@pytest.mark.parametrize("beta", [None, 0.0, 4.0])
def test_elbo_is_minus_reconstruction_minus_weighted_kl(impl, draw, beta):
    B, N, D = draw.batch(), draw.size(), draw.size()
    logits, counts = draw.normal(B, N), draw.integers(LEVELS + 1, (B, N)).double()
    mu, logvar = draw.normal(B, D), draw.normal(B, D)
    kl = torch_kl(Normal(mu, torch.exp(0.5 * logvar)), Normal(torch.zeros_like(mu), torch.ones_like(mu))).sum(1)
    expected = Binomial(LEVELS, logits=logits).log_prob(counts).sum(1) - (1.0 if beta is None else beta) * kl
    actual = impl.elbo(logits, counts, mu, logvar) if beta is None else impl.elbo(logits, counts, mu, logvar, beta=beta)
    assert_close(
        actual, expected, hint="a bound to be raised, per item: log-likelihood minus β times KL, both summed not averaged"
    )


@pytest.mark.stub("elbo")
def test_elbo_gradient(impl, draw):
    B, N, D = draw.batch(), draw.size(), draw.size()
    logits, counts = draw.normal(B, N), draw.integers(LEVELS + 1, (B, N)).double()
    mu, logvar, g, beta = draw.normal(B, D), draw.normal(B, D), draw.normal(B), draw.number(0.5, 4)
    by_logits, by_mu, by_logvar = impl.vjp("elbo", logits, counts, mu, logvar, beta=beta, wrt=(0, 2, 3), cotangent=g)
    hint = "the decoder learns through logits, the encoder through mu and logvar: is one of them detached?"
    assert_close(by_logits, g[:, None] * (counts - LEVELS * torch.sigmoid(logits)), what="the gradient of logits", hint=hint)
    assert_close(by_mu, -beta * g[:, None] * mu, what="the gradient of mu", hint=hint)
    expected = -beta * g[:, None] * (torch.exp(logvar) - 1) / 2
    assert_close(by_logvar, expected, what="the gradient of logvar", hint=hint)


@pytest.mark.stub("elbo")
def test_elbo_survives_certain_logits_and_vanishing_variances(impl):
    logits, counts = torch.tensor([[200.0, -200.0], [-150.0, 90.0]]), torch.tensor([[16.0, 0.0], [2.0, 16.0]])
    mu, logvar = torch.tensor([[0.5, -1.0], [0.0, 2.0]]), torch.tensor([[-120.0, 0.0], [5.0, -60.0]])
    kl = 0.5 * (mu.double().square() + logvar.double().exp() - logvar.double() - 1).sum(1)
    for beta in (1, 2.5):
        expected = Binomial(LEVELS, logits=logits.double()).log_prob(counts.double()).sum(1) - beta * kl
        hint = "call reconstruction_nll and kl_divergence: both are finite where a probability or a variance is not"
        assert_close(impl.elbo(logits, counts, mu, logvar, beta), expected.float(), hint=hint, hint_for="values NaN")


def reference_decoder(state, z, labels):
    """The decoder written out: logits (B, 1, 8, 8)."""
    x = torch.cat([z, torch.eye(10, dtype=z.dtype)[labels]], dim=1)
    x = x @ state["decoder_input.weight"].T + state["decoder_input.bias"]
    x = F.silu(x.reshape(len(z), -1, 2, 2))
    x = F.silu(F.conv_transpose2d(x, state["decoder.1.weight"], state["decoder.1.bias"], stride=2, padding=1))
    x = F.silu(F.conv_transpose2d(x, state["decoder.3.weight"], state["decoder.3.bias"], stride=2, padding=1))
    return F.conv2d(x, state["decoder.5.weight"], state["decoder.5.bias"], padding=1)


def model_with_random_weights(impl, draw, latent):
    model = impl.VAE(impl.Config(latent=latent, channels=draw.size(1, 5)))
    state = draw.like(model.fresh_state())
    model.load_state_dict(state)
    return model, state


@pytest.mark.stub("VAE.decode")
def test_decode_feeds_latent_and_class_to_the_decoder(impl, draw):
    B, D = draw.batch(), draw.size()
    model, state = model_with_random_weights(impl, draw, D)
    z, labels = draw.normal(B, D, dtype=torch.float32), draw.integers(10, (B,))
    hint = "the latent comes first, then the one-hot class; return logits, without a sigmoid"
    assert_close(model.decode(z, labels), reference_decoder(state, z, labels), tolerance=1e-4, hint=hint)


@pytest.mark.stub("VAE.decode")
def test_labels_need_not_show_all_classes(impl, draw):
    model, state = model_with_random_weights(impl, draw, 2)
    z = draw.normal(2, 2, dtype=torch.float32)
    for labels in (torch.tensor([0, 0]), torch.tensor([4, 2])):
        hint = "there are ten classes, whichever of them a batch holds"
        assert_close(model.decode(z, labels), reference_decoder(state, z, labels), tolerance=1e-4, hint=hint)


@pytest.mark.stub("VAE.decode")
def test_decode_depends_on_the_class(impl, draw):
    model, _ = model_with_random_weights(impl, draw, 3)
    z = draw.normal(1, 3, dtype=torch.float32).expand(10, 3)
    images = model.decode(z, torch.arange(10))
    distances = torch.pdist(images.flatten(1))
    assert_true(distances.min() > 1e-4, "two classes decode to the same image", hint="is the label used?")


@pytest.mark.stub("VAE.decode")
def test_gradient_flows_from_image_to_latent(impl, draw):
    B, D = draw.batch(), draw.size()
    model, state = model_with_random_weights(impl, draw, D)
    z, labels = draw.normal(B, D, dtype=torch.float32), draw.integers(10, (B,))
    g = draw.normal(B, 1, 8, 8, dtype=torch.float32)
    with torch.enable_grad():
        leaf = z.clone().requires_grad_()
        (expected,) = torch.autograd.grad((reference_decoder(state, leaf, labels) * g).sum(), leaf)
    actual = model.vjp(z, labels, wrt=0, cotangent=g, method="decode")
    assert_close(actual, expected, tolerance=1e-4, hint="the encoder learns through this gradient")


@pytest.mark.stub("VAE.interpolate")
def test_walk_is_evenly_spaced_on_the_straight_line(impl, draw):
    B, D, S = draw.batch(), draw.size(), draw.size(2, 6)
    model, state = model_with_random_weights(impl, draw, D)
    start, end = draw.normal(2, B, D, dtype=torch.float32)
    labels = draw.integers(10, (B,))
    steps = [reference_decoder(state, start + (end - start) * i / (S - 1), labels) for i in range(S)]
    expected = torch.sigmoid(torch.stack(steps))
    hint = (
        "both ends included, evenly spaced on a straight line of latents (no circle, not in pixels); a sigmoid for ink in [0, 1]"
    )
    assert_close(model.interpolate(start, end, labels, S), expected, tolerance=1e-4, hint=hint)


@pytest.mark.stub("VAE.interpolate")
def test_walk_of_one_step_is_the_start(impl, draw):
    B, D = draw.batch(), draw.size()
    model, state = model_with_random_weights(impl, draw, D)
    start, end = draw.normal(2, B, D, dtype=torch.float32)
    labels = draw.integers(10, (B,))
    expected = torch.sigmoid(reference_decoder(state, start, labels))[None]
    assert_close(
        model.interpolate(start, end, labels, 1), expected, tolerance=1e-4, hint="divide by steps − 1 only where there is one"
    )


@pytest.mark.stub("VAE.interpolate")
def test_walk_follows_the_dtype_of_its_ends(impl, draw):
    B, D, S = draw.batch(), draw.size(), draw.choice((4, 6, 7))  # not 5: float32 holds quarters exactly
    model = impl.VAE(impl.Config(latent=D, channels=2))
    model.double()
    state = draw.like(model.fresh_state())
    model.load_state_dict(state)
    start, end = draw.normal(2, B, D, scale=3)
    labels = draw.integers(10, (B,))
    steps = [reference_decoder(state, start + (end - start) * i / (S - 1), labels) for i in range(S)]
    hint = "weights in float32 are off by 1e-8 where the latents are in float64"
    assert_close(
        model.interpolate(start, end, labels, S), torch.sigmoid(torch.stack(steps)), hint=hint, hint_for="values dtype precision"
    )


def mean_kl(mu, logvar):
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).mean(1)


def nll_of_sigmoid(logits, counts):
    p = torch.sigmoid(logits)
    choose = torch.lgamma(counts * 0 + 17) - torch.lgamma(counts + 1) - torch.lgamma(17 - counts)
    return -(choose + counts * torch.log(p) + (16 - counts) * torch.log(1 - p)).flatten(1).sum(1)


def nll_terms(logits, counts):
    """Of each pixel, by logarithms of probabilities that may be 0: that of a certain logit has no number for a slope."""
    p = torch.sigmoid(logits)
    choose = math.lgamma(17) - torch.lgamma(counts + 1) - torch.lgamma(17 - counts)
    return -(choose + counts * torch.log(p) + (16 - counts) * torch.log(1 - p))


def stable_terms(logits, counts):
    choose = math.lgamma(17) - torch.lgamma(counts + 1) - torch.lgamma(17 - counts)
    return -(choose + counts * F.logsigmoid(logits) + (16 - counts) * F.logsigmoid(-logits))


def slerp(self, start, end, labels, steps):
    cosine = F.cosine_similarity(start, end, dim=1).clamp(-1 + 1e-6, 1 - 1e-6)[:, None]
    angle, images = torch.arccos(cosine), []
    for w in torch.linspace(0, 1, steps, dtype=start.dtype):
        z = (torch.sin((1 - w) * angle) * start + torch.sin(w * angle) * end) / torch.sin(angle)
        images.append(torch.sigmoid(self.decode(z, labels)))
    return torch.stack(images)


FAKES = {
    "reparameterize": {
        "the mean, no noise": lambda mu, logvar, noise: mu,
        "logvar taken for log σ": lambda mu, logvar, noise: mu + logvar.exp() * noise,
        "logvar taken for σ": lambda mu, logvar, noise: mu + logvar * noise,
        "noise of its own": lambda mu, logvar, noise: mu + (0.5 * logvar).exp() * torch.randn_like(mu),
        "σ detached": lambda mu, logvar, noise: mu + (0.5 * logvar).exp().detach() * noise,
        "noise subtracted": lambda mu, logvar, noise: mu - (0.5 * logvar).exp() * noise,
        "sampled without a gradient": lambda mu, logvar, noise: (mu + (0.5 * logvar).exp() * noise).detach(),
        "the root of a variance that is gone": lambda mu, logvar, noise: mu + logvar.exp().sqrt() * noise,
        "the log-variance clamped": lambda mu, logvar, noise: mu + (0.5 * logvar.clamp(-50, 50)).exp() * noise,
        "a variance kept from 0": lambda mu, logvar, noise: mu + ((0.5 * logvar).exp() + 1e-12) * noise,
    },
    "kl_divergence": {
        "averaged over the latent": mean_kl,
        "summed over the batch too": lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(),
        "summed over the wrong axis": lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(0),
        "averaged over the latent, summed over the batch": lambda mu, logvar: mean_kl(mu, logvar).sum(),
        "the −1 taken off once": lambda mu, logvar: 0.5 * ((mu.square() + logvar.exp() - logvar).sum(1) - 1),
        "the −1 forgotten": lambda mu, logvar: 0.5 * (mu.square() + logvar.exp() - logvar).sum(1),
        "the ½ forgotten": lambda mu, logvar: (mu.square() + logvar.exp() - logvar - 1).sum(1),
        "the sign turned": lambda mu, logvar: -0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(1),
        "logvar taken for log σ": lambda mu, logvar: 0.5 * (mu.square() + (2 * logvar).exp() - 2 * logvar - 1).sum(1),
        "zeros": lambda mu, logvar: torch.zeros_like(mu[:, 0]),
        "the logarithm of a product": lambda mu, logvar: (
            0.5 * ((mu.square() + logvar.exp() - 1).sum(1) - logvar.exp().prod(1).log())
        ),
        "the log-variance clamped": lambda mu, logvar: (
            0.5 * (mu.square() + logvar.clamp(-30, 30).exp() - logvar.clamp(-30, 30) - 1).sum(1)
        ),
        "a logarithm that is kept from −∞": lambda mu, logvar: (
            0.5 * (mu.square() + logvar.exp() - (logvar.exp() + 1e-30).log() - 1).sum(1)
        ),
        "the variance first, its logarithm afterwards": lambda mu, logvar: (
            0.5 * (mu.square() + logvar.exp() - logvar.exp().log() - 1).sum(1)
        ),
        "the same in float64": lambda mu, logvar: (
            0.5 * (mu.square() + logvar.exp() - logvar.double().exp().log().to(mu) - 1).sum(1)
        ),
        "the deviation first, in torch.distributions": lambda mu, logvar: torch_kl(
            Normal(mu, (logvar / 2).exp(), validate_args=False), Normal(torch.zeros_like(mu), torch.ones_like(mu))
        ).sum(-1),
        "of the wrong direction": lambda mu, logvar: 0.5 * ((mu.square() + 1) / logvar.exp() + logvar - 1).sum(1),
    },
    "reconstruction_nll": {
        "log of a sigmoid": nll_of_sigmoid,
        "clamped": lambda logits, counts: nll_of_sigmoid(logits.clamp(-10, 10), counts),
        "right forwards, NaN backwards": lambda logits, counts: (
            torch.where(logits.abs() < 30, nll_terms(logits, counts), stable_terms(logits, counts)).flatten(1).sum(1)
        ),
        "n of the largest count": lambda logits, counts: (
            (
                F.binary_cross_entropy_with_logits(logits, counts / counts.max(), reduction="none") * counts.max()
                - torch.lgamma(counts.max() + 1)
                + torch.lgamma(counts + 1)
                + torch.lgamma(counts.max() - counts + 1)
            )
            .flatten(1)
            .sum(1)
        ),
        "pictures alone": Edit(".flatten(1).sum(dim=1)", ".flatten(1, 3 if counts.ndim > 3 else 1).sum(dim=1)"),
        "without the coefficient": Edit("log_choose + counts", "counts"),
        "blank cells forgotten": Edit(" + (n - counts) * F.logsigmoid(-logits)", ""),
        "averaged over pixels": Edit(".sum(dim=1)", ".mean(dim=1)"),
        "squared error": lambda logits, counts: (torch.sigmoid(logits) * 16 - counts).square().flatten(1).sum(1),
        "a Bernoulli of the share of ink": lambda logits, counts: (
            F.binary_cross_entropy_with_logits(logits, counts / 16, reduction="none").flatten(1).sum(1)
        ),
        "a likelihood, not its negative": Edit("return -log", "return log"),
        "summed over the last axis only": Edit(".flatten(1).sum(dim=1)", ".sum(dim=-1)"),
    },
    "elbo": {
        "the KL added": Edit("- beta *", "+ beta *"),
        "the KL left out": Edit(" - beta * kl_divergence(mu, logvar)", ""),
        "beta ignored": Edit("beta * ", ""),
        "the variance first, its logarithm afterwards": Edit(
            "kl_divergence(mu, logvar)", "0.5 * (mu.square() + logvar.exp() - logvar.exp().log() - 1).sum(1)"
        ),
        "a loss, not a bound": lambda logits, counts, mu, logvar, beta=1.0: (
            nll_of_sigmoid(logits, counts) + beta * mean_kl(mu, logvar) * mu.shape[1]
        ),
        "averaged over the batch": lambda logits, counts, mu, logvar, beta=1.0: (
            (Binomial(16, logits=logits).log_prob(counts).flatten(1).sum(1) - beta * looped_kl(mu, logvar))
            .mean()
            .expand(len(mu) + 1)[1:]
            + 0 * mu.sum(1)
        ),
        "parts of its own, by way of probabilities": lambda logits, counts, mu, logvar, beta=1.0: (
            -nll_of_sigmoid(logits, counts) - beta * looped_kl(mu, logvar)
        ),
        "only a beta of at most 1 weighs": Edit("beta * ", "min(beta, 1.0) * "),
        "the KL per pixel": Edit("kl_divergence(mu, logvar)", "kl_divergence(mu, logvar) / counts[0].numel()"),
        "beta on the reconstruction": Edit(
            "-reconstruction_nll(logits, counts) - beta *", "-beta * reconstruction_nll(logits, counts) -"
        ),
    },
    "VAE.decode": {
        "the class ignored": Edit("onehot], dim=1)", "0 * onehot], dim=1)"),
        "the class before the latent": Edit("[z, onehot]", "[onehot, z]"),
        "a sigmoid too many": Edit("return self.decoder(hidden)", "return torch.sigmoid(self.decoder(hidden))"),
        "the latent detached": Edit("[z, onehot]", "[z.detach(), onehot]"),
        "a hard-coded width": Edit("(-1, 2, 2)", "(128, 2, 2)"),
        "classes counted in the batch": Edit(
            "F.one_hot(labels, digits.CLASSES)", "F.pad(F.one_hot(labels), (9 - int(labels.max()), 0))"
        ),
        "space before channels": Edit(".unflatten(1, (-1, 2, 2))", ".unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2)"),
    },
    "VAE.interpolate": {
        "in pixel space": lambda self, start, end, labels, steps: torch.stack(
            [
                torch.lerp(torch.sigmoid(self.decode(start, labels)), torch.sigmoid(self.decode(end, labels)), w)
                for w in torch.linspace(0, 1, steps).tolist()
            ]
        ),
        "on a great circle": slerp,
        "the end left out": Edit("torch.linspace(0, 1, steps,", "torch.linspace(0, 1 - 1 / steps, steps,"),
        "backwards": Edit("torch.lerp(start, end, w)", "torch.lerp(end, start, w)"),
        "logits": Edit(
            "torch.sigmoid(self.decode(torch.lerp(start, end, w), labels))", "self.decode(torch.lerp(start, end, w), labels)"
        ),
        "batch before steps": Edit("for w in weights])", "for w in weights], dim=1)"),
    },
}


def looped_kl(mu, logvar):
    total = torch.zeros(mu.shape[0], dtype=mu.dtype, device=mu.device)
    for d in range(mu.shape[1]):
        total = total + (mu[:, d] ** 2 + torch.exp(logvar[:, d]) - 1 - logvar[:, d]) / 2
    return total


def sample_by_covariance(mu, logvar, noise):
    root = torch.diag_embed(torch.exp(logvar / 2))  # (B, D, D), the Cholesky factor of a diagonal covariance
    return mu + torch.einsum("bij,bj->bi", root, noise)


def looped_elbo(logits, counts, mu, logvar, beta=1.0):
    """Item by item, with the coefficient from the library."""
    bounds = []
    for z, k, m, s in zip(logits, counts, mu, logvar, strict=True):
        log_p = Binomial(16, logits=z).log_prob(k).sum()
        kl = sum((m[d] ** 2 + s[d].exp() - s[d] - 1) / 2 for d in range(len(m)))
        bounds.append(log_p - beta * kl)
    return torch.stack(bounds)


def elbo_of_cross_entropy(logits, counts, mu, logvar, beta=1.0):
    choose = math.lgamma(17) - torch.lgamma(counts + 1) - torch.lgamma(17 - counts)
    log_p = choose - 16 * F.binary_cross_entropy_with_logits(logits, counts / 16, reduction="none")
    return log_p.reshape(len(counts), -1).sum(-1) + beta * 0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=-1)


def decode_by_hand(self, z, labels):
    onehot = torch.eye(10, device=z.device, dtype=z.dtype)[labels]
    hidden = self.decoder_input(torch.hstack((z, onehot)))
    return self.decoder(hidden.view(hidden.shape[0], hidden.shape[1] // 4, 2, 2))


def interpolate_at_once(self, start, end, labels, steps):
    w = torch.arange(steps, device=start.device, dtype=start.dtype).div(max(steps - 1, 1))[:, None, None]
    z = (1 - w) * start + w * end
    images = self.decode(z.flatten(0, 1), labels.repeat(steps)).sigmoid()
    return images.unflatten(0, (steps, -1))


VARIANTS = {
    "reparameterize": {
        "the root of the covariance": sample_by_covariance,
        "a power of e": lambda mu, logvar, noise: noise * math.e ** (logvar / 2) + mu,
        "addcmul": lambda mu, logvar, noise: torch.addcmul(mu, (logvar / 2).exp(), noise),
    },
    "kl_divergence": {
        "a loop": looped_kl,
        "the paper's sign": lambda mu, logvar: -0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=-1),
        "expm1": lambda mu, logvar: 0.5 * torch.einsum("bd->b", mu * mu + torch.expm1(logvar) - logvar),
    },
    "reconstruction_nll": {
        "torch.distributions": lambda logits, counts: -Binomial(16, logits=logits).log_prob(counts).flatten(1).sum(1),
        "binary cross-entropy": lambda logits, counts: (
            (
                16 * F.binary_cross_entropy_with_logits(logits, counts / 16, reduction="none")
                - torch.lgamma(torch.full_like(counts, 17.0))
                + torch.lgamma(counts + 1)
                + torch.lgamma(17 - counts)
            )
            .flatten(1)
            .sum(1)
        ),
        "softplus": lambda logits, counts: (
            (
                counts * F.softplus(-logits)
                + (16 - counts) * F.softplus(logits)
                - (torch.lgamma(torch.full_like(counts, 17.0)) - torch.lgamma(counts + 1) - torch.lgamma(17 - counts))
            )
            .reshape(len(counts), -1)
            .sum(-1)
        ),
    },
    "elbo": {
        "a loop": looped_elbo,
        "cross-entropy, and the paper's sign": elbo_of_cross_entropy,
        "minus a sum": Edit(
            "return -reconstruction_nll(logits, counts) - beta * kl_divergence(mu, logvar)",
            "return -(reconstruction_nll(logits, counts) + kl_divergence(mu, logvar) * beta)",
        ),
    },
    "VAE.decode": {
        "by hand": decode_by_hand,
        "two products": lambda self, z, labels: self.decoder(
            (
                z @ self.decoder_input.weight[:, : z.shape[1]].T
                + self.decoder_input.weight[:, z.shape[1] :].T[labels]
                + self.decoder_input.bias
            ).reshape(len(z), -1, 2, 2)
        ),
        "one-hot by comparison": Edit(
            "F.one_hot(labels, digits.CLASSES).to(z.dtype)",
            "(labels[:, None] == torch.arange(digits.CLASSES, device=labels.device)).to(z.dtype)",
        ),
    },
    "VAE.interpolate": {
        "all at once": interpolate_at_once,
        "a loop": Edit("torch.lerp(start, end, w)", "start + w * (end - start)"),
        "a convex sum": Edit("torch.lerp(start, end, w)", "(1 - w) * start + w * end"),
    },
}

# Data and noise: a right answer may detach them. Walks are drawn, never differentiated.
NO_GRADIENT = {
    "reparameterize": ("noise",),
    "reconstruction_nll": ("counts",),
    "elbo": ("counts",),
    "VAE.interpolate": ("self", "start", "end"),
}

EQUIVALENT = {
    "VAE.decode": {
        "call dropped: F.one_hot(labels, digits.CLASSES).to(z.dtype) -> F.one_hot(labels, digits.CLASSES)": (
            "torch.cat promotes the integers to the dtype of the latent, and 0 and 1 are exact in all of them"
        ),
    },
    "VAE.interpolate": {
        "dtype: start.dtype -> torch.float64": (
            "a weight has no axis, so it promotes nothing: the walk keeps the dtype of its ends, and only the weight is more exact"
        ),
    },
}
