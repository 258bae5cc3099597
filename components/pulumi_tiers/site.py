"""Site: the place of one system — a network on Docker, a namespace on Kubernetes."""

from collections.abc import Iterator
from typing import Annotated, NotRequired, TypedDict, cast

import pulumi
from pulumi.runtime import config
from pydantic import AfterValidator, TypeAdapter, ValidationError

from pulumi_tiers.collisions import check_subnets
from pulumi_tiers.component import Component, check_provider, refuse, validated
from pulumi_tiers.limits import check_logins
from pulumi_tiers.model.base import (
    LONGEST_LABEL,
    ContainerPrefix,
    DnsLabel,
    Flag,
    LabelKey,
    LabelValue,
    Model,
    Name,
    is_dns_label,
    is_label_value,
)
from pulumi_tiers.model.cloud import SourceRange
from pulumi_tiers.model.errors import Mistake, mistakes_of, reject, shown
from pulumi_tiers.model.image import Registry, RegistryLogin
from pulumi_tiers.model.network import Network
from pulumi_tiers.model.place import ClusterPlace
from pulumi_tiers.model.system import Target
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import ClusterRef, NetworkRef, SiteRef
from pulumi_tiers.platforms.labels import LABEL_OWNER, LABEL_STACK, LABEL_SYSTEM

COLLECTORS = "-collectors"
"""The end of the name of the namespace beside the system's: what runs on every node is there."""


class RegistryLoginArgs(TypedDict):
    """Who pulls from a private registry."""

    username: str
    """The user."""
    password: pulumi.Input[str]
    """The password, better a token that can do nothing but pull."""


class NetworkArgs(TypedDict):
    """One of a site's networks."""

    subnet: NotRequired[str]
    """Docker: its addresses, such as ``172.28.0.0/16``. Default: the daemon chooses."""
    ip_range: NotRequired[str]
    """Docker: the part of it for containers without a fixed address. Default: all of it."""
    internal: NotRequired[bool]
    """No way out of it. Default: false."""


class SiteArgs(TypedDict):
    """Arguments of Site."""

    target: NotRequired[Target]
    """Where: docker (default), kubernetes or digitalocean."""
    system: NotRequired[str]
    """What the system is called. Default: the component's name."""
    namespace: NotRequired[str]
    """Name of the Kubernetes namespace. Default: ``<stack>-<system>``."""
    environment: NotRequired[str]
    """Kubernetes: value of the label ``environment`` of every workload. Default: no such label."""
    labels: NotRequired[dict[str, str]]
    """Labels for everything in the site."""
    documented_names: NotRequired[bool]
    """Docker: call containers as they are described, without ``<stack>-<system>-`` before it."""
    container_prefix: NotRequired[str]
    """Docker: what containers' names begin with where `documented_names` is set: ``pigmeu-``."""
    networks: NotRequired[dict[str, NetworkArgs]]
    """Networks by name; workloads say which they are in. Default: one, which all are in."""
    protect: NotRequired[bool]
    """Refuse to delete or replace what holds data, until this is false again. Default: false."""
    registry_logins: NotRequired[dict[str, RegistryLoginArgs]]
    """Kubernetes: who pulls from private registries, by host (``docker.io``)."""
    source_ranges: NotRequired[list[str]]
    """Kubernetes: who may reach the load balancers, such as ``203.0.113.0/24``. Default: all."""
    await_load_balancers: NotRequired[bool]
    """Kubernetes: wait until load balancers have an address. Default: true."""
    collectors: NotRequired[bool]
    """Kubernetes: a namespace for what runs on every node, without the rules of the other one.
    Default: false."""
    service_monitors: NotRequired[str]
    """Kubernetes: the namespace of a Prometheus whose operator reads ServiceMonitors. Default: none
    are made."""
    cluster: NotRequired[ClusterRef]
    """DigitalOcean: the `ref` of a Cluster."""


def _own_namespace(value: str) -> str:
    if value == "default" or value.startswith("kube-"):
        raise reject(f"the namespace '{value}' is Kubernetes' own", "choose another name")
    return value


def _own_label(value: str) -> str:
    if value.startswith("tiers."):
        raise reject(f"the label {shown(value)} is set by this library", "choose another key")
    return value


class SiteSpec(Model):
    """SiteArgs, checked."""

    target: Target = Target.DOCKER
    system: Name | None = None
    namespace: Annotated[DnsLabel, AfterValidator(_own_namespace)] | None = None
    environment: Name | None = None
    labels: dict[Annotated[LabelKey, AfterValidator(_own_label)], LabelValue] = {}
    documented_names: Flag = False
    container_prefix: ContainerPrefix = ""
    networks: dict[Name, Network] = {}
    protect: Flag = False
    registry_logins: dict[Registry, RegistryLogin] = {}
    source_ranges: list[SourceRange] = []
    await_load_balancers: Flag = True
    collectors: Flag = False
    service_monitors: DnsLabel | None = None
    cluster: ClusterPlace | None = None


