"""What a handler gets and gives."""

from collections.abc import Callable
from dataclasses import dataclass

from digitalocean.catalogue import Json

Answer = tuple[int, Json | str | None]
"""A status, and a body: JSON, text, or none."""
Handler = Callable[..., Answer]
Route = tuple[str, str, Handler]
"""A method, a path with its variables, and who answers."""


@dataclass(frozen=True)
class Call:
    """A request's body and query."""

    body: Json
    query: dict[str, str]
