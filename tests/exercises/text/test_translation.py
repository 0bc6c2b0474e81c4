"""What a right answer to text/translation must do. Truths: torch's cross-entropy, `nn.MultiheadAttention`, `nn.TransformerDecoderLayer` and
`nn.Transformer` with the same weights, BLEU and chrF counted with lists, and a row decoded by itself.

A token is compared exactly, so every choice of the truth must be clear by `MARGIN`; inputs with a closer call are drawn again.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.testing import Edit, assert_close, assert_equal, assert_finite, raises

MARGIN = 1e-6
PAD, END, IGNORED = 0, 1, -100


def some_targets(draw, symbols, low=1):
    """Rows of different lengths, filled up with -100."""
    B, T = draw.batch(2), draw.size(low)
    targets = draw.integers(symbols, (B, T))
    lengths = draw.integers(T + 1, (B,), 1)
    lengths[draw.integer(0, B - 1)] = T
    for b, length in enumerate(lengths.tolist()):
        targets[b, length:] = IGNORED
    return targets, lengths


# --- teacher forcing ---------------------------------------------------------------------------------------------------


@pytest.mark.stub("shift_right")
def test_each_place_reads_the_target_before_it(impl, draw):
    targets, lengths = some_targets(draw, 50)
    starts = draw.integers(9, (len(targets),), 2)
    expected = torch.zeros_like(targets)
    for b, length in enumerate(lengths.tolist()):
        row = [int(starts[b]), *targets[b, :length].tolist()]
        for t in range(min(targets.shape[1], len(row))):
            expected[b, t] = row[t]
    hint = "the start token of the row, then the targets but the last; place t must not have its own target. -100 becomes 0 (PAD)"
    assert_equal(impl.shift_right(targets, starts), expected, hint=hint)


@pytest.mark.stub("shift_right")
def test_a_target_of_one_token(impl, draw):
    B = draw.integer(2, 5)
    starts = draw.integers(99, (B,), 2)
    result = impl.shift_right(draw.integers(99, (B, 1)), starts)
    assert_equal(result, starts[:, None], hint="the last target is never read: with one place there is the start alone")


@pytest.mark.stub("shift_right")
def test_no_token_but_minus_100_is_replaced(impl, draw):
    B, T = draw.integer(2, 4), draw.integer(3, 6)
    targets = draw.integers(2, (B, T))  # PAD and END are tokens like others here
    starts = draw.integers(9, (B,), 2)
    expected = torch.tensor([[int(starts[b]), *targets[b, :-1].tolist()] for b in range(B)])
    assert_equal(impl.shift_right(targets, starts), expected, hint="the end is read too where something stands behind it")


@pytest.mark.stub("shift_right")
def test_minus_100_may_stand_anywhere(impl, draw):
    B, T = draw.integer(2, 4), draw.integer(4, 7)
    targets, starts = draw.integers(50, (B, T), 2), draw.integers(9, (B,), 2)
    targets[draw.integer(0, B - 1)] = IGNORED
    targets[:, draw.integer(1, T - 3)] = IGNORED
    expected = torch.tensor([[int(starts[b]), *[PAD if t == IGNORED else t for t in targets[b, :-1].tolist()]] for b in range(B)])
    hint = "-100 becomes 0 (PAD) place by place, and nothing else does: the start is read in a row that asks for nothing too"
    assert_equal(impl.shift_right(targets, starts), expected, hint=hint)


# --- the loss ----------------------------------------------------------------------------------------------------------


def some_logits(draw, dtype=torch.float64):
    V = draw.size(2)
    targets, _ = some_targets(draw, V)
    return draw.normal(*targets.shape, V, dtype=dtype, scale=2), targets


@pytest.mark.stub("label_smoothing")
def test_the_loss_is_torchs(impl, draw):
    logits, targets = some_logits(draw)
    smoothing = draw.number(0.05, 0.9)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
    hint = "(1 − ε) · −log p(target) + ε · mean over all V of −log p, the target among them; then the mean over kept places"
    assert_close(impl.label_smoothing(logits, targets, smoothing), expected, hint=hint)


@pytest.mark.stub("label_smoothing")
def test_the_smoothing_is_a_tenth_by_default_and_may_be_0(impl, draw):
    logits, targets = some_logits(draw)
    for smoothing, given in ((0.1, ()), (0.0, (0.0,))):
        expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=smoothing)
        hint = "ε is 0.1 where nothing is said; with 0 it is the plain cross-entropy"
        assert_close(impl.label_smoothing(logits, targets, *given), expected, what=f"the loss with ε = {smoothing}", hint=hint)


@pytest.mark.stub("label_smoothing")
def test_gradients_of_the_loss(impl, draw):
    logits, targets = some_logits(draw)
    smoothing = draw.number(0.05, 0.5)
    V, kept = logits.shape[-1], targets != IGNORED
    wanted = F.one_hot(targets.clamp(min=0), V).double() * (1 - smoothing) + smoothing / V
    expected = (logits.softmax(-1) - wanted) * kept[..., None] / kept.sum()
    result = impl.vjp("label_smoothing", logits, targets, smoothing, wrt=0)
    assert_close(
        result, expected, what="the gradient of the logits", hint="softmax − smoothed target, over the number of kept places"
    )


@pytest.mark.stub("label_smoothing")
def test_what_is_not_asked_for_has_no_effect(impl, draw):
    B, T, V = draw.integer(2, 4), draw.integer(2, 5), draw.integer(2, 6)
    logits, targets = draw.normal(B, T, V), draw.integers(V, (B, T))
    targets[draw.integer(0, B - 1), draw.integer(0, T - 1)] = IGNORED
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=0.3)
    by = impl.vjp("label_smoothing", logits, targets, 0.3, wrt=0)
    for value in (1e3, float("nan"), float("inf")):
        dirty = logits.clone()
        dirty[targets == IGNORED] = value
        hint = "clear those logits first (`torch.where`): multiplied by 0, NaN is NaN"
        assert_close(impl.label_smoothing(dirty, targets, 0.3), expected, what=f"the loss with {value} elsewhere", hint=hint)
        result = impl.vjp("label_smoothing", dirty, targets, 0.3, wrt=0)
        assert_close(result, by, what=f"the gradient with {value} elsewhere", hint=hint)


@pytest.mark.stub("label_smoothing")
def test_nothing_is_asked_for(impl, draw):
    B, T, V = draw.batch(), draw.size(), draw.size(2)
    result = impl.label_smoothing(draw.normal(B, T, V), torch.full((B, T), IGNORED))
    assert_close(result, torch.zeros((), dtype=torch.float64), hint="0 / 0 is no number: divide by at least 1")


@pytest.mark.stub("label_smoothing")
def test_one_place_is_asked_for(impl, draw):
    B, T, V = draw.integer(1, 3), draw.integer(2, 5), draw.integer(2, 6)
    logits, targets = draw.normal(B, T, V), torch.full((B, T), IGNORED)
    b, t, token = draw.integer(0, B - 1), draw.integer(0, T - 1), draw.integer(0, V - 1)
    targets[b, t] = token
    expected = F.cross_entropy(logits[b, t], torch.tensor(token), label_smoothing=0.2)
    assert_close(impl.label_smoothing(logits, targets, 0.2), expected, hint="the mean over one place is its loss")


@pytest.mark.stub("label_smoothing")
def test_a_vocabulary_of_one_token(impl, draw):
    B, T = draw.integer(1, 3), draw.integer(2, 4)
    targets = torch.zeros(B, T, dtype=torch.int64)
    targets[0, 0] = IGNORED
    result = impl.label_smoothing(draw.normal(B, T, 1), targets)
    assert_close(
        result,
        torch.zeros((), dtype=torch.float64),
        hint="one token has a probability of 1: give `gather` an index that is there",
    )


@pytest.mark.stub("label_smoothing")
def test_the_loss_has_the_dtype_of_the_logits(impl, draw):
    logits, targets = some_logits(draw, torch.float32)
    expected = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, label_smoothing=0.1)
    assert_close(impl.label_smoothing(logits, targets), expected, hint="float32 in, float32 out")


@pytest.mark.stub("label_smoothing")
def test_large_logits_in_float32(impl, draw):
    B, T, V = draw.batch(), draw.size(), draw.size(2)
    logits = draw.normal(B, T, V, scale=1e4, dtype=torch.float32)
    hint = "log(softmax(x)) is log(0) for what is unlikely: take `log_softmax`"
    assert_finite(impl.label_smoothing(logits, draw.integers(V, (B, T)), 0.2), hint=hint)


@pytest.mark.stub("label_smoothing")
def test_smoothing_that_cannot_be(impl, draw):
    logits, targets = draw.normal(2, 3, 4), draw.integers(4, (2, 3))
    for wrong in (-0.1, 1.0, 1.5):
        with raises(ValueError, hint="at 1 the target would not count any more"):
            impl.label_smoothing(logits, targets, wrong)


# --- the schedule ------------------------------------------------------------------------------------------------------


@pytest.mark.stub("noam_schedule")
def test_the_rate_of_each_step(impl, draw):
    width, warmup = draw.integer(1, 600), draw.integer(2, 500)
    for step in (1, draw.integer(1, warmup - 1), warmup - 1, warmup, warmup + 1, draw.integer(warmup + 1, 5000)):
        expected = step / warmup**1.5 if step < warmup else 1 / math.sqrt(step)
        hint = "width^−½ times the smaller of step^−½ and step · warmup^−3/2; both are the same at step = warmup"
        assert_close(
            impl.noam_schedule(step, width, warmup), expected / math.sqrt(width), what=f"the rate of step {step}", hint=hint
        )


@pytest.mark.stub("noam_schedule")
def test_without_a_rise(impl, draw):
    width, step = draw.integer(1, 600), draw.integer(1, 50)
    hint = "with a warm-up of one step the rate falls from the first step on"
    assert_close(impl.noam_schedule(step, width, 1), 1 / math.sqrt(width * step), hint=hint)


@pytest.mark.stub("noam_schedule")
def test_steps_count_from_one(impl, draw):
    for step, warmup in ((0, 10), (-3, 10), (5, 0), (5, -2)):
        with raises(ValueError, hint="step and warmup are at least 1: PyTorch's LambdaLR counts from 0, add 1"):
            impl.noam_schedule(step, 64, warmup)


# --- cross-attention ---------------------------------------------------------------------------------------------------


def heads_and_width(draw):
    H = draw.size(1, 4)
    return H, H * draw.size(1, 4)


def a_cross_attention(impl, draw):
    """A layer with random weights in float64, and torch's own with the same."""
    H, C = heads_and_width(draw)
    layer = impl.CrossAttention(C, H)
    layer.double()
    state = draw.like(layer.fresh_state(), scale=0.7)
    layer.load_state_dict(state)
    truth = nn.MultiheadAttention(C, H, batch_first=True).double()
    truth.load_state_dict(cross_weights(state))
    return layer, truth.eval(), C


