"""What is told of a submission: each stub's status, its share of cases and one line, in the grader's own words."""

from course.checking.runner import Verdict, stub_status
from course.grading.judging import UNLOADABLE
from course.grading.submissions import safe

MESSAGE_LIMIT = 300


def stub_results(
    stubs: tuple[str, ...], missing: dict[str, str], verdicts: list[Verdict], cases: dict[str, int]
) -> dict[str, dict[str, str]]:
    """Stub -> its status and message, and how many of its cases passed. missing: what is said of each that is; cases: how many there are."""
    found = {}
    for stub in stubs:
        if stub in missing:
            told = {"status": "missing", "message": safe(missing[stub], MESSAGE_LIMIT)}
        else:
            told = _result(stub, stubs, verdicts)
        passed = 0 if stub in missing else sum(stub in v.case.stubs and v.status == "passed" for v in verdicts)
        found[stub] = {**told, "passed": str(passed), "cases": str(cases[stub])}
    return found


def _result(stub: str, stubs: tuple[str, ...], verdicts: list[Verdict]) -> dict[str, str]:
    """One stub: its status, and of the first case that did not pass what may be told without giving a value away."""
    status = stub_status(verdicts, stub)
    own = [v for v in verdicts if stub in v.case.stubs and v.status != "passed"]
    first = next((v for v in own if v.status == status or (status, v.status) == ("failed", "broken")), None)
    if first is None:
        return {"status": status, "message": ""}
    if status in ("todo", "blocked"):
        # The name of what is not written comes from the answer: only those of this unit are repeated.
        known = {text for name in stubs for text in (f"{name} is not written yet", f"waits for {name}")}
        return {"status": status, "message": first.public if first.public in known else f"{stub} raised NotImplementedError"}
    if first.public.startswith(UNLOADABLE):
        return {"status": status, "message": safe(first.public, MESSAGE_LIMIT)}
    hint = f" (likely cause: {first.hint})" if first.hint else ""
    return {"status": status, "message": safe(f"{first.case.title}: {first.public}{hint}", MESSAGE_LIMIT)}


def summary(stubs: dict[str, dict[str, str]], note: str) -> tuple[str, str]:
    """The status and the one line of a whole submission."""
    passed = sum(stub["status"] == "passed" for stub in stubs.values())
    status = "passed" if passed == len(stubs) else "partial" if passed else "failed"
    short = {name: stub for name, stub in stubs.items() if stub["status"] != "passed"}
    order = sorted(short, key=lambda name: short[name]["status"] in ("todo", "blocked"))  # what is wrong before what is missing
    first = next((_named(name, short[name]["message"]) for name in order), "")
    return status, "; ".join(part for part in (first, note) if part)


def _named(stub: str, message: str) -> str:
    """A message with its stub in front, unless it begins with what names it."""
    return message if message.split(":")[0].endswith(f" {stub}") else f"{stub}: {message}"
