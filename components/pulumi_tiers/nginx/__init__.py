"""The configuration of an edge's nginx, and the two scripts beside it: pure functions.

What stands here loads in nginx 1.22 (Debian 12) and in today's: nothing newer is used, and of
``listen ... http2``, which newer ones only advise against, and ``http2 on``, which older ones
refuse, the first. What only newer ones know, `start.sh` adds. Relative paths lead into the folder
that it makes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.edge import (
    CHALLENGES,
    SNIPPET_CONTEXTS,
    Balance,
    Edge,
    Route,
    Snippets,
    TlsMode,
    Upstream,
    requests_per_minute,
)
from pulumi_tiers.model.nginx_syntax import Block, Directive, parse_block, text_of

_FOLDER = Path(__file__).parent

ACME_ROOT = "/etc/letsencrypt/webroot"
"""Where answers to an ACME server's challenges are put."""
LOGS = "/var/log/nginx"
HEALTH = "/healthz"
"""Answered on `Ports.status`."""

_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")
"""Where a load balancer speaks from. Nobody else may say with PROXY protocol who they are."""


@dataclass(frozen=True)
class Ports:
    """What nginx listens on. No number needs root."""

    http: int = 8080
    https: int = 8443
    #: Health and nginx's own numbers; without PROXY protocol.
    status: int = 8081


@dataclass(frozen=True)
class Facts:
    """What the description of an edge doesn't say: where it runs."""

    #: Connections begin with the client's address, as load balancers write it.
    proxy_protocol: bool = False
    #: Where people reach the port with TLS.
    https_port: int = 443
    ports: Ports = field(default_factory=Ports)


@dataclass(frozen=True)
class Address:
    """Where an upstream is: a name with any number of addresses, and a port."""

    host: str
    port: int


def start_script() -> str:
    """What runs in the container: nginx, and what reloads it."""
    return (_FOLDER / "start.sh").read_text(encoding="utf-8")


def renew_script() -> str:
    """What gets certificates from an ACME server, and renews them."""
    return (_FOLDER / "renew.sh").read_text(encoding="utf-8")


def addresses_file(addresses: Mapping[str, Address]) -> str:
    """What `start.sh` resolves, again and again: ``upstream host port`` in each line."""
    return "".join(
        f"{name} {address.host} {address.port}\n" for name, address in sorted(addresses.items())
    )


def configuration(edge: Edge, facts: Facts = Facts()) -> str:
    """The text of nginx.conf."""
    return text_of(_main(edge, facts))


def snippet_clashes(edge: Edge) -> Iterator[tuple[str, str]]:
    """Directives of snippets that nginx would find twice: the snippet's key, the directive."""
    bare = edge.model_copy(update={"snippets": Snippets()})
    server = _servers(bare, Facts())[-1].block or ()
    for key, own in (("http", _http(bare, Facts())), ("server", server)):
        taken = {_identity(item) for item in own} - {None}
        for item in parse_block(getattr(edge.snippets, key), SNIPPET_CONTEXTS[key]):
            if _identity(item) in taken:
                yield key, " ".join((item.name, *item.arguments))


#: nginx takes them more than once in a block.
_REPEATED = frozenset(
    {
        *("access_log", "add_header", "error_log", "gzip_types", "include", "listen"),
        *("proxy_hide_header", "proxy_set_header", "server_name", "set_real_ip_from"),
        *("ssl_certificate", "ssl_certificate_key", "ssl_protocols"),
    }
)


def _identity(item: Directive) -> tuple[str, ...] | None:
    """What a block has once. None: it may have several."""
    match item.name, item.arguments:
        case (("upstream" | "log_format"), (name, *_)):
            return (item.name, name)
        case (("map" | "geo"), (*_, variable)):
            return ("map", variable)
        case "limit_req_zone", (_, zone, *_):
            return (item.name, zone.partition(":")[0])
        case "location", (*modifier, path):
            # A path that ends the search for others is the same path.
            return (item.name, *(word for word in modifier if word != "^~"), path)
        case _ if item.block is not None or item.name in _REPEATED:
            return None
        case _:
            return (item.name,)


