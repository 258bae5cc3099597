"""The targets. Each imports its provider SDKs only when it is asked for."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pulumi_tiers.model.system import Target
    from pulumi_tiers.platforms.base import Platform


def platform_for(target: "Target") -> "Platform":
    """The platform of a target."""
    from pulumi_tiers.model.system import Target

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
