"""Observability: what watches a system, as workloads. Pure functions; no Pulumi here."""

from pulumi_tiers.observability.workloads import (
    check_observability,
    observability_workloads,
    watched,
)

__all__ = ["check_observability", "observability_workloads", "watched"]
