"""Observability: what watches a system, as a component."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NotRequired, TypedDict, cast

import pulumi
from pydantic import AfterValidator, Field, ValidationError

from pulumi_tiers.app_tier import AppTier, AppTierArgs, WorkloadArgs
from pulumi_tiers.component import refuse, validated
from pulumi_tiers.data_tier import ResourcesArgs, StoreArgs
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model import observability as model
from pulumi_tiers.model.base import Flag, Model, Name, PortNumber, Whole
from pulumi_tiers.model.edge import Edge, Route, Upstream
from pulumi_tiers.model.edge_texts import HostName
from pulumi_tiers.model.errors import Mistake, mistakes_of, nearest, reject, shown
from pulumi_tiers.model.place import Place
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.tls import Tls, TlsMode
from pulumi_tiers.model.workload import Healthcheck, Metrics, Port, Workload
from pulumi_tiers.observability.logs import INDEX
from pulumi_tiers.observability.workloads import check_observability, observability_workloads
from pulumi_tiers.platforms.base import ConnectionArgs, EndpointArgs, SiteRef, placed, system_of


class WatchedTargetArgs(TypedDict):
    """A program that exports metrics. Its key is its endpoint."""

    port: NotRequired[int]
    """Where its metrics are. Default: its first port."""
    path: NotRequired[str]
    """Path of its metrics. Default: /metrics."""
    interval: NotRequired[str]
    """How often it is asked. Default: as often as everything."""
    replicas: NotRequired[int]
    """How many of it there are to be. Default: 1."""
    health: NotRequired[str]
    """Path of its health check, which is asked too. Default: none."""


class WatchedEdgeArgs(TypedDict):
    """An EdgeProxy, whose `status_allow` lets its exporter in. Its key is its `host`."""

    tls: NotRequired[bool]
    """It has a certificate, whose end is watched. Default: false."""
    server_name: NotRequired[str]
    """The host name that it is asked for. Default: its host."""
    networks: NotRequired[list[str]]
    """Those of the site that it is in. Default: all of them."""


class PrometheusArgs(TypedDict):
    """The server that asks for metrics and evaluates rules."""

    image: NotRequired[pulumi.Input[str]]
    """Image of Prometheus, 2.42 or newer."""
    scrape_interval: NotRequired[str]
    """How often everything is asked. Default: 15s."""
    evaluation_interval: NotRequired[str]
    """How often rules are looked at. Default: 15s."""
    retention_days: NotRequired[int]
    """Days of data. Default: 15."""
    size: NotRequired[str]
    """Size of its volume; four fifths are filled at most. Default: 10Gi."""
    published: NotRequired[int]
    """Port of the Docker host, on 127.0.0.1. Default: none, in development 9090."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: 0.5 CPUs and 512m."""


class SlackArgs(TypedDict):
    """A Slack channel."""

    webhook_url: pulumi.Input[str]
    """Of an incoming webhook. Secret: who has it can write there."""
    channel: NotRequired[str]
    """Default: the webhook's own."""


class DiscordArgs(TypedDict):
    """A Discord channel."""

    webhook_url: pulumi.Input[str]
    """As Discord shows it. Secret: who has it can write there."""


class EmailArgs(TypedDict):
    """Messages by e-mail."""

    to: list[str]
    """Addresses."""
    sender: str
    """Address that they come from."""
    smarthost: str
    """Host and port of the server that takes them: ``smtp.example.com:587``."""
    username: NotRequired[str]
    """Who logs in there. Default: nobody."""
    password: NotRequired[pulumi.Input[str]]
    """The user's password."""
    tls: NotRequired[bool]
    """Insist on encryption. Default: true."""


class AlertsArgs(TypedDict):
    """Alertmanager, and whom it tells."""

    image: NotRequired[pulumi.Input[str]]
    """Image of Alertmanager, 0.25 or newer."""
    published: NotRequired[int]
    """Port of the Docker host, on 127.0.0.1. Default: none, in development 9093."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: 0.25 CPUs and 64m."""
    slack: NotRequired[SlackArgs]
    """A Slack channel. Default: none."""
    discord: NotRequired[DiscordArgs]
    """A Discord channel. Default: none."""
    email: NotRequired[EmailArgs]
    """Messages by e-mail. Default: none."""
    group_wait: NotRequired[str]
    """How long alerts of a family are waited for, to be told together. Default: 30s."""
    group_interval: NotRequired[str]
    """The shortest time between two messages about one family. Default: 5m."""
    repeat_interval: NotRequired[str]
    """What still fires is told again. Default: 4h."""


