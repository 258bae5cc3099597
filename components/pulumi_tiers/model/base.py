"""What every part of a description is made of: strict, frozen models and a few kinds of text."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Protocol, Self, runtime_checkable

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from pulumi_tiers.model.errors import nearest, reject


@runtime_checkable
class Deferred(Protocol):
    """A value that is known later: a Pulumi Output, without importing Pulumi here."""

    def apply(self, func: Callable[[Any], Any], /) -> Any: ...


class Model(BaseModel):
    """A part of a description: unknown keys are mistakes, and nothing changes afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Makes pydantic's "extra inputs are not permitted" name the nearest valid key."""
        try:
            return handler(value)
        except ValidationError as error:
            details = [
                _reworded(entry, cls.model_fields) for entry in error.errors(include_url=False)
            ]
        raise ValidationError.from_exception_data(cls.__name__, details)


def _reworded(entry: ErrorDetails, fields: Iterable[str]) -> InitErrorDetails:
    kind: str | PydanticCustomError = entry["type"]
    context = entry.get("ctx", {})
    if kind == "extra_forbidden" and len(entry["loc"]) == 1:
        key = str(entry["loc"][0])
        kind = reject(f"there is no key '{key}' here", nearest(key, fields))
    elif kind == "tiers":
        kind = reject(context["why"], context["remedy"])
    return InitErrorDetails(type=kind, loc=entry["loc"], input=entry["input"], ctx=context)


def _text(value: object) -> object:
    if isinstance(value, str):
        if "\0" in value:
            raise reject("a text cannot hold a NUL character", "remove it")
        return value
    if isinstance(value, Deferred):
        return value
    raise reject(f"{value!r} is not a text", "write it in quotes: every value here is a text")


Text = Annotated[Any, PlainValidator(_text)]
"""A str, or an Output of one (a `Deferred`); ``${store.field}`` in it refers to a store (see references)."""


_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
RESERVED_NAMES = frozenset(
    {"localhost", "host", "gateway", "default", "kubernetes", "tiers", "secret"}
)


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise reject(
            f"{value!r} is not a valid name",
            "use lower-case letters, digits and hyphens, starting with a letter and not ending in a hyphen",
        )
    if len(value) > 40:
        raise reject(f"the name '{value}' has {len(value)} characters", "use at most 40")
    if value in RESERVED_NAMES:
        raise reject(f"the name '{value}' is reserved", "choose another; it would hide a host name")
    return value


Name = Annotated[str, AfterValidator(_name)]
"""A DNS label: it becomes a host name, a container's name and a Kubernetes object's name."""


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def seconds(duration: str) -> float:
    """``"1m30s"`` as 90.0. The text is a valid Duration."""
    match = _DURATION.fullmatch(duration)
    assert match is not None, duration
    hours, minutes, secs, millis = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + secs + millis / 1000


def _duration(value: str) -> str:
    if not value or not _DURATION.fullmatch(value):
        raise reject(
            f"{value!r} is not a duration", "write it like Compose does: '30s', '1m30s', '500ms'"
        )
    return value


Duration = Annotated[str, AfterValidator(_duration)]
"""A duration in Compose's spelling: ``500ms``, ``30s``, ``1m30s``."""


_SIZE = re.compile(r"([1-9]\d*)([bkmg])b?", re.IGNORECASE)
_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def size_in_bytes(size: str) -> int:
    """``"512m"`` as 536870912. The text is a valid MemorySize."""
    match = _SIZE.fullmatch(size)
    assert match is not None, size
    return int(match[1]) * _UNITS[match[2].lower()]


def _memory(value: str) -> str:
    if not _SIZE.fullmatch(value):
        raise reject(f"{value!r} is not a memory size", "write it like Compose does: '64m', '1g'")
    # Docker refuses less than 6 MiB.
    if size_in_bytes(value) < 6 * 1024**2:
        raise reject(
            f"a memory limit of {value!r} is too small to run anything", "give at least '6m'"
        )
    return value


MemorySize = Annotated[str, AfterValidator(_memory)]
"""A memory size in Compose's spelling: ``64m``, ``1g``."""


_QUANTITY = re.compile(r"[1-9]\d*(Mi|Gi|Ti)")


def _quantity(value: str) -> str:
    if not _QUANTITY.fullmatch(value):
        raise reject(f"{value!r} is not a storage size", "write it like Kubernetes does: '10Gi'")
    return value


StorageSize = Annotated[str, AfterValidator(_quantity)]
"""The size of a volume in Kubernetes' spelling: ``10Gi``. Docker's volumes have no size."""


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise reject(
            f"{value!r} is not a name for an environment variable",
            "use letters, digits and underscores",
        )
    return value


Variable = Annotated[str, AfterValidator(_variable)]


def _absolute(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or ":" in value or "," in value:
        raise reject(
            f"{value!r} is not an absolute path",
            "write the whole path, such as '/data', without '..'",
        )
    return value


AbsolutePath = Annotated[str, AfterValidator(_absolute)]


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise reject(f"{value} is not a port", "use 1 to 65535")
    return value


PortNumber = Annotated[int, AfterValidator(_port)]
