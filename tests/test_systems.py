"""What the documents of NutriFitCoach and Pigmeu say, seen in the recorded resources.

Numbers with a letter before them are entries of docs/contradictions.md.
"""

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from pulumi_tiers.program import main
from pulumi_tiers.render.compose import compose
from pulumi_tiers.render.details import files, labels_of, part_of
from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Resource,
    Secret,
    bare,
    placeholders,
    record,
)

ENVIRONMENTS = pytest.mark.parametrize("environment", ["development", "production"])
CONTAINER = "docker:index/container:Container"
HELPERS = ("Deployment", "StatefulSet", "Job")


@cache
def recorded(system: str, environment: str, target: str) -> Recording:
    """With a certificate and a name, wherever there is an edge."""
    config: dict[str, Json] = {
        "tiers:environment": environment,
        "tiers:target": target,
        "tiers:systems": [system],
    }
    with_edge = environment == "production" or system in {"nutrifitcoach", "ocolecionador"}
    if with_edge and system != "encontros-tech":
        config["tiers:tls"] = {system: {"mode": "self_signed"}}
        config["tiers:domains"] = {system: "app.example.com"}
    return record(main, project="tiers", stack="dev", config=config)


def with_config(system: str, environment: str, target: str, **config: Json) -> Recording:
    """The same with more configuration."""
    keys: dict[str, Json] = {
        "tiers:environment": environment,
        "tiers:target": target,
        "tiers:systems": [system],
        **{f"tiers:{key}": value for key, value in config.items()},
    }
    return record(main, project="tiers", stack="dev", config=keys)


@dataclass(frozen=True)
class Container:
    """A container on Docker, as it is recorded."""

    resource: Resource

    @property
    def inputs(self) -> dict[str, Any]:
        return dict(bare(self.resource.inputs))

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.resource)

    @property
    def environment(self) -> dict[str, str]:
        pairs = (str(entry).partition("=") for entry in self.inputs["envs"])
        return {name: value for name, _, value in pairs}

    @property
    def addresses(self) -> dict[str, str | None]:
        """By network, without what all of them begin with."""
        return {
            network["name"].split("-", 2)[-1]: network.get("ipv4Address")
            for network in self.inputs.get("networksAdvanced") or []
        }

    @property
    def secrets_in_environment(self) -> list[str]:
        """The variables whose values are secret, or hold a part of one."""
        return [
            str(bare(entry)).partition("=")[0]
            for entry in self.resource.inputs["envs"]
            if isinstance(entry, Secret) or any(placeholders(entry))
        ]


def containers(recording: Recording, service: str = "") -> list[Container]:
    """Those of a service, the first replica first; without one, all that stay."""
    found = [Container(item) for item in recording.of_type(CONTAINER)]
    if not service:
        return [item for item in found if not item.labels.get("tiers.job")]
    chosen = [item for item in found if item.labels["tiers.service"] == service]
    return sorted(chosen, key=lambda item: item.resource.name)


def one(recording: Recording, service: str) -> Container:
    return containers(recording, service)[0]


def objects(recording: Recording, kind: str) -> Iterator[dict[str, Any]]:
    for item in recording.resources:
        if item.type.startswith("kubernetes:") and item.type.endswith(f":{kind}"):
            yield bare(item.inputs)


def pods(recording: Recording) -> dict[str, dict[str, Any]]:
    """The templates of what runs on Kubernetes, by service; helpers too."""
    return {
        item["metadata"]["labels"]["tiers.service"]: item["spec"]["template"]
        for kind in HELPERS
        for item in objects(recording, kind)
    }


def text_of(recording: Recording, system: str, service: str, path: str) -> str:
    [file] = [item for item in files(recording)[system, service] if item.path == path]
    return file.text


# --- what holds for all ---------------------------------------------------------------------------


def in_both(*systems: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("system", "environment"),
        [(system, found) for system in systems for found in ("development", "production")],
    )


EVERY_SYSTEM = in_both("ocolecionador", "vision", "nutrifitcoach", "pigmeu", "encontros-tech")
#: Reads what all containers print, which root alone may: docs/logs.md.
ROOT = {"filebeat", "filebeat-files"}
#: Its program is marked as one that may bind low ports, and doesn't start without.
BINDS = {"sqlserver"}
#: It asks Kubernetes whom to ask for metrics.
DISCOVERS = {"prometheus"}
#: There is nothing in their images that could ask.
MUTE = {"glitchtip-worker", "mongo-exporter", "nginx-exporter"}


@EVERY_SYSTEM
def test_every_container_is_hardened(system: str, environment: str) -> None:
    """Layer 5: non-root, a read-only root, limits, no capabilities; helpers too."""
    recording = recorded(system, environment, "docker")
    for resource in recording.of_type(CONTAINER):
        inputs = bare(resource.inputs)
        user = int(inputs["user"].partition(":")[0])
        assert user > 0 or labels_of(resource)["tiers.service"] in ROOT, resource.name
        assert inputs["readOnly"] is True, resource.name
        binds = {"adds": ["CAP_NET_BIND_SERVICE"]} if inputs["capabilities"].get("adds") else {}
        assert inputs["capabilities"] == {"drops": ["ALL"], **binds}, resource.name
        assert not binds or labels_of(resource)["tiers.service"] in BINDS, resource.name
        # As the daemon tells it, like CAP_: else a refresh finds a difference for ever.
        health = inputs.get("healthcheck", {})
        lengths = (health.get(key, "") for key in ("interval", "timeout", "startPeriod"))
        assert not [text for text in lengths if re.fullmatch(r"(\d{3,}|[6-9]\d)s", text)]
        assert inputs["securityOpts"] == ["no-new-privileges:true"], resource.name
        # No swap: two equal numbers.
        assert inputs["memory"] == inputs["memorySwap"] > 0, resource.name
        assert float(inputs["cpus"]) > 0, resource.name
        limits = {"max-size": "10m", "max-file": "3"}.items()
        assert limits <= inputs["logOpts"].items(), resource.name


@EVERY_SYSTEM
@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_every_pod_is_hardened(system: str, environment: str, target: str) -> None:
    recording = recorded(system, environment, target)
    for name, template in pods(recording).items():
        pod = template["spec"]
        assert pod["securityContext"]["runAsUser"] > 0 or name in ROOT, name
        assert pod["securityContext"]["runAsNonRoot"] is (name not in ROOT), name
        assert pod["automountServiceAccountToken"] is (name in DISCOVERS), name
        for container in pod["containers"]:
            adds = {"add": ["NET_BIND_SERVICE"]} if name in BINDS else {}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], **adds},
                "readOnlyRootFilesystem": True,
            }, name
            assert set(container["resources"]["limits"]) >= {"cpu", "memory"}, name


