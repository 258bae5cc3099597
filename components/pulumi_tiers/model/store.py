"""A store keeps data: which engine, what it holds, who may use it."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pulumi_tiers.model.base import (
    Flag,
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


def _version(value: object) -> object:
    """``pulumi config set --path ... 16`` writes a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class Managed(Model):
    """A store that the cloud runs itself, where the target has such."""

    #: False: a workload in the cluster, as on any Kubernetes.
    enabled: Flag = True
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
    #: Passwords by user, where they must be given ones. Default: generated, one per user.
    passwords: dict[Identifier, Text] = {}
    #: Settings of the server (Postgres: ``max_connections``).
    settings: dict[PlainText, PlainText] = {}
    #: Port on the Docker host. Not given: reachable in the system's own network only.
    published: PortNumber | None = None
    #: Size of the volume, where the platform knows sizes.
    size: StorageSize = "10Gi"
    #: Default: the engine's.
    resources: Resources | None = None
    #: DigitalOcean: how the cloud runs it.
    managed: Managed = Managed()

    @model_validator(mode="after")
    def _consistent(self) -> "Store":
        names = [database.name for database in self.databases]
        reject_all(
            (("databases", position), f"the database '{name}' stands here twice", "give it once")
            for position, name in enumerate(names)
            if name in names[:position]
        )
        return self

    @property
    def users(self) -> list[str]:
        """The owners of databases, once each, in the order of the databases."""
        return list(dict.fromkeys(database.owner for database in self.databases if database.owner))


def secret_key(system: str, store: str, user: str) -> str:
    """The key of a user's password in `tiers:secrets`."""
    return f"{system}/{store}/{user}"
