r"""
# A tokenizer

A language model reads numbers, so a text is cut into pieces of a fixed vocabulary. **Byte-level BPE** (GPT-2 and most models
since) begins with the 256 bytes of UTF-8, so there is no text that it cannot spell, and learns **merges** from a corpus: of all
pairs of neighbouring tokens, the most frequent one becomes a new token, again and again,

$$(l, r)_k = \operatorname*{arg\,max}_{(l, r)} \sum_w f(w)\, c_{w}(l, r), \qquad t_{256 + k} = t_l \Vert t_r,$$

where $f(w)$ is how often a word stands in the corpus, and $c_w(l, r)$ how often the pair stands in it as it is spelled by now.
**Pre-tokenisation** cuts the text into such words first, and no merge crosses their ends. To encode, the merges are applied
*in the order in which they were learned*, so that a word is spelled as it was when the merges were learned.

Two others cut with a vocabulary alone. **WordPiece** (BERT) takes the longest piece that fits, from left to right. **Unigram**
(SentencePiece) gives every piece a probability and takes the likeliest cut, by Viterbi's recurrence over the ends of pieces:

$$v_j = \max_{i < j} \bigl(v_i + \log p(x_{i:j})\bigr), \qquad v_0 = 0.$$

Conventions, those of Hugging Face's `tokenizers`: the ids 0 to 255 are the bytes in the order of the characters that GPT-2 prints
for them, and $256 + k$ is what merge $k$ makes. Of equally frequent pairs the smaller one, compared as ids, is merged first.

**Asked in interviews.** Why bytes, not characters? Why are merges applied in the order of learning? What do learning and encoding
cost? What is a token of Chinese worth? What becomes of half a character? Why is a special token in a user's text only text?

**Sources.** Sennrich et al., *Neural Machine Translation of Rare Words with Subword Units* (2016), algorithm 1; Radford et al.,
*Language Models are Unsupervised Multitask Learners* (GPT-2, 2019), section 2.2; Wu et al., *Google's Neural Machine
Translation System* (2016), section 4.1; Kudo, *Subword Regularization* (2018), section 3.2.

**In this course.** [Question](../../questions/text/tokenizer.md) · [exercise](../../notebooks/text/tokenizer.ipynb) ·
[solution](../../solutions/text/tokenizer.ipynb)
"""

import math
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from heapq import heapify, heappop, heappush
from itertools import chain, islice, pairwise
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from reference_impl.data import chinese_prose, python_docs
from reference_impl.experiments import Ablation, Leak
from reference_impl.runtime import Gate

Pair = tuple[int, int]

# GPT-2's cut into words, for `re`: there, a letter is what is neither a number nor `_` of `\w`, and numbers that are no decimal
# digits (² ½ 〇 Ⅷ) have to be listed. `\s` of Python has four control characters more than that of other engines.
NUMERALS = "".join(c for c in map(chr, range(0x20000)) if c.isnumeric() and not (c.isalpha() or c.isdecimal()))
PATTERN = re.compile(
    rf"'(?:[stmd]|re|ve|ll)| ?[^\W\d_{NUMERALS}]+| ?[\d{NUMERALS}]+| ?(?:[^\s\w]|[_\x1c-\x1f])+"
    r"|[^\S\x1c-\x1f]+(?![\S\x1c-\x1f])|[^\S\x1c-\x1f]+"
)
split_words: Callable[[str], list[str]] = PATTERN.findall  # joined, the words are the text again; a space goes with what follows


def byte_alphabet() -> str:
    """The 256 characters that stand for the bytes where tokens are printed, in the order of the bytes. GPT-2, `encoder.py`.

    A byte that is a visible character of Latin-1 (33 to 126, 161 to 172, 174 to 255) stands for itself; the others, in their
    order, are U+0100, U+0101 and so on: a space is Ġ, a line feed Ċ.
    """
    characters, spare = [], 256
    for byte in range(256):
        if 33 <= byte <= 126 or (byte >= 161 and byte != 173):
            characters.append(chr(byte))
        else:
            characters.append(chr(spare))
            spare += 1
    return "".join(characters)


