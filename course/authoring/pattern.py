"""The pattern of a question page: a ladder of follow-ups with weak answers, a derivation that is written out, and a pitfall that was run.

Every rule takes a unit and yields a CourseError, which names the page, for each thing that is missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from course.authoring.maths import formulas, markdown
from course.authoring.prose import without_code
from course.errors import CourseError, at
from course.units.catalogue import Page, Unit

FOLLOW_UPS = 5
WEAK_ANSWERS = 2
WEAK = {"en": "*A weak answer:*", "zh": "*减分的回答：*"}
STEPS = 3
OUTPUT = ("text", "output")

_RELATION = frozenset(
    {"=", "<", ">", "\\le", "\\leq", "\\ge", "\\geq", "\\approx", "\\propto", "\\equiv", "\\iff", "\\implies", "\\Rightarrow",
     "\\Longrightarrow", "\\Leftrightarrow"}
)  # fmt: skip


# --- follow-ups --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FollowUp:
    """A question in bold, and all that is said to it until the next one."""

    question: str
    answer: str

    def has_weak_answer(self, language: str) -> bool:
        """Whether a line of the answer begins with the marker, and something follows it there."""
        return re.search(rf"^{re.escape(WEAK[language])}[ \t]*\S", self.answer, flags=re.MULTILINE) is not None


def follow_ups(page: Page) -> list[FollowUp]:
    """The follow-ups of a page: each begins a paragraph with a question in bold, question mark included, and has an answer."""
    found: list[FollowUp] = []
    text = without_code(page.sections.get("follow_ups", ""))
    for block in re.split(r"(?:\A|\n[ \t]*\n)(?=\*\*[^\s*])", text):
        if match := re.match(r"\*\*(.+?[?？])\*\*\s*(\S.*)", block, flags=re.DOTALL):
            found.append(FollowUp(match[1], match[2]))
    return found


def ladder(unit: Unit) -> Iterator[CourseError]:
    """Five follow-ups or more, as many in each language."""
    for page in unit.pages.values():
        if (count := len(follow_ups(page))) < FOLLOW_UPS:
            shape = "paragraphs that begin '**question?** answer'"
            yield at(page.path, f"needs at least {FOLLOW_UPS} follow-ups ({shape}), has {count}", unit.root)
    counts = {page.path.name: len(follow_ups(page)) for page in unit.pages.values()}
    if len(set(counts.values())) > 1:
        yield at(unit.question_zh, f"has other follow-ups than the English page: {counts}; translate each", unit.root)


def weak_answers(unit: Unit) -> Iterator[CourseError]:
    """Two follow-ups or more say what a weak answer says, the same ones in each language."""
    places: dict[str, list[int]] = {}
    for language, page in unit.pages.items():
        places[language] = [n for n, one in enumerate(follow_ups(page), start=1) if one.has_weak_answer(language)]
        if (count := len(places[language])) < WEAK_ANSWERS:
            marker = f"a line that begins with {WEAK[language]} and says why it is weak"
            yield at(page.path, f"needs {marker} in at least {WEAK_ANSWERS} follow-ups, has it in {count}", unit.root)
    if places["en"] != places["zh"]:
        message = f"has weak answers in the follow-ups {places['zh']}, the English page in {places['en']}; give the same ones"
        yield at(unit.question_zh, message, unit.root)


# --- the depth ---------------------------------------------------------------------------------------------------------


def derivation(unit: Unit) -> Iterator[CourseError]:
    """The depth writes one derivation out."""
    for page in unit.pages.values():
        if (steps := longest_derivation(page.sections.get("depth", ""))) < STEPS:
            message = (
                f"'In depth' must write one derivation out: a display formula of {STEPS} steps (a = b = c = d, or aligned), "
                f"or {STEPS} display formulas under one lead; the longest has {steps}"
            )
            yield at(page.path, message, unit.root)


def longest_derivation(text: str) -> int:
    """Steps of the longest derivation of a text: the relations of one display formula, or the display formulas with a relation in one part.

    A part goes from one heading or bold lead to the next, so that formulas which have nothing to do with each other do not add up.
    """
    best = 0
    for part in re.split(r"^(?=###|\*\*[^\s*])", without_code(text), flags=re.MULTILINE):
        counts = [relations(formula.latex) for formula in formulas(part) if formula.display]
        best = max([best, *counts, sum(count > 0 for count in counts)])
    return best


def relations(latex: str) -> int:
    """Relations of a formula that are steps: not those inside brackets or cases, and of several formulas side by side those of one."""
    latex = re.sub(r"\\begin\{(cases|array|[bpvV]?matrix)\}.*?\\end\{\1\}", "", latex, flags=re.DOTALL)
    latex = re.sub(r"\\(?:stackrel|overset|underset)\{[^{}]*\}\{([^{}]*)\}", r"\1", latex)  # = with its reason above it
    steps = here = most = depth = 0  # of the whole; of this formula, and the most of one formula, in this row
    for token in re.findall(r"\\[A-Za-z]+|\\.|.", latex, flags=re.DOTALL):
        if token in ("\\quad", "\\qquad", "\\\\"):
            most, here = max(most, here), 0
        if token == "\\\\":
            steps, most = steps + most, 0
        elif token in ("(", "[", "{", "\\{"):
            depth += 1
        elif token in (")", "]", "}", "\\}"):
            depth = max(0, depth - 1)  # an interval that is open on one side closes with the other bracket
        elif token in _RELATION and not depth:
            here += 1
    return steps + max(most, here)


# --- pitfalls ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Snippet:
    """Broken code, and what it prints."""

    code: str
    printed: str


def snippet(unit: Unit) -> Iterator[CourseError]:
    """A pitfall shows broken code, what it prints, and the remedy; the same code in each language."""
    found = {language: snippets(page.sections.get("pitfalls", "")) for language, page in unit.pages.items()}
    for language, page in unit.pages.items():
        if not found[language]:
            message = (
                "needs a pitfall that was run: under one '###', a ```python block, then what it prints as a ```text block, "
                "then the remedy"
            )
            yield at(page.path, message, unit.root)
    if found["en"] != found["zh"] and all(found.values()):
        yield at(unit.question_zh, "shows other broken code, or prints something else, than the English page", unit.root)


def snippets(pitfalls: str) -> list[Snippet]:
    """The broken code of the pitfalls that stands with what it prints and has something said after that."""
    found = []
    for part in re.split(r"^### ", pitfalls, flags=re.MULTILINE):
        code, waiting = "", None
        for token in markdown().parse(part):
            kind = token.info.split(" ")[0] if token.type == "fence" else ""
            if kind == "python":
                code, waiting = token.content, None
            elif kind in OUTPUT and code and token.content.strip():
                waiting = Snippet(code, token.content)
            elif token.type == "inline" and waiting:
                found.append(waiting)
                code, waiting = "", None
    return found
