"""What a right answer to text/bert must do. Truths: loops, `nn.TransformerEncoderLayer`, `F.cross_entropy`, scikit-learn, bins by hand."""

import math
import re

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from torch import nn

from course.testing import Edit, assert_close, assert_equal, assert_true, raises

INF = math.inf
IGNORED = -100


# --- mask_tokens -------------------------------------------------------------------------------------------------------


def masked_by_hand(ids, maskable, uniforms, mask, symbols, rate=0.15, masked=0.8, random=0.1):
    """Place by place, in plain Python."""
    inputs, targets = ids.clone(), torch.full_like(ids, IGNORED)
    for b in range(ids.shape[0]):
        for t in range(ids.shape[1]):
            chosen, kind, other = uniforms[:, b, t].tolist()
            if not maskable[b, t] or chosen >= rate:
                continue
            targets[b, t] = ids[b, t]
            if kind < masked:
                inputs[b, t] = mask
            elif kind < masked + random:
                inputs[b, t] = int(other * symbols)
    return inputs, targets


def sentences(draw, B=None, T=None):
    """Ids of which some may not be masked, and numbers that are not within rounding of a border."""
    B, T, symbols = B or draw.batch(), T or draw.size(), draw.integer(5, 40)
    ids, maskable = draw.integers(symbols, (B, T)), draw.uniform(B, T) < 0.8
    uniforms = (draw.integers(64, (3, B, T)).double() + 0.5) / 64
    return ids, maskable, uniforms, symbols


@pytest.mark.stub("mask_tokens")
@pytest.mark.parametrize(
    "shares",
    [
        {},
        {"rate": 0.6},
        {"rate": 1.0, "masked": 0.4, "random": 0.35},
        {"rate": 1, "masked": 0.0, "random": 0.5},
        {"masked": 1.0, "random": 0.0},
    ],
)
def test_places_are_hidden_swapped_or_kept_as_their_numbers_say(impl, draw, shares):
    ids, maskable, uniforms, symbols = sentences(draw, T=draw.integer(6, 12))
    mask = symbols + draw.integer(0, 3)
    expected = masked_by_hand(ids, maskable, uniforms, mask, symbols, **shares)
    inputs, targets = impl.mask_tokens(ids, maskable, uniforms, mask=mask, symbols=symbols, **shares)
    hint = "asked where maskable and the first number is below rate; by the second: [MASK], a random token, or the token itself"
    assert_equal(inputs, expected[0], what="what the model reads", hint=hint)
    hint = "the token wherever it is asked for, also where it was swapped or kept; -100 elsewhere"
    assert_equal(targets, expected[1], what="what it is asked for", hint=hint)


@pytest.mark.stub("mask_tokens")
def test_by_default_15_80_10_10(impl, draw):
    N, symbols = 400, draw.integer(50, 90)
    grid = (torch.arange(N).double() + 0.5) / N
    uniforms = torch.stack([grid[draw.permutation(N)] for _ in range(3)])
    uniforms[0] = (grid * 0.15)[draw.permutation(N)]  # all are asked for
    ids = torch.full((1, N), symbols + 7)
    inputs, targets = impl.mask_tokens(
        ids, torch.ones(1, N, dtype=torch.bool), uniforms[:, None], mask=symbols + 1, symbols=symbols
    )
    counts = [int((inputs == symbols + 1).sum()), int((inputs < symbols).sum()), int((inputs == symbols + 7).sum())]
    assert_equal(counts, [320, 40, 40], what="how many of 400 are [MASK], random and kept", hint="80 %, 10 % and 10 %")
    assert_true(bool((targets == symbols + 7).all()), "all of them are asked for", hint="a token that was kept is asked for too")
    uniforms[0] = 0.15 + grid * 0.85
    inputs, targets = impl.mask_tokens(
        ids, torch.ones(1, N, dtype=torch.bool), uniforms[:, None], mask=symbols + 1, symbols=symbols
    )
    assert_equal(
        inputs, ids, what="what the model reads where no number is below 0.15", hint="a number of exactly the rate does not ask"
    )
    assert_equal(
        targets, torch.full_like(ids, IGNORED), what="its targets", hint="15 % by default, and -100 where nothing is asked"
    )


