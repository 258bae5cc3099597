"""Who decides how many pods there are: a HorizontalPodAutoscaler by CPU, or KEDA by a queue."""

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.model.workload import Autoscale
from pulumi_tiers.platforms.base import ConnectionArgs, SiteRef
from pulumi_tiers.platforms.kubernetes.keda import scale_by_queue
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of


def make_autoscaler(
    owner: Component,
    site: SiteRef,
    name: str,
    autoscale: Autoscale,
    queue: pulumi.Input[ConnectionArgs] | None,
) -> None:
    """For the Deployment of this name. `queue`: how the store with its jobs is reached."""
    if autoscale.queue_name:
        assert queue is not None
        scale_by_queue(owner, site, name, autoscale, queue)
        return
    kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
        owner.child(name),
        # Without pods there is nothing to measure: nobody waits for that.
        metadata=metadata_of(site, name, name, {"pulumi.com/skipAwait": "true"}),
        spec={
            "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": name},
            "min_replicas": autoscale.min,
            "max_replicas": autoscale.max,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "cpu",
                        "target": {
                            "type": "Utilization",
                            "average_utilization": autoscale.percent,
                        },
                    },
                }
            ],
        },
        opts=owner.child_options(),
    )
