"""What a right answer to text/rnn must do. Truths: `torch.lstm_cell` and `torch.gru_cell`, `nn.LSTM`, `nn.GRU` and `nn.RNN` with
the same weights, one row and one length at a time, Gram and Schmidt in a loop, and a text read anew for every symbol that is written.

A symbol is compared exactly, so every choice of the truth must be clear by `MARGIN`; inputs with a closer call are drawn again.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.testing import Edit, assert_close, assert_equal, assert_finite, assert_true, raises, weight_gradients

MARGIN = 1e-6
LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
BLOCKS = {"lstm": 4, "gru": 3, "rnn": 1}


# --- the cells ---------------------------------------------------------------------------------------------------------


def a_step(draw, blocks, dtype=torch.float64):
    """What a step reads: an input and the weights of torch's cell, and the share of the input as the stub gets it."""
    B, D, H = draw.batch(), draw.size(), draw.size()
    x, h = draw.normal(B, D, dtype=dtype), draw.normal(B, H, dtype=dtype)
    w_ih, w_hh = draw.normal(blocks * H, D, dtype=dtype), draw.normal(blocks * H, H, dtype=dtype)
    b_ih, b_hh = draw.normal(blocks * H, dtype=dtype), draw.normal(blocks * H, dtype=dtype)
    return x, h, w_ih, w_hh, b_ih, b_hh, F.linear(x, w_ih, b_ih)


@pytest.mark.stub("lstm_cell")
def test_a_step_of_an_lstm_is_torchs(impl, draw):
    x, h, w_ih, w_hh, b_ih, b_hh, projected = a_step(draw, 4)
    c = draw.normal(*h.shape, scale=2)
    new_h, new_c = impl.lstm_cell(projected, h, c, w_hh, b_hh)
    expected_h, expected_c = torch.lstm_cell(x, (h, c), w_ih, w_hh, b_ih, b_hh)
    hint = "c = σ(f) c + σ(i) tanh(g); the blocks stand in the order i, f, g, o; the map of h has a bias of its own"
    assert_close(new_c, expected_c, what="the new c", hint=hint)
    hint = "h = σ(o) tanh(c), of the new c; h comes first in what is returned"
    assert_close(new_h, expected_h, what="the new h", hint=hint)


@pytest.mark.stub("lstm_cell")
def test_gradients_of_a_step_of_an_lstm(impl, draw):
    _, h, _, w_hh, b_ih, b_hh, projected = a_step(draw, 4)
    c, by_h, by_c = draw.normal(*h.shape), draw.normal(*h.shape), draw.normal(*h.shape)
    given = [projected, h, c, w_hh, b_hh]
    with torch.enable_grad():
        leaves = [value.clone().requires_grad_() for value in given]
        projected, *state, weight, bias = leaves
        identity = torch.eye(projected.shape[1], dtype=torch.float64)
        none = torch.zeros_like(b_ih)
        new_h, new_c = torch.lstm_cell(projected, state, identity, weight, none, bias)
        expected = torch.autograd.grad((new_h * by_h + new_c * by_c).sum(), leaves)
    actual = impl.vjp("lstm_cell", *given, wrt=tuple(range(5)), cotangent=[by_h, by_c])
    for name, mine, truth in zip(("projected", "h", "c", "weight", "bias"), actual, expected, strict=True):
        hint = "nothing is detached: gradients run through h, through c and through every gate"
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("lstm_cell")
def test_gates_that_are_shut_and_open(impl, draw):
    B, H = draw.batch(), draw.size()
    c, h = draw.normal(B, H, scale=50), draw.normal(B, H)
    weight, bias = torch.zeros(4 * H, H, dtype=torch.float64), torch.zeros(4 * H, dtype=torch.float64)
    shut, open_ = torch.full((B, H), -1e3, dtype=torch.float64), torch.full((B, H), 1e3, dtype=torch.float64)
    g = draw.normal(B, H)
    new_h, new_c = impl.lstm_cell(torch.cat([shut, open_, g, open_], 1), h, c, weight, bias)
    hint = "with i shut and f open the cell stays as it is, however large it has grown: it is not squashed"
    assert_close(new_c, c, what="the new c", hint=hint)
    assert_close(new_h, c.tanh(), what="the new h", hint="with o open, h is tanh(c)")
    _, new_c = impl.lstm_cell(torch.cat([open_, shut, g, shut], 1), h, c, weight, bias)
    assert_close(new_c, g.tanh(), what="the new c", hint="with f shut and i open the cell is overwritten by tanh(g)")


def large_numbers(draw, blocks):
    """What a step of 1e4 reads, in float32."""
    B, H = draw.batch(), draw.size()
    projected, h = draw.normal(B, blocks * H, scale=1e4, dtype=torch.float32), draw.normal(B, H, dtype=torch.float32)
    return projected, h, draw.normal(blocks * H, H, dtype=torch.float32), torch.zeros(blocks * H)


@pytest.mark.stub("lstm_cell")
def test_large_numbers_in_float32(impl, draw):
    projected, h, weight, bias = large_numbers(draw, 4)
    for value in impl.lstm_cell(projected, h, draw.normal(*h.shape, dtype=torch.float32), weight, bias):
        assert_finite(value, hint="exp(1e4) overflows: use torch's sigmoid and tanh")
        assert_equal(str(value.dtype), "torch.float32", what="the dtype of what came from float32", hint="the dtype is kept")


@pytest.mark.stub("gru_cell")
def test_large_numbers_in_float32_for_a_gru(impl, draw):
    new = impl.gru_cell(*large_numbers(draw, 3))
    assert_finite(new, hint="exp(1e4) overflows: use torch's sigmoid and tanh")
    assert_equal(str(new.dtype), "torch.float32", what="the dtype of what came from float32", hint="the dtype is kept")


@pytest.mark.stub("gru_cell")
def test_a_step_of_a_gru_is_torchs(impl, draw):
    x, h, w_ih, w_hh, b_ih, b_hh, projected = a_step(draw, 3)
    expected = torch.gru_cell(x, h, w_ih, w_hh, b_ih, b_hh)
    hint = "blocks in the order r, z, n; n = tanh(W x + b + r (U h + b')), the bias of h inside; h = (1 − z) n + z h"
    assert_close(impl.gru_cell(projected, h, w_hh, b_hh), expected, hint=hint)


