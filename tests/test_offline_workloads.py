"""The library's own workloads, setup jobs and copies, with programs of ours in the servers' places.

What that proves, and what not, is in offline/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Containers, stand_in
from pulumi_tiers.engines.base import Engine, Reached
from pulumi_tiers.engines.elasticsearch import Elasticsearch
from pulumi_tiers.engines.mssql import Mssql
from pulumi_tiers.engines.postgres import Postgres
from pulumi_tiers.engines.redis import Redis
from pulumi_tiers.model.store import Database, Index, Store
from pulumi_tiers.model.workload import Metrics, Port, Resources, Workload
from pulumi_tiers.observability.exporters import EXPORTERS
from pulumi_tiers.tools import Tunnel, glitchtip, metabase, ngrok, pgadmin, portainer

pytestmark = [pytest.mark.docker, pytest.mark.load]

ADMIN = """Adm1n p'a"s\\s$x`;%"""
OWNER = """0wner'P"a\\s$s"""
REMADE = "Another0ne'"


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as containers:
        yield containers


def started(here: Containers, engine: Engine, name: str, store: Store, admin: str) -> str:
    workload = engine.workload(name, store)
    container = here.start(name, workload, {f"password.{admin}": ADMIN})
    here.wait_healthy(container, workload, 60)
    return container


def set_up(here: Containers, engine: Engine, name: str, store: Store, **passwords: str) -> None:
    job = engine.setup(name, store)
    assert job is not None
    values = {f"password.{user}": password for user, password in passwords.items()}
    assert here.run("setup", job, values) == (0, "")


def copied(here: Containers, engine: Engine, store: Store, key: str, container: str) -> bytes:
    done = here.execute(container, *engine.backups(store)[key].dump)
    assert done.returncode == 0, done.stderr
    return done.stdout


def brought_back(
    here: Containers, engine: Engine, store: Store, key: str, container: str, copy: bytes
) -> None:
    done = here.execute(container, *engine.backups(store)[key].restore, given=copy)
    assert done.returncode == 0, done.stdout + done.stderr


def test_sql_server_is_set_up_twice_and_copied(here: Containers) -> None:
    engine = Mssql()
    shop = Database(
        name="shop",
        owner="app",
        init_sql={"tables": "CREATE TABLE things (id int PRIMARY KEY);\nGO\n"},
    )
    store = Store(engine="mssql", image=stand_in(engine.image), databases=[shop])
    container = started(here, engine, "sqlserver", store, "sa")
    for password in (OWNER, REMADE):
        set_up(here, engine, "sqlserver", store, sa=ADMIN, app=password)

    def ask(sql: str, password: str = REMADE) -> tuple[int, str]:
        tool = "/opt/mssql-tools18/bin/sqlcmd -C -b -h -1 -W -S 127.0.0.1 -U app -d shop"
        done = here.execute(
            *(container, "sh", "-c", f'{tool} -Q "$SQL"'),
            environment={"SQLCMDPASSWORD": password, "SQL": f"SET NOCOUNT ON; {sql}"},
        )
        return done.returncode, done.stdout.decode().strip()

    assert ask("SELECT 1", OWNER)[0] == 1
    assert ask("INSERT INTO things VALUES (7); SELECT COUNT(*) FROM tiers_init") == (0, "1")
    copy = copied(here, engine, store, "shop", container)
    assert ask("DELETE FROM things")[0] == 0
    brought_back(here, engine, store, "shop", container, copy)
    assert ask("SELECT id FROM things") == (0, "7")
    assert ADMIN not in here.logs(container) + here.docker("top", container)


