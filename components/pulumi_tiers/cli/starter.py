"""The files of a starter program: what `tiers new` writes, as text. Nothing is read or written."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from string import Template
from typing import TypeAlias
from urllib.parse import urlsplit

import yaml
from pydantic import ValidationError

from pulumi_tiers.engines import ENGINES, Consumer, Engine, Reached
from pulumi_tiers.model.store import Database, Store
from pulumi_tiers.model.system import Target

#: The stack that runs where the answers say.
PRODUCTION = "prod"

#: Of the lines, as ruff and black want them unless told otherwise.
_WIDTH = 88


@dataclass(frozen=True)
class Service:
    """One service of the new system. Its image and its ports are valid."""

    image: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Starter:
    """Everything that differs from one starter program to the next. The names are valid."""

    name: str
    services: Mapping[str, Service]
    #: Name -> engine.
    stores: Mapping[str, str]
    #: Where the stack `prod` runs; `dev` runs on local Docker.
    production: Target
    #: The version of this library.
    version: str

    @property
    def urls(self) -> dict[str, str]:
        """The variables that hold a URL with all that a client needs: variable -> store."""
        if len(self.stores) == 1:
            [(name, engine)] = self.stores.items()
            if databases(self.name, engine):
                return {"DATABASE_URL": name}
        return {
            f"{_variable(name)}_URL": name for name in self.stores if name not in self._with_objects
        }

    @property
    def keys(self) -> dict[str, str]:
        """The variables that hold secret keys of stores with objects: variable -> store."""
        return {f"{_variable(name)}_SECRET_KEY": name for name in self._with_objects}

    @property
    def plain(self) -> dict[str, str]:
        """What clients of such stores take beside the secret key: variable -> its value."""
        words = {"ENDPOINT": "http://${{{0}.host}}:${{{0}.port}}", "BUCKET": "${{{0}.database}}",
                 "ACCESS_KEY": "${{{0}.user}}"}  # fmt: skip
        return {
            f"{_variable(name)}_{word}": text.format(name)
            for name in self._with_objects
            for word, text in words.items()
        }

    @property
    def _with_objects(self) -> list[str]:
        return [name for name, engine in self.stores.items() if _has_objects(engine)]

    @property
    def published(self) -> dict[tuple[str, int], int]:
        """Ports of the Docker host by service and its own port: the same number if it is free."""
        found: dict[tuple[str, int], int] = {}
        for name, service in self.services.items():
            for port in service.ports:
                # Below 1024 there are the machine's own servers: 80 becomes 8080.
                first = port if port >= 1024 else 8000 + port
                numbers = chain(range(first, 65536), range(1024, first))
                taken = set(found.values())
                found[name, port] = next(number for number in numbers if number not in taken)
        return found

    def in_cloud(self, text: str, elsewhere: str = "") -> str:
        """The text of programs whose stack `prod` runs on DigitalOcean."""
        return text if self.production is Target.DIGITALOCEAN else elsewhere

    def files(self) -> dict[str, str]:
        """The files by their path in the folder."""
        protect = self.in_cloud(f"{self.name}:protect")
        return {
            "Pulumi.yaml": _pulumi_yaml(self),
            "Pulumi.dev.yaml": _stack_yaml(Target.DOCKER),
            f"Pulumi.{PRODUCTION}.yaml": _stack_yaml(self.production, protect),
            "__main__.py": _main(self),
            "system.py": _system(self),
            "tests/test_program.py": _tests(self),
            "requirements.txt": _REQUIREMENTS.substitute(version=self.version),
            "requirements-dev.txt": _REQUIREMENTS_DEV,
            "pyproject.toml": _PYPROJECT.substitute(warnings=self.in_cloud(_WARNINGS)),
            ".gitignore": _GITIGNORE,
            "README.md": _readme(self),
        }


def databases(system: str, engine: str) -> list[Database]:
    """The database of a new system, owned by who isn't the admin; none where engines have none."""
    for name in (system.replace("-", "_"), "app"):
        try:
            found = [Database(name=name, owner=name)]
            store = Store(engine=engine, databases=found)
        except ValidationError:  # the server has reserved the name
            continue
        if ENGINES[engine].unused(store):
            return []
        if not ENGINES[engine].check(store):
            return found
    return []


def _has_objects(engine: str) -> bool:
    return "buckets" in ENGINES[engine].takes


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


