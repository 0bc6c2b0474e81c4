"""What a right answer to convert/speech_to_text must do. Truths: every alignment written out, `F.ctc_loss`, sums of probabilities, loops."""

import difflib
import functools
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_finite, assert_true, raises

BLANK = 0


def said_by(path):
    """What an alignment says."""
    return [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]


@functools.cache
def alignments(text, frames):
    """Every alignment of `frames` symbols that says `text` (a tuple), found letter by letter: blanks, then a run of the letter."""
    if not text:
        return [(BLANK,) * frames]
    found = []
    for quiet in range(frames):
        for run in range(1, frames - quiet + 1):
            for rest in alignments(text[1:], frames - quiet - run):
                if not (len(text) > 1 and text[0] == text[1] and rest[0] != BLANK):
                    found.append((BLANK,) * quiet + (text[0],) * run + rest)
    return found


def least_frames(text):
    return len(text) + sum(a == b for a, b in itertools.pairwise(text))


def random_log_probs(draw, *shape, scale=2.0, dtype=torch.float64):
    return draw.normal(*shape, scale=scale).log_softmax(-1).to(dtype)


def random_text(draw, K, longest, frames):
    """A text of 0 to `longest` letters out of K − 1 that fits into so many frames; equal letters in a row are frequent."""
    while True:
        text = [draw.integer(1, K - 1) for _ in range(draw.integer(0, longest))]
        if len(text) > 1 and draw.integer(0, 1):
            text[1] = text[0]
        if least_frames(text) <= frames:
            return text


@pytest.mark.stub("collapse")
def test_runs_count_once_and_blanks_fall_out(impl, draw):
    path = draw.integers(draw.integer(2, 4), (draw.integer(1, 20),))
    hint = "runs first, blanks second: two equal letters with a blank between them are two letters"
    assert_equal(impl.collapse(path), said_by(path.tolist()), what="the text", hint=hint)


@pytest.mark.stub("collapse")
def test_a_blank_between_equal_letters_keeps_both(impl, draw):
    a, b = (k + 1 for k in draw.sizes(2, 1, 9))
    path = torch.tensor([a, a, BLANK, BLANK, a, b, b, BLANK])
    assert_equal(impl.collapse(path), [a, a, b], what="the text", hint="`aa--abb-` says `aab`")


@pytest.mark.stub("collapse")
def test_nothing_but_blanks_says_nothing(impl, draw):
    assert_equal(impl.collapse(torch.full((draw.size(),), BLANK)), [], what="the text", hint="an empty list")


@pytest.mark.stub("collapse")
def test_a_path_may_be_empty_or_long(impl):
    for path in ([], [BLANK], [3], [1, 1, BLANK, 2] * 600):
        hint = "a path has no frames, one, or thousands: take no first symbol for granted, and do not recurse"
        result = impl.collapse(torch.tensor(path, dtype=torch.int64))
        assert_equal(result, said_by(path), what=f"the text of {len(path)} frames", hint=hint)


def padded(texts, draw, K, longest):
    """Texts as labels (B, longest), what stands behind their ends drawn at random, and their lengths."""
    labels = draw.integers(K, (len(texts), longest))
    for row, text in zip(labels, texts, strict=True):
        row[: len(text)] = torch.tensor(text, dtype=torch.int64)
    return labels, torch.tensor([len(text) for text in texts])


def total_of(log_probs, text):
    """The sum of the probabilities of all alignments of a text, in its logarithm: as a function of `log_probs` (T, K)."""
    paths = torch.tensor(alignments(tuple(text), len(log_probs)))  # (A, T)
    return log_probs[torch.arange(len(log_probs)), paths].sum(1).logsumexp(0)


@pytest.mark.stub("ctc_loss")
def test_adds_up_every_alignment(impl, draw):
    B, T, K = draw.batch(1, 4), draw.integer(3, 6), draw.integer(2, 4)
    texts = [random_text(draw, K, 3, T) for _ in range(B)]
    labels, symbols = padded(texts, draw, K, 3)
    log_probs = random_log_probs(draw, B, T, K)
    expected = -torch.stack([total_of(row, text) for row, text in zip(log_probs, texts, strict=True)])
    hint = "two equal letters need a blank between them, different ones do not; a text may end in its last letter or in a blank"
    assert_close(impl.ctc_loss(log_probs, labels, torch.full((B,), T), symbols), expected, hint=hint)


@pytest.mark.stub("ctc_loss")
def test_agrees_with_torch_on_items_of_any_length(impl, draw):
    B, T, L, K = draw.batch(2, 5), draw.integer(12, 25), draw.integer(4, 8), draw.integer(3, 9)
    frames = draw.integers(T + 1, (B,), low=9)
    texts = [random_text(draw, K, L, count) for count in frames.tolist()]
    labels, symbols = padded(texts, draw, K, L)
    log_probs = random_log_probs(draw, B, T, K)
    expected = F.ctc_loss(log_probs.transpose(0, 1), labels, frames, symbols, reduction="none")
    hint = "each item has its own number of frames and of letters; what lies behind them must not count"
    assert_close(impl.ctc_loss(log_probs, labels, frames, symbols), expected, hint=hint)


@pytest.mark.stub("ctc_loss")
def test_ctc_loss_of_a_long_sound_is_finite_in_float32(impl, draw):
    B, T, L, K = draw.batch(1, 3), 150, 12, 20
    log_probs = random_log_probs(draw, B, T, K, scale=5, dtype=torch.float32)
    labels, count = draw.integers(K, (B, L), low=1), torch.full((B,), T)
    expected = F.ctc_loss(log_probs.double().transpose(0, 1), labels, count, torch.full((B,), L), reduction="none").float()
    result = impl.ctc_loss(log_probs, labels, count, torch.full((B,), L))
    assert_close(
        result,
        expected,
        tolerance=1e-4,
        hint="150 probabilities multiplied underflow: keep logarithms, add by logsumexp",
        hint_for="values NaN",
    )


@pytest.mark.stub("ctc_loss")
def test_gradient_is_how_often_a_symbol_is_visited(impl, draw):
    B, T, K = draw.batch(2, 4), draw.integer(6, 7), draw.integer(3, 4)
    frames = draw.integers(T, (B,), low=5)
    texts = [[1, 2, 1, 2], *(random_text(draw, K, 4, count) for count in frames[1:].tolist())]
    labels, symbols = padded(texts, draw, K, 4)
    log_probs, g = random_log_probs(draw, B, T, K), draw.normal(B)
    with torch.enable_grad():
        leaf = log_probs.clone().requires_grad_()
        rows = zip(leaf, frames.tolist(), texts, g, strict=True)
        loss = -sum(total_of(row[:count], text) * weight for row, count, text, weight in rows)
        (expected,) = torch.autograd.grad(loss, leaf)
    actual = impl.vjp("ctc_loss", log_probs, labels, frames, symbols, wrt=0, cotangent=g)
    assert_finite(actual, what="the gradient", hint="−∞ − (−∞) is NaN: start from a large negative number instead")
    # Of one frame, only what is left after the softmax counts (torch's own gives the rest differently).
    through = [gradient - log_probs.exp() * gradient.sum(2, keepdim=True) for gradient in (actual, expected)]
    hint = "of each symbol and frame, minus the share of alignments that are there, weighted by their probability"
    assert_close(*through, what="the gradient through a softmax", hint=hint)


