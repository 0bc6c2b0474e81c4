"""What a right answer to image/gan must do. Truths: hinges in loops, both players and their Adam written out with `F`.

The step is compared in float64, since the first update of Adam is nearly the *sign* of a gradient. Where a discriminator is in
training mode, its power iterations start settled, so that one pass over real and fake, or two, come to the same.
"""

import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_close, assert_equal, assert_true, raises, unchanged

CLASSES = 10
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "_u", "_v")


@pytest.mark.stub("discriminator_loss")
def test_hinge_of_every_score(impl, draw):
    B = draw.batch(2)
    real, fake = draw.normal(B, scale=2), draw.normal(B + draw.size(), scale=2)
    if draw.choice((False, True)):  # more real than fake, or the other way round
        real, fake = fake, real
    on_real = sum(max(0.0, 1.0 - score) for score in real.tolist()) / len(real)
    on_fake = sum(max(0.0, 1.0 + score) for score in fake.tolist()) / len(fake)
    hint = "max(0, 1 − score) for real, max(0, 1 + score) for fake; each averaged over its own batch, then added"
    assert_close(impl.discriminator_loss(real, fake), torch.tensor(on_real + on_fake, dtype=torch.float64), hint=hint)


@pytest.mark.stub("discriminator_loss")
def test_discriminator_loss_is_two_where_no_difference_is_seen(impl, draw):
    real, fake = torch.zeros(draw.size()), torch.zeros(draw.size())
    hint = "at a score of 0 each hinge costs its whole margin, which is 1"
    assert_close(impl.discriminator_loss(real, fake), torch.tensor(2.0), hint=hint)


@pytest.mark.stub("discriminator_loss")
def test_scores_beyond_the_margin_cost_nothing(impl, draw):
    real = 1 + draw.uniform(draw.size(), high=9, dtype=torch.float32)
    fake = -1 - draw.uniform(draw.size(), high=9, dtype=torch.float32)
    hint = "a hinge is 0 beyond its margin, never negative: is the score cut off at 0?"
    assert_close(impl.discriminator_loss(real, fake), torch.tensor(0.0), what="the loss of a perfect discriminator", hint=hint)


@pytest.mark.stub("discriminator_loss")
def test_only_scores_within_the_margin_have_a_gradient(impl, draw):
    real, fake = draw.normal(draw.size(), scale=2), draw.normal(draw.size(), scale=2)
    by_real, by_fake = impl.vjp("discriminator_loss", real, fake, wrt=(0, 1))
    hint = "−1/B for a real score below 1, +1/N for a fake one above −1, else 0"
    assert_close(by_real, -(real < 1).double() / len(real), what="the gradient of the real scores", hint=hint)
    assert_close(by_fake, (fake > -1).double() / len(fake), what="the gradient of the fake scores", hint=hint)


@pytest.mark.stub("discriminator_loss")
def test_scores_far_from_the_margin_cost_their_whole_distance(impl):
    real, fake = torch.tensor([-2e4, 3e4]), torch.tensor([5e4, -1e4, 0.0])
    expected = torch.tensor(20001 / 2 + 50002 / 3)
    assert_close(
        impl.discriminator_loss(real, fake), expected, hint="a hinge is straight: no score is clamped, squashed or rounded"
    )
    by_real, by_fake = impl.vjp("discriminator_loss", real, fake, wrt=(0, 1))
    hint = "its slope is the same however wrong a score is, and 0 beyond the margin"
    assert_close(by_real, torch.tensor([-1 / 2, 0.0]), what="the gradient of the real scores", hint=hint)
    assert_close(by_fake, torch.tensor([1 / 3, 0.0, 1 / 3]), what="the gradient of the fake scores", hint=hint)


@pytest.mark.stub("generator_loss")
def test_generator_wants_high_scores(impl, draw):
    scores = draw.normal(draw.batch(2), scale=3)
    scores[0] = draw.choice((-1, 1)) * draw.number(20, 90)  # beyond any margin
    expected = torch.tensor(-sum(scores.tolist()) / len(scores), dtype=torch.float64)
    assert_close(impl.generator_loss(scores), expected, hint="minus the mean score: no margin, no logarithm")


@pytest.mark.stub("generator_loss")
def test_generator_loss_never_saturates(impl, draw):
    scores = draw.normal(draw.size(), dtype=torch.float32, scale=30)
    hint = "every fake pulls with −1/N, however bad or good its score is"
    assert_close(impl.vjp("generator_loss", scores, wrt=0), torch.full_like(scores, -1 / len(scores)), hint=hint)


def is_weight(name):
    return not name.endswith(BUFFERS)


def random_state(draw, state):
    """Random weights for a player: its variances are positive, its power iterations settled."""
    state = draw.like(state)
    for name, value in list(state.items()):
        if name.endswith("weight") and value.ndim == 1:  # of a batch norm: large enough to keep the layers alive
            state[name] = draw.uniform(*value.shape, low=0.5, high=1.5, dtype=value.dtype)
        if name.endswith("running_var"):
            state[name] = draw.uniform(*value.shape, low=0.5, high=2.0, dtype=value.dtype)
        if name.endswith("num_batches_tracked"):
            state[name] = draw.integers(1000, ())
        if name.endswith("original"):
            u, _, v = torch.linalg.svd(value.flatten(1), full_matrices=False)
            state[name.replace("original", "0._u")], state[name.replace("original", "0._v")] = u[:, 0].clone(), v[0].clone()
    return state


def player(impl, draw, kind, config, mode="train", dtype="double"):
    """A `Generator` or `Discriminator` with random weights, and those weights."""
    model = getattr(impl, kind)(config)
    getattr(model, dtype)()
    state = random_state(draw, model.fresh_state())
    model.load_state_dict(state)
    getattr(model, mode)()
    return model, copied(state)


def copied(state):
    return {name: value.clone() for name, value in state.items()}


def weights_of(state):
    return {name: value for name, value in state.items() if is_weight(name)}


def assert_states(actual, expected, what, hint):
    """All weights first, then the buffers."""
    assert_equal(sorted(actual), sorted(expected), what=f"the names in {what}", hint="keep the modules as they are")
    for name in sorted(expected, key=lambda name: not is_weight(name)):
        assert_close(actual[name], expected[name], tolerance=1e-6, what=f"{name} of {what}", hint=hint)


@pytest.mark.stub("ema_update")
@pytest.mark.parametrize("kind", ["Generator", "Discriminator"])
def test_average_moves_towards_the_model(impl, draw, kind):
    config, decay = impl.Config(latent=draw.size(), channels=draw.size(1, 3)), draw.number(0.05, 0.95)
    averaged, old = player(impl, draw, kind, config)
    model, new = player(impl, draw, kind, config)
    impl.ema_update(averaged, model, decay)
    result, hint = averaged.state_dict(), "decay weighs what was there before: decay · old + (1 − decay) · new"
    for name in old:
        if is_weight(name):
            expected = decay * old[name] + (1 - decay) * new[name]
            assert_close(result[name], expected, tolerance=1e-6, what=f"{name} of the average", hint=hint)
        else:
            assert_equal(result[name], new[name], what=f"the buffer {name}", hint="buffers are copied, not averaged")
    for name, value in model.state_dict().items():
        assert_equal(value, new[name], what=f"{name} of the model", hint="only the average moves; the model is left alone")


