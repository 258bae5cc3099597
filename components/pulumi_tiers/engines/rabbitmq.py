"""RabbitMQ (https://hub.docker.com/_/rabbitmq), with its management and Prometheus plugins."""

import json
import re
from collections.abc import Iterator
from typing import ClassVar
from urllib.parse import quote

from pulumi_tiers.engines.base import (
    Backup,
    Consumer,
    Engine,
    Reached,
    Scaler,
    by_owner,
    check_setup,
    encoded,
    placement,
    script,
)
from pulumi_tiers.model.errors import nearest, shown
from pulumi_tiers.model.references import literal
from pulumi_tiers.model.store import (
    Overflow,
    Policy,
    PolicyTarget,
    Queue,
    Store,
    Vhost,
)
from pulumi_tiers.model.workload import (
    CONFIGS,
    SECRET_FILES,
    Condition,
    Healthcheck,
    Metrics,
    Port,
    Resources,
    Volume,
    Workload,
)

_DATA = "/var/lib/rabbitmq"
_MANAGEMENT = 15672
_METRICS = 15692
#: Empty at every start.
_TMP = "/tmp"  # noqa: S108
_SETTING = re.compile(r"[a-z_][A-Za-z0-9_.$-]*")
#: Settings that this engine decides: clients, the health check and the setup rely on them.
_OURS = re.compile(
    r"(listeners|default_(user|pass|vhost|permissions)|loopback_users|load_definitions"
    r"|definitions|management\.(tcp|ssl|load_definitions)|prometheus\.(tcp|ssl))(\..*)?"
)

# The password is in no command line and no variable. Erlang is given its bytes as numbers.
_START = f"""umask 077
bytes=$(od -An -v -tu1 {SECRET_FILES}/password | tr -s ' \\n' ',' | sed 's/^,//; s/,$//')
printf '[{{rabbit,[{{default_user,<<"%s">>}},{{default_pass,<<%s>>}}]}}].\\n' \\
  "$ADMIN" "$bytes" >{_TMP}/advanced.config
exec docker-entrypoint.sh rabbitmq-server
"""

_RUN = 'umask 077; printf "%s" "$SCRIPT" >/tmp/script; exec escript /tmp/script'


