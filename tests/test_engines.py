"""What is known of each kind of store, held against the servers themselves where they are here."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from pulumi_tiers.checks import connection_keys
from pulumi_tiers.engines import ENGINES, Consumer, Engine, Reached
from pulumi_tiers.engines.postgres import Postgres
from pulumi_tiers.model.base import LONGEST_TEXT
from pulumi_tiers.model.references import references, substitute
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition, Port, Resources, Workload

POSTGRES = Postgres()
#: Every character that a shell, psql, SQL, a URL or Compose could take for its own.
EVIL = """p'a"s\\s;:%/@?#&=+ $HOME $$ ${x} `id` é | \\q"""


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "postgres", **keys})


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_an_engine_runs_with_nothing_said(engine: Engine) -> None:
    said = Store(engine=engine.name)
    assert engine.check(said) == []
    workload = engine.workload("db", said)
    assert workload.image == engine.image
    # Pinned: neither no tag nor one that moves.
    assert engine.image.partition(":")[2] not in {"", "latest"}
    assert workload.stateful
    assert workload.volumes
    assert workload.healthcheck is not None
    assert workload.ports[0].target == engine.port
    assert workload.ports[0].published is None
    # Who runs the server has its password; `${password.<user>}` is the only kind of reference.
    users = engine.users(said)
    assert users[0] == engine.admin_of(said) == engine.admin
    secret = [*workload.secrets.values(), *workload.secret_files.values()]
    found = [item for text in secret for item in references(text)]
    assert {item.store for item in found} == {"password"}
    assert {item.field for item in found} <= set(users)
    assert all(not references(text) for text in workload.environment.values())


@pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
def test_what_is_said_is_done(engine: Engine) -> None:
    said = Store(
        engine=engine.name,
        image="me/server:1",
        published=15000,
        size="20Gi",
        resources=Resources(cpus=2, memory="1g"),
    )
    workload = engine.workload("db", said)
    assert workload.image == "me/server:1"
    assert workload.ports[0].published == 15000
    assert [volume.size for volume in workload.volumes] == ["20Gi"]
    assert workload.resources == Resources(cpus=2, memory="1g")


# --- Postgres -------------------------------------------------------------------------------------


def test_postgres_is_run_as_its_image_wants_it() -> None:
    said = store(admin="boss", databases=[{"name": "shop"}], settings={"max_connections": "20"})
    workload = POSTGRES.workload("db", said)
    assert workload.command == ["postgres", "-c", "max_connections=20"]
    assert workload.environment == {
        "POSTGRES_USER": "boss",
        "POSTGRES_DB": "shop",
        "PGDATA": "/var/lib/postgresql/data/pgdata",
    }
    assert workload.secrets == {"POSTGRES_PASSWORD": "${password.boss}"}
    assert workload.ports == [Port(target=5432, scheme="postgresql")]
    assert workload.volumes[0].name == "db-data"
    assert workload.healthcheck is not None
    assert workload.healthcheck.test == ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "boss"]


@pytest.mark.parametrize(("image", "user"), [("postgres:17", 999), ("postgres:16-alpine", 70)])
def test_the_server_is_the_user_that_its_image_knows(image: str, user: int) -> None:
    store = Store(engine="postgres", image=image, databases=[Database(name="a", owner="a")])
    engine = Postgres()
    setup = engine.setup("db", store)
    assert setup is not None
    assert engine.workload("db", store).user == setup.user == f"{user}:{user}"
    assert f"uid={user}" in engine.workload("db", store).tmpfs["/var/run/postgresql"]


def test_the_password_may_be_a_file() -> None:
    workload = POSTGRES.workload("db", store(admin="boss", password_file=True))
    assert workload.secrets == {}
    assert workload.secret_files == {"password": "${password.boss}"}
    assert workload.environment["POSTGRES_PASSWORD_FILE"] == "/run/secrets/password"


def test_the_connections_of_a_store_are_its_databases() -> None:
    said = store(admin="boss", databases=[{"name": "shop"}, {"name": "blog", "owner": "writer"}])
    assert POSTGRES.consumers(said) == {
        "": Consumer("boss", "shop"),
        "shop": Consumer("boss", "shop"),
        "blog": Consumer("writer", "blog"),
    }
    assert connection_keys({"db": said}, Target.DOCKER) == ["db", "db.shop", "db.blog"]
    assert POSTGRES.users(said) == ["boss", "writer"]


