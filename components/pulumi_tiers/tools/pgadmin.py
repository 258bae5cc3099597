"""pgAdmin, which shows and changes what is in a Postgres server.

Sources: github.com/pgadmin-org/pgadmin4 at REL-9_17: Dockerfile, pkg/docker/entrypoint.sh,
docs/en_US/container_deployment.rst, docs/en_US/import_export_servers.rst.
"""

import json

from pulumi_tiers.model.workload import (
    SECRET_FILES,
    Condition,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)

_PORT = 5050
_PASSWORD = "pgadmin-password"  # noqa: S105 - a file's name
_SERVERS = "servers.json"


def pgadmin(
    *,
    postgres: str = "postgres",
    email: str = "admin@localhost.local",
    published: int | None = _PORT,
) -> Workload:
    """People sign in as `email` with the secret `PGADMIN_PASSWORD`; both count at the first start.

    The server is in its list; the password of its user is asked for.
    """
    server = {
        "Name": postgres,
        "Group": "Servers",
        "Host": f"${{{postgres}.host}}",
        "MaintenanceDB": f"${{{postgres}.database}}",
        "Username": f"${{{postgres}.user}}",
        "ConnectionParameters": {"sslmode": "prefer"},
    }
    # A number, which is a reference until it is there.
    port = f'"Port": ${{{postgres}.port}}, '
    servers = json.dumps({"Servers": {"1": server}}).replace('"Host"', f'{port}"Host"')
    return Workload(
        # From 9.16 on, it starts without capabilities: before, Python itself had one.
        image="dpage/pgadmin4:9.17",
        environment={
            "PGADMIN_DEFAULT_EMAIL": email,
            "PGADMIN_DEFAULT_PASSWORD_FILE": f"{SECRET_FILES}/{_PASSWORD}",
            # Addresses like that of the document end with ".local", which it refuses otherwise.
            "PGADMIN_CONFIG_ALLOW_SPECIAL_EMAIL_DOMAINS": "['local']",
            "PGADMIN_LISTEN_ADDRESS": "0.0.0.0",  # noqa: S104 - inside the container
            "PGADMIN_LISTEN_PORT": str(_PORT),
            "PGADMIN_SERVER_JSON_FILE": f"{SECRET_FILES}/{_SERVERS}",
            # Written at every start, elsewhere than in the image.
            "PGADMIN_CUSTOM_CONFIG_DISTRO_FILE": "/tmp/config_distro.py",  # noqa: S108
            # It needs root.
            "PGADMIN_DISABLE_POSTFIX": "True",
        },
        secret_files={_PASSWORD: "${secret.PGADMIN_PASSWORD}", _SERVERS: servers},
        ports=[Port(target=_PORT, published=published)],
        volumes=[Volume(name="pgadmin-data", target="/var/lib/pgadmin", size="1Gi")],
        tmpfs={"/tmp": "size=128m"},  # noqa: S108
        healthcheck=Healthcheck(
            test=["CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{_PORT}/misc/ping"],
            path="/misc/ping",
            interval="10s",
            timeout="5s",
            retries=6,
            start_period="2m",
        ),
        depends_on={postgres: Condition.SERVICE_HEALTHY},
        profiles=["pgadmin"],
        resources=Resources(cpus=0.5, memory="512m"),
        # The image's 5050:0, without root's group.
        user=f"{_PORT}:{_PORT}",
        stateful=True,
        unverified=True,
    )
