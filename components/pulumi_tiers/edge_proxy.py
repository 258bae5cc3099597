"""EdgeProxy: nginx in front of a system."""

import base64
from collections.abc import Iterator, Mapping
from typing import NotRequired, TypedDict

import pulumi

from pulumi_tiers.app_tier import VolumeArgs
from pulumi_tiers.checks import check_workloads
from pulumi_tiers.collisions import check_networks, members
from pulumi_tiers.component import Component, check_provider, refuse, validated
from pulumi_tiers.data_tier import ResourcesArgs
from pulumi_tiers.model.base import Model, Name, PortNumber, Text
from pulumi_tiers.model.edge import Balance, Edge
from pulumi_tiers.model.edge_texts import is_address
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.place import Place
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.tls import TlsMode
from pulumi_tiers.nginx import Address, Ports
from pulumi_tiers.nginx.workloads import Pair, check_edge, edge_workloads, logs_name, too_long
from pulumi_tiers.platforms import platform_for
from pulumi_tiers.platforms.base import After, EndpointArgs, Running, SiteRef, placed


class UpstreamArgs(TypedDict):
    """Where requests go: an endpoint of the system, with all its replicas."""

    endpoint: str
    """Name of a service or a store."""
    port: NotRequired[int]
    """Default: its first."""
    balance: NotRequired[Balance]
    """Which replica gets a request: round_robin (default), least_conn or ip_hash."""
    keepalive: NotRequired[int]
    """Idle connections that are kept open to it; 0 for none. Default: 32."""
    optional: NotRequired[bool]
    """Left out, with its routes, where the endpoint is not there. Default: false."""


class RateLimitArgs(TypedDict):
    """How much one client may ask for. What is more is answered with 429."""

    rate: str
    """Such as ``10r/s`` or ``30r/m``."""
    burst: NotRequired[int]
    """Requests beyond the rate that are taken all the same. Default: 0."""
    nodelay: NotRequired[bool]
    """Take those at once, instead of one after the other at the rate. Default: false."""
    zone_size: NotRequired[str]
    """Memory for the clients' addresses. Default: 10m."""


class RouteArgs(TypedDict):
    """Requests whose path begins like this go there. The longest path wins."""

    path: str
    """Beginning of the URL's path."""
    upstream: str
    """One of the upstreams."""
    exact: NotRequired[bool]
    """This path only, and none below it. Default: false."""
    strip_prefix: NotRequired[bool]
    """The upstream gets the path without this beginning, which ends in a slash. Default: false."""
    websocket: NotRequired[bool]
    """Connections may become websockets. Default: false."""
    rate_limit: NotRequired[str]
    """One of the rate limits. Default: none."""
    max_body_size: NotRequired[str]
    """Largest body of a request. Default: the edge's."""
    read_timeout: NotRequired[str]
    """Longest silence of the upstream. Default: the edge's; for websockets an hour."""
    request_buffering: NotRequired[bool]
    """Take a request as a whole before the upstream gets any of it. Default: true."""
    allow: NotRequired[list[str]]
    """Who may ask, such as ``10.0.0.0/8``; all others get 403. Default: everybody."""


class TimeoutsArgs(TypedDict):
    """How long nginx waits."""

    connect: NotRequired[str]
    """For a connection to a replica; then the next one is tried. Default: 2s."""
    read: NotRequired[str]
    """For the next part of an answer. Default: 60s."""
    send: NotRequired[str]
    """Until the upstream takes the next part of a request. Default: 60s."""
    client: NotRequired[str]
    """For the client's next part of a request. Default: 60s."""
    drain: NotRequired[str]
    """What open connections still get after a reload. Default: 10m."""


class TlsArgs(TypedDict):
    """How clients' connections are encrypted."""

    mode: NotRequired[TlsMode]
    """off (default), self_signed, given, lets_encrypt (Docker) or digitalocean."""
    certificate: NotRequired[pulumi.Input[str]]
    """given: in PEM, the server's certificate first."""
    key: NotRequired[pulumi.Input[str]]
    """given: its key in PEM, without a passphrase."""
    email: NotRequired[str]
    """lets_encrypt: who is told when something is wrong."""
    directory: NotRequired[str]
    """lets_encrypt: URL of another ACME server."""
    directory_ca: NotRequired[pulumi.Input[str]]
    """lets_encrypt: in PEM, who signed that server's own certificate."""
    certificate_id: NotRequired[pulumi.Input[str]]
    """digitalocean: id of the certificate in the account."""


class EdgePortsArgs(TypedDict):
    """Ports by what is spoken on them."""

    http: NotRequired[int]
    """Without TLS. Default: none."""
    https: NotRequired[int]
    """With TLS. Default: none."""


class SnippetsArgs(TypedDict):
    """nginx configuration written by hand, for what has no key."""

    http: NotRequired[str]
    """Into the http block."""
    server: NotRequired[str]
    """Into the server block that has the routes."""