@pytest.mark.stub("ctc_loss")
def test_a_text_that_does_not_fit_costs_infinity(impl, draw):
    K, T = draw.integer(3, 6), draw.integer(3, 6)
    text = [1, 2] * T
    fits, too_long, doubled = text[:T], text[: T + 1], [2, 2] + [1, 2] * T
    labels, symbols = padded([fits, too_long, doubled[:T]], draw, K, T + 1)
    log_probs, frames = random_log_probs(draw, 3, T + 2, K), torch.full((3,), T)
    (only,) = alignments(tuple(fits), T)
    expected = torch.tensor([-log_probs[0, range(T), only].sum(), math.inf, math.inf], dtype=torch.float64)
    hint = "infinite where no alignment exists: more letters than frames, or no frame left for the blank between equal letters"
    assert_close(impl.ctc_loss(log_probs, labels, frames, symbols), expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("ctc_loss")
def test_an_item_that_does_not_fit_gives_no_gradient(impl, draw):
    K, T = draw.integer(3, 6), draw.integer(2, 4)
    labels, log_probs = draw.integers(K, (2, T + 2), low=1), random_log_probs(draw, 2, T, K)
    gradient = impl.vjp(
        "ctc_loss", log_probs, labels, torch.full((2,), T), torch.tensor([1, T + 2]), wrt=0, cotangent=torch.ones(2).double()
    )
    hint = "a single item of infinite loss must not make the weights NaN: its gradient is 0"
    assert_finite(gradient, what="the gradient", hint=hint)
    assert_close(
        gradient[1],
        torch.zeros(T, K).double(),
        what="the gradient of the item that does not fit",
        hint=hint,
        hint_for="values NaN",
    )


@pytest.mark.stub("ctc_loss")
def test_one_frame_and_no_letters(impl):
    log_probs = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]]).double().log().expand(3, 2, 3)
    labels, symbols = torch.tensor([[2, 1]] * 3), torch.arange(3)
    for count in (1, 2):
        texts = [[2, 1][:n] for n in range(3)]
        expected = [-total_of(log_probs[0, :count], text) if len(text) <= count else torch.tensor(torch.inf) for text in texts]
        hint = "a text without letters has one state, the blank, which must not count twice; one frame is a letter or a blank"
        actual = impl.ctc_loss(log_probs, labels, torch.full((3,), count), symbols)
        assert_close(actual, torch.stack([x.double() for x in expected]), hint=hint, hint_for="values NaN")


@pytest.mark.stub("ctc_loss")
def test_the_very_unlikely_is_still_possible(impl):
    labels, texts, frames = torch.tensor([[1, 2, 2], [2, 0, 0]]), [[1, 2, 2], [2]], [8, 6]
    scores = -1e5 * (1 + torch.arange(48.0).double().sin().abs()).reshape(2, 8, 3)
    with torch.enable_grad():
        leaf = scores.clone().requires_grad_()
        totals = [-total_of(row[:count], text) for row, count, text in zip(leaf, frames, texts, strict=True)]
        (gradient,) = torch.autograd.grad(sum(totals), leaf)
    expected = torch.stack(totals).detach()
    hint = "the logarithm of 0 must lie below whatever log-likelihoods add up to, and these fall below a million"
    for dtype in (torch.float32, torch.float64):
        given = scores.to(dtype), labels, torch.tensor(frames), torch.tensor([3, 1])
        assert_close(impl.ctc_loss(*given), expected.to(dtype), hint=hint, hint_for="values NaN")
    actual = impl.vjp("ctc_loss", *given, wrt=0, cotangent=torch.ones(2).double())
    assert_close(actual, gradient, what="the gradient", hint=hint, hint_for="values NaN")


@pytest.mark.stub("ctc_loss")
def test_probabilities_of_zero_and_one(impl):
    path = [BLANK, 1, 1, BLANK, 1]
    log_probs = F.one_hot(torch.tensor(path), 3).double().log().expand(4, 5, 3)
    labels, symbols = torch.tensor([[1, 1], [1, 0], [2, 1], [0, 0]]), torch.tensor([2, 1, 2, 0])
    expected = torch.tensor([0.0, math.inf, math.inf, math.inf], dtype=torch.float64)
    hint = "log 0 is −∞: what is sure costs nothing, every other text is impossible; no floor under the logarithms"
    assert_close(impl.ctc_loss(log_probs, labels, torch.full((4,), 5), symbols), expected, hint=hint, hint_for="values NaN")


@pytest.mark.stub("best_alignment")
def test_no_alignment_of_the_text_is_likelier(impl, draw):
    T, K = draw.integer(3, 8), draw.integer(2, 5)
    text = random_text(draw, K, 4, T)
    log_probs = random_log_probs(draw, T, K)
    every = alignments(tuple(text), T)
    expected = max(every, key=lambda path: log_probs[range(T), path].sum())
    hint = "Viterbi: as the forward algorithm, with a maximum for the sum; remember which move won and read backwards"
    assert_equal(impl.best_alignment(log_probs, torch.tensor(text, dtype=torch.int64)), torch.tensor(expected), hint=hint)


@pytest.mark.stub("best_alignment")
@pytest.mark.parametrize("ending", ["in a letter", "in a blank"])
def test_finds_the_alignment_that_the_scores_were_made_from(impl, draw, ending):
    K, path = draw.integer(3, 6), []
    for _ in range(draw.size(2, 5)):
        letter = draw.integer(1, K - 1)
        quiet = draw.integer(int(bool(path) and path[-1] == letter), 2)
        path += [BLANK] * quiet + [letter] * draw.integer(1, 3)
    path += [BLANK] * draw.integer(1, 2) * (ending == "in a blank")
    log_probs = (4.0 * F.one_hot(torch.tensor(path), K).float()).log_softmax(1)
    result = impl.best_alignment(log_probs, torch.tensor(said_by(path)))
    assert_equal(result, torch.tensor(path), hint="a clear case: each frame has one symbol that fits")


@pytest.mark.stub("best_alignment")
def test_as_many_frames_as_needed_leave_one_alignment(impl, draw):
    K = draw.integer(3, 5)
    text = random_text(draw, K, 6, 20) or [1]
    (only,) = alignments(tuple(text), least_frames(text))
    log_probs = random_log_probs(draw, len(only), K, dtype=torch.float32)
    hint = "a frame for each letter, and a blank between equal ones"
    assert_equal(impl.best_alignment(log_probs, torch.tensor(text)), torch.tensor(only), hint=hint)


@pytest.mark.stub("best_alignment")
def test_too_few_frames_are_refused(impl, draw):
    K = draw.integer(3, 5)
    for text in ([1, 2] * draw.size(1, 3), [2, 2, 1, 1], [1, 1], [2, 2, 2]):
        log_probs = random_log_probs(draw, least_frames(text) - 1, K)
        with raises(ValueError, hint="a frame for each letter and one more for each two equal ones in a row, else a ValueError"):
            impl.best_alignment(log_probs, torch.tensor(text))


# Rows of probabilities that say little of the frame: blank, 1, 2, 3, 4, 5.
OFTEN, SURE_OF_2, QUIET = [0.45, 0.549, 1e-3, 0, 0, 0], [1e-9, 1e-9, 1, 0, 0, 0], [0.9, 0.03, 0.02, 0.01, 0.03, 0.01]