@pytest.mark.stub("gru_cell")
def test_gradients_of_a_step_of_a_gru(impl, draw):
    _, h, _, w_hh, b_ih, b_hh, projected = a_step(draw, 3)
    g, given = draw.normal(*h.shape), [projected, h, w_hh, b_hh]
    with torch.enable_grad():
        leaves = [value.clone().requires_grad_() for value in given]
        identity = torch.eye(projected.shape[1], dtype=torch.float64)
        new = torch.gru_cell(leaves[0], leaves[1], identity, leaves[2], torch.zeros_like(b_ih), leaves[3])
        expected = torch.autograd.grad((new * g).sum(), leaves)
    actual = impl.vjp("gru_cell", *given, wrt=(0, 1, 2, 3), cotangent=g)
    for name, mine, truth in zip(("projected", "h", "weight", "bias"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint="nothing is detached, neither a gate nor h")


@pytest.mark.stub("gru_cell")
def test_a_gru_that_keeps_and_one_that_forgets(impl, draw):
    B, H = draw.batch(), draw.size()
    h, n, weight, bias = draw.normal(B, H, scale=20), draw.normal(B, H), draw.normal(3 * H, H), draw.normal(3 * H)
    weight[: 2 * H] = 0
    shut, open_ = torch.full((B, H), -1e3, dtype=torch.float64), torch.full((B, H), 1e3, dtype=torch.float64)
    kept = impl.gru_cell(torch.cat([open_, open_, n], 1), h, weight, bias)
    assert_close(kept, h, what="h with z open", hint="in torch's convention z is the share of the old h")
    forgotten = impl.gru_cell(torch.cat([shut, shut, n], 1), h, weight, bias)
    hint = "with r shut nothing of h is left in n, and nothing of its bias"
    assert_close(forgotten, n.tanh(), what="h with r and z shut", hint=hint)


# --- the start ---------------------------------------------------------------------------------------------------------


def gram_schmidt(matrix):
    """Columns one after another, each freed from those before it, twice against rounding."""
    found = []
    for column in matrix.double().T.clone():
        for _ in range(2):
            for earlier in found:
                column = column - (column @ earlier) * earlier
        found.append(column / column.norm())
    return torch.stack(found, dim=1)


@pytest.mark.stub("orthogonal")
@pytest.mark.parametrize("shape", ["tall", "wide", "square"])
def test_orthogonal_is_gram_and_schmidt(impl, draw, shape):
    low, high = sorted(draw.sizes(2))
    M, N = {"tall": (high, low), "wide": (low, high), "square": (high, high)}[shape]
    normal = draw.normal(M, N, scale=draw.number(0.1, 10))
    expected = gram_schmidt(normal) if M >= N else gram_schmidt(normal.T).T
    result = impl.orthogonal(normal)
    small = result.T @ result if M >= N else result @ result.T
    hint = "orthonormal columns where it is tall, rows where it is wide: transpose, and transpose back"
    assert_close(
        small, torch.eye(min(M, N), dtype=torch.float64), tolerance=1e-7, what="the products of columns or rows", hint=hint
    )
    hint = "each column keeps its direction but for what lies along those before it: fix the signs by R's diagonal"
    assert_close(result, expected, tolerance=1e-6, hint=hint)


@pytest.mark.stub("orthogonal")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_orthogonal_keeps_its_signs(impl, draw, dtype):
    n = draw.size()
    signs = torch.ones(n, dtype=dtype)
    signs[draw.integers(n, (n // 2,))] = -1
    matrix = torch.diag(signs)[draw.permutation(n)]
    hint = "it is orthogonal already; whatever signs LAPACK returns, R's diagonal is to be positive"
    assert_close(impl.orthogonal(matrix * draw.choice((0.3, 3.0))), matrix, hint=hint, hint_for="values dtype")


@pytest.mark.stub("orthogonal")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_returned(impl, draw, dtype):
    M, N = draw.integer(4, 8), draw.integer(1, 3)
    for shape in ((M, N), (N, M)):
        normal = draw.normal(*shape).to(dtype)
        tall = normal if shape == (M, N) else normal.T
        expected = gram_schmidt(tall) if shape == (M, N) else gram_schmidt(tall).T
        hint = "`qr` has no half precision: compute in float32, and return the dtype that came"
        assert_close(impl.orthogonal(normal), expected.to(dtype), tolerance=2e-2, hint=hint, hint_for="values dtype")


@pytest.mark.stub("orthogonal")
def test_one_row_or_column_is_scaled_to_length_one(impl, draw):
    n = draw.integer(2, 8)
    for shape in ((1, n), (n, 1), (1, 1)):
        normal = draw.normal(*shape, scale=3)
        assert_close(
            impl.orthogonal(normal), normal / normal.norm(), what=f"the result for {shape}", hint="only its length changes"
        )


def blocks_of(weight, H):
    return [weight[i : i + H] for i in range(0, len(weight), H)]


@pytest.mark.stub("Recurrent.initialise")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_each_gate_begins_with_orthogonal_maps(impl, draw, cell):
    D, H = draw.size(), draw.size()
    state = impl.Recurrent(D, H, cell).state_dict()
    for name in ("weight_ih_l0", "weight_hh_l0"):
        for i, block in enumerate(blocks_of(state[name].double(), H)):
            small = block.T @ block if block.shape[0] >= block.shape[1] else block @ block.T
            hint = "`orthogonal` for each gate by itself: stacked gates that are orthogonal together shrink each of them"
            expected = torch.eye(len(small), dtype=torch.float64)
            assert_close(small, expected, tolerance=1e-5, what=f"the products within gate {i} of {name}", hint=hint)


@pytest.mark.stub("Recurrent.initialise")
def test_a_layer_in_float64_stays_there(impl, draw):
    layer = impl.Recurrent(draw.size(), draw.size(), draw.choice(tuple(BLOCKS)))
    layer.double()
    layer.initialise(1.0)
    for name, value in layer.state_dict().items():
        hint = "write into the parameters that are there (`copy_`, `zero_`); new ones would lose dtype, device and optimizer"
        assert_equal(str(value.dtype), "torch.float64", what=f"the dtype of {name} of a layer in float64", hint=hint)


@pytest.mark.stub("Recurrent.initialise")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_biases_begin_with_remembering(impl, draw, cell):
    D, H, bias = draw.size(), draw.size(), draw.number(-3, 3)
    layer = impl.Recurrent(D, H, cell)
    layer.load_state_dict(draw.like(layer.fresh_state()))
    layer.initialise(bias)
    state = layer.state_dict()
    expected = torch.zeros(BLOCKS[cell] * H)
    if cell != "rnn":
        expected[H : 2 * H] = bias
    hint = "input and state have a bias each, and they are added: their sum counts. f is the second of i, f, g, o, z of r, z, n"
    assert_close(state["bias_ih_l0"] + state["bias_hh_l0"], expected, what="the sum of both biases", hint=hint)


@pytest.mark.stub("Recurrent.initialise")
def test_by_default_the_forget_bias_is_one(impl, draw):
    H = draw.size()
    state = impl.Recurrent(draw.size(), H).state_dict()
    total = state["bias_ih_l0"] + state["bias_hh_l0"]
    assert_close(total[H : 2 * H], torch.ones(H), what="the bias of the forget gate", hint="what __init__ hands over is used")


@pytest.mark.stub("Recurrent.initialise")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_all_is_drawn_anew(impl, draw, cell):
    D, H = draw.integer(2, 5), draw.integer(2, 5)
    layer = impl.Recurrent(D, H, cell)
    seen = []
    for _ in range(2):
        layer.initialise(1.0)
        state = layer.state_dict()
        seen += [block.flatten()[:2] for name in ("weight_ih_l0", "weight_hh_l0") for block in blocks_of(state[name], H)]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            hint = "each gate gets a matrix of its own, and each call new ones; equal gates would learn the same"
            assert_true(not torch.equal(one, other), "two gates, or two starts, have the same numbers", hint=hint)
    signs = torch.cat([impl.Recurrent(1, 1, cell).state_dict()["weight_hh_l0"].sign().flatten() for _ in range(12)])
    hint = "of a normal number both signs are equally likely: is the matrix drawn from `torch.randn`?"
    assert_true(bool((signs > 0).any()) and bool((signs < 0).any()), "all numbers have one sign, expected both", hint=hint)


# --- unrolling ---------------------------------------------------------------------------------------------------------


def a_layer(impl, draw, cell, D=None, H=None):
    """A layer with random weights in float64, and torch's own with the same."""
    D, H = D or draw.size(), H or draw.size()
    layer = impl.Recurrent(D, H, cell)
    layer.double()
    state = draw.like(layer.fresh_state(), scale=0.8)
    layer.load_state_dict(state)
    truth = LAYERS[cell](D, H, batch_first=True).double()
    truth.load_state_dict(state)
    return layer, truth, D, H


def torchs(cell, state):
    """A state as torch wants it: with an axis for layers in front, a pair for an LSTM."""
    parts = [part[None].contiguous() for part in state]
    return tuple(parts) if cell == "lstm" else parts[0]


def parts_of(cell, state):
    """A state of torch's as the unit has it."""
    return tuple(part[0] for part in (state if cell == "lstm" else (state,)))


def a_state(draw, cell, B, H):
    return tuple(draw.normal(B, H) for _ in range(2 if cell == "lstm" else 1))


def assert_states(actual, expected, hint):
    assert_equal(len(actual), len(expected), what="the number of parts of the state", hint="h and c of an LSTM, h of the others")
    for name, mine, truth in zip("hc", actual, expected, strict=False):
        assert_close(mine, truth, what=f"{name} of the last state", hint=hint)


@pytest.mark.stub("Recurrent.forward")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("given", [False, True])
def test_a_layer_is_torchs(impl, draw, cell, given):
    layer, truth, D, H = a_layer(impl, draw, cell)
    B, T = draw.batch(), draw.size()
    x, state = draw.normal(B, T, D), a_state(draw, cell, B, H)
    with torch.no_grad():
        expected, last = truth(x, torchs(cell, state) if given else None)
    outputs, new = layer(x, state) if given else layer(x)
    hint = "project x by weight_ih_l0 and bias_ih_l0, then `step` from place to place; begin with `state`, else with `start`"
    assert_close(outputs, expected, what="h at each place", hint=hint)
    assert_states(new, parts_of(cell, last), "the state behind the last place")


@pytest.mark.stub("Recurrent.forward")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_rows_of_different_lengths(impl, draw, cell):
    layer, truth, D, H = a_layer(impl, draw, cell)
    B, T = draw.batch(2), draw.size(2)
    x, state, lengths = draw.normal(B, T, D), a_state(draw, cell, B, H), draw.integers(T + 1, (B,))
    lengths[draw.integer(0, B - 1)] = draw.choice((0, T))
    expected = torch.zeros(B, T, H, dtype=torch.float64)
    last = tuple(part.clone() for part in state)
    with torch.no_grad():
        for b, length in enumerate(lengths.tolist()):
            if length:
                mine = tuple(part[b : b + 1] for part in state)
                expected[b : b + 1, :length], end = truth(x[b : b + 1, :length], torchs(cell, mine))
                for part, value in zip(last, parts_of(cell, end), strict=True):
                    part[b] = value[0]
    outputs, new = layer(x, state, lengths)
    assert_close(
        outputs, expected, what="h at each place", hint="a row reads what lies before its end; behind it what is returned is 0"
    )
    assert_states(new, last, "behind a row's end its state, h and c, stays what it was; with a length of 0 it never changes")


@pytest.mark.stub("Recurrent.forward")
def test_what_lies_in_the_padding_has_no_effect(impl, draw):
    layer, _, D, _ = a_layer(impl, draw, "lstm")
    B, T = draw.batch(2), draw.integer(3, 7)
    x, lengths = draw.normal(B, T, D), draw.integers(T, (B,), 1)
    other = x.clone()
    for b, length in enumerate(lengths.tolist()):
        other[b, length:] += 100
    one = layer(x, None, lengths)
    for padding in (100, float("nan")):
        other[other != x] = padding
        two = layer(other, None, lengths)
        hint = "padding is skipped (`torch.where`), not multiplied into the state: 0 times NaN is NaN"
        assert_close(two[0], one[0], what=f"h with a padding of {padding}", hint=hint)
        assert_states(two[1], one[1], hint)


@pytest.mark.stub("Recurrent.forward")
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_what_lies_in_the_padding_has_no_effect_on_gradients(impl, draw, cell):
    layer, _, D, H = a_layer(impl, draw, cell)
    B, T = draw.batch(2), draw.integer(3, 7)
    x, g, lengths = draw.normal(B, T, D), draw.normal(B, T, H), draw.integers(T, (B,), 1)
    clean, dirty = x.clone(), x.clone()
    for b, length in enumerate(lengths.tolist()):
        clean[b, length:], dirty[b, length:] = 0, float("nan")
    expected = layer.vjp(clean, None, lengths, wrt="parameters", cotangent=[g])
    hint = (
        "the product of an input of NaN with a gradient of 0 is NaN, in the gradient of the weights: clear padding before the map"
    )
    for name, value in layer.vjp(dirty, None, lengths, wrt="parameters", cotangent=[g]).items():
        assert_close(value, expected[name], what=f"the gradient of {name} with NaN in the padding", hint=hint)


@pytest.mark.stub("Recurrent.forward")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_text_in_two_parts(impl, draw, cell):
    layer, truth, D, _ = a_layer(impl, draw, cell)
    B, T = draw.batch(), draw.integer(2, 8)
    x, cut = draw.normal(B, T, D), draw.integer(1, T - 1)
    with torch.no_grad():
        expected, last = truth(x)
    first, state = layer(x[:, :cut])
    second, state = layer(x[:, cut:], state)
    hint = "what is returned is all that the next call needs: h and c behind the last place"
    assert_close(torch.cat([first, second], 1), expected, what="h at each place", hint=hint)
    assert_states(state, parts_of(cell, last), hint)


@pytest.mark.stub("Recurrent.forward")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("padded", [False, True])
def test_gradients_through_time(impl, draw, cell, padded):
    layer, truth, D, H = a_layer(impl, draw, cell)
    B, T = draw.batch(2), draw.integer(2, 6)
    x, g = draw.normal(B, T, D), draw.normal(B, T, H)
    lengths = draw.integers(T + 1, (B,), 1) if padded else torch.full((B,), T)
    of_state = a_state(draw, cell, B, H)
    with torch.enable_grad():
        leaf, total = x.clone().requires_grad_(), torch.zeros((), dtype=torch.float64)
        for b, length in enumerate(lengths.tolist()):  # each row by itself, without padding
            h, last = truth(leaf[b : b + 1, :length])
            total = total + (h[0] * g[b, :length]).sum()
            total = total + sum((part[0] * weight[b]).sum() for part, weight in zip(parts_of(cell, last), of_state, strict=True))
        by_x = torch.autograd.grad(total, leaf, retain_graph=True)[0]
        expected = weight_gradients(truth, total)
    given = (x, None, lengths) if padded else (x,)
    hint = "gradients run through every step back to the first, from h and from the state: nothing is detached, and nothing runs into padding"
    weights = [g, of_state]
    assert_close(layer.vjp(*given, wrt=0, cotangent=weights), by_x, what="the gradient of the input", hint=hint)
    for name, value in layer.vjp(*given, wrt="parameters", cotangent=weights).items():
        assert_close(value, expected[name], what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("Recurrent.forward")
def test_impossible_lengths_are_refused(impl, draw):
    layer, _, D, _ = a_layer(impl, draw, "gru")
    B, T = draw.integer(2, 4), draw.integer(2, 5)
    x = draw.normal(B, T, D)
    for wrong in (T + 1, -1):
        lengths = torch.full((B,), T)
        lengths[draw.integer(0, B - 1)] = wrong
        with raises(ValueError, hint="0 and T are the least and the most that a row can have"):
            layer(x, None, lengths)
    with raises(ValueError, hint="without a place there is no last one"):
        layer(x[:, :0])


# --- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.stub("streams")
def test_each_row_goes_on_where_it_ended(impl, draw):
    B, T, K = draw.batch(), draw.size(), draw.size()
    length = K * T + draw.integer(0, T - 1)
    ids = draw.integers(1000, (B * length + 1 + draw.integer(0, B - 1),))
    expected = torch.stack(
        [torch.stack([ids[b * length + k * T : b * length + k * T + T + 1] for b in range(B)]) for k in range(K)]
    )
    hint = "row b is the text from b · ((N − 1) // B) on; a chunk begins with the symbol that the chunk before ended with"
    assert_equal(impl.streams(ids, B, T), expected, hint=hint)


@pytest.mark.stub("streams")
def test_the_shortest_text(impl, draw):
    B, T = draw.integer(2, 6), draw.integer(2, 6)
    ids = torch.arange(B * T + 1)
    expected = torch.stack([ids[b * T : b * T + T + 1] for b in range(B)])[None]
    assert_equal(impl.streams(ids, B, T), expected, hint="B · T inputs and one symbol behind them are enough for a chunk")
    with raises(ValueError, hint="the last input needs a target too"):
        impl.streams(ids[:-1], B, T)


# --- a step of training ------------------------------------------------------------------------------------------------


class Truth(nn.Module):
    """The model with torch's own layer, under the same names."""

    def __init__(self, symbols, embedding, width, cell):
        super().__init__()
        self.cell = cell
        self.tokens, self.readout = nn.Embedding(symbols, embedding), nn.Linear(width, symbols)
        self.recurrent = LAYERS[cell](embedding, width, batch_first=True)

    def forward(self, ids, state=None):
        h, state = self.recurrent(self.tokens(ids), None if state is None else torchs(self.cell, state))
        return self.readout(h), parts_of(self.cell, state)


def a_model(impl, draw, cell="lstm", scale=0.7):
    """A language model with random weights in float64, and the truth with the same."""
    symbols, embedding, width = draw.size(2), draw.size(), draw.size()
    model = impl.LanguageModel(impl.Config(symbols=symbols, embedding=embedding, width=width, cell=cell))
    model.double()
    state = draw.like(model.fresh_state(), scale=scale)
    model.load_state_dict(state)
    truth = Truth(symbols, embedding, width, cell).double()
    truth.load_state_dict(state)
    return model, truth, symbols, width


def descend(truth, chunk, state, rate, clip, part=""):
    """One step of plain descent on the truth: the loss before it, the new state, and the norm of the gradient."""
    with torch.enable_grad():
        logits, state = truth(chunk[:, :-1], state)
        loss = F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())
        slopes = weight_gradients(truth, loss)
    norm = torch.stack([slope.square().sum() for slope in slopes.values()]).sum().sqrt().item()
    for name, parameter in truth.named_parameters():
        if name.startswith(part):
            parameter.data -= rate * slopes[name] * min(1.0, clip / norm)
    return loss.detach(), tuple(x.detach() for x in state), norm


def compare(model, truth, hint):
    actual = model.state_dict()
    for name, expected in truth.state_dict().items():
        assert_close(actual[name], expected, tolerance=1e-5, what=f"{name} after the step", hint=hint)


@pytest.mark.stub("truncated_bptt")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_chunk_after_chunk(impl, draw, cell):
    model, truth, V, _ = a_model(impl, draw, cell)
    B, T, rate = draw.batch(), draw.size(), draw.number(0.1, 0.5)
    optimizer, state, mine = impl.make_optimizer(model, rate, adaptive=False), None, None
    for k in range(3):
        chunk = draw.integers(V, (B, T + 1))
        loss, mine = impl.truncated_bptt(model, optimizer, chunk, mine, 1e9)
        expected, state, _ = descend(truth, chunk, state, rate, 1e9)
        hint = "inputs are all symbols but the last, targets all but the first; begin with the state that is handed over"
        assert_close(loss, expected, tolerance=1e-6, what=f"the loss of chunk {k}", hint=hint)
        assert_states(mine, state, "the state behind the last input, as it was before the update")
        hint = "clear the gradients, backward, one step of the optimizer; the state that comes in has no history"
        compare(model, truth, hint)


@pytest.mark.stub("truncated_bptt")
def test_the_gradient_is_clipped_as_a_whole(impl, draw):
    for part in (0.3, 3.0):
        model, truth, V, H = a_model(impl, draw)
        chunk, state = draw.integers(V, (draw.integer(1, 3), draw.integer(2, 6))), None
        copy = Truth(V, truth.tokens.embedding_dim, H, "lstm").double()
        copy.load_state_dict(truth.state_dict())
        _, _, norm = descend(copy, chunk, state, 0.0, 1e9)
        impl.truncated_bptt(model, impl.make_optimizer(model, 0.5, adaptive=False), chunk, state, part * norm)
        descend(truth, chunk, state, 0.5, part * norm)
        hint = "scale by clip / norm where the norm over all weights together is above `clip`, between backward and step"
        compare(model, truth, hint)


@pytest.mark.stub("truncated_bptt")
def test_a_clip_of_one_by_default(impl, draw):
    model, truth, V, _ = a_model(impl, draw, scale=3.0)
    while True:
        chunk = draw.integers(V, (draw.batch(), 4))
        copy = Truth(V, truth.tokens.embedding_dim, truth.recurrent.hidden_size, "lstm").double()
        copy.load_state_dict(truth.state_dict())
        if descend(copy, chunk, None, 0.0, 1.0)[2] > 1.2:
            break
        model, truth, V, _ = a_model(impl, draw, scale=3.0)
    impl.truncated_bptt(model, impl.make_optimizer(model, 0.3, adaptive=False), chunk, None)
    descend(truth, chunk, None, 0.3, 1.0)
    compare(model, truth, "`clip` is 1 where nothing is said")


@pytest.mark.stub("truncated_bptt")
def test_gradients_that_were_there_before_count_for_nothing(impl, draw):
    model, truth, V, _ = a_model(impl, draw)
    first, second = draw.integers(V, (2, 4)), draw.integers(V, (2, 4))
    only = impl.make_optimizer(model.get_submodule("readout"), 0.2, adaptive=False)  # leaves gradients in all the rest
    _, state = impl.truncated_bptt(model, only, first, None, 1e9)
    _, expected, _ = descend(truth, first, None, 0.2, 1e9, "readout")
    impl.truncated_bptt(model, impl.make_optimizer(model, 0.2, adaptive=False), second, state, 1e9)
    descend(truth, second, expected, 0.2, 1e9)
    compare(model, truth, "backward adds to the gradients that are there: clear them before it, not after the step")


@pytest.mark.stub("truncated_bptt")
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_no_gradient_runs_into_an_earlier_chunk(impl, draw, cell):
    model, truth, V, _ = a_model(impl, draw, cell)
    chunks, state, expected = draw.integers(V, (3, draw.integer(1, 3), draw.integer(2, 6))), None, []
    for chunk in chunks:
        loss, state, _ = descend(truth, chunk, state, 0.2, 1.0)
        expected.append(loss)
    losses = impl.one_pass(model, impl.make_optimizer(model, 0.2, adaptive=False), list(chunks))
    hint = "detach the loss and each part of the state, h and c: what leaves a step has no history"
    assert_close(losses, torch.stack(expected), tolerance=1e-5, what="the losses", hint=hint)


# --- writing -----------------------------------------------------------------------------------------------------------


def chosen(logits, temperature, u):
    """The symbol, and how clear the call was."""
    if temperature == 0:
        ranked = logits.sort(descending=True)
        return ranked.indices[0].item(), (ranked.values[0] - ranked.values[1]).item()
    ends = (logits / temperature).softmax(-1).cumsum(-1)
    return int((ends <= u).sum()), (ends - u).abs().min().item()


@torch.no_grad()
def written(truth, prompts, lengths, count, temperature, uniforms):
    """Each row by itself, the whole text read anew for every symbol; and the closest call."""
    rows, margin = [], 1.0
    for b, length in enumerate(lengths.tolist()):
        text = prompts[b, :length].tolist()
        for n in range(count):
            logits = truth(torch.tensor([text]))[0][0, -1]
            symbol, clear = chosen(logits, temperature, uniforms[b, n].item())
            margin = min(margin, clear)
            text.append(symbol)
        rows.append(text[length:])
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), count), margin


def a_task(impl, draw, temperature, cell="lstm"):
    """A model, prompts of different lengths and numbers whose choices are all clear."""
    while True:
        model, truth, V, _ = a_model(impl, draw, cell, scale=1.5)
        B, T, N = draw.batch(2), draw.size(2), draw.integer(2, 8)
        prompts, lengths = draw.integers(V, (B, T)), draw.integers(T + 1, (B,), 1)
        uniforms = draw.uniform(B, N)
        expected, margin = written(truth, prompts, lengths, N, temperature, uniforms)
        if margin > MARGIN and (temperature == 0 or len(expected.unique()) > 1):
            return model, truth, prompts, lengths, N, uniforms, expected


@pytest.mark.stub("generate")
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0, 2.5])
def test_text_goes_on_behind_each_prompt(impl, draw, temperature):
    model, _, prompts, lengths, N, uniforms, expected = a_task(impl, draw, temperature, draw.choice(("lstm", "gru")))
    result = impl.generate(model, prompts, lengths, N, temperature=temperature, uniforms=uniforms)
    hint = (
        "the first symbol comes from the logits at a row's own last place, lengths − 1; then feed each new one once, with the state; "
        "logits / temperature, and the n-th number of the row for its n-th symbol"
    )
    assert_equal(result, expected, hint=hint)


