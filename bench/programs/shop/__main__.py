"""A shop on Kubernetes: a database, and three services, of which one has secrets.

The images run on real nodes too; simulated ones pull none. There is no load balancer: both sides
would wait for its address alike.
"""

from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.data_tier import DataTier
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition
from pulumi_tiers.site import Site


def service(variables: dict[str, str], *before: str) -> WorkloadArgs:
    return {
        "image": "busybox:1.37",
        "command": ["sleep", "infinity"],
        "environment": dict(variables),
        "healthcheck": {"test": ["CMD", "true"], "interval": "2s", "timeout": "5s", "retries": 15},
        "depends_on": dict.fromkeys(before, Condition.SERVICE_HEALTHY),
        "stop_grace_period": "1s",
    }


site = Site("shop", {"target": Target.KUBERNETES})
data = DataTier(
    "shop-data",
    {"site": site.ref, "stores": {"postgres": {"engine": "postgres", "image": "postgres:15"}}},
)
api = service({"DATABASE_HOST": "${postgres.host}"}, "postgres")
AppTier(
    "shop-app",
    {
        "site": site.ref,
        "connections": data.connections,
        "services": {
            "api": {
                **api,
                "secrets": {"DATABASE_URL": "${postgres.url}"},
                "ports": [{"target": 8000}],
            },
            "web": {
                **service({"API_URL": "http://api:8000"}, "api"),
                "ports": [{"target": 8080}],
                "tmpfs": {"/tmp": "size=16m"},
                "replicas": 2,
            },
            "worker": service({"API_URL": "http://api:8000"}, "api"),
        },
    },
)