@pytest.mark.stub("best_alignment")
def test_one_alignment_is_held_against_others_not_against_their_sum(impl):
    for rows, text, expected in (
        ([OFTEN] * 6, [1], [1] * 6),
        ([OFTEN] * 6 + [SURE_OF_2], [1, 2], [1] * 6 + [2]),
        ([SURE_OF_2] + [OFTEN] * 6, [2, 1], [2] + [1] * 6),
    ):
        hint = "many poor alignments through one state are likelier together than the best one: take the maximum of moves, no sum"
        for lowered in (0.0, -3e4):  # as if each frame had lost a factor
            log_probs = torch.tensor(rows, dtype=torch.float64).log() + lowered
            assert_equal(impl.best_alignment(log_probs, torch.tensor(text)), torch.tensor(expected), hint=hint)


@pytest.mark.stub("best_alignment")
def test_an_alignment_must_come_to_its_end(impl):
    for text, frames in (([1, 2, 3, 4, 5], 5), ([1, 1, 2], 4), ([3], 3), ([1, 1, 1], 5), ([4], 1), ([], 1), ([], 4)):
        log_probs = torch.tensor([QUIET] * frames, dtype=torch.float64).log()
        log_probs += torch.arange(frames, dtype=torch.float64)[:, None] * torch.arange(6) / 100  # so that none are equally likely
        expected = max(alignments(tuple(text), frames), key=lambda path: log_probs[range(frames), path].sum())
        hint = (
            "the state that looks worst so far may be the only one from which the last letter is reached in time: keep them all"
        )
        result = impl.best_alignment(log_probs, torch.tensor(text, dtype=torch.int64))
        assert_equal(result, torch.tensor(expected), what=f"the alignment of {len(text)} letters to {frames} frames", hint=hint)


@pytest.mark.stub("greedy_decode")
def test_likeliest_symbol_of_each_frame_collapsed(impl, draw):
    B, T, K = draw.batch(), draw.integer(3, 12), draw.integer(2, 4)
    log_probs, frames = random_log_probs(draw, B, T, K), draw.integers(T + 1, (B,), low=1)
    log_probs[0, range(3), [1, BLANK, 1]], frames[0] = 1.0, T  # a letter twice, a blank between
    expected = [said_by(row[:count].argmax(1).tolist()) for row, count in zip(log_probs, frames.tolist(), strict=True)]
    hint = "the argmax of each frame, cut to the frames of the item, then collapsed"
    assert_equal(impl.greedy_decode(log_probs, frames), expected, what="the texts", hint=hint)


@pytest.mark.stub("greedy_decode")
def test_frames_behind_the_end_say_nothing(impl, draw):
    T, K = draw.integer(2, 6), draw.integer(2, 4)
    log_probs = torch.full((1, T + 3, K), -9.0)
    log_probs[0, :T, BLANK], log_probs[0, T:, 1] = 0.0, 0.0
    result = impl.greedy_decode(log_probs, torch.tensor([T]))
    assert_equal(result, [[]], what="the texts", hint="padding is no sound: cut before collapsing")


@pytest.mark.stub("greedy_decode")
def test_items_without_frames_and_batches_without_items(impl):
    log_probs = F.one_hot(torch.tensor([[1, 2, 2], [1, BLANK, 1], [2, 1, 1]]), 3).double()
    log_probs[2, 1:] = torch.nan
    result = impl.greedy_decode(log_probs, torch.tensor([0, 3, 1]))
    assert_equal(
        result, [[], [1, 1], [2]], what="the texts", hint="an item of no frames says nothing; nobody looks behind an end"
    )
    result = impl.greedy_decode(log_probs[:0], torch.zeros(0, dtype=torch.int64))
    assert_equal(result, [], what="the texts of no items", hint="an empty list")


def probabilities_of_texts(log_probs):
    """Every text and its probability: of all alignments, those that say it added up."""
    rows, totals = log_probs.exp().tolist(), {}
    for path in itertools.product(range(len(rows[0])), repeat=len(rows)):
        text = tuple(said_by(path))
        totals[text] = totals.get(text, 0.0) + math.prod(row[k] for row, k in zip(rows, path, strict=True))
    return totals


def beam_of(log_probs, width):
    """Prefix beam search in probabilities, each prefix asked for what can lead to it; pruned after each frame."""
    beam = {(): (1.0, 0.0)}
    for p in log_probs.double().exp().tolist():
        candidates = set(beam) | {(*prefix, k) for prefix in beam for k in range(1, len(p))}
        sums = {}
        for text in candidates:
            blank, letter = beam.get(text, (0.0, 0.0))
            quiet, spoken = (blank + letter) * p[BLANK], letter * p[text[-1]] if text else 0.0
            if text and text[:-1] in beam:
                before = beam[text[:-1]]
                spoken += p[text[-1]] * (before[0] if text[-2:-1] == text[-1:] else sum(before))
            sums[text] = quiet, spoken
        kept = sorted(sums, key=lambda text: -sum(sums[text]))[:width]
        beam = {text: sums[text] for text in kept if sum(sums[text]) > 0}
    return [(list(text), math.log(sum(pair))) for text, pair in beam.items()]


def assert_same_beam(actual, expected, hint):
    assert_equal([list(text) for text, _ in actual], [text for text, _ in expected], what="the texts, best first", hint=hint)
    values = [[score for _, score in beam] for beam in (actual, expected)]
    assert_close(
        torch.tensor(values[0], dtype=torch.float64), torch.tensor(values[1], dtype=torch.float64), what="log p(y | x)", hint=hint
    )


@pytest.mark.stub("prefix_beam_search")
def test_a_wide_beam_finds_every_text_and_its_probability(impl, draw):
    T, K = draw.choice([(1, 4), (2, 4), (3, 3), (4, 3), (5, 2), (6, 2)])
    log_probs = random_log_probs(draw, T, K)
    totals = probabilities_of_texts(log_probs)
    expected = sorted(([list(text), math.log(p)] for text, p in totals.items()), key=lambda row: -row[1])
    hint = "alignments of the same text are added up; a letter after itself goes on, and is a new one only after a blank"
    assert_same_beam(impl.prefix_beam_search(log_probs, 1000), expected, hint)


@pytest.mark.stub("prefix_beam_search")
def test_the_best_text_is_not_that_of_the_best_alignment(impl, draw):
    p = draw.number(0.35, 0.45)
    log_probs = torch.tensor([[1 - p, p], [1 - p, p]], dtype=torch.float64).log()
    hint = "`--` is the likeliest alignment, but `a-`, `-a` and `aa` say the same and are likelier together"
    assert_same_beam(impl.prefix_beam_search(log_probs, 4)[:1], [([1], math.log(1 - (1 - p) ** 2))], hint)


@pytest.mark.stub("prefix_beam_search")
@pytest.mark.parametrize("width", [1, 2, 5])
def test_only_the_likeliest_prefixes_stay(impl, draw, width):
    log_probs = random_log_probs(draw, draw.integer(6, 8), 3)
    hint = "after every frame keep the `width` prefixes of which both sums together are largest"
    assert_same_beam(impl.prefix_beam_search(log_probs, width), beam_of(log_probs, width), hint)


