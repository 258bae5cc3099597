"""What watches a system, on real Docker: real servers, exporters, Prometheus and Alertmanager."""

import base64
import email
import json
import re
import socketserver
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from containers import Containers, stand_in
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.edge import Edge, Route, Tls, TlsMode, Upstream
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.store import MONITORING, Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Healthcheck, Metrics, Port, Workload
from pulumi_tiers.nginx import Address
from pulumi_tiers.nginx.workloads import edge_workloads
from pulumi_tiers.observability import observability_workloads, watched
from pulumi_tiers.observability.exporters import monitored
from pulumi_tiers.observability.metrics import CATALOGUE, program_metrics
from pulumi_tiers.observability.prometheus import IMAGE as PROMETHEUS_IMAGE
from pulumi_tiers.program import main
from pulumi_tiers.render.recorder import record
from pulumi_tiers.systems import SYSTEMS
from test_kubernetes import Objects

#: Told after the first request, and after the first look through all data.
LATER = {
    *("minio_s3_requests_total", "minio_s3_requests_errors_total", "minio_cluster_bucket_total"),
    *("minio_cluster_usage_object_total", "minio_cluster_usage_total_bytes"),
}
PASSWORD = "correct-Horse7battery-staple"
STORES = monitored(
    {
        "postgres": Store(engine="postgres", image="postgres:16"),
        "redis": Store(engine="redis"),
        "rabbitmq": Store(engine="rabbitmq"),
        "minio": Store(engine="minio"),
    }
)
VALUES = {
    f"{name}.{field}": value
    for store_name, store in STORES.items()
    for name, user in (
        (store_name, ENGINES[store.engine].admin),
        (f"{store_name}.{MONITORING}", MONITORING),
    )
    for field, value in {
        "host": store_name,
        "port": str(ENGINES[store.engine].port),
        "user": user,
        "password": f"{PASSWORD}-{user}",
        "database": "postgres",
    }.items()
}
VALUES |= {
    f"password.{user}": f"{PASSWORD}-{user}"
    for store in STORES.values()
    for user in ENGINES[store.engine].users(store)
}


def pair(folder: Path) -> tuple[str, str]:
    """A certificate for two days, and its key."""
    crt, key = folder / "made.crt", folder / "made.key"
    kind = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    more = ("-subj", "/CN=localhost", "-days", "2", "-out", str(crt), "-keyout", str(key))
    subprocess.run(["openssl", *kind, *more], check=True, capture_output=True)
    return crt.read_text(), key.read_text()


class Receiver:
    """Takes what Alertmanager sends to Slack, and to what takes the same."""

    def __init__(self) -> None:
        self.messages: list[tuple[float, dict[str, Any]]] = []
        #: Where each message was sent to.
        self.paths: list[str] = []
        messages, paths = self.messages, self.paths

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                paths.append(self.path)
                messages.append((time.monotonic(), json.loads(self.rfile.read(length))))
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def first(self, *words: str) -> tuple[float, str] | None:
        """When a message with all the words came, and its text."""
        for when, message in self.messages:
            text = json.dumps(message)
            if all(word in text for word in words):
                return when, text
        return None


@contextmanager
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail of whoever has logged in (RFC 5321, 4954)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("0.0.0.0", 0), MailHandler)
        self.logins: list[tuple[str, str]] = []
        self.mails: list[Message] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class MailHandler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server = cast("MailServer", self.server)
        self._say("220 ready")
        while line := self._line():
            match line.partition(" ")[0].upper():
                case "EHLO":
                    self._say("250-here", "250 AUTH LOGIN")
                case "AUTH":
                    server.logins.append((self._asked("Username:"), self._asked("Password:")))
                    self._say("235 right")
                case "DATA":
                    self._say("354 go on")
                    lines = iter(self._line, ".")
                    server.mails.append(email.message_from_string("\n".join(lines)))
                    self._say("250 taken")
                case _:
                    self._say("250 well")

    def _asked(self, question: str) -> str:
        self._say(f"334 {base64.b64encode(question.encode()).decode()}")
        return base64.b64decode(self._line()).decode()

    def _line(self) -> str:
        return self.rfile.readline().decode().rstrip("\r\n")

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


