"""One text, picture, video or sound: from a file to the tensor that the converters take, and back.

What does not fit is either converted, and said, or refused with what came and what was expected. Pictures are dark ink on white
paper in a file, and ink in [0, 1] in a tensor.
"""

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from course.errors import CourseError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    Array = NDArray[np.float32]

KINDS = {"text": (".txt",), "image": (".png",), "video": (".gif", ".mp4"), "speech": (".wav",)}
ENLARGED = 8  # a picture of 24×24 pixels is hard to see
FRAME_MS, LAST_MS = 120, 900  # how long a GIF shows a frame, and its last one
FAINT = 0.1  # less contrast is a blank page
QUIET = 0.001  # a lower peak is silence
SPEECH = 0.02  # of the peak; what is lower at either end is no speech
FASTER = 1.5  # a sound that is longer than one of the data set may be played so much faster

Say = Callable[[str], None]


def kind_of(path: Path) -> str:
    """What a file holds, by its name. Raises CourseError for an ending that stands for nothing."""
    for kind, endings in KINDS.items():
        if path.suffix.lower() in endings:
            return kind
    known = ", ".join(f"{'/'.join(endings)} ({kind})" for kind, endings in KINDS.items())
    raise CourseError(f"{path}: its name has to end in one of {known}")


# --- text ---