@pytest.mark.stub("prefix_beam_search")
def test_eight_prefixes_unless_told_otherwise(impl, draw):
    log_probs = random_log_probs(draw, draw.integer(6, 8), 3)
    result = impl.prefix_beam_search(log_probs)
    assert_same_beam(result, beam_of(log_probs, 8), "the width is 8 by default")


@pytest.mark.stub("prefix_beam_search")
def test_a_long_sound_does_not_underflow(impl, draw):
    T, width = draw.integer(9, 10), draw.integer(2, 4)
    log_probs = random_log_probs(draw, T, 3)
    expected = [(text, score - 90 * T) for text, score in beam_of(log_probs, width)]
    result = impl.prefix_beam_search(log_probs - 90, width)  # as if each frame had lost a factor of e^90
    assert_same_beam(result, expected, "e^-1000 is 0 as a float: add logarithms")


@pytest.mark.stub("prefix_beam_search")
def test_what_is_impossible_is_not_listed(impl, draw):
    text = [1, 2, 2, 1][: draw.size(1, 4)]
    path = [symbol for letter in text for symbol in (letter, BLANK)]
    log_probs = F.one_hot(torch.tensor(path), 3).double().log()
    hint = "where only one alignment is possible, one text is left; −∞ means never"
    assert_same_beam(impl.prefix_beam_search(log_probs, 50), [(text, 0.0)], hint)


@pytest.mark.stub("prefix_beam_search")
@pytest.mark.parametrize("width", [0, -3])
def test_a_beam_of_no_width_is_refused(impl, draw, width):
    with raises(ValueError, hint="at least one prefix must stay: raise a ValueError"):
        impl.prefix_beam_search(random_log_probs(draw, 3, 3), width)


@functools.cache
def distance(heard, said):
    """Levenshtein's distance of two tuples of words, from its definition."""
    if not heard or not said:
        return len(heard) + len(said)
    same = heard[0] == said[0]
    return min(
        distance(heard[1:], said) + 1, distance(heard, said[1:]) + 1, distance(heard[1:], said[1:]) + (not same)
    )  # fmt: skip


def random_words(draw, low=0, high=6):
    return " ".join(draw.choice(["one", "top", "two"]) for _ in range(draw.integer(low, high)))


@pytest.mark.stub("word_error_rate")
def test_least_edits_over_all_words_said(impl, draw):
    N = draw.batch()
    heard, said = [random_words(draw) for _ in range(N)], [random_words(draw, low=1) for _ in range(N)]
    errors = sum(distance(tuple(h.split()), tuple(s.split())) for h, s in zip(heard, said, strict=True))
    words = sum(len(text.split()) for text in said)
    hint = "the least substitutions, insertions and deletions, summed over all texts, over the words *said*"
    assert_close(impl.word_error_rate(heard, said), errors / words, hint=hint)


@pytest.mark.stub("word_error_rate")
def test_word_error_rate_of_clear_cases(impl, draw):
    said = random_words(draw, 2, 5)
    words = len(said.split())
    cases = (
        (said, 0.0, "the same words cost nothing"),
        ("", 1.0, "nothing heard: every word is deleted"),
        (f"{said} {said} {said}", 2.0, "inserted words count too, so the rate may exceed 1"),
        (" ".join("zero" for _ in range(words)), 1.0, "every word substituted: one error each"),
        (f"zero {said}", 1 / words, "a word too many at the front is one error: is the shift found?"),
        (said.replace(" ", "  "), 0.0, "words are set apart by any number of spaces"),
    )
    for heard, expected, hint in cases:
        assert_close(impl.word_error_rate([heard], [said]), expected, hint=hint, what=f"the rate of {heard!r} for {said!r}")
    hint = "two words that change places are two errors: the order counts"
    assert_close(impl.word_error_rate(["left three"], ["three left"]), 1.0, hint=hint, what="the rate of words in another order")


@pytest.mark.stub("word_error_rate")
def test_word_error_rate_of_rare_cases(impl):
    cases = (
        (["a a a"], ["a b a a"], 1 / 4, "the fewest edits need not keep the longest run that both have"),
        (["a b c d e f g"], ["c d e f g a b"], 4 / 7, "what has moved is deleted here and inserted there"),
        (["zero " * 1500], ["one two"], 750.0, "a text may have any length: do not recurse from word to word"),
        (["", "three left"], ["two", "three left"], 1 / 3, "an empty text is a text of no words"),
        (["three left top", "one"], ["three left", ""], 2 / 2, "words heard where nothing was said are inserted"),
        (["two", "a b c"], ["one", "a b c"], 1 / 4, "all errors over all words: no mean of the rates of texts"),
        (["One"], ["one"], 1.0, "words are compared letter by letter, in their case"),
        ([" one  two "], ["  one two  three"], 1 / 3, "spaces at the ends and in a row set no words apart"),
    )
    for heard, said, expected, hint in cases:
        assert_close(impl.word_error_rate(tuple(heard), tuple(said)), expected, hint=hint, what=f"the rate of {heard[0][:20]!r}")


@pytest.mark.stub("word_error_rate")
def test_texts_that_cannot_be_compared_are_refused(impl):
    for heard, said in ((["one"], ["one", "two"]), (["one", "two"], ["one"]), ([], ["one"]), ([], []), (["one"], [" "])):
        with raises(ValueError, hint="two lists of one length with at least one word said, else a ValueError"):
            impl.word_error_rate(heard, said)


def normalised(mels, frames):
    result = np.zeros(mels.shape)
    for b, count in enumerate(frames.tolist()):
        inside = mels[b, :, :count].double().numpy()
        deviation = np.sqrt(inside.var(axis=1, keepdims=True) + 1e-5)
        result[b, :, :count] = (inside - inside.mean(axis=1, keepdims=True)) / deviation
    return torch.tensor(result).to(mels.dtype)


@pytest.mark.stub("normalise")
def test_mean_and_variance_of_each_band_over_the_sound(impl, draw):
    B, M, T = draw.batch(), draw.size(), draw.integer(2, 9)
    mels, frames = 3 * draw.normal(B, M, T) - 1.5, draw.integers(T + 1, (B,), low=1)
    hint = "statistics over the first `frames` frames of each band of each item; 0 after them; √(variance + 1e-5)"
    assert_close(impl.normalise(mels, frames), normalised(mels, frames), hint=hint)


@pytest.mark.stub("normalise")
def test_silence_behind_the_end_does_not_count(impl, draw):
    B, M, T = draw.batch(2), draw.size(), draw.integer(2, 6)
    mels, frames = draw.normal(B, M, T), draw.integers(T + 1, (B,), low=1)
    longer = F.pad(mels, (0, draw.size()), value=-3.0)
    expected = F.pad(normalised(mels, frames), (0, longer.shape[2] - T))
    assert_close(impl.normalise(longer, frames), expected, hint="an utterance padded further is the same utterance")


@pytest.mark.stub("normalise")
def test_a_constant_band_becomes_zero(impl, draw):
    B, M, T = draw.batch(), draw.size(), draw.integer(2, 6)
    quiet = torch.full((B, M, T), draw.choice([-3.0, 2.0]))
    frames = draw.integers(T + 1, (B,), low=1)
    hint = "a band in which nothing happens has variance 0: 1e-5 more, before the root, keeps the quotient finite"
    # A mean that is rounded leaves 2e-7 in float32, and the root of 1e-5 makes 7e-5 of it: that is no mistake.
    assert_close(impl.normalise(quiet, frames) + 1, torch.ones(B, M, T), tolerance=1e-3, hint=hint, hint_for="values NaN")


