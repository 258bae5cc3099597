"""Seven containers in three levels that wait for each other, as a description.

They do nothing but get healthy, so that the levels' health intervals are what an `up` waits for.
`tiers render` makes the Compose file of the comparison from this same program.
"""

import pulumi
from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.model.workload import Condition
from pulumi_tiers.site import Site

LEVELS = (("a1", "a2", "a3"), ("b1", "b2"), ("c1", "c2"))

config = pulumi.Config()
image = config.require("image")
interval = config.require("interval")
gate = Condition.SERVICE_HEALTHY if config.require_bool("gated") else Condition.SERVICE_STARTED


def service(name: str, before: tuple[str, ...]) -> WorkloadArgs:
    workload: WorkloadArgs = {
        "image": image,
        "entrypoint": ["sleep"],
        "command": ["infinity"],
        "environment": {"NAME": name},
        "healthcheck": {
            "test": ["CMD", "true"],
            "interval": interval,
            "timeout": "5s",
            "retries": 10,
        },
        "depends_on": dict.fromkeys(before, gate),
    }
    if not before:
        workload["volumes"] = [{"name": f"{name}-data", "target": "/data"}]
    return workload


site = Site("chain", {})
services = {
    name: service(name, before)
    for before, level in zip(((), *LEVELS), LEVELS, strict=False)
    for name in level
}
AppTier("chain-app", {"site": site.ref, "services": services})
