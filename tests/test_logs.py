"""Logs: what reads them, takes them apart, keeps and shows them, and with which rights."""

import json
import re
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import Containers, stand_in
from opensearch import OpenSearch, opensearch
from published import check_types
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.network import Network
from pulumi_tiers.model.observability import Logs, Observability
from pulumi_tiers.model.references import references
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Condition, Workload
from pulumi_tiers.observability.exporters import EXPORTERS
from pulumi_tiers.observability.logs import (
    FIELDS,
    check_logs,
    log_stores,
    log_workloads,
    pipeline,
    shipping,
)
from pulumi_tiers.observability.metrics import CATALOGUE
from pulumi_tiers.platforms.labels import LABEL_SERVICE, LABEL_STACK, LABEL_SYSTEM
from pulumi_tiers.systems import SYSTEMS


def shop(**keys: Any) -> System:
    given = {"name": "shop", "title": "Shop", "environment": "production"}
    return System.model_validate({**given, **keys})


def described(**keys: Any) -> Observability:
    return Observability.model_validate({"logs": keys})


def workloads(target: Target = Target.DOCKER, **keys: Any) -> dict[str, Workload]:
    return log_workloads(shop(), described(**keys), target)


# --- what there is --------------------------------------------------------------------------------


def test_without_logs_there_is_nothing() -> None:
    assert log_workloads(shop(), Observability(), Target.DOCKER) == {}
    assert log_stores(shop(), Observability()) == {}


def test_they_are_for_visions_production() -> None:
    # VI-11: the document's development has none.
    development, production = (SYSTEMS["vision"](environment) for environment in Environment)
    assert development.observability is not None
    assert development.observability.logs is None
    assert production.observability is not None
    assert production.observability.logs == Logs()
    [(name, store)] = log_stores(production, production.observability).items()
    # L134-141. VI-10: what talks to it is as old as it is.
    assert name == "elasticsearch"
    assert store.image == "docker.elastic.co/elasticsearch/elasticsearch:8.8.0"
    assert store.resources is not None
    assert (store.resources.cpus, store.resources.memory) == (1.0, "2g")
    server = ENGINES["elasticsearch"].workload(name, store)
    assert "-Xms1024m -Xmx1024m" in server.environment["ES_JAVA_OPTS"]
    found = log_workloads(production, production.observability, Target.DOCKER)
    assert {key: item.image for key, item in found.items()} == {
        "logstash": "docker.elastic.co/logstash/logstash:8.8.0",
        "kibana": "docker.elastic.co/kibana/kibana:8.8.0",
        "filebeat": "docker.elastic.co/beats/filebeat:8.8.0",
    }


def test_a_store_is_made_or_the_systems_own_is_used() -> None:
    made = log_stores(shop(), described(retention_days=30, size="50Gi"))["elasticsearch"]
    [index] = made.indices
    assert (index.name, index.owner, index.retention, made.size) == ("logs", "logs", 30, "50Gi")
    own = Store.model_validate(
        {"engine": "elasticsearch", "size": "5Gi", "indices": [{"name": "products"}]}
    )
    system = shop(stores={"search": own})
    found = log_stores(system, described(store="search"))
    assert list(found) == ["search"]
    assert [index.name for index in found["search"].indices] == ["products", "logs"]
    assert found["search"].size == "5Gi"


def test_every_image_can_be_another() -> None:
    images = {"kibana": "mirror.example.com/kibana:8.8.0"}
    found = workloads(version="8.19.1", images=images)
    assert found["kibana"].image == images["kibana"]
    assert found["logstash"].image == "docker.elastic.co/logstash/logstash:8.19.1"


@pytest.mark.parametrize("key", ["logstash", "kibana", "filebeat"])
@pytest.mark.parametrize("target", Target)
def test_each_is_hardened(key: str, target: Target) -> None:
    workload = workloads(target)[key]
    assert workload.read_only
    assert workload.cap_add == []
    assert workload.tells_health
    assert workload.unverified
    assert (workload.user == "0:0") is (key == "filebeat")
    # Nothing secret in a file that everybody in the container reads, or on a command line.
    for text in (*workload.configs.values(), *workload.command, *workload.environment.values()):
        assert not any(found.secret for found in references(text.replace("$$", "")) if found.store)


