"""Grafana (https://grafana.com/docs/grafana/latest/setup-grafana/): sources, dashboards, login."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pulumi_tiers.model.errors import Mistake, shown
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import (
    CONFIGS,
    SECRET_FILES,
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Volume,
    Workload,
)
from pulumi_tiers.observability.dashboards import dashboards, metrics_of
from pulumi_tiers.observability.exporters import CERTIFICATE_JOB, probes
from pulumi_tiers.observability.logs import INDEX
from pulumi_tiers.observability.metrics import exported
from pulumi_tiers.observability.panels import LOGS, METRICS, text_of
from pulumi_tiers.observability.prometheus import PORT as PROMETHEUS_PORT
from pulumi_tiers.observability.prometheus import PROMETHEUS, published

NAME = "grafana"
#: Documented is `latest` (Vision, L113). The version is ours.
IMAGE = "grafana/grafana:12.4.4"
#: Documented (Vision, L112-116, L315-321).
PORT = 3000
PASSWORD = "GRAFANA_ADMIN_PASSWORD"  # noqa: S105 - the documented variable (Vision, L262)
"""The admin's password in `tiers:secrets`, as the document calls it (VI-05). Default: generated."""
_SECRET_KEY = "GRAFANA_SECRET_KEY"  # noqa: S105 - its name
_PROVISIONING = "/tmp/provisioning"  # noqa: S108
#: Files of a workload stand side by side, and Grafana looks for these in folders.
_START = f"""set -eu
for kind in datasources dashboards plugins alerting; do
  mkdir -p {_PROVISIONING}/$kind
done
cp {CONFIGS}/datasources.yaml {_PROVISIONING}/datasources/
cp {CONFIGS}/dashboards.yaml {_PROVISIONING}/dashboards/
exec /run.sh
"""


def grafana_workloads(
    system: System, observability: Observability, target: Target
) -> dict[str, Workload]:
    """Grafana, by its host name: with the documented source and the dashboards that have data."""
    grafana = observability.grafana
    if grafana is None:
        return {}
    secrets = {"admin_password": f"${{secret.{PASSWORD}}}", "key": f"${{secret.{_SECRET_KEY}}}"}
    after = {PROMETHEUS: Condition.SERVICE_HEALTHY}
    environment: dict[str, str] = {}
    if found := observability.logs:
        connection = f"{found.store}.{INDEX}"
        secrets["logs_password"] = f"${{{connection}.password}}"
        environment["LOGS_URL"] = f"http://${{{connection}.host}}:${{{connection}.port}}"
        environment["LOGS_USER"] = f"${{{connection}.user}}"
        after[found.store] = Condition.SERVICE_HEALTHY
    workload = Workload(
        image=grafana.image or IMAGE,
        entrypoint=["sh", "-c", _START],
        environment={
            "GF_SECURITY_ADMIN_PASSWORD__FILE": f"{SECRET_FILES}/admin_password",
            # It encrypts the sources' passwords in its database; the default is public.
            "GF_SECURITY_SECRET_KEY__FILE": f"{SECRET_FILES}/key",
            "GF_PATHS_PROVISIONING": _PROVISIONING,
            "GF_USERS_ALLOW_SIGN_UP": "false",
            # It asks nobody on the internet for anything.
            "GF_ANALYTICS_REPORTING_ENABLED": "false",
            "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
            "GF_NEWS_NEWS_FEED_ENABLED": "false",
            "GF_PLUGINS_PREINSTALL_DISABLED": "true",
            "GF_SECURITY_DISABLE_GRAVATAR": "true",
            "GF_SNAPSHOTS_EXTERNAL_ENABLED": "false",
            # It opens with the first of them.
            "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH": f"{CONFIGS}/visao-geral.json",
            **environment,
        },
        secret_files=secrets,
        configs={
            "datasources.yaml": _sources(observability),
            "dashboards.yaml": _provider(system),
            **_files(system, observability, target),
        },
        ports=[Port(target=PORT, published=published(system, target, grafana.published, PORT))],
        volumes=[Volume(name=f"{NAME}-data", target="/var/lib/grafana", size=grafana.size)],
        tmpfs={"/tmp": ""},  # noqa: S108
        healthcheck=Healthcheck(
            # Documented (L323-336): 503 while its database doesn't answer.
            test=["CMD-SHELL", f"wget -q -O /dev/null http://127.0.0.1:{PORT}/api/health"],
            interval="5s",
            timeout="5s",
            retries=3,
            # It builds its database at the first start.
            start_period="60s",
            path="/api/health",
            port=PORT,
        ),
        depends_on=after,
        resources=grafana.resources,
        stop_grace_period="30s",
        # The image's own; its folder of data belongs to the group 0.
        user="472:0",
        stateful=True,
        metrics=Metrics(),
        unverified=True,
    )
    return {NAME: workload}


def _files(system: System, observability: Observability, target: Target) -> dict[str, str]:
    """The dashboards by the names of their files: ours, then the system's own."""
    assert observability.grafana is not None
    found = dashboards(
        observability,
        _known(system, observability, target),
        logs=observability.logs is not None,
    )
    ours = {f"{uid}.json": text_of(dashboard) for uid, dashboard in found.items()}
    return {**ours, **observability.grafana.extra_dashboards}


