"""What a right answer to convert/image_to_text must do. Truths: loops over pixels, torch.nn's attention, every sentence tried."""

import functools
import itertools
import math
import re
import unicodedata

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.testing import Edit, assert_close, assert_equal, assert_true, raises

PAD, BOS, EOS, IGNORED = 0, 1, 2, -100
MARGIN = 1e-4  # a sentence is compared exactly, so no choice between two of them may be closer than float32 can tell


# --- patchify ----------------------------------------------------------------------------------------------------------


def cut(images, size):
    """Patch by patch, pixel by pixel."""
    B, C, H, W = images.shape
    patches = [
        [images[b, c, top + y, left + x] for c in range(C) for y in range(size) for x in range(size)]
        for b in range(B) for top in range(0, H, size) for left in range(0, W, size)
    ]  # fmt: skip
    return torch.stack([torch.stack(patch) for patch in patches]).view(B, -1, C * size * size)


def random_images(draw, size, channels=1):
    rows, columns = draw.sizes(2, 1, 4)
    return draw.normal(draw.batch(1, 3), draw.size(channels, 3), rows * size, columns * size)


@pytest.mark.stub("patchify")
def test_patches_are_squares_row_by_row(impl, draw):
    size = draw.size(1, 4)
    images = random_images(draw, size)
    hint = "first along the top row of patches, then the next row; within a patch channel by channel, each row by row"
    assert_close(impl.patchify(images, size), cut(images, size), hint=hint)


@pytest.mark.stub("patchify")
def test_every_pixel_keeps_its_gradient(impl, draw):
    size = draw.size(2, 4)
    images = random_images(draw, size, channels=2)  # with one channel, or one pixel, their order cannot be told
    g = draw.normal(*cut(images, size).shape)
    with torch.enable_grad():
        leaf = images.clone().requires_grad_()
        (expected,) = torch.autograd.grad((cut(leaf, size) * g).sum(), leaf)
    result = impl.vjp("patchify", images, size, wrt=0, cotangent=g)
    assert_close(result, expected, hint="cutting moves numbers and changes none: each pixel has one place in one patch")


@pytest.mark.stub("patchify")
@pytest.mark.parametrize(
    ("shape", "size"), [((1, 2, 4, 4), 4), ((2, 3, 2, 6), 2), ((1, 4, 6, 3), 3), ((2, 2, 1, 3), 1), ((1, 1, 3, 1), 1)]
)
def test_one_patch_one_row_one_column_and_pixels(impl, shape, size):
    images = torch.arange(math.prod(shape), dtype=torch.float64).view(shape)
    hint = "an image may be a single patch, its patches a single row or column, and a patch a single pixel of each channel"
    assert_equal(impl.patchify(images, size), cut(images, size), hint=hint)


@pytest.mark.stub("patchify")
def test_a_patch_larger_than_the_image_is_refused(impl):
    for shape, size in (
        ((1, 1, 2, 2), 4),
        ((1, 1, 4, 1), 2),
        ((1, 4, 3, 3), 2),
        ((2, 1, 2, 8), 4),
        ((2, 1, 8, 2), 4),
        ((1, 1, 3, 5), 2),
    ):
        with raises(
            ValueError, hint=f"{shape[2]}×{shape[3]} pixels are no whole number of patches of {size}×{size}, as many as they are"
        ):
            impl.patchify(torch.zeros(shape), size)


@pytest.mark.stub("patchify")
@pytest.mark.parametrize("axis", ["H", "W"])
def test_images_that_cannot_be_cut_are_refused(impl, draw, axis):
    size = draw.size(2, 4)
    whole, broken = size * draw.size(1, 3), size * draw.size(1, 3) + draw.integer(1, size - 1)
    H, W = (broken, whole) if axis == "H" else (whole, broken)
    with raises(ValueError, hint="height and width must both be multiples of the size: cut nothing off in silence"):
        impl.patchify(draw.normal(2, 1, H, W), size)


# --- positions_2d ------------------------------------------------------------------------------------------------------


def position(row, column, width):
    half = width // 2
    angles = [(t, i) for t in (row, column) for i in range(half)]
    return [(math.cos if i % 2 else math.sin)(t / 10000 ** ((i - i % 2) / half)) for t, i in angles]


def positions_of(rows, columns, width):
    return torch.tensor([position(r, c, width) for r in range(rows) for c in range(columns)], dtype=torch.float64)


@pytest.mark.stub("positions_2d")
def test_row_in_the_first_half_column_in_the_second(impl, draw):
    (rows, columns), width = draw.sizes(2, 2, 8), 4 * draw.size(1, 5)
    expected = positions_of(rows, columns, width).float()
    hint = "width / 2 channels for the row, then as many for the column; patches come row by row, as in patchify"
    assert_close(impl.positions_2d(rows, columns, width), expected, hint=hint)


@pytest.mark.stub("positions_2d")
def test_a_single_row_and_a_single_column(impl, draw):
    many, width = draw.size(2), 4 * draw.size(1, 5)
    for rows, columns in ((1, many), (many, 1)):
        expected = positions_of(rows, columns, width).float()
        assert_close(impl.positions_2d(rows, columns, width), expected, hint="one row or one column of patches is a picture too")


@pytest.mark.stub("positions_2d")
def test_no_two_patches_are_at_the_same_place(impl, draw):
    rows, columns = draw.sizes(2, 2, 8)
    result = impl.positions_2d(rows, columns, 4 * draw.size(2, 5))
    assert_true(torch.pdist(result.double()).min() > 1e-3, "two patches have the same position", hint="row *and* column count")


@pytest.mark.stub("positions_2d")
@pytest.mark.parametrize("rest", [1, 2, 3])
def test_width_must_hold_four_kinds_of_channels(impl, draw, rest):
    with raises(ValueError, hint="sine and cosine, of row and column: refuse a width that is no multiple of 4"):
        impl.positions_2d(draw.size(), draw.size(), 4 * draw.size(1, 5) + rest)


# --- CrossAttention.forward --------------------------------------------------------------------------------------------


def own_cross(state, heads):
    """`nn.MultiheadAttention` with the weights of a cross-attention."""
    C = len(state["q.bias"])
    own = nn.MultiheadAttention(C, heads, batch_first=True, dtype=torch.float64)
    own.load_state_dict({
        "in_proj_weight": torch.cat([state["q.weight"], state["kv.weight"]]), "out_proj.weight": state["out.weight"],
        "in_proj_bias": torch.cat([state["q.bias"], state["kv.bias"]]), "out_proj.bias": state["out.bias"],
    })  # fmt: skip
    return own.requires_grad_(False)


def attended(own, x, memory):
    return own(x, memory, memory, average_attn_weights=False)


def random_cross(impl, draw):
    heads = draw.integer(1, 3)
    C = heads * draw.size(1, 5)
    module = impl.CrossAttention(C, heads)
    module.double()
    state = draw.like({name: value.double() for name, value in module.state_dict().items()}, scale=0.7)
    module.load_state_dict(state)
    B, (T, S) = draw.batch(1, 4), draw.sizes(2, 1, 7)
    return module, own_cross(state, heads), draw.normal(B, T, C), draw.normal(B, S, C)