# --- Python ---------------------------------------------------------------------------------------


class _Code(str):
    """An expression; every other text becomes a literal."""


_Value: TypeAlias = "str | int | Sequence[_Value] | Mapping[str, _Value]"


def _flat(value: _Value) -> str:
    match value:
        case _Code() | int():
            return str(value)
        case str():
            return json.dumps(value)
        case Mapping():
            pairs = (f"{json.dumps(key)}: {_flat(item)}" for key, item in value.items())
            return f"{{{', '.join(pairs)}}}"
        case _:
            return f"[{', '.join(map(_flat, value))}]"


def _code(value: _Value, indent: int, before: int = 0, opened: int = 0) -> str:
    """The value as Python, laid out as formatters do: on one line where it fits.

    `before` characters of its first line are taken already. The first `opened` levels have one
    item per line in any case.
    """
    flat = _flat(value)
    fits = indent + before + len(flat) + len(",") <= _WIDTH
    if isinstance(value, str | int) or (fits and not opened):
        return flat
    inner = indent + 4
    rest = max(0, opened - 1)
    if isinstance(value, Mapping):
        lines = [
            f"{json.dumps(key)}: {_code(item, inner, len(json.dumps(key)) + 2, rest)}"
            for key, item in value.items()
        ]
    else:
        lines = [_code(item, inner, 0, rest) for item in value]
    text = "".join(f"{' ' * inner}{line},\n" for line in lines)
    first, last = "{}" if isinstance(value, Mapping) else "[]"
    return f"{first}\n{text}{' ' * indent}{last}"


_MAIN = Template('''\
"""The Pulumi program: a stack's configuration, and the system that it is for."""

import pulumi
from pulumi_tiers import Target

from system import deploy

# The command `tiers` knows these keys too. The project's own are in Pulumi.yaml.
tiers = pulumi.Config("tiers")
deploy(
    target=Target(tiers.get("target") or "docker"),
${offset}\
    replicas=pulumi.Config().require_int("replicas"),
${protect}\
)
''')


def _main(starter: Starter) -> str:
    offset = '    port_offset=tiers.get_int("port_offset") or 0,\n' if starter.published else ""
    protect = starter.in_cloud('    protect=pulumi.Config().require_bool("protect"),\n')
    return _MAIN.substitute(offset=offset, protect=protect)


_SYSTEM = Template('''\
"""What $name is: its services and its stores, once for every target."""

import pulumi
from pulumi_tiers import $words


def deploy(*, target: Target, ${offset}replicas: int${protect}) -> None:
    """Makes the system: containers on Docker, or the objects of Kubernetes."""
${site}\
${data}\
    app = AppTier(
        "$name-app",
        {
            "site": site.ref,
${connections}\
            # Each runs as user 1000:1000 on a read-only file system, with 0.5 CPUs and
            # 128m of memory, unless "user", "read_only" or "resources" say otherwise.
            #
            # Only you know how a service tells its health. With a program of its
            # image, and for Kubernetes a path on its first port, add beside "image":
            #     "healthcheck": {
            #         "test": ["CMD", "curl", "-f", "http://127.0.0.1:8000/health"],
            #         "path": "/health",
            #     },
            #
            # A port with "load_balancer": 80 is open to everybody on Kubernetes.
${needs}\
            "services": $services,
        },
${inside}\
    )
    pulumi.export("urls", app.urls)
''')

_SITE = """\
    site = Site("$name", {"target": target})
"""

_SITE_IN_CLOUD = """\
    if target is Target.DIGITALOCEAN:
        cluster = Cluster(
            "$name-cluster",
            # With 2 nodes of the size s-2vcpu-4gb, unless "nodes" or "node_size" say
            # otherwise. Later, another region or size means another cluster.
            {"region": "nyc1", "protect": protect},
        )
        inside = pulumi.ResourceOptions(providers=[cluster.provider])
        site = Site(
            "$name",
            {"target": target, "protect": protect, "cluster": cluster.ref},
            inside,
        )
        pulumi.export("cluster_id", cluster.id)
        pulumi.export("kubeconfig", cluster.kubeconfig)
    else:
        inside = None
        site = Site(
            "$name",
            {"target": target, "protect": protect},
        )
"""

_DATA = Template("""\
    data = DataTier(
        "$name-data",
        {
            "site": site.ref,
            "stores": $stores,
        },
${inside}\
    )
""")


