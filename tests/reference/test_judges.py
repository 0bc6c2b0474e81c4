"""The judges of Digits in Motion: right on real things they never saw, and not to be fooled."""

import sys

import pytest
import torch
import torch.nn.functional as F

from reference_impl import judges
from reference_impl.data import digits_in_motion as motion

NOTHING = judges.NOTHING


@pytest.fixture(scope="module")
def test():
    return motion.load("test")


@pytest.fixture(scope="module")
def spoken():
    return motion.speech("test")


@pytest.mark.parametrize(
    ("judge", "least", "least_compositional"),
    [
        (judges.motion_digit_judge, 0.985, 0.975),
        (judges.place_judge, 0.995, 0.995),
        (judges.direction_judge, 0.995, 0.995),
        (judges.spoken_digit_judge, 0.97, 0.85),  # 72 and 8 utterances
        (judges.spoken_place_judge, 0.97, 0.85),
    ],
)
def test_ceilings_on_real_held_out_things(judge, least, least_compositional):
    assert judge().ceiling() >= least
    assert judge().ceiling("compositional") >= least_compositional
    assert judge() is judge(), "trained once per process"
    with pytest.raises(ValueError, match="split must be one of"):
        judge().ceiling("valid")


@pytest.mark.parametrize(
    ("judge", "things", "labels", "chance"),
    [
        (judges.motion_digit_judge, "images", "digits", 0.1),
        (judges.place_judge, "images", "places", 0.25),
        (judges.direction_judge, "videos", "places", 0.25),
        (judges.spoken_digit_judge, "waveforms", "digits", 0.1),
        (judges.spoken_place_judge, "waveforms", "places", 0.25),
    ],
)
def test_wrong_labels_get_no_more_than_chance(test, judge, things, labels, chance):
    shown, asked = getattr(test, things), getattr(test, labels)
    other = asked[torch.randperm(len(asked), generator=torch.Generator().manual_seed(0))]
    assert judge().accuracy(shown, other) < chance + 0.1
    with pytest.raises(ValueError, match=r"expected a label for each thing, \(450,\), got \(449,\)"):
        judge().accuracy(shown, asked[1:])


def test_digit_is_read_in_every_frame(test):
    found = judges.motion_digit_judge().classify(test.videos)
    assert found.shape == (450, 8)
    assert (found == test.digits[:, None]).float().mean(0).min() >= 0.98
    assert judges.motion_digit_judge().classify(test.videos[:0]).shape == (0, 8)


