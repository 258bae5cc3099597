"""Prices: hand-computed sums, where the figures come from, and what isn't known."""

import ast
import datetime
from collections.abc import Mapping
from pathlib import Path

import pytest
from pulumi_tiers import prices
from pulumi_tiers.model.errors import nearest
from pulumi_tiers.prices import (
    DATABASE_SIZES,
    ENGINE_SIZES,
    NODE_SIZES,
    REGIONS,
    REGISTRY_TIERS,
    TABLES,
    Price,
    Table,
    charged,
    price,
    total,
)
from pulumi_tiers.render.recorder import Json

CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
POOL = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
DATABASE = "digitalocean:index/databaseCluster:DatabaseCluster"
REGISTRY = "digitalocean:index/containerRegistry:ContainerRegistry"
BALANCER = "digitalocean:index/loadBalancer:LoadBalancer"
BUCKET = "digitalocean:index/spacesBucket:SpacesBucket"
SERVICE = "kubernetes:core/v1:Service"
CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
STATEFUL_SET = "kubernetes:apps/v1:StatefulSet"


def priced(type_: str, known: Mapping[str, float] | None = None, **inputs: Json) -> Price:
    found = price(type_, inputs, known or {})
    assert found is not None
    return found


def pool(count: int = 2, **more: Json) -> dict[str, Json]:
    return {"size": "s-2vcpu-4gb", "nodeCount": count, **more}


def claim(storage: str) -> dict[str, Json]:
    return {"resources": {"requests": {"storage": storage}}}


# --- the tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.what)
def test_every_table_says_where_its_figures_stand_and_when(table: Table) -> None:
    assert table.what
    assert table.url.startswith("https://")
    assert datetime.date(2025, 1, 1) <= datetime.date.fromisoformat(table.date)
    assert table.prices
    assert all(usd >= 0 for usd in table.prices.values())


def test_all_tables_of_the_module_are_listed() -> None:
    found = [value for value in vars(prices).values() if isinstance(value, Table)]
    assert {id(table) for table in [*found, *prices.DATABASES.values()]} == {
        id(table) for table in TABLES
    }


def test_figures_that_other_pages_of_digitalocean_have_too() -> None:
    """Of the documentation of DOKS, Droplets and managed databases."""
    assert NODE_SIZES["s-2vcpu-4gb"] == 24
    assert NODE_SIZES["s-4vcpu-8gb"] == 48
    assert NODE_SIZES["g-2vcpu-8gb"] == 63
    assert NODE_SIZES["c-2"] == 42
    assert NODE_SIZES["m-2vcpu-16gb"] == 84
    assert REGISTRY_TIERS == {"starter": 0, "basic": 5, "professional": 20}


def test_too_small_plans_are_no_nodes() -> None:
    assert not {"s-1vcpu-512mb-10gb", "s-1vcpu-1gb"} & set(NODE_SIZES)


def test_what_has_a_price_is_a_size_of_its_engine() -> None:
    assert {"nyc1", "fra1"} < REGIONS
    for engine, table in prices.DATABASES.items():
        assert set(table.prices) <= ENGINE_SIZES[engine] <= DATABASE_SIZES
    assert len(ENGINE_SIZES["pg"]) == 33
    assert len(ENGINE_SIZES["valkey"]) == 13
    assert len(ENGINE_SIZES["mongodb"]) == 19


def test_they_tell_what_was_meant() -> None:
    assert nearest("s-2vcpu-4g", NODE_SIZES).startswith("did you mean 's-2vcpu-4gb'?")
    assert nearest("db-s-1vcpu-1g", DATABASE_SIZES).startswith("did you mean 'db-s-1vcpu-1gb'?")
    assert nearest("nyc", REGIONS).startswith("did you mean 'nyc")
    assert nearest("basics", REGISTRY_TIERS).startswith("did you mean 'basic'?")


