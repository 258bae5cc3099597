"""Alerts: the four documented families as rules of Prometheus. All numbers are ours.

Each says in its labels what it is about (`family`), how soon somebody has to look (`severity`) and
at which threshold it fires; in its annotations what has happened (`summary`) and what to do
(`runbook`). Expressions keep the label `job`, by which Alertmanager groups and inhibits.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from pulumi_tiers.model.errors import Mistake, nearest
from pulumi_tiers.model.observability import Family, Observability, Severity
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.observability.exporters import CERTIFICATE_JOB, HEALTH_JOB, probes
from pulumi_tiers.observability.metrics import exported, has_programs, sources
from pulumi_tiers.observability.prometheus import Job
from pulumi_tiers.promql import metrics_in

_P, _A, _S, _B = Family.PERFORMANCE, Family.AVAILABILITY, Family.SECURITY, Family.BUSINESS
_CRITICAL, _WARNING, _INFO = Severity.CRITICAL, Severity.WARNING, Severity.INFO

#: What tells whether a store answers, by engine. The others are asked themselves: `up`.
_STORE_UP = {
    "postgres": "pg_up",
    "redis": "redis_up",
    "mongo": "mongodb_up",
    "mssql": "mssql_up",
}
#: What programs call the engine in their label `engine`.
_ENGINE_LABEL = {"minio": "s3"}
#: Percent of the connections that a store takes.
_CONNECTIONS = {
    "postgres": "100 * sum by (job) (pg_stat_activity_count)"
    " / max by (job) (pg_settings_max_connections)",
    "redis": "100 * max by (job) (redis_connected_clients)"
    " / max by (job) (redis_config_maxclients)",
    "mongo": '100 * max by (job) (mongodb_ss_connections{conn_type="current"})'
    ' / (max by (job) (mongodb_ss_connections{conn_type="current"})'
    ' + max by (job) (mongodb_ss_connections{conn_type="available"}))',
}
#: Percent of the memory that a store allows itself.
_MEMORY = {
    "redis": "100 * max by (job) (redis_memory_used_bytes)"
    " / (max by (job) (redis_memory_max_bytes) > 0)",
    "rabbitmq": "100 * max by (job) (rabbitmq_process_resident_memory_bytes)"
    " / max by (job) (rabbitmq_resident_memory_limit_bytes)",
    "elasticsearch": '100 * max by (job) (elasticsearch_jvm_memory_used_bytes{area="heap"})'
    ' / max by (job) (elasticsearch_jvm_memory_max_bytes{area="heap"})',
}
#: Percent of the disk that a store has in use, where it tells.
_DISK = {
    "minio": "100 * (1 - max by (job) (minio_cluster_capacity_usable_free_bytes)"
    " / max by (job) (minio_cluster_capacity_usable_total_bytes))",
    "elasticsearch": "100 * (1 - min by (job) (elasticsearch_filesystem_data_available_bytes"
    " / elasticsearch_filesystem_data_size_bytes))",
}


@dataclass(frozen=True)
class Alert:
    """A rule."""

    name: str
    expr: str
    pending: str
    family: Family
    severity: Severity
    summary: str
    runbook: str
    #: The key in `Thresholds` and its value, where there is one.
    threshold: str = ""
    #: Further labels.
    labels: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """As Prometheus has it."""
        labels = {"family": self.family.value, "severity": self.severity.value, **dict(self.labels)}
        if self.threshold:
            labels["threshold"] = self.threshold
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.pending,
            "labels": labels,
            "annotations": {"summary": self.summary, "runbook": self.runbook},
        }


def alerts(
    system: System, observability: Observability, target: Target, jobs: Sequence[Job]
) -> list[Alert]:
    """All of the system's alerts: ours for what it has, and those of its description."""
    made = _Rules(system, observability, target, jobs)
    found = [alert for alert in made.every() if alert.name not in observability.without]
    found += [
        Alert(
            name,
            rule.expr,
            rule.pending,
            rule.family,
            rule.severity,
            rule.summary,
            rule.action,
        )
        for name, rule in observability.extra_rules.items()
    ]
    return found


