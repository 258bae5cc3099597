"""SQL Server: what is described, what its scripts ask for, and a stand-in that answers them."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi
import pytest
from containers import Containers, stand_in
from pulumi_tiers import DataTier, Site
from pulumi_tiers.checks import check_stores
from pulumi_tiers.cli.compose import read_secrets, write_secrets
from pulumi_tiers.engines.base import Consumer, Reached
from pulumi_tiers.engines.mssql import Mssql
from pulumi_tiers.model.references import references, substitute
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition, Workload
from pulumi_tiers.render.recorder import record

MSSQL = Mssql()
#: Every character that a shell, T-SQL, sqlcmd or a URL could take for its own.
EVIL = """Aa1p'b"s\\s;:%/@?#&=+ $HOME $$ $(x) ${x} `id` é ''] | \\q -- {}"""
SHOP: dict[str, Any] = {
    "databases": [
        {
            "name": "Shop",
            "owner": "seller",
            "init_sql": {
                "b-rows": "INSERT INTO dbo.goods (name) VALUES (N'it''s $(x)');",
                "a-table": "CREATE TABLE dbo.goods (name nvarchar(50));\nGO\n"
                "INSERT INTO dbo.goods (name) VALUES (N'first'); -- the end",
            },
        },
        {"name": "Blog"},
    ]
}


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "mssql", **keys})


def setup(said: Store) -> Workload:
    job = MSSQL.setup("sqlserver", said)
    assert job is not None
    return job


# --- what is described ----------------------------------------------------------------------------


def test_the_documented_server_is_express_and_checked_with_todays_tool() -> None:
    workload = MSSQL.workload("sqlserver", store(published=11433))
    assert workload.environment["ACCEPT_EULA"] == "Y"
    assert workload.environment["MSSQL_PID"] == "Express"
    assert workload.environment["MSSQL_MEMORY_LIMIT_MB"] == "1638"
    assert workload.user == "10001:0"
    assert workload.volumes[0].target == "/var/opt/mssql"
    assert [(port.target, port.published) for port in workload.ports] == [(1433, 11433)]
    # The only one that Kubernetes' "restricted" knows.
    assert workload.cap_add == ["NET_BIND_SERVICE"]
    # The password is nowhere where `docker inspect` shows it.
    assert workload.secret_files == {"password": "${password.sa}"}
    assert workload.secrets == {}
    health = workload.healthcheck
    assert health is not None
    # OC-32: the documented numbers, and time for the start.
    assert (health.interval, health.timeout, health.retries) == ("10s", "3s", 10)
    assert health.start_period == "120s"
    # OC-17: wherever the image has it, trusting the server's own certificate.
    assert "/opt/mssql-tools*/bin/sqlcmd" in str(health.test)
    assert " -C " in str(health.test)
    assert " -P " not in str(health.test)


def test_settings_take_the_place_of_ours() -> None:
    said = store(settings={"MSSQL_PID": "Developer", "MSSQL_COLLATION": "Latin1_General_CI_AS"})
    environment = MSSQL.workload("sqlserver", said).environment
    assert environment["MSSQL_PID"] == "Developer"
    assert environment["MSSQL_COLLATION"] == "Latin1_General_CI_AS"


def test_the_connections_are_its_databases() -> None:
    assert MSSQL.consumers(store()) == {
        "": Consumer("sa", "master"),
        "master": Consumer("sa", "master"),
    }
    said = store(**SHOP)
    assert MSSQL.consumers(said) == {
        "": Consumer("seller", "Shop"),
        "Shop": Consumer("seller", "Shop"),
        "Blog": Consumer("sa", "Blog"),
    }
    assert MSSQL.users(said) == ["sa", "seller"]
    url = MSSQL.url(said, Consumer("seller", "Shop"), "p@/: ", Reached(["db"], 1433))
    assert url == (
        "mssql://seller:p%40%2F%3A%20@db:1433/Shop?encrypt=true&trustServerCertificate=true"
    )