def test_a_store_without_databases_has_the_one_that_the_image_makes() -> None:
    assert POSTGRES.consumers(store(admin="boss")) == {
        "": Consumer("boss", "boss"),
        "boss": Consumer("boss", "boss"),
    }


@pytest.mark.parametrize(("tls", "mode"), [(False, "prefer"), (True, "require")])
def test_a_url_says_how_to_connect(mode: str, *, tls: bool) -> None:
    consumer = Consumer("boss", "shop")
    url = POSTGRES.url(store(), consumer, "p@ss/w?rd", Reached(["db"], 25060, tls=tls))
    assert url == f"postgresql://boss:p%40ss%2Fw%3Frd@db:25060/shop?sslmode={mode}"


@pytest.mark.parametrize("name", ["", "max connections", "a=b", "max-connections", "1a", "-c", "é"])
def test_a_setting_has_a_settings_name(name: str) -> None:
    assert POSTGRES.check(store(settings={name: "1"})) == [
        (
            f"{name!r} is not a setting of Postgres",
            "write its name as in postgresql.conf, such as 'max_connections'",
        )
    ]


@pytest.mark.parametrize("name", ["port", "PORT", "data_directory", "hba_file", "listen_addresses"])
def test_what_clients_rely_on_cannot_be_set(name: str) -> None:
    assert POSTGRES.check(store(settings={name: "1", "pg_stat_statements.track": "all"})) == [
        (f"the setting '{name}' is this library's", "remove it")
    ]


def test_a_setting_is_one_line() -> None:
    [(why, _)] = POSTGRES.check(store(settings={"max_connections": "1\n2"}))
    assert why == "the setting 'max_connections' is not one line of postgresql.conf"


