"""Site: the place of one system — a network on Docker, a namespace on Kubernetes."""

from collections.abc import Iterator
from typing import NotRequired, TypedDict

import pulumi
from pulumi.runtime import config

from pulumi_tiers.component import Component, refuse, validated
from pulumi_tiers.limits import check_logins
from pulumi_tiers.model.base import LONGEST_LABEL, Flag, Model, Name
from pulumi_tiers.model.cloud import SourceRange
from pulumi_tiers.model.errors import Mistake, shown
from pulumi_tiers.model.image import Registry, RegistryLogin
from pulumi_tiers.model.system import Target
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import ClusterRef, SiteRef
from pulumi_tiers.platforms.labels import LABEL_OWNER, LABEL_STACK, LABEL_SYSTEM


class RegistryLoginArgs(TypedDict):
    """Who pulls from a private registry."""

    username: str
    """The user."""
    password: pulumi.Input[str]
    """The password, better a token that can do nothing but pull."""


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
    protect: NotRequired[bool]
    """Refuse to delete or replace what holds data, until this is false again. Default: false."""
    registry_logins: NotRequired[dict[str, RegistryLoginArgs]]
    """Kubernetes: who pulls from private registries, by host (``docker.io``)."""
    source_ranges: NotRequired[list[str]]
    """Kubernetes: who may reach the load balancers, such as ``203.0.113.0/24``. Default: all."""
    await_load_balancers: NotRequired[bool]
    """Kubernetes: wait until load balancers have an address. Default: true."""
    cluster: NotRequired[ClusterRef]
    """DigitalOcean: the `ref` of a Cluster."""


class SiteSpec(Model):
    """SiteArgs, checked."""

    target: Target = Target.DOCKER
    system: Name | None = None
    namespace: Name | None = None
    environment: Name | None = None
    labels: dict[str, str] = {}
    documented_names: Flag = False
    protect: Flag = False
    registry_logins: dict[Registry, RegistryLogin] = {}
    source_ranges: list[SourceRange] = []
    await_load_balancers: Flag = True


class Site(Component):
    """The place of one system. Give its `ref` to the components that belong there.

    In other languages its target and its outputs are the `ref`.
    """

    name: pulumi.Output[str]
    """``<stack>-<system>``."""
    network: pulumi.Output[str]
    """Docker: the name of the network. Elsewhere empty."""
    namespace: pulumi.Output[str]
    """Kubernetes: the name of the namespace. Elsewhere empty."""
    pull_secret: pulumi.Output[str]
    """Kubernetes: the name of the Secret with the registries' logins. Empty where there is none."""

    def __init__(
        self, name: str, args: SiteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        place = f"Site {name}"
        spec = validated(SiteSpec, args, place, ("cluster",))
        system = spec.system or name
        full = f"{pulumi.get_stack()}-{system}"
        namespace = spec.namespace or full
        refuse(_check(place, spec, args, namespace))
        super().__init__(name, opts)
        ref: SiteRef = {
            "target": spec.target,
            "name": full,
            "labels": {LABEL_STACK: pulumi.get_stack(), LABEL_SYSTEM: system, **spec.labels},
            "documented_names": spec.documented_names,
            "protect": spec.protect,
            "await_load_balancers": spec.await_load_balancers,
        }
        if spec.environment:
            ref["environment"] = spec.environment
        if spec.source_ranges:
            ref["source_ranges"] = spec.source_ranges
        if "cluster" in args:
            ref["cluster"] = args["cluster"]
        # `tiers up` says so in any program's configuration.
        if owner := config.get_config("tiers:owner"):
            ref["labels"][LABEL_OWNER] = owner
        platform = platform_for(spec.target)
        self.ref: SiteRef = platform.open(self, ref, namespace, spec.registry_logins)
        self.name = pulumi.Output.from_input(full)
        self.network = pulumi.Output.from_input(self.ref.get("network", ""))
        self.namespace = pulumi.Output.from_input(self.ref.get("namespace", ""))
        self.pull_secret = pulumi.Output.from_input(self.ref.get("pull_secret", ""))
        self.register_outputs(
            {
                "name": self.name,
                "network": self.network,
                "namespace": self.namespace,
                "pullSecret": self.pull_secret,
            }
        )


def _check(place: str, spec: SiteSpec, args: SiteArgs, namespace: str) -> Iterator[Mistake]:
    yield from check_logins(f"{place}: registry_logins", spec.registry_logins, spec.target)
    if spec.target is not Target.DOCKER and len(namespace) > LONGEST_LABEL:
        yield Mistake(
            f"{place}: namespace",
            f"{shown(namespace)} has {len(namespace)} characters, and Kubernetes takes 63",
            "set a shorter 'namespace', or shorten the name of the stack or of the system",
        )
    if spec.target is Target.DIGITALOCEAN and "cluster" not in args:
        yield Mistake(f"{place}: cluster", "is missing", "pass the 'ref' of a Cluster")