def test_it_asks_nobody() -> None:
    """Neither Pulumi nor a provider's SDK nor the network: it is only a table."""
    tree = ast.parse(Path(prices.__file__).read_text(encoding="utf-8"))
    names = {
        (node.module or "") if isinstance(node, ast.ImportFrom) else node.names[0].name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert names == {"math", "re", "collections.abc", "dataclasses", "typing"}


# --- clusters -------------------------------------------------------------------------------------


def test_a_cluster_costs_its_nodes() -> None:
    found = priced(CLUSTER, nodePool=pool(), ha=False)
    assert (found.what, found.usd, found.most) == ("2 nodes s-2vcpu-4gb", 48, None)
    assert found.tables == (prices.NODES,)


def test_high_availability_is_added() -> None:
    found = priced(CLUSTER, nodePool=pool(3), ha=True)
    assert (found.what, found.usd) == ("3 nodes s-2vcpu-4gb, high availability", 3 * 24 + 40)
    assert found.tables == (prices.NODES, prices.CONTROL_PLANE)


@pytest.mark.parametrize(
    ("version", "usd"),
    [("1.35.2-do.0", 48), ("1.36.0-do.0", 88), ("1.40.1-do.3", 88), ("latest", 88), (None, 88)],
)
def test_new_clusters_are_highly_available_unless_told_otherwise(
    version: str | None, usd: float
) -> None:
    assert priced(CLUSTER, nodePool=pool(), version=version).usd == usd
    assert priced(CLUSTER, nodePool=pool(), version=version, ha=False).usd == 48


def test_a_pool_that_scales_costs_from_its_fewest_to_all_its_nodes() -> None:
    scaled = pool(2, autoScale=True, minNodes=1, maxNodes=5)
    found = priced(POOL, **scaled)
    assert (found.what, found.usd, found.most) == ("1 to 5 nodes s-2vcpu-4gb", 24, 120)
    cluster = priced(CLUSTER, nodePool=scaled, ha=True)
    assert (cluster.usd, cluster.most) == (64, 160)
    # What recordings of numbers look like.
    assert priced(POOL, size="c-2", nodeCount=2.0).usd == 84


def test_min_and_max_mean_nothing_without_autoscaling() -> None:
    found = priced(POOL, **pool(2, autoScale=False, minNodes=1, maxNodes=5))
    assert (found.what, found.usd, found.most) == ("2 nodes s-2vcpu-4gb", 48, None)


def test_a_size_that_the_table_does_not_have_is_not_free() -> None:
    found = priced(CLUSTER, nodePool={"size": "z-9vcpu-9gb", "nodeCount": 2}, ha=True)
    assert found.usd is None
    assert "2 nodes z-9vcpu-9gb" in found.what


def test_prices_of_ones_own_win() -> None:
    own = {"z-9vcpu-9gb": 10.5, "s-2vcpu-4gb": 20.0}
    assert priced(POOL, own, size="z-9vcpu-9gb", nodeCount=2).usd == 21
    found = priced(CLUSTER, own, nodePool=pool(), ha=False)
    assert (found.usd, found.tables) == (40, ())
    assert priced(DATABASE, {"db-x": 7.0}, engine="pg", size="db-x", nodeCount=2).usd == 14


# --- databases ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("engine", "size", "count", "usd"),
    [
        ("pg", "db-s-1vcpu-1gb", 1, 15.15),
        ("pg", "db-s-2vcpu-4gb", 2, 121.8),
        ("valkey", "db-s-1vcpu-2gb", 1, 30),
        ("mongodb", "db-s-1vcpu-1gb", 3, 45),
        ("mongodb", "db-s-2vcpu-4gb", 1, None),
        ("valkey", "db-s-8vcpu-32gb", 1, None),
        ("kafka", "db-s-2vcpu-4gb", 3, None),
        ("pg", "db-nonsense", 1, None),
    ],
)
def test_a_database_costs_its_nodes(engine: str, size: str, count: int, usd: float | None) -> None:
    found = priced(DATABASE, engine=engine, size=size, nodeCount=count)
    assert found.usd == (None if usd is None else pytest.approx(usd))
    assert found.what == f"{engine}, {count} node{'' if count == 1 else 's'} {size}"


def test_storage_beyond_that_of_the_size_is_added_on_each_node() -> None:
    inputs = {"engine": "pg", "size": "db-s-1vcpu-2gb", "nodeCount": 2}
    found = priced(DATABASE, **inputs, storageSizeMib=str(50 * 1024))
    # 30 GiB are the size's own: 20 more, twice.
    assert found.usd == pytest.approx(2 * (30.45 + 20 * 0.215))
    assert found.what == "pg, 2 nodes db-s-1vcpu-2gb with 50 GiB"
    assert priced(DATABASE, **inputs, storageSizeMib=30 * 1024).usd == pytest.approx(60.9)


def test_storage_of_an_unknown_price_is_not_free() -> None:
    inputs = {"engine": "valkey", "size": "db-s-1vcpu-1gb", "nodeCount": 1}
    assert priced(DATABASE, **inputs, storageSizeMib="20480").usd is None
    own = {"db-x": 7.0}
    assert priced(DATABASE, own, engine="pg", size="db-x", storageSizeMib="20480").usd is None


# --- the rest -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inputs", "usd"),
    [
        ({}, 12),
        ({"sizeUnit": 3}, 36),
        ({"size": "lb-large"}, 72),
        ({"type": "REGIONAL_NETWORK"}, 15),
        ({"type": "GLOBAL", "sizeUnit": 3}, 15),
        ({"type": "ELSEWHERE"}, None),
    ],
)
def test_load_balancers(inputs: dict[str, Json], usd: float | None) -> None:
    assert priced(BALANCER, **inputs).usd == usd


