"""Prometheus: whom it asks, how often, and what it keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import is_managed
from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import CONFIGS, Metrics, Port, Volume, Workload
from pulumi_tiers.observability.exporters import (
    BLACKBOX,
    EXPORTERS,
    health,
    job_name,
    probes,
)
from pulumi_tiers.observability.metrics import programs

PROMETHEUS = "prometheus"
PORT = 9090
IMAGE = "prom/prometheus:v3.5.0"
_DATA = "/prometheus"
_MEBIBYTES = {"Mi": 1, "Gi": 1024, "Ti": 1024**2}
_POD = "__meta_kubernetes_pod"


@dataclass(frozen=True)
class Job:
    """What is asked together: the replicas of one workload."""

    name: str
    #: Host name of the workload.
    host: str
    port: int
    path: str
    #: How often, where not as often as everything.
    interval: str | None
    replicas: int = 1
    #: One on each machine.
    per_node: bool = False
    #: The number of replicas may be larger.
    autoscaled: bool = False

    @property
    def discovered(self) -> bool:
        """On Docker: whether its name has several addresses, or may have none."""
        return self.replicas > 1


def jobs(
    system: System,
    observability: Observability,
    target: Target,
    watchers: Mapping[str, Workload],
) -> list[Job]:
    """All that has metrics: the system's programs and stores, and what watches them."""
    every = {**programs(system), **watchers}
    for name, store in system.stores.items():
        engine = ENGINES.get(store.engine)
        # What is wrong with a store is told elsewhere.
        if engine and not engine.check(store) and not is_managed(store, target):
            every[name] = engine.workload(name, store)
    found: list[Job] = []
    for name, workload in every.items():
        metrics = workload.metrics
        if metrics is None or workload.job or not workload.ports:
            continue
        job = job_name(name) if name in watchers else name
        found.append(
            Job(
                name=job,
                host=name,
                port=metrics.port or workload.ports[0].target,
                path=metrics.path,
                interval=metrics.interval or observability.intervals.get(job),
                replicas=workload.autoscale.min if workload.autoscale else workload.replicas,
                per_node=workload.per_node,
                autoscaled=workload.autoscale is not None,
            )
        )
    return found


def configuration(
    system: System,
    observability: Observability,
    target: Target,
    found: list[Job],
) -> str:
    """prometheus.yml. Prometheus 2.42 and newer take it."""
    settings = observability.prometheus
    document: dict[str, Any] = {
        "global": {
            "scrape_interval": settings.scrape_interval,
            "scrape_timeout": _timeout(settings.scrape_interval),
            "evaluation_interval": settings.evaluation_interval,
            "external_labels": {
                "system": system.name,
                "environment": system.environment_label or system.environment.value,
            },
        },
        "rule_files": [f"{CONFIGS}/rules.yml"],
    }
    if observability.alerts:
        targets = [{"targets": ["alertmanager:9093"]}]
        document["alerting"] = {"alertmanagers": [{"static_configs": targets}]}
    if target is Target.DOCKER:
        scrape = [_docker_job(job, settings.scrape_interval) for job in found]
    else:
        scrape = [_pods(found, observability)]
        scrape += [_by_name(job, settings.scrape_interval) for job in found if job.per_node]
    document["scrape_configs"] = [*scrape, *_probe_jobs(system, target)]
    return yaml.safe_dump(document, sort_keys=False, width=1000)


def _timeout(interval: str) -> str:
    """Prometheus' own 10s, and never more than the interval."""
    return "10s" if seconds(interval) >= 10 else interval


def _of(job: Job, default: str) -> dict[str, Any]:
    made: dict[str, Any] = {"job_name": job.name}
    if job.interval and job.interval != default:
        made |= {"scrape_interval": job.interval, "scrape_timeout": _timeout(job.interval)}
    if job.path != "/metrics":
        made["metrics_path"] = job.path
    return made


def _docker_job(job: Job, default: str) -> dict[str, Any]:
    """By its name: one that is away is down, and not forgotten."""
    if job.discovered:
        return _by_name(job, default)
    return {**_of(job, default), "static_configs": [{"targets": [f"{job.host}:{job.port}"]}]}


def _by_name(job: Job, default: str) -> dict[str, Any]:
    """All addresses that DNS has for the name: each replica is a target."""
    names = {"names": [job.host], "type": "A", "port": job.port, "refresh_interval": "15s"}
    return {**_of(job, default), "dns_sd_configs": [names]}