def test_nobody_has_more_rights_in_elasticsearch_than_it_needs() -> None:
    found = workloads(store="search")
    logstash, kibana = found["logstash"], found["kibana"]
    assert logstash.environment["LOGS_USER"] == "${search.logs.user}"
    assert logstash.secrets == {"LOGS_PASSWORD": "${search.logs.password}"}
    # Kibana's own user, not the administrator.
    assert kibana.environment["KIBANA_USER"] == "${search.kibana.user}"
    assert kibana.secrets["KIBANA_PASSWORD"] == "${search.kibana.password}"
    settings = yaml.safe_load(kibana.configs["kibana.yml"])
    assert settings["elasticsearch.password"] == "${KIBANA_PASSWORD}"
    consumers = ENGINES["elasticsearch"].consumers(log_stores(shop(), described())["elasticsearch"])
    assert (consumers["logs"].user, consumers["kibana"].user) == ("logs", "kibana_system")
    for key in ("xpack.security", "xpack.encryptedSavedObjects", "xpack.reporting"):
        variable = settings[f"{key}.encryptionKey"].strip("${}")
        assert kibana.secrets[variable] == f"${{secret.{variable}}}"


def test_only_kibana_is_published_and_only_to_this_machine() -> None:
    def published(environment: str, **keys: Any) -> dict[str, int]:
        found = log_workloads(shop(environment=environment), described(**keys), Target.DOCKER)
        ports = [(key, port) for key, workload in found.items() for port in workload.ports]
        assert {port.host_ip for _, port in ports} == {"127.0.0.1"}
        return {key: port.published for key, port in ports if port.published}

    # L319.
    assert published("development") == {"kibana": 5601}
    assert published("production") == {}
    assert published("production", published=5000) == {"kibana": 5000}


def test_who_talks_to_nobody_outside_is_in_inner_networks() -> None:
    networks = {"edge": Network(), "data": Network(internal=True)}
    found = log_workloads(shop(networks=networks), described(), Target.DOCKER)
    assert found["filebeat"].networks == found["logstash"].networks == ["data"]
    # Docker publishes nothing of what is in internal networks only.
    assert found["kibana"].networks == []


def test_they_wait_for_what_they_need() -> None:
    found = workloads(store="search")
    assert found["logstash"].depends_on == {"search": Condition.SERVICE_HEALTHY}
    assert found["kibana"].depends_on == {"search": Condition.SERVICE_HEALTHY}
    assert found["filebeat"].depends_on == {"logstash": Condition.SERVICE_HEALTHY}


# --- reading --------------------------------------------------------------------------------------


def test_filebeat_sees_logs_and_nothing_else_of_the_machine() -> None:
    docker, cluster = (workloads(target)["filebeat"] for target in list(Target)[:2])
    assert docker.per_node
    assert cluster.per_node
    assert docker.binds == {"/var/lib/docker/containers": "/var/lib/docker/containers"}
    assert cluster.binds == {"/var/log/pods": "/var/log/pods"}
    assert not docker.docker_socket
    assert not cluster.discovers
    assert "filebeat" not in workloads(collect=False)


def test_filebeat_reads_the_systems_own_pods() -> None:
    settings = shipping(shop(), Target.KUBERNETES)
    [source] = settings["filebeat.inputs"]
    assert source["paths"] == ["/var/log/pods/shop-production_*/*/*.log"]
    # It is in another namespace.
    assert settings["output.logstash"] == {"hosts": ["logstash.shop-production:5044"]}
    named = shipping(shop(namespace="store"), Target.KUBERNETES)
    assert named["filebeat.inputs"][0]["paths"] == ["/var/log/pods/store_*/*/*.log"]