@pytest.mark.stub("CrossAttention.forward")
def test_equals_multihead_attention_of_torch(impl, draw):
    module, own, x, memory = random_cross(impl, draw)
    read, weights = module(x, memory)
    expected_read, expected_weights = attended(own, x, memory)
    assert_close(
        weights, expected_weights, what="the weights", hint="softmax over the memory of q·k / √D, for each head by itself"
    )
    hint = "queries from x; keys (first half of `kv`) and values (second half) from the memory; heads merged, then `out`"
    assert_close(read, expected_read, what="what was read", hint=hint)


@pytest.mark.stub("CrossAttention.forward")
def test_gradient_reaches_text_and_picture(impl, draw):
    module, own, x, memory = random_cross(impl, draw)
    cotangents = [draw.normal(*value.shape) for value in attended(own, x, memory)]
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_(), memory.clone().requires_grad_()]
        total = sum((value * g).sum() for value, g in zip(attended(own, *leaves), cotangents, strict=True))
        expected = torch.autograd.grad(total, leaves)
    result = module.vjp(x, memory, wrt=(0, 1), cotangent=tuple(cotangents))
    hint = "the encoder learns through keys and values, the decoder through queries: detach nothing"
    for of, actual, truth in zip(("text", "picture"), result, expected, strict=True):
        assert_close(actual, truth, what=f"the gradient of the {of}", hint=hint)


def gradients(own, total, names):
    """Of the peer's parameters, under our names: `names` says which part of the packed ones is whose."""
    theirs = dict(own.named_parameters())
    found = dict(zip(theirs, torch.autograd.grad(total, list(theirs.values())), strict=True))
    return {ours: found[name][part] for ours, (name, part) in names.items()}


@pytest.mark.stub("CrossAttention.forward")
def test_gradient_reaches_every_weight_of_the_attention(impl, draw):
    module, own, x, memory = random_cross(impl, draw)
    own.requires_grad_(True)
    C, cotangents = x.shape[2], [draw.normal(*value.shape) for value in attended(own, x, memory)]
    with torch.enable_grad():
        total = sum((value * g).sum() for value, g in zip(attended(own, x, memory), cotangents, strict=True))
        parts = {"q": ("in_proj_", slice(C)), "kv": ("in_proj_", slice(C, None)), "out": ("out_proj.", slice(None))}
        names = {f"{ours}.{kind}": (theirs + kind, part) for ours, (theirs, part) in parts.items() for kind in ("weight", "bias")}
        expected = gradients(own, total, names)
    actual = module.vjp(x, memory, wrt="parameters", cotangent=tuple(cotangents))
    for name, value in expected.items():
        assert_close(
            actual[name], value, tolerance=1e-7, what=f"the gradient of {name}", hint="use the layers: no weight is detached"
        )


@pytest.mark.stub("CrossAttention.forward")
def test_attention_survives_any_scale(impl, draw):
    module, own, x, memory = random_cross(impl, draw)
    expected_read, expected_weights = attended(own, 1e3 * x, 1e3 * memory)
    read, weights = module(1e3 * x, 1e3 * memory)
    hint = "exp of a score of 10⁶ is infinite: attention_weights, or torch's softmax, subtracts the maximum"
    assert_close(weights, expected_weights, tolerance=1e-6, what="the weights", hint=hint, hint_for="values NaN")
    assert_close(read, expected_read, tolerance=1e-6, what="what was read", hint=hint, hint_for="values NaN")


# --- DecoderBlock.forward ----------------------------------------------------------------------------------------------


def own_block(state, heads):
    """`nn.TransformerDecoderLayer` with the weights of a block."""
    C = len(state["norm1.bias"])
    layer = nn.TransformerDecoderLayer(C, heads, 4 * C, 0.0, "gelu", batch_first=True, norm_first=True, dtype=torch.float64)
    names = {
        "self_attn.in_proj_": "attention.qkv.", "self_attn.out_proj.": "attention.out.", "multihead_attn.out_proj.": "cross.out.",
        "linear1.": "mlp.0.", "linear2.": "mlp.2.", "norm1.": "norm1.", "norm2.": "norm2.", "norm3.": "norm3.",
    }  # fmt: skip
    weights = {theirs + kind: state[ours + kind] for theirs, ours in names.items() for kind in ("weight", "bias")}
    for kind in ("weight", "bias"):
        weights[f"multihead_attn.in_proj_{kind}"] = torch.cat([state[f"cross.q.{kind}"], state[f"cross.kv.{kind}"]])
    layer.load_state_dict(weights)
    return layer.eval().requires_grad_(False)


def block_output(layer, x, memory):
    """What the layer makes of it, and the weights of its cross-attention."""
    causal = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
    h = layer.norm1(x)
    read = layer.norm2(x + layer.self_attn(h, h, h, attn_mask=causal, need_weights=False)[0])
    return layer(x, memory, tgt_mask=causal), attended(layer.multihead_attn, read, memory)[1]


def random_block(impl, draw):
    heads = draw.integer(1, 2)
    C = heads * draw.choice([3, 4, 5])
    block = impl.DecoderBlock(C, heads)
    block.double()
    state = draw.like({name: value.double() for name, value in block.state_dict().items()}, scale=0.6)
    block.load_state_dict(state)
    B, (T, S) = draw.batch(1, 4), draw.sizes(2, 2, 6)
    return block, own_block(state, heads), draw.normal(B, T, C), draw.normal(B, S, C)


@pytest.mark.stub("DecoderBlock.forward")
def test_equals_the_decoder_layer_of_torch(impl, draw):
    block, own, x, memory = random_block(impl, draw)
    out, weights = block(x, memory)
    expected_out, expected_weights = block_output(own, x, memory)
    hint = "norm1 and causal self-attention, norm2 and cross-attention, norm3 and network; each adds to the stream"
    assert_close(out, expected_out, hint=hint)
    assert_close(weights, expected_weights, what="the weights", hint="those of the cross-attention, as it returns them")


@pytest.mark.stub("DecoderBlock.forward")
def test_gradient_of_a_block(impl, draw):
    block, own, x, memory = random_block(impl, draw)
    cotangents = [draw.normal(*value.shape) for value in block_output(own, x, memory)]
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_(), memory.clone().requires_grad_()]
        total = sum((value * g).sum() for value, g in zip(block_output(own, *leaves), cotangents, strict=True))
        expected = torch.autograd.grad(total, leaves)
    result = block.vjp(x, memory, wrt=(0, 1), cotangent=tuple(cotangents))
    for of, actual, truth in zip(("text", "memory"), result, expected, strict=True):
        hint = "every path adds to the stream: is one of them cut?"
        assert_close(actual, truth, what=f"the gradient of the {of}", hint=hint)


