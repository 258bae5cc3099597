"""OColecionador on real Docker through the real engine: profiles, training, models, its queue.

PostgreSQL, Redis, RabbitMQ, nginx and MinIO are real, SQL Server answers in its protocol, the
programs are the reference workload; see offline/README.md for what that proves.
"""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sandbox import Sandbox
from test_engine import pulumi
from test_ocolecionador import TOKEN, TRAINING, edge
from test_systems import containers, with_config
from test_systems_running import Running

pytestmark = [pytest.mark.docker, pytest.mark.engine, pytest.mark.load]

TOOLS = ["metabase", "glitchtip", "portainer", "ngrok", "pgadmin"]
AUGMENTATIONS, CLASSIFIER = "ocolecionadoraugmentations", "ocolecionadorclassifier"
#: What stands in the bucket as a version must be what its sums say.
DAMAGED = """
import os
from reference.stores.s3 import S3Store

bucket = S3Store(os.environ)
bucket.put("classifier/v3/model.json", b"{}")
bucket.put("classifier/v3/SHA256SUMS", b"0" * 64 + b"  model.json")
"""


@pytest.fixture(scope="module")
def oc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    sandbox = Sandbox.make(tmp_path_factory.mktemp("ocolecionador") / "project")
    sandbox.configure(
        **{
            "tiers:systems": ["ocolecionador"],
            "tiers:environment": "production",
            "tiers:tls": {"ocolecionador": {"mode": "self_signed"}},
            "tiers:gpu": "off",
            "tiers:profiles": {"ocolecionador": ["automatic", "manual", *TOOLS]},
            "tiers:secrets": TOKEN,
        }
    )
    port = 443 + sandbox.config["tiers:port_offset"]
    try:
        made = Running(sandbox, "ocolecionador", f"https://localhost:{port}")
        made.up()
        yield made
    finally:
        sandbox.remove()


# --- everything -----------------------------------------------------------------------------------


def test_every_service_of_every_profile_is_up_and_uses_its_stores(oc: Running) -> None:
    health = {name: row["health"] for name, row in oc.sandbox.status().items()}
    # GlitchTip's worker has nothing that could be asked, its migrations have ended.
    special = {
        TRAINING: "on demand",
        "glitchtip-worker": "running",
        "glitchtip-migrate": "completed",
    }
    assert len(health) == 18
    for name, state in health.items():
        assert state == special.get(name.partition("/")[2], "healthy"), name
    assert _dependencies(oc, "/api/health") == {"mssql", "rabbitmq", "redis", "s3"}
    assert _dependencies(oc, "/classifier/health") == {"postgres", "s3"}
    assert oc.ask("/").status == 200
    # OC-31: it starts without a model.
    assert oc.ask("/classifier/health").json["model"] is None
    assert oc.post("/classifier/predict", {"text": "a coin"}).status == 503


def test_no_host_port_is_there_twice(oc: Running) -> None:
    listed = oc.sandbox.docker(
        *("ps", "--filter", f"label=tiers.stack={oc.sandbox.stack}", "--format", "{{.Ports}}")
    )
    ports = [
        int(port.partition("->")[0].rpartition(":")[2])
        for line in listed.splitlines()
        for port in line.split(", ")
        if "->" in port
    ]
    offset = oc.sandbox.config["tiers:port_offset"]
    documented = {80, 443, 3000, 4040, 5000, 5001, 5002, 5050, 8000, 9443}
    assert Counter(port - offset for port in ports) == dict.fromkeys(documented, 1)


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("profiles", [[], ["automatic"], ["manual"], ["automatic", "manual"]])
def test_each_profile_has_its_ports_and_routes(environment: str, profiles: list[str]) -> None:
    """The same without a daemon, for both environments."""
    recording = with_config(
        "ocolecionador",
        environment,
        "docker",
        gpu="off",
        profiles={"ocolecionador": [*profiles, *TOOLS]},
        secrets=TOKEN,
        domains={"ocolecionador": "shop.example.com"},
    )
    found = {item.labels["tiers.service"] for item in containers(recording)}
    automatic = "automatic" in profiles
    assert (CLASSIFIER in found) == (AUGMENTATIONS in found) == automatic
    assert (TRAINING in found) == ("manual" in profiles)
    assert ("location /classifier" in edge(recording)) == automatic
    ports = Counter(
        port["external"] for item in containers(recording) for port in item.inputs["ports"] or []
    )
    assert set(ports.values()) == {1}, ports


# --- the queue ------------------------------------------------------------------------------------


def test_a_job_goes_through_rabbitmq_to_a_program_that_shares_no_database(oc: Running) -> None:
    done = _wait_for(oc, _job(oc, "a stamp"))
    assert done["result"]["upper"] == "A STAMP"
    assert done["worker"] == oc.inspect(AUGMENTATIONS)["Config"]["Hostname"]