def test_a_line_that_comes_twice_is_one_entry() -> None:
    settings = shipping(shop(), Target.DOCKER)
    [processor] = settings["processors"]
    assert processor["fingerprint"]["target_field"] == "@metadata._id"
    assert set(processor["fingerprint"]["fields"]) == {"@timestamp", "log.file.path", "log.offset"}
    assert 'document_id => "%{[@metadata][_id]}"' in pipeline(shop(), Target.DOCKER)


def test_filebeats_file_is_its_settings() -> None:
    workload = workloads()["filebeat"]
    assert yaml.safe_load(workload.configs["filebeat.yml"]) == shipping(shop(), Target.DOCKER)
    assert workload.command[-1] == "/run/configs/filebeat.yml"


# --- taking apart ---------------------------------------------------------------------------------


@pytest.mark.parametrize("target", Target)
def test_the_pipeline_is_whole(target: Target) -> None:
    text = pipeline(shop(), target)
    bare = text.replace(r"/^\s*\{/", "")
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"^(\w+) \{", text, re.MULTILINE) == ["input", "filter", "output"]
    # Nothing of ours is left in it, and what Logstash puts in itself is.
    assert "%(" not in text
    assert {*re.findall(r"\$\{(\w+)\}", text)} == {"ELASTICSEARCH", "LOGS_USER", "LOGS_PASSWORD"}
    variables = workloads(target)["logstash"].values
    assert {"ELASTICSEARCH", "LOGS_USER", "LOGS_PASSWORD"} <= {*variables}
    # What is kept is what the index knows.
    kept = re.search(r"whitelist_names => \[(.*)\]", text)
    assert kept is not None
    assert re.findall(r'"\^([^$]+)\$"', kept[1]) == [*FIELDS]
    assert 'index => "logs-%{+YYYY.MM.dd}"' in text


def test_on_docker_only_the_systems_containers_count() -> None:
    text = pipeline(shop(), Target.DOCKER)
    assert f'if [docker][attrs][{LABEL_SYSTEM}] != "shop" {{ drop {{}} }}' in text
    assert f'"[docker][attrs][{LABEL_SERVICE}]" => "service"' in text
    assert f'"[docker][attrs][{LABEL_STACK}]" => "stack"' in text


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-22T10:00:00 ERROR could not connect", "ERROR"),
        ("[warning] disk", "warning"),
        ('{"level": "info"}', "info"),
        ("errors: 0", None),
        (f"{'x' * 90} error", None),
    ],
)
def test_a_level_is_found_near_the_beginning(line: str, level: str | None) -> None:
    found = re.search(r'"message" => "(.*)" \}', pipeline(shop(), Target.DOCKER))
    assert found is not None
    # Ruby's own spelling of a name.
    match = re.search(found[1].replace("(?<level>", "(?P<level>"), line)
    assert (match and match["level"]) == level


@pytest.mark.parametrize(
    ("written", "message"),
    [("  one\n", "  one"), ("two\r\n", "two"), ("a\nb\n\n", "a\nb\n"), ("three", "three")],
)
def test_a_line_ends_without_its_end(written: str, message: str) -> None:
    """As Filebeat sends it of a file that Docker wrote; on Kubernetes it has none."""
    found = re.search(r'gsub => \["message", "(.*)", ""\]', pipeline(shop(), Target.DOCKER))
    assert found is not None
    # Ruby's own spelling of the end of a text.
    assert re.sub(found[1].replace(r"\z", r"\Z"), "", written) == message


def test_no_program_can_make_fields_without_end() -> None:
    [index] = log_stores(shop(), described())["elasticsearch"].indices
    assert index.fields == FIELDS
    assert index.fields["json"] == "flattened"
    assert index.fields["@timestamp"] == "date"


# --- checks ---------------------------------------------------------------------------------------


def test_another_store_than_elasticsearch_is_refused() -> None:
    system = shop(stores={"redis": Store(engine="redis")})
    [found] = check_logs("shop: observability.", system, described(store="redis"))
    assert str(found).startswith(
        "shop: observability.logs.store: 'redis' is no Elasticsearch, but redis"
    )


