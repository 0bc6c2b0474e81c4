"""What a right answer to text/tokenizer must do.

Truths: Unicode's own categories, `str.replace`, brute force (all cuts, all pairs counted again), and merges replayed one after
another. How much work an answer takes is counted, never timed. That these truths are those of Hugging Face's `tokenizers` is asked
in `tests/reference/test_tokenizer.py`, where that library is.
"""

import heapq
import itertools
import math
import re
import unicodedata
from collections import Counter, defaultdict
from functools import lru_cache

import pytest

from course.testing import Edit, assert_between, assert_equal, raises

# --- the alphabet ------------------------------------------------------------------------------------------------------


def expected_alphabet():
    """By what Unicode says of the characters: controls, separators and formats are not printed."""
    spare = itertools.count(256)
    return "".join(chr(b) if unicodedata.category(chr(b))[0] not in "CZ" else chr(next(spare)) for b in range(256))


ORDER = sorted(range(256), key=expected_alphabet().__getitem__)  # the byte of each id
ID = {byte: id for id, byte in enumerate(ORDER)}


@pytest.mark.stub("byte_alphabet")
def test_a_character_for_each_byte(impl):
    alphabet = impl.byte_alphabet()
    assert_equal(len(alphabet), 256, what="the number of characters", hint="one for each byte, in the order of the bytes")
    assert_equal(len(set(alphabet)), 256, what="the number of different characters", hint="two bytes may not look alike")


@pytest.mark.stub("byte_alphabet")
def test_visible_characters_stand_for_themselves(impl):
    alphabet, expected = impl.byte_alphabet(), expected_alphabet()
    hint = "visible in Latin-1 are 33 to 126, 161 to 172 and 174 to 255; 160 is a space, 173 a soft hyphen, 127 a control"
    for byte in range(256):
        if ord(expected[byte]) < 256:
            assert_equal(alphabet[byte : byte + 1], expected[byte], what=f"the character of byte {byte}", hint=hint)


@pytest.mark.stub("byte_alphabet")
def test_the_others_follow_from_256_on(impl):
    alphabet, expected = impl.byte_alphabet(), expected_alphabet()
    hint = "those that are not visible get U+0100, U+0101, … without a gap, in the order of the bytes"
    for byte in range(256):
        if ord(expected[byte]) >= 256:
            assert_equal(alphabet[byte : byte + 1], expected[byte], what=f"the character of byte {byte}", hint=hint)


@pytest.mark.stub("byte_alphabet")
def test_text_as_gpt_2_shows_it(impl):
    alphabet = impl.byte_alphabet()
    for text, shown in ((" the", "Ġthe"), ("\n\t", "Ċĉ"), ("é", "Ã©"), ("中", "ä¸Ń")):
        assert_equal(
            "".join("".join(alphabet[byte : byte + 1]) for byte in text.encode()), shown, what=f"{text!r} as it is printed"
        )


# --- pairs -------------------------------------------------------------------------------------------------------------


def pairs_of(words, times):
    """Every place of every word, looked at on its own."""
    counts = Counter()
    for word, often in zip(words, times, strict=True):
        for i in range(len(word) - 1):
            counts[word[i], word[i + 1]] += often
    found = list(counts.items())
    found.sort(key=lambda item: item[0])
    found.sort(key=lambda item: item[1], reverse=True)  # stable
    return found


def a_corpus(draw, letters=3, words=6, longest=9, first=97):
    """Words over a few ids, which have repetitions and ties, and how often each occurs."""
    chosen = [draw.integers(first + letters, (draw.integer(0, longest),), first).tolist() for _ in range(words)]
    return chosen, draw.integers(5, (words,), 1).tolist()


@pytest.mark.stub("count_pairs")
def test_every_pair_is_counted_as_often_as_its_word_occurs(impl, draw):
    words, times = a_corpus(draw, letters=draw.integer(2, 30), words=draw.size(2, 8))
    hint = "each place of a word counts as often as the word occurs; every pair once in the list"
    assert_equal(sorted(impl.count_pairs(words, times)), sorted(pairs_of(words, times)), what="the counts", hint=hint)


@pytest.mark.stub("count_pairs")
def test_the_pair_to_be_merged_is_in_front(impl, draw):
    words, times = a_corpus(draw, letters=draw.integer(3, 5), words=8)
    hint = "most frequent first; of equally frequent ones the smaller left id, then the smaller right id"
    assert_equal(impl.count_pairs(words, times), pairs_of(words, times), what="the pairs in their order", hint=hint)


@pytest.mark.stub("count_pairs")
def test_ties_are_broken_by_numbers(impl, draw):
    ids = [draw.integer(2, 9), draw.integer(20, 90), draw.integer(100, 999)]
    words = [list(pair) for pair in itertools.permutations(ids, 2)]
    words = [words[i] for i in draw.permutation(len(words)).tolist()]
    expected = [(tuple(word), 4) for word in sorted(words)]
    hint = "compare pairs as numbers, left before right: not as text, and not by which was met first"
    assert_equal(impl.count_pairs(words, [4] * len(words)), expected, what="pairs that are all equally frequent", hint=hint)


@pytest.mark.stub("count_pairs")
def test_pairs_may_overlap(impl, draw):
    a, n, often = draw.integer(0, 300), draw.integer(3, 9), draw.integer(1, 9)
    hint = f"in a run of {n} equal tokens there are {n - 1} places where a pair begins"
    assert_equal(impl.count_pairs([[a] * n], [often]), [((a, a), (n - 1) * often)], hint=hint)


@pytest.mark.stub("count_pairs")
def test_no_pair_crosses_the_end_of_a_word(impl, draw):
    a, b = draw.sizes(2, 0, 300)
    assert_equal(impl.count_pairs([], []), [], what="the pairs of no words")
    assert_equal(impl.count_pairs([[a], [], [b]], [3, 1, 2]), [], what="the pairs of words with one token or none")
    assert_equal(impl.count_pairs([[a, b], [a, b]], [3, 2]), [((a, b), 5)], hint="a word may be given twice")


@pytest.mark.stub("count_pairs")
def test_a_number_for_each_word(impl, draw):
    words, times = a_corpus(draw)
    for wrong in (times[:-1], [*times, 1], []):
        with raises(ValueError, hint="`zip` stops at the shorter of the two without a word"):
            impl.count_pairs(words, wrong)


# --- one merge ---------------------------------------------------------------------------------------------------------


def merged(word, pair, new):
    """By `str.replace`: an id is a character of a private plane."""
    letters = {id: chr(0xF0000 + id) for id in {*word, *pair, new}}
    ids = {letter: id for id, letter in letters.items()}
    text = "".join(letters[id] for id in word).replace(letters[pair[0]] + letters[pair[1]], letters[new])
    return [ids[letter] for letter in text]


@pytest.mark.stub("merge")
def test_a_pair_becomes_one_token_wherever_it_stands(impl, draw):
    for _ in range(6):
        word = draw.integers(3, (draw.integer(0, 12),)).tolist()
        pair = (draw.integer(0, 2), draw.integer(0, 2))
        hint = "go from left to right; where the pair stands, write the new token and go on behind the pair"
        assert_equal(impl.merge(word, pair, 256), merged(word, pair, 256), what=f"{word} with {pair} merged", hint=hint)


