"""The parts of the text systems that are given, not stubs: the model against Hugging Face's, n-grams, data, the cache."""

import math
from collections import Counter

import pytest
import torch

from reference_impl import runtime
from reference_impl.data import python_docs
from reference_impl.ngram import KneserNey, NGram, even_mixture
from reference_impl.text.attention import MultiHeadAttention, step_milliseconds
from reference_impl.text.gpt import (
    GPT,
    Config,
    bits_per_character,
    bits_per_line_end,
    evaluate,
    from_huggingface,
    log_probabilities,
)


def randomised(model, scale=0.3, seed=0):
    """Every parameter drawn anew, so that biases and gains show in what comes out."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale)
    return model.eval()


# --- GPT ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("layers", "heads", "width"), [(1, 1, 5), (3, 4, 16)])
def test_logits_equal_those_of_hugging_face(layers, heads, width, dtype):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=61, n_positions=17, n_embd=width, n_layer=layers, n_head=heads)
    theirs = randomised(transformers.GPT2LMHeadModel(config).to(dtype))
    ours = from_huggingface(theirs.state_dict(), heads)
    assert all(parameter.dtype == dtype for parameter in ours.parameters())
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    ids = torch.randint(61, (3, 17), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, actual = theirs(ids).logits, ours(ids)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def test_masks_that_older_releases_stored_are_passed_over():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=7, n_positions=5, n_embd=4, n_layer=2, n_head=2)
    state = dict(transformers.GPT2LMHeadModel(config).state_dict())
    for i in range(2):
        state[f"transformer.h.{i}.attn.bias"] = torch.ones(1, 1, 5, 5, dtype=torch.uint8).tril()
        state[f"transformer.h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    model = from_huggingface(state, heads=2)
    assert model.config == Config(symbols=7, context=5, width=4, layers=2, heads=2)
    torch.testing.assert_close(model.tokens.weight.detach(), state["transformer.wte.weight"])


@pytest.mark.parametrize("parts", [[8], [1] * 8, [3, 1, 4], [7, 1]])
def test_logits_with_a_cache_equal_those_without(parts):
    model = randomised(GPT(Config(symbols=11, context=8, width=12, layers=3, heads=3)).double())
    ids = torch.randint(11, (4, 8), generator=torch.Generator().manual_seed(1))
    caches = model.new_caches()
    with torch.no_grad():
        actual = torch.cat([model(part, caches) for part in ids.split(parts, dim=1)], dim=1)
        torch.testing.assert_close(actual, model(ids), rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="the context has 8 positions, got 9"):
        model(ids[:, :1], caches)


def test_positions_past_the_context_are_refused():
    with pytest.raises(ValueError, match="the context has 4 positions, got 5"):
        GPT(Config(symbols=5, context=4, width=4, layers=1, heads=1))(torch.zeros(1, 5, dtype=torch.int64))


def test_no_position_sees_what_comes_after_it():
    model = randomised(GPT(Config(symbols=11, context=8, width=12, layers=2, heads=3)).double())
    ids = torch.randint(11, (1, 8), generator=torch.Generator().manual_seed(1))
    other = torch.cat([ids[:, :5], (ids[:, 5:] + 1) % 11], dim=1)
    with torch.no_grad():
        a, b = model(ids), model(other)
    torch.testing.assert_close(a[:, :5], b[:, :5], rtol=0, atol=1e-12)
    assert (a[:, 5:] - b[:, 5:]).abs().amax(-1).min() > 1e-6


def test_gpt_2_small_has_124_million_parameters():
    with torch.device("meta"):
        model = GPT(Config(symbols=50257, context=1024, width=768, layers=12, heads=12))
    assert sum(parameter.numel() for parameter in model.parameters()) == 124_439_808


def test_maps_that_add_to_the_stream_start_smaller():
    torch.manual_seed(0)
    model = GPT(Config(symbols=64, context=64, width=64, layers=8, heads=4))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == float("norm" in name and name.endswith("weight"))).all(), name
        else:
            expected = 0.02 / 4 if name.endswith(("attention.out.weight", "mlp.2.weight")) else 0.02  # sqrt(2 · 8) = 4
            assert parameter.std().item() == pytest.approx(expected, rel=0.1), name


@pytest.mark.parametrize(("context", "text"), [(5, "a tongue of seven bytes: é"), (6, "twelve bytes"), (1, "x"), (8, "ab")])
def test_every_byte_is_predicted_once_from_at_least_half_a_context(context, text):
    data = python_docs.Documentation(("one",), (text,))
    uniform = GPT(Config(context=context, width=4, layers=1, heads=1))
    torch.nn.init.zeros_(uniform.tokens.weight)
    torch.testing.assert_close(log_probabilities(uniform, data.ids), torch.full((len(data.ids), 256), -math.log(256)))
    model, stride = randomised(GPT(Config(context=context, width=4, layers=1, heads=1))), context - context // 2
    padded, bits = b"\n" * (context - stride + 1) + text.encode(), 0.0
    log_p = log_probabilities(model, data.ids)
    for i, byte in enumerate(text.encode()):
        seen = padded[i // stride * stride : context - stride + 1 + i]
        assert context // 2 < len(seen) <= context
        with torch.no_grad():
            expected = model(torch.tensor([list(seen)]))[0, -1].log_softmax(-1)
        torch.testing.assert_close(log_p[i], expected, rtol=1e-4, atol=1e-5)
        bits -= expected[byte].item() / math.log(2)
    nats = -log_p.gather(1, data.ids[:, None])[:, 0]
    assert bits_per_character(nats, data) == pytest.approx(bits / len(text), rel=1e-4), "per character, not per byte"


def test_bits_per_line_end_are_those_of_a_coder_of_yes_and_no():
    ids, p = python_docs.encode("ab\nc\n"), torch.tensor([0.125, 0.5, 0.25, 0.5, 0.5])
    bits = -math.log2(0.875) + 1 + 2 + 1 + 1
    assert bits_per_line_end(p, ids) == pytest.approx(bits / 2)


@pytest.fixture(scope="module")
def untrained():
    torch.manual_seed(0)
    return evaluate(GPT().eval())


def test_the_figures_of_a_network_that_knows_nothing(untrained):
    """Of nearly uniform probabilities the mixture is known without a network: a bit for the choice, where counts know anything."""
    real, held_out = python_docs.load("train"), python_docs.load("test")
    nats = KneserNey(10, python_docs.SYMBOLS, real.ids).nll(held_out.ids)
    p = ((-nats).exp() + 1 / 256) / 2
    assert untrained["kneser_ney"] == pytest.approx(nats.sum().item() / math.log(2) / len(held_out))
    assert untrained["mixture"] == pytest.approx(-p.log2().sum().item() / len(held_out), abs=0.02)
    assert untrained["gain"] == pytest.approx(untrained["kneser_ney"] - untrained["mixture"]) and untrained["gain"] < 0
    assert untrained["bits_per_character"] > untrained["ngram_5"] > untrained["kneser_ney"], "so every gate fails"
    assert untrained["line_ends"] > untrained["line_ends_counts"]


def test_what_a_mixture_of_counts_gains_is_little(untrained):
    """The control of the gate: two models of the same kind, which know the same."""
    assert untrained["gain_of_counts"] == pytest.approx(untrained["kneser_ney"] - untrained["mixture_of_counts"])
    assert 0 < untrained["gain_of_counts"] < 0.03


# --- timing ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True])
def test_the_clock_runs_only_while_the_device_is_waited_for(monkeypatch, cached):
    """On an accelerator a call returns before its work is done: the prefill would be counted, or the step would not."""
    events, layer = [], MultiHeadAttention(8, 2, causal=True)
    layer.register_forward_hook(lambda module, args, out: events.append(f"{args[0].shape[1]} positions"))
    monkeypatch.setattr(runtime, "_wait_for", lambda device: events.append("waited"))
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: events.append("clock") or float(len(events)))
    assert step_milliseconds(layer, 6, cached=cached) > 0
    run = ["waited", "clock", "1 positions" if cached else "6 positions", "waited", "clock"]
    assert events == 5 * (["5 positions", *run] if cached else run)


def test_the_fastest_of_several_runs_counts(monkeypatch):
    ticks = iter([0, 5, 10, 12, 20, 29])
    monkeypatch.setattr(runtime.time, "perf_counter", lambda: next(ticks))
    seen = []
    best = runtime.milliseconds(seen.append, torch.device("cpu"), prepare=lambda: len(seen), times=3)
    assert best == 2000 and seen == [0, 1, 2], "what is prepared is made anew for each"


# --- the n-gram baseline -----------------------------------------------------------------------------------------------


def witten_bell(text, order, symbols, context, symbol):
    """By the definition: counted anew in the whole text for every context, from the longest down."""
    history = context[len(context) - order + 1 :] if order > 1 else b""
    followers = [text[i + len(history)] for i in range(len(text) - len(history)) if text[i : i + len(history)] == history]
    lower = witten_bell(text, order - 1, symbols, context, symbol) if order > 1 else 1 / symbols
    if not followers:
        return lower
    kinds = len(set(followers))
    return (followers.count(symbol) + kinds * lower) / (len(followers) + kinds)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngram_is_witten_bell(order):
    generator = torch.Generator().manual_seed(order)
    ids = torch.randint(4, (120,), generator=generator)
    model, text = NGram(order, 6, ids), bytes(ids.tolist())
    for _ in range(60):
        context = bytes(torch.randint(5, (order + 2,), generator=generator).tolist())  # 4 was never seen
        p = [model.probability(context, symbol) for symbol in range(6)]
        assert p == pytest.approx([witten_bell(text, order, 6, context, symbol) for symbol in range(6)], rel=1e-12)
        assert sum(p) == pytest.approx(1, rel=1e-12)
        assert min(p) > 0


def kneser_ney(text, order, symbols, context, symbol, highest=True):
    """By the definition: the n-grams of one order counted, or below the highest what stood before them, from the longest down."""
    lower = 1 / symbols if order == 1 else kneser_ney(text, order - 1, symbols, context, symbol, highest=False)
    if highest:
        counts = Counter(text[i : i + order] for i in range(len(text) - order + 1))
    else:
        counts = Counter(ngram[1:] for ngram in {text[i : i + order + 1] for i in range(len(text) - order)})
    n = [sum(count == k for count in counts.values()) for k in range(5)]
    y = n[1] / (n[1] + 2 * n[2])
    discount = {0: 0} | {k: max(0, k - (k + 1) * y * n[k + 1] / n[k]) if n[k] and y else k / 2 for k in (1, 2, 3)}
    history = context[len(context) - order + 1 :] if order > 1 else b""
    followers = {w: counts[history + bytes([w])] for w in range(symbols)}
    total = sum(followers.values())
    if not total:
        return lower
    freed = sum(discount[min(count, 3)] for count in followers.values())
    return (followers[symbol] - discount[min(followers[symbol], 3)] + freed * lower) / total


@pytest.mark.parametrize("order", [2, 3, 4])
def test_kneser_ney_is_that_of_chen_and_goodman(order):
    generator = torch.Generator().manual_seed(order)
    rare = torch.rand(3000, generator=generator)
    ids = (rare.log() / math.log(0.75)).long().clamp(max=40)  # geometric: n-grams are seen once, twice, three and four times
    model, text = KneserNey(order, 50, ids), bytes(ids.tolist())
    highest = model.counts[-1]
    assert {1, 2, 3, 4} <= {count for following in highest.values() for count in following.values()}
    for _ in range(8):
        start = int(torch.randint(len(text) - order, (1,), generator=generator))
        context = text[start : start + order]
        p = [model.probability(context, symbol) for symbol in range(50)]
        for symbol in (text[start + order], 45, 3):
            assert p[symbol] == pytest.approx(kneser_ney(text, order, 50, context, symbol), rel=1e-9)
        assert sum(p) == pytest.approx(1, rel=1e-12)
        assert min(p) > 0


@pytest.mark.parametrize("text", ["", "a", "ab", "aaaaaaaa", "abcabcabcabc"])
def test_kneser_ney_of_a_text_too_small_to_estimate_a_discount_is_a_distribution(text):
    model = KneserNey(4, 128, python_docs.encode(text))
    for context in (b"", b"a", b"abc", b"xyz"):
        p = [model.probability(context, symbol) for symbol in range(128)]
        assert sum(p) == pytest.approx(1, rel=1e-12) and min(p) > 0


def test_kneser_ney_asks_how_many_contexts_a_symbol_followed():
    """`c` is the commonest symbol, but always after `b`; in a new context `a`, which follows many, is likelier."""
    text = "".join(f"bc{symbol}a" for symbol in "defghijk") + "bcbcbcbcbcbcbc"
    ids = python_docs.encode(text)
    smooth, plain = KneserNey(2, 128, ids), NGram(2, 128, ids)
    assert smooth.probability(b"z", ord("a")) > smooth.probability(b"z", ord("c"))
    assert plain.probability(b"z", ord("a")) < plain.probability(b"z", ord("c"))


def test_ngram_uses_a_short_context_as_far_as_it_goes():
    ids = torch.randint(3, (50,), generator=torch.Generator().manual_seed(0))
    wide, narrow = NGram(4, 3, ids), NGram(2, 3, ids)
    for symbol in range(3):
        assert wide.probability(b"\1", symbol) == pytest.approx(narrow.probability(b"\1", symbol))
    assert sum(wide.probability(b"", symbol) for symbol in range(3)) == pytest.approx(1)


def test_ngram_nll_is_that_of_each_symbol_given_those_before():
    ids = torch.randint(4, (80,), generator=torch.Generator().manual_seed(0))
    model, text = NGram(3, 4, ids[:50]), bytes(ids.tolist())
    expected = [-math.log(model.probability(text[:end], text[end])) for end in range(len(text))]
    torch.testing.assert_close(model.nll(ids), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("kind", [NGram, KneserNey])
def test_ngram_probabilities_of_one_symbol_at_each_place(kind):
    ids = torch.randint(4, (80,), generator=torch.Generator().manual_seed(0))
    model, text = kind(3, 4, ids[:50]), bytes(ids.tolist())
    by_symbol = torch.stack([model.probabilities(symbol, ids) for symbol in range(4)])
    torch.testing.assert_close(by_symbol.sum(0), torch.ones(80, dtype=torch.float64))
    torch.testing.assert_close(by_symbol.gather(0, ids[None])[0], (-model.nll(ids)).exp())
    assert by_symbol[2, 7].item() == pytest.approx(model.probability(text[:7], 2))


def test_even_mixture_is_the_mean_of_the_probabilities():
    p, q = torch.rand(2, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(even_mixture(-p.log(), -q.log()), -((p + q) / 2).log())


def test_ngram_without_any_text_is_uniform():
    model = NGram(3, 7, torch.tensor([], dtype=torch.int64))
    assert model.probability(b"\1\2", 3) == pytest.approx(1 / 7)


@pytest.mark.parametrize("order", [0, -1])
def test_ngram_order_is_at_least_one(order):
    with pytest.raises(ValueError, match="order must be at least 1"):
        NGram(order, 4, torch.tensor([1, 2]))


# --- data --------------------------------------------------------------------------------------------------------------


def test_topics_are_on_one_side_only_and_always_the_same():
    train, test = python_docs.load("train"), python_docs.load("test")
    assert not set(train.names) & set(test.names)
    assert list(train.names) == sorted(train.names) and list(test.names) == sorted(test.names)
    python_docs.load.cache_clear()
    assert (python_docs.load("train"), python_docs.load("test")) == (train, test)
    assert 0.03 < len(test) / (len(train) + len(test)) < 0.3
    from pydoc_data.topics import topics

    assert set(train.names) | set(test.names) == set(topics)
    assert test.texts == tuple(topics[name] for name in test.names), "held-out topics are whole"


def test_no_paragraph_of_a_held_out_topic_stands_in_training():
    def paragraphs(split):
        texts = python_docs.load(split).texts
        return {" ".join(paragraph.split()) for text in texts for paragraph in text.split("\n\n")} - {""}

    assert not paragraphs("train") & paragraphs("test")


@pytest.mark.parametrize("split", ["validation", "", "Train"])
def test_another_split_is_refused(split):
    with pytest.raises(ValueError, match=f"split must be 'train' or 'test', got {split!r}"):
        python_docs.load(split)


def test_text_and_bytes():
    text = "π is\nnot ASCII"
    ids = python_docs.encode(text)
    assert ids.dtype == torch.int64 and len(ids) == len(text) + 1
    assert python_docs.decode(ids) == text
    assert python_docs.decode(torch.tensor([65, 0xCF])) == "A\ufffd"
    data = python_docs.Documentation(("a", "b"), ("one", "two"))
    assert data.text == "one\n\ntwo" and len(data) == 8 and python_docs.decode(data.ids) == data.text