class GrafanaArgs(TypedDict):
    """Dashboards."""

    image: NotRequired[pulumi.Input[str]]
    """Image of Grafana."""
    published: NotRequired[int]
    """Port of the Docker host, on 127.0.0.1. Default: none, in development 3000."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: 0.5 CPUs and 256m."""
    size: NotRequired[str]
    """Size of its volume. Default: 1Gi."""
    extra_dashboards: NotRequired[dict[str, str]]
    """Dashboards of your own, in Grafana's JSON, by the names of their files."""


class LogsArgs(TypedDict):
    """What brings logs into an Elasticsearch, and Kibana."""

    version: NotRequired[str]
    """Of Elastic's images. Default: 8.8.0."""
    store: NotRequired[str]
    """The DataTier's store for the logs, whose index `logs` has the owner `logs`, and says how long
    they are kept. Default: elasticsearch."""
    collect: NotRequired[bool]
    """Filebeat reads what all containers of a machine print. Default: true."""
    published: NotRequired[int]
    """Kibana's port of the Docker host, on 127.0.0.1. Default: none, in development 5601."""
    images: NotRequired[dict[str, pulumi.Input[str]]]
    """By logstash, kibana and filebeat. Default: Elastic's own."""


class ProgramMetricsArgs(TypedDict):
    """What the programs call what they tell of themselves. An empty text: they don't tell it."""

    requests: NotRequired[str]
    """A counter with the label `status`. Default: http_requests_total."""
    duration: NotRequired[str]
    """A histogram of seconds. Default: http_request_duration_seconds."""
    dependency_up: NotRequired[str]
    """1 or 0, with the label `dependency`. Default: dependency_up."""
    login_failures: NotRequired[str]
    """A counter. Default: login_failures_total."""
    jobs: NotRequired[str]
    """A counter with the label `outcome`. Default: jobs_processed_total."""
    job_duration: NotRequired[str]
    """A histogram of seconds. Default: job_duration_seconds."""
    job_quality: NotRequired[str]
    """A histogram of 0 to 1. Default: job_quality."""
    queue_length: NotRequired[str]
    """Jobs that wait, with the label `queue`. Default: queue_depth."""


class ThresholdsArgs(TypedDict):
    """When it is too much."""

    response_seconds: NotRequired[float]
    """Seconds that 95 of 100 requests take at most. Default: 1."""
    cpu_percent: NotRequired[float]
    """Of a machine's CPUs. Default: 85."""
    memory_percent: NotRequired[float]
    """Of a machine's memory. Default: 90."""
    connections_percent: NotRequired[float]
    """Of a store's connections. Default: 80."""
    store_memory_percent: NotRequired[float]
    """Of the memory that a store allows itself. Default: 90."""
    error_percent: NotRequired[float]
    """Of requests that are answered with 5xx. Default: 5."""
    disk_percent: NotRequired[float]
    """Of a file system, or a store's. Default: 85."""
    certificate_days: NotRequired[int]
    """Days that a certificate is still good for. Default: 14."""
    login_failures_per_minute: NotRequired[float]
    """Over five minutes. Default: 10."""
    rate_limited_per_minute: NotRequired[float]
    """Answers with 429, over five minutes. Default: 60."""
    queue_length: NotRequired[float]
    """Jobs that wait. Default: 1000."""
    idle_hours: NotRequired[int]
    """Hours without a job that was done. Default: 24."""
    failed_jobs_percent: NotRequired[float]
    """Of the jobs. Default: 10."""
    job_quality: NotRequired[float]
    """The least average, 0 to 1. Default: 0.7."""


class RuleArgs(TypedDict):
    """An alert of your own."""

    expr: str
    """PromQL: an alert for each series that it finds."""
    family: model.Family
    """performance, availability, security or business."""
    summary: str
    """One line for people; ``{{ $labels.job }}`` as Prometheus has it."""
    action: str
    """What to do."""
    pending: NotRequired[str]
    """How long it must find it before the alert fires. Default: 5m."""
    severity: NotRequired[model.Severity]
    """critical, warning or info. Default: warning."""


