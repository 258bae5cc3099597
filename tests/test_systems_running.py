"""NutriFitCoach and Pigmeu on real Docker: what their documents promise, under load and faults.

The servers are real (PostgreSQL, Redis, nginx, MinIO, FerretDB), the applications are the reference
workload; see offline/README.md for what that proves.
"""

import http.client
import json
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sandbox import Sandbox

pytestmark = [pytest.mark.docker, pytest.mark.load]

PROGRAM = """\
from pulumi_tiers import plan
from pulumi_tiers.program import main

described = plan.SYSTEMS[{system!r}]


def system(environment):
    made = described(environment)
    update = {{}}
    for part in ("services", "ml"):
        update[part] = {{
            name: item.model_copy(update={{"environment": {{**item.environment, **{variables!r}}}}})
            for name, item in getattr(made, part).items()
        }}
    for edge in made.edges.values():
        for name, limit in edge.rate_limits.items():
            edge.rate_limits[name] = limit.model_copy(update={{"rate": {rate!r}}})
    return made.model_copy(update=update)


plan.SYSTEMS[{system!r}] = system
main()
plan.SYSTEMS[{system!r}] = described
"""
#: Seconds until a job whose worker died is given to another; 35 minutes where it matters.
LOST = {"CELERY_VISIBILITY_TIMEOUT": "5"}


@dataclass(frozen=True)
class Answer:
    """What a client gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Running:
    """A system that is up, and its clients."""

    sandbox: Sandbox
    system: str
    base: str
    replies: list[int] = field(default_factory=list)

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """`path`: below the base, or a whole URL."""
        url = urlsplit(path if "://" in path else self.base + path)
        assert url.hostname is not None
        if url.scheme == "https":
            # Self-signed: whose it is, is checked in tests of the edge.
            context = ssl._create_unverified_context()
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                url.hostname, url.port, timeout=30, context=context
            )
        else:
            connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        target = url.path + (f"?{url.query}" if url.query else "")
        try:
            connection.request(method, target, body, headers or {})
            reply = connection.getresponse()
            found = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, found, reply.read())
        finally:
            connection.close()

    def post(self, path: str, value: Any) -> Answer:
        body = json.dumps(value).encode()
        return self.ask(path, "POST", body, {"Content-Type": "application/json"})

    def job(self, text: str, seconds: float = 0) -> str:
        answer = self.post("/jobs", {"text": text, "seconds": seconds})
        assert answer.status == 202, answer
        return str(answer.json["id"])

    def wait_for(self, job: str, state: str = "done", seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            found = self.ask(f"/jobs/{job}").json
            if found["state"] == state:
                return dict(found)
            assert time.monotonic() < deadline, found
            time.sleep(0.5)

    def name(self, service: str) -> str:
        return f"{self.sandbox.stack}-{self.system}-{service}"

    def inspect(self, service: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.sandbox.docker("inspect", self.name(service)))
        return found[0]

    def containers(self) -> dict[str, str]:
        """Ids by name."""
        listed = self.sandbox.docker(
            *("ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}"),
            *("--filter", f"label=tiers.stack={self.sandbox.stack}"),
        )
        return dict(line.split() for line in listed.splitlines())

    def kill(self, service: str) -> None:
        """As if the machine had lost it: Docker starts it again."""
        before = self.inspect(service)["RestartCount"]
        name = self.name(service)
        script = "kill -9 $(cat /proc/1/task/1/children)"
        # Its own shell is among the children.
        killed = ["docker", "exec", name, "sh", "-c", script]
        subprocess.run(killed, capture_output=True, check=False)
        deadline = time.monotonic() + 60
        while True:
            state = self.inspect(service)
            healthy = state["State"]["Health"]["Status"] == "healthy"
            if state["RestartCount"] > before and healthy:
                return
            assert time.monotonic() < deadline, f"{name}: {state['State']}"
            time.sleep(0.3)

    @contextmanager
    def client(self, path: str, pause: float) -> Iterator[Counter[str]]:
        """One client that goes on asking meanwhile: statuses, or what went wrong."""
        until = threading.Event()
        seen: Counter[str] = Counter()

        def ask() -> None:
            while not until.is_set():
                try:
                    seen[str(self.ask(path).status)] += 1
                except (OSError, http.client.HTTPException) as error:
                    seen[f"{time.time():.1f} {error!r}"] += 1
                time.sleep(pause)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield seen
        finally:
            until.set()
            thread.join(60)

    def finished(self, text: str) -> set[str]:
        """Ids of NutriFitCoach's jobs with that text that have a result."""
        told = self.sandbox.tiers(
            *("exec", "postgres", "--", "psql", "-U", "postgres", "-tA", "nutrifitcoach", "-c"),
            f"select id from jobs where finished_at is not null and text = '{text}'",
        )
        return set(told.stdout.split())

    @contextmanager
    def busy(self) -> Iterator[list[str]]:
        """Jobs that are put in meanwhile, a second each."""
        until = threading.Event()
        jobs: list[str] = []

        def put() -> None:
            while not until.wait(1):
                jobs.append(self.job("meanwhile", seconds=1))

        thread = threading.Thread(target=put)
        thread.start()
        try:
            yield jobs
        finally:
            until.set()
            thread.join(60)

    def up(self) -> None:
        """With the engine where there is one."""
        self.sandbox.tiers("up")

    def program(self, rate: str) -> None:
        text = PROGRAM.format(system=self.system, variables=LOST, rate=rate)
        (self.sandbox.root / "__main__.py").write_text(text, encoding="utf-8")


