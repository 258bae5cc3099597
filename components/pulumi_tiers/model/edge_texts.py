"""What the texts of an edge may hold, per kind: nothing leaves the directive it is written into."""

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

from pulumi_tiers.model.errors import reject, shown

_RATE = re.compile(r"([1-9]\d{0,5})r/([sm])", re.ASCII)


def requests_per_minute(rate: str) -> int:
    """``"10r/s"`` as 600. The text is a valid Rate."""
    match = _RATE.fullmatch(rate)
    assert match is not None, rate
    return int(match[1]) * (60 if match[2] == "s" else 1)


def _rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a rate",
            "write it like nginx does: '10r/s', or '30r/m' for less than one in a second",
        )
    return value


Rate = Annotated[str, AfterValidator(_rate)]
"""Requests of one client: ``10r/s``, ``30r/m``."""


_BODY_SIZE = re.compile(r"(0|[1-9]\d{0,8})([kmg]?)", re.ASCII)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def body_bytes(size: str) -> int:
    """``"16m"`` as 16777216. The text is a valid BodySize."""
    match = _BODY_SIZE.fullmatch(size)
    assert match is not None, size
    return int(match[1]) * _UNITS[match[2]]


def _body_size(value: str) -> str:
    if not _BODY_SIZE.fullmatch(value) or body_bytes(value) > 1024**5:
        raise reject(
            f"{shown(value)} is not a size", "write it like nginx does: '512k', '16m', '2g'"
        )
    if body_bytes(value) == 0:
        raise reject(
            "0 would switch the limit off", "give the largest body that a request may have"
        )
    return value


BodySize = Annotated[str, AfterValidator(_body_size)]
"""A size in nginx's spelling: ``512k``, ``16m``, ``2g``."""


def _zone_size(value: str) -> str:
    # nginx reads no "g" there.
    if value.endswith("g") or not 64 * 1024 <= body_bytes(value) <= 1024**3:
        raise reject(
            f"a zone of {value!r} is not useful", "16000 addresses take '1m'; use '64k' to '1024m'"
        )
    return value


ZoneSize = Annotated[BodySize, AfterValidator(_zone_size)]
"""Memory for the addresses of clients."""


_URL_PATH = re.compile(r"/[A-Za-z0-9/._~@:,=+!*()-]*", re.ASCII)


def _location(value: str) -> str:
    if len(value) > 200 or not _URL_PATH.fullmatch(value) or "//" in value:
        raise reject(
            f"{shown(value)} is not the path of a route",
            "begin it with '/', and use letters, digits and /._~@:,=+!*()- only,"
            " as they are without percent-encoding",
        )
    if any(part in {".", ".."} for part in value.split("/")):
        raise reject(f"{shown(value)} holds '.' or '..'", "write the path that it means")
    return value


Location = Annotated[str, AfterValidator(_location)]
"""The beginning of a URL's path, or a whole one."""


def _network(value: str) -> str:
    try:
        # Python reads zones of IPv6 too, "fe80::1%eth0".
        network = ipaddress.ip_network("" if "%" in value else value)
    except ValueError:
        raise reject(
            f"{shown(value)} is not a range of addresses",
            "write it like '203.0.113.0/24', or '203.0.113.7/32' for one address",
        ) from None
    if str(network) != value:
        raise reject(f"{shown(value)} is not spelled as nginx spells it", f"write '{network}'")
    return value


Cidr = Annotated[str, AfterValidator(_network)]
"""A range of addresses: ``203.0.113.0/24``."""


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SERVER_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)


def _server_name(value: str) -> str:
    if len(value) > 253 or not _SERVER_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a host name",
            "write it in lower case, such as 'api.example.com' or '*.example.com'",
        )
    return value


ServerName = Annotated[str, AfterValidator(_server_name)]
"""A host name, or all below one: ``*.example.com``."""


def _host_name(value: str) -> str:
    if value.startswith("*."):
        raise reject(
            f"{shown(value)} is every host below one: nobody can be told it",
            "write the one host name that clients use",
        )
    return _server_name(value)


HostName = Annotated[str, AfterValidator(_host_name)]
"""A host name that stands in a URL."""


def is_address(name: str) -> bool:
    """Whether a ServerName is an address: certificates have a place of their own for these."""
    try:
        return bool(ipaddress.IPv4Address(name))
    except ValueError:
        return False


_ORIGIN = re.compile(rf"https?://{_LABEL}(\.{_LABEL})*(:(?P<port>[1-9]\d{{0,4}}))?", re.ASCII)


def _origin(value: str) -> str:
    if value == "*":
        raise reject("'*' would let every page of the web read the answers", "name the origins")
    match = _ORIGIN.fullmatch(value)
    if len(value) > 253 or not match or int(match["port"] or 1) > 65_535:
        raise reject(
            f"{shown(value)} is not an origin",
            "write scheme and host in lower case, without a path: 'https://app.example.com'",
        )
    return value


Origin = Annotated[str, AfterValidator(_origin)]
"""Where a page comes from: ``https://app.example.com``."""


_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}", re.ASCII)


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the name of a header", "use letters, digits and hyphens"
        )
    if value.lower() in _OWN_HEADERS:
        raise reject(
            f"the header {value} is set by other keys", f"use {_OWN_HEADERS[value.lower()]}"
        )
    return value


_OWN_HEADERS = {
    "strict-transport-security": "'hsts'",
    **{
        f"access-control-{name}": "'cors_origins'"
        for name in (
            "allow-origin",
            "allow-credentials",
            "allow-methods",
            "allow-headers",
            "max-age",
        )
    },
    "x-request-id": "none: each request has its own",
    **dict.fromkeys(
        ("content-type", "date", "server"), "none: with it, nginx's own answers would have two"
    ),
    "content-length": "none: nginx counts",
    "transfer-encoding": "none: nginx decides",
    "connection": "none: nginx decides",
}

HeaderName = Annotated[str, AfterValidator(_header_name)]


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable() or not value.strip():
        raise reject(
            "this is not the value of a header: it is empty, or holds a line break or the like",
            "write it in one line of printable ASCII",
        )
    odd = any(sign in value for sign in "\\$") or value != value.strip() or value[0] == "#"
    if odd or len(value) > 4000:
        raise reject(
            f"{shown(value)} can't be written into nginx's configuration as it is",
            "leave out '\\', '$', a '#' at its beginning and spaces at its ends,"
            " or write an add_header into 'snippets'",
        )
    return value


HeaderValue = Annotated[str, AfterValidator(_header_value)]


#: The buckets of its table have 64 bytes, and no directive changes that.
_LONGEST_MEDIA_TYPE = 46
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,80}", re.ASCII)


def _media_type(value: str) -> str:
    if not _MEDIA_TYPE.fullmatch(value):
        raise reject(f"{shown(value)} is not a media type", "write it like 'application/json'")
    if len(value) > _LONGEST_MEDIA_TYPE:
        raise reject(
            f"{shown(value)} has more than the {_LONGEST_MEDIA_TYPE} characters that nginx takes",
            "leave it out; documents of offices are compressed already",
        )
    return value


MediaType = Annotated[str, AfterValidator(_media_type)]
