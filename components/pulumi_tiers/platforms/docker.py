"""Local Docker: containers, named volumes, one bridge network per system."""

import ipaddress
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_docker as docker

from pulumi_tiers.component import Component
from pulumi_tiers.limits import capabilities, files_name, init_name, opening_names
from pulumi_tiers.model.base import seconds, size_in_bytes
from pulumi_tiers.model.image import RegistryLogin
from pulumi_tiers.model.ml import Gpu
from pulumi_tiers.model.workload import (
    CONFIGS,
    SECRET_FILES,
    Build,
    Healthcheck,
    Init,
    PullPolicy,
    Resources,
    RestartPolicy,
    Volume,
    Workload,
)
from pulumi_tiers.platforms.base import (
    JOB_SECONDS,
    After,
    ConnectionArgs,
    NetworkRef,
    Platform,
    Running,
    SiteRef,
    depends_on,
    digest,
    networks_of,
    ready,
)
from pulumi_tiers.platforms.labels import (
    LABEL_DEPENDS_ON,
    LABEL_FILES,
    LABEL_IMAGE,
    LABEL_INIT,
    LABEL_JOB,
    LABEL_ON_DEMAND,
    LABEL_PART_OF,
    LABEL_PULL_POLICY,
    LABEL_SERVICE,
    LABEL_SIZE,
    LABEL_UNVERIFIED,
    LABEL_URLS,
    LABELS_OF_LINES,
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
        if "networks" not in ref:
            return {**ref, "network": self._network(owner, ref, "network", ref["name"], {})}
        networks: dict[str, NetworkRef] = {}
        for key, network in ref["networks"].items():
            suffix = f"network-{key}"
            name = self._network(owner, ref, suffix, f"{ref['name']}-{key}", network)
            networks[key] = {**network, "name": name}
        return {**ref, "networks": networks}

    def _network(
        self, owner: Component, ref: SiteRef, suffix: str, name: str, network: NetworkRef
    ) -> pulumi.Output[str]:
        subnet = network.get("subnet")
        made = docker.Network(
            owner.child(suffix),
            name=name,
            internal=network.get("internal") or None,
            ipam_configs=[_addresses(subnet, network.get("ip_range"))] if subnet else None,
            labels=[
                docker.NetworkLabelArgs(label=label, value=value)
                for label, value in ref["labels"].items()
            ],
            opts=owner.child_options(),
        )
        return made.name

    def run(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        after: After,
        *,
        part_of: str = "",
        queue: pulumi.Input[ConnectionArgs] | None = None,
    ) -> Running:
        del queue  # nothing here scales anything
        image = self._image(owner, site, name, workload)
        sources = {
            volume.target: f"{site['name']}-{volume.name}"
            if volume.external
            else self._volume(owner, site, volume).name
            for volume in workload.volumes
        }
        mounts = [
            docker.ContainerMountArgs(
                type="volume",
                source=sources[volume.target],
                target=volume.target,
                read_only=volume.read_only or None,
            )
            for volume in workload.volumes
        ]
        mounts += [
            docker.ContainerMountArgs(
                type="bind",
                source=str(Path(source).absolute()),
                target=target,
                # A collector reads what is the machine's.
                read_only=workload.per_node or None,
            )
            for target, source in sorted(workload.binds.items())
        ]
        if workload.docker_socket:
            mounts.append(_socket())
        if workload.init:
            after = [self._init(owner, site, name, workload, workload.init, sources, after)]
        if workload.files:
            written = self._files(owner, site, name, workload, image, part_of)
            mounts += written.mounts
            after = [*after, written.ready]
        containers: list[docker.Container] = []
        for replica in range(workload.replicas):
            # One is healthy again before the next one is replaced.
            before = [*after, ready(containers[-1])] if workload.rolling and containers else after
            containers.append(
                self._container(
                    owner, site, name, replica, workload, image, mounts, before, part_of=part_of
                )
            )
        done = ready(*containers)
        if workload.job:
            done = _ended(name, containers[0])
        urls = [url for replica in range(workload.replicas) for url in _urls(replica, workload)]
        return Running(host=name, ready=done, urls=urls)

    def _volume(self, owner: Component, site: SiteRef, volume: Volume) -> docker.Volume:
        labels = {**site["labels"], LABEL_SIZE: volume.size}
        return docker.Volume(
            owner.child(volume.name),
            name=f"{site['name']}-{volume.name}",
            labels=[
                docker.VolumeLabelArgs(label=label, value=value) for label, value in labels.items()
            ],
            # A volume that Compose made bears Compose's labels. They must not replace it.
            opts=owner.child_options(ignore_changes=["labels"], protect=site.get("protect", False)),
        )

    def _init(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        init: Init,
        sources: Mapping[str, pulumi.Input[str]],
        after: After,
    ) -> pulumi.Output[list[pulumi.Resource]]:
        """Runs what comes before the workload, on the same volumes. As `ready`, once it is done.

        Docker makes a volume root's where the image has no folder for it, and the user is another
        one. Everybody may write to the two temporary folders that every image has, and a volume
        that is new takes that from them.
        """
        own = init_name(name)
        job = Workload(
            image=init.image,
            entrypoint=init.entrypoint,
            command=init.command,
            environment=init.environment,
            secrets=init.secrets,
            tmpfs=init.tmpfs,
            networks=workload.networks,
            user=workload.user,
            read_only=workload.read_only,
            resources=workload.resources,
            job=True,
        )
        image = self._image(owner, site, own, job)
        opener = Workload(
            image=init.image,
            entrypoint=["sh", "-c"],
            command=["true"],
            user=workload.user,
            resources=_LITTLE,
            job=True,
        )
        new = [sources[volume.target] for volume in workload.volumes if not volume.external]
        opened: list[docker.Container] = []
        for number, opens in enumerate(opening_names(name, workload)):
            two = new[2 * number : 2 * number + 2]
            mounts = [
                docker.ContainerMountArgs(type="volume", source=source, target=folder)
                for source, folder in zip(two, _TEMPORARY, strict=False)
            ]
            opened.append(
                self._container(
                    owner, site, opens, 0, opener, image, mounts, [], part_of=name, offline=True
                )
            )
        done = self._container(
            owner,
            site,
            own,
            0,
            job,
            image,
            [
                docker.ContainerMountArgs(type="volume", source=source, target=target)
                for target, source in sources.items()
            ],
            [*after, *(_ended(name, container) for container in opened)],
            part_of=name,
        )
        return _ended(own, done)

    def _files(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        image: docker.RemoteImage,
        part_of: str,
    ) -> "_Written":
        """Lets a container of the same image and user write the workload's files into volumes.

        An upload would replace the workload's own container, and Compose knows none.
        """
        environment: dict[str, pulumi.Input[str]] = {}
        secrets: dict[str, pulumi.Input[str]] = {}
        script = [_PUT]
        volumes: list[tuple[docker.Volume, str, str]] = []
        for suffix, target, umask, files, variables in (
            ("configs", CONFIGS, "222", workload.configs, environment),
            ("secrets", SECRET_FILES, "377", workload.secret_files, secrets),
        ):
            # The barest images have the first one only.
            folder = _TEMPORARY[len(volumes)]
            if files:
                script.append(f"mine {folder} {site['name']}-{name}-{suffix}")
            for number, (file, text) in enumerate(sorted(files.items())):
                variable = f"{suffix.upper()}_{number}"
                variables[variable] = text
                script.append(f'put {umask} {folder}/{file} "${variable}"')
            if files:
                script.append(f"only {folder} {' '.join(sorted(files))}")
                volume = Volume(name=f"{name}-{suffix}", target=target, size="1Mi")
                volumes.append((self._volume(owner, site, volume), target, folder))
        writer = Workload(
            image="files",
            entrypoint=["sh", "-c"],
            command=["\n".join(script)],
            environment=environment,
            secrets=secrets,
            user=workload.user,
            resources=_LITTLE,
            job=True,
        )
        mounts = [
            # Everybody may write there in every image, and a new volume takes that from it.
            docker.ContainerMountArgs(type="volume", source=made.name, target=folder)
            for made, _, folder in volumes
        ]
        done = self._container(
            owner,
            site,
            files_name(name),
            0,
            writer,
            image,
            mounts,
            [],
            part_of=part_of or name,
            offline=True,
        )
        return _Written(
            [
                docker.ContainerMountArgs(
                    type="volume", source=made.name, target=target, read_only=True
                )
                for made, target, _ in volumes
            ],
            _ended(files_name(name), done),
        )

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
        mounts: list[docker.ContainerMountArgs],
        after: After,
        *,
        part_of: str = "",
        offline: bool = False,
    ) -> docker.Container:
        suffix = name if replica == 0 else f"{name}-{replica + 1}"
        memory = size_in_bytes(workload.resources.memory) // 1024**2
        health = workload.healthcheck
        cpus = _cpus_as_read(workload.resources.cpus)
        exact = float(cpus) == workload.resources.cpus
        grace = max(1, math.ceil(seconds(workload.stop_grace_period)))
        once = workload.job or workload.on_demand
        labels = _labels(site, name, replica, workload, image)
        if part_of:
            labels[LABEL_PART_OF] = part_of
        return docker.Container(
            owner.child(suffix),
            name=_container_name(site, suffix),
            image=image.image_id,
            entrypoints=workload.entrypoint or None,
            command=workload.command or None,
            envs=_environment(workload),
            labels=[
                docker.ContainerLabelArgs(label=label, value=value)
                for label, value in sorted(labels.items())
            ],
            network_mode="none" if offline else None,
            networks_advanced=None if offline else _networks(site, name, replica, workload),
            ports=[
                docker.ContainerPortArgs(
                    internal=port.target, external=port.published + replica, ip=port.host_ip
                )
                for port in workload.ports
                if port.published
            ],
            mounts=mounts,
            tmpfs=workload.tmpfs or None,
            healthcheck=_healthcheck(health) if health else None,
            # `up` ends when everything is healthy, and whoever depends on it waits for that.
            wait=workload.tells_health and not once,
            wait_timeout=_patience(health) if health else None,
            restart=RestartPolicy.NO if once else workload.restart,
            attach=workload.job,
            must_run=not once,
            # `tiers run` makes containers like it.
            start=False if workload.on_demand else None,
            # Of several in `gpus`, the provider gives the first.
            device_requests=[_gpus(workload.gpu)] if workload.gpu else None,
            user=workload.user,
            read_only=workload.read_only,
            security_opts=["no-new-privileges:true"],
            capabilities=docker.ContainerCapabilitiesArgs(
                # As the daemon tells it: else each refresh replaces the container.
                drops=["ALL"],
                adds=[f"CAP_{name}" for name in capabilities(workload)] or None,
            ),
            memory=memory,
            memory_reservation=size_in_bytes(workload.resources.reserved_memory) // 1024**2
            if workload.resources.reserved_memory
            else None,
            # Equal: no swap. Left out, the provider finds a difference at the next run.
            memory_swap=memory,
            cpus=cpus if exact else f"{workload.resources.cpus:g}",
            # Signals and zombies: most images run their program as PID 1.
            init=True,
            stop_timeout=grace,
            destroy_grace_seconds=grace,
            log_driver="json-file",
            # Each line says whose it is, for who reads the files: the daemon need not be asked.
            log_opts={"max-size": "10m", "max-file": "3", "labels": ",".join(LABELS_OF_LINES)},
            opts=owner.child_options(
                depends_on=depends_on(after),
                ignore_changes=None if exact else ["cpus"],
                custom_timeouts=_timeouts(workload, grace),
            ),
        )


