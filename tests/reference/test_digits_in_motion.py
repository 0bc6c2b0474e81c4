"""Digits in Motion: what is held out is held out, and the four forms of an item belong together."""

import hashlib
import json
import tomllib
from fnmatch import fnmatch
from importlib.resources import files

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from reference_impl.data import digits
from reference_impl.data import digits_in_motion as motion

STEPS = torch.tensor([[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])  # (down, right) of left, right, top, bottom
HELD_OUT = {(1, 2), (4, 1), (7, 3), (8, 0)}
EVERY = {(digit, place) for digit in range(10) for place in range(4)}


@pytest.fixture(scope="module")
def splits():
    return {name: motion.load(name) for name in motion.SPLITS}


def pairs(split):
    return set(zip(split.digits.tolist(), split.places.tolist(), strict=True))


def test_sizes(splits):
    assert {name: len(split) for name, split in splits.items()} == {"train": 4851, "test": 450, "compositional": 179}
    assert {name: len(motion.speech(name)) for name in splits} == {"train": 468, "test": 72, "compositional": 8}
    with pytest.raises(ValueError, match="split must be one of train, test, compositional, got 'valid'"):
        motion.load("valid")
    with pytest.raises(ValueError, match="split must be one of train, test, compositional, got 'valid'"):
        motion.speech("valid")


def test_four_combinations_are_held_out(splits):
    assert {(d, motion.PLACES.index(p)) for d, p in motion.HELD_OUT} == HELD_OUT
    assert pairs(splits["train"]) == pairs(splits["test"]) == EVERY - HELD_OUT
    assert pairs(splits["compositional"]) == HELD_OUT
    assert not pairs(motion.speech("train")) & HELD_OUT, "the bank of utterances must not say a held-out pair either"
    assert sorted(d for d, _ in HELD_OUT) == sorted({d for d, _ in HELD_OUT}) and {p for _, p in HELD_OUT} == {0, 1, 2, 3}


def test_handwriting_is_held_out_and_used_as_the_card_says(splits):
    train, test, compositional = splits.values()
    assert not set(train.rows.tolist()) & set(test.rows.tolist())
    assert set(compositional.rows.tolist()) <= set(test.rows.tolist())
    seen = {image.numpy().tobytes() for image in train.handwriting}
    assert not any(image.numpy().tobytes() in seen for image in test.handwriting), "the same image under another number"
    asked = {(row, digit, place) for row, digit in zip(*by_row("train"), strict=True) for place in range(4)}
    dealt = set(zip(train.rows.tolist(), train.digits.tolist(), train.places.tolist(), strict=True))
    assert dealt == {(row, digit, place) for row, digit, place in asked if (digit, place) not in HELD_OUT}
    assert sorted(test.rows.tolist()) == sorted(by_row("test")[0]), "each held-out handwriting once"
    for split in (train, test, compositional):
        real = {
            row: image for name in ("train", "test") for row, image in zip(by_row(name)[0], digits.load(name).images, strict=True)
        }
        assert all(torch.equal(real[row], image) for row, image in zip(split.rows.tolist(), split.handwriting, strict=True))


def by_row(name):
    real = digits.load(name)
    return real.rows.tolist(), real.labels.tolist()


def test_voices_and_templates_are_held_out(splits):
    train, test, compositional = splits.values()
    for other in (test, compositional):
        assert set(other.voices.tolist()) == {13, 14} and set(train.voices.tolist()) == set(range(13))
        assert not set(train.captions) & set(other.captions)
        assert not set(train.captions_zh) & set(other.captions_zh)
    assert len(motion.VOICES) == 15 and list(motion.VOICES)[13:] == list(motion.UNSEEN_VOICES)
    assert len(set(motion.VOICES.values())) == 15
    words = {word for text in train.captions + train.captions_zh for word in motion.split_words(text)}
    assert {w for text in test.captions + test.captions_zh for w in motion.split_words(text)} <= words, (
        "the unseen template must not need a word whose embedding was never trained"
    )
    known = {tuple(sorted(motion.split_words(text))) for text in train.captions + train.captions_zh}
    asked = {tuple(sorted(motion.split_words(text))) for text in test.captions + test.captions_zh}
    assert not known & asked, "an encoder that sums up words must not take a test caption for one of training"


def test_everything_is_dealt_evenly(splits):
    train = splits["train"]
    uses = torch.bincount(train.utterances, minlength=468)
    assert uses.min() >= 9 and uses.max() <= 12
    both = torch.bincount(train.voices * 4 + train.templates, minlength=52)
    assert both.min() >= 0.7 * both.float().mean(), "every voice meets every template"
    test = torch.bincount(splits["test"].places, minlength=4)
    assert test.min() >= 100 and torch.bincount(splits["test"].voices)[13:].min() >= 200


def test_the_split_is_the_same_on_every_machine(splits):
    digest = hashlib.sha256()
    for split in splits.values():
        for name in ("digits", "places", "rows", "templates", "utterances"):
            digest.update(json.dumps(getattr(split, name).tolist()).encode())
    assert digest.hexdigest() == "055879126516a88fba9c96cf03b1bbc75e1a27a8f0e0b9c891c989f6aa4660ed", (
        "figures measured on another split do not compare"
    )


def test_forms_of_an_item_belong_together(splits):
    for split in splits.values():
        bank = motion.speech(split.name)
        for name in ("digits", "places"):
            assert torch.equal(getattr(bank, name)[split.utterances], getattr(split, name)), "the voice says another pair"
        assert [bank.phrases[u] for u in split.utterances.tolist()] == split.phrases
        for i in range(0, len(split), 40):
            expected = (int(split.digits[i]), motion.PLACES[split.places[i]])
            assert motion.meaning(split.captions[i]) == motion.meaning(split.captions_zh[i]) == expected
            assert split.phrases[i] == f"{motion.WORDS[expected[0]]} {expected[1]}"


def test_an_item_is_a_row_of_the_split(splits):
    split = splits["test"]
    item = split[7]
    assert (item.digit, item.place) == (int(split.digits[7]), motion.PLACES[split.places[7]])
    assert item.caption == split.captions[7] and item.caption_zh == split.captions_zh[7] and item.phrase == split.phrases[7]
    assert torch.allclose(item.image, split.images[7], atol=1e-6) and torch.allclose(item.video, split.videos[7], atol=1e-6)
    assert item.waveform.shape == (int(split.lengths[7]),) and torch.equal(item.waveform, split.waveforms[7, : split.lengths[7]])
    assert item.voice == list(motion.VOICES)[split.voices[7]] and item.row == int(split.rows[7])
    assert split[-1].row == int(split.rows[-1])
    with pytest.raises(IndexError):
        split[450]
    chosen = split.select(torch.tensor([7, 3]))
    assert len(chosen) == 2 and chosen.captions == [split.captions[7], split.captions[3]]
    assert torch.equal(chosen.waveforms, split.waveforms[[7, 3]])


# --- captions ---


@pytest.mark.parametrize(
    ("digit", "place", "english", "chinese"),
    [
        (3, "left", "a three on the left", "左边有个三"),
        (8, "top", "an eight at the top", "上面有个八"),
        (0, "bottom", "a zero at the bottom", "下面有个零"),
    ],
)
def test_captions_as_people_write_them(digit, place, english, chinese):
    assert motion.caption(digit, place) == english
    assert motion.caption(digit, place, language="zh") == chinese
    assert motion.meaning(english) == motion.meaning(chinese) == (digit, place)


def test_every_caption_survives_encoding():
    every = [
        motion.caption(digit, place, template, language)
        for digit in range(10) for place in motion.PLACES for template in range(5) for language in ("en", "zh")
    ]  # fmt: skip
    assert len(set(every)) == 400, "each template says it in other words"
    ids = motion.encode(every)
    assert ids.shape == (400, motion.TOKENS) and ids.dtype == torch.int64
    assert motion.decode(ids) == every
    assert (ids[:, 0] == motion.BOS).all() and ((ids == motion.EOS).sum(1) == 1).all()
    after = torch.arange(motion.TOKENS) > (ids == motion.EOS).int().argmax(1, keepdim=True)
    assert torch.equal(ids == motion.PAD, after), "padding stands after <eos> and nowhere else"
    assert set(ids.flatten().tolist()) == set(range(len(motion.VOCABULARY))), "no token is there in vain"


def test_text_from_a_keyboard():
    assert torch.equal(motion.encode(["A Three on the left."]), motion.encode(["a three on the left"]))
    assert torch.equal(motion.encode(["左边有个三。"]), motion.encode(["左边有个三"]))
    assert motion.encode([]).shape == (0, motion.TOKENS)
    assert motion.meaning("Three left") == (3, "left")
    assert motion.decode(torch.tensor([[1, 4, 2, 5, 5], [1, 4, 0, 0, 0]])) == ["zero", "zero"], "nothing after <eos> counts"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a cat on the left", "'cat' is not in the vocabulary; known are: a zero"),
        ("左边有只猫", "'只' is not in the vocabulary"),
        ("three-left", "'-' is not in the vocabulary"),
        ("3 left", "'3' is not in the vocabulary"),
        ("  ", "a caption is empty"),
        (".", "a caption is empty"),
        ("three left three left three left four right", "has 8 words: at most 7 fit"),
    ],
)
def test_a_caption_outside_of_the_vocabulary_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        motion.encode(["three left", text])


