"""The text of nginx's configuration: whole, exact, and nothing in it leaves its place."""

import re
import string
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pulumi_tiers.model.edge import Edge
from pulumi_tiers.model.nginx_syntax import (
    Block,
    Directive,
    SyntaxMistakeError,
    parse,
    parse_block,
    text_of,
)
from pulumi_tiers.nginx import (
    Address,
    Facts,
    addresses_file,
    configuration,
    divided,
    renew_script,
    start_script,
)
from pydantic import ValidationError

DATA = Path(__file__).with_name("data") / "nginx"

SMALL: dict[str, Any] = {
    "upstreams": {"api": {"endpoint": "api"}},
    "routes": [{"path": "/", "upstream": "api"}],
}
VISION: dict[str, Any] = {
    "upstreams": {"vision-api": {"endpoint": "vision-api", "port": 8000}},
    "rate_limits": {"api": {"rate": "10r/s", "burst": 20, "nodelay": True}},
    "routes": [
        {"path": "/api/", "upstream": "vision-api", "strip_prefix": True, "rate_limit": "api"}
    ],
}
LARGE: dict[str, Any] = {
    "upstreams": {
        "api": {"endpoint": "api", "balance": "least_conn"},
        "minio": {"endpoint": "minio", "balance": "ip_hash", "keepalive": 0},
    },
    "rate_limits": {"api": {"rate": "10r/s", "burst": 20, "nodelay": True}},
    "routes": [
        {"path": "/", "upstream": "api", "rate_limit": "api"},
        {"path": "/metrics", "upstream": "api", "exact": True, "allow": ["10.0.0.0/8"]},
        {"path": "/live", "upstream": "api", "websocket": True},
        {
            "path": "/videos/",
            "upstream": "minio",
            "max_body_size": "2g",
            "request_buffering": False,
            "read_timeout": "5m",
        },
    ],
    "server_names": ["shop.example.com", "www.example.com"],
    "tls": {"mode": "lets_encrypt", "email": "me@example.com"},
    "cors_origins": ["https://app.example.com"],
    "trusted_proxies": ["203.0.113.0/24", "2001:db8::/32"],
    "status_allow": ["10.0.0.0/8"],
    "log_volume": {"name": "logs", "target": "/var/log/nginx", "size": "500Mi"},
    "snippets": {
        "http": "map $host $shop { default 1; }",
        "server": "location = /robots.txt { return 200 'User-agent: *'; }",
    },
    "resources": {"cpus": 1.5, "memory": "256m"},
}


def conf(values: dict[str, Any], facts: Facts | None = None) -> str:
    return configuration(Edge.model_validate(values), facts or Facts())


# To write them again: delete them, and run the tests.
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("small", conf(SMALL)),
        ("vision", conf(VISION)),
        ("large", conf(LARGE)),
        ("balanced", conf({**SMALL, "replicas": 3}, Facts(proxy_protocol=True))),
    ],
)
def test_the_whole_text(name: str, text: str) -> None:
    file = DATA / f"{name}.conf"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("values", [SMALL, VISION, LARGE])
def test_only_directives_that_nginx_has_where_it_has_them(values: dict[str, Any]) -> None:
    assert [item.name for item in parse(conf(values), strict=True)][-2:] == ["events", "http"]


def find(block: Block, *path: str) -> list[Directive]:
    """The directives of that name, inside of blocks of those."""
    found = [item for item in block if item.name == path[0]]
    if len(path) == 1:
        return found
    return [inner for item in found for inner in find(item.block or (), *path[1:])]


def test_visions_documented_edge() -> None:
    http = parse(conf(VISION))
    assert find(http, "http", "limit_req_zone")[0].arguments == (
        "$binary_remote_addr",
        "zone=api:10m",
        "rate=10r/s",
    )
    assert find(http, "http", "upstream", "keepalive")[0].arguments == ("32",)
    # VI-04: what keepalive needs.
    assert find(http, "http", "proxy_http_version")[0].arguments == ("1.1",)
    location = find(http, "http", "server", "location")[0]
    assert location.arguments == ("/api/",)
    inside = {item.name: item.arguments for item in location.block or ()}
    assert inside["limit_req"] == ("zone=api", "burst=20", "nodelay")
    assert inside["proxy_pass"] == ("http://vision-api/",)
    headers = {item.arguments[0] for item in find(http, "http", "server", "add_header")}
    assert {"X-Frame-Options", "X-Content-Type-Options"} <= headers


@pytest.mark.parametrize(
    ("rate", "replicas", "each"),
    [
        ("10r/s", 1, "10r/s"),
        ("10r/s", 2, "5r/s"),
        ("10r/s", 3, "200r/m"),
        ("30r/m", 2, "15r/m"),
        ("120r/m", 2, "1r/s"),
        ("1r/m", 5, "1r/m"),
    ],
)
def test_rates_are_divided(rate: str, replicas: int, each: str) -> None:
    assert divided(rate, replicas) == each


def test_bursts_are_divided_too() -> None:
    text = conf({**VISION, "replicas": 3})
    assert "rate=200r/m" in text
    assert "burst=7 nodelay" in text


