"""What a stack says about DigitalOcean: where, which cluster, which registry."""

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import Flag, Model, PlainText, Whole
from pulumi_tiers.model.errors import reject, reject_all, shown

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

_REGISTRY = re.compile(r"[a-z0-9]([a-z0-9-]{1,61}[a-z0-9])?")


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


def _private_range(value: str) -> str:
    """The range as it is. Raises where it isn't one of private addresses for a VPC."""
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        raise reject(
            f"{shown(value)} is not a range of addresses", "write it like '10.10.0.0/16'"
        ) from None
    if not network.is_private or not 16 <= network.prefixlen <= 28:
        raise reject(
            f"a VPC cannot have the range {value}",
            "choose private addresses, and a size between /16 and /28",
        )
    return value


def _source_range(value: str) -> str:
    try:
        ipaddress.IPv4Network(value)
    except ValueError:
        raise reject(
            f"{shown(value)} is not a range of addresses",
            "write it like '203.0.113.0/24', or '203.0.113.7/32' for one address",
        ) from None
    return value


SourceRange = Annotated[str, AfterValidator(_source_range)]
"""Addresses that may reach a load balancer."""


class Cloud(Model):
    """Everything that all systems of a stack on DigitalOcean share."""

    #: EN-10: cluster and databases must be in one region (documented: NYC1).
    region: Slug = "nyc1"
    #: An existing cluster, such as the documented ``k8s-bootcamp-2``. Default: one is made.
    cluster_id: Annotated[str, AfterValidator(_cluster_id)] | None = None
    #: Its name: DigitalOcean's provider looks clusters up by it.
    cluster_name: Slug | None = None
    #: Default: the newest at creation; DigitalOcean upgrades it in the maintenance window.
    version: Slug = LATEST
    node_size: Slug = "s-2vcpu-4gb"
    nodes: Annotated[Whole, Field(ge=1, le=512)] = 2
    #: DigitalOcean adds nodes up to this many, and removes them again down to `nodes`.
    max_nodes: Annotated[Whole, Field(ge=1, le=512)] | None = None
    #: A control plane on several machines. It can't be switched off again.
    high_availability: Flag = False
    #: Range of the VPC's addresses. Default: DigitalOcean's choice.
    vpc_range: Annotated[str, AfterValidator(_private_range)] | None = None
    #: A container registry of this name is made for the account's one. Default: none.
    registry: Annotated[str, AfterValidator(_registry)] | None = None
    registry_tier: Slug = "basic"
    #: The command that prints a token for the cluster, whose id is added as the last argument.
    credentials: Annotated[list[PlainText], Field(min_length=1)] = CREDENTIALS
    #: Prices of sizes that the table of this library doesn't have: slug → USD a month.
    prices: dict[Slug, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Cloud":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if self.max_nodes is not None and self.max_nodes < self.nodes:
            why = f"max_nodes is {self.max_nodes}, and nodes is {self.nodes}"
            yield ("max_nodes",), why, "give at least as many, or remove it"
        if (self.cluster_id is None) != (self.cluster_name is None):
            missing = "cluster_id" if self.cluster_id is None else "cluster_name"
            why = "an existing cluster is given by its id and its name"
            yield (missing,), why, "copy both from 'doctl kubernetes cluster list'"
        if self.cluster_id is None:
            return
        ours = {"version", "node_size", "nodes", "max_nodes", "high_availability", "vpc_range"}
        for key in sorted(ours & self.model_fields_set):
            why = f"'{key}' is a matter of the existing cluster that cluster_id names"
            yield (key,), why, f"remove '{key}', or 'cluster_id'"
