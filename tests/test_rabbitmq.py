"""RabbitMQ: what is described, and what a real server makes of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest
from containers import Containers, stand_in
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError
from pulumi_tiers import DataTier, Site
from pulumi_tiers.checks import check_references, connection_keys
from pulumi_tiers.engines.base import Consumer, Reached, Scaler
from pulumi_tiers.engines.rabbitmq import Rabbitmq
from pulumi_tiers.limits import store_doubts
from pulumi_tiers.model.errors import mistakes_of
from pulumi_tiers.model.references import references, substitute
from pulumi_tiers.model.store import Policy, Queue, Store, Vhost
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition, Metrics, Workload
from pulumi_tiers.render.recorder import record
from pydantic import ValidationError

RABBITMQ = Rabbitmq()
#: Every character that a shell, Erlang, JSON or a URL could take for its own.
EVIL = """p'a"s\\s;:%/@?#&=+ $HOME $$ ${x} `id` é | \\q~p\\x41 {}<<>>"""
SHARED: dict[str, Any] = {
    "admin": "boss",
    "vhosts": [
        {
            "name": "ml/jobs",
            "owner": "backend",
            "users": [{"name": "worker", "write": r"^amq\.default$", "read": "^jobs$"}],
        },
        {"name": "mail"},
    ],
    "queues": [{"name": "jobs"}, {"name": "failed é/", "type": "quorum"}],
    "policies": [
        {
            "name": "limits",
            "pattern": "^jobs$",
            "max_length": 2,
            "overflow": "reject-publish",
            "dead_letter_exchange": "",
            "dead_letter_routing_key": "failed é/",
        }
    ],
}


def store(**keys: object) -> Store:
    return Store.model_validate({"engine": "rabbitmq", **keys})


def setup(said: Store) -> Workload:
    job = RABBITMQ.setup("rabbitmq", said)
    assert job is not None
    return job


def wanted(said: Store) -> dict[str, Any]:
    """What the setup job puts, by the path of the management API."""
    text = substitute(setup(said).environment["WANTED"], lambda _: "a reference")
    lines = dict(line.split(" ", 1) for line in text.splitlines())
    return {
        path: body if body.startswith("password ") else json.loads(body)
        for path, body in lines.items()
    }


# --- what is described ----------------------------------------------------------------------------


def test_a_server_is_run_as_its_image_wants_it() -> None:
    workload = RABBITMQ.workload("rabbitmq", store(admin="boss", published=25672, console=25673))
    assert workload.user == "999:999"
    assert workload.volumes[0].target == "/var/lib/rabbitmq"
    # The data's folder has the node's name: one that no container gives it.
    assert workload.environment["RABBITMQ_NODENAME"] == "rabbit@localhost"
    assert workload.secret_files == {"password": "${password.boss}"}
    assert workload.secrets == {}
    assert [(port.target, port.published) for port in workload.ports] == [
        *((5672, 25672), (15672, 25673), (15692, None))
    ]
    assert workload.metrics == Metrics(path="/metrics", port=15692)
    health = workload.healthcheck
    assert health is not None
    # The documented numbers, and what was missing: time for the start (OC-32).
    assert (health.interval, health.timeout, health.retries) == ("10s", "3s", 5)
    assert health.start_period == "120s"
    assert "rabbitmq_management,rabbitmq_prometheus" in workload.configs["enabled_plugins"]


def test_nothing_of_the_server_changes_with_its_queues_and_users() -> None:
    # Else an `up` would start it again.
    alone = RABBITMQ.workload("rabbitmq", store(admin="boss"))
    assert RABBITMQ.workload("rabbitmq", store(**SHARED)) == alone


@pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES])
def test_a_changed_description_is_a_job_that_runs_again(target: Target) -> None:
    def made(**keys: object) -> dict[str, object]:
        def program() -> None:
            ref: Any = {} if target is Target.DOCKER else {"namespace": "shop"}
            site = Site("shop", {"target": target, **ref})
            described: Any = {"rabbitmq": {"engine": "rabbitmq", **keys}}
            DataTier("data", {"site": site.ref, "stores": described})

        recording = record(program, project="shop", stack="dev", config={})
        return {resource.name: resource.inputs for resource in recording.resources}

    first = made(**SHARED)
    nothing: list[object] = []
    second = made(**{**SHARED, "queues": nothing, "policies": nothing})
    assert {name for name in first if first[name] != second[name]} == {"data-rabbitmq-setup"}


