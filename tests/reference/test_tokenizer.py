"""The tokenizer against Hugging Face's: same merges, same ids, same text; and what is given of it, not a stub: files, streams, special tokens."""

import json
import random

import pytest

from reference_impl.data import chinese_prose, python_docs
from reference_impl.text.tokenizer import (
    Tokenizer,
    byte_alphabet,
    naive_encode,
    recounted_merges,
    replayed,
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


@pytest.fixture(scope="module")
def ours(texts):
    return Tokenizer.learn(texts, SIZE)


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
    ours = Tokenizer.learn(texts, 300)
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
    words, times = spelled_words([text[:3000] for text in texts])
    assert [*Tokenizer.learn([text[:3000] for text in texts], 356).ranks] == recounted_merges(words, times, 100)


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
        assert ours.decode_bytes(ids) == data
        assert ours.decode(ids) == data.decode(errors="replace") == "".join(ours.stream(ids))
    assert ours.encode("") == ours.encode(b"") == [] and ours.decode([]) == ""


def test_words_put_together_are_the_text():
    chance = random.Random(0)
    for _ in range(300):
        text = strange(chance)
        assert "".join(split_words(text)) == text


def test_half_of_a_surrogate_pair_is_no_text(ours):
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        ours.encode("a\ud800b")
    assert ours.decode_bytes(ours.encode("a\udcffb")) == b"a\xffb", "what stands for a byte is that byte"


def test_a_stream_holds_back_what_is_not_complete():
    bare = Tokenizer([])
    assert list(bare.stream(bare.encode("a中"))) == ["a", "", "", "中", ""]
    assert list(bare.stream(bare.encode("中")[:2])) == ["", "", "\ufffd"]


# --- special tokens and files ------------------------------------------------------------------------------------------


def test_special_tokens_in_a_text_are_text_unless_asked_for(texts):
    tokenizer = Tokenizer.learn(texts, 300, ["<|end|>", "<|end|>!", "角色"])
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
    with pytest.raises(ValueError, match="need a size of that many or more, got 256"):
        Tokenizer.learn(["text"], 256, ["<s>"])


def test_a_file_holds_everything(tmp_path, ours):
    path = tmp_path / "tokenizer.json"
    whole = Tokenizer([*ours.ranks], ["<|end|>", '"quoted" \n'])
    whole.save(path)
    loaded = Tokenizer.load(path)
    assert loaded.ranks == ours.ranks and loaded.specials == whole.specials and loaded.tokens == whole.tokens
    assert [p.name for p in tmp_path.iterdir()] == ["tokenizer.json"] and path.stat().st_size < 12_000
    first = next(iter(ours.ranks))
    assert json.loads(path.read_text(encoding="utf-8"))["merges"][0] == " ".join(printed(ours.tokens[id]) for id in first)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"merges": ["a"], "specials": []}', '{"merges": ["a bb"], "specials": []}', '{"merges": [1], "specials": []}',
     '{"merges": ["a b", "a b"], "specials": []}', '{"merges": [], "specials": ["", ""]}', "\xff"],
)  # fmt: skip
def test_a_file_that_is_something_else(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(ValueError, match="tokenizer as `save` writes it"):
        Tokenizer.load(path)


def test_the_cache_is_emptied_when_it_is_full(ours):
    tokenizer = Tokenizer([*ours.ranks])
    tokenizer.words.room = 3
    text = "one two three four five one two"
    assert tokenizer.encode(text) == ours.encode(text) and len(tokenizer.words) <= 3
    tokenizer.encode(text).append(5)
    assert tokenizer.encode(text) == ours.encode(text), "what is given out is nobody else's"


# --- Chinese prose -----------------------------------------------------------------------------------------------------


def test_chinese_prose_is_chinese_and_no_line_stands_twice():
    splits = [chinese_prose.load(split) for split in ("train", "test")]
    assert [len(split) for split in splits] == [35, 7] and not set(splits[0].names) & set(splits[1].names)
    lines = [line for split in splits for line in split.text.splitlines()]
    assert len(lines) == len(set(lines)) and chinese_prose.shared() < 0.01
    text = "".join(lines)
    assert sum("\u4e00" <= c <= "\u9fff" for c in text) / len(text) > 0.7
    with pytest.raises(ValueError, match="split must be"):
        chinese_prose.load("validation")
