"""Units are found, not registered: every `questions/<track>/<unit>.md` with front matter is one."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from course.errors import CourseError, at
from course.paths import root as course_root

# libyaml's, which is ten times as fast, where PyYAML was built with it.
Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

ID = re.compile(r"[a-z][a-z0-9_]*/[a-z][a-z0-9_]*")
# The items that the course has to cover, by the letter of their codes: P1 to P5, C1 to C30, and so on.
SYLLABUS = {"P": 5, "C": 30, "Q": 30, "B": 19, "T": 9, "S": 2}
CODES = tuple(f"{letter}{number}" for letter, last in SYLLABUS.items() for number in range(1, last + 1))

# The names of tracks for people who read Chinese; English has the folder's own.
TRACKS_ZH = {
    "concepts": "概念", "convert": "模态转换", "foundations": "基础", "text": "文本", "image": "图像", "audio": "音频", "video": "视频",
}  # fmt: skip

# Section key -> heading in English and in Chinese, in the order in which they stand.
SECTIONS = {
    "question": ("Question", "问题"),
    "spoken": ("Say it in two minutes", "两分钟口述"),
    "depth": ("In depth", "深入"),
    "pitfalls": ("Pitfalls", "常见错误"),
    "follow_ups": ("Follow-ups", "追问"),
    "hints": ("Hints", "提示"),
    "cards": ("Flashcards", "闪卡"),
    "references": ("References", "参考文献"),
}


# Around what the builder writes into a page; whoever reads a section has no need of them.
MARKERS = re.compile(r"^<!-- \w+:(?:start|end) -->\n?", flags=re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """One question in one language: its front matter and its sections, by the keys of `SECTIONS`."""

    path: Path
    meta: dict[str, Any]
    sections: dict[str, str]

    @cached_property
    def hints(self) -> dict[str, list[str]]:
        """Stub -> its hints, from the vaguest to the plainest."""
        found: dict[str, list[str]] = {}
        for block in re.split(r"^### ", self.sections.get("hints", ""), flags=re.MULTILINE)[1:]:
            stub, _, body = block.partition("\n")
            items = re.split(r"^\d+\.\s+", body, flags=re.MULTILINE)[1:]
            found[stub.strip().strip("`")] = [" ".join(item.split()) for item in items]
        return found

    @cached_property
    def cards(self) -> list[tuple[str, str]]:
        """Front and back of each flashcard: a paragraph that begins with its front in bold."""
        paragraphs = re.split(r"\n\s*\n", self.sections.get("cards", ""))
        found = (re.match(r"\*\*(.+?)\*\*\s+(.+)", " ".join(paragraph.split())) for paragraph in paragraphs)
        return [(match[1], match[2]) for match in found if match]


@dataclass(frozen=True)
class Unit:
    """One system or concept of the course. Paths are absolute; `None` where a concept question has no such file.

    requires: ids of the units to know before this one; only those it builds on itself, not what they require in turn.
    pages: language (`en`, `zh`) -> the question in it, as it stood when the unit was found.
    """

    id: str
    title: str
    title_zh: str
    difficulty: int
    frequency: int
    syllabus: tuple[str, ...]
    stubs: tuple[str, ...]
    root: Path = field(repr=False)
    requires: tuple[str, ...] = ()
    pages: dict[str, Page] = field(default_factory=dict, repr=False, compare=False)

    @property
    def track(self) -> str:
        return self.id.split("/")[0]

    @property
    def name(self) -> str:
        return self.id.split("/")[1]

    def title_in(self, language: str) -> str:
        """The title in `en` or `zh`."""
        return self.title if language == "en" else self.title_zh

    @property
    def question(self) -> Path:
        return self.root / "questions" / f"{self.id}.md"

    @property
    def question_zh(self) -> Path:
        return self.root / "questions" / f"{self.id}.zh.md"

    @property
    def is_concept(self) -> bool:
        return not self.stubs

    @property
    def module(self) -> Path:
        return self.root / "reference_impl" / f"{self.id}.py"

    @property
    def notebook(self) -> Path:
        return self.root / "notebooks" / f"{self.id}.ipynb"

    @property
    def solution(self) -> Path:
        return self.root / "solutions" / f"{self.id}.ipynb"

    @property
    def tests(self) -> Path:
        return self.root / "tests" / "exercises" / self.track / f"test_{self.name}.py"

    @property
    def work(self) -> Path:
        return self.root / "work" / f"{self.id}.ipynb"

    @property
    def module_name(self) -> str:
        return "reference_impl." + self.id.replace("/", ".")

    def describe(self) -> dict[str, Any]:
        """The unit as `aigc list --json` prints it; paths relative to the root."""

        def relative(path: Path) -> str:
            return path.relative_to(self.root).as_posix()

        code = {"module": self.module, "notebook": self.notebook, "solution": self.solution, "tests": self.tests}
        return {
            "id": self.id,
            "track": self.track,
            "title": self.title,
            "title_zh": self.title_zh,
            "difficulty": self.difficulty,
            "frequency": self.frequency,
            "syllabus": list(self.syllabus),
            "stubs": list(self.stubs),
            "requires": list(self.requires),
            "question": relative(self.question),
            "question_zh": relative(self.question_zh),
            **{key: None if self.is_concept else relative(path) for key, path in code.items()},
        }


def read_page(path: Path, root: Path) -> Page:
    """Parse one question file. Raises CourseError if it is missing, or its front matter or headings are not as expected."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        kind = "translation" if path.name.endswith(".zh.md") else "question"
        raise at(path, f"this {kind} is missing; write it (every question stands in English and in Chinese)", root) from None
    except UnicodeDecodeError as error:
        raise at(path, f"is not UTF-8 text: {error}", root) from None
    meta, body = split_front_matter(text, path, root)
    language = 1 if path.name.endswith(".zh.md") else 0
    keys = {headings[language]: key for key, headings in SECTIONS.items()}
    sections: dict[str, str] = {}
    for block in split_sections(body):
        heading, _, body = block.partition("\n")
        if heading.strip() not in keys:
            raise at(path, f"unknown section '## {heading.strip()}'; sections are: {', '.join(keys)}", root)
        sections[keys[heading.strip()]] = MARKERS.sub("", body).strip()
    return Page(path, meta, sections)


