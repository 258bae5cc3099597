"""The targets. Each imports its provider SDKs only when it is asked for."""

import pulumi

from pulumi_tiers.model.system import Target
from pulumi_tiers.platforms.base import Platform


def platform_for(target: Target) -> Platform:
    """The platform of a target."""
    match target:
        case Target.DOCKER:
            from pulumi_tiers.platforms.docker import DockerPlatform

            return DockerPlatform()
        case Target.KUBERNETES:
            from pulumi_tiers.platforms.kubernetes import KubernetesPlatform

            return KubernetesPlatform()
        case Target.DIGITALOCEAN:
            raise pulumi.RunError(
                "target digitalocean is not built yet\n"
                "    set tiers:target to docker or kubernetes, or render it with --to kubernetes"
            )