@pytest.mark.stub("normalise")
def test_a_faint_band_is_not_blown_up(impl, draw):
    M, T = draw.size(), draw.integer(2, 6)
    mels, frames = draw.normal(2, M, T, scale=3e-3), torch.full((2,), T)
    result, expected = impl.normalise(mels, frames), normalised(mels, frames)
    assert_close(result, expected, hint="the 1e-5 is added to the variance, before the root")
    assert_between(result.abs().max().item(), 0, 3, what="the largest value")
    assert_true(result.abs().max() > 0.5 * expected.abs().max(), "a band that moves a little must not vanish")


@pytest.mark.stub("normalise")
def test_the_level_of_a_band_does_not_matter(impl):
    moves = torch.sin(torch.arange(33.0)).expand(1, 2, 33)
    for level, size in ((300.0, 0.3), (-11.513, 0.02)):
        mels, frames = level + size * moves, torch.tensor([33])
        hint = "in float32 a mean of squares less the square of a mean cancels: subtract the mean first"
        expected = normalised(mels, frames)
        assert_close(
            impl.normalise(mels, frames),
            expected,
            tolerance=2e-2,
            what=f"a band around {level:g}",
            hint=hint,
            hint_for="values NaN",
        )
    single = impl.normalise(torch.arange(24.0).reshape(2, 3, 4), torch.tensor([1, 1]))
    assert_close(single, torch.zeros(2, 3, 4), hint="one frame is its own mean, and has no variance")


def recursive_collapse(path):
    if len(path) < 2:
        return [k for k in path if k != BLANK]
    rest = recursive_collapse(path[1:])
    return rest if path[0] in (BLANK, path[1]) else [path[0], *rest]


def looped_collapse(path):
    said, before = [], BLANK
    for symbol in path.tolist():
        if symbol not in (BLANK, before):
            said.append(symbol)
        before = symbol
    return said


def states_of(text):
    """Blank, letter, blank, …, and where one may come from two states back."""
    states = [BLANK, *itertools.chain.from_iterable((k, BLANK) for k in text)]
    return states, [s >= 2 and k not in (BLANK, states[s - 2]) for s, k in enumerate(states)]


def one_by_one(total):
    """A loss of a batch from the log-probability of one text."""

    def ctc_loss(log_probs, labels, frames, symbols):
        rows = zip(log_probs, labels.tolist(), frames.tolist(), symbols.tolist(), strict=True)
        return torch.stack([-total(row[:count], text[:n]) for row, text, count, n in rows])

    return ctc_loss


def summed_forward(log_probs, text, *, skips=True, everywhere=False, ends=2, starts=2, reduce=torch.logsumexp):
    """log p of a text, state by state with no padding; minus infinity only where it cannot spoil a gradient."""
    states, allowed = states_of(text)
    never = log_probs.new_full((), -torch.inf)
    alpha = [log_probs[0, k] if s < starts else never for s, k in enumerate(states)]
    for frame in log_probs[1:]:
        before, alpha = alpha, []
        for s, k in enumerate(states):
            ways = before[max(0, s - 1) : s + 1]
            if s >= 2 and skips and (allowed[s] or everywhere):
                ways = [*ways, before[s - 2]]
            ways = [way for way in ways if way > -torch.inf]
            alpha.append(reduce(torch.stack(ways), 0) + frame[k] if ways else never)
    last = [value for value in alpha[-ends:] if value > -torch.inf]
    return reduce(torch.stack(last), 0) if last else never


def summed_backward(log_probs, text):
    """The same from the end: a matrix of moves, in one logsumexp a frame."""
    states, allowed = states_of(text)
    S = len(states)
    moves = torch.full((S, S), -1e30, dtype=log_probs.dtype)
    for s in range(S):
        for before in (s, s - 1) if not allowed[s] else (s, s - 1, s - 2):
            if before >= 0:
                moves[before, s] = 0.0
    beta = torch.full((S,), -1e30, dtype=log_probs.dtype)
    beta[-2:] = 0.0
    for t in range(len(log_probs) - 1, 0, -1):
        beta = (moves + beta + log_probs[t, states]).logsumexp(1)
    total = (beta + log_probs[0, states])[:2].logsumexp(0)
    return total if total > -1e29 else total.detach() - torch.inf


def library_ctc_loss(log_probs, labels, frames, symbols):
    arguments = log_probs.transpose(0, 1), labels, frames, symbols
    infinite = F.ctc_loss(*arguments, reduction="none").detach().isinf()
    return F.ctc_loss(*arguments, reduction="none", zero_infinity=True).masked_fill(infinite, math.inf)


def multiplied_forward(log_probs, text):
    """In probabilities, without logarithms."""
    states, allowed = states_of(text)
    alpha = torch.zeros(len(states), dtype=log_probs.dtype)
    alpha[:2] = log_probs[0, states[:2]].exp()
    for frame in log_probs[1:]:
        two = F.pad(alpha, (2, 0))[:-2] * torch.tensor(allowed)
        alpha = (alpha + F.pad(alpha, (1, 0))[:-1] + two) * frame[states].exp()
    return alpha[-2:].sum().log()


def searched_alignment(log_probs, labels, *, skips=True, everywhere=False, last=None, sign=1, width=None):
    text = labels.tolist()
    if least_frames(text) > len(log_probs):
        raise ValueError
    states, allowed = states_of(text)
    best = {s: (sign * log_probs[0, states[s]].item(), (states[s],)) for s in range(min(2, len(states)))}
    for frame in log_probs[1:].tolist():
        before, best = best, {}
        for s, k in enumerate(states):
            steps = [s, s - 1] + [s - 2] * (skips and s >= 2 and (allowed[s] or everywhere))
            ways = [before[way] for way in steps if way in before]
            if ways:
                score, path = max(ways)
                best[s] = score + sign * frame[k], (*path, k)
        best = dict(sorted(best.items(), key=lambda item: item[1], reverse=True)[:width])
    ends = [best[s] for s in (range(len(states))[-2:] if last is None else [last % len(states)]) if s in best]
    return torch.tensor(max(ends)[1] if ends else [BLANK] * len(log_probs))


def tried_alignment(log_probs, labels):
    text = labels.tolist()
    if least_frames(text) > len(log_probs):
        raise ValueError
    if len(log_probs) > 9:  # too many
        return searched_alignment(log_probs, labels)
    every = alignments(tuple(text), len(log_probs))
    return torch.tensor(max(every, key=lambda path: log_probs[range(len(path)), path].sum()))


def aligned_from_the_end(log_probs, labels):
    """The mirror image of a text is aligned like the text."""
    return searched_alignment(log_probs.flip(0), labels.flip(0)).flip(0)


def evenly_aligned(log_probs, labels):
    """Each letter equally long."""
    if least_frames(labels.tolist()) > len(log_probs):
        raise ValueError
    index = torch.arange(len(log_probs)) * len(labels) // len(log_probs)
    return labels[index] if len(labels) else torch.zeros(len(log_probs), dtype=torch.int64)


def masked_greedy(log_probs, frames):
    paths = log_probs.argmax(2).masked_fill(torch.arange(log_probs.shape[1]) >= frames[:, None], BLANK)
    return [said_by(path) for path in paths.tolist()]