@pytest.mark.stub("mask_tokens")
def test_a_number_on_a_border_lies_above_it(impl, draw):
    symbols = 4 * draw.integer(2, 9)
    ids = torch.full((1, 4), symbols + 1)
    numbers = torch.tensor([[0.5, 0.25, 0.25, 0.25], [0.0, 0.25, 0.5, 0.75], [0.25, 0.25, 0.25, 0.25]])[:, None]
    inputs, targets = impl.mask_tokens(ids, ids > 0, numbers, mask=symbols, symbols=symbols, rate=0.5, masked=0.5, random=0.25)
    hint = "`below`: a first number of exactly the rate does not ask, a second of `masked` swaps, one of `masked + random` keeps"
    assert_equal(inputs.tolist(), [[symbols + 1, symbols, symbols // 4, symbols + 1]], what="what the model reads", hint=hint)
    assert_equal(targets.tolist(), [[IGNORED] + [symbols + 1] * 3], what="what it is asked for", hint=hint)


@pytest.mark.stub("mask_tokens")
def test_random_tokens_are_all_equally_likely_and_in_range(impl, draw):
    symbols = draw.integer(5, 30)
    thirds = torch.cat([(torch.arange(4 * symbols) + 0.5) / (4 * symbols), torch.tensor([0.0, 1 - 2**-24])]).float()
    uniforms = torch.stack([torch.zeros_like(thirds), torch.full_like(thirds, 0.85), thirds])[:, None]
    ids = torch.full((1, len(thirds)), symbols + 5)
    inputs, _ = impl.mask_tokens(ids, torch.ones_like(ids, dtype=torch.bool), uniforms, mask=symbols, symbols=symbols)
    expected = torch.cat([torch.arange(symbols).repeat_interleave(4), torch.tensor([0, symbols - 1])])[None]
    hint = "the third number times `symbols`, rounded down: 0 to symbols - 1, special tokens are not among them"
    assert_equal(inputs, expected, hint=hint)


@pytest.mark.stub("mask_tokens")
def test_what_may_not_be_masked_stays(impl, draw):
    B, T, symbols = draw.batch(), draw.size(2), draw.integer(5, 40)
    ids, none = draw.integers(symbols, (B, T)), torch.zeros(B, T, dtype=torch.bool)
    inputs, targets = impl.mask_tokens(ids, none, torch.zeros(3, B, T), mask=symbols, symbols=symbols, rate=1.0)
    assert_equal(inputs, ids, what="what the model reads", hint="[CLS] and padding are neither hidden nor asked for")
    assert_equal(
        targets, torch.full_like(ids, IGNORED), what="the targets", hint="[CLS] and padding are neither hidden nor asked for"
    )


@pytest.mark.stub("mask_tokens")
@pytest.mark.parametrize(
    "shares",
    [
        {"rate": 0.0},
        {"rate": -0.1},
        {"rate": 1.1},
        {"masked": 0.95},
        {"masked": -0.1},
        {"random": -0.1},
        {"random": 0.3},
    ],
)
def test_shares_that_are_none_are_refused(impl, draw, shares):
    ids, maskable, uniforms, symbols = sentences(draw)
    with raises(ValueError, hint="0 < rate <= 1; masked and random are at least 0, and at most 1 together"):
        impl.mask_tokens(ids, maskable, uniforms, mask=symbols, symbols=symbols, **shares)


# --- Block.forward -----------------------------------------------------------------------------------------------------


def random_weights(draw, state):
    """Gains around 1, all else of a size at which every part shows in what comes out."""
    weights = draw.like(state, scale=0.5)
    return {n: 1 + 0.5 * w if "norm" in n and n.endswith("weight") else w for n, w in weights.items()}


def random_block(impl, draw, dropout=0.0):
    heads = draw.integer(1, 3)
    C = heads * draw.integer(3, 5)  # two numbers alone are always 1 and -1 after a norm
    block = impl.Block(impl.Config(width=C, heads=heads, dropout=dropout))
    state = random_weights(draw, block.fresh_state())
    block.load_state_dict(state)
    if not dropout:
        block.eval()
    return block, state, C, heads


def torch_layer(state, C, heads):
    """The same as torch's own post-norm encoder layer, in float64."""
    layer = nn.TransformerEncoderLayer(
        C, heads, 4 * C, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    ).double()
    names = {
        "self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.",
        "linear1.": "mlp.0.", "linear2.": "mlp.2.", "norm1.": "norm1.", "norm2.": "norm2.",
    }  # fmt: skip
    layer.load_state_dict({old + end: state[new + end].double() for old, new in names.items() for end in ("weight", "bias")})
    return layer.train()  # without dropout; in evaluation torch takes another path, which zeroes padded places


def some_lengths(draw, B, T):
    lengths = draw.integers(T + 1, (B,), low=1)
    lengths[draw.integer(0, B - 1)] = T
    return lengths


def truth(state, C, heads, x, lengths=None):
    padded = None if lengths is None else torch.arange(x.shape[1]) >= lengths[:, None]
    return torch_layer(state, C, heads)(x.double(), src_key_padding_mask=padded)


@pytest.mark.stub("Block.forward")
def test_block_agrees_with_torch(impl, draw):
    block, state, C, heads = random_block(impl, draw)
    x = draw.normal(draw.batch(), draw.size(), C, dtype=torch.float32)
    hint = (
        "post-norm: norm1(x + attention(x)), then norm2(x + mlp(x)); without lengths all places are attended to, also later ones"
    )
    assert_close(block(x), truth(state, C, heads, x).float(), tolerance=1e-4, hint=hint)


@pytest.mark.stub("Block.forward")
def test_padded_places_are_not_attended_to(impl, draw):
    block, state, C, heads = random_block(impl, draw)
    B, T = draw.batch(2), draw.size(3)
    x, lengths = draw.normal(B, T, C, dtype=torch.float32), some_lengths(draw, B, T)
    real = torch.arange(T) < lengths[:, None]
    hint = "each item attends to its own first `lengths[b]` places: the mask is about keys, one row for all queries and heads"
    expected = truth(state, C, heads, x, lengths).float()
    assert_close(block(x, lengths)[real], expected[real], tolerance=1e-4, what="the places that are real", hint=hint)


@pytest.mark.stub("Block.forward")
def test_one_sentence_alone_has_padding_too(impl, draw):
    block, state, C, heads = random_block(impl, draw)
    T = draw.integer(3, 6)
    x, lengths = draw.normal(1, T, C, dtype=torch.float32), torch.tensor([draw.integer(1, T - 1)])
    expected = truth(state, C, heads, x, lengths).float()[0, : lengths[0]]
    hint = "a batch of one may be padded too"
    assert_close(block(x, lengths)[0, : lengths[0]], expected, tolerance=1e-4, what="the places that are real", hint=hint)


@pytest.mark.stub("Block.forward")
@pytest.mark.parametrize("filling", ["NaN", "infinity", "1e30"])
def test_what_padded_places_hold_has_no_effect(impl, draw, filling):
    block, state, C, heads = random_block(impl, draw)
    B, T = draw.integer(2, 4), draw.integer(3, 6)
    x, lengths = draw.normal(B, T, C, dtype=torch.float32), draw.integers(T, (B,), low=1)
    lengths[:2] = draw.permutation(T - 1)[:2] + 1  # two that differ, both shorter than T
    real = torch.arange(T) < lengths[:, None]
    expected = truth(state, C, heads, x.where(real[..., None], 0.0), lengths).float()
    x[~real] = {"NaN": math.nan, "infinity": INF, "1e30": 1e30}[filling]
    result = block(x, lengths)
    hint = "a weight of 0 times NaN or infinity is NaN: put 0 in place of padded vectors before attention reads them"
    assert_close(result[real], expected[real], tolerance=1e-4, what="the places that are real", hint=hint, hint_for="values NaN")
    assert_true(bool(result[~real].isfinite().all()), "padded places give numbers", hint="the next block reads them")


@pytest.mark.stub("Block.forward")
def test_gradients_of_the_block(impl, draw):
    block, state, C, heads = random_block(impl, draw)
    B, T = draw.integer(2, 4), draw.integer(3, 6)
    x, lengths = draw.normal(B, T, C, dtype=torch.float32), some_lengths(draw, B, T)
    real = torch.arange(T) < lengths[:, None]
    g = draw.normal(B, T, C, dtype=torch.float32) * real[..., None]
    layer, leaf = torch_layer(state, C, heads), x.double().requires_grad_()
    with torch.enable_grad():
        total = (layer(leaf, src_key_padding_mask=~real) * g).where(real[..., None], 0.0).sum()
        by_x, by_gain = torch.autograd.grad(total, [leaf, layer.norm1.weight])
    hint = "nothing is detached; what stands at a padded place has no effect, so no gradient comes back to it"
    assert_close(block.vjp(x, lengths, wrt=0, cotangent=g), by_x.float(), tolerance=1e-3, what="the gradient of x", hint=hint)
    actual = block.vjp(x, lengths, wrt="parameters", cotangent=g)["norm1.weight"]
    assert_close(actual, by_gain.float(), tolerance=1e-3, what="the gradient of norm1.weight", hint=hint)


@pytest.mark.stub("Block.forward")
def test_dropout_acts_on_what_is_added(impl, draw):
    block, state, C, _ = random_block(impl, draw, dropout=1.0)
    block.train()
    x = draw.normal(draw.batch(), draw.size(), C, dtype=torch.float32)
    h = F.layer_norm(x, (C,), state["norm1.weight"], state["norm1.bias"], 1e-12)
    expected = F.layer_norm(h, (C,), state["norm2.weight"], state["norm2.bias"], 1e-12)
    hint = "with everything dropped, the stream itself is left: norm2(norm1(x)). `dropout` acts on both results before they are added"
    assert_close(block(x), expected, tolerance=1e-3, hint=hint)


# --- pool --------------------------------------------------------------------------------------------------------------


@pytest.mark.stub("pool")
@pytest.mark.parametrize("kind", [None, "first", "mean"])
def test_pooled_by_hand(impl, draw, kind):
    B, C = draw.batch(2), draw.size()
    T = draw.size(2)
    hidden, lengths = draw.normal(B, T, C), some_lengths(draw, B, T)
    rows = [hidden[b, : int(lengths[b])].mean(dim=0) if kind == "mean" else hidden[b, 0] for b in range(B)]
    actual = impl.pool(hidden, lengths) if kind is None else impl.pool(hidden, lengths, kind)
    hint = "`first`, the default, is the vector of [CLS]; `mean` adds up the first lengths[b] and divides by as many, not by T"
    assert_close(actual, torch.stack(rows), hint=hint)


@pytest.mark.stub("pool")
@pytest.mark.parametrize("kind", ["first", "mean"])
def test_pooling_selects_and_does_not_multiply(impl, draw, kind):
    B, T, C = draw.size(2), draw.integer(3, 7), draw.size()
    hidden, lengths = draw.normal(B, T, C, dtype=torch.float32), draw.integers(T, (B,), low=1)
    lengths[draw.integer(0, B - 1)] = 1
    real = torch.arange(T) < lengths[:, None]
    clean = torch.stack([hidden[b, : (1 if kind == "first" else int(lengths[b]))].mean(0) for b in range(B)])
    hidden[~real] = draw.choice([math.nan, INF, -INF])
    hint = "NaN or infinity times a mask of 0 is NaN: torch.where before the sum"
    assert_close(impl.pool(hidden, lengths, kind), clean, hint=hint, hint_for="values NaN")
    slope = impl.vjp("pool", hidden, lengths, kind, wrt=0, cotangent=torch.ones(B, C))
    share = real / lengths[:, None] if kind == "mean" else (torch.arange(T) == 0).expand(B, T).float()
    hint = "1 / lengths[b] at each real place, or all at the first one; nothing at padded places"
    assert_close(slope, share[..., None].expand(B, T, C).float(), what="the gradient", hint=hint, hint_for="values NaN")


@pytest.mark.stub("pool")
@pytest.mark.parametrize("wrong", ["max", "FIRST", "", "an empty sentence", "an empty sentence, first"])
def test_unknown_pooling_and_empty_sentences_are_refused(impl, draw, wrong):
    hidden, lengths = draw.normal(3, 4, 5), torch.tensor([2, 0 if "sentence" in wrong else 4, 1])
    kind = "first" if wrong.endswith(", first") else "mean" if "sentence" in wrong else wrong
    with raises(ValueError, hint="a mean over nothing is 0 / 0, and its [CLS] is padding; kinds are 'first' and 'mean'"):
        impl.pool(hidden, lengths, kind)


# --- BERT.mlm_loss -----------------------------------------------------------------------------------------------------


def random_bert(impl, draw):
    heads = draw.integer(1, 2)
    C, V = heads * draw.integer(3, 5), draw.integer(5, 12)
    model = impl.BERT(impl.Config(symbols=V, context=8, width=C, layers=1, heads=heads, dropout=0.0))
    state = random_weights(draw, model.fresh_state())
    model.load_state_dict(state)
    model.eval()
    return model, state, C, V


def own_mlm_loss(state, hidden, targets):
    """All places at once, in float64."""
    state = {name: value.double() for name, value in state.items()}
    h = F.gelu(F.linear(hidden.double(), state["guess.0.weight"], state["guess.0.bias"]))
    h = F.layer_norm(h, h.shape[-1:], state["guess.2.weight"], state["guess.2.bias"], 1e-12)
    logits = F.linear(h, state["tokens.weight"], state["bias"])
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def some_asked(draw, B, T, V):
    targets = draw.integers(V, (B, T))
    targets[draw.uniform(B, T) < 0.5] = IGNORED
    targets[draw.integer(0, B - 1), draw.integer(0, T - 1)] = draw.integer(0, V - 1)
    return targets


@pytest.mark.stub("BERT.mlm_loss")
def test_loss_is_the_mean_over_the_places_that_are_asked_for(impl, draw):
    model, state, C, V = random_bert(impl, draw)
    B, T = draw.batch(2), draw.size(2)
    hidden, targets = draw.normal(B, T, C, dtype=torch.float32), some_asked(draw, B, T, V)
    hint = "guess, times the token embeddings, plus bias; −log softmax of the target, over how many targets are not −100, not over B · T"
    assert_close(model.mlm_loss(hidden, targets), own_mlm_loss(state, hidden, targets).float(), tolerance=1e-4, hint=hint)


@pytest.mark.stub("BERT.mlm_loss")
def test_other_places_have_no_effect_and_no_gradient(impl, draw):
    model, state, C, V = random_bert(impl, draw)
    B, T = draw.size(2), draw.size(3)
    hidden, targets = draw.normal(B, T, C, dtype=torch.float32), some_asked(draw, B, T, V)
    targets[0] = IGNORED  # a sentence without any
    targets[1, 1] = 0
    expected = own_mlm_loss(state, hidden, targets).float()
    hidden[targets == IGNORED] = draw.choice([math.nan, INF])
    hint = "select: hidden[targets != -100] goes through `guess`. NaN times 0 is NaN"
    assert_close(model.mlm_loss(hidden, targets), expected, tolerance=1e-4, hint=hint, hint_for="values NaN")
    slope = model.vjp(hidden, targets, wrt=0, method="mlm_loss")
    assert_equal(slope[targets == IGNORED].abs().sum().item(), 0.0, what="the gradient where nothing is asked", hint=hint)


@pytest.mark.stub("BERT.mlm_loss")
def test_gradients_of_the_loss(impl, draw):
    model, state, C, V = random_bert(impl, draw)
    B, T = draw.integer(2, 4), draw.integer(2, 5)
    hidden, targets = draw.normal(B, T, C, dtype=torch.float32), some_asked(draw, B, T, V)
    with torch.enable_grad():
        leaves = {name: value.double().requires_grad_() for name, value in state.items()}
        h = hidden.double().requires_grad_()
        loss = own_mlm_loss(leaves, h, targets)
        by_hidden, by_tokens, by_bias = torch.autograd.grad(loss, [h, leaves["tokens.weight"], leaves["bias"]])
    slope = model.vjp(hidden, targets, wrt=0, method="mlm_loss")
    hint = "nothing is detached: the read-out is tied, so token embeddings learn here too"
    assert_close(slope, by_hidden.float(), tolerance=1e-3, what="the gradient of the hidden states", hint=hint)
    actual = model.vjp(hidden, targets, wrt="parameters", method="mlm_loss")
    assert_close(actual["tokens.weight"], by_tokens.float(), tolerance=1e-3, what="the gradient of tokens.weight", hint=hint)
    assert_close(actual["bias"], by_bias.float(), tolerance=1e-3, what="the gradient of bias", hint=hint)


@pytest.mark.stub("BERT.mlm_loss")
def test_nothing_asked_costs_nothing(impl, draw):
    model, _, C, _ = random_bert(impl, draw)
    B, T = draw.batch(), draw.size()
    hidden = draw.normal(B, T, C, dtype=torch.float32)
    hidden[0, 0] = draw.choice([0.0, math.nan])
    loss = model.mlm_loss(hidden, torch.full((B, T), IGNORED))
    hint = "a small batch may have no masked place: 0 / 0 would put NaN into every weight"
    assert_close(loss, torch.tensor(0.0), hint=hint, hint_for="values NaN")


@pytest.mark.stub("BERT.mlm_loss")
def test_a_single_place_costs_what_it_costs(impl, draw):
    model, state, C, V = random_bert(impl, draw)
    hidden, targets = draw.normal(2, 3, C, dtype=torch.float32), torch.full((2, 3), IGNORED)
    targets[1, draw.integer(0, 2)] = draw.integer(0, V - 1)
    expected = own_mlm_loss(state, hidden, targets).float()
    assert_close(model.mlm_loss(hidden, targets), expected, tolerance=1e-4, hint="divided by 1 where one place is asked for")


@pytest.mark.stub("BERT.mlm_loss")
def test_loss_of_large_logits(impl, draw):
    model, state, C, V = random_bert(impl, draw)
    state["tokens.weight"] = state["tokens.weight"] * 1e4
    model.load_state_dict(state)
    hidden, targets = draw.normal(2, 3, C, dtype=torch.float32), draw.integers(V, (2, 3))
    expected = own_mlm_loss(state, hidden, targets).float()
    hint = "log of a softmax overflows: logsumexp, log_softmax or cross_entropy of the logits"
    assert_close(model.mlm_loss(hidden, targets), expected, tolerance=1e-3, hint=hint, hint_for="values NaN")


# --- learning_rates ----------------------------------------------------------------------------------------------------


@pytest.mark.stub("learning_rates")
def test_each_layer_learns_more_slowly_than_the_one_above(impl, draw):
    layers, rate, decay = draw.integer(1, 12), draw.number(1e-4, 1e-2), draw.number(0.5, 0.95)
    below = ["tokens.weight", "positions.weight", "norm.weight", "norm.bias"]
    above = ["head.weight", "pooler.weight", "guess.0.weight", "bias", "head.norm.bias", "normalizer.bias", "tokens_too.weight"]
    blocks = [(i, f"blocks.{i}.{end}") for i in range(layers) for end in ("norm1.weight", "attention.qkv.bias", "mlp.0.weight")]
    rates = dict.fromkeys(below, rate * decay ** (layers + 1)) | dict.fromkeys(above, rate)
    rates |= {name: rate * decay ** (layers - i) for i, name in blocks}
    names = [list(rates)[i] for i in draw.permutation(len(rates)).tolist()]
    hint = "embeddings are layer 0, blocks.0 is layer 1, all above the blocks is layer L + 1: rate · decay^(L + 1 − layer), in the order of the names"
    actual = torch.tensor(impl.learning_rates(names, layers, rate, decay), dtype=torch.float64)
    assert_close(actual / rate, torch.tensor([rates[name] / rate for name in names], dtype=torch.float64), hint=hint)


@pytest.mark.stub("learning_rates")
def test_without_decay_all_learn_alike(impl):
    names = ["tokens.weight", "blocks.0.mlp.0.bias", "blocks.1.norm2.bias", "pooler.bias"]
    assert_equal(impl.learning_rates([], 2, 0.25, 0.5), [], what="the rates of no parameters", hint="a list, empty here")
    deep = ["blocks.9.mlp.0.bias", "blocks.10.mlp.0.bias", "blocks.1.mlp.0.bias"]
    for asked, layers, decay, expected, hint in (
        (names, 2, 1.0, [1.0] * 4, "a decay of 1 is allowed, and changes nothing"),
        (
            ["tokens.weight", "blocks.0.mlp.0.bias"],
            3,
            0.5,
            [2.0**-4, 2.0**-3],
            "`layers` says how many blocks there are, not the names",
        ),
        (deep, 11, 0.5, [0.25, 0.5, 2.0**-10], "a block's number may have two digits"),
    ):
        actual = torch.tensor(impl.learning_rates(asked, layers, 1.0, decay), dtype=torch.float64)
        expected = torch.tensor(expected, dtype=torch.float64)
        assert_close(actual, expected, what=f"the rates of {', '.join(asked)} with {layers} layers", hint=hint)


@pytest.mark.stub("learning_rates")
@pytest.mark.parametrize("wrong", ["decay 0", "decay -0.5", "decay 1.01", "a block too many", "a block far too many"])
def test_bad_decays_and_blocks_are_refused(impl, draw, wrong):
    layers = draw.integer(1, 4)
    block = {"a block too many": layers, "a block far too many": 10 + layers}.get(wrong, layers - 1)
    decay = float(wrong.split()[1]) if wrong.startswith("decay") else 0.9
    with raises(
        ValueError, hint="decay lies in (0, 1]; a rate above that of the head is no slower layer, and block `layers` is not there"
    ):
        impl.learning_rates(["head.bias", f"blocks.{block}.norm1.bias"], layers, 1e-3, decay)


# --- macro_f1 ----------------------------------------------------------------------------------------------------------


def own_f1(predicted, targets, classes):
    return float(f1_score(targets.numpy(), predicted.numpy(), labels=list(range(classes)), average="macro", zero_division=0))


@pytest.mark.stub("macro_f1")
@pytest.mark.parametrize("skewed", [False, True])
def test_f1_agrees_with_scikit_learn(impl, draw, skewed):
    N, K = draw.integer(10, 40), draw.integer(2, 5)
    targets = draw.integers(K, (N,)) * (draw.uniform(N) < (0.3 if skewed else 1.0))
    predicted = targets.where(draw.uniform(N) < 0.6, draw.integers(K, (N,)))
    hint = "F1 of each class by itself, then their mean: neither accuracy (micro F1), nor weighted by how frequent a class is"
    assert_close(impl.macro_f1(predicted, targets, K), own_f1(predicted, targets, K), hint=hint)


@pytest.mark.stub("macro_f1")
def test_f1_of_classes_that_do_not_occur(impl):
    predicted, targets = torch.tensor([0, 0, 1, 3]), torch.tensor([0, 1, 1, 4])
    hint = "class 2 is neither there nor predicted, 3 is only predicted, 4 is only there: 0 for each, and all of them count"
    assert_close(impl.macro_f1(predicted, targets, 6), (2 / 3 + 2 / 3) / 6, hint=hint)
    same = torch.tensor([1, 1, 0])
    assert_close(impl.macro_f1(same, same, 2), 1.0, what="the F1 of what is all right", hint="1 for each class")
    none = torch.zeros(0, dtype=torch.int64)
    assert_close(impl.macro_f1(none, none, 3), 0.0, what="the F1 of nothing", hint="0 / 0 is 0 here", hint_for="values NaN")


@pytest.mark.stub("macro_f1")
@pytest.mark.parametrize(
    "wrong", ["a prediction too few", "one for all", "a class too many", "a class too many is predicted", "-1", "-1 is predicted"]
)
def test_predictions_that_do_not_fit_are_refused(impl, wrong):
    predicted, targets, classes = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2]), 3
    if wrong in ("a prediction too few", "one for all"):
        predicted = predicted[: 2 if wrong == "a prediction too few" else 1]
    elif "predicted" in wrong:
        predicted = torch.tensor([0, 1, -1 if wrong.startswith("-1") else 3])
    else:
        targets = torch.tensor([0, 1, -1 if wrong.startswith("-1") else 3])
    with raises(ValueError, hint="as many predictions as targets, no broadcasting; classes are 0 to classes − 1"):
        impl.macro_f1(predicted, targets, classes)


# --- expected_calibration_error ----------------------------------------------------------------------------------------


def own_ece(probabilities, targets, bins):
    """Bin by bin, by the definition."""
    total, N = 0.0, len(targets)
    confidence, predicted = [max(row) for row in probabilities], [row.index(max(row)) for row in probabilities]
    for m in range(bins):
        inside = [i for i in range(N) if m / bins < confidence[i] <= (m + 1) / bins]
        if inside:
            accuracy = sum(predicted[i] == targets[i] for i in inside) / len(inside)
            total += len(inside) / N * abs(accuracy - sum(confidence[i] for i in inside) / len(inside))
    return total


@pytest.mark.stub("expected_calibration_error")
@pytest.mark.parametrize("bins", [None, 1, 4, 10, 40])
def test_calibration_error_bin_by_bin(impl, draw, bins):
    N, K = draw.integer(20, 60), draw.integer(2, 5)
    probabilities, targets = draw.normal(N, K, scale=2).softmax(1), draw.integers(K, (N,))
    expected = own_ece(probabilities.tolist(), targets.tolist(), bins or 15)
    actual = impl.expected_calibration_error(probabilities, targets, *([bins] if bins else []))
    hint = "in each bin |accuracy − mean confidence|, weighted by its share of all predictions; 15 bins by default"
    assert_close(actual, expected, hint=hint)


@pytest.mark.stub("expected_calibration_error")
def test_what_is_sure_and_right_is_calibrated(impl):
    sure = torch.eye(3)
    assert_close(
        impl.expected_calibration_error(sure, torch.tensor([0, 1, 2])),
        0.0,
        what="the error of what is sure and right",
        hint="a confidence of 1 belongs to the last bin",
    )
    assert_close(
        impl.expected_calibration_error(sure, torch.tensor([1, 2, 0])),
        1.0,
        what="the error of what is sure and wrong",
        hint="|0 − 1|",
    )
    alike = torch.full((2, 4), 0.25)
    hint = "of equals the first class is predicted: both are right, at a confidence of a quarter"
    assert_close(
        impl.expected_calibration_error(alike, torch.tensor([0, 0])), 0.75, what="the error of what cannot decide", hint=hint
    )


@pytest.mark.stub("expected_calibration_error")
def test_a_border_belongs_to_the_bin_below(impl):
    p, targets = torch.tensor([[0.75, 0.25], [0.875, 0.125], [0.625, 0.375]]), torch.tensor([0, 1, 0])
    hint = "bins are open below and closed above: of four, (½, ¾] holds 0.75 and 0.625, both right, and (¾, 1] holds 0.875, wrong"
    assert_close(impl.expected_calibration_error(p, targets, 4), (abs(2 - 1.375) + 0.875) / 3, hint=hint)


@pytest.mark.stub("expected_calibration_error")
def test_errors_of_opposite_sign_cancel_only_within_a_bin(impl):
    p = torch.tensor([[0.6, 0.4], [0.9, 0.1]], dtype=torch.float64)
    targets = torch.tensor([0, 1])
    assert_close(
        impl.expected_calibration_error(p, targets, 2),
        (abs(1 - 0.6 + 0 - 0.9)) / 2,
        what="the error in one bin",
        hint="gaps add up within a bin, then the absolute value is taken",
    )
    assert_close(
        impl.expected_calibration_error(p, targets, 10),
        (0.4 + 0.9) / 2,
        what="the error in two bins",
        hint="absolute values before bins are added",
    )


@pytest.mark.stub("expected_calibration_error")
@pytest.mark.parametrize("wrong", ["nothing", "no bin", "fewer than no bins"])
def test_nothing_to_calibrate_is_refused(impl, draw, wrong):
    N = 0 if wrong == "nothing" else 4
    bins = {"nothing": 5, "no bin": 0, "fewer than no bins": -2}[wrong]
    with raises(ValueError, hint="a mean over nothing is no number"):
        impl.expected_calibration_error(draw.normal(N, 3).softmax(1), draw.integers(3, (N,)), bins)


@pytest.mark.stub("expected_calibration_error")
def test_calibration_in_half_precision_is_counted_in_double(impl, draw):
    N = 301
    confidence = draw.uniform(N, low=0.5, high=0.999).float()
    p = torch.stack([confidence, 1 - confidence], dim=1).bfloat16()
    p = p[p[:, 0] > p[:, 1]]
    targets = (p[:, 0].double() * 15).ceil().long() % 2  # right in every other bin, so that a place in the next one shows
    hint = "in bfloat16 a confidence times 15 is rounded into the next bin: go to double first"
    assert_close(
        impl.expected_calibration_error(p, targets, 15),
        own_ece(p.double().tolist(), targets.tolist(), 15),
        tolerance=1e-6,
        hint=hint,
    )


# --- wrong and right answers -------------------------------------------------------------------------------------------


def checked_shares(rate, masked, random):
    if not (0 < rate <= 1 and masked >= 0 and random >= 0 and masked + random <= 1 + 1e-9):
        raise ValueError("no shares")


def masked_by(own=None, *, check=True):
    """`mask_tokens` by an own choice of what becomes of the places that are asked for."""

    def mask_tokens(ids, maskable, uniforms, *, mask, symbols, rate=0.15, masked=0.8, random=0.1):
        if check:
            checked_shares(rate, masked, random)
        return own(ids, maskable, uniforms, mask, symbols, rate, masked, random)

    return mask_tokens


def by_indices(ids, maskable, uniforms, mask, symbols, rate, masked, random):
    """Lists of places, written to one by one."""
    inputs, targets = ids.clone(), torch.full_like(ids, IGNORED)
    places = (maskable & (uniforms[0] < rate)).nonzero(as_tuple=True)
    kinds, others = uniforms[1][places], (uniforms[2][places] * symbols).floor().long().clamp(max=symbols - 1)
    targets[places] = ids[places]
    inputs[places] = torch.where(kinds < masked, mask, torch.where(kinds < masked + random, others, ids[places]))
    return inputs, targets


def by_bucketize(ids, maskable, uniforms, mask, symbols, rate, masked, random):
    """Three kinds, numbered, and a table of what each reads."""
    borders = torch.tensor([masked, masked + random], dtype=uniforms.dtype)
    kind = torch.bucketize(uniforms[1].contiguous(), borders, right=True)  # 0 hidden, 1 swapped, 2 kept
    others = torch.minimum((uniforms[2] * symbols).to(torch.int64), torch.tensor(symbols - 1))
    readings = torch.stack([torch.full_like(ids, mask), others, ids])
    asked = maskable.logical_and(uniforms[0] < rate)
    inputs = torch.where(asked, readings.gather(0, kind[None])[0], ids)
    return inputs, torch.where(asked, ids, torch.tensor(IGNORED))


def by_masked_fill(ids, maskable, uniforms, mask, symbols, rate, masked, random):
    asked = ((uniforms[0] < rate).long() * maskable.long()).bool()
    others = (uniforms[2] * symbols).long() - ((uniforms[2] * symbols).long() >= symbols).long()
    inputs = torch.where(asked & (uniforms[1] >= masked) & (uniforms[1] < masked + random), others, ids)
    return inputs.masked_fill(asked & (uniforms[1] < masked), mask), ids.masked_fill(~asked, IGNORED)


def block_by_hand(self, x, lengths=None):
    B, T, C = x.shape
    D = C // self.attention.heads
    closed = torch.zeros(B, T, dtype=torch.bool, device=x.device)
    if lengths is not None:
        closed = torch.arange(T, device=x.device)[None] >= lengths[:, None]
        x = x.masked_fill(closed[..., None], 0.0)
    q, k, v = (part.view(B, T, -1, D).transpose(1, 2) for part in self.attention.qkv(x).split(C, dim=-1))
    scores = (q @ k.mT / math.sqrt(D)).masked_fill(closed[:, None, None], -INF)
    mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(B, T, C)
    h = self.norm1(self.dropout(self.attention.out(mixed)) + x)
    return self.norm2(self.dropout(self.mlp(h)) + h)


def block_of_rows(self, x, lengths=None):
    """Without a mask: of each sentence only what is real, padded with zeros again."""
    rows = []
    for b in range(len(x)):
        n = x.shape[1] if lengths is None else int(lengths[b])
        row = x[b : b + 1, :n]
        row = self.norm1(row + self.dropout(self.attention(row)))
        row = self.norm2(row + self.dropout(self.mlp(row)))
        rows.append(F.pad(row, (0, 0, 0, x.shape[1] - n)))
    return torch.cat(rows) if rows else x


def block_by_sdpa(self, x, lengths=None):
    B, T, _C = x.shape
    keep = None
    if lengths is not None:
        keep = (torch.arange(T, device=x.device) < lengths[:, None]).view(B, 1, 1, T)
        x = torch.where(keep.view(B, T, 1), x, torch.zeros_like(x))
    q, k, v = self.attention.project(x)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep).transpose(1, 2).flatten(2)
    x = self.norm1(x + self.dropout(self.attention.out(mixed)))
    return self.norm2(x + self.dropout(self.mlp(x)))


