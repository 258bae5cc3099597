"""What the parts of nginx's configuration share: where it runs, and how directives are written."""

from dataclasses import dataclass, field

from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.nginx_syntax import Directive

LOGS = "/var/log/nginx"
HEALTH = "/healthz"
"""Answered on `Ports.status`."""


@dataclass(frozen=True)
class Ports:
    """What nginx listens on. No number needs root."""

    http: int = 8080
    https: int = 8443
    #: Health and nginx's own numbers; without PROXY protocol.
    status: int = 8081


@dataclass(frozen=True)
class Facts:
    """What the description of an edge doesn't say: where it runs."""

    #: Connections begin with the client's address, as load balancers write it.
    proxy_protocol: bool = False
    #: Where people reach the port with TLS.
    https_port: int = 443
    ports: Ports = field(default_factory=Ports)


@dataclass(frozen=True)
class Address:
    """Where an upstream is: a name with any number of addresses, and a port."""

    host: str
    port: int


def d(name: str, *arguments: object) -> Directive:
    """A directive: ``name arguments;``."""
    return Directive(name, tuple(str(argument) for argument in arguments))


def block(name: str, arguments: tuple[str, ...], *inner: Directive) -> Directive:
    """One with a block: ``name arguments { inner }``."""
    return Directive(name, arguments, inner)


def time(duration: str) -> str:
    """A duration as nginx spells it: ``90s``, ``1500ms``."""
    whole = seconds(duration)
    return f"{whole:.0f}s" if whole == int(whole) else f"{whole * 1000:.0f}ms"


class Map:
    """``map source variable { ... }``."""

    def __init__(self, source: str, variable: str) -> None:
        self.head = (source, variable)
        self.rows: list[Directive] = []

    def row(self, key: str, value: str) -> "Map":
        self.rows.append(d(key, value))
        return self

    def directive(self) -> Directive:
        return Directive("map", self.head, tuple(self.rows))
