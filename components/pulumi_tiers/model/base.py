"""What every part of a description is made of: strict, frozen models and a few kinds of text."""

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import Annotated, Any, Protocol, Self, runtime_checkable

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ModelWrapValidatorHandler,
    PlainValidator,
    ValidationError,
    model_validator,
)
from pydantic_core import (
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    core_schema,
)

from pulumi_tiers.model.errors import nearest, reject, shown


@runtime_checkable
class Deferred(Protocol):
    """A value that is known later: a Pulumi Output, without importing Pulumi here."""

    def apply(self, func: Callable[[Any], Any], /) -> Any: ...


class Model(BaseModel):
    """A part of a description: unknown keys are mistakes, and nothing changes afterwards."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        # The values may be passwords.
        hide_input_in_errors=True,
    )

    @model_validator(mode="wrap")
    @classmethod
    def _name_unknown_keys(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Makes pydantic's "extra inputs are not permitted" name the nearest valid key."""
        try:
            return handler(value)
        except ValidationError as error:
            # As they are written: `await`, which in Python is `await_`.
            keys = [field.alias or name for name, field in cls.model_fields.items()]
            details = [_reworded(entry, keys) for entry in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(cls.__name__, details, hide_input=True)


def _reworded(entry: ErrorDetails, fields: Iterable[str]) -> InitErrorDetails:
    kind: str | PydanticCustomError = entry["type"]
    context = entry.get("ctx", {})
    if kind == "extra_forbidden" and len(entry["loc"]) == 1:
        key = str(entry["loc"][0])
        kind = reject(f"there is no key '{key}' here", nearest(key, fields))
    elif kind == "tiers":
        kind = reject(context["why"], context["remedy"])
    return InitErrorDetails(type=kind, loc=entry["loc"], input=entry["input"], ctx=context)


LONGEST_TEXT = 120_000
"""Bytes. Linux gives a program at most 131072 in one argument or variable, its name included."""


def _plain_text(value: str) -> str:
    if "\0" in value:
        raise reject("a text cannot hold a NUL character", "remove it")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise reject("this text holds half of a character", "write it again") from None
    if size > LONGEST_TEXT:
        raise reject(
            f"this text has {size} bytes, more than Linux gives to a program in one piece",
            f"keep it below {LONGEST_TEXT}, or put it into the image",
        )
    return value


PlainText = Annotated[str, AfterValidator(_plain_text)]
"""A str that can be given to a program."""


def _text(value: object) -> object:
    if isinstance(value, str):
        return _plain_text(value)
    if isinstance(value, Deferred):
        return value
    raise PydanticKnownError("string_type")


Text = Annotated[Any, PlainValidator(_text)]
"""A str, or an Output of one (a `Deferred`). ``${store.field}`` in it refers to a store."""


def _word(value: object) -> object:
    if isinstance(value, str):
        return value
    raise PydanticKnownError("string_type")


class Word(StrEnum):
    """One of a few words. In YAML, ``no`` is a word only if it stands in quotes."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        # An Enum writes out whatever it refuses, and not everything can be written out.
        return core_schema.no_info_before_validator_function(_word, handler(source))


def _from_other_languages(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, Field(strict=True), BeforeValidator(_from_other_languages)]
"""A whole number: no text of one, no truth value. Plugins are given every number as a float."""


Flag = Annotated[bool, Field(strict=True)]
"""True or false: no ``"yes"``, no 1."""


_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
RESERVED_NAMES = frozenset(
    {"localhost", "host", "gateway", "default", "kubernetes", "tiers", "secret"}
    # Objects that a Site makes on Kubernetes.
    | {"default-deny", "allow-internal", "registries"}
)


def _name(value: str, longest: int) -> str:
    if len(value) > longest:
        raise reject(f"{shown(value)} has {len(value)} characters", f"use at most {longest}")
    if not _NAME.fullmatch(value):
        raise reject(
            f"{value!r} is not a valid name",
            "use lower-case letters, digits and hyphens,"
            " starting with a letter and not ending in a hyphen",
        )
    if value in RESERVED_NAMES:
        raise reject(
            f"the name '{value}' is reserved",
            "choose another: a host or an object is called so already",
        )
    return value


Name = Annotated[str, AfterValidator(partial(_name, longest=40))]
"""A DNS label: it becomes a host name, a container's name and a Kubernetes object's name."""

LONGEST_NAME = 50

LongName = Annotated[str, AfterValidator(partial(_name, longest=LONGEST_NAME))]
"""The same with room for a suffix: the name of what belongs to something that has a Name."""


def _prefix(value: str) -> str:
    if len(value) > 40 or not re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_.-]*)?", value):
        raise reject(
            f"{shown(value)} cannot be the beginning of a container's name",
            "use at most 40 letters, digits and _ . -, starting with a letter or a digit",
        )
    return value


ContainerPrefix = Annotated[str, AfterValidator(_prefix)]
"""What the names of containers on Docker begin with; it may be empty."""


LONGEST_LABEL = 63
"""Characters of a DNS label: what Kubernetes and DigitalOcean allow in most names."""

_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_LABEL_PREFIX = re.compile(rf"{_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")


def is_dns_label(text: str) -> bool:
    """Whether Kubernetes and DigitalOcean take it as a name."""
    return len(text) <= LONGEST_LABEL and _DNS_LABEL.fullmatch(text) is not None


def is_label_value(text: str) -> bool:
    """Whether Kubernetes takes it as the value of a label. One may be empty."""
    return not text or (len(text) <= LONGEST_LABEL and _LABEL_VALUE.fullmatch(text) is not None)


def _dns_label(value: str) -> str:
    if not is_dns_label(value):
        raise reject(
            f"{shown(value)} is not a name that Kubernetes takes",
            "use at most 63 lower-case letters, digits and hyphens, with no hyphen at an end",
        )
    return value


DnsLabel = Annotated[str, AfterValidator(_dns_label)]
"""The name of an object on Kubernetes."""


def _label_value(value: str) -> str:
    if not is_label_value(value):
        raise reject(
            f"{shown(value)} is not a label's value",
            "use at most 63 letters, digits, '-', '_' and '.',"
            " beginning and ending with a letter or a digit",
        )
    return value


LabelValue = Annotated[str, AfterValidator(_label_value)]
"""The value of a label, as Kubernetes has it. It may be empty."""


def _label_key(value: str) -> str:
    prefix, slash, name = value.rpartition("/")
    right = bool(name) and is_label_value(name)
    if slash:
        right = right and len(prefix) <= 253 and _LABEL_PREFIX.fullmatch(prefix) is not None
    if not right:
        raise reject(
            f"{shown(value)} is not a label's key",
            "write it like 'team' or 'example.com/team': at most 63 letters, digits,"
            " '-', '_' and '.' after the '/'",
        )
    return value


LabelKey = Annotated[str, AfterValidator(_label_key)]
"""The key of a label, as Kubernetes has it."""


_DURATION = re.compile(r"(?=.)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_DAY = 86400


def seconds(duration: str) -> float:
    """``"1m30s"`` as 90.0. The text is a valid Duration."""
    match = _DURATION.fullmatch(duration)
    assert match is not None, duration
    hours, minutes, secs, millis = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + secs + millis / 1000


def _duration(value: str) -> str:
    if len(value) > 20 or not _DURATION.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a duration",
            "write it like Compose does: '30s', '1m30s', '500ms'",
        )
    if seconds(value) > _DAY:
        raise reject(f"{value!r} is longer than a day", "use at most '24h'")
    return value


Duration = Annotated[str, AfterValidator(_duration)]
"""A duration in Compose's spelling: ``500ms``, ``30s``, ``1m30s``."""


_SIZE = re.compile(r"([1-9]\d{0,14})(b|[kmg]b?)", re.IGNORECASE | re.ASCII)
_UNITS = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def size_in_bytes(size: str) -> int:
    """``"512m"`` as 536870912. The text is a valid MemorySize."""
    match = _SIZE.fullmatch(size)
    assert match is not None, size
    return int(match[1]) * _UNITS[match[2][0].lower()]


def _memory(value: str) -> str:
    if not _SIZE.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a memory size", "write it like Compose does: '64m', '1g'"
        )
    # Docker refuses less than 6 MiB.
    if size_in_bytes(value) < 6 * 1024**2:
        raise reject(
            f"a memory limit of {value!r} is too small to run anything", "give at least '6m'"
        )
    if size_in_bytes(value) > 1024**5:
        raise reject(f"no machine has {value!r} of memory", "give at most '1048576g'")
    return value


