"""What a right answer to foundations/algorithms must do.

Truths: brute force (all subsequences, all sets, every pair), NumPy's stable sort, `OrderedDict`, `sorted`, and what a table of the
textbook must satisfy. How much work an answer takes is counted, never timed.
"""

import bisect
import heapq
import itertools
import math
from collections import Counter, OrderedDict, deque
from contextlib import contextmanager
from functools import cache
from graphlib import CycleError, TopologicalSorter

import numpy as np
import pytest

from course.testing import Edit, assert_between, assert_close, assert_equal, assert_true, raises
from course.wire import ImplementationError

# --- edit script -------------------------------------------------------------------------------------------------------


def least_cost(a, b, substitution):
    """By trying everything, from the front."""

    @cache
    def rest(i, j):
        if i == len(a) or j == len(b):
            return len(a) - i + len(b) - j
        here = 0 if a[i] == b[j] else substitution
        return min(rest(i + 1, j + 1) + here, rest(i + 1, j) + 1, rest(i, j + 1) + 1)

    return rest(0, 0)


def longest_common(a, b):
    """The length of the longest of all subsequences of `a` that `b` has too."""
    for length in range(len(a), -1, -1):
        for places in itertools.combinations(range(len(a)), length):
            tokens = iter(b)
            if all(a[i] in tokens for i in places):
                return length
    return 0


def walked(script, a, b, substitution):
    """What a script costs. A step that cannot be taken where it stands fails."""
    i = j = cost = 0
    for step in script:
        assert_true(len(step) == 3, "a step is (what, i, j)", detail=f"got {step!r}")
        what, at, to = step
        hint = "i is how many items of a are used up before the step, j how many of b are written; steps go from left to right"
        assert_true(
            (at, to) == (i, j), "the steps of the script do not follow each other", detail=f"{step!r} at {i}, {j}", hint=hint
        )
        known = what in ("keep", "delete", "insert", "substitute")
        assert_true(known, "a step is neither keep nor delete, insert or substitute", detail=f"got {what!r}")
        i, j = i + (what != "insert"), j + (what != "delete")
        assert_true(i <= len(a) and j <= len(b), "the script goes beyond the end of its texts")
        if what == "keep":
            assert_true(a[i - 1] == b[j - 1], "the script keeps an item that has to change", detail=f"{step!r}")
        cost += {"keep": 0, "substitute": substitution}.get(what, 1)
    assert_true((i, j) == (len(a), len(b)), "the script ends before its texts do", hint="go on until both are used up")
    return cost


def texts(draw, *, least=0, letters=3):
    """Two lists of tokens, the second an edited copy of the first half of the time."""
    a = draw.integers(letters, (draw.integer(least, 7),)).tolist()
    b = draw.integers(letters, (draw.integer(least, 7),)).tolist()
    if draw.integer(0, 1):
        cut = draw.integer(0, len(a))
        b = [*a[:cut], *b[:2], *a[cut + 1 :]]
    return a, b


@pytest.mark.stub("edit_script")
def test_the_script_turns_one_text_into_the_other_at_the_least_cost(impl, draw):
    for _ in range(4):
        a, b = texts(draw)
        hint = "the cheapest of three: the diagonal (free if the items are equal), from above and from the left, each for 1"
        assert_equal(walked(impl.edit_script(a, b), a, b, 1), least_cost(a, b, 1), hint=hint, what="the cost of the script")


@pytest.mark.stub("edit_script")
def test_a_substitution_costs_what_it_is_said_to_cost(impl, draw):
    for price in (1, 2, 3):
        a, b = texts(draw, least=2)
        found = walked(impl.edit_script(a, b, price), a, b, price)
        assert_equal(found, least_cost(a, b, price), hint="is `substitution` used?", what="the cost of the script")
        apart = impl.edit_script([0] * len(a), [1] * len(b), substitution=price)
        expected = min(price, 2) * min(len(a), len(b)) + abs(len(a) - len(b))
        assert_equal(walked(apart, [0] * len(a), [1] * len(b), price), expected, what="the cost of texts with nothing in common")


@pytest.mark.stub("edit_script")
def test_what_is_kept_where_substitutions_are_no_bargain_is_a_longest_common_subsequence(impl, draw):
    a, b = texts(draw, least=1, letters=4)
    kept = sum(step[0] == "keep" for step in impl.edit_script(a, b, 2))
    assert_equal(
        kept, longest_common(a, b), hint="at a price of 2, the cost is n + m less two for each item kept", what="the items kept"
    )


@pytest.mark.stub("edit_script")
def test_keeping_an_item_may_cost_more_than_it_saves(impl, draw):
    c, x, y = draw.permutation(9)[:3].tolist()
    a, b = [*[x] * draw.integer(2, 3), c, x], [c, *[y] * 4]
    for price in (1, 2):
        hint = "the default price is 1: substituting everything is cheaper here than shifting all to keep one item"
        script = impl.edit_script(a, b) if price == 1 else impl.edit_script(a, b, price)
        assert_equal(walked(script, a, b, price), least_cost(a, b, price), hint=hint, what="the cost of the script")


@pytest.mark.stub("edit_script")
def test_the_way_back_stays_inside_of_the_table(impl, draw):
    w, x, y = draw.permutation(9)[:3].tolist()
    for a, b in (([x, y], [w, y, x, y]), ([w, y, x, y], [x, y])):
        hint = "on a border there is one way only: an index of −1 would read the other end of the table"
        assert_equal(walked(impl.edit_script(a, b), a, b, 1), 2, hint=hint, what="the cost of the script")


@pytest.mark.stub("edit_script")
def test_one_of_the_texts_may_be_empty(impl, draw):
    n = draw.size()
    word = "".join(draw.choice("abc") for _ in range(n))
    hint = "with nothing to compare, everything is deleted or inserted: the borders of the table are 0, 1, 2, …"
    assert_equal([tuple(step) for step in impl.edit_script("", "")], [], hint=hint)
    assert_equal([tuple(step) for step in impl.edit_script(word, "")], [("delete", i, 0) for i in range(n)], hint=hint)
    assert_equal([tuple(step) for step in impl.edit_script("", word)], [("insert", 0, j) for j in range(n)], hint=hint)
    assert_equal([tuple(step) for step in impl.edit_script(word, word)], [("keep", i, i) for i in range(n)], hint=hint)


@pytest.mark.stub("edit_script")
def test_words_are_compared_as_wholes(impl):
    a, b = ["the", "cat", "sat", "on", "the", "mat"], ["a", "cat", "sat", "down", "on", "the"]
    script = [tuple(step) for step in impl.edit_script(a, b)]
    expected = [
        ("substitute", 0, 0),
        ("keep", 1, 1),
        ("keep", 2, 2),
        ("insert", 3, 3),
        ("keep", 3, 4),
        ("keep", 4, 5),
        ("delete", 5, 6),
    ]
    assert_equal(script, expected, hint="this one has a single cheapest script: one substitution, one insertion, one deletion")


@pytest.mark.stub("edit_script")
def test_a_price_of_nothing_is_refused(impl, draw):
    for price in (0, -draw.size()):
        with raises(ValueError, hint=f"a substitution for {price} would make any two texts of equal length alike"):
            impl.edit_script("ab", "cd", price)
        for a, b in (("", ""), ("ab", ""), ("", "cd"), ("ab", "ab")):
            with raises(ValueError, hint="the price is refused whatever the texts are, also where nothing has to be substituted"):
                impl.edit_script(a, b, price)


@pytest.mark.stub("edit_script")
def test_no_pair_of_items_is_compared_over_and_over(impl, draw):
    n = draw.integer(24, 32)
    hint = "fill a table of (n + 1)(m + 1) costs, each from three neighbours"
    assert_between(impl.count_edit(n), 0, 4 * n * n + 10 * n, what=f"comparisons of two texts of {n}", hint=hint)


@pytest.mark.stub("edit_script")
def test_items_need_no_more_than_to_be_equal(impl, draw):
    def made(tokens):  # lists are equal without being the same object, and have no hash
        return [["token", token] for token in tokens]

    a, b = texts(draw, least=2)
    hint = "ask `==`: two items may be equal without being one object (`is`), and need not be hashable"
    script = impl.edit_script(made(a), made(b))
    assert_equal(walked(script, a, b, 1), least_cost(a, b, 1), hint=hint, what="the cost of the script")
    assert_equal([tuple(step) for step in impl.edit_script(made(a), made(a))], [("keep", i, i) for i in range(len(a))], hint=hint)


@pytest.mark.stub("edit_script")
def test_a_text_of_twelve_hundred_words(impl):
    long, short = list(range(1200)), [700, 800]
    for a, b in ((long, short), (short, long)):
        hint = "texts are long: no recursion (Python's stack is about 1,000 calls deep), and no table of small integers"
        assert_equal(walked(impl.edit_script(a, b), a, b, 1), 1198, hint=hint, what="the cost of the script")


# --- topological order -------------------------------------------------------------------------------------------------


def dependencies(draw, count, *, most=3):
    """name -> what it needs, without a circle, in no order; and all names."""
    names = [f"{'xyz'[i % 3]}{place}" for i, place in enumerate(draw.permutation(count).tolist())]
    needs = {name: [names[j] for j in draw.permutation(i)[: draw.integer(0, most)].tolist()] for i, name in enumerate(names) if i}
    needs = {name: needed for name, needed in needs.items() if needed or draw.integer(0, 1)}
    keys = list(needs)
    shuffled = {keys[i]: needs[keys[i]] for i in draw.permutation(len(keys)).tolist()}
    return shuffled, set(keys) | {other for needed in needs.values() for other in needed}


