"""Markdown as the course writes it."""

from collections.abc import Collection, Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()) -> list[str]:
    """The lines of a table; the columns whose heads are in `right` are set flush right. No cell may hold a bare `|`."""
    rules = ["---:" if head in right else "---" for head in header]
    return ["| " + " | ".join(map(str, header)) + " |", f"|{'|'.join(rules)}|"] + [
        "| " + " | ".join(map(str, row)) + " |" for row in rows
    ]
