"""PostgreSQL (https://hub.docker.com/_/postgres)."""

import re
from typing import ClassVar

from pulumi_tiers.engines.base import (
    Backup,
    Consumer,
    Engine,
    Reached,
    Service,
    by_owner,
    encoded,
    placement,
)
from pulumi_tiers.model.base import LONGEST_TEXT
from pulumi_tiers.model.errors import shown
from pulumi_tiers.model.image import Image
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

_DATA = "/var/lib/postgresql/data"
_SETTING = re.compile(r"[a-z_][a-z0-9_.]*", re.IGNORECASE)
#: Settings that this engine decides: clients and the health check rely on them.
_OURS = frozenset(
    {
        *("config_file", "data_directory", "external_pid_file", "hba_file", "ident_file"),
        *("listen_addresses", "port", "unix_socket_directories"),
    }
)


class Postgres(Engine):
    """The official image's contract: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, PGDATA."""

    name = "postgres"
    image = "postgres:17"
    port = 5432
    admin = "postgres"
    resources: ClassVar[Resources] = Resources(cpus=1.0, memory="256m")
    least_memory = "64m"
    takes: ClassVar[frozenset[str]] = frozenset(
        {"admin", "databases", "monitoring", "password_file", "settings"}
    )
    service: ClassVar[Service] = Service(
        engine="pg",
        port=25060,
        admin="doadmin",
        database="defaultdb",
        versions=frozenset({"14", "15", "16", "17", "18"}),
        reserved=frozenset({"_dodb", "postgres"}),
        default=True,
        monitoring=True,
    )

    def databases(self, store: Store) -> list[Database]:
        """As described; else the one that the image makes, named like the admin."""
        return store.databases or [Database(name=self.admin_of(store))]

    def consumers(self, store: Store) -> dict[str, Consumer]:
        return by_owner(store, self.admin_of(store), self.databases(store))

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store
        return (
            f"postgresql://{encoded(consumer.user)}:{encoded(password)}@{server.at}"
            f"/{encoded(consumer.database)}?sslmode={'require' if server.tls else 'prefer'}"
        )

    def _user(self, store: Store) -> int:
        """Who the official image's server is: initdb wants a user that the image knows."""
        image = store.image or self.image
        alpine = isinstance(image, str) and "alpine" in (Image.parse(image).tag or "")
        return 70 if alpine else 999

    def workload(self, name: str, store: Store) -> Workload:
        admin = self.admin_of(store)
        settings = [
            part for key, value in store.settings.items() for part in ("-c", f"{key}={value}")
        ]
        user = self._user(store)
        password = f"${{password.{admin}}}"
        files = (
            {"POSTGRES_PASSWORD_FILE": f"{SECRET_FILES}/password"} if store.password_file else {}
        )
        return Workload(
            image=store.image or self.image,
            command=["postgres", *settings] if settings else [],
            environment={
                **files,
                "POSTGRES_USER": admin,
                "POSTGRES_DB": self.databases(store)[0].name,
                # Below the mount: a file system's own "lost+found" would stop the first start.
                "PGDATA": f"{_DATA}/pgdata",
            },
            secrets={} if store.password_file else {"POSTGRES_PASSWORD": password},
            secret_files={"password": password} if store.password_file else {},
            ports=[Port(target=self.port, published=store.published, scheme="postgresql")],
            volumes=[Volume(name=store.volume or f"{name}-data", target=_DATA, size=store.size)],
            tmpfs={"/var/run/postgresql": f"uid={user},gid={user}", "/tmp": ""},  # noqa: S108
            # Over TCP: on the socket, the temporary server of the first start answers too.
            healthcheck=Healthcheck(
                test=["CMD", "pg_isready", "-h", "127.0.0.1", "-U", admin],
                interval="1s",
                timeout="5s",
                retries=60,
            ),
            resources=store.resources or self.resources,
            # A fast shutdown writes a checkpoint; the image already stops on SIGINT.
            stop_grace_period="60s",
            user=f"{user}:{user}",
            stateful=True,
            **placement(store),
        )

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        admin = self.admin_of(store)
        databases = self.databases(store)
        if not (len(databases) > 1 or databases[0].owner or databases[0].init_sql) and (
            not store.monitoring
        ):
            return None
        users = {} if managed else self.password_variables(store)
        environment = {
            "PGHOST": "${server.host}" if managed else name,
            "PGUSER": admin,
            # Always there; the first of ours may be newer than the volume.
            "PGDATABASE": "postgres",
        }
        if managed:
            environment |= {
                "PGPORT": "${server.port}",
                "PGSSLMODE": "require",
                "PGDATABASE": self.service.database,
            }
        statements = self._sql(store, users, managed=managed)
        return Workload(
            image=store.image or self.image,
            # The script stands in the environment, so that it needs no file and no volume.
            command=[
                "sh",
                "-c",
                'printf "%s\\n" "$SETUP_SQL" | psql --no-psqlrc --quiet -v ON_ERROR_STOP=1',
            ],
            environment={**environment, "SETUP_SQL": statements},
            secrets={
                "PGPASSWORD": f"${{password.{admin}}}",
                **{variable: f"${{password.{user}}}" for user, variable in users.items()},
            },
            networks=store.networks,
            depends_on={name: Condition.SERVICE_HEALTHY},
            user=f"{self._user(store)}:{self._user(store)}",
            # Else the image's VOLUME would leave a nameless volume behind.
            tmpfs={_DATA: ""},
            job=True,
        )

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        admin = self.admin_of(store)
        environment = {
            "PGHOST": "${server.host}",
            "PGPORT": "${server.port}",
            "PGUSER": admin,
            "PGSSLMODE": "require" if managed else "prefer",
        }
        return {
            database.name: Backup(
                dump=["pg_dump", "--format=custom"],
                # Into the database as it is there, with its owner and their rights.
                restore=["sh", "-c", 'exec pg_restore --clean --if-exists --dbname "$PGDATABASE"'],
                suffix=".dump",
                environment={**environment, "PGDATABASE": database.name},
                secrets={"PGPASSWORD": f"${{password.{admin}}}"},
            )
            for database in self.databases(store)
        }

    def _sql(self, store: Store, users: dict[str, str], *, managed: bool) -> str:
        """What the setup runs. Written for a variable: its dollar signs begin no references."""
        databases = self.databases(store)
        lines = _grant_sql(databases) if managed else _setup_sql(databases, users)
        if store.monitoring:
            lines += [
                f'GRANT CONNECT ON DATABASE "{databases[0].name}" TO {MONITORING};',
                # A cloud's admin may not be allowed to: then some numbers are missing.
                f"DO $$ BEGIN GRANT pg_monitor TO {MONITORING};"
                " EXCEPTION WHEN insufficient_privilege THEN RAISE WARNING"
                f" '{MONITORING} is not in pg_monitor: %', SQLERRM; END $$;",
            ]
        return literal("\n".join(lines))

    def check(self, store: Store) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for key, value in store.settings.items():
            if not _SETTING.fullmatch(key):
                remedy = "write its name as in postgresql.conf, such as 'max_connections'"
                found.append((f"{shown(key)} is not a setting of Postgres", remedy))
            elif key.lower() in _OURS:
                found.append((f"the setting '{key}' is this library's", "remove it"))
            elif not value.isprintable():
                why = f"the setting '{key}' is not one line of postgresql.conf"
                found.append((why, "write its value on one line"))
        size = len(self._sql(store, self.password_variables(store), managed=False).encode())
        if size > LONGEST_TEXT:
            why = f"the SQL that sets the databases up has {size} bytes"
            remedy = f"keep it below {LONGEST_TEXT}: leave data and later changes to migrations"
            found.append((why, remedy))
        return found


