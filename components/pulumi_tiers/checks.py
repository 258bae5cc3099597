"""What only the whole of a description shows: names, references, ports, passwords, limits.

A stack's plan is checked with these functions, and so is a component in somebody else's program:
a plan of one.
"""

import ipaddress
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from types import MappingProxyType

from pulumi_tiers.engines import ENGINES, Engine
from pulumi_tiers.limits import (
    as_placed,
    bucket_name,
    check_limits,
    check_managed,
    check_version,
    files_name,
    gpu_doubts,
    init_name,
    is_managed,
    managed_name,
    opening_names,
    public_ports,
)
from pulumi_tiers.model.base import LONGEST_LABEL, size_in_bytes
from pulumi_tiers.model.cloud import Cloud, unknown_size
from pulumi_tiers.model.edge import TlsMode
from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.ml import Gpu, Sharing
from pulumi_tiers.model.network import AddressRange, Network
from pulumi_tiers.model.references import CONCURRENCY, FIELDS, GENERATED, references
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System, Target
from pulumi_tiers.model.workload import Condition, Workload
from pulumi_tiers.models import check_models, with_models
from pulumi_tiers.nginx.workloads import check_edges, edge_workloads, too_long


def check_systems(
    systems: Iterable[System], target: Target, *, stack: str = "", documented_names: bool = False
) -> Iterator[Mistake]:
    """Every mistake that only the whole shows. Each part is valid by itself."""
    systems = list(systems)
    for system in systems:
        at = f"{system.name}: stores"
        site = f"{stack}-{system.name}"
        yield from check_stores(at, system.stores, target, system.environment, site=site)
        at = f"{system.name}: services"
        keys = connection_keys(system.stores, target)
        services = system.workloads
        wrong = list(check_models(at, services, keys))
        yield from wrong
        if not wrong:
            services = {name: with_models(name, item) for name, item in services.items()}
        yield from check_services(at, services, target, keys, disabled=system.disabled)
        yield from _check_queues(at, system.workloads, system.stores)
        yield from check_gpus(at, system.workloads, target)
        yield from _check_system_edges(system, target)
        yield from _check_reach(system, target)
        yield from check_networks(
            [
                *store_members(f"{system.name}: stores", system.stores),
                *members(at, system.workloads),
                *members(f"{system.name}: edges", edge_helpers(system, target)),
            ],
            system.networks,
            target,
        )
        if system.environment is Environment.PRODUCTION:
            yield from _check_literal_secrets(system)
    yield from _check_names(systems, target, stack, documented_names=documented_names)
    if target is Target.DOCKER:
        yield from check_subnets(
            {f"{system.name}: networks": system.networks for system in systems}
        )
        # Each part has looked at its own; here they meet.
        yield from _check_host_ports(
            port
            for system in systems
            for port in (
                *_store_ports(f"{system.name}: stores", system.name, system.stores),
                *_service_ports(f"{system.name}: services", system.name, system.workloads),
                *_service_ports(f"{system.name}: edges", system.name, edge_helpers(system, target)),
            )
        )


def edge_helpers(system: System, target: Target) -> dict[str, Workload]:
    """What the edges of a system run."""
    return {
        name: workload
        for edge, described in system.edges.items()
        if not too_long(described)
        for name, workload in edge_workloads(edge, described, target).items()
    }


def _check_system_edges(system: System, target: Target) -> Iterator[Mistake]:
    endpoints = {
        name: [port.target for port in workload.ports]
        for name, workload in system.workloads.items()
    }
    for name, store in system.stores.items():
        engine = ENGINES.get(store.engine)
        if engine and not engine.check(store) and not is_managed(store, target):
            endpoints[name] = [port.target for port in engine.workload(name, store).ports]
    place = f"{system.name}: edges"
    wrong = list(check_edges(place, system.edges, endpoints, target, system.disabled))
    yield from wrong
    # What runs for an edge that cannot be is not its description's mistake.
    if not wrong:
        for name, workload in edge_helpers(system, target).items():
            yield from check_limits(f"{place}.{name}", workload, target)


