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

**Asked in interviews.** Why bytes and not characters? Why must merges be applied in the order of learning? What does it cost to
learn and to apply them, naively and well? Why do models count letters badly? What is a token of Chinese worth? What happens to
half a character at the end of a stream? Why must a special token in a user's text be no special token?

**Sources.** Sennrich et al., *Neural Machine Translation of Rare Words with Subword Units* (2016), algorithm 1; Radford et al.,
*Language Models are Unsupervised Multitask Learners* (GPT-2, 2019), section 2.2; Wu et al., *Google's Neural Machine
Translation System* (2016), section 4.1; Kudo, *Subword Regularization* (2018), section 3.2.

**In this course.** [Question](../../questions/text/tokenizer.md) · [exercise](../../notebooks/text/tokenizer.ipynb) ·
[solution](../../solutions/text/tokenizer.ipynb)
"""

import codecs
import json
import math
import os
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import heapify, heappop, heappush
from itertools import chain, pairwise
from pathlib import Path
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
    """The 256 characters that stand for the bytes where tokens are printed: the one at place b stands for byte b. GPT-2, `encoder.py`.

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
    """Each pair of neighbouring tokens with how often it stands in the corpus, the one to be merged first in front.

    words: spelled in tokens; times: how often each of them occurs. The most frequent pair comes first, of equally frequent ones
    the smaller (by the left id, then by the right). In "aaa" the pair "aa" stands twice. Raises ValueError unless each word has
    its number. Sennrich et al. (2016), algorithm 1.
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
    """A number of which every addition, comparison and hash is counted, in `tally`."""

    tally = 0

    @staticmethod
    def counting(name: str) -> Callable[..., Any]:
        def method(self: int, *others: Any) -> Any:
            Counted.tally += 1
            return getattr(int, name)(int(self), *others)

        return method


for _name in ("add", "radd", "sub", "rsub", "mul", "rmul", "eq", "lt", "le", "gt", "ge", "hash"):
    setattr(Counted, f"__{_name}__", Counted.counting(f"__{_name}__"))


class CountedRanks(dict[Pair, int]):
    """Ranks of pairs of which every look-up is counted, and every comparison of a rank."""

    def get(self, pair: Any, default: Any = None) -> Any:
        Counted.tally += 1
        return super().get(pair, default)

    def __getitem__(self, pair: Any) -> Any:
        Counted.tally += 1
        return super().__getitem__(pair)

    def __contains__(self, pair: Any) -> bool:
        Counted.tally += 1
        return super().__contains__(pair)


def tally_of(work: Callable[[], object]) -> int:
    """What is counted while `work` is done."""
    Counted.tally = 0
    work()
    return Counted.tally


def recounted_merges(words: Sequence[Sequence[int]], times: Sequence[int], count: int) -> list[Pair]:
    """As `learn_merges`, but all pairs are counted again for every merge."""
    merges: list[Pair] = []
    while len(merges) < count and (counts := count_pairs(words, times)):
        merges.append(counts[0][0])
        words = [merge(word, merges[-1], 255 + len(merges)) for word in words]
    return merges


def respell(words: list[list[int]], times: Sequence[int], where: dict[Pair, set[int]], pair: Pair, new: int) -> Counter[Pair]:
    """Merge `pair` in the words that have it, in place; by how much this changes the count of each pair. Keeps `where` complete.

    where: for each pair the places of all words that have it, and perhaps of some that had it once.
    """
    changes = Counter[Pair]()
    for i in where.pop(pair):
        old, words[i] = words[i], merge(words[i], pair, new)
        here = Counter(pairwise(words[i]))
        here.subtract(pairwise(old))
        for other, by in here.items():
            if by:  # most pairs of a long word stay as they are
                changes[other] += by * times[i]
            if by > 0:
                where[other].add(i)
    return changes


def count_learning(words: Sequence[Sequence[int]], times: Sequence[int], count: int, *, incremental: bool = True) -> int:
    """How often the number of a word is added to the count of a pair, or taken from it, while `count` merges are learned."""
    counted = [Counted(often) for often in times]
    return tally_of(lambda: (learn_merges if incremental else recounted_merges)(words, counted, count))


def learn_merges(words: Sequence[Sequence[int]], times: Sequence[int], count: int) -> list[Pair]:
    """The pairs that become the tokens 256, 257, …, in this order: at most `count`, fewer if no pair is left.

    words and times: as for `count_pairs`, which says which pair is next; words are spelled in the ids of bytes, 0 to 255. After
    a merge only words that had the pair are counted anew (`respell`), and the next pair comes from a heap. Raises ValueError for
    a negative `count`. Sennrich et al. (2016), algorithm 1.
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


