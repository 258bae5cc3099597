"""What a platform does for the components. No provider SDK here; one file per target beside it."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict

import pulumi

from pulumi_tiers.component import Component
from pulumi_tiers.model.image import RegistryLogin
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.labels import LABEL_STACK, LABEL_SYSTEM


class ClusterRef(TypedDict):
    """A cluster on DigitalOcean and what is around it: what a Cluster gives to a Site."""

    id: pulumi.Input[str]
    """Id of the cluster."""
    region: pulumi.Input[str]
    """Slug of its region, such as ``nyc1``."""
    vpc: pulumi.Input[str]
    """Id of its VPC."""


class NetworkRef(TypedDict):
    """One of a site's networks."""

    name: NotRequired[pulumi.Input[str]]
    """Docker: its name."""
    subnet: NotRequired[str]
    """Docker: its addresses, where they were given."""
    ip_range: NotRequired[str]
    """Docker: the part of it for containers without a fixed address. Default: all of it."""
    internal: NotRequired[bool]
    """No way out of it. Default: false."""


class SiteRef(TypedDict):
    """Where things go: what a Site gives to the components that are placed in it.

    In other languages it is written there: plain where it decides something, else the Site's
    outputs.
    """

    target: Target
    """docker, kubernetes or digitalocean."""
    name: str
    """``<stack>-<system>``: the beginning of physical names that are not in a namespace."""
    labels: NotRequired[dict[str, str]]
    """Put on everything that is made. Default: the names of stack and system."""
    documented_names: NotRequired[bool]
    """Call containers as the documents do, without the site's name before them."""
    container_prefix: NotRequired[str]
    """What stands before them then."""
    network: NotRequired[pulumi.Input[str]]
    """Docker: the name of the network. With `networks`, what names none is in all of these."""
    networks: NotRequired[dict[str, NetworkRef]]
    """The networks, where there is more than one. Workloads say which they are in."""
    namespace: NotRequired[pulumi.Input[str]]
    """Kubernetes: the name of the namespace."""
    environment: NotRequired[str]
    """Kubernetes: the value of the label ``environment``, by which Services find their pods too."""
    protect: NotRequired[bool]
    """Refuse to delete or replace what holds data. Default: false."""
    collectors: NotRequired[pulumi.Input[str]]
    """Kubernetes: the name of the namespace for what runs on every node."""
    service_monitors: NotRequired[str]
    """Kubernetes: the namespace of a Prometheus that reads ServiceMonitors. Default: none does."""
    pull_secret: NotRequired[pulumi.Input[str]]
    """Kubernetes: the name of the Secret with the logins of image registries."""
    source_ranges: NotRequired[list[str]]
    """Kubernetes: who may reach the load balancers, such as ``203.0.113.0/24``. Default: all."""
    await_load_balancers: NotRequired[bool]
    """Kubernetes: wait until load balancers have an address. Default: true."""
    cluster: NotRequired[ClusterRef]
    """DigitalOcean: the cluster; its databases are placed beside it."""


def placed(site: SiteRef) -> SiteRef:
    """The ref of a Site, made whole where it was written by hand, as in other languages."""
    stack = pulumi.get_stack()
    labels = {LABEL_STACK: stack, LABEL_SYSTEM: site["name"].removeprefix(f"{stack}-")}
    return {"labels": labels, **site, "target": Target(site["target"])}


def system_of(site: SiteRef) -> str:
    """The name of the site's system, as `tiers:secrets` has it."""
    return site.get("labels", {}).get(LABEL_SYSTEM, site["name"])


class EndpointArgs(TypedDict):
    """Where a service or a store is reached inside its site. Plain: names and ports are ours."""

    host: str
    """Host name."""
    ports: list[int]
    """What it listens on; the first is its main one."""
    ready: NotRequired[pulumi.Input[str]]
    """Resolves, to the host, when it is healthy: what to depend on."""


class ConnectionArgs(TypedDict):
    """How one program reaches one database. Texts only, each may be an output."""

    host: pulumi.Input[str]
    """Name or address of the server."""
    port: pulumi.Input[str]
    """Its port."""
    user: pulumi.Input[str]
    """Who connects."""
    database: pulumi.Input[str]
    """Name of the database."""
    password: pulumi.Input[str]
    """The user's password."""
    url: pulumi.Input[str]
    """All of it, as clients take it."""
    ready: pulumi.Input[str]
    """Resolves, to the host, when the store takes connections: what to depend on."""
    dotnet: NotRequired[pulumi.Input[str]]
    """All of it, as SQL Server's clients in .NET take it. Empty for other stores."""
    ca: NotRequired[pulumi.Input[str]]
    """Certificate of who signed the server's, in PEM. Empty where it isn't a private one."""
    engine: NotRequired[pulumi.Input[str]]
    """Which kind of store it is, such as ``redis``."""