def _pods(found: list[Job], observability: Observability) -> dict[str, Any]:
    """Kubernetes: every pod of the namespace that its annotations want to be asked.

    The labels `job` and `pod` are as on Docker and beyond: an exporter speaks for what it asks.
    """
    annotation = f"{_POD}_annotation_prometheus_io"
    return {
        "job_name": "pods",
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"own_namespace": True}}],
        "relabel_configs": [
            {"source_labels": [f"{annotation}_scrape"], "action": "keep", "regex": "true"},
            {"source_labels": [f"{_POD}_phase"], "action": "drop", "regex": "Succeeded|Failed"},
            # Once per pod, however many ports it has.
            {
                "source_labels": [f"{_POD}_ip", f"{annotation}_port"],
                "separator": ":",
                "regex": "(.+:.+)",
                "target_label": "__address__",
            },
            {
                "source_labels": [f"{annotation}_path"],
                "regex": "(.+)",
                "target_label": "__metrics_path__",
            },
            {
                "source_labels": [f"{annotation}_interval"],
                "regex": "(.+)",
                "target_label": "__scrape_interval__",
            },
            {"source_labels": [f"{_POD}_label_app"], "target_label": "job"},
            {
                "source_labels": [f"{_POD}_label_app"],
                "regex": "(.+)-exporter",
                "target_label": "job",
            },
            {"source_labels": [f"{_POD}_name"], "target_label": "pod"},
            *(
                {
                    "source_labels": ["job"],
                    "regex": job.name,
                    "target_label": "__scrape_interval__",
                    "replacement": job.interval,
                }
                for job in found
                if job.name in observability.intervals
            ),
            # A target whose timeout is longer than its interval is dropped: `_timeout`, again.
            {
                "source_labels": ["__scrape_interval__"],
                "regex": "([1-9]s(?:[0-9]+ms)?|[1-9][0-9]{3}ms)",
                "target_label": "__scrape_timeout__",
            },
        ],
    }


def _probe_jobs(system: System, target: Target) -> list[dict[str, Any]]:
    """What is asked through the blackbox exporter. The label `service` says who answers."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for probe in probes(system, target):
        key = (probe.job, probe.module)
        name = probe.job if probe.job not in {job for job, _ in made} else "/".join(key)
        config = made.setdefault(
            key,
            {
                "job_name": name,
                "metrics_path": "/probe",
                "params": {"module": [probe.module]},
                "static_configs": [],
                "relabel_configs": [
                    {"source_labels": ["__address__"], "target_label": "__param_target"},
                    {"source_labels": ["__param_target"], "target_label": "instance"},
                    {
                        "target_label": "__address__",
                        "replacement": f"{BLACKBOX}:{EXPORTERS['blackbox'].port}",
                    },
                ],
            },
        )
        config["static_configs"].append(
            {"targets": [probe.target], "labels": {"job": probe.job, "service": probe.service}}
        )
    return list(made.values())


def prometheus_workload(system: System, observability: Observability, target: Target) -> Workload:
    """The server, without its `configs`."""
    settings = observability.prometheus
    size = int(settings.size[:-2]) * _MEBIBYTES[settings.size[-2:]]
    return Workload(
        image=settings.image or IMAGE,
        command=[
            f"--config.file={CONFIGS}/prometheus.yml",
            f"--storage.tsdb.path={_DATA}",
            f"--storage.tsdb.retention.time={settings.retention_days}d",
            # The newest hours are not counted.
            f"--storage.tsdb.retention.size={max(1, size * 4 // 5)}MB",
        ],
        ports=[
            Port(
                target=PORT,
                published=published(system, target, settings.published, PORT),
            )
        ],
        volumes=[Volume(name=f"{PROMETHEUS}-data", target=_DATA, size=settings.size)],
        metrics=Metrics(),
        # Until it has read its log of the last hours again.
        healthcheck=health(PORT, "/-/ready").model_copy(update={"start_period": "60s"}),
        resources=settings.resources,
        user="65534:65534",
        # It writes what is in its memory.
        stop_grace_period="60s",
        discovers=target is not Target.DOCKER,
        unverified=True,
    )


def published(system: System, target: Target, given: int | None, documented: int) -> int | None:
    """The port of the Docker host: as given, else the documented one in development."""
    if given is None and system.environment is Environment.DEVELOPMENT:
        given = documented
    return given if target is Target.DOCKER else None
