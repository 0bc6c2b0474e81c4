"""The learning path as one learner sees it: what is done, what is open to them, and what has to wait for something else."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from course.studying.progress import Standing

WORDS = {
    "en": {
        "solved": "solved", "read": "read", "new": "not begun", "begun": "{0} of {1} solved",
        "after": "after {0}", "and": ", ",
        "counts": "{0} units: {1} done, {2} open to you, {3} for later", "done": "Done", "open": "Open to you",
        "later": "For later: they require what you have not read yet", "more": "… and {0} more: {1}",
    },
    "zh": {
        "solved": "已做完", "read": "已读", "new": "未开始", "begun": "做完 {0}/{1}",
        "after": "先修 {0}", "and": "、",
        "counts": "共 {0} 个单元：完成 {1}，现在可学 {2}，以后再学 {3}", "done": "已完成", "open": "现在可学",
        "later": "以后再学：先修内容还没读", "more": "……还有 {0} 个：{1}",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One unit on the path. number: its place, from 1; after: the numbers of what it requires; missing: ids of those not known yet."""

    number: int
    standing: Standing
    after: tuple[int, ...]
    missing: tuple[str, ...]

    @property
    def state(self) -> str:
        """`solved`, `begun`, `read` or `new`: the farthest that the learner has come with it."""
        standing = self.standing
        return "solved" if standing.solved else "begun" if standing.verdicts else "read" if standing.studied else "new"

    @property
    def stage(self) -> str:
        """`done`, `open` if nothing is missing, else `later`."""
        return "done" if self.standing.done else "later" if self.missing else "open"

    def state_in(self, language: str) -> str:
        """The state in words, in `en` or `zh`."""
        verdicts = self.standing.verdicts or {}
        return WORDS[language][self.state].format(list(verdicts.values()).count("passed"), len(verdicts))

    def requires_in(self, language: str) -> str:
        """The steps that it comes after, by their numbers; empty if it requires nothing."""
        words = WORDS[language]
        return words["after"].format(words["and"].join(map(str, self.after))) if self.after else ""

    def describe(self) -> dict[str, Any]:
        """The step as `aigc path --json` prints it."""
        unit = self.standing.unit
        return {
            "number": self.number,
            "id": unit.id,
            "title": unit.title,
            "title_zh": unit.title_zh,
            "requires": list(unit.requires),
            "missing": list(self.missing),
            "state": self.state,
            "stage": self.stage,
        }


def path_of(standings: list[Standing]) -> list[Step]:
    """The whole path, step by step, from the standings that `survey` gives. A requirement that is not among them counts as known."""
    number = {standing.unit.id: place for place, standing in enumerate(standings, start=1)}
    unknown = {standing.unit.id for standing in standings if not standing.known}
    steps = []
    for standing in standings:
        required = [one for one in standing.unit.requires if one in number]
        after, missing = sorted(number[one] for one in required), tuple(one for one in required if one in unknown)
        steps.append(Step(number[standing.unit.id], standing, tuple(after), missing))
    return steps


def by_stage(steps: Iterable[Step]) -> dict[str, list[Step]]:
    """`done`, `open` and `later` -> their steps, in the order of the path."""
    stages: dict[str, list[Step]] = {"done": [], "open": [], "later": []}
    for step in steps:
        stages[step.stage].append(step)
    return stages
