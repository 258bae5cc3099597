"""The components on the real DigitalOcean plugin, against the double of its API."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from digitalocean import Double, KubernetesServer
from pulumi_tiers.cli.engine import Engine
from sandbox import ROOT
from test_digitalocean_double import CLUSTER, VPC, Client

_MISSING = Engine.find(("digitalocean", "kubernetes"))[1]
pytestmark = [pytest.mark.engine, pytest.mark.skipif(bool(_MISSING), reason=_MISSING)]

# Without a Site: it would make a namespace, and no Kubernetes stands behind this cluster.
PROGRAM = """
import json
from pathlib import Path

from pulumi_tiers import Cluster, DataTier, Target

args = json.loads(Path("args.json").read_text())
cluster = Cluster("cloud", args["cluster"])
site = {
    "target": Target.DIGITALOCEAN,
    "name": "prod-shop",
    "labels": {"tiers.stack": "prod", "tiers.system": "shop", **args["labels"]},
    "namespace": "shop",
    "cluster": cluster.ref,
}
store = {"engine": "postgres", "image": "postgres:15", "managed": args["managed"]}
DataTier("shop-data", {"site": site, "stores": {"postgres": store, **args["stores"]}})
"""
CLUSTERS, DATABASES, VPCS = "/v2/kubernetes/clusters", "/v2/databases", "/v2/vpcs"


@dataclass
class Project:
    """A folder with a program, whose engine speaks to the double."""

    root: Path
    double: Double

    @classmethod
    def lone(cls, root: Path, double: Double) -> "Project":
        """A program of two components."""
        made = cls(root, double)
        options = {"toolchain": "pip", "virtualenv": sys.prefix}
        runtime = {"name": "python", "options": options}
        (root / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "lone", "runtime": runtime}))
        (root / "__main__.py").write_text(PROGRAM)
        made.describe()
        made.pulumi("stack", "init", "prod")
        return made

    @classmethod
    def whole(cls, root: Path, double: Double) -> "Project":
        """This repository's program and its tracked stack."""
        made = cls(root, double)
        for name in ("Pulumi.yaml", "__main__.py", "Pulumi.prod.yaml"):
            shutil.copy(ROOT / name, root / name)
        (root / ".venv").symlink_to(sys.prefix)
        made.pulumi("stack", "init", "prod")
        return made

    def describe(self, **changes: Any) -> None:
        """What the lone components are given."""
        usual: dict[str, Any] = {"managed": {}, "labels": {}, "stores": {}}
        args = {"cluster": {"registry": "prod-shop"}, **usual}
        (self.root / "args.json").write_text(json.dumps({**args, **changes}))

    def configure(self, config: dict[str, Any]) -> None:
        """Instead of the tracked stack's configuration."""
        path = self.root / "Pulumi.prod.yaml"
        salt = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**salt, "config": config}))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            **self.double.environment,
            # Where `tiers credential` is.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PULUMI_BACKEND_URL": f"file://{self.root}",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }

    def start(self, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.root,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def pulumi(self, *arguments: str, fails: bool = False, **environment: str) -> str:
        """Runs the CLI. Returns all that it says."""
        process = self.start(*arguments, **environment)
        try:
            said = process.communicate(timeout=200)[0]
        except subprocess.TimeoutExpired:
            pytest.fail(f"{arguments}: no end; {kill(process)}")
        assert (process.returncode != 0) is fails, said
        return said

    def up(self, *, fails: bool = False, **environment: str) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", fails=fails, **environment)

    def is_up_to_date(self, *, refresh: bool = True) -> None:
        """Neither the state nor, with `refresh`, the account differs from the program."""
        self.pulumi("preview", "--expect-no-changes", f"--refresh={str(refresh).lower()}")

    def adopt(self, kind: str, name: str, parent: str, identifier: str) -> None:
        """Takes what is there into the state: the only way out that the engine has."""
        exported = json.loads(self.pulumi("stack", "export"))["deployment"]["resources"]
        urn = next(r["urn"] for r in exported if r["urn"].endswith(f"::{parent}"))
        member = f"{kind[0].lower()}{kind[1:]}"
        self.pulumi(
            *("import", f"digitalocean:index/{member}:{kind}", name, identifier),
            *("--parent", f"parent={urn}", "--protect=false", "--generate-code=false", "--yes"),
        )


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, double: Double) -> Project:
    return Project.lone(tmp_path, double)