def pool_by_loop(hidden, lengths, kind="first"):
    if kind not in ("first", "mean") or min(lengths.tolist(), default=1) < 1:
        raise ValueError("cannot be pooled")
    rows = [row[0] if kind == "first" else row[: int(n)].mean(dim=0) for row, n in zip(hidden, lengths, strict=True)]
    return torch.stack(rows) if rows else hidden[:, 0]


def pool_by_fill(hidden, lengths, kind="first"):
    if kind == "first" and bool((lengths >= 1).all()):
        return hidden.select(1, 0)
    if kind != "mean" or bool((lengths < 1).any()):
        raise ValueError("cannot be pooled")
    padded = torch.arange(hidden.shape[1], device=hidden.device).expand(len(hidden), -1) >= lengths.unsqueeze(1)
    return hidden.masked_fill(padded.unsqueeze(-1), 0).sum(1).div(lengths.unsqueeze(1))


def pool_by_weights(hidden, lengths, kind="first"):
    if kind not in ("first", "mean") or (lengths <= 0).any():
        raise ValueError("cannot be pooled")
    last = torch.ones_like(lengths) if kind == "first" else lengths
    weights = (torch.arange(hidden.shape[1], device=hidden.device) < last[:, None]) / last[:, None].to(hidden.dtype)
    clean = torch.where(weights[..., None] > 0, hidden, 0)
    return torch.einsum("bt,btc->bc", weights, clean)


