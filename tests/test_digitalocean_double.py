"""The double of DigitalOcean's API: what it gives, what it refuses, and its faults.

Where `DIGITALOCEAN_OPENAPI` names DigitalOcean's published description and `prism` is on PATH
(npm's `@stoplight/prism-cli`), every request and answer of the flows below also passes Prism.
"""

import base64
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import yaml
from digitalocean import Double, KubernetesServer, World

Json = dict[str, Any]
CLUSTER: Json = {
    "name": "prod",
    "region": "nyc1",
    "version": "latest",
    "node_pools": [{"name": "workers", "size": "s-2vcpu-4gb", "count": 2}],
}
DATABASE: Json = {
    "name": "prod-db",
    "engine": "pg",
    "version": "15",
    "num_nodes": 1,
    "size": "db-s-1vcpu-1gb",
    "region": "nyc1",
}
VPC: Json = {"name": "prod", "region": "nyc1"}
REGISTRY: Json = {"name": "prod", "subscription_tier_slug": "basic", "region": "nyc3"}


@dataclass
class Client:
    """Calls the API as a client with a token does."""

    url: str
    token: str

    def call(self, method: str, path: str, body: object = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=20)

    def get(self, path: str) -> Any:
        return self.done("GET", path)

    def done(self, method: str, path: str, body: object = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.text else None

    def refused(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        answer = self.call(method, path, body)
        assert set(answer.json()) == {"id", "message", "request_id"}
        return answer.status_code, answer.json()["message"]


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture
def api(double: Double) -> Client:
    return Client(double.url, double.token)


@pytest.fixture(scope="module")
def judged() -> Iterator[tuple[Double, str]]:
    """A double, and the URL at which Prism stands before it where it can."""
    description = os.environ.get("DIGITALOCEAN_OPENAPI")
    with Double() as running:
        if not (description and shutil.which("prism")):
            yield running, running.url
            return
        port = _free_port()
        prism = ["prism", "proxy", description, running.url, "--errors", "--port", str(port)]
        process = subprocess.Popen(prism, stdout=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        _wait_for(port)
        yield running, url
        process.terminate()
        process.wait()


@pytest.fixture
def flow(judged: tuple[Double, str]) -> Client:
    """A client of a fresh account, through Prism where it is."""
    running, url = judged
    running.reset()
    return Client(url, running.token)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, "Prism didn't start"
            time.sleep(0.2)


# --- what it gives --------------------------------------------------------------------------------


def test_the_lists_of_an_account(flow: Client) -> None:
    assert flow.get("/v2/account")["account"]["status"] == "active"
    assert "nyc1" in {region["slug"] for region in flow.get("/v2/regions?per_page=200")["regions"]}
    assert "s-2vcpu-4gb" in {size["slug"] for size in flow.get("/v2/sizes?per_page=200")["sizes"]}
    assert flow.get("/v2/images")["images"][0]["distribution"] == "Debian"
    options = flow.get("/v2/kubernetes/options")["options"]
    assert options["versions"][0]["slug"].endswith("-do.0")
    assert "15" in flow.get("/v2/databases/options")["options"]["pg"]["versions"]
    first = flow.get("/v2/sizes?per_page=5")
    assert len(first["sizes"]) == 5
    assert first["meta"]["total"] > 5
    assert "page=2" in first["links"]["pages"]["next"]


def test_the_life_of_a_vpc(flow: Client) -> None:
    made = flow.done("POST", "/v2/vpcs", VPC)["vpc"]
    path = f"/v2/vpcs/{made['id']}"
    assert (made["default"], made["urn"]) == (False, f"do:vpc:{made['id']}")
    renamed = flow.done("PUT", path, {"name": "prod2", "description": "two"})["vpc"]
    assert (renamed["name"], renamed["description"]) == ("prod2", "two")
    assert flow.done("PATCH", path, {"name": "prod3"})["vpc"]["description"] == "two"
    cluster = flow.done("POST", "/v2/kubernetes/clusters", {**CLUSTER, "vpc_uuid": made["id"]})
    members = flow.get(f"{path}/members")["members"]
    assert [member["urn"] for member in members] == [
        f"do:kubernetes:{cluster['kubernetes_cluster']['id']}"
    ]
    assert flow.call("DELETE", path).status_code == 409
    flow.done("DELETE", f"/v2/kubernetes/clusters/{cluster['kubernetes_cluster']['id']}")
    # The cluster is gone, but for a moment it still counts.
    assert flow.call("DELETE", path).status_code == 409
    flow.done("DELETE", path)
    assert flow.call("GET", path).status_code == 404


def test_the_first_vpc_of_a_region_becomes_its_default_one_and_stays(double: Double) -> None:
    double.reset(World(default_vpcs=False))
    api = Client(double.url, double.token)
    made = api.done("POST", "/v2/vpcs", VPC)["vpc"]
    assert made["default"]
    assert api.refused("DELETE", f"/v2/vpcs/{made['id']}") == (403, "Can not delete default VPCs")


def test_the_life_of_a_kubernetes_cluster(flow: Client) -> None:
    made = flow.done("POST", "/v2/kubernetes/clusters", CLUSTER)["kubernetes_cluster"]
    path = f"/v2/kubernetes/clusters/{made['id']}"
    assert made["status"]["state"] == "provisioning"
    assert made["version"].startswith("1.36.")
    assert made["tags"] == ["k8s", f"k8s:{made['id']}"]
    running = flow.get(path)["kubernetes_cluster"]
    assert running["status"]["state"] == "running"
    assert {node["status"]["state"] for node in running["node_pools"][0]["nodes"]} == {"running"}
    assert flow.get("/v2/kubernetes/clusters")["meta"]["total"] == 1

    update = {"name": "prod2", "tags": ["web"], "maintenance_policy": {"day": "sunday"}}
    updated = flow.done("PUT", path, update)["kubernetes_cluster"]
    assert (updated["name"], updated["tags"][-1]) == ("prod2", "web")
    assert updated["maintenance_policy"]["day"] == "sunday"

    credentials = flow.get(f"{path}/credentials?expiry_seconds=600")
    assert credentials["server"] == made["endpoint"]
    kubeconfig = flow.call("GET", f"{path}/kubeconfig?expiry_seconds=600")
    assert kubeconfig.headers["Content-Type"].startswith("application/yaml")
    config = yaml.safe_load(kubeconfig.text)
    assert config["current-context"] == "do-nyc1-prod2"
    assert config["users"][0]["user"]["token"]

    pool = {"name": "more", "size": "s-4vcpu-8gb", "count": 1, "labels": {"a": "b"}}
    added = flow.done("POST", f"{path}/node_pools", pool)["node_pool"]
    pool_path = f"{path}/node_pools/{added['id']}"
    scaled = flow.done("PUT", pool_path, {"name": "more", "count": 3})["node_pool"]
    assert len(scaled["nodes"]) == 3
    seen = flow.get(pool_path)["node_pool"]
    assert {node["status"]["state"] for node in seen["nodes"]} == {"running"}
    assert flow.get(f"{path}/node_pools")["meta"]["total"] == 2
    flow.done("DELETE", pool_path)

    assert flow.get(f"{path}/upgrades")["available_upgrade_versions"] is None
    assert flow.get(f"{path}/destroy_with_associated_resources")["load_balancers"] == []
    flow.done("DELETE", f"{path}/destroy_with_associated_resources/dangerous")
    assert flow.call("GET", path).status_code == 404


def test_a_cluster_is_upgraded_to_a_version_only(flow: Client) -> None:
    body = {**CLUSTER, "version": "1.34"}
    made = flow.done("POST", "/v2/kubernetes/clusters", body)["kubernetes_cluster"]
    path = f"/v2/kubernetes/clusters/{made['id']}"
    newer = flow.get(f"{path}/upgrades")["available_upgrade_versions"][-1]["slug"]
    refused = flow.call("POST", f"{path}/upgrade", {"version": "latest"})
    assert refused.json()["message"] == "validation error: invalid version slug"
    flow.done("POST", f"{path}/upgrade", {"version": newer})
    assert flow.get(path)["kubernetes_cluster"]["version"] == newer


def test_how_often_something_is_seen_unfinished_is_up_to_the_test(double: Double) -> None:
    double.reset(World(polls=3))
    api = Client(double.url, double.token)
    made = api.done("POST", "/v2/databases", DATABASE)["database"]
    seen = [api.get(f"/v2/databases/{made['id']}")["database"]["status"] for _ in range(3)]
    assert seen == ["creating", "creating", "online"]


def test_a_real_kubernetes_server_may_stand_behind_every_cluster(double: Double) -> None:
    server = KubernetesServer("https://127.0.0.1:6443", "-----BEGIN CERTIFICATE-----", "token")
    double.reset(World(kubernetes_server=server))
    api = Client(double.url, double.token)
    made = api.done("POST", "/v2/kubernetes/clusters", CLUSTER)["kubernetes_cluster"]
    assert made["endpoint"] == server.url
    credentials = api.get(f"/v2/kubernetes/clusters/{made['id']}/credentials")
    assert credentials["token"] == "token"
    authority = base64.b64decode(credentials["certificate_authority_data"]).decode()
    assert authority == server.certificate_authority


def test_the_life_of_a_database(flow: Client) -> None:
    made = flow.done("POST", "/v2/databases", {**DATABASE, "tags": ["web"]})["database"]
    path = f"/v2/databases/{made['id']}"
    assert made["status"] == "creating"
    assert (made["db_names"], made["users"][0]["name"]) == (["defaultdb"], "doadmin")
    private = made["private_connection"]
    assert private["host"].startswith("private-prod-db-do-user-")
    assert (private["port"], private["ssl"]) == (25060, True)
    assert private["uri"].endswith(":25060/defaultdb?sslmode=require")
    assert flow.get(path)["database"]["status"] == "online"
    assert len(flow.get("/v2/databases")["databases"]) == 1
    assert flow.get("/v2/databases?tag_name=other")["databases"] == []

    flow.done("PUT", f"{path}/resize", {"size": "db-s-2vcpu-4gb", "num_nodes": 2})
    assert flow.get(path)["database"]["num_nodes"] == 2
    flow.done("PUT", f"{path}/maintenance", {"day": "sunday", "hour": "02:00"})
    assert flow.get(path)["database"]["maintenance_window"]["hour"] == "02:00:00"
    flow.done("PUT", f"{path}/upgrade", {"version": "16"})
    flow.done("PUT", f"{path}/migrate", {"region": "nyc3"})
    moved = flow.get(path)["database"]
    assert (moved["version"], moved["region"]) == ("16", "nyc3")
    assert flow.get(f"{path}/ca")["ca"]["certificate"]

    user = flow.done("POST", f"{path}/users", {"name": "app"})["user"]
    assert user["role"] == "normal"
    assert len(user["password"]) > 20
    assert flow.get(f"{path}/users/app")["user"] == user
    settings = {"settings": {"pg_allow_replication": True}}
    assert flow.done("PUT", f"{path}/users/app", settings)["user"]["settings"]
    again = flow.done("POST", f"{path}/users/app/reset_auth", {})["user"]
    assert again["password"] != user["password"]
    assert [u["name"] for u in flow.get(f"{path}/users")["users"]] == ["doadmin", "app"]
    flow.done("DELETE", f"{path}/users/app")

    flow.done("POST", f"{path}/dbs", {"name": "app"})
    assert flow.get(f"{path}/dbs/app")["db"] == {"name": "app"}
    assert flow.get(f"{path}/dbs")["dbs"] == [{"name": "defaultdb"}, {"name": "app"}]
    flow.done("DELETE", f"{path}/dbs/app")
    flow.done("DELETE", path)
    assert flow.call("GET", path).status_code == 404


def test_trusted_sources_stay_the_same_ones(flow: Client) -> None:
    cluster = flow.done("POST", "/v2/kubernetes/clusters", CLUSTER)["kubernetes_cluster"]["id"]
    made = flow.done("POST", "/v2/databases", DATABASE)["database"]
    path = f"/v2/databases/{made['id']}/firewall"
    first = {"type": "k8s", "value": cluster}
    flow.done("PUT", path, {"rules": [first]})
    known = flow.get(path)["rules"]
    flow.done("PUT", path, {"rules": [first, {"type": "ip_addr", "value": "203.0.113.0/24"}]})
    assert flow.get(path)["rules"][0] == known[0]
    assert len(flow.get(path)["rules"]) == 2


def test_the_life_of_a_registry(flow: Client) -> None:
    flow.done("POST", "/v2/registry", REGISTRY)
    assert flow.get("/v2/registries/prod")["registry"]["region"] == "nyc3"
    assert flow.get("/v2/registry")["registry"]["subscription"]["tier"]["slug"] == "basic"
    assert flow.get("/v2/registries")["registries"][0]["name"] == "prod"
    flow.done("POST", "/v2/registries/subscription", {"tier_slug": "professional"})
    assert flow.get("/v2/registries/subscription")["subscription"]["tier"]["slug"] == "professional"
    found = flow.get("/v2/registries/prod/docker-credentials?read_write=false&expiry_seconds=60")
    assert found["auths"]["registry.digitalocean.com"]["auth"]
    cluster = flow.done("POST", "/v2/kubernetes/clusters", CLUSTER)["kubernetes_cluster"]["id"]
    for method, enabled in (("POST", True), ("DELETE", False)):
        flow.done(method, "/v2/kubernetes/registry", {"cluster_uuids": [cluster]})
        seen = flow.get(f"/v2/kubernetes/clusters/{cluster}")["kubernetes_cluster"]
        assert seen["registry_enabled"] is enabled
    flow.done("POST", "/v2/registries", {"name": "second"})
    flow.done("DELETE", "/v2/registries/second")
    flow.done("DELETE", "/v2/registry")
    assert flow.call("GET", "/v2/registries/prod").status_code == 404


def test_projects_and_tags(flow: Client) -> None:
    default = flow.get("/v2/projects/default")["project"]
    made = flow.done("POST", "/v2/projects", {"name": "web", "purpose": "Website"})["project"]
    assert flow.get("/v2/projects")["meta"]["total"] == 2
    database = flow.done("POST", "/v2/databases", DATABASE)["database"]
    assert database["project_id"] == default["id"]
    urn = f"do:dbaas:{database['id']}"
    path = f"/v2/projects/{made['id']}"
    assigned = flow.done("POST", f"{path}/resources", {"resources": [urn]})["resources"]
    assert assigned[0]["status"] == "assigned"
    assert [r["urn"] for r in flow.get(f"{path}/resources")["resources"]] == [urn]
    changed = flow.done("PATCH", path, {"environment": "Production"})["project"]
    assert changed["environment"] == "Production"

    flow.done("POST", "/v2/tags", {"name": "web"})
    assert flow.get("/v2/tags/web")["tag"]["name"] == "web"
    assert flow.get("/v2/tags")["meta"]["total"] == 1
    flow.done("DELETE", "/v2/tags/web")


def test_a_database_is_tagged_as_the_provider_does_it(api: Client) -> None:
    made = api.done("POST", "/v2/databases", DATABASE)["database"]["id"]
    api.done("POST", "/v2/tags", {"name": "web"})
    resources = {"resources": [{"resource_id": made, "resource_type": "database"}]}
    api.done("POST", "/v2/tags/web/resources", resources)
    assert api.get(f"/v2/databases/{made}")["database"]["tags"] == ["web"]
    api.done("DELETE", "/v2/tags/web/resources", resources)
    assert api.get(f"/v2/databases/{made}")["database"]["tags"] == []


def test_certificates_and_load_balancers(flow: Client) -> None:
    body: Json = {"name": "web", "type": "lets_encrypt", "dns_names": ["www.example.com"]}
    certificate = flow.done("POST", "/v2/certificates", body)["certificate"]
    assert certificate["state"] == "pending"
    path = f"/v2/certificates/{certificate['id']}"
    assert flow.get(path)["certificate"]["state"] == "verified"
    assert flow.get("/v2/certificates")["meta"]["total"] == 1

    rule = {
        "entry_protocol": "https",
        "entry_port": 443,
        "target_protocol": "http",
        "target_port": 80,
        "certificate_id": certificate["id"],
    }
    body = {"name": "web", "region": "nyc1", "forwarding_rules": [rule], "tag": "web"}
    balancer = flow.done("POST", "/v2/load_balancers", body)["load_balancer"]
    assert balancer["status"] == "new"
    balancer_path = f"/v2/load_balancers/{balancer['id']}"
    assert flow.get(balancer_path)["load_balancer"]["status"] == "active"
    flow.done("PUT", balancer_path, {**body, "size_unit": 2})
    assert flow.get("/v2/load_balancers")["load_balancers"][0]["size_unit"] == 2
    flow.done("DELETE", balancer_path)
    flow.done("DELETE", path)


# --- what it refuses ------------------------------------------------------------------------------


def _with_pool(**changes: Any) -> Json:
    return {**CLUSTER, "node_pools": [{**CLUSTER["node_pools"][0], **changes}]}


def _without(body: Json, key: str) -> Json:
    return {k: v for k, v in body.items() if k != key}


CLUSTERS, DATABASES = "/v2/kubernetes/clusters", "/v2/databases"


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/v2/vpcs", _without(VPC, "name"), "name is required"),
        ("/v2/vpcs", _without(VPC, "region"), "region is required"),
        ("/v2/vpcs", [], "name is required"),
        ("/v2/vpcs", {**VPC, "name": "under_score"}, "name 'under_score' does not match"),
        ("/v2/vpcs", {**VPC, "name": ["prod"]}, "name ['prod'] is not of type 'string'"),
        ("/v2/vpcs", {**VPC, "region": "mars1"}, "region 'mars1' is not one of"),
        ("/v2/vpcs", {**VPC, "description": "x" * 256}, "is too long"),
        ("/v2/vpcs", {**VPC, "ip_range": "10.0.0.1"}, "ip_range '10.0.0.1' is not a 'cidr'"),
        ("/v2/vpcs", {**VPC, "ip_range": "8.8.0.0/20"}, "ip_range must be private"),
        ("/v2/vpcs", {**VPC, "ip_range": "10.0.0.0/8"}, "not larger than /16"),
        ("/v2/vpcs", {**VPC, "ip_range": "10.100.0.0/20"}, "overlaps with another VPC network"),
        (CLUSTERS, _without(CLUSTER, "version"), "version is required"),
        (CLUSTERS, {**CLUSTER, "version": "1.2.3-do.0"}, "invalid version slug"),
        (CLUSTERS, {**CLUSTER, "name": "Prod"}, "name 'Prod' does not match"),
        (CLUSTERS, {**CLUSTER, "node_pools": []}, "node_pools [] should be non-empty"),
        (CLUSTERS, {**CLUSTER, "tags": ["a b"]}, "tags[0] 'a b' does not match"),
        (CLUSTERS, {**CLUSTER, "ha": "yes"}, "ha 'yes' is not of type 'boolean'"),
        (CLUSTERS, {**CLUSTER, "vpc_uuid": "prod"}, "vpc_uuid 'prod' is not a 'uuid'"),
        (
            CLUSTERS,
            {**CLUSTER, "vpc_uuid": "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30"},
            "vpc_uuid must be a VPC of the cluster's region",
        ),
        (
            CLUSTERS,
            {**CLUSTER, "maintenance_policy": {"day": "someday"}},
            "maintenance_policy.day 'someday' is not one of",
        ),
        (CLUSTERS, _with_pool(size="s-1vcpu-1gb"), "specs[0].invalid droplet size"),
        (CLUSTERS, _with_pool(count="two"), "node_pools[0].count 'two' is not of type 'integer'"),
        (CLUSTERS, _with_pool(count=0), "count must be at least 1"),
        # Something must be there for the cluster's own pods.
        (CLUSTERS, _with_pool(auto_scale=True), "min nodes must be greater than or equal to 1"),
        (
            CLUSTERS,
            _with_pool(auto_scale=True, min_nodes=1, max_nodes=1),
            "count must be between min and max nodes",
        ),
        (
            CLUSTERS,
            _with_pool(taints=[{"key": "a", "effect": "Never"}]),
            "node_pools[0].taints[0].effect 'Never' is not one of",
        ),
        (DATABASES, _without(DATABASE, "num_nodes"), "num_nodes is required"),
        (DATABASES, {**DATABASE, "name": "prod_db"}, "name 'prod_db' does not match"),
        (DATABASES, {**DATABASE, "name": "db"}, "name 'db' is too short"),
        (DATABASES, {**DATABASE, "engine": "postgres"}, "engine 'postgres' is not one of"),
        (DATABASES, {**DATABASE, "version": "9"}, "invalid cluster engine version"),
        (DATABASES, {**DATABASE, "size": "s-1vcpu-1gb"}, "size 's-1vcpu-1gb' is not one of"),
        (DATABASES, {**DATABASE, "num_nodes": 4}, "num_nodes 4 is greater than the maximum of 3"),
        (DATABASES, {**DATABASE, "num_nodes": 2}, "num_nodes must be 1 for the size"),
        (
            DATABASES,
            {**DATABASE, "rules": [{"type": "cidr", "value": "1.2.3.4"}]},
            "rules[0].type 'cidr' is not one of",
        ),
        (
            DATABASES,
            {**DATABASE, "rules": [{"type": "ip_addr", "value": "::1"}]},
            "rules: ::1 is no IPv4 address",
        ),
        (
            DATABASES,
            {**DATABASE, "rules": [{"type": "k8s", "value": "prod"}]},
            "there is no Kubernetes cluster prod",
        ),
        ("/v2/registry", {**REGISTRY, "name": "Prod"}, "name 'Prod' does not match"),
        ("/v2/registry", {**REGISTRY, "name": "p" * 64}, "is too long"),
        ("/v2/registry", {**REGISTRY, "region": "nyc1"}, "region 'nyc1' is not one of"),
        (
            "/v2/registry",
            {**REGISTRY, "subscription_tier_slug": "free"},
            "subscription_tier_slug 'free' is not one of",
        ),
        ("/v2/registries", {"name": "prod"}, "subscription_tier_slug is required"),
        ("/v2/projects", {"name": "web"}, "purpose is required"),
        ("/v2/tags", {"name": "a b"}, "name 'a b' does not match"),
        ("/v2/certificates", {"name": "web", "type": "custom"}, "private_key is required"),
        ("/v2/load_balancers", {"name": "web"}, "forwarding_rules is required"),
    ],
)
def test_a_wrong_body_is_refused(
    double: Double, api: Client, path: str, body: object, says: str
) -> None:
    status, message = api.refused("POST", path, body)
    assert status == 422
    assert says in message
    world = double.world
    assert not [*world.clusters, *world.databases, *world.registries, *world.own_vpcs()]


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/v2/vpcs", VPC, 422, "a VPC with the same name already exists"),
        (CLUSTERS, CLUSTER, 422, "a cluster with this name already exists"),
        (DATABASES, DATABASE, 422, "cluster name is not available"),
        ("/v2/registry", REGISTRY, 409, "name already exists"),
        ("/v2/registry", {**REGISTRY, "name": "other"}, 422, "user already has a registry"),
    ],
)
def test_a_second_one_of_the_same_name_is_refused(
    api: Client, path: str, body: Json, status: int, says: str
) -> None:
    api.done("POST", path, REGISTRY if path == "/v2/registry" else body)
    assert api.refused("POST", path, body) == (status, says)


