"""Alerts of stores: whether each answers, and whether its room runs out."""

import re
from collections.abc import Iterator

from pulumi_tiers.model.observability import Family, Severity, Thresholds
from pulumi_tiers.observability.alerts import Alert, above

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


def store_alerts(name: str, engine: str, thresholds: Thresholds) -> Iterator[Alert]:
    """Those of one store that tells its numbers."""
    labels = (("store", name),)
    down = f'{_STORE_UP.get(engine, "up")}{{job="{name}"}} == 0'
    if engine == "elasticsearch":
        # Its exporter then says nothing of it.
        down = f'absent(elasticsearch_cluster_health_status{{job="{name}"}})'
    yield Alert(
        name="StoreDown",
        expr=down,
        pending="1m",
        family=Family.AVAILABILITY,
        severity=Severity.CRITICAL,
        summary=f"{name} does not take connections",
        runbook=(
            "Look whether it runs (tiers status), at its log (tiers logs) and whether its"
            " disk is full. Restart it; restore a backup only if its files are damaged."
        ),
        labels=(*labels, ("engine", _ENGINE_LABEL.get(engine, engine))),
    )
    if engine in _CONNECTIONS:
        yield above(
            thresholds,
            "connections_percent",
            name="ConnectionsRunningOut",
            expr=_of_job(_CONNECTIONS[engine], name),
            pending="5m",
            family=Family.PERFORMANCE,
            summary=(
                f'{name} has {{{{ $value | printf "%.0f" }}}} percent of its connections taken'
            ),
            runbook=(
                "Find who holds them; lower the pools of the services, or their replicas,"
                " or raise the store's limit and its memory."
            ),
            labels=labels,
        )
    if engine in _MEMORY:
        yield above(
            thresholds,
            "store_memory_percent",
            name="StoreMemoryHigh",
            expr=_of_job(_MEMORY[engine], name),
            pending="10m",
            family=Family.PERFORMANCE,
            summary=f'{name} uses {{{{ $value | printf "%.0f" }}}} percent of its memory',
            runbook=(
                "Look what fills it: keys without an expiry, queues that nobody reads."
                " Raise resources.memory if it is needed."
            ),
            labels=labels,
        )
    if engine in _DISK:
        yield above(
            thresholds,
            "disk_percent",
            name="DiskFilling",
            expr=_of_job(_DISK[engine], name),
            pending="10m",
            family=Family.AVAILABILITY,
            summary=f'{name} has {{{{ $value | printf "%.0f" }}}} percent of its disk in use',
            runbook="Delete what nobody needs, or give its volume more room.",
            labels=labels,
        )
    if engine == "elasticsearch":
        yield Alert(
            name="StoreUnhealthy",
            expr=f'elasticsearch_cluster_health_status{{job="{name}",color="red"}} == 1',
            pending="5m",
            family=Family.AVAILABILITY,
            severity=Severity.CRITICAL,
            summary=f"{name} is red: a part of its data can't be reached",
            runbook="Ask it why: GET _cluster/allocation/explain. Mostly its disk is full.",
            labels=labels,
        )
    if engine == "rabbitmq":
        yield above(
            thresholds,
            "queue_length",
            name="QueueTooLong",
            expr=f'sum by (job) (rabbitmq_queue_messages_ready{{job="{name}"}})',
            pending="10m",
            family=Family.BUSINESS,
            summary="{{ $value }} messages wait in {{ $labels.job }}",
            runbook="Look whether the workers run and are fast enough; add replicas.",
            labels=labels,
        )


def _of_job(expression: str, job: str) -> str:
    """The expression for the metrics of one job only: a system may have two stores of a kind."""
    return re.sub(
        r"\b((?:pg|redis|mongodb|rabbitmq|elasticsearch|minio)_[a-z_A-Z]+)(\{)?",
        lambda found: f'{found[1]}{{job="{job}"' + ("," if found[2] else "}"),
        expression,
    )
