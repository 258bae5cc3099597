"""What is known of a kind of store. One file per engine; nothing of Pulumi here."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from pulumi_tiers.model.image import Image
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.workload import Resources, Workload


@dataclass(frozen=True)
class Consumer:
    """Who connects to what: one connection of a store. Empty texts where the engine has no such."""

    user: str
    database: str


@dataclass(frozen=True)
class Service:
    """How DigitalOcean runs this kind of store itself."""

    #: Its word for the engine.
    engine: str
    port: int
    #: The user and the database that every cluster has.
    admin: str
    database: str
    #: The major versions that it offers.
    versions: frozenset[str]
    #: Databases and users that every server has for itself.
    reserved: frozenset[str]


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
    #: Where DigitalOcean runs it too.
    service: ClassVar[Service | None] = None

    def admin_of(self, store: Store) -> str:
        return store.admin or self.admin

    @abstractmethod
    def consumers(self, store: Store) -> dict[str, Consumer]:
        """The connections by key: ``""`` is the store's own, then one per database."""

    def users(self, store: Store) -> list[str]:
        """Everybody who has a password: the admin first."""
        owners = [consumer.user for consumer in self.consumers(store).values()]
        return list(dict.fromkeys([self.admin_of(store), *owners]))

    @abstractmethod
    def url(self, consumer: Consumer, password: str, host: str, port: int, *, tls: bool) -> str:
        """The URL that clients take, percent-encoded. With `tls`, it insists on encryption."""

    @abstractmethod
    def workload(self, name: str, store: Store) -> Workload:
        """The server as a workload. Its secrets refer to users: ``${password.<user>}``."""

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        """The job that makes databases and users, where the server doesn't. Safe to run again.

        It refers to ``${server.host}`` and ``${server.port}``. On a `managed` server, the cloud has
        made users and databases already.
        """
        del name, store, managed
        return None

    def as_managed(self, store: Store) -> Store:
        """The store with the admin and the database that the cloud's servers have."""
        assert self.service is not None
        admin, theirs = self.admin_of(store), self.service
        databases = [
            database.model_copy(update={"owner": None}) if database.owner == admin else database
            for database in store.databases
        ]
        return store.model_copy(
            update={
                "admin": theirs.admin,
                "databases": databases or [Database(name=theirs.database)],
            }
        )

    def managed_version(self, store: Store) -> str:
        """The major version of a managed server: as described, else the image's, else empty."""
        if store.managed.version:
            return store.managed.version
        image = store.image or self.image
        # An Output's value is not known here.
        tag = (Image.parse(image).tag if isinstance(image, str) else None) or ""
        return tag.partition(".")[0].partition("-")[0]

    def check(self, store: Store) -> list[tuple[str, str]]:
        """What is wrong with the description for this engine: why, and what to do."""
        del store
        return []


def encoded(text: str) -> str:
    """A user, a password or a database as a part of a URL."""
    return quote(text, safe="")
