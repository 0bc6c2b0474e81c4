"""Points for stubs, from a file that a person writes in a spreadsheet or by hand."""

import pytest

from course.errors import CourseError
from course.grading.journal import Row
from course.grading.weights import Weights, load_weights

STUBS = {"image/vae": ("kl", "elbo", "VAE.forward"), "image/gan": ("step", "VAE.forward")}


def load(tmp_path, text, name="weights.csv", **options):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_weights(path, STUBS, **options)


def row(unit="image/vae", **stubs):
    results = {name: {"status": "passed" if passed == cases else "failed", "message": "", "passed": str(passed), "cases": str(cases)}
               for name, (passed, cases) in stubs.items()}  # fmt: skip
    return Row("k", "ann", unit, 0, len(results), "partial", "", "strict", 0.1, 1, results)


def test_without_a_file_every_stub_is_a_point():
    weights = load_weights(None, STUBS)
    assert weights.points(row(kl=(4, 4), elbo=(1, 4))) == 1 and weights.maximum(row(kl=(4, 4), elbo=(1, 4))) == 2
    assert load_weights(None, STUBS, partial=True).points(row(kl=(4, 4), elbo=(1, 4))) == 1.25


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("w.csv", "unit,stub,points\nimage/vae,kl,2\n*,VAE.forward,3\nimage/vae,*,1\n*,*,0.5\n"),
        ("w.csv", "\ufeffunit;stub;points\r\nimage/vae;kl;2,0\r\n*;VAE.forward;3\r\nimage/vae;*;1\r\n*;*;0,5\r\n"),
        ("w.csv", "# of this term\n\n image/vae , kl , 2\n*,VAE.forward,3,\nimage/vae,*,1\n*,*,0.5"),
        ("w.toml", '["image/vae"]\nkl = 2 # two\n"*" = 1\n\n["*"]\nVAE.forward = 3\n"*" = 0.5\n'),
        ("w.toml", '\ufeff["*"]\r\n"VAE.forward" = 3\r\n"*" = 0.5\r\n["image/vae"]\r\n"*" = 1\r\nkl = 2\r\n'),
    ],
)
def test_the_narrowest_line_counts(tmp_path, name, text):
    weights = load(tmp_path, text, name)
    assert [weights.worth("image/vae", stub) for stub in STUBS["image/vae"]] == [2, 1, 1], "a unit is narrower than a stub's name"
    assert [weights.worth("image/gan", stub) for stub in STUBS["image/gan"]] == [0.5, 3]


def test_what_a_result_is_worth(tmp_path):
    text = "image/vae,kl,2\nimage/vae,elbo,6\n"
    result = row(kl=(4, 4), elbo=(1, 3), **{"VAE.forward": (4, 4)})
    whole, partial = load(tmp_path, text), load(tmp_path, text, partial=True)
    assert (whole.points(result), whole.maximum(result)) == (2, 8)
    assert partial.points(result) == 4, "2 and a third of 6"
    assert whole.maximum(row()) == 8, "what could not be read could have had all"
    assert whole.worthless({"image/vae"}) == ["image/vae VAE.forward"]


def test_counts_that_make_no_sense_earn_nothing():
    for stub in ({"passed": "5", "cases": "0"}, {"passed": "-1", "cases": "4"}, {"passed": "x", "cases": "4"}, {}):
        results = {"kl": {"status": "failed", "message": "", **stub}}
        assert Weights(partial=True).points(Row("k", "a", "image/vae", 0, 1, "failed", "", "", 0, 1, results)) == 0
    results = {"kl": {"status": "failed", "message": "", "passed": "9", "cases": "4"}}
    assert Weights(partial=True).points(Row("k", "a", "image/vae", 0, 1, "failed", "", "", 0, 1, results)) == 1


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("w.csv", "unit,stub,points\nimage/vea,kl,2\nimage/vae,elbow,2\nimage/vae,kl,two\n*,stepp,1\nimage/vae,elbo\n", [
            "line 2: there is no unit 'image/vea' with code; did you mean image/vae?",
            "line 3: image/vae has no stub 'elbow'; did you mean elbo?",
            "line 4: points are a number from 0, got 'two'",
            "line 5: the course has no stub 'stepp'; did you mean step?",
            "line 6: expected unit, stub and points, got 'image/vae,elbo'",
        ]),
        ("w.csv", "image/vae,kl,2\nimage/vae,kl,3\nimage/vae,elbo,-1\nimage/vae,elbo,nan\n,kl,2\n", [
            "line 2: image/vae, kl has its points in line 1 already",
            "line 3: points are a number from 0, got '-1'",
            "line 4: points are a number from 0, got 'nan'",
            "line 5: it names no unit",
        ]),
        ("w.toml", '["image/vae"]\nelbow = 2\nkl = "x"\nelbo = true\n["image/x"]\nkl = [1,\n2]\n', [
            "line 2: image/vae has no stub 'elbow'; did you mean elbo?",
            "line 3: points are a number from 0, got 'x'",
            "line 4: points are a number from 0, got 'True'",
            "line 6: expected a table such as",
            "line 7: expected a table such as",
        ]),
        ("w.toml", "[image/vae]\nkl = 2\n", ["is not TOML: "]),
        ("w.csv", "unit,stub,points\n", ["gives no points"]),
        ("w.csv", b"\xff\xfe\x00", ["it is not UTF-8 text"]),
        ("w.csv", b'image/vae,kl,2\n"' + b"x" * 200_000, ["is not CSV"]),
    ],
)  # fmt: skip
def test_every_mistake_has_a_line(tmp_path, name, text, lines):
    with pytest.raises(CourseError) as raised:
        load(tmp_path, text, name)
    said = str(raised.value).split("\n")
    assert len(said) == len(lines), said
    assert all(line in each and name in each for line, each in zip(lines, said, strict=True)), said


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CourseError, match=r"cannot read the weights in .*: No such file"):
        load_weights(tmp_path / "none.csv", STUBS)
