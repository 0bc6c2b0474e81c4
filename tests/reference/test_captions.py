"""The error rate of captions is that of jiwer, every caption of the data set is right for its own picture only, and no cut tells a place."""

import random

import jiwer
import pytest
import torch

from reference_impl.convert.image_to_text import (
    LANGUAGES,
    Config,
    ImageToText,
    character_error_rate,
    displace,
    score_captions,
    start_tokens,
)
from reference_impl.data import digits_in_motion as motion


@pytest.mark.parametrize("seed", range(5))
def test_character_error_rate_is_that_of_jiwer(seed):
    chance = random.Random(seed)
    every = [motion.caption(d, p, t, lang) for d in range(10) for p in motion.PLACES for t in range(5) for lang in LANGUAGES]
    references = chance.sample(every, 20)
    texts = chance.sample(every, 20)
    expected = jiwer.cer(references, texts)
    assert character_error_rate(texts, references) == pytest.approx(expected), "jiwer is the field's measure of error rates"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_template_counts_as_right(language):
    split = motion.load("test").select(torch.arange(20))
    for template in range(len(motion.TEMPLATES[language])):
        texts = [
            motion.caption(d, motion.PLACES[p], template, language)
            for d, p in zip(split.digits.tolist(), split.places.tolist(), strict=True)
        ]
        assert score_captions(texts, split, language) == {"exact": 1.0, "cer": 0.0}


@pytest.mark.parametrize("language", LANGUAGES)
def test_other_captions_count_as_wrong(language):
    split = motion.load("test").select(torch.arange(20))
    pairs = list(zip(split.digits.tolist(), split.places.tolist(), strict=True))
    other_digit = [motion.caption((d + 1) % 10, motion.PLACES[p], 0, language) for d, p in pairs]
    other_place = [motion.caption(d, motion.PLACES[(p + 1) % 4], 0, language) for d, p in pairs]
    other_language = [motion.caption(d, motion.PLACES[p], 0, "zh" if language == "en" else "en") for d, p in pairs]
    for texts in (other_digit, other_place, other_language, [""] * 20):
        scored = score_captions(texts, split, language)
        assert scored["exact"] == 0.0 and scored["cer"] > 0.0


def rolled_to_the_left(images, places):
    """Each picture moved by whole patches so that what is at its place comes to the left one; what falls off is lost."""
    moved = []
    for image, place in zip(images, places.tolist(), strict=True):
        down, right = (round(6 * (to - step)) for to, step in zip((0, -1), motion.DIRECTIONS[motion.PLACES[place]], strict=True))
        padded = torch.nn.functional.pad(image, (12, 12, 12, 12))
        moved.append(padded[:, 12 - down : 36 - down, 12 - right : 36 - right])
    return torch.stack(moved)


def test_displaced_a_digit_has_the_same_patches_at_every_place():
    drawn, every = motion.load("test").handwriting[:5], torch.arange(4)
    places = every.repeat_interleave(len(drawn))
    images = displace(drawn.repeat(4, 1, 1, 1), places)
    found = rolled_to_the_left(images, places).unflatten(0, (4, -1))
    assert torch.equal(found, found[:1].expand_as(found)) and torch.equal(found.sum((2, 3, 4)).flatten(), images.sum((1, 2, 3)))
    inside, seen = motion.draw(drawn, 0 * every[:1].expand(5), 6 / motion.REACH), found[0]
    assert torch.allclose(seen[..., 6:18, :12], inside[..., 6:18, :12], atol=1e-5) and seen.sum() > 0.9 * inside.sum()


@pytest.mark.parametrize("positions", [True, False])
def test_displaced_only_position_codes_tell_the_place(positions):
    torch.manual_seed(0)
    model, drawn = ImageToText(Config(positions=positions)).eval(), motion.load("test").handwriting[:1]
    with torch.no_grad():
        logits = model(
            displace(drawn.expand(4, -1, -1, -1), torch.arange(4)), start_tokens(torch.zeros(4, dtype=torch.int64))[None, :, None]
        )
    assert torch.allclose(logits, logits[:, :1].expand_as(logits), atol=1e-4) != positions


def test_digits_in_motion_cuts_it_otherwise():
    drawn, right = motion.load("test").handwriting[:5], torch.ones(5, dtype=torch.int64)
    found = rolled_to_the_left(motion.draw(drawn, right), right) - motion.draw(drawn, 0 * right)
    assert found[..., 6:18, :12].abs().amax((1, 2, 3)).min() > 0.1
