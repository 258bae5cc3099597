"""NutriFitCoach: an API for videos of movements, workers that analyse them, Postgres, Redis, S3.

Source: "Arquitetura de Infraestrutura - NFC/NFV". The numbers in the comments are the lines of the
document; docs/contradictions.md tells what is done where it contradicts itself or says nothing
(NF-01 to NF-18). It knows one environment: ours differ in secrets, TLS and protection only.
"""

from pulumi_tiers.model.edge import Balance, Edge, RateLimit, Route, Upstream
from pulumi_tiers.model.network import AddressRange, Network
from pulumi_tiers.model.store import Bucket, Database, Store
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Resources,
    Volume,
    Workload,
)

_BUCKETS = ("videos", "thumbnails", "results")
_STORES = dict.fromkeys(("postgres", "redis", "minio"), Condition.SERVICE_HEALTHY)
#: NF-18: no names are documented. The files are Docker's and Kubernetes' secrets (L161-206).
_ENVIRONMENT = {
    "DATABASE_URL_FILE": "/run/secrets/DATABASE_URL",
    "REDIS_URL_FILE": "/run/secrets/REDIS_URL",
    "S3_ENDPOINT_FILE": "/run/secrets/S3_ENDPOINT",
    "S3_REGION": "us-east-1",
    # Spaces' names are everybody's in the region: there, they begin with those of the stack.
    "S3_BUCKET": "${minio.videos.database}",
    "S3_BUCKET_THUMBNAILS": "${minio.thumbnails.database}",
    "S3_BUCKET_RESULTS": "${minio.results.database}",
    "S3_ACCESS_KEY_FILE": "/run/secrets/S3_ACCESS_KEY",
    "S3_SECRET_KEY_FILE": "/run/secrets/S3_SECRET_KEY",
}
_SECRETS = {
    "DATABASE_URL": "${postgres.url}",
    "REDIS_URL": "${redis.url}",
    "S3_ENDPOINT": "${minio.url}",
    "S3_ACCESS_KEY": "${minio.videos.user}",
    "S3_SECRET_KEY": "${minio.videos.password}",
}


def nutrifitcoach(environment: Environment) -> System:
    """The system for one environment."""
    return System(
        name="nutrifitcoach",
        title="NutriFitCoach",
        environment=environment,
        encrypted=True,
        # L372-397. NF-02: an internal network could publish nothing, so it is two: every documented
        # address lies in one of these quarters of 172.28.0.0/24.
        subnet="172.28.0.0/16",
        networks={
            # What has no documented address gets one that is nobody's.
            "edge": Network(subnet="172.28.0.0/26", ip_range="172.28.0.48/28"),
            "data": Network(subnet="172.28.0.64/26", ip_range="172.28.0.64/27", internal=True),
        },
        stores={
            "postgres": Store(
                engine="postgres",
                image="postgres:16-alpine",
                password_file=True,
                databases=[Database(name="nutrifitcoach", owner="nutrifitcoach")],
                size="10Gi",
                networks=["data"],
                address=AddressRange.of("172.28.0.100"),
            ),
            "redis": Store(
                engine="redis",
                image="redis:7-alpine",
                # NF-10: cache, queue, sessions and messages in one. L262, AOF and RDB: the engine's
                # own; DigitalOcean's Valkey has RDB alone.
                settings={"maxmemory-policy": "noeviction"},
                size="1Gi",
                networks=["data"],
                address=AddressRange.of("172.28.0.110"),
            ),
            "minio": Store(
                engine="minio",
                buckets=[Bucket(name=name, owner="nutrifitcoach") for name in _BUCKETS],
                size="50Gi",
                # The edge passes signed URLs on to it (NF-01).
                networks=["edge", "data"],
                address=AddressRange.of("172.28.0.120"),
            ),
        },
        services={"migrations": _migrations(), "api": _api(environment)},
        ml={"worker": _worker(environment)},
        edges={"nginx": _edge()},
    )


def _migrations() -> Workload:
    return Workload(
        image="nutrifitcoach/api:latest",
        # "Prisma ORM, migrations" (L56-62); Prisma takes its URL from the environment alone.
        command=["npx", "prisma", "migrate", "deploy"],
        environment={"npm_config_cache": "/tmp/.npm"},  # noqa: S108
        secrets={"DATABASE_URL": "${postgres.url}"},
        networks=["data"],
        tmpfs={"/tmp": ""},  # noqa: S108
        depends_on={"postgres": Condition.SERVICE_HEALTHY},
        resources=Resources(cpus=0.5, memory="256m"),
        job=True,
        unverified=True,
    )


