"""Digits in Motion: one small thing said in four ways, so that any of them can be turned into any other.

An item is a digit, a place (left, right, top, bottom), a handwriting and a voice, and it has
- a **caption**, from a template, in English and in Chinese: "a three on the left", "左边有个三";
- an **image**, 24×24: a real handwritten digit at that place;
- a **video**, 8 frames of 24×24: the same handwriting slides from the centre to its place, so the last frame is the image;
- a **waveform**, 8 kHz: "three left", spoken in English by eSpeak NG. The speech is synthetic; Chinese is text only.

Four things are held out, and three splits tell them apart:

| split | handwriting | voices | caption template | (digit, place) pairs | items |
|---|---|---|---|---|---|
| `train` | 1,347 | 13 | 4 | 36 | 4,851: each handwriting at every place its digit is seen at |
| `test` | 450 others | 2 others | 1 other | the same 36 | 450: each handwriting once |
| `compositional` | the same 450 | the same 2 | the same 1 | the 4 held out | 179: each handwriting of these four digits |

`test` and `compositional` differ only in the pairs, so the difference of a figure between them is the price of composition.
Nothing is drawn at random: items are dealt out in turn, so the splits are the same on every machine.

The handwriting comes from `digits` (scikit-learn); `render_speech` made the sound files in `speech/`.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reference_impl.data import Preview
from reference_impl.data import digits as handwritten

DIGITS = 10
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS_ZH = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九")
PLACES = ("left", "right", "top", "bottom")
PLACES_ZH = ("左边", "右边", "上面", "下面")
SIZE = 24  # height and width of a picture, in pixels
FRAMES = 8  # in a video
RATE = 8000  # samples of sound per second
SAMPLES = 8192  # in a padded waveform: 1.024 s, or 64 hops of 128
SPLITS = ("train", "test", "compositional")
HELD_OUT = ((1, "top"), (4, "right"), (7, "bottom"), (8, "left"))  # pairs that only the compositional split has

SCALE = 1.5  # pixels of a picture per cell of the 8×8 handwriting
REACH = 5.25  # pixels from the centre to a place: a digit is 12 wide and blurred by 0.75 on either side, so it just fits in
DIRECTIONS = {"left": (0.0, -1.0), "right": (0.0, 1.0), "top": (-1.0, 0.0), "bottom": (1.0, 0.0)}  # (down, right)

Language = Literal["en", "zh"]
# The last template of each language is held out: known words, of which training never has these together in one caption, in any order.
TEMPLATES = {
    "en": ("{a} {word} {at}", "{word} {place}", "{at} there is {a} {word}", "the {word} is {at}", "{at} is {a} {word}"),
    "zh": ("{place}有个{word}", "{word}在{place}", "{place}的数字是{word}", "{place}写着{word}", "数字{word}在{place}"),
}
UNSEEN_TEMPLATE = 4
AT = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}


@dataclass(frozen=True)
class Voice:
    """An eSpeak NG voice with a variant (`language+variant`), its pitch (0 to 99) and speed (words a minute)."""

    espeak: str
    pitch: int
    speed: int


VOICES = {
    "us_m1": Voice("en-us+m1", 45, 165),
    "us_m3": Voice("en-us+m3", 38, 178),
    "us_f1": Voice("en-us+f1", 55, 165),
    "us_f2": Voice("en-us+f2", 48, 182),
    "us_f5": Voice("en-us+f5", 62, 170),
    "us_klatt": Voice("en-us+klatt3", 50, 160),
    "us_adam": Voice("en-us+adam", 30, 155),
    "gb_m2": Voice("en+m2", 52, 165),
    "gb_m4": Voice("en+m4", 45, 182),
    "gb_f3": Voice("en+f3", 50, 172),
    "gb_linda": Voice("en+linda", 58, 178),
    "gb_belinda": Voice("en+belinda", 50, 162),
    "scot_steph": Voice("en-gb-scotland+steph", 50, 168),
    "us_m6": Voice("en-us+m6", 50, 170),
    "gb_f4": Voice("en+f4", 54, 175),
}
UNSEEN_VOICES = ("us_m6", "gb_f4")
SEEN_VOICES = tuple(name for name in VOICES if name not in UNSEEN_VOICES)


# --- captions ---


def caption(digit: int, place: str, template: int = 0, language: Language = "en") -> str:
    """The caption of a pair, e.g. "a three on the left". Raises ValueError for what the data set does not have."""
    if digit not in range(DIGITS):
        raise ValueError(f"digit must lie in 0 to {DIGITS - 1}, got {digit}")
    if place not in PLACES:
        raise ValueError(f"place must be one of {', '.join(PLACES)}, got {place!r}")
    if language not in TEMPLATES:
        raise ValueError(f"language must be 'en' or 'zh', got {language!r}")
    if template not in range(len(TEMPLATES[language])):
        raise ValueError(f"template must lie in 0 to {len(TEMPLATES[language]) - 1}, got {template}")
    form = TEMPLATES[language][template]
    if language == "zh":
        return form.format(word=WORDS_ZH[digit], place=PLACES_ZH[PLACES.index(place)])
    return form.format(a="an" if digit == 8 else "a", word=WORDS[digit], place=place, at=AT[place])


def phrase(digit: int, place: str) -> str:
    """What the voices say of a pair: "three left"."""
    return caption(digit, place, template=1)


def split_words(text: str) -> list[str]:
    """The tokens of a text: English words in lower case, Chinese characters; a full stop at the end is dropped.

    Words, because an English caption has few and they carry its meaning; characters, because Chinese has no spaces and
    a character is the unit that needs no word segmenter. A caption has at most 7 tokens of either kind.
    """
    return re.findall(r"[a-z]+|[\u4e00-\u9fff]|[^\s]", re.sub(r"[.。]\s*$", "", text.lower()))


def join_words(words: Sequence[str]) -> str:
    """The inverse of `split_words`: a space between English words, none beside a Chinese character."""
    return re.sub(r"(?<=[\u4e00-\u9fff]) | (?=[\u4e00-\u9fff])", "", " ".join(words))


@lru_cache(maxsize=1)
def _meanings() -> dict[str, tuple[int, str]]:
    return {
        join_words(split_words(caption(digit, place, template, language))): (digit, place)
        for language in ("en", "zh")
        for template in range(len(TEMPLATES[language]))
        for digit in range(DIGITS)
        for place in PLACES
    }


PAD, BOS, EOS = 0, 1, 2
VOCABULARY = ("<pad>", "<bos>", "<eos>", *dict.fromkeys(word for text in _meanings() for word in split_words(text)))
TOKENS = 2 + max(len(split_words(text)) for text in _meanings())  # length of an encoded caption, with <bos> and <eos>
_IDS = {word: index for index, word in enumerate(VOCABULARY)}


def encode(captions: Sequence[str]) -> Int[Tensor, "N L"]:
    """Captions of either language as int64 ids (N, TOKENS): <bos>, the tokens, <eos>, then <pad>.

    Raises ValueError for a caption that is empty, too long, or has a word outside of `VOCABULARY`.
    """
    if isinstance(captions, str):
        raise ValueError(f"expected a list of captions, got the single text {captions!r}: write [{captions!r}]")
    return torch.tensor([_encode(text) for text in captions], dtype=torch.int64).view(len(captions), TOKENS)


@lru_cache(maxsize=1024)
def _encode(text: str) -> list[int]:
    words = split_words(text)
    if not words:
        raise ValueError(f"a caption is empty: expected words such as {caption(3, 'left')!r}")
    for word in words:
        if word not in _IDS:
            known = " ".join(VOCABULARY[EOS + 1 :])
            raise ValueError(f"caption {text!r}: {word!r} is not in the vocabulary; known are: {known}")
    if len(words) > TOKENS - 2:
        raise ValueError(f"caption {text!r} has {len(words)} words: at most {TOKENS - 2} fit")
    ids = [BOS, *(_IDS[word] for word in words), EOS]
    return ids + [PAD] * (TOKENS - len(ids))


def decode(ids: Int[Tensor, "N L"]) -> list[str]:
    """The captions that ids spell, up to the first <eos>; <bos> and <pad> say nothing. Raises ValueError for an unknown id."""
    texts = []
    for row in ids.tolist():
        end = row.index(EOS) if EOS in row else len(row)
        if any(not 0 <= token < len(VOCABULARY) for token in row):
            raise ValueError(f"ids must lie in 0 to {len(VOCABULARY) - 1}, got {row}")
        texts.append(join_words([VOCABULARY[token] for token in row[:end] if token not in (PAD, BOS)]))
    return texts


def meaning(text: str) -> tuple[int, str]:
    """The (digit, place) of which `text` is a caption, by any template of either language. Raises ValueError if of none."""
    found = _meanings().get(join_words(split_words(text)))
    if found is None:
        raise ValueError(f"{text!r} is no caption of this data set; one would be {caption(3, 'left')!r}")
    return found


# --- pictures ---


def _resample(offset: float) -> Float[Tensor, "24 8"]:
    """The matrix that draws a line of 8 cells on a line of 24 pixels, its centre `offset` pixels from the middle.

    The cells are joined by straight lines (bilinear interpolation) and each pixel is the mean over its own width. So the
    weights of a cell add up to SCALE at any offset: the ink neither flickers nor fades as the digit moves.
    """
    cells = (torch.arange(handwritten.SIZE, dtype=torch.float64) + 0.5 - handwritten.SIZE / 2) * SCALE + SIZE / 2 + offset
    edges = torch.arange(SIZE + 1, dtype=torch.float64)
    x = ((edges[:, None] - cells) / SCALE).clamp(-1, 1)  # (25, 8), in units of a cell
    integral = (x + 0.5 - 0.5 * x.abs() * x) * SCALE  # of the tent 1 - |x| from -1 up to x
    return integral.diff(dim=0).float()


def draw(handwriting: Float[Tensor, "N 1 8 8"], places: Int[Tensor, " N"], progress: float = 1.0) -> Float[Tensor, "N 1 24 24"]:
    """The handwriting on its way from the centre (`progress` 0) to its place (1); ink in [0, 1]."""
    picture = torch.zeros(len(handwriting), 1, SIZE, SIZE)
    for index, place in enumerate(PLACES):
        chosen = places == index
        down, right = (_resample(progress * REACH * step) for step in DIRECTIONS[place])
        both = torch.kron(down, right)  # (576, 64): one large product for all items is faster than many small ones
        picture[chosen] = (handwriting[chosen].flatten(1) @ both.T).unflatten(1, (1, SIZE, SIZE))
    return picture


def animate(handwriting: Float[Tensor, "N 1 8 8"], places: Int[Tensor, " N"]) -> Float[Tensor, "N 8 1 24 24"]:
    """The whole way at an even speed of 0.75 pixels a frame; the last frame is `draw(handwriting, places)`."""
    return torch.stack([draw(handwriting, places, frame / (FRAMES - 1)) for frame in range(FRAMES)], dim=1)


# --- speech ---


@dataclass(frozen=True)
class Speech:
    """A bank of utterances, each a seen or held-out pair in one voice.

    waveforms: float32 in [-1, 1] at 8 kHz, zero after `lengths` samples; voices: index into `VOICES`.
    """

    waveforms: Float[Tensor, "U S"]
    lengths: Int[Tensor, " U"]
    digits: Int[Tensor, " U"]
    places: Int[Tensor, " U"]
    voices: Int[Tensor, " U"]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def phrases(self) -> list[str]:
        """What is said."""
        return [phrase(d, PLACES[p]) for d, p in zip(self.digits.tolist(), self.places.tolist(), strict=True)]


def _pairs(split: str) -> list[tuple[int, int]]:
    """The (digit, place index) pairs of a split, sorted."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    held_out = sorted((digit, PLACES.index(place)) for digit, place in HELD_OUT)
    every = [(digit, place) for digit in range(DIGITS) for place in range(len(PLACES))]
    return held_out if split == "compositional" else [pair for pair in every if pair not in held_out]