class ObservabilityArgs(TypedDict):
    """Arguments of Observability."""

    site: SiteRef
    """Where: the `ref` of a Site."""
    targets: NotRequired[dict[str, WatchedTargetArgs]]
    """Programs that export metrics, by the names of their endpoints."""
    endpoints: NotRequired[Mapping[str, EndpointArgs]]
    """Where the targets are: the `endpoints` of an AppTier, or of several tiers together."""
    stores: NotRequired[dict[str, StoreArgs]]
    """The stores, as the DataTier has them."""
    connections: NotRequired[Mapping[str, pulumi.Input[ConnectionArgs]]]
    """How their exporters connect: the DataTier's `connections`."""
    edges: NotRequired[dict[str, WatchedEdgeArgs]]
    """EdgeProxies, by their host names."""
    environment: NotRequired[Environment]
    """development publishes the documented ports on 127.0.0.1. Default: production."""
    enabled: NotRequired[bool]
    """False: nothing watches it. Default: true."""
    prometheus: NotRequired[PrometheusArgs]
    """The server that asks for metrics."""
    alerts: NotRequired[AlertsArgs]
    """Alertmanager, and whom it tells. Default: it tells nobody, and shows alerts."""
    grafana: NotRequired[GrafanaArgs]
    """Dashboards."""
    logs: NotRequired[LogsArgs]
    """Kibana, and what brings logs. Default: none."""
    node: NotRequired[bool]
    """Watch the machines too. Default: true."""
    intervals: NotRequired[dict[str, str]]
    """How often a job is asked, by its name: a store's or a target's."""
    program: NotRequired[ProgramMetricsArgs]
    """What the targets call what they tell."""
    thresholds: NotRequired[ThresholdsArgs]
    """When it is too much."""
    without: NotRequired[list[str]]
    """Rules that are left out, by name."""
    extra_rules: NotRequired[dict[str, RuleArgs]]
    """Alerts of your own, by name."""
    exports: NotRequired[list[str]]
    """Further metrics that the targets export."""
    service_monitors: NotRequired[str]
    """Kubernetes: the namespace of another Prometheus, whose operator reads ServiceMonitors: what
    is made here gets some. Default: none. Everything else: `service_monitors` of the Site."""
    images: NotRequired[dict[str, pulumi.Input[str]]]
    """Images of exporters by engine, or node, nginx, blackbox."""


def _path(value: str) -> str:
    try:
        return Metrics(path=value).path
    except ValidationError as error:
        found = mistakes_of(error)[0]
        raise reject(found.why, found.remedy) from None


class WatchedTarget(Metrics):
    """WatchedTargetArgs, checked."""

    replicas: Annotated[Whole, Field(ge=1, le=100)] = 1
    health: Annotated[str, AfterValidator(_path)] | None = None


class WatchedEdge(Model):
    """WatchedEdgeArgs, checked."""

    tls: Flag = False
    server_name: HostName | None = None
    networks: list[Name] = []


class Reached(Model):
    """Of EndpointArgs, what is needed here."""

    host: Name
    ports: list[PortNumber]
    ready: Any = None


class ObservabilitySpec(model.Observability):
    """ObservabilityArgs, checked."""

    site: Place
    targets: dict[Name, WatchedTarget] = {}
    endpoints: dict[str, Reached] = {}
    stores: dict[Name, Store] = {}
    edges: dict[Name, WatchedEdge] = {}
    environment: Environment = Environment.PRODUCTION


MADE = "made"
"""Instead of all keys that say what is watched: the workloads, as a plan has made them."""


