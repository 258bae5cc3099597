"""All systems on the real DigitalOcean plugin, with an API double and a cluster."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from digitalocean import Double
from pulumi_tiers.cli.engine import Engine
from test_cluster import documented
from test_cluster_systems import (
    COACH,
    PIGMEU,
    SYSTEMS,
    Policies,
    check_networks_of_coach,
    check_networks_of_pigmeu,
    check_networks_of_watchers,
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
    made.configure(CONFIG)
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


LEARNS, WATCHED = "ocolecionador-production", "vision-production"


@pytest.mark.load
def test_what_learns_and_is_watched(cluster: Cluster, double: Double, project: Project) -> None:
    """OColecionador and Vision in production."""
    put_behind(cluster, double)
    described = {
        **CONFIG,
        "tiers:systems": ["ocolecionador", "vision"],
        "tiers:domains": {"ocolecionador": "oc.example.com", "vision": "vision.example.com"},
        "tiers:tls": {
            "ocolecionador": {"mode": "digitalocean", "certificate_id": CERTIFICATE},
            "vision": {"mode": "self_signed"},
        },
    }
    project.configure(described)
    places = (LEARNS, WATCHED, f"{WATCHED}-collectors")
    with ExitStack() as entered:
        entered.enter_context(cluster.gpus())
        for name in places:
            entered.enter_context(documented(cluster, name))
        project.up()
        for name in places:
            is_sound(cluster, name)
        assert not cluster.has_namespace(f"{LEARNS}-collectors")
        there_are_gpus_that_can_be_none(double, project)
        each_has_its_database(cluster, double)
        an_exporter_asks_the_managed_server(cluster, double)
        check_networks_of_watchers(Policies.of(cluster, WATCHED))
        project.is_up_to_date()

        # Nothing computes any more: the nodes go.
        only_tools = {"ocolecionador": ["metabase", "glitchtip"]}
        project.configure({**described, "tiers:profiles": only_tools})
        project.up()
        assert [pool["name"] for pool in only(double.world.clusters)["node_pools"]] == ["default"]
        assert not {"ocolecionadorclassifier"} & set(number_of_pods(cluster, LEARNS))

        project.pulumi("destroy", "--yes", "--skip-preview")
        assert made(double) == (0, 0, 0, 0)
        assert not [name for name in places if cluster.has_namespace(name)]
        assert double.unknown == []


def there_are_gpus_that_can_be_none(double: Double, project: Project) -> None:
    """Because of the profile that production has by itself, for the one that computes in it."""
    pools = {pool["name"]: pool for pool in only(double.world.clusters)["node_pools"]}
    assert set(pools) == {"default", "gpu"}
    gpu = pools["gpu"]
    assert (gpu["size"], gpu["auto_scale"]) == ("gpu-4000adax1-20gb", True)
    assert (gpu["min_nodes"], gpu["max_nodes"]) == (0, 1)
    price = prices(project)
    [text] = [it for name, it in price.items() if name.startswith("KubernetesNodePool ")]
    assert "0 to 1 nodes gpu-4000adax1-20gb" in text


def each_has_its_database(cluster: Cluster, double: Double) -> None:
    """OC-11."""
    found = {item["name"]: item for item in double.world.databases.values()}
    assert set(found) == {"prod-ocolecionador-postgres", "prod-vision-postgres"}
    database = found["prod-ocolecionador-postgres"]
    assert (database["engine"], database["version"]) == ("pg", "15")
    owners = {
        "OColecionadorAugmentationsDB": "augmentations",
        "glitchtip": "glitchtip",
        "metabase": "metabase",
    }
    assert set(owners) <= set(database["db_names"])
    users = {item["name"]: item["password"] for item in database["users"]}
    assert set(users) == {"doadmin", *owners.values()}
    host = database["private_connection"]["host"]
    for owner, name, service, key in (
        (
            "augmentations",
            "OColecionadorAugmentationsDB",
            "ocolecionadoraugmentations",
            "DATABASE_URL",
        ),
        (
            "augmentations",
            "OColecionadorAugmentationsDB",
            "ocolecionadorclassifier",
            "DATABASE_URL",
        ),
        ("glitchtip", "glitchtip", "glitchtip", "DATABASE_URL"),
    ):
        url = f"{owner}:{users[owner]}@{host}:25060/{name}?sslmode=require"
        assert secret(cluster, service, LEARNS)[key].endswith(f"://{url}")
    inside = Policies.of(cluster, LEARNS).to_outside(INSIDE, 25060)
    assert {"ocolecionadoraugmentations", "glitchtip", "metabase", "postgres-setup"} <= inside


def an_exporter_asks_the_managed_server(cluster: Cluster, double: Double) -> None:
    """VI-01, by TLS, as who reads numbers alone, with the password in a file."""
    [database] = [
        item for item in double.world.databases.values() if item["name"] == "prod-vision-postgres"
    ]
    [user] = [item for item in database["users"] if item["name"] == "monitoring"]
    told = environment(cluster, "postgres-exporter", WATCHED)
    host = database["private_connection"]["host"]
    assert told["DATA_SOURCE_URI"] == f"{host}:25060/vision_prod_db?sslmode=require"
    assert told["DATA_SOURCE_USER"] == "monitoring"
    made = environment(cluster, "postgres-setup", WATCHED)["SETUP_SQL"]
    assert "GRANT pg_monitor TO monitoring;" in made
    assert secret(cluster, "postgres-exporter-files", WATCHED) == {"password": user["password"]}
    assert "postgres-exporter" in Policies.of(cluster, WATCHED).to_outside(INSIDE, 25060)
    # Each machine has one, the one with GPUs too.
    pods = cluster.get_json("pods", "-n", f"{WATCHED}-collectors", "-l", "app=node-exporter")[
        "items"
    ]
    assert "gpu-0" in {pod["spec"]["nodeName"] for pod in pods}


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
    assert url.endswith(f"@{host}:25061/0?ssl_cert_reqs=required")
    inside = Policies.of(cluster, COACH).to_outside(INSIDE, 25061)
    assert {"api", "worker", "migrations"} <= inside
    host = databases["prod-pigmeu-mongo"]["private_connection"]["host"]
    url = secret(cluster, "api", PIGMEU)["MONGODB_URI"]
    assert url.startswith("mongodb+srv://pigmeu:")
    assert url.endswith(f"@{host}/pigmeu?authSource=admin&tls=true")
    assert len([name for name in prices(project) if name.startswith("DatabaseCluster ")]) == 4
    project.is_up_to_date(refresh=False)
