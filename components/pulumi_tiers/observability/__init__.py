"""Observability: what watches a system, as workloads. Pure functions; no Pulumi here."""

from pulumi_tiers.observability.workloads import observability_workloads

__all__ = ["observability_workloads"]