def split_front_matter(text: str, path: Path, root: Path) -> tuple[dict[str, Any], str]:
    """The front matter of the file at `path`, and what follows it. Raises CourseError if there is none, or it is no mapping."""
    match = re.match(r"---\n(.*?)\n---\n(.*)", text, flags=re.DOTALL)
    if not match:
        raise at(path, "has no front matter: it must begin with a block of YAML between two lines of ---", root)
    try:
        meta = yaml.load(match[1], Loader)
    except yaml.YAMLError as error:
        raise at(path, f"front matter is not YAML: {' '.join(str(error).split())}", root) from None
    if not isinstance(meta, dict):
        raise at(path, f"front matter must map keys to values, got {type(meta).__name__}", root)
    return meta, match[2]


def split_sections(body: str) -> list[str]:
    """Texts that follow each `## ` heading, the heading's own line included; fenced code is not searched for headings."""
    starts: list[int] = []
    fenced = False
    for match in re.finditer(r"^(?:```|## )", body, flags=re.MULTILINE):
        if match[0] == "```":
            fenced = not fenced
        elif not fenced:
            starts.append(match.end())
    return [body[start : following - len("## ")] for start, following in pairwise([*starts, len(body) + len("## ")])]


def find_units(root: Path | None = None) -> list[Unit]:
    """All units, ordered by id. Raises CourseError on the first question that is malformed, or that requires what cannot be."""
    root = root or course_root()
    folder = root / "questions"
    pages = sorted(path for path in folder.glob("*/*.md") if not path.name.endswith(".zh.md"))
    units = [read_unit(path, root) for path in pages]
    check_requirements(units)
    return units


def check_requirements(units: Iterable[Unit]) -> None:
    """Raises CourseError if a unit requires itself, one twice, or what is no unit, or if units require each other in a circle."""
    by_id = {unit.id: unit for unit in units}
    for unit in by_id.values():
        for required in unit.requires:
            if required == unit.id:
                raise _wrong_requires(unit, f"requires itself; take {required} out")
            if unit.requires.count(required) > 1:
                raise _wrong_requires(unit, f"requires {required} twice; take one out")
            if required not in by_id:
                near = nearest(required, by_id)
                hint = f"did you mean {' or '.join(near)}?" if near else "`aigc list` shows them all"
                raise _wrong_requires(unit, f"requires {required!r}, which is no unit; {hint}")
    try:
        TopologicalSorter({unit.id: unit.requires for unit in by_id.values()}).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]  # graphlib goes from what is required to what requires it
        told = " → ".join(circle)
        raise _wrong_requires(
            by_id[circle[0]], f"requires in a circle: {told}; take out the one that need not come before"
        ) from None


def _wrong_requires(unit: Unit, message: str) -> CourseError:
    return at(unit.question, f"{message} (the line `requires:` of the front matter, the same in both languages)", unit.root)


