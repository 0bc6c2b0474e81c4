"""What a right answer to text/gpt must do. Truths: `F.cross_entropy`, GPT-2 written out with `F`, and decoding in plain Python.

A token is compared exactly, so every choice the truth makes (between two logits, two cumulated masses, a mass and a random
number) must be clear by `MARGIN`, far above the rounding of float32; inputs that bring a closer call are drawn again.
"""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, assert_true, raises
from course.wire import ImplementationError

INF = math.inf
MARGIN = 1e-4
BELOW_ONE = 1 - 2**-24  # the largest float32 below 1


# --- language_model_loss -----------------------------------------------------------------------------------------------


def some_ignored(draw, B, T, V, index):
    """Targets of which about a third are `index`, but not all."""
    targets = draw.integers(V, (B, T))
    targets[draw.uniform(B, T) < 0.35] = index
    targets[draw.integer(0, B - 1), draw.integer(0, T - 1)] = (index + 1) % V if index >= 0 else 0
    return targets


@pytest.mark.stub("language_model_loss")
def test_a_target_held_impossible_costs_infinity(impl, draw):
    B, T, V = draw.batch(), draw.size(), draw.size(2, 5)
    logits, targets = draw.normal(B, T, V), draw.integers(V, (B, T))
    row, place = int(draw.integers(B, ())), int(draw.integers(T, ()))
    logits[row, place, targets[row, place]] = float("-inf")
    loss = impl.language_model_loss(logits, targets)
    hint = "p = 0 for what came is an infinite loss; wiping infinities off hides the fault where it counts"
    assert_true(loss == float("inf"), f"the loss is {loss.item():g}, expected inf", hint=hint)


@pytest.mark.stub("language_model_loss")
def test_loss_is_the_mean_cross_entropy(impl, draw):
    B, T, V = draw.batch(), draw.size(), draw.size(2)
    logits, targets = draw.normal(B, T, V, scale=2), draw.integers(V, (B, T))
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    hint = "log Σ exp(logits) − logit of the target, in nats, averaged over all targets; targets come shifted already"
    assert_close(impl.language_model_loss(logits, targets), expected, hint=hint)


@pytest.mark.stub("language_model_loss")
@pytest.mark.parametrize("index", [None, "a token"])
def test_ignored_targets_do_not_count(impl, draw, index):
    B, T, V = draw.batch(2), draw.size(2), draw.size(2)
    ignored = -100 if index is None else draw.integer(0, V - 1)
    logits, targets = draw.normal(B, T, V, scale=2), some_ignored(draw, B, T, V, ignored)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=ignored)
    actual = (
        impl.language_model_loss(logits, targets)
        if index is None
        else impl.language_model_loss(logits, targets, ignore_index=ignored)
    )
    hint = "neither in the sum nor in the count: divide by how many targets of the whole batch are kept"
    assert_close(actual, expected, hint=hint)


@pytest.mark.stub("language_model_loss")
@pytest.mark.parametrize("index", [-100, 1])
@pytest.mark.parametrize("row", ["NaN", "infinite", "all minus infinite", "one minus infinite"])
def test_what_an_ignored_place_holds_has_no_effect(impl, draw, row, index):
    B, T, V = draw.size(2), draw.size(2), draw.size(3)
    logits, targets = draw.normal(B, T, V, scale=2), draw.integers(V, (B, T))
    targets[targets == index] = 0
    at = draw.integer(0, B - 1), draw.integer(0, T - 1)
    kept = torch.ones(B, T, dtype=torch.bool)
    kept[at] = False
    expected = F.cross_entropy(logits[kept], targets[kept])
    targets[at] = index
    everywhere = {"NaN": math.nan, "infinite": INF, "all minus infinite": -INF}
    logits[at] = everywhere.get(row, logits[at])
    if row == "one minus infinite":  # a symbol that is masked out: the ignored target may be looked up as this one
        logits[at][:2] = -INF
    hint = "select what is kept (`logits[kept]`, or `torch.where` on the losses): infinity or NaN times a mask of 0 is NaN"
    result = impl.language_model_loss(logits, targets, ignore_index=index)
    assert_close(result, expected, hint=hint, hint_for="values NaN")
    slope = impl.vjp("language_model_loss", logits, targets, index, wrt=0)
    truth = (logits.softmax(-1) - F.one_hot(targets.clamp(min=0), V)) / int(kept.sum())
    hint = "(softmax − one-hot) / number of kept targets at every place that is kept"
    assert_close(slope[kept], truth[kept], what="the gradient where the target is kept", hint=hint, hint_for="values NaN")
    if row == "one minus infinite":
        assert_equal(slope[at], torch.zeros(V, dtype=slope.dtype), what="the gradient of the ignored place", hint="it has none")


@pytest.mark.stub("language_model_loss")
def test_one_symbol_is_certain(impl):
    logits, targets = torch.tensor([[[3.0], [-2.0], [0.5]]]), torch.tensor([[0, -100, 0]])
    hint = "with a single symbol every index but 0 is out of range, even one that is only put in for an ignored target"
    assert_close(impl.language_model_loss(logits, targets), torch.tensor(0.0), hint=hint)


@pytest.mark.stub("language_model_loss")
def test_loss_survives_large_logits(impl, draw):
    B, T, V = draw.batch(), draw.size(), draw.size(4)
    logits, targets = draw.normal(B, T, V, scale=1e4, dtype=torch.float32), draw.integers(V, (B, T))
    targets[0, 0] = logits[0, 0].argmin()  # a loss as large as the logits, beside which their rounding is small
    result = impl.language_model_loss(logits, targets)
    assert_finite(result, hint="exp(1e4) overflows, and log(softmax) is log(0): use logsumexp or log_softmax")
    expected = F.cross_entropy(logits.double().flatten(0, 1), targets.flatten()).float()
    assert_close(
        result, expected, hint="clamping the logits or the probabilities changes the loss: use logsumexp", hint_for="values NaN"
    )


@pytest.mark.stub("language_model_loss")
def test_loss_of_symbols_that_are_certain_or_impossible(impl):
    logits = torch.tensor([[[1e4, -1e4, 0.0], [0.0, -INF, 1.0]], [[-INF, 2.0, -INF], [-1e4, 0.0, 1e4]]])
    targets = torch.tensor([[0, 2], [1, 0]])
    last = math.log1p(math.exp(-1))  # of two symbols, the third being impossible
    result = impl.language_model_loss(logits, targets)
    hint = "choose the target's log-probability (gather), do not multiply by one-hot rows: 0 · ∞ is no number"
    assert_close(result, torch.tensor((0 + last + 0 + 2e4) / 4), hint=hint, hint_for="values NaN")
    slope = impl.vjp("language_model_loss", logits, targets, wrt=0)
    hint = "(softmax − one-hot) / number of targets, also where a probability is 0 or 1"
    expected = (logits.softmax(-1) - F.one_hot(targets, 3)) / 4
    assert_close(slope, expected, what="the gradient", hint=hint, hint_for="values NaN")


@pytest.mark.stub("language_model_loss")
def test_loss_gradient_is_softmax_minus_one_hot(impl, draw):
    B, T, V = draw.batch(2), draw.size(), draw.size(2)
    logits, targets = draw.normal(B, T, V), some_ignored(draw, B, T, V, -100)
    kept = (targets != -100)[..., None]
    expected = (logits.softmax(-1) - F.one_hot(targets.clamp(min=0), V)) * kept / kept.sum()
    hint = "(softmax − one-hot) / number of kept targets, and zero where the target is ignored"
    assert_close(impl.vjp("language_model_loss", logits, targets, wrt=0), expected, what="the gradient", hint=hint)


@pytest.mark.stub("language_model_loss")
@pytest.mark.parametrize(
    "targets",
    ["one time step", "a step too few", "another batch", "no batch", "axes exchanged", "one long row", "an axis too many"],
)
def test_loss_refuses_targets_of_another_shape(impl, draw, targets):
    V, (B, T) = draw.size(2), draw.sizes(2, 3, 8)
    shape = {
        "one time step": (B, 1), "a step too few": (B, T - 1), "another batch": (1, T), "no batch": (T,),
        "axes exchanged": (T, B), "one long row": (B * T,), "an axis too many": (B, T, 1),
    }[targets]  # fmt: skip
    with raises(ValueError, hint="compare all axes of the logits but the last with the shape of the targets; no broadcasting"):
        impl.language_model_loss(draw.normal(B, T, V), draw.integers(V, shape))


# --- Block.forward -----------------------------------------------------------------------------------------------------


def own_block(state, x, heads):
    """A pre-norm block written out; `state` is its state_dict."""
    B, T, C = x.shape
    h = F.layer_norm(x, (C,), state["norm1.weight"], state["norm1.bias"])
    h = F.linear(h, state["attention.qkv.weight"], state["attention.qkv.bias"])  # (B, T, 3C)
    q, k, v = h.reshape(B, T, 3, heads, C // heads).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
    h = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, C)
    x = x + F.linear(h, state["attention.out.weight"], state["attention.out.bias"])
    h = F.layer_norm(x, (C,), state["norm2.weight"], state["norm2.bias"])
    h = F.gelu(F.linear(h, state["mlp.0.weight"], state["mlp.0.bias"]), approximate="tanh")
    return x + F.linear(h, state["mlp.2.weight"], state["mlp.2.bias"])


