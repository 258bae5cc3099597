"""Redis (https://hub.docker.com/_/redis). DigitalOcean runs Valkey, which speaks the same."""

import re
from typing import ClassVar

from pulumi_tiers.engines.base import (
    Backup,
    Consumer,
    Engine,
    Reached,
    Scaler,
    Service,
    encoded,
    placement,
)
from pulumi_tiers.model.base import size_in_bytes
from pulumi_tiers.model.errors import nearest, shown
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.store import MONITORING, Store
from pulumi_tiers.model.workload import (
    SECRET_FILES,
    Healthcheck,
    Port,
    Resources,
    Volume,
    Workload,
)

_PASSWORD = f"{SECRET_FILES}/password"
_MONITORING = f"{SECRET_FILES}/{MONITORING}"
_POLICY = "maxmemory-policy"
_NO_EVICTION = "noeviction"
_POLICIES = (
    _NO_EVICTION,
    *(f"allkeys-{how}" for how in ("lru", "lfu", "random")),
    *(f"volatile-{how}" for how in ("lru", "lfu", "random", "ttl")),
)
_SETTING = re.compile(r"[a-z][a-z0-9-]*")
#: Settings that this engine decides: clients, the health check and the backup rely on them.
_OURS = frozenset(
    {
        *("aclfile", "appenddirname", "appendfilename", "bind", "cluster-enabled", "daemonize"),
        *("dbfilename", "dir", "include", "pidfile", "port", "protected-mode", "replicaof"),
        *("requirepass", "rename-command", "slaveof", "tls-port", "unixsocket", "user"),
    }
)
_SIZE = re.compile(r"(\d{1,15})(b|kb?|mb?|gb?)?", re.IGNORECASE | re.ASCII)
_UNITS = {"": 1, "b": 1, "k": 1000, "kb": 1024, "m": 1000**2, "mb": 1024**2, "g": 1000**3,
          "gb": 1024**3}  # fmt: skip

# The password is in no command line and no variable. Between double quotes, redis.conf takes all
# but two characters as they are.
_START = rf"""umask 077
{{
  printf '%s\n' "$REDIS_CONF"
  printf 'requirepass "%s"\n' "$(sed 's/[\\"]/\\&/g' {_PASSWORD})"
}} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
"""
_RIGHTS = (
    "-@all +ping +info +config|get +client|setname +cluster|info +latency|latest"
    " +latency|histogram +slowlog|len"
)
# The exporter asks for the configuration, and would be told a `requirepass`: so the file says
# hashes. It reads no key, and sets nothing.
_START_MONITORED = rf"""umask 077
user() {{
  printf 'user %s on #%s %s\n' "$1" "$(tr -d '\n' <"$2" | sha256sum | cut -d ' ' -f 1)" "$3"
}}
{{
  printf '%s\n' "$REDIS_CONF"
  user default {_PASSWORD} '~* &* +@all'
  user {MONITORING} {_MONITORING} '{_RIGHTS}'
}} >/tmp/redis.conf
exec redis-server /tmp/redis.conf
"""

# A server that keeps an append-only file reads nothing else: the new one is written from the copy.
_RESTORE = """set -eu
cd /data
cat >restored.rdb
rm -rf appendonlydir dump.rdb
mv restored.rdb dump.rdb
redis-server --port 0 --unixsocket /tmp/restore.sock --dir /data --appendonly no --save '' &
ask() { redis-cli -s /tmp/restore.sock "$@"; }
until ask ping 2>/dev/null | grep -q PONG; do
  kill -0 $!
  sleep 0.2
done
ask config set appendonly yes
until ask info persistence | grep -q 'aof_rewrite_in_progress:0' &&
  ask info persistence | grep -q 'aof_rewrite_scheduled:0'; do
  sleep 0.2
done
ask shutdown nosave || true
wait
"""