@pytest.mark.stub("generate")
def test_numbers_come_from_the_seed(impl, draw):
    seed = draw.integer(1, 999)
    while True:
        model, truth, V, _ = a_model(impl, draw, scale=1.5)
        B, T, N = draw.choice((1, 3, 4)), draw.integer(1, 4), draw.integer(3, 6)
        prompts, lengths = draw.integers(V, (B, T)), torch.full((B,), T)
        uniforms = torch.rand(B, N, generator=torch.Generator().manual_seed(seed))
        expected, margin = written(truth, prompts, lengths, N, 1.0, uniforms)
        other, _ = written(truth, prompts, lengths, N, 1.0, torch.rand(B, N, generator=torch.Generator().manual_seed(0)))
        if margin > MARGIN and not torch.equal(expected, other):
            break
    hint = "torch.rand(B, N) from a generator of its own, seeded with `seed`; the temperature is 1 by default"
    assert_equal(impl.generate(model, prompts, lengths, N, seed=seed), expected, hint=hint)


@pytest.mark.stub("generate")
def test_in_bfloat16_every_symbol_can_be_drawn(impl, draw):
    V, B, N = draw.integer(900, 1000), draw.integer(1, 3), 40
    model = impl.LanguageModel(impl.Config(symbols=V, embedding=2, width=2))
    model.load_state_dict({name: torch.zeros_like(value) for name, value in model.fresh_state().items()})
    model.bfloat16()
    wanted = draw.integers(V, (B, N))
    uniforms = (wanted + 0.5) / V
    result = impl.generate(model, torch.zeros(B, 1, dtype=torch.int64), torch.ones(B, dtype=torch.int64), N, uniforms=uniforms)
    hint = "all symbols are equally likely here: cumulated in bfloat16, most are never drawn; make the logits float32 first"
    assert_equal(result, wanted, hint=hint)