@EVERY_SYSTEM
def test_every_service_has_a_health_check_and_is_waited_for(system: str, environment: str) -> None:
    for container in containers(recorded(system, environment, "docker")):
        if container.labels["tiers.service"] in MUTE:
            continue
        assert container.inputs["healthcheck"]["tests"], container.resource.name
        assert container.inputs["wait"] is True


@in_both("nutrifitcoach", "pigmeu")
def test_services_start_after_their_stores_and_the_migrations(
    system: str, environment: str
) -> None:
    recording = recorded(system, environment, "docker")
    stores = {
        "nutrifitcoach": ["minio", "postgres", "redis"],
        "pigmeu": ["mongo", "redis"],
    }[system]
    wanted = {
        "migrations": "service_completed_successfully",
        **dict.fromkeys(stores, "service_healthy"),
    }
    for service in ("api", "worker"):
        for container in containers(recording, service):
            said = container.labels["tiers.depends_on"].split(",")
            assert dict(item.split(":") for item in said) == wanted
            waited = {urn.rpartition("::")[2] for urn in container.resource.depends_on}
            assert f"{system}-app-migrations" in waited
    # Once, to its end, after its store.
    [migrations] = containers(recording, "migrations")
    assert (migrations.inputs["mustRun"], migrations.inputs["restart"]) == (False, "no")


ALL = ["ocolecionador", "vision", "nutrifitcoach", "pigmeu", "encontros-tech"]


@ENVIRONMENTS
@pytest.mark.parametrize(
    "apart",
    [
        {"port_offsets": {name: 10_000 * number for number, name in enumerate(ALL)}},
        {
            "publish": "edges",
            "host_ips": {
                name: f"127.0.0.{number}"
                for number, name in enumerate(ALL, 2)
                if name in {"ocolecionador", "nutrifitcoach"}
            },
        },
    ],
    ids=["port_offsets", "edges"],
)
def test_all_five_are_one_stack(environment: str, apart: dict[str, Json]) -> None:
    """6.2: their documented ports clash, and a stack moves them, or opens edges only."""
    config: dict[str, Json] = {
        "tiers:environment": environment,
        "tiers:systems": list(ALL),
        **{f"tiers:{key}": value for key, value in apart.items()},
    }
    if environment == "production":
        edges = ALL[:-1]
        config["tiers:tls"] = {name: {"mode": "self_signed"} for name in edges}
        if "publish" in apart:
            config["tiers:host_ips"] = {
                name: f"127.0.0.{number}" for number, name in enumerate(edges, 2)
            }
    recording = record(main, project="tiers", stack="dev", config=config)
    ports = [
        (port["ip"], port["external"])
        for item in containers(recording)
        for port in item.inputs["ports"] or []
    ]
    assert len(set(ports)) == len(ports) > 0
    if "publish" in apart:
        assert {number for _, number in ports} == {80, 443}
    else:
        names = [item.labels["tiers.system"] for item in containers(recording)]
        assert set(names) == set(ALL)


def test_the_documented_ports_clash_and_that_is_told() -> None:
    config: dict[str, Json] = {"tiers:systems": list(ALL)}
    with pytest.raises(Exception, match="host port 5432 is already published by") as caught:
        record(main, project="tiers", stack="dev", config=config)
    text = str(caught.value)
    # 3000: Metabase and Grafana; 8000: GlitchTip and two APIs.
    for number in (3000, 5432, 6379, 8000, 80, 443):
        assert f"host port {number} is already published by" in text, number


# --- NutriFitCoach --------------------------------------------------------------------------------

#: The document's own, and with room for more (NF-04).
ADDRESSES = {
    "nginx": ["172.28.0.10"],
    "api": ["172.28.0.20", "172.28.0.21", "172.28.0.22"],
    "worker": ["172.28.0.30", "172.28.0.31", "172.28.0.32"],
    "postgres": ["172.28.0.100"],
    "redis": ["172.28.0.110"],
    "minio": ["172.28.0.120"],
}
#: Name → size, who has it, where.
VOLUMES = {
    "postgres-data": ("10Gi", "postgres", "/var/lib/postgresql/data"),
    "redis-data": ("1Gi", "redis", "/data"),
    "minio-data": ("50Gi", "minio", "/data"),
    "api-uploads": ("5Gi", "api", "/app/data/uploads"),
    "api-frames": ("10Gi", "api", "/app/data/frames"),
    "api-results": ("2Gi", "api", "/app/data/results"),
    "worker-frames": ("10Gi", "worker", "/app/data/frames"),
    "worker-results": ("2Gi", "worker", "/app/data/results"),
    "nginx-logs": ("500Mi", "nginx", "/var/log/nginx"),
}
STORES = {"postgres", "redis", "minio"}


def coach(environment: str = "production", target: str = "docker") -> Recording:
    return recorded("nutrifitcoach", environment, target)


@ENVIRONMENTS
def test_nutrifitcoach_has_the_documented_services(environment: str) -> None:
    found = containers(coach(environment))
    assert sorted(item.labels["tiers.service"] for item in found) == sorted(
        service for service, addresses in ADDRESSES.items() for _ in addresses
    )
    images = {item.labels["tiers.service"]: item.inputs["image"] for item in found}
    assert (images["postgres"], images["redis"], images["nginx"]) == (
        "postgres:16-alpine",
        "redis:7-alpine",
        "nginx:alpine",
    )
    # NF-14: pinned, and from where it can still be pulled.
    assert re.fullmatch(r"quay\.io/minio/minio:RELEASE\.[\dTZ-]+", images["minio"])


