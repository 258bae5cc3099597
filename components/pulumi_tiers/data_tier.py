"""DataTier: the stores of a system, each as a managed service or as a workload."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NotRequired, TypedDict

import pulumi

from pulumi_tiers.checks import check_stores
from pulumi_tiers.collisions import check_networks, store_members
from pulumi_tiers.component import Component, check_provider, refuse, validated
from pulumi_tiers.engines import ENGINES, Consumer, Engine, Reached
from pulumi_tiers.engines.base import KEY_LENGTH
from pulumi_tiers.limits import as_placed, is_managed, store_doubts
from pulumi_tiers.model.base import Model, Name
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.place import Place
from pulumi_tiers.model.references import Reference
from pulumi_tiers.model.store import (
    DeadLetterStrategy,
    Overflow,
    PolicyTarget,
    QueueType,
    Store,
    secret_key,
)
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.passwords import Passwords, configured
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import (
    ConnectionArgs,
    EndpointArgs,
    Platform,
    Server,
    SiteRef,
    placed,
    system_of,
)
from pulumi_tiers.values import resolved


class ResourcesArgs(TypedDict):
    """Limits of a container."""

    cpus: NotRequired[float]
    """CPUs, such as 0.5."""
    memory: NotRequired[str]
    """Memory in Compose's spelling, such as ``256m``."""
    reserved_cpus: NotRequired[float]
    """What Kubernetes requests. Default: a quarter of `cpus`."""
    reserved_memory: NotRequired[str]
    """What is kept free for it. Default: on Kubernetes all of `memory`, on Docker nothing."""


class DatabaseArgs(TypedDict):
    """One database of a store."""

    name: str
    """Its name."""
    owner: NotRequired[str]
    """The user who owns it and connects to it. Default: the store's admin."""
    init_sql: NotRequired[dict[str, str]]
    """SQL by name, run once each, in the order of the names."""
    profiles: NotRequired[list[str]]
    """It is made only where one of these is chosen (``tiers:profiles``). Default: always."""


class BucketArgs(TypedDict):
    """One bucket of a store with objects."""

    name: str
    """Its name, as S3 takes it, without dots."""
    owner: NotRequired[str]
    """Whose access key reaches it. Default: the store's admin."""
    versioning: NotRequired[bool]
    """Objects that are overwritten or deleted can be had back. Default: false."""
    profiles: NotRequired[list[str]]
    """It is made only where one of these is chosen (``tiers:profiles``). Default: always."""


class VhostUserArgs(TypedDict):
    """Who uses a virtual host beside its owner. Rights are regular expressions of names."""

    name: str
    """Who."""
    configure: NotRequired[str]
    """What it may make and delete. Default: nothing."""
    write: NotRequired[str]
    """The exchanges that it sends to. Default: all."""
    read: NotRequired[str]
    """The queues that it reads from. Default: all."""


class VhostArgs(TypedDict):
    """One virtual host of RabbitMQ."""

    name: str
    """Its name: letters, digits, ``_``, ``-`` and ``/``."""
    owner: NotRequired[str]
    """The user who may do everything in it. Default: the store's admin."""
    users: NotRequired[list[VhostUserArgs]]
    """Others who use it."""


class QueueArgs(TypedDict):
    """One durable queue of RabbitMQ."""

    name: str
    """Its name."""
    vhost: NotRequired[str]
    """Its virtual host. Default: the store's first."""
    type: NotRequired[QueueType]
    """classic or quorum. Default: classic."""