@dataclass(frozen=True)
class _Written:
    """Files of a workload, ready to be mounted."""

    mounts: list[docker.ContainerMountArgs]
    ready: pulumi.Output[list[pulumi.Resource]]


#: Whoever reads a file meanwhile has the old one or the new one.
_PUT = """\
set -eu
put() { umask "$1"; rm -f "$2.new"; printf %s "$3" > "$2.new"; mv -f "$2.new" "$2"; }
# Nobody may replace the files of another user.
mine() {
  for file in "$1"/*; do
    if [ -f "$file" ] && ! [ -O "$file" ]; then
      echo "the volume $2 holds files of the user that this service had before: take the stack\
 down, which keeps its data, remove that volume (docker volume rm $2), and bring it up again" >&2
      exit 1
    fi
  done
}
# Takes away what an earlier description has left.
only() {
  folder=$1
  shift
  for file in "$folder"/*; do
    case " $* " in
      *" ${file##*/} "*) ;;
      *) if [ -f "$file" ]; then rm -f "$file"; fi ;;
    esac
  done
}"""
_LITTLE = Resources(cpus=0.5, memory="32m")
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108
_PROVIDER_SECONDS = 20 * 60
"""How long the provider waits for what it deletes, unless it is told otherwise."""
_MARGIN = 5 * 60
"""For a slow machine to remove what has ended."""
_SOCKET = "/var/run/docker.sock"