@ENVIRONMENTS
def test_nutrifitcoachs_environment_is_what_the_table_of_names_says(environment: str) -> None:
    """NF-18: none is documented; ours stand in docs/contradictions.md."""
    files = {
        f"{name}_FILE": f"/run/secrets/{name}"
        for name in ("DATABASE_URL", "REDIS_URL", "S3_ACCESS_KEY", "S3_ENDPOINT", "S3_SECRET_KEY")
    }
    common = {
        **files,
        "NODE_ENV": environment,
        "S3_BUCKET": "videos",
        "S3_BUCKET_RESULTS": "results",
        "S3_BUCKET_THUMBNAILS": "thumbnails",
        "S3_REGION": "us-east-1",
    }
    recording = coach(environment)
    assert [item.environment for item in containers(recording, "api")] == [
        {
            **common,
            "JWT_SECRET_FILE": "/run/secrets/JWT_SECRET",
            "PORT": "3000",
            "S3_PUBLIC_ENDPOINT": "https://app.example.com",
        }
    ] * 3
    assert [item.environment for item in containers(recording, "worker")] == [
        {**common, "WORKER_CONCURRENCY": "2", "HEARTBEAT_FILE": "/tmp/heartbeat"}
    ] * 3
    for service in ("api", "worker"):
        url = text_of(recording, "nutrifitcoach", service, "/run/secrets/DATABASE_URL")
        assert re.fullmatch(
            r"postgresql://nutrifitcoach:__secret\.\w+__@postgres:5432/nutrifitcoach\?\S+", url
        )
        url = text_of(recording, "nutrifitcoach", service, "/run/secrets/REDIS_URL")
        assert re.fullmatch(r"redis://:__secret\.\w+__@redis:6379/0", url)
    text = (
        Path(__file__).parents[1].joinpath("docs", "contradictions.md").read_text(encoding="utf-8")
    )
    [row] = [line for line in text.splitlines() if line.startswith("| NF-18 ")]
    found = one(recording, "api").environment | one(recording, "worker").environment
    assert {name.removesuffix("_FILE") for name in found if name != "HEARTBEAT_FILE"} == (
        set(re.findall(r"`([A-Z][A-Z0-9_]+)`", row)) - {"HEARTBEAT_FILE"}
    )


@ENVIRONMENTS
def test_nutrifitcoachs_migrations_and_health_checks(environment: str) -> None:
    """ "Prisma ORM, migrations" (L56-62), "Health" (L43-46); their numbers are ours."""
    recording = coach(environment)
    migrations = one(recording, "migrations").inputs
    assert migrations["command"] == ["npx", "prisma", "migrate", "deploy"]
    assert one(recording, "migrations").secrets_in_environment == ["DATABASE_URL"]
    [_, test] = one(recording, "api").inputs["healthcheck"]["tests"]
    assert "http://127.0.0.1:3000/health" in test
    [_, test] = one(recording, "worker").inputs["healthcheck"]["tests"]
    assert test == 'test -n "$(find /tmp/heartbeat -mmin -1)"'
    templates = pods(coach(environment, "kubernetes"))
    probes = {name: templates[name]["spec"]["containers"][0] for name in ("api", "worker")}
    assert probes["api"]["readinessProbe"]["httpGet"] == {"path": "/health", "port": 3000}
    assert probes["worker"]["livenessProbe"]["exec"]["command"] == [
        "/bin/sh",
        "-c",
        # Kubernetes halves it: else it would look for a variable.
        test.replace("$", "$$"),
    ]
    # A worker listens on nothing.
    assert not probes["worker"].get("ports")
    assert not [
        item
        for item in objects(coach(environment, "kubernetes"), "Service")
        if item["metadata"]["name"] == "worker"
    ]


@ENVIRONMENTS
def test_nutrifitcoach_has_every_documented_address(environment: str) -> None:
    for service, wanted in ADDRESSES.items():
        found = containers(coach(environment), service)
        given = [[fixed for fixed in item.addresses.values() if fixed] for item in found]
        assert given == [[address] for address in wanted], service


def test_nutrifitcoachs_addresses_move_together() -> None:
    moved = with_config(
        "nutrifitcoach", "development", "docker", subnets={"nutrifitcoach": "10.44.0.0/16"}
    )
    for service, wanted in ADDRESSES.items():
        given = [
            fixed
            for item in containers(moved, service)
            for fixed in item.addresses.values()
            if fixed
        ]
        assert given == [address.replace("172.28.", "10.44.") for address in wanted]
    subnets = [
        item.inputs["ipamConfigs"][0]["subnet"]
        for item in moved.of_type("docker:index/network:Network")
    ]
    assert sorted(subnets) == ["10.44.0.0/26", "10.44.0.64/26"]
    # What has no fixed address gets none of these, and Docker keeps its first.
    ranges = {
        (config["ipRange"], config["gateway"])
        for item in moved.of_type("docker:index/network:Network")
        for config in item.inputs["ipamConfigs"]
    }
    assert ranges == {("10.44.0.48/28", "10.44.0.1"), ("10.44.0.64/27", "10.44.0.65")}


@pytest.mark.parametrize(
    ("service", "most", "range_"),
    [
        ("api", 10, "172.28.0.20-172.28.0.29"),
        ("worker", 18, "172.28.0.30-172.28.0.47"),
    ],
)
def test_nutrifitcoach_grows_as_far_as_its_addresses(service: str, most: int, range_: str) -> None:
    replicas = {f"nutrifitcoach/{service}": most}
    grown = with_config("nutrifitcoach", "development", "docker", replicas=replicas)
    last = containers(grown, service)
    assert len(last) == most
    assert len({item.addresses["edge"] for item in last}) == most
    replicas[f"nutrifitcoach/{service}"] += 1
    with pytest.raises(Exception, match=rf"do not fit into the {most} addresses {range_}"):
        with_config("nutrifitcoach", "development", "docker", replicas=replicas)
    # Kubernetes gives addresses itself, and yet nobody should have to know.


@ENVIRONMENTS
def test_layer_1_nothing_is_published_but_the_edge(environment: str) -> None:
    """Neither 5432, 6379, 9000, 9001 nor 3000; and the edge on this machine only."""
    published = {
        item.labels["tiers.service"]: item.inputs["ports"]
        for item in containers(coach(environment))
        if item.inputs["ports"]
    }
    assert published == {
        "nginx": [
            {"ip": "127.0.0.1", "internal": 8080, "external": 80},
            {"ip": "127.0.0.1", "internal": 8443, "external": 443},
        ]
    }
    for target in ("kubernetes", "digitalocean"):
        balanced = [
            item["metadata"]["name"]
            for item in objects(coach(environment, target), "Service")
            if item["spec"].get("type") != "ClusterIP" and item["spec"].get("clusterIP") != "None"
        ]
        assert balanced == ["nginx"]


