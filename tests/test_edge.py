"""What is wrong with an edge is said before nginx could."""

import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.edge import YEAR, Edge
from pulumi_tiers.model.errors import Mistake, mistakes_of
from pulumi_tiers.model.system import PROFILE_OFF, Target
from pulumi_tiers.model.tls import Tls
from pulumi_tiers.nginx.workloads import check_edges, edge_workloads
from pydantic import ValidationError


def described(**keys: Any) -> dict[str, Any]:
    return {
        "upstreams": {"api": {"endpoint": "api"}},
        "routes": [{"path": "/", "upstream": "api"}],
        **keys,
    }


def mistakes(values: Mapping[str, Any]) -> list[Mistake]:
    with pytest.raises(ValidationError) as caught:
        Edge.model_validate(values)
    return sorted(mistakes_of(caught.value))


def places(values: Mapping[str, Any]) -> list[str]:
    return [mistake.place for mistake in mistakes(values)]


def test_the_least_that_an_edge_is() -> None:
    edge = Edge.model_validate(described())
    assert edge.upstreams["api"].keepalive == 32
    assert edge.headers["X-Frame-Options"] == "DENY"
    assert not edge.tls.on
    assert edge.hsts_seconds == 0
    assert (edge.published.http, edge.published.https) == (80, 443)
    assert Edge.model_validate(described(published={})).published.http is None


