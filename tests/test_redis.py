"""Redis: what is described, and what a real server makes of it."""

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import celery
import kombu
import pytest
import redis
from containers import Containers, stand_in
from pulumi_tiers.engines.base import Consumer, Reached
from pulumi_tiers.engines.redis import Redis
from pulumi_tiers.model.references import substitute
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.workload import Workload

REDIS = Redis()
#: Every character that a shell, redis.conf or a URL could take for its own.
EVIL = """p'a"s\\s;:%/@?#&=+ $HOME $$ ${x} `id` é | \\q\\x41 {}"""


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "redis", **keys})


def conf(workload: Workload) -> dict[str, str]:
    text = substitute(workload.environment["REDIS_CONF"], lambda _: "a reference")
    return dict(line.split(" ", 1) for line in text.splitlines())


# --- what is described ----------------------------------------------------------------------------


def test_it_keeps_what_it_is_given_and_evicts_nothing() -> None:
    workload = REDIS.workload("redis", store(resources={"cpus": 1, "memory": "1g"}))
    # NF-10: a queue lives on it. AOF and RDB, both documented.
    assert conf(workload) == {
        "port": "6379",
        "dir": "/data",
        "appendonly": "yes",
        "save": "3600 1 300 100 60 10000",
        "maxmemory": "614mb",
        "maxmemory-policy": "noeviction",
    }
    assert workload.volumes[0].target == "/data"
    assert workload.user == "999:1000"
    assert workload.stop_grace_period == "60s"
    assert workload.secret_files == {"password": "${password.default}"}
    assert workload.secrets == {}


def test_settings_take_the_place_of_ours() -> None:
    said = store(settings={"maxmemory": "64mb", "save": "''", "hz": "$5"})
    found = conf(REDIS.workload("redis", said))
    assert (found["maxmemory"], found["save"], found["hz"]) == ("64mb", "''", "$5")
    assert list(found).count("maxmemory") == 1


def test_there_is_one_connection() -> None:
    assert REDIS.consumers(store()) == {"": Consumer("default", "0")}
    assert REDIS.users(store()) == ["default"]


@pytest.mark.parametrize(
    ("tls", "url"),
    [
        (False, "redis://:p%40%2F%3A%20@redis:6379/0"),
        (True, "rediss://default:p%40%2F%3A%20@redis:6379/0?ssl_cert_reqs=required"),
    ],
)
def test_a_url_says_how_to_connect(url: str, *, tls: bool) -> None:
    consumer = Consumer("default", "0")
    assert REDIS.url(store(), consumer, "p@/: ", Reached(["redis"], 6379, tls=tls)) == url


def test_celery_checks_the_certificate_of_a_managed_server() -> None:
    consumer = Consumer("default", "0")
    url = REDIS.url(store(), consumer, EVIL, Reached(["db.example"], 25061, tls=True))
    pool = redis.ConnectionPool.from_url(url)
    client: Any = pool.connection_class(**pool.connection_kwargs)
    assert (client.host, client.port, client.db) == ("db.example", 25061, 0)
    assert (client.username, client.password) == ("default", EVIL)
    assert client.cert_reqs == ssl.CERT_REQUIRED
    with kombu.Connection(url) as broker:
        assert broker.ssl == {"ssl_cert_reqs": ssl.CERT_REQUIRED}
        assert (broker.hostname, broker.password) == ("db.example", EVIL)
    # Without the ending, it is a ValueError.
    backend: Any = celery.Celery(broker=url, backend=url).backend
    results = backend.connparams
    assert results["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    assert results["password"] == EVIL


def test_only_a_store_that_evicts_nothing_has_a_queue() -> None:
    assert REDIS.check_queue(store()) == []
    assert REDIS.check_queue(store(settings={"maxmemory-policy": "noeviction"})) == []
    [(why, remedy)] = REDIS.check_queue(store(settings={"maxmemory-policy": "allkeys-lru"}))
    assert why == "the maxmemory-policy allkeys-lru throws jobs away when the memory is full"
    assert remedy == "set it to noeviction, or give the queue a store of its own"


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"Max Memory": "1"}, "'Max Memory' is not a setting of Redis"),
        ({"": "1"}, "'' is not a setting of Redis"),
        ({"requirepass": "x"}, "the setting 'requirepass' is this library's"),
        ({"port": "1"}, "the setting 'port' is this library's"),
        ({"hz": "1\nrequirepass x"}, "the setting 'hz' is not one line of redis.conf"),
        ({"hz": "'1"}, "the setting 'hz' is not one line of redis.conf"),
        ({"save": ""}, "the setting 'save' is not one line of redis.conf"),
        ({"save": "  "}, "the setting 'save' is not one line of redis.conf"),
        # After a quote, Redis wants a space; a shell doesn't.
        ({"hz": '"1"0'}, "the setting 'hz' is not one line of redis.conf"),
        ({"hz": "'1\\'"}, "the setting 'hz' is not one line of redis.conf"),
        ({"slaveof": "other 6379"}, "the setting 'slaveof' is this library's"),
        ({"maxmemory-policy": "lru"}, "'lru' is no maxmemory-policy"),
        ({"maxmemory": "much"}, "'much' is no maxmemory"),
        ({"maxmemory": "128mb"}, "with a maxmemory of 128mb, Redis is killed at its limit of 128m"),
        ({"maxmemory": "0"}, "with a maxmemory of 0, Redis is killed at its limit of 128m"),
    ],
)
def test_settings_that_break_it_are_refused(settings: dict[str, str], why: str) -> None:
    assert [found for found, _ in REDIS.check(store(settings=settings))] == [why]


