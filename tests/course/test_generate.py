"""`aigc generate`: every system with a verb makes what it says, and what is typed wrongly is told in a line."""

import types

import numpy as np
import pytest
import torch
from PIL import Image

from course.media import files as media
from course.media import generate as generator
from course.paths import root as course_root
from course.units.catalogue import find_units
from reference_impl.verbs import Verb

ABLE = generator.able(find_units(course_root()))


@pytest.fixture
def verb(monkeypatch):
    """Put a verb in place of text/gpt's, with no model behind it."""

    def put(verb):
        monkeypatch.setattr(generator, "system", lambda unit, **_: "a model")
        monkeypatch.setattr(generator, "reference_module", lambda unit: types.SimpleNamespace(VERB=verb))

    return put


@pytest.mark.parametrize(("unit", "verb"), ABLE, ids=lambda one: getattr(one, "id", ""))
def test_every_system_makes_what_its_verb_says_from_its_example(unit, verb):
    things = generator.given(verb, None if verb.takes == "nothing" else verb.example, print)
    options = {"length": 20} if "length" in verb.settings else {}
    seeds = (1, 1, 2) if "seed" in verb.settings else (None,)
    made = [
        generator.make(unit, verb, things, generator.settings(verb, [f"{k}={v}" for k, v in options.items()], seed), device="cpu")
        for seed in seeds
    ]
    files = [generator.to_bytes(verb, one, media.KINDS[verb.gives][0]) for one in made]
    assert all(files) and all(isinstance(one, str) == (verb.gives == "text") for one in made)
    if len(files) == 3:
        assert files[0] == files[1] != files[2], "a seed repeats what it drew, and another draws something else"


def test_without_a_unit_those_that_generate_are_listed(aigc):
    status, out, _ = aigc("generate")
    assert status == 0
    for unit, verb in ABLE:
        assert unit.id in out and verb.example in out


def test_a_text_is_continued_and_settings_count(aigc):
    status, short, said = aigc("generate", "text/gpt", "The value of", "--set", "length=10", "--set", "temperature=0")
    assert (status, said) == (0, "") and short.startswith("The value of") and len(short.rstrip("\n")) == len("The value of") + 10
    assert aigc("generate", "gpt", "The value of", "--set", "length=10", "--set", "temperature=0", "--seed", "9")[1] == short


def test_a_prompt_longer_than_the_context_is_said(aigc, tmp_path):
    path = tmp_path / "long.txt"
    path.write_text("the " * 400, encoding="utf-8")
    status, _, said = aigc("generate", "text/gpt", str(path), "--set", "length=3")
    assert status == 0 and "the model reads the last" in said and "of 1600 bytes" in said


def test_a_picture_is_written_as_a_whole_and_large_enough_to_be_seen(aigc, tmp_path):
    out = tmp_path / "seven.png"
    status, shown, said = aigc("generate", "image/vae", "7", "--out", str(out))
    assert (status, shown) == (0, "") and f"wrote {out}" in said
    with Image.open(out) as picture:
        assert picture.size == (generator.SHOWN, generator.SHOWN) and np.ptp(np.asarray(picture.convert("L"))) > 100


def test_what_takes_nothing_and_what_takes_a_picture(aigc, verb, tmp_path):
    verb(Verb("nothing", "speech", lambda model, *, seed=0: torch.linspace(-1, 1, 100)))
    assert aigc("generate", "text/gpt", "--out", str(tmp_path / "a.wav"))[0] == 0
    status, _, said = aigc("generate", "text/gpt", "words", "--out", str(tmp_path / "a.wav"))
    assert status == 2 and "takes nothing: leave out 'words'" in said
    verb(Verb("image", "image", lambda model, ink: ink))
    ink = torch.zeros(1, 24, 24)
    ink[0, 5:19, 11:13] = 1
    (tmp_path / "one.png").write_bytes(media.image_bytes(ink))
    assert aigc("generate", "text/gpt", str(tmp_path / "one.png"), "--out", str(tmp_path / "two.png"))[0] == 0
    assert (tmp_path / "two.png").read_bytes() == (tmp_path / "one.png").read_bytes()
    for wrong in ("one", str(tmp_path / "none.png"), str(tmp_path / "a.wav")):
        assert aigc("generate", "text/gpt", wrong, "--out", str(tmp_path / "two.png"))[0] == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("text/gpt",), "this takes a text, such as 'The value of'"),
        (("text/gpt", " "), "the text is empty"),
        (("text/gpt", "nowhere.txt"), "nowhere.txt cannot be read"),
        (("text/gpt", "\udcff"), "not UTF-8"),
        (("text/gpt", "a", "--set", "temperatur=1"), "expected a name and a value, of these: length=200, temperature=0.7"),
        (("text/gpt", "a", "--set", "length"), "expected a name and a value"),
        (("text/gpt", "a", "--set", "length=many"), "length is a whole number, such as 200"),
        (("text/gpt", "a", "--set", "temperature=nan"), "temperature is a number, such as 0.7"),
        (("text/gpt", "a", "--set", "temperature=-1"), "temperature of at least 0"),
        (("text/gpt", "a", "--set", "length=-1"), "length must be at least 0"),
        (("text/rnn", "a", "--set", "length=-1"), "length must be at least 0"),
        (("text/gpt", "a", "--out", "a.png"), "is a name for image, and the result is text"),
        (("image/vae", "7"), "image needs a file to be written to: --out result.png"),
        (("image/gan", "ten", "--out", "a.png"), "expected a whole number, 0 to 9, got 'ten'"),
        (("image/gan", "10", "--out", "a.png"), "expected a whole number, 0 to 9, got '10'"),
        (("text/embeddings", "a"), "text/embeddings generates nothing; these do: image/gan"),
        (("convert/text_to_image", "three left"), "use `aigc convert`"),
        (("text/gtp", "a"), "did you mean text/gpt"),
        (("text/gpt", "a", "--device", "abacus"), "abacus"),
    ],
)
def test_what_is_typed_wrongly_is_told_in_a_line_and_nothing_is_written(aigc, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    status, out, err = aigc("generate", *words)
    assert status == 2 and said in err and out == ""
    assert err.count("\n") == 1, err
    assert not list(tmp_path.glob("a.*"))


def test_a_seed_where_nothing_is_drawn_is_refused(aigc, verb):
    verb(Verb("text", "text", lambda model, text: text.upper()))
    assert aigc("generate", "text/gpt", "ab")[1] == "AB\n"
    status, _, said = aigc("generate", "text/gpt", "ab", "--seed", "1")
    assert status == 2 and "leave out --seed" in said


@pytest.mark.parametrize(
    ("takes", "gives", "make"),
    [
        ("smell", "text", lambda model, x: x),
        ("text", "nothing", lambda model, x: x),
        ("text", "text", lambda model, x, *, k: x),
        ("text", "text", lambda model, x, *, k=None: x),
        ("text", "text", lambda model, x, *, k=True: x),
    ],
)
def test_a_verb_that_nobody_could_use_is_refused(takes, gives, make):
    with pytest.raises(ValueError):
        Verb(takes, gives, make)