def cross_weights(state, prefix=""):
    return {
        "in_proj_weight": torch.cat([state[prefix + "q.weight"], state[prefix + "kv.weight"]]),
        "in_proj_bias": torch.cat([state[prefix + "q.bias"], state[prefix + "kv.bias"]]),
        "out_proj.weight": state[prefix + "out.weight"],
        "out_proj.bias": state[prefix + "out.bias"],
    }


def some_memory(draw, C):
    """What the decoder has, a memory, how much of each row is real, and the mask of that."""
    B, T, S = draw.batch(2), draw.size(), draw.size()
    x, memory, lengths = draw.normal(B, T, C), draw.normal(B, S, C), draw.integers(S + 1, (B,), 1)
    return x, memory, lengths, (torch.arange(S) < lengths[:, None])[:, None, None]


@pytest.mark.stub("CrossAttention.forward")
@pytest.mark.parametrize("masked", [False, True])
def test_cross_attention_is_torchs(impl, draw, masked):
    layer, truth, C = a_cross_attention(impl, draw)
    x, memory, _, mask = some_memory(draw, C)
    with torch.no_grad():
        padding = ~mask[:, 0, 0] if masked else None
        expected, weights = truth(x, memory, memory, key_padding_mask=padding, average_attn_weights=False)
    read, looked = layer(x, memory, mask) if masked else layer(x, memory)
    hint = (
        "queries from x, keys and values from the memory, keys first in `kv`; scores over √D; the mask is True where one may look"
    )
    assert_close(looked, weights, what="the weights", hint=hint)
    assert_close(read, expected, what="what was read", hint="mix the values by the weights, merge the heads, then `out`")


@pytest.mark.stub("CrossAttention.forward")
def test_a_mask_of_each_query_and_head(impl, draw):
    layer, truth, C = a_cross_attention(impl, draw)
    x, memory, _, _ = some_memory(draw, C)
    B, T, S, H = *x.shape[:2], memory.shape[1], truth.num_heads
    mask = draw.uniform(B, H, T, S) < 0.6
    mask[..., 0] = True
    with torch.no_grad():
        expected, weights = truth(x, memory, memory, attn_mask=~mask.flatten(0, 1), average_attn_weights=False)
    read, looked = layer(x, memory, mask)
    hint = "the mask broadcasts to (B, H, T, S): it may differ between queries and heads"
    assert_close(looked, weights, what="the weights", hint=hint)
    assert_close(read, expected, what="what was read", hint=hint)


@pytest.mark.stub("CrossAttention.forward")
def test_gradients_of_cross_attention(impl, draw):
    layer, truth, C = a_cross_attention(impl, draw)
    x, memory, _, mask = some_memory(draw, C)
    by_read, by_weights = draw.normal(*x.shape), draw.normal(len(x), truth.num_heads, x.shape[1], memory.shape[1])
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_(), memory.clone().requires_grad_()]
        read, weights = truth(leaves[0], leaves[1], leaves[1], key_padding_mask=~mask[:, 0, 0], average_attn_weights=False)
        expected = torch.autograd.grad((read * by_read).sum() + (weights * by_weights).sum(), leaves)
    actual = layer.vjp(x, memory, mask, wrt=(0, 1), cotangent=[by_read, by_weights])
    for name, mine, right in zip(("x", "memory"), actual, expected, strict=True):
        hint = "nothing is detached: the encoder learns through the keys and the values"
        assert_close(mine, right, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("CrossAttention.forward")
def test_padding_of_the_memory_is_not_read(impl, draw):
    layer, _, C = a_cross_attention(impl, draw)
    x, memory, lengths, mask = some_memory(draw, C)
    read, _ = layer(x, memory, mask)
    other = memory.clone()
    for b, length in enumerate(lengths.tolist()):
        other[b, length:] = 100 * draw.normal(memory.shape[1] - length, C)
    hint = "a mask that is added or multiplied in the wrong place lets padding through"
    assert_close(layer(x, other, mask)[0], read, what="what was read with another padding", hint=hint)


# --- the block of the decoder ------------------------------------------------------------------------------------------


def block_weights(state, prefix=""):
    """The weights of a decoder block under the names of `nn.TransformerDecoderLayer`."""
    weights = {"self_attn.in_proj_" + kind: state[f"{prefix}attention.qkv.{kind}"] for kind in ("weight", "bias")}
    weights |= {"self_attn.out_proj." + kind: state[f"{prefix}attention.out.{kind}"] for kind in ("weight", "bias")}
    weights |= {"multihead_attn." + name: value for name, value in cross_weights(state, prefix + "cross.").items()}
    for kind in ("weight", "bias"):
        weights["linear1." + kind], weights["linear2." + kind] = state[f"{prefix}mlp.0.{kind}"], state[f"{prefix}mlp.2.{kind}"]
        weights |= {f"norm{i}.{kind}": state[f"{prefix}norm{i}.{kind}"] for i in (1, 2, 3)}
    return weights


def a_block(impl, draw):
    H, C = heads_and_width(draw)
    inner = draw.size()
    block = impl.DecoderBlock(C, H, inner)
    block.double()
    state = draw.like(block.fresh_state(), scale=0.7)
    block.load_state_dict(state)
    truth = nn.TransformerDecoderLayer(C, H, inner, dropout=0.0, batch_first=True, norm_first=True).double()
    truth.load_state_dict(block_weights(state))
    return block, truth, C


def past(T):
    """As torch has it: True where a position may *not* be read."""
    return torch.ones(T, T, dtype=torch.bool).triu(1)


@pytest.mark.stub("DecoderBlock.forward")
@pytest.mark.parametrize("masked", [False, True])
def test_a_block_is_torchs(impl, draw, masked):
    block, truth, C = a_block(impl, draw)
    x, memory, _, mask = some_memory(draw, C)
    with torch.no_grad():
        expected = truth(x, memory, tgt_mask=past(x.shape[1]), memory_key_padding_mask=~mask[:, 0, 0] if masked else None)
    result, _ = block(x, memory, mask) if masked else block(x, memory)
    hint = "x + attention(norm1(x)) under a causal mask, then + cross(norm2(x), memory, mask), then + mlp(norm3(x))"
    assert_close(result, expected, hint=hint)


@pytest.mark.stub("DecoderBlock.forward")
def test_where_a_block_looks(impl, draw):
    block, truth, C = a_block(impl, draw)
    x, memory, _, mask = some_memory(draw, C)
    with torch.no_grad():
        y = x + truth.self_attn(*[truth.norm1(x)] * 3, attn_mask=past(x.shape[1]))[0]
        _, expected = truth.multihead_attn(
            truth.norm2(y), memory, memory, key_padding_mask=~mask[:, 0, 0], average_attn_weights=False
        )
    _, weights = block(x, memory, mask)
    assert_close(weights, expected, what="the weights", hint="the second value is what `cross` returns as weights, head by head")


@pytest.mark.stub("DecoderBlock.forward")
def test_the_future_is_not_read(impl, draw):
    block, _, C = a_block(impl, draw)
    B, T, S = draw.batch(), draw.integer(2, 7), draw.size()
    x, memory, cut = draw.normal(B, T, C), draw.normal(B, S, C), draw.integer(1, T - 1)
    whole, _ = block(x, memory)
    hint = "place t is trained to say token t + 1, which stands in the input of place t + 1: it must not look there"
    assert_close(block(x[:, :cut], memory)[0], whole[:, :cut], what="the first places alone", hint=hint)


@pytest.mark.stub("DecoderBlock.forward")
def test_gradients_of_a_block(impl, draw):
    """The truth is put together from torch's parts: its own block keeps the weights of the cross-attention to itself."""
    block, truth, C = a_block(impl, draw)
    x, memory, _, mask = some_memory(draw, C)
    by_block = draw.normal(*x.shape)
    by_weights = draw.normal(len(x), truth.multihead_attn.num_heads, x.shape[1], memory.shape[1])
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_(), memory.clone().requires_grad_()]
        y = truth.norm1(leaves[0])
        y = leaves[0] + truth.self_attn(y, y, y, attn_mask=past(x.shape[1]))[0]
        read, weights = truth.multihead_attn(
            truth.norm2(y), leaves[1], leaves[1], key_padding_mask=~mask[:, 0, 0], average_attn_weights=False
        )
        y = y + read
        y = y + truth.linear2(truth.linear1(truth.norm3(y)).relu())
        expected = torch.autograd.grad((y * by_block).sum() + (weights * by_weights).sum(), leaves)
    actual = block.vjp(x, memory, mask, wrt=(0, 1), cotangent=[by_block, by_weights])
    for name, mine, right in zip(("x", "memory"), actual, expected, strict=True):
        hint = "nothing is detached, the weights that are returned neither: the encoder learns through the memory"
        assert_close(mine, right, what=f"the gradient of {name}", hint=hint)


