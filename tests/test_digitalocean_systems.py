"""NutriFitCoach and Pigmeu on the real DigitalOcean plugin, with an API double and a cluster."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from digitalocean import Double
from pulumi_tiers.cli.engine import Engine
from test_cluster_systems import (
    COACH,
    PIGMEU,
    SYSTEMS,
    Policies,
    check_networks_of_coach,
    check_networks_of_pigmeu,
    is_sound,
    number_of_pods,
)
from test_digitalocean_plugin import Project, made, only, put_behind

_MISSING = Engine.find(("digitalocean", "kubernetes", "random", "tls"))[1]
pytestmark = [
    pytest.mark.engine,
    pytest.mark.cluster,
    pytest.mark.skipif(bool(_MISSING), reason=_MISSING),
]

CERTIFICATE = "892071a0-bb95-49bc-8021-3afd67a210bf"
CONFIG: dict[str, Any] = {
    "tiers:environment": "production",
    "tiers:target": "digitalocean",
    "tiers:systems": list(SYSTEMS),
    "tiers:domains": {"nutrifitcoach": "coach.example.com", "pigmeu": "copilot.example.com"},
    # One whose TLS ends at the load balancer, one with nginx' own.
    "tiers:tls": {
        "nutrifitcoach": {"mode": "digitalocean", "certificate_id": CERTIFICATE},
        "pigmeu": {"mode": "self_signed"},
    },
    "tiers:digitalocean": {"vpc_range": "10.120.0.0/16"},
    "tiers:load_balancers": {"await": False},
    "tiers:protect": "never",
}
#: An address in the VPC, where the managed servers are.
INSIDE = "10.120.0.5"


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture
def backed(cluster: Cluster, double: Double) -> Iterator[Cluster]:
    put_behind(cluster, double)
    for namespace in (COACH, PIGMEU):
        cluster.remove_namespace(namespace)
    yield cluster
    for namespace in (COACH, PIGMEU):
        cluster.remove_namespace(namespace, wait=False)


@pytest.fixture
def project(tmp_path: Path, double: Double) -> Project:
    made = Project.whole(tmp_path, double)
    salt = yaml.safe_load((tmp_path / "Pulumi.prod.yaml").read_text())
    content = {**salt, "config": CONFIG}
    (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump(content))
    return made


def secret(cluster: Cluster, name: str, namespace: str) -> dict[str, str]:
    data = cluster.get_json("secret", name, "-n", namespace)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def environment(cluster: Cluster, app: str, namespace: str) -> dict[str, str]:
    """Of a pod's container, as far as it is no secret."""
    pods = cluster.get_json("pods", "-n", namespace, "-l", f"app={app}")["items"]
    variables = pods[0]["spec"]["containers"][0]["env"]
    return {item["name"]: item["value"] for item in variables if "value" in item}


def test_production(backed: Cluster, double: Double, project: Project) -> None:
    said = project.up()
    assert "PodSecurity" not in said
    assert made(double) == (1, 1, 1, 0)
    for namespace in (COACH, PIGMEU):
        is_sound(backed, namespace)
    rest = {"redis": 1, "minio": 1, "api": 3, "worker": 3, "nginx": 1}
    assert number_of_pods(backed, COACH) == rest
    pods = {"mongo": 3, "redis": 1, "api": 1, "worker": 4, "nginx": 1}
    assert number_of_pods(backed, PIGMEU) == pods
    the_database_is_reached(backed, double)
    check_networks_of_pigmeu(Policies.of(backed, PIGMEU))
    the_load_balancers_are_told(backed)
    price = prices(project)
    # Database, nodes, load balancers; Redis 1 GiB, MinIO 50 GiB; Redis and three of Mongo's.
    assert {name.partition(" ")[0] for name in price} == {
        "DatabaseCluster",
        "KubernetesCluster",
        "Service",
        "StatefulSet",
    }
    assert price["StatefulSet nutrifitcoach-data-minio"] == "5.00 USD: 1 volume, 50Gi"
    assert "3 volumes" in price["StatefulSet pigmeu-data-mongo"]
    balancers = [text for name, text in price.items() if name.startswith("Service ")]
    assert balancers == ["12.00 USD: load balancer"] * 2
    project.is_up_to_date()

    other_stores_are_managed_too(backed, double, project)
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert made(double) == (0, 0, 0, 0)
    assert not backed.has_namespace(COACH)
    assert not backed.has_namespace(PIGMEU)
    assert double.unknown == []


def prices(project: Project) -> dict[str, str]:
    found = json.loads(project.pulumi("stack", "output", "monthly_price", "--json"))
    assert found["complete"]
    resources: dict[str, str] = found["resources"]
    return resources