def test_other_bad_captions_are_refused():
    with pytest.raises(ValueError, match="expected a list of captions, got the single text 'three left'"):
        motion.encode("three left")
    with pytest.raises(ValueError, match="'left three' is no caption of this data set"):
        motion.meaning("left three")
    with pytest.raises(ValueError, match="ids must lie in 0 to"):
        motion.decode(torch.tensor([[1, 999, 2]]))
    for arguments, message in [
        ((10, "left"), "digit must lie in 0 to 9, got 10"),
        ((3, "middle"), "place must be one of left, right, top, bottom, got 'middle'"),
        ((3, "left", 5), "template must lie in 0 to 4, got 5"),
        ((3, "left", 0, "fr"), "language must be 'en' or 'zh', got 'fr'"),
    ]:
        with pytest.raises(ValueError, match=message):
            motion.caption(*arguments)


# --- pictures and videos ---


def sampled(handwriting, down, right, fine=16):
    """The picture by brute force: `fine`² points in each pixel, each read from the handwriting by bilinear interpolation."""
    points = (np.arange(24 * fine) + 0.5) / fine
    y, x = ((points - 12 - shift) / 1.5 + 4 - 0.5 for shift in (down, right))
    values = map_coordinates(handwriting, np.stack(np.meshgrid(y, x, indexing="ij")), order=1, mode="grid-constant")
    return values.reshape(24, fine, 24, fine).mean((1, 3))


