"""What the components look like, and take, behind Pulumi's plugin boundary."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
import pytest
from pulumi.errors import InputPropertiesError
from pulumi_tiers import (
    Access,
    AppTier,
    Backend,
    Balance,
    Channel,
    CIPipeline,
    Cluster,
    ClusterAccess,
    Condition,
    DataTier,
    DeadLetterStrategy,
    Delivery,
    EdgeProxy,
    Edits,
    Environment,
    Event,
    Family,
    ImageOwner,
    MLTier,
    Observability,
    Overflow,
    PolicyTarget,
    PullPolicy,
    QueueType,
    RegistryAccess,
    RestartPolicy,
    Scope,
    SecretSource,
    Severity,
    Sharing,
    Site,
    StateBucket,
    TlsMode,
    When,
)
from pulumi_tiers import Target as SiteTarget
from pulumi_tiers.component import PACKAGE
from pulumi_tiers.plugin import Plugin
from pulumi_tiers.render.recorder import Recording, record
from ruamel.yaml import YAML
from wheelhouse import ROOT

COMPONENTS = (
    *(AppTier, CIPipeline, Cluster, DataTier, EdgeProxy, MLTier, Observability, Site),
    StateBucket,
)
ENUMS = (
    *(Balance, Condition, DeadLetterStrategy, ImageOwner, Overflow, PolicyTarget, PullPolicy),
    *(QueueType, RestartPolicy, Severity, Sharing, SiteTarget, TlsMode, Environment, Family),
    *(Access, Backend, Channel, ClusterAccess, Delivery, Edits, Event, RegistryAccess, Scope),
    *(SecretSource, When),
)

# --- the schema -----------------------------------------------------------------------------------

PLUGIN = Plugin()
SCHEMA: dict[str, Any] = json.loads(str(PLUGIN.schema))
TYPES: dict[str, Any] = {name.rpartition(":")[2]: it for name, it in SCHEMA["types"].items()}
RESOURCES: dict[str, Any] = {
    name.rpartition(":")[2]: it for name, it in SCHEMA["resources"].items()
}
#: The inputs that may be known at run time only. All but connections are texts.
MAY_BE_OUTPUTS = {
    "AppTier.connections{}",
    "CIPipeline.secretValues{}",
    "CIPipeline.variableValues{}",
    "ClusterRef.id",
    "ClusterRef.region",
    "ClusterRef.vpc",
    "Connection.ca",
    "Connection.database",
    "Connection.dotnet",
    "Connection.engine",
    "Connection.host",
    "Connection.password",
    "Connection.port",
    "Connection.ready",
    "Connection.url",
    "Connection.user",
    "EdgeProxy.certbotImage",
    "EdgeProxy.image",
    "Endpoint.ready",
    "Init.command[]",
    "Init.entrypoint[]",
    "Init.environment{}",
    "Init.image",
    "Init.secrets{}",
    "LoadBalancer.certificate",
    "Alerts.image",
    "Discord.webhookUrl",
    "Email.password",
    "Grafana.image",
    "Logs.images{}",
    "MLTier.connections{}",
    "Observability.connections{}",
    "Observability.images{}",
    "Prometheus.image",
    "Slack.webhookUrl",
    "MlModel.image",
    "NetworkRef.name",
    "RegistryLogin.password",
    "SiteRef.collectors",
    "SiteRef.namespace",
    "SiteRef.network",
    "SiteRef.pullSecret",
    "Store.image",
    "Store.passwords{}",
    "Tls.certificate",
    "Tls.certificateId",
    "Tls.directoryCa",
    "Tls.key",
    "Workload.command[]",
    "Workload.configs{}",
    "Workload.entrypoint[]",
    "Workload.environment{}",
    "Workload.image",
    "Workload.secretFiles{}",
    "Workload.secrets{}",
}


def parts(place: str, definition: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """An input and what it holds: ``Store.passwords`` and ``Store.passwords{}``."""
    yield place, definition
    if "additionalProperties" in definition:
        yield from parts(f"{place}{{}}", definition["additionalProperties"])
    if "items" in definition:
        yield from parts(f"{place}[]", definition["items"])


def inputs() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for owner, resource in RESOURCES.items():
        for key, definition in resource["inputProperties"].items():
            yield from parts(f"{owner}.{key}", definition)
    for owner, kind in TYPES.items():
        for key, definition in kind.get("properties", {}).items():
            yield from parts(f"{owner}.{key}", definition)


def test_what_cannot_cross_as_an_output_cannot_be_written_as_one() -> None:
    definitions = dict(inputs())
    assert {place for place, it in definitions.items() if not it.get("plain")} == MAY_BE_OUTPUTS
    maps = {f"{kind}.connections{{}}" for kind in ("AppTier", "MLTier", "Observability")}
    for place in MAY_BE_OUTPUTS - maps:
        assert definitions[place]["type"] == "string", place


def test_everything_is_described() -> None:
    for owner, part in {**RESOURCES, **TYPES}.items():
        assert part["description"], owner
        for section in ("inputProperties", "properties"):
            for key, definition in part.get(section, {}).items():
                assert definition.get("description"), f"{owner}.{key}"
                assert "\n  " not in definition["description"], f"{owner}.{key}"


def test_enums_have_all_their_words() -> None:
    shown = {
        name: {word["name"]: word["value"] for word in kind["enum"]}
        for name, kind in TYPES.items()
        if "enum" in kind
    }
    assert shown == {kind.__name__: {it.name: it.value for it in kind} for kind in ENUMS}


def test_outputs_are_what_other_languages_can_use() -> None:
    assert {name: set(resource["properties"]) for name, resource in RESOURCES.items()} == {
        "AppTier": {"urls", "endpoints"},
        "CIPipeline": {"system", "files", "page"},
        "Cluster": {"clusterId", "kubeconfig", "region", "vpc"},
        "DataTier": {"connections", "endpoints"},
        "EdgeProxy": {"url", "urls", "certificate"},
        "MLTier": {"urls", "endpoints"},
        "Observability": {"urls", "endpoints"},
        # Not `ref`, and not `Cluster.provider`: they are Python's.
        "Site": {"name", "collectors", "namespace", "network", "networks", "pullSecret"},
        "StateBucket": {"bucket", "backendUrl", "accessKeyId", "secretAccessKey"},
    }


def test_names_are_nobody_elses() -> None:
    assert SCHEMA["name"] == PACKAGE
    # The SDK that Pulumi makes for Python must not hide this package.
    assert PACKAGE.replace("-", "_") not in {"tiers", "pulumi_tiers"}
    assert not any(name.endswith("Args") for name in TYPES)
    for component in COMPONENTS:
        assert f"{PACKAGE}:index:{component.__name__}" in SCHEMA["resources"]


def test_no_property_has_a_name_that_the_engine_keeps_for_itself() -> None:
    for kind in (*TYPES.values(), *RESOURCES.values()):
        assert not {"pulumi", "urn"} & {
            *kind.get("properties", {}),
            *kind.get("inputProperties", {}),
        }


# --- arguments ------------------------------------------------------------------------------------

PLACE = {"target": "docker", "name": "dev-shop", "network": "dev-shop"}
CONNECTION = dict.fromkeys(("host", "port", "user", "database", "password", "url", "ready"), "x")


def construct(kind: str, args: dict[str, Any]) -> dict[str, Any]:
    """Constructs a component as the engine asks for it; its state."""
    made = PLUGIN.construct(f"shop-{kind.lower()}", f"{PACKAGE}:index:{kind}", args)
    return dict(made.state)


def recorded(kind: str, args: dict[str, Any], **outputs: Any) -> Recording:
    """`outputs` are arguments that arrive as outputs."""

    def program() -> None:
        # They can be made only while a program runs.
        known_later = {key: pulumi.Output.from_input(value) for key, value in outputs.items()}
        for key, value in construct(kind, {**args, **known_later}).items():
            pulumi.export(key, value)

    return record(program, project="shop", stack="dev", config={})


def mistakes(kind: str, args: dict[str, Any], **outputs: Any) -> str:
    with pytest.raises(InputPropertiesError) as caught:
        recorded(kind, args, **outputs)
    return caught.value.message


def test_arguments_arrive_under_their_names_in_python() -> None:
    recording = recorded(
        "AppTier",
        {
            "site": PLACE,
            "connections": {"postgres": CONNECTION},
            "services": {
                "web": {
                    "image": "web:1",
                    # Every number comes as a float.
                    "ports": [{"target": 8000.0, "published": 8080.0, "hostIp": "127.0.0.2"}],
                    "dependsOn": {"postgres": "service_healthy"},
                    "stopGracePeriod": "20s",
                    "environment": {"DATABASE_HOST": "${postgres.host}", "stopGracePeriod": "no"},
                    "readOnly": False,
                }
            },
        },
    )
    [web] = recording.of_type("docker:index/container:Container")
    assert web.name == "shop-apptier-web"
    assert web.inputs["ports"] == [{"internal": 8000, "external": 8080, "ip": "127.0.0.2"}]
    assert web.inputs["stopTimeout"] == 20
    assert web.inputs["readOnly"] is False
    assert set(web.inputs["envs"]) == {"DATABASE_HOST=x", "stopGracePeriod=no"}
    labels = {item["label"]: item["value"] for item in web.inputs["labels"]}
    assert labels["tiers.depends_on"] == "postgres:service_healthy"
    # Nobody has written them.
    assert (labels["tiers.stack"], labels["tiers.system"]) == ("dev", "shop")
    assert recording.outputs["urls"] == {"web": ["http://127.0.0.2:8080"]}


def test_a_connection_may_be_an_output() -> None:
    services = {"web": {"image": "web:1", "environment": {"HOST": "${db.host}"}}}

    def program() -> None:
        connection = pulumi.Output.from_input({**CONNECTION, "host": "db.example.com"})
        args = {"site": PLACE, "connections": {"db": connection}, "services": services}
        construct("AppTier", args)

    recording = record(program, project="shop", stack="dev", config={})
    [web] = recording.of_type("docker:index/container:Container")
    assert web.inputs["envs"] == ["HOST=db.example.com"]


def test_connections_leave_as_one_output() -> None:
    stores = {"postgres": {"engine": "postgres", "databases": [{"name": "shop"}]}}

    def program() -> None:
        connections = construct("DataTier", {"site": PLACE, "stores": stores})["connections"]
        # In YAML, an output inside of it would become `{}` in the end.
        assert isinstance(connections, pulumi.Output)
        known: pulumi.Output[Any] = connections
        pulumi.export("host", known.apply(lambda it: it["postgres"]["host"]))
        pulumi.export("keys", known.apply(sorted))

    recording = record(program, project="shop", stack="dev", config={})
    assert recording.outputs["host"].value == "postgres"  # secret, as the password beside it is
    assert recording.outputs["keys"].value == ["postgres", "postgres.shop"]


SERVICE = {"image": "web:1"}


def test_an_edge_takes_its_arguments_as_other_languages_spell_them() -> None:
    """Names of upstreams, limits and headers are not keys: they stay as they are."""
    recording = recorded(
        "EdgeProxy",
        {
            "site": PLACE,
            "host": "front",
            "endpoints": {"web-api": {"host": "web", "ports": [8000.0], "ready": "web"}},
            "upstreams": {"webapi": {"endpoint": "web-api", "balance": "least_conn"}},
            "rateLimits": {"slow": {"rate": "10r/s", "burst": 20.0, "zoneSize": "1m"}},
            "routes": [{"path": "/", "upstream": "webapi", "rateLimit": "slow"}],
            "headers": {"X-Own": "1"},
            "tls": {"mode": "self_signed"},
            "serverNames": ["shop.example.com"],
            "published": {"http": 8080.0, "https": 8443.0},
            "logVolume": {"name": "logs", "target": "/var/log/nginx", "size": "100Mi"},
        },
    )
    [front] = [
        item
        for item in recording.of_type("docker:index/container:Container")
        if item.name == "shop-edgeproxy-front"
    ]
    assert front.inputs["ports"] == [
        {"internal": 8080, "external": 8080, "ip": "127.0.0.1"},
        {"internal": 8443, "external": 8443, "ip": "127.0.0.1"},
    ]
    assert recording.outputs["url"] == "https://shop.example.com:8443"
    [files] = [
        item
        for item in recording.of_type("docker:index/container:Container")
        if item.name == "shop-edgeproxy-front-files"
    ]
    texts = "".join(str(entry) for entry in files.inputs["envs"])
    assert "webapi web 8000" in texts
    assert "rate=10r/s" in texts
    assert "X-Own" in texts


def test_services_with_models_are_a_tier_of_their_own() -> None:
    services = {"worker": {**SERVICE, "concurrency": 2.0, "command": ["${concurrency}"]}}
    recording = recorded("MLTier", {"site": PLACE, "services": services})
    [worker] = recording.of_type("docker:index/container:Container")
    assert (worker.name, worker.inputs["command"]) == ("shop-mltier-worker", ["2"])


def test_endpoints_leave_with_what_to_depend_on() -> None:
    def program() -> None:
        services = {"web": {**SERVICE, "ports": [{"target": 8000.0}]}}
        made = construct("AppTier", {"site": PLACE, "services": services})["endpoints"]
        assert isinstance(made, pulumi.Output)
        known: pulumi.Output[Any] = made
        pulumi.export("endpoints", known)

    recording = record(program, project="shop", stack="dev", config={})
    assert recording.outputs["endpoints"] == {
        "web": {"host": "web", "ports": [8000], "ready": "web"}
    }


def test_a_site_has_the_networks_that_it_was_given() -> None:
    networks: dict[str, dict[str, object]] = {
        "data": {"internal": True, "subnet": "172.28.0.0/24"},
        "front": {},
    }
    recording = recorded("Site", {"networks": networks})
    assert recording.outputs["networks"] == {
        "data": {"name": "dev-shop-site-data", "internal": True, "subnet": "172.28.0.0/24"},
        "front": {"name": "dev-shop-site-front", "internal": False},
    }
    place = {"target": "docker", "name": "dev-shop", "networks": recording.outputs["networks"]}
    services = {"web": {**SERVICE, "networks": ["data"], "addresses": "172.28.0.10"}}
    [web] = recorded("AppTier", {"site": place, "services": services}).of_type(
        "docker:index/container:Container"
    )
    assert web.inputs["networksAdvanced"] == [
        {"name": "dev-shop-site-data", "aliases": ["web"], "ipv4Address": "172.28.0.10"}
    ]


@pytest.mark.parametrize(
    ("kind", "args", "told"),
    [
        ("Site", {"sytem": "shop"}, ["Site shop-site: sytem: there is no key", "'system'?"]),
        ("AppTier", {"site": PLACE}, ["AppTier shop-apptier: services: is missing"]),
        (
            "AppTier",
            {"site": PLACE, "services": {"web": {**SERVICE, "dependson": {}}}},
            ["services.web.dependson: there is no key", "did you mean 'dependsOn'?"],
        ),
        (
            "AppTier",
            {"site": PLACE, "services": {"web": {**SERVICE, "ports": [{"target": 0.0}]}}},
            ["services.web.ports[0].target: 0 is not a port"],
        ),
        (
            "AppTier",
            {
                "site": PLACE,
                "services": {
                    "a": {**SERVICE, "ports": [{"target": 80.0, "published": 8080.0}]},
                    "b": {**SERVICE, "ports": [{"target": 80.0, "published": 8080.0}]},
                },
            },
            ["services.b.ports[0]: host port 8080 is already published by a"],
        ),
        (
            "AppTier",
            {"site": {**PLACE, "target": "dockr"}, "services": {}},
            ["site.target: this is not one of the valid words", "did you mean 'docker'?"],
        ),
        (
            "AppTier",
            {"site": PLACE, "services": {}, "connections": {"db": {"host": "db"}}},
            ["connections.db.password: is missing"],
        ),
        (
            "EdgeProxy",
            {
                "site": PLACE,
                "endpoints": {"web": {"host": "web", "ports": [80.0]}},
                "upstreams": {"web": {"endpoint": "wbe", "keepAlive": 1.0}},
                "routes": [{"path": "/", "upstream": "web"}],
            },
            ["upstreams.web.keepAlive: there is no key", "did you mean 'keepalive'?"],
        ),
        (
            "EdgeProxy",
            {
                "site": PLACE,
                "endpoints": {"web": {"host": "web", "ports": [80.0]}},
                "upstreams": {"web": {"endpoint": "wbe"}},
                "routes": [{"path": "/", "upstream": "web"}],
            },
            ["upstreams.web.endpoint: there is no service", "did you mean 'web'?"],
        ),
        ("DataTier", {"site": {}, "stores": []}, ["site.name: is missing"]),
        ("DataTier", {"site": PLACE, "stores": []}, ["stores: input should be a map"]),
    ],
)
def test_mistakes_are_told_in_the_words_of_this_library(
    kind: str, args: dict[str, Any], told: list[str]
) -> None:
    message = mistakes(kind, args)
    for text in told:
        assert text in message, message


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("AppTier", "site", PLACE),
        ("AppTier", "connections", {"db": CONNECTION}),
        ("AppTier", "services", {"web": SERVICE}),
        ("AppTier", "endpoints", {"web": {"host": "web", "ports": [80.0]}}),
        ("MLTier", "services", {"web": SERVICE}),
        ("EdgeProxy", "endpoints", {"web": {"host": "web", "ports": [80.0]}}),
        ("EdgeProxy", "routes", []),
        ("Observability", "targets", {}),
        ("Observability", "thresholds", {"cpuPercent": 50.0}),
        ("Site", "networks", {"data": {}}),
        ("DataTier", "stores", {}),
        ("Cluster", "nodes", 3.0),
        ("Site", "target", "docker"),
        ("Site", "protect", True),
    ],
)
def test_an_output_that_would_be_lost_is_refused(kind: str, key: str, value: Any) -> None:
    rest: dict[str, dict[str, Any]] = {
        "AppTier": {"site": PLACE, "services": {}},
        "MLTier": {"site": PLACE},
        "EdgeProxy": {"site": PLACE},
        "Observability": {"site": PLACE},
        "DataTier": {"site": PLACE},
    }
    message = mistakes(kind, rest.get(kind, {}), **{key: value})
    assert f"{key}: is an output as a whole" in message


# --- what is shown --------------------------------------------------------------------------------

PAGE = (ROOT / "docs" / "other-languages.md").read_text(encoding="utf-8")


def shown(page: str, language: str) -> list[str]:
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [str(block) for block in blocks]


def evaluated(value: Any) -> Any:
    """What Pulumi makes of a YAML program's values, roughly."""
    match value:
        case dict():
            return {key: evaluated(item) for key, item in value.items()}
        case list():
            return [evaluated(item) for item in value]
        case "${port}":
            return 8080.0
        case str() if "connections[" in value:
            return CONNECTION
        case str() if not value.startswith("$$"):
            return re.sub(r"\$\{[^}]*\}", "dev", value)
        case str():
            return value.removeprefix("$")
        case _:
            return value


