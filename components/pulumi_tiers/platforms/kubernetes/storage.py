"""Volumes: claims that outlive a pod, folders that end with it, and where containers find them."""

from collections.abc import Collection, Mapping

import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.limits import files_name, tmpfs_size
from pulumi_tiers.model.workload import CONFIGS, SECRET_FILES, Init, Volume, Workload
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of
from pulumi_tiers.platforms.kubernetes.spelling import quantity

#: Volumes of a pod: what nobody else calls so, because names of volumes are lower-case words.
_CONFIGS_VOLUME, _FILES_VOLUME = "tiers-configs", "tiers-files"


def make_claims(owner: Component, site: SiteRef, name: str, workload: Workload) -> None:
    """The claims that all pods of a workload share."""
    for volume in claimed(workload):
        kubernetes.core.v1.PersistentVolumeClaim(
            owner.child(volume.name),
            metadata=metadata_of(site, name, volume.name),
            spec=claim(volume),
            opts=owner.child_options(protect=site.get("protect", False)),
        )


def claim(volume: Volume) -> kubernetes.core.v1.PersistentVolumeClaimSpecArgsDict:
    """As it is written in a claim, and in a StatefulSet's template of one."""
    return {
        "access_modes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": volume.size}},
    }


def claimed(workload: Workload) -> list[Volume]:
    """The volumes whose content outlives a pod."""
    return [volume for volume in workload.volumes if not volume.scratch]


def _mounts(
    mounts: Mapping[str, str], read_only: Collection[str], host: Collection[str] = ()
) -> list[kubernetes.core.v1.VolumeMountArgsDict]:
    """By path: a folder comes before what is mounted in it. `host`: those of the node."""
    made: list[kubernetes.core.v1.VolumeMountArgsDict] = []
    for path in sorted(mounts):
        mount: kubernetes.core.v1.VolumeMountArgsDict = {"name": mounts[path], "mount_path": path}
        if path in read_only:
            mount["read_only"] = True
        if path in host:
            # What the node mounts later is seen, too.
            mount["mount_propagation"] = "HostToContainer"
        made.append(mount)
    return made


def volumes_of(name: str, workload: Workload) -> list[kubernetes.core.v1.VolumeArgsDict]:
    """What the containers of a pod can mount."""
    volumes: list[kubernetes.core.v1.VolumeArgsDict] = [
        # A container that restarts within its pod finds what it left there; on Docker it doesn't.
        {
            "name": f"tmpfs-{number}",
            "empty_dir": {"medium": "Memory", "size_limit": quantity(tmpfs_size(options))},
        }
        for number, (_, options) in enumerate(sorted(workload.tmpfs.items()))
    ]
    if not workload.stateful:  # a StatefulSet makes its claims by itself
        volumes += [
            {"name": volume.name, "persistent_volume_claim": {"claim_name": volume.name}}
            for volume in claimed(workload)
        ]
    volumes += [
        {"name": volume.name, "empty_dir": {"size_limit": volume.size}}
        for volume in workload.volumes
        if volume.scratch
    ]
    volumes += [
        {"name": f"host-{number}", "host_path": {"path": folder}}
        for number, (_, folder) in enumerate(sorted(workload.binds.items()))
    ]
    if workload.init:
        volumes += [
            {
                "name": f"init-tmpfs-{number}",
                "empty_dir": {"medium": "Memory", "size_limit": quantity(tmpfs_size(options))},
            }
            for number, (_, options) in enumerate(sorted(workload.init.tmpfs.items()))
        ]
    if workload.configs:
        volumes.append({"name": _CONFIGS_VOLUME, "config_map": {"name": name}})
    if workload.secret_files:
        # For the user of the container, by its group.
        files: kubernetes.core.v1.SecretVolumeSourceArgsDict = {
            "secret_name": files_name(name),
            "default_mode": 0o440,
        }
        volumes.append({"name": _FILES_VOLUME, "secret": files})
    return volumes


def mounts_of(workload: Workload) -> list[kubernetes.core.v1.VolumeMountArgsDict]:
    """Where the container of a workload has them."""
    mounts = {volume.target: volume.name for volume in workload.volumes}
    mounts |= {path: f"tmpfs-{number}" for number, path in enumerate(sorted(workload.tmpfs))}
    mounts |= {path: f"host-{number}" for number, path in enumerate(sorted(workload.binds))}
    read_only = {volume.target for volume in workload.volumes if volume.read_only}
    read_only |= set(workload.binds)
    if workload.configs:
        mounts[CONFIGS] = _CONFIGS_VOLUME
    if workload.secret_files:
        mounts[SECRET_FILES] = _FILES_VOLUME
    read_only |= {CONFIGS, SECRET_FILES}
    return _mounts(mounts, read_only, workload.binds)


def init_mounts_of(workload: Workload, init: Init) -> list[kubernetes.core.v1.VolumeMountArgsDict]:
    """Where the container before it has them: it writes what the other one only reads."""
    mounts = {volume.target: volume.name for volume in workload.volumes}
    mounts |= {path: f"init-tmpfs-{number}" for number, path in enumerate(sorted(init.tmpfs))}
    return _mounts(mounts, set())
