"""Elasticsearch: what is described, and what its scripts ask of a server."""

import base64
import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opensearch import OpenSearch, opensearch
from pulumi_tiers.checks import check_stores
from pulumi_tiers.engines.base import Consumer, Reached
from pulumi_tiers.engines.elasticsearch import Elasticsearch
from pulumi_tiers.model.errors import mistakes_of
from pulumi_tiers.model.references import references, substitute
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition, Resources, Workload
from pydantic import ValidationError

ELASTICSEARCH = Elasticsearch()
#: Every character that a shell, curl's configuration, JSON or a URL could take for its own.
EVIL = """p'a"s\\s;:%/@?#&=+ $HOME $$ ${x} `id` é | \\q~p\\n {}"""
_NOBODY = 65534
LOGS: dict[str, Any] = {
    "indices": [
        {"name": "logs", "owner": "shipper", "retention": 30},
        {"name": "audit", "owner": "shipper"},
        {"name": "search"},
    ]
}


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "elasticsearch", **keys})


def setup(said: Store) -> Workload:
    job = ELASTICSEARCH.setup("elasticsearch", said)
    assert job is not None
    return job


def settings(said: Store) -> dict[str, str]:
    text = ELASTICSEARCH.workload("elasticsearch", said).configs["elasticsearch.yml"]
    lines = (line.split(": ", 1) for line in text.splitlines())
    return {key: json.loads(value) for key, value in lines}


# --- what is described ----------------------------------------------------------------------------


def test_the_documented_server_is_one_node_that_asks_for_a_password() -> None:
    workload = ELASTICSEARCH.workload("elasticsearch", store())
    assert workload.image == "docker.elastic.co/elasticsearch/elasticsearch:8.8.0"
    assert workload.resources == Resources(cpus=1.0, memory="2g")
    assert "-Xms1024m -Xmx1024m" in workload.environment["ES_JAVA_OPTS"]
    assert workload.user == "1000:0"
    assert workload.volumes[0].target == "/usr/share/elasticsearch/data"
    # It loads a library that it unpacks there.
    assert workload.tmpfs["/tmp"] == "exec"
    assert workload.secret_files == {"password": "${password.elastic}"}
    assert workload.secrets == {}
    found = settings(store())
    # VI-10: all of it is explicit.
    assert found["discovery.type"] == "single-node"
    assert found["xpack.security.enabled"] == "true"
    assert found["xpack.security.http.ssl.enabled"] == "false"
    # No host has to be changed for it.
    assert found["node.store.allow_mmap"] == "false"


def test_settings_take_the_place_of_ours() -> None:
    said = store(settings={"node.store.allow_mmap": "true", "action.auto_create_index": "+$a*"})
    found = settings(said)
    assert (found["node.store.allow_mmap"], found["action.auto_create_index"]) == ("true", "+$a*")
    assert found["cluster.name"] == "elasticsearch"


@pytest.mark.parametrize(("memory", "heap"), [("1g", 512), ("2g", 1024), ("4g", 2048)])
def test_half_of_the_memory_is_heap(memory: str, heap: int) -> None:
    said = store(resources={"cpus": 1, "memory": memory})
    options = ELASTICSEARCH.workload("elasticsearch", said).environment["ES_JAVA_OPTS"]
    assert f"-Xms{heap}m -Xmx{heap}m " in options


def test_the_connections_are_its_indices_and_kibanas() -> None:
    assert ELASTICSEARCH.consumers(store()) == {
        "": Consumer("elastic", ""),
        "kibana": Consumer("kibana_system", ""),
    }
    said = store(**LOGS)
    assert ELASTICSEARCH.consumers(said) == {
        "": Consumer("shipper", "logs"),
        "logs": Consumer("shipper", "logs"),
        "audit": Consumer("shipper", "audit"),
        "search": Consumer("elastic", "search"),
        "kibana": Consumer("kibana_system", ""),
    }
    assert ELASTICSEARCH.users(said) == ["elastic", "shipper", "kibana_system"]
    url = ELASTICSEARCH.url(said, Consumer("a", "logs"), "p@/ ", Reached(["es"], 9200))
    assert url == "http://a:p%40%2F%20@es:9200"


