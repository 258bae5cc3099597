"""An edge: the nginx in front of a system, described by what it is to do.

`pulumi_tiers.nginx` writes its configuration. Nothing that a description holds can leave the
directive that it is written into: what a text may hold is said here, per kind.
"""

import ipaddress
import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from pulumi_tiers.model.base import (
    Duration,
    Flag,
    Model,
    Name,
    PlainText,
    PortNumber,
    Text,
    Whole,
    Word,
    seconds,
)
from pulumi_tiers.model.errors import nearest, reject, reject_all, shown
from pulumi_tiers.model.image import ImageReference
from pulumi_tiers.model.network import AddressRange
from pulumi_tiers.model.nginx_syntax import SyntaxMistakeError, parse_block, text_of
from pulumi_tiers.model.unknown import is_unknown
from pulumi_tiers.model.workload import Resources, Volume, _address

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

CHALLENGES = "/.well-known/acme-challenge/"
"""Where an ACME server asks who has the host name."""

Mistakes = Iterator[tuple[tuple[str | int, ...], str, str]]


class Balance(Word):
    """Which of an upstream's replicas gets a request, in nginx's words."""

    ROUND_ROBIN = "round_robin"
    #: The one with the fewest open requests.
    LEAST_CONN = "least_conn"
    #: The same one for the same client.
    IP_HASH = "ip_hash"


class TlsMode(Word):
    """Where the certificate comes from."""

    OFF = "off"
    #: Made by the stack, for development.
    SELF_SIGNED = "self_signed"
    #: `certificate` and `key`.
    GIVEN = "given"
    #: From an ACME server, and renewed; on Docker.
    LETS_ENCRYPT = "lets_encrypt"
    #: DigitalOcean's load balancer has it, and ends TLS.
    DIGITALOCEAN = "digitalocean"


_RATE = re.compile(r"([1-9]\d{0,5})r/([sm])", re.ASCII)


def requests_per_minute(rate: str) -> int:
    """``"10r/s"`` as 600. The text is a valid Rate."""
    match = _RATE.fullmatch(rate)
    assert match is not None, rate
    return int(match[1]) * (60 if match[2] == "s" else 1)


def _rate(value: str) -> str:
    if not _RATE.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a rate",
            "write it like nginx does: '10r/s', or '30r/m' for less than one in a second",
        )
    return value


Rate = Annotated[str, AfterValidator(_rate)]
"""Requests of one client: ``10r/s``, ``30r/m``."""


_BODY_SIZE = re.compile(r"(0|[1-9]\d{0,8})([kmg]?)", re.ASCII)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def body_bytes(size: str) -> int:
    """``"16m"`` as 16777216. The text is a valid BodySize."""
    match = _BODY_SIZE.fullmatch(size)
    assert match is not None, size
    return int(match[1]) * _UNITS[match[2]]


def _body_size(value: str) -> str:
    if not _BODY_SIZE.fullmatch(value) or body_bytes(value) > 1024**5:
        raise reject(
            f"{shown(value)} is not a size", "write it like nginx does: '512k', '16m', '2g'"
        )
    if body_bytes(value) == 0:
        raise reject(
            "0 would switch the limit off", "give the largest body that a request may have"
        )
    return value


BodySize = Annotated[str, AfterValidator(_body_size)]
"""A size in nginx's spelling: ``512k``, ``16m``, ``2g``."""


def _zone_size(value: str) -> str:
    # nginx reads no "g" there.
    if value.endswith("g") or not 64 * 1024 <= body_bytes(value) <= 1024**3:
        raise reject(
            f"a zone of {value!r} is not useful", "16000 addresses take '1m'; use '64k' to '1024m'"
        )
    return value


_URL_PATH = re.compile(r"/[A-Za-z0-9/._~@:,=+!*()-]*", re.ASCII)


def _location(value: str) -> str:
    if len(value) > 200 or not _URL_PATH.fullmatch(value) or "//" in value:
        raise reject(
            f"{shown(value)} is not the path of a route",
            "begin it with '/', and use letters, digits and /._~@:,=+!*()- only,"
            " as they are without percent-encoding",
        )
    if any(part in {".", ".."} for part in value.split("/")):
        raise reject(f"{shown(value)} holds '.' or '..'", "write the path that it means")
    return value


