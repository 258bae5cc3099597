"""AppTier: the services of a system."""

from collections.abc import Iterator, Mapping
from typing import Any, NotRequired, TypedDict, cast

import pulumi

from pulumi_tiers.checks import check_services
from pulumi_tiers.collisions import check_gpus, check_networks, members
from pulumi_tiers.component import Component, check_provider, refuse, validated
from pulumi_tiers.data_tier import ResourcesArgs
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import check_scaler, workload_doubts
from pulumi_tiers.model.base import Model, Name
from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.ml import Sharing
from pulumi_tiers.model.place import Place
from pulumi_tiers.model.references import GENERATED, Reference
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import (
    Condition,
    ImageOwner,
    PullPolicy,
    RestartPolicy,
    Workload,
)
from pulumi_tiers.models import check_models, with_models
from pulumi_tiers.passwords import Passwords, configured
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import (
    After,
    ConnectionArgs,
    EndpointArgs,
    Running,
    SiteRef,
    placed,
    system_of,
)
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
    scratch: NotRequired[bool]
    """Nobody needs its content later: on Kubernetes it ends with its pod. Default: false."""
    external: NotRequired[bool]
    """Docker: another workload of the site makes it. Default: false."""
    read_only: NotRequired[bool]
    """Default: false."""


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
    """The same question over HTTP, for Kubernetes."""
    port: NotRequired[int]
    """The port of `path`. Default: the first one."""


class MetricsArgs(TypedDict):
    """What Prometheus reads."""

    path: NotRequired[str]
    """Default: /metrics."""
    port: NotRequired[int]
    """Default: the first one."""
    interval: NotRequired[str]
    """How often. Default: as often as everything."""


class InitArgs(TypedDict):
    """A container that runs to its end before each start, as the same user."""

    image: pulumi.Input[str]
    """Image reference."""
    entrypoint: NotRequired[list[pulumi.Input[str]]]
    """Replaces the image's entrypoint."""
    command: NotRequired[list[pulumi.Input[str]]]
    """Replaces the image's command."""
    environment: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables. ``${postgres.host}`` refers to a connection."""
    secrets: NotRequired[dict[str, pulumi.Input[str]]]
    """Variables whose values are secret."""
    tmpfs: NotRequired[dict[str, str]]
    """Writable paths, empty at every start, with Docker's options."""


class GpuArgs(TypedDict):
    """NVIDIA GPUs."""

    count: NotRequired[int]
    """How many. Default: 1."""
    devices: NotRequired[list[int]]
    """Docker: their numbers, as nvidia-smi counts them. Default: the first ones."""
    sharing: NotRequired[Sharing]
    """Whether others may have the same: exclusive (default) or shared."""
    kind: NotRequired[str]
    """Kubernetes: value of the nodes' label ``nvidia.com/gpu.product``. Default: any."""


class MlModelArgs(TypedDict):
    """The files of a trained model, at ``<target>/<version>``."""

    version: str
    """Name of the version."""
    target: NotRequired[str]
    """The folder of all versions. Default: /app/models."""
    store: NotRequired[str]
    """The store with the bucket that has it. Default: none, a volume that somebody fills."""
    bucket: NotRequired[str]
    """The bucket that has it, as ``<model>/<version>/``."""
    image: NotRequired[pulumi.Input[str]]
    """What fetches it, with mc, sh and sha256sum. Default: MinIO's image."""
    size: NotRequired[str]
    """Size of the volume. Default: 5Gi."""
    optional: NotRequired[bool]
    """Start without it where it isn't there yet. Default: false."""


class AutoscaleArgs(TypedDict):
    """Kubernetes decides how many replicas there are."""

    min: NotRequired[int]
    """The smallest number. 0 needs a queue. Default: 1."""
    max: int
    """The largest number."""
    cpu: NotRequired[int]
    """Percent of the requested CPU that the replicas use. Default: 70, without a queue."""
    queue_length: NotRequired[int]
    """KEDA: how many waiting jobs one replica is for."""
    queue_name: NotRequired[str]
    """KEDA: the queue in the service's `queue`."""


