"""Digits in Company: what is held out is held out, no form leaks what another is asked for, and the forms of an item belong together."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from reference_impl.data import digits
from reference_impl.data import digits_in_company as company
from reference_impl.data import digits_in_motion as motion
from reference_impl.data.vocabulary import Vocabulary, join_words, split_words

HELD_OUT = {(1, 2), (4, 1), (7, 3), (8, 0)}
WAYS = torch.tensor([[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])  # (down, right) of left, right, top, bottom


@pytest.fixture(scope="module")
def splits():
    return {name: company.load(name) for name in motion.SPLITS}


def told(split):
    return set(split.events)


def test_sizes(splits):
    assert {name: len(split) for name, split in splits.items()} == {"train": 8000, "test": 900, "compositional": 900}
    assert {name: len(company.pairs(name)) for name in splits} == {"train": 729, "test": 243, "compositional": 216}
    for ask in (company.load, company.pairs):
        with pytest.raises(ValueError, match="split must be one of train, test, compositional, got 'valid'"):
            ask("valid")


def test_what_is_held_out(splits):
    known = set(itertools.product(range(10), range(4))) - HELD_OUT
    train, test, compositional = (told(split) for split in splits.values())
    assert train.isdisjoint(test) and train | test == {(a, b) for a, b in itertools.product(known, known) if a[1] != b[1]}
    for pairs in (train, test):
        assert {event for pair in pairs for event in pair} == known, "every known event is met in both"
        assert {pair[0] for pair in pairs} == {pair[1] for pair in pairs} == known, "first, and second"
    assert all(len(HELD_OUT & set(pair)) == 1 for pair in compositional)
    assert {(pair[0] in HELD_OUT, min(set(pair) & HELD_OUT)) for pair in compositional} == set(
        itertools.product((True, False), HELD_OUT)
    )


def test_handwriting_voices_and_templates_are_held_out(splits):
    train, test, compositional = splits.values()
    assert not set(train.rows.flatten().tolist()) & set(test.rows.flatten().tolist())
    assert set(compositional.rows.flatten().tolist()) <= set(test.rows.flatten().tolist())
    assert set(train.voices.tolist()) == set(range(13)) and set(test.voices.tolist()) == set(compositional.voices.tolist()) == {
        13,
        14,
    }
    assert set(train.templates.tolist()) == {0, 1, 2} and set(test.templates.tolist()) == set(
        compositional.templates.tolist()
    ) == {3}
    real = {}
    for name in ("train", "test"):
        source = digits.load(name)
        real |= dict(zip(source.rows.tolist(), zip(source.labels.tolist(), source.images, strict=True), strict=True))
    for split in splits.values():
        for row, digit, image in zip(split.rows.flatten(), split.digits.flatten(), split.handwriting.flatten(0, 1), strict=True):
            assert real[int(row)][0] == int(digit) and torch.equal(real[int(row)][1][0], image)


def test_every_voice_tells_every_event_and_both_utterances_are_its_own(splits):
    for name, split in splits.items():
        bank = company.bank(name)
        assert torch.equal(bank.voices[split.utterances[:, 0]], bank.voices[split.utterances[:, 1]])
        assert torch.equal(bank.digits[split.utterances], split.digits) and torch.equal(
            bank.places[split.utterances], split.places
        )
    train = splits["train"]
    seen = {(voice, event) for voice, pair in zip(train.voices.tolist(), train.events, strict=True) for event in pair}
    assert len(seen) == 13 * 36


# --- texts ---


def test_texts_have_one_meaning_and_say_it(splits):
    events = list(itertools.product(range(10), range(4)))
    found = {}
    for ordered, say in ((False, company.caption), (True, company.story)):
        for language, template in itertools.product(("en", "zh"), range(4)):
            for one, two in itertools.product(events, events):
                if one[1] == two[1]:
                    continue
                text = say(one, two, template, language)
                key = (one, two) if ordered else tuple(sorted((one, two)))
                assert found.setdefault(text, (key, ordered)) == (key, ordered), f"{text!r} means two things"
    for text in list(found)[:: len(found) // 500]:
        assert company.meaning(text) == found[text]
    with pytest.raises(ValueError, match="'a cat on the left' is no text of this data set"):
        company.meaning("a cat on the left")


def test_texts_of_an_item_mean_its_events(splits):
    for split in splits.values():
        some = split.select(torch.arange(0, len(split), 97))
        for language in ("en", "zh"):
            assert [company.meaning(text) for text in some.stories(language)] == [(pair, True) for pair in some.events]
            assert [company.meaning(text) for text in some.captions(language)] == [
                (tuple(sorted(pair)), False) for pair in some.events
            ]
        assert [phrase.split() for phrase in some.phrases] == [
            [motion.WORDS[a], motion.PLACES[p], motion.WORDS[b], motion.PLACES[q]] for (a, p), (b, q) in some.events
        ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((10, 0), (1, 1)), r"an event is a digit of 0 to 9 and a place of 0 to 3, got \(10, 0\)"),
        (((3, 0), (1, 4)), r"got \(1, 4\)"),
        (((3, 2), (1, 2)), "two digits need two places, got top twice"),
        (((3, 0), (1, 1), 4), "template must lie in 0 to 3, got 4"),
        (((3, 0), (1, 1), 0, "de"), "language must be 'en' or 'zh', got 'de'"),
    ],
)
def test_what_cannot_be_told_is_refused(arguments, message):
    for say in (company.caption, company.story):
        with pytest.raises(ValueError, match=message):
            say(*arguments)


def test_vocabulary_writes_and_reads_every_text(splits):
    words = company.vocabulary()
    for split in splits.values():
        for texts in (split.captions(), split.captions("zh"), split.stories(), split.stories("zh")):
            ids = words.encode(texts)
            assert ids.shape == (len(split), words.tokens) and ids.dtype == torch.int64
            assert words.decode(ids) == texts
    held_out = {
        word
        for split in list(splits.values())[1:]
        for text in split.stories() + split.captions("zh")
        for word in split_words(text)
    }
    train = splits["train"]
    shown = {
        word
        for language in ("en", "zh")
        for text in train.captions(language) + train.stories(language)
        for word in split_words(text)
    }
    assert held_out <= shown, "the held-out template says known words"


def test_vocabulary_refuses_what_it_does_not_know():
    words = Vocabulary(["a three", "左边，然后"])
    assert words.words[3:] == ("a", "three", "左", "边", "，", "然", "后") and words.tokens == 7
    assert words.decode(words.encode(["three a.", "左，边"])) == ["three a", "左，边"]
    assert words.encode([]).shape == (0, 7)
    for texts, message in (
        (["a cat"], "'cat' is not in the vocabulary; known are: a three 左"),
        ([" . "], "a caption is empty: expected words such as 'a three'"),
        (["a a a a a a"], "has 6 words: at most 5 fit"),
        ("a three", "got the single text 'a three': write"),
    ):
        with pytest.raises(ValueError, match=message):
            words.encode(texts)
    with pytest.raises(ValueError, match="ids must lie in 0 to 9"):
        words.decode(torch.tensor([[10]]))
    assert join_words(split_words("First, a  three 左 边")) == "first, a three左边"


# --- pictures ---


def test_a_digit_is_drawn_where_it_should_be(splits):
    """Against SciPy: the mean of 16 samples of the bilinear surface within each pixel."""
    split = splits["test"].select(torch.arange(0, 900, 130))
    fine = (np.arange(24 * 16) + 0.5) / 16 - 12  # pixels from the middle
    for handwriting, centres, image in zip(split.handwriting, split.centres, split.images, strict=True):
        total = np.zeros((24, 24))
        for digit, (down, right) in zip(handwriting.numpy(), centres.tolist(), strict=True):
            rows, columns = (fine - down) / company.SCALE + 3.5, (fine - right) / company.SCALE + 3.5
            sampled = map_coordinates(np.pad(digit, 1), np.meshgrid(rows + 1, columns + 1, indexing="ij"), order=1, cval=0.0)
            total += sampled.reshape(24, 16, 24, 16).mean((1, 3))
        np.testing.assert_allclose(image[0].numpy(), total.clip(max=1), atol=0.01)


def test_every_digit_stands_near_its_place_and_no_ink_is_lost(splits):
    for split in splits.values():
        assert (split.centres - company.REACH * WAYS[split.places]).abs().max() <= company.JITTER
        one = company.draw(split.handwriting[:, 0], split.centres[:, 0])
        torch.testing.assert_close(one.sum((1, 2)), split.handwriting[:, 0].sum((1, 2)), rtol=1e-4, atol=1e-3)
        assert split.images.min() >= 0 and split.images.max() <= 1


def test_a_video_shows_one_digit_then_two_and_ends_as_the_image(splits):
    split = splits["train"].select(torch.arange(200))
    assert split.videos.shape == (200, 8, 1, 24, 24) and torch.equal(split.videos[:, -1], split.images)
    for frame in range(8):
        first = company.draw(split.handwriting[:, 0], split.centres[:, 0] * min(1, (frame + 1) / 4))
        second = company.draw(split.handwriting[:, 1], split.centres[:, 1] * (frame - 3) / 4) if frame >= 4 else 0
        torch.testing.assert_close(split.videos[:, frame, 0], (first + second).clamp(max=1))


def test_the_last_frame_does_not_tell_the_order(splits):
    """The same two digits told the other way round end in the same picture, and nothing of an item depends on which is first."""
    split = splits["test"].select(torch.arange(100))
    turned = company.Split(**{
        name: getattr(split, name).flip(1) if name in ("digits", "places", "rows", "handwriting", "jitter", "utterances") else getattr(split, name)
        for name in split.__dataclass_fields__
    })  # fmt: skip
    torch.testing.assert_close(turned.images, split.images)
    torch.testing.assert_close(turned.seen_images, split.seen_images)
    assert not torch.allclose(turned.videos[:, 2], split.videos[:, 2])
    train = splits["train"]
    for tensor in (train.jitter[:, 0].abs().mean(), train.jitter[:, 1].abs().mean()):
        assert abs(tensor.item() - company.JITTER / 2) < 0.01


def test_noise_and_bar_are_what_they_are_called(splits):
    split = splits["test"].select(torch.arange(300))
    noise = split.seen_videos - company.behind_a_bar(split.videos, split.starts, split.upright)
    assert abs(noise.std().item() - company.NOISE) < 0.001 and abs(noise.mean().item()) < 0.001
    white = torch.ones(300, 8, 1, 24, 24)
    bar = company.behind_a_bar(white, split.starts, split.upright) != 1
    assert (bar.sum((3, 4)) == company.BAR * 24).all(), "five lines of every frame are hidden"
    assert (bar.float().mean(1) < 1).all(), "what is hidden in one frame is shown in another"
    lying = split.upright == 0
    assert (bar[lying][:, :, 0, :, 0].sum(2) == company.BAR).all() and (bar[~lying][:, :, 0, 0, :].sum(2) == company.BAR).all()
    torch.testing.assert_close(split.select(torch.tensor([7])).seen_videos[0], split.seen_videos[7])
    assert torch.equal(split.seen_videos[:, -1], split.seen_images)


# --- sound ---


def test_a_waveform_is_two_utterances_with_a_pause(splits):
    for name, split in splits.items():
        bank, some = company.bank(name), torch.arange(0, len(split), 211)
        sound = split.waveforms(some)
        assert sound.shape == (len(some), company.SAMPLES) and split.lengths.max() <= company.SAMPLES and sound.abs().max() <= 1
        for row, i in zip(sound, some.tolist(), strict=True):
            lengths = [int(int(bank.lengths[u]) / float(split.speeds[i])) for u in split.utterances[i]]
            pause = int(split.pauses[i])
            assert int(split.lengths[i]) == sum(lengths) + pause and not row[int(split.lengths[i]) :].any()
            assert not row[lengths[0] : lengths[0] + pause].any() and company.PAUSES[0] <= pause <= company.PAUSES[1]
            for start, length, utterance in ((0, lengths[0], 0), (lengths[0] + pause, lengths[1], 1)):
                spoken = bank.waveforms[
                    split.utterances[i, utterance], : int(bank.lengths[split.utterances[i, utterance]])
                ].numpy()
                at = (np.arange(length) + 0.5) * len(spoken) / length - 0.5
                np.testing.assert_allclose(
                    row[start : start + length].numpy(), np.interp(at, np.arange(len(spoken)), spoken), atol=1e-3
                )
    assert torch.equal(splits["test"].waveforms(torch.tensor([5]))[0], splits["test"].waveforms()[5])