def naive_encode(word: Sequence[int], ranks: Mapping[Pair, int], *, last: bool = False) -> list[int]:
    """Look for the pair of lowest rank, merge it wherever it stands, look again: O(n) for each different merge. last: of highest."""
    while found := [pair for pair in pairwise(word) if pair in ranks]:
        pair = (max if last else min)(found, key=ranks.__getitem__)
        word = merge(word, pair, ranks[pair])
    return list(word)


def count_encoding(word: Sequence[int], merges: Sequence[Pair], *, heap: bool = True) -> int:
    """Look-ups of pairs and comparisons of ranks while a word is encoded."""
    tokenizer = Tokenizer(merges)
    tokenizer.ranks = CountedRanks({pair: Counted(rank) for pair, rank in tokenizer.ranks.items()})
    return tally_of(lambda: tokenizer.encode_word(word) if heap else naive_encode(word, tokenizer.ranks))


class WordCache(dict[str, list[int]]):
    """The ids of words that were met before; a full one is emptied."""

    def __init__(self, make: Callable[[str], list[int]], room: int = 1 << 17) -> None:
        super().__init__()
        self.make, self.room = make, room

    def __missing__(self, word: str) -> list[int]:
        if len(self) >= self.room:
            self.clear()
        ids = self[word] = self.make(word)
        return ids