def assert_sorted(order, needs, names, hint):
    assert_true(
        sorted(order) == sorted(names), "the order does not have every name once", detail=f"got {order}, names {names}", hint=hint
    )
    place = {name: i for i, name in enumerate(order)}
    for name, needed in needs.items():
        for other in needed:
            text = f"{name!r} comes before {other!r}, which it needs"
            assert_true(place[other] < place[name], "a name comes before what it needs", detail=text, hint=hint)


@pytest.mark.stub("topological_sort")
def test_everything_comes_after_what_it_needs(impl, draw):
    for _ in range(3):
        needs, names = dependencies(draw, draw.integer(2, 9))
        hint = "a name is ready when nothing that it needs is missing; names that are only needed belong to the order too"
        assert_sorted(impl.topological_sort(needs), needs, names, hint)


@pytest.mark.stub("topological_sort")
def test_names_that_are_only_needed_and_names_without_needs(impl):
    assert_equal(impl.topological_sort({}), [], hint="nothing has an order too")
    assert_equal(impl.topological_sort({"a": []}), ["a"], hint="a name without needs")
    assert_equal(impl.topological_sort({"a": ["b"]}), ["b", "a"], hint="`b` is no key, but it has to come")
    assert_equal(impl.topological_sort({"a": ["b"], "b": ["c"]}), ["c", "b", "a"], hint="`c` is no key, but it has to come")
    few = {"few": ["many"], "many": ["a", "b", "c"]}
    assert_sorted(impl.topological_sort(few), few, ["few", "many", *"abc"], "it matters what is needed, not how much")


@pytest.mark.stub("topological_sort")
def test_a_need_may_be_named_twice(impl, draw):
    needs, names = dependencies(draw, draw.integer(4, 8))
    twice = {name: needed * draw.integer(1, 3) for name, needed in needs.items()}
    twice |= {"last": ["x", "x", "y"], "y": ["x"]}
    hint = "count what is missing as often as you will count it down again"
    assert_sorted(impl.topological_sort(twice), twice, names | {"last", "x", "y"}, hint)


@contextmanager
def refused_as_a_circle(hint):
    """`raises(ValueError)`, and graphlib's CycleError, which is one."""
    try:
        with raises(ValueError, hint=hint):
            yield
    except ImplementationError as error:
        if error.kind != CycleError.__name__ or error.late:
            raise
        if error.broken is not None:
            raise error.broken from None


@pytest.mark.stub("topological_sort")
@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_a_circle_is_refused(impl, draw, length):
    needs, _ = dependencies(draw, draw.integer(3, 7))
    circle = [f"c{i}" for i in range(length)]
    alone = {circle[i]: [circle[(i + 1) % length]] for i in range(length)}
    with refused_as_a_circle(f"{length} names need each other in a circle: what is left when no name is ready any more?"):
        impl.topological_sort(alone)
    with refused_as_a_circle("there is a circle beside names that can be sorted"):
        impl.topological_sort(needs | alone | {"behind": [circle[0]]})
    with refused_as_a_circle("count what comes out against *all* names: those that are only needed are no keys"):
        impl.topological_sort(alone | {"one": [f"only{i}" for i in range(length + 1)]})


@pytest.mark.stub("topological_sort")
def test_a_chain_of_three_thousand(impl):
    names = [f"layer{i}" for i in range(3000)]
    needs = {names[i]: [names[i - 1]] for i in range(2999, 0, -1)}
    hint = "Python's stack is about 1,000 calls deep: keep a list of what is ready instead of calling yourself"
    assert_equal(impl.topological_sort(needs), names, hint=hint)


@pytest.mark.stub("topological_sort")
def test_many_paths_are_not_all_walked(impl):
    needs = {f"{side}{i}": [f"a{i - 1}", f"b{i - 1}"] for i in range(1, 40) for side in "ab"}
    names = {f"{side}{i}" for i in range(40) for side in "ab"}
    assert_sorted(impl.topological_sort(needs), needs, names, "there are 2 to the power 39 paths here: handle each name once")


@pytest.mark.stub("topological_sort")
def test_every_name_and_every_need_is_looked_at_a_few_times(impl, draw):
    n = draw.integer(500, 600)
    hint = "keep for every name who needs it, so that nothing has to be searched when it is done"
    assert_between(impl.count_order(n), 0, 80 * n, what=f"hashes for {n} names and {3 * n} needs", hint=hint)


# --- top k -------------------------------------------------------------------------------------------------------------


def best(values, k):
    """By a stable sort."""
    return sorted(range(len(values)), key=lambda i: values[i], reverse=True)[:k]


@pytest.mark.stub("top_k")
def test_positions_of_the_largest_largest_first(impl, draw):
    values = draw.normal(draw.integer(6, 30)).tolist()
    k = draw.integer(2, len(values) - 1)
    assert_equal(impl.top_k(values, k), best(values, k), hint="positions, not values, and the largest first")


@pytest.mark.stub("top_k")
def test_of_equal_values_the_earlier_comes_first(impl, draw):
    for _ in range(4):
        values = draw.integers(3, (draw.integer(5, 14),)).tolist()
        k = draw.integer(1, len(values))
        hint = "of equal values the least position wins, both for a place among the k and in their order"
        assert_equal(impl.top_k(values, k), best(values, k), hint=hint)


@pytest.mark.stub("top_k")
@pytest.mark.parametrize("way", ["ascending", "descending", "equal"])
def test_values_that_are_in_order_already(impl, draw, way):
    n = draw.size(2)
    values = {"ascending": list(range(n)), "descending": list(range(n, 0, -1)), "equal": [7] * n}[way]
    for k in (0, 1, n - 1, n):
        assert_equal(impl.top_k(values, k), best(values, k), hint=f"{way} values, k = {k} of {n}")


@pytest.mark.stub("top_k")
def test_anything_that_can_be_compared(impl, draw):
    words = ["".join(draw.choice("abc") for _ in range(3)) for _ in range(9)]
    assert_equal(impl.top_k(words, 4), best(words, 4), hint="words have no minus sign: compare values, and turn only positions")
    numbers = [-math.inf, 3, math.inf, -2.5, 3.0, -math.inf]
    assert_equal(impl.top_k(numbers, 6), [2, 1, 4, 3, 0, 5], hint="infinities are values like others")
    assert_equal(impl.top_k([], 0), [], hint="none of nothing")


@pytest.mark.stub("top_k")
def test_more_than_there_are_and_less_than_none_are_refused(impl, draw):
    values = draw.normal(draw.size()).tolist()
    for k in (-1, len(values) + 1, -draw.size(2), len(values) + draw.size(2)):
        with raises(ValueError, hint=f"there are no {k} best of {len(values)}"):
            impl.top_k(values, k)


@pytest.mark.stub("top_k")
def test_not_everything_is_sorted(impl, draw):
    n = draw.integer(56, 64)
    hint = "keep a heap of the k best with the weakest on top (or split as quicksort does, and go on in one part only)"
    assert_between(impl.count_top_k(n), 0, 8 * 64 * n, what=f"comparisons for the best 10 of {64 * n}", hint=hint)


# --- LRU cache ---------------------------------------------------------------------------------------------------------


class Model:
    """What a cache must do, by an `OrderedDict`."""

    def __init__(self, capacity):
        self.capacity, self.entries = capacity, OrderedDict()

    def get(self, key):
        if key in self.entries:
            self.entries.move_to_end(key)
        return self.entries.get(key)

    def put(self, key, value):
        gone = None
        if key not in self.entries and len(self.entries) == self.capacity:
            gone, _ = self.entries.popitem(last=False)
        self.entries[key] = value
        self.entries.move_to_end(key)
        return gone


@pytest.mark.stub("LRUCache.put")
@pytest.mark.parametrize("capacity", [1, 2, 3, 5])
def test_keeps_what_was_used_last(impl, draw, capacity):
    cache, model = impl.LRUCache(capacity), Model(capacity)
    for step in range(40):
        key = draw.integer(0, capacity + 1)
        if draw.integer(0, 2):
            hint = "the key that has to go is the one used longest ago; reading and storing anew both count as use"
            assert_equal(
                cache.put(key, step), model.put(key, step), hint=hint, what=f"what put({key}, …) returned in step {step}"
            )
        else:
            hint = "what was stored last under this key, or None if it had to go"
            assert_equal(cache.get(key), model.get(key), hint=hint, what=f"what get({key}) returned in step {step}")


@pytest.mark.stub("LRUCache.put")
def test_a_key_that_is_there_takes_no_room(impl, draw):
    n = draw.size(2)
    cache = impl.LRUCache(n)
    for i in range(n):
        assert_equal(cache.put(f"k{i}", i), None, hint="there is still room")
    for i in range(n):
        assert_equal(cache.put(f"k{i}", -i), None, hint="its value is replaced, and nobody has to go")
    for i in range(n):
        assert_equal(cache.get(f"k{i}"), -i, hint="the value that was stored last")
    assert_equal(cache.put("new", 1), "k0", hint="now the cache is full: the one used longest ago has to go")
    assert_equal(cache.get("k0"), None, hint="what had to go is gone")


@pytest.mark.stub("LRUCache.put")
def test_zero_and_the_empty_word_are_keys_and_values(impl):
    cache = impl.LRUCache(2)
    assert_equal([cache.put(0, ""), cache.put("", 0)], [None, None], hint="there is room for two")
    assert_equal([cache.get(0), cache.get("")], ["", 0], hint="0 and '' are values: ask `is None`, not whether it is true")
    assert_equal([cache.put(1, 1), cache.put(2, 2)], [0, ""], hint="0 and '' are keys that can have to go, like any other")


