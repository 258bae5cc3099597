"""Alerts of what is asked: whether it is there, its machine, its health, who watches it."""

from collections.abc import Collection, Iterator, Sequence

from pulumi_tiers.model.observability import Family, Severity, Thresholds
from pulumi_tiers.model.system import Target
from pulumi_tiers.observability.alerts import Alert, above
from pulumi_tiers.observability.exporters import CERTIFICATE_JOB, HEALTH_JOB
from pulumi_tiers.observability.prometheus import Job


def target_alerts(jobs: Sequence[Job], target: Target) -> Iterator[Alert]:
    """Whether everything that Prometheus asks is there."""
    yield Alert(
        name="TargetDown",
        # A probe is answered by its exporter, whatever it finds.
        expr='up{job!~"probe/.*"} == 0',
        pending="1m",
        family=Family.AVAILABILITY,
        severity=Severity.CRITICAL,
        summary="{{ $labels.job }} does not answer Prometheus ({{ $labels.instance }})",
        runbook=(
            "Look whether it runs (tiers status) and at its log (tiers logs). After a"
            " deployment that was meant, it goes by itself."
        ),
    )
    for job in jobs:
        # What is found by DNS or in a namespace is forgotten where it is away.
        if target is Target.DOCKER and not job.discovered:
            continue
        if job.replicas == 0 or job.per_node:
            continue
        yield Alert(
            name="ReplicasMissing",
            expr=(
                f'count(up{{job="{job.name}"}} == 1) < {job.replicas}'
                f' or absent(up{{job="{job.name}"}})'
            ),
            pending="5m",
            family=Family.AVAILABILITY,
            severity=Severity.WARNING if job.replicas > 1 else Severity.CRITICAL,
            summary=f"fewer than {job.replicas} of {{{{ $labels.job }}}} answer",
            runbook=(
                "Look which one is missing (tiers status) and why it doesn't start (tiers logs)."
            ),
            # `count` has no labels, and `absent` those of its selector.
            labels=(("job", job.name),),
        )


def machine_alerts(thresholds: Thresholds) -> Iterator[Alert]:
    """CPUs, memory and disks."""
    yield above(
        thresholds,
        "cpu_percent",
        name="HighCpu",
        expr=('100 * (1 - avg by (job, instance) (rate(node_cpu_seconds_total{mode="idle"}[5m])))'),
        pending="10m",
        family=Family.PERFORMANCE,
        summary=(
            'the CPUs of {{ $labels.instance }} are busy: {{ $value | printf "%.0f" }} percent'
        ),
        runbook=(
            "Look which container needs them (docker stats, kubectl top pods). Lower its limit"
            " or its replicas, or take a larger machine."
        ),
    )
    yield above(
        thresholds,
        "memory_percent",
        name="HighMemory",
        expr="100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
        pending="10m",
        family=Family.PERFORMANCE,
        summary=(
            'the memory of {{ $labels.instance }} is used: {{ $value | printf "%.0f" }} percent'
        ),
        runbook=(
            "Look which container needs it (docker stats, kubectl top pods); take a larger"
            " machine before the kernel ends programs."
        ),
    )
    files = "(1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)"
    yield above(
        thresholds,
        "disk_percent",
        name="DiskFilling",
        expr=f"100 * max by (job, instance, device) {files}",
        pending="10m",
        family=Family.AVAILABILITY,
        summary=(
            '{{ $labels.device }} of {{ $labels.instance }} is {{ $value | printf "%.0f" }}'
            " percent full"
        ),
        runbook=(
            "Delete images that nobody uses (docker image prune), old backups and logs; or add"
            " a disk."
        ),
    )
    yield Alert(
        name="DiskFullSoon",
        expr=(
            "predict_linear(node_filesystem_avail_bytes[6h], 86400) < 0 and"
            " node_filesystem_avail_bytes / node_filesystem_size_bytes < 0.4"
        ),
        pending="1h",
        family=Family.AVAILABILITY,
        severity=Severity.CRITICAL,
        summary=(
            "{{ $labels.mountpoint }} of {{ $labels.instance }} is full within a day if it goes on"
        ),
        runbook="Find what grows (du -x), stop it or make room now.",
    )


def probe_alerts(asked: Collection[str], thresholds: Thresholds) -> Iterator[Alert]:
    """Health checks and certificates. `asked`: the jobs that there are."""
    if HEALTH_JOB in asked:
        yield Alert(
            name="HealthCheckFailing",
            # As an alert of the service itself: where that is down, it goes without saying.
            expr=(
                f'label_replace(probe_success{{job="{HEALTH_JOB}"}} == 0,'
                ' "job", "$1", "service", "(.*)")'
            ),
            pending="2m",
            family=Family.AVAILABILITY,
            severity=Severity.CRITICAL,
            summary=("{{ $labels.service }} says that it is not healthy ({{ $labels.instance }})"),
            runbook=(
                "Ask it yourself: most answers name what is wrong. Look at the stores that it"
                " needs."
            ),
        )
    if CERTIFICATE_JOB in asked:
        days = thresholds.certificate_days
        yield Alert(
            name="CertificateExpiring",
            expr=(
                f'(probe_ssl_earliest_cert_expiry{{job="{CERTIFICATE_JOB}"}} - time()) / 86400'
                f" < {days}"
            ),
            pending="1h",
            family=Family.AVAILABILITY,
            severity=Severity.CRITICAL,
            summary=(
                'the certificate of {{ $labels.service }} is good for {{ $value | printf "%.0f"'
                " }} days more"
            ),
            runbook=(
                "Let's Encrypt: look at the log of certbot. A given one: set the new one in"
                " tiers:tls. A self-signed one: tiers up makes a new one."
            ),
            threshold=f"certificate_days={days}",
        )


def watcher_alerts(*, alertmanager: bool) -> Iterator[Alert]:
    """Whether who watches works."""
    if alertmanager:
        yield Alert(
            name="NotificationsFailing",
            expr=(
                "sum by (job, integration) (rate(alertmanager_notifications_failed_total[5m])) > 0"
            ),
            pending="5m",
            family=Family.AVAILABILITY,
            severity=Severity.CRITICAL,
            summary="alerts do not reach {{ $labels.integration }}",
            runbook=(
                "Look at Alertmanager's log; correct the address or the password in"
                " tiers:observability."
            ),
        )
    yield Alert(
        name="RuleEvaluationFailing",
        expr="sum by (job) (increase(prometheus_rule_evaluation_failures_total[15m])) > 0",
        pending="5m",
        family=Family.AVAILABILITY,
        severity=Severity.WARNING,
        summary="Prometheus can't evaluate some of its rules",
        runbook=(
            "Its page Alerts names them and says why; mostly two series match where one should."
        ),
    )
