"""Stores of every kind: what is refused, where they run, and how one more kind is added."""

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pulumi
import pytest
from pulumi_tiers import AppTier, Cluster, DataTier, Site, Target
from pulumi_tiers.checks import check_stores, connection_keys
from pulumi_tiers.component import RefusedError
from pulumi_tiers.engines import ENGINES, Consumer, Engine, Reached
from pulumi_tiers.engines.base import SPECIFIC
from pulumi_tiers.limits import as_placed, is_managed, store_doubts
from pulumi_tiers.model.errors import mistakes_of
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.references import references
from pulumi_tiers.model.store import MONITORING, Bucket, Store
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Condition,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)
from pulumi_tiers.observability.exporters import EXPORTERS, Exporter, exporters, monitored
from pulumi_tiers.program import main
from pulumi_tiers.render.compose import compose
from pulumi_tiers.render.recorder import Json, Recording, Secret, record
from pulumi_tiers.systems import SYSTEMS
from pydantic import ValidationError
from test_kubernetes import PODS, Objects, shops, violations

SET = {"engine": "mongo", "replica_set": "rs0", "replicas": 3}
OBJECTS = {"engine": "minio", "buckets": [{"name": "videos", "owner": "nfc"}]}
EVERY: dict[str, Any] = {
    "postgres": {"engine": "postgres", "databases": [{"name": "shop", "owner": "seller"}]},
    "redis": {"engine": "redis"},
    "mongo": {**SET, "databases": [{"name": "shop", "owner": "seller"}]},
    "minio": {**OBJECTS, "encryption": True},
}
#: Those that no cloud runs by itself.
OURS: dict[str, Any] = {
    "mssql": {"engine": "mssql", "databases": [{"name": "shop", "owner": "seller"}]},
    "rabbitmq": {
        "engine": "rabbitmq",
        "vhosts": [{"name": "shop", "owner": "seller"}],
        "queues": [{"name": "jobs"}],
    },
    "elasticsearch": {
        "engine": "elasticsearch",
        "indices": [{"name": "logs", "owner": "shipper", "retention": 30}],
    },
}


def refused(stores: Mapping[str, Mapping[str, object]], target: Target) -> list[tuple[str, str]]:
    found = {name: Store.model_validate(store) for name, store in stores.items()}
    told = check_stores("stores", found, target, site="dev-shop")
    return [(mistake.place, mistake.why) for mistake in told]


