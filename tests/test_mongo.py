"""MongoDB: what is described, what the setup script does, and what a server makes of it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Containers, stand_in
from pulumi_tiers.engines.base import Consumer, Reached
from pulumi_tiers.engines.mongo import Mongo
from pulumi_tiers.limits import as_placed
from pulumi_tiers.model.references import references, substitute
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition, Workload

MONGO = Mongo()
EVIL = """p'a"s\\s;:%/@?#&=+ $HOME $$ ${x} `id` é |"""


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "mongo", **keys})


OWNED = {"databases": [{"name": "pigmeu", "owner": "writer"}, {"name": "shared"}]}
SET = {"replica_set": "rs0", "replicas": 3, **OWNED}


# --- what is described ----------------------------------------------------------------------------


def test_one_server_is_run_as_its_image_wants_it() -> None:
    workload = MONGO.workload("mongo", store(admin="boss", settings={"quiet": "", "slowms": "50"}))
    assert workload.command == [
        *("mongod", "--wiredTigerCacheSizeGB", "0.25", "--quiet", "--slowms", "50")
    ]
    assert workload.environment == {
        "HOME": "/tmp",
        "MONGO_INITDB_ROOT_USERNAME": "boss",
        "MONGO_INITDB_ROOT_PASSWORD_FILE": "/run/secrets/password",
    }
    assert workload.secret_files == {"password": "${password.boss}"}
    assert workload.volumes[0].target == "/data/db"
    # Else the image's VOLUME would leave a nameless volume behind.
    assert "/data/configdb" in workload.tmpfs
    assert MONGO.setup("mongo", store()) is None


@pytest.mark.parametrize(
    ("memory", "cache"), [("512m", "0.25"), ("1g", "0.25"), ("2g", "0.75"), ("4g", "1.75")]
)
def test_the_cache_leaves_room_for_everything_else(memory: str, cache: str) -> None:
    said = store(resources={"cpus": 1, "memory": memory})
    command = MONGO.workload("mongo", said).command
    assert command[command.index("--wiredTigerCacheSizeGB") + 1] == cache


def test_the_members_of_a_set_know_each_other_by_a_key() -> None:
    said = store(**SET)
    assert MONGO.keys(said) == ["replica-set-key"]
    workload = MONGO.workload("mongo", said)
    assert workload.replicas == 3
    assert workload.secret_files["replica-set-key"] == "${password.replica-set-key}"
    assert workload.command[-4:] == ["--replSet", "rs0", "--keyFile", "/tmp/replica-set-key"]
    # One host is one failure.
    assert as_placed(said, Target.DOCKER).replicas == 1
    assert as_placed(said, Target.KUBERNETES).replicas == 3


def test_the_url_names_all_members() -> None:
    consumer, said = Consumer("writer", "pigmeu"), store(**SET)
    hosts = MONGO.hosts("mongo", said)
    assert hosts == ["mongo-0.mongo", "mongo-1.mongo", "mongo-2.mongo"]
    # PI-01: none of the documented hosts exists.
    assert MONGO.url(said, consumer, "p@ss", Reached(hosts, 27017)) == (
        "mongodb://writer:p%40ss@mongo-0.mongo:27017,mongo-1.mongo:27017,mongo-2.mongo:27017"
        "/pigmeu?authSource=admin&replicaSet=rs0"
    )
    alone = as_placed(said, Target.DOCKER)
    url = MONGO.url(alone, consumer, "p", Reached(MONGO.hosts("mongo", alone), 27017))
    assert url == "mongodb://writer:p@mongo:27017/pigmeu?authSource=admin&replicaSet=rs0"
    url = MONGO.url(store(), consumer, "p", Reached(["mongo"], 27017))
    assert url == "mongodb://writer:p@mongo:27017/pigmeu?authSource=admin"


