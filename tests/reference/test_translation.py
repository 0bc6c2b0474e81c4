"""What is given of text/translation: its data, its rivals, its batches, the ablation; and its scores beside those of sacreBLEU."""

import random
import re
from collections import Counter
from dataclasses import replace
from datetime import date

import pytest
import torch
from babel.dates import format_date
from sacrebleu import metrics

from reference_impl.data import dates_and_amounts as data
from reference_impl.templates import Templates
from reference_impl.text import translation
from reference_impl.text.translation import (
    IGNORED,
    PAD,
    Config,
    Translator,
    by_length,
    chrf,
    corpus_bleu,
    training_corpus,
    translate,
)

TEXTS = ["the the cat sat on the mat", "there is a cat", "Mar 5, 1955", "2044年7月22日 09:14:21"]
REFERENCES = ["the cat sat on the mat", "a cat is here now", "Mar 3, 1955", "2042年7月22日 09:14"]


def characters(texts):
    return [[c for c in text if not c.isspace()] for text in texts]


def words(texts):
    return [text.split() for text in texts]


# --- scores ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "smooth", "all_four", "two"),
    [
        (words, False, 56.668405171367624, 0.0),
        (words, True, 56.668405171367624, 24.078565545102713),
        (characters, False, 70.29474986302215, 49.94872202594782),
        (characters, True, 70.29474986302215, 49.94872202594782),
    ],
)
def test_bleu_is_that_of_sacrebleu(cut, smooth, all_four, two):
    """sacrebleu 2.6.0: `BLEU(tokenize="none" or "char", smooth_method="none" or "exp").corpus_score(texts, [references]).score`."""
    assert corpus_bleu(cut(TEXTS), cut(REFERENCES), smooth=smooth) == pytest.approx(all_four, abs=1e-9)
    assert corpus_bleu(cut(TEXTS[1:3]), cut(REFERENCES[1:3]), smooth=smooth) == pytest.approx(two, abs=1e-9)


def test_chrf_is_that_of_sacrebleu():
    """sacrebleu 2.6.0: `CHRF()` and `CHRF(beta=1, char_order=3)`."""
    assert chrf(TEXTS, REFERENCES) == pytest.approx(68.17831682811331, abs=1e-9)
    assert chrf(TEXTS, REFERENCES, order=3, beta=1) == pytest.approx(78.96108258233407, abs=1e-9)
    assert chrf(TEXTS[1:3], REFERENCES[1:3]) == pytest.approx(38.01931992995395, abs=1e-9)


def test_scores_of_random_corpora_are_those_of_sacrebleu():
    chance = random.Random(3)
    for _ in range(50):
        references = ["".join(chance.choice("abc d") for _ in range(chance.randint(3, 20))) for _ in range(4)]
        texts = ["".join(c for c in text if chance.random() > 0.2) for text in references]
        for smooth in ("none", "exp"):
            theirs = metrics.BLEU(tokenize="char", smooth_method=smooth).corpus_score(texts, [references]).score
            ours = corpus_bleu(characters(texts), characters(references), smooth=smooth == "exp")
            assert ours == pytest.approx(theirs, abs=1e-9)
        assert chrf(texts, references) == pytest.approx(metrics.CHRF().corpus_score(texts, [references]).score, abs=1e-9)


# --- data --------------------------------------------------------------------------------------------------------------


def test_the_pairs_are_what_the_card_says():
    assert {split: len(data.load(split)) for split in data.SIZES} == data.SIZES
    assert data.shared() == 0, "no text of another split stands in training"
    with pytest.raises(ValueError, match="split must be one of train"):
        data.load("validation")


def test_no_source_has_two_translations():
    for split in data.SIZES:
        pairs = data.load(split)
        for sources, targets in ((pairs.en, pairs.zh), (pairs.zh, pairs.en)):
            assert len(set(sources)) == len(set(zip(sources, targets, strict=True))) == len(pairs)


def test_the_same_pairs_are_drawn_every_time():
    before = data.load("test")
    data.load.cache_clear()
    assert data.load("test") == before


def test_long_dates_are_right_and_of_years_that_training_lacks():
    years = {split: set() for split in ("train", "test")}
    for split, seen in years.items():
        pairs = data.load(split)
        for kind, zh, en in zip(pairs.kinds, pairs.zh, pairs.en, strict=True):
            found = re.fullmatch(r"(\d{4})年(\d+)月(\d+)日(星期.)?", zh)
            if kind != "date" or found is None:
                continue
            day = date(*map(int, found.groups()[:3]))
            seen.add(day.year)
            style = "full" if found[4] else "long"
            assert en == format_date(day, style, locale="en")
            assert not found[4] or found[4] == "星期" + "一二三四五六日"[day.weekday()]
            assert split == "test" or not found[4] or day.year < 2000
    assert years["train"].isdisjoint(years["test"]) and len(years["test"]) > 10


