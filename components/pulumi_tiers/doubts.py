"""What is right as described, and dangerous all the same: told at every run, never refused.

What concerns one service or store alone, its tier tells: `workload_doubts` and `store_doubts` of
`limits`.
"""

import re
from collections.abc import Iterable, Iterator

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import gpu_doubts, is_managed
from pulumi_tiers.model.base import size_in_bytes
from pulumi_tiers.model.cloud import Cloud
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System, Target
from pulumi_tiers.model.tls import TlsMode
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.nginx.workloads import edges_workloads
from pulumi_tiers.pipelines.checks import lost, unapproved


def doubts(systems: Iterable[System], target: Target, cloud: Cloud | None = None) -> Iterator[str]:
    """What is right as described, and dangerous all the same. `cloud`: where DigitalOcean is it."""
    systems = list(systems)
    if target is Target.DIGITALOCEAN and cloud:
        yield from _room(systems, cloud)
        every = [workload for system in systems for workload in system.workloads.values()]
        yield from gpu_doubts(every, cloud)
    for system in systems:
        production = system.environment is Environment.PRODUCTION
        if target is Target.DOCKER:
            yield from _shared_gpus(system)
        else:
            yield from _undeclared_queues(system)
        for name, edge in system.edges.items():
            if production and system.encrypted and not edge.tls.on:
                yield f"{system.name}: edges.{name}: TLS is off; its document demands it"
            if production and edge.tls.mode is TlsMode.SELF_SIGNED:
                yield f"{system.name}: edges.{name}: no client trusts a self-signed certificate"
            if edge.tls.mode is TlsMode.LETS_ENCRYPT and edge.host_ip == "127.0.0.1":
                yield (
                    f"{system.name}: edges.{name}: the certificate's host name is proved from"
                    " outside, and 127.0.0.1 is reached from this machine only (tiers:host_ips)"
                )
        if system.pipeline:
            for doubt in unapproved(system.pipeline):
                yield f"{system.name}: {doubt} (tiers:pipelines.{system.name}.reviewers)"
            if target is Target.DOCKER:
                for doubt in lost(system.pipeline, system.environment):
                    yield f"{system.name}: {doubt} (tiers:pipelines.{system.name}.runs_on)"
        for name, why in system.disabled.items():
            if why != PROFILE_OFF:
                yield f"{system.name}: {name} is left out on {target}: {why}"


def _shared_gpus(system: System) -> Iterator[str]:
    """OC-30: who computes where another does, is slower, and may find no memory."""
    users: dict[int, list[str]] = {}
    for name, workload in system.workloads.items():
        for number in workload.gpu.numbers if workload.gpu else ():
            users.setdefault(number, []).append(name)
    for number, names in users.items():
        if len(names) > 1:
            yield f"{system.name}: {' and '.join(names)} share GPU {number}"


def _undeclared_queues(system: System) -> Iterator[str]:
    """A program may declare queues itself. Until then, KEDA finds none to measure."""
    for name, workload in system.workloads.items():
        store = system.stores.get(workload.queue or "")
        declared = [queue.name for queue in store.queues] if store else []
        scale = workload.autoscale
        if declared and scale and scale.queue_name and scale.queue_name not in declared:
            yield (
                f"{system.name}: {name} is scaled by the queue '{scale.queue_name}', and"
                f" {workload.queue} declares {', '.join(declared)}: it isn't scaled before a"
                " program declares that one"
            )


def _room(systems: list[System], cloud: Cloud) -> Iterator[str]:
    """Whether the nodes of a new cluster have the memory that its pods request."""
    found = re.search(r"-(\d+)gb", cloud.node_size)
    if found is None or cloud.cluster_id:
        return
    pods: list[Workload] = []
    for system in systems:
        pods += [*system.workloads.values(), *edges_workloads(system, Target.DIGITALOCEAN).values()]
        pods += [
            ENGINES[store.engine].workload(name, store)
            for name, store in system.stores.items()
            if not is_managed(store, Target.DIGITALOCEAN)
        ]
    asked = sum(
        size_in_bytes(pod.resources.memory) * pod.replicas
        for pod in pods
        # GPUs have nodes of their own.
        if not (pod.job or pod.on_demand or pod.gpu)
    ) / (1024**3)
    nodes = cloud.max_nodes or cloud.nodes
    there = nodes * int(found[1])
    if asked > there:
        yield (
            f"digitalocean: the pods request {asked:.1f} GiB of memory, and {nodes} nodes of"
            f" {cloud.node_size} have {there}: some pods will wait for room"
            " (tiers:digitalocean.node_size, nodes, max_nodes)"
        )