def test_a_managed_set_says_its_members_itself() -> None:
    said = MONGO.as_managed(store(**SET))
    assert said.admin == "doadmin"
    url = MONGO.url(
        said, Consumer("writer", "pigmeu"), "p", Reached(["db.example"], 27017, tls=True)
    )
    assert url == "mongodb+srv://writer:p@db.example/pigmeu?authSource=admin&tls=true"
    assert MONGO.setup("mongo", said, managed=True) is None
    assert MONGO.managed_version(store()) == "7.0"
    assert MONGO.managed_version(store(managed={"version": "8.0"})) == "8.0"


def test_the_connections_are_its_databases() -> None:
    assert MONGO.consumers(store(**OWNED)) == {
        "": Consumer("writer", "pigmeu"),
        "pigmeu": Consumer("writer", "pigmeu"),
        "shared": Consumer("root", "shared"),
    }
    assert MONGO.consumers(store())[""] == Consumer("root", "test")


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"settings": {"max conns": "1"}}, "'max conns' is not a setting of MongoDB"),
        ({"settings": {"replSet": "x"}}, "the setting 'replSet' is this library's"),
        ({"settings": {"slowms": "--noauth"}}, "'--noauth', of the setting 'slowms', would be"),
        ({"settings": {"wiredTigerCacheSizeGB": "0.1"}}, "'0.1' is no wiredTigerCacheSizeGB"),
        (
            {"settings": {"wiredTigerCacheSizeGB": "1"}},
            "with a wiredTigerCacheSizeGB of 1, MongoDB",
        ),
        ({"admin": "__system"}, "members know each other as '__system'"),
        ({"databases": [{"name": "admin"}]}, "MongoDB has a database 'admin' of its own"),
        ({"databases": [{"name": "a"}, {"name": "A"}]}, "MongoDB takes 'A' for another database's"),
        ({"databases": [{"name": "a", "init_sql": {"b": "c"}}]}, "the database 'a' has init_sql"),
    ],
)
def test_what_breaks_it_is_refused(keys: dict[str, object], why: str) -> None:
    [(found, _)] = MONGO.check(store(**keys))
    assert found.startswith(why)


