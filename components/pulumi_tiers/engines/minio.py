"""MinIO, or what speaks S3 as it does (https://quay.io/repository/minio/minio)."""

import json
from typing import ClassVar

from pulumi_tiers.engines.base import (
    Backup,
    Consumer,
    Engine,
    Reached,
    Service,
    by_owner,
    placement,
)
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.store import Managed, Store
from pulumi_tiers.model.workload import (
    SECRET_FILES,
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Resources,
    Volume,
    Workload,
)

_DATA = "/data"
_KEY = "encryption-key"
_CONSOLE = 9001
#: `mc` keeps its own things there, and the image's root is read-only.
_HOME = {"HOME": "/tmp", "MC_CONFIG_DIR": "/tmp/mc"}  # noqa: S108

#: What a consumer may do with its buckets, and with the objects in them.
_BUCKET_ACTIONS = (
    *("GetBucketLocation", "GetBucketVersioning", "ListBucket"),
    *("ListBucketMultipartUploads", "ListBucketVersions"),
)
_OBJECT_ACTIONS = (
    *("AbortMultipartUpload", "DeleteObject", "DeleteObjectVersion", "GetObject"),
    *("GetObjectTagging", "GetObjectVersion", "ListMultipartUploadParts"),
    *("PutObject", "PutObjectTagging"),
)

# `mc` reads both words of a key from its input: they are in no command line.
_SETUP = """set -eu
printf '%s\\n%s\\n' "$ADMIN" "$ADMIN_PASSWORD" |
  mc --quiet alias set site "http://$SERVER" >/dev/null
"""
_USER = """printf '%s\\n%s\\n' {user} "${variable}" | mc --quiet admin user add site
printf '%s' "$POLICY_{variable}" >/tmp/policy.json
mc --quiet admin policy create site tiers-{user} /tmp/policy.json
if ! said=$(mc --quiet admin policy attach site tiers-{user} --user {user} 2>&1); then
  case "$said" in
  *'already in effect'*) ;;
  *) printf '%s\\n' "$said" >&2; exit 1 ;;
  esac
fi
"""
_MIRROR = """set -eu
printf '%s\\n%s\\n' "$ACCESS_KEY" "$SECRET_KEY" |
  mc --quiet alias set site "$SERVER" >/dev/null
"""


