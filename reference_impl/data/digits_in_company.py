"""Digits in Company: two digits, one after the other, seen through noise. The hard track of Digits in Motion.

An item is two events, each a digit, a place and a handwriting, told in one voice: first a three goes left, then a seven to the top. It has
- a **story**, in English and in Chinese: "first a three goes to the left, then a seven to the top", "先是三到左边，然后七到上面";
- a **caption** of where they end, which has no order: "a three on the left and a seven at the top", "左边有个三，上面有个七";
- an **image**, 24×24: both digits at their places, smaller than in Digits in Motion, each up to half a pixel off, in any direction;
- a **video**, 8 frames: the first slides from the middle to its place in the first half, the second in the second half. Its last frame is the
  image, so the order of the two cannot be seen there;
- a **waveform**, 8 kHz: "three left … seven top", two utterances of one voice at one of many speeds, with a pause between them.

Pictures and videos also come as a camera gives them (`seen`): noisy, and with a bar in front that moves on from frame to frame.

| split | handwriting | voices | template | what is said | items |
|---|---|---|---|---|---|
| `train` | 1,347 | 13 | 3 | pairs of events, three of four | 8,000 |
| `test` | 450 others | 2 others | 1 other | the pairs of events left out | 900 |
| `compositional` | the same 450 | the same 2 | the same 1 | one event is among the four that training never shows | 900 |

An event is a (digit, place); the four that training never shows are those of Digits in Motion. So `test` asks for two known events
that were never met together, and `compositional` for one that was never met at all.
"""

import itertools
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from reference_impl.data import Preview
from reference_impl.data import digits as handwritten
from reference_impl.data import digits_in_motion as motion
from reference_impl.data.digits_in_motion import (
    DIGITS,
    DIRECTIONS,
    FRAMES,
    HELD_OUT,
    PLACES,
    RATE,
    SIZE,
    SPLITS,
    Language,
    split_words,
)  # fmt: skip
from reference_impl.data.vocabulary import Vocabulary, join_words

SCALE = 1.0  # pixels of a picture per cell of the 8×8 handwriting
REACH = 7.0  # pixels from the middle to a place: a digit is 8 wide and blurred by half a pixel on either side, so two of them hardly touch
JITTER = 0.5  # a digit ends up to so many pixels from its place, down and right
SAMPLES = 17408  # in a padded waveform: 2.2 s, or 136 hops of 128
SPEEDS = (0.88, 1.12)  # of an utterance, the pitch with it
PAUSES = (320, 1600)  # samples between the two utterances: 40 to 200 ms
NOISE = 0.15  # standard deviation, ink being in [0, 1]
BAR, BAR_SPEED, BAR_INK = 5, 1.5, 0.5  # width in pixels, pixels a frame, and how dark it is
ITEMS = {"train": 8000, "test": 900, "compositional": 900}

LANGUAGES: tuple[Language, ...] = ("en", "zh")

Event = tuple[int, int]  # digit, and index into PLACES

# The last of each language is held out: it says known words in an order that training never shows. The parts are for the two events.
CAPTIONS: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("{a} {word} {at} and ", "{a} {word} {at}"),
        ("{word} {place} and ", "{word} {place}"),
        ("{at} there is {a} {word} and ", "{at} there is {a} {word}"),
        ("there is {a} {word} {at} and ", "{a} {word} {at}"),
    ),
    "zh": (("{place}有个{word}，", "{place}有个{word}"), ("{word}在{place}，", "{word}在{place}"), ("{place}是{word}，", "{place}是{word}"),
           ("有个{word}在{place}，", "有个{word}在{place}")),
}  # fmt: skip
STORIES: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        ("first {a} {word} goes {to}, ", "then {a} {word} {to}"),
        ("{word} {place}, ", "then {word} {place}"),
        ("{to} goes {a} {word} first, ", "{to} goes {a} {word} then"),
        ("first goes {a} {word} {to}, ", "then goes {a} {word} {to}"),
    ),
    "zh": (("先是{word}到{place}，", "然后{word}到{place}"), ("{word}先到{place}，", "{word}然后到{place}"), ("{place}先来{word}，", "{place}然后来{word}"),
           ("先来{word}到{place}，", "然后来{word}到{place}")),
}  # fmt: skip
UNSEEN_TEMPLATE = 3
TO = {place: f"to the {place}" for place in PLACES}