def _check_reach(system: System, target: Target) -> Iterator[Mistake]:
    """Whether who speaks to another is in a network with it."""
    networks = {
        name: set(part.networks or system.networks)
        for name, part in (*system.stores.items(), *system.workloads.items())
        # What the cloud runs is in none of them.
        if not (isinstance(part, Store) and is_managed(part, target))
    }
    pairs = [
        (f"edges.{name}.upstreams.{key}.endpoint", set(edge.networks), upstream.endpoint)
        for name, edge in system.edges.items()
        for key, upstream in edge.upstreams.items()
    ]
    pairs += [
        (f"services.{name}.{section}.{key}", networks[name], reference.store)
        for name, workload in system.workloads.items()
        for section in ("environment", "secrets", "secret_files")
        for key, text in getattr(workload, section).items()
        if isinstance(text, str)
        for reference in references(text)
        if reference.field in {"host", "url"}
    ]
    for place, own, other in pairs:
        theirs = networks.get(other)
        # Networks that aren't there are told elsewhere.
        there = theirs and (own | theirs) <= set(system.networks)
        if theirs and there and not (own or theirs) & theirs:
            why = f"'{other}' is in no network with it, and can't be reached"
            remedy = f"put it into one of {', '.join(sorted(theirs))}, or '{other}' into one of its"
            yield Mistake(f"{system.name}: {place}", why, remedy)


_MANAGED = "managed database"


@dataclass(frozen=True)
class Claim:
    """A name that nothing else of its kind can have in the same space."""

    kind: str
    name: str
    place: str
    #: The part of the description whose own names were compared already.
    part: str
    #: What `name` belongs to: a system's network or namespace, or the whole Docker host or account.
    space: str = ""
    remedy: str = "rename one of them"


def _store_claims(
    place: str, stores: Mapping[str, Store], target: Target, site: str
) -> Iterator[Claim]:
    for name, store in stores.items():
        if is_managed(store, target):
            at = f"{place}.{name}.managed.name"
            yield Claim(_MANAGED, managed_name(site, name, store), at, place)
        engine = ENGINES.get(store.engine)
        if engine is None or engine.check(store):  # told elsewhere; its name counts all the same
            yield from _claims(place, name, name, None)
            continue
        store = as_placed(store, target)
        yield from _claims(place, name, name, engine.workload(name, store))
        setup = engine.setup(name, store)
        if setup:
            yield from _claims(place, name, f"{name}-setup", setup)
        if target is Target.DOCKER and engine.prepare(name, store):
            # The volume is the server's.
            yield from _claims(place, name, f"{name}-volume", None)


def _service_claims(place: str, services: Mapping[str, Workload]) -> Iterator[Claim]:
    for name, workload in services.items():
        yield from _claims(place, name, name, workload)


def _claims(place: str, key: str, name: str, workload: Workload | None) -> Iterator[Claim]:
    claim = partial(Claim, place=f"{place}.{key}", part=place)
    yield claim("container", name)
    if workload is None:
        return
    for replica in range(1, workload.replicas):
        yield claim("container", f"{name}-{replica + 1}")
    for volume in workload.volumes:
        if not volume.external:
            yield claim("volume", volume.name)
    if workload.secrets:
        yield claim("Kubernetes Secret", workload.secret_name or name)
    if workload.files:
        # On Docker a container, on Kubernetes a Secret, and two volumes.
        yield claim("container", files_name(name))
    if workload.init:
        for container in (init_name(name), *opening_names(name, workload)):
            yield claim("container", container)
        if workload.init.secrets:
            yield claim("Kubernetes Secret", init_name(name))
    if workload.secret_files:
        yield claim("Kubernetes Secret", files_name(name))
        yield claim("volume", f"{name}-secrets")
    if workload.configs:
        yield claim("volume", f"{name}-configs")


def _check_claims(claims: Iterable[Claim], *, between_parts: bool = False) -> Iterator[Mistake]:
    taken: dict[tuple[str, str, str], Claim] = {}
    for claim in claims:
        first = taken.setdefault((claim.space, claim.kind, claim.name), claim)
        if first is not claim and (first.part != claim.part) is between_parts:
            why = f"the {claim.kind} '{claim.name}' is already that of {first.place}"
            yield Mistake(claim.place, why, claim.remedy)


