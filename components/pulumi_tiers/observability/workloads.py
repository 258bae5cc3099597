"""All that watches one system, as workloads."""

from collections.abc import Iterator

from pulumi_tiers.model.edge import Edge
from pulumi_tiers.model.errors import Mistake, nearest
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.observability.alertmanager import ALERTMANAGER, alertmanager_workload
from pulumi_tiers.observability.exporters import EXPORTERS, exporters
from pulumi_tiers.observability.grafana import check_grafana, grafana_workloads
from pulumi_tiers.observability.logs import check_logs, log_workloads
from pulumi_tiers.observability.metrics import programs
from pulumi_tiers.observability.prometheus import (
    PROMETHEUS,
    configuration,
    jobs,
    prometheus_workload,
)
from pulumi_tiers.observability.rules import alerts, check_rules, rules_file

_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")
"""Where containers and pods have their addresses."""


def observability_workloads(
    system: System, observability: Observability, target: Target
) -> dict[str, Workload]:
    """What watches the system, by host name. Texts refer to the system's stores."""
    found = _watchers(system, observability, target)
    asked = jobs(system, observability, target, found)
    rules = alerts(system, observability, target, asked)
    found[PROMETHEUS] = found[PROMETHEUS].model_copy(
        update={
            "configs": {
                "prometheus.yml": configuration(system, observability, target, asked),
                "rules.yml": rules_file(rules),
            }
        }
    )
    return found


def watched(edge: Edge) -> Edge:
    """The edge, whose numbers its exporter may read: only who is in the same network reaches it."""
    missing = [network for network in _PRIVATE if network not in edge.status_allow]
    return edge.model_copy(update={"status_allow": [*edge.status_allow, *missing]})


def check_observability(
    place: str, system: System, observability: Observability, target: Target
) -> Iterator[Mistake]:
    """What only the whole system shows of how it is watched. `place` is put before the keys."""
    found = _watchers(system, observability, target)
    taken = {*programs(system), *system.stores, *system.edges}
    for name in sorted(taken & set(found)):
        why = f"'{name}' of '{system.name}' is called like what watches it"
        yield Mistake(f"{place}{name}", why, "rename it")
    asked = jobs(system, observability, target, found)
    names = [job.name for job in asked]
    for name in sorted({name for name in names if names.count(name) > 1}):
        why = f"two jobs of Prometheus would be called '{name}'"
        yield Mistake(f"{place}{name}", why, f"rename the service '{name}'")
    for name in sorted(set(observability.intervals) - set(names)):
        why = f"Prometheus asks nobody called '{name}'"
        yield Mistake(f"{place}intervals.{name}", why, nearest(name, names))
    for name in sorted(set(observability.images) - set(EXPORTERS)):
        why = f"there is no exporter for '{name}'"
        yield Mistake(f"{place}images.{name}", why, nearest(name, EXPORTERS))
    yield from check_rules(place, system, observability, target, asked)
    yield from check_grafana(place, system, observability, target)
    yield from check_logs(place, system, observability)


def _watchers(system: System, observability: Observability, target: Target) -> dict[str, Workload]:
    found = {PROMETHEUS: prometheus_workload(system, observability, target)}
    if observability.alerts:
        found[ALERTMANAGER] = alertmanager_workload(system, observability, target)
    found |= exporters(system, observability, target)
    found |= grafana_workloads(system, observability, target)
    found |= log_workloads(system, observability, target)
    return found
