"""Files of every kind: what is written is read back, and what does not fit is converted and said, or refused."""

import io

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from course.errors import CourseError
from course.media import files as media
from reference_impl.data import digits_in_motion as motion


@pytest.fixture
def said():
    return []


@pytest.fixture
def item():
    return motion.load("test")[7]


def png(path, array, mode=None):
    Image.fromarray(np.asarray(array), mode).save(path)
    return path


def paper(item):
    """The item's picture as shades, dark on white, uint8 (24, 24)."""
    return (255 * (1 - item.image[0])).round().byte().numpy()


# --- what is written is read back ---


def test_a_picture_comes_back(tmp_path, item, said):
    path = tmp_path / "three.png"
    path.write_bytes(media.image_bytes(item.image))
    assert torch.allclose(media.read_image(path, said.append), item.image, atol=1 / 255)
    assert said == [f"{path}: 192×192 pixels resized to 24×24"]


@pytest.mark.parametrize("ending", [".gif", ".mp4"])
def test_a_video_comes_back(tmp_path, item, said, ending):
    if ending == ".mp4":
        pytest.importorskip("av")
    path = tmp_path / f"three{ending}"
    path.write_bytes(media.to_bytes("video", item.video, ending))
    back = media.read_video(path, said.append)
    assert back.shape == item.video.shape
    error = (back - item.video).abs()
    assert error.mean() < 0.01 and error.max() < (0.02 if ending == ".gif" else 0.25), "H.264 is lossy, a GIF of greys is not"
    assert said == [f"{path}: 192×192 pixels resized to 24×24"]


def test_a_video_that_stands_still_keeps_its_frames(tmp_path, item, said):
    path = tmp_path / "still.gif"
    path.write_bytes(media.gif_bytes(item.image.expand(8, 1, 24, 24)))
    assert torch.allclose(media.read_video(path, said.append), item.image.expand(8, 1, 24, 24), atol=0.02)
    assert len(said) == 1, said


def test_a_sound_comes_back(tmp_path, item, said):
    path = tmp_path / "three.wav"
    path.write_bytes(media.sound_bytes(item.waveform))
    back = media.read_sound(path, said.append)
    assert back.shape == (motion.SAMPLES,)
    peak = item.waveform.abs().max()
    loud = (item.waveform.abs() > media.SPEECH * peak).nonzero()[:, 0]
    begin, end = int(loud[0]), int(loud[-1]) + 1
    assert torch.allclose(back[begin:end], item.waveform[begin:end], atol=1e-4)
    assert not back[:begin].any() and not back[end:].any(), "silent before and after what is spoken"
    assert said == []


def test_hiss_after_the_words_is_silenced(item):
    hiss = torch.nn.functional.pad(item.waveform, (100, 1500)) + 0.003 * torch.rand(len(item.waveform) + 1600)
    fitted = media.fit(hiss, print)
    assert fitted.shape == (motion.SAMPLES,) and not fitted[:50].any() and not fitted[len(item.waveform) + 200 :].any()


@pytest.mark.parametrize("text", ["three left", "  A three\n on the left. ", "左边有个三"])
def test_a_caption_is_taken_as_it_is_or_from_a_file(tmp_path, said, text):
    assert motion.meaning(media.read_text(text, said.append)) == (3, "left")
    path = tmp_path / "three.txt"
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert motion.meaning(media.read_text(str(path), said.append)) == (3, "left")


# --- what is converted, and said ---


def read_png(path, said):
    ink = media.read_image(path, said.append)
    assert ink.shape == (1, 24, 24) and ink.dtype == torch.float32 and ink.min() >= 0 and ink.max() <= 1
    return ink


def test_light_on_dark_is_inverted(tmp_path, item, said):
    ink = read_png(png(tmp_path / "x.png", 255 - paper(item)), said)
    assert torch.allclose(ink, item.image, atol=1 / 255)
    assert said == [f"{tmp_path}/x.png: is light on dark; inverted"]


def test_what_is_transparent_lies_on_white_paper(tmp_path, item, said):
    alpha = 255 - paper(item)
    black = np.zeros_like(alpha)
    ink = read_png(png(tmp_path / "x.png", np.stack([black, black, black, alpha], -1)), said)
    assert torch.allclose(ink, item.image, atol=2 / 255)
    assert said == [f"{tmp_path}/x.png: is partly transparent; laid on white paper"]


@pytest.mark.parametrize("mode", ["RGB", "P", "1", "I;16"])
def test_every_mode_is_read(tmp_path, item, said, mode):
    shades = Image.fromarray(paper(item))
    path = tmp_path / "x.png"
    (Image.fromarray(paper(item).astype(np.uint16) * 257) if mode == "I;16" else shades.convert(mode)).save(path)
    ink = read_png(path, said)
    assert (ink - item.image).abs().mean() < (0.2 if mode == "1" else 0.01)


def test_a_picture_that_is_not_square_gets_paper_at_its_sides(tmp_path, item, said):
    wide = np.pad(paper(item).repeat(2, 0).repeat(2, 1), ((0, 0), (12, 0)), constant_values=255)
    ink = read_png(png(tmp_path / "x.png", wide), said)
    assert "paper added to 60×60" in said[0] and "60×60 pixels resized" in said[1]
    assert 0.3 * item.image.sum() < ink.sum() < item.image.sum()


