"""Words of captions as numbers, for two languages at once."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Int
from torch import Tensor

PAD, BOS, EOS = 0, 1, 2


def split_words(text: str) -> list[str]:
    """The tokens of a text: English words in lower case, Chinese characters, punctuation; a full stop at the end is dropped.

    Words, because an English caption has few and they carry its meaning; characters, because Chinese has no spaces and
    a character is the unit that needs no word segmenter.
    """
    return re.findall(r"[a-z]+|[\u4e00-\u9fff]|[^\s]", re.sub(r"[.。]\s*$", "", text.lower()))


def join_words(words: Sequence[str]) -> str:
    """The inverse of `split_words`: a space between English words, none beside a Chinese character or before a comma."""
    return re.sub(r"(?<=[\u4e00-\u9fff]) | (?=[\u4e00-\u9fff,])", "", " ".join(words))


class Vocabulary:
    """All tokens of some texts, in the order in which they come. words: by id; tokens: length of an encoded text, <bos> and <eos> included."""

    def __init__(self, texts: Iterable[str]) -> None:
        known = [split_words(text) for text in texts]
        self.words = ("<pad>", "<bos>", "<eos>", *dict.fromkeys(word for words in known for word in words))
        self.tokens = 2 + max(map(len, known))
        self._example = join_words(known[0])
        self._ids = {word: index for index, word in enumerate(self.words)}
        self._encode = lru_cache(maxsize=4096)(self._encoded)

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, captions: Sequence[str]) -> Int[Tensor, "N L"]:
        """Texts of either language as int64 ids (N, tokens): <bos>, the tokens, <eos>, then <pad>.

        Raises ValueError for a text that is empty, too long, or has an unknown word.
        """
        if isinstance(captions, str):
            raise ValueError(f"expected a list of captions, got the single text {captions!r}: write [{captions!r}]")
        return torch.tensor([self._encode(text) for text in captions], dtype=torch.int64).view(len(captions), self.tokens)

    def _encoded(self, text: str) -> list[int]:
        words = split_words(text)
        if not words:
            raise ValueError(f"a caption is empty: expected words such as {self._example!r}")
        for word in words:
            if word not in self._ids:
                raise ValueError(
                    f"caption {text!r}: {word!r} is not in the vocabulary; known are: {' '.join(self.words[EOS + 1 :])}"
                )
        if len(words) > self.tokens - 2:
            raise ValueError(f"caption {text!r} has {len(words)} words: at most {self.tokens - 2} fit")
        ids = [BOS, *(self._ids[word] for word in words), EOS]
        return ids + [PAD] * (self.tokens - len(ids))

    def decode(self, ids: Int[Tensor, "N L"]) -> list[str]:
        """The texts that ids spell, up to the first <eos>; <bos> and <pad> say nothing. Raises ValueError for an unknown id."""
        texts = []
        for row in ids.tolist():
            end = row.index(EOS) if EOS in row else len(row)
            if any(not 0 <= token < len(self) for token in row):
                raise ValueError(f"ids must lie in 0 to {len(self) - 1}, got {row}")
            texts.append(join_words([self.words[token] for token in row[:end] if token not in (PAD, BOS)]))
        return texts
