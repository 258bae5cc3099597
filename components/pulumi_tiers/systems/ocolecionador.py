"""OColecionador: collectors' items, recognised by models that are trained on their pictures.

Source: "OColecionador - Arquitetura de Deploy". The numbers in the comments are the lines of the
document; docs/contradictions.md tells what is done where it contradicts itself (OC-01 to OC-32).
Its environments differ in profiles only (L800-835); that production publishes no store, is ours.
"""

from pulumi_tiers.model.edge import Edge, Route, Upstream
from pulumi_tiers.model.ml import Gpu, MlModel, Sharing
from pulumi_tiers.model.observability import Grafana, Observability
from pulumi_tiers.model.store import Bucket, Database, Queue, Store, StoreHealth, Vhost
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Resources,
    RestartPolicy,
    Source,
    Workload,
)
from pulumi_tiers.tools import (
    Tunnel,
    glitchtip,
    glitchtip_bucket,
    glitchtip_database,
    metabase,
    metabase_database,
    ngrok,
    pgadmin,
    portainer,
)

#: `OC_AUTH_USER` (L841-863). OC-16: one name for all, and a password for each.
_USER = "OColecionadorUser"
_ML_STORES = dict.fromkeys(("postgres", "minio", "rabbitmq"), Condition.SERVICE_HEALTHY)
#: OC-14: the document gives hosts only (L631-679). All names but the hosts are ours.
_POSTGRES = {"POSTGRES_HOST": "${postgres.host}", "POSTGRES_PORT": "${postgres.port}"}
_MINIO = {
    "MINIO_HOST": "${minio.host}",
    "S3_REGION": "us-east-1",
    "S3_BUCKET": "images",
}
_S3_SECRETS = {
    "S3_ENDPOINT": "${minio.images.url}",
    "S3_ACCESS_KEY": "${minio.images.user}",
    "S3_SECRET_KEY": "${minio.images.password}",
}


def ocolecionador(environment: Environment) -> System:
    """The system for one environment (L472-796)."""
    production = environment is Environment.PRODUCTION
    tools = ("metabase", "glitchtip")
    return System(
        name="ocolecionador",
        title="OColecionador",
        environment=environment,
        # OC-06, OC-07: "automatic" is production's (L800-835), "manual" is for who trains.
        # Portainer has the whole machine (OC-23), ngrok needs a token, pgAdmin is no service
        # (OC-10).
        default_profiles=["automatic", *tools] if production else [*tools],
        stores=_stores(production),
        services={
            "ocolecionadorbackend": _backend(),
            "ocolecionadorfrontend": _frontend(),
            "portainer": portainer(),
            "metabase": metabase(),
            **glitchtip(minio="minio"),
            "pgadmin": pgadmin(),
            # OC-29: one tunnel; those to backend and classifier would go past nginx.
            "ngrok": ngrok({"frontend": Tunnel("nginx:8080")}),
        },
        ml={
            "ocolecionadoraugmentations": _augmentations(),
            "ocolecionadorclassifier": _classifier(),
            "ocolecionadortraining": _training(),
        },
        edges={"nginx": _edge(production)},
        # Not documented: for stacks that want it. Metabase has the port that is Grafana's.
        observability=Observability(
            enabled=False, grafana=Grafana(published=None if production else 3001)
        ),
    )


def _stores(production: bool) -> dict[str, Store]:
    """L478-573. OC-22: their ports are published in development only."""

    def published(port: int) -> int | None:
        return None if production else port

    # Documented for these three; SQL Server's and RabbitMQ's are their engines' own. OC-32: the
    # start period is ours.
    asked = StoreHealth(interval="10s", timeout="3s", retries=5, start_period="120s")

    return {
        "sqlserver": Store(
            engine="mssql",
            settings={"MSSQL_PID": "Express"},
            databases=[Database(name="OColecionador", owner="ocolecionador")],
            published=published(1433),
        ),
        "postgres": Store(
            engine="postgres",
            image="postgres:15",
            admin=_USER,
            # OC-11: each has the database that it names.
            databases=[
                Database(name="OColecionadorAugmentationsDB", owner="augmentations"),
                glitchtip_database(),
                metabase_database(),
            ],
            published=published(5432),
            healthcheck=asked,
        ),
        # OC-19: GlitchTip's broker, and the backend's cache.
        "redis": Store(
            engine="redis",
            image="redis:7",
            settings={"maxmemory-policy": "noeviction"},
            published=published(6379),
            healthcheck=asked,
        ),
        "minio": Store(
            engine="minio",
            admin=_USER,
            # No bucket is documented: the names are ours. OC-31: training writes into `models`.
            buckets=[
                Bucket(name="images", owner="ocolecionador"),
                Bucket(name="models", owner="training", versioning=True),
                glitchtip_bucket(),
            ],
            published=published(9000),
            console=published(9001),
            healthcheck=asked,
        ),
        "rabbitmq": Store(
            engine="rabbitmq",
            image="rabbitmq:3-management",
            admin=_USER,
            # No queue is documented (L900-958): the names are ours.
            vhosts=[Vhost(name="ocolecionador", owner="ocolecionador")],
            queues=[Queue(name="jobs")],
            published=published(5672),
            console=published(15672),
        ),
    }