MemorySize = Annotated[str, AfterValidator(_memory)]
"""A memory size in Compose's spelling: ``64m``, ``1g``."""


_QUANTITY = re.compile(r"[1-9]\d{0,5}(Mi|Gi|Ti)", re.ASCII)


def _quantity(value: str) -> str:
    if not _QUANTITY.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a storage size", "write it like Kubernetes does: '10Gi'"
        )
    return value


StorageSize = Annotated[str, AfterValidator(_quantity)]
"""The size of a volume in Kubernetes' spelling: ``10Gi``. Docker's volumes have no size."""


_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for an environment variable",
            "use letters, digits and underscores, not starting with a digit",
        )
    return value


Variable = Annotated[str, AfterValidator(_variable)]


_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[^/:,]+)+")


def _absolute(value: str) -> str:
    # One spelling per path, so that two of the same are seen.
    if len(value) > 1000 or not value.isprintable() or not _PATH.fullmatch(value):
        raise reject(
            f"{shown(value)} is not an absolute path",
            "write the whole path, such as '/data', without '..', ':', ',' or a '/' at its end",
        )
    if f"{value}/".startswith("/proc/"):
        raise reject(f"{shown(value)} is the kernel's: no container starts so", "choose another")
    return value


AbsolutePath = Annotated[str, AfterValidator(_absolute)]


_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


def _file_name(value: str) -> str:
    if not _FILE_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for a file",
            "use at most 63 letters, digits, '_', '-' and '.', not beginning with '-' or '.'",
        )
    return value


FileName = Annotated[str, AfterValidator(_file_name)]
"""The name of a file, without any folder."""


def _port(value: int) -> int:
    if not 1 <= value <= 65535:
        raise reject(f"{shown(value)} is not a port", "use 1 to 65535")
    return value


PortNumber = Annotated[Whole, AfterValidator(_port)]