Location = Annotated[str, AfterValidator(_location)]
"""The beginning of a URL's path, or a whole one."""


def _network(value: str) -> str:
    try:
        # Python reads zones of IPv6 too, "fe80::1%eth0".
        network = ipaddress.ip_network("" if "%" in value else value)
    except ValueError:
        raise reject(
            f"{shown(value)} is not a range of addresses",
            "write it like '203.0.113.0/24', or '203.0.113.7/32' for one address",
        ) from None
    if str(network) != value:
        raise reject(f"{shown(value)} is not spelled as nginx spells it", f"write '{network}'")
    return value


Cidr = Annotated[str, AfterValidator(_network)]
"""A range of addresses: ``203.0.113.0/24``."""


_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_SERVER_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*", re.ASCII)


def _server_name(value: str) -> str:
    if len(value) > 253 or not _SERVER_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a host name",
            "write it in lower case, such as 'api.example.com' or '*.example.com'",
        )
    return value


ServerName = Annotated[str, AfterValidator(_server_name)]
"""A host name, or all below one: ``*.example.com``."""


def _host_name(value: str) -> str:
    if value.startswith("*."):
        raise reject(
            f"{shown(value)} is every host below one: nobody can be told it",
            "write the one host name that clients use",
        )
    return _server_name(value)


HostName = Annotated[str, AfterValidator(_host_name)]
"""A host name that stands in a URL."""


def is_address(name: str) -> bool:
    """Whether a ServerName is an address: certificates have a place of their own for these."""
    try:
        return bool(ipaddress.IPv4Address(name))
    except ValueError:
        return False


_ORIGIN = re.compile(rf"https?://{_LABEL}(\.{_LABEL})*(:[1-9]\d{{0,4}})?", re.ASCII)


def _origin(value: str) -> str:
    if value == "*":
        raise reject("'*' would let every page of the web read the answers", "name the origins")
    if len(value) > 253 or not _ORIGIN.fullmatch(value):
        raise reject(
            f"{shown(value)} is not an origin",
            "write scheme and host in lower case, without a path: 'https://app.example.com'",
        )
    return value


Origin = Annotated[str, AfterValidator(_origin)]
"""Where a page comes from: ``https://app.example.com``."""


_HEADER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}", re.ASCII)


def _header_name(value: str) -> str:
    if not _HEADER_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the name of a header", "use letters, digits and hyphens"
        )
    if value.lower() in _OWN_HEADERS:
        raise reject(
            f"the header {value} is set by other keys", f"use {_OWN_HEADERS[value.lower()]}"
        )
    return value


_OWN_HEADERS = {
    "strict-transport-security": "'hsts'",
    **{
        f"access-control-{name}": "'cors_origins'"
        for name in (
            "allow-origin",
            "allow-credentials",
            "allow-methods",
            "allow-headers",
            "max-age",
        )
    },
    "x-request-id": "none: each request has its own",
    "content-length": "none: nginx counts",
    "transfer-encoding": "none: nginx decides",
    "connection": "none: nginx decides",
}

HeaderName = Annotated[str, AfterValidator(_header_name)]


def _header_value(value: str) -> str:
    if not value.isascii() or not value.isprintable() or not value.strip():
        raise reject(
            "this is not the value of a header: it is empty, or holds a line break or the like",
            "write it in one line of printable ASCII",
        )
    odd = any(sign in value for sign in "\\$") or value != value.strip() or value[0] == "#"
    if odd or len(value) > 4000:
        raise reject(
            f"{shown(value)} can't be written into nginx's configuration as it is",
            "leave out '\\', '$', a '#' at its beginning and spaces at its ends,"
            " or write an add_header into 'snippets'",
        )
    return value


HeaderValue = Annotated[str, AfterValidator(_header_value)]


#: The buckets of its table have 64 bytes, and no directive changes that.
_LONGEST_MEDIA_TYPE = 46
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,80}", re.ASCII)