def parsed(text: str) -> dict[str, str]:
    """What .NET's DbConnectionStringBuilder makes of it, as its documentation has the rules.

    https://learn.microsoft.com/dotnet/api/system.data.common.dbconnectionstringbuilder: a value
    between quotes holds anything, and each quote of its own twice; one without them ends at the
    semicolon.
    """
    found: dict[str, str] = {}
    while text:
        key, _, text = text.partition("=")
        if text[:1] in {'"', "'"}:
            mark, text, value = text[0], text[1:], ""
            while True:
                part, _, text = text.partition(mark)
                value += part
                if not text.startswith(mark):
                    break
                value, text = value + mark, text[1:]
            assert text[:1] in {"", ";"}, text
            text = text[1:]
        else:
            value, _, text = text.partition(";")
            value = value.strip()
        assert key not in found
        found[key] = value
    return found


@pytest.mark.parametrize("password", ["Abc123xyz", EVIL, '"', "';--", ' a="b";c ', "=;", "'x'"])
def test_dotnet_reads_the_connection_with_any_password(password: str) -> None:
    server = Reached(["sqlserver"], 1433)
    text = MSSQL.dotnet(store(**SHOP), Consumer("seller", "Shop"), password, server)
    assert parsed(text) == {
        "Server": "sqlserver,1433",
        "Database": "Shop",
        "User Id": "seller",
        "Password": password,
        "TrustServerCertificate": "True",
    }


def test_the_setup_holds_passwords_only_as_secrets() -> None:
    assert MSSQL.setup("sqlserver", store()) is None
    job = setup(store(**SHOP))
    assert job.depends_on == {"sqlserver": Condition.SERVICE_HEALTHY}
    assert job.secrets == {"ADMIN_PASSWORD": "${password.sa}", "PASSWORD_0": "${password.seller}"}
    assert all(not references(text) for text in job.environment.values())


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"settings": {"max server memory": "1"}}, "'max server memory' is not a setting"),
        ({"settings": {"MSSQL_SA_PASSWORD": "x"}}, "'MSSQL_SA_PASSWORD' is not a setting"),
        ({"settings": {"MSSQL_PID": "Express Edition"}}, "'Express Edition' is no MSSQL_PID"),
        ({"settings": {"MSSQL_PID": "express"}}, "'express' is no MSSQL_PID"),
        ({"settings": {"MSSQL_MEMORY_LIMIT_MB": "1g"}}, "'1g' is no MSSQL_MEMORY_LIMIT_MB"),
        (
            {"settings": {"MSSQL_MEMORY_LIMIT_MB": "2048"}},
            "with a MSSQL_MEMORY_LIMIT_MB of 2048, SQL Server is killed at its limit of 2g",
        ),
        ({"databases": [{"name": "Master"}]}, "SQL Server has a database 'Master' of its own"),
        (
            {"databases": [{"name": "shop"}, {"name": "Shop"}]},
            "SQL Server takes 'Shop' for another database's name",
        ),
        (
            {"databases": [{"name": "a", "owner": "shop"}, {"name": "b", "owner": "Shop"}]},
            "SQL Server takes the owner 'Shop' for 'shop'",
        ),
        # It would get another password.
        ({"databases": [{"name": "a", "owner": "SA"}]}, "SQL Server takes the owner 'SA' for 'sa'"),
        (
            {"databases": [{"name": "shop", "owner": "dbo"}]},
            "'dbo' is somebody in each database of SQL Server",
        ),
        (
            {"databases": [{"name": "shop", "init_sql": {"a": "SELECT '" + "$" * 70_000 + "'"}}]},
            "what sets the store up has 140009 bytes in one piece",
        ),
        ({"databases": [{"name": f"d{number}"} for number in range(1200)]}, "what sets the store"),
    ],
)
def test_what_breaks_it_is_refused(keys: dict[str, object], why: str) -> None:
    [(found, remedy)] = MSSQL.check(store(**keys))
    assert found.startswith(why)
    assert remedy


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("Aa1!xyz", ["the password has 7 characters"]),
        ("Aa1!" + "x" * 125, ["the password has 129 characters"]),
        ("onlysmallandlong", ["SQL Server refuses the password: it is too simple"]),
        ("0123456789abcdef", ["SQL Server refuses the password: it is too simple"]),
        ("smallandCAPITALS", ["SQL Server refuses the password: it is too simple"]),
        ("Very1SELLERlong", ["SQL Server refuses the password: the user's name is in it"]),
        ("Aa345678", []),
        ("aa-45678", []),
        (EVIL, []),
    ],
)
def test_a_password_that_it_refuses_is_refused(password: str, why: list[str]) -> None:
    assert [found for found, _ in MSSQL.check_secret("seller", password)] == why
    given = {"db": store(**SHOP, passwords={"seller": password})}
    told = check_stores("stores", given, Target.DOCKER)
    assert [it.why for it in told if it.place == "stores.db.passwords.seller"] == why
    assert password not in str(list(check_stores("stores", given, Target.DOCKER)))


