"""The reference workload as the systems run it, with real servers, under their commands."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sandbox import ROOT

from offline import build

pytestmark = [pytest.mark.docker, pytest.mark.load]

POSTGRES = "postgres:16-alpine"
REDIS = "redis:7-alpine"
MINIO = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"
MONGO = "mongo:7"
RABBITMQ = "rabbitmq:3-management"
MSSQL = "mcr.microsoft.com/mssql/server:2022-latest"
APPLICATION = "pigmeu-api:latest"
PASSWORD = "s3cr/et+"
ENCODED = "s3cr%2Fet%2B"
# Of Celery: a job whose worker is gone for so long is given to another one.
VISIBILITY_SECONDS = 5
MAKE_BUCKET = """
import os
from reference.stores import S3Store
store = S3Store(os.environ)
store._private.create_bucket(Bucket=store.bucket)
"""
# A folder as the platforms make it of a model: fetched from the bucket, checked when it is served.
FETCH_MODEL = """
import os, pathlib
from reference.stores import discover, objects
store, target = objects(discover(os.environ)), pathlib.Path("/app/models/v2")
target.mkdir()
for key in store.keys("classifier/v2/"):
    (target / key.rpartition("/")[2]).write_bytes(store.get(key))
"""
T = TypeVar("T")


def docker(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout
    return done.stdout.strip()


def eventually(ask: Callable[[], T], seconds: float = 20) -> T:
    """The first answer that is not empty."""
    deadline = time.monotonic() + seconds
    while True:
        if answer := ask():
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.2)


def call(url: str, body: dict[str, Any] | bytes | None = None, method: str = "") -> Any:
    """The answer's JSON, or its bytes; None when nobody answers yet."""
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    kind = "application/json" if isinstance(body, dict) else "application/octet-stream"
    request = urllib.request.Request(url, data, {"Content-Type": kind})
    request.method = method or ("GET" if body is None else "POST")
    try:
        with urllib.request.urlopen(request, timeout=15) as response:
            content = response.read()
    except urllib.error.HTTPError as error:
        content = error.read()
    except OSError:
        return None
    return json.loads(content) if content[:1] in (b"{", b"[") else content


@dataclass
class Lab:
    """A network and containers as hardened as the platforms make them."""

    name: str
    images: dict[str, str]

    def server(self, alias: str, image: str, *arguments: str, command: str = "") -> str:
        container = f"{self.name}-{alias}"
        docker(
            *("run", "--detach", "--name", container, "--label", self.name),
            *("--network", self.name, "--network-alias", alias),
            *(*arguments, self.images[image], *command.split()),
        )
        return container

    def application(
        self, name: str, memory: str, settings: Sequence[str], command: str = ""
    ) -> str:
        """Settings are environment variables, or arguments of `docker run`."""
        hardening = ("--user=1000:1000", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL")
        return self.server(
            name,
            APPLICATION,
            *(*hardening, "--security-opt=no-new-privileges", f"--memory={memory}"),
            *(text if text.startswith("--") else f"--env={text}" for text in settings),
            command=command,
        )

    def address(self, container: str) -> str:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", template, container)


@pytest.fixture(scope="module")
def lab() -> Generator[Lab]:
    name = f"reference-{secrets.token_hex(3)}"
    made = Lab(name, build.build([POSTGRES, REDIS, MINIO, APPLICATION]))
    docker("network", "create", "--label", name, name)
    try:
        made.server("postgres", POSTGRES, f"--env=POSTGRES_PASSWORD={PASSWORD}")
        persistent = f"redis-server --requirepass {PASSWORD} --appendonly yes"
        made.server("redis", REDIS, command=persistent)
        made.server(
            *("minio", MINIO, "--env=MINIO_ROOT_USER=minioadmin"),
            f"--env=MINIO_ROOT_PASSWORD={PASSWORD}",
            command="server /data",
        )
        yield made
    finally:
        containers = docker("ps", "--all", "--quiet", "--filter", f"label={name}").split()
        if containers:
            docker("rm", "--force", "--volumes", *containers)
        docker("network", "rm", name)


def healthy(base: str) -> dict[str, str]:
    """Each dependency's engine, once all of them work."""

    body: Any = None

    def ask() -> dict[str, str]:
        nonlocal body
        body = call(f"{base}/health")
        if not isinstance(body, dict) or body["status"] != "ok":
            return {}
        return {name: state["engine"] for name, state in body["dependencies"].items()}

    try:
        return eventually(ask, 60)
    except AssertionError as error:
        raise AssertionError(f"{error}: {body}") from None


def job_in_state(base: str, job_id: str, state: str) -> dict[str, Any]:
    job: Any = None

    def ask() -> dict[str, Any]:
        nonlocal job
        job = call(f"{base}/jobs/{job_id}")
        return job if isinstance(job, dict) and job["state"] == state else {}

    try:
        return eventually(ask, 45)
    except AssertionError as error:
        raise AssertionError(f"{error}: {job}") from None


def samples(container: str, port: int = 9100) -> dict[str, float]:
    """What a container's /metrics says, as soon as it does: it may have been started just now."""
    ask = ("exec", container, "curl", "-fs", f"http://localhost:{port}/metrics")
    text = eventually(lambda: docker(*ask, check=False))
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(number) for name, _, number in lines}