# --- BLEU and chrF -----------------------------------------------------------------------------------------------------


def runs(symbols, n):
    return [tuple(symbols[i : i + n]) for i in range(len(symbols) - n + 1)]


def matched(mine, wanted):
    """How many of a list of n-grams stand in another, each of which can be used once."""
    left, found = list(wanted), 0
    for gram in mine:
        if gram in left:
            left.remove(gram)
            found += 1
    return found


def bleu_by_lists(texts, references, order=4, smooth=False):
    product, missed = 1.0, 0
    for n in range(1, order + 1):
        right = sum(matched(runs(a, n), runs(b, n)) for a, b in zip(texts, references, strict=True))
        total = sum(len(runs(a, n)) for a in texts)
        if n == 1 and not right:
            return 0.0
        if total and not right and smooth:
            missed += 1
            right = 0.5**missed
        product *= right / total if total else 0.0
    c, r = sum(len(a) for a in texts), sum(len(b) for b in references)
    return 100 * min(1.0, math.exp(1 - r / c)) * product ** (1 / order)


def chrf_by_lists(texts, references, order=6, beta=2.0):
    texts, references = ([[c for c in text if not c.isspace()] for text in some] for some in (texts, references))
    P, R = [], []
    for n in range(1, order + 1):
        pairs = [(runs(a, n), runs(b, n)) for a, b in zip(texts, references, strict=True) if runs(b, n)]
        mine, wanted = sum(len(a) for a, _ in pairs), sum(len(b) for _, b in pairs)
        if mine and wanted:
            right = sum(matched(a, b) for a, b in pairs)
            P.append(right / mine)
            R.append(right / wanted)
    if not sum(P):
        return 0.0
    p, r = sum(P) / len(P), sum(R) / len(R)
    return 100 * (1 + beta**2) * p * r / (beta**2 * p + r)


def garbled(draw, words, likely=0.3, longest=14):
    """References, and texts that are like them: with words replaced, left out or said twice."""
    references = [[draw.choice(words) for _ in range(draw.integer(1, longest))] for _ in range(draw.integer(1, 6))]
    texts = []
    for reference in references:
        text = []
        for word in reference:
            u = draw.number(0, 1)
            if u > likely * 2 / 3:
                text.append(word)
            elif u > likely / 3:
                text.append(draw.choice(words))
            if u < likely / 4:
                text.append(word)
        texts.append(text)
    return texts, references


WORDS = ("the", "cat", "sat", "on", "a", "mat")


@pytest.mark.stub("corpus_bleu")
def test_bleu_of_garbled_texts(impl, draw):
    for _ in range(3):
        texts, references = garbled(draw, WORDS)
        hint = "clipped matches and n-grams are summed over all texts before they are divided; then the geometric mean, times the penalty"
        assert_close(impl.corpus_bleu(texts, references), bleu_by_lists(texts, references), hint=hint)


@pytest.mark.stub("corpus_bleu")
def test_bleu_of_other_orders(impl, draw):
    texts, references = garbled(draw, WORDS, 0.2)
    for order in (1, 2, 3, 5):
        expected = bleu_by_lists(texts, references, order)
        hint = "the mean is over `order` precisions"
        assert_close(impl.corpus_bleu(texts, references, order=order), expected, what=f"BLEU-{order}", hint=hint)


@pytest.mark.stub("corpus_bleu")
def test_a_word_said_again_counts_once(impl, draw):
    n = draw.integer(3, 9)
    result = impl.corpus_bleu([["the"] * n], [["the", *["cat"] * (n - 1)]], order=1)
    assert_close(result, 100 / n, hint="an n-gram counts at most as often as it stands in the reference")


@pytest.mark.stub("corpus_bleu")
def test_tokens_are_compared_as_they_are(impl, draw):
    hint = "an n-gram is a sequence of tokens: glued together, ab + c and a + bc would be the same"
    assert_close(impl.corpus_bleu([["ab", "c", "d"]], [["a", "bc", "d"]], order=2), 0.0, hint=hint)
    n = draw.integer(2, 6)
    result = impl.corpus_bleu([["The"] + ["cat"] * n], [["the"] + ["cat"] * n], order=1)
    assert_close(result, 100 * n / (n + 1), hint="capital letters count")


@pytest.mark.stub("corpus_bleu")
def test_a_match_stands_in_its_own_reference(impl, draw):
    texts, references = [["a", "b"], ["c", "d"]], [["c", "d"], ["a", "b"]]
    assert_close(impl.corpus_bleu(texts, references, order=1), 0.0, hint="each text has a reference of its own")


@pytest.mark.stub("corpus_bleu")
def test_what_is_short_is_penalised_and_what_is_long_is_not(impl, draw):
    r, c = draw.integer(8, 12), draw.integer(4, 7)
    words = [str(i) for i in range(r)]
    hint = "exp(1 − r/c) with the tokens of all references over those of all texts"
    assert_close(impl.corpus_bleu([words[:c]], [words]), 100 * math.exp(1 - r / c), hint=hint)
    expected = 100 * (c / r * (c - 1) / (r - 1)) ** 0.5
    assert_close(
        impl.corpus_bleu([words], [words[:c]], order=2), expected, hint="a text that is too long has lost precision already"
    )


