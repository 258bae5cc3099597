"""DataTier: the stores of a system, each as a managed service or as a workload."""

import json
from typing import NotRequired, TypedDict

import pulumi
from pulumi.runtime import config

from pulumi_tiers.checks import check_stores
from pulumi_tiers.component import Component, validated
from pulumi_tiers.engines import ENGINES, Engine
from pulumi_tiers.model.base import Model, Name
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.references import Reference
from pulumi_tiers.model.store import Store, secret_key
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import ConnectionArgs, Platform, Running, SiteRef
from pulumi_tiers.platforms.labels import LABEL_SYSTEM
from pulumi_tiers.values import resolved


class ResourcesArgs(TypedDict):
    """Limits of a container."""

    cpus: NotRequired[float]
    """CPUs, such as 0.5."""
    memory: NotRequired[str]
    """Memory in Compose's spelling, such as ``256m``."""


class DatabaseArgs(TypedDict):
    """One database of a store."""

    name: str
    """Its name."""
    owner: NotRequired[str]
    """The user who owns it and connects to it. Default: the store's admin."""
    init_sql: NotRequired[dict[str, str]]
    """SQL by name, run once each, in the order of the names."""


class StoreArgs(TypedDict):
    """One store. Its key is the host name that programs connect to."""

    engine: str
    """Which kind: ``postgres``."""
    image: NotRequired[pulumi.Input[str]]
    """Image of the server. Default: the engine's pinned one."""
    admin: NotRequired[str]
    """Name of the admin. Default: the engine's own."""
    databases: NotRequired[list[DatabaseArgs]]
    """The databases to make."""
    passwords: NotRequired[dict[str, pulumi.Input[str]]]
    """Passwords by user. Default: generated."""
    settings: NotRequired[dict[str, str]]
    """Settings of the server, such as ``max_connections``."""
    published: NotRequired[int]
    """Port on the Docker host. Default: none, reachable in the site's network only."""
    size: NotRequired[str]
    """Size of the volume, such as ``10Gi``."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: the engine's."""


class DataTierArgs(TypedDict):
    """Arguments of DataTier."""

    site: SiteRef
    """Where: the `ref` of a Site."""
    stores: dict[str, StoreArgs]
    """The stores by host name."""


class DataTierSpec(Model):
    """DataTierArgs without the site, checked."""

    stores: dict[Name, Store]


class DataTier(Component):
    """The stores of a system. `connections` tells programs how to reach them."""

    connections: dict[str, ConnectionArgs]
    """By ``store`` (its first database) and ``store.database``."""

    def __init__(
        self, name: str, args: DataTierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        spec = validated(DataTierSpec, args, f"DataTier {name}", ("site",))
        mistakes = list(
            check_stores(f"DataTier {name}: stores", spec.stores, args["site"]["target"])
        )
        if mistakes:
            raise DescriptionError(mistakes)
        super().__init__(name, opts)
        site = args["site"]
        platform = platform_for(site["target"])
        self.connections = {}
        for store_name, store in spec.stores.items():
            made = platform.managed(self, site, store_name, store)
            self.connections |= made or self._run(platform, site, store_name, store)
        self.register_outputs({"connections": self.connections})

    def _run(
        self, platform: Platform, site: SiteRef, name: str, store: Store
    ) -> dict[str, ConnectionArgs]:
        engine = ENGINES[store.engine]
        passwords = {
            user: self._password(site, name, user, store.passwords.get(user))
            for user in engine.users(store)
        }

        def password(reference: Reference) -> pulumi.Output[str]:
            return passwords[reference.field]

        server = platform.run(
            self, site, name, resolved(engine.workload(name, store), password), []
        )
        last = server
        setup = engine.setup(name, store)
        if setup is not None:
            job = resolved(setup, password)
            last = platform.run(self, site, f"{name}-setup", job, [server.ready])
        return {
            f"{name}.{key}" if key else name: _connection(
                engine, store, key, passwords, server, last.ready
            )
            for key in engine.consumers(store)
        }

    def _password(
        self, site: SiteRef, store: str, user: str, given: pulumi.Input[str] | None
    ) -> pulumi.Output[str]:
        key = secret_key(site["labels"].get(LABEL_SYSTEM, site["name"]), store, user)
        known = given if given is not None else _configured(key)
        if known is not None:
            return pulumi.Output.secret(known)
        import pulumi_random

        # Letters and digits: every client's URL and every shell take them as they are.
        generated = pulumi_random.RandomPassword(
            self.child(f"{store}-{user}-password"),
            length=32,
            special=False,
            # Whose it is, as `tiers:secrets` calls it.
            keepers={"for": key},
            opts=self.child_options(),
        )
        return generated.result


def _configured(key: str) -> str | None:
    """The password that the stack's `tiers:secrets` has for that user.

    In any program: `tiers up` puts the passwords there that the fallback has generated.
    """
    secrets: dict[str, str] = json.loads(config.get_config("tiers:secrets") or "{}")
    return secrets.get(key)


def _connection(
    engine: Engine,
    store: Store,
    key: str,
    passwords: dict[str, pulumi.Output[str]],
    server: Running,
    done: pulumi.Output[list[pulumi.Resource]],
) -> ConnectionArgs:
    consumer = engine.consumers(store)[key]
    password = passwords[consumer.user]
    return {
        "host": server.host,
        "port": str(engine.port),
        "user": consumer.user,
        "database": consumer.database,
        "password": password,
        "url": password.apply(
            lambda value: engine.url(consumer, value, server.host, engine.port, tls=False)
        ),
        "ready": done.apply(lambda _: server.host),
    }