def kill(process: "subprocess.Popen[str]") -> str:
    """Ends a run with its plugins, which are in groups of their own. Returns what it has said."""
    subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=True)
    return process.communicate()[0]


def made(double: Double) -> tuple[int, int, int, int]:
    """How many VPCs, clusters, databases and registries there are."""
    world = double.world
    return len(world.own_vpcs()), len(world.clusters), len(world.databases), len(world.registries)


def only(things: dict[str, Any]) -> Any:
    (found,) = things.values()
    return found


def test_a_life(project: Project, double: Double) -> None:
    # Credentials in the state die; nothing may depend on them.
    double.world.credential_seconds = 1
    project.up()
    assert made(double) == (1, 1, 1, 1)
    cluster, database = only(double.world.clusters), only(double.world.databases)
    assert cluster["vpc_uuid"] == database["private_network_uuid"]
    assert cluster["registry_enabled"]
    assert cluster["version"] == double.world.kubernetes_versions[0]
    assert (database["engine"], database["version"]) == ("pg", "15")
    (rule,) = only(double.world.firewalls)
    assert (rule["type"], rule["value"]) == ("k8s", cluster["id"])
    project.is_up_to_date(refresh=False)
    project.is_up_to_date()

    # DigitalOcean upgrades the cluster itself.
    double.world.kubernetes_versions.insert(0, "1.37.0-do.0")
    cluster["version"] = "1.37.0-do.0"
    project.is_up_to_date()

    double.log.clear()
    project.describe(
        cluster={"registry": "prod-shop", "nodes": 3},
        managed={"size": "db-s-2vcpu-4gb", "nodes": 2},
        labels={"tiers.owner": "somebody"},
    )
    project.up()
    changed = {entry.path.rpartition("/")[2] for entry in double.calls("PUT|POST|DELETE", ".*")}
    pool = cluster["node_pools"][0]
    assert changed == {"resize", pool["id"], "tags", "resources"}
    assert pool["count"] == 3
    assert (database["size"], database["num_nodes"]) == ("db-s-2vcpu-4gb", 2)
    assert "tiers-owner:somebody" in database["tags"]
    project.is_up_to_date()

    project.pulumi("destroy", "--yes")
    assert made(double) == (0, 0, 0, 0)
    assert double.unknown == []


def test_the_other_managed_stores(project: Project, double: Double) -> None:
    managed = {"enabled": True}
    own = {"name": "app", "owner": "writer"}
    redis = {"engine": "redis", "settings": {"maxmemory-policy": "allkeys-lru"}}
    mongo = {"engine": "mongo", "databases": [own], "replica_set": "rs0", "replicas": 3}
    stores = {"redis": {**redis, "managed": managed}, "mongo": {**mongo, "managed": managed}}
    project.describe(stores=stores)
    project.up()
    databases = {item["engine"]: item for item in double.world.databases.values()}
    assert set(databases) == {"pg", "valkey", "mongodb"}
    valkey, mongodb = databases["valkey"], databases["mongodb"]
    assert (valkey["version"], mongodb["version"]) == ("8", "7.0")
    config = double.world.database_configs[valkey["id"]]
    assert config == {"valkey_maxmemory_policy": "allkeys-lru", "valkey_persistence": "rdb"}
    assert [user["name"] for user in mongodb["users"]] == ["doadmin", "writer"]
    assert mongodb["db_names"] == ["admin", "app"]
    assert all(double.world.firewalls[item["id"]] for item in databases.values())
    project.is_up_to_date()
    assert double.unknown == []