@pytest.mark.stub("generate")
def test_a_temperature_of_zero_needs_no_numbers(impl, draw):
    V, B, N = draw.integer(3, 8), draw.integer(1, 3), draw.integer(1, 4)
    model = impl.LanguageModel(impl.Config(symbols=V, embedding=2, width=2))
    state = {name: torch.zeros_like(value) for name, value in model.fresh_state().items()}
    first, last = sorted(draw.permutation(V)[:2].tolist())
    state["readout.bias"][[first, last]] = 1.0
    model.load_state_dict(state)
    prompts, lengths = draw.integers(V, (B, 1)), torch.ones(B, dtype=torch.int64)
    result = impl.generate(model, prompts, lengths, N, temperature=0.0, uniforms=torch.full((B, N), 0.999))
    hint = (
        "of two equally likely symbols argmax takes the first, whatever the numbers are: a very low temperature would still draw"
    )
    assert_equal(result, torch.full((B, N), first), hint=hint)


@pytest.mark.stub("generate")
def test_nothing_is_asked_for(impl, draw):
    model, _, V, _ = a_model(impl, draw)
    B, T = draw.batch(), draw.size()
    result = impl.generate(model, draw.integers(V, (B, T)), torch.full((B,), T), 0)
    assert_equal(result, torch.zeros(B, 0, dtype=torch.int64), hint="no new symbols are B rows of none")