class Observability(AppTier):
    """What watches a system: Prometheus, exporters, Alertmanager, Grafana."""

    # Again, because other languages are told what stands in the class itself.
    urls: pulumi.Output[dict[str, list[str]]]
    """Where the published ones are reached, by service."""
    endpoints: dict[str, EndpointArgs]
    """Where they are reached in their site, by service."""

    def __init__(
        self, name: str, args: ObservabilityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        made = args.get(MADE) if isinstance(args, Mapping) else None
        workloads = made or _workloads(f"{type(self).__name__} {name}", args)
        site = args["site"]
        if "service_monitors" in args:
            site = cast("SiteRef", {**site, "service_monitors": args["service_monitors"]})
        tier: AppTierArgs = {
            "site": site,
            "services": cast("dict[str, WorkloadArgs]", workloads),
        }
        if "connections" in args:
            tier["connections"] = args["connections"]
        if "endpoints" in args:
            tier["endpoints"] = args["endpoints"]
        super().__init__(name, tier, opts)


def _workloads(kind: str, args: ObservabilityArgs) -> dict[str, Workload]:
    spec = validated(ObservabilitySpec, args, kind, ("connections",))
    if not spec.enabled:
        return {}
    refuse(_check(kind, spec))
    system = _as_system(kind, system_of(placed(args["site"])), spec)
    refuse(check_observability(f"{kind}: ", system, spec, spec.site.target))
    return observability_workloads(system, spec, spec.site.target)


def _check(kind: str, spec: ObservabilitySpec) -> Iterator[Mistake]:
    for name, store in spec.stores.items():
        if store.engine not in ENGINES:
            why = f"there is no engine {shown(store.engine)}"
            yield Mistake(f"{kind}: stores.{name}.engine", why, nearest(store.engine, ENGINES))
    yield from _check_logs(kind, spec)
    for name, target in spec.targets.items():
        at = f"{kind}: targets.{name}"
        if name not in spec.endpoints:
            why = f"there is no '{name}' in 'endpoints'"
            yield Mistake(at, why, nearest(name, spec.endpoints))
            continue
        ports = spec.endpoints[name].ports
        if not ports:
            yield Mistake(at, f"'{name}' listens on no port", "give it the port, or remove it")
        elif target.port is not None and target.port not in ports:
            listing = ", ".join(map(str, ports))
            yield Mistake(
                f"{at}.port", f"'{name}' does not listen on {target.port}", f"it does on {listing}"
            )


def _check_logs(kind: str, spec: ObservabilitySpec) -> Iterator[Mistake]:
    """The store of the logs is not made here, unlike in a plan: it has to be right already."""
    logs = spec.logs
    if logs is None:
        return
    for key in sorted({"retention_days", "size"} & logs.model_fields_set):
        why = f"the store '{logs.store}' is the DataTier's, and says this itself"
        yield Mistake(f"{kind}: logs.{key}", why, "set its size, and its index's retention")
    store = spec.stores.get(logs.store)
    if store is None:
        why = f"there is no '{logs.store}' in 'stores'"
        yield Mistake(f"{kind}: logs.store", why, nearest(logs.store, spec.stores))
    elif not any(index.name == index.owner == INDEX for index in store.indices):
        why = f"'{logs.store}' has no index '{INDEX}' with the owner '{INDEX}'"
        remedy = f"add {{name: {INDEX}, owner: {INDEX}, retention: 14}} to its indices"
        yield Mistake(f"{kind}: logs.store", why, f"{remedy}; docs/logs.md has its fields")


def _as_system(kind: str, name: str, spec: ObservabilitySpec) -> System:
    """What is watched, as a description has it: as much of that as watching needs."""
    nobody = Upstream(endpoint="nobody")
    try:
        return System(
            name=name,
            title=name,
            environment=spec.environment,
            stores=spec.stores,
            services={key: _service(spec, key, item) for key, item in spec.targets.items()},
            edges={
                key: Edge(
                    upstreams={"nobody": nobody},
                    routes=[Route(path="/", upstream="nobody")],
                    tls=Tls(mode=TlsMode.SELF_SIGNED if edge.tls else TlsMode.OFF),
                    server_names=[edge.server_name] if edge.server_name else [],
                    networks=edge.networks,
                )
                for key, edge in spec.edges.items()
            },
        )
    except ValidationError as error:
        refuse(mistakes_of(error, kind))
        raise


def _service(spec: ObservabilitySpec, name: str, target: WatchedTarget) -> Workload:
    ports = spec.endpoints[name].ports
    return Workload(
        image="watched",
        ports=[Port(target=port) for port in ports],
        metrics=Metrics(path=target.path, port=target.port, interval=target.interval),
        healthcheck=Healthcheck(test=["NONE"], path=target.health) if target.health else None,
        replicas=target.replicas,
    )
