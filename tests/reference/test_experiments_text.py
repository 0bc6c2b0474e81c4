"""The experiments of text/attention and text/gpt can fail: an ablation does take its idea away, and a planted leak is seen."""

import math
from collections import Counter
from dataclasses import replace
from pydoc_data.topics import topics

import pytest
import torch

from reference_impl import recall
from reference_impl.data import python_docs
from reference_impl.text import attention, gpt

PAIRS = [(module, name) for module in (attention, gpt) for name in module.ABLATIONS]


def randomised(model, seed=0):
    """Every parameter drawn anew, in float64: no idea is without effect only because a weight starts at zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.double().parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(("module", "name"), PAIRS, ids=lambda value: getattr(value, "__name__", value))
def test_an_ablation_is_trained_and_measured_as_the_whole_is(module, name):
    ablation, whole = module.ABLATIONS[name], module.Config()
    assert ablation.config != whole
    assert (ablation.config.steps, ablation.config.width) == (whole.steps, whole.width), "the same budget"
    figures = module.evaluate(module.train(replace(ablation.config, steps=2), device="cpu", progress=False))
    assert math.isfinite(figures[ablation.metric])


# --- attention ---------------------------------------------------------------------------------------------------------


def recaller(name=None):
    config = attention.ABLATIONS[name].config if name else attention.Config()
    return randomised(attention.Recaller(replace(config, width=16)))


def shuffled_past(seed=0):
    """Two sequences of the same tokens, the last in its place, those before it in another order."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(16, generator=generator)[None, :12]
    return ids, torch.cat([ids[:, :-1].flip(1), ids[:, -1:]], dim=1)


def test_without_positions_the_order_of_the_past_changes_nothing():
    ids, other = shuffled_past()
    blind, whole = recaller("no positions"), recaller()
    torch.testing.assert_close(blind(ids)[:, -1], blind(other)[:, -1], rtol=0, atol=1e-12)
    assert (whole(ids)[:, -1] - whole(other)[:, -1]).abs().max() > 1e-3


def test_sinusoids_reach_the_layer_only_through_its_input():
    ids, other = shuffled_past()
    model = recaller("sinusoidal positions")
    assert (model(ids)[:, -1] - model(other)[:, -1]).abs().max() > 1e-3, "order is seen"
    added = model.embed(ids) - model.embedding(ids)
    torch.testing.assert_close(added[0], attention.sinusoidal_positions(12, 16).double(), rtol=0, atol=1e-12)
    for late, early in zip(model.attention.project(added, start=7), model.attention.project(added), strict=True):
        torch.testing.assert_close(late, early, rtol=0, atol=0)  # rotary positions would have turned them


def test_accuracy_is_the_share_of_right_guesses_of_the_delayed_token():
    assert recall.accuracy(lambda ids: ids.roll(8, dims=1), 16, 8, 64, seed=0) == 1
    for wrong in (7, 9, -8):
        assert recall.accuracy(lambda ids, by=wrong: ids.roll(by, dims=1), 16, 8, 64, seed=0) < 2 / 16
    seen = []
    for seed in (0, 1):
        recall.accuracy(lambda ids: seen.append(ids) or ids, 16, 8, 64, seed=seed)
    assert seen[0].shape == seen[1].shape == (256, 64)
    assert not torch.equal(*seen), "each seed has its own held-out sequences"


def test_the_whole_is_measured_at_twice_the_length_of_training(monkeypatch):
    asked = []
    monkeypatch.setattr(recall, "accuracy", lambda guess, *task, seed: asked.append((task, seed)) or 0.5)
    config = attention.Config(vocabulary=5, delay=3, length=10, width=16)
    attention.evaluate(randomised(attention.Recaller(config)).float(), seed=7)
    assert asked == [((5, 3, 20), 7)] * 2, "the model, and the best guess without order"


def test_the_most_frequent_token_is_counted_in_the_past_alone():
    ids = torch.randint(5, (20, 30), generator=torch.Generator().manual_seed(0))
    guesses = recall.most_frequent(ids)
    for row, guessed in zip(ids.tolist(), guesses.tolist(), strict=True):
        for t in range(1, len(row)):
            past = Counter(row[:t])
            assert past[guessed[t]] == max(past.values()), "the current token does not count"


def test_the_likeliest_answer_to_each_token_is_counted():
    ids = torch.randint(4, (30, 20), generator=torch.Generator().manual_seed(0))
    counted = Counter((now, then) for row in ids.tolist() for now, then in zip(row[3:], row[:-3], strict=True))
    for token, answer in enumerate(recall.likeliest_answers(ids, 4, 3).tolist()):
        assert counted[token, answer] == max(counted[token, other] for other in range(4))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_current_token_does_not_give_the_answer_away(seed):
    leak = attention.LEAKS["the current token alone"]
    value = leak.measure(seed, "cpu")
    assert leak.holds(value)
    assert value == pytest.approx(leak.chance, abs=0.01)


