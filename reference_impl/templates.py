"""Translation by templates: what a sceptic would try first where texts are mostly fixed phrases with numbers in them."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations, groupby

Pattern = tuple[str, ...]
DIGIT = "#"


def _patterns(tokens: Sequence[str], kept: int) -> list[tuple[Pattern, list[str]]]:
    """A source with its digits blanked out, but for up to `kept` whole numbers; and the digits that were blanked."""
    runs, start = [], 0
    for is_digit, group in groupby(tokens, str.isdigit):
        end = start + len(list(group))
        runs += [range(start, end)] if is_digit else []
        start = end
    found = []
    for count in range(min(kept, len(runs)) + 1):
        for literal in combinations(runs, count):
            blank = {i for run in runs if run not in literal for i in run}
            pattern = tuple(DIGIT if i in blank else token for i, token in enumerate(tokens))
            found.append((pattern, [tokens[i] for i in sorted(blank)]))
    return found


class Templates:
    """Learns, for each pattern of a source, the frame of its target, and which digits in it are fixed or copied from where.

    A pattern is a source without its digits, or with up to `kept` of its numbers left in (as a month or an hour needs, which is
    not copied). A rule holds what all its pairs agree on. The rule that translates is, of those that fit the source and have
    no contradiction, the one that was seen most often; if there is none, the answer is the source as it is.
    """

    def __init__(self, sources: Sequence[Sequence[str]], targets: Sequence[Sequence[str]], kept: int = 2) -> None:
        self.kept = kept
        self.rules: dict[Pattern, tuple[Pattern, list[set[int | str]], int]] = {}
        broken: set[Pattern] = set()
        for source, target in zip(sources, targets, strict=True):
            frame = tuple(DIGIT if token.isdigit() else token for token in target)
            wanted = [token for token in target if token.isdigit()]
            for pattern, digits in _patterns(source, kept):
                if pattern in broken:
                    continue
                places: dict[str, set[int | str]] = defaultdict(set)
                for i, digit in enumerate(digits):
                    places[digit].add(i)
                came = [places.get(digit, set()) | {digit} for digit in wanted]
                known = self.rules.get(pattern)
                if known is not None:
                    came = [old & new for old, new in zip(known[1], came, strict=True)] if known[0] == frame else [set()]
                self.rules[pattern] = (frame, came, 1 if known is None else known[2] + 1)
                if not all(came):
                    broken.add(pattern)
                    del self.rules[pattern]

    def translate(self, source: Sequence[str]) -> str:
        """The target of a source; where it is left open which digit is copied, the first one of those."""
        fitting = [(self.rules[pattern], digits) for pattern, digits in _patterns(source, self.kept) if pattern in self.rules]
        if not fitting:
            return "".join(source)
        (frame, places, _), digits = max(fitting, key=lambda rule: rule[0][2])
        copied = iter([min(place, key=lambda p: (isinstance(p, str), p)) for place in places])
        filled = (next(copied) if token == DIGIT else token for token in frame)
        return "".join(digits[part] if isinstance(part, int) else part for part in filled)
