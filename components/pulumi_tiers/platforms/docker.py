"""Local Docker: containers, named volumes, one bridge network per system."""

import math
from collections.abc import Mapping

import pulumi
import pulumi_docker as docker

from pulumi_tiers.component import Component
from pulumi_tiers.model.base import seconds, size_in_bytes
from pulumi_tiers.model.image import RegistryLogin
from pulumi_tiers.model.workload import Build, Healthcheck, PullPolicy, RestartPolicy, Workload
from pulumi_tiers.platforms.base import (
    After,
    Platform,
    Running,
    SiteRef,
    depends_on,
    ready,
)
from pulumi_tiers.platforms.labels import (
    LABEL_DEPENDS_ON,
    LABEL_IMAGE,
    LABEL_JOB,
    LABEL_PULL_POLICY,
    LABEL_SERVICE,
    LABEL_UNVERIFIED,
    LABEL_URLS,
)


class DockerPlatform(Platform):
    """Containers on one Docker host."""

    def open(
        self,
        owner: Component,
        ref: SiteRef,
        namespace: str,
        logins: Mapping[str, RegistryLogin],
    ) -> SiteRef:
        # Kubernetes' words: the network is what separates systems here, and the daemon's own
        # `docker login` opens registries.
        del namespace, logins
        network = docker.Network(
            owner.child("network"),
            name=ref["name"],
            labels=[
                docker.NetworkLabelArgs(label=label, value=value)
                for label, value in ref["labels"].items()
            ],
            opts=owner.child_options(),
        )
        return {**ref, "network": network.name}

    def run(
        self, owner: Component, site: SiteRef, name: str, workload: Workload, after: After
    ) -> Running:
        image = self._image(owner, site, name, workload)
        volumes = {
            volume.name: docker.Volume(
                owner.child(volume.name),
                name=f"{site['name']}-{volume.name}",
                labels=[
                    docker.VolumeLabelArgs(label=label, value=value)
                    for label, value in site["labels"].items()
                ],
                # A volume that Compose made bears Compose's labels. They must not replace it.
                opts=owner.child_options(
                    ignore_changes=["labels"], protect=site.get("protect", False)
                ),
            )
            for volume in workload.volumes
        }
        containers = [
            self._container(owner, site, name, replica, workload, image, volumes, after)
            for replica in range(workload.replicas)
        ]
        done = ready(*containers)
        if workload.job:
            done = pulumi.Output.all(name, containers[0].exit_code).apply(
                lambda args: _succeeded(*args)
            )
        urls = [url for replica in range(workload.replicas) for url in _urls(replica, workload)]
        return Running(host=name, ready=done, urls=urls)

    def _image(
        self, owner: Component, site: SiteRef, name: str, workload: Workload
    ) -> docker.RemoteImage:
        # Kept on destroy: other containers may use it, and it may exist on this machine only.
        if workload.build is not None:
            return docker.RemoteImage(
                owner.child(f"{name}-image"),
                name=f"{site['name']}-{name}:latest",
                build=_build(workload.build),
                keep_locally=True,
                opts=owner.child_options(),
            )
        assert workload.image is not None
        return docker.RemoteImage(
            owner.child(f"{name}-image"),
            name=workload.image,
            keep_locally=True,
            opts=owner.child_options(),
        )

    def _container(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        replica: int,
        workload: Workload,
        image: docker.RemoteImage,
        volumes: Mapping[str, docker.Volume],
        after: After,
    ) -> docker.Container:
        suffix = name if replica == 0 else f"{name}-{replica + 1}"
        memory = size_in_bytes(workload.resources.memory) // 1024**2
        health = workload.healthcheck
        cpus = _cpus_as_read(workload.resources.cpus)
        exact = float(cpus) == workload.resources.cpus
        grace = max(1, math.ceil(seconds(workload.stop_grace_period)))
        return docker.Container(
            owner.child(suffix),
            name=suffix if site.get("documented_names") else f"{site['name']}-{suffix}",
            image=image.image_id,
            entrypoints=workload.entrypoint or None,
            command=workload.command or None,
            envs=_environment(workload),
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in sorted(_labels(site, name, replica, workload, image).items())
            ],
            networks_advanced=[
                docker.ContainerNetworksAdvancedArgs(name=site["network"], aliases=[name])
            ],
            ports=[
                docker.ContainerPortArgs(
                    internal=port.target, external=port.published + replica, ip=port.host_ip
                )
                for port in workload.ports
                if port.published
            ],
            mounts=[
                docker.ContainerMountArgs(
                    type="volume", source=volumes[volume.name].name, target=volume.target
                )
                for volume in workload.volumes
            ],
            tmpfs=workload.tmpfs or None,
            healthcheck=_healthcheck(health) if health else None,
            # `up` ends when everything is healthy, and whoever depends on it waits for that.
            wait=workload.tells_health and not workload.job,
            wait_timeout=_patience(health) if health else None,
            restart=RestartPolicy.NO if workload.job else workload.restart,
            attach=workload.job,
            must_run=not workload.job,
            user=workload.user,
            read_only=workload.read_only,
            security_opts=["no-new-privileges:true"],
            capabilities=docker.ContainerCapabilitiesArgs(
                drops=["ALL"], adds=workload.cap_add or None
            ),
            memory=memory,
            # Equal: no swap. Left out, the provider finds a difference at the next run.
            memory_swap=memory,
            cpus=cpus if exact else f"{workload.resources.cpus:g}",
            # Signals and zombies: most images run their program as PID 1.
            init=True,
            stop_timeout=grace,
            destroy_grace_seconds=grace,
            log_driver="json-file",
            log_opts={"max-size": "10m", "max-file": "3"},
            opts=owner.child_options(
                depends_on=depends_on(after), ignore_changes=None if exact else ["cpus"]
            ),
        )