def test_a_message_that_waits_survives_a_killed_broker(oc: Running) -> None:
    augmentations = oc.name(AUGMENTATIONS)
    oc.sandbox.docker("pause", augmentations)
    try:
        job = _job(oc, "kept by the broker")
        oc.kill("rabbitmq")
    finally:
        oc.sandbox.docker("unpause", augmentations)
    assert _wait_for(oc, job)["result"]["upper"] == "KEPT BY THE BROKER"
    # Who consumes has connected again, and takes the next one too.
    assert _wait_for(oc, _job(oc, "after it"))["result"]["upper"] == "AFTER IT"
    assert _dependencies(oc, "/api/health") >= {"rabbitmq"}


# --- training -------------------------------------------------------------------------------------


def test_a_training_that_is_started_twice_runs_twice(oc: Running) -> None:
    before = oc.containers()

    def train(*arguments: str, code: int = 0) -> str:
        done = oc.sandbox.tiers("run", TRAINING, "--", "python", "main.py", *arguments, code=code)
        return done.stdout + done.stderr

    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(train, "--seconds", "10") for _ in range(2)]
        most = 0
        while not all(run.done() for run in runs):
            most = max(most, len(_new(oc, before)))
            time.sleep(0.3)
    assert most == 2
    written: Counter[str] = Counter()
    for run in runs:
        said = run.result()
        assert "step 10 of 10" in said
        assert "done in" in said
        written.update(
            line.split()[1] for line in said.splitlines() if line.startswith("wrote models/")
        )
    assert written == {
        f"models/classifier/{version}/{file}": 1
        for version in ("v1", "v2")
        for file in ("model.json", "SHA256SUMS")
    }
    assert "training failed: because of --fail" in train("--fail", code=1)
    assert oc.containers() == before


# --- profiles -------------------------------------------------------------------------------------


def test_another_profile_touches_only_what_it_must(oc: Running) -> None:
    everything = oc.containers()
    _profiles(oc)
    base = oc.containers()
    gone = _services(oc, set(everything) - set(base))
    assert gone == {
        *(AUGMENTATIONS, CLASSIFIER, TRAINING),
        *TOOLS,
        *("glitchtip-worker", "glitchtip-migrate"),
    }
    # The route is gone, and so are the tools' databases and bucket.
    assert _changed(everything, base) == {
        oc.name(name) for name in ("nginx-files", "postgres-setup", "minio-setup")
    }
    assert set(base) <= set(everything)
    # Nobody asks for the classifier now: who has "/" gets its requests.
    frontend = oc.inspect("ocolecionadorfrontend")["Config"]["Hostname"]
    _soon(lambda: oc.ask("/classifier").headers.get("x-served-by") == frontend)
    assert oc.ask("/classifier").status == 404
    assert _dependencies(oc, "/api/health") == {"mssql", "rabbitmq", "redis", "s3"}
    assert oc.ask("/").status == 200

    _profiles(oc, "automatic", "manual")
    again = oc.containers()
    assert _services(oc, set(again) - set(base)) == {AUGMENTATIONS, CLASSIFIER, TRAINING}
    assert _changed(base, again) == {oc.name("nginx-files")}
    _soon(lambda: oc.ask("/classifier/health").status == 200)
    assert _wait_for(oc, _job(oc, "back again"))["state"] == "done"


# --- models ---------------------------------------------------------------------------------------


def test_a_model_is_swapped_without_a_gap_and_a_damaged_one_is_not_taken(oc: Running) -> None:
    _profiles(oc, "automatic", "manual")
    # The second one would have the frontend's port.
    oc.sandbox.configure(**{"tiers:publish": "edges"})
    oc.sandbox.configure(**{"tiers:replicas": {f"ocolecionador/{CLASSIFIER}": 2}})
    versions = _versions(oc)
    while len(versions) < 2:
        oc.sandbox.tiers("run", TRAINING)
        versions = _versions(oc)
    _model(oc, "v1")
    _soon(lambda: _model_of(oc) == {"version": "v1", "sums": "ok"})
    before = _classifiers(oc)
    assert len(before) == 2

    with _asking(oc) as asked:
        _model(oc, "v2")
        # Both, and for a while.
        _soon(lambda: len(asked.of("v2")) == 2)
        answered = len(asked.answers)
        _soon(lambda: len(asked.answers) > answered + 20)
    assert asked.failed == []
    assert {answer.version for answer in asked.answers} == {"v1", "v2"}
    # From both, before and afterwards.
    assert asked.of("v1") == set(before)
    after = _classifiers(oc)
    assert asked.of("v2") == set(after)
    last_old = max(item.at for item in asked.answers if item.version == "v1")
    first_new = min(item.at for item in asked.answers if item.version == "v2")
    # One still has the old one while the other has the new one.
    assert first_new < last_old
    label = oc.post("/classifier/predict", {"text": "a coin"})
    assert (label.status, label.json["version"]) == (200, "v2")

    oc.sandbox.tiers("run", TRAINING, "--", "python", "-c", DAMAGED)
    with _asking(oc) as asked:
        said = _model(oc, "v3", code=1)
    assert "model classifier v3: not what its SHA256SUMS says; it is not used" in said
    assert asked.failed == []
    assert {answer.version for answer in asked.answers} == {"v2"}
    assert _classifiers(oc) == after
    _model(oc, "v2")
    assert _classifiers(oc) == after