@pytest.mark.parametrize(
    ("memory", "most"), [("384m", 384 * 6 // 10), ("512m", 307), ("2g", 2048 * 6 // 10)]
)
def test_it_makes_senders_wait_before_it_is_killed(memory: str, most: int) -> None:
    said = store(
        resources={"cpus": 1, "memory": memory},
        settings={"consumer_timeout": "7200000", "x": "a$b"},
    )
    lines = RABBITMQ.workload("rabbitmq", said).configs["rabbitmq.conf"]
    conf = dict(line.split(" = ") for line in lines.splitlines())
    assert int(conf["vm_memory_high_watermark.absolute"]) // 1024**2 == most
    assert (conf["consumer_timeout"], conf["x"]) == ("7200000", "a$b")
    assert conf["listeners.tcp.default"] == "5672"


def test_the_connections_are_its_virtual_hosts_and_users() -> None:
    assert RABBITMQ.consumers(store()) == {
        "": Consumer("rabbitmq", "/"),
        "/": Consumer("rabbitmq", "/"),
    }
    said = store(**SHARED)
    assert RABBITMQ.consumers(said) == {
        "": Consumer("backend", "ml/jobs"),
        "ml/jobs": Consumer("backend", "ml/jobs"),
        "mail": Consumer("boss", "mail"),
        "worker": Consumer("worker", "ml/jobs"),
    }
    assert RABBITMQ.users(said) == ["boss", "backend", "worker"]
    keys = connection_keys({"rabbitmq": said}, Target.DOCKER)
    worker = Workload(
        image="a:1", secrets={"A": "${rabbitmq.worker.url}", "B": "${rabbitmq.ml/jobs.url}"}
    )
    assert list(check_references("worker", worker, keys)) == []


def test_a_url_says_how_to_connect() -> None:
    def url(consumer: Consumer, *, tls: bool = False) -> str:
        return RABBITMQ.url(store(), consumer, "p@/: ", Reached(["rabbitmq"], 5672, tls=tls))

    assert url(Consumer("me", "ml/jobs")) == "amqp://me:p%40%2F%3A%20@rabbitmq:5672/ml%2Fjobs"
    # Clients take "" for another virtual host than "/".
    assert url(Consumer("me", "/"), tls=True) == "amqps://me:p%40%2F%3A%20@rabbitmq:5672/%2F"


def test_the_setup_makes_what_is_described() -> None:
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    found = wanted(store(**SHARED))
    assert found == {
        "vhosts/ml%2Fjobs": {},
        "vhosts/mail": {},
        "users/backend": "password PASSWORD_0",
        "users/worker": "password PASSWORD_1",
        "permissions/ml%2Fjobs/boss": everything,
        "permissions/ml%2Fjobs/backend": everything,
        "permissions/ml%2Fjobs/worker": {
            "configure": "",
            "write": "^amq\\.default$",
            "read": "^jobs$",
        },
        "permissions/mail/boss": everything,
        "policies/ml%2Fjobs/limits": {
            "pattern": "^jobs$",
            "definition": {
                "max-length": 2,
                "overflow": "reject-publish",
                "dead-letter-exchange": "",
                "dead-letter-routing-key": "failed é/",
            },
            "priority": 0,
            "apply-to": "queues",
        },
        "queues/ml%2Fjobs/jobs": {
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": "classic"},
        },
        "queues/ml%2Fjobs/failed%20%C3%A9%2F": {
            "durable": True,
            "auto_delete": False,
            "arguments": {"x-queue-type": "quorum"},
        },
    }
    # Each finds what it needs.
    assert list(found) == sorted(
        found,
        key=lambda path: [*("vhosts", "users", "permissions", "policies", "queues")].index(
            path.partition("/")[0]
        ),
    )


def test_the_setup_holds_passwords_only_as_secrets() -> None:
    job = setup(store(**SHARED))
    assert job.job
    assert job.depends_on == {"rabbitmq": Condition.SERVICE_HEALTHY}
    assert job.secrets == {
        "ADMIN_PASSWORD": "${password.boss}",
        "PASSWORD_0": "${password.backend}",
        "PASSWORD_1": "${password.worker}",
    }
    assert all(not references(text) for text in job.environment.values())
    # Where nothing is described, it takes away what was.
    assert RABBITMQ.setup("rabbitmq", store()) is not None


def test_keda_measures_a_queue() -> None:
    assert RABBITMQ.scaler(store(), Consumer("worker", "ml"), "jobs", 20) == Scaler(
        type="rabbitmq",
        metadata={"protocol": "amqp", "queueName": "jobs", "mode": "QueueLength", "value": "20"},
        secrets={"host": "${server.url}"},
    )


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "place", "why"),
    [
        ({"max_lenght": 5}, "max_lenght", "there is no key 'max_lenght' here"),
        ({"ha_mode": "all"}, "ha_mode", "there is no key 'ha_mode' here"),
        ({"max_length": "5"}, "max_length", "input should be a valid integer"),
        ({"max_length": -1}, "max_length", "input should be greater than or equal to 0"),
        ({"max_length": True}, "max_length", "input should be a valid integer"),
        ({"message_ttl": 2**32}, "message_ttl", "input should be less than or equal to"),
        ({"expires": 0}, "expires", "input should be greater than or equal to 1"),
        ({"overflow": "drop"}, "overflow", "this is not one of the valid words"),
        ({"apply_to": "queue"}, "apply_to", "this is not one of the valid words"),
        ({"pattern": "("}, "pattern", "'(' is not a regular expression"),
        ({"pattern": "a" * 501}, "pattern", "'aaaa"),
        ({"name": ""}, "name", "'' is not a name for a queue or a policy"),
        *(
            ({"pattern": pattern}, "pattern", "RabbitMQ reads no ")
            for pattern in (
                r"\u0041",
                r"\N{DIGIT ONE}",
                "(?a)x",
                "(?u:x)",
                "x{70000}",
                "x{,70000}",
            )
        ),
        ({"name": "amq.mine"}, "name", "the names that begin with 'amq.'"),
        # A path of the management API would lead elsewhere.
        ({"name": ".."}, "name", "'..' is a step in a path"),
        ({"dead_letter_exchange": "a\nb"}, "dead_letter_exchange", "'a\\nb' is not the name of an"),
        (
            {"dead_letter_exchange": "", "dead_letter_routing_key": "a" * 256},
            "dead_letter_routing_key",
            "'aaaa",
        ),
        ({}, "Policy", "the policy says nothing"),
        (
            {"apply_to": "exchanges", "max_length": 5},
            "max_length",
            "an exchange has no max_length",
        ),
        ({"alternate_exchange": "a"}, "alternate_exchange", "a queue has no alternate_exchange"),
        (
            {"dead_letter_routing_key": "a"},
            "dead_letter_routing_key",
            "it means nothing without a dead_letter_exchange",
        ),
        (
            {"dead_letter_exchange": ""},
            "dead_letter_exchange",
            "dead letters would go back to the queue that they come from",
        ),
        (
            {"dead_letter_exchange": "a", "dead_letter_strategy": "at-least-once"},
            "dead_letter_strategy",
            "RabbitMQ keeps to at-least-once only where a full queue takes nothing more",
        ),
    ],
)
def test_a_policy_that_rabbitmq_refuses_or_ignores_is_refused(
    keys: dict[str, object], place: str, why: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Policy.model_validate({"name": "limits", "pattern": ".*", **keys})
    [mistake] = mistakes_of(caught.value)
    assert mistake.place == place
    assert mistake.why.startswith(why)
    assert mistake.remedy


@pytest.mark.parametrize(
    "pattern", ["^jobs$", r"\\u", r"a\.b", "(?i)x", "(?:au)", "x{2,300}", r"\d+"]
)
def test_what_both_languages_read_is_a_pattern(pattern: str) -> None:
    assert Policy(name="limits", pattern=pattern, max_length=1).pattern == pattern


def test_all_mistakes_of_a_store_are_told_together() -> None:
    with pytest.raises(ValidationError) as caught:
        store(
            vhosts=[{"name": "a.b"}, {"name": "c"}, {"name": "d", "users": [{"name": "e f"}]}],
            queues=[{"name": "amq.x"}, {"name": "y", "type": "stream"}],
            policies=[{"name": "p", "pattern": "[", "max_length": 1}],
        )
    assert [mistake.place for mistake in mistakes_of(caught.value)] == [
        *("vhosts[0].name", "vhosts[2].users[0].name", "queues[0].name", "queues[1].type"),
        "policies[0].pattern",
    ]
    with pytest.raises(ValidationError) as caught:
        store(vhosts=[{"name": "a"}, {"name": "a"}])
    assert [mistake.place for mistake in mistakes_of(caught.value)] == ["vhosts[1]"]


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"settings": {"Consumer Timeout": "1"}}, "'Consumer Timeout' is not a setting"),
        ({"settings": {"default_pass": "x"}}, "the setting 'default_pass' is this library's"),
        ({"settings": {"listeners.ssl.default": "1"}}, "the setting 'listeners.ssl.default' is"),
        ({"settings": {"heartbeat": "1\n2"}}, "the setting 'heartbeat' is not one line"),
        ({"settings": {"heartbeat": ""}}, "the setting 'heartbeat' is not one line"),
        ({"settings": {"heartbeat": "1 # 2"}}, "the setting 'heartbeat' is not one line"),
        ({"admin": "guest"}, "RabbitMQ lets 'guest' in from its own machine only"),
        (
            {"vhosts": [{"name": "a", "owner": "b", "users": [{"name": "b"}]}]},
            "'b' has two kinds of rights in the virtual host 'a'",
        ),
        (
            {"vhosts": [{"name": "a", "users": [{"name": "rabbitmq"}]}]},
            "'rabbitmq' has two kinds of rights in the virtual host 'a'",
        ),
        (
            {"vhosts": [{"name": "a", "users": [{"name": "a"}]}]},
            "'a' is a user and a virtual host: both would be one connection",
        ),
        (
            {"vhosts": [{"name": "mail"}], "queues": [{"name": "q", "vhost": "mial"}]},
            "the queue 'q' is in a virtual host 'mial', which is none",
        ),
        ({"queues": [{"name": "q"}, {"name": "q"}]}, "the queue 'q' stands twice"),
        (
            {"queues": [{"name": "q"}, {"name": "q", "vhost": "/"}]},
            "the queue 'q' stands twice in the virtual host '/'",
        ),
        (
            {
                "queues": [{"name": "q", "type": "quorum"}],
                "policies": [{"name": "p", "pattern": "q", "overflow": "reject-publish-dlx"}],
            },
            "the policy 'p' fits the queue 'q', which is of the type quorum and has no reject-",
        ),
        (
            {
                "queues": [{"name": "q"}],
                "policies": [{"name": "p", "pattern": "q", "delivery_limit": 3}],
            },
            "the policy 'p' fits the queue 'q', which is of the type classic and has no delivery",
        ),
        (
            {"queues": [{"name": f"{number}{'q' * 200}"} for number in range(500)]},
            "what sets the store up has ",
        ),
    ],
)
def test_what_breaks_it_is_refused(keys: dict[str, object], why: str) -> None:
    [(found, remedy)] = RABBITMQ.check(store(**keys))
    assert found.startswith(why)
    assert remedy


