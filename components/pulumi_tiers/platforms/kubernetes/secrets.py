"""What pods read: Secrets and ConfigMaps, and the logins of registries."""

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.limits import files_name, init_name
from pulumi_tiers.model.image import DOCKER_HUB, RegistryLogin
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of

PULL_SECRET = "registries"  # noqa: S105 - a name
#: What `docker login` calls Docker Hub.
_DOCKER_HUB = "https://index.docker.io/v1/"


def secret_name(name: str, workload: Workload) -> str:
    """The Secret with the workload's variables."""
    return workload.secret_name or name


def make_texts(
    owner: Component, site: SiteRef, name: str, workload: Workload
) -> list[pulumi.Resource]:
    """The variables and files of a workload, and those of what runs before it."""
    read: list[pulumi.Resource] = []
    if workload.secrets:
        read.append(
            kubernetes.core.v1.Secret(
                owner.child(name),
                metadata=metadata_of(site, name, secret_name(name, workload)),
                string_data=workload.secrets,
                opts=owner.child_options(),
            )
        )
    if workload.configs:
        read.append(
            kubernetes.core.v1.ConfigMap(
                owner.child(name),
                metadata=metadata_of(site, name, name),
                data=workload.configs,
                opts=owner.child_options(),
            )
        )
    if workload.secret_files:
        read.append(
            kubernetes.core.v1.Secret(
                owner.child(files_name(name)),
                metadata=metadata_of(site, name, files_name(name)),
                string_data=workload.secret_files,
                opts=owner.child_options(),
            )
        )
    if workload.init and workload.init.secrets:
        read.append(
            kubernetes.core.v1.Secret(
                owner.child(init_name(name)),
                metadata=metadata_of(site, name, init_name(name)),
                string_data=workload.init.secrets,
                opts=owner.child_options(),
            )
        )
    return read


def make_pull_secret(
    owner: Component,
    ref: SiteRef,
    places: Mapping[str, pulumi.Output[str]],
    logins: Mapping[str, RegistryLogin],
) -> pulumi.Output[str]:
    """Who pulls images, in each namespace. `places`: the namespaces by the beginning of names."""
    secrets = [
        kubernetes.core.v1.Secret(
            owner.child(f"{prefix}registries"),
            metadata={"name": PULL_SECRET, "namespace": place, "labels": ref["labels"]},
            type="kubernetes.io/dockerconfigjson",
            string_data={".dockerconfigjson": _docker_config(logins)},
            opts=owner.child_options(),
        ).metadata.name
        for prefix, place in places.items()
    ]
    return pulumi.Output.all(*secrets).apply(lambda made: str(made[0]))


def _docker_config(logins: Mapping[str, RegistryLogin]) -> pulumi.Output[str]:
    """The file that `docker login` writes. Kubelets need no field ``auth``."""
    auths = {
        _DOCKER_HUB if registry == DOCKER_HUB else registry: {
            "username": login.username,
            "password": login.password,
        }
        for registry, login in sorted(logins.items())
    }
    return pulumi.Output.secret(pulumi.Output.json_dumps({"auths": auths}))
