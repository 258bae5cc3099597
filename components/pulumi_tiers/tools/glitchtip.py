"""GlitchTip, which collects errors as Sentry's clients send them.

Sources: https://glitchtip.com/assets/compose.sample.yml and /documentation/install; version 6 of
gitlab.com/glitchtip/glitchtip-backend: Dockerfile, bin/*.sh, glitchtip/settings.py and urls.py.
"""

from collections.abc import Sequence

from pulumi_tiers.model.store import Bucket, Database
from pulumi_tiers.model.workload import Condition, Healthcheck, Port, Resources, Workload

_NAME = "glitchtip"
_MIGRATE = f"{_NAME}-migrate"
_PORT = 8000
#: OC-12: version 6 has no Celery any more; its worker is bin/run-worker.sh.
_IMAGE = "glitchtip/glitchtip:6.2.6"
#: What people and the health check call it by.
_LOCAL = ("localhost", "127.0.0.1")
#: The image's `app`.
_USER = 5000


def glitchtip_database() -> Database:
    """What it keeps errors and users in."""
    return Database(name=_NAME, owner=_NAME, profiles=[_NAME])


def glitchtip_bucket() -> Bucket:
    """What it keeps uploaded source maps in."""
    return Bucket(name=_NAME, owner=_NAME, profiles=[_NAME])


def glitchtip(
    *,
    postgres: str = "postgres",
    redis: str = "redis",
    minio: str | None = None,
    published: int | None = _PORT,
    hosts: Sequence[str] = (),
) -> dict[str, Workload]:
    """Migrations, web server (`glitchtip`) and worker.

    `postgres` has `glitchtip_database`, `minio` has `glitchtip_bucket`; without it, source maps are
    forgotten at every start. `hosts`: names by which it is reached, beside localhost and its own.
    The stack may set GLITCHTIP_DOMAIN (its public URL), ALLOWED_HOSTS, DEFAULT_FROM_EMAIL, and the
    secret EMAIL_URL, without which mails are written to the log.
    """
    stores = {postgres: Condition.SERVICE_HEALTHY, redis: Condition.SERVICE_HEALTHY}
    environment = {
        "ALLOWED_HOSTS": ",".join([_NAME, *_LOCAL, *hosts]),
        "GLITCHTIP_DOMAIN": f"http://localhost:{published or _PORT}",
        # EMAIL_URL overrides it.
        "EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend",
        # The first user may all the same, and invites the others.
        "ENABLE_USER_REGISTRATION": "False",
    }
    secrets = {
        # OC-15: the engine has encoded what the password holds.
        "DATABASE_URL": f"${{{postgres}.{_NAME}.url}}",
        "VALKEY_URL": f"${{{redis}.url}}",
        "SECRET_KEY": "${secret.GLITCHTIP_SECRET_KEY}",
    }
    tmpfs = {"/tmp": "size=256m"}  # noqa: S108
    if minio is None:
        tmpfs["/code/uploads"] = f"size=256m,uid={_USER},gid={_USER}"
    else:
        bucket = f"{minio}.{_NAME}"
        stores[minio] = Condition.SERVICE_HEALTHY
        environment |= {
            "AWS_STORAGE_BUCKET_NAME": f"${{{bucket}.database}}",
            # boto3 asks for one, MinIO doesn't.
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        secrets |= {
            "AWS_S3_ENDPOINT_URL": f"${{{bucket}.url}}",
            "AWS_ACCESS_KEY_ID": f"${{{bucket}.user}}",
            "AWS_SECRET_ACCESS_KEY": f"${{{bucket}.password}}",
        }

    def workload(**different: object) -> Workload:
        return Workload.model_validate(
            {
                "image": _IMAGE,
                "environment": environment,
                "secrets": secrets,
                "optional_environment": ["DEFAULT_FROM_EMAIL"],
                "optional_secrets": ["EMAIL_URL"],
                "tmpfs": tmpfs,
                "depends_on": {**stores, _MIGRATE: Condition.SERVICE_COMPLETED},
                "profiles": [_NAME],
                # "Recommended: 512 MB RAM", for both in one.
                "resources": Resources(cpus=0.5, memory="512m"),
                "user": f"{_USER}:{_USER}",
                "unverified": True,
                **different,
            }
        )

    return {
        _MIGRATE: workload(command=["./bin/run-migrate.sh"], depends_on=stores, job=True),
        _NAME: workload(
            command=["./bin/run-web.sh"],
            ports=[Port(target=_PORT, published=published)],
            # No path for Kubernetes: it would ask for the pod's address, which is no allowed host.
            healthcheck=Healthcheck(
                test=["CMD", "python3", "-c", _ask(f"http://127.0.0.1:{_PORT}/_health/")],
                interval="10s",
                timeout="5s",
                retries=6,
                start_period="60s",
            ),
        ),
        # OC-09: with a hyphen. One only: it has the scheduler. It listens nowhere and says nothing
        # of its health; when it fails, it ends.
        f"{_NAME}-worker": workload(command=["./bin/run-worker.sh"]),
    }


def _ask(url: str) -> str:
    return f"from urllib.request import urlopen as get; get('{url}', timeout=3)"