def test_redirects_lead_to_the_port_that_people_use() -> None:
    values = {**SMALL, "tls": {"mode": "self_signed"}}
    assert "https://$host$request_uri" in conf(values)
    assert "https://$host:8443$request_uri" in conf(values, Facts(https_port=8443))
    assert "return 308" not in conf({**values, "redirect": False})


def test_upstreams_are_looked_up_by_the_script() -> None:
    addresses = {"b": Address("minio", 9000), "a": Address("api-peers", 3000)}
    assert addresses_file(addresses) == "a api-peers 3000\nb minio 9000\n"


@pytest.mark.parametrize("script", [start_script(), renew_script()])
def test_the_scripts_are_plain_shell(script: str) -> None:
    assert script.startswith("#!/bin/sh\n")
    done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
    assert done.stderr == ""
    # Words that dash and busybox don't know.
    assert not re.search(r"\[\[|\bfunction \w|\blocal \b|<<<|\bsource\b|==", script)


# --- nothing breaks out ---------------------------------------------------------------------------


def skeleton(block: Block, *, rows: bool = False) -> Iterator[Any]:
    """Which directives are in which, with how many arguments. Rows of a map begin with anything."""
    for item in block:
        inner = skeleton(item.block or (), rows=item.name in {"map", "geo"})
        yield "" if rows else item.name, len(item.arguments), tuple(inner)


SIGNS = st.text(
    st.sampled_from("ab0 ;{}\"'\\$#\n\r\t/~*.:=()<>|%\0é") | st.characters(), max_size=12
)
NASTY = st.one_of(
    SIGNS,
    st.text(string.printable, max_size=20),
    st.tuples(SIGNS, SIGNS).map("; } return 200; { ".join),
    SIGNS.map("/{}".format),
    SIGNS.map("https://{}".format),
)
#: Where texts go into the configuration: a good one, and how it is put in.
TEXTS: dict[str, tuple[str, Any]] = {
    "header": ("a", lambda text: {**SMALL, "headers": {"X-A": text}}),
    "path": (
        "/a",
        lambda text: {**SMALL, "routes": [{"path": text, "upstream": "api", "exact": True}]},
    ),
    "name": ("a.b", lambda text: {**SMALL, "server_names": [text]}),
    "origin": ("https://a.b", lambda text: {**SMALL, "cors_origins": [text]}),
    "type": ("a/b", lambda text: {**SMALL, "gzip_types": [text]}),
    "size": ("1m", lambda text: {**SMALL, "max_body_size": text}),
    "proxy": ("10.0.0.0/8", lambda text: {**SMALL, "trusted_proxies": [text]}),
    "rate": (
        "1r/s",
        lambda text: {
            **SMALL,
            "rate_limits": {"a": {"rate": text}},
            "routes": [{"path": "/", "upstream": "api", "rate_limit": "a"}],
        },
    ),
    "time": ("1s", lambda text: {**SMALL, "timeouts": {"read": text}}),
}
SKELETONS = {key: list(skeleton(parse(conf(put(good))))) for key, (good, put) in TEXTS.items()}


@pytest.mark.parametrize("key", TEXTS)
@settings(max_examples=60, deadline=None)
@given(text=NASTY)
def test_no_text_leaves_its_directive(key: str, text: str) -> None:
    try:
        written = conf(TEXTS[key][1](text))
    except ValidationError:
        return
    assert list(skeleton(parse(written))) == SKELETONS[key]


@settings(max_examples=100, deadline=None)
@given(value=st.text(string.printable.strip() + " ", min_size=1, max_size=30))
@example(value="#a")
@example(value="""it's "so"; { #1 } ${""")
@example(value="'; } return 200; {'")
def test_a_headers_value_is_read_back_as_it_was(value: str) -> None:
    try:
        written = conf({**SMALL, "headers": {"X-A": value}})
    except ValidationError:
        return
    [row] = [
        row
        for item in find(parse(written), "http", "map")
        if item.arguments[1] == "$edge_header_x_a"
        for row in item.block or ()
        if row.name == ""
    ]
    assert row.arguments == (value,)


@pytest.mark.parametrize(
    "snippet",
    [
        "}",
        "} server { listen 1;",
        "return 200; } location / {",
        "add_header X-A 'b",
        'add_header X-A "b',
        "add_header X-A b",
        "{",
        "location /x { return 200; ",
    ],
)
def test_a_snippet_stays_in_its_block(snippet: str) -> None:
    with pytest.raises(SyntaxMistakeError):
        parse_block(snippet, ("http", "server"))


def test_a_snippet_may_hold_what_this_library_does_not_know() -> None:
    [directive] = parse_block("brotli on; # of an added module", ("http",))
    assert directive == Directive("brotli", ("on",))


@pytest.mark.parametrize("argument", ["a\\", "#a", "a\nb"])
def test_what_can_not_be_written_is_refused(argument: str) -> None:
    with pytest.raises(SyntaxMistakeError):
        text_of([Directive("return", ("200", argument))])