@pytest.mark.stub("corpus_bleu")
def test_the_penalty_is_of_the_corpus(impl, draw):
    k = draw.integer(1, 3)
    words = [str(i) for i in range(10)]
    short, long = words[: 10 - k], [*words, *["more"] * k]
    expected = bleu_by_lists([short, long], [words, words])
    hint = "one text too short and one too long make no corpus that is too short"
    assert_close(impl.corpus_bleu([short, long], [words, words]), expected, hint=hint)


@pytest.mark.stub("corpus_bleu")
def test_no_match_of_an_order(impl, draw):
    words = [str(i) for i in range(draw.integer(5, 9))]
    text = [*words[:2], "x", *words[2:4], "x", *words[4:]][:7]
    assert_close(impl.corpus_bleu([text], [words]), bleu_by_lists([text], [words]), hint="a precision of 0 makes it all 0")
    expected = bleu_by_lists([text], [words], smooth=True)
    hint = "smooth: 1/2 counts as right in the first order without a match, 1/4 in the second"
    assert_close(impl.corpus_bleu([text], [words], smooth=True), expected, hint=hint)
    for _ in range(3):
        texts, references = garbled(draw, WORDS, 0.9)
        expected = bleu_by_lists(texts, references, smooth=True)
        assert_close(impl.corpus_bleu(texts, references, smooth=True), expected, what="smoothed BLEU", hint=hint)


@pytest.mark.stub("corpus_bleu")
def test_texts_too_short_for_an_order(impl, draw):
    words = [str(i) for i in range(draw.integer(1, 3))]
    for smooth in (False, True):
        result = impl.corpus_bleu([words], [words], smooth=smooth)
        assert_close(result, 0.0, hint="no n-grams of an order, no BLEU: not even what is smoothed")
        assert_close(impl.corpus_bleu([[]], [words], smooth=smooth), 0.0, hint="an empty text is worth 0")
        other = ["y"] * draw.integer(4, 8)
        for order in (1, 4):
            result = impl.corpus_bleu([other], [words], order=order, smooth=smooth)
            assert_close(result, 0.0, what=f"BLEU-{order}", hint="no token is right: 0, smoothed or not")


@pytest.mark.stub("corpus_bleu")
def test_one_n_gram_of_an_order_is_enough(impl, draw):
    order = draw.integer(1, 5)
    words = [str(i) for i in range(order)]
    assert_close(impl.corpus_bleu([words], [words], order=order), 100.0, hint="a text of n tokens has one n-gram")


@pytest.mark.stub("corpus_bleu")
def test_bleu_needs_a_reference_for_each_text(impl, draw):
    texts = [["a"]] * draw.integer(2, 4)
    with raises(ValueError, hint="`zip` would end with the shorter list"):
        impl.corpus_bleu(texts, texts[:-1])
    with raises(ValueError, hint="`zip` would end with the shorter list"):
        impl.corpus_bleu(texts[:-1], texts)


def joined(texts):
    return ["".join(text) for text in texts]


@pytest.mark.stub("chrf")
def test_chrf_of_garbled_texts(impl, draw):
    for letters in ("abcde", ("甲", "乙", "丙", " ", "\u3000")):
        texts, references = map(joined, garbled(draw, letters, 0.4, longest=20))
        hint = (
            "for each n all texts together: matches over n-grams of the texts, and of the references; then means over n, then F"
        )
        assert_close(impl.chrf(texts, references), chrf_by_lists(texts, references), hint=hint)


@pytest.mark.stub("chrf")
def test_chrf_of_another_order_and_beta(impl, draw):
    texts, references = map(joined, garbled(draw, "abcd", 0.4))
    for order, beta in ((1, 2.0), (3, 2.0), (6, 1.0), (4, 3.0)):
        expected = chrf_by_lists(texts, references, order, beta)
        hint = "β² weighs recall: (1 + β²) P R / (β² P + R)"
        assert_close(
            impl.chrf(texts, references, order=order, beta=beta), expected, what=f"chrF{beta:g}, order {order}", hint=hint
        )


@pytest.mark.stub("chrf")
def test_recall_counts_double(impl, draw):
    n = draw.integer(8, 12)
    whole, part = "abcdefghijkl"[:n], "abcdefghijkl"[: n - draw.integer(2, 5)]
    for text, reference in ((part, whole), (whole, part)):
        hint = "precision is over the n-grams of the text, recall over those of the reference: which one is missing?"
        assert_close(impl.chrf([text], [reference]), chrf_by_lists([text], [reference]), hint=hint)


@pytest.mark.stub("chrf")
def test_whitespace_is_left_out(impl, draw):
    text = "".join(draw.choice("ab \t\n\u3000") for _ in range(draw.integer(8, 20))) + "abc"
    hint = "all whitespace goes before n-grams are cut, in texts and in references, the wide space of Chinese too"
    assert_close(
        impl.chrf([text], ["".join(text.split())]), 100.0, what="the score of a text beside itself without spaces", hint=hint
    )


@pytest.mark.stub("chrf")
def test_capital_letters_count(impl, draw):
    text = "".join(draw.choice("abc") for _ in range(draw.integer(8, 14)))
    other = text[:2].upper() + text[2:]
    expected = chrf_by_lists([other], [text])
    assert_close(impl.chrf([other], [text]), expected, hint="characters are compared as they are, capital letters too")


@pytest.mark.stub("chrf")
def test_short_texts(impl, draw):
    pairs = [("ab", "ab"), ("abcdefgh", "ab"), ("ab", "abcdefgh"), ("", "ab"), ("ab", ""), ("xyz", "ab")]
    for text, reference in pairs:
        expected = chrf_by_lists([text], [reference])
        hint = "means over those n alone of which both sides have n-grams; 0 if nothing is right"
        assert_close(impl.chrf([text], [reference]), expected, what=f"chrF of {text!r} beside {reference!r}", hint=hint)
    texts, references = zip(*[draw.choice(pairs) for _ in range(draw.integer(2, 6))], strict=True)
    texts, references = [*texts, "abcdefg"], [*references, "abcdxfg"]
    hint = "a text does not count for an n of which its own reference has no n-gram"
    assert_close(impl.chrf(texts, references), chrf_by_lists(texts, references), what="chrF of all", hint=hint)


@pytest.mark.stub("chrf")
def test_chrf_needs_a_reference_for_each_text(impl, draw):
    texts = ["a"] * draw.integer(2, 4)
    for one, other in ((texts, texts[:-1]), (texts[:-1], texts)):
        with raises(ValueError, hint="`zip` would end with the shorter list"):
            impl.chrf(one, other)


# --- decoding ----------------------------------------------------------------------------------------------------------


class Truth(nn.Module):
    """`nn.Transformer` with the weights of a `Translator`."""

    def __init__(self, config, state):
        super().__init__()
        C = config["width"]
        self.tokens = nn.Embedding(config["symbols"], C)
        encoder = nn.TransformerEncoderLayer(C, config["heads"], config["inner"], 0.0, batch_first=True, norm_first=True)
        decoder = nn.TransformerDecoderLayer(C, config["heads"], config["inner"], 0.0, batch_first=True, norm_first=True)
        layers = config["layers"]
        self.transformer = nn.Transformer(
            C, batch_first=True,
            custom_encoder=nn.TransformerEncoder(encoder, layers, nn.LayerNorm(C), enable_nested_tensor=False),
            custom_decoder=nn.TransformerDecoder(decoder, layers, nn.LayerNorm(C)),
        )  # fmt: skip
        weights = {"tokens.weight": state["tokens.weight"]}
        for i in range(layers):
            mine = {
                f"transformer.decoder.layers.{i}.{name}": value for name, value in block_weights(state, f"decoder.{i}.").items()
            }
            prefix, old = f"transformer.encoder.layers.{i}.", f"encoder.{i}."
            for kind in ("weight", "bias"):
                mine[f"{prefix}self_attn.in_proj_{kind}"] = state[f"{old}attention.qkv.{kind}"]
                mine[f"{prefix}self_attn.out_proj.{kind}"] = state[f"{old}attention.out.{kind}"]
                mine[f"{prefix}linear1.{kind}"], mine[f"{prefix}linear2.{kind}"] = (
                    state[f"{old}mlp.0.{kind}"],
                    state[f"{old}mlp.2.{kind}"],
                )
                mine |= {f"{prefix}norm{j}.{kind}": state[f"{old}norm{j}.{kind}"] for j in (1, 2)}
            weights |= mine
        for kind in ("weight", "bias"):
            weights[f"transformer.encoder.norm.{kind}"] = state[f"norm1.{kind}"]
            weights[f"transformer.decoder.norm.{kind}"] = state[f"norm2.{kind}"]
        self.load_state_dict(weights)
        self.double().eval()

    def embed(self, ids):
        T, C = ids.shape[1], self.tokens.embedding_dim
        positions = torch.zeros(T, C, dtype=torch.float64)
        for t in range(T):
            for i in range(0, C, 2):
                positions[t, i], positions[t, i + 1] = math.sin(t / 10000 ** (i / C)), math.cos(t / 10000 ** (i / C))
        return self.tokens(ids) * math.sqrt(C) + positions.float()

    def forward(self, source, inputs):
        hidden = self.transformer(self.embed(source), self.embed(inputs), tgt_mask=past(inputs.shape[1]))
        return F.linear(hidden, self.tokens.weight)


