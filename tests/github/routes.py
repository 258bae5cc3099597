"""What a handler gets and gives."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

Json: TypeAlias = Any
Answer = tuple[int, Json]
"""A status, and a body; None for none."""
Handler = Callable[..., Answer]
Route = tuple[str, str, Handler]
"""A method, a path with its variables, and who answers."""


@dataclass(frozen=True)
class Call:
    """A request's body and query."""

    body: dict[str, Json]
    query: dict[str, str]
