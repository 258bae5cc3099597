"""Vision, "Fase 4": an API that reads texts out of pictures, watched as a whole.

Source: "Vision - Fase 4: Deploy e Infraestrutura". The numbers in the comments are the lines of the
document; docs/contradictions.md tells what is done where it contradicts itself (VI-01 to VI-19).
"""

from pulumi_tiers.model.edge import Edge, RateLimit, Route, Upstream
from pulumi_tiers.model.observability import Grafana, Logs, Observability, Prometheus
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Resources,
    Source,
    Workload,
)

_STORES = {"postgres": Condition.SERVICE_HEALTHY, "redis": Condition.SERVICE_HEALTHY}


def vision(environment: Environment) -> System:
    """The system for one environment (development L83-117, production L119-141)."""
    production = environment is Environment.PRODUCTION
    stores = {
        "postgres": Store(
            engine="postgres",
            image="postgres:15-alpine",
            databases=[
                Database(
                    # L257, L269. VI-05: production's user is not stated; development's, then.
                    name="vision_prod_db" if production else "vision_dev_db",
                    owner="vision_user",
                )
            ],
            published=None if production else 5432,
        ),
        # VI-05: with the password that both files have and no server asks for.
        "redis": Store(
            engine="redis", image="redis:7-alpine", published=None if production else 6379
        ),
    }
    if production:
        # L135-141. VI-10, VI-11: 8.8.0; by itself, with passwords, and only here.
        stores["elasticsearch"] = Store(
            engine="elasticsearch",
            image="docker.elastic.co/elasticsearch/elasticsearch:8.8.0",
            size="20Gi",
            resources=Resources(cpus=1.0, memory="2g"),
        )
    return System(
        name="vision",
        title="Vision Fase 4",
        environment=environment,
        # L368: "HTTPS mandatory in production" (VI-02).
        encrypted=production,
        stores=stores,
        ml={"vision-api": _api(production)},
        # VI-04: it is in neither compose file; development's ports are the programs' own.
        edges={"nginx": _edge()} if production else {},
        observability=Observability(
            # L145-163.
            prometheus=Prometheus(scrape_interval="15s", evaluation_interval="15s"),
            # VI-01: through an exporter, under the documented name.
            intervals={"postgres": "30s"},
            grafana=Grafana(),
            logs=Logs() if production else None,
        ),
    )


def _api(production: bool) -> Workload:
    return Workload(
        # L87-94: built, no image is named.
        image="vision/api:latest",
        command=["python", "-m", "vision.api.api_server", *([] if production else ["--reload"])],
        environment={
            # L254-275.
            "ENVIRONMENT": "production" if production else "development",
            "API_RELOAD": "false" if production else "true",
            "DEBUG": "false" if production else "true",
            **({"ENABLE_HTTPS": "true"} if production else {}),
            "POSTGRES_DB": "${postgres.database}",
            # VI-06: nothing says how it finds its stores: the names are ours.
            "POSTGRES_USER": "${postgres.user}",
            "POSTGRES_HOST": "${postgres.host}",
            "POSTGRES_PORT": "${postgres.port}",
            "REDIS_HOST": "${redis.host}",
            "REDIS_PORT": "${redis.port}",
        },
        secrets={
            "SECRET_KEY": "${secret.SECRET_KEY}",
            # L391-393: what the operator exports.
            "POSTGRES_PASSWORD": "${postgres.password}",
            "REDIS_PASSWORD": "${redis.password}",
            "DATABASE_URL": "${postgres.url}",
            "REDIS_URL": "${redis.url}",
        },
        ports=[
            Port(target=8000, published=None if production else 8000),
            # The dashboard (L326-329).
            Port(target=8080, published=None if production else 8080),
        ],
        tmpfs={"/tmp": "size=256m"},  # noqa: S108
        # L66; retries are Docker's.
        healthcheck=Healthcheck(
            test=["CMD", "curl", "-f", "http://localhost:8000/health"],
            path="/health",
            interval="30s",
            timeout="10s",
        ),
        # L152-157.
        metrics=Metrics(interval="10s"),
        depends_on=_STORES,
        # L126-131; development has none: ours.
        resources=Resources(cpus=2.0, memory="2g", reserved_cpus=1.0, reserved_memory="1g")
        if production
        else Resources(cpus=1.0, memory="1g"),
        source=Source(dockerfile="Dockerfile" if production else "Dockerfile.dev", mount="/app"),
        unverified=True,
    )


def _edge() -> Edge:
    """nginx/nginx.conf (L177-206), as a whole file (VI-04)."""
    return Edge(
        image="nginx:alpine",
        upstreams={"vision-api": Upstream(endpoint="vision-api", port=8000, keepalive=32)},
        rate_limits={"api": RateLimit(rate="10r/s", burst=20, nodelay=True, zone_size="10m")},
        routes=[
            Route(path="/api/", upstream="vision-api", strip_prefix=True, rate_limit="api"),
            # VI-03: asked for on the domain (L411), and led nowhere.
            Route(path="/health", upstream="vision-api", exact=True),
            # VI-17: each replica tells its own numbers, and nobody else's business are they.
            Route(path="/metrics", upstream="vision-api", exact=True, allow=["127.0.0.1/32"]),
        ],
    )
