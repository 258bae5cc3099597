"""What a stack says about DigitalOcean: where, which cluster, which registry."""

import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from pulumi_tiers.model.base import Flag, Model, PlainText, Whole
from pulumi_tiers.model.errors import nearest, reject, reject_all, shown
from pulumi_tiers.prices import GPU_SIZES, NODE_SIZES, REGIONS, REGISTRY_TIERS

LATEST = "latest"
"""The version of a cluster that DigitalOcean chooses, and moves on in its maintenance window."""

CREDENTIALS = ["tiers", "credential"]
"""The command of this library that gets a token for a cluster."""

CREDENTIAL_VERSION = "client.authentication.k8s.io/v1beta1"
"""How the command that gets a token answers: doctl knows no newer one."""

_SLUG = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


def _slug(value: str) -> str:
    if not _SLUG.fullmatch(value):
        raise reject(f"{shown(value)} is not a slug", "write it as 'doctl' lists it")
    return value


Slug = Annotated[str, AfterValidator(_slug)]
"""A word of DigitalOcean's: ``nyc1``, ``s-2vcpu-4gb``, ``1.36.0-do.0``."""


def _region(value: str) -> str:
    if value not in REGIONS:
        raise reject(f"DigitalOcean has no region {shown(value)}", nearest(value, REGIONS))
    return value


Region = Annotated[Slug, AfterValidator(_region)]
"""A region of DigitalOcean."""


_SPACES_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])")
SPACES_NAMING = "use 3 to 63 lower-case letters, digits and hyphens, without a hyphen at either end"


def is_spaces_name(text: str) -> bool:
    """Whether DigitalOcean takes it as the name of a bucket."""
    return _SPACES_NAME.fullmatch(text) is not None


def _spaces_name(value: str) -> str:
    if not is_spaces_name(value):
        raise reject(f"{shown(value)} is not a name for a bucket", SPACES_NAMING)
    return value


SpacesName = Annotated[str, AfterValidator(_spaces_name)]
"""The name of a bucket, which must be free in its whole region."""


def _registry_tier(value: str) -> str:
    if value not in REGISTRY_TIERS:
        raise reject(f"there is no tier {shown(value)}", nearest(value, REGISTRY_TIERS))
    return value


_VERSION = re.compile(r"1\.\d+\.\d+-do\.\d+", re.ASCII)


def _version(value: str) -> str:
    # "1.36" alone would be another word than the one that DigitalOcean answers with: a difference
    # in every run.
    if value != LATEST and not _VERSION.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a version of DigitalOcean's Kubernetes",
            f"write '{LATEST}', or a whole one as 'doctl kubernetes options versions' lists it,"
            " such as '1.36.0-do.0'",
        )
    return value


_REGISTRY = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def _registry(value: str) -> str:
    if not _REGISTRY.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for a registry",
            "use lower-case letters, digits and hyphens; it must be free in all of DigitalOcean",
        )
    return value


_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _cluster_id(value: str) -> str:
    if not _UUID.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the id of a cluster",
            "copy it from 'doctl kubernetes cluster list'",
        )
    return value


def _network(value: str, remedy: str) -> ipaddress.IPv4Network:
    """The range. Raises where it isn't one, or is spelled otherwise than clouds spell it."""
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        network = None
    # Python takes '10.0.0.0', '10.0.0.0/255.255.0.0' and '10.0.0.0/016' too.
    if network is None or str(network) != value:
        raise reject(f"{shown(value)} is not a range of addresses", remedy)
    return network


_PRIVATE = tuple(
    ipaddress.IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)
"""RFC 1918."""

_RESERVED = tuple(
    ipaddress.IPv4Network(text)
    for text in ("10.229.0.0/16", "10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24")
)
"""In all regions: https://docs.digitalocean.com/products/networking/vpc/concepts/plan-your-network/"""


def _private_range(value: str) -> str:
    """The range as it is. Raises where it isn't one of private addresses for a VPC."""
    network = _network(value, "write it like '10.120.0.0/16'")
    private = any(network.subnet_of(range_) for range_ in _PRIVATE)
    if not private or not 16 <= network.prefixlen <= 28:
        raise reject(
            f"a VPC cannot have the range {value}",
            "choose one of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, of a size between /16"
            " and /28",
        )
    for reserved in _RESERVED:
        if network.overlaps(reserved):
            raise reject(
                f"a VPC cannot have the range {value}: {reserved} is reserved by DigitalOcean",
                "choose another, such as '10.120.0.0/16'",
            )
    return value


def _source_range(value: str) -> str:
    _network(value, "write it like '203.0.113.0/24', or '203.0.113.7/32' for one address")
    return value


Price = Annotated[float, Field(strict=True, ge=0, le=1_000_000, allow_inf_nan=False)]
"""USD a month."""

SourceRange = Annotated[str, AfterValidator(_source_range)]
"""Addresses that may reach a load balancer."""


def _command(value: list[str]) -> list[str]:
    if not value[0].strip():
        raise reject("the command is empty", "begin with the name of a program, such as 'doctl'")
    return value