def test_generated_passwords_are_taken(tmp_path: Path) -> None:
    def program() -> None:
        site = Site("shop", {"target": Target.DOCKER})
        stores: Any = {"sqlserver": {"engine": "mssql", **SHOP}, "redis": {"engine": "redis"}}
        DataTier("data", {"site": site.ref, "stores": stores})
        pulumi.export("done", True)

    made = {
        resource.name: resource.inputs
        for resource in record(program, project="shop", stack="dev", config={}).resources
        if resource.type.endswith("RandomPassword")
    }
    least = ("minUpper", "minLower", "minNumeric")
    for user in ("sa", "seller"):
        inputs = made[f"data-sqlserver-{user}-password"]
        assert [inputs[key] for key in least] == [1, 1, 1]
    # Those that are there already stay as they are.
    assert not set(least) & {key for key, value in made["data-redis-default-password"].items()
                             if value is not None}  # fmt: skip
    # The fallback's.
    write_secrets(tmp_path, {f"P{number}" for number in range(200)}, {})
    for password in read_secrets(tmp_path).values():
        assert MSSQL.check_secret("seller", password) == []


def test_it_has_no_queue() -> None:
    assert MSSQL.check_queue(store())
    assert MSSQL.scaler(store(), Consumer("a", "b"), "jobs", 5) is None


# --- its scripts ----------------------------------------------------------------------------------

# In the place of sqlcmd: tells what it was asked, and answers how often a script has run.
_TOOL = """#!/bin/bash
{
  printf '%s ' "$@"
  echo
  while [ $# -gt 0 ]; do
    [ "$1" != -i ] || cat "$2"
    shift
  done
} >>"$ASKED"
printf '%b' "$ANSWER"
exit "${CODE:-0}"
"""


def run(script: str, folder: Path, variables: dict[str, str]) -> tuple[Any, str]:
    """What became of a script, and what it asked sqlcmd for."""
    asked = folder / "asked"
    asked.write_text("")
    for version in ("", "18"):
        tools = folder / f"opt/mssql-tools{version}/bin"
        tools.mkdir(parents=True, exist_ok=True)
        (tools / "sqlcmd").write_text(_TOOL.replace("{\n", f"{{\n  echo tools{version}\n", 1))
        (tools / "sqlcmd").chmod(0o755)
    script = re.sub("/(opt|tmp|run)/", lambda found: f"{folder}{found[0]}", script)
    for place in ("tmp", "run/secrets"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        env={**variables, "ASKED": str(asked), "PATH": os.environ["PATH"]},
        capture_output=True,
        check=False,
    )
    return done, asked.read_text()


def run_setup(said: Store, folder: Path, **variables: str) -> tuple[Any, str]:
    job = setup(said)
    values = {
        variable: substitute(text, lambda found: f"{found.field}{EVIL}")
        for variable, text in job.values.items()
    }
    return run(values["SCRIPT"], folder, {**values, **variables})


