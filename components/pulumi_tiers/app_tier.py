"""AppTier: the services of a system."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict, cast

import pulumi

from pulumi_tiers.checks import check_services
from pulumi_tiers.component import Component, check_provider, refuse, validated
from pulumi_tiers.data_tier import ResourcesArgs
from pulumi_tiers.model.base import Model, Name
from pulumi_tiers.model.place import Place
from pulumi_tiers.model.references import Reference
from pulumi_tiers.model.workload import Condition, PullPolicy, RestartPolicy, Workload
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import After, ConnectionArgs, Running, SiteRef, placed
from pulumi_tiers.values import resolved


class BuildArgs(TypedDict):
    """A build context instead of an image."""

    context: str
    """Folder with what the Dockerfile copies."""
    dockerfile: NotRequired[str]
    """Path of the Dockerfile below the context. Default: ``Dockerfile``."""
    args: NotRequired[dict[str, str]]
    """Build arguments. They stay in the image: no secrets."""
    target: NotRequired[str]
    """Stage of the Dockerfile. Default: its last."""


class PortArgs(TypedDict):
    """A port that the containers listen on."""

    target: int
    """Port in the container."""
    published: NotRequired[int]
    """Port on the Docker host. Replicas take the numbers that follow. Default: in-network only."""
    load_balancer: NotRequired[int]
    """Port of the load balancer on Kubernetes. Default: none, reachable in the namespace only."""
    host_ip: NotRequired[str]
    """Address of the Docker host. Default: 127.0.0.1."""
    scheme: NotRequired[str]
    """Beginning of its URL. Default: http."""


class VolumeArgs(TypedDict):
    """A named volume."""

    name: str
    """Its name in the site."""
    target: str
    """Path in the container."""
    size: NotRequired[str]
    """Size of the claim on Kubernetes. Default: 10Gi."""


class HealthcheckArgs(TypedDict):
    """A command whose exit code 0 means healthy."""

    test: list[str]
    """``["CMD", "curl", "-f", "http://localhost"]`` or ``["CMD-SHELL", "..."]``."""
    interval: NotRequired[str]
    """Default: 30s."""
    timeout: NotRequired[str]
    """Default: 30s."""
    retries: NotRequired[int]
    """Default: 3."""
    start_period: NotRequired[str]
    """Failures in this time don't count. Default: 0s."""
    path: NotRequired[str]
    """The same question over HTTP on the first port, for Kubernetes."""


class WorkloadArgs(TypedDict):
    """One service, in the words of Compose."""

    image: NotRequired[pulumi.Input[str]]
    """Image reference. Either this or `build`."""
    build: NotRequired[BuildArgs]
    """Build context. Either this or `image`."""
    entrypoint: NotRequired[list[pulumi.Input[str]]]
    """Replaces the image's entrypoint."""
    command: NotRequired[list[pulumi.Input[str]]]
    """Replaces the image's command."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables. ``${postgres.host}`` refers to a connection."""
    secrets: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables whose values are secret. ``${postgres.url}`` refers to a connection."""
    secret_name: NotRequired[str]
    """Name of their Kubernetes Secret. Default: the service's name."""
    ports: NotRequired[list[PortArgs]]
    """Ports it listens on."""
    volumes: NotRequired[list[VolumeArgs]]
    """Named volumes."""
    tmpfs: NotRequired[dict[str, str]]
    """Writable paths, empty at every start, with Docker's options: ``{"/tmp": "size=16m"}``."""
    healthcheck: NotRequired[HealthcheckArgs]
    """When it is healthy."""
    metrics: NotRequired[str]
    """Path of its Prometheus metrics on the first port."""
    depends_on: NotRequired[dict[str, Condition]]
    """What must be up before it: services of this tier, or connections."""
    replicas: NotRequired[int]
    """How many. Default: 1."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: 0.5 CPUs and 128m."""
    restart: NotRequired[RestartPolicy]
    """Default: unless-stopped."""
    pull_policy: NotRequired[PullPolicy]
    """Default: missing."""
    stop_grace_period: NotRequired[str]
    """Between SIGTERM and SIGKILL. Default: 10s."""
    user: NotRequired[str]
    """``uid:gid``. Default: 1000:1000."""
    read_only: NotRequired[bool]
    """A read-only root file system. Default: true."""
    cap_add: NotRequired[list[str]]
    """Capabilities that it keeps. Default: none."""
    stateful: NotRequired[bool]
    """Keeps its data over moves: a StatefulSet on Kubernetes. Default: false."""
    job: NotRequired[bool]
    """Runs once, to its end. Default: false."""
    unverified: NotRequired[bool]
    """Nobody has run this image with this hardening yet. Default: false."""


class AppTierArgs(TypedDict):
    """Arguments of AppTier."""

    site: SiteRef
    """Where: the `ref` of a Site."""
    services: dict[str, WorkloadArgs]
    """The services by host name."""
    connections: NotRequired[Mapping[str, pulumi.Input[ConnectionArgs]]]
    """The stores that they may refer to: a DataTier's `connections`."""


class AppTierSpec(Model):
    """AppTierArgs without connections, checked."""

    site: Place
    services: dict[Name, Workload]


class AppTier(Component):
    """The services of a system."""

    urls: pulumi.Output[dict[str, list[str]]]
    """Where the published services are reached, by service."""

    def __init__(
        self, name: str, args: AppTierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = validated(AppTierSpec, args, f"AppTier {name}", ("connections",))
        connections = args.get("connections", {})
        place = f"AppTier {name}: services"
        target = spec.site.target
        refuse(
            check_services(place, spec.services, target, connections),
            check_provider(f"AppTier {name}", target, opts),
        )
        super().__init__(name, opts)
        site = placed(args["site"])
        platform = platform_for(site["target"])

        def value(reference: Reference) -> pulumi.Input[str]:
            return _field(connections[reference.connection], reference.field)

        running: dict[str, Running] = {}

        def run(service: str) -> Running:
            if service not in running:
                workload = spec.services[service]
                running[service] = platform.run(
                    self, site, service, resolved(workload, value), after(workload)
                )
            return running[service]

        def after(workload: Workload) -> After:
            gates: list[pulumi.Output[list[pulumi.Resource]]] = []
            for other, condition in workload.depends_on.items():
                # "Started" says nothing that a program could rely on: no need to hold anything up.
                if condition is Condition.SERVICE_STARTED:
                    continue
                if other in connections:
                    ready = _field(connections[other], "ready")
                    gates.append(pulumi.Output.from_input(ready).apply(lambda _: []))
                else:
                    gates.append(run(other).ready)
            return gates

        for service in spec.services:
            run(service)
        published = {
            service: pulumi.Output.all(*placed.urls)
            for service, placed in running.items()
            if placed.urls
        }
        self.urls = pulumi.Output.all(**published)
        self.register_outputs({"urls": self.urls})


def _field(connection: pulumi.Input[ConnectionArgs], field: str) -> pulumi.Input[str]:
    if isinstance(connection, Mapping):
        return cast("Mapping[str, pulumi.Input[str]]", connection)[field]
    # In other languages the whole connection is an output.
    known = cast("pulumi.Output[Mapping[str, str]]", pulumi.Output.from_input(connection))
    return known.apply(lambda connection: connection[field])