# --- what is said ---


def events() -> list[Event]:
    """The 36 (digit, place index) that training shows, sorted."""
    held_out = _held_out()
    return [(digit, place) for digit in range(DIGITS) for place in range(len(PLACES)) if (digit, place) not in held_out]


def _held_out() -> list[Event]:
    return sorted((digit, PLACES.index(place)) for digit, place in HELD_OUT)


def pairs(split: str) -> list[tuple[Event, Event]]:
    """The pairs of events of a split, in order: 729 in `train`, 243 in `test`, 216 in `compositional`. Two places always differ.

    Raises ValueError for another name.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    known = events()
    if split == "compositional":
        mixed = [pair for new in _held_out() for old in known for pair in ((new, old), (old, new))]
        return [(one, two) for one, two in mixed if one[1] != two[1]]
    both = [(one, two) for one, two in itertools.product(known, known) if one[1] != two[1]]
    return [pair for number, pair in enumerate(both) if (number % 4 == 3) == (split == "test")]


def caption(first: Event, second: Event, template: int = 0, language: Language = "en") -> str:
    """Where two digits are: "a three on the left and a seven at the top". Raises ValueError for what the data set does not have."""
    return _told(CAPTIONS, first, second, template, language)


def story(first: Event, second: Event, template: int = 0, language: Language = "en") -> str:
    """What happens: "first a three goes to the left, then a seven to the top". Raises ValueError for what the data set does not have."""
    return _told(STORIES, first, second, template, language)


def phrase(first: Event, second: Event) -> str:
    """What a voice says: "three left seven top"."""
    return " ".join(motion.phrase(digit, PLACES[place]) for digit, place in (first, second))


def _told(forms: dict[str, tuple[tuple[str, str], ...]], first: Event, second: Event, template: int, language: str) -> str:
    for digit, place in (first, second):
        if digit not in range(DIGITS) or place not in range(len(PLACES)):
            raise ValueError(
                f"an event is a digit of 0 to {DIGITS - 1} and a place of 0 to {len(PLACES) - 1}, got {(digit, place)}"
            )
    if first[1] == second[1]:
        raise ValueError(f"two digits need two places, got {PLACES[first[1]]} twice")
    if language not in forms:
        raise ValueError(f"language must be 'en' or 'zh', got {language!r}")
    if template not in range(len(forms[language])):
        raise ValueError(f"template must lie in 0 to {len(forms[language]) - 1}, got {template}")
    return "".join(_filled(form, event, language) for form, event in zip(forms[language][template], (first, second), strict=True))


def _filled(form: str, event: Event, language: str) -> str:
    digit, place = event[0], PLACES[event[1]]
    if language == "zh":
        return form.format(word=motion.WORDS_ZH[digit], place=motion.PLACES_ZH[event[1]])
    article = "an" if digit == 8 else "a"
    return form.format(a=article, word=motion.WORDS[digit], place=place, at=motion.AT[place], to=TO[place])


@lru_cache(maxsize=1)
def _meanings() -> dict[str, tuple[tuple[Event, Event], bool]]:
    """By text, as `join_words` writes it: the two events, and whether it says which comes first."""
    every = [(digit, place) for digit in range(DIGITS) for place in range(len(PLACES))]
    found = {}
    for told, ordered in ((caption, False), (story, True)):
        for language in LANGUAGES:
            for template in range(UNSEEN_TEMPLATE + 1):
                for one, two in itertools.product(every, every):
                    if one[1] != two[1]:
                        found[join_words(split_words(told(one, two, template, language)))] = (one, two), ordered
    return found


def meaning(text: str) -> tuple[tuple[Event, Event], bool]:
    """The two events that a text tells of, by any template of either language, and whether it says which comes first.

    Where it does not, the events are sorted. Raises ValueError if it is no text of this data set.
    """
    found = _meanings().get(join_words(split_words(text)))
    if found is None:
        raise ValueError(f"{text!r} is no text of this data set; one would be {caption((3, 0), (7, 2))!r}")
    (one, two), ordered = found
    return ((one, two) if ordered or one < two else (two, one)), ordered


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """All words of all texts: what text comes as to a network."""
    return Vocabulary(_meanings())


# --- what is seen ---


def _resample(offsets: Float[Tensor, " N"], scale: float) -> Float[Tensor, "N 24 8"]:
    """For each item the matrix that draws a line of 8 cells on a line of 24 pixels, its centre `offset` pixels from the middle.

    As in Digits in Motion: straight lines between cells, each pixel the mean over its width, so that the ink neither flickers nor fades.
    """
    cells = (torch.arange(handwritten.SIZE, dtype=torch.float64) + 0.5 - handwritten.SIZE / 2) * scale + SIZE / 2  # (8,)
    edges = torch.arange(SIZE + 1, dtype=torch.float64)
    x = ((edges[None, :, None] - cells - offsets.double()[:, None, None]) / scale).clamp(-1, 1)  # (N, 25, 8)
    integral = (x + 0.5 - 0.5 * x.abs() * x) * scale  # of the tent 1 - |x| from -1 up to x
    return integral.diff(dim=1).float()


def draw(handwriting: Float[Tensor, "N 8 8"], centres: Float[Tensor, "N 2"], scale: float = SCALE) -> Float[Tensor, "N 24 24"]:
    """Each handwriting with its middle at `centres`, pixels down and right of the middle of the picture; ink in [0, 1].

    scale: pixels per cell; `motion.SCALE` draws a digit as large as in Digits in Motion.
    """
    down, right = _resample(centres[:, 0], scale), _resample(centres[:, 1], scale)
    return down @ handwriting @ right.transpose(1, 2)


def behind_a_bar(
    pictures: Float[Tensor, "N T 1 24 24"], starts: Float[Tensor, " N"], upright: Int[Tensor, " N"]
) -> Float[Tensor, "N T 1 24 24"]:
    """A bar in front of each frame, BAR wide and BAR_INK dark, which moves on by BAR_SPEED a frame and comes in again at the other side.

    starts: its edge in the last frame, in pixels; upright: 1 where it stands and moves to the right, 0 where it lies and moves down.
    """
    T = pictures.shape[1]
    edge = (starts[:, None] + BAR_SPEED * torch.arange(1 - T, 1)) % SIZE  # (N, T)
    line = (torch.arange(SIZE) + 0.5 - edge[..., None]) % SIZE < BAR  # (N, T, 24)
    stands = upright.bool()[:, None, None, None]
    covered = torch.where(stands, line[:, :, None, :], line[:, :, :, None])  # (N, T, 24, 24)
    return torch.where(covered[:, :, None], BAR_INK, pictures)


# --- the aligned data set ---


@dataclass(frozen=True)
class Split:
    """A whole split, aligned: row i of every field and property belongs to item i. All tensors are on the CPU.

    digits, places, handwriting, jitter (pixels down and right): of the first and the second event; rows: which of scikit-learn's
    images; templates; utterances: index into `bank(name)`, both of one voice; speeds, pauses (samples): of the sound;
    starts, upright: of the bar; numbers: seeds of the noise. Pictures and videos are made when first asked for, sound at every call.
    """

    name: str
    digits: Int[Tensor, "N 2"]
    places: Int[Tensor, "N 2"]
    rows: Int[Tensor, "N 2"]
    handwriting: Float[Tensor, "N 2 8 8"]
    jitter: Float[Tensor, "N 2 2"]
    templates: Int[Tensor, " N"]
    utterances: Int[Tensor, "N 2"]
    speeds: Float[Tensor, " N"]
    pauses: Int[Tensor, " N"]
    starts: Float[Tensor, " N"]
    upright: Int[Tensor, " N"]
    numbers: Int[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.digits)

    def select(self, index: Int[Tensor, " M"]) -> "Split":
        """Only the items `index` (int64), in that order."""
        names = [name for name in self.__dataclass_fields__ if name != "name"]
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    @property
    def events(self) -> list[tuple[Event, Event]]:
        """The first and the second event of each item."""
        rows = torch.stack([self.digits, self.places], dim=2).tolist()
        return [((one[0], one[1]), (two[0], two[1])) for one, two in rows]

    def captions(self, language: Language = "en") -> list[str]:
        """Of the images."""
        return [caption(*pair, template, language) for pair, template in zip(self.events, self.templates.tolist(), strict=True)]

    def stories(self, language: Language = "en") -> list[str]:
        """Of the videos."""
        return [story(*pair, template, language) for pair, template in zip(self.events, self.templates.tolist(), strict=True)]

    @property
    def phrases(self) -> list[str]:
        """What is said, word for word."""
        return [phrase(*pair) for pair in self.events]

    @cached_property
    def centres(self) -> Float[Tensor, "N 2 2"]:
        """Where each digit ends: pixels down and right of the middle."""
        ways = torch.tensor([DIRECTIONS[place] for place in PLACES])  # (4, 2)
        return REACH * ways[self.places] + self.jitter

    @cached_property
    def images(self) -> Float[Tensor, "N 1 24 24"]:
        """Ink in [0, 1], without noise and bar; `videos[:, -1]` is the same."""
        return self._frames(torch.ones(len(self), 2))[:, None]

    @cached_property
    def videos(self) -> Float[Tensor, "N 8 1 24 24"]:
        """Ink in [0, 1]. The first digit is in the middle at first, and at its place from the middle frame on, where the second comes."""
        half = FRAMES // 2
        way = torch.arange(1, half + 1) / half  # of each digit, in its half
        shown = []
        for frame in range(FRAMES):
            first = way[min(frame, half - 1)].expand(len(self))
            second = way[frame - half].expand(len(self)) if frame >= half else torch.full((len(self),), -1.0)
            shown.append(self._frames(torch.stack([first, second], dim=1)))
        return torch.stack(shown, dim=1)[:, :, None]

    def _frames(self, progress: Float[Tensor, "N 2"]) -> Float[Tensor, "N 24 24"]:
        """Both digits on their ways from the middle (0) to their places (1); one of less than 0 is not there yet."""
        there = (progress >= 0).float()[:, :, None]
        both = draw(self.handwriting.flatten(0, 1), (self.centres * progress[:, :, None]).flatten(0, 1)).unflatten(0, (-1, 2))
        return (both * there[..., None]).sum(1).clamp(max=1.0)

    @cached_property
    def seen_images(self) -> Float[Tensor, "N 1 24 24"]:
        """The images behind a bar, with noise: not in [0, 1]. `seen_videos[:, -1]` is the same."""
        barred = behind_a_bar(self.images[:, None], self.starts, self.upright)
        return torch.stack([one + noise[-1] for one, noise in zip(barred[:, 0], self._noise(), strict=True)])

    @cached_property
    def seen_videos(self) -> Float[Tensor, "N 8 1 24 24"]:
        """The videos behind a bar that moves on, with noise: not in [0, 1]."""
        barred = behind_a_bar(self.videos, self.starts, self.upright)
        return torch.stack([one + noise for one, noise in zip(barred, self._noise(), strict=True)])

    def _noise(self) -> list[Float[Tensor, "8 1 24 24"]]:
        """Of each item: its own, whatever else is selected."""
        return [
            NOISE * torch.randn(FRAMES, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(number))
            for number in self.numbers.tolist()
        ]

    @cached_property
    def lengths(self) -> Int[Tensor, " N"]:
        """Samples of each waveform before its padding."""
        return self._spoken_lengths.sum(1) + self.pauses

    @cached_property
    def _spoken_lengths(self) -> Int[Tensor, "N 2"]:
        return (bank(self.name).lengths[self.utterances] / self.speeds[:, None]).long()

    def waveforms(self, index: Int[Tensor, " M"] | None = None) -> Float[Tensor, "M S"]:
        """Of all items, or of `index`: float32 in [-1, 1] at 8 kHz, SAMPLES long, zero after `lengths`. A slower utterance is a lower one."""
        spoken_by = bank(self.name)
        index = torch.arange(len(self)) if index is None else index
        sound = torch.zeros(len(index), SAMPLES)
        for row, i in zip(sound, index.tolist(), strict=True):
            at = 0
            for utterance, length in zip(self.utterances[i].tolist(), self._spoken_lengths[i].tolist(), strict=True):
                spoken = spoken_by.waveforms[utterance, : int(spoken_by.lengths[utterance])]
                row[at : at + length] = F.interpolate(spoken[None, None], size=length, mode="linear")[0, 0]
                at += length + int(self.pauses[i])
        return sound

    @property
    def voices(self) -> Int[Tensor, " N"]:
        """Index into `motion.VOICES`."""
        return bank(self.name).voices[self.utterances[:, 0]]


@lru_cache(maxsize=3)
def bank(split: str) -> motion.Speech:
    """The utterances of single events that a split is put together from: of its voices, held-out events only where it has them."""
    if split != "compositional":
        return motion.speech(split)
    known, new = motion.speech("test"), motion.speech("compositional")
    return motion.Speech(*(torch.cat([getattr(known, f.name), getattr(new, f.name)]) for f in fields(motion.Speech)))


SEEDS = {"train": 0, "test": 1, "compositional": 2}


@lru_cache(maxsize=3)
def load(split: str) -> Split:
    """The split `train`, `test` or `compositional`. Raises ValueError for another name.

    Pairs of events, voices, templates and handwritings are dealt out in turn; jitter, speed, pause and bar are drawn from a seed.
    """
    told, spoken = pairs(split), bank(split)
    N, generator = ITEMS[split], torch.Generator().manual_seed(SEEDS[split])
    source = handwritten.load("train" if split == "train" else "test")
    by_digit = [(source.labels == digit).nonzero()[:, 0].tolist() for digit in range(DIGITS)]
    met = [0] * DIGITS  # how often a digit has come
    voices = sorted(set(spoken.voices.tolist()))
    heard = zip(spoken.voices.tolist(), spoken.digits.tolist(), spoken.places.tolist(), strict=True)
    utterance = {key: row for row, key in enumerate(heard)}
    templates = range(UNSEEN_TEMPLATE) if split == "train" else (UNSEEN_TEMPLATE,)
    rows = []
    for number in range(N):
        turn, place = divmod(number, len(told))
        pair = told[place]
        chosen = []
        for digit, _ in pair:
            chosen.append(by_digit[digit][met[digit] % len(by_digit[digit])])
            met[digit] += 1
        voice, template = voices[(place + turn) % len(voices)], templates[(place + turn) % len(templates)]
        rows.append((pair, chosen, template, [utterance[voice, *event] for event in pair]))
    order = torch.randperm(N, generator=generator)

    def uniform(low: float, high: float, *size: int) -> Tensor:
        return low + (high - low) * torch.rand(N, *size, generator=generator)

    both, images, used, said = (torch.tensor(column)[order] for column in zip(*rows, strict=True))
    return Split(
        split, both[:, :, 0], both[:, :, 1], source.rows[images], source.images[images, 0], uniform(-JITTER, JITTER, 2, 2), used, said,
        uniform(*SPEEDS), uniform(*PAUSES).long(), uniform(0, SIZE), torch.randint(2, (N,), generator=generator),
        1_000_000 * SEEDS[split] + torch.arange(N),
    )  # fmt: skip


def preview() -> Preview:
    """The first items of `test`, as they are and as they are seen; and what is said of some of them."""
    some = load("test").select(torch.arange(20))
    told = zip(some.captions(), some.stories(), some.captions("zh"), some.stories("zh"), strict=True)
    return Preview(
        pictures=torch.cat([some.images, some.seen_images.clamp(0, 1)]),
        videos=torch.cat([some.videos[:10], some.seen_videos[:10].clamp(0, 1)]),
        sounds=[sound[:length] for sound, length in zip(some.waveforms()[:8], some.lengths, strict=False)],
        rate=RATE,
        text="\n".join(" | ".join(texts) for texts in told),
    )
