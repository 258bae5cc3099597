"""The program: a plan becomes components. `__main__.py` and `tiers render` both call it."""

from pathlib import Path
from typing import cast

import pulumi

from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.bill import Bill
from pulumi_tiers.cluster import Cluster, ClusterArgs
from pulumi_tiers.data_tier import DataTier, StoreArgs
from pulumi_tiers.delivery import deliver
from pulumi_tiers.doubts import doubts
from pulumi_tiers.limits import gpu_pool
from pulumi_tiers.ml_tier import MLTier
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.plan import CLUSTER, Plan, make_plan
from pulumi_tiers.platforms.base import ConnectionArgs, EndpointArgs
from pulumi_tiers.settings import Names, read_settings, settings_doubts
from pulumi_tiers.site import NetworkArgs, RegistryLoginArgs, Site, SiteArgs


def main() -> None:
    """Reads the stack's configuration, checks everything, then makes it."""
    bill = Bill()
    try:
        plan = make_plan(pulumi.get_stack(), read_settings(stack_config()), Path.cwd())
        cluster = _cluster(plan)
        urls = {system.name: deploy(plan, system, cluster) for system in plan.systems}
        deliver(plan, cluster)
    except DescriptionError as error:
        # The engine prints a RunError without a traceback.
        raise pulumi.RunError(str(error)) from None
    for doubt in (
        *settings_doubts(plan.settings),
        *doubts(plan.systems, plan.target, plan.settings.digitalocean),
    ):
        pulumi.log.warn(doubt)
    pulumi.export("environment", plan.settings.environment)
    pulumi.export("target", plan.settings.target)
    pulumi.export("urls", urls)
    # For those that bring the stack up later, and would otherwise take the documented tags again.
    pulumi.export("images", plan.settings.images)
    if cluster:
        pulumi.export("cluster_id", cluster.id)
        pulumi.export("kubeconfig", cluster.kubeconfig)
        pulumi.export("monthly_price", bill.monthly_price(plan.settings.digitalocean.prices))


def _cluster(plan: Plan) -> Cluster | None:
    """The cluster that all systems of a stack on DigitalOcean share."""
    if plan.target is not Target.DIGITALOCEAN:
        return None
    cloud = plan.settings.digitalocean
    given = cloud.model_dump(exclude_unset=True, exclude={"gpu"})
    every = [workload for system in plan.systems for workload in system.workloads.values()]
    if gpus := gpu_pool(cloud, every):
        given["gpu"] = gpus.model_dump()
    return Cluster(CLUSTER, cast("ClusterArgs", {**given, "protect": plan.settings.protects}))


def deploy(
    plan: Plan, system: System, cluster: Cluster | None = None
) -> pulumi.Output[dict[str, list[str]]]:
    """One system of the plan. Returns the URLs of its published services."""
    options = pulumi.ResourceOptions(providers=[cluster.provider] if cluster else None)
    balancers = plan.settings.load_balancers
    place: SiteArgs = {
        "target": plan.target,
        "namespace": system.namespace or f"{system.name}-{system.environment}",
        "environment": system.environment_label or system.environment,
        "documented_names": plan.settings.names is Names.DOCUMENTED,
        "container_prefix": system.container_prefix,
        "protect": plan.settings.protects,
        "registry_logins": cast("dict[str, RegistryLoginArgs]", plan.settings.registry_logins),
        "source_ranges": balancers.source_ranges,
        "await_load_balancers": balancers.await_,
        "collectors": any(workload.per_node for workload in system.workloads.values()),
    }
    if system.observability and system.observability.service_monitors:
        place["service_monitors"] = system.observability.service_monitors
    if cluster:
        place["cluster"] = cluster.ref
    if system.networks:
        place["networks"] = cast("dict[str, NetworkArgs]", system.networks)
    site = Site(system.name, place, options)
    connections: dict[str, ConnectionArgs] = {}
    endpoints: dict[str, EndpointArgs] = {}
    urls: list[pulumi.Output[dict[str, list[str]]]] = []
    if system.stores:
        # Models are what TypedDicts become anyway.
        stores = cast("dict[str, StoreArgs]", system.stores)
        data = DataTier(f"{system.name}-data", {"site": site.ref, "stores": stores}, options)
        connections = data.connections
        endpoints |= data.endpoints
    tiers: list[tuple[str, type[AppTier], dict[str, Workload]]] = [
        ("app", AppTier, system.services),
        ("ml", MLTier, system.ml),
    ]
    for suffix, kind, workloads in tiers:
        if workloads:
            tier = kind(
                f"{system.name}-{suffix}",
                {
                    "site": site.ref,
                    "services": cast("dict[str, WorkloadArgs]", workloads),
                    "connections": connections,
                    "endpoints": endpoints,
                },
                options,
            )
            endpoints = {**endpoints, **tier.endpoints}
            urls.append(tier.urls)
    for name, edge in system.edges.items():
        # Its models take a while to build, and not every system has an edge.
        from pulumi_tiers.edge_proxy import EdgeProxy, EdgeProxyArgs

        args = cast("EdgeProxyArgs", {**dict(edge), "site": site.ref, "endpoints": endpoints})
        proxy = EdgeProxy(f"{system.name}-{name}", {**args, "host": name}, options)
        urls.append(pulumi.Output.all(**{name: proxy.urls}))
    if system.watchers:
        from pulumi_tiers.observability.component import MADE, Observability, ObservabilityArgs

        made = {
            "site": site.ref,
            "connections": connections,
            "endpoints": endpoints,
            MADE: system.watchers,
        }
        name = f"{system.name}-observability"
        urls.append(Observability(name, cast("ObservabilityArgs", made), options).urls)
    return pulumi.Output.all(*urls).apply(
        lambda parts: {k: v for part in parts for k, v in part.items()}
    )


def stack_config() -> dict[str, object]:
    """Every configuration key of the stack: an unknown one is a mistake, so all are looked at."""
    from pulumi.runtime import config

    return {**config.get_config_env(), **config.CONFIG.get()}
