"""What a real nginx does with the configuration of an edge: this machine's, or the stand-in's.

TIERS_TEST_NGINX names another one.
"""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi_tiers.model.edge import Edge
from real_nginx import Backend, Nginx, free_ports

pytestmark = pytest.mark.docker

Make = Callable[..., Nginx]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's own: nginx's workers are nobody where its master is root."""
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def backends() -> Iterator[list[Backend]]:
    """Three replicas: one port on three addresses, as on three hosts."""
    first = Backend("127.0.31.1")
    made = [first, *(Backend(f"127.0.31.{number}", first.port) for number in (2, 3))]
    yield made
    for backend in made:
        with contextlib.suppress(OSError):
            backend.die()


@pytest.fixture
def edge(folder: Path, backends: list[Backend]) -> Iterator[Make]:
    """Starts an nginx in front of the first backend, or of several."""
    started: list[Nginx] = []

    def make(
        count: int = 1,
        *,
        proxy_protocol: bool = False,
        environment: dict[str, str] | None = None,
        **keys: Any,
    ) -> Nginx:
        made = Nginx.make(folder, proxy_protocol=proxy_protocol)
        made.environment = environment or {}
        started.append(made)
        described_edge = Edge.model_validate(described(**keys))
        addresses = [backend.address for backend in backends[:count]]
        made.configure(
            described_edge,
            dict.fromkeys(described_edge.upstreams, addresses),
            backends[0].port,
            certificate(folder) if keys.get("tls") else {},
        )
        made.trust = folder / "secrets" / "tls.crt" if keys.get("tls") else None
        made.start()
        return made

    yield make
    for made in started:
        made.stop()


def described(**keys: Any) -> dict[str, Any]:
    return {
        "upstreams": {"app": {"endpoint": "app", **keys.pop("upstream", {})}},
        "routes": [{"path": "/", "upstream": "app", **keys.pop("route", {})}],
        **keys,
    }


def certificate(folder: Path) -> dict[str, str]:
    crt, key = folder / "made.crt", folder / "made.key"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    kind = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command = ["openssl", *kind, *subject, "-days", "2", "-out", str(crt), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    return {"tls.crt": crt.read_text(), "tls.key": key.read_text()}


TLS = {"mode": "self_signed"}


# --- what the upstream is told --------------------------------------------------------------------


def test_the_upstream_learns_who_asks_and_nothing_that_a_client_only_claims(edge: Make) -> None:
    nginx = edge()
    claims = {
        "Host": "shop.example.com:8443",
        "X-Forwarded-For": "1.2.3.4",
        "X-Forwarded-Proto": "https",
        "X-Forwarded-Host": "evil.example.com",
        "X-Real-IP": "1.2.3.4",
        "Forwarded": "for=1.2.3.4",
        "Proxy": "http://evil.example.com",
        "Authorization": "AWS4-HMAC-SHA256 Credential=x",
    }
    asked = nginx.get("/a%2Fb?q=1", claims).asked
    headers = asked["headers"]
    assert asked["path"] == "/a%2Fb?q=1"
    assert headers["host"] == "shop.example.com:8443"  # with its port, as S3's signatures hold it
    assert headers["x-real-ip"] == "127.0.0.1"
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == "shop.example.com:8443"
    assert headers["authorization"] == "AWS4-HMAC-SHA256 Credential=x"
    assert not {"forwarded", "proxy", "connection", "upgrade"} & set(headers)


def test_a_trusted_proxy_is_believed(edge: Make) -> None:
    nginx = edge(trusted_proxies=["127.0.0.0/24"])
    told = {"X-Forwarded-For": "1.2.3.4, 127.0.0.9", "X-Forwarded-Proto": "https"}
    headers = nginx.get("/", told).asked["headers"]
    assert headers["x-real-ip"] == "1.2.3.4"
    assert headers["x-forwarded-for"] == "1.2.3.4, 127.0.0.9, 127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    # Only what it can mean.
    odd = nginx.get("/", {"X-Forwarded-Proto": "ftp"}).asked["headers"]
    assert odd["x-forwarded-proto"] == "http"
    assert odd["x-forwarded-for"] == "127.0.0.1"
    # And of nobody else.
    headers = nginx.get("/", told, source="127.0.1.1").asked["headers"]
    assert headers["x-real-ip"] == headers["x-forwarded-for"] == "127.0.1.1"
    assert headers["x-forwarded-proto"] == "http"


def test_behind_a_trusted_proxy_the_client_counts(edge: Make) -> None:
    nginx = edge(
        trusted_proxies=["127.0.0.1/32"],
        rate_limits={"r": {"rate": "1r/m"}},
        routes=[
            {"path": "/", "upstream": "app", "rate_limit": "r"},
            {"path": "/metrics", "upstream": "app", "allow": ["203.0.113.9/32"]},
        ],
    )

    def ask(client: str, path: str = "/", source: str = "127.0.0.1") -> int:
        return nginx.get(path, {"X-Forwarded-For": client}, source=source).status

    assert [ask("203.0.113.9"), ask("203.0.113.9"), ask("203.0.113.10")] == [200, 429, 200]
    # What the client has written itself stands before what the proxy adds.
    assert ask("203.0.113.77, 203.0.113.9") == 429
    assert [ask("203.0.113.9", "/metrics"), ask("203.0.113.10", "/metrics")] == [200, 403]
    # From anybody else these are only words.
    assert ask("203.0.113.9", "/metrics", source="127.0.0.2") == 403
    assert [ask("203.0.113.1", source="127.0.0.2"), ask("203.0.113.2", source="127.0.0.2")] == [
        200,
        429,
    ]


def test_proxy_protocol_tells_the_clients_address(edge: Make) -> None:
    nginx = edge(
        proxy_protocol=True, rate_limits={"r": {"rate": "1r/m"}}, route={"rate_limit": "r"}
    )

    def ask(client: str) -> bytes:
        with socket.create_connection(("127.0.0.1", nginx.ports.http), 5) as connection:
            first = f"PROXY TCP4 {client} 10.0.0.2 40000 80\r\n"
            connection.sendall(f"{first}GET / HTTP/1.0\r\nHost: a\r\n\r\n".encode())
            return b"".join(iter(lambda: connection.recv(65536), b""))

    assert b'"x-real-ip": "203.0.113.9"' in ask("203.0.113.9")
    assert b" 429 " in ask("203.0.113.9")
    assert b" 200 " in ask("203.0.113.10")  # limits are per client, not per load balancer
    with pytest.raises((http.client.HTTPException, OSError)):
        nginx.get("/")  # without it nobody is answered
    assert nginx.healthy()


def test_a_trusted_proxy_before_the_load_balancer_is_believed(edge: Make) -> None:
    nginx = edge(proxy_protocol=True, trusted_proxies=["203.0.113.9/32"])

    def told(proxy: str) -> tuple[str, str]:
        with socket.create_connection(("127.0.0.1", nginx.ports.http), 5) as connection:
            first = f"PROXY TCP4 {proxy} 10.0.0.2 40000 80\r\n"
            claims = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-Proto: https"
            connection.sendall(f"{first}GET / HTTP/1.0\r\nHost: a\r\n{claims}\r\n\r\n".encode())
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        headers = json.loads(answer.partition(b"\r\n\r\n")[2])["headers"]
        return headers["x-forwarded-for"], headers["x-forwarded-proto"]

    assert told("203.0.113.9") == ("198.51.100.1, 203.0.113.9", "https")
    assert told("203.0.113.10") == ("203.0.113.10", "http")


def test_proxy_protocol_comes_before_tls(edge: Make) -> None:
    nginx = edge(proxy_protocol=True, tls=TLS, server_names=["localhost"])
    context = ssl.create_default_context(cafile=str(nginx.trust))
    with socket.create_connection(("127.0.0.1", nginx.ports.https), 5) as plain:
        plain.sendall(b"PROXY TCP4 203.0.113.9 10.0.0.2 40000 443\r\n")
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"x-real-ip": "203.0.113.9"' in answer
    assert b'"x-forwarded-proto": "https"' in answer


def test_a_stripped_prefix_is_told(edge: Make) -> None:
    nginx = edge(route={"path": "/api/", "strip_prefix": True})
    asked = nginx.get("/api/users?x=1").asked
    assert asked["path"] == "/users?x=1"
    assert asked["headers"]["x-forwarded-prefix"] == "/api"
    lost = nginx.get("/api")
    assert (lost.status, lost.headers["location"]) == (301, "/api/")
    assert nginx.get("/other").status == 404
    assert nginx.get("/api/a%2Fb%20c").asked["path"] == "/a/b%20c"


# --- limits ---------------------------------------------------------------------------------------


def test_ten_in_a_second_and_twenty_more_at_once(edge: Make) -> None:
    limits = {"api": {"rate": "10r/s", "burst": 20, "nodelay": True}}
    nginx = edge(rate_limits=limits, route={"rate_limit": "api"})
    started = time.monotonic()
    found = Counter(nginx.get("/").status for _ in range(60))
    seconds = time.monotonic() - started
    # The first, the burst, and what became free meanwhile.
    assert 21 <= found[200] <= 22 + 10 * seconds, found
    assert found[200] + found[429] == 60


def test_a_burst_waits_for_its_turn(edge: Make) -> None:
    nginx = edge(rate_limits={"api": {"rate": "10r/s", "burst": 3}}, route={"rate_limit": "api"})
    started = time.monotonic()
    assert {nginx.get("/").status for _ in range(4)} == {200}
    assert time.monotonic() - started > 0.25


@pytest.mark.parametrize("buffered", [True, False])
def test_a_body_that_is_too_large_never_reaches_the_upstream(
    edge: Make, backends: list[Backend], buffered: bool
) -> None:
    nginx = edge(route={"max_body_size": "100k", "request_buffering": buffered})
    assert nginx.get("/", method="PUT", body=b"x" * 100_000).asked["length"] == 100_000
    assert nginx.get("/", method="PUT", body=b"x" * 200_000).status == 413
    # One that doesn't say how large it will be: what was sent of it, nobody takes for a whole.
    connection = nginx.connection()
    parts = (b"x" * 50_000 for _ in range(4))
    with contextlib.suppress(ConnectionError):
        connection.request("PUT", "/", parts, {"Transfer-Encoding": "chunked"}, encode_chunked=True)
    assert connection.getresponse().status == 413
    assert [asked["length"] for asked in backends[0].requests] == [100_000]


@pytest.mark.parametrize("buffered", [True, False])
def test_a_body_is_passed_on_as_it_comes_or_as_a_whole(
    edge: Make, backends: list[Backend], buffered: bool
) -> None:
    nginx = edge(
        max_body_size="8m",
        route={"request_buffering": buffered},
        upstream={"keepalive": 0},
    )
    assert nginx.get("/", method="POST", body=b"x" * 5_000_000).asked["length"] == 5_000_000
    before = len(backends[0].connections)
    with socket.create_connection(("127.0.0.1", nginx.ports.http), 5) as connection:
        connection.sendall(b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        # The upstream hears of it with its first part, or not before its last.
        if buffered:
            time.sleep(0.5)
            assert len(backends[0].connections) == before
        else:
            told = lambda: len(backends[0].connections) == before + 1  # noqa: E731
            nginx.wait_for(told, "the upstream is told")
        connection.sendall(b"world")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"length": 10' in answer


@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\r\nHo", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhe"]
)
def test_a_client_that_stops_in_a_request_is_not_waited_for(edge: Make, begun: bytes) -> None:
    nginx = edge(timeouts={"client": "1s"})
    with socket.create_connection(("127.0.0.1", nginx.ports.http), 5) as connection:
        connection.sendall(begun)
        started = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
        assert 0.5 < time.monotonic() - started < 4


def test_others_than_the_allowed_get_403(edge: Make) -> None:
    nginx = edge(
        routes=[
            {"path": "/metrics", "upstream": "app", "exact": True, "allow": ["10.0.0.0/8"]},
            {"path": "/open", "upstream": "app", "allow": ["127.0.0.0/8"]},
        ]
    )
    assert [nginx.get(path).status for path in ("/metrics", "/open")] == [403, 200]
    status = nginx.ports.status
    assert nginx.get("/nginx_status", port=status).body.startswith(b"Active conn")
    assert nginx.get("/nginx_status", port=status, source="127.0.0.2").status == 403
    assert nginx.get("/healthz", port=status, source="127.0.0.2").status == 200
    assert nginx.get("/other", port=nginx.ports.status).status == 404


# --- many upstreams -------------------------------------------------------------------------------


def test_least_conn_gives_to_the_one_that_has_least(edge: Make, backends: list[Backend]) -> None:
    backends[0].wait = 1.0
    nginx = edge(3, upstream={"balance": "least_conn"})
    at_once = [threading.Thread(target=nginx.get) for _ in range(12)]
    for thread in at_once:
        thread.start()
        time.sleep(0.05)
    for thread in at_once:
        thread.join()
    slow, *quick = (len(backend.requests) for backend in backends)
    assert slow <= 2, (slow, quick)
    assert min(quick) >= 3, (slow, quick)


def test_requests_go_round_or_always_to_the_same(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(
        3,
        upstreams={"app": {"endpoint": "app"}, "same": {"endpoint": "app", "balance": "ip_hash"}},
        routes=[{"path": "/", "upstream": "app"}, {"path": "/same", "upstream": "same"}],
    )
    assert sorted(Counter(nginx.get("/").asked["by"] for _ in range(9)).values()) == [3, 3, 3]
    assert len({nginx.get("/same").asked["by"] for _ in range(9)}) == 1


def test_a_request_is_repeated_where_that_changes_nothing(
    edge: Make, backends: list[Backend]
) -> None:
    backends[0].broken = True
    nginx = edge(2)
    assert {nginx.get("/").status for _ in range(4)} == {200}
    posted = [nginx.get("/", method="POST", body=b"x").status for _ in range(4)]
    posts = [asked for backend in backends for asked in backend.requests if asked["length"]]
    # Whether it was done before the connection broke, nobody knows.
    assert set(posted) == {200, 502}
    assert len(posts) == 4


@pytest.mark.parametrize(
    "keys",
    [
        {"timeouts": {"read": "500ms"}},
        {"timeouts": {"read": "20s"}, "route": {"read_timeout": "500ms"}},
    ],
)
def test_one_slow_request_is_not_begun_again_and_ends_no_replica(
    edge: Make, backends: list[Backend], keys: dict[str, Any]
) -> None:
    nginx = edge(2, **keys)
    for backend in backends[:2]:
        backend.wait = 1.5
    assert nginx.get("/slow").status == 504
    assert sum(len(backend.requests) for backend in backends) == 1
    assert nginx.get("/slow").status == 504
    for backend in backends[:2]:
        backend.wait = 0
    assert {nginx.get("/").status for _ in range(4)} == {200}


def test_an_answer_may_begin_with_much(edge: Make, backends: list[Backend]) -> None:
    backends[0].answers["Set-Cookie"] = "a=" + "x" * 12_000
    answer = edge().get("/")
    assert (answer.status, len(answer.headers["set-cookie"])) == (200, 12_002)


def test_connections_to_the_upstream_are_kept(edge: Make, backends: list[Backend]) -> None:
    nginx = edge()
    for _ in range(10):
        nginx.get()
    assert len({asked["peer"] for asked in backends[0].requests}) == 1


def test_no_keepalive_means_one_connection_each(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(upstream={"keepalive": 0})
    for _ in range(3):
        nginx.get()
    assert len({asked["peer"] for asked in backends[0].requests}) == 3


class Load:
    """Requests, one after the other on each of a few threads, until it is told to stop."""

    def __init__(self, nginx: Nginx, threads: int = 3) -> None:
        self.found: Counter[object] = Counter()
        self._nginx = nginx
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._end.is_set():
            try:
                self.found[self._nginx.get("/").status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.found[repr(error)] += 1

    def goes_on(self, count: int) -> None:
        """Waits for so many more answers, good or bad."""
        enough = self.found.total() + count
        self._nginx.wait_for(lambda: self.found.total() >= enough, f"{count} answers", 60)

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def test_nobody_notices_that_a_replica_is_killed(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(3)
    with Load(nginx) as load:
        load.goes_on(30)
        backends[1].die()
        load.goes_on(60)
        nginx.resolve("app", [backends[0].address, backends[2].address])
        nginx.wait_for_log("reloading: new addresses")
        load.goes_on(30)
    assert set(load.found) == {200}, load.found


def test_nobody_notices_a_reload(edge: Make, backends: list[Backend]) -> None:
    nginx = edge()
    with Load(nginx) as load:
        for number in range(5):
            changed = Edge.model_validate(described(headers={"X-Number": str(number)}))
            nginx.configure(changed, {"app": [backends[0].address]}, backends[0].port)
            nginx.wait_for(
                lambda number=number: nginx.get().headers.get("x-number") == str(number), "it"
            )
    assert set(load.found) == {200}, load.found
    assert nginx.log.count("reloading: a new configuration") == 5


def test_a_reload_leaves_kept_connections_alone(edge: Make, backends: list[Backend]) -> None:
    nginx = edge()
    if nginx.version < (1, 27, 4):
        pytest.skip("older ones close connections without a request on a reload")
    connection = nginx.connection()
    failed = 0
    for number in range(3):
        nginx.configure(
            Edge.model_validate(described(headers={"X-Number": str(number)})),
            {"app": [backends[0].address]},
            backends[0].port,
        )
        for _ in range(60):
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                failed += response.status != 200
            except OSError:
                failed += 1
            time.sleep(0.01)
    assert failed == 0
    assert nginx.log.count("reloading") == 3


def test_a_moved_container_is_found_again(edge: Make, backends: list[Backend]) -> None:
    nginx = edge()
    assert nginx.get().asked["by"] == backends[0].address
    nginx.resolve("app", [backends[2].address])
    nginx.wait_for_log("reloading: new addresses")
    nginx.wait_for(lambda: nginx.get().asked["by"] == backends[2].address, "the new one answers")


def test_an_upstream_without_an_address_fails_alone(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(
        0,
        upstreams={"app": {"endpoint": "app"}, "away": {"endpoint": "away"}},
        routes=[{"path": "/", "upstream": "app"}, {"path": "/away", "upstream": "away"}],
    )
    assert nginx.get("/").status == 502
    nginx.resolve("app", [backends[0].address])
    nginx.wait_for(lambda: nginx.get("/").status == 200, "it answers")
    assert nginx.get("/away").status == 502
    # A name that is not known for a moment keeps its addresses.
    nginx.resolve("app", [])
    time.sleep(0.8)
    assert nginx.get("/").status == 200


def test_a_bad_configuration_is_left_aside(edge: Make, backends: list[Backend]) -> None:
    nginx = edge()
    good = (nginx.folder / "configs" / "nginx.conf").read_text()
    nginx.put("configs/nginx.conf", good.replace("server_tokens off", "server_tokens maybe"))
    nginx.wait_for_log("nginx refuses the new configuration")
    assert nginx.get("/").status == 200
    # Addresses are followed all the same.
    nginx.resolve("app", [backends[1].address])
    nginx.wait_for(lambda: nginx.get().asked["by"] == backends[1].address, "the new one answers")
    nginx.put("configs/nginx.conf", good.replace("server_tokens off", "server_tokens on"))
    nginx.wait_for(lambda: "/" in nginx.get().headers["server"], "the next good one counts")
    assert nginx.log.count("nginx refuses") == 1


def test_open_connections_outlive_a_reload_for_a_while(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(timeouts={"drain": "2s"}, route={"websocket": True})
    with socket.create_connection(("127.0.0.1", nginx.ports.http), 5) as connection:
        asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        connection.sendall(asked.encode())
        assert b" 101 " in connection.recv(65536)
        nginx.resolve("app", [backends[1].address])
        nginx.wait_for(lambda: nginx.get().asked["by"] == backends[1].address, "it is reloaded")
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(100) == b""  # it has had its time


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGQUIT])
def test_it_ends_what_it_has_begun(
    edge: Make, backends: list[Backend], how: signal.Signals
) -> None:
    backends[0].wait = 1.0
    nginx = edge()
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(nginx.get().status))
    thread.start()
    nginx.wait_for(lambda: backends[0].requests, "the request has begun")
    assert nginx.stop(how) == 0
    thread.join()
    assert found == [200]
    with pytest.raises(OSError, match="refused"):
        nginx.get("/")


def test_it_answers_until_its_load_balancer_knows(edge: Make, backends: list[Backend]) -> None:
    del backends
    nginx = edge(environment={"EDGE_LINGER": "1"})
    found: list[int] = []

    def ask() -> None:
        time.sleep(0.5)
        found.append(nginx.get().status)

    thread = threading.Thread(target=ask)
    thread.start()
    assert nginx.stop() == 0
    thread.join()
    assert found == [200]


# --- what clients see -----------------------------------------------------------------------------


def test_tls_with_redirect_hsts_and_http2(edge: Make) -> None:
    nginx = edge(tls=TLS, hsts=3600)
    there = nginx.get("/a?b=c", {"Host": "localhost:8080"})
    assert there.status == 308
    assert there.headers["location"] == f"https://localhost:{nginx.ports.https}/a?b=c"
    assert "strict-transport-security" not in there.headers
    answer = nginx.get("/", tls=True)
    assert answer.asked["headers"]["x-forwarded-proto"] == "https"
    assert answer.headers["strict-transport-security"] == "max-age=3600"
    key = nginx.folder / "run" / "now" / "tls.key"
    assert key.stat().st_mode & 0o077 == 0
    context = ssl.create_default_context(cafile=str(nginx.trust))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection(("127.0.0.1", nginx.ports.https), 5) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        assert connection.selected_alpn_protocol() == "h2"
    curl = shutil.which("curl")
    if curl:
        address = f"https://localhost:{nginx.ports.https}/"
        command = [curl, "--silent", "--http2", "--cacert", str(nginx.trust), address]
        write = ["--output", str(nginx.folder / "body"), "--write-out", "%{http_version}"]
        said = subprocess.run([*command, *write], capture_output=True, text=True, check=True)
        assert said.stdout == "2"
        assert f'"host": "localhost:{nginx.ports.https}"' in (nginx.folder / "body").read_text()


def test_who_came_to_a_trusted_proxy_by_tls_is_not_led_in_circles(edge: Make) -> None:
    nginx = edge(tls=TLS, hsts=60, trusted_proxies=["127.0.0.1/32"])
    by_tls, without = {"X-Forwarded-Proto": "https"}, {"X-Forwarded-Proto": "http"}
    served = nginx.get("/", by_tls)
    assert (served.status, served.asked["headers"]["x-forwarded-proto"]) == (200, "https")
    assert served.headers["strict-transport-security"] == "max-age=60"
    for told, source in ((without, "127.0.0.1"), (None, "127.0.0.1"), (by_tls, "127.0.0.2")):
        led = nginx.get("/a?b", told, source=source)
        assert (led.status, led.headers["location"][-4:]) == (308, "/a?b")
        assert "strict-transport-security" not in led.headers
    # Not before a body was taken that is too large for this path: the redirect comes first.
    assert nginx.get("/", method="POST", body=b"x" * 2_000_000).status == 308


def test_a_challenge_is_answered_without_tls(folder: Path, backends: list[Backend]) -> None:
    nginx = Nginx.make(folder)
    host = "shop.example.com"
    keys = {"tls": {"mode": "lets_encrypt"}, "server_names": [host]}
    edge = Edge.model_validate(described(**keys))
    nginx.configure(edge, {"app": [backends[0].address]}, backends[0].port, certificate(folder))
    challenge = folder / "webroot" / ".well-known" / "acme-challenge" / "token"
    challenge.parent.mkdir(parents=True)
    challenge.write_text("proof")
    conf = folder / "configs" / "nginx.conf"
    text = conf.read_text().replace("/etc/letsencrypt/webroot", str(folder / "webroot"))
    nginx.put("configs/nginx.conf", text)
    nginx.start()
    try:
        there = {"Host": host}
        assert nginx.get("/.well-known/acme-challenge/token", there).body == b"proof"
        assert nginx.get("/.well-known/acme-challenge/../../x", there).status == 308
        assert nginx.get("/", there).status == 308
    finally:
        nginx.stop()


def test_a_new_certificate_is_taken_without_a_word(edge: Make, folder: Path) -> None:
    nginx = edge(tls=TLS)
    nginx.get("/", tls=True)
    for file, text in certificate(folder).items():
        nginx.put(f"secrets/{file}", text)

    def served() -> bool:
        try:
            return nginx.get("/", tls=True).status == 200
        except ssl.SSLError:  # still the old one, which isn't trusted any more
            return False

    assert not served()
    nginx.wait_for(served, "the new one is served")


def test_an_issued_certificate_stays_while_another_is_written(folder: Path) -> None:
    nginx = Nginx.make(folder)
    issued = folder / "issued"
    issued.mkdir()
    nginx.environment["EDGE_ISSUED"] = str(issued)
    nginx.configure(Edge.model_validate(described(tls=TLS)), {}, files=certificate(folder))

    def pair() -> tuple[str, str]:
        made = certificate(folder)
        return made["tls.crt"], made["tls.key"]

    def served() -> str:
        address = ("127.0.0.1", nginx.ports.https)
        return ssl.get_server_certificate(address)

    def always(crt: str) -> bool:
        found = []
        for _ in range(5):
            found.append(served())
            time.sleep(0.1)
        return set(found) == {crt}

    def issue(crt: str, key: str) -> None:
        nginx.put("issued/fullchain.pem", crt)
        nginx.put("issued/privkey.pem", key)
        # The workers before take connections until they have heard of the reload.
        nginx.wait_for(lambda: always(crt), "the issued one is served")

    def stays(crt: str) -> None:
        for _ in range(6):
            assert served() == crt
            time.sleep(0.1)

    nginx.start()
    try:
        first, second = pair(), pair()
        own = served()
        assert own != first[0]
        nginx.put("issued/fullchain.pem", first[0])
        stays(own)
        issue(*first)
        # As certbot does it: away with the link, then the new one; its key can't be read at first.
        (issued / "privkey.pem").unlink()
        stays(first[0])
        (issued / "fullchain.pem").unlink()
        stays(first[0])
        nginx.put("issued/fullchain.pem", second[0])
        stays(first[0])
        issue(*second)
        assert "nginx refuses" not in nginx.log
    finally:
        nginx.stop()


def test_unknown_hosts_are_refused(edge: Make) -> None:
    nginx = edge(server_names=["shop.example.com", "*.shop.example.com"], tls=TLS, redirect=False)
    nginx.trust = None
    for tls in (False, True):
        statuses = [
            nginx.get("/", {"Host": host}, tls=tls).status
            for host in ("shop.example.com", "a.shop.example.com", "127.0.0.1", "evil.example.com")
        ]
        assert statuses == [200, 200, 421, 421]


def test_headers_of_the_edge_where_the_upstream_has_none(
    edge: Make, backends: list[Backend]
) -> None:
    nginx = edge(headers={"X-Frame-Options": "DENY", "X-Quote": """it's "so"; { #1 }"""})
    assert nginx.get().headers["x-frame-options"] == "DENY"
    assert nginx.get().headers["x-quote"] == """it's "so"; { #1 }"""
    assert "/" not in nginx.get().headers["server"]
    backends[0].answers["X-Frame-Options"] = "SAMEORIGIN"
    assert nginx.get().headers["x-frame-options"] == "SAMEORIGIN"
    # Refusals have them too.
    assert nginx.get(method="POST", body=b"x" * 2_000_000).headers["x-frame-options"] == "DENY"