def divided(rate: str, replicas: int) -> str:
    """The rate of each replica, so that all together keep to it: by 3, ``10r/s`` is 200r/m."""
    per_minute = max(1, requests_per_minute(rate) // replicas)
    if replicas == 1:
        return rate
    return f"{per_minute}r/m" if per_minute % 60 else f"{per_minute // 60}r/s"


# --- small words ----------------------------------------------------------------------------------


def _d(name: str, *arguments: object) -> Directive:
    return Directive(name, tuple(str(argument) for argument in arguments))


def _block(name: str, arguments: tuple[str, ...], *inner: Directive) -> Directive:
    return Directive(name, arguments, inner)


def _time(duration: str) -> str:
    whole = seconds(duration)
    return f"{whole:.0f}s" if whole == int(whole) else f"{whole * 1000:.0f}ms"


class _Map:
    """``map source variable { ... }``."""

    def __init__(self, source: str, variable: str) -> None:
        self.head = (source, variable)
        self.rows: list[Directive] = []

    def row(self, key: str, value: str) -> "_Map":
        self.rows.append(_d(key, value))
        return self

    def directive(self) -> Directive:
        return Directive("map", self.head, tuple(self.rows))


# --- the parts ------------------------------------------------------------------------------------


def _main(edge: Edge, facts: Facts) -> Block:
    return (
        # As many as it has CPUs: "auto" would count the machine's.
        _d("worker_processes", max(1, math.ceil(edge.resources.cpus))),
        _d("worker_rlimit_nofile", 8192),
        _d("worker_shutdown_timeout", _time(edge.timeouts.drain)),
        _d("pid", "nginx.pid"),
        _d("error_log", "stderr", "warn"),
        *([_d("error_log", f"{LOGS}/error.log", "warn")] if edge.log_volume else []),
        _block("events", (), _d("worker_connections", 4096)),
        Directive("http", (), _http(edge, facts)),
    )


def _http(edge: Edge, facts: Facts) -> Block:
    return (
        *_general(edge),
        *_log(edge),
        *_clients(edge, facts),
        *_headers(edge),
        *_compression(edge),
        *_limits(edge),
        *_tls(edge),
        *_proxy(edge),
        *parse_block(edge.snippets.http, SNIPPET_CONTEXTS["http"]),
        *(_upstream(name, upstream) for name, upstream in edge.upstreams.items()),
        *_servers(edge, facts),
        _status(edge, facts),
    )


def _general(edge: Edge) -> list[Directive]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return [
        _d("default_type", "application/octet-stream"),
        _d("server_tokens", "off"),
        # It would name the container's own port.
        _d("absolute_redirect", "off"),
        _d("server_names_hash_bucket_size", 512),
        _d("map_hash_bucket_size", 512),
        _d("map_hash_max_size", 4096),
        _d("variables_hash_max_size", 2048),
        # Names of headers are parts of them.
        _d("variables_hash_bucket_size", 256),
        # The only place where it may write.
        *(_d(f"{kind}_temp_path", f"temp/{kind}") for kind in kinds),
        _d("client_max_body_size", edge.max_body_size),
        _d("client_header_timeout", "15s"),
        _d("client_body_timeout", _time(edge.timeouts.client)),
        _d("send_timeout", _time(edge.timeouts.client)),
        _d("keepalive_timeout", "65s"),
        _d("include", "newer.conf"),
        _d("reset_timedout_connection", "on"),
    ]


_LOGGED = {
    "time": "$time_iso8601",
    "id": "$request_id",
    "client": "$remote_addr",
    "scheme": "$edge_scheme",
    "protocol": "$server_protocol",
    "method": "$request_method",
    "host": "$host",
    "path": "$edge_path",
    "status": "$status",
    "received": "$request_length",
    "sent": "$bytes_sent",
    "seconds": "$request_time",
    "agent": "$http_user_agent",
    "upstream": "$upstream_addr",
    "upstream_status": "$upstream_status",
    "upstream_connect_seconds": "$upstream_connect_time",
    "upstream_seconds": "$upstream_response_time",
}
_NUMBERS = {"status", "received", "sent", "seconds"}


def _log(edge: Edge) -> list[Directive]:
    fields = (
        f'"{key}":{value}' if key in _NUMBERS else f'"{key}":"{value}"'
        for key, value in _LOGGED.items()
    )
    # What follows "?" may be a signature or a token that opens something.
    path = _Map("$request_uri", "$edge_path").row("~^(?<edge_before>[^?]*)", "$edge_before")
    logs = [_d("access_log", "/dev/stdout", "json")]
    if edge.log_volume:
        logs.append(_d("access_log", f"{LOGS}/access.log", "json"))
    return [
        path.directive(),
        _d("log_format", "json", "escape=json", "{" + ",".join(fields) + "}"),
        *logs,
    ]


def _clients(edge: Edge, facts: Facts) -> list[Directive]:
    """Who asks, and how: through proxies that are believed, or said by whoever connects."""
    scheme = _Map("$server_port", "$edge_scheme").row("default", "http")
    if edge.tls.on:
        scheme.row(str(facts.ports.https), "https")
    found = [scheme.directive()]
    if facts.proxy_protocol:
        found += [_d("set_real_ip_from", network) for network in _PRIVATE]
        found.append(_d("real_ip_header", "proxy_protocol"))
    elif edge.trusted_proxies:
        found += [_d("set_real_ip_from", network) for network in edge.trusted_proxies]
        found += [_d("real_ip_header", "X-Forwarded-For"), _d("real_ip_recursive", "on")]
    forwarded = _Map("$edge_trusted:$http_x_forwarded_for", "$edge_forwarded_for")
    forwarded.row("default", "$remote_addr")
    proto = _Map("$edge_trusted:$http_x_forwarded_proto", "$edge_forwarded_proto")
    proto.row("default", "$edge_scheme")
    # The one who speaks HTTP to this nginx.
    peer = "$proxy_protocol_addr" if facts.proxy_protocol else "$realip_remote_addr"
    trusted = [_d("default", 0), *(_d(network, 1) for network in edge.trusted_proxies)]
    if edge.trusted_proxies:
        forwarded.row("~^1:.", f"$http_x_forwarded_for, {peer}")
        proto.row("1:http", "http").row("1:https", "https")
    return [
        *found,
        _block("geo", (peer, "$edge_trusted"), *trusted),
        forwarded.directive(),
        proto.directive(),
    ]


def _variable(header: str) -> str:
    return header.lower().replace("-", "_")


_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "$http_access_control_request_headers",
    "Access-Control-Max-Age": "600",
}