def rules_file(found: Sequence[Alert]) -> str:
    """rules.yml: one group per family."""
    groups = [
        {
            "name": family.value,
            "rules": [alert.document() for alert in found if alert.family is family],
        }
        for family in Family
    ]
    return yaml.safe_dump(
        {"groups": [group for group in groups if group["rules"]]}, sort_keys=False, width=1000
    )


def check_rules(
    place: str,
    system: System,
    observability: Observability,
    target: Target,
    jobs: Sequence[Job],
) -> Iterator[Mistake]:
    """What only the system shows of the rules in its description. `place` is put before keys."""
    known = exported(system, observability, target)
    own = {alert.name for alert in _Rules(system, observability, target, jobs).every()}
    for name, rule in observability.extra_rules.items():
        for metric in sorted(metrics_in(rule.expr) - known):
            why = f"nothing of '{system.name}' exports the metric '{metric}'"
            remedy = f"{nearest_metric(metric, known)} If a program does, name it in 'exports'"
            yield Mistake(f"{place}extra_rules.{name}.expr", why, remedy)
        if name in own and name not in observability.without:
            why = "one of ours is called so"
            yield Mistake(
                f"{place}extra_rules.{name}", why, "rename it, or leave ours out by 'without'"
            )
    for position, name in enumerate(observability.without):
        if name not in NAMES:
            why = f"there is no rule '{name}'"
            yield Mistake(f"{place}without[{position}]", why, nearest(name, NAMES))


def nearest_metric(metric: str, known: frozenset[str]) -> str:
    """Which one may be meant: all of them would fill a page."""
    text = nearest(metric, known)
    return text.partition("? ")[0] + "?" if text.startswith("did you mean") else "correct the name."


