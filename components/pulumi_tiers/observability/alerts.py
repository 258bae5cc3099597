"""What an alert is.

Each says in its labels what it is about (`family`), how soon somebody has to look (`severity`) and
at which threshold it fires; in its annotations what has happened (`summary`) and what to do
(`runbook`). Expressions keep the label `job`, by which Alertmanager groups and inhibits.
"""

from dataclasses import dataclass
from typing import Any

from pulumi_tiers.model.observability import Family, Severity, Thresholds


@dataclass(frozen=True)
class Alert:
    """A rule."""

    name: str
    expr: str
    pending: str
    family: Family
    severity: Severity
    summary: str
    runbook: str
    #: The key in `Thresholds` and its value, where there is one.
    threshold: str = ""
    #: Further labels.
    labels: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, Any]:
        """As Prometheus has it."""
        labels = {"family": self.family.value, "severity": self.severity.value, **dict(self.labels)}
        if self.threshold:
            labels["threshold"] = self.threshold
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.pending,
            "labels": labels,
            "annotations": {"summary": self.summary, "runbook": self.runbook},
        }


def above(
    thresholds: Thresholds,
    key: str,
    *,
    expr: str,
    severity: Severity = Severity.WARNING,
    sign: str = ">",
    **others: Any,
) -> Alert:
    """Fires above the threshold of this key, or below it. `others`: as of an Alert."""
    limit = f"{getattr(thresholds, key):g}"
    return Alert(
        expr=f"{expr} {sign} {limit}", severity=severity, threshold=f"{key}={limit}", **others
    )
