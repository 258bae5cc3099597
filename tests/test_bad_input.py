"""Bad input, kind by kind: refused when the stack is described, at its place, with what to do.

Whoever adds a key that can be wrong adds a row. What needs more than a row (certificates, files,
pipelines) has tests beside its own.
"""

from typing import Any
from unittest import mock

import pytest
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.plan import make_plan
from pulumi_tiers.settings import read_settings
from pulumi_tiers.systems import SYSTEMS
from test_plan import POSTGRES, api

LISTENING = api(ports=[{"target": 80}])
SUBNET = {"networks": {"data": {"subnet": "172.28.0.0/16"}}}


def service(**keys: object) -> dict[str, Any]:
    """A system with one service."""
    return {"services": {"api": api(**keys)}}


def at(addresses: object, **keys: object) -> dict[str, Any]:
    """A service with fixed addresses in 172.28.0.0/16."""
    return {**service(addresses=addresses, **keys), **SUBNET}


def store(engine: str, **keys: object) -> dict[str, Any]:
    return {"stores": {"db": {"engine": engine, **keys}}}


def policy(**keys: object) -> dict[str, Any]:
    return store(
        "rabbitmq",
        queues=[{"name": "jobs"}],
        policies=[{"name": "p", "pattern": ".*", "max_length": 1, **keys}],
    )


def edge(**keys: object) -> dict[str, Any]:
    described = {
        "upstreams": {"api": {"endpoint": "api"}},
        "routes": [{"path": "/", "upstream": "api"}],
        **keys,
    }
    return {"services": {"api": LISTENING}, "edges": {"edge": described}}


def route(**keys: object) -> dict[str, Any]:
    return edge(routes=[{"path": "/", "upstream": "api", **keys}])


def rate(text: object) -> dict[str, Any]:
    limited = {"path": "/", "upstream": "api", "rate_limit": "slow"}
    return edge(routes=[limited], rate_limits={"slow": {"rate": text}})


def depends(**others: dict[str, str]) -> dict[str, Any]:
    return {"services": {name: api(depends_on=others[name]) for name in others}}


def rule(**keys: object) -> dict[str, Any]:
    described = {"expr": "up == 0", "family": "availability", "summary": "s", "action": "a", **keys}
    return {**service(), "observability": {"extra_rules": {"Mine": described}}}


def watched(**keys: object) -> dict[str, Any]:
    return {**service(), "observability": keys}


