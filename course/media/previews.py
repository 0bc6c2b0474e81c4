"""The data sets of the course: found by their cards, shown as a preview that one can look at and listen to."""

import difflib
import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.errors import CourseError, at
from course.media import files as media
from course.paths import root as course_root
from course.paths import write_atomic
from course.units.catalogue import split_front_matter

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

KEYS = ("title", "what", "size", "licence", "source")
SHARED = ("licence", "source")  # the same in both languages
COLUMNS = 10  # pictures in a row of a sheet
TILE = 72  # pixels of a sheet for one picture


class Absent(CourseError):
    """The data set is not on this machine."""


@dataclass(frozen=True)
class Card:
    """The front matter of a data set's card, in both languages. The data set `name` is the module `reference_impl.data.<name>`."""

    name: str
    english: dict[str, str]
    chinese: dict[str, str]
    path: Path
    root: Path

    def describe(self) -> dict[str, str]:
        """The data set as `aigc data --json` prints it; paths relative to the root."""
        words = {key: self.english[key] for key in KEYS}
        chinese = {f"{key}_zh": self.chinese[key] for key in KEYS if key not in SHARED}
        card = self.path.relative_to(self.root)
        return {"name": self.name, **words, **chinese, "card": card.as_posix(), "card_zh": card.with_suffix(".zh.md").as_posix()}


def read_card(path: Path, root: Path) -> dict[str, str]:
    """The front matter of one card. Raises CourseError if the file is missing or a key is missing, unknown or no text."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise at(path, "this card is missing; write it (every data set has a card in English and in Chinese)", root) from None
    except UnicodeDecodeError as error:
        raise at(path, f"is not UTF-8 text: {error}", root) from None
    meta, _ = split_front_matter(text, path, root)
    for key in meta:
        if key not in KEYS:
            raise at(path, f"unknown key {key!r} in the front matter; keys are: {', '.join(KEYS)}", root)
    for key in KEYS:
        if not isinstance(meta.get(key), str):
            raise at(path, f"front matter needs {key}: a text, got {meta.get(key)!r}", root)
    return meta


def find_cards(root: Path | None = None) -> list[Card]:
    """All data sets, ordered by name. Raises CourseError on the first card that is malformed."""
    root = root or course_root()
    cards = []
    for path in sorted((root / "reference_impl" / "data" / "cards").glob("*.md")):
        if path.name.endswith(".zh.md"):
            if not path.with_name(path.name.removesuffix(".zh.md") + ".md").is_file():
                raise at(path, "there is no English card beside it", root)
            continue
        translation = path.with_suffix(".zh.md")
        english, chinese = read_card(path, root), read_card(translation, root)
        for key in SHARED:
            if chinese[key] != english[key]:
                raise at(translation, f"{key} differs from the English card: {chinese[key]!r}, not {english[key]!r}", root)
        cards.append(Card(path.stem, english, chinese, path, root))
    return cards


def find_card(name: str, root: Path | None = None) -> Card:
    """The data set called `name`. Raises CourseError naming the nearest ones."""
    cards = {card.name: card for card in find_cards(root)}
    if name in cards:
        return cards[name]
    near = difflib.get_close_matches(name, cards, 3, 0.4)
    raise CourseError(
        f"there is no data set {name!r}; " + (f"did you mean {' or '.join(near)}?" if near else "`aigc data` shows them")
    )


def write_preview(card: Card, folder: Path) -> list[Path]:
    """Write what the data set's `preview()` shows into `folder`, as PNG, GIF, WAV and TXT; the files, each whole or not there.

    Raises Absent if the data set is not on this machine, and CourseError if the folder cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise CourseError(f"{folder} is a file: --preview needs a folder")
    module: Any = importlib.import_module(f"reference_impl.data.{card.name}")
    try:
        preview = module.preview()
    except ValueError as error:
        raise Absent(str(error)) from None
    contents: dict[str, bytes] = {}
    if preview.pictures is not None:
        contents["png"] = picture_file(preview.pictures)
    if preview.videos is not None:
        contents["gif"] = video_file(preview.videos)
    if preview.sounds:
        contents["wav"] = sound_file(preview.sounds, preview.rate)
    if preview.text:
        contents["txt"] = preview.text.encode() + b"\n"
    written = []
    for kind, content in contents.items():
        path = folder / f"{card.name}.{kind}"
        try:
            write_atomic(path, content)
        except OSError as error:
            raise CourseError(f"{path} cannot be written: {error.strerror}") from None
        written.append(path)
    return written


def sheet(pictures: "Tensor") -> "Image":
    """Pictures (N, 1, H, W), ink in [0, 1], as one grey image, ten to a row: dark ink on white paper."""
    import numpy as np
    from PIL import Image

    N, _, H, W = pictures.shape
    columns = min(COLUMNS, N)
    scale = max(1, TILE // max(H, W))
    paper = np.full((math.ceil(N / columns) * (H * scale + 2) + 2, columns * (W * scale + 2) + 2), 200, dtype=np.uint8)
    for index, shade in enumerate(media.shades(pictures, scale)):
        top, left = index // columns * (H * scale + 2) + 2, index % columns * (W * scale + 2) + 2
        paper[top : top + H * scale, left : left + W * scale] = shade
    return Image.fromarray(paper)


def picture_file(pictures: "Tensor") -> bytes:
    """A sheet of pictures as a PNG file."""
    return media.png(sheet(pictures))


def video_file(videos: "Tensor") -> bytes:
    """A sheet of videos (N, T, 1, H, W) as an animated GIF that pauses on the last frame and starts again."""
    return media.gif([sheet(frame) for frame in videos.unbind(1)])


def sound_file(sounds: "list[Tensor]", rate: int) -> bytes:
    """Waveforms one after another, with a third of a second between them, as a 16-bit WAV file."""
    import torch

    silence = torch.zeros(rate // 3)
    pieces = [piece for sound in sounds for piece in (sound, silence)]
    return media.wav(torch.cat(pieces), rate)