def test_an_image_of_something_else_is_refused() -> None:
    observability = described(images={"kibanna": "x:1"})
    [found] = check_logs("", shop(), observability)
    assert found.place == "logs.images.kibanna"
    assert "did you mean 'kibana'?" in found.remedy


@pytest.mark.parametrize("version", ["8", "latest", "8.8", "8.8.0-SNAPSHOT"])
def test_a_version_is_whole(version: str) -> None:
    with pytest.raises(ValueError, match="is not a version of Elastic's"):
        Logs(version=version)


# --- the real things ------------------------------------------------------------------------------


@pytest.mark.load
def test_elasticsearch_is_told_what_its_published_types_know(tmp_path: Path) -> None:
    kinds = {"_ilm/policy": "Policy", "_index_template": "IndexTemplate", "_security/role": "Role"}
    lines = [f'import type {{ {", ".join(kinds.values())} }} from "./published";']
    for path, body in bodies().items():
        kind = kinds[path.rpartition("/")[0]]
        lines.append(f"export const {kind.lower()}: {kind} = {json.dumps(body)};")
    assert len(lines) == 4
    text = "\n".join(lines)
    assert check_types(tmp_path, text) == ""
    for right, wrong in (("flattened", "flat"), ("min_age", "age"), ("index_patterns", "names")):
        assert "error TS" in check_types(tmp_path, text.replace(right, wrong))


def bodies() -> dict[str, dict[str, Any]]:
    """What Elasticsearch is told before it is used, by the path."""
    store = log_stores(shop(), described())["elasticsearch"]
    setup = ENGINES["elasticsearch"].setup("elasticsearch", store)
    assert setup is not None
    script = setup.environment["SCRIPT"].replace("$$", "$")
    found = re.findall(r'^ask PUT (\S+) "\$(BODY_\d+)"', script, re.MULTILINE)
    return {path: json.loads(setup.environment[name].replace("$$", "$")) for path, name in found}


@pytest.fixture(scope="module")
def server() -> Iterator[OpenSearch]:
    with opensearch() as made:
        yield made


@pytest.mark.load
def test_whatever_programs_write_is_kept_and_found(server: OpenSearch) -> None:
    """By a real server of Elasticsearch's line; tests/opensearch.py has the differences."""
    template = bodies()["_index_template/tiers-logs"]
    del template["template"]["settings"]["index.lifecycle.name"]
    field = template["template"]["mappings"]["properties"]["json"]
    field["type"] = "flat_object"
    del field["ignore_above"]
    entries: list[dict[str, Any]] = [
        {"message": "no ERROR here", "level": "error", "service": "api", "stream": "stdout"},
        {"message": "{}", "service": "api", "json": {"user": {"id": 7}, "level": "info"}},
        # Another program means something else by the same words, and has very many of them.
        {"message": "{}", "service": "web", "level": 30, "json": {"user": "seven", "level": 30}},
        {"message": "{}", "service": "web", "json": {f"key{n}": n for n in range(3000)}},
        {"message": "x" * 100_000, "container": "y" * 100_000},
    ]
    assert server.ask("PUT", "_index_template/tiers-logs", template)[0] == 200
    for number, entry in enumerate([*entries, entries[0]]):
        path = f"logs-2026.11.22/_doc/{number % len(entries)}"
        status, said = server.ask("PUT", path, {"@timestamp": "2026-11-22T10:00:00.1Z", **entry})
        assert status == (201 if number < len(entries) else 200), said
    assert server.ask("POST", "logs-*/_refresh")[0] == 200

    def found(query: str) -> list[str]:
        question = {"query": {"query_string": {"query": query}}}
        answer = server.ask("POST", "logs-*/_search", question)[1]
        return sorted(hit["_id"] for hit in answer["hits"]["hits"])

    assert found("*") == ["0", "1", "2", "3", "4"]
    # As Grafana's panel asks.
    assert found("level:(error OR fatal OR critical)") == ["0"]
    assert found("json.user.id:7") == ["1"]
    assert found("json.user:seven") == ["2"]
    assert found("service:web") == ["2", "3"]
    mappings = server.ask("GET", "logs-2026.11.22/_mapping")[1]["logs-2026.11.22"]["mappings"]
    assert {*mappings["properties"]} == {*FIELDS}


