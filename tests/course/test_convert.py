"""`aigc convert` and `aigc train`: from a file to a file, by weights that are there, or made first."""

import types

import pytest
import torch

from course.media import convert as converter
from course.media import files as media
from course.paths import root as course_root
from course.units.catalogue import exercises
from reference_impl import weights
from reference_impl.data import digits_in_motion as motion
from reference_impl.runtime import Gate

CONVERTERS = [unit.id for unit in exercises(course_root()) if unit.track == "convert"]
KINDS = ("text", "image", "video", "speech")


@pytest.fixture
def item():
    return motion.load("test")[3]


@pytest.fixture
def things(item):
    return {"text": item.caption, "image": item.image, "video": item.video, "speech": item.waveform}


@pytest.fixture
def echo(monkeypatch, things):
    """Converters that need no weights: each gives the true thing of the kind that it makes. Returns what they were given."""
    given = []

    def module_of(unit):
        source, target = unit.name.split("_to_")

        def convert(model, batch, voices=None):
            assert (voices is not None) == ((source, target) == ("text", "speech"))
            given.append((source, batch))
            return [things[target]]

        return types.SimpleNamespace(convert=convert)

    monkeypatch.setattr(converter, "system", lambda unit, **_: None)
    monkeypatch.setattr(converter, "reference_module", module_of)
    monkeypatch.setattr(converter, "unit_of", lambda source, target: types.SimpleNamespace(id="x", name=f"{source}_to_{target}"))
    return given


def file_of(kind, thing, folder):
    if kind == "text":
        return thing
    path = folder / f"given{media.KINDS[kind][0]}"
    path.write_bytes(media.to_bytes(kind, thing, path.suffix))
    return str(path)


@pytest.mark.parametrize("source", KINDS)
@pytest.mark.parametrize("target", KINDS)
def test_the_kinds_are_told_by_the_names_of_the_files(aigc, echo, things, tmp_path, source, target):
    if source == target:
        return
    out = tmp_path / f"made{media.KINDS[target][0]}"
    status, shown, said = aigc("convert", file_of(source, things[source], tmp_path), "--out", str(out))
    assert status == 0, said
    assert f"wrote {out}" in said and shown == ""
    ((kind, batch),) = echo
    assert kind == source
    if source == "text":
        assert batch == ([motion.phrase(*motion.meaning(things["text"]))] if target == "speech" else [things["text"]])
    else:
        shape = {"image": (1, 1, 24, 24), "video": (1, 8, 1, 24, 24), "speech": (1, motion.SAMPLES)}[source]
        assert tuple(batch.shape) == shape and batch.dtype == torch.float32
    made = media.read(target, str(out), lambda _: None)
    if target == "text":
        assert made == things["text"]


def test_a_text_is_printed_where_no_file_is_named(aigc, echo, things, tmp_path):
    status, shown, _ = aigc("convert", file_of("image", things["image"], tmp_path), "--to", "text")
    assert (status, shown) == (0, things["text"] + "\n")


def test_a_chain_keeps_every_step_in_a_folder(aigc, echo, things, tmp_path):
    status, _, said = aigc("convert", "three left", "--chain", "text,speech,image,video", "--out", str(tmp_path / "steps"))
    assert status == 0, said
    assert sorted(path.name for path in (tmp_path / "steps").iterdir()) == ["1_speech.wav", "2_image.png", "3_video.gif"]
    assert [kind for kind, _ in echo] == ["text", "speech", "image"]
    heard = echo[1][1][0]
    assert heard.shape == (motion.SAMPLES,), "silence is added"
    fitted = media.fit(things["speech"], print)
    assert torch.equal(heard, fitted), "a step takes what the one before it made, not what a file holds of it"


def test_a_chain_writes_its_last_step_to_a_file(aigc, echo, tmp_path):
    assert aigc("convert", "三在左边", "--chain", "text, image ,video", "--out", str(tmp_path / "last.gif"))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["last.gif"]


