"""Whether a killed process loses anything: one that answers flashcards and writes the state is killed at random moments.

    python -m benchmarks.state [--kills 1000] [--seed S]

Each writer answers cards as fast as it can, and says the number of an answer only when it is saved. It is killed (SIGKILL)
within 50 ms of its first; then the file is read. Exit status 1 if it was ever unreadable, or lacked an answer that was said.
"""

import argparse
import os
import random
import secrets
import select
import shutil
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from course.studying.cards import answer
from course.studying.state import Store, Unusable, parse

CARDS = 50


def write_until_killed(store: Store, first: int, said: int) -> None:
    """Answer cards for ever; each answer's number goes to the pipe `said` after it is saved."""
    for number in range(first, sys.maxsize):
        answer(store, f"bench/unit#{number % CARDS}", 1 + number % 4, datetime.fromtimestamp(number, UTC))
        os.write(said, f"{number}\n".encode())


def killed_once(store: Store, first: int, delay: float) -> int:
    """Start a writer, kill it `delay` seconds after its first confirmed answer; the number of its last confirmed one."""
    heard, said = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_until_killed(store, first, said)
        finally:
            os._exit(1)  # only an error ends up here
    os.close(said)
    select.select([heard], [], [], 60)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    text = b""
    while chunk := os.read(heard, 1 << 16):
        text += chunk
    os.close(heard)
    return int(text.split()[-1])


def main() -> None:
    """Print how often the file was readable, and how many confirmed answers were lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = secrets.randbelow(2**31) if options.seed is None else options.seed
    draw = random.Random(seed)
    folder = Path(tempfile.mkdtemp())
    store = Store(folder)
    readable = lost = confirmed = in_time = 0
    first = 1
    for _ in range(options.kills):
        last = killed_once(store, first, draw.uniform(0, 0.05))
        confirmed += last - first + 1
        try:
            state = parse(store.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, Unusable):
            first = last + 1
            continue
        readable += 1
        found = {int(datetime.fromisoformat(moment).timestamp()) for _, _, moment in state.reviews}
        lost += len(set(range(1, last + 1)) - found)
        in_time += max(found, default=0) > last  # saved, but killed before it was said
        first = max([last, *found]) + 1
    shutil.rmtree(folder)
    print(
        f"{options.kills} kills (--seed {seed}): {readable} times readable; {confirmed} answers confirmed, {lost} lost; ", end=""
    )
    print(f"{in_time} times one more was saved than confirmed")
    if readable < options.kills or lost:
        sys.exit(1)


if __name__ == "__main__":
    main()