def test_nothing_changes_where_nothing_was_changed(oc: Running) -> None:
    oc.up()
    before = oc.containers()
    assert "nothing to change" in oc.sandbox.tiers("up").stderr
    assert oc.containers() == before
    preview = pulumi(oc.sandbox, "preview", "--expect-no-changes", "--refresh")
    assert preview.returncode == 0, preview.stdout + preview.stderr


# --- helpers --------------------------------------------------------------------------------------


def _dependencies(oc: Running, path: str) -> set[str]:
    """The engines of what a program uses; all of them work."""
    health = oc.ask(path)
    assert health.status == 200, health
    found = list(health.json["dependencies"].values())
    assert all(item["ok"] for item in found), found
    return {item["engine"] for item in found}


def _job(oc: Running, text: str) -> str:
    answer = oc.post("/api/jobs", {"text": text})
    assert answer.status == 202, answer
    return str(answer.json["id"])


def _wait_for(oc: Running, job: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        found = oc.ask(f"/api/jobs/{job}").json
        if found["state"] == "done":
            return dict(found)
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


def _profiles(oc: Running, *profiles: str) -> None:
    oc.sandbox.configure(**{"tiers:profiles": {"ocolecionador": list(profiles)}})
    # Of what is not there, nothing may be said.
    oc.sandbox.configure(**{"tiers:secrets": TOKEN if "ngrok" in profiles else None})
    oc.up()


def _model(oc: Running, version: str, code: int = 0) -> str:
    models = {f"ocolecionador/{CLASSIFIER}/classifier": version}
    oc.sandbox.configure(**{"tiers:models": models})
    return oc.sandbox.tiers("up", code=code).stderr


def _model_of(oc: Running) -> dict[str, str] | None:
    model = oc.ask("/classifier/health").json["model"]
    return model and {key: model[key] for key in ("version", "sums")}


def _versions(oc: Running) -> set[str]:
    """The complete ones in the bucket."""
    script = (
        "import os; from reference.stores.s3 import S3Store;"
        " print(*S3Store(os.environ).keys('classifier/'))"
    )
    keys = oc.sandbox.tiers("run", TRAINING, "--", "python", "-c", script).stdout.split()
    return {key.split("/")[1] for key in keys if key.endswith("/SHA256SUMS")}


def _classifiers(oc: Running) -> dict[str, str]:
    """Ids of the replicas by host name."""
    names = [oc.name(CLASSIFIER), oc.name(f"{CLASSIFIER}-2")]
    return {
        oc.sandbox.docker("inspect", "--format", "{{.Config.Hostname}}", name): id_
        for name, id_ in oc.containers().items()
        if name in names
    }


def _new(oc: Running, before: dict[str, str]) -> set[str]:
    return set(oc.containers()) - set(before)


def _changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """What is there before and after, and is another container."""
    return {name for name, id_ in after.items() if before.get(name, id_) != id_}


def _services(oc: Running, names: set[str]) -> set[str]:
    """Whose these containers are; helpers count for whom they help."""
    known = {"nginx", AUGMENTATIONS, CLASSIFIER, TRAINING, *TOOLS}
    known |= {"glitchtip-worker", "glitchtip-migrate"}
    prefix = oc.name("")
    found = set()
    for name in names:
        service = name.removeprefix(prefix)
        while service not in known and "-" in service:
            service = service.rpartition("-")[0]
        found.add(service)
    return found


def _soon(happens: Any, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@dataclass(frozen=True)
class Asked:
    """An answer of the classifier."""

    at: float
    version: str | None
    served_by: str


@dataclass
class Asking:
    """What a client sees."""

    answers: list[Asked] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def of(self, version: str) -> set[str]:
        """Who has answered with it."""
        return {item.served_by for item in self.answers if item.version == version}


@contextmanager
def _asking(oc: Running) -> Iterator[Asking]:
    """Who asks the classifier every 50 ms through the edge."""
    until, seen = threading.Event(), Asking()

    def ask() -> None:
        while not until.wait(0.05):
            try:
                answer = oc.ask("/classifier/health")
                if answer.status != 200:
                    seen.failed.append(str(answer))
                    continue
                found = answer.json
                version = found["model"] and found["model"]["version"]
                seen.answers.append(Asked(time.monotonic(), version, found["served_by"]))
            except (OSError, http.client.HTTPException) as error:
                seen.failed.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        until.set()
        thread.join(60)
