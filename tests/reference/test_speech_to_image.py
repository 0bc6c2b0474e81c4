"""The parts of speech to image that are given, not stubs."""

import pytest
import torch

from reference_impl.convert.speech_to_image import Config, Encoder, SpeechToImage, convert
from reference_impl.data import digits_in_motion as motion

SMALL = Config(hidden=8, channels=2)


def test_what_stands_after_the_end_changes_no_embedding():
    torch.manual_seed(0)
    model = SpeechToImage(SMALL).eval()
    waveforms = motion.speech("test").waveforms[:4]
    longer = torch.nn.functional.pad(waveforms, (0, 1001))
    torch.testing.assert_close(model.embed(waveforms), model.embed(longer))


def test_embeddings_have_mean_zero_and_variance_one():
    torch.manual_seed(0)
    embedding = Encoder(SMALL).eval()(torch.randn(5, 48, 20), torch.tensor([20, 3, 1, 10, 7]))
    torch.testing.assert_close(embedding.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(embedding.var(1, unbiased=False), torch.ones(5), atol=1e-2, rtol=0)


def test_the_seed_draws_the_noise():
    torch.manual_seed(0)
    model = SpeechToImage(SMALL).eval()
    waveforms = motion.speech("test").waveforms[:3]
    first, again, other = (convert(model, waveforms, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.allclose(first, other)
    assert first.shape == (3, 1, 24, 24) and first.min() >= 0 and first.max() <= 1


def test_silence_is_refused():
    waveforms = motion.speech("test").waveforms[:3].clone()
    waveforms[2] = 0
    with pytest.raises(ValueError, match="waveform 2 is silent"):
        convert(SpeechToImage(SMALL).eval(), waveforms)