@dataclass(frozen=True)
class Running:
    """A workload that was placed."""

    #: Host name in the site's own network.
    host: str
    #: Resolves to nothing once the workload is healthy (or, a job, has succeeded).
    ready: pulumi.Output[list[pulumi.Resource]]
    #: Where people reach it, where it is published.
    urls: Sequence[pulumi.Input[str]] = field(default_factory=list)


@dataclass(frozen=True)
class Server:
    """A store that runs, here or in the cloud."""

    host: pulumi.Input[str]
    port: pulumi.Input[int]
    #: By user: the admin's and everybody's who owns a database or a bucket. Keys too.
    passwords: Mapping[str, pulumi.Output[str]]
    #: As in `Running`.
    ready: pulumi.Output[list[pulumi.Resource]]
    #: Clients must encrypt.
    tls: bool = False
    #: As in `ConnectionArgs`.
    ca: pulumi.Input[str] = ""
    #: What the cloud calls users and buckets, where it gives names of its own.
    users: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    databases: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    #: The members of a replica set. Default: the host alone.
    hosts: Sequence[pulumi.Input[str]] = ()


After = Sequence[pulumi.Output[list[pulumi.Resource]]]
"""What must be ready before."""

JOB_SECONDS = 60 * 60
"""How long a job may take; what depends on it waits."""


class Platform(ABC):
    """How a description becomes resources on one target. They belong to the `owner`."""

    @abstractmethod
    def open(
        self,
        owner: Component,
        ref: SiteRef,
        namespace: str,
        logins: Mapping[str, RegistryLogin],
    ) -> SiteRef:
        """Makes what a system needs around it. Returns the ref with what only it knows."""

    @abstractmethod
    def run(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        after: After,
        *,
        part_of: str = "",
        queue: pulumi.Input[ConnectionArgs] | None = None,
    ) -> Running:
        """Runs a workload. Its values are resolved: no references are left in them.

        `part_of`: the service or store that it helps, and whose image it has. `queue`: how the
        store with its jobs is reached, where their number decides how many replicas there are.
        """

    def peers(self, owner: Component, site: SiteRef, host: str, ports: Sequence[int]) -> str:
        """A host name that resolves to every replica of the workload called `host`."""
        del owner, site, ports
        return host

    def managed(self, owner: Component, site: SiteRef, name: str, store: Store) -> Server:
        """A store that the cloud runs itself, with its users and databases.

        Only called where `limits.is_managed` says so; the store is `Engine.as_managed`.
        """
        del owner, site, store
        raise NotImplementedError(f"this target runs no stores itself: {name}")


def ready(*resources: pulumi.Resource) -> pulumi.Output[list[pulumi.Resource]]:
    """An Output for `After` that resolves when the resources have been made."""
    urns: list[Any] = [resource.urn for resource in resources]
    return pulumi.Output.all(*urns).apply(_nothing)


def depends_on(after: After) -> pulumi.Output[list[pulumi.Resource]] | None:
    """`After` as a resource's depends_on."""
    if not after:
        return None
    return pulumi.Output.all(*after).apply(_nothing)


def digest(value: object) -> pulumi.Output[str]:
    """A few digits that change with the value."""
    text = pulumi.Output.json_dumps(value, sort_keys=True)
    found = text.apply(lambda known: hashlib.sha256(known.encode()).hexdigest()[:10])
    # Names, labels and annotations can be read by all. Ten digits can confirm a guess at a
    # password, no more; generated ones, and those that production accepts, cannot be guessed.
    return pulumi.Output.unsecret(found)


def networks_of(site: SiteRef, workload: Workload) -> dict[str, NetworkRef]:
    """The site's networks that the workload is in, where the site has several."""
    networks = site.get("networks", {})
    return {name: networks[name] for name in workload.networks or networks}


def _nothing(_: Any) -> list[pulumi.Resource]:
    """The value of an Output that is there for its dependencies only."""
    return []
