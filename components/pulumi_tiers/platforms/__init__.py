"""The targets. Each imports its provider SDKs only when it is asked for."""

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
            from pulumi_tiers.platforms.digitalocean import DigitalOceanPlatform

            return DigitalOceanPlatform()