def test_an_existing_cluster_is_used_and_left_alone(project: Project, double: Double) -> None:
    api = Client(double.url, double.token)
    vpc = api.done("POST", VPCS, VPC)["vpc"]["id"]
    theirs = api.done("POST", CLUSTERS, {**CLUSTER, "vpc_uuid": vpc})["kubernetes_cluster"]
    cluster = {"cluster_id": theirs["id"], "cluster_name": theirs["name"]}
    wrong = "11111111-2222-4333-8444-555555555555"
    project.describe(cluster={**cluster, "cluster_id": wrong})
    assert f"and cluster_id is {wrong}: correct one of them" in project.up(fails=True)
    project.describe(cluster=cluster)
    double.log.clear()
    project.up()
    database = only(double.world.databases)
    assert database["private_network_uuid"] == vpc
    assert only(double.world.firewalls)[0]["value"] == theirs["id"]
    project.is_up_to_date()
    project.pulumi("destroy", "--yes")
    assert made(double) == (1, 1, 0, 0)
    assert not double.calls("POST|PUT|PATCH|DELETE", f"({CLUSTERS}|{VPCS}).*")


@pytest.mark.load
def test_nodes_with_gpus_come_and_go_as_the_autoscaler_says(
    project: Project, double: Double
) -> None:
    project.describe(cluster={"gpu": {"max_nodes": 2}})
    project.up()
    cluster = only(double.world.clusters)
    default, pool = cluster["node_pools"]
    told = {key: pool[key] for key in ("size", "auto_scale", "min_nodes", "max_nodes", "count")}
    assert told == {
        "size": "gpu-4000adax1-20gb",
        "auto_scale": True,
        "min_nodes": 0,
        "max_nodes": 2,
        "count": 0,
    }
    project.is_up_to_date()

    # Somebody asks for a GPU.
    api = Client(double.url, double.token)
    path = f"{CLUSTERS}/{cluster['id']}/node_pools/{pool['id']}"
    api.done("PUT", path, {"name": "gpu", "auto_scale": True, "max_nodes": 2, "count": 2})
    project.is_up_to_date()
    project.describe(cluster={"gpu": {"max_nodes": 3}})
    project.up()
    assert (pool["count"], pool["max_nodes"]) == (2, 3)

    double.log.clear()
    project.describe(cluster={})
    project.up()
    assert cluster["node_pools"] == [default]
    assert [entry.path for entry in double.calls("PUT|POST|DELETE", f"{CLUSTERS}.*")] == [path]
    assert double.unknown == []


def test_a_wrong_token_is_told(project: Project, double: Double) -> None:
    said = project.up(fails=True, DIGITALOCEAN_TOKEN="wrong")
    assert "Error creating VPC" in said
    assert "401" in said
    assert "Unable to authenticate you" in said
    assert made(double) == (0, 0, 0, 0)


@pytest.mark.load
def test_a_refusal_is_told_and_the_next_run_goes_on(project: Project, double: Double) -> None:
    why = "validation error: 2 additional nodes but not enough available droplet limit"
    double.refuse("POST", CLUSTERS, message=why)
    # The provider itself repeats what failed for the moment.
    double.fail("GET", f"{DATABASES}/[^/]+", times=3)
    double.hang("POST", DATABASES, after=False, seconds=0)
    assert why in project.up(fails=True)
    # The database doesn't wait for the cluster.
    assert made(double) == (1, 0, 1, 1)
    double.limit(times=2)
    double.fail("POST", CLUSTERS, times=2)
    project.up()
    assert made(double) == (1, 1, 1, 1)
    project.is_up_to_date()


@pytest.mark.load
def test_what_was_made_but_not_told_is_adopted(project: Project, double: Double) -> None:
    """The provider repeats what got no answer, and is told that it is there already."""
    double.hang("POST", VPCS, after=True, seconds=0)
    double.fail("POST", "/v2/registry", after=True)
    said = project.up(fails=True)
    assert "a VPC with the same name already exists" in said
    assert "409" in said
    (vpc,) = double.world.own_vpcs()
    project.adopt("Vpc", "cloud-vpc", "cloud", vpc["id"])
    project.adopt("ContainerRegistry", "cloud-registry", "cloud", "prod-shop")

    # The answer arrived, but then the provider could not see whether it is ready.
    double.fail("GET", f"{CLUSTERS}/[^/]+", times=5)
    double.hang("POST", DATABASES, after=True, seconds=0)
    said = project.up(fails=True)
    assert "Error trying to read cluster state" in said
    assert "cluster name is not available" in said
    assert "a cluster with this name already exists" in project.up(fails=True)
    project.adopt("KubernetesCluster", "cloud-cluster", "cloud", only(double.world.clusters)["id"])
    database = only(double.world.databases)["id"]
    project.adopt("DatabaseCluster", "shop-data-postgres", "shop-data", database)
    project.up()
    assert made(double) == (1, 1, 1, 1)
    assert only(double.world.databases)["id"] == database
    project.is_up_to_date()