def _known(system: System, observability: Observability, target: Target) -> frozenset[str]:
    """What is exported; of certificates and queues only where there are any."""
    found = exported(system, observability, target)
    if not any(probe.job == CERTIFICATE_JOB for probe in probes(system, target)):
        found -= {"probe_ssl_earliest_cert_expiry"}
    if not any(workload.queue for workload in system.workloads.values()):
        found -= {observability.program.queue_length or ""} - {*observability.exports}
    return found


def _sources(observability: Observability) -> str:
    """The documented file (Vision, L165-175); the uid is what panels know it by."""
    sources: list[dict[str, Any]] = [
        {
            "name": "Prometheus",
            "type": METRICS["type"],
            "uid": METRICS["uid"],
            "access": "proxy",
            "url": f"http://{PROMETHEUS}:{PROMETHEUS_PORT}",
            "isDefault": True,
            "editable": False,
            # The least that a rate is taken over.
            "jsonData": {"timeInterval": observability.prometheus.scrape_interval},
        }
    ]
    if observability.logs:
        sources.append(
            {
                "name": "Elasticsearch",
                "type": LOGS["type"],
                "uid": LOGS["uid"],
                "access": "proxy",
                # Grafana puts variables and files in by itself.
                "url": "$LOGS_URL",
                "editable": False,
                "basicAuth": True,
                "basicAuthUser": "$LOGS_USER",
                "secureJsonData": {"basicAuthPassword": f"$__file{{{SECRET_FILES}/logs_password}}"},
                "jsonData": {
                    "index": f"{INDEX}-*",
                    "timeField": "@timestamp",
                    "logMessageField": "message",
                    "logLevelField": "level",
                },
            }
        )
    return _yaml({"apiVersion": 1, "datasources": sources})


def _provider(system: System) -> str:
    provider = {
        "name": "tiers",
        "folder": system.title,
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": CONFIGS},
    }
    return _yaml({"apiVersion": 1, "providers": [provider]})


def _yaml(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


# --- checks ---------------------------------------------------------------------------------------


def check_grafana(
    place: str, system: System, observability: Observability, target: Target
) -> Iterator[Mistake]:
    """What is wrong with the system's own dashboards. `place` is put before the keys."""
    grafana = observability.grafana
    if grafana is None:
        return
    known = _known(system, observability, target)
    plain = grafana.model_copy(update={"extra_dashboards": {}})
    bare = observability.model_copy(update={"grafana": plain})
    ours = _files(system, bare, target)
    found = [json.loads(text) for file, text in ours.items()]
    names = {key: {dashboard[key] for dashboard in found} for key in ("uid", "title")}
    for file, text in grafana.extra_dashboards.items():
        at = f"{place}grafana.extra_dashboards.{file}"
        if file in ours:
            yield Mistake(at, "the file of a documented dashboard is called so", "rename it")
        elif not file.endswith(".json"):
            yield Mistake(at, "Grafana reads files that end with .json", f"call it '{file}.json'")
        for why, remedy in _problems(text, known, names):
            yield Mistake(at, why, remedy)


def _problems(
    text: str, known: frozenset[str], names: dict[str, set[str]]
) -> Iterator[tuple[str, str]]:
    """`names`: by uid and title, those of other dashboards; this one's are added."""
    remedy = "export it in Grafana as JSON, with the classic model"
    try:
        dashboard: Any = json.loads(text)
    except (ValueError, RecursionError):
        yield "this is not JSON", remedy
        return
    panels = dashboard.get("panels") if isinstance(dashboard, dict) else None
    title = dashboard.get("title") if isinstance(dashboard, dict) else None
    right = isinstance(panels, list) and all(isinstance(panel, dict) for panel in panels)
    if not right or not isinstance(title, str) or not title:
        yield "this is not a dashboard: it has no title, or no list of panels", remedy
        return
    for key, taken in names.items():
        name = dashboard.get(key)
        if name is None:
            continue
        if not isinstance(name, str):
            yield f"its {key} is {shown(name)}", "write a text"
        elif key == "uid" and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", name):
            # https://grafana.com/docs/grafana/latest/developers/http_api/dashboard/
            yield f"its uid is {shown(name)}", "use at most 40 letters, digits, '_' and '-'"
        elif name in taken:
            yield f"its {key} is {shown(name)}, as another one's", "give it one of its own"
        else:
            taken.add(name)
    for panel, expr in _queries(panels):
        name = f"the panel {shown(panel)}"
        try:
            missing = metrics_of(expr) - known
        except ValueError as error:
            yield f"{name} asks for what is not PromQL: {error}", f"correct {shown(expr)}"
            continue
        if missing:
            listing = ", ".join(sorted(missing))
            yield (
                f"{name} asks for what nothing here exports: {listing}",
                "correct the name, or say in 'exports' that a program exports it",
            )


def _queries(panels: list[Any]) -> Iterator[tuple[str, str]]:
    """The titles of panels and what they ask Prometheus, also of those inside closed rows."""
    for panel in panels:
        if not isinstance(panel, dict):
            continue
        inner, targets = panel.get("panels"), panel.get("targets")
        yield from _queries(inner if isinstance(inner, list) else [])
        for target in targets if isinstance(targets, list) else []:
            match target:
                case {"datasource": {"type": str(kind)}} if kind not in ("prometheus", ""):
                    pass
                case {"expr": str(expr)} if expr:
                    yield str(panel.get("title", "")), expr
                case _:
                    pass