def test_sql_that_no_variable_can_hold_is_refused() -> None:
    scripts = {f"part-{number}": "-" * (LONGEST_TEXT // 2) for number in range(2)}
    said = store(databases=[{"name": "shop", "init_sql": scripts}])
    [(why, remedy)] = POSTGRES.check(said)
    assert why.startswith("the SQL that sets the databases up has 120")
    assert remedy == "keep it below 120000: leave data and later changes to migrations"
    assert POSTGRES.check(store(databases=[{"name": "shop", "init_sql": {"a": "-" * 10**5}}])) == []


# --- Postgres: the job that sets databases up -----------------------------------------------------


def setup(said: Store) -> Workload:
    job = POSTGRES.setup("db", said)
    assert job is not None
    return job


def sql(said: Store) -> str:
    return substitute(setup(said).environment["SETUP_SQL"], lambda _: "a reference")


@pytest.mark.parametrize(
    "databases", [[], [{"name": "shop"}], [{"name": "shop", "init_sql": {}}]], ids=str
)
def test_nothing_to_set_up_is_no_job(databases: list[object]) -> None:
    assert POSTGRES.setup("db", store(databases=databases)) is None


def test_the_setup_runs_once_after_the_server_and_holds_the_passwords_only_as_secrets() -> None:
    databases = [
        {"name": "shop"},
        {"name": "blog", "owner": "writer"},
        {"name": "wiki", "owner": "boss"},
        {"name": "news", "owner": "writer"},
    ]
    job = setup(store(image="postgres:15", admin="boss", databases=databases))
    assert (job.job, job.image) == (True, "postgres:15")
    assert job.depends_on == {"db": Condition.SERVICE_HEALTHY}
    assert {key: job.environment[key] for key in ("PGHOST", "PGUSER", "PGDATABASE")} == {
        "PGHOST": "db",
        "PGUSER": "boss",
        # The first database may be newer than the volume.
        "PGDATABASE": "postgres",
    }
    # The admin has a password already; each owner has one, once.
    assert job.secrets == {"PGPASSWORD": "${password.boss}", "PASSWORD_0": "${password.writer}"}
    assert all(not references(text) for text in job.environment.values())
    assert all("password" not in part.lower() for part in job.command)


def test_the_setup_makes_what_is_missing() -> None:
    databases = [
        {"name": "shop"},
        {"name": "Blog", "owner": "Writer", "init_sql": {"a": "SELECT 1"}},
    ]
    assert sql(store(admin="boss", databases=databases)).split("\n") == [
        "\\set password `printenv PASSWORD_0`",
        "SELECT 'CREATE ROLE \"Writer\" LOGIN' WHERE NOT EXISTS"
        " (SELECT FROM pg_roles WHERE rolname = 'Writer') \\gexec",
        "ALTER ROLE \"Writer\" LOGIN PASSWORD :'password';",
        "SELECT 'CREATE DATABASE \"shop\"' WHERE NOT EXISTS"
        " (SELECT FROM pg_database WHERE datname = 'shop') \\gexec",
        'SELECT \'CREATE DATABASE "Blog" OWNER "Writer"\' WHERE NOT EXISTS'
        " (SELECT FROM pg_database WHERE datname = 'Blog') \\gexec",
        'ALTER DATABASE "Blog" OWNER TO "Writer";',
        'REVOKE CONNECT ON DATABASE "Blog" FROM PUBLIC;',
        '\\connect "Blog"',
        "CREATE TABLE IF NOT EXISTS public.tiers_init"
        " (name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now());",
        "SELECT count(*) = 0 AS fresh FROM public.tiers_init WHERE name = 'a' \\gset",
        "\\if :fresh",
        "BEGIN;",
        "SELECT 1",
        ";",
        "INSERT INTO public.tiers_init (name) VALUES ('a');",
        "COMMIT;",
        "\\endif",
    ]


def test_dollar_signs_in_sql_are_no_references() -> None:
    body = "CREATE FUNCTION one() RETURNS int LANGUAGE sql AS $$ SELECT '${db.host}'::int $$"
    assert body in sql(store(databases=[{"name": "shop", "init_sql": {"a": body}}]))


@dataclass(frozen=True)
class Server:
    """A PostgreSQL server of this machine, for these tests only."""

    programs: Path
    port: int

    def run(self, job: Workload, passwords: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """The setup job's own command, in its own environment."""
        values = {
            # Host and port are those of this server.
            variable: substitute(text, lambda reference: passwords.get(reference.field, ""))
            for variable, text in job.values.items()
        }
        here = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGSSLMODE": "prefer"}
        return self._run([str(part) for part in job.command], values | here)

    def query(self, url: str, text: str) -> str:
        """One line per row; raises what the server said."""
        done = self._run(["psql", "--no-psqlrc", "-tAc", text, url], {})
        if done.returncode:
            raise PermissionError(done.stderr)
        return done.stdout.strip()

    def url(self, said: Store, connection: str, password: str) -> str:
        consumer = POSTGRES.consumers(said)[connection]
        return POSTGRES.url(said, consumer, password, Reached(["127.0.0.1"], self.port))

    def _run(
        self, command: list[str], variables: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "PGPORT": str(self.port),
            "LC_ALL": "C.UTF-8",
            **variables,
        }
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )


ADMIN_PASSWORD = "the admin's own"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    folder = Path(tempfile.mkdtemp())
    # The server refuses to run as root.
    user = "nobody" if os.getuid() == 0 else None
    password = folder / "password"
    password.write_text(ADMIN_PASSWORD)
    if user:
        shutil.chown(folder, user)
        shutil.chown(password, user)
    data = folder / "data"
    try:
        subprocess.run(
            [programs / "initdb", "--no-sync", "--username=boss", f"--pwfile={password}",
             "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", data],
            check=True, capture_output=True, user=user, cwd=folder,
        )  # fmt: skip
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-p", str(port), "-k", folder, "-F",
             "-c", "listen_addresses=127.0.0.1"],
            user=user, cwd=folder, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _wait(programs, port)
            yield Server(programs, port)
        finally:
            # Fast: without waiting for clients.
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path | None:
    """The folder with the programs of a server. Debian keeps it away from PATH."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin")]
    folders += [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    needed = ("initdb", "postgres", "pg_isready", "psql")
    return next((path for path in folders if all((path / name).exists() for name in needed)), None)


def _wait(programs: Path, port: int) -> None:
    command = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port)]
    for _ in range(600):
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
        time.sleep(0.1)
    raise TimeoutError


def test_a_real_server_is_set_up_twice_with_passwords_that_hold_anything(server: Server) -> None:
    first = {"create": "CREATE TABLE t (n int); -- ends in a comment"}
    body = "CREATE FUNCTION two() RETURNS int LANGUAGE sql AS $$ SELECT 2 $$"
    said = store(
        admin="boss",
        databases=[
            {"name": "postgres"},
            {"name": "Blog", "owner": "Writer"},
            {"name": "shop", "owner": "seller", "init_sql": {**first, "b-function": body}},
        ],
    )
    passwords = {"boss": ADMIN_PASSWORD, "Writer": EVIL, "seller": EVIL[::-1]}
    for _ in range(2):
        done = server.run(setup(said), passwords)
        assert done.returncode == 0, done.stderr
        for user, connection in (("boss", ""), ("Writer", "Blog"), ("seller", "shop")):
            url = server.url(said, connection, passwords[user])
            # What a client makes of the URL is what the server knows.
            assert server.query(url, "SELECT current_user") == user
            assert server.query(url, "SELECT current_database()") == (connection or "postgres")
    shop = server.url(said, "shop", passwords["seller"])
    assert server.query(shop, "SELECT two()") == "2"
    # An owner may do what he likes at home, and does not get into another's.
    assert server.query(shop, "CREATE TABLE mine ()") == "CREATE TABLE"
    with pytest.raises(PermissionError, match="permission denied for database"):
        server.query(shop.replace("/shop?", "/Blog?"), "SELECT 1")
    with pytest.raises(PermissionError, match="password authentication failed"):
        server.query(server.url(said, "shop", "wrong"), "SELECT 1")


def test_who_reads_numbers_reads_no_rows(server: Server) -> None:
    databases = [{"name": "counted", "owner": "counter"}, {"name": "uncounted", "owner": "counter"}]
    said = store(admin="boss", databases=databases, monitoring=True)
    passwords = {"boss": ADMIN_PASSWORD, "counter": "owner", "monitoring": EVIL}
    for _ in range(2):
        done = server.run(setup(said), passwords)
        assert done.returncode == 0, done.stderr
        assert "WARNING" not in done.stderr
    owner = server.url(said, "counted", "owner")
    server.query(owner, "CREATE TABLE IF NOT EXISTS private AS SELECT 1 AS n")
    watcher = server.url(said, "monitoring", EVIL)
    assert server.query(watcher, "SELECT current_database()") == "counted"
    # Also of what somebody else owns, and of other sessions.
    assert int(server.query(watcher, "SELECT pg_database_size('uncounted')")) > 0
    assert server.query(watcher, "SELECT pg_has_role('pg_monitor', 'usage')") == "t"
    with pytest.raises(PermissionError, match="permission denied for table private"):
        server.query(watcher, "SELECT * FROM private")
    with pytest.raises(PermissionError, match="permission denied for schema public"):
        server.query(watcher, "CREATE TABLE mine ()")
    with pytest.raises(PermissionError, match="permission denied for database"):
        server.query(watcher.replace("/counted?", "/uncounted?"), "SELECT 1")


def test_sql_runs_once_in_the_order_of_its_names(server: Server) -> None:
    def said(**scripts: str) -> Store:
        return store(admin="boss", databases=[{"name": "order_db", "init_sql": scripts}])

    passwords = {"boss": ADMIN_PASSWORD}
    one = said(b="INSERT INTO t VALUES (2)", a="CREATE TABLE t (n int); INSERT INTO t VALUES (1)")
    assert server.run(setup(one), passwords).returncode == 0
    two = said(a="INSERT INTO t VALUES (9)", b="", c="INSERT INTO t VALUES (3)")
    assert server.run(setup(two), passwords).returncode == 0
    url = server.url(one, "", ADMIN_PASSWORD)
    assert server.query(url, "SELECT string_agg(n::text, ',' ORDER BY n) FROM t") == "1,2,3"
    assert (
        server.query(url, "SELECT string_agg(name, ',' ORDER BY name) FROM tiers_init") == "a,b,c"
    )


@pytest.mark.parametrize(
    "broken", ["CREATE TABLE gone (n int); SELECT nonsense", "SELECT 'no end", "SELECT $$ no end"]
)
def test_sql_that_fails_leaves_nothing_behind_and_fails_the_job(
    server: Server, broken: str
) -> None:
    said = store(admin="boss", databases=[{"name": "broken_db", "init_sql": {"a": broken}}])
    assert server.run(setup(said), {"boss": ADMIN_PASSWORD}).returncode != 0
    url = server.url(said, "", ADMIN_PASSWORD)
    assert server.query(url, "SELECT count(*) FROM tiers_init") == "0"
    assert server.query(url, "SELECT to_regclass('gone') IS NULL") == "t"


def test_a_copy_brings_a_database_back(server: Server) -> None:
    said = store(admin="boss", databases=[{"name": "copied"}, {"name": "other"}])
    assert server.run(setup(said), {"boss": ADMIN_PASSWORD}).returncode == 0
    url = server.url(said, "copied", ADMIN_PASSWORD)
    server.query(url, "CREATE TABLE kept AS SELECT 1 AS n")
    backups = POSTGRES.backups(said)
    assert set(backups) == {"copied", "other"}
    backup = backups["copied"]
    assert {**backup.environment, **backup.secrets}["PGPASSWORD"] == "${password.boss}"
    environment = {
        **backup.environment,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(server.port),
        "PGPASSWORD": ADMIN_PASSWORD,
        "PATH": f"{server.programs}:{os.environ['PATH']}",
    }
    copy = subprocess.run(backup.dump, env=environment, capture_output=True, check=True)
    server.query(url, "UPDATE kept SET n = 2")
    server.query(url, "CREATE TABLE later ()")
    done = subprocess.run(backup.restore, env=environment, input=copy.stdout, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert server.query(url, "SELECT n FROM kept") == "1"
    assert POSTGRES.backups(said, managed=True)["copied"].environment["PGSSLMODE"] == "require"


def test_a_changed_password_is_set(server: Server) -> None:
    said = store(admin="boss", databases=[{"name": "changing", "owner": "changer"}])
    for password in ("yesterday", "today"):
        done = server.run(setup(said), {"boss": ADMIN_PASSWORD, "changer": password})
        assert done.returncode == 0
        assert server.query(server.url(said, "", password), "SELECT 1") == "1"
    with pytest.raises(PermissionError):
        server.query(server.url(said, "", "yesterday"), "SELECT 1")


def test_on_a_managed_server_the_owner_gets_its_rights_and_nobody_else(server: Server) -> None:
    """As on DigitalOcean: the admin is no superuser, users and databases are there already."""
    boss = store(admin="boss", databases=[{"name": "postgres"}])
    by_boss = server.url(boss, "", ADMIN_PASSWORD)
    for statement in (
        "CREATE ROLE doadmin LOGIN CREATEDB CREATEROLE PASSWORD 'admin'",
        "CREATE ROLE tenant LOGIN PASSWORD 'tenant'",
        "CREATE ROLE stranger LOGIN PASSWORD 'stranger'",
        "DO $$ BEGIN CREATE ROLE monitoring LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
        "ALTER ROLE monitoring PASSWORD 'numbers'",
        "CREATE DATABASE defaultdb OWNER doadmin",
        "CREATE DATABASE rented OWNER doadmin",
    ):
        server.query(by_boss, statement)
    said = POSTGRES.as_managed(
        store(
            databases=[
                {"name": "rented", "owner": "tenant", "init_sql": {"a": "CREATE TABLE t ()"}}
            ],
            monitoring=True,
        )
    )
    assert said.admin == "doadmin"
    job = POSTGRES.setup("db", said, managed=True)
    assert job is not None
    assert set(job.secrets) == {"PGPASSWORD"}
    # An admin may not be allowed to let others see all numbers: then some are missing.
    for may, told in (("CREATEROLE", False), ("NOCREATEROLE", True)):
        server.query(by_boss, f"ALTER ROLE doadmin {may}")
        done = server.run(job, {"doadmin": "admin"})
        assert done.returncode == 0, done.stderr
        assert ("WARNING:  monitoring is not in pg_monitor" in done.stderr) is told
    assert server.query(server.url(said, "monitoring", "numbers"), "SELECT 1") == "1"
    owner = server.url(said, "rented", "tenant")
    server.query(owner, "CREATE TABLE mine (n int)")
    assert server.query(owner, "SELECT count(*) FROM mine") == "0"
    with pytest.raises(PermissionError, match="permission denied for database"):
        server.query(owner.replace("tenant:tenant", "stranger:stranger"), "SELECT 1")


def test_a_store_without_owners_needs_no_job_on_a_managed_server() -> None:
    said = POSTGRES.as_managed(store())
    # What refers to its database is checked with the name that it has there.
    assert connection_keys({"db": store()}, Target.KUBERNETES) == ["db", "db.postgres"]
    assert connection_keys({"db": store()}, Target.DIGITALOCEAN) == ["db", "db.defaultdb"]
    assert [database.name for database in said.databases] == ["defaultdb"]
    assert POSTGRES.setup("db", said, managed=True) is None
    # The described admin owns nothing of its own there.
    owned = store(admin="boss", databases=[{"name": "shop", "owner": "boss"}])
    assert POSTGRES.users(POSTGRES.as_managed(owned)) == ["doadmin"]
