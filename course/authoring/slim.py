"""Outputs of an executed notebook made small: pictures with a palette, players with MP3. What people see and hear stays."""

import base64
import io
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.PngImagePlugin import PngInfo

# Width in pixels and colours of the palette, tried in turn until a picture fits: a notebook's column is about 1,000 pixels wide.
SHAPES = [(width, colours) for width in (1100, 960, 820, 700, 560) for colours in (128, 64, 32)]
PICTURE_BYTES = 80_000
SOUND = re.compile(r"data:audio/(?:x-)?wav;base64,([A-Za-z0-9+/=\s]+)")


def fitted(source: bytes, shapes: Iterable[tuple[int, int]], limit: int, info: "PngInfo | None" = None) -> bytes | None:
    """A picture on white as a PNG of the first of `shapes` (width, colours) that takes at most `limit` bytes; None if none does.

    Never enlarged. info: what the file is to say besides.
    """
    from PIL import Image

    with Image.open(io.BytesIO(source)) as opened:
        whole = opened.convert("RGBA")
    paper = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    for width, colours in dict.fromkeys((min(width, paper.width), colours) for width, colours in shapes):
        height = max(1, round(paper.height * width / paper.width))
        scaled = paper if width == paper.width else paper.resize((width, height), Image.Resampling.LANCZOS)
        made = io.BytesIO()
        scaled.quantize(colours, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
            made, "PNG", optimize=True, pnginfo=info
        )
        if made.tell() <= limit:
            return made.getvalue()
    return None


def picture(data: bytes) -> bytes:
    """A PNG file with a palette, as wide and as rich in colours as fits into `PICTURE_BYTES`; as it was if it is no larger."""
    return data if len(data) <= PICTURE_BYTES else fitted(data, SHAPES, PICTURE_BYTES) or data


def sound(data: bytes) -> bytes:
    """A WAV file as MP3, which every browser plays: an eighth of the size, and speech sounds the same."""
    import soundfile

    samples, rate = soundfile.read(io.BytesIO(data))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.2)
    return file.getvalue()


def _html(text: str) -> str:
    def smaller(match: re.Match[str]) -> str:
        return f"data:audio/mpeg;base64,{base64.b64encode(sound(base64.b64decode(match[1]))).decode()}"

    return SOUND.sub(smaller, text).replace('type="audio/wav"', 'type="audio/mpeg"')


def slim(output: Any) -> Any:
    """One output of a cell, made small in place."""
    data = output.get("data", {})
    if "image/png" in data:
        data["image/png"] = base64.b64encode(picture(base64.b64decode(data["image/png"]))).decode() + "\n"
    if "text/html" in data:
        data["text/html"] = _html(data["text/html"])
    return output
