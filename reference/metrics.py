"""What the application measures, and where its processes share it.

Every metric has labels: one without would be a file as soon as it is declared, also of a process
that only asks a worker how it does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from reference.health import Health
from reference.stores import RabbitStore, RedisStore, StoreError

logger = logging.getLogger("reference")

# An Info metric cannot be shared by processes, so app_info is a gauge that is always 1.
APP_INFO = Gauge(
    "app_info", "The application", ["service", "version", "title"], multiprocess_mode="max"
)
REQUESTS = Counter("http_requests_total", "Requests answered", ["method", "path", "status"])
DURATION = Histogram("http_request_duration_seconds", "Time to answer", ["method", "path"])
# Named as prometheus_flask_exporter, which Encontros Tech's document uses, names them.
FLASK_REQUESTS = Counter("flask_http_request_total", "Requests answered", ["method", "status"])
FLASK_DURATION = Histogram(
    "flask_http_request_duration_seconds", "Time to answer", ["method", "path", "status"]
)
JOBS = Counter("jobs_processed_total", "Jobs done or given up", ["kind", "outcome"])
JOB_DURATION = Histogram(
    "job_duration_seconds",
    "Time that a job took",
    ["kind"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1500),
)
JOB_QUALITY = Histogram(
    "job_quality",
    "Quality of a job's result, from 0 to 1",
    ["kind"],
    buckets=tuple(tenth / 10 for tenth in range(1, 11)),
)


class Measured(Collector):
    """What all processes counted, and what is measured when somebody asks."""

    def __init__(
        self, health: Health, queue: RabbitStore | RedisStore | None = None, *more: Collector
    ) -> None:
        self.health = health
        self.queue = queue
        self.more = more

    def collect(self) -> Generator[Metric]:
        yield from _counted()
        up = GaugeMetricFamily(
            "dependency_up", "Whether a dependency works", labels=["dependency", "engine"]
        )
        seconds = GaugeMetricFamily(
            "dependency_check_seconds",
            "Time that a dependency's check took",
            labels=["dependency", "engine"],
        )
        for name, state in self.health.recent().items():
            up.add_metric([name, state.engine], float(state.ok))
            seconds.add_metric([name, state.engine], state.milliseconds / 1000)
        yield from (up, seconds)
        if self.queue:
            depth = GaugeMetricFamily("queue_depth", "Jobs that wait", labels=["queue", "engine"])
            try:
                depth.add_metric([self.queue.queue, self.queue.engine], self.queue.depth())
            except StoreError as error:
                logger.warning("the queue's length is not known: %s", error)
            yield depth
        for collector in self.more:
            yield from collector.collect()

    def registry(self) -> CollectorRegistry:
        """A registry of this alone."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return registry


def serve(environment: Mapping[str, str], measured: Measured) -> None:
    """Answer /metrics on METRICS_PORT where it is set: for programs that serve nothing else."""
    port = environment.get("METRICS_PORT")
    if port:
        if not port.isdecimal() or not 1 <= int(port) <= 65535:
            raise StoreError(f"METRICS_PORT is {port!r}, not a port")
        start_http_server(int(port), registry=measured.registry())


def empty_folder(environment: Mapping[str, str]) -> None:
    """Begin with none: what an earlier run left would be counted again."""
    name = environment.get("PROMETHEUS_MULTIPROC_DIR")
    if not name:
        return
    folder = Path(name)
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def _counted() -> Iterable[Metric]:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY.collect()
    return MultiProcessCollector(CollectorRegistry()).collect()
