"""Who asks, and how much they may: what nginx believes of a client, and counts for it."""

from pulumi_tiers.model.edge import CHALLENGES, Edge
from pulumi_tiers.model.edge_texts import requests_per_minute
from pulumi_tiers.model.nginx_syntax import Directive
from pulumi_tiers.model.tls import TlsMode
from pulumi_tiers.nginx.base import Facts, Map, block, d

_PRIVATE = ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8")
"""Where a load balancer speaks from. Nobody else may say with PROXY protocol who they are."""


def clients(edge: Edge, facts: Facts) -> list[Directive]:
    """Who asks, and how: through proxies that are believed, or said by whoever connects."""
    scheme = Map("$server_port", "$edge_scheme").row("default", "http")
    if edge.tls.on:
        scheme.row(str(facts.ports.https), "https")
    found = [scheme.directive()]
    if facts.proxy_protocol:
        found += [d("set_real_ip_from", network) for network in _PRIVATE]
        found.append(d("real_ip_header", "proxy_protocol"))
    elif edge.trusted_proxies:
        found += [d("set_real_ip_from", network) for network in edge.trusted_proxies]
        found += [d("real_ip_header", "X-Forwarded-For"), d("real_ip_recursive", "on")]
    forwarded = Map("$edge_trusted:$http_x_forwarded_for", "$edge_forwarded_for")
    forwarded.row("default", "$remote_addr")
    proto = Map("$edge_trusted:$http_x_forwarded_proto", "$edge_forwarded_proto")
    proto.row("default", "$edge_scheme")
    # The one who speaks HTTP to this nginx.
    peer = "$proxy_protocol_addr" if facts.proxy_protocol else "$realip_remote_addr"
    trusted = [d("default", 0), *(d(network, 1) for network in edge.trusted_proxies)]
    if edge.trusted_proxies:
        forwarded.row("~^1:.", f"$http_x_forwarded_for, {peer}")
        proto.row("1:http", "http").row("1:https", "https")
    found += [
        block("geo", (peer, "$edge_trusted"), *trusted),
        forwarded.directive(),
        proto.directive(),
    ]
    if edge.redirects:
        # Who came to a trusted proxy by TLS would go in circles.
        redirect = Map("$edge_forwarded_proto:$uri", "$edge_redirect").row("default", "0")
        if edge.tls.mode is TlsMode.LETS_ENCRYPT:
            redirect.row("~^http:" + CHALLENGES.replace(".", r"\."), "0")
        found.append(redirect.row("~^http:", "1").directive())
    return found


def limits(edge: Edge) -> list[Directive]:
    """The memory and the rates of the limits that routes name."""
    zones = [
        d(
            "limit_req_zone",
            "$binary_remote_addr",
            f"zone={name}:{limit.zone_size}",
            f"rate={divided(limit.rate, edge.replicas)}",
        )
        for name, limit in edge.rate_limits.items()
    ]
    return [*zones, d("limit_req_status", 429), d("limit_req_log_level", "warn")]


def divided(rate: str, replicas: int) -> str:
    """The rate of each replica, so that all together keep to it: by 3, ``10r/s`` is 200r/m."""
    per_minute = max(1, requests_per_minute(rate) // replicas)
    if replicas == 1:
        return rate
    return f"{per_minute}r/m" if per_minute % 60 else f"{per_minute // 60}r/s"
