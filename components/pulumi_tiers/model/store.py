"""A store keeps data: which engine, what it holds, who may use it."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pulumi_tiers.model.base import (
    Flag,
    LongName,
    Model,
    Name,
    PlainText,
    PortNumber,
    StorageSize,
    Text,
    Whole,
)
from pulumi_tiers.model.cloud import Slug
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.network import AddressRange
from pulumi_tiers.model.workload import ImageReference, Resources

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def _identifier(value: str) -> str:
    if not _IDENTIFIER.fullmatch(value) or len(value) > 63:
        raise reject(
            f"{shown(value)} is not a name for a database or a user",
            "use at most 63 letters, digits and underscores, not starting with a digit",
        )
    if value.startswith("pg_") or value in {"template0", "template1", "public", "none"}:
        raise reject(f"the name {value!r} is reserved by the server", "choose another")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
"""The name of a database or of a database user."""


class Database(Model):
    """One database of a store."""

    name: Identifier
    #: The user who owns it and connects to it. Default: the store's admin.
    owner: Identifier | None = None
    #: SQL by name, run once each, in the order of the names, as the admin.
    init_sql: dict[Name, PlainText] = {}
    #: It is made only where one of them is chosen (`tiers:profiles`). Default: always.
    profiles: list[Name] = []


_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]*[a-z0-9]")
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET_STARTS = ("xn--", "sthree-", "amzn-s3-demo-")
_BUCKET_ENDS = ("-s3alias", "--ol-s3", "--x-s3", "--table-s3", "-an")


def _bucket(value: str) -> str:
    if not 3 <= len(value) <= 63:
        raise reject(
            f"the bucket's name {shown(value)} has {len(value)} characters", "S3 takes 3 to 63"
        )
    if "." in value:
        raise reject(
            f"the bucket's name {shown(value)} holds a dot",
            "write hyphens: with a dot, clients find no certificate for the bucket's host name",
        )
    if not _BUCKET.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for a bucket",
            "use lower-case letters, digits and hyphens, with no hyphen at an end",
        )
    if value.startswith(_BUCKET_STARTS) or value.endswith(_BUCKET_ENDS):
        raise reject(
            f"the bucket's name {value!r} is one of those that S3 keeps for itself",
            "choose another",
        )
    return value


BucketName = Annotated[str, AfterValidator(_bucket)]
"""What S3 takes, without the dots that it advises against."""


class Bucket(Model):
    """One bucket of a store with objects."""

    name: BucketName
    #: Whose access key reaches it. Default: the store's admin.
    owner: Identifier | None = None
    #: Objects that are overwritten or deleted can be had back.
    versioning: Flag = False


def _replica_set(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,62}", value):
        raise reject(
            f"{shown(value)} is not a name for a replica set",
            "use at most 63 letters, digits, '_' and '-', beginning with a letter, such as 'rs0'",
        )
    return value


def _version(value: object) -> object:
    """``pulumi config set --path ... 16`` writes a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Managed(Model):
    """A store that the cloud runs itself, where the target has such."""

    #: False: a workload in the cluster, as on any Kubernetes. Default: the engine's.
    enabled: Flag | None = None
    #: Default: ``<stack>-<system>-<store>``.
    name: Name | None = None
    #: Slug of the machine, per node.
    size: Slug = "db-s-1vcpu-1gb"
    #: The first is the primary, the others stand by.
    nodes: Annotated[Whole, Field(ge=1, le=3)] = 1
    #: Default: the one of the store's image.
    version: Annotated[Slug, BeforeValidator(_version)] | None = None


class Store(Model):
    """One store. Its key in the description is the host name that programs connect to."""

    #: A name of the registry in ``pulumi_tiers.engines``.
    engine: str
    #: Default: the engine's pinned image.
    image: ImageReference | None = None
    #: Default: the engine's own (``postgres``).
    admin: Identifier | None = None
    databases: list[Database] = []
    buckets: list[Bucket] = []
    #: Passwords by user, where they must be given ones. Default: generated, one per user.
    passwords: dict[Identifier, Text] = {}
    #: Settings of the server (Postgres: ``max_connections``).
    settings: dict[PlainText, PlainText] = {}
    #: Name of the replica set that the servers are, such as ``rs0``.
    replica_set: Annotated[str, AfterValidator(_replica_set)] | None = None
    #: Its members on Kubernetes. On Docker there is always one.
    replicas: Annotated[Whole, Field(ge=1, le=7)] = 1
    #: The admin's password reaches the server as a file. Others than Postgres know no other way.
    password_file: Flag = False
    #: The server encrypts what it writes, with a key of its own.
    encryption: Flag = False
    #: Port on the Docker host. Not given: reachable in the system's own network only.
    published: PortNumber | None = None
    #: Those of the site that it is in. Default: all of them.
    networks: list[Name] = []
    #: Fixed address on Docker.
    address: AddressRange | None = None
    #: Name of the volume. Default: ``<store>-data``.
    volume: LongName | None = None
    #: Size of the volume, where the platform knows sizes.
    size: StorageSize = "10Gi"
    #: Default: the engine's.
    resources: Resources | None = None
    #: DigitalOcean: how the cloud runs it.
    managed: Managed = Managed()

    @model_validator(mode="after")
    def _consistent(self) -> "Store":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for key, word, names in (
            ("databases", "database", [database.name for database in self.databases]),
            ("buckets", "bucket", [bucket.name for bucket in self.buckets]),
            ("networks", "network", self.networks),
        ):
            for position, name in enumerate(names):
                if name in names[:position]:
                    yield (key, position), f"the {word} '{name}' stands here twice", "give it once"
        if self.replicas > 1 and self.replica_set is None:
            why = f"{self.replicas} servers without a replica set would hold different data"
            yield ("replicas",), why, "name the 'replica_set', such as 'rs0', or remove 'replicas'"
        if self.replicas % 2 == 0:
            why = (
                f"a replica set of {self.replicas} members stops where"
                f" {self.replicas // 2} of them are away, like one of {self.replicas - 1}"
            )
            yield ("replicas",), why, "give an odd number, such as 3"

    @property
    def users(self) -> list[str]:
        """The owners of databases and buckets, once each, in their order."""
        things = (*self.databases, *self.buckets)
        return list(dict.fromkeys(thing.owner for thing in things if thing.owner))


def secret_key(system: str, store: str, user: str) -> str:
    """The key of a user's password in `tiers:secrets`."""
    return f"{system}/{store}/{user}"