class Redis(Engine):
    """The official image; AOF and RDB on, nothing evicted unless somebody says so."""

    name = "redis"
    image = "redis:7-alpine"
    port = 6379
    admin = "default"
    resources: ClassVar[Resources] = Resources(cpus=0.5, memory="128m")
    least_memory = "32m"
    takes: ClassVar[frozenset[str]] = frozenset({"monitoring", "settings"})
    service: ClassVar[Service] = Service(
        engine="valkey",
        port=25061,
        admin="default",
        database="",
        # https://docs.digitalocean.com/products/databases/valkey/how-to/create/
        versions=frozenset({"8"}),
        settings=frozenset({_POLICY}),
    )

    def consumers(self, store: Store) -> dict[str, Consumer]:
        found = {"": Consumer(self.admin, "0")}
        if store.monitoring:
            found[MONITORING] = Consumer(MONITORING, "0")
        return found

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store
        # Clients from before Redis 6 know no users, and that of everybody needs no name.
        user = consumer.user if server.tls or consumer.user != self.admin else ""
        where = f"{user}:{encoded(password)}@{server.at}/{consumer.database}"
        # Without the ending, Celery keeps no results, and its broker believes any certificate.
        return f"rediss://{where}?ssl_cert_reqs=required" if server.tls else f"redis://{where}"

    def settings(self, store: Store) -> dict[str, str]:
        """The lines of redis.conf that can be set otherwise."""
        # The rest is for the copy-on-write of a rewrite, buffers of clients and Redis itself.
        most = self.memory(store) * 6 // 10 // 1024**2
        return {
            "appendonly": "yes",
            "save": "3600 1 300 100 60 10000",
            "maxmemory": f"{most}mb",
            _POLICY: _NO_EVICTION,
            **store.settings,
        }

    def workload(self, name: str, store: Store) -> Workload:
        settings = {"port": str(self.port), "dir": "/data", **self.settings(store)}
        lines = "\n".join(f"{key} {value}" for key, value in settings.items())
        files = {"password": f"${{password.{self.admin}}}"}
        if store.monitoring:
            files[MONITORING] = f"${{password.{MONITORING}}}"
        return Workload(
            image=store.image or self.image,
            command=["sh", "-c", _START_MONITORED if store.monitoring else _START],
            environment={"REDIS_CONF": literal(lines)},
            secret_files=files,
            ports=[Port(target=self.port, published=store.published, scheme="redis")],
            volumes=[Volume(name=store.volume or f"{name}-data", target="/data", size=store.size)],
            tmpfs={"/tmp": ""},  # noqa: S108
            healthcheck=Healthcheck(
                # The documented `redis-cli ping` ends with 0 whatever the answer is (PI-15).
                test=[
                    "CMD-SHELL",
                    f'REDISCLI_AUTH="$(cat {_PASSWORD})" redis-cli -h 127.0.0.1 ping'
                    " | grep -q PONG",
                ],
                interval="1s",
                timeout="5s",
                retries=60,
            ),
            resources=store.resources or self.resources,
            # On SIGTERM it writes what isn't on the disk yet.
            stop_grace_period="60s",
            user="999:1000",
            stateful=True,
            **placement(store),
        )

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        if managed:
            # It hands its data to nobody; DigitalOcean keeps copies itself.
            return {}
        dump = 'redis-cli -h "$HOST" -p "$PORT" --rdb -'
        return {
            "": Backup(
                dump=["sh", "-c", dump],
                restore=["sh", "-c", _RESTORE],
                suffix=".rdb",
                offline=True,
                environment={"HOST": "${server.host}", "PORT": "${server.port}"},
                secrets={"REDISCLI_AUTH": f"${{password.{self.admin}}}"},
            )
        }

    def managed_version(self, store: Store) -> str:
        # The image's is one of Redis.
        return store.managed.version or "8"

    def check(self, store: Store) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for key, value in store.settings.items():
            if not _SETTING.fullmatch(key):
                remedy = "write its name as in redis.conf, such as 'maxmemory-policy'"
                found.append((f"{shown(key)} is not a setting of Redis", remedy))
            elif key in _OURS:
                found.append((f"the setting '{key}' is this library's", "remove it"))
            elif not _is_line(value):
                why = f"the setting '{key}' is not one line of redis.conf"
                found.append((why, "write its values with spaces between them; \"''\" for none"))
        policy = store.settings.get(_POLICY, _NO_EVICTION)
        if policy not in _POLICIES:
            found.append((f"{shown(policy)} is no {_POLICY}", nearest(policy, _POLICIES)))
        if "maxmemory" in store.settings:
            found += self._check_memory(store, store.settings["maxmemory"])
        return found

    def _check_memory(self, store: Store, text: str) -> list[tuple[str, str]]:
        match = _SIZE.fullmatch(text)
        if not match:
            return [(f"{shown(text)} is no maxmemory", "write it like redis.conf does: '100mb'")]
        limit = (store.resources or self.resources).memory
        if 0 < int(match[1]) * _UNITS[(match[2] or "").lower()] < size_in_bytes(limit):
            return []
        why = f"with a maxmemory of {text}, Redis is killed at its limit of {limit}"
        return [(why, "lower it, raise resources.memory, or remove it: then it is 60 % of that")]

    def scaler(self, store: Store, consumer: Consumer, queue: str, length: int) -> Scaler | None:
        del store
        return Scaler(
            type="redis",
            metadata={
                "address": "${server.host}:${server.port}",
                "enableTLS": "${server.tls}",
                "listName": literal(queue),
                "listLength": str(length),
                "databaseIndex": consumer.database,
            },
            secrets={"password": f"${{password.{consumer.user}}}"},
        )

    def check_queue(self, store: Store) -> list[tuple[str, str]]:
        policy = store.settings.get(_POLICY, _NO_EVICTION)
        if policy == _NO_EVICTION:
            return []
        why = f"the {_POLICY} {policy} throws jobs away when the memory is full"
        return [(why, f"set it to {_NO_EVICTION}, or give the queue a store of its own")]


#: After a quote that ends, Redis wants a space.
_QUOTED = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\'|\\(?!')|[^'\\])*')"""
_VALUES = re.compile(rf"""(?:[^ "']*{_QUOTED}?(?: +|$))+""")


def _is_line(value: str) -> bool:
    """Whether redis.conf takes it as the values of one setting."""
    return value.isprintable() and bool(value.strip()) and _VALUES.fullmatch(value) is not None