@torch.no_grad()
def decoded(truth, source, lengths, starts, limit, reads=slice(None)):
    """Each row by itself, without padding, from the part `reads` of what was written; and the closest call."""
    rows, margin = [], 1.0
    for b, length in enumerate(lengths.tolist()):
        row = [int(starts[b])]
        while len(row) <= limit and (len(row) == 1 or row[-1] != END):
            ranked = truth(source[b : b + 1, :length], torch.tensor([row[reads]]))[0, -1].sort(descending=True)
            margin = min(margin, (ranked.values[0] - ranked.values[1]).item())
            row.append(int(ranked.indices[0]))
        rows.append(row[1:])
    T = max(map(len, rows))
    return torch.tensor([row + [PAD] * (T - len(row)) for row in rows]), margin


def a_task(impl, draw, wanted, limit=7, long=False):
    """A model and sources for which `wanted`, asked for how many tokens the rows have, holds; every choice is clear.

    long: and what was written before the last token counts, so that another translation comes without it.
    """
    while True:
        H = draw.integer(1, 2)
        config = {"symbols": draw.integer(4, 7), "width": 2 * H * draw.integer(1, 2), "inner": draw.integer(2, 5)}
        config |= {"layers": draw.integer(1, 2), "heads": H}
        model = impl.Translator(impl.Config(**config))
        model.double()
        model.eval()
        state = draw.like(model.fresh_state(), scale=1.0)
        model.load_state_dict(state)
        truth = Truth(config, state)
        for _ in range(8):
            B, S = draw.batch(2, 5), draw.integer(2, 6)
            source, lengths = draw.integers(config["symbols"], (B, S)), draw.integers(S + 1, (B,), 1)
            starts = draw.integers(config["symbols"], (B,), 2)
            expected, margin = decoded(truth, source, lengths, starts, limit)
            ends = [row.index(END) + 1 if END in row else len(row) + 1 for row in expected.tolist()]
            if long and torch.equal(expected, decoded(truth, source, lengths, starts, limit, slice(-1, None))[0]):
                continue
            if margin > MARGIN and wanted(ends, B):
                return model, source, lengths, starts, expected


@pytest.mark.stub("greedy")
def test_rows_end_one_after_another(impl, draw):
    task = a_task(impl, draw, lambda ends, B: (len(set(ends)) > 1 or B == 1) and 1 < max(ends) <= 7, long=True)
    model, source, lengths, starts, expected = task
    hint = (
        "the likeliest token behind all that was written, from the logits of the last place; END is kept, PAD follows in rows that "
        "have ended, and it is over when all have"
    )
    assert_equal(impl.greedy(model, source, lengths, starts, 7), expected, hint=hint)


@pytest.mark.stub("greedy")
def test_some_rows_never_end(impl, draw):
    model, source, lengths, starts, expected = a_task(impl, draw, lambda ends, B: max(ends) > 7, long=True)
    assert_equal(impl.greedy(model, source, lengths, starts, 7), expected, hint="at most `limit` tokens, the start not counted")


@pytest.mark.stub("greedy")
def test_all_rows_end_at_once(impl, draw):
    model, source, lengths, starts, expected = a_task(impl, draw, lambda ends, B: max(ends) == 1)
    hint = "when the last row has ended it is over: no column of nothing but PAD"
    assert_equal(impl.greedy(model, source, lengths, starts), expected, hint=hint)


@pytest.mark.stub("greedy")
def test_one_token_at_most(impl, draw):
    model, source, lengths, starts, expected = a_task(impl, draw, lambda ends, B: max(ends) > 1, 1)
    assert_equal(impl.greedy(model, source, lengths, starts, 1), expected, hint="a limit of 1 is one token")


@pytest.mark.stub("greedy")
def test_padding_of_the_source_has_no_effect(impl, draw):
    model, source, lengths, starts, expected = a_task(impl, draw, lambda ends, B: max(ends) > 2)
    other = torch.cat([source, draw.integers(4, (len(source), draw.integer(1, 3)))], 1)
    for b, length in enumerate(lengths.tolist()):
        other[b, length:] = draw.integers(4, (other.shape[1] - length,))
    hint = "`model.encode` is told the lengths, and its mask goes to `model.decode`"
    assert_equal(impl.greedy(model, other, lengths, starts, 7), expected, hint=hint)


# --- wrong answers, and other right ones -------------------------------------------------------------------------------


def shift_by_roll(targets, starts):
    shifted = targets.roll(1, dims=1)
    shifted[:, 0] = starts
    return torch.where(shifted == IGNORED, PAD, shifted)


def shift_by_a_loop(targets, starts):
    shifted = torch.zeros_like(targets)
    shifted[:, 0] = starts
    for t in range(1, targets.shape[1]):
        shifted[:, t] = targets[:, t - 1]
    shifted[shifted == IGNORED] = PAD
    return shifted


def loss_by_torch(logits, targets, smoothing=0.1):
    if smoothing < 0 or smoothing >= 1:
        raise ValueError("smoothing")
    kept = targets != IGNORED
    if not kept.any():
        return (logits * 0).sum()
    return F.cross_entropy(logits[kept], targets[kept], label_smoothing=smoothing)


def loss_by_a_distribution(logits, targets, smoothing=0.1):
    """The smoothed target itself, and its cross-entropy."""
    if not 0 <= smoothing < 1:
        raise ValueError("smoothing")
    V, kept = logits.shape[-1], targets != IGNORED
    wanted = F.one_hot(targets.where(kept, 0), V).to(logits.dtype) * (1 - smoothing) + smoothing / V
    clean = torch.where(kept[..., None], logits, torch.zeros_like(logits))
    losses = -(wanted * clean.log_softmax(-1)).sum(-1) * kept
    return losses.sum() / kept.sum().clamp(min=1)


def noam_by_cases(step, width, warmup):
    if step < 1 or warmup < 1:
        raise ValueError("from 1")
    return (step / warmup**1.5 if step <= warmup else 1 / math.sqrt(step)) / math.sqrt(width)


def cross_by_heads(self, x, memory, mask=None):
    """One head after another."""
    C = x.shape[-1]
    D = C // self.heads
    q, k, v = self.q(x), self.kv(memory)[..., :C], self.kv(memory)[..., C:]
    B, T, S = x.shape[0], x.shape[1], memory.shape[1]
    mask = None if mask is None else mask.expand(B, self.heads, T, S)
    read, looked = [], []
    for h in range(self.heads):
        part = slice(h * D, (h + 1) * D)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / D**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask[:, h], -1e30 if scores.dtype != torch.float16 else -6e4)
        looked.append(scores.softmax(-1))
        read.append(looked[-1] @ v[..., part])
    return self.out(torch.cat(read, -1)), torch.stack(looked, 1)


def cross_by_einsum(self, x, memory, mask=None):
    B, T, C = x.shape
    q = self.q(x).view(B, T, self.heads, -1)
    k, v = self.kv(memory).view(B, memory.shape[1], 2, self.heads, -1).unbind(2)
    scores = torch.einsum("bthd,bshd->bhts", q, k) * q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(mask.logical_not(), float("-inf"))
    weights = scores.softmax(-1)
    return self.out(torch.einsum("bhts,bshd->bthd", weights, v).reshape(B, T, C)), weights


def block_with_a_mask_by_hand(self, x, memory, mask=None):
    T = x.shape[1]
    seen = torch.arange(T, device=x.device)[:, None] >= torch.arange(T, device=x.device)
    y = self.attention(self.norm1(x), seen) + x
    read, weights = self.cross(self.norm2(y), memory, mask)
    y = y + read
    return y + self.mlp(self.norm3(y)), weights