def _check_names(
    systems: list[System], target: Target, stack: str, *, documented_names: bool
) -> Iterator[Mistake]:
    """Names that two parts of the stack would give to different things."""
    claims: list[Claim] = []
    for system in systems:
        documented = target is Target.DOCKER and documented_names
        site = f"{stack}-{system.name}"
        for claim in (
            *_store_claims(f"{system.name}: stores", system.stores, target, site),
            *_service_claims(f"{system.name}: services", system.workloads),
            *_service_claims(f"{system.name}: edges", edge_helpers(system, target)),
        ):
            if documented and claim.kind == "container":
                remedy = "set tiers:names to 'unique', or rename one of them"
                claims.append(replace(claim, remedy=remedy))
            elif claim.kind == _MANAGED:
                claims.append(claim)
            else:
                claims.append(replace(claim, space=system.name))
        if target is not Target.DOCKER and system.namespace:
            place = f"{system.name}: namespace"
            claims.append(Claim("namespace", system.namespace, place, place))
    yield from _check_claims(claims, between_parts=True)


def check_stores(
    place: str,
    stores: Mapping[str, Store],
    target: Target,
    environment: Environment | None = None,
    *,
    site: str = "",
) -> Iterator[Mistake]:
    """The stores of one system. A weak password is one in production only.

    `site`: the beginning of the names of managed ones.
    """
    yield from _check_claims(_store_claims(place, stores, target, site))
    if target is Target.DOCKER:
        yield from _check_host_ports(_store_ports(place, "", stores))
    for name, store in stores.items():
        at = f"{place}.{name}"
        engine = ENGINES.get(store.engine)
        if engine is None:
            yield Mistake(
                f"{at}.engine",
                f"there is no engine {shown(store.engine)}",
                nearest(store.engine, ENGINES),
            )
            continue
        wrong = engine.check(store)
        yield from (Mistake(at, why, remedy) for why, remedy in wrong)
        yield from _check_store(at, store, engine)
        yield from check_version(at, store, engine, target)
        if is_managed(store, target):
            yield from check_managed(at, store, engine)
            remedy = "set a shorter one, or shorten the name of the stack or of the system"
            called = managed_name(site, name, store)
            yield from _check_length(f"{at}.managed.name", called, remedy)
            for position, bucket in enumerate(store.buckets):
                called = bucket_name(site, name, store, bucket.name)
                yield from _check_length(f"{at}.buckets[{position}].name", called, remedy)
        elif not wrong:
            workload = engine.workload(name, as_placed(store, target))
            yield from check_limits(at, workload, target)
        known = engine.users(store)
        for user, password in store.passwords.items():
            if user not in known:
                yield Mistake(
                    f"{at}.passwords.{user}", "the store has no such user", nearest(user, known)
                )
            else:
                yield from check_password(f"{at}.passwords.{user}", password, environment)
                yield from check_secret(f"{at}.passwords.{user}", engine, user, password)


def _check_store(at: str, store: Store, engine: Engine) -> Iterator[Mistake]:
    """What holds for all engines."""
    for key in engine.unused(store):
        other = sorted(name for name, it in ENGINES.items() if key in it.takes)
        why = f"the engine {engine.name} has no use for '{key}'"
        yield Mistake(
            f"{at}.{key}", why, f"remove it; {' and '.join(other) or 'no engine'} takes it"
        )
    if store.managed.enabled and engine.service is None:
        why = f"no cloud of this library runs {engine.name} by itself"
        yield Mistake(f"{at}.managed.enabled", why, "remove it: it runs in the cluster")
    if engine.memory(store) < size_in_bytes(engine.least_memory):
        why = f"{engine.name} does not run with less than {engine.least_memory}"
        yield Mistake(f"{at}.resources.memory", why, f"give it {engine.resources.memory} or more")


def _check_length(place: str, name: str, remedy: str) -> Iterator[Mistake]:
    if len(name) > LONGEST_LABEL:
        yield Mistake(
            place,
            f"{shown(name)} has {len(name)} characters, and DigitalOcean takes {LONGEST_LABEL}",
            remedy,
        )


