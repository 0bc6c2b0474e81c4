"""The tokenizer against Hugging Face's: same merges, same ids, same text; and what is given of it, not a stub: any bytes, special tokens."""

import json
import random
import sys
import unicodedata
from collections import Counter

import pytest

from reference_impl.data import chinese_prose, python_docs
from reference_impl.text.tokenizer import (
    Tokenizer,
    byte_alphabet,
    count_pairs,
    learn_merges,
    merge,
    naive_encode,
    spelled_words,
    split_words,
    viterbi_unigram,
    wordpiece_encode,
)

SIZE = 700


@pytest.fixture(scope="module")
def texts():
    return [
        python_docs.load("train").text[:60_000],
        chinese_prose.load("train").text[:15_000],
        "🙂🙃 naïve, 12½ ② 〇九 don't we'll\t\n \n",
    ]


def learned(texts, size, specials=()):
    words = Counter(word for text in texts for word in split_words(text))
    return Tokenizer(learn_merges(*spelled_words(words), size - 256 - len(specials)), specials)


@pytest.fixture(scope="module")
def ours(texts):
    return learned(texts, SIZE)


@pytest.fixture(scope="module")
def theirs(texts):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    model.train_from_iterator(
        texts, tokenizers.trainers.BpeTrainer(vocab_size=SIZE, initial_alphabet=alphabet, show_progress=False)
    )
    return model


def printed(token):
    return "".join(byte_alphabet()[byte] for byte in token)


def strange(chance, most=40):
    """Letters, numbers, marks, spaces, Chinese and emoji, in any order."""
    ranges = (range(0x250), range(0x2000, 0x2200), range(0x3000, 0x3100), range(0x4E00, 0x4F00), range(0x1F600, 0x1F650))
    contractions = ["'s", "'LL", "'ve", "\r\n", "  ", "\u3000", "_", "²", "Ⅷ", "\x1c", "\xa0", "e\u0301"]
    parts = [chance.choice([chr(chance.choice(chance.choice(ranges))), chance.choice(contractions)]) for _ in range(most)]
    return "".join(parts[: chance.randrange(most)])


# --- Hugging Face ------------------------------------------------------------------------------------------------------


def test_merges_are_those_of_hugging_face_ties_included(ours, theirs):
    """Ties are many among rare pairs, so the rule for ties is the same too: the smaller pair of ids."""
    merges = [tuple(pair) for pair in json.loads(theirs.to_str())["model"]["merges"]]
    assert [(printed(ours.tokens[left]), printed(ours.tokens[right])) for left, right in ours.ranks] == merges
    assert {printed(token): id for id, token in enumerate(ours.tokens)} == theirs.get_vocab()


@pytest.mark.parametrize("seed", range(3))
def test_ids_and_text_are_those_of_hugging_face(ours, theirs, seed):
    chance = random.Random(seed)
    held_out = python_docs.load("test").text[:5000] + chinese_prose.load("test").text[:3000]
    for text in (held_out, *(strange(chance) for _ in range(300))):
        ids = ours.encode(text)
        assert ids == theirs.encode(text).ids, repr(text)
        assert ours.decode(ids) == theirs.decode(ids) == text
    for _ in range(300):  # most of these are no UTF-8
        ids = chance.choices(range(SIZE), k=chance.randrange(12))
        assert ours.decode(ids) == theirs.decode(ids), ids


def test_every_character_is_cut_off_where_hugging_face_cuts_it_off():
    """Characters of Unicode 3.2: of newer ones, two programs of different age may think differently."""
    cut = pytest.importorskip("tokenizers").pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    known = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.ucd_3_2_0.category(c) not in ("Cn", "Co", "Cs")]
    assert len(known) > 90_000
    for start in range(0, len(known), 500):
        text = "".join(f"a{c}1 " for c in known[start : start + 500])
        assert split_words(text) == [text[i:j] for _, (i, j) in cut(text)], f"from {ord(known[start]):#x} on"


@pytest.mark.parametrize("seed", range(5))
def test_merges_of_small_corpora_with_many_ties_are_those_of_hugging_face(seed):
    tokenizers = pytest.importorskip("tokenizers")
    chance = random.Random(seed)
    texts = ["".join(chance.choices("ab ", k=chance.randrange(60))) for _ in range(4)]
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    model.train_from_iterator(
        texts, tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    )
    ours = learned(texts, 300)
    merges = [tuple(pair) for pair in json.loads(model.to_str())["model"]["merges"]]
    assert [(printed(ours.tokens[left]), printed(ours.tokens[right])) for left, right in ours.ranks] == merges


@pytest.mark.parametrize("seed", range(5))
def test_pieces_are_those_of_hugging_face(seed):
    tokenizers = pytest.importorskip("tokenizers")
    chance = random.Random(seed)
    parts = ["".join(chance.choices("abc中", k=chance.randrange(1, 5))) for _ in range(30)]
    pieces = dict.fromkeys(["[UNK]", *(chance.choice(["", "##"]) + part for part in parts), "a", "##a", "b", "##b"])
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    model = tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=12)
    for _ in range(200):
        word = "".join(chance.choices("aabbc中", k=chance.randrange(1, 15)))
        assert wordpiece_encode(word, vocabulary, longest=12) == [token.value for token in model.tokenize(word)]


