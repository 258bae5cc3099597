"""SQL Server on Linux (https://mcr.microsoft.com/product/mssql/server/about)."""

import re
from collections.abc import Iterator
from typing import ClassVar

from pulumi_tiers.engines.base import (
    ONE_AT_A_TIME,
    Backup,
    Consumer,
    Engine,
    Reached,
    by_owner,
    check_setup,
    encoded,
    placement,
)
from pulumi_tiers.model.errors import nearest, shown
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.store import MONITORING, Database, Store
from pulumi_tiers.model.workload import (
    SECRET_FILES,
    Condition,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)

_DATA = "/var/opt/mssql"
_TMP = "/tmp"  # noqa: S108
_ADMIN = "sa"
_PID = "MSSQL_PID"
_MEMORY = "MSSQL_MEMORY_LIMIT_MB"
#: https://learn.microsoft.com/sql/linux/sql-server-linux-configure-environment-variables
_EDITIONS = (
    *("Developer", "Enterprise", "EnterpriseCore", "Evaluation", "Express", "Standard", "Web"),
)
_SETTINGS: dict[str, tuple[str, str]] = {
    _PID: ("|".join(_EDITIONS), f"write one of {', '.join(_EDITIONS)}"),
    _MEMORY: (r"[1-9]\d{0,7}", "write MiB, such as '1600'"),
    "MSSQL_COLLATION": (r"[A-Za-z0-9_]{1,128}", "write its name, as 'Latin1_General_CI_AS'"),
    "MSSQL_LCID": (r"\d{1,6}", "write the number of a language, such as '1033'"),
    "MSSQL_AGENT_ENABLED": ("true|false", "write 'true' or 'false'"),
}
_SYSTEM = frozenset({"master", "model", "msdb", "resource", "tempdb"})
#: Names that mean somebody in each database already.
_PRINCIPALS = frozenset({"dbo", "guest", "information_schema", "public", "sys"})

# The server takes the password from a variable only. This one is no part of the container's
# description, so nobody sees it from outside.
_START = f"""MSSQL_SA_PASSWORD="$(cat {SECRET_FILES}/password)"
export MSSQL_SA_PASSWORD
exec /opt/mssql/bin/sqlservr
"""
# Since the 14th update of 2022, it is in mssql-tools18 (OC-17). It takes the password from a
# variable, so that it is in no command line. -C: the server's certificate is its own.
_TOOL = 'tool="$(ls /opt/mssql-tools*/bin/sqlcmd | tail -n 1)"'
_HERE = f"""set -eu
SQLCMDPASSWORD="$(cat {SECRET_FILES}/password)"
export SQLCMDPASSWORD
{_TOOL}
ask() {{ "$tool" -C -b -l 3 -S 127.0.0.1 -U {_ADMIN} "$@"; }}
"""
_HEALTHY = f'{_HERE}ask -Q "SELECT 1" >/dev/null'

# -I: as every other client has it. -x: a script's "$(x)" is no variable.
_SETUP = f"""set -eu
umask 077
SQLCMDPASSWORD="$ADMIN_PASSWORD"
export SQLCMDPASSWORD
{_TOOL}
ask() {{ "$tool" -C -b -I -x -l 30 -S "$SERVER" -U {_ADMIN} "$@"; }}
quoted() {{ printf '%s' "$1" | sed "s/'/''/g"; }}
login() {{
  printf "IF SUSER_ID(N'%s') IS NULL CREATE LOGIN [%s] WITH PASSWORD = N'%s';\\n" \\
    "$1" "$1" "$(quoted "$2")"
  printf "ELSE ALTER LOGIN [%s] WITH PASSWORD = N'%s';\\nGO\\n" "$1" "$(quoted "$2")"
}}
"""
# A transaction that goes over the script's own batches: an error ends the connection, and takes
# back what was done before.
_ONCE = """once() {
  ran="$(ask -d "$1" -h -1 -W -Q "SET NOCOUNT ON; IF OBJECT_ID(N'dbo.tiers_init') IS NULL
CREATE TABLE dbo.tiers_init (name nvarchar(100) PRIMARY KEY, applied datetime2 NOT NULL
DEFAULT SYSUTCDATETIME()); SELECT COUNT(*) FROM dbo.tiers_init WHERE name = N'$2'")" || true
  case "${ran//[[:space:]]/}" in
  0) ;;
  1) return ;;
  *)
    printf '%s\n' "$ran" >&2
    exit 1
    ;;
  esac
  printf '%s\n' "SET XACT_ABORT ON;" "BEGIN TRANSACTION;" GO "$3" GO \
    "INSERT INTO dbo.tiers_init (name) VALUES (N'$2');" "COMMIT;" GO >/tmp/init.sql
  ask -d "$1" -i /tmp/init.sql
}
"""
# https://github.com/awaragi/prometheus-mssql-exporter#usage: what the server does, and which files
# it has. No rows of anybody's.
_MONITORING_SQL = f"""GRANT VIEW SERVER STATE TO [{MONITORING}];
GRANT VIEW ANY DEFINITION TO [{MONITORING}];
GO
"""


