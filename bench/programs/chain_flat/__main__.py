"""The containers of `chain`, written by hand with the provider alone.

`python -m bench` compares the inputs of both programs' resources before it measures.
"""

import pulumi
import pulumi_docker as docker

LOGS = {
    "max-size": "10m",
    "max-file": "3",
    "labels": "tiers.stack,tiers.system,tiers.service",
}
LEVELS = (("a1", "a2", "a3"), ("b1", "b2"), ("c1", "c2"))

config = pulumi.Config()
gated = config.require_bool("gated")
prefix = f"{pulumi.get_stack()}-chain"

network = docker.Network("network", name=prefix)
image = docker.RemoteImage("image", name=config.require("image"), keep_locally=True)


def container(name: str, before: list[docker.Container], first: bool) -> docker.Container:
    mounts: list[docker.ContainerMountArgs] = []
    if first:
        volume = docker.Volume(f"{name}-data", name=f"{prefix}-{name}-data")
        mounts = [docker.ContainerMountArgs(type="volume", source=volume.name, target="/data")]
    return docker.Container(
        name,
        name=f"{prefix}-{name}",
        image=image.image_id,
        entrypoints=["sleep"],
        command=["infinity"],
        envs=[f"NAME={name}"],
        networks_advanced=[docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=[name])],
        mounts=mounts,
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", "true"], interval="1s", timeout="5s", retries=10, start_period="0s"
        ),
        wait=True,
        wait_timeout=46,
        restart="unless-stopped",
        user="1000:1000",
        read_only=True,
        security_opts=["no-new-privileges:true"],
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        memory=128,
        memory_swap=128,
        cpus="0.5",
        init=True,
        stop_timeout=10,
        destroy_grace_seconds=10,
        log_driver="json-file",
        log_opts=LOGS,
        attach=False,
        must_run=True,
        opts=pulumi.ResourceOptions(depends_on=before if gated else None),
    )


made: list[docker.Container] = []
for number, level in enumerate(LEVELS):
    made = [container(name, made, first=number == 0) for name in level]