def beam_in_two_tables(log_probs, width=8):
    """Prefix beam search with a table for either ending, and NumPy's logaddexp."""
    if width < 1:
        raise ValueError
    quiet, spoken = {(): 0.0}, {}

    def add(table, text, score):
        table[text] = float(np.logaddexp(table.get(text, -np.inf), score))

    for frame in log_probs.tolist():
        new_quiet, new_spoken = {}, {}
        for text, score in quiet.items():
            add(new_quiet, text, score + frame[BLANK])
            for k in range(1, len(frame)):
                add(new_spoken, (*text, k), score + frame[k])
        for text, score in spoken.items():
            add(new_quiet, text, score + frame[BLANK])
            add(new_spoken, text, score + frame[text[-1]])
            for k in set(range(1, len(frame))) - {text[-1]}:
                add(new_spoken, (*text, k), score + frame[k])
        totals = {
            text: float(np.logaddexp(new_quiet.get(text, -np.inf), new_spoken.get(text, -np.inf)))
            for text in {**new_quiet, **new_spoken}
        }
        kept = [text for text in sorted(totals, key=totals.get, reverse=True)[:width] if totals[text] > -np.inf]
        quiet, spoken = ({text: table[text] for text in kept if text in table} for table in (new_quiet, new_spoken))
    return [(list(text), totals[text]) for text in kept]


def beam_in_tensors(log_probs, width=8):
    """The two sums of a prefix as one tensor."""
    if width < 1:
        raise ValueError
    beam = {(): torch.tensor([0.0, -math.inf], dtype=torch.float64)}
    nothing = torch.full((2,), -math.inf, dtype=torch.float64)
    for frame in log_probs.double():
        grown = {}
        for text, sums in beam.items():
            either = sums.logsumexp(0)
            stays = torch.stack([either + frame[BLANK], sums[1] + frame[text[-1]] if text else nothing[0]])
            moves = [(text, stays)]
            for k in range(1, len(frame)):
                before = sums[0] if text[-1:] == (k,) else either
                moves.append(((*text, k), torch.stack([nothing[0], before + frame[k]])))
            for longer, score in moves:
                grown[longer] = torch.logaddexp(grown.get(longer, nothing), score)
        order = sorted(grown, key=lambda text: grown[text].logsumexp(0).item(), reverse=True)[:width]
        beam = {text: grown[text] for text in order if grown[text].logsumexp(0) > -math.inf}
    return [(list(text), sums.logsumexp(0).item()) for text, sums in beam.items()]


def best_alignments_only(log_probs, width=8):
    """A maximum where alignments should be added up."""
    if width < 1:
        raise ValueError
    best = {}
    for path in itertools.islice(itertools.product(range(log_probs.shape[1]), repeat=min(6, len(log_probs))), 5000):
        score = log_probs[range(len(path)), path].sum().item()
        text = tuple(said_by(path))
        best[text] = max(best.get(text, -math.inf), score)
    return [(list(text), best[text]) for text in sorted(best, key=best.get, reverse=True)[:width]]


def rate_by(edits, denominator=lambda heard, said: sum(len(text.split()) for text in said)):
    def word_error_rate(heard, said):
        if len(heard) != len(said) or not any(text.split() for text in said):
            raise ValueError
        return sum(edits(h.split(), s.split()) for h, s in zip(heard, said, strict=True)) / denominator(heard, said)

    return word_error_rate


def table_of_edits(heard, said):
    table = np.zeros((len(heard) + 1, len(said) + 1), dtype=int)
    table[:, 0], table[0] = np.arange(len(heard) + 1), np.arange(len(said) + 1)
    for i, j in itertools.product(range(len(heard)), range(len(said))):
        table[i + 1, j + 1] = min(table[i, j + 1] + 1, table[i + 1, j] + 1, table[i, j] + (heard[i] != said[j]))
    return int(table[-1, -1])


def edits_by_rows(heard, said):
    """A row at once: insertions by a running minimum of what is left when their number is taken off."""
    index = row = np.arange(len(said) + 1)
    for word in heard:
        changed = row[:-1] + np.array([word != other for other in said], dtype=int)
        row = np.minimum(row + 1, np.concatenate([[row[0] + 1], changed]))
        row = np.minimum.accumulate(row - index) + index
    return int(row[-1])


def edits_by_blocks(heard, said):
    """The longest run that both have is kept, then the longest on either side of it."""
    codes = difflib.SequenceMatcher(None, heard, said, autojunk=False).get_opcodes()
    return sum(max(b - a, d - c) for tag, a, b, c, d in codes if tag != "equal")


def edits_by_common_words(heard, said):
    """Deletions and insertions only: a substitution is one of each."""
    common = np.zeros((len(heard) + 1, len(said) + 1), dtype=int)
    for i, j in itertools.product(range(len(heard)), range(len(said))):
        common[i + 1, j + 1] = common[i, j] + 1 if heard[i] == said[j] else max(common[i, j + 1], common[i + 1, j])
    return len(heard) + len(said) - 2 * int(common[-1, -1])


def normalised_by(statistics, floor=1e-5, root=True):
    """Item by item; `statistics` gives the mean and variance of an utterance (M, T), with or without what lies behind its end."""

    def normalise(mels, frames):
        result = torch.zeros_like(mels)
        for b, count in enumerate(frames.tolist()):
            mean, variance = statistics(mels[b, :, :count])
            spread = (variance + floor).sqrt() if root else variance + floor
            result[b, :, :count] = (mels[b, :, :count] - mean) / spread
        return result

    return normalise


def band_by_band(x):
    return x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False)