def job_survives_its_worker(base: str, workers: Sequence[str]) -> dict[str, Any]:
    """A job, done, whose first worker was killed in the middle."""
    job_id = call(f"{base}/jobs", {"text": "olá", "seconds": 2})["id"]
    first = job_in_state(base, job_id, "running")["worker"]
    lost = next(name for name in workers if docker("exec", name, "hostname") == first)
    docker("kill", "--signal=KILL", lost)
    killed = time.monotonic()
    job = job_in_state(base, job_id, "done")
    assert time.monotonic() - killed < 15
    assert (job["attempts"], job["result"]["upper"]) == (2, "OLÁ")
    assert job["worker"] != first
    docker("start", lost)
    return job


def test_nutrifitcoach(lab: Lab, tmp_path: Path) -> None:
    """PostgreSQL, Redis and S3; passwords in files; the image's own commands."""
    s3 = f"http://{lab.address(f'{lab.name}-minio')}:9000"
    secrets_folder = tmp_path / "secrets"
    secrets_folder.mkdir(mode=0o755)
    (secrets_folder / "database").write_text(f"postgresql://postgres:{ENCODED}@postgres/postgres\n")
    (secrets_folder / "s3").write_text(f"{PASSWORD}\n")
    settings = (
        f"--volume={secrets_folder}:/run/secrets:ro",
        "DATABASE_URL_FILE=/run/secrets/database",
        f"REDIS_URL=redis://:{ENCODED}@redis:6379/0",
        *("S3_ENDPOINT=http://minio:9000", "S3_BUCKET=videos", "S3_ACCESS_KEY=minioadmin"),
        *("S3_SECRET_KEY_FILE=/run/secrets/s3", f"S3_PUBLIC_ENDPOINT={s3}"),
    )
    api = lab.application("api", "256m", (*settings, "PORT=3000", "UPLOAD_LIMIT=1000000"))
    heartbeat = ("WORKER_CONCURRENCY=2", "HEARTBEAT_FILE=/tmp/heartbeat", "METRICS_PORT=9100")
    visibility = f"CELERY_VISIBILITY_TIMEOUT={VISIBILITY_SECONDS}"
    workers = [
        lab.application(f"worker-{number}", "384m", (*settings, *heartbeat, visibility))
        for number in range(2)
    ]
    eventually(lambda: call(f"{s3}/minio/health/live") == b"")
    docker("exec", api, "python3", "-c", MAKE_BUCKET)
    base = f"http://{lab.address(api)}:3000"
    engines = {"DATABASE_URL": "postgres", "REDIS_URL": "redis", "S3_ENDPOINT": "s3"}
    assert healthy(base) == engines

    # Past the application: with a URL that is signed, of the size that was signed.
    signed = call(f"{base}/uploads", {"name": "a.mp4", "size": 5})["url"]
    assert signed.startswith(f"{s3}/videos/uploads/a.mp4?")
    assert b"SignatureDoesNotMatch" in call(signed, b"123456", "PUT")
    assert call(signed, b"12345", "PUT") == b""
    assert call(call(f"{base}/uploads/a.mp4")["url"]) == b"12345"
    assert b"AccessDenied" in call(f"{s3}/videos/uploads/a.mp4")
    # Through the application.
    assert call(f"{base}/upload?name=b.mp4", b"x" * 900_000) == {"name": "b.mp4", "size": 900_000}
    call(f"{base}/upload?name=c.mp4", b"x" * 1_000_001)  # refused before all of it is sent
    assert call(f"{base}/uploads/c.mp4") == {"error": "no such object"}

    alive = ("sh", "-c", 'test -n "$(find /tmp/heartbeat -mmin -1)" && echo alive')
    for worker in workers:
        eventually(lambda worker=worker: docker("exec", worker, *alive, check=False) == "alive")
    job = job_survives_its_worker(base, workers)
    assert job["result"]["object"] == f"jobs/{job['id']}.json"

    # Workers find their queue again, whatever became of their connections.
    docker("kill", "--signal=KILL", f"{lab.name}-redis")
    docker("start", f"{lab.name}-redis")
    assert healthy(base) == engines
    for _ in range(3):
        job_in_state(base, call(f"{base}/jobs", {"text": "x"})["id"], "done")
    counted = [samples(worker) for worker in workers]
    done = 'jobs_processed_total{kind="job",outcome="done"}'
    assert sum(sample.get(done, 0) for sample in counted) >= 3
    assert all(sample['queue_depth{engine="redis",queue="celery"}'] == 0 for sample in counted)
    for container in (api, *workers):
        assert docker("inspect", "--format", "{{.State.OOMKilled}}", container) == "false"
        assert "s3cr" not in docker("logs", container)


