"""The course as static pages that open from a folder, with no server and no network.

Put together from what the course has anyway: markdown-it for pages, KaTeX for formulas, Pygments for code, Jinja for the frame; in the browser MiniSearch
and ts-fsrs. mkdocs-material, whose navigation is better tried than ours, was weighed and left: since November 2025 it is only maintained, and its search knows of
a Chinese sentence the words into which jieba's dictionary (19 MB) cut it, while single characters and pairs of them, as here, find any term in it. Formulas that
are set when a page is built, notebooks with the course's own links, and flashcards would have been plugins of our own there too.

Every page has the same path below `en/` and `zh/`, which is how the switch keeps the page; a section has the same id in both.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from course.errors import CourseError, at
from course.media.previews import find_cards
from course.site.html import Heading, Text, code, plain, stylesheet
from course.studying.cards import flashcards
from course.units.catalogue import SECTIONS, TRACKS_ZH, Unit, find_units, split_front_matter, syllabus
from course.units.order import by_track, learning_path, stages

ASSETS = Path(__file__).parents[1] / "assets"
MARKER = ".aigc-site"  # in a folder that we made and may replace
LANGUAGES = ("en", "zh")
SCRIPTS = ("site.js", "theme.js", "search.js", "flashcards.js")

WORDS: dict[str, dict[str, Any]] = {
    "en": {
        "course": "AIGC interview course", "search": "Search", "none": "Nothing found", "loading": "Searching …",
        "menu": "Menu", "skip": "To the text", "other": "中文", "theme": "Light or dark", "cards": "Flashcards",
        "contents": "On this page", "difficulty": "difficulty {0} of 5", "question_page": "Question", "exercise": "Exercise",
        "solution": "Solution", "module": "Reference", "tests": "Tests", "hint": "Hint", "track": "Track", "all": "all",
        "flip": "Show the answer", "grades": ("again", "hard", "good", "easy"), "more": "10 more new cards",
        "counts": "{due} due today · {new} new · {seen} of {total} seen", "done": "Nothing is due. Come back tomorrow.",
        "next": "Nothing is due now. The next card comes in {when}.", "save": "Save progress to a file", "load": "Load progress",
        "times": ("{0} min", "{0} h", "{0} d"), "not_ours": "This file holds no flashcard progress.",
        "unsaved": "This browser keeps nothing for local files: your grades are lost when you leave the page.",
        "keyboard": "Space or a tap shows the answer, 1 to 4 grade it. FSRS plans the reviews; they are kept in this browser only.",
        "start": "All questions", "data": "Data sets", "measured": "Measurements", "syllabus": "Syllabus", "state": "State",
        "source": "source", "question": "Question", "code": "Code",
        "exercise_state": "exercise", "question_state": "question", "to come_state": "to come",
        "lead": "Questions and answers of generative AI interviews, the exercises that go with them, and flashcards. "
        "Say the two-minute answer aloud before you read ours.",
        "english_only": "", "path": "The path", "after": "Know first: ",
        "path_lead": "In this order nothing comes before what it needs, and what is asked most comes first.",
        "stages": {3: "Asked often, and what that needs", 2: "Asked now and then", 1: "Asked rarely"},
        "tracks": {"concepts": "Concepts", "convert": "Converters"},
    },
    "zh": {
        "course": "生成式 AI 面试课", "search": "搜索", "none": "没有找到", "loading": "搜索中……",
        "menu": "目录", "skip": "跳到正文", "other": "English", "theme": "浅色 / 深色", "cards": "闪卡",
        "contents": "本页内容", "difficulty": "难度 {0} / 5", "question_page": "问题", "exercise": "练习",
        "solution": "参考解答", "module": "参考实现", "tests": "测试", "hint": "提示", "track": "方向", "all": "全部",
        "flip": "看答案", "grades": ("忘了", "吃力", "记得", "轻松"), "more": "再来 10 张新卡",
        "counts": "今天到期 {due} 张 · 新卡 {new} 张 · 学过 {seen} / {total}", "done": "没有要复习的了，明天再来。",
        "next": "现在没有到期的卡片，下一张在 {when}后。", "save": "把进度存成文件", "load": "载入进度",
        "times": ("{0} 分钟", "{0} 小时", "{0} 天"), "not_ours": "这个文件里没有闪卡进度。",
        "unsaved": "这个浏览器不为本地文件保存数据：离开本页后，打过的分就没了。",
        "keyboard": "按空格或点一下卡片看答案，1 到 4 打分。复习由 FSRS 安排，进度只存在这个浏览器里。",
        "start": "全部题目", "data": "数据集", "measured": "测量结果", "syllabus": "考纲", "state": "状态",
        "source": "来源", "question": "题目", "code": "编号",
        "exercise_state": "有练习", "question_state": "有问答", "to come_state": "待补",
        "lead": "生成式 AI 面试的问题和答案、配套练习和闪卡。先自己把两分钟口述讲一遍，再看我们的。",
        "english_only": "本页只有英文。", "path": "学习路线", "after": "先修：",
        "path_lead": "按这个顺序学：先修的排在前面，常考的优先。",
        "stages": {3: "高频题和它们的先修内容", 2: "中频题", 1: "低频题"},
        "tracks": TRACKS_ZH,
    },
}  # fmt: skip


@dataclass(frozen=True)
class SitePage:
    """One page in one language. `path` is below the language's folder; `texts` are what the search finds: (heading, id, text)."""

    path: str
    title: str
    html: Markup
    headings: list[Heading] = field(default_factory=list)
    texts: list[tuple[str, str, str]] = field(default_factory=list)
    scripts: tuple[str, ...] = ()
    links: str = ""  # to the other pages of its unit
    entry: str = ""  # the page of the menu that it belongs to, if it is in no menu itself
    is_english: bool = False  # in both languages

    @property
    def menu(self) -> str:
        return self.entry or self.path