@pytest.mark.stub("LRUCache.put")
def test_none_is_a_key_and_a_value_too(impl):
    cache = impl.LRUCache(1)
    hint = "a key whose value is None is there, and takes a place: ask for its link, not for its value"
    assert_equal([cache.put("a", None), cache.put("a", 1), cache.get("a")], [None, None, 1], hint=hint)
    cache = impl.LRUCache(1)
    assert_equal([cache.put("a", None), cache.put("b", 2), cache.get("b")], [None, "a", 2], hint=hint)
    cache = impl.LRUCache(2)
    cache.put(None, 1)
    cache.put("b", 2)
    hint = "the sentinel is known by what it is, not by its key"
    assert_equal([cache.get(None), cache.put("c", 3), cache.put("d", 4)], [1, "b", None], hint=hint)
    assert_equal([cache.get(None), cache.get("c"), cache.get("d")], [None, 3, 4], hint=hint, what="what is left of None, c and d")


@pytest.mark.stub("LRUCache.put")
def test_two_caches_know_nothing_of_each_other(impl, draw):
    one, other, model = impl.LRUCache(2), impl.LRUCache(3), Model(3)
    for step in range(12):
        key = draw.integer(0, 4)
        one.put(step, step)
        assert_equal(other.put(key, step), model.put(key, step), hint="keep everything in `self`")


@pytest.mark.stub("LRUCache.put")
def test_a_large_cache_works_no_more_for_each_use(impl, draw):
    n = draw.integer(240, 260)
    hint = "a hash table finds the link, and the link knows its neighbours: nothing has to be searched"
    assert_between(impl.count_cache(n), 0, 30, what=f"hashes and comparisons for each use of a cache for {n}", hint=hint)


# --- trie --------------------------------------------------------------------------------------------------------------


@pytest.mark.stub("Trie.complete")
def test_all_that_begins_so_in_order(impl, draw):
    words = ["".join(draw.choice("abc") for _ in range(draw.integer(1, 5))) for _ in range(12)]
    trie = impl.Trie(words)
    for prefix in ("", "a", "b", "ca", words[0], words[1][:2], words[2] + "a"):
        expected = [list(word) for word in sorted(set(words)) if word.startswith(prefix)]
        hint = "go down along the prefix, then collect what lies below: a node first, then its children in order"
        assert_equal(trie.complete(prefix), expected, hint=hint, what=f"what begins with {prefix!r}")


@pytest.mark.stub("Trie.complete")
def test_no_more_than_asked_for(impl, draw):
    words = sorted({"".join(draw.choice("ab") for _ in range(draw.integer(1, 5))) for _ in range(14)})
    trie = impl.Trie(words)
    for limit in (0, 1, 2, len(words) - 1, len(words), len(words) + 3):
        expected = [list(word) for word in words][:limit]
        assert_equal(trie.complete("", limit), expected, hint="the first `limit` of all", what=f"the first {limit}")
        assert_equal(trie.complete("a", limit=limit), [word for word in map(list, words) if word[0] == "a"][:limit])


@pytest.mark.stub("Trie.complete")
def test_tokens_are_compared_as_what_they_are(impl, draw):
    prompts = [draw.integers(120, (draw.integer(1, 3),)).tolist() for _ in range(10)] + [[7, 10], [7, 9], [7, 100]]
    trie = impl.Trie(prompts)
    assert_equal(trie.complete([7]), [p for p in sorted(map(list, set(map(tuple, prompts)))) if p[0] == 7], hint="9 < 10 < 100")
    assert_equal(trie.complete([]), sorted(map(list, set(map(tuple, prompts)))), hint="in the order of `sorted`")


@pytest.mark.stub("Trie.complete")
def test_what_is_not_there(impl, draw):
    word = "".join(draw.choice("abc") for _ in range(draw.size(2)))
    trie = impl.Trie([word])
    hint = "a prefix that leaves the tree begins nothing; entries that are only passed through do not count"
    assert_equal(trie.complete(word + "a"), [], hint=hint)
    assert_equal(trie.complete("d"), [], hint=hint)
    assert_equal(trie.complete(word), [list(word)], hint="an entry begins with itself")
    assert_equal(trie.complete(""), [list(word)], hint=hint)
    assert_equal(impl.Trie([]).complete(""), [], hint="an empty trie has nothing, not even the empty entry")
    assert_equal(impl.Trie([word, ""]).complete(""), [[], list(word)], hint="the empty entry can be stored, and comes first")


@pytest.mark.stub("Trie.complete")
def test_asking_changes_nothing(impl, draw):
    words = sorted({"".join(draw.choice("ab") for _ in range(3)) for _ in range(5)})
    trie = impl.Trie(words)
    for _ in range(2):
        assert_equal(trie.complete("b"), [list(w) for w in words if w[0] == "b"], hint="the second time as the first")
    assert_equal(trie.complete([0]), [], hint="a token that no entry has")
    hint = "asking stores nothing, as `setdefault` would: a token of another kind cannot even be sorted among letters"
    assert_equal(trie.complete(""), [list(w) for w in words], hint=hint)
    trie.insert("ba")
    assert_equal(trie.complete("b"), sorted([list("ba"), *(list(w) for w in words if w[0] == "b")]), hint="what was added since")


@pytest.mark.stub("Trie.complete")
def test_prompts_are_long(impl):
    long = [i % 7 for i in range(1500)]
    trie = impl.Trie([long, long[:5]])
    hint = "Python's stack is about 1,000 calls deep: keep a list of nodes still to be visited"
    assert_equal(trie.complete(long[:3]), [long[:5], long], hint=hint)
    assert_equal(trie.complete(long[:1400]), [long], hint=hint)


@pytest.mark.stub("Trie.complete")
def test_looks_at_no_more_than_it_returns(impl, draw):
    n = draw.integer(1000, 1050)
    hint = "stop as soon as `limit` entries are found; a node's children are found by their token, not by trying each"
    what = f"hashes and comparisons for 4 of {n} prompts with a beginning of 64 tokens"
    assert_between(impl.count_trie(n), 0, 600, what=what, hint=hint)


# --- reservoir ---------------------------------------------------------------------------------------------------------


def sampled(items, k, uniforms):
    """Place by place: the last item that took it, or the one that filled it."""
    taken = [math.floor(u * (t + 1)) for t, u in enumerate(uniforms.tolist()[: len(items)])]
    filled = range(min(k, len(items)))
    return [items[max([s, *(t for t in range(k, len(items)) if taken[t] == s)])] for s in filled]


@pytest.mark.stub("reservoir_sample")
def test_every_item_takes_the_place_that_its_number_says(impl, draw):
    n, k = draw.integer(5, 30), draw.size(2)
    items, uniforms = [f"item {i}" for i in draw.permutation(n).tolist()], draw.uniform(n).numpy()
    hint = "item number t takes place floor(u (t + 1)) of the sample if that is below k; the first k fill it"
    assert_equal(impl.reservoir_sample(items, k, uniforms), sampled(items, k, uniforms), hint=hint)


@pytest.mark.stub("reservoir_sample")
def test_every_set_is_equally_likely(impl):
    counts = Counter()
    for places in itertools.product(range(3), range(4), range(5)):  # of items 2, 3 and 4: all that can happen, equally often
        uniforms = np.array([0.5, 0.5, *((place + 0.5) / (t + 3) for t, place in enumerate(places))])
        counts[tuple(sorted(impl.reservoir_sample(["a", "b", "c", "d", "e"], 2, uniforms)))] += 1
    hint = "item t must enter with probability k / (t + 1), each place with 1 / (t + 1)"
    assert_equal(
        dict(counts), dict.fromkeys(itertools.combinations("abcde", 2), 6), hint=hint, what="how often each pair was drawn"
    )


@pytest.mark.stub("reservoir_sample")
def test_a_stream_may_be_shorter_than_the_sample(impl, draw):
    n = draw.size()
    items = [f"item {i}" for i in range(n)]
    uniforms = draw.uniform(n + 3).numpy()
    for k in (n, n + 1, n + draw.size(2)):
        assert_equal(impl.reservoir_sample(items, k, uniforms), items, hint="all that came, in their order")
    assert_equal(impl.reservoir_sample(items, n + 4, uniforms[:n]), items, hint="a number for each item is enough, whatever k is")
    assert_equal(impl.reservoir_sample([], draw.size(), uniforms), [], hint="nothing of nothing")
    assert_equal(impl.reservoir_sample([], 2, uniforms[:0]), [], hint="nothing needs no numbers")
    nothing = [None, 0, None, ""]
    assert_equal(
        impl.reservoir_sample(nothing, 9, draw.uniform(4).numpy()), nothing, hint="None may be an item; the stream goes on"
    )
    assert_equal(impl.reservoir_sample(items, 0, uniforms), [], hint="a sample of none")


@pytest.mark.stub("reservoir_sample")
def test_one_place_and_the_last_item(impl, draw):
    n = draw.size(3)
    uniforms = np.full(n, 0.999)
    uniforms[-1] = 0.5 / n
    assert_equal(impl.reservoir_sample(list(range(n)), 1, uniforms), [n - 1], hint="the last item can take a place too")
    assert_equal(impl.reservoir_sample(list(range(n)), 1, np.full(n, 0.999)), [0], hint="and the first can stay to the end")


@pytest.mark.stub("reservoir_sample")
def test_uniforms_in_single_precision(impl, draw):
    n, k = draw.integer(5, 20), draw.size(2, 4)
    uniforms = np.array([(draw.integer(0, t) + 0.5) / (t + 1) for t in range(n)], dtype=np.float32)
    items = list(range(n))
    assert_equal(impl.reservoir_sample(items, k, uniforms), sampled(items, k, uniforms), hint="float32 numbers do as well")


