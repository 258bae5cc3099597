"""A system: stores and services that belong together, in one environment."""

import ipaddress
from collections.abc import Iterator

from pydantic import model_validator

from pulumi_tiers.model.base import ContainerPrefix, Flag, Model, Name, Word
from pulumi_tiers.model.edge import Edge
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.errors import reject_all
from pulumi_tiers.model.network import Network, Subnet
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.pipeline import Pipeline
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.workload import Workload

PROFILE_OFF = "its profile is off"
"""Why a stack leaves most of what it leaves out."""


class Target(Word):
    """Where a system runs."""

    DOCKER = "docker"
    KUBERNETES = "kubernetes"
    DIGITALOCEAN = "digitalocean"


class System(Model):
    """One system as its document describes it, for one environment."""

    name: Name
    #: What people call it.
    title: str
    environment: Environment
    #: Docker: what the documented names of its containers begin with (`tiers:names`).
    container_prefix: ContainerPrefix = ""
    #: Namespace on Kubernetes. Default: ``<system>-<environment>``.
    namespace: Name | None = None
    #: Label ``environment`` on Kubernetes, where the document has a word of its own for it.
    environment_label: Name | None = None
    #: What its networks and fixed addresses are parts of: `tiers:subnets` moves all of them.
    subnet: Subnet | None = None
    #: Default: one, which everything is in.
    networks: dict[Name, Network] = {}
    stores: dict[Name, Store] = {}
    services: dict[Name, Workload] = {}
    #: Services that compute with models: they become an MLTier.
    ml: dict[Name, Workload] = {}

    #: The profiles that are chosen where a stack chooses none.
    default_profiles: list[Name] = []
    #: Services that a stack leaves out, and why: mostly `PROFILE_OFF`.
    disabled: dict[Name, str] = {}
    #: What watches it.
    observability: Observability | None = None
    #: What that is made of, once a plan has made it.
    watchers: dict[Name, Workload] = {}
    #: By host name; the first is the one that people come through.
    edges: dict[Name, Edge] = {}
    #: How it is tested, built and delivered. A stack that isn't on GitHub has none.
    pipeline: Pipeline | None = None
    #: Its document demands that clients' connections to the edges are encrypted.
    encrypted: Flag = False

    @model_validator(mode="after")
    def _consistent(self) -> "System":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for name in self.ml:
            if name in self.services:
                yield ("ml", name), f"'{name}' stands in services too", "rename one of them"
        for name, network in self.networks.items():
            if self.subnet and network.subnet:
                whole = ipaddress.IPv4Network(self.subnet)
                if not ipaddress.IPv4Network(network.subnet).subnet_of(whole):
                    why = f"{network.subnet} is no part of {whole}, which is the system's 'subnet'"
                    yield ("networks", name, "subnet"), why, "choose a part of it, or widen it"

    @property
    def workloads(self) -> dict[str, Workload]:
        """All services, and what watches them."""
        return {**self.services, **self.ml, **self.watchers}

    @property
    def public_addresses(self) -> dict[str, Edge]:
        """The references to what clients call an edge, or a store that an edge leads to."""
        found = {f"${{{name}.url}}": edge for name, edge in self.edges.items()}
        for edge in self.edges.values():
            for upstream in edge.upstreams.values():
                if upstream.endpoint in self.stores:
                    found[f"${{{upstream.endpoint}.public}}"] = edge
        return found
