"""Where the course lies, and how files are written."""

import contextlib
import os
import tempfile
from pathlib import Path

from course.errors import CourseError


def root() -> Path:
    """The course's folder: `AIGC_ROOT` if set, else the checkout that this package was installed from."""
    named = os.environ.get("AIGC_ROOT")
    folder = Path(named).resolve() if named else Path(__file__).resolve().parent.parent
    if not (folder / "questions").is_dir():
        raise CourseError(
            f"no course at {folder}: expected a folder 'questions' in it. Run inside a checkout installed with "
            "`pip install -e .`, or set AIGC_ROOT to the checkout"
        )
    return folder


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write to a temporary file beside `path`, then rename: a reader sees the old content or the new, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        if path.exists():
            os.chmod(name, path.stat().st_mode)
        else:
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # an interrupt may come after the rename
            os.unlink(name)
        raise