def test_layer_2_the_edge_limits_filters_and_encrypts() -> None:
    config = text_of(coach(), "nutrifitcoach", "nginx", "/run/configs/nginx.conf")
    [upstream] = re.findall(r"upstream api \{(.*?)\n    \}", config, re.DOTALL)
    assert "least_conn;" in upstream
    # NF-13: Vision's, the only documented ones.
    assert re.search(r"limit_req_zone \S+ zone=api:10m rate=10r/s;", config)
    assert "limit_req zone=api burst=20 nodelay;" in config
    assert "limit_req_status 429;" in config
    assert "ssl_certificate " in config
    assert "return 308 https://" in config or "return 301 https://" in config
    # NF-09: nginx's own default is 1 MB.
    assert "client_max_body_size 512m;" in config
    # Others' host names are nobody's here.
    assert "server_name app.example.com;" in config
    upstreams = text_of(coach(), "nutrifitcoach", "nginx", "/run/configs/upstreams")
    assert sorted(upstreams.splitlines()) == ["api api 3000", "minio minio 9000"]


def test_nf_01_signed_urls_are_for_the_host_that_clients_see() -> None:
    for target in ("docker", "kubernetes", "digitalocean"):
        config = text_of(coach(target=target), "nutrifitcoach", "nginx", "/run/configs/nginx.conf")
        for bucket in ("videos", "thumbnails", "results"):
            assert f"location /{bucket}/" in config, target
        assert "proxy_set_header Host" in config
    assert one(coach(), "api").environment["S3_PUBLIC_ENDPOINT"] == "https://app.example.com"
    assert one(coach("development"), "api").environment["S3_PUBLIC_ENDPOINT"] == (
        "https://app.example.com"
    )
    # Inside, it stays where it is.
    endpoint = text_of(coach(), "nutrifitcoach", "api", "/run/secrets/S3_ENDPOINT")
    assert endpoint == "http://minio:9000"


def test_nf_01_spaces_are_signed_for_and_reached_without_the_edge() -> None:
    spaces: dict[str, Json] = {"nutrifitcoach/minio": {"enabled": True}}
    recording = with_config(
        "nutrifitcoach",
        "production",
        "digitalocean",
        managed=spaces,
        tls={"nutrifitcoach": {"mode": "self_signed"}},
        domains={"nutrifitcoach": "app.example.com"},
    )
    config = text_of(recording, "nutrifitcoach", "nginx", "/run/configs/nginx.conf")
    assert "location /upload" in config
    assert "/videos/" not in config
    upstreams = text_of(recording, "nutrifitcoach", "nginx", "/run/configs/upstreams")
    assert "minio" not in upstreams
    [api] = [
        item.inputs["spec"]["template"]["spec"]["containers"][0]
        for item in recording.of_type("kubernetes:apps/v1:Deployment")
        if item.inputs["metadata"]["name"] == "api"
    ]
    told = {item["name"]: item.get("value") for item in api["env"]}
    assert told["S3_PUBLIC_ENDPOINT"] == "https://nyc3.digitaloceanspaces.com"
    endpoint = text_of(recording, "nutrifitcoach", "api", "/run/secrets/S3_ENDPOINT")
    assert endpoint == "https://nyc3.digitaloceanspaces.com"
    # As Spaces have them, and the key opens all three.
    buckets = {told[f"S3_BUCKET{end}"] for end in ("", "_THUMBNAILS", "_RESULTS")}
    named = {f"dev-nutrifitcoach-minio-{name}" for name in ("videos", "thumbnails", "results")}
    assert buckets == named
    [key] = recording.of_type("digitalocean:index/spacesKey:SpacesKey")
    assert {grant["bucket"] for grant in key.inputs["grants"]} == named


def test_layer_3_tokens_are_signed_with_a_secret_that_nobody_has_to_invent() -> None:
    recording = coach()
    assert text_of(recording, "nutrifitcoach", "api", "/run/secrets/JWT_SECRET") == (
        "__secret.NUTRIFITCOACH_APP_JWT_SECRET_SECRET__"
    )
    assert one(recording, "api").environment["JWT_SECRET_FILE"] == "/run/secrets/JWT_SECRET"
    given = with_config(
        "nutrifitcoach",
        "development",
        "docker",
        secrets=Secret({"nutrifitcoach/JWT_SECRET": "a-secret-of-the-stacks-own-42"}),
    )
    assert text_of(given, "nutrifitcoach", "api", "/run/secrets/JWT_SECRET") == (
        "a-secret-of-the-stacks-own-42"
    )
    passwords = [item.name for item in given.of_type("random:index/randomPassword:RandomPassword")]
    assert "nutrifitcoach-app-jwt-secret-secret" not in passwords


@ENVIRONMENTS
def test_layer_4_the_data_network_leads_nowhere(environment: str) -> None:
    recording = coach(environment)
    networks = {
        item.inputs["name"]: item.inputs
        for item in recording.of_type("docker:index/network:Network")
    }
    data, edge = networks["dev-nutrifitcoach-data"], networks["dev-nutrifitcoach-edge"]
    # NF-02: an internal network alone could publish nothing.
    assert data["internal"] is True
    assert not edge.get("internal")
    whole = ipaddress.IPv4Network("172.28.0.0/16")
    for network in (data, edge):
        [config] = network["ipamConfigs"]
        assert ipaddress.IPv4Network(config["subnet"]).subnet_of(whole)
    joined = {item.labels["tiers.service"]: set(item.addresses) for item in containers(recording)}
    assert joined == {
        "nginx": {"edge"},
        "api": {"edge", "data"},
        "worker": {"edge", "data"},
        "minio": {"edge", "data"},
        "postgres": {"data"},
        "redis": {"data"},
    }


@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_layer_4_on_kubernetes_too(target: str) -> None:
    """Who is in no network with a store cannot speak to it."""
    recording = coach(target=target)
    policies = {
        item["metadata"]["name"]: item["spec"] for item in objects(recording, "NetworkPolicy")
    }
    # DigitalOcean runs Postgres itself, in the cluster's VPC, and lets the cluster alone in.
    for store in ("redis",) if target == "digitalocean" else ("postgres", "redis"):
        [rule] = policies[store]["ingress"]
        assert rule["from"] == [{"podSelector": {"matchLabels": {"tiers.network.data": "true"}}}]
        assert "egress" not in policies[store]
    [rule] = policies["minio"]["ingress"]
    assert [peer["podSelector"]["matchLabels"] for peer in rule["from"]] == [
        {"tiers.network.edge": "true"},
        {"tiers.network.data": "true"},
    ]
    joined = {
        name: {label for label in template["metadata"]["labels"] if "network" in label}
        for name, template in pods(recording).items()
    }
    assert joined["nginx"] == {"tiers.network.edge"}
    assert joined["redis"] == {"tiers.network.data"}
    assert joined["api"] == {"tiers.network.edge", "tiers.network.data"}
    # The only one whose clients may be anywhere.
    assert [
        name
        for name, policy in policies.items()
        if any("from" not in rule for rule in policy.get("ingress", []))
    ] == ["nginx"]