class PolicyArgs(TypedDict):
    """What RabbitMQ does with all queues whose names match."""

    name: str
    """Its name."""
    vhost: NotRequired[str]
    """Its virtual host. Default: the store's first."""
    pattern: str
    """Regular expression, found anywhere in a name unless it begins with ``^``."""
    apply_to: NotRequired[PolicyTarget]
    """queues, exchanges or all. Default: queues."""
    priority: NotRequired[int]
    """Of the policies that match, the highest is taken. Default: 0."""
    message_ttl: NotRequired[int]
    """Milliseconds until a message is too old."""
    expires: NotRequired[int]
    """Milliseconds until an unused queue is deleted."""
    max_length: NotRequired[int]
    """Most messages in a queue."""
    max_length_bytes: NotRequired[int]
    """Most bytes in a queue."""
    overflow: NotRequired[Overflow]
    """drop-head, reject-publish or reject-publish-dlx."""
    dead_letter_exchange: NotRequired[str]
    """Where rejected and old messages go. Empty: the one that reaches each queue by its name."""
    dead_letter_routing_key: NotRequired[str]
    """With which key; of the empty exchange: the queue's name."""
    dead_letter_strategy: NotRequired[DeadLetterStrategy]
    """at-most-once or at-least-once."""
    delivery_limit: NotRequired[int]
    """Quorum queues: how often a message is given out again."""
    alternate_exchange: NotRequired[str]
    """Exchanges: where messages go for which there is no queue."""


class IndexArgs(TypedDict):
    """An index of Elasticsearch, and all whose names begin with its name and a ``-``."""

    name: str
    """Its name, such as ``logs``."""
    owner: NotRequired[str]
    """Who reads and writes it. Default: the store's admin."""
    retention: NotRequired[int]
    """Days after which an index is deleted. Default: never."""
    fields: NotRequired[dict[str, str]]
    """Its fields with their types, the only ones. Default: each new key makes one."""


class ManagedArgs(TypedDict):
    """A store that the cloud runs itself, where the target has such."""

    enabled: NotRequired[bool]
    """False: a workload in the cluster, as on any Kubernetes. Default: true for Postgres only."""
    name: NotRequired[str]
    """Its name in the account. Default: ``<stack>-<system>-<store>``."""
    size: NotRequired[str]
    """Slug of the machine, per node. Default: db-s-1vcpu-1gb."""
    nodes: NotRequired[int]
    """1 to 3: the first is the primary, the others stand by. Default: 1."""
    version: NotRequired[str]
    """Major version. Default: the one of the store's image."""


class StoreHealthArgs(TypedDict):
    """How a store is asked whether it is healthy. Default of each: the engine's."""

    interval: NotRequired[str]
    """From one question to the next."""
    timeout: NotRequired[str]
    """How long an answer may take."""
    retries: NotRequired[int]
    """After how many bad answers it isn't healthy."""
    start_period: NotRequired[str]
    """Bad answers in this time don't count."""


class StoreArgs(TypedDict):
    """One store. Its key is the host name that programs connect to."""

    engine: str
    """Which kind: postgres, redis, mongo, minio, mssql, rabbitmq or elasticsearch."""
    image: NotRequired[pulumi.Input[str]]
    """Image of the server. Default: the engine's pinned one."""
    admin: NotRequired[str]
    """Name of the admin. Default: the engine's own."""
    databases: NotRequired[list[DatabaseArgs]]
    """The databases to make."""
    buckets: NotRequired[list[BucketArgs]]
    """The buckets to make."""
    vhosts: NotRequired[list[VhostArgs]]
    """RabbitMQ: the virtual hosts to make. Default: ``/``, the admin's."""
    queues: NotRequired[list[QueueArgs]]
    """RabbitMQ: the queues to make."""
    policies: NotRequired[list[PolicyArgs]]
    """RabbitMQ: what it does with queues."""
    indices: NotRequired[list[IndexArgs]]
    """Elasticsearch: whose indices there are, and for how long they are kept."""
    passwords: NotRequired[dict[str, pulumi.Input[str]]]
    """Passwords by user. Default: generated."""
    settings: NotRequired[dict[str, str]]
    """Settings of the server, such as ``max_connections``."""
    replica_set: NotRequired[str]
    """Name of the replica set that the servers are, such as ``rs0``."""
    replicas: NotRequired[int]
    """Its members on Kubernetes, an odd number. Default: 1, as always on Docker."""
    password_file: NotRequired[bool]
    """Postgres: the admin's password reaches the server as a file. Default: false."""
    encryption: NotRequired[bool]
    """The server encrypts what it writes, with a key of its own. Default: false."""
    monitoring: NotRequired[bool]
    """It has a user who may only read its numbers, for an exporter: the connection
    ``<store>.monitoring``. Default: false."""
    console: NotRequired[int]
    """Port on the Docker host of the server's web console. Default: in-network only."""
    published: NotRequired[int]
    """Port on the Docker host. Default: none, reachable in the site's network only."""
    networks: NotRequired[list[str]]
    """Those of the site that it is in. Default: all of them."""
    address: NotRequired[str]
    """Fixed address on Docker, such as ``172.28.0.100``."""
    volume: NotRequired[str]
    """Name of the volume. Default: ``<store>-data``."""
    size: NotRequired[str]
    """Size of the volume, such as ``10Gi``."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: the engine's."""
    healthcheck: NotRequired[StoreHealthArgs]
    """How it is asked whether it is healthy. Default: the engine's numbers."""
    managed: NotRequired[ManagedArgs]
    """DigitalOcean: how the cloud runs it."""