def _environment(workload: Workload) -> list[pulumi.Input[str]]:
    """``NAME=value``; what stands in `secrets` is secret even where it is a plain text."""
    values = {
        **workload.environment,
        **{name: pulumi.Output.secret(value) for name, value in workload.secrets.items()},
    }
    return [
        f"{name}={value}" if isinstance(value, str) else pulumi.Output.concat(name, "=", value)
        for name, value in sorted(values.items())
    ]


def _labels(
    site: SiteRef, name: str, replica: int, workload: Workload, image: docker.RemoteImage
) -> dict[str, pulumi.Input[str]]:
    labels: dict[str, pulumi.Input[str]] = {
        **site["labels"],
        LABEL_SERVICE: name,
        LABEL_IMAGE: image.name,
    }
    if workload.depends_on:
        labels[LABEL_DEPENDS_ON] = ",".join(
            f"{other}:{condition}" for other, condition in sorted(workload.depends_on.items())
        )
    if urls := _urls(replica, workload):
        labels[LABEL_URLS] = ",".join(urls)
    if workload.pull_policy is PullPolicy.ALWAYS:
        labels[LABEL_PULL_POLICY] = PullPolicy.ALWAYS
    if workload.job:
        labels[LABEL_JOB] = "true"
    if workload.unverified:
        labels[LABEL_UNVERIFIED] = "true"
    return labels


def _urls(replica: int, workload: Workload) -> list[str]:
    return [
        f"{port.scheme}://{port.host_ip}:{port.published + replica}"
        for port in workload.ports
        if port.published
    ]


def _build(build: Build) -> docker.RemoteImageBuildArgs:
    return docker.RemoteImageBuildArgs(
        context=build.context,
        dockerfile=build.dockerfile,
        build_args=build.args or None,
        target=build.target,
    )


def _healthcheck(health: Healthcheck) -> docker.ContainerHealthcheckArgs:
    return docker.ContainerHealthcheckArgs(
        tests=health.test,
        interval=health.interval,
        timeout=health.timeout,
        retries=health.retries,
        start_period=health.start_period,
    )


def _cpus_as_read(cpus: float) -> str:
    """As the provider reads it back (1.0, 0.25, 10.): else a refresh replaces the container.

    It reads 0.05 back as 0.1, which is another limit.
    """
    text = f"{cpus:.9f}"
    return f"{cpus:.1f}" if text.count("0") == 9 else text.rstrip("0")


def _patience(health: Healthcheck) -> int:
    """Seconds until Docker itself has said "unhealthy", and some for a slow machine."""
    tries = seconds(health.interval) * (health.retries + 1) + seconds(health.timeout)
    return round(seconds(health.start_period) + tries) + 30


def _succeeded(name: str, exit_code: int | None) -> list[pulumi.Resource]:
    if exit_code:
        raise pulumi.RunError(
            f"the job '{name}' ended with exit code {exit_code}: see its log.\n"
            "    To run it again: remove its container, then 'pulumi up --refresh' (or 'tiers up')"
        )
    return []
