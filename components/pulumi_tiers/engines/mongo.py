"""MongoDB (https://hub.docker.com/_/mongo): one server, or a replica set."""

import json
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
    script,
)
from pulumi_tiers.model.errors import shown
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

_DATA = "/data/db"
_KEY = "replica-set-key"
#: Where `mongosh` keeps its own things, as the image's root is read-only.
_HOME = {"HOME": "/tmp"}  # noqa: S108
_CACHE = "wiredTigerCacheSizeGB"
_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9_.]*")
#: Options that this engine decides: clients, the health check and the other members rely on them.
_OURS = frozenset(
    {
        *("auth", "bind_ip", "bind_ip_all", "clusterAuthMode", "config", "configsvr", "dbpath"),
        *("fork", "keyFile", "logpath", "noauth", "pidfilepath", "port", "replSet", "shardsvr"),
        *("shutdown", "tlsMode", "transitionToAuth"),
    }
)
_DATABASES = frozenset({"admin", "config", "local"})

# mongod refuses a key that others could read, as they can where a Secret is mounted. The first
# member makes the root user, whom the others get by replication: they must be empty till then.
_START = f"""(umask 077; cat {SECRET_FILES}/{_KEY} >/tmp/{_KEY})
case "$(cat /etc/hostname)" in
"$SERVER"-0) ;;
"$SERVER"-*) unset MONGO_INITDB_ROOT_USERNAME MONGO_INITDB_ROOT_PASSWORD_FILE ;;
esac
exec docker-entrypoint.sh "$@"
"""


