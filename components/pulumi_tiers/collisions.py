"""What two parts of a stack can't both have: names, ports of the host, GPUs, addresses, subnets."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.limits import (
    as_placed,
    files_name,
    init_name,
    is_managed,
    managed_name,
    opening_names,
)
from pulumi_tiers.model.errors import Mistake, nearest
from pulumi_tiers.model.ml import Gpu, Sharing
from pulumi_tiers.model.network import AddressRange, Network
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.nginx.workloads import edges_workloads

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


def store_claims(
    place: str, stores: Mapping[str, Store], target: Target, site: str
) -> Iterator[Claim]:
    """The names of the stores, and of what runs for them. `site`: how managed ones' begin."""
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


def service_claims(place: str, services: Mapping[str, Workload]) -> Iterator[Claim]:
    """The names of the services, and of what each has."""
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


def check_claims(claims: Iterable[Claim], *, between_parts: bool = False) -> Iterator[Mistake]:
    """Names that two things have: of one part, or of two (`between_parts`)."""
    taken: dict[tuple[str, str, str], Claim] = {}
    for claim in claims:
        first = taken.setdefault((claim.space, claim.kind, claim.name), claim)
        if first is not claim and (first.part != claim.part) is between_parts:
            why = f"the {claim.kind} '{claim.name}' is already that of {first.place}"
            yield Mistake(claim.place, why, claim.remedy)


def check_names(
    systems: list[System], target: Target, stack: str, *, documented_names: bool
) -> Iterator[Mistake]:
    """Names that two parts of the stack would give to different things."""
    claims: list[Claim] = []
    joined: list[Claim] = []
    for system in systems:
        documented = target is Target.DOCKER and documented_names
        site = f"{stack}-{system.name}"
        for claim in (
            *store_claims(f"{system.name}: stores", system.stores, target, site),
            *service_claims(f"{system.name}: services", system.workloads),
            *service_claims(f"{system.name}: edges", edges_workloads(system, target)),
        ):
            if documented and claim.kind == "container":
                remedy = "set tiers:names to 'unique', or rename one of them"
                name = f"{system.container_prefix}{claim.name}"
                claims.append(replace(claim, name=name, remedy=remedy))
            elif claim.kind == _MANAGED:
                claims.append(claim)
            else:
                claims.append(replace(claim, space=system.name))
                joined.append(replace(claim, name=f"{site}-{claim.name}", part=system.name))
        place = f"{system.name}: networks"
        joined += [
            Claim("network", f"{site}-{name}", f"{place}.{name}", system.name)
            for name in system.networks
        ]
        if target is not Target.DOCKER:
            place = f"{system.name}: namespace"
            namespace = system.namespace or f"{system.name}-{system.environment}"
            claims.append(Claim("namespace", namespace, place, place))
    yield from check_claims(claims, between_parts=True)
    if target is Target.DOCKER:
        # There, "a-b" of the system "shop" is called like "b" of "shop-a".
        yield from check_claims(joined, between_parts=True)


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


def store_ports(place: str, system: str, stores: Mapping[str, Store]) -> Iterator[HostPort]:
    """What the stores publish on the Docker host."""
    for name, store in stores.items():
        for key, number in (("published", store.published), ("console", store.console)):
            if number:
                yield HostPort(number, "127.0.0.1", system, name, f"{place}.{name}.{key}")


def service_ports(place: str, system: str, services: Mapping[str, Workload]) -> Iterator[HostPort]:
    """What the services publish on the Docker host, replica by replica."""
    # Replicas after the first take the numbers that follow.
    for name, workload in services.items():
        for position, port in enumerate(workload.ports):
            for replica in range(workload.replicas if port.published else 0):
                at = f"{place}.{name}.ports[{position}]"
                yield HostPort((port.published or 0) + replica, port.host_ip, system, name, at)


def check_host_ports(ports: Iterable[HostPort]) -> Iterator[Mistake]:
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
                "publish another port, or none; tiers:port_offsets moves all ports of a system, and"
                " 'tiers:publish: edges' opens those of edges only (replicas take the numbers after"
                " the first)",
            )
        if port.number > 65535:
            yield Mistake(
                port.place, f"{port.number} is not a port", "lower it, or tiers:port_offset"
            )
        seen.append(port)


def check_gpus(workloads: Mapping[str, Workload], target: Target) -> Iterator[Mistake]:
    """Docker gives GPUs to everybody who asks, the first ones first (OC-30).

    The workloads of a machine by their places.
    """
    if target is not Target.DOCKER:
        return  # Kubernetes gives each to one container
    seen: list[tuple[str, Gpu]] = []
    for at, workload in workloads.items():
        gpu = workload.gpu
        if gpu is None:
            continue
        if gpu.sharing is Sharing.EXCLUSIVE and workload.replicas > 1:
            why = f"{workload.replicas} replicas would have the same GPUs, which are exclusive"
            yield Mistake(f"{at}.replicas", why, "set gpu.sharing to 'shared', or lower them")
        for other, theirs in seen:
            both = sorted(set(gpu.numbers) & set(theirs.numbers))
            if both and Sharing.EXCLUSIVE in {gpu.sharing, theirs.sharing}:
                why = f"the GPU {both[0]} is also {other}'s, and not to be shared"
                remedy = "give it other 'devices', set 'sharing' of both to 'shared', or leave one"
                yield Mistake(f"{at}.gpu", why, f"{remedy} out by its profile")
        seen.append((at, gpu))


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
    found = list(found)
    if target is Target.DOCKER:
        yield from _check_room(found, networks)
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


def _check_room(found: list[Member], networks: Mapping[str, Network]) -> Iterator[Mistake]:
    """Whether each container gets an address in each of its networks."""
    for name, network in networks.items():
        if network.subnet is None:
            continue
        subnet, pool = network.subnet, ipaddress.IPv4Network(network.ip_range or network.subnet)
        whole = ipaddress.IPv4Network(subnet)
        # Those of the network itself, of Docker's gateway and of everybody.
        room = pool.num_addresses - sum(own in pool for own in (whole[0], whole[1], whole[-1]))
        needed = 0
        for member in found:
            fixed = member.addresses is not None and member.addresses.fits(subnet)
            if name in (member.networks or networks) and not (fixed and network.ip_range):
                needed += member.replicas
                if needed - member.replicas <= room < needed:
                    why = f"{pool} of the network '{name}' has room for {room} containers"
                    yield Mistake(
                        member.place, f"{why}, and with this there are {needed}", "widen it"
                    )


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
    for name, network in networks.items():
        free = network.ip_range and ipaddress.IPv4Network(network.ip_range)
        among = name in member.networks or not member.networks
        if free and among and addresses.first <= free[-1] and free[0] <= addresses.last:
            why = f"{addresses} reaches into {free}, which is for all that have no fixed address"
            yield Mistake(
                f"{member.place}.{member.key}",
                why,
                f"choose others, or move the {name} network's 'ip_range'",
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