def count_pairs(words: Sequence[Sequence[int]], times: Sequence[int]) -> list[tuple[Pair, int]]:
    """Each pair of neighbouring tokens with how often it stands in the corpus, the most frequent first, of equals the smaller one.

    words: spelled in tokens; times: how often each of them occurs. Pairs are compared as numbers, left before right. In "aaa"
    the pair "aa" stands twice. Raises ValueError unless each word has its number. Sennrich et al. (2016), algorithm 1.
    """
    if len(words) != len(times):
        raise ValueError(f"expected a number for each word, got {len(times)} for {len(words)} words")
    counts: dict[Pair, int] = {}
    for word, often in zip(words, times, strict=False):
        for pair in pairwise(word):
            counts[pair] = counts.get(pair, 0) + often
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def merge(word: Sequence[int], pair: Pair, new: int) -> list[int]:
    """The word with `new` wherever the tokens of `pair` stood side by side, taken from the left: of "aaa" the first two. O(n)."""
    merged, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            merged.append(new)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


class Counted(int):
    """A number of which every sum, product, comparison and hash is counted, in `tally`."""

    tally = 0


def counted(name: str) -> Callable[..., Any]:
    """A method of `int` of which every call is counted."""

    def method(*numbers: int) -> Any:
        Counted.tally += 1
        return getattr(int, name)(*numbers)

    return method


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "eq", "ne", "lt", "le", "gt", "ge", "hash"):
    setattr(Counted, f"__{_name}__", counted(f"__{_name}__"))


def respell(words: list[list[int]], times: Sequence[int], where: dict[Pair, set[int]], pair: Pair, new: int) -> dict[Pair, int]:
    """Merge `pair` in the words at `where[pair]`, in place, and keep `where` up to date; by how much the count of each pair changes."""
    changes = Counter[Pair]()
    for i in where.pop(pair):
        old, words[i] = words[i], merge(words[i], pair, new)
        for gone in pairwise(old):
            changes[gone] -= times[i]
        for made in pairwise(words[i]):
            changes[made] += times[i]
            where[made].add(i)
    return {other: by for other, by in changes.items() if by}


def count_learning(words: Sequence[Sequence[int]], times: Sequence[int], count: int, *, incremental: bool = True) -> int:
    """How often the number of a word is added to the count of a pair, or taken from it, while `count` merges are learned."""
    numbers = [Counted(often) for often in times]
    Counted.tally = 0
    if incremental:
        learn_merges(words, numbers, count)
    for new in range(256, 256 if incremental else 256 + count):  # all pairs are counted again for every merge
        (pair, _), *_ = count_pairs(words, numbers)
        words = [merge(word, pair, new) for word in words]
    return Counted.tally


def learn_merges(words: Sequence[Sequence[int]], times: Sequence[int], count: int) -> list[Pair]:
    """The pairs that become the tokens 256, 257, …, in this order: at most `count`, fewer if no pair is left.

    words, spelled in the ids of bytes, and times: as for `count_pairs`, which says which pair is next. After a merge only words
    that had it are counted anew (`respell`). Raises ValueError for a negative `count`. Sennrich et al. (2016), algorithm 1.
    """
    if count < 0:
        raise ValueError(f"the number of merges must be 0 or more, got {count}")
    heap = [(-often, pair) for pair, often in count_pairs(words, times)]  # what is sorted is a heap
    spelled, counts = [list(word) for word in words], Counter({pair: -less for less, pair in heap})
    where: dict[Pair, set[int]] = defaultdict(set)
    for i, word in enumerate(spelled):
        for pair in pairwise(word):
            where[pair].add(i)
    merges: list[Pair] = []
    while heap and len(merges) < count:
        less, pair = heappop(heap)
        if less == 0 or -less != counts[pair]:  # a count that has changed since is in the heap again
            continue
        merges.append(pair)
        for changed, by in respell(spelled, times, where, pair, 255 + len(merges)).items():
            counts[changed] += by
            heappush(heap, (-counts[changed], changed))
    return merges


def naive_encode(word: Sequence[int], ranks: Mapping[Pair, int]) -> list[int]:
    """Look for the pair of lowest rank, merge it wherever it stands, look again: O(n) for each different merge. GPT-2, `encoder.py`."""
    while found := [pair for pair in pairwise(word) if pair in ranks]:
        pair = min(found, key=ranks.__getitem__)
        word = merge(word, pair, ranks[pair])
    return list(word)