def check_cloud(place: str, cloud: Cloud, name: str) -> Iterator[Mistake]:
    """What DigitalOcean would refuse of the names of a new cluster and its VPC, both `name`."""
    if cloud.cluster_id is not None:
        return
    yield from _check_length(place, name, "shorten the name of the component or of the stack")
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name):
        yield Mistake(
            # No key has the name: it is made of the stack's and the component's.
            place,
            f"the cluster would be called {shown(name)}, and DigitalOcean takes lower-case letters,"
            " digits and hyphens",
            "rename the component or the stack",
        )


def check_size(
    place: str, size: str, table: Collection[str], known: Collection[str]
) -> Iterator[Mistake]:
    """The size of a stack's managed store."""
    if unknown := unknown_size(size, table, known, "tiers:digitalocean.prices"):
        yield Mistake(place, *unknown)


def connection_keys(stores: Mapping[str, Store], target: Target) -> list[str]:
    """The keys of the stores' connections: ``postgres``, ``postgres.metabase``."""
    keys: list[str] = []
    for name, store in stores.items():
        engine = ENGINES.get(store.engine)
        if engine and is_managed(store, target):
            store = engine.as_managed(store)
        # An unknown engine is one mistake: whoever uses the store doesn't make another.
        databases = engine.consumers(store) if engine else [item.name for item in store.databases]
        keys += [name, *(f"{name}.{database}" for database in databases if database)]
    return keys


def check_services(
    place: str,
    services: Mapping[str, Workload],
    target: Target,
    connections: Iterable[str],
    elsewhere: Collection[str] = (),
    disabled: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Mistake]:
    """The services of one tier of a system, which has these connections to stores.

    `elsewhere`: services of other tiers. `disabled`: services that the stack leaves out, and why.
    """
    connections = list(connections)
    yield from check_workloads(place, services, target)
    for name, workload in services.items():
        at = f"{place}.{name}"
        yield from check_references(at, workload, connections)
        yield from _check_dependencies(
            at, name, workload, services, connections, elsewhere, disabled
        )
    yield from _check_cycles(place, services)


def check_workloads(
    place: str, workloads: Mapping[str, Workload], target: Target
) -> Iterator[Mistake]:
    """Workloads of one component: their names, their ports, and what the target can't do."""
    yield from _check_claims(_service_claims(place, workloads))
    if target is Target.DOCKER:
        yield from _check_host_ports(_service_ports(place, "", workloads))
    for name, workload in workloads.items():
        yield from check_limits(f"{place}.{name}", workload, target)


_NO_CONCURRENCY = "the workload has no concurrency"


def check_gpus(place: str, workloads: Mapping[str, Workload], target: Target) -> Iterator[Mistake]:
    """Docker gives GPUs to everybody who asks, the first ones first (OC-30)."""
    if target is not Target.DOCKER:
        return  # Kubernetes gives each to one container
    seen: list[tuple[str, Gpu]] = []
    for name, workload in workloads.items():
        gpu = workload.gpu
        if gpu is None:
            continue
        at = f"{place}.{name}"
        if gpu.sharing is Sharing.EXCLUSIVE and workload.replicas > 1:
            why = f"{workload.replicas} replicas would have the same GPUs, which are exclusive"
            yield Mistake(f"{at}.replicas", why, "set gpu.sharing to 'shared', or lower them")
        for other, theirs in seen:
            both = sorted(set(gpu.numbers) & set(theirs.numbers))
            if both and Sharing.EXCLUSIVE in {gpu.sharing, theirs.sharing}:
                why = f"the GPU {both[0]} is also {other}'s, and not to be shared"
                remedy = "give it other 'devices', set 'sharing' of both to 'shared', or leave one"
                yield Mistake(f"{at}.gpu", why, f"{remedy} out by its profile")
        seen.append((f"{place}.{name}", gpu))