@ENVIRONMENTS
def test_layer_5_what_must_be_written_has_a_place(environment: str) -> None:
    """NF-11: everything else is read-only."""
    writable = {
        item.labels["tiers.service"]: {
            *(item.inputs.get("tmpfs") or {}),
            *(mount["target"] for mount in item.inputs["mounts"] if not mount.get("readOnly")),
        }
        for item in containers(coach(environment))
    }
    assert writable == {
        "nginx": {"/run/nginx", "/var/log/nginx"},
        "api": {"/tmp", "/app/data/uploads", "/app/data/frames", "/app/data/results"},
        "worker": {"/tmp", "/app/data/frames", "/app/data/results"},
        "postgres": {"/tmp", "/var/run/postgresql", "/var/lib/postgresql/data"},
        "redis": {"/tmp", "/data"},
        "minio": {"/tmp", "/data"},
    }


@ENVIRONMENTS
def test_layer_6_secrets_are_files(environment: str) -> None:
    recording = coach(environment)
    given = files(recording)
    wanted = {"DATABASE_URL", "REDIS_URL", "S3_ACCESS_KEY", "S3_ENDPOINT", "S3_SECRET_KEY"}
    for service, more in (("api", {"JWT_SECRET"}), ("worker", set[str]())):
        for container in containers(recording, service):
            assert container.secrets_in_environment == []
            for name in wanted | more:
                assert container.environment[f"{name}_FILE"] == f"/run/secrets/{name}"
            [mount] = [
                item for item in container.inputs["mounts"] if item["target"] == "/run/secrets"
            ]
            assert mount["readOnly"] is True
        secret = {file.path for file in given["nutrifitcoach", service] if file.secret}
        assert secret == {f"/run/secrets/{name}" for name in wanted | more}
    for service in ("nginx", "redis", "minio"):
        assert one(recording, service).secrets_in_environment == []
    # A key of its own for the buckets, not the admin's.
    keys = {file.path: file.text for file in given["nutrifitcoach", "worker"] if "S3_" in file.path}
    assert keys["/run/secrets/S3_ACCESS_KEY"] == "nutrifitcoach"
    assert keys["/run/secrets/S3_SECRET_KEY"] == (
        "__secret.NUTRIFITCOACH_DATA_MINIO_NUTRIFITCOACH_PASSWORD__"
    )


@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_layer_6_on_kubernetes_too(target: str) -> None:
    recording = coach(target=target)
    for service in ("api", "worker", "nginx", "minio", "redis"):
        pod = pods(recording)[service]["spec"]
        [container] = pod["containers"]
        assert not [item for item in container["env"] if "valueFrom" in item], service
        [volume] = [item for item in pod["volumes"] if "secret" in item]
        assert volume["secret"] == {"secretName": f"{service}-files", "defaultMode": 0o440}
        [mount] = [item for item in container["volumeMounts"] if item["name"] == volume["name"]]
        assert (mount["mountPath"], mount["readOnly"]) == ("/run/secrets", True)


@ENVIRONMENTS
def test_nutrifitcoachs_nine_volumes_on_docker(environment: str) -> None:
    recording = coach(environment)
    made = {
        bare(item.inputs)["name"].removeprefix("dev-nutrifitcoach-"): labels_of(item)["tiers.size"]
        for item in recording.of_type("docker:index/volume:Volume")
    }
    for name, (size, service, path) in VOLUMES.items():
        # Docker holds no volume to a size: it is a label (NF-06).
        assert made[name] == size, name
        for container in containers(recording, service):
            mounts = {mount["target"]: mount["source"] for mount in container.inputs["mounts"]}
            assert mounts[path] == f"dev-nutrifitcoach-{name}"
    # Beside them, there are those with files.
    assert {name for name in made if not name.endswith(("-secrets", "-configs"))} == set(VOLUMES)


@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_nutrifitcoachs_nine_volumes_on_kubernetes(target: str) -> None:
    """Stores have claims; the rest is scratch with a limit, of each pod (NF-05, NF-06)."""
    recording = coach(target=target)
    here = dict(VOLUMES)
    if target == "digitalocean":
        del here["postgres-data"]  # DigitalOcean's own server has its own disk
    claims = {
        claim["metadata"]["name"]: claim["spec"]["resources"]["requests"]["storage"]
        for item in objects(recording, "StatefulSet")
        for claim in item["spec"]["volumeClaimTemplates"]
    }
    assert claims == {name: size for name, (size, service, _) in here.items() if service in STORES}
    assert not list(objects(recording, "PersistentVolumeClaim"))
    for name, (size, service, path) in here.items():
        pod = pods(recording)[service]["spec"]
        mounts = {item["mountPath"]: item["name"] for item in pod["containers"][0]["volumeMounts"]}
        assert mounts[path] == name
        if service not in STORES:
            [volume] = [item for item in pod["volumes"] if item["name"] == name]
            assert volume["emptyDir"] == {"sizeLimit": size}


@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_nutrifitcoach_has_three_and_three_on_kubernetes(target: str) -> None:
    replicas = {
        item["metadata"]["name"]: item["spec"]["replicas"]
        for item in objects(coach(target=target), "Deployment")
    }
    assert replicas == {"api": 3, "worker": 3, "nginx": 1}
    # Only so does least_conn see each of them.
    upstreams = text_of(coach(target=target), "nutrifitcoach", "nginx", "/run/configs/upstreams")
    assert "api api-peers 3000" in upstreams.splitlines()
    [peers] = [
        item
        for item in objects(coach(target=target), "Service")
        if item["metadata"]["name"] == "api-peers"
    ]
    assert peers["spec"]["clusterIP"] == "None"
    assert [port["port"] for port in peers["spec"]["ports"]] == [3000]