@pytest.mark.parametrize(
    ("keys", "place", "why"),
    [
        ({"rate_limits": {"a": {"rate": "10/s"}}}, "rate_limits.a.rate", "'10/s' is not a rate"),
        ({"rate_limits": {"a": {"rate": "0r/s"}}}, "rate_limits.a.rate", "'0r/s' is not a rate"),
        (
            {"rate_limits": {"a": {"rate": "1r/s", "zone_size": "1k"}}},
            "rate_limits.a.zone_size",
            "a zone of '1k' is not useful",
        ),
        ({"max_body_size": "1 MB"}, "max_body_size", "'1 MB' is not a size"),
        ({"max_body_size": "0"}, "max_body_size", "0 would switch the limit off"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies[0]", "is not a range"),
        ({"trusted_proxies": ["10.0.0.1"]}, "trusted_proxies[0]", "is not spelled"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "trusted_proxies[0]", "everybody would be believed"),
        ({"trusted_proxies": ["::/0"]}, "trusted_proxies[0]", "everybody would be believed"),
        ({"cors_origins": ["http://a:65536"]}, "cors_origins[0]", "is not an origin"),
        ({"server_names": ["a b"]}, "server_names[0]", "'a b' is not a host name"),
        ({"server_names": ["a;return 200"]}, "server_names[0]", "is not a host name"),
        ({"server_names": ["~^.*$"]}, "server_names[0]", "is not a host name"),
        ({"cors_origins": ["*"]}, "cors_origins[0]", "'*' would let every page"),
        ({"cors_origins": ["https://a/b"]}, "cors_origins[0]", "is not an origin"),
        ({"cors_origins": ["~.*"]}, "cors_origins[0]", "is not an origin"),
        ({"headers": {"X-A": "a\r\nSet-Cookie: b"}}, "headers.X-A", "holds a line break"),
        ({"headers": {"X-A": "$request_body"}}, "headers.X-A", "can't be written"),
        ({"headers": {"X-A": "a\\"}}, "headers.X-A", "can't be written"),
        ({"headers": {"X A": "a"}}, "headers.X A", "is not the name of a header"),
        (
            {"headers": {"strict-transport-security": "a"}},
            "headers.strict-transport-security",
            "is set by other keys",
        ),
        ({"headers": {"X-A": "a", "x-a": "b"}}, "headers.x-a", "the header stands here twice"),
        ({"headers": {"Server": "shop"}}, "headers.Server", "is set by other keys"),
        ({"gzip_types": ["*"]}, "gzip_types[0]", "is not a media type"),
        ({"timeouts": {"read": "0s"}}, "timeouts.read", "0 would switch it off"),
        ({"snippets": {"http": "} evil {"}}, "snippets.http", "nginx would not take this"),
        ({"snippets": {"server": "return 200"}}, "snippets.server", "is not terminated"),
        (
            {"snippets": {"server": "\nworker_processes 2;"}},
            "snippets.server",
            'line 2: "worker_processes" directive is not allowed here',
        ),
        ({"host_ip": "localhost"}, "host_ip", "is not an address of the Docker host"),
        ({"hsts": 60}, "hsts", "HSTS is for sites with TLS"),
        ({"tls": {"mode": "given"}}, "tls.certificate", "is missing"),
        ({"tls": {"mode": "digitalocean"}}, "tls.certificate_id", "is missing"),
        (
            {"tls": {"mode": "lets_encrypt", "email": "me"}},
            "tls.email",
            "is not an e-mail address",
        ),
        (
            {"tls": {"mode": "lets_encrypt", "directory": "http://acme.test/x"}},
            "tls.directory",
            "is not the URL of an ACME directory",
        ),
        (
            {"tls": {"mode": "digitalocean", "certificate_id": "a b"}},
            "tls.certificate_id",
            "is not the id of a certificate",
        ),
        ({"tls": {"email": "me@example.com"}}, "tls.email", "says nothing where the mode is off"),
        ({"tls": {"mode": "lets_encrypt"}}, "server_names", "this edge has none"),
        (
            {"tls": {"mode": "lets_encrypt"}, "server_names": ["*.example.com"]},
            "server_names[0]",
            "no certificate for a wildcard",
        ),
        (
            {"log_volume": {"name": "logs", "target": "/var/log/nginx", "read_only": True}},
            "log_volume.read_only",
            "nginx writes its logs there",
        ),
        ({"rate_limits": {"a": {"rate": "1r/s"}}}, "rate_limits.a", "no route has this limit"),
        (
            {"rate_limits": {"a": {"rate": "1r/s", "zone_size": "1g"}}},
            "rate_limits.a.zone_size",
            "a zone of '1g' is not useful",
        ),
        ({"trusted_proxies": ["fe80::1%eth0/128"]}, "trusted_proxies[0]", "is not a range"),
        ({"status_allow": ["fe80::1%a;b/128"]}, "status_allow[0]", "is not a range"),
        ({"gzip_types": ["application/x-" + "a" * 33]}, "gzip_types[0]", "the 46 characters"),
        ({"headers": {"X-Request-Id": "1"}}, "headers.X-Request-Id", "is set by other keys"),
        (
            {"headers": {"Access-Control-Max-Age": "1"}},
            "headers.Access-Control-Max-Age",
            "is set by other keys",
        ),
        (
            {"headers": {"vary": "Accept"}, "cors_origins": ["https://a.example.com"]},
            "headers.vary",
            "answers vary by Origin",
        ),
        (
            {"tls": {"mode": "self_signed"}, "published": {"http": 8080, "https": 8080}},
            "published.https",
            "can't both have the port 8080",
        ),
        (
            {"tls": {"mode": "self_signed"}, "load_balancer": {"http": 80, "https": 80}},
            "load_balancer.https",
            "can't both have the port 80",
        ),
        (
            {"tls": {"mode": "lets_encrypt"}, "server_names": ["203.0.113.7"]},
            "server_names[0]",
            "is no name on the internet",
        ),
        (
            {
                "tls": {"mode": "lets_encrypt"},
                "server_names": ["a.example.com"],
                "routes": [{"path": "/.well-known/acme-challenge/x", "upstream": "api"}],
            },
            "routes[0].path",
            "proves its host name",
        ),
        ({"log_volume": {"name": "logs", "target": "/logs"}}, "log_volume.target", "/var/log"),
        ({"certifcate": "x"}, "certifcate", "there is no key 'certifcate'"),
    ],
)
def test_one_mistake_each(keys: dict[str, Any], place: str, why: str) -> None:
    found = mistakes(described(**keys))
    assert place in [mistake.place for mistake in found]
    [told] = [mistake for mistake in found if mistake.place == place]
    assert why in told.why
    assert told.remedy


def route(**keys: Any) -> dict[str, Any]:
    return {"path": "/", "upstream": "api", **keys}


@pytest.mark.parametrize(
    ("routes", "place", "why"),
    [
        ([route(upstream="apo")], "routes[0].upstream", "there is no upstream 'apo'"),
        ([route(), route()], "routes[1].path", "the path / stands here twice"),
        ([route(path="api")], "routes[0].path", "is not the path of a route"),
        ([route(path="/a b")], "routes[0].path", "is not the path of a route"),
        ([route(path="/a;}")], "routes[0].path", "is not the path of a route"),
        ([route(path="/a/../b")], "routes[0].path", "holds '.' or '..'"),
        ([route(path="/api", strip_prefix=True)], "routes[0].path", "a part of a word"),
        ([route(path="/a/", strip_prefix=True, exact=True)], "routes[0].strip_prefix", "nothing"),
        ([route(rate_limit="api")], "routes[0].rate_limit", "there is no rate limit 'api'"),
        ([route(max_body_size="1g")], "routes[0].request_buffering", "would be kept in memory"),
        ([route(read_timeout="0s")], "routes[0].read_timeout", "0 would fail each request"),
        ([route(allow=["everybody"])], "routes[0].allow[0]", "is not a range of addresses"),
    ],
)
def test_mistakes_of_routes(routes: list[dict[str, Any]], place: str, why: str) -> None:
    found = {mistake.place: mistake for mistake in mistakes(described(routes=routes))}
    assert why in found[place].why


def test_a_path_may_be_a_beginning_and_a_whole_one() -> None:
    routes = [route(), route(path="/metrics"), route(path="/metrics", exact=True)]
    assert len(Edge.model_validate(described(routes=routes)).routes) == 3


def test_all_mistakes_of_the_whole_are_told_together() -> None:
    values = described(
        upstreams={"api": {"endpoint": "api"}, "lost": {"endpoint": "api"}},
        routes=[route(upstream="apo"), route(rate_limit="none")],
        hsts=1,
        server_names=["a", "a"],
    )
    assert places(values) == [
        "hsts",
        "routes[0].upstream",
        "routes[1].path",
        "routes[1].rate_limit",
        "server_names[1]",
        "upstreams.lost",
    ]


# --- certificates ---------------------------------------------------------------------------------

DAY = timedelta(days=1)


def key_text(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> str:
    encryption = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    return key.private_bytes(*kinds, encryption).decode()


def certificate(
    key: ec.EllipticCurvePrivateKey,
    *names: str | x509.GeneralName,
    begin: timedelta = -DAY,
    end: timedelta = DAY,
) -> str:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now + begin)
        .not_valid_after(now + end)
    )
    if names:
        hosts = x509.SubjectAlternativeName(
            [x509.DNSName(name) if isinstance(name, str) else name for name in names]
        )
        builder = builder.add_extension(hosts, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("pem", "key", "place", "why"),
    [
        (certificate(KEY), key_text(OTHER), "tls.key", "the certificate is another key's"),
        (
            certificate(KEY, begin=-3 * DAY, end=-DAY),
            key_text(KEY),
            "tls.certificate",
            "the certificate expired on",
        ),
        (certificate(KEY, begin=DAY, end=2 * DAY), key_text(KEY), "tls.certificate", "on only"),
        ("nonsense", key_text(KEY), "tls.certificate", "not a certificate in PEM"),
        (certificate(KEY), "nonsense", "tls.key", "not a private key in PEM"),
        (certificate(KEY), key_text(KEY, b"secret"), "tls.key", "has a passphrase"),
        (certificate(KEY), certificate(KEY), "tls.key", "not a private key in PEM"),
    ],
)
def test_a_certificate_that_would_not_work(pem: str, key: str, place: str, why: str) -> None:
    found = mistakes(described(tls={"mode": "given", "certificate": pem, "key": key}))
    assert [mistake.place for mistake in found] == [place]
    assert why in found[0].why
    assert key.splitlines()[-2 if "\n" in key else 0] not in str(found[0])