@pytest.mark.stub("generate")
def test_prompts_and_temperatures_that_cannot_be(impl, draw):
    model, _, V, _ = a_model(impl, draw)
    B, T = draw.integer(2, 4), draw.integer(2, 4)
    prompts, lengths = draw.integers(V, (B, T)), torch.full((B,), T)
    with raises(ValueError, hint="a negative temperature would prefer the unlikely"):
        impl.generate(model, prompts, lengths, 3, temperature=-0.5)
    lengths[draw.integer(0, B - 1)] = 0
    with raises(ValueError, hint="a row without a prompt has no last place: lengths − 1 would be the end of the padding"):
        impl.generate(model, prompts, lengths, 3)


# --- wrong answers, and other right ones -------------------------------------------------------------------------------


def lstm_by_blocks(projected, h, c, weight, bias):
    """Each gate by its own rows of the weight."""
    H = h.shape[1]
    i, f, g, o = (projected[:, k : k + H] + h @ weight[k : k + H].T + bias[k : k + H] for k in range(0, 4 * H, H))
    new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(new), new


def lstm_by_torch(projected, h, c, weight, bias):
    eye = torch.eye(projected.shape[1], dtype=projected.dtype, device=projected.device)
    return torch.lstm_cell(projected, (h, c), eye, weight, torch.zeros_like(bias), bias)


def lstm_by_one_sigmoid(projected, h, c, weight, bias):
    """2 σ(2x) − 1 is tanh: all four gates by one call."""
    H = h.shape[1]
    z = projected + h @ weight.T + bias
    scale = torch.ones_like(z)
    scale[:, 2 * H : 3 * H] = 2
    z = (scale * z).sigmoid()
    i, f, g, o = z.split(H, dim=1)
    new = f * c + i * (2 * g - 1)
    return o * new.tanh(), new


def lstm_with_a_leaky_cell(projected, h, c, weight, bias):
    i, f, g, o = (projected + F.linear(h, weight, bias)).chunk(4, dim=-1)
    c = f.sigmoid() * c + (1 - f.sigmoid()) * g.tanh() + 0 * i
    return o.sigmoid() * c.tanh(), c


def lstm_of_the_old_cell(projected, h, c, weight, bias):
    i, f, g, o = (projected + F.linear(h, weight, bias)).chunk(4, dim=-1)
    return o.sigmoid() * c.tanh(), f.sigmoid() * c + i.sigmoid() * g.tanh()


def gru_by_torch(projected, h, weight, bias):
    eye = torch.eye(projected.shape[1], dtype=projected.dtype, device=projected.device)
    return torch.gru_cell(projected, h, eye, weight, torch.zeros_like(bias), bias)


def gru_by_blocks(projected, h, weight, bias):
    H = h.shape[1]
    r, z = (projected[:, : 2 * H] + h @ weight[: 2 * H].T + bias[: 2 * H]).sigmoid().split(H, 1)
    n = torch.tanh(projected[:, 2 * H :] + r * (h @ weight[2 * H :].T + bias[2 * H :]))
    return n + z * (h - n)


def gru_reset_before_the_map(projected, h, weight, bias):
    """As in the paper: the map is of r ⊙ h."""
    H = h.shape[1]
    r, z = (projected[:, : 2 * H] + h @ weight[: 2 * H].T + bias[: 2 * H]).sigmoid().split(H, 1)
    n = torch.tanh(projected[:, 2 * H :] + (r * h) @ weight[2 * H :].T + bias[2 * H :])
    return (1 - z) * n + z * h


def gru_with_the_bias_outside(projected, h, weight, bias):
    H = h.shape[1]
    r, z = (projected[:, : 2 * H] + h @ weight[: 2 * H].T + bias[: 2 * H]).sigmoid().split(H, 1)
    n = torch.tanh(projected[:, 2 * H :] + bias[2 * H :] + r * (h @ weight[2 * H :].T))
    return (1 - z) * n + z * h


def orthogonal_by_a_loop(normal):
    M, N = normal.shape
    found = gram_schmidt(normal) if M >= N else gram_schmidt(normal.T).T
    return found.to(normal.dtype)


def orthogonal_by_signs(normal):
    q, r = torch.linalg.qr(
        (normal if normal.shape[0] >= normal.shape[1] else normal.T).to(torch.promote_types(normal.dtype, torch.float32))
    )
    q = q * torch.sign(torch.diagonal(r) + (torch.diagonal(r) == 0))
    return (q if normal.shape[0] >= normal.shape[1] else q.T).to(normal.dtype)


def orthogonal_by_cholesky(normal):
    """With A = Q R, R is the Cholesky factor of AᵀA: in float64, twice, since that squares the condition."""
    wide = normal.shape[0] < normal.shape[1]
    a = (normal.T if wide else normal).double()
    for _ in range(3):
        factor = torch.linalg.cholesky(a.T @ a)
        a = torch.linalg.solve_triangular(factor, a.T, upper=False).T
    return (a.T if wide else a).to(normal.dtype)


def polar(normal):
    u, _, v = torch.linalg.svd(normal.double(), full_matrices=False)
    return (u @ v).to(normal.dtype)


