"""Flower, which shows Celery's workers (https://flower.readthedocs.io/en/latest/config.html)."""

from pulumi_tiers.model.workload import Condition, Healthcheck, Port, Resources, Workload


def flower(*, broker: str = "redis", published: int | None = None) -> Workload:
    """In the network only, with a password: user `admin`, secret `FLOWER_PASSWORD`."""
    return Workload(
        image="mher/flower:2.0",
        command=["celery", "flower", "--port=5555"],
        secrets={
            "CELERY_BROKER_URL": f"${{{broker}.url}}",
            "FLOWER_BASIC_AUTH": "admin:${secret.FLOWER_PASSWORD}",
        },
        ports=[Port(target=5555, published=published)],
        tmpfs={"/tmp": "", "/data": "uid=1000,gid=1000"},  # noqa: S108
        healthcheck=Healthcheck(
            test=[
                "CMD",
                "python3",
                "-c",
                "from urllib.request import urlopen as get;"
                " get('http://127.0.0.1:5555/healthcheck', timeout=3)",
            ],
            path="/healthcheck",
            interval="10s",
            timeout="5s",
            retries=6,
        ),
        depends_on={broker: Condition.SERVICE_HEALTHY},
        profiles=["flower"],
        resources=Resources(cpus=0.5, memory="256m"),
        unverified=True,
    )
