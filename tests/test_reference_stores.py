"""The stores of the reference workload: how they are found, and how they fail."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytds
import pytest

from reference import jobs
from reference.app import create_app
from reference.celery_queue import CeleryQueue, celery_app
from reference.queues import broker
from reference.stores import (
    ElasticsearchStore,
    MongoStore,
    MssqlStore,
    PostgresStore,
    RabbitStore,
    RedisStore,
    S3Store,
    Store,
    StoreError,
    database,
    discover,
)
from reference.stores.base import BrokenStore, Job

S3 = {
    "S3_ENDPOINT": "http://minio:9000",
    "S3_ACCESS_KEY": "AKIAACCESS",
    "S3_SECRET_KEY": "hunter2/+",
    "S3_BUCKET": "videos",
}


JOB = Job("a-job", "text", 0, 0, None, None, datetime.now(UTC), None)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# --- found -----------------------------------------------------------------------------------


def test_stores_are_found_by_scheme_in_url_and_uri_variables():
    found = discover(
        {
            "DATABASE_URL": "postgresql://u:p@db/app",
            "REPORTS_URI": "postgres://u:p@db/reports",
            "ORM_URL": "postgresql+psycopg2://u:p@db/orm",
            "REDIS_URL": "redis://redis:6379",
            "CACHE_URL": "rediss://:p@redis:6379/1",
            "MONGODB_URI": "mongodb://mongo:27017",
            "SQLSERVER_URL": "mssql://u:p@sqlserver/app",
            "REPORTING_URL": "sqlserver://u:p@sqlserver/app",
            "RABBITMQ_URL": "amqp://u:p@rabbitmq",
            "SECURE_QUEUE_URL": "amqps://u:p@rabbitmq",
            "ELASTICSEARCH_URL": "http://u:p@elasticsearch:9200",
            "ATLAS_URI": "mongodb+srv://u:p@mongo.example.org/app",
            "WORDPRESS_URL": "https://example.org",
            "EMPTY_URL": "",
            "PLAIN_URL": "postgresql",
            "DATABASE": "postgresql://u:p@db/app",
            **S3,
        }
    )
    assert {name: type(store) for name, store in found.items()} == {
        "ATLAS_URI": MongoStore,
        "CACHE_URL": RedisStore,
        "DATABASE_URL": PostgresStore,
        "ELASTICSEARCH_URL": ElasticsearchStore,
        "MONGODB_URI": MongoStore,
        "ORM_URL": PostgresStore,
        "RABBITMQ_URL": RabbitStore,
        "REDIS_URL": RedisStore,
        "REPORTING_URL": MssqlStore,
        "REPORTS_URI": PostgresStore,
        "S3_ENDPOINT": S3Store,
        "SECURE_QUEUE_URL": RabbitStore,
        "SQLSERVER_URL": MssqlStore,
    }


def test_stores_are_found_in_files(tmp_path: Path):
    environment = {"WORDPRESS_URL_FILE": str(tmp_path / "WORDPRESS_URL")}
    values = {"DATABASE_URL": "postgresql://u:p@db/app", **S3, "WORDPRESS_URL": "https://a.example"}
    for name, text in values.items():
        (tmp_path / name).write_text(f"{text}\n")
        environment[f"{name}_FILE"] = str(tmp_path / name)
    found = discover(environment)
    assert set(found) == {"DATABASE_URL", "S3_ENDPOINT"}
    assert found["DATABASE_URL"].url == "postgresql://u:p@db/app"
    objects = found["S3_ENDPOINT"]
    assert isinstance(objects, S3Store)
    assert (objects.secret_key, objects.bucket, objects.region) == (
        "hunter2/+",
        "videos",
        "us-east-1",
    )


@pytest.mark.parametrize(
    ("environment", "name", "words"),
    [
        ({"A_URL_FILE": "/nowhere/at-all"}, "A_URL", "cannot read the file at A_URL_FILE: No such"),
        ({"A_URL_FILE": "/bin/true"}, "A_URL", "is not text in UTF-8"),
        ({"A_URL": "redis://h", "A_URL_FILE": "/x"}, "A_URL", "A_URL and A_URL_FILE are both set"),
        ({"S3_ENDPOINT": "http://h"}, "S3_ENDPOINT", "not set: S3_ACCESS_KEY, S3_SECRET_KEY, S3_B"),
    ],
)
def test_settings_that_cannot_be_read_are_a_dependency_that_fails(
    environment: Mapping[str, str], name: str, words: str
):
    found = discover(environment)
    assert isinstance(found[name], BrokenStore)
    body = create_app({}, found).test_client().get("/health").get_json()
    assert words in body["dependencies"][name]["error"]
    assert body["dependencies"][name]["engine"] == "unknown"


def test_events_and_jobs_are_kept_in_postgres_where_there_is_one_and_else_in_mongo():
    mongo = {"A_MONGODB_URI": "mongodb://mongo/app"}
    both = {**mongo, "DATABASE_URL": "postgresql://u:p@db/app", "REDIS_URL": "redis://redis"}
    assert isinstance(database(discover(both)), PostgresStore)
    assert isinstance(database(discover(mongo)), MongoStore)
    assert database(discover({"REDIS_URL": "redis://redis"})) is None
    sql_server = {**mongo, "SQLSERVER_URL": "mssql://u:p@sqlserver/app"}
    assert isinstance(database(discover(sql_server)), MssqlStore)
    assert isinstance(database(discover({**sql_server, **both})), PostgresStore)


# --- they fail, in time and without credentials ----------------------------------------------


def s3_at(address: str) -> S3Store:
    return S3Store({**S3, "S3_ENDPOINT": f"http://{address}"})


URLS: dict[str, Callable[[str], Store]] = {
    "postgres": lambda address: PostgresStore(f"postgresql://user:hunter2%2F%2B@{address}/app"),
    "redis": lambda address: RedisStore(f"redis://:hunter2%2F%2B@{address}/0"),
    "mongo": lambda address: MongoStore(f"mongodb://user:hunter2%2F%2B@{address}/app"),
    "s3": s3_at,
    "rabbitmq": lambda address: RabbitStore(f"amqp://user:hunter2%2F%2B@{address}/app"),
    "mssql": lambda address: MssqlStore(f"mssql://user:hunter2%2F%2B@{address}/app"),
    "elasticsearch": lambda address: ElasticsearchStore(f"http://user:hunter2%2F%2B@{address}"),
}


@pytest.fixture(params=URLS)
def make_store(request: pytest.FixtureRequest) -> Callable[[str], Store]:
    return URLS[request.param]


def test_a_store_that_is_down_is_an_error_without_the_password(
    make_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Store, "timeout_seconds", 1)
    store = make_store(f"127.0.0.1:{closed_port()}")
    with pytest.raises(StoreError, match=r"[Rr]efused|Could not connect") as failure:
        store.check()
    assert "hunter2" not in str(failure.value)
    assert "AKIA" not in str(failure.value)
    assert failure.value.__cause__ is None


def test_a_store_that_never_answers_costs_a_few_seconds(
    make_store: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Store, "timeout_seconds", 2)
    monkeypatch.setattr("reference.stores.s3.READ_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = make_store(f"127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"[Tt]ime(d )?out"):
            store.check()
    # Without its timeouts, it would wait for minutes.
    assert time.monotonic() - started < 30


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
        "redis://:hunter2/x@redis/0",
        "redis://:hunter2@redis:port/0",
        "redis://",
        "redis://:hunter2@redis/0?socket_timeout=hunter2",
        "mongodb://user:hunter2/x@mongo/app",
        "mongodb://user:hunter2@x@mongo/app",
        "mongodb://user:hunter2@mongo:port/app",
        "mongodb://",
        "amqp://user:hunter2/x@rabbitmq",
        "amqp://user:hunter2@rabbitmq:port",
        "amqp://",
        "mssql://user:hunter2/x@sqlserver/app",
        "mssql://",
    ],
)
def test_an_unreadable_url_is_explained_and_not_quoted(url: str):
    (store,) = discover({"A_URL": url}).values()
    with pytest.raises(StoreError, match="percent-encode") as failure:
        store.check()
    assert "hunter2" not in str(failure.value)


def test_a_parameter_that_libpq_does_not_know_is_named():
    with pytest.raises(StoreError, match="nonsense") as failure:
        PostgresStore("postgresql://u:hunter2@127.0.0.1/app?nonsense=hunter2").check()
    assert "hunter2" not in str(failure.value)


def test_a_mongo_without_a_database_asks_for_one():
    with pytest.raises(StoreError, match="MONGO_DB_NAME"):
        MongoStore("mongodb://mongo:27017").check()


def test_a_mongo_takes_the_urls_database_before_the_variable():
    def name(url: str) -> str:
        return MongoStore(url, {"MONGO_DB_NAME": "pigmeu"})._open.name

    assert name("mongodb://mongo:27017/app?replicaSet=rs0&authSource=admin") == "app"
    assert name("mongodb://u:p@mongo-0:27017,mongo-1:27017/?replicaSet=rs0") == "pigmeu"
    assert name("mongodb://mongo:27017") == "pigmeu"


# --- the queue -------------------------------------------------------------------------------


def test_the_queue_has_the_documented_limits():
    app = celery_app({"CELERY_VISIBILITY_TIMEOUT": "5"}, RedisStore("redis://:p@redis:6379/0"))
    assert (app.conf.task_time_limit, app.conf.task_soft_time_limit) == (1800, 1500)
    assert app.conf.task_acks_late is True
    assert app.conf.task_reject_on_worker_lost is True
    assert app.conf.broker_transport_options["visibility_timeout"] == 5
    # Else a job would be given to a second worker while the first one does it.
    unset = celery_app({}, RedisStore("redis://redis"))
    assert unset.conf.broker_transport_options["visibility_timeout"] > app.conf.task_time_limit


def test_the_broker_is_the_one_that_is_named_else_the_first_redis():
    found = discover({"CACHE_URL": "redis://cache", "CELERY_BROKER_URL": "redis://queue"})
    assert broker(found) is found["CELERY_BROKER_URL"]
    found = discover({"REDIS_URL": "redis://redis"})
    assert broker(found) is found["REDIS_URL"]
    assert broker({}) is None


def test_a_queue_with_tls_checks_the_certificate():
    url = "rediss://:p@redis:6380/0"
    required = celery_app({}, RedisStore(url)).connection_for_write()
    assert required.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    app = celery_app({}, RedisStore(f"{url}?ssl_ca_certs=/run/ca.pem"))
    assert app.connection_for_write().ssl["ssl_ca_certs"] == "/run/ca.pem"


def test_a_queue_that_is_down_is_an_error_without_the_password(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Store, "timeout_seconds", 1)
    queue = CeleryQueue({}, RedisStore(f"redis://:hunter2@127.0.0.1:{closed_port()}/0"))
    started = time.monotonic()
    with pytest.raises(StoreError, match="refused") as failure:
        queue.put(JOB)
    # Newer redis-py tries again by itself, after a while.
    assert time.monotonic() - started < 10
    assert "hunter2" not in str(failure.value)


# --- RabbitMQ --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "vhost", "port"),
    [("", "/", 5672), ("/", "/", 5672), ("/%2F", "/", 5672), (":5673/a%2Fb", "a/b", 5673)],
)
def test_a_rabbitmq_urls_path_is_the_virtual_host(
    monkeypatch: pytest.MonkeyPatch, end: str, vhost: str, port: int
):
    asked: list[Any] = []
    monkeypatch.setattr("pika.BlockingConnection", asked.append)
    RabbitStore(f"amqp://us%40er:hunter2%2F%2B@rabbitmq{end}").connect()
    (parameters,) = asked
    assert (parameters.host, parameters.port) == ("rabbitmq", port)
    assert parameters.virtual_host == vhost
    assert parameters.credentials.username == "us@er"
    assert parameters.credentials.password == "hunter2/+"
    assert parameters.ssl_options is None


def test_a_rabbitmq_with_tls_is_checked(monkeypatch: pytest.MonkeyPatch):
    asked: list[Any] = []
    monkeypatch.setattr("pika.BlockingConnection", asked.append)
    RabbitStore("amqps://u:p@rabbitmq").connect()
    assert asked[0].port == 5671
    assert asked[0].ssl_options.context.verify_mode.name == "CERT_REQUIRED"
    assert asked[0].ssl_options.context.check_hostname is True
    with pytest.raises(StoreError, match="No such file"):
        RabbitStore("amqps://u:p@rabbitmq?cacertfile=/nowhere.pem").check()


# --- SQL Server, on what SQLite understands of it --------------------------------------------


class SqlServer:
    """A driver's connection and cursor; the first use finds no tables."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._cursor = database.cursor()
        self.close = lambda: None
        self.cursor = lambda: self

    def execute(self, statement: str, values: tuple[object, ...]) -> None:
        limit = re.search(r"^SELECT TOP (\d+) ", statement)
        if limit:
            statement = f"{statement.replace(f'TOP {limit[1]} ', '')} LIMIT {limit[1]}"
        try:
            self._cursor.execute(statement.replace("%s", "?"), values)
        except sqlite3.OperationalError as error:
            failure = pytds.ProgrammingError(str(error))
            missing = "no such table" in str(error)
            failure.__dict__["number"] = 208 if missing else 2714
            raise failure from None

    @property
    def description(self) -> Any:
        return self._cursor.description

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()