def _media_type(value: str) -> str:
    if not _MEDIA_TYPE.fullmatch(value):
        raise reject(f"{shown(value)} is not a media type", "write it like 'application/json'")
    if len(value) > _LONGEST_MEDIA_TYPE:
        raise reject(
            f"{shown(value)} has more than the {_LONGEST_MEDIA_TYPE} characters that nginx takes",
            "leave it out; documents of offices are compressed already",
        )
    return value


MediaType = Annotated[str, AfterValidator(_media_type)]


_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value) or len(value) > 200:
        raise reject(f"{shown(value)} is not an e-mail address", "write it like 'me@example.com'")
    return value


_DIRECTORY = re.compile(r"https://[A-Za-z0-9.-]+(:[1-9]\d{0,4})?(/[A-Za-z0-9._~/-]*)?", re.ASCII)


def _directory(value: str) -> str:
    if not _DIRECTORY.fullmatch(value) or len(value) > 300:
        raise reject(
            f"{shown(value)} is not the URL of an ACME directory", f"write it like '{LETS_ENCRYPT}'"
        )
    return value


_CERTIFICATE_ID = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


def _certificate_id(value: object) -> object:
    if isinstance(value, str) and not _CERTIFICATE_ID.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the id of a certificate",
            "copy it from 'doctl compute certificate list'",
        )
    return value


class Tls(Model):
    """How clients' connections are encrypted."""

    mode: TlsMode = TlsMode.OFF
    #: given: in PEM, the server's certificate first, then those that lead to a known authority.
    certificate: Text | None = None
    #: given: its key in PEM, without a passphrase.
    key: Text | None = None
    #: lets_encrypt: who is told when something is wrong.
    email: Annotated[str, AfterValidator(_email)] | None = None
    #: lets_encrypt: another ACME server.
    directory: Annotated[str, AfterValidator(_directory)] = LETS_ENCRYPT
    #: lets_encrypt: in PEM, who signed that server's own certificate, where no system knows it.
    directory_ca: Text | None = None
    #: digitalocean: id of the certificate in the account.
    certificate_id: Annotated[Text, AfterValidator(_certificate_id)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Tls":
        reject_all(self._mistakes())
        return self

    @property
    def on(self) -> bool:
        return self.mode is not TlsMode.OFF

    @property
    def own(self) -> bool:
        """Whether nginx itself has a certificate."""
        return self.on and self.mode is not TlsMode.DIGITALOCEAN

    def _mistakes(self) -> Mistakes:
        needed = {
            TlsMode.GIVEN: ("certificate", "key"),
            TlsMode.DIGITALOCEAN: ("certificate_id",),
        }.get(self.mode, ())
        for key in needed:
            if not getattr(self, key):
                yield (key,), f"is missing, and the mode is {self.mode}", "add it, or choose a mode"
        matter_of = {
            "certificate": TlsMode.GIVEN,
            "key": TlsMode.GIVEN,
            "certificate_id": TlsMode.DIGITALOCEAN,
            "email": TlsMode.LETS_ENCRYPT,
            "directory": TlsMode.LETS_ENCRYPT,
            "directory_ca": TlsMode.LETS_ENCRYPT,
        }
        for key, mode in matter_of.items():
            if key in self.model_fields_set and getattr(self, key) and self.mode is not mode:
                yield (
                    (key,),
                    f"'{key}' says nothing where the mode is {self.mode}",
                    (f"remove it, or set the mode to {mode}"),
                )
        if self.mode is TlsMode.GIVEN:
            yield from _pair_mistakes(self.certificate, self.key)


def _certificates(pem: str) -> "list[Certificate]":
    """Raises ValueError."""
    from cryptography.x509 import load_pem_x509_certificates

    return load_pem_x509_certificates(pem.encode())


def _pair_mistakes(certificate: object, key: object) -> Mistakes:
    """A certificate and its key. What is an Output is not known here. No message repeats either."""
    certificate = None if is_unknown(certificate) else certificate
    key = None if is_unknown(key) else key
    from datetime import UTC, datetime

    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    chain: list[Certificate] = []
    first = private = None
    remedy = "give the file's text with its line breaks, from '-----BEGIN' to its end"
    for name, text in (("certificate", certificate), ("key", key)):
        if isinstance(text, str) and "-----BEGIN" in text and not _whole(text):
            yield (name,), "the text was cut, or its line breaks are missing", remedy
            certificate = None if name == "certificate" else certificate
            key = None if name == "key" else key
    if isinstance(certificate, str) and certificate:
        try:
            chain = _certificates(certificate)
            first = chain[0]
        except ValueError:
            remedy = "give the file's text, from '-----BEGIN CERTIFICATE-----' on"
            yield ("certificate",), "this is not a certificate in PEM", remedy
    for position, item in enumerate(chain):
        try:
            weak = _too_short(item.public_key())
        except (UnsupportedAlgorithm, ValueError):
            why = "nobody's browser knows the kind of its key"
            yield ("certificate",), why, "make one with a key of ECDSA P-256 or RSA of 2048 bits"
            return
        if weak:
            which = "its key" if position == 0 else f"the key of certificate {position + 1}"
            remedy = "make one with a key of ECDSA P-256 or RSA of 2048 bits"
            yield ("certificate",), f"{which} has {weak} bits: nginx refuses that", remedy
    if isinstance(key, str) and key:
        try:
            private = load_pem_private_key(key.encode(), None)
        except UnsupportedAlgorithm:
            why = "nobody's browser knows this kind of key"
            yield ("key",), why, "make one of ECDSA P-256 or RSA of 2048 bits"
        except TypeError:
            remedy = "take the passphrase off: 'openssl pkey -in key.pem'"
            yield ("key",), "the key has a passphrase, which nobody could enter", remedy
        except ValueError:
            remedy = "give the file's text, from '-----BEGIN PRIVATE KEY-----' on"
            yield ("key",), "this is not a private key in PEM", remedy
    if first is None:
        return
    now = datetime.now(UTC)
    if first.not_valid_after_utc < now:
        why = f"the certificate expired on {first.not_valid_after_utc:%Y-%m-%d}"
        yield ("certificate",), why, "renew it"
    if first.not_valid_before_utc > now:
        why = f"the certificate is valid from {first.not_valid_before_utc:%Y-%m-%d} on only"
        yield ("certificate",), why, "give one that is valid now"
    if private is not None and first.public_key() != private.public_key():
        remedy = "give the key that it was made with; the server's certificate comes first"
        yield ("key",), "the certificate is another key's", remedy


_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]+-----(?P<end>[ \t]*\r?\n)?")