@dataclass(frozen=True)
class _Rules:
    """Ours, for one system."""

    system: System
    observability: Observability
    target: Target
    jobs: Sequence[Job]

    def every(self) -> Iterator[Alert]:
        yield from self._targets()
        yield from self._stores()
        yield from self._programs()
        yield from self._jobs()
        if "node" in self._sources:
            yield from self._machines()
        yield from self._probes()
        yield from self._own()

    @property
    def _sources(self) -> list[str]:
        return sources(self.system, self.observability, self.target)

    def _over(
        self, key: str, name: str, expr: str, pending: str, family: Family, *texts: str,
        severity: Severity = _WARNING, sign: str = ">", store: str = "",
    ) -> Alert:  # fmt: skip
        """Fires above a threshold, or below it."""
        limit = f"{getattr(self.observability.thresholds, key):g}"
        summary, runbook = texts
        return Alert(
            name, f"{expr} {sign} {limit}", pending, family, severity, summary, runbook,
            threshold=f"{key}={limit}",
            labels=_of_store(store),
        )  # fmt: skip

    # --- availability: whether everything is there ----------------------------------------------

    def _targets(self) -> Iterator[Alert]:
        yield Alert(
            "TargetDown",
            # A probe is answered by its exporter, whatever it finds.
            'up{job!~"probe/.*"} == 0',
            "1m",
            _A,
            _CRITICAL,
            "{{ $labels.job }} does not answer Prometheus ({{ $labels.instance }})",
            "Look whether it runs (tiers status) and at its log (tiers logs). After a deployment"
            " that was meant, it goes by itself.",
        )
        for job in self.jobs:
            # What is found by DNS or in a namespace is forgotten where it is away.
            if self.target is Target.DOCKER and not job.discovered:
                continue
            if job.replicas == 0 or job.per_node:
                continue
            yield Alert(
                "ReplicasMissing",
                f'count(up{{job="{job.name}"}} == 1) < {job.replicas}'
                f' or absent(up{{job="{job.name}"}})',
                "5m",
                _A,
                _WARNING if job.replicas > 1 else _CRITICAL,
                f"fewer than {job.replicas} of {{{{ $labels.job }}}} answer",
                "Look which one is missing (tiers status) and why it doesn't start (tiers logs).",
                # `count` has no labels, and `absent` those of its selector.
                labels=(("job", job.name),),
            )

    def _stores(self) -> Iterator[Alert]:
        for name, store in self.system.stores.items():
            engine = store.engine
            if engine not in self._sources:
                continue
            down = f'{_STORE_UP.get(engine, "up")}{{job="{name}"}} == 0'
            if engine == "elasticsearch":
                # Its exporter then says nothing of it.
                down = f'absent(elasticsearch_cluster_health_status{{job="{name}"}})'
            yield Alert(
                "StoreDown",
                down,
                "1m",
                _A,
                _CRITICAL,
                f"{name} does not take connections",
                "Look whether it runs (tiers status), at its log (tiers logs) and whether its disk"
                " is full. Restart it; restore a backup only if its files are damaged.",
                labels=(*_of_store(name), ("engine", _ENGINE_LABEL.get(engine, engine))),
            )
            if engine in _CONNECTIONS:
                yield self._over(
                    "connections_percent",
                    "ConnectionsRunningOut",
                    _of_job(_CONNECTIONS[engine], name),
                    "5m",
                    _P,
                    f'{name} has {{{{ $value | printf "%.0f" }}}} percent of its connections taken',
                    "Find who holds them; lower the pools of the services, or their replicas, or"
                    " raise the store's limit and its memory.",
                    store=name,
                )
            if engine in _MEMORY:
                yield self._over(
                    "store_memory_percent",
                    "StoreMemoryHigh",
                    _of_job(_MEMORY[engine], name),
                    "10m",
                    _P,
                    f'{name} uses {{{{ $value | printf "%.0f" }}}} percent of its memory',
                    "Look what fills it: keys without an expiry, queues that nobody reads. Raise"
                    " resources.memory if it is needed.",
                    store=name,
                )
            if engine in _DISK:
                yield self._over(
                    "disk_percent",
                    "DiskFilling",
                    _of_job(_DISK[engine], name),
                    "10m",
                    _A,
                    f'{name} has {{{{ $value | printf "%.0f" }}}} percent of its disk in use',
                    "Delete what nobody needs, or give its volume more room.",
                    store=name,
                )
            if engine == "elasticsearch":
                yield Alert(
                    "StoreUnhealthy",
                    f'elasticsearch_cluster_health_status{{job="{name}",color="red"}} == 1',
                    "5m",
                    _A,
                    _CRITICAL,
                    f"{name} is red: a part of its data can't be reached",
                    "Ask it why: GET _cluster/allocation/explain. Mostly its disk is full.",
                    labels=_of_store(name),
                )

    def _programs(self) -> Iterator[Alert]:
        if not has_programs(self.system):
            return
        program = self.observability.program
        if program.duration:
            yield self._over(
                "response_seconds",
                "HighResponseTime",
                f"histogram_quantile(0.95, sum by (job, le) (rate({program.duration}_bucket[5m])))",
                "5m",
                _P,
                "5 of 100 requests to {{ $labels.job }} take longer than"
                " {{ $value | humanizeDuration }}",
                "Look on the dashboard Performance since when, and whether a store is slow or the"
                " CPU is at its limit. More replicas help where the program is the bottleneck.",
            )
        if program.requests:
            asked = f"sum by (job) (rate({program.requests}[5m]))"
            failed = f'sum by (job) (rate({program.requests}{{status=~"5.."}}[5m]))'
            yield self._over(
                "error_percent",
                "HighErrorRate",
                f"100 * {failed} / {asked}",
                "5m",
                _A,
                '{{ $labels.job }} answers {{ $value | printf "%.1f" }} percent of requests with'
                " 5xx",
                "Look at its log (tiers logs) and at what it depends on. Go back to the image"
                " before, if it began with a deployment.",
                severity=_CRITICAL,
            )
            refused = f'sum by (job) (rate({program.requests}{{status="429"}}[5m]))'
            yield self._over(
                "rate_limited_per_minute",
                "ManyRateLimited",
                f"60 * {refused}",
                "5m",
                _S,
                '{{ $labels.job }} refuses {{ $value | printf "%.0f" }} requests per minute as'
                " too many",
                "Look in the log who asks. Lock that address out at the edge, or raise the limit if"
                " they are real clients.",
            )
        if program.login_failures:
            yield self._over(
                "login_failures_per_minute",
                "ManyLoginFailures",
                f"60 * sum by (job) (rate({program.login_failures}[5m]))",
                "1m",
                _S,
                '{{ $value | printf "%.0f" }} logins per minute fail at {{ $labels.job }}',
                "Look in the log for addresses and accounts. Lock the addresses out at the edge,"
                " and the accounts if one of them was guessed.",
                severity=_CRITICAL,
            )
        if program.dependency_up:
            yield Alert(
                "DependencyDown",
                f"min by (job, dependency, engine) ({program.dependency_up}) == 0",
                "2m",
                _A,
                _CRITICAL,
                "{{ $labels.job }} does not reach {{ $labels.dependency }}",
                "If the store is up, look at the program's credentials, its networks and its log.",
            )

    def _jobs(self) -> Iterator[Alert]:
        """Business: volume and quality of the work."""
        for name, store in self.system.stores.items():
            if store.engine == "rabbitmq":
                yield self._over(
                    "queue_length",
                    "QueueTooLong",
                    f'sum by (job) (rabbitmq_queue_messages_ready{{job="{name}"}})',
                    "10m",
                    _B,
                    "{{ $value }} messages wait in {{ $labels.job }}",
                    "Look whether the workers run and are fast enough; add replicas.",
                    store=name,
                )
        if not has_programs(self.system):
            return
        program, hours = self.observability.program, self.observability.thresholds.idle_hours
        if program.queue_length:
            yield self._over(
                "queue_length",
                "QueueTooLong",
                f"max by (job, queue) ({program.queue_length})",
                "10m",
                _B,
                "{{ $value }} jobs wait in {{ $labels.queue }}, as {{ $labels.job }} says",
                "Look whether the workers run and are fast enough; add replicas.",
            )
        if program.jobs:
            yield Alert(
                "NoWorkDone",
                # Who was there all the time: what has just begun is not idle.
                f"sum by (job) (increase({program.jobs}[{hours}h])) == 0"
                f" and sum by (job) ({program.jobs} offset {hours}h) >= 0",
                "1h",
                _B,
                _WARNING,
                f"{{{{ $labels.job }}}} has done no job for {hours} hours",
                "Look whether anybody sends jobs, and whether the workers take them.",
                threshold=f"idle_hours={hours}",
            )
            failed = f'sum by (job) (rate({program.jobs}{{outcome="failed"}}[15m]))'
            yield self._over(
                "failed_jobs_percent",
                "JobsFailing",
                f"100 * {failed} / sum by (job) (rate({program.jobs}[15m]))",
                "15m",
                _B,
                '{{ $value | printf "%.0f" }} percent of the jobs of {{ $labels.job }} fail',
                "Look at the log of the workers for the first failure, and at what came in then.",
            )
        if program.job_quality:
            quality = program.job_quality
            yield self._over(
                "job_quality",
                "LowQuality",
                f"sum by (job) (rate({quality}_sum[30m]))"
                f" / sum by (job) (rate({quality}_count[30m]))",
                "15m",
                _B,
                'The results of {{ $labels.job }} have a quality of {{ $value | printf "%.2f" }}',
                "Compare what comes in with what the model was trained on; go back to the version"
                " before if it began with a new one.",
                sign="<",
            )

    def _machines(self) -> Iterator[Alert]:
        yield self._over(
            "cpu_percent",
            "HighCpu",
            '100 * (1 - avg by (job, instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])))',
            "10m",
            _P,
            'the CPUs of {{ $labels.instance }} are busy: {{ $value | printf "%.0f" }} percent',
            "Look which container needs them (docker stats, kubectl top pods). Lower its limit or"
            " its replicas, or take a larger machine.",
        )
        yield self._over(
            "memory_percent",
            "HighMemory",
            "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
            "10m",
            _P,
            'the memory of {{ $labels.instance }} is used: {{ $value | printf "%.0f" }} percent',
            "Look which container needs it (docker stats, kubectl top pods); take a larger machine"
            " before the kernel ends programs.",
        )
        files = "(1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)"
        yield self._over(
            "disk_percent",
            "DiskFilling",
            f"100 * max by (job, instance, device) {files}",
            "10m",
            _A,
            "{{ $labels.device }} of {{ $labels.instance }} is"
            ' {{ $value | printf "%.0f" }} percent full',
            "Delete images that nobody uses (docker image prune), old backups and logs; or add a"
            " disk.",
        )
        yield Alert(
            "DiskFullSoon",
            "predict_linear(node_filesystem_avail_bytes[6h], 86400) < 0"
            " and node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.4",
            "1h",
            _A,
            _CRITICAL,
            "{{ $labels.mountpoint }} of {{ $labels.instance }} is full within a day if it goes on",
            "Find what grows (du -x), stop it or make room now.",
        )

    def _probes(self) -> Iterator[Alert]:
        asked = {probe.job for probe in probes(self.system, self.target)}
        if HEALTH_JOB in asked:
            yield Alert(
                "HealthCheckFailing",
                # As an alert of the service itself: where that is down, it goes without saying.
                f'label_replace(probe_success{{job="{HEALTH_JOB}"}} == 0,'
                ' "job", "$1", "service", "(.*)")',
                "2m",
                _A,
                _CRITICAL,
                "{{ $labels.service }} says that it is not healthy ({{ $labels.instance }})",
                "Ask it yourself: most answers name what is wrong. Look at the stores that it"
                " needs.",
            )
        if CERTIFICATE_JOB in asked:
            days = self.observability.thresholds.certificate_days
            yield Alert(
                "CertificateExpiring",
                f'(probe_ssl_earliest_cert_expiry{{job="{CERTIFICATE_JOB}"}} - time()) / 86400'
                f" < {days}",
                "1h",
                _A,
                _CRITICAL,
                "the certificate of {{ $labels.service }} is good for"
                ' {{ $value | printf "%.0f" }} days more',
                "Let's Encrypt: look at the log of certbot. A given one: set the new one in"
                " tiers:tls. A self-signed one: tiers up makes a new one.",
                threshold=f"certificate_days={days}",
            )

    def _own(self) -> Iterator[Alert]:
        """Whether who watches works."""
        if self.observability.alerts:
            yield Alert(
                "NotificationsFailing",
                "sum by (job, integration) (rate(alertmanager_notifications_failed_total[5m])) > 0",
                "5m",
                _A,
                _CRITICAL,
                "alerts do not reach {{ $labels.integration }}",
                "Look at Alertmanager's log; correct the address or the password in"
                " tiers:observability.",
            )
        yield Alert(
            "RuleEvaluationFailing",
            "sum by (job) (increase(prometheus_rule_evaluation_failures_total[15m])) > 0",
            "5m",
            _A,
            _WARNING,
            "Prometheus can't evaluate some of its rules",
            "Its page Alerts names them and says why; mostly two series match where one should.",
        )


def _of_store(name: str) -> tuple[tuple[str, str], ...]:
    return (("store", name),) if name else ()


def _of_job(expression: str, job: str) -> str:
    """The expression for the metrics of one job only: a system may have two stores of a kind."""
    return re.sub(
        r"\b((?:pg|redis|mongodb|rabbitmq|elasticsearch|minio)_[a-z_A-Z]+)(\{)?",
        lambda found: f'{found[1]}{{job="{job}"' + ("," if found[2] else "}"),
        expression,
    )


NAMES = (
    "CertificateExpiring",
    "ConnectionsRunningOut",
    "DependencyDown",
    "DiskFilling",
    "DiskFullSoon",
    "HealthCheckFailing",
    "HighCpu",
    "HighErrorRate",
    "HighMemory",
    "HighResponseTime",
    "JobsFailing",
    "LowQuality",
    "ManyLoginFailures",
    "ManyRateLimited",
    "NoWorkDone",
    "NotificationsFailing",
    "QueueTooLong",
    "ReplicasMissing",
    "RuleEvaluationFailing",
    "StoreDown",
    "StoreMemoryHigh",
    "StoreUnhealthy",
    "TargetDown",
)
"""All of ours."""