class Mongo(Engine):
    """The official image's contract: MONGO_INITDB_ROOT_USERNAME and its password as a file."""

    name = "mongo"
    image = "mongo:7"
    port = 27017
    admin = "root"
    resources: ClassVar[Resources] = Resources(cpus=1.0, memory="1g")
    #: The smallest cache is 256 MiB, and the health check is a second program.
    least_memory = "512m"
    takes: ClassVar[frozenset[str]] = frozenset(
        {"admin", "databases", "monitoring", "replica_set", "replicas", "settings"}
    )
    service: ClassVar[Service] = Service(
        engine="mongodb",
        port=27017,
        admin="doadmin",
        database="admin",
        # GET /v2/databases/options in DigitalOcean's OpenAPI description, seen 2026-11-22, and
        # https://docs.digitalocean.com/products/databases/mongodb/details/
        versions=frozenset({"6.0", "7.0", "8.0"}),
        reserved=_DATABASES,
        # One alone, or a replica set.
        nodes=(1, 3),
    )

    def databases(self, store: Store) -> list[Database]:
        """As described; else the one that clients use who name none."""
        return store.databases or [Database(name="test")]

    def consumers(self, store: Store) -> dict[str, Consumer]:
        return by_owner(store, self.admin_of(store), self.databases(store))

    def keys(self, store: Store) -> list[str]:
        return [_KEY] if store.replica_set else []

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        who = f"{encoded(consumer.user)}:{encoded(password)}"
        # All users are kept in "admin".
        end = f"{encoded(consumer.database)}?authSource=admin"
        if server.tls:
            # DigitalOcean's name stands for all members, and says their ports and the set's name.
            return f"mongodb+srv://{who}@{server.hosts[0]}/{end}&tls=true"
        members = ",".join(f"{host}:{server.port}" for host in server.hosts)
        replica_set = f"&replicaSet={encoded(store.replica_set)}" if store.replica_set else ""
        return f"mongodb://{who}@{members}/{end}{replica_set}"

    def workload(self, name: str, store: Store) -> Workload:
        admin = self.admin_of(store)
        command = ["mongod"]
        for key, value in self._settings(store).items():
            command += [f"--{key}", *([value] if value else [])]
        environment = {
            **_HOME,
            "MONGO_INITDB_ROOT_USERNAME": admin,
            "MONGO_INITDB_ROOT_PASSWORD_FILE": f"{SECRET_FILES}/password",
        }
        files = {"password": f"${{password.{admin}}}"}
        if store.replica_set:
            command += ["--replSet", store.replica_set, "--keyFile", f"/tmp/{_KEY}"]  # noqa: S108
            command = ["sh", "-c", _START, "sh", *command]
            environment["SERVER"] = name
            files[_KEY] = f"${{password.{_KEY}}}"
        return Workload(
            image=store.image or self.image,
            command=command,
            environment=environment,
            secret_files=files,
            ports=[Port(target=self.port, published=store.published, scheme="mongodb")],
            volumes=[Volume(name=store.volume or f"{name}-data", target=_DATA, size=store.size)],
            # The second one is a volume of the image that only sharding uses.
            tmpfs={"/tmp": "uid=999,gid=999", "/data/configdb": ""},  # noqa: S108
            healthcheck=Healthcheck(
                # The documented ping, with an exit code (PI-15). Not to 127.0.0.1: there the
                # temporary server of the first start answers too.
                test=[
                    "CMD-SHELL",
                    'mongosh --quiet --norc --host "$(cat /etc/hostname)"'
                    " --eval \"quit(db.adminCommand('ping').ok ? 0 : 1)\"",
                ],
                # Each is a program of 100 MiB that takes a second of CPU to start.
                interval="5s",
                timeout="15s",
                retries=24,
            ),
            resources=store.resources or self.resources,
            # On SIGTERM it hands a primary's work over, and writes a checkpoint.
            stop_grace_period="60s",
            user="999:999",
            replicas=store.replicas,
            stateful=True,
            **placement(store),
        )

    def _settings(self, store: Store) -> dict[str, str]:
        """mongod's own default counts the whole machine's memory in some places."""
        spare = self.memory(store) / 1024**3 - 0.5
        return {_CACHE: f"{max(0.25, spare / 2):.2f}", **store.settings}

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        admin = self.admin_of(store)
        variables = self.password_variables(store)
        if managed or not (store.replica_set or variables):
            return None
        wanted = {
            "admin": admin,
            "set": store.replica_set,
            "hosts": [f"{host}:{self.port}" for host in self.hosts(name, store)],
            "users": [
                {"name": user, "variable": variable, "roles": _roles(user, store)}
                for user, variable in variables.items()
            ],
        }
        return Workload(
            image=store.image or self.image,
            # No password in it: the script takes them from its environment.
            command=["sh", "-c", 'exec mongosh --nodb --norc --quiet --eval "$SETUP_SCRIPT"'],
            # Each step of the script looks first, so that the job can run again at any time.
            environment={
                **_HOME,
                "SETUP": literal(json.dumps(wanted)),
                "SETUP_SCRIPT": literal("\n" + script("mongo_setup.js")),
            },
            secrets=self.setup_secrets(store),
            networks=store.networks,
            depends_on={name: Condition.SERVICE_HEALTHY},
            user="999:999",
            # Else the image's VOLUMEs would leave nameless volumes behind.
            tmpfs={"/tmp": "uid=999,gid=999", _DATA: "", "/data/configdb": ""},  # noqa: S108
            resources=Resources(cpus=1.0, memory="512m"),
            job=True,
        )

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        if managed:
            return {}  # DigitalOcean copies it every day, and the URL's name is not a host's
        # A file: the tools' own way to keep a password out of the command line.
        connect = (
            "set -eu; umask 077;"
            ' printf \'password: %s\\n\' "$(printf %s "$PASSWORD" | jq -Rs .)" >/tmp/backup.yaml;'
        )
        options = (
            '--config=/tmp/backup.yaml --host="$HOST" --port="$PORT" --username="$ADMIN"'
            " --authenticationDatabase=admin --archive --gzip"
        )
        return {
            "": Backup(
                dump=["sh", "-c", f"{connect} exec mongodump {options}"],
                restore=["sh", "-c", f"{connect} exec mongorestore {options} --drop"],
                suffix=".archive.gz",
                environment={
                    **_HOME,
                    "HOST": "${server.host}",
                    "PORT": "${server.port}",
                    "ADMIN": self.admin_of(store),
                },
                secrets={"PASSWORD": f"${{password.{self.admin_of(store)}}}"},
            )
        }

    def as_managed(self, store: Store) -> Store:
        databases = self.databases(store)
        return super().as_managed(store.model_copy(update={"databases": databases}))

    def managed_version(self, store: Store) -> str:
        version = super().managed_version(store)
        return f"{version}.0" if version.isdecimal() else version

    def check(self, store: Store) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for key, value in store.settings.items():
            if not _SETTING.fullmatch(key):
                remedy = "write it as mongod's option without dashes, such as 'oplogSize'"
                found.append((f"{shown(key)} is not a setting of MongoDB", remedy))
            elif key in _OURS:
                found.append((f"the setting '{key}' is this library's", "remove it"))
            elif value.startswith("-"):
                why = f"{shown(value)}, of the setting '{key}', would be another option"
                found.append((why, "write its value, or '' where it has none"))
        if _CACHE in store.settings:
            found += self._check_cache(store, store.settings[_CACHE])
        if "__system" in self.users(store):
            found.append(("members know each other as '__system'", "choose another user"))
        names: set[str] = set()
        for database in store.databases:
            if database.name in _DATABASES:
                why = f"MongoDB has a database '{database.name}' of its own"
                found.append((why, "choose another name"))
            if database.name.lower() in names:
                why = f"MongoDB takes '{database.name}' for another database's name"
                found.append((why, "let names differ by more than capitals"))
            names.add(database.name.lower())
            if database.init_sql:
                why = f"the database '{database.name}' has init_sql, and MongoDB knows no SQL"
                found.append((why, "remove it"))
        return found

    def _check_cache(self, store: Store, text: str) -> list[tuple[str, str]]:
        limit = (store.resources or self.resources).memory
        if not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text, re.ASCII) or float(text) < 0.25:
            return [(f"{shown(text)} is no {_CACHE}", "write GiB, '0.25' or more")]
        if float(text) * 1024**3 < self.memory(store):
            return []
        why = f"with a {_CACHE} of {text}, MongoDB is killed at its limit of {limit}"
        return [(why, "lower it, raise resources.memory, or remove it: then it is chosen")]


def _roles(user: str, store: Store) -> list[dict[str, str]]:
    """What a user may do, as MongoDB writes it."""
    if user == MONITORING and store.monitoring:
        # What happens to the whole set is written in "local".
        return [{"role": "clusterMonitor", "db": "admin"}, {"role": "read", "db": "local"}]
    own = [database.name for database in store.databases if database.owner == user]
    return [{"role": role, "db": name} for name in own for role in ("readWrite", "dbAdmin")]