@pytest.mark.stub("ema_update")
@pytest.mark.parametrize("decay", [0.0, 1.0])
def test_decay_of_zero_copies_and_of_one_keeps(impl, draw, decay):
    config = impl.Config(latent=draw.size(), channels=1)
    averaged, old = player(impl, draw, "Generator", config)
    model, new = player(impl, draw, "Generator", config)
    impl.ema_update(averaged, model, decay)
    expected = {name: old[name] if is_weight(name) and decay == 1 else new[name] for name in old}
    assert_states(averaged.state_dict(), expected, "the average", "both ends are allowed; buffers are copied whatever the decay")


@pytest.mark.stub("ema_update")
def test_a_frozen_average_moves_too(impl, draw):
    config, decay = impl.Config(latent=draw.size(), channels=1), draw.number(0.1, 0.9)
    averaged, old = player(impl, draw, "Generator", config)
    model, new = player(impl, draw, "Generator", config)
    averaged.requires_grad_(False)
    impl.ema_update(averaged, model, decay)
    expected = {name: decay * old[name] + (1 - decay) * new[name] if is_weight(name) else new[name] for name in old}
    hint = "an average is not trained, so its weights may have requires_grad switched off: they move all the same"
    assert_states(averaged.state_dict(), expected, "the frozen average", hint)
    impl.ema_update(model, averaged, decay)  # and now towards weights that are frozen
    expected = {name: decay * new[name] + (1 - decay) * expected[name] if is_weight(name) else new[name] for name in new}
    hint = "a weight of the model may be frozen, too, and is followed all the same"
    assert_states(model.state_dict(), expected, "the average of a frozen model", hint)


@pytest.mark.stub("ema_update")
def test_buffers_that_are_not_saved_and_weights_with_two_names(impl, draw):
    config, decay = impl.Config(latent=2, channels=1), draw.number(0.1, 0.9)
    (averaged, old), (model, new) = (player(impl, draw, "Generator", config) for _ in range(2))
    unsaved = [draw.normal(3), draw.normal(3)]
    for module, buffer in zip((averaged, model), unsaved, strict=True):
        module.register_buffer("unsaved", buffer, False)  # not persistent: a state_dict does not show it
        module.add_module("again", module.get_submodule("input"))  # tied, as a read-out is to its embedding
    impl.ema_update(averaged, model, decay)
    hint = "`.buffers()` has them all, a state_dict only those that are saved"
    assert_equal(averaged.get_buffer("unsaved"), unsaved[1], what="a buffer that is not saved", hint=hint)
    expected = decay * old["input.weight"] + (1 - decay) * new["input.weight"]
    actual = averaged.get_submodule("input").state_dict()["weight"]
    hint = "a tied weight is one weight, and moves once: `.parameters()` counts it once, a state_dict under each of its names"
    assert_close(actual, expected, tolerance=1e-6, what="a weight with two names", hint=hint)


@pytest.mark.stub("ema_update")
def test_average_is_a_model_of_its_own(impl, draw):
    config = impl.Config(latent=draw.size(), channels=1)
    averaged, _ = player(impl, draw, "Generator", config)
    model, state = player(impl, draw, "Generator", config)
    impl.ema_update(averaged, model, 0.0)
    model.load_state_dict(random_state(draw, state))
    hint = "copy values into the average's own tensors; sharing storage ties it to the model"
    assert_states(averaged.state_dict(), state, "the average, after the model has moved on", hint)


@pytest.mark.stub("ema_update")
def test_repeated_updates_are_a_weighted_sum(impl, draw):
    config, decay = impl.Config(latent=draw.size(), channels=1), draw.number(0.1, 0.9)
    averaged, first = player(impl, draw, "Generator", config)
    model, state = player(impl, draw, "Generator", config)
    states = [random_state(draw, state) for _ in range(3)]
    for state in states:
        model.load_state_dict(state)
        impl.ema_update(averaged, model, decay)
    expected = copied(states[-1])
    for name in weights_of(first):
        parts = [decay**3 * first[name], *((1 - decay) * decay ** (2 - i) * state[name] for i, state in enumerate(states))]
        expected[name] = torch.stack(parts).sum(0)
    assert_states(
        averaged.state_dict(), expected, "the average of three updates", "an old weight fades as decay to the power of its age"
    )


@pytest.mark.stub("ema_update")
@pytest.mark.parametrize("decay", [-0.001, 1.001])
def test_decay_outside_of_zero_to_one_is_refused(impl, draw, decay):
    config = impl.Config(latent=1, channels=1)
    averaged, old = player(impl, draw, "Generator", config)
    model, _ = player(impl, draw, "Generator", config)
    with raises(ValueError, hint="an average weighs both sides with something from 0 to 1"):
        impl.ema_update(averaged, model, decay)
    assert_states(averaged.state_dict(), old, "the average after a refused update", "check before anything is moved")


def drawn_by(state, noise, labels, training=False):
    """The generator written out; in training mode it moves the running statistics in `state`, as batch norm does."""

    def norm(x, layer):
        mean, variance, count = (state[f"{layer}.{name}"] for name in BUFFERS[:3])
        count += int(training)
        weight, bias = state[f"{layer}.weight"], state[f"{layer}.bias"]
        return F.relu(F.batch_norm(x, mean, variance, weight, bias, training=training, momentum=0.1, eps=1e-5))

    by_noise, by_class = state["input.weight"].split([noise.shape[1], CLASSES], dim=1)
    x = (noise @ by_noise.T + by_class.T[labels]).reshape(len(noise), -1, 2, 2)  # a one-hot row picks a column of the weight
    x = F.conv_transpose2d(norm(x, "body.0"), state["body.2.weight"], stride=2, padding=1)
    x = F.conv_transpose2d(norm(x, "body.3"), state["body.5.weight"], stride=2, padding=1)
    x = F.conv2d(norm(x, "body.6"), state["body.8.weight"], state["body.8.bias"], padding=1)
    return 1 / (1 + torch.exp(-x))


@pytest.mark.stub("Generator.forward")
@pytest.mark.parametrize("mode", ["eval", "train"])
def test_image_comes_from_noise_and_class(impl, draw, mode):
    B, D = draw.batch(), draw.size()
    model, state = player(impl, draw, "Generator", impl.Config(latent=D, channels=draw.size(1, 5)), mode)
    noise, labels = draw.normal(B, D), draw.integers(CLASSES, (B,))
    expected = drawn_by(state, noise, labels, mode == "train")
    hint = "the noise as it came, then the one-hot class; `input`, `body`, and a sigmoid at the end"
    assert_close(model(noise, labels), expected, tolerance=1e-6, hint=hint)
    hint = "pass through `body` once, in the mode that the module is in: that alone moves the running statistics"
    assert_states(model.state_dict(), state, f"the generator after a call in {mode} mode", hint)