def multiplied_pool(hidden, lengths, kind="first"):
    if kind not in ("first", "mean") or (lengths <= 0).any():
        raise ValueError("cannot be pooled")
    if kind == "first":
        return hidden[:, 0]
    real = (torch.arange(hidden.shape[1], device=hidden.device) < lengths[:, None])[..., None]
    return (hidden * real).sum(1) / real.sum(1)


def loss_by_cross_entropy(self, hidden, targets):
    places = targets.ne(IGNORED).nonzero(as_tuple=True)
    if len(places[0]) == 0:
        return hidden.new_zeros(())
    return F.cross_entropy(self.guess(hidden[places]) @ self.tokens.weight.T + self.bias, targets[places])


def loss_of_all_places(self, hidden, targets):
    asked = targets != IGNORED
    clean = hidden.where(asked[..., None], 0.0)
    log_p = F.linear(self.guess(clean), self.tokens.weight, self.bias).log_softmax(-1)
    nll = -log_p.gather(-1, targets.where(asked, 0)[..., None])[..., 0]
    return nll.where(asked, 0.0).sum() / asked.sum().clamp(min=1)


def loss_in_rows(self, hidden, targets):
    total, count = hidden.new_zeros(()), 0
    for h, y in zip(hidden.flatten(0, 1), targets.flatten().tolist(), strict=True):
        if y != IGNORED:
            z = self.tokens.weight @ self.guess(h) + self.bias
            total, count = total - (z - z.max()).log_softmax(0)[y], count + 1
    return total / max(count, 1)