@pytest.mark.parametrize("share", [1.0, 0.05])
def test_sequences_that_repeat_are_seen_as_a_leak(share, monkeypatch):
    """Planted: a share of the tokens is the one `delay` before, plus one; then the current token tells what it was."""

    def repeating(vocabulary, count, length, *, seed):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(vocabulary, (count, length), generator=generator)
        planted = torch.rand(count, length, generator=generator) < share
        for t in range(8, length):
            ids[:, t] = torch.where(planted[:, t], (ids[:, t - 8] + 1) % vocabulary, ids[:, t])
        return ids

    monkeypatch.setattr(recall, "sequences", repeating)
    leak = attention.LEAKS["the current token alone"]
    value = leak.measure(0, "cpu")
    assert not leak.holds(value)
    assert value == pytest.approx(share + (1 - share) / 16, abs=0.02)


# --- GPT ---------------------------------------------------------------------------------------------------------------


def bits(config, text):
    data = python_docs.Documentation(("one",), (text,))
    log_p = gpt.log_probabilities(randomised(gpt.GPT(replace(config, width=16))), data.ids)
    return gpt.bits_per_character(-log_p.gather(1, data.ids[:, None]), data)


def test_a_context_of_one_byte_sees_only_the_last():
    """`abaca` and `acaba` hold the same pairs in another order."""
    alone = gpt.ABLATIONS["only the last byte"].config
    assert bits(alone, "abaca") == pytest.approx(bits(alone, "acaba"), rel=1e-6)
    assert bits(alone, "abaca") != pytest.approx(bits(alone, "abcaa"), rel=1e-3), "what the last byte is does count"
    assert bits(gpt.Config(), "abaca") != pytest.approx(bits(gpt.Config(), "acaba"), rel=1e-3)


def test_every_ablation_sees_as_many_bytes_a_step():
    for ablation in gpt.ABLATIONS.values():
        assert ablation.config.context * ablation.config.batch_size == gpt.Config().context * gpt.Config().batch_size


def test_without_positions_the_same_byte_over_and_over_says_nothing_new():
    """True at every depth. (The order of different bytes reaches a second layer through the causal mask.)"""
    ids = torch.full((1, 9), 65)
    blind = randomised(gpt.GPT(replace(gpt.ABLATIONS["no positions"].config, width=16)))
    whole = randomised(gpt.GPT(replace(gpt.Config(), width=16)))
    torch.testing.assert_close(blind(ids), blind(ids)[:, :1].expand(1, 9, -1), rtol=0, atol=1e-12)
    assert (whole(ids) - whole(ids)[:, :1]).abs().amax(-1)[0, 1:].min() > 1e-3


def test_one_layer_without_positions_is_blind_to_the_order_of_the_past():
    model = randomised(gpt.GPT(replace(gpt.ABLATIONS["no positions"].config, width=16, layers=1)))
    ids, other = shuffled_past()
    torch.testing.assert_close(model(ids)[:, -1], model(other)[:, -1], rtol=0, atol=1e-12)


def test_positions_count_in_the_cache_as_in_one_pass():
    for positions in (True, False):
        model = randomised(gpt.GPT(gpt.Config(width=16, context=8, positions=positions)))
        ids, caches = torch.randint(256, (2, 8), generator=torch.Generator().manual_seed(0)), model.new_caches()
        steps = torch.cat([model(step, caches) for step in ids.split(3, dim=1)], dim=1)
        torch.testing.assert_close(steps, model(ids), rtol=1e-10, atol=1e-10)


def planted(monkeypatch, train):
    test = python_docs.load("test")
    splits = {"train": python_docs.Documentation(("planted",), (train,)), "test": test}
    monkeypatch.setattr(python_docs, "load", splits.__getitem__)
    return gpt.LEAKS["held-out text in training"]


def test_held_out_text_does_not_stand_in_training():
    leak = gpt.LEAKS["held-out text in training"]
    assert leak.holds(leak.measure(0, "cpu"))


def test_topics_that_quote_held_out_ones_are_seen_as_a_leak(monkeypatch):
    """What the loader guards against: whole topics held out, and the paragraphs that others share with them left in."""
    names = python_docs.load("train").names
    leak = planted(monkeypatch, "\n\n".join(topics[name] for name in names))
    assert not leak.holds(leak.measure(0, "cpu"))


def test_the_share_is_that_of_the_windows_found_however_the_lines_are_broken(monkeypatch):
    words = " ".join(python_docs.load("test").text.split())
    half = words[: len(words) // 2]
    leak = planted(monkeypatch, half.replace(" ", "\n   "))
    assert leak.measure(0, "cpu") == pytest.approx(0.5, abs=0.02)
    assert not leak.holds(leak.measure(0, "cpu"))
