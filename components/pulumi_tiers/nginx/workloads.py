"""What an edge runs, and what is wrong with one: pure functions."""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from pulumi_tiers.model.base import LONGEST_TEXT
from pulumi_tiers.model.edge import Edge, EdgePorts
from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.tls import TlsMode
from pulumi_tiers.model.workload import (
    CONFIGS,
    Healthcheck,
    LoadBalancer,
    Port,
    Resources,
    Volume,
    Workload,
)
from pulumi_tiers.nginx import (
    HEALTH,
    LOGS,
    Address,
    Facts,
    Ports,
    addresses_file,
    configuration,
    renew_script,
    snippet_clashes,
    start_script,
)

_USER = 101
"""nginx, in its official images."""
_PORTS = Ports()
_ISSUED = "/etc/letsencrypt"
_STORAGE_KIB = {"Mi": 1024, "Gi": 1024**2, "Ti": 1024**3}

Pair = tuple[Any, Any]
"""A certificate and its key: texts, or Outputs of them."""


def logs_name(name: str) -> str:
    """Docker: what prepares the volume of an edge's logs."""
    return f"{name}-logs"


def certbot_name(name: str) -> str:
    """What gets an edge's certificates."""
    return f"{name}-certbot"


def edge_workloads(
    name: str,
    edge: Edge,
    target: Target,
    addresses: Mapping[str, Address] | None = None,
    pair: Pair | None = None,
) -> dict[str, Workload]:
    """What an edge runs, by host name: itself, and on Docker its helpers.

    Without addresses and a pair it is good for checks only: names, ports, volumes, limits.
    """
    docker = target is Target.DOCKER
    if addresses is None:
        addresses = {key: Address(item.endpoint, 1) for key, item in edge.upstreams.items()}
    if pair is None and edge.tls.own:
        pair = ("", "")
    found = {name: _workload(name, edge, target, addresses, pair)}
    if docker and edge.log_volume:
        # A new volume takes its rights from the folder that it is mounted over first. Everybody may
        # write to this one, in every image. An empty one would take them again at the next mount.
        found[logs_name(name)] = Workload(
            image=edge.image,
            entrypoint=["touch", "/tmp/kept"],  # noqa: S108
            volumes=[edge.log_volume.model_copy(update={"target": "/tmp"})],  # noqa: S108
            user=f"{_USER}:{_USER}",
            resources=Resources(cpus=0.1, memory="16m"),
            networks=edge.networks,
            job=True,
        )
    # Without a name, the edge is refused; until that is told, the rest of it is looked at.
    if edge.tls.mode is TlsMode.LETS_ENCRYPT and edge.server_names:
        found[certbot_name(name)] = _certbot(name, edge)
    return found


