"""The reference workload: what it answers, what it finds in the environment, how it is served."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reference import stores
from reference.app import configure_logging, create_app
from reference.stores import Event, EventStore, PostgresStore, Store, StoreError, discover

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "APP_TITLE": "Encontros Tech - HOMOLOGAÇÃO <b>",
    "SERVICE_NAME": "encontros-tech",
    "SERVICE_VERSION": "1.0.0",
}


class MemoryStore(EventStore):
    """Keeps events in a list; fails or takes its time when told to."""

    engine = "memory"

    def __init__(self, error: str | None = None, seconds: float = 0) -> None:
        super().__init__("memory://")
        self.error = error
        self.seconds = seconds
        self.events: list[Event] = []

    def _use(self) -> None:
        time.sleep(self.seconds)
        if self.error:
            raise StoreError(self.error)

    def check(self) -> None:
        self._use()

    def add(self, title: str) -> Event:
        self._use()
        self.events.append(Event(len(self.events) + 1, title, datetime.now(UTC)))
        return self.events[-1]

    def newest(self, limit: int) -> list[Event]:
        self._use()
        return self.events[::-1][:limit]


def client(**named_stores: Store):
    return create_app(ENVIRONMENT, named_stores).test_client()


# --- health ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/api/health"])
def test_health_names_every_dependency(path: str):
    response = client(DATABASE_URL=MemoryStore(), OTHER_URL=MemoryStore()).get(path)
    assert response.status_code == 200
    body = response.get_json()
    assert (body["status"], body["service"], body["version"]) == ("ok", "encontros-tech", "1.0.0")
    assert set(body["dependencies"]) == {"DATABASE_URL", "OTHER_URL"}
    state = body["dependencies"]["DATABASE_URL"]
    assert (state["engine"], state["ok"], state["error"]) == ("memory", True, None)
    assert state["milliseconds"] >= 0


def test_one_failing_dependency_fails_the_health_and_the_others_still_show():
    response = client(A_URL=MemoryStore(error="no route to host"), B_URL=MemoryStore()).get(
        "/health"
    )
    assert response.status_code == 503
    body = response.get_json()
    assert body["status"] == "failing"
    assert body["dependencies"]["A_URL"]["error"] == "no route to host"
    assert body["dependencies"]["B_URL"]["ok"] is True


def test_without_dependencies_it_is_healthy():
    response = client().get("/health")
    assert response.status_code == 200
    assert response.get_json()["dependencies"] == {}


def test_slow_dependencies_are_checked_at_the_same_time():
    slow = {f"S{number}_URL": MemoryStore(seconds=0.3) for number in range(4)}
    started = time.monotonic()
    assert client(**slow).get("/health").status_code == 200
    assert time.monotonic() - started < 0.8


# --- the page --------------------------------------------------------------------------------


def test_the_page_shows_title_events_and_dependencies_escaped():
    store = MemoryStore()
    store.add("PyCon <script>")
    response = client(DATABASE_URL=store).get("/")
    assert response.status_code == 200
    assert "<title>Encontros Tech - HOMOLOGAÇÃO &lt;b&gt;</title>" in response.text
    assert "PyCon &lt;script&gt;" in response.text
    assert "DATABASE_URL (memory): ok" in response.text
    assert "<script>" not in response.text


def test_the_page_says_what_is_down():
    response = client(DATABASE_URL=MemoryStore(error="connection refused")).get("/")
    assert response.status_code == 503
    assert "DATABASE_URL (memory): connection refused" in response.text


def test_the_page_works_without_dependencies():
    assert client().get("/").status_code == 200


# --- events ----------------------------------------------------------------------------------


def test_events_come_back_newest_first_and_limited():
    browser = client(DATABASE_URL=MemoryStore())
    created = [browser.post("/events", json={"title": f" event {n} "}) for n in range(3)]
    assert [response.status_code for response in created] == [201, 201, 201]
    assert created[2].get_json()["title"] == "event 2"
    titles = [event["title"] for event in browser.get("/events?limit=2").get_json()]
    assert titles == ["event 2", "event 1"]
    assert len(browser.get("/events").get_json()) == 3


@pytest.mark.parametrize(
    "body",
    [
        "",
        "title=x",
        "[]",
        "null",
        "{}",
        '{"title": 7}',
        '{"title": ""}',
        '{"title": "   "}',
        json.dumps({"title": "x" * 201}),
        json.dumps({"title": "null byte \0"}),
        '{"title": "half a pair \\ud800"}',
    ],
)
def test_a_bad_event_is_refused_in_json_and_not_kept(body: str):
    store = MemoryStore()
    response = client(DATABASE_URL=store).post(
        "/events", data=body, content_type="application/json"
    )
    assert response.status_code == 400
    assert "title" in response.get_json()["error"]
    assert store.events == []


def test_the_longest_title_is_kept():
    assert client(A_URL=MemoryStore()).post("/events", json={"title": "é" * 200}).status_code == 201


@pytest.mark.parametrize("limit", ["0", "-1", "101", "ten", "", "1.5"])
def test_a_bad_limit_is_refused(limit: str):
    response = client(DATABASE_URL=MemoryStore()).get(f"/events?limit={limit}")
    assert response.status_code == 400
    assert "limit" in response.get_json()["error"]


def test_events_of_a_failing_store_are_unavailable():
    browser = client(DATABASE_URL=MemoryStore(error="down"))
    for response in (browser.get("/events"), browser.post("/events", json={"title": "x"})):
        assert (response.status_code, response.get_json()) == (503, {"error": "down"})


def test_events_without_a_store_are_unavailable():
    assert client().get("/events").status_code == 503


def test_other_errors_are_json_too():
    browser = client(DATABASE_URL=MemoryStore())
    assert "error" in browser.get("/nowhere").get_json()
    assert browser.put("/events").status_code == 405
    too_large = browser.post("/events", json={"title": "x" * 20_000})
    assert too_large.status_code == 413


# --- metrics ---------------------------------------------------------------------------------


def test_metrics_count_requests_by_route_and_never_by_invented_path():
    browser = client(DATABASE_URL=MemoryStore())
    browser.get("/health")
    browser.get("/invented-path")
    response = browser.get("/metrics")
    assert response.status_code == 200
    assert response.content_type.startswith("text/plain")
    text = response.text
    assert re.search(r'^flask_http_request_total\{method="GET",status="200"\} [1-9]', text, re.M)
    assert 'flask_http_request_duration_seconds_count{method="GET",path="/health"' in text
    assert re.search(r'^app_info\{service="encontros-tech",.*version="1.0.0"\} 1.0$', text, re.M)
    assert "invented-path" not in text


# --- the environment -------------------------------------------------------------------------


def test_stores_are_found_by_scheme_in_url_and_uri_variables():
    found = discover(
        {
            "DATABASE_URL": "postgresql://u:p@db/app",
            "REPORTS_URI": "postgres://u:p@db/reports",
            "ORM_URL": "postgresql+psycopg2://u:p@db/orm",
            "WORDPRESS_URL": "https://example.org",
            "EMPTY_URL": "",
            "PLAIN_URL": "postgresql",
            "DATABASE": "postgresql://u:p@db/app",
        }
    )
    assert {name: type(store) for name, store in found.items()} == {
        "DATABASE_URL": PostgresStore,
        "ORM_URL": PostgresStore,
        "REPORTS_URI": PostgresStore,
    }


@pytest.fixture
def root_logger() -> Generator[logging.Logger]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield root
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, "INFO"),
        ({"DEBUG": "true"}, "DEBUG"),
        ({"DEBUG": "true", "LOG_LEVEL": "INFO"}, "INFO"),
        ({"LOG_LEVEL": "warning"}, "WARNING"),
        ({"LOG_LEVEL": "loud"}, "INFO"),
    ],
)
def test_log_level(root_logger: logging.Logger, environment: Mapping[str, str], level: str):
    configure_logging(environment)
    assert logging.getLevelName(root_logger.level) == level


@pytest.mark.parametrize(("log_format", "coloured"), [("colored", True), ("simple", False)])
def test_log_format(root_logger: logging.Logger, log_format: str, coloured: bool):
    configure_logging({"LOG_FORMAT": log_format})
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "a line", None, None)
    line = root_logger.handlers[0].format(record)
    assert "a line" in line
    assert line.startswith("\033[31m") is coloured
    assert line.endswith("\033[0m") is coloured


# --- PostgreSQL without one ------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_database_that_is_down_is_an_error_without_the_password():
    store = PostgresStore(f"postgresql://user:s3cr%2Fet@127.0.0.1:{closed_port()}/app")
    with pytest.raises(StoreError, match="Connection refused") as failure:
        store.check()
    assert "s3cr" not in str(failure.value)
    assert failure.value.__cause__ is None


def test_a_database_that_never_answers_costs_a_few_seconds(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stores, "TIMEOUT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = PostgresStore(f"postgresql://u:p4ss@127.0.0.1:{silent.getsockname()[1]}/app")
        started = time.monotonic()
        with pytest.raises(StoreError, match="timeout"):
            store.check()
    assert time.monotonic() - started < 4


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2/x@db/app",
        "postgresql://user:hunter2#x@db/app",
        "postgresql://user:hunter2?x@db/app",
        "postgresql://user:hunter2[x@db/app",
        "postgresql://user:hunter2@db:port/app",
        "postgresql://user:1234/hunter2@db/app",
        "postgresql:///app",
        "postgresql://",
    ],
)
def test_an_unreadable_url_is_explained_and_not_quoted(url: str):
    with pytest.raises(StoreError, match="percent-encode") as failure:
        PostgresStore(url).check()
    assert "hunter2" not in str(failure.value)


def test_a_parameter_that_libpq_does_not_know_is_named():
    with pytest.raises(StoreError, match="nonsense") as failure:
        PostgresStore("postgresql://u:hunter2@127.0.0.1/app?nonsense=hunter2").check()
    assert "hunter2" not in str(failure.value)


# --- as gunicorn serves it -------------------------------------------------------------------


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_gunicorn_serves_it_without_its_database_and_ends_on_sigterm(tmp_path: Path):
    metrics = tmp_path / "metrics"
    metrics.mkdir()
    (metrics / "counter_1.db").write_bytes(b"left by an earlier run")
    (metrics / "precious.txt").write_text("not ours")
    port, database_port = closed_port(), closed_port()
    environment = {
        **os.environ,
        **ENVIRONMENT,
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "DATABASE_URL": f"postgresql://user:hunter2@127.0.0.1:{database_port}/app",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
        "LOG_FORMAT": "simple",
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "reference/gunicorn.conf.py"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(100):
                try:
                    status, body = get(f"{address}/health")
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                pytest.fail("gunicorn does not answer")
            assert status == 503
            state = json.loads(body)["dependencies"]["DATABASE_URL"]
            assert state["engine"] == "postgres"
            assert "Connection refused" in state["error"]

            for _ in range(20):
                get(f"{address}/health")
            counted = re.search(
                r'^flask_http_request_total\{method="GET",status="503"\} (\S+)$',
                get(f"{address}/metrics")[1],
                re.M,
            )
            assert counted is not None
            assert float(counted[1]) == 21  # of both workers, and nothing of an earlier run
            assert not (metrics / "counter_1.db").exists()
            assert (metrics / "precious.txt").exists()
        finally:
            server.send_signal(signal.SIGTERM)
            log = server.communicate(timeout=15)[1]
    assert server.returncode == 0, log
    assert "hunter2" not in log
