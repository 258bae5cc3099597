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
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reference import health, jobs
from reference.__main__ import command
from reference.app import create_app
from reference.log import configure_logging
from reference.migrate import run_migrations
from reference.queues import Queue
from reference.stores import Database, Store, StoreError
from reference.stores.base import Event, Job

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {
    "APP_TITLE": "Encontros Tech - HOMOLOGAÇÃO <b>",
    "SERVICE_NAME": "encontros-tech",
    "SERVICE_VERSION": "1.0.0",
}


class MemoryStore(Database):
    """Keeps events in a list; fails or takes its time when told to."""

    engine = "memory"

    def __init__(self, error: str | None = None, seconds: float = 0) -> None:
        super().__init__("memory://")
        self.error = error
        self.seconds = seconds
        self.events: list[Event] = []
        self.jobs: dict[str, Job] = {}

    def _use(self) -> None:
        time.sleep(self.seconds)
        if self.error:
            raise StoreError(self.error)

    def check(self) -> None:
        self._use()

    def migrate(self) -> list[str]:
        self._use()
        return ["nothing to do"]

    def add(self, title: str) -> Event:
        self._use()
        self.events.append(Event(len(self.events) + 1, title, datetime.now(UTC)))
        return self.events[-1]

    def newest(self, limit: int) -> list[Event]:
        self._use()
        return self.events[::-1][:limit]

    def add_job(self, job_id: str, text: str, seconds: float) -> Job:
        self._use()
        self.jobs[job_id] = Job(job_id, text, seconds, 0, None, None, datetime.now(UTC), None)
        return self.jobs[job_id]

    def remove_job(self, job_id: str) -> None:
        del self.jobs[job_id]

    def job(self, job_id: str) -> Job | None:
        return self.jobs.get(job_id)

    def job_texts(self, limit: int) -> list[str]:
        self._use()
        return [job.text for job in self.jobs.values()][::-1][:limit]

    def begin_job(self, job_id: str, worker: str) -> Job | None:
        if found := self.jobs.get(job_id):
            who = worker if found.result is None else found.worker
            self.jobs[job_id] = replace(found, attempts=found.attempts + 1, worker=who)
        return self.jobs.get(job_id)

    def finish_job(self, job_id: str, worker: str, result: dict[str, object]) -> bool:
        self._use()
        found = self.jobs[job_id]
        if found.result is not None:
            return False
        self.jobs[job_id] = replace(
            found, worker=worker, result=result, finished_at=datetime.now(UTC)
        )
        return True


class ListQueue(list[str]):
    """A queue that nobody works off; fails when told to."""

    apart: ClassVar[bool] = False

    def __init__(self, error: str | None = None) -> None:
        super().__init__()
        self.error = error

    def put(self, job: Job) -> None:
        if self.error:
            raise StoreError(self.error)
        self.append(job.id)


def client(queue: Queue | None = None, **named_stores: Store):
    return create_app(ENVIRONMENT, named_stores, queue).test_client()


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
    assert create_app(ENVIRONMENT, slow).test_client().get("/health").status_code == 200
    assert time.monotonic() - started < 0.8


def test_a_dependency_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.2)
    started = time.monotonic()
    body = client(A_URL=MemoryStore(seconds=1), B_URL=MemoryStore()).get("/health").get_json()
    assert time.monotonic() - started < 0.8
    assert body["dependencies"]["A_URL"]["error"] == "no answer within 0.2 seconds"
    assert body["dependencies"]["B_URL"]["ok"] is True


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


# --- who answers, and what arrives there -----------------------------------------------------


def test_every_answer_says_who_gave_it():
    browser = client()
    for path in ("/health", "/headers", "/nowhere"):
        assert browser.get(path).headers["X-Served-By"] == socket.gethostname()
    assert browser.get("/health").get_json()["served_by"] == socket.gethostname()


def test_the_headers_are_shown_without_credentials():
    sent = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "Authorization": "Bearer hunter2",
        "Proxy-Authorization": "Basic hunter2",
        "Cookie": "session=hunter2",
    }
    response = client().get("/headers", headers=sent)
    body = response.get_json()
    assert body["headers"]["X-Forwarded-For"] == "203.0.113.9"
    assert body["headers"]["X-Forwarded-Proto"] == "https"
    assert (body["remote_address"], body["scheme"]) == ("127.0.0.1", "http")
    assert body["served_by"] == socket.gethostname()
    assert "hunter2" not in response.text


# --- the API's description -------------------------------------------------------------------


def test_openapi_describes_every_route():
    document = client().get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.")
    assert document["info"] == {"title": ENVIRONMENT["APP_TITLE"], "version": "1.0.0"}
    assert {"/", "/ui", "/health", "/jobs", "/jobs/{job_id}", "/uploads/{name}", "/upload"} <= set(
        document["paths"]
    )
    job = document["paths"]["/jobs/{job_id}"]["get"]
    assert job["parameters"][0]["name"] == "job_id"
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["responses"]


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_documented_pages_need_nothing_from_elsewhere(path: str):
    response = client().get(path)
    assert response.status_code == 200
    assert "POST /jobs" in response.text
    assert "//" not in response.text


def test_the_dashboard_is_the_page():
    assert "DATABASE_URL (memory): ok" in client(DATABASE_URL=MemoryStore()).get("/ui").text


# --- jobs ------------------------------------------------------------------------------------