def check_references(place: str, workload: Workload, known: Collection[str]) -> Iterator[Mistake]:
    """References that lead nowhere, or out of the secrets. `known`: the connections' keys."""
    for position, text in enumerate(workload.command):
        if isinstance(text, str) and CONCURRENCY in text and workload.concurrency is None:
            remedy = "set the workload's 'concurrency'"
            yield Mistake(f"{place}.command[{position}]", _NO_CONCURRENCY, remedy)
    sections: dict[str, Mapping[str, object]] = {
        "environment": workload.environment,
        "secrets": workload.secrets,
        "secret_files": workload.secret_files,
    }
    if workload.init:
        sections["init.environment"] = workload.init.environment
        sections["init.secrets"] = workload.init.secrets
    for section, values in sections.items():
        for variable, value in values.items():
            at = f"{place}.{section}.{variable}"
            for found in references(value) if isinstance(value, str) else []:
                if f"${{{found.text}}}" == CONCURRENCY and section == "environment":
                    if workload.concurrency is None:
                        remedy = "set the workload's 'concurrency'"
                        yield Mistake(at, _NO_CONCURRENCY, remedy)
                elif not found.store:
                    # In a secret it may be a part of the password.
                    text = f"${{{found.text}}}" if section.endswith("environment") else "${...}"
                    why = f"'{text}' is not a reference"
                    yield Mistake(at, why, "write ${store.field}, or $$ for a dollar sign")
                elif found.store == GENERATED:
                    if section.endswith("environment"):
                        why = f"'${{{found.text}}}' is secret, and environment is not"
                        yield Mistake(at, why, "move the variable to 'secrets'")
                    elif not re.fullmatch(r"[A-Z][A-Z0-9_]*", found.text.partition(".")[2]):
                        why = f"'${{{found.text}}}' is not the name of a secret"
                        yield Mistake(at, why, "write it like ${secret.JWT_SECRET}")
                elif found.connection not in known:
                    why = f"'${{{found.text}}}' names no store of this system"
                    yield Mistake(at, why, nearest(found.connection, known))
                elif found.field not in FIELDS:
                    why = f"'${{{found.text}}}': a connection has no field '{found.field}'"
                    yield Mistake(at, why, nearest(found.field, FIELDS))
                elif found.secret and section.endswith("environment"):
                    why = f"'${{{found.text}}}' is secret, and environment is not"
                    yield Mistake(at, why, "move the variable to 'secrets'")


def _check_dependencies(
    at: str,
    name: str,
    workload: Workload,
    services: Mapping[str, Workload],
    connections: Collection[str],
    elsewhere: Collection[str],
    disabled: Mapping[str, str],
) -> Iterator[Mistake]:
    # A database is ready when its store is.
    known = {*services, *elsewhere, *(key for key in connections if "." not in key)} - {name}
    for other, condition in workload.depends_on.items():
        where = f"{at}.depends_on.{other}"
        if other == name:
            continue  # the smallest circle
        if other in disabled:
            why = f"'{other}' is not a part of this stack: {disabled[other]}"
            remedy = "switch its profile on, or remove the dependency"
            if disabled[other] != PROFILE_OFF:
                remedy = "remove the dependency"
            yield Mistake(where, why, remedy)
            continue
        if other not in known:
            yield Mistake(where, f"there is no '{other}' in this system", nearest(other, known))
            continue
        needed = services.get(other)
        if other in elsewhere:
            continue  # what it is, is not known here
        if needed is None:  # a store: it always has a health check, and it doesn't end
            if condition is Condition.SERVICE_COMPLETED:
                yield Mistake(
                    where, f"'{other}' is a store and never completes", "use service_healthy"
                )
        elif condition is Condition.SERVICE_HEALTHY and not needed.tells_health:
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


@dataclass(frozen=True)
class Member:
    """What is in networks."""

    place: str
    networks: list[str]
    addresses: AddressRange | None
    #: What the description calls the addresses.
    key: str = "addresses"
    #: How many addresses it takes.
    replicas: int = 1
    #: It has ports on the Docker host.
    published: bool = False


def members(place: str, workloads: Mapping[str, Workload]) -> list[Member]:
    """The workloads as members of networks."""
    return [
        Member(
            f"{place}.{name}",
            workload.networks,
            workload.addresses,
            replicas=workload.replicas,
            published=any(port.published for port in workload.ports),
        )
        for name, workload in workloads.items()
    ]