def test_times_of_day_and_powers_of_ten():
    kinds = Counter()
    for split in ("train", "test", "magnitudes"):
        pairs = data.load(split)
        for kind, en, zh in zip(pairs.kinds, pairs.en, pairs.zh, strict=True):
            if kind == "time":
                hour, minute, half = re.fullmatch(r"(\d+):(\d\d) ([AP])M", en).groups()
                assert zh == f"{int(hour) % 12 + 12 * (half == 'P'):02}:{minute}"
            elif kind == "compact":
                number, word = en.split()
                power = {"thousand": 3, "million": 6, "billion": 9}[word]
                tail = {"万": 4, "亿": 8}.get(zh[-1], 0)
                assert float(number) * 10**power == pytest.approx(float(zh.rstrip("万亿")) * 10**tail, rel=1e-12)
            kinds[kind] += 1
    assert kinds["time"] > 1000 and kinds["compact"] > 1000


def test_new_magnitudes_have_more_digits():
    def longest(text):
        return max(map(len, re.findall(r"\d+", text.replace(",", "").split(".")[0])))

    train, longer = data.load("train"), data.load("magnitudes")
    chosen = ("decimal", "money", "measure")
    assert max(longest(en) for kind, en in zip(train.kinds, train.en, strict=True) if kind in chosen) == 6
    assert min(longest(en) for kind, en in zip(longer.kinds, longer.en, strict=True) if kind in chosen) == 7


def test_texts_become_ids_and_come_back():
    texts = ["Sun, May 1, 1955", "1955年5月1日周日", "1.00 Swiss francs", ""]
    assert data.tokenize(texts[0]) == ["Sun", ",", " May", " ", "1", ",", " ", "1", "9", "5", "5"]
    ids, lengths = data.encode(texts)
    assert lengths.tolist() == [len(data.tokenize(text)) + 1 for text in texts]
    assert [data.decode(row) for row in ids.tolist()] == texts
    for row, length in zip(ids, lengths.tolist(), strict=True):
        assert row[length - 1] == data.END and (row[length:] == PAD).all() and (row[: length - 1] >= data.SPECIALS).all()
    assert data.decode([5, PAD]) == data.vocabulary()[1] + "\ufffd"
    assert [part.shape for part in data.encode([])] == [(0, 1), (0,)]
    with pytest.raises(ValueError, match="training has no ' Klingon'"):
        data.encode(["3 Klingon days"])


def test_the_model_has_a_row_for_each_token():
    assert Config().symbols == data.SPECIALS + len(data.vocabulary())
    for split in data.SIZES:
        assert max(len(data.tokenize(text)) for text in data.load(split).en + data.load(split).zh) < translation.LONGEST


# --- batches -----------------------------------------------------------------------------------------------------------


def test_both_directions_are_trained():
    source, lengths, targets, starts = training_corpus()
    pairs, N = data.load("train"), data.SIZES["train"]
    times = training_corpus(("time",))
    assert len(times[0]) == 2 * pairs.kinds.count("time") and all(":" in data.decode(row) for row in times[0][::97].tolist())
    for i in (0, 17, N - 1):
        for row, text, answer, language in ((i, pairs.en[i], pairs.zh[i], "zh"), (N + i, pairs.zh[i], pairs.en[i], "en")):
            assert data.decode(source[row, : lengths[row]].tolist()) == text
            wanted = targets[row][targets[row] != IGNORED].tolist()
            assert data.decode(wanted) == answer and wanted[-1] == data.END
            assert starts[row] == translation.STARTS[language]


def test_batches_of_equal_length_lose_nothing():
    corpus = training_corpus()
    rows = {
        (*s.tolist(), int(start)): t[t != IGNORED].tolist() for s, t, start in zip(corpus[0], corpus[2], corpus[3], strict=True)
    }
    found = list(by_length(corpus, 8, 37, torch.Generator().manual_seed(1)))
    assert len(found) == 37
    width, places = corpus[0].shape[1], 0
    for source, lengths, targets, starts in found:
        assert len(source) == len(lengths) == len(targets) == len(starts) == 8
        assert source.shape[1] == lengths.max() and (targets != IGNORED).any(0).all()
        for s, t, start in zip(source, targets, starts, strict=True):
            assert rows[(*s.tolist(), *[PAD] * (width - len(s)), int(start))] == t[t != IGNORED].tolist()
        places += source.numel()
    real = sum(int(lengths.sum()) for _, lengths, _, _ in found)
    assert places < 1.25 * real, "little of it is padding"


# --- the model ---------------------------------------------------------------------------------------------------------