def test_pigmeu(lab: Lab) -> None:
    """MongoDB and Redis, under the commands of its document."""
    lab.images |= build.build([MONGO])
    root = ("--env=MONGO_INITDB_ROOT_USERNAME=root", f"--env=MONGO_INITDB_ROOT_PASSWORD={PASSWORD}")
    lab.server("mongo", MONGO, *root)
    settings = (
        f"MONGODB_URI=mongodb://root:{ENCODED}@mongo:27017/?authSource=admin",
        *("MONGO_DB_NAME=pigmeu", f"REDIS_URL=redis://:{ENCODED}@redis:6379/1"),
        f"CELERY_VISIBILITY_TIMEOUT={VISIBILITY_SECONDS}",
    )
    serve = "uvicorn src.app:app --host 0.0.0.0 --port 8000 --reload"
    celery = "celery -A src.workers.worker"
    api = lab.application("pigmeu-api", "256m", settings, serve)
    workers = [
        lab.application(
            f"pigmeu-worker-{number}",
            "384m",
            settings,
            f"{celery} worker --loglevel=info --concurrency=2",
        )
        for number in range(2)
    ]
    base = f"http://{lab.address(api)}:8000"
    assert healthy(base) == {"MONGODB_URI": "mongo", "REDIS_URL": "redis"}
    docker("exec", api, "curl", "-f", "http://localhost:8000/health")
    for _ in range(2):  # what is there is left alone
        done = docker("exec", api, "python", "-m", "src.db.migrations").splitlines()
        assert done == [
            "MONGODB_URI (mongo): the index amazon_url (unique) of submissions is there",
            "MONGODB_URI (mongo): the index status of submissions is there",
            "MONGODB_URI (mongo): the index created_at of submissions is there",
        ]
    event = call(f"{base}/events", {"title": "um evento"})
    assert call(f"{base}/events") == [event]
    for path in ("/docs", "/redoc", "/ui"):
        assert call(f"{base}{path}").startswith(b"<!doctype html>")
    eventually(
        lambda: (
            "2 nodes online" in docker("exec", api, *f"{celery} inspect ping".split(), check=False)
        )
    )
    job_survives_its_worker(base, workers)


