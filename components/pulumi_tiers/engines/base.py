"""What is known of a kind of store. One file per engine; nothing of Pulumi here."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

from pulumi_tiers.model.base import LONGEST_TEXT, size_in_bytes
from pulumi_tiers.model.image import Image
from pulumi_tiers.model.store import MONITORING, Bucket, Database, Index, Store, Vhost
from pulumi_tiers.model.workload import Resources, Workload

SPECIFIC = (
    "admin",
    "buckets",
    "console",
    "databases",
    "encryption",
    "indices",
    "monitoring",
    "password_file",
    "policies",
    "queues",
    "replica_set",
    "replicas",
    "settings",
    "vhosts",
)
"""Keys of a Store that mean something to some engines only: see `Engine.takes`."""

KEY_LENGTH = 42
"""Letters and digits of a generated key: 250 bits."""


@dataclass(frozen=True)
class Consumer:
    """Who connects to what: one connection of a store. Empty texts where the engine has no such."""

    user: str
    database: str


@dataclass(frozen=True)
class Reached:
    """Where clients reach a server."""

    #: One, or the members of a replica set.
    hosts: list[str]
    port: int
    #: They must encrypt.
    tls: bool = False

    @property
    def at(self) -> str:
        """The first one, and the port."""
        return f"{self.hosts[0]}:{self.port}"


@dataclass(frozen=True)
class Service:
    """How DigitalOcean runs this kind of store itself."""

    #: Its word for the engine.
    engine: str
    port: int
    #: The user and the database that every server has.
    admin: str
    database: str
    #: The major versions that it offers. None: there is nothing to choose.
    versions: frozenset[str] = frozenset()
    #: Databases and users that every server has for itself.
    reserved: frozenset[str] = frozenset()
    #: Settings of a store that it takes.
    settings: frozenset[str] = frozenset()
    #: How many nodes there can be.
    nodes: tuple[int, ...] = (1, 2, 3)
    #: What runs where a description doesn't say it.
    default: bool = False
    #: Its users have rights of their own: one may read the server's numbers, and nothing else.
    monitoring: bool = False


@dataclass(frozen=True)
class Backup:
    """How what one consumer has is copied and brought back, by commands in the engine's image.

    The copy is one file, which `dump` writes to stdout and `restore` reads from stdin. Where
    `folder` is set, both know it as the folder ``$BACKUP`` instead.
    """

    dump: list[str]
    restore: list[str]
    #: Of the file's name: ``.dump``.
    suffix: str = ""
    folder: bool = False
    #: The restore works on the volume of a server that was stopped, and starts it by itself.
    offline: bool = False
    #: Both run in the server's own container, with its files, as `docker exec` does.
    inside: bool = False
    #: Both refer to ``${server.host}``, ``${server.port}`` and ``${password.<user>}``.
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scaler:
    """How KEDA measures the length of a queue: a trigger of a ScaledObject (https://keda.sh)."""

    type: str
    #: The trigger's metadata. Nothing in it is secret. ``${server.host}`` and ``${server.port}``:
    #: as KEDA, which is in another namespace, reaches the store; ``${server.tls}``: true or false.
    metadata: Mapping[str, str]
    #: Parameters of its TriggerAuthentication, with ``${server.url}`` and ``${password.<user>}``.
    #: The URL is that of the consumer, with such a host.
    secrets: Mapping[str, str]


class Engine(ABC):
    """One kind of store: how it is run, and how a program connects to it."""

    #: The word in a description's ``engine``.
    name: ClassVar[str]
    #: Pinned; a description overrides it.
    image: ClassVar[str]
    port: ClassVar[int]
    #: The admin where a description names none.
    admin: ClassVar[str]
    resources: ClassVar[Resources]
    #: With less, the server doesn't run for long.
    least_memory: ClassVar[str] = "6m"
    #: Passwords need an upper-case letter, a lower-case one and a digit.
    mixed_passwords: ClassVar[bool] = False
    #: Which keys of `SPECIFIC` it takes.
    takes: ClassVar[frozenset[str]] = frozenset()
    #: Where DigitalOcean runs it too.
    service: ClassVar[Service | None] = None

    def admin_of(self, store: Store) -> str:
        return store.admin or self.admin

    @abstractmethod
    def consumers(self, store: Store) -> dict[str, Consumer]:
        """The connections by key: ``""`` is the store's own, then one per database or bucket."""

    def users(self, store: Store) -> list[str]:
        """Everybody who has a password: the admin first."""
        owners = [consumer.user for consumer in self.consumers(store).values()]
        return list(dict.fromkeys([self.admin_of(store), *owners]))

    def password_variables(self, store: Store) -> dict[str, str]:
        """The variables of a setup job, by the user whose password each holds: not the admin's."""
        users = [user for user in self.users(store) if user != self.admin_of(store)]
        return {user: f"PASSWORD_{number}" for number, user in enumerate(users)}

    def setup_secrets(self, store: Store) -> dict[str, str]:
        """Of a setup job: ADMIN_PASSWORD, and those of `password_variables`."""
        everybody = {self.admin_of(store): "ADMIN_PASSWORD", **self.password_variables(store)}
        return {variable: f"${{password.{user}}}" for user, variable in everybody.items()}

    def keys(self, store: Store) -> list[str]:
        """Secrets that are nobody's password: `KEY_LENGTH` letters and digits each.

        Their names hold a hyphen, so no user has one of them.
        """
        del store
        return []

    def secrets(self, store: Store) -> list[str]:
        """All that is secret: ``${password.<name>}`` in workloads, the end of `secret_key`."""
        return [*self.users(store), *self.keys(store)]

    def hosts(self, name: str, store: Store) -> list[str]:
        """The servers' host names inside the site: one, or a replica set's members."""
        if store.replicas == 1:
            return [name]
        # As a StatefulSet and its headless Service call them.
        return [f"{name}-{number}.{name}" for number in range(store.replicas)]

    @abstractmethod
    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        """The URL that clients take, percent-encoded. With `tls`, it insists on encryption."""

    def dotnet(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        """The same as ADO.NET spells it. Empty: .NET's client takes no such text."""
        del store, consumer, password, server
        return ""

    @abstractmethod
    def workload(self, name: str, store: Store) -> Workload:
        """The server as a workload. Its secrets refer to `secrets`: ``${password.<name>}``."""

    def prepare(self, name: str, store: Store) -> Workload | None:
        """Docker: the job that makes the volume such that the server's user can write to it.

        Needed where the image's folder belongs to somebody else, whom a new volume takes over.
        """
        del name, store
        return None

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        """The job that makes databases and users, where the server doesn't. Safe to run again.

        It refers to ``${server.host}`` and ``${server.port}``. On a `managed` server, the cloud has
        made users and databases already.
        """
        del name, store, managed
        return None

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        """How the store's data are copied, by the key of a consumer. Empty: not known."""
        del store, managed
        return {}

    def as_managed(self, store: Store) -> Store:
        """The store with the admin and the database that the cloud's servers have."""
        assert self.service is not None
        admin, theirs = self.admin_of(store), self.service
        databases = [
            database.model_copy(update={"owner": None}) if database.owner == admin else database
            for database in store.databases
        ]
        if theirs.database and not databases:
            databases = [Database(name=theirs.database)]
        monitoring = store.monitoring and theirs.monitoring
        update = {"admin": theirs.admin, "databases": databases, "monitoring": monitoring}
        return store.model_copy(update=update)

    def managed_version(self, store: Store) -> str:
        """The major version of a managed server: as described, else the image's, else empty."""
        if store.managed.version:
            return store.managed.version
        image = store.image or self.image
        # An Output's value is not known here.
        tag = (Image.parse(image).tag if isinstance(image, str) else None) or ""
        return tag.partition(".")[0].partition("-")[0]

    def unused(self, store: Store) -> list[str]:
        """The keys of `SPECIFIC` that say something which this engine has no use for."""
        default = Store(engine=self.name)
        return [
            key
            for key in SPECIFIC
            if key not in self.takes and getattr(store, key) != getattr(default, key)
        ]

    def check(self, store: Store) -> list[tuple[str, str]]:
        """What is wrong with the description for this engine: why, and what to do."""
        del store
        return []

    def check_secret(self, name: str, value: str) -> list[tuple[str, str]]:
        """Why the server would not take this password of a user, or this key; what to do."""
        if "-" in name and not re.fullmatch(rf"[A-Za-z0-9]{{{KEY_LENGTH}}}", value):
            why = f"a key is {KEY_LENGTH} letters and digits, and this is not"
            return [(why, "remove it to have one generated")]
        return []

    def check_managed(self, store: Store) -> list[tuple[str, str]]:
        """The same for a store that the cloud is to run."""
        del store
        return []

    def doubts(self, store: Store) -> list[str]:
        """What is right as described, and probably not meant so."""
        del store
        return []

    def scaler(self, store: Store, consumer: Consumer, queue: str, length: int) -> Scaler | None:
        """How KEDA keeps at most `length` jobs of the queue per replica. None: it can't."""
        del store, consumer, queue, length
        return None

    def check_queue(self, store: Store) -> list[tuple[str, str]]:
        """Why jobs must not wait in this store, and what to do."""
        del store
        return []

    def memory(self, store: Store) -> int:
        """The server's limit, in bytes."""
        return size_in_bytes((store.resources or self.resources).memory)


def by_owner(
    store: Store, admin: str, things: Iterable[Database | Bucket | Vhost | Index]
) -> dict[str, Consumer]:
    """A connection for each of the things, as its owner; the store's own is that of the first."""
    every = {thing.name: Consumer(thing.owner or admin, thing.name) for thing in things}
    first = next(iter(every.values()), Consumer(admin, ""))
    # His database is one that there is; his rights are not about it.
    numbers = {MONITORING: Consumer(MONITORING, first.database)} if store.monitoring else {}
    return {"": first, **every, **numbers}


ONE_AT_A_TIME = "exec 9>>/tmp/copying\nflock 9\n"
"""Two copies at once would write to the same files of the server: the second one waits."""


def check_setup(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    """What a setup job would be given in one variable, and no program can be."""
    size = max((len(text.encode()) for text in texts), default=0)
    if size > LONGEST_TEXT:
        why = f"what sets the store up has {size} bytes in one piece"
        yield why, f"keep it below {LONGEST_TEXT}: leave the rest to programs and migrations"


def script(name: str) -> str:
    """What a job runs, out of the folder beside this file."""
    return (Path(__file__).parent / "scripts" / name).read_text(encoding="utf-8")


def placement(store: Store) -> dict[str, Any]:
    """Where the server of a store is: arguments of its Workload."""
    found: dict[str, Any] = {"networks": store.networks}
    if store.address:
        found["addresses"] = store.address
    return found


def encoded(text: str) -> str:
    """A user, a password or a database as a part of a URL."""
    return quote(text, safe="")