def small(**changes):
    model = Translator(replace(Config(), width=16, inner=16, heads=2, **changes)).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def test_one_vector_holds_no_order_of_its_own():
    """The ablations: the decoder reads one vector, the mean over what is real or that of the end; padding has no part in it."""
    model = small(memory="mean")
    ids, lengths = data.encode(["3 tons", "Sun, May 1, 1955"])
    memory, mask = model.encode(ids, lengths)
    assert memory.shape == (2, 1, 16) and mask.shape == (2, 1, 1, 1) and mask.all()
    whole, real = small().encode(ids, lengths)
    assert whole.shape[1] == real.shape[-1] == ids.shape[1]
    for b, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(memory[b, 0], whole[b, :length].mean(0))
    memory, mask = small(memory="end").encode(ids, lengths)
    assert memory.shape == (2, 1, 16) and mask.shape == (2, 1, 1, 1) and mask.all()
    torch.testing.assert_close(memory[:, 0], torch.stack([row[length - 1] for row, length in zip(whole, lengths, strict=True)]))
    with pytest.raises(ValueError, match="memory must be tokens, mean or end"):
        small(memory="all")


def test_a_batch_is_translated_as_its_rows_are():
    model, texts = small(), ["3 tons", "Sun, May 1, 1955", "6:47 PM"]
    together = translate(model, texts, "zh")
    assert together == [translate(model, [text], "zh")[0] for text in texts] and len(set(together)) > 1
    assert translate(model, [], "en") == []
    with pytest.raises(ValueError, match="language must be one of en, zh"):
        translate(model, texts, "de")


def test_the_verb_finds_the_language_and_says_what_it_does_not_know():
    model = small()
    assert translation.translated(model, "6:47  PM\n") == translate(model, ["6:47 PM"], "zh")[0]
    assert translation.translated(model, "3吨") == translate(model, ["3吨"], "en")[0]
    assert translation.translated(model, "1,234", to="en") == translate(model, ["1,234"], "en")[0]
    with pytest.raises(ValueError, match=r"training has no 'hello'; what it knows are dates, .* such as"):
        translation.translated(model, "hello")
    with pytest.raises(ValueError, match="language must be one of en, zh, got 'fr'"):
        translation.translated(model, "3 tons", to="fr")


def test_weights_are_averaged_over_the_last_steps(monkeypatch):
    """With one step to average it is the last one; with all, the mean of every step."""
    seen = []
    step = torch.optim.Adam.step

    def watched(self, *args, **kwargs):
        result = step(self, *args, **kwargs)
        seen.append([p.detach().clone() for p in self.param_groups[0]["params"]])
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    config = replace(Config(), width=16, inner=16, heads=2, steps=5, batch_size=4)
    for averaged, last in ((0.0, 1), (0.4, 2), (1.0, 5)):
        seen.clear()
        model = translation.train(replace(config, averaged=averaged), device="cpu", progress=False)
        for i, parameter in enumerate(model.parameters()):
            torch.testing.assert_close(parameter.detach(), torch.stack([step[i] for step in seen[-last:]]).mean(0))


# --- what it is measured against ---------------------------------------------------------------------------------------


def test_templates_learn_what_is_copied_and_what_is_fixed():
    sources = [["1", "2", " May"], ["3", "4", " May"], ["5", "6", " May"], ["7", " May"]]
    targets = [["5", "月", "1", "2"], ["5", "月", "3", "4"], ["5", "月", "5", "6"], ["5", "月", "7"]]
    known = Templates(sources, targets)
    assert known.translate(["8", "9", " May"]) == "5月89" and known.translate(["2", " May"]) == "5月2"
    assert known.translate(["2", " June"]) == "2 June", "no template fits: the source as it is"


def test_templates_keep_a_number_that_is_no_copy():
    hours = [(str(h), str(h + 12)) for h in range(1, 10)] * 3
    sources = [[h, ":", str(i % 6), str(i % 10), " PM"] for i, (h, _) in enumerate(hours)]
    targets = [[*late, ":", str(i % 6), str(i % 10)] for i, (_, late) in enumerate(hours)]
    known = Templates(sources, targets)
    assert known.translate(["7", ":", "5", "9", " PM"]) == "19:59"
    assert Templates(sources, targets, kept=0).translate(["7", ":", "5", "9", " PM"]) == "7:59 PM"


def test_a_planted_leak_is_seen(monkeypatch):
    assert data.formats_alone() < 0.02
    splits = {split: data.load(split) for split in data.SIZES}
    train = splits["train"]
    splits["test"] = data.Pairs(train.kinds[:100], train.en[:100], train.zh[:100])
    monkeypatch.setattr(data, "load", splits.__getitem__)
    assert data.shared() > 0.05
    splits |= dict.fromkeys(("train", "test"), data.Pairs(train.kinds[:1], train.en[:1], train.zh[:1]))
    assert data.formats_alone() == 1