def up(folder: Path, system: str, **config: Any) -> Iterator[Running]:
    sandbox = Sandbox.make(folder)
    sandbox.configure(**{"tiers:systems": [system], **config})
    offset = sandbox.config["tiers:port_offset"]
    running = Running(sandbox, system, f"https://localhost:{443 + offset}")
    running.program("10r/s")
    try:
        running.up()
        yield running
    finally:
        sandbox.remove()


@pytest.fixture(scope="module")
def nfc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from up(tmp_path_factory.mktemp("nfc") / "project", "nutrifitcoach")


@pytest.fixture(scope="module")
def pigmeu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    yield from up(
        tmp_path_factory.mktemp("pigmeu") / "project",
        "pigmeu",
        **{
            "tiers:environment": "production",
            "tiers:tls": {"pigmeu": {"mode": "self_signed"}},
            "tiers:replicas": {"pigmeu/worker": 2},
            "tiers:profiles": {"pigmeu": ["flower"]},
        },
    )


# --- NutriFitCoach --------------------------------------------------------------------------------


def test_every_store_is_used_and_a_job_is_done_by_a_worker(nfc: Running) -> None:
    health = nfc.ask("/health")
    assert health.status == 200, health.json
    engines = {item["engine"]: item["ok"] for item in health.json["dependencies"].values()}
    assert engines == {"postgres": True, "redis": True, "s3": True}
    done = nfc.wait_for(nfc.job("ten squats"))
    assert done["result"]["upper"] == "TEN SQUATS"
    workers = {
        nfc.inspect(name)["Config"]["Hostname"] for name in ("worker", "worker-2", "worker-3")
    }
    assert done["worker"] in workers