def plain_text(source: str, expected: str = "") -> str:
    """A text, given as it is or as the name of a file of UTF-8, without the line end behind it. Raises CourseError if there is none, and
    says then what was `expected`."""
    text = source
    if source.lower().endswith(".txt"):
        try:
            text = Path(source).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise CourseError(f"{source} cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise CourseError(f"{source} is not UTF-8 text: {error}") from None
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes of the command line that are no text
        raise CourseError("the text is not UTF-8: type it anew, or hand in a file of UTF-8") from None
    text = text.rstrip("\r\n")
    if not text.strip():
        raise CourseError(f"the text is empty{expected}")
    return text


def read_text(source: str, say: Say) -> str:
    """A caption, given as it is or as the name of a file of UTF-8. Raises CourseError if the data set has no such caption."""
    from reference_impl.data import digits_in_motion as motion

    text = " ".join(plain_text(source, f": expected a caption such as {motion.caption(3, 'left')!r}").split())
    try:
        motion.encode([text])  # names the word that is not known
        motion.meaning(text)
    except ValueError as error:
        raise CourseError(str(error)) from None
    return text


# --- pictures and videos ---


def _open_image(path: Path) -> "Image":
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            opened = Image.open(path)
            opened.load()
    except FileNotFoundError:
        raise CourseError(f"there is no file {path}") from None
    except UnidentifiedImageError:
        raise CourseError(f"{path} is no picture that can be read: expected a PNG or GIF") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise CourseError(f"{path} is larger than 89 million pixels: make it smaller first") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise CourseError(f"{path} is cut off or damaged: {error}") from None
    return opened


def _paper(frame: "Image", path: Path, say: Say) -> "Array":
    """The shades of a picture (H, W), 0 to 1; what is transparent lies on white paper."""
    from PIL import Image

    if frame.mode in ("RGBA", "LA", "PA") or "transparency" in frame.info:
        frame = frame.convert("RGBA")
        if np.asarray(frame)[..., 3].min() < 255:
            say(f"{path}: is partly transparent; laid on white paper")
        sheet = Image.new("RGBA", frame.size, "white")
        frame = Image.alpha_composite(sheet, frame)
    elif frame.mode in ("I", "F") or frame.mode.startswith("I;16"):
        values: Array = np.asarray(frame, dtype=np.float32)
        return values / np.float32(65535 if values.max() > 255 else 255)
    return np.asarray(frame.convert("L"), dtype=np.float32) / np.float32(255)


def _ink(shades: "Array", path: Path, say: Say) -> "Tensor":
    """Shades (T, H, W) as ink (T, 1, 24, 24): square, of the right size, and dark on light."""
    import torch
    from PIL import Image

    from reference_impl.data.digits_in_motion import SIZE

    if not np.isfinite(shades).all() or np.ptp(shades) < FAINT:
        raise CourseError(f"{path} is blank: expected a digit, dark on white paper or light on black")
    edge = np.concatenate([shades[:, [0, -1]].reshape(-1), shades[:, :, [0, -1]].reshape(-1)])
    ink = 1 - shades
    if np.median(edge) < 0.5:
        say(f"{path}: is light on dark; inverted")
        ink = shades
    _, H, W = ink.shape
    if H != W:
        side = max(H, W)
        say(f"{path}: {W}×{H} pixels are not square; paper added to {side}×{side}")
        top, left = (side - H) // 2, (side - W) // 2
        ink = np.pad(ink, ((0, 0), (top, side - H - top), (left, side - W - left)))
    if ink.shape[1] != SIZE:
        say(f"{path}: {ink.shape[2]}×{ink.shape[1]} pixels resized to {SIZE}×{SIZE}")
        way = Image.Resampling.BOX if ink.shape[1] > SIZE else Image.Resampling.BICUBIC
        ink = np.stack([np.asarray(Image.fromarray(frame).resize((SIZE, SIZE), way)) for frame in ink])
    return torch.from_numpy(ink.astype(np.float32)).clamp(0, 1)[:, None]


def read_image(path: Path, say: Say) -> "Tensor":
    """A picture as ink (1, 24, 24). Raises CourseError if it cannot be read or is blank."""
    opened = _open_image(path)
    if getattr(opened, "n_frames", 1) > 1:
        say(f"{path}: has {opened.n_frames} frames; took the first")  # type: ignore[attr-defined]
        opened.seek(0)
    return _ink(_paper(opened, path, say)[None], path, say)[0]


def _mp4_frames(path: Path) -> list["Array"]:
    try:
        import av
    except ImportError:
        raise CourseError(f"{path}: MP4 needs the extra: pip install -e '.[video]'; a GIF does not") from None
    if not path.is_file():
        raise CourseError(f"there is no file {path}")
    try:
        with av.open(str(path)) as container:
            return [frame.to_ndarray(format="gray").astype(np.float32) / np.float32(255) for frame in container.decode(video=0)]
    except (av.FFmpegError, IndexError) as error:
        raise CourseError(f"{path} is cut off, damaged or no video: {error}") from None


def read_video(path: Path, say: Say) -> "Tensor":
    """A GIF or MP4 as ink (8, 1, 24, 24). Raises CourseError if it cannot be read, is blank or has a single frame."""
    from reference_impl.data.digits_in_motion import FRAMES

    if path.suffix.lower() == ".mp4":
        frames = _mp4_frames(path)
    else:
        opened: Any = _open_image(path)
        frames = []
        try:
            for index in range(getattr(opened, "n_frames", 1)):
                opened.seek(index)
                frames.append(_paper(opened.copy(), path, say if not index else lambda _: None))
        except (OSError, EOFError, SyntaxError) as error:
            raise CourseError(f"{path} is cut off or damaged: {error}") from None
    if len(frames) < 2:
        raise CourseError(f"{path} has {len(frames)} frame: expected a video of {FRAMES} frames, or at least two")
    if len(frames) != FRAMES:
        say(f"{path}: {len(frames)} frames; took {FRAMES} of them, evenly spaced, the first and the last included")
        frames = [frames[round(i)] for i in np.linspace(0, len(frames) - 1, FRAMES)]
    return _ink(np.stack(frames), path, say)


def shades(ink: "Tensor", scale: int = ENLARGED) -> "NDArray[np.uint8]":
    """Ink (N, 1, h, w) as shades, dark on white (N, H, W), each pixel `scale` times as wide and high."""
    exact = (255 * (1 - ink.detach().float().cpu().clamp(0, 1))).round().byte().squeeze(1).numpy()
    return exact.repeat(scale, 1).repeat(scale, 2)


def png(picture: "Image") -> bytes:
    """A picture as a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def gif(frames: "Sequence[Image]") -> bytes:
    """Frames as an animated GIF that pauses on the last one and starts again."""
    file = io.BytesIO()
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()


def image_bytes(image: "Tensor", scale: int = ENLARGED) -> bytes:
    """Ink (1, 24, 24) as a PNG, `scale` times enlarged."""
    from PIL import Image

    return png(Image.fromarray(shades(image[None], scale)[0]))


def gif_bytes(video: "Tensor", scale: int = ENLARGED) -> bytes:
    """Ink (8, 1, 24, 24) as a GIF, `scale` times enlarged, that pauses on the last frame and starts again."""
    from PIL import Image

    frames = [Image.fromarray(frame) for frame in shades(video, scale)]
    for index, frame in enumerate(frames):  # Pillow would join equal frames into one: a corner differs by one shade
        frame.putpixel((0, 0), int(frame.getpixel((0, 0))) ^ (index & 1))  # type: ignore[arg-type]
    return gif(frames)


def mp4_bytes(video: "Tensor") -> bytes:
    """Ink (8, 1, 24, 24) as an MP4 (H.264). Raises CourseError if the extra is not installed."""
    try:
        import av
    except ImportError:
        raise CourseError("MP4 needs the extra: pip install -e '.[video]'; a GIF does not") from None
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        pictures = shades(video)
        stream: Any = container.add_stream("libx264", rate=round(1000 / FRAME_MS))
        stream.height, stream.width, stream.pix_fmt, stream.options = *pictures.shape[1:], "yuv420p", {"crf": "12"}
        for frame in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray").reformat(format="yuv420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


# --- sound ---


def _cut_off(path: Path) -> str:
    """What a WAV file announces and lacks, in words; empty if it is whole."""
    head = path.read_bytes()[:8]
    announced, size = int.from_bytes(head[4:8], "little") + 8, path.stat().st_size
    streamed = announced >= 2**32 - 1024  # written to a pipe: the length was not known
    return f"announces {announced} bytes and has {size}" if head[:4] == b"RIFF" and size < announced and not streamed else ""


def read_sound(path: Path, say: Say) -> "Tensor":
    """A sound as a waveform (8192,) in [-1, 1] at 8 kHz. Raises CourseError if it cannot be read, is silent or too long."""
    import soundfile
    import torch
    from scipy.signal import resample_poly

    from reference_impl.data.digits_in_motion import RATE

    if not path.is_file():
        raise CourseError(f"there is no file {path}")
    try:
        missing = _cut_off(path)
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise CourseError(f"{path} is no sound that can be read, or damaged: {error}") from None
    if missing:
        raise CourseError(f"{path} is cut off: it {missing}")
    if sound.shape[1] > 1:
        say(f"{path}: {sound.shape[1]} channels; took their mean")
    wave = sound.mean(1)
    if not np.isfinite(wave).all():
        raise CourseError(f"{path} has samples that are not numbers")
    if rate != RATE:
        say(f"{path}: {rate / 1000:g} kHz resampled to {RATE / 1000:g} kHz")
        divisor = np.gcd(rate, RATE)
        wave = resample_poly(wave, RATE // divisor, rate // divisor).astype(np.float32)
    peak = float(np.abs(wave).max(initial=0))
    if peak < QUIET:
        raise CourseError(f"{path} is silent: expected two spoken words such as 'three left'")
    if peak > 1:
        say(f"{path}: peak {peak:.2g} scaled to 1")
        wave = wave / peak
    return fit(torch.from_numpy(wave.astype(np.float32)), say, f"{path}: ")


def fit(waveform: "Tensor", say: Say, prefix: str = "") -> "Tensor":
    """A waveform (S,) as one of 8192 samples, silent before and after what is spoken: a recogniser takes hiss for letters.

    What is too long is cut at its silent ends; if that is not enough, it is played faster, and said. Raises CourseError if it would
    have to be more than half as fast again.
    """
    import torch
    from scipy.signal import resample

    from reference_impl.data.digits_in_motion import RATE, SAMPLES

    waveform = waveform.detach().float().cpu()
    loud = (waveform.abs() > SPEECH * waveform.abs().max()).nonzero()[:, 0]
    begin, end = (int(loud[0]), int(loud[-1]) + 1) if len(loud) else (0, 0)
    waveform = torch.nn.functional.pad(waveform[begin:end], (begin, len(waveform) - end))
    if len(waveform) > SAMPLES:
        waveform = waveform[begin:end]
        if len(waveform) <= SAMPLES:
            say(f"{prefix}silence cut away at the ends")
    seconds, most = len(waveform) / RATE, SAMPLES / RATE
    if seconds > FASTER * most:
        raise CourseError(f"{prefix}{seconds:.2f} s of sound: expected two spoken words, at most {FASTER * most:.2f} s")
    if seconds > most:
        say(f"{prefix}{seconds:.2f} s of sound; played faster, in {most:.2f} s")
        waveform = torch.from_numpy(resample(waveform.numpy(), SAMPLES).astype(np.float32))
    return torch.nn.functional.pad(waveform, (0, SAMPLES - len(waveform)))


def wav(waveform: "Tensor", rate: int) -> bytes:
    """A waveform (S,) as a 16-bit WAV file."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, waveform.numpy(), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def sound_bytes(waveform: "Tensor") -> bytes:
    """A waveform (S,) at 8 kHz as a 16-bit WAV."""
    from reference_impl.data.digits_in_motion import RATE

    return wav(waveform.detach().float().cpu().clamp(-1, 1), RATE)


# --- of any kind ---


def read(kind: str, source: str, say: Say) -> Any:
    """A thing of a kind from a file, or a text as it is. `say` is told of each conversion."""
    if kind == "text":
        return read_text(source, say)
    return {"image": read_image, "video": read_video, "speech": read_sound}[kind](Path(source), say)


def to_bytes(kind: str, thing: Any, ending: str, scale: int = ENLARGED) -> bytes:
    """The file of a thing of a kind, by the ending of its name; PNG and GIF `scale` times enlarged."""
    if kind == "text":
        return f"{thing}\n".encode()
    if kind == "image":
        return image_bytes(thing, scale)
    if kind == "speech":
        return sound_bytes(thing)
    return mp4_bytes(thing) if ending == ".mp4" else gif_bytes(thing, scale)