def rates_by_pattern(names, layers, rate, decay):
    if not 0 < decay <= 1:
        raise ValueError("no decay")
    found = []
    for name in names:
        block = re.match(r"blocks\.(\d+)\.", name)
        if block:
            if int(block[1]) >= layers:
                raise ValueError("no such block")
            found.append(rate * decay ** (layers - int(block[1])))
        else:
            found.append(rate * decay ** (layers + 1) if re.match(r"(tokens|positions|norm)\.", name) else rate)
    return found


def rates_by_table(names, layers, rate, decay):
    if decay <= 0 or decay > 1 or decay != decay:
        raise ValueError("no decay")
    table = {"tokens.": layers + 1, "positions.": layers + 1, "norm.": layers + 1} | {
        f"blocks.{i}.": layers - i for i in range(layers)
    }
    found = []
    for name in names:
        steps = [n for start, n in table.items() if name.startswith(start)]
        if not steps and name.startswith("blocks."):
            raise ValueError("no such block")
        found.append(rate * math.prod([decay] * (steps[0] if steps else 0)))
    return found


def rates_from_the_top(names, layers, rate, decay):
    if not (decay > 0 and decay <= 1):
        raise ValueError("no decay")
    of_layer = [rate]
    for _ in range(layers + 1):
        of_layer.append(of_layer[-1] * decay)
    of_layer.reverse()

    def layer(name):
        head = name.partition(".")[0]
        if head != "blocks":
            return 0 if head in {"tokens", "positions", "norm"} else layers + 1
        number = int(name.split(".", 2)[1])
        if not 0 <= number < layers:
            raise ValueError("no such block")
        return number + 1

    return [of_layer[layer(name)] for name in names]