def test_what_the_edge_decides_the_upstream_does_not(edge: Make, backends: list[Backend]) -> None:
    own = {"X-Request-ID": "mine", "Strict-Transport-Security": "max-age=1"}
    backends[0].answers.update(own)
    nginx = edge(tls=TLS, hsts=60, redirect=False)
    answer = nginx.get("/", {"X-Request-ID": "the client's"}, tls=True)
    assert answer.headers["strict-transport-security"] == "max-age=60"
    identity = answer.headers["x-request-id"]
    assert len(identity) == 32
    assert answer.asked["headers"]["x-request-id"] == identity
    assert "strict-transport-security" not in nginx.get("/").headers


def test_snippets_do_what_has_no_key(edge: Make) -> None:
    server = r"""
        # As people write it.
        location ~* "\.(php|asp)$" { return 410 "gone: $uri\n"; }
        if ($request_method = TRACE) { return 405; }
        rewrite ^/old/(.*)$ /new/$1 last;
        add_header X-Quoted "a \"b\" 'c'; {d}" always;
    """
    shop = "map $host $shop { default 'a shop'; ~^b b; } add_header X-Other $shop;"
    nginx = edge(snippets={"http": shop, "server": server})
    gone = nginx.get("/a.PHP")
    assert (gone.status, gone.body) == (410, b"gone: /a.PHP\n")
    answer = nginx.get("/old/x?y")
    assert answer.asked["path"] == "/new/x?y"
    assert answer.headers["x-quoted"] == """a "b" 'c'; {d}"""
    assert answer.headers["x-frame-options"] == "DENY"