def _voices(split: str) -> list[int]:
    return [list(VOICES).index(name) for name in (SEEN_VOICES if split == "train" else UNSEEN_VOICES)]


@lru_cache(maxsize=3)
def speech(split: str) -> Speech:
    """Every pair of a split in every voice of it, voice by voice: 468 utterances in `train`, 72 in `test`, 8 in `compositional`."""
    import soundfile

    folder = files("reference_impl.data") / "speech"
    lengths = json.loads((folder / "index.json").read_text())["lengths"]
    rows = []
    for voice in _voices(split):
        name = list(VOICES)[voice]
        with (folder / f"{name}.ogg").open("rb") as file:
            sound, rate = soundfile.read(file, dtype="float32")
        if rate != RATE or len(sound) < DIGITS * len(PLACES) * SAMPLES:
            raise ValueError(f"speech/{name}.ogg is damaged: {len(sound)} samples at {rate} Hz; install the course again")
        for digit, place in _pairs(split):
            slot = digit * len(PLACES) + place
            length = lengths[name][slot]
            padded = np.zeros(SAMPLES, dtype=np.float32)
            padded[:length] = sound[slot * SAMPLES : slot * SAMPLES + length]
            rows.append((padded, length, digit, place, voice))
    waveforms, *columns = zip(*rows, strict=True)
    kept = torch.from_numpy(np.stack(waveforms)).clamp(-1, 1)
    return Speech(kept, *(torch.tensor(column, dtype=torch.int64) for column in columns))