STARTED = "service_started"
IN_DOCKER: list[tuple[dict[str, Any], str, str]] = [
    # Addresses.
    (at("172.28.0.1"), "services.api.addresses", "an address that is taken there"),
    (at("172.28.0.0"), "services.api.addresses", "an address that is taken there"),
    (at("172.28.255.255"), "services.api.addresses", "an address that is taken there"),
    (at("172.29.0.5"), "services.api.addresses", "lies outside of 172.28.0.0/16"),
    (at("fd00::5"), "services.api.addresses", "'fd00::5' are not addresses"),
    (at("172.28.0.5/16"), "services.api.addresses", "are not addresses"),
    (at("172.028.0.5"), "services.api.addresses", "are not addresses"),
    (at("172.28.0.\N{ARABIC-INDIC DIGIT FIVE}"), "services.api.addresses", "are not addresses"),
    (at("172.28.0.9-172.28.0.4"), "services.api.addresses", "ends before it begins"),
    (at(["172.28.0.9"]), "services.api.addresses", "should be a valid string (got a list)"),
    (service(addresses="172.28.0.9"), "services.api.addresses", "needs a network that has a"),
    (at("172.28.0.4-172.28.0.5", replicas=3), "services.api.replicas", "do not fit into the 2"),
    (
        {
            "services": {
                "api": api(addresses="172.28.0.4-172.28.0.9"),
                "web": api(addresses="172.28.0.7"),
            },
            **SUBNET,
        },
        "services.web.addresses",
        "overlaps with 172.28.0.4-172.28.0.9 of shop: services.api",
    ),
    ({"networks": {"data": {"subnet": "172.28.0.1/16"}}}, "networks.data.subnet", "is not an IPv4"),
    ({"networks": {"data": {"subnet": "172.28.0.0/31"}}}, "networks.data.subnet", "no useful size"),
    ({"networks": {"data": {"subnet": "fd00::/64"}}}, "networks.data.subnet", "is not an IPv4"),
    ({"networks": {"data": {"subnet": "8.8.8.0/24"}}}, "networks.data.subnet", "not a private"),
    (
        # Sixteen million of them: nobody goes through them one by one.
        {
            **service(addresses="10.0.0.64-10.255.255.255"),
            "networks": {"data": {"subnet": "10.0.0.0/8", "ip_range": "10.0.0.0/29"}},
        },
        "services.api.addresses",
        "lies outside of 10.0.0.0/8, or on an address that is taken",
    ),
    (
        {
            "services": {f"api{number}": api() for number in range(6)},
            "networks": {"data": {"subnet": "172.28.0.0/29"}},
        },
        "services.api5",
        "has room for 5 containers, and with this there are 6",
    ),
    (
        {
            **service(replicas=9),
            "networks": {"data": {"subnet": "172.28.0.0/16", "ip_range": "172.28.1.0/29"}},
        },
        "services.api",
        "172.28.1.0/29 of the network 'data' has room for 8 containers",
    ),
    # Numbers, durations, sizes.
    (service(replicas=0), "services.api.replicas", "(got 0)"),
    (service(replicas="1"), "services.api.replicas", "should be a valid integer (got '1')"),
    (service(replicas=True), "services.api.replicas", "should be a valid integer (got True)"),
    (service(replicas=1.5), "services.api.replicas", "should be a valid integer (got 1.5)"),
    (service(replicas=None), "services.api.replicas", "should be a valid integer (got nothing)"),
    (service(replicas=10**5000), "services.api.replicas", "should be"),
    (service(resources={"cpus": float("nan")}), "services.api.resources.cpus", "(got nan)"),
    (service(resources={"cpus": float("inf")}), "services.api.resources.cpus", "(got inf)"),
    (service(resources={"cpus": -1}), "services.api.resources.cpus", "(got -1)"),
    (service(resources={"memory": "1.5g"}), "services.api.resources.memory", "is not a memory"),
    (service(resources={"memory": "1k"}), "services.api.resources.memory", "is too small"),
    (service(resources={"memory": 512}), "services.api.resources.memory", "valid string (got 512)"),
    (service(stop_grace_period="1d"), "services.api.stop_grace_period", "is not a duration"),
    (service(stop_grace_period="1s\n"), "services.api.stop_grace_period", "is not a duration"),
    (service(stop_grace_period=30), "services.api.stop_grace_period", "valid string (got 30)"),
    (store("postgres", size="0Gi"), "stores.db.size", "is not a storage size"),
    (store("postgres", size="1e3Gi"), "stores.db.size", "is not a storage size"),
    (service(ports=[{"target": 65536}]), "services.api.ports[0].target", "is not a port"),
    (service(ports=[{"target": "80"}]), "services.api.ports[0].target", "valid integer (got '80')"),
    (service(ports=["80:80"]), "services.api.ports[0]", "should be a map (got '80:80')"),
    # Names and texts.
    ({"services": {"a_b": api()}}, "services.a_b", "is not a valid name"),
    ({"services": {"Api": api()}}, "services.Api", "is not a valid name"),
    ({"services": {"a\n": api()}}, "services.a\\n", "is not a valid name"),
    ({"services": {"$(id)": api()}}, "services.$(id)", "is not a valid name"),
    ({"services": {"a" * 41: api()}}, f"services.{'a' * 41}", "use at most 40"),
    ({"services": {"localhost": api()}}, "services.localhost", "is reserved"),
    ({"services": {"kubernetes": api()}}, "services.kubernetes", "is reserved"),
    ({"services": {"api": None}}, "services.api", "should be a map (got nothing)"),
    ({"services": {"api": "me/api:1"}}, "services.api", "should be a map"),
    (service(environment=["A=b"]), "services.api.environment", "should be a map (got a list)"),
    (service(environment={"A=B": "x"}), "services.api.environment.A=B", "is not a name for an env"),
    (service(environment={"A": 1}), "services.api.environment.A", "valid string (got 1)"),
    (service(environment={"A": True}), "services.api.environment.A", "valid string (got True)"),
    (service(environment={"A": None}), "services.api.environment.A", "valid string (got nothing)"),
    (service(environment={"A": "\0"}), "services.api.environment.A", "cannot hold a NUL"),
    (service(environment={"A": "\ud800"}), "services.api.environment.A", "half of a character"),
    (service(environment={"A": "x" * 130_000}), "services.api.environment.A", "in one piece"),
    (service(environment={"A": "${db.url}"}), "services.api.environment.A", "names no store"),
    (service(environment={"A": "${}"}), "services.api.environment.A", "is not a reference"),
    (service(command="echo hi"), "services.api.command", "should be a valid list"),
    (service(enviroment={}), "services.api.enviroment", "there is no key 'enviroment' here"),
    (service(user="root"), "services.api.user", "is not uid:gid"),
    (service(restart=False), "services.api.restart", "valid string (got False)"),
    (service(read_only="yes"), "services.api.read_only", "valid boolean (got 'yes')"),
    (service(configs={"../x": "a"}), "services.api.configs.../x", "is not a name for a file"),
    (service(image="me/api:1 --privileged"), "services.api.image", "is not an image reference"),
    (service(healthcheck={"test": ["curl", "x"]}), "services.api.healthcheck.test", "not a test"),
    (service(binds={"/data": ""}), "services.api.binds./data", "the text is empty"),
    (
        service(volumes=[{"name": "d", "target": "/a:b"}]),
        "services.api.volumes[0].target",
        "is not an absolute path",
    ),
    (
        service(volumes=[{"name": "d", "target": "/../etc"}]),
        "services.api.volumes[0].target",
        "is not an absolute path",
    ),
    (
        service(volumes=[{"name": "d", "target": "/proc/sys"}]),
        "services.api.volumes[0].target",
        "is the kernel's",
    ),
    # What hangs together.
    (depends(a={"b": STARTED}, b={"a": STARTED}), "services.a.depends_on", "a circle: a -> b -> a"),
    (depends(a={"a": STARTED}), "services.a.depends_on", "a circle: a -> a"),
    (depends(a={"x": STARTED}), "services.a.depends_on.x", "there is no 'x' in this system"),
    (depends(a={"b": "healthy"}, b={}), "services.a.depends_on.b", "not one of the valid words"),
    (
        {"services": {"a": api(depends_on={"b": STARTED}), "b": api(profiles=["extra"])}},
        "services.a.depends_on.b",
        "its profile is off",
    ),
    # GPUs and models.
    (service(gpu={"count": 0}), "services.api.gpu.count", "(got 0)"),
    (service(gpu={"devices": [0, 0], "count": 2}), "services.api.gpu.devices", "these are 1 GPUs"),
    (service(gpu={"devices": ["all"]}), "services.api.gpu.devices[0]", "valid integer"),
    (service(gpu={"kind": "a b"}), "services.api.gpu.kind", "not the value of a node's label"),
    ({"services": {"a": api(gpu={}), "b": api(gpu={})}}, "services.b.gpu", "the GPU 0 is also"),
    (service(gpu={}, replicas=2), "services.api.replicas", "would have the same GPUs"),
    (service(models={"m": {"version": "../x"}}), "services.api.models.m.version", "name of a vers"),
    # Stores.
    (store("postgre"), "stores.db.engine", "there is no engine 'postgre'"),
    (store("mongo", replica_set="rs0", replicas=2), "stores.db.replicas", "a replica set of 2"),
    (store("mongo", replicas=3), "stores.db.replicas", "without a replica set"),
    (store("postgres", replica_set="rs0"), "stores.db.replica_set", "has no use for 'replica_set'"),
    (store("mssql", passwords={"sa": "short"}), "stores.db.passwords.sa", "has 5 characters"),
    (store("mssql", passwords={"sa": "a" * 20}), "stores.db.passwords.sa", "it is too simple"),
    (store("mssql", resources={"memory": "1g"}), "stores.db.resources.memory", "less than 2g"),
    *[
        (store("minio", buckets=[{"name": name}]), "stores.db.buckets[0].name", why)
        for name, why in (
            ("a.b", "holds a dot"),
            ("192.168.0.1", "holds a dot"),
            ("Photos", "is not a name for a bucket"),
            ("a_b", "is not a name for a bucket"),
            ("-ab", "is not a name for a bucket"),
            ("$(id)", "is not a name for a bucket"),
            ("xn--ab", "one of those that S3 keeps for itself"),
            ("ab-s3alias", "one of those that S3 keeps for itself"),
            ("ab", "has 2 characters"),
            ("a" * 64, "has 64 characters"),
        )
    ],
    *[
        (store("postgres", databases=[{"name": name}]), "stores.db.databases[0].name", why)
        for name, why in (
            ('a"; DROP TABLE x', "is not a name for a database"),
            ("a'b", "is not a name for a database"),
            ("a" * 64, "is not a name for a database"),
            ("pg_x", "is reserved by the server"),
        )
    ],
    (store("redis", settings={"save": "1 1\nrequirepass x"}), "stores.db", "is not one line of"),
    (store("redis", settings={"requirepass": "x"}), "stores.db", "is this library's"),
    (store("redis", settings={"maxmemory-policy": "lru"}), "stores.db", "is no maxmemory-policy"),
    (store("rabbitmq", settings={"a": "b\nc = d"}), "stores.db", "is not one line of rabbitmq"),
    (store("mongo", settings={"noauth": ""}), "stores.db", "is this library's"),
    (store("mongo", settings={"oplogSize": "--noauth"}), "stores.db", "would be another option"),
    (store("mssql", settings={"MSSQL_PID": "Free"}), "stores.db", "is no MSSQL_PID"),
    (store("elasticsearch", indices=[{"name": "a*"}]), "stores.db.indices[0].name", "an index"),
    (policy(pattern="("), "stores.db.policies[0].pattern", "is not a regular expression"),
    (policy(max_length=-1), "stores.db.policies[0].max_length", "(got -1)"),
    (policy(max_length="5"), "stores.db.policies[0].max_length", "valid integer (got '5')"),
    (policy(overflow="drop"), "stores.db.policies[0].overflow", "not one of the valid words"),
    (policy(apply_to="exchanges"), "stores.db.policies[0].max_length", "an exchange has no"),
    (policy(vhost="none"), "stores.db", "in a virtual host 'none', which is none"),
    (policy(name="a\nb"), "stores.db.policies[0].name", "is not a name for a queue or a policy"),
    # The edge.
    *[
        (rate(text), "edges.edge.rate_limits.slow.rate", why)
        for text, why in (
            ("0r/s", "is not a rate"),
            ("10", "is not a rate"),
            ("1r/h", "is not a rate"),
            ("10 r/s", "is not a rate"),
            ("10r/s;", "is not a rate"),
            ("\N{FULLWIDTH DIGIT ONE}r/s", "is not a rate"),
            (10, "should be a valid string (got 10)"),
        )
    ],
    *[
        (route(path=path), "edges.edge.routes[0].path", "is not the path of a route")
        for path in ("", "api", "/a b", "/a;", "/a{", "/a}", "/a\n", '/a"', "/a$x", "~ ^/a", "/%41")
    ],
    (route(path="/a/../b"), "edges.edge.routes[0].path", "holds '.' or '..'"),
    (route(upstream="apy"), "edges.edge.routes[0].upstream", "there is no upstream 'apy'"),
    (route(rate_limit="x"), "edges.edge.routes[0].rate_limit", "there is no rate limit 'x'"),
    (route(allow=["10.0.0.1/8"]), "edges.edge.routes[0].allow[0]", "is not a range of addresses"),
    (
        edge(routes=[{"path": "/", "upstream": "api"}] * 2),
        "edges.edge.routes[1].path",
        "the path / stands here twice",
    ),
    (
        edge(upstreams={"api": {"endpoint": "apy"}}),
        "edges.edge.upstreams.api.endpoint",
        "there is no service or store 'apy'",
    ),
    (
        edge(upstreams={"api": {"endpoint": "api", "port": 81}}),
        "edges.edge.upstreams.api.port",
        "does not listen on port 81",
    ),
    (edge(tls={"mode": "given"}), "edges.edge.tls.certificate", "is missing, and the mode is"),
    (edge(tls={"mode": "lets_encrypt"}), "edges.edge.server_names", "this edge has none"),
    (edge(server_names=["a;return 200"]), "edges.edge.server_names[0]", "is not a host name"),
    (edge(cors_origins=["*"]), "edges.edge.cors_origins[0]", "every page of the web"),
    (edge(headers={"X-A": "a\r\nSet-Cookie: b"}), "edges.edge.headers.X-A", "holds a line break"),
    (edge(headers={"X-A": "$request"}), "edges.edge.headers.X-A", "can't be written into nginx"),
    (edge(max_body_size="0"), "edges.edge.max_body_size", "0 would switch the limit off"),
    (edge(snippets={"server": "} evil {"}), "edges.edge.snippets.server", "nginx would not take"),
    (edge(host_ip="localhost"), "edges.edge.host_ip", "is not an address of the Docker host"),
    # What watches it.
    (rule(expr="up =="), "observability.extra_rules.Mine.expr", "this is not PromQL"),
    (rule(expr="nope > 1"), "tiers:observability.shop.extra_rules.Mine.expr", "nope"),
    (rule(summary="{{ $labels.job"), "observability.extra_rules.Mine.summary", "has no '}}'"),
    (
        watched(grafana={"extra_dashboards": {"mine.json": "{"}}),
        "tiers:observability.shop.grafana.extra_dashboards.mine.json",
        "this is not JSON",
    ),
    (
        watched(
            grafana={
                "extra_dashboards": {
                    "mine.json": '{"title": "t", "panels": [{"targets": [{"expr": "nope"}]}]}'
                }
            }
        ),
        "tiers:observability.shop.grafana.extra_dashboards.mine.json",
        "nope",
    ),
    (watched(alerts={"group_interval": "0s"}), "observability.alerts.group_interval", "with 0"),
    (
        watched(intervals={"nobody": "15s"}),
        "tiers:observability.shop.intervals.nobody",
        "asks nobody called",
    ),
]
PRODUCTION: list[tuple[dict[str, Any], str, str]] = [
    ({**edge(), "encrypted": True}, "tiers:tls.shop", "demands TLS in production"),
    (
        store("postgres", passwords={"postgres": "changeme"}),
        "stores.db.passwords.postgres",
        "is a placeholder",
    ),
]
IN_THE_CLUSTER: list[tuple[dict[str, Any], str, str]] = [
    (service(user="0:0"), "services.api.user", "lets nothing run as root"),
    (service(cap_add=["SYS_ADMIN"]), "services.api.cap_add", "refuses the capability SYS_ADMIN"),
    (service(binds={"/data": "/data"}), "services.api.binds", "no folders of this machine"),
    (service(tmpfs={"/tmp": "size=0"}), "services.api.tmpfs./tmp", "no volume of the size '0'"),
]


