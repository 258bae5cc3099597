"""Alertmanager: who is told, when, and what is left unsaid."""

from typing import Any

import yaml

from pulumi_tiers.model.base import Deferred
from pulumi_tiers.model.observability import Alerts, Email, Observability
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import SECRET_FILES, Metrics, Port, Volume, Workload
from pulumi_tiers.observability.exporters import health
from pulumi_tiers.observability.prometheus import published

ALERTMANAGER = "alertmanager"
PORT = 9093
IMAGE = "prom/alertmanager:v0.28.1"
_CONFIG = "alertmanager.yml"
_DATA = "/alertmanager"
_TITLE = (
    '{{ if eq .Status "firing" }}Firing ({{ .Alerts.Firing | len }}){{ else }}Resolved{{ end }}:'
    " {{ .CommonLabels.system }} {{ .CommonLabels.environment }}, {{ .CommonLabels.family }}"
)
_TEXT = (
    "{{ range .Alerts }}{{ .Status }}: {{ .Labels.alertname }} ({{ .Labels.severity }})"
    " - {{ .Annotations.summary }}\n"
    '{{ if eq .Status "firing" }}What to do: {{ .Annotations.runbook }}\n{{ end }}{{ end }}'
)


def alertmanager_workload(system: System, observability: Observability, target: Target) -> Workload:
    """The server. Where messages go, and their passwords, are files that only it can read."""
    alerts = observability.alerts
    assert alerts is not None
    return Workload(
        image=alerts.image or IMAGE,
        command=[
            f"--config.file={SECRET_FILES}/{_CONFIG}",
            f"--storage.path={_DATA}",
            # One needs no others.
            "--cluster.listen-address=",
        ],
        # Together: its image has one folder only that everybody may write to.
        secret_files={_CONFIG: literal(configuration(alerts)), **_secret_files(alerts)},
        ports=[Port(target=PORT, published=published(system, target, alerts.published, PORT))],
        # Silences, and what was told already.
        volumes=[Volume(name=f"{ALERTMANAGER}-data", target=_DATA, size="1Gi")],
        metrics=Metrics(),
        healthcheck=health(PORT, "/-/ready"),
        resources=alerts.resources,
        user="65534:65534",
        unverified=True,
    )


def configuration(alerts: Alerts) -> str:
    """alertmanager.yml. Alertmanager 0.25 and newer take it."""
    receiver: dict[str, Any] = {"name": "everybody"}
    chat = {"send_resolved": True, "title": _TITLE, "text": _TEXT}
    slack: list[dict[str, Any]] = []
    if alerts.slack:
        channel = {"channel": alerts.slack.channel} if alerts.slack.channel else {}
        slack.append({"api_url_file": f"{SECRET_FILES}/slack", **channel, **chat})
    if alerts.discord:
        # https://discord.com/developers/docs/resources/webhook#execute-slackcompatible-webhook
        slack.append({"api_url_file": f"{SECRET_FILES}/discord", **chat})
    if slack:
        receiver["slack_configs"] = slack
    if alerts.email:
        receiver["email_configs"] = _email(alerts.email)
    document = {
        "route": {
            "receiver": receiver["name"],
            "group_by": ["system", "family"],
            "group_wait": alerts.group_wait,
            "group_interval": alerts.group_interval,
            "repeat_interval": alerts.repeat_interval,
        },
        "receivers": [receiver],
        "inhibit_rules": _INHIBITED,
    }
    return yaml.safe_dump(document, sort_keys=False, width=1000)


_INHIBITED: list[dict[str, Any]] = [
    # What does not answer has no other news.
    {
        "source_matchers": ['alertname="TargetDown"'],
        "target_matchers": ['alertname!="TargetDown"'],
        "equal": ["system", "job"],
    },
    # A store that is down needs nothing said of its connections ...
    {
        "source_matchers": ['alertname="StoreDown"'],
        "target_matchers": ['alertname!~"StoreDown|TargetDown"'],
        "equal": ["system", "job"],
    },
    # ... nor of everybody who misses it.
    {
        "source_matchers": ['alertname="StoreDown"'],
        "target_matchers": ['alertname="DependencyDown"'],
        "equal": ["system", "engine"],
    },
]


def _email(email: Email) -> list[dict[str, Any]]:
    login = (
        {
            "auth_username": email.username,
            "auth_password_file": f"{SECRET_FILES}/email-password",
        }
        if email.username
        else {}
    )
    text = {"headers": {"Subject": _TITLE}, "html": "", "text": _TEXT}
    return [
        {
            "to": ", ".join(email.to),
            "from": email.sender,
            "smarthost": email.smarthost,
            "require_tls": email.tls,
            "send_resolved": True,
            **login,
            **text,
        }
    ]


def _secret_files(alerts: Alerts) -> dict[str, Any]:
    files: dict[str, Any] = {}
    if alerts.slack:
        files["slack"] = _text(alerts.slack.webhook_url)
    if alerts.discord:
        files["discord"] = _text(alerts.discord.webhook_url, "/slack")
    if alerts.email and alerts.email.password is not None:
        files["email-password"] = _text(alerts.email.password)
    return files


def _text(value: Any, suffix: str = "") -> Any:
    """What a stack gives is no reference to anything."""
    if isinstance(value, str):
        return literal(value + suffix)
    assert isinstance(value, Deferred)
    return value.apply(lambda known: known + suffix) if suffix else value