def read_unit(path: Path, root: Path) -> Unit:
    """The unit whose English question lies at `path`, its front matter checked key by key."""
    english = read_page(path, root)
    meta = english.meta
    unit_id = path.relative_to(root / "questions").with_suffix("").as_posix()
    if not ID.fullmatch(unit_id):
        raise at(path, f"the unit's id {unit_id!r} must be <track>/<unit> in lower case, digits and underscores", root)
    optional: dict[str, Any] = {"stubs": [], "requires": []}
    expected: dict[str, type] = {
        "title": str,
        "difficulty": int,
        "frequency": int,
        "syllabus": list,
        "stubs": list,
        "requires": list,
    }
    for key in meta:
        if key not in expected:
            near = difflib.get_close_matches(key, expected, 1)
            raise at(path, f"unknown key {key!r} in the front matter" + (f"; did you mean {near[0]!r}?" if near else ""), root)
    meta = {**optional, **meta}
    for key, kind in expected.items():
        if not isinstance(meta.get(key), kind):
            raise at(path, f"front matter needs {key}: a {kind.__name__}, got {meta.get(key)!r}", root)
    if not 1 <= meta["difficulty"] <= 5 or not 1 <= meta["frequency"] <= 3:
        raise at(path, "difficulty goes from 1 to 5 and frequency from 1 to 3", root)
    for code in meta["syllabus"]:
        if code not in CODES:
            raise at(path, f"{code!r} is not a syllabus code such as C2 or B16", root)
    chinese = read_page(path.with_suffix(".zh.md"), root)
    for key in expected.keys() - {"title"}:
        if {**optional, **chinese.meta}.get(key) != meta[key]:
            raise at(chinese.path, f"{key} differs from the English page: {chinese.meta.get(key)!r}, not {meta[key]!r}", root)
    if not isinstance(chinese.meta.get("title"), str):
        raise at(chinese.path, "front matter needs a title", root)
    return Unit(
        id=unit_id,
        title=meta["title"],
        title_zh=chinese.meta["title"],
        difficulty=meta["difficulty"],
        frequency=meta["frequency"],
        syllabus=tuple(meta["syllabus"]),
        stubs=tuple(meta["stubs"]),
        requires=tuple(meta["requires"]),
        pages={"en": english, "zh": chinese},
        root=root,
    )


def find_unit(name: str, root: Path | None = None) -> Unit:
    """The unit called `name` (`image/vae`, or `vae` where only one ends so). Raises CourseError naming the nearest ones."""
    units = find_units(root)
    wanted = name.strip("/").removesuffix(".ipynb")
    matches = [unit for unit in units if unit.id == wanted] or [unit for unit in units if unit.name == wanted]
    if len(matches) == 1:
        return matches[0]
    ids = [unit.id for unit in units]
    if matches:
        raise CourseError(f"{name!r} names several units: {', '.join(unit.id for unit in matches)}. Give the whole id")
    near = nearest(wanted, ids)
    hint = f"did you mean {' or '.join(near)}?" if near else "`aigc list` shows them all"
    raise CourseError(f"there is no unit {name!r}; {hint}")


def nearest(wanted: object, ids: Iterable[str]) -> list[str]:
    """Those of `ids` that look most like `wanted`, as a whole or in their last part; up to three, the best first where they are alike as a whole."""
    ids, text = list(ids), str(wanted)
    return difflib.get_close_matches(text, ids, 3, 0.4) or [
        i for i in ids if difflib.SequenceMatcher(None, text.split("/")[-1], i.split("/")[1]).ratio() > 0.5
    ]


def exercises(root: Path | None = None) -> list[Unit]:
    """The units that have code: all but the concept questions."""
    return [unit for unit in find_units(root) if not unit.is_concept]


@dataclass(frozen=True)
class Item:
    """One code of the syllabus and the units that cover it, none where they are still to come."""

    code: str
    units: tuple[Unit, ...]

    @property
    def state(self) -> str:
        """`exercise` if a unit with code covers it, `question` if only a concept question does, else `to come`."""
        if not self.units:
            return "to come"
        return "question" if all(unit.is_concept for unit in self.units) else "exercise"

    def describe(self) -> dict[str, Any]:
        """The item as `aigc list --syllabus --json` prints it."""
        keys = ("id", "title", "title_zh", "question", "question_zh", "notebook")
        units = [{key: unit.describe()[key] for key in keys} for unit in self.units]
        return {"code": self.code, "state": self.state, "units": units}


def syllabus(units: list[Unit]) -> list[Item]:
    """Every code of the syllabus, in its order, with the units that cover it."""
    return [Item(code, tuple(unit for unit in units if code in unit.syllabus)) for code in CODES]
