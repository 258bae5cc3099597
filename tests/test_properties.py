"""Whatever somebody writes into a description is valid, or is told as a mistake: nothing else.

Each example is a valid description with a few changes that no reader of it would have thought of.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi_tiers.app_tier import AppTierSpec
from pulumi_tiers.checks import check_services, check_stores, check_systems
from pulumi_tiers.component import validated
from pulumi_tiers.data_tier import DataTierSpec
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.plan import make_plan
from pulumi_tiers.settings import read_settings
from pydantic import ValidationError

#: The same examples in every run.
repeatable = settings(derandomize=True, database=None, deadline=None, max_examples=400)

PASSWORD = "correct-horse-battery-staple"
SECRET = frozenset({"secrets", "secret_files", "passwords", "tiers:secrets"})

SYSTEM: dict[str, object] = {
    "name": "shop",
    "title": "Shop",
    "environment": "production",
    "namespace": "shop-production",
    "environment_label": "production",
    "subnet": "172.28.0.0/16",
    "networks": {
        "front": {"subnet": "172.28.0.0/24"},
        "data": {"subnet": "172.28.1.0/24", "internal": True},
    },
    "encrypted": True,
    "edges": {
        "nginx": {
            "upstreams": {"api": {"endpoint": "api", "port": 8080, "balance": "least_conn"}},
            "routes": [
                {"path": "/", "upstream": "api", "rate_limit": "slow", "max_body_size": "16m"},
                {"path": "/ws/", "upstream": "api", "websocket": True, "strip_prefix": True},
            ],
            "rate_limits": {"slow": {"rate": "10r/s", "burst": 20, "nodelay": True}},
            "server_names": ["shop.example.com"],
            "tls": {"mode": "self_signed"},
            "timeouts": {"read": "30s"},
            "headers": {"X-Own": "1"},
            "cors_origins": ["https://shop.example.com"],
            "published": {"http": 80, "https": 443},
            "networks": ["front"],
            "addresses": "172.28.0.10",
            "log_volume": {"name": "logs", "target": "/var/log/nginx", "size": "100Mi"},
        }
    },
    "ml": {
        "worker": {
            "image": "ghcr.io/me/worker:1",
            "command": ["work", "${concurrency}"],
            "concurrency": 2,
            "queue": "redis",
            "networks": ["data"],
            "addresses": "172.28.1.30-172.28.1.39",
            "replicas": 3,
            "configs": {"worker.conf": "a = b"},
            "secret_files": {"key": "${secret.WORKER_KEY}", "url": "${redis.url}"},
            "volumes": [{"name": "frames", "target": "/frames", "size": "1Gi", "scratch": True}],
            "healthcheck": {"test": ["CMD", "true"], "path": "/up", "port": 8081},
            "source": {"context": ".", "dockerfile": "Dockerfile", "mount": "/app"},
            "optional_environment": ["URL"],
            "optional_secrets": ["API_KEY"],
            "profiles": ["models"],
        }
    },
    "stores": {
        "redis": {
            "engine": "redis",
            "settings": {"maxmemory-policy": "noeviction"},
            "networks": ["data"],
            "address": "172.28.1.110",
            "volume": "redis-data",
        },
        "mongo": {
            "engine": "mongo",
            "replica_set": "rs0",
            "replicas": 3,
            "databases": [{"name": "app", "owner": "writer"}],
            "settings": {"wiredTigerCacheSizeGB": "0.3"},
        },
        "minio": {
            "engine": "minio",
            "encryption": True,
            "buckets": [{"name": "videos", "owner": "nfc", "versioning": True}],
            "passwords": {"nfc": PASSWORD},
        },
        "sqlserver": {
            "engine": "mssql",
            "settings": {"MSSQL_PID": "Developer"},
            "databases": [{"name": "app", "owner": "seller", "init_sql": {"first": "SELECT 1"}}],
        },
        "rabbitmq": {
            "engine": "rabbitmq",
            "vhosts": [
                {"name": "shop", "owner": "seller", "users": [{"name": "worker", "read": "^j"}]}
            ],
            "queues": [{"name": "jobs", "vhost": "shop", "type": "quorum"}],
            "policies": [
                {
                    "name": "limits",
                    "pattern": "^jobs$",
                    "max_length": 5,
                    "overflow": "reject-publish",
                    "dead_letter_exchange": "",
                    "dead_letter_routing_key": "jobs",
                    "dead_letter_strategy": "at-least-once",
                }
            ],
        },
        "elasticsearch": {
            "engine": "elasticsearch",
            "settings": {"action.auto_create_index": "true"},
            "indices": [
                {"name": "logs", "owner": "shipper", "retention": 30, "fields": {"a": "keyword"}}
            ],
        },
        "postgres": {
            "engine": "postgres",
            "image": "postgres:15",
            "admin": "boss",
            "databases": [
                {"name": "shop", "owner": "seller", "init_sql": {"tables": "CREATE TABLE t ()"}},
                {"name": "wiki"},
            ],
            "passwords": {"boss": PASSWORD, "seller": PASSWORD},
            "settings": {"max_connections": "100"},
            "published": 5432,
            "size": "20Gi",
            "resources": {"cpus": 1.0, "memory": "256m"},
        },
    },
    "services": {
        "api": {
            "image": "ghcr.io/me/api:1",
            "entrypoint": ["/init"],
            "command": ["serve"],
            "environment": {"DB_HOST": "${postgres.host}", "PRICE": "10 $$"},
            "secrets": {"DB_URL": "${postgres.wiki.url}", "TOKEN": PASSWORD},
            "secret_name": "keys",
            "ports": [
                {
                    "target": 8080,
                    "published": 8000,
                    "load_balancer": 80,
                    "host_ip": "0.0.0.0",
                    "scheme": "https",
                },
                {"target": 9090},
            ],
            "volumes": [{"name": "files", "target": "/files", "size": "1Gi"}],
            "tmpfs": {"/tmp": "size=16m"},
            "healthcheck": {
                "test": ["CMD", "true"],
                "interval": "5s",
                "timeout": "1m",
                "retries": 5,
                "start_period": "500ms",
                "path": "/health",
            },
            "depends_on": {
                "postgres": "service_healthy",
                "migrate": "service_completed_successfully",
            },
            "replicas": 2,
            "resources": {"cpus": 0.5, "memory": "128m"},
            "restart": "always",
            "pull_policy": "missing",
            "stop_grace_period": "10s",
            "user": "1000:1000",
            "read_only": True,
            "cap_add": ["NET_BIND_SERVICE"],
            "stateful": False,
            "job": False,
            "unverified": False,
        },
        "migrate": {
            "build": {
                "context": ".",
                "dockerfile": "Dockerfile",
                "args": {"A": "b"},
                "target": "x",
            },
            "depends_on": {"postgres": "service_started"},
            "job": True,
        },
    },
}

SETTINGS: dict[str, object] = {
    "tiers:environment": "production",
    "tiers:target": "docker",
    "tiers:systems": ["encontros-tech", "pigmeu", "nutrifitcoach"],
    "tiers:images": {"encontros-tech/encontros-tech": "me/api:1", "encontros-tech/postgres": "a:1"},
    "tiers:registry": "docker.io=mirror.example.com/hub,ghcr.io=mirror.example.com/ghcr",
    "tiers:port_offset": "100",
    "tiers:names": "unique",
    "tiers:port_offsets": {"pigmeu": 1000, "nutrifitcoach": 2000},
    "tiers:replicas": {"pigmeu/worker": 2, "nutrifitcoach/api": 4},
    "tiers:concurrency": {"pigmeu/worker": 4},
    "tiers:profiles": {"pigmeu": ["flower"]},
    "tiers:subnets": {"nutrifitcoach": "10.7.0.0/16"},
    "tiers:domains": {"pigmeu": "api.example.com", "nutrifitcoach": "coach.example.com"},
    "tiers:tls": {
        "pigmeu": {"mode": "lets_encrypt", "email": "me@example.com"},
        "nutrifitcoach": {"mode": "self_signed"},
    },
    "tiers:sources": {"pigmeu": "../pigmeu"},
    "tiers:variables": {"pigmeu/WORDPRESS_URL": "https://example.com"},
    "tiers:secrets": {"encontros-tech/postgres/doadmin": PASSWORD},
    "docker:host": "unix:///run/docker.sock",
}


def _nested(depth: int) -> object:
    value: object = "deep"
    for _ in range(depth):
        value = [value]
    return value


ODD: list[object] = [
    None, True, False, 0, -1, 1, 2.0, 1.5, 65536, 10**5000, -(10**5000), float("nan"), float("inf"),
    1e308, "", " ", "\0", "\n", "\x1b[2J", "\u202e", "\ud800", "\u212a", "\u0661", "é", "🐘",
    "{", "}", "{0}", "{value!r}", "%s", "$", "${", "${}", "${a}", "${a.b.c.d}", "${postgres.url}",
    "${postgres.shop.password}", "null", "[]", "{}", "[" * 100_000, "9" * 5000, "x" * 150_000,
    "a" * 41, "..", "/", "/..", "5m", "1MiB", "localhost", "Postgres", "postgres", "api", "api-2",
    "boss", "pg_x", "a'; DROP TABLE x; --", "service_healthy", "admin", [], {}, (), [[]], [None],
    [""], {"": ""}, {1: 2}, {None: None}, {"a": 1}, {"\ud800": "\ud800"}, {"name": "x"},
    {"x" * 10_000: 1}, set[object](), frozenset({"a"}), b"", b"\xff", range(3), object(), object,
    _nested(5000), json.dumps(_nested(50)),
]  # fmt: skip
ODD_KEYS: list[object] = [
    "", " ", "\0", "\n", "\ud800", "é", "[key]", "{0}", "${a.b}", "a.b", "a/b", "x" * 10_000, "Api",
    "postgres", "api", "migrate", "api-2", "default", "enviroment", "secrets", "a" * 41, 0, 1.5,
    None, True, b"x", ("a",), 10**5000,
]  # fmt: skip

Path: TypeAlias = tuple[str | int, ...]
Value = TypeVar("Value")


def paths(value: object, path: Path = ()) -> Iterable[tuple[Path, object]]:
    """Every part of a description with its path, the whole one first."""
    yield path, value
    items: Iterable[tuple[str | int, object]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        yield from paths(item, (*path, key))


def changed(value: object, path: Sequence[str | int], change: Callable[[object], object]) -> object:
    """The description with one part replaced; unchanged where the part is not there any more."""
    if not path:
        return change(value)
    head, *rest = path
    if isinstance(value, dict) and head in value:
        return {**value, head: changed(value[head], rest, change)}
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        return [*value[:head], changed(value[head], rest, change), *value[head + 1 :]]
    return value


def with_key(value: object, key: object, item: object) -> object:
    return {**value, key: item} if isinstance(value, dict) else value


def renamed(value: object, key: object) -> object:
    if not isinstance(value, dict) or not value:
        return value
    first, *_ = value
    return {key if old == first else old: item for old, item in value.items()}


def repeated(value: object) -> object:
    return [*value, *value] if isinstance(value, list) else value


def broken(valid: Mapping[str, object]) -> st.SearchStrategy[Any]:
    """The description with one to four changes."""
    parts = list(paths(valid))
    # A password elsewhere would be told there: a message cannot know that it is one.
    open_parts = [item for path, item in parts if SECRET.isdisjoint(path)]
    odd = st.one_of(
        st.sampled_from(ODD),
        st.sampled_from(ODD),
        st.sampled_from(open_parts),
        # Braces of our own choice only: judge() looks for those that a template left behind.
        st.text(max_size=20).map(lambda text: text.replace("{", "(")),
        st.integers(),
        st.floats(),
    )

    @st.composite
    def build(draw: st.DrawFn) -> object:
        value: object = valid
        for _ in range(draw(st.integers(1, 4))):
            path, part = draw(st.sampled_from(parts))
            made: Callable[[object], object]
            match draw(st.integers(0, 5)):
                case 0 if isinstance(part, list):
                    made = repeated
                case 1 if isinstance(part, dict):
                    key, item = draw(st.sampled_from(ODD_KEYS)), draw(odd)
                    made = _call(with_key, key, item)
                case 2 if isinstance(part, dict):
                    made = _call(renamed, draw(st.sampled_from(ODD_KEYS)))
                case 3 if isinstance(part, dict):
                    made = _without(draw(st.sampled_from([*part, None])))
                case _:
                    made = _always(draw(odd))
            value = changed(value, path, made)
        return value

    return build()


def _call(function: Callable[..., object], *rest: object) -> Callable[[object], object]:
    return lambda value: function(value, *rest)


def _always(item: object) -> Callable[[object], object]:
    return lambda _: item


def _without(key: object) -> Callable[[object], object]:
    return lambda value: (
        {old: item for old, item in value.items() if old != key}
        if isinstance(value, dict)
        else value
    )


# What a template that nobody filled in would leave behind, and what changes from run to run.
_ARTEFACTS = re.compile(
    r"\{(why|remedy|ge|le|gt|lt|error|expected|field_type|class_name|(min|max|actual)_length)\}"
    r"| at 0x[0-9a-f]|pydantic|Traceback"
)


def judge(mistakes: Sequence[Mistake]) -> None:
    """Each says where, why, and what to do, in words that can be printed, without passwords."""
    assert mistakes
    for mistake in mistakes:
        assert mistake.place
        assert mistake.why
        assert mistake.remedy
    text = str(DescriptionError(mistakes))
    text.encode()
    assert all(line == "" or line.isprintable() for line in text.split("\n"))
    assert not _ARTEFACTS.search(text)
    assert PASSWORD not in text


def test_the_examples_are_valid_before_they_are_changed() -> None:
    made = System.model_validate(SYSTEM)
    assert list(check_systems([made], Target.DOCKER)) == []
    assert make_plan("dev", read_settings(SETTINGS))


@repeatable
@given(broken(SYSTEM), st.sampled_from(Target), st.booleans())
def test_a_system_is_valid_or_its_mistakes_are_told(
    description: object, target: Target, documented_names: bool
) -> None:
    try:
        made = System.model_validate(description)
    except ValidationError as error:
        printed, found = str(error), mistakes_of(error)
    else:
        printed = ""
        found = list(check_systems([made], target, documented_names=documented_names))
        if not found:
            assert_more_can_be_made(made)
            return
    # Pydantic's own words are what somebody else's program prints.
    assert PASSWORD not in printed
    judge(found)


def assert_more_can_be_made(made: System) -> None:
    """Everything that is made of a valid description is valid."""
    for name, store in made.stores.items():
        ENGINES[store.engine].workload(name, store)
        ENGINES[store.engine].setup(name, store)
        ENGINES[store.engine].prepare(name, store)
        ENGINES[store.engine].backups(store)


@repeatable
@given(broken(SETTINGS), st.booleans())
def test_a_configuration_makes_a_plan_or_its_mistakes_are_told(
    config: object, as_the_engine_does: bool
) -> None:
    if not isinstance(config, dict):
        return  # the engine's configuration always is a map
    given_keys = {key: value for key, value in config.items() if isinstance(key, str)}
    if as_the_engine_does:
        given_keys = {key: _text(value) for key, value in given_keys.items()}
    try:
        make_plan("dev", read_settings(given_keys))
    except DescriptionError as error:
        judge(error.mistakes)


def _text(value: object) -> object:
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return value


@repeatable
@given(
    broken({"stores": SYSTEM["stores"], "services": SYSTEM["services"]}), st.sampled_from(Target)
)
def test_a_lone_component_is_valid_or_its_mistakes_are_told(args: object, target: Target) -> None:
    if not isinstance(args, dict):
        return  # a component's arguments always are a map
    connections = ["postgres", "postgres.shop", "postgres.wiki"]
    try:
        services = validated(AppTierSpec, {"services": args.get("services")}, "AppTier shop")
        found = list(
            check_services("AppTier shop: services", services.services, target, connections)
        )
        stores = validated(DataTierSpec, {"stores": args.get("stores")}, "DataTier shop")
        found += check_stores("DataTier shop: stores", stores.stores, target)
    except DescriptionError as error:
        found = error.mistakes
        assert found
    if found:
        judge(found)
