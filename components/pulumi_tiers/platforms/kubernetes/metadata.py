"""What every object carries: its name, its namespace, its labels."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.platforms.labels import (
    LABEL_DEPENDS_ON,
    LABEL_NETWORK,
    LABEL_SERVICE,
    LABEL_UNVERIFIED,
)


def metadata_of(
    site: SiteRef,
    workload: str,
    name: pulumi.Input[str],
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> kubernetes.meta.v1.ObjectMetaArgsDict:
    """Of an object that belongs to the workload."""
    metadata: kubernetes.meta.v1.ObjectMetaArgsDict = {
        "name": name,
        "namespace": site["namespace"],
        "labels": labels_of(site, workload),
    }
    if annotations:
        metadata["annotations"] = annotations
    return metadata


def selector_of(site: SiteRef, name: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
    """Which pods are this workload's. It cannot change later, so it holds nothing else."""
    selector: dict[str, pulumi.Input[str]] = {"app": name}
    if "environment" in site:
        selector["environment"] = site["environment"]
    return selector


def labels_of(site: SiteRef, name: str) -> dict[str, pulumi.Input[str]]:
    """On everything that belongs to the workload."""
    return {**site["labels"], LABEL_SERVICE: name, **selector_of(site, name)}


def network_label(network: str) -> str:
    """On the pods that are in it."""
    return f"{LABEL_NETWORK}.{network}"


def annotations_of(workload: Workload) -> dict[str, str]:
    """On what keeps its pods running."""
    annotations: dict[str, str] = {}
    if workload.depends_on:
        annotations[LABEL_DEPENDS_ON] = ",".join(
            f"{other}:{condition}" for other, condition in sorted(workload.depends_on.items())
        )
    if workload.unverified:
        annotations[LABEL_UNVERIFIED] = "true"
    return annotations
