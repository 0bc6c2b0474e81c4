"""Dates, times, amounts and measures in English and Chinese, as Unicode's CLDR writes them: Babel formats them, so all are right.

There is no end of such pairs, so these are drawn, always alike. What is held out is no pair but the *value* in it: no year, no
time of day, no amount of `test` stands in a pair of `train` of the same kind. Two more splits are harder, and lie outside of what
training shows: `magnitudes` (numbers with more digits) and `combinations` (a format with values that training has only in other
formats). CLDR is under the Unicode Licence; the wording may change between its versions, and with Babel's.
"""

import random
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Literal

import torch
from babel.dates import format_date, format_datetime, format_interval, format_skeleton, format_time, format_timedelta
from babel.numbers import format_compact_decimal, format_currency, format_decimal
from babel.units import format_unit
from jaxtyping import Int
from torch import Tensor

from reference_impl.data import Preview

LANGUAGES = ("en", "zh")
LOCALES = {"en": "en", "zh": "zh_Hans"}
SIZES = {"train": 20000, "test": 1000, "magnitudes": 500, "combinations": 500}
CURRENCIES = ("USD", "EUR", "JPY", "CNY", "GBP", "HKD", "KRW", "CHF", "INR", "THB", "BRL", "CAD")
UNITS = (  # of the second half, training has only whole numbers
    "mass-kilogram", "temperature-celsius", "speed-kilometer-per-hour", "digital-megabyte", "electric-volt", "mass-pound",
    "mass-gram", "temperature-fahrenheit", "speed-meter-per-second", "digital-kilobyte", "power-watt", "mass-ton",
)  # fmt: skip
Span = Literal["day", "hour", "minute", "week", "month", "year"]
SPANS: dict[Span, int] = {"day": 86400, "hour": 3600, "minute": 60, "week": 604800, "month": 2592000, "year": 31536000}
ABOUT = "dates, times of day, numbers, amounts of money and measures, written such as 'Sun, May 1, 1955' or '3 tons'"
PAD, END, SPECIALS = 0, 1, 4  # ids: of what fills up a row, of what ends it, and of the first token
TOKEN = re.compile(r" ?[A-Za-z]+|.")

Value = tuple[str, Callable[[str], str]]  # what may be held out, and how a language writes the whole


@dataclass(frozen=True)
class Pairs:
    """kinds: what each pair is (`date`, `interval`, …); en, zh: how it is written. In the same order."""

    kinds: tuple[str, ...]
    en: tuple[str, ...]
    zh: tuple[str, ...]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.kinds)


def _held_out(value: str) -> bool:
    """A sixth of all values, by a hash; 1 stays in training, for its singular."""
    return zlib.crc32(value.encode()) % 6 == 0 and value != "1"


def _day(chance: random.Random, years: tuple[int, int] = (1950, 2050)) -> date:
    return date(chance.randrange(*years), 1, 1) + timedelta(chance.randrange(365))


def _date(chance: random.Random, split: str) -> Value:
    """`full` has years from 2000 on in `combinations` alone."""
    style = "full" if split == "combinations" else chance.choice(("long", "full", "yMMMEd", "MMMMd"))
    late = split == "combinations"
    day = _day(chance, (2000, 2050) if late else (1950, 2000) if style == "full" else (1950, 2050))
    if style in ("long", "full"):
        return str(day.year), lambda locale: format_date(day, style, locale=locale)
    return (f"{day:%m-%d}" if style == "MMMMd" else str(day.year)), lambda locale: format_skeleton(style, day, locale=locale)


def _time(chance: random.Random, split: str) -> Value:
    at = time(chance.randrange(24), chance.randrange(60))
    return f"{at:%H:%M}", lambda locale: format_time(at, "short", locale=locale)


def _moment(chance: random.Random, split: str) -> Value:
    at = datetime.combine(_day(chance), time(chance.randrange(24), chance.randrange(60), chance.randrange(60)))
    return str(at.year), lambda locale: format_datetime(at, "medium", locale=locale)


