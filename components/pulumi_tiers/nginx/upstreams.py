"""Where requests go, and what the upstream is told."""

import math

from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.edge import Balance, Edge, Route, Upstream
from pulumi_tiers.model.nginx_syntax import Directive
from pulumi_tiers.nginx.base import Map, block, d, time


def proxy_defaults(edge: Edge) -> list[Directive]:
    """How requests are passed on, whichever the route."""
    waits = edge.timeouts
    return [
        # Idle connections to upstreams are kept.
        d("proxy_http_version", "1.1"),
        d("proxy_connect_timeout", time(waits.connect)),
        *_patience(waits.read),
        d("proxy_send_timeout", time(waits.send)),
        # The next replica is asked when one can't be reached or breaks off, and the request can be
        # repeated.
        d("proxy_next_upstream", "error", "timeout"),
        d("proxy_next_upstream_tries", 4),
        # Beginnings of answers must fit: cookies and policies are more than the usual 4 KiB.
        d("proxy_buffer_size", "16k"),
        d("proxy_buffers", 8, "8k"),
        # An answer waits in memory until the client takes it, and then at the upstream.
        d("proxy_max_temp_file_size", 0),
        # Of routes with websockets: no other protocol may be asked for.
        Map("$http_upgrade", "$edge_upgrade")
        .row("default", "")
        .row("~*^websocket$", "websocket")
        .directive(),
        *(
            Map("$edge_upgrade", f"$edge_connection_{kind}")
            .row("default", "upgrade")
            .row("", value)
            .directive()
            for kind, value in (("kept", ""), ("closed", "close"))
        ),
    ]


def _patience(silence: str) -> list[Directive]:
    """How long an upstream may be silent. What takes that long is not begun at the next one too."""
    return [
        d("proxy_read_timeout", time(silence)),
        d("proxy_next_upstream_timeout", time(min("15s", silence, key=seconds))),
    ]


def upstream_block(name: str, upstream: Upstream) -> Directive:
    """An upstream; its servers are in a file that `start.sh` writes."""
    return block(
        "upstream",
        (name,),
        # The workers count open requests together.
        d("zone", f"upstream_{name}", "256k"),
        *([] if upstream.balance is Balance.ROUND_ROBIN else [d(upstream.balance.value)]),
        d("include", f"upstreams/{name}"),
        *([d("keepalive", upstream.keepalive)] if upstream.keepalive else []),
    )


def request_headers(connection: str, prefix: str = "", upgrade: str = "") -> list[Directive]:
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
    return [d("proxy_set_header", name, value) for name, value in values.items()]


def location_block(edge: Edge, route: Route) -> Directive:
    """The location of a route."""
    inner: list[Directive] = []
    if route.allow:
        inner += [*(d("allow", network) for network in route.allow), d("deny", "all")]
    if route.rate_limit:
        limit = edge.rate_limits[route.rate_limit]
        burst = math.ceil(limit.burst / edge.replicas)
        inner.append(
            d(
                "limit_req",
                f"zone={route.rate_limit}",
                *([f"burst={burst}"] if burst else []),
                *(["nodelay"] if burst and limit.nodelay else []),
            )
        )
    if route.max_body_size:
        inner.append(d("client_max_body_size", route.max_body_size))
    if not route.request_buffering:
        inner.append(d("proxy_request_buffering", "off"))
    patience = route.read_timeout or ("1h" if route.websocket else None)
    if patience:
        inner += _patience(patience)
    if route.websocket:
        inner.append(d("proxy_send_timeout", time(patience or "1h")))
    kept = edge.upstreams[route.upstream].keepalive > 0
    prefix = route.path.rstrip("/") if route.strip_prefix else ""
    # A location that sets one header sets all of them.
    if route.websocket:
        kind = "kept" if kept else "closed"
        inner += request_headers(f"$edge_connection_{kind}", prefix, "$edge_upgrade")
    elif prefix or not kept:
        inner += request_headers("" if kept else "close", prefix)
    # With a path, nginx puts it in the place of the location's.
    path = "/" if route.strip_prefix else ""
    inner.append(d("proxy_pass", f"http://{route.upstream}{path}"))
    return block("location", ("=", route.path) if route.exact else (route.path,), *inner)