# --- one store ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ab", "the bucket's name 'ab' has 2 characters"),
        ("a" * 64, "has 64 characters"),
        ("my.bucket", "the bucket's name 'my.bucket' holds a dot"),
        ("192.168.5.4", "the bucket's name '192.168.5.4' holds a dot"),
        ("Videos", "'Videos' is not a name for a bucket"),
        ("my_bucket", "'my_bucket' is not a name for a bucket"),
        ("-videos", "'-videos' is not a name for a bucket"),
        ("videos-", "'videos-' is not a name for a bucket"),
        ("vidéos", "'vidéos' is not a name for a bucket"),
        ("xn--videos", "the bucket's name 'xn--videos' is one of those that S3 keeps for itself"),
        ("videos-s3alias", "is one of those that S3 keeps for itself"),
        ("videos--ol-s3", "is one of those that S3 keeps for itself"),
    ],
)
def test_a_bucket_that_s3_refuses_is_refused(name: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Bucket(name=name)
    [mistake] = mistakes_of(caught.value)
    assert mistake.place == "name"
    assert why in mistake.why
    assert mistake.remedy


@pytest.mark.parametrize(
    ("keys", "place", "why"),
    [
        ({"replicas": 3}, "replicas", "3 servers without a replica set would hold different data"),
        (
            {"replicas": 2, "replica_set": "rs0"},
            "replicas",
            "a replica set of 2 members stops where 1 of them are away, like one of 1",
        ),
        ({"replicas": 4, "replica_set": "rs0"}, "replicas", "a replica set of 4 members stops"),
        ({"replica_set": "rs 0"}, "replica_set", "'rs 0' is not a name for a replica set"),
        ({"address": "172.28.0"}, "address", "'172.28.0' are not addresses"),
        ({"volume": "mongo_data"}, "volume", "'mongo_data' is not a valid name"),
        ({"networks": ["data", "data"]}, "networks[1]", "the network 'data' stands here twice"),
        (
            {"buckets": [{"name": "abc"}, {"name": "abc"}]},
            "buckets[1]",
            "the bucket 'abc' stands here twice",
        ),
    ],
)
def test_what_no_store_can_be_is_refused(keys: dict[str, object], place: str, why: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Store.model_validate({"engine": "mongo", **keys})
    [mistake] = mistakes_of(caught.value)
    assert mistake.place == place
    assert mistake.why.startswith(why)
    assert mistake.remedy


def test_all_mistakes_are_told_together() -> None:
    with pytest.raises(ValidationError) as caught:
        Store.model_validate(
            {
                "engine": "minio",
                "replicas": 9,
                "address": "here",
                "buckets": [{"name": "A"}, {"name": "b", "owner": "1"}],
                "volume": "My Data",
            }
        )
    assert [mistake.place for mistake in mistakes_of(caught.value)] == [
        *("buckets[0].name", "buckets[1].name", "buckets[1].owner"),
        *("replicas", "address", "volume"),
    ]


SAID: dict[str, Any] = {
    "admin": "boss",
    "buckets": [{"name": "videos"}],
    "console": 15001,
    "databases": [{"name": "shop"}],
    "encryption": True,
    "monitoring": True,
    "replica_set": "rs0",
    "replicas": 3,
    "password_file": True,
    "settings": {"a": "1"},
    "vhosts": [{"name": "shop"}],
    "queues": [{"name": "jobs"}],
    "policies": [{"name": "limits", "pattern": ".*", "max_length": 5}],
    "indices": [{"name": "logs"}],
}


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_an_engine_refuses_the_keys_that_it_has_no_use_for(engine: Engine) -> None:
    assert set(SAID) == set(SPECIFIC)
    assert engine.takes <= set(SPECIFIC)
    said = {"engine": engine.name, **SAID}
    told = dict(refused({"db": said}, Target.KUBERNETES))
    for key in SPECIFIC:
        expected = f"the engine {engine.name} has no use for '{key}'"
        assert (told.get(f"stores.db.{key}") == expected) is (key not in engine.takes)


def test_what_is_not_said_is_not_refused() -> None:
    said: dict[str, Any] = {"engine": "redis", "databases": [], "replicas": 1, "settings": {}}
    assert refused({"db": said}, Target.DOCKER) == []


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_a_server_gets_the_memory_that_it_needs(engine: Engine) -> None:
    little = {"engine": engine.name, "resources": {"cpus": 1, "memory": "31m"}}
    why = f"{engine.name} does not run with less than {engine.least_memory}"
    assert refused({"db": little}, Target.DOCKER) == [("stores.db.resources.memory", why)]
    enough = {**little, "resources": {"cpus": 1, "memory": engine.least_memory}}
    assert refused({"db": enough}, Target.DOCKER) == []


# --- who reads their numbers ----------------------------------------------------------------------

WATCHED = [engine for engine in ENGINES.values() if "monitoring" in engine.takes]


def test_a_store_has_a_user_for_its_exporter_unless_it_tells_its_numbers_itself() -> None:
    assert {engine.name for engine in WATCHED} == {*EXPORTERS} - {"nginx", "node", "blackbox"}
    for engine in ENGINES.values():
        workload = engine.workload("db", Store(engine=engine.name))
        assert (engine in WATCHED) is not (workload.metrics is not None)


@pytest.mark.parametrize("engine", WATCHED, ids=[engine.name for engine in WATCHED])
def test_an_exporter_is_nobody_who_reads_data(engine: Engine) -> None:
    said = monitored({"db": Store(engine=engine.name)})["db"]
    assert MONITORING in engine.users(said)
    consumer = engine.consumers(said)[MONITORING]
    assert consumer.user == MONITORING
    assert engine.consumers(said)[""] == engine.consumers(Store(engine=engine.name))[""]
    setup = engine.setup("db", said)
    made = setup.secrets if setup else engine.workload("db", said).secret_files
    assert f"${{password.{MONITORING}}}" in made.values()
    system = System(
        name="shop", title="Shop", environment=Environment.PRODUCTION, stores={"db": said}
    )
    for target in Target:
        managed = is_managed(said, target)
        exporter = exporters(system, Observability(), target)["db-exporter"]
        texts = [*exporter.environment.values(), *exporter.secrets.values()]
        texts += exporter.secret_files.values()
        used = {found.connection for text in texts for found in references(str(text))}
        assert used <= {*connection_keys(system.stores, target)}
        assert all(key == "db.monitoring" for key in used if not managed)


def test_a_managed_server_has_the_user_where_the_cloud_knows_rights() -> None:
    stores = {name: {**EVERY[name], "managed": MANAGED} for name in ("postgres", "redis", "mongo")}
    told = monitored({name: Store.model_validate(store) for name, store in stores.items()})
    keys = connection_keys(told, Target.DIGITALOCEAN)
    assert [key for key in keys if key.endswith(f".{MONITORING}")] == ["postgres.monitoring"]
    stores["postgres"]["monitoring"] = True
    recording = recorded(stores, Target.DIGITALOCEAN)
    users = recording.of_type("digitalocean:index/databaseUser:DatabaseUser")
    assert "data-postgres-monitoring" in {user.name for user in users}


def test_nobody_else_is_called_like_who_reads_the_numbers() -> None:
    for keys in (
        {"databases": [{"name": "monitoring"}]},
        {"databases": [{"name": "shop", "owner": "monitoring"}]},
        {"admin": "monitoring"},
    ):
        said = {"engine": "postgres", **keys}
        Store.model_validate(said)
        with pytest.raises(ValidationError) as caught:
            Store.model_validate({**said, "monitoring": True})
        [mistake] = mistakes_of(caught.value)
        assert mistake.place == "monitoring"
        assert mistake.why == "'monitoring' is who reads the server's numbers, and his connection"


# --- where they run -------------------------------------------------------------------------------


def test_on_docker_a_replica_set_has_one_member() -> None:
    store = Store.model_validate(SET)
    assert as_placed(store, Target.DOCKER).replicas == 1
    assert refused({"mongo": SET}, Target.DOCKER) == []
    assert refused({"mongo": SET}, Target.KUBERNETES) == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("enabled", [None, True, False])
def test_only_postgres_is_managed_unless_somebody_says_so(
    engine: str, *, enabled: bool | None
) -> None:
    store = Store.model_validate({"engine": engine, "managed": {"enabled": enabled}})
    default = engine == "postgres"
    there = ENGINES[engine].service is not None
    expected = default if enabled is None else enabled and there
    assert is_managed(store, Target.DIGITALOCEAN) is expected
    why = f"no cloud of this library runs {engine} by itself"
    told = check_stores("stores", {"db": store}, Target.KUBERNETES)
    assert (("stores.db.managed.enabled", why) in {(it.place, it.why) for it in told}) is (
        enabled is True and not there
    )
    assert not is_managed(store, Target.KUBERNETES)


MANAGED = {"enabled": True}


@pytest.mark.parametrize(
    ("store", "place", "why"),
    [
        (
            {"engine": "redis", "managed": {**MANAGED, "version": "7"}},
            "stores.db.managed.version",
            "DigitalOcean has no redis of the version '7'",
        ),
        (
            {"engine": "redis", "managed": MANAGED, "settings": {"hz": "20"}},
            "stores.db.settings.hz",
            "DigitalOcean decides this of a managed server",
        ),
        (
            {"engine": "mongo", "image": "mongo:4", "managed": MANAGED},
            "stores.db.managed.version",
            "DigitalOcean has no mongo of the version '4.0'",
        ),
        (
            {
                "engine": "mongo",
                "managed": {**MANAGED, "nodes": 2, "size": "db-s-1vcpu-2gb"},
            },
            "stores.db.managed.nodes",
            "DigitalOcean's mongo does not have 2",
        ),
        (
            {"engine": "minio", "managed": MANAGED},
            "stores.db",
            "Spaces have no server, only buckets",
        ),
        (
            {**OBJECTS, "managed": {**MANAGED, "nodes": 3, "size": "db-s-2vcpu-4gb"}},
            "stores.db",
            "Spaces have neither a size nor nodes",
        ),
        (
            {**OBJECTS, "managed": {**MANAGED, "version": "1"}},
            "stores.db.managed.version",
            "there are no versions of what DigitalOcean runs for minio",
        ),
        (
            {"engine": "minio", "buckets": [{"name": "a" * 60}], "managed": MANAGED},
            "stores.db.buckets[0].name",
            f"'dev-shop-db-{'a' * 60}' has 72 characters, and DigitalOcean takes 63",
        ),
    ],
)
def test_what_digitalocean_does_not_have_is_refused(
    store: dict[str, object], place: str, why: str
) -> None:
    assert refused({"db": store}, Target.DIGITALOCEAN) == [(place, why)]


def test_a_policy_is_set_on_a_managed_server_too() -> None:
    store = {"engine": "redis", "managed": MANAGED, "settings": {"maxmemory-policy": "noeviction"}}
    assert refused({"db": store}, Target.DIGITALOCEAN) == []


def test_a_replica_set_of_one_is_told_as_a_doubt() -> None:
    mongo = Store.model_validate(SET)
    [doubt] = store_doubts("shop: stores.mongo", mongo, Target.DOCKER)
    assert doubt.startswith("shop: stores.mongo: on Docker, the replica set has one member instead")
    assert list(store_doubts("shop: stores.mongo", mongo, Target.KUBERNETES)) == []


def test_secrets_that_a_server_refuses_are_refused() -> None:
    stores = {"db": {"engine": "minio", "passwords": {"minio": "short"}}}
    assert refused(stores, Target.DOCKER) == [
        ("stores.db.passwords.minio", "the password has fewer than 8 characters")
    ]


def test_a_helping_container_has_its_name_for_itself() -> None:
    stores = {"files": OBJECTS, "files-volume": {"engine": "redis"}}
    [(_, why)] = refused(stores, Target.DOCKER)
    assert why == "the container 'files-volume' is already that of stores.files"
    assert refused(stores, Target.KUBERNETES) == []


# --- the resources --------------------------------------------------------------------------------


def recorded(
    stores: dict[str, Any], target: Target = Target.DOCKER, config: Mapping[str, Any] = {}
) -> Recording:
    def program() -> None:
        options = None
        ref: Any = {"target": target}
        if target is Target.DIGITALOCEAN:
            cluster = Cluster("cloud", {"region": "nyc1"})
            options = pulumi.ResourceOptions(providers=[cluster.provider])
            ref["cluster"] = cluster.ref
        site = Site("shop", {**ref, "protect": True}, options)
        data = DataTier("data", {"site": site.ref, "stores": stores}, options)
        pulumi.export("connections", data.connections)

    return record(program, project="shop", stack="dev", config=dict(config))


def test_every_store_on_kubernetes_is_valid_and_restricted() -> None:
    objects = Objects(shops({"stores": {**EVERY, **OURS}}))
    validator = pytest.importorskip("kubernetes_validate")
    for item in objects.all:
        for version in ("1.34", "1.37"):
            validator.validate(item, version, strict=True)
    pods = [item["spec"]["template"]["spec"] for item in objects.of(*PODS)]
    # Seven servers, and jobs that set up all but Redis.
    assert len(pods) == 13
    assert [list(violations(pod)) for pod in pods] == [[]] * 13
    mongo = objects.get("StatefulSet", "mongo")["spec"]
    assert (mongo["replicas"], mongo["serviceName"]) == (3, "mongo")
    service = objects.get("Service", "mongo")["spec"]
    # A member finds itself and the others before any is ready.
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert objects.names("PodDisruptionBudget") == ["mongo"]


def test_every_store_has_a_claim_that_digitalocean_takes() -> None:
    recording = recorded(EVERY, Target.DIGITALOCEAN)
    sets = recording.of_type("kubernetes:apps/v1:StatefulSet")
    assert sorted(item.inputs["metadata"]["name"] for item in sets) == ["minio", "mongo", "redis"]
    for item in sets:
        [claim] = item.inputs["spec"]["volumeClaimTemplates"]
        # The cluster's default class is do-block-storage.
        assert "storageClassName" not in claim["spec"]
        assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    small = {"db": {"engine": "redis", "size": "512Mi"}}
    assert refused(small, Target.DIGITALOCEAN) == [
        ("stores.db.volumes[0].size", "DigitalOcean has no volume of 512Mi")
    ]


def text(value: Any) -> str:
    return str(value.value if isinstance(value, Secret) else value)


def test_managed_stores_are_the_clouds_own_and_protected() -> None:
    stores = {name: {**store, "managed": MANAGED} for name, store in EVERY.items()}
    stores["minio"]["buckets"] = [
        {"name": "videos", "owner": "nfc", "versioning": True},
        {"name": "shared"},
    ]
    recording = recorded(stores, Target.DIGITALOCEAN)
    kinds = [item.type.rpartition(":")[2] for item in recording.resources]
    assert "StatefulSet" not in kinds
    of_cloud = [item for item in recording.resources if item.type.startswith("digitalocean:")]
    kept = {"DatabaseCluster", "DatabaseFirewall", "DatabaseUser", "DatabaseDb", "SpacesBucket"}
    for item in of_cloud:
        if item.type.rpartition(":")[2] in kept:
            assert item.protect, item.name
    engines = {
        item.inputs["engine"]: item.inputs
        for item in recording.of_type("digitalocean:index/databaseCluster:DatabaseCluster")
    }
    assert {key: item["version"] for key, item in engines.items()} == {
        "pg": "17",
        "valkey": "8",
        "mongodb": "7.0",
    }
    buckets = recording.of_type("digitalocean:index/spacesBucket:SpacesBucket")
    names = [item.inputs["name"] for item in buckets]
    # Their names are everybody's in the region.
    assert names == ["dev-shop-minio-videos", "dev-shop-minio-shared"]
    # There are no Spaces in nyc1.
    assert {item.inputs["region"] for item in buckets} == {"nyc3"}
    assert [item.inputs.get("versioning") for item in buckets] == [{"enabled": True}, None]
    assert not any(item.inputs["forceDestroy"] for item in buckets)
    keys = recording.of_type("digitalocean:index/spacesKey:SpacesKey")
    assert {item.name: item.inputs["grants"] for item in keys} == {
        f"data-minio-{user}": [{"bucket": f"dev-shop-minio-{bucket}", "permission": "readwrite"}]
        for user, bucket in (("nfc", "videos"), ("minio", "shared"))
    }

    connections = recording.outputs["connections"]
    videos = connections["minio.videos"]
    assert text(videos["url"]) == "https://nyc3.digitaloceanspaces.com"
    assert videos["database"] == "dev-shop-minio-videos"
    assert videos["user"] == "__later.digitalocean.data-minio-nfc.access_key__"
    assert isinstance(videos["password"], Secret)
    redis = text(connections["redis"]["url"])
    assert redis.startswith("rediss://default:")
    assert redis.endswith(":25061/0?ssl_cert_reqs=required")
    assert text(connections["mongo.shop"]["url"]).startswith("mongodb+srv://seller:")
    for name in ("postgres", "redis", "mongo"):
        assert connections[name]["ca"].startswith("__later.digitalocean.")
    assert videos["ca"] == ""


def test_a_service_reads_the_certificate_of_a_managed_server() -> None:
    def program() -> None:
        cluster = Cluster("cloud", {"region": "nyc1"})
        options = pulumi.ResourceOptions(providers=[cluster.provider])
        site = Site("shop", {"target": Target.DIGITALOCEAN, "cluster": cluster.ref}, options)
        data = DataTier("data", {"site": site.ref, "stores": {"db": EVERY["postgres"]}}, options)
        given: Any = {**data.connections["db"]}
        del given["ca"]
        connections = {**data.connections, "other": given}
        files = {"db.crt": "${db.ca}", "other.crt": "none:${other.ca}"}
        services: Any = {"web": {"image": "web:1", "secret_files": files}}
        args: Any = {"site": site.ref, "connections": connections, "services": services}
        AppTier("app", args, options)

    recording = record(program, project="shop", stack="dev", config={})
    [data] = [
        item.inputs["stringData"]
        for item in recording.of_type("kubernetes:core/v1:Secret")
        if item.inputs["metadata"]["name"] == "web-files"
    ]
    secret = data.value if isinstance(data, Secret) else data
    assert text(secret["db.crt"]) == "__later.digitalocean.data-db-id.ca__"
    # A connection that was written by hand needn't have one.
    assert text(secret["other.crt"]) == "none:"


def test_a_key_is_a_secret_like_a_password() -> None:
    recording = recorded(EVERY)
    made = {
        item.inputs["keepers"]["for"]: item.inputs["length"]
        for item in recording.of_type("random:index/randomPassword:RandomPassword")
    }
    assert made["shop/mongo/replica-set-key"] == made["shop/minio/encryption-key"] == 42
    secrets = json.dumps({"shop/mongo/replica-set-key": "k" * 42})
    given = recorded(EVERY, config={"tiers:secrets": secrets})
    names = {
        item.inputs["keepers"]["for"]
        for item in given.of_type("random:index/randomPassword:RandomPassword")
    }
    assert names == set(made) - {"shop/mongo/replica-set-key"}


def test_a_place_is_given_to_the_server_and_its_setup() -> None:
    network: Any = {"subnet": "172.28.0.0/16"}
    described = {**EVERY["postgres"], "address": "172.28.0.100", "volume": "postgres-files"}

    def program() -> None:
        site = Site("shop", {"target": Target.DOCKER, "networks": {"data": network, "edge": {}}})
        stores: Any = {"postgres": {**described, "networks": ["data"]}}
        DataTier("data", {"site": site.ref, "stores": stores})

    recording = record(program, project="shop", stack="dev", config={})
    containers = {
        item.name: item.inputs["networksAdvanced"]
        for item in recording.of_type("docker:index/container:Container")
    }
    [server] = containers["data-postgres"]
    assert server["ipv4Address"] == "172.28.0.100"
    assert len(containers["data-postgres-setup"]) == 1
    volumes = [item.inputs["name"] for item in recording.of_type("docker:index/volume:Volume")]
    assert volumes == ["dev-shop-postgres-files"]


# --- one more engine ------------------------------------------------------------------------------


class Memcached(Engine):
    """A whole engine: what stands here is all that it takes."""

    name = "memcached"
    image = "memcached:1.6"
    port = 11211
    admin = "nobody"
    resources: ClassVar[Resources] = Resources(memory="64m")

    def consumers(self, store: Store) -> dict[str, Consumer]:
        del store
        return {"": Consumer(self.admin, "")}

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store, consumer, password
        return f"memcached://{server.at}"

    def workload(self, name: str, store: Store) -> Workload:
        return Workload(
            image=store.image or self.image,
            ports=[Port(target=self.port, published=store.published)],
            volumes=[Volume(name=f"{name}-data", target="/data", size=store.size)],
            healthcheck=Healthcheck(test=["CMD", "true"]),
            resources=store.resources or self.resources,
            stateful=True,
        )


def test_one_more_engine_is_a_class_and_a_line_of_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    stores: dict[str, Any] = {"cache": {"engine": "memcached"}}
    with pytest.raises(RefusedError, match="there is no engine 'memcached'"):
        recorded(stores)
    monkeypatch.setitem(ENGINES, "memcached", Memcached())
    for target, kind in (
        (Target.DOCKER, "docker:index/container:Container"),
        (Target.KUBERNETES, "kubernetes:apps/v1:StatefulSet"),
        (Target.DIGITALOCEAN, "kubernetes:apps/v1:StatefulSet"),
    ):
        recording = recorded(stores, target)
        assert [item.name for item in recording.of_type(kind)] == ["data-cache"]
        url = recording.outputs["connections"]["cache"]["url"]
        assert text(url) == "memcached://cache:11211"
    found = Store.model_validate(stores["cache"])
    assert connection_keys({"cache": found}, Target.DOCKER) == ["cache"]
    assert refused({"cache": {**stores["cache"], "replica_set": "a"}}, Target.DOCKER) == [
        ("stores.cache.replica_set", "the engine memcached has no use for 'replica_set'")
    ]


def test_what_watches_a_system_knows_no_engine_by_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENGINES, "memcached", Memcached())
    api = Workload(
        image="shop/api:1",
        user="1000:1000",
        environment={"CACHE": "${cache.host}:${cache.port}"},
        depends_on={"cache": Condition.SERVICE_HEALTHY},
    )
    monkeypatch.setitem(
        SYSTEMS,
        "shop",
        lambda environment: System(
            name="shop",
            title="Shop",
            environment=environment,
            stores={"cache": Store(engine="memcached")},
            services={"api": api},
        ),
    )

    def watched() -> set[str]:
        config: dict[str, Json] = {
            "tiers:environment": "development",
            "tiers:target": "docker",
            "tiers:systems": ["shop"],
            "tiers:observability": {"shop": {}},
        }
        recording = record(main, project="tiers", stack="dev", config=config)
        # Of it come the Compose file, the pictures and the report, too.
        assert "cache" in str(compose(recording, "dev")["services"])
        return {item.name for item in recording.of_type("docker:index/container:Container")}

    assert "shop-data-cache" in (names := watched())
    assert not [name for name in names if "cache-exporter" in name]
    assert [name for name in names if name.endswith("-prometheus")]

    def arguments(connection: str, tls: bool) -> dict[str, Any]:
        assert not tls
        return {"command": [f"--memcached.address={connection}:11211"]}

    monkeypatch.setitem(EXPORTERS, "memcached", Exporter("prom/memcached:1", 9150, arguments))
    assert [name for name in watched() if name.endswith("cache-exporter")]