def _system(starter: Starter) -> str:
    name, data, connections, needs, words = starter.name, "", "", "", ["AppTier", "Site", "Target"]
    inside = starter.in_cloud("        inside,\n")
    if inside:
        words.append("Cluster")
    if starter.stores:
        stores = {key: _store(name, engine) for key, engine in starter.stores.items()}
        data = _DATA.substitute(name=name, stores=_code(stores, 12, opened=2), inside=inside)
        connections = '            "connections": data.connections,\n'
        needs = "            # What doesn't need a store should not have its URL.\n"
        words += ["Condition", "DataTier"]
    services = {key: _service(starter, key) for key in starter.services}
    return _SYSTEM.substitute(
        name=name,
        words=", ".join(sorted(words)),
        offset="port_offset: int, " if starter.published else "",
        protect=starter.in_cloud(", protect: bool"),
        site=Template(starter.in_cloud(_SITE_IN_CLOUD, _SITE)).substitute(name=name),
        data=data,
        connections=connections,
        needs=needs,
        services=_code(services, 12, opened=2),
        inside=inside,
    )


def _store(system: str, engine: str) -> _Value:
    described: dict[str, _Value] = {"engine": engine}
    if found := databases(system, engine):
        described["databases"] = [item.model_dump(include={"name", "owner"}) for item in found]
    if _has_objects(engine):
        described["buckets"] = [{"name": "files", "owner": "app"}]
    return described


def _service(starter: Starter, name: str) -> _Value:
    service = starter.services[name]
    described: dict[str, _Value] = {"image": service.image}
    if starter.plain:
        described["environment"] = starter.plain
    urls = {variable: f"${{{store}.url}}" for variable, store in starter.urls.items()}
    keys = {variable: f"${{{store}.password}}" for variable, store in starter.keys.items()}
    if secrets := {**urls, **keys}:
        described["secrets"] = secrets
    if service.ports:
        described["ports"] = [
            {"target": port, "published": _Code(f"{starter.published[name, port]} + port_offset")}
            for port in service.ports
        ]
    described["tmpfs"] = {"/tmp": ""}  # noqa: S108 - in the container
    if starter.stores:
        healthy = _Code("Condition.SERVICE_HEALTHY")
        described["depends_on"] = dict.fromkeys(starter.stores, healthy)
    return {**described, "replicas": _Code("replicas")}


_TESTS = Template('''\
"""What must be true of $name, on both targets: no engine or cluster is needed."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.render import render

PROJECT = Project.find(Path(__file__).parent)
NAME = "$name"

IMAGES = $images
# The stores that the services' variables lead to: host and port.
SERVERS: dict[str, tuple[str, int]] = $servers
${managed}\


def compose() -> dict[str, Any]:
    """The stack dev as a Compose file: its services, by their own names."""
    services = yaml.safe_load(render(PROJECT, "dev", "compose", {}).text)["services"]
    return {key.removeprefix(f"{NAME}-"): service for key, service in services.items()}


def kubernetes() -> dict[tuple[str, str], Any]:
    """The stack prod on Kubernetes: its objects, by kind and name."""
    objects = yaml.safe_load_all(render(PROJECT, "prod", "kubernetes", {}).text)
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def container(objects: dict[tuple[str, str], Any], service: str) -> Any:
    """What runs in the pods of a service."""
    return objects["Deployment", service]["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("stack", PROJECT.stacks)
def test_the_description_has_no_mistakes(stack: str) -> None:
    """On the stack's own target: everything that is wrong would be told."""
    assert PROJECT.record(stack).warnings == []


def test_each_service_runs_its_image() -> None:
    services, objects = compose(), kubernetes()
    assert {name: services[name]["image"] for name in IMAGES} == IMAGES
    assert {name: container(objects, name)["image"] for name in IMAGES} == IMAGES


def test_services_start_when_the_stores_are_healthy() -> None:
    services = compose()
    for name in IMAGES:
        needed = {
            other.removeprefix(f"{NAME}-"): how["condition"]
            for other, how in services[name].get("depends_on", {}).items()
        }
        for store, _ in SERVERS.values():
            assert "healthcheck" in services[store]
            healthy = needed.get(store) == "service_healthy"
            # Where a job sets the store up: when that is done.
            set_up = needed.get(f"{store}-setup") == "service_completed_successfully"
            assert healthy or set_up


def test_the_urls_of_stores_lead_there_and_are_secret() -> None:
    services, objects = compose(), kubernetes()
    for name in IMAGES:
        for variable, server in SERVERS.items():
            url = urlsplit(services[name]["environment"][variable])
            assert (url.hostname, url.port) == server
            # The password itself stands in a file that git ignores.
            assert (url.password or "").startswith("$${")
            # On Kubernetes, a container only names the Secret that has it.
            reference = {"secretKeyRef": {"name": name, "key": variable}}
            environment = container(objects, name)["env"]
            assert {"name": variable, "valueFrom": reference} in environment
            secret = objects["Secret", name]["stringData"]
${same}\


def test_nothing_is_open_to_everybody() -> None:
    """Change this with the first port that is: "host_ip" on Docker, "load_balancer"."""
    for service in compose().values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    for (kind, _), item in kubernetes().items():
        assert kind != "Service" or item["spec"]["type"] == "ClusterIP"
${protected}\
''')

