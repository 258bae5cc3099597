"""Portainer CE, which shows and changes what is on a Docker host.

Sources: github.com/portainer/portainer: build/linux/alpine.Dockerfile, api/cli/cli.go (flags),
api/cmd/portainer/main.go (the first administrator), api/adminmonitor/admin_monitor.go.
"""

from pulumi_tiers.model.workload import (
    SECRET_FILES,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)

_PASSWORD = "admin-password"  # noqa: S105 - a file's name


def portainer(*, published: int | None = 9443) -> Workload:
    """Over TLS with a certificate of its own: user `admin`, secret `PORTAINER_PASSWORD`.

    Without a first administrator it locks itself after five minutes. With this one it has one from
    the start; who changes the password later does so in Portainer.
    """
    return Workload(
        # The plain image has nothing but Portainer in it: nothing there could ask after its health.
        image="portainer/portainer-ce:2.39.5-alpine",
        command=[
            # HTTP is for the health check alone, and nobody runs edge agents (port 8000).
            "--bind=127.0.0.1:9000",
            "--bind-https=:9443",
            "--tunnel-addr=127.0.0.1",
            # It hashes the password itself, so the file has it in clear: --admin-password would
            # take a hash, on a command line.
            f"--admin-password-file={SECRET_FILES}/{_PASSWORD}",
        ],
        secret_files={_PASSWORD: "${secret.PORTAINER_PASSWORD}"},
        ports=[Port(target=9443, published=published, scheme="https")],
        volumes=[Volume(name="portainer-data", target="/data", size="1Gi")],
        tmpfs={"/tmp": ""},  # noqa: S108
        healthcheck=Healthcheck(
            test=[
                "CMD",
                "wget",
                "-q",
                "-O",
                "/dev/null",
                "http://127.0.0.1:9000/api/system/status",
            ],
            interval="10s",
            timeout="5s",
            retries=6,
            start_period="60s",
        ),
        profiles=["portainer"],
        resources=Resources(cpus=0.5, memory="256m"),
        # The socket is root's. Without capabilities, and with the socket all the same root's equal.
        user="0:0",
        docker_socket=True,
        stateful=True,
        docker_only="it manages a Docker host through its socket, and a cluster has none",
        unverified=True,
    )