def test_ocolecionador(lab: Lab) -> None:
    """RabbitMQ between two applications that share no database; training, and its model served."""
    lab.images |= build.build([RABBITMQ, MSSQL])
    sa_password = f"MSSQL_SA_PASSWORD={PASSWORD}Aa1"
    lab.server("sqlserver", MSSQL, "--env=ACCEPT_EULA=Y", f"--env={sa_password}")
    rabbit = lab.server(
        *("rabbitmq", RABBITMQ, "--hostname=rabbitmq", "--env=RABBITMQ_DEFAULT_USER=oc"),
        f"--env=RABBITMQ_DEFAULT_PASS={PASSWORD}",
    )

    def sql(statement: str, name: str = "postgres") -> str:
        psql = ("psql", "-U", "postgres", "-d", name, "-Atqc", statement)
        answer = docker("exec", f"{lab.name}-postgres", *psql, check=False)
        return "" if "ERROR" in answer or "error" in answer else answer

    eventually(lambda: sql("SELECT 1"))
    sql("CREATE DATABASE augmentations")
    s3 = (
        *("S3_BUCKET=ocolecionador", "S3_ACCESS_KEY=minioadmin"),
        f"S3_SECRET_KEY={PASSWORD}",
    )
    backend = lab.application(
        "backend",
        "256m",
        (
            "ASPNETCORE_ENVIRONMENT=Production",
            f"SQLSERVER_URL=mssql://sa:{ENCODED}Aa1@sqlserver:1433/master?encrypt=true",
            *(f"RABBITMQ_URL=amqp://oc:{ENCODED}@rabbitmq:5672/%2F", *s3),
            *("S3_ENDPOINT=http://minio:9000", f"REDIS_URL=redis://:{ENCODED}@redis:6379/2"),
        ),
    )
    # The documented hosts, and parts of ours.
    settings = (
        *("POSTGRES_HOST=postgres", "POSTGRES_USER=postgres", f"POSTGRES_PASSWORD={PASSWORD}"),
        *("POSTGRES_DB=augmentations", "MINIO_HOST=minio", *s3),
    )
    queue = ("RABBITMQ_HOST=rabbitmq", "RABBITMQ_USER=oc", f"RABBITMQ_PASSWORD={PASSWORD}")
    work = ("WORKER_CONCURRENCY=2", "HEARTBEAT_FILE=/tmp/heartbeat", "METRICS_PORT=9100")
    workers = [
        lab.application(f"augmentations-{number}", "128m", (*settings, *queue, *work))
        for number in range(2)
    ]
    eventually(lambda: docker("exec", backend, "python3", "-c", MAKE_BUCKET, check=False) == "")
    base = f"http://{lab.address(backend)}:8080/api"
    engines = {
        "RABBITMQ_URL": "rabbitmq",
        "REDIS_URL": "redis",
        "S3_ENDPOINT": "s3",
        "SQLSERVER_URL": "mssql",
    }
    assert healthy(base) == engines
    # What SQL Server's stand-in does not know must not be what the backend asks for.
    made = [call(f"{base}/events", {"title": f"it's event {number}"}) for number in range(3)]
    assert call(f"{base}/events?limit=2") == made[:0:-1]

    # A worker is killed in the middle: RabbitMQ gives its job to the other one at once.
    job_id = call(f"{base}/jobs", {"text": "olá", "seconds": 4})["id"]
    holder = f"SELECT worker FROM jobs WHERE id = '{job_id}'"
    first = eventually(lambda: sql(holder, "augmentations"))
    lost = next(name for name in workers if docker("exec", name, "hostname") == first)
    docker("kill", "--signal=KILL", lost)
    killed = time.monotonic()
    job = job_in_state(base, job_id, "done")
    assert time.monotonic() - killed < 10
    assert (job["result"]["upper"], job["result"]["quality"]) == ("OLÁ", 1.0)
    assert job["worker"] not in {first, None}
    docker("start", lost)

    # Jobs wait while there is nobody, their number is known, and they are there after a restart.
    docker("stop", *workers)
    waiting = [call(f"{base}/jobs", {"text": f"job {number}"})["id"] for number in range(5)]
    depth = 'queue_depth{engine="rabbitmq",queue="jobs"}'
    eventually(lambda: samples(backend, 8080)[depth] == 5)
    docker("restart", rabbit)
    docker("start", *workers)
    for job_id in waiting:
        job_in_state(base, job_id, "done")
    counted = [samples(worker) for worker in workers]
    done = 'jobs_processed_total{kind="job",outcome="done"}'
    assert sum(sample.get(done, 0) for sample in counted) == 5
    for sample in counted:
        assert sample['dependency_up{dependency="RABBITMQ_URL",engine="rabbitmq"}'] == 1
        assert sample[depth] == 0

    # What is no job is refused, and the worker lives on.
    publish = "from reference.stores import *; import os; RabbitStore(os.environ['U']).put(b'{}')"
    docker("exec", f"--env=U=amqp://oc:{ENCODED}@rabbitmq", backend, "python3", "-c", publish)
    job_in_state(base, call(f"{base}/jobs", {"text": "after it"})["id"], "done")
    # A worker that is stopped ends the job that it does.
    job_id = call(f"{base}/jobs", {"text": "the last one", "seconds": 3})["id"]
    eventually(lambda: sql(f"SELECT 1 FROM jobs WHERE id = '{job_id}'", "augmentations"))
    docker("stop", "--time=20", *workers)
    assert job_in_state(base, job_id, "done")["attempts"] == 1

    # Training by hand, on what the workers kept. A version is made once, and never replaced.
    def train(*arguments: str, version: str = "") -> tuple[int, str]:
        made = lab.application(
            f"training-{secrets.token_hex(3)}",
            "128m",
            (*settings, f"MODEL_VERSION={version}", "CUDA_VISIBLE_DEVICES=0"),
            " ".join(("python", "main.py", *arguments)),
        )
        return int(docker("wait", made)), docker("logs", made)

    code, log = train()
    assert code == 0, log
    # The jobs that were done; a classifier knows nothing of the backend's database.
    assert log.startswith("training classifier v1 on 8 rows, on GPU 0\n")
    assert "wrote ocolecionador/classifier/v1/SHA256SUMS" in log
    assert train("--seconds", "1")[0] == 0
    code, log = train(version="v2")
    assert (code, log) == (
        1,
        "training failed: ocolecionador/classifier/v2 is there already; take another one",
    )
    assert train("--fail")[0] == 1

    # The classifier says what it serves, and does not serve what is damaged.
    classifier = lab.application(
        "classifier",
        "256m",
        (*settings, "MODEL_PATH=/app/models/v2", "--volume=/app/models"),
    )
    api = f"http://{lab.address(classifier)}:5001"
    assert healthy(api) == {"DATABASE_URL": "postgres", "S3_ENDPOINT": "s3"}
    assert call(f"{api}/health")["model"] is None
    assert "no model" in call(f"{api}/classifier/predict", {"text": "x"})["error"]
    docker("exec", classifier, "python3", "-c", FETCH_MODEL)
    model = call(f"{api}/classifier/health")["model"]
    assert (model["name"], model["version"], model["sums"]) == ("classifier", "v2", "ok")
    docker("exec", "--workdir=/app/models/v2", classifier, "sha256sum", "--check", "SHA256SUMS")
    answer = call(f"{api}/classifier/predict", {"text": "x" * 100})
    assert (answer["label"], answer["version"]) == ("long", "v2")
    docker("exec", classifier, "sh", "-c", "echo ' ' >>/app/models/v2/model.json")
    damaged = call(f"{api}/health")
    assert (damaged["status"], damaged["model"]["sums"]) == ("failing", "mismatch")
    assert "damaged" in call(f"{api}/classifier/predict", {"text": "x"})["error"]
    info = 'model_info{model="classifier",sums="mismatch",version="v2"}'
    assert samples(classifier, 5001)[info] == 1
    for container in (backend, classifier, *workers):
        assert docker("inspect", "--format", "{{.State.OOMKilled}}", container) == "false"
        assert "s3cr" not in docker("logs", container)