def checked_lists(how):
    """A score of two lists that are equally long."""

    def score(texts, references, **options):
        if len(texts) != len(references):
            raise ValueError("one reference for each text")
        return how(texts, references, **options)

    return score


def counts_of(symbols, n):
    found = {}
    for gram in runs(symbols, n):
        found[gram] = found.get(gram, 0) + 1
    return found


def bleu_by_dicts(texts, references, *, order=4, smooth=False):
    """Numbers of all orders are collected text by text."""
    right, total, c, r = [0] * order, [0] * order, 0, 0
    for text, reference in zip(texts, references, strict=True):
        c, r = c + len(text), r + len(reference)
        for n in range(1, order + 1):
            mine, wanted = counts_of(text, n), counts_of(reference, n)
            total[n - 1] += sum(mine.values())
            right[n - 1] += sum(min(count, wanted.get(gram, 0)) for gram, count in mine.items())
    if not right[0] or not all(total):
        return 0.0
    product, half = 1.0, 1.0
    for a, b in zip(right, total, strict=True):
        if a == 0:
            half /= 2
            product *= half / b if smooth else 0.0
        else:
            product *= a / b
    return 100 * (1.0 if c >= r else math.exp(1 - r / c)) * product ** (1 / order)


def mean_of_sentences(texts, references, *, order=4, smooth=False):
    return sum(bleu_by_lists([a], [b], order, smooth) for a, b in zip(texts, references, strict=True)) / len(texts)


def chrf_by_dicts(texts, references, *, order=6, beta=2.0):
    """Numbers of all orders are collected text by text."""
    mine, wanted, right = [0] * order, [0] * order, [0] * order
    for text, reference in zip(texts, references, strict=True):
        a, b = "".join(text.split()), "".join(reference.split())
        for n in range(order):
            in_text, in_reference = counts_of(a, n + 1), counts_of(b, n + 1)
            if in_reference:
                mine[n] += len(a) - n if len(a) > n else 0
            wanted[n] += sum(in_reference.values())
            right[n] += sum(min(count, in_reference[gram]) for gram, count in in_text.items() if gram in in_reference)
    used = [n for n in range(order) if mine[n] and wanted[n]]
    if not used or not any(right[n] for n in used):
        return 0.0
    p, r = sum(right[n] / mine[n] for n in used) / len(used), sum(right[n] / wanted[n] for n in used) / len(used)
    return 100 * (1 + beta * beta) * p * r / (beta * beta * p + r)


def mean_of_texts(texts, references, *, order=6, beta=2.0):
    return sum(chrf_by_lists([a], [b], order, beta) for a, b in zip(texts, references, strict=True)) / len(texts)


def mean_of_f_scores(texts, references, *, order=6, beta=2.0):
    """F for each order, then the mean: what some early versions did."""
    scores = []
    a, b = (["".join(text.split()) for text in some] for some in (texts, references))
    for n in range(1, order + 1):
        pairs = [(runs(x, n), runs(y, n)) for x, y in zip(a, b, strict=True) if runs(y, n)]
        mine, wanted = sum(len(x) for x, _ in pairs), sum(len(y) for _, y in pairs)
        if mine and wanted:
            right = sum(matched(x, y) for x, y in pairs)
            scores.append((1 + beta**2) * right / (beta**2 * wanted + mine))
    return 100 * sum(scores) / len(scores) if scores else 0.0


def greedy_into_room(model, source, lengths, starts, limit=24):
    """Into room taken beforehand; rows that have ended go on, and are cut at the end."""
    with torch.no_grad():
        memory, mask = model.encode(source, lengths)
        ids = starts.new_zeros(len(starts), limit + 1)
        ids[:, 0] = starts
        ended = torch.zeros(len(starts), dtype=torch.bool, device=starts.device)
        used = 0
        while used < limit and not bool(ended.all()):
            logits, _ = model.decode(ids[:, : used + 1], memory, mask)
            new = logits[:, used].max(-1).indices
            used += 1
            ids[:, used] = torch.where(ended, torch.full_like(new, PAD), new)
            ended |= new == END
        return ids[:, 1 : used + 1].clone()


def greedy_row_by_row(model, source, lengths, starts, limit=24):
    rows = []
    with torch.no_grad():
        for b in range(len(starts)):
            memory, mask = model.encode(source[b : b + 1, : int(lengths[b])], lengths[b : b + 1])
            row = starts[b : b + 1]
            while len(row) <= limit and (len(row) == 1 or int(row[-1]) != END):
                logits, _ = model.decode(row[None], memory, mask)
                row = torch.cat([row, logits[0, -1:].argmax(-1)])
            rows.append(row[1:])
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


def greedy_of_rows_that_go_on(model, source, lengths, starts, limit=24):
    """Rows that have ended are not computed any more."""
    with torch.no_grad():
        memory, mask = model.encode(source, lengths)
        ids, rows = starts[:, None], torch.arange(len(starts), device=starts.device)
        for _ in range(limit):
            logits, _ = model.decode(ids[rows], memory[rows], mask[rows])
            new = torch.full_like(starts, PAD)
            new[rows] = logits[:, -1].argmax(-1)
            ids = torch.cat([ids, new[:, None]], 1)
            rows = rows[new[rows] != END]
            if not len(rows):
                break
        return ids[:, 1:]