def _headers(edge: Edge) -> list[Directive]:
    """The values of added headers. An empty one is not sent."""
    found: list[Directive] = []
    for name, value in edge.headers.items():
        variable = _variable(name)
        row = _Map(f"$upstream_http_{variable}", f"$edge_header_{variable}").row("default", "")
        found.append(row.row("", value).directive())
    if edge.hsts_seconds:
        hsts = _Map("$edge_scheme", "$edge_hsts").row("default", "")
        found.append(hsts.row("https", f"max-age={edge.hsts_seconds}").directive())
    if edge.cors_origins:
        allowed = _Map("$http_origin", "$edge_cors_origin").row("default", "")
        for origin in edge.cors_origins:
            allowed.row(origin, "$http_origin")
        credentials = _Map("$edge_cors_origin", "$edge_cors_credentials").row("default", "true")
        asked = "$request_method:$edge_cors_origin:$http_access_control_request_method"
        preflight = _Map(asked, "$edge_preflight").row("default", "0").row("~^OPTIONS:.+:.", "1")
        found += [
            allowed.directive(),
            credentials.row("", "").directive(),
            preflight.directive(),
        ]
        for name, value in _PREFLIGHT.items():
            row = _Map("$edge_preflight", f"$edge_{_variable(name)}").row("default", "")
            found.append(row.row("1", value).directive())
    return found


def _added_headers(edge: Edge) -> list[Directive]:
    """All on one level: nginx forgets those of the server where a location adds its own."""
    values = {name: f"$edge_header_{_variable(name)}" for name in edge.headers}
    values["X-Request-ID"] = "$request_id"
    if edge.hsts_seconds:
        values["Strict-Transport-Security"] = "$edge_hsts"
    if edge.cors_origins:
        values["Access-Control-Allow-Origin"] = "$edge_cors_origin"
        values["Access-Control-Allow-Credentials"] = "$edge_cors_credentials"
        values |= {name: f"$edge_{_variable(name)}" for name in _PREFLIGHT}
        values["Vary"] = "Origin"
    return [_d("add_header", name, value, "always") for name, value in values.items()]