class Mssql(Engine):
    """The official image; Express unless somebody says which edition."""

    name = "mssql"
    # `2022-latest` moves; this is one of its updates.
    image = "mcr.microsoft.com/mssql/server:2022-CU26-ubuntu-22.04"
    port = 1433
    admin = _ADMIN
    resources: ClassVar[Resources] = Resources(cpus=1.0, memory="2g")
    #: It refuses to start with less than 2000 megabytes.
    least_memory = "2g"
    mixed_passwords = True
    takes: ClassVar[frozenset[str]] = frozenset({"databases", "monitoring", "settings"})

    def databases(self, store: Store) -> list[Database]:
        """As described; else the one that clients are in who name none."""
        return store.databases or [Database(name="master")]

    def consumers(self, store: Store) -> dict[str, Consumer]:
        return by_owner(store, _ADMIN, self.databases(store))

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store
        # It always encrypts, with a certificate that it has made itself.
        return (
            f"mssql://{encoded(consumer.user)}:{encoded(password)}@{server.at}"
            f"/{encoded(consumer.database)}?encrypt=true&trustServerCertificate=true"
        )

    def dotnet(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store
        values = {
            "Server": f"{server.hosts[0]},{server.port}",
            "Database": consumer.database,
            "User Id": consumer.user,
            "Password": password,
            "TrustServerCertificate": "True",
        }
        return ";".join(f"{key}={_quoted(value)}" for key, value in values.items())

    def settings(self, store: Store) -> dict[str, str]:
        """The variables that can be set otherwise."""
        return {
            _PID: "Express",
            # The rest is for what it doesn't count: its threads, drivers, the health check.
            _MEMORY: str(self.memory(store) * 8 // 10 // 1024**2),
            **store.settings,
        }

    def workload(self, name: str, store: Store) -> Workload:
        return Workload(
            image=store.image or self.image,
            entrypoint=["/bin/bash", "-c"],
            command=[_START],
            environment={"ACCEPT_EULA": "Y", "HOME": _TMP, **self._literal(self.settings(store))},
            secret_files={"password": f"${{password.{_ADMIN}}}"},
            ports=[Port(target=self.port, published=store.published, scheme="mssql")],
            volumes=[Volume(name=store.volume or f"{name}-data", target=_DATA, size=store.size)],
            tmpfs={_TMP: ""},
            # The documented numbers, and time for the first start (OC-32).
            healthcheck=Healthcheck(
                test=["CMD-SHELL", _HEALTHY],
                interval="10s",
                timeout="3s",
                retries=10,
                start_period="120s",
            ),
            resources=store.resources or self.resources,
            # On SIGTERM it writes a checkpoint.
            stop_grace_period="60s",
            user="10001:0",
            # The file of its program asks for it, and else it isn't started at all.
            cap_add=["NET_BIND_SERVICE"],
            stateful=True,
            unverified=True,
            **placement(store),
        )

    def _literal(self, values: dict[str, str]) -> dict[str, str]:
        return {key: literal(value) for key, value in values.items()}

    def _scripts(self, store: Store) -> dict[str, str]:
        """What the setup job runs: SCRIPT, and the init SQL that it gives to sqlcmd."""
        found: dict[str, str] = {}
        lines = [_SETUP, _ONCE, "{\n"]
        lines += [
            f'login {user} "${variable}"\n'
            for user, variable in self.password_variables(store).items()
        ]
        lines += [f"cat <<'END'\n{_database_sql(database)}END\n" for database in store.databases]
        if store.monitoring:
            lines.append(f"cat <<'END'\n{_MONITORING_SQL}END\n")
        lines.append("} >/tmp/setup.sql\nask -i /tmp/setup.sql\n")
        for database in store.databases:
            for script, sql in sorted(database.init_sql.items()):
                variable = f"INIT_{len(found)}"
                found[variable] = sql
                lines.append(f'once {database.name} {script} "${variable}"\n')
        return self._literal({**found, "SCRIPT": "".join(lines)})

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        del managed
        if not store.databases and not store.monitoring:
            return None
        return Workload(
            image=store.image or self.image,
            entrypoint=["/bin/bash", "-c"],
            command=['exec /bin/bash -c "$SCRIPT"'],
            environment={
                "HOME": _TMP,
                "SERVER": f"{name},{self.port}",
                **self._scripts(store),
            },
            secrets=self.setup_secrets(store),
            networks=store.networks,
            depends_on={name: Condition.SERVICE_HEALTHY},
            user="10001:0",
            tmpfs={_TMP: "", _DATA: ""},
            resources=Resources(cpus=0.5, memory="256m"),
            job=True,
            unverified=True,
        )

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        del managed
        return {database.name: _backup(database.name) for database in store.databases}

    def check(self, store: Store) -> list[tuple[str, str]]:
        return [
            *self._check_settings(store),
            *_check_databases(store),
            *check_setup(self._scripts(store).values()),
        ]

    def _check_settings(self, store: Store) -> Iterator[tuple[str, str]]:
        for key, value in store.settings.items():
            pattern, remedy = _SETTINGS.get(key, ("", ""))
            if not pattern:
                yield f"{shown(key)} is not a setting of SQL Server", nearest(key, _SETTINGS)
            elif not re.fullmatch(pattern, value, re.ASCII):
                yield f"{shown(value)} is no {key}", remedy
            elif key == _MEMORY and int(value) * 1024**2 >= self.memory(store):
                limit = (store.resources or self.resources).memory
                why = f"with a {key} of {value}, SQL Server is killed at its limit of {limit}"
                yield why, "lower it, raise resources.memory, or remove it: then it is 80 % of that"

    def check_secret(self, name: str, value: str) -> list[tuple[str, str]]:
        found = super().check_secret(name, value)
        kinds = (r"[A-Z]", r"[a-z]", r"[0-9]", r"[^A-Za-z0-9]")
        if not 8 <= len(value) <= 128:
            why = f"the password has {len(value)} characters"
            found.append((why, "SQL Server takes 8 to 128"))
        if sum(bool(re.search(kind, value)) for kind in kinds) < 3:
            why = "SQL Server refuses the password: it is too simple"
            remedy = "take three of these: capitals, small letters, digits, others"
            found.append((why, remedy))
        if len(name) > 2 and name.lower() in value.lower():
            found.append(("SQL Server refuses the password: the user's name is in it", "change it"))
        return found

    def check_queue(self, store: Store) -> list[tuple[str, str]]:
        del store
        return [("SQL Server has no queue for jobs", "name a store such as RabbitMQ or Redis")]


def _quoted(value: str) -> str:
    """A value as ADO.NET takes it: between quotes, where each one is written twice."""
    plain = re.fullmatch(r"[A-Za-z0-9_.,-]+", value)
    return value if plain else '"' + value.replace('"', '""') + '"'


def _database_sql(database: Database) -> str:
    """Makes the database if it is missing. Names hold nothing that would have to be quoted."""
    owner = database.owner or _ADMIN
    return (
        f"IF DB_ID(N'{database.name}') IS NULL CREATE DATABASE [{database.name}];\nGO\n"
        f"ALTER AUTHORIZATION ON DATABASE::[{database.name}] TO [{owner}];\nGO\n"
    )


def _check_databases(store: Store) -> Iterator[tuple[str, str]]:
    names: set[str] = set()
    logins = {_ADMIN: _ADMIN}
    for database in store.databases:
        if database.name.lower() in _SYSTEM:
            why = f"SQL Server has a database '{database.name}' of its own"
            yield why, "choose another name"
        if database.name.lower() in names:
            why = f"SQL Server takes '{database.name}' for another database's name"
            yield why, "let names differ by more than capitals"
        names.add(database.name.lower())
        owner = database.owner or _ADMIN
        same = logins.setdefault(owner.lower(), owner)
        if same != owner:
            why = f"SQL Server takes the owner '{owner}' for '{same}'"
            yield why, "write it in one way: capitals make no difference"
        if (database.owner or "").lower() in _PRINCIPALS:
            why = f"'{database.owner}' is somebody in each database of SQL Server"
            yield why, "choose another owner"


def _backup(database: str) -> Backup:
    """SQL Server writes copies to its own disk only, so they go through it."""
    file = f"{_DATA}/tiers-{database}.bak"
    begin = f"{ONE_AT_A_TIME}{_HERE}file={file}\ntrap 'rm -f \"$file\"' EXIT\n"
    dump = (
        f'{begin}rm -f "$file"\nask -Q "BACKUP DATABASE [{database}] TO DISK = N\'$file\''
        ' WITH FORMAT, CHECKSUM, COPY_ONLY" >&2\ncat "$file"\n'
    )
    restore = (
        f'{begin}umask 077\ncat >"$file"\n'
        f"ask -Q \"IF DB_ID(N'{database}') IS NOT NULL ALTER DATABASE [{database}]"
        " SET SINGLE_USER WITH ROLLBACK IMMEDIATE;"
        f" RESTORE DATABASE [{database}] FROM DISK = N'$file' WITH REPLACE, CHECKSUM;"
        f' ALTER DATABASE [{database}] SET MULTI_USER"\n'
    )
    return Backup(
        dump=["/bin/bash", "-c", dump],
        restore=["/bin/bash", "-c", restore],
        suffix=".bak",
        inside=True,
    )
