"""Component library: describe a system once, get it on Docker, Kubernetes and DigitalOcean."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pulumi_tiers.app_tier import AppTier
    from pulumi_tiers.ci_pipeline import CIPipeline
    from pulumi_tiers.cluster import Cluster
    from pulumi_tiers.data_tier import DataTier
    from pulumi_tiers.edge_proxy import EdgeProxy
    from pulumi_tiers.ml_tier import MLTier
    from pulumi_tiers.model.edge import Balance, TlsMode
    from pulumi_tiers.model.github import Delivery, Edits
    from pulumi_tiers.model.ml import Sharing
    from pulumi_tiers.model.pipeline import (
        Backend,
        Channel,
        ClusterAccess,
        RegistryAccess,
        Scope,
        SecretSource,
    )
    from pulumi_tiers.model.store import DeadLetterStrategy, Overflow, PolicyTarget, QueueType
    from pulumi_tiers.model.system import Target
    from pulumi_tiers.model.workflow import Access, Event, When
    from pulumi_tiers.model.workload import Condition, ImageOwner, PullPolicy, RestartPolicy
    from pulumi_tiers.observability.component import Observability
    from pulumi_tiers.site import Site
    from pulumi_tiers.state_bucket import StateBucket

__all__ = [
    "Access",
    "AppTier",
    "Backend",
    "Balance",
    "CIPipeline",
    "Channel",
    "Cluster",
    "ClusterAccess",
    "Condition",
    "DataTier",
    "DeadLetterStrategy",
    "Delivery",
    "EdgeProxy",
    "Edits",
    "Environment",
    "Event",
    "Family",
    "ImageOwner",
    "MLTier",
    "Observability",
    "Overflow",
    "PolicyTarget",
    "PullPolicy",
    "QueueType",
    "RegistryAccess",
    "RestartPolicy",
    "Scope",
    "SecretSource",
    "Sharing",
    "Site",
    "StateBucket",
    "Target",
    "TlsMode",
    "When",
]

_HOMES = {
    "Access": "model.workflow",
    "AppTier": "app_tier",
    "Backend": "model.pipeline",
    "Balance": "model.edge",
    "CIPipeline": "ci_pipeline",
    "Channel": "model.pipeline",
    "Cluster": "cluster",
    "ClusterAccess": "model.pipeline",
    "Condition": "model.workload",
    "DataTier": "data_tier",
    "DeadLetterStrategy": "model.store",
    "Delivery": "model.github",
    "EdgeProxy": "edge_proxy",
    "Edits": "model.github",
    "Environment": "model.system",
    "Event": "model.workflow",
    "Family": "model.observability",
    "ImageOwner": "model.workload",
    "MLTier": "ml_tier",
    "Observability": "observability.component",
    "Overflow": "model.store",
    "PolicyTarget": "model.store",
    "PullPolicy": "model.workload",
    "QueueType": "model.store",
    "RegistryAccess": "model.pipeline",
    "RestartPolicy": "model.workload",
    "Scope": "model.pipeline",
    "SecretSource": "model.pipeline",
    "Severity": "model.observability",
    "Sharing": "model.ml",
    "Site": "site",
    "StateBucket": "state_bucket",
    "Target": "model.system",
    "TlsMode": "model.edge",
    "When": "model.workflow",
}


def __getattr__(name: str) -> Any:
    # Only when asked for: the description and the renderers work without Pulumi.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
