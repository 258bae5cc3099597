"""A plan: the systems of a stack with its settings in place, checked as a whole."""

import ipaddress
import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pulumi_tiers.checks import (
    check_password,
    check_secret,
    check_size,
    check_systems,
    connection_keys,
)
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import check_gpu_pool, check_logins, init_name, is_managed
from pulumi_tiers.model.base import Model
from pulumi_tiers.model.edge import Edge, EdgePorts, Tls, TlsMode
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, nearest, shown
from pulumi_tiers.model.ml import MlModel
from pulumi_tiers.model.network import AddressRange, Network
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.references import FIELDS, GENERATED, literal, references
from pulumi_tiers.model.store import Bucket, Database, Store, secret_key
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System, Target
from pulumi_tiers.model.workload import Build, Workload
from pulumi_tiers.models import DEFAULT_IMAGE as MODEL_IMAGE
from pulumi_tiers.observability.exporters import monitored
from pulumi_tiers.observability.logs import log_stores
from pulumi_tiers.observability.workloads import (
    check_observability,
    observability_workloads,
    watched,
)
from pulumi_tiers.pipelines.planned import check_github, with_pipeline
from pulumi_tiers.prices import DATABASE_SIZES, ENGINE_SIZES
from pulumi_tiers.settings import Databases, Gpus, Names, Publish, Settings
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


BY_SYSTEM = (
    *("profiles", "port_offsets", "subnets", "domains", "host_ips", "tls", "sources"),
    *("observability", "pipelines"),
)
"""Keys of the configuration that are maps by system."""

T = TypeVar("T")
M = TypeVar("M", bound=Model)

LAST_PORT = 65535

CLUSTER = "cluster"
"""The component's name, with which the names of the cluster and its VPC end."""

_STACK = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def make_plan(stack: str, settings: Settings, root: Path | None = None) -> Plan:
    """The plan of a stack. Raises DescriptionError with every mistake of every system.

    `root`: the folder that others are given from. Without it, nobody looks whether they are there.
    """
    mistakes: list[Mistake] = []
    if root is not None:
        settings, mistakes = _with_folders(settings, root)
    if not _STACK.fullmatch(stack) or len(stack) > 20:
        mistakes.append(
            Mistake(
                "stack",
                f"{shown(stack)} cannot be the beginning of the names of containers and volumes",
                "name the stack with at most 20 lower-case letters, digits and hyphens",
            )
        )
    mistakes += _check_systems_named(settings)
    systems: list[System] = []
    for name in settings.systems:
        try:
            systems.append(SYSTEMS[name](settings.environment))
        except ValidationError as error:  # a mistake in systems/, or in one that was added
            mistakes += mistakes_of(error, name)
    mistakes += _check_wanted(settings, systems)
    # Only what there is can be meant by the other keys.
    described = systems
    systems = [_watched(chosen(system, settings), settings, mistakes) for system in systems]
    if len(systems) == len(settings.systems):
        mistakes += _check_overrides(settings, systems)
        mistakes += _check_secrets(settings, systems, described)
    mistakes += check_logins("tiers:registry_logins", settings.registry_logins, settings.target)
    mistakes += _check_edges(settings, systems)
    mistakes += _check_subnets(settings, systems)
    systems = [with_settings(system, settings, mistakes) for system in systems]
    if settings.github or settings.pipelines:
        systems = [with_pipeline(system, settings, mistakes) for system in systems]
        mistakes += check_github(settings, systems, stack)
    mistakes += check_systems(
        systems,
        settings.target,
        stack=stack,
        documented_names=settings.names is Names.DOCUMENTED,
    )
    if mistakes:
        raise DescriptionError(_in_its_tier(mistake, systems) for mistake in mistakes)
    return Plan(stack, settings, tuple(systems))