_MANAGED = Template("""\
# Those that DigitalOcean runs in the stack prod: their port, and the end of the URL.
MANAGED: dict[str, tuple[int, str]] = $managed
""")

_SAME = """\
            assert urlsplit(secret[variable]) == url
"""

_SAME_IN_CLOUD = """\
            found = urlsplit(secret[variable])
            if variable not in MANAGED:
                assert found == url
                continue
            assert (found.port, found.query) == MANAGED[variable]
            assert (found.username, found.path) == (url.username, url.path)
            # Known when it is made.
            assert (found.hostname or "").startswith("${digitalocean_")
            assert (found.password or "").startswith("${DIGITALOCEAN_")
"""

_PROTECTED = '''

def test_the_cluster_and_the_data_are_protected() -> None:
    """The engine refuses to delete them in the stack prod, until "protect" is false."""
    kinds = ("KubernetesCluster", "DatabaseCluster", "DatabaseDb", "DatabaseUser")
    resources = PROJECT.record("prod").resources
    holders = [item for item in resources if item.type.endswith(kinds)]
    assert holders
    assert all(item.protect for item in holders)
'''


def _tests(starter: Starter) -> str:
    images = {name: service.image for name, service in starter.services.items()}
    servers = {
        variable: _Code(f'("{store}", {ENGINES[starter.stores[store]].port})')
        for variable, store in starter.urls.items()
    }
    managed = {
        variable: _Code(f'({service.port}, "{_ending(ENGINES[starter.stores[store]])}")')
        for variable, store in starter.urls.items()
        if (service := ENGINES[starter.stores[store]].service) and service.default
    }
    found = _MANAGED.substitute(managed=_code(managed, 0, opened=1) if managed else "{}")
    return _TESTS.substitute(
        name=starter.name,
        images=_code(images, 0, opened=1),
        servers=_code(servers, 0, opened=1) if servers else "{}",
        managed=starter.in_cloud(found),
        same=starter.in_cloud(_SAME_IN_CLOUD, _SAME),
        protected=starter.in_cloud(_PROTECTED),
    )


def _ending(engine: Engine) -> str:
    """What insists on encryption in a URL, behind the database."""
    consumer, store = Consumer("user", "database"), Store(engine=engine.name)
    return urlsplit(engine.url(store, consumer, "word", Reached(["host"], 1, tls=True))).query


# --- the other files ------------------------------------------------------------------------------


def _pulumi_yaml(starter: Starter) -> str:
    config: dict[str, object] = {
        "replicas": {
            "type": "integer",
            "default": 1,
            "description": "How many containers each service has.",
        }
    }
    if starter.production is Target.DIGITALOCEAN:
        config["protect"] = {
            "type": "boolean",
            "default": False,
            "description": "Whether the engine refuses to delete the cluster and what holds data.",
        }
    if starter.production is Target.KUBERNETES:
        # The components' own provider is told the same.
        for kind in ("ConfigMap", "Secret"):
            config[f"kubernetes:enable{kind}Mutable"] = {"value": True}
    where = starter.in_cloud("DigitalOcean", "Kubernetes")
    project = {
        "name": starter.name,
        "description": f"{starter.name} on local Docker and on {where}.",
        "runtime": {"name": "python", "options": {"toolchain": "pip", "virtualenv": ".venv"}},
        "config": config,
    }
    return yaml.safe_dump(project, sort_keys=False)