def _workload(
    name: str,
    edge: Edge,
    target: Target,
    addresses: Mapping[str, Address],
    pair: Pair | None,
) -> Workload:
    docker = target is Target.DOCKER
    public = _public(edge, target)
    facts = Facts(
        proxy_protocol=target is Target.DIGITALOCEAN and public != EdgePorts(),
        https_port=public.https or 443,
        ports=_PORTS,
    )
    environment: dict[str, Any] = {
        # It runs as long as its container: another one is another container.
        "EDGE_SCRIPT": hashlib.sha256(start_script().encode()).hexdigest()[:10],
        # Until nobody sends requests to a pod that stops, it answers them.
        "EDGE_LINGER": "0" if docker else "5",
    }
    volumes: list[Volume] = []
    if edge.log_volume:
        # On Docker the helper makes it. Elsewhere each pod has its own.
        update = {"external": True} if docker else {"scratch": True}
        volumes.append(edge.log_volume.model_copy(update=update))
        size = edge.log_volume.size
        environment["EDGE_LOGS"] = LOGS
        environment["EDGE_LOGS_SIZE"] = str(int(size[:-2]) * _STORAGE_KIB[size[-2:]])
    if edge.tls.mode is TlsMode.LETS_ENCRYPT:
        volumes.append(Volume(name=_letsencrypt(name), target=_ISSUED, size="16Mi", read_only=True))
        environment["EDGE_ISSUED"] = f"{_ISSUED}/live/{next(iter(edge.server_names), '')}"
    ports = [("http", _PORTS.http)]
    if edge.tls.on:
        ports.append(("https", _PORTS.https))
    return Workload(
        image=edge.image,
        entrypoint=["sh", f"{CONFIGS}/start.sh"],
        configs={
            "nginx.conf": configuration(edge, facts),
            "upstreams": addresses_file(addresses),
            "start.sh": start_script(),
        },
        secret_files=dict(zip(("tls.crt", "tls.key"), pair, strict=True)) if pair else {},
        reloads=True,
        environment=environment,
        ports=[
            Port(
                target=number,
                published=getattr(edge.published, scheme),
                load_balancer=getattr(edge.load_balancer, scheme),
                host_ip=edge.host_ip,
                scheme=scheme,
            )
            for scheme, number in ports
        ],
        load_balancer=LoadBalancer(
            proxy_protocol=facts.proxy_protocol,
            local=target is Target.KUBERNETES,
            certificate=edge.tls.certificate_id,
        ),
        volumes=volumes,
        # The only place where it writes: bodies of requests, mostly.
        tmpfs={"/run/nginx": f"size=64m,uid={_USER},gid={_USER},mode=0755"},
        healthcheck=Healthcheck(
            test=["CMD", "sh", f"{CONFIGS}/start.sh", "health"],
            interval="5s",
            timeout="5s",
            retries=3,
            start_period="10s",
            path=HEALTH,
            port=_PORTS.status,
        ),
        replicas=edge.replicas,
        resources=edge.resources,
        # What has begun is answered.
        stop_grace_period="45s",
        user=f"{_USER}:{_USER}",
        networks=edge.networks,
        addresses=edge.addresses,
    )


def _letsencrypt(name: str) -> str:
    return f"{name}-letsencrypt"


def _certbot(name: str, edge: Edge) -> Workload:
    """Root without a capability: the folders are its own, their group is nginx's."""
    tls, names = edge.tls, edge.server_names
    arguments = ["--cert-name", names[0], "--server", tls.directory]
    for host in names:
        arguments += ["--domain", host]
    contact = ["--email", tls.email] if tls.email else ["--register-unsafely-without-email"]
    configs: dict[str, Any] = {"renew.sh": renew_script()}
    environment: dict[str, Any] = {}
    if tls.directory_ca is not None:
        configs["directory-ca.pem"] = tls.directory_ca
        environment["REQUESTS_CA_BUNDLE"] = f"{CONFIGS}/directory-ca.pem"
    folders = ("/tmp", "/var/lib/letsencrypt", "/var/log/letsencrypt")  # noqa: S108
    return Workload(
        image=edge.certbot_image,
        entrypoint=["sh", f"{CONFIGS}/renew.sh"],
        command=[*arguments, *contact],
        configs=configs,
        environment=environment,
        volumes=[Volume(name=_letsencrypt(name), target=_ISSUED, external=True)],
        tmpfs=dict.fromkeys(folders, "size=16m"),
        user=f"0:{_USER}",
        resources=Resources(cpus=0.25, memory="128m"),
        networks=edge.networks,
    )


def _public(edge: Edge, target: Target) -> EdgePorts:
    """The ports that people use."""
    ports = edge.published if target is Target.DOCKER else edge.load_balancer
    return ports if edge.tls.on else EdgePorts(http=ports.http)


# --- checks ---------------------------------------------------------------------------------------


def check_edges(
    place: str,
    edges: Mapping[str, Edge],
    endpoints: Mapping[str, Collection[int]],
    target: Target,
    disabled: Mapping[str, str] = MappingProxyType({}),
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Mistake]:
    """The edges of one system, whose services and stores listen on these ports.

    `disabled`: services that the stack leaves out, and why. `unfit`: those that can't be reached.
    """
    for name, edge in edges.items():
        yield from check_edge(f"{place}.{name}.", edge, endpoints, target, disabled, unfit)


