"""The whole of nginx.conf."""

import math

from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.edge import CHALLENGES, SNIPPET_CONTEXTS, Edge
from pulumi_tiers.model.nginx_syntax import Block, Directive, parse_block, text_of
from pulumi_tiers.model.tls import TlsMode
from pulumi_tiers.nginx.answers import (
    added_headers,
    compression,
    headers,
    hidden_headers,
    preflight,
)
from pulumi_tiers.nginx.base import HEALTH, LOGS, Facts, Map, block, d, time
from pulumi_tiers.nginx.clients import clients, limits
from pulumi_tiers.nginx.upstreams import (
    location_block,
    proxy_defaults,
    request_headers,
    upstream_block,
)

ACME_ROOT = "/etc/letsencrypt/webroot"
"""Where answers to an ACME server's challenges are put."""
_ANYWHERE = Facts()


def configuration(edge: Edge, facts: Facts = _ANYWHERE) -> str:
    """The text of nginx.conf."""
    return text_of(_main(edge, facts))


def _main(edge: Edge, facts: Facts) -> Block:
    return (
        # As many as it has CPUs: "auto" would count the machine's.
        d("worker_processes", max(1, math.ceil(edge.resources.cpus))),
        d("worker_rlimit_nofile", 8192),
        d("worker_shutdown_timeout", time(edge.timeouts.drain)),
        d("pid", "nginx.pid"),
        d("error_log", "stderr", "warn"),
        *([d("error_log", f"{LOGS}/error.log", "warn")] if edge.log_volume else []),
        block("events", (), d("worker_connections", 4096)),
        Directive("http", (), http(edge, facts)),
    )


def http(edge: Edge, facts: Facts) -> Block:
    """What stands in the http block."""
    return (
        *_general(edge),
        *_log(edge),
        *clients(edge, facts),
        *headers(edge),
        *compression(edge),
        *limits(edge),
        *_tls(edge),
        *proxy_defaults(edge),
        *parse_block(edge.snippets.http, SNIPPET_CONTEXTS["http"]),
        *(upstream_block(name, upstream) for name, upstream in edge.upstreams.items()),
        *servers(edge, facts),
        _status(edge, facts),
    )


def _general(edge: Edge) -> list[Directive]:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return [
        d("default_type", "application/octet-stream"),
        d("server_tokens", "off"),
        # It would name the container's own port.
        d("absolute_redirect", "off"),
        d("server_names_hash_bucket_size", 512),
        d("map_hash_bucket_size", 512),
        d("map_hash_max_size", 4096),
        d("variables_hash_max_size", 2048),
        # Names of headers are parts of them.
        d("variables_hash_bucket_size", 256),
        # The only place where it may write.
        *(d(f"{kind}_temp_path", f"temp/{kind}") for kind in kinds),
        d("client_max_body_size", edge.max_body_size),
        d("client_header_timeout", time(min("15s", edge.timeouts.client, key=seconds))),
        d("client_body_timeout", time(edge.timeouts.client)),
        d("send_timeout", time(edge.timeouts.client)),
        d("keepalive_timeout", "65s"),
        d("include", "newer.conf"),
        d("reset_timedout_connection", "on"),
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
    path = Map("$request_uri", "$edge_path").row("~^(?<edge_before>[^?]*)", "$edge_before")
    logs = [d("access_log", "/dev/stdout", "json")]
    if edge.log_volume:
        logs.append(d("access_log", f"{LOGS}/access.log", "json"))
    return [
        path.directive(),
        d("log_format", "json", "escape=json", "{" + ",".join(fields) + "}"),
        *logs,
    ]


def _tls(edge: Edge) -> list[Directive]:
    if not edge.tls.own:
        return []
    # https://wiki.mozilla.org/Security/Server_Side_TLS, "intermediate"
    ciphers = (
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
        "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
    )
    return [
        d("ssl_certificate", "tls.crt"),
        d("ssl_certificate_key", "tls.key"),
        d("ssl_protocols", "TLSv1.2", "TLSv1.3"),
        d("ssl_ciphers", ciphers),
        d("ssl_prefer_server_ciphers", "off"),
        # No limit of an edge can have this name: names have no underscore.
        d("ssl_session_cache", "shared:tls_sessions:10m"),
        d("ssl_session_timeout", "1d"),
        d("ssl_session_tickets", "off"),
    ]


def servers(edge: Edge, facts: Facts) -> list[Directive]:
    """The servers for clients. The last one has the routes."""
    plain = _listen(facts.ports.http, facts)
    options = ["ssl", "http2"] if edge.tls.own else []
    secure = _listen(facts.ports.https, facts, *options) if edge.tls.on else []
    names = edge.server_names
    found: list[Directive] = []
    if names:
        found.append(
            block(
                "server",
                (),
                *(d("listen", *arguments, "default_server") for arguments in (*plain, *secure)),
                d("server_name", "_"),
                d("return", 421),
            )
        )
    named = [d("server_name", *names)] if names else []
    challenges: list[Directive] = []
    if edge.tls.mode is TlsMode.LETS_ENCRYPT:
        inner = (d("root", ACME_ROOT), d("default_type", "text/plain"))
        challenges.append(block("location", ("^~", CHALLENGES), *inner))
    found.append(
        block(
            "server",
            (),
            *(d("listen", *arguments) for arguments in (*plain, *secure)),
            *named,
            *_redirect(edge, facts),
            *added_headers(edge),
            *hidden_headers(edge),
            *request_headers(""),
            *challenges,
            *parse_block(edge.snippets.server, SNIPPET_CONTEXTS["server"]),
            *preflight(edge),
            *(location_block(edge, route) for route in edge.routes),
        )
    )
    return found


def _redirect(edge: Edge, facts: Facts) -> list[Directive]:
    if not edge.redirects:
        return []
    port = "" if facts.https_port == 443 else f":{facts.https_port}"
    # 308: a form stays a form.
    target = d("return", 308, f"https://$host{port}$request_uri")
    return [block("if", ("$edge_redirect",), target)]


def _listen(port: int, facts: Facts, *options: str) -> list[tuple[object, ...]]:
    return [(port, *options, *(["proxy_protocol"] if facts.proxy_protocol else []))]


def _status(edge: Edge, facts: Facts) -> Directive:
    allowed = ["127.0.0.1", *edge.status_allow]
    return block(
        "server",
        (),
        d("listen", facts.ports.status),
        d("access_log", "off"),
        block("location", ("=", HEALTH), d("return", 200, "ok")),
        block(
            "location",
            ("=", "/nginx_status"),
            *(d("allow", network) for network in allowed),
            d("deny", "all"),
            d("stub_status"),
        ),
        block("location", ("/",), d("return", 404)),
    )
