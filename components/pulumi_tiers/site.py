"""Site: the place of one system — a network on Docker, a namespace on Kubernetes."""

from typing import NotRequired, TypedDict

import pulumi
from pulumi.runtime import config

from pulumi_tiers.component import Component, validated
from pulumi_tiers.model.base import Model, Name
from pulumi_tiers.model.system import Target
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.platforms.labels import LABEL_OWNER, LABEL_STACK, LABEL_SYSTEM


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


class SiteSpec(Model):
    """SiteArgs, checked."""

    target: Target = Target.DOCKER
    system: Name | None = None
    namespace: Name | None = None
    environment: Name | None = None
    labels: dict[str, str] = {}
    documented_names: bool = False


class Site(Component):
    """The place of one system. Give its `ref` to the components that belong there."""

    name: pulumi.Output[str]
    """``<stack>-<system>``."""

    def __init__(
        self, name: str, args: SiteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = validated(SiteSpec, args, f"Site {name}")
        super().__init__(name, opts)
        system = spec.system or name
        full = f"{pulumi.get_stack()}-{system}"
        self.ref: SiteRef = {
            "target": spec.target,
            "name": full,
            "labels": {LABEL_STACK: pulumi.get_stack(), LABEL_SYSTEM: system, **spec.labels},
            "documented_names": spec.documented_names,
        }
        if spec.environment:
            self.ref["environment"] = spec.environment
        # `tiers up` says so in any program's configuration.
        if owner := config.get_config("tiers:owner"):
            self.ref["labels"][LABEL_OWNER] = owner
        made = platform_for(spec.target).open(self, self.ref, spec.namespace or full)
        if "network" in made:
            self.ref["network"] = made["network"]
        if "namespace" in made:
            self.ref["namespace"] = made["namespace"]
        self.name = pulumi.Output.from_input(full)
        self.register_outputs({"name": self.name})