@pytest.mark.docker
@pytest.mark.load
def test_its_exporter_tells_all_that_rules_and_dashboards_know_of(server: OpenSearch) -> None:
    """Debian's, of the same server; an index is there from the test before, or is made."""
    assert server.ask("PUT", "logs-2026.11.21/_doc/1", {"message": "x"})[0] in (200, 201)
    image, name = stand_in(EXPORTERS["elasticsearch"].image), f"t{secrets.token_hex(4)}"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{free.getsockname()[1]}"
    command = ("docker", "run", "--detach", "--name", name, "--network", "host", image)
    flags = (f"--es.uri={server.url}", f"--web.listen-address={at}")
    names: set[str] = set()
    try:
        subprocess.run([*command, *flags], capture_output=True, check=True)
        deadline = time.monotonic() + 30
        while not CATALOGUE["elasticsearch"] <= names:
            assert time.monotonic() < deadline, CATALOGUE["elasticsearch"] - names
            time.sleep(0.5)
            with suppress(OSError), urllib.request.urlopen(f"http://{at}/metrics") as answer:
                names = {*re.findall(r"^(\w+)", answer.read().decode(), re.MULTILINE)}
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True, check=False)


@pytest.mark.docker
def test_docker_says_whose_line_it_is_and_root_without_capabilities_reads_it() -> None:
    """What Filebeat relies on, with the daemon's own files; and what else those files tell."""
    image = stand_in("redis:7-alpine")
    name = f"t{secrets.token_hex(4)}"
    labels = {LABEL_STACK: "dev", LABEL_SYSTEM: "shop", LABEL_SERVICE: "api"}
    options = [part for key, value in labels.items() for part in ("--label", f"{key}={value}")]
    options += ["--log-driver", "json-file", "--log-opt", f"labels={','.join(labels)}"]
    speak = ["--env", "PASSWORD=hunter2", "--entrypoint", "echo", image, "hello"]

    def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)

    def read(user: str, file: str) -> subprocess.CompletedProcess[str]:
        [(target, source)] = workloads()["filebeat"].binds.items()
        bind = f"type=bind,source={source},target={target},readonly"
        rights = ("--user", user, "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        command = ("--entrypoint", "sh", image, "-c", f"cat {target}/{file}")
        return docker("run", "--rm", "--read-only", *rights, "--mount", bind, *command)

    try:
        assert docker("run", "--name", name, *options, *speak).returncode == 0
        number = docker("inspect", "--format", "{{.Id}}", name).stdout.strip()
        [line] = read("0:0", f"{number}/*-json.log").stdout.splitlines()
        assert json.loads(line)["log"] == "hello\n"
        assert json.loads(line)["attrs"] == labels
        # Nobody else can, in whichever group.
        assert read("1000:1000", f"{number}/*-json.log").returncode != 0
        assert read("1000:0", f"{number}/*-json.log").returncode != 0
        # What docs/logs.md warns of.
        assert "hunter2" in read("0:0", f"{number}/config.v2.json").stdout
    finally:
        docker("rm", "--force", name)


@pytest.mark.docker
def test_what_ships_logs_starts_with_its_hardening(tmp_path: Path) -> None:
    """Commands, files, ports and health checks; the programs themselves are stand-ins."""
    plain = workloads()
    images = {key: stand_in(str(plain[key].image)) for key in ("logstash", "filebeat")}
    found = workloads(images=images)
    with Containers(tmp_path) as containers:
        for key in images:
            workload = found[key]
            texts = [*workload.environment.values(), *workload.secrets.values()]
            every = [reference for text in texts for reference in references(text)]
            values = {f"{item.connection}.{item.field}": item.field for item in every}
            name = containers.start(key, workload, values)
            containers.wait_healthy(name, workload)
