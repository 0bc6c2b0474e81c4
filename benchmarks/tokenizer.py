"""How fast the tokenizer encodes, beside Hugging Face's `tokenizers`: MB of UTF-8 for each second of one core.

    python -m benchmarks.tokenizer [--size 4096]

One run, one table. Text is held-out documentation, and Chinese pages that training has not seen. "new words": nothing is in the cache;
"known words": the text once more, so that every word is. Theirs runs in Rust on one thread (TOKENIZERS_PARALLELISM is off) and keeps a
cache too; both give the same ids, which is checked first. CPU seconds, the fastest of several runs.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from reference_impl.data import chinese_prose, python_docs
from reference_impl.text.tokenizer import Tokenizer, byte_alphabet, learn_merges, spelled_words, split_words

REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def theirs_of(ours: Tokenizer) -> Callable[[str], list[int]]:
    """Hugging Face's encoder with the same merges."""
    from tokenizers import Tokenizer as Library
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = byte_alphabet()
    shown = ["".join(alphabet[byte] for byte in token) for token in ours.tokens]
    library = Library(
        BPE({token: id for id, token in enumerate(shown)}, [(shown[left], shown[right]) for left, right in ours.ranks])
    )
    library.pre_tokenizer = ByteLevel(add_prefix_space=False)
    return lambda text: library.encode(text).ids


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Encoding speed beside Hugging Face's tokenizers.")
    parser.add_argument("--size", type=int, default=4096, help="tokens in the vocabulary (default: 4096)")
    size = parser.parse_args().size
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    words = Counter(split_words(python_docs.load("train").text + "\n" + chinese_prose.load("train").text))
    ours = Tokenizer(learn_merges(*spelled_words(words), size - 256))
    theirs = theirs_of(ours)
    table = Table("text", "MB", "new words", "known words", "tokenizers", "ratio, known words", box=None, header_style="bold")
    for name, text in (("documentation", python_docs.load("test").text), ("Chinese", chinese_prose.load("test").text)):
        assert ours.encode(text) == theirs(text), f"the ids of {name} differ from those of tokenizers"
        size_mb, fresh = len(text.encode()) / 1e6, []
        for _ in range(REPEATS):
            ours.words.cache_clear()
            fresh.append(seconds(lambda text=text: ours.encode(text)))  # type: ignore[misc]
        known = min(seconds(lambda text=text: ours.encode(text)) for _ in range(REPEATS))  # type: ignore[misc]
        other = min(seconds(lambda text=text: theirs(text)) for _ in range(REPEATS))  # type: ignore[misc]
        speeds = [f"{size_mb / one:.2f} MB/s" for one in (min(fresh), known, other)]
        table.add_row(name, f"{size_mb:.3f}", *speeds, f"{other / known:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