SCORE = "logs.append(math.log((matches or credit) / total))"
CAUSAL = ", causal_mask(T, T, device=x.device)"
FAKES = {
    "shift_right": {
        "not shifted": lambda targets, starts: targets.masked_fill(targets == IGNORED, PAD),
        "the last target in front": lambda targets, starts: targets.roll(1, 1).masked_fill(targets.roll(1, 1) == IGNORED, PAD),
        "shifted to the left": lambda targets, starts: torch.cat([targets[:, 1:], starts[:, None]], 1).clamp(min=0),
        "the start of the first row for all": Edit("starts[:, None]", "starts[:1, None].expand(len(starts), 1)"),
        "one place longer": Edit("targets[:, :-1]", "targets"),
        "-100 left as it is": Edit("shifted.masked_fill(shifted == IGNORED, PAD)", "shifted"),
        "-100 becomes the end": Edit("IGNORED, PAD", "IGNORED, END"),
        "all ends become padding": Edit("shifted == IGNORED", "shifted < 2"),
        "the first target overwritten": Edit(
            "torch.cat([starts[:, None], targets[:, :-1]], dim=1)", "torch.cat([starts[:, None], targets[:, 1:]], dim=1)"
        ),
        "all behind the first -100": Edit("shifted == IGNORED", "(shifted == IGNORED).cumsum(1) > 0"),
        "a row that asks for nothing is empty": Edit(
            "return shifted.masked_fill(shifted == IGNORED, PAD)",
            "return shifted.masked_fill(shifted == IGNORED, PAD) * (targets != IGNORED).any(1, keepdim=True)",
        ),
        "in place": lambda targets, starts: targets.copy_(shift_by_roll(targets, starts)),
    },
    "label_smoothing": {
        "spread over all but the target": Edit(
            "smoothing * log_p.mean(dim=-1)",
            "smoothing * (log_p.sum(dim=-1) + nll) / max(1, logits.shape[-1] - 1)",
        ),
        "the target keeps all": Edit("(1 - smoothing) * nll", "nll"),
        "a sum over the vocabulary": Edit("log_p.mean(dim=-1)", "log_p.sum(dim=-1)"),
        "the sign of the second part": Edit("nll - smoothing", "nll + smoothing"),
        "no smoothing": Edit("(1 - smoothing) * nll - smoothing * log_p.mean(dim=-1)", "nll"),
        "always a tenth": Edit("loss = (1 - smoothing)", "smoothing = 0.1\n    loss = (1 - smoothing)"),
        "a mean over all places": Edit("kept.sum().clamp(min=1)", "max(1, kept.numel())"),
        "a sum": Edit(" / kept.sum().clamp(min=1)", ""),
        "a mean of means of rows": Edit(
            "loss.where(kept, 0.0).sum() / kept.sum().clamp(min=1)",
            "(loss.where(kept, 0.0).sum(1) / kept.sum(1).clamp(min=1)).mean()",
        ),
        "what is not asked for is smoothed too": Edit("loss.where(kept, 0.0).sum()", "(loss * (kept | (nll * 0 == 0))).sum()"),
        "other logits multiplied by 0": Edit("logits.where(kept[..., None], 0.0)", "(logits * kept[..., None])"),
        "other logits not cleared": Edit("logits.where(kept[..., None], 0.0).log_softmax", "logits.log_softmax"),
        "log of softmax": Edit(".log_softmax(dim=-1)", ".softmax(dim=-1).log()"),
        "nothing asked for is 0 / 0": Edit(".clamp(min=1)", ""),
        "any smoothing accepted": Edit("not 0 <= smoothing < 1", "False"),
        "1 accepted": Edit("smoothing < 1", "smoothing <= 1"),
        "the smoothed part detached": Edit("log_p.mean(dim=-1)", "log_p.detach().mean(dim=-1)"),
    },
    "noam_schedule": {
        "counted from 0": Edit("step**-0.5, step *", "(step + 1) ** -0.5, (step + 1) *"),
        "no width": Edit("width**-0.5 * ", ""),
        "times √width": Edit("width**-0.5", "width**0.5"),
        "the larger of the two": Edit("min(", "max("),
        "no fall": Edit("min(step**-0.5, step * warmup**-1.5)", "min(warmup**-0.5, step * warmup**-1.5)"),
        "no rise": Edit("min(step**-0.5, step * warmup**-1.5)", "step**-0.5"),
        "warmup^-1/2": Edit("warmup**-1.5", "warmup**-0.5"),
        "a fall as 1 / step": Edit("step**-0.5", "step**-1.0 * warmup**0.5"),
        "a peak of 1": Edit("return width", "return warmup**0.5 * width"),
        "step 0 accepted": Edit("step < 1 or ", "step < 0 or "),
        "no warm-up accepted": Edit("step < 1 or warmup < 1", "step < 1"),
    },
    "CrossAttention.forward": {
        "queries from the memory": lambda self, x, memory, mask=None: cross_by_heads(self, memory, x, None),
        "itself": lambda self, x, memory, mask=None: cross_by_heads(self, x, x, None),
        "values first": Edit("k, v = (", "v, k = ("),
        "keys and values interleaved": Edit(
            "self.kv(memory).chunk(2, dim=-1)", "(self.kv(memory)[..., 0::2], self.kv(memory)[..., 1::2])"
        ),
        "no mask": Edit("attention_weights(q, k, mask)", "attention_weights(q, k)"),
        "the mask turned round": Edit(
            "attention_weights(q, k, mask)", "attention_weights(q, k, None if mask is None else ~mask)"
        ),
        "the mask of the first row": Edit("(q, k, mask)", "(q, k, None if mask is None else mask[:1])"),
        "the mask of the first query": Edit("(q, k, mask)", "(q, k, None if mask is None else mask[:, :, :1])"),
        "the mask of the first head": Edit("(q, k, mask)", "(q, k, None if mask is None else mask[:, :1])"),
        "not scaled": Edit(
            "q = split_heads(self.q(x), self.heads)",
            "q = split_heads(self.q(x) * (x.shape[-1] // self.heads) ** 0.5, self.heads)",
        ),
        "scaled by the width": Edit(
            "q = split_heads(self.q(x), self.heads)", "q = split_heads(self.q(x) / self.heads**0.5, self.heads)"
        ),
        "one head": Edit("self.heads)  #", "1)  #"),
        "heads not merged": Edit("merge_heads(weights @ v)", "(weights @ v).flatten(2).reshape(x.shape)"),
        "not mixed": Edit("self.out(merge_heads(weights @ v))", "merge_heads(weights @ v)"),
        "the mean of the heads": Edit(", weights\n", ", weights.mean(1, keepdim=True).expand_as(weights)\n"),
        "causal": Edit(
            "attention_weights(q, k, mask)",
            "attention_weights(q, k, causal_mask(q.shape[2], max(k.shape[2], q.shape[2]), device=x.device)[:, : k.shape[2]])",
        ),
        "the memory detached": Edit("self.kv(memory)", "self.kv(memory.detach())"),
        "the stream added": Edit("return self.out(merge_heads(weights @ v))", "return x + self.out(merge_heads(weights @ v))"),
    },
    "DecoderBlock.forward": {
        "the future is read": Edit(CAUSAL, ""),
        "only the present": Edit("causal_mask(T, T, device=x.device)", "torch.eye(T, dtype=torch.bool, device=x.device)"),
        "only the past before it": Edit("causal_mask(T, T, device=x.device)", "causal_mask(T, T, device=x.device).tril(-1)"),
        "the mask turned round": Edit("causal_mask(T, T", "~causal_mask(T, T"),
        "the padding of the memory is read": Edit("memory, mask)", "memory)"),
        "cross-attention first": lambda self, x, memory, mask=None: block_in_another_order(self, x, memory, mask),
        "no cross-attention": Edit("        x = x + read\n", ""),
        "the stream forgotten at the first": Edit("x = x + self.attention", "x = self.attention"),
        "the stream forgotten at the second": Edit("x = x + read", "x = read"),
        "the stream forgotten at the third": Edit("return x + self.mlp", "return self.mlp"),
        "not normalised at the first": Edit("self.norm1(x)", "x"),
        "not normalised at the second": Edit("self.norm2(x)", "x"),
        "not normalised at the third": Edit("self.norm3(x)", "x"),
        "norms exchanged": Edit("self.norm2(x)", "self.norm3(x)"),
        "the memory normalised again": Edit("self.cross(self.norm2(x), memory", "self.cross(self.norm2(x), self.norm2(memory)"),
        "post-norm": lambda self, x, memory, mask=None: block_after(self, x, memory, mask),
        "the memory detached": Edit("self.norm2(x), memory", "self.norm2(x), memory.detach()"),
        "uniform weights": Edit(", weights\n", ", torch.ones_like(weights) / weights.shape[-1]\n"),
    },
    "corpus_bleu": {
        "the mean over sentences": checked_lists(mean_of_sentences),
        "tokens glued together": Edit(
            "(count_ngrams(text, n), count_ngrams(right, n))",
            'tuple(Counter("".join(gram) for gram in count_ngrams(some, n).elements()) for some in (text, right))',
        ),
        "not clipped": Edit("(mine & right).total()", "sum(count for gram, count in mine.items() if gram in right)"),
        "a set": Edit("(mine & right).total()", "len(mine.keys() & right.keys())"),
        "recall": Edit("mine.total() for mine, _ in", "right.total() for _, right in"),
        "no penalty": Edit("min(0.0, 1 - r / c)", "0.0"),
        "a bonus for length": Edit("min(0.0, 1 - r / c)", "(1 - r / c)"),
        "the ratio as the penalty": Edit("min(0.0, 1 - r / c)", "min(0.0, math.log(c / r))"),
        "the penalty turned round": Edit("1 - r / c)", "1 - c / r)"),
        "the penalty of each text": Edit(
            "min(0.0, 1 - r / c)",
            "sum(min(0.0, 1 - len(b) / max(len(a), 1)) for a, b in zip(texts, references)) / len(texts)",
        ),
        "the arithmetic mean": Edit(
            "return 100 * math.exp(min(0.0, 1 - r / c) + sum(logs) / order)",
            "return 100 * math.exp(min(0.0, 1 - r / c)) * sum(map(math.exp, logs)) / order",
        ),
        "the product without a root": Edit("sum(logs) / order", "sum(logs)"),
        "always four": Edit("range(1, order + 1)", "range(1, 5)"),
        "one order less": Edit("range(1, order + 1)", "range(1, order)"),
        "a share of 1": Edit("100 * math.exp", "math.exp"),
        "always smoothed": Edit(" or not smooth", ""),
        "never smoothed": Edit("(n == 1 or not smooth)", "True"),
        "half each time": Edit("credit = credit / 2 if matches == 0 else credit", "credit = 0.5"),
        "one instead of none": Edit("credit = credit / 2 if matches == 0 else credit", "credit = 1.0"),
        "a wrong token smoothed": Edit("n == 1 or not smooth", "not smooth"),
        "add one": Edit(SCORE, "logs.append(math.log(((matches or credit) + (n > 1)) / (total + (n > 1))))"),
        "any number of references": Edit("len(texts) != len(references)", "False"),
        "references of all together": Edit(
            "(count_ngrams(text, n), count_ngrams(right, n))",
            "(count_ngrams(text, n), count_ngrams(sum(map(list, references), []), n))",
        ),
    },
    "chrf": {
        "the mean over texts": checked_lists(mean_of_texts),
        "the mean of F": checked_lists(mean_of_f_scores),
        "small letters": Edit(
            '("".join(text.split()), "".join(right.split()))', '("".join(text.lower().split()), "".join(right.lower().split()))'
        ),
        "spaces count": Edit('("".join(text.split()), "".join(right.split()))', "(text, right)"),
        "plain spaces alone": Edit(
            '("".join(text.split()), "".join(right.split()))', '(text.replace(" ", ""), right.replace(" ", ""))'
        ),
        "spaces of the reference count": Edit('"".join(right.split())', "right"),
        "not clipped": Edit("(text & right).total()", "sum(count for gram, count in text.items() if gram in right)"),
        "a set": Edit("(text & right).total()", "len(text.keys() & right.keys())"),
        "F1": Edit("    P, R =", "    beta = 1.0\n    P, R ="),
        "beta not squared": Edit("100 * (1 + beta**2) * P * R / (beta**2 * P + R)", "100 * (1 + beta) * P * R / (beta * P + R)"),
        "always 2": Edit("    P, R =", "    beta = 2.0\n    P, R ="),
        "precision weighed": Edit("(beta**2 * P + R)", "(beta**2 * R + P)"),
        "precision and recall exchanged": Edit("precisions.append(matches / mine)", "precisions.append(matches / wanted)"),
        "always six": Edit("range(1, order + 1)", "range(1, 7)"),
        "one order less": Edit("range(1, order + 1)", "range(1, order)"),
        "the longest order alone": Edit("range(1, order + 1)", "range(order, order + 1)"),
        "a mean over all orders": Edit(
            "sum(precisions) / len(precisions), sum(recalls) / len(recalls)", "sum(precisions) / order, sum(recalls) / order"
        ),
        "short references count": Edit(" if len(right) >= n]", "]"),
        "words": Edit(
            "count_ngrams(text, n), count_ngrams(right, n)", "count_ngrams(text.split(), n), count_ngrams(right.split(), n)"
        ),
        "a share of 1": Edit("100 * (1", "(1"),
        "any number of references": Edit("len(texts) != len(references)", "False"),
    },
    "greedy": {
        "the first place": Edit("logits[:, -1]", "logits[:, 0]"),
        "the start is kept": Edit("return ids[:, 1:]", "return ids"),
        "rows go on behind their end": Edit(".where(going, PAD)", ""),
        "END repeated": Edit(".where(going, PAD)", ".where(going, END)"),
        "END is not kept": Edit(".where(going, PAD)\n", ".where(going, PAD)\n        new = new.masked_fill(new == END, PAD)\n"),
        "never early": Edit("if not bool(going.any()):", "if False:"),
        "over when one row has ended": Edit("going.any()", "going.all()"),
        "a row that ended begins again": Edit("going = going & (new != END)", "going = new != END"),
        "one token less": Edit("range(limit)", "range(limit - 1)"),
        "one token more": Edit("range(limit)", "range(limit + 1)"),
        "always 24": Edit("range(limit)", "range(24)"),
        "lengths ignored": Edit(
            "model.encode(source, lengths)", "model.encode(source, torch.full_like(lengths, source.shape[1]))"
        ),
        "all rows as long as the first": Edit(
            "model.encode(source, lengths)", "model.encode(source, lengths[:1].expand_as(lengths))"
        ),
        "the mask turned round": Edit("memory, mask)\n", "memory, ~mask)\n"),
        "the memory of the first row": Edit(
            "model.decode(ids, memory, mask)", "model.decode(ids, memory[:1].expand_as(memory), mask)"
        ),
        "the last token alone": Edit("model.decode(ids, memory", "model.decode(ids[:, -1:], memory"),
        "without the start": Edit("model.decode(ids, memory", "model.decode(ids[:, 1:] if ids.shape[1] > 1 else ids, memory"),
        "the start of the first row": Edit(
            "ids, going = starts[:, None]", "ids, going = starts[:1, None].expand(len(starts), 1)"
        ),
        "the unlikeliest": Edit("argmax", "argmin"),
    },
}