@pytest.mark.stub("merge")
def test_a_run_is_merged_from_the_left(impl, draw):
    a, new = draw.sizes(2, 0, 400)
    for n in range(1, 8):
        hint = "of an odd run the last token is left over, and the new token is no part of the next pair"
        assert_equal(impl.merge([a] * n, (a, a), new), [new] * (n // 2) + [a] * (n % 2), what=f"a run of {n}", hint=hint)


@pytest.mark.stub("merge")
def test_the_ends_of_a_word(impl, draw):
    a, b, c, new = draw.sizes(4, 0, 300)
    for word, expected in (
        ([], []),
        ([a], [a]),
        ([a, b], [new]),
        ([c, a, b], [c, new]),
        ([a, b, c], [new, c]),
        ([b, a], [b, a]),
        ([a, c, b], [a, c, b]),
        ([a, a, b], [a, new]),
        ([a, b, b], [new, b]),
        ([a, b, a, b], [new, new]),
    ):
        hint = "only neighbours in this order; the last token has no right neighbour, but must not be lost"
        assert_equal(impl.merge(word, (a, b), new), expected, what=f"{word} with {(a, b)} merged", hint=hint)


@pytest.mark.stub("merge")
def test_ids_are_numbers(impl, draw):
    a, b = draw.sizes(2, 1, 9)
    hint = "compare ids as numbers: written one behind the other, 11 2 has 1 2 in it"
    for word in ([10 * b + a, b], [a, 10 * b + a], [10 * a + a, 10 * b + b, a]):
        assert_equal(impl.merge(word, (a, b), 256), word, what=f"{word} with {(a, b)} merged", hint=hint)
    assert_equal(impl.merge([10 * a + a, a, b], (a, b), 256), [10 * a + a, 256], hint=hint)


@pytest.mark.stub("merge")
def test_a_new_token_is_not_merged_again(impl, draw):
    a = draw.integer(0, 9)
    hint = "one pass: a pair that the merge itself has made is left for another merge"
    assert_equal(impl.merge([a, a, a, a], (a, a), a), [a, a], hint=hint)
    assert_equal(impl.merge([a, a + 1, a + 1], (a, a + 1), a), [a, a + 1], hint=hint)


# --- learning ----------------------------------------------------------------------------------------------------------


def recounted(words, times, count):
    """All pairs are counted again for every merge."""
    merges = []
    while len(merges) < count:
        found = [pair for pair, often in pairs_of(words, times) if often > 0]
        if not found:
            break
        merges.append(found[0])
        words = [merged(word, found[0], 255 + len(merges)) for word in words]
    return merges


def language(draw, words=40, syllables=6, letters=8):
    """Words made of a few syllables, so that there is something to be learned, and how often each occurs."""
    parts = [draw.integers(97 + letters, (draw.integer(1, 3),), 97).tolist() for _ in range(syllables)]
    chosen = [[id for _ in range(draw.integer(1, 5)) for id in draw.choice(parts)] for _ in range(words)]
    return chosen, draw.integers(20, (words,), 1).tolist()


@pytest.mark.stub("learn_merges")
def test_each_merge_is_the_most_frequent_pair_by_then(impl, draw):
    words, times = language(draw)
    count = draw.integer(5, 30)
    hint = "after each merge the counts of all pairs beside it change too; of equals the smaller pair, as numbers"
    assert_equal(impl.learn_merges(words, times, count), recounted(words, times, count), what="the merges", hint=hint)


@pytest.mark.stub("learn_merges")
def test_ties_repetitions_and_everything_merged(impl, draw):
    for letters in (1, 2, 3):
        words, times = a_corpus(draw, letters=letters, words=draw.integer(1, 4), longest=12)
        expected = recounted(words, times, 100)
        hint = "runs of one letter overlap, and counts fall to 0: go on until no pair is left, no longer"
        assert_equal(impl.learn_merges(words, times, 100), expected, what="all merges there are", hint=hint)


@pytest.mark.stub("learn_merges")
def test_as_many_merges_as_asked_for(impl, draw):
    words, times = language(draw, words=10)
    every = recounted(words, times, 200)
    for count in (0, 1, draw.integer(2, 5)):
        assert_equal(impl.learn_merges(words, times, count), every[:count], what=f"{count} merges", hint="at most `count`")
    assert_equal(impl.learn_merges(words, times, len(every) + 5), every, hint="fewer if there is no pair left")
    assert_equal(impl.learn_merges([], [], 5), [], what="the merges of no words")
    assert_equal(impl.learn_merges([[97], []], [5, 5], 5), [], what="the merges of words without a pair")


@pytest.mark.stub("learn_merges")
def test_how_often_a_word_occurs_counts(impl, draw):
    a, b, c, d = (97 + i for i in draw.permutation(4).tolist())
    n = draw.integer(3, 9)
    words, times = [[a, b], *[[c, d]] * n], [n + 1, *[1] * n]
    hint = "a word counts as often as it occurs; a word may also be given twice, and what occurs 0 times counts nothing"
    assert_equal(impl.learn_merges(words, times, 2), [(a, b), (c, d)], hint=hint)
    assert_equal(impl.learn_merges([[a, b], [c, d]], [0, 1], 5), [(c, d)], hint=hint)
    assert_equal(impl.learn_merges([[a, b], [c, d]], [0, 0], 5), [], hint=hint)


@pytest.mark.stub("learn_merges")
def test_a_negative_number_of_merges_is_refused(impl, draw):
    words, times = a_corpus(draw)
    with raises(ValueError, hint="no vocabulary is smaller than the bytes"):
        impl.learn_merges(words, times, -draw.size())
    with raises(ValueError, hint="`count_pairs` refuses that already"):
        impl.learn_merges(words, times[:-1], 3)


@pytest.mark.stub("learn_merges")
def test_only_words_with_the_pair_are_counted_again(impl, draw):
    words, times = language(draw, words=300, syllables=60, letters=26)
    symbols = sum(map(len, words))
    hint = "`respell` says which counts change: do not count all pairs again for every merge"
    assert_between(
        impl.count_learning(words, times, 80), 0, 15 * symbols, what="additions of word counts for 80 merges", hint=hint
    )


# --- encoding ----------------------------------------------------------------------------------------------------------


def some_merges(draw, letters, count):
    """Merges of any tokens that are there by then, each pair once and no text twice, and the letters."""
    ids = [ID[97 + i] for i in range(letters)]
    spelled, merges = {id: (id,) for id in ids}, []
    while len(merges) < count:
        known = list(spelled)
        pair = (draw.choice(known), draw.choice(known))
        text = spelled[pair[0]] + spelled[pair[1]]
        if text not in spelled.values() and len(text) < 12:
            merges.append(pair)
            spelled[255 + len(merges)] = text
    return merges, spelled


def replayed(word, merges):
    """All merges from the first to the last, each wherever it can be made."""
    for k, pair in enumerate(merges):
        word = merged(word, pair, 256 + k)
    return word


def a_word(draw, spelled, parts):
    """Text made of tokens, so that long ones can be found in it."""
    tokens = list(spelled.values())
    return [id for _ in range(parts) for id in draw.choice(tokens)]


@pytest.mark.stub("Tokenizer.encode_word")
def test_a_word_is_spelled_as_the_merges_were_learned(impl, draw):
    for letters in (2, 4):
        merges, spelled = some_merges(draw, letters, 10)
        tokenizer = impl.Tokenizer(merges)
        for parts in (1, 4, 9):
            word = a_word(draw, spelled, parts)
            hint = "of all pairs that can be merged now, the one learned first; then look again, at the new pairs too"
            assert_equal(tokenizer.encode_word(word), replayed(word, merges), what=f"{word} by {merges}", hint=hint)


@pytest.mark.stub("Tokenizer.encode_word")
def test_the_order_of_learning_decides(impl, draw):
    a, b, c, d = (ID[97 + i] for i in draw.permutation(4).tolist())
    for merges, word, expected in (
        ([(b, c), (a, b)], [a, b, c], [a, 256]),
        ([(a, b), (b, c)], [a, b, c], [256, c]),
        ([(a, b), (256, c), (c, d)], [a, b, c, d], [257, d]),
        ([(a, b), (c, d), (256, c), (258, d)], [a, b, c, d], [256, 257]),
        ([(c, d), (b, 256), (a, b), (258, c)], [a, b, c, d], [a, 257]),
        ([(a, a), (256, a)], [a] * 5, [256, 257]),
        ([(a, a), (a, 256), (256, 256)], [a] * 7, [258, 256, a]),
        ([(a, a), (256, 256), (257, a)], [a] * 7, [257, 256, a]),
        ([(a, b), (256, 256), (b, a)], [a, b, a, b, a], [257, a]),
        ([(b, c), (a, 256), (a, b)], [a, b, c], [257]),  # (a, b) is still waiting where the word has come to its end
    ):
        hint = "neither the longest token first, nor from left to right: the merge that was learned first, of equals the leftmost"
        assert_equal(impl.Tokenizer(merges).encode_word(word), expected, what=f"{word} by {merges}", hint=hint)


@pytest.mark.stub("Tokenizer.encode_word")
def test_words_that_hardly_merge(impl, draw):
    merges, _ = some_merges(draw, 3, draw.integer(1, 5))
    other = ID[120]
    tokenizer, bare = impl.Tokenizer(merges, ["<end>"]), impl.Tokenizer([])
    for word in ([], [other], [other, other], list(range(256))):
        assert_equal(
            tokenizer.encode_word(word), replayed(word, merges), what=f"a word of {len(word)}", hint="bytes are tokens too"
        )
        assert_equal(bare.encode_word(word), word, what="a word without any merges", hint="without merges it is its bytes")


@pytest.mark.stub("Tokenizer.encode_word")
def test_the_same_word_again(impl, draw):
    merges, spelled = some_merges(draw, 3, 8)
    tokenizer = impl.Tokenizer(merges)
    words = [a_word(draw, spelled, 3) for _ in range(3)]
    for word in [*words, *words]:
        assert_equal(tokenizer.encode_word(word), replayed(word, merges), hint="nothing of an earlier word may be left over")
    hint = "a word may be a tuple too: it is read, not written to"
    assert_equal(tokenizer.encode_word(tuple(words[0])), replayed(words[0], merges), what="a tuple encoded", hint=hint)


@pytest.mark.stub("Tokenizer.encode_word")
def test_a_long_word_takes_little_more_than_its_length(impl, draw):
    merges, spelled = some_merges(draw, 4, 60)
    word = a_word(draw, spelled, 200)
    n = len(word)
    hint = "keep what can be merged in a heap, and look only at the two new neighbours: n log n, not all pairs for each merge"
    bound = 4 * n * math.log2(n)
    assert_between(impl.count_encoding(word, merges), 0, bound, what=f"hashes and comparisons for {n} bytes", hint=hint)


@pytest.mark.stub("Tokenizer.encode_word")
def test_a_long_word_is_spelled_right(impl, draw):
    merges, spelled = some_merges(draw, 4, 25)
    word = a_word(draw, spelled, 60)
    assert_equal(
        impl.Tokenizer(merges).encode_word(word), replayed(word, merges), hint="links must lead over what has been merged"
    )


# --- decoding ----------------------------------------------------------------------------------------------------------


def a_vocabulary(draw):
    """Merges over the bytes of some text, special tokens, and what each id spells."""
    text = draw.choice(["naïve café", "注意力机制", "🙂 smile 🙃", "日本語 text"]).encode()
    merges, spelled = [], [bytes([byte]) for byte in ORDER]
    for _ in range(12):
        known = [id for id in range(len(spelled)) if spelled[id] in text and len(spelled[id]) < 5]
        pair = (draw.choice(known), draw.choice(known))
        if pair not in merges:
            merges.append(pair)
            spelled.append(spelled[pair[0]] + spelled[pair[1]])
    specials = ["<|end|>", "〈角色〉"]
    return merges, specials, [*spelled, *(special.encode() for special in specials)]


@pytest.mark.stub("Tokenizer.decode")
def test_text_comes_back(impl, draw):
    merges, specials, _ = a_vocabulary(draw)
    tokenizer = impl.Tokenizer(merges, specials)
    for text in ("plain", "naïve café\n", "注意力机制", "🙂\u200d🔧 ok", " \t\x00", "\ufeffa\r\nb\r", "e\u0301", ""):
        hint = "put the bytes of all tokens together, then decode once: a character may be cut into several tokens"
        assert_equal(tokenizer.decode([ID[byte] for byte in text.encode()]), text, what=f"{text!r} in single bytes", hint=hint)
        ids = tokenizer.encode(text)
        assert_equal(tokenizer.decode(ids), text, what=f"{text!r} in tokens", hint=hint)
    assert_equal(tokenizer.decode([]), "", what="the text of no ids")


def replaced(data):
    """By the rule itself: the longest beginning of a character that is there becomes one U+FFFD, any other byte one too."""
    out, i = "", 0
    while i < len(data):
        for n in (1, 2, 3, 4):
            part = data[i : i + n]
            try:
                out, i = out + part.decode(), i + n
                break
            except UnicodeDecodeError:
                pass
        else:
            n = 1
            while i + n < len(data) and begins(data[i : i + n + 1]):
                n += 1
            out, i = out + "\ufffd", i + n
    return out


@lru_cache(maxsize=100_000)
def begins(part):
    """Whether some character of UTF-8 begins with these bytes, and is longer."""
    rests = [bytes(rest) for n in (1, 2) for rest in itertools.product((0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF), repeat=n)]
    for rest in rests:
        try:
            if len((part + rest).decode()) == 1:
                return True
        except UnicodeDecodeError:
            pass
    return False


@pytest.mark.stub("Tokenizer.decode")
def test_broken_bytes_are_shown_as_such(impl, draw):
    merges, specials, _ = a_vocabulary(draw)
    tokenizer = impl.Tokenizer(merges, specials)
    known = [0x41, 0x80, 0xBF, 0xC3, 0xA9, 0xE4, 0xB8, 0xAD, 0xF0, 0x9F, 0x99, 0x82, 0xFF, 0xC0, 0xED, 0xA0]
    for _ in range(4):
        data = bytes(draw.choice(known) for _ in range(draw.integer(1, 10)))
        hint = "bytes that are no UTF-8 become U+FFFD: never an error, and never another character"
        assert_equal(tokenizer.decode([ID[byte] for byte in data]), replaced(data), what=f"{data!r} decoded", hint=hint)
    whole = "中🙂".encode()
    for end in range(len(whole)):
        ids = [ID[byte] for byte in whole[:end]]
        assert_equal(
            tokenizer.decode(ids),
            replaced(whole[:end]),
            what=f"{whole[:end]!r} decoded",
            hint="a character that is cut is one U+FFFD",
        )


@pytest.mark.stub("Tokenizer.decode")
def test_any_tokens_in_any_order(impl, draw):
    merges, specials, spelled = a_vocabulary(draw)
    tokenizer = impl.Tokenizer(merges, specials)
    for _ in range(3):
        ids = draw.integers(len(spelled), (draw.integer(1, 12),), 200).tolist()
        expected = replaced(b"".join(spelled[id] for id in ids))
        hint = (
            "an id spells what the two of its merge spell; ids 0 to 255 are bytes in the order of `byte_alphabet`, not b itself"
        )
        assert_equal(tokenizer.decode(ids), expected, what=f"{ids} decoded", hint=hint)
    ids = [len(spelled) - 1, ID[0xE4], len(spelled) - 2]
    assert_equal(
        tokenizer.decode(ids), "〈角色〉\ufffd<|end|>", what="special tokens decoded", hint="special tokens spell themselves"
    )


@pytest.mark.stub("Tokenizer.decode")
def test_what_becomes_of_broken_bytes_can_be_chosen(impl, draw):
    tokenizer = impl.Tokenizer(*a_vocabulary(draw)[:2])
    data = b"a" + bytes([draw.choice([0x80, 0xFF, 0xC3])]) + b"b" * draw.integer(1, 3)
    ids = [ID[byte] for byte in data]
    for errors in ("ignore", "backslashreplace", "replace"):
        assert_equal(
            tokenizer.decode(ids, errors), data.decode(errors=errors), what=f"{data!r} with {errors}", hint="is `errors` used?"
        )
    assert_equal(tokenizer.decode(ids, errors="ignore"), data.decode(errors="ignore"), hint="is `errors` used?")
    with raises(UnicodeDecodeError, hint="with `strict`, Python's own error is what the caller asked for"):
        tokenizer.decode(ids, "strict")
    assert_equal(tokenizer.decode([ID[byte] for byte in "中".encode()], "strict"), "中", what="text with `strict`")


@pytest.mark.stub("Tokenizer.decode")
def test_ids_that_there_are_not(impl, draw):
    merges, specials, spelled = a_vocabulary(draw)
    tokenizer, bare = impl.Tokenizer(merges, specials), impl.Tokenizer([])
    good = draw.integers(len(spelled), (3,)).tolist()
    for wrong in (-1, len(spelled), -len(spelled), len(spelled) + draw.size()):
        ids = [*good]
        ids[draw.integer(0, 2)] = wrong
        with raises(ValueError, hint=f"ids are 0 to {len(spelled) - 1}, and {wrong} is none: Python counts −1 from the end"):
            tokenizer.decode(ids)
        with raises(ValueError, hint="what is no token is no broken byte either"):
            tokenizer.decode(ids, "ignore")
    with raises(ValueError, hint="without merges there are 256 ids"):
        bare.decode([256])
    assert_equal(
        bare.decode([255, 0]), replaced(bytes([ORDER[255], ORDER[0]])), what="the first id and the last", hint="both are ids"
    )


# --- WordPiece ---------------------------------------------------------------------------------------------------------


def greedy(word, vocabulary, unknown="[UNK]", mark=""):
    """By recursion: the longest piece that fits, then the rest."""
    if not word:
        return []
    fitting = [n for n in range(1, len(word) + 1) if mark + word[:n] in vocabulary]
    if not fitting:
        return None
    rest = greedy(word[max(fitting) :], vocabulary, unknown, "##")
    return None if rest is None else [mark + word[: max(fitting)], *rest]


def numbered(pieces):
    """The last piece has the id 0: an id like any other."""
    return {piece: id for id, piece in enumerate(reversed([*pieces]))}


def some_pieces(draw, letters="ab"):
    """All letters with and without mark but for a few, and longer pieces."""
    longer = ["".join(draw.choice(letters) for _ in range(draw.integer(2, 4))) for _ in range(5)]
    pieces = [*letters, *(f"##{letter}" for letter in letters), *(draw.choice(["", "##"]) + piece for piece in longer)]
    kept = [piece for piece in dict.fromkeys(pieces) if draw.integer(0, 5) > 0]
    return numbered(["[UNK]", *kept])


@pytest.mark.stub("wordpiece_encode")
def test_the_longest_piece_from_left_to_right(impl, draw):
    for _ in range(6):
        vocabulary = some_pieces(draw)
        word = "".join(draw.choice("ab") for _ in range(draw.integer(1, 9)))
        expected = greedy(word, vocabulary)
        hint = "from every place the longest piece that is in the vocabulary; behind the first one with ## before it"
        found = impl.wordpiece_encode(word, vocabulary)
        assert_equal(found, ["[UNK]"] if expected is None else expected, what=f"{word} with {list(vocabulary)}", hint=hint)


@pytest.mark.stub("wordpiece_encode")
def test_the_word_of_the_paper(impl):
    vocabulary = numbered(["[UNK]", "un", "##aff", "##able", "##a", "unaffe", "able", "##abl"])
    assert_equal(impl.wordpiece_encode("unaffable", vocabulary), ["un", "##aff", "##able"])
    assert_equal(impl.wordpiece_encode("un", vocabulary), ["un"], what="a word that is a piece")
    assert_equal(impl.wordpiece_encode("able", vocabulary), ["able"], what="a word that is a piece")
    hint = "whether a piece is in the vocabulary does not depend on its id"
    for id in (0, -1, 7):
        assert_equal(impl.wordpiece_encode("unaffable", dict.fromkeys(vocabulary, id)), ["un", "##aff", "##able"], hint=hint)


@pytest.mark.stub("wordpiece_encode")
def test_a_word_is_taken_as_it_is_written(impl):
    vocabulary = numbered(["[UNK]", "a", "##b", "A", "##É", "e", "##\u0301", "ﬁ", "straße", "é"])
    for word, expected in (
        ("AÉ", ["A", "##É"]),
        ("Ab", ["A", "##b"]),
        ("aB", ["[UNK]"]),
        ("E", ["[UNK]"]),
        ("e\u0301", ["e", "##\u0301"]),
        ("é", ["é"]),
        ("ﬁ", ["ﬁ"]),
        ("fi", ["[UNK]"]),
        ("STRASSE", ["[UNK]"]),
        ("a ", ["[UNK]"]),
    ):
        hint = "neither case nor accents nor spaces are changed here: that is done, or not, before a text is cut into words"
        assert_equal(impl.wordpiece_encode(word, vocabulary), expected, what=f"{word!r}", hint=hint)


@pytest.mark.stub("wordpiece_encode")
def test_a_word_that_cannot_be_spelled_is_unknown_as_a_whole(impl, draw):
    vocabulary = numbered(["[UNK]", "a", "ab", "##c", "abc", "##ab", "d", "?"])
    for word in ("abd", "abcx", "x", "xab", "cab", "dd", "abcd"):
        hint = "where nothing fits, neither the beginning nor the rest is kept; what fits is not tried again shorter"
        assert_equal(impl.wordpiece_encode(word, vocabulary), ["[UNK]"], what=f"{word!r}", hint=hint)
    assert_equal(impl.wordpiece_encode("abdd", vocabulary, "?"), ["?"], what="an unknown word", hint="is `unknown` used?")
    assert_equal(impl.wordpiece_encode("ax", vocabulary, unknown="?"), ["?"], what="an unknown word", hint="is `unknown` used?")
    no_way_back = numbered(["[UNK]", "a", "ab", "##b", "##bc"])
    hint = "greedy: `ab` is taken, though `a` and `##bc` would have fitted"
    assert_equal(impl.wordpiece_encode("abc", no_way_back), ["[UNK]"], hint=hint)


@pytest.mark.stub("wordpiece_encode")
def test_words_that_are_too_long(impl, draw):
    vocabulary = numbered(["[UNK]", "a", "##a", "##aaa"])
    n = draw.integer(4, 20)
    hint = "more than `longest` characters are unknown; exactly `longest` are not"
    assert_equal(impl.wordpiece_encode("a" * n, vocabulary, longest=n), greedy("a" * n, vocabulary), hint=hint)
    assert_equal(impl.wordpiece_encode("a" * (n + 1), vocabulary, longest=n), ["[UNK]"], hint=hint)
    assert_equal(impl.wordpiece_encode("a" * (n + 1), vocabulary, "##a", n), ["##a"], hint="is `unknown` used here too?")
    assert_equal(impl.wordpiece_encode("a" * 100, vocabulary), greedy("a" * 100, vocabulary), hint="100 by default")
    assert_equal(impl.wordpiece_encode("a" * 101, vocabulary), ["[UNK]"], hint="100 by default")
    assert_equal(
        impl.wordpiece_encode("中" * 40, numbered(["[UNK]", "中", "##中"])), ["中", *["##中"] * 39], hint="characters, not bytes"
    )


@pytest.mark.stub("wordpiece_encode")
def test_no_word_and_no_unknown_piece(impl, draw):
    vocabulary = some_pieces(draw)
    assert_equal(impl.wordpiece_encode("", vocabulary), [], what="the pieces of no word", hint="nothing is not unknown")
    del vocabulary["[UNK]"]
    for word in ("a", "zzz", "", "a" * 101):
        with raises(
            ValueError, hint="a vocabulary without the unknown piece is refused at once, not at the first word that needs it"
        ):
            impl.wordpiece_encode(word, vocabulary)
        with raises(ValueError, hint="is `unknown` what is looked for?"):
            impl.wordpiece_encode(word, {**vocabulary, "[UNK]": 0}, "<unk>")


# --- unigram -----------------------------------------------------------------------------------------------------------


def all_cuts(text):
    """Every way to cut a text, as lists of pieces."""
    return [
        [text[i:j] for i, j in itertools.pairwise([0, *inner, len(text)])]
        for n in range(len(text))
        for inner in itertools.combinations(range(1, len(text)), n)
    ] or [[]]


def total(cut, scores):
    """The log-probability of a cut, where a lone character may be unknown."""
    unknown = min(scores.values(), default=0.0) - 10
    return sum(scores.get(piece, unknown if len(piece) == 1 else -math.inf) for piece in cut)


def likeliest(text, scores):
    """By trying all cuts: the likeliest, of equals the longest last piece, then the longest before it."""
    return max(all_cuts(text), key=lambda cut: (total(cut, scores), [len(piece) for piece in reversed(cut)]))


def some_scores(draw, letters="abc", step=8):
    """Scores in eighths, which add up exactly; not every letter is a piece."""
    pieces = ["".join(draw.choice(letters) for _ in range(draw.integer(1, 4))) for _ in range(9)]
    return {piece: -draw.integer(1, 40) / step for piece in pieces}


@pytest.mark.stub("viterbi_unigram")
def test_the_likeliest_of_all_cuts(impl, draw):
    for _ in range(4):
        scores = some_scores(draw)
        text = "".join(draw.choice("abc") for _ in range(draw.integer(1, 9)))
        found = impl.viterbi_unigram(text, scores)
        assert_equal("".join(found), text, what="the pieces put together", hint="the pieces are the text, in its order")
        hint = "for every end, the best start: the score of the cut before it plus that of the piece"
        assert_equal(total(found, scores), total(likeliest(text, scores), scores), what=f"the score of {found}", hint=hint)
        assert_equal(found, likeliest(text, scores), what=f"the cut of {text}", hint="of equals the longest last piece")


@pytest.mark.stub("viterbi_unigram")
def test_of_equals_the_longest_last_piece(impl, draw):
    p = -draw.integer(1, 9) / 4
    hint = "a start that is only as good as an earlier one does not replace it"
    assert_equal(impl.viterbi_unigram("ab", {"a": p, "b": p, "ab": 2 * p}), ["ab"], hint=hint)
    assert_equal(impl.viterbi_unigram("abc", {"a": p, "ab": p, "bc": p, "c": p}), ["a", "bc"], hint=hint)
    assert_equal(impl.viterbi_unigram("aaaa", {"a": p, "aa": 2 * p, "aaa": 3 * p}), ["a", "aaa"], hint=hint)


@pytest.mark.stub("viterbi_unigram")
def test_neither_the_longest_piece_nor_the_fewest(impl, draw):
    scores = {"the": -4.0, "them": -4.5, "me": -4.0, "e": -3.5, "m": -3.5, "hem": -9.0, "t": -1.0, "h": -1.0}
    assert_equal(
        impl.viterbi_unigram("theme", scores), ["the", "me"], hint="two pieces of -8 in all, or them and e of exactly -8"
    )
    scores = {"theme": -9.0, "t": -1.0, "h": -1.0, "e": -1.0, "m": -1.0}
    assert_equal(impl.viterbi_unigram("theme", scores), [*"theme"], hint="five likely pieces beat one that is unlikely")
    assert_equal(impl.viterbi_unigram("theme", {**scores, "theme": -4.5}), ["theme"], hint="one piece beats five")


@pytest.mark.stub("viterbi_unigram")
def test_a_piece_that_is_certain(impl, draw):
    p = -draw.integer(1, 9) / 8
    hint = "a log-probability of 0 is a probability of 1, and not the lack of one"
    assert_equal(impl.viterbi_unigram("ab", {"a": p, "b": p, "ab": 0.0}), ["ab"], hint=hint)
    assert_equal(impl.viterbi_unigram("aba", {"a": 0.0, "ab": p, "b": -20.0}), ["ab", "a"], hint=hint)
    assert_equal(impl.viterbi_unigram("aab", {"a": 0.0, "b": 0.0, "ab": p}), ["a", "a", "b"], hint=hint)


@pytest.mark.stub("viterbi_unigram")
def test_characters_that_are_no_piece(impl, draw):
    low = -draw.integer(2, 9)
    scores = {"a": -1.0, "b": float(low), "ab": -1.5}
    for text in ("xaby", "xx", "x", "中ab"):
        hint = "a character that is no piece stands alone, for 10 less than the lowest score"
        assert_equal(impl.viterbi_unigram(text, scores), likeliest(text, scores), what=f"the cut of {text!r}", hint=hint)
    for lowest in (-10.5, -11.0, -11.5):  # x alone and "bc", or two pieces of the lowest score
        scores = {"xb": lowest, "c": lowest, "bc": -1.0}
        hint = "the penalty is 10, and taken from the lowest score of all pieces"
        assert_equal(
            impl.viterbi_unigram("xbc", scores), likeliest("xbc", scores), what=f"the cut of 'xbc' by {scores}", hint=hint
        )
    assert_equal(
        impl.viterbi_unigram("xyz", {}), ["x", "y", "z"], what="the cut without any piece", hint="every character is unknown"
    )
    hint = "an unknown character may stand beside pieces that begin or end with it"
    assert_equal(impl.viterbi_unigram("xab", {"ab": -1.0, "xa": -2.0}), ["x", "ab"], hint=hint)


@pytest.mark.stub("viterbi_unigram")
def test_texts_without_length_and_long_ones(impl, draw):
    scores = some_scores(draw)
    assert_equal(impl.viterbi_unigram("", scores), [], what="the cut of nothing")
    assert_equal(impl.viterbi_unigram("", {}), [], what="the cut of nothing")
    n = draw.integer(50, 80)
    found = impl.viterbi_unigram("ab" * n, {"ab": -1.0, "abab": -1.5, "a": -0.5, "b": -5.0})
    hint = "all cuts of a long text are too many to try: keep the best for every end"
    assert_equal(found, ["ab"] * (n % 2) + ["abab"] * (n // 2), hint=hint)
    long = "q" * draw.integer(20, 40)
    assert_equal(impl.viterbi_unigram(f"x{long}", {long: -1.0, "q": -1.0}), ["x", long], hint="pieces may be of any length")


@pytest.mark.stub("viterbi_unigram")
def test_scores_that_are_no_log_probabilities(impl, draw):
    scores = some_scores(draw)
    for wrong in (math.nan, math.inf, -math.inf):
        with raises(ValueError, hint=f"{wrong} among the scores would decide every comparison, or none"):
            impl.viterbi_unigram("abc", {**scores, draw.choice(["a", "zz"]): wrong})
        with raises(ValueError, hint="the first of the scores counts as well"):
            impl.viterbi_unigram("abc", {"zz": wrong, **scores})
    with raises(ValueError, hint="an empty piece could be written without end"):
        impl.viterbi_unigram("abc", {**scores, "": -1.0})


# --- wrong answers, and right ones written otherwise -------------------------------------------------------------------


def alphabet_by(shown, spare=256, step=1, start=0):
    """An alphabet with one thing done otherwise: which bytes are shown as they are, and where the others begin."""

    def alphabet():
        characters, following = [], spare
        for byte in range(start, 256):
            if shown(byte):
                characters.append(chr(byte))
            else:
                characters.append(chr(following))
                following += step
        return "".join(characters)

    return alphabet


def is_shown(byte):
    return 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174


def alphabet_of_gpt_2():
    """Two lists as in OpenAI's file: the visible bytes first, then the others, and a table of both."""
    bytes_ = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {byte: chr(byte) for byte in bytes_}
    for n, byte in enumerate(byte for byte in range(256) if byte not in bytes_):
        table[byte] = chr(256 + n)
    return "".join(table[byte] for byte in range(256))


def alphabet_in_the_order_of_the_file():
    shown = [byte for byte in range(256) if is_shown(byte)]
    return "".join(map(chr, shown)) + "".join(chr(256 + n) for n in range(256 - len(shown)))


def alphabet_by_translation():
    hidden = [*range(33), *range(127, 161), 173]
    return bytes(range(256)).decode("latin-1").translate({byte: 0x100 + i for i, byte in enumerate(hidden)})


def alphabet_by_representation():
    """What `repr` writes out is visible; the space and the quotes and the backslash are exceptions."""
    found, spare = "", 0x100
    for byte in range(256):
        if chr(byte).isprintable() and byte not in (0x20, 0xA0):
            found += chr(byte)
        else:
            found, spare = found + chr(spare), spare + 1
    return found


def counted_by(pairs, *, key=lambda item: (-item[1], item[0]), weigh=True, check=True):
    """Pairs counted with one thing done otherwise."""

    def count(words, times):
        if check and len(words) != len(times):
            raise ValueError("a number for each word")
        counts = Counter()
        for word, often in zip(words, times, strict=False):
            for pair in pairs(word):
                counts[pair] += often if weigh else 1
        return sorted(counts.items(), key=key)

    return count


def neighbours(word):
    return [(word[i], word[i + 1]) for i in range(len(word) - 1)]


def without_overlap(word):
    found, i = [], 0
    while i + 1 < len(word):
        found.append((word[i], word[i + 1]))
        i += 2 if word[i] == word[i + 1] else 1
    return found


def counted_by_sorting(words, times):
    """All places with their weights are sorted, and equal ones put together."""
    if len(words) - len(times):
        raise ValueError("a number for each word")
    places = sorted((pair, often) for word, often in zip(words, times, strict=True) for pair in itertools.pairwise(word))
    sums = [(pair, sum(often for _, often in group)) for pair, group in itertools.groupby(places, key=lambda place: place[0])]
    return sorted(sums, key=lambda item: item[1], reverse=True)  # stable: equal counts stay in the order of pairs


def counted_by_a_table(words, times):
    """left -> right -> count."""
    if len(words) != len(times):
        raise ValueError("a number for each word")
    table = defaultdict(lambda: defaultdict(int))
    for place, word in enumerate(words):
        for left, right in itertools.pairwise(word):
            table[left][right] += times[place]
    heap = [(-often, left, right) for left, row in table.items() for right, often in row.items()]
    heapq.heapify(heap)
    found = []
    while heap:
        often, left, right = heapq.heappop(heap)
        found.append(((left, right), -often))
    return found


def without_the_first(words, times):
    """The corpus is read to its end, but the last word is lost."""
    return (
        counted_by(neighbours)(words, times)
        if len(words) < 2 or len(words) != len(times)
        else counted_by(neighbours)(words[:-1], times[:-1])
    )


def merged_backwards(word, pair, new):
    out, i = [], len(word) - 1
    while i >= 0:
        if i > 0 and (word[i - 1], word[i]) == tuple(pair):
            out.append(new)
            i -= 2
        else:
            out.append(word[i])
            i -= 1
    return out[::-1]


def merged_in_a_stack(word, pair, new, *, again=False):
    """Each token is put on a stack; if it makes the pair with the one below, that one becomes the new token."""
    stack, fresh = [], False
    for token in word:
        if stack and (again or not fresh) and (stack[-1], token) == tuple(pair):
            stack[-1], fresh = new, True
        else:
            stack.append(token)
            fresh = False
    return stack


def merged_in_place(word, pair, new):
    i = 0
    while i < len(word) - 1:
        if (word[i], word[i + 1]) == tuple(pair):
            word[i : i + 2] = [new]
        i += 1
    return word


def merged_by_places(word, pair, new):
    """The places of the pair first, without overlap, then the word without their right tokens."""
    left, right = pair
    gone = set()
    for i in range(1, len(word)):
        if word[i - 1] == left and word[i] == right and i - 1 not in gone:
            gone.add(i)
    return [new if i + 1 in gone else token for i, token in enumerate(word) if i not in gone]


def merged_by_index(word, pair, new):
    """As GPT-2's own code: jump to the next place of the left token."""
    out, i = [], 0
    while i < len(word):
        try:
            j = word.index(pair[0], i)
        except ValueError:
            return [*out, *word[i:]]
        out += word[i:j]
        if j + 1 < len(word) and word[j + 1] == pair[1]:
            out.append(new)
            i = j + 2
        else:
            out.append(word[j])
            i = j + 1
    return out


def merged_once(word, pair, new):
    for i in range(len(word) - 1):
        if (word[i], word[i + 1]) == tuple(pair):
            return [*word[:i], new, *word[i + 2 :]]
    return list(word)


def learned_by(best, *, check=True, update=None, stop=True):
    """Merges by counting everything again, with one thing done otherwise. Given to `learn_merges`, it is too slow, too."""

    def learn(words, times, count):
        if check and count < 0:
            raise ValueError("fewer than none")
        if len(words) != len(times):
            raise ValueError("a number for each word")
        merges = []
        while len(merges) < count:
            found = [item for item in pairs_of(words, times) if item[1] > 0 or not stop]
            if not found:
                break
            pair = best(found)
            merges.append(pair)
            words = [(update or merged)(word, pair, 255 + len(merges)) for word in words]
        return merges

    return learn


def first_of(found):
    return found[0][0]


class Chain:
    """All words in one row of tokens with links; -1 is no token."""

    def __init__(self, words, times):
        self.token, self.often, self.before, self.after = [], [], [], []
        for word, often in zip(words, times, strict=True):
            for k, token in enumerate(word):
                here = len(self.token)
                self.token.append(token)
                self.often.append(often)
                self.before.append(here - 1 if k else -1)
                self.after.append(here + 1 if k + 1 < len(word) else -1)
        self.counts, self.places = Counter(), defaultdict(set)
        for here, there in enumerate(self.after):
            if there >= 0:
                self.add(here, there, self.often[here])

    def add(self, here, there, often):
        pair = self.token[here], self.token[there]
        self.counts[pair] += often
        (self.places[pair].add if often > 0 else self.places[pair].discard)(here)

    def merge(self, pair, new):
        changed = set()
        for here in sorted(self.places[pair]):
            there = self.after[here]
            if self.token[here] != pair[0] or there < 0 or self.token[there] != pair[1]:
                continue
            left, right, often = self.before[here], self.after[there], self.often[here]
            for one, other in ((left, here), (here, there), (there, right)):
                if one >= 0 and other >= 0:
                    self.add(one, other, -often)
                    changed.add((self.token[one], self.token[other]))
            self.token[here], self.token[there], self.after[here] = new, -1, right
            if right >= 0:
                self.before[right] = here
            for one, other in ((left, here), (here, right)):
                if one >= 0 and other >= 0:
                    self.add(one, other, often)
                    changed.add((self.token[one], self.token[other]))
        return changed


def learned_by_links(words, times, count):
    """Linked tokens, places of pairs, and a scan of the counts for every merge."""
    if count < 0 or len(words) != len(times):
        raise ValueError("these are no words with numbers, or fewer merges than none")
    kept = [i for i, often in enumerate(times) if often]
    chain, merges = Chain([words[i] for i in kept], [times[i] for i in kept]), []
    while len(merges) < count:
        found = [(-often, pair) for pair, often in chain.counts.items() if often > 0]
        if not found:
            break
        merges.append(min(found)[1])
        chain.merge(merges[-1], 255 + len(merges))
    return merges


def learned_by_links_and_a_heap(words, times, count):
    if count < 0 or len(words) != len(times):
        raise ValueError("these are no words with numbers, or fewer merges than none")
    kept = [i for i, often in enumerate(times) if often]
    chain, merges = Chain([words[i] for i in kept], [times[i] for i in kept]), []
    heap = [(-often, pair) for pair, often in chain.counts.items()]
    heapq.heapify(heap)
    while heap and len(merges) < count:
        less, pair = heapq.heappop(heap)
        now = chain.counts[pair]
        if now <= 0 or now != -less:
            continue
        merges.append(pair)
        for changed in chain.merge(pair, 255 + len(merges)):
            if chain.counts[changed] > 0:
                heapq.heappush(heap, (-chain.counts[changed], changed))
    return merges


def learned_by_touched_words(words, times, count):
    """Counts without a heap: only words that hold both tokens are looked at again."""
    if count < 0 or len(words) != len(times):
        raise ValueError("these are no words with numbers, or fewer merges than none")
    words, counts, merges = [list(word) for word in words], Counter(), []
    for word, often in zip(words, times, strict=True):
        for pair in neighbours(word):
            counts[pair] += often
    while len(merges) < count:
        best = max(counts, key=lambda pair: (counts[pair], -pair[0], -pair[1]), default=None)
        if best is None or counts[best] == 0:
            break
        merges.append(best)
        for i, word in enumerate(words):
            if best in neighbours(word):
                for pair in neighbours(word):
                    counts[pair] -= times[i]
                words[i] = merged_by_places(word, best, 255 + len(merges))
                for pair in neighbours(words[i]):
                    counts[pair] += times[i]
    return merges


def encoded_by(pick, *, everywhere=True, right=False):
    """Pairs looked for again and again, with one thing done otherwise."""

    def encode(self, word):
        word = list(word)
        while found := [(self.ranks[pair], i) for i, pair in enumerate(itertools.pairwise(word)) if pair in self.ranks]:
            new, i = pick(found)
            pair = word[i], word[i + 1]
            if everywhere:
                word = (merged_backwards if right else merged)(word, pair, new)
            else:
                word[i : i + 2] = [new]
        return word

    return encode


def encoded_by_vocabulary(self, word):
    """The longest token that fits, from left to right."""
    spelled = {(id,): id for id in range(256)}
    texts = {id: (id,) for id in range(256)}
    for (left, right), new in self.ranks.items():
        texts[new] = texts[left] + texts[right]
        spelled.setdefault(texts[new], new)
    out, i, word = [], 0, tuple(word)
    while i < len(word):
        j = len(word)
        while word[i:j] not in spelled:
            j -= 1
        out.append(spelled[word[i:j]])
        i = j
    return out


def encoded_in_one_pass(self, word):
    """Merges on a stack, from left to right, whatever was learned first."""
    stack = []
    for token in word:
        stack.append(token)
        while len(stack) > 1 and (stack[-2], stack[-1]) in self.ranks:
            right = stack.pop()
            stack.append(self.ranks[stack.pop(), right])
    return stack


def encoded_by_buckets(self, word):
    """What can be merged waits in a list for each rank; ranks are gone through in ascending order."""
    token, before, after = dict(enumerate(word)), {}, {}
    n, waiting, ranks = len(word), defaultdict(list), []
    for i in range(n):
        before[i], after[i] = i - 1, i + 1

    def look(i):
        if i >= 0 and after[i] < n:
            new = self.ranks.get((token[i], token[after[i]]))
            if new is not None:
                if not waiting[new]:
                    heapq.heappush(ranks, int(new))
                waiting[new].append(i)

    for i in range(n - 1):
        look(i)
    while ranks:
        new = heapq.heappop(ranks)
        for i in sorted(waiting.pop(new, [])):
            if i not in token or after[i] >= n or self.ranks.get((token[i], token[after[i]])) != new:
                continue
            j = after[i]
            token[i], after[i] = new, after[j]
            del token[j]
            if after[i] < n:
                before[after[i]] = i
            look(before[i])
            look(i)
    return [int(token[i]) for i in sorted(token)]


class Node:
    def __init__(self, token):
        self.token, self.left, self.right, self.alive = token, None, None, True


def encoded_by_nodes(self, word):
    """Nodes that know their neighbours, and a heap with a serial number for ties."""
    nodes = [Node(token) for token in word]
    for one, other in itertools.pairwise(nodes):
        one.right, other.left = other, one
    places, heap = {id(node): i for i, node in enumerate(nodes)}, []

    def offer(node):
        if node is not None and node.right is not None:
            new = self.ranks.get((node.token, node.right.token))
            if new is not None:
                heapq.heappush(heap, (new, places[id(node)], node, node.token, node.right.token))

    for node in nodes:
        offer(node)
    while heap:
        new, _, node, left, right = heapq.heappop(heap)
        if not node.alive or node.right is None or (node.token, node.right.token) != (left, right):
            continue
        node.right.alive = False
        node.token, node.right = new, node.right.right
        if node.right is not None:
            node.right.left = node
        offer(node.left)
        offer(node)
    return [node.token for node in nodes if node.alive]


def encoded_by_runs(self, word):
    """The rank next in line is merged in one pass over what is left; few ranks, and a pass over neighbours only of those."""
    word = list(word)
    ranks = [self.ranks.get(pair) for pair in itertools.pairwise(word)]
    heap = [(rank, i) for i, rank in enumerate(ranks) if rank is not None]
    heapq.heapify(heap)
    right_of, left_of, alive = {}, {}, [True] * len(word)
    while heap:
        rank, i = heapq.heappop(heap)
        j = right_of.get(i, i + 1)
        if not alive[i] or j >= len(word) or ranks[i] != rank:
            continue
        word[i], alive[j], k = rank, False, right_of.get(j, j + 1)
        right_of[i] = k
        left_of[k] = i
        h = left_of.get(i, i - 1)
        for a, b in ((h, i), (i, k)):
            if a >= 0:
                ranks[a] = self.ranks.get((word[a], word[b])) if b < len(word) else None
                if ranks[a] is not None:
                    heapq.heappush(heap, (ranks[a], a))
    return [token for token, there in zip(word, alive, strict=True) if there]


def decoded_by(join, *, check=True, low=0, high=0):
    """Decoding with one thing done otherwise."""

    def decode(self, ids, errors="replace"):
        for id in ids:
            if check and not low <= id < len(self.tokens) + high:
                raise ValueError("no such id")
        return join([self.tokens[id] for id in ids], errors)

    return decode


def decoded_by_a_buffer(self, ids, errors="replace"):
    if any(id not in range(len(self)) for id in ids):
        raise ValueError("no such id")
    buffer = bytearray()
    for id in ids:
        buffer += self.tokens[id]
    return buffer.decode(errors=errors)


def decoded_step_by_step(self, ids, errors="replace"):
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    found = list(ids)
    if found and not (min(found) >= 0 and max(found) < len(self)):
        raise ValueError("no such id")
    return "".join([decoder.decode(self.tokens[id]) for id in found]) + decoder.decode(b"", True)


def decoded_by_merges(self, ids, errors="replace"):
    """Merges undone, without the table of tokens."""
    parts = {new: pair for pair, new in self.ranks.items()}
    specials = {id: text for text, id in self.specials.items()}
    bytes_, stack = [], list(reversed(ids))
    if any(id < 0 or id >= 256 + len(parts) + len(specials) for id in stack):
        raise ValueError("no such id")
    while stack:
        id = stack.pop()
        if id in parts:
            stack += reversed(parts[id])
        else:
            bytes_ += list(specials[id].encode()) if id in specials else [ORDER[id]]
    return str(bytes(bytes_), "utf-8", errors)


def pieces_by(*, mark="##", whole=True, shortest=False, length=len, check=True, limit=True, back=False):
    """WordPiece with one thing done otherwise. whole: an unknown part makes all unknown."""

    def encode(word, vocabulary, unknown="[UNK]", longest=100):
        if check and unknown not in vocabulary:
            raise ValueError("no unknown piece")
        if limit and length(word) > longest:
            return [unknown]
        pieces, start = [], 0
        while start < len(word):
            ends = range(start + 1, len(word) + 1) if shortest else range(len(word), start, -1)
            before = mark if start else ""
            end = next((end for end in ends if before + word[start:end] in vocabulary), None)
            if end is None:
                if whole:
                    return [unknown]
                pieces.append(unknown)
                end = start + 1
            else:
                pieces.append(before + word[start:end])
            start = end
        return pieces

    return encode


def pieces_by_recursion(word, vocabulary, unknown="[UNK]", longest=100):
    if unknown not in vocabulary:
        raise ValueError("no unknown piece")
    found = greedy(word, vocabulary) if len(word) <= longest else None
    return [unknown] if found is None else found


def pieces_by_a_trie(word, vocabulary, unknown="[UNK]", longest=100):
    """The vocabulary as two trees of letters: of pieces that begin a word, and of those that go on."""
    if unknown not in vocabulary:
        raise ValueError("no unknown piece")
    begin, go_on = {}, {}
    for piece in vocabulary:
        for tree, letters in ((begin, piece), *([(go_on, piece[2:])] if piece.startswith("##") and len(piece) > 2 else [])):
            for letter in letters:
                tree = tree.setdefault(letter, {})
            tree["end"] = True
    pieces, start = [], 0
    while start < len(word) <= longest:
        tree, end = go_on if start else begin, 0
        for i in range(start, len(word)):
            tree = tree.get(word[i])
            if tree is None:
                break
            end = i + 1 if "end" in tree else end
        if not end:
            return [unknown]
        pieces.append(("##" if start else "") + word[start:end])
        start = end
    return pieces if len(word) <= longest else [unknown]


def pieces_by_a_pattern(word, vocabulary, unknown="[UNK]", longest=100):
    """An alternation of pieces, the longest first, finds the same."""
    if unknown not in vocabulary:
        raise ValueError("no unknown piece")
    if len(word) > longest:
        return [unknown]
    pieces, start = [], 0
    by_length = sorted(vocabulary, key=len, reverse=True)
    first = re.compile("|".join(map(re.escape, by_length)), re.DOTALL)
    rest = re.compile(
        "|".join(re.escape(piece[2:]) for piece in by_length if piece[:2] == "##" and piece[2:]) or "(?!)", re.DOTALL
    )
    while start < len(word):
        found = (rest if start else first).match(word, start)
        if not found:
            return [unknown]
        pieces.append("##" * bool(start) + found[0])
        start = found.end()
    return pieces


def pieces_with_another_way(word, vocabulary, unknown="[UNK]", longest=100):
    """Where the longest piece leads nowhere, a shorter one is tried."""
    if unknown not in vocabulary:
        raise ValueError("no unknown piece")

    def cut(start):
        if start == len(word):
            return []
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary and (rest := cut(end)) is not None:
                return [piece, *rest]
        return None

    found = cut(0) if len(word) <= longest else None
    return [unknown] if found is None else found


def cut_by(
    *, better=lambda new, old: new > old, penalty=10.0, base=min, ends=False, fuse=False, known_only=False, check=True, reach=None
):
    """Viterbi with one thing done otherwise."""

    def cut(text, scores):
        if check and ("" in scores or not all(map(math.isfinite, scores.values()))):
            raise ValueError("no log-probabilities")
        unknown = base(scores.values(), default=0.0) - penalty
        best = [(0.0, [])]
        for end in range(1, len(text) + 1):
            found = None
            for start in range(max(0, end - reach) if reach else 0, end):
                piece = text[start:end]
                score = scores.get(piece)
                if score is None:
                    if len(piece) > 1 or (known_only and any(piece in known for known in scores)):
                        continue
                    score = unknown
                total_ = best[start][0] + score
                if found is None or better(total_, found[0]):
                    found = total_, [*best[start][1], piece]
            best.append(found or (-math.inf, [text[:end]]))
        return best[-1][1]

    return cut


def cut_from_the_back(text, scores):
    """The best rest for every start, by recursion without a stack; of equals the last piece decides."""
    if "" in scores or not all(map(math.isfinite, scores.values())):
        raise ValueError("no log-probabilities")
    unknown = min(scores.values(), default=0.0) - 10
    best = {len(text): (0.0, (), [])}
    for start in range(len(text) - 1, -1, -1):
        options = []
        for end in range(start + 1, len(text) + 1):
            piece = text[start:end]
            score = scores.get(piece, unknown if len(piece) == 1 else None)
            if score is not None:
                rest, lengths, pieces = best[end]
                options.append((rest + score, (*lengths, len(piece)), [piece, *pieces]))
        best[start] = max(options, key=lambda option: option[:2])
    return best[0][2]


def cut_forwards(text, scores):
    """From each end that was reached, on to all ends of pieces that begin there; pieces in a tree of letters."""
    if not all(piece and math.isfinite(score) for piece, score in scores.items()):
        raise ValueError("no log-probabilities")
    tree, unknown = {}, (min(scores.values()) if scores else 0.0) - 10
    for piece, score in scores.items():
        node = tree
        for letter in piece:
            node = node.setdefault(letter, {})
        node[""] = score
    best, came = {0: 0.0}, {}
    for start in range(len(text)):
        offers, node = {start + 1: unknown}, tree
        for end in range(start + 1, len(text) + 1):
            node = node.get(text[end - 1])
            if node is None:
                break
            if "" in node:
                offers[end] = node[""]
        for end, score in offers.items():
            if end not in best or best[start] + score > best[end]:
                best[end], came[end] = best[start] + score, start
    pieces, end = [], len(text)
    while end:
        pieces.insert(0, text[came[end] : end])
        end = came[end]
    return pieces


def cut_greedily(text, scores):
    if "" in scores or not all(map(math.isfinite, scores.values())):
        raise ValueError("no log-probabilities")
    pieces, start = [], 0
    while start < len(text):
        end = next((end for end in range(len(text), start, -1) if text[start:end] in scores), start + 1)
        pieces.append(text[start:end])
        start = end
    return pieces


FAKES = {
    "byte_alphabet": {
        "Latin-1 as it is": alphabet_by(lambda byte: True),
        "everything moved": alphabet_by(lambda byte: False),
        "ASCII alone": alphabet_by(lambda byte: 33 <= byte <= 126),
        "the space shown": alphabet_by(lambda byte: is_shown(byte) or byte == 32),
        "the soft hyphen shown": alphabet_by(lambda byte: is_shown(byte) or byte == 173),
        "the delete character shown": alphabet_by(lambda byte: is_shown(byte) or byte == 127),
        "the no-break space shown": alphabet_by(lambda byte: is_shown(byte) or byte == 160),
        "the last one moved": alphabet_by(lambda byte: is_shown(byte) and byte != 255),
        "with gaps": lambda: "".join(chr(byte) if is_shown(byte) else chr(256 + byte) for byte in range(256)),
        "from 257 on": alphabet_by(is_shown, spare=257),
        "in the order of the file": alphabet_in_the_order_of_the_file,
        "one too few": alphabet_by(is_shown, start=1),
        "all others alike": alphabet_by(is_shown, step=0),
    },
    "count_pairs": {
        "every word once": counted_by(neighbours, weigh=False),
        "every pair once a word": counted_by(lambda word: set(neighbours(word))),
        "without overlap": counted_by(without_overlap),
        "without the last pair": counted_by(lambda word: neighbours(word)[:-1]),
        "round the end": counted_by(lambda word: [*neighbours(word), *([(word[-1], word[0])] if word else [])]),
        "without an order": counted_by(lambda word: [tuple(sorted(pair)) for pair in neighbours(word)]),
        "the rarest first": counted_by(neighbours, key=lambda item: (item[1], item[0])),
        "the larger first": counted_by(neighbours, key=lambda item: (-item[1], -item[0][0], -item[0][1])),
        "by the right id first": counted_by(neighbours, key=lambda item: (-item[1], item[0][::-1])),
        "ties as they come": counted_by(neighbours, key=lambda item: -item[1]),
        "ties as text": counted_by(neighbours, key=lambda item: (-item[1], str(item[0]))),
        "in the order of pairs": counted_by(neighbours, key=lambda item: item[0]),
        "the last word lost": without_the_first,
        "too few numbers": counted_by(neighbours, check=False),
        "threes": counted_by(lambda word: list(zip(word, word[2:], strict=False))),
    },
    "merge": {
        "from the right": merged_backwards,
        "once": merged_once,
        "again and again": lambda word, pair, new: merged_in_a_stack(word, pair, new, again=True),
        "in place": merged_in_place,
        "the last token lost": Edit("while i < len(word):", "while i < len(word) - 1:"),
        "the last pair left": Edit("if i + 1 < len(word)", "if i + 2 < len(word)"),
        "either way round": Edit("(word[i], word[i + 1]) == pair", "tuple(sorted((word[i], word[i + 1]))) == tuple(sorted(pair))"),
        "the left one alone": Edit("(word[i], word[i + 1]) == pair", "word[i] == pair[0]"),
        "the right one stays": Edit("            i += 2\n", "            i += 1\n"),
        "two new ones": Edit("merged.append(new)", "merged += [new, new]"),
        "one token too far": Edit("            i += 2\n", "            i += 3\n"),
        "nothing": lambda word, pair, new: list(word),
        "a tuple": lambda word, pair, new: tuple(merged(word, pair, new)),
        "ids as text": lambda word, pair, new: [
            int(id) for id in " ".join(map(str, word)).replace(f"{pair[0]} {pair[1]}", str(new)).split()
        ],
    },
    "learn_merges": {
        "counts of the start": lambda words, times, count: [pair for pair, often in pairs_of(words, times) if often][: max(count, 0)],
        "all counted again": learned_by(first_of),
        "the larger of equals": learned_by(lambda found: max(found, key=lambda item: (item[1], item[0]))[0]),
        "the rarest": learned_by(lambda found: found[-1][0]),
        "merged from the right": learned_by(first_of, update=merged_backwards),
        "merged once a word": learned_by(first_of, update=merged_once),
        "merged again and again": learned_by(first_of, update=lambda *a: merged_in_a_stack(*a, again=True)),
        "as it was met": learned_by(lambda found: max(found, key=lambda item: item[1] + 1e-6 * (item[0][0] - item[0][1]))[0]),
        "pairs of nothing": learned_by(first_of, stop=False),
        "stale counts believed": Edit("less == 0 or -less != counts[pair]", "counts[pair] == 0"),
        "counts of 1 not merged": Edit("less == 0", "less >= -1"),
        "ids from 257": Edit("255 + len(merges)", "256 + len(merges)"),
        "changed counts not offered": Edit("heappush(heap, (-counts[changed], changed))", "pass"),
        "rises alone offered": Edit("counts[changed] += by\n", "counts[changed] += max(by, 0)\n"),
        "the words given are changed": Edit("spelled, counts = [list(word) for word in words], ", "spelled, counts = words, "),
        "one more": Edit("len(merges) < count", "len(merges) <= count"),
        "negative is none": Edit("if count < 0:", "if False:"),
        "none refused": Edit("if count < 0:", "if count < 1:"),
        "every word respelled": Edit(
            "merges.append(pair)\n", "merges.append(pair)\n        where = defaultdict(set, {pair: set(range(len(spelled)))})\n"
        ),
        "first words alone": Edit("where[pair].add(i)", "where[pair].add(min(i, 3))"),
    },
    "Tokenizer.encode_word": {
        "the longest token first": encoded_by_vocabulary,
        "from left to right": encoded_in_one_pass,
        "the merge learned last": encoded_by(max),
        "pairs looked for again and again": encoded_by(min),
        "from the right": encoded_by(min, right=True),
        "the leftmost pair": encoded_by(lambda found: min(found, key=lambda item: item[1])),
        "one merge": lambda self, word: (lambda found: merged(word, *min(found)[::-1]) if found else list(word))(
            [(self.ranks[pair], pair) for pair in itertools.pairwise(word) if pair in self.ranks]
        ),
        "bytes": lambda self, word: list(word),
        "the rightmost of equals": encoded_by(lambda found: min(found, key=lambda item: (item[0], -item[1])), everywhere=False),
        "new pairs not looked for": Edit("for left in (before[i], i):", "for left in ():"),
        "to the left alone": Edit("for left in (before[i], i):", "for left in (before[i],):"),
        "to the right alone": Edit("for left in (before[i], i):", "for left in (i,):"),
        "what has gone is merged": Edit("j == n or self.ranks.get((ids[i], ids[j])) != new", "j == n"),
        "links backwards not kept": Edit("before[after[i]] = i", "pass"),
        "links forwards not kept": Edit("ids[i], ids[j], after[i] = new, -1, after[j]", "ids[i], ids[j] = new, -1"),
        "id 0 is nothing": Edit("if id >= 0]", "if id > 0]"),
        "the first place is nothing": Edit("if after[left] < n:", "if left > 0 and after[left] < n:"),
        "the word is changed": Edit("n, ids = len(word), [*word]", "n, ids = len(word), word"),
        "no heap": Edit("new, i = heappop(heap)", "new, i = heap.pop(0)"),
    },
    "Tokenizer.decode": {
        "token by token": decoded_by(lambda parts, errors: "".join(part.decode(errors=errors) for part in parts)),
        "always replaced": decoded_by(lambda parts, errors: b"".join(parts).decode(errors="replace")),
        "always strict": decoded_by(lambda parts, errors: b"".join(parts).decode()),
        "broken bytes left out": decoded_by(lambda parts, errors: b"".join(parts).decode(errors="ignore" if errors == "replace" else errors)),
        "Latin-1": decoded_by(lambda parts, errors: b"".join(parts).decode("latin-1")),
        "question marks": decoded_by(lambda parts, errors: b"".join(parts).decode(errors=errors).replace("\ufffd", "?")),
        "one mark for all": decoded_by(lambda parts, errors: re.sub("\ufffd+", "\ufffd", b"".join(parts).decode(errors=errors))),
        "no id refused": decoded_by(lambda parts, errors: b"".join(parts).decode(errors=errors), check=False),
        "from the end": decoded_by(lambda parts, errors: b"".join(parts).decode(errors=errors), low=-(10**6)),
        "one id too few": decoded_by(lambda parts, errors: b"".join(parts).decode(errors=errors), high=-1),
        "the first id refused": decoded_by(lambda parts, errors: b"".join(parts).decode(errors=errors), low=1),
        "unknown ids left out": lambda self, ids, errors="replace": b"".join(
            self.tokens[id] for id in ids if 0 <= id < len(self.tokens)
        ).decode(errors=errors),
        "ids are bytes": lambda self, ids, errors="replace": b"".join(
            bytes([id]) if 0 <= id < 256 else self.tokens[id] if id > 0 else b""[id] for id in ids
        ).decode(errors=errors),
        "special tokens left out": lambda self, ids, errors="replace": decoded_by_merges(
            self, [id for id in ids if id not in self.specials.values()], errors
        ),
        "stripped": decoded_by(lambda parts, errors: b"".join(parts).decode(errors=errors).strip()),
        "line ends made alike": decoded_by(lambda parts, errors: re.sub("\r\n?", "\n", b"".join(parts).decode(errors=errors))),
        "the byte order mark lost": decoded_by(lambda parts, errors: b"".join(parts).decode("utf-8-sig", errors)),
        "composed": decoded_by(lambda parts, errors: unicodedata.normalize("NFC", b"".join(parts).decode(errors=errors))),
    },
    "wordpiece_encode": {
        "the shortest piece": pieces_by(shortest=True),
        "no mark": pieces_by(mark=""),
        "another mark": pieces_by(mark="@@"),
        "unknown parts": pieces_by(whole=False),
        "another way tried": pieces_with_another_way,
        "no limit": pieces_by(limit=False),
        "bytes counted": pieces_by(length=lambda word: len(word.encode())),
        "one less": pieces_by(length=lambda word: len(word) + 1),
        "one more": pieces_by(length=lambda word: len(word) - 1),
        "no unknown piece needed": pieces_by(check=False),
        "always [UNK]": Edit("        if end == start:\n            return [unknown]", '        if end == start:\n            return ["[UNK]"]'),
        "too long is always [UNK]": Edit("longest:\n        return [unknown]", 'longest:\n        return ["[UNK]"]'),
        "marks left out": lambda *given, **named: [piece.removeprefix("##") for piece in pieces_by()(*given, **named)],
        "nothing is unknown": lambda word, *given, **named: pieces_by()(word, *given, **named) or ["[UNK]"],
        "half of it kept": Edit("        if end == start:\n            return [unknown]", "        if end == start:\n            return [*pieces, unknown]"),
        "the id 0 is none": Edit("mark + word[start:end] not in vocabulary", "not vocabulary.get(mark + word[start:end])"),
        "its length asked first": lambda word, vocabulary, unknown="[UNK]", longest=100: (
            [unknown] if len(word) > longest else pieces_by()(word, vocabulary, unknown, longest)
        ),
        "small letters": lambda word, *given, **named: pieces_by()(word.lower(), *given, **named),
        "composed": lambda word, *given, **named: pieces_by()(unicodedata.normalize("NFC", word), *given, **named),
        "stripped": lambda word, *given, **named: pieces_by()(word.strip(), *given, **named),
        "the whole word not tried": Edit('mark, end = "##" if start else "", len(word)', 'mark, end = "##" if start else "", max(len(word) - 1, start + 1)'),
    },
    "viterbi_unigram": {
        "the longest piece first": cut_greedily,
        "the fewest pieces": lambda text, scores: cut_by()(text, dict.fromkeys(scores, -1.0)) if all(map(math.isfinite, scores.values())) else cut_by()(text, scores),
        "the later of equals": cut_by(better=lambda new, old: new >= old),
        "the unlikeliest": cut_by(better=lambda new, old: new < old),
        "no penalty": cut_by(penalty=0.0),
        "a smaller penalty": cut_by(penalty=9.0),
        "a larger penalty": cut_by(penalty=11.0),
        "from the best score": cut_by(base=max),
        "unknown only if in no piece": cut_by(known_only=True),
        "four letters at most": cut_by(reach=4),
        "NaN accepted": cut_by(check=False),
        "infinity accepted": lambda text, scores: cut_by(check="" in scores or any(map(math.isnan, scores.values())))(text, scores),
        "an empty piece accepted": lambda text, scores: cut_by()(text, {p: q for p, q in scores.items() if p}),
        "characters": lambda text, scores: list(text) if all(map(math.isfinite, scores.values())) else cut_by()(text, scores),
        "the words turned round": lambda text, scores: cut_by()(text, scores)[::-1],
        "a text as it is": lambda text, scores: [text] if text in scores and math.isfinite(min(scores.values())) else cut_by()(text, scores),
        "unknown ones put together": lambda text, scores: "".join(
            piece if piece in scores else f"\0{piece}\0" for piece in cut_by()(text, scores)
        ).replace("\0\0", "").split("\0"),
        "certainty is nothing": lambda text, scores: cut_by()(
            text, {piece: score for piece, score in scores.items() if score or not piece}
        ),
        "nothing is a piece": lambda text, scores: cut_by()(text, scores) or [""],
    },
}  # fmt: skip
VARIANTS = {
    "byte_alphabet": {
        "GPT-2's own": alphabet_of_gpt_2,
        "translated": alphabet_by_translation,
        "by what Python prints": alphabet_by_representation,
        "by Unicode's categories": expected_alphabet,
    },
    "count_pairs": {
        "sorted and put together": counted_by_sorting,
        "a table of tables": counted_by_a_table,
        "a Counter, sorted twice": lambda words, times: counted_by(neighbours)(words, times),
    },
    "merge": {
        "replaced in a text": merged,
        "on a stack": merged_in_a_stack,
        "places first": merged_by_places,
        "from place to place": merged_by_index,
    },
    "learn_merges": {
        "links and a scan": learned_by_links,
        "links and a heap": learned_by_links_and_a_heap,
        "words that have the pair": learned_by_touched_words,
    },
    "Tokenizer.encode_word": {
        "buckets of ranks": encoded_by_buckets,
        "nodes": encoded_by_nodes,
        "dicts of links": encoded_by_runs,
    },
    "Tokenizer.decode": {
        "a buffer": decoded_by_a_buffer,
        "step by step": decoded_step_by_step,
        "merges undone": decoded_by_merges,
    },
    "wordpiece_encode": {
        "recursion": pieces_by_recursion,
        "two trees": pieces_by_a_trie,
        "a pattern": pieces_by_a_pattern,
        "ends in a generator": pieces_by(),
    },
    "viterbi_unigram": {
        "cuts kept whole": cut_by(),
        "from the back": cut_from_the_back,
        "forwards through a tree": cut_forwards,
    },
}

UNREAD = "there is a place more than the word has, which is never read"
EQUIVALENT = {
    "Tokenizer.encode_word": {
        "off by one: range(n) -> range(n + 1)": UNREAD,
        "off by one: range(n) -> range(n + 1) #2": UNREAD,
        "order: enumerate(pairwise(ids)) -> list(enumerate(pairwise(ids)))[::-1]": "heapify brings them into the order of a heap",
        "order: (before[i], i) -> (i, before[i])": "both pairs are put into the heap, in whichever order",
        "constant: (new, -1, after[j]) -> (new, -2, after[j])": "any number below 0 is no id",
    },
    "viterbi_unigram": {
        "constant: max(map(len, scores), default=1) -> max(map(len, scores), default=2)": (
            "without pieces only single characters can be cut, however far back one looks"
        ),
    },
}