def told(description: dict[str, Any], **config: object) -> DescriptionError:
    """What a stack is told that has this system only. Its modules are asked for it, as always."""
    settings = {"tiers:systems": ["shop"], **{f"tiers:{key}": config[key] for key in config}}

    def shop(environment: Environment) -> System:
        return System.model_validate(
            {"name": "shop", "title": "Shop", "environment": environment, **description}
        )

    with (
        mock.patch.dict(SYSTEMS, {"shop": shop}, clear=True),
        pytest.raises(DescriptionError) as caught,
    ):
        make_plan("dev", read_settings(settings))
    return caught.value


def check(error: DescriptionError, place: str, words: str) -> None:
    at = place if place.startswith("tiers:") else f"shop: {place}"
    found = [item for item in error.mistakes if str(item).startswith(f"{at}: ")]
    assert found, f"nothing at {at}: {error}"
    assert any(words in str(item) for item in found), error
    for mistake in error.mistakes:
        assert mistake.remedy
        assert all(line.isprintable() for line in str(mistake).split("\n"))


@pytest.mark.parametrize(("description", "place", "words"), IN_DOCKER)
def test_on_docker(description: dict[str, Any], place: str, words: str) -> None:
    check(told(description), place, words)


@pytest.mark.parametrize(("description", "place", "words"), IN_THE_CLUSTER)
def test_on_kubernetes(description: dict[str, Any], place: str, words: str) -> None:
    check(told(description, target="kubernetes"), place, words)


@pytest.mark.parametrize(("description", "place", "words"), PRODUCTION)
def test_in_production(description: dict[str, Any], place: str, words: str) -> None:
    check(told(description, environment="production"), place, words)


def test_mistakes_of_one_kind_are_told_together() -> None:
    whole = {
        "services": {
            "api": api(depends_on={"x": STARTED}, gpu={}),
            "web": api(gpu={}, addresses="10.0.0.9"),
        },
        "stores": {"db": {**POSTGRES, "replica_set": "rs0"}},
        **SUBNET,
    }
    assert [mistake.place for mistake in told(whole).mistakes] == [
        "shop: services.api.depends_on.x",
        "shop: services.web.addresses",
        "shop: services.web.gpu",
        "shop: stores.db.replica_set",
    ]
