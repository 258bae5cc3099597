"""What the API takes from outside."""

from __future__ import annotations

import re
from typing import cast

from werkzeug.exceptions import BadRequest

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def valid_text(body: object, key: str, longest: int) -> str:
    """A text in a request's JSON body."""
    text = _fields(body).get(key)
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= longest:
        raise BadRequest(f'expected JSON: {{"{key}": 1 to {longest} characters}}')
    if not text.strip().isprintable():
        raise BadRequest(f"the {key} has characters that cannot be printed")
    return text.strip()


def valid_number(body: object, key: str, most: float) -> float | None:
    """A number in a request's JSON body that may be left out."""
    number = _fields(body).get(key)
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= most:
        raise BadRequest(f"{key} is a number from 0 to {most}")
    return number


def valid_limit(text: str, most: int) -> int:
    """How many entries a request asks for."""
    # The length first: Python refuses to read numbers of thousands of digits.
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise BadRequest(f"limit is a number from 1 to {most}")
    return int(text)


def valid_name(name: object) -> str:
    """An object's name, which becomes the end of its key."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadRequest("name is 1 to 100 letters, digits, dots, dashes and underscores")
    return name


def field(body: object, key: str) -> object:
    """What a request's JSON body has under a key."""
    return _fields(body).get(key)


def _fields(body: object) -> dict[str, object]:
    return cast("dict[str, object]", body) if isinstance(body, dict) else {}