def test_cors_is_for_the_listed_origins(edge: Make, backends: list[Backend]) -> None:
    backends[0].answers["Access-Control-Allow-Origin"] = "*"
    origins = ["https://app.example.com", "http://localhost:3000"]
    nginx = edge(cors_origins=origins)
    for origin in origins:
        answer = nginx.get("/", {"Origin": origin}).headers
        assert answer["access-control-allow-origin"] == origin
        assert answer["access-control-allow-credentials"] == "true"
        assert answer["vary"] == "Origin"
        assert "access-control-max-age" not in answer
        # Pages can read why they were refused.
        refused = nginx.get("/", {"Origin": origin}, method="POST", body=b"x" * 2_000_000)
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (413, origin)
    for nobody in ({"Origin": "https://a"}, None):
        headers = nginx.get("/", nobody).headers
        assert not [name for name in headers if name.startswith("access-control")]
        # A cache may not give that answer to a listed page.
        assert headers["vary"] == "Origin"
    page = {"Origin": origins[0]}
    asking = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-a"}
    preflight = nginx.get("/", {**page, **asking}, method="OPTIONS")
    assert preflight.status == 204
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "x-a"
    assert preflight.headers["access-control-allow-origin"] == origins[0]
    assert preflight.headers["access-control-max-age"] == "600"
    # No question of a browser's, so the upstream's.
    assert nginx.get("/", page, method="OPTIONS").asked["method"] == "OPTIONS"
    # Anybody else's goes on to the upstream.
    other = {"Origin": "https://evil.example.com", **asking}
    assert nginx.get("/", other, method="OPTIONS").asked["method"] == "OPTIONS"


