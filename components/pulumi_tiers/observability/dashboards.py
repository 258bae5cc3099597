"""The five documented dashboards (Vision, L353-358), made of what a system's exporters tell.

A panel is there only where everything that it asks for is exported: no panel stays empty because
nobody measures that. Their titles are the document's language.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from pulumi_tiers.model.observability import Observability, ProgramMetrics, Thresholds
from pulumi_tiers.observability.panels import Dashboard, Kind, Panel, Query, document
from pulumi_tiers.promql import metrics_in


def _number(title: str, expr: str, unit: str = "short", limit: float | None = None) -> Panel:
    return Panel(title, (Query(expr),), Kind.NUMBER, unit, limit)


def _lines(
    title: str, expr: str, legend: str, unit: str = "short", limit: float | None = None
) -> Panel:
    return Panel(title, (Query(expr, legend),), Kind.LINES, unit, limit)


def _states(title: str, expr: str, legend: str) -> Panel:
    return Panel(title, (Query(expr, legend),), Kind.STATES)


def documented(observability: Observability) -> list[Dashboard]:
    """The five dashboards with every panel that there could be."""
    return [
        _overview(observability.program),
        _performance(observability.program, observability.thresholds),
        _resources(observability.thresholds),
        _application(observability.program, observability.thresholds),
        _infrastructure(),
    ]


def _overview(program: ProgramMetrics) -> Dashboard:
    return Dashboard(
        "visao-geral",
        "Visão Geral",
        "Estado de todos os serviços",
        {
            "Estado": (
                _number("Serviços no ar", "sum(up)"),
                _number("Serviços fora do ar", "count(up == 0) or vector(0)", limit=1),
                _number(
                    "Alertas ativos",
                    'count(ALERTS{alertstate="firing"}) or vector(0)',
                    limit=1,
                ),
                _number("Requisições por segundo", f"sum(rate({program.requests}[5m]))", "reqps"),
                _number(
                    "Certificado expira em",
                    "min(probe_ssl_earliest_cert_expiry) - time()",
                    "s",
                ),
                _states("Serviços", "min by (job) (up)", "{{job}}"),
                _states(
                    "Dependências",
                    f"min by (job, dependency) ({program.dependency_up})",
                    "{{job}} → {{dependency}}",
                ),
                _states("Verificações de saúde", "min by (service) (probe_success)", "{{service}}"),
            )
        },
    )


def _performance(program: ProgramMetrics, thresholds: Thresholds) -> Dashboard:
    rate = f"sum by (job) (rate({program.requests}[$__rate_interval]))"
    failed = _failed(program)
    error_percent = f"100 * ({failed} or {rate} * 0) / {rate}"
    return Dashboard(
        "performance",
        "Performance",
        "Tempo de resposta e vazão",
        {
            "Requisições": (
                _lines("Vazão", rate, "{{job}}", "reqps"),
                Panel(
                    "Tempo de resposta",
                    tuple(
                        Query(
                            f"histogram_quantile({part}, sum by (le)"
                            f" (rate({program.duration}_bucket[$__rate_interval])))",
                            legend,
                        )
                        for part, legend in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
                    ),
                    unit="s",
                    limit=thresholds.response_seconds,
                ),
                _lines(
                    "Tempo de resposta por serviço (p95)",
                    f"histogram_quantile(0.95, sum by (job, le)"
                    f" (rate({program.duration}_bucket[$__rate_interval])))",
                    "{{job}}",
                    "s",
                    thresholds.response_seconds,
                ),
                _lines(
                    "Erros (5xx)", error_percent, "{{job}}", "percent", thresholds.error_percent
                ),
                _lines(
                    "Requisições no nginx",
                    "sum by (job) (rate(nginx_http_requests_total[$__rate_interval]))",
                    "{{job}}",
                    "reqps",
                ),
            ),
            "Banco de dados": (
                _lines(
                    "Transações no PostgreSQL",
                    "sum by (datname) (rate(pg_stat_database_xact_commit[$__rate_interval]))",
                    "{{datname}}",
                    "ops",
                ),
                _lines(
                    "Leituras do PostgreSQL respondidas da memória",
                    "100 * sum by (datname) (rate(pg_stat_database_blks_hit[5m]))"
                    " / sum by (datname) (rate(pg_stat_database_blks_hit[5m])"
                    " + rate(pg_stat_database_blks_read[5m]))",
                    "{{datname}}",
                    "percent",
                ),
                _lines(
                    "Operações no MongoDB",
                    "sum by (legacy_op_type) (rate(mongodb_ss_opcounters[$__rate_interval]))",
                    "{{legacy_op_type}}",
                    "ops",
                ),
                _lines(
                    "Requisições ao armazenamento de objetos",
                    "sum by (api) (rate(minio_s3_requests_total[$__rate_interval]))",
                    "{{api}}",
                    "reqps",
                ),
            ),
            "Cache e filas": (
                Panel(
                    "Redis: acertos e falhas",
                    (
                        Query("sum(rate(redis_keyspace_hits_total[$__rate_interval]))", "acertos"),
                        Query("sum(rate(redis_keyspace_misses_total[$__rate_interval]))", "falhas"),
                    ),
                    unit="ops",
                ),
                _lines(
                    "Redis: comandos",
                    "sum by (job) (rate(redis_commands_processed_total[$__rate_interval]))",
                    "{{job}}",
                    "ops",
                ),
                _lines(
                    "RabbitMQ: mensagens à espera",
                    "sum by (queue) (rabbitmq_queue_messages_ready)",
                    "{{queue}}",
                    limit=thresholds.queue_length,
                ),
                _lines(
                    "Duração dos trabalhos (p95)",
                    f"histogram_quantile(0.95, sum by (job, le)"
                    f" (rate({program.job_duration}_bucket[$__rate_interval])))",
                    "{{job}}",
                    "s",
                ),
            ),
        },
    )


def _resources(thresholds: Thresholds) -> Dashboard:
    return Dashboard(
        "recursos",
        "Recursos",
        "CPU, memória e disco",
        {
            "Máquinas": (
                _lines(
                    "CPU",
                    '100 * (1 - avg by (instance) (rate(node_cpu_seconds_total{mode="idle"}'
                    "[$__rate_interval])))",
                    "{{instance}}",
                    "percent",
                    thresholds.cpu_percent,
                ),
                _lines(
                    "Memória",
                    "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
                    "{{instance}}",
                    "percent",
                    thresholds.memory_percent,
                ),
                _lines(
                    "Disco",
                    "100 * (1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)",
                    "{{instance}} {{mountpoint}}",
                    "percent",
                    thresholds.disk_percent,
                ),
                Panel(
                    "Leitura e escrita no disco",
                    (
                        Query(
                            "sum by (instance)"
                            " (rate(node_disk_read_bytes_total[$__rate_interval]))",
                            "{{instance}} leitura",
                        ),
                        Query(
                            "sum by (instance)"
                            " (rate(node_disk_written_bytes_total[$__rate_interval]))",
                            "{{instance}} escrita",
                        ),
                    ),
                    unit="Bps",
                ),
                _lines("Carga", "node_load5", "{{instance}}"),
            ),
            "Processos": (
                _lines(
                    "CPU por serviço",
                    "sum by (job) (rate(process_cpu_seconds_total[$__rate_interval]))",
                    "{{job}}",
                ),
                _lines(
                    "Memória por serviço",
                    "sum by (job) (process_resident_memory_bytes)",
                    "{{job}}",
                    "bytes",
                ),
            ),
            "Dados": (
                _lines(
                    "PostgreSQL: tamanho",
                    "pg_database_size_bytes",
                    "{{datname}}",
                    "bytes",
                ),
                _lines("Redis: memória", "redis_memory_used_bytes", "{{job}}", "bytes"),
                _lines(
                    "Elasticsearch: memória do Java",
                    '100 * elasticsearch_jvm_memory_used_bytes{area="heap"}'
                    ' / elasticsearch_jvm_memory_max_bytes{area="heap"}',
                    "{{name}}",
                    "percent",
                ),
                _lines(
                    "Armazenamento de objetos: uso",
                    "sum by (job) (minio_cluster_usage_total_bytes)",
                    "{{job}}",
                    "bytes",
                ),
            ),
        },
    )


def _application(program: ProgramMetrics, thresholds: Thresholds) -> Dashboard:
    return Dashboard(
        "aplicacao",
        "Aplicação",
        "Registros de erros e métricas de negócio",
        {
            "Erros": (
                _lines("Respostas 5xx", _failed(program), "{{job}}", "reqps"),
                _lines(
                    "Respostas 4xx",
                    f'sum by (job) (rate({program.requests}{{status=~"4.."}}[$__rate_interval]))',
                    "{{job}}",
                    "reqps",
                ),
                _lines(
                    "Logins recusados por minuto",
                    f"sum by (job) (rate({program.login_failures}[5m])) * 60",
                    "{{job}}",
                    limit=thresholds.login_failures_per_minute,
                ),
                Panel(
                    "Registros de erros",
                    (Query("level:(error OR fatal OR critical)"),),
                    kind=Kind.LOGS,
                ),
            ),
            "Negócio": (
                _lines(
                    "Trabalhos por minuto",
                    f"sum by (job, outcome) (rate({program.jobs}[$__rate_interval])) * 60",
                    "{{job}} {{outcome}}",
                ),
                _lines(
                    "Fila",
                    f"max by (queue) ({program.queue_length})",
                    "{{queue}}",
                    "short",
                    thresholds.queue_length,
                ),
                _lines(
                    "Qualidade dos resultados",
                    f"sum by (job) (rate({program.job_quality}_sum[15m]))"
                    f" / sum by (job) (rate({program.job_quality}_count[15m]))",
                    "{{job}}",
                    "percentunit",
                ),
            ),
        },
    )


def _infrastructure() -> Dashboard:
    return Dashboard(
        "infraestrutura",
        "Infraestrutura",
        "Contêineres e serviços",
        {
            "Contêineres": (
                _states("No ar", "up", "{{job}} {{instance}}"),
                _lines(
                    "Reinícios na última hora",
                    "sum by (job) (changes(process_start_time_seconds[1h]))",
                    "{{job}}",
                ),
                _lines("Duração da coleta", "scrape_duration_seconds", "{{instance}}", "s"),
            ),
            "Serviços": (
                Panel(
                    "PostgreSQL: conexões",
                    (
                        Query("sum(pg_stat_activity_count)", "em uso"),
                        Query("max(pg_settings_max_connections)", "limite"),
                    ),
                ),
                Panel(
                    "Redis: conexões",
                    (Query("redis_connected_clients", "{{job}}"),),
                ),
                Panel(
                    "Redis: memória",
                    (
                        Query("redis_memory_used_bytes", "{{job}} em uso"),
                        Query("redis_memory_max_bytes", "{{job}} limite"),
                    ),
                    unit="bytes",
                ),
                _lines(
                    "MongoDB: conexões",
                    'mongodb_ss_connections{conn_type="current"}',
                    "{{instance}}",
                ),
                _lines("RabbitMQ: conexões", "rabbitmq_connections", "{{job}}"),
                _lines("SQL Server: conexões", "sum(mssql_connections)", "conexões"),
                _lines("nginx: conexões", "nginx_connections_active", "{{job}}"),
                _lines(
                    "Elasticsearch: documentos", "sum(elasticsearch_indices_docs)", "documentos"
                ),
                _lines("Prometheus: séries", "prometheus_tsdb_head_series", "{{instance}}"),
            ),
        },
    )


def _failed(program: ProgramMetrics) -> str:
    return f'sum by (job) (rate({program.requests}{{status=~"5.."}}[$__rate_interval]))'


def dashboards(
    observability: Observability, exported: Collection[str], *, logs: bool
) -> dict[str, dict[str, Any]]:
    """The dashboards in Grafana's JSON, by uid: what of them has data.

    `exported`: every metric that there is. `logs`: errors are found in Elasticsearch.
    """
    found: dict[str, dict[str, Any]] = {}
    for dashboard in documented(observability):
        rows = {
            title: tuple(_with_data(panels, exported, logs=logs))
            for title, panels in dashboard.rows.items()
        }
        if rows := {title: panels for title, panels in rows.items() if panels}:
            found[dashboard.uid] = document(replace(dashboard, rows=rows))
    return found


def _with_data(
    panels: tuple[Panel, ...], exported: Collection[str], *, logs: bool
) -> Iterator[Panel]:
    known = {*exported}
    for panel in panels:
        if panel.kind is not Kind.LOGS:
            queries = tuple(query for query in panel.queries if metrics_of(query.expr) <= known)
            panel = replace(panel, queries=queries)
        if panel.queries and (logs or panel.kind is not Kind.LOGS):
            yield panel


_ANY = "any_of_grafanas_variables"
_DURATIONS = re.compile(r"\[[^\[\]\"]*\]")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


def metrics_of(expr: str) -> frozenset[str]:
    """The metrics that a query of a panel names. Raises ValueError: it is not PromQL.

    Grafana puts a duration in the place of its own variables, and of others a text.
    """
    # In brackets only a duration can stand, and people name theirs as they like.
    expr = _DURATIONS.sub(lambda match: _VARIABLE.sub("5m", match[0]), expr)
    named = _VARIABLE.sub(lambda match: _value(match[1] or match[2]), expr)
    # A variable for the metric itself may be any.
    return metrics_in(named) - {_ANY}


def _value(variable: str) -> str:
    if variable in ("__interval", "__rate_interval", "__range"):
        return "5m"
    # `__interval_ms` and `__range_s` are numbers; people's own stand in texts mostly.
    return "300" if variable.startswith("__") else _ANY
