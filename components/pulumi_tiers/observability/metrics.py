"""Which metrics there are: by what exports them, and all of one system.

Written down from the exporters' own documentation and source; only names that rules and dashboards
use or may use. A test compares them with what real exporters say.
"""

from collections.abc import Iterator

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import is_managed
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload

ALWAYS = frozenset(
    # https://prometheus.io/docs/concepts/jobs_instances/
    {"up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"}
    | {"scrape_samples_post_metric_relabeling", "ALERTS", "ALERTS_FOR_STATE"}
)
"""What Prometheus adds of each target, and of its alerts."""

PROCESS = frozenset(
    {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
    | {"process_max_fds", "process_start_time_seconds"}
)
"""What programs in Go tell of themselves."""

CATALOGUE: dict[str, frozenset[str]] = {
    "prometheus": PROCESS
    | {
        "prometheus_config_last_reload_successful",
        "prometheus_notifications_alertmanagers_discovered",
        "prometheus_notifications_dropped_total",
        "prometheus_rule_evaluation_failures_total",
        "prometheus_tsdb_compactions_failed_total",
        "prometheus_tsdb_head_samples_appended_total",
        "prometheus_tsdb_head_series",
        "prometheus_tsdb_storage_blocks_bytes",
    },
    "alertmanager": PROCESS
    | {
        "alertmanager_alerts",
        "alertmanager_config_last_reload_successful",
        "alertmanager_notifications_failed_total",
        "alertmanager_notifications_total",
    },
    # Of networks it sees its own only, like every container.
    "node": PROCESS
    | {
        "node_boot_time_seconds",
        "node_cpu_seconds_total",
        "node_disk_io_time_seconds_total",
        "node_disk_read_bytes_total",
        "node_disk_written_bytes_total",
        "node_filesystem_avail_bytes",
        "node_filesystem_files",
        "node_filesystem_files_free",
        "node_filesystem_free_bytes",
        "node_filesystem_readonly",
        "node_filesystem_size_bytes",
        "node_load1",
        "node_load15",
        "node_load5",
        "node_memory_MemAvailable_bytes",
        "node_memory_MemFree_bytes",
        "node_memory_MemTotal_bytes",
        "node_memory_SwapFree_bytes",
        "node_memory_SwapTotal_bytes",
    },
    "blackbox": PROCESS,
    "probe": frozenset(
        {"probe_duration_seconds", "probe_http_status_code", "probe_success"}
        | {"probe_ssl_earliest_cert_expiry"}
    ),
    "postgres": PROCESS
    | {
        "pg_database_size_bytes",
        "pg_locks_count",
        "pg_settings_max_connections",
        "pg_stat_activity_count",
        "pg_stat_activity_max_tx_duration",
        "pg_stat_bgwriter_buffers_alloc_total",
        "pg_stat_database_blks_hit",
        "pg_stat_database_blks_read",
        "pg_stat_database_conflicts",
        "pg_stat_database_deadlocks",
        "pg_stat_database_numbackends",
        "pg_stat_database_tup_deleted",
        "pg_stat_database_tup_fetched",
        "pg_stat_database_tup_inserted",
        "pg_stat_database_tup_returned",
        "pg_stat_database_tup_updated",
        "pg_stat_database_xact_commit",
        "pg_stat_database_xact_rollback",
        "pg_static",
        "pg_up",
    },
    "redis": PROCESS
    | {
        "redis_blocked_clients",
        "redis_commands_processed_total",
        "redis_config_maxclients",
        "redis_connected_clients",
        "redis_db_keys",
        "redis_evicted_keys_total",
        "redis_expired_keys_total",
        "redis_keyspace_hits_total",
        "redis_keyspace_misses_total",
        "redis_memory_max_bytes",
        "redis_memory_used_bytes",
        "redis_net_input_bytes_total",
        "redis_net_output_bytes_total",
        "redis_rejected_connections_total",
        "redis_up",
        "redis_uptime_in_seconds",
    },
    "mongo": PROCESS
    | {
        "mongodb_ss_connections",
        "mongodb_ss_mem_resident",
        "mongodb_ss_network_bytesIn",
        "mongodb_ss_network_bytesOut",
        "mongodb_ss_opcounters",
        "mongodb_ss_uptime",
        "mongodb_up",
    },
    "minio": frozenset(
        {
            "minio_cluster_bucket_total",
            "minio_cluster_capacity_usable_free_bytes",
            "minio_cluster_capacity_usable_total_bytes",
            "minio_cluster_drive_offline_total",
            "minio_cluster_usage_object_total",
            "minio_cluster_usage_total_bytes",
            "minio_s3_requests_errors_total",
            "minio_s3_requests_total",
            "minio_s3_traffic_received_bytes",
            "minio_s3_traffic_sent_bytes",
        }
    ),
    "rabbitmq": frozenset(
        {
            "rabbitmq_channels",
            "rabbitmq_connections",
            "rabbitmq_consumers",
            "rabbitmq_disk_space_available_bytes",
            "rabbitmq_disk_space_available_limit_bytes",
            "rabbitmq_process_open_fds",
            "rabbitmq_process_max_fds",
            "rabbitmq_process_resident_memory_bytes",
            "rabbitmq_queue_messages",
            "rabbitmq_queue_messages_ready",
            "rabbitmq_queue_messages_unacked",
            "rabbitmq_queues",
            "rabbitmq_resident_memory_limit_bytes",
        }
    ),
    "mssql": frozenset(
        {
            "mssql_batch_requests",
            "mssql_connections",
            "mssql_database_filesize",
            "mssql_database_state",
            "mssql_deadlocks",
            "mssql_instance_local_time",
            "mssql_io_stall_total",
            "mssql_memory_utilization_percentage",
            "mssql_page_life_expectancy",
            "mssql_transactions",
            "mssql_up",
            "mssql_user_errors",
        }
    ),
    "elasticsearch": PROCESS
    | {
        "elasticsearch_cluster_health_active_shards",
        "elasticsearch_cluster_health_number_of_nodes",
        "elasticsearch_cluster_health_status",
        "elasticsearch_cluster_health_unassigned_shards",
        "elasticsearch_filesystem_data_available_bytes",
        "elasticsearch_filesystem_data_size_bytes",
        "elasticsearch_indices_docs",
        "elasticsearch_indices_indexing_index_total",
        "elasticsearch_indices_search_query_total",
        "elasticsearch_indices_store_size_bytes",
        "elasticsearch_jvm_memory_max_bytes",
        "elasticsearch_jvm_memory_used_bytes",
    },
    "nginx": PROCESS
    | {
        "nginx_connections_accepted",
        "nginx_connections_active",
        "nginx_connections_handled",
        "nginx_connections_reading",
        "nginx_connections_waiting",
        "nginx_connections_writing",
        "nginx_http_requests_total",
        "nginx_up",
    },
}
"""Names by source: an exporter, an engine, or `probe`: what the blackbox exporter finds out."""


def program_metrics(observability: Observability) -> frozenset[str]:
    """What the programs that have `metrics` export."""
    program = observability.program
    counters = (program.requests, program.dependency_up, program.login_failures)
    counters += (program.jobs, program.queue_length)
    histograms = (program.duration, program.job_duration, program.job_quality)
    found = {name for name in counters if name}
    found |= {
        f"{name}_{part}" for name in histograms if name for part in ("bucket", "sum", "count")
    }
    return frozenset(found)


def programs(system: System) -> dict[str, Workload]:
    """The system's own services, without what watches them."""
    return {**system.services, **system.ml}


def has_programs(system: System) -> bool:
    """Whether any of them has metrics."""
    return any(workload.metrics for workload in programs(system).values())


def sources(system: System, observability: Observability, target: Target) -> list[str]:
    """The keys of `CATALOGUE` that the system has."""
    return list(dict.fromkeys(_sources(system, observability, target)))


def _sources(system: System, observability: Observability, target: Target) -> Iterator[str]:
    yield "prometheus"
    if observability.alerts:
        yield "alertmanager"
    if observability.node:
        yield "node"
    for store in system.stores.values():
        # Spaces have no server that could tell anything.
        spaces = store.engine == "minio" and is_managed(store, target)
        if store.engine in CATALOGUE and store.engine in ENGINES and not spaces:
            yield store.engine
    if system.edges:
        yield "nginx"
    if system.edges or any(map(_asked, programs(system).values())):
        yield "blackbox"
        yield "probe"


def _asked(workload: Workload) -> bool:
    """Whether its health is a question over HTTP."""
    return workload.healthcheck is not None and workload.healthcheck.path is not None


def exported(system: System, observability: Observability, target: Target) -> frozenset[str]:
    """Every metric that something of the system exports, as far as this library knows."""
    found = set(ALWAYS) | set(observability.exports)
    for source in sources(system, observability, target):
        found |= CATALOGUE[source]
    if has_programs(system):
        found |= program_metrics(observability)
    return frozenset(found)
