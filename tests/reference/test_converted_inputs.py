"""What the twelve conversions are given: any float dtype converts, and what cannot be converted is refused by what it is."""

import importlib
from functools import lru_cache

import pytest
import torch

from reference_impl import weights
from reference_impl.data import digits_in_motion as motion

UNITS = [f"{a}_to_{b}" for a in ("image", "speech", "text", "video") for b in ("image", "speech", "text", "video") if a != b]
FROM_TENSORS = [name for name in UNITS if not name.startswith("text")]
RIGHT = {"image": (2, 1, 24, 24), "video": (2, 8, 1, 24, 24), "speech": (2, 8192)}
WRONG = {
    "image": [(1, 24, 24), (2, 3, 24, 24), (2, 1, 28, 28)],
    "video": [(8, 1, 24, 24), (2, 6, 1, 24, 24), (2, 8, 24, 24)],
    "speech": [(8192,), (2, 0)],
}


@lru_cache
def converter(name):
    model = weights.load(f"convert/{name}", device="cpu")
    module = importlib.import_module(f"reference_impl.convert.{name}")
    return lambda given: module.convert(model, given)


def things(source, dtype=torch.float32):
    item = motion.load("test")
    form = {"image": item.images, "video": item.videos, "speech": item.waveforms}[source]
    return form[:2].to(dtype)


@pytest.mark.parametrize("name", FROM_TENSORS)
def test_any_float_dtype_converts_to_the_same(name):
    source = name.split("_")[0]
    expected = converter(name)(things(source))
    for dtype in (torch.float64, torch.bfloat16):
        made = converter(name)(things(source, dtype))
        if isinstance(expected, list):
            assert len(made) == 2 and (dtype == torch.bfloat16 or made == expected)
        else:
            assert made.dtype == torch.float32 and made.shape == expected.shape, f"{dtype} makes {made.dtype} {tuple(made.shape)}"
            if dtype == torch.float64:
                torch.testing.assert_close(made, expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", FROM_TENSORS)
def test_what_cannot_be_converted_is_named(name):
    source, convert = name.split("_")[0], converter(name)
    for shape in WRONG[source]:
        with pytest.raises(ValueError, match=r"expected (pictures|videos|waveforms) of shape"):
            convert(torch.rand(shape))
    with pytest.raises(ValueError, match="there are no"):
        convert(torch.rand(0, *RIGHT[source][1:]))
    with pytest.raises(ValueError, match="of floats"):
        convert(torch.ones(RIGHT[source], dtype=torch.int64))
    for bad in (torch.nan, torch.inf):
        spoiled = things(source).clone()
        spoiled[1].view(-1)[7] = bad
        with pytest.raises(ValueError, match=r"row 1 .* not finite"):
            convert(spoiled)


@pytest.mark.parametrize("name", [name for name in UNITS if name.startswith("text")])
def test_texts_that_are_none_are_named(name):
    with pytest.raises(ValueError, match=r"expected a list of (captions|phrases)"):
        converter(name)([])
    with pytest.raises(ValueError, match=r"expected a list of (captions|phrases)"):
        converter(name)("three left")


def test_more_frames_are_taken_where_seven_are_enough():
    videos = torch.rand(2, 11, 1, 24, 24)
    convert = converter("video_to_image")
    assert torch.equal(convert(videos), convert(videos[:, :7])), "what comes after the seventh is looked at"
