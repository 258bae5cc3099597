"""Pods: the container of a workload, what runs before it, and with which rights."""

import math
from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.limits import capabilities, init_name
from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.workload import (
    ImageOwner,
    Init,
    PullPolicy,
    Resources,
    Workload,
)
from pulumi_tiers.platforms.base import (
    SiteRef,
    digest,
    networks_of,
)
from pulumi_tiers.platforms.kubernetes.health import probes_of
from pulumi_tiers.platforms.kubernetes.metadata import (
    labels_of,
    network_label,
    selector_of,
)
from pulumi_tiers.platforms.kubernetes.monitoring import (
    metrics_port,
)
from pulumi_tiers.platforms.kubernetes.secrets import PULL_SECRET, secret_name
from pulumi_tiers.platforms.kubernetes.spelling import cpus_of, literal, quantity
from pulumi_tiers.platforms.kubernetes.storage import (
    init_mounts_of,
    mounts_of,
    volumes_of,
)
from pulumi_tiers.platforms.labels import (
    CLUSTER_DOMAIN,
    LABEL_FILES,
)

#: On pods: changes with the values of their secrets, which are read at the start only.
_ANNOTATION_SECRETS = "tiers.secrets"
#: What NVIDIA's device plugin calls a GPU. A taint of this name keeps others off such nodes.
_GPU = "nvidia.com/gpu"


def pod_template(
    site: SiteRef, name: str, workload: Workload, gpu_label: str
) -> kubernetes.core.v1.PodTemplateSpecArgsDict:
    """The pods of a workload. `gpu_label`: of nodes, the kind of their GPUs."""
    user, _, group = workload.user.partition(":")
    pod: kubernetes.core.v1.PodSpecArgsDict = {
        "containers": [_container(name, workload)],
        # Others don't speak to the API server.
        "automount_service_account_token": workload.discovers,
        # A Service called postgres would set POSTGRES_PORT to tcp://… in every container.
        "enable_service_links": False,
        "security_context": {
            "run_as_non_root": int(user) != 0,
            "run_as_user": int(user),
            "run_as_group": int(group),
            # Volumes belong to this group; big ones are not walked through at every start.
            "fs_group": int(group),
            "fs_group_change_policy": "OnRootMismatch",
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        "termination_grace_period_seconds": math.ceil(seconds(workload.stop_grace_period)),
    }
    if workload.init:
        pod["init_containers"] = [_init(name, workload, workload.init)]
    if workload.job or workload.on_demand:
        pod["restart_policy"] = "Never"
    if workload.discovers:
        pod["service_account_name"] = name
    if workload.gpu:
        pod["tolerations"] = [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}]
        if workload.gpu.kind:
            pod["node_selector"] = {gpu_label: workload.gpu.kind}
    if workload.per_node:
        # Nodes with GPUs are nodes, too.
        pod["tolerations"] = [{"operator": "Exists", "effect": "NoSchedule"}]
        # So that they find the system's services by their names alone.
        domain = pulumi.Output.concat(site["collectors"], CLUSTER_DOMAIN)
        pod["dns_config"] = {"searches": [domain]}
    # In other languages, a Site without logins hands an empty text on.
    if site.get("pull_secret"):
        pod["image_pull_secrets"] = [{"name": PULL_SECRET}]
    volumes = volumes_of(name, workload)
    if volumes:
        pod["volumes"] = volumes
    if workload.replicas > 1 or workload.autoscale:
        pod["topology_spread_constraints"] = [
            {
                "max_skew": 1,
                "topology_key": "kubernetes.io/hostname",
                # Two on one node are better than one that waits for a second node.
                "when_unsatisfiable": "ScheduleAnyway",
                "label_selector": {"match_labels": selector_of(site, name)},
            }
        ]
    annotations: dict[str, pulumi.Input[str]] = {}
    if workload.secrets:
        annotations[_ANNOTATION_SECRETS] = digest(workload.secrets)
    if workload.files and not workload.reloads:
        annotations[LABEL_FILES] = digest(workload.files)
    if workload.metrics:
        # EN-07: each pod has its own; a load balancer would show those of any.
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(metrics_port(workload, workload.metrics)),
            "prometheus.io/path": workload.metrics.path,
        }
        if workload.metrics.interval:
            annotations["prometheus.io/interval"] = workload.metrics.interval
    joined = {network_label(network): "true" for network in networks_of(site, workload)}
    metadata: kubernetes.meta.v1.ObjectMetaArgsDict = {
        "labels": {**labels_of(site, name), **joined}
    }
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": pod}


