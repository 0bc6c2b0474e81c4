"""Videos that the camera does not look at straight: nothing of the digit is lost, and only the motion says where it goes."""

import pytest
import torch

from reference_impl.convert.video_to_text import displace
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import direction_judge, place_judge


@pytest.mark.parametrize("seed", range(3))
def test_the_digit_stays_in_the_picture_and_its_way_is_the_same(seed):
    split = motion.load("test")
    moved = displace(split.videos, split.places, torch.Generator().manual_seed(seed))
    assert torch.allclose(moved.sum((2, 3, 4)), split.videos.sum((2, 3, 4)), atol=1e-3), "ink has left the picture"
    rows, columns = moved.amax((1, 2, 4)), moved.amax((1, 2, 3))
    apart = torch.stack([rows[:, 0] * rows[:, -1], columns[:, 0] * columns[:, -1]])
    assert apart.max() < 1e-3, "a digit was rolled over an edge: it shows at both"
    assert direction_judge().accuracy(moved, split.places) > 0.99, "the judge of the direction sees it go another way"


def test_where_the_digit_ends_does_not_say_where_it_went():
    split = motion.load("test")
    moved = displace(split.videos, split.places, torch.Generator().manual_seed(0))
    assert place_judge().accuracy(split.videos[:, -1], split.places) > 0.99
    assert place_judge().accuracy(moved[:, -1], split.places) < 0.5, "the last frame gives the direction away"


def test_the_same_generator_displaces_alike():
    split = motion.load("test").select(torch.arange(8))
    first, second = (displace(split.videos, split.places, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, split.videos)
