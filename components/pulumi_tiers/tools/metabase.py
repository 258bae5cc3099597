"""Metabase, which draws charts of databases.

Sources: github.com/metabase/metabase: bin/docker/Dockerfile and bin/docker/run_metabase.sh;
https://www.metabase.com/docs/latest/configuring-metabase/environment-variables.
"""

from pulumi_tiers.model.store import Database
from pulumi_tiers.model.workload import Condition, Healthcheck, Port, Resources, Workload

_NAME = "metabase"
#: run_metabase.sh starts as any other user than root without changing anything in the image.
_USER = 2000


def metabase_database() -> Database:
    """What it keeps its own questions and users in."""
    return Database(name=_NAME, owner=_NAME, profiles=[_NAME])


def metabase(*, postgres: str = "postgres", published: int | None = 3000) -> Workload:
    """Whoever opens it first becomes its administrator. `postgres` has `metabase_database`."""
    database = f"{postgres}.{_NAME}"
    return Workload(
        image="metabase/metabase:v0.58.34",
        environment={
            "MB_DB_TYPE": "postgres",
            "MB_DB_HOST": f"${{{database}.host}}",
            "MB_DB_PORT": f"${{{database}.port}}",
            "MB_DB_DBNAME": f"${{{database}.database}}",
            "MB_DB_USER": f"${{{database}.user}}",
            "MB_ANON_TRACKING_ENABLED": "false",
            # The drivers are unpacked at every start.
            "MB_PLUGINS_DIR": "/plugins",
            # Java's own default is a quarter.
            "JAVA_OPTS": "-XX:MaxRAMPercentage=70",
        },
        secrets={
            "MB_DB_PASS": f"${{{database}.password}}",
            # Else the passwords of the databases that it shows are in its own in clear.
            "MB_ENCRYPTION_SECRET_KEY": "${secret.MB_ENCRYPTION_SECRET_KEY}",
        },
        ports=[Port(target=3000, published=published)],
        tmpfs={"/tmp": "size=256m", "/plugins": f"size=512m,uid={_USER},gid={_USER}"},  # noqa: S108
        healthcheck=Healthcheck(
            test=["CMD", "curl", "-fsS", "-o", "/dev/null", "http://127.0.0.1:3000/api/health"],
            path="/api/health",
            interval="10s",
            timeout="5s",
            retries=6,
            # At the first start it makes its tables.
            start_period="5m",
        ),
        depends_on={postgres: Condition.SERVICE_HEALTHY},
        profiles=[_NAME],
        # https://www.metabase.com/docs/latest/installation-and-operation/metabase-at-scale
        resources=Resources(cpus=1.0, memory="2g"),
        user=f"{_USER}:{_USER}",
        unverified=True,
    )