def test_pictures_equal_brute_force_sampling(draw):
    real = digits.load("test")
    rows = draw.integers(450, size=(8,))
    places = torch.arange(8) % 4
    for progress in (0.0, 3 / 7, 1.0):
        made = motion.draw(real.images[rows], places, progress)
        assert made.shape == (8, 1, 24, 24)
        for k in range(8):
            down, right = (5.25 * progress * STEPS[places[k]]).tolist()
            expected = sampled(real.images[rows[k], 0].numpy().astype(float), down, right)
            assert np.abs(made[k, 0].numpy() - expected).max() < 2e-3


def test_the_last_frame_is_the_picture_and_the_first_is_in_the_middle(splits):
    for split in splits.values():
        assert split.videos.shape == (len(split), 8, 1, 24, 24) and split.images.shape == (len(split), 1, 24, 24)
        assert torch.equal(split.videos[:, -1], split.images)
        middle = motion.draw(split.handwriting, torch.zeros_like(split.places), 0.0)
        assert torch.allclose(split.videos[:, 0], middle, atol=1e-6), "the first frame knows nothing of the place"
        assert split.images.dtype == torch.float32
        assert split.videos.min() >= 0 and split.videos.max() <= 1 + 1e-6 and split.images.amax((1, 2, 3)).min() > 0.5