@pytest.mark.parametrize(
    "program",
    [
        *shown(PAGE, "yaml"),
        (ROOT / "examples" / "yaml" / "Pulumi.yaml").read_text(encoding="utf-8"),
    ],
    ids=["system", "pipeline", "example"],
)
def test_yaml_programs_are_right(program: str) -> None:
    # As Pulumi reads it: `on` is a word.
    resources: dict[str, Any] = YAML(typ="safe", pure=True).load(program)["resources"]
    for resource in resources.values():
        if resource["type"].startswith("pulumi:providers:"):
            continue
        kind = str(resource["type"]).rpartition(":")[2]
        assert resource["type"] == f"{PACKAGE}:{kind}"
        recorded(kind, evaluated(resource.get("properties", {})))


def test_the_mistake_that_is_shown_is_what_is_told() -> None:
    told = mistakes("AppTier", {"site": PLACE, "services": {}}, connections={"db": CONNECTION})
    [expected] = shown(PAGE, "text")
    expected = expected.replace("shop-app:", "shop-apptier:")
    assert textwrap.dedent(told.partition("\n")[2]) == textwrap.dedent(expected).rstrip()


def test_a_pipeline_takes_its_deployments_under_another_name() -> None:
    """The engine keeps the name `pulumi` for itself."""
    deploy = {"pulumiUp": {"stack": "prod"}, "images": {"shop/web": "me/web"}}
    jobs = {
        "build": {"images": [{"image": "me/web"}]},
        "deploy": {"needs": ["build"], "deploy": deploy},
    }
    workflow = {"name": "Deploy", "on": {"push": {"branches": ["main"]}}, "jobs": jobs}
    recording = recorded("CIPipeline", {"system": "shop", "workflows": {"deploy.yml": workflow}})
    [text] = recording.outputs["files"].values()
    assert "STACK: prod" in text
    deploy["pulumi"] = deploy.pop("pulumiUp")
    told = mistakes("CIPipeline", {"system": "shop", "workflows": {"deploy.yml": workflow}})
    assert "deploy.pulumi: there is no key 'pulumi' here" in told
    assert "did you mean 'pulumiUp'" in told
