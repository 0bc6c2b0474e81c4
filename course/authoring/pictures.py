"""The picture of the finished thing at the head of a question's depth: taken from the executed solution, small enough for a page.

A picture remembers in its metadata which output it was made of, so whether it is up to date is asked of bytes, never of pixels.
"""

import ast
import base64
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from course.authoring.slim import fitted
from course.errors import CourseError, at
from course.units.catalogue import SECTIONS, Unit
from course.units.source import find_definition

LIMIT = 60 * 1024  # bytes
# Width in pixels and colours of the palette, the first that fits: a figure's text wants pixels sooner than its pictures want colours.
SHAPES = [(1200, 128), (1200, 64), (1000, 64), (1000, 32), *((width, n) for width in (860, 740, 620, 520, 440) for n in (32, 16))]
RECIPE = "1"  # raise it when pictures are to be made anew
KEY = "aigc:source"


def path(unit: Unit) -> Path:
    """Where the picture of a unit lies."""
    return unit.question.parent / "images" / f"{unit.name}.png"


def drawn(unit: Unit) -> bytes:
    """The PNG that the solution shows: the first output of `demo()` that is one, else the first at all.

    Raises CourseError if there is none.
    """
    cells = json.loads(unit.solution.read_text(encoding="utf-8"))["cells"]
    for cell in sorted(cells, key=lambda cell: cell["id"] != "demo-run"):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                return base64.b64decode("".join(output["data"]["image/png"]))
    raise at(unit.solution, "shows no picture: let demo() draw a figure with matplotlib.pyplot, or display one", unit.root)


def fingerprint(source: bytes) -> str:
    """What a picture remembers of the output that it was made of."""
    return hashlib.sha256(RECIPE.encode() + source).hexdigest()


def shrink(source: bytes) -> bytes:
    """A PNG as one of at most `LIMIT` bytes, with fewer colours and pixels as far as that needs. Raises ValueError if nothing helps."""
    remembered = PngImagePlugin.PngInfo()
    remembered.add_text(KEY, fingerprint(source))
    made = fitted(source, SHAPES, LIMIT, remembered)
    if made is None:
        width, height = Image.open(io.BytesIO(source)).size
        raise ValueError(f"a picture of {width} by {height} pixels does not fit into {LIMIT // 1024} KB, however small")
    return made


def make(unit: Unit) -> bytes:
    """The picture of a unit, from its solution. Raises CourseError if that shows none."""
    try:
        return shrink(drawn(unit))
    except (ValueError, UnidentifiedImageError) as error:
        raise at(unit.solution, f"its picture cannot be used: {error}", unit.root) from None


def stale(unit: Unit) -> str:
    """Why the picture on disk is not the one that the solution draws, in words; empty when it is."""
    try:
        kept = path(unit).read_bytes()
        with Image.open(io.BytesIO(kept)) as picture:
            remembered = picture.info.get(KEY)
    except FileNotFoundError:
        return "is missing"
    except (UnidentifiedImageError, OSError):
        return "is no picture"
    if remembered != fingerprint(drawn(unit)):
        return "was made of another solution than this"
    return "" if len(kept) <= LIMIT else f"has {len(kept) // 1024} KB, more than {LIMIT // 1024}"


def demo_exists(unit: Unit) -> Iterator[CourseError]:
    """The module of an exercise has a `demo()`, whose docstring says what its picture shows."""
    if not unit.is_concept and unit.module.is_file() and not demo_says(unit):
        yield at(unit.module, "needs a demo() that draws the finished thing, with a docstring that says what it shows", unit.root)


def demo_says(unit: Unit) -> str:
    """The first paragraph of the docstring of `demo`, on one line; empty if there is none."""
    try:
        definition = find_definition(ast.parse(unit.module.read_text(encoding="utf-8")).body, "demo")
    except (FileNotFoundError, SyntaxError):
        return ""
    said = ast.get_docstring(definition) if definition else None
    return " ".join((said or "").partition("\n\n")[0].split())


def alternative(unit: Unit, language: str) -> str:
    """What stands in the picture's place where it cannot be shown."""
    if language == "zh":
        text = f"{unit.title_zh}：参考解答末尾 demo() 画出的结果图"
    else:
        shown = re.sub(r"^(?:Train briefly; )?(?:[Ss]how )?", "", demo_says(unit)).rstrip(".")
        if shown[1:2].islower():  # goes on after a colon; GPT and VAE stay as they are
            shown = shown[0].lower() + shown[1:]
        text = f"{unit.title}, finished: {shown}"
    return re.sub(r"[\[\]`$*\\<>]", "", text)


def embed(text: str, unit: Unit, language: str) -> str:
    """A page with its picture between markers, right below the heading of the depth; as it is if it has no such heading."""
    block = f"<!-- picture:start -->\n![{alternative(unit, language)}](images/{path(unit).name})\n<!-- picture:end -->"
    text = re.sub(r"<!-- picture:start -->.*?<!-- picture:end -->\n*", "", text, flags=re.DOTALL)
    heading = SECTIONS["depth"][language == "zh"]
    return re.sub(rf"^(## {heading})[ \t]*\n+", lambda match: f"{match[1]}\n\n{block}\n\n", text, count=1, flags=re.MULTILINE)
