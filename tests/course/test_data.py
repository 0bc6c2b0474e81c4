"""`aigc data`: every data set has a card in two languages, and a preview that can be opened."""

import importlib
import io
import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from course.errors import CourseError
from course.media import previews as data

NAMES = [
    "chinese_prose",
    "dates_and_amounts",
    "digits",
    "digits_in_company",
    "digits_in_motion",
    "free_spoken_digits",
    "python_docs",
    "sentiment",
]


@pytest.fixture(autouse=True)
def no_recordings(monkeypatch):
    monkeypatch.delenv("AIGC_FSDD", raising=False)


# --- the course's own cards ---


def test_every_data_set_has_a_card_and_every_card_a_data_set(root):
    cards = {card.name: card for card in data.find_cards(root)}
    modules = {path.stem for path in (root / "reference_impl" / "data").glob("*.py")}
    loaders = {
        name
        for name in modules - {"__init__", "render_speech"}
        if hasattr(importlib.import_module(f"reference_impl.data.{name}"), "load")
    }
    assert sorted(cards) == sorted(loaders) == NAMES
    for name in cards:
        assert callable(importlib.import_module(f"reference_impl.data.{name}").preview)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_the_same_things_in_both_languages(root, name):
    folder = root / "reference_impl" / "data" / "cards"
    english, chinese = (folder / f"{name}.md").read_text(encoding="utf-8"), (folder / f"{name}.zh.md").read_text(encoding="utf-8")
    headings = [[line for line in text.splitlines() if line.startswith("## ")] for text in (english, chinese)]
    assert len(headings[0]) == len(headings[1]) >= 4
    assert {"## What it is", "## Where it comes from", "## Splits", "## What it cannot show"} <= set(headings[0])
    assert {"## 内容", "## 来源与许可", "## 划分", "## 不能说明什么"} <= set(headings[1])
    assert sum("\u4e00" <= letter <= "\u9fff" for letter in chinese) > 200


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("dates_and_amounts", ["train", "test", "magnitudes", "combinations"]),
        ("digits", ["train", "test"]),
        ("digits_in_company", ["train", "test", "compositional"]),
        ("digits_in_motion", ["train", "test", "compositional"]),
    ],
)
def test_a_card_gives_the_true_sizes(root, name, splits):
    card = data.find_card(name, root)
    module = importlib.import_module(f"reference_impl.data.{name}")
    for split in splits:
        assert f"{len(module.load(split)):,}" in card.english["size"] and f"{len(module.load(split)):,}" in card.chinese["size"]


# --- the command ---