class Rabbitmq(Engine):
    """The official image: one server, its name always the same, its queues made by a job."""

    name = "rabbitmq"
    # The last of the documented 3.
    image = "rabbitmq:3.13.7-management"
    port = 5672
    admin = "rabbitmq"
    # With a quarter of a CPU, its health check takes longer than the documented 3 seconds.
    resources: ClassVar[Resources] = Resources(cpus=1.0, memory="512m")
    least_memory = "384m"
    takes: ClassVar[frozenset[str]] = frozenset(
        {"admin", "console", "policies", "queues", "settings", "vhosts"}
    )

    def vhosts(self, store: Store) -> list[Vhost]:
        """As described; else the one that every server has."""
        return store.vhosts or [Vhost(name="/")]

    def consumers(self, store: Store) -> dict[str, Consumer]:
        """By virtual host: its owner. By user: who uses one beside its owner."""
        admin, vhosts = self.admin_of(store), self.vhosts(store)
        every = by_owner(store, admin, vhosts)
        for vhost in vhosts:
            for user in vhost.users:
                every.setdefault(user.name, Consumer(user.name, vhost.name))
        return every

    def url(self, store: Store, consumer: Consumer, password: str, server: Reached) -> str:
        del store
        return (
            f"{'amqps' if server.tls else 'amqp'}://{encoded(consumer.user)}:{encoded(password)}"
            f"@{server.at}/{encoded(consumer.database)}"
        )

    def settings(self, store: Store) -> dict[str, str]:
        """The lines of rabbitmq.conf that can be set otherwise."""
        memory = self.memory(store)
        return {
            "log.console": "true",
            "log.file": "false",
            # Above it, senders wait. The rest is for the garbage of Erlang and the page cache.
            "vm_memory_high_watermark.absolute": str(memory * 6 // 10),
            # Below it, too: what is in memory must fit on the disk.
            "disk_free_limit.absolute": str(memory),
            # Images without the management plugin switch its numbers off.
            "management_agent.disable_metrics_collector": "false",
            **store.settings,
        }

    def workload(self, name: str, store: Store) -> Workload:
        settings = {"listeners.tcp.default": str(self.port), **self.settings(store)}
        return Workload(
            image=store.image or self.image,
            entrypoint=["sh", "-c"],
            command=[_START],
            environment={
                "ADMIN": self.admin_of(store),
                # The data's folder is called so: with the host's name, another one would begin
                # wherever the container gets a new one.
                "RABBITMQ_NODENAME": "rabbit@localhost",
                "RABBITMQ_USE_LONGNAME": "false",
                # Nobody else is in its cluster: what one Erlang may do to another, nobody may.
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                    "-kernel inet_dist_use_interface {127,0,0,1}"
                ),
                # A dump is as large as the memory, and holds what was in it.
                "ERL_CRASH_DUMP_BYTES": "0",
                # The cookie, by which its own tools know the server: a new one with each start.
                "HOME": _TMP,
                "RABBITMQ_ENABLED_PLUGINS_FILE": f"{CONFIGS}/enabled_plugins",
                "RABBITMQ_CONFIG_FILE": f"{CONFIGS}/rabbitmq.conf",
                "RABBITMQ_ADVANCED_CONFIG_FILE": f"{_TMP}/advanced.config",
                "RABBITMQ_LOG_BASE": f"{_TMP}/log",
            },
            configs={
                "enabled_plugins": "[rabbitmq_management,rabbitmq_prometheus].\n",
                "rabbitmq.conf": "".join(f"{key} = {value}\n" for key, value in settings.items()),
            },
            secret_files={"password": f"${{password.{self.admin_of(store)}}}"},
            ports=[
                Port(target=self.port, published=store.published, scheme="amqp"),
                Port(target=_MANAGEMENT, published=store.console),
                Port(target=_METRICS),
            ],
            metrics=Metrics(port=_METRICS),
            volumes=[Volume(name=store.volume or f"{name}-data", target=_DATA, size=store.size)],
            tmpfs={_TMP: "uid=999,gid=999"},
            healthcheck=Healthcheck(
                # The documented `ping` succeeds before anybody can connect.
                test=["CMD", "rabbitmq-diagnostics", "-q", "check_port_listener", str(self.port)],
                interval="10s",
                timeout="3s",
                retries=5,
                start_period="120s",
            ),
            resources=store.resources or self.resources,
            # It writes what isn't on the disk yet.
            stop_grace_period="60s",
            user="999:999",
            stateful=True,
            **placement(store),
        )

    def setup(self, name: str, store: Store, *, managed: bool = False) -> Workload | None:
        del managed
        variables = self.password_variables(store)
        return Workload(
            image=store.image or self.image,
            entrypoint=["sh", "-c"],
            command=[_RUN],
            environment={
                **self._api(store, f"{name}:{_MANAGEMENT}"),
                "WANTED": literal("\n".join(self._wanted(store, variables))),
                # The server remembers, in a global parameter, what this job has made: so the job
                # finds what a description no longer has. It deletes no message: a queue goes when
                # it is empty and unused.
                "SCRIPT": _program("setup"),
            },
            secrets=self.setup_secrets(store),
            networks=store.networks,
            depends_on={name: Condition.SERVICE_HEALTHY},
            user="999:999",
            # Else the image's VOLUME would leave a nameless volume behind.
            tmpfs={_TMP: "uid=999,gid=999", _DATA: ""},
            resources=Resources(cpus=1.0, memory="256m"),
            job=True,
        )

    def _api(self, store: Store, server: str) -> dict[str, str]:
        return {
            "HOME": _TMP,
            "API": f"http://{server}/api/",
            "ADMIN": self.admin_of(store),
        }

    def _wanted(self, store: Store, variables: dict[str, str]) -> Iterator[str]:
        """What there is to be: a path of the API, a space, and what is to be put there.

        Policies come before queues: no queue is without its limits for a moment.
        """
        vhosts = self.vhosts(store)
        for vhost in vhosts:
            yield f"vhosts/{_path(vhost.name)} {{}}"
        for user, variable in variables.items():
            yield f"users/{_path(user)} password {variable}"
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        for vhost in vhosts:
            rights = {self.admin_of(store): everything}
            if vhost.owner:
                rights[vhost.owner] = everything
            for user in vhost.users:
                rights[user.name] = user.model_dump(include=set(everything))
            for who, what in rights.items():
                yield f"permissions/{_path(vhost.name, who)} {json.dumps(what)}"
        for policy in store.policies:
            body = {
                "pattern": policy.pattern,
                "definition": policy.definition,
                "priority": policy.priority,
                "apply-to": policy.apply_to,
            }
            path = _path(self._vhost_of(store, policy), policy.name)
            yield f"policies/{path} {json.dumps(body)}"
        for queue in store.queues:
            body = {
                "durable": True,
                "auto_delete": False,
                "arguments": {"x-queue-type": queue.type},
            }
            path = _path(self._vhost_of(store, queue), queue.name)
            yield f"queues/{path} {json.dumps(body)}"

    def _vhost_of(self, store: Store, thing: Queue | Policy) -> str:
        return thing.vhost or self.vhosts(store)[0].name

    def backups(self, store: Store, *, managed: bool = False) -> dict[str, Backup]:
        """Users, rights, queues and policies of the whole server. Messages are in no copy."""
        del managed
        environment = self._api(store, "${server.host}:15672")
        secrets = {"ADMIN_PASSWORD": f"${{password.{self.admin_of(store)}}}"}
        return {
            "": Backup(
                dump=["sh", "-c", _RUN.replace("SCRIPT", "DUMP")],
                restore=["sh", "-c", _RUN.replace("SCRIPT", "RESTORE")],
                suffix=".json",
                environment={
                    **environment,
                    "DUMP": _program("dump"),
                    "RESTORE": _program("restore"),
                },
                secrets=secrets,
            )
        }

    def check(self, store: Store) -> list[tuple[str, str]]:
        return [
            *self._check_settings(store),
            *self._check_users(store),
            *self._check_queues(store),
        ]

    def _check_settings(self, store: Store) -> Iterator[tuple[str, str]]:
        for key, value in store.settings.items():
            if not _SETTING.fullmatch(key):
                remedy = "write its name as in rabbitmq.conf, such as 'consumer_timeout'"
                yield f"{shown(key)} is not a setting of RabbitMQ", remedy
            elif _OURS.fullmatch(key):
                yield f"the setting '{key}' is this library's", "remove it"
            elif not value.strip() or not value.isprintable() or "#" in value:
                why = f"the setting '{key}' is not one line of rabbitmq.conf"
                yield why, "write its value, without '#'"

    def _check_users(self, store: Store) -> Iterator[tuple[str, str]]:
        if "guest" in self.users(store):
            yield "RabbitMQ lets 'guest' in from its own machine only", "choose another user"
        names = [vhost.name for vhost in store.vhosts]
        for vhost in store.vhosts:
            users = [user.name for user in vhost.users]
            for position, user in enumerate(users):
                if user in {vhost.owner or "", self.admin_of(store), *users[:position]}:
                    why = f"'{user}' has two kinds of rights in the virtual host '{vhost.name}'"
                    yield why, "name an owner or the admin not among the users, and a user once"
                if user in names:
                    why = f"'{user}' is a user and a virtual host: both would be one connection"
                    yield why, "rename one of them"

    def _check_queues(self, store: Store) -> Iterator[tuple[str, str]]:
        vhosts = [vhost.name for vhost in self.vhosts(store)]
        for word, things in (("queue", store.queues), ("policy", store.policies)):
            seen: set[tuple[str, str]] = set()
            for thing in things:
                where = self._vhost_of(store, thing)
                if where not in vhosts:
                    why = f"the {word} '{thing.name}' is in a virtual host '{where}', which is none"
                    yield why, nearest(where, vhosts)
                if (where, thing.name) in seen:
                    why = f"the {word} '{thing.name}' stands twice in the virtual host '{where}'"
                    yield why, "give it once"
                seen.add((where, thing.name))
        for policy in store.policies:
            for queue in self._matching(store, policy):
                why = f"the policy '{policy.name}' fits the queue '{queue.name}', which is of the"
                if policy.overflow is Overflow.REJECT_PUBLISH_DLX and queue.type != "classic":
                    yield f"{why} type quorum and has no reject-publish-dlx", "use reject-publish"
                if policy.delivery_limit is not None and queue.type != "quorum":
                    remedy = "make the queue a quorum one, or remove it"
                    yield f"{why} type classic and has no delivery_limit", remedy
        yield from check_setup([literal("\n".join(self._wanted(store, {})))])

    def _matching(self, store: Store, policy: Policy) -> list[Queue]:
        """The described queues that the policy is about."""
        if policy.apply_to is PolicyTarget.EXCHANGES:
            return []
        where = self._vhost_of(store, policy)
        return [
            queue
            for queue in store.queues
            if self._vhost_of(store, queue) == where and re.search(policy.pattern, queue.name)
        ]

    def doubts(self, store: Store) -> list[str]:
        found: list[str] = []
        first: dict[tuple[str, str, int], str] = {}
        described = {(self._vhost_of(store, queue), queue.name) for queue in store.queues}
        for policy in store.policies:
            where, matching = self._vhost_of(store, policy), self._matching(store, policy)
            if policy.apply_to is PolicyTarget.QUEUES and described and not matching:
                found.append(f"the policy '{policy.name}' fits no queue of the description")
            target = policy.dead_letter_routing_key
            if policy.dead_letter_exchange == "" and (where, target) not in described:
                found.append(
                    f"dead letters of the policy '{policy.name}' go to a queue '{target}', which"
                    " the description does not have: they are lost while no program makes it"
                )
            for queue in matching:
                other = first.setdefault((where, queue.name, policy.priority), policy.name)
                if other != policy.name:
                    found.append(
                        f"the policies '{other}' and '{policy.name}' fit the queue '{queue.name}'"
                        f" with the same priority {policy.priority}: RabbitMQ takes one of them"
                    )
        return found

    def scaler(self, store: Store, consumer: Consumer, queue: str, length: int) -> Scaler | None:
        del store, consumer
        return Scaler(
            type="rabbitmq",
            metadata={
                "protocol": "amqp",
                "queueName": queue,
                "mode": "QueueLength",
                "value": str(length),
            },
            # The URL names the virtual host.
            secrets={"host": "${server.url}"},
        )


def _program(name: str) -> str:
    """One in Erlang, the only language of every image of RabbitMQ, for the management API."""
    return literal(script("rabbitmq_client.erl") + "\n" + script(f"rabbitmq_{name}.erl"))


def _path(*names: str) -> str:
    """Names as a path of the management API."""
    return "/".join(quote(name, safe="") for name in names)
