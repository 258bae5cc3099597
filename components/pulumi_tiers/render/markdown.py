"""Texts as Markdown, in which they mean nothing but themselves."""

import re
from collections.abc import Iterable, Iterator, Sequence

# An underscore within a word means nothing.
_MARKS = re.compile(r"[\\`*<>\[\]|&~$]|(?<![^\W_])_|_(?![^\W_])")


def text(value: object) -> str:
    """The value on one line; a dash for nothing."""
    line = " ".join(str("" if value is None else value).split())
    return _MARKS.sub(lambda match: f"\\{match[0]}", line) or "-"


def table(head: str, rows: Iterable[Sequence[object]], empty: str = "") -> Iterator[str]:
    """A table with the columns of `head` (``Name|Size``); without rows `empty`, or nothing."""
    lines = [f"| {' | '.join(text(cell) for cell in row)} |" for row in rows]
    columns = head.split("|")
    if lines:
        yield "\n".join([f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}", *lines])
    elif empty:
        yield empty


def bullets(lines: Iterable[str]) -> str:
    """A list of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)
