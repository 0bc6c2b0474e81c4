"""Text to video, as it is given: what a second stage without augmentation is told, and the long step that finishes a stopped picture."""

import pytest
import torch

from reference_impl.convert.text_to_image import Config as PictureConfig
from reference_impl.convert.text_to_image import UNet
from reference_impl.convert.text_to_video import Cascade, Config, VideoNet, leap, train
from reference_impl.data import digits_in_motion as motion


def cascade(**settings):
    """A small one, whose second stage does not start from a picture that stands still."""
    torch.manual_seed(0)
    model = Cascade(Config(channels=4, first_channels=8, **settings)).eval()
    torch.nn.init.normal_(model.videos.output.weight, std=0.1)
    return model


def test_without_augmentation_every_picture_is_taken_for_a_clean_one():
    pictures, told = torch.randn(2, 1, motion.SIZE, motion.SIZE), cascade()
    deaf = cascade(augmented=False)
    assert torch.equal(deaf.film(pictures, 150), deaf.film(pictures, 0))
    assert not torch.allclose(told.film(pictures, 150), told.film(pictures, 0))
    assert torch.equal(deaf.film(pictures, 150)[:, -1], ((pictures + 1) / 2).clamp(0, 1)), "level 0 is copied"
    for model in (told, deaf):
        with pytest.raises(ValueError, match="level must lie in 0 to 200"):
            model.film(pictures, 201)


@pytest.mark.parametrize("augmented", [True, False])
def test_training_draws_levels_only_with_augmentation(augmented, monkeypatch):
    drawn = []
    loss = VideoNet.augmented_loss
    monkeypatch.setattr(VideoNet, "augmented_loss", lambda self, *given: drawn.append(given[1]) or loss(self, *given))
    config = Config(steps=4, share=0.5, channels=4, batch_size=8, augmented=augmented)
    train(config, device="cpu", progress=False, pictures=UNet(PictureConfig(channels=8)))
    assert len(drawn) == 2 and all((uniforms > 0).all() if augmented else (uniforms == 0).all() for uniforms in drawn)


def test_the_long_step_leads_to_the_picture_that_the_velocity_implies():
    model, captions, level, w = cascade(), ["a three on the left", "a seven at the top"], 150, 1.3
    noisy, a = torch.randn(2, 1, motion.SIZE, motion.SIZE), model.schedule[150].item()
    t, nothing = torch.tensor([level]), torch.tensor([[motion.BOS, motion.EOS] + [motion.PAD] * (motion.TOKENS - 2)])
    for x, caption, made in zip(noisy.split(1), captions, leap(model, noisy, captions, level), strict=True):
        with torch.no_grad():
            v, free = model.pictures(x, t, motion.encode([caption])), model.pictures(x, t, nothing)
        expected = (a**0.5 * x - (1 - a) ** 0.5 * (w * v + (1 - w) * free)).clamp(-1, 1)
        torch.testing.assert_close(made[None], expected, atol=1e-5, rtol=0)
