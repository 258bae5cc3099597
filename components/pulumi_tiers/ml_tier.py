"""MLTier: the services of a system that compute with models."""

import pulumi

from pulumi_tiers.app_tier import AppTier, AppTierArgs
from pulumi_tiers.platforms.base import EndpointArgs


class MLTier(AppTier):
    """An AppTier for what computes with models: GPUs, models' files, runs on demand."""

    # Again, because other languages are told what stands in the class itself.
    urls: pulumi.Output[dict[str, list[str]]]
    """Where the published services are reached, by service."""
    endpoints: dict[str, EndpointArgs]
    """Where the services are reached in their site, by service."""

    def __init__(
        self, name: str, args: AppTierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, args, opts)