def _interval(chance: random.Random, split: str) -> Value:
    start = _day(chance)
    end = min(start + timedelta(chance.randrange(1, 60)), date(start.year, 12, 31))
    return str(start.year), lambda locale: format_interval(start, end, "yMMMd", locale=locale)


def _ago(chance: random.Random, split: str) -> Value:
    unit, count, sign = chance.choice(list(SPANS)), chance.randrange(1, 100), chance.choice((-1, 1))
    span = timedelta(seconds=sign * count * SPANS[unit])
    return str(count), lambda locale: format_timedelta(span, unit, threshold=1e9, add_direction=True, locale=locale)


def _number(chance: random.Random, digits: tuple[int, int], places: int) -> Decimal:
    """A random number of so many digits before the point, from the first to the second of `digits`, and `places` behind it."""
    count = chance.randint(*digits)
    return Decimal(chance.randrange(10 ** (count - 1), 10**count) * 10**places + chance.randrange(10**places)).scaleb(-places)


def _digits(split: str) -> tuple[int, int]:
    return (7, 8) if split == "magnitudes" else (1, 6)


def _decimal(chance: random.Random, split: str) -> Value:
    number = _number(chance, _digits(split), chance.choice((0, 1, 2)))
    return f"{number.normalize():f}", lambda locale: format_decimal(number, locale=locale)


def _money(chance: random.Random, split: str) -> Value:
    half = len(CURRENCIES) // 2
    currency = chance.choice(CURRENCIES[half:] if split == "combinations" else CURRENCIES)
    digits = (4, 6) if split == "combinations" else (1, 3) if currency in CURRENCIES[half:] else _digits(split)
    number = _number(chance, digits, 0 if currency in ("JPY", "KRW") else 2)
    if split == "magnitudes" and digits == (1, 3):
        return _money(chance, split)
    return str(number), lambda locale: format_currency(number, currency, locale=locale, format_type="name")


def _measure(chance: random.Random, split: str) -> Value:
    half = len(UNITS) // 2
    unit = chance.choice(UNITS[half:] if split == "combinations" else UNITS)
    places = 1 if split == "combinations" else 0 if unit in UNITS[half:] else chance.choice((0, 1))
    number = _number(chance, (7, 8) if split == "magnitudes" else (1, 4), places)
    if number == int(number):
        if split == "combinations":
            return _measure(chance, split)
        number = Decimal(int(number))  # 1.0 would be written as 1, but in the plural
    return str(number), lambda locale: format_unit(number, unit, "long", locale=locale)


def _compact(chance: random.Random, split: str) -> Value:
    """Three digits times a power of ten: thousands and millions in English, ten thousands and hundred millions in Chinese."""
    leading, power = chance.randrange(100, 1000), chance.randint(*((8, 9) if split == "magnitudes" else (1, 7)))
    number = Decimal(leading * 10**power)
    styles: dict[str, Literal["long", "short"]] = {"en": "long", "zh_Hans": "short"}  # Babel has one style for Chinese
    return str(leading), lambda locale: format_compact_decimal(
        number, format_type=styles[locale], locale=locale, fraction_digits=2
    )


KINDS = {
    "date": _date, "time": _time, "moment": _moment, "interval": _interval, "ago": _ago,
    "decimal": _decimal, "money": _money, "measure": _measure, "compact": _compact,
}  # fmt: skip
IN_SPLIT = {
    "train": ("date", "date", "time", *KINDS),  # dates have more formats, and hours are to be learned
    "test": ("date", "date", "time", *KINDS),
    "magnitudes": ("decimal", "money", "measure", "compact"),
    "combinations": ("date", "money", "measure"),
}


def _pairs(split: str) -> Iterator[tuple[str, str, str]]:
    """Without end; the spaces of all widths that CLDR has are plain ones."""
    chance = random.Random(split)
    while True:
        kind = chance.choice(IN_SPLIT[split])
        value, write = KINDS[kind](chance, split)
        if split == "magnitudes" or _held_out(value) == (split == "test"):
            en, zh = (re.sub(r"\s", " ", write(LOCALES[language])) for language in LANGUAGES)
            yield kind, en, zh