def _backend() -> Workload:
    return Workload(
        # L577-598; the image is the one that its workflow pushes (L186-241).
        image="patrickcaloriocarvalho/ocolecionador-backend:latest",
        environment={"ASPNETCORE_ENVIRONMENT": "Production", **_MINIO},
        secrets={
            # OC-14: it is told no store at all.
            "ConnectionStrings__SqlServer": "${sqlserver.dotnet}",
            "SQLSERVER_URL": "${sqlserver.url}",
            "RABBITMQ_URL": "${rabbitmq.url}",
            "REDIS_URL": "${redis.url}",
            **_S3_SECRETS,
        },
        # OC-13, OC-14: declared in the document's .env, and used by nobody. DOCKER_URI goes with
        # the daemon's socket, which a stack may give it (OC-23).
        optional_environment=[
            "DOCKER_URI",
            "OC_AUTH_EMAIL",
            "OC_GITHUB_CLIENT_ID",
            "OC_GOOGLE_CLIENT_ID",
        ],
        optional_secrets=["OC_GITHUB_CLIENT_SECRET", "OC_GOOGLE_CLIENT_SECRET", "SENTRY_DSN"],
        # OC-02: it listens on 8080.
        ports=[Port(target=8080, published=5000)],
        tmpfs={"/tmp": "size=128m"},  # noqa: S108
        # L908: asked for by hand, and by the workflow (L302). The numbers are ours.
        healthcheck=_asked("http://localhost:8080/api/health", "/api/health"),
        metrics=Metrics(),
        depends_on={
            "sqlserver": Condition.SERVICE_HEALTHY,
            "minio": Condition.SERVICE_HEALTHY,
            "rabbitmq": Condition.SERVICE_HEALTHY,
        },
        restart=RestartPolicy.ALWAYS,
        resources=Resources(cpus=1.0, memory="512m"),
        source=Source(context="OColecionadorBackEnd"),
        unverified=True,
    )


def _frontend() -> Workload:
    return Workload(
        # L600-614.
        image="patrickcaloriocarvalho/ocolecionador-frontend:latest",
        environment={"PORT": "5002"},
        # OC-25: they are build arguments.
        optional_environment=["GITHUB_CLIENT_ID", "GOOGLE_CLIENT_ID"],
        optional_secrets=["SENTRY_DSN"],
        ports=[Port(target=5002, published=5002)],
        tmpfs={"/tmp": "size=64m"},  # noqa: S108
        healthcheck=_asked("http://localhost:5002/health", "/health"),
        depends_on={"ocolecionadorbackend": Condition.SERVICE_STARTED},
        restart=RestartPolicy.ALWAYS,
        resources=Resources(cpus=0.5, memory="256m"),
        source=Source(
            context="OColecionadorFrontEnd", args=["GITHUB_CLIENT_ID", "GOOGLE_CLIENT_ID"]
        ),
        unverified=True,
    )


def _augmentations() -> Workload:
    return Workload(
        # L618-640.
        image="patrickcaloriocarvalho/ocolecionador-augmentations:latest",
        environment={
            **_POSTGRES,
            **_MINIO,
            "RABBITMQ_HOST": "${rabbitmq.host}",
            "RABBITMQ_QUEUE": "jobs",
            "CUDA_VISIBLE_DEVICES": "0",
            "HEARTBEAT_FILE": "/tmp/heartbeat",  # noqa: S108
            "WORKER_CONCURRENCY": "${concurrency}",
            "METRICS_PORT": "8000",
        },
        secrets={
            "DATABASE_URL": "${postgres.url}",
            "RABBITMQ_URL": "${rabbitmq.url}",
            **_S3_SECRETS,
        },
        optional_secrets=["SENTRY_DSN"],
        profiles=["automatic"],
        # OC-30: training has the same, on the one machine that the document knows.
        gpu=Gpu(sharing=Sharing.SHARED),
        concurrency=1,
        queue="rabbitmq",
        # Nothing is documented: ours, in the network only.
        ports=[Port(target=8000)],
        metrics=Metrics(),
        tmpfs={"/tmp": "size=256m"},  # noqa: S108
        # It touches the file while it is able to work.
        healthcheck=Healthcheck(
            test=["CMD-SHELL", 'test -n "$(find /tmp/heartbeat -mmin -1)"'],
            interval="10s",
            timeout="5s",
            retries=6,
            start_period="30s",
        ),
        depends_on=_ML_STORES,
        restart=RestartPolicy.ALWAYS,
        # How long a job takes is not stated: ours.
        stop_grace_period="5m",
        resources=Resources(cpus=2.0, memory="2g"),
        source=Source(context="OColecionadorAugmentations"),
        unverified=True,
    )


