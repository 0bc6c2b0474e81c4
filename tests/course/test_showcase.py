"""What stands at the top of a converter's notebook: things that need no other file, and no traceback without weights."""

import base64
import io
import re

import pytest
import soundfile
import torch
from PIL import Image

from course.authoring.build import compose
from course.media import showcase
from course.paths import root as course_root
from course.units.catalogue import exercises, find_unit
from reference_impl import weights
from reference_impl.data import digits_in_motion as motion


def contents(shown):
    (data,) = re.findall(r'src="data:[a-z/]+;base64,([^"]+)"', shown)
    return io.BytesIO(base64.b64decode(data))


def test_every_kind_is_shown_without_another_file():
    item = motion.load("test")[0]
    assert showcase.tile("text", "<three> & left") == "&lt;three&gt; &amp; left"
    assert Image.open(contents(showcase.tile("image", item.image))).size == (96, 96)
    assert Image.open(contents(showcase.tile("video", item.video))).n_frames == 8
    sound, rate = soundfile.read(contents(showcase.tile("speech", item.waveform)))
    assert rate == 8000 and len(sound) == len(item.waveform)


@pytest.mark.parametrize("unit", [unit.id for unit in exercises(course_root()) if unit.track == "convert"])
def test_a_converter_begins_with_what_it_does(unit):
    source, target = unit.split("/")[1].split("_to_")
    shown = showcase.table(unit)
    assert shown.count("<tr>") == 1 + len(showcase.ITEMS)
    assert f"<th>{source}</th><th></th><th>{target}</th>" in shown
    assert len(shown) < 300_000
    cells = [cell["id"] for cell in compose(find_unit(unit), solved=False)["cells"]]
    assert cells[:4] == ["title", "setup", "finished", "show"]


def test_without_weights_one_line_says_how_to_make_them(monkeypatch, capsys):
    monkeypatch.setattr(weights, "find", lambda unit: None)
    showcase.show("convert/text_to_speech")
    assert capsys.readouterr().out.startswith("there are no weights of convert/text_to_speech yet; make them with `aigc train")


def test_other_units_have_no_such_cell():
    assert "show" not in [cell["id"] for cell in compose(find_unit("image/vae"), solved=False)["cells"]]


def test_the_items_shown_differ():
    split = motion.load("test").select(torch.tensor(showcase.ITEMS))
    assert len(set(split.digits.tolist())) == len(set(split.places.tolist())) == len(showcase.ITEMS)
