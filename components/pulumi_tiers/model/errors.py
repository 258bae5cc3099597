"""Mistakes of a description: found together, told together."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError
from pydantic_core import PydanticCustomError


@dataclass(frozen=True, order=True)
class Mistake:
    """One mistake: where it stands, what is wrong, and what to do about it."""

    place: str
    why: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.why}\n    {self.remedy}" if self.remedy else str(self.why)


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


def nearest(word: str, words: Iterable[str]) -> str:
    """A sentence that names the valid words, the nearest first where one is near."""
    known = sorted(words)
    close = difflib.get_close_matches(word, known, n=1)
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
    "bool_parsing": "write true or false",
    "int_type": "write a whole number",
    "int_parsing": "write a whole number",
    "int_from_float": "write a whole number",
    "string_type": "write a text (in YAML, put it into quotes)",
    "list_type": "write a list",
    "dict_type": "write a map",
    "model_type": "write a map of its keys",
}


def mistakes_of(error: ValidationError, place: str = "") -> list[Mistake]:
    """What pydantic found, in this library's words."""
    found: list[Mistake] = []
    for entry in error.errors(include_url=False):
        parts = [part for part in entry["loc"] if part != "[key]"]
        where = ": ".join(part for part in (place, place_of(parts)) if part)
        context = entry.get("ctx", {})
        if entry["type"] == "tiers":
            found.append(Mistake(where, context["why"], context["remedy"]))
        elif entry["type"] == "enum":
            words = str(context["expected"]).replace("'", "").replace(" or ", ", ").split(", ")
            found.append(
                Mistake(
                    where,
                    f"{entry['input']!r} is not valid here",
                    nearest(str(entry["input"]), words),
                )
            )
        else:
            why = entry["msg"][0].lower() + entry["msg"][1:]
            if entry["type"] != "missing":
                why += f" (got {_shortened(entry['input'])})"
            found.append(Mistake(where, why, _REMEDIES.get(entry["type"], "correct the value")))
    return found


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