@pytest.mark.stub("DecoderBlock.forward")
def test_gradient_reaches_every_weight_of_the_block(impl, draw):
    block, own, x, memory = random_block(impl, draw)
    own.requires_grad_(True)
    C, cotangents = x.shape[2], [draw.normal(*value.shape) for value in block_output(own, x, memory)]
    parts = {
        "attention.qkv": ("self_attn.in_proj_", slice(None)), "attention.out": ("self_attn.out_proj.", slice(None)),
        "cross.q": ("multihead_attn.in_proj_", slice(C)), "cross.kv": ("multihead_attn.in_proj_", slice(C, None)),
        "cross.out": ("multihead_attn.out_proj.", slice(None)), "mlp.0": ("linear1.", slice(None)), "mlp.2": ("linear2.", slice(None)),
        **{name: (f"{name}.", slice(None)) for name in ("norm1", "norm2", "norm3")},
    }  # fmt: skip
    with torch.enable_grad():
        total = sum((value * g).sum() for value, g in zip(block_output(own, x, memory), cotangents, strict=True))
        names = {f"{ours}.{kind}": (theirs + kind, part) for ours, (theirs, part) in parts.items() for kind in ("weight", "bias")}
        expected = gradients(own, total, names)
    actual = block.vjp(x, memory, wrt="parameters", cotangent=tuple(cotangents))
    for name, value in expected.items():
        assert_close(
            actual[name], value, tolerance=1e-7, what=f"the gradient of {name}", hint="use the layers: no weight is detached"
        )


# --- teacher_forcing ---------------------------------------------------------------------------------------------------


def random_captions(draw, lengths):
    """Captions (lists of words), their tokens (B, L) as the data set encodes them, and a start token for each."""
    captions = [draw.integers(50, (length,), low=3).tolist() for length in lengths]
    rows = [[BOS, *words, EOS] + [PAD] * (max(lengths) - len(words)) for words in captions]
    return captions, torch.tensor(rows), draw.integers(99, (len(rows),), low=50)


@pytest.mark.stub("teacher_forcing")
@pytest.mark.parametrize("lengths", ["any", "one word beside many"])
def test_targets_are_one_ahead_of_the_inputs(impl, draw, lengths):
    longest = draw.size()
    several = [draw.integer(0, longest) for _ in range(draw.size())] if lengths == "any" else [1, draw.size(3)]
    captions, tokens, starts = random_captions(draw, several)
    inputs, targets = impl.teacher_forcing(tokens, starts)
    L = tokens.shape[1]
    for i, (words, start) in enumerate(zip(captions, starts.tolist(), strict=True)):
        fed = torch.tensor([start, *words, EOS, *[PAD] * L][: L - 1])
        wanted = torch.tensor([*words, EOS, *[IGNORED] * L][: L - 1])
        hint = "the start token in place of <bos>, then the words; the last token of a row is never fed"
        assert_equal(inputs[i], fed, what="a row of inputs", hint=hint)
        hint = "the first target is the first word, the last is <eos>, and padding must not be learned: -100"
        assert_equal(targets[i], wanted, what="a row of targets", hint=hint)


@pytest.mark.stub("teacher_forcing")
def test_captions_without_words_and_without_padding(impl):
    for tokens, fed, wanted in (
        ([[BOS, EOS]], [[60]], [[EOS]]),
        ([[BOS, EOS, PAD, PAD]], [[60, EOS, PAD]], [[EOS, IGNORED, IGNORED]]),
        ([[BOS, 9, 9, EOS]], [[60, 9, 9]], [[9, 9, EOS]]),
        ([[BOS, 7, EOS]] * 2, [[60, 7]] * 2, [[7, EOS]] * 2),
    ):
        inputs, targets = impl.teacher_forcing(torch.tensor(tokens), torch.full((len(tokens),), 60))
        hint = "a caption may say nothing, and the longest has no padding: go by the tokens, not by a count"
        assert_equal(inputs, torch.tensor(fed), what="the inputs", hint=hint)
        assert_equal(targets, torch.tensor(wanted), what="the targets", hint=hint)


# --- length_penalty ----------------------------------------------------------------------------------------------------


@pytest.mark.stub("length_penalty")
def test_equals_equation_14(impl, draw):
    length, alpha = draw.integer(2, 40), draw.number(0.1, 2)
    expected = math.exp(alpha * (math.log(5 + length) - math.log(6)))
    assert_close(impl.length_penalty(length, alpha), expected, hint="(5 + |Y|)^α / (5 + 1)^α")


@pytest.mark.stub("length_penalty")
def test_there_is_a_length_and_an_alpha_without_a_penalty(impl, draw):
    assert_close(impl.length_penalty(1, draw.number(0.1, 2)), 1.0, hint="a sentence of one token counts as it is")
    assert_close(impl.length_penalty(draw.integer(1, 40), 0.0), 1.0, hint="alpha = 0 is the plain log-probability")
    for length, alpha, expected in ((1, 0.0, 1.0), (7, 1, 2.0), (19, 0.5, 2.0), (1000, 2.0, 167.5**2), (7, -1.0, 0.5)):
        assert_close(impl.length_penalty(length, alpha), expected, hint="((5 + |Y|) / 6)^α, for any α and any length")


# --- beam_search -------------------------------------------------------------------------------------------------------


def penalty(length, alpha):
    return ((5 + length) / 6) ** alpha


def clear(values):
    """Whether no two of the finite values are so close that rounding could swap them."""
    ranked = sorted(value for value in values if value > -math.inf)
    return all(b - a > MARGIN for a, b in itertools.pairwise(ranked))


def every_sentence(log_p, start, length, alpha):
    """All sentences of at most `length` tokens that end with <eos>: (value, tokens), best first."""
    V, found = log_p.shape[2], []
    others = [v for v in range(V) if v != EOS]
    for n in range(length):
        for words in itertools.product(others, repeat=n):
            path = [start, *words, EOS]
            total = sum(log_p[t, sum(path[: t + 1]) % log_p.shape[1], path[t + 1]].item() for t in range(n + 1))
            found.append((total / penalty(n + 1, alpha), [*words, EOS]))
    return sorted(found, reverse=True)


def searched(log_p, start, width, alpha, length):
    """Beam search with lists. Returns (value, tokens), best first, or None if a choice on the way was too close."""
    live, done = [(0.0, [])], []
    for t in range(length):
        options = [
            (total + log_p[t, (start + sum(words)) % log_p.shape[1], v].item(), [*words, v])
            for total, words in live for v in range(log_p.shape[2])
        ]  # fmt: skip
        done += [(total / penalty(t + 1, alpha), words) for total, words in options if words[-1] == EOS]
        going = sorted((option for option in options if option[1][-1] != EOS), reverse=True)
        if not clear([total for total, _ in going]):
            return None
        live = going[:width]
    done = sorted((sentence for sentence in done if sentence[0] > -math.inf), reverse=True)
    return done[:width] if clear([value for value, _ in done]) else None


def random_table(draw, length, V):
    """Logits (T, S, V) in float64 for a `Toy`, whose S states are sums of the tokens so far."""
    return draw.normal(length, draw.integer(V, V + 4), V, scale=1.5)


