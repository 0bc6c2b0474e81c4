"""Videos that the camera does not look at straight: nothing of the digit is lost, and only the motion says where it goes."""

import pytest
import torch
from scipy.stats import kstest
from sklearn.linear_model import Ridge

from reference_impl.convert.image_to_video import linear_videos, moved_aside
from reference_impl.convert.video_to_text import displace, place_named
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import direction_judge, place_judge


@pytest.mark.parametrize("seed", range(3))
def test_the_digit_stays_in_the_picture_and_its_way_is_the_same(seed):
    split = motion.load("test")
    moved = displace(split.handwriting, split.places, torch.Generator().manual_seed(seed))
    assert moved.shape == split.videos.shape and moved.min() >= 0 and moved.max() <= 1
    torch.testing.assert_close(
        moved.sum((2, 3, 4)), split.videos.sum((2, 3, 4)), rtol=1e-4, atol=1e-3, msg="ink has left the picture"
    )
    assert direction_judge().accuracy(moved, split.places) > 0.99, "the judge of the direction sees it go another way"
    torch.testing.assert_close(
        middle(moved).diff(dim=1), middle(split.videos).diff(dim=1), rtol=0, atol=0.02, msg="it goes at another speed"
    )


def middle(videos):
    """The centre of all ink, haze too: pixels down and right of the middle of the picture."""
    ink, line = videos[:, :, 0].double(), torch.arange(24) + 0.5 - 12
    return torch.stack([(ink.sum(3) * line).sum(2), (ink.sum(2) * line).sum(2)], dim=2) / ink.sum((2, 3))[..., None]


def points(places, seed=0):
    """Displaced videos of a single dark cell, and the way of each: the centre of the ink is where the digit is."""
    cell = torch.zeros(len(places), 1, 8, 8)
    cell[:, :, 3:5, 3:5] = 1  # its middle is that of the handwriting
    way = torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])[places]
    return middle(displace(cell, places, torch.Generator().manual_seed(seed))), way


def test_the_last_frame_leaves_two_directions_equally_likely():
    places = torch.arange(4).repeat(4000)
    centres, way = points(places)
    last = centres[:, -1]
    along, across = (last * way).sum(1), (last * way.flip(1)).sum(1).abs()
    reach = motion.REACH
    assert kstest(along.numpy() / reach, "uniform").pvalue > 1e-3, "where a way ends says how far it went"
    assert kstest(across.numpy() / reach, "uniform").pvalue > 1e-3
    # What ends at the lower right went right or down, one as likely as the other, at every fraction of a pixel.
    corner = (last[:, 0] > 0.2) & (last[:, 1] > 0.2)
    right = places == motion.PLACES.index("right")
    down = places == motion.PLACES.index("bottom")
    assert (right | down)[corner].all()
    for axis in (0, 1):
        phase = (last[:, axis] % 1)[corner]
        for low in (0.0, 0.25, 0.5, 0.75):
            within = corner.clone()
            within[corner] = (phase >= low) & (phase < low + 0.25)
            share = right[within].float().mean().item()
            assert abs(share - 0.5) < 4 * 0.5 / within.sum().sqrt().item(), (
                f"the phase of axis {axis} from {low} says {share:.2f}"
            )


def test_where_the_digit_ends_does_not_say_where_it_went():
    split = motion.load("test")
    moved = displace(split.handwriting, split.places, torch.Generator().manual_seed(0))
    assert place_judge().accuracy(split.videos[:, -1], split.places) > 0.99
    assert place_judge().accuracy(moved[:, -1], split.places) < 0.5, "the last frame gives the direction away"


def test_the_same_generator_displaces_alike():
    split = motion.load("test").select(torch.arange(8))
    first, second = (displace(split.handwriting, split.places, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second) and not torch.equal(first, split.videos)


def test_the_place_counts_whatever_the_digit():
    split = motion.load("test").select(torch.arange(4))
    places = [motion.PLACES[place] for place in split.places.tolist()]
    right = [motion.caption((digit + 1) % 10, place) for digit, place in zip(split.digits.tolist(), places, strict=True)]
    assert place_named(right, split) == 1
    assert place_named([*right[:2], "no caption", motion.caption(0, places[3], 4, "zh")], split) == 0.75


@pytest.mark.parametrize("pixels", [-5, -1, 1, 2, 5])
def test_moved_aside_is_across_the_motion(pixels):
    """By so many pixels on the one axis that the motion leaves alone, and nothing of the digit leaves the picture."""
    split = motion.load("test")
    gone = middle(moved_aside(split.videos, split.places, pixels)) - middle(split.videos)  # (B, 8, 2), down and right
    along = torch.tensor([motion.DIRECTIONS[place] for place in motion.PLACES])[split.places].abs()[:, None].double()
    torch.testing.assert_close(
        gone, (pixels * (1 - along)).expand_as(gone), rtol=0, atol=0.3, msg="it moved another way, or lost ink"
    )


def test_linear_videos_are_those_of_ridge_regression():
    known, asked = motion.load("train"), motion.load("test")
    aside = [moved_aside(known.videos, known.places, pixels) for pixels in (-1, 0, 1)]
    for moved, videos in (((0,), known.videos), ((-1, 0, 1), torch.cat(aside))):
        given = torch.nn.functional.pad(videos[:, -1].flatten(1), (0, 1), value=1.0)  # the constant is shrunk like the others
        truth = Ridge(alpha=0.01, fit_intercept=False).fit(given.double().numpy(), videos.flatten(1).double().numpy())
        images = torch.nn.functional.pad(asked.images.flatten(1), (0, 1), value=1.0)
        expected = torch.from_numpy(truth.predict(images.double().numpy())).clamp(0, 1).view_as(asked.videos).float()
        off = (linear_videos(asked.images, moved) - expected).abs()  # the unit's products are those of float32
        assert off.max() < 0.01 and off.mean() < 1e-5, (
            f"it is another linear map: off by up to {off.max():.2g}, {off.mean():.2g} on average"
        )