def test_texts_are_compressed(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(gzip_types=["application/json"])
    gzip = {"Accept-Encoding": "gzip"}
    for asked in (gzip, {**gzip, "Via": "1.1 a proxy"}):
        packed = nginx.get("/pad", asked)
        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "Accept-Encoding"
        assert len(packed.body) < 1000
    assert "content-encoding" not in nginx.get("/pad").headers
    assert "content-encoding" not in nginx.get("/", gzip).headers
    backends[0].answers["Content-Type"] = "text/plain"
    assert "content-encoding" not in nginx.get("/pad", gzip).headers


def test_a_websocket_and_nothing_else_may_be_asked_for(edge: Make, backends: list[Backend]) -> None:
    nginx = edge(
        routes=[
            {"path": "/", "upstream": "app"},
            {"path": "/ws", "upstream": "app", "websocket": True},
        ]
    )

    def upgrade(path: str, protocol: str) -> bytes:
        with socket.create_connection(("127.0.0.1", nginx.ports.http), 5) as connection:
            connection.settimeout(2)
            asked = f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}"
            connection.sendall(f"{asked}\r\n\r\n".encode())
            first = connection.recv(65536)
            if b" 101 " in first:
                connection.sendall(b"hello")
                return connection.recv(100)
            return first

    assert upgrade("/ws", "websocket") == b"hello"
    assert b" 200 " in upgrade("/ws", "h2c")
    assert b" 200 " in upgrade("/", "websocket")
    assert all("upgrade" not in asked["headers"] for asked in backends[0].requests)
    # Ordinary requests of that route keep their connection.
    assert len({nginx.get("/ws").asked["peer"] for _ in range(5)}) == 1


