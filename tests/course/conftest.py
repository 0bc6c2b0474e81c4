import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from toy_course import importable_toy, write_toy

from course import cli
from course.authoring.build import build
from course.studying.state import Store
from course.units.catalogue import Unit, find_unit


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Iterator[Path]:
    """The toy course in a folder of its own, which the tools take for the course."""
    write_toy(tmp_path)
    monkeypatch.setenv("AIGC_ROOT", str(tmp_path))
    with importable_toy(tmp_path):
        yield tmp_path


@pytest.fixture
def unit(toy) -> Unit:
    return find_unit("toy/sums", toy)


@pytest.fixture
def concept(toy) -> Unit:
    """A concept question with two flashcards, beside the exercise."""
    head = "---\ntitle: What is it\ndifficulty: 1\nfrequency: 3\nsyllabus: [P1]\n---\n\n"
    english = head + "## Question\nWhat?\n## Flashcards\n**What is $x_1$?** A number.\n\n**And y?** Another.\n"
    chinese = head + "## 问题\n什么？\n## 闪卡\n**$x_1$ 是什么？** 一个数。\n\n**y 呢？** 另一个。\n"
    (toy / "questions/toy/concept.md").write_text(english, encoding="utf-8")
    (toy / "questions/toy/concept.zh.md").write_text(chinese, encoding="utf-8")
    return find_unit("toy/concept", toy)


@pytest.fixture(scope="session")
def built_once(tmp_path_factory) -> Path:
    """The toy course, built; its solution is executed only once for all tests."""
    folder = tmp_path_factory.mktemp("course")
    write_toy(folder)
    with importable_toy(folder):
        build(folder)
    return folder


@pytest.fixture
def built(built_once, toy) -> Path:
    shutil.copytree(built_once, toy, dirs_exist_ok=True)
    return toy


@pytest.fixture(autouse=True)
def store(tmp_path_factory, monkeypatch) -> Store:
    """An empty state for each test, also for the processes that it starts."""
    monkeypatch.setenv("AIGC_HOME", str(tmp_path_factory.mktemp("home")))
    return Store()


@pytest.fixture
def at_home() -> Iterator[Callable[[str], ZoneInfo]]:
    """Put this machine into a time zone, such as Europe/Berlin; the zone."""
    if not hasattr(time, "tzset"):
        pytest.skip("a process can change its time zone only on POSIX")

    with pytest.MonkeyPatch.context() as patch:

        def move(zone: str) -> ZoneInfo:
            patch.setenv("TZ", zone)
            time.tzset()
            return ZoneInfo(zone)

        yield move
    time.tzset()


@pytest.fixture
def aigc(monkeypatch, capsys):
    """Run `aigc` in this process (importing torch in a new one takes seconds): (exit status, standard output, standard error)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["aigc", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.run()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return call