class Tokenizer:
    """Byte-level BPE. ranks: pair -> what it becomes; a lower id was learned earlier. specials: text -> id, behind all others.

    Raises ValueError if a merge names a token that is not there yet or stands twice, or if a special token is empty or stands twice.
    """

    def __init__(self, merges: Sequence[Pair], specials: Sequence[str] = ()) -> None:
        self.ranks: dict[Pair, int] = {(left, right): 256 + k for k, (left, right) in enumerate(merges)}
        if len(self.ranks) < len(merges) or any(not 0 <= id < new for pair, new in self.ranks.items() for id in pair):
            raise ValueError("expected merges of two tokens that are known by then, each pair once")
        if "" in specials or len(set(specials)) < len(specials):
            raise ValueError(f"expected special tokens that differ and are not empty, got {list(specials)}")
        self.specials = {text: 256 + len(merges) + i for i, text in enumerate(specials)}
        longest_first = sorted(specials, key=len, reverse=True)
        self.special = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")" if specials else "((?!))")
        self.words = WordCache(lambda word: self.encode_word(self.spell(word)))

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
        """The ids of the bytes of a word; the surrogates U+DC80 to U+DCFF stand for bytes that are no UTF-8. Raises ValueError for others."""
        try:
            return [self.ids[byte] for byte in word.encode("utf-8", "surrogateescape")]
        except UnicodeEncodeError as error:
            raise ValueError(f"expected text, got {word!r}: {word[error.start]!r} is half of a surrogate pair") from None

    def encode_word(self, word: Sequence[int]) -> list[int]:
        """The ids of bytes, with merges applied in the order in which they were learned, of equal ones the leftmost first.

        O(n log n): the tokens are a list that is linked both ways, the merges that are possible now wait in a heap, and one whose
        tokens have gone since is passed over.
        """
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

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The bytes that ids spell, whatever they are: `encode` undone exactly."""
        return self.decode(ids, "surrogateescape").encode("utf-8", "surrogateescape")

    def stream(self, ids: Iterable[int]) -> Iterator[str]:
        """Text as ids come, one piece each: a character that is not complete yet is held back, and shown broken only at the end."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for id in ids:
            yield decoder.decode(self.decode_bytes([id]))
        yield decoder.decode(b"", final=True)

    def encode(self, text: str | bytes, *, special: bool = False) -> list[int]:
        """The ids of a text or of any bytes; none of an empty one.

        special: whether special tokens that stand in the text are these tokens. By default they are spelled like any other text:
        what a user writes must not end a turn. Raises ValueError for half of a surrogate pair, which is no text.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        ids: list[int] = []
        for i, part in enumerate(self.special.split(text) if special else [text]):
            ids += [self.specials[part]] if i % 2 else chain.from_iterable(map(self.words.__getitem__, split_words(part)))
        return ids

    @classmethod
    def learn(cls, texts: Iterable[str], size: int, specials: Sequence[str] = ()) -> "Tokenizer":
        """A tokenizer of `size` tokens, bytes and special ones included; of fewer if the texts have no more pairs.

        Raises ValueError if the bytes and special tokens alone are more.
        """
        if size < 256 + len(specials):
            raise ValueError(f"256 bytes and {len(specials)} special tokens need a size of that many or more, got {size}")
        words, times = spelled_words(texts)
        return cls(learn_merges(words, times, size - 256 - len(specials)), specials)

    def save(self, path: str | Path) -> None:
        """One JSON of merges, in printed characters as in GPT-2's `merges.txt`, and special tokens; written whole or not at all."""
        alphabet = byte_alphabet()
        shown = ["".join(alphabet[byte] for byte in token) for token in self.tokens]
        merges = [f"{shown[left]} {shown[right]}" for left, right in self.ranks]
        whole, part = Path(path), Path(f"{path}.part")
        part.write_text(json.dumps({"merges": merges, "specials": [*self.specials]}, ensure_ascii=False), encoding="utf-8")
        os.replace(part, whole)

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """What `save` wrote. Raises ValueError for a file that is something else."""
        known = {character: id for id, character in enumerate(sorted(byte_alphabet()))}
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
            pairs = []
            for line in found["merges"]:
                left, right = line.split(" ")
                pairs.append((known[left], known[right]))
                known[left + right] = len(known)
            return cls(pairs, found["specials"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"expected {path} to be a tokenizer as `save` writes it: {error!r}") from None


def spelled_words(texts: Iterable[str]) -> tuple[list[list[int]], list[int]]:
    """The different words of some texts in the ids of their bytes, and how often each occurs."""
    counts, bytewise = Counter(word for text in texts for word in split_words(text)), Tokenizer([])
    return [bytewise.spell(word) for word in counts], [*counts.values()]


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
    beginning, the one with the longest last piece is kept. O(n · longest piece). Raises ValueError for an empty piece and unless
    all scores are finite.
    """
    wrong = {piece: score for piece, score in scores.items() if not piece or not math.isfinite(score)}
    if wrong:
        raise ValueError(f"expected pieces that are not empty, with finite log-probabilities; got {wrong}")
    unknown, longest = min(scores.values(), default=0.0) - 10, max(map(len, scores), default=1)
    best, starts = (
        [0.0],
        dict[int, int](),
    )  # of the first `end` characters: the best score of a cut, and where its last piece starts
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


# --- what it is measured by, and against ---


@dataclass(frozen=True)
class Config:
    """Which ideas are used. size: tokens, bytes included. order: `learned`, or `latest` (the last merge first), or `longest` (token)."""

    size: int = 4096
    order: str = "learned"
    chinese: bool = True  # else merges are learned from English alone
    split: bool = True  # else a line is one word
    incremental: bool = True  # else all pairs are counted again for every merge
    heap: bool = True  # else all pairs of a word are looked at again for every merge


def split_lines(text: str) -> list[str]:
    """A text without pre-tokenisation, as far as that can be afforded."""
    return text.splitlines(keepends=True)


def spelling_by(order: str, tokenizer: Tokenizer, often: Counter[int] | None = None) -> Callable[[str], list[int]]:
    """How a word is spelled in the tokens of a tokenizer: by its merges, or by its vocabulary alone (`longest`, `likeliest`).

    often: for `likeliest`, how often each token was used. Both see bytes as the characters that stand for them.
    """
    if order == "learned":
        return tokenizer.words.__getitem__
    if order == "latest":
        return lambda word: naive_encode(tokenizer.spell(word), tokenizer.ranks, last=True)
    alphabet = byte_alphabet()
    shown = {"".join(alphabet[byte] for byte in token): id for id, token in enumerate(tokenizer.tokens)}
    pieces = {"[UNK]": -1, **shown, **{f"##{piece}": id for piece, id in shown.items()}}
    counts = often or Counter[int]()
    scores = {piece: math.log((counts[id] + 1) / (counts.total() + len(shown))) for piece, id in shown.items()}

    def spelling(word: str) -> list[int]:
        visible = "".join(alphabet[byte] for byte in word.encode())
        cut = wordpiece_encode(visible, pieces, longest=len(visible)) if order == "longest" else viterbi_unigram(visible, scores)
        return [pieces[piece] for piece in cut]

    return spelling


def bytes_per_token(spelling: Callable[[str], Sequence[Any]], words: Counter[str]) -> float:
    """How many bytes of UTF-8 a token stands for on average, in words as often as they occur."""
    size = sum(often * len(word.encode()) for word, often in words.items())
    return size / sum(often * len(spelling(word)) for word, often in words.items())


def best_of_wholes(seen: Counter[str], held_out: Counter[str], size: int) -> float:
    """Bytes per token of the best of three vocabularies of as many tokens: bytes, and the commonest words, characters, or half of each."""
    characters, found = Counter[str](), []
    for word, often in seen.items():
        for c in word:
            characters[c] += often
    for share in (0, (size - 256) // 2, size - 256):
        kept = {word for word, _ in seen.most_common(share)} | {c for c, _ in characters.most_common(size - 256 - share)}

        def spelling(word: str, kept: set[str] = kept) -> list[str]:
            return [word] if word in kept else [part for c in word for part in ([c] if c in kept else c * len(c.encode()))]

        found.append(bytes_per_token(spelling, held_out))
    return max(found)


def replayed(word: Sequence[int], ranks: Mapping[Pair, int]) -> list[int]:
    """All merges from the first to the last, as learning applied them to its own words."""
    for pair, new in ranks.items():
        if pair[0] in word and pair[1] in word:
            word = merge(word, pair, new)
    return list(word)


def anything(held_out: str, chance: random.Random, count: int = 300) -> list[bytes]:
    """Passages of a text, characters of all of Unicode, and bytes of any kind."""
    found = []
    for i in range(count):
        n, at = chance.randrange(60), chance.randrange(len(held_out))
        codes = [code + 0x800 * (code >= 0xD800) for code in (chance.randrange(0x10F800) for _ in range(n))]
        found.append([held_out[at : at + n].encode(), "".join(map(chr, codes)).encode(), chance.randbytes(n)][i % 3])
    return found


def wordpiece_returns(text: bytes, vocabulary: Mapping[str, int]) -> bool:
    """Whether pieces of characters, as BERT has them, say again what the text was."""
    try:
        words = split_words(text.decode())
    except UnicodeDecodeError:
        return False
    cut = [wordpiece_encode(word, vocabulary) for word in words]
    return all("".join(piece.removeprefix("##") for piece in pieces) == word for pieces, word in zip(cut, words, strict=True))


def evaluate(config: Config = Config(), *, seed: int = 0) -> dict[str, float]:
    """Bytes per token of held-out documentation (en) and Chinese pages (zh), what comes back, and how counted work grows.

    Merges are learned from three quarters of the training texts, drawn by the seed. *_wholes: `best_of_wholes`. en_longest and
    en_likeliest: the same vocabulary used as WordPiece and as Unigram do. as_learned: the share of 400 held-out words that are
    spelled as learning would have left them. known_words: the share of held-out words that the texts have, which a cache may
    answer. round_trip: of `anything`, what comes back byte for byte. exponent_*: the powers with which work grows over sizes
    that double. learn_updates: of counts, for each byte of 1,024 words and 128 merges.
    """
    chance, split = random.Random(seed), split_words if config.split else split_lines
    docs, pages = ([*data.load("train").texts] for data in (python_docs, chinese_prose))
    docs, pages = (chance.sample(texts, len(texts) * 3 // 4) for texts in (docs, pages))
    seen = Counter(word for text in docs + pages * config.chinese for word in split(text))
    english, chinese = python_docs.load("test").text, chinese_prose.load("test").text
    held_out = {"en": Counter(split(english)), "zh": Counter(split(chinese))}
    tokenizer = Tokenizer(learn_merges([*map(Tokenizer([]).spell, seen)], [*seen.values()], config.size - 256))
    used = Counter[int]()
    for word, often in seen.items():
        for id in tokenizer.words[word]:
            used[id] += often
    figures = {}
    for name, words in held_out.items():
        figures[f"{name}_bytes_per_token"] = bytes_per_token(spelling_by(config.order, tokenizer), words)
        figures[f"{name}_wholes"] = best_of_wholes(seen, words, config.size)
    for order in ("longest", "likeliest") * config.split:
        figures[f"en_{order}"] = bytes_per_token(spelling_by(order, tokenizer, used), held_out["en"])
    some, spelling = chance.sample(sorted(held_out["en"] | held_out["zh"]), 400), spelling_by(config.order, tokenizer)
    figures["as_learned"] = float(np.mean([spelling(word) == replayed(tokenizer.spell(word), tokenizer.ranks) for word in some]))
    words = held_out["en"] + held_out["zh"]
    figures["known_words"] = sum(often for word, often in words.items() if word in seen) / words.total()
    items, characters = anything(english + chinese, chance), set("".join(seen))
    pieces = {"[UNK]": 0, **dict.fromkeys(characters, 1), **{f"##{c}": 1 for c in characters}}
    figures["round_trip"] = float(np.mean([tokenizer.decode_bytes(tokenizer.encode(item)) == item for item in items]))
    figures["round_trip_wordpiece"] = float(np.mean([wordpiece_returns(item, pieces) for item in items]))
    return figures | growth(config, tokenizer, docs, chinese, chance)


def growth(config: Config, tokenizer: Tokenizer, docs: Sequence[str], chinese: str, chance: random.Random) -> dict[str, float]:
    """Counted work: of encoding one word of Chinese without end, and of learning 128 merges from more and more words."""
    run = tokenizer.spell("".join(c for c in chinese if "\u4e00" <= c <= "\u9fff"))
    start, merges = 3 * chance.randrange(len(run) // 3 - 700), [*tokenizer.ranks]
    words, times = spelled_words(docs)
    lengths, sizes = ([least * 2**doubling for doubling in range(5)] for least in (128, 64))

    def encoding(n: int, heap: bool) -> int:
        return count_encoding(run[start : start + n], merges, heap=heap)

    def learning(n: int, incremental: bool) -> int:
        return count_learning(words[:n], times[:n], 128, incremental=incremental)

    symbols = [sum(map(len, words[:n])) for n in sizes]
    encoded, naive = ([encoding(n, heap) for n in lengths] for heap in (config.heap, False))
    learned = [learning(n, config.incremental) for n in sizes]
    return {
        "exponent_encode": exponent(lengths, encoded),
        "exponent_encode_naive": exponent(lengths, naive),
        "exponent_learn": exponent(symbols, learned),
        "learn_updates": learned[-1] / symbols[-1],
        "learn_updates_recounted": learning(sizes[-1], False) / symbols[-1],
    }


def exponent(sizes: Sequence[int], counts: Sequence[int]) -> float:
    """The slope of log counts over log sizes."""
    return float(np.polyfit(np.log2(sizes), np.log2(counts), 1)[0])


GATES = (
    Gate("en_bytes_per_token", at_least=3, above="en_wholes", baseline="en_wholes"),
    Gate("zh_bytes_per_token", at_least=3, above="zh_wholes", baseline="zh_wholes"),
    Gate("as_learned", at_least=1),
    Gate("round_trip", at_least=1, above="round_trip_wordpiece", baseline="round_trip_wordpiece"),
    Gate("exponent_encode", at_most=1.2, below="exponent_encode_naive", baseline="exponent_encode_naive"),
    Gate("exponent_learn", at_most=1.1),
    Gate("learn_updates", at_most=10, below="learn_updates_recounted", baseline="learn_updates_recounted"),
)
ABLATIONS = {
    "no merges": Ablation(Config(size=256), "en_bytes_per_token", higher_by=2),
    "English alone": Ablation(Config(chinese=False), "zh_bytes_per_token", higher_by=1.5),
    "the longest token first": Ablation(Config(order="longest"), "as_learned", higher_by=0.05),
    "the latest merge first": Ablation(Config(order="latest"), "en_bytes_per_token", higher_by=1),
    "no pre-tokenisation": Ablation(Config(split=False), "known_words", higher_by=0.4),
    "all pairs recounted": Ablation(Config(incremental=False), "learn_updates", lower_by=50),
    "no heap": Ablation(Config(heap=False), "exponent_encode", lower_by=0.4),
}
LEAKS = {
    "held-out documentation in training": Leak(lambda seed, device: python_docs.shared(), chance=0.0, at_most=0.02),
    "held-out Chinese in training": Leak(lambda seed, device: chinese_prose.shared(), chance=0.0, at_most=0.02),
}


def demo() -> Figure:
    """A line as three ways cut it, what a token is worth as the vocabulary grows, and what encoding one long word costs."""
    documentation, english, chinese = (
        python_docs.load("train").text,
        python_docs.load("test").text,
        chinese_prose.load("test").text,
    )
    words, times = spelled_words([documentation[:200_000], chinese_prose.load("train").text[:20_000]])
    merges = learn_merges(words, times, 1792)
    figure, axes = plt.subplot_mosaic([["cut", "cut"], ["worth", "cost"]], figsize=(11, 6.5), layout="constrained")
    tokenizer, line = Tokenizer(merges), "error: universal protocol is faster, trailing features unchanged"
    often = Counter(id for text in python_docs.load("train").texts[:5] for id in tokenizer.encode(text))
    for row, order in enumerate(("learned", "longest", "likeliest")):
        x = 0
        for i, id in enumerate(id for word in split_words(line) for id in spelling_by(order, tokenizer, often)(word)):
            text = tokenizer.decode([id])
            axes["cut"].barh(-row, len(text), left=x, color=f"C{i % 6}", alpha=0.35)
            axes["cut"].text(x, -row, text.replace(" ", "␣"), family="monospace", va="center", fontsize=9)
            x += len(text)
    axes["cut"].set_yticks([0, -1, -2], ["merge order (BPE)", "longest (WordPiece)", "likeliest (Unigram)"])
    axes["cut"].set(title="One vocabulary of 2,048 tokens, three ways to cut", xticks=[])
    sizes = [0, 64, 128, 256, 512, 1024, 1792]
    for name, text in (("documentation", english), ("Chinese", chinese)):
        cut = Counter(split_words(text))
        worth = [bytes_per_token(Tokenizer(merges[:count]).words.__getitem__, cut) for count in sizes]
        axes["worth"].plot([256 + count for count in sizes], worth, "o-", label=name)
    axes["worth"].axhline(3, color="grey", linestyle=":", label="a character of Chinese")
    axes["worth"].set(title="Held-out text", xlabel="tokens in the vocabulary", ylabel="bytes per token")
    run, lengths = tokenizer.spell("".join(c for c in chinese if "\u4e00" <= c <= "\u9fff")), [64, 128, 256, 512, 1024]
    for heap, label in ((True, "heap and links"), (False, "all pairs again for each merge")):
        axes["cost"].loglog(lengths, [count_encoding(run[:n], merges, heap=heap) for n in lengths], "o-", label=label)
    axes["cost"].set(title="One word of Chinese", xlabel="bytes", ylabel="look-ups and comparisons")
    for name in ("worth", "cost"):
        axes[name].legend()
    return figure
