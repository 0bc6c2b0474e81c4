"""What a right answer to text/attention must do.

Truths: `F.scaled_dot_product_attention`, `nn.MultiheadAttention`, complex multiplication for rotary positions, and plain loops.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.testing import Edit, assert_close, assert_equal, assert_finite, raises

EXACT = 1e-10  # of float64, relative to the largest expected number


def attend(q, k, v, mask=None):
    """PyTorch's own attention. A row without any key is opened first and emptied after, so that no release makes it NaN."""
    if mask is None:
        return F.scaled_dot_product_attention(q, k, v)
    alive = mask.any(-1, keepdim=True)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask | ~alive) * alive


def weights(q, k, mask=None):
    """Attention to the identity matrix gives the weights themselves."""
    S = k.shape[-2]
    return attend(q, k, torch.eye(S, dtype=k.dtype).expand(*k.shape[:-2], S, S), mask)


def random_mask(draw, *shape):
    """Half of the places are open; of the last two axes, the first row is closed but for one place and the last is closed."""
    mask = draw.uniform(*shape) < 0.5
    mask[..., 0, :] = False
    mask[..., 0, draw.integer(0, shape[-1] - 1)] = True
    if shape[-2] > 1:
        mask[..., -1, :] = False
    return mask


def turned(x, positions):
    """Channels (2i, 2i + 1) as one complex number, times a number of modulus one. In float64."""
    z = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)).contiguous())
    D = x.shape[-1]
    speeds = torch.tensor([10000 ** (2 * i / D) for i in range(D // 2)], dtype=torch.float64)
    angles = positions.double()[..., None] / speeds
    return torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles)).flatten(-2)


# --- masks -------------------------------------------------------------------------------------------------------------


@pytest.mark.stub("causal_mask")
@pytest.mark.parametrize("cached", [0, 1, 4])
def test_each_query_sees_the_past_and_itself(impl, draw, cached):
    T = draw.size()
    S = T + cached
    expected = torch.tensor([[key <= query + cached for key in range(S)] for query in range(T)])
    hint = "the queries are the LAST T of the S positions: query t stands at position S − T + t, and sees itself"
    assert_equal(impl.causal_mask(T, S), expected, hint=hint)


@pytest.mark.stub("causal_mask")
def test_more_queries_than_keys_are_refused(impl, draw):
    S = draw.size()
    for T in (S + 1, S + draw.size(2)):
        with raises(ValueError, hint=f"{T} queries cannot be the last of {S} positions"):
            impl.causal_mask(T, S)


@pytest.mark.stub("causal_mask")
def test_causal_mask_is_made_on_the_device_asked_for(impl):
    with raises(RuntimeError, hint="there is no device called 'nowhere', so torch must have complained: is `device` used?"):
        impl.causal_mask(2, 3, device="nowhere")


@pytest.mark.stub("padding_mask")
def test_the_first_keys_of_each_item_are_open(impl, draw):
    B, S = draw.batch(), draw.size()
    lengths = draw.integers(S + 1, (B,))
    expected = torch.tensor([[[[s < n for s in range(S)]]] for n in lengths.tolist()])
    hint = "True marks the real tokens, the first lengths[b]; the shape (B, 1, 1, S) broadcasts over heads and queries"
    assert_equal(impl.padding_mask(lengths, S), expected, hint=hint)


@pytest.mark.stub("padding_mask")
def test_every_length_from_nothing_to_all_is_legal(impl, draw):
    S = draw.size()
    lengths = draw.permutation(S + 1)
    expected = torch.tensor([[[[s < n for s in range(S)]]] for n in lengths.tolist()])
    assert_equal(impl.padding_mask(lengths, S), expected, hint="0 (all padding) and S (no padding) are lengths like any other")


@pytest.mark.stub("padding_mask")
def test_a_length_out_of_range_is_refused(impl, draw):
    B, S = draw.batch(), draw.size()
    for wrong in (-1, S + 1, -draw.size(2), S + draw.size(2)):
        lengths = draw.integers(S + 1, (B,))
        lengths[draw.integer(0, B - 1)] = wrong
        with raises(ValueError, hint=f"one of the lengths is {wrong}, while there are {S} keys"):
            impl.padding_mask(lengths, S)


@pytest.mark.stub("padding_mask")
def test_an_empty_batch_has_an_empty_mask(impl, draw):
    S = draw.size()
    expected = torch.ones(0, 1, 1, S, dtype=torch.bool)
    hint = "no length is out of range here; `.min()` of nothing raises"
    assert_equal(impl.padding_mask(torch.zeros(0, dtype=torch.int64), S), expected, hint=hint)


# --- weights and mixture -----------------------------------------------------------------------------------------------


@pytest.mark.stub("attention_weights")
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_weights_agree_with_torch_on_any_shape(impl, draw, axes):
    lead, (T, S, D) = [draw.size() for _ in range(axes)], draw.sizes(3, 1, 8)
    q, k = draw.normal(*lead, T, D), draw.normal(*lead, S, D)
    hint = "softmax over the keys, the last axis, of q kᵀ / √D, where D is the width of a query"
    assert_close(impl.attention_weights(q, k), weights(q, k), tolerance=EXACT, hint=hint)


@pytest.mark.stub("attention_weights")
@pytest.mark.parametrize("shape", ["T S", "B H T S", "1 1 T S", "B 1 1 S", "B 1 T S", "H T 1", "1 S"])
def test_masked_weights_agree_with_torch(impl, draw, shape):
    B, H, D, (T, S) = draw.batch(), draw.size(), draw.size(), draw.sizes(2)
    q, k = draw.normal(B, H, T, D), draw.normal(B, H, S, D)
    sizes = {"B": B, "H": H, "T": T, "S": S, "1": 1}
    mask = random_mask(draw, *(sizes[name] for name in shape.split()))
    hint = "True means 'may attend'; masked scores must lose before the softmax, and a row without any key is all zeros"
    assert_close(impl.attention_weights(q, k, mask), weights(q, k, mask), tolerance=EXACT, hint=hint)


@pytest.mark.stub("attention_weights")
def test_a_row_without_any_key_is_zero(impl, draw):
    T, S, D = draw.size(), draw.size(), draw.size()
    q, k = draw.normal(T, D, dtype=torch.float32), draw.normal(S, D, dtype=torch.float32)
    result = impl.attention_weights(q, k, torch.zeros(T, S, dtype=torch.bool))
    assert_finite(result, hint="−∞ in every place of a row makes its softmax 0/0")
    assert_close(result, torch.zeros(T, S), hint="a query that may attend to nothing attends to nothing, not to all keys alike")


@pytest.mark.stub("attention_weights")
@pytest.mark.parametrize("masked", [False, True])
def test_survives_scores_of_ten_billion(impl, draw, masked):
    S = draw.size(3)
    order = draw.permutation(S)  # key s has a score of order[s] · 10¹⁰ with the first query, and of minus that with the second
    q, k = torch.tensor([[1e10], [-1e10], [1e10]]), order[:, None].float()
    best = [S - 1, 0, S - 1]
    mask = torch.ones(3, S, dtype=torch.bool)
    if masked:  # the best key of the first two queries, and every key of the third
        mask[0, order == S - 1] = mask[1, order == 0] = mask[2] = False
        best = [S - 2, 1, -1]
    expected = torch.stack([(order == rank).float() for rank in best])
    result = impl.attention_weights(q, k, mask) if masked else impl.attention_weights(q, k)
    assert_finite(result, hint="exp(10¹⁰) is infinite: let torch.softmax subtract the maximum")
    hint = "a masked score must lie below every real one (neither −10⁴ nor −10⁹ does), and must do so before the softmax"
    assert_close(result, expected, hint=hint)


@pytest.mark.stub("attention_weights")
def test_rows_far_apart_are_normalised_each_by_itself(impl):
    q, k = torch.tensor([[[5e3], [-5e3], [0.0]], [[1.0], [9e3], [-2.0]]]), torch.tensor([[[1.0], [1.001]], [[0.5], [0.4]]])
    expected = weights(q.double(), k.double()).float()
    hint = "every row has its own maximum to subtract: with one for all, a low row vanishes"
    assert_close(impl.attention_weights(q, k), expected, tolerance=1e-3, hint=hint, hint_for="values NaN")
    g = torch.tensor([1.0, -1.0]).expand(2, 3, 2)
    slope = impl.vjp("attention_weights", q, k, torch.tensor([[False, False], [True, True], [True, False]]), wrt=0, cotangent=g)
    hint = "a row that is closed, or holds a single key, has no slope; no NaN may come back from it"
    assert_equal(slope[:, ::2], torch.zeros(2, 2, 1), what="the gradient of rows without a choice", hint=hint)


@pytest.mark.stub("attention_weights")
def test_half_precision_stays_half_precision(impl, draw):
    T, S, D = draw.size(), draw.size(2), draw.size()
    q, k = draw.normal(T, D, dtype=torch.float16), draw.normal(S, D, dtype=torch.float16)
    mask = random_mask(draw, T, S)
    expected = weights(q.double(), k.double(), mask).half()
    hint = "float16 in, float16 out; its lowest number is −65504, so −10⁹ does not fit: ask torch.finfo(scores.dtype)"
    assert_close(impl.attention_weights(q, k, mask), expected, tolerance=2e-2, hint=hint, hint_for="values dtype NaN")


@pytest.mark.stub("attention_weights")
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_the_weights(impl, draw, masked):
    H, D, (T, S) = draw.size(), draw.size(), draw.sizes(2)
    q, k, g = draw.normal(H, T, D), draw.normal(H, S, D), draw.normal(H, T, S)
    mask = random_mask(draw, T, S) if masked else None
    with torch.enable_grad():
        leaves = [q.clone().requires_grad_(), k.clone().requires_grad_()]
        expected = torch.autograd.grad((weights(*leaves, mask) * g).sum(), leaves)
    actual = impl.vjp("attention_weights", q, k, mask, wrt=(0, 1), cotangent=g)
    for name, mine, truth in zip("qk", actual, expected, strict=True):
        hint = "finite forward is not enough: NaN hidden after the softmax comes back in the gradient; detach nothing"
        assert_close(mine, truth, hint=hint, what=f"the gradient of {name}", hint_for="values NaN")


@pytest.mark.stub("scaled_dot_product_attention")
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_attention_agrees_with_torch_on_any_shape(impl, draw, axes):
    lead, (T, S, D, E) = [draw.size() for _ in range(axes)], draw.sizes(4, 1, 8)
    q, k, v = draw.normal(*lead, T, D), draw.normal(*lead, S, D), draw.normal(*lead, S, E)
    hint = "the weights (…, T, S), scaled by the D of queries and keys, times the values (…, S, E); E need not be D"
    assert_close(impl.scaled_dot_product_attention(q, k, v), attend(q, k, v), tolerance=EXACT, hint=hint)


@pytest.mark.stub("scaled_dot_product_attention")
@pytest.mark.parametrize("shape", ["T S", "B H T S", "B 1 1 S"])
def test_masked_attention_agrees_with_torch(impl, draw, shape):
    B, H, D, E, (T, S) = draw.batch(), draw.size(), draw.size(), draw.size(), draw.sizes(2)
    q, k, v = draw.normal(B, H, T, D), draw.normal(B, H, S, D), draw.normal(B, H, S, E)
    sizes = {"B": B, "H": H, "T": T, "S": S, "1": 1}
    mask = random_mask(draw, *(sizes[name] for name in shape.split()))
    hint = "is the mask passed on? A query without any key returns zeros"
    assert_close(impl.scaled_dot_product_attention(q, k, v, mask), attend(q, k, v, mask), tolerance=EXACT, hint=hint)


@pytest.mark.stub("scaled_dot_product_attention")
def test_masked_attention_keeps_float32(impl, draw):
    H, D, E, (T, S) = draw.size(), draw.size(), draw.size(), draw.sizes(2)
    q, k, v = draw.normal(H, T, D), draw.normal(H, S, D), draw.normal(H, S, E)
    mask = random_mask(draw, T, S)
    actual = impl.scaled_dot_product_attention(q.float(), k.float(), v.float(), mask)
    assert_close(
        actual,
        attend(q, k, v, mask).float(),
        tolerance=1e-4,
        hint="float32 in, float32 out, masked rows included",
        hint_for="values dtype NaN",
    )


@pytest.mark.stub("scaled_dot_product_attention")
@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_attention(impl, draw, masked):
    H, D, E, (T, S) = draw.size(), draw.size(), draw.size(), draw.sizes(2)
    inputs = [draw.normal(H, T, D), draw.normal(H, S, D), draw.normal(H, S, E)]
    g = draw.normal(H, T, E)
    mask = random_mask(draw, T, S) if masked else None
    with torch.enable_grad():
        leaves = [x.clone().requires_grad_() for x in inputs]
        expected = torch.autograd.grad((attend(*leaves, mask) * g).sum(), leaves)
    actual = impl.vjp("scaled_dot_product_attention", *inputs, mask, wrt=(0, 1, 2), cotangent=g)
    for name, mine, truth in zip("qkv", actual, expected, strict=True):
        hint = "the gradient flows through the weights and through the values, and is zero for a row that is masked out"
        assert_close(mine, truth, hint=hint, what=f"the gradient of {name}")


@pytest.mark.stub("scaled_dot_product_attention")
def test_attention_survives_large_scores_and_closed_rows(impl):
    q, k, v = (
        torch.tensor([[1e10], [-1e10], [1e10]]),
        torch.tensor([[0.0], [1.0], [2.0]]),
        torch.tensor([[1.0, 5.0], [2.0, 7.0], [4.0, 8.0]]),
    )
    mask = torch.tensor([[True, True, False], [False, True, True], [False, False, False]])
    expected = torch.tensor([[2.0, 7.0], [2.0, 7.0], [0.0, 0.0]])
    hint = "use attention_weights: a closed key loses against any score, and a query that is closed reads zeros"
    assert_close(impl.scaled_dot_product_attention(q, k, v, mask), expected, hint=hint, hint_for="values NaN")
    slopes = impl.vjp("scaled_dot_product_attention", q, k, v, mask, wrt=(0, 1, 2), cotangent=torch.ones(3, 2))
    for name, slope in zip("qkv", slopes, strict=True):
        assert_finite(slope, what=f"the gradient of {name}", hint="no NaN may come back from a row that is closed")


# --- positions ---------------------------------------------------------------------------------------------------------


@pytest.mark.stub("sinusoidal_positions")
def test_sines_and_cosines_alternate(impl, draw):
    T, D = draw.size(), 2 * draw.size()
    expected = [
        [(math.cos if c % 2 else math.sin)(t / 10000 ** ((c - c % 2) / D)) for c in range(D)]  # of channel c at time t
        for t in range(T)
    ]
    hint = "channels 2i and 2i + 1: sine and cosine of t / 10000^(2i / D), where arange(0, D, 2) is 2i already; t from 0; float32"
    assert_close(impl.sinusoidal_positions(T, D), torch.tensor(expected, dtype=torch.float32), hint=hint, hint_for="values dtype")


@pytest.mark.stub("sinusoidal_positions")
def test_late_positions_are_as_precise_as_early_ones(impl, draw):
    T, D = draw.integer(20_000, 30_000), draw.choice((6, 10, 14))
    late = range(T - 100, T)
    expected = [[(math.cos if c % 2 else math.sin)(t / 10000 ** ((c - c % 2) / D)) for c in range(D)] for t in late]
    hint = "a float32 angle of 20,000 is off by a thousandth; compute the angles in float64 and round only the sines"
    actual = impl.sinusoidal_positions(T, D)
    assert_close(actual[-100:], torch.tensor(expected, dtype=torch.float32), hint=hint, what="the end of the table")


@pytest.mark.stub("sinusoidal_positions")
def test_an_odd_number_of_channels_is_refused(impl, draw):
    D = draw.choice((1, 3, 5, 7, 9))
    with raises(ValueError, hint=f"{D} channels cannot be divided into pairs of a sine and a cosine"):
        impl.sinusoidal_positions(draw.size(), D)


@pytest.mark.stub("sinusoidal_positions")
def test_positions_are_made_on_the_device_asked_for(impl):
    with raises(RuntimeError, hint="there is no device called 'nowhere', so torch must have complained: is `device` used?"):
        impl.sinusoidal_positions(3, 4, device="nowhere")


@pytest.mark.stub("apply_rotary")
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_rotary_is_multiplication_of_complex_numbers(impl, draw, axes):
    lead, T, D = [draw.size() for _ in range(axes)], draw.size(2), 2 * draw.size(2)
    x, positions = draw.normal(*lead, T, D), draw.permutation(400)[:T]
    hint = "pairs are neighbours, (0, 1), (2, 3), …; the vector at index t stands at positions[t], in whatever order they come"
    assert_close(impl.apply_rotary(x, positions), turned(x, positions), tolerance=2e-4, hint=hint)


@pytest.mark.stub("apply_rotary")
@pytest.mark.parametrize("shape", ["B 1 T", "B H T", "1 T"])
def test_items_may_stand_at_positions_of_their_own(impl, draw, shape):
    B, H, T, D = draw.size(2), draw.size(2), draw.size(2), 2 * draw.size()
    sizes = {"B": B, "H": H, "T": T, "1": 1}
    x, positions = draw.normal(B, H, T, D), draw.integers(400, tuple(sizes[name] for name in shape.split()))
    hint = "positions are (T,), or broadcast to all axes of x but the last: `positions[..., None]`, not `positions[:, None]`"
    assert_close(impl.apply_rotary(x, positions), turned(x, positions), tolerance=2e-4, hint=hint)


@pytest.mark.stub("apply_rotary")
def test_each_pair_turns_at_its_own_speed(impl):
    D = 8
    pair = torch.tensor([1.0, 0.0]).repeat(D // 2)  # at angle 0
    positions = torch.tensor([0, 1, 2, 399])
    angles = [[t / 10 ** (4 * 2 * i / D) for i in range(D // 2)] for t in positions.tolist()]
    expected = torch.tensor([[f(a) for a in row for f in (math.cos, math.sin)] for row in angles], dtype=torch.float32)
    hint = "the angle of pair i is position · 10000^(−2i / D), counter-clockwise; position 0 turns nothing"
    assert_close(impl.apply_rotary(pair.expand(4, D), positions), expected, tolerance=2e-4, hint=hint)


@pytest.mark.stub("apply_rotary")
def test_scores_depend_on_the_distance_alone(impl, draw):
    T, S, D, shift = draw.size(), draw.size(), 2 * draw.size(), draw.size()
    q, k = draw.normal(T, D), draw.normal(S, D)
    at_q, at_k = draw.integers(50, (T,)), draw.integers(50, (S,))
    expected = turned(q, at_q) @ turned(k, at_k).T
    actual = impl.apply_rotary(q, at_q + shift) @ impl.apply_rotary(k, at_k + shift).T
    hint = "moving queries and keys by the same distance must change no score"
    assert_close(actual, expected, tolerance=1e-4, hint=hint, what="the table of scores")


@pytest.mark.stub("apply_rotary")
def test_a_rotation_keeps_the_length_of_each_pair(impl, draw):
    H, T, D = draw.size(), draw.size(), 2 * draw.size()
    x, positions = draw.normal(H, T, D, dtype=torch.float32), draw.integers(400, (T,))
    lengths = impl.apply_rotary(x, positions).unflatten(-1, (-1, 2)).norm(dim=-1)
    expected = x.unflatten(-1, (-1, 2)).norm(dim=-1)
    hint = (
        "cos and sin of ONE angle, the sines with opposite signs, of the OLD pair: a slice is a view, it changes with its tensor"
    )
    assert_close(lengths, expected, tolerance=1e-4, hint=hint)


@pytest.mark.stub("apply_rotary")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_knows_late_positions(impl, draw, precision):
    T, D, dtype = draw.size(), 2 * draw.size(2), getattr(torch, precision)
    x, positions = draw.normal(T, D, dtype=dtype), draw.integers(2000, (T,), low=1000)
    hint = "half precision in and out, but angles in float32: bfloat16 cannot tell position 256 from 257"
    assert_close(
        impl.apply_rotary(x, positions), turned(x, positions).to(dtype), tolerance=3e-2, hint=hint, hint_for="values dtype"
    )


@pytest.mark.stub("apply_rotary")
def test_gradient_is_turned_back(impl, draw):
    H, T, D = draw.size(), draw.size(), 2 * draw.size()
    x, g, positions = draw.normal(H, T, D), draw.normal(H, T, D), draw.integers(400, (T,))
    expected = turned(g, -positions)
    actual = impl.vjp("apply_rotary", x, positions, wrt=0, cotangent=g)
    assert_close(
        actual, expected, tolerance=2e-4, hint="backwards, a rotation turns the gradient by minus the angle: is x detached?"
    )


@pytest.mark.stub("apply_rotary")
def test_an_odd_width_is_refused(impl, draw):
    T, D = draw.size(), draw.choice((1, 3, 5, 7, 9))
    with raises(ValueError, hint=f"{D} channels cannot be divided into pairs"):
        impl.apply_rotary(draw.normal(T, D), torch.arange(T))


# --- cache -------------------------------------------------------------------------------------------------------------


def pieces(draw, B, H, D, lengths, dtype=torch.float64):
    """Keys and values to append, one pair for each of `lengths`."""
    return [(draw.normal(B, H, T, D, dtype=dtype), draw.normal(B, H, T, D, dtype=dtype)) for T in lengths]


@pytest.mark.stub("KVCache.append")
@pytest.mark.parametrize("spare", [0, 3])
def test_every_append_returns_all_so_far(impl, draw, spare):
    B, H, D, dtype = draw.batch(), draw.size(), draw.size(), draw.choice((torch.float32, torch.float64))
    parts = pieces(draw, B, H, D, [draw.size(), 1, draw.size(2), draw.size()], dtype)
    cache = impl.KVCache(sum(k.shape[2] for k, _ in parts) + spare)
    for count, (k, v) in enumerate(parts, start=1):
        keys, values = cache.append(k, v)
        hint = "the new positions come after the old ones, which stay as they were; return the filled part alone"
        for name, mine, truth in (("keys", keys, 0), ("values", values, 1)):
            expected = torch.cat([part[truth] for part in parts[:count]], dim=2)
            assert_close(mine, expected, tolerance=0.0, hint=hint, what=f"the {name} after append {count}")


@pytest.mark.stub("KVCache.append")
def test_two_caches_do_not_mix(impl, draw):
    B, H, D = draw.batch(), draw.size(), draw.size()
    parts = pieces(draw, B, H, D, [2, 3, 1, 2])
    caches = [impl.KVCache(3), impl.KVCache(5)]
    for step, (k, v) in enumerate(parts):
        keys, values = caches[step % 2].append(k, v)
        for name, mine, truth in (("keys", keys, 0), ("values", values, 1)):
            expected = torch.cat([part[truth] for part in parts[step % 2 : step + 1 : 2]], dim=2)
            hint = "each layer has a cache of its own: keep everything on `self`"
            assert_close(mine, expected, tolerance=0.0, hint=hint, what=f"the {name} of cache {step % 2}")


@pytest.mark.stub("KVCache.append")
@pytest.mark.parametrize("excess", [1, 2])
def test_a_full_cache_refuses_more(impl, draw, excess):
    B, H, D, T = draw.batch(), draw.size(), draw.size(), draw.size()
    (k, v), (more_k, more_v), (all_k, all_v) = pieces(draw, B, H, D, [T, 1 + excess, T + 1 + excess])
    cache = impl.KVCache(T + 1)
    cache.append(k, v)
    hint = f"the cache holds {T + 1} positions, and would get {T + 1 + excess}"
    with raises(ValueError, hint=hint):
        cache.append(more_k, more_v)
    with raises(ValueError, hint=hint):
        impl.KVCache(T + 1).append(all_k, all_v)


@pytest.mark.stub("KVCache.append")
def test_a_refused_append_leaves_the_cache_as_it_was(impl, draw):
    B, H, D, T = draw.batch(), draw.size(), draw.size(), draw.size(2)
    (k, v), (more_k, more_v), (last_k, last_v) = pieces(draw, B, H, D, [T, 3, 2])
    cache, fresh = impl.KVCache(T + 2), impl.KVCache(T + 2)
    cache.append(k, v)
    for full, (new_k, new_v) in ((cache, (more_k, more_v)), (fresh, (torch.cat([k, more_k], 2), torch.cat([v, more_v], 2)))):
        with raises(ValueError, hint=f"the cache holds {T + 2} positions, and would get {T + 3}"):
            full.append(new_k, new_v)
    hint = "check before anything moves: neither `length` nor what is stored may know of an append that was refused"
    for full, expected in ((cache, (torch.cat([k, last_k], 2), torch.cat([v, last_v], 2))), (fresh, (last_k, last_v))):
        for name, mine, truth in zip(("keys", "values"), full.append(last_k, last_v), expected, strict=True):
            assert_equal(mine, truth, what=f"the {name} of an append that fits, after one that did not", hint=hint)


@pytest.mark.stub("KVCache.append")
@pytest.mark.parametrize("axis", ["batch", "heads", "width"])
def test_what_is_not_like_the_kept_is_refused_and_not_broadcast(impl, draw, axis):
    B, H, D, T = draw.size(2), draw.size(2), draw.size(2), draw.size()
    (k, v), (last_k, last_v) = pieces(draw, B, H, D, [T, 1])
    cache = impl.KVCache(T + 3)
    cache.append(k, v)
    for size in (1, 2 * {"batch": B, "heads": H, "width": D}[axis]):
        other = {"batch": B, "heads": H, "width": D} | {axis: size}
        ((more_k, more_v),) = pieces(draw, *other.values(), [2])
        with raises(
            ValueError, hint=f"the cache was made for {B} items of {H} heads of width {D}, and another {axis} comes: {size}"
        ):
            cache.append(more_k, more_v)
    expected = (torch.cat([k, last_k], 2), torch.cat([v, last_v], 2))
    hint = "compare the shapes before anything moves: an assignment broadcasts what has size 1"
    for name, mine, truth in zip(("keys", "values"), cache.append(last_k, last_v), expected, strict=True):
        assert_equal(mine, truth, what=f"the {name} of an append that fits, after some that did not", hint=hint)


@pytest.mark.stub("KVCache.append")
@pytest.mark.parametrize("wrong", ["batch", "heads", "steps"])
@pytest.mark.parametrize("which", ["keys", "values"])
def test_keys_and_values_must_be_alike(impl, draw, which, wrong):
    B, H, D, T = draw.size(2), draw.size(2), draw.size(), draw.size()
    (k, v), (more_k, more_v), (last_k, last_v) = pieces(draw, B, H, D, [T, 3, 2])
    cache = impl.KVCache(T + 5)
    cache.append(k, v)
    part = {"batch": (1, H, 3), "heads": (B, 1, 3), "steps": (B, H, 1)}[wrong]
    fewer = (more_k, more_v)[which == "values"][tuple(slice(n) for n in part)]
    with raises(ValueError, hint=f"the {which} have another number of {wrong} than their partners: look at both shapes"):
        cache.append(*((fewer, more_v) if which == "keys" else (more_k, fewer)))
    expected = (torch.cat([k, last_k], 2), torch.cat([v, last_v], 2))
    hint = "compare both shapes before anything moves"
    for name, mine, truth in zip(("keys", "values"), cache.append(last_k, last_v), expected, strict=True):
        assert_equal(mine, truth, what=f"the {name} of an append that fits, after one that did not", hint=hint)


# --- multi-head attention ----------------------------------------------------------------------------------------------


def layer(impl, draw, *, causal=False, rotary=False, bias=True, heads=None):
    """A layer with random weights, these in float64, and its number of heads and width."""
    H = draw.size(1, 4) if heads is None else heads
    C = H * (2 * draw.size(1, 3) if rotary else draw.size(1, 5))
    model = impl.MultiHeadAttention(C, H, causal=causal, rotary=rotary, bias=bias)
    state = draw.like(model.fresh_state())
    model.load_state_dict(state)
    return model, {name: value.double() for name, value in state.items()}, H, C


def forward(state, x, heads, allowed, *, rotary=False):
    """The layer written out head by head, in float64, for a whole sequence. `allowed` broadcasts to (B, H, T, T)."""
    x = x.double()
    B, T, C = x.shape
    D = C // heads
    projected = F.linear(x, state["qkv.weight"], state.get("qkv.bias"))
    allowed = allowed.expand(B, heads, T, T)
    mixed = []
    for h in range(heads):
        q, k, v = (projected[..., part * C + h * D : part * C + (h + 1) * D] for part in range(3))
        if rotary:
            q, k = turned(q, torch.arange(T)), turned(k, torch.arange(T))
        mixed.append(attend(q, k, v, allowed[:, h]))
    return F.linear(torch.cat(mixed, dim=-1), state["out.weight"], state.get("out.bias"))


def past(T):
    return torch.tensor([[key <= query for key in range(T)] for query in range(T)])


@pytest.mark.stub("MultiHeadAttention.forward")
@pytest.mark.parametrize("causal", [False, True])
def test_equals_multihead_attention_of_torch(impl, draw, causal):
    bias = draw.choice((False, True))
    model, state, H, C = layer(impl, draw, causal=causal, bias=bias)
    B, T = draw.batch(), draw.size(2)
    x, lengths = draw.normal(B, T, C, dtype=torch.float32), draw.integers(T + 1, (B,), low=1)
    peer = nn.MultiheadAttention(C, H, bias=bias, batch_first=True, dtype=torch.float64)
    names = {
        "qkv.weight": "in_proj_weight",
        "qkv.bias": "in_proj_bias",
        "out.weight": "out_proj.weight",
        "out.bias": "out_proj.bias",
    }
    peer.load_state_dict({names[name]: value for name, value in state.items()})
    real = torch.arange(T) < lengths[:, None]
    with torch.no_grad():
        barred = ~past(T) if causal else torch.zeros(T, T, dtype=torch.bool)
        expected, _ = peer(*[x.double()] * 3, key_padding_mask=~real, attn_mask=barred)
    hint = "heads are contiguous parts of the channels; the padding mask holds in a causal layer too; `out` mixes the heads"
    assert_close(model(x, real[:, None, None, :]), expected.float(), tolerance=1e-4, hint=hint)


@pytest.mark.stub("MultiHeadAttention.forward")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
def test_self_attention_written_out(impl, draw, causal, rotary):
    model, state, H, C = layer(impl, draw, causal=causal, rotary=rotary, bias=draw.choice((False, True)))
    B, T = draw.batch(), draw.size(2)
    x = draw.normal(B, T, C, dtype=torch.float32)
    allowed = past(T) if causal else torch.ones(T, T, dtype=torch.bool)
    expected = forward(state, x, H, allowed, rotary=rotary).float()
    hint = "project, attend (only to the past if the layer is causal), merge the heads, then `out`"
    assert_close(model(x), expected, tolerance=1e-4, hint=hint)


@pytest.mark.stub("MultiHeadAttention.forward")
@pytest.mark.parametrize("causal", [False, True])
def test_a_mask_holds_for_its_own_item_and_head(impl, draw, causal):
    model, state, H, C = layer(impl, draw, causal=causal, heads=draw.size(2, 3))
    B, T = draw.batch(2), draw.size(2)
    x, mask = draw.normal(B, T, C, dtype=torch.float32), random_mask(draw, B, H, T, T)
    allowed = mask & past(T) if causal else mask
    hint = "a key counts only if the mask AND (in a causal layer) the order of time allow it; head h obeys mask[:, h]"
    assert_close(model(x, mask), forward(state, x, H, allowed).float(), tolerance=1e-4, hint=hint)


@pytest.mark.stub("MultiHeadAttention.forward")
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("rotary", [False, True])
def test_step_by_step_with_a_cache_equals_all_at_once(impl, draw, causal, rotary):
    model, state, H, C = layer(impl, draw, causal=causal, rotary=rotary)
    B, steps = draw.batch(), [draw.size(1, 5), 1, draw.size(2, 5)]
    T = sum(steps)
    x = draw.normal(B, T, C, dtype=torch.float32)
    block = torch.repeat_interleave(torch.arange(len(steps)), torch.tensor(steps))  # which step a position belongs to
    allowed = past(T) if causal else block <= block[:, None]  # what has not come yet cannot be seen
    expected = forward(state, x, H, allowed, rotary=rotary).float()
    cache, start = impl.KVCache(T), 0
    for n in steps:
        part = model(x[:, start : start + n], cache=cache)
        hint = (
            "all that the cache returns is seen, up to a query's own position; a step starts at the cache.length before append()"
        )
        what = f"the step from {start} to {start + n - 1}"
        assert_close(part, expected[:, start : start + n], tolerance=1e-4, hint=hint, what=what)
        start += n


@pytest.mark.stub("MultiHeadAttention.forward")
@pytest.mark.parametrize("causal", [False, True])
def test_a_mask_covers_what_the_cache_holds(impl, draw, causal):
    model, state, H, C = layer(impl, draw, causal=causal)
    B, T, n = draw.batch(), draw.size(2, 5), draw.size(2, 5)
    x, mask = draw.normal(B, T + n, C, dtype=torch.float32), random_mask(draw, B, 1, T + n, T + n)
    cache = impl.KVCache(T + n)
    model(x[:, :T], cache=cache)
    actual = model(x[:, T:], mask[:, :, T:], cache)
    allowed = mask & past(T + n) if causal else mask
    expected = forward(state, x, H, allowed)[:, T:].float()
    hint = "the mask has a column for every key, those of the cache first; the causal mask must have as many"
    assert_close(actual, expected, tolerance=1e-4, hint=hint)


@pytest.mark.stub("MultiHeadAttention.forward")
@pytest.mark.parametrize("rotary", [False, True])
def test_gradient_reaches_input_and_weights(impl, draw, rotary):
    model, state, H, C = layer(impl, draw, causal=True, rotary=rotary)
    B, T = draw.batch(), draw.size(3)
    x, g, mask = *draw.normal(2, B, T, C, dtype=torch.float32), random_mask(draw, T, T)
    with torch.enable_grad():
        leaves = {"x": x.double(), **state}
        leaves = {name: value.clone().requires_grad_() for name, value in leaves.items()}
        total = (forward(leaves, leaves["x"], H, mask & past(T), rotary=rotary) * g).sum()
        expected = dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))
    actual = {"x": model.vjp(x, mask, wrt=0, cotangent=g), **model.vjp(x, mask, wrt="parameters", cotangent=g)}
    for name, truth in expected.items():
        hint = "detach nothing, and leave no part of the way in `torch.no_grad()`"
        assert_close(actual[name], truth.float(), tolerance=5e-4, hint=hint, what=f"the gradient of {name}")


def weights_by(scale=None, axis=-1, fill=None, mask_first=True):
    """Weights with one thing done otherwise."""

    def wrong(q, k, mask=None):
        scores = q @ k.transpose(-2, -1) / (math.sqrt(q.shape[-1]) if scale is None else scale(q, k))
        if mask is None:
            return scores.softmax(axis)
        if not mask_first:
            return scores.softmax(axis) * mask
        lowest = torch.finfo(scores.dtype).min if fill is None else fill
        return scores.masked_fill(~mask, lowest).softmax(axis) * mask.any(-1, keepdim=True)

    return wrong


def renormalised_weights(q, k, mask=None):
    """Right until the keys that are masked out hold nearly all of the softmax."""
    w = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
    if mask is None:
        return w
    w = w * mask
    return w / w.sum(-1, keepdim=True).clamp_min(torch.finfo(w.dtype).tiny)


def weights_by_one_maximum(q, k, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    allowed = torch.ones((), dtype=torch.bool) if mask is None else mask
    scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
    e = (scores - scores.amax().detach()).exp() * allowed
    return e / e.sum(-1, keepdim=True).clamp_min(torch.finfo(e.dtype).tiny)


def selected_weights(q, k, mask=None):
    """Right for a mask of the scores' own shape alone."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is None:
        return scores.softmax(-1)
    scores[~mask] = torch.finfo(scores.dtype).min
    return scores.softmax(-1) * mask.any(-1, keepdim=True)


def stored_as_far_as_it_goes(self, k, v):
    """Raises when it is too late: what fits is stored, and counted."""
    for t in range(k.shape[2]):
        if self.length == self.capacity:
            raise ValueError("full")
        joined_append(self, k[:, :, t : t + 1], v[:, :, t : t + 1])
    return self.keys, self.values


def additive_mask_weights(q, k, mask=None):
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores + torch.zeros(mask.shape, dtype=q.dtype).masked_fill(~mask, -math.inf)
    return scores.softmax(-1).nan_to_num(0.0)


def sinusoids_by(pack, *, base=10000.0, dtype=torch.float64):
    """A table with one thing done otherwise; `pack` puts sines and cosines together."""

    def wrong(T, D, *, device=None):
        if D % 2:
            raise ValueError
        angles = torch.arange(T, dtype=dtype)[:, None] * base ** (-torch.arange(0, D, 2, dtype=dtype) / D)
        return pack(angles.sin(), angles.cos()).float().to(device)

    return wrong


def alternate(first, second):
    return torch.stack([first, second], -1).flatten(-2)


def half_split_rotary(x, positions):
    D = x.shape[-1]
    if D % 2:
        raise ValueError
    angles = positions[..., None] * 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    (a, b), cos, sin = x.chunk(2, -1), angles.cos(), angles.sin()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)


def overwritten_rotary(x, positions):
    """Each pair in place on a copy, of which `even` is only a view: the odd channel is made of an even one already turned."""
    D = x.shape[-1]
    if D % 2:
        raise ValueError
    angles = positions[..., None] * 10000.0 ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    out = x.clone()
    even, odd = out[..., 0::2], out[..., 1::2]
    out[..., 0::2] = even * cos - odd * sin
    out[..., 1::2] = even * sin + odd * cos
    return out


def shared_memory():
    """A cache that keeps its content outside of `self`."""
    seen = {}

    def append(self, k, v):
        if self.length + k.shape[-2] > self.capacity:
            raise ValueError
        for name, new in (("k", k), ("v", v)):
            old = seen.get(name)
            fits = self.length and old is not None and old.shape[:2] == new.shape[:2] and old.shape[-1] == new.shape[-1]
            seen[name] = torch.cat([old.to(new.dtype), new], 2) if fits else new
        self.length += k.shape[-2]
        return seen["k"], seen["v"]

    return append


def sliding_append(self, k, v):
    """Forgets the oldest where it should refuse."""
    self.keys = k if self.length == 0 else torch.cat([self.keys, k], 2)[:, :, -self.capacity :]
    self.values = v if self.values is None else torch.cat([self.values, v], 2)[:, :, -self.capacity :]
    self.length = self.keys.shape[2]
    return self.keys, self.values


def forward_by(*, split=None, mix=None, mask_of=None, rotate=None):
    """A forward pass with one thing done otherwise."""

    def wrong(self, x, mask=None, cache=None):
        T, H = x.shape[1], self.heads
        start = 0 if cache is None else cache.length
        q, k, v = self.project(x, start=start)  # (B, H, T, D)
        if split is not None:
            q, k, v = (split(t.transpose(1, 2).flatten(2), H) for t in (q, k, v))
        if rotate is not None and self.rotary:
            q, k, v = rotate(q, k, v, torch.arange(start, start + T))
        if cache is not None:
            k, v = cache.append(k, v)
        S = k.shape[-2]
        causal = torch.ones(T, S, dtype=torch.bool).tril(S - T) if self.causal else None
        if mask_of is not None:
            mask = mask_of(mask, causal, cache, T, S)
        elif causal is not None:
            mask = causal if mask is None else mask & causal
        mixed = attend(q, k, v, mask)
        return self.out(mixed.transpose(1, 2).flatten(2) if mix is None else mix(mixed))

    return wrong


def both(mask, causal):
    return causal if mask is None else mask if causal is None else mask & causal


def turned_in(x, positions):
    return turned(x, positions).to(x.dtype)


FAKES = {
    "causal_mask": {
        "aligned to the first keys": Edit("diagonal=S - T", "diagonal=0"),
        "without itself": Edit("S - T)", "S - T - 1)"),
        "one key of the future": Edit("S - T)", "S - T + 1)"),
        "square, whatever the number of keys": lambda T, S, *, device=None: (
            compared_causal_mask(T, S, device=device) if T in (1, S) else compared_causal_mask(S, S, device=device)[:T]
        ),
        "the future, not the past": Edit(".tril(diagonal=S - T)", ".triu(diagonal=S - T)"),
        "True where hidden": Edit(".tril(diagonal=S - T)", ".triu(diagonal=S - T + 1)"),
        "everything": Edit(".tril(diagonal=S - T)", ""),
        "numbers to be added": Edit("dtype=torch.bool, ", ""),
        "more queries than keys accepted": Edit("if T > S:", "if False:"),
        "as many queries as keys refused": Edit("if T > S:", "if T >= S:"),
        "the device ignored": Edit(", device=device", ""),
    },
    "padding_mask": {
        "True where padded": Edit("keys < lengths", "keys >= lengths"),
        "one key too many": Edit("keys < lengths", "keys <= lengths"),
        "padding in front": lambda lengths, S: (torch.arange(S) >= S - lengths[:, None])[:, None, None],
        "as wide as the longest": lambda lengths, S: (torch.arange(int(lengths.max())) < lengths[:, None])[:, None, None],
        "the shape (B, S)": Edit("[:, None, None, :]", ""),
        "queries masked, not keys": Edit("[:, None, None, :]", "[:, None, :, None]"),
        "nothing refused": Edit("if lengths.numel()", "if False"),
        "negative lengths accepted": Edit("lengths.min() >= 0 and ", ""),
        "too long accepted": Edit(" and lengths.max() <= S", ""),
        "length 0 refused": Edit("lengths.min() >= 0", "lengths.min() > 0"),
        "length S refused": Edit("lengths.max() <= S", "lengths.max() < S"),
        "only the first and the last looked at": Edit(
            "not (lengths.min() >= 0 and lengths.max() <= S)", "not (0 <= lengths[0] <= S and 0 <= lengths[-1] <= S)"
        ),
        "clamped, not refused": lambda lengths, S: (torch.arange(S) < lengths.clamp(0, S)[:, None])[:, None, None],
    },
    "attention_weights": {
        "uniform": lambda q, k, mask=None: q.new_ones(*q.shape[:-1], k.shape[-2]) / k.shape[-2],
        "no scale": weights_by(lambda q, k: 1.0),
        "divided by D": weights_by(lambda q, k: q.shape[-1]),
        "divided by √S": weights_by(lambda q, k: math.sqrt(k.shape[-2])),
        "softmax over the queries": weights_by(axis=-2),
        "the mask ignored": lambda q, k, mask=None: weights(q, k),
        "the mask inverted": Edit("masked_fill(~mask", "masked_fill(mask"),
        "masked after the softmax": weights_by(mask_first=False),
        "masked after the softmax, then divided by the sum": renormalised_weights,
        "masked with zero": weights_by(fill=0.0),
        "masked with −10⁴": weights_by(fill=-1e4),
        "masked with −10⁹, too low for float16": weights_by(fill=-1e9),
        "masked with −10⁹, but for half precision": lambda q, k, mask=None: weights_by(fill=-1e9 if q.itemsize > 2 else -6e4)(
            q, k, mask
        ),
        "one maximum for all rows": weights_by_one_maximum,
        "a mask that is selected by, not broadcast": selected_weights,
        "NaN in empty rows": lambda q, k, mask=None: weights_by(fill=-math.inf)(q, k, mask),
        "NaN wiped off the forward pass only": additive_mask_weights,
        "empty rows look at everything": Edit(" * mask.any(dim=-1, keepdim=True)", ""),
        "exp without the maximum": lambda q, k, mask=None: (
            lambda e: e / e.sum(-1, keepdim=True).clamp_min(torch.finfo(e.dtype).tiny)
        )((q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).exp() * (1 if mask is None else mask)),
        "the gradient cut": lambda q, k, mask=None: weights(q, k.detach(), mask),
        "causal, whatever the mask": lambda q, k, mask=None: weights(
            q, k, torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).tril()
        ),
    },
    "scaled_dot_product_attention": {
        "V itself": lambda q, k, v, mask=None: v,
        "the mean of V": lambda q, k, v, mask=None: v.mean(-2, keepdim=True).expand(*v.shape[:-2], q.shape[-2], v.shape[-1]),
        "the mask not passed on": lambda q, k, v, mask=None: attend(q, k, v),
        "weights transposed": lambda q, k, v, mask=None: weights(q, k, mask).transpose(-2, -1) @ v,
        "keys for values": lambda q, k, v, mask=None: weights(q, k, mask) @ k,
        "no scale": lambda q, k, v, mask=None: attend(q * math.sqrt(q.shape[-1]), k, v, mask),
        "scaled by the width of the values": lambda q, k, v, mask=None: attend(
            q * math.sqrt(q.shape[-1] / v.shape[-1]), k, v, mask
        ),
        "scaled twice": lambda q, k, v, mask=None: attend(q / math.sqrt(q.shape[-1]), k, v, mask),
        "the best key alone": lambda q, k, v, mask=None: (
            F.one_hot(weights(q, k, mask).argmax(-1), k.shape[-2]).to(v.dtype) @ v + 0 * q.sum() + 0 * k.sum()
        ),
        "NaN in empty rows": lambda q, k, v, mask=None: weights_by(fill=-math.inf)(q, k, mask) @ v,
        "NaN wiped off the forward pass only": lambda q, k, v, mask=None: additive_mask_weights(q, k, mask) @ v,
        "masked with −10⁹": lambda q, k, v, mask=None: weights_by(fill=-1e9)(q, k, mask) @ v,
        "True taken for hidden": lambda q, k, v, mask=None: attend(q, k, v, None if mask is None else ~mask),
        "the weights detached": lambda q, k, v, mask=None: weights(q, k, mask).detach() @ v,
        "the values detached": lambda q, k, v, mask=None: weights(q, k, mask) @ v.detach(),
    },
    "sinusoidal_positions": {
        "sines and cosines in halves": sinusoids_by(lambda sin, cos: torch.cat([sin, cos], -1)),
        "cosines first": sinusoids_by(lambda sin, cos: alternate(cos, sin)),
        "sines alone": sinusoids_by(lambda sin, cos: alternate(sin, sin)),
        "base 1000": sinusoids_by(alternate, base=1000.0),
        "the exponent doubled": sinusoids_by(alternate, base=10000.0**2),  # 2i of an i that goes in steps of two already
        "angles in float32": sinusoids_by(alternate, dtype=torch.float32),
        "positions from 1": Edit("torch.arange(T, dtype=torch.float64)", "torch.arange(1, T + 1, dtype=torch.float64)"),
        "every channel at a speed of its own": lambda T, D, *, device=None: (
            lambda a: torch.where(torch.arange(D) % 2 == 0, a.sin(), a.cos()).float()
        )(torch.arange(T).double()[:, None] * 10000.0 ** (-torch.arange(D).double() / D)),
        "float64": Edit(".float()", ""),
        "an odd width accepted": Edit("if D % 2:", "if False:"),
        "the device ignored": Edit(".to(device)", ""),
    },
    "apply_rotary": {
        "nothing turned": lambda x, positions: x,
        "halves paired, not neighbours": half_split_rotary,
        "the wrong base": Edit("10000.0 **", "1000.0 **"),
        "turned backwards": Edit("positions[..., None] * theta", "-positions[..., None] * theta"),
        "positions ignored": Edit("positions[..., None]", "torch.arange(x.shape[-2])[:, None]"),
        "positions taken for a range": Edit(
            "positions[..., None]", "(positions[..., :1] + torch.arange(x.shape[-2]))[..., None]"
        ),
        "the first item's positions for all": Edit("positions[..., None]", "positions.reshape(-1, x.shape[-2])[0, :, None]"),
        "positions of one row only": Edit("positions[..., None]", "positions[:, None]"),
        "every pair at one speed": Edit("* theta", "* torch.ones_like(theta)"),
        "speeds half as steep": Edit("dtype=dtype) / D", "dtype=dtype) / (2 * D)"),
        "written over its own input": overwritten_rotary,
        "both signs plus": Edit("even * cos - odd * sin", "even * cos + odd * sin"),
        "sinusoids added": lambda x, positions: x + turned(torch.ones_like(x), positions).to(x.dtype),
        "results in halves": Edit(
            "torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)",
            "torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-2)",
        ),
        "angles in half precision": Edit("torch.promote_types(x.dtype, torch.float32)", "x.dtype"),
        "float32 returned for all": Edit(".to(x.dtype)", ".float()"),
        "an odd width accepted": Edit("if D % 2:", "if False:"),
        "the gradient cut": lambda x, positions: turned(x.detach(), positions).to(x.dtype) + 0 * x,
    },
    "KVCache.append": {
        "overwritten": Edit("start, end = self.length, self.length + k.shape[-2]", "start, end = 0, k.shape[-2]"),
        "the new alone": Edit("return self.keys[..., :end, :], self.values[..., :end, :]", "return k, v"),
        "the empty room too": Edit("return self.keys[..., :end, :], self.values[..., :end, :]", "return self.keys, self.values"),
        "the length forgotten": Edit("self.length = end", "pass"),
        "one step at a time": Edit("self.length = end", "self.length += 1"),
        "never full": lambda self, k, v: joined_append(self, k, v, refuse=False),
        "only the new ones counted": lambda self, k, v: joined_append(self, k, v, spare=self.length),
        "one too many accepted": lambda self, k, v: joined_append(self, k, v, spare=1),
        "exactly full refused": Edit("if end > self.capacity:", "if end >= self.capacity:"),
        "the oldest dropped": sliding_append,
        "keys for values": Edit("values.copy_(v)", "values.copy_(k)"),
        "broadcast, not refused": Edit("if keys.shape != k.shape or values.shape != v.shape:", "if False:"),
        "a batch of one let in": Edit("keys.shape != k.shape or", "k.shape[0] > 1 and keys.shape != k.shape or"),
        "only the last axes compared": Edit("keys.shape != k.shape or", "keys.shape[1:] != k.shape[1:] or"),
        "only the keys looked at": Edit(" or values.shape != v.shape", ""),
        "counted before the shapes are compared": Edit(
            "        keys, values = self.keys", "        self.length = end\n        keys, values = self.keys"
        ),
        "newest first": lambda self, k, v: joined_append(self, k, v, newest_first=True),
        "one memory for all caches": shared_memory(),
        "room in float32": Edit("self.capacity, k.shape[-1])", "self.capacity, k.shape[-1], dtype=torch.float32)"),
        "room taken anew every time": Edit("if start == 0:", "if True:"),
        "counted before it is checked": Edit("if end > self.capacity:", "self.length = end\n        if end > self.capacity:"),
        "stored as far as there is room": lambda self, k, v: stored_as_far_as_it_goes(self, k, v),
    },
    "MultiHeadAttention.forward": {
        "no attention": lambda self, x, mask=None, cache=None: self.out(self.qkv(x).chunk(3, -1)[2]),
        "without the output projection": Edit("self.out(", "("),
        "heads interleaved": forward_by(split=lambda t, H: t.unflatten(-1, (-1, H)).movedim(-1, 1)),
        "one wide head": forward_by(split=lambda t, H: t[:, None], mix=lambda t: t[:, 0]),
        "heads merged in the wrong order": forward_by(mix=lambda t: t.permute(0, 2, 3, 1).flatten(2)),
        "heads merged without a transpose": forward_by(mix=lambda t: t.reshape(t.shape[0], t.shape[2], t.shape[1] * t.shape[3])),
        "never causal": forward_by(mask_of=lambda mask, causal, cache, T, S: mask),
        "the mask forgotten when causal": forward_by(
            mask_of=lambda mask, causal, cache, T, S: mask if causal is None else causal
        ),
        "causal forgotten when there is a mask": forward_by(
            mask_of=lambda mask, causal, cache, T, S: causal if mask is None else mask
        ),
        "mask or causal": Edit("mask & past", "mask | past"),
        "causal forgotten when there is a cache": forward_by(
            mask_of=lambda mask, causal, cache, T, S: both(mask, causal if cache is None else None)
        ),
        "one key short where there is a cache": Edit(
            "past = causal_mask(x.shape[1], k.shape[-2], device=x.device)",
            "past = causal_mask(x.shape[1], k.shape[-2], device=x.device).tril(k.shape[-2] - x.shape[1] - (cache is not None))",
        ),
        "causal aligned to the first keys": forward_by(
            mask_of=lambda mask, causal, cache, T, S: both(
                mask, None if causal is None else torch.ones(T, S, dtype=torch.bool).tril()
            )
        ),
        "the mask forgotten when there is a cache": forward_by(
            mask_of=lambda mask, causal, cache, T, S: both(mask if cache is None else None, causal)
        ),
        "the cache's positions ignored": Edit("0 if cache is None else cache.length", "0"),
        "the cache written but not read": Edit("k, v = cache.append(k, v)", "cache.append(k, v)"),
        "the cache not used": Edit("if cache is not None:", "if False:"),
        "rotated twice": forward_by(rotate=lambda q, k, v, p: (turned_in(q, p), turned_in(k, p), v)),
        "values rotated too": forward_by(rotate=lambda q, k, v, p: (q, k, turned_in(v, p))),
        "a residual added": lambda self, x, mask=None, cache=None: x + joined_forward(self, x, mask, cache),
        "queries and keys swapped": Edit("q, k, v = self", "k, q, v = self"),
        "the weights cut off": Edit("self.project(x,", "self.project(x.detach(),"),
    },
}


def sdpa_weights(q, k, mask=None):
    S = k.shape[-2]
    v = torch.eye(S, dtype=k.dtype, device=k.device).expand(*k.shape[:-2], S, S)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num()


def infinite_fill_weights(q, k, mask=None):
    scores = torch.einsum("...td,...sd->...ts", q, k) * q.shape[-1] ** -0.5
    if mask is None:
        return torch.softmax(scores, -1)
    return torch.where(mask, scores, -math.inf).softmax(-1).nan_to_num(0.0)


def shifted_exponent_weights(q, k, mask=None):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    mask = torch.ones((), dtype=torch.bool, device=q.device) if mask is None else mask
    top = scores.masked_fill(~mask, torch.finfo(scores.dtype).min).amax(-1, keepdim=True).detach()
    e = torch.where(mask, scores - top, -math.inf).exp()
    total = e.sum(-1, keepdim=True)
    return e / total.masked_fill(total == 0, 1)


def looped_weights(q, k, mask=None):
    """One query and one key after the other."""
    (T, D), S = q.shape[-2:], k.shape[-2]
    full = (*q.shape[:-2], T, S)
    allowed = q.new_ones(full, dtype=torch.bool) if mask is None else mask.expand(full)
    rows = []
    for t in range(T):
        scores = torch.stack([(q[..., t, :] * k[..., s, :]).sum(-1) for s in range(S)], -1) / math.sqrt(D)
        logs = scores.masked_fill(~allowed[..., t, :], torch.finfo(scores.dtype).min).log_softmax(-1)
        rows.append(logs.exp() * allowed[..., t, :])
    return torch.stack(rows, -2)


def looped_causal_mask(T, S, *, device=None):
    if S < T:
        raise ValueError(f"{T} queries, {S} keys")
    mask = torch.zeros(T, S, dtype=torch.bool)
    for t in range(T):
        mask[t, : S - T + t + 1] = True
    return mask.to(device)


def compared_causal_mask(T, S, *, device=None):
    if T > S:
        raise ValueError(f"{T} queries, {S} keys")
    return torch.arange(S, device=device) <= torch.arange(S - T, S, device=device)[:, None]


def looped_padding_mask(lengths, S):
    mask = torch.zeros(len(lengths), 1, 1, S, dtype=torch.bool)
    for b, n in enumerate(lengths.tolist()):
        if n < 0 or n > S:
            raise ValueError(f"{n} is not in 0 to {S}")
        mask[b, ..., :n] = True
    return mask


def triangular_padding_mask(lengths, S):
    if ((lengths < 0) | (lengths > S)).any():
        raise ValueError("a length is out of range")
    return torch.ones(S + 1, S, dtype=torch.bool).tril(-1)[lengths].view(-1, 1, 1, S)


def cumulated_padding_mask(lengths, S):
    """A one marks where the padding begins; from there on the sum is 1."""
    if lengths.numel() > 0 and (lengths.amin() < 0 or lengths.amax() > S):
        raise ValueError(f"lengths must lie in 0 to {S}")
    padding = F.one_hot(lengths, S + 1).cumsum(dim=-1)[:, :S]
    return (padding == 0).reshape(-1, 1, 1, S)


def filled_sinusoids(T, D, *, device=None):
    if D % 2 != 0:
        raise ValueError("odd")
    table = torch.empty(T, D, dtype=torch.float64)
    angles = torch.outer(torch.arange(T).double(), torch.exp(torch.arange(0, D, 2).double() * (-math.log(10000.0) / D)))
    table[:, 0::2], table[:, 1::2] = torch.sin(angles), torch.cos(angles)
    return table.to(device=device, dtype=torch.float32)


def complex_sinusoids(T, D, *, device=None):
    if D % 2:
        raise ValueError("odd")
    angles = torch.arange(T).double()[:, None] / torch.pow(10000.0, torch.arange(D // 2).double() * 2 / D)
    turning = torch.polar(torch.ones_like(angles), angles)
    return torch.stack((turning.imag, turning.real), 2).reshape(T, D).to(torch.float32).to(device)


def shifted_sinusoids(T, D, *, device=None):
    """A cosine is a sine a quarter turn ahead."""
    if D % 2:
        raise ValueError("odd")
    channel = torch.arange(D)
    angles = torch.arange(T).double()[:, None] * 10000.0 ** (-(channel - channel % 2).double() / D)
    return torch.sin(angles + channel % 2 * math.pi / 2).float().to(device)


def complex_rotary(x, positions):
    """As in Llama's own code: angles in float32, whatever comes."""
    if x.shape[-1] % 2:
        raise ValueError("odd")
    theta = 1.0 / (10000.0 ** (torch.arange(0, x.shape[-1], 2, device=x.device).float() / x.shape[-1]))
    angles = positions.float().unsqueeze(-1) * theta
    z = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(z * torch.polar(torch.ones_like(angles), angles)).flatten(-2).type_as(x)


def doubled_rotary(x, positions):
    """Tables as wide as x, and a copy of x with each pair turned by 90°; rounded to x's precision before the products."""
    D = x.shape[-1]
    if D % 2:
        raise ValueError("odd")
    theta = 10000.0 ** (-torch.arange(0, D, 2, device=x.device) / D)
    angles = (positions[..., None] * theta).repeat_interleave(2, dim=-1)
    quarter = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return x * angles.cos().to(x.dtype) + quarter * angles.sin().to(x.dtype)


def matrix_rotary(x, positions):
    """The block-diagonal matrix of equation 15, one vector after the other."""
    D = x.shape[-1]
    if D % 2:
        raise ValueError("odd")
    rows, flat = [], x.double().reshape(-1, D)
    for row, p in zip(flat, positions.expand(x.shape[:-1]).flatten().tolist(), strict=True):
        R = torch.zeros(D, D, dtype=torch.float64)
        for i in range(D // 2):
            a = p * 10000 ** (-2 * i / D)
            R[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = torch.tensor(
                [[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]], dtype=torch.float64
            )
        rows.append(R @ row)
    return torch.stack(rows).reshape(x.shape).to(x.dtype)


def alike(kept, new):
    """Whether two tensors (B, H, ·, D) differ in their number of positions at most."""
    return kept.shape[:2] == new.shape[:2] and kept.shape[3] == new.shape[3]


def joined_append(self, k, v, *, refuse=True, spare=0, newest_first=False):
    if refuse and self.length + k.shape[2] > self.capacity + spare:
        raise ValueError("full")
    if k.shape[:3] != v.shape[:3] or (self.length and not (alike(self.keys, k) and alike(self.values, v))):
        raise ValueError("another shape")
    if self.length == 0:
        self.keys, self.values = k, v
    elif newest_first:
        self.keys, self.values = torch.cat((k, self.keys), 2), torch.cat((v, self.values), 2)
    else:
        self.keys, self.values = torch.cat((self.keys, k), 2), torch.cat((self.values, v), 2)
    self.length = self.keys.shape[2]
    return self.keys, self.values


def listed_append(self, k, v):
    """Pieces in a list, put together when asked for."""
    if k.size(-2) > self.capacity - self.length:
        raise ValueError("full")
    earlier = (self.keys, self.values) if self.length else ([], [])
    if v.shape[:3] != k.shape[:3] or not all(alike(old[0], new) for old, new in zip(earlier, (k, v), strict=True) if old):
        raise ValueError("another shape")
    self.keys, self.values = [*earlier[0], k], [*earlier[1], v]
    self.length += k.size(-2)
    return torch.cat(self.keys, -2), torch.cat(self.values, -2)


def packed_append(self, k, v):
    """Keys and values in one tensor, written position by position."""
    if self.length + k.shape[2] > self.capacity:
        raise ValueError("full")
    if self.length == 0:
        self.keys = torch.zeros(2, self.capacity, k.shape[0], k.shape[1], k.shape[3], dtype=k.dtype)
    if not (k.shape == v.shape and self.keys.shape[2:] == (*k.shape[:2], k.shape[3])):
        raise ValueError("another shape")
    for t in range(k.shape[2]):
        self.keys[0, self.length], self.keys[1, self.length] = k[:, :, t], v[:, :, t]
        self.length += 1
    kept = self.keys[:, : self.length].permute(0, 2, 3, 1, 4)
    return kept[0], kept[1]


def joined_forward(self, x, mask=None, cache=None):
    """One call of the library."""
    q, k, v = self.project(x, 0 if cache is None else cache.length)
    if cache is not None:
        k, v = cache.append(k, v)
    if self.causal:
        T, S = q.shape[-2], k.shape[-2]
        past = torch.arange(S) <= torch.arange(S - T, S)[:, None]
        mask = past if mask is None else past.logical_and(mask)
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num()
    return self.out(mixed.permute(0, 2, 1, 3).reshape(x.shape))


def looped_forward(self, x, mask=None, cache=None):
    """Head by head, with einsum."""
    start = cache.length if cache is not None else 0
    q, k, v = self.project(x, start)
    k, v = (k, v) if cache is None else cache.append(k, v)
    B, H, T, S = q.shape[0], q.shape[1], q.shape[2], k.shape[2]
    allowed = torch.ones(B, H, T, S, dtype=torch.bool) if mask is None else mask.expand(B, H, T, S)
    if self.causal:
        allowed = allowed & compared_causal_mask(T, S)
    heads = [
        torch.einsum("bts,bsd->btd", infinite_fill_weights(q[:, h], k[:, h], allowed[:, h]), v[:, h]) for h in range(self.heads)
    ]
    return F.linear(torch.cat(heads, -1), self.out.weight, self.out.bias)


# A cache serves inference: nothing is differentiated through what it holds.
NO_GRADIENT = {"KVCache.append": ("k", "v"), "MultiHeadAttention.forward": ("cache",)}

VARIANTS = {
    "causal_mask": {
        "a loop": looped_causal_mask,
        "a comparison of positions": compared_causal_mask,
        "what is not above the diagonal": Edit(".tril(diagonal=S - T)", ".triu(diagonal=S - T + 1).logical_not()"),
    },
    "padding_mask": {
        "a loop": looped_padding_mask,
        "rows of a triangle": triangular_padding_mask,
        "a sum over one-hot rows": cumulated_padding_mask,
    },
    "attention_weights": {
        "the library, with the identity for values": sdpa_weights,
        "einsum, and −∞ wiped off": infinite_fill_weights,
        "exponentials by hand": shifted_exponent_weights,
        "a loop in log space": looped_weights,
        "the scale on both sides": Edit(
            "(q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)", "(q * q.shape[-1] ** -0.25) @ (k * q.shape[-1] ** -0.25).mT"
        ),
    },
    "scaled_dot_product_attention": {
        "the library": lambda q, k, v, mask=None: F.scaled_dot_product_attention(q, k, v, attn_mask=mask).nan_to_num(),
        "einsum": lambda q, k, v, mask=None: torch.einsum("...ts,...se->...te", infinite_fill_weights(q, k, mask), v),
        "a loop over queries": lambda q, k, v, mask=None: torch.stack(
            [(w[..., None] * v).sum(-2) for w in shifted_exponent_weights(q, k, mask).unbind(-2)], -2
        ),
    },
    "sinusoidal_positions": {
        "an outer product": filled_sinusoids,
        "complex numbers": complex_sinusoids,
        "a quarter turn ahead": shifted_sinusoids,
    },
    "apply_rotary": {
        "complex numbers in float32": complex_rotary,
        "a quarter turn mixed in": doubled_rotary,
        "the block-diagonal matrix": matrix_rotary,
    },
    "KVCache.append": {"concatenated": joined_append, "a list": listed_append, "one packed tensor": packed_append},
    "MultiHeadAttention.forward": {
        "the library": joined_forward,
        "head by head": looped_forward,
        "no helpers": forward_by(),
        "no mask for a single query": Edit("if self.causal:", "if self.causal and x.shape[1] > 1:"),
    },
}

FULL = "the slice of a full cache is too short, so the comparison of shapes raises the same error"
EQUIVALENT = {
    "attention_weights": {
        "call dropped: scores.softmax(dim=-1) * mask.any(dim=-1, keepdim=True) -> scores.softmax(dim=-1) * mask": (
            "in a row that has a key, the softmax is exactly 0 wherever the mask is"
        ),
    },
    "sinusoidal_positions": {
        "dtype: torch.arange(T, dtype=torch.float64) -> torch.arange(T)": "whole numbers are exact, and theta promotes the product",
        "dtype: torch.float64 -> torch.float32 #2": "positions below 2²⁴ are exact in float32, and theta promotes the product",
    },
    "apply_rotary": {
        "dtype: torch.arange(0, D, 2, device=x.d… -> torch.arange(0, D, 2, device=x.d… e6ba62": (
            "angles with more digits than asked for; the result is cast back to the dtype of x"
        ),
        "dtype: torch.arange(0, D, 2, device=x.device, dtype=dtype) -> torch.arange(0, D, 2, device=x.device)": (
            "divided by D, whole numbers become float32: for float64 that is what is asked for, and for all else the same numbers"
        ),
    },
    "KVCache.append": {
        "branch: end > self.capacity -> False": FULL,
        "raise: raise ValueError(f'the cache holds {self.capacity} positions, got position {end}') -> pass": FULL,
    },
    "MultiHeadAttention.forward": {
        f"constant: 0 if cache is None else cache.length -> {start} if cache is None else cache.length": (
            "rotary scores depend on distances alone, so all positions may be shifted"
        )
        for start in (1, -1)
    },
}