class Site(Component):
    """The place of one system. Give its `ref` to the components that belong there.

    In other languages its target and its outputs are the `ref`.
    """

    name: pulumi.Output[str]
    """``<stack>-<system>``."""
    network: pulumi.Output[str]
    """Docker: the name of the network. Elsewhere, and where there are several, empty."""
    networks: dict[str, NetworkRef]
    """The networks by name, where the site was given any."""
    namespace: pulumi.Output[str]
    """Kubernetes: the name of the namespace. Elsewhere empty."""
    collectors: pulumi.Output[str]
    """Kubernetes: the name of the namespace for what runs on every node. Empty where none is."""
    pull_secret: pulumi.Output[str]
    """Kubernetes: the name of the Secret with the registries' logins. Empty where there is none."""

    def __init__(
        self, name: str, args: SiteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        place = f"Site {name}"
        spec = validated(SiteSpec, args, place)
        system = spec.system or name
        full = f"{pulumi.get_stack()}-{system}"
        namespace = spec.namespace or full
        # `tiers up` says so in any program's configuration.
        owner = config.get_config("tiers:owner") or ""
        refuse(
            _check(place, spec, name, full, namespace, owner),
            check_provider(place, spec.target, opts),
        )
        super().__init__(name, opts)
        ref: SiteRef = {
            "target": spec.target,
            "name": full,
            "labels": {LABEL_STACK: pulumi.get_stack(), LABEL_SYSTEM: system, **spec.labels},
            "documented_names": spec.documented_names,
            "container_prefix": spec.container_prefix,
            "protect": spec.protect,
            "await_load_balancers": spec.await_load_balancers,
        }
        if spec.environment:
            ref["environment"] = spec.environment
        if spec.source_ranges:
            ref["source_ranges"] = spec.source_ranges
        if spec.networks:
            ref["networks"] = {
                key: cast("NetworkRef", network.model_dump(exclude_none=True))
                for key, network in spec.networks.items()
            }
        if spec.target is not Target.DOCKER:
            if spec.collectors:
                ref["collectors"] = f"{namespace}{COLLECTORS}"
            if spec.service_monitors:
                ref["service_monitors"] = spec.service_monitors
        if spec.cluster:
            ref["cluster"] = args["cluster"]
        if owner:
            ref["labels"][LABEL_OWNER] = owner
        platform = platform_for(spec.target)
        self.ref: SiteRef = platform.open(self, ref, namespace, spec.registry_logins)
        self.name = pulumi.Output.from_input(full)
        self.network = pulumi.Output.from_input(self.ref.get("network", ""))
        self.networks = self.ref.get("networks", {})
        self.namespace = pulumi.Output.from_input(self.ref.get("namespace", ""))
        self.collectors = pulumi.Output.from_input(self.ref.get("collectors", ""))
        self.pull_secret = pulumi.Output.from_input(self.ref.get("pull_secret", ""))
        self.register_outputs(
            {
                "name": self.name,
                "network": self.network,
                "networks": self.networks,
                "namespace": self.namespace,
                "collectors": self.collectors,
                "pullSecret": self.pull_secret,
            }
        )


def _check(
    place: str, spec: SiteSpec, name: str, full: str, namespace: str, owner: str
) -> Iterator[Mistake]:
    yield from check_subnets({f"{place}: networks": spec.networks})
    yield from check_logins(f"{place}: registry_logins", spec.registry_logins, spec.target)
    yield from _valid(_LABEL_VALUE, owner, "tiers:owner")
    if spec.cluster and spec.target is not Target.DIGITALOCEAN:
        why = f"nothing of it is used on {spec.target}"
        remedy = "set 'target' to digitalocean, or remove it"
        yield Mistake(f"{place}: cluster", why, remedy)
    if spec.system is None:
        for mistake in _valid(_NAME, name, f"{place}: system"):
            remedy = f"set 'system', or call the component otherwise: {mistake.remedy}"
            yield Mistake(mistake.place, mistake.why, remedy)
    if spec.target is Target.DOCKER:
        return
    stack = pulumi.get_stack()
    if not is_label_value(stack):
        yield Mistake(
            f"{place}: labels",
            f"the stack's name, {shown(stack)}, is not a label's value on Kubernetes",
            "rename the stack: at most 63 letters, digits, '-', '_' and '.', the last one no sign",
        )
    # What the longest of its namespaces is called.
    longest = f"{namespace}{COLLECTORS}" if spec.collectors else namespace
    if len(longest) > LONGEST_LABEL:
        yield Mistake(
            f"{place}: namespace",
            f"{shown(longest)} has {len(longest)} characters, and Kubernetes takes 63",
            "set a shorter 'namespace', or shorten the name of the stack or of the system",
        )
    elif spec.namespace is None and not is_dns_label(namespace):
        yield Mistake(
            f"{place}: namespace",
            f"{shown(namespace)} is not a name that Kubernetes takes",
            "set 'namespace', or rename the stack: lower-case letters, digits and hyphens",
        )
    if spec.target is not Target.DIGITALOCEAN:
        return
    if not is_dns_label(full):
        yield Mistake(
            f"{place}: system",
            f"{shown(full)} begins names on DigitalOcean, which takes at most 63"
            " lower-case letters, digits and hyphens",
            "rename the stack, or set a shorter 'system'",
        )
    if spec.cluster is None:
        yield Mistake(f"{place}: cluster", "is missing", "pass the 'ref' of a Cluster")


_NAME: TypeAdapter[str] = TypeAdapter(Name)
_LABEL_VALUE: TypeAdapter[str] = TypeAdapter(LabelValue)


def _valid(kind: TypeAdapter[str], value: str, place: str) -> list[Mistake]:
    try:
        kind.validate_python(value)
    except ValidationError as error:
        return mistakes_of(error, place)
    return []
