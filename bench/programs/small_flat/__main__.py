"""The resources of `small`, written by hand with the providers alone."""

import pulumi
import pulumi_docker as docker
import pulumi_random as random

LOGS = {
    "max-size": "10m",
    "max-file": "3",
    "labels": "tiers.stack,tiers.system,tiers.service",
}


def small(name: str) -> None:
    prefix = f"{pulumi.get_stack()}-{name}"
    network = docker.Network(f"{name}-network", name=prefix)
    password = random.RandomPassword(f"{name}-password", length=32, special=False)
    postgres_image = docker.RemoteImage(
        f"{name}-postgres-image", name="postgres:15", keep_locally=True
    )
    app_image = docker.RemoteImage(f"{name}-app-image", name="example.com/app:1", keep_locally=True)
    volume = docker.Volume(f"{name}-data", name=f"{prefix}-postgres-data")
    postgres = docker.Container(
        f"{name}-postgres",
        name=f"{prefix}-postgres",
        image=postgres_image.image_id,
        envs=[
            "PGDATA=/var/lib/postgresql/data/pgdata",
            "POSTGRES_DB=postgres",
            pulumi.Output.concat("POSTGRES_PASSWORD=", password.result),
            "POSTGRES_USER=postgres",
        ],
        networks_advanced=[
            docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["postgres"])
        ],
        mounts=[
            docker.ContainerMountArgs(
                type="volume", source=volume.name, target="/var/lib/postgresql/data"
            )
        ],
        tmpfs={"/var/run/postgresql": "uid=999,gid=999", "/tmp": ""},
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "postgres"],
            interval="1s",
            timeout="5s",
            retries=60,
            start_period="0s",
        ),
        wait=True,
        wait_timeout=96,
        restart="unless-stopped",
        user="999:999",
        read_only=True,
        security_opts=["no-new-privileges:true"],
        capabilities=docker.ContainerCapabilitiesArgs(drops=["ALL"]),
        memory=256,
        memory_swap=256,
        cpus="1.0",
        init=True,
        stop_timeout=60,
        destroy_grace_seconds=60,
        log_driver="json-file",
        log_opts=LOGS,
        attach=False,
        must_run=True,
    )
    url = pulumi.Output.concat(
        "postgresql://postgres:", password.result, "@postgres:5432/postgres?sslmode=prefer"
    )
    docker.Container(
        f"{name}-app",
        name=f"{prefix}-app",
        image=app_image.image_id,
        envs=["DATABASE_HOST=postgres", pulumi.Output.concat("DATABASE_URL=", url)],
        networks_advanced=[
            docker.ContainerNetworksAdvancedArgs(name=network.name, aliases=["app"])
        ],
        healthcheck=docker.ContainerHealthcheckArgs(
            tests=["CMD", "curl", "-f", "http://localhost:8000"],
            interval="2s",
            timeout="5s",
            retries=15,
            start_period="0s",
        ),
        wait=True,
        wait_timeout=67,
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
        opts=pulumi.ResourceOptions(depends_on=[postgres]),
    )


for number in range(pulumi.Config().require_int("instances")):
    small(f"small{number}")
