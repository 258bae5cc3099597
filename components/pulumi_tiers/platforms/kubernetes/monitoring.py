"""What Prometheus is told, and what it may see."""

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.model.workload import (
    Metrics,
    Workload,
)
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.platforms.kubernetes.metadata import labels_of, metadata_of


def metrics_port(workload: Workload, metrics: Metrics) -> int:
    """Where Prometheus asks."""
    return metrics.port or workload.ports[0].target


def make_service_monitor(
    owner: Component, site: SiteRef, name: str, workload: Workload, metrics: Metrics
) -> None:
    """Tells the Prometheus of an operator what the annotations tell others."""
    endpoint = {"port": f"tcp-{metrics_port(workload, metrics)}", "path": metrics.path}
    if metrics.interval:
        endpoint["interval"] = metrics.interval
    kubernetes.apiextensions.CustomResource(
        owner.child(name),
        api_version="monitoring.coreos.com/v1",
        kind="ServiceMonitor",
        metadata=metadata_of(site, name, name),
        spec={"selector": {"matchLabels": labels_of(site, name)}, "endpoints": [endpoint]},
        opts=owner.child_options(),
    )


def make_account(owner: Component, site: SiteRef, name: str) -> list[pulumi.Resource]:
    """Who may see the pods of its namespace, and nothing else: Prometheus asks for no more."""
    made: list[pulumi.Resource] = [
        kubernetes.core.v1.ServiceAccount(
            owner.child(name),
            metadata=metadata_of(site, name, name),
            # Its pods say that they want the token.
            automount_service_account_token=False,
            opts=owner.child_options(),
        )
    ]
    metadata = metadata_of(site, name, name)
    return [
        *made,
        kubernetes.rbac.v1.Role(
            owner.child(name),
            metadata=metadata,
            rules=[{"api_groups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
            opts=owner.child_options(),
        ),
        kubernetes.rbac.v1.RoleBinding(
            owner.child(name),
            metadata=metadata,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": name}],
            opts=owner.child_options(),
        ),
    ]
