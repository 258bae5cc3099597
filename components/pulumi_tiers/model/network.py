"""Networks of a system and the fixed addresses in them."""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, GetCoreSchemaHandler, model_validator
from pydantic_core import PydanticKnownError, core_schema

from pulumi_tiers.model.base import Flag, Model
from pulumi_tiers.model.errors import reject, reject_all, shown

#: https://www.rfc-editor.org/rfc/rfc1918
_PRIVATE = [
    ipaddress.IPv4Network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
]


def _subnet(value: object) -> object:
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    remedy = "write it like '172.28.0.0/16', with the first address of the network"
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise reject(f"{shown(value)} is not an IPv4 network", remedy) from None
    if not 8 <= network.prefixlen <= 29:
        raise reject(f"{shown(value)} has no useful size", "use a prefix from /8 to /29")
    if str(network) != value:
        raise reject(f"{shown(value)} is not spelled as Docker spells it", f"write '{network}'")
    if not any(network.subnet_of(private) for private in _PRIVATE):
        raise reject(
            f"{value} is not a private network: what lies there could not be reached any more",
            "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16",
        )
    return value


Subnet = Annotated[str, BeforeValidator(_subnet)]
"""A private IPv4 network: ``172.28.0.0/16``."""


class Network(Model):
    """One network of a system. On Kubernetes it says who may speak to whom."""

    #: Docker. Default: the daemon chooses.
    subnet: Subnet | None = None
    #: Docker: the part of it that containers without a fixed address get theirs from. Default: all
    #: of it, so that one may have taken what is another's when that starts again.
    ip_range: Subnet | None = None
    #: No way out of it.
    internal: Flag = False

    @model_validator(mode="after")
    def _consistent(self) -> "Network":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if self.ip_range is None:
            return
        if self.subnet is None:
            yield ("ip_range",), "it is a part of a subnet, and there is none", "give the 'subnet'"
        elif not ipaddress.IPv4Network(self.ip_range).subnet_of(ipaddress.IPv4Network(self.subnet)):
            yield ("ip_range",), f"{self.ip_range} is no part of {self.subnet}", "choose a part"


@dataclass(frozen=True)
class AddressRange:
    """Fixed IPv4 addresses: ``172.28.0.20-172.28.0.29``, or one alone."""

    first: ipaddress.IPv4Address
    last: ipaddress.IPv4Address

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __str__(self) -> str:
        return f"{self.first}" if self.size == 1 else f"{self.first}-{self.last}"

    def __iter__(self) -> Iterator[ipaddress.IPv4Address]:
        return (self.first + offset for offset in range(self.size))

    @classmethod
    def of(cls, first: str, last: str = "") -> "AddressRange":
        """From the addresses as texts. Raises ValueError."""
        return cls(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last or first))

    def moved(self, offset: int) -> "AddressRange":
        """The same range in another subnet of the same size."""
        return AddressRange(self.first + offset, self.last + offset)

    def fits(self, subnet: str) -> bool:
        """Whether all of it may be given to containers: neither ends of the subnet nor gateway."""
        network = ipaddress.IPv4Network(subnet)
        # Docker's own gateway is the first address.
        return self.first > network[1] and self.last < network[-1]

    def overlaps(self, other: "AddressRange") -> bool:
        return self.first <= other.last and other.first <= self.last

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[Any], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _range, serialization=core_schema.to_string_ser_schema()
        )


def _range(value: object) -> AddressRange:
    if isinstance(value, AddressRange):
        return value
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    first, dash, last = value.partition("-")
    try:
        ends = [ipaddress.IPv4Address(end) for end in (first, last if dash else first)]
    except ValueError:
        raise reject(
            f"{shown(value)} are not addresses",
            "write one, '172.28.0.10', or the first and the last, '172.28.0.20-172.28.0.29'",
        ) from None
    found = AddressRange(*ends)
    if found.size < 1:
        raise reject(f"{value} ends before it begins", "exchange the two")
    return found