def test_a_job_is_queued_done_and_read_back():
    store, queue = MemoryStore(), ListQueue()
    browser = client(queue, MONGODB_URI=store)
    response = browser.post("/jobs", json={"text": " straße ", "seconds": 0.01})
    assert response.status_code == 202
    job_id = response.get_json()["id"]
    assert queue == [job_id]
    assert browser.get(f"/jobs/{job_id}").get_json()["state"] == "queued"

    store.begin_job(job_id, "worker-1")
    job = browser.get(f"/jobs/{job_id}").get_json()
    assert (job["state"], job["worker"], job["result"]) == ("running", "worker-1", None)

    assert jobs.work(store, None, job_id, "worker-2") is True
    job = browser.get(f"/jobs/{job_id}").get_json()
    assert (job["state"], job["worker"], job["attempts"]) == ("done", "worker-2", 2)
    assert job["result"] == {"characters": 6, "upper": "STRASSE", "quality": 1.0}
    assert job["finished_at"]


def test_a_job_that_two_workers_do_is_recorded_once():
    store = MemoryStore()
    store.add_job("a", "text", 0)

    class Slow(MemoryStore):
        """Another worker is faster than this one."""

        jobs = store.jobs

        def begin_job(self, job_id: str, worker: str) -> Job | None:
            begun = store.begin_job(job_id, worker)
            assert jobs.work(store, None, job_id, "fast") is True
            return begun

        def finish_job(self, job_id: str, worker: str, result: dict[str, object]) -> bool:
            return store.finish_job(job_id, worker, result)

    assert jobs.work(Slow(), None, "a", "slow") is False
    assert jobs.work(store, None, "a", "late") is False
    assert (store.jobs["a"].worker, store.jobs["a"].attempts) == ("fast", 3)


def test_a_job_that_nobody_knows_is_not_done():
    assert jobs.work(MemoryStore(), None, "unknown", "worker") is False
    assert client(A_URL=MemoryStore()).get("/jobs/unknown").status_code == 404


def test_a_failed_job_says_why():
    store = MemoryStore()
    store.add_job("a", "text", 0)
    store.finish_job("a", "worker", {"error": "took longer than 1500 seconds"})
    assert client(A_URL=store).get("/jobs/a").get_json()["state"] == "failed"


def test_a_job_that_cannot_be_queued_is_not_kept():
    store = MemoryStore()
    response = client(ListQueue("queue is down"), A_URL=store).post("/jobs", json={"text": "x"})
    assert (response.status_code, response.get_json()) == (503, {"error": "queue is down"})
    assert store.jobs == {}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "text"),
        ({"text": ""}, "text"),
        ({"text": "x" * 2001}, "text"),
        ({"text": "x", "seconds": -1}, "seconds"),
        ({"text": "x", "seconds": 1501}, "seconds"),
        ({"text": "x", "seconds": "1"}, "seconds"),
        ({"text": "x", "seconds": True}, "seconds"),
        ({"text": "x", "seconds": float("nan")}, "seconds"),
    ],
)
def test_a_bad_job_is_refused_and_not_kept(body: dict[str, Any], word: str):
    store, queue = MemoryStore(), ListQueue()
    response = client(queue, A_URL=store).post("/jobs", json=body)
    assert response.status_code == 400
    assert word in response.get_json()["error"]
    assert (store.jobs, queue) == ({}, [])


def test_jobs_without_a_queue_or_a_database_are_unavailable():
    for browser in (client(A_URL=MemoryStore()), client(ListQueue())):
        response = browser.post("/jobs", json={"text": "x"})
        assert response.status_code == 503
        assert "queue" in response.get_json()["error"]


# --- commands --------------------------------------------------------------------------------


def test_the_image_runs_the_api_or_a_worker():
    assert command({})[0] == "gunicorn"
    worker = command({"WORKER_CONCURRENCY": "2", "LOG_LEVEL": "warning"})
    assert worker[:4] == ["celery", "-A", "src.workers.worker", "worker"]
    assert worker[4:] == ["--loglevel=WARNING", "--concurrency=2"]
    for text in ("two", "0", "-1", "1.5"):
        with pytest.raises(SystemExit, match="WORKER_CONCURRENCY"):
            command({"WORKER_CONCURRENCY": text})


def test_migrations_say_what_they_did_and_fail_when_a_store_does(
    capsys: pytest.CaptureFixture[str],
):
    assert run_migrations({"DATABASE_URL": MemoryStore()}) == 0
    assert capsys.readouterr().out == "DATABASE_URL (memory): nothing to do\n"
    assert run_migrations({"A_URL": MemoryStore(error="down"), "B_URL": MemoryStore()}) == 1
    captured = capsys.readouterr()
    assert captured.err == "A_URL (memory) fails: down\n"
    assert captured.out == "B_URL (memory): nothing to do\n"


def test_a_worker_without_a_queue_or_with_a_bad_setting_says_so():
    for environment, words in (
        ({"DATABASE_URL": "postgresql://u:p@h/d"}, "needs a queue (REDIS_URL)"),
        ({"REDIS_URL": "redis://h"}, "and a database"),
        (
            {
                "DATABASE_URL": "postgresql://u:p@h/d",
                "REDIS_URL": "redis://h",
                "CELERY_VISIBILITY_TIMEOUT": "soon",
            },
            "CELERY_VISIBILITY_TIMEOUT is 'soon'",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-c", "import src.workers.worker"],
            cwd=ROOT / "reference",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 1
        assert words in done.stderr
        assert "Traceback" not in done.stderr


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
        ({"LOG_LEVEL": "WARN"}, "WARNING"),
        ({"LOG_LEVEL": "loud"}, "INFO"),
        ({"LOG_LEVEL": ""}, "INFO"),
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


# --- as gunicorn serves it -------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    with subprocess.Popen(
        [sys.executable, "-m", "reference"],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
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