@pytest.fixture
def sql_server(monkeypatch: pytest.MonkeyPatch) -> tuple[MssqlStore, list[dict[str, Any]]]:
    """The store, and what its driver was given."""
    kept = sqlite3.connect(":memory:", isolation_level=None)
    asked: list[dict[str, Any]] = []

    def connect(host: str, **options: Any) -> SqlServer:
        asked.append({"host": host, **options})
        return SqlServer(kept)

    monkeypatch.setattr("pytds.connect", connect)
    return MssqlStore("mssql://sa:p%40ss@sqlserver:1434/OColecionador?encrypt=true"), asked


def test_a_sql_server_keeps_events(sql_server: tuple[MssqlStore, list[dict[str, Any]]]):
    store, asked = sql_server
    store.check()
    store.check()
    assert (asked[0]["host"], asked[0]["port"]) == ("sqlserver", 1434)
    assert (asked[0]["user"], asked[0]["password"]) == ("sa", "p@ss")
    assert asked[0]["database"] == "OColecionador"
    assert asked[0]["autocommit"] is True
    events = [store.add(title) for title in ("one", "it's two", "três")]
    assert store.newest(2) == [events[2], events[1]]
    assert store.migrate() == ["the table events is there", "the table jobs is there"]


def test_a_sql_server_keeps_jobs(sql_server: tuple[MssqlStore, list[dict[str, Any]]]):
    store, _ = sql_server
    assert store.job("a") is None
    assert store.begin_job("a", "w") is None
    added = store.add_job("a", "olá", 0)
    assert store.job("a") == added
    assert store.job_texts(10) == ["olá"]
    begun = store.begin_job("a", "first")
    assert begun is not None
    assert (begun.attempts, begun.worker, begun.state) == (1, "first", "running")
    assert store.finish_job("a", "first", {"upper": "OLÁ"}) is True
    assert store.finish_job("a", "second", {"upper": "?"}) is False
    again = store.begin_job("a", "late")
    assert again is not None
    assert (again.attempts, again.worker, again.result) == (2, "first", {"upper": "OLÁ"})
    assert again.finished_at is not None
    store.remove_job("a")
    assert store.job("a") is None


