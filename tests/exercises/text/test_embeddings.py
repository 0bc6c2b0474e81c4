"""What a right answer to text/embeddings must do.

Truths: the formulas in plain Python, NumPy's singular values, and Levy and Goldberg's optimum: at shifted PMI the gradient of the
expected loss is zero. Words are compared exactly, so inputs in which two of them come close are drawn again.
"""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, assert_true, raises


def real(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


# --- subsample_keep ----------------------------------------------------------------------------------------------------


def kept(counts, threshold):
    total = sum(counts)
    return [1.0 if n / total <= threshold else math.sqrt(threshold * total / n) for n in counts]


@pytest.mark.stub("subsample_keep")
def test_frequent_words_are_kept_by_the_root_of_their_share(impl, draw):
    counts = draw.integers(500, (draw.size(2) + 3,), low=1).double()
    threshold = draw.number(0.01, 0.5) / len(counts)
    hint = "√(threshold / share), share = count / sum of counts; that is what is kept, not what is dropped"
    assert_close(impl.subsample_keep(counts, threshold), real(kept(counts.tolist(), threshold)), hint=hint)


@pytest.mark.stub("subsample_keep")
def test_rare_and_unseen_words_are_always_kept(impl, draw):
    counts = torch.tensor([900.0, 90.0, 9.0, 1.0, 0.0], dtype=torch.float64)[draw.permutation(5)]
    threshold = draw.number(0.02, 0.05)
    hint = "a probability is at most 1, and a word that does not occur divides by 0: keep it"
    result = impl.subsample_keep(counts, threshold)
    assert_close(result, real(kept(counts.tolist(), threshold)), hint=hint, hint_for="values NaN")


@pytest.mark.stub("subsample_keep")
def test_a_vocabulary_of_one_word(impl, draw):
    counts, threshold = torch.tensor([draw.number(1, 99)]), draw.number(0.1, 0.9)
    assert_close(impl.subsample_keep(counts, threshold), torch.tensor([math.sqrt(threshold)]), hint="its share is 1")


@pytest.mark.stub("subsample_keep")
def test_a_threshold_above_one_keeps_all(impl, draw):
    counts, threshold = draw.integers(500, (draw.size(2),), low=1).double(), draw.number(1, 5)
    hint = "a threshold is no probability: above 1 it drops nothing"
    assert_close(impl.subsample_keep(counts, threshold), torch.ones_like(counts), hint=hint)


@pytest.mark.stub("subsample_keep")
@pytest.mark.parametrize("threshold", [0.0, -1e-3])
def test_threshold_must_be_positive(impl, threshold):
    with raises(ValueError, hint="0 would drop every word, and a negative one has no root"):
        impl.subsample_keep(torch.tensor([3.0, 1.0]), threshold)


# --- negative_table ----------------------------------------------------------------------------------------------------


def assert_shares(table, counts, size, power):
    weights = [n**power if n > 0 else 0.0 for n in counts.tolist()]
    assert_equal(tuple(table.shape), (size,), what="the shape of the table", hint="exactly `size` entries")
    assert_equal(str(table.dtype), "torch.int64", what="the dtype of the table", hint="entries are ids of words")
    assert_true(bool(((table >= 0) & (table < len(counts))).all()), "entries are no ids of words", hint="0 to V - 1")
    found, total = torch.bincount(table, minlength=len(counts)).tolist(), sum(weights)
    for word, (n, weight) in enumerate(zip(found, weights, strict=True)):
        share = size * weight / total
        low, high = math.floor(share - 1e-6), math.ceil(share + 1e-6) if weight else 0
        if not low <= n <= high:
            hint = "size · count^power / Σ count^power, up to rounding; a word that does not occur is never drawn"
            assert_between(float(n), low, high, what=f"how often word {word} stands in the table", hint=hint)


@pytest.mark.stub("negative_table")
@pytest.mark.parametrize("power", [None, 1.0, "any"])
def test_table_holds_words_by_their_share(impl, draw, power):
    V, size = draw.size(), draw.integer(1500, 3000)
    counts = draw.integers(90, (V,), low=1).double()
    counts[draw.integer(0, V - 1)] = 2000
    if power is None:
        return assert_shares(impl.negative_table(counts, size), counts, size, 0.75)
    power = draw.number(0.2, 0.6) if power == "any" else power
    return assert_shares(impl.negative_table(counts, size, power), counts, size, power)


@pytest.mark.stub("negative_table")
@pytest.mark.parametrize("power", [0.0, 0.75])
def test_unseen_words_are_never_drawn(impl, draw, power):
    counts = torch.tensor([0.0, 7.0, 0.0, 0.0, 300.0, 1.0, 0.0], dtype=torch.float64)
    size = draw.integer(500, 900)
    assert_shares(impl.negative_table(counts, size, power), counts, size, power)


@pytest.mark.stub("negative_table")
def test_a_small_table(impl, draw):
    counts = draw.uniform(draw.size(3) + 4, low=1, high=9)
    size = draw.integer(1, 5)
    assert_shares(impl.negative_table(counts, size), counts, size, 0.75)


@pytest.mark.stub("negative_table")
def test_words_that_stand_once_or_less(impl, draw):
    counts, size = torch.full((draw.size(),), draw.choice([1.0, 0.5, 1e-3]), dtype=torch.float64), draw.integer(300, 600)
    assert_shares(impl.negative_table(counts, size), counts, size, 0.75)


@pytest.mark.stub("negative_table")
def test_many_words_whose_counts_are_float32(impl, draw):
    counts = draw.uniform(20_000, low=1, high=99).float()
    hint = "sums of many float32 numbers go astray: add up in float64"
    table = impl.negative_table(counts, 300_000)
    assert_equal(len(table), 300_000, what="the length of the table", hint=hint)
    assert_shares(table, counts, 300_000, 0.75)


@pytest.mark.stub("negative_table")
def test_a_corpus_must_have_words(impl, draw):
    with raises(ValueError, hint="without a word that occurs there is nothing to draw"):
        impl.negative_table(torch.zeros(draw.size()), 10)


# --- skipgram_pairs ----------------------------------------------------------------------------------------------------


def own_pairs(ids, radii):
    return Counter((ids[i], ids[j]) for i in range(len(ids)) for j in range(len(ids)) if i != j and abs(i - j) <= radii[i])


def assert_pairs(result, ids, radii, hint):
    assert_true(isinstance(result, tuple | list) and len(result) == 2, "expected centres and contexts", hint="return two tensors")
    for name, part in zip(("centres", "contexts"), result, strict=True):
        assert_equal(str(part.dtype), "torch.int64", what=f"the dtype of the {name}", hint="ids in, ids out")
        assert_equal(part.ndim, 1, what=f"the number of axes of the {name}", hint="one pair after another, in two flat tensors")
    centres, contexts = (part.tolist() for part in result)
    expected = own_pairs(ids.tolist(), radii.tolist())
    assert_equal(len(contexts), len(centres), what="the number of contexts", hint="a context for each centre")
    assert_equal(len(centres), expected.total(), what="the number of pairs", hint=hint)
    assert_equal(dict(Counter(zip(centres, contexts, strict=True))), dict(expected), what="the pairs", hint=hint)


PAIRS = "place i with every other place j of |i − j| ≤ radii[i], left and right, inside of the text"


@pytest.mark.stub("skipgram_pairs")
def test_pairs_of_a_text(impl, draw):
    N = draw.size() + draw.size(2)
    ids, radii = draw.permutation(N), draw.integers(4, (N,), low=1)
    assert_pairs(impl.skipgram_pairs(ids, radii), ids, radii, PAIRS)


@pytest.mark.stub("skipgram_pairs")
def test_words_that_come_again_and_stand_side_by_side(impl, draw):
    N = draw.integer(6, 15)
    ids, radii = draw.integers(3, (N,)), draw.integers(4, (N,))
    assert_pairs(
        impl.skipgram_pairs(ids, radii),
        ids,
        radii,
        "a word is context of itself where it stands at another place; radius 0: no pair",
    )


@pytest.mark.stub("skipgram_pairs")
def test_the_radius_is_that_of_the_centre(impl):
    ids, radii = torch.tensor([7, 8, 9, 10]), torch.tensor([0, 3, 0, 0])
    assert_pairs(
        impl.skipgram_pairs(ids, radii),
        ids,
        radii,
        "only place 1 looks around; that others lie in its window gives them no pairs",
    )


@pytest.mark.stub("skipgram_pairs")
def test_wide_windows(impl, draw):
    N = draw.integer(15, 20)
    ids, radii = draw.permutation(N), draw.integers(14, (N,), low=6)
    assert_pairs(impl.skipgram_pairs(ids, radii), ids, radii, "a radius may be of any size; it is data, not a setting")


@pytest.mark.stub("skipgram_pairs")
def test_one_radius_is_not_a_radius_for_each(impl, draw):
    with raises(ValueError, hint="broadcasting would make one radius serve for all places: compare the shapes first"):
        impl.skipgram_pairs(draw.integers(5, (draw.integer(3, 7),)), torch.tensor([2]))


@pytest.mark.stub("skipgram_pairs")
def test_windows_of_radius_0_have_no_pairs(impl, draw):
    ids = draw.integers(9, (draw.integer(2, 7),))
    radii = torch.zeros_like(ids)
    assert_pairs(impl.skipgram_pairs(ids, radii), ids, radii, "no pairs: two tensors without entries")


@pytest.mark.stub("skipgram_pairs")
@pytest.mark.parametrize("N", [0, 1, 2])
def test_texts_shorter_than_the_window(impl, draw, N):
    ids, radii = draw.integers(9, (N,)), torch.full((N,), 5)
    assert_pairs(impl.skipgram_pairs(ids, radii), ids, radii, "windows end with the text; a text of one word has no pair")


@pytest.mark.stub("skipgram_pairs")
@pytest.mark.parametrize("more", [-1, 1])
def test_each_place_needs_a_radius(impl, draw, more):
    N = draw.integer(3, 7)
    with raises(ValueError, hint="compare the shapes first"):
        impl.skipgram_pairs(draw.integers(5, (N,)), torch.full((N + more,), 2))


# --- sgns_loss ---------------------------------------------------------------------------------------------------------


def softplus(x):
    return np.logaddexp(0.0, x)


def own_loss(w, c, n):
    rows = [softplus(-(a @ b)) + sum(softplus(a @ m) for m in more) for a, b, more in zip(w, c, n, strict=True)]
    return sum(rows) / len(rows)


def vectors(draw, low=1):
    B, K, D = draw.batch(), draw.size(low), draw.size()
    return draw.normal(B, D), draw.normal(B, D), draw.normal(B, K, D)


@pytest.mark.stub("sgns_loss")
def test_loss_of_pairs_and_negatives(impl, draw):
    w, c, n = vectors(draw)
    hint = "−log σ(w·c) − Σ log σ(−w·n), each negative with its own pair, summed over negatives, averaged over pairs"
    assert_close(impl.sgns_loss(w, c, n), float(own_loss(w.numpy(), c.numpy(), n.numpy())), hint=hint)


@pytest.mark.stub("sgns_loss")
def test_loss_without_negatives(impl, draw):
    w, c, _ = vectors(draw)
    expected = float(softplus(-(w * c).sum(-1).numpy()).mean())
    hint = "the sum over no negatives is 0; their mean is no number"
    assert_close(impl.sgns_loss(w, c, w.new_zeros(len(w), 0, w.shape[1])), expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("sgns_loss")
def test_gradients_of_all_three(impl, draw):
    w, c, n = vectors(draw)
    seen, drawn = (w * c).sum(-1, keepdim=True), (n * w[:, None]).sum(-1, keepdim=True)
    pull, push = (seen.sigmoid() - 1) / len(w), drawn.sigmoid() / len(w)
    expected = (pull * c + (push * n).sum(1), pull * w, push * w[:, None])
    for i, name in enumerate(("centres", "contexts", "negatives")):
        hint = "σ(w·c) − 1 pulls the pair together, σ(w·n) pushes negatives away; nothing is detached"
        assert_close(impl.vjp("sgns_loss", w, c, n, wrt=i), expected[i], what=f"the gradient of the {name}", hint=hint)


@pytest.mark.stub("sgns_loss")
@pytest.mark.parametrize("sign", [-1, 1])
def test_loss_of_far_too_large_products(impl, sign):
    w, c = torch.tensor([[40.0, 0.0], [0.0, 30.0]]), torch.tensor([[sign * 40.0, 0.0], [0.0, sign * 30.0]])
    result = impl.sgns_loss(w, c, -c[:, None])
    expected = (1600 + 900) * 2 / 2 if sign < 0 else 0.0
    assert_finite(result, hint="σ(−1600) is 0 in float32 and its log −∞: use logsigmoid or softplus")
    assert_close(result, torch.tensor(expected), hint="no clamp: a pair that is far off costs what it costs")


@pytest.mark.stub("sgns_loss")
@pytest.mark.parametrize("sign", [-1, 1])
def test_loss_where_a_sigmoid_is_nearly_sure(impl, draw, sign):
    products = draw.uniform(draw.size(2) + 3, low=4, high=18)
    w, c = torch.stack([products, torch.ones_like(products)], 1), torch.tensor([[sign, 0.0]]).double().expand(len(products), 2)
    expected = float(softplus(-sign * products.numpy()).mean() + softplus(sign * products.numpy()).mean())
    hint = "log σ(x) is −log(1 + e^−x) for every x: no shortcut by x or 0 where it looks straight"
    assert_close(impl.sgns_loss(w, c, c[:, None]), expected, hint=hint)
    expected = float(softplus(-sign * products.numpy()).mean())
    assert_close(impl.sgns_loss(w, c, c[:, None][:, :0]), expected, what="the loss of pairs alone", hint=hint)


@pytest.mark.stub("sgns_loss")
@pytest.mark.parametrize("K", [1, 3])
def test_optimum_is_shifted_pmi(impl, draw, K):
    """Every pair with every negative, as often as a toy corpus has them: at M = PMI − log k the gradient is zero."""
    V = draw.integer(2, 3)
    counts = draw.integers(4, (V, V), low=1)
    pairs = [(i, j) for i in range(V) for j in range(V) for _ in range(int(counts[i, j]))]
    noise = [j for _, j in pairs]
    rows = [(i, j, [noise[(s + m) % len(noise)] for m in range(K)]) for i, j in pairs for s in range(len(noise))]
    words, contexts, negatives = (torch.tensor(part) for part in zip(*rows, strict=True))
    n = counts.double()
    M = (n * n.sum() / (n.sum(1, keepdim=True) * n.sum(0))).log() - math.log(K)
    w, c, more = F.one_hot(words, V).double(), M.T[contexts], M.T[negatives]  # w · c is M[word, context]
    slope = torch.zeros(V, V, dtype=torch.float64)
    pulled = impl.vjp("sgns_loss", w, c, more, wrt=1)
    pushed = impl.vjp("sgns_loss", w, c, more, wrt=2)
    slope.index_put_((words, contexts), (pulled * w).sum(-1), accumulate=True)
    slope.index_put_((words[:, None].expand_as(negatives), negatives), (pushed * w[:, None]).sum(-1), accumulate=True)
    hint = "at w·c = PMI − log k pairs and negatives pull alike (Levy and Goldberg 2014): is each negative counted once?"
    assert_between(slope.abs().max().item(), 0, 1e-9, what="the gradient at shifted PMI", hint=hint)


# --- ppmi --------------------------------------------------------------------------------------------------------------


def own_ppmi(counts, k=1.0, power=1.0):
    V, C = counts.shape
    rows, columns = [sum(row) for row in counts.tolist()], [sum(column) ** power for column in counts.T.tolist()]
    out = torch.zeros(V, C, dtype=torch.float64)
    for i, j in itertools.product(range(V), range(C)):
        n = counts[i, j].item()
        if n > 0:
            out[i, j] = max(0.0, math.log(n / rows[i]) - math.log(columns[j] / sum(columns)) - math.log(k))
    return out


def counted(draw, low=0):
    V, C = draw.sizes(2, 3, 8)
    counts = draw.integers(30, (V, C), low=low).double()
    counts[0, 0] = 300
    return counts


@pytest.mark.stub("ppmi")
def test_ppmi_of_counts(impl, draw):
    counts = counted(draw, low=1)
    hint = "log of n·N / (row sum · column sum), natural, and 0 where that is negative; rows are words, columns contexts"
    assert_close(impl.ppmi(counts), own_ppmi(counts), hint=hint)


@pytest.mark.stub("ppmi")
def test_a_square_table_is_not_symmetric(impl, draw):
    V, power = draw.size(3), draw.number(0.3, 0.9)
    counts = draw.integers(30, (V, V), low=1).double()
    counts[0, 1:] += 50
    hint = "q is of the contexts, so of columns, also where words and contexts are the same vocabulary"
    assert_close(impl.ppmi(counts, power=power), own_ppmi(counts, power=power), hint=hint)


@pytest.mark.stub("ppmi")
def test_ppmi_shifted_and_smoothed(impl, draw):
    counts, k, power = counted(draw, low=1), draw.number(1.1, 3), draw.number(0.3, 0.9)
    assert_close(impl.ppmi(counts, k), own_ppmi(counts, k), what="shifted PPMI", hint="subtract log k before the cut at 0")
    hint = "the power is taken of the contexts' counts, which then add up to 1 again; words and pairs keep theirs"
    assert_close(impl.ppmi(counts, power=power), own_ppmi(counts, power=power), what="smoothed PPMI", hint=hint)
    small = draw.number(0.1, 0.9)
    assert_close(
        impl.ppmi(counts, small, power),
        own_ppmi(counts, small, power),
        what="PPMI with k below 1",
        hint="−log k is then positive",
    )


@pytest.mark.stub("ppmi")
def test_counts_that_are_no_whole_numbers(impl, draw):
    counts = counted(draw) * draw.number(1e-4, 1e-2)
    hint = "seen is what has a count above 0; windows that are averaged make counts below 1"
    assert_close(impl.ppmi(counts), own_ppmi(counts), hint=hint)


@pytest.mark.stub("ppmi")
def test_what_was_never_seen_is_zero(impl, draw):
    counts = counted(draw)
    counts[1:, -1], counts[-1] = 0, 0
    counts[:, 1] = 0
    k = draw.number(0.05, 0.9)
    result = impl.ppmi(counts, k)
    assert_finite(result, hint="log 0 is −∞, and 0 / 0 is no number: set what was never seen to 0")
    assert_close(result, own_ppmi(counts, k), hint="0 also for words and contexts that never occur, whatever k")


@pytest.mark.stub("ppmi")
def test_ppmi_of_one_word_and_of_none_seen(impl, draw):
    assert_close(
        impl.ppmi(torch.full((1, 1), draw.number(1, 9))), torch.zeros(1, 1), hint="one word tells nothing of its only context"
    )
    assert_close(impl.ppmi(torch.zeros(2, 3)), torch.zeros(2, 3), hint="nothing seen: 0 everywhere", hint_for="values NaN")


@pytest.mark.stub("ppmi")
@pytest.mark.parametrize("k", [0.0, -2.0])
def test_number_of_negatives_must_be_positive(impl, draw, k):
    with raises(ValueError, hint="log k needs k > 0"):
        impl.ppmi(counted(draw), k)


# --- svd_embedding -----------------------------------------------------------------------------------------------------


def spectrum(draw, square=False):
    """A matrix whose singular values lie well apart, and its parts."""
    V, C = draw.sizes(2, 3, 8)
    C = V if square else C
    rank = min(V, C)
    U, _ = np.linalg.qr(draw.normal(V, rank).numpy())
    W, _ = np.linalg.qr(draw.normal(C, rank).numpy())
    S = np.array([1.7**-i for i in range(rank)]) * draw.number(1.5, 5)
    return torch.from_numpy(U * S @ W.T), torch.from_numpy(U), torch.from_numpy(S), torch.from_numpy(W)


@pytest.mark.stub("svd_embedding")
@pytest.mark.parametrize("power", [None, 0.0, 1.0, "any", "square"])
def test_words_and_contexts_share_the_singular_values(impl, draw, power):
    matrix, U, S, W = spectrum(draw, square=power == "square")
    D = draw.integer(1, len(S))
    p = draw.number(0.1, 0.9) if isinstance(power, str) else power
    words, contexts = impl.svd_embedding(matrix, D) if p is None else impl.svd_embedding(matrix, D, p)
    p = 0.5 if p is None else p
    U, S, W = U[:, :D], S[:D], W[:, :D]
    assert_equal(tuple(words.shape), (len(U), D), what="the shape of the words", hint="a row for each word")
    assert_equal(
        tuple(contexts.shape),
        (len(W), D),
        what="the shape of the contexts",
        hint="a row for each context, so V and not its transpose",
    )
    hint = "columns are singular vectors, scaled: at right angles to each other, not turned together"
    for name, part in (("words", words), ("contexts", contexts)):
        small = part.T @ part
        between = small - torch.diag(small.diagonal())
        assert_close(
            between, torch.zeros_like(small), tolerance=1e-7, what=f"products of different columns of the {name}", hint=hint
        )
    hint = "the largest singular values; Σ is shared out, power to the words and the rest of 1 to the contexts"
    assert_close(words @ contexts.T, U * S @ W.T, what="words times contexts", hint=hint)
    assert_close(words @ words.T, U * S ** (2 * p) @ U.T, what="words times words", hint=f"U Σ^power; {hint}")
    assert_close(
        contexts @ contexts.T, W * S ** (2 - 2 * p) @ W.T, what="contexts times contexts", hint=f"V Σ^(1 − power); {hint}"
    )


@pytest.mark.stub("svd_embedding")
@pytest.mark.parametrize("width", ["none", "negative", "too many"])
def test_widths_that_there_are_not(impl, draw, width):
    matrix, _, S, _ = spectrum(draw)
    with raises(ValueError, hint="1 to the shorter side: a slice would silently give fewer columns than were asked for"):
        impl.svd_embedding(matrix, {"none": 0, "negative": -1, "too many": len(S) + 1}[width])


# --- neighbours --------------------------------------------------------------------------------------------------------


def own_cosine(x, y):
    length = math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
    return sum(a * b for a, b in zip(x, y, strict=True)) / length if length else 0.0


def cosines(x):
    rows = x.tolist()
    return [[own_cosine(a, b) for b in rows] for a in rows]


def some_words(draw, V, D):
    """Vectors of very different lengths."""
    return draw.normal(V, D) * 10 ** draw.uniform(V, 1, low=-1.5, high=1.5)


@pytest.mark.stub("neighbours")
@pytest.mark.parametrize("some", [True, False])
def test_nearest_by_cosine_and_not_itself(impl, draw, some):
    V, D, Q = draw.size(4, 8), draw.size(2), draw.batch()
    count = draw.integer(1, V - 1) if some else V - 1
    while True:
        x, queries = some_words(draw, V, D), draw.integers(V, (Q,))
        table = cosines(x)
        ranked = [sorted(((table[q][i], i) for i in range(V) if i != q), reverse=True) for q in queries.tolist()]
        if all(a - b > 1e-4 for row in ranked for (a, _), (b, _) in itertools.pairwise(row)):
            break
    cosine, ids = impl.neighbours(x, queries, count)
    hint = "x·y / (|x| |y|) with all words but the query, the largest first; lengths do not count"
    assert_equal(ids, torch.tensor([[i for _, i in row[:count]] for row in ranked]), what="the ids", hint=hint)
    assert_close(cosine, real([[c for c, _ in row[:count]] for row in ranked]), what="the cosines", hint=hint)


@pytest.mark.stub("neighbours")
def test_a_word_that_never_moved_and_one_that_has_a_twin(impl, draw):
    V, D = draw.integer(5, 8), draw.integer(3, 6)
    x = some_words(draw, V, D)
    x[1], x[3] = 0, -2 * x[0]
    x[2] = 4 * x[0]
    cosine, ids = impl.neighbours(x, torch.tensor([1, 0, 2]), 1)
    hint = "a vector of zeros has cosine 0: divide by a length that is never 0"
    assert_close(cosine[0], torch.zeros(1).double(), what="the cosine of a vector of zeros", hint=hint, hint_for="values NaN")
    assert_equal(tuple(ids.shape), (3, 1), what="the shape of the ids", hint="a row for each query, `count` columns")
    assert_true(
        ids[0, 0] != 1,
        "a word was named as its own neighbour",
        hint="leave the query out by its id, not as the first of the ranking",
    )
    assert_equal(
        ids[1:, 0],
        torch.tensor([2, 0]),
        what="the neighbours of twins",
        hint="a twin at cosine 1 stays; only the query itself goes",
    )


def with_a_zero(draw):
    """Words 0 to 3 lie together, all others opposite, and the last one never moved: its cosine of 0 is above those of the others."""
    D, more = draw.integer(3, 6), draw.integer(2, 4)
    x = torch.cat([torch.ones(4, D), -torch.ones(more, D), torch.zeros(1, D)]).double()
    return x + (x != 0) * draw.uniform(len(x), D, low=-0.2, high=0.2)


@pytest.mark.stub("neighbours")
def test_a_query_is_left_out_beside_opposites(impl, draw):
    """All cosines are −1 exactly, so a query that is merely put down to −1 may come back."""
    V, D = draw.integer(4, 7), draw.integer(2, 5)
    x = torch.zeros(V, D, dtype=torch.float64)
    for query in range(V):
        x[:, 0] = -(2.0 ** draw.integers(3, (V,)))
        x[query, 0] = 2.0
        _, ids = impl.neighbours(x, torch.tensor([query, query]), V - 1)
        expected = [i for i in range(V) if i != query]
        hint = "put −∞ at the query's own column; another word's cosine may be −1, and a query may come twice"
        assert_equal([sorted(row) for row in ids.tolist()], [expected, expected], what="the ids beside opposites", hint=hint)


@pytest.mark.stub("neighbours")
def test_a_word_that_never_moved_is_nearer_than_an_opposite_one(impl, draw):
    x = with_a_zero(draw)
    cosine, ids = impl.neighbours(x, torch.tensor([0, len(x) - 2]), 4)
    hint = "a vector of zeros is ranked with its cosine of 0, above negative ones"
    assert_equal(ids[0, 3:].tolist(), [len(x) - 1], what="the fourth neighbour of one of four words that lie together", hint=hint)
    assert_close(cosine[0, 3:], torch.zeros(1, dtype=torch.float64), what="its cosine", hint=hint, hint_for="values NaN")


@pytest.mark.stub("neighbours")
@pytest.mark.parametrize("count", ["none", "all"])
def test_as_many_neighbours_as_there_are(impl, draw, count):
    V = draw.integer(2, 6)
    with raises(ValueError, hint="1 to V − 1: the query itself is no neighbour"):
        impl.neighbours(draw.normal(V, 3), torch.tensor([0]), 0 if count == "none" else V)


# --- analogy -----------------------------------------------------------------------------------------------------------


def own_analogy(x, questions):
    """Answers, how clear the closest call was, and whether leaving out the three words decided any."""
    table, answers, margin, decided = cosines(x), [], math.inf, False
    for a, b, c in questions.tolist():
        scores = [table[i][b] - table[i][a] + table[i][c] for i in range(len(x))]
        ranked = sorted(((s, i) for i, s in enumerate(scores) if i not in (a, b, c)), reverse=True)
        margin = min(margin, ranked[0][0] - ranked[1][0] if len(ranked) > 1 else math.inf)
        decided |= max(scores) > ranked[0][0]
        answers.append(ranked[0][1])
    return torch.tensor(answers), margin, decided


@pytest.mark.stub("analogy")
@pytest.mark.parametrize("V", [4, 8, 11])
def test_answers_are_those_of_3cosadd(impl, draw, V):
    D, Q = draw.size(3), draw.batch(3) + 2
    while True:
        x = some_words(draw, V, D)
        questions = torch.stack([draw.permutation(V)[:3] for _ in range(Q)])
        expected, margin, decided = own_analogy(x, questions)
        if margin > 1e-4 and (decided or V == 4):
            break
    hint = "cos(x, b) − cos(x, a) + cos(x, c), largest among all words but a, b and c of the same row"
    assert_equal(impl.analogy(x, questions), expected, hint=hint)


@pytest.mark.stub("analogy")
@pytest.mark.parametrize("role", [0, 1, 2])
def test_none_of_the_three_is_the_answer(impl, draw, role):
    """The three words lie together, all others opposite; the one in question would win."""
    D = draw.integer(3, 6)
    x = -torch.ones(7, D, dtype=torch.float64) + draw.normal(7, D, scale=0.2)
    three = draw.permutation(7)[:3]
    x[three] = 1 + draw.normal(3, D, scale=0.1)
    questions = three.roll(role)[None]
    expected, _, _ = own_analogy(x, questions)
    assert_equal(
        impl.analogy(x, questions), expected, hint="b and c are nearly always the nearest to b − a + c: leave out all three"
    )


@pytest.mark.stub("analogy")
def test_a_word_may_stand_twice_and_each_row_has_its_own_three(impl, draw):
    V, D = 6, draw.integer(3, 5)
    while True:
        x = some_words(draw, V, D)
        order = draw.permutation(V).tolist()
        questions = torch.tensor([[order[0], order[1], order[0]], order[:3], order[3:], [order[4], order[2], order[2]]])
        expected, margin, _ = own_analogy(x, questions)
        if margin > 1e-4:
            break
    assert_equal(impl.analogy(x, questions), expected, hint="each row leaves out its own words, and only those")


@pytest.mark.stub("analogy")
def test_vectors_of_zeros_have_cosine_0(impl, draw):
    x, order = with_a_zero(draw), draw.permutation(4)
    hint = "its cosine with everything is 0: neither NaN, which is above all, nor left out"
    fourth = impl.analogy(x, order[None, :3])
    assert_equal(fourth.tolist(), [int(order[3])], what="the answer beside a vector of zeros that is none", hint=hint)
    V, turned = len(x), x.flip(0)  # the vector of zeros first, then opposite ones, then the four that lie together
    with_zero = impl.analogy(turned, torch.tensor([[0, V - 1, V - 2], [1, 0, V - 1]]))
    assert_equal(tuple(with_zero.shape), (2,), what="the shape of the answers", hint="an id for each row")
    assert_true(with_zero[0].item() in (V - 3, V - 4), "a vector of zeros as a must change nothing in the sum", hint=hint)
    assert_true(with_zero[1].item() in (V - 2, V - 3, V - 4), "a vector of zeros as b must change nothing in the sum", hint=hint)
    x = x[[0, 1, 2, *range(4, len(x))]]  # three words that lie together, and of the others the vector of zeros wins
    result = impl.analogy(x, draw.permutation(3)[None])
    assert_equal(result.tolist(), [len(x) - 1], what="the answer where all others have negative sums", hint=hint)


@pytest.mark.stub("analogy")
def test_what_is_left_out_stays_out_beside_opposites(impl, draw):
    """All sums but those of the three are −3, the least there is."""
    V, D = draw.integer(5, 8), draw.integer(2, 5)
    x = torch.zeros(V, D, dtype=torch.float64)
    a, b, c = draw.permutation(V)[:3].tolist()
    x[:, 0] = -1.0
    x[[b, c], 0] = 1.0
    result = impl.analogy(x, torch.tensor([[a, b, c]]))
    assert_equal(tuple(result.shape), (1,), what="the shape of the answers", hint="an id for each row")
    assert_true(
        result[0].item() not in (a, b, c), "a word of the question is the answer", hint="−∞ is below every sum; −1 is not"
    )


@pytest.mark.stub("analogy")
@pytest.mark.parametrize("V", [1, 3])
def test_an_analogy_needs_a_fourth_word(impl, draw, V):
    with raises(ValueError, hint="with three words nothing is left to answer"):
        impl.analogy(draw.normal(V, 4), torch.tensor([[0, V // 2, V - 1]]))


# --- wrong and right answers -------------------------------------------------------------------------------------------


def refuse(*_):
    raise ValueError("refused")


def pairs_by_loop(ids, radii):
    if len(ids) != len(radii):
        raise ValueError("lengths differ")
    centres, contexts = [], []
    for i in range(len(ids)):
        r = int(radii[i])
        for j in range(max(0, i - r), min(len(ids), i + r + 1)):
            if j != i:
                centres.append(int(ids[i]))
                contexts.append(int(ids[j]))
    return torch.tensor(centres, dtype=torch.int64), torch.tensor(contexts, dtype=torch.int64)


def pairs_by_mask(ids, radii):
    if ids.shape != radii.shape:
        raise ValueError("lengths differ")
    places = torch.arange(len(ids))
    distance = (places[:, None] - places).abs()
    i, j = ((distance <= radii[:, None]) & (distance > 0)).nonzero().unbind(1)
    return ids[i], ids[j]


def pairs_without_the_same_word(ids, radii):
    centres, contexts = pairs_by_mask(ids, radii)
    return centres[centres != contexts], contexts[centres != contexts]


def pairs_once(ids, radii):
    centres, contexts = pairs_by_mask(ids, radii)
    both = torch.unique(torch.stack([centres, contexts]), dim=1)
    return both[0], both[1]


def pairs_that_wrap(ids, radii):
    if ids.shape != radii.shape:
        raise ValueError("lengths differ")
    centres, contexts = [ids[:0]], [ids[:0]]
    for step in range(1, int(radii.max()) + 1 if len(ids) else 0):
        for shift in (-step, step):
            centres.append(ids[radii >= step])
            contexts.append(ids.roll(shift)[radii >= step])
    return torch.cat(centres), torch.cat(contexts)


def table_by_remainders(counts, size, power=0.75):
    if not bool((counts > 0).any()):
        raise ValueError("no words")
    weights = torch.where(counts > 0, counts.double() ** power, 0.0)
    exact = size * weights / weights.sum()
    whole = exact.floor().long()
    order = (exact - whole).argsort(descending=True)
    whole[order[: size - int(whole.sum())]] += 1
    return torch.arange(len(counts)).repeat_interleave(whole)


def table_by_points(counts, size, power=0.75):
    if not bool((counts > 0).any()):
        raise ValueError("no words")
    weights = torch.where(counts > 0, counts.double() ** power, 0.0)
    return torch.bucketize((torch.arange(size, dtype=torch.float64) + 0.5) / size, weights.cumsum(0) / weights.sum(), right=True)


def table_by_walking(counts, size, power=0.75):
    weights = [float(n) ** power if n > 0 else 0.0 for n in counts]
    if sum(weights) == 0:
        raise ValueError("no words")
    table, ends = [], list(itertools.accumulate(weights))
    word = 0
    for entry in range(size):
        while (entry + 0.5) / size * ends[-1] >= ends[word]:
            word += 1
        table.append(word)
    return torch.tensor(table)[torch.randperm(size)]


def table_by_rounding(counts, size, power=0.75):
    weights = torch.where(counts > 0, counts.double() ** power, 0.0)
    if weights.sum() == 0:
        raise ValueError("no words")
    return torch.arange(len(counts)).repeat_interleave((size * weights / weights.sum()).round().long())


def table_at_least_one_each(counts, size, power=0.75):
    table = table_by_remainders(counts, size, power)
    table[: min(size, len(counts))] = torch.arange(min(size, len(counts)))
    return table


def loss_by_softplus(w, c, n):
    return (F.softplus(-torch.einsum("bd,bd->b", w, c)) + F.softplus(torch.einsum("bd,bkd->bk", w, n)).sum(1)).mean()


def loss_by_parts(w, c, against, of_negatives, n):
    """The loss, with what pairs and negatives are multiplied by said apart."""
    return (F.softplus(-(against * c).sum(-1)) + F.softplus((n @ of_negatives[:, :, None])[..., 0]).sum(1)).mean()


def loss_by_labels(w, c, n):
    logits = torch.cat([c[:, None], n], 1) @ w[..., None]
    labels = torch.zeros_like(logits)
    labels[:, 0] = 1
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / len(w)


def loss_by_loop(w, c, n):
    total = w.new_zeros(())
    for i in range(len(w)):
        total = total - F.logsigmoid(w[i] @ c[i])
        for k in range(n.shape[1]):
            total = total - F.logsigmoid(-(w[i] @ n[i, k]))
    return total / len(w)


def ppmi_by_logs(counts, negatives=1.0, power=1.0):
    if negatives <= 0:
        raise ValueError("k must be positive")
    context = counts.sum(0) ** power
    pmi = counts.log() + context.sum().log() - counts.sum(1, keepdim=True).log() - context.log() - math.log(negatives)
    return torch.where(counts > 0, pmi, 0.0).clamp(min=0)


def ppmi_by_nan(counts, negatives=1.0, power=1.0):
    if negatives <= 0:
        raise ValueError("k must be positive")
    q = counts.sum(0) ** power / (counts.sum(0) ** power).sum()
    ratio = counts / (counts.sum(1, keepdim=True) * q * negatives)
    return ratio.log().nan_to_num(nan=0.0, neginf=0.0).clamp(min=0)


def ppmi_added_one(counts, negatives=1.0, power=1.0):
    return ppmi_by_logs(counts + 1, negatives, power)


def checked_width(matrix, width):
    if not 1 <= width <= min(matrix.shape):
        raise ValueError("no such width")


def svd_flipped(matrix, width, power=0.5):
    checked_width(matrix, width)
    U, S, V = torch.svd(matrix)
    return -U[:, :width] * S[:width].pow(power), -V[:, :width] * S[:width].pow(1 - power)


def svd_turned(matrix, width, power=0.5):
    """The same products, in other coordinates."""
    words, contexts = svd_flipped(matrix, width, power)
    turn, _ = torch.linalg.qr(torch.arange(1.0, width * width + 1, dtype=matrix.dtype).view(width, width).cos())
    return words @ turn, contexts @ turn


def svd_by_projection(matrix, width, power=0.5):
    checked_width(matrix, width)
    U, S, _ = torch.linalg.svd(matrix, full_matrices=True)
    U, S = U[:, :width], S[:width]
    return U @ torch.diag(S**power), matrix.T @ U @ torch.diag(S**-power)


def svd_with_a_copy(matrix, width, power=0.5):
    """Words only; contexts as if the matrix were symmetric."""
    checked_width(matrix, width)
    U, S, _ = torch.linalg.svd(matrix, full_matrices=False)
    words = U[:, :width] * S[:width] ** power
    return words, words[: matrix.shape[1]]


def checked_count(x, count):
    if not 1 <= count < len(x):
        raise ValueError("no such count")


def by_sorting(x, queries, count):
    checked_count(x, count)
    lengths = x.norm(dim=1)
    lengths = torch.where(lengths > 0, lengths, 1)
    table = (x[queries] @ x.T) / lengths[queries][:, None] / lengths
    table[torch.arange(len(queries)), queries] = -2
    ids = table.argsort(dim=1, descending=True)[:, :count]
    return table.gather(1, ids), ids


def by_cosine_similarity(x, queries, count):
    checked_count(x, count)
    table = F.cosine_similarity(x[queries][:, None], x[None], dim=-1)
    table = table.masked_fill(F.one_hot(queries, len(x)).bool(), -9)
    found = table.topk(count)
    return found.values, found.indices


def near_by(table_of, first_dropped=False):
    def neighbours(x, queries, count):
        checked_count(x, count)
        table = table_of(x, queries)
        if first_dropped:
            found = table.topk(count + 1)
            return found.values[:, 1:], found.indices[:, 1:]
        found = table.scatter(1, queries[:, None], -math.inf).topk(count)
        return found.values, found.indices

    return neighbours


def unit(x):
    return F.normalize(x, dim=1)


def analogy_by(score, leave_out=(0, 1, 2)):
    def analogy(x, questions):
        if len(x) < 4:
            raise ValueError("too few words")
        a, b, c = unit(x)[questions].unbind(1)
        scores = score(unit(x), a, b, c)
        for i in leave_out:
            scores = scores.scatter(1, questions[:, i : i + 1], -math.inf)
        return scores.argmax(1)

    return analogy


def analogy_by_loop(x, questions):
    if len(x) < 4:
        raise ValueError("too few words")
    answers = []
    for a, b, c in questions.tolist():
        sums = [F.cosine_similarity(x, x[i][None]) for i in (b, a, c)]
        scores = sums[0] - sums[1] + sums[2]
        scores[[a, b, c]] = -9.0
        answers.append(int(scores.argmax()))
    return torch.tensor(answers)


def analogy_of_raw_vectors(x, questions):
    if len(x) < 4:
        raise ValueError("too few words")
    a, b, c = x[questions].unbind(1)
    return (unit(b - a + c) @ unit(x).T).scatter(1, questions, -math.inf).argmax(1)


def analogy_of_any_row(x, questions):
    if len(x) < 4:
        raise ValueError("too few words")
    a, b, c = unit(x)[questions].unbind(1)
    scores = (b - a + c) @ unit(x).T
    scores[:, questions.flatten()] = -math.inf
    return scores.argmax(1)


FAKES = {
    "subsample_keep": {
        "what is dropped": Edit(".clamp(max=1)", ".clamp(max=1).neg() + 1"),
        "no root": Edit(".sqrt()", ""),
        "not at most 1": lambda counts, threshold: (threshold * counts.sum() / counts).sqrt() if threshold > 0 else refuse(),
        "the formula of word2vec.c": lambda counts, threshold: (
            ((counts / counts.sum() / threshold).sqrt() + 1).mul(threshold * counts.sum() / counts).clamp(max=1)
            if threshold > 0
            else refuse()
        ),
        "counts for shares": Edit("counts / counts.sum()", "counts"),
        "share of the most frequent word": Edit("counts.sum()", "counts.max()"),
        "the threshold of the paper": lambda counts, threshold: (
            (1e-3 * counts.sum() / counts).sqrt().clamp(max=1) if threshold > 0 else refuse()
        ),
        "unseen words dropped": lambda counts, threshold: (
            (threshold * counts.sum() / counts).sqrt().clamp(max=1) * (counts > 0) if threshold > 0 else refuse()
        ),
        "unseen words no number": lambda counts, threshold: (
            1 - (1 - (threshold * counts.sum() / counts).sqrt()).clamp(min=0) * (counts / counts) if threshold > 0 else refuse()
        ),
        "thresholds above 1 refused": Edit("threshold <= 0", "not 0 < threshold <= 1"),
        "any threshold accepted": Edit("threshold <= 0", "False"),
        "a threshold of 0 accepted": Edit("threshold <= 0", "threshold < 0"),
    },
    "negative_table": {
        "no power": Edit("counts.double() ** power", "counts.double()"),
        "added up in float32": Edit("counts.double() ** power", "counts.float() ** power"),
        "always three quarters": Edit("** power", "** 0.75"),
        "another default": lambda counts, size, power=1.0: table_by_remainders(counts, size, power),
        "every word as often": Edit("counts.double() ** power", "torch.ones_like(counts.double())"),
        "unseen words drawn": Edit("torch.where(counts > 0, counts.double() ** power, 0.0)", "counts.double() ** power"),
        "rounded, so of another length": table_by_rounding,
        "at least one of each": table_at_least_one_each,
        "drawn by chance": lambda counts, size, power=0.75: (
            torch.multinomial(counts.double() ** power * (counts > 0), size, replacement=True) if counts.sum() > 0 else refuse()
        ),
        "logarithms": Edit("counts.double() ** power", "counts.double().log1p() ** power"),
        "one entry too many": Edit("size * weights", "(size + 1) * weights"),
        "probabilities": lambda counts, size, power=0.75: (
            table_by_remainders(counts, size, power).double() if counts.sum() > 0 else refuse()
        ),
        "no words accepted": Edit("if not bool((counts > 0).any())", "if False"),
        "positive counts demanded": Edit("(counts > 0).any()", "(counts > 0).all()"),
    },
    "skipgram_pairs": {
        "the word itself": lambda ids, radii: tuple(torch.cat([part, ids]) for part in pairs_by_mask(ids, radii)),
        "never the same word": pairs_without_the_same_word,
        "each pair once": pairs_once,
        "to the right only": lambda ids, radii: tuple(
            torch.cat([ids[:-s][radii[:-s] >= s] if k == 0 else ids[s:][radii[:-s] >= s] for s in range(1, len(ids))] + [ids[:0]])
            if ids.shape == radii.shape
            else refuse()
            for k in (0, 1)
        ),
        "the radius of the context": lambda ids, radii: pairs_by_mask(ids, radii)[::-1],
        "one radius for all": lambda ids, radii: pairs_by_mask(ids, radii.clamp(min=int(radii.max()) if len(radii) else 0)),
        "one place short": lambda ids, radii: pairs_by_mask(ids, radii - 1),
        "one place too far": lambda ids, radii: pairs_by_mask(ids, radii + 1),
        "around the end": pairs_that_wrap,
        "places, not words": lambda ids, radii: pairs_by_mask(torch.arange(len(ids)), radii),
        "only whole windows": lambda ids, radii: pairs_by_mask(
            ids,
            radii * ((torch.arange(len(ids)) >= radii) & (torch.arange(len(ids)) + radii < len(ids)))
            if ids.shape == radii.shape
            else radii,
        ),
        "any radii accepted": lambda ids, radii: pairs_by_loop(ids, F.pad(radii, (0, max(0, len(ids) - len(radii))))[: len(ids)]),
        "a radius of five at most": lambda ids, radii: pairs_by_mask(ids, radii.clamp(max=5)),
        "one radius serves for all": lambda ids, radii: pairs_by_mask(ids, radii.expand_as(ids) if len(radii) == 1 else radii),
        "two words at least": lambda ids, radii: pairs_by_mask(ids, radii) if len(ids) > 1 else refuse(),
    },
    "sgns_loss": {
        "the log of a sigmoid": lambda w, c, n: (
            -((w * c).sum(-1).sigmoid().log() + (-(n @ w[:, :, None])[..., 0]).sigmoid().log().sum(-1)).mean()
        ),
        "a small number in the log": lambda w, c, n: (
            -(((w * c).sum(-1).sigmoid() + 1e-10).log() + ((-(n @ w[:, :, None])[..., 0]).sigmoid() + 1e-10).log().sum(-1)).mean()
        ),
        "negatives averaged": lambda w, c, n: (
            F.softplus(-(w * c).sum(-1)) + F.softplus((n @ w[:, :, None])[..., 0]).mean(1)
        ).mean(),
        "averaged over pairs and negatives": lambda w, c, n: loss_by_softplus(w, c, n) / (1 + n.shape[1]),
        "summed over the batch": Edit(" / len(centres)", ""),
        "negatives pulled too": Edit("-negatives", "negatives"),
        "one minus the log": lambda w, c, n: (
            F.softplus(-(w * c).sum(-1)) - (1 - F.logsigmoid((n @ w[:, :, None])[..., 0])).sum(1)
        ).mean(),
        "its negative": Edit("return -F", "return F"),
        "straight above five": lambda w, c, n: (
            F.softplus(-(w * c).sum(-1), threshold=5) + F.softplus((n @ w[:, :, None])[..., 0], threshold=5).sum(1)
        ).mean(),
        "a softmax": lambda w, c, n: -((torch.cat([c[:, None], n], 1) @ w[..., None])[..., 0].log_softmax(1)[:, 0]).mean(),
        "negatives against the context": lambda w, c, n: loss_by_parts(w, c, w, c, n),
        "negatives of all pairs": lambda w, c, n: (
            F.softplus(-(w * c).sum(-1)).mean() + F.softplus(w @ n.flatten(0, 1).T).sum(1).mean()
        ),
        "the first negative alone": Edit("-negatives", "-negatives[:, :1]"),
        "negatives summed to one vector": lambda w, c, n: loss_by_softplus(w, c, n.sum(1, keepdim=True)),
        "no pairs": Edit("torch.cat([contexts[:, None], -negatives], dim=1)", "-negatives"),
        "negatives detached": Edit("-negatives", "-negatives.detach()"),
        "the centres learn from pairs alone": lambda w, c, n: loss_by_parts(w, c, w, w.detach(), n),
        "cosines": lambda w, c, n: loss_by_softplus(F.normalize(w, dim=-1), F.normalize(c, dim=-1), F.normalize(n, dim=-1)),
        "in bits": Edit(" / len(centres)", " / len(centres) / math.log(2)"),
        "products clamped": Edit("signed @ centres[:, :, None]", "(signed @ centres[:, :, None]).clamp(-6, 6)"),
    },
    "ppmi": {
        "PMI": Edit(".clamp(min=0)", ""),
        "in bits": Edit(".log()", ".log2()"),
        "cut, then shifted": lambda counts, negatives=1.0, power=1.0: (
            ppmi_by_logs(counts, 1.0, power) - (math.log(negatives) if negatives > 0 else refuse())
        ),
        "no shift": Edit("negatives * expected", "expected"),
        "added log k": Edit("negatives * expected", "expected / negatives"),
        "shifted by k": lambda counts, negatives=1.0, power=1.0: ppmi_by_logs(
            counts, math.exp(negatives) if negatives > 0 else negatives, power
        ),
        "no power": Edit(" ** power", ""),
        "the power of the words too": Edit("counts.sum(dim=1, keepdim=True)", "counts.sum(dim=1, keepdim=True) ** power"),
        "the power of shares, not normalised": Edit(
            "F.normalize(counts.sum(dim=0) ** power, p=1, dim=0)", "(counts.sum(dim=0) / counts.sum()) ** power"
        ),
        "rows for columns of a square table": lambda counts, negatives=1.0, power=1.0: (
            ppmi_by_logs(counts.T, negatives, power).T
            if counts.shape[0] == counts.shape[1]
            else ppmi_by_logs(counts, negatives, power)
        ),
        "rows for columns": lambda counts, negatives=1.0, power=1.0: ppmi_by_logs(counts.T, negatives, power).T,
        "one added to all": ppmi_added_one,
        "minus infinity kept": lambda counts, negatives=1.0, power=1.0: torch.where(
            counts > 0, ppmi_by_logs(counts, negatives, power), -math.inf
        ),
        "unseen pairs not looked after": lambda counts, negatives=1.0, power=1.0: (
            (counts / (counts.sum(1, keepdim=True) * counts.sum(0) ** power / (counts.sum(0) ** power).sum())).log()
            - (math.log(negatives) if negatives > 0 else refuse())
        ).clamp(min=0),
        "the unseen shifted": (
            lambda counts, negatives=1.0, power=1.0: (
                torch.where(counts > 0, ppmi_by_logs(counts, negatives, power), max(0.0, -math.log(negatives)))
                if negatives > 0
                else refuse()
            )
        ),
        "the shares of a symmetric matrix": lambda counts, negatives=1.0, power=1.0: ppmi_by_logs(
            counts @ counts.T, negatives, power
        ),
        "any k accepted": Edit("negatives <= 0", "False"),
        "k of 0 accepted": Edit("negatives <= 0", "negatives < 0"),
        "k of 1 at least": Edit("negatives <= 0", "negatives < 1"),
    },
    "svd_embedding": {
        "the smallest": Edit("U[:, :width], S[:width], Vh[:width].mT", "U[:, -width:], S[-width:], Vh[-width:].mT"),
        "V not transposed": Edit("Vh[:width].mT", "Vh[:width]"),
        "rows of V for its columns": Edit("Vh[:width].mT", "Vh[:, :width]"),
        "the power for both": Edit("S ** (1 - power)", "S**power"),
        "contexts without Σ": Edit("V * S ** (1 - power)", "V"),
        "words without Σ": Edit("U * S**power", "U"),
        "always the half": Edit("S**power, V * S ** (1 - power)", "S**0.5, V * S**0.5"),
        "exchanged powers": Edit("S**power, V * S ** (1 - power)", "S ** (1 - power), V * S**power"),
        "another default": lambda matrix, width, power=1.0: svd_flipped(matrix, width, power),
        "signs of the words alone": lambda matrix, width, power=0.5: (
            (parts := svd_flipped(matrix, width, power))[0] * torch.where(parts[0].sum(0) * parts[1].sum(0) < 0, -1, 1).neg(),
            parts[1],
        ),
        "both turned together": svd_turned,
        "contexts as words": svd_with_a_copy,
        "contexts as words of a square table": lambda matrix, width, power=0.5: (
            svd_with_a_copy if matrix.shape[0] == matrix.shape[1] else svd_flipped
        )(matrix, width, power),
        "exchanged": lambda matrix, width, power=0.5: svd_flipped(matrix, width, power)[::-1],
        "of the transpose": lambda matrix, width, power=0.5: svd_flipped(matrix.T, width, power),
        "all widths": Edit("U[:, :width], S[:width], Vh[:width].mT", "U, S, Vh.mT"),
        "any width accepted": Edit("not 1 <= width <= min(matrix.shape)", "False"),
        "no width accepted": Edit("1 <= width", "0 <= width"),
        "too wide accepted": Edit(" <= min(matrix.shape):", ":"),
        "as wide as words": Edit("width <= min(matrix.shape)", "width < min(matrix.shape)"),
    },
    "neighbours": {
        "products": near_by(lambda x, q: x[q] @ x.T),
        "one side normalised": near_by(lambda x, q: x[q] @ unit(x).T),
        "distances": near_by(lambda x, q: -torch.cdist(x[q], x)),
        "absolute cosines": near_by(lambda x, q: (unit(x)[q] @ unit(x).T).abs()),
        "columns normalised": near_by(lambda x, q: F.normalize(x, dim=0)[q] @ F.normalize(x, dim=0).T),
        "NaN for zeros": near_by(lambda x, q: (x[q] @ x.T) / x[q].norm(dim=1, keepdim=True) / x.norm(dim=1)),
        "words that never moved left out": near_by(lambda x, q: (unit(x)[q] @ unit(x).T).masked_fill((x == 0).all(1), -2.0)),
        "the first dropped": near_by(lambda x, q: unit(x)[q] @ unit(x).T, first_dropped=True),
        "itself at -1": Edit("-math.inf", "-1.0"),
        "itself included": Edit(".scatter(1, queries[:, None], -math.inf)", ""),
        "no query is a neighbour": lambda x, queries, count: near_by(
            lambda x, q: (unit(x)[q] @ unit(x).T).index_fill(1, q, -math.inf)
        )(x, queries, count),
        "whatever is near enough dropped": lambda x, queries, count: near_by(
            lambda x, q: (t := unit(x)[q] @ unit(x).T).masked_fill(t > 1 - 1e-6, -math.inf)
        )(x, queries, count),
        "the farthest": Edit("topk(count)", "masked_fill(F.one_hot(queries, len(vectors)).bool(), 9).topk(count, largest=False)"),
        "nearest last": lambda x, queries, count: tuple(part.flip(1) for part in by_sorting(x, queries, count)),
        "one more": lambda x, queries, count: (
            by_sorting(x, queries, count + 1) if count > 0 and count < len(x) else by_sorting(x, queries, 0)
        ),
        "exchanged": lambda x, queries, count: by_sorting(x, queries, count)[::-1],
        "no count accepted": Edit("1 <= count", "0 <= count"),
        "itself as the last": Edit("count < len(vectors)", "count <= len(vectors)"),
        "one fewer than there are": Edit("count < len(vectors)", "count < len(vectors) - 1"),
    },
    "analogy": {
        "a not left out": analogy_by(lambda x, a, b, c: (b - a + c) @ x.T, (1, 2)),
        "b not left out": analogy_by(lambda x, a, b, c: (b - a + c) @ x.T, (0, 2)),
        "c not left out": analogy_by(lambda x, a, b, c: (b - a + c) @ x.T, (0, 1)),
        "left out at -1": Edit("-math.inf", "-1.0"),
        "none left out": Edit(".scatter(1, questions, -math.inf)", ""),
        "left out of every row": analogy_of_any_row,
        "signs exchanged": Edit("b - a + c", "a - b + c"),
        "plus a": Edit("b - a + c", "b + a - c"),
        "the nearest of c": Edit("b - a + c", "c"),
        "the nearest of b": Edit("b - a + c", "b"),
        "without c": Edit("b - a + c", "b - a"),
        "no unit vectors": Edit("F.normalize(vectors)", "vectors"),
        "differences of raw vectors": analogy_of_raw_vectors,
        "words of raw length": Edit("@ unit.T", "@ vectors.T"),
        "normalised by column": Edit("F.normalize(vectors)", "F.normalize(vectors, dim=0)"),
        "NaN for zeros": Edit("F.normalize(vectors)", "vectors / vectors.norm(dim=1, keepdim=True)"),
        "words that never moved left out": lambda x, questions: analogy_by(
            lambda u, a, b, c: ((b - a + c) @ u.T).masked_fill((x == 0).all(1), -9.0)
        )(x, questions),
        "3CosMul": analogy_by(lambda x, a, b, c: (1 + b @ x.T) / 2 * (1 + c @ x.T) / 2 / ((1 + a @ x.T) / 2 + 1e-3)),
        "by distance": analogy_by(lambda x, a, b, c: -((b @ x.T) - (a @ x.T) + (c @ x.T) - 1).abs()),
        "the worst": Edit("-math.inf).argmax", "math.inf).argmin"),
        "three words accepted": Edit("len(vectors) < 4", "False"),
        "three are enough": Edit("len(vectors) < 4", "len(vectors) < 3"),
        "five demanded": Edit("len(vectors) < 4", "len(vectors) < 9"),
    },
}

# Counts are data, and what is looked up is not differentiated: an answer may pass a gradient to these, or none.
NO_GRADIENT = {
    "subsample_keep": ("counts",),
    "negative_table": ("counts",),
    "ppmi": ("counts",),
    "svd_embedding": ("matrix",),
    "neighbours": ("vectors",),
    "analogy": ("vectors",),
}

VARIANTS = {
    "subsample_keep": {
        "clamped": lambda counts, threshold: (
            (threshold * counts.sum() / counts).sqrt().clamp(max=1) if threshold > 0 else refuse()
        ),
        "a reciprocal root": lambda counts, threshold: (
            (counts / counts.sum() / threshold).clamp(min=1).rsqrt() if threshold > 0 else refuse()
        ),
        "a loop": lambda counts, threshold: (
            torch.tensor(kept(counts.tolist(), threshold), dtype=counts.dtype) if threshold > 0 else refuse()
        ),
    },
    "negative_table": {
        "by remainders": table_by_remainders,
        "walked, in random order": table_by_walking,
        "where evenly spaced points lie": table_by_points,
        "rounded down": Edit(".round()", ".add(1e-3).floor()"),
    },
    "skipgram_pairs": {
        "a loop": pairs_by_loop,
        "a mask": pairs_by_mask,
        "from the right": lambda ids, radii: tuple(part.flip(0) for part in pairs_by_mask(ids, radii)),
    },
    "sgns_loss": {
        "softplus": loss_by_softplus,
        "labels": loss_by_labels,
        "a loop": loss_by_loop,
    },
    "ppmi": {
        "a sum of logs": ppmi_by_logs,
        "NaN made zero": ppmi_by_nan,
        "a loop": lambda counts, negatives=1.0, power=1.0: (
            own_ppmi(counts, negatives, power).to(counts.dtype) if negatives > 0 else refuse()
        ),
    },
    "svd_embedding": {
        "signs turned": svd_flipped,
        "projected": svd_by_projection,
        "diagonal matrices": Edit(
            "U * S**power, V * S ** (1 - power)", "U @ torch.diag(S**power), V @ torch.diag(S ** (1 - power))"
        ),
    },
    "neighbours": {
        "sorted": by_sorting,
        "cosine_similarity": by_cosine_similarity,
        "below all": Edit("-math.inf", "-2.0"),
    },
    "analogy": {
        "three cosines": analogy_by(lambda x, a, b, c: b @ x.T - a @ x.T + c @ x.T),
        "the sum normalised": Edit("(b - a + c)", "F.normalize(b - a + c, dim=-1)"),
        "a loop": analogy_by_loop,
    },
}

EQUIVALENT = {
    "negative_table": {"constant: weights.cumsum(0) -> weights.cumsum(-1)": "a vector has one axis"},
    "skipgram_pairs": {"constant: widths.cumsum(0) -> widths.cumsum(-1)": "a vector has one axis"},
    "sgns_loss": {
        "order: torch.cat([contexts[:, None], -n… -> torch.cat([-negatives, contexts[… c94803": "all of them are added up",
    },
    "ppmi": {"reduction: counts.sum -> counts.mean": "shares do not change with the scale of what they are shares of"},
    "svd_embedding": {
        "keyword dropped: torch.linalg.svd(matrix, full_matrices=False) -> torch.linalg.svd(matrix)": "the columns more are cut off",
        "constant: torch.linalg.svd(matrix, full_matrices=False) -> torch.linalg.svd(matrix, full_matrices=True)": (
            "the columns more are cut off"
        ),
    },
}