def service(kind: str, **annotations: str) -> dict[str, Json]:
    prefix = "service.beta.kubernetes.io/do-loadbalancer-"
    named = {prefix + key.replace("_", "-"): value for key, value in annotations.items()}
    return {"metadata": {"name": "web", "annotations": named}, "spec": {"type": kind}}


def test_a_service_that_is_reached_from_outside_is_a_load_balancer() -> None:
    assert priced(SERVICE, **service("LoadBalancer")).usd == 15
    assert priced(SERVICE, **service("LoadBalancer", type="REGIONAL")).usd == 12
    found = priced(SERVICE, **service("LoadBalancer", type="REGIONAL", size_unit="2"))
    assert (found.what, found.usd) == ("load balancer, 2 nodes", 24)
    assert price(SERVICE, service("ClusterIP")) is None


@pytest.mark.parametrize(
    ("storage", "usd"),
    [
        ("10Gi", 1),
        ("1Ti", 102.4),
        ("500Mi", 0.1),
        ("1500Mi", 0.2),
        ("10G", 1),
        ("1.5Gi", 0.2),
        (str(3 * 1024**3), 0.3),
        ("much", None),
        ("", None),
    ],
)
def test_volumes_cost_whole_gib(storage: str, usd: float | None) -> None:
    found = priced(CLAIM, spec=claim(storage))
    assert found.usd == (None if usd is None else pytest.approx(usd))


def test_each_replica_claims_its_own_volumes() -> None:
    templates = [{"spec": claim("10Gi")}, {"spec": claim("5Gi")}]
    found = priced(STATEFUL_SET, spec={"replicas": 3, "volumeClaimTemplates": templates})
    assert found.what == "6 volumes, 10Gi + 5Gi each"
    assert found.usd == pytest.approx(3 * 15 * 0.1)
    assert priced(STATEFUL_SET, spec={"volumeClaimTemplates": templates[:1]}).usd == 1
    assert price(STATEFUL_SET, {"spec": {"replicas": 3}}) is None


@pytest.mark.parametrize(
    "token",
    [
        "digitalocean:index/vpc:Vpc",
        "digitalocean:index/databaseFirewall:DatabaseFirewall",
        "digitalocean:index/projectResources:ProjectResources",
        "kubernetes:core/v1:Secret",
        "kubernetes:apps/v1:Deployment",
        "docker:index/container:Container",
        "pulumi:providers:digitalocean",
        "tiers-components:index:Site",
    ],
)
def test_what_costs_nothing(token: str) -> None:
    assert price(token, {"name": "x"}) is None


def test_what_digitalocean_has_and_the_tables_do_not_is_unknown() -> None:
    assert price("digitalocean:index/droplet:Droplet", {}) == Price("Droplet", None)


# --- sums -----------------------------------------------------------------------------------------


def test_the_total_of_a_documented_stack() -> None:
    """Two nodes, PostgreSQL, a registry and the load balancer of its only public service."""
    found = [
        priced(CLUSTER, nodePool=pool(), ha=False),
        priced(DATABASE, engine="pg", size="db-s-1vcpu-1gb", nodeCount=1),
        priced(REGISTRY, subscriptionTierSlug="basic"),
        priced(SERVICE, **service("LoadBalancer")),
        priced(CLAIM, spec=claim("10Gi")),
    ]
    assert total(found).usd == 48 + 15.15 + 5 + 15 + 1
    assert str(total(found)) == "84.15 USD a month"


def test_what_the_account_pays_once_is_counted_once() -> None:
    buckets = [priced(BUCKET, name=name) for name in "abc"]
    registry = priced(REGISTRY, subscriptionTierSlug="professional")
    assert charged([*buckets, registry]) == [buckets[0], registry]
    assert total([*buckets, registry]).usd == 25
    # Two balancers are two.
    assert total([priced(BALANCER), priced(BALANCER)]).usd == 24


def test_an_unknown_price_makes_it_at_least() -> None:
    found = total([priced(POOL, **pool()), priced(POOL, size="z-1", nodeCount=1)])
    assert (found.usd, found.complete) == (48, False)
    assert str(found) == "at least 48.00 USD a month"
    assert str(total([Price("x", None)])) == "at least 0.00 USD a month"
    assert str(total([priced(REGISTRY, subscriptionTierSlug="gold")])).startswith("at least")


def test_scaling_is_told_as_a_range() -> None:
    scaled = priced(POOL, **pool(autoScale=True, minNodes=0, maxNodes=50))
    assert str(total([scaled, priced(BALANCER)])) == (
        "12.00 USD a month, 1,212.00 USD with all nodes"
    )
    assert str(total([scaled, Price("x", None)])) == (
        "at least 0.00 USD a month, at least 1,200.00 USD with all nodes"
    )


def test_nothing_costs_nothing() -> None:
    assert str(total([])) == "0.00 USD a month"