@pytest.mark.stub("Generator.forward")
def test_every_class_gives_another_image(impl, draw):
    model, _ = player(impl, draw, "Generator", impl.Config(latent=3, channels=4))
    images = model(draw.normal(1, 3).expand(CLASSES, 3), torch.arange(CLASSES))
    distances = torch.pdist(images.flatten(1))
    assert_true(distances.min() > 1e-7, "two classes give the same image", hint="is the label used?")


@pytest.mark.stub("Generator.forward")
def test_gradient_flows_from_image_to_noise(impl, draw):
    B, D = draw.batch(), draw.size()
    model, state = player(impl, draw, "Generator", impl.Config(latent=D, channels=draw.size(1, 3)), "eval")
    noise, labels, g = draw.normal(B, D), draw.integers(CLASSES, (B,)), draw.normal(B, 1, 8, 8)
    with torch.enable_grad():
        leaf = noise.clone().requires_grad_()
        (expected,) = torch.autograd.grad((drawn_by(state, leaf, labels) * g).sum(), leaf)
    actual = model.vjp(noise, labels, wrt=0, cotangent=g)
    assert_close(actual, expected, tolerance=1e-6, hint="the generator learns through its output: detach nothing")


@pytest.mark.stub("Generator.forward")
@pytest.mark.parametrize("dtype", ["float", "bfloat16"])
def test_generator_follows_the_dtype_of_the_noise(impl, draw, dtype):
    B, D = draw.batch(), draw.size()
    model, state = player(impl, draw, "Generator", impl.Config(latent=D, channels=2), "eval", dtype)
    noise, labels = draw.normal(B, D, dtype=getattr(torch, dtype)), draw.integers(CLASSES, (B,))
    exact = {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
    expected = drawn_by(exact, noise.double(), labels).to(noise.dtype)
    tolerance = 1e-4 if dtype == "float" else 0.1
    assert_close(
        model(noise, labels),
        expected,
        tolerance=tolerance,
        hint="give the one-hot rows the dtype of the noise",
        hint_for="values dtype",
    )


@pytest.mark.stub("Generator.forward")
@pytest.mark.parametrize("slip", ["latent too wide", "latent too narrow", "fewer labels", "more labels", "an axis too many"])
def test_noise_of_another_shape_is_refused(impl, draw, slip):
    B, D = draw.batch(2), draw.size(2)
    model, _ = player(impl, draw, "Generator", impl.Config(latent=D, channels=1), "eval")
    width = {"latent too wide": D + 1, "latent too narrow": D - 1}.get(slip, D)
    count = {"fewer labels": B - 1, "more labels": B + 1}.get(slip, B)
    noise = draw.normal(B, width, *([1] if slip == "an axis too many" else []))
    with raises(ValueError, hint="noise must be (B, config.latent), where B is the number of labels"):
        model(noise, draw.integers(CLASSES, (count,)))


@pytest.mark.stub("Generator.forward")
def test_noise_that_would_fit_by_broadcasting_is_refused(impl):
    model = impl.Generator(impl.Config(latent=3, channels=1))
    shapes = [((1, 3), 5), ((4, 3), 1), ((3,), 1), ((3,), 3), ((3, 2), 2), ((6, 1), 2), ((2, 1), 2), ((1, 2, 3), 2), ((0, 3), 1)]
    with unchanged(model, hint="check before anything runs: batch norm moves its statistics in each call"):
        for shape, count in shapes:
            hint = f"{shape} is not (B, config.latent) = {(count, 3)}: compare the whole shape, expand and reshape nothing"
            with raises(ValueError, hint=hint):
                model(torch.zeros(shape), torch.zeros(count, dtype=torch.int64))


def scored_by(state, images, labels, training):
    """The discriminator written out; in training mode it moves the power iterations in `state` one step on."""

    def weight(layer):
        original = state[f"{layer}.parametrizations.weight.original"]
        u, v = (state[f"{layer}.parametrizations.weight.0.{name}"] for name in ("_u", "_v"))
        matrix = original.flatten(1)
        if training:
            with torch.no_grad():
                u.copy_(F.normalize(matrix @ v, dim=0))
                v.copy_(F.normalize(matrix.T @ u, dim=0))
        return original / (u.clone() @ matrix @ v.clone())

    x = F.leaky_relu(F.conv2d(2 * images - 1, weight("features.0"), state["features.0.bias"], padding=1), 0.1)
    x = F.leaky_relu(F.conv2d(x, weight("features.2"), state["features.2.bias"], stride=2, padding=1), 0.1)
    x = F.leaky_relu(F.conv2d(x, weight("features.4"), state["features.4.bias"], stride=2, padding=1), 0.1).flatten(1)
    return (x @ weight("realness").T)[:, 0] + (x * weight("embedding")[labels]).sum(1)


def adam(state, gradients, squares, rate, step):
    """Adam with betas (0, 0.99), in place: no momentum, and a running mean of squares that is corrected for its start at 0."""
    for name, gradient in gradients.items():
        squares[name] = 0.99 * squares.get(name, 0.0) + 0.01 * gradient.square()
        state[name] = state[name] - rate * gradient / ((squares[name] / (1 - 0.99**step)).sqrt() + 1e-8)


class Game:
    """Both players on the implementation's side, and the truth beside them: the same weights, moved by updates written out."""

    def __init__(self, impl, draw, modes=("train", "train"), dtype="double", rates=None, channels=None):
        self.impl, self.draw, self.dtype, self.D = impl, draw, getattr(torch, dtype), draw.size()
        self.training = [mode == "train" for mode in modes]
        config = impl.Config(latent=self.D, channels=channels or draw.size(1, 2))
        self.generator, self.g = player(impl, draw, "Generator", config, modes[0], dtype)
        self.discriminator, self.d = player(impl, draw, "Discriminator", config, modes[1], dtype)
        self.rates = rates or (draw.number(0.01, 0.03), draw.number(0.04, 0.08))
        self.optimizers = [
            impl.make_optimizer(model, rate) for model, rate in zip((self.generator, self.discriminator), self.rates, strict=True)
        ]
        self.squares, self.steps = ({}, {}), 0

    def batch(self, B):
        """Real images, their labels, and noise for each half-step."""
        images = self.draw.uniform(B, 1, 8, 8, dtype=self.dtype)
        noises = (self.draw.normal(B, self.D, dtype=self.dtype) for _ in range(2))
        return images, self.draw.integers(CLASSES, (B,)), *noises

    def play(self, batch, **kwargs):
        """One step of the implementation: the losses that it returns, under the names promised."""
        losses = self.impl.train_step(self.generator, self.discriminator, *self.optimizers, *batch, **kwargs)
        names = sorted(map(str, losses))
        hint = "see what the docstring promises"
        assert_equal(names, ["discriminator_loss", "generator_loss"], what="the names of the losses", hint=hint)
        return losses

    def expect(self, batch):
        """One step of the truth: losses, and the gradients of the generator and of the discriminator."""
        images, labels, d_noise, g_noise = batch
        self.steps += 1
        with torch.enable_grad():
            fakes = drawn_by(self.g, d_noise, labels, self.training[0])
            d = {name: value.requires_grad_() if is_weight(name) else value for name, value in self.d.items()}
            both = scored_by(d, torch.cat([images, fakes]), torch.cat([labels, labels]), self.training[1])
            d_loss = (1 - both[: len(images)]).clamp(min=0).mean() + (1 + both[len(images) :]).clamp(min=0).mean()
            by_d = gradients_of(d_loss, d)
        self.d = {name: value.detach() for name, value in d.items()}
        adam(self.d, by_d, self.squares[1], self.rates[1], self.steps)
        with torch.enable_grad():
            g = {name: value.requires_grad_() if is_weight(name) else value for name, value in self.g.items()}
            g_loss = -scored_by(self.d, drawn_by(g, g_noise, labels, self.training[0]), labels, self.training[1]).mean()
            by_g = gradients_of(g_loss, g)
        self.g = {name: value.detach() for name, value in g.items()}
        adam(self.g, by_g, self.squares[0], self.rates[0], self.steps)
        return {"discriminator_loss": d_loss.detach(), "generator_loss": g_loss.detach()}, by_g, by_d


def gradients_of(loss, state):
    named = weights_of(state)
    return dict(zip(named, torch.autograd.grad(loss, list(named.values())), strict=True))


def assert_loss(actual, expected, what, hint):
    """A mean of scores of about 1 may come near 0 by chance; so its error is seen beside 1, or beside the loss if that is larger.

    Adam divides by gradients however small, a frozen spectral norm by a sigma that may have shrunk: rounding grows to some 1e-6.
    """
    tolerance = 1e-4 * max(1.0, 1 / max(abs(expected.item()), 1e-12))
    assert_close(actual, expected, tolerance=tolerance, what=what, hint=hint)


@pytest.mark.stub("train_step")
def test_each_player_makes_one_step(impl, draw):
    """The discriminator makes one step and no more, then the generator one against the new discriminator."""
    game = Game(impl, draw)
    batch = game.batch(draw.batch())
    game.play(batch)
    game.expect(batch)
    hint = "one step on real images against fakes of `discriminator_noise`, both with their labels; the generator's half-step moves nothing here"
    assert_states(weights_of(game.discriminator.state_dict()), weights_of(game.d), "the discriminator", hint)
    hint = "after the discriminator has moved, score new fakes of `generator_noise`; the first half-step moves nothing here"
    assert_states(weights_of(game.generator.state_dict()), weights_of(game.g), "the generator", hint)


@pytest.mark.stub("train_step")
def test_losses_are_those_before_each_update(impl, draw):
    game = Game(impl, draw, ("train", "eval"))
    batch = game.batch(draw.size())
    actual, (expected, _, _) = game.play(batch), game.expect(batch)
    hint = "the loss that each half-step went down: the discriminator's before it moved, the generator's against the moved one"
    for name, value in expected.items():
        assert_loss(actual[name], value, name, hint)


@pytest.mark.stub("train_step")
@pytest.mark.parametrize("modes", ["train eval", "eval train"])
def test_modules_stay_in_the_mode_they_are_in(impl, draw, modes):
    """Modules stay in the mode they are in: in training, each forward pass moves batch norm's statistics and the power iterations."""
    game = Game(impl, draw, modes.split())
    batch = game.batch(draw.size())
    game.play(batch)
    game.expect(batch)
    hint = "no .train() and no .eval(): the generator draws once in each half-step, in the mode that it came in"
    assert_states(game.generator.state_dict(), game.g, "the generator", hint)
    assert_states(game.discriminator.state_dict(), game.d, "the discriminator", hint)


@pytest.mark.stub("train_step")
def test_steps_in_a_row_carry_no_gradient_over(impl, draw):
    game = Game(impl, draw, ("train", "eval"))
    state = game.discriminator.state_dict()
    # A frozen norm that is taken for 1/20 of what it is: gradients far above 1, so that whoever clips them goes another way.
    state["realness.parametrizations.weight.0._u"] = state["realness.parametrizations.weight.0._u"] / 20
    game.discriminator.load_state_dict(state)
    game.d = copied(state)
    for _ in range(3):
        batch = game.batch(draw.size(3))
        actual, (expected, _, _) = game.play(batch), game.expect(batch)
    hint = (
        "clear gradients before each backward pass, hand them to the optimizer as they come, and leave both players able to learn"
    )
    assert_states(weights_of(game.discriminator.state_dict()), weights_of(game.d), "the discriminator after three steps", hint)
    assert_states(weights_of(game.generator.state_dict()), weights_of(game.g), "the generator after three steps", hint)
    for name, value in expected.items():
        assert_loss(actual[name], value, f"{name} of the third step", hint)


def assert_left_over(before, after, gradients, rate, message, hint):
    """What an optimizer that steps once more finds: the gradients named, or none at all."""
    if any(not torch.equal(after[name], before[name]) for name in gradients):
        expected = {name: before[name] for name in gradients}
        adam(expected, gradients, {}, rate, 1)
        for name, value in expected.items():
            off = (after[name] - value).abs().max()
            assert_true(off < 1e-6, message, hint=hint, detail=f"{name} is off by {off:.3g}")


@pytest.mark.stub("train_step")
def test_no_gradient_of_the_generator_stays_in_the_discriminator(impl, draw):
    game = Game(impl, draw, ("train", "eval"))
    batch, rate = game.batch(draw.size()), 0.1
    game.play(batch)
    before = game.discriminator.state_dict()
    impl.make_optimizer(game.discriminator, rate).step()  # whatever gradient is left there, it now follows
    _, _, by_discriminator = game.expect(batch)
    message = "the generator's half-step left a gradient in the discriminator"
    hint = "switch off requires_grad of the discriminator's weights for the second half-step, or clear its gradients afterwards"
    assert_left_over(before, game.discriminator.state_dict(), by_discriminator, rate, message, hint)


@pytest.mark.stub("train_step")
def test_no_gradient_of_the_discriminator_reaches_the_generator(impl, draw):
    """No gradient of the discriminator's loss reaches the generator, not even where its optimizer holds only a part of it."""
    game = Game(impl, draw, ("train", "eval"))
    batch, rate = game.batch(draw.size()), 0.1
    game.optimizers[0] = impl.make_optimizer(game.generator.get_submodule("input"), game.rates[0])  # the body is not trained
    game.play(batch)
    before = game.generator.state_dict()
    impl.make_optimizer(game.generator.get_submodule("body"), rate).step()
    _, by_generator, _ = game.expect(batch)
    by_body = {name: value for name, value in by_generator.items() if name.startswith("body")}
    message = "the discriminator's loss sent a gradient into the generator"
    hint = "in the first half-step the fakes are mere data: make them under no_grad, or detach them"
    assert_left_over(before, game.generator.state_dict(), by_body, rate, message, hint)


@pytest.mark.stub("train_step")
def test_every_forward_pass_is_in_the_precision_asked_for(impl, draw):
    """In bfloat16 every forward pass rounds, the fakes of both half-steps and the scores."""
    game = Game(impl, draw, ("train", "eval"), "float", rates=(0.0, 0.0), channels=4)
    start = game.g | {
        name: value.bfloat16().float() for name, value in weights_of(game.g).items()
    }  # rounding them changes nothing
    for name in start:
        if name.startswith("body.8") or name == "body.0.running_mean":
            start[name] = torch.zeros_like(start[name])  # so every fake is grey (0.5) in any precision
    scores_rounded = []
    for half, silent in (("discriminator", 3), ("generator", 2)):
        game.generator.load_state_dict(start)
        game.g = copied(start)
        batch = list(game.batch(8))
        batch[silent] = torch.zeros_like(batch[silent])  # without noise the other half-step has nothing to round
        actual, (exact, _, _) = game.play(batch, precision="bfloat16"), game.expect(batch)
        statistics, in_full = game.generator.state_dict()["body.0.running_mean"], game.g["body.0.running_mean"]
        hint = f"run the generator of the {half}'s half-step under autocast(images.device, precision)"
        assert_close(statistics, in_full, tolerance=0.05, what="the mean that batch norm has seen in bfloat16", hint=hint)
        rounded = (statistics - in_full).abs().max() > 1e-6
        assert_true(rounded, f"the fakes of the {half}'s half-step were drawn in float32, expected bfloat16", hint=hint)
        for name, value in exact.items():
            off = abs(float(actual[name]) - float(value))
            assert_true(
                off < 0.1, f"{name} is far off in bfloat16", hint="only forward passes are rounded", detail=f"by {off:.3g}"
            )
        scores_rounded.append(abs(float(actual["discriminator_loss"]) - float(exact["discriminator_loss"])) > 1e-6)
    hint = "the discriminator's pass over real and fake belongs under autocast(images.device, precision), too"
    assert_true(any(scores_rounded), "real and fake were scored in float32, expected bfloat16", hint=hint)


@pytest.mark.stub("train_step")
def test_generator_meets_the_new_discriminator_in_bfloat16_too(impl, draw):
    game = Game(impl, draw, dtype="float", rates=(0.01, 4.0), channels=4)  # a step so long that biases cannot be mistaken
    batch = game.batch(draw.size(3))
    losses = game.play(batch, precision="bfloat16")
    met, (_, labels, _, noise) = game.discriminator.state_dict(), batch
    expected = -float(scored_by(met, drawn_by(game.g, noise, labels, True), labels, False).mean())
    off = abs(float(losses["generator_loss"]) - expected) / (1 + abs(expected))
    hint = "autocast caches the weights it has cast: give each forward pass a context of its own, or the old ones are used again"
    message = "in bfloat16 the generator was scored by another discriminator than the new one"
    assert_true(off < 0.05, message, hint=hint, detail=f"its loss is off by {off:.2g}, relative to 1 + its size")


@pytest.mark.stub("train_step")
def test_a_weight_that_was_frozen_stays_frozen(impl, draw):
    """A discriminator that is trained in part, as in fine-tuning: no step moves the rest, and none thaws it for the next one."""
    game = Game(impl, draw, ("train", "eval"))
    game.discriminator.get_submodule("embedding").requires_grad_(False)
    before, batches = copied(game.d), [game.batch(draw.size(2)) for _ in range(2)]
    for batch in batches:
        game.play(batch)
    state = game.discriminator.state_dict()
    hint = "switch on again what you have switched off, not every weight: keep a list of those that had requires_grad"
    name = "embedding.parametrizations.weight.original"
    assert_equal(state[name], before[name], what="the frozen embedding after two steps", hint=hint)
    _, _, slopes = game.expect(batches[0])
    sizes = {other: float(slope.abs().max()) for other, slope in slopes.items() if other != name}
    steepest = max(sizes, key=sizes.get)
    if sizes[steepest] > 1e-9:  # else every score lies beyond its margin, which is rare; less is the rounding of a sum that is 0
        moved = (state[steepest] - before[steepest]).abs().max()
        assert_true(moved > 0, "the other weights of the discriminator no longer move", hint=hint)


def copy_all(averaged, model, decay):
    if not 0 <= decay <= 1:
        raise ValueError
    averaged.load_state_dict(model.state_dict())


def average_all(averaged, model, decay):
    """Buffers too, the statistics and even the integer."""
    if not 0 <= decay <= 1:
        raise ValueError
    new = model.state_dict()
    averaged.load_state_dict({name: decay * old + (1 - decay) * new[name] for name, old in averaged.state_dict().items()})


def rebind(averaged, model, decay):
    if not 0 <= decay <= 1:
        raise ValueError
    for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
        old = decay * old + (1 - decay) * new
    for old, new in zip(averaged.buffers(), model.buffers(), strict=True):
        old = new.clone()


def share(averaged, model, decay):
    """The values are right until the model moves on: the buffers are the model's own."""
    if not 0 <= decay <= 1:
        raise ValueError
    for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
        old.data = decay * old.data + (1 - decay) * new.data
    for old, new in zip(averaged.buffers(), model.buffers(), strict=True):
        old.data = new.data


def ema_once_for_each_name(averaged, model, decay):
    """In place, name by name: a weight that two names share moves twice."""
    if not 0 <= decay <= 1:
        raise ValueError("decay")
    weights = {name for name, _ in averaged.named_parameters(remove_duplicate=False)}
    new = model.state_dict()
    for name, old in averaged.state_dict().items():
        old.copy_(decay * old + (1 - decay) * new[name] if name in weights else new[name])
    for old, new in zip(averaged.buffers(), model.buffers(), strict=True):
        old.copy_(new)


STEP = """
def train_step(generator, discriminator, generator_optimizer, discriminator_optimizer, images, labels, discriminator_noise,
               generator_noise, precision="float32"):
"""

GENERATOR_FIRST = """
    discriminator.requires_grad_(False)
    with autocast(images.device, precision):
        g_loss = generator_loss(discriminator(generator(generator_noise, labels), labels))
    generator_optimizer.zero_grad()
    g_loss.backward()
    generator_optimizer.step()
    discriminator.requires_grad_(True)
    with torch.no_grad(), autocast(images.device, precision):
        fakes = generator(discriminator_noise, labels)
    with autocast(images.device, precision):
        d_loss = discriminator_loss(discriminator(images, labels), discriminator(fakes, labels))
    discriminator_optimizer.zero_grad()
    d_loss.backward()
    discriminator_optimizer.step()
    return {"discriminator_loss": d_loss, "generator_loss": g_loss}
"""

BOTH_AT_ONCE = """
    with autocast(images.device, precision):
        fakes = generator(discriminator_noise, labels).detach()
        d_loss = discriminator_loss(discriminator(images, labels), discriminator(fakes, labels))
        g_loss = generator_loss(discriminator(generator(generator_noise, labels), labels))
    by_g = torch.autograd.grad(g_loss, list(generator.parameters()))
    by_d = torch.autograd.grad(d_loss, list(discriminator.parameters()))
    for model, gradients in ((generator, by_g), (discriminator, by_d)):
        for weight, gradient in zip(model.parameters(), gradients):
            weight.grad = gradient
    discriminator_optimizer.step()
    generator_optimizer.step()
    return {"discriminator_loss": d_loss, "generator_loss": g_loss}
"""

ONE_LOSS = """
    with autocast(images.device, precision):
        fakes = generator(discriminator_noise, labels)
        d_loss = discriminator_loss(discriminator(images, labels), discriminator(fakes, labels))
        g_loss = generator_loss(discriminator(generator(generator_noise, labels), labels))
    discriminator_optimizer.zero_grad()
    generator_optimizer.zero_grad()
    (d_loss + g_loss).backward()
    discriminator_optimizer.step()
    generator_optimizer.step()
    return {"discriminator_loss": d_loss, "generator_loss": g_loss}
"""

ONE_CONTEXT = """
    with autocast(images.device, precision):
        with torch.no_grad():
            fakes = generator(discriminator_noise, labels)
        d_loss = discriminator_loss(discriminator(images, labels), discriminator(fakes, labels))
        discriminator_optimizer.zero_grad()
        d_loss.backward()
        discriminator_optimizer.step()
        g_loss = generator_loss(discriminator(generator(generator_noise, labels), labels))
        generator_optimizer.zero_grad()
        g_loss.backward()
        generator_optimizer.step()
        discriminator_optimizer.zero_grad()
    return {"discriminator_loss": d_loss, "generator_loss": g_loss}
"""

FAKES = {
    "discriminator_loss": {
        "zero": lambda real, fake: 0 * (real.mean() + fake.mean()),
        "the cut forgotten": lambda real, fake: (1 - real).mean() + (1 + fake).mean(),
        "the margin forgotten": lambda real, fake: F.relu(-real).mean() + F.relu(fake).mean(),
        "real and fake swapped": lambda real, fake: F.relu(1 + real).mean() + F.relu(1 - fake).mean(),
        "the fakes pushed up as well": lambda real, fake: F.relu(1 - real).mean() + F.relu(1 - fake).mean(),
        "the sign turned": lambda real, fake: -F.relu(1 - real).mean() - F.relu(1 + fake).mean(),
        "summed": lambda real, fake: F.relu(1 - real).sum() + F.relu(1 + fake).sum(),
        "halved": lambda real, fake: (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2,
        "one mean over both": lambda real, fake: 2 * torch.cat([F.relu(1 - real), F.relu(1 + fake)]).mean(),
        "the hinge of the means": lambda real, fake: F.relu(1 - real.mean()) + F.relu(1 + fake.mean()),
        "the margin squared": lambda real, fake: F.relu(1 - real).square().mean() + F.relu(1 + fake).square().mean(),
        "binary cross-entropy": lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(),
        "least squares": lambda real, fake: (real - 1).square().mean() + (fake + 1).square().mean(),
        "relativistic": lambda real, fake: F.relu(1 - (real - fake.mean())).mean() + F.relu(1 + (fake - real.mean())).mean(),
        "the real ones left out": lambda real, fake: F.relu(1 + fake).mean() + 1,
        "the fakes detached": lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake.detach()).mean(),
        "scores clamped": lambda real, fake: F.relu(1 - real.clamp(-100, 100)).mean() + F.relu(1 + fake.clamp(-100, 100)).mean(),
        "weighed by the size of the batch": lambda real, fake: (
            torch.cat([F.relu(1 - real), F.relu(1 + fake)]).sum() / min(len(real), len(fake))
        ),
    },
    "generator_loss": {
        "the sign turned": lambda fake: fake.mean(),
        "summed": lambda fake: -fake.sum(),
        "with a margin": lambda fake: F.relu(1 - fake).mean(),
        "the discriminator's hinge turned": lambda fake: -F.relu(1 + fake).mean(),
        "cross-entropy, not saturating": lambda fake: F.softplus(-fake).mean(),
        "cross-entropy, saturating": lambda fake: -F.softplus(fake).mean(),
        "cut off from its input": lambda fake: -fake.mean().detach(),
        "of the first fake only": lambda fake: -fake[0],
        "clamped": lambda fake: -fake.clamp(-15, 15).mean(),
        "squashed": lambda fake: -(10 * torch.tanh(fake / 10)).mean(),
        "per item": lambda fake: -fake,
    },
    "ema_update": {
        "nothing": lambda averaged, model, decay: None,
        "a copy": copy_all,
        "buffers averaged": average_all,
        "names rebound": rebind,
        "storage shared": share,
        "decay the wrong way round": Edit("1 - decay)", "decay)"),
        "a fixed decay": Edit("1 - decay)", "0.005)"),
        "buffers forgotten": Edit(".copy_(", ".clone().copy_("),
        "the model moved instead": Edit("old.lerp_(new,", "new.lerp_(old,"),
        "any decay accepted": Edit("if not 0 <= decay <= 1:", "if False:"),
        "the ends refused": Edit("0 <= decay <= 1", "0 < decay < 1"),
        "refused too late": lambda averaged, model, decay: (
            averaged.load_state_dict(
                {
                    name: value if name.endswith(BUFFERS) else torch.lerp(averaged.state_dict()[name], value, 1 - decay)
                    for name, value in model.state_dict().items()
                }
            )
            and None
            if 0 <= decay <= 1
            else averaged.load_state_dict(model.state_dict()) and refuse()
        ),
        "frozen weights left out": Edit("old.lerp_(new, 1 - decay)", "old.requires_grad and old.lerp_(new, 1 - decay)"),
        "a gradient recorded": Edit("with torch.no_grad():", "with torch.enable_grad():"),
        "frozen weights of the model left out": Edit(
            "old.lerp_(new, 1 - decay)", "new.requires_grad and old.lerp_(new, 1 - decay)"
        ),
        "only what is saved": lambda averaged, model, decay: ema_by_state(averaged, model, decay),
        "once for each name": ema_once_for_each_name,
    },
    "Generator.forward": {
        "blank": lambda self, noise, labels: torch.zeros(len(noise), 1, 8, 8, dtype=noise.dtype),
        "the class ignored": Edit("onehot], dim=1)", "0 * onehot], dim=1)"),
        "the noise ignored": Edit("[noise, onehot]", "[0 * noise, onehot]"),
        "noise of its own": Edit("[noise, onehot]", "[torch.randn_like(noise), onehot]"),
        "the truncation trick": Edit("[noise, onehot]", "[noise.clamp(-2, 2), onehot]"),
        "the class before the noise": Edit("[noise, onehot]", "[onehot, noise]"),
        "the noise detached": Edit("[noise, onehot]", "[noise.detach(), onehot]"),
        "no sigmoid": Edit("torch.sigmoid(self.body(hidden))", "self.body(hidden)"),
        "ink from −1 to 1": Edit("torch.sigmoid(self.body(hidden))", "torch.tanh(self.body(hidden))"),
        "a sigmoid too many": Edit("torch.sigmoid(self.body(hidden))", "torch.sigmoid(torch.sigmoid(self.body(hidden)))"),
        "a hard-coded width": Edit("(-1, 2, 2)", "(128, 2, 2)"),
        "space before channels": Edit(".unflatten(1, (-1, 2, 2))", ".unflatten(1, (2, 2, -1)).permute(0, 3, 1, 2)"),
        "one-hot rows in float32": Edit(".to(noise.dtype)", ".float()"),
        "only the width checked": Edit("noise.shape != (B, D)", "noise.shape[1] != D"),
        "only the length checked": Edit("noise.shape != (B, D)", "len(noise) != B"),
        "nothing checked": Edit("if noise.shape != (B, D):", "if False:"),
        "one noise for all accepted": Edit(
            "if noise.shape != (B, D):",
            "noise = noise.expand(B, -1) if noise.shape == (1, D) else noise\n        if noise.shape != (B, D):",
        ),
        "a single noise without its axis accepted": Edit(
            "if noise.shape != (B, D):",
            "noise = noise[None] if noise.shape == (D,) else noise\n        if noise.shape != (B, D):",
        ),
        "one label for all accepted": Edit(
            "if noise.shape != (B, D):",
            "labels = labels.expand(len(noise)) if B == 1 else labels\n        if noise.shape[1:] != (D,) or len(noise) != len(labels):",
        ),
        "as many numbers are enough": Edit(
            "if noise.shape != (B, D):",
            "noise = noise.reshape(B, -1) if noise.numel() == B * D else noise\n        if noise.shape != (B, D):",
        ),
        "checked too late": lambda self, noise, labels: (
            self.body(torch.ones(2, self.input.out_features // 4, 2, 2, dtype=noise.dtype)) is None or refuse()
            if noise.shape != (len(labels), self.config.latent)
            else forward_by_columns(self, noise, labels)
        ),
        "always in evaluation mode": Edit("onehot = ", "self.eval()\n        onehot = "),
    },
    "train_step": {
        "nothing": lambda *args, **kwargs: {"discriminator_loss": torch.tensor(2.0), "generator_loss": torch.tensor(0.0)},
        "the generator first": STEP + GENERATOR_FIRST,
        "the generator against the old discriminator": STEP + BOTH_AT_ONCE,
        "both losses added": STEP + ONE_LOSS,
        "one autocast context for all": STEP + ONE_CONTEXT,
        "the fakes not detached": Edit("torch.no_grad(), autocast", "autocast"),
        "gradients left in the discriminator": Edit("weight.requires_grad_(False)", "pass"),
        "the discriminator frozen for good": Edit("weight.requires_grad_(True)", "pass"),
        "frozen weights thawed": Edit(
            "for weight in trained:\n        weight.requires_grad_(True)", "discriminator.requires_grad_(True)"
        ),
        "only weights without a bias switched back on": Edit(
            "weight.requires_grad_(True)", "weight.requires_grad_(weight.ndim > 1)"
        ),
        "the generator's step moves both": Edit(
            "    generator_optimizer.step()", "    generator_optimizer.step()\n    discriminator_optimizer.step()"
        ),
        "one noise for both": Edit("generator(generator_noise,", "generator(discriminator_noise,"),
        "the noises swapped": Edit("generator(discriminator_noise,", "generator(generator_noise,"),
        "the same fakes for both": Edit(
            "with torch.no_grad(), autocast", "generator_noise = discriminator_noise\n    with torch.no_grad(), autocast"
        ),
        "noise of its own": Edit("generator(generator_noise,", "generator(torch.randn_like(generator_noise),"),
        "stale gradients in the discriminator": Edit("    discriminator_optimizer.zero_grad()\n", ""),
        "stale gradients in the generator": Edit("    generator_optimizer.zero_grad()\n", ""),
        "gradients cleared after backward": Edit(
            "    discriminator_optimizer.zero_grad()\n    d_loss.backward()",
            "    d_loss.backward()\n    discriminator_optimizer.zero_grad()",
        ),
        "real and fake swapped": Edit("real_logits, fake_logits = discriminator", "fake_logits, real_logits = discriminator"),
        "half of the discriminator's loss": Edit("d_loss = discriminator_loss(", "d_loss = 0.5 * discriminator_loss("),
        "gradients clipped": Edit(
            "    generator_optimizer.step()",
            "    nn.utils.clip_grad_norm_(generator.parameters(), 1.0)\n    generator_optimizer.step()",
        ),
        "weights clipped": Edit(
            "    discriminator_optimizer.step()",
            "    discriminator_optimizer.step()\n"
            "    for weight in discriminator.parameters():\n"
            "        weight.data.clamp_(-0.1, 0.1)",
        ),
        "cross-entropy": Edit(
            "discriminator_loss(real_logits, fake_logits)", "F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()"
        ),
        "the discriminator's hinge turned": Edit("generator_loss(fake_logits)", "-F.relu(1 + fake_logits).mean()"),
        "labels interleaved": Edit("labels.repeat(2)", "labels.repeat_interleave(2)"),
        "fakes of another class": Edit("generator(generator_noise, labels)", "generator(generator_noise, (labels + 1) % 10)"),
        "labels ignored": Edit("labels.repeat(2)", "torch.zeros_like(labels).repeat(2)"),
        "the discriminator never learns": Edit("    discriminator_optimizer.step()\n", ""),
        "the generator never learns": Edit("    generator_optimizer.step()\n", ""),
        "fakes drawn in evaluation mode": Edit(
            "with torch.no_grad(), autocast", "generator.eval()\n    with torch.no_grad(), autocast"
        ),
        "the discriminator put into training mode": Edit("    trained = [", "    discriminator.train()\n    trained = ["),
        "always in float32": Edit("precision)", '"float32")'),
        "only the generator in bfloat16": Edit(
            "real_logits, fake_logits = discriminator(",
            "with torch.autocast(images.device.type, enabled=False):\n            real_logits, fake_logits = discriminator(",
        ),
        "losses swapped": Edit(
            '"discriminator_loss": d_loss.detach(), "generator_loss": g_loss',
            '"generator_loss": d_loss.detach(), "discriminator_loss": g_loss',
        ),
    },
}


def refuse():
    raise ValueError("too late")


def looped_hinge(real, fake):
    total = torch.zeros((), dtype=real.dtype, device=real.device)
    for score in real:
        total = total + torch.clamp(1 - score, min=0) / len(real)
    for score in fake:
        total = total + torch.clamp(1 + score, min=0) / len(fake)
    return total


def ema_by_name(averaged, model, decay):
    if decay < 0 or decay > 1:
        raise ValueError("decay")
    weights = dict(model.named_parameters())
    for name, weight in averaged.named_parameters():
        weight.data.mul_(decay).add_(weights[name].data, alpha=1 - decay)
    buffers = dict(model.named_buffers())
    for name, buffer in averaged.named_buffers():
        buffer.data.copy_(buffers[name].data)


def ema_by_state(averaged, model, decay):
    if not 0.0 <= decay <= 1.0:
        raise ValueError("decay")
    weights, new = {name for name, _ in averaged.named_parameters(remove_duplicate=False)}, model.state_dict()
    old = averaged.state_dict()
    averaged.load_state_dict({k: decay * old[k] + (1 - decay) * new[k] if k in weights else new[k] for k in old})


def ema_in_one_vector(averaged, model, decay):
    if not decay >= 0 or not decay <= 1:
        raise ValueError("decay")
    old, new = (torch.nn.utils.parameters_to_vector(module.parameters()).detach() for module in (averaged, model))
    torch.nn.utils.vector_to_parameters(torch.lerp(new, old, decay), averaged.parameters())
    for name, buffer in averaged.named_buffers():
        with torch.no_grad():
            buffer.copy_(model.get_buffer(name))


def ema_by_library(averaged, model, decay):
    if not 0 <= decay <= 1:
        raise ValueError("decay")
    average = torch.optim.swa_utils.get_ema_avg_fn(decay)
    with torch.no_grad():
        for old, new in zip(averaged.parameters(), model.parameters(), strict=True):
            old.copy_(average(old, new, 1))
        for old, new in zip(averaged.buffers(), model.buffers(), strict=True):
            old.copy_(new)


@torch.no_grad()
def ema_at_once(averaged, model, decay):
    if not 0 <= decay <= 1:
        raise ValueError("decay")
    torch._foreach_mul_(list(averaged.parameters()), decay)
    torch._foreach_add_(list(averaged.parameters()), list(model.parameters()), alpha=1 - decay)
    for old, new in zip(averaged.buffers(), model.buffers(), strict=True):
        old.data = new.detach().clone()


def forward_by_columns(self, noise, labels):
    if tuple(noise.shape) != (labels.shape[0], self.config.latent):
        raise ValueError("noise")
    by_noise, by_class = self.input.weight[:, : self.config.latent], self.input.weight[:, self.config.latent :]
    hidden = F.linear(noise, by_noise) + by_class.T[labels]
    return self.body(hidden.view(len(hidden), hidden.shape[1] // 4, 2, 2)).sigmoid()


def forward_layer_by_layer(self, noise, labels):
    if list(noise.shape) != [len(labels), self.config.latent]:
        raise ValueError("noise")
    rows = []
    for z, y in zip(noise, labels, strict=True):
        row = torch.zeros(10, dtype=noise.dtype, device=noise.device)
        row[y] = 1
        rows.append(torch.cat([z, row]))
    x = self.input(torch.stack(rows))
    x = x.reshape(len(x), -1, 2, 2)
    for layer in self.body:
        x = layer(x)
    return F.sigmoid(x)


def forward_by_scatter(self, noise, labels):
    if noise.ndim != 2 or len(noise) != len(labels) or noise.shape[1] != self.config.latent:
        raise ValueError("noise")
    onehot = noise.new_zeros(len(labels), 10).scatter_(1, labels[:, None], 1)
    hidden = self.input(torch.hstack((noise, onehot)))
    return 1 / (1 + (-self.body(hidden.reshape(len(hidden), -1, 2, 2))).exp())


TWO_PASSES = """
    with autocast(images.device, precision):
        fakes = generator(discriminator_noise, labels).detach()
    with autocast(images.device, precision):
        real_logits = discriminator(images, labels)
        fake_logits = discriminator(fakes, labels)
        d_loss = discriminator_loss(real_logits, fake_logits)
    discriminator.zero_grad()
    d_loss.backward()
    discriminator_optimizer.step()
    before = [weight.requires_grad for weight in discriminator.parameters()]
    for weight in discriminator.parameters():
        weight.requires_grad = False
    with autocast(images.device, precision):
        fakes = generator(generator_noise, labels)
        g_loss = generator_loss(discriminator(fakes, labels))
    generator.zero_grad()
    g_loss.backward()
    generator_optimizer.step()
    for weight, trained in zip(discriminator.parameters(), before):
        weight.requires_grad = trained
    return dict(generator_loss=g_loss.detach().clone(), discriminator_loss=d_loss.detach().clone())
"""

TWO_BACKWARDS = """
    discriminator_optimizer.zero_grad()
    with autocast(images.device, precision), torch.no_grad():
        fakes = generator(discriminator_noise, labels)
    with autocast(images.device, precision):
        on_real = torch.clamp(1 - discriminator(images, labels), min=0).mean()
    on_real.backward()
    with autocast(images.device, precision):
        on_fake = torch.clamp(1 + discriminator(fakes, labels), min=0).mean()
    on_fake.backward()
    discriminator_optimizer.step()
    generator_optimizer.zero_grad()
    with autocast(images.device, precision):
        g_loss = -discriminator(generator(generator_noise, labels), labels).mean()
    g_loss.backward()
    generator_optimizer.step()
    discriminator_optimizer.zero_grad()
    return {"discriminator_loss": (on_real + on_fake).detach(), "generator_loss": g_loss.detach()}
"""

GRADIENTS_BY_HAND = """
    with torch.no_grad(), autocast(images.device, precision):
        fakes = generator(discriminator_noise, labels)
    with autocast(images.device, precision):
        scores = discriminator(torch.cat((fakes, images)), torch.cat((labels, labels)))
    d_loss = discriminator_loss(scores[len(fakes):], scores[:len(fakes)])
    weights = [weight for weight in discriminator.parameters() if weight.requires_grad]
    for weight, gradient in zip(weights, torch.autograd.grad(d_loss, weights)):
        weight.grad = gradient
    discriminator_optimizer.step()
    with autocast(images.device, precision):
        g_loss = generator_loss(discriminator(generator(generator_noise, labels), labels))
    weights = list(generator.parameters())
    for weight, gradient in zip(weights, torch.autograd.grad(g_loss, weights)):
        weight.grad = gradient
    generator_optimizer.step()
    return {"discriminator_loss": d_loss.detach(), "generator_loss": g_loss.detach()}
"""

VARIANTS = {
    "discriminator_loss": {
        "a loop": looped_hinge,
        "clamped": lambda real, fake: (1 - real).clamp(min=0).mean() + (1 + fake).clamp(min=0).mean(),
        "torch's hinge embedding loss": lambda real, fake: (
            F.hinge_embedding_loss(real, -torch.ones_like(real)) + F.hinge_embedding_loss(-fake, -torch.ones_like(fake))
        ),
        "the paper's sign": lambda real, fake: (
            -torch.minimum(real - 1, torch.zeros_like(real)).mean() - torch.minimum(-fake - 1, torch.zeros_like(fake)).mean()
        ),
    },
    "generator_loss": {
        "a sum": lambda fake: -fake.sum() / fake.numel(),
        "turned first": lambda fake: torch.mean(-fake),
        "a product": lambda fake: fake @ torch.full_like(fake, -1 / len(fake)),
    },
    "ema_update": {
        "by name": ema_by_name,
        "all into one vector": ema_in_one_vector,
        "the library's average": ema_by_library,
        "all at once": ema_at_once,
    },
    "Generator.forward": {
        "by columns": forward_by_columns,
        "by scatter": forward_by_scatter,
        "item by item, layer by layer": forward_layer_by_layer,
    },
    "train_step": {
        "two passes": STEP + TWO_PASSES,
        "two backward passes": STEP + TWO_BACKWARDS,
        "gradients by hand": STEP + GRADIENTS_BY_HAND,
    },
}

EQUIVALENT = {
    "Generator.forward": {
        "call dropped: F.one_hot(labels, digits.CLASSES).to(noise.dtype) -> F.one_hot(labels, digits.CLASSES)": (
            "torch.cat promotes the integers to the dtype of the noise, whichever it is, and 0 and 1 are exact in all of them"
        ),
    },
    "train_step": {
        "detach: {'discriminator_loss': d_loss.de… -> {'discriminator_loss': d_loss, '… 76c49b": (
            "detaching a returned loss saves memory and changes no value; what crosses the wire is detached in any case"
        ),
        "detach: {'discriminator_loss': d_loss.de… -> {'discriminator_loss': d_loss.de… 0277cb": (
            "detaching a returned loss saves memory and changes no value; what crosses the wire is detached in any case"
        ),
    },
}