def _with_folders(settings: Settings, root: Path) -> tuple[Settings, list[Mistake]]:
    """The settings with whole paths, and those that lead to no folder."""
    mistakes: list[Mistake] = []

    def whole(place: str, folder: str) -> str:
        path = posixpath.normpath(root / folder)
        if not os.path.isdir(path):  # noqa: PTH112 - Path's raises where a name is too long
            why = f"there is no folder {shown(path)}"
            remedy = "give the one of the checkout: its whole path, or from the project's folder on"
            mistakes.append(Mistake(place, why, remedy))
        return path

    sources = {
        system: whole(f"tiers:sources.{system}", folder)
        for system, folder in settings.sources.items()
    }
    pipelines = {
        system: options.model_copy(
            update={"checkout": whole(f"tiers:pipelines.{system}.checkout", options.checkout)}
        )
        if options.checkout
        else options
        for system, options in settings.pipelines.items()
    }
    return settings.model_copy(update={"sources": sources, "pipelines": pipelines}), mistakes


def _in_its_tier(mistake: Mistake, systems: list[System]) -> Mistake:
    """The mistake with the place where the description has the service: `ml` has some of them."""
    place, why = mistake.place, mistake.why
    for system in systems:
        for name in system.ml:
            all_together = (
                rf"(?<={re.escape(system.name)}: )services(?=\.{re.escape(name)}(?![\w-]))"
            )
            place, why = (re.sub(all_together, "ml", text) for text in (place, why))
    return Mistake(place, why, mistake.remedy)


def _check_systems_named(settings: Settings) -> Iterator[Mistake]:
    """The keys that are maps by system must name what the stack has."""
    for key in BY_SYSTEM:
        for name in getattr(settings, key):
            if name not in settings.systems:
                why = f"the stack has no system '{name}'"
                yield Mistake(f"tiers:{key}.{name}", why, nearest(name, settings.systems))