def test_a_key_that_nginx_refuses_is_told() -> None:
    short = ec.generate_private_key(ec.SECP192R1())
    pair = {"certificate": certificate(short), "key": key_text(short)}
    [told] = mistakes(described(tls={"mode": "given", **pair}))
    assert (told.place, told.why) == (
        "tls.certificate",
        "its key has 192 bits: nginx refuses that",
    )
    # In the chain too.
    pair = {"certificate": certificate(KEY) + certificate(short), "key": key_text(KEY)}
    [told] = mistakes(described(tls={"mode": "given", **pair}))
    assert told.why == "the key of certificate 2 has 192 bits: nginx refuses that"


#: On SM2's curve, made with OpenSSL for this test.
UNKNOWN = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqBHM9VAYItBG0wawIBAQQgIs8NqYocUlxItFcM
EcIKgngQj59mqQQcokX2qfyQO9WhRANCAAQEi1hO72QfcV2wfVisLIlFEULJNgxV
eUJ9HmHwj7I5iqJk+dRa3mg+zSsARYfx84BcbVxUueLY5hdC6/NWkgBo
-----END PRIVATE KEY-----
"""


def test_a_kind_of_key_that_nobody_knows_is_no_traceback() -> None:
    tls = {"mode": "given", "certificate": certificate(KEY), "key": UNKNOWN}
    [told] = mistakes(described(tls=tls))
    assert (told.place, told.why) == ("tls.key", "nobody's browser knows this kind of key")


def test_a_chain_leads_from_each_certificate_to_the_one_that_signed_it() -> None:
    def signed(
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: str,
        by: ec.EllipticCurvePrivateKey,
        end: timedelta = DAY,
    ) -> str:
        def called(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(called(name))
            .issuer_name(called(issuer))
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - 3 * DAY)
            .not_valid_after(now + end)
            .sign(by, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM).decode()

    def wrong(*chain: str) -> list[str]:
        tls = {"mode": "given", "certificate": "".join(chain), "key": key_text(KEY)}
        try:
            Tls.model_validate(tls)
        except ValidationError as error:
            return [mistake.why for mistake in mistakes_of(error)]
        return []

    root_key = ec.generate_private_key(ec.SECP256R1())
    leaf = signed("leaf", KEY, "between", OTHER)
    between = signed("between", OTHER, "root", root_key)
    root = signed("root", root_key, "root", root_key)
    assert wrong(leaf, between) == wrong(leaf, between, root) == []
    assert wrong(leaf, root, between) == [
        "certificate 1 is not signed by certificate 2",
        "certificate 2 is not signed by certificate 3",
    ]
    # Of the same name, and another's.
    assert wrong(leaf, signed("between", root_key, "root", root_key)) == [
        "certificate 1 is not signed by certificate 2"
    ]
    [told] = wrong(leaf, signed("between", OTHER, "root", root_key, -DAY))
    assert told.startswith("certificate 2 expired on ")


@pytest.mark.parametrize("cut", ["lines", "end", "chain", "indented"])
def test_a_certificate_that_was_pasted_badly_is_told(cut: str) -> None:
    pem, key = certificate(KEY), key_text(KEY)
    if cut == "lines":
        pem, key = pem.replace("\n", ""), key.replace("\n", " ")
    elif cut == "end":
        pem, key = pem[:-40], key[:-40]
    elif cut == "indented":
        pem, key = pem.replace("\n", "\n  "), key.replace("\n", "\n  ")
    else:
        pem += pem[:200]
    found = mistakes(described(tls={"mode": "given", "certificate": pem, "key": key}))
    assert [told.place for told in found] == [
        "tls.certificate",
        *(["tls.key"] if cut != "chain" else []),
    ]
    assert {told.why for told in found} == {
        "the text was cut or indented, or its line breaks are missing"
    }
    windows = certificate(KEY).replace("\n", "\r\n")
    assert Tls.model_validate({"mode": "given", "certificate": windows, "key": key_text(KEY)})


def test_a_certificate_may_be_for_an_address() -> None:
    address = x509.IPAddress(ipaddress.ip_address("10.0.0.5"))
    tls = {"mode": "given", "certificate": certificate(KEY, address), "key": key_text(KEY)}
    assert Edge.model_validate(described(tls=tls, server_names=["10.0.0.5"]))
    [told] = mistakes(described(tls=tls, server_names=["10.0.0.6"]))
    assert told.remedy == "it is for 10.0.0.5"


def test_a_certificate_must_be_for_the_hosts() -> None:
    def given(*names: str, hosts: list[str]) -> dict[str, Any]:
        tls = {"mode": "given", "certificate": certificate(KEY, *names), "key": key_text(KEY)}
        return described(tls=tls, server_names=hosts)

    assert Edge.model_validate(given("a.example.com", hosts=["a.example.com"]))
    assert Edge.model_validate(given("*.example.com", hosts=["a.example.com", "*.example.com"]))
    [told] = mistakes(given("*.example.com", hosts=["a.b.example.com"]))
    assert (told.place, told.remedy) == ("server_names[0]", "it is for *.example.com")
    assert places(given(hosts=["a.example.com"])) == ["server_names[0]"]


def test_a_key_is_never_repeated() -> None:
    key = key_text(KEY)
    for tls in ({"mode": "given", "key": [key]}, {"mode": "given", "key": key, "certificate": 1}):
        with pytest.raises(ValidationError) as caught:
            Tls.model_validate(tls)
        for text in (str(caught.value), str(mistakes_of(caught.value))):
            assert key.splitlines()[1] not in text


def test_browsers_remember_tls_where_they_can_trust_it() -> None:
    def remembered(**keys: Any) -> int:
        return Edge.model_validate(described(**keys)).hsts_seconds

    assert remembered(tls={"mode": "self_signed"}) == 0
    assert remembered(tls={"mode": "self_signed"}, hsts=60) == 60
    assert remembered(tls={"mode": "digitalocean", "certificate_id": "a"}) == YEAR
    assert remembered(tls={"mode": "digitalocean", "certificate_id": "a"}, hsts=0) == 0


# --- what only the system shows -------------------------------------------------------------------


def told(target: Target = Target.DOCKER, **keys: Any) -> dict[str, str]:
    edge = Edge.model_validate(described(**keys))
    known = {"api": [8000, 9000], "worker": []}
    found = check_edges("shop: edges", {"nginx": edge}, known, target, {"classifier": PROFILE_OFF})
    return {mistake.place.removeprefix("shop: edges.nginx."): mistake.why for mistake in found}


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("http", "gzip off;", "gzip off"),
        ("http", "client_max_body_size 5m;", "client_max_body_size 5m"),
        ("http", "upstream api { server 192.0.2.1; }", "upstream api"),
        ("http", "map $host $edge_scheme { default x; }", "map $host $edge_scheme"),
        ("http", "log_format json x;", "log_format json x"),
        ("server", "location / { return 410; }", "location /"),
        ("server", "location ^~ / { return 410; }", "location ^~ /"),
    ],
)
def test_what_the_edge_writes_itself_is_in_no_snippet(key: str, text: str, why: str) -> None:
    found = told(snippets={key: text})
    assert list(found) == [f"snippets.{key}"]
    assert found[f"snippets.{key}"].endswith(f"for the edge writes it too: '{why}'")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "http",
            "gzip_types text/x; access_log off; map $host $mine { default x; } add_header A b;",
        ),
        ("http", "log_format other x; server { listen 8090; location / { return 200; } }"),
        ("server", "gzip off; client_max_body_size 5m; location = / { return 410; }"),
        ("server", "location ~ / { return 410; } location @a { return 410; } add_header A b;"),
    ],
)
def test_what_may_stand_twice_may_be_in_a_snippet(key: str, text: str) -> None:
    assert told(snippets={key: text}) == {}


def test_an_upstream_is_an_endpoint_of_the_system() -> None:
    def upstream(**keys: Any) -> dict[str, str]:
        return told(upstreams={"api": keys})

    assert upstream(endpoint="api", port=9000) == {}
    assert upstream(endpoint="apy") == {
        "upstreams.api.endpoint": "there is no service or store 'apy'"
    }
    assert upstream(endpoint="api", port=5000) == {
        "upstreams.api.port": "'api' does not listen on port 5000"
    }
    assert upstream(endpoint="worker") == {"upstreams.api.endpoint": "'worker' listens on no port"}
    assert "its profile is off" in upstream(endpoint="classifier")["upstreams.api.endpoint"]


@pytest.mark.parametrize(
    ("target", "keys", "place"),
    [
        (
            Target.KUBERNETES,
            {"tls": {"mode": "lets_encrypt"}, "server_names": ["a.example.com"]},
            "tls.mode",
        ),
        (Target.DOCKER, {"tls": {"mode": "digitalocean", "certificate_id": "a"}}, "tls.mode"),
        (
            Target.DOCKER,
            {"tls": {"mode": "self_signed"}, "published": {"http": 80}},
            "published.https",
        ),
        (
            Target.DIGITALOCEAN,
            {
                "tls": {"mode": "digitalocean", "certificate_id": "a"},
                "load_balancer": {"http": 80, "https": 8443},
            },
            "load_balancer.https",
        ),
        (
            Target.DOCKER,
            {
                "tls": {"mode": "lets_encrypt"},
                "server_names": ["a.example.com"],
                "published": {"https": 443},
            },
            "published.http",
        ),
        (
            Target.DOCKER,
            {"replicas": 2, "log_volume": {"name": "logs", "target": "/var/log/nginx"}},
            "log_volume",
        ),
    ],
)
def test_what_a_target_can_not_do(target: Target, keys: dict[str, Any], place: str) -> None:
    assert list(told(target, **keys)) == [place]


# --- what runs ------------------------------------------------------------------------------------


def test_nginx_runs_without_root_and_writes_into_memory_only() -> None:
    edge = Edge.model_validate(described(tls={"mode": "self_signed"}))
    [(name, workload)] = edge_workloads("nginx", edge, Target.DOCKER).items()
    assert name == "nginx"
    assert workload.user == "101:101"
    assert workload.read_only
    assert workload.cap_add == []
    assert list(workload.tmpfs) == ["/run/nginx"]
    assert workload.reloads
    assert sorted(workload.configs) == ["nginx.conf", "start.sh", "upstreams"]
    assert sorted(workload.secret_files) == ["tls.crt", "tls.key"]
    assert [(port.target, port.published, port.scheme) for port in workload.ports] == [
        (8080, 80, "http"),
        (8443, 443, "https"),
    ]
    assert workload.healthcheck
    assert (workload.healthcheck.path, workload.healthcheck.port) == ("/healthz", 8081)


def test_a_stop_leaves_time_for_what_has_begun() -> None:
    edge = Edge.model_validate(described())
    for target, linger in ((Target.DOCKER, "0"), (Target.KUBERNETES, "5")):
        workload = edge_workloads("nginx", edge, target)["nginx"]
        assert workload.environment["EDGE_LINGER"] == linger
        assert seconds(workload.stop_grace_period or "0s") >= 40 + int(linger)


def test_load_balancers_tell_the_clients_address() -> None:
    edge = Edge.model_validate(
        described(tls={"mode": "digitalocean", "certificate_id": "abc"}, replicas=2)
    )
    workload = edge_workloads("nginx", edge, Target.DIGITALOCEAN)["nginx"]
    assert workload.load_balancer.proxy_protocol
    assert workload.load_balancer.certificate == "abc"
    conf = workload.configs["nginx.conf"]
    # TLS ends before: what comes to that port came through it.
    assert "listen 8443 proxy_protocol;" in conf
    assert "ssl" not in conf
    plain = edge_workloads("nginx", Edge.model_validate(described()), Target.KUBERNETES)["nginx"]
    assert plain.load_balancer.local
    assert not plain.load_balancer.proxy_protocol
    assert "proxy_protocol" not in plain.configs["nginx.conf"]


def test_lets_encrypt_brings_certbot_and_a_volume() -> None:
    edge = Edge.model_validate(
        described(
            tls={"mode": "lets_encrypt", "email": "me@example.com"},
            server_names=["api.example.com", "www.example.com"],
        )
    )
    found = edge_workloads("nginx", edge, Target.DOCKER)
    assert list(found) == ["nginx", "nginx-certbot"]
    assert found["nginx"].environment["EDGE_ISSUED"] == "/etc/letsencrypt/live/api.example.com"
    certbot = found["nginx-certbot"]
    assert " ".join(certbot.command) == (
        "--cert-name api.example.com --server https://acme-v02.api.letsencrypt.org/directory"
        " --domain api.example.com --domain www.example.com --email me@example.com"
    )
    assert certbot.volumes[0].name == found["nginx"].volumes[0].name
    assert certbot.read_only
    assert certbot.cap_add == []
    assert certbot.ports == []
    # Its files are for nginx's group.
    assert certbot.user.partition(":")[2] == found["nginx"].user.partition(":")[2]
