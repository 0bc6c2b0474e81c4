"""Whether a system runs on every device that this machine has, and on one that refuses to be mixed with the CPU: the course's own tests of that."""

import re
import subprocess
import sys
from dataclasses import dataclass

from course.errors import at
from course.proving import records
from course.units.catalogue import Unit


@dataclass(frozen=True)
class Ran:
    """How many tests of a unit's devices passed and failed, on which device besides the CPU, and the first lines of what failed."""

    passed: int
    failed: int
    device: str
    said: str = ""

    @property
    def holds(self) -> bool:
        return self.passed > 0 and self.failed == 0


def run_device_tests(unit: Unit) -> Ran:
    """Run `tests/reference/test_devices.py` for one unit in a process of its own. Raises CourseError if the file is missing."""
    import torch

    path = records.device_tests(unit.root)
    if not path.is_file():
        raise at(path, "is missing: it holds what every system must do on every device", unit.root)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(path), "--unit", unit.id]
    ran = subprocess.run(command, cwd=unit.root, capture_output=True, text=True, encoding="utf-8", errors="replace")
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors?)\b", ran.stdout)}
    failed = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("E  ", "FAILED", "ERROR"))]
    if ran.returncode and not failed:
        failed, lines = 1, [*lines, *ran.stderr.splitlines()[-3:]]
    return Ran(counts.get("passed", 0), failed, "cuda" if torch.cuda.is_available() else "meta", "\n".join(lines[:6]))


def record_devices(unit: Unit, ran: Ran) -> None:
    """Keep what was found."""
    records.keep(unit, "devices", {"passed": ran.passed, "failed": ran.failed, "device": ran.device})