def test_the_setup_asks_for_what_is_described(tmp_path: Path) -> None:
    done, asked = run_setup(store(**SHOP), tmp_path, ANSWER="\\n0\\n")
    assert done.returncode == 0, done.stderr
    password = f"seller{EVIL}".replace("'", "''")
    options = "-C -b -I -x -l 30 -S sqlserver,1433 -U sa"
    sql = f"""tools18
{options} -i {tmp_path}/tmp/setup.sql 
IF SUSER_ID(N'seller') IS NULL CREATE LOGIN [seller] WITH PASSWORD = N'{password}';
ELSE ALTER LOGIN [seller] WITH PASSWORD = N'{password}';
GO
IF DB_ID(N'Shop') IS NULL CREATE DATABASE [Shop];
GO
ALTER AUTHORIZATION ON DATABASE::[Shop] TO [seller];
GO
IF DB_ID(N'Blog') IS NULL CREATE DATABASE [Blog];
GO
ALTER AUTHORIZATION ON DATABASE::[Blog] TO [sa];
GO
"""  # noqa: W291 - as it is asked
    assert asked.startswith(sql)
    # Once each, in the order of the names, in a transaction.
    scripts = re.findall(r"-i \S+/init.sql \n(.*?)COMMIT;\nGO\n", asked, re.DOTALL)
    assert scripts == [
        "SET XACT_ABORT ON;\nBEGIN TRANSACTION;\nGO\n"
        "CREATE TABLE dbo.goods (name nvarchar(50));\nGO\n"
        "INSERT INTO dbo.goods (name) VALUES (N'first'); -- the end\nGO\n"
        "INSERT INTO dbo.tiers_init (name) VALUES (N'a-table');\n",
        "SET XACT_ABORT ON;\nBEGIN TRANSACTION;\nGO\n"
        "INSERT INTO dbo.goods (name) VALUES (N'it''s $(x)');\nGO\n"
        "INSERT INTO dbo.tiers_init (name) VALUES (N'b-rows');\n",
    ]
    assert asked.count("-d Shop -i") == 2
    # In the files for sqlcmd only, which nobody else reads.
    commands = [line for line in asked.splitlines() if line.startswith("-C")]
    assert all(EVIL not in line for line in commands)
    assert (tmp_path / "tmp" / "setup.sql").stat().st_mode & 0o077 == 0


def test_who_reads_numbers_gets_no_database(tmp_path: Path) -> None:
    done, asked = run_setup(store(monitoring=True), tmp_path)
    assert done.returncode == 0, done.stderr
    [_, sql] = asked.split("setup.sql \n")
    assert "CREATE LOGIN [monitoring]" in sql
    rights = [line for line in sql.splitlines() if not line.startswith(("IF ", "ELSE ", "GO"))]
    assert rights == [
        "GRANT VIEW SERVER STATE TO [monitoring];",
        "GRANT VIEW ANY DEFINITION TO [monitoring];",
    ]


def test_two_copies_at_once_come_one_after_another(tmp_path: Path) -> None:
    for place in ("opt/mssql-tools18/bin", "tmp", "run/secrets", "var/opt/mssql"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "run/secrets/password").write_text(EVIL)
    log, copy = tmp_path / "log", tmp_path / "var/opt/mssql/tiers-Shop.bak"
    tool = tmp_path / "opt/mssql-tools18/bin/sqlcmd"
    tool.write_text(
        f"#!/bin/bash\necho begin >>{log}\nsleep 0.3\necho whole >{copy}\necho end >>{log}\n"
    )
    tool.chmod(0o755)
    *shell, script = MSSQL.backups(store(**SHOP))["Shop"].dump
    script = re.sub("/(opt|tmp|run|var)/", lambda found: f"{tmp_path}{found[0]}", script)
    running = [subprocess.Popen([*shell, script], stdout=subprocess.PIPE) for _ in range(2)]
    assert [done.communicate(timeout=60)[0] for done in running] == [b"whole\n"] * 2
    assert log.read_text().split() == ["begin", "end"] * 2
    assert not copy.exists()


def test_what_has_run_does_not_run_again(tmp_path: Path) -> None:
    done, asked = run_setup(store(**SHOP), tmp_path, ANSWER="1\\n")
    assert done.returncode == 0, done.stderr
    assert "init.sql" not in asked