@pytest.mark.parametrize("frames", [2, 5, 16])
def test_another_number_of_frames_is_spread_out(tmp_path, item, said, frames):
    path = tmp_path / "x.gif"
    moving = motion.animate(torch.rand(1, 1, 8, 8), torch.tensor([0]))[0]
    chosen = moving[np.linspace(0, 7, frames).round()]
    path.write_bytes(media.gif_bytes(chosen))
    back = media.read_video(path, said.append)
    assert back.shape == (8, 1, 24, 24)
    assert torch.allclose(back[[0, -1]], moving[[0, -1]], atol=0.02)
    assert f"{frames} frames; took 8" in said[0]


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_another_rate_is_resampled(tmp_path, said, rate):
    seconds = np.arange(rate) / rate
    path = tmp_path / "x.wav"
    soundfile.write(path, np.stack([0.5 * np.sin(2 * np.pi * 440 * seconds)] * 2, -1), rate)
    back = media.read_sound(path, said.append)
    assert said == [f"{path}: 2 channels; took their mean", f"{path}: {rate / 1000:g} kHz resampled to 8 kHz"]
    spectrum = torch.fft.rfft(back[:8000]).abs()
    assert spectrum.argmax() == 440, "a second of a tone keeps its pitch"
    assert abs(back[1000:7000].abs().max() - 0.5) < 0.01


def test_silence_at_the_ends_is_cut_away(tmp_path, item, said):
    path = tmp_path / "x.wav"
    padded = np.concatenate([np.zeros(9000), item.waveform.numpy(), np.zeros(20000)])
    soundfile.write(path, padded, 8000)
    back = media.read_sound(path, said.append)
    assert said == [f"{path}: silence cut away at the ends"]
    assert back.abs().max().item() == pytest.approx(item.waveform.abs().max().item(), abs=1e-3)


def test_what_is_a_little_too_long_is_played_faster(tmp_path, said):
    path = tmp_path / "x.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 400 * np.arange(10000) / 8000), 8000)
    back = media.read_sound(path, said.append)
    assert len(back) == motion.SAMPLES and said == [f"{path}: 1.25 s of sound; played faster, in 1.02 s"]
    assert torch.fft.rfft(back).abs().argmax() == pytest.approx(400 * 10000 / 8000, abs=2), "as many waves in less time"


def test_a_float_file_that_is_too_loud_is_scaled(tmp_path, item, said):
    path = tmp_path / "x.wav"
    soundfile.write(path, 10 * item.waveform.numpy() / item.waveform.abs().max().item(), 8000, subtype="FLOAT")
    assert media.read_sound(path, said.append).abs().max().item() == pytest.approx(1)
    assert said == [f"{path}: peak 10 scaled to 1"]


# --- what is refused ---


def wav(samples, rate=8000):
    file = io.BytesIO()
    soundfile.write(file, np.asarray(samples, dtype=np.float32), rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


WHOLE = wav(np.sin(np.arange(8000)))
IMAGE = media.image_bytes(torch.rand(1, 24, 24))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.wav", wav(np.zeros(4000)), "is silent: expected two spoken words"),
        ("x.wav", wav([]), "is silent"),
        ("x.wav", WHOLE[: len(WHOLE) // 2], "is cut off: it announces 32"),
        ("x.wav", b"RIFF", "is no sound that can be read, or damaged"),
        ("x.wav", b"", "is no sound that can be read, or damaged"),
        ("x.wav", wav(np.random.default_rng(0).normal(size=30000)), "3.75 s of sound: expected two spoken words, at most 1.54 s"),
        ("x.wav", wav([np.nan] * 100), "samples that are not numbers"),
        ("x.wav", None, "there is no file"),
        ("x.png", IMAGE[: len(IMAGE) // 2], "is cut off or damaged"),
        ("x.png", b"not a picture", "is no picture that can be read"),
        ("x.png", media.image_bytes(torch.zeros(1, 24, 24)), "is blank: expected a digit"),
        ("x.png", None, "there is no file"),
        ("x.gif", IMAGE, "has 1 frame: expected a video of 8 frames"),
        ("x.gif", b"GIF89a", "is no picture that can be read"),
        ("x.gif", None, "there is no file"),
        ("x.txt", b" \n", "the text is empty: expected a caption such as 'a three on the left'"),
        ("x.txt", b"\xff\xfe\x00", "is not UTF-8 text"),
        ("x.txt", b"a cat on the left", "'cat' is not in the vocabulary; known are: "),
        ("x.txt", b"left left left", "is no caption of this data set; one would be 'a three on the left'"),
        ("x.txt", None, "cannot be read: No such file"),
    ],
    # A sound file of floats holds the second in which it was made: workers that collect in different ones must agree on the names.
    ids=lambda value: "bytes" if isinstance(value, bytes) else None,
)  # fmt: skip
def test_what_cannot_be_used_is_refused(tmp_path, said, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CourseError) as caught:
        media.read(media.kind_of(path), str(path), said.append)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_gif_that_is_cut_off_is_refused(tmp_path, said, item):
    whole = media.gif_bytes(item.video)
    path = tmp_path / "x.gif"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(CourseError, match="cut off or damaged"):
        media.read_video(path, said.append)


def test_a_huge_picture_is_refused_before_it_is_read(tmp_path, said):
    path = tmp_path / "x.png"
    Image.new("1", (12000, 9000)).save(path)
    with pytest.raises(CourseError, match="larger than 89 million pixels"):
        media.read_image(path, said.append)


def test_a_name_says_what_a_file_holds(tmp_path):
    assert [media.kind_of(tmp_path / name) for name in ("a.txt", "a.PNG", "a.gif", "a.mp4", "a.wav")] == [
        "text", "image", "video", "video", "speech",
    ]  # fmt: skip
    with pytest.raises(CourseError, match=r"a\.mp3: its name has to end in one of \.txt \(text\), \.png \(image\)"):
        media.kind_of(tmp_path / "a.mp3")