FAKES = {
    "collapse": {
        "blanks first, runs second": lambda path: [k for k, _ in itertools.groupby(k for k in path.tolist() if k != BLANK)],
        "runs only": lambda path: [k for k, _ in itertools.groupby(path.tolist())],
        "blanks only": lambda path: [k for k in path.tolist() if k != BLANK],
        "the path as it is": lambda path: path.tolist(),
        "each symbol once": lambda path: [k for k in dict.fromkeys(path.tolist()) if k != BLANK],
        "sorted": lambda path: [k for k in torch.unique(path).tolist() if k != BLANK],
        "a tensor": Edit(".tolist()", ""),
        "the last symbol is the blank": Edit("runs != BLANK", "runs != path.max()"),
        "a first symbol taken for granted": lambda path: said_by([path[0].item(), *path[1:].tolist()]),
        "recursive": lambda path: recursive_collapse(path.tolist()),
    },
    "ctc_loss": {
        "equal letters need no blank": one_by_one(functools.partial(summed_forward, everywhere=True)),
        "no blank is ever left out": one_by_one(functools.partial(summed_forward, skips=False)),
        "must end in a blank": one_by_one(functools.partial(summed_forward, ends=1)),
        "must start with a blank": one_by_one(functools.partial(summed_forward, starts=1)),
        "the best alignment only": one_by_one(functools.partial(summed_forward, reduce=torch.amax)),
        "in probabilities": one_by_one(multiplied_forward),
        "minus infinity from the start": Edit("NEVER", "-torch.inf"),
        "frames ignored": Edit("torch.where(t < frames[:, None], moved, alpha)", "moved"),
        "a frame too many": Edit("t < frames[:, None]", "t <= frames[:, None]"),
        "symbols ignored": lambda log_probs, labels, frames, symbols: library_ctc_loss(
            log_probs, labels.clamp(min=1), frames, torch.full_like(symbols, labels.shape[1])
        ),
        "no item is impossible": Edit("-total.masked_fill(total < NEVER / 2, -torch.inf)", "-total"),
        "impossible items cost nothing": lambda log_probs, labels, frames, symbols: F.ctc_loss(
            log_probs.transpose(0, 1), labels, frames, symbols, reduction="none", zero_infinity=True
        ),
        "torch's own, NaN and all": lambda log_probs, labels, frames, symbols: F.ctc_loss(
            log_probs.transpose(0, 1), labels, frames, symbols, reduction="none"
        ),
        "the sign forgotten": Edit("return -total", "return total"),
        "a mean over letters": lambda *arguments: library_ctc_loss(*arguments) / arguments[3].clamp(min=1),
        "detached": Edit("log_probs.gather(", "log_probs.detach().gather("),
        "a minus infinity that long texts pass": Edit("NEVER", "-1e5"),
        "a floor under the logarithms": Edit("log_probs.gather(", "log_probs.clamp(min=-1e7).gather("),
        "the only state counted twice": lambda log_probs, labels, frames, symbols: (
            library_ctc_loss(log_probs, labels.clamp(min=1), frames, symbols) - math.log(2) * (symbols == 0)
        ),
        "cross entropy of an even alignment": one_by_one(
            lambda log_probs, text: sum(
                frame[text[t * len(text) // len(log_probs)] if text else BLANK] for t, frame in enumerate(log_probs)
            )
        ),
    },
    "best_alignment": {
        "each letter equally long": evenly_aligned,
        "the best symbol of each frame": lambda log_probs, labels: (
            log_probs.argmax(1) if least_frames(labels.tolist()) <= len(log_probs) else evenly_aligned(log_probs, labels)
        ),
        "equal letters need no blank": functools.partial(searched_alignment, everywhere=True),
        "no blank is ever left out": functools.partial(searched_alignment, skips=False),
        "ends in a blank": functools.partial(searched_alignment, last=-1),
        "the worst": functools.partial(searched_alignment, sign=-1),
        "states, not symbols": Edit("return states[path[::-1]]", "return torch.tensor(path[::-1])"),
        "backwards": Edit("path[::-1]", "path"),
        "equal letters not counted": Edit("L + int((labels[1:] == labels[:-1]).sum())", "L"),
        "a frame too strict": Edit("needed > T", "needed >= T"),
        "nothing refused": Edit("needed > T", "needed > T + 99"),
        "the last frame forgotten": Edit("range(1, T)", "range(1, T - 1)"),
        "the shortest moves": Edit(".max(0)", ".min(0)"),
        "back pointers of sums": Edit(
            "best, step = torch.stack([best, two[1:-1], two[:-2].masked_fill(no_skip, -torch.inf)]).max(0)",
            "moves = torch.stack([best, two[1:-1], two[:-2].masked_fill(no_skip, -torch.inf)])\n"
            "        best, step = moves.logsumexp(0), moves.argmax(0)",
        ),
        "a beam of the likeliest states": functools.partial(searched_alignment, width=4),
        "a minus infinity that long texts pass": Edit("-torch.inf", "-1e4"),
        "equal letters counted once a run": Edit("(labels[1:] == labels[:-1]).sum()", "len(labels) > len(labels.unique_consecutive())"),
        "a text must have letters": Edit("if needed > T:", "if needed > T or not L:"),
    },
    "greedy_decode": {
        "frames ignored": Edit("path[:count]", "path"),
        "a frame too few": Edit("path[:count]", "path[: count - 1]"),
        "not collapsed": Edit("collapse(path[:count])", "path[:count].tolist()"),
        "the least likely": Edit("argmax", "argmin"),
        "over time": Edit("argmax(2)", "argmax(1)"),
        "collapsed, then cut": Edit("collapse(path[:count])", "collapse(path)[:count]"),
        "only the first": Edit("frames.tolist(), strict=True)", "frames[:1].tolist(), strict=False)"),
        "an item has a frame at least": Edit("path[:count]", "path[: max(1, count)]"),
        "blanks first": lambda log_probs, frames: [
            [k for k, _ in itertools.groupby(k for k in row[:count].argmax(1).tolist() if k != BLANK)]
            for row, count in zip(log_probs, frames.tolist(), strict=True)
        ],
    },
    "prefix_beam_search": {
        "a maximum for the sum": best_alignments_only,
        "greedy": lambda log_probs, width=8: [(said_by(log_probs.argmax(1).tolist()), log_probs.amax(1).sum().item())],
        "no sum of its own for blanks": Edit("(blank if k == last else either)", "either"),
        "equal letters never twice": Edit("(blank if k == last else either)", "(-math.inf if k == last else either)"),
        "a letter never goes on": Edit("letter + frame[last]", "-math.inf"),
        "a letter goes on after a blank": Edit("letter + frame[last]", "(either if prefix else letter) + frame[last]"),
        "moves overwrite": Edit("log_add(before[0], ends_blank), log_add(before[1], ends_letter)", "ends_blank, ends_letter"),
        "pruned by one of the sums": Edit("[(log_add(blank, letter), text)", "[(max(blank, letter), text)"),
        "worst first": Edit(", reverse=True", ""),
        "the width ignored": Edit("[:width]", ""),
        "one too many": Edit("[:width]", "[: width + 1]"),
        "probabilities, not logarithms": lambda log_probs, width=8: [
            (text, math.exp(score)) for text, score in beam_in_two_tables(log_probs, width)
        ],
        "a product of probabilities": lambda log_probs, width=8: beam_of(log_probs, width) if width > 0 else beam_in_two_tables(log_probs, 0),
        "the impossible listed": Edit(" if score > -math.inf", ""),
        "any width": Edit("width < 1", "width < -9"),
        "one text without a beam around it": lambda log_probs, width=8: beam_in_two_tables(log_probs, min(width, 1)),
    },
    "word_error_rate": {
        "words in place": rate_by(lambda heard, said: sum(a != b for a, b in itertools.zip_longest(heard, said))),
        "only whole texts": rate_by(lambda heard, said: 0 if heard == said else len(said)),
        "over the words heard": rate_by(table_of_edits, lambda heard, said: max(1, sum(len(text.split()) for text in heard))),
        "over the texts": rate_by(table_of_edits, lambda heard, said: len(said)),
        "letters": rate_by(lambda heard, said: table_of_edits(" ".join(heard), " ".join(said))),
        "a substitution costs two": rate_by(edits_by_common_words),
        "at most 1": lambda heard, said: min(1.0, rate_by(table_of_edits)(heard, said)),
        "a mean of rates": lambda heard, said: (
            sum(rate_by(table_of_edits)([h], [s]) for h, s in zip(heard, said, strict=True)) / len(said)
            if said
            else rate_by(table_of_edits)(heard, said)
        ),
        "bags of words": rate_by(lambda heard, said: max(len(heard), len(said)) - sum(min(heard.count(w), said.count(w)) for w in set(said))),
        "insertions are free": rate_by(lambda heard, said: max(0, table_of_edits(heard, said) - max(0, len(heard) - len(said)))),
        "split at every space": Edit("in enumerate(hypothesis.split()", "in enumerate(hypothesis.split(' ')"),
        "cut to the shorter list": lambda heard, said: rate_by(table_of_edits)(*zip(*zip(heard, said, strict=False), strict=True)) if said and heard else rate_by(table_of_edits)([], []),
        "nothing said accepted": Edit("or not words", "or words < 0"),
        "the longest common block first": rate_by(edits_by_blocks),
        "recursive": rate_by(lambda heard, said: distance(tuple(heard), tuple(said))),
        "lower case": lambda heard, said: rate_by(table_of_edits)([text.lower() for text in heard], [text.lower() for text in said]),
        "an empty text counts as a word": rate_by(table_of_edits, lambda heard, said: sum(max(1, len(text.split())) for text in said)),
    },
    "normalise": {
        "the padding counted": lambda mels, frames: (
            (mels - mels.mean(2, keepdim=True)) / (mels.var(2, keepdim=True, unbiased=False) + 1e-5).sqrt()
        ),
        "all bands together": normalised_by(lambda x: (x.mean(), x.var(unbiased=False))),
        "bands, not frames": normalised_by(lambda x: (x.mean(0, keepdim=True), x.var(0, keepdim=True, unbiased=False))),
        "over the batch": lambda mels, frames: (mels - mels.mean((0, 2), keepdim=True)) / (mels.std((0, 2), keepdim=True) + 1e-5),
        "the mean only": normalised_by(lambda x: (x.mean(1, keepdim=True), 1.0), root=False),
        "the variance only": normalised_by(lambda x: (0.0, x.var(1, keepdim=True, unbiased=False))),
        "divided by the variance": normalised_by(band_by_band, root=False),
        "frames - 1": normalised_by(lambda x: (x.mean(1, keepdim=True), x.var(1, keepdim=True, unbiased=False) * x.shape[1] / max(1, x.shape[1] - 1))),
        "no floor": normalised_by(band_by_band, floor=0.0),
        "a floor of the deviation": lambda mels, frames: torch.stack(
            [
                F.pad((x[:, :n] - x[:, :n].mean(1, keepdim=True)) / (x[:, :n].std(1, keepdim=True, unbiased=False) + 1e-5), (0, x.shape[1] - n))
                for x, n in zip(mels, frames.tolist(), strict=True)
            ]
        ),
        "noise behind the end": Edit("(mels - mean) * inside", "mels - mean"),
        "a mean of squares less the square of the mean": normalised_by(
            lambda x: (x.mean(1, keepdim=True), x.square().mean(1, keepdim=True) - x.mean(1, keepdim=True).square())
        ),
        "as it is": lambda mels, frames: mels,
        "zeros": lambda mels, frames: torch.zeros_like(mels),
    },
}  # fmt: skip

VARIANTS = {
    "collapse": {
        "groupby": lambda path: said_by(path.tolist()),
        "a loop": looped_collapse,
        "a comparison with what came before": lambda path: path[
            (path != BLANK) & (path != F.pad(path, (1, 0), value=BLANK)[:-1])
        ].tolist(),
    },
    "ctc_loss": {
        "state by state": one_by_one(summed_forward),
        "from the end, by a matrix": one_by_one(summed_backward),
        "torch's own": library_ctc_loss,
        "every alignment, where there are few": one_by_one(
            lambda log_probs, text: (
                total_of(log_probs, text) if len(log_probs) <= 7 and alignments(tuple(text), len(log_probs)) else summed_forward(log_probs, text)
            )
        ),
    },
    "best_alignment": {
        "state by state": searched_alignment,
        "every alignment tried": tried_alignment,
        "from the end": aligned_from_the_end,
    },
    "greedy_decode": {
        "the rest made blank": masked_greedy,
        "a loop": lambda log_probs, frames: [
            said_by(row[:count].argmax(-1).tolist()) for row, count in zip(log_probs, frames.tolist(), strict=True)
        ],
        "max": Edit("log_probs.argmax(2)", "log_probs.max(dim=-1).indices"),
        "topk": Edit("log_probs.argmax(2)", "log_probs.topk(1).indices.squeeze(-1)"),
    },
    "prefix_beam_search": {
        "two tables": beam_in_two_tables,
        "tensors": beam_in_tensors,
        "lists for tuples": lambda log_probs, width=8: [[text, score] for text, score in beam_in_two_tables(log_probs, width)],
        "pruned by a heap": Edit("sorted(scored, reverse=True)[:width]", "__import__('heapq').nlargest(width, scored)"),
    },
    "word_error_rate": {
        "a table": rate_by(table_of_edits),
        "row by row": rate_by(edits_by_rows),
        "the other way round": rate_by(lambda heard, said: table_of_edits(said, heard)),
    },
    "normalise": {
        "item by item": normalised_by(band_by_band),
        "std_mean": normalised_by(lambda x: (x.mean(1, keepdim=True), x.std(1, keepdim=True, unbiased=False).square())),
        "mean of squares": normalised_by(lambda x: (x.mean(1, keepdim=True), (x - x.mean(1, keepdim=True)).square().mean(1, keepdim=True))),
        "where": Edit("(mels - mean) * inside", "torch.where(inside, mels - mean, 0.0)"),
    },
}  # fmt: skip

# What stands before the network, and what only reads its result, is not learned through.
NO_GRADIENT = {
    "best_alignment": ("log_probs",),
    "greedy_decode": ("log_probs",),
    "prefix_beam_search": ("log_probs",),
    "normalise": ("mels",),
}

EQUIVALENT = {
    "ctc_loss": {
        **dict.fromkeys(
            (
                "order: torch.stack([alpha, one, two]) -> torch.stack([one, alpha, two])",
                "order: torch.stack([alpha, one, two]) -> torch.stack([alpha, two, one])",
            ),
            "a sum does not depend on the order of its terms",
        ),
        "in place: alpha.masked_fill(~last, NEVER) -> alpha.masked_fill_(~last, NEVER)": "nobody looks at α after that",
        **dict.fromkeys(
            ("comparison: total < NEVER / 2 -> total <= NEVER / 2", "constant: NEVER / 2 -> NEVER / 3"),
            "what is possible is far above a third of NEVER, and what is not is at NEVER",
        ),
    },
    "best_alignment": {
        "comparison: best[2 * L - 1] > best[2 * L] -> best[2 * L - 1] >= best[2 * L]": (
            "a tie is between alignments of the same score; either is a best one"
        ),
    },
    "prefix_beam_search": {
        **dict.fromkeys(
            (
                "arguments swapped: log_add(blank, letter) -> log_add(letter, blank)",
                "arguments swapped: log_add(blank, letter) -> log_add(letter, blank) #2",
                "arguments swapped: log_add(blank, letter) -> log_add(letter, blank) #3",
                "arguments swapped: log_add(before[0], ends_blank) -> log_add(ends_blank, before[0])",
                "arguments swapped: log_add(before[1], ends_letter) -> log_add(ends_letter, before[1])",
            ),
            "a sum is the same the other way round",
        ),
        "order: grown.items() -> list(grown.items())[::-1]": "they are sorted afterwards",
    },
    "word_error_rate": {
        "order: said -> list(said)[::-1]": "a sum does not depend on the order of its terms",
        "arguments swapped: zip(heard, said, strict=True) -> zip(said, heard, strict=True)": "the distance is symmetric",
        "boolean: len(heard) != len(said) or not words -> not words": "zip refuses lists of different lengths with a ValueError too",
    },
}
