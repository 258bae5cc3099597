"""Pigmeu Copilot: an API, Celery workers that scrape and write, Redis and MongoDB.

Source: "Infraestrutura - Pigmeu Copilot". The numbers in the comments are the lines of the
document; docs/contradictions.md tells what is done where it contradicts itself (PI-01 to PI-18).
"""

from pulumi_tiers.model.edge import Edge, Route, Upstream
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Condition,
    Healthcheck,
    Port,
    Resources,
    Source,
    Workload,
)
from pulumi_tiers.tools import flower

_STORES = {"redis": Condition.SERVICE_HEALTHY, "mongo": Condition.SERVICE_HEALTHY}
_CELERY = ["celery", "-A", "src.workers.worker"]
#: "src/db/migrations.py: run_migrations()" (L485-529); when it runs isn't stated. The driver is
#: asynchronous, so the function may be too.
_MIGRATE = (
    "import asyncio, inspect; from src.db.migrations import run_migrations;"
    " made = run_migrations(); inspect.isawaitable(made) and asyncio.run(made)"
)


def pigmeu(environment: Environment) -> System:
    """The system for one environment (development L27-106, production L407-470)."""
    production = environment is Environment.PRODUCTION
    return System(
        name="pigmeu",
        title="Pigmeu Copilot",
        environment=environment,
        # "container_name: pigmeu-api" (L33-97), where `tiers:names` asks for it; PI-05: replicas
        # have numbers behind it.
        container_prefix="pigmeu-",
        # PI-08: production publishes the edge alone (L391).
        encrypted=production,
        edges={"nginx": _edge()} if production else {},
        stores={
            "redis": Store(
                engine="redis",
                image="redis:7-alpine",
                # L452: AOF in production, as the engine has it; Redis' own defaults in development.
                settings={} if production else {"appendonly": "no"},
                published=None if production else 6379,
                resources=Resources(cpus=1.0, memory="1g") if production else None,
            ),
            "mongo": Store(
                engine="mongo",
                image="mongo:7",
                databases=[Database(name="pigmeu", owner="pigmeu")],
                # PI-01, PI-02: the documented URI names members that the document doesn't have.
                replica_set="rs0" if production else None,
                replicas=3 if production else 1,
                published=None if production else 27017,
                resources=Resources(cpus=2.0, memory="4g") if production else None,
            ),
        },
        services={
            "migrations": _workload(
                production,
                command=["python3", "-c", _MIGRATE],
                job=True,
                depends_on=_STORES,
            ),
            "api": _workload(
                production,
                command=[
                    "uvicorn",
                    "src.app:app",
                    "--host",
                    "0.0.0.0",  # noqa: S104 - inside the container
                    "--port",
                    "8000",
                    *([] if production else ["--reload"]),
                ],
                ports=[Port(target=8000, published=None if production else 8000)],
                # L209-210.
                healthcheck=Healthcheck(
                    test=["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"],
                    path="/health",
                    interval="30s",
                    timeout="10s",
                    start_period="40s",
                    retries=3,
                ),
                depends_on=_migrated(),
                resources=Resources(
                    cpus=2.0, memory="2g", reserved_cpus=0.5, reserved_memory="512m"
                )
                if production
                else Resources(cpus=2.0, memory="2g"),
            ),
            "worker": _workload(
                production,
                # PI-06: built as the API is. Its own Dockerfile leaves out what Chromium needs.
                image="pigmeu/worker:latest",
                command=[
                    *_CELERY,
                    "worker",
                    # PI-10: production states a level for the API only.
                    f"--loglevel={'warning' if production else 'info'}",
                    "--concurrency=${concurrency}",
                ],
                # PI-11: "raise the concurrency" (L397), and 2 in both environments.
                concurrency=2,
                queue="redis",
                # PI-15: the document has none. The ping asks this worker alone; it starts a Python,
                # which takes more than 15 seconds where others leave it little of the processor.
                healthcheck=Healthcheck(
                    test=[
                        "CMD-SHELL",
                        "celery -A src.workers.worker inspect ping"
                        ' --destination "celery@$HOSTNAME" --timeout 5',
                    ],
                    interval="15s",
                    timeout="30s",
                    retries=4,
                    start_period="30s",
                ),
                depends_on=_migrated(),
                replicas=4 if production else 1,
                # PI-16: a task may take 30 minutes (L533-557).
                stop_grace_period="30m",
                resources=Resources(cpus=2.0, memory="2g"),
            ),
            # PI-17: optional. The document installs it by hand into the worker's image.
            "flower": flower(),
        },
    )


def _migrated() -> dict[str, Condition]:
    return {**_STORES, "migrations": Condition.SERVICE_COMPLETED}


def _workload(production: bool, **different: object) -> Workload:
    """What all of them share. No image is documented, only how it is built: the name is ours."""
    return Workload.model_validate(
        {
            "image": "pigmeu/api:latest",
            "source": Source(dockerfile="infra/Dockerfile", mount="/app"),
            "environment": {
                "MONGO_DB_NAME": "pigmeu",
                "APP_ENV": "production" if production else "development",
                # PI-10: "warning" there, "INFO" here.
                "LOG_LEVEL": "WARNING" if production else "INFO",
            },
            "secrets": {"MONGODB_URI": "${mongo.pigmeu.url}", "REDIS_URL": "${redis.url}"},
            # L118-132; PI-04: production has none of them in the document.
            "optional_environment": ["WORDPRESS_URL", "WORDPRESS_USERNAME"],
            "optional_secrets": [
                "OPENAI_API_KEY",
                "GROQ_API_KEY",
                "MISTRAL_API_KEY",
                "WORDPRESS_PASSWORD",
            ],
            # The image makes /app/logs (L203).
            "tmpfs": {"/tmp": "size=256m", "/app/logs": "uid=1000,gid=1000"},  # noqa: S108
            "unverified": True,
            **different,
        }
    )


def _edge() -> Edge:
    """nginx with TLS (L561-581). Sizes, times and limits are not stated: the defaults are ours."""
    return Edge(
        image="nginx:alpine",
        # PI-07: the documented "localhost" is nginx's own container.
        upstreams={"api": Upstream(endpoint="api", port=8000)},
        routes=[Route(path="/", upstream="api")],
    )