class EdgeProxyArgs(TypedDict):
    """Arguments of EdgeProxy."""

    site: SiteRef
    """Where: the `ref` of a Site."""
    host: NotRequired[str]
    """Its own host name in the site. Default: edge."""
    endpoints: Mapping[str, EndpointArgs]
    """What upstreams may lead to: the `endpoints` of an AppTier, or of several tiers together."""
    upstreams: dict[str, UpstreamArgs]
    """Where requests go, by name."""
    routes: list[RouteArgs]
    """Which requests go where."""
    rate_limits: NotRequired[dict[str, RateLimitArgs]]
    """How much one client may ask for, by name."""
    server_names: NotRequired[list[str]]
    """Hosts that it answers for; others get 421. Default: every one."""
    tls: NotRequired[TlsArgs]
    """How clients' connections are encrypted. Default: not at all."""
    redirect: NotRequired[bool]
    """With TLS: answers without it lead to the port with it. Default: true."""
    hsts: NotRequired[int]
    """Seconds that browsers remember to use TLS only; 0 for none. Default: a year, and none where
    the certificate is self-signed."""
    max_body_size: NotRequired[str]
    """Largest body of a request; a larger one gets 413. Default: 1m."""
    timeouts: NotRequired[TimeoutsArgs]
    """How long nginx waits."""
    gzip_types: NotRequired[list[str]]
    """Media types that are compressed besides text/html. Default: texts, JSON, XML, SVG."""
    headers: NotRequired[dict[str, str]]
    """Headers of every answer, where the upstream's has none of the name. Default: against sniffed
    types, frames and told addresses."""
    cors_origins: NotRequired[list[str]]
    """Pages that may read answers and send cookies, such as ``https://app.example.com``."""
    trusted_proxies: NotRequired[list[str]]
    """Proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    status_allow: NotRequired[list[str]]
    """Who else than the container itself may read nginx's own numbers, on port 8081."""
    snippets: NotRequired[SnippetsArgs]
    """nginx configuration written by hand."""
    replicas: NotRequired[int]
    """How many. Rates and bursts are divided by it. Default: 1."""
    image: NotRequired[pulumi.Input[str]]
    """Image of nginx, 1.22 or newer."""
    certbot_image: NotRequired[pulumi.Input[str]]
    """lets_encrypt: image of certbot."""
    resources: NotRequired[ResourcesArgs]
    """Limits. Default: 0.5 CPUs and 128m."""
    published: NotRequired[EdgePortsArgs]
    """Ports of the Docker host. Default: 80 and 443; with {}, none."""
    host_ip: NotRequired[str]
    """Address of the Docker host. Default: 127.0.0.1."""
    load_balancer: NotRequired[EdgePortsArgs]
    """Ports of the load balancer on Kubernetes. Default: 80 and 443; with {}, there is none."""
    networks: NotRequired[list[str]]
    """Those of the site that it is in. Default: all of them."""
    addresses: NotRequired[str]
    """Docker: fixed addresses, one per replica."""
    log_volume: NotRequired[VolumeArgs]
    """Keeps the logs too, at /var/log/nginx, and less of them than its size."""


class Endpoint(Model):
    """EndpointArgs, checked."""

    host: Name
    ports: list[PortNumber]
    ready: Text | None = None


class EdgeProxySpec(Edge):
    """EdgeProxyArgs, checked."""

    site: Place
    host: Name = "edge"
    endpoints: dict[str, Endpoint]