class LoadBalancerArgs(TypedDict):
    """How a load balancer passes connections on."""

    proxy_protocol: NotRequired[bool]
    """It tells the client's address in front of each connection. Default: false."""
    local: NotRequired[bool]
    """Only nodes with a replica take connections: keeps the client's address. Default: false."""
    certificate: NotRequired[pulumi.Input[str]]
    """DigitalOcean: id of the certificate with which it ends TLS. Default: none."""


class SourceArgs(TypedDict):
    """Where the program is in the checkout of its system (``tiers:sources``)."""

    context: NotRequired[str]
    """Build context below the checkout. Default: the checkout."""
    dockerfile: NotRequired[str]
    """Default: ``Dockerfile``."""
    args: NotRequired[list[str]]
    """Variables of the service that are arguments of its build too."""
    mount: NotRequired[str]
    """Where the container has the checkout in development. Default: nowhere."""


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
    optional_environment: NotRequired[list[str]]
    """Variables that a stack may set (``tiers:variables``)."""
    optional_secrets: NotRequired[list[str]]
    """Secret variables that a stack may set (``tiers:secrets``)."""
    required_secrets: NotRequired[list[str]]
    """Secret variables that must be set: here in `secrets`, or by a stack (``tiers:secrets``)."""
    configs: NotRequired[dict[str, pulumi.Input[str]]]
    """Files in ``/run/configs``, by name."""
    secret_files: NotRequired[dict[str, pulumi.Input[str]]]
    """Files in ``/run/secrets``, by name. References as in `secrets`."""
    reloads: NotRequired[bool]
    """It notices changed files by itself; else it is started again. Default: false."""
    ports: NotRequired[list[PortArgs]]
    """Ports it listens on."""
    networks: NotRequired[list[str]]
    """Those of the site that it is in. Default: all."""
    addresses: NotRequired[str]
    """Docker: fixed addresses, one per replica: ``172.28.0.20-172.28.0.29``."""
    load_balancer: NotRequired[LoadBalancerArgs]
    """How its load balancer passes connections on."""
    volumes: NotRequired[list[VolumeArgs]]
    """Named volumes."""
    binds: NotRequired[dict[str, str]]
    """Docker: folders of this machine, by their path in the container."""
    tmpfs: NotRequired[dict[str, str]]
    """Writable paths, empty at every start, with Docker's options: ``{"/tmp": "size=16m"}``."""
    healthcheck: NotRequired[HealthcheckArgs]
    """When it is healthy."""
    metrics: NotRequired[MetricsArgs]
    """What Prometheus reads of it. Default: nothing."""
    depends_on: NotRequired[dict[str, Condition]]
    """What must be up before it: services of this tier, or connections."""
    profiles: NotRequired[list[str]]
    """It exists only where one of these is chosen (``tiers:profiles``). Default: always."""
    replicas: NotRequired[int]
    """How many. Default: 1."""
    autoscale: NotRequired[AutoscaleArgs]
    """Kubernetes: how many is decided by their load."""
    concurrency: NotRequired[int]
    """Jobs that each replica does at a time: ``${concurrency}`` in its command and environment."""
    queue: NotRequired[str]
    """The store with the queue that it works off."""
    gpu: NotRequired[GpuArgs]
    """NVIDIA GPUs. Default: none."""
    models: NotRequired[dict[str, MlModelArgs]]
    """Trained models that it needs, by name."""
    init: NotRequired[InitArgs]
    """Runs to its end before each start."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: 0.5 CPUs and 128m."""
    restart: NotRequired[RestartPolicy]
    """Default: unless-stopped."""
    pull_policy: NotRequired[PullPolicy]
    """Default: missing."""
    image_owner: NotRequired[ImageOwner]
    """Who changes the image of the running service. Default: program."""
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
    on_demand: NotRequired[bool]
    """It runs only when somebody asks (``tiers run``). Default: false."""
    per_node: NotRequired[bool]
    """A collector, on every node of a cluster. Default: false."""
    discovers: NotRequired[bool]
    """It may list what is in its namespace on Kubernetes. Default: false."""
    rolling: NotRequired[bool]
    """Docker: replicas are replaced one after another. Default: false."""
    docker_socket: NotRequired[bool]
    """Docker: it gets the daemon's socket, and with it the whole machine. Default: false."""
    docker_only: NotRequired[str]
    """Why it can't be on Kubernetes."""
    unverified: NotRequired[bool]
    """Nobody has run this image with this hardening yet. Default: false."""
    source: NotRequired[SourceArgs]
    """Where its program is in the checkout of its system."""