def test_vision(lab: Lab, tmp_path: Path) -> None:
    """One command, two ports; requests and work are counted, and logs are for programs."""
    settings = (
        *("ENVIRONMENT=development", "LOG_FORMAT=json", "SERVICE_NAME=vision-api"),
        f"DATABASE_URL=postgresql://postgres:{ENCODED}@postgres/postgres",
        f"REDIS_URL=redis://:{ENCODED}@redis:6379/3",
    )
    vision = "python -m vision.api.api_server"
    production = lab.application("vision", "256m", settings, vision)
    # The document mounts the checkout there, and starts it so.
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "reference", checkout / "reference")
    shutil.copytree(ROOT / "reference" / "vision", checkout / "vision")
    mounted = (*settings, f"--volume={checkout}:/app")
    development = lab.application("vision-dev", "256m", mounted, f"{vision} --reload")
    for container in (production, development):
        for port in (8000, 8080):
            base = f"http://{lab.address(container)}:{port}"
            assert healthy(base) == {"DATABASE_URL": "postgres", "REDIS_URL": "redis"}
            assert call(f"{base}/ui").startswith(b"<!doctype html>")
    program = checkout / "reference" / "app.py"
    program.write_text(program.read_text().replace("<!doctype html>", "<!doctype html><!-- 2 -->"))
    # Nobody answers while it starts again.
    eventually(lambda: (call(f"{base}/ui") or b"").startswith(b"<!doctype html><!-- 2 -->"))
    for text in ("readable", "¤¤¤¤"):
        call(f"{base}/process", {"text": text})
    call(f"{base}/login", {"user": "x", "password": "wrong"})
    sample = samples(development, 8080)
    assert sample['jobs_processed_total{kind="process",outcome="done"}'] == 2
    assert sample['job_quality_sum{kind="process"}'] == 1
    assert sample["login_failures_total"] == 1
    assert sample['http_requests_total{method="POST",path="/process",status="200"}'] == 2
    assert sample['dependency_up{dependency="REDIS_URL",engine="redis"}'] == 1
    lines = docker("logs", production).splitlines()
    requests = [json.loads(line) for line in lines if line.startswith("{")]
    assert any("GET /health 200" in line["message"] for line in requests)
    assert {line["service"] for line in requests} == {"vision-api"}