def shop(environment: Environment = Environment.PRODUCTION) -> System:
    api = Workload(
        image="shop/api:1",
        environment={
            "DATABASE_URL": "postgresql://postgres:${postgres.password}@postgres/postgres"
        },
        ports=[Port(target=8000)],
        tmpfs={"/tmp": "size=64m"},
        metrics=Metrics(interval="10s"),
        healthcheck=Healthcheck(
            test=["CMD", "curl", "-fsS", "http://127.0.0.1:8000/health"], path="/health"
        ),
    )
    edge = Edge(
        upstreams={"api": Upstream(endpoint="api", port=8000)},
        routes=[Route(path="/", upstream="api")],
        tls=Tls(mode=TlsMode.SELF_SIGNED),
    )
    return System(
        name="shop",
        title="Shop",
        environment=environment,
        stores=STORES,
        services={"api": api},
        edges={"nginx": watched(edge)},
    )


class Watched:
    """The shop, and what watches it, running."""

    def __init__(self, containers: Containers, observability: Observability, folder: Path) -> None:
        self.containers = containers
        self.system = shop()
        self.names: dict[str, str] = {}
        self._folder = folder
        for name, store in STORES.items():
            engine = ENGINES[store.engine]
            if preparing := engine.prepare(name, store):
                assert containers.run(f"{name}-volume", self._real(preparing), VALUES)[0] == 0
            workload = engine.workload(name, store)
            self._start(name, workload)
            setup = engine.setup(name, store) if store.monitoring else None
            if setup:
                self.containers.wait_healthy(self.names[name], workload)
                code, told = self.containers.run(f"{name}-setup", self._real(setup), VALUES)
                assert code == 0, told
        self._start("api", self.system.services["api"])
        edge = self.system.edges["nginx"]
        addresses = {"api": Address("api", 8000)}
        made = edge_workloads("nginx", edge, Target.DOCKER, addresses, pair(folder))
        self._start("nginx", made["nginx"])
        self.workloads = observability_workloads(self.system, observability, Target.DOCKER)
        self.workloads.pop("grafana", None)
        for name, workload in self.workloads.items():
            self._start(name, workload)
        self.containers.wait_healthy(self.names["prometheus"], self.workloads["prometheus"])

    def _real(self, workload: Workload) -> Workload:
        return workload.model_copy(update={"image": stand_in(str(workload.image))})

    def _start(self, name: str, workload: Workload) -> None:
        self.names[name] = self.containers.start(name, self._real(workload), VALUES)

    def ask(self, host: str, path: str) -> Any:
        """What a server of the network answers, by busybox' wget in Prometheus' container."""
        done = self.containers.execute(
            self.names["prometheus"], "wget", "-q", "-O", "-", f"http://{host}{path}"
        )
        assert done.returncode == 0, (host, path, done.stderr)
        return json.loads(done.stdout)

    def query(self, expression: str) -> list[dict[str, Any]]:
        asked = urllib.parse.quote(expression, safe="")
        found = self.ask("127.0.0.1:9090", f"/api/v1/query?query={asked}")
        return list(found["data"]["result"])

    def targets(self) -> dict[str, str]:
        """Health by job and address."""
        found = self.ask("127.0.0.1:9090", "/api/v1/targets")["data"]["activeTargets"]
        return {f"{it['labels']['job']} {it['labels']['instance']}": it["health"] for it in found}

    def until(self, done: Callable[[], object], seconds: float, why: Callable[[], object]) -> float:
        begin = time.monotonic()
        while not done():
            assert time.monotonic() - begin < seconds, why()
            time.sleep(1)
        return time.monotonic() - begin


def observed(receiver: Receiver, gateway: str, **keys: Any) -> Observability:
    url = f"http://{gateway}:{receiver.port}"
    return Observability.model_validate(
        {
            "grafana": None,
            "alerts": {"slack": {"webhook_url": url}, "group_interval": "10s"},
            **keys,
        }
    )


def gateway_of(containers: Containers) -> str:
    [config] = json.loads(containers.docker("network", "inspect", containers.name))
    return str(config["IPAM"]["Config"][0]["Gateway"])


