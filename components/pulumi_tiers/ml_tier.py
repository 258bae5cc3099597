"""MLTier: the services of a system that compute with models."""

import pulumi

from pulumi_tiers.app_tier import AppTier, AppTierArgs


class MLTier(AppTier):
    """An AppTier for what computes with models; on CPUs so far."""

    def __init__(
        self, name: str, args: AppTierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(name, args, opts)
