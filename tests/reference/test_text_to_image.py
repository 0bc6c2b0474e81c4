"""What text to image gives beside its stubs: the roll, and a network that draws in the middle wherever a digit is to be."""

import pytest
import torch

from reference_impl.convert.text_to_image import Config, UNet, roll
from reference_impl.data import digits_in_motion as motion

x, t = torch.randn(4, 1, 24, 24, dtype=torch.float64), torch.tensor([1, 300, 700, 1000])
tokens = motion.load("test").tokens[:4]


def network(moved=True):
    """A small one with random weights, of which some would begin as zeros."""
    model = UNet(Config(channels=8, width=16, moved=moved)).double().eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def say(model, down, right):
    """Let the head say this many pixels, whatever the caption."""
    last = model.captions.head[-1]
    torch.nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([down, right]) * 2 / motion.SIZE)


def test_each_picture_is_rolled_by_its_own_shift():
    pictures = torch.randn(5, 2, 6, 9)
    shifts = torch.tensor([[0, 0], [2, -3], [-1, 4], [5, 8], [-7, 10]])  # beyond a side, too
    moved = roll(pictures, shifts)
    for row, picture, (down, right) in zip(moved, pictures, shifts.tolist(), strict=True):
        assert torch.equal(row, picture.roll((down, right), dims=(1, 2)))
    assert torch.equal(roll(moved, -shifts), pictures), "and back, bit for bit"


@pytest.mark.parametrize(("down", "right", "pixels"), [(5.2, 0.3, (5, 0)), (-4.8, 2.6, (-5, 3)), (0.4, -5.4, (0, -5))])
@torch.no_grad()
def test_what_is_drawn_at_a_place_is_what_is_drawn_in_the_middle(down, right, pixels):
    model = network()
    say(model, 0.0, 0.0)
    back = [-step for step in pixels]
    expected = model(x.roll(back, dims=(2, 3)), t, tokens).roll(pixels, dims=(2, 3))
    assert not torch.allclose(model(x, t, tokens), expected), "it is no network of convolutions alone"
    say(model, down, right)
    torch.testing.assert_close(model(x, t, tokens), expected)


@torch.no_grad()
def test_the_place_has_no_say_in_what_is_drawn():
    for moved in (True, False):
        model = network(moved)
        say(model, 0.0, 0.0)
        before = model(x, t, tokens)
        model.captions.queries.weight[1].neg_()
        assert torch.equal(before, model(x, t, tokens)) == moved
