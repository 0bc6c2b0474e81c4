"""The parts of text/bert that are given: the model against Hugging Face's, batches, what an ablation takes away, and the reviews."""

from dataclasses import replace

import pytest
import torch

from reference_impl.data import sentiment
from reference_impl.text import bert
from reference_impl.text.bert import BERT, Config, cut, drawn, encode, from_huggingface, pad, tokenizer


def randomised(model, scale=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * scale)
    return model.eval()


@pytest.fixture
def padded():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.tensor([9, 4, 1])
    return torch.randint(61, (3, 9), generator=generator), lengths, torch.arange(9) < lengths[:, None]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("layers", "heads", "width"), [(1, 1, 5), (3, 4, 16)])
def test_hidden_states_and_loss_equal_those_of_hugging_face(padded, layers, heads, width, dtype):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": 4 * width}
    config = transformers.BertConfig(vocab_size=61, max_position_embeddings=17, **sizes)
    theirs = randomised(transformers.BertForMaskedLM(config).to(dtype))
    ours = from_huggingface(theirs.state_dict(), heads)
    assert all(parameter.dtype == dtype for parameter in ours.parameters())
    ids, lengths, real = padded
    targets = ids.where(real & (torch.rand(3, 9, generator=torch.Generator().manual_seed(2)) < 0.5), -100)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    with torch.no_grad():
        hidden = ours(ids, lengths)
        expected = theirs.bert(ids, attention_mask=real.long()).last_hidden_state
        torch.testing.assert_close(hidden[real], expected[real], rtol=tolerance, atol=tolerance)
        loss = theirs(ids, attention_mask=real.long(), labels=targets).loss
        torch.testing.assert_close(ours.mlm_loss(hidden, targets), loss, rtol=tolerance, atol=tolerance)


def test_the_pooler_equals_that_of_hugging_face(padded):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=61, max_position_embeddings=17, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32
    )
    theirs = randomised(transformers.BertModel(config).double())
    ours = from_huggingface(theirs.state_dict(), heads=2)
    ids, lengths, real = padded
    with torch.no_grad():
        pooled = ours.pooler(bert.pool(ours(ids, lengths), lengths)).tanh()
        expected = theirs(ids, attention_mask=real.long()).pooler_output
    torch.testing.assert_close(pooled, expected, rtol=1e-10, atol=1e-10)


def small(**changes):
    return randomised(BERT(Config(symbols=61, context=9, width=8, layers=2, heads=2, **changes)).double())


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_a_sentence_is_judged_alike_whatever_it_is_batched_with(padded, pooling):
    ids, lengths, _ = padded
    model = small(pooling=pooling)
    with torch.no_grad():
        together, alone = model.classify(ids, lengths), model.classify(ids[1:2, :4], lengths[1:2])
        torch.testing.assert_close(together[1:2], alone, rtol=1e-10, atol=1e-10)
        assert (model(ids)[1, :4] - model(ids[1:2, :4])).abs().max() > 1e-4, "without lengths padding would be read"


def test_positions_past_the_context_are_refused():
    with pytest.raises(ValueError, match="the context has 9 positions, got 10"):
        small()(torch.zeros(1, 10, dtype=torch.int64))


def test_ids_and_padding():
    tokens = tokenizer()
    assert len(tokens) == Config().symbols and sorted(tokens.specials.values()) == [
        len(tokens) - 3,
        len(tokens) - 2,
        len(tokens) - 1,
    ]
    assert cut("The 房间 is OK") == ["the", " 房间", " is", " ok"]
    ids = encode("Not bad. 不错", 64)
    assert ids[0] == tokens.specials["[CLS]"] and tokens.decode(ids[1:]) == "not bad. 不错"
    assert len(encode("a very long sentence " * 50, 64)) == 64
    rows, lengths = pad([[5, 6, 7], [8]])
    filled = tokens.specials["[PAD]"]
    assert rows.tolist() == [[5, 6, 7], [8, filled, filled]] and lengths.tolist() == [3, 1]


@pytest.mark.parametrize("name", bert.ABLATIONS)
def test_an_ablation_is_trained_and_measured_as_the_whole_is(name):
    ablation, whole = bert.ABLATIONS[name], Config()
    assert ablation.config != whole
    same = ("steps", "width", "layers", "labels", "draws", "batch_size")
    assert all(getattr(ablation.config, size) == getattr(whole, size) for size in same), "the same budget"
    assert ablation.config.tuning_steps >= whole.tuning_steps
    model = bert.train(replace(ablation.config, steps=2, tuning_steps=2, labels=20, draws=1), device="cpu", progress=False)
    assert 0 <= bert.evaluate(model)[ablation.metric] <= 1


def test_fine_tuning_leaves_the_model_as_it_is():
    model = bert.train(Config(pretrained=False, tuning_steps=2, labels=20), device="cpu", progress=False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned = bert.finetune(model, 0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not tuned.training and not torch.equal(tuned.head.weight, model.head.weight)


def test_labels_are_drawn_by_the_seed():
    assert drawn(50, 0) == drawn(50, 0) != drawn(50, 1)
    assert len({*drawn(50, 0)}) == 50 and all(0 <= i < len(sentiment.load("train", "zh")) for i in drawn(50, 0))
    assert drawn(20, 0) == drawn(50, 0)[:20], "more labels are others besides"


# --- the reviews ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("language", "sizes"), [("en", (6814, 1723)), ("zh", (7274, 1739))])
def test_reviews_are_what_their_card_says(language, sizes):
    splits = [sentiment.load(split, language) for split in ("train", "test")]
    assert tuple(map(len, splits)) == sizes
    assert not set(splits[0].groups) & set(splits[1].groups), "a group is on one side"
    texts = [text for split in splits for text in split.texts]
    low, high = (15, 140) if language == "en" else (12, 60)
    assert len(set(texts)) == len(texts) and all(low <= len(text) <= high for text in texts)
    scores = [score for split in splits for score in split.scores]
    assert all(1 <= abs(score) <= 4 for score in scores) and (language == "en" or {*scores} == {-1.0, 1.0})
    assert not any("@" in text or "http" in text for text in texts), "no addresses"
    assert [int(score > 0) for score in splits[1].scores] == [*splits[1].labels]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_held_out_sentence_has_a_near_copy_in_training(language):
    assert sentiment.copies(language) == 0


def test_a_planted_copy_is_seen(monkeypatch):
    train, test = sentiment.load("train", "en"), sentiment.load("test", "en")
    planted = replace(train, texts=(*train.texts[:-1], test.texts[5].upper().replace(",", " ;") + " !!"))
    monkeypatch.setattr(sentiment, "load", lambda split, language: planted if split == "train" else test)
    assert sentiment.copies("en") == pytest.approx(1 / len(test))


def test_other_splits_and_languages_are_refused():
    with pytest.raises(ValueError, match="split must be"):
        sentiment.load("validation", "en")
    with pytest.raises(ValueError, match="language must be"):
        sentiment.load("train", "de")
