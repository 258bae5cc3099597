"""Mistakes of a description: found together, told together."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake: where it stands, what is wrong, and what to do about it."""

    place: str
    why: str
    remedy: str

    def __str__(self) -> str:
        lines = [f"{_printable(self.place)}: {_printable(self.why)}"]
        if self.remedy:
            lines.append(f"    {_printable(self.remedy)}")
        return "\n".join(lines)


class DescriptionError(ValueError):
    """All mistakes of one description. Nothing was created when it is raised."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = sorted(set(mistakes))
        count = len(self.mistakes)
        head = f"{count} mistake{'' if count == 1 else 's'} in the description; nothing was changed"
        super().__init__("\n".join([head, *(f"  {mistake}" for mistake in self.mistakes)]))


def reject(why: str, remedy: str = "") -> PydanticCustomError:
    """The error that a model's validator raises: pydantic adds the place."""
    # The texts travel in the context: as a template, a brace in a user's value would be a format.
    return PydanticCustomError("tiers", "{why}", {"why": why, "remedy": remedy})


def reject_all(mistakes: Iterable[tuple[tuple[str | int, ...], str, str]]) -> None:
    """Raises several of them at once: the place below the model, why, remedy."""
    details = [
        InitErrorDetails(type=reject(why, remedy), loc=place, input=None)
        for place, why, remedy in mistakes
    ]
    if details:
        raise ValidationError.from_exception_data("mistakes", details, hide_input=True)


def nearest(word: str, words: Iterable[str]) -> str:
    """A sentence that names the valid words, the nearest first where one is near."""
    known = sorted(set(words))
    # The time that it takes grows with the square of the length.
    close = difflib.get_close_matches(word[:100], known, n=1)
    listing = ", ".join(known) or "none"
    return f"did you mean '{close[0]}'? valid: {listing}" if close else f"valid: {listing}"


def place_of(parts: Iterable[str | int]) -> str:
    """``("services", "api", "ports", 1)`` as people write it: ``services.api.ports[1]``."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


_REMEDIES = {
    "missing": "add it",
    "bool_type": "write true or false",
    "invalid_key": "write the key as a text",
    "int_type": "write a whole number, without quotes",
    "float_type": "write a number, without quotes",
    "greater_than_equal": "use at least {ge}",
    "less_than_equal": "use at most {le}",
    "string_type": "write a text (in YAML, put it into quotes)",
    "string_unicode": "write it again: it holds half of a character",
    "too_short": "give at least {min_length}",
    "too_long": "give at most {max_length}",
    "string_too_short": "write a text",
    "list_type": "write a list",
    "dict_type": "write a map",
    "model_type": "write a map of its keys",
}
_WHYS = {
    "dict_type": "input should be a map",
    "model_type": "input should be a map",
    "too_short": "the list is empty",
    "too_long": "the list is too long",
    "string_too_short": "the text is empty",
}
"""Where pydantic's own words are not those of a description."""
_SECRET_KEYS = frozenset(
    {"secrets", "secret_files", "password", "passwords", "key", "registry_logins", "variables"}
    | {"webhook_url", "slack", "discord", "secret_values"}
)
"""What stands below them is never repeated, whatever is wrong with it."""


def mistakes_of(error: ValidationError, place: str = "") -> list[Mistake]:
    """What pydantic found, in this library's words."""
    found: list[Mistake] = []
    for entry in error.errors(include_url=False):
        parts = [part for part in entry["loc"] if part != "[key]"]
        if "registry_logins" in parts:
            # A key like ``me:password@ghcr.io``.
            parts = [str(part).rpartition("@")[2] for part in parts]
        where = ": ".join(part for part in (place, place_of(parts)) if part) or error.title
        context = entry.get("ctx", {})
        # A key that stands one line too high or too low; the mode is a word.
        hidden = "tls" in parts and parts[-1] != "mode"
        # JSON that does not parse, with secrets in it.
        broken = parts == ["github"]
        secret = hidden or broken or _SECRET_KEYS.intersection(parts)
        got = "" if secret else f" (got {shown(entry['input'])})"
        if entry["type"] == "tiers":
            found.append(Mistake(where, context["why"], context["remedy"]))
        elif entry["type"] == "enum":
            words = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            remedy = nearest(str(entry["input"]) if got else "", words)
            found.append(Mistake(where, f"this is not one of the valid words{got}", remedy))
        else:
            why = _WHYS.get(entry["type"]) or entry["msg"][0].lower() + entry["msg"][1:]
            remedy = _REMEDIES.get(entry["type"], "correct the value").format(**context)
            found.append(Mistake(where, why if entry["type"] == "missing" else why + got, remedy))
    return found


_TOKEN = re.compile(
    r"gh[oprsu]_\w{20}|github_pat_|do[opr]_v1_|dckr_pat_|pul-[0-9a-f]{40}|AKIA[0-9A-Z]{16}"
    r"|hooks\.slack\.com/|/api/webhooks/|://[^/\s:@]*:[^/\s@]+@"
)
"""What gives itself away: tokens of GitHub, DigitalOcean, Docker, Pulumi, AWS; webhooks; logins."""


def shown(value: object) -> str:
    """A value for a message: short, on one line; of what holds others only what it is."""
    if value is None:
        return "nothing"
    if isinstance(value, str) and "PRIVATE KEY" in value:
        return "a private key"
    if isinstance(value, str) and _TOKEN.search(value):
        return "a token"
    if isinstance(value, str):
        return repr(value) if len(value) <= 80 else f"{value[:77]!r}..."
    # Python itself refuses to write out a number of thousands of digits.
    if isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**80):
        return repr(value)
    if isinstance(value, Mapping):
        return "a map"
    if isinstance(value, (list, tuple, set, frozenset)):
        return "a list"
    return f"a value of type {type(value).__name__}"


def _printable(text: str) -> str:
    """On one line, not endless, and with nothing that a terminal cannot show or would act on."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in (text if len(text) <= 1000 else f"{text[:997]}...")
    )
