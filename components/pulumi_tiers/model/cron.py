"""Schedules in cron's five fields, as Kubernetes and GitHub take them."""

import re
from typing import Annotated

from pydantic import AfterValidator

from pulumi_tiers.model.errors import reject, shown

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_FIELDS: list[tuple[str, int, int, list[str]]] = [
    ("minute", 0, 59, []),
    ("hour", 0, 23, []),
    ("day of the month", 1, 31, []),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
]
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d{1,4}))?", re.ASCII)


def _number(text: str, lowest: int, names: list[str]) -> int:
    return names.index(text.lower()) + lowest if text.lower() in names else int(text)


def _check_field(field: str, word: str, lowest: int, highest: int, names: list[str]) -> str | None:
    """Why it is no such field of a schedule; None: it is one."""
    for part in field.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            return f"'{part}' is no {word}"
        try:
            ends = [_number(end, lowest, names) for end in match.groups()[:2] if end]
        except ValueError:
            return f"'{part}' is no {word}"
        if any(not lowest <= end <= highest for end in ends) or ends != sorted(ends):
            return f"'{part}' is no {word}: it goes from {lowest} to {highest}"
        if match[3] is not None and not 1 <= int(match[3]) <= highest:
            return f"'{part}' has steps of {match[3]}"
    return None


def _cron(value: str) -> str:
    remedy = "write five fields: minute, hour, day, month, day of the week, such as '30 3 * * 1'"
    fields = value.split()
    if len(value) > 200 or len(fields) != len(_FIELDS) or value != " ".join(fields):
        raise reject(f"{shown(value)} is not a schedule of cron", remedy)
    for field, (word, lowest, highest, names) in zip(fields, _FIELDS, strict=True):
        if why := _check_field(field, word, lowest, highest, names):
            raise reject(f"{shown(value)} is not a schedule of cron: {why}", remedy)
    return value


Cron = Annotated[str, AfterValidator(_cron)]
"""A schedule: ``30 3 * * 1`` is Monday at 3:30, in UTC."""