@pytest.mark.stub("reservoir_sample")
def test_a_negative_size_and_too_few_numbers_are_refused(impl, draw):
    n = draw.size(2)
    with raises(ValueError, hint="a sample of less than nothing"):
        impl.reservoir_sample(list(range(n)), -draw.size(), draw.uniform(n).numpy())
    for k in (0, n, n + draw.size()):  # too few is too few, also where no number decides anything
        with raises(ValueError, hint=f"{n} items came, and {n - 1} numbers, for a sample of {k}: say so with a ValueError"):
            impl.reservoir_sample(list(range(n)), k, draw.uniform(n - 1).numpy())
    for missing in (1, n):
        with raises(ValueError, hint=f"{n} items came, but numbers for {n - missing} of them: say so with a ValueError"):
            impl.reservoir_sample(list(range(n)), draw.size(), draw.uniform(n - missing).numpy())


@pytest.mark.stub("reservoir_sample")
def test_holds_no_more_than_the_sample(impl, draw):
    n = draw.integer(150, 250)
    hint = "go through the stream once (it has no length), and keep nothing but the sample and the item at hand"
    assert_between(impl.count_memory(n), 10, 16, what=f"items held at once for 10 of {n}", hint=hint)


# --- alias table -------------------------------------------------------------------------------------------------------


def implied(threshold, alias):
    """The probabilities with which a table draws."""
    p = threshold.astype(np.float64).copy()
    np.add.at(p, alias, 1 - threshold.astype(np.float64))
    return p / len(p)


def assert_table(impl, weights, hint, tolerance=1e-12):
    threshold, alias = impl.alias_table(weights)
    assert_true(
        threshold.dtype == weights.dtype, "the thresholds are of another dtype than the weights", detail=f"{threshold.dtype}"
    )
    assert_true(alias.dtype == np.int64, "the aliases are not int64", detail=f"{alias.dtype}")
    inside = bool((threshold >= 0).all() and (threshold <= 1).all() and (alias >= 0).all() and (alias < len(weights)).all())
    assert_true(
        inside, "a threshold lies outside of 0 to 1, or an alias names no outcome", detail=f"{threshold}, {alias}", hint=hint
    )
    p = implied(threshold, alias)
    assert_close(
        p,
        weights.astype(np.float64) / weights.sum(dtype=np.float64),
        hint=hint,
        tolerance=tolerance,
        what="the probabilities drawn",
    )
    return p


@pytest.mark.stub("alias_table")
def test_the_table_draws_by_the_weights(impl, draw):
    for n in (draw.size(), draw.integer(9, 40)):
        weights = draw.uniform(n, low=0.05).numpy() * 10 ** draw.number(-3, 3)
        hint = (
            "column i keeps n w_i / sum of itself and is filled from its alias; a giver has that much less, and may become small"
        )
        assert_table(impl, weights, hint)


@pytest.mark.stub("alias_table")
def test_weights_of_very_different_sizes(impl, draw):
    weights = np.exp(draw.normal(draw.integer(3, 30), scale=4).numpy())
    assert_table(impl, weights, "one giver can fill many columns: take it from the list only when it is no longer full")
    heavy = np.full(draw.integer(5, 30), 1e-3)
    heavy[draw.integer(0, len(heavy) - 1)] = draw.number(1, 100)
    assert_table(impl, heavy, "one giver can fill many columns: take it from the list only when it is no longer full")


@pytest.mark.stub("alias_table")
def test_a_weight_of_zero_is_never_drawn(impl, draw):
    n = draw.integer(4, 20)
    weights = draw.uniform(n, low=0.05).numpy()
    zeros = draw.permutation(n)[: draw.integer(1, n - 1)].numpy()
    weights[zeros] = 0
    p = assert_table(impl, weights, "a column of weight 0 belongs to its alias altogether")
    assert_true(bool((p[zeros] == 0).all()), "an outcome of weight 0 can be drawn", detail=f"{p[zeros]}")
    for _ in range(12):  # rounding often leaves a column a little below 1: its alias must not be just any outcome
        weights = draw.uniform(draw.integer(20, 40), low=0.05).numpy()
        weights[[0, -1]] = 0
        p = assert_table(impl, weights, "a column that is left over is its own alias")
        assert_true(
            bool((p[[0, -1]] == 0).all()), "an outcome of weight 0 can be drawn", hint="what is left over is its own alias"
        )


@pytest.mark.stub("alias_table")
def test_equal_weights_and_a_single_one(impl, draw):
    n, weight = draw.size(), draw.number(0.1, 9)
    for count in (n, 1):
        threshold, alias = impl.alias_table(np.full(count, weight))
        assert_close(implied(threshold, alias), np.full(count, 1 / count), tolerance=1e-12, hint="nobody has to give anything")


@pytest.mark.stub("alias_table")
@pytest.mark.parametrize("n", [300, 2000])
def test_rounding_leaves_columns_over(impl, draw, n):
    weights = draw.uniform(n).numpy()
    assert_table(
        impl, weights, "when one of the lists runs out, what is left in either is full: set it to exactly 1", tolerance=1e-9
    )
    whole = draw.integers(9, (n,), low=1).numpy().astype(np.float64)
    assert_table(
        impl, whole, "when one of the lists runs out, what is left in either is full: set it to exactly 1", tolerance=1e-9
    )


@pytest.mark.stub("alias_table")
def test_single_precision_stays_single_precision(impl, draw):
    weights = draw.uniform(draw.size(2), low=0.05).numpy().astype(np.float32)
    assert_table(impl, weights, "float32 in, float32 out", tolerance=1e-5)


@pytest.mark.stub("alias_table")
@pytest.mark.parametrize("wrong", ["empty", "negative", "NaN", "infinite", "all zero"])
def test_weights_that_are_no_weights_are_refused(impl, draw, wrong):
    weights = draw.uniform(draw.size(2), low=0.05).numpy()
    at = draw.integer(0, len(weights) - 1)
    if wrong == "empty":
        weights = np.zeros(0)
    elif wrong == "all zero":
        weights[:] = 0
    else:
        weights[at] = {"negative": -0.01, "NaN": math.nan, "infinite": math.inf}[wrong]
    with raises(ValueError, hint=f"{wrong} weights name no probabilities"):
        impl.alias_table(weights)


# --- union-find --------------------------------------------------------------------------------------------------------


def orders(draw, n):
    """Lists of pairs that hang a careless tree deep: chains from either side, and newcomers that join at any member."""
    yield [(i, i + 1) for i in range(n - 1)]
    yield [(i + 1, i) for i in range(n - 1)]
    yield [(0, i) for i in range(1, n)]
    yield [(i, 0) for i in range(1, n)]
    yield [(i, i - 1) for i in range(n - 1, 0, -1)]
    yield [(i - 1, i) for i in range(n - 1, 0, -1)]
    yield [(draw.integer(0, i - 1), i) for i in range(1, n)]
    yield [(i, draw.integer(0, i - 1)) for i in range(1, n)]


@pytest.mark.stub("UnionFind.union")
def test_sets_grow_together(impl, draw):
    n = draw.integer(5, 9)
    sets, label = impl.UnionFind(n), list(range(n))
    for _ in range(n):
        a, b = draw.integer(0, n - 1), draw.integer(0, n - 1)
        hint = "True if two sets became one, False if it was one already"
        assert_equal(sets.union(a, b), label[a] != label[b], hint=hint, what=f"what union({a}, {b}) returned")
        label = [label[a] if one == label[b] else one for one in label]
        groups = [[i for i in range(n) if label[i] == one] for one in dict.fromkeys(label)]
        assert_equal(
            sets.groups(), groups, hint="join the roots, not the items: the whole of both sets belongs together", what="the sets"
        )


@pytest.mark.stub("UnionFind.union")
def test_sizes_are_kept(impl, draw):
    n = draw.integer(5, 9)
    sets, label = impl.UnionFind(n), list(range(n))
    for _ in range(n + 2):
        a, b = draw.integer(0, n - 1), draw.integer(0, n - 1)
        sets.union(a, b)
        label = [label[a] if one == label[b] else one for one in label]
        hint = "the new root has the items of both; joining a set with itself adds nothing"
        for item in range(n):
            assert_equal(sets.size(item), label.count(label[item]), hint=hint, what=f"the size of the set of {item}")


@pytest.mark.stub("UnionFind.union")
def test_an_item_with_itself(impl, draw):
    n = draw.size()
    sets, item = impl.UnionFind(n), draw.integer(0, n - 1)
    assert_equal(sets.union(item, item), False, hint="an item is in one set with itself")
    assert_equal(sets.size(item), 1, hint="joining a set with itself adds nothing")


@pytest.mark.stub("UnionFind.union")
@pytest.mark.parametrize("order", range(8))
def test_no_tree_is_higher_than_the_logarithm_of_its_size(impl, draw, order):
    n = draw.integer(40, 60)
    sets = impl.UnionFind(n)
    for a, b in list(orders(draw, n))[order]:
        sets.union(a, b)
    hint = "hang the root of the smaller tree under that of the larger: who gets a step deeper is then in a set at least twice as large"
    highest = max(sets.depth(item) for item in range(n))
    assert_between(highest, 1, math.log2(n), what=f"the height of the tree of {n} items", hint=hint)


@pytest.mark.stub("UnionFind.union")
def test_trees_of_equal_size(impl, draw):
    n = 32
    sets = impl.UnionFind(n)
    width = 1
    while width < n:
        for start in range(0, n, 2 * width):
            a, b = (max(range(first, first + width), key=sets.depth) for first in (start, start + width))
            assert_equal(sets.union(*draw.choice([(a, b), (b, a)])), True, hint="two sets became one")
        width *= 2
    assert_between(
        max(sets.depth(item) for item in range(n)), 1, 5, what="the height of the tree of 32 items", hint="5 = log2 of 32"
    )
    hint = "a root may be many steps away: `find` it, and join the roots"
    assert_equal([sets.size(0), sets.groups()], [n, [list(range(n))]], hint=hint, what="the one set of all 32 items")