def test_what_is_probably_not_meant_is_told() -> None:
    said = store(
        queues=[{"name": "jobs"}, {"name": "mail"}],
        policies=[
            {"name": "none", "pattern": "^job$", "max_length": 5},
            {"name": "one", "pattern": "^jobs", "max_length": 5},
            {"name": "other", "pattern": "jobs$", "max_length": 6},
            {
                "name": "dead",
                "pattern": "mail",
                "dead_letter_exchange": "",
                "dead_letter_routing_key": "deadd",
            },
        ],
    )
    assert RABBITMQ.check(said) == []
    assert list(store_doubts("shop: stores.rabbitmq", said, Target.DOCKER)) == [
        f"shop: stores.rabbitmq: {doubt}"
        for doubt in (
            "the policy 'none' fits no queue of the description",
            "the policies 'one' and 'other' fit the queue 'jobs' with the same priority 0:"
            " RabbitMQ takes one of them",
            "dead letters of the policy 'dead' go to a queue 'deadd', which the description does"
            " not have: they are lost while no program makes it",
        )
    ]
    # Programs may declare their own queues, and all may be right.
    alone = store(policies=[{"name": "none", "pattern": "^job$", "max_length": 5}])
    assert RABBITMQ.doubts(alone) == RABBITMQ.doubts(store(**SHARED)) == []