def meta_of(pod: dict[str, Any], number: int) -> list[dict[str, Any]]:
    """What Prometheus' discovery says of a pod: a target for each port of its containers.

    https://prometheus.io/docs/prometheus/latest/configuration/configuration/#pod
    """
    address, metadata = f"10.0.0.{number}", pod["metadata"]
    meta = {"name": f"{metadata['labels']['app']}-x", "ip": address, "phase": "Running"}
    for kind in ("label", "annotation"):
        for key, value in metadata.get(f"{kind}s", {}).items():
            name = re.sub(r"\W", "_", key)
            meta |= {f"{kind}_{name}": value, f"{kind}present_{name}": "true"}
    labels = {f"__meta_kubernetes_pod_{key}": value for key, value in meta.items()}
    ports = [port for item in pod["spec"]["containers"] for port in item.get("ports", [])]
    addresses = [f"{address}:{port['containerPort']}" for port in ports] or [address]
    return [{"targets": [item], "labels": labels} for item in addresses]


@pytest.mark.docker
def test_kubernetes_pods_are_the_same_jobs_as_containers_on_docker(tmp_path: Path) -> None:
    """Our relabelling, by a real Prometheus, of what its discovery would say of our pods."""
    image = stand_in(PROMETHEUS_IMAGE)
    intervals = {"rabbitmq": "20s", "ocolecionadorbackend": "5s", "node": "20s"}
    config: dict[str, Any] = {
        "tiers:target": "kubernetes",
        "tiers:environment": "development",
        "tiers:systems": ["vision", "ocolecionador"],
        "tiers:observability": {"ocolecionador": {"intervals": intervals}},
    }
    objects = Objects(record(main, project="tiers", stack="dev", config=config))
    expected: dict[str, set[str]] = {}
    with Containers(tmp_path) as containers:
        for system in ("vision", "ocolecionador"):
            namespace, folder = f"{system}-development", tmp_path / system
            folder.mkdir()
            [files] = [
                item["data"]
                for item in objects.of("ConfigMap")
                if item["metadata"]["namespace"] == namespace and "rules.yml" in item["data"]
            ]
            document = yaml.safe_load(files["prometheus.yml"])
            [pods, *_] = document["scrape_configs"]
            # Debian's Prometheus asks no API server.
            del pods["kubernetes_sd_configs"]
            pods["file_sd_configs"] = [{"files": ["/run/configs/pods.json"]}]
            wanted = [
                item["spec"]["template"]
                for item in objects.of("Deployment", "StatefulSet", "DaemonSet")
                if item["metadata"]["namespace"] == namespace
            ]
            found = [each for number, pod in enumerate(wanted, 1) for each in meta_of(pod, number)]
            (folder / "pods.json").write_text(json.dumps(found))
            (folder / "prometheus.yml").write_text(yaml.safe_dump({**document, "rule_files": []}))
            server = f"{containers.name}-{system}"
            options = ("--detach", "--name", server, "--label", f"test={containers.name}")
            options += ("--network", "none", "--volume", f"{folder}:/run/configs:ro")
            flags = ("--config.file=/run/configs/prometheus.yml", "--storage.tsdb.path=/prometheus")
            containers.docker("run", *options, image, *flags)

            def targets(server: str = server) -> list[dict[str, Any]]:
                url = "http://127.0.0.1:9090/api/v1/targets?state=active"
                done = containers.execute(server, "wget", "-q", "-O", "-", url)
                every = json.loads(done.stdout)["data"]["activeTargets"] if done.stdout else []
                return [target for target in every if target["scrapePool"] == "pods"]

            containers.wait(lambda targets=targets: bool(targets()), server, 30)
            made = {target["labels"]["job"]: target for target in targets()}
            assert len(made) == len(targets())
            expected[system] = {*made}
            # As on Docker, of what the stack's profiles have; collectors are asked by name.
            description = SYSTEMS[system](Environment.DEVELOPMENT)
            watching = description.observability or Observability()
            if system == "ocolecionador":
                watching = watching.model_copy(update={"intervals": intervals})
            workloads = observability_workloads(description, watching, Target.DOCKER)
            on_docker = yaml.safe_load(workloads["prometheus"].configs["prometheus.yml"])
            apps = {pod["metadata"]["labels"]["app"] for pod in wanted}
            names = {job["job_name"] for job in on_docker["scrape_configs"]}
            assert {*made} == {name for name in names if {name, f"{name}-exporter"} & apps}
            for name, target in made.items():
                assert target["labels"]["pod"].removesuffix("-x") in {name, f"{name}-exporter"}
                [job] = [it for it in on_docker["scrape_configs"] if it["job_name"] == name]
                assert target["scrapeInterval"] == job.get("scrape_interval", "15s"), name
                assert target["scrapeTimeout"] == job.get("scrape_timeout", "10s"), name
                assert target["scrapeUrl"].endswith(job.get("metrics_path", "/metrics"))
    assert {"vision-api", "postgres"} <= expected["vision"]
    assert {"rabbitmq", "sqlserver"} <= expected["ocolecionador"]