def test_clients_upload_and_download_past_the_api_while_minio_is_published_nowhere(
    nfc: Running,
) -> None:
    video = bytes(range(256)) * 12_000  # 3 MB: more than nginx takes by itself
    signed = nfc.post("/uploads", {"name": "squats.mp4"}).json
    assert signed["url"].startswith(f"{nfc.base}/videos/"), signed
    assert nfc.ask(signed["url"], "PUT", video).status == 200
    found = nfc.ask("/uploads/squats.mp4").json
    assert nfc.ask(found["url"]).body == video
    # Without a signature, or with another's, there is nothing to be had.
    assert nfc.ask(found["url"].partition("?")[0]).status == 403
    assert nfc.ask(found["url"][:-4] + "0000").status == 403
    published = {
        name: ports
        for name in nfc.containers()
        if (ports := nfc.sandbox.docker("port", name).splitlines())
    }
    offset = nfc.sandbox.config["tiers:port_offset"]
    assert published == {
        nfc.name("nginx"): [
            f"8080/tcp -> 127.0.0.1:{80 + offset}",
            f"8443/tcp -> 127.0.0.1:{443 + offset}",
        ]
    }


def test_a_body_that_is_too_large_is_refused_and_nothing_is_written(nfc: Running) -> None:
    assert nfc.ask("/events", "POST", b"x" * 1_100_000).status == 413
    connection = nfc.ask(
        "/upload?name=big.mp4", "POST", b"", {"Content-Length": str(600 * 1024**2)}
    )
    assert connection.status == 413
    assert nfc.ask("/uploads/big.mp4").status == 404


def test_the_containers_are_hardened_and_know_their_secrets_from_files_only(nfc: Running) -> None:
    names = ("nginx", "api", "worker", "postgres", "redis", "minio")
    for name in names:
        found = nfc.inspect(name)
        host = found["HostConfig"]
        assert not found["Config"]["User"].startswith("0"), name
        assert host["ReadonlyRootfs"], name
        assert host["CapDrop"] == ["ALL"], name
        assert "no-new-privileges:true" in host["SecurityOpt"], name
        assert host["Memory"] > 0, name
        assert host["NanoCpus"] > 0, name
    url = nfc.sandbox.tiers(
        "exec", "nutrifitcoach/redis", "--", "cat", "/run/secrets/password"
    ).stdout.strip()
    assert len(url) >= 32
    for name in ("nginx", "api", "worker", "redis"):
        found = nfc.inspect(name)
        assert url not in json.dumps(found["Config"]), name
    networks = {name: set(nfc.inspect(name)["NetworkSettings"]["Networks"]) for name in names}
    edge, data = nfc.name("edge"), nfc.name("data")
    assert networks["nginx"] == {edge}
    assert networks["postgres"] == networks["redis"] == {data}
    assert networks["api"] == networks["minio"] == {edge, data}
    inside = json.loads(nfc.sandbox.docker("network", "inspect", data))[0]
    assert inside["Internal"]
    addresses = {
        name: next(
            item["IPAddress"]
            for item in nfc.inspect(name)["NetworkSettings"]["Networks"].values()
            if item["IPAddress"] == expected
        )
        for name, expected in (
            ("nginx", "172.28.0.10"),
            ("api", "172.28.0.20"),
            ("api-3", "172.28.0.22"),
            ("worker-3", "172.28.0.32"),
            ("postgres", "172.28.0.100"),
            ("redis", "172.28.0.110"),
            ("minio", "172.28.0.120"),
        )
    }
    assert len(addresses) == 7


def test_nginx_takes_its_configuration_and_tells_the_api_who_asks(nfc: Running) -> None:
    nfc.sandbox.tiers(
        *("exec", "nutrifitcoach/nginx", "--", "nginx", "-e", "stderr", "-t"),
        *("-p", "/run/nginx", "-c", "/run/nginx/now/nginx.conf"),
    )
    told = nfc.ask("/headers", headers={"X-Forwarded-Proto": "gopher"}).json["headers"]
    assert told["X-Forwarded-Proto"] == "https"
    assert told["X-Forwarded-For"] == told["X-Real-Ip"] == "172.28.0.1"
    assert told["Host"] == urlsplit(nfc.base).netloc
    assert nfc.ask("/metrics").status == 403
    plain = nfc.base.replace("https", "http").replace(
        str(urlsplit(nfc.base).port), str(80 + nfc.sandbox.config["tiers:port_offset"])
    )
    redirected = nfc.ask(f"{plain}/x?y=1")
    assert (redirected.status, redirected.headers["location"]) == (308, f"{nfc.base}/x?y=1")


