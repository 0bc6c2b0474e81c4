"""Markdown, notebooks and code of the course as HTML for the site.

Notebooks are rendered here, in a few lines, and not by nbconvert: with it the ten notebooks of five units took 16 s in two languages, most of it spent on
parsing each output three times, and here they take one; its full template also asks hosts for MathJax and RequireJS.
"""

import base64
import mimetypes
import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
from markdown_it.token import Token
from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from course.authoring.maths import BadFormula, Formula, markdown, render
from course.errors import at

ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PLAIN = re.compile(r'<span class="(?:n|p|w)">([^<]*)</span>')  # names, punctuation and spaces have no colour: half of all spans
CHINESE = r"[\u3000-\u303f\u3400-\u9fff\uff01-\uff60]"  # with its punctuation
ICON_FONT = re.compile(r"<link\b[^>]*font-awesome[^>]*>")


@dataclass(frozen=True)
class Heading:
    """A heading of a page, as it stands in the page's own table of contents."""

    level: int
    id: str
    html: Markup


@dataclass
class Rendered:
    """HTML, its headings, and its text as the search finds it."""

    html: Markup
    headings: list[Heading] = field(default_factory=list)
    text: str = ""


@lru_cache(4096)
def code(source: str, language: str) -> Markup:
    """Code as coloured HTML; as it stands if the language is unknown."""
    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = get_lexer_by_name("text")
    html = highlight(source, lexer, HtmlFormatter(cssclass="highlight", wrapcode=True))
    return Markup(PLAIN.sub(r"\1", html))