@pytest.mark.docker
@pytest.mark.load
def test_everything_is_asked_and_a_killed_store_is_told_in_time(tmp_path: Path) -> None:
    """Documented intervals, our `for`: a store that is killed is told within 2 minutes."""
    with Containers(tmp_path) as containers, receiver() as told:
        wanted = observed(told, gateway_of(containers))
        watched = Watched(containers, wanted, tmp_path)
        up = lambda: set(watched.targets().values()) == {"up"}  # noqa: E731
        watched.until(up, 120, watched.targets)
        jobs = {key.partition(" ")[0] for key in watched.targets()}
        assert jobs == {
            *("prometheus", "alertmanager", "node", "blackbox", "nginx", "api"),
            *STORES,
            *("probe/health", "probe/certificate"),
        }
        for name in ("pg_up", "redis_up", "nginx_up"):
            assert [item["value"][1] for item in watched.query(name)] == ["1"], name
        [days] = watched.query("(probe_ssl_earliest_cert_expiry - time()) / 86400")
        assert float(days["value"][1]) > 0
        # The catalogue tells the truth.
        sources = (*STORES, "prometheus", "alertmanager", "node", "nginx", "blackbox", "probe")
        expected = {name for source in sources for name in CATALOGUE[source]} - LATER
        own = {"http_requests_total", "dependency_up"}
        assert own <= program_metrics(wanted)

        def unknown() -> set[str]:
            names = watched.ask("127.0.0.1:9090", "/api/v1/label/__name__/values")["data"]
            return (expected | own) - set(names)

        # The first answer of a program doesn't count itself.
        watched.until(lambda: not unknown(), 60, unknown)

        containers.docker("kill", watched.names["postgres"])
        killed = time.monotonic()
        watched.until(
            lambda: told.first("StoreDown", "Firing", "postgres"), 150, lambda: told.messages
        )
        first = told.first("StoreDown", "Firing", "postgres")
        assert first
        # 15s until it is asked and 15s until the rule is looked at, 1m `for`, 30s for the group.
        assert first[0] - killed < 15 + 15 + 60 + 30 + 10
        # What to do, and nothing of what follows from it.
        assert "What to do: Look whether it runs" in first[1]
        assert "ConnectionsRunningOut" not in json.dumps(told.messages)
        containers.docker("start", watched.names["postgres"])
        watched.until(lambda: told.first("StoreDown", "resolved"), 180, lambda: told.messages)
        print(f"told after {first[0] - killed:.0f} s")


