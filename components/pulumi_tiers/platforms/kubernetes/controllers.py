"""What keeps pods running: Deployments, StatefulSets, DaemonSets, and Jobs and their schedules."""

import math
from typing import cast

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.workload import (
    ImageOwner,
    Workload,
)
from pulumi_tiers.platforms.base import (
    JOB_SECONDS,
    After,
    SiteRef,
    depends_on,
    digest,
)
from pulumi_tiers.platforms.kubernetes.metadata import (
    annotations_of,
    labels_of,
    metadata_of,
    selector_of,
)
from pulumi_tiers.platforms.kubernetes.pods import pod_template
from pulumi_tiers.platforms.kubernetes.storage import (
    claim,
    claimed,
)
from pulumi_tiers.platforms.labels import (
    LABEL_PART_OF,
)

#: There is no such day, and the schedule is suspended: only its template is used.
_NEVER = "0 0 31 2 *"
_DAY = 24 * 3600
#: Seconds of grace that fit into the engine's usual patience.
_QUICK = 60
#: Of those that ended well, and of the others: how many are kept with their logs, for a day.
_RUNS = 3


def make_controller(
    owner: Component,
    site: SiteRef,
    name: str,
    workload: Workload,
    after: After,
    part_of: str,
    gpu_label: str,
) -> pulumi.Resource:
    """Runs the pods of a workload. `gpu_label`: of nodes, the kind of their GPUs."""
    child = owner.child(name)
    options = owner.child_options(
        depends_on=depends_on(after),
        # The number is the autoscaler's, who takes over what there is.
        ignore_changes=["spec.replicas"] if workload.autoscale else [],
        custom_timeouts=_timeouts(workload),
    )
    template = pod_template(site, name, workload, gpu_label)
    annotations = annotations_of(workload)
    if part_of:
        annotations[LABEL_PART_OF] = part_of
    if not (workload.job or workload.on_demand):
        # `kubectl scale` owns what it sets: no later `up` could set it again without this.
        annotations["pulumi.com/patchForce"] = "true"
    metadata = metadata_of(site, name, name, annotations)
    if workload.job:
        # No time to live: a job that removes itself would be made again by the next run.
        job: kubernetes.batch.v1.JobSpecArgsDict = {"backoff_limit": 6, "template": template}
        # Kubernetes changes no job. A changed one is a new one, for `kubectl apply` too.
        metadata["name"] = pulumi.Output.concat(name, "-", digest(job))
        return kubernetes.batch.v1.Job(child, metadata=metadata, spec=job, opts=options)
    if workload.on_demand:
        # `tiers run` makes jobs of this template. It belongs to no run, and nothing starts it.
        return kubernetes.batch.v1.CronJob(
            child,
            metadata=metadata,
            spec={
                "schedule": _NEVER,
                "suspend": True,
                "successful_jobs_history_limit": _RUNS,
                "failed_jobs_history_limit": _RUNS,
                "job_template": {
                    "metadata": {"labels": labels_of(site, name)},
                    "spec": {
                        "backoff_limit": 0,
                        "ttl_seconds_after_finished": _DAY,
                        "template": template,
                    },
                },
            },
            opts=options,
        )
    selector: kubernetes.meta.v1.LabelSelectorArgsDict = {"match_labels": selector_of(site, name)}
    if workload.per_node:
        return kubernetes.apps.v1.DaemonSet(
            child,
            metadata=metadata,
            spec={"selector": selector, "template": template},
            opts=options,
        )
    if workload.stateful:
        return kubernetes.apps.v1.StatefulSet(
            child,
            metadata=metadata,
            spec={
                "service_name": name,
                "replicas": workload.replicas,
                "selector": selector,
                "template": template,
                "volume_claim_templates": [
                    {"metadata": {"name": volume.name}, "spec": claim(volume)}
                    for volume in claimed(workload)
                ],
            },
            opts=options,
        )
    rolling: kubernetes.apps.v1.RollingUpdateDeploymentArgsDict = (
        {"max_unavailable": 1, "max_surge": 0}
        if workload.gpu
        else {"max_unavailable": 0, "max_surge": 1}
    )
    spec: kubernetes.apps.v1.DeploymentSpecArgsDict = {
        "selector": selector,
        # The new pod could wait forever for the volume, or the GPU, that the old one holds.
        "strategy": {"type": "Recreate"}
        if claimed(workload)
        else {"type": "RollingUpdate", "rolling_update": rolling},
        "replicas": workload.autoscale.min if workload.autoscale else workload.replicas,
        "template": template,
    }
    if workload.image_owner is ImageOwner.OTHERS:
        return _shared(owner, site, name, workload.image, metadata, spec, options)
    return kubernetes.apps.v1.Deployment(child, metadata=metadata, spec=spec, opts=options)


def _shared(
    owner: Component,
    site: SiteRef,
    name: str,
    image: pulumi.Input[str] | None,
    metadata: kubernetes.meta.v1.ObjectMetaArgsDict,
    spec: kubernetes.apps.v1.DeploymentSpecArgsDict,
    options: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """A Deployment whose image is others' as soon as it is there; `spec` names none.

    One resource that ignores its image can't do it: with any other change, the provider takes over
    what a manager called kubectl-... has set, sends the image that it remembers, and removes
    ``restartedAt``. So one makes the Deployment, with its image, and never changes it again. The
    other one has all the rest: of a Patch, the provider takes nothing over.
    """
    made = kubernetes.apps.v1.Deployment(
        owner.child(name),
        metadata=metadata_of(site, name, name, {"pulumi.com/skipAwait": "true"}),
        spec={
            # Nothing starts before the rest is there. The provider can't set `paused` to false.
            "replicas": 0,
            "selector": spec["selector"],
            # It has no numbers, which would stay where the rest needs none.
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": selector_of(site, name)},
                "spec": {"containers": [{"name": name, "image": image}]},
            },
        },
        opts=pulumi.ResourceOptions.merge(
            options,
            pulumi.ResourceOptions(
                ignore_changes=["metadata.annotations", "metadata.labels", "spec"]
            ),
        ),
    )
    return kubernetes.apps.v1.DeploymentPatch(
        owner.child(name),
        metadata=cast("kubernetes.meta.v1.ObjectMetaPatchArgsDict", metadata),
        spec=cast("kubernetes.apps.v1.DeploymentSpecPatchArgsDict", spec),
        opts=pulumi.ResourceOptions.merge(
            options,
            # On its own, its deletion would first take all that it has set from what still runs.
            pulumi.ResourceOptions(depends_on=[made], deleted_with=made),
        ),
    )


def _timeouts(workload: Workload) -> pulumi.CustomTimeouts:
    """How long the engine waits."""
    # The documented "rollout status" waits as long ("PIPELINE CI/CD" of Encontros Tech). For a GPU,
    # a node may have to be made first.
    start = 30 * 60 if workload.gpu else 5 * 60
    grace = math.ceil(seconds(workload.stop_grace_period))
    # What goes may finish its work, and some wait for that before the next one begins.
    in_turn = workload.stateful or workload.per_node or workload.gpu or claimed(workload)
    update = start + grace if in_turn and grace > _QUICK else start
    return pulumi.CustomTimeouts(
        create=f"{JOB_SECONDS if workload.job else start}s",
        update=f"{update}s",
        # The engine's own are 10 minutes.
        delete=f"{10 * 60 + grace}s" if grace > _QUICK else None,
    )