def test_what_is_in_a_database_has_one_name_each(api: Client) -> None:
    path = f"/v2/databases/{api.done('POST', '/v2/databases', DATABASE)['database']['id']}"
    for kind in ("users", "dbs"):
        api.done("POST", f"{path}/{kind}", {"name": "app"})
        assert api.refused("POST", f"{path}/{kind}", {"name": "app"})[0] == 422
        assert api.refused("POST", f"{path}/{kind}", {"name": "a b"})[0] == 422
    assert api.refused("POST", f"{path}/users", {"name": "doadmin"})[0] == 422
    assert api.refused("DELETE", f"{path}/users/doadmin")[0] == 422
    assert api.refused("PUT", f"{path}/firewall", {})[1] == "rules is required"
    resize = {"size": "db-s-1vcpu-1gb", "num_nodes": 2}
    assert api.refused("PUT", f"{path}/resize", resize)[0] == 422
    assert api.refused("PUT", f"{path}/upgrade", {"version": "15"})[0] == 422


def test_unknown_things_and_unknown_paths_are_not_found(double: Double, api: Client) -> None:
    nowhere = "9cc10173-e9ea-4176-9dbc-a4cee4c4ff30"
    for path in ("vpcs", "kubernetes/clusters", "databases", "registries", "certificates"):
        assert api.refused("GET", f"/v2/{path}/{nowhere}")[0] == 404
    assert double.unknown == []
    assert api.refused("GET", "/v2/droplets")[0] == 404
    assert api.refused("POST", "/v2/account", {})[0] == 404
    assert [entry.path for entry in double.unknown] == ["/v2/droplets", "/v2/account"]


