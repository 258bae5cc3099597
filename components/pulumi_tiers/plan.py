"""A plan: every system of a stack, checked as a whole before anything is made.

A component in somebody else's program checks itself with the same functions: a plan of one.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError

from pulumi_tiers.engines import ENGINES, Engine
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, nearest
from pulumi_tiers.model.references import FIELDS, references
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Condition, Workload
from pulumi_tiers.settings import Settings
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


_STACK = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def make_plan(stack: str, settings: Settings) -> Plan:
    """The plan of a stack. Raises DescriptionError with every mistake of every system."""
    mistakes: list[Mistake] = []
    if not _STACK.fullmatch(stack) or len(stack) > 20:
        mistakes.append(
            Mistake(
                "stack",
                f"'{stack}' cannot be the beginning of the names of containers and volumes",
                "name the stack with at most 20 lower-case letters, digits and hyphens",
            )
        )
    systems: list[System] = []
    for position, name in enumerate(settings.systems):
        place = f"tiers:systems[{position}]"
        if name not in SYSTEMS:
            mistakes.append(Mistake(place, f"there is no system '{name}'", nearest(name, SYSTEMS)))
        elif name in settings.systems[:position]:
            mistakes.append(
                Mistake(place, f"the system '{name}' stands here twice", "give it once")
            )
        else:
            try:
                systems.append(SYSTEMS[name](settings.environment))
            except ValidationError as error:  # a mistake in systems/, or in one that was added
                mistakes += mistakes_of(error, name)
    mistakes += _check_overrides(settings, systems)
    systems = [_with_settings(system, settings) for system in systems]
    mistakes += check_systems(systems, settings.target)
    if mistakes:
        raise DescriptionError(mistakes)
    return Plan(stack, settings, tuple(systems))


def _check_overrides(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
    """`tiers:images` and `tiers:secrets` must name what the stack has."""
    images = [
        f"{system.name}/{name}" for system in systems for name in (*system.stores, *system.services)
    ]
    for key in settings.images:
        if key not in images:
            yield Mistake(
                f"tiers:images.{key}", "the stack has no such service", nearest(key, images)
            )
    users = [
        secret_key(system.name, name, user)
        for system in systems
        for name, store in system.stores.items()
        if store.engine in ENGINES
        for user in users_of(ENGINES[store.engine], store)
    ]
    for key, value in settings.secrets.items():
        if key not in users:
            yield Mistake(
                f"tiers:secrets.{key}", "the stack has no such secret", nearest(key, users)
            )
        elif settings.environment is Environment.PRODUCTION and isinstance(value, str):
            for why, remedy in weaknesses(value):
                yield Mistake(f"tiers:secrets.{key}", why, remedy)


def secret_key(system: str, store: str, user: str) -> str:
    """The key of a password in `tiers:secrets`."""
    return f"{system}/{store}/{user}"


def users_of(engine: Engine, store: Store) -> list[str]:
    """Everybody who has a password: the admin first."""
    owners = [consumer.user for consumer in engine.consumers(store).values()]
    return list(dict.fromkeys([engine.admin_of(store), *owners]))


def _with_settings(system: System, settings: Settings) -> System:
    """The system with the stack's images, mirrors, port offset and passwords in place."""

    def image(name: str, reference: object) -> object:
        chosen = settings.images.get(f"{system.name}/{name}", reference)
        return settings.registry.apply(chosen) if isinstance(chosen, str) else chosen

    def moved(port: int | None) -> int | None:
        return port + settings.port_offset if port else port

    stores: dict[str, Store] = {}
    for name, store in system.stores.items():
        default = ENGINES[store.engine].image if store.engine in ENGINES else None
        prefix = secret_key(system.name, name, "")
        given = {
            k.removeprefix(prefix): v for k, v in settings.secrets.items() if k.startswith(prefix)
        }
        stores[name] = store.model_copy(
            update={
                "image": image(name, store.image or default),
                "published": moved(store.published),
                "passwords": {**store.passwords, **given},
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


# --- checks that need more than one part -----------------------------------------------------------


def check_systems(systems: Iterable[System], target: Target) -> Iterator[Mistake]:
    """Every mistake that only the whole shows. Each part is valid by itself."""
    systems = list(systems)
    for system in systems:
        yield from check_names(system.name, system.stores, system.services)
        yield from check_stores(f"{system.name}: stores", system.stores, system.environment)
        yield from check_services(
            f"{system.name}: services", system.services, connection_keys(system.stores)
        )
        if system.environment is Environment.PRODUCTION:
            yield from _check_literal_secrets(system)
    if target is Target.DOCKER:
        yield from check_host_ports(systems)


def check_names(
    place: str, stores: Mapping[str, Store], services: Mapping[str, Workload]
) -> Iterator[Mistake]:
    for name in sorted(set(stores) & set(services)):
        yield Mistake(
            f"{place}: services.{name}",
            f"'{name}' is also the name of a store, and both would be the same host name",
            "rename one of them",
        )


def check_stores(
    place: str, stores: Mapping[str, Store], environment: Environment | None
) -> Iterator[Mistake]:
    for name, store in stores.items():
        at = f"{place}.{name}"
        engine = ENGINES.get(store.engine)
        if engine is None:
            yield Mistake(
                f"{at}.engine",
                f"there is no engine '{store.engine}'",
                nearest(store.engine, ENGINES),
            )
            continue
        for why, remedy in engine.check(store):
            yield Mistake(at, why, remedy)
        known = users_of(engine, store)
        for user, password in store.passwords.items():
            if user not in known:
                yield Mistake(
                    f"{at}.passwords.{user}", "the store has no such user", nearest(user, known)
                )
            elif environment is Environment.PRODUCTION and isinstance(password, str):
                for why, remedy in weaknesses(password):
                    yield Mistake(f"{at}.passwords.{user}", why, remedy)


def connection_keys(stores: Mapping[str, Store]) -> list[str]:
    """The keys of the stores' connections: ``postgres``, ``postgres.metabase``."""
    return [
        f"{name}.{database}" if database else name
        for name, store in stores.items()
        if store.engine in ENGINES
        for database in ENGINES[store.engine].consumers(store)
    ]


def check_services(
    place: str, services: Mapping[str, Workload], connections: Iterable[str]
) -> Iterator[Mistake]:
    """The services of one system, which has these connections to stores."""
    connections = list(connections)
    for name, workload in services.items():
        at = f"{place}.{name}"
        yield from check_references(at, workload, connections)
        yield from _check_dependencies(at, name, workload, services, connections)
    yield from _check_cycles(place, services)


def check_references(place: str, workload: Workload, known: Collection[str]) -> Iterator[Mistake]:
    for section in ("environment", "secrets"):
        values: Mapping[str, object] = getattr(workload, section)
        for variable, value in values.items():
            at = f"{place}.{section}.{variable}"
            for found in references(value) if isinstance(value, str) else []:
                if not found.store:
                    why = f"'${{{found.text}}}' is not a reference"
                    yield Mistake(at, why, "write ${store.field}, or $$ for a dollar sign")
                elif found.connection not in known:
                    why = f"'${{{found.text}}}' names no store of this system"
                    yield Mistake(at, why, nearest(found.connection, known))
                elif found.field not in FIELDS:
                    why = f"'${{{found.text}}}': a connection has no field '{found.field}'"
                    yield Mistake(at, why, nearest(found.field, FIELDS))
                elif found.secret and section == "environment":
                    why = f"'${{{found.text}}}' is secret, and environment is not"
                    yield Mistake(at, why, "move the variable to 'secrets'")


def _check_dependencies(
    at: str,
    name: str,
    workload: Workload,
    services: Mapping[str, Workload],
    connections: Collection[str],
) -> Iterator[Mistake]:
    known = {*services, *connections} - {name}
    for other, condition in workload.depends_on.items():
        where = f"{at}.depends_on.{other}"
        if other not in known:
            yield Mistake(where, f"there is no '{other}' in this system", nearest(other, known))
            continue
        needed = services.get(other)
        if needed is None:  # a store: it always has a health check, and it doesn't end
            if condition is Condition.SERVICE_COMPLETED:
                yield Mistake(
                    where, f"'{other}' is a store and never completes", "use service_healthy"
                )
        elif condition is Condition.SERVICE_HEALTHY and needed.healthcheck is None:
            yield Mistake(
                where,
                f"'{other}' has no healthcheck, so it can never be healthy",
                "give it one, or use service_started",
            )
        elif condition is Condition.SERVICE_COMPLETED and not needed.job:
            yield Mistake(
                where, f"'{other}' is not a job, so it never completes", "set its job to true"
            )
        elif condition is not Condition.SERVICE_COMPLETED and needed.job:
            why = f"'{other}' is a job: it ends, and is neither up nor healthy then"
            yield Mistake(where, why, "use service_completed_successfully")


def _check_cycles(place: str, services: Mapping[str, Workload]) -> Iterator[Mistake]:
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> Iterator[Mistake]:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            yield Mistake(f"{place}.{name}.depends_on", f"a circle: {circle}", "remove one of them")
        elif name not in done:
            for other in services[name].depends_on:
                if other in services:
                    yield from walk(other, (*path, name))
            done.add(name)

    for name in services:
        yield from walk(name, ())


@dataclass(frozen=True)
class HostPort:
    """One published port of the Docker host, and whose it is."""

    number: int
    host_ip: str
    system: str
    service: str
    place: str

    def clashes(self, other: "HostPort") -> bool:
        everywhere = "0.0.0.0"  # noqa: S104 - compared with, not listened on
        overlap = self.host_ip == other.host_ip or everywhere in {self.host_ip, other.host_ip}
        return self.number == other.number and overlap


def host_ports(systems: Iterable[System]) -> Iterator[HostPort]:
    """Every published port. Replicas after the first take the numbers that follow."""
    for system in systems:
        at = partial("{}: {}".format, system.name)
        for name, store in system.stores.items():
            if store.published:
                place = at(f"stores.{name}.published")
                yield HostPort(store.published, "127.0.0.1", system.name, name, place)
        for name, workload in system.services.items():
            for position, port in enumerate(workload.ports):
                for replica in range(workload.replicas if port.published else 0):
                    place = at(f"services.{name}.ports[{position}]")
                    number = (port.published or 0) + replica
                    yield HostPort(number, port.host_ip, system.name, name, place)


def check_host_ports(systems: Iterable[System]) -> Iterator[Mistake]:
    seen: list[HostPort] = []
    for port in host_ports(systems):
        taken = next((other for other in seen if other.clashes(port)), None)
        if taken:
            who = (
                taken.service if taken.system == port.system else f"{taken.system}/{taken.service}"
            )
            yield Mistake(
                port.place,
                f"host port {port.number} is already published by {who}",
                "publish another port, or none; replicas take the numbers after the first",
            )
        if port.number > 65535:
            yield Mistake(
                port.place, f"{port.number} is not a port", "lower it, or tiers:port_offset"
            )
        seen.append(port)


# --- passwords -------------------------------------------------------------------------------------

_PLACEHOLDERS = re.compile(
    r"change[_-]?(this|me|it)|^seu_|senha|placeholder|example|password|passw0rd|secret|aleatoria|^dev-"
    r"|ocolecionador@2025|^(admin|postgres|root|test)+$|^\$?\{|^<.*>$",
    re.IGNORECASE,
)


def weaknesses(password: str) -> Iterator[tuple[str, str]]:
    """Why a password cannot go to production: ``(why, remedy)``. The password is never repeated."""
    remedy = "remove it to have one generated, or set a random one of 16 characters or more"
    if _PLACEHOLDERS.search(password):
        yield "the password is a placeholder or a documented sample", remedy
    elif len(password) < 16:
        yield f"the password has only {len(password)} characters", remedy
    elif len(set(password)) < 8:
        yield f"the password has only {len(set(password))} different characters", remedy


def _check_literal_secrets(system: System) -> Iterator[Mistake]:
    for name, workload in system.services.items():
        for variable, value in workload.secrets.items():
            if isinstance(value, str) and not references(value):
                for why, remedy in weaknesses(value):
                    yield Mistake(f"{system.name}: services.{name}.secrets.{variable}", why, remedy)
