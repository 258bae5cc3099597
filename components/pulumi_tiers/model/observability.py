"""How a system is watched: what is measured, when it is too much, and who is told."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pulumi_tiers.model.base import (
    DnsLabel,
    Duration,
    FileName,
    Flag,
    Model,
    Name,
    PlainText,
    PortNumber,
    StorageSize,
    Text,
    Whole,
    Word,
    seconds,
)
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.unknown import is_unknown
from pulumi_tiers.model.workload import Given, ImageReference, Resources, ScrapeInterval
from pulumi_tiers.promql import check_expression, check_template

_METRIC = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")


def _metric(value: str) -> str:
    if len(value) > 200 or not _METRIC.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the name of a metric",
            "use letters, digits, '_' and ':', not beginning with a digit",
        )
    return value


MetricName = Annotated[str, AfterValidator(_metric)]
"""The name of a metric, as Prometheus has it."""


OptionalMetric = Annotated[MetricName | None, BeforeValidator(lambda value: value or None)]
"""The same, or None; other languages write an empty text for that."""


class Family(Word):
    """What an alert is about: the four documented families (Vision, L347-351)."""

    PERFORMANCE = "performance"
    AVAILABILITY = "availability"
    SECURITY = "security"
    BUSINESS = "business"


class Severity(Word):
    """How soon somebody has to look: at once, today, or when there is time."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class ProgramMetrics(Model):
    """What the system's programs call what they tell of themselves. None: they don't tell it.

    A rule or a panel that needs a missing one is left out. The defaults are a convention of ours:
    no document names any but Encontros Tech's exporter.
    """

    #: A counter of answers with the label `status`: the HTTP status, such as 200.
    requests: OptionalMetric = "http_requests_total"
    #: A histogram of seconds.
    duration: OptionalMetric = "http_request_duration_seconds"
    #: 1 where a program reaches what it depends on, else 0; label `dependency`.
    dependency_up: OptionalMetric = "dependency_up"
    #: A counter of refused logins.
    login_failures: OptionalMetric = "login_failures_total"
    #: A counter of jobs; label `outcome`: `failed`, or what else became of them.
    jobs: OptionalMetric = "jobs_processed_total"
    #: A histogram of seconds.
    job_duration: OptionalMetric = "job_duration_seconds"
    #: A histogram of the results' quality, 0 to 1.
    job_quality: OptionalMetric = "job_quality"
    #: Jobs that wait; label `queue`.
    queue_length: OptionalMetric = "queue_depth"


Percent = Annotated[float, Field(strict=True, ge=0, le=100)]
Positive = Annotated[float, Field(strict=True, gt=0, le=1e12)]


class Thresholds(Model):
    """When it is too much. No document states a number: all of them are ours."""

    #: Performance: seconds that 95 of 100 requests take at most.
    response_seconds: Positive = 1.0
    #: Performance: percent of a machine's CPUs and of its memory.
    cpu_percent: Percent = 85
    memory_percent: Percent = 90
    #: Performance: percent of a store's connections and of its own memory.
    connections_percent: Percent = 80
    store_memory_percent: Percent = 90
    #: Availability: percent of requests that are answered with 5xx.
    error_percent: Percent = 5
    #: Availability: percent of a file system; and what is full within a day by its growth.
    disk_percent: Percent = 85
    #: Availability: days that a certificate is still good for.
    certificate_days: Annotated[Whole, Field(ge=1, le=365)] = 14
    #: Security: per minute, over five minutes.
    login_failures_per_minute: Positive = 10
    rate_limited_per_minute: Positive = 60
    #: Business: jobs that wait, hours without a job that was done, percent of jobs that failed.
    queue_length: Positive = 1000
    idle_hours: Annotated[Whole, Field(ge=1, le=168)] = 24
    failed_jobs_percent: Percent = 10
    #: Business: the least average quality, 0 to 1.
    job_quality: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.7