def test_nutrifitcoachs_workers_do_two_jobs_each() -> None:
    for container in containers(coach(), "worker"):
        assert container.environment["WORKER_CONCURRENCY"] == "2"
        assert container.inputs["stopTimeout"] == 600
    more = with_config(
        "nutrifitcoach", "development", "docker", concurrency={"nutrifitcoach/worker": 5}
    )
    assert one(more, "worker").environment["WORKER_CONCURRENCY"] == "5"


@ENVIRONMENTS
def test_nutrifitcoachs_queue_forgets_nothing(environment: str) -> None:
    """NF-10: append-only file, snapshots, and no eviction."""
    config = one(coach(environment), "redis").environment["REDIS_CONF"].splitlines()
    assert "appendonly yes" in config
    assert "maxmemory-policy noeviction" in config
    assert any(line.startswith("save 3600 1") for line in config)


def test_nutrifitcoachs_buckets_have_a_user_of_their_own() -> None:
    [setup] = containers(coach(), "minio-setup")
    assert part_of(setup.resource) == "minio"
    texts = " ".join(setup.environment.values())
    for bucket in ("videos", "thumbnails", "results"):
        assert bucket in texts


def test_nutrifitcoachs_worker_is_a_tier_of_its_own() -> None:
    [worker, *_] = containers(coach(), "worker")
    assert "MLTier::nutrifitcoach-ml" in worker.resource.parent


# --- Pigmeu ---------------------------------------------------------------------------------------


def copilot(environment: str, target: str = "docker") -> Recording:
    return recorded("pigmeu", environment, target)


@pytest.mark.parametrize(
    ("environment", "word", "level"),
    [("development", "development", "INFO"), ("production", "production", "WARNING")],
)
@pytest.mark.parametrize("service", ["api", "worker", "migrations"])
def test_pigmeus_environment_is_the_documented_one(
    service: str, environment: str, word: str, level: str
) -> None:
    """PI-04, PI-10: all of it in both environments, in one spelling."""
    for container in containers(copilot(environment), service):
        assert set(container.environment) == {
            "MONGODB_URI",
            "MONGO_DB_NAME",
            "REDIS_URL",
            "APP_ENV",
            "LOG_LEVEL",
        }
        assert container.environment["MONGO_DB_NAME"] == "pigmeu"
        assert container.environment["APP_ENV"] == word
        assert container.environment["LOG_LEVEL"] == level
        assert container.secrets_in_environment == ["MONGODB_URI", "REDIS_URL"]


MONGO = "mongodb://pigmeu:__secret.PIGMEU_DATA_MONGO_PIGMEU_PASSWORD__@"
REDIS = "redis://:__secret.PIGMEU_DATA_REDIS_DEFAULT_PASSWORD__@redis:6379"


@pytest.mark.parametrize(
    ("environment", "target", "hosts", "replica_set"),
    [
        ("development", "docker", "mongo:27017", ""),
        ("development", "kubernetes", "mongo:27017", ""),
        # PI-01: the documented members exist nowhere. On one host there is one.
        ("production", "docker", "mongo:27017", "rs0"),
        (
            "production",
            "kubernetes",
            "mongo-0.mongo:27017,mongo-1.mongo:27017,mongo-2.mongo:27017",
            "rs0",
        ),
    ],
)
def test_pigmeus_addresses_name_what_there_is(
    environment: str, target: str, hosts: str, replica_set: str
) -> None:
    recording = copilot(environment, target)
    if target == "docker":
        found = one(recording, "worker").environment
    else:
        [secret] = [
            item["stringData"]
            for item in objects(recording, "Secret")
            if item["metadata"]["name"] == "worker"
        ]
        found = secret
    uri: str = found["MONGODB_URI"]
    assert uri.startswith(f"{MONGO}{hosts}/pigmeu?")
    assert ("replicaSet=rs0" in uri) is bool(replica_set)
    # PI-09: nothing without a password.
    assert found["REDIS_URL"].startswith(REDIS)


@pytest.mark.parametrize(
    ("environment", "api", "worker"),
    [
        (
            "development",
            "uvicorn src.app:app --host 0.0.0.0 --port 8000 --reload",
            "celery -A src.workers.worker worker --loglevel=info --concurrency=2",
        ),
        (
            "production",
            "uvicorn src.app:app --host 0.0.0.0 --port 8000",
            "celery -A src.workers.worker worker --loglevel=warning --concurrency=2",
        ),
    ],
)
def test_pigmeus_commands(environment: str, api: str, worker: str) -> None:
    recording = copilot(environment)
    assert {
        name: one(recording, name).inputs["image"] for name in ("api", "migrations", "worker")
    } == {
        "api": "pigmeu/api:latest",
        "migrations": "pigmeu/api:latest",
        "worker": "pigmeu/worker:latest",
    }
    [python, flag, program] = one(recording, "migrations").inputs["command"]
    assert (python, flag) == ("python3", "-c")
    assert "from src.db.migrations import run_migrations" in program
    assert " ".join(one(recording, "api").inputs["command"]) == api
    assert " ".join(one(recording, "worker").inputs["command"]) == worker
    more = {"concurrency": {"pigmeu/worker": 7}, "tls": {"pigmeu": {"mode": "off"}}}
    if environment == "development":
        del more["tls"]
    changed = with_config("pigmeu", environment, "docker", **more)
    assert one(changed, "worker").inputs["command"][-1] == "--concurrency=7"


def test_pigmeus_limits_and_replicas_in_production() -> None:
    recording = copilot("production")
    limits = {
        item.labels["tiers.service"]: (float(item.inputs["cpus"]), item.inputs["memory"])
        for item in containers(recording)
    }
    assert {name: limits[name] for name in ("api", "worker", "redis", "mongo")} == {
        "api": (2.0, 2048),
        "worker": (2.0, 2048),
        "redis": (1.0, 1024),
        "mongo": (2.0, 4096),
    }
    counts = {name: len(containers(recording, name)) for name in limits}
    assert counts == {"api": 1, "worker": 4, "redis": 1, "mongo": 1, "nginx": 1}
    kept = {
        item.labels["tiers.service"]: item.inputs.get("memoryReservation")
        for item in containers(recording)
    }
    assert kept == {"api": 512, "worker": None, "redis": None, "mongo": None, "nginx": None}
    requested = pods(copilot("production", "kubernetes"))["api"]["spec"]["containers"][0]
    assert requested["resources"]["requests"] == {"cpu": "500m", "memory": "512Mi"}


