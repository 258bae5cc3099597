"""References to stores inside environment values: ``${postgres.url}``.

``${STORE.FIELD}`` is the connection of the store's first database, ``${STORE.DATABASE.FIELD}`` that
of a named one. ``$$`` is a dollar sign, as in Compose. Everything else stays as it is.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

FIELDS = ("host", "port", "user", "database", "password", "url", "dotnet", "ca")
GENERATED = "secret"
"""``${secret.NAME}`` is a secret of the system's own: generated, or set in `tiers:secrets`."""
CONCURRENCY = "${concurrency}"
"""In a command or an environment: the workload's own number of jobs at a time."""
SECRET_FIELDS = frozenset({"password", "url", "dotnet"})

_REFERENCE = re.compile(r"\$(?:(\$)|\{([^}]*)\})")


@dataclass(frozen=True)
class Reference:
    """One reference. `connection` is the key in a DataTier's connections."""

    text: str
    store: str
    connection: str
    field: str

    @property
    def secret(self) -> bool:
        return self.store == GENERATED or self.field in SECRET_FIELDS


def _reference(inner: str) -> Reference | None:
    parts = inner.split(".")
    if len(parts) not in (2, 3) or not all(parts):
        return None
    return Reference(inner, parts[0], ".".join(parts[:-1]), parts[-1])


def references(text: str) -> list[Reference]:
    """The references in a text, in their order. A malformed one has an empty store."""
    found: list[Reference] = []
    for match in _REFERENCE.finditer(text):
        if match[2] is not None:
            found.append(_reference(match[2]) or Reference(match[2], "", "", ""))
    return found


def literal(text: str) -> str:
    """The text written so that it means itself: nothing in it is a reference."""
    return text.replace("$", "$$")


def substitute(text: str, value: Callable[[Reference], str]) -> str:
    """The text with every reference replaced by what `value` says. The references are valid."""

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        reference = _reference(match[2])
        assert reference is not None, match[0]
        return value(reference)

    return _REFERENCE.sub(replace, text)