def test_the_setup_holds_passwords_only_as_secrets() -> None:
    job = setup(store(**LOGS))
    assert job.depends_on == {"elasticsearch": Condition.SERVICE_HEALTHY}
    assert job.secrets == {
        "ADMIN_PASSWORD": "${password.elastic}",
        "PASSWORD_0": "${password.shipper}",
        "PASSWORD_1": "${password.kibana_system}",
    }
    assert all(not references(text) for text in job.environment.values())


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"settings": {"Heap": "1"}}, "'Heap' is not a setting of Elasticsearch"),
        ({"settings": {"discovery.type": "x"}}, "the setting 'discovery.type' is this library's"),
        (
            {"settings": {"xpack.security.enabled": "false"}},
            "the setting 'xpack.security.enabled' is this library's",
        ),
        ({"settings": {"a.b": "1\n2"}}, "the setting 'a.b' is not one line"),
        (
            {"indices": [{"name": "a", "fields": {f"f{n}": "keyword" for n in range(5000)}}]},
            "what sets the store up has ",
        ),
        ({"indices": [{"name": "kibana"}]}, "'kibana' is the connection of Kibana"),
        (
            {"indices": [{"name": "logs", "owner": "kibana_system"}]},
            "Elasticsearch has a user 'kibana_system' of its own",
        ),
        # Two templates of one priority would fit it, and two owners read it.
        (
            {"indices": [{"name": "a-b"}, {"name": "a"}, {"name": "ab"}]},
            "'a-b' is one of the indices of 'a'",
        ),
        (
            {"indices": [{"name": "a", "fields": {"_id": "keyword"}}]},
            "each document has a field '_id' already",
        ),
        (
            {"indices": [{"name": "a", "fields": {"a.b.c": "text", "a.b": "text", "a": "object"}}]},
            "the field 'a.b' of 'a' has others in it, as 'a.b.c'",
        ),
    ],
)
def test_what_breaks_it_is_refused(keys: dict[str, object], why: str) -> None:
    [(found, remedy)] = ELASTICSEARCH.check(store(**keys))
    assert found.startswith(why)
    assert remedy


@pytest.mark.parametrize("name", ["Logs", "_logs", "logs.2026", "a" * 61, ""])
def test_an_index_that_elasticsearch_refuses_is_refused(name: str) -> None:
    with pytest.raises(ValidationError) as caught:
        store(indices=[{"name": name}])
    assert [mistake.place for mistake in mistakes_of(caught.value)] == ["indices[0].name"]


def test_a_password_that_it_refuses_is_refused() -> None:
    stores = {"es": store(passwords={"elastic": "short"})}
    found = [(it.place, it.why) for it in check_stores("stores", stores, Target.DOCKER)]
    assert found == [("stores.es.passwords.elastic", "the password has fewer than 6 characters")]
    assert ELASTICSEARCH.check_secret("elastic", EVIL) == []


def test_it_has_no_queue() -> None:
    assert ELASTICSEARCH.check_queue(store())
    assert ELASTICSEARCH.scaler(store(), Consumer("a", ""), "jobs", 5) is None


# --- its scripts ----------------------------------------------------------------------------------