def fitting(predicted, targets, classes):
    if tuple(predicted.shape) != tuple(targets.shape):
        raise ValueError("do not fit")
    if any(k < 0 or k >= classes for k in [*predicted.tolist(), *targets.tolist()]):
        raise ValueError("no such class")


def f1_by_table(predicted, targets, classes):
    fitting(predicted, targets, classes)
    table = torch.bincount(targets * classes + predicted, minlength=classes**2).view(classes, classes).double()
    named = table.sum(0) + table.sum(1)
    return (2 * table.diagonal() / named.clamp(min=1)).mean().item()


def f1_by_precision_and_recall(predicted, targets, classes):
    fitting(predicted, targets, classes)
    total = 0.0
    for k in range(classes):
        hits = sum(p == y == k for p, y in zip(predicted.tolist(), targets.tolist(), strict=True))
        if hits:
            precision, recall = hits / predicted.tolist().count(k), hits / targets.tolist().count(k)
            total += 2 * precision * recall / (precision + recall)
    return total / classes


def f1_by_one_hot(predicted, targets, classes):
    fitting(predicted, targets, classes)
    p, y = F.one_hot(predicted.long(), classes).double(), F.one_hot(targets.long(), classes).double()
    f1 = 2 * (p * y).sum(0) / (p + y).sum(0)
    return f1.nan_to_num(0.0).mean().item()


def f1_by(one):
    """A mean over classes of a figure of hits, how often a class is predicted, and how often it is there."""

    def macro_f1(predicted, targets, classes):
        fitting(predicted, targets, classes)
        counts = [
            [int(((predicted == k) & (targets == k)).sum()), int((predicted == k).sum()), int((targets == k).sum())]
            for k in range(classes)
        ]
        return one(counts)

    return macro_f1


def single(hits, named, there):
    return 2 * hits / (named + there) if named + there else 0.0


def of_what_is_there(probabilities, targets, bins):
    if bins < 1 or not len(targets):
        raise ValueError("nothing to calibrate")


def ece_by_masks(probabilities, targets, bins=15):
    of_what_is_there(probabilities, targets, bins)
    confidence, predicted = probabilities.double().max(1)
    total = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            gap = (predicted[inside] == targets[inside]).double().mean() - confidence[inside].mean()
            total += inside.double().mean().item() * abs(gap.item())
    return total


def ece_by_loop(probabilities, targets, bins=15):
    of_what_is_there(probabilities, targets, bins)
    return own_ece(probabilities.double().tolist(), targets.tolist(), bins)


def ece_by_bucketize(probabilities, targets, bins=15):
    of_what_is_there(probabilities, targets, bins)
    confidence, predicted = probabilities.to(torch.float64).max(dim=-1)
    borders = torch.arange(1, bins, dtype=torch.float64, device=confidence.device) / bins
    place = torch.bucketize(confidence, borders)
    sums = torch.zeros(bins, 2, dtype=torch.float64, device=confidence.device)
    sums = sums.index_add(0, place, torch.stack([(predicted == targets).double(), confidence], 1))
    return float((sums[:, 0] - sums[:, 1]).abs().sum() / len(confidence))


def pre_norm(self, x, lengths=None):
    mask = None
    if lengths is not None:
        real = torch.arange(x.shape[1]) < lengths[:, None]
        mask, x = real[:, None, None], x.where(real[..., None], 0.0)
    x = x + self.dropout(self.attention(self.norm1(x), mask))
    return x + self.dropout(self.mlp(self.norm2(x)))


def norms_of_what_is_added(self, x, lengths=None):
    mask = None
    if lengths is not None:
        real = torch.arange(x.shape[1]) < lengths[:, None]
        mask, x = real[:, None, None], x.where(real[..., None], 0.0)
    x = x + self.norm1(self.dropout(self.attention(x, mask)))
    return x + self.norm2(self.dropout(self.mlp(x)))


def causal_block(self, x, lengths=None):
    T = x.shape[1]
    mask = torch.ones(T, T, dtype=torch.bool).tril()
    if lengths is not None:
        real = torch.arange(T) < lengths[:, None]
        mask, x = mask & real[:, None, None], x.where(real[..., None], 0.0)
    x = self.norm1(x + self.dropout(self.attention(x, mask)))
    return self.norm2(x + self.dropout(self.mlp(x)))


def masked_by_product(self, hidden, targets):
    asked = (targets != IGNORED).to(hidden.dtype)
    log_p = F.linear(self.guess(hidden), self.tokens.weight, self.bias).log_softmax(-1)
    nll = -log_p.gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    return (nll * asked).sum() / asked.sum().clamp(min=1)


def ece_over_bins(probabilities, targets, bins=15):
    of_what_is_there(probabilities, targets, bins)
    confidence, predicted = probabilities.double().max(1)
    gaps = []
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        if inside.any():
            gaps.append(abs((predicted[inside] == targets[inside]).double().mean().item() - confidence[inside].mean().item()))
    return sum(gaps) / len(gaps)