def _whole(pem: str) -> bool:
    """Whether each part has its end, and begins on a line of its own, as OpenSSL wants it."""
    begins = list(_BEGINS.finditer(pem))
    return len(begins) == pem.count("-----END ") and all(part["end"] for part in begins)


def _too_short(key: object) -> int:
    """The bits of a key that OpenSSL refuses in nginx; 0 where it takes it."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    least = {RSAPublicKey: 2048, EllipticCurvePublicKey: 224}
    for kind, bits in least.items():
        if isinstance(key, kind) and key.key_size < bits:
            return key.key_size
    return 0


def _names_of(certificate: str) -> list[str] | None:
    """The hosts of the first certificate. None where it can't be read: told elsewhere."""
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        first = _certificates(certificate)[0]
        names = first.extensions.get_extension_for_class(SubjectAlternativeName)
    except ExtensionNotFound:
        return []
    except ValueError:
        return None
    addresses = [str(address) for address in names.value.get_values_for_type(IPAddress)]
    return [*(name.lower() for name in names.value.get_values_for_type(DNSName)), *addresses]


def _covers(certified: str, name: str) -> bool:
    if certified == name:
        return True
    # A wildcard stands for one label.
    return certified.startswith("*.") and certified[1:] == name[name.find(".") :] and "." in name


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
    zone_size: Annotated[BodySize, AfterValidator(_zone_size)] = "10m"


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
            certified = _names_of(self.tls.certificate)
            for position, name in enumerate(self.server_names if certified is not None else []):
                if not any(_covers(item, name) for item in certified or []):
                    why = f"the certificate is not for {name}"
                    known = ", ".join(certified or []) or "no host at all"
                    yield ("server_names", position), why, f"it is for {known}"
