"""A store keeps data: which engine, what it holds, who may use it."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from pulumi_tiers.model.base import (
    Duration,
    Flag,
    LongName,
    Model,
    Name,
    PlainText,
    PortNumber,
    StorageSize,
    Text,
    Whole,
    Word,
)
from pulumi_tiers.model.cloud import Slug
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.network import AddressRange
from pulumi_tiers.model.workload import ImageReference, Resources, Span

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
    #: It is made only where one of them is chosen (`tiers:profiles`). Default: always.
    profiles: list[Name] = []


_VHOST = re.compile(r"[A-Za-z0-9_/-]{1,60}")


def _vhost(value: str) -> str:
    if not _VHOST.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for a virtual host",
            "use at most 60 letters, digits, '_', '-' and '/'",
        )
    return value


VhostName = Annotated[str, AfterValidator(_vhost)]
"""The name of a virtual host of RabbitMQ. Its first one is ``/``."""


def _queue_name(value: str) -> str:
    if not 1 <= len(value.encode()) <= 255 or not value.isprintable():
        raise reject(
            f"{shown(value)} is not a name for a queue or a policy",
            "use 1 to 255 printable characters, such as 'training-jobs'",
        )
    if value in {".", ".."}:
        raise reject(f"{shown(value)} is a step in a path, and can't be a name", "choose another")
    if value.startswith("amq."):
        raise reject(
            f"the names that begin with 'amq.', as {shown(value)}, are RabbitMQ's", "choose another"
        )
    return value


def _route(value: str) -> str:
    if len(value.encode()) > 255 or not (value.isprintable() or not value):
        raise reject(
            f"{shown(value)} is not the name of an exchange, nor a routing key",
            "use at most 255 printable characters",
        )
    return value


RoutingName = Annotated[str, AfterValidator(_route)]
"""An exchange of RabbitMQ, one of its own too, or a routing key. Empty: the default exchange."""


QueueName = Annotated[str, AfterValidator(_queue_name)]
"""The name of a queue, an exchange or a policy of RabbitMQ."""


#: Of Python's regular expressions, what PCRE reads as something else, or not at all.
_NOT_PCRE = re.compile(r"(?:^|[^\\])(?:\\\\)*(\\[uUNZ]|\(\?[a-zA-Z-]*[auL]|\{\d*,?\d{5,})")


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise reject(
            f"{shown(value)} is not a regular expression: {error}",
            "write it like '^training-' or '.*'",
        ) from None
    if found := _NOT_PCRE.search(value):
        raise reject(
            f"RabbitMQ reads no {shown(found[1])} in a regular expression",
            "write what both Python and PCRE understand, such as '^training-'",
        )
    if len(value) > 500 or not value.isprintable():
        raise reject(
            f"{shown(value)} is too long, or holds what can't be printed",
            "write at most 500 printable characters",
        )
    return value


Pattern = Annotated[str, AfterValidator(_pattern)]
"""A regular expression that may match anywhere in a name, unless it begins with ``^``."""


class VhostUser(Model):
    """Who uses a virtual host beside its owner, and what of it. RabbitMQ's three rights."""

    name: Identifier
    #: Names of what it may make and delete. Empty: nothing; the store declares the queues.
    configure: Pattern = ""
    #: Names of the exchanges that it sends to: ``amq.default`` is the one that reaches each queue.
    write: Pattern = ".*"
    #: Names of the queues that it reads from.
    read: Pattern = ".*"


class Vhost(Model):
    """One virtual host of RabbitMQ: queues and exchanges with names and rights of their own."""

    name: VhostName
    #: The user who may do everything in it. Default: the store's admin.
    owner: Identifier | None = None
    users: list[VhostUser] = []


class QueueType(Word):
    """Where RabbitMQ keeps the messages of a queue."""

    CLASSIC = "classic"
    QUORUM = "quorum"


class Queue(Model):
    """One durable queue. What may change later (lengths, ages) is a `Policy`."""

    name: QueueName
    #: Default: the store's first.
    vhost: VhostName | None = None
    #: It can't be changed while the queue holds messages.
    type: QueueType = QueueType.CLASSIC


class PolicyTarget(Word):
    """What a policy is about."""

    QUEUES = "queues"
    EXCHANGES = "exchanges"
    ALL = "all"


class Overflow(Word):
    """What happens to a message for which a queue has no room."""

    DROP_HEAD = "drop-head"
    REJECT_PUBLISH = "reject-publish"
    REJECT_PUBLISH_DLX = "reject-publish-dlx"


class DeadLetterStrategy(Word):
    """How sure it is that dead letters arrive."""

    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"


Milliseconds = Annotated[Whole, Field(ge=0, le=2**32 - 1)]
Count = Annotated[Whole, Field(ge=0, le=2**53)]

_OF_POLICY = frozenset({"name", "vhost", "pattern", "apply_to", "priority"})