def store_members(place: str, stores: Mapping[str, Store]) -> list[Member]:
    """The stores as members of networks."""
    return [
        Member(
            f"{place}.{name}",
            store.networks,
            store.address,
            "address",
            published=store.published is not None,
        )
        for name, store in stores.items()
    ]


def check_networks(
    found: Iterable[Member], networks: Mapping[str, Network], target: Target
) -> Iterator[Mistake]:
    """Whether networks exist, and fixed addresses lie in them and belong to one workload each."""
    seen: list[Member] = []
    for member in found:
        for position, name in enumerate(member.networks):
            if name not in networks:
                where = f"{member.place}.networks[{position}]"
                yield Mistake(where, f"there is no network '{name}'", nearest(name, networks))
        if target is not Target.DOCKER:
            continue
        own = [networks[name] for name in member.networks or networks if name in networks]
        if member.published and own and all(network.internal for network in own):
            why = "it is in internal networks only, and Docker publishes no port from these"
            remedy = "add a network that isn't internal, or publish no port"
            yield Mistake(f"{member.place}.networks", why, remedy)
        if member.addresses is None:
            continue
        yield from _check_addresses(member, networks)
        for other in seen:
            if other.addresses and other.addresses.overlaps(member.addresses):
                why = f"{member.addresses} overlaps with {other.addresses} of {other.place}"
                yield Mistake(f"{member.place}.{member.key}", why, "give each its own")
        seen.append(member)


def _check_addresses(member: Member, networks: Mapping[str, Network]) -> Iterator[Mistake]:
    addresses = member.addresses
    assert addresses is not None
    subnets = [
        network.subnet
        for name, network in networks.items()
        if network.subnet and (name in member.networks or not member.networks)
    ]
    if not subnets:
        why = "a fixed address needs a network that has a subnet"
        yield Mistake(f"{member.place}.{member.key}", why, "give the network one, or remove it")
    if member.key == "address" and addresses.size > 1:
        yield Mistake(f"{member.place}.address", "a store has one address", "give the first one")
    if member.replicas > addresses.size:
        yield Mistake(
            f"{member.place}.replicas",
            f"{member.replicas} replicas do not fit into the {addresses.size} addresses"
            f" {addresses}",
            "lower the replicas, or widen 'addresses'",
        )
    if subnets and not any(addresses.fits(subnet) for subnet in subnets):
        yield Mistake(
            f"{member.place}.{member.key}",
            f"{addresses} lies outside of {', '.join(subnets)}, or on an address that is taken"
            " there: its first two and its last",
            "choose others, or another network",
        )


def check_subnets(networks: Mapping[str, Mapping[str, Network]]) -> Iterator[Mistake]:
    """Whether networks, by the place of their map, lie beside each other."""
    seen: list[tuple[str, ipaddress.IPv4Network]] = []
    for place, items in networks.items():
        for name, network in items.items():
            if network.subnet is None:
                continue
            where, subnet = f"{place}.{name}.subnet", ipaddress.IPv4Network(network.subnet)
            for other, taken in seen:
                if subnet.overlaps(taken):
                    why = f"{subnet} overlaps with {taken} of {other}"
                    yield Mistake(where, why, "move one of them; see tiers:subnets")
            seen.append((where, subnet))


def _check_queues(
    place: str, workloads: Mapping[str, Workload], stores: Mapping[str, Store]
) -> Iterator[Mistake]:
    """Whether queues are where nothing is thrown away (NF-10)."""
    for name, workload in workloads.items():
        if workload.queue is None:
            continue
        at = f"{place}.{name}.queue"
        store = stores.get(workload.queue)
        if store is None:
            why = f"there is no store '{workload.queue}' in this system"
            yield Mistake(at, why, nearest(workload.queue, stores))
        elif engine := ENGINES.get(store.engine):
            yield from (Mistake(at, why, what) for why, what in engine.check_queue(store))


def _check_cycles(place: str, services: Mapping[str, Workload]) -> Iterator[Mistake]:
    graph = {
        name: [other for other in workload.depends_on if other in services]
        for name, workload in services.items()
    }
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1][::-1]  # each depends on the next
            why = f"a circle: {' -> '.join(circle)}"
            yield Mistake(f"{place}.{circle[0]}.depends_on", why, "remove one of them")
            graph[circle[0]].remove(circle[1])
        else:
            return


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