def unknown_size(
    size: str, table: Collection[str], known: Collection[str], prices: str
) -> tuple[str, str] | None:
    """Why, and what to do. A size in no table is a typing error, or newer than this library.

    `prices`: the name of the key that holds `known`.
    """
    if size in table or size in known:
        return None
    close = nearest(size, table).partition("valid:")[0]
    why = f"this library knows no size {shown(size)}"
    return why, f"{close}if DigitalOcean has it, give its price in {prices}"


class GpuPool(Model):
    """Nodes with NVIDIA GPUs, beside the others. DigitalOcean adds and removes them."""

    size: Slug = "gpu-4000adax1-20gb"
    #: 0: none while nobody asks for a GPU.
    min_nodes: Annotated[Whole, Field(ge=0, le=512)] = 0
    #: Default: as many as everything in the stack that computes on GPUs needs at a time.
    max_nodes: Annotated[Whole, Field(ge=1, le=512)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "GpuPool":
        if self.max_nodes is not None and self.max_nodes < self.min_nodes:
            why = f"max_nodes is {self.max_nodes}, and min_nodes is {self.min_nodes}"
            reject_all([(("max_nodes",), why, "give at least as many, or remove it")])
        return self

    @property
    def gpus(self) -> int:
        """How many each node has."""
        found = _GPUS.search(self.size)
        return int(found[1]) if found else 1


_GPUS = re.compile(r"x(\d+)-\d+gb")
"""In the slug of a size: ``gpu-h100x8-640gb``."""

_OF_A_NEW_CLUSTER = (
    "region",
    "version",
    "node_size",
    "nodes",
    "max_nodes",
    "gpu",
    "high_availability",
    "vpc_range",
    "registry",
    "registry_tier",
)
"""Keys that mean nothing beside an existing cluster."""


class Cloud(Model):
    """Everything that all systems of a stack on DigitalOcean share."""

    #: EN-10: cluster and databases must be in one region (documented: NYC1).
    region: Region = "nyc1"
    #: An existing cluster, such as the documented ``k8s-bootcamp-2``. Default: one is made.
    cluster_id: Annotated[str, AfterValidator(_cluster_id)] | None = None
    #: Its name: DigitalOcean's provider looks clusters up by it.
    cluster_name: Slug | None = None
    #: Default: the newest at creation; DigitalOcean upgrades it in the maintenance window.
    version: Annotated[str, AfterValidator(_version)] = LATEST
    #: Prices of sizes that the table of this library doesn't have: slug → USD a month.
    prices: dict[Slug, Price] = {}
    #: After the prices: a size that has one is known.
    node_size: Slug = "s-2vcpu-4gb"
    nodes: Annotated[Whole, Field(ge=1, le=512)] = 2
    #: DigitalOcean adds nodes up to this many, and removes them again down to `nodes`.
    max_nodes: Annotated[Whole, Field(ge=1, le=512)] | None = None
    #: Made only where something of the stack computes on GPUs.
    gpu: GpuPool | None = None
    #: A control plane on several machines. It can't be switched off again.
    high_availability: Flag = False
    #: Range of the VPC's addresses. Default: DigitalOcean's choice.
    vpc_range: Annotated[str, AfterValidator(_private_range)] | None = None
    #: A container registry of this name is made for the account's one. Default: none.
    registry: Annotated[str, AfterValidator(_registry)] | None = None
    registry_tier: Annotated[Slug, AfterValidator(_registry_tier)] = "basic"
    #: The command that prints a token for the cluster, whose id is added as the last argument.
    credentials: Annotated[list[PlainText], Field(min_length=1), AfterValidator(_command)] = (
        CREDENTIALS
    )

    @field_validator("node_size")
    @classmethod
    def _known_size(cls, value: str, info: ValidationInfo) -> str:
        # Wrong prices are told, and aren't there.
        prices = info.data.get("prices")
        unknown = prices is not None and unknown_size(value, NODE_SIZES, prices, "'prices'")
        if unknown:
            raise reject(*unknown)
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Cloud":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if self.max_nodes is not None and self.max_nodes < self.nodes:
            why = f"max_nodes is {self.max_nodes}, and nodes is {self.nodes}"
            yield ("max_nodes",), why, "give at least as many, or remove it"
        if self.gpu:
            size, known = self.gpu.size, self.prices
            if unknown := unknown_size(size, GPU_SIZES, known, "'prices'"):
                yield ("gpu", "size"), *unknown
        if (self.cluster_id is None) != (self.cluster_name is None):
            missing = "cluster_id" if self.cluster_id is None else "cluster_name"
            why = "an existing cluster is given by its id and its name"
            yield (missing,), why, "copy both from 'doctl kubernetes cluster list'"
        if self.cluster_id is None and self.cluster_name is None:
            return
        for key in _OF_A_NEW_CLUSTER:
            if key in self.model_fields_set:
                why = f"'{key}' is a matter of the existing cluster"
                yield (key,), why, f"remove '{key}', or 'cluster_id' and 'cluster_name'"