# --- the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "makes_root"),
    [("mongo-0", True), ("mongo-1", False), ("mongo-12", False), ("3f2a9b", True)],
)
def test_only_the_first_member_makes_the_root_user(
    tmp_path: Path, host: str, *, makes_root: bool
) -> None:
    for name in ("bin", "secrets", "tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "hostname").write_text(f"{host}\n")
    (tmp_path / "secrets" / "replica-set-key").write_text("the key")
    entrypoint = tmp_path / "bin" / "docker-entrypoint.sh"
    entrypoint.write_text('#!/bin/sh\necho "${MONGO_INITDB_ROOT_USERNAME-} $*"\n')
    entrypoint.chmod(0o755)
    workload = MONGO.workload("mongo", store(**SET))
    shell, option, script, *rest = (str(part) for part in workload.command)
    places = {"/run/secrets": "secrets", "/etc/hostname": "hostname", ">/tmp": "tmp"}

    def moved(match: re.Match[str]) -> str:
        return (">" if match[0].startswith(">") else "") + str(tmp_path / places[match[0]])

    script = re.sub("|".join(places), moved, script)
    environment = {**workload.environment, "PATH": f"{entrypoint.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        [shell, option, script, *rest], env=environment, capture_output=True, text=True, check=True
    )
    root, _, command = done.stdout.strip("\n").partition(" ")
    assert root == ("root" if makes_root else "")
    assert command.startswith("mongod --wiredTigerCacheSizeGB")
    key = tmp_path / "tmp" / "replica-set-key"
    assert key.read_text() == "the key"
    # mongod refuses one that others may read.
    assert key.stat().st_mode & 0o777 == 0o600


# --- the setup script -----------------------------------------------------------------------------


def setup(said: Store) -> Workload:
    job = MONGO.setup("mongo", said)
    assert job is not None
    return job


def test_the_setup_holds_passwords_only_as_secrets() -> None:
    job = setup(store(**SET))
    assert job.depends_on == {"mongo": Condition.SERVICE_HEALTHY}
    assert job.secrets == {"ADMIN_PASSWORD": "${password.root}", "PASSWORD_0": "${password.writer}"}
    assert all(not references(text) for text in job.environment.values())
    assert MONGO.setup("mongo", store(databases=[{"name": "a"}])) is None
    assert MONGO.setup("mongo", store(replica_set="rs0")) is not None


def members(*hosts: str) -> list[dict[str, Any]]:
    return [{"_id": number, "host": f"{host}:27017"} for number, host in enumerate(hosts)]


NAMES = tuple(f"mongo-{number}.mongo" for number in range(5))


def servers(*hosts: str, of: str | None = None, up: bool = True) -> dict[str, Any]:
    return {f"{host}:27017": {"up": up, "set": of} for host in hosts}


def run(said: Store, state: dict[str, Any], password: str = EVIL) -> tuple[int, dict[str, Any]]:
    """The setup job's script on servers that are only played. Returns exit code and state."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node.js on this machine")
    job = setup(said)
    passwords = {"root": "the root's", "writer": password, "monitoring": "numbers"}
    values = {
        variable: substitute(text, lambda found: passwords[found.field])
        for variable, text in job.values.items()
    }
    begin: dict[str, Any] = {"config": None, "log": [], "said": []}
    begin |= {"sets": said.replica_set is not None, "users": {"root": {"pwd": "the root's"}}}
    script = (Path(__file__).parent / "data" / "replica_set.js").read_text()
    done = subprocess.run(
        [node, "--eval", script + values["SETUP_SCRIPT"]],
        env={**values, "STATE": json.dumps({**begin, **state}), "PATH": os.environ["PATH"]},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    ended: dict[str, Any] = json.loads(done.stdout)
    ended["stderr"] = done.stderr
    return done.returncode, ended


ROLES = [{"role": role, "db": "pigmeu"} for role in ("readWrite", "dbAdmin")]


def test_a_new_set_is_initiated_once_with_all_members() -> None:
    code, state = run(store(**SET), {"servers": servers(*NAMES[:3])})
    assert code == 0, state["stderr"]
    assert state["log"] == ["replSetInitiate", "createUser"]
    assert state["config"] == {"_id": "rs0", "version": 1, "members": members(*NAMES[:3])}
    assert state["users"]["writer"] == {"pwd": EVIL, "roles": ROLES}
    # Again, with another password.
    again = {key: state[key] for key in ("servers", "config", "users")}
    code, state = run(store(**SET), again, "another")
    assert code == 0, state["stderr"]
    assert state["log"] == ["updateUser"]
    assert state["users"]["writer"]["pwd"] == "another"


def test_one_member_is_a_set_on_docker() -> None:
    said = as_placed(store(**SET), Target.DOCKER)
    code, state = run(said, {"servers": servers("mongo")})
    assert code == 0, state["stderr"]
    assert state["config"]["members"] == members("mongo")


def test_a_set_grows_one_member_at_a_time() -> None:
    there = servers(*NAMES[:3])
    # It began as one server, which was known by the service's name.
    there["mongo-0.mongo:27017"] |= {"set": "rs0", "alias": "mongo:27017"}
    config = {"_id": "rs0", "version": 4, "members": members("mongo")}
    code, state = run(store(**SET), {"servers": there, "config": config})
    assert code == 0, state["stderr"]
    assert state["log"] == ["replSetReconfig"] * 3 + ["createUser"]
    assert state["config"]["members"] == members(*NAMES[:3])
    assert state["config"]["version"] == 7


def test_a_set_forgets_members_that_are_gone() -> None:
    config = {"_id": "rs0", "version": 1, "members": members(*NAMES)}
    code, state = run(store(**SET), {"servers": servers(*NAMES[:3], of="rs0"), "config": config})
    assert code == 0, state["stderr"]
    assert state["config"]["members"] == members(*NAMES[:3])


def test_a_member_without_its_disk_starts_no_second_set() -> None:
    there = {**servers(NAMES[0]), **servers(*NAMES[1:3], of="rs0")}
    # The others still have it in their list, and one of them leads.
    config = {"_id": "rs0", "version": 1, "members": members(*NAMES[:3])[::-1]}
    code, state = run(store(**SET), {"servers": there, "config": config})
    assert code == 0, state["stderr"]
    assert "replSetInitiate" not in state["log"]


def test_a_set_without_a_majority_is_told() -> None:
    config = {"_id": "rs0", "version": 1, "members": members(*NAMES)}
    said = store(**{**SET, "replicas": 1})
    state = {"servers": servers("mongo", of="rs0"), "config": config}
    code, state = run(said, state)
    assert code != 0
    assert "no member of rs0 became the primary in 120 seconds" in state["stderr"]
    assert state["log"] == []


def test_a_single_server_only_gets_its_users() -> None:
    code, state = run(store(**OWNED, monitoring=True), {"servers": servers("mongo")})
    assert code == 0, state["stderr"]
    assert state["log"] == ["createUser"] * 2
    # Numbers, and no documents.
    assert state["users"]["monitoring"]["roles"] == [
        {"role": "clusterMonitor", "db": "admin"},
        {"role": "read", "db": "local"},
    ]


def test_a_refusal_fails_the_job() -> None:
    users = {"root": {"pwd": "another's"}}
    code, state = run(store(**OWNED), {"servers": servers("mongo"), "users": users})
    assert code != 0
    assert "Authentication failed" in state["stderr"]
    assert "the root's" not in state["stderr"]


# --- a server that speaks MongoDB's protocol ------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as containers:
        yield containers


def ask(here: Containers, name: str, url: str, script: str) -> tuple[int, str]:
    environment = {"HOME": "/tmp", "URL": url}
    command = 'exec mongosh --quiet --norc "$URL" --eval "$0"'
    done = here.execute(name, "sh", "-c", command, script, environment=environment)
    return done.returncode, (done.stdout + done.stderr).decode()


@pytest.mark.docker
@pytest.mark.load  # compiles its stand-in the first time, which takes minutes
def test_a_stand_in_gets_its_set_its_users_and_keeps_its_data(here: Containers) -> None:
    watched = store(image=stand_in(MONGO.image), **SET, monitoring=True)
    said = as_placed(watched, Target.DOCKER)
    workload = MONGO.workload("mongo", said)
    values = {
        "password.root": "the root's",
        "password.writer": "the first",
        "password.monitoring": "numbers",
        "password.replica-set-key": "0aZ" * 14,
    }
    name = here.start("mongo", workload, values)
    here.wait_healthy(name, workload)
    for word in ("the first", EVIL):
        values["password.writer"] = word
        code, told = here.run("mongo-setup", setup(said), values)
        assert code == 0, told
        assert "p'a" not in told
    consumer = MONGO.consumers(said)["pigmeu"]
    url = MONGO.url(said, consumer, EVIL, Reached(["mongo"], 27017))
    code, told = ask(here, name, url, "db.kept.insertOne({_id: 1}); db.kept.countDocuments()")
    assert (code, told.split()[-1]) == (0, "1"), told
    wrong = MONGO.url(said, consumer, "the first", Reached(["mongo"], 27017))
    code, told = ask(here, name, wrong, "db.kept.countDocuments()")
    assert code != 0
    assert "Authentication failed" in told
    told = str(json.loads(here.docker("inspect", name))[0]["Config"]) + here.docker("top", name)
    assert "the root's" not in told
    assert "0aZ0aZ" not in told

    here.docker("kill", "--signal", "KILL", name)
    assert not here.healthy(name, workload)
    here.docker("start", name)
    here.wait_healthy(name, workload)
    code, told = ask(here, name, url, "db.kept.countDocuments()")
    assert (code, told.split()[-1]) == (0, "1"), told