def _store_ports(place: str, system: str, stores: Mapping[str, Store]) -> Iterator[HostPort]:
    for name, store in stores.items():
        for key, number in (("published", store.published), ("console", store.console)):
            if number:
                yield HostPort(number, "127.0.0.1", system, name, f"{place}.{name}.{key}")


def _service_ports(place: str, system: str, services: Mapping[str, Workload]) -> Iterator[HostPort]:
    # Replicas after the first take the numbers that follow.
    for name, workload in services.items():
        for position, port in enumerate(workload.ports):
            for replica in range(workload.replicas if port.published else 0):
                at = f"{place}.{name}.ports[{position}]"
                yield HostPort((port.published or 0) + replica, port.host_ip, system, name, at)


def _check_host_ports(ports: Iterable[HostPort]) -> Iterator[Mistake]:
    """Ports that two parts of a stack would publish on one Docker host."""
    seen: list[HostPort] = []
    for port in ports:
        taken = next((other for other in seen if other.clashes(port)), None)
        if taken:
            who = (
                taken.service if taken.system == port.system else f"{taken.system}/{taken.service}"
            )
            yield Mistake(
                port.place,
                f"host port {port.number} is already published by {who}",
                "publish another port, or none (tiers:port_offsets moves a system's); replicas take"
                " the numbers after the first",
            )
        if port.number > 65535:
            yield Mistake(
                port.place, f"{port.number} is not a port", "lower it, or tiers:port_offset"
            )
        seen.append(port)


def doubts(systems: Iterable[System], target: Target, cloud: Cloud | None = None) -> Iterator[str]:
    """What is right as described, and dangerous all the same. `cloud`: where DigitalOcean is it."""
    systems = list(systems)
    if target is Target.DIGITALOCEAN and cloud:
        yield from _room(systems, cloud)
        every = [workload for system in systems for workload in system.workloads.values()]
        yield from gpu_doubts(every, cloud)
    for system in systems:
        production = system.environment is Environment.PRODUCTION
        if target is Target.DOCKER:
            yield from _shared_gpus(system)
        for name, edge in system.edges.items():
            if production and system.encrypted and not edge.tls.on:
                yield f"{system.name}: edges.{name}: TLS is off; its document demands it"
            if production and edge.tls.mode is TlsMode.SELF_SIGNED:
                yield f"{system.name}: edges.{name}: no client trusts a self-signed certificate"
            if edge.tls.mode is TlsMode.LETS_ENCRYPT and edge.host_ip == "127.0.0.1":
                yield (
                    f"{system.name}: edges.{name}: the certificate's host name is proved from"
                    " outside, and 127.0.0.1 is reached from this machine only (tiers:host_ips)"
                )
        for name, why in system.disabled.items():
            if why != PROFILE_OFF:
                yield f"{system.name}: {name} is left out on {target}: {why}"
        for name, store in system.stores.items():
            if engine := ENGINES.get(store.engine):
                for doubt in engine.doubts(store):
                    yield f"{system.name}: stores.{name}: {doubt}"
            if as_placed(store, target).replicas < store.replicas:
                yield (
                    f"{system.name}: stores.{name}: on Docker, the replica set has one member"
                    f" instead of {store.replicas}: nothing takes its place while it is away"
                )
        for name, workload in system.workloads.items():
            if target is Target.DOCKER and workload.autoscale:
                yield (
                    f"{system.name}: services.{name}: nothing scales on Docker: there are always"
                    f" {workload.replicas}"
                )
            if workload.docker_socket:
                yield (
                    f"{system.name}: services.{name}: it has the socket of the Docker daemon, and"
                    " with it everything on this machine"
                )
            public = target is not Target.DOCKER and public_ports(workload)
            if public and str(workload.environment.get("DEBUG", "")).lower() in {"true", "1"}:
                yield f"{system.name}: services.{name}: DEBUG is on, and everybody can reach it"
            if public and workload.metrics:
                yield (
                    f"{system.name}: services.{name}: everybody who reaches the load balancer can"
                    f" read {workload.metrics.path}: it forwards connections and knows no paths;"
                    " tiers:load_balancers.source_ranges says who may reach it"
                )