def test_the_caption_becomes_the_phrase_that_voices_say(aigc, echo, tmp_path):
    _, _, said = aigc("convert", "左边有个三", "--out", str(tmp_path / "x.wav"))
    assert "saying 'three left' in the voice us_m1" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("three left",), "say what to convert to, by --to text or by --out three.wav"),
        (("three left", "--to", "image"), "image needs a file to be written to: --out result.png"),
        (("three left", "--to", "music"), "'music' is not something to convert: use text, image, video, speech"),
        (("three left", "--to", "text"), "from text to text there is nothing to convert"),
        (("three left", "--to", "image", "--out", "x.wav"), "--out x.wav is a name for speech, and the result is image"),
        (("three left", "--out", "x.bmp"), "x.bmp: its name has to end in one of .txt (text), .png (image)"),
        (("three left", "--out", "."), ".: its name has to end in one of"),
        (("three left", "--to", "image", "--out", "."), ". is a folder: --out needs a file, such as ./result.png"),
        (("a cat", "--out", "x.png"), "caption 'a cat': 'cat' is not in the vocabulary"),
        (("", "--out", "x.png"), "the text is empty"),
        (("gone.png", "--to", "text"), "there is no file gone.png"),
        (("three left", "--chain", "text", "--out", "x"), "--chain needs two kinds or more"),
        (("three left", "--chain", "text,image", "--to", "image"), "leave out --from and --to"),
        (("three left", "--chain", "text,image,image", "--out", "x"), "from image to image there is nothing to convert"),
        (("three left", "--out", "x.png", "--device", "gpu"), "no device is called 'gpu'"),
        (("three left", "--out", "x.wav", "--voice", "nobody"), "no voice is called 'nobody': use one of us_m1, "),
    ],
)
def test_usage_errors_are_one_line_and_write_nothing(aigc, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, shown, said = aigc("convert", *arguments)
    assert status == 2 and message in said, said
    assert said.count("\n") == 1 and shown == ""
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said(aigc, echo, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, said = aigc("convert", "three left", "--out", str(tmp_path / "file" / "x.png"))
    assert status == 2 and "cannot be written" in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# --- training ---


@pytest.fixture
def trained(monkeypatch, tmp_path):
    """A unit that trains in no time. Returns the list of its trainings, and the module."""
    trainings = []

    class Linear(torch.nn.Linear):
        def __init__(self, config):
            super().__init__(1, 1)

    def train(config, *, device, seed) -> Linear:
        trainings.append(seed)
        torch.manual_seed(seed)
        return Linear(config)

    from reference_impl.image import vae

    gates, figures = (Gate("right", at_least=0.9),), {"right": 0.95}
    module = types.SimpleNamespace(Config=vae.Config, train=train, GATES=gates, evaluate=lambda model, *, seed: figures)
    monkeypatch.setattr(converter, "reference_module", lambda unit: module)
    monkeypatch.setattr(weights, "_system", lambda unit: (module.Config(), Linear))
    monkeypatch.setattr(weights, "shipped", lambda unit: tmp_path / "course" / f"{unit}.safetensors")
    return trainings, module


def test_what_has_no_weights_is_trained_once_and_said(trained, tmp_path):
    said, (unit,) = [], [unit for unit in exercises(course_root()) if unit.id == "image/vae"]
    first = converter.system(unit, device="cpu", say=said.append)
    assert "image/vae has no weights yet: training it first" in said[0] and "kept in" in said[1]
    again = converter.system(unit, device="cpu", say=said.append)
    assert trained[0] == [0] and len(said) == 2
    assert torch.equal(first.weight, again.weight)


def test_a_broken_file_of_weights_is_an_error_in_one_line(aigc, trained):
    (unit,) = [unit for unit in exercises(course_root()) if unit.id == "image/vae"]
    converter.train(unit, device="cpu")
    path = weights.own("image/vae")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(converter.CourseError, match="damaged or no file of weights"):
        converter.system(unit, device="cpu")


def test_weights_are_shipped_only_if_they_hold_the_gate(aigc, trained, tmp_path):
    assert aigc("train", "vae", "--ship", "--seed", "4")[0] == 0
    path = tmp_path / "course" / "image/vae.safetensors"
    assert weights.about(path)["seed"] == "4"
    assert not weights.own("image/vae").exists(), "the shipped ones are the ones to use now"
    path.unlink()
    trained[1].evaluate = lambda model, *, seed: {"right": 0.85}
    status, _, said = aigc("train", "vae", "--ship")
    assert status == 2 and "right is 0.85 in half precision, and the gate is ≥ 0.9" in said
    assert not path.exists()


def test_weights_are_verified_by_quality(aigc, trained):
    assert aigc("train", "vae", "--seed", "2")[0] == 0
    status, shown, _ = aigc("train", "vae", "--verify")
    assert status == 0 and "holds" in shown
    assert trained[0] == [2, 2], "it is trained again as it was"
    assert weights.about(weights.own("image/vae"))["seed"] == "2"


def test_nothing_to_verify_is_said(aigc, trained):
    status, _, said = aigc("train", "vae", "--verify")
    assert status == 2 and "there are no weights of image/vae to verify" in said


# --- the real ones ---


@pytest.mark.parametrize("unit", CONVERTERS)
def test_the_weights_that_come_with_the_course_convert(aigc, unit, tmp_path):
    """Ten items of held-out handwriting and voices from file to file: most must be what they were."""
    from reference_impl.judges import motion_digit_judge, place_judge, spoken_digit_judge, spoken_place_judge

    source, target = unit.removeprefix("convert/").split("_to_")
    assert weights.shipped(unit).is_file(), f"make them: aigc train {unit} --ship"
    split, right = motion.load("test"), 0
    for row in range(0, 450, 45):
        item = split[row]
        thing = {"text": item.caption, "image": item.image, "video": item.video, "speech": item.waveform}[source]
        out = tmp_path / f"made{media.KINDS[target][0]}"
        status, _, said = aigc("convert", file_of(source, thing, tmp_path), "--out", str(out), "--device", "cpu")
        assert status == 0, said
        made = media.read(target, str(out), lambda _: None)
        if target == "text":
            found = motion.meaning(made)
        elif target == "speech":
            found = (int(spoken_digit_judge().classify(made)), motion.PLACES[spoken_place_judge().classify(made)])
        else:
            last = made if target == "image" else made[-1]
            found = (int(motion_digit_judge().classify(last)), motion.PLACES[place_judge().classify(last)])
        right += found == (item.digit, item.place)
    assert right >= 7, f"{right} of 10 are right"
