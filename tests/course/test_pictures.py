"""The picture of the finished thing: taken from the solution, small, embedded, and noticed when it is not of that solution."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from course.authoring import build as builder
from course.authoring import pictures
from course.authoring.maths import markdown
from course.errors import CourseError
from course.site.pages import build_site
from course.units.catalogue import exercises, find_unit


def png(picture):
    made = io.BytesIO()
    picture.save(made, "PNG")
    return made.getvalue()


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def edit(unit, change):
    notebook = json.loads(unit.solution.read_text(encoding="utf-8"))
    change({cell["id"]: cell for cell in notebook["cells"]})
    unit.solution.write_text(builder.to_json(notebook), encoding="utf-8")


def shown(source):
    return {"output_type": "display_data", "metadata": {}, "data": {"image/png": base64.b64encode(source).decode()}}


def test_a_build_writes_what_the_demo_draws(built):
    unit = find_unit("toy/sums", built)
    picture = Image.open(pictures.path(unit)).convert("RGB")
    assert picture.size == (90, 30) and set(picture.getdata()) == {(0, 0, 128)}, "the demo draws a bar in navy"
    assert builder.check(built) == []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b"no picture"), "is no picture"),
        (lambda path: path.write_bytes(png(Image.open(path).convert("RGB"))), "was made of another solution than this"),
        (lambda path: path.write_bytes(path.read_bytes() + bytes(pictures.LIMIT)), "has 60 KB, more than 60"),
    ],
)
def test_a_picture_that_is_not_the_solutions_is_noticed_and_made_anew(built, spoil, reason):
    path = built / "questions/toy/images/sums.png"
    before = path.read_bytes()
    spoil(path)
    assert builder.check(built) == [f"questions/toy/images/sums.png: {reason}; run `aigc build`"]
    assert builder.build(built) == [path]
    assert path.read_bytes() == before


def test_another_output_makes_another_picture(built):
    unit = find_unit("toy/sums", built)
    edit(unit, lambda cells: cells["demo-run"].update(outputs=[shown(png(Image.new("RGB", (8, 8), "red")))]))
    assert pictures.stale(unit) == "was made of another solution than this"
    pictures.path(unit).write_bytes(pictures.make(unit))
    assert not pictures.stale(unit)
    assert Image.open(pictures.path(unit)).convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_the_demos_picture_goes_before_others_and_others_before_none(built):
    unit = find_unit("toy/sums", built)
    other, own = png(Image.new("RGB", (2, 2), "lime")), pictures.drawn(unit)
    edit(unit, lambda cells: cells["setup"].update(outputs=[shown(other)]))
    assert pictures.drawn(unit) == own
    edit(unit, lambda cells: cells["demo-run"].update(outputs=[]))
    assert pictures.drawn(unit) == other
    edit(unit, lambda cells: cells["setup"].update(outputs=[]))
    with pytest.raises(CourseError, match=r"sums\.ipynb: shows no picture: let demo\(\) draw"):
        pictures.make(unit)


@pytest.mark.parametrize("size", [(1500, 900), (300, 300), (1, 1)])
def test_it_fits_however_hard_it_is_to_compress(size):
    made = pictures.shrink(png(noise(*size)))
    assert len(made) <= pictures.LIMIT
    width, height = Image.open(io.BytesIO(made)).size
    assert width <= size[0] and abs(width * size[1] - height * size[0]) <= max(size), "never enlarged, and not stretched"


def test_what_cannot_be_made_small_is_an_error(monkeypatch):
    monkeypatch.setattr(pictures, "LIMIT", 2048)
    with pytest.raises(ValueError, match="a picture of 400 by 300 pixels does not fit into 2 KB"):
        pictures.shrink(png(noise(400, 300)))


def test_transparent_ground_becomes_white():
    made = pictures.shrink(png(Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert Image.open(io.BytesIO(made)).convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_both_pages_show_it_at_the_head_of_the_depth(built):
    english = (built / "questions/toy/sums.md").read_text(encoding="utf-8")
    block = (
        "## In depth\n\n<!-- picture:start -->\n![Sums, finished: the sum of one and two: a bar of three](images/sums.png)\n"
        "<!-- picture:end -->\n\nAdd them all.\n"
    )
    assert block in english
    unit = find_unit("toy/sums", built)
    assert pictures.embed(english, unit, "en") == english
    moved = english.replace(block, "## In depth\n\nAdd them all.\n\n" + block.partition("\n\n")[2].replace("Add them all.\n", ""))
    assert pictures.embed(moved, unit, "en").count("picture:start") == 1 and block in pictures.embed(moved, unit, "en")
    chinese = (built / "questions/toy/sums.zh.md").read_text(encoding="utf-8")
    assert "## 深入\n\n<!-- picture:start -->\n![求和：参考解答末尾 demo() 画出的结果图](images/sums.png)\n" in chinese
    assert "<!--" not in unit.pages["en"].sections["depth"], "whoever reads a section sees no markers"


def test_the_site_holds_the_picture_itself(built, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    build_site(built, out)
    encoded = base64.b64encode((built / "questions/toy/images/sums.png").read_bytes()).decode()
    for language in ("en", "zh"):
        assert f'src="data:image/png;base64,{encoded}"' in (out / language / "questions/toy/sums.html").read_text("utf-8")


def test_a_picture_of_no_unit_is_reported(built):
    (built / "questions/toy/images/old.png").write_bytes(b"")
    assert builder.check(built) == ["questions/toy/images/old.png: belongs to no unit; delete it"]


def test_every_exercise_of_the_course_shows_its_solutions_picture(root):
    for unit in exercises(root):
        assert pictures.stale(unit) == "", unit.id
        for language, page in unit.pages.items():
            (image,) = [
                token
                for block in markdown().parse(page.sections["depth"])
                for token in block.children or []
                if token.type == "image" and token.attrGet("src") == f"images/{unit.name}.png"
            ]
            assert image.content == pictures.alternative(unit, language)