def _shared_gpus(system: System) -> Iterator[str]:
    """OC-30: who computes where another does, is slower, and may find no memory."""
    users: dict[int, list[str]] = {}
    for name, workload in system.workloads.items():
        for number in workload.gpu.numbers if workload.gpu else ():
            users.setdefault(number, []).append(name)
    for number, names in users.items():
        if len(names) > 1:
            yield f"{system.name}: {' and '.join(names)} share GPU {number}"


def _room(systems: list[System], cloud: Cloud) -> Iterator[str]:
    """Whether the nodes of a new cluster have the memory that its pods request."""
    found = re.search(r"-(\d+)gb", cloud.node_size)
    if found is None or cloud.cluster_id:
        return
    pods: list[Workload] = []
    for system in systems:
        pods += [*system.workloads.values(), *edge_helpers(system, Target.DIGITALOCEAN).values()]
        pods += [
            ENGINES[store.engine].workload(name, store)
            for name, store in system.stores.items()
            if not is_managed(store, Target.DIGITALOCEAN)
        ]
    asked = sum(
        size_in_bytes(pod.resources.memory) * pod.replicas
        for pod in pods
        # GPUs have nodes of their own.
        if not (pod.job or pod.on_demand or pod.gpu)
    ) / (1024**3)
    nodes = cloud.max_nodes or cloud.nodes
    there = nodes * int(found[1])
    if asked > there:
        yield (
            f"digitalocean: the pods request {asked:.1f} GiB of memory, and {nodes} nodes of"
            f" {cloud.node_size} have {there}: some pods will wait for room"
            " (tiers:digitalocean.node_size, nodes, max_nodes)"
        )


# --- passwords ------------------------------------------------------------------------------------

_PLACEHOLDERS = re.compile(
    r"change[_-]?(this|me|it)|^(seu|sua)[_-]|your[_-]|senha|placeholder|example|password|passw0rd"
    r"|secret|aleatoria|^dev-|ocolecionador@2025|^(admin|postgres|root|test)+$|^\$?\{|^<.*>$",
    re.IGNORECASE,
)


def weakness(password: str) -> str | None:
    """Why a password cannot go to production. The password is never repeated."""
    steps = {ord(after) - ord(before) for before, after in pairwise(password)}
    if _PLACEHOLDERS.search(password):
        return "the password is a placeholder or a documented sample"
    if len(password) < 16:
        return f"the password has only {len(password)} characters"
    if len(set(password)) < 8:
        return f"the password has only {len(set(password))} different characters"
    if len(steps) < 5:
        return "the password is a row of characters that anybody would try"
    return None


def check_secret(place: str, engine: Engine, name: str, value: object) -> Iterator[Mistake]:
    """What the store's own server would refuse of it."""
    if isinstance(value, str) and value:
        yield from (Mistake(place, why, remedy) for why, remedy in engine.check_secret(name, value))


def check_password(
    place: str, password: object, environment: Environment | None
) -> Iterator[Mistake]:
    """The password of a user of a store. An Output's value is not known here."""
    if not isinstance(password, str):
        return
    remedy = "remove it to have one generated, or set a random one of 16 characters or more"
    if not password:
        yield Mistake(place, "the password is empty", remedy)
    elif not password.isprintable():
        yield Mistake(place, "the password holds a line break or the like", remedy)
    elif environment is Environment.PRODUCTION and (why := weakness(password)):
        yield Mistake(place, why, remedy)


def _check_literal_secrets(system: System) -> Iterator[Mistake]:
    for name, workload in system.workloads.items():
        for section in ("secrets", "secret_files"):
            values: Mapping[str, object] = getattr(workload, section)
            for key, value in values.items():
                if section == "secrets" and key in workload.stack_secrets:
                    continue  # the stack's own: judged in tiers:secrets
                if isinstance(value, str) and not references(value) and (why := weakness(value)):
                    place = f"{system.name}: services.{name}.{section}.{key}"
                    remedy = "set the real one, random and of 16 characters or more"
                    yield Mistake(place, why, remedy)