# --- logs -----------------------------------------------------------------------------------------


def test_the_log_tells_of_each_request_and_of_no_signature(edge: Make) -> None:
    nginx = edge()
    answer = nginx.get('/a"b?X-Amz-Signature=no-hexadecimal', {"User-Agent": 'a"b\\c'})
    nginx.wait_for(lambda: len(nginx.access) == 1, "a line")
    line = nginx.access[0]
    assert (line["method"], line["path"], line["status"]) == ("GET", '/a"b', 200)
    assert line["agent"] == 'a"b\\c'
    assert line["id"] == answer.headers["x-request-id"] == answer.asked["headers"]["x-request-id"]
    assert line["upstream_status"] == "200"
    assert float(line["upstream_seconds"]) >= 0
    assert "no-hexadecimal" not in nginx.log


def test_logs_on_a_volume_stay_below_their_size(folder: Path, backends: list[Backend]) -> None:
    nginx = Nginx.make(folder)
    logs = folder / "logs"
    logs.mkdir()
    (logs / "access.log").symlink_to("/dev/stdout")  # as the official image has it
    volume = {"name": "logs", "target": "/var/log/nginx", "size": "1Mi"}
    edge = Edge.model_validate(described(log_volume=volume))
    nginx.configure(edge, {"app": [backends[0].address]}, backends[0].port)
    conf = folder / "configs" / "nginx.conf"
    nginx.put("configs/nginx.conf", conf.read_text().replace("/var/log/nginx", str(logs)))
    nginx.environment = {"EDGE_LOGS": str(logs), "EDGE_LOGS_SIZE": "100"}
    nginx.start()
    try:
        agent = {"User-Agent": "x" * 3000}
        for _ in range(6):
            for _ in range(10):
                nginx.get("/", agent)
            time.sleep(0.4)
        names = sorted(path.name for path in logs.iterdir())
        total = sum(path.stat().st_size for path in logs.iterdir())
        assert "access.log.3" in names, names
        assert "access.log.4" not in names
        assert total < 200 * 1024
        assert not (logs / "access.log").is_symlink()
        assert len(nginx.access) == 60  # the container's log has all of them
    finally:
        nginx.stop()


def test_it_says_so_when_it_can_not_start(folder: Path) -> None:
    nginx = Nginx.make(folder)
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", nginx.ports.http))
        taken.listen()
        nginx.configure(Edge.model_validate(described()), {}, free_ports(1)[0])
        with pytest.raises(AssertionError, match="Address already in use"):
            nginx.start()
    nginx.stop()


def test_the_longest_names_find_room_in_its_tables(edge: Make) -> None:
    host = ".".join(["a" * 49] * 5)
    longest = "X-" + "a" * 61
    nginx = edge(
        server_names=[host, "localhost"],
        headers={longest: "1", "Content-Security-Policy-Report-Only": "default-src 'self'"},
        gzip_types=["application/" + "x" * 34],
        cors_origins=["https://" + ".".join(["a" * 46] * 5)],
        rate_limits={"a" * 40: {"rate": "999999r/s", "burst": 100_000, "zone_size": "1024m"}},
        route={"rate_limit": "a" * 40},
    )
    assert nginx.get("/", {"Host": host}).headers[longest.lower()] == "1"
