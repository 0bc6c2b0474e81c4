"""The words of a verdict: what a learner reads of a stub, of a unit, and in which colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the dashboard has the same words, and does not wait for torch
    from course.checking.runner import Verdict

MARKS = {"passed": "✓", "failed": "✗", "broken": "✗", "todo": "○", "blocked": "○"}
NAMES = {"passed": "pass", "todo": "partial", "failed": "fail", "absent": "not started"}
STYLES = {"passed": "green", "failed": "red", "todo": "yellow", "blocked": "yellow", "absent": "dim"}


def overall(statuses: dict[str, str]) -> tuple[str, int]:
    """One verdict over stubs (`failed` if any is wrong, `todo` if some are only unwritten, else `passed`), and how many pass."""
    values = list(statuses.values())
    verdict = "failed" if "failed" in values else "passed" if all(v == "passed" for v in values) else "todo"
    return verdict, values.count("passed")


def report(verdicts: list[Verdict], stubs: tuple[str, ...], *, replay: str = "check") -> str:
    """The verdicts as text, stub by stub: the same text for the same verdicts, without timings or addresses."""
    lines: list[str] = []
    for stub in stubs:
        own = [verdict for verdict in verdicts if stub in verdict.case.stubs]
        good = sum(verdict.status == "passed" for verdict in own)
        todo = all(verdict.status in ("todo", "blocked") for verdict in own)
        lines.append(f"{stub}: " + ("not written yet" if todo and own else f"{good} of {len(own)} checks pass"))
        if todo and own and not any(verdict.status == "blocked" for verdict in own):
            continue
        for verdict in own:
            lines.append(f"  {MARKS[verdict.status]} {verdict.case.title}")
            if verdict.status in ("passed", "todo"):
                continue
            lines.append(f"      {verdict.message}")
            if verdict.line:
                lines.append(f"      {verdict.line}")
            if verdict.hint:
                lines.append(f"      likely cause: {verdict.hint}")
        failed = next((verdict for verdict in own if verdict.status in ("failed", "broken")), None)
        if failed and replay == "check":
            lines.append(f'    the same questions again: check("{stub}", seed={failed.seed})')
        elif failed:
            lines.append(f"    the same questions again: {replay} --seed {failed.seed}")
    return "\n".join(lines)


def brief(verdicts: list[Verdict], stubs: tuple[str, ...]) -> str:
    """One line a stub: its mark, and the first thing that is wrong with it."""
    lines = []
    for stub in stubs:
        own = [verdict for verdict in verdicts if stub in verdict.case.stubs]
        first = next((verdict for verdict in own if verdict.status != "passed"), None)
        lines.append(f"  {MARKS[first.status]} {stub}: {first.hint or first.message}" if first else f"  {MARKS['passed']} {stub}")
    return "\n".join(lines)