def test_elasticsearch_is_set_up_twice_and_copied(here: Containers) -> None:
    engine = Elasticsearch()
    logs = Index(name="logs", owner="shipper", retention=7, fields={"message": "text"})
    other = Index(name="other", owner="somebody")
    store = Store(engine="elasticsearch", image=stand_in(engine.image), indices=[logs, other])
    container = started(here, engine, "search", store, "elastic")
    for password in (OWNER, REMADE):
        people = {"shipper": password, "somebody": "another", "kibana_system": "kibana!"}
        set_up(here, engine, "search", store, elastic=ADMIN, **people)

    def ask(method: str, path: str, body: str = "", who: str = f"shipper:{REMADE}") -> str:
        done = here.execute(
            *(container, "curl", "-s", "--user", who, "-X", method, f"127.0.0.1:9200/{path}"),
            *(("--data", body, "-H", "Content-Type: application/json") if body else ()),
        )
        return done.stdout.decode()

    assert '"security_exception"' in ask("GET", "", who=f"shipper:{OWNER}")
    assert '"status":401' in ask("GET", "_cluster/health", who=":")
    day = "logs-2026.11.22"
    assert '"created"' in ask("PUT", f"{day}/_doc/1", '{"message": "It was kept"}')
    assert '"status":403' in ask("PUT", "other/_doc/1", "{}")
    assert '"status":403' in ask("PUT", "_security/user/me", '{"password": "long enough"}')
    query = '{"query": {"match": {"message": "kept"}}}'
    assert '"value":1' in ask("POST", "logs-*/_search", query)
    assert '"status":400' in ask("POST", "logs-*/_search", '{"query": {"fuzzy": {}}}')
    lines = '{"create": {"_index": "logs-x", "_id": "2"}}\n{"message": "many"}\n'
    assert '"errors":false' in ask("POST", "_bulk", lines)
    copy = copied(here, engine, store, "logs", container)
    assert "acknowledged" in ask("DELETE", day)
    brought_back(here, engine, store, "logs", container, copy)
    assert "It was kept" in ask("GET", f"{day}/_doc/1")

    # It keeps users and documents when it dies.
    here.docker("kill", "--signal", "KILL", container)
    here.docker("start", container)
    here.wait_healthy(container, engine.workload("search", store), 60)
    assert "It was kept" in ask("GET", f"{day}/_doc/1")

    exporter = EXPORTERS["elasticsearch"]
    assert exporter.arguments is not None
    values = {"search.user": "shipper", "search.password": REMADE}
    watcher = Workload(
        image=stand_in(exporter.image),
        ports=[Port(target=exporter.port)],
        metrics=Metrics(),
        user="65534:65534",
        resources=Resources(memory="32m"),
        **exporter.arguments("search", False),
    )
    name = here.start("exporter", watcher, values)

    def numbers() -> str:
        url = f"http://127.0.0.1:{exporter.port}/metrics"
        return here.execute(name, "wget", "-q", "-O", "-", url).stdout.decode()

    wanted = 'elasticsearch_cluster_health_status{cluster="search",color="green"} 1'
    here.wait(lambda: wanted in numbers(), name, 30)
    found = numbers()
    for metric in ("indices_docs{", "jvm_memory_used_bytes{", "filesystem_data_size_bytes{"):
        assert f"elasticsearch_{metric}" in found


def test_elasticsearch_refuses_to_look_for_others(here: Containers) -> None:
    engine = Elasticsearch()
    store = Store(engine="elasticsearch", image=stand_in(engine.image))
    workload = engine.workload("search", store)
    told = workload.configs["elasticsearch.yml"].replace("single-node", "multi-node")
    changed = workload.model_copy(update={"configs": {"elasticsearch.yml": told}})
    code, said = here.run("search", changed, {"password.elastic": ADMIN})
    assert code == 78
    assert "discovery settings are unsuitable" in said


def placed(workload: Workload) -> Workload:
    return workload.model_copy(update={"image": stand_in(str(workload.image))})


def test_tools_become_healthy_with_what_they_need_and_end_without(here: Containers) -> None:
    postgres = Store(engine="postgres", image=stand_in(Postgres().image))
    redis = Store(engine="redis", image=stand_in(Redis().image))
    database = started(here, Postgres(), "postgres", postgres, Postgres().admin)
    started(here, Redis(), "redis", redis, Redis().admin)
    names = {"host": "postgres", "port": "5432", "database": Postgres().admin}
    names |= {"user": Postgres().admin, "password": ADMIN}
    url = Postgres().url(
        postgres, Postgres().consumers(postgres)[""], ADMIN, Reached(["postgres"], 5432)
    )
    cache = Redis().url(redis, Redis().consumers(redis)[""], ADMIN, Reached(["redis"], 6379))
    values = {
        **{f"postgres{part}.{key}": v for key, v in names.items() for part in ("", ".metabase")},
        "postgres.glitchtip.url": url,
        "redis.url": cache,
        "secret.MB_ENCRYPTION_SECRET_KEY": "0123456789abcdef",
        "secret.GLITCHTIP_SECRET_KEY": "a secret",
        "secret.PGADMIN_PASSWORD": ADMIN,
        "secret.PORTAINER_PASSWORD": ADMIN,
    }
    tracker = glitchtip()
    assert here.run("glitchtip-migrate", placed(tracker.pop("glitchtip-migrate")), values)[0] == 0
    tools = {**tracker, "metabase": metabase(), "pgadmin": pgadmin()}
    socket = {"/var/run/docker.sock": "/var/run/docker.sock"}
    tools["portainer"] = portainer().model_copy(update={"binds": socket})
    running = {name: here.start(name, placed(tool), values) for name, tool in tools.items()}
    for name, tool in tools.items():
        if tool.healthcheck:
            here.wait_healthy(running[name], tool, 60)
    told = "".join(here.logs(name) for name in running.values())
    assert "stand-in for Metabase" in told
    assert ADMIN not in told
    state = here.docker("inspect", "--format", "{{.State.Running}}", running["glitchtip-worker"])
    assert state == "true"
    here.docker("rm", "--force", database)
    here.wait(
        lambda: not here.healthy(running["metabase"], tools["metabase"]), running["metabase"], 30
    )


def test_ngrok_needs_its_token(here: Containers) -> None:
    tunnel = placed(ngrok({"app": Tunnel("nginx:8080")}))
    code, said = here.run("ngrok", tunnel, {})
    assert code != 0
    assert "NGROK_AUTHTOKEN" in said
    given = tunnel.model_copy(update={"secrets": {"NGROK_AUTHTOKEN": "a-token"}})
    name = here.start("tunnel", given, {})
    here.wait_healthy(name, given, 30)