def compare(result, expected, length, width):
    """`expected`: for each item its sentences (value, tokens), best first."""
    sentences, values = result
    rows, best = torch.full((len(expected), width, length), PAD), torch.full((len(expected), width), -torch.inf)
    for b, found in enumerate(expected):
        for w, (value, words) in enumerate(found[:width]):
            rows[b, w, : len(words)] = torch.tensor(words)
            best[b, w] = value
    hint = "log p(Y) / lp(Y), with <eos> counted in p and in the length; best first; -inf where there is none"
    assert_close(values, best, tolerance=1e-4, what="the values", hint=hint)
    hint = "<eos> ends a sentence and <pad> fills it up; follow a beginning's own words when its rank in the beam changes"
    there = best > -torch.inf
    assert_equal(sentences[there], rows[there], what="the sentences", hint=hint)


@pytest.mark.stub("beam_search")
@pytest.mark.parametrize("alpha", [0.0, "some"])
def test_a_wide_beam_finds_the_best_of_all_sentences(impl, draw, alpha):
    alpha = draw.number(0.4, 1.5) if alpha == "some" else alpha
    while True:
        V, length = draw.choice([(4, 3), (5, 2), (3, 4), (4, 2)])
        table, starts = random_table(draw, length, V), draw.permutation(V)[: draw.size(1, 3)]
        log_p = table.log_softmax(-1)
        expected = [every_sentence(log_p, start, length, alpha) for start in starts.tolist()]
        if all(clear([value for value, _ in found]) for found in expected):
            break
    width = len(expected[0])
    result = impl.beam_search(impl.Toy(table), starts, width=width, alpha=alpha, length=length)
    compare(result, expected, length, width)


@pytest.mark.stub("beam_search")
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_narrow_beam_keeps_the_likeliest_beginnings(impl, draw, width, alpha):
    while True:
        V, length = draw.integer(4, 7), draw.integer(3, 6)
        table, starts = random_table(draw, length, V), draw.integers(V, (draw.size(2, 4),))
        table[:, :, EOS] += draw.number(-1, 1)
        expected = [searched(table.log_softmax(-1), start, width, alpha, length) for start in starts.tolist()]
        if None not in expected:
            break
    result = impl.beam_search(impl.Toy(table), starts, width=width, alpha=alpha, length=length)
    compare(result, expected, length, width)


@pytest.mark.stub("beam_search")
def test_a_short_sentence_is_not_lost_to_long_beginnings(impl, draw):
    length, V, width = draw.integer(4, 6), draw.integer(5, 7), draw.integer(1, 2)
    likely, other = 3, 4
    p = torch.full((length, V, V), 1e-6, dtype=torch.float64)
    p[0, :, likely], p[0, :, EOS] = 0.55, 0.4  # to end at once is the best of all
    p[1:, :, likely], p[1:, :, other], p[1:, :, EOS] = 0.5, 0.3, 0.15
    p, starts = p / p.sum(2, keepdim=True), torch.tensor([BOS])
    sentences, values = impl.beam_search(impl.Toy(p.log()), starts, width=width, alpha=0.0, length=length)
    hint = "a finished sentence competes with finished ones only; it needs no place among the beginnings that go on"
    assert_equal(sentences[:, :1], F.pad(torch.tensor([[[EOS]]]), (0, length - 1)), what="the best sentence", hint=hint)
    assert_close(values[:, :1], p[0, :1, EOS, None].log().float(), what="its value", hint="its log-probability")


@pytest.mark.stub("beam_search")
def test_fewer_sentences_than_the_beam_is_wide(impl):
    p = torch.full((3, 8, 4), 0.25, dtype=torch.float64)
    p[:, :, 0], p[:, :, 1], p[0, :, 3], p[1, :, 3], p[2, :, 3] = 0, 0, 0.625, 0.5, 0.0
    p[:, :, EOS] = 1 - p[:, :, 3]  # token 3 or the end, and nothing else; at the third step only the end
    for length, width, alpha in ((1, 1, 0.0), (1, 3, 1.0), (2, 5, 0.5), (3, 4, 0.0), (3, 1, 2.0), (3, 7, 2.0)):
        found = [(0.375, [EOS]), (0.625 * 0.5, [3, EOS]), (0.625 * 0.5, [3, 3, EOS])][:length]
        ranked = sorted(((math.log(q) / penalty(len(words), alpha), words) for q, words in found), reverse=True)
        sentences, values = impl.beam_search(impl.Toy(p.log()), torch.tensor([3, BOS]), width=width, alpha=alpha, length=length)
        hint = "a beam may be wider than there are tokens or sentences: what there is comes first, and the rest is worth -inf"
        expected = torch.tensor(([value for value, _ in ranked] + [-math.inf] * width)[:width])
        assert_close(values, expected.expand(2, width), tolerance=1e-4, what="the values", hint=hint, hint_for="values NaN")
        if alpha > 0:
            rows = torch.tensor([[*words, *[PAD] * (length - len(words))] for _, words in ranked[:width]])
            actual = sentences[:, : len(rows)]
            assert_equal(
                actual, rows.expand(2, -1, -1), what="the sentences", hint="the better a value, the further to the front"
            )


@pytest.mark.stub("beam_search")
def test_the_best_sentence_may_begin_badly_and_end_late(impl):
    p = torch.full((4, 12, 5), 1e-9, dtype=torch.float64)
    p[0, :, [EOS, 3, 4]] = torch.tensor([0.05, 0.55, 0.4], dtype=torch.float64)
    p[1:, :, [EOS, 3, 4]] = torch.tensor([0.34, 0.33, 0.33], dtype=torch.float64)  # of what begins with 3, nothing is likely
    for t, said in ((1, 5), (2, 9), (3, 13)):  # the sums of a start of 1, and of 4 again and again
        p[t, said % 12] = torch.tensor(
            [1e-9, 1e-9, 0.98 if t == 3 else 0.01, 0.01, 0.01 if t == 3 else 0.98], dtype=torch.float64
        )
    table, starts = (p / p.sum(2, keepdim=True)).log(), torch.tensor([BOS])
    best = every_sentence(table, BOS, 4, 0.0)[0]
    sentences, values = impl.beam_search(impl.Toy(table), starts, width=2, alpha=0.0, length=4)
    hint = "go on to the last step, with all that is kept: the best beginning and the first sentences need not be the best in the end"
    assert_equal(sentences[0, 0].tolist(), best[1], what="the best sentence", hint=hint)
    assert_close(values[0, :1], torch.tensor([best[0]]), tolerance=1e-4, what="its value", hint=hint)


# --- character_error_rate ----------------------------------------------------------------------------------------------