def initialise_by_copies(self, forget_bias):
    """Through `data`, with the bias halved between the two."""
    H = self.width
    for name in ("weight_ih_l0", "weight_hh_l0"):
        old = getattr(self, name)
        gates = [orthogonal_by_signs(torch.randn(H, old.shape[1])) for _ in range(len(old) // H)]
        old.data.copy_(torch.cat(gates))
    for name in ("bias_ih_l0", "bias_hh_l0"):
        bias = torch.zeros(len(getattr(self, name)))
        if self.cell in ("lstm", "gru"):
            bias[H : 2 * H] = forget_bias / 2
        getattr(self, name).data.copy_(bias)


def initialise_by_torch(self, forget_bias):
    """nn.init.orthogonal_ draws by itself."""
    for weight in (self.weight_ih_l0, self.weight_hh_l0):
        for gate in weight.detach().split(self.width):
            nn.init.orthogonal_(gate)
    for bias in (self.bias_ih_l0, self.bias_hh_l0):
        nn.init.zeros_(bias)
    if self.cell != "rnn":
        nn.init.constant_(self.bias_ih_l0.detach()[self.width : 2 * self.width], forget_bias)


def unroll_with_room(self, x, state=None, lengths=None):
    """Into room taken beforehand, and the product of the input step by step."""
    B, T, _ = x.shape
    if T < 1:
        raise ValueError("no places")
    lengths = torch.full((B,), T, device=x.device) if lengths is None else lengths
    if bool((lengths > T).any()) or bool((lengths < 0).any()):
        raise ValueError("lengths must lie in 0 to T")
    state = self.start(x) if state is None else tuple(state)
    rows = []
    for t in range(T):
        going = (lengths > t).unsqueeze(1)
        read = torch.where(going, x[:, t], torch.zeros_like(x[:, t]))
        new = self.step(read @ self.weight_ih_l0.T + self.bias_ih_l0, state)
        state = tuple(torch.where(going, now, before) for now, before in zip(new, state, strict=True))
        rows.append(torch.where(going, state[0], torch.zeros_like(state[0])))
    return torch.cat([row[:, None] for row in rows], 1), state


def unroll_then_mask(self, x, state=None, lengths=None):
    """All states are kept; each row's last one is picked at the end."""
    B, T, _ = x.shape
    if T == 0 or (lengths is not None and (int(lengths.min()) < 0 or int(lengths.max()) > T)):
        raise ValueError("at least one place, lengths from 0 to T")
    lengths = torch.full((B,), T, device=x.device) if lengths is None else lengths
    padding = torch.arange(T, device=x.device) >= lengths[:, None]  # (B, T)
    states, x = [self.start(x) if state is None else state], x.masked_fill(padding[..., None], 0.0)
    for projected in F.linear(x, self.weight_ih_l0, self.bias_ih_l0).transpose(0, 1):
        states.append(self.step(projected, states[-1]))
    rows = torch.arange(B, device=x.device)
    last = tuple(torch.stack(parts, 1)[rows, lengths] for parts in zip(*states, strict=True))
    h = torch.stack([new[0] for new in states[1:]], 1)
    return h.masked_fill(padding[..., None], 0.0), last


def streams_by_slices(ids, batch_size, chunk):
    length = (len(ids) - 1) // batch_size
    if length < chunk:
        raise ValueError("too short")
    return torch.stack(
        [
            torch.stack([ids[b * length + k : b * length + k + chunk + 1] for b in range(batch_size)])
            for k in range(0, length - chunk + 1, chunk)
        ]
    )


def streams_by_view(ids, batch_size, chunk):
    length = (len(ids) - 1) // batch_size
    if length < chunk:
        raise ValueError("too short")
    x, y = (ids[s : s + batch_size * length].reshape(batch_size, length) for s in (0, 1))
    K = length // chunk
    x, y = (part[:, : K * chunk].reshape(batch_size, K, chunk).transpose(0, 1) for part in (x, y))
    return torch.cat([x, y[..., -1:]], dim=2)


def windows_side_by_side(ids, batch_size, chunk):
    """Neighbouring windows become rows of one batch, so that row b goes on in row b + 1, not in the next chunk."""
    length = (len(ids) - 1) // batch_size
    if length < chunk:
        raise ValueError("too short")
    K = length // chunk
    starts = torch.arange(K * batch_size).reshape(K, batch_size) * chunk
    return ids[starts[..., None] + torch.arange(chunk + 1)]


def step_by_gradients(model, optimizer, chunk, state, clip=1.0):
    """The gradients are asked for, clipped by hand and put where the optimizer looks for them."""
    state = None if state is None else tuple(part.detach() for part in state)
    logits, new = model(chunk[:, :-1], state)
    loss = F.cross_entropy(logits.transpose(1, 2), chunk[:, 1:])
    parameters = list(model.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient * (clip / norm).clamp(max=1)
    optimizer.step()
    return loss.detach(), tuple(part.detach() for part in new)


def step_without_tidying(model, optimizer, chunk, state, clip=1.0):
    """Another order: the gradients are cleared first, the state is cut off before the loss."""
    for parameter in model.parameters():
        parameter.grad = None
    logits, new = model(chunk[:, :-1].contiguous(), state)
    new = tuple(part.detach().clone() for part in new)
    targets = chunk[:, 1:].reshape(-1)
    loss = F.nll_loss(logits.flatten(0, 1).log_softmax(-1), targets)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(model.parameters()), max_norm=clip)
    optimizer.step()
    return loss.detach(), new


def checked_generate(how):
    """generate by `how`, a function of model, prompts, lengths, count, temperature and numbers."""

    def generate(model, prompts, lengths, new_symbols, *, temperature=1.0, uniforms=None, seed=0):
        if temperature < 0 or bool((lengths < 1).any()):
            raise ValueError("a prompt and a temperature of at least 0")
        if uniforms is None:
            uniforms = torch.rand(len(prompts), new_symbols, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return how(model, prompts, lengths, new_symbols, temperature, uniforms.to(prompts.device))

    return generate


def pick(logits, temperature, uniforms):
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature == 0:
        return logits.argmax(-1)
    cdf = (logits / temperature).softmax(-1).cumsum(-1)
    return (cdf <= uniforms.to(cdf.dtype)[:, None]).sum(-1).clamp(max=logits.shape[-1] - 1)


def read_anew(model, prompts, lengths, count, temperature, uniforms):
    """Without a state: the whole text is read again for every symbol, row by row."""
    rows = []
    for b in range(len(prompts)):
        text = prompts[b, : lengths[b]]
        for n in range(count):
            logits, _ = model(text[None])
            text = torch.cat([text, pick(logits[:, -1], temperature, uniforms[b : b + 1, n])])
        rows.append(text[lengths[b] :])
    return torch.stack(rows)


def step_by_step(model, prompts, lengths, count, temperature, uniforms):
    """The prompt too goes in symbol by symbol, by lengths of 0 and 1."""
    state, last = None, None
    for t in range(prompts.shape[1]):
        logits, state = model(prompts[:, t : t + 1], state, (lengths > t).long())
        last = logits[:, 0] if last is None else torch.where((lengths > t)[:, None], logits[:, 0], last)
    out = prompts.new_zeros(len(prompts), count)
    for n in range(count):
        out[:, n] = pick(last, temperature, uniforms[:, n])
        logits, state = model(out[:, n : n + 1], state)
        last = logits[:, -1]
    return out


def from_the_end_of_the_padding(model, prompts, lengths, count, temperature, uniforms):
    return step_by_step(model, prompts, torch.full_like(lengths, prompts.shape[1]), count, temperature, uniforms)


CELL = "c = f.sigmoid() * c + i.sigmoid() * g.tanh()"
FAKES = {
    "lstm_cell": {
        "gates in another order": Edit("i, f, g, o =", "f, i, g, o ="),
        "o before g": Edit("i, f, g, o =", "i, f, o, g ="),
        "h and c exchanged": Edit("return o.sigmoid() * c.tanh(), c", "return c, o.sigmoid() * c.tanh()"),
        "no bias": Edit("F.linear(h, weight, bias)", "F.linear(h, weight)"),
        "the weight not transposed": lambda projected, h, c, weight, bias: lstm_by_blocks(
            projected, h, c, torch.cat([block.T for block in weight.split(h.shape[1])]), bias
        ),
        "the cell squashed": Edit(CELL, CELL.replace("* c +", "* c.tanh() +")),
        "h of the old cell": lstm_of_the_old_cell,
        "no tanh on the way out": Edit("c.tanh(), c", "c, c"),
        "the output gate on the cell": Edit("return o.sigmoid() * c.tanh(), c", "c = o.sigmoid() * c\n    return c.tanh(), c"),
        "i is 1 − f": lstm_with_a_leaky_cell,
        "g by a sigmoid": Edit("g.tanh()", "g.sigmoid()"),
        "sigmoid by hand": Edit("f.sigmoid()", "(f.exp() / (1 + f.exp()))"),
        "the cell detached": Edit("f.sigmoid() * c +", "f.sigmoid() * c.detach() +"),
        "h detached": Edit("F.linear(h,", "F.linear(h.detach(),"),
        "a forget bias at every step": Edit("f.sigmoid()", "(f + 1).sigmoid()"),
        "in place": Edit(CELL, "c *= f.sigmoid()\n    c += i.sigmoid() * g.tanh()"),
    },
    "gru_cell": {
        "reset before the map": gru_reset_before_the_map,
        "the bias outside": gru_with_the_bias_outside,
        "z the share of the new": Edit("(1 - z) * n + z * h", "z * n + (1 - z) * h"),
        "z before r": Edit("r, z, n = projected", "z, r, n = projected"),
        "blocks of the state in another order": Edit("r_h, z_h, n_h =", "z_h, r_h, n_h ="),
        "no reset": Edit("(r + r_h).sigmoid() * n_h", "n_h + 0 * r"),
        "the input reset too": Edit("(n + (r + r_h).sigmoid() * n_h)", "((r + r_h).sigmoid() * (n + n_h))"),
        "the new one not squashed": Edit("* n_h).tanh()", "* n_h)"),
        "h squashed": Edit("+ z * h", "+ z * h.tanh()"),
        "no bias": Edit("F.linear(h, weight, bias)", "F.linear(h, weight)"),
        "h detached": Edit("+ z * h", "+ z * h.detach()"),
        "gates detached": Edit("z = (z + z_h).sigmoid()", "z = (z + z_h).sigmoid().detach()"),
    },
    "orthogonal": {
        "signs left to LAPACK": Edit("q = torch.where(r.diagonal() < 0, -q, q)", "pass"),
        "signs of rows": Edit(
            "torch.where(r.diagonal() < 0, -q, q)", "torch.where(r.diagonal()[:, None] < 0, -q, q) if M == N else q"
        ),
        "by SVD": polar,
        "wide not foreseen": Edit("tall = normal if M >= N else normal.T", "tall = normal"),
        "not transposed back": Edit("(q if M >= N else q.T)", "q"),
        "columns of length 1": lambda normal: normal / normal.norm(dim=0, keepdim=True),
        "always float32": Edit(".to(normal.dtype)", ".float()"),
        "float16 alone": Edit(
            "tall if normal.dtype == torch.float64 else tall.float()", "tall.float() if normal.dtype == torch.float16 else tall"
        ),
        "a diagonal that is positive by chance": Edit("r.diagonal() < 0", "r.diagonal().sum() < 0"),
        "scaled by a gain": Edit(".to(normal.dtype)", ".to(normal.dtype) * 2**0.5"),
        "the identity": lambda normal: torch.eye(*normal.shape, dtype=normal.dtype),
    },
    "Recurrent.initialise": {
        "gates orthogonal together": Edit("for gate in weight.split(self.width):", "for gate in (weight,):"),
        "one matrix for all gates": Edit("orthogonal(torch.randn_like(gate))", "orthogonal(torch.eye(*gate.shape))"),
        "uniform numbers": Edit("orthogonal(torch.randn_like(gate))", "orthogonal(torch.rand_like(gate))"),
        "normal numbers": Edit("orthogonal(torch.randn_like(gate))", "torch.randn_like(gate) / self.width**0.5"),
        "the input's maps left out": Edit("(self.weight_ih_l0, self.weight_hh_l0)", "(self.weight_hh_l0,)"),
        "both biases": Edit(
            "self.bias_hh_l0[self.width : 2 * self.width] = forget_bias",
            "self.bias_hh_l0[self.width : 2 * self.width] = forget_bias\n"
            "        self.bias_ih_l0[self.width : 2 * self.width] = forget_bias",
        ),
        "the first gate": Edit("self.width : 2 * self.width", ": self.width"),
        "all gates": Edit("[self.width : 2 * self.width] = forget_bias", "[:] = forget_bias"),
        "always 1": Edit("= forget_bias", "= 1.0"),
        "an LSTM alone": Edit("= forget_bias", "= forget_bias if self.cell == 'lstm' else 0.0"),
        "new parameters": Edit(
            "        self.bias_ih_l0.zero_()\n",
            "        self.bias_ih_l0 = nn.Parameter(torch.zeros(BLOCKS[self.cell] * self.width))\n",
        ),
        "biases not cleared": Edit("        self.bias_ih_l0.zero_()\n", ""),
    },
    "Recurrent.forward": {
        "the state ignored": Edit("self.start(x) if state is None else state", "self.start(x)"),
        "lengths ignored": Edit("if lengths is None:\n                outputs", "if True:\n                outputs"),
        "outputs not cleared": Edit("new[0].where(here, 0.0)", "new[0]"),
        "the last output repeated": Edit("new[0].where(here, 0.0)", "new[0].where(here, state[0])"),
        "h kept, c not": Edit(
            "new = tuple(now.where(here, before) for now, before in zip(new, state, strict=True))",
            "new = (new[0].where(here, state[0]), *new[1:])",
        ),
        "the state set to 0 behind the end": Edit("now.where(here, before)", "now.where(here, 0.0)"),
        "one step too long": Edit("lengths[:, None])", "lengths[:, None] + 1)"),
        "one step too short": Edit("lengths[:, None])", "lengths[:, None] - 1)"),
        "padding not cleared": Edit("        x = x.where(going[..., None], 0.0)\n", ""),
        "padding multiplied by 0": Edit("x.where(going[..., None], 0.0)", "x * going[..., None]"),
        "no bias of the input": Edit("F.linear(x, self.weight_ih_l0, self.bias_ih_l0)", "F.linear(x, self.weight_ih_l0)"),
        "backwards": Edit(".unbind(1))", ".flip(1).unbind(1))"),
        "the batch taken for time": Edit("T = x.shape[1]", "T = x.shape[0]"),
        "the state detached": Edit("            state = new\n", "            state = tuple(part.detach() for part in new)\n"),
        "the state before the last place": Edit(
            "torch.stack(outputs, dim=1), state", "torch.stack(outputs, dim=1), self.start(x)"
        ),
        "any length accepted": Edit("((lengths < 0) | (lengths > T))", "(lengths < 0)"),
        "no places accepted": Edit("if T == 0 or (", "if ("),
        "a length of 0 refused": Edit("lengths < 0", "lengths < 1"),
        "the state of the first row for all": Edit(
            "self.start(x) if state is None else state",
            "self.start(x) if state is None else tuple(part[:1].expand_as(part) for part in state)",
        ),
    },
    "streams": {
        "windows side by side": windows_side_by_side,
        "no overlap": lambda ids, batch_size, chunk: (
            ids[: len(ids) // (batch_size * (chunk + 1)) * batch_size * (chunk + 1)]
            .reshape(batch_size, -1, chunk + 1)
            .transpose(0, 1)
        ),
        "streams of N // B": Edit("(len(ids) - 1) // batch_size", "len(ids) // batch_size"),
        "chunks that overlap by all but one": Edit("unfold(1, chunk + 1, chunk)", "unfold(1, chunk + 1, 1)"),
        "time first": Edit("rows.unfold", "rows.flip(0).unfold"),
        "rows next to each other in the text": Edit(
            "starts + torch.arange(length + 1, device=ids.device)",
            "torch.arange(batch_size)[:, None] + torch.arange(length + 1) * batch_size",
        ),
        "any text accepted": Edit("length < chunk", "length < 0"),
        "one symbol more demanded": Edit("length < chunk", "length <= chunk"),
        "not transposed": lambda ids, batch_size, chunk: streams_by_view(ids, batch_size, chunk).transpose(0, 1),
    },
    "truncated_bptt": {
        "targets not shifted": Edit("chunk[:, 1:]", "chunk[:, :-1]"),
        "the state thrown away": Edit("model(chunk[:, :-1], state)", "model(chunk[:, :-1], None)"),
        "the state returned as it came": Edit(
            "logits, state = model(chunk[:, :-1], state)",
            "logits, new = model(chunk[:, :-1], state)\n    state = state or tuple(0 * part for part in new)",
        ),
        "the state not detached": Edit("tuple(part.detach() for part in state)", "state"),
        "c not detached": Edit("tuple(part.detach() for part in state)", "(state[0].detach(), *state[1:])"),
        "gradients never cleared": Edit("    optimizer.zero_grad()\n", ""),
        "only the optimizer's gradients cleared after": Edit(
            "    optimizer.zero_grad()\n    loss.backward()\n", "    loss.backward()\n    optimizer.zero_grad()\n"
        ),
        "no clipping": Edit("    nn.utils.clip_grad_norm_(model.parameters(), clip)\n", ""),
        "always clipped to 1": Edit("model.parameters(), clip)", "model.parameters(), 1.0)"),
        "each weight by itself": Edit(
            "nn.utils.clip_grad_norm_(model.parameters(), clip)",
            "[nn.utils.clip_grad_norm_([parameter], clip) for parameter in model.parameters()]",
        ),
        "each number by itself": Edit("clip_grad_norm_", "clip_grad_value_"),
        "clipped too late": Edit(
            "    nn.utils.clip_grad_norm_(model.parameters(), clip)\n    optimizer.step()\n",
            "    optimizer.step()\n    nn.utils.clip_grad_norm_(model.parameters(), clip)\n",
        ),
        "clipped before there is a gradient": Edit(
            "    loss.backward()\n    nn.utils.clip_grad_norm_(model.parameters(), clip)\n",
            "    nn.utils.clip_grad_norm_(model.parameters(), clip)\n    loss.backward()\n",
        ),
        "nothing moves": Edit("    optimizer.step()\n", ""),
        "two steps": Edit("    optimizer.step()\n", "    optimizer.step()\n    optimizer.step()\n"),
        "a sum, not a mean": Edit("loss.backward()", "(loss * chunk[:, 1:].numel()).backward()"),
        "the state of the whole chunk": Edit(
            "    optimizer.zero_grad()", "    _, state = model(chunk[:, -1:], state)\n    optimizer.zero_grad()"
        ),
        "the state after the update": Edit(
            "    return loss.detach(), tuple",
            "    with torch.no_grad():\n        _, state = model(chunk[:, :-1])\n    return loss.detach(), tuple",
        ),
    },
    "generate": {
        "from the end of the padding": checked_generate(from_the_end_of_the_padding),
        "lengths not told to the model": Edit("model(prompts, None, lengths)", "model(prompts)"),
        "the logits of the last place": Edit(
            "logits[torch.arange(len(prompts), device=prompts.device), lengths - 1]", "logits[:, -1]"
        ),
        "the place behind the prompt": Edit("lengths - 1]", "lengths.clamp(max=prompts.shape[1] - 1)]"),
        "the state forgotten": Edit("model(written[:, n - 1 : n], state)", "model(written[:, n - 1 : n])"),
        "the last symbol fed twice": Edit(
            "logits, state = model(written[:, n - 1 : n], state)",
            "_, state = model(written[:, n - 1 : n], state)\n            logits, state = model(written[:, n - 1 : n], state)",
        ),
        "the first prediction for all": Edit("if n > 0:", "if n > new_symbols:"),
        "no temperature": Edit("logits / temperature", "logits"),
        "times the temperature": Edit("logits / temperature", "logits * temperature"),
        "always greedy": Edit("temperature == 0", "temperature >= 0"),
        "zero as a very low temperature": Edit(
            "logits.argmax(-1) if temperature == 0 else sample(logits / temperature, uniforms[:, n])",
            "sample(logits / max(temperature, 1e-2), uniforms[:, n])",
        ),
        "the first number for all": Edit("uniforms[:, n]", "uniforms[:, 0]"),
        "the first row's numbers": Edit("uniforms[:, n]", "uniforms[:1, n].expand(len(prompts))"),
        "the seed ignored": Edit("manual_seed(seed)", "manual_seed(0)"),
        "the global generator": Edit(", generator=torch.Generator().manual_seed(seed)", ""),
        "logits left in bfloat16": Edit("logits = logits.float()", "pass"),
        "a negative temperature accepted": Edit("temperature < 0 or ", ""),
        "an empty prompt accepted": Edit("temperature < 0 or bool((lengths < 1).any())", "temperature < 0"),
        "at least one symbol": Edit("range(new_symbols)", "range(max(1, new_symbols))"),
        "room for one more": Edit(
            "prompts.new_zeros(len(prompts), new_symbols)", "prompts.new_zeros(len(prompts), new_symbols + 1)"
        ),
        "the prompt repeated": Edit("return written", "return torch.cat([prompts, written], 1)"),
    },
}

NO_GRADIENT = {"orthogonal": ("normal",)}  # a start is not differentiated

VARIANTS = {
    "lstm_cell": {"by blocks": lstm_by_blocks, "torch's own": lstm_by_torch, "one sigmoid for all": lstm_by_one_sigmoid},
    "gru_cell": {
        "by blocks": gru_by_blocks,
        "torch's own": gru_by_torch,
        "lerp": Edit("(1 - z) * n + z * h", "torch.lerp(n, h, z)"),
    },
    "orthogonal": {"a loop": orthogonal_by_a_loop, "signs by sign": orthogonal_by_signs, "by Cholesky": orthogonal_by_cholesky},
    "Recurrent.initialise": {
        "copies, the bias halved": initialise_by_copies,
        "torch's own": initialise_by_torch,
        "the bias of the input": Edit("self.bias_hh_l0[self.width", "self.bias_ih_l0[self.width"),
    },
    "Recurrent.forward": {
        "step by step": unroll_with_room,
        "masked at the end": unroll_then_mask,
        "by a product with the mask": Edit("new[0].where(here, 0.0)", "new[0] * here"),
    },
    "streams": {
        "slices": streams_by_slices,
        "two views": streams_by_view,
        "a loop over chunks": Edit(
            "rows.unfold(1, chunk + 1, chunk).transpose(0, 1)",
            "torch.stack([rows[:, k : k + chunk + 1] for k in range(0, length - chunk + 1, chunk)])",
        ),
    },
    "truncated_bptt": {
        "gradients asked for": step_by_gradients,
        "another order": step_without_tidying,
        "the loss of torch": Edit(
            "language_model_loss(logits, chunk[:, 1:])", "F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten())"
        ),
    },
    "generate": {
        "the text read anew": checked_generate(read_anew),
        "the prompt symbol by symbol": checked_generate(step_by_step),
        "by gather": Edit(
            "logits[torch.arange(len(prompts), device=prompts.device), lengths - 1]",
            "logits.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, logits.shape[2]))[:, 0]",
        ),
    },
}

EQUIVALENT = {
    "orthogonal": {
        "comparison: r.diagonal() < 0 -> r.diagonal() <= 0": "the diagonal has a 0 only where columns depend on each other",
        "dtype: tall.float -> tall.double": "half precisions may be computed in any wider one",
    },
    "Recurrent.initialise": {
        "order: (self.weight_ih_l0, self.weight_hh_l0) -> (self.weight_hh_l0, self.weight_ih_l0)": "which is drawn first is free",
    },
    "Recurrent.forward": {
        "no_grad: state = self.start(x) if state i… -> with torch.no_grad(): state = se… d3c1a0": "zeros have no gradient",
        "detach: self.start(x) -> self.start(x.detach())": "zeros have no gradient",
        "axes: going[:, t, None] -> going[:, None, t]": "(B, 1) either way",
        "detach: new[0].where(here, 0.0) -> new[0].where(here.detach(), 0.0)": "a mask has no gradient",
        "detach: now.where(here, before) -> now.where(here.detach(), before)": "a mask has no gradient",
    },
    "truncated_bptt": {
        "no_grad: return (loss.detach(), tuple((pa… -> with torch.no_grad(): return (lo… 021dfb": "nothing is computed there",
        "detach: (loss.detach(), tuple((part.deta… -> (loss, tuple((part.detach() for … 519ffa": (
            "the loss was used for its gradient already, and is a number to whoever gets it"
        ),
    },
    "generate": {
        "dtype: logits.float -> logits.double": "any precision from float32 on will do",
    },
}