class DataTierArgs(TypedDict):
    """Arguments of DataTier."""

    site: SiteRef
    """Where: the `ref` of a Site."""
    stores: dict[str, StoreArgs]
    """The stores by host name."""


class DataTierSpec(Model):
    """DataTierArgs, checked."""

    site: Place
    stores: dict[Name, Store]


class DataTier(Component):
    """The stores of a system. `connections` tells programs how to reach them."""

    connections: dict[str, ConnectionArgs]
    """By ``store`` (its first database) and ``store.database``."""
    endpoints: dict[str, EndpointArgs]
    """Where the stores that run in the site are reached there, by store."""

    def __init__(
        self, name: str, args: DataTierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = validated(DataTierSpec, args, f"DataTier {name}")
        site = placed(args["site"])
        place = f"DataTier {name}: stores"
        target = site["target"]
        refuse(
            check_stores(place, spec.stores, target, site=site["name"]),
            check_networks(store_members(place, spec.stores), spec.site.networks, target),
        )
        # A managed store may need a NetworkPolicy.
        if spec.site.networks or not all(is_managed(item, target) for item in spec.stores.values()):
            refuse(check_provider(f"DataTier {name}", target, opts))
        secrets = configured()
        refuse(_no_use(secrets, site, spec.stores))
        super().__init__(name, opts)
        for key, store in spec.stores.items():
            for doubt in store_doubts(f"{system_of(site)}: stores.{key}", store, target):
                pulumi.log.warn(doubt)
        self._passwords = Passwords(self, site, secrets)
        platform = platform_for(site["target"])
        self.connections = {}
        self.endpoints = {}
        for store_name, store in spec.stores.items():
            self.connections |= self._store(platform, site, store_name, store)
        self.register_outputs({"connections": self.connections, "endpoints": self.endpoints})

    def _store(
        self, platform: Platform, site: SiteRef, name: str, store: Store
    ) -> dict[str, ConnectionArgs]:
        engine = ENGINES[store.engine]
        managed = is_managed(store, site["target"])
        if managed:
            store = engine.as_managed(store)
            server = platform.managed(self, site, name, store)
        else:
            store = as_placed(store, site["target"])
            server = self._run(platform, site, name, store)
        ready = server.ready
        setup = engine.setup(name, store, managed=managed)
        if setup is not None:
            job = resolved(setup, lambda reference: _of_server(reference, server))
            job_name = f"{name}-setup"
            done = platform.run(self, site, job_name, job, [server.ready], part_of=name)
            ready = done.ready
        if not managed:
            workload = engine.workload(name, store)
            self.endpoints[name] = {
                "host": name,
                "ports": [port.target for port in workload.ports],
                "ready": pulumi.Output.all(name, ready).apply(lambda known: str(known[0])),
            }
        return {
            f"{name}.{key}" if key else name: _connection(engine, store, consumer, server, ready)
            for key, consumer in engine.consumers(store).items()
        }

    def _run(self, platform: Platform, site: SiteRef, name: str, store: Store) -> Server:
        engine = ENGINES[store.engine]
        passwords = {
            user: self._password(
                site, name, user, store.passwords.get(user), mixed=engine.mixed_passwords
            )
            for user in engine.users(store)
        }
        passwords |= {
            key: self._password(site, name, key, None, KEY_LENGTH) for key in engine.keys(store)
        }
        workload = resolved(
            _asked(engine.workload(name, store), store),
            lambda reference: passwords[reference.field],
        )
        before: list[pulumi.Output[list[pulumi.Resource]]] = []
        preparing = engine.prepare(name, store) if site["target"] is Target.DOCKER else None
        if preparing is not None:
            job = platform.run(self, site, f"{name}-volume", preparing, [], part_of=name)
            before.append(job.ready)
            volumes = [volume.model_copy(update={"external": True}) for volume in workload.volumes]
            workload = workload.model_copy(update={"volumes": volumes})
        running = platform.run(self, site, name, workload, before)
        hosts = engine.hosts(name, store)
        return Server(running.host, engine.port, passwords, running.ready, hosts=hosts)

    def _password(
        self,
        site: SiteRef,
        store: str,
        user: str,
        given: pulumi.Input[str] | None,
        length: int = 32,
        *,
        mixed: bool = False,
    ) -> pulumi.Output[str]:
        key, suffix = secret_key(system_of(site), store, user), f"{store}-{user}-password"
        return self._passwords.make(suffix, key, given, length, mixed=mixed)


def _no_use(
    configured: Mapping[str, str], site: SiteRef, stores: Mapping[str, Store]
) -> Iterator[Mistake]:
    """Passwords for servers that get theirs from the cloud."""
    for name, store in stores.items():
        engine = ENGINES[store.engine]
        if is_managed(store, site["target"]):
            for user in {*engine.secrets(store), *engine.users(engine.as_managed(store))}:
                key = secret_key(system_of(site), name, user)
                if key in configured:
                    yield Mistake(
                        f"tiers:secrets.{key}",
                        "DigitalOcean makes the passwords of a managed server itself",
                        "remove it, or set 'enabled' to false in the store's 'managed'",
                    )


def _asked(workload: Workload, store: Store) -> Workload:
    """The workload, asked for its health as often as the store says."""
    if store.healthcheck is None or workload.healthcheck is None:
        return workload
    numbers = store.healthcheck.model_dump(exclude_none=True)
    check = workload.healthcheck.model_copy(update=numbers)
    return workload.model_copy(update={"healthcheck": check})


def _of_server(reference: Reference, server: Server) -> pulumi.Input[str]:
    """``${password.<user>}``, ``${server.host}`` or ``${server.port}`` of a setup job."""
    if reference.store == "password":
        return server.passwords[reference.field]
    return server.host if reference.field == "host" else _text(server.port)


def _text(number: pulumi.Input[int]) -> pulumi.Input[str]:
    return str(number) if isinstance(number, int) else pulumi.Output.format("{0}", number)


def _connection(
    engine: Engine,
    store: Store,
    consumer: Consumer,
    server: Server,
    done: pulumi.Output[list[pulumi.Resource]],
) -> ConnectionArgs:
    password = server.passwords[consumer.user]
    user = server.users.get(consumer.user, consumer.user)
    database = server.databases.get(consumer.database, consumer.database)
    hosts = list(server.hosts) or [server.host]

    def text(spelt: Callable[[Store, Consumer, str, Reached], str]) -> pulumi.Output[str]:
        def of(known: list[Any]) -> str:
            who = Consumer(str(known[1]), str(known[2]))
            where = Reached([str(host) for host in known[4:]], int(known[3]), tls=server.tls)
            return spelt(store, who, str(known[0]), where)

        return pulumi.Output.all(password, user, database, server.port, *hosts).apply(of)

    return {
        "host": server.host,
        "port": _text(server.port),
        "user": user,
        "database": database,
        "password": password,
        "url": text(engine.url),
        "dotnet": text(engine.dotnet),
        "ready": pulumi.Output.all(server.host, done).apply(lambda known: str(known[0])),
        "ca": server.ca,
        "engine": engine.name,
    }