def _compression(edge: Edge) -> list[Directive]:
    if not edge.gzip_types:
        return [_d("gzip", "off")]
    return [
        _d("gzip", "on"),
        _d("gzip_types", *edge.gzip_types),
        _d("gzip_min_length", 1024),
        _d("gzip_comp_level", 5),
        _d("gzip_proxied", "any"),
        _d("gzip_vary", "on"),
    ]


def _limits(edge: Edge) -> list[Directive]:
    zones = [
        _d(
            "limit_req_zone",
            "$binary_remote_addr",
            f"zone={name}:{limit.zone_size}",
            f"rate={divided(limit.rate, edge.replicas)}",
        )
        for name, limit in edge.rate_limits.items()
    ]
    return [*zones, _d("limit_req_status", 429), _d("limit_req_log_level", "warn")]


def _tls(edge: Edge) -> list[Directive]:
    if not edge.tls.own:
        return []
    # https://wiki.mozilla.org/Security/Server_Side_TLS, "intermediate"
    ciphers = (
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    )
    return [
        _d("ssl_certificate", "tls.crt"),
        _d("ssl_certificate_key", "tls.key"),
        _d("ssl_protocols", "TLSv1.2", "TLSv1.3"),
        _d("ssl_ciphers", ciphers),
        _d("ssl_prefer_server_ciphers", "off"),
        # No limit of an edge can have this name: names have no underscore.
        _d("ssl_session_cache", "shared:tls_sessions:10m"),
        _d("ssl_session_timeout", "1d"),
        _d("ssl_session_tickets", "off"),
    ]


def _proxy(edge: Edge) -> list[Directive]:
    waits = edge.timeouts
    return [
        # Idle connections to upstreams are kept.
        _d("proxy_http_version", "1.1"),
        _d("proxy_connect_timeout", _time(waits.connect)),
        _d("proxy_read_timeout", _time(waits.read)),
        _d("proxy_send_timeout", _time(waits.send)),
        # The next replica is asked when one can't be reached or breaks off, and the request can be
        # repeated. One that thinks for long is not asked twice.
        _d("proxy_next_upstream", "error", "timeout"),
        _d("proxy_next_upstream_tries", 4),
        _d("proxy_next_upstream_timeout", "15s"),
        # An answer waits in memory until the client takes it, and then at the upstream.
        _d("proxy_max_temp_file_size", 0),
        # Of routes with websockets: no other protocol may be asked for.
        _Map("$http_upgrade", "$edge_upgrade")
        .row("default", "")
        .row("~*^websocket$", "websocket")
        .directive(),
        *(
            _Map("$edge_upgrade", f"$edge_connection_{kind}")
            .row("default", "upgrade")
            .row("", value)
            .directive()
            for kind, value in (("kept", ""), ("closed", "close"))
        ),
    ]


def _upstream(name: str, upstream: Upstream) -> Directive:
    return _block(
        "upstream",
        (name,),
        # The workers count open requests together.
        _d("zone", f"upstream_{name}", "256k"),
        *([] if upstream.balance is Balance.ROUND_ROBIN else [_d(upstream.balance.value)]),
        _d("include", f"upstreams/{name}"),
        *([_d("keepalive", upstream.keepalive)] if upstream.keepalive else []),
    )


def _servers(edge: Edge, facts: Facts) -> list[Directive]:
    plain = _listen(facts.ports.http, facts)
    options = ["ssl", "http2"] if edge.tls.own else []
    secure = _listen(facts.ports.https, facts, *options) if edge.tls.on else []
    redirects = edge.tls.on and edge.redirect
    names = edge.server_names
    found: list[Directive] = []
    if names:
        found.append(
            _block(
                "server",
                (),
                *(_d("listen", *arguments, "default_server") for arguments in (*plain, *secure)),
                _d("server_name", "_"),
                _d("return", 421),
            )
        )
    named = [_d("server_name", *names)] if names else []
    challenges: list[Directive] = []
    if edge.tls.mode is TlsMode.LETS_ENCRYPT:
        inner = (_d("root", ACME_ROOT), _d("default_type", "text/plain"))
        challenges.append(_block("location", ("^~", CHALLENGES), *inner))
    if redirects:
        port = "" if facts.https_port == 443 else f":{facts.https_port}"
        # 308: a form stays a form.
        target = _d("return", 308, f"https://$host{port}$request_uri")
        listening = (_d("listen", *arguments) for arguments in plain)
        location = _block("location", ("/",), target)
        found.append(_block("server", (), *listening, *named, *challenges, location))
    own = secure if redirects else [*plain, *secure]
    found.append(
        _block(
            "server",
            (),
            *(_d("listen", *arguments) for arguments in own),
            *named,
            *_added_headers(edge),
            *_hidden_headers(edge),
            *_request_headers(""),
            *([] if redirects else challenges),
            *parse_block(edge.snippets.server, SNIPPET_CONTEXTS["server"]),
            *_preflight(edge),
            *(_location(edge, route) for route in edge.routes),
        )
    )
    return found