def block_in_another_order(self, x, memory, mask=None):
    T = x.shape[1]
    read, weights = self.cross(self.norm2(x), memory, mask)
    x = x + read
    x = x + self.attention(self.norm1(x), ~past(T).to(x.device))
    return x + self.mlp(self.norm3(x)), weights


def block_after(self, x, memory, mask=None):
    x = self.norm1(x + self.attention(x, ~past(x.shape[1]).to(x.device)))
    read, weights = self.cross(x, memory, mask)
    x = self.norm2(x + read)
    return self.norm3(x + self.mlp(x)), weights


VARIANTS = {
    "shift_right": {
        "roll": shift_by_roll,
        "a loop": shift_by_a_loop,
        "where": Edit(
            "shifted.masked_fill(shifted == IGNORED, PAD)", "torch.where(shifted == IGNORED, torch.zeros_like(shifted), shifted)"
        ),
    },
    "label_smoothing": {
        "torch's": loss_by_torch,
        "a distribution": loss_by_a_distribution,
        "by logsumexp": Edit(
            "logits.where(kept[..., None], 0.0).log_softmax(dim=-1)",
            "logits.where(kept[..., None], 0.0)\n    log_p = log_p - log_p.logsumexp(dim=-1, keepdim=True)",
        ),
    },
    "noam_schedule": {
        "by cases": noam_by_cases,
        "one root": Edit(
            "width**-0.5 * min(step**-0.5, step * warmup**-1.5)", "min(1 / step, step**2 / warmup**3) ** 0.5 / width**0.5"
        ),
        "torch's roots": Edit("width**-0.5 * min(step**-0.5,", "1 / math.sqrt(width) * min(1 / math.sqrt(step),"),
    },
    "CrossAttention.forward": {
        "head by head": cross_by_heads,
        "einsum": cross_by_einsum,
        "slices": Edit(
            "self.kv(memory).chunk(2, dim=-1)", "(self.kv(memory)[..., : x.shape[-1]], self.kv(memory)[..., x.shape[-1] :])"
        ),
    },
    "DecoderBlock.forward": {
        "a mask by hand": block_with_a_mask_by_hand,
        "tril": Edit("causal_mask(T, T, device=x.device)", "torch.ones(T, T, dtype=torch.bool, device=x.device).tril()"),
        "a mask of four axes": Edit("causal_mask(T, T, device=x.device)", "causal_mask(T, T, device=x.device)[None, None]"),
    },
    "corpus_bleu": {
        "lists": checked_lists(bleu_by_lists),
        "dictionaries": checked_lists(bleu_by_dicts),
        "the penalty as a factor": Edit(
            "return 100 * math.exp(min(0.0, 1 - r / c) + sum(logs) / order)",
            "return 100 * min(1.0, math.exp(1 - r / c)) * math.exp(sum(logs)) ** (1 / order)",
        ),
    },
    "chrf": {
        "lists": checked_lists(chrf_by_lists),
        "dictionaries": checked_lists(chrf_by_dicts),
        "without an F": Edit(
            "return 100 * (1 + beta**2) * P * R / (beta**2 * P + R)", "return 100 / ((1 / P + beta**2 / R) / (1 + beta**2))"
        ),
    },
    "greedy": {
        "into room": greedy_into_room,
        "row by row": greedy_row_by_row,
        "rows that go on": greedy_of_rows_that_go_on,
    },
}

SUM = "a sum is the same in any order"
EQUIVALENT = {
    "label_smoothing": {
        "constant: log_p.gather(-1, targets.where(k… -> log_p.gather(-1, targets.where(k… 28a4c2": "the axis has one column",
    },
    "corpus_bleu": {
        "order: zip(texts, references, strict=False) -> list(zip(texts, references, strict=False))[::-1]": SUM,
        "order: counted -> list(counted)[::-1]": SUM,
        "order: counted -> list(counted)[::-1] #2": SUM,
    },
    "chrf": {
        "order: zip(texts, references, strict=False) -> list(zip(texts, references, strict=False))[::-1]": SUM,
        "order: pairs -> list(pairs)[::-1]": SUM,
        "order: counted -> list(counted)[::-1]": SUM,
        "order: counted -> list(counted)[::-1] #2": SUM,
        "order: counted -> list(counted)[::-1] #3": SUM,
        "boolean: mine and wanted -> mine": "a text counts only where its reference has an n-gram, so without `wanted` there is no `mine`",
    },
}
