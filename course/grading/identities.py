"""Whose a submission is, and which unit it answers, as far as names can tell.

Whose it is, the outermost name alone decides, read as the platform wrote it. Which unit, the rest of the path.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from course.grading.places import NAME_LIMIT, safe

LONGEST = 255
METADATA = "submission_metadata.yml"  # which Gradescope puts beside its folders
ARCHIVES = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zipx")
COURSE_FOLDERS = ("notebooks", "work", "solutions")  # of the course's own repository

_NOTEBOOK = re.compile(r"\.ipynb(?:[ _.-]?\(?\d{1,3}\)?)?(?:\.(?:txt|json|download))*$", re.IGNORECASE)
_MOODLE_FOLDER = re.compile(r"(?P<who>.+_\d+)_assign(?:submission|feedback)_[a-z]+_?$")
_MOODLE_FILE = re.compile(r"(?P<who>.+?_\d+)_assignsubmission_[a-z]+_(?P<file>.+)$")
_CANVAS = re.compile(r"(?P<who>[^_]+)(?:_LATE)?_(?P<number>\d+)_\d+_(?P<file>.+)$")
_GRADESCOPE = re.compile(r"submission_\d+$")

# What people, browsers and file managers add to a file's name: words, small numbers, and versions.
_ADDED = re.compile(
    r"(?:v|ver|version|copy|copie|hw|homework|assignment|rev|try|final|part)?\d{0,2}|kopie|kopia|of|von|de|my|the|finished|done|"
    r"new|newest|latest|last|draft|submission|submitted|exercise|answers?|solved|notebook|edited|fixed|updated|completed?|late|"
    r"的?副本|コピー|拷贝"
)
_WORD = re.compile(r"[^\W_\u3040-\u9fff]+|[\u3040-\u9fff]+")
_DERIVED = re.compile(r"….[0-9a-f]{8}$")


def is_notebook(name: str) -> bool:
    """Whether a file's name says that it is a notebook, also after a browser or a mail program has added to it."""
    return _NOTEBOOK.search(name) is not None


def stem(name: str) -> str:
    """A notebook's name without its endings; of one longer than any file system has them, the beginning."""
    return _NOTEBOOK.sub("", name)[:LONGEST]


def learner_id(name: str) -> str:
    """A learner's name, shown safely; two names never become one."""
    shown = safe(name.replace("\\", r"\x5c"), 100 * NAME_LIMIT)
    if len(shown) <= NAME_LIMIT and not _DERIVED.search(shown):
        return shown
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{shown[: NAME_LIMIT - 10]}….{digest}"


def submitters(metadata: bytes) -> dict[str, str]:
    """Folder -> who handed it in, from Gradescope's metadata. Raises ValueError if it is not what Gradescope writes."""
    try:
        found = yaml.load(metadata, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(found, dict):
        raise ValueError(f"expected a mapping, got a {type(found).__name__}")
    names: dict[str, str] = {}
    for folder, entry in found.items():
        people = _field(entry, "submitters")
        if isinstance(people, list) and people:
            names[str(folder)] = " & ".join(_person(person, str(folder)) for person in people)
    return names


def _field(entry: Any, name: str) -> Any:
    return entry.get(f":{name}", entry.get(name)) if isinstance(entry, dict) else None


def _person(entry: Any, folder: str) -> str:
    """A name and what tells it from another person of that name; a number of the submission would change with each of them."""
    mark = _field(entry, "sid") or _field(entry, "email") or folder.removeprefix("submission_")
    return f"{_field(entry, 'name') or 'nobody'}_{mark}"


def owner_of_folder(name: str, names: Mapping[str, str]) -> str:
    """The learner whose folder or archive this is; names: what Gradescope's metadata say."""
    if _GRADESCOPE.match(name) and name in names:
        return learner_id(names[name])
    match = _MOODLE_FOLDER.match(name)
    return learner_id(match["who"] if match else name)


def owner_of_file(name: str) -> tuple[str, str] | None:
    """The learner and the file's own name, where a platform has written both into one; else None."""
    match = _MOODLE_FILE.match(name)
    if match:
        return learner_id(match["who"]), match["file"]
    match = _CANVAS.match(name)
    return (learner_id(f"{match['who']}_{match['number']}"), match["file"]) if match else None


def exact_unit(parts: tuple[str, ...], units: Iterable[str]) -> str | None:
    """The unit whose path in the course this is: `…/<track>/<unit>.ipynb`."""
    unit = "/".join(parts[-2:])
    return unit.removesuffix(".ipynb") if unit.endswith(".ipynb") and unit.removesuffix(".ipynb") in units else None


def units_by_name(parts: tuple[str, ...], units: Iterable[str], learner: str = "", *, loose: bool = False) -> list[str]:
    """The units that a notebook's name may mean, though it was changed on its way: `vae (1).ipynb`, `Copy of VAE.ipynb`.

    A folder above it, or a word before it, that names the track decides between units of one name. learner: whose it is; many
    put their own names into those of their files. loose: whatever other words there are.
    """
    name = stem(parts[-1])
    own = {word.casefold() for word in _WORD.findall(unicodedata.normalize("NFKC", learner))}
    left = {unit: without_unit(name, unit) for unit in sorted(units)}
    found = [
        unit
        for unit, rest in left.items()
        if rest is not None and (loose or all(word.isdigit() or word.casefold() in own for word in rest.split()))
    ]
    above = {*(part.casefold() for part in parts[:-1]), *(word.casefold() for word in _WORD.findall(name))}
    return [unit for unit in found if unit.split("/")[0] in above] or found


def without_unit(name: str, unit: str) -> str | None:
    """What is left of a name when the unit's (with or without its track) and all that is usually added are taken away; None
    if it does not hold the unit's name."""
    words = _WORD.findall(unicodedata.normalize("NFKC", name))
    plain = [word.casefold() for word in words]
    track, last = unit.split("/")
    for wanted in ([track, *last.split("_")], last.split("_")):
        for i in range(len(words) - len(wanted) + 1):
            if plain[i : i + len(wanted)] == wanted:
                left = words[:i] + words[i + len(wanted) :]
                return " ".join(word for word in left if not _ADDED.fullmatch(word.casefold()))
    return None