class Minio(Engine):
    """The official image: the root user makes buckets, consumers have keys of their own."""

    name = "minio"
    # `latest` moves, and Docker Hub's may be gone (NF-14, OC-18).
    image = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
    port = 9000
    admin = "minio"
    resources: ClassVar[Resources] = Resources(cpus=1.0, memory="512m")
    least_memory = "256m"
    takes: ClassVar[frozenset[str]] = frozenset({"admin", "buckets", "console", "encryption"})
    service: ClassVar[Service] = Service(engine="spaces", port=443, admin="", database="")

    def consumers(self, store: Store) -> dict[str, Consumer]:
        return by_owner(store, self.admin_of(store), store.buckets)

    def keys(self, store: Store) -> list[str]:
        return [_KEY] if store.encryption else []

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        """The endpoint. Clients are given access key, secret key and bucket beside it."""
        del consumer, password, store
        usual = server.port == (443 if server.tls else 80)
        where = server.hosts[0] if usual else server.at
        return f"{'https' if server.tls else 'http'}://{where}"

    def workload(self, name: str, store: Store) -> Workload:
        environment = {
            **_HOME,
            "MINIO_ROOT_USER": self.admin_of(store),
            "MINIO_ROOT_PASSWORD_FILE": f"{SECRET_FILES}/password",
            # It would ask its maker for a newer version.
            "MINIO_UPDATE": "off",
            # Numbers, no content, for who is in its networks: else Prometheus would need a token
            # that is signed with the root user's password.
            "MINIO_PROMETHEUS_AUTH_TYPE": "public",
        }
        files = {"password": f"${{password.{self.admin_of(store)}}}"}
        if store.encryption:
            environment["MINIO_KMS_SECRET_KEY_FILE"] = f"{SECRET_FILES}/{_KEY}"
            environment["MINIO_KMS_AUTO_ENCRYPTION"] = "on"
            # 32 bytes in base64: 42 digits of the key, and the end of every such text.
            files[_KEY] = f"tiers:${{password.{_KEY}}}A="
        return Workload(
            image=store.image or self.image,
            command=["server", _DATA, "--console-address", f":{_CONSOLE}"],
            environment=environment,
            secret_files=files,
            ports=[
                Port(target=self.port, published=store.published),
                Port(target=_CONSOLE, published=store.console),
            ],
            volumes=[Volume(name=store.volume or f"{name}-data", target=_DATA, size=store.size)],
            tmpfs={"/tmp": ""},  # noqa: S108
            metrics=Metrics(path="/minio/v2/metrics/cluster"),
            # There is no curl in the image (OC-18).
            healthcheck=Healthcheck(
                test=["CMD", "mc", "ready", "local"],
                interval="2s",
                timeout="10s",
                retries=30,
            ),
            resources=store.resources or self.resources,
            # What was confirmed is on the disk; the rest is to finish what is being uploaded.
            stop_grace_period="60s",
            user="1000:1000",
            stateful=True,
            **placement(store),
        )

    def prepare(self, name: str, store: Store) -> Workload | None:
        # The image's /data belongs to root, and so would a new volume.
        return Workload(
            image=store.image or self.image,
            entrypoint=["sh", "-c"],
            command=[": >>/tmp/.tiers"],
            # Everybody may write to /tmp in every image; a new volume takes that from it, and one
            # that isn't empty keeps it.
            volumes=[
                Volume(
                    name=store.volume or f"{name}-data",
                    target="/tmp",  # noqa: S108
                    size=store.size,
                )
            ],
            user="1000:1000",
            job=True,
        )

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        if managed or not store.buckets:
            return None
        admin = self.admin_of(store)
        script = [_SETUP]
        environment = {**_HOME, "SERVER": f"{name}:{self.port}", "ADMIN": admin}
        secrets = {"ADMIN_PASSWORD": f"${{password.{admin}}}"}
        names = " ".join(f"site/{bucket.name}" for bucket in store.buckets)
        script.append(f"mc --quiet mb --ignore-existing {names}\n")
        script += [
            f"mc --quiet version enable site/{bucket.name}\n"
            for bucket in store.buckets
            if bucket.versioning
        ]
        for user, variable in self.password_variables(store).items():
            secrets[variable] = f"${{password.{user}}}"
            own = [bucket.name for bucket in store.buckets if bucket.owner == user]
            environment[f"POLICY_{variable}"] = literal(_policy(own))
            script.append(_USER.format(user=user, variable=variable))
        return Workload(
            image=store.image or self.image,
            entrypoint=["sh", "-c"],
            command=["".join(script)],
            environment=environment,
            secrets=secrets,
            networks=store.networks,
            depends_on={name: Condition.SERVICE_HEALTHY},
            user="1000:1000",
            # Else the image's VOLUME would leave a nameless volume behind.
            tmpfs={"/tmp": "", _DATA: ""},  # noqa: S108
            resources=Resources(cpus=1.0, memory="256m"),
            job=True,
        )

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        scheme = "https" if managed else "http"
        return {
            key: Backup(
                dump=[
                    "sh",
                    "-c",
                    f'{_MIRROR}mc mirror --overwrite --remove site/"$BUCKET" "$BACKUP"',
                ],
                restore=["sh", "-c", f'{_MIRROR}mc mirror --overwrite "$BACKUP" site/"$BUCKET"'],
                folder=True,
                environment={
                    **_HOME,
                    "SERVER": f"{scheme}://${{server.host}}:${{server.port}}",
                    "BUCKET": consumer.database,
                    "ACCESS_KEY": consumer.user,
                },
                secrets={"SECRET_KEY": f"${{password.{consumer.user}}}"},
            )
            for key, consumer in self.consumers(store).items()
            if key
        }

    def as_managed(self, store: Store) -> Store:
        return store

    def check(self, store: Store) -> list[tuple[str, str]]:
        found = [
            (f"S3's access key '{user}' is too short", "give it 3 characters or more")
            for user in self.users(store)
            if len(user) < 3
        ]
        # Its own paths begin so: /minio/health/live.
        if any(bucket.name == "minio" for bucket in store.buckets):
            found.append(("MinIO keeps the bucket's name 'minio' for itself", "choose another"))
        return found

    def check_secret(self, name: str, value: str) -> list[tuple[str, str]]:
        found = super().check_secret(name, value)
        if len(value) < 8:
            found.append(("the password has fewer than 8 characters", "S3's keys have 8 or more"))
        elif value != value.strip():
            found.append(("the password begins or ends with a space", "MinIO cuts it off"))
        return found

    def check_managed(self, store: Store) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        if not store.buckets:
            found.append(("Spaces have no server, only buckets", "describe the 'buckets'"))
        usual = Managed()
        if (store.managed.size, store.managed.nodes) != (usual.size, usual.nodes):
            found.append(("Spaces have neither a size nor nodes", "remove both from 'managed'"))
        return found

    def check_queue(self, store: Store) -> list[tuple[str, str]]:
        del store
        return [("a store with objects has no queue", "name a store such as Redis")]


def _policy(buckets: list[str]) -> str:
    """The rights of a consumer, as S3 writes them."""
    statements = [
        (_BUCKET_ACTIONS, [f"arn:aws:s3:::{bucket}" for bucket in buckets]),
        (_OBJECT_ACTIONS, [f"arn:aws:s3:::{bucket}/*" for bucket in buckets]),
    ]
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": [f"s3:{action}" for action in actions],
                    "Resource": resources,
                }
                for actions, resources in statements
            ],
        }
    )
