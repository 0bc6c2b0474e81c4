"""Leak checks find what is planted: each shortcut is open where the data are made to open it."""

from dataclasses import replace

import torch

from reference_impl import shortcuts
from reference_impl.data import digits_in_motion as motion
from reference_impl.judges import known_utterances


def test_nothing_leads_there_in_the_data_as_they_are():
    assert shortcuts.seen_handwriting() == 0
    assert shortcuts.words_of_a_known_caption() == 0
    assert len(shortcuts.asked_to_say()) == 94 and shortcuts.heard_by_a_judge(shortcuts.asked_to_say()) == 0
    assert shortcuts.heard_by_a_judge(motion.speech("test").waveforms) == 0
    assert shortcuts.digit_by_length() < 0.3


def test_what_is_planted_is_found(monkeypatch):
    bank, load, speech = motion.speech("train"), motion.load, motion.speech
    assert shortcuts.heard_by_a_judge(bank.waveforms[known_utterances()]) == 1
    assert 0 < shortcuts.heard_by_a_judge(bank.waveforms) < 1
    telling = {split: replace(speech(split), lengths=1000 * speech(split).digits) for split in ("train", "test")}
    monkeypatch.setattr(motion, "speech", telling.__getitem__)
    assert shortcuts.digit_by_length() == 1
    train = load("train")
    monkeypatch.setattr(motion, "load", lambda split: train)
    assert shortcuts.seen_handwriting() == 1 and shortcuts.words_of_a_known_caption() == 1


def test_words_count_whatever_their_order(monkeypatch):
    known = motion.load("train").select(torch.tensor([0]))
    turned = known.select(torch.tensor([0]))
    monkeypatch.setattr(
        type(known), "captions", property(lambda split: ["right the on three a"] if split is turned else ["a three on the right"])
    )
    monkeypatch.setattr(type(known), "captions_zh", property(lambda split: []))
    monkeypatch.setattr(motion, "load", {"train": known, "test": turned}.__getitem__)
    assert shortcuts.words_of_a_known_caption() == 1
