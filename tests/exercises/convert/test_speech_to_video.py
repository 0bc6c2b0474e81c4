"""What a right answer to convert/speech_to_video must do. Truths: loops over items and pairs, NumPy, SciPy's shifts, closed-form gradients."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, raises


def gradients(function, inputs, cotangent):
    """Gradients of the truth with respect to all of its inputs."""
    with torch.enable_grad():
        leaves = [value.clone().requires_grad_() for value in inputs]
        return torch.autograd.grad((function(*leaves) * cotangent).sum(), leaves, allow_unused=True, materialize_grads=True)


# --- one vector for an utterance -----------------------------------------------------------------------------------------


def pooled(states, scores, mask):
    """Item by item, only what the mask leaves."""
    rows = []
    for state, score, kept in zip(states, scores, mask, strict=True):
        weight = torch.exp(score[kept] - score[kept].max()) if kept.any() else score[kept]
        rows.append((weight / weight.sum()) @ state[kept] if kept.any() else state.sum(0) * 0)
    return torch.stack(rows)


def sequences(draw, low=1):
    """States, scores, and a mask with at least one moment in each item, unlike a prefix."""
    B, T, C = draw.batch(2), draw.size(3), draw.size()
    mask = draw.uniform(B, T) < 0.6
    mask[torch.arange(B), draw.integers(T, (B,))] = True
    return draw.normal(B, T, C), draw.normal(B, T, scale=2), mask


POOL = "softmax of the scores over the moments in the mask (axis 1), then the weighted mean of the states"


@pytest.mark.stub("attention_pool")
def test_pool_is_a_weighted_mean_of_what_sounds(impl, draw):
    states, scores, mask = sequences(draw)
    scores[~mask] = 9.0  # silence that shouts
    assert_close(impl.attention_pool(states, scores, mask), pooled(states, scores, mask), hint=POOL)


@pytest.mark.stub("attention_pool")
def test_states_that_are_masked_leave_no_trace(impl, draw):
    states, scores, mask = sequences(draw)
    expected = pooled(states, scores, mask)
    hint = "what the mask leaves out has weight 0, not a small one: use -inf, whatever its score"
    scores[~mask] = 200.0
    states[~mask] = 1e6
    assert_close(impl.attention_pool(states, scores, mask), expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("attention_pool")
def test_scores_that_are_masked_may_be_anything(impl):
    states, mask = torch.arange(1.0, 9.0).double().reshape(1, 4, 2), torch.tensor([[True, False, True, False]])
    for score in (1e10, 1e300, math.inf, -math.inf, math.nan):
        scores = torch.tensor([[0.5, score, -0.5, score]]).double()
        hint = "what the mask leaves out has weight 0, whatever its score: put -inf in its place, add nothing to it"
        what = f"the result with masked scores of {score:g}"
        assert_close(impl.attention_pool(states, scores, mask), pooled(states, scores, mask), what=what, hint=hint)


@pytest.mark.stub("attention_pool")
def test_equal_scores_give_the_mean(impl, draw):
    states, scores, mask = sequences(draw)
    expected = torch.stack([state[kept].mean(0) for state, kept in zip(states, mask, strict=True)])
    for score in (300.0, 1e6, -1e12):  # −1e9 in place of −∞ would win
        hint = "the weights add up to 1 over what is left, not over T, however large or small the scores are"
        result = impl.attention_pool(states, torch.full_like(scores, score), mask)
        assert_close(result, expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("attention_pool")
def test_silence_is_zeros_and_not_nan(impl, draw):
    states, scores, mask = sequences(draw)
    mask[0] = False
    result = impl.attention_pool(states, scores, mask)
    hint = "a softmax of nothing but -inf is NaN: give a sequence without any sound zeros"
    assert_finite(result, hint=hint)
    assert_close(result, pooled(states, scores, mask), hint=hint, hint_for="values NaN")
    g, hint = draw.normal(*result.shape), "one silent item must not spoil the batch, and has no gradient itself"
    expected = gradients(lambda a, b: pooled(a, b, mask), [states, scores], g)
    actual = impl.vjp("attention_pool", states, scores, mask, wrt=(0, 1), cotangent=g)
    for name, mine, truth in zip(("states", "scores"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint, hint_for="values NaN")


@pytest.mark.stub("attention_pool")
def test_gradient_reaches_states_and_scores(impl, draw):
    states, scores, mask = sequences(draw)
    g = draw.normal(len(states), states.shape[2])
    expected = gradients(lambda a, b: pooled(a, b, mask), [states, scores], g)
    actual = impl.vjp("attention_pool", states, scores, mask, wrt=(0, 1), cotangent=g)
    for name, mine, truth in zip(("states", "scores"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint="what to listen to is learned through the scores")


@pytest.mark.stub("attention_pool")
def test_silence_all_over_and_a_single_moment(impl):
    states, scores = torch.arange(12.0).reshape(2, 3, 2), torch.tensor([[1e4, -1e4, 0.0], [-1e4, 0.0, 1e4]])
    nothing, hint = (
        torch.zeros(2, 3, dtype=torch.bool),
        "no moment at all gives zeros, and a single one itself, whatever its score",
    )
    assert_close(impl.attention_pool(states, scores, nothing), torch.zeros(2, 2), hint=hint, hint_for="values NaN")
    single = nothing.clone()
    single[0, 1], single[1, 0] = True, True
    expected = torch.stack([states[0, 1], states[1, 0]])
    assert_close(impl.attention_pool(states, scores, single), expected, hint=hint, hint_for="values NaN")
    assert_close(impl.attention_pool(states, scores, ~nothing), torch.stack([states[0, 0], states[1, 2]]), hint=POOL)


# --- the contrastive loss ------------------------------------------------------------------------------------------------


def cosines(first, second):
    rows = []
    for a in first:
        rows.append(torch.stack([(a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt() for b in second]))
    return torch.stack(rows)


def lengths(draw, N):
    """Lengths of vectors (N, 1), each of an order of its own: what is added to one, or a bound below it, shows."""
    return 10 ** draw.uniform(N, 1, low=-6, high=6)


@pytest.mark.stub("contrastive_logits")
def test_logits_are_cosines_over_the_temperature(impl, draw):
    N, M, D = draw.batch(), draw.size(), draw.size(2)
    first, second, scale = draw.normal(N, D) * lengths(draw, N), draw.normal(M, D) * lengths(draw, M), draw.normal()
    expected = cosines(first, second) * math.exp(scale)
    hint = "unit vectors on both sides, a row per item of the first; logit_scale is a logarithm: times its exponential"
    assert_close(impl.contrastive_logits(first, second, scale), expected, hint=hint)


@pytest.mark.stub("contrastive_logits")
def test_gradient_of_the_logits(impl, draw):
    N, M, D = draw.batch(), draw.size(), draw.size(2)
    inputs = [draw.normal(N, D), draw.normal(M, D), draw.normal()]
    g = draw.normal(N, M)
    expected = gradients(lambda a, b, s: cosines(a, b) * s.exp(), inputs, g)
    actual = impl.vjp("contrastive_logits", *inputs, wrt=(0, 1, 2), cotangent=g)
    hint = "both encoders and the temperature learn: detach nothing, and do not clamp in here"
    for name, mine, truth in zip(("first", "second", "logit_scale"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


@pytest.mark.stub("contrastive_logits")
def test_a_large_scale_still_has_a_gradient(impl, draw):
    N, D = draw.batch(2), draw.size(2)
    first, second = draw.normal(N, D), draw.normal(N, D)
    hint = "the training loop holds the parameter below log 100; clamped in here it would lose its gradient and never come back"
    for scale in (5.0, 30.0, -20.0):
        expected, given = cosines(first, second) * math.exp(scale), torch.tensor(scale, dtype=torch.float64)
        result = impl.contrastive_logits(first, second, given)
        assert_close(result / math.exp(scale), expected / math.exp(scale), hint=hint, what="the logits over their scale")
        by_scale = impl.vjp("contrastive_logits", first, second, given, wrt=2, cotangent=torch.ones(N, N).double())
        assert_close(by_scale, expected.sum(), what="the gradient of logit_scale", hint=hint)


@pytest.mark.stub("false_negatives")
def test_pairs_that_say_the_same(impl, draw):
    B = draw.batch(2, 9)
    contents = draw.integers(draw.size(1, 4), (B,), low=-1)
    expected = torch.tensor([[i != j and contents[i].item() == contents[j].item() for j in range(B)] for i in range(B)])
    hint = "True where two different items have the same content; the diagonal is the positive pair, so False"
    assert_equal(impl.false_negatives(contents), expected, hint=hint, what="the mask")


@pytest.mark.stub("false_negatives")
def test_nothing_is_ignored_where_all_differ(impl, draw):
    B = draw.batch()
    hint = "without repetitions every other item is a true negative"
    expected = torch.zeros(B, B, dtype=torch.bool)
    assert_equal(impl.false_negatives(10 * draw.permutation(B)), expected, hint=hint, what="the mask")


@pytest.mark.stub("false_negatives")
def test_contents_are_whole_numbers_of_any_size(impl):
    for contents in ([2**24, 2**24 + 1, 2**24], [-(2**60), -(2**60) - 1, -(2**60)], [5], [7, 7], []):
        given = torch.tensor(contents, dtype=torch.int64)
        expected = torch.tensor([[i != j and a == b for j, b in enumerate(contents)] for i, a in enumerate(contents)])
        expected = expected.reshape(len(contents), len(contents)).bool()
        hint = "compare integers as they are: as floats, neighbours above 2²⁴ are equal; one item, or none, is a batch too"
        assert_equal(impl.false_negatives(given), expected, hint=hint, what="the mask")


def looped_loss(logits, ignored):
    """Both cross-entropies, sum by sum."""
    B = len(logits)
    total = 0
    for i in range(B):
        row = torch.stack([logits[i, j] for j in range(B) if not ignored[i, j]])
        column = torch.stack([logits[j, i] for j in range(B) if not ignored[j, i]])
        total = total + row.logsumexp(0) + column.logsumexp(0) - 2 * logits[i, i]
    return total / (2 * B)


def square(draw, low=2):
    B = draw.batch(low, 8)
    ignored = draw.uniform(B, B) < 0.4
    ignored.fill_diagonal_(False)
    if B > 1:
        ignored[0, 1], ignored[1, 0] = True, False  # a pair that is ignored one way
    return draw.normal(B, B, scale=2), ignored


LOSS = (
    "cross-entropy of each row and of each column with the diagonal as the class, ignored logits left out, averaged over all 2B"
)


@pytest.mark.stub("contrastive_loss")
def test_loss_agrees_with_a_loop(impl, draw):
    logits, ignored = square(draw, 1)
    assert_close(impl.contrastive_loss(logits, ignored), looped_loss(logits, ignored), hint=LOSS)


@pytest.mark.stub("contrastive_loss")
def test_loss_of_knowing_nothing_is_the_logarithm_of_the_choices(impl, draw):
    B = draw.batch(2)
    logits, ignored = torch.full((B, B), draw.number(-3, 3), dtype=torch.float64), torch.zeros(B, B, dtype=torch.bool)
    hint = "equal logits, B choices: log B nats; is the mean taken over rows and columns, and not their sum?"
    expected = torch.tensor(math.log(B), dtype=torch.float64)
    assert_close(impl.contrastive_loss(logits, ignored), expected, hint=hint)


@pytest.mark.stub("contrastive_loss")
def test_what_is_ignored_does_not_count(impl, draw):
    logits, ignored = square(draw)
    expected = looped_loss(logits, ignored)
    shouting = logits.masked_fill(ignored, 500.0)
    hint = "a false negative is taken out of the sums of its row and its column; a logit of 0 would still count as exp 0 = 1"
    assert_close(impl.contrastive_loss(shouting, ignored), expected, hint=hint)


@pytest.mark.stub("contrastive_loss")
def test_loss_survives_the_largest_scale(impl, draw):
    B = draw.size(2)
    logits, ignored = 1000 * torch.eye(B) - 500, torch.zeros(B, B, dtype=torch.bool)
    hint = "log-softmax subtracts the maximum; exp of 500 overflows in float32"
    assert_close(impl.contrastive_loss(logits, ignored), torch.tensor(0.0), hint=hint, hint_for="values NaN")
    assert_close(
        impl.contrastive_loss(-logits, ignored), torch.tensor(1000.0 + math.log(B - 1)), hint=hint, hint_for="values NaN"
    )
    assert_close(
        impl.vjp("contrastive_loss", logits, ignored, wrt=0), torch.zeros(B, B), what="the gradient of a sure case", hint=hint
    )
    wrong = (torch.ones(B, B) - torch.eye(B)) / (B * (B - 1)) - torch.eye(B) / B
    assert_close(impl.vjp("contrastive_loss", -logits, ignored, wrt=0), wrong, what="the gradient of a hopeless case", hint=hint)


@pytest.mark.stub("contrastive_loss")
def test_logits_that_are_ignored_may_be_anything(impl):
    ignored = torch.tensor([[False, True, False], [False, False, False], [False, True, False]])
    for logit in (1e10, math.inf, -math.inf, math.nan):
        logits = torch.arange(9.0).double().reshape(3, 3).sin().masked_fill(ignored, logit)
        what = f"the loss with ignored logits of {logit:g}"
        hint = "what is ignored is left out, whatever it is: put -inf in its place, add nothing to it"
        assert_close(impl.contrastive_loss(logits, ignored), looped_loss(logits, ignored), what=what, hint=hint)


@pytest.mark.stub("contrastive_loss")
def test_loss_where_almost_all_is_ignored(impl):
    for level in (0.0, 3e4, -2e9):  # −1e9 in place of −∞ would win
        logits, off = torch.full((3, 3), level).double(), ~torch.eye(3, dtype=torch.bool)
        hint = "an item that is held against itself alone is found: log 1 = 0, without a gradient"
        assert_close(impl.contrastive_loss(logits, off), torch.tensor(0.0).double(), hint=hint, hint_for="values NaN")
        gradient = impl.vjp("contrastive_loss", logits, off, wrt=0)
        assert_close(gradient, torch.zeros(3, 3).double(), what="the gradient", hint=hint, hint_for="values NaN")
        off[0, 1] = False
        expected = torch.tensor(math.log(2) / 3, dtype=torch.float64)
        hint = "one logit is left beside the diagonal, in a row and in a column: ½ (log 2 + log 2) / 3"
        assert_close(impl.contrastive_loss(logits, off), expected, hint=hint, tolerance=1e-5, hint_for="values NaN")


@pytest.mark.stub("contrastive_loss")
def test_gradient_is_two_softmaxes_minus_the_diagonal(impl, draw):
    logits, ignored = square(draw)
    B, kept = len(logits), (~ignored).double()
    weights = logits.exp() * kept
    rows, columns = weights / weights.sum(1, keepdim=True), weights / weights.sum(0, keepdim=True)
    expected = (rows + columns - 2 * torch.eye(B, dtype=torch.float64)) / (2 * B)
    hint = "(softmax of the rows + softmax of the columns − 2 on the diagonal) / 2B, and 0 where ignored"
    assert_close(impl.vjp("contrastive_loss", logits, ignored, wrt=0), expected, hint=hint)


# --- measures ------------------------------------------------------------------------------------------------------------


def looped_retrieval(queries, gallery, relevant, k):
    hits = 0
    for query, good in zip(queries, relevant.tolist(), strict=True):
        order = sorted(range(len(gallery)), key=lambda g: -F.cosine_similarity(query, gallery[g], dim=0).item())
        hits += any(good[g] for g in order[:k])
    return torch.tensor(hits / len(queries), dtype=torch.float64)


RETRIEVAL = "a query counts once if any of the k things of largest cosine is relevant; the mean over queries"


@pytest.mark.stub("retrieval_at_k")
@pytest.mark.parametrize("k", [1, 2, 3, "all"])
def test_retrieval_agrees_with_sorting(impl, draw, k):
    Q, G, D = draw.batch(3, 8), draw.size(3, 8), draw.size(2)
    queries, gallery = draw.normal(Q, D), draw.normal(G, D) * draw.uniform(G, 1, low=0.1, high=10)
    relevant = draw.uniform(Q, G) < 0.3
    k = G if k == "all" else k
    expected = looped_retrieval(queries, gallery, relevant, k)
    assert_close(impl.retrieval_at_k(queries, gallery, relevant, k), expected, hint=RETRIEVAL)
    single = impl.retrieval_at_k(queries.float(), gallery.float(), relevant, k)
    assert_close(single, expected.float(), hint="the figure has the dtype of the queries", hint_for="values dtype")


@pytest.mark.stub("retrieval_at_k")
def test_long_vectors_are_not_nearer(impl, draw):
    D = draw.size(2)
    query = draw.normal(1, D)
    other = query + 0.6 * query.norm() * F.normalize(draw.normal(1, D), dim=1)
    gallery, relevant = torch.cat([50 * other, 0.01 * query]), torch.tensor([[False, True]])
    hint = "cosine, not the dot product and not the distance: the query itself, made short, is still the nearest"
    assert_close(impl.retrieval_at_k(query, gallery, relevant), 1.0, hint=hint)


@pytest.mark.stub("retrieval_at_k")
def test_retrieval_looks_at_the_first_one_unless_told(impl, draw):
    query = draw.normal(1, 3)
    gallery = torch.cat([query, query + 0.3, query - 0.5])
    for index, expected in ((0, 1.0), (1, 0.0), (2, 0.0)):
        relevant = torch.arange(3)[None] == index
        assert_close(impl.retrieval_at_k(query, gallery, relevant), expected, hint="k is 1 by default")


@pytest.mark.stub("retrieval_at_k")
def test_a_query_without_an_answer_counts(impl):
    queries, gallery = torch.eye(3)[[0, 1, 1, 2]].double() * torch.tensor([[1e-7], [1.0], [1e7], [1.0]]), torch.eye(3).double()
    relevant = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=torch.bool)
    hint = "a query for which nothing is relevant finds nothing: it counts 0, and is not left out"
    for k in (1, 3):
        assert_close(impl.retrieval_at_k(queries, gallery, relevant, k), torch.tensor(0.5).double(), hint=hint)
    nothing = impl.retrieval_at_k(queries, gallery, relevant & False)
    assert_close(nothing, torch.tensor(0.0).double(), hint=hint, hint_for="values NaN")


@pytest.mark.stub("retrieval_at_k")
def test_retrieval_refuses_a_k_that_makes_no_sense(impl, draw):
    Q, G = draw.batch(), draw.size()
    queries, gallery, relevant = draw.normal(Q, 4), draw.normal(G, 4), torch.ones(Q, G, dtype=torch.bool)
    for k in (0, -1, G + 1):
        with raises(ValueError, hint=f"k = {k} of a gallery of {G}"):
            impl.retrieval_at_k(queries, gallery, relevant, k)


@pytest.mark.stub("modality_gap")
def test_gap_is_the_distance_of_the_mean_directions(impl, draw):
    N, M, D = draw.batch(), draw.size(), draw.size(2)
    first, second = draw.normal(N, D) * lengths(draw, N), (draw.normal(M, D) + 2) * lengths(draw, M)
    centres = [(x / np.linalg.norm(x, axis=1, keepdims=True)).mean(0) for x in (first.numpy(), second.numpy())]
    hint = "unit vectors first, then the mean of each modality, then the length of the difference"
    expected = torch.tensor(math.sqrt(((centres[0] - centres[1]) ** 2).sum()), dtype=torch.float64)
    assert_close(impl.modality_gap(first, second), expected, hint=hint)


@pytest.mark.stub("modality_gap")
def test_gap_is_between_modalities_not_between_items(impl, draw):
    N, D = draw.batch(2), draw.size(2)
    cloud = draw.normal(N, D)
    hint = "the same cloud in another order has no gap, however far apart its items are"
    assert_close(impl.modality_gap(cloud, cloud[draw.permutation(N)] * 3) + 1, 1.0, hint=hint)
    assert_close(impl.modality_gap(cloud[:1], -cloud[:1]), 2.0, hint="opposite directions are 2 apart, the most there is")


# --- decoding ------------------------------------------------------------------------------------------------------------


def moved(embeddings, noise, level):
    rows = []
    for h, e in zip(embeddings, noise, strict=True):
        away = h + level * torch.linalg.vector_norm(h) / torch.linalg.vector_norm(e) * e
        rows.append(away / torch.linalg.vector_norm(away))
    return torch.stack(rows)


@pytest.mark.stub("perturb")
def test_perturbed_embedding(impl, draw):
    B, D = draw.batch(), draw.size(2)
    embeddings, noise, level = draw.normal(B, D) * lengths(draw, B), draw.normal(B, D) * lengths(draw, B), draw.number(0.1, 1.5)
    hint = "the noise gives a direction only; the step is level times the length of the embedding; the result has length 1"
    assert_close(impl.perturb(embeddings, noise, level), moved(embeddings, noise, level), hint=hint)


@pytest.mark.stub("perturb")
def test_no_noise_only_normalises(impl, draw):
    B, D = draw.batch(), draw.size(2)
    embeddings = draw.normal(B, D, scale=3)
    expected = embeddings / embeddings.square().sum(1, keepdim=True).sqrt()
    assert_close(impl.perturb(embeddings, draw.normal(B, D), 0.0), expected, hint="a level of 0 moves nothing")


@pytest.mark.stub("perturb")
def test_angle_is_bounded_by_the_level(impl, draw):
    B, D, level = draw.batch(2), draw.size(3), draw.number(0.1, 0.9)
    embeddings = F.normalize(draw.normal(B, D), dim=1)
    cosine = (impl.perturb(embeddings, draw.normal(B, D, scale=20), level) * embeddings).sum(1).min().item()
    hint = "a step of λ from the end of a unit vector turns it by at most arcsin λ, however long the noise is"
    assert_between(cosine, math.sqrt(1 - level**2) - 1e-9, 1.0, what="the cosine with the embedding", hint=hint)


@pytest.mark.stub("perturb")
def test_gradient_of_the_perturbation(impl, draw):
    B, D, level = draw.batch(), draw.size(2), draw.number(0.1, 1.5)
    embeddings, noise, g = draw.normal(B, D), draw.normal(B, D), draw.normal(B, D)
    (expected,) = gradients(lambda h: moved(h, noise, level), [embeddings], g)
    hint = "an encoder can be trained through it: the length of the embedding is part of the formula"
    assert_close(impl.vjp("perturb", embeddings, noise, level, wrt=0, cotangent=g), expected, hint=hint)


def slid(pictures, step, frames):
    """Frame by frame with SciPy: the picture at p − k · step."""
    H, W = pictures.shape[2:]
    rows, columns = np.meshgrid(np.arange(H), np.arange(W), indexing="ij")
    videos = []
    for picture, (right, down) in zip(pictures.numpy(), step.tolist(), strict=True):
        video = []
        for k in range(frames):
            at = np.stack([rows - k * down, columns - k * right])
            video.append(np.stack([map_coordinates(plane, at, order=1, mode="grid-constant") for plane in picture]))
        videos.append(np.stack(video))
    return torch.from_numpy(np.stack(videos))


@pytest.mark.stub("animate")
def test_frames_lead_away_from_the_picture(impl, draw):
    B, C, T, (H, W) = draw.batch(high=4), draw.size(high=3), draw.size(2, 6), draw.sizes(2, 3, 8)
    pictures, step = draw.normal(B, C, H, W), draw.normal(B, 2, scale=0.7)
    hint = "frame 0 is the picture; in frame k each pixel p shows the picture at p − k · step (x to the right, y down)"
    assert_close(impl.animate(pictures, step, T), slid(pictures, step, T), hint=hint)


@pytest.mark.stub("animate")
def test_one_frame_is_the_picture(impl, draw):
    B, (H, W) = draw.batch(), draw.sizes(2, 3, 8)
    pictures = draw.normal(B, 1, H, W)
    hint = "the first frame is the picture itself"
    assert_close(impl.animate(pictures, draw.normal(B, 2), 1), pictures[:, None], hint=hint)


@pytest.mark.stub("animate")
def test_what_has_left_the_picture_is_gone(impl):
    pictures, step = torch.arange(1.0, 13.0).double().reshape(2, 1, 2, 3), torch.tensor([[1e3, 0.0], [0.5, -0.25]]).double()
    hint = "each frame is made of the picture itself: nothing blurs by being moved again and again, and what is far away is zeros"
    assert_close(impl.animate(pictures, step, 5), slid(pictures, step, 5), hint=hint, hint_for="values NaN")


@pytest.mark.stub("animate")
def test_whole_steps_are_shifts(impl, draw):
    B, (H, W) = draw.batch(high=4), draw.sizes(2, 4, 8)
    right, down = draw.choice([(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1)])
    pictures, T = draw.normal(B, 1, H, W), 3
    expected = torch.zeros(B, T, 1, H, W, dtype=torch.float64)
    for t in range(T):
        for row in range(H):
            for column in range(W):
                if 0 <= row - t * down < H and 0 <= column - t * right < W:
                    expected[:, t, :, row, column] = pictures[:, :, row - t * down, column - t * right]
    hint = f"by ({right}, {down}) a frame: what moves right has come from further left, and zeros come in from outside"
    step = torch.tensor([[right, down]], dtype=torch.float64).expand(B, 2).contiguous()
    assert_close(impl.animate(pictures, step, T), expected, hint=hint)


def tent(pictures, step, frames):
    """The same video by sums over all pixels with tents as weights, differentiable."""
    H, W = pictures.shape[2:]
    rows, columns = torch.arange(H).to(step), torch.arange(W).to(step)
    videos = []
    for k in range(frames):
        y, x = rows - k * step[:, 1:], columns - k * step[:, :1]  # (B, H), (B, W)
        down, right = (1 - (y[:, :, None] - rows).abs()).clamp(min=0), (1 - (x[:, :, None] - columns).abs()).clamp(min=0)
        videos.append(torch.einsum("byr,bcrk,bxk->bcyx", down, pictures, right))
    return torch.stack(videos, dim=1)


@pytest.mark.stub("animate")
def test_gradient_of_picture_and_motion(impl, draw):
    B, C, T, (H, W) = draw.batch(high=4), draw.size(high=3), draw.size(2, 5), draw.sizes(2, 3, 8)
    inputs, g = [draw.normal(B, C, H, W), draw.normal(B, 2, scale=0.7)], draw.normal(B, T, C, H, W)
    expected = gradients(lambda a, b: tent(a, b, T), inputs, g)
    actual = impl.vjp("animate", *inputs, T, wrt=(0, 1), cotangent=g)
    hint = "all frames tell what the picture is, and all but the first tell the motion: detach nothing"
    for name, mine, truth in zip(("pictures", "step"), actual, expected, strict=True):
        assert_close(mine, truth, what=f"the gradient of {name}", hint=hint)


# --- wrong and right -----------------------------------------------------------------------------------------------------


def loss_of_zeroed(logits, ignored):
    """Ignored logits are set to 0, which still counts."""
    logits = logits.masked_fill(ignored, 0.0)
    own = torch.arange(len(logits))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def loss_by_exponentials(logits, ignored):
    weights = logits.exp() * ~ignored
    own = weights.diagonal()
    return -((own / weights.sum(1)).log() + (own / weights.sum(0)).log()).mean() / 2


def loss_with_many_positives(logits, ignored):
    """The same content counts as a positive: another loss, that of supervised contrastive learning."""
    positive = (ignored | torch.eye(len(logits), dtype=torch.bool)).to(logits.dtype)
    rows = -(logits.log_softmax(1) * positive).sum(1) / positive.sum(1)
    columns = -(logits.log_softmax(0) * positive).sum(0) / positive.sum(0)
    return (rows.mean() + columns.mean()) / 2


def hinge(logits, ignored):
    own = logits.diagonal()
    cost = (1 + logits - own[:, None]).clamp(min=0) + (1 + logits - own[None]).clamp(min=0)
    return cost.masked_fill(ignored | torch.eye(len(logits), dtype=torch.bool), 0.0).sum() / (2 * len(logits))


def every_step_alike(pictures, step, frames):
    return slid(pictures, step * 0 + step.mean(0), frames)


FAKES = {
    "attention_pool": {
        "a mean over everything": lambda states, scores, mask: states.mean(1),
        "a mean over what sounds": lambda states, scores, mask: (
            (states * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        ),
        "mask ignored": lambda states, scores, mask: torch.einsum("bt,btc->bc", scores.softmax(1), states),
        "masked after the softmax": lambda states, scores, mask: torch.einsum("bt,btc->bc", scores.softmax(1) * mask, states),
        "masked scores of 0": lambda states, scores, mask: torch.einsum(
            "bt,btc->bc", scores.masked_fill(~mask, 0.0).softmax(1), states
        ),
        "NaN for silence": Edit("weights = weights.masked_fill(~mask, 0.0)", "pass"),
        "a large number for −∞": Edit("-torch.inf", "-1e9"),
        "a large number added": lambda states, scores, mask: torch.einsum(
            "bt,btc->bc", (scores - 1e9 * (~mask).to(scores)).softmax(1) * mask.any(1, keepdim=True), states
        ),
        "−∞ added": lambda states, scores, mask: torch.einsum(
            "bt,btc->bc",
            (scores + torch.zeros_like(scores).masked_fill(~mask, -torch.inf)).softmax(1).masked_fill(~mask, 0.0), states
        ),
        "NaN in the gradient of silence": lambda states, scores, mask: torch.einsum(
            "bt,btc->bc", scores.masked_fill(~mask, -torch.inf).softmax(1), states
        ).masked_fill(~mask.any(1, keepdim=True), 0.0),
        "the largest of all scores taken off": lambda states, scores, mask: (
            lambda w: torch.einsum("bt,btc->bc", w / w.sum(1, keepdim=True).clamp(min=1e-300), states)
        )((scores - scores.amax(1, keepdim=True)).exp() * mask),
        "over the batch": Edit("softmax(dim=1)", "softmax(dim=0)"),
        "the loudest state": lambda states, scores, mask: states[
            torch.arange(len(states)), scores.masked_fill(~mask, -torch.inf).argmax(1)
        ],
        "not normalised": Edit(".softmax(dim=1)", ".exp()"),
        "scores detached": Edit("scores.masked_fill", "scores.detach().masked_fill"),
        "states detached": Edit("weights, states)", "weights, states.detach())"),
        "the mask turned": Edit("scores.masked_fill(~mask", "scores.masked_fill(mask"),
    },
    "contrastive_logits": {
        "dot products": lambda first, second, logit_scale: logit_scale.exp() * first @ second.T,
        "only the first of unit length": Edit("F.normalize(second)", "second"),
        "only the second of unit length": Edit("F.normalize(first)", "first"),
        "the scale taken for a factor": Edit("logit_scale.exp()", "logit_scale"),
        "the scale taken for a temperature": Edit("logit_scale.exp()", "(-logit_scale).exp()"),
        "no scale": Edit("logit_scale.exp() * ", ""),
        "lengths with an epsilon": lambda first, second, logit_scale: (
            logit_scale.exp() * first / (first.norm(dim=1, keepdim=True) + 1e-8) @ (second / (second.norm(dim=1, keepdim=True) + 1e-8)).T
        ),
        "the scale clamped to a wider range": Edit("logit_scale.exp()", "logit_scale.clamp(-10, 10).exp()"),
        "the scale clamped, its gradient passed on": Edit(
            "logit_scale.exp()", "(logit_scale + (logit_scale.clamp(max=math.log(100)) - logit_scale).detach()).exp()"
        ),
        "clamped in the forward pass": Edit("logit_scale.exp()", "logit_scale.exp().clamp(max=100)"),
        "transposed": lambda first, second, logit_scale: logit_scale.exp() * cosines(second, first),
        "normalised over the batch": Edit("F.normalize(first)", "F.normalize(first, dim=0)"),
        "the temperature detached": Edit("logit_scale.exp()", "logit_scale.detach().exp()"),
        "one encoder frozen": Edit("F.normalize(second)", "F.normalize(second.detach())"),
        "already a softmax": lambda first, second, logit_scale: (logit_scale.exp() * cosines(first, second)).softmax(1),
    },
    "false_negatives": {
        "none": lambda contents: torch.zeros(len(contents), len(contents), dtype=torch.bool),
        "the diagonal too": Edit("same & ~torch.eye(len(contents), dtype=torch.bool, device=contents.device)", "same"),
        "the diagonal only": lambda contents: torch.eye(len(contents), dtype=torch.bool),
        "turned": lambda contents: contents[:, None] != contents,
        "numbers": lambda contents: (
            (contents[:, None] == contents).float() - torch.eye(len(contents))
        ),
        "only earlier items": lambda contents: (contents[:, None] == contents).tril(-1),
        "neighbours": lambda contents: (contents[:, None] - contents).abs() == 1,
        "as floats": lambda contents: (contents[:, None].float() == contents.float()).fill_diagonal_(False),
        "as doubles": lambda contents: (contents[:, None].double() == contents.double()).fill_diagonal_(False),
        "a batch must have items": Edit("same = contents", "assert len(contents) > 1\n    same = contents"),
    },
    "contrastive_loss": {
        "one direction": Edit("(F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2", "F.cross_entropy(logits, own)"),
        "the other direction": Edit(
            "(F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2", "F.cross_entropy(logits.T, own)"
        ),
        "a sum of both": Edit(") / 2", ")"),
        "summed over items": Edit("F.cross_entropy(logits, own)", 'F.cross_entropy(logits, own, reduction="sum")'),
        "every other item a negative": Edit("logits = logits.masked_fill(ignored, -torch.inf)", "pass"),
        "a large number added": Edit("logits.masked_fill(ignored, -torch.inf)", "logits - 1e9 * ignored.to(logits)"),
        "ignored logits of 0": loss_of_zeroed,
        "many positives": loss_with_many_positives,
        "without the logarithm's trick": loss_by_exponentials,
        "only what is ignored": Edit("masked_fill(ignored", "masked_fill(~ignored"),
        "a hinge": hinge,
        "a large number for −∞": Edit("-torch.inf", "-1e9"),
        "the mask turned for the columns": lambda logits, ignored: (
            F.cross_entropy(logits.masked_fill(ignored, -torch.inf), torch.arange(len(logits)))
            + F.cross_entropy(logits.T.masked_fill(ignored, -torch.inf), torch.arange(len(logits)))
        ) / 2,
        "the positive left out": lambda logits, ignored: (
            looped_loss(logits, ignored) - looped_loss(logits * 0, ignored)
        ),
        "the mask on the rows only": lambda logits, ignored: (
            F.cross_entropy(logits.masked_fill(ignored, -torch.inf), torch.arange(len(logits)))
            + F.cross_entropy(logits.T, torch.arange(len(logits)))
        ) / 2,
    },
    "retrieval_at_k": {
        "dot products": lambda queries, gallery, relevant, k=1: judged(queries @ gallery.T, relevant, k),
        "nearest by distance": lambda queries, gallery, relevant, k=1: judged(-torch.cdist(queries, gallery), relevant, k),
        "the farthest": Edit("topk(k)", "topk(k, largest=False)"),
        "a share of the k": Edit(".any(dim=1).to(queries.dtype).mean()", ".to(queries.dtype).mean()"),
        "all of the k": Edit(".any(dim=1)", ".all(dim=1)"),
        "only the k-th": Edit("topk(k).indices", "topk(k).indices[:, -1:]"),
        "always the first": Edit("topk(k)", "topk(1)"),
        "over the queries": Edit("topk(k).indices", "topk(min(k, len(queries)), dim=0).indices.T"),
        "the diagonal": lambda queries, gallery, relevant, k=1: relevant.diagonal().to(queries.dtype).mean(),
        "any k": Edit("not 1 <= k <= len(gallery)", "False"),
        "k of 0": Edit("not 1 <= k", "not 0 <= k"),
        "queries without an answer left out": Edit(
            ".any(dim=1).to(queries.dtype).mean()", ".any(dim=1)[relevant.any(dim=1)].to(queries.dtype).mean()"
        ),
        "the whole gallery refused": Edit("<= len(gallery)", "< len(gallery)"),
        "chance": lambda queries, gallery, relevant, k=1: relevant.to(queries.dtype).mean(),
    },
    "modality_gap": {
        "of raw vectors": lambda first, second: (first.mean(0) - second.mean(0)).norm(),
        "of the directions of the means": lambda first, second: (
            F.normalize(first.mean(0), dim=0) - F.normalize(second.mean(0), dim=0)
        ).norm(),
        "squared": Edit(".norm()", ".square().sum()"),
        "mean distance of items": lambda first, second: torch.cdist(F.normalize(first, dim=1), F.normalize(second, dim=1)).mean(),
        "one minus the cosine of the means": lambda first, second: (
            1 - F.cosine_similarity(F.normalize(first, dim=1).mean(0), F.normalize(second, dim=1).mean(0), dim=0)
        ),
        "absolute differences": Edit(".norm()", ".abs().sum()"),
        "over the features": lambda first, second: (
            F.normalize(first, dim=0).mean(0) - F.normalize(second, dim=0).mean(0)
        ).norm(),
        "lengths with an epsilon": Edit("F.normalize(first)", "(first / (first.norm(dim=1, keepdim=True) + 1e-6))"),
        "zero": lambda first, second: (first.sum() + second.sum()) * 0,
    },
    "perturb": {
        "noise as long as it comes": Edit("level * length * F.normalize(noise)", "level * noise"),
        "a step of a fixed length": Edit("level * length *", "level *"),
        "not of unit length": lambda embeddings, noise, level: embeddings + level * embeddings.norm(dim=1, keepdim=True) * F.normalize(noise, dim=1),
        "no noise": lambda embeddings, noise, level: F.normalize(embeddings, dim=1),
        "only noise": lambda embeddings, noise, level: F.normalize(noise, dim=1),
        "backwards": Edit("embeddings + level", "embeddings - level"),
        "mixed": lambda embeddings, noise, level: F.normalize(
            (1 - level) * F.normalize(embeddings, dim=1) + level * F.normalize(noise, dim=1), dim=1
        ),
        "per feature": Edit("F.normalize(noise)", "F.normalize(noise, dim=0)"),
        "noise with an epsilon": Edit("F.normalize(noise)", "noise / (noise.norm(dim=1, keepdim=True) + 1e-6)"),
        "nothing to do at a level of 0": lambda embeddings, noise, level: moved(embeddings, noise, level) if level else embeddings.clone(),
        "the level ignored": Edit("level * length", "length"),
        "detached": lambda embeddings, noise, level: moved(embeddings.detach(), noise, level),
        "the length detached": Edit("length = embeddings.norm", "length = embeddings.detach().norm"),
    },
    "animate": {
        "standing still": lambda pictures, step, frames: pictures[:, None].expand(-1, frames, -1, -1, -1).clone(),
        "the other way": Edit("k * flow", "-k * flow"),
        "backwards in time": Edit("range(frames)", "range(frames - 1, -1, -1)"),
        "one step for all": Edit("k * flow", "flow"),
        "down before right": Edit("-step[:, :, None, None]", "-step.flip(1)[:, :, None, None]"),
        "one frame too many": Edit("range(frames)", "range(frames + 1)"),
        "the first frame moved too": Edit("range(frames)", "range(1, frames + 1)"),
        "frames before the batch": Edit("dim=1)", "dim=0)"),
        "the border drawn out": Edit("k * flow)", 'k * flow, padding="border")'),
        "the motion detached": Edit("warp(pictures, k * flow)", "warp(pictures, k * flow.detach())"),
        "the picture detached": Edit("warp(pictures, k * flow)", "warp(pictures.detach(), k * flow)"),
        "one motion for the batch": every_step_alike,
        "each frame moved on": lambda pictures, step, frames: moved_on(pictures, step, frames),
    },
}  # fmt: skip


def judged(similarity, relevant, k):
    order = similarity.argsort(dim=1, descending=True)[:, :k]
    return torch.stack([row[index].any() for row, index in zip(relevant, order, strict=True)]).to(similarity.dtype).mean()


def moved_on(pictures, step, frames):
    """Each frame made of the one before."""
    made = [pictures]
    for _ in range(frames - 1):
        made.append(tent(made[-1], step, 2)[:, 1])
    return torch.stack(made, dim=1)


def pool_by_exponentials(states, scores, mask):
    largest = scores.masked_fill(~mask, -1e30).max(dim=1, keepdim=True).values
    weights = torch.where(mask, scores - largest, 0.0).exp() * mask
    total = weights.sum(1, keepdim=True)
    return (weights.unsqueeze(2) * states).sum(1) / total.masked_fill(total == 0, 1.0)


def loss_by_log_softmax(logits, ignored):
    masked = torch.where(ignored, torch.full_like(logits, -torch.inf), logits)
    return -(masked.log_softmax(1).diagonal().mean() + masked.log_softmax(0).diagonal().mean()) / 2


VARIANTS = {
    "attention_pool": {
        "item by item": pooled,
        "exponentials": pool_by_exponentials,
        "nan_to_num": Edit("weights.masked_fill(~mask, 0.0)", "weights.nan_to_num(0.0)"),
        "a matrix product": Edit('torch.einsum("bt,btc->bc", weights, states)', "torch.bmm(weights[:, None], states).squeeze(1)"),
    },
    "contrastive_logits": {
        "pair by pair": lambda first, second, logit_scale: cosines(first, second) * logit_scale.exp(),
        "einsum": lambda first, second, logit_scale: torch.einsum(
            "nd,md->nm", first / first.norm(dim=1, keepdim=True), second / second.norm(dim=1, keepdim=True)
        ) * torch.exp(logit_scale),
        "cosine_similarity": lambda first, second, logit_scale: (
            math.e**logit_scale * F.cosine_similarity(first[:, None], second[None], dim=2)
        ),
    },
    "false_negatives": {
        "filled": lambda contents: torch.eq(contents[None], contents[:, None]).fill_diagonal_(False),
        "by position": lambda contents: (contents[:, None] == contents)
        & (torch.arange(len(contents))[:, None] != torch.arange(len(contents))).to(contents.device),
        "exclusive or": Edit("same & ~torch", "same ^ torch"),
    },
    "contrastive_loss": {
        "a loop": looped_loss,
        "log-softmax": loss_by_log_softmax,
        "logsumexp": lambda logits, ignored: (
            0.5 * logits.masked_fill(ignored, -torch.inf).logsumexp(1)
            + 0.5 * logits.masked_fill(ignored, -torch.inf).logsumexp(0)
            - logits.diagonal()
        ).mean(),
        "one large negative number": Edit("-torch.inf", "torch.finfo(logits.dtype).min"),
    },
    "retrieval_at_k": {
        "sorted": lambda queries, gallery, relevant, k=1: checked(queries, gallery, relevant, k),
        "cosine_similarity": Edit(
            "queries @ F.normalize(gallery).T",
            "F.cosine_similarity(queries[:, None], gallery[None], dim=2)",
        ),
        "a sum above 0": Edit(".any(dim=1)", ".sum(dim=1).gt(0)"),
    },
    "modality_gap": {
        "a root": lambda first, second: (
            (first / first.norm(dim=1, keepdim=True)).mean(0) - (second / second.norm(dim=1, keepdim=True)).mean(0)
        ).square().sum().sqrt(),
        "sums": lambda first, second: torch.dist(
            F.normalize(first).sum(0) / len(first), F.normalize(second).sum(0) / len(second)
        ),
        "vector_norm": lambda first, second: torch.linalg.vector_norm(
            F.normalize(second, dim=1).mean(0) - F.normalize(first, dim=1).mean(0)
        ),
    },
    "perturb": {
        "item by item": moved,
        "of the unit vector": lambda embeddings, noise, level: F.normalize(
            F.normalize(embeddings, dim=1) + level * noise / noise.norm(dim=1, keepdim=True), dim=1
        ),
        "in one quotient": lambda embeddings, noise, level: F.normalize(
            torch.addcmul(embeddings, noise, level * embeddings.norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)), dim=1
        ),
    },
    "animate": {
        "tents": tent,
        "all at once": lambda pictures, step, frames: tent(pictures, step, frames).contiguous(),
        "turned afterwards": Edit(
            "torch.stack([warp(pictures, k * flow) for k in range(frames)], dim=1)",
            "torch.stack([warp(pictures, k * flow) for k in range(frames - 1, -1, -1)], dim=1).flip(1)",
        ),
        "a plane of each": Edit(
            "-step[:, :, None, None].expand(-1, -1, *pictures.shape[2:])",
            "step.unflatten(1, (2, 1, 1)) * -torch.ones_like(pictures[:, :1])",
        ),
    },
}  # fmt: skip


def checked(queries, gallery, relevant, k):
    if k < 1 or k > len(gallery):
        raise ValueError(f"k = {k}")
    return judged(F.normalize(queries) @ F.normalize(gallery).T, relevant, k)


# Measures are read, never differentiated; noise is data.
NO_GRADIENT = {
    "retrieval_at_k": ("queries", "gallery"),
    "modality_gap": ("first", "second"),
    "perturb": ("noise",),
}

ONE_AXIS = "a mean that keeps its axis broadcasts against the other one, and the length is over all entries"

EQUIVALENT = {
    "retrieval_at_k": {
        "keepdim: relevant.gather(1, nearest).any(dim=1) -> relevant.gather(1, nearest).any(dim=1, keepdim=True)": (
            "the mean is over all axes"
        ),
    },
    "modality_gap": {
        "operands: F.normalize(first).mean(dim=0) -… -> F.normalize(second).mean(dim=0) … e63945": (
            "a distance is the same from either end"
        ),
        "keepdim: F.normalize(first).mean(dim=0) -> F.normalize(first).mean(dim=0, keepdim=True)": ONE_AXIS,
        "keepdim: F.normalize(second).mean(dim=0) -> F.normalize(second).mean(dim=0, keepdim=True)": ONE_AXIS,
    },
}