def _container(name: str, workload: Workload) -> kubernetes.core.v1.ContainerArgsDict:
    always = workload.pull_policy is PullPolicy.ALWAYS
    container: kubernetes.core.v1.ContainerArgsDict = {
        "name": name,
        "image_pull_policy": "Always" if always else "IfNotPresent",
        "env": _environment(secret_name(name, workload), workload.environment, workload.secrets),
        "ports": [{"container_port": port.target} for port in workload.ports],
        "volume_mounts": mounts_of(workload),
        "resources": _resources(workload.resources, workload.gpu.count if workload.gpu else 0),
        "security_context": _hardening(workload),
    }
    if workload.image_owner is ImageOwner.PROGRAM:
        container["image"] = workload.image
    if workload.entrypoint:
        container["command"] = [literal(part) for part in workload.entrypoint]
    if workload.command:
        container["args"] = [literal(part) for part in workload.command]
    if workload.healthcheck and not (workload.job or workload.on_demand):
        startup, readiness, liveness = probes_of(workload.healthcheck, workload.ports)
        container["startup_probe"] = startup
        container["readiness_probe"] = readiness
        container["liveness_probe"] = liveness
    return container


def _init(name: str, workload: Workload, init: Init) -> kubernetes.core.v1.ContainerArgsDict:
    """What runs before the container: it writes into the volumes that the container only reads."""
    container: kubernetes.core.v1.ContainerArgsDict = {
        "name": init_name(name),
        "image": init.image,
        "image_pull_policy": "IfNotPresent",
        "env": _environment(init_name(name), init.environment, init.secrets),
        "volume_mounts": init_mounts_of(workload, init),
        "resources": _resources(workload.resources),
        "security_context": _hardening(workload),
    }
    if init.entrypoint:
        container["command"] = [literal(part) for part in init.entrypoint]
    if init.command:
        container["args"] = [literal(part) for part in init.command]
    return container


def _environment(
    secret: str,
    environment: Mapping[str, pulumi.Input[str]],
    secrets: Mapping[str, pulumi.Input[str]],
) -> list[kubernetes.core.v1.EnvVarArgsDict]:
    return [
        {"name": variable, "value_from": {"secret_key_ref": {"name": secret, "key": variable}}}
        if variable in secrets
        else {"name": variable, "value": literal(environment[variable])}
        for variable in sorted({**environment, **secrets})
    ]


def _hardening(workload: Workload) -> kubernetes.core.v1.SecurityContextArgsDict:
    kept: kubernetes.core.v1.CapabilitiesArgsDict = {"drop": ["ALL"]}
    if workload.cap_add:
        kept["add"] = capabilities(workload)
    return {
        "allow_privilege_escalation": False,
        "capabilities": kept,
        "read_only_root_filesystem": workload.read_only,
    }


def _resources(limits: Resources, gpus: int = 0) -> kubernetes.core.v1.ResourceRequirementsArgsDict:
    memory = quantity(limits.memory)
    # Who has a limit of them requests as many.
    own = {_GPU: str(gpus)} if gpus else {}
    return {
        "limits": {"cpu": cpus_of(limits.cpus), "memory": memory, **own},
        "requests": {
            # CPU can be taken back from a container, memory cannot.
            "cpu": cpus_of(limits.reserved_cpus or limits.cpus / 4),
            "memory": quantity(limits.reserved_memory or limits.memory),
        },
    }