def test_digit_and_place_through_the_haze_and_blur_of_a_generator(test):
    haze = (test.images + 0.05 * torch.randn(test.images.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    blurred = F.avg_pool2d(F.pad(test.images, (1, 1, 1, 1)), 3, stride=1) * 0.5 + test.images * 0.5
    for images in (haze, blurred):
        assert judges.motion_digit_judge().accuracy(images, test.digits) >= 0.95
        assert judges.place_judge().accuracy(images, test.places) >= 0.97


@pytest.mark.parametrize("value", [0.0, 0.05, -1.0, float("nan")])
def test_an_empty_picture_shows_nothing(value):
    images = torch.full((3, 1, 24, 24), value)
    assert (judges.motion_digit_judge().classify(images) == NOTHING).all()
    assert (judges.place_judge().classify(images) == NOTHING).all()
    assert (judges.direction_judge().classify(images.expand(8, -1, -1, -1, -1).transpose(0, 1)) == NOTHING).all()


def test_in_the_middle_is_no_place(test):
    assert (judges.place_judge().classify(test.videos[:, 0]) == NOTHING).all()
    noise = torch.rand(100, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    assert (judges.place_judge().classify(noise) == NOTHING).all()
    both = torch.maximum(test.images, test.images.flip(3))
    aside = test.places < 2  # a digit on the left and its mirror image on the right
    assert (judges.place_judge().classify(both[aside]) == NOTHING).all()


def test_a_digit_off_its_place_shows_in_pixels(test):
    error = judges.place_judge().error(test.images, test.places)
    short = motion.draw(test.handwriting, test.places, progress=0.7)
    assert judges.place_judge().accuracy(short, test.places) > 0.95, "the judge of the place forgives"
    assert judges.place_judge().error(short, test.places) > error + 1, (error, "30 % of the way are 1.6 pixels")


def test_no_judge_of_speech_has_heard_what_is_withheld(monkeypatch):
    heard, bank = [], motion.speech("train")
    real = judges.cepstrum
    monkeypatch.setattr(judges, "cepstrum", lambda waveforms: heard.append(waveforms) or real(waveforms))
    judges._spoken_examples.cache_clear()
    judges.SpokenJudge("digits")
    kept = {sound.numpy().tobytes() for sound in bank.waveforms[motion.withheld(bank)]}
    assert len(kept) == 94 and not any(sound.numpy().tobytes() in kept for sound in heard[0])
    assert len(heard[0]) == len(bank) - 94


def test_a_video_has_to_move(test):
    judge = judges.direction_judge()
    still = test.images[:, None].expand(-1, 8, -1, -1, -1)
    assert (judge.classify(still) == NOTHING).all()
    for when in range(1, 8):
        jump = torch.where((torch.arange(8) < when)[:, None, None, None], test.videos[:, :1], test.videos[:, -1:])
        assert (judge.classify(jump) == NOTHING).all(), f"it jumps to its place before frame {when}"
    for frame in range(1, 8):
        skipped = test.videos.clone()
        skipped[:, frame] = skipped[:, frame - 1]
        assert (judge.classify(skipped) == NOTHING).float().mean() > 0.98, f"no step to frame {frame}"
    vanishing = test.videos.clone()
    vanishing[:, 3] = 0
    assert (judge.classify(vanishing) == NOTHING).all()


def test_a_video_played_backwards_goes_the_other_way(test):
    opposite = torch.tensor([1, 0, 3, 2])[test.places]
    assert judges.direction_judge().accuracy(test.videos.flip(1), opposite) >= 0.99
    assert judges.direction_judge().accuracy(test.videos.transpose(3, 4), (test.places + 2) % 4) >= 0.99


def griffin_lim(waveforms, rounds=32):
    """The waveform again from its mel spectrum alone: what the best generator of mels can hand to a vocoder."""
    window = torch.hann_window(512)
    points = 700 * (10 ** (torch.linspace(0, 2146.1, 42) / 2595) - 1)  # 0 to 4000 Hz in even steps of mel
    frequency = torch.linspace(0, 4000, 257)[:, None]
    rise, fall = (frequency - points[:-2]) / points.diff()[:-1], (points[2:] - frequency) / points.diff()[1:]
    filters = torch.minimum(rise, fall).clamp(min=0)  # (257, 40)
    magnitude = torch.stft(waveforms, 512, 128, window=window, return_complex=True).abs()
    mel = magnitude.transpose(1, 2) @ filters
    guess = (mel @ torch.linalg.pinv(filters)).clamp(min=0).transpose(1, 2)
    phase = torch.exp(2j * torch.pi * torch.rand(guess.shape, generator=torch.Generator().manual_seed(0)))
    for _ in range(rounds):
        sound = torch.istft(guess * phase, 512, 128, window=window, length=waveforms.shape[1])
        phase = torch.exp(1j * torch.stft(sound, 512, 128, window=window, return_complex=True).angle())
    return torch.istft(guess * phase, 512, 128, window=window, length=waveforms.shape[1])


def test_speech_is_judged_through_a_vocoder_noise_gain_and_delay(spoken):
    noise = torch.randn(spoken.waveforms.shape, generator=torch.Generator().manual_seed(0))
    for name, waveforms in {
        "Griffin-Lim": griffin_lim(spoken.waveforms),
        "noise at 26 dB": spoken.waveforms + 0.005 * noise,
        "a tenth of the loudness": 0.1 * spoken.waveforms,
        "75 ms late": F.pad(spoken.waveforms, (600, 0)),
        "without padding": spoken.waveforms[:, : int(spoken.lengths.max())],
    }.items():
        assert judges.spoken_digit_judge().accuracy(waveforms, spoken.digits) >= 0.95, name
        assert judges.spoken_place_judge().accuracy(waveforms, spoken.places) >= 0.95, name


def test_silence_says_nothing(spoken):
    waveforms = torch.stack([torch.zeros(8192), torch.full((8192,), float("nan")), spoken.waveforms[0]])
    for judge, labels in ((judges.spoken_digit_judge(), spoken.digits), (judges.spoken_place_judge(), spoken.places)):
        assert judge.classify(waveforms).tolist() == [NOTHING, NOTHING, int(labels[0])]
        with pytest.raises(ValueError, match="expected at least 1000 samples at 8000 Hz, got 100"):
            judge.classify(torch.zeros(2, 100))
    with pytest.raises(ValueError, match="the judge hears 'digits' or 'places', got 'voices'"):
        judges.SpokenJudge("voices")


def test_words_in_the_other_order_are_not_what_was_asked(spoken):
    """The digit is judged by the first word: "left three" would not do."""
    swapped = torch.cat([spoken.waveforms[:, 3500:], spoken.waveforms[:, :3500]], dim=1)
    assert judges.spoken_digit_judge().accuracy(swapped, spoken.digits) < 0.6


def test_pocketsphinx_hears_the_unseen_voices(spoken):
    pytest.importorskip("pocketsphinx", reason="the extra `judges` is not installed")
    judge = judges.sphinx_judge()
    ceiling = judge.ceiling()
    assert ceiling["digit"] >= 0.7 and ceiling["place"] >= 0.9
    assert ceiling["both"] <= min(ceiling["digit"], ceiling["place"])
    few = spoken.waveforms[:18]
    wrong = judge.accuracy(few, (spoken.digits[:18] + 1) % 10, (spoken.places[:18] + 1) % 4)
    assert wrong["digit"] < 0.3 and wrong["place"] < 0.3 and wrong["both"] < 0.2
    assert judge.transcribe(torch.zeros(2, 8192)) == ["", ""]


def test_pocketsphinx_missing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ImportError, match=r"needs pocketsphinx: pip install 'aigc-interview\[judges\]'"):
        judges.SphinxJudge()