# --- Elasticsearch, as a server sees it ------------------------------------------------------


@dataclass
class Index:
    """What a server that only takes notes was sent."""

    url: str = ""
    documents: dict[str, Any] = field(default_factory=dict)
    credentials: set[str | None] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    refuse: int = 0


@pytest.fixture
def elasticsearch() -> Generator[Index]:
    kept = Index()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept.credentials.add(self.headers["Authorization"])
            kept.calls.append(f"{self.command} {self.path}")
            status, answer = 200, dict[str, Any]()
            if kept.refuse:
                reason = "action is unauthorized for user [user] with hunter2/+"
                status = kept.refuse
                answer = {"error": {"type": "security_exception", "reason": reason}}
            elif self.command == "DELETE":
                del kept.documents[self.path]
            elif self.command == "GET":
                answer = {"_source": kept.documents.get(self.path)}
            elif self.path in kept.documents and "_doc" not in self.path:
                reason = {"type": "resource_already_exists_exception", "reason": "it is there"}
                status, answer = 400, {"error": reason}
            else:
                kept.documents[self.path] = json.loads(body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_DELETE = do_PUT  # noqa: N815 - the server looks for these names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://user:hunter2%2F%2B@127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kept
        server.shutdown()


def test_elasticsearch_gets_a_document_in_its_own_index(elasticsearch: Index):
    store = ElasticsearchStore(elasticsearch.url, {"ELASTICSEARCH_INDEX": "vision"})
    store.check()
    store.check()  # the index is there already
    assert set(elasticsearch.documents) == {"/vision"}
    assert [call.split()[0] for call in elasticsearch.calls[:4]] == ["PUT", "PUT", "GET", "DELETE"]
    # user:hunter2/+
    assert elasticsearch.credentials == {"Basic dXNlcjpodW50ZXIyLys="}
    assert store.migrate() == ["the index vision is there"]


def test_elasticsearchs_refusal_says_why_and_no_password(elasticsearch: Index):
    elasticsearch.refuse = 403
    with pytest.raises(StoreError, match="403 security_exception: action is") as failure:
        ElasticsearchStore(elasticsearch.url).check()
    assert "hunter2" not in str(failure.value)


def test_what_is_no_elasticsearch_is_told(bucket: Bucket):
    with pytest.raises(StoreError, match="is answered with 200 and no JSON"):
        ElasticsearchStore(f"http://{bucket.address}").check()


# --- S3, as a server sees it -----------------------------------------------------------------


@dataclass
class Bucket:
    """What a server that only takes notes was sent."""

    address: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    refuse: bool = False


@pytest.fixture
def bucket() -> Generator[Bucket]:
    kept = Bucket()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_PUT(self) -> None:
            if self.headers.get("Expect") == "100-continue":
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if kept.refuse:
                code = "<Error><Code>AccessDenied</Code><Message>not AKIAACCESS</Message></Error>"
                return self.answer(403, code.encode())
            kept.objects[self.path] = body
            return self.answer(200)

        def do_GET(self) -> None:
            body = kept.objects.get(self.path)
            self.answer(404 if body is None else 200, body or b"")

        do_HEAD = do_GET  # noqa: N815 - the server looks for this name

        def do_DELETE(self) -> None:
            del kept.objects[self.path]
            self.answer(204)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield kept
        server.shutdown()


def app_with(bucket: Bucket, **environment: str):
    return create_app(environment, {"S3_ENDPOINT": s3_at(bucket.address)}).test_client()


def test_a_check_leaves_nothing_behind(bucket: Bucket):
    s3_at(bucket.address).check()
    assert bucket.objects == {}


def test_a_refusal_names_its_code_and_no_key(bucket: Bucket):
    bucket.refuse = True
    with pytest.raises(StoreError, match="AccessDenied") as failure:
        s3_at(bucket.address).check()
    assert "AKIAACCESS" not in str(failure.value)


def test_signed_urls_are_for_the_public_endpoint():
    environment = {**S3, "S3_PUBLIC_ENDPOINT": "https://nutrifit.example:8443", "S3_REGION": "br-1"}
    store = S3Store(environment)
    url = urlsplit(store.signed_put("uploads/a.mp4", 5))
    query = parse_qs(url.query)
    assert (url.scheme, url.netloc) == ("https", "nutrifit.example:8443")
    assert url.path == "/videos/uploads/a.mp4"
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Credential"][0].endswith("/br-1/s3/aws4_request")
    assert query["X-Amz-Expires"] == ["900"]
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert "hunter2" not in url.query
    assert urlsplit(store.signed_get("uploads/a.mp4")).netloc == "nutrifit.example:8443"


def test_a_client_gets_signed_urls(bucket: Bucket):
    browser = app_with(bucket)
    response = browser.post("/uploads", json={"name": "a.mp4"})
    assert response.status_code == 201
    body = response.get_json()
    assert body["method"] == "PUT"
    assert urlsplit(body["url"]).path == "/videos/uploads/a.mp4"
    assert browser.get("/uploads/a.mp4").status_code == 404

    bucket.objects["/videos/uploads/a.mp4"] = b"12345"
    body = browser.get("/uploads/a.mp4").get_json()
    assert (body["method"], body["size"]) == ("GET", 5)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "../x"},
        {"name": ".hidden"},
        {"name": "a/b"},
        {"name": "x" * 101},
        {"name": 7},
        {"name": "a", "size": -1},
        {"name": "a", "size": "1"},
        {"name": "a", "size": 6 * 1024**3},
    ],
)
def test_a_bad_upload_is_refused(bucket: Bucket, body: dict[str, Any]):
    assert app_with(bucket).post("/uploads", json=body).status_code == 400