def check_edge(
    place: str,
    edge: Edge,
    endpoints: Mapping[str, Collection[int]],
    target: Target,
    disabled: Mapping[str, str] = MappingProxyType({}),
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Mistake]:
    """One edge. `place` is put before the keys."""
    for key, upstream in edge.upstreams.items():
        at = f"{place}upstreams.{key}"
        name = upstream.endpoint
        if name in disabled:
            yield Mistake(
                f"{at}.endpoint",
                f"'{name}' is not a part of this stack: {disabled[name]}",
                "switch its profile on, or make the upstream 'optional', or remove it",
            )
            continue
        if name in unfit:
            remedy = "name a service that stays, or remove the upstream"
            yield Mistake(f"{at}.endpoint", f"'{name}' can't be reached: {unfit[name]}", remedy)
            continue
        if name not in endpoints:
            why = f"there is no service or store '{name}'"
            yield Mistake(f"{at}.endpoint", why, nearest(name, endpoints))
            continue
        ports = endpoints[name]
        if not ports:
            why = f"'{name}' listens on no port"
            yield Mistake(f"{at}.endpoint", why, "give it the port, or remove the upstream")
        elif upstream.port is not None and upstream.port not in ports:
            listing = ", ".join(str(port) for port in sorted(ports))
            why = f"'{name}' does not listen on port {upstream.port}"
            yield Mistake(f"{at}.port", why, f"it listens on {listing}")
    for key, directive in snippet_clashes(edge):
        remedy = "set it by the edge's own keys"
        if directive.startswith("location "):
            remedy = "remove it, or the route"
        elif key == "http":
            remedy = f"{remedy}; for the routes, most directives can be set in 'server' again"
        why = f"nginx would have this twice, for the edge writes it too: {shown(directive)}"
        yield Mistake(f"{place}snippets.{key}", why, remedy)
    if too_long(edge):
        why = f"nginx's configuration would have more than {_LONGEST_CONFIGURATION} bytes"
        yield Mistake(f"{place}routes", why, "give it fewer routes or shorter snippets")
    yield from _check_target(place, edge, target)


_LONGEST_CONFIGURATION = LONGEST_TEXT - 1000
"""What differs from target to target is shorter than the rest."""


def too_long(edge: Edge) -> bool:
    """Whether its configuration can't be given to a container."""
    return len(configuration(edge).encode()) > _LONGEST_CONFIGURATION


def edges_workloads(system: System, target: Target) -> dict[str, Workload]:
    """What the edges of a system run, but for those that no container can be given."""
    return {
        name: workload
        for edge, described in system.edges.items()
        if not too_long(described)
        for name, workload in edge_workloads(edge, described, target).items()
    }


def _check_target(place: str, edge: Edge, target: Target) -> Iterator[Mistake]:
    mode = edge.tls.mode
    where = "published" if target is Target.DOCKER else "load_balancer"
    only = {TlsMode.LETS_ENCRYPT: Target.DOCKER, TlsMode.DIGITALOCEAN: Target.DIGITALOCEAN}
    if mode in only and target is not only[mode]:
        yield Mistake(
            f"{place}tls.mode",
            f"{mode} is for {only[mode]}, and the target is {target}",
            "choose another mode; 'given' works everywhere",
        )
    public = _public(edge, target)
    if edge.tls.on and public.http and not public.https and edge.redirect:
        yield Mistake(
            f"{place}{where}.https",
            "is missing: requests would be redirected to a port that nobody reaches",
            "add it, or set 'redirect' to false",
        )
    if mode is TlsMode.DIGITALOCEAN and public.https not in (None, 443):
        why = f"DigitalOcean's load balancer ends TLS on port 443, and this is {public.https}"
        yield Mistake(f"{place}load_balancer.https", why, "set it to 443")
    if mode is TlsMode.LETS_ENCRYPT and not public.http:
        why = "is missing: the host name is proved on port 80"
        yield Mistake(f"{place}published.http", why, "set it to 80")
    if target is Target.DOCKER and edge.log_volume and edge.replicas > 1:
        why = "several replicas would write into one volume's files"
        yield Mistake(f"{place}log_volume", why, "remove it, or set 'replicas' to 1")
