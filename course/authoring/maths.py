"""Markdown with formulas: how a page is parsed, and LaTeX turned into HTML that needs no script.

The formulas are set by KaTeX itself (`course/assets/vendor/katex`), run in QuickJS. The libraries in pure Python were measured on the 469 formulas
of the course and are no parser to rely on: latex2mathml accepts `\\foo`, `{a` and `\\frac{a}`, and prints `\\arg` and `\\bigl\\|` as they stand.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import quickjs
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

KATEX = Path(__file__).parents[1] / "assets" / "vendor" / "katex"
# QuickJS hands no rope of strings over to Python, so a result passes as JSON. An exception's message is its first line.
SCRIPT = """
var options = (display) => ({displayMode: display, throwOnError: true, strict: 'error', trust: false});
var attempt = (work) => { try { return JSON.stringify({value: work()}) } catch (error) { return JSON.stringify({error: error.message}) } };
var parse = (latex, display) => attempt(() => { katex.__parse(latex, options(display)); return '' });
var render = (latex, display) => attempt(() => katex.renderToString(latex, options(display)));
"""


class BadFormula(ValueError):
    """LaTeX that KaTeX does not take."""


@dataclass(frozen=True)
class Formula:
    """LaTeX between dollars: on a line of its own if `display`."""

    latex: str
    display: bool


@lru_cache(1)
def _engine() -> Any:
    engine = quickjs.Context()
    engine.eval((KATEX / "katex.min.js").read_text(encoding="utf-8"))
    engine.eval(SCRIPT)
    return engine


@lru_cache(4096)
def _call(function: str, latex: str, display: bool) -> str:
    answer = json.loads(_engine().get(function)(latex, display))
    if "error" in answer:
        raise BadFormula(answer["error"].removeprefix("KaTeX parse error: "))
    return answer["value"]


def parse(formula: Formula) -> None:
    """Raises BadFormula, with KaTeX's reason, if the formula does not parse; about four times as fast as to render it."""
    _call("parse", formula.latex, formula.display)


def render(formula: Formula) -> str:
    """The formula as HTML and, for screen readers, as MathML. Raises BadFormula, with KaTeX's reason, if it does not parse."""
    return _call("render", formula.latex, formula.display)


def markdown() -> MarkdownIt:
    """The parser of every page of the course: CommonMark with tables and `$` formulas. A dollar that is followed by a space,
    or that closes right before a digit, is money."""
    return (
        MarkdownIt("commonmark", {"html": True})
        .enable(["table", "strikethrough"])
        .use(dollarmath_plugin, allow_labels=False, allow_space=False, allow_digits=False, double_inline=True)
    )


def formulas(text: str) -> list[Formula]:
    """The formulas of a Markdown text, in order; none from code."""
    found: list[Formula] = []

    def visit(tokens: list[Token]) -> None:
        for token in tokens:
            if token.type in ("math_inline", "math_inline_double", "math_block"):
                found.append(Formula(token.content.strip(), token.type != "math_inline"))
            visit(token.children or [])

    visit(markdown().parse(text))
    return found