def the_database_is_reached(cluster: Cluster, double: Double) -> None:
    database = only(double.world.databases)
    assert (database["engine"], database["version"]) == ("pg", "16")
    (user,) = (item for item in database["users"] if item["name"] == "nutrifitcoach")
    host = database["private_connection"]["host"]
    url = (
        f"postgresql://nutrifitcoach:{user['password']}@{host}:25060/nutrifitcoach?sslmode=require"
    )
    assert secret(cluster, "migrations", COACH)["DATABASE_URL"] == url
    assert secret(cluster, "api-files", COACH)["DATABASE_URL"] == url
    assert secret(cluster, "worker-files", COACH)["DATABASE_URL"] == url
    setup = environment(cluster, "postgres-setup", COACH)
    assert (setup["PGHOST"], setup["PGPORT"], setup["PGSSLMODE"]) == (host, "25060", "require")
    policies = Policies.of(cluster, COACH)
    check_networks_of_coach(policies)
    # From the internal network too, but nothing else there.
    clients = {"api", "worker", "migrations", "postgres-setup"}
    assert clients <= policies.to_outside(INSIDE, 25060)
    assert not {"migrations", "postgres-setup"} & policies.to_outside(INSIDE, 22)


def the_load_balancers_are_told(cluster: Cluster) -> None:
    prefix = "service.beta.kubernetes.io/do-loadbalancer-"
    told: dict[str, dict[str, str]] = {}
    for namespace in (COACH, PIGMEU):
        service = cluster.get_json("service", "nginx", "-n", namespace)
        told[namespace] = {
            key.removeprefix(prefix): value
            for key, value in service["metadata"]["annotations"].items()
            if key.startswith(prefix)
        }
        ports = [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]]
        assert ports == [(80, 8080), (443, 8443)]
        # The PROXY protocol tells clients' addresses, whichever node takes the connection.
        assert service["spec"]["externalTrafficPolicy"] == "Cluster"
    assert told[PIGMEU] == {
        "name": "prod-pigmeu-nginx",
        "type": "REGIONAL",
        "enable-proxy-protocol": "true",
    }
    assert told[COACH] == {
        "name": "prod-nutrifitcoach-nginx",
        "type": "REGIONAL",
        "enable-proxy-protocol": "true",
        "protocol": "http",
        "tls-ports": "443",
        "certificate-id": CERTIFICATE,
    }
    listening = {
        namespace: {
            line.strip()
            for line in cluster.get_json("configmap", "nginx", "-n", namespace)["data"][
                "nginx.conf"
            ].splitlines()
            if line.strip().startswith("listen 844")
        }
        for namespace in (COACH, PIGMEU)
    }
    assert listening[COACH] == {
        "listen 8443 proxy_protocol default_server;",
        "listen 8443 proxy_protocol;",
    }
    assert all("ssl" in line and "proxy_protocol" in line for line in listening[PIGMEU])


def other_stores_are_managed_too(cluster: Cluster, double: Double, project: Project) -> None:
    """Valkey and MongoDB, instead of what ran in the cluster until now."""
    for store in ("nutrifitcoach/redis", "pigmeu/redis", "pigmeu/mongo"):
        project.pulumi("config", "set", "--path", f'tiers:managed["{store}"]["enabled"]', "true")
    project.up()
    for namespace in (COACH, PIGMEU):
        is_sound(cluster, namespace)
    assert number_of_pods(cluster, PIGMEU) == {"api": 1, "worker": 4, "nginx": 1}
    databases = {item["name"]: item for item in double.world.databases.values()}
    names = ("nutrifitcoach-postgres", "nutrifitcoach-redis", "pigmeu-redis", "pigmeu-mongo")
    assert set(databases) == {f"prod-{name}" for name in names}
    assert all(double.world.firewalls[item["id"]] for item in databases.values())
    host = databases["prod-nutrifitcoach-redis"]["private_connection"]["host"]
    url = secret(cluster, "worker-files", COACH)["REDIS_URL"]
    assert url.startswith("rediss://default:")
    assert url.endswith(f"@{host}:25061/0")
    inside = Policies.of(cluster, COACH).to_outside(INSIDE, 25061)
    assert {"api", "worker", "migrations"} <= inside
    host = databases["prod-pigmeu-mongo"]["private_connection"]["host"]
    url = secret(cluster, "api", PIGMEU)["MONGODB_URI"]
    assert url.startswith("mongodb+srv://pigmeu:")
    assert url.endswith(f"@{host}/pigmeu?authSource=admin&tls=true")
    assert len([name for name in prices(project) if name.startswith("DatabaseCluster ")]) == 4
    project.is_up_to_date(refresh=False)