def count_encoding(word: Sequence[int], merges: Sequence[Pair], *, heap: bool = True) -> int:
    """Hashes and comparisons of ids and ranks while a word is encoded: what looking pairs up and ordering them takes."""
    tokenizer, ids = Tokenizer(merges), [Counted(id) for id in word]
    tokenizer.ranks = {pair: Counted(rank) for pair, rank in tokenizer.ranks.items()}
    Counted.tally = 0
    _ = tokenizer.encode_word(ids) if heap else naive_encode(ids, tokenizer.ranks)
    return Counted.tally


class Tokenizer:
    """Byte-level BPE. ranks: pair -> what it becomes; a lower id was learned earlier. specials: text -> id, behind all others.

    Raises ValueError if a merge names a token that is not there yet, or if one stands twice, or a special token is empty or does.
    """

    def __init__(self, merges: Sequence[Pair], specials: Sequence[str] = ()) -> None:
        self.ranks: dict[Pair, int] = {(left, right): 256 + k for k, (left, right) in enumerate(merges)}
        if len(self.ranks) < len(merges) or any(not 0 <= id < new for pair, new in self.ranks.items() for id in pair):
            raise ValueError("expected merges of two tokens that are known by then, each pair once")
        if "" in specials or len(set(specials)) < len(specials):
            raise ValueError(f"expected special tokens that differ and are not empty, got {list(specials)}")
        self.specials = {text: 256 + len(merges) + i for i, text in enumerate(specials)}
        self.special = re.compile(f"({'|'.join(map(re.escape, sorted(specials, key=len, reverse=True))) or '(?!)'})")
        self.words = lru_cache(1 << 17)(lambda word: tuple(self.encode_word(self.spell(word))))  # words are met again and again

    def __len__(self) -> int:
        """The number of tokens: ids are 0 to one less."""
        return 256 + len(self.ranks) + len(self.specials)

    @cached_property
    def ids(self) -> dict[int, int]:
        """Byte -> id: they are numbered in the order of the characters that stand for them."""
        return {byte: id for id, byte in enumerate(sorted(range(256), key=byte_alphabet().__getitem__))}

    @cached_property
    def tokens(self) -> list[bytes]:
        """What each id spells."""
        spelled = [bytes([byte]) for byte in self.ids]
        for left, right in self.ranks:
            spelled.append(spelled[left] + spelled[right])
        return spelled + [text.encode() for text in self.specials]

    def spell(self, word: str) -> list[int]:
        """The ids of the bytes of a word; U+DC80 to U+DCFF stand for bytes that are no UTF-8. Raises ValueError for other surrogates."""
        return [self.ids[byte] for byte in word.encode("utf-8", "surrogateescape")]

    def encode_word(self, word: Sequence[int]) -> list[int]:
        """Bytes, as ids, after all merges in the order of learning, of equal ones the leftmost first. O(n log n): links and a heap."""
        n, ids = len(word), [*word]
        before, after = [i - 1 for i in range(n)], [i + 1 for i in range(n)]
        heap = [(self.ranks[pair], i) for i, pair in enumerate(pairwise(ids)) if pair in self.ranks]
        heapify(heap)
        while heap:
            new, i = heappop(heap)
            j = after[i]
            if j == n or self.ranks.get((ids[i], ids[j])) != new:
                continue
            ids[i], ids[j], after[i] = new, -1, after[j]  # the right token goes, what follows it is linked to the left one
            if after[i] < n:
                before[after[i]] = i
            for left in (before[i], i):
                if after[left] < n:  # -1, before the first place, is the last one, which nothing follows
                    made = self.ranks.get((ids[left], ids[after[left]]))
                    if made is not None:
                        heappush(heap, (made, left))
        return [id for id in ids if id >= 0]

    def decode(self, ids: Sequence[int], errors: str = "replace") -> str:
        """The text that ids spell. Tokens may end within a character, so all their bytes are put together first.

        errors: what becomes of bytes that are no UTF-8, as in `bytes.decode`: by default each longest beginning of a character,
        or else each byte, becomes U+FFFD. Raises ValueError for an id that is not 0 to `len(self)` - 1.
        """
        for id in ids:
            if not 0 <= id < len(self.tokens):
                raise ValueError(f"ids must lie in 0 to {len(self.tokens) - 1}, got {id}")
        return b"".join(self.tokens[id] for id in ids).decode("utf-8", errors)

    def encode(self, text: str | bytes, *, special: bool = False) -> list[int]:
        """The ids of a text or of any bytes. special: whether special tokens that stand in it are these tokens.

        By default they are spelled like any other text: what a user writes must not end a turn. Raises ValueError as `spell` does.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        ids: list[int] = []
        for i, part in enumerate(self.special.split(text) if special else [text]):
            ids += [self.specials[part]] if i % 2 else chain.from_iterable(map(self.words, split_words(part)))
        return ids


def spelled_words(counts: Mapping[str, int]) -> tuple[list[list[int]], list[int]]:
    """Words in the ids of their bytes, and how often each occurs: what `learn_merges` takes."""
    return [*map(Tokenizer([]).spell, counts)], [*counts.values()]


def wordpiece_encode(word: str, vocabulary: Mapping[str, int], unknown: str = "[UNK]", longest: int = 100) -> list[str]:
    """A word in pieces, from left to right the longest that the vocabulary has. Wu et al. (2016), section 4.1; BERT, `tokenization.py`.

    A piece that does not begin the word is written, and looked up, with ## before it. If at any place nothing fits, or if the
    word has more than `longest` characters, it is `unknown` as a whole. Raises ValueError unless the vocabulary has `unknown`.
    """
    if unknown not in vocabulary:
        raise ValueError(f"expected a vocabulary that has {unknown!r}, got {len(vocabulary)} pieces without it")
    if len(word) > longest:
        return [unknown]
    pieces, start = [], 0
    while start < len(word):
        mark, end = "##" if start else "", len(word)
        while end > start and mark + word[start:end] not in vocabulary:
            end -= 1
        if end == start:
            return [unknown]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


def viterbi_unigram(text: str, scores: Mapping[str, float]) -> list[str]:
    """The pieces of the likeliest cut of a text. scores: log-probabilities of pieces. Kudo (2018), section 3.2; SentencePiece.

    A single character that is no piece may stand alone too, for 10 less than the lowest score. Of equally likely cuts of a
    beginning, the one with the longest last piece is kept. O(n · longest piece). Raises ValueError for empty pieces, NaN, infinity.
    """
    wrong = {piece: score for piece, score in scores.items() if not piece or not math.isfinite(score)}
    if wrong:
        raise ValueError(f"expected pieces that are not empty, with finite log-probabilities; got {wrong}")
    unknown, longest = min(scores.values(), default=0.0) - 10, max(map(len, scores), default=1)
    best, starts = [0.0], dict[int, int]()  # of the first `end` characters: the best score of a cut, where its last piece starts
    for end, _ in enumerate(text, start=1):
        most = -math.inf
        for start in range(max(0, end - longest), end):
            score = best[start] + scores.get(text[start:end], unknown if end - start == 1 else -math.inf)
            if score > most:
                most, starts[end] = score, start
        best.append(most)
    pieces, end = [], len(text)
    while end > 0:
        pieces.append(text[starts[end] : end])
        end = starts[end]
    return pieces[::-1]


@dataclass(frozen=True)
class Config:
    """Which ideas are used. size: tokens, bytes included. order: of merges, as `learned`; or by tokens alone, see `spelling_by`."""

    size: int = 4096
    order: str = "learned"
    recount: bool = True  # else the most frequent pairs of bytes are all the merges
    chinese: bool = True  # else merges are learned from English alone
    split: bool = True  # else a line is one word
    incremental: bool = True  # else all pairs are counted again for every merge
    heap: bool = True  # else all pairs of a word are looked at again for every merge


def spelling_by(order: str, tokens: Sequence[bytes], often: Mapping[int, int] | None = None) -> Callable[[str], Sequence[int]]:
    """How a word is spelled by a vocabulary alone: `longest`, or `likeliest` if each token is used as `often` as that."""
    alphabet, counts, norm = byte_alphabet(), Counter(often), math.log(sum((often or {}).values()) + len(tokens))
    shown = {"".join(alphabet[byte] for byte in token): id for id, token in enumerate(tokens)}
    pieces = {"[UNK]": -1, **shown, **{f"##{piece}": id for piece, id in shown.items()}}
    scores = {piece: math.log(counts[id] + 1) - norm for piece, id in shown.items()}

    def spelling(word: str) -> list[int]:
        visible = "".join(alphabet[byte] for byte in word.encode())
        cut = wordpiece_encode(visible, pieces, longest=len(visible)) if order == "longest" else viterbi_unigram(visible, scores)
        return [pieces[piece] for piece in cut]

    return lru_cache(None)(spelling)


def bytes_per_token(spelling: Callable[[str], Sequence[Any]], words: Counter[str]) -> float:
    """How many bytes of UTF-8 a token stands for on average, in words as often as they occur."""
    size = sum(often * len(word.encode()) for word, often in words.items())
    return size / sum(often * len(spelling(word)) for word, often in words.items())


def listed(seen: Mapping[str, int], count: int, longest: int = 12) -> list[bytes]:
    """Tokens from one pass: bytes, and parts of words by how often each stands, less the commonest part with one character more."""
    counts, longer = Counter[str](), Counter[str]()
    for word, often in seen.items():
        for start in range(len(word)):
            for end in range(start + 1, min(start + longest, len(word)) + 1):
                counts[word[start:end]] += often
    for part, often in counts.items():
        for inner in (part[1:], part[:-1]):
            longer[inner] = max(longer[inner], often)
    parts = sorted((part for part in counts if len(part.encode()) > 1), key=lambda part: longer[part] - counts[part])
    return [bytes([byte]) for byte in range(256)] + [part.encode() for part in parts[:count]]


def anything(held_out: str, chance: random.Random) -> list[bytes]:
    """100 passages of a text, 100 strings of any characters of Unicode, and 100 of any bytes, of up to 59 each."""
    characters, found = [*map(chr, (*range(0xD800), *range(0xE000, 0x110000)))], list[bytes]()
    for _ in range(100):
        n, at = chance.randrange(60), chance.randrange(len(held_out))
        found += [held_out[at : at + n].encode(), "".join(chance.choices(characters, k=n)).encode(), chance.randbytes(n)]
    return found


def encoding_exponent(merges: Sequence[Pair], chinese: str, chance: random.Random, heap: bool) -> float:
    """The power with which `count_encoding` grows over one word of Chinese, from 128 bytes to 2,048."""
    run = Tokenizer([]).spell("".join(re.findall("[一-鿿]", chinese)))
    start, lengths = 3 * chance.randrange((len(run) - 2048) // 3), 128 * 2 ** np.arange(5)  # characters have three bytes
    counts = [count_encoding(run[start : start + n], merges, heap=heap) for n in lengths]
    return float(np.polyfit(np.log2(lengths), np.log2(counts), 1)[0])


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """Bytes per token of held-out documentation (en) and Chinese pages (zh), what comes back, and how counted work grows.

    Merges are learned from three quarters of the training texts, drawn by the seed. *_longest, *_likeliest: the learned tokens used
    as WordPiece and as Unigram do; *_listed: the longest ones of `listed`. as_learned: the share of 400 held-out words spelled by
    merges in the order of learning. known_words: the share of held-out words that the texts have, which a cache may answer.
    round_trip: of `anything`, what comes back byte for byte; *_characters: what the characters of the texts can spell.
    exponent_encode: `encoding_exponent`. learn_updates: `count_learning` of 128 merges, for each byte of 1,024 words.
    """
    chance, split = random.Random(seed), split_words if config.split else (lambda text: text.splitlines(keepends=True))
    docs, pages = (chance.sample(t := data.load("train").texts, len(t) * 3 // 4) for data in (python_docs, chinese_prose))
    seen = Counter(word for text in docs + pages * config.chinese for word in split(text))
    english, chinese = python_docs.load("test").text, chinese_prose.load("test").text
    held_out = {"en": Counter(split(english)), "zh": Counter(split(chinese))}
    (spelled, times), new = spelled_words(seen), config.size - 256
    merges = learn_merges(spelled, times, new) if config.recount else [pair for pair, _ in count_pairs(spelled, times)[:new]]
    tokenizer, words = Tokenizer(merges), held_out["en"] + held_out["zh"]
    ways = {"bytes_per_token": tokenizer.words if config.order == "learned" else spelling_by(config.order, tokenizer.tokens)}
    if config == Config():  # an idea taken away is compared with the whole alone
        used = Counter(id for word, often in seen.items() for id in tokenizer.words(word) * often)
        ways |= {order: spelling_by(order, tokenizer.tokens, used) for order in ("longest", "likeliest")}
        ways["listed"] = spelling_by("longest", listed(seen, new))
    held_out["all"] = words
    figures = {f"{name}_{way}": bytes_per_token(ways[way], text) for name, text in held_out.items() for way in ways}
    some, items, characters = chance.sample(sorted(words), 400), anything(english + chinese, chance), set("".join(seen))
    came = [tokenizer.decode(tokenizer.encode(item), "surrogateescape").encode("utf-8", "surrogateescape") for item in items]
    as_learned = [[*ways["bytes_per_token"](word)] == naive_encode(tokenizer.spell(word), tokenizer.ranks) for word in some]
    spelled, times = spelled_words(dict(islice(Counter(chain.from_iterable(map(split_words, docs))).items(), 1024)))
    return {
        **figures,
        "as_learned": float(np.mean(as_learned)),
        "known_words": sum(often for word, often in words.items() if word in seen) / words.total(),
        "round_trip": float(np.mean([back == item for back, item in zip(came, items, strict=True)])),
        "round_trip_characters": float(np.mean([{*item.decode("utf-8", "surrogateescape")} <= characters for item in items])),
        "exponent_encode": encoding_exponent(merges, chinese, chance, config.heap),
        "learn_updates": count_learning(spelled, times, 128, incremental=config.incremental) / sum(map(len, spelled)),
    }


GATES = (
    Gate("all_bytes_per_token", at_least=3, above="all_listed", baseline="all_listed"),
    Gate("en_bytes_per_token", at_least=3, baseline="en_listed"),
    Gate("zh_bytes_per_token", at_least=3, above="zh_listed", baseline="zh_listed"),
    Gate("as_learned", at_least=1),
    Gate("round_trip", at_least=1, above="round_trip_characters", baseline="round_trip_characters"),
    Gate("exponent_encode", at_most=1.2),
    Gate("learn_updates", at_most=10),
)
ABLATIONS = {
    "pairs counted once": Ablation(Config(recount=False), "en_bytes_per_token", higher_by=1),
    "English alone": Ablation(Config(chinese=False), "zh_bytes_per_token", higher_by=1.5),
    "the longest token first": Ablation(Config(order="longest"), "as_learned", higher_by=0.05),
    "no pre-tokenisation": Ablation(Config(split=False), "known_words", higher_by=0.4),
    "all pairs recounted": Ablation(Config(incremental=False), "learn_updates", lower_by=50),
    "no heap": Ablation(Config(heap=False), "exponent_encode", lower_by=0.4),
}
LEAKS = {
    "held-out documentation in training": Leak(lambda seed, device: python_docs.shared(), chance=0.0, at_most=0.02),
    "held-out Chinese in training": Leak(lambda seed, device: chinese_prose.shared(), chance=0.0, at_most=0.02),
}


def demo() -> Figure:
    """A line as three ways cut it, and what a token is worth as the vocabulary grows."""
    docs, pages = python_docs.load("train"), chinese_prose.load("train")
    merges = learn_merges(*spelled_words(Counter(split_words(docs.text[:200_000] + pages.text[:20_000]))), 1792)
    tokenizer, line = Tokenizer(merges), "error: universal protocol is faster, trailing features unchanged"
    often = Counter(id for text in docs.texts[:5] for id in tokenizer.encode(text))
    figure, (cut, worth) = plt.subplots(2, 1, figsize=(10, 6.5), height_ratios=(2, 3), layout="constrained")
    for row, order in enumerate(("learned", "longest", "likeliest")):
        x, spelling = 0, spelling_by(order, tokenizer.tokens, often) if order != "learned" else tokenizer.words
        for i, id in enumerate(id for word in split_words(line) for id in spelling(word)):
            text = tokenizer.decode([id])
            cut.barh(-row, len(text), left=x, color=f"C{i % 6}", alpha=0.35)
            cut.text(x, -row, text.replace(" ", "␣"), family="monospace", va="center", fontsize=9)
            x += len(text)
    cut.set_yticks([0, -1, -2], ["merge order (BPE)", "longest (WordPiece)", "likeliest (Unigram)"])
    cut.set(title="One vocabulary of 2,048 tokens, three ways to cut", xticks=[])
    counts = [0, 64, 128, 256, 512, 1024, 1792]
    for name, data in (("documentation", python_docs), ("Chinese", chinese_prose)):
        words = Counter(split_words(data.load("test").text))
        values = [bytes_per_token(Tokenizer(merges[:count]).words, words) for count in counts]
        worth.plot([256 + count for count in counts], values, "o-", label=name)
    worth.set(title="Held-out text", xlabel="tokens in the vocabulary", ylabel="bytes per token")
    worth.legend()
    return figure
