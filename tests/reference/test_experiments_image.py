"""The experiments of image/vae and image/gan can fail: an ablation takes its idea away, a leak check trips on the cheat it names,
and a sceptic's model is what it says. Truths: torch.distributions, SciPy, scikit-learn, and training with a piece replaced."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import betabinom
from sklearn.neighbors import NearestNeighbors
from torch.distributions import Binomial, Normal

from reference_impl import judges, samples, weights
from reference_impl.data import digits
from reference_impl.image import gan, vae

UNITS = pytest.mark.parametrize("unit", [vae, gan], ids=["vae", "gan"])
COPIES, SEEN = "copies of the training set", "the judge has seen the test"


def trained(unit, config):
    """The weights after three steps."""
    short = dataclasses.replace(config, steps=3, channels=4, batch_size=16)
    return torch.cat([p.detach().flatten() for p in unit.train(short, device="cpu", progress=False).parameters()])


@UNITS
def test_an_ablation_changes_one_setting(unit):
    for ablation in unit.ABLATIONS.values():
        whole, without = dataclasses.asdict(unit.Config()), dataclasses.asdict(ablation.config)
        assert sum(whole[name] != without[name] for name in whole) == 1


def test_without_kl_no_kl_reaches_the_weights(monkeypatch):
    configs = {"whole": vae.Config(), "without": vae.ABLATIONS["no KL"].config}
    before = {name: trained(vae, config) for name, config in configs.items()}
    monkeypatch.setattr(vae, "kl_divergence", lambda mu, logvar: 100 * (mu + logvar).square().sum(1))
    assert not torch.equal(trained(vae, configs["whole"]), before["whole"])
    assert torch.equal(trained(vae, configs["without"]), before["without"])


def test_without_reparameterization_no_gradient_passes_through_the_sample():
    without = vae.ABLATIONS["no reparameterization"].config
    for config, reaches in ((vae.Config(), True), (without, False)):
        model = vae.VAE(config)
        logits, _, _ = model(torch.ones(2, 1, 8, 8), torch.tensor([3, 4]), torch.randn(2, config.latent))
        logits.sum().backward()
        assert all((p.grad is not None) == reaches for p in model.encoder.parameters())
        assert all(p.grad is not None for p in model.decoder.parameters()), "the decoder learns in any case"


def test_without_spectral_norm_the_scores_run_away():
    images, labels = torch.rand(4, 1, 8, 8), torch.arange(4)
    for config, bounded in ((gan.Config(), True), (gan.ABLATIONS["no spectral norm"].config, False)):
        model = gan.Discriminator(config).eval()
        before = model(images, labels)
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(10.0 if p.dim() > 1 else 0.0)
        for _ in range(30):
            model.train()(images, labels)  # the power iteration follows the weights
        ratio = model.eval()(images, labels).abs().max() / before.abs().max()
        assert ratio < 5 if bounded else ratio > 100
    assert not any("original" in name for name, _ in model.named_parameters())


def subset(counts, labels):
    return digits.Digits(counts, labels, torch.arange(len(labels)))


def test_what_only_remembers_is_the_kernel_density_it_says(monkeypatch):
    split = {name: digits.load(name) for name in ("train", "test")}
    few = {}
    for name, data in split.items():
        rows = torch.cat([(data.labels == digit).nonzero()[:3, 0] for digit in range(10)])
        few[name] = subset(data.counts[rows], data.labels[rows])
    monkeypatch.setattr(digits, "load", few.__getitem__)
    expected = []
    for digit in range(10):
        images = few["train"].images[few["train"].labels == digit].flatten(1).double().numpy()
        p = np.clip(0.7 * images + 0.3 * images.mean(0), 0.01, 0.99)
        for counts in few["test"].counts[few["test"].labels == digit].flatten(1).numpy():
            each = betabinom.logpmf(counts, 16, 4 * p, 4 * (1 - p)).sum(1)
            expected.append(-logsumexp(each) + np.log(len(images)))
    assert vae.memory_nll(spread=0.3, concentration=4.0) == pytest.approx(np.mean(expected), rel=1e-5)


def test_the_importance_weighted_bound_is_that_of_torch_distributions(monkeypatch):
    torch.manual_seed(0)
    model, seed, draws = vae.VAE(vae.Config(latent=2, channels=3)).eval(), 5, 4
    monkeypatch.setattr(vae, "memory_nll", lambda: 0.0)
    actual = vae.evaluate(model, seed=seed, draws=draws)
    data, generator = digits.load("test"), torch.Generator().manual_seed(seed)
    rows = []
    with torch.no_grad():
        mu, logvar = model.encode(data.images, data.labels)
        for _ in range(draws):
            z = mu + torch.exp(logvar / 2) * torch.randn(450, 2, generator=generator)
            log_p = Binomial(16, logits=model.decode(z, data.labels)).log_prob(data.counts).flatten(1).sum(1)
            prior, posterior = Normal(0.0, 1.0).log_prob(z).sum(1), Normal(mu, torch.exp(logvar / 2)).log_prob(z).sum(1)
            rows.append(log_p + prior - posterior)
    expected = -(torch.stack(rows).logsumexp(0) - np.log(draws)).mean().item()
    assert actual["neg_log_likelihood"] == pytest.approx(expected, rel=1e-5)
    assert actual["neg_log_likelihood"] < actual["neg_elbo"]


@UNITS
def test_the_leak_check_of_a_unit_asks_its_own_model(unit):
    assert list(unit.LEAKS) == [COPIES, SEEN]
    assert unit.LEAKS[COPIES].measure.args == (unit.train, unit.generate), "samples.copied, given these two"


def test_the_leak_check_trains_in_full_and_asks_for_a_hundred_of_each_digit():
    asked = []

    def train(*args, **options):
        asked.append((args, options))
        return "model"

    def generate(model, labels, *, seed):
        asked.append((model, labels.bincount().tolist(), seed))
        return digits.load("test").images

    samples.digit_leaks(train, generate)[COPIES].measure(3, "cpu")
    assert asked == [((), {"device": "cpu", "seed": 3, "progress": False}), ("model", [100] * 10, 3)], "no other config"


def test_the_leak_check_trips_on_copies_and_lets_new_handwriting_pass():
    real, held_out = digits.load("train"), digits.load("test")
    leak = vae.LEAKS[COPIES]

    def share(images):
        leaks = samples.digit_leaks(lambda **options: None, lambda model, labels, *, seed: images)
        return leaks[COPIES].measure(0, "cpu")

    assert share(real.images) == 1.0 and not leak.holds(1.0)
    faint = (real.images + 0.05 * torch.randn(real.images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    assert not leak.holds(share(faint)), "a copy with a little noise is a copy"
    half = torch.cat([real.images[:200], held_out.images[:200]])
    assert not leak.holds(share(half)), "half of them copied"
    assert share(held_out.images) == pytest.approx(leak.chance, abs=0.005) and leak.holds(leak.chance)


def test_the_leak_check_trips_on_a_judge_that_has_seen_the_test(monkeypatch):
    leak = vae.LEAKS[SEEN]
    assert leak.measure(0, "cpu") == 0.0 and leak.holds(0.0)
    split = {name: digits.load(name) for name in ("train", "test")}
    both = [torch.cat([getattr(split[name], field) for name in split]) for field in ("counts", "labels")]
    with monkeypatch.context() as patch:
        patch.setattr(digits, "load", lambda name: subset(*both))
        corrupt = judges.DigitJudge()
    monkeypatch.setattr(samples, "digit_judge", lambda: corrupt)
    assert not leak.holds(leak.measure(0, "cpu"))


def test_copied_share_counts_as_scikit_learn_does():
    generator = torch.Generator().manual_seed(1)
    images, training, held_out = (torch.rand(n, 1, 3, 2, generator=generator) for n in (50, 30, 40))
    tree = NearestNeighbors(n_neighbors=1).fit(training.flatten(1).numpy())
    near, far = (tree.kneighbors(x.flatten(1).numpy())[0][:, 0] for x in (images, held_out))
    expected = (near < np.quantile(far, 0.3)).mean()
    assert 0.1 < expected < 0.9
    assert samples.copied_share(images, training, held_out, closest=0.3) == pytest.approx(expected)


def covered(x, by, k):
    """Share of x within the k-th neighbour's distance of some item of `by`."""
    tree = NearestNeighbors(n_neighbors=k + 1).fit(by)
    radius = tree.kneighbors(by)[0][:, -1]
    distance = np.linalg.norm(x[:, None] - by[None], axis=-1)
    return (distance <= radius).any(1).mean()