# --- faults ---------------------------------------------------------------------------------------


def test_a_wrong_token_is_refused(double: Double) -> None:
    answer = Client(double.url, "wrong").call("GET", "/v2/account")
    assert answer.status_code == 401
    assert answer.json()["id"] == "Unauthorized"
    assert answer.json()["message"] == "Unable to authenticate you"


def test_the_next_matching_requests_are_refused(double: Double, api: Client) -> None:
    double.refuse("POST", "/v2/vpcs", message="name is ugly")
    api.get("/v2/vpcs")
    assert api.refused("POST", "/v2/vpcs", VPC) == (422, "name is ugly")
    api.done("POST", "/v2/vpcs", VPC)


def test_too_many_requests_say_when_to_come_back(double: Double, api: Client) -> None:
    double.limit(times=2, retry_after=3)
    for _ in range(2):
        answer = api.call("GET", "/v2/account")
        assert answer.status_code == 429
        assert answer.json()["id"] == "too_many_requests"
        assert answer.headers["Retry-After"] == "3"
        assert answer.headers["ratelimit-remaining"] == "0"
    api.get("/v2/account")


@pytest.mark.parametrize("after", [False, True])
def test_a_server_error_comes_before_or_after_the_action(
    double: Double, api: Client, after: bool
) -> None:
    double.fail("POST", "/v2/vpcs", after=after)
    assert api.refused("POST", "/v2/vpcs", VPC)[0] == 500
    assert len(double.world.own_vpcs()) == after


@pytest.mark.parametrize("after", [False, True])
def test_an_answer_is_lost_before_or_after_the_action(
    double: Double, api: Client, after: bool
) -> None:
    hang = double.hang("POST", "/v2/databases", after=after)
    failures: list[Exception] = []

    def create() -> None:
        try:
            api.call("POST", "/v2/databases", DATABASE)
        except requests.ConnectionError as error:
            failures.append(error)

    thread = threading.Thread(target=create)
    thread.start()
    assert hang.reached.wait(10)
    # Everybody else is served meanwhile.
    assert len(api.get("/v2/databases")["databases"]) == after
    hang.released.set()
    thread.join(10)
    assert len(failures) == 1
    assert [entry.status for entry in double.calls("POST", "/v2/databases")] == [0]


def test_a_hang_ends_by_itself(double: Double, api: Client) -> None:
    double.hang("GET", "/v2/account", after=False, seconds=0.1)
    with pytest.raises(requests.ConnectionError):
        api.get("/v2/account")
    api.get("/v2/account")