def _classifier() -> Workload:
    return Workload(
        # L642-660. Nothing pushes its image (OC-24): the name is ours.
        image="patrickcaloriocarvalho/ocolecionador-classifier:latest",
        environment={**_POSTGRES, **_MINIO, "MODEL_PATH": "${model.classifier.path}"},
        secrets={"DATABASE_URL": "${postgres.url}", **_S3_SECRETS},
        optional_secrets=["SENTRY_DSN"],
        profiles=["automatic"],
        # OC-31: /app/models/v2 is documented, and nothing that puts something there. The first
        # start has none yet: `tiers:models` names the version that training has made.
        models={"classifier": MlModel(version="v2", store="minio", bucket="models", optional=True)},
        ports=[Port(target=5001, published=5001)],
        tmpfs={"/tmp": "size=256m"},  # noqa: S108
        healthcheck=_asked("http://localhost:5001/health", "/health"),
        metrics=Metrics(),
        depends_on={
            "postgres": Condition.SERVICE_HEALTHY,
            "minio": Condition.SERVICE_HEALTHY,
        },
        restart=RestartPolicy.ALWAYS,
        # A new model comes without a gap where there are two.
        rolling=True,
        resources=Resources(cpus=1.0, memory="1g"),
        source=Source(context="OColecionadorClassifier"),
        unverified=True,
    )


def _training() -> Workload:
    return Workload(
        # L662-684, L827. It was a container that slept, for a command by hand.
        image="patrickcaloriocarvalho/ocolecionador-training:latest",
        command=["python", "main.py"],
        environment={
            **_POSTGRES,
            "MINIO_HOST": "${minio.host}",
            "RABBITMQ_HOST": "${rabbitmq.host}",
            "CUDA_VISIBLE_DEVICES": "0",
            "S3_REGION": "us-east-1",
            "S3_BUCKET": "models",
            "IMAGES_BUCKET": "images",
        },
        secrets={
            "DATABASE_URL": "${postgres.url}",
            "RABBITMQ_URL": "${rabbitmq.url}",
            "S3_ENDPOINT": "${minio.models.url}",
            "S3_ACCESS_KEY": "${minio.models.user}",
            "S3_SECRET_KEY": "${minio.models.password}",
            "IMAGES_ACCESS_KEY": "${minio.images.user}",
            "IMAGES_SECRET_KEY": "${minio.images.password}",
        },
        optional_environment=["MODEL_VERSION"],
        optional_secrets=["SENTRY_DSN"],
        profiles=["manual"],
        on_demand=True,
        gpu=Gpu(sharing=Sharing.SHARED),
        tmpfs={"/tmp": "size=1g"},  # noqa: S108
        depends_on=_ML_STORES,
        resources=Resources(cpus=2.0, memory="4g"),
        source=Source(context="OColecionadorTraining"),
        unverified=True,
    )


def _asked(url: str, path: str) -> Healthcheck:
    """Whether it answers. What the images have to ask with, is not stated."""
    return Healthcheck(
        test=["CMD-SHELL", f"curl -fsS -o /dev/null {url} || wget -q -O /dev/null {url}"],
        path=path,
        interval="10s",
        timeout="5s",
        retries=6,
        start_period="30s",
    )


def _edge(production: bool) -> Edge:
    """LocalServer/nginx.conf (L378-427), as a whole file (OC-03)."""
    return Edge(
        image="nginx:alpine",
        # Development has a certificate anyway (OC-04). Who came to ngrok by https is led nowhere.
        redirect=production,
        upstreams={
            # OC-02: 8080.
            "backend": Upstream(endpoint="ocolecionadorbackend", port=8080),
            "frontend": Upstream(endpoint="ocolecionadorfrontend", port=5002),
            # OC-06: only where its profile is on.
            "classifier": Upstream(endpoint="ocolecionadorclassifier", port=5001, optional=True),
        },
        routes=[
            Route(path="/", upstream="frontend"),
            Route(path="/api", upstream="backend"),
            Route(path="/classifier", upstream="classifier"),
        ],
        gzip_types=[
            "text/plain",
            "text/css",
            "application/json",
            "application/javascript",
            "text/xml",
            "application/xml",
        ],
        # OC-05: ngrok says whether people came by https. Docker's own networks are in there, and
        # nobody's who comes from outside.
        trusted_proxies=["172.16.0.0/12"],
    )