# --- right and wrong answers -------------------------------------------------------------------------------------------


def table(a, b, substitution, *, equal=lambda x, y: x == y, gap=1):
    """Costs of all pairs of ends of the texts, from the back."""
    costs = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    costs[:, -1] = range(gap * len(a), -1, -gap) if gap else 0
    costs[-1] = range(gap * len(b), -1, -gap) if gap else 0
    for i in range(len(a) - 1, -1, -1):
        for j in range(len(b) - 1, -1, -1):
            here = 0 if equal(a[i], b[j]) else substitution
            costs[i, j] = min(costs[i + 1, j + 1] + here, costs[i + 1, j] + gap, costs[i, j + 1] + gap)
    return costs


def script_from_the_front(a, b, substitution=1, *, refuse=True, named=("substitute", "keep", "insert", "delete"), **options):
    """A table filled from the back, so that the script can be read from the front."""
    if refuse and substitution < 1:
        raise ValueError("a substitution costs something")
    costs, i, j, script = table(a, b, substitution, **options), 0, 0, []
    substitute, keep, insert, delete = named
    while i < len(a) or j < len(b):
        if i < len(a) and j < len(b) and costs[i, j] == costs[i + 1, j + 1] + (0 if a[i] == b[j] else substitution):
            script.append((keep if a[i] == b[j] else substitute, i, j))
            i, j = i + 1, j + 1
        elif j < len(b) and costs[i, j] == costs[i, j + 1] + 1:
            script.append((insert, i, j))
            j += 1
        else:
            script.append((delete, i, j))
            i += 1
    return script


def script_by_shortest_path(a, b, substitution=1):
    """Dijkstra over pairs of positions."""
    if substitution < 1:
        raise ValueError("a substitution costs something")
    came, waiting, end = {}, [(0, 0, 0, None)], (len(a), len(b))
    while end not in came:
        cost, i, j, step = heapq.heappop(waiting)
        if (i, j) in came:
            continue
        came[i, j] = step
        if i < len(a) and j < len(b):
            same = a[i] == b[j]
            heapq.heappush(
                waiting, (cost + (0 if same else substitution), i + 1, j + 1, ("keep" if same else "substitute", i, j))
            )
        if i < len(a):
            heapq.heappush(waiting, (cost + 1, i + 1, j, ("delete", i, j)))
        if j < len(b):
            heapq.heappush(waiting, (cost + 1, i, j + 1, ("insert", i, j)))
    script, at = [], came[end]
    while at:
        script.append(at)
        at = came[at[1:]]
    return script[::-1]


def script_of_blocks(a, b, substitution=1):
    """The longest block first, as difflib does it: short, but not always the shortest."""
    from difflib import SequenceMatcher

    if substitution < 1:
        raise ValueError("a substitution costs something")
    script = []
    for what, i, i2, j, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        both = min(i2 - i, j2 - j)
        cheap = what == "equal" or substitution <= 2
        if cheap:
            script += [("keep" if what == "equal" else "substitute", i + n, j + n) for n in range(both)]
        start = both if cheap else 0
        script += [("delete", n, j + start) for n in range(i + start, i2)] + [("insert", i2, n) for n in range(j + start, j2)]
    return script


def script_by_recursion(a, b, substitution=1):
    """Right for texts that are short."""
    if substitution < 1:
        raise ValueError("a substitution costs something")

    @cache
    def rest(i, j):
        """Costs and steps of what is left, the first step in front of all others."""
        if i == len(a) and j == len(b):
            return 0, None
        options = []
        if i < len(a) and j < len(b):
            same = a[i] == b[j]
            options.append((0 if same else substitution, "keep" if same else "substitute", i + 1, j + 1))
        if i < len(a):
            options.append((1, "delete", i + 1, j))
        if j < len(b):
            options.append((1, "insert", i, j + 1))
        return min(((price + rest(*to)[0], (what, *to)) for price, what, *to in options), key=lambda option: option[0])

    script, i, j = [], 0, 0
    while (step := rest(i, j)[1]) is not None:
        script.append((step[0], i, j))
        i, j = step[1:]
    return script


def script_of_names(a, b, substitution=1):
    """Each item by a number, which it gets by its hash."""
    names = {}
    a, b = ([names.setdefault(item, len(names)) for item in text] for text in (a, b))
    return script_from_the_front(a, b, substitution)


def order_by_depth(needs, *, refuse=True, nodes=None):
    """Depth first with a stack of its own."""
    done, order, on_path = set(), [], set()
    for root in nodes if nodes is not None else needs:
        stack = [(root, iter(needs.get(root, [])))]
        if root in done:
            continue
        on_path.add(root)
        while stack:
            name, rest = stack[-1]
            following = next((other for other in rest if other not in done), None)
            if following is None:
                stack.pop()
                on_path.discard(name)
                if name not in done:
                    done.add(name)
                    order.append(name)
            elif following in on_path:
                if refuse:
                    raise ValueError(f"{following} needs itself")
            else:
                on_path.add(following)
                stack.append((following, iter(needs.get(following, []))))
    return order


def order_by_recursion(needs):
    done, order = {}, []

    def visit(name):
        if done.get(name) == "under way":
            raise ValueError("a circle")
        if name not in done:
            done[name] = "under way"
            for other in needs.get(name, []):
                visit(other)
            done[name] = "done"
            order.append(name)

    for name in needs:
        visit(name)
    return order


def order_by_the_library(needs):
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError:
        raise ValueError("a circle") from None


def order_by_rounds(needs):
    left = dict.fromkeys([*needs, *(other for needed in needs.values() for other in needed)])
    order = []
    while left:
        ready = [name for name in left if not any(other in left for other in needs.get(name, []))]
        if not ready:
            raise ValueError("a circle")
        order += ready
        for name in ready:
            del left[name]
    return order


def order_by_sets(needs):
    """What is missing in sets."""
    missing = {name: set(needed) for name, needed in needs.items()}
    users = {}
    for name, needed in list(missing.items()):
        for other in needed:
            missing.setdefault(other, set())
            users.setdefault(other, set()).add(name)
    ready, order = [name for name in missing if not missing[name]], []
    for name in ready:  # it grows on the way
        order.append(name)
        for user in users.get(name, ()):
            missing[user].discard(name)
            if not missing[user]:
                ready.append(user)
    if len(order) != len(missing):
        raise ValueError("a circle")
    return order


def order_counting_sets(needs):
    """Counts a need once that it counts down twice."""
    missing = {name: len(set(needed)) for name, needed in needs.items()}
    for needed in needs.values():
        for other in needed:
            missing.setdefault(other, 0)
    ready, order = deque(name for name in missing if not missing[name]), []
    while ready:
        order.append(ready.popleft())
        for name, needed in needs.items():
            for other in needed:
                if other == order[-1]:
                    missing[name] -= 1
                    if missing[name] == 0:
                        ready.append(name)
    if len(order) < len(missing):
        raise ValueError("a circle")
    return order


def script_made_anew(a, b, substitution=1):
    """Right, but the table of what is left is made anew for every step."""
    if substitution < 1:
        raise ValueError("a substitution costs something")
    i = j = 0
    script = []
    while i < len(a) or j < len(b):
        costs = table(a[i:], b[j:], substitution)
        here = 0 if i < len(a) and j < len(b) and a[i] == b[j] else substitution
        if i < len(a) and j < len(b) and costs[0, 0] == costs[1, 1] + here:
            what = "substitute" if here else "keep"
        else:
            what = "insert" if j < len(b) and costs[0, 0] == costs[0, 1] + 1 else "delete"
        script.append((what, i, j))
        i, j = i + (what != "insert"), j + (what != "delete")
    return script


