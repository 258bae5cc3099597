"""What clients get besides the upstream's answer: headers, CORS, compression."""

from pulumi_tiers.model.edge import Edge
from pulumi_tiers.model.nginx_syntax import Directive
from pulumi_tiers.nginx.base import Map, block, d

_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "$http_access_control_request_headers",
    "Access-Control-Max-Age": "600",
}


def headers(edge: Edge) -> list[Directive]:
    """The values of added headers. An empty one is not sent."""
    found: list[Directive] = []
    for name, value in edge.headers.items():
        variable = _variable(name)
        row = Map(f"$upstream_http_{variable}", f"$edge_header_{variable}").row("default", "")
        found.append(row.row("", value).directive())
    if edge.hsts_seconds:
        hsts = Map("$edge_forwarded_proto", "$edge_hsts").row("default", "")
        found.append(hsts.row("https", f"max-age={edge.hsts_seconds}").directive())
    if edge.cors_origins:
        allowed = Map("$http_origin", "$edge_cors_origin").row("default", "")
        for origin in edge.cors_origins:
            allowed.row(origin, "$http_origin")
        credentials = Map("$edge_cors_origin", "$edge_cors_credentials").row("default", "true")
        asked = "$request_method:$http_access_control_request_method:$edge_cors_origin"
        preflight = Map(asked, "$edge_preflight").row("default", "0").row("~^OPTIONS:[^:]+:.", "1")
        found += [
            allowed.directive(),
            credentials.row("", "").directive(),
            preflight.directive(),
        ]
        for name, value in _PREFLIGHT.items():
            row = Map("$edge_preflight", f"$edge_{_variable(name)}").row("default", "")
            found.append(row.row("1", value).directive())
    return found


def added_headers(edge: Edge) -> list[Directive]:
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
    return [d("add_header", name, value, "always") for name, value in values.items()]


def hidden_headers(edge: Edge) -> list[Directive]:
    """The upstream's own, where the edge decides."""
    names = ["X-Request-ID"]
    if edge.hsts_seconds:
        names.append("Strict-Transport-Security")
    if edge.cors_origins:
        names += ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", *_PREFLIGHT]
    return [d("proxy_hide_header", name) for name in names]


def preflight(edge: Edge) -> list[Directive]:
    """Answers browsers that ask before they send; no upstream hears of it."""
    if not edge.cors_origins:
        return []
    return [block("if", ("$edge_preflight",), d("return", 204))]


def compression(edge: Edge) -> list[Directive]:
    """Which answers are compressed."""
    if not edge.gzip_types:
        return [d("gzip", "off")]
    return [
        d("gzip", "on"),
        d("gzip_types", *edge.gzip_types),
        d("gzip_min_length", 1024),
        d("gzip_comp_level", 5),
        d("gzip_proxied", "any"),
        d("gzip_vary", "on"),
    ]


def _variable(header: str) -> str:
    return header.lower().replace("-", "_")
