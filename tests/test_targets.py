"""What each key of a description does on each target: done, refused, told, or by nature nothing.

A key that is new has no row, and the test of all keys fails: it must be placed. What a row says is
then tried: two tiers that differ by that key alone are recorded on the target and compared.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast, get_args

import pulumi
import pytest
from pulumi_tiers.app_tier import AppTier
from pulumi_tiers.checks import check_systems
from pulumi_tiers.cluster import Cluster
from pulumi_tiers.data_tier import DataTier
from pulumi_tiers.limits import check_limits, workload_doubts
from pulumi_tiers.model.base import Model
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.base import SiteRef
from pulumi_tiers.render.recorder import Json, Recording, Resource, Secret, record
from pulumi_tiers.settings import ONLY_FOR, Settings, read_settings, settings_doubts
from pulumi_tiers.site import Site, SiteSpec

DONE, REFUSED, TOLD = "done", "refused", "told"
NOTHING = "nothing"
"""By its nature: docs/targets.md says so."""
SAME = "same"
"""It decides something else than resources: what the program's texts say, or a whole stack."""

WHERE = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A key that is given (`keys`) or not (`without`), and what comes of it on the targets."""

    docker: str
    kubernetes: str
    digitalocean: str
    keys: WHERE
    without: WHERE = field(default_factory=dict)

    def on(self, target: Target) -> str:
        return str(getattr(self, target.value))


def all_alike(keys: WHERE, without: WHERE | None = None, what: str = DONE) -> Row:
    return Row(what, what, what, keys, without or {})


def in_clusters(keys: WHERE, without: WHERE | None = None, docker: str = NOTHING) -> Row:
    return Row(docker, DONE, DONE, keys, without or {})


def on_docker(keys: WHERE, without: WHERE | None = None, elsewhere: str = NOTHING) -> Row:
    return Row(DONE, elsewhere, elsewhere, keys, without or {})


PUBLIC: WHERE = {"ports": [{"target": 80, "load_balancer": 80}]}
ENCRYPTED: WHERE = {"ports": [{"target": 80, "load_balancer": 443}]}
PUBLISHED: WHERE = {"ports": [{"target": 80, "published": 8080}]}
SCALED: WHERE = {"queue": "queue", "autoscale": {"max": 3, "queue_name": "q", "queue_length": 5}}
CHECK: WHERE = {"test": ["CMD", "true"]}
COUNTED: WHERE = {"command": ["${concurrency}"]}


def volume(**keys: Any) -> WHERE:
    return {"volumes": [{"name": "files", "target": "/files", **keys}]}


def health(**keys: Any) -> WHERE:
    return {"healthcheck": {**CHECK, **keys}}


def init(**keys: Any) -> WHERE:
    return {"init": {"image": "init:1", **keys}}


def model(**keys: Any) -> WHERE:
    return {"models": {"it": {"version": "v1", **keys}}}


SERVICE: dict[str, Row] = {
    "image": all_alike({"image": "api:2"}),
    "build.context": on_docker({"image": None, "build": {"context": "."}}, elsewhere=REFUSED),
    "build.dockerfile": on_docker(
        {"image": None, "build": {"context": ".", "dockerfile": "D"}}, elsewhere=REFUSED
    ),
    "build.args": on_docker(
        {"image": None, "build": {"context": ".", "args": {"A": "b"}}}, elsewhere=REFUSED
    ),
    "build.target": on_docker(
        {"image": None, "build": {"context": ".", "target": "t"}}, elsewhere=REFUSED
    ),
    "entrypoint": all_alike({"entrypoint": ["x"]}),
    "command": all_alike({"command": ["x"]}),
    "environment": all_alike({"environment": {"A": "b"}}),
    "secrets": all_alike({"secrets": {"A": "b"}}),
    "secret_name": in_clusters(
        {"secrets": {"A": "b"}, "secret_name": "own"}, {"secrets": {"A": "b"}}
    ),
    # A stack sets them: `tiers:variables`, `tiers:secrets`.
    "optional_environment": all_alike({"optional_environment": ["A"]}, what=SAME),
    "optional_secrets": all_alike({"optional_secrets": ["A"]}, what=SAME),
    "required_secrets": all_alike(
        {"secrets": {"A": "b"}, "required_secrets": ["A"]}, {"secrets": {"A": "b"}}, what=SAME
    ),
    "configs": all_alike({"configs": {"a": "b"}}),
    "secret_files": all_alike({"secret_files": {"a": "b"}}),
    "reloads": all_alike({"configs": {"a": "b"}, "reloads": True}, {"configs": {"a": "b"}}),
    "ports.target": all_alike({"ports": [{"target": 90, "published": 9000}]}, PUBLISHED),
    "ports.published": on_docker(PUBLISHED),
    "ports.load_balancer": in_clusters(PUBLIC),
    "ports.host_ip": on_docker(
        {"ports": [{**PUBLISHED["ports"][0], "host_ip": "0.0.0.0"}]}, PUBLISHED
    ),
    "ports.scheme": all_alike(
        {"ports": [{"target": 80, "published": 80, "load_balancer": 80, "scheme": "https"}]},
        {"ports": [{"target": 80, "published": 80, "load_balancer": 80}]},
    ),
    "networks": all_alike({"networks": ["front"]}),
    "addresses": on_docker(
        {"networks": ["back"], "addresses": "172.30.0.10"}, {"networks": ["back"]}
    ),
    "load_balancer.proxy_protocol": Row(
        NOTHING, REFUSED, DONE, {**PUBLIC, "load_balancer": {"proxy_protocol": True}}, PUBLIC
    ),
    "load_balancer.local": in_clusters({**PUBLIC, "load_balancer": {"local": True}}, PUBLIC),
    "load_balancer.certificate": Row(
        NOTHING, REFUSED, DONE, {**ENCRYPTED, "load_balancer": {"certificate": "abc"}}, ENCRYPTED
    ),
    "volumes.name": all_alike(volume(name="other"), volume()),
    "volumes.target": all_alike(volume(target="/other"), volume()),
    "volumes.size": all_alike(volume(size="3Gi"), volume()),
    "volumes.scratch": in_clusters(volume(scratch=True), volume()),
    "volumes.external": on_docker(volume(external=True), volume(), elsewhere=REFUSED),
    "volumes.read_only": all_alike(volume(read_only=True), volume()),
    "binds": on_docker({"binds": {"/a": "/srv"}}, elsewhere=REFUSED),
    "tmpfs": all_alike({"tmpfs": {"/t": "size=16m"}}),
    "healthcheck.test": all_alike(health(), health(test=["CMD", "false"])),
    "healthcheck.interval": all_alike(health(interval="9s"), health()),
    "healthcheck.timeout": all_alike(health(timeout="9s"), health()),
    "healthcheck.retries": all_alike(health(retries=9), health()),
    "healthcheck.start_period": all_alike(health(start_period="9s"), health()),
    "healthcheck.path": in_clusters(health(path="/health"), health()),
    "healthcheck.port": in_clusters(health(path="/health", port=81), health(path="/health")),
    # A Prometheus on Docker is told by its own files: tests/test_observability.py.
    "metrics.path": in_clusters({"metrics": {"path": "/m"}}, {"metrics": {}}),
    "metrics.port": in_clusters(
        {"ports": [{"target": 80}, {"target": 81}], "metrics": {"port": 81}},
        {"ports": [{"target": 80}, {"target": 81}], "metrics": {}},
    ),
    "metrics.interval": in_clusters({"metrics": {"interval": "9s"}}, {"metrics": {}}),
    "depends_on": all_alike({"depends_on": {"queue": "service_healthy"}}),
    # A stack chooses: `tiers:profiles`.
    "profiles": all_alike({"profiles": ["x"]}, what=SAME),
    "replicas": all_alike({"replicas": 2}),
    "autoscale.min": Row(REFUSED, DONE, DONE, {"autoscale": {"min": 2, "max": 3}}),
    "autoscale.max": Row(REFUSED, DONE, DONE, {"autoscale": {"max": 3}}),
    "autoscale.cpu": Row(REFUSED, DONE, DONE, {"autoscale": {"max": 3, "cpu": 50}}),
    "autoscale.queue_length": in_clusters(SCALED, {"queue": "queue"}, docker=TOLD),
    "autoscale.queue_name": in_clusters(SCALED, {"queue": "queue"}, docker=TOLD),
    "concurrency": all_alike({**COUNTED, "concurrency": 2}, {**COUNTED, "concurrency": 3}),
    # What holds its jobs is judged, and measured for `autoscale`.
    "queue": all_alike({"queue": "queue"}, what=SAME),
    "gpu.count": all_alike({"gpu": {"count": 2}}, {"gpu": {}}),
    "gpu.devices": on_docker({"gpu": {"devices": [3]}}, {"gpu": {}}, elsewhere=TOLD),
    # On Docker it is judged: who would have the same one, is refused.
    "gpu.sharing": Row(SAME, TOLD, TOLD, {"gpu": {"sharing": "shared"}}, {"gpu": {}}),
    "gpu.kind": in_clusters({"gpu": {"kind": "A100"}}, {"gpu": {}}, docker=TOLD),
    "models.version": all_alike(model(version="v2"), model()),
    "models.target": all_alike(model(target="/m"), model()),
    "models.store": all_alike(model(store="queue", bucket="b"), what=REFUSED),  # no bucket there
    "models.bucket": all_alike(model(store="queue", bucket="b"), what=REFUSED),
    "models.image": all_alike(model(image="mc:1"), model()),
    "models.size": all_alike(model(size="3Gi"), model()),
    "models.optional": all_alike(model(optional=True), model()),
    "init.image": all_alike(init()),
    "init.entrypoint": all_alike(init(entrypoint=["x"]), init()),
    "init.command": all_alike(init(command=["x"]), init()),
    "init.environment": all_alike(init(environment={"A": "b"}), init()),
    "init.secrets": all_alike(init(secrets={"A": "b"}), init()),
    "init.tmpfs": all_alike(init(tmpfs={"/t": ""}), init()),
    "resources.cpus": all_alike({"resources": {"cpus": 0.25}}),
    "resources.memory": all_alike({"resources": {"memory": "64m"}}),
    "resources.reserved_cpus": in_clusters({"resources": {"reserved_cpus": 0.3}}),
    "resources.reserved_memory": all_alike({"resources": {"reserved_memory": "64m"}}),
    # There, a service is always started again, as `always` says, and what ends is refused.
    "restart": Row(DONE, REFUSED, REFUSED, {"restart": "on-failure"}),
    "pull_policy": all_alike({"pull_policy": "always"}),
    "image_owner": Row(REFUSED, DONE, DONE, {"image_owner": "others"}),
    "stop_grace_period": all_alike({"stop_grace_period": "33s"}),
    "user": all_alike({"user": "5:5"}),
    "read_only": all_alike({"read_only": False}),
    "cap_add": all_alike({"cap_add": ["NET_BIND_SERVICE"]}),
    "stateful": in_clusters({"stateful": True}),
    "job": all_alike({"ports": [], "job": True}, {"ports": []}),
    "on_demand": all_alike({"ports": [], "on_demand": True}, {"ports": []}),
    "per_node": Row(DONE, DONE, DONE, {"binds": {"/a": "/srv"}, "per_node": True}),
    "discovers": in_clusters({"discovers": True}),
    # Kubernetes always does that.
    "rolling": on_docker({"replicas": 2, "rolling": True}, {"replicas": 2}),
    "docker_socket": Row(TOLD, REFUSED, REFUSED, {"docker_socket": True}),
    "docker_only": Row(SAME, REFUSED, REFUSED, {"docker_only": "it shows containers"}),
    "unverified": all_alike({"unverified": True}),
    # A stack says where the checkout is: `tiers:sources`.
    "source.context": all_alike({"source": {"context": "api"}}, what=SAME),
    "source.dockerfile": all_alike({"source": {"dockerfile": "D"}}, what=SAME),
    "source.args": all_alike({"source": {"args": ["A"]}}, what=SAME),
    "source.mount": all_alike({"source": {"mount": "/app"}}, what=SAME),
}
"""Of what runs to its end, besides: `restart`, `healthcheck` (below)."""

POSTGRES: WHERE = {"engine": "postgres"}
MINIO: WHERE = {"engine": "minio"}
MONGO: WHERE = {"engine": "mongo"}
RABBITMQ: WHERE = {"engine": "rabbitmq"}
ELASTIC: WHERE = {"engine": "elasticsearch"}
BIG: WHERE = {"size": "db-s-1vcpu-2gb"}


def of(engine: WHERE, **keys: Any) -> tuple[WHERE, WHERE]:
    return {**engine, **keys}, engine


def databases(**keys: Any) -> tuple[WHERE, WHERE]:
    plain = {"name": "shop"}
    return {**POSTGRES, "databases": [{**plain, **keys}]}, {**POSTGRES, "databases": [plain]}


def of_rabbitmq(key: str, plain: WHERE, **keys: Any) -> tuple[WHERE, WHERE]:
    return {**RABBITMQ, key: [{**plain, **keys}]}, {**RABBITMQ, key: [plain]}


QUEUE: WHERE = {"name": "jobs"}
POLICY: WHERE = {"name": "limits", "pattern": "jobs", "max_length": 5}
INDEX: WHERE = {"name": "logs"}
GUEST: WHERE = {"name": "reader"}


def policy(**keys: Any) -> tuple[WHERE, WHERE]:
    return of_rabbitmq("policies", POLICY, **keys)


def guest(**keys: Any) -> tuple[WHERE, WHERE]:
    return (
        {**RABBITMQ, "vhosts": [{"name": "/shop", "users": [{**GUEST, **keys}]}]},
        {**RABBITMQ, "vhosts": [{"name": "/shop", "users": [GUEST]}]},
    )


def index(**keys: Any) -> tuple[WHERE, WHERE]:
    return {**ELASTIC, "indices": [{**INDEX, **keys}]}, {**ELASTIC, "indices": [INDEX]}


def bucket(**keys: Any) -> tuple[WHERE, WHERE]:
    return {**MINIO, "buckets": [{"name": "files", **keys}]}, {
        **MINIO,
        "buckets": [{"name": "files"}],
    }


#: Postgres is DigitalOcean's own there: what belongs to a container of ours says nothing then.
_IN_CLUSTER = {**POSTGRES, "managed": {"enabled": False}}

STORE: dict[str, Row] = {
    "engine": all_alike(POSTGRES, MINIO),
    # The cloud takes the version of its tag.
    "image": all_alike(*of(POSTGRES, image="postgres:16.1")),
    "admin": Row(DONE, DONE, NOTHING, *of(POSTGRES, admin="boss")),
    "databases.name": all_alike(*databases(name="other")),
    "databases.owner": all_alike(*databases(owner="seller")),
    "databases.init_sql": all_alike(*databases(init_sql={"a": "SELECT 1"})),
    "databases.profiles": all_alike(*databases(profiles=["x"]), what=SAME),
    "buckets.name": all_alike(*bucket(name="others")),
    "buckets.owner": all_alike(*bucket(owner="seller")),
    "buckets.versioning": all_alike(*bucket(versioning=True)),
    "buckets.profiles": all_alike(*bucket(profiles=["x"]), what=SAME),
    "vhosts.name": all_alike(*of(RABBITMQ, vhosts=[{"name": "/shop"}])),
    "vhosts.owner": all_alike(*of(RABBITMQ, vhosts=[{"name": "/", "owner": "seller"}])),
    "vhosts.users.name": all_alike(*guest(name="other")),
    "vhosts.users.configure": all_alike(*guest(configure="^a")),
    "vhosts.users.write": all_alike(*guest(write="^a")),
    "vhosts.users.read": all_alike(*guest(read="^a")),
    "queues.name": all_alike(*of_rabbitmq("queues", QUEUE, name="mail")),
    "queues.vhost": all_alike(
        {
            **RABBITMQ,
            "vhosts": [{"name": "/"}, {"name": "/b"}],
            "queues": [{**QUEUE, "vhost": "/b"}],
        },
        {**RABBITMQ, "vhosts": [{"name": "/"}, {"name": "/b"}], "queues": [QUEUE]},
    ),
    "queues.type": all_alike(*of_rabbitmq("queues", QUEUE, type="quorum")),
    "policies.name": all_alike(*policy(name="other")),
    "policies.vhost": all_alike(
        {
            **RABBITMQ,
            "vhosts": [{"name": "/"}, {"name": "/b"}],
            "policies": [{**POLICY, "vhost": "/b"}],
        },
        {**RABBITMQ, "vhosts": [{"name": "/"}, {"name": "/b"}], "policies": [POLICY]},
    ),
    "policies.pattern": all_alike(*policy(pattern="mail")),
    "policies.apply_to": all_alike(*policy(apply_to="all")),
    "policies.priority": all_alike(*policy(priority=3)),
    "policies.message_ttl": all_alike(*policy(message_ttl=5)),
    "policies.expires": all_alike(*policy(expires=5)),
    "policies.max_length": all_alike(*policy(max_length=6)),
    "policies.max_length_bytes": all_alike(*policy(max_length_bytes=6)),
    "policies.overflow": all_alike(*policy(overflow="reject-publish")),
    "policies.dead_letter_exchange": all_alike(*policy(dead_letter_exchange="dead")),
    "policies.dead_letter_routing_key": all_alike(
        *policy(dead_letter_exchange="dead", dead_letter_routing_key="a")
    ),
    "policies.dead_letter_strategy": all_alike(
        *policy(dead_letter_exchange="dead", dead_letter_strategy="at-most-once")
    ),
    "policies.delivery_limit": all_alike(*policy(delivery_limit=5)),
    "policies.alternate_exchange": all_alike(*policy(apply_to="all", alternate_exchange="other")),
    "indices.name": all_alike(*index(name="others")),
    "indices.owner": all_alike(*index(owner="seller")),
    "indices.retention": all_alike(*index(retention=9)),
    "indices.fields": all_alike(*index(fields={"level": "keyword"})),
    "passwords": Row(
        DONE,
        DONE,
        REFUSED,
        {**databases(owner="seller")[0], "passwords": {"seller": "k9Vq2mZx7Lp0Wd4"}},
        databases(owner="seller")[0],
    ),
    "settings": Row(DONE, DONE, REFUSED, *of(POSTGRES, settings={"max_connections": "50"})),
    "replica_set": all_alike(*of(MONGO, replica_set="rs0")),
    "replicas": Row(
        TOLD,
        DONE,
        DONE,
        {**MONGO, "replica_set": "rs0", "replicas": 3},
        {**MONGO, "replica_set": "rs0"},
    ),
    "password_file": Row(DONE, DONE, NOTHING, *of(POSTGRES, password_file=True)),
    "encryption": all_alike(*of(MINIO, encryption=True)),
    "published": on_docker(*of(POSTGRES, published=5432)),
    "console": on_docker(*of(MINIO, console=9001)),
    "networks": all_alike(*of(RABBITMQ, networks=["front"])),
    "address": on_docker(
        {**POSTGRES, "networks": ["back"], "address": "172.30.0.9"},
        {**POSTGRES, "networks": ["back"]},
    ),
    "volume": Row(DONE, DONE, NOTHING, *of(POSTGRES, volume="own")),
    "size": Row(DONE, DONE, NOTHING, *of(POSTGRES, size="3Gi")),
    "resources.cpus": Row(DONE, DONE, NOTHING, *of(POSTGRES, resources={"cpus": 0.4})),
    "resources.memory": Row(DONE, DONE, NOTHING, *of(POSTGRES, resources={"memory": "600m"})),
    "resources.reserved_cpus": Row(
        NOTHING,
        DONE,
        NOTHING,
        {**POSTGRES, "resources": {"memory": "600m", "reserved_cpus": 0.2}},
        {**POSTGRES, "resources": {"memory": "600m"}},
    ),
    "resources.reserved_memory": Row(
        DONE, DONE, NOTHING, *of(POSTGRES, resources={"reserved_memory": "64m"})
    ),
    **{
        f"healthcheck.{key}": Row(DONE, DONE, NOTHING, *of(POSTGRES, healthcheck={key: value}))
        for key, value in {
            "interval": "7s",
            "timeout": "7s",
            "retries": 7,
            "start_period": "7s",
        }.items()
    },
    "managed.enabled": Row(NOTHING, NOTHING, DONE, _IN_CLUSTER, POSTGRES),
    "managed.name": Row(NOTHING, NOTHING, DONE, *of(POSTGRES, managed={"name": "own"})),
    "managed.size": Row(NOTHING, NOTHING, DONE, *of(POSTGRES, managed=BIG)),
    "managed.nodes": Row(
        NOTHING,
        NOTHING,
        DONE,
        {**POSTGRES, "managed": {**BIG, "nodes": 2}},
        {**POSTGRES, "managed": BIG},
    ),
    "managed.version": Row(NOTHING, NOTHING, DONE, *of(POSTGRES, managed={"version": "16"})),
    # Another program asks with it: the exporter of `observability`.
    "monitoring": all_alike(*of(POSTGRES, monitoring=True)),
}

SITE: dict[str, Row] = {
    "target": all_alike({}, what=SAME),
    "system": all_alike({"system": "other"}),
    "namespace": in_clusters({"namespace": "other"}),
    "environment": in_clusters({"environment": "staging"}),
    "labels": all_alike({"labels": {"team": "a"}}),
    "documented_names": on_docker({"documented_names": True}),
    "container_prefix": on_docker(
        {"documented_names": True, "container_prefix": "shop-"}, {"documented_names": True}
    ),
    "networks.subnet": on_docker(
        {"networks": {"a": {"subnet": "172.31.0.0/24"}}}, {"networks": {"a": {}}}
    ),
    "networks.ip_range": on_docker(
        {"networks": {"a": {"subnet": "172.31.0.0/24", "ip_range": "172.31.0.0/25"}}},
        {"networks": {"a": {"subnet": "172.31.0.0/24"}}},
    ),
    "networks.internal": all_alike(
        {"networks": {"a": {"internal": True}}}, {"networks": {"a": {}}}
    ),
    "protect": all_alike({"protect": True}),
    "registry_logins.username": Row(
        REFUSED, DONE, DONE, {"registry_logins": {"ghcr.io": {"username": "a", "password": "b"}}}
    ),
    "registry_logins.password": Row(
        REFUSED, DONE, DONE, {"registry_logins": {"ghcr.io": {"username": "a", "password": "b"}}}
    ),
    "source_ranges": in_clusters({"source_ranges": ["203.0.113.0/24"]}),
    "await_load_balancers": in_clusters({"await_load_balancers": False}),
    "collectors": in_clusters({"collectors": True}),
    "service_monitors": in_clusters({"service_monitors": "monitoring"}),
    "cluster.id": Row(
        REFUSED, REFUSED, SAME, {"cluster": {"id": "a", "region": "nyc3", "vpc": "b"}}
    ),
    "cluster.region": Row(
        REFUSED, REFUSED, SAME, {"cluster": {"id": "a", "region": "nyc3", "vpc": "b"}}
    ),
    "cluster.vpc": Row(
        REFUSED, REFUSED, SAME, {"cluster": {"id": "a", "region": "nyc3", "vpc": "b"}}
    ),
}


def leaves(kind: type[Model], before: str = "") -> Iterator[str]:
    """The keys of a model and of its parts, as descriptions write them."""
    for name, info in kind.model_fields.items():
        parts = list(models_in(info.annotation))
        yield from (leaf for part in parts for leaf in leaves(part, f"{before}{name}."))
        if not parts:
            yield f"{before}{name}"


def models_in(annotation: object) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


@pytest.mark.parametrize(
    ("kind", "rows"),
    [(Workload, SERVICE), (Store, STORE), (SiteSpec, SITE)],
    ids=["service", "store", "site", ""][:3],
)
def test_every_key_is_placed(kind: type[Model], rows: dict[str, Row]) -> None:
    assert sorted(rows) == sorted(leaves(kind))


SERVICES = [
    *(pytest.param(key, target, id=f"{key}-{target}") for key in SERVICE for target in Target)
]
STORES = [*(pytest.param(key, target, id=f"{key}-{target}") for key in STORE for target in Target)]
SITES = [*(pytest.param(key, target, id=f"{key}-{target}") for key in SITE for target in Target)]


@dataclass
class Tried:
    """What came of all rows on one target."""

    recording: Recording
    refused: dict[str, str]
    #: By the row's number, that of what it is compared with.
    bases: list[int]

    def outcome(self, number: int) -> str:
        if why := self.refused.get(f"with{number}"):
            return f"{REFUSED}: {why}"
        if any(re.search(rf"unit{number}\b", text) for text in self.recording.warnings):
            return TOLD
        changed = self._made(f"with{number}") != self._made(f"base{self.bases[number]}")
        return DONE if changed else SAME

    def _made(self, name: str) -> list[Json]:
        """What the tier has made, by the names that it has on both sides."""

        def same(value: Json) -> Json:
            match value:
                case str():
                    # Digits of a hash over values that hold the tier's name.
                    value = re.sub(r"(?<![0-9a-f])[0-9a-f]{10}$", "digits", value)
                    return re.sub(rf"({name}|unit\d+)(?!\d)", "it", value, flags=re.IGNORECASE)
                case Secret():
                    return ("secret", same(value.value))
                case Mapping():
                    return {key: same(item) for key, item in value.items()}
                case list():
                    return [same(item) for item in value]
                case _:
                    return value

        def described(item: Resource) -> Json:
            options = [item.protect, item.ignore_changes, [same(urn) for urn in item.depends_on]]
            return [same(item.type), same(item.name), same(dict(item.inputs)), options]

        urns = re.compile(rf"\b{name}\b")
        found = self.recording.component_outputs.items()
        urls = [same(outputs.get("urls")) for urn, outputs in found if urns.search(urn)]
        made = [described(item) for item in self.recording.resources if urns.search(item.urn)]
        return sorted([*made, *urls], key=repr)


Make = Callable[[str, int, WHERE, SiteRef, pulumi.ResourceOptions | None], None]


def tried(target: Target, rows: Mapping[str, Row], make: Make) -> Tried:
    refused: dict[str, str] = {}
    bases = [json.dumps(row.without, sort_keys=True) for row in rows.values()]
    different = list(dict.fromkeys(bases))

    def program() -> None:
        options, place = None, cast("WHERE", {"target": target})
        if target is Target.DIGITALOCEAN:
            cluster = Cluster("cluster", {"region": "nyc3"})
            options = pulumi.ResourceOptions(providers=[cluster.provider])
            place["cluster"] = cluster.ref
        if make is make_site:
            site = cast("SiteRef", place)
        else:
            networks: WHERE = {"front": {}, "back": {"subnet": "172.30.0.0/24"}}
            given = cast("Any", {**place, "networks": networks, "collectors": True})
            site = Site("shop", given, options).ref
        # What they are compared with bears numbers that no row has.
        every = [
            (f"base{it}", len(rows) + it, json.loads(keys)) for it, keys in enumerate(different)
        ]
        every += [(f"with{it}", it, row.keys) for it, row in enumerate(rows.values())]
        for name, number, keys in every:
            try:
                make(name, number, keys, site, options)
            except DescriptionError as error:
                refused[name] = str(error)

    recording = record(program, project="shop", stack="dev", config={})
    return Tried(recording, refused, [different.index(base) for base in bases])


def make_service(
    name: str, number: int, keys: WHERE, site: SiteRef, options: pulumi.ResourceOptions | None
) -> None:
    queue = {"host": "queue", "port": "6379", "user": "default", "database": "0", "password": "p"}
    queue |= {"url": "redis://queue", "ready": "queue", "engine": "redis"}
    described = {"image": "api:1", "ports": [{"target": 80}], **keys}
    args = {
        "site": site,
        "services": {f"unit{number}": {key: it for key, it in described.items() if it is not None}},
        "connections": {"queue": queue},
    }
    AppTier(name, cast("Any", args), options)


def make_store(
    name: str, number: int, keys: WHERE, site: SiteRef, options: pulumi.ResourceOptions | None
) -> None:
    stores = {f"unit{number}": keys} if keys else {}
    DataTier(name, cast("Any", {"site": site, "stores": stores}), options)


def make_site(
    name: str, number: int, keys: WHERE, site: SiteRef, options: pulumi.ResourceOptions | None
) -> None:
    placed = Site(name, cast("Any", {"system": f"unit{number}", **site, **keys}), options)
    services: WHERE = {
        "web": {"image": "web:1", "ports": [{"target": 80, "load_balancer": 80}]},
        "api": {
            "image": "api:1",
            "ports": [{"target": 80}],
            "volumes": [{"name": "files", "target": "/files"}],
            "metrics": {},
        },
    }
    AppTier(f"{name}-app", cast("Any", {"site": placed.ref, "services": services}), options)


TABLES: dict[str, tuple[dict[str, Row], Make]] = {
    "service": (SERVICE, make_service),
    "store": (STORE, make_store),
    "site": (SITE, make_site),
}


@cache
def outcomes(table: str, target: Target) -> dict[str, str]:
    rows, make = TABLES[table]
    found = tried(target, rows, make)
    return {key: found.outcome(number) for number, key in enumerate(rows)}


def check(table: str, key: str, target: Target) -> None:
    said = TABLES[table][0][key].on(target)
    found = outcomes(table, target)[key]
    if said == REFUSED:
        assert found.startswith(REFUSED), found
        assert any(word in found for word in key.split(".")), found
    else:
        assert found == (SAME if said == NOTHING else said)


@pytest.mark.parametrize(("key", "target"), SERVICES)
def test_what_a_key_of_a_service_does(key: str, target: Target) -> None:
    check("service", key, target)


@pytest.mark.parametrize(("key", "target"), STORES)
def test_what_a_key_of_a_store_does(key: str, target: Target) -> None:
    check("store", key, target)


@pytest.mark.parametrize(("key", "target"), SITES)
def test_what_a_key_of_a_site_does(key: str, target: Target) -> None:
    check("site", key, target)


# --- beside the table -----------------------------------------------------------------------------


def places(target: Target, **keys: Any) -> list[str]:
    workload = Workload.model_validate({"image": "api:1", **keys})
    return [mistake.place for mistake in check_limits("api", workload, target)]


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("key", ["job", "stateful", "autoscale", "gpu", "replicas"])
def test_a_collector_is_the_same_everywhere(target: Target, key: str) -> None:
    values: WHERE = {"autoscale": {"max": 2}, "gpu": {}, "replicas": 2}
    given = values.get(key, True)
    assert f"api.{key}" in places(target, per_node=True, **{key: given})


def test_what_runs_to_its_end_is_not_started_again() -> None:
    for target in Target:
        assert places(target, job=True, restart="always") == ["api.restart"]
        assert places(target, on_demand=True, restart="on-failure") == ["api.restart"]
        assert places(target, job=True, restart="no") == []
    assert places(Target.DOCKER, job=True, restart="on-failure") == ["api.restart"]
    assert places(Target.KUBERNETES, job=True, restart="on-failure") == []


def test_a_certificate_of_the_load_balancer_is_for_its_port_443() -> None:
    given: WHERE = {"load_balancer": {"certificate": "abc"}}
    assert places(Target.DIGITALOCEAN, **PUBLIC, **given) == ["api.load_balancer.certificate"]
    assert places(Target.DIGITALOCEAN, **ENCRYPTED, **given) == []


def test_a_health_check_that_nobody_asks_for_is_told() -> None:
    job = Workload.model_validate({"image": "api:1", "job": True, **health()})
    [told] = workload_doubts("api", job, Target.KUBERNETES)
    assert "the health of what runs to its end" in told
    assert list(workload_doubts("api", job, Target.DOCKER)) == []


def test_a_volume_that_nobody_makes_is_refused() -> None:
    def mistakes(target: Target, **made: Any) -> list[str]:
        user: WHERE = {"image": "b:1", **volume(name="shared", external=True)}
        services = {"one": {"image": "a:1", **made}, "two": user}
        described = {"name": "shop", "title": "Shop", "environment": "development"}
        system = System.model_validate({**described, "services": services})
        return [str(mistake) for mistake in check_systems([system], target)]

    [found] = mistakes(Target.DOCKER)
    assert found.startswith("shop: services.two.volumes[0].external: nothing of this system makes")
    [found] = mistakes(Target.DOCKER, **volume(name="share"))
    assert "did you mean 'share'?" in found
    assert mistakes(Target.DOCKER, **volume(name="shared")) == []


def test_what_a_stack_says_for_another_target_is_told() -> None:
    def told(target: str, **keys: Json) -> list[str]:
        config = {"tiers:target": target, **{f"tiers:{key}": it for key, it in keys.items()}}
        return list(settings_doubts(read_settings(config)))

    ours = {"port_offset": 5, "publish": "edges"}
    assert told("docker", **ours) == []
    assert told("kubernetes", **ours) == [
        f"tiers:{key}: it does nothing on kubernetes, it is for docker" for key in sorted(ours)
    ]
    [balancers] = told("docker", load_balancers={"await": False})
    assert balancers.endswith("it is for kubernetes and digitalocean")
    assert told("kubernetes", load_balancers={"await": False}) == []
    assert told("kubernetes", port_offset=0) == []
    text = (Path(__file__).parents[1] / "docs" / "targets.md").read_text(encoding="utf-8")
    for key in frozenset[str]().union(*ONLY_FOR.values()):
        assert key in Settings.model_fields
        assert f"`tiers:{key}`" in text


@pytest.mark.parametrize("table", TABLES)
def test_what_does_nothing_by_its_nature_is_said_in_the_page(table: str) -> None:
    rows, _ = TABLES[table]
    text = (Path(__file__).parents[1] / "docs" / "targets.md").read_text(encoding="utf-8")
    [section] = re.findall(r"does nothing there:\n(.*?)\nWhat somebody", text, re.DOTALL)
    silent = [key for key, row in rows.items() if NOTHING in {row.on(it) for it in Target}]
    for key in silent:
        whole, _, last = key.partition(".")
        words = {key, whole, last.rpartition(".")[2]} - {""}
        assert any(f"`{word}`" in section for word in words), key