@dataclass
class Server:
    """Remembers what it is asked."""

    address: str = ""
    status: int = 200
    asked: list[tuple[str, str, str, Any]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            who = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
            given = json.loads(body) if body else None
            found.asked.append((self.command, self.path, who, given))
            self.send_response(found.status)
            self.end_headers()
            self.wfile.write(b'{"told": "here"}')

        do_GET = do_PUT = answer  # noqa: N815 - http.server's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        found.address = f"127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield found
        running.shutdown()


def bash(script: str, variables: dict[str, str] | None = None, **rest: Any) -> Any:
    given = {**os.environ, **(variables or {})}
    return subprocess.run(
        ["/bin/bash", "-c", script], env=given, capture_output=True, check=False, **rest
    )


def run_setup(said: Store, server: Server, folder: Path) -> Any:
    job = setup(said)
    values = {key: substitute(text, lambda it: f"{it.field}{EVIL}") for key, text in
              job.values.items()}  # fmt: skip
    script = values["SCRIPT"].replace("/tmp/", f"{folder}/")
    return bash(script, {**values, "SERVER": server.address})


def test_the_setup_asks_for_what_is_described(server: Server, tmp_path: Path) -> None:
    done = run_setup(store(**LOGS), server, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {who for _, _, who, _ in server.asked} == {f"elastic:elastic{EVIL}"}
    assert [method for method, _, _, _ in server.asked] == ["PUT"] * len(server.asked)
    found = {path: body for _, path, _, body in server.asked}
    hot: dict[str, Any] = {"actions": {}}
    assert found == {
        "/_ilm/policy/tiers-logs": {
            "policy": {
                "phases": {"hot": hot, "delete": {"min_age": "30d", "actions": {"delete": {}}}}
            }
        },
        "/_index_template/tiers-logs": {
            "index_patterns": ["logs", "logs-*"],
            "priority": 500,
            "template": {
                "settings": {
                    "index.number_of_replicas": 0,
                    "index.lifecycle.name": "tiers-logs",
                }
            },
        },
        **{
            f"/_index_template/tiers-{name}": {
                "index_patterns": [name, f"{name}-*"],
                "priority": 500,
                "template": {"settings": {"index.number_of_replicas": 0}},
            }
            for name in ("audit", "search")
        },
        "/_security/role/tiers-shipper": {
            "cluster": ["monitor"],
            "indices": [{"names": ["logs", "logs-*", "audit", "audit-*"], "privileges": ["all"]}],
        },
        "/_security/user/shipper": {
            "password": f"shipper{EVIL}",
            "roles": ["tiers-shipper"],
        },
        "/_security/user/kibana_system/_password": {"password": f"kibana_system{EVIL}"},
    }


def test_who_reads_numbers_reads_no_document(server: Server, tmp_path: Path) -> None:
    done = run_setup(store(monitoring=True), server, tmp_path)
    assert done.returncode == 0, done.stderr
    found = {path: body for _, path, _, body in server.asked}
    assert found["/_security/role/tiers-monitoring"] == {
        "cluster": ["monitor"],
        "indices": [{"names": ["*"], "privileges": ["monitor"]}],
    }
    assert found["/_security/user/monitoring"] == {
        "password": f"monitoring{EVIL}",
        "roles": ["tiers-monitoring"],
    }


def test_a_refusal_fails_the_setup(server: Server, tmp_path: Path) -> None:
    server.status = 400
    done = run_setup(store(**LOGS), server, tmp_path)
    assert done.returncode != 0
    assert done.stderr == b'PUT _ilm/policy/tiers-logs: 400\n{"told": "here"}'
    assert len(server.asked) == 1


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (401, False), (408, False)])
def test_a_server_is_healthy_where_it_lets_us_in(
    server: Server, tmp_path: Path, status: int, *, healthy: bool
) -> None:
    (tmp_path / "password").write_text(EVIL)
    health = ELASTICSEARCH.workload("elasticsearch", store()).healthcheck
    assert health is not None
    kind, script = (str(part) for part in health.test)
    assert kind == "CMD-SHELL"
    server.status = status
    script = script.replace("127.0.0.1:9200", server.address)
    done = bash(script.replace("/run/secrets", str(tmp_path)))
    assert (done.returncode == 0) is healthy
    [(method, path, who, _)] = server.asked
    assert (method, who) == ("GET", f"elastic:{EVIL}")
    assert path.startswith("/_cluster/health?wait_for_status=yellow")


