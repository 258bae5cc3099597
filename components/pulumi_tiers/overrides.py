"""Whether what a stack's settings name is there, and can be had of it."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

from pulumi_tiers.checks import (
    check_password,
    check_secret,
    check_size,
    connection_keys,
)
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import check_gpu_pool, init_name, is_managed
from pulumi_tiers.model.errors import Mistake, nearest
from pulumi_tiers.model.references import FIELDS, GENERATED, references
from pulumi_tiers.model.store import secret_key
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.prices import DATABASE_SIZES, ENGINE_SIZES
from pulumi_tiers.settings import Settings

BY_SYSTEM = (
    *("profiles", "port_offsets", "subnets", "domains", "host_ips", "tls", "sources"),
    *("observability", "pipelines"),
)
"""Keys of the configuration that are maps by system."""

T = TypeVar("T")


def check_systems_named(settings: Settings) -> Iterator[Mistake]:
    """The keys that are maps by system must name what the stack has."""
    for key in BY_SYSTEM:
        for name in getattr(settings, key):
            if name not in settings.systems:
                why = f"the stack has no system '{name}'"
                yield Mistake(f"tiers:{key}.{name}", why, nearest(name, settings.systems))


def check_wanted(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
    """Whether the systems have what is chosen of them."""
    for system in systems:
        workloads = system.workloads.values()
        known = {profile for workload in workloads for profile in workload.profiles}
        known |= {
            profile
            for store in system.stores.values()
            for part in (*store.databases, *store.buckets)
            for profile in part.profiles
        }
        for position, profile in enumerate(system.default_profiles):
            if profile not in known:
                place = f"{system.name}: default_profiles[{position}]"
                yield Mistake(
                    place, f"nothing has the profile '{profile}'", nearest(profile, known)
                )
        for position, profile in enumerate(settings.profiles.get(system.name, [])):
            if profile not in known:
                place = f"tiers:profiles.{system.name}[{position}]"
                why = f"'{system.name}' has no profile '{profile}'"
                yield Mistake(place, why, nearest(profile, known))
        if system.name in settings.sources and not any(item.source for item in workloads):
            why = f"nothing of '{system.name}' is built from a checkout"
            yield Mistake(f"tiers:sources.{system.name}", why, "remove it")


def check_edges(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
    """What an edge needs of the stack: a certificate, a name."""
    for system in systems:
        name = system.name
        tls = settings.tls.get(name)
        if system.encrypted and tls is None and settings.environment is Environment.PRODUCTION:
            yield Mistake(
                f"tiers:tls.{name}",
                "is missing, and the system's document demands TLS in production",
                "set its 'mode' to given, lets_encrypt or digitalocean (or to self_signed, or off"
                " where something in front of it has TLS)",
            )
        for key in ("tls", "domains", "host_ips"):
            if name in getattr(settings, key) and not system.edges:
                why = f"'{name}' has no edge in {settings.environment}"
                yield Mistake(f"tiers:{key}.{name}", why, "remove it")
        uses_url = [
            service
            for service, workload in system.workloads.items()
            for text in (*workload.values.values(), *workload.secret_files.values())
            if isinstance(text, str) and any(public in text for public in system.public_addresses)
        ]
        if uses_url and name not in settings.domains and settings.target is not Target.DOCKER:
            yield Mistake(
                f"tiers:domains.{name}",
                f"is missing, and '{uses_url[0]}' tells clients the address of the edge",
                "set the host name that clients reach it by",
            )


def check_moved(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
    """Whether the networks that systems are moved to have room for them."""
    for system in systems:
        if subnet := settings.subnets.get(system.name):
            whole, place = system.subnet, f"tiers:subnets.{system.name}"
            if whole is None:
                yield Mistake(place, f"'{system.name}' has no fixed addresses", "remove it")
            elif subnet.partition("/")[2] != whole.partition("/")[2]:
                why = f"{subnet} is not as large as {whole}, in which the addresses are described"
                remedy = f"give a network that ends in /{whole.partition('/')[2]}"
                yield Mistake(place, why, remedy)


def check_overrides(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
    """The other keys that are maps must name what the stack has."""
    stores = _by_key(systems, lambda system: system.stores)
    services = _by_key(systems, lambda system: system.workloads)
    edges = _by_key(systems, lambda system: system.edges)
    sets = [key for key, store in stores.items() if store.replica_set]
    working = [key for key, service in services.items() if service.concurrency]
    before = [key for key, service in services.items() if service.models or service.init]
    known: dict[str, tuple[str, Collection[str]]] = {
        "images": ("service", [*stores, *services, *edges, *map(init_name, before)]),
        "managed": ("store", stores),
        "replicas": ("service", [*services, *edges, *sets]),
        "autoscale": ("service", services),
        "concurrency": ("service with jobs", working),
    }
    models = [f"{key}/{model}" for key, service in services.items() for model in service.models]
    known["models"] = ("model", models)
    disabled = {
        f"{system.name}/{name}": why for system in systems for name, why in system.disabled.items()
    }
    for setting, (word, keys) in known.items():
        for key in getattr(settings, setting):
            service = "/".join(key.split("/")[:2])
            if service in disabled:
                yield _off(f"tiers:{setting}.{key}", service, disabled[service])
            elif key not in keys:
                why = f"the stack has no such {word}"
                yield Mistake(f"tiers:{setting}.{key}", why, nearest(key, keys))
    for position, key in enumerate(settings.docker_sockets):
        place = f"tiers:docker_sockets[{position}]"
        if key in disabled:
            yield _off(place, key, disabled[key])
        elif key not in services:
            yield Mistake(place, "the stack has no such service", nearest(key, services))
        elif settings.target is not Target.DOCKER:
            yield Mistake(place, f"there is no Docker daemon on {settings.target}", "remove it")
    for key, managed in settings.managed.items():
        engine = ENGINES.get(stores[key].engine) if key in stores else None
        if engine and engine.service:
            sizes = ENGINE_SIZES.get(engine.service.engine, DATABASE_SIZES)
            place = f"tiers:managed.{key}.size"
            yield from check_size(place, managed.size, sizes, settings.digitalocean.prices)
    if settings.target is Target.DIGITALOCEAN:
        yield from check_gpu_pool(services, settings.digitalocean)
    for system in systems:
        for name in system.watchers:
            key = f"{system.name}/{name}"
            for setting in ("replicas", "autoscale"):
                if key in getattr(settings, setting):
                    why = f"there is one {name}: two would not know of each other"
                    yield Mistake(f"tiers:{setting}.{key}", why, "remove it")
    for key in settings.replicas:
        if key in settings.autoscale:
            why = "the autoscaler decides how many there are"
            yield Mistake(f"tiers:replicas.{key}", why, "remove one of the two")
    variables = [
        f"{system.name}/{variable}"
        for system in systems
        for workload in system.workloads.values()
        for variable in (*workload.optional_environment, *workload.environment)
    ]
    for key in settings.variables:
        if key not in variables:
            why = "no service of the stack takes such a variable"
            yield Mistake(f"tiers:variables.{key}", why, nearest(key, variables))


def _off(place: str, service: str, why: str) -> Mistake:
    """What is said about a service that the stack leaves out."""
    if why != PROFILE_OFF:
        return Mistake(place, f"the stack leaves it out: {why}", "remove this")
    remedy = f"choose it in tiers:profiles.{service.partition('/')[0]}, or remove this"
    return Mistake(place, f"{why} in this stack", remedy)


def _by_key(systems: list[System], parts: Callable[[System], Mapping[str, T]]) -> dict[str, T]:
    """The parts of all systems by ``<system>/<name>``."""
    return {
        f"{system.name}/{name}": part for system in systems for name, part in parts(system).items()
    }


def check_secrets(
    settings: Settings, systems: list[System], described: list[System]
) -> Iterator[Mistake]:
    """What the stack says of its secrets. `described`: the systems with what it leaves out."""
    stores = _by_key(systems, lambda system: system.stores)
    users, own, optional = _secret_keys(systems)
    for system in systems:
        tiers = (system.services, system.ml, system.watchers)
        named = [
            name
            for tier in tiers
            for name in sorted({name for item in tier.values() for name in _generated(item)})
        ]
        for name in sorted({name for name in named if named.count(name) > 1}):
            key = f"{system.name}/{name}"
            if key not in settings.secrets:
                why = "is missing: two tiers use it, and each would generate one of its own"
                remedy = "set a random one of 16 characters or more"
                yield Mistake(f"tiers:secrets.{key}", why, remedy)
    for system in systems:
        needed: dict[str, list[str]] = {}
        for name, workload in system.workloads.items():
            for variable in dict.fromkeys(workload.required_secrets):
                needed.setdefault(variable, []).append(name)
        for variable, names in needed.items():
            key = f"{system.name}/{variable}"
            if key not in settings.secrets:
                why = f"is missing, and {' and '.join(names)} can't run without it"
                remedy = f"set it: pulumi config set --secret --path 'tiers:secrets[\"{key}\"]'"
                if profiles := _profiles_for(system, names):
                    remedy += f"; or leave {profiles} out of tiers:profiles.{system.name}"
                yield Mistake(f"tiers:secrets.{key}", why, remedy)
    connections = {
        system.name: connection_keys(system.stores, settings.target) for system in systems
    }
    # A profile that is off may be on again, and who has only the encrypted one couldn't keep it.
    left_out = {key for keys in _secret_keys(described) for key in keys}
    for key, value in settings.secrets.items():
        place = f"tiers:secrets.{key}"
        yield from _check_literal(place, value, connections.get(key.partition("/")[0], ()))
        if key in own:
            yield from check_password(place, value, settings.environment)
        elif key in optional:
            for found in check_password(place, value, settings.environment):
                # Nobody generates it.
                yield Mistake(found.place, found.why, "set the real one, or remove it")
        elif key not in users:
            if key not in left_out:
                why = "the stack has no such secret"
                yield Mistake(place, why, nearest(key, [*users, *own, *optional]))
        elif is_managed(stores[key.rpartition("/")[0]], settings.target):
            yield Mistake(
                place,
                "DigitalOcean makes the passwords of a managed server itself",
                "remove it, or set 'enabled: false' for the store in tiers:managed",
            )
        else:
            store, _, user = key.rpartition("/")
            yield from check_password(place, value, settings.environment)
            yield from check_secret(place, ENGINES[stores[store].engine], user, value)


def _secret_keys(systems: list[System]) -> tuple[list[str], list[str], list[str]]:
    """Keys of `tiers:secrets`: of stores' users, of services that generate them, of the others."""
    users = [
        secret_key(system.name, name, user)
        for system in systems
        for name, store in system.stores.items()
        if store.engine in ENGINES
        for user in ENGINES[store.engine].secrets(store)
    ]
    every = [(system.name, item) for system in systems for item in system.workloads.values()]
    own = [f"{system}/{name}" for system, item in every for name in _generated(item)]
    return users, own, [f"{system}/{name}" for system, item in every for name in item.stack_secrets]


def _check_literal(place: str, value: str, connections: Collection[str]) -> Iterator[Mistake]:
    """What would be a reference in a description. It isn't repeated: it may be a real secret."""
    if any(
        found.store == GENERATED or (found.connection in connections and found.field in FIELDS)
        for found in references(value)
    ):
        why = "it holds a reference, ${...}, and what a stack gives is taken as it is"
        yield Mistake(place, why, "write the value itself, or the reference into the description")


def _profiles_for(system: System, names: list[str]) -> str:
    """The profiles without which none of these services is there."""
    services = [system.workloads[name] for name in names]
    if not all(service.profiles for service in services):
        return ""
    found = dict.fromkeys(profile for service in services for profile in service.profiles)
    return " and ".join(f"'{profile}'" for profile in found)


def _generated(workload: Workload) -> list[str]:
    """The system's own secrets that the workload names."""
    texts = [*workload.secrets.values(), *workload.secret_files.values()]
    return [
        reference.field
        for text in texts
        if isinstance(text, str)
        for reference in references(text)
        if reference.store == GENERATED
    ]