class EdgeProxy(Component):
    """nginx in front of a system."""

    url: pulumi.Output[str]
    """Where people reach it. Empty where it is not published."""
    urls: pulumi.Output[list[str]]
    """All that it is reached by."""
    certificate: pulumi.Output[str]
    """self_signed: the certificate in PEM, for clients that are to trust it. Else empty."""

    def __init__(
        self, name: str, args: EdgeProxyArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        kind = f"EdgeProxy {name}"
        edge = validated(EdgeProxySpec, args, kind)
        edge = edge.with_endpoints(edge.endpoints)
        target = edge.site.target
        known = {key: endpoint.ports for key, endpoint in edge.endpoints.items()}
        refuse(_check(kind, edge, known), check_provider(kind, target, opts))
        super().__init__(name, opts)
        self._edge = edge
        self._site = placed(args["site"])
        self._platform = platform_for(target)
        self.certificate = pulumi.Output.from_input("")
        running = self._run()
        self.urls = _urls(edge, running)
        self.url = self.urls.apply(lambda urls: urls[-1] if urls else "")
        self.register_outputs({"url": self.url, "urls": self.urls, "certificate": self.certificate})

    def _run(self) -> Running:
        edge, site = self._edge, self._site
        addresses: dict[str, Address] = {}
        peers: dict[str, str] = {}
        gates: list[pulumi.Output[list[pulumi.Resource]]] = []
        for key, upstream in edge.upstreams.items():
            endpoint = edge.endpoints[upstream.endpoint]
            if endpoint.host not in peers:
                peers[endpoint.host] = self._platform.peers(
                    self, site, endpoint.host, endpoint.ports
                )
                gates.append(pulumi.Output.from_input(endpoint.ready or "").apply(lambda _: []))
            addresses[key] = Address(peers[endpoint.host], upstream.port or endpoint.ports[0])
        after: After = gates
        pair = self._pair()
        helpers = edge_workloads(edge.host, edge, site["target"], addresses, pair)
        workload = helpers.pop(edge.host)
        logs = helpers.pop(logs_name(edge.host), None)
        if logs:
            made = self._platform.run(self, site, logs_name(edge.host), logs, [], part_of=edge.host)
            after = [*gates, made.ready]
        running = self._platform.run(self, site, edge.host, workload, after)
        if edge.status_allow and site["target"] is not Target.DOCKER:
            # A load balancer has its public ports only: who reads the numbers asks the pods.
            self._platform.peers(self, site, edge.host, [Ports().status])
        for name, helper in helpers.items():
            # It is asked through nginx whether the host name is ours.
            self._platform.run(self, site, name, helper, [running.ready])
        return running

    def _pair(self) -> Pair | None:
        """The certificate and the key that nginx starts with."""
        tls = self._edge.tls
        match tls.mode:
            case TlsMode.GIVEN:
                return _in_one_line(tls.certificate), _in_one_line(tls.key)
            case TlsMode.SELF_SIGNED | TlsMode.LETS_ENCRYPT:
                certificate, key = self._self_signed()
                if tls.mode is TlsMode.SELF_SIGNED:
                    self.certificate = certificate
                return certificate, key
            case _:
                return None

    def _self_signed(self) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        import pulumi_tls

        edge = self._edge
        given = edge.server_names
        hosts = [name for name in given if not is_address(name)]
        names = list(dict.fromkeys([*hosts, "localhost", edge.host]))
        addresses = [name for name in given if is_address(name)]
        if edge.host_ip != "0.0.0.0":  # noqa: S104 - compared with
            addresses.append(edge.host_ip)
        key = pulumi_tls.PrivateKey(
            self.child("tls"), algorithm="ECDSA", ecdsa_curve="P256", opts=self.child_options()
        )
        certificate = pulumi_tls.SelfSignedCert(
            self.child("tls"),
            private_key_pem=key.private_key_pem,
            subject={"common_name": next(iter(given), names[0])},
            dns_names=names,
            ip_addresses=list(dict.fromkeys([*addresses, "127.0.0.1"])),
            # A year. An `up` in its last month makes a new one.
            validity_period_hours=365 * 24,
            early_renewal_hours=30 * 24,
            allowed_uses=["digital_signature", "key_encipherment", "server_auth"],
            opts=self.child_options(),
        )
        return certificate.cert_pem, pulumi.Output.secret(key.private_key_pem)


def _check(kind: str, edge: EdgeProxySpec, known: Mapping[str, list[int]]) -> Iterator[Mistake]:
    """What the arguments alone don't show. What the edge runs is called like its keys."""
    site = edge.site
    yield from check_edge(f"{kind}: ", edge, known, site.target)
    if edge.host in {endpoint.host for endpoint in edge.endpoints.values()}:
        why = f"a service or a store of the site is called '{edge.host}' already"
        yield Mistake(f"{kind}: host", why, "give the edge another")
    if too_long(edge):
        return  # it can't be run
    runs = edge_workloads(edge.host, edge, site.target)
    own = members(kind, {edge.host: runs[edge.host]})
    found = (
        *check_networks(own, site.networks, site.target),
        *check_workloads(kind, runs, site.target),
    )
    for mistake in found:
        place = mistake.place.replace(f"{kind}.{edge.host}.", f"{kind}: ", 1)
        yield Mistake(place, mistake.why, mistake.remedy)


def _in_one_line(pem: pulumi.Input[str] | None) -> pulumi.Input[str]:
    """As `start.sh` takes it too: a value with line breaks can't go through Docker Compose."""
    assert pem is not None
    if isinstance(pem, str):
        return base64.b64encode(pem.encode()).decode()
    return pulumi.Output.from_input(pem).apply(
        lambda text: base64.b64encode(text.encode()).decode()
    )


def _urls(edge: Edge, running: Running) -> pulumi.Output[list[str]]:
    """What people are told: names before addresses, and no port that only redirects."""

    def shown(found: list[str]) -> list[str]:
        urls: list[str] = []
        for url in found:
            scheme, _, rest = url.partition("://")
            host, colon, port = rest.partition(":")
            if scheme == "http" and edge.tls.on and edge.redirect and len(found) > 1:
                continue
            name = next((name for name in edge.server_names if not name.startswith("*.")), None)
            if host in {"127.0.0.1", "0.0.0.0"}:  # noqa: S104 - compared with
                host = "localhost"
            usual = port == {"http": "80", "https": "443"}.get(scheme)
            urls.append(f"{scheme}://{name or host}{'' if usual else colon + port}")
        return urls

    return pulumi.Output.all(*running.urls).apply(shown)