def own_gpt(state, ids, heads):
    """Logits (B, V) of the token after the last of `ids`, in float64."""
    state = {name: value.double() for name, value in state.items()}
    x = state["tokens.weight"][ids] + state["positions.weight"][: ids.shape[1]]
    for i in range(sum(name.endswith("mlp.0.weight") for name in state)):
        prefix = f"blocks.{i}."
        x = own_block({n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}, x, heads)
    x = F.layer_norm(x, x.shape[-1:], state["norm.weight"], state["norm.bias"])
    return x[:, -1] @ state["tokens.weight"].T


def random_config(impl, draw):
    heads = draw.integer(1, 2)
    width = heads * draw.choice([4, 5, 7] if heads == 1 else [2, 3, 4])
    symbols, context, layers = draw.choice([5, 7, 8, 11]), draw.integer(4, 8), draw.integer(1, 2)
    return impl.Config(symbols=symbols, context=context, width=width, layers=layers, heads=heads), symbols, context, width, heads


def random_weights(draw, state):
    """Gains around 1, all else of a size at which every part of the model shows in what comes out."""
    weights = draw.like(state, scale=0.6)
    return {n: 1 + 0.5 * w if "norm" in n and n.endswith("weight") else w for n, w in weights.items()}


def random_block(impl, draw):
    config, _, context, width, heads = random_config(impl, draw)
    block = impl.Block(config)
    state = random_weights(draw, block.fresh_state())
    block.load_state_dict(state)
    return block, state, config, context, width, heads


@pytest.mark.stub("Block.forward")
def test_block_normalises_then_transforms_then_adds(impl, draw):
    block, state, _, context, C, heads = random_block(impl, draw)
    x = draw.normal(draw.size(), draw.integer(1, context), C, dtype=torch.float32)
    hint = "x + attention(norm1(x)), then x + mlp(norm2(x)): the stream itself is never normalised"
    assert_close(block(x), own_block(state, x, heads), tolerance=1e-4, hint=hint)


@pytest.mark.stub("Block.forward")
def test_block_fed_in_parts_through_a_cache(impl, draw):
    block, state, _, context, C, heads = random_block(impl, draw)
    x = draw.normal(draw.size(), context, C, dtype=torch.float32)
    expected = own_block(state, x, heads)
    cache = impl.KVCache(16)
    cuts = [0, draw.integer(1, context - 2), context - 1, context]
    for start, end in itertools.pairwise(cuts):
        actual = block(x[:, start:end], cache=cache)
        hint = "hand the cache on to the attention, once: there stand the keys and values of the positions before"
        assert_close(actual, expected[:, start:end], tolerance=1e-4, what=f"positions {start} to {end - 1}", hint=hint)


@pytest.mark.stub("Block.forward")
def test_gradient_flows_through_both_branches_and_past_them(impl, draw):
    block, state, _, context, C, heads = random_block(impl, draw)
    x = draw.normal(draw.size(), draw.integer(2, context), C, dtype=torch.float32)
    g = draw.normal(*x.shape, dtype=torch.float32)
    leaves = {"x": x.double()} | {name: value.double() for name, value in state.items()}
    with torch.enable_grad():
        leaves = {name: value.requires_grad_() for name, value in leaves.items()}
        total = (own_block(leaves, leaves["x"], heads) * g).sum()
        expected = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    actual = {"x": block.vjp(x, wrt=0, cotangent=g), **block.vjp(x, wrt="parameters", cotangent=g)}
    hint = "nothing is detached, neither x nor a weight, and x is not changed in place"
    for name, value in expected.items():
        if name != "attention.qkv.bias":  # a third of it, that of the keys, has a gradient of 0 but for rounding
            assert_close(actual[name], value.float(), tolerance=1e-3, what=f"the gradient of {name}", hint=hint)


# --- apply_repetition_penalty ------------------------------------------------------------------------------------------


def penalised(row, seen, penalty):
    """One row of logits as a list, by the definition."""
    return [(z / penalty if z > 0 else z * penalty) if i in seen else z for i, z in enumerate(row)]


@pytest.mark.stub("apply_repetition_penalty")
@pytest.mark.parametrize("penalty", ["above 1", "below 1"])
def test_seen_tokens_become_less_likely(impl, draw, penalty):
    B, T, V = draw.batch(2), draw.size(), draw.sizes(1, 4, 11)[0]
    factor = draw.number(1.2, 3) if penalty == "above 1" else draw.number(0.2, 0.8)
    logits, ids = draw.normal(B, V), draw.integers(V, (B, T))
    rows = zip(logits.tolist(), ids.tolist(), strict=True)
    expected = torch.tensor([penalised(z, seen, factor) for z, seen in rows], dtype=torch.float64)
    hint = "of the tokens in a row's own ids: positive logits are divided, all others multiplied; other logits stay"
    assert_close(impl.apply_repetition_penalty(logits, ids, factor), expected, hint=hint)


@pytest.mark.stub("apply_repetition_penalty")
def test_positive_zero_and_negative_logits(impl):
    logits = torch.tensor([[2.0, 0.0, -2.0, 0.5, -0.5, 7.0]])
    ids = torch.tensor([[0, 1, 2, 3, 4]])
    expected = torch.tensor([[1.0, 0.0, -4.0, 0.25, -1.0, 7.0]])
    hint = "dividing a negative logit would make its token likelier: multiply it"
    assert_close(impl.apply_repetition_penalty(logits, ids, 2.0), expected, hint=hint)


@pytest.mark.stub("apply_repetition_penalty")
def test_large_logits_and_a_text_that_has_not_begun(impl):
    logits = torch.tensor([[1e4, -1e4, 300.0, -0.001], [-3e4, 2.0, 1e-4, 5.0]])
    none = torch.zeros(2, 0, dtype=torch.int64)
    assert_equal(
        impl.apply_repetition_penalty(logits, none, 3.0), logits, hint="no token has been seen: every logit stays as it is"
    )
    expected = torch.tensor([[5e3, -2e4, 300.0, -0.001], [-3e4, 2.0, 5e-5, 2.5]])
    actual = impl.apply_repetition_penalty(logits, torch.tensor([[0, 1], [3, 2]]), 2)
    assert_close(
        actual / expected, torch.ones(2, 4), what="each logit over what it should be", hint="no clamp, softmax or logarithm"
    )


@pytest.mark.stub("apply_repetition_penalty")
def test_token_seen_several_times_is_penalised_once(impl, draw):
    V, T = draw.size(2), draw.integer(2, 7)
    logits, token = draw.normal(1, V, dtype=torch.float32), draw.integer(0, V - 1)
    expected = torch.tensor([penalised(logits[0].tolist(), [token], 1.5)])
    actual = impl.apply_repetition_penalty(logits, torch.full((1, T), token), 1.5)
    assert_close(actual, expected, hint="it matters whether a token occurred, not how often")


@pytest.mark.stub("apply_repetition_penalty")
def test_penalty_of_one_changes_nothing(impl, draw):
    B, V = draw.batch(), draw.size()
    logits = draw.normal(B, V, dtype=torch.float32)
    assert_close(
        impl.apply_repetition_penalty(logits, draw.integers(V, (B, 5)), 1.0),
        logits,
        hint="z / 1 = z · 1 = z, and no other step may move a logit",
    )


@pytest.mark.stub("apply_repetition_penalty")
@pytest.mark.parametrize("penalty", [0.0, -0.5, -2.0])
def test_penalty_must_be_positive(impl, draw, penalty):
    with raises(ValueError, hint="0 would divide by zero, and a negative one would turn signs"):
        impl.apply_repetition_penalty(draw.normal(2, 5), draw.integers(5, (2, 3)), penalty)


# --- top_k_top_p_filter ------------------------------------------------------------------------------------------------


def probabilities(row):
    weights = [math.exp(z - max(row)) for z in row]
    return [w / sum(weights) for w in weights]


def kept_by(row, top_k=None, top_p=None):
    """A row of logits with -inf outside of what top-k, then top-p leave, and how clear the calls were."""
    margin = INF
    if top_k is not None and top_k < len(row):
        ranked = sorted(row, reverse=True)
        smallest = ranked[top_k - 1]
        margin = min(margin, *(smallest - z for z in row if z < smallest), INF)
        row = [z if z >= smallest else -INF for z in row]
    if top_p is not None and top_p < 1:
        mass = 0.0
        for p, z in sorted(zip(probabilities(row), row, strict=True), reverse=True):
            mass += p
            margin = min(margin, abs(mass - top_p))
            if mass >= top_p:
                row = [y if y >= z else -INF for y in row]
                break
    return row, margin


def mass_within(row, rank):
    """A p that the token of this rank (0 is the likeliest) crosses in its middle."""
    p = sorted(probabilities(row), reverse=True)
    return sum(p[:rank]) + p[rank] / 2


def filtered(logits, top_k=None, top_p=None):
    return torch.tensor([kept_by(row, top_k, top_p)[0] for row in logits.tolist()], dtype=logits.dtype)