@lru_cache(maxsize=4)
def load(split: str) -> Pairs:
    """The `train`, `test`, `magnitudes` or `combinations` pairs, each once. Raises ValueError for another name."""
    if split not in SIZES:
        raise ValueError(f"split must be one of {', '.join(SIZES)}, got {split!r}")
    found: dict[tuple[str, str], str] = {}
    for kind, en, zh in _pairs(split):
        found.setdefault((en, zh), kind)
        if len(found) == SIZES[split]:
            break
    return Pairs(tuple(found.values()), tuple(en for en, _ in found), tuple(zh for _, zh in found))


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """What training is written with, sorted: English words (with the space before them), digits and other characters."""
    train = load("train")
    return tuple(sorted({token for text in train.en + train.zh for token in tokenize(text)}))


def tokenize(text: str) -> list[str]:
    """Words of Latin letters, with a space that stands before them, and single characters. Joined, they are the text."""
    return TOKEN.findall(text)


@lru_cache(maxsize=1)
def token_ids() -> dict[str, int]:
    """Token -> id, from `SPECIALS` on; the ids before that are `PAD`, `END` and two that are free."""
    return {token: SPECIALS + i for i, token in enumerate(vocabulary())}


def encode(texts: Sequence[str]) -> tuple[Int[Tensor, "B T"], Int[Tensor, " B"]]:
    """Texts in tokens, `END` behind each, as rows of one length, filled up with `PAD`; and how long each is.

    Raises ValueError for a token that training does not have.
    """
    index, rows = token_ids(), [tokenize(text) for text in texts]
    unknown = {token for row in rows for token in row} - index.keys()
    if unknown:
        raise ValueError(f"training has no {', '.join(map(repr, sorted(unknown)))}")
    ids = torch.full((len(rows), max(map(len, rows), default=0) + 1), PAD)
    for filled, row in zip(ids, rows, strict=True):
        filled[: len(row) + 1] = torch.tensor([index[token] for token in row] + [END])
    return ids, torch.tensor([len(row) + 1 for row in rows], dtype=torch.int64)


def decode(ids: Iterable[int]) -> str:
    """The text up to `END`. An id that stands for no token becomes U+FFFD."""
    spelled = []
    for id in ids:
        if id == END:
            break
        spelled.append(vocabulary()[id - SPECIALS] if id >= SPECIALS else "\ufffd")
    return "".join(spelled)


def shared() -> float:
    """Share of the pairs of the other splits that have a text, of either language, that stands in training."""
    train = load("train")
    seen = {*train.en, *train.zh}
    pairs = [pair for split in SIZES if split != "train" for pair in zip(load(split).en, load(split).zh, strict=True)]
    return sum(en in seen or zh in seen for en, zh in pairs) / len(pairs)


def formats_alone() -> float:
    """Share of the test, in both directions, that the commonest translation of a text whose digits are blank gets right."""
    train, test, right = load("train"), load("test"), 0
    for sources, targets, asked, wanted in ((train.en, train.zh, test.en, test.zh), (train.zh, train.en, test.zh, test.en)):
        seen: dict[str, Counter[str]] = defaultdict(Counter)
        for source, target in zip(sources, targets, strict=True):
            seen[re.sub(r"\d", "#", source)][target] += 1
        for source, target in zip(asked, wanted, strict=True):
            right += [said for said, _ in seen[re.sub(r"\d", "#", source)].most_common(1)] == [target]
    return right / (2 * len(test))


def preview() -> Preview:
    """Three pairs of each kind."""
    train = load("train")
    chosen = [i for kind in KINDS for i in [j for j, k in enumerate(train.kinds) if k == kind][:3]]
    return Preview(text="\n".join(f"{train.en[i]}\t{train.zh[i]}" for i in chosen))