def test_all_mistakes_are_told_together() -> None:
    settings = {"port": "1", "maxmemory": "2g", "maxmemory-policy": "none", "UP": "1"}
    assert len(REDIS.check(store(settings=settings))) == 4


# --- a real server --------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as containers:
        yield containers


def ask(
    here: Containers, name: str, *command: str, password: str = EVIL, user: str = "default"
) -> str:
    """What redis-cli says, on the container's own address as another container sees it."""
    done = here.execute(
        name, "redis-cli", "-h", "redis", "--user", user, *command,
        environment={"REDISCLI_AUTH": password},
    )  # fmt: skip
    return (done.stdout + done.stderr).decode().strip()


@pytest.mark.docker
def test_a_real_server_keeps_its_password_and_its_data(here: Containers) -> None:
    said = store(image=stand_in(REDIS.image), settings={"hz": "20"})
    workload, values = REDIS.workload("redis", said), {"password.default": EVIL}
    name = here.start("redis", workload, values)
    here.wait_healthy(name, workload)
    assert ask(here, name, "ping") == "PONG"
    assert "NOAUTH" in ask(here, name, "ping", password="")
    assert "WRONGPASS" in ask(here, name, "ping", password="wrong")
    settings = {
        "maxmemory": str(76 * 1024**2),
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "hz": "20",
    }
    for key, value in settings.items():
        assert ask(here, name, "config", "get", key) == f"{key}\n{value}"

    # Neither the processes nor what Docker tells show the password.
    shown = [json.loads(here.docker("inspect", name))[0]["Config"], here.docker("top", name)]
    assert "p'a" not in str(shown)
    assert "\\x41" not in str(shown)

    # It dies in the middle of writing, and has everything that was confirmed a second ago.
    assert ask(here, name, "set", "kept", "yes") == "OK"
    here.wait(lambda: "aof_pending_bio_fsync:0" in ask(here, name, "info", "persistence"), name)
    here.docker("kill", "--signal", "KILL", name)
    here.docker("start", name)
    here.wait_healthy(name, workload)
    assert ask(here, name, "get", "kept") == "yes"

    # Told to stop, it writes what it has, and ends by itself.
    assert ask(here, name, "set", "late", "yes") == "OK"
    here.docker("stop", "--time", "30", name)
    [state] = json.loads(here.docker("inspect", name))
    assert state["State"]["ExitCode"] == 0
    assert "DB saved on disk" in here.logs(name)
    here.docker("start", name)
    here.wait_healthy(name, workload)
    assert ask(here, name, "get", "late") == "yes"


@pytest.mark.docker
def test_a_server_with_another_password_is_not_healthy(here: Containers) -> None:
    said = store(image=stand_in(REDIS.image))
    workload = REDIS.workload("redis", said)
    name = here.start("redis", workload, {"password.default": EVIL})
    here.wait_healthy(name, workload)
    # It listens, and lets nobody in.
    assert "OK" in ask(here, name, "config", "set", "requirepass", "another")
    assert not here.healthy(name, workload)


@pytest.mark.docker
def test_a_copy_brings_the_data_back_and_an_exporter_reads_numbers_alone(here: Containers) -> None:
    said = store(image=stand_in(REDIS.image), monitoring=True)
    workload = REDIS.workload("redis", said)
    values = {"password.default": EVIL, "password.monitoring": EVIL[::-1]}
    name = here.start("redis", workload, values)
    here.wait_healthy(name, workload)
    ask(here, name, "set", "kept", "yes")
    assert ask(here, name, "ping") == "PONG"
    assert "NOAUTH" in ask(here, name, "ping", password="")

    def watch(*command: str) -> str:
        return ask(here, name, *command, user="monitoring", password=EVIL[::-1])

    assert "maxmemory:" in watch("info", "all")
    assert watch("config", "get", "maxclients") == "maxclients\n10000"
    # With everybody's password, it would be everybody.
    assert watch("config", "get", "requirepass") == "requirepass"
    for refused in (("get", "kept"), ("config", "set", "maxmemory", "0"), ("acl", "list"),
                    ("slowlog", "get"), ("monitor",), ("flushall",)):  # fmt: skip
        assert "NOPERM" in watch(*refused), refused
    assert "WRONGPASS" in ask(here, name, "ping", user="monitoring")

    backup = REDIS.backups(said)[""]
    environment = {"HOST": "redis", "PORT": "6379", "REDISCLI_AUTH": EVIL}
    copy = here.execute(name, *backup.dump, environment=environment)
    assert copy.returncode == 0, copy.stderr
    assert copy.stdout.startswith(b"REDIS")

    ask(here, name, "set", "kept", "no")
    ask(here, name, "set", "later", "yes")
    here.docker("stop", name)
    # Offline: with the stopped server's volume.
    assert isinstance(workload.image, str)
    done = subprocess.run(
        ["docker", "run", "--rm", "--interactive", "--user", workload.user, "--read-only",
         "--volumes-from", name, "--tmpfs", "/tmp", "--cap-drop", "ALL",
         "--label", f"test={here.name}", workload.image, *backup.restore],
        input=copy.stdout, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    here.docker("start", name)
    here.wait_healthy(name, workload)
    assert ask(here, name, "get", "kept") == "yes"
    assert ask(here, name, "exists", "later") == "0"
    assert REDIS.backups(said, managed=True) == {}