class Policy(Model):
    """What RabbitMQ does with all queues whose names match. It can be changed at any time.

    RabbitMQ's keys, with underscores (https://www.rabbitmq.com/docs/parameters#policies).
    """

    name: QueueName
    #: Default: the store's first.
    vhost: VhostName | None = None
    #: Found anywhere in the name of a queue.
    pattern: Pattern
    apply_to: PolicyTarget = PolicyTarget.QUEUES
    #: Of the policies that match, RabbitMQ takes the one with the highest.
    priority: Annotated[Whole, Field(ge=0, le=1_000_000)] = 0
    message_ttl: Milliseconds | None = None
    #: A queue without consumers that nobody has used for so long is deleted.
    expires: Annotated[Whole, Field(ge=1, le=2**32 - 1)] | None = None
    #: Messages.
    max_length: Count | None = None
    max_length_bytes: Count | None = None
    overflow: Overflow | None = None
    #: Where messages go that were rejected or are too old. Empty: to `dead_letter_routing_key`.
    dead_letter_exchange: RoutingName | None = None
    dead_letter_routing_key: RoutingName | None = None
    dead_letter_strategy: DeadLetterStrategy | None = None
    #: Quorum queues: how often a message is given out again.
    delivery_limit: Count | None = None
    #: Exchanges: where messages go for which there is no queue.
    alternate_exchange: QueueName | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Policy":
        reject_all(self._mistakes())
        return self

    @property
    def definition(self) -> dict[str, str | int]:
        """As RabbitMQ writes it."""
        values = self.model_dump(mode="json", exclude_none=True, exclude=set(_OF_POLICY))
        return {key.replace("_", "-"): value for key, value in values.items()}

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        said = self.definition
        if not said:
            yield (), "the policy says nothing", "give it a key, such as 'max_length'"
        for_queues = sorted(set(said) - {"alternate-exchange"})
        if self.apply_to is PolicyTarget.EXCHANGES and for_queues:
            key = for_queues[0].replace("-", "_")
            yield (key,), f"an exchange has no {key}", "set 'apply_to' to 'queues' or 'all'"
        if self.apply_to is PolicyTarget.QUEUES and self.alternate_exchange:
            why = "a queue has no alternate_exchange"
            yield ("alternate_exchange",), why, "set 'apply_to' to 'exchanges' or 'all'"
        if self.dead_letter_exchange is None:
            for key in ("dead_letter_routing_key", "dead_letter_strategy"):
                if getattr(self, key) is not None:
                    remedy = "add it; '' is the one that reaches each queue by its name"
                    yield (key,), "it means nothing without a dead_letter_exchange", remedy
        elif not self.dead_letter_exchange and not self.dead_letter_routing_key:
            why = "dead letters would go back to the queue that they come from"
            remedy = "name the queue for them in 'dead_letter_routing_key'"
            yield ("dead_letter_exchange",), why, remedy
        if (
            self.dead_letter_strategy is DeadLetterStrategy.AT_LEAST_ONCE
            and self.overflow is not Overflow.REJECT_PUBLISH
        ):
            why = "RabbitMQ keeps to at-least-once only where a full queue takes nothing more"
            yield ("dead_letter_strategy",), why, "set 'overflow' to 'reject-publish'"


_INDEX = re.compile(r"[a-z0-9][a-z0-9_-]{0,59}")


def _index(value: str) -> str:
    if not _INDEX.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for an index",
            "use at most 60 lower-case letters, digits, '_' and '-', beginning with a letter or a"
            " digit",
        )
    return value


IndexName = Annotated[str, AfterValidator(_index)]
"""The name of an index of Elasticsearch, or the beginning of several, such as ``logs``."""


class Index(Model):
    """An index of Elasticsearch by its name, and all whose names begin with it and a ``-``."""

    name: IndexName
    #: Who reads and writes it, and nothing else. Default: the store's admin.
    owner: Identifier | None = None
    #: Days after which an index is deleted. Default: never.
    retention: Annotated[Whole, Field(ge=1, le=36500)] | None = None
    #: Its fields with Elasticsearch's types, such as ``keyword``; nothing else of a document is
    #: searched. Default: each new key of a document makes a field.
    fields: dict[PlainText, PlainText] = {}


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


MONITORING = "monitoring"
"""The user of a monitored store who may only read its server's numbers, and his connection."""


class StoreHealth(Model):
    """How a store is asked whether it is healthy. What it is asked is the engine's, as the rest."""

    interval: Span | None = None
    timeout: Span | None = None
    retries: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    start_period: Duration | None = None


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
    #: RabbitMQ: its virtual hosts, queues and policies. Default: the virtual host ``/``.
    vhosts: list[Vhost] = []
    queues: list[Queue] = []
    policies: list[Policy] = []
    indices: list[Index] = []
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
    #: An exporter has a user of its own, `MONITORING`.
    monitoring: Flag = False
    #: Port on the Docker host. Not given: reachable in the system's own network only.
    published: PortNumber | None = None
    #: The same for the server's web console, where it has one.
    console: PortNumber | None = None
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
    #: Default: the engine's.
    healthcheck: StoreHealth | None = None
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
            ("vhosts", "virtual host", [vhost.name for vhost in self.vhosts]),
            ("indices", "index", [index.name for index in self.indices]),
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
        things = (*self.databases, *self.buckets, *self.vhosts, *self.indices)
        taken = {self.admin, *self.users, *(thing.name for thing in things)}
        if self.monitoring and MONITORING in taken:
            why = f"'{MONITORING}' is who reads the server's numbers, and his connection"
            yield ("monitoring",), why, "give what has this name here another one"

    @property
    def users(self) -> list[str]:
        """The owners of what it holds, and who uses it beside them: once each, in their order."""
        things = (*self.databases, *self.buckets, *self.vhosts, *self.indices)
        owners = [thing.owner for thing in things if thing.owner]
        beside = [user.name for vhost in self.vhosts for user in vhost.users]
        return list(dict.fromkeys([*owners, *beside]))


def secret_key(system: str, store: str, user: str) -> str:
    """The key of a user's password in `tiers:secrets`."""
    return f"{system}/{store}/{user}"