def _stack_yaml(target: Target, switched_on: str = "") -> str:
    config = {"tiers:target": str(target), **({switched_on: True} if switched_on else {})}
    return yaml.safe_dump({"config": config})


_REQUIREMENTS = Template("""\
# Where no package index has it: the path of a wheel or of a clone, instead of the last line.
#   ./pulumi_tiers-$version-py3-none-any.whl
#   -e ../tiers
pulumi-tiers==$version
""")

_REQUIREMENTS_DEV = """\
-r requirements.txt
pyrefly
pytest
"""

_PYPROJECT = Template("""\
[tool.pytest.ini_options]
testpaths = ["tests"]
${warnings}\

[tool.pyrefly]
preset = "strict"
project-includes = ["*.py", "tests"]
search-path = ["."]
""")

_WARNINGS = """\
# The SDK's own modules use each other's old names when they are imported.
filterwarnings = ["ignore::DeprecationWarning:pulumi_digitalocean"]
"""

_GITIGNORE = """\
.venv/
__pycache__/
.pytest_cache/
.ruff_cache/
# Of this machine only: what `tiers up` keeps, with passwords.
.tiers/
# What `tiers render --out out` writes, and its passwords.
out/
.env
"""

_README = Template("""\
# $name

A Pulumi program. The module `system` describes the system once, in the words of Docker Compose;
the components of pulumi-tiers make containers or objects of Kubernetes from it.

```sh
python3 -m venv .venv
.venv/bin/pip install -r requirements-dev.txt   # see requirements.txt, where it is not found
```

| | |
|---|---|
| `.venv/bin/tiers up` | brings the stack `dev` up on local Docker, and waits until it is healthy |
| `.venv/bin/tiers status` | what runs, and where it is reached |
| `.venv/bin/tiers down` | takes it down; its data stays, unless `--data` |
| `.venv/bin/tiers render --to compose` | shows what runs: or `kubernetes`, `picture`, `graph` |
| `.venv/bin/pytest` | the tests; they need no engine, no Docker, no cluster |
| `.venv/bin/pyrefly check` | the types |

${pulumi}\

| Configuration | Default | |
|---|---|---|
| `tiers:target` | `docker` | or `kubernetes`${digitalocean}: where the stack runs |
${offset}\
| `$name:replicas` | `1` | how many containers each service has |
${protect}\
| `tiers:secrets` | generated | `$name/<store>/<user>`: a password of your own |
""")


_PULUMI = """\
With the Pulumi CLI, in a backend of your own:

```sh
pulumi login            # or: pulumi login file://~
pulumi stack init prod
pulumi config set replicas 2 -s prod
pulumi up -s prod
```
"""

_PULUMI_IN_CLOUD = """\
## On DigitalOcean

The stack `prod` makes a cluster, and a managed database for each store of the engine `postgres`.
With the Pulumi CLI, and a token of your account that reads and writes:

```sh
. .venv/bin/activate                # the engine runs `tiers credential` to reach the cluster
tiers render --to report -s prod    # what is made, and what it costs; needs no token
export DIGITALOCEAN_TOKEN=...
tiers doctor -s prod                # are engine, plugins and token there?
pulumi login                        # or: pulumi login file://~
pulumi stack init prod
pulumi config set replicas 2 -s prod
pulumi up -s prod
pulumi stack output kubeconfig -s prod > kubeconfig.yaml    # holds no secret
```

DigitalOcean makes the passwords of managed databases. The cluster and the data are protected: to
destroy the stack takes two steps.

```sh
pulumi config set protect false -s prod && pulumi up -s prod
pulumi destroy -s prod
```
"""


def _readme(starter: Starter) -> str:
    offset = "| `tiers:port_offset` | `0` | added to every port that is published on Docker |\n"
    protect = (
        f"| `{starter.name}:protect` | `false` | `true` in `prod`: the engine deletes neither the"
        " cluster nor data |\n"
    )
    return _README.substitute(
        name=starter.name,
        pulumi=starter.in_cloud(_PULUMI_IN_CLOUD, _PULUMI),
        digitalocean=starter.in_cloud(", `digitalocean`"),
        offset=offset if starter.published else "",
        protect=starter.in_cloud(protect),
    )