def test_precision_and_recall_are_those_of_scikit_learn():
    generator = torch.Generator().manual_seed(2)
    real, real_labels = torch.rand(24, 1, 2, 2, generator=generator), torch.tensor([0] * 10 + [4] * 14)
    images, labels = 0.3 + torch.rand(60, 1, 2, 2, generator=generator), torch.tensor([4, 0] * 30)
    precision, recall = [], []
    for c, n in ((0, 10), (4, 14)):
        target, generated = (x[y == c].flatten(1).numpy() for x, y in ((real, real_labels), (images, labels)))
        for part in (generated[i : i + n] for i in range(0, len(generated) - n + 1, n)):
            precision.append(covered(part, target, 2))
            recall.append(covered(target, part, 2))
    actual = samples.precision_recall(images, labels, real, real_labels, neighbours=2)
    assert actual == pytest.approx((np.mean(precision), np.mean(recall)))
    assert min(actual) > 0.1 and max(actual) < 0.9
    with pytest.raises(ValueError, match="at least 10 generated images of class 0, as many as real ones, got 9"):
        samples.precision_recall(images[:18], labels[:18], real, real_labels)


def test_the_average_digit_has_precision_alone_and_noise_has_neither():
    real, held_out = digits.load("train"), digits.load("test")
    asked = torch.arange(10).repeat(50)
    means = torch.stack([real.images[real.labels == digit].mean(0) for digit in range(10)])[asked]
    precision, recall = samples.precision_recall(means, asked, held_out.images, held_out.labels)
    assert precision > 0.9 and recall == 0.0
    noise = torch.rand(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert samples.precision_recall(noise, asked, held_out.images, held_out.labels)[0] == 0.0


def test_class_gaussians_have_the_moments_of_their_class(monkeypatch):
    labels = torch.tensor([3, 8]).repeat(4000)
    images = gan.class_gaussians(labels, seed=1)
    assert images.min() == 0 and images.max() == 1, "real digits are cut off at both ends"
    assert torch.equal(images, gan.class_gaussians(labels, seed=1))

    generator = torch.Generator().manual_seed(0)  # classes of grey and correlated pixels, far from both ends
    kinds = torch.arange(10).repeat_interleave(200)
    mixing = torch.randn(10, 64, 64, generator=generator) / 8
    counts = 8 + 0.1 * kinds[:, None] + torch.einsum("npq,nq->np", mixing[kinds], torch.randn(2000, 64, generator=generator))
    grey = subset(counts.view(-1, 1, 8, 8), kinds)
    monkeypatch.setattr(digits, "load", lambda split: grey)
    images = gan.class_gaussians(labels, seed=1)
    for digit in (3, 8):
        x, made = (data[which == digit].flatten(1) for data, which in ((grey.images, grey.labels), (images, labels)))
        torch.testing.assert_close(made.mean(0), x.mean(0), rtol=0, atol=0.01)
        torch.testing.assert_close(torch.corrcoef(made.T), torch.corrcoef(x.T), rtol=0, atol=0.1)


def test_a_collapsed_generator_is_beaten_by_the_gaussian(monkeypatch):
    real = digits.load("train")
    one = torch.stack([real.images[real.labels == digit][0] for digit in range(10)])
    monkeypatch.setattr(gan, "generate", lambda model, labels, *, seed: one[labels])
    (gate,) = (gate for gate in gan.GATES if gate.metric == "f1")
    assert not gate.holds(gan.evaluate(None))


@UNITS
def test_the_weights_that_come_with_the_course_beat_the_sceptic(unit):
    name = {vae: "image/vae", gan: "image/gan"}[unit]
    figures = unit.evaluate(weights.load(name, path=weights.shipped(name), device="cpu"))
    assert [str(gate) for gate in unit.GATES if not gate.holds(figures)] == []