def withheld(bank: Speech) -> Bool[Tensor, " U"]:
    """The utterances of the training bank that are kept for a test of voices that are known: a fifth of the phrases of each, a different
    fifth each time. A system that is asked to say them has not heard them, nor has its judge."""
    pairs = len(bank) // len(bank.voices.unique())
    row = torch.arange(len(bank))
    return (row // pairs + row % pairs) % 5 == 0


# --- what a conversion is given ---


def check_captions(captions: Sequence[str]) -> Sequence[str]:
    """The captions themselves, if there are any. Raises ValueError for none at all, or a single text; for the rest see `encode`."""
    if isinstance(captions, str) or not len(captions):
        raise ValueError(f"expected a list of captions such as {[caption(3, 'left')]}, got {captions!r}")
    return captions


def check_images(images: Float[Tensor, "N 1 24 24"]) -> Float[Tensor, "N 1 24 24"]:
    """The pictures themselves, if they can be converted. Raises ValueError for none at all, another shape, or what is not finite and float."""
    return _checked(images, "pictures", f"(N, 1, {SIZE}, {SIZE})", images.ndim == 4 and images.shape[1:] == (1, SIZE, SIZE))


def check_videos(
    videos: Float[Tensor, "N T 1 24 24"], least: int = FRAMES, most: int | None = FRAMES
) -> Float[Tensor, "N T 1 24 24"]:
    """The videos themselves, if they can be converted: of `least` to `most` frames. Raises ValueError otherwise, as `check_images`."""
    length = str(least) if most == least else f"{least} or more"
    fits = videos.ndim == 5 and videos.shape[2:] == (1, SIZE, SIZE) and least <= videos.shape[1] <= (most or videos.shape[1])
    return _checked(videos, "videos", f"(N, {length}, 1, {SIZE}, {SIZE})", fits)


def check_waveforms(waveforms: Float[Tensor, "N S"]) -> Float[Tensor, "N S"]:
    """The waveforms themselves, if they can be converted. Raises ValueError for none at all, without a sample, another shape, or what is not
    finite and float."""
    return _checked(waveforms, "waveforms", f"(N, samples at {RATE} Hz)", waveforms.ndim == 2 and waveforms.shape[1] > 0)


def _checked(given: Tensor, name: str, shape: str, fits: bool) -> Tensor:
    if not fits:
        raise ValueError(f"expected {name} of shape {shape}, got {tuple(given.shape)}")
    if not len(given):
        raise ValueError(f"there are no {name} to convert: expected {shape} with N of at least 1")
    if not given.is_floating_point():
        raise ValueError(f"expected {name} of floats, ink in [0, 1] or samples in [-1, 1], got {given.dtype}")
    if not given.isfinite().all():
        row = int((~given.isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(f"row {row} of the {name} has a value that is not finite (NaN or infinity)")
    return given


# --- the aligned data set ---


@dataclass(frozen=True)
class Item:
    """One aligned item. image (1, 24, 24), video (8, 1, 24, 24), waveform (length,) without its padding."""

    digit: int
    place: str
    row: int
    voice: str
    caption: str
    caption_zh: str
    phrase: str
    image: Float[Tensor, "1 24 24"]
    video: Float[Tensor, "8 1 24 24"]
    waveform: Float[Tensor, " S"]


@dataclass(frozen=True)
class Split:
    """A whole split, aligned: row i of every field and property belongs to item i. All tensors are on the CPU.

    digits 0 to 9; places: index into `PLACES`; rows: which of scikit-learn's 1,797 handwritten images; templates: index into
    `TEMPLATES`; utterances: index into `speech(name)`; handwriting: that 8×8 image, ink in [0, 1].
    Pictures, sound and tokens are made when they are first asked for, then kept.
    """

    name: str
    digits: Int[Tensor, " N"]
    places: Int[Tensor, " N"]
    rows: Int[Tensor, " N"]
    templates: Int[Tensor, " N"]
    utterances: Int[Tensor, " N"]
    handwriting: Float[Tensor, "N 1 8 8"]

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, i: int) -> Item:
        one = self.select(torch.tensor([range(len(self))[i]]))
        return Item(
            int(one.digits), PLACES[one.places], int(one.rows), list(VOICES)[one.voices], one.captions[0], one.captions_zh[0],
            one.phrases[0], one.images[0], one.videos[0], one.waveforms[0, : one.lengths[0]],
        )  # fmt: skip

    def select(self, index: Int[Tensor, " M"]) -> "Split":
        """Only the items `index` (int64), in that order."""
        names = ("digits", "places", "rows", "templates", "utterances", "handwriting")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    @cached_property
    def images(self) -> Float[Tensor, "N 1 24 24"]:
        """Ink in [0, 1]."""
        return draw(self.handwriting, self.places)

    @cached_property
    def videos(self) -> Float[Tensor, "N 8 1 24 24"]:
        """Ink in [0, 1]; `videos[:, -1]` equals `images`."""
        return animate(self.handwriting, self.places)

    def _captions(self, language: Language) -> list[str]:
        columns = (self.digits.tolist(), self.places.tolist(), self.templates.tolist())
        return [caption(d, PLACES[p], t, language) for d, p, t in zip(*columns, strict=True)]

    @cached_property
    def captions(self) -> list[str]:
        """English captions."""
        return self._captions("en")

    @cached_property
    def captions_zh(self) -> list[str]:
        """Chinese captions, from the template of the same number."""
        return self._captions("zh")

    @cached_property
    def phrases(self) -> list[str]:
        """What is said, word for word."""
        return [phrase(d, PLACES[p]) for d, p in zip(self.digits.tolist(), self.places.tolist(), strict=True)]

    @cached_property
    def tokens(self) -> Int[Tensor, "N L"]:
        """`encode(captions)`."""
        return encode(self.captions)

    @cached_property
    def tokens_zh(self) -> Int[Tensor, "N L"]:
        """`encode(captions_zh)`."""
        return encode(self.captions_zh)

    @property
    def speech(self) -> Speech:
        """The bank of utterances that `utterances` points into: compute features on it once, then index them."""
        return speech(self.name)

    @cached_property
    def waveforms(self) -> Float[Tensor, "N S"]:
        """float32 in [-1, 1] at 8 kHz, SAMPLES long, zero after `lengths`: 159 MB in `train`, where `speech` holds the same in 15."""
        return self.speech.waveforms[self.utterances]

    @cached_property
    def lengths(self) -> Int[Tensor, " N"]:
        """Samples of each waveform before its padding."""
        return self.speech.lengths[self.utterances]

    @cached_property
    def voices(self) -> Int[Tensor, " N"]:
        """Index into `VOICES`."""
        return self.speech.voices[self.utterances]


@lru_cache(maxsize=3)
def load(split: str) -> Split:
    """The split `train`, `test` or `compositional`. Raises ValueError for another name."""
    pairs, voices = _pairs(split), _voices(split)
    source = handwritten.load("train" if split == "train" else "test")
    templates = range(UNSEEN_TEMPLATE) if split == "train" else (UNSEEN_TEMPLATE,)
    dealt = dict.fromkeys(pairs, 0)  # how many items a pair has
    met = [0] * DIGITS  # how many handwritings of a digit have come
    rows = []
    for index, digit in enumerate(source.labels.tolist()):
        own = [pair for pair in pairs if pair[0] == digit]
        if split != "train" and own:
            own = [own[met[digit] % len(own)]]
        met[digit] += 1
        for pair in own:
            turn = dealt[pair]
            dealt[pair] += 1
            voice, template = turn % len(voices), templates[turn % len(templates)]  # 13 and 4 are coprime: all meet
            rows.append((index, digit, pair[1], template, voice * len(pairs) + pairs.index(pair)))
    columns = [torch.tensor(column) for column in zip(*rows, strict=True)]
    chosen, labels, places, used, utterances = columns
    return Split(split, labels, places, source.rows[chosen], used, utterances, source.images[chosen])


def preview() -> Preview:
    """Every pair once, those held out too; and a phrase in each voice, the unseen ones last."""
    seen, unseen = load("train"), load("compositional")
    pairs = [(digit, place) for place in PLACES for digit in range(DIGITS)]
    parts = []
    for digit, place in pairs:
        split = unseen if (digit, place) in HELD_OUT else seen
        found = (split.digits == digit) & (split.places == PLACES.index(place))
        parts.append(split.select(found.nonzero()[:1, 0]))
    sounds = [
        (bank.waveforms[row], bank.lengths[row]) for bank in (speech("train"), speech("test")) for row in range(0, len(bank), 37)
    ]
    return Preview(
        pictures=torch.cat([part.images for part in parts]),
        videos=torch.cat([part.videos for part in parts]),
        sounds=[waveform[:length] for waveform, length in sounds],
        rate=RATE,
        text="\n".join(f"{part.captions[0]} | {part.captions_zh[0]} | {part.phrases[0]}" for part in parts),
    )