def _socket() -> docker.ContainerMountArgs:
    """The daemon's, where programs look for it. On a daemon elsewhere, it has the usual path."""
    host = os.environ.get("DOCKER_HOST", "")
    path = host.removeprefix("unix://") if host.startswith("unix://") else _SOCKET
    return docker.ContainerMountArgs(type="bind", source=path, target=_SOCKET)


def _addresses(subnet: str, ip_range: str | None) -> docker.NetworkIpamConfigArgs:
    if ip_range is None:
        return docker.NetworkIpamConfigArgs(subnet=subnet)
    # Else Docker takes the range's first address for its own.
    gateway = str(ipaddress.IPv4Network(subnet)[1])
    return docker.NetworkIpamConfigArgs(subnet=subnet, ip_range=ip_range, gateway=gateway)


def _networks(
    site: SiteRef, name: str, replica: int, workload: Workload
) -> list[docker.ContainerNetworksAdvancedArgs]:
    """Where the container is, and what it is called there."""
    networks = networks_of(site, workload)
    if not networks:
        return [docker.ContainerNetworksAdvancedArgs(name=site["network"], aliases=[name])]
    joined: list[docker.ContainerNetworksAdvancedArgs] = []
    for network in networks.values():
        addresses, subnet = workload.addresses, network.get("subnet")
        fixed = addresses if addresses and subnet and addresses.fits(subnet) else None
        joined.append(
            docker.ContainerNetworksAdvancedArgs(
                name=network["name"],
                aliases=[name],
                ipv4_address=str(fixed.first + replica) if fixed else None,
            )
        )
    return joined