GAP = "gaps.abs().sum().item() / len(targets)"
FAKES = {
    "mask_tokens": {
        "always [MASK]": masked_by(lambda *a: by_indices(*a[:6], 1.0, 0.0)),
        "nothing random": masked_by(lambda *a: by_indices(*a[:7], 0.0)),
        "random instead of kept": masked_by(lambda *a: by_indices(*a[:7], 1 - a[6])),
        "shares given are ignored": masked_by(lambda *a: by_indices(*a[:6], 0.8, 0.1)),
        "rate given is ignored": masked_by(lambda *a: by_indices(*a[:5], 0.15, *a[6:])),
        "special places too": masked_by(lambda ids, maskable, *a: by_indices(ids, torch.ones_like(maskable), *a)),
        "only what has changed is asked for": Edit("ids.where(asked, IGNORED)", "ids.where(asked & (inputs != ids), IGNORED)"),
        "kept places are not asked for": Edit("ids.where(asked, IGNORED)", "ids.where(hidden | swapped, IGNORED)"),
        "all places are asked for": Edit("ids.where(asked, IGNORED)", "ids.where(maskable, IGNORED)"),
        "asked for what is read": Edit("ids.where(asked, IGNORED)", "inputs.where(asked, IGNORED)"),
        "a number of the rate asks": Edit("uniforms[0] < rate", "uniforms[0] <= rate"),
        "a number of masked hides": Edit("uniforms[1] < masked)", "uniforms[1] <= masked)"),
        "one number for both": Edit("uniforms[1] < masked)", "uniforms[0] < masked)"),
        "a random token by the second number": Edit("uniforms[2] * symbols", "uniforms[1] * symbols"),
        "rounded to the nearest": Edit("(uniforms[2] * symbols).long()", "(uniforms[2] * symbols).round().long()"),
        "the last token never": Edit("uniforms[2] * symbols", "uniforms[2] * (symbols - 1)"),
        "the mask among them": Edit("uniforms[2] * symbols", "uniforms[2] * (symbols + 1)"),
        "any shares": masked_by(by_indices, check=False),
        "padding is target 0": Edit("ids.where(asked, IGNORED)", "ids.where(asked, 0)"),
    },
    "Block.forward": {
        "padding attended to": lambda self, x, lengths=None: block_by_hand(self, x),
        "NaN of padding comes through": Edit("x = x.where(real[..., None], 0.0)", "pass"),
        "padding multiplied by 0": Edit("x.where(real[..., None], 0.0)", "x * real[..., None]"),
        "pre-norm": pre_norm,
        "one norm for both": Edit("return self.norm2(", "return self.norm1("),
        "norms before the sum": norms_of_what_is_added,
        "causal": causal_block,
        "no residual round the network": Edit("self.norm2(x + self.dropout(self.mlp(x)))", "self.norm2(self.dropout(self.mlp(x)))"),
        "no residual round attention": Edit("self.norm1(x + self.dropout(self.attention(x, mask)))", "self.norm1(self.dropout(self.attention(x, mask)))"),
        "a batch of one has no padding": Edit("if lengths is not None:", "if lengths is not None and len(x) > 1:"),
        "lengths of the first": Edit("< lengths[:, None]", "< lengths[:1].expand(len(x), 1)"),
        "the longest for all": Edit("< lengths[:, None]", "< lengths.max().expand(len(x), 1)"),
        "one place too many": Edit("< lengths[:, None]", "<= lengths[:, None]"),
        "[CLS] not attended to": Edit("self.attention(x, mask)", "self.attention(x, None if mask is None or x.shape[1] < 2 else mask & (torch.arange(x.shape[1]) > 0))"),
        "dropout of the sum": Edit("self.norm1(x + self.dropout(self.attention(x, mask)))", "self.norm1(self.dropout(x + self.attention(x, mask)))"),
        "no dropout after attention": Edit("x + self.dropout(self.attention(x, mask))", "x + self.attention(x, mask)"),
        "no dropout after the network": Edit("x + self.dropout(self.mlp(x))", "x + self.mlp(x)"),
        "the input is changed": Edit("x = x.where(real[..., None], 0.0)", "x.masked_fill_(~real[..., None], 0.0)"),
    },
    "pool": {
        "over all places": Edit("hidden.where(real[..., None], 0.0).sum(dim=1) / lengths[:, None].to(hidden.dtype)", "hidden.mean(dim=1)"),
        "divided by the longest": Edit("/ lengths[:, None].to(hidden.dtype)", "/ hidden.shape[1]"),
        "multiplied by the mask": multiplied_pool,
        "the mean by default": lambda hidden, lengths, kind="mean": pool_by_loop(hidden, lengths, kind),
        "always the first": lambda hidden, lengths, kind="first": pool_by_loop(hidden, lengths, kind)[:0] if kind not in ("first", "mean") else pool_by_loop(hidden, lengths),
        "the last real place": Edit("return hidden[:, 0]", "return hidden[torch.arange(len(hidden)), lengths - 1]"),
        "without [CLS]": Edit("< lengths[:, None]", "< lengths[:, None] - 1"),
        "one place too many": Edit("< lengths[:, None]", "<= lengths[:, None]"),
        "any kind": Edit('kind not in ("first", "mean") or ', ""),
        "empty sentences": Edit(" or not bool((lengths > 0).all())", ""),
        "sentences of one token refused": Edit("lengths > 0", "lengths > 1"),
        "sum": Edit(" / lengths[:, None].to(hidden.dtype)", ""),
    },
    "BERT.mlm_loss": {
        "over all places": Edit("asked.sum().clamp(min=1)", "targets.numel()"),
        "sum": Edit(" / asked.sum().clamp(min=1)", ""),
        "nothing asked is no number": Edit("asked.sum().clamp(min=1)", "asked.sum()"),
        "without bias": Edit(", self.bias)", ")"),
        "without guess": Edit("self.guess(hidden[asked])", "hidden[asked]"),
        "embeddings detached": Edit("self.tokens.weight, self.bias", "self.tokens.weight.detach(), self.bias"),
        "mean of sentences": lambda self, hidden, targets: torch.stack([loss_by_cross_entropy(self, h[None], y[None]) for h, y in zip(hidden, targets, strict=True)]).mean(),
        "multiplied by the mask": masked_by_product,
        "target 0 ignored": Edit("targets != IGNORED", "(targets != IGNORED) & (targets != 0)"),
        "log of the softmax": Edit("logits.logsumexp(dim=-1)", "logits.exp().sum(dim=-1).log()"),
        "base 2": Edit("nll.sum()", "nll.sum() / math.log(2)"),
        "causal shift": lambda self, hidden, targets: loss_by_cross_entropy(self, hidden[:, :-1], targets[:, 1:]),
    },
    "learning_rates": {
        "all alike": lambda names, layers, rate, decay: [rate for _ in rates_by_pattern(names, layers, rate, decay)],
        "upside down": Edit("layers + 1 - layer", "layer"),
        "one step less": Edit("layers + 1 - layer", "max(0, layers - layer)"),
        "multiplied": Edit("rate * decay ** (layers + 1 - layer)", "rate * decay * (layers + 1 - layer)"),
        "embeddings as the first block": Edit("layer = 1 + int(rest[0])", "layer = int(rest[0])"),
        "norm belongs to the head": Edit(', "norm": 0', ""),
        "positions belong to the head": Edit(', "positions": 0', ""),
        "one digit": Edit("int(rest[0])", "int(rest[0][0])"),
        "beginnings without a dot": lambda names, layers, rate, decay: [
            rate * decay ** (layers + 1) if name.startswith(("tokens", "positions", "norm")) else r
            for name, r in zip(names, rates_by_pattern(names, layers, rate, decay), strict=True)
        ],
        "as deep as the names": lambda names, layers, rate, decay: [
            r / decay ** (layers - max([0, *(1 + int(n.split(".")[1]) for n in names if n.startswith("blocks"))]))
            if name.startswith(("blocks.", "tokens.", "positions.", "norm.")) else r
            for name, r in zip(names, rates_by_pattern(names, layers, rate, decay), strict=True)
        ],
        "sorted": lambda names, layers, rate, decay: sorted(rates_by_pattern(names, layers, rate, decay)),
        "any decay": Edit("if not 0 < decay <= 1:", "if False:"),
        "no decay refused": Edit("decay <= 1", "decay < 1"),
        "a decay of 0": Edit("0 < decay", "0 <= decay"),
        "any block": Edit("if layer > layers:", "if False:"),
        "the last block refused": Edit("if layer > layers:", "if layer >= layers:"),
        "norms of blocks as embeddings": lambda names, layers, rate, decay: [
            rate * decay ** (layers + 1) if "norm" in name else r
            for name, r in zip(names, rates_by_pattern(names, layers, rate, decay), strict=True)
        ],
    },
    "macro_f1": {
        "accuracy": lambda predicted, targets, classes: fitting(predicted, targets, classes) or (predicted == targets).double().mean().nan_to_num().item(),
        "weighted by frequency": f1_by(lambda counts: sum(c[2] * single(*c) for c in counts) / max(1, sum(c[2] for c in counts))),
        "over classes that are there": f1_by(lambda counts: sum(single(*c) for c in counts) / max(1, sum(c[2] > 0 for c in counts))),
        "recall": f1_by(lambda counts: sum(c[0] / c[2] if c[2] else 0.0 for c in counts) / len(counts)),
        "precision": f1_by(lambda counts: sum(c[0] / c[1] if c[1] else 0.0 for c in counts) / len(counts)),
        "of the last class": f1_by(lambda counts: single(*counts[-1])),
        "of mean precision and recall": f1_by(lambda counts: (lambda p, r: 2 * p * r / (p + r) if p + r else 0.0)(
            sum(c[0] / c[1] if c[1] else 0.0 for c in counts) / len(counts), sum(c[0] / c[2] if c[2] else 0.0 for c in counts) / len(counts)
        )),
        "absent classes are perfect": Edit("if named else 0.0", "if named else 1.0"),
        "shapes not compared": Edit("if predicted.shape != targets.shape:", "if False:"),
        "classes not looked at": Edit("if both.numel() and not (both.min() >= 0 and both.max() < classes):", "if False:"),
        "targets alone looked at": Edit("both = torch.cat([predicted, targets])", "both = targets"),
        "one class too many": Edit("both.max() < classes", "both.max() <= classes"),
        "Jaccard": Edit("2 * hits / named if named", "hits / (named - hits) if named"),
    },
    "expected_calibration_error": {
        "ten bins": Edit("bins < 1:", "bins < 1:\n        pass\n    bins = 10 if bins == 15 else bins\n    if len(targets) == 0 or bins < 1:"),
        "over bins alike": ece_over_bins,
        "not absolute": Edit(GAP, "abs(gaps.sum().item()) / len(targets)"),
        "absolute too early": Edit("right - confidence)", "(right - confidence).abs())"),
        "the largest gap": Edit(GAP, "gaps.abs().max().item() / len(targets)"),
        "squared": Edit(GAP, "(gaps.pow(2).sum().sqrt()).item() / len(targets)"),
        "bins closed below": Edit("torch.bucketize(confidence, borders)", "torch.bucketize(confidence, borders, right=True)"),
        "bins from chance on": Edit("torch.bucketize(confidence, borders)", "((confidence - 1 / probabilities.shape[1]) * bins / (1 - 1 / probabilities.shape[1])).ceil().long().clamp(1, bins) - 1"),
        "probability of class 1": Edit("probabilities.double().max(dim=1)", "(probabilities.double()[:, 1], probabilities.argmax(dim=1))"),
        "binned in the precision that came": Edit("torch.bucketize(confidence, borders)", "(probabilities.amax(1) * bins).ceil().long().clamp(1, bins) - 1"),
        "nothing is calibrated": Edit("len(targets) == 0 or bins < 1", "bins < 1"),
        "no bins": Edit("len(targets) == 0 or bins < 1", "len(targets) == 0"),
        "the last of equals": Edit("probabilities.double().max(dim=1)", "((f := probabilities.double().flip(1)).amax(1), probabilities.shape[1] - 1 - f.argmax(1))"),
    },
}  # fmt: skip


