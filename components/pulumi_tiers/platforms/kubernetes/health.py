"""Health checks: the three probes of a container."""

import math
from typing import TypeAlias

import pulumi_kubernetes as kubernetes

from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.workload import (
    Healthcheck,
    Port,
)
from pulumi_tiers.platforms.kubernetes.spelling import literal, whole_seconds

Probe: TypeAlias = kubernetes.core.v1.ProbeArgsDict


def probes_of(health: Healthcheck, ports: list[Port]) -> tuple[Probe, Probe, Probe]:
    """For the start, for requests, and for a restart.

    Docker counts the same failures at the start and later. Here, the start has them all, a restart
    needs them all, and three in a row are enough to get no more requests.
    """
    probe = _probe(health, ports)
    patience = math.ceil(seconds(health.start_period) / whole_seconds(health.interval))
    return (
        {**probe, "failure_threshold": patience + health.retries},
        {**probe, "failure_threshold": min(3, health.retries)},
        {**probe, "failure_threshold": health.retries},
    )


def _probe(health: Healthcheck, ports: list[Port]) -> Probe:
    probe: Probe = {
        "period_seconds": whole_seconds(health.interval),
        "timeout_seconds": whole_seconds(health.timeout),
    }
    if health.path:
        probe["http_get"] = {"path": health.path, "port": health.port or ports[0].target}
    else:
        shell = ["/bin/sh", "-c"] if health.test[0] == "CMD-SHELL" else []
        probe["exec_"] = {"command": [*shell, *map(literal, health.test[1:])]}
    return probe
