"""Rules of Prometheus: our alerts and a description's, as its file, and what is wrong there."""

from collections.abc import Iterator, Sequence

import yaml

from pulumi_tiers.model.errors import Mistake, nearest
from pulumi_tiers.model.observability import Family, Observability
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.observability.alerts import Alert
from pulumi_tiers.observability.exporters import probes
from pulumi_tiers.observability.metrics import exported, has_programs, sources
from pulumi_tiers.observability.program_alerts import job_alerts, request_alerts
from pulumi_tiers.observability.prometheus import Job
from pulumi_tiers.observability.store_alerts import store_alerts
from pulumi_tiers.observability.target_alerts import (
    machine_alerts,
    probe_alerts,
    target_alerts,
    watcher_alerts,
)
from pulumi_tiers.promql import metrics_in

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


def alerts(
    system: System, observability: Observability, target: Target, jobs: Sequence[Job]
) -> list[Alert]:
    """All of the system's alerts: ours for what it has, and those of its description."""
    ours = _ours(system, observability, target, jobs)
    found = [alert for alert in ours if alert.name not in observability.without]
    found += [
        Alert(
            name=name,
            expr=rule.expr,
            pending=rule.pending,
            family=rule.family,
            severity=rule.severity,
            summary=rule.summary,
            runbook=rule.action,
        )
        for name, rule in observability.extra_rules.items()
    ]
    return found


def _ours(
    system: System, observability: Observability, target: Target, jobs: Sequence[Job]
) -> Iterator[Alert]:
    """The four documented families, for what the system has. All numbers are ours."""
    thresholds, known = observability.thresholds, sources(system, observability, target)
    yield from target_alerts(jobs, target)
    for name, store in system.stores.items():
        if store.engine in known:
            yield from store_alerts(name, store.engine, thresholds)
    if has_programs(system):
        yield from request_alerts(observability.program, thresholds)
        yield from job_alerts(observability.program, thresholds)
    if "node" in known:
        yield from machine_alerts(thresholds)
    yield from probe_alerts({probe.job for probe in probes(system, target)}, thresholds)
    yield from watcher_alerts(alertmanager=observability.alerts is not None)


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
    own = {alert.name for alert in _ours(system, observability, target, jobs)}
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
