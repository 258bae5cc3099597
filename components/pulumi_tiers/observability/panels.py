"""What a dashboard is made of, and how Grafana writes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

METRICS = {"type": "prometheus", "uid": "prometheus"}
LOGS = {"type": "elasticsearch", "uid": "elasticsearch"}
#: What Grafana 11.6 and 12.0 write; newer ones take it over as they load it.
_SCHEMA_VERSION = 41
_COLUMNS = 24


class Kind(StrEnum):
    """Grafana's words for how a panel looks."""

    NUMBER = "stat"
    LINES = "timeseries"
    STATES = "state-timeline"
    LOGS = "logs"


#: Width and height on Grafana's grid of 24 columns.
_SIZES = {Kind.NUMBER: (4, 4), Kind.LINES: (12, 8), Kind.STATES: (24, 10), Kind.LOGS: (24, 10)}


@dataclass(frozen=True)
class Query:
    """A line, or a group of them. For logs, `expr` is Lucene's language."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel: several queries where they belong into one picture."""

    title: str
    queries: tuple[Query, ...]
    kind: Kind = Kind.LINES
    #: https://grafana.com/docs/grafana/latest/panels-visualizations/configure-standard-options/
    unit: str = "short"
    #: From it on, it is shown in red: the threshold of an alert.
    limit: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """One dashboard. `rows`: what stands under which heading."""

    uid: str
    title: str
    description: str
    rows: dict[str, tuple[Panel, ...]]


# --- Grafana's JSON -------------------------------------------------------------------------------


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The dashboard in Grafana's JSON."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, members in dashboard.rows.items():
        place = {"h": 1, "w": _COLUMNS, "x": 0, "y": top}
        empty: list[Any] = []
        heading = {"type": "row", "title": title, "collapsed": False, "panels": empty}
        panels.append({**heading, "gridPos": place})
        top += 1
        left = tallest = 0
        for panel in members:
            width, height = _SIZES[panel.kind]
            if left + width > _COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            place = {"h": height, "w": width, "x": left, "y": top}
            panels.append({**_panel(panel), "gridPos": place})
            left, tallest = left + width, max(tallest, height)
        top += tallest
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["tiers"],
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "schemaVersion": _SCHEMA_VERSION,
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
        "templating": {"list": []},
        "annotations": {"list": []},
    }


def _panel(panel: Panel) -> dict[str, Any]:
    logs = panel.kind is Kind.LOGS
    source = LOGS if logs else METRICS
    targets: list[dict[str, Any]] = []
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target: dict[str, Any] = {"refId": letter, "datasource": source}
        if logs:
            logs_only = [{"type": "logs", "id": "1", "settings": {"limit": "500"}}]
            target |= {"query": query.expr, "metrics": logs_only, "timeField": "@timestamp"}
        else:
            target |= {"expr": query.expr, "legendFormat": query.legend or "__auto"}
            target["instant" if panel.kind is Kind.NUMBER else "range"] = True
        targets.append(target)
    return {
        "type": panel.kind.value,
        "title": panel.title,
        "datasource": source,
        "targets": targets,
        "options": _OPTIONS[panel.kind],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
    }


_LEGEND: dict[str, Any] = {
    "displayMode": "list",
    "placement": "bottom",
    "showLegend": True,
    "calcs": [],
}
_TOOLTIP = {"mode": "multi", "sort": "desc"}
_OPTIONS: Mapping[Kind, dict[str, Any]] = {
    Kind.NUMBER: {
        "graphMode": "none",
        "colorMode": "value",
        "justifyMode": "auto",
        "textMode": "auto",
        "orientation": "auto",
        "wideLayout": True,
        "showPercentChange": False,
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    Kind.LINES: {"legend": _LEGEND, "tooltip": _TOOLTIP},
    Kind.STATES: {
        "showValue": "never",
        "rowHeight": 0.8,
        "mergeValues": True,
        "legend": _LEGEND,
        "tooltip": _TOOLTIP,
    },
    Kind.LOGS: {
        "showLabels": False,
        "showCommonLabels": False,
        "showTime": True,
        "showLogContextToggle": False,
        "wrapLogMessage": True,
        "prettifyLogMessage": False,
        "enableLogDetails": True,
        "sortOrder": "Descending",
        "dedupStrategy": "none",
    },
}
_STATES = {
    "1": {"text": "no ar", "color": "green", "index": 0},
    "0": {"text": "fora do ar", "color": "red", "index": 1},
}


def _defaults(panel: Panel) -> dict[str, Any]:
    if panel.kind is Kind.LOGS:
        return {}
    if panel.kind is Kind.STATES:
        return {"mappings": [{"type": "value", "options": _STATES}], "custom": {"fillOpacity": 80}}
    steps: list[dict[str, Any]] = [{"value": None, "color": "green"}]
    if panel.limit is not None:
        steps.append({"value": panel.limit, "color": "red"})
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind is Kind.LINES:
        defaults["min"] = 0
        defaults["color"] = {"mode": "palette-classic"}
        style = "dashed" if panel.limit is not None else "off"
        defaults["custom"] = {"fillOpacity": 10, "thresholdsStyle": {"mode": style}}
    return defaults


def text_of(dashboard: Mapping[str, Any]) -> str:
    """A dashboard as the text of its file."""
    return json.dumps(dashboard, ensure_ascii=False, separators=(",", ":"))