@pytest.mark.stub("top_k_top_p_filter")
def test_top_k_keeps_the_largest(impl, draw):
    B, V = draw.batch(), draw.sizes(1, 3, 11)[0]
    k, logits = draw.integer(1, V - 1), draw.normal(B, V)
    hint = "everything below the k-th largest logit of its own row becomes -inf; what is kept stays as it is"
    assert_equal(impl.top_k_top_p_filter(logits, top_k=k), filtered(logits, k), hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
def test_top_k_of_one_and_of_more_than_there_are(impl, draw):
    B, V = draw.batch(), draw.size()
    logits = draw.normal(B, V, dtype=torch.float32)
    only = logits.where(F.one_hot(logits.argmax(-1), V).bool(), -INF)
    assert_equal(impl.top_k_top_p_filter(logits, top_k=1), only, what="the result of k = 1", hint="the likeliest token stays")
    hint = "topk fails for more than there are: take the smaller of k and the number of tokens"
    for k in (V, V + draw.integer(1, 3)):
        assert_equal(impl.top_k_top_p_filter(logits, top_k=k), logits, what="the result of k >= V", hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
def test_top_p_keeps_the_smallest_set_that_holds_the_mass(impl, draw):
    V = draw.sizes(1, 3, 11)[0]
    logits = draw.normal(1, V, scale=1.5)
    p = mass_within(logits[0].tolist(), draw.integer(0, V - 1))
    hint = "rank, add up, stop after the token with which the sum reaches p, and carry the cut back into the order of ids"
    assert_equal(impl.top_k_top_p_filter(logits, top_p=p), filtered(logits, top_p=p), hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
def test_top_p_cuts_each_row_for_itself(impl, draw):
    V, dtype = draw.sizes(1, 5, 11)[0], draw.choice([torch.float32, torch.float64])
    while True:
        logits, p = draw.normal(draw.integer(2, 7), V, scale=1.5, dtype=dtype), draw.number(0.3, 0.95)
        expected = filtered(logits, top_p=p)
        clear = min(kept_by(row, top_p=p)[1] for row in logits.tolist()) > MARGIN
        if clear and len(set(expected.isfinite().sum(1).tolist())) > 1:
            break
    hint = "how many tokens make up p differs from row to row, and so does the smallest logit that stays"
    assert_equal(impl.top_k_top_p_filter(logits, top_p=p), expected, hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
@pytest.mark.parametrize("by", ["k", "p", "both"])
def test_tokens_tied_with_the_last_one_kept_stay(impl, draw, by):
    B, V = draw.integer(1, 3), draw.integer(6, 11)
    while True:  # few different values, until a tie is cut through
        logits = draw.integers(4, (B, V)).double()
        k = draw.integer(1, V - 1) if by != "p" else None
        row = kept_by(logits[0].tolist(), k)[0]
        rank = draw.integer(0, sum(z > -INF for z in row) - 1)
        p = mass_within(row, rank) if by != "k" else None
        expected = filtered(logits, k, p)
        clear = min(kept_by(row, k, p)[1] for row in logits.tolist()) > MARGIN
        crossing = rank + 1 if by != "k" else k
        if clear and expected[0].isfinite().sum() > crossing:
            break
    hint = "cut by value, not by rank: which of two equal logits sorts first is chance"
    assert_equal(impl.top_k_top_p_filter(logits, k, p), expected, hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_mass_of_exactly_p_is_enough(impl, dtype):
    half = math.log(0.5)
    logits = torch.tensor([[half, 0.0, half], [0.0, half, half], [half, half, 0.0]], dtype=dtype)  # ¼ and ½: no rounding
    expected = logits.masked_fill(logits < 0, -INF)
    hint = "of ½, ¼, ¼ the first has a probability of at least ½ by itself: one token more is not the smallest set"
    assert_equal(impl.top_k_top_p_filter(logits, top_p=0.5), expected, hint=hint)
    hint = "half of the mass is not enough for a p above ½, and tied tokens stay together"
    assert_equal(impl.top_k_top_p_filter(logits, top_p=0.5 + 1e-6), logits, what="the result of a p just above ½", hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
def test_what_is_closed_already_stays_closed(impl):
    logits = torch.tensor([[-INF, 3.0, -INF, 1.0, -INF], [2.0, 1.0, 0.0, -1.0, -2.0], [-INF, -INF, -INF, -INF, 9e3]])
    hint = "fewer tokens than k may be left, and -inf is no number to reckon with"
    expected = logits.clone()
    expected[1, 3:] = -INF
    assert_equal(impl.top_k_top_p_filter(logits, top_k=3), expected, what="the result of k = 3", hint=hint)
    hint = "-inf has no probability, and a token that has all of it is enough for any p"
    expected = torch.tensor([[-INF, 3.0, -INF, 1.0, -INF], [2.0, 1.0, 0.0, -INF, -INF], [-INF, -INF, -INF, -INF, 9e3]])
    assert_equal(impl.top_k_top_p_filter(logits, 4, 0.9), expected, what="the result of k = 4 and p = 0.9", hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
def test_a_tiny_p_keeps_the_likeliest_token(impl, draw):
    B, V = draw.batch(), draw.size()
    logits = draw.normal(B, V, dtype=torch.float32)
    only = logits.where(F.one_hot(logits.argmax(-1), V).bool(), -INF)
    hint = "the token that crosses p stays, so no row is ever emptied"
    assert_equal(impl.top_k_top_p_filter(logits, top_p=1e-6), only, hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
@pytest.mark.parametrize("arguments", [{}, {"top_p": 1.0}, {"top_p": 1}])
def test_all_tokens_stay(impl, draw, arguments):
    B, V = draw.batch(), draw.integer(3, 11)
    logits = draw.normal(B, V, dtype=torch.float32)
    logits[:, draw.integer(0, V - 1)] = 30.0  # beside it all others vanish in a sum
    logits[:, draw.integer(0, V - 1)] = -200.0  # and this one has a probability of exactly 0 in float32
    hint = "without k and p, or with p = 1, nothing is cut, however improbable: p = 1 is no question of rounding"
    assert_equal(impl.top_k_top_p_filter(logits, **arguments), logits, hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
def test_p_refers_to_what_k_has_left(impl, draw):
    V = draw.integer(5, 11)
    while True:
        logits, k = draw.normal(1, V), draw.integer(2, V - 1)
        row, _ = kept_by(logits[0].tolist(), k)
        p = mass_within(row, draw.integer(0, k - 1))
        expected, swapped = filtered(logits, k, p), filtered(filtered(logits, top_p=p), k)
        if not torch.equal(expected, swapped) and kept_by(logits[0].tolist(), top_p=p)[1] > MARGIN:
            break
    hint = "top-k first; then the softmax is taken again, over the k that are left"
    assert_equal(impl.top_k_top_p_filter(logits, k, p), expected, hint=hint)


@pytest.mark.stub("top_k_top_p_filter")
@pytest.mark.parametrize("arguments", [{"top_k": 2}, {"top_p": 0.5}])
def test_the_logits_of_the_caller_stay_as_they_are(impl, draw, arguments):
    logits = draw.normal(draw.size(), draw.integer(3, 8))
    try:  # autograd notices a leaf that is written to; whether a gradient comes back does not matter here
        impl.vjp("top_k_top_p_filter", logits, wrt=0, cotangent=torch.ones_like(logits), **arguments)
    except ImplementationError as error:
        hint = "masked_fill, not masked_fill_: whoever calls may filter the same logits in another way next, as demo() does"
        assert_true("leaf Variable" not in error.message, "the logits are changed in place, expected a new tensor", hint=hint)
        if "no gradient flows" not in error.message:
            raise


@pytest.mark.stub("top_k_top_p_filter")
@pytest.mark.parametrize(
    "arguments",
    [
        {"top_k": 0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": -0.1},
        {"top_p": 1 + 1e-12},
        {"top_p": 1.5},
        {"top_k": 2, "top_p": 0},
        {"top_k": 9, "top_p": 1.1},
        {"top_k": 0, "top_p": 0.5},
    ],
)
def test_k_and_p_out_of_range_are_refused(impl, draw, arguments):
    with raises(ValueError, hint="k is at least 1, and p lies above 0 and not above 1; None, not 0, switches a filter off"):
        impl.top_k_top_p_filter(draw.normal(2, 5), **arguments)


# --- sample ------------------------------------------------------------------------------------------------------------


def drawn(row, u):
    """The token that u picks from a row of logits, in float64, and how clear the call was."""
    total, margin, last = 0.0, INF, 0
    for token, p in enumerate(probabilities(row)):
        if p > 0:
            total, last = total + p, token
            margin = min(margin, abs(total - u))
            if u < total:
                return token, margin
    return last, INF  # u lies within rounding of 1


@pytest.mark.stub("sample")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_row_is_drawn_by_its_own_number(impl, draw, dtype):
    B, V = draw.integer(16, 31), draw.size(2)
    logits, uniforms = draw.normal(B, V, dtype=dtype, scale=1.5), draw.uniform(B, dtype=dtype).clamp(max=BELOW_ONE)
    calls = [drawn(row, u) for row, u in zip(logits.tolist(), uniforms.tolist(), strict=True)]
    while min(margin for _, margin in calls) < MARGIN:
        uniforms = draw.uniform(B, dtype=dtype).clamp(max=BELOW_ONE)
        calls = [drawn(row, u) for row, u in zip(logits.tolist(), uniforms.tolist(), strict=True)]
    hint = "add up the softmax in the order of ids; the token is the first at which the sum exceeds the row's number"
    assert_equal(impl.sample(logits, uniforms), torch.tensor([token for token, _ in calls]), hint=hint)


@pytest.mark.stub("sample")
def test_evenly_spread_numbers_give_the_probabilities(impl, draw):
    V, N = draw.size(2), 509
    logits = draw.normal(1, V)
    counts = impl.sample(logits.expand(N, V).contiguous(), (torch.arange(N) + 0.5).double() / N).bincount(minlength=V)
    error = (counts - N * logits[0].softmax(-1)).abs().max().item()
    assert_between(error, 0, 1, what="the largest error of a token's count", hint="a token's share of [0, 1) is its softmax")


@pytest.mark.stub("sample")
def test_the_shares_are_half_open(impl):
    uniforms = torch.tensor([0.5, 0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875])
    logits = torch.zeros(len(uniforms), 4)
    logits[0, 1:] = -INF  # the first row has no choice, which must not touch the others
    expected = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3])
    hint = "the sum must *exceed* the number: of four equal tokens, 0.25 draws the second"
    assert_equal(impl.sample(logits, uniforms), expected, hint=hint)


@pytest.mark.stub("sample")
@pytest.mark.parametrize("number", ["0", "just below 1"])
def test_impossible_tokens_are_never_drawn(impl, draw, number):
    u = 0.0 if number == "0" else BELOW_ONE
    while True:  # until a sum of float32 ends below that number, which is what gives careless answers away
        V, B = draw.integer(3, 11), 61
        logits = draw.uniform(B, V, low=-2, high=2, dtype=torch.float32)
        first, last = sorted(draw.integer(1, V - 2) for _ in range(2))  # something impossible at both ends
        logits[1::2, :first] = -INF
        logits[1::2, last + 1 :] = -INF
        if (logits.softmax(-1).cumsum(-1)[1::2, -1] <= BELOW_ONE).any():
            break
    expected = torch.full((B,), 0 if number == "0" else V - 1)
    expected[1::2] = first if number == "0" else last
    hint = "0 draws the first token that has a probability, not one with none before it"
    if number != "0":
        hint = "sums of float32 end at 0.9999999 or 1.0000001: the last token that has a probability must catch the rest"
    assert_equal(impl.sample(logits, torch.full((B,), u)), expected, hint=hint)


@pytest.mark.stub("sample")
def test_one_token_and_certain_tokens(impl):
    result = impl.sample(torch.tensor([[-7.0], [2e4]]), torch.tensor([0.0, 0.999]))
    assert_equal(result, torch.tensor([0, 0]), what="the tokens of a vocabulary of one", hint="there is only token 0 to draw")
    logits = torch.tensor([[-2e4, 1e4, 0.0], [1e4, -INF, -1e4], [-3e4, -2e4, -1e4], [-1e4, -1e4, -INF]])
    hint = "logits of any size have a softmax: subtract the largest of the row, or let torch do it"
    assert_equal(impl.sample(logits, torch.tensor([0.999, 0.999, 0.0, 0.5])), torch.tensor([1, 0, 2, 1]), hint=hint)


@pytest.mark.stub("sample")
def test_precision_of_the_numbers_need_not_be_that_of_the_logits(impl, draw):
    B, V = draw.batch(), draw.size(2)
    logits, uniforms = draw.normal(B, V, dtype=torch.float32), draw.uniform(B)
    cdf = torch.softmax(logits.double(), -1).cumsum(-1)
    clear = ((cdf - uniforms[:, None]).abs() > 1e-4).all(-1)  # away from the borders, where rounding decides
    expected = (cdf <= uniforms[:, None]).sum(-1)
    assert_equal(impl.sample(logits, uniforms)[clear], expected[clear], hint="uniforms in float64, logits in float32")


# --- generate ----------------------------------------------------------------------------------------------------------


def random_gpt(impl, draw):
    """A model of random weights, and the truth's own: (B, T) ids to rows of logits. Gives V and the context too."""
    config, V, context, _, heads = random_config(impl, draw)
    model = impl.GPT(config)
    state = random_weights(draw, model.fresh_state())
    model.load_state_dict(state)
    return model, lambda ids: own_gpt(state, ids[:, -context:], heads).tolist(), V, context


def constant_gpt(impl, draw, logits, context=16):
    """A model that gives `logits` after whatever text: its final norm puts out a unit vector."""
    model = impl.GPT(impl.Config(symbols=len(logits), context=context, width=4, layers=1, heads=2))
    state = draw.like(model.fresh_state())
    state["norm.weight"], state["norm.bias"] = torch.zeros(4), torch.eye(4)[0]
    state["tokens.weight"][:, 0] = torch.tensor(logits)
    model.load_state_dict(state)
    return model


def random_row(draw, V):
    """Logits for `constant_gpt`: numbers that float32 holds exactly."""
    return draw.normal(V, dtype=torch.float32, scale=1.5).tolist()


def choose(row, seen, u, temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0):
    """The token that follows `seen`, and how clear the call was."""
    row = penalised(row, seen, repetition_penalty)
    if temperature == 0:
        first, second = sorted(row, reverse=True)[:2]
        return row.index(first), first - second
    row, margin = kept_by([z / temperature for z in row], top_k, top_p)
    token, clear = drawn(row, u)
    return token, min(margin, clear)


def decoded(logits_of, ids, new_tokens, uniforms, choose=choose, **options):
    """`ids` continued token by token in plain Python, and how clear the closest call was."""
    margin = INF
    for n in range(new_tokens):
        rows = zip(logits_of(ids), ids.tolist(), uniforms[:, n].tolist(), strict=True)
        calls = [choose(*row, **options) for row in rows]
        margin = min(margin, *(clear for _, clear in calls))
        ids = torch.cat([ids, torch.tensor([[token] for token, _ in calls])], dim=1)
    return ids, margin


def random_numbers(draw, B, N):
    return draw.uniform(B, N, dtype=torch.float32).clamp(max=BELOW_ONE)


def clear_case(draw, world, V, B, T, N, unlike=()):
    """Prompt, random numbers and continuation without a close call; also unlike those by the options in `unlike`.

    `world()` gives logits, either of an ids tensor or one row for all, and options; it is asked again for every attempt.
    """
    while True:
        logits, options = world()
        logits_of = logits if callable(logits) else lambda ids, row=logits: [row] * len(ids)
        ids, uniforms = draw.integers(V, (B, T)), random_numbers(draw, B, N)
        expected, margin = decoded(logits_of, ids, N, uniforms, **options)
        if margin > MARGIN and not any(
            torch.equal(expected, decoded(logits_of, ids, N, uniforms, **(options | other))[0]) for other in unlike
        ):
            return logits, options, ids, uniforms, expected


@pytest.mark.stub("generate")
def test_temperature_zero_takes_the_likeliest(impl, draw):
    model, logits_of, V, context = random_gpt(impl, draw)
    T = draw.integer(1, context - 2)
    N = context - T + 1
    *_, ids, uniforms, expected = clear_case(draw, lambda: (logits_of, {"temperature": 0}), V, draw.integer(1, 5), T, N)
    actual = impl.generate(model, ids, N, temperature=0.0, uniforms=uniforms)
    hint = "argmax of the logits after the last token; append it, and ask again. The prompt is part of the result"
    assert_equal(actual, expected, hint=hint)


@pytest.mark.stub("generate")
def test_what_leaves_no_choice_is_the_likeliest(impl, draw):
    row = (draw.permutation(6) / 64).tolist()  # so near to each other that only a very low temperature tells them apart
    model, ids, best = constant_gpt(impl, draw, row, 3), draw.integers(6, (3, 2)), row.index(max(row))
    expected = torch.cat([ids, torch.full((3, 4), best)], dim=1)
    for options in ({"temperature": 0.0}, {"temperature": 0}, {"temperature": 1e-6}, {"top_k": 1}, {"top_p": 1e-9}):
        hint = "a temperature that goes to 0, the one likeliest token, and a p that goes to 0 all come to argmax"
        what = f"the result of {', '.join(f'{name} = {value:g}' for name, value in options.items())}"
        assert_equal(impl.generate(model, ids, 4, **options), expected, what=what, hint=hint)
    for options in ({"top_k": 6}, {"top_k": 99}, {"top_p": 1.0}, {"repetition_penalty": 1}, {"temperature": 1}):
        uniforms = torch.full((3, 1), BELOW_ONE if options.get("top_p") else 0.5, dtype=torch.float64)
        alike = impl.generate(model, ids, 1, uniforms=uniforms)
        what = f"the result of {', '.join(f'{name} = {value:g}' for name, value in options.items())}"
        assert_equal(
            impl.generate(model, ids, 1, uniforms=uniforms, **options), alike, what=what, hint="this option changes nothing"
        )


@pytest.mark.stub("generate")
def test_temperature_zero_takes_the_first_of_equals(impl, draw):
    model, ids = constant_gpt(impl, draw, [0.5, 2.0, -1.0, 2.0, 1.0]), torch.zeros(4, 1, dtype=torch.int64)
    uniforms = torch.tensor([0.0, 0.4, 0.6, BELOW_ONE])[:, None].expand(4, 2)
    expected = torch.tensor([[0, 1, 1]] * 4)
    hint = "temperature 0 is no very low temperature: nothing is drawn, and argmax takes the first of two that are equally likely"
    assert_equal(impl.generate(model, ids, 2, temperature=0.0, uniforms=uniforms), expected, hint=hint)


@pytest.mark.stub("generate")
@pytest.mark.parametrize("prompt", ["one token", "a full context", "longer than the context"])
def test_the_window_slides_over_the_context(impl, draw, prompt):
    model, logits_of, V, context = random_gpt(impl, draw)
    T = {"one token": 1, "a full context": context, "longer than the context": context + draw.integer(1, 5)}[prompt]
    N = context + 2 if prompt == "one token" else 3
    *_, ids, uniforms, expected = clear_case(draw, lambda: (logits_of, {}), V, draw.integer(2, 5), T, N)
    hint = (
        "the model sees the last `context` tokens, from position 0 on; a cache of learned positions is void once they have moved"
    )
    assert_equal(impl.generate(model, ids, N, uniforms=uniforms), expected, hint=hint)


OPTIONS = {
    "temperature": lambda draw: {"temperature": draw.number(1.5, 3) if draw.integer(0, 1) else draw.number(0.2, 0.6)},
    "top_k": lambda draw: {"top_k": draw.integer(1, 3)},
    "top_p": lambda draw: {"top_p": draw.number(0.3, 0.7)},
    "repetition_penalty": lambda draw: {"repetition_penalty": draw.number(1.5, 3)},
}
NONE = {"temperature": 1.0, "top_k": None, "top_p": None, "repetition_penalty": 1.0}


@pytest.mark.stub("generate")
@pytest.mark.parametrize("option", list(OPTIONS))
def test_option_has_its_effect(impl, draw, option):
    V, N = draw.integer(6, 11), 3
    case = clear_case(draw, lambda: (random_row(draw, V), OPTIONS[option](draw)), V, 8, draw.integer(1, 3), N, unlike=[NONE])
    row, options, ids, uniforms, expected = case
    actual = impl.generate(constant_gpt(impl, draw, row), ids, N, uniforms=uniforms, **options)
    hint = "per step: penalise, divide by the temperature, filter, sample. One random number per row and step"
    assert_equal(actual, expected, hint=hint)


def filtered_before_the_temperature(row, seen, u, temperature, top_k, top_p, repetition_penalty):
    row, _ = kept_by(penalised(row, seen, repetition_penalty), top_k, top_p)
    return drawn([z / temperature for z in row], u)


def penalised_after_the_filter(row, seen, u, temperature, top_k, top_p, repetition_penalty):
    row, _ = kept_by([z / temperature for z in row], top_k, top_p)
    return drawn(penalised(row, seen, repetition_penalty), u)


@pytest.mark.stub("generate")
def test_options_act_together_and_in_order(impl, draw):
    V = draw.integer(7, 11)

    def world():
        options = {key: value for option in OPTIONS.values() for key, value in option(draw).items()}
        return random_row(draw, V), options | {"top_k": V - 2, "top_p": draw.number(0.6, 0.8)}

    unlike = [{"choose": filtered_before_the_temperature}, {"choose": penalised_after_the_filter}]
    row, options, ids, uniforms, expected = clear_case(draw, world, V, 8, 3, 3, unlike)
    actual = impl.generate(constant_gpt(impl, draw, row), ids, 3, uniforms=uniforms, **options)
    hint = "penalty, temperature, top-k, top-p: what top-p keeps depends on the temperature, and what is penalised can drop out"
    assert_equal(actual, expected, hint=hint)


@pytest.mark.stub("generate")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_penalty_remembers_what_has_left_the_window(impl, draw, temperature):
    V, context = draw.integer(5, 11), draw.integer(3, 5)

    def forgetful(row, seen, u, **options):
        return choose(row, seen[-context:], u, **options)

    def world():
        return random_row(draw, V), {"repetition_penalty": draw.number(2, 4), "temperature": temperature}

    case = clear_case(draw, world, V, 6, 2 * context, 2, unlike=[{"choose": forgetful}])
    row, options, ids, uniforms, expected = case
    actual = impl.generate(constant_gpt(impl, draw, row, context), ids, 2, uniforms=uniforms, **options)
    hint = "penalise the tokens of the whole text, also those that the model no longer sees, and before a greedy choice too"
    assert_equal(actual, expected, hint=hint)


@pytest.mark.stub("generate")
def test_numbers_belong_to_a_row_and_a_step(impl, draw):
    V, N = draw.integer(3, 8), draw.integer(2, 5)
    row, _, ids, uniforms, expected = clear_case(draw, lambda: (random_row(draw, V), {}), V, draw.integer(5, 13), 1, N)
    hint = "uniforms[b, n] draws the n-th new token of row b; no other random number is used"
    assert_equal(impl.generate(constant_gpt(impl, draw, row), ids, N, uniforms=uniforms), expected, hint=hint)


@pytest.mark.stub("generate")
def test_numbers_of_its_own_come_from_the_seed_alone(impl, draw):
    V, B, N, seed = 5, 101, 5, draw.integer(1, 2**31)
    model = constant_gpt(impl, draw, [0.0] * V)
    ids = draw.integers(V, (B, 1))
    first = impl.generate(model, ids, N, seed=seed)
    hint = "without `uniforms`, draw them from a torch.Generator seeded with `seed`, whatever the global generator does"
    assert_equal(impl.generate(model, ids, N, seed=seed), first, what="the result of the same seed", hint=hint)
    other = impl.generate(model, ids, N, seed=seed + 1)
    assert_true(not torch.equal(first, other), "another seed gave the same text", hint=hint)
    assert_equal(impl.generate(model, ids, N), impl.generate(model, ids, N, seed=0), what="the default", hint="the seed is 0")
    new = first[:, 1:]
    for what, share in {
        "share of the first token": (new == 0).double().mean().item(),
        "share of the last token": (new == V - 1).double().mean().item(),
        "share of tokens equal to the one before": (new[:, 1:] == new[:, :-1]).double().mean().item(),
        "share of tokens equal to those of the next row": (new[1:] == new[:-1]).double().mean().item(),
    }.items():
        hint = "numbers uniform in [0, 1), a new one for every row and every step"
        assert_between(share, 1 / V - 0.12, 1 / V + 0.12, what=f"the {what}, of {V} equally likely ones,", hint=hint)


def clear_number(draw, row, seen, **options):
    """A random number, and the token that it draws from `row` without a close call."""
    while True:
        u = random_numbers(draw, 1, 1).item()
        token, margin = choose(row, seen, u, **options)
        if margin > MARGIN:
            return u, token


@pytest.mark.stub("generate")
def test_logits_of_a_bfloat16_model_are_taken_in_float32(impl, draw):
    V, options = draw.integer(200, 300), {"temperature": draw.number(0.7, 1.3), "repetition_penalty": draw.number(1.1, 1.5)}
    row, ids = draw.normal(V, dtype=torch.bfloat16, scale=0.5).tolist(), draw.integers(V, (32, 1))
    uniforms, tokens = zip(*(clear_number(draw, row, seen, **options) for seen in ids.tolist()), strict=True)
    model = constant_gpt(impl, draw, row)
    model.bfloat16()
    actual = impl.generate(model, ids, 1, uniforms=torch.tensor(uniforms)[:, None], **options)
    hint = "take logits[:, -1].float() first: bfloat16 has 256 steps from ½ to 1, fewer than there are tokens to be told apart"
    assert_equal(actual[:, 1], torch.tensor(tokens), what="the first new token of each row", hint=hint)


@pytest.mark.stub("generate")
def test_no_new_tokens_leave_the_prompt(impl, draw):
    V, B, T = draw.size(2), draw.size(), draw.size()
    model = constant_gpt(impl, draw, [0.0] * V)
    ids = draw.integers(V, (B, T))
    assert_equal(impl.generate(model, ids, 0), ids, hint="the result begins with the prompt, and is no longer than asked for")


@pytest.mark.stub("generate")
@pytest.mark.parametrize("wrong", ["an empty prompt", "a negative temperature"])
def test_bad_requests_are_refused(impl, draw, wrong):
    model = constant_gpt(impl, draw, [0.0] * 5)
    ids = draw.integers(5, (draw.size(), 0 if wrong == "an empty prompt" else draw.size()))
    temperature = 1.0 if wrong == "an empty prompt" else -draw.choice([1e-6, 0.5, 2.0])
    with raises(ValueError, hint="a prompt of no tokens and a temperature below 0 are ValueErrors; a temperature of 0 is not"):
        impl.generate(model, ids, 2, temperature=temperature)


# --- wrong and right answers -------------------------------------------------------------------------------------------


def own_loss(logits, targets, ignore_index=-100, reduction="mean"):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=ignore_index, reduction=reduction)


def checked_loss(logits, targets, ignore_index=-100):
    if tuple(logits.shape[:2]) != tuple(targets.shape):
        raise ValueError("shapes differ")
    return own_loss(logits, targets, ignore_index)


def no_loss():
    raise ValueError("shapes differ")


def shifted_loss(logits, targets, ignore_index=-100):
    return checked_loss(logits[:, :-1], targets[:, 1:], ignore_index)


def mean_of_means(logits, targets, ignore_index=-100):
    return torch.stack([checked_loss(z[None], y[None], ignore_index) for z, y in zip(logits, targets, strict=True)]).mean()


def looped_loss(logits, targets, ignore_index=-100):
    if logits.dim() != targets.dim() + 1 or logits.shape[:-1] != targets.shape:
        raise ValueError("shapes differ")
    total, count = 0.0, 0
    for z, y in zip(logits.flatten(0, -2), targets.flatten().tolist(), strict=True):
        if y != ignore_index:
            z = z - z.max()
            total, count = total + z.exp().sum().log() - z[y], count + 1
    return total / count


def loss_of_selected_rows(logits, targets, ignore_index=-100):
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes differ")
    kept = targets != ignore_index
    log_p = logits[kept].log_softmax(-1)  # (N, V)
    return -log_p[torch.arange(len(log_p)), targets[kept]].mean()


def loss_by_where(logits, targets, ignore_index=-100):
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes differ")
    kept = targets != ignore_index
    safe = torch.where(kept[..., None], logits, 0)  # before the logarithm, so that nothing comes back from an ignored place
    nll = safe.logsumexp(-1) - safe.gather(-1, targets.where(kept, 0)[..., None])[..., 0]
    return torch.where(kept, nll, 0).sum() / kept.sum()


def masked_by_a_product(logits, targets, ignore_index=-100):
    if logits.shape[:-1] != targets.shape:
        raise ValueError("shapes differ")
    kept = targets != ignore_index
    nll = logits.logsumexp(-1) - logits.gather(-1, targets.where(kept, 0)[..., None])[..., 0]
    return (nll * kept).sum() / kept.sum()


def forward_in_steps(self, x, cache=None):
    for normalise, transform in (
        (self.norm1, lambda h: self.attention(h, cache=cache)),
        (self.norm2, self.mlp),
    ):
        x = torch.add(transform(normalise(x)), x)
    return x


def forward_with_residuals(self, x, cache=None):
    residual = x
    x = self.norm1(x)
    x = self.attention(x, mask=None, cache=cache)
    residual = residual + x
    x = self.norm2(residual)
    for layer in self.mlp:
        x = layer(x)
    return residual + x


def forward_by_f(self, x, cache=None):
    residual = x
    h = F.layer_norm(x, x.shape[-1:], self.norm1.weight, self.norm1.bias, self.norm1.eps)
    h = self.attention(h, None, cache) + residual
    n = (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return h + self.mlp[2](F.gelu(self.mlp[0](n * self.norm2.weight + self.norm2.bias), approximate="tanh"))


def post_norm(self, x, cache=None):
    x = self.norm1(x + self.attention(x, cache=cache))
    return self.norm2(x + self.mlp(x))


def parallel_branches(self, x, cache=None):
    return x + self.attention(self.norm1(x), cache=cache) + self.mlp(self.norm2(x))


def norms_on_the_way_out(self, x, cache=None):
    x = x + self.norm1(self.attention(x, cache=cache))
    return x + self.norm2(self.mlp(x))


def attends_twice(self, x, cache=None):
    self.attention(self.norm1(x), cache=cache)
    return forward_in_steps(self, x, cache)


def positive(penalty):
    if penalty <= 0:
        raise ValueError("the penalty must be positive")


def penalty_by_bincount(logits, ids, penalty):
    positive(penalty)
    counts = torch.stack([row.bincount(minlength=logits.shape[1]) for row in ids])  # (B, V)
    factor = torch.full_like(logits, 1 / penalty).masked_fill(logits < 0, penalty)
    return logits * factor.where(counts > 0, 1)


def penalty_by_gather(logits, ids, penalty):
    positive(penalty)
    score = logits.gather(1, ids)
    return logits.scatter(1, ids, torch.where(score < 0, score * penalty, score / penalty))


def penalty_by_loop(logits, ids, penalty):
    positive(penalty)
    out = logits.clone()
    for b in range(len(ids)):
        for token in set(ids[b].tolist()):
            out[b, token] = logits[b, token] / penalty if logits[b, token] > 0 else logits[b, token] * penalty
    return out


def penalty_each_time(logits, ids, penalty):
    positive(penalty)
    logits = logits.clone()
    for b, row in enumerate(ids.tolist()):
        for token in row:
            logits[b, token] = logits[b, token] / penalty if logits[b, token] > 0 else logits[b, token] * penalty
    return logits


def penalty_on_all_rows(logits, ids, penalty):
    return penalty_by_gather(logits, ids.flatten().expand(len(ids), -1), penalty)


def penalty_on_log_probabilities(logits, ids, penalty):
    return penalty_by_gather(logits.log_softmax(-1), ids, penalty)


def penalty_subtracted(logits, ids, penalty):
    positive(penalty)
    return logits.scatter(1, ids, logits.gather(1, ids) - math.log(penalty))


def in_range(top_k, top_p):
    if top_k is not None and top_k <= 0:
        raise ValueError("top_k must be at least 1")
    if top_p is not None and (top_p <= 0 or top_p > 1):
        raise ValueError("top_p must lie in (0, 1]")


def filter_by_scatter(logits, top_k=None, top_p=None):
    """Sort, mark in sorted order (with ties), scatter the marks back."""
    in_range(top_k, top_p)
    if top_k is not None and top_k < logits.shape[1]:
        logits = torch.where(logits >= logits.sort(descending=True).values[:, top_k - 1 : top_k], logits, -INF)
    if top_p is None or top_p == 1:
        return logits
    ranked, order = logits.sort(descending=True)
    before = F.pad(ranked.softmax(-1).cumsum(-1)[:, :-1], (1, 0))  # the mass in front of each
    last = (before < top_p).sum(1, keepdim=True) - 1
    keep = ranked >= ranked.gather(1, last)
    return logits.masked_fill(~torch.zeros_like(keep).scatter(1, order, keep), -INF)


def filter_by_loop(logits, top_k=None, top_p=None):
    in_range(top_k, top_p)
    out = logits.detach().clone()
    for row in out:
        if top_k is not None:
            row[row < row.sort(descending=True).values[:top_k][-1]] = -INF
        if top_p is not None and top_p < 1:
            p, mass, kept = row.softmax(0), 0.0, -INF
            for i in row.argsort(descending=True).tolist():
                mass, kept = mass + p[i].item(), row[i].item()
                if mass >= top_p:
                    break
            row[row < kept] = -INF
    return out


def filter_by_comparison(logits, top_k=None, top_p=None):
    """Without a sort: a token stays if fewer than k, or less mass than p, lie strictly above it."""
    in_range(top_k, top_p)
    above = logits[:, None, :] > logits[:, :, None]  # (B, V, V): is the second above the first?
    if top_k is not None:
        logits = logits.masked_fill(above.sum(-1) >= top_k, -INF)
    if top_p is not None and top_p < 1:
        mass = (above * logits.softmax(-1)[:, None]).sum(-1)
        logits = logits.masked_fill(mass >= top_p, -INF)
    return logits


def filter_from_below(logits, top_k=None, top_p=None):
    """As in Hugging Face: sorted upwards, drop while the tail's mass is at most 1 − p; with ties kept."""
    in_range(top_k, top_p)
    if top_k is not None:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, logits.shape[1]))[0][..., -1, None], -INF)
    if top_p is not None and top_p < 1:
        ranked = logits.sort(dim=-1).values
        drop = ranked.softmax(-1).cumsum(-1) <= 1 - top_p
        drop[:, -1] = False
        smallest = ranked.masked_fill(drop, INF).amin(-1, keepdim=True)
        logits = logits.masked_fill(logits < smallest, -INF)
    return logits


def filter_without_ties(logits, top_k=None, top_p=None):
    in_range(top_k, top_p)
    if top_k is not None:
        best = logits.topk(min(top_k, logits.shape[1]))
        logits = torch.full_like(logits, -INF).scatter(1, best.indices, best.values)
    if top_p is not None and top_p < 1:
        ranked, order = logits.sort(descending=True, stable=True)
        p = ranked.softmax(-1)
        logits = torch.full_like(logits, -INF).scatter(1, order, ranked.masked_fill(p.cumsum(-1) - p >= top_p, -INF))
    return logits


def filter_both_on_the_original(logits, top_k=None, top_p=None):
    return torch.minimum(filter_by_scatter(logits, top_k), filter_by_scatter(logits, None, top_p))


def filter_p_first(logits, top_k=None, top_p=None):
    return filter_by_scatter(filter_by_scatter(logits, None, top_p), top_k)


def filter_with_marks_in_sorted_order(logits, top_k=None, top_p=None):
    """What is to be dropped is found among the sorted logits, and never brought back into the order of ids."""
    in_range(top_k, top_p)
    logits = filter_by_scatter(logits, top_k)
    if top_p is None or top_p == 1:
        return logits
    p = logits.softmax(-1).sort(descending=True).values
    return logits.masked_fill(p.cumsum(-1) - p >= top_p, -INF)


def filter_by_single_probability(logits, top_k=None, top_p=None):
    in_range(top_k, top_p)
    logits = filter_by_scatter(logits, top_k)
    return logits if top_p is None else logits.masked_fill(logits.softmax(-1) < 1 - top_p, -INF)


def filter_in_order_of_ids(logits, top_k=None, top_p=None):
    in_range(top_k, top_p)
    logits = filter_by_scatter(logits, top_k)
    if top_p is None or top_p == 1:
        return logits
    p = logits.softmax(-1)
    return logits.masked_fill(p.cumsum(-1) - p >= top_p, -INF)


def sample_by_loop(logits, uniforms):
    tokens = []
    for p, u in zip(logits.softmax(-1), uniforms, strict=True):
        total, token = 0.0, 0
        for i, share in enumerate(p.tolist()):
            if share > 0:
                total, token = total + share, i
                if u.item() < total:
                    break
        tokens.append(token)
    return torch.tensor(tokens, device=logits.device)


def sample_by_counting(logits, uniforms):
    cdf = logits.softmax(-1).cumsum(-1)
    last = torch.arange(logits.shape[1], device=logits.device).where(logits.softmax(-1) > 0, 0).amax(-1)
    return (cdf <= uniforms[:, None]).sum(-1).minimum(last)


def sample_by_searchsorted(logits, uniforms):
    p = logits.double().softmax(-1)
    token = torch.searchsorted(p.cumsum(-1), uniforms.double().unsqueeze(1), right=True).squeeze(1)
    last = p.shape[1] - 1 - (p > 0).flip(1).int().argmax(1)
    return torch.where(token > last, last, token)


def sample_by_argmax_of_exceeding(logits, uniforms):
    p = logits.double().softmax(-1)
    cdf = p.cumsum(-1) / p.sum(-1, keepdim=True)
    exceeds = cdf > uniforms.double()[:, None] * cdf[:, -1:]
    return exceeds.int().argmax(-1)  # the first of the largest


def sample_downwards(logits, uniforms):
    ranked, order = logits.sort(descending=True)
    cdf = ranked.softmax(-1).cumsum(-1)
    return order.gather(1, (cdf <= uniforms[:, None] * cdf[:, -1:]).sum(-1, keepdim=True).clamp(max=order.shape[1] - 1))[:, 0]


def generate_by(last_logits):
    """Decoding by `last_logits(model, ids, caches)`, the logits (B, V) after the last token."""

    def generate(
        model, ids, new_tokens, *, temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0, uniforms=None, seed=0
    ):
        if temperature < 0 or ids.shape[1] < 1:
            raise ValueError("need a prompt and a temperature of at least 0")
        if uniforms is None:
            uniforms = torch.rand(new_tokens, len(ids), generator=torch.Generator().manual_seed(seed)).T.to(ids.device)
        caches = model.new_caches()
        for u in uniforms.T:
            logits = penalty_by_gather(last_logits(model, ids, caches).float(), ids, repetition_penalty)
            if temperature > 0:
                token = sample_by_counting(filter_by_comparison(logits / temperature, top_k, top_p), u)
            else:
                token = logits.max(dim=1).indices
            ids = torch.hstack([ids, token.unsqueeze(1)])
        return ids

    return generate


def logits_of_the_window(model, ids, caches):
    return model(ids[:, -model.config.context :])[:, -1]


def logits_from_a_sliding_cache(model, ids, caches):
    """Once the cache is full, its oldest keys make room, and the newest token stands at the last position again."""
    context = model.config.context
    unseen = ids[:, -context:] if caches[0].length == 0 else ids[:, -1:]
    for cache in caches:
        if cache.length == context:
            cache.keys, cache.values, cache.length = cache.keys.roll(-1, 2), cache.values.roll(-1, 2), context - 1
    return model(unseen, caches)[:, -1]


def generate_into_room(
    model, ids, new_tokens, *, temperature=1.0, top_k=None, top_p=None, repetition_penalty=1.0, uniforms=None, seed=0
):
    """Into room taken beforehand, with the temperature before the penalty (they commute) and a fresh cache every time."""
    B, T = ids.shape
    if T == 0 or temperature < 0:
        raise ValueError("need a prompt and a temperature of at least 0")
    if uniforms is None:
        uniforms = torch.rand((B, new_tokens), generator=torch.Generator().manual_seed(seed)).to(ids.device)
    out = torch.cat([ids, ids.new_zeros(B, new_tokens)], dim=1)
    for n in range(T, T + new_tokens):
        start = max(0, n - model.config.context)
        logits = model(out[:, start:n], model.new_caches())[:, -1].double() / (temperature or 1.0)
        logits = filter_by_scatter(penalty_by_bincount(logits, out[:, :n], repetition_penalty), top_k, top_p)
        out[:, n] = sample_by_argmax_of_exceeding(logits, uniforms[:, n - T]) if temperature else logits.argmax(1)
    return out


SAMPLING = "token = sample(top_k_top_p_filter(logits / temperature, top_k, top_p), uniforms[:, n])"
GREEDY = "if temperature == 0:\n            token = logits.argmax(dim=-1)\n        else:\n            "
PENALTY = "logits = apply_repetition_penalty(logits[:, -1].float(), ids, repetition_penalty)"

FAKES = {
    "language_model_loss": {
        "summed": lambda logits, targets, ignore_index=-100: own_loss(logits, targets, ignore_index, "sum"),
        "ignored targets counted": Edit("/ kept.sum()", "/ kept.numel()"),
        "ignore_index ignored": Edit("targets != ignore_index", "targets != -100"),
        "ignored targets taken for token 0": lambda logits, targets, ignore_index=-100: checked_loss(
            logits, targets.where(targets != ignore_index, 0)
        ),
        "multiplied by the mask, not selected": masked_by_a_product,
        "NaN and ∞ wiped off all losses": lambda logits, targets, ignore_index=-100: checked_loss(
            logits.nan_to_num(neginf=-1e3), targets, ignore_index
        ),
        "shifted once more": shifted_loss,
        "a mean of the rows' means": mean_of_means,
        "softmax, then log": Edit("logits.logsumexp(dim=-1)", "logits.exp().sum(dim=-1).log()"),
        "normalised over the places": Edit("logits.logsumexp(dim=-1)", "logits.logsumexp(dim=1, keepdim=True)[..., 0]"),
        "the normaliser forgotten": Edit("logits.logsumexp(dim=-1) - ", "-"),
        "in bits": Edit("/ kept.sum()", "/ kept.sum() / math.log(2)"),
        "a log-likelihood, not its negative": Edit("return nll", "return -nll"),
        "any shape accepted": Edit("logits.shape[:-1] != targets.shape", "False"),
        "as many targets are enough": lambda logits, targets, ignore_index=-100: (
            own_loss(logits, targets, ignore_index) if logits[..., 0].numel() == targets.numel() else no_loss()
        ),
        "one-hot rows": lambda logits, targets, ignore_index=-100: (
            checked_loss(logits, targets, ignore_index) * 0
            - (logits.log_softmax(-1) * F.one_hot(targets.where(targets != ignore_index, 0), logits.shape[-1]))
            .sum(-1)[targets != ignore_index]
            .mean()
        ),
        "log-probabilities kept from −∞": lambda logits, targets, ignore_index=-100: checked_loss(
            logits.log_softmax(-1).clamp(min=-1e4), targets, ignore_index
        ),
        "detached": Edit("logits.gather", "logits.detach().gather"),
        "labels smoothed": lambda logits, targets, ignore_index=-100: (
            0.9 * checked_loss(logits, targets, ignore_index)
            - 0.1 * (logits.log_softmax(-1).mean(-1)[targets != ignore_index]).mean()
        ),
        "the perplexity": lambda logits, targets, ignore_index=-100: checked_loss(logits, targets, ignore_index).exp(),
    },
    "Block.forward": {
        "post-norm": post_norm,
        "no residual around the attention": Edit("x = x + self.attention", "x = self.attention"),
        "no residual around the network": Edit("return x + self.mlp", "return self.mlp"),
        "one norm for both": Edit("self.norm2", "self.norm1"),
        "the stream normalised": Edit(
            "x = x + self.attention(self.norm1(x)", "x = self.norm1(x)\n        x = x + self.attention(x"
        ),
        "no norm before the network": Edit("self.mlp(self.norm2(x))", "self.mlp(x)"),
        "both branches in parallel": parallel_branches,
        "norms on the way out": norms_on_the_way_out,
        "the cache ignored": Edit("cache=cache", "cache=None"),
        "the cache fed twice": attends_twice,
        "the residual detached": Edit("x = x + self", "x = x.detach() + self"),
        "the gains detached": Edit(
            "self.mlp(self.norm2(x))",
            "self.mlp(F.layer_norm(x, x.shape[-1:], self.norm2.weight.detach(), self.norm2.bias.detach()))",
        ),
        "the last map frozen": Edit(
            "return x + self.mlp(self.norm2(x))",
            "hidden = self.mlp[1](self.mlp[0](self.norm2(x)))\n"
            "        return x + F.linear(hidden, self.mlp[2].weight.detach(), self.mlp[2].bias)",
        ),
        "the identity": lambda self, x, cache=None: x,
        "network before attention": lambda self, x, cache=None: (
            (y := x + self.mlp(self.norm2(x))) + self.attention(self.norm1(y), cache=cache)
        ),
    },
    "apply_repetition_penalty": {
        "divides always": Edit("torch.where(logits > 0, logits / penalty, logits * penalty)", "logits / penalty"),
        "makes likelier": Edit("logits / penalty, logits * penalty", "logits * penalty, logits / penalty"),
        "penalised each time": penalty_each_time,
        "seen by any row": penalty_on_all_rows,
        "the last token only": Edit("scatter(1, ids, True)", "scatter(1, ids[:, -1:], True)"),
        "the unseen penalised": Edit("torch.where(seen, penalised, logits)", "torch.where(seen, logits, penalised)"),
        "subtracted": penalty_subtracted,
        "on log-probabilities": penalty_on_log_probabilities,
        "any penalty accepted": Edit("penalty <= 0", "False"),
        "text demanded": Edit("penalty <= 0", "penalty <= 0 or ids.shape[1] == 0"),
        "logits clamped": Edit("torch.where(seen, penalised, logits)", "torch.where(seen, penalised, logits).clamp(-1e3, 1e3)"),
        "by way of probabilities": lambda logits, ids, penalty: (
            penalty_by_gather(logits.double().log_softmax(-1) + logits.double().logsumexp(-1, keepdim=True), ids, penalty)
            .to(logits.dtype)
            .clamp(min=-1e4)
        ),
        "no encouragement accepted": Edit("penalty <= 0", "penalty < 1"),
        "nothing done": lambda logits, ids, penalty: logits,
    },
    "top_k_top_p_filter": {
        "the k smallest": Edit("logits < smallest, -math.inf)\n    if", "logits >= smallest, -math.inf)\n    if"),
        "one more than k": Edit("min(top_k, logits", "min(top_k + 1, logits"),
        "one fewer than k, or none": Edit("logits < smallest", "logits <= smallest"),
        "tied tokens dropped": filter_without_ties,
        "k beyond V not foreseen": Edit("min(top_k, logits.shape[-1])", "top_k"),
        "k ignored": lambda logits, top_k=None, top_p=None: filter_by_scatter(logits, None, top_p),
        "p ignored": lambda logits, top_k=None, top_p=None: filter_by_scatter(logits, top_k),
        "k of 0 means all": Edit("if top_k is not None:", "if top_k:"),
        "the crossing token dropped": Edit("p.cumsum(dim=-1) - p < top_p", "p.cumsum(dim=-1) < top_p"),
        "the crossing token dropped, unless it is the first": Edit(
            "p.cumsum(dim=-1) - p < top_p", "(p.cumsum(dim=-1) < top_p) | (p >= p[:, :1])"
        ),
        "one token after the crossing one": Edit("p.cumsum(dim=-1) - p <", "p.cumsum(dim=-1) - p - p.roll(1, -1) <"),
        "one token more where the sum is exactly p": Edit("p.cumsum(dim=-1) - p < top_p", "p.cumsum(dim=-1) - p <= top_p"),
        "p checked only where there is no k": Edit("if not 0 < top_p <= 1:", "if top_k is None and not 0 < top_p <= 1:"),
        "closed logits reopened": lambda logits, top_k=None, top_p=None: filter_by_scatter(logits.clamp(min=-1e9), top_k, top_p),
        "p of the unfiltered distribution": filter_both_on_the_original,
        "p before k": filter_p_first,
        "p of single probabilities": filter_by_single_probability,
        "cumulated in the order of ids": filter_in_order_of_ids,
        "marks left in sorted order": filter_with_marks_in_sorted_order,
        "cumulated logits": Edit("ranked.softmax(dim=-1)", "ranked"),
        "one threshold for all rows": Edit("amin(dim=-1, keepdim=True)", "amin()"),
        "p = 1 loses the tail": Edit(" if top_p < 1 else p >= 0", ""),
        "zeros for -inf": Edit("-math.inf", "0.0"),
        "a large number for -inf": Edit("-math.inf", "-1e9"),
        "probabilities": lambda logits, top_k=None, top_p=None: filter_by_scatter(logits, top_k, top_p).softmax(-1),
        "in place": Edit("masked_fill(logits <", "masked_fill_(logits <"),
        "p of 0 accepted": Edit("0 < top_p", "0 <= top_p"),
        "p of 1 refused": Edit("<= 1:", "< 1:"),
    },
    "sample": {
        "the likeliest": lambda logits, uniforms: logits.argmax(-1),
        "multinomial": lambda logits, uniforms: torch.multinomial(logits.softmax(-1), 1)[:, 0],
        "no softmax": Edit("logits.softmax(dim=-1)", "logits"),
        "one number for all rows": Edit("uniforms[:, None]", "uniforms[:1, None]"),
        "the token before": lambda logits, uniforms: (sample_by_counting(logits, uniforms) - 1).clamp(min=0),
        "the token after": lambda logits, uniforms: (sample_by_counting(logits, uniforms) + 1).clamp(max=logits.shape[1] - 1),
        "reached, not exceeded": Edit("cdf <= ", "cdf < "),
        "in the order of probability": sample_downwards,
        "from the other end": Edit("uniforms[:, None]", "(1 - uniforms[:, None])"),
        "the first token where none exceeds": lambda logits, uniforms: (
            (logits.softmax(-1).cumsum(-1) > uniforms[:, None]).int().argmax(-1)
        ),
        "exponentials without the maximum": lambda logits, uniforms: sample_by_counting(
            (logits.exp() / logits.exp().sum(-1, keepdim=True)).log(), uniforms
        ),
        "at least two tokens": lambda logits, uniforms: sample_by_counting(logits, uniforms) + (logits.shape[1] == 1),
        "nothing against rounding": lambda logits, uniforms: (logits.softmax(-1).cumsum(-1) <= uniforms[:, None]).sum(-1),
        "clamped to a token that may be impossible": lambda logits, uniforms: (
            (logits.softmax(-1).cumsum(-1) <= uniforms[:, None]).sum(-1).clamp(max=logits.shape[1] - 1)
        ),
    },
    "generate": {
        "no temperature": Edit("logits / temperature", "logits"),
        "times the temperature": Edit("logits / temperature", "logits * temperature"),
        "always greedy": Edit("temperature == 0", "temperature >= 0"),
        "never greedy": Edit("temperature == 0", "False"),
        "zero as a very low temperature": Edit(GREEDY + SAMPLING, SAMPLING.replace("temperature", "max(temperature, 1e-6)")),
        "the last of equals": Edit("logits.argmax(dim=-1)", "logits.shape[1] - 1 - logits.flip(1).argmax(dim=-1)"),
        "no temperature below a tenth": Edit("logits / temperature", "logits / max(temperature, 0.1)"),
        "greedy only as a float": Edit("temperature == 0", "temperature == 0 and isinstance(temperature, float)"),
        "numbers demanded for a greedy choice": Edit("    if uniforms is None:", "    if uniforms is None and temperature > 0:"),
        "top_k ignored": Edit("top_k, top_p)", "None, top_p)"),
        "top_p ignored": Edit("top_k, top_p)", "top_k)"),
        "no penalty": Edit(PENALTY, "logits = logits[:, -1].float()"),
        "only new tokens penalised": Edit(PENALTY, PENALTY.replace("ids", "ids[:, ids.shape[1] - n :]")),
        "only the window penalised": Edit(PENALTY, PENALTY.replace("ids", "ids[:, -context:]")),
        "filtered before the temperature": Edit(
            "top_k_top_p_filter(logits / temperature, top_k, top_p)", "top_k_top_p_filter(logits, top_k, top_p) / temperature"
        ),
        "penalised after the filter": Edit(
            f"{PENALTY}  # (B, V)\n        if temperature == 0:\n            token = logits.argmax(dim=-1)\n        else:\n            {SAMPLING}",
            "cut = top_k_top_p_filter(logits[:, -1].float() / (temperature or 1), top_k, top_p)\n"
            "        cut = apply_repetition_penalty(cut, ids, repetition_penalty)\n"
            "        token = sample(cut, uniforms[:, n]) if temperature else cut.argmax(dim=-1)",
        ),
        "cropped to the first tokens": Edit("ids[:, -context:]", "ids[:, :context]"),
        "a window that is too short": Edit("ids[:, -context:]", "ids[:, 1 - context :]"),
        "only the last token seen": Edit("model(ids[:, -context:])", "model(ids[:, -1:])"),
        "never slides": Edit("fits = ids.shape[1] <= context", "fits = True"),
        "the whole text into a full cache": Edit("ids[:, caches[0].length :]", "ids"),
        "the first prediction, not the last": Edit("logits[:, -1]", "logits[:, 0]"),
        "the first number for all steps": Edit("uniforms[:, n]", "uniforms[:, 0]"),
        "the first row's numbers for all": Edit("uniforms[:, n]", "uniforms[:1, n].expand(len(ids))"),
        "numbers of its own": Edit("uniforms[:, n]", "torch.rand(len(ids))"),
        "the prompt left out": Edit("return ids", "return ids[:, ids.shape[1] - new_tokens :]"),
        "a cache that slides": generate_by(logits_from_a_sliding_cache),
        "logits left in bfloat16": Edit(".float()", ""),
        "one token too many": Edit("range(new_tokens)", "range(new_tokens + 1)"),
        "the seed ignored": Edit("manual_seed(seed)", "manual_seed(0)"),
        "the global generator": Edit(", generator=torch.Generator().manual_seed(seed)", ""),
        "one random number per row": Edit("torch.rand(len(ids), new_tokens,", "torch.rand(len(ids), 1,"),
        "empty prompts accepted": Edit("ids.shape[1] == 0 or ", ""),
        "negative temperatures accepted": Edit(" or temperature < 0", ""),
    },
}

# Decoding is not differentiated: an answer may pass a gradient to these, or none.
NO_GRADIENT = {"apply_repetition_penalty": ("logits",), "top_k_top_p_filter": ("logits",), "sample": ("logits", "uniforms")}

VARIANTS = {
    "language_model_loss": {
        "F.cross_entropy": checked_loss,
        "a loop": looped_loss,
        "the kept rows selected": loss_of_selected_rows,
        "the losses chosen by where": loss_by_where,
        "classes on the second axis": Edit(
            "return nll.where(kept, 0.0).sum() / kept.sum()",
            "return F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=ignore_index)",
        ),
    },
    "Block.forward": {
        "in steps": forward_in_steps,
        "by F": forward_by_f,
        "residuals kept aside": forward_with_residuals,
    },
    "apply_repetition_penalty": {
        "counted": penalty_by_bincount,
        "gathered and scattered": penalty_by_gather,
        "a loop": penalty_by_loop,
    },
    "top_k_top_p_filter": {
        "sorted and scattered": filter_by_scatter,
        "a loop": filter_by_loop,
        "without a sort": filter_by_comparison,
        "from below": filter_from_below,
    },
    "sample": {
        "a loop": sample_by_loop,
        "the library's binary search": sample_by_searchsorted,
        "argmax of a comparison": sample_by_argmax_of_exceeding,
    },
    "generate": {
        "without a cache": generate_by(logits_of_the_window),
        "into room taken beforehand": generate_into_room,
        "a fresh cache every time": Edit(
            "model(ids[:, caches[0].length :], caches) if fits", "model(ids, model.new_caches()) if fits"
        ),
    },
}

EQUIVALENT = {
    "language_model_loss": {
        "constant: logits.gather(-1, index)[..., 0] -> logits.gather(-1, index)[..., -1]": "that axis has one entry, first and last",
    },
    "apply_repetition_penalty": {
        "comparison: logits > 0 -> logits >= 0": "a logit of 0 stays 0, divided or multiplied",
    },
    "top_k_top_p_filter": {
        "constant: p >= 0 -> p >= -1": "a probability is never negative: both keep all",
    },
    "generate": {
        "dtype: logits[:, -1].float -> logits[:, -1].double": "more digits of the same logits; ties apart, the same tokens",
        "comparison: ids.shape[1] <= context -> ids.shape[1] < context": (
            "a full window without the cache gives the same logits, only at more cost"
        ),
        "condition: model(ids[:, caches[0].length:],… -> model(ids[:, -context:])… a019e0": (
            "without the cache the logits are the same, only at more cost"
        ),
        "constant: caches[0] -> caches[-1]": "the caches of all blocks have seen the same positions",
    },
}