def _listen(port: int, facts: Facts, *options: str) -> list[tuple[object, ...]]:
    return [(port, *options, *(["proxy_protocol"] if facts.proxy_protocol else []))]


def _hidden_headers(edge: Edge) -> list[Directive]:
    """The upstream's own, where the edge decides."""
    names = ["X-Request-ID"]
    if edge.hsts_seconds:
        names.append("Strict-Transport-Security")
    if edge.cors_origins:
        names += ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", *_PREFLIGHT]
    return [_d("proxy_hide_header", name) for name in names]


def _preflight(edge: Edge) -> list[Directive]:
    if not edge.cors_origins:
        return []
    return [_block("if", ("$edge_preflight",), _d("return", 204))]


def _request_headers(connection: str, prefix: str = "", upgrade: str = "") -> list[Directive]:
    """What the upstream is told. Empty ones are left out, also where the client has sent them."""
    values = {
        # As it was asked for, with its port: signatures of S3 hold it.
        "Host": "$http_host",
        "X-Real-IP": "$remote_addr",
        "X-Forwarded-For": "$edge_forwarded_for",
        "X-Forwarded-Proto": "$edge_forwarded_proto",
        "X-Forwarded-Host": "$http_host",
        "X-Forwarded-Prefix": prefix,
        "X-Request-ID": "$request_id",
        "Forwarded": "",
        # https://httpoxy.org
        "Proxy": "",
        "Connection": connection,
        "Upgrade": upgrade,
    }
    return [_d("proxy_set_header", name, value) for name, value in values.items()]


def _location(edge: Edge, route: Route) -> Directive:
    inner: list[Directive] = []
    if route.allow:
        inner += [*(_d("allow", network) for network in route.allow), _d("deny", "all")]
    if route.rate_limit:
        limit = edge.rate_limits[route.rate_limit]
        burst = math.ceil(limit.burst / edge.replicas)
        inner.append(
            _d(
                "limit_req",
                f"zone={route.rate_limit}",
                *([f"burst={burst}"] if burst else []),
                *(["nodelay"] if burst and limit.nodelay else []),
            )
        )
    if route.max_body_size:
        inner.append(_d("client_max_body_size", route.max_body_size))
    if not route.request_buffering:
        inner.append(_d("proxy_request_buffering", "off"))
    patience = route.read_timeout or ("1h" if route.websocket else None)
    if patience:
        inner.append(_d("proxy_read_timeout", _time(patience)))
    if route.websocket:
        inner.append(_d("proxy_send_timeout", _time(patience or "1h")))
    kept = edge.upstreams[route.upstream].keepalive > 0
    prefix = route.path.rstrip("/") if route.strip_prefix else ""
    # A location that sets one header sets all of them.
    if route.websocket:
        kind = "kept" if kept else "closed"
        inner += _request_headers(f"$edge_connection_{kind}", prefix, "$edge_upgrade")
    elif prefix or not kept:
        inner += _request_headers("" if kept else "close", prefix)
    # With a path, nginx puts it in the place of the location's.
    path = "/" if route.strip_prefix else ""
    inner.append(_d("proxy_pass", f"http://{route.upstream}{path}"))
    return _block("location", ("=", route.path) if route.exact else (route.path,), *inner)


def _status(edge: Edge, facts: Facts) -> Directive:
    allowed = ["127.0.0.1", *edge.status_allow]
    return _block(
        "server",
        (),
        _d("listen", facts.ports.status),
        _d("access_log", "off"),
        _block("location", ("=", HEALTH), _d("return", 200, "ok")),
        _block(
            "location",
            ("=", "/nginx_status"),
            *(_d("allow", network) for network in allowed),
            _d("deny", "all"),
            _d("stub_status"),
        ),
        _block("location", ("/",), _d("return", 404)),
    )
