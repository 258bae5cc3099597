"""DigitalOcean without an engine: what the stack would make, and what it refuses."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from pulumi_tiers.app_tier import AppTier
from pulumi_tiers.checks import check_systems
from pulumi_tiers.cluster import Cluster, ClusterArgs
from pulumi_tiers.data_tier import DataTier, StoreArgs
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.store import Managed, Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.program import main
from pulumi_tiers.render.graph import graph
from pulumi_tiers.render.kubernetes import manifests
from pulumi_tiers.render.recorder import Json, Recording, Resource, Secret, bare, record
from pulumi_tiers.site import Site, SiteArgs

EXISTING = "82c89726-23a3-4b16-9082-03cee0a8425a"
CLUSTER = "digitalocean:index/kubernetesCluster:KubernetesCluster"
DATABASE = "digitalocean:index/databaseCluster:DatabaseCluster"
FIREWALL = "digitalocean:index/databaseFirewall:DatabaseFirewall"
PROVIDER = "pulumi:providers:kubernetes"


def stack(environment: str = "production", **config: Json) -> Recording:
    keys = {f"tiers:{key}": value for key, value in config.items()}
    own = {"tiers:environment": environment, "tiers:target": "digitalocean"}
    return record(main, project="tiers", stack="prod", config={**own, **keys})


def one(recording: Recording, kind: str) -> Resource:
    [found] = recording.of_type(kind)
    return found


def refused(**config: Json) -> list[str]:
    """The mistakes of a stack, each as its place and its reason."""
    with pytest.raises(pulumi.RunError) as told:
        stack(**config)
    lines = str(told.value).splitlines()
    return [line.strip() for line in lines[1::2]]


# --- what is made ---------------------------------------------------------------------------------


def test_cluster_and_database_are_in_one_vpc_and_region() -> None:
    recording = stack()
    vpc = one(recording, "digitalocean:index/vpc:Vpc")
    cluster, database = one(recording, CLUSTER), one(recording, DATABASE)
    assert vpc.inputs["region"] == cluster.inputs["region"] == database.inputs["region"] == "nyc1"
    assert cluster.inputs["vpcUuid"] == database.inputs["privateNetworkUuid"] == f"{vpc.name}-id"
    assert cluster.inputs["name"] == "prod-cluster"
    assert database.inputs["name"] == "prod-encontros-tech-postgres"
    assert (database.inputs["engine"], database.inputs["version"]) == ("pg", "15")


def test_the_database_lets_only_the_cluster_in() -> None:
    recording = stack()
    rules = one(recording, FIREWALL).inputs["rules"]
    assert rules == [{"type": "k8s", "value": f"{one(recording, CLUSTER).name}-id"}]


def test_the_application_connects_as_documented() -> None:
    """5.5: doadmin, defaultdb, private host, port 25060, sslmode=require."""
    [secret] = [item for item in manifests(stack()) if item["kind"] == "Secret"]
    assert secret["metadata"]["name"] == "db-credentials"
    assert secret["stringData"] == {
        "DATABASE_URL": (
            "postgresql://doadmin:${DIGITALOCEAN_ENCONTROS_TECH_DATA_POSTGRES_PASSWORD}"
            "@${DIGITALOCEAN_ENCONTROS_TECH_DATA_POSTGRES_HOST}:25060/defaultdb?sslmode=require"
        )
    }
    kinds = {item["kind"] for item in manifests(stack())}
    assert not kinds & {"StatefulSet", "PersistentVolumeClaim", "Job"}


def test_documented_names_are_those_of_the_document() -> None:
    name = one(stack(names="documented"), DATABASE).inputs["name"]
    assert name == "db-producao"
    assert (
        one(stack("development", names="documented"), DATABASE).inputs["name"] == "db-homologacao"
    )


def test_a_dedicated_user_owns_a_database_of_its_own() -> None:
    recording = stack(databases="dedicated")
    assert one(recording, "digitalocean:index/databaseUser:DatabaseUser").inputs["name"] == (
        "encontros_tech"
    )
    assert one(recording, "digitalocean:index/databaseDb:DatabaseDb").inputs["name"] == (
        "encontros_tech"
    )
    [url] = [
        item["stringData"]["DATABASE_URL"]
        for item in manifests(recording)
        if item["kind"] == "Secret" and item["metadata"]["name"] == "db-credentials"
    ]
    assert url.startswith("postgresql://encontros_tech:")
    assert url.endswith(":25060/encontros_tech?sslmode=require")
    [job] = [item for item in manifests(recording) if item["kind"] == "Job"]
    [container] = job["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert (given["PGPORT"], given["PGSSLMODE"], given["PGDATABASE"]) == (
        "25060",
        "require",
        "defaultdb",
    )
    assert 'GRANT ALL ON SCHEMA public TO "encontros_tech"' in str(given["SETUP_SQL"])
    # The cloud has made them.
    assert "CREATE ROLE" not in str(given["SETUP_SQL"])
    assert "CREATE DATABASE" not in str(given["SETUP_SQL"])


def test_everything_of_kubernetes_goes_to_the_new_cluster() -> None:
    recording = stack()
    provider = one(recording, PROVIDER)
    config = json.loads(bare(provider.inputs["kubeconfig"]))
    [user] = config["users"]
    assert list(user["user"]) == ["exec"]
    assert user["user"]["exec"]["command"] == "tiers"
    assert user["user"]["exec"]["args"] == ["credential", "cluster-cluster-id"]
    # Nothing in it is secret: it can be shown, and it is the same each time.
    assert not isinstance(provider.inputs["kubeconfig"], Secret)
    assert recording.outputs["kubeconfig"] == bare(provider.inputs["kubeconfig"])
    placed = [item for item in recording.resources if item.type.startswith("kubernetes:")]
    assert len(placed) > 5
    assert {item.provider.split("::")[-2] for item in placed} == {provider.name}


LOGIN = {"username": "me", "password": "t0ken-that-pulls-only"}
BOOTCAMP = {"cluster_id": EXISTING, "cluster_name": "k8s-bootcamp-2"}


def test_an_existing_cluster_is_read_and_nothing_is_made_beside_it() -> None:
    recording = stack(digitalocean=BOOTCAMP)
    assert not recording.of_type(CLUSTER)
    assert not recording.of_type("digitalocean:index/vpc:Vpc")
    database = one(recording, DATABASE)
    assert database.inputs["privateNetworkUuid"] == "__later.digitalocean.k8s-bootcamp-2.vpc__"
    assert database.inputs["region"] == "__later.digitalocean.k8s-bootcamp-2.region__"
    assert one(recording, FIREWALL).inputs["rules"] == [{"type": "k8s", "value": EXISTING}]
    assert EXISTING in bare(one(recording, PROVIDER).inputs["kubeconfig"])
    assert recording.outputs["cluster_id"] == EXISTING


def test_a_replaced_cluster_does_not_replace_the_databases() -> None:
    """What they depend on is known before the cluster is."""
    recording = stack()
    database = one(recording, DATABASE)
    assert one(recording, CLUSTER).urn not in database.depends_on
    assert one(recording, CLUSTER).urn in one(recording, FIREWALL).depends_on


@pytest.mark.parametrize(
    ("given", "expected", "ignored"),
    [
        ({}, {"version": "latest", "autoUpgrade": True}, ["version"]),
        (
            {"version": "1.36.0-do.0"},
            {"version": "1.36.0-do.0", "autoUpgrade": False},
            [],
        ),
        (
            {"nodes": 2, "max_nodes": 5, "version": "1.36.0-do.0"},
            {
                # Without a count, which would undo what the autoscaler does.
                "nodePool": {
                    "name": "default",
                    "size": "s-2vcpu-4gb",
                    "autoScale": True,
                    "minNodes": 2,
                    "maxNodes": 5,
                }
            },
            [],
        ),
    ],
)
def test_what_digitalocean_decides_is_no_difference(
    given: Mapping[str, Json], expected: Mapping[str, Json], ignored: list[str]
) -> None:
    cluster = one(stack(digitalocean=given), CLUSTER)
    assert {key: cluster.inputs[key] for key in expected} == expected
    assert list(cluster.ignore_changes) == ignored


def test_a_registry_is_made_before_the_cluster_that_is_tied_to_it() -> None:
    recording = stack(digitalocean={"registry": "shop-images", "registry_tier": "starter"})
    registry = one(recording, "digitalocean:index/containerRegistry:ContainerRegistry")
    assert registry.inputs == {"name": "shop-images", "subscriptionTierSlug": "starter"}
    cluster = one(recording, CLUSTER)
    assert cluster.inputs["registryIntegration"] is True
    assert registry.urn in cluster.depends_on
    assert one(stack(), CLUSTER).inputs["registryIntegration"] is False


def test_a_store_can_run_in_the_cluster_instead() -> None:
    recording = stack(managed={"encontros-tech/postgres": {"enabled": False}})
    assert not recording.of_type(DATABASE)
    assert recording.of_type("kubernetes:apps/v1:StatefulSet")


def test_size_nodes_and_version_are_the_stacks() -> None:
    # A number is what `pulumi config set --path` makes of it.
    managed = {"size": "db-s-2vcpu-4gb", "nodes": 2, "version": 16}
    database = one(stack(managed={"encontros-tech/postgres": managed}), DATABASE)
    assert database.inputs["size"] == "db-s-2vcpu-4gb"
    assert (database.inputs["nodeCount"], database.inputs["version"]) == (2, "16")


def test_the_load_balancer_bears_a_name_that_people_find() -> None:
    [service] = [item for item in manifests(stack()) if item["kind"] == "Service"]
    annotations = service["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/do-loadbalancer-name"] == (
        "prod-encontros-tech-encontros-tech"
    )


# --- what it costs --------------------------------------------------------------------------------


def test_the_price_is_an_output() -> None:
    price: dict[str, Any] = stack().outputs["monthly_price"]
    assert price == {
        # 2 nodes, one database node, one load balancer.
        "usd": 48.0 + 15.15 + 15.0,
        "most": 78.15,
        "complete": True,
        "resources": {
            "KubernetesCluster cluster-cluster": "48.00 USD: 2 nodes s-2vcpu-4gb",
            "Service encontros-tech-app-encontros-tech": "15.00 USD: network load balancer",
            "DatabaseCluster encontros-tech-data-postgres": "15.15 USD: pg, 1 node db-s-1vcpu-1gb",
        },
    }
    assert "monthly_price" not in record(main, project="tiers", stack="dev", config={}).outputs


def test_with_autoscaling_the_price_is_a_range() -> None:
    price = stack(digitalocean={"nodes": 1, "max_nodes": 5}).outputs["monthly_price"]
    assert (price["usd"], price["most"]) == (54.15, 54.15 + 4 * 24)
    assert price["resources"]["KubernetesCluster cluster-cluster"] == (
        "24.00 to 120.00 USD: 1 to 5 nodes s-2vcpu-4gb"
    )


def test_volumes_in_the_cluster_cost_something() -> None:
    recording = stack(managed={"encontros-tech/postgres": {"enabled": False}})
    resources = recording.outputs["monthly_price"]["resources"]
    assert resources["StatefulSet encontros-tech-data-postgres"] == "1.00 USD: 1 volume, 10Gi"


def test_a_size_without_a_price_is_not_free() -> None:
    price = stack(managed={"encontros-tech/postgres": {"size": "db-amd-2vcpu-4gb"}}).outputs[
        "monthly_price"
    ]
    assert price["complete"] is False
    assert price["usd"] == 63.0


# --- protection -----------------------------------------------------------------------------------

HOLDING = {
    CLUSTER,
    DATABASE,
    FIREWALL,
    "digitalocean:index/databaseUser:DatabaseUser",
    "digitalocean:index/databaseDb:DatabaseDb",
    "kubernetes:core/v1:Namespace",
}


@pytest.mark.parametrize(
    ("environment", "protect", "protected"),
    [
        ("production", {}, True),
        ("production", {"protect": "never"}, False),
        ("development", {}, False),
        ("development", {"protect": "always"}, True),
    ],
)
def test_what_holds_data_is_protected(
    environment: str, protect: dict[str, str], *, protected: bool
) -> None:
    recording = stack(environment, databases="dedicated", **protect)
    held = {item.type for item in recording.resources if item.protect}
    assert held == (HOLDING if protected else set())


def test_in_the_cluster_the_password_is_protected_too() -> None:
    recording = stack(managed={"encontros-tech/postgres": {"enabled": False}})
    held = {item.type for item in recording.resources if item.protect}
    assert held == {
        CLUSTER,
        "kubernetes:core/v1:Namespace",
        "random:index/randomPassword:RandomPassword",
    }


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "place", "why"),
    [
        ({"digitalocean": {"region": "nyc9"}}, "tiers:digitalocean.region", "no region 'nyc9'"),
        ({"digitalocean": {"region": "NYC1"}}, "tiers:digitalocean.region", "not a slug"),
        ({"digitalocean": {"node_size": "s-2vcpu-4g"}}, "node_size", "no size 's-2vcpu-4g'"),
        ({"digitalocean": {"nodes": 0}}, "tiers:digitalocean.nodes", "greater than or equal to 1"),
        ({"digitalocean": {"nodes": 3, "max_nodes": 2}}, "max_nodes", "and nodes is 3"),
        ({"digitalocean": {"cluster_id": "k8s-bootcamp-2"}}, "cluster_id", "not the id of a"),
        ({"digitalocean": {"cluster_id": EXISTING}}, "cluster_name", "by its id and its name"),
        ({"digitalocean": {"cluster_name": "k8s"}}, "cluster_id", "by its id and its name"),
        (
            {"digitalocean": {**BOOTCAMP, "nodes": 2}},
            "tiers:digitalocean.nodes",
            "a matter of the existing cluster",
        ),
        *(
            (
                {"digitalocean": {**BOOTCAMP, key: value}},
                f"tiers:digitalocean.{key}",
                "a matter of the existing cluster",
            )
            for key, value in {
                "region": "fra1",
                "registry": "shop-images",
                "registry_tier": "basic",
                "version": "latest",
                "vpc_range": "10.120.0.0/16",
            }.items()
        ),
        (
            {"digitalocean": {"cluster_name": "k8s", "region": "fra1"}},
            "tiers:digitalocean.region",
            "a matter of the existing cluster",
        ),
        *(
            ({"digitalocean": {"version": version}}, "digitalocean.version", "not a version")
            for version in ("1.36", "1.36.0", "v1.36.0-do.0", "1.36.0-do.x", "newest", "")
        ),
        *(
            ({"digitalocean": {"vpc_range": text}}, "digitalocean.vpc_range", "cannot have the")
            for text in ("8.8.0.0/16", "10.0.0.0/8", "127.0.0.0/16", "198.18.0.0/16")
        ),
        *(
            ({"digitalocean": {"vpc_range": text}}, "vpc_range", "not a range")
            for text in ("10.0.0.1/16", "10.120.0.0/016", "10.120.0.0/255.255.0.0", "10.0.0.0")
        ),
        *(
            ({"digitalocean": {"vpc_range": text}}, "vpc_range", "is reserved by DigitalOcean")
            for text in ("10.244.0.0/16", "10.245.4.0/24", "10.246.0.0/16", "10.229.0.0/20")
        ),
        *(
            ({"digitalocean": {"registry": text}}, "registry", "not a name for a registry")
            for text in ("My Images", "-a", "a-", "a" * 64, "")
        ),
        *(
            ({"digitalocean": {"credentials": [text]}}, "credentials", "the command is empty")
            for text in ("", " ")
        ),
        *(
            ({"digitalocean": {"prices": {"big": value}}}, "digitalocean.prices.big", why)
            for value, why in (
                (True, "valid number"),
                ("12", "valid number"),
                (-1, "greater than or equal to 0"),
                (1e7, "less than or equal to 1000000"),
            )
        ),
        ({"digitalocean": {"registry_tier": "gold"}}, "registry_tier", "no tier 'gold'"),
        ({"digitalocean": {"credentials": []}}, "credentials", "the list is empty"),
        ({"digitalocean": {"regoin": "nyc1"}}, "digitalocean.regoin", "no key 'regoin'"),
        ({"managed": {"encontros-tech/mysql": {}}}, "managed.encontros-tech/mysql", "no such"),
        (
            {"managed": {"encontros-tech/postgres": {"size": "db-s-1vcpu"}}},
            "managed.encontros-tech/postgres.size",
            "no size 'db-s-1vcpu'",
        ),
        (
            {"managed": {"encontros-tech/postgres": {"version": "9"}}},
            "encontros-tech: stores.postgres.managed.version",
            "no postgres of the version '9'",
        ),
        (
            {"images": {"encontros-tech/postgres": "registry.example.com/pg:bookworm"}},
            "encontros-tech: stores.postgres.managed.version",
            "'bookworm'",
        ),
        (
            {"managed": {"encontros-tech/postgres": {"version": "9", "enabled": False}}},
            "encontros-tech: stores.postgres.managed.version",
            "no postgres of the version '9'",
        ),
        (
            {"managed": {"encontros-tech/postgres": {"nodes": 2}}},
            "encontros-tech: stores.postgres.managed.nodes",
            "standby nodes need 2 GB",
        ),
        (
            {"secrets": {"encontros-tech/postgres/doadmin": "kX8vQz2LpR5tYw9BnM4s"}},
            "tiers:secrets.encontros-tech/postgres/doadmin",
            "makes the passwords of a managed server itself",
        ),
        *(
            ({"load_balancers": {"source_ranges": [text]}}, "source_ranges[0]", "not a range")
            for text in ("anywhere", "203.0.113.7", "203.0.113.0/024", "203.0.113.0/255.255.255.0")
        ),
        ({"load_balancers": {"await": "no"}}, "tiers:load_balancers.await", "valid boolean"),
        *(
            ({"registry_logins": {host: LOGIN}}, "registry_logins", why)
            for host, why in (
                ("docker.io/me", "not a registry"),
                ("Ghcr.io", "not a registry"),
                ("registry.example.com:65536", "65536 is not a port"),
                ("registry.example.com:0", "0 is not a port"),
                ("registry.example.com:99999999", "is not a port"),
                ("index.docker.io", "is Docker Hub"),
                ("me:t0ken@ghcr.io", "a registry holds no '@'"),
            )
        ),
        *(
            (
                {"registry_logins": {"ghcr.io": {**LOGIN, key: value}}},
                f"registry_logins.ghcr.io.{key}",
                "the text is empty",
            )
            for key in LOGIN
            for value in ("", " ")
        ),
        ({"protect": "yes"}, "tiers:protect", "not one of the valid words"),
    ],
)
def test_a_mistake_is_told_with_its_place(config: dict[str, Json], place: str, why: str) -> None:
    told = refused(**config)
    assert any(place in line and why in line for line in told), told


def test_mistakes_of_words_and_of_sizes_are_told_together() -> None:
    given = {"region": "nyc9", "registry_tier": "gold", "node_size": "huge", "nodes": 0}
    assert len(refused(digitalocean=given)) == 4


def test_a_remedy_names_the_key_that_people_write() -> None:
    def remedies(**config: Json) -> str:
        with pytest.raises(pulumi.RunError) as told:
            stack(**config)
        return str(told.value)

    image = "registry.example.com/pg:bookworm"
    told = remedies(images={"encontros-tech/postgres": image})
    assert "set tiers:managed.<system>/<store>.version" in told
    assert "or the image's tag, to one of 14, " in told
    told = remedies(managed={"encontros-tech/postgres": {"size": "db-huge"}})
    assert "give its price in tiers:digitalocean.prices" in told


@pytest.mark.parametrize(
    "given",
    [
        {"registry": "ab"},
        {"registry": "a"},
        {"vpc_range": "10.120.0.0/16"},
        {"vpc_range": "192.168.0.0/28"},
        {"vpc_range": "172.31.0.0/16"},
        {"prices": {"big": 0, "bigger": 12, "biggest": 12.5}},
    ],
)
def test_what_digitalocean_takes_is_taken(given: dict[str, Json]) -> None:
    assert one(stack(digitalocean=given), CLUSTER)


def test_a_size_that_the_table_does_not_have_needs_its_price() -> None:
    prices = {"s-99vcpu-1tb": 4000.0}
    recording = stack(digitalocean={"node_size": "s-99vcpu-1tb", "prices": prices})
    assert recording.outputs["monthly_price"]["resources"]["KubernetesCluster cluster-cluster"] == (
        "8,000.00 USD: 2 nodes s-99vcpu-1tb"
    )


def test_a_name_over_63_characters_is_refused() -> None:
    def program() -> None:
        site = placed("s" * 40, namespace="n")
        stores: dict[str, StoreArgs] = {"p" * 40: {"engine": "postgres"}}
        DataTier("data", {"site": site.ref, "stores": stores})

    with pytest.raises(DescriptionError, match=r"has 86 characters, and DigitalOcean takes 63"):
        record(program, project="own", stack="prod", config={})

    def long_namespace() -> None:
        Site("s" * 40, {"target": Target.KUBERNETES})

    with pytest.raises(DescriptionError, match=r"has 71 characters, and Kubernetes takes 63"):
        record(long_namespace, project="own", stack="a" * 30, config={})


@pytest.mark.parametrize(
    ("stack_name", "name", "why"),
    [
        ("prod", "Shop_1", "the cluster would be called 'prod-Shop_1'"),
        ("Prod.eu", "shop", "the cluster would be called 'Prod.eu-shop'"),
        ("prod", "c" * 60, "has 65 characters, and DigitalOcean takes 63"),
    ],
)
def test_a_name_that_no_cluster_can_have_is_refused(stack_name: str, name: str, why: str) -> None:
    def program(args: ClusterArgs) -> None:
        Cluster(name, args)

    with pytest.raises(DescriptionError) as told:
        record(lambda: program({}), project="own", stack=stack_name, config={})
    [mistake] = told.value.mistakes
    assert mistake.place == f"Cluster {name}"
    assert why in mistake.why
    assert "the component or" in mistake.remedy
    # An existing one has its name already.
    existing: ClusterArgs = {"cluster_id": EXISTING, "cluster_name": "k8s-bootcamp-2"}
    record(lambda: program(existing), project="own", stack=stack_name, config={})


def managed_mistakes(**stores: StoreArgs) -> list[tuple[str, str]]:
    def program() -> None:
        site = placed("shop")
        DataTier("shop-data", {"site": site.ref, "stores": stores})

    with pytest.raises(DescriptionError) as told:
        record(program, project="own", stack="prod", config={})
    place = "DataTier shop-data: stores."
    return [(item.place.removeprefix(place), item.why) for item in told.value.mistakes]


def test_names_that_digitalocean_has_itself_are_refused() -> None:
    told = managed_mistakes(
        db={
            "engine": "postgres",
            "admin": "boss",
            "databases": [
                {"name": "postgres", "owner": "boss"},
                {"name": "_dodb"},
                {"name": "shop", "owner": "postgres"},
            ],
        }
    )
    assert [place for place, _ in told] == [
        "db.databases[0].name",
        "db.databases[1].name",
        "db.databases[2].owner",
    ]
    assert all("of their own" in why for _, why in told)


def test_two_managed_databases_cannot_have_one_name() -> None:
    told = managed_mistakes(
        a={"engine": "postgres", "managed": {"name": "shop"}},
        b={"engine": "postgres", "managed": {"name": "shop"}},
        c={"engine": "postgres", "managed": {"name": "shop", "enabled": False}},
        d={"engine": "postgres", "managed": {"name": "prod-shop-e"}},
        e={"engine": "postgres"},
    )
    assert [place for place, _ in told] == ["b.managed.name", "e.managed.name"]
    assert "the managed database 'shop' is already that of" in told[0][1]
    # Nor in two systems of a stack.
    systems = [
        System(
            name=name,
            title="",
            environment=Environment.DEVELOPMENT,
            stores={"db": Store(engine="postgres", managed=Managed(name="shop"))},
        )
        for name in ("one", "two")
    ]
    [mistake] = check_systems(systems, Target.DIGITALOCEAN, stack="prod")
    assert mistake.place == "two: stores.db.managed.name"
    assert not list(check_systems(systems, Target.KUBERNETES, stack="prod"))


def test_settings_of_a_managed_server_are_refused() -> None:
    def program() -> None:
        site = placed("shop")
        stores: dict[str, StoreArgs] = {
            "db": {
                "engine": "postgres",
                "settings": {"max_connections": "500"},
                "passwords": {"postgres": "kX8vQz2LpR5tYw9BnM4s"},
            }
        }
        DataTier("shop-data", {"site": site.ref, "stores": stores})

    with pytest.raises(DescriptionError) as told:
        record(program, project="own", stack="prod", config={})
    places = [mistake.place for mistake in told.value.mistakes]
    assert places == [
        "DataTier shop-data: stores.db.passwords.postgres",
        "DataTier shop-data: stores.db.settings.max_connections",
    ]


def test_a_volume_that_digitalocean_does_not_have_is_refused() -> None:
    def program() -> None:
        site = placed("shop")
        stores: dict[str, StoreArgs] = {
            "small": {"engine": "postgres", "size": "512Mi", "managed": {"enabled": False}},
            "enough": {"engine": "postgres", "size": "1024Mi", "managed": {"enabled": False}},
            "most": {"engine": "postgres", "size": "16Ti", "managed": {"enabled": False}},
            "large": {"engine": "postgres", "size": "17Ti", "managed": {"enabled": False}},
            "larger": {"engine": "postgres", "size": "16385Gi", "managed": {"enabled": False}},
            "managed": {"engine": "postgres", "size": "512Mi"},
        }
        DataTier("shop-data", {"site": site.ref, "stores": stores})

    with pytest.raises(DescriptionError) as told:
        record(program, project="own", stack="prod", config={})
    assert [mistake.place for mistake in told.value.mistakes] == [
        f"DataTier shop-data: stores.{name}.volumes[0].size"
        for name in ("large", "larger", "small")
    ]


def test_a_site_needs_its_cluster() -> None:
    def program() -> None:
        Site("shop", {"target": Target.DIGITALOCEAN})

    with pytest.raises(DescriptionError, match=r"Site shop: cluster: is missing"):
        record(program, project="own", stack="prod", config={})


# --- in other programs ----------------------------------------------------------------------------


def placed(name: str, namespace: str = "shop") -> Site:
    cluster = Cluster("cluster", {})
    inside = pulumi.ResourceOptions(providers=[cluster.provider])
    args: SiteArgs = {
        "target": Target.DIGITALOCEAN,
        "cluster": cluster.ref,
        "namespace": namespace,
    }
    return Site(name, args, inside)


def test_two_clusters_and_two_systems_fit_into_one_stack() -> None:
    def program() -> None:
        for name in ("eu", "us"):
            cluster = Cluster(name, {"region": "fra1" if name == "eu" else "nyc1"})
            inside = pulumi.ResourceOptions(providers=[cluster.provider])
            site = Site(
                f"shop-{name}", {"target": Target.DIGITALOCEAN, "cluster": cluster.ref}, inside
            )
            stores: dict[str, StoreArgs] = {
                "db": {"engine": "postgres", "admin": "boss", "databases": [{"name": "shop"}]}
            }
            data = DataTier(f"shop-{name}-data", {"site": site.ref, "stores": stores}, inside)
            AppTier(
                f"shop-{name}-app",
                {
                    "site": site.ref,
                    "connections": data.connections,
                    "services": {
                        "web": {
                            "image": "ghcr.io/example/shop:1",
                            "secrets": {"DATABASE_URL": "${db.url}"},
                        }
                    },
                },
                inside,
            )

    recording = record(program, project="own", stack="live", config={})
    names = [item.inputs["name"] for item in recording.of_type(DATABASE)]
    assert sorted(names) == ["live-shop-eu-db", "live-shop-us-db"]
    regions = sorted(item.inputs["region"] for item in recording.of_type(CLUSTER))
    assert regions == ["fra1", "nyc1"]
    # The cloud's admin takes the place of the described one.
    urls = [
        bare(item.inputs["stringData"]) for item in recording.of_type("kubernetes:core/v1:Secret")
    ]
    assert all(url["DATABASE_URL"].startswith("postgresql://doadmin:") for url in urls)
    assert all(url["DATABASE_URL"].endswith("/shop?sslmode=require") for url in urls)


def test_no_secret_is_shown() -> None:
    shown = json.dumps(graph(stack(databases="dedicated")))
    assert ".password}" not in shown
    assert "${digitalocean.encontros-tech-data-postgres.host}" in shown


def test_a_resized_database_keeps_its_documented_name() -> None:
    managed = {"encontros-tech/postgres": {"size": "db-s-2vcpu-4gb"}}
    database = one(stack(names="documented", managed=managed), DATABASE)
    assert database.inputs["name"] == "db-producao"
    assert database.inputs["size"] == "db-s-2vcpu-4gb"


def test_a_password_for_a_managed_server_is_refused_in_other_programs_too() -> None:
    def program() -> None:
        stores: dict[str, StoreArgs] = {"db": {"engine": "postgres", "admin": "boss"}}
        DataTier("shop-data", {"site": placed("shop").ref, "stores": stores})

    for user in ("boss", "doadmin"):
        config = {"tiers:secrets": {f"shop/db/{user}": "kX8vQz2LpR5tYw9BnM4s"}}
        with pytest.raises(DescriptionError) as told:
            record(program, project="own", stack="prod", config=config)
        assert [mistake.place for mistake in told.value.mistakes] == [
            f"tiers:secrets.shop/db/{user}"
        ]