class Rule(Model):
    """An alert of one's own. Its key is its name."""

    #: PromQL: an alert for each series that it finds.
    expr: Annotated[Given, AfterValidator(check_expression)]
    #: How long it must find it before the alert fires (Prometheus' ``for``).
    pending: Duration = "5m"
    family: Family
    severity: Severity = Severity.WARNING
    #: One line for people. ``{{ $labels.job }}`` and ``{{ $value }}`` as Prometheus has them.
    summary: Annotated[Given, AfterValidator(check_template)]
    #: What to do.
    action: Annotated[Given, AfterValidator(check_template)]


def _rule_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{0,62}", value):
        raise reject(
            f"{shown(value)} is not a name for an alert",
            "use at most 63 letters and digits, such as 'TooFewOrders'",
        )
    return value


RuleName = Annotated[str, AfterValidator(_rule_name)]


def _webhook(value: object) -> object:
    # Never repeated: who has it can write there.
    if isinstance(value, str) and not (
        re.fullmatch(r"https?://[!-~]+", value) or is_unknown(value)
    ):
        raise reject("this is not a URL", "write it whole, as it was shown: 'https://...'")
    return value


Webhook = Annotated[Text, AfterValidator(_webhook)]
"""A URL that is a secret."""


def _channel(value: str) -> str:
    # Alertmanager takes it for a template, and would tell of a wrong one only when it is needed.
    if not re.fullmatch(r"[^\s{}]{1,80}", value):
        raise reject(f"{shown(value)} is not a channel", "write it like '#ops' or '@somebody'")
    return value


class Slack(Model):
    """A Slack channel."""

    #: Of an "incoming webhook". Who has it can write there.
    webhook_url: Webhook
    #: Default: the webhook's own.
    channel: Annotated[Given, AfterValidator(_channel)] | None = None


class Discord(Model):
    """A Discord channel."""

    #: As Discord shows it: ``https://discord.com/api/webhooks/...``.
    webhook_url: Webhook


class Email(Model):
    """Messages by e-mail."""

    to: Annotated[list[Given], Field(min_length=1)]
    sender: Given
    #: ``host:port`` of the server that takes them.
    smarthost: Given
    username: Given | None = None
    password: Text | None = None
    #: False: without encryption, for servers in the same network only.
    tls: Flag = True

    @model_validator(mode="after")
    def _consistent(self) -> "Email":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        host = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*:([1-9][0-9]{0,4})", self.smarthost)
        if not host or int(host[1]) > 65535:
            why = f"{shown(self.smarthost)} is not the host and the port of a server"
            yield ("smarthost",), why, "write it like 'smtp.example.com:587'"
        if (self.username is None) != (self.password is None):
            key = "password" if self.password is None else "username"
            yield (key,), "is missing: a login needs both", "add it, or remove the other"
        if self.password is not None and not self.password:
            yield ("password",), "the password is empty", "set the real one, or remove the login"
        for key, addresses in (("to", self.to), ("sender", [self.sender])):
            for address in addresses:
                if not re.fullmatch(r"[^@\s,{}]+@[^@\s,{}]+", address):
                    yield (key,), f"{shown(address)} is not an address", "write 'me@example.com'"


class Alerts(Model):
    """Alertmanager, and whom it tells. Without any channel it only shows alerts."""

    image: ImageReference | None = None
    #: Port of the Docker host. Default: 9093 in development, else none.
    published: PortNumber | None = None
    resources: Resources = Resources(cpus=0.25, memory="64m")
    slack: Slack | None = None
    discord: Discord | None = None
    email: Email | None = None
    #: How long alerts of one family are waited for, so that they come in one message.
    group_wait: Duration = "30s"
    #: The shortest time between two messages about the same group.
    group_interval: Duration = "5m"
    #: What still fires is told again.
    repeat_interval: Duration = "4h"

    @model_validator(mode="after")
    def _possible(self) -> "Alerts":
        reject_all(
            ((key,), "Alertmanager does not start with 0", "give at least '1s'")
            for key in ("group_interval", "repeat_interval")
            if seconds(getattr(self, key)) == 0
        )
        return self