def distance(a, b):
    """By the definition: remove, add or replace one character, whichever costs least."""

    @functools.cache
    def between(i, j):
        if i == 0 or j == 0:
            return i + j
        return min(between(i - 1, j) + 1, between(i, j - 1) + 1, between(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    return between(len(a), len(b))


def random_text(draw, low=0):
    return "".join(draw.choice("ab 左边") for _ in range(draw.integer(low, 7)))


@pytest.mark.stub("character_error_rate")
def test_edits_over_characters_of_the_references(impl, draw):
    count = draw.size(2, 6)
    texts, references = [random_text(draw) for _ in range(count)], [random_text(draw, low=1) for _ in range(count)]
    edits = sum(distance(text, reference) for text, reference in zip(texts, references, strict=True))
    expected = edits / sum(len(reference) for reference in references)
    hint = "the sum of all edits over the sum of all characters of the references, spaces included"
    assert_close(impl.character_error_rate(texts, references), expected, what="the rate", hint=hint)


@pytest.mark.stub("character_error_rate")
@pytest.mark.parametrize(
    ("text", "reference", "edits"),
    [("kitten", "sitting", 3), ("", "left", 4), ("three left", "three left", 0), ("左边有个三", "左边有个八", 1), ("abc", "a", 2),
     ("ba", "ab", 2), ("xa", "abcd", 4), ("theleft", "the left", 1), ("Left", "left", 1), (" left ", "left", 2), ("a  b", "a b", 1),
     ("a b", "a\tb", 1), ("aa", "a", 1), ("a", "aa", 1), (" ", "a", 1), ("a", " ", 1), ("1ﬁ", "1fi", 2), ("É", "e", 1), ("x" * 9, "y", 9)],
)  # fmt: skip
def test_known_distances(impl, text, reference, edits):
    hint = "insertions, deletions and replacements each cost 1; a swap is two edits; a text may be longer than its reference"
    assert_close(impl.character_error_rate([text], [reference]), edits / len(reference), what="the rate", hint=hint)


@pytest.mark.stub("character_error_rate")
def test_long_texts(impl):
    many = 4000
    hint = "row by row, in a loop: a call within a call for every character is too deep for Python"
    assert_close(
        impl.character_error_rate(["ab" * (many // 2)], ["b"]), float(many - 1), what="the rate of a long text", hint=hint
    )
    assert_close(
        impl.character_error_rate(["a"], ["ab" * (many // 2)]), 1 - 1 / many, what="the rate of a long reference", hint=hint
    )


@pytest.mark.stub("character_error_rate")
def test_long_references_weigh_more(impl):
    result = impl.character_error_rate(["b", "aaaaaaaaa"], ["a", "aaaaaaaaa"])
    assert_close(result, 0.1, what="the rate", hint="one edit in ten characters is 0.1; the mean of the rates would be 0.5")


@pytest.mark.stub("character_error_rate")
@pytest.mark.parametrize(
    ("texts", "references"),
    [
        (["a", "b"], ["a"]),
        (["a"], ["a", "b"]),
        (["a"], [""]),
        (["a", "b"], ["", ""]),
        ([], []),
        ([""], [""]),
        ([], ["a"]),
        (["a"], []),
    ],
)
def test_nothing_to_divide_by_is_refused(impl, texts, references):
    with raises(ValueError, hint="one reference for each text, and at least one character in them"):
        impl.character_error_rate(texts, references)


@pytest.mark.stub("character_error_rate")
def test_one_reference_may_be_empty(impl):
    hint = "an empty reference is allowed beside others: each character written is an edit"
    assert_close(impl.character_error_rate(["ab", "abcd"], ["", "abcd"]), 0.5, what="the rate", hint=hint)


def patchify_by_unfold(images, size):
    """`F.unfold` flattens channel by channel, each row by row, and runs over the image row by row."""
    if images.shape[2] % size or images.shape[3] % size:
        raise ValueError("not a multiple")
    return F.unfold(images, size, stride=size).transpose(1, 2)


def patchify_by_reshape(images, size):
    B, C, H, W = images.shape
    if H % size != 0 or W % size != 0:
        raise ValueError("not a multiple")
    blocks = images.reshape(B, C, H // size, size, W // size, size)
    return torch.einsum("bcrysx->brscyx", blocks).reshape(B, -1, C * size * size)


def patchify_by_slices(images, size):
    if any(side % size for side in images.shape[2:]):
        raise ValueError("not a multiple")
    rows = [row for band in images.split(size, dim=2) for row in band.split(size, dim=3)]
    return torch.stack([patch.flatten(1) for patch in rows], dim=1)


def looped_positions(rows, columns, width):
    if width % 4 != 0:
        raise ValueError("not a multiple")
    return positions_of(rows, columns, width).float()


def meshed_positions(rows, columns, width):
    if width & 3:
        raise ValueError("not a multiple")
    half = width // 2
    theta = 10000.0 ** (-torch.arange(0, half, 2, dtype=torch.float64) / half)
    grid = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    parts = []
    for t in grid:
        angles = t.flatten()[:, None] * theta
        parts.append(torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1))
    return torch.cat(parts, dim=1).float()


def cross_by(queries=lambda x, memory: x, keys=lambda x, memory: memory, scale=lambda D: D**0.5):
    def forward(self, x, memory):
        (B, T, C), S = x.shape, memory.shape[1]
        D = C // self.heads
        q = self.q(queries(x, memory)).view(B, T, self.heads, D)
        pair = self.kv(keys(x, memory))
        k, v = pair[..., :C].reshape(B, S, self.heads, D), pair[..., C:].reshape(B, S, self.heads, D)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / scale(D)
        weights = scores.softmax(-1)
        return self.out(torch.einsum("bhts,bshd->bthd", weights, v).reshape(B, T, C)), weights

    return forward


def cross_by_heads(self, x, memory):
    C = x.shape[2]
    D = C // self.heads
    (wk, wv), (bk, bv) = self.kv.weight.chunk(2), self.kv.bias.chunk(2)
    q, k, v = self.q(x), F.linear(memory, wk, bk), F.linear(memory, wv, bv)
    weights, reads = [], []
    for h in range(self.heads):
        part = slice(h * D, (h + 1) * D)
        weights.append(torch.softmax(q[..., part] @ k[..., part].mT * D**-0.5, dim=2))
        reads.append(weights[-1] @ v[..., part])
    return self.out(torch.cat(reads, dim=2)), torch.stack(weights, dim=1)


def merged(x):
    return x.transpose(1, 2).flatten(2)


def cross_by_exponentials(self, x, memory):
    q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q(x), *self.kv(memory).chunk(2, 2)))
    e = (q @ k.mT / q.shape[-1] ** 0.5).exp()
    weights = e / e.sum(-1, keepdim=True)
    return self.out(merged(weights @ v)), weights


def looped_teacher_forcing(tokens, starts):
    inputs, targets = tokens[:, :-1].clone(), tokens[:, 1:].clone()
    inputs[:, 0] = starts
    targets[targets == PAD] = IGNORED
    return inputs, targets


def searched_with_lists(score, starts, *, width, alpha, length):
    """Item by item, with Python's lists."""
    sentences = torch.full((len(starts), width, length), PAD)
    best = torch.full((len(starts), width), -torch.inf)
    for b in range(len(starts)):
        live, done = [(0.0, [starts[b].item()])], []
        for t in range(1, length + 1):
            options = []
            for total, words in live:
                ids = torch.tensor(words).expand(len(starts), 1, -1)  # the score looks at an item's own beginning only
                log_p = score(ids)[b, 0].float().log_softmax(0)
                done.append(((total + log_p[EOS].item()) / penalty(t, alpha), [*words[1:], EOS]))
                options += [(total + log_p[v].item(), [*words, v]) for v in range(len(log_p)) if v != EOS]
            live = sorted(options, reverse=True)[:width]
        for w, (value, words) in enumerate(sorted(done, reverse=True)[:width]):
            best[b, w] = value
            if value > -math.inf:
                sentences[b, w, : len(words)] = torch.tensor(words)
    return sentences, best


def greedy(score, starts, *, width, alpha, length):
    sentences = torch.full((len(starts), width, length), PAD)
    best = torch.full((len(starts), width), -torch.inf)
    best[:, 0] = 0
    beams, ended, lengths = starts[:, None, None], torch.zeros(len(starts), dtype=torch.bool), torch.zeros(len(starts))
    for t in range(length):
        log_p, token = score(beams)[:, 0].float().log_softmax(1).max(1)
        token = torch.full_like(token, EOS) if t == length - 1 else token
        best[:, 0] += torch.where(ended, 0.0, log_p)
        sentences[:, 0, t] = torch.where(ended, PAD, token)
        lengths += ~ended
        ended |= token == EOS
        beams = torch.cat([beams, token[:, None, None]], dim=2)
    best[:, 0] /= ((5 + lengths) / 6) ** alpha
    return sentences, best


def stopped_search(score, starts, width, alpha, length):
    """Goes no further than to the step at which `width` sentences are there."""
    for steps in range(1, length + 1):
        sentences, best = searched_with_lists(score, starts, width=width, alpha=alpha, length=steps)
        if bool((best > -10).all()):
            break
    return F.pad(sentences, (0, length - sentences.shape[2])), best


def rate_by(combine=None, edit=None):
    def character_error_rate(texts, references):
        if len(texts) != len(references) or not sum(map(len, references)):
            raise ValueError("nothing to divide by")
        edits = [(edit or distance_by_matrix)(text, reference) for text, reference in zip(texts, references, strict=True)]
        lengths = [len(reference) for reference in references]
        return combine(edits, lengths, texts) if combine else sum(edits) / sum(lengths)

    return character_error_rate


def distance_by_matrix(a, b):
    table = [[i + j if i * j == 0 else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            same = table[i - 1][j - 1]
            table[i][j] = same if a[i - 1] == b[j - 1] else 1 + min(same, table[i - 1][j], table[i][j - 1])
    return table[-1][-1]


def distance_by_rows(a, b):
    """Along the shorter text; what is inserted is a running minimum."""
    if len(a) < len(b):
        a, b = b, a
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        best = [i] + [min(row[j] + 1, row[j - 1] + (x != y)) for j, y in enumerate(b, start=1)]
        row = list(itertools.accumulate(best, lambda left, here: min(left + 1, here)))
    return row[-1]


def distance_with_swaps(a, b):
    """Damerau's: neighbours that change places cost one."""
    table = {(i, j): i + j for i in range(len(a) + 1) for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            costs = [table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1])]
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                costs.append(table[i - 2, j - 2] + 1)
            table[i, j] = min(costs)
    return table[len(a), len(b)]


def hamming(a, b):
    return sum(x != y for x, y in itertools.zip_longest(a, b))


def refuse():
    raise ValueError("not a multiple")


FAKES = {
    "patchify": {
        "columns before rows": lambda images, size: patchify_by_reshape(images.transpose(2, 3), size),
        "reshaped, not cut": lambda images, size: images.reshape(len(images), -1, images.shape[1] * size * size),
        "pixels before channels": lambda images, size: (
            patchify_by_unfold(images, size).unflatten(2, (images.shape[1], -1)).transpose(2, 3).flatten(2)
        ),
        "patches that overlap": lambda images, size: F.unfold(images, size).transpose(1, 2),
        "what is left over cut off": lambda images, size: F.unfold(images, size, stride=size).transpose(1, 2),
        "channels of patches": lambda images, size: patchify_by_unfold(images, size).transpose(1, 2),
        "as many numbers are enough": lambda images, size: (
            patchify_by_unfold(images, size)
            if images.shape[2] % size == 0 and images.shape[3] % size == 0
            else images.reshape(len(images), -1, images.shape[1] * size * size) if (images[0, 0].numel() % size**2) == 0 else refuse()
        ),
        "no image of a single patch": Edit("if H % size or W % size:", "if H % size or W % size or H == W == size:"),
        "only the height looked at": Edit("H % size or W % size", "H % size"),
        "only the width looked at": Edit("H % size or W % size", "W % size"),
        "means of patches": lambda images, size: (
            patchify_by_unfold(images, size) * 0 + patchify_by_unfold(images, size).mean(2, keepdim=True)
        ),
        "the gradient cut": lambda images, size: patchify_by_unfold(images.detach(), size),
    },
    "positions_2d": {
        "one long row": lambda rows, columns, width: meshed_positions(1, rows * columns, width),
        "column first": lambda rows, columns, width: meshed_positions(rows, columns, width).roll(width // 2, dims=1),
        "patches column by column": Edit(
            "down.repeat_interleave(columns, dim=0), across.repeat(rows, 1)",
            "down.repeat(columns, 1), across.repeat_interleave(rows, dim=0)",
        ),
        "row and column added up": lambda rows, columns, width: (
            meshed_positions(rows, columns, 2 * width)[:, :width] + meshed_positions(rows, columns, 2 * width)[:, width:]
        ),
        "rows only": Edit("across.repeat(rows, 1)", "0 * across.repeat(rows, 1)"),
        "a square taken for granted": Edit("sinusoidal_positions(columns,", "sinusoidal_positions(rows,"),
        "any width": Edit("if width % 4:", "if False:"),
        "learned, so at random": lambda rows, columns, width: torch.randn(rows * columns, width) * (1 if width % 4 == 0 else 1 / 0),
        "scaled to the width of the picture": lambda rows, columns, width: meshed_positions(rows, columns, width) / columns,
    },
    "CrossAttention.forward": {
        "queries from the memory's mean": cross_by(queries=lambda x, memory: memory.mean(1, keepdim=True).expand_as(x)),
        "not scaled": cross_by(scale=lambda D: 1.0),
        "scaled by the width, not its root": cross_by(scale=lambda D: D),
        "values before keys": Edit("k, v = (", "v, k = ("),
        "softmax over the text": lambda self, x, memory: (
            (lambda scores, v: (self.out((scores.softmax(2) @ v).transpose(1, 2).flatten(2)), scores.softmax(2)))(
                *(lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5, v))(
                    *(part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.q(x), *self.kv(memory).chunk(2, 2)))
                )
            )
        ),
        "one head": lambda self, x, memory: (
            (lambda weights, v: (self.out(weights @ v), weights[:, None].expand(-1, self.heads, -1, -1)))(
                (self.q(x) @ self.kv(memory)[..., : x.shape[2]].mT / x.shape[2] ** 0.5).softmax(-1), self.kv(memory)[..., x.shape[2] :]
            )
        ),
        "no output projection": Edit("self.out(merge_heads(weights @ v))", "merge_heads(weights @ v)"),
        "heads not merged in order": Edit("merge_heads(weights @ v)", "(weights @ v).flatten(1).view_as(x)"),
        "the picture detached": cross_by(keys=lambda x, memory: memory.detach()),
        "the text detached": cross_by(queries=lambda x, memory: x.detach()),
        "a residual of its own": Edit("self.out(merge_heads(weights @ v))", "x + self.out(merge_heads(weights @ v))"),
        "the mean over heads": lambda self, x, memory: (
            (lambda read, weights: (read, weights.mean(1, keepdim=True).expand_as(weights)))(*cross_by()(self, x, memory))
        ),
        "exponentials without the maximum": cross_by_exponentials,
        "the weight of values frozen": lambda self, x, memory: (
            lambda weights, v: (self.out(merged(weights @ v)), weights)
        )(
            cross_by()(self, x, memory)[1],
            F.linear(memory, self.kv.weight.detach(), self.kv.bias)[..., x.shape[2] :].unflatten(2, (self.heads, -1)).transpose(1, 2),
        ),
        "nothing read": lambda self, x, memory: (torch.zeros_like(x), cross_by()(self, x, memory)[1]),
    },
    "DecoderBlock.forward": {
        "post-norm": Edit(
            "x = x + self.attention(self.norm1(x))\n", "x = self.norm1(x + self.attention(x))\n"
        ),
        "the future seen": Edit("self.attention(self.norm1(x))", "self.attention(self.norm1(x).flip(1)).flip(1)"),
        "the picture read first": lambda self, x, memory: (
            (lambda read: (lambda h: (h + self.mlp(self.norm3(h)), read[1]))(
                (lambda y: y + self.attention(self.norm1(y)))(x + read[0])
            ))(self.cross(self.norm2(x), memory))
        ),
        "no residual after the picture": Edit("x = x + read", "x = read"),
        "no network": Edit("x + self.mlp(self.norm3(x))", "x"),
        "no residual of the network": Edit("x + self.mlp(self.norm3(x))", "self.mlp(self.norm3(x))"),
        "norms confused": Edit("self.norm2(x)", "self.norm3(x)"),
        "the query not normalised": Edit("self.norm2(x)", "x"),
        "the memory normalised again": Edit("self.cross(self.norm2(x), memory)", "self.cross(self.norm2(x), self.norm2(memory))"),
        "no self-attention": Edit("x = x + self.attention(self.norm1(x))", "x = x"),
        "all three read the same": lambda self, x, memory: (
            (lambda read: (x + self.attention(self.norm1(x)) + read[0] + self.mlp(self.norm3(x)), read[1]))(
                self.cross(self.norm2(x), memory)
            )
        ),
        "the memory detached": Edit("memory)\n", "memory.detach())\n"),
        "the picture ignored": Edit("x = x + read", "x = x"),
        "a norm's gain frozen": Edit("self.norm3(x)", "F.layer_norm(x, x.shape[-1:], self.norm3.weight.detach(), self.norm3.bias)"),
    },
    "teacher_forcing": {
        "nothing shifted": lambda tokens, starts: (
            torch.cat([starts[:, None], tokens[:, 1:-1]], 1), tokens[:, :-1].masked_fill(tokens[:, :-1] == PAD, IGNORED)
        ),
        "the answer fed": lambda tokens, starts: (tokens[:, 1:], looped_teacher_forcing(tokens, starts)[1]),
        "two ahead": lambda tokens, starts: (
            looped_teacher_forcing(tokens, starts)[0],
            F.pad(tokens[:, 2:], (0, 1)).masked_fill(F.pad(tokens[:, 2:], (0, 1)) == PAD, IGNORED),
        ),
        "padding learned": Edit(".masked_fill(tokens[:, 1:] == motion.PAD, IGNORED)", ""),
        "the end not learned": Edit("== motion.PAD", "<= motion.EOS"),
        "<bos> fed to all": Edit("torch.cat([starts[:, None], tokens[:, 1:-1]], dim=1)", "tokens[:, :-1]"),
        "a start token before <bos>": Edit("tokens[:, 1:-1]", "tokens[:, :-2]"),
        "words demanded": lambda tokens, starts: (
            looped_teacher_forcing(tokens, starts) if tokens.shape[1] > 2 else (tokens[:, 1:], tokens[:, 1:])
        ),
        "padding taken for granted": lambda tokens, starts: (
            looped_teacher_forcing(tokens, starts)[0],
            torch.where(torch.arange(1, tokens.shape[1]) < (tokens == PAD).int().argmax(1, keepdim=True), tokens[:, 1:], IGNORED),
        ),
        "padding fed as ignored": lambda tokens, starts: tuple(
            part.masked_fill(part == PAD, IGNORED) for part in looped_teacher_forcing(tokens, starts)
        ),
    },
    "length_penalty": {
        "none": lambda length, alpha: 1.0,
        "the length": lambda length, alpha: float(length) ** alpha,
        "5 in the numerator only": lambda length, alpha: (5 + length) ** alpha / 5**alpha,
        "not to a power": lambda length, alpha: (5 + length) / 6,
        "numerator alone": lambda length, alpha: (5.0 + length) ** alpha,
        "upside down": lambda length, alpha: (6 / (5 + length)) ** alpha,
        "alpha times": lambda length, alpha: alpha * (5 + length) / 6,
        "at least no reward": lambda length, alpha: max(1.0, ((5 + length) / 6) ** alpha),
        "1 added": lambda length, alpha: ((6 + length) / 7) ** alpha,
    },
    "beam_search": {
        "greedy": greedy,
        "no penalty": Edit(" / length_penalty(t, alpha)", ""),
        "multiplied by the penalty": Edit("/ length_penalty", "* length_penalty"),
        "the end not counted": Edit("length_penalty(t, alpha)", "length_penalty(t - 1, alpha)"),
        "raw logits": Edit(".log_softmax(dim=-1)", ""),
        "probabilities": Edit(".log_softmax(dim=-1)", ".softmax(dim=-1)"),
        "beginnings forgotten": Edit("total[:, :, None] + score", "score"),
        "all beams alike at first": Edit("total[:, 1:] = -torch.inf", "pass"),
        "going on after the end": Edit("log_p[:, :, motion.EOS] = -torch.inf\n", "pass\n"),
        "the words of another beam": Edit("beams.gather(1, origin.expand(-1, -1, t))", "beams"),
        "each beam goes on by itself": Edit(
            "total, index = log_p.flatten(1).topk(width)",
            "total, index = log_p.max(2); index = index + torch.arange(width) * log_p.shape[2]",
        ),
        "only the best beginning may end": Edit("log_p[:, :, motion.EOS] / length", "log_p[:, :1, motion.EOS].expand(-1, width) / length"),
        "the last found, not the best": Edit("torch.cat([best, log_p[", "torch.cat([best - 99, log_p["),
        "one step too few": Edit("range(1, length + 1)", "range(1, length)"),
        "the end left out": Edit("value=motion.EOS", "value=motion.PAD"),
        "the penalty of the longest": Edit("length_penalty(t, alpha)", "length_penalty(length, alpha)"),
        "all items start alike": Edit("starts[:, None, None].expand(-1, width, 1)", "starts[:1, None, None].expand(len(starts), width, 1)"),
        "ranked without the penalty": lambda score, starts, *, width, alpha, length: (
            (lambda found: (found[0], found[1] / penalty(length, alpha)))(
                searched_with_lists(score, starts, width=width, alpha=0.0, length=length)
            )
        ),
        "stops when enough are found": lambda score, starts, *, width, alpha, length: stopped_search(score, starts, width, alpha, length),
        "no wider than the vocabulary": Edit("total, index = log_p.flatten(1).topk(width)", "assert width <= log_p.shape[2]\n        total, index = log_p.flatten(1).topk(width)"),
        "a large number for −∞": Edit("torch.full_like(total, -torch.inf)", "torch.full_like(total, -1e9)"),
        "the worst first": lambda score, starts, *, width, alpha, length: tuple(
            part.flip(1) for part in searched_with_lists(score, starts, width=width + 1, alpha=alpha, length=length)
        ),
    },
    "character_error_rate": {
        "a mean of rates": rate_by(lambda edits, lengths, texts: sum(e / max(n, 1) for e, n in zip(edits, lengths, strict=True)) / len(edits)),
        "over the characters written": rate_by(lambda edits, lengths, texts: sum(edits) / max(1, sum(map(len, texts)))),
        "place by place": rate_by(edit=hamming),
        "swaps cost one": rate_by(edit=distance_with_swaps),
        "spaces dropped": rate_by(edit=lambda a, b: distance_by_matrix(a.replace(" ", ""), b.replace(" ", ""))),
        "words": rate_by(edit=lambda a, b: distance_by_matrix(a.split(), b.split()) if a or b else 0),
        "at most one": rate_by(lambda edits, lengths, texts: min(1.0, sum(edits) / sum(lengths))),
        "replacing costs two": Edit("(written != wanted)", "2 * (written != wanted)"),
        "inserting is free": Edit("row[j - 1] + 1", "row[j - 1]"),
        "deleting is free": Edit("above[j] + 1", "above[j]"),
        "exact or not": rate_by(edit=lambda a, b: 0 if a == b else len(b)),
        "lists of any length": lambda texts, references: (
            rate_by()(texts[: len(references)], references[: len(texts)]) if texts and references else 1 / 0
        ),
        "by the definition, too deep": rate_by(edit=distance),
        "case folded": rate_by(edit=lambda a, b: distance_by_matrix(a.lower(), b.lower())),
        "stripped": rate_by(edit=lambda a, b: distance_by_matrix(a.strip(), b.strip())),
        "runs of spaces joined": rate_by(edit=lambda a, b: distance_by_matrix(re.sub(r"\s+", " ", a), re.sub(r"\s+", " ", b))),
        "letters made alike": rate_by(edit=lambda a, b: distance_by_matrix(*(unicodedata.normalize("NFKD", x) for x in (a, b)))),
        "divided by the texts": rate_by(lambda edits, lengths, texts: sum(edits) / len(texts)),
        "no distance of its beginning": Edit("above, row = row, [i]", "above, row = row, [0]"),
    },
}  # fmt: skip

VARIANTS = {
    "patchify": {
        "F.unfold": patchify_by_unfold,
        "einsum": patchify_by_reshape,
        "slices": patchify_by_slices,
        "F.pixel_unshuffle": Edit(
            "return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)",
            "return F.pixel_unshuffle(images, size).flatten(2).transpose(1, 2)",
        ),
    },
    "positions_2d": {
        "a loop": looped_positions,
        "a grid": meshed_positions,
        "expanded": Edit(
            "torch.cat([down.repeat_interleave(columns, dim=0), across.repeat(rows, 1)], dim=1)",
            "torch.cat([down[:, None].expand(-1, columns, -1), across.expand(rows, -1, -1)], dim=2).flatten(0, 1)",
        ),
    },
    "CrossAttention.forward": {
        "einsum": cross_by(),
        "head by head": cross_by_heads,
        "torch's kernel": Edit(
            "return self.out(merge_heads(weights @ v)), weights",
            "return self.out(merge_heads(F.scaled_dot_product_attention(q, k, v))), (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)",
        ),
    },
    "DecoderBlock.forward": {
        "names for each step": lambda self, x, memory: (
            (lambda h: (lambda read: (h + read[0] + self.mlp(self.norm3(h + read[0])), read[1]))(self.cross(self.norm2(h), memory)))(
                x + self.attention(self.norm1(x))
            )
        ),
        "torch.add": Edit("x = x + read", "x = torch.add(x, read)"),
        "one position at a time": lambda self, x, memory: (
            (lambda parts: (torch.cat([out for out, _ in parts], 1), torch.cat([weights for _, weights in parts], 2)))([
                (lambda h: (lambda read: (h + read[0] + self.mlp(self.norm3(h + read[0])), read[1]))(self.cross(self.norm2(h), memory)))(
                    x[:, t : t + 1] + self.attention(self.norm1(x[:, : t + 1]))[:, -1:]
                )
                for t in range(x.shape[1])
            ])
        ),
    },
    "teacher_forcing": {
        "copies written to": looped_teacher_forcing,
        "where": lambda tokens, starts: (
            torch.where(torch.arange(tokens.shape[1] - 1, device=tokens.device) == 0, starts[:, None], tokens[:, :-1]),
            torch.where(tokens[:, 1:] == PAD, IGNORED, tokens[:, 1:]),
        ),
        "row by row": lambda tokens, starts: tuple(
            torch.stack(list(part))
            for part in zip(*[
                (torch.cat([s[None], row[1:-1]]), torch.where(row[1:] != PAD, row[1:], torch.tensor(IGNORED)))
                for row, s in zip(tokens, starts, strict=True)
            ], strict=True)
        ),
    },
    "length_penalty": {
        "a quotient of powers": lambda length, alpha: (5 + length) ** alpha / (5 + 1) ** alpha,
        "an exponential": lambda length, alpha: math.exp(alpha * math.log((5 + length) / 6)),
        "math.pow": lambda length, alpha: math.pow(5 + length, alpha) * math.pow(6, -alpha),
    },
    "beam_search": {
        "lists": searched_with_lists,
        "sorted, not topk": Edit(
            "total, index = log_p.flatten(1).topk(width)",
            "total, index = (part[:, :width] for part in log_p.flatten(1).sort(descending=True, stable=True))",
        ),
        "divmod": Edit(
            "origin, token = index[:, :, None] // log_p.shape[2], index[:, :, None] % log_p.shape[2]",
            "origin, token = (part[:, :, None] for part in (index.div(log_p.shape[2], rounding_mode='floor'), index.remainder(log_p.shape[2])))",
        ),
        "indexed by rows": Edit(
            "beams.gather(1, origin.expand(-1, -1, t))",
            "beams[torch.arange(len(starts), device=starts.device)[:, None], origin[:, :, 0]]",
        ),
    },
    "character_error_rate": {
        "a matrix": rate_by(),
        "two rows": rate_by(edit=distance_by_rows),
        "the other way round": rate_by(edit=lambda a, b: distance_by_matrix(b[::-1], a[::-1])),
    },
}  # fmt: skip

# Sentences and rates are chosen and counted, not differentiated.
NO_GRADIENT = {"beam_search": ("score",)}

EQUIVALENT = {
    "character_error_rate": {
        "arguments swapped: zip(texts, references, strict=True) -> zip(references, texts, strict=True)": (
            "a distance is the same both ways, and the characters of the references are counted before"
        ),
        "boolean: len(texts) != len(references) or not characters -> not characters": (
            "zip refuses lists of unequal length with a ValueError too; its message says less"
        ),
    },
}