VARIANTS = {
    "mask_tokens": {
        "lists of places": masked_by(by_indices),
        "a table of readings": masked_by(by_bucketize),
        "masked_fill": masked_by(by_masked_fill),
    },
    "Block.forward": {
        "attention by hand": block_by_hand,
        "each sentence by itself": block_of_rows,
        "torch's attention": block_by_sdpa,
    },
    "pool": {"in a loop": pool_by_loop, "masked_fill": pool_by_fill, "weights": pool_by_weights},
    "BERT.mlm_loss": {
        "cross_entropy": loss_by_cross_entropy,
        "all places, selected": loss_of_all_places,
        "row by row": loss_in_rows,
    },
    "learning_rates": {
        "a pattern": rates_by_pattern,
        "a table of beginnings": rates_by_table,
        "from the top down": rates_from_the_top,
    },
    "macro_f1": {
        "a table of confusions": f1_by_table,
        "precision and recall": f1_by_precision_and_recall,
        "one-hot rows": f1_by_one_hot,
    },
    "expected_calibration_error": {"masks": ece_by_masks, "in a loop": ece_by_loop, "bucketize": ece_by_bucketize},
}
IDS = "ids are whole numbers: there is no gradient"
EQUIVALENT = {
    "mask_tokens": {
        "no_grad: others = (uniforms[2] * symbols)… -> with torch.no_grad(): others = (… 243ea6": IDS,
        "no_grad: inputs = ids.where(~hidden, mask… -> with torch.no_grad(): inputs = i… f6ef75": IDS,
        "no_grad: return (inputs, ids.where(asked,… -> with torch.no_grad(): return (in… 3be45a": IDS,
        "detach: uniforms[2] -> uniforms.detach()[2]": IDS,
        "detach: ids.where(~hidden, mask).where(~… -> ids.where(~hidden, mask).where(~… 33292e": IDS,
        "detach: (inputs, ids.where(asked, IGNORED)) -> (inputs.detach(), ids.where(asked, IGNORED))": IDS,
    },
    "pool": {
        "order: kind not in ('first', 'mean') -> kind not in ('mean', 'first')": "either is looked for",
        "call dropped: lengths[:, None].to(hidden.dtype) -> lengths[:, None]": "a quotient has the dtype of what is floating in it",
    },
    "BERT.mlm_loss": {
        "constant: logits.gather(-1, targets[asked]… -> logits.gather(-1, targets[asked]… dd9c88": "the axis has one column",
    },
    "macro_f1": {
        "dim: torch.cat([predicted, targets]) -> torch.cat([predicted, targets], dim=-1)": "vectors have one axis",
        "function: torch.cat -> torch.stack": "the smallest and the largest of all, whatever their shape",
        "order: torch.cat([predicted, targets]) -> torch.cat([targets, predicted])": "the smallest and the largest of all",
        "off by one: range(classes) -> range(classes + 1)": "a class more that is neither there nor predicted adds 0, and the mean is over `classes`",
    },
    "expected_calibration_error": {
        "operands: right - confidence -> confidence - right": "the absolute value is taken of their sum",
        "constant: 0 -> -1": "a vector has one axis",
        "off by one: torch.arange(1, bins, dtype=torc… -> torch.arange(1, bins + 1, dtype=… 8aa14c": "no confidence lies above 1",
        "dtype: (predicted == targets).double -> (predicted == targets).float": "0 and 1 are exact in both",
    },
}
