"""The roles of OColecionador and Vision: training, classifier, queues without Celery, logins."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from test_reference import ENVIRONMENT, ListQueue, MemoryStore, client

from reference import health, jobs, metrics, rabbit_worker, training
from reference.__main__ import command
from reference.app import create_app
from reference.classifier import Model, ModelFolder, check_sums
from reference.health import Health
from reference.log import configure_logging
from reference.queues import RabbitQueue, broker, queue
from reference.stores import RabbitStore, RedisStore, S3Store, Store, StoreError, discover
from reference.stores.base import BrokenStore

ROOT = Path(__file__).resolve().parent.parent
MODEL = Model("classifier", "v2", 10, ("short", "long"), 7)


class MemoryBucket(S3Store):
    """Keeps objects in a dictionary."""

    def __init__(self) -> None:
        names = ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_BUCKET")
        super().__init__({"S3_ENDPOINT": "http://s3", **dict.fromkeys(names, "models")})
        self.kept: dict[str, bytes] = {}

    def check(self) -> None:
        pass

    def put(self, key: str, content: Any) -> None:
        self.kept[key] = content

    def put_new(self, key: str, content: bytes) -> bool:
        return self.kept.setdefault(key, content) is content

    def get(self, key: str) -> bytes | None:
        return self.kept.get(key)

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.kept if key.startswith(prefix)]


def metric(registered: metrics.Measured, name: str) -> float | None:
    lines = generate_latest(registered.registry()).decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), None)


# --- the environment -------------------------------------------------------------------------


def test_documented_hosts_are_taken_with_the_parts_that_the_document_leaves_out(tmp_path: Path):
    (tmp_path / "password").write_text("p@ss/word\n")
    found = discover(
        {
            "POSTGRES_HOST": "postgres",
            "POSTGRES_USER": "oc",
            "POSTGRES_PASSWORD_FILE": str(tmp_path / "password"),
            "POSTGRES_DB": "OColecionadorAugmentationsDB",
            "POSTGRES_SSLMODE": "require",
            "RABBITMQ_HOST": "rabbitmq",
            "RABBITMQ_PORT": "5673",
            "RABBITMQ_USER": "oc",
            "RABBITMQ_PASSWORD": "p@ss/word",
            "RABBITMQ_VHOST": "a/b",
            "MINIO_HOST": "minio",
            **{f"S3_{name}": "x" for name in ("ACCESS_KEY", "SECRET_KEY", "BUCKET")},
        }
    )
    assert {name: store.url for name, store in found.items()} == {
        "DATABASE_URL": "postgresql://oc:p%40ss%2Fword@postgres/OColecionadorAugmentationsDB"
        "?sslmode=require",
        "RABBITMQ_URL": "amqp://oc:p%40ss%2Fword@rabbitmq:5673/a%2Fb",
        "S3_ENDPOINT": "http://minio:9000",
    }


def test_a_url_goes_before_documented_hosts(tmp_path: Path):
    (tmp_path / "url").write_text("postgresql://u:p@db/app\n")
    found = discover(
        {
            "POSTGRES_HOST": "postgres",
            "DATABASE_URL_FILE": str(tmp_path / "url"),
            "RABBITMQ_HOST": "rabbitmq",
            "RABBITMQ_URL": "amqp://u:p@queue",
        }
    )
    assert {name: store.url for name, store in found.items()} == {
        "DATABASE_URL": "postgresql://u:p@db/app",
        "RABBITMQ_URL": "amqp://u:p@queue",
    }


def test_a_documented_host_alone_says_what_is_missing():
    found = discover({"POSTGRES_HOST": "postgres", "POSTGRES_USER": "oc", "MINIO_HOST": "minio"})
    assert isinstance(found["DATABASE_URL"], BrokenStore)
    assert str(found["DATABASE_URL"].error) == "POSTGRES_HOST is set; not set: POSTGRES_PASSWORD"
    assert isinstance(found["S3_ENDPOINT"], BrokenStore)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["0.0.0.0:8000"]),
        ({"PORT": "5002"}, ["0.0.0.0:5002"]),
        ({"ASPNETCORE_ENVIRONMENT": "Production"}, ["0.0.0.0:8080"]),
        ({"ASPNETCORE_ENVIRONMENT": "Production", "PORT": "80"}, ["0.0.0.0:80"]),
        ({"MODEL_PATH": "/app/models/v2"}, ["0.0.0.0:5001"]),
        ({"DASHBOARD_PORT": "8080"}, ["0.0.0.0:8000", "0.0.0.0:8080"]),
        ({"HOST": "::", "DASHBOARD_PORT": "8080"}, ["[::]:8000", "[::]:8080"]),
    ],
)
def test_it_listens_where_the_played_application_does(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str], expected: list[str]
):
    settings = gunicorn_settings(monkeypatch, environment)
    assert settings["bind"] == expected
    assert (settings["reload"], settings["preload_app"]) == (False, True)


def test_a_changed_source_is_loaded_again_where_vision_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "theirs.py").touch()
    monkeypatch.chdir(tmp_path)
    settings = gunicorn_settings(monkeypatch, {"API_RELOAD": "true"})
    assert (settings["reload"], settings["preload_app"]) == (True, False)
    assert settings["reload_extra_files"] == [str(tmp_path / "theirs.py")]


def gunicorn_settings(
    monkeypatch: pytest.MonkeyPatch, environment: Mapping[str, str]
) -> dict[str, Any]:
    for name in ("HOST", "PORT", "DASHBOARD_PORT", "API_RELOAD", "MODEL_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    settings: dict[str, Any] = {}
    exec((ROOT / "reference" / "gunicorn.conf.py").read_text(), settings)
    return settings


def test_the_queue_says_which_worker_it_is():
    redis, rabbit = {"REDIS_URL": "redis://redis"}, {"RABBITMQ_URL": "amqp://u:p@rabbitmq"}
    work = {"WORKER_CONCURRENCY": "2"}
    assert command({**work, **redis})[0] == "celery"
    assert command({**work, **redis, **rabbit})[1:] == ["-m", "reference.rabbit_worker"]
    named = {**work, **rabbit, "CELERY_BROKER_URL": "redis://redis"}
    assert command(named)[0] == "celery"
    assert command({**redis, **rabbit})[0] == "gunicorn"
    assert isinstance(broker(discover({**redis, **rabbit})), RabbitStore)
    assert isinstance(broker(discover(named)), RedisStore)
    assert isinstance(queue({}, broker(discover(rabbit))), RabbitQueue)
    assert queue({}, None) is None


@pytest.mark.parametrize(
    ("program", "environment", "words"),
    [
        ("reference.rabbit_worker", {"DATABASE_URL": "postgresql://u:p@h/d"}, "(RABBITMQ_URL)"),
        ("reference.rabbit_worker", {"RABBITMQ_URL": "amqp://u:p@h"}, "and a database"),
        ("vision.api.api_server", {"ARGUMENTS": "--relaod"}, "unknown: --relaod"),
        ("main", {}, "needs a database (DATABASE_URL) and a bucket"),
    ],
)
def test_a_program_that_cannot_begin_says_why(
    program: str, environment: dict[str, str], words: str
):
    done = subprocess.run(
        [sys.executable, "-m", program, *environment.pop("ARGUMENTS", "").split()],
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


def test_a_log_for_programs_has_one_object_in_each_line(capsys: pytest.CaptureFixture[str]):
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    try:
        configure_logging({"LOG_FORMAT": "json", "SERVICE_NAME": "vision-api"})
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("reference").exception("it failed: %s", "ação")
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
    (line,) = capsys.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["level"], entry["service"]) == ("ERROR", "vision-api")
    assert entry["message"] == "it failed: ação"
    assert "ValueError: two\nlines" in entry["error"]
    assert entry["time"].endswith("+00:00")


# --- training --------------------------------------------------------------------------------


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> tuple[MemoryBucket, Callable[..., int]]:
    """The bucket, and the training with what `main.py` is given; the exit code."""
    bucket, store = MemoryBucket(), MemoryStore()
    for text in ("ab", "abcd", "abcdef"):
        store.add_job(text, text, 0)
    found: dict[str, Store] = {"DATABASE_URL": store, "S3_ENDPOINT": bucket}

    def no_sleep(_seconds: float) -> None:
        pass

    def stores(_environment: Mapping[str, str]) -> dict[str, Store]:
        return found

    monkeypatch.setattr(training, "discover", stores)
    monkeypatch.setattr("time.sleep", no_sleep)

    def run(*arguments: str, **environment: str) -> int:
        return training.main(environment, arguments)

    return bucket, run


def test_training_writes_a_model_and_its_sums_last(
    train: tuple[MemoryBucket, Callable[..., int]], capsys: pytest.CaptureFixture[str]
):
    bucket, run = train
    assert run("--seconds", "2", CUDA_VISIBLE_DEVICES="0") == 0
    assert list(bucket.kept) == ["classifier/v1/model.json", "classifier/v1/SHA256SUMS"]
    content = bucket.kept["classifier/v1/model.json"]
    sums = bucket.kept["classifier/v1/SHA256SUMS"].decode()
    assert sums == f"{hashlib.sha256(content).hexdigest()}  model.json\n"
    assert json.loads(content) == {
        "name": "classifier",
        "version": "v1",
        "threshold": 4,
        "labels": ["short", "long"],
        "rows": 3,
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "training classifier v1 on 3 rows, on GPU 0",
        "step 1 of 2",
        "step 2 of 2",
    ]
    assert lines[-1].startswith("done in ")


def test_the_next_version_is_the_highest_number_plus_one(
    train: tuple[MemoryBucket, Callable[..., int]],
):
    bucket, run = train
    for key in ("classifier/v2/model.json", "classifier/v10/x", "classifier/old/x", "other/v99/x"):
        bucket.kept[key] = b""
    assert run() == 0
    assert run() == 0
    assert "classifier/v11/SHA256SUMS" in bucket.kept
    assert "classifier/v12/SHA256SUMS" in bucket.kept


def test_two_trainings_at_a_time_write_two_versions(
    train: tuple[MemoryBucket, Callable[..., int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    bucket, run = train

    def another(_seconds: float) -> None:
        bucket.kept["classifier/v1/model.json"] = b"another's"

    monkeypatch.setattr("time.sleep", another)
    assert run() == 0
    assert bucket.kept["classifier/v1/model.json"] == b"another's"
    assert json.loads(bucket.kept["classifier/v2/model.json"])["version"] == "v2"
    assert "classifier/v1/SHA256SUMS" not in bucket.kept
    said = capsys.readouterr().out
    assert "another training has taken that version: this is v2\n" in said


def test_a_version_is_never_replaced(
    train: tuple[MemoryBucket, Callable[..., int]], capsys: pytest.CaptureFixture[str]
):
    bucket, run = train
    assert run(MODEL_NAME="cards", MODEL_VERSION="2026-11") == 0
    kept = dict(bucket.kept)
    assert run(MODEL_NAME="cards", MODEL_VERSION="2026-11") == 1
    assert capsys.readouterr().err == (
        "training failed: models/cards/2026-11 is there already; take another one\n"
    )
    assert bucket.kept == kept


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["--fail"], {}, "because of --fail"),
        ([], {"MODEL_VERSION": "../v1"}, "MODEL_VERSION is '../v1'"),
        ([], {"MODEL_NAME": "a/b"}, "MODEL_NAME is 'a/b'"),
    ],
)
def test_a_training_that_fails_leaves_nothing_and_says_why(
    train: tuple[MemoryBucket, Callable[..., int]],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    words: str,
):
    bucket, run = train
    assert run(*arguments, **environment) == 1
    assert words in capsys.readouterr().err
    assert bucket.kept == {}


# --- the classifier --------------------------------------------------------------------------


def write_model(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_bytes(MODEL.as_bytes())
    digest = hashlib.sha256(MODEL.as_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  model.json\n")


def test_a_classifier_serves_the_model_that_is_there_now(tmp_path: Path):
    folder = tmp_path / "v2"
    browser = create_app({"MODEL_PATH": str(folder)}, {}).test_client()
    assert browser.get("/health").status_code == 200
    assert browser.get("/health").get_json()["model"] is None
    assert browser.post("/classifier/predict", json={"text": "x"}).status_code == 503
    assert "model_info{" not in browser.get("/metrics").text

    write_model(folder)
    body = browser.get("/classifier/health").get_json()
    assert body["model"] == {
        "name": "classifier",
        "version": "v2",
        "path": str(folder),
        "sums": "ok",
        "error": None,
    }
    for text, label in (("x" * 10, "short"), ("x" * 11, "long")):
        answer = browser.post("/classifier/predict", json={"text": text}).get_json()
        assert (answer["label"], answer["version"]) == (label, "v2")
        assert 0.5 <= answer["score"] <= 1
    assert (
        'model_info{model="classifier",sums="ok",version="v2"} 1.0' in browser.get("/metrics").text
    )
    assert browser.post("/classifier/predict", json={}).status_code == 400


def test_a_classifier_that_needs_a_model_fails_without_one(tmp_path: Path):
    environment = {"MODEL_PATH": str(tmp_path), "MODEL_REQUIRED": "1"}
    response = create_app(environment, {}).test_client().get("/health")
    assert (response.status_code, response.get_json()["model"]) == (503, None)


def damage(folder: Path) -> None:
    (folder / "model.json").write_bytes(MODEL.as_bytes() + b" ")


def lose(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


def forget(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text("")


def escape(folder: Path) -> None:
    (folder / "SHA256SUMS").write_text(f"{'0' * 64}  ../../etc/passwd\n")


def miss(folder: Path) -> None:
    with (folder / "SHA256SUMS").open("a") as sums:
        sums.write(f"{'0' * 64}  weights.bin\n")


def scribble(folder: Path) -> None:
    (folder / "model.json").write_text('{"name": "classifier"}')
    digest = hashlib.sha256((folder / "model.json").read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest} *model.json\n")


@pytest.mark.parametrize(
    ("change", "sums", "words"),
    [
        (damage, "mismatch", "model.json: not as in SHA256SUMS"),
        (lose, "missing", None),
        (forget, "mismatch", "model.json: not as in SHA256SUMS"),
        (escape, "mismatch", "SHA256SUMS"),
        (miss, "mismatch", "weights.bin"),
        (scribble, "ok", "cannot read model.json"),
    ],
)
def test_a_damaged_model_is_told_and_not_served(
    tmp_path: Path, change: Callable[[Path], None], sums: str, words: str | None
):
    write_model(tmp_path)
    change(tmp_path)
    browser = create_app({"MODEL_PATH": str(tmp_path)}, {}).test_client()
    response = browser.get("/health")
    assert response.status_code == 503
    state = response.get_json()["model"]
    assert state["sums"] == sums
    assert state["error"] is None if words is None else words in state["error"]
    assert browser.post("/classifier/predict", json={"text": "x"}).status_code == 503
    assert check_sums(tmp_path)[0] == sums
    assert not ModelFolder(tmp_path, required=False).fit()


# --- a queue between applications ------------------------------------------------------------


def test_a_job_goes_with_its_message_and_its_result_comes_back_as_an_object():
    class Apart(ListQueue):
        apart = True

    bucket, ours, theirs = MemoryBucket(), MemoryStore(), MemoryStore()
    browser = create_app(ENVIRONMENT, {"A_URL": ours, "S3": bucket}, Apart()).test_client()
    job_id = browser.post("/jobs", json={"text": "olá"}).get_json()["id"]
    assert browser.get(f"/jobs/{job_id}").get_json()["state"] == "queued"

    rabbit_worker.adopt(theirs, job_id, "olá", 0)
    rabbit_worker.adopt(theirs, job_id, "olá", 0)
    assert jobs.work(theirs, bucket, job_id, "worker-1")
    job = browser.get(f"/jobs/{job_id}").get_json()
    assert (job["state"], job["worker"], job["attempts"]) == ("done", "worker-1", 1)
    assert job["result"]["upper"] == "OLÁ"
    assert ours.jobs[job_id].finished_at is not None


def rabbit_worker_with(store: MemoryStore) -> rabbit_worker.Worker:
    return rabbit_worker.Worker(RabbitStore("amqp://u:p@h"), store, None, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"id": "a"}',
        b'{"id": "../a", "text": "x"}',
        b'{"id": "a", "text": ""}',
        b'{"id": "a", "text": "x", "seconds": 1501}',
    ],
)
def test_a_message_that_is_no_job_is_refused_for_good(body: bytes):
    store = MemoryStore()
    assert rabbit_worker_with(store).do(body) is None
    assert store.jobs == {}


def test_a_job_is_tried_until_its_store_is_back_or_the_worker_ends(
    monkeypatch: pytest.MonkeyPatch,
):
    store = MemoryStore(error="down")
    worker = rabbit_worker_with(store)
    waits: list[float] = []
    ending = False

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        store.error = None if len(waits) == 3 else store.error
        return ending

    monkeypatch.setattr(worker.stopping, "wait", wait)
    assert worker.do(b'{"id": "a", "text": "x"}') is True
    assert waits == [1, 2, 4]
    store.error = "down"
    ending = True
    assert worker.do(b'{"id": "b", "text": "x"}') is False


@pytest.mark.parametrize(
    ("outcome", "told", "failed"),
    [
        (True, "ack", 0),
        (False, "requeue", 0),
        (None, "reject", 1),
        (ValueError("a bug"), "reject", 1),
    ],
)
def test_what_became_of_a_message_is_told_and_counted(
    outcome: bool | Exception | None, told: str, failed: int
):
    class Channel:
        said: str | None = None

        def basic_ack(self, tag: int) -> None:
            self.said = "ack"

        def basic_reject(self, tag: int, *, requeue: bool) -> None:
            self.said = "requeue" if requeue else "reject"

    job: Future[bool | None] = Future()
    if isinstance(outcome, Exception):
        job.set_exception(outcome)
    else:
        job.set_result(outcome)
    measured = metrics.Measured(Health({}))
    name = 'jobs_processed_total{kind="job",outcome="failed"}'
    before = metric(measured, name) or 0
    channel: Any = Channel()
    rabbit_worker.settle(channel, 1, job)
    assert channel.said == told
    assert (metric(measured, name) or 0) - before == failed


# --- work without a queue, logins ------------------------------------------------------------


def test_work_in_a_request_is_counted_with_its_quality():
    measured = metrics.Measured(Health({}))
    sum_before = metric(measured, 'job_quality_sum{kind="process"}') or 0
    count_before = metric(measured, 'job_quality_count{kind="process"}') or 0
    browser = client()
    assert browser.post("/process", json={"text": "ab, ¤¤¤¤"}).get_json() == {
        "characters": 8,
        "upper": "AB, ¤¤¤¤",
        "quality": 0.5,
    }
    assert browser.post("/process", json={"text": "x", "seconds": 0.01}).status_code == 200
    assert browser.post("/process", json={"text": "x", "seconds": 11}).status_code == 400
    assert metric(measured, 'job_quality_sum{kind="process"}') == sum_before + 1.5
    assert metric(measured, 'job_quality_count{kind="process"}') == count_before + 2


def test_a_login_is_right_or_counted(tmp_path: Path):
    (tmp_path / "password").write_text("hunter2\n")
    environment = {"LOGIN_USER": "ana", "LOGIN_PASSWORD_FILE": str(tmp_path / "password")}
    browser = create_app(environment, {}).test_client()
    measured = metrics.Measured(Health({}))
    before = metric(measured, "login_failures_total")
    assert before is not None
    right = browser.post("/login", json={"user": "ana", "password": "hunter2"})
    assert (right.status_code, right.get_json()) == (200, {"user": "ana"})
    for body in ("{}", '{"user": "ana"}', '{"user": "ana", "password": "hunter"}', "[]"):
        wrong = browser.post("/login", data=body, content_type="application/json")
        assert wrong.status_code == 401
    # Where no user is known, none may come in, not even one without a name.
    nobody = create_app({}, {}).test_client()
    assert nobody.post("/login", json={"user": "", "password": ""}).status_code == 401
    assert metric(measured, "login_failures_total") == before + 5


# --- metrics ---------------------------------------------------------------------------------


def test_metrics_say_which_dependencies_work_now_and_how_long_the_queue_is(
    monkeypatch: pytest.MonkeyPatch,
):
    class Waiting(RedisStore):
        def check(self) -> None:
            pass

        def depth(self) -> int:
            return 7

    store = MemoryStore(error="down")
    checks = Health({"DATABASE_URL": store})
    measured = metrics.Measured(checks, Waiting("redis://redis"))
    name = 'dependency_up{dependency="DATABASE_URL",engine="memory"}'
    assert metric(measured, name) == 0
    assert metric(measured, 'queue_depth{engine="redis",queue="celery"}') == 7
    store.error = None
    assert metric(measured, name) == 0  # as the last check said
    monkeypatch.setattr(health, "RECENT_SECONDS", -1)
    assert metric(measured, name) == 1


def test_a_queue_whose_length_is_not_known_is_left_out():
    class Away(RedisStore):
        def depth(self) -> int:
            raise StoreError("down")

    measured = metrics.Measured(Health({}), Away("redis://redis"))
    assert metric(measured, "queue_depth{") is None


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1"])
def test_a_port_for_metrics_is_a_port(port: str):
    with pytest.raises(StoreError, match="METRICS_PORT"):
        metrics.serve({"METRICS_PORT": port}, metrics.Measured(Health({})))


def test_the_api_is_below_api_too():
    browser = client(DATABASE_URL=MemoryStore())
    assert browser.post("/api/events", json={"title": "x"}).status_code == 201
    assert [event["title"] for event in browser.get("/events").get_json()] == ["x"]
    assert 'path="/events"' in browser.get("/api/metrics").text