class Prometheus(Model):
    """The server that asks for metrics and evaluates rules."""

    image: ImageReference | None = None
    #: Documented for Vision (L145-163): 15s both.
    scrape_interval: ScrapeInterval = "15s"
    evaluation_interval: ScrapeInterval = "15s"
    #: Days of data. Not documented.
    retention_days: Annotated[Whole, Field(ge=1, le=3650)] = 15
    #: Size of the volume; four fifths of it are filled at most.
    size: StorageSize = "10Gi"
    #: Port of the Docker host. Default: 9090 in development, else none.
    published: PortNumber | None = None
    resources: Resources = Resources(cpus=0.5, memory="512m")


class Grafana(Model):
    """Dashboards. The five documented ones (Vision, L353-358) are made of the system itself."""

    image: ImageReference | None = None
    #: Port of the Docker host, for this machine alone. Default: 3000 in development, else none.
    published: PortNumber | None = None
    resources: Resources = Resources(cpus=0.5, memory="256m")
    size: StorageSize = "1Gi"
    #: Dashboards of one's own, in Grafana's JSON, by the name of their file.
    extra_dashboards: dict[FileName, PlainText] = {}


def _version(value: str) -> str:
    if not re.fullmatch(r"\d{1,3}\.\d{1,3}\.\d{1,3}", value, re.ASCII):
        raise reject(f"{shown(value)} is not a version of Elastic's", "write it like '8.8.0'")
    return value


class Logs(Model):
    """Elasticsearch, Logstash and Kibana (Vision, L27-31), and what brings the logs: Filebeat."""

    #: Of all four. Documented for Elasticsearch (L136): the others have to be as old.
    version: Annotated[str, AfterValidator(_version)] = "8.8.0"
    #: The system's store with the logs. Where it has none of this name, it gets one.
    store: Name = "elasticsearch"
    #: Days until an index is deleted. Not documented.
    retention_days: Annotated[Whole, Field(ge=1, le=3650)] = 14
    #: Size of the store's volume, where it is made for the logs.
    size: StorageSize = "20Gi"
    #: Filebeat reads what all containers of a machine print. For that it is root, and on Docker it
    #: could read their environment too: see docs/logs.md. False: whoever wants to sends by itself.
    collect: Flag = True
    #: Port of Kibana on the Docker host, for this machine alone. Default: 5601 in development, else
    #: none.
    published: PortNumber | None = None
    #: Default: Elastic's own of the version, by `logstash`, `kibana` and `filebeat`.
    images: dict[Name, ImageReference] = {}


class Observability(Model):
    """How one system is watched."""

    #: False: nothing watches it.
    enabled: Flag = True
    prometheus: Prometheus = Prometheus()
    alerts: Alerts | None = Alerts()
    grafana: Grafana | None = Grafana()
    #: Default: none.
    logs: Logs | None = None
    #: The machines: CPU, memory, disks. Needs their folders, read-only: see the docs.
    node: Flag = True
    #: How often a job is asked, where its program doesn't say it: job → interval.
    intervals: dict[Name, ScrapeInterval] = {}
    program: ProgramMetrics = ProgramMetrics()
    thresholds: Thresholds = Thresholds()
    #: Rules that are left out: a name of ours, such as 'HighResponseTime'.
    without: list[RuleName] = []
    #: Alerts of one's own, by name.
    extra_rules: dict[RuleName, Rule] = {}
    #: Further metrics that the programs export: extra rules and dashboards may name them.
    exports: list[MetricName] = []
    #: Kubernetes: the namespace of another Prometheus, whose operator reads ServiceMonitors: some
    #: are made for it.
    service_monitors: DnsLabel | None = None
    #: Images of exporters by engine (`postgres`), or `node`, `nginx`, `blackbox`.
    images: dict[Name, ImageReference] = {}