def test_a_server_starts_with_its_own_configuration(tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    for folder in (home / "bin", home / "config", temporary, tmp_path / "secrets"):
        folder.mkdir(parents=True)
    (home / "config" / "jvm.options").write_text("the image's")
    (home / "config" / "elasticsearch.yml").write_text("the image's")
    (tmp_path / "elasticsearch.yml").write_text("ours")
    (tmp_path / "secrets" / "password").write_text(EVIL)
    tools = {
        "elasticsearch-keystore": 'echo "$*" >>"$ES_PATH_CONF/asked"\n'
        '[ "$1" = create ] || cat >"$ES_PATH_CONF/given"\n',
        "elasticsearch": 'echo "$ES_PATH_CONF $*"\n',
    }
    for name, text in tools.items():
        (home / "bin" / name).write_text(f"#!/bin/sh\n{text}")
        (home / "bin" / name).chmod(0o755)
    workload = ELASTICSEARCH.workload("elasticsearch", store())
    places = {
        "/usr/share/elasticsearch": home,
        "/run/configs": tmp_path,
        "/run/secrets": tmp_path / "secrets",
    }
    # The first start, and one more.
    for _ in range(2):
        script = str(workload.command[0]).replace("/tmp", str(temporary))
        for place, here in places.items():
            script = script.replace(place, str(here))
        done = bash(script)
        assert done.stdout.decode() == f"{temporary}/config \n", done.stderr
    assert (temporary / "config" / "elasticsearch.yml").read_text() == "ours"
    assert (temporary / "config" / "jvm.options").read_text() == "the image's"
    assert (temporary / "config" / "given").read_text() == EVIL
    assert (temporary / "config" / "asked").read_text().splitlines() == [
        *("create", "add --stdin bootstrap.password")
    ]
    assert (temporary / "config").stat().st_mode & 0o077 == 0


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of nobody's, as whom the server runs."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "password").write_text(EVIL)
        for path in (Path(name), Path(name) / "password"):
            os.chown(path, _NOBODY, _NOBODY)
        yield Path(name)


@pytest.mark.load
def test_a_copy_brings_the_documents_back(shared: Path) -> None:
    """By a server of Elasticsearch's line, which has no users: it takes everybody."""
    backup = ELASTICSEARCH.backups(store(**LOGS))["logs"]
    assert backup.inside

    with opensearch({"path.repo": str(shared / "copies")}) as running:

        def run(command: list[str], given: bytes = b"") -> bytes:
            script = command[2].replace("/usr/share/elasticsearch/data/copies", f"{shared}/copies")
            script = script.replace("127.0.0.1:9200", running.url.removeprefix("http://"))
            script = script.replace("/tmp/who", f"{shared}/who")
            script = script.replace("/tmp/body", f"{shared}/body")
            script = script.replace("/tmp/said", f"{shared}/said")
            script = script.replace("/tmp/copying", f"{shared}/copying")
            done = bash(script.replace("/run/secrets", str(shared)), input=given, user=_NOBODY)
            assert done.returncode == 0, done.stderr
            return bytes(done.stdout)

        write(running, "logs-2026.11.22", "kept")
        write(running, "other", "kept")
        # Two at once: one after the other, and both are whole.
        with ThreadPoolExecutor() as pool:
            copy, other = pool.map(run, [backup.dump] * 2)
        assert b"meta" in copy
        assert b"meta" in other
        assert not list((shared / "copies").iterdir())
        write(running, "logs-2026.11.22", "changed")
        write(running, "other", "changed")
        run(backup.restore, copy)
        assert read(running, "logs-2026.11.22") == "kept"
        assert read(running, "other") == "changed"
        # Where nothing is left, too; and twice.
        running.ask("DELETE", "logs-2026.11.22")
        run(backup.restore, other)
        assert read(running, "logs-2026.11.22") == "kept"
        assert not (shared / "who").exists()


def write(running: OpenSearch, index: str, text: str) -> None:
    status, told = running.ask("PUT", f"{index}/_doc/1?refresh=true", {"text": text})
    assert status in {200, 201}, told


def read(running: OpenSearch, index: str) -> str:
    running.ask("GET", f"_cluster/health/{index}?wait_for_status=yellow")
    return str(running.ask("GET", f"{index}/_doc/1")[1]["_source"]["text"])
