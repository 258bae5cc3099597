"""A small system — a database, and an application that uses it — as many times as is asked for."""

import pulumi
from pulumi_tiers.app_tier import AppTier
from pulumi_tiers.data_tier import DataTier
from pulumi_tiers.model.workload import Condition
from pulumi_tiers.site import Site

for number in range(pulumi.Config().require_int("instances")):
    name = f"small{number}"
    site = Site(name, {})
    data = DataTier(
        f"{name}-data",
        {"site": site.ref, "stores": {"postgres": {"engine": "postgres", "image": "postgres:15"}}},
    )
    AppTier(
        f"{name}-app",
        {
            "site": site.ref,
            "connections": data.connections,
            "services": {
                "app": {
                    "image": "example.com/app:1",
                    "environment": {"DATABASE_HOST": "${postgres.host}"},
                    "secrets": {"DATABASE_URL": "${postgres.url}"},
                    "healthcheck": {
                        "test": ["CMD", "curl", "-f", "http://localhost:8000"],
                        "interval": "2s",
                        "timeout": "5s",
                        "retries": 15,
                    },
                    "depends_on": {"postgres": Condition.SERVICE_HEALTHY},
                }
            },
        },
    )
