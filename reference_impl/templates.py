"""Translation by templates: what a sceptic would try first where texts are mostly fixed phrases with numbers in them."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby

Pattern = tuple[str, ...]
Rule = tuple[int | str, ...]  # the target: what is copied, by the number of its slot, and what is written as it stands
SLOT = "#"
# How a text is cut: numbers as a whole, with their commas and their point, or all characters one by one.
CUTS = (re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|.", re.DOTALL), re.compile(".", re.DOTALL))


def _is_number(token: str) -> bool:
    return token[:1].isdigit()


def _patterns(tokens: Sequence[str], kept: int) -> Iterator[tuple[Pattern, list[str]]]:
    """A source with slots for its numbers (or digits), but for up to `kept` numbers that stay; and what stood in the slots."""
    runs, start = [], 0
    for number, group in groupby(tokens, _is_number):
        end = start + len(list(group))
        runs += [range(start, end)] if number else []
        start = end
    for count in range(min(kept, len(runs)) + 1):
        for literal in combinations(runs, count):
            slots = {i for run in runs if run not in literal for i in run}
            yield tuple(SLOT if i in slots else token for i, token in enumerate(tokens)), [tokens[i] for i in sorted(slots)]


class Templates:
    """Learns for each pattern of a source how its target is put together from what was in the slots, by a vote of the pairs.

    A pattern is a source with a slot for each number, or for each digit of a number, or with up to `kept` of the numbers left in
    (as a month or an hour needs, which is not copied). Of all patterns of a source, that one translates of which the largest
    share of the pairs agrees, one more being counted that does not; without any, the answer is the source as it is.
    """

    def __init__(self, sources: Sequence[str], targets: Sequence[str], kept: int = 2) -> None:
        self.kept = kept
        self.votes: list[dict[Pattern, Counter[Rule]]] = [defaultdict(Counter) for _ in CUTS]
        for cut, votes in zip(CUTS, self.votes, strict=True):
            for source, target in zip(sources, targets, strict=True):
                wanted = cut.findall(target)
                for pattern, numbers in _patterns(cut.findall(source), kept):
                    first = {number: i for i, number in reversed(list(enumerate(numbers)))}
                    votes[pattern][tuple(first.get(token, token) for token in wanted)] += 1

    def translate(self, source: str) -> str:
        """The target of a source."""
        best, said = 0.0, source
        for cut, votes in zip(CUTS, self.votes, strict=True):
            for pattern, numbers in _patterns(cut.findall(source), self.kept):
                if pattern not in votes:
                    continue
                [(rule, agree)] = votes[pattern].most_common(1)
                share = agree / (votes[pattern].total() + 1)
                if share > best:
                    best, said = share, "".join(numbers[part] if isinstance(part, int) else part for part in rule)
        return said