class Site:
    """All pages of the course at `root`; units, tracks, menu and flashcards in the order of the learning path."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.units = learning_path(find_units(root))
        self.by_id = {unit.id: unit for unit in self.units}
        self.stages = stages(self.units)
        self.cards = find_cards(root)
        self.reports = sorted((root / "benchmarks").glob("*.md"))
        self.tracks = list(by_track(self.units))
        self._frames = Environment(
            loader=FileSystemLoader(ASSETS / "site"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._text = Text(root, self._targets())

    def _targets(self) -> dict[str, str]:
        """Where each file of the course that is a page lies on the site; `{lang}` stands for the language of the page that links."""
        targets = {"README.md": "{lang}/index.html", "README.zh.md": "{lang}/index.html"}
        for unit in self.units:
            targets[f"questions/{unit.id}.md"] = f"en/questions/{unit.id}.html"
            targets[f"questions/{unit.id}.zh.md"] = f"zh/questions/{unit.id}.html"
            if not unit.is_concept:
                for path in (unit.notebook, unit.solution, unit.module, unit.tests):
                    named = path.relative_to(self.root)
                    targets[named.as_posix()] = f"{{lang}}/{named.with_suffix('.html').as_posix()}"
        for card in self.cards:
            told = card.describe()
            targets[told["card"]], targets[told["card_zh"]] = f"en/data/{card.name}.html", f"zh/data/{card.name}.html"
        if self.cards:
            targets["reference_impl/data/cards"] = f"{{lang}}/data/{self.cards[0].name}.html"
        for report in self.reports:
            targets[f"benchmarks/{report.name}"] = f"{{lang}}/benchmarks/{report.stem}.html"
        return targets

    def track(self, track: str, language: str) -> str:
        """A track's name for people."""
        return WORDS[language]["tracks"].get(track, track.replace("_", " ").capitalize())

    def parts(self, unit: Unit, language: str) -> dict[str, str]:
        """The pages of a unit: their names and paths below the language's folder."""
        t, question = WORDS[language], {WORDS[language]["question_page"]: f"questions/{unit.id}.html"}
        files = {"exercise": unit.notebook, "solution": unit.solution, "module": unit.module, "tests": unit.tests}
        if unit.is_concept:
            return question
        return question | {t[key]: path.relative_to(self.root).with_suffix(".html").as_posix() for key, path in files.items()}

    def render(self, template: str, language: str, **values: Any) -> Markup:
        return Markup(self._frames.get_template(template).render(t=WORDS[language], lang=language, site=self, **values))

    def pages(self, language: str) -> Iterator[SitePage]:
        """Every page in a language, the pages of the menu in its order."""
        yield self.page("index.html", WORDS[language]["start"], language)
        scripts = ("assets/ts-fsrs.js", f"assets/cards-{language}.js", "assets/flashcards.js")
        yield self.page("flashcards.html", WORDS[language]["cards"], language, scripts)
        yield self.page("syllabus.html", WORDS[language]["syllabus"], language, items=syllabus(self.units))
        for unit in self.units:
            yield self.question(unit, language)
            if not unit.is_concept:
                yield self.notebook(unit, language, "exercise", unit.notebook)
                yield self.notebook(unit, language, "solution", unit.solution)
                yield self.source(unit, language, unit.module)
                yield self.source(unit, language, unit.tests)
        for number in range(len(self.cards)):
            yield self.data_card(number, language)
        for report in self.reports:
            yield self.report(report, language)

    def page(self, name: str, title: str, language: str, scripts: tuple[str, ...] = (), **values: Any) -> SitePage:
        """A page that is a template of ours."""
        headings = [Heading(2, "path", Markup(escape(WORDS[language]["path"])))]
        headings += [Heading(2, track, Markup(escape(self.track(track, language)))) for track in self.tracks]
        html = self.render(name, language, **values)
        return SitePage(name, title, html, headings if name == "index.html" else [], scripts=scripts)

    def question(self, unit: Unit, language: str) -> SitePage:
        page, path, t = unit.pages[language], f"questions/{unit.id}.html", WORDS[language]
        line = partial(self._text.line, source=page.path, page=f"{language}/{path}")
        headings: list[Heading] = []
        texts: list[tuple[str, str, str]] = []
        sections: list[dict[str, Any]] = []
        for key, names in SECTIONS.items():
            if key not in page.sections:
                continue
            heading = names[LANGUAGES.index(language)]
            headings.append(Heading(2, key, Markup(escape(heading))))
            folded: list[dict[str, Any]] = []
            html = Markup("")
            if key == "cards":
                folded = [{"heading": "", "summary": line(front), "html": line(back)} for front, back in page.cards]
            elif key == "hints":
                for stub, hints in page.hints.items():
                    folded += [
                        {"heading": stub if number == 1 else "", "summary": f"{t['hint']} {number}", "html": line(hint)}
                        for number, hint in enumerate(hints, start=1)
                    ]
            else:
                part = self._text.html(page.sections[key], page.path, page=f"{language}/{path}", prefix=f"{key}-")
                html, headings = part.html, headings + part.headings
            sections.append({"id": key, "heading": heading, "html": html, "folded": folded})
            texts.append((heading, key, plain(html + Markup(" ").join(f["summary"] + Markup(" ") + f["html"] for f in folded))))
        title = unit.title_in(language)
        html = self.render("question.html", language, title=title, unit=unit, sections=sections)
        return SitePage(path, title, html, headings, texts, links=self.links(unit, language, path))

    def notebook(self, unit: Unit, language: str, kind: str, source: Path) -> SitePage:
        if not source.is_file():
            raise at(source, "does not exist; run `aigc build`", self.root)
        path, name = source.relative_to(self.root).with_suffix(".html").as_posix(), WORDS[language][kind]
        made = self._text.notebook(source, page=f"{language}/{path}")
        title = f"{unit.title_in(language)}{': ' if language == 'en' else '：'}{name}"
        # The given code is the same in exercise, solution and module; the search finds it once, in the solution.
        texts = [(name, "", made.text)] if kind == "solution" else []
        page = SitePage(path, title, made.html, [heading for heading in made.headings if heading.level in (2, 3)], texts)
        return self._english(page, unit, language)

    def source(self, unit: Unit, language: str, source: Path) -> SitePage:
        named = source.relative_to(self.root)
        html = Markup("<h1><code>{}</code></h1>\n{}").format(named.as_posix(), code(source.read_text(encoding="utf-8"), "python"))
        return self._english(SitePage(named.with_suffix(".html").as_posix(), named.name, html), unit, language)

    def _english(self, page: SitePage, unit: Unit, language: str) -> SitePage:
        """A page of a unit that is the same in both languages."""
        links = self.links(unit, language, page.path)
        return replace(page, links=links, entry=f"questions/{unit.id}.html", is_english=True)

    def links(self, unit: Unit, language: str, path: str) -> Markup:
        """Links from a page of a unit to the others."""
        return self.render("links.html", language, unit=unit, path=path)

    def data_card(self, number: int, language: str) -> SitePage:
        card = self.cards[number]
        source = card.path if language == "en" else card.path.with_suffix(".zh.md")
        meta = card.english if language == "en" else card.chinese
        _, body = split_front_matter(source.read_text(encoding="utf-8"), source, self.root)
        path = f"data/{card.name}.html"
        made = self._text.html(body, source, page=f"{language}/{path}", prefix="s")
        html = self.render("data.html", language, meta=meta, body=made.html)
        return SitePage(path, meta["title"], html, made.headings, [("", "", f"{meta['what']} {made.text}")])

    def report(self, source: Path, language: str) -> SitePage:
        path = f"benchmarks/{source.stem}.html"
        made = self._text.html(source.read_text(encoding="utf-8"), source, page=f"{language}/{path}", prefix="s")
        title = source.stem.replace("_", " ").capitalize()
        if made.headings and made.headings[0].level == 1:
            title = plain(made.headings[0].html)
        headings = [heading for heading in made.headings if heading.level in (2, 3)]
        return SitePage(path, title, made.html, headings, [("", "", made.text)], is_english=True)

    def flashcard_list(self, language: str) -> list[dict[str, str]]:
        """The cards as the flashcard page reads them. An id is that of `aigc study`, the same in both languages: one progress serves both."""
        cards = []
        for unit in self.units:
            line = partial(self._text.line, source=unit.pages[language].path, page=f"{language}/flashcards.html")
            entry = {"track": unit.track, "title": unit.title_in(language), "path": f"questions/{unit.id}.html"}
            cards += [
                {"id": card.id, **entry, "front": line(card.front), "back": line(card.back)}
                for card in flashcards(unit, language)
            ]
        return cards

    def navigation(self, pages: list[SitePage], language: str) -> list[tuple[str, list[SitePage]]]:
        """The menu: headings, each with its pages."""
        t = WORDS[language]
        groups = [("", [page for page in pages if "/" not in page.path])]
        for track in self.tracks:
            groups.append((self.track(track, language), [page for page in pages if page.path.startswith(f"questions/{track}/")]))
        groups.append((t["data"], [page for page in pages if page.path.startswith("data/")]))
        groups.append((t["measured"], [page for page in pages if page.path.startswith("benchmarks/")]))
        return [(heading, entries) for heading, entries in groups if entries]

    def write(self, out: Path, tell: Callable[[int, int], object]) -> int:
        """Write every page and what it needs into the empty folder `out`; how many pages there are."""
        count = 0
        total = len(LANGUAGES) * (
            3 + sum(1 if unit.is_concept else 5 for unit in self.units) + len(self.cards) + len(self.reports)
        )
        for language in LANGUAGES:
            pages = []
            for page in self.pages(language):
                pages.append(page)
                tell(count := count + 1, total)
            menu = self.navigation(pages, language)
            found: list[dict[str, Any]] = []
            for page in pages:
                base = "../" * (page.path.count("/") + 1)
                _write(out / language / page.path, self.render("page.html", language, page=page, nav=menu, base=base))
                for heading, identity, text in page.texts:
                    where = f"{page.path}#{identity}" if identity else page.path
                    found.append({"id": len(found), "title": page.title, "heading": heading, "path": where, "text": text})
            _write(out / "assets" / f"search-{language}.js", f"(window.SEARCH ??= {{}}).{language} = {_json(found)};\n")
            _write(out / "assets" / f"cards-{language}.js", f"window.CARDS = {_json(self.flashcard_list(language))};\n")
        copy_assets(out / "assets")
        _write(out / "index.html", ENTRY)
        _write(out / MARKER, "Made by `aigc site`, which may replace this folder.\n")
        return count