def _container_name(site: SiteRef, name: str) -> str:
    if site.get("documented_names"):
        return f"{site.get('container_prefix', '')}{name}"
    return f"{site['name']}-{name}"


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
    if workload.files and not workload.reloads:
        labels[LABEL_FILES] = digest(workload.files)
    if workload.init:
        labels[LABEL_INIT] = digest(dict(workload.init))
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
    if workload.on_demand:
        labels[LABEL_ON_DEMAND] = "true"
    if workload.unverified:
        labels[LABEL_UNVERIFIED] = "true"
    return labels


def _urls(replica: int, workload: Workload) -> list[str]:
    return [
        f"{port.scheme}://{port.host_ip}:{port.published + replica}"
        for port in workload.ports
        if port.published
    ]


def _gpus(gpu: Gpu) -> docker.ContainerDeviceRequestArgs:
    numbers = [str(number) for number in gpu.numbers]
    return docker.ContainerDeviceRequestArgs(
        driver="nvidia", device_ids=numbers, capabilities=["gpu"]
    )


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
        interval=_duration_as_read(health.interval),
        timeout=_duration_as_read(health.timeout),
        retries=health.retries,
        start_period=_duration_as_read(health.start_period),
    )


def _duration_as_read(duration: str) -> str:
    """As the provider reads it back: 120s is 2m0s. Else each refresh finds a difference."""
    whole, length = divmod(seconds(duration), 1)
    if not whole and length:
        return f"{length * 1000:.0f}ms"
    minutes, rest = divmod(whole + length, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest:g}s"
    if minutes or hours:
        text = f"{minutes:.0f}m{text}"
    return f"{hours:.0f}h{text}" if hours else text


def _cpus_as_read(cpus: float) -> str:
    """As the provider reads it back (1.0, 0.25, 10.): else a refresh replaces the container.

    It reads 0.05 back as 0.1, which is another limit.
    """
    text = f"{cpus:.9f}"
    return f"{cpus:.1f}" if text.count("0") == 9 else text.rstrip("0")


def _timeouts(workload: Workload, grace: int) -> pulumi.CustomTimeouts | None:
    """Where the provider's own 20 minutes would end a job, or the grace of what finishes its work.

    `grace`: in seconds.
    """
    ends = f"{grace + _MARGIN}s" if grace + _MARGIN > _PROVIDER_SECONDS else None
    done = f"{JOB_SECONDS}s" if workload.job else None
    return pulumi.CustomTimeouts(create=done, delete=ends) if done or ends else None


def _patience(health: Healthcheck) -> int:
    """Seconds until Docker itself has said "unhealthy", and some for a slow machine."""
    tries = seconds(health.interval) * (health.retries + 1) + seconds(health.timeout)
    return round(seconds(health.start_period) + tries) + 30


def _ended(name: str, job: docker.Container) -> pulumi.Output[list[pulumi.Resource]]:
    """As `ready`, once the job has succeeded."""
    return pulumi.Output.all(name, job.exit_code).apply(lambda args: _succeeded(*args))


def _succeeded(name: str, exit_code: int | None) -> list[pulumi.Resource]:
    if exit_code:
        raise pulumi.RunError(
            f"the job '{name}' ended with exit code {exit_code}: see its log.\n"
            "    To run it again: remove its container, then 'pulumi up --refresh' (or 'tiers up')"
        )
    return []
