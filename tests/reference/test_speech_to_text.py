"""The parts of speech to text that are given, not stubs; and its word error rate against jiwer."""

import random

import pytest
import torch

from reference_impl.convert.speech_to_text import (
    BLANK,
    Config,
    SpeechToText,
    audible,
    choose,
    convert,
    even_loss,
    predict,
    spell,
    word_error_rate,
)
from reference_impl.convert.text_to_speech import HOP, encode, even_durations
from reference_impl.data import digits_in_motion as motion


def test_word_error_rate_is_that_of_jiwer():
    jiwer = pytest.importorskip("jiwer")
    dice = random.Random(0)
    for _ in range(50):
        said, heard = (
            [" ".join(dice.choices(motion.WORDS[:4], k=dice.randint(1, 9))) for _ in range(dice.randint(1, 5))] for _ in range(2)
        )
        heard = (heard * 5)[: len(said)]
        assert word_error_rate(heard, said) == pytest.approx(jiwer.wer(said, heard))


def test_spell_is_the_inverse_of_encode():
    ids = encode(["three left", "six bottom"])
    assert [spell([k for k in row if k != BLANK]) for row in ids.tolist()] == ["three left", "six bottom"]


def test_audible_counts_frames_up_to_the_last_sound():
    waveforms = torch.zeros(4, 5 * HOP)
    waveforms[1, 0] = waveforms[2, HOP] = -0.5
    waveforms[3] = 0.1
    assert audible(waveforms).tolist() == [0, 1, 2, 5]


def test_what_stands_after_the_end_changes_nothing():
    torch.manual_seed(0)
    model = SpeechToText(Config(channels=16, layers=2)).eval()
    bank = motion.speech("test")
    short, long = bank.waveforms[:3], torch.nn.functional.pad(bank.waveforms[:3], (0, 1001))
    (first, moments), (second, again) = predict(model, short), predict(model, long)
    assert torch.equal(moments, again)
    for a, b, count in zip(first, second, moments.tolist(), strict=True):
        torch.testing.assert_close(a[:count], b[:count])


def test_silence_is_refused():
    model = SpeechToText(Config(channels=8, layers=1)).eval()
    waveforms = motion.speech("test").waveforms[:2].clone()
    waveforms[1] = 0
    with pytest.raises(ValueError, match="waveform 1 is silent"):
        convert(model, waveforms)


def test_chooses_the_text_that_the_greedy_decoder_reads():
    """What the model itself reads, unless empty, is likelier than the same with other letters added."""
    torch.manual_seed(1)
    model = SpeechToText(Config(channels=16, layers=1)).eval()
    model.output[1].weight.data *= 30  # a model without doubt
    waveforms = motion.speech("test").waveforms[:8]
    for waveform, heard in zip(waveforms, convert(model, waveforms), strict=True):
        if heard.strip():
            texts = ["three left", heard, "six bottom"]
            assert choose(model, waveform[None], texts).item() == 1


def test_the_even_alignment_written_out():
    """Each letter's share of the moments ends in a blank; moments after the end do not count."""
    torch.manual_seed(0)
    moments, words = torch.tensor([12, 9, 5]), [[4, 4, 7], [2, 9, 3, 3], [5]]
    labels = torch.tensor([row + [BLANK] * (4 - len(row)) for row in words])
    letters = torch.tensor([len(row) for row in words])
    log_probs = torch.randn(3, 14, 11).log_softmax(2)
    costs = []
    for i, row in enumerate(words):
        T, L = int(moments[i]), len(row)
        for t in range(T):
            letter = next(k for k in range(L) if t < (k + 1) * T / L)
            last = t == T - 1 or t + 1 >= (letter + 1) * T / L
            costs.append(-log_probs[i, t, BLANK if last else row[letter]])
    actual = even_loss(log_probs, labels, moments, letters)
    torch.testing.assert_close(actual, torch.stack(costs).mean())


def test_even_durations_fill_the_frames():
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    durations = even_durations(mask, torch.tensor([41, 10, 7]))
    assert durations.tolist() == [[8, 8, 8, 8, 9], [3, 3, 4, 0, 0], [7, 0, 0, 0, 0]]