ENTRY = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<title>AIGC interview course · 生成式 AI 面试课</title>
<script>location.replace((navigator.language.startsWith("zh") ? "zh" : "en") + "/index.html");</script></head>
<body><p><a href="en/index.html">English</a> · <a href="zh/index.html" lang="zh-Hans">中文</a></p></body></html>
"""


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def copy_assets(folder: Path) -> None:
    """Our scripts and style sheet, and the libraries of others with their licences."""
    for name in (*SCRIPTS, "site.css"):
        shutil.copyfile(ASSETS / "site" / name, folder / name)
    vendor = ASSETS / "vendor"
    for library in ("minisearch", "ts-fsrs"):
        script = (vendor / library / f"{library}.js").read_text(encoding="utf-8")
        _write(folder / f"{library}.js", re.sub(r"^//# sourceMappingURL=.*$", "", script, flags=re.MULTILINE))
        shutil.copyfile(next((vendor / library).glob("LICENSE*")), folder / f"{library}.LICENSE.txt")
    style = (vendor / "katex" / "katex.min.css").read_text(encoding="utf-8")
    _write(folder / "katex" / "katex.min.css", re.sub(r",url\([^)]*\.(?:woff|ttf)\) format\([^)]*\)", "", style))
    shutil.copytree(vendor / "katex" / "fonts", folder / "katex" / "fonts")
    shutil.copyfile(vendor / "katex" / "LICENSE", folder / "katex" / "LICENSE.txt")
    colours = (stylesheet("default", ""), stylesheet("github-dark", '[data-theme="dark"]'))
    _write(folder / "pygments.css", "\n".join(colours) + "\n")


def build_site(root: Path, out: Path, tell: Callable[[int, int], object] = lambda done, total: None) -> int:
    """Build the site into `out`, which is new, empty or an earlier site; how many pages there are. It is replaced only when all is made.

    `tell` is called with the number of pages made and to be made. Raises CourseError if `out` holds something else or cannot be written.
    """
    try:
        out = out.resolve()
        if out.exists() and not out.is_dir():
            raise CourseError(f"{out} is a file: --out needs a folder")
        if out.exists() and any(out.iterdir()) and not (out / MARKER).is_file():
            raise CourseError(f"{out} holds something that is no site of ours: name an empty folder, or a new one")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as made:
            fresh, old = Path(made) / "new", Path(made) / "old"
            count = Site(root).write(fresh, tell)
            if out.exists():
                out.rename(old)
            try:
                fresh.rename(out)
            except BaseException:
                if old.exists():
                    old.rename(out)
                raise
    except OSError as error:
        raise CourseError(f"{out} cannot be written: {error.strerror}") from None
    return count