def test_the_table_and_the_list(aigc, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    status, out, err = aigc("data")
    assert (status, err) == (0, "")
    assert all(name in out for name in NAMES) and "CC BY-SA 4.0" in out and "手写数字" in out
    status, out, err = aigc("data", "--json")
    listed = json.loads(out)
    assert [entry["name"] for entry in listed] == NAMES
    assert listed[2]["licence"] == "CC BY 4.0" and listed[2]["card_zh"] == "reference_impl/data/cards/digits.zh.md"
    assert json.loads(aigc("data", "digits", "--json")[1]) == listed[2:3]


def test_previews_can_be_opened(aigc, tmp_path):
    folder = tmp_path / "new" / "folder"
    status, out, err = aigc("data", "--preview", str(folder))
    assert status == 0
    assert "no preview of free_spoken_digits: the Free Spoken Digit Dataset is not part of the course" in err
    written = {
        "chinese_prose.txt",
        "dates_and_amounts.txt",
        "digits.png",
        *(f"digits_in_company.{kind}" for kind in ("png", "gif", "wav", "txt")),
        "digits_in_motion.png",
        "digits_in_motion.gif",
        "digits_in_motion.wav",
        "digits_in_motion.txt",
        "python_docs.txt",
        "sentiment.txt",
    }
    assert {path.name for path in folder.iterdir()} == written, "nothing but whole files"
    assert all(f"wrote {folder / name}" in out.replace("\n", "") for name in written)
    for name in ("digits.png", "digits_in_motion.png"):
        shades = np.asarray(Image.open(folder / name))
        assert shades.ndim == 2 and shades.min() < 50 and (shades == 255).mean() > 0.3, "dark ink on white paper"
    film = Image.open(folder / "digits_in_motion.gif")
    assert film.n_frames == 8 and film.info["loop"] == 0
    sound, rate = soundfile.read(folder / "digits_in_motion.wav")
    assert rate == 8000 and sound.ndim == 1 and len(sound) > 15 * 8000 * 0.7 and np.abs(sound).max() > 0.3
    assert "then goes a" in (folder / "digits_in_company.txt").read_text(encoding="utf-8")
    assert "on the left is an eight" in (folder / "digits_in_motion.txt").read_text(encoding="utf-8")


def test_json_stays_json_beside_a_preview(aigc, tmp_path):
    status, out, err = aigc("data", "python_docs", "--json", "--preview", str(tmp_path))
    assert status == 0 and json.loads(out)[0]["name"] == "python_docs" and "wrote" in err


def test_human_digits_from_the_users_folder(aigc, tmp_path, monkeypatch):
    status, _, err = aigc("data", "free_spoken_digits", "--preview", str(tmp_path / "out"))
    assert status == 2 and err.startswith("aigc: the Free Spoken Digit Dataset is not part of the course")
    assert not (tmp_path / "out").exists()
    for digit in range(10):
        soundfile.write(tmp_path / f"{digit}_ann_0.wav", np.full(800, 0.25), 8000)
    monkeypatch.setenv("AIGC_FSDD", str(tmp_path))
    assert aigc("data", "free_spoken_digits", "--preview", str(tmp_path / "out"))[0] == 0
    assert soundfile.info(tmp_path / "out" / "free_spoken_digits.wav").samplerate == 8000


def test_bad_names_and_folders(aigc, tmp_path):
    status, _, err = aigc("data", "digit")
    assert status == 2 and "there is no data set 'digit'; did you mean digits" in err
    status, _, err = aigc("data", "qqqqqq")
    assert status == 2 and "`aigc data` shows them" in err
    (tmp_path / "file").write_text("kept")
    status, _, err = aigc("data", "digits", "--preview", str(tmp_path / "file"))
    assert status == 2 and "file is a file: --preview needs a folder" in err
    assert (tmp_path / "file").read_text() == "kept"
    status, _, err = aigc("data", "digits", "--preview", str(tmp_path / "file" / "under"))
    assert status == 2 and "cannot be written" in err


# --- another course's cards ---

CARD = "---\ntitle: T\nwhat: W\nsize: S\nlicence: MIT\nsource: https://example.org\n---\n## What it is\n"


def write_cards(root, english=CARD, chinese=CARD, name="toys"):
    folder = root / "reference_impl" / "data" / "cards"
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in ((folder / f"{name}.md", english), (folder / f"{name}.zh.md", chinese)):
        if text is not None:
            path.write_text(text, encoding="utf-8")


def test_a_course_without_data(toy, aigc):
    assert aigc("data", "--json")[1] == "[]\n"
    assert aigc("data")[0] == 0


def test_cards_are_found_and_not_named(toy, aigc):
    write_cards(toy)
    assert [entry["name"] for entry in json.loads(aigc("data", "--json")[1])] == ["toys"]


@pytest.mark.parametrize(
    ("english", "chinese", "message"),
    [
        (CARD, None, "toys.zh.md: this card is missing"),
        (None, CARD, "toys.zh.md: there is no English card beside it"),
        (CARD.replace("MIT", "GPL"), CARD, "toys.zh.md: licence differs from the English card: 'MIT', not 'GPL'"),
        (CARD.replace("size: S\n", ""), CARD, "toys.md: front matter needs size: a text, got None"),
        (CARD.replace("size: S", "size: 3"), CARD, "toys.md: front matter needs size: a text, got 3"),
        (CARD.replace("size", "sise"), CARD, "toys.md: unknown key 'sise' in the front matter; keys are: title, what"),
        ("# no front matter", CARD, "toys.md: has no front matter"),
    ],
)
def test_malformed_cards(toy, english, chinese, message):
    write_cards(toy, english, chinese)
    with pytest.raises(CourseError, match=message):
        data.find_cards(toy)


# --- the files ---


def test_a_sheet_puts_every_picture_at_its_place():
    pictures = torch.zeros(12, 1, 24, 24)
    pictures[10] = 1.0  # the first of the second row
    shades = np.asarray(Image.open(io.BytesIO(data.picture_file(pictures))))
    assert shades.shape == (2 * 74 + 2, 10 * 74 + 2)
    assert (shades[76:148, 2:74] == 0).all() and (shades[2:74, 2:74] == 255).all() and (shades[76:148, 76:148] == 255).all()
    one = np.asarray(Image.open(io.BytesIO(data.picture_file(torch.full((1, 1, 200, 100), 2.0)))))
    assert one.shape == (204, 104) and (one[2:202, 2:102] == 0).all(), "a large picture is shown as it is, ink above 1 is black"


def test_sounds_follow_each_other():
    content = data.sound_file([torch.full((800,), 0.5), torch.full((400,), -0.5)], 8000)
    sound, rate = soundfile.read(io.BytesIO(content))
    assert rate == 8000 and len(sound) == 1200 + 2 * 2666
    assert (
        np.allclose(sound[:800], 0.5, atol=1e-3) and not sound[800:3466].any() and np.allclose(sound[3466:3866], -0.5, atol=1e-3)
    )