def test_a_queue_is_never_thrown_away() -> None:
    assert RABBITMQ.check_queue(store()) == []


# --- a real server --------------------------------------------------------------------------------

VALUES = {"password.boss": EVIL, "password.backend": f"B{EVIL}", "password.worker": "the first"}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Containers]:
    with Containers(tmp_path) as containers:
        yield containers


def started(here: Containers, said: Store) -> tuple[str, Workload]:
    workload = RABBITMQ.workload("rabbitmq", said)
    name = here.start("rabbitmq", workload, VALUES)
    here.wait_healthy(name, workload, 120)
    return name, workload


def connected(here: Containers, name: str, said: Store, key: str, password: str) -> Any:
    """A connection of pika's, made with the URL that programs are given."""
    [found] = json.loads(here.docker("inspect", name))
    host = found["NetworkSettings"]["Networks"][here.name]["IPAddress"]
    consumer = RABBITMQ.consumers(said)[key]
    url = RABBITMQ.url(said, consumer, password, Reached([host], 5672))
    return pika.BlockingConnection(pika.URLParameters(url))


def send(channel: Any, text: str) -> None:
    """Raises where RabbitMQ does not confirm it."""
    lasting = pika.BasicProperties(delivery_mode=2)
    channel.basic_publish("", "jobs", text.encode(), lasting, mandatory=True)