def test_a_server_that_answers_something_else_fails_the_setup(tmp_path: Path) -> None:
    only = {"databases": [{**SHOP["databases"][0], "owner": None}]}
    done, asked = run_setup(store(**only), tmp_path, ANSWER="Msg 916, Level 14")
    assert done.returncode != 0
    assert b"Msg 916, Level 14" in done.stderr
    assert "init.sql" not in asked
    done, _ = run_setup(store(**SHOP), tmp_path, ANSWER="Msg 15118", CODE="1")
    assert done.returncode != 0


# --- a stand-in that speaks its protocol ----------------------------------------------------------

VALUES = {"password.sa": EVIL, "password.seller": "The-first-1"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as containers:
        yield containers


def ask(here: Containers, name: str, user: str, password: str, database: str, sql: str) -> str:
    """What sqlcmd says, from where other containers are."""
    options = ("-C", "-b", "-S", "sqlserver", "-U", user, "-d", database, "-h", "-1", "-W")
    done = here.execute(
        name,
        *("/opt/mssql-tools18/bin/sqlcmd", *options, "-Q", f"SET NOCOUNT ON; {sql}"),
        environment={"SQLCMDPASSWORD": password},
    )
    return (done.stdout + done.stderr).decode().strip()


@pytest.mark.docker
@pytest.mark.load
def test_a_stand_in_gets_its_databases_and_users_and_keeps_its_rows(here: Containers) -> None:
    said = store(image=stand_in(MSSQL.image), **SHOP)
    workload = MSSQL.workload("sqlserver", said)
    name = here.start("sqlserver", workload, VALUES)
    here.wait_healthy(name, workload)
    for word in ("The-first-1", EVIL.replace("Aa1", "Bb2")):
        values = {**VALUES, "password.seller": word}
        code, told = here.run("setup", setup(said), values)
        assert code == 0, told
        assert "p'b" not in told
    seller = values["password.seller"]
    rows = "SELECT name FROM dbo.goods ORDER BY name"
    assert ask(here, name, "seller", seller, "Shop", rows).splitlines() == ["first", "it's $(x)"]
    assert "Login failed" in ask(here, name, "seller", "The-first-1", "Shop", rows)
    assert "Cannot open database" in ask(here, name, "seller", seller, "Blog", "SELECT 1")

    shown = [json.loads(here.docker("inspect", name))[0]["Config"], here.docker("top", name)]
    assert "p'b" not in str(shown)

    here.docker("kill", "--signal", "KILL", name)
    assert not here.healthy(name, workload)
    here.docker("start", name)
    here.wait_healthy(name, workload)
    assert len(ask(here, name, "seller", seller, "Shop", rows).splitlines()) == 2


@pytest.mark.docker
@pytest.mark.load
def test_a_copy_brings_the_rows_back(here: Containers) -> None:
    said = store(image=stand_in(MSSQL.image), **SHOP)
    workload = MSSQL.workload("sqlserver", said)
    name = here.start("sqlserver", workload, VALUES)
    here.wait_healthy(name, workload)
    assert here.run("setup", setup(said), VALUES)[0] == 0
    backup = MSSQL.backups(said)["Shop"]
    assert backup.inside
    copy = here.execute(name, *backup.dump)
    assert copy.returncode == 0, copy.stderr
    assert len(copy.stdout) > 1000
    ask(here, name, "sa", EVIL, "Shop", "DELETE FROM dbo.goods")
    assert ask(here, name, "sa", EVIL, "Shop", "SELECT COUNT(*) FROM dbo.goods") == "0"
    done = here.execute(name, *backup.restore, given=copy.stdout)
    assert done.returncode == 0, done.stderr
    assert ask(here, name, "sa", EVIL, "Shop", "SELECT COUNT(*) FROM dbo.goods") == "2"
    # Nothing of it is left on the server's disk.
    assert b".bak" not in here.execute(name, "ls", "-a", "/var/opt/mssql").stdout