def test_an_upload_through_the_application(bucket: Bucket, tmp_path: Path):
    content = b"frame" * 50_000
    browser = app_with(bucket, UPLOADS_FOLDER=str(tmp_path))
    response = browser.post("/upload?name=a.mp4", data=content)
    assert (response.status_code, response.get_json()) == (
        201,
        {"name": "a.mp4", "size": len(content)},
    )
    kept = bucket.objects["/videos/uploads/a.mp4"]
    assert hashlib.sha256(kept).digest() == hashlib.sha256(content).digest()
    assert list(tmp_path.iterdir()) == []


def test_an_upload_that_is_too_large_or_cut_off_leaves_nothing(bucket: Bucket):
    browser = app_with(bucket, UPLOAD_LIMIT="1000")
    assert browser.post("/upload?name=a", data=b"x" * 1001).status_code == 413
    promised = {"CONTENT_LENGTH": "20"}
    cut = browser.post("/upload?name=a", data=b"x" * 10, environ_overrides=promised)
    assert cut.status_code == 400
    chunked = browser.post("/upload?name=a", headers={"Transfer-Encoding": "chunked"})
    assert chunked.status_code == 411
    assert browser.post("/upload?name=../a", data=b"x").status_code == 400
    assert bucket.objects == {}
    assert browser.post("/upload?name=a", data=b"x" * 1000).status_code == 201


def test_a_job_puts_its_object(bucket: Bucket):
    from test_reference import MemoryStore

    store = MemoryStore()
    store.add_job("j1", "text", 0)
    assert jobs.work(store, s3_at(bucket.address), "j1", "worker")
    assert json.loads(bucket.objects["/videos/jobs/j1.json"]) == {
        "characters": 4,
        "upper": "TEXT",
        "quality": 1.0,
        "object": "jobs/j1.json",
        "worker": "worker",
    }
    result = store.jobs["j1"].result
    assert result is not None
    assert result["object"] == "jobs/j1.json"


def test_uploads_without_a_store_are_unavailable():
    browser = create_app({}, {}).test_client()
    assert browser.post("/uploads", json={"name": "a"}).status_code == 503
    assert browser.get("/uploads/a").status_code == 503
    assert browser.post("/upload?name=a", data=b"x").status_code == 503