@pytest.mark.load
def test_a_killed_run_makes_nothing_twice(project: Project, double: Double) -> None:
    hang = double.hang("POST", CLUSTERS, after=True, seconds=120)
    process = project.start("up", "--yes", "--skip-preview")
    assert hang.reached.wait(60)
    for _ in range(600):
        if double.world.databases:
            break
        time.sleep(0.05)
    kill(process)
    hang.released.set()
    project.pulumi("cancel", "--yes")
    said = project.up(fails=True)
    assert "interrupted while creating" in said
    assert "a cluster with this name already exists" in said
    project.adopt("KubernetesCluster", "cloud-cluster", "cloud", only(double.world.clusters)["id"])
    database = only(double.world.databases)["id"]
    project.adopt("DatabaseCluster", "shop-data-postgres", "shop-data", database)
    project.up()
    assert made(double) == (1, 1, 1, 1)
    project.is_up_to_date()


def put_behind(cluster: Cluster, double: Double) -> None:
    """From now on, the double's clusters are this real one."""
    if not cluster.ours:
        pytest.skip("only on a cluster of the tests' own")
    access = json.loads(cluster.kubeconfig.read_text(encoding="utf-8"))
    server = access["clusters"][0]["cluster"]
    authority = Path(server["certificate-authority"]).read_text(encoding="utf-8")
    token = access["users"][0]["user"]["token"]
    double.world.kubernetes_server = KubernetesServer(server["server"], authority, token)


@pytest.fixture
def backed(cluster: Cluster, double: Double) -> Iterator[Cluster]:
    put_behind(cluster, double)
    yield cluster
    cluster.remove_namespace("production")


@pytest.mark.cluster
def test_production_as_it_is_tracked(backed: Cluster, double: Double, tmp_path: Path) -> None:
    project = Project.whole(tmp_path, double)
    project.up()
    assert made(double) == (1, 1, 1, 0)
    project.is_up_to_date()
    database = only(double.world.databases)
    secret = backed.get_json("secret", "db-credentials", "--namespace", "production")["data"]
    url = base64.b64decode(secret["DATABASE_URL"]).decode()
    assert database["private_connection"]["host"] in url
    assert url.endswith(":25060/defaultdb?sslmode=require")

    # Neither state nor preview shows a secret: the database's password, either token, the URL.
    backing = double.world.kubernetes_server
    assert backing is not None
    shown = project.pulumi("preview", "--diff") + project.pulumi("stack", "export")
    state = [path for path in (tmp_path / ".pulumi").rglob("*") if path.is_file()]
    assert any("database" in path.read_text(errors="replace") for path in state)
    for hidden in (database["connection"]["password"], double.token, backing.token, url):
        assert hidden not in shown
        assert not [path for path in state if hidden in path.read_text(errors="replace")]

    # The kubeconfig holds no secret, and works.
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(project.pulumi("stack", "output", "kubeconfig"))
    assert set(json.loads(kubeconfig.read_text())["users"][0]["user"]) == {"exec"}
    pods = subprocess.run(
        ["kubectl", "get", "pods", "--namespace", "production", "--output", "name"],
        executable=backed.built / "cluster" if backed.built else None,
        env={**project.environment, "KUBECONFIG": str(kubeconfig)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert len(pods.stdout.split()) == 2

    # A user and a database of its own, and another node.
    project.pulumi("config", "set", "tiers:databases", "dedicated")
    project.pulumi("config", "set", "--path", "tiers:digitalocean.nodes", "3")
    project.up()
    assert len(database["users"]) == 2
    assert len(database["db_names"]) == 2
    project.is_up_to_date()

    # Production is protected until somebody says otherwise.
    assert "protected" in project.pulumi("destroy", "--yes", fails=True)
    assert made(double) == (1, 1, 1, 0)
    project.pulumi("config", "set", "tiers:protect", "never")
    project.up()
    project.pulumi("destroy", "--yes")
    assert made(double) == (0, 0, 0, 0)
    assert not backed.has_namespace("production")
    assert double.unknown == []
