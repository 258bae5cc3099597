"""Cluster: Kubernetes on DigitalOcean, one for all systems of a stack."""

from typing import NotRequired, TypedDict

import pulumi

from pulumi_tiers.checks import check_cloud
from pulumi_tiers.component import Component, refuse, validated
from pulumi_tiers.model.base import Flag
from pulumi_tiers.model.cloud import Cloud
from pulumi_tiers.platforms.base import ClusterRef


class GpuPoolArgs(TypedDict):
    """Nodes with NVIDIA GPUs, beside the others. DigitalOcean adds and removes them."""

    size: NotRequired[str]
    """Slug. Default: gpu-4000adax1-20gb."""
    min_nodes: NotRequired[int]
    """How many at least. Default: 0, none while nobody asks for a GPU."""
    max_nodes: NotRequired[int]
    """How many at most. Default: 1."""


class ClusterArgs(TypedDict):
    """Arguments of Cluster."""

    region: NotRequired[str]
    """Slug of the region. Default: nyc1."""
    cluster_id: NotRequired[str]
    """Id of an existing cluster, which is used as it is. Default: one is made, in a VPC."""
    cluster_name: NotRequired[str]
    """Name of that cluster."""
    version: NotRequired[str]
    """Version, such as ``1.36.0-do.0``. Default: the newest at creation, upgraded by DigitalOcean
    in its maintenance window."""
    node_size: NotRequired[str]
    """Slug of the nodes. Default: s-2vcpu-4gb."""
    nodes: NotRequired[int]
    """How many nodes. Default: 2."""
    max_nodes: NotRequired[int]
    """How many at most; DigitalOcean adds and removes them. Default: always as many as `nodes`."""
    gpu: NotRequired[GpuPoolArgs]
    """Nodes with GPUs. Default: none."""
    high_availability: NotRequired[bool]
    """A control plane on several machines, which can't be switched off again. Default: false."""
    vpc_range: NotRequired[str]
    """Addresses of the VPC, such as ``10.120.0.0/16``. Default: DigitalOcean's choice."""
    registry: NotRequired[str]
    """Name of a container registry to make; an account has one. Default: none."""
    registry_tier: NotRequired[str]
    """Its tier: starter, basic or professional. Default: basic."""
    credentials: NotRequired[list[str]]
    """The command that prints a token, as an exec credential plugin of kubectl does. The cluster's
    id is added to it. Default: ``["tiers", "credential"]``."""
    prices: NotRequired[dict[str, float]]
    """USD a month by slug, for sizes that this library has no price of."""
    protect: NotRequired[bool]
    """Refuse to delete or replace the cluster and the registry. Default: false."""


class ClusterSpec(Cloud):
    """ClusterArgs, checked."""

    protect: Flag = False


class Cluster(Component):
    """A cluster in a VPC. Give its `ref` to Sites, and its `provider` to what is placed in them.

    Other languages have neither: there, outputs are the `ref`, and a provider takes `kubeconfig`.
    """

    cluster_id: pulumi.Output[str]
    """Id of the cluster: what the documents' pipelines call ``K8S_CLUSTER_ID``."""
    kubeconfig: pulumi.Output[str]
    """For kubectl. It holds no token: a command gets one each time."""
    region: pulumi.Output[str]
    """Slug of the region."""
    vpc: pulumi.Output[str]
    """Id of the VPC."""

    def __init__(
        self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = validated(ClusterSpec, args, f"Cluster {name}")
        full = f"{pulumi.get_stack()}-{name}"
        refuse(check_cloud(f"Cluster {name}", spec, full))
        super().__init__(name, opts)
        from pulumi_tiers.platforms.digitalocean import make_cluster

        made = make_cluster(self, spec, full, protect=spec.protect)
        self.ref: ClusterRef = made.ref
        self.provider = made.provider
        self.cluster_id = pulumi.Output.from_input(made.ref["id"])
        # Its name in Python only: elsewhere an `id` is Pulumi's own, and components have none.
        self.id = self.cluster_id
        self.region = pulumi.Output.from_input(made.ref["region"])
        self.vpc = pulumi.Output.from_input(made.ref["vpc"])
        self.kubeconfig = made.kubeconfig
        self.register_outputs(
            {
                "clusterId": self.cluster_id,
                "kubeconfig": self.kubeconfig,
                "region": self.region,
                "vpc": self.vpc,
            }
        )