def _api(environment: Environment) -> Workload:
    return Workload(
        # No image is documented, only its base, "20 Alpine": the name is ours.
        image="nutrifitcoach/api:latest",
        environment={
            **_ENVIRONMENT,
            "NODE_ENV": environment.value,
            "PORT": "3000",
            # NF-01: clients get signed URLs, so these name the host that clients see: the edge, or
            # Spaces.
            "S3_PUBLIC_ENDPOINT": "${minio.public}",
            "JWT_SECRET_FILE": "/run/secrets/JWT_SECRET",
        },
        secret_files={**_SECRETS, "JWT_SECRET": "${secret.JWT_SECRET}"},
        ports=[Port(target=3000)],
        # NF-04: three are documented, and "N".
        replicas=3,
        networks=["edge", "data"],
        addresses=AddressRange.of("172.28.0.20", "172.28.0.29"),
        # L257-288; NF-05: all that lasts is in Postgres and S3.
        volumes=[
            Volume(name="api-uploads", target="/app/data/uploads", size="5Gi", scratch=True),
            Volume(name="api-frames", target="/app/data/frames", size="10Gi", scratch=True),
            Volume(name="api-results", target="/app/data/results", size="2Gi", scratch=True),
        ],
        tmpfs={"/tmp": "size=128m"},  # noqa: S108
        # "Health" (L43-46): path and numbers are ours. Node is in the image, curl may be.
        healthcheck=Healthcheck(
            test=[
                "CMD-SHELL",
                "wget -q -O /dev/null http://127.0.0.1:3000/health"
                " || curl -fsS -o /dev/null http://127.0.0.1:3000/health",
            ],
            path="/health",
            interval="5s",
            timeout="5s",
            retries=12,
        ),
        metrics=Metrics(),
        depends_on={**_STORES, "migrations": Condition.SERVICE_COMPLETED},
        resources=Resources(cpus=1.0, memory="512m"),
        unverified=True,
    )


def _worker(environment: Environment) -> Workload:
    return Workload(
        # NF-07: TensorFlow for Node needs glibc: build it on node:20-slim, not on "20 Alpine".
        image="nutrifitcoach/worker:latest",
        environment={
            **_ENVIRONMENT,
            "NODE_ENV": environment.value,
            "WORKER_CONCURRENCY": "${concurrency}",
            "HEARTBEAT_FILE": "/tmp/heartbeat",  # noqa: S108
        },
        secret_files=_SECRETS,
        # L235-238: three workers, two jobs each.
        replicas=3,
        concurrency=2,
        queue="redis",
        networks=["edge", "data"],
        # NF-04: as many as the network has room for.
        addresses=AddressRange.of("172.28.0.30", "172.28.0.47"),
        volumes=[
            Volume(name="worker-frames", target="/app/data/frames", size="10Gi", scratch=True),
            Volume(name="worker-results", target="/app/data/results", size="2Gi", scratch=True),
        ],
        tmpfs={"/tmp": "size=256m"},  # noqa: S108
        # It listens on no port: it touches the file while it is able to work.
        healthcheck=Healthcheck(
            test=["CMD-SHELL", 'test -n "$(find /tmp/heartbeat -mmin -1)"'],
            interval="5s",
            timeout="5s",
            retries=12,
        ),
        depends_on={**_STORES, "migrations": Condition.SERVICE_COMPLETED},
        # How long an analysis takes is not stated: ours.
        stop_grace_period="10m",
        resources=Resources(cpus=2.0, memory="2g"),
        unverified=True,
    )


def _edge() -> Edge:
    """nginx (L28-31, L172-175, L217). NF-09, NF-13: limits, sizes and times are ours."""
    return Edge(
        image="nginx:alpine",
        upstreams={
            "api": Upstream(endpoint="api", port=3000, balance=Balance.LEAST_CONN),
            # Spaces are reached without it.
            "minio": Upstream(endpoint="minio", port=9000, optional=True),
        },
        # Vision's, the only documented ones.
        rate_limits={"api": RateLimit(rate="10r/s", burst=20, nodelay=True)},
        routes=[
            Route(path="/", upstream="api", rate_limit="api"),
            # Each replica tells its own numbers: they are read inside.
            Route(path="/metrics", upstream="api", exact=True, allow=["127.0.0.1/32"]),
            Route(
                path="/upload",
                upstream="api",
                rate_limit="api",
                max_body_size="512m",
                request_buffering=False,
                read_timeout="5m",
            ),
            # NF-01: signed URLs are for clients, and S3 itself is not.
            *(
                Route(
                    path=f"/{bucket}/",
                    upstream="minio",
                    max_body_size="512m",
                    request_buffering=False,
                    read_timeout="5m",
                )
                for bucket in _BUCKETS
            ),
        ],
        networks=["edge"],
        addresses=AddressRange.of("172.28.0.10"),
        # NF-06: DigitalOcean has no volume of 500 MB; it is scratch there.
        log_volume=Volume(name="nginx-logs", target="/var/log/nginx", size="500Mi", scratch=True),
    )