@pytest.mark.docker
def test_slack_discord_and_mail_are_told_that_it_began_and_ended(tmp_path: Path) -> None:
    """By the real Alertmanager, with the message that people read."""
    with Containers(tmp_path) as containers, receiver() as told, MailServer() as post:
        gateway = gateway_of(containers)
        channels = {
            "slack": {"webhook_url": f"http://{gateway}:{told.port}/slacks", "channel": "#ops"},
            "discord": {"webhook_url": f"http://{gateway}:{told.port}/discords"},
            "email": {
                "to": ["ops@example.com", "me@example.com"],
                "sender": "alerts@example.com",
                "smarthost": f"{gateway}:{post.port}",
                "username": "alerts",
                "password": "pa$$word",
                "tls": False,
            },
        }
        quick = {"group_wait": "1s", "group_interval": "1s"}
        wanted = Observability.model_validate({"alerts": {**channels, **quick}})
        workload = observability_workloads(shop(), wanted, Target.DOCKER)["alertmanager"]
        workload = workload.model_copy(update={"image": stand_in(str(workload.image))})
        name = containers.start("alertmanager", workload, {})
        containers.wait_healthy(name, workload)

        def alert(*ends: str) -> None:
            given = ("alert", "add", "alertname=StoreDown", "system=shop", "family=availability")
            given += ("environment=production", "severity=critical", *ends)
            texts = ("--annotation=summary=db is away", "--annotation=runbook=Start it.")
            url = "--alertmanager.url=http://127.0.0.1:9093"
            done = containers.execute(name, "amtool", url, *given, *texts)
            assert done.returncode == 0, done.stderr

        def subjects() -> list[tuple[str, str]]:
            """What each was told, in its order."""
            found = [
                (path, message["attachments"][0]["title"])
                for path, (_, message) in zip(told.paths, told.messages, strict=True)
            ]
            return sorted({*found, *(("mail", str(mail["Subject"])) for mail in post.mails)})

        ways = ("/discords/slack", "/slacks", "mail")
        began = [(way, "Firing (1): shop production, availability") for way in ways]
        alert()
        containers.wait(lambda: subjects() == began, name, 30)
        bodies = [message["attachments"][0]["text"] for _, message in told.messages]
        [mail] = post.mails
        assert mail.get_content_type() == "multipart/alternative"
        [plain] = cast("list[Message]", mail.get_payload())
        bodies.append(cast("bytes", plain.get_payload(decode=True)).decode())
        for body in bodies:
            assert "firing: StoreDown (critical) - db is away" in body
            assert "What to do: Start it." in body
        by_path = dict(zip(told.paths, (message for _, message in told.messages), strict=True))
        assert by_path["/slacks"]["channel"] == "#ops"
        assert (mail["From"], mail["To"]) == (
            "alerts@example.com",
            "ops@example.com, me@example.com",
        )
        # From its file.
        assert post.logins == [("alerts", "pa$$word")]

        ended = [(way, "Resolved: shop production, availability") for way in ways]
        past = datetime.now(UTC) - timedelta(seconds=1)
        alert(
            f"--start={past - timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}",
            f"--end={past:%Y-%m-%dT%H:%M:%SZ}",
        )
        containers.wait(lambda: subjects() == sorted(began + ended), name, 30)
        assert "pa$$word" not in containers.logs(name)


@pytest.mark.docker
@pytest.mark.load
def test_a_silence_keeps_a_deployment_quiet(tmp_path: Path) -> None:
    """As docs/observability.md has it."""
    with Containers(tmp_path) as containers, receiver() as told:
        quick = {"prometheus": {"scrape_interval": "2s", "evaluation_interval": "2s"}}
        wanted = observed(told, gateway_of(containers), **quick)
        watched = Watched(containers, wanted, tmp_path)
        watched.until(lambda: set(watched.targets().values()) == {"up"}, 120, watched.targets)
        silenced = containers.execute(
            watched.names["alertmanager"],
            *("amtool", "--alertmanager.url=http://127.0.0.1:9093", "silence", "add"),
            *("--duration=15m", "--author=me", "--comment=deployment", "system=shop"),
        )
        assert silenced.returncode == 0, silenced.stderr
        containers.docker("kill", watched.names["redis-exporter"])
        down = lambda: watched.query('ALERTS{alertname="TargetDown",alertstate="firing"}')  # noqa: E731
        watched.until(down, 120, watched.targets)
        time.sleep(40)
        assert told.messages == []
        [alert] = [
            item
            for item in watched.ask("alertmanager:9093", "/api/v2/alerts")
            if item["labels"]["alertname"] == "TargetDown"
        ]
        assert alert["status"]["state"] == "suppressed"
        # What follows from a target that is down is inhibited.
        assert alert["labels"]["job"] == "redis"
