"""The first lines of generated files: with a checksum, by which a later edit is seen."""

import hashlib
import re

_MADE = (
    "# Made by tiers from the system's description: change that. An edit here is noticed by its\n"
    "# checksum, and never overwritten without a word. sha256:"
)
_SEAL = re.compile(rf"{re.escape(_MADE)}(?P<sum>[0-9a-f]{{64}})\n")


def sealed(text: str) -> str:
    """The text of a file below the comment lines that hold its checksum."""
    return f"{_MADE}{_checksum(text)}\n{text}"


def is_edited(text: str) -> bool:
    """Whether a file is not what `sealed` made: changed since, or never made by it.

    Line endings and the last line's end don't count: git and editors change them by themselves.
    """
    lines = _lines(text)
    seal = _SEAL.match(lines)
    return seal is None or seal["sum"] != _checksum(lines[seal.end() :])


def is_same(one: str, other: str) -> bool:
    """Whether two files say the same, but for their line endings."""
    return _checksum(one) == _checksum(other)


def _checksum(text: str) -> str:
    return hashlib.sha256(_lines(text).rstrip("\n").encode()).hexdigest()


def _lines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
