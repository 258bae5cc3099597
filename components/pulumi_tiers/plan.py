"""A plan: the systems of a stack with its settings in place, checked as a whole."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from pulumi_tiers.checks import check_password, check_size, check_systems
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import check_logins, is_managed
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, nearest, shown
from pulumi_tiers.model.store import Database, Store, secret_key
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.prices import DATABASE_SIZES, ENGINE_SIZES
from pulumi_tiers.settings import Databases, Names, Settings
from pulumi_tiers.systems import SYSTEMS


@dataclass(frozen=True)
class Plan:
    """What a stack is to be."""

    stack: str
    settings: Settings
    systems: tuple[System, ...]

    @property
    def target(self) -> Target:
        return self.settings.target


CLUSTER = "cluster"
"""The component's name, with which the names of the cluster and its VPC end."""

_STACK = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def make_plan(stack: str, settings: Settings) -> Plan:
    """The plan of a stack. Raises DescriptionError with every mistake of every system."""
    mistakes: list[Mistake] = []
    if not _STACK.fullmatch(stack) or len(stack) > 20:
        mistakes.append(
            Mistake(
                "stack",
                f"{shown(stack)} cannot be the beginning of the names of containers and volumes",
                "name the stack with at most 20 lower-case letters, digits and hyphens",
            )
        )
    systems: list[System] = []
    for name in settings.systems:
        try:
            systems.append(SYSTEMS[name](settings.environment))
        except ValidationError as error:  # a mistake in systems/, or in one that was added
            mistakes += mistakes_of(error, name)
    systems = [
        system.model_copy(update={"stores": _stores(system, settings)}) for system in systems
    ]
    if len(systems) == len(settings.systems):
        mistakes += _check_overrides(settings, systems)
    mistakes += check_logins("tiers:registry_logins", settings.registry_logins, settings.target)
    systems = [_with_settings(system, settings) for system in systems]
    mistakes += check_systems(
        systems,
        settings.target,
        stack=stack,
        documented_names=settings.names is Names.DOCUMENTED,
    )
    if mistakes:
        raise DescriptionError(mistakes)
    return Plan(stack, settings, tuple(systems))


def _check_overrides(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
    """`tiers:images`, `tiers:managed` and `tiers:secrets` must name what the stack has."""
    images = [
        f"{system.name}/{name}" for system in systems for name in (*system.stores, *system.services)
    ]
    for key in settings.images:
        if key not in images:
            yield Mistake(
                f"tiers:images.{key}", "the stack has no such service", nearest(key, images)
            )
    stores = {
        f"{system.name}/{name}": store
        for system in systems
        for name, store in system.stores.items()
    }
    for key, managed in settings.managed.items():
        if key not in stores:
            yield Mistake(
                f"tiers:managed.{key}", "the stack has no such store", nearest(key, stores)
            )
            continue
        engine = ENGINES.get(stores[key].engine)
        if engine and engine.service:
            sizes = ENGINE_SIZES.get(engine.service.engine, DATABASE_SIZES)
            place = f"tiers:managed.{key}.size"
            yield from check_size(place, managed.size, sizes, settings.digitalocean.prices)
    users = [
        secret_key(system.name, name, user)
        for system in systems
        for name, store in system.stores.items()
        if store.engine in ENGINES
        for user in ENGINES[store.engine].secrets(store)
    ]
    for key, value in settings.secrets.items():
        if key not in users:
            yield Mistake(
                f"tiers:secrets.{key}", "the stack has no such secret", nearest(key, users)
            )
        elif is_managed(stores[key.rpartition("/")[0]], settings.target):
            yield Mistake(
                f"tiers:secrets.{key}",
                "DigitalOcean makes the passwords of a managed server itself",
                "remove it, or set 'enabled: false' for the store in tiers:managed",
            )
        else:
            yield from check_password(f"tiers:secrets.{key}", value, settings.environment)


def _stores(system: System, settings: Settings) -> dict[str, Store]:
    """The system's stores, managed and owned as the stack has it."""

    def chosen(name: str, store: Store) -> Store:
        documented = settings.names is Names.DOCUMENTED
        managed = store.managed if documented else store.managed.model_copy(update={"name": None})
        if given := settings.managed.get(f"{system.name}/{name}"):
            managed = managed.model_copy(update=given.model_dump(exclude_unset=True))
        databases = store.databases
        engine = ENGINES.get(store.engine)
        takes = engine is not None and "databases" in engine.takes
        if settings.databases is Databases.DEDICATED and takes and not store.users:
            own = system.name.replace("-", "_")
            databases = [Database(name=own, owner=own), *databases[1:]]
        return store.model_copy(update={"managed": managed, "databases": databases})

    return {name: chosen(name, store) for name, store in system.stores.items()}


def _with_settings(system: System, settings: Settings) -> System:
    """The system with the stack's images, mirrors and port offset in place.

    Without the passwords that the stack gives: they were checked where they stand.
    """

    def image(name: str, reference: object) -> object:
        chosen = settings.images.get(f"{system.name}/{name}")
        mirrored = settings.registry.apply(reference) if isinstance(reference, str) else reference
        return chosen or mirrored

    def moved(port: int | None) -> int | None:
        # A load balancer has its ports for itself.
        offset = settings.port_offset if settings.target is Target.DOCKER else 0
        return port + offset if port else port

    stores: dict[str, Store] = {}
    for name, store in system.stores.items():
        default = ENGINES[store.engine].image if store.engine in ENGINES else None
        stores[name] = store.model_copy(
            update={
                "image": image(name, store.image or default),
                "published": moved(store.published),
                "passwords": {
                    user: password
                    for user, password in store.passwords.items()
                    if secret_key(system.name, name, user) not in settings.secrets
                },
            }
        )
    services: dict[str, Workload] = {}
    for name, workload in system.services.items():
        chosen = image(name, workload.image)
        services[name] = workload.model_copy(
            update={
                "image": chosen,
                "build": None if chosen else workload.build,
                "ports": [
                    port.model_copy(update={"published": moved(port.published)})
                    for port in workload.ports
                ],
            }
        )
    return system.model_copy(update={"stores": stores, "services": services})
