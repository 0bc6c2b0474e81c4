"""What a right answer to convert/video_to_text must do. Truths: three-dimensional convolutions of torch, counted weights, loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, assert_true, raises

PAD, BOS, EOS = 0, 1, 2


# --- middle_channels ---------------------------------------------------------------------------------------------------


def weights_of_3d(inputs, outputs, size, time):
    return time * size * size * inputs * outputs


def weights_of_halves(inputs, middle, outputs, size, time):
    return size * size * inputs * middle + time * middle * outputs


@pytest.mark.stub("middle_channels")
@pytest.mark.parametrize("kernel", ["given", "by default"])
def test_as_many_weights_as_fit_into_a_3d_convolution(impl, draw, kernel):
    for _ in range(8):
        inputs, outputs = draw.integer(2, 40), draw.integer(2, 40)
        size, time = (draw.size(2, 5), draw.size(2, 5)) if kernel == "given" else (3, 3)
        budget = weights_of_3d(inputs, outputs, size, time)
        expected = max(m for m in range(1, 9999) if m == 1 or weights_of_halves(inputs, m, outputs, size, time) <= budget)
        given = {"size": size, "time": time} if kernel == "given" else {}
        hint = "the largest M for which d²·N_in·M + t·M·N_out is at most t·d²·N_in·N_out"
        assert_equal(impl.middle_channels(inputs, outputs, **given), expected, what="M", hint=hint)


@pytest.mark.stub("middle_channels")
def test_there_is_always_a_channel(impl, draw):
    outputs = draw.integer(1, 3)
    result = impl.middle_channels(1, outputs, size=1, time=1)
    assert_equal(result, 1, what="M", hint="rounded down it may be 0, and nothing passes through no channel: at least 1")


@pytest.mark.stub("middle_channels")
def test_a_budget_that_is_spent_to_the_last_weight(impl):
    for inputs, outputs in ((4, 4), (8, 8), (1, 1), (1, 3), (1, 16), (3, 1), (10**6, 10**6)):
        halves = 9 * inputs + 3 * outputs
        expected = max(1, 27 * inputs * outputs // halves)
        hint = "at most as many weights: equally many are allowed, one more is not; and at least one channel"
        assert_equal(impl.middle_channels(inputs, outputs), expected, what=f"M of {inputs} and {outputs} channels", hint=hint)
    for size, time, expected in ((1, 3, 3), (3, 1, 3), (5, 1, 3), (1, 1, 2)):
        hint = "size is that of the kernel in space, time that over frames; each may be 1"
        assert_equal(impl.middle_channels(4, 4, size=size, time=time), expected, what="M", hint=hint)


# --- Conv2Plus1D.forward -----------------------------------------------------------------------------------------------


def own_convolution(state, x, stride):
    """The same as two three-dimensional convolutions: 1×3×3, then 3×1×1."""
    x = x.transpose(1, 2)  # (B, C, T, H, W)
    x = F.conv3d(x, state["space.weight"][:, :, None], state["space.bias"], stride=(1, stride, stride), padding=(0, 1, 1))
    x = F.conv3d(F.relu(x), state["time.weight"][..., None, None], state["time.bias"], padding=(1, 0, 0))
    return x.transpose(1, 2)


def random_convolution(impl, draw):
    inputs, outputs, stride = draw.size(1, 3), draw.size(1, 4), draw.integer(1, 2)
    module = impl.Conv2Plus1D(inputs, outputs, stride=stride)
    module.double()
    state = draw.like({name: value.double() for name, value in module.state_dict().items()})
    module.load_state_dict(state)
    B, T, (H, W) = draw.batch(1, 3), draw.size(1, 5), draw.sizes(2, 2, 6)
    return module, state, draw.normal(B, T, inputs, H, W), stride


@pytest.mark.stub("Conv2Plus1D.forward")
def test_equals_two_convolutions_in_three_dimensions(impl, draw):
    module, state, x, stride = random_convolution(impl, draw)
    hint = "frames are items of the batch to `space`, then a ReLU; pixels are items of the batch to `time`; then everything back in its place"
    assert_close(module(x), own_convolution(state, x, stride), hint=hint)


@pytest.mark.stub("Conv2Plus1D.forward")
def test_gradient_goes_back_in_time_and_space(impl, draw):
    module, state, x, stride = random_convolution(impl, draw)
    g = draw.normal(*own_convolution(state, x, stride).shape)
    with torch.enable_grad():
        leaves = {name: value.clone().requires_grad_() for name, value in {**state, "x": x}.items()}
        total = (own_convolution(leaves, leaves["x"], stride) * g).sum()
        expected = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    hint = "is something detached, or mixed up on the way back?"
    assert_close(module.vjp(x, wrt=0, cotangent=g), expected.pop("x"), what="the gradient of x", hint=hint)
    actual = module.vjp(x, wrt="parameters", cotangent=g)
    for name, truth in expected.items():
        assert_close(actual[name], truth, what=f"the gradient of {name}", hint=hint)


# --- AttentionPool.forward ---------------------------------------------------------------------------------------------


def own_pool(state, frames):
    """Frame by frame: means (B, K, C) and weights (B, K, T)."""
    scores = [
        torch.tanh(frames[:, t] @ state["hidden.weight"].T + state["hidden.bias"]) @ state["relevance.weight"].T + state["relevance.bias"]
        for t in range(frames.shape[1])
    ]  # fmt: skip
    weights = torch.stack([score.exp() for score in scores], dim=2)  # (B, K, T)
    weights = weights / weights.sum(2, keepdim=True)
    return sum(weights[:, :, t, None] * frames[:, None, t] for t in range(frames.shape[1])), weights


def random_pool(impl, draw):
    C, K = draw.size(1, 6), draw.size(1, 5)
    module = impl.AttentionPool(C, K)
    module.double()
    state = draw.like({name: value.double() for name, value in module.state_dict().items()}, scale=1.0)
    module.load_state_dict(state)
    return module, state, draw.normal(draw.batch(1, 4), draw.size(1, 7), C)


@pytest.mark.stub("AttentionPool.forward")
def test_each_query_takes_its_own_mean_over_time(impl, draw):
    module, state, frames = random_pool(impl, draw)
    pooled, weights = module(frames)
    expected_pooled, expected_weights = own_pool(state, frames)
    assert_close(weights, expected_weights, what="the weights", hint="hidden, tanh, relevance; softmax over time, for each query")
    assert_close(pooled, expected_pooled, what="the means", hint="it is the frames themselves that are averaged")


@pytest.mark.stub("AttentionPool.forward")
def test_order_of_frames_does_not_matter_to_the_mean(impl, draw):
    module, _, frames = random_pool(impl, draw)
    order = draw.permutation(frames.shape[1])
    pooled, weights = module(frames)
    shuffled_pooled, shuffled_weights = module(frames[:, order])
    hint = "attention over time knows no order: whatever moves must be in the frames, put there by the convolutions"
    assert_close(shuffled_pooled, pooled, what="the means of shuffled frames", hint=hint)
    assert_close(shuffled_weights, weights[:, :, order], what="the weights of shuffled frames", hint=hint)


@pytest.mark.stub("AttentionPool.forward")
def test_gradient_reaches_frames_through_mean_and_weights(impl, draw):
    module, state, frames = random_pool(impl, draw)
    cotangents = tuple(draw.normal(*value.shape) for value in own_pool(state, frames))
    with torch.enable_grad():
        leaves = {name: value.clone().requires_grad_() for name, value in {**state, "frames": frames}.items()}
        total = sum((value * g).sum() for value, g in zip(own_pool(leaves, leaves["frames"]), cotangents, strict=True))
        expected = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    result, hint = (
        module.vjp(frames, wrt=0, cotangent=cotangents),
        "a frame counts twice: as what is averaged, and as what decides how much",
    )
    assert_close(result, expected.pop("frames"), what="the gradient of the frames", hint=hint)
    actual, hint = module.vjp(frames, wrt="parameters", cotangent=cotangents), "what is relevant is learned: detach no weight"
    for name, truth in expected.items():
        assert_close(actual[name], truth, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("AttentionPool.forward")
def test_a_frame_may_be_far_more_relevant_than_others(impl):
    module = impl.AttentionPool(2, 2)
    state = module.state_dict()
    state |= {"hidden.weight": torch.eye(2), "hidden.bias": torch.zeros(2), "relevance.bias": torch.tensor([-1e4, 1e4])}
    state["relevance.weight"] = torch.tensor([[2e4, 0.0], [0.0, -2e4]])
    module.load_state_dict(state)
    frames = torch.tensor([[[1.0, 2.0], [-1.0, -3.0], [0.0, 1.0]]])
    pooled, weights = module(frames)
    hint = "exp of 10,000 is no number: softmax subtracts the largest first"
    expected = torch.tensor([[[1.0, 0, 0], [0, 1, 0]]])
    assert_close(weights, expected, what="the weights", hint=hint, hint_for="values NaN")
    assert_close(pooled, frames[:, :2], what="the means", hint=hint, hint_for="values NaN")
    gradient = module.vjp(frames, wrt=0, cotangent=(torch.ones(1, 2, 2), torch.ones(1, 2, 3)))
    expected = torch.tensor([[[1.0, 1], [1, 1], [0, 0]]])
    assert_close(gradient, expected, what="the gradient of the frames", hint=hint, hint_for="values NaN")


# --- inverse_sigmoid_decay ---------------------------------------------------------------------------------------------


@pytest.mark.stub("inverse_sigmoid_decay")
def test_equals_the_inverse_sigmoid(impl, draw):
    k = draw.number(1, 50)
    for step in (0, draw.integer(1, 20), draw.integer(20, 300)):
        expected = 1 / (1 + math.exp(step / k - math.log(k)))
        assert_close(impl.inverse_sigmoid_decay(step, k), expected, tolerance=1e-9, what="ε", hint="k / (k + exp(i / k))")


@pytest.mark.stub("inverse_sigmoid_decay")
def test_late_steps_do_not_overflow(impl, draw):
    result = impl.inverse_sigmoid_decay(draw.integer(10**4, 10**7), draw.number(1, 5))
    assert_finite(torch.tensor(float(result)), what="ε", hint="exp(i / k) overflows long before training ends")
    assert_true(0 <= result < 1e-9, "late in training hardly a true word is kept", hint="the limit is 0")


@pytest.mark.stub("inverse_sigmoid_decay")
@pytest.mark.parametrize("k", [1 - 1e-9, 0.999, 0.0, -3.0, math.nan])
def test_k_is_at_least_one(impl, k):
    with raises(ValueError, hint="k below 1 begins with less than half of the true words: refuse it, and NaN too"):
        impl.inverse_sigmoid_decay(3, k)


@pytest.mark.stub("inverse_sigmoid_decay")
def test_one_is_allowed(impl):
    assert_close(impl.inverse_sigmoid_decay(0, 1.0), 0.5, what="ε at the first step with k = 1", hint="k = 1 is still right")
    for step in (20, 40, 700, 709, 710, 745, 1000, 10**9):
        expected, hint = math.exp(-step) / (1 + math.exp(-step)), "no floor: it falls to 0, and goes on where exp(i) is no number"
        ratio = (impl.inverse_sigmoid_decay(step, 1) + 1e-300) / (expected + 1e-300)
        assert_between(
            ratio, 0.999, 1.001 if step < 690 else 1e9, what=f"ε at step {step} with k = 1, over what it should be", hint=hint
        )


@pytest.mark.stub("inverse_sigmoid_decay")
def test_falls_on_where_k_is_large(impl):
    for step in (0, 500, 700, 1000, 5000, 50_000):
        expected = 1 / (1 + math.exp(step / 100) / 100)
        hint = "exp overflows where step / k is above 709: it is the exponent that is held, not the step"
        ratio = impl.inverse_sigmoid_decay(step, 100) / expected
        assert_between(ratio, 0.999, 1.001, what=f"ε at step {step} with k = 100, over what it should be", hint=hint)
    for step in (80_000, 10**9):
        assert_close(impl.inverse_sigmoid_decay(step, 100), 0.0, what=f"ε at step {step} with k = 100", hint="it falls to 0")


# --- scheduled_inputs --------------------------------------------------------------------------------------------------


def random_pass(draw):
    B, T, V = draw.batch(), draw.size(), draw.size(3)
    return draw.integers(V, (B, T)), draw.normal(B, T, V), draw.uniform(B, T)


@pytest.mark.stub("scheduled_inputs")
def test_replaced_words_are_those_that_were_predicted_for_their_place(impl, draw):
    inputs, logits, uniforms = random_pass(draw)
    keep = draw.number(0.2, 0.8)
    expected = inputs.clone()
    for b in range(inputs.shape[0]):
        for t in range(1, inputs.shape[1]):
            if not uniforms[b, t] < keep:
                expected[b, t] = int(logits[b, t - 1].argmax())
    hint = "the logits at t predict the word at t + 1; each word has a coin of its own, and the start token is never replaced"
    assert_equal(impl.scheduled_inputs(inputs, logits, uniforms, keep), expected, what="the inputs", hint=hint)


@pytest.mark.stub("scheduled_inputs")
def test_keep_of_one_and_of_zero(impl, draw):
    inputs, logits, uniforms = random_pass(draw)
    result = impl.scheduled_inputs(inputs, logits, uniforms, 1.0)
    assert_equal(result, inputs, what="the inputs", hint="with keep = 1 it is teacher forcing")
    expected = torch.cat([inputs[:, :1], logits[:, :-1].argmax(2)], dim=1)
    uniforms[:, -1] = 0.0  # a uniform of exactly 0 is not below 0
    result = impl.scheduled_inputs(inputs, logits, uniforms, 0.0)
    assert_equal(result, expected, what="the inputs", hint="with keep = 0 no true word but the start token is left")


@pytest.mark.stub("scheduled_inputs")
def test_a_coin_that_lands_on_the_edge(impl):
    inputs = torch.tensor([[2**24 + 1, 2**24 + 3, 2**24 + 5, 2**24 + 7]] * 2)
    logits = 1e4 * F.one_hot(torch.tensor([[1, 2, 3, 0], [3, 0, 1, 2]]), 4).float()
    uniforms = torch.tensor([[0.9, 0.5, 0.4999, 0.0], [0.0, 0.0, 0.75, 0.5]])
    expected = torch.tensor([[2**24 + 1, 1, 2**24 + 5, 2**24 + 7], [2**24 + 1, 2**24 + 3, 0, 1]])
    hint = "kept where the uniform is *below* keep, so that one of exactly keep replaces; words are whole numbers of any size"
    assert_equal(impl.scheduled_inputs(inputs, logits, uniforms, 0.5), expected, what="the inputs", hint=hint)
    start = impl.scheduled_inputs(inputs[:, :1], logits[:, :1], uniforms[:, :1], 0.0)
    assert_equal(start, inputs[:, :1], what="inputs of one word", hint="the start token stays, and nothing follows it")


# --- run_free ----------------------------------------------------------------------------------------------------------


def written(table, start, length):
    """What a `Toy` writes after `start`, in plain Python."""
    words = []
    for t in range(length):
        state = (start + sum(words)) % table.shape[1]
        words.append(max(range(table.shape[2]), key=lambda v: table[t, state, v].item()))
        if words[-1] == EOS:
            break
    return words + [PAD] * (length - len(words))


@pytest.mark.stub("run_free")
def test_goes_on_after_its_own_words_until_the_end(impl, draw):
    B, V, length = draw.batch(2), draw.integer(4, 7), draw.size()
    table = draw.normal(length, draw.integer(V, 2 * V), V)
    table[:, :, EOS] += draw.number(-0.5, 1)
    starts = draw.integers(V, (B,))
    starts[0] = EOS  # a start token may be any, also the one that ends
    expected = torch.tensor([written(table, start, length) for start in starts.tolist()])
    hint = "the likeliest word after all that is written; <eos> is written too, then only <pad>; the start token is no part of it"
    assert_equal(impl.run_free(impl.Toy(table), starts, length), expected, what="what was written", hint=hint)


@pytest.mark.stub("run_free")
def test_a_sentence_without_an_end_is_cut_off(impl, draw):
    B, V, length = draw.batch(1, 4), draw.integer(5, 8), draw.size(2, 6)
    table = draw.normal(length, V, V)
    table[:, :, :3] -= 99.0  # neither <pad> nor <eos> is ever written
    starts = draw.integers(V, (B,))
    expected = torch.tensor([written(table, start, length) for start in starts.tolist()])
    hint = "exactly `length` words, of which the last need not be <eos>"
    assert_equal(impl.run_free(impl.Toy(table), starts, length), expected, what="what was written", hint=hint)


@pytest.mark.stub("run_free")
def test_what_is_written_has_its_full_length(impl):
    V, length = 5, 6
    for words in ([EOS, 4, 4, 4, 4, 4], [3, PAD, 4, EOS, 3, 3], [3, BOS, 3, EOS, 4, EOS], [3, 4, 3, 4, 3, EOS], [PAD] * 6):
        table = F.one_hot(torch.tensor(words), V).float()[:, None].expand(length, 7, V).contiguous()
        end = words.index(EOS) + 1 if EOS in words else length
        expected = torch.tensor([words[:end] + [PAD] * (length - end)] * 2)
        hint = f"length is {length} wherever the sentences end, if only <eos> ends one: <pad> and <bos> before it are words like any other"
        result = impl.run_free(impl.Toy(table), torch.tensor([1, 3]), length)
        assert_equal(result, expected, what="what was written", hint=hint)


@pytest.mark.stub("run_free")
@pytest.mark.parametrize("early", [0, 1, 2])
def test_one_sentence_ends_and_the_others_go_on(impl, early):
    V, length, starts, word = 6, 5, torch.tensor([3, 4, 5]), 4
    table = torch.zeros(length, 32, V)
    table[:, :, word] = 1.0  # what is written again and again,
    table[1, int(starts[early]) + word, EOS] = 2.0  # but by one of the three, which ends after one word
    expected = torch.full((3, length), word)
    expected[early] = torch.tensor([word, EOS] + [PAD] * (length - 2))
    hint = "each sentence ends by itself: the others are written to their full length"
    assert_equal(impl.run_free(impl.Toy(table), starts, length), expected, what="what was written", hint=hint)


def middle_by_search(inputs, outputs, *, size=3, time=3):
    m = 1
    while weights_of_halves(inputs, m + 1, outputs, size, time) <= weights_of_3d(inputs, outputs, size, time):
        m += 1
    return m


def convolve_by(activation=torch.relu):
    def forward(self, x):
        T = x.shape[1]
        frames = [activation(self.space(x[:, t])) for t in range(T)]
        maps = torch.stack(frames, dim=2)  # (B, M, T, h, w)
        return F.conv3d(maps, self.time.weight[..., None, None], self.time.bias, padding=(1, 0, 0)).transpose(1, 2)

    return forward


def convolve_pixel_by_pixel(self, x):
    maps = torch.stack([F.relu(self.space(clip)) for clip in x])  # (B, T, M, h, w)
    rows = [[self.time(maps[..., i, j].transpose(1, 2)) for j in range(maps.shape[4])] for i in range(maps.shape[3])]
    return torch.stack([torch.stack(row, dim=3) for row in rows], dim=3).transpose(1, 2)  # (B, T, D, h, w)


def pool_by(score=torch.tanh, axis=2, values=lambda self, frames: frames):
    def forward(self, frames):
        relevance = F.linear(score(self.hidden(frames)), self.relevance.weight, self.relevance.bias)
        weights = torch.softmax(relevance.permute(0, 2, 1), dim=axis)
        return torch.einsum("bkt,btc->bkc", weights, values(self, frames)), weights

    return forward


def looped_pool(self, frames):
    means, weights = [], []
    for clip in frames:
        w = self.relevance(self.hidden(clip).tanh()).exp()  # (T, K)
        weights.append((w / w.sum(0)).T)
        means.append(weights[-1] @ clip)
    return torch.stack(means), torch.stack(weights)


def pool_clip_by_clip(self, frames):
    weights = [self.relevance(self.hidden(clip).tanh()).softmax(0).T for clip in frames]
    return torch.stack([w @ clip for w, clip in zip(weights, frames, strict=True)]), torch.stack(weights)


def scheduled_word_by_word(inputs, logits, uniforms, keep):
    rows = inputs.clone()
    for b in range(inputs.shape[0]):
        for t in range(1, inputs.shape[1]):
            if uniforms[b, t] >= keep:
                rows[b, t] = logits[b, t - 1].max(dim=0).indices
    return rows


def scheduled_by(
    written=lambda logits: logits.argmax(2).roll(1, dims=1), coin=lambda uniforms, keep: uniforms < keep, first=True
):
    def scheduled_inputs(inputs, logits, uniforms, keep):
        kept = coin(uniforms, keep)
        if first:
            kept = kept | (torch.arange(inputs.shape[1], device=inputs.device) == 0)
        return torch.where(kept, inputs, written(logits))

    return scheduled_inputs


def free_by(pick=lambda logits: logits.argmax(1), read=lambda ids: ids, stop=True, end=True, start=False):
    def run_free(score, starts, length):
        ids, ended = starts[:, None], torch.zeros_like(starts, dtype=torch.bool)
        for _ in range(length):
            word = pick(score(read(ids)))
            if stop:
                word = torch.where(ended, PAD, word)
            ended = ended | (word == EOS)
            ids = torch.cat([ids, word[:, None]], 1)
        ids = ids if end else ids.masked_fill(ids == EOS, PAD)
        return ids[:, :-1] if start else ids[:, 1:]

    return run_free


def free_with_a_buffer(score, starts, length):
    ids = starts.new_full((len(starts), length + 1), PAD)
    ids[:, 0] = starts
    for t in range(length):
        word = score(ids[:, : t + 1]).max(dim=1).indices
        ids[:, t + 1] = word * ~(ids[:, 1 : t + 1] == EOS).any(1)
    return ids[:, 1:]


def free_one_by_one(score, starts, length):
    rows = []
    for start in starts:
        words = [start.item()]
        while len(words) <= length and EOS not in words[1:]:
            words.append(int(score(torch.tensor([words]))[0].argmax()))
        rows.append(words[1:] + [PAD] * (length + 1 - len(words)))
    return torch.tensor(rows)


def cut(words):
    """Without the columns behind the last <eos>, if all have ended."""
    ends = [row.index(EOS) + 1 if EOS in row else words.shape[1] for row in words.tolist()]
    return words[:, : max(ends)]


FAKES = {
    "middle_channels": {
        "the outputs": lambda inputs, outputs, *, size=3, time=3: outputs,
        "the mean": lambda inputs, outputs, *, size=3, time=3: (inputs + outputs) // 2,
        "rounded up": Edit(
            "time * size**2 * inputs * outputs // (size**2 * inputs + time * outputs)",
            "-(-time * size**2 * inputs * outputs // (size**2 * inputs + time * outputs))",
        ),
        "the size not squared": Edit("size**2", "size"),
        "time and space swapped": Edit("size**2 * inputs + time * outputs", "time * inputs + size**2 * outputs"),
        "time forgotten": Edit("time * size**2 * inputs * outputs", "size**2 * inputs * outputs"),
        "possibly none": Edit("max(1, ", "max(0, "),
        "fewer weights": Edit("time * size**2 * inputs * outputs //", "(time * size**2 * inputs * outputs - 1) //"),
    },
    "Conv2Plus1D.forward": {
        "no ReLU between": convolve_by(lambda x: x),
        "another nonlinearity": convolve_by(F.gelu),
        "time over the batch": Edit(
            "x.unflatten(0, (B, T)).permute(0, 3, 4, 2, 1)", "x.unflatten(0, (T, B)).permute(1, 3, 4, 2, 0)"
        ),
        "a ReLU after it too": lambda self, x: F.relu(convolve_by()(self, x)),
        "reshaped, not permuted": lambda self, x: (
            (lambda maps: (lambda out: out.reshape(len(x), x.shape[1], -1, *maps.shape[-2:]))(
                self.time(maps.reshape(len(x), x.shape[1], maps.shape[1], -1).permute(0, 3, 2, 1).flatten(0, 1))
            ))(F.relu(self.space(x.flatten(0, 1))))
        ),
        "rows for columns": Edit(".permute(0, 4, 3, 1, 2)", ".permute(0, 4, 3, 2, 1).reshape(B, T, -1, h, w)"),
        "the time backwards": lambda self, x: convolve_by()(self, x.flip(1)).flip(1),
        "only within frames": lambda self, x: torch.stack(
            [self.time(F.relu(self.space(x[:, t])).flatten(2)[:, :, None].flatten(2)).unflatten(2, (
                F.relu(self.space(x[:, t])).shape[2], -1)) for t in range(x.shape[1])], dim=1
        ),
        "frames detached": Edit("self.space(x.flatten(0, 1))", "self.space(x.flatten(0, 1).detach())"),
        "a half that does not learn": lambda self, x: F.conv3d(
            torch.stack([F.relu(self.space(x[:, t])) for t in range(x.shape[1])], dim=2),
            self.time.weight.detach()[..., None, None], self.time.bias, padding=(1, 0, 0),
        ).transpose(1, 2),
    },
    "AttentionPool.forward": {
        "the plain mean": lambda self, frames: (
            frames.mean(1, keepdim=True).expand(-1, len(self.relevance.bias), -1),
            torch.full((len(frames), len(self.relevance.bias), frames.shape[1]), 1 / frames.shape[1], dtype=frames.dtype),
        ),
        "softmax over queries": pool_by(axis=1),
        "no tanh": pool_by(score=lambda x: x),
        "a ReLU for the tanh": pool_by(score=F.relu),
        "the hidden states averaged": pool_by(values=lambda self, frames: torch.tanh(self.hidden(frames))),
        "a sum": Edit("return weights @ frames, weights", "return frames.shape[1] * weights @ frames, weights"),
        "weights detached": Edit("return weights @ frames", "return weights.detach() @ frames"),
        "frames detached": pool_by(values=lambda self, frames: frames.detach()),
        "the last frame": Edit("return weights @ frames, weights", "return 0 * (weights @ frames) + frames[:, -1:], weights"),
        "not normalised": Edit(".softmax(dim=2)", ".sigmoid()"),
        "exponentials over their sum": looped_pool,
        "hidden states that do not learn": Edit("torch.tanh(self.hidden(frames))", "torch.tanh(F.linear(frames, self.hidden.weight.detach(), self.hidden.bias))"),
        "a position counted in": Edit(
            "torch.tanh(self.hidden(frames))", "torch.tanh(self.hidden(frames) + torch.arange(frames.shape[1])[:, None])"
        ),
    },
    "inverse_sigmoid_decay": {
        "linear": lambda step, k: 1 / 0 if not k >= 1 else max(0.0, 1 - step / (10 * k)),
        "exponential": lambda step, k: 1 / 0 if not k >= 1 else math.exp(-step / k),
        "a sigmoid": Edit("1 / (1 + math.exp(min(step / k, 700.0)) / k)", "1 - 1 / (1 + math.exp(min(step / k, 700.0)) / k)"),
        "the plain sigmoid": Edit("math.exp(min(step / k, 700.0)) / k)", "math.exp(min(step / k, 700.0)))"),
        "overflows": Edit("min(step / k, 700.0)", "step / k"),
        "k times the step": Edit("min(step / k", "min(step * k"),
        "any k": Edit("not k >= 1", "k <= 0"),
        "more than 1 asked": Edit("not k >= 1", "not k > 1"),
        "NaN accepted": Edit("not k >= 1", "k < 1"),
        "the step held, not the exponent": Edit("min(step / k, 700.0)", "min(step, 700) / k"),
        "0 from a step on": Edit("return 1 / (", "return (step < 4000) / ("),
        "cut off early": Edit("700.0", "5.0"),
        "cut off before it is small": Edit("700.0", "30.0"),
        "a floor": Edit("return 1 / (", "return 1e-12 + 1 / ("),
        "nearly 1 accepted": Edit("not k >= 1", "not k > 0.9999"),
    },
    "scheduled_inputs": {
        "predictions not shifted": scheduled_by(written=lambda logits: logits.argmax(2)),
        "shifted the wrong way": scheduled_by(written=lambda logits: logits.argmax(2).roll(-1, dims=1)),
        "the coin turned": scheduled_by(coin=lambda uniforms, keep: uniforms >= keep),
        "one coin for a sentence": scheduled_by(coin=lambda uniforms, keep: uniforms[:, :1].expand_as(uniforms) < keep),
        "one coin for a batch": scheduled_by(coin=lambda uniforms, keep: uniforms[:1].expand_as(uniforms) < keep),
        "a coin of its own": scheduled_by(coin=lambda uniforms, keep: torch.rand_like(uniforms) < keep),
        "the start token replaced": scheduled_by(first=False),
        "the least likely word": scheduled_by(written=lambda logits: logits.argmin(2).roll(1, dims=1)),
        "the coin of the word before": scheduled_by(coin=lambda uniforms, keep: uniforms.roll(1, dims=1) < keep),
        "teacher forcing": lambda inputs, logits, uniforms, keep: inputs,
        "zero counts as kept": scheduled_by(coin=lambda uniforms, keep: uniforms <= keep),
        "only zero does not count as kept": scheduled_by(coin=lambda uniforms, keep: (uniforms <= keep) & (keep > 0)),
        "words as floats": lambda inputs, logits, uniforms, keep: (
            scheduled_by()(inputs, logits, uniforms, keep).float().long()
        ),
    },
    "run_free": {
        "goes on after the end": free_by(stop=False),
        "the end not written": free_by(end=False),
        "the start token returned": free_by(start=True),
        "the last word alone": free_by(read=lambda ids: ids[:, -1:]),
        "the least likely word": free_by(pick=lambda logits: logits.argmin(1)),
        "sampled": free_by(pick=lambda logits: logits.softmax(1).multinomial(1)[:, 0]),
        "a word too few": Edit("range(length)", "range(length - 1)"),
        "stops when the first sentence ends": Edit("masked_fill(ended, motion.PAD)", "masked_fill(ended[:1], motion.PAD)"),
        "the start token can end": Edit("torch.zeros_like(starts, dtype=torch.bool)", "starts == motion.EOS"),
        "ends for one word": Edit("ended = ended | (word == motion.EOS)", "ended = word == motion.EOS"),
        "a pad ends as well": Edit("(word == motion.EOS)", "(word == motion.EOS) | (word == motion.PAD)"),
        "as long as the longest": lambda score, starts, length: cut(free_with_a_buffer(score, starts, length)),
        "the best of the batch": free_by(pick=lambda logits: logits.argmax(1)[:1].expand(len(logits))),
    },
}  # fmt: skip

VARIANTS = {
    "middle_channels": {
        "counted up": middle_by_search,
        "floor of a quotient": lambda inputs, outputs, *, size=3, time=3: max(
            math.floor(weights_of_3d(inputs, outputs, size, time) / (size * size * inputs + time * outputs)), 1
        ),
        "weights of one channel": lambda inputs, outputs, *, size=3, time=3: (
            weights_of_3d(inputs, outputs, size, time) // weights_of_halves(inputs, 1, outputs, size, time) or 1
        ),
    },
    "Conv2Plus1D.forward": {
        "frame by frame": convolve_by(),
        "three-dimensional": lambda self, x: own_convolution(dict(self.named_parameters()), x, self.space.stride[0]),
        "pixel by pixel": convolve_pixel_by_pixel,
    },
    "AttentionPool.forward": {
        "einsum": pool_by(),
        "clip by clip": pool_clip_by_clip,
        "softmax before transposing": Edit(".transpose(1, 2).softmax(dim=2)", ".softmax(dim=1).mT"),
    },
    "inverse_sigmoid_decay": {
        "a sigmoid of torch": Edit(
            "return 1 / (1 + math.exp(min(step / k, 700.0)) / k)",
            "return torch.sigmoid(torch.tensor(math.log(k) - step / k, dtype=torch.float64)).item()",
        ),
        "multiplied by exp(-i / k)": Edit(
            "return 1 / (1 + math.exp(min(step / k, 700.0)) / k)", "return k * math.exp(-step / k) / (k * math.exp(-step / k) + 1)"
        ),
        "a case for late steps": Edit(
            "return 1 / (1 + math.exp(min(step / k, 700.0)) / k)", "return k / (k + math.exp(step / k)) if step / k < 600 else 0.0"
        ),
    },
    "scheduled_inputs": {
        "word by word": scheduled_word_by_word,
        "rolled": scheduled_by(),
        "padded": lambda inputs, logits, uniforms, keep: torch.where(
            F.pad(uniforms[:, 1:] < keep, (1, 0), value=True), inputs, F.pad(logits.argmax(2)[:, :-1], (1, 0))
        ),
    },
    "run_free": {
        "a buffer": free_with_a_buffer,
        "one by one": free_one_by_one,
        "where": free_by(),
    },
}  # fmt: skip

# Words are chosen and fed back as words: nothing is differentiated through them.
NO_GRADIENT = {"scheduled_inputs": ("logits", "uniforms")}
