"""The judges of Digits in Company: they read real things, and nothing else passes for what was asked."""

import pytest
import torch

from reference_impl import company_judges as judges
from reference_impl.data import digits
from reference_impl.data import digits_in_company as company
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import NOTHING

ORDERED = ("digits", "places", "rows", "handwriting", "jitter", "utterances")


@pytest.fixture(scope="module")
def splits():
    return {name: company.load(name).select(torch.arange(300)) for name in ("test", "compositional")}


def turned(split):
    """The same two events, told the other way round."""
    fields = {name: getattr(split, name) for name in split.__dataclass_fields__}
    return company.Split(**fields | {name: fields[name].flip(1) for name in ORDERED})


@pytest.mark.parametrize("name", ["test", "compositional"])
def test_real_things_are_read(splits, name):
    split = splits[name]
    ceiling = judges.scores(judges.pair_judge().read(split.images), split)
    assert ceiling["events"] > 0.97 and ceiling["exact"] > 0.95, ceiling
    assert 0.3 < ceiling["place_error"] < 0.8, "the offset that the set gives a digit is half a pixel at most, down and right"
    assert judges.moves_as_told(split.videos, split.places).float().mean() > 0.9
    digit, place = judges.heard(split.waveforms())
    assert (digit == split.digits).float().mean() > 0.97 and (place == split.places).float().mean() > 0.98


def test_no_judge_has_seen_a_handwriting_or_a_voice_of_a_test_split(monkeypatch):
    asked = []
    for module in (digits, motion):
        for name in ("load", "speech"):
            if hasattr(module, name):
                real = getattr(module, name)
                monkeypatch.setattr(module, name, lambda split, real=real: asked.append(split) or real(split))
    judges.PairJudge()
    judges._HalfJudge("digits"), judges._HalfJudge("places")
    assert set(asked) == {"train"}


def test_two_of_four_places_are_asked_for(splits):
    split = splits["test"]
    read = judges.pair_judge().read(split.images)
    assert ((read.digits != NOTHING).sum(1) == 2).float().mean() > 0.98
    wrong = (split.digits + 1) % 10
    assert read.exact(wrong, split.places).float().mean() < 0.02
    assert read.exact(split.digits.flip(1), split.places).float().mean() < 0.15, "only where both digits are the same"
    one = company.draw(split.handwriting[:, 0], split.centres[:, 0])[:, None]
    alone = judges.pair_judge().read(one)
    assert (
        alone.exact(split.digits, split.places).float().mean() == 0
        and 0.45 < alone.events(split.digits, split.places).float().mean() < 0.55
    )
    for nothing in (torch.zeros(3, 1, 24, 24), torch.full((3, 1, 24, 24), torch.nan)):
        assert (judges.pair_judge().read(nothing).digits == NOTHING).all()
    third = torch.tensor([[({0, 1, 2, 3} - set(row)).pop()] for row in split.places.tolist()])
    more = company.draw(
        split.handwriting[:, 0], company.REACH * torch.tensor([motion.DIRECTIONS[motion.PLACES[p]] for p in third[:, 0]])
    )
    crowded = judges.pair_judge().read((split.images + more[:, None]).clamp(max=1))
    assert crowded.exact(split.digits, split.places).float().mean() < 0.02, "a digit that nobody asked for"


def test_a_digit_off_its_place_shows_in_pixels(splits):
    split = splits["test"]
    there = judges.scores(judges.pair_judge().read(split.images), split)["place_error"]
    ways = torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])[split.places]
    short = company.draw(split.handwriting.flatten(0, 1), (split.centres - 2 * ways).flatten(0, 1)).unflatten(0, (-1, 2)).sum(1)
    off = judges.scores(judges.pair_judge().read(short[:, None].clamp(max=1)), split)["place_error"]
    assert off > there + 0.8


def test_motion_is_judged_at_every_step(splits):
    split = splits["test"]
    videos, places = split.videos, split.places
    assert not judges.moves_as_told(turned(split).videos, places).any(), "the other order"
    assert not judges.moves_as_told(videos.flip(1), places).any(), "backwards"
    assert not judges.moves_as_told(split.images[:, None].expand(-1, 8, -1, -1, -1), places).any(), "it stands"
    for frame in range(1, 8):  # each step left out once, also that between the halves
        skipped = videos.clone()
        skipped[:, frame] = videos[:, frame - 1]
        assert judges.moves_as_told(skipped, places).float().mean() < 0.02, f"the step to frame {frame} is no step"
    gone = videos.clone()
    gone[:, 4:] = (videos[:, 4:] - videos[:, 3:4]).clamp(min=0)
    assert judges.moves_as_told(gone, places).float().mean() < 0.02, "the first digit has to stay"


def test_sound_is_heard_in_its_order(splits):
    split = splits["test"].select(torch.arange(60))
    digit, _ = judges.heard(turned(split).waveforms())
    assert (digit == split.digits.flip(1)).float().mean() > 0.95
    digit, place = judges.heard(torch.zeros(2, company.SAMPLES))
    assert (digit == NOTHING).all() and (place == NOTHING).all()
    bank = motion.speech("test")
    for one in (0, 1):  # the same utterance is not heard twice
        digit, place = judges.heard(bank.waveforms[split.utterances[:, one]])
        assert not ((digit == split.digits) & (place == split.places)).all(1).any()