class Text:
    """Turns Markdown of the course at `root` into HTML: formulas set, code coloured, tables in boxes that scroll, links that lead to pages.

    `targets` maps a file, by its path in the course, to its page; `{lang}` in it stands for the language of the page that links.
    """

    def __init__(self, root: Path, targets: dict[str, str]) -> None:
        self._root, self._targets = root, targets
        self._parser = parser = markdown()
        rules: dict[str, Callable[..., str]] = {
            "math_inline": partial(self._formula, display=False),
            "math_inline_double": partial(self._formula, display=True),
            "math_block": partial(self._formula, display=True),
            "fence": self._fence,
            "table_open": lambda *_: '<div class="table" tabindex="0"><table>\n',
            "table_close": lambda *_: "</table></div>\n",
            "link_open": self._link,
            "image": self._image,
            "softbreak": self._softbreak,
            "html_block": self._raw,
            "html_inline": self._raw,
        }
        for name, rule in rules.items():
            parser.add_render_rule(name, _as_method(rule))

    def html(self, text: str, source: Path, *, page: str, prefix: str = "") -> Rendered:
        """`text`, which stands in the file `source` and goes on the page `page` (`en/questions/image/vae.html`); the ids of its headings
        begin with `prefix`. Raises CourseError if a formula does not parse, or something would be loaded from another host."""
        environment = {"source": source, "page": page}
        tokens = self._parser.parse(text, environment)
        headings: list[Heading] = []
        for opened, inline in pairwise(tokens):
            if opened.type == "heading_open":
                identity = f"{prefix}{len(headings) + 1}"
                opened.attrSet("id", identity)
                shown = self._parser.renderer.render([inline], self._parser.options, environment)
                headings.append(Heading(int(opened.tag[1]), identity, Markup(re.sub(r"</?a\b[^>]*>", "", shown))))
        html = self._parser.renderer.render(tokens, self._parser.options, environment)
        return Rendered(Markup(html), headings, plain(html))

    def line(self, text: str, source: Path, *, page: str) -> Markup:
        """The HTML of a text of one paragraph, without the paragraph."""
        text = re.sub(rf"(?<={CHINESE}) (?={CHINESE})", "", text)  # of lines that were joined
        return Markup(self._parser.renderInline(text, {"source": source, "page": page}))

    def notebook(self, source: Path, *, page: str) -> Rendered:
        """The notebook at `source`: its text, code and outputs. Raises CourseError as `html` does."""
        made = Rendered(Markup(""))
        texts: list[str] = []
        for number, cell in enumerate(nbformat.read(source, as_version=4).cells, start=1):
            if cell.cell_type == "markdown":
                part = self.html(cell.source, source, page=page, prefix=f"cell{number}-")
                made.html += Markup('<div class="cell text">{}</div>\n').format(part.html)
                made.headings += part.headings
                texts.append(part.text)
            elif cell.cell_type == "code" and cell.source.strip():
                outputs = Markup("").join(
                    self._output(output, source, page, f"cell{number}-{place}-") for place, output in enumerate(cell.outputs)
                )
                shown = Markup('\n<div class="outputs">{}</div>').format(outputs) if outputs else ""
                made.html += Markup('<div class="cell">{}{}</div>\n').format(code(cell.source, "python"), shown)
                texts.append(cell.source)
        made.text = " ".join(" ".join(texts).split())
        return made

    def _output(self, output: Any, source: Path, page: str, prefix: str) -> Markup:
        """An output of a cell: of the forms in which it was kept, the richest. The ids of its headings begin with `prefix`."""
        if output.output_type == "stream":
            return _printed(output.text)
        if output.output_type == "error":
            return _printed("\n".join(output.traceback))
        data = output.data
        if "text/html" in data:
            # The player of matplotlib's animations asks a host for its icons; ours are in the style sheet.
            html = ICON_FONT.sub("", data["text/html"])
            self._refuse_loads(html, source)
            return Markup('<div class="html">{}</div>\n').format(Markup(html))
        if "image/svg+xml" in data:
            encoded = base64.b64encode(data["image/svg+xml"].encode()).decode()
            return Markup('<img alt="" src="data:image/svg+xml;base64,{}">\n').format(encoded)
        for kind in ("image/png", "image/jpeg", "image/gif"):
            if kind in data:
                return Markup('<img alt="" src="data:{};base64,{}">\n').format(kind, "".join(data[kind].split()))
        if "text/markdown" in data:
            return self.html(data["text/markdown"], source, page=page, prefix=prefix).html
        return _printed(data.get("text/plain", ""))

    def _formula(self, tokens: Sequence[Token], index: int, options: Any, env: Any, *, display: bool) -> str:
        latex = tokens[index].content.strip()
        try:
            return render(Formula(latex, display))
        except BadFormula as error:
            raise at(env["source"], f"the formula ${latex}$ does not parse: {error}", self._root) from None

    def _fence(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        return code(tokens[index].content, tokens[index].info.split(" ")[0])

    def _link(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        href = str(tokens[index].attrGet("href") or "")
        if "://" in href:
            return f'<a href="{escape(href)}" rel="noreferrer">'
        where, _, fragment = href.partition("#")
        if not where:
            return f'<a href="{escape(href)}">'
        named = self._named(env["source"], where)
        target = self._targets.get(named)
        if target is None:
            return f'<a title="{escape(named)}">'  # a file of the repository that is no page of the site
        target = target.replace("{lang}", env["page"].split("/")[0])
        return f'<a href="{posixpath.relpath(target, posixpath.dirname(env["page"]))}{"#" + fragment if fragment else ""}">'

    def _image(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        """A picture of the repository goes into the page itself."""
        token = tokens[index]
        named = str(token.attrGet("src") or "")
        picture = env["source"].parent / named
        if "://" in named or not picture.is_file():
            raise at(env["source"], f"the picture {named} is no file of the course", self._root)
        kind = mimetypes.guess_type(picture.name)[0] or "image/png"
        return f'<img alt="{escape(token.content)}" src="data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}">'

    def _softbreak(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        """The end of a line in the source: a space, but nothing inside Chinese, which has none between its characters."""
        before = "".join(token.content for token in tokens[:index])[-1:]
        after = "".join(token.content for token in tokens[index + 1 :])[:1]
        return "" if re.fullmatch(CHINESE * 2, before + after) else "\n"

    def _raw(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        self._refuse_loads(tokens[index].content, env["source"])
        return tokens[index].content

    def _refuse_loads(self, html: str, source: Path) -> None:
        loads = [target for target in loaded(html) if not target.startswith(("data:", "#"))]
        if loads:
            raise at(
                source, f"would load {loads[0][:80]} when it is shown; a page of the site holds all that it needs", self._root
            )

    def _named(self, source: Path, where: str) -> str:
        return posixpath.normpath((source.parent.relative_to(self._root) / where).as_posix())


def _as_method(rule: Callable[..., str]) -> Callable[..., str]:
    """A rule as markdown-it takes it, with the renderer, which ours do not need, as its first argument."""
    return lambda renderer, *arguments: rule(*arguments)


def _printed(text: str) -> Markup:
    return Markup("<pre>{}</pre>\n").format(ANSI.sub("", text).strip("\n"))


class _Loads(HTMLParser):
    """What HTML would have a browser load: in `src` and the like, in its styles."""

    NAMES = frozenset({"src", "srcset", "poster", "data", "background"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        for name, value in attrs:
            if value and (name in self.NAMES or (name in ("href", "xlink:href") and tag != "a")):
                self.found.append(value.strip())
            elif value and name == "style":
                self._css(value)

    def handle_data(self, data: str) -> None:
        if self._style:
            self._css(data)

    def _css(self, css: str) -> None:
        self.found += re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css)


def loaded(html: str) -> list[str]:
    """What a browser would load to show this HTML, whether it stands in the page (`data:`) or elsewhere."""
    found = _Loads()
    found.feed(html)
    found.close()
    return found.found


class _Reader(HTMLParser):
    """The text of HTML as it is read: of a formula its MathML, of scripts nothing, and a space where a block begins or ends."""

    INLINE = frozenset({"a", "b", "code", "em", "i", "s", "span", "strong", "small", "sub", "sup", "math", "semantics", "mrow", "mi", "mo", "mn", "mtext", "msub", "msup", "msubsup", "mfrac"})  # fmt: skip
    VOID = frozenset({"area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"})

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self._skipped: list[str] = []  # open tags from the first whose text is not for reading

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            self.text.append(" ")
        elif self._skipped or tag in ("script", "style", "annotation", "svg") or ("class", "katex-html") in attrs:
            self._skipped.append(tag)
        elif tag not in self.INLINE:
            self.text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            while self._skipped and self._skipped.pop() != tag:
                pass
        elif tag not in self.INLINE:
            self.text.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self.text.append(data)


def plain(html: str) -> str:
    """The text of HTML, for the search."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return " ".join("".join(reader.text).split())


def stylesheet(style: str, selector: str) -> str:
    """Pygments' colours of a style, for code within `selector`."""
    return HtmlFormatter(style=style, cssclass="highlight").get_style_defs(f"{selector} .highlight".strip())