def ctl(here: Containers, name: str, *command: str) -> str:
    done = here.execute(name, "rabbitmqctl", "--quiet", *command)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def listed(here: Containers, name: str, *command: str) -> list[Any]:
    """The rows of a list, each with its values only."""
    rows = json.loads(ctl(here, name, *command, "--formatter", "json"))
    return sorted(list(row.values()) for row in rows)


@pytest.mark.docker
@pytest.mark.load
def test_a_real_server_gets_its_users_and_queues_and_keeps_its_messages(here: Containers) -> None:
    said = store(image=stand_in(RABBITMQ.image), **SHARED)
    name, _ = started(here, said)
    for word in ("the first", "the second"):
        code, told = here.run("setup", setup(said), {**VALUES, "password.worker": word})
        assert (code, told) == (0, "")

    backend = connected(here, name, said, "", f"B{EVIL}")
    with pytest.raises(ProbableAuthenticationError):
        connected(here, name, said, "worker", "the first")
    worker = connected(here, name, said, "worker", "the second")
    channel = worker.channel()
    with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
        channel.queue_declare("another", durable=True)
    channel = worker.channel()
    with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
        channel.basic_get("failed é/")

    # The policy holds: the third one is refused.
    channel = backend.channel()
    channel.confirm_delivery()
    send(channel, "kept")
    send(channel, "rejected")
    with pytest.raises(pika.exceptions.NackError):
        send(channel, "too many")

    # Neither the processes nor what Docker tells show a password.
    shown = [json.loads(here.docker("inspect", name))[0]["Config"], here.docker("top", name)]
    assert "p'a" not in str(shown)
    assert "x41" not in str(shown)
    # Nobody else has its cookie, or could use it: only clients' ports are open.
    listeners = json.loads(ctl(here, name, "status", "--formatter", "json"))["listeners"]
    assert {listener["port"]: listener["interface"] for listener in listeners} == {
        **dict.fromkeys((5672, 15672, 15692), "[::]"),
        25672: "127.0.0.1",
    }

    # It dies, and comes back with another host name.
    here.docker("kill", "--signal", "KILL", name)
    here.docker("rm", name)
    name, _ = started(here, said)
    channel = connected(here, name, said, "worker", "the second").channel()
    assert channel.basic_get("jobs", auto_ack=True)[2] == b"kept"
    found, _, body = channel.basic_get("jobs")
    channel.basic_reject(found.delivery_tag, requeue=False)
    channel.connection.close()
    channel = connected(here, name, said, "", f"B{EVIL}").channel()
    method, _, body = None, None, b""
    for _ in range(50):
        method, _, body = channel.basic_get("failed é/", auto_ack=True)
        if method:
            break
        channel.connection.sleep(0.1)
    assert body == b"rejected"

    here.docker("stop", "--time", "60", name)
    [state] = json.loads(here.docker("inspect", name))
    assert state["State"]["ExitCode"] == 0