def quickselect(values, k):
    """Split as quicksort does, and go on in one part."""
    if not 0 <= k <= len(values):
        raise ValueError("there are not that many")
    found, rest = [], list(range(len(values)))
    while len(found) < k:
        pivot = rest[len(rest) // 2]
        ahead, behind = [], []
        for i in rest:
            if i != pivot:
                above = values[pivot] < values[i] or (i < pivot and not values[i] < values[pivot])
                (ahead if above else behind).append(i)
        if len(found) + len(ahead) > k:
            rest = ahead
        else:
            found += ahead
            found += [pivot] if len(found) < k else []
            rest = behind
    import functools

    before = functools.cmp_to_key(lambda i, j: 1 if values[i] < values[j] else -1 if values[j] < values[i] else i - j)
    return sorted(found, key=before)


def popped_from_a_heap_of_all(values, k):
    if not 0 <= k <= len(values):
        raise ValueError("there are not that many")

    class Turned:
        def __init__(self, i):
            self.i = i

        def __lt__(self, other):
            if values[other.i] < values[self.i]:
                return True
            return not values[self.i] < values[other.i] and self.i < other.i

    heap = [Turned(i) for i in range(len(values))]
    heapq.heapify(heap)
    return [heapq.heappop(heap).i for _ in range(k)]


def inserted_in_order(values, k):
    """The k best in a list that is kept sorted."""
    if not 0 <= k <= len(values):
        raise ValueError("there are not that many")
    kept = []  # ascending; of equal values the later first
    for i, value in enumerate(values):
        if len(kept) < k or (kept and kept[0][0] < value):
            bisect.insort(kept, (value, -i))
            if len(kept) > k:
                kept.pop(0)
    return [-i for _, i in reversed(kept)]


def checked(choose):
    """A function of values and k that refuses what it should."""

    def top(values, k):
        if not 0 <= k <= len(values):
            raise ValueError("there are not that many")
        return choose(values, k)

    return top


class Plain:
    """What a cache's own `get` wants to find."""

    def __init__(self, value):
        self.value = value


def dict_put(self, key, value):
    """The order of a dict is the order of use."""
    gone = None
    if key in self.links:
        del self.links[key]
    elif len(self.links) == self.capacity:
        gone = next(iter(self.links))
        del self.links[gone]
    self.links[key] = Plain(value)
    return gone


def ordered_put(self, key, value):
    if not isinstance(self.links, OrderedDict):
        self.links = OrderedDict(self.links)
    there = key in self.links
    self.links[key] = Plain(value)
    self.links.move_to_end(key)
    if there or len(self.links) <= self.capacity:
        return None
    return self.links.popitem(last=False)[0]


def stamped_put(self, key, value):
    """A queue of uses, of which the outdated ones are skipped."""
    uses = self.__dict__.setdefault("uses", deque())
    link = self.links.get(key)
    gone = None
    if link is None and len(self.links) == self.capacity:
        while True:
            old, stamp = uses.popleft()
            held = self.links.get(old)
            if held is not None and held.stamp == stamp:
                gone = old
                del self.links[old]
                break
    self.stamp = self.__dict__.get("stamp", 0) + 1
    link = Plain(value)
    link.stamp = self.stamp
    self.links[key] = link
    uses.append((key, self.stamp))
    return gone


def searched_put(self, key, value):
    """Right, but the one that has to go is searched for."""
    gone = None
    if key not in self.links and len(self.links) == self.capacity:
        gone = min(list(self.links), key=lambda other: self.links[other].stamp)
        del self.links[gone]
    self.stamp = self.__dict__.get("stamp", 0) + 1
    self.links[key] = Plain(value)
    self.links[key].stamp = self.stamp
    return gone


def first_in_put(self, key, value):
    gone = None
    if key in self.links:
        self.links[key].value = value
        return None
    if len(self.links) == self.capacity:
        gone = next(iter(self.links))
        del self.links[gone]
    self.links[key] = Plain(value)
    return gone


def last_in_put(self, key, value):
    gone = None
    if key in self.links:
        del self.links[key]
    elif len(self.links) == self.capacity:
        gone, _ = self.links.popitem()
    self.links[key] = Plain(value)
    return gone


def cleared_put(self, key, value):
    """A full cache that is emptied at once."""
    gone = None
    if key in self.links:
        del self.links[key]
    elif len(self.links) == self.capacity:
        gone = next(iter(self.links))
        self.links.clear()
    self.links[key] = Plain(value)
    return gone


def evicted_too_early_put(self, key, value):
    """Makes room also for a key that is there."""
    gone = None
    if len(self.links) == self.capacity:
        gone = next(iter(self.links))
        del self.links[gone]
    self.links.pop(key, None)
    self.links[key] = Plain(value)
    return gone


def shared_order():
    """An order of use that all caches have in common."""
    order = []

    def put(self, key, value):
        gone = None
        if key in order:
            order.remove(key)
        if key not in self.links and len(self.links) == self.capacity:
            gone = next(other for other in order if other in self.links)
            del self.links[gone]
        order.append(key)
        self.links[key] = Plain(value)
        return gone

    return put


def true_put(self, key, value):
    """Takes a key that is 0 or empty for none."""
    gone = dict_put(self, key, value)
    return gone or None


def below(self, prefix):
    node = self.root
    for token in prefix:
        node = node.children.get(token)
        if node is None:
            return None
    return node


def complete_by_generator(self, prefix, limit=None):
    """A stack of iterators, one a level."""
    node = below(self, prefix)
    if node is None or limit == 0:
        return []
    entry, found = list(prefix), [list(prefix)] if node.ends else []
    stack = [iter(sorted(node.children.items(), key=lambda pair: pair[0]))]
    while stack and (limit is None or len(found) < limit):
        token, child = next(stack[-1], (None, None))
        if child is None:
            stack.pop()
            entry = entry[:-1]
            continue
        entry = [*entry, token]
        if child.ends:
            found.append(list(entry))
        stack.append(iter(sorted(child.children.items(), key=lambda pair: pair[0])))
    return found


def complete_by_queue(self, prefix, limit=None):
    """The least open entry next."""
    node = below(self, prefix)
    if node is None:
        return []
    found, serial, waiting = [], 0, [(list(prefix), 0, node)]
    while waiting and (limit is None or len(found) < limit):
        entry, _, node = heapq.heappop(waiting)
        if node.ends:
            found.append(entry)
        for token, child in node.children.items():
            serial += 1
            heapq.heappush(waiting, ([*entry, token], serial, child))
    return found


def complete_by_walk(self, prefix, limit=None, *, recursive=False, cut_late=False, order=sorted, include=True):
    """With a helper that yields entries."""
    node = below(self, prefix)
    if node is None:
        return []

    def entries(entry, node):
        if recursive:
            if node.ends:
                yield entry
            for token in order(node.children):
                yield from entries([*entry, token], node.children[token])
            return
        stack = [(entry, node)]
        while stack:
            entry, node = stack.pop()
            if node.ends:
                yield entry
            for token in list(order(node.children))[::-1]:
                stack.append(([*entry, token], node.children[token]))

    found = entries(list(prefix), node)
    found = list(found)[:limit] if cut_late else list(itertools.islice(found, limit))
    return found if include else [entry for entry in found if entry != list(prefix)]


def sampled_by_arrays(stream, k, uniforms):
    if k < 0:
        raise ValueError("less than nothing")
    sample, t = [None] * k, 0
    for item in stream:
        if t >= uniforms.shape[0]:
            raise ValueError("too few numbers")
        place = t if t < k else math.floor(uniforms[t] * (t + 1))
        if place < k:
            sample[place] = item
        t += 1
    return sample[: min(t, k)]


def sampled_with_an_iterator(stream, k, uniforms):
    if k < 0:
        raise ValueError("less than nothing")
    items = iter(stream)
    sample = list(itertools.islice(items, k))
    if len(sample) > len(uniforms):
        raise ValueError("too few numbers")
    for number, item in enumerate(items, start=len(sample) + 1):
        if number > len(uniforms):
            raise ValueError("too few numbers")
        place = int(np.floor(uniforms[number - 1] * number))
        if place in range(k):
            sample[place] = item
    return sample


def sampled_by_a_dict(stream, k, uniforms):
    if k < 0:
        raise ValueError("less than nothing")
    places, numbers = {}, iter(uniforms.tolist())
    for t, item in enumerate(stream):
        u = next(numbers, None)
        if u is None:
            raise ValueError("too few numbers")
        place = t if t < k else int(u * (t + 1))
        if place < k:
            places[place] = item
    return [places[place] for place in sorted(places)]


def sampled_from_a_list(stream, k, uniforms):
    """All items first, then the same rule."""
    return sampled_by_arrays(list(stream), k, uniforms)


def refusing(weights):
    if len(weights) == 0 or not np.isfinite(weights).all() or weights.min() < 0 or weights.max() == 0:
        raise ValueError("these are no weights")


def robin_hood(weights):
    """The emptiest column takes from the fullest."""
    refusing(weights)
    level, alias = weights / weights.sum() * len(weights), np.arange(len(weights))
    heap = [(float(x), i) for i, x in enumerate(level)]
    heapq.heapify(heap)
    rich = [(-float(x), i) for i, x in enumerate(level)]
    heapq.heapify(rich)
    held, done, threshold = {i: float(x) for i, x in enumerate(level)}, set(), np.ones_like(level)
    while True:
        while heap and (heap[0][1] in done or held[heap[0][1]] != heap[0][0]):
            heapq.heappop(heap)
        while rich and (rich[0][1] in done or held[rich[0][1]] != -rich[0][0]):
            heapq.heappop(rich)
        if not heap or not rich or heap[0][0] >= 1 or heap[0][1] == rich[0][1]:
            return threshold, alias
        (low, i), j = heapq.heappop(heap), rich[0][1]
        threshold[i], alias[i] = low, j
        done.add(i)
        held[j] -= 1 - low
        if held[j] < 0 or len(done) == len(level) - 1:
            done.add(j)
        heapq.heappush(heap, (held[j], j))
        heapq.heappush(rich, (-held[j], j))


def two_pointers(weights):
    """Two fingers: the next column that is not full, and the next one that has too much."""
    refusing(weights)
    n = len(weights)
    level = (weights / weights.sum() * n).tolist()
    threshold, alias = np.ones_like(weights), np.arange(n)
    poor = [i for i in range(n) if level[i] < 1]
    rich = [i for i in range(n) if level[i] >= 1]
    p = r = 0
    while p < len(poor) and r < len(rich):
        i, j = poor[p], rich[r]
        threshold[i], alias[i] = level[i], j
        level[j] += level[i] - 1
        p += 1
        if level[j] < 1:
            poor.append(j)
            r += 1
    return threshold.clip(0, 1), alias


def queues(weights, *, full=True, dtype=None, give=True, at_once=False, normalise=True, refuse=refusing):
    """Vose's two lists as queues, with one thing done otherwise."""
    if refuse:
        refuse(weights)
    n = len(weights)
    level = weights * (n / weights.sum()) if normalise else weights * n
    threshold, alias = np.zeros(n, dtype=dtype or weights.dtype), np.zeros(n, dtype=np.int64)
    small, large = deque(np.flatnonzero(level < 1).tolist()), deque(np.flatnonzero(level >= 1).tolist())
    while small and large:
        i, j = small.popleft(), large.popleft()
        threshold[i], alias[i] = level[i], j
        if give:
            level[j] = level[j] + level[i] - 1
        if at_once:
            threshold[j], alias[j] = 1, j
        else:
            (small if level[j] < 1 else large).append(j) if give else None
    for i in [*small, *large]:
        threshold[i], alias[i] = 1 if full else level[i], i
    return threshold, alias


def united(*, by="size", keep=True, roots=True, result=True):
    """A union with one thing done otherwise."""

    def union(self, a, b):
        one, other = self.find(a), self.find(b)
        if one == other:
            return False
        up, down = one, other
        if by == "rank":
            ranks = self.__dict__.setdefault("ranks", [0] * len(self.sizes))
            up, down = (one, other) if ranks[one] > ranks[other] else (other, one)
            ranks[up] += ranks[up] == ranks[down]
        elif by == "size":
            up, down = sorted((one, other), key=lambda root: -self.sizes[root])
        elif by == "smaller on top":
            up, down = sorted((one, other), key=lambda root: self.sizes[root])
        elif by == "size of the items":
            up, down = (one, other) if self.sizes[a] >= self.sizes[b] else (other, one)
        elif by == "second on top":
            up, down = other, one
        elif by == "least":
            up, down = min(one, other), max(one, other)
        if roots:
            self.parent[down] = up
        else:
            self.parent[b if up == one else a] = up
        if keep:
            self.sizes[up] += self.sizes[down]
        return result

    return union


def flat_union(self, a, b):
    """Every item of the smaller set is hung under the root of the larger: trees of height 1."""
    a, b = self.find(a), self.find(b)
    if a == b:
        return False
    small, large = (a, b) if self.sizes[a] < self.sizes[b] else (b, a)
    for item in range(len(self.parent)):
        if self.find(item) == small and item != small:
            self.parent[item] = large
    self.parent[small] = large
    self.sizes[large] += self.sizes[small]
    return True


FAKES = {
    "edit_script": {
        "the substitution for free": Edit("(substitution if x != y else 0)", "0"),
        "always at 1": Edit("substitution if x != y", "1 if x != y"),
        "twice the price": Edit("substitution if x != y", "2 * substitution if x != y"),
        "2 by default": lambda a, b, substitution=2: script_from_the_front(a, b, substitution),
        "from right to left": Edit("script[::-1]", "script"),
        "no way back along the border": Edit("while i > 0 or j > 0:", "while i > 0 and j > 0:"),
        "insert and delete exchanged": lambda a, b, substitution=1: script_from_the_front(
            a, b, substitution, named=("substitute", "keep", "delete", "insert")
        ),
        "from b to a": lambda a, b, substitution=1: script_from_the_front(b, a, substitution),
        "substituted by deleting and inserting": lambda a, b, substitution=1: script_from_the_front(a, b, max(3, substitution)),
        "everything anew": lambda a, b, substitution=1: (
            [("delete", i, 0) for i in range(len(a))] + [("insert", len(a), j) for j in range(len(b))]
        ),
        "as difflib does it": script_of_blocks,
        "place by place, right for equal lengths": lambda a, b, substitution=1: script_from_the_front(a, b, substitution, gap=10)
        if len(a) != len(b)
        else [("keep" if x == y else "substitute", i, i) for i, (x, y) in enumerate(zip(a, b, strict=True))],
        "keep taken from the diagonal of the costs": Edit("costs[i + 1][j + 1] == costs[i][j]", "costs[i + 1][j + 1] >= costs[i][j]"),
        "a price of nothing accepted": Edit("if substitution < 1:", "if substitution < 0:"),
        "the table anew for every step": script_made_anew,
        "the price looked at only where both texts have items": Edit("if substitution < 1:", "if a and b and substitution < 1:"),
        "the same object, not an equal one": Edit("if x != y else 0", "if x is not y else 0"),
        "items by their hashes": script_of_names,
        "a table of bytes": Edit("costs.append(row)", "costs.append(np.array(row).astype(np.uint8))"),
        "by recursion": script_by_recursion,
    },
    "topological_sort": {
        "as they come": lambda needs: list(dict.fromkeys([*needs, *(o for needed in needs.values() for o in needed)])),
        "backwards": lambda needs: order_by_the_library(needs)[::-1],
        "users first": Edit("users.setdefault(other, []).append(name)", "users.setdefault(name, []).append(other)"),
        "a circle left out": Edit("if len(order) < len(missing):", "if False:"),
        "what came out counted against the keys": Edit("if len(order) < len(missing):", "if len(order) < len(needs):"),
        "a circle of everything only": Edit("if len(order) < len(missing):", "if missing and not order:"),
        "names that are only needed left out": lambda needs: [name for name in order_by_the_library(needs) if name in needs],
        "names that are only needed at the end": lambda needs: (
            lambda order: [n for n in order if n in needs] + [n for n in order if n not in needs]
        )(order_by_the_library(needs)),
        "ready with the first need": Edit("if missing[user] == 0:", "if user not in order and user not in ready:"),
        "a need named twice counted once": order_counting_sets,
        "by recursion": order_by_recursion,
        "looked at again in every round": order_by_rounds,
        "depth first without a mark for what is under way": lambda needs: order_by_depth(needs, refuse=False),
        "sorted by how much is needed": lambda needs: sorted(order_by_the_library(needs), key=lambda name: len(needs.get(name, []))),
    },
    "top_k": {
        "values, not positions": checked(lambda values, k: sorted(values, reverse=True)[:k]),
        "the smallest": checked(lambda values, k: sorted(range(len(values)), key=lambda i: values[i])[:k]),
        "smallest of them first": checked(lambda values, k: best(values, k)[::-1]),
        "in the order of their positions": checked(lambda values, k: sorted(best(values, k))),
        "of equal values the later": checked(lambda values, k: sorted(range(len(values)), key=lambda i: (values[i], i))[::-1][:k]),
        "equal values in the wrong order": Edit("[-i for _, i in sorted(heap, reverse=True)]",
                                                "sorted((-i for _, i in heap), key=lambda i: (values[i], i), reverse=True)"),
        "an equal value takes the place": Edit("heap[0][0] < values[i]", "not values[i] < heap[0][0]"),
        "every value once": checked(lambda values, k: [values.index(v) for v in sorted(set(values), reverse=True)[:k]]),
        "minus the value": checked(lambda values, k: sorted(range(len(values)), key=lambda i: -values[i])[:k]),
        "everything sorted": checked(best),
        "more than there are": lambda values, k: best(values, k) if k >= 0 else checked(best)(values, k),
        "negative k": lambda values, k: best(values, k) if k <= len(values) else checked(best)(values, k),
        "k of all refused": lambda values, k: best(values, k) if 0 <= k < len(values) else checked(best)(values, -1),
        "with the first k alone": Edit("range(k, len(values))", "range(k, k)"),
        "without the last": Edit("range(k, len(values))", "range(k, len(values) - 1)"),
    },
    "LRUCache.put": {
        "first in, first out": first_in_put,
        "the newest has to go": last_in_put,
        "everything has to go": cleared_put,
        "room made for a key that is there": evicted_too_early_put,
        "never full": Edit("len(self.links) == self.capacity", "False"),
        "one too many": Edit("len(self.links) == self.capacity", "len(self.links) > self.capacity"),
        "one too few": Edit("len(self.links) == self.capacity", "len(self.links) == max(1, self.capacity - 1)"),
        "gone from the ring, not from the table": Edit("self.links.pop(gone)", "self.links[gone]"),
        "the old value kept": Edit("link.key, link.value = key, value", "link.key, link.value = key, link.value or value"),
        "who had to go is not told": Edit("return gone", "return None"),
        "the value that had to go": Edit("return gone", "return None if gone is None else link.value"),
        "not taken out of the ring": Edit("link.older.newer, link.newer.older = link.newer, link.older", "pass"),
        "put in at the wrong end": Edit("link.older, link.newer = self.end.older, self.end\n        link.older.newer = self.end.older = link",
                                        "link.older, link.newer = self.end, self.end.newer\n        link.newer.older = self.end.newer = link"),
        "one order for all caches": shared_order(),
        "0 taken for none": true_put,
        "a value of None taken for no entry": Edit(
            "link, gone = self.links.get(key), None",
            "link, gone = self.links.get(key), None\n        if link is not None and link.value is None:\n            link = None",
        ),
        "no entry for a value of None": Edit("self.links[key] = link", "if value is not None:\n            self.links[key] = link"),
        "searched for": searched_put,
    },
    "Trie.complete": {
        "whole entries only": lambda self, prefix, limit=None: [list(prefix)] if (n := below(self, prefix)) and n.ends else [],
        "without the prefix itself": lambda self, prefix, limit=None: complete_by_walk(self, prefix, limit, include=False),
        "nodes on the way too": Edit("if node.ends:", "if True:"),
        "leaves only": Edit("if node.ends:", "if not node.children:"),
        "children as they came": Edit("sorted(node.children, reverse=True)", "reversed(list(node.children))"),
        "the largest first": Edit("sorted(node.children, reverse=True)", "sorted(node.children)"),
        "numbers sorted as words": Edit("sorted(node.children, reverse=True)", "sorted(node.children, reverse=True, key=str)"),
        "the limit ignored": Edit("(limit is None or len(found) < limit)", "True"),
        "one more than the limit": Edit("len(found) < limit", "len(found) <= limit"),
        "a limit of none taken for all": Edit("limit is None or", "not limit or"),
        "what follows only": Edit("waiting = [(list(prefix), node)]", "waiting = [([], node)]"),
        "strings": Edit("found.append(entry)", "found.append(''.join(map(str, entry)))"),
        "stored when asked for": Edit(
            "child = node.children.get(token)\n            if child is None:\n                return []",
            "child = node.children.setdefault(token, TrieNode())",
        ),
        "as far as the tree goes": Edit("if child is None:\n                return []", "if child is None:\n                break"),
        "level by level": Edit("waiting.pop()", "waiting.pop(0)"),
        "by recursion": lambda self, prefix, limit=None: complete_by_walk(self, prefix, limit, recursive=True),
        "everything collected, then cut": lambda self, prefix, limit=None: complete_by_walk(self, prefix, limit, cut_late=True),
    },
    "reservoir_sample": {
        "the first k": lambda stream, k, uniforms: sampled_by_arrays(stream, k, np.ones_like(uniforms)),
        "the last k": Edit("elif place < k:\n            sample[place] = item", "elif k:\n            sample[t % k] = item"),
        "one number off": Edit("uniforms[t] * (t + 1)", "uniforms[t] * t"),
        "one number too many": Edit("uniforms[t] * (t + 1)", "uniforms[t] * (t + 2)"),
        "every item enters": Edit("uniforms[t] * (t + 1)", "uniforms[t] * k"),
        "every item enters with probability a half": Edit("uniforms[t] * (t + 1)", "uniforms[t] * 2 * k"),
        "the place is drawn anew from one number": Edit("sample[place] = item", "sample[int(uniforms[t] * k)] = item"),
        "added, not replaced": Edit("sample[place] = item", "sample[place:] = [item]"),
        "rounded, not cut": Edit("int(uniforms[t] * (t + 1))", "round(float(uniforms[t]) * (t + 1))"),
        "the whole stream kept": sampled_from_a_list,
        "numbers needed beyond the first k alone": lambda stream, k, uniforms: sampled_by_arrays(
            stream, k, np.concatenate([uniforms, np.zeros(max(0, k - len(uniforms)))])
        ),
        "nothing asked of a sample of none": lambda stream, k, uniforms: sampled_by_arrays(stream, k, uniforms) if k else [],
        "numbers for k asked": lambda stream, k, uniforms: sampled_by_arrays(stream, k if k <= len(uniforms) else -1, uniforms),
        "None ends the stream": lambda stream, k, uniforms: sampled_by_arrays(
            itertools.takewhile(lambda item: item is not None, stream), k, uniforms
        ),
        "too few numbers go round": lambda stream, k, uniforms: sampled_by_arrays(stream, k, np.resize(uniforms, 10_000)),
        "too few numbers are an IndexError": Edit("if t >= len(uniforms):", "if False:"),
        "too few numbers end the stream": Edit("raise ValueError(f\"expected a uniform number for each item, got {len(uniforms)} for more items than that\")",
                                               "break"),
        "a negative size is none": Edit("if k < 0:", "if False:"),
        "none refused": Edit("if k < 0:", "if k < 1:"),
        "padded to k": lambda stream, k, uniforms: (lambda s: s + [None] * (k - len(s)))(sampled_by_arrays(stream, k, uniforms)),
    },
    "alias_table": {
        "uniform": lambda weights: (refusing(weights), (np.ones_like(weights), np.arange(len(weights))))[1],
        "not normalised": lambda weights: queues(weights, normalise=False),
        "nothing given away": lambda weights: queues(weights, give=False),
        "a giver is full at once": lambda weights: queues(weights, at_once=True),
        "what is left keeps its level": lambda weights: queues(weights, full=False),
        "what is left keeps its level, in either list": Edit("np.minimum(threshold, 1)", "threshold"),
        "the giver gives what the column has": Edit("threshold[j] -= 1 - threshold[i]", "threshold[j] -= threshold[i]"),
        "a giver gives for ever": Edit("if threshold[j] < 1:", "if threshold[j] < 0:"),
        "what is left over has the first as its alias": Edit("alias = np.arange(n)", "alias = np.zeros(n, dtype=np.int64)"),
        "aliases of themselves": Edit("alias[i] = j", "pass"),
        "float64 for all": lambda weights: (lambda t, a: (t.astype(np.float64), a))(*queues(weights)),
        "float32 inside": lambda weights: (lambda t, a: (t.astype(weights.dtype), a))(*queues(weights.astype(np.float32))),
        "int32 aliases": lambda weights: (lambda t, a: (t, a.astype(np.int32)))(*queues(weights)),
        "negative weights accepted": Edit("(weights >= 0).all() and ", ""),
        "infinity accepted": Edit(" < np.inf", ""),
        "all zero accepted": Edit("0 < weights.sum()", "0 <= weights.sum()"),
        "NaN accepted": lambda weights: queues(weights, refuse=lambda w: None if np.isnan(w).any() else refusing(w)),
        "zero refused": Edit("(weights >= 0).all()", "(weights > 0).all()"),
        "zero a little likely": lambda weights: queues(weights + weights.max() * 1e-9),
    },
    "UnionFind.union": {
        "nothing": lambda self, a, b: self.find(a) != self.find(b),
        "items, not roots": united(roots=False),
        "two steps up taken for the root": Edit(
            "self.find(a), self.find(b)", "self.parent[self.parent[a]], self.parent[self.parent[b]]"
        ),
        "the first under the second": united(by="second on top"),
        "the second under the first": united(by=""),
        "the larger under the smaller": united(by="smaller on top"),
        "the least on top": united(by="least"),
        "by the sizes that items had, not roots": united(by="size of the items"),
        "sizes not kept": united(keep=False),
        "sizes not kept, and not asked": united(by="rank", keep=False),
        "one set joined with itself": Edit("if a == b:", "if False:"),
        "always true": Edit("return False", "return True"),
        "always false": united(result=False),
        "the size of the smaller alone": Edit("self.sizes[a] += self.sizes[b]", "self.sizes[a] = self.sizes[b] + 1"),
        "twice as large": Edit("self.sizes[a] += self.sizes[b]", "self.sizes[a] *= 2"),
        "every item searched, one missed": Edit("self.parent[b] = a", "self.parent[b] = a if b else b"),
    },
}  # fmt: skip
VARIANTS = {
    "edit_script": {
        "from the back, read from the front": script_from_the_front,
        "a shortest path": script_by_shortest_path,
        "the diagonal first on the way back": Edit(
            "if i > 0 and costs[i][j] == costs[i - 1][j] + 1:",
            "if i > 0 and j > 0 and costs[i][j] == costs[i - 1][j - 1] + (0 if a[i - 1] == b[j - 1] else substitution):\n"
            "            i, j = i - 1, j - 1\n"
            "            what = 'keep' if a[i] == b[j] else 'substitute'\n"
            "        elif i > 0 and costs[i][j] == costs[i - 1][j] + 1:",
        ),
        "insertions before deletions": Edit(
            'if i > 0 and costs[i][j] == costs[i - 1][j] + 1:\n            i, what = i - 1, "delete"\n'
            "        elif costs[i][j] == costs[i][j - 1] + 1:  # where j is 0, the first test has held\n"
            '            j, what = j - 1, "insert"',
            'if j > 0 and costs[i][j] == costs[i][j - 1] + 1:\n            j, what = j - 1, "insert"\n'
            '        elif i > 0 and costs[i][j] == costs[i - 1][j] + 1:\n            i, what = i - 1, "delete"',
        ),
    },
    "topological_sort": {
        "depth first": order_by_depth,
        "the library": order_by_the_library,
        "the library, with its own error": lambda needs: list(TopologicalSorter(needs).static_order()),
        "the one that became ready last comes first": Edit("ready.popleft()", "ready.pop()"),
        "every need in a set": order_by_sets,
    },
    "top_k": {
        "quickselect": quickselect,
        "a heap of all": popped_from_a_heap_of_all,
        "the library": checked(lambda values, k: heapq.nlargest(k, range(len(values)), key=lambda i: values[i])),
        "a short list kept sorted": inserted_in_order,
    },
    "LRUCache.put": {
        "a dict": dict_put,
        "an OrderedDict": ordered_put,
        "a queue of uses": stamped_put,
    },
    "Trie.complete": {
        "a stack of iterators": complete_by_generator,
        "the least open entry next": complete_by_queue,
        "a generator": complete_by_walk,
    },
    "reservoir_sample": {
        "places made beforehand": sampled_by_arrays,
        "the first k by an iterator": sampled_with_an_iterator,
        "a dict of places": sampled_by_a_dict,
    },
    "alias_table": {
        "queues": queues,
        "two fingers": two_pointers,
        "the emptiest takes from the fullest": robin_hood,
    },
    "UnionFind.union": {
        "by height": united(by="rank"),
        "sorted by size": united(),
        "trees of height 1": flat_union,
    },
}

LONGER = "the row above the first item is read at places 0 to len(b) alone: what stands behind is never looked at"
FULL = "a column that is exactly full gives nothing and takes nothing, whichever list it is in"
EQUIVALENT = {
    "edit_script": {
        "off by one: len(b) + 1 -> len(b) + 1 + 1": LONGER,
        "constant: len(b) + 1 -> len(b) + 2": LONGER,
    },
    "topological_sort": {
        "order: missing.items() -> list(missing.items())[::-1]": "names that are ready at once may come in any order",
    },
    "top_k": {
        "order: range(k) -> list(range(k))[::-1]": "heapify brings them into the order of a heap, whatever the order they come in",
    },
    "alias_table": {
        "reduction: weights.sum -> weights.mean": "positive, finite or not, as the sum is; of no weights the mean is NaN, which is not above 0 either",
        "comparison: threshold[i] < 1 -> threshold[i] <= 1": FULL,
        "comparison: threshold[j] < 1 -> threshold[j] <= 1": FULL,
    },
    "UnionFind.union": {
        "order: (self.find(a), self.find(b)) -> (self.find(b), self.find(a))": "a union is the same from either side",
        "comparison: self.sizes[a] < self.sizes[b] -> self.sizes[a] <= self.sizes[b]": "of equal trees either may be on top",
    },
}
