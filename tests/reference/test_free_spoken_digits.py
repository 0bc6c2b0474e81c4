"""The loader of human digits, on a folder of its own making."""

import numpy as np
import pytest
import soundfile
import torch

from reference_impl.data import free_spoken_digits as human


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two speakers, three digits, recordings 3 to 6; a recording's samples say which it is."""
    monkeypatch.delenv("AIGC_FSDD", raising=False)
    for digit in (0, 4, 9):
        for who, speaker in enumerate(("ann", "bob")):
            for index in range(3, 7):
                level = (digit * 100 + who * 10 + index) / 1024
                soundfile.write(tmp_path / f"{digit}_{speaker}_{index}.wav", np.full(1000 + 100 * index, level), 8000)
    return tmp_path


def test_split_goes_by_index_and_labels_by_name(folder):
    test, train = human.load("test", folder), human.load("train", folder)
    assert (len(test), len(train)) == (12, 12)
    for split, indices in ((test, {3, 4}), (train, {5, 6})):
        seen = set()
        for waveform, length, digit, speaker in zip(split.waveforms, split.lengths, split.digits, split.speakers, strict=True):
            said = round(float(waveform[0]) * 1024)
            assert (said // 100, ("ann", "bob")[said // 10 % 10]) == (int(digit), speaker)
            assert length == 1000 + 100 * (said % 10) and not waveform[length:].any()
            assert (waveform[:length] == waveform[0]).all()
            seen.add(said % 10)
        assert seen == indices
    assert test.waveforms.dtype == torch.float32 and test.waveforms.shape[1] == 8192


def test_folder_from_the_environment_and_inside_the_repository(folder, tmp_path_factory, monkeypatch):
    monkeypatch.setenv("AIGC_FSDD", str(folder))
    assert len(human.load()) == 12
    assert human.preview().rate == 8000 and human.preview().sounds
    outer = tmp_path_factory.mktemp("repository")
    folder.rename(outer / "recordings")
    assert len(human.load("train", outer)) == 12


def test_a_long_recording_is_not_cut(folder):
    soundfile.write(folder / "1_ann_0.wav", np.full(9000, 0.5), 8000)
    loaded = human.load("test", folder)
    assert loaded.waveforms.shape == (13, 9000) and int(loaded.lengths.max()) == 9000


def test_no_folder_named(monkeypatch):
    monkeypatch.delenv("AIGC_FSDD", raising=False)
    with pytest.raises(ValueError, match=r"is not part of the course: get it from https://github\.com/Jakobovski"):
        human.load()
    monkeypatch.setenv("AIGC_FSDD", "")
    with pytest.raises(ValueError, match="is not part of the course"):
        human.load()


def test_bad_folders(folder, tmp_path_factory):
    with pytest.raises(ValueError, match="nowhere is no folder"):
        human.load("test", folder / "nowhere")
    with pytest.raises(ValueError, match="expected recordings named like 3_theo_0"):
        human.load("test", tmp_path_factory.mktemp("empty"))
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'all'"):
        human.load("all", folder)
    for path in folder.glob("*_[34].wav"):
        path.unlink()
    with pytest.raises(ValueError, match=r"no recording of the test split \(index 0 to 4\)"):
        human.load("test", folder)


@pytest.mark.parametrize("name", ["song.wav", "12_ann_0.wav", "3_ann.wav"])
def test_foreign_files(folder, name):
    soundfile.write(folder / name, np.zeros(100), 8000)
    with pytest.raises(ValueError, match=f"{name} is no recording of the Free Spoken Digit Dataset"):
        human.load("test", folder)


@pytest.mark.parametrize(
    ("shape", "rate", "message"),
    [
        ((500,), 44100, "got 500 samples at 44100 Hz in 1"),
        ((500, 2), 8000, "got 500 samples at 8000 Hz in 2"),
        ((0,), 8000, "got 0 samples"),
    ],
)
def test_sound_of_another_kind(folder, shape, rate, message):
    soundfile.write(folder / "5_ann_0.wav", np.zeros(shape), rate)
    with pytest.raises(ValueError, match=f"5_ann_0.*: expected sound at 8000 Hz in one channel, {message}"):
        human.load("test", folder)


def test_a_damaged_file(folder):
    (folder / "5_ann_0.wav").write_bytes(b"RIFF, but not for long")
    with pytest.raises(ValueError, match="wav cannot be read as sound"):
        human.load("test", folder)