@pytest.mark.docker
@pytest.mark.load
def test_changes_reach_a_real_server_while_it_works(here: Containers) -> None:
    image = stand_in(RABBITMQ.image)
    queues = [{"name": name} for name in ("jobs", "empty", "full")]
    first = store(image=image, **{**SHARED, "queues": [*SHARED["queues"], *queues[1:]]})
    name, _ = started(here, first)
    code, told = here.run("setup", setup(first), VALUES)
    assert (code, told) == (0, "")
    connection = connected(here, name, first, "", f"B{EVIL}")
    channel = connection.channel()
    channel.confirm_delivery()
    channel.basic_publish("", "full", b"kept", mandatory=True)
    arrived: list[bytes] = []

    def take(*said: Any) -> None:
        arrived.append(said[3])

    channel.basic_consume("jobs", take, auto_ack=True)

    # Each key that a policy has, in place of the old one; other queues, no "worker".
    every = {
        "name": "everything",
        "pattern": "^orders$",
        "priority": 3,
        "message_ttl": 60000,
        "expires": 600000,
        "max_length": 7,
        "max_length_bytes": 1000,
        "overflow": "reject-publish",
        "dead_letter_exchange": "",
        "dead_letter_routing_key": "failed é/",
        "dead_letter_strategy": "at-least-once",
        "delivery_limit": 5,
    }
    aside = {
        "name": "aside",
        "pattern": "^mine$",
        "apply_to": "exchanges",
        "alternate_exchange": "others",
    }
    second = store(
        image=image,
        admin="boss",
        vhosts=[{"name": "ml/jobs", "owner": "backend"}],
        queues=[*SHARED["queues"], {"name": "orders", "type": "quorum"}],
        policies=[every, aside],
    )
    assert RABBITMQ.check(second) == []
    code, told = here.run("setup", setup(second), VALUES)
    assert code == 0, told
    assert "deleted queues/ml%2Fjobs/empty" in told
    assert "deleted policies/ml%2Fjobs/limits" in told
    assert "deleted users/worker" in told
    # Nobody's messages are thrown away.
    assert re.search(r"left queues/ml%2Fjobs/full, .* not empty", told), told
    assert "left vhosts/mail" in told

    policies = ctl(here, name, "list_policies", "-p", "ml/jobs", "--formatter", "json")
    found = {policy["name"]: policy for policy in json.loads(policies)}
    assert set(found) == {"aside", "everything"}
    assert json.loads(found["everything"]["definition"]) == Policy.model_validate(every).definition
    assert listed(here, name, "list_queues", "-p", "ml/jobs", "name", "policy") == [
        *(["failed é/", ""], ["full", ""], ["jobs", ""], ["orders", "everything"])
    ]
    assert [user for user, _ in listed(here, name, "list_users")] == ["backend", "boss"]

    # All the while, the same connection works.
    channel.basic_publish("", "jobs", b"through", mandatory=True)
    connection.process_data_events(2)
    assert arrived == [b"through"]
    # What is left goes as soon as it can, and nothing else changes.
    channel.queue_purge("full")
    code, told = here.run("setup", setup(second), VALUES)
    assert (code, told.splitlines()[:1]) == (0, ["deleted queues/ml%2Fjobs/full"])

    # The type of a queue stays; all else is done.
    third = second.model_copy(
        update={
            "queues": [Queue.model_validate({"name": "jobs", "type": "quorum"})],
            "vhosts": [*second.vhosts, Vhost(name="later")],
            "policies": [],
        }
    )
    code, told = here.run("setup", setup(third), VALUES)
    assert code == 1
    assert "inequivalent arg 'x-queue-type' for queue 'jobs'" in told
    assert "the type of a queue stays" in told
    assert ["later"] in listed(here, name, "list_vhosts")
    assert listed(here, name, "list_policies", "-p", "ml/jobs") == []
    assert connection.is_open
    assert "p'a" not in told

    # A server with another password says so.
    code, told = here.run("setup", setup(third), {**VALUES, "password.boss": "wrong"})
    assert (code, told) == (
        1,
        "RabbitMQ refuses the admin's password: it has that from when its volume was new\n",
    )


@pytest.mark.docker
@pytest.mark.load
def test_a_copy_brings_users_queues_and_policies_back(here: Containers) -> None:
    said = store(image=stand_in(RABBITMQ.image), **SHARED)
    name, _ = started(here, said)
    assert here.run("setup", setup(said), VALUES) == (0, "")
    backup = RABBITMQ.backups(said)[""]
    environment = {
        **{
            key: substitute(text, lambda it: {"host": "rabbitmq", "port": "5672"}[it.field])
            for key, text in backup.environment.items()
        },
        "ADMIN_PASSWORD": EVIL,
    }
    copy = here.execute(name, *backup.dump, environment=environment)
    assert copy.returncode == 0, copy.stderr
    assert {queue["name"] for queue in json.loads(copy.stdout)["queues"]} == {"jobs", "failed é/"}

    ctl(here, name, "delete_vhost", "ml/jobs")
    ctl(here, name, "delete_user", "worker")
    done = here.execute(name, *backup.restore, environment=environment, given=copy.stdout)
    assert done.returncode == 0, done.stderr
    assert listed(here, name, "list_queues", "-p", "ml/jobs", "name", "policy") == [
        *(["failed é/", ""], ["jobs", "limits"])
    ]
    assert connected(here, name, said, "worker", "the first").is_open