def _check_wanted(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
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


def _check_edges(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
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
            if isinstance(text, str) and any(public in text for public in _public(system))
        ]
        if uses_url and name not in settings.domains and settings.target is not Target.DOCKER:
            yield Mistake(
                f"tiers:domains.{name}",
                f"is missing, and '{uses_url[0]}' tells clients the address of the edge",
                "set the host name that clients reach it by",
            )


def _public(system: System) -> dict[str, Edge]:
    """The references to what clients call an edge, or a store that an edge leads to."""
    found = {f"${{{name}.url}}": edge for name, edge in system.edges.items()}
    for edge in system.edges.values():
        for upstream in edge.upstreams.values():
            if upstream.endpoint in system.stores:
                found[f"${{{upstream.endpoint}.public}}"] = edge
    return found


def _check_subnets(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
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


def _check_overrides(settings: Settings, systems: list[System]) -> Iterator[Mistake]:
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


def _check_secrets(
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


def chosen(system: System, settings: Settings) -> System:
    """The system as the stack has it: its stores as they are owned, its parts that are wanted."""
    wanted = set(settings.profiles.get(system.name, system.default_profiles))
    stores = _stores(system, settings, wanted)
    disabled: dict[str, str] = {}
    for name, workload in system.workloads.items():
        if workload.profiles and not wanted & set(workload.profiles):
            disabled[name] = PROFILE_OFF
        elif workload.docker_only and settings.target is not Target.DOCKER:
            disabled[name] = str(workload.docker_only)

    def active(services: Mapping[str, Workload]) -> dict[str, Workload]:
        return {
            name: workload if settings.gpu is Gpus.ON else _on_cpu(workload)
            for name, workload in services.items()
            if name not in disabled
        }

    ours = {name for name, it in stores.items() if not is_managed(it, settings.target)}
    there = {*ours, *system.workloads} - set(disabled)
    return system.model_copy(
        update={
            "stores": stores,
            "services": active(system.services),
            "ml": active(system.ml),
            "disabled": disabled,
            "edges": {name: edge.with_endpoints(there) for name, edge in system.edges.items()},
        }
    )


def _on_cpu(workload: Workload) -> Workload:
    """The workload without its GPUs. Where it says which it sees, it sees none."""
    if workload.gpu is None:
        return workload
    environment = {
        name: "" if name == "CUDA_VISIBLE_DEVICES" else value
        for name, value in workload.environment.items()
    }
    return workload.model_copy(update={"gpu": None, "environment": environment})


def _stores(system: System, settings: Settings, wanted: Collection[str]) -> dict[str, Store]:
    """The system's stores, managed and owned as the stack has it, with what it needs of them."""

    def needed(part: Database | Bucket) -> bool:
        return not part.profiles or bool(set(part.profiles) & set(wanted))

    def owned(name: str, store: Store) -> Store:
        documented = settings.names is Names.DOCUMENTED
        managed = store.managed if documented else store.managed.model_copy(update={"name": None})
        if given := settings.managed.get(f"{system.name}/{name}"):
            managed = managed.model_copy(update=given.model_dump(exclude_unset=True))
        databases = [database for database in store.databases if needed(database)]
        buckets = [bucket for bucket in store.buckets if needed(bucket)]
        engine = ENGINES.get(store.engine)
        takes = engine is not None and "databases" in engine.takes
        if settings.databases is Databases.DEDICATED and takes and not store.users:
            own = system.name.replace("-", "_")
            databases = [Database(name=own, owner=own), *databases[1:]]
        parts = {"databases": databases, "buckets": buckets}
        return store.model_copy(update={"managed": managed, **parts})

    return {name: owned(name, store) for name, store in system.stores.items()}


def with_settings(system: System, settings: Settings, mistakes: list[Mistake]) -> System:
    """The system with the stack's images, numbers, addresses and certificates in place.

    Without the passwords that the stack gives: they were checked where they stand. What does not
    fit together any more is added to the mistakes.
    """
    put = _Put(system, settings, mistakes)
    edges = {name: put.edge(name, edge) for name, edge in system.edges.items()}
    put = _Put(system.model_copy(update={"edges": edges}), settings, mistakes)
    watchers = system.watchers
    if watchers and system.observability:
        # Certificates and ports of the edges are known only now.
        known = put.system.model_copy(update={"watchers": {}})
        watchers = observability_workloads(known, system.observability, settings.target)
    return system.model_copy(
        update={
            "networks": {name: put.network(network) for name, network in system.networks.items()},
            "stores": {name: put.store(name, store) for name, store in system.stores.items()},
            "services": {name: put.service(name, item) for name, item in system.services.items()},
            "ml": {name: put.service(name, item) for name, item in system.ml.items()},
            "edges": edges,
            "watchers": {name: put.service(name, item) for name, item in watchers.items()},
        }
    )


def _watched(system: System, settings: Settings, mistakes: list[Mistake]) -> System:
    """The system with what watches it: as described, and as the stack has it."""
    place = f"tiers:observability.{system.name}"
    given = settings.observability.get(system.name)
    described = system.observability
    if given is not None:
        # Whoever says how, wants it.
        own = described.model_dump(exclude_unset=True, exclude={"enabled"}) if described else {}
        try:
            described = Observability.model_validate(
                _merged(own, given.model_dump(exclude_unset=True))
            )
        except ValidationError as error:
            mistakes.extend(mistakes_of(error, place))
            described = None
    if described is None or not described.enabled:
        return system.model_copy(update={"observability": None})
    system = system.model_copy(
        update={
            "observability": described,
            "stores": monitored({**system.stores, **log_stores(system, described)}),
            "edges": {name: watched(edge) for name, edge in system.edges.items()},
        }
    )
    found = list(check_observability(f"{place}.", system, described, settings.target))
    mistakes.extend(found)
    if found:
        return system
    watchers = observability_workloads(system, described, settings.target)
    return system.model_copy(update={"watchers": watchers})


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Maps are merged, all else of `over` counts."""
    return {
        **under,
        **{
            key: _merged(under[key], value)
            if isinstance(value, dict) and isinstance(under.get(key), dict)
            else value
            for key, value in over.items()
        },
    }


@dataclass(frozen=True)
class _Put:
    """What a stack says, put into the parts of one system."""

    system: System
    settings: Settings
    mistakes: list[Mistake]

    def _updated(self, section: str, name: str, part: M, update: dict[str, object]) -> M:
        """The part with the update, checked again as a whole."""
        given = {key: getattr(part, key) for key in part.model_fields_set}
        try:
            return part.__class__.model_validate({**given, **update})
        except ValidationError as error:
            self.mistakes.extend(mistakes_of(error, f"{self.system.name}: {section}.{name}"))
            # What is right of it is looked at further.
            wrong = {entry["loc"][0] for entry in error.errors() if entry["loc"]}
            rest = {key: value for key, value in update.items() if key not in wrong}
            try:
                return part.__class__.model_validate({**given, **rest})
            except ValidationError:
                return part

    def _key(self, name: str) -> str:
        return f"{self.system.name}/{name}"

    def _image(self, name: str, reference: object) -> object:
        given = self.settings.images.get(self._key(name))
        if given or not isinstance(reference, str):
            return given or reference
        return self.settings.registry.apply(reference)

    def _published(self, port: int | None, *, edge: bool = False) -> int | None:
        # A load balancer has its ports for itself.
        if port is None or self.settings.target is not Target.DOCKER:
            return port
        if self.settings.publish is Publish.EDGES and not edge:
            return None
        own = self.settings.port_offsets.get(self.system.name)
        offset = self.settings.port_offset + (own or 0)
        if port + offset <= LAST_PORT:
            return port + offset
        key = "tiers:port_offset" if own is None else f"tiers:port_offsets.{self.system.name}"
        why = f"with {offset} added, the port {port} would be {port + offset}"
        least = (
            f"both together at most {LAST_PORT - port}" if own else f"at most {LAST_PORT - port}"
        )
        self.mistakes.append(Mistake(key, why, f"ports end at {LAST_PORT}: add {least}"))
        return port

    def _moved(self, addresses: AddressRange | None) -> AddressRange | None:
        return addresses.moved(self._shift) if addresses else None

    @property
    def _shift(self) -> int:
        """How far the system's addresses are moved."""
        target = self.settings.subnets.get(self.system.name)
        if target is None or self.system.subnet is None:
            return 0
        old, new = ipaddress.IPv4Network(self.system.subnet), ipaddress.IPv4Network(target)
        return int(new.network_address) - int(old.network_address)

    def network(self, network: Network) -> Network:
        def moved(part: str | None) -> str | None:
            if part is None:
                return None
            old = ipaddress.IPv4Network(part)
            return str(ipaddress.IPv4Network((old.network_address + self._shift, old.prefixlen)))

        update = {"subnet": moved(network.subnet), "ip_range": moved(network.ip_range)}
        return network.model_copy(update=update)

    def store(self, name: str, store: Store) -> Store:
        default = ENGINES[store.engine].image if store.engine in ENGINES else None
        key = self._key(name)
        return self._updated(
            "stores",
            name,
            store,
            {
                "image": self._image(name, store.image or default),
                "published": self._published(store.published),
                "console": self._published(store.console),
                "address": self._moved(store.address),
                "replicas": self.settings.replicas.get(key, store.replicas),
                "passwords": {
                    user: password
                    for user, password in store.passwords.items()
                    if secret_key(self.system.name, name, user) not in self.settings.secrets
                },
            },
        )

    def service(self, name: str, workload: Workload) -> Workload:
        settings, key = self.settings, self._key(name)
        source = self._source(name, workload)
        image = self._image(name, workload.image)
        urls = self._urls()

        def text(value: object) -> object:
            if isinstance(value, str):
                for reference, url in urls.items():
                    value = value.replace(reference, url)
            return value

        given = {
            variable: settings.variables[f"{self.system.name}/{variable}"]
            for variable in (*workload.optional_environment, *workload.environment)
            if f"{self.system.name}/{variable}" in settings.variables
        }
        secrets = {
            # What a stack gives is no reference to anything.
            variable: literal(settings.secrets[f"{self.system.name}/{variable}"])
            for variable in workload.stack_secrets
            if f"{self.system.name}/{variable}" in settings.secrets
        }
        return self._updated(
            "services",
            name,
            workload,
            {
                "image": None if source and key not in settings.images else image,
                "build": source if key not in settings.images else None,
                "binds": self._binds(name, workload),
                "environment": {
                    **{variable: text(value) for variable, value in workload.environment.items()},
                    **given,
                },
                "secrets": {
                    **{variable: text(value) for variable, value in workload.secrets.items()},
                    **secrets,
                },
                "secret_files": {
                    file: text(value) for file, value in workload.secret_files.items()
                },
                "ports": [
                    port.model_copy(update={"published": self._published(port.published)})
                    for port in workload.ports
                ],
                "addresses": self._moved(workload.addresses),
                "replicas": settings.replicas.get(key, workload.replicas),
                "autoscale": settings.autoscale.get(key, workload.autoscale),
                "concurrency": settings.concurrency.get(key, workload.concurrency),
                "docker_socket": workload.docker_socket
                or (key in settings.docker_sockets and settings.target is Target.DOCKER),
                "init": workload.init
                and workload.init.model_copy(
                    update={"image": self._image(init_name(name), workload.init.image)}
                ),
                "models": {
                    model: self._model(name, model, wanted)
                    for model, wanted in workload.models.items()
                },
            },
        )

    def _model(self, name: str, model: str, wanted: MlModel) -> MlModel:
        key = f"{self._key(name)}/{model}"
        image = self._image(init_name(name), wanted.image or MODEL_IMAGE)
        update: dict[str, object] = {"image": image}
        if key in self.settings.models:
            # Who names a version wants that one, and not to start without it.
            update |= {"version": self.settings.models[key], "optional": False}
        return wanted.model_copy(update=update)

    def _source(self, name: str, workload: Workload) -> Build | None:
        folder = self.settings.sources.get(self.system.name)
        if workload.source is None or folder is None or self._key(name) in self.settings.images:
            return workload.build
        context = posixpath.normpath(posixpath.join(folder, workload.source.context))
        variables = self.settings.variables
        args = {
            name: variables[f"{self.system.name}/{name}"]
            for name in workload.source.args
            if f"{self.system.name}/{name}" in variables
        }
        return Build(context=context, dockerfile=workload.source.dockerfile, args=args)

    def _binds(self, name: str, workload: Workload) -> dict[str, str]:
        folder = self.settings.sources.get(self.system.name)
        if self._key(name) in self.settings.images:  # it brings its own program
            return workload.binds
        development = self.settings.environment is Environment.DEVELOPMENT
        if folder and development and workload.source and workload.source.mount:
            return {**workload.binds, workload.source.mount: folder}
        return workload.binds

    def _urls(self) -> dict[str, str]:
        """What clients outside reach edges and stores by, by the reference to it."""
        managed = {
            f"${{{name}.public}}": f"https://${{{name}.host}}"
            for name, store in self.system.stores.items()
            if store.buckets and is_managed(store, self.settings.target)
        }
        return managed | {text: self._url(edge) for text, edge in _public(self.system).items()}

    def _url(self, edge: Edge) -> str:
        docker = self.settings.target is Target.DOCKER
        ports = edge.published if docker else edge.load_balancer
        scheme, port, default = (
            ("https", ports.https, 443) if edge.tls.on else ("http", ports.http, 80)
        )
        host = self.settings.domains.get(self.system.name) or "localhost"
        return f"{scheme}://{host}" + ("" if port in (default, None) else f":{port}")

    def edge(self, name: str, edge: Edge) -> Edge:
        settings = self.settings
        domain = settings.domains.get(self.system.name)
        tls = settings.tls.get(self.system.name)
        if tls is None and settings.environment is Environment.DEVELOPMENT:
            tls = Tls(mode=TlsMode.SELF_SIGNED)
        return self._updated(
            "edges",
            name,
            edge,
            {
                "image": self._image(name, edge.image),
                "tls": tls or edge.tls,
                "server_names": [domain] if domain else edge.server_names,
                "host_ip": settings.host_ips.get(self.system.name, edge.host_ip),
                "published": EdgePorts(
                    http=self._published(edge.published.http, edge=True),
                    https=self._published(edge.published.https, edge=True),
                ),
                "addresses": self._moved(edge.addresses),
                "replicas": settings.replicas.get(self._key(name), edge.replicas),
            },
        )