def _setup_sql(databases: list[Database], users: dict[str, str]) -> list[str]:
    """Makes users and databases that are missing, sets passwords, runs each init SQL once."""
    lines: list[str] = []
    for user, variable in users.items():
        lines += [
            # psql's variables quote safely, and a password in one is not in a command line.
            f"\\set password `printenv {variable}`",
            f"SELECT 'CREATE ROLE \"{user}\" LOGIN' WHERE NOT EXISTS"
            f" (SELECT FROM pg_roles WHERE rolname = '{user}') \\gexec",
            f"ALTER ROLE \"{user}\" LOGIN PASSWORD :'password';",
        ]
    for database in databases:
        owner = f' OWNER "{database.owner}"' if database.owner else ""
        lines.append(
            f"SELECT 'CREATE DATABASE \"{database.name}\"{owner}' WHERE NOT EXISTS"
            f" (SELECT FROM pg_database WHERE datname = '{database.name}') \\gexec"
        )
        if database.owner:
            lines += [
                f'ALTER DATABASE "{database.name}" OWNER TO "{database.owner}";',
                f'REVOKE CONNECT ON DATABASE "{database.name}" FROM PUBLIC;',
            ]
        lines += _init_sql(database)
    return lines


def _grant_sql(databases: list[Database]) -> list[str]:
    """The same where the cloud has made users and databases: their rights, and the init SQL."""
    lines: list[str] = []
    for database in databases:
        if database.owner:
            lines += [
                f'GRANT ALL ON DATABASE "{database.name}" TO "{database.owner}";',
                f'REVOKE CONNECT ON DATABASE "{database.name}" FROM PUBLIC;',
                f'\\connect "{database.name}"',
                # Since Postgres 15, only the owner of a database may make tables there.
                f'GRANT ALL ON SCHEMA public TO "{database.owner}";',
            ]
        lines += _init_sql(database)
    return lines


def _init_sql(database: Database) -> list[str]:
    """Runs each init SQL of the database once."""
    if not database.init_sql:
        return []
    lines = [
        f'\\connect "{database.name}"',
        "CREATE TABLE IF NOT EXISTS public.tiers_init"
        " (name text PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now());",
    ]
    for script, sql in sorted(database.init_sql.items()):
        lines += [
            f"SELECT count(*) = 0 AS fresh FROM public.tiers_init WHERE name = '{script}' \\gset",
            "\\if :fresh",
            "BEGIN;",
            sql,
            # On a line of its own: the script may end in a comment.
            ";",
            f"INSERT INTO public.tiers_init (name) VALUES ('{script}');",
            "COMMIT;",
            "\\endif",
        ]
    return lines