def test_the_ink_slides_evenly_to_its_place_and_none_is_lost(splits):
    split = splits["test"]
    videos = split.videos.double().squeeze(2)
    mass = videos.sum((2, 3))
    expected = 1.5**2 * split.handwriting.double().sum((1, 2, 3))
    assert torch.allclose(mass, expected[:, None].expand_as(mass), rtol=1e-5), "ink flickers, fades or leaves the picture"
    axis = torch.arange(24) + 0.5
    centre = torch.stack([(videos.sum(3) * axis).sum(2), (videos.sum(2) * axis).sum(2)], dim=2) / mass.unsqueeze(2)
    steps = centre.diff(dim=1)  # (N, 7, 2)
    assert torch.allclose(steps, (0.75 * STEPS[split.places])[:, None].double().expand_as(steps), atol=0.01)


# --- speech ---


@pytest.mark.parametrize("name", motion.SPLITS)
def test_utterances_are_clean_and_as_long_as_they_say(name):
    bank = motion.speech(name)
    assert bank.waveforms.dtype == torch.float32 and bank.waveforms.shape == (len(bank), motion.SAMPLES)
    assert bank.lengths.min() > 0.3 * motion.RATE and bank.lengths.max() <= motion.SAMPLES
    assert bank.waveforms.abs().max() <= 1
    for waveform, length in zip(bank.waveforms, bank.lengths.tolist(), strict=True):
        said = waveform[:length]
        assert not waveform[length:].any(), "sound in the padding"
        assert 0.07 < said.square().mean().sqrt() < 0.12, "loudness is even"
        for end in (said[:400], said[-400:]):  # 50 ms
            assert end.abs().max() > 0.002, "silence was not cut"
    flat = {waveform.numpy().tobytes() for waveform in bank.waveforms}
    assert len(flat) == len(bank), "two voices say exactly the same"


def test_waveforms_are_gathered_from_the_bank(splits):
    split = splits["compositional"]
    for i in (0, 50, 178):
        u = int(split.utterances[i])
        assert torch.equal(split.waveforms[i], split.speech.waveforms[u]) and split.lengths[i] == split.speech.lengths[u]
        assert split.voices[i] == split.speech.voices[u]


def test_sound_files_match_the_index_and_are_installed_with_the_package(root):
    folder = files("reference_impl.data") / "speech"
    index = json.loads((folder / "index.json").read_text())
    assert {path.name for path in folder.iterdir()} == {"index.json", *(f"{voice}.ogg" for voice in motion.VOICES)}
    assert index["lengths"].keys() == motion.VOICES.keys() and all(len(row) == 40 for row in index["lengths"].values())
    assert (index["rate"], index["slot"]) == (motion.RATE, motion.SAMPLES)
    assert sum((root / "reference_impl/data/speech" / path.name).stat().st_size for path in folder.iterdir()) < 1.2e6
    declared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["reference_impl.data"]
    for path in (root / "reference_impl" / "data").rglob("*.*"):
        name = path.relative_to(root / "reference_impl" / "data").as_posix()
        if path.suffix not in (".py", ".pyc"):
            assert any(fnmatch(name, pattern) for pattern in declared), f"{name} would be missing from an installed package"


def test_the_script_that_made_the_sound_still_speaks():
    pytest.importorskip("espeakng_loader", reason="the extra `render` is not installed")
    from reference_impl.data.render_speech import Synthesizer

    synthesizer = Synthesizer()
    voices = [motion.VOICES["us_m1"], motion.VOICES["gb_f4"]]
    short, long = (synthesizer.say(text, voices[0]) for text in ("two left", "seven bottom"))
    assert 0.3 * motion.RATE < len(short) < len(long) <= motion.SAMPLES
    assert np.abs(short).max() <= 0.9 + 1e-9 and 0.07 < np.sqrt(np.mean(long**2)) < 0.11
    assert len(synthesizer.say("two left", voices[1])) != len(short)
    with pytest.raises(RuntimeError, match="has no voice 'xx'"):
        synthesizer.say("two left", motion.Voice("xx", 50, 170))