class AppTierArgs(TypedDict):
    """Arguments of AppTier."""

    site: SiteRef
    """Where: the `ref` of a Site."""
    services: dict[str, WorkloadArgs]
    """The services by host name."""
    connections: NotRequired[Mapping[str, pulumi.Input[ConnectionArgs]]]
    """The stores that they may refer to: a DataTier's `connections`."""
    endpoints: NotRequired[Mapping[str, EndpointArgs]]
    """Services of other tiers that they may depend on: an AppTier's `endpoints`."""


class AppTierSpec(Model):
    """AppTierArgs without what other components give, checked."""

    site: Place
    services: dict[Name, Workload]


class AppTier(Component):
    """The services of a system."""

    urls: pulumi.Output[dict[str, list[str]]]
    """Where the published services are reached, by service."""
    endpoints: dict[str, EndpointArgs]
    """Where the services are reached in their site, by service."""

    def __init__(
        self, name: str, args: AppTierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        kind = f"{type(self).__name__} {name}"
        spec = validated(AppTierSpec, args, kind, ("connections", "endpoints"))
        refuse(_check_given(kind, args, "connections"), _check_given(kind, args, "endpoints"))
        self._connections = args.get("connections", {})
        self._elsewhere = args.get("endpoints", {})
        place = f"{kind}: services"
        engines = _engines(self._connections)
        refuse(check_models(place, spec.services, self._connections, engines))
        services = {key: with_models(key, workload) for key, workload in spec.services.items()}
        target = spec.site.target
        refuse(
            check_services(
                place, services, target, self._connections, self._elsewhere, engines=engines
            ),
            check_gpus({f"{place}.{key}": item for key, item in services.items()}, target),
            check_networks(members(place, services), spec.site.networks, target),
            (
                Mistake(
                    f"{place}.{service}.queue",
                    f"there is no store '{workload.queue}' in 'connections'",
                    nearest(workload.queue, self._connections),
                )
                for service, workload in spec.services.items()
                if workload.queue is not None and workload.queue not in self._connections
            ),
            _check_scaling(place, services, self._connections, target),
            (
                Mistake(
                    f"{place}.{service}.per_node",
                    "the site has no namespace for what runs on every node",
                    "set 'collectors' of the Site",
                )
                for service, workload in services.items()
                if workload.per_node and target is not Target.DOCKER and not spec.site.collectors
            ),
            (
                Mistake(f"{place}.{service}.secrets.{variable}", "is missing", "it needs this one")
                for service, workload in spec.services.items()
                for variable in workload.required_secrets
                if variable not in workload.secrets
            ),
            check_provider(kind, target, opts),
        )
        super().__init__(name, opts)
        self._services = services
        self._site = placed(args["site"])
        self._platform = platform_for(self._site["target"])
        for key, workload in services.items():
            at = f"{system_of(self._site)}: services.{key}"
            for doubt in workload_doubts(at, workload, target):
                pulumi.log.warn(doubt)
        self._passwords = Passwords(self, self._site, configured())
        self._running: dict[str, Running] = {}
        for service in services:
            self._run(service)
        published = {
            service: pulumi.Output.all(*running.urls)
            for service, running in self._running.items()
            if running.urls
        }
        # Of nothing, `all` makes a list.
        self.urls = pulumi.Output.all(**published) if published else pulumi.Output.from_input({})
        self.endpoints = {
            service: {
                "host": running.host,
                "ports": [port.target for port in services[service].ports],
                "ready": pulumi.Output.all(running.host, running.ready).apply(lambda it: it[0]),
            }
            for service, running in self._running.items()
        }
        self.register_outputs({"urls": self.urls, "endpoints": self.endpoints})

    def _run(self, service: str) -> Running:
        """What it depends on comes first."""
        if service not in self._running:
            workload = self._services[service]
            self._running[service] = self._platform.run(
                self,
                self._site,
                service,
                resolved(workload, self._value),
                self._after(workload),
                queue=self._connections[workload.queue] if workload.queue else None,
            )
        return self._running[service]

    def _value(self, reference: Reference) -> pulumi.Input[str]:
        if reference.store == GENERATED:
            return self._passwords.of(reference.field)
        return _field(self._connections[reference.connection], reference.field)

    def _after(self, workload: Workload) -> After:
        gates: list[pulumi.Output[list[pulumi.Resource]]] = []
        for other, condition in workload.depends_on.items():
            # "Started" says nothing that a program could rely on: no need to hold anything up.
            if condition is Condition.SERVICE_STARTED:
                continue
            if other in self._services:
                gates.append(self._run(other).ready)
                continue
            ready = (
                _field(self._connections[other], "ready")
                if other in self._connections
                else self._elsewhere[other].get("ready", "")
            )
            gates.append(pulumi.Output.from_input(ready).apply(lambda _: []))
        return gates


def _engines(connections: Mapping[str, pulumi.Input[ConnectionArgs]]) -> dict[str, str]:
    """The kinds of the stores. In other languages, they are known later."""
    kinds = {
        name: store.get("engine")
        for name, store in connections.items()
        if isinstance(store, Mapping)
    }
    return {name: kind for name, kind in kinds.items() if isinstance(kind, str)}


def _check_scaling(
    place: str,
    services: Mapping[str, Workload],
    connections: Mapping[str, pulumi.Input[ConnectionArgs]],
    target: Target,
) -> Iterator[Mistake]:
    """Queues that nobody can measure. In other languages, the kind of a store is known later."""
    for service, workload in services.items():
        scale = workload.autoscale
        store = connections.get(workload.queue or "")
        kind = store.get("engine") if isinstance(store, Mapping) else None
        if scale is None or scale.queue_name is None or target is Target.DOCKER:
            continue
        if isinstance(kind, str) and (engine := ENGINES.get(kind)):
            yield from check_scaler(f"{place}.{service}", engine, scale)


def _check_given(place: str, args: Mapping[str, Any], key: str) -> Iterator[Mistake]:
    """What other components give: a map of maps, or of Outputs of them."""
    remedy = f"pass the '{key}' of a component, or leave it out"
    given = args.get(key, {})
    if not isinstance(given, Mapping):
        yield Mistake(f"{place}: {key}", f"this is {_kind(given)}", remedy)
        return
    for name, item in given.items():
        later = isinstance(item, pulumi.Output) and key == "connections"
        if not (isinstance(item, Mapping) or later):
            yield Mistake(f"{place}: {key}.{name}", f"this is {_kind(item)}", remedy)


def _kind(value: object) -> str:
    """A text may be a secret."""
    return "a text" if isinstance(value, str) else shown(value)


def _field(connection: pulumi.Input[ConnectionArgs], field: str) -> pulumi.Input[str]:
    if isinstance(connection, Mapping):
        return cast("Mapping[str, pulumi.Input[str]]", connection).get(field, "")
    # In other languages the whole connection is an output.
    known = cast("pulumi.Output[Mapping[str, str]]", pulumi.Output.from_input(connection))
    return known.apply(lambda connection: connection.get(field, ""))
