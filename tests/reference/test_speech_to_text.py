"""The parts of speech to text that are given, not stubs; and its word error rate against jiwer."""

import math
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
    disturb,
    even_loss,
    nearest_phrases,
    noisy,
    predict,
    seams,
    spell,
    spliced,
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


def test_disturbed_utterances_have_the_speed_and_the_noise_asked_for():
    bank, decibels = motion.speech("test"), torch.linspace(0, 30, 72)
    clean, lengths = disturb(bank.waveforms, bank.lengths, 1.25, torch.full((72,), torch.inf), torch.Generator())
    heard, again = disturb(bank.waveforms, bank.lengths, 1.25, decibels, torch.Generator().manual_seed(0))
    assert torch.equal(lengths, again) and torch.equal(lengths, (bank.lengths / 1.25).long())
    assert heard.shape[1] % (2 * HOP) == 0
    for row, noise, count, asked in zip(clean, heard - clean, lengths.tolist(), decibels.tolist(), strict=True):
        assert 10 * math.log10(row[:count].square().mean() / noise[:count].square().mean()) == pytest.approx(asked, abs=0.5)
        assert not noise[count:].any()
    same, _ = disturb(bank.waveforms, bank.lengths, 1.0, torch.full((72,), torch.inf), torch.Generator())
    assert torch.equal(same, bank.waveforms)


def test_noisy_is_the_same_each_time_and_says_the_same():
    bank = motion.speech("compositional")
    first, second = noisy(bank), noisy(bank)
    assert torch.equal(first.waveforms, second.waveforms)
    assert first.phrases == bank.phrases * 2


def test_a_digit_ends_at_the_same_moment_whatever_follows():
    bank = motion.speech("test")
    cuts = seams(bank)
    assert ((cuts > 0) & (cuts < bank.lengths)).all()
    spreads = [
        int(cuts[own].max() - cuts[own].min()) // HOP
        for voice in bank.voices.unique()
        for digit in range(motion.DIGITS)
        for own in [(bank.voices == voice) & (bank.digits == digit)]
    ]
    assert sorted(spreads)[len(spreads) // 2] <= 2  # frames, of a median


def test_spliced_utterances_say_what_training_never_says():
    test = motion.speech("test")
    bank = spliced(test)
    assert len(bank) == 2 * 4 * 3 * 9  # voices, pairs, utterances of the digit, of the place
    assert set(bank.phrases) == set(motion.speech("compositional").phrases)
    assert set(bank.voices.tolist()) == set(test.voices.tolist())
    assert not set(bank.phrases) & {*test.phrases, *motion.speech("train").phrases}


def test_who_copies_knows_what_it_has_heard():
    bank = motion.speech("train")
    for halves in (False, True):
        assert nearest_phrases(bank.waveforms[::9], halves=halves) == bank.phrases[::9]
    unseen = motion.speech("compositional")
    assert not set(nearest_phrases(unseen.waveforms)) & set(unseen.phrases)
