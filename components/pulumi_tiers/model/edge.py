"""An edge: the nginx in front of a system, described by what it is to do.

`pulumi_tiers.nginx` writes its configuration. Nothing that a description holds can leave the
directive that it is written into: what a text may hold is said in `edge_texts`, per kind.
"""

from collections.abc import Collection, Iterator
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from pulumi_tiers.model.base import (
    Duration,
    Flag,
    Model,
    Name,
    PlainText,
    PortNumber,
    Whole,
    Word,
    seconds,
)
from pulumi_tiers.model.edge_texts import (
    BodySize,
    Cidr,
    HeaderName,
    HeaderValue,
    Location,
    MediaType,
    Origin,
    Rate,
    ServerName,
    ZoneSize,
    body_bytes,
    is_address,
)
from pulumi_tiers.model.errors import nearest, reject, reject_all, shown
from pulumi_tiers.model.image import ImageReference
from pulumi_tiers.model.network import AddressRange
from pulumi_tiers.model.nginx_syntax import SyntaxMistakeError, parse_block, text_of
from pulumi_tiers.model.tls import Mistakes, Tls, TlsMode, covers, names_of
from pulumi_tiers.model.workload import Resources, Volume, _address

CHALLENGES = "/.well-known/acme-challenge/"
"""Where an ACME server asks who has the host name."""


class Balance(Word):
    """Which of an upstream's replicas gets a request, in nginx's words."""

    ROUND_ROBIN = "round_robin"
    #: The one with the fewest open requests.
    LEAST_CONN = "least_conn"
    #: The same one for the same client.
    IP_HASH = "ip_hash"


class Upstream(Model):
    """Where requests go: an endpoint of the system, with all its replicas."""

    #: Name of a service or a store.
    endpoint: Name
    #: Default: its first.
    port: PortNumber | None = None
    balance: Balance = Balance.ROUND_ROBIN
    #: Idle connections that are kept open to it. 0: every request opens its own.
    keepalive: Annotated[Whole, Field(ge=0, le=10_000)] = 32
    #: Left out, with its routes, in a stack that doesn't have the endpoint: its profile is off.
    optional: Flag = False


class RateLimit(Model):
    """How much one client may ask for. What is more is answered with 429."""

    rate: Rate
    #: Requests beyond the rate that are taken all the same.
    burst: Annotated[Whole, Field(ge=0, le=100_000)] = 0
    #: Take those at once, instead of one after the other at the rate.
    nodelay: Flag = False
    #: Memory for the clients' addresses.
    zone_size: ZoneSize = "10m"


class Route(Model):
    """Requests whose path begins like this go there. The longest path wins."""

    path: Location
    upstream: Name
    #: This path only, and none below it.
    exact: Flag = False
    #: The upstream gets the path without this beginning.
    strip_prefix: Flag = False
    #: Connections may become websockets.
    websocket: Flag = False
    #: One of `rate_limits`.
    rate_limit: Name | None = None
    #: Default: the edge's.
    max_body_size: BodySize | None = None
    #: Longest silence of the upstream. Default: the edge's; for websockets an hour.
    read_timeout: Duration | None = None
    #: Take a request as a whole before the upstream gets any of it. False: pass it on as it comes.
    request_buffering: Flag = True
    #: Who may ask, all others get 403. Default: everybody.
    allow: list[Cidr] = []


class Timeouts(Model):
    """How long nginx waits."""

    #: For a connection to a replica; then the next one is tried.
    connect: Duration = "2s"
    #: For the next part of an answer.
    read: Duration = "60s"
    #: Until the upstream takes the next part of a request.
    send: Duration = "60s"
    #: For the client's next part of a request.
    client: Duration = "60s"
    #: What open connections still get after the configuration was reloaded.
    drain: Duration = "10m"

    @model_validator(mode="after")
    def _useful(self) -> "Timeouts":
        zero = "0 would switch it off, or fail each request"
        reject_all(
            ((key,), zero, "give at least '1ms'")
            for key in type(self).model_fields
            if seconds(getattr(self, key)) == 0
        )
        return self


class EdgePorts(Model):
    """Ports by what is spoken on them."""

    http: PortNumber | None = None
    https: PortNumber | None = None


SNIPPET_CONTEXTS = {"http": ("http",), "server": ("http", "server")}


class Snippets(Model):
    """nginx configuration written by hand, for what has no key."""

    #: Into the http block.
    http: PlainText = ""
    #: Into the server block that has the routes.
    server: PlainText = ""

    @field_validator("http", "server")
    @classmethod
    def _parses(cls, value: str, info: Any) -> str:
        try:
            text_of(parse_block(value, SNIPPET_CONTEXTS[str(info.field_name)]))
        except SyntaxMistakeError as error:
            why = f"nginx would not take this: {error}"
            raise reject(why, "write whole directives, as in nginx's documentation") from None
        return value


SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
}
"""What is right for nearly every site. Each counts where the upstream's answer has none."""

GZIP_TYPES = [
    "text/plain",
    "text/css",
    "application/json",
    "application/javascript",
    "text/javascript",
    "text/xml",
    "application/xml",
    "image/svg+xml",
]
"""Those of OColecionador's document, the newer name of JavaScript, and images that are texts."""

YEAR = 31_536_000
LARGEST_BUFFERED = "32m"
"""Bodies that are taken as a whole are kept in memory meanwhile."""


class Edge(Model):
    """nginx in front of a system. Its key in the description is its host name."""

    upstreams: Annotated[dict[Name, Upstream], Field(min_length=1)]
    routes: Annotated[list[Route], Field(min_length=1)]
    rate_limits: dict[Name, RateLimit] = {}
    #: Hosts that it answers for; others get 421. Default: every one.
    server_names: list[ServerName] = []
    tls: Tls = Tls()
    #: With TLS, answers on the port without it lead to the one with it.
    redirect: Flag = True
    #: Seconds that browsers remember to use TLS only. 0: none. Default: a year, and none where the
    #: certificate is self-signed.
    hsts: Annotated[Whole, Field(ge=0, le=10 * YEAR)] | None = None
    #: Largest body of a request; a larger one gets 413.
    max_body_size: BodySize = "1m"
    timeouts: Timeouts = Timeouts()
    #: Compressed besides text/html. None: nothing is.
    gzip_types: list[MediaType] = GZIP_TYPES
    #: Headers of every answer, where the upstream's has none of the name.
    headers: dict[HeaderName, HeaderValue] = SECURITY_HEADERS
    #: Pages that may read answers and send cookies.
    cors_origins: list[Origin] = []
    #: Proxies in front, whose X-Forwarded-For and X-Forwarded-Proto are believed.
    trusted_proxies: list[Cidr] = []
    #: Who else than the container itself may read nginx's own numbers, on port 8081.
    status_allow: list[Cidr] = []
    snippets: Snippets = Snippets()
    #: Limits count per replica: rates and bursts are divided by their number.
    replicas: Annotated[Whole, Field(ge=1, le=100)] = 1
    image: ImageReference = "nginx:1.30-alpine"
    #: lets_encrypt: what asks for certificates.
    certbot_image: ImageReference = "certbot/certbot:v5.8.0"
    resources: Resources = Resources(cpus=0.5, memory="128m")
    #: Ports of the Docker host. Replicas take the numbers that follow.
    published: EdgePorts = EdgePorts(http=80, https=443)
    #: Address of the Docker host.
    host_ip: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    #: Ports of the load balancer on Kubernetes.
    load_balancer: EdgePorts = EdgePorts(http=80, https=443)
    #: Those of the site that it is in. Default: all of them.
    networks: list[Name] = []
    #: Fixed addresses on Docker, one per replica.
    addresses: AddressRange | None = None
    #: Keeps the logs too, at /var/log/nginx, and less of them than its size. Default: the
    #: container's log only.
    log_volume: Volume | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Edge":
        reject_all(self._mistakes())
        return self

    def with_endpoints(self, known: Collection[str]) -> Self:
        """The edge without the optional upstreams to something else, and without their routes."""
        kept = {
            name: upstream
            for name, upstream in self.upstreams.items()
            if upstream.endpoint in known or not upstream.optional
        }
        routes = [route for route in self.routes if route.upstream in kept]
        # One that is nothing without them is told as it is.
        if not kept or not routes or len(kept) == len(self.upstreams):
            return self
        return self.model_copy(update={"upstreams": kept, "routes": routes})

    @property
    def redirects(self) -> bool:
        """Whether who comes without TLS is led to it."""
        return self.tls.on and self.redirect

    @property
    def hsts_seconds(self) -> int:
        if not self.tls.on:
            return 0
        default = 0 if self.tls.mode is TlsMode.SELF_SIGNED else YEAR
        return default if self.hsts is None else self.hsts

    def _mistakes(self) -> Mistakes:
        for position, route in enumerate(self.routes):
            for key, why, remedy in self._route_mistakes(route, self.routes[:position]):
                yield ("routes", position, key), why, remedy
        used = {route.upstream for route in self.routes}
        for name in self.upstreams:
            if name not in used:
                yield ("upstreams", name), "no route leads there", "add one, or remove it"
        limits = {route.rate_limit for route in self.routes}
        for name in self.rate_limits:
            if name not in limits:
                remedy = "name it in a route's 'rate_limit', or remove it"
                yield ("rate_limits", name), "no route has this limit", remedy
        for key in ("published", "load_balancer"):
            ports: EdgePorts = getattr(self, key)
            if self.tls.on and ports.http and ports.http == ports.https:
                why = f"http and https can't both have the port {ports.http}"
                yield (key, "https"), why, "give each its own"
        if self.log_volume and self.log_volume.read_only:
            yield ("log_volume", "read_only"), "nginx writes its logs there", "remove it"
        yield from self._tls_mistakes()
        if self.hsts and not self.tls.on:
            yield ("hsts",), "HSTS is for sites with TLS", "give 'tls', or remove it"
        for key in ("server_names", "cors_origins", "trusted_proxies", "networks"):
            values: list[str] = getattr(self, key)
            for position, value in enumerate(values):
                if value in values[:position]:
                    yield (key, position), f"{shown(value)} stands here twice", "give it once"
        for position, network in enumerate(self.trusted_proxies):
            if network.endswith("/0"):
                why = f"with {network}, everybody would be believed"
                yield ("trusted_proxies", position), why, "name the networks of the proxies"
        names = [name.lower() for name in self.headers]
        for name in self.headers:
            if name.lower() == "vary" and self.cors_origins:
                why = "with 'cors_origins', answers vary by Origin, and the edge says so"
                yield ("headers", name), why, "remove it, or let the upstream send it"
            if names.count(name.lower()) > 1:
                yield ("headers", name), "the header stands here twice", "give it once"
        if self.log_volume and self.log_volume.target != "/var/log/nginx":
            why = f"nginx writes to /var/log/nginx, and the volume is at {self.log_volume.target}"
            yield ("log_volume", "target"), why, "set it to '/var/log/nginx'"

    def _route_mistakes(self, route: Route, before: list[Route]) -> Iterator[tuple[str, str, str]]:
        if route.upstream not in self.upstreams:
            why = f"there is no upstream '{route.upstream}'"
            yield "upstream", why, nearest(route.upstream, self.upstreams)
        if route.rate_limit is not None and route.rate_limit not in self.rate_limits:
            why = f"there is no rate limit '{route.rate_limit}'"
            yield "rate_limit", why, nearest(route.rate_limit, self.rate_limits)
        if any((other.path, other.exact) == (route.path, route.exact) for other in before):
            yield "path", f"the path {route.path} stands here twice", "give each path one route"
        if route.strip_prefix and not route.path.endswith("/"):
            why = f"of the path {route.path}, a part of a word would be cut off"
            yield "path", why, f"write '{route.path}/'"
        if route.strip_prefix and route.exact:
            yield "strip_prefix", "a whole path has nothing after it", "remove one of the two"
        if route.read_timeout and seconds(route.read_timeout) == 0:
            yield "read_timeout", "0 would fail each request", "give at least '1ms'"
        size = route.max_body_size or self.max_body_size
        if route.request_buffering and body_bytes(size) > body_bytes(LARGEST_BUFFERED):
            why = f"bodies of {size} would be kept in memory, and {LARGEST_BUFFERED} is the most"
            yield "request_buffering", why, "set it to false, or lower max_body_size"

    def _tls_mistakes(self) -> Mistakes:
        if self.tls.mode is TlsMode.LETS_ENCRYPT:
            for position, route in enumerate(self.routes):
                if route.path.startswith(CHALLENGES):
                    why = f"the edge answers {CHALLENGES} itself: there it proves its host name"
                    yield ("routes", position, "path"), why, "remove the route"
            if not self.server_names:
                why = "a certificate is for a host name, and this edge has none"
                remedy = "add the name under which it is reached (in a stack: tiers:domains)"
                yield ("server_names",), why, remedy
            for position, name in enumerate(self.server_names):
                if name.startswith("*."):
                    why = f"'{name}': no certificate for a wildcard is given out this way"
                    yield ("server_names", position), why, "write out the names"
                elif "." not in name or is_address(name):
                    why = f"'{name}' is no name on the internet"
                    yield ("server_names", position), why, "write out the whole name"
        if self.tls.mode is TlsMode.GIVEN and isinstance(self.tls.certificate, str):
            certified = names_of(self.tls.certificate)
            for position, name in enumerate(self.server_names if certified is not None else []):
                if not any(covers(item, name) for item in certified or []):
                    why = f"the certificate is not for {name}"
                    known = ", ".join(certified or []) or "no host at all"
                    yield ("server_names", position), why, f"it is for {known}"
