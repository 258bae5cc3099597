"""The program: a plan becomes components. `__main__.py` and `tiers render` both call it."""

from typing import cast

import pulumi

from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.checks import doubts
from pulumi_tiers.data_tier import DataTier, StoreArgs
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.system import System
from pulumi_tiers.plan import Plan, make_plan
from pulumi_tiers.platforms.base import ConnectionArgs
from pulumi_tiers.settings import Names, read_settings
from pulumi_tiers.site import Site


def main() -> None:
    """Reads the stack's configuration, checks everything, then makes it."""
    try:
        plan = make_plan(pulumi.get_stack(), read_settings(stack_config()))
        urls = {system.name: deploy(plan, system) for system in plan.systems}
    except DescriptionError as error:
        # The engine prints a RunError without a traceback.
        raise pulumi.RunError(str(error)) from None
    for doubt in doubts(plan.systems, plan.target):
        pulumi.log.warn(doubt)
    pulumi.export("environment", plan.settings.environment)
    pulumi.export("target", plan.settings.target)
    pulumi.export("urls", urls)


def deploy(plan: Plan, system: System) -> pulumi.Output[dict[str, list[str]]]:
    """One system of the plan. Returns the URLs of its published services."""
    site = Site(
        system.name,
        {
            "target": plan.target,
            "namespace": system.namespace or f"{system.name}-{system.environment}",
            "environment": system.environment_label or system.environment,
            "documented_names": plan.settings.names is Names.DOCUMENTED,
        },
    )
    connections: dict[str, ConnectionArgs] = {}
    if system.stores:
        # Models are what TypedDicts become anyway.
        stores = cast("dict[str, StoreArgs]", system.stores)
        data = DataTier(f"{system.name}-data", {"site": site.ref, "stores": stores})
        connections = data.connections
    services = cast("dict[str, WorkloadArgs]", system.services)
    apps = AppTier(
        f"{system.name}-app",
        {"site": site.ref, "services": services, "connections": connections},
    )
    return apps.urls


def stack_config() -> dict[str, object]:
    """Every configuration key of the stack: an unknown one is a mistake, so all are looked at."""
    from pulumi.runtime import config

    return {**config.get_config_env(), **config.CONFIG.get()}