@ENVIRONMENTS
def test_pigmeu_starts_again_and_its_stores_are_asked(environment: str) -> None:
    """L407-470 for the API and the worker; PI-15 for the stores, with the documented pings."""
    recording = copilot(environment)
    assert {item.inputs["restart"] for item in containers(recording)} == {"unless-stopped"}
    [_, *ping] = one(recording, "redis").inputs["healthcheck"]["tests"]
    assert "redis-cli" in " ".join(ping)
    assert "ping" in " ".join(ping)
    [_, *ping] = one(recording, "mongo").inputs["healthcheck"]["tests"]
    assert "mongosh" in " ".join(ping)
    assert "ping" in " ".join(ping)


def test_pigmeus_containers_may_have_the_documented_names() -> None:
    """L33-97, and ``docker logs pigmeu-api`` (L630-641); PI-05: replicas have numbers."""
    config: dict[str, Json] = {"names": "documented", "replicas": {"pigmeu/worker": 2}}
    named = [
        item.inputs["name"]
        for item in containers(with_config("pigmeu", "development", "docker", **config))
    ]
    assert sorted(named) == [
        "pigmeu-api",
        "pigmeu-mongo",
        "pigmeu-redis",
        "pigmeu-worker",
        "pigmeu-worker-2",
    ]


def test_pigmeu_scales_by_configuration() -> None:
    """``--scale worker=4``, which the document's own names make impossible (PI-05)."""
    scaled = with_config("pigmeu", "development", "docker", replicas={"pigmeu/worker": 4})
    names = [item.inputs["name"] for item in containers(scaled, "worker")]
    assert names == [f"dev-pigmeu-worker{suffix}" for suffix in ("", "-2", "-3", "-4")]


@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_pigmeus_limits_and_replicas_on_kubernetes(target: str) -> None:
    recording = copilot("production", target)
    templates = pods(recording)
    assert {
        name: templates[name]["spec"]["containers"][0]["resources"]["limits"]
        for name in ("api", "worker", "redis", "mongo")
    } == {
        "api": {"cpu": "2000m", "memory": "2048Mi"},
        "worker": {"cpu": "2000m", "memory": "2048Mi"},
        "redis": {"cpu": "1000m", "memory": "1024Mi"},
        "mongo": {"cpu": "2000m", "memory": "4096Mi"},
    }
    replicas = {
        item["metadata"]["name"]: item["spec"]["replicas"]
        for kind in ("Deployment", "StatefulSet")
        for item in objects(recording, kind)
    }
    assert replicas == {"api": 1, "worker": 4, "nginx": 1, "redis": 1, "mongo": 3}


@ENVIRONMENTS
def test_pigmeus_health_check_has_the_documented_numbers(environment: str) -> None:
    assert one(copilot(environment), "api").inputs["healthcheck"] == {
        "tests": ["CMD-SHELL", "curl -f http://localhost:8000/health || exit 1"],
        "interval": "30s",
        "timeout": "10s",
        "startPeriod": "40s",
        "retries": 3,
    }
    # PI-15: Celery answers for itself, and no other worker for it; the document has no check.
    [_, ping] = one(copilot(environment), "worker").inputs["healthcheck"]["tests"]
    assert ping == (
        'celery -A src.workers.worker inspect ping --destination "celery@$HOSTNAME" --timeout 5'
    )
    # Each question starts a Python: busy machines took 10 to 20 seconds for it.
    assert one(copilot(environment), "worker").inputs["healthcheck"]["timeout"] == "30s"
    worker = pods(copilot(environment, "kubernetes"))["worker"]["spec"]["containers"][0]
    assert worker["livenessProbe"]["exec"]["command"] == [
        "/bin/sh",
        "-c",
        ping.replace("$", "$$"),
    ]
    assert not worker.get("ports")
    api = pods(copilot(environment, "kubernetes"))["api"]["spec"]["containers"][0]
    assert api["livenessProbe"] == {
        "httpGet": {"path": "/health", "port": 8000},
        "periodSeconds": 30,
        "timeoutSeconds": 10,
        "failureThreshold": 3,
    }


#: Service -> seconds, documented (PI-16) or ours (NF-18).
GRACES = {("pigmeu", "worker"): 30 * 60, ("nutrifitcoach", "worker"): 10 * 60}


@ENVIRONMENTS
@pytest.mark.parametrize(("system", "service"), GRACES)
def test_a_task_may_end_on_docker(system: str, service: str, environment: str) -> None:
    """PI-16: it may take 30 minutes; Docker would kill it after 10 seconds, and pulumi-docker
    gives up after 20 minutes."""
    grace = GRACES[system, service]
    recording = recorded(system, environment, "docker")
    for container in containers(recording, service):
        assert container.inputs["stopTimeout"] == grace
        assert container.inputs["destroyGraceSeconds"] == grace
        wanted = {"delete": f"{grace + 300}s"} if grace > 15 * 60 else {}
        assert container.resource.timeouts == wanted
    assert one(recording, "api").resource.timeouts == {}
    # A migration of much data takes its time, too.
    assert one(recording, "migrations").resource.timeouts == {"create": "3600s"}
    for name, rendered in compose(recording, "dev")["services"].items():
        if name.startswith(f"{system}-{service}") and not name.endswith("-files"):
            assert rendered["stop_grace_period"] == f"{grace}s", name


@ENVIRONMENTS
@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
@pytest.mark.parametrize(("system", "service"), GRACES)
def test_a_task_may_end_on_kubernetes(
    system: str, service: str, environment: str, target: str
) -> None:
    grace = GRACES[system, service]
    recording = recorded(system, environment, target)
    assert pods(recording)[service]["spec"]["terminationGracePeriodSeconds"] == grace
    timeouts = {
        item.name.rpartition("-")[2]: item.timeouts
        for item in recording.resources
        if item.type.endswith((":Deployment", ":Job"))
    }
    # A rollout begins without waiting for the old ones; who deletes them waits for their end.
    assert timeouts[service] == {"create": "300s", "update": "300s", "delete": f"{grace + 600}s"}
    assert timeouts["api"] == {"create": "300s", "update": "300s"}
    assert timeouts["migrations"] == {"create": "3600s", "update": "300s"}


@pytest.mark.parametrize(("environment", "kept"), [("development", "no"), ("production", "yes")])
def test_pigmeus_redis_keeps_its_data_in_production(environment: str, kept: str) -> None:
    container = one(copilot(environment), "redis")
    assert f"appendonly {kept}" in container.environment["REDIS_CONF"].splitlines()
    [mount] = [item for item in container.inputs["mounts"] if item["target"] == "/data"]
    assert mount["source"] == "dev-pigmeu-redis-data"
    assert container.inputs["image"] == "redis:7-alpine"