@pytest.mark.parametrize("seed", range(5))
def test_cuts_are_those_of_hugging_face(seed):
    tokenizers = pytest.importorskip("tokenizers")
    chance = random.Random(seed)
    pieces = {"".join(chance.choices("abc", k=chance.randrange(1, 5))): -chance.randrange(1, 60) / 8 for _ in range(20)}
    model = tokenizers.models.Unigram([("<unk>", min(pieces.values())), *pieces.items()], unk_id=0, byte_fallback=False)
    for _ in range(200):
        text = "".join(chance.choices("aaabbbccx", k=chance.randrange(1, 20)))
        together, unknown = [], False
        for piece in viterbi_unigram(text, pieces):  # theirs puts unknown neighbours together
            if piece not in pieces and unknown:
                together[-1] += piece
            else:
                together.append(piece)
            unknown = piece not in pieces
        assert [text[token.offsets[0] : token.offsets[1]] for token in model.tokenize(text)] == together, (text, pieces)


# --- what learning and encoding promise --------------------------------------------------------------------------------


def test_incremental_counts_learn_what_counting_again_learns(texts):
    texts = [text[:3000] for text in texts]
    words, times = spelled_words(Counter(word for text in texts for word in split_words(text)))
    merges, left = learn_merges(words, times, 100), words
    for k, pair in enumerate(merges):
        assert count_pairs(left, times)[0][0] == pair
        left = [merge(word, pair, 256 + k) for word in left]


def replayed(word, ranks):
    """All merges from the first to the last, as learning applied them to its own words."""
    for pair, new in ranks.items():
        word = merge(word, pair, new)
    return word


def test_words_are_spelled_as_learning_left_them(ours):
    for word in split_words(python_docs.load("test").text[:3000] + chinese_prose.load("test").text[:1000]):
        ids = ours.spell(word)
        assert ours.encode_word(ids) == naive_encode(ids, ours.ranks) == replayed(ids, ours.ranks)


@pytest.mark.parametrize("seed", range(3))
def test_any_bytes_come_back(ours, seed):
    chance = random.Random(seed)
    for _ in range(500):
        data = chance.randbytes(chance.randrange(50))
        ids = ours.encode(data)
        assert ours.decode(ids, "surrogateescape").encode("utf-8", "surrogateescape") == data
        assert ours.decode(ids) == data.decode(errors="replace")
    assert ours.encode("") == ours.encode(b"") == [] and ours.decode([]) == ""


def test_words_put_together_are_the_text():
    chance = random.Random(0)
    for _ in range(300):
        text = strange(chance)
        assert "".join(split_words(text)) == text


def test_half_of_a_surrogate_pair_is_no_text(ours):
    with pytest.raises(ValueError, match="surrogates not allowed"):
        ours.encode("a\ud800b")
    assert ours.encode("a\udcffb") == ours.encode(b"a\xffb"), "what stands for a byte is that byte"


# --- special tokens and words met again --------------------------------------------------------------------------------


def test_special_tokens_in_a_text_are_text_unless_asked_for(texts):
    tokenizer = learned(texts, 300, ["<|end|>", "<|end|>!", "角色"])
    assert len(tokenizer) == 300 and tokenizer.specials == {"<|end|>": 297, "<|end|>!": 298, "角色": 299}
    text = "a<|end|>!b<|end|>角色"
    assert max(tokenizer.encode(text)) < 297 and tokenizer.decode(tokenizer.encode(text)) == text
    ids = tokenizer.encode(text, special=True)
    assert [id for id in ids if id >= 297] == [298, 297, 299], "the longest one that stands there"
    assert tokenizer.decode(ids) == text and tokenizer.encode("", special=True) == []
    assert Tokenizer([]).encode("<|end|>", special=True) == Tokenizer([]).encode("<|end|>")


@pytest.mark.parametrize("merges", [[(256, 0)], [(0, 1), (0, 1)], [(-1, 0)], [(0, 257), (0, 256)]])
def test_merges_that_cannot_be(merges):
    with pytest.raises(ValueError, match="known by then, each pair once"):
        Tokenizer(merges)


@pytest.mark.parametrize("specials", [["<s>", "<s>"], [""]])
def test_special_tokens_that_cannot_be(specials):
    with pytest.raises(ValueError, match="differ and are not empty"):
        Tokenizer([], specials)


def test_what_is_given_out_is_nobody_elses(ours):
    text = "one two three four five one two"
    ids = ours.encode(text)
    ours.encode(text).append(5)
    assert ours.encode(text) == ids


# --- Chinese prose -----------------------------------------------------------------------------------------------------


def test_chinese_prose_is_chinese_and_no_line_stands_twice():
    splits = [chinese_prose.load(split) for split in ("train", "test")]
    assert [len(split) for split in splits] == [35, 7] and not set(splits[0].names) & set(splits[1].names)
    pages = [text for split in splits for text in split.texts]
    assert (round(sum(map(len, pages)), -2), sum(len(page.encode()) for page in pages) // 1000) == (118_700, 313), "its card"
    lines = [line for split in splits for line in split.text.splitlines()]
    assert len(lines) == len(set(lines)) and chinese_prose.shared() < 0.001
    text = "".join(lines)
    assert sum("\u4e00" <= c <= "\u9fff" for c in text) / len(text) > 0.7
    with pytest.raises(ValueError, match="split must be"):
        chinese_prose.load("validation")
