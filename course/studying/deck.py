"""The flashcards as an Anki package, whose ids never change: to import a newer one updates the notes that are there."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import genanki
from markdown_it import MarkdownIt
from markdown_it.token import Token

from course.authoring.maths import markdown
from course.errors import CourseError
from course.paths import write_atomic
from course.units.catalogue import Unit

MODEL = 1_607_392_319  # drawn once; Anki knows the note type by it
NAMES = {"en": "AIGC interview course", "zh": "生成式 AI 面试课"}
CSS = """
.card { font-family: system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; font-size: 20px; line-height: 1.5;
  text-align: left; max-width: 40em; margin: 0 auto; padding: 0.5em; }
.unit { font-size: 14px; opacity: 0.6; margin-top: 1.5em; }
"""


def note_type() -> genanki.Model:
    """Front, back, and the unit below both."""
    unit = '<div class="unit">{{Unit}}</div>'
    template = {
        "name": "Card",
        "qfmt": f"{{{{Front}}}}{unit}",
        "afmt": f'{{{{Front}}}}<hr id="answer">{{{{Back}}}}{unit}',
    }
    fields = [{"name": name} for name in ("Front", "Back", "Unit")]
    return genanki.Model(MODEL, "AIGC interview course", fields=fields, templates=[template], css=CSS)


def deck_id(language: str, track: str) -> int:
    """The id of the deck of a track in a language: the same on every machine, in the range that Anki gives to decks."""
    digest = hashlib.sha256(f"deck {language} {track}".encode()).digest()
    return (1 << 30) + int.from_bytes(digest[:4], "big") % (1 << 30)


def note_id(unit: Unit, front: str, language: str) -> str:
    """The guid of a note. It hangs on the English front in both languages: a new wording of the question is another card, of
    the answer or of the translation is not."""
    return genanki.guid_for(unit.id, hashlib.sha256(front.encode()).hexdigest(), language)


def _math(opening: str, closing: str) -> Callable[..., str]:
    def rule(renderer: object, tokens: Sequence[Token], index: int, options: object, env: object) -> str:
        return opening + escape(tokens[index].content.strip(), quote=False) + closing

    return rule


def card_parser() -> MarkdownIt:
    """Markdown to HTML with formulas as Anki's own MathJax takes them: in \\( \\) and \\[ \\]."""
    parser = markdown()
    parser.add_render_rule("math_inline", _math(r"\(", r"\)"))
    parser.add_render_rule("math_inline_double", _math(r"\[", r"\]"))
    return parser


def decks(units: list[Unit], language: str) -> list[genanki.Deck]:
    """A deck for each track that has cards, its notes in the order of the pages."""
    parser, model = card_parser(), note_type()
    made: dict[str, genanki.Deck] = {}
    for unit in units:
        deck = made.setdefault(
            unit.track, genanki.Deck(deck_id(language, unit.track), f"{NAMES[language]}::{unit.track.replace('_', ' ')}")
        )
        title = unit.title_in(language)
        for (english, _), (front, back) in zip(unit.pages["en"].cards, unit.pages[language].cards, strict=True):
            fields = [parser.renderInline(front), parser.renderInline(back), escape(title)]
            tags = [f"aigc::{unit.track}::{unit.name}"]
            deck.add_note(genanki.Note(model, fields, guid=note_id(unit, english, language), tags=tags))
    return [deck for deck in made.values() if deck.notes]


def write_deck(units: list[Unit], language: str, out: Path) -> int:
    """Write the cards of `units` as an Anki package; how many there are. The file is whole or not there.

    Raises CourseError if there are no cards, or the file cannot be written.
    """
    made = decks(units, language)
    if not made:
        raise CourseError("there are no flashcards to write")
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "deck.apkg"
        genanki.Package(made).write_to_file(package)
        try:
            write_atomic(out, package.read_bytes())
        except OSError as error:
            raise CourseError(f"{out} cannot be written: {error.strerror}") from None
    return sum(len(deck.notes) for deck in made)