def test_pigmeus_mongo_is_rs0_in_production_only() -> None:
    """PI-02: and it is initiated, by a job that may run again."""
    alone, member = one(copilot("development"), "mongo"), one(copilot("production"), "mongo")
    assert "--replSet" not in alone.inputs.get("command", [])
    command = member.inputs["command"]
    assert command[command.index("--replSet") + 1] == "rs0"
    assert "--keyFile" in command
    for recording, hosts in (
        (copilot("production"), ["mongo:27017"]),
        (
            copilot("production", "kubernetes"),
            [f"mongo-{number}.mongo:27017" for number in range(3)],
        ),
    ):
        [setup] = [
            item
            for item in recording.resources
            if item.type.endswith((":Job", ":Container")) and item.name.endswith("mongo-setup")
        ]
        text = str(bare(setup.inputs))
        assert "replSetInitiate" in text
        for host in hosts:
            assert host in text
    for container in (alone, member):
        assert container.inputs["image"] == "mongo:7"
        targets = [mount["target"] for mount in container.inputs["mounts"]]
        assert "/data/db" in targets


def published(recording: Recording) -> dict[str, list[str]]:
    return {
        item.labels["tiers.service"]: [
            f"{port['ip']}:{port['external']}->{port['internal']}" for port in item.inputs["ports"]
        ]
        for item in containers(recording)
        if item.inputs["ports"]
    }


def test_pigmeus_ports() -> None:
    """PI-08, PI-09: in development on this machine only, in production the edge alone."""
    assert published(copilot("development")) == {
        "api": ["127.0.0.1:8000->8000"],
        "redis": ["127.0.0.1:6379->6379"],
        "mongo": ["127.0.0.1:27017->27017"],
    }
    assert published(copilot("production")) == {
        "nginx": ["127.0.0.1:80->8080", "127.0.0.1:443->8443"]
    }
    kinds = {
        item["metadata"]["name"]: item["spec"].get("type")
        for item in objects(copilot("production", "kubernetes"), "Service")
    }
    assert [name for name, kind in kinds.items() if kind == "LoadBalancer"] == ["nginx"]


def test_pigmeus_edge_is_the_documented_server() -> None:
    """PI-07: with the API's own host name, and the four documented headers."""
    config = text_of(copilot("production"), "pigmeu", "nginx", "/run/configs/nginx.conf")
    assert "server_name app.example.com;" in config
    assert re.search(r"listen 8443 ssl http2;|listen 8443 ssl;", config)
    for header in ("Host", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Proto"):
        assert f"proxy_set_header {header} " in config
    upstreams = text_of(copilot("production"), "pigmeu", "nginx", "/run/configs/upstreams")
    assert upstreams == "api api 8000\n"


LLM_KEYS = ["OPENAI_API_KEY", "GROQ_API_KEY", "MISTRAL_API_KEY", "WORDPRESS_PASSWORD"]


@ENVIRONMENTS
def test_pigmeus_keys_are_optional_secrets(environment: str) -> None:
    value = "abcd efgh ijkl mnop qrst uvwx"
    config: dict[str, Json] = {
        "secrets": Secret({f"pigmeu/{name}": value for name in LLM_KEYS}),
        "variables": {"pigmeu/WORDPRESS_URL": "https://blog.example.com"},
    }
    if environment == "production":
        config["tls"] = {"pigmeu": {"mode": "self_signed"}}
    recording = with_config("pigmeu", environment, "docker", **config)
    for service in ("api", "worker"):
        container = one(recording, service)
        assert set(LLM_KEYS) <= set(container.secrets_in_environment)
        assert container.environment["WORDPRESS_PASSWORD"] == value
        assert container.environment["WORDPRESS_URL"] == "https://blog.example.com"
        assert "WORDPRESS_USERNAME" not in container.environment
    # Without them it runs, too.
    assert not set(LLM_KEYS) & set(one(copilot(environment), "api").environment)


@pytest.mark.parametrize("target", ["docker", "kubernetes"])
def test_pigmeus_flower_is_optional_inside_and_behind_a_password(target: str) -> None:
    """PI-17."""
    without = copilot("development", target)
    assert not any("flower" in item.name for item in without.resources)
    recording = with_config("pigmeu", "development", target, profiles={"pigmeu": ["flower"]})
    made = "__secret.PIGMEU_APP_FLOWER_PASSWORD_SECRET__"
    if target == "docker":
        flower = one(recording, "flower")
        assert flower.inputs["ports"] == []
        assert flower.environment["FLOWER_BASIC_AUTH"] == f"admin:{made}"
        assert "FLOWER_BASIC_AUTH" in flower.secrets_in_environment
        assert "flower" in flower.inputs["command"]
        assert "--port=5555" in flower.inputs["command"]
        return
    [service] = [
        item for item in objects(recording, "Service") if item["metadata"]["name"] == "flower"
    ]
    assert service["spec"]["type"] == "ClusterIP"
    [secret] = [
        item for item in objects(recording, "Secret") if item["metadata"]["name"] == "flower"
    ]
    assert secret["stringData"]["FLOWER_BASIC_AUTH"] == f"admin:{made}"


def test_pigmeus_checkout_is_mounted_and_reloaded_in_development_only(tmp_path: Path) -> None:
    """Built from ``infra/Dockerfile``, which has what Chromium needs (PI-06)."""
    sources = {"pigmeu": str(tmp_path)}
    recording = with_config("pigmeu", "development", "docker", sources=sources)
    for service in ("api", "worker", "migrations"):
        [bind] = [
            mount for mount in one(recording, service).inputs["mounts"] if mount["type"] == "bind"
        ]
        assert bind["target"] == "/app"
        assert bind["source"] == str(tmp_path)
    builds = {
        item.name: bare(item.inputs)["build"]
        for item in recording.of_type("docker:index/remoteImage:RemoteImage")
        if item.inputs.get("build")
    }
    for service in ("api", "worker", "migrations"):
        build = builds[f"pigmeu-app-{service}-image"]
        assert (build["context"], build["dockerfile"]) == (str(tmp_path), "infra/Dockerfile")
    production = with_config(
        "pigmeu",
        "production",
        "docker",
        sources=sources,
        tls={"pigmeu": {"mode": "self_signed"}},
    )
    assert one(production, "api").inputs["mounts"] == []