def test_one_client_gets_its_rate_and_burst_and_the_replicas_share_it(nfc: Running) -> None:
    time.sleep(3)  # the bucket of this client is empty again
    with ThreadPoolExecutor(20) as pool:
        began = time.monotonic()
        answers = list(pool.map(nfc.ask, ["/health"] * 80))
        took = time.monotonic() - began
    counted = Counter(answer.status for answer in answers)
    # 1 and a burst of 20 at once, then 10 a second.
    allowed = 21 + 10 * took
    assert counted[200] + counted[429] == 80, counted
    assert 21 <= counted[200] <= allowed + 1, (counted, took)
    served = Counter(
        answer.headers["x-served-by"] for answer in answers if "x-served-by" in answer.headers
    )
    assert len(served) == 3, served
    assert max(served.values()) <= 3 * min(served.values()), served


def test_no_request_fails_while_a_replica_is_killed(nfc: Running) -> None:
    time.sleep(3)
    with nfc.client("/headers", 0.12) as seen:
        time.sleep(1)
        nfc.kill("api-2")
        time.sleep(3)
    assert seen.total() > 20
    assert set(seen) == {"200"}, seen


@pytest.mark.engine  # Compose 1.29 replaces what depends on a replaced container
def test_a_changed_limit_is_reloaded_and_nothing_else_is_touched(nfc: Running) -> None:
    time.sleep(3)
    before = nfc.containers()
    nfc.program("5r/s")
    with nfc.client("/headers", 0.25) as seen:
        nfc.up()
        time.sleep(5)
    assert set(seen) == {"200"}, seen
    changed = {name for name, id_ in nfc.containers().items() if before[name] != id_}
    assert changed == {nfc.name("nginx-files")}
    running = nfc.sandbox.docker("exec", nfc.name("nginx"), "cat", "/run/nginx/now/nginx.conf")
    assert "rate=5r/s" in running
    assert "rate=10r/s" not in running


@pytest.mark.engine
def test_scaling_touches_the_workers_alone_and_loses_no_job(nfc: Running) -> None:
    before = nfc.containers()
    jobs: list[str] = []
    for count in (1, 4, 2):
        with nfc.busy() as put_in:
            nfc.sandbox.tiers("scale", f"worker={count}")
        jobs += put_in
        after = nfc.containers()
        others = {name: id_ for name, id_ in after.items() if "-worker" not in name}
        assert others == {name: id_ for name, id_ in before.items() if "-worker" not in name}
        assert len(_workers(nfc)) == count
        # Those that stay are the same ones.
        workers = {name: id_ for name, id_ in after.items() if "-worker" in name}
        kept = {name: id_ for name, id_ in before.items() if name in workers}
        assert kept.items() <= workers.items()
        before = after
    assert "nothing to change" in nfc.sandbox.tiers("up").stderr
    assert len(jobs) > 5
    # How often each was begun, the next test looks at: here, a busy machine is slower than `LOST`.
    deadline = time.monotonic() + 60
    while (done := nfc.finished("meanwhile")) != set(jobs):
        assert time.monotonic() < deadline, set(jobs) - done
        time.sleep(1)


def test_a_worker_that_is_told_to_end_finishes_its_job(nfc: Running) -> None:
    job = nfc.job("nearly done", seconds=4)
    worker = nfc.wait_for(job, "running")["worker"]
    names = {nfc.inspect(name)["Config"]["Hostname"]: name for name in _workers(nfc)}
    # As the engine, Compose, `tiers down` and a new image do it: with the container's own grace.
    nfc.sandbox.docker("stop", nfc.name(names[worker]))
    done = nfc.wait_for(job, seconds=0)
    assert (done["worker"], done["attempts"]) == (worker, 1)
    assert nfc.inspect(names[worker])["State"]["ExitCode"] == 0
    nfc.sandbox.docker("start", nfc.name(names[worker]))


def test_what_was_kept_survives_a_killed_redis_and_a_killed_postgres(nfc: Running) -> None:
    done = [nfc.wait_for(nfc.job(f"job {number}"))["id"] for number in range(3)]
    cli = 'REDISCLI_AUTH="$(cat /run/secrets/password)" redis-cli'
    exec_ = ("exec", "nutrifitcoach/redis", "--", "sh", "-c")
    nfc.sandbox.tiers(*exec_, f"{cli} set kept yes")
    time.sleep(1.5)  # appendfsync everysec
    nfc.kill("redis")
    nfc.kill("postgres")
    assert "yes" in nfc.sandbox.tiers(*exec_, f"{cli} get kept").stdout
    for job in done:
        assert nfc.wait_for(job)["result"]["upper"]


def test_a_job_whose_worker_dies_is_done_by_another_and_recorded_once(nfc: Running) -> None:
    job = nfc.job("lost", seconds=4)
    running = nfc.wait_for(job, "running")
    names = {nfc.inspect(name)["Config"]["Hostname"]: name for name in _workers(nfc)}
    victim = names[running["worker"]]
    nfc.sandbox.docker("kill", nfc.name(victim))
    done = nfc.wait_for(job, seconds=90)
    assert done["worker"] != running["worker"]
    assert done["attempts"] == 2
    nfc.sandbox.docker("start", nfc.name(victim))


def _workers(running: Running) -> list[str]:
    prefix = running.name("")
    return [
        name.removeprefix(prefix)
        for name in running.containers()
        if name.startswith(f"{prefix}worker") and not name.endswith("-files")
    ]


# --- Pigmeu ---------------------------------------------------------------------------------------


def test_pigmeu_in_production_answers_through_its_edge_alone(pigmeu: Running) -> None:
    health = pigmeu.ask("/health")
    assert health.status == 200, health.json
    engines = {item["engine"]: item["ok"] for item in health.json["dependencies"].values()}
    assert engines == {"mongo": True, "redis": True}
    for path in ("/docs", "/redoc", "/ui"):
        assert pigmeu.ask(path).status == 200, path
    for service in ("api", "worker", "mongo", "redis", "flower"):
        assert pigmeu.sandbox.docker("port", pigmeu.name(service)) == "", service
    done = pigmeu.wait_for(pigmeu.job("a title"))
    assert done["result"]["upper"] == "A TITLE"
    environment = pigmeu.inspect("worker")["Config"]["Env"]
    assert any(text.endswith("replicaSet=rs0") for text in environment)
    assert pigmeu.inspect("worker")["Config"]["StopTimeout"] == 1800


def test_flower_asks_for_a_password_and_sees_the_workers(pigmeu: Running) -> None:
    inside = ("exec", "pigmeu/flower", "--", "sh", "-c")
    url = "http://127.0.0.1:5555/api/workers"
    anybody = pigmeu.sandbox.tiers(*inside, f"curl -s -o /dev/null -w '%{{http_code}}' {url}")
    assert anybody.stdout == "401"
    deadline = time.monotonic() + 40
    while True:
        known = pigmeu.sandbox.tiers(
            *inside, f'curl -s -u "$FLOWER_BASIC_AUTH" {url}?refresh=1'
        ).stdout
        seen = json.loads(known or "{}")
        if len(seen) == 2:
            break
        assert time.monotonic() < deadline, seen
        time.sleep(2)


def test_documents_survive_a_killed_mongo(pigmeu: Running) -> None:
    kept = pigmeu.wait_for(pigmeu.job("kept"))
    pigmeu.kill("mongo")
    again = pigmeu.wait_for(kept["id"])
    assert again == kept
