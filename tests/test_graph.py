"""The graph: every recorded resource as plain JSON, without secrets, always in the same order."""

import json
import os
import subprocess
import sys
from functools import cache

import pytest
from pulumi_tiers.program import main
from pulumi_tiers.render.graph import GraphResource, graph
from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Resource,
    Secret,
    later_placeholder,
    record,
    secret_placeholder,
)

DOCKER, KUBERNETES = "docker", "kubernetes"
DEVELOPMENT, PRODUCTION = "development", "production"
PASSWORD = "correct-horse-battery-staple-42"
SECRETS = {"encontros-tech/postgres/doadmin": Secret(PASSWORD)}
TARGETS = pytest.mark.parametrize("target", [DOCKER, KUBERNETES], ids="on-{}".format)


def encontros_tech(environment: str, target: str, secrets: dict[str, Json] | None = None) -> str:
    """The graph as text."""
    config = {
        "tiers:environment": environment,
        "tiers:target": target,
        "tiers:secrets": secrets or {},
    }
    return json.dumps(graph(record(main, project="tiers", stack="dev", config=config)))


@cache
def resources(environment: str, target: str = DOCKER) -> dict[str, GraphResource]:
    rows: list[GraphResource] = json.loads(encontros_tech(environment, target))["resources"]
    return {
        row["urn"].removeprefix("urn:pulumi:dev::tiers::tiers-components:index:"): row
        for row in rows
    }


def made_of(inputs: Json) -> Recording:
    return Recording([Resource("urn", "a:b:C", "c", "parent", inputs, ())])


# --- Encontros Tech -------------------------------------------------------------------------------

NETWORK = "Site$docker:index/network:Network::encontros-tech-network"
APP_IMAGE = "AppTier$docker:index/remoteImage:RemoteImage::encontros-tech-app-encontros-tech-image"
APP = "AppTier$docker:index/container:Container::encontros-tech-app-encontros-tech"
STORE_IMAGE = "DataTier$docker:index/remoteImage:RemoteImage::encontros-tech-data-postgres-image"
STORE = "DataTier$docker:index/container:Container::encontros-tech-data-postgres"
VOLUME = "DataTier$docker:index/volume:Volume::encontros-tech-data-postgres-data"
PASSWORD_URN = (
    "DataTier$random:index/randomPassword:RandomPassword"
    "::encontros-tech-data-postgres-doadmin-password"
)
DEVELOPMENT_URNS = [
    APP,
    APP_IMAGE,
    "AppTier::encontros-tech-app",
    STORE,
    STORE_IMAGE,
    VOLUME,
    PASSWORD_URN,
    "DataTier::encontros-tech-data",
    NETWORK,
    "Site::encontros-tech",
]


def test_every_resource_is_there_once_sorted_by_urn() -> None:
    assert list(resources(DEVELOPMENT)) == DEVELOPMENT_URNS
    assert list(resources(PRODUCTION)) == sorted([*DEVELOPMENT_URNS, f"{APP}-2"])


def test_a_resource_is_told_with_its_place_its_inputs_and_what_it_needs() -> None:
    prefix = "urn:pulumi:dev::tiers::tiers-components:index:"
    assert resources(DEVELOPMENT)[NETWORK] == {
        "urn": prefix + NETWORK,
        "type": "docker:index/network:Network",
        "name": "encontros-tech-network",
        "parent": prefix + "Site::encontros-tech",
        "inputs": {
            "name": "dev-encontros-tech",
            "labels": [
                {"label": "tiers.stack", "value": "dev"},
                {"label": "tiers.system", "value": "encontros-tech"},
            ],
        },
        "depends_on": [],
    }
    app = resources(DEVELOPMENT)[APP]
    assert app["depends_on"] == [
        prefix + urn for urn in sorted([APP_IMAGE, STORE, PASSWORD_URN, NETWORK])
    ]
    assert app["inputs"]["image"] == "marcospaulo1991/encontros-tech:develop"
    assert app["inputs"]["ports"] == [{"internal": 8000, "external": 8000, "ip": "127.0.0.1"}]


def test_lists_keep_their_order_and_secrets_in_them_their_place() -> None:
    assert resources(PRODUCTION)[f"{APP}-2"]["inputs"]["envs"] == [
        "APP_TITLE=Encontros Tech",
        "[secret]",
        "DEBUG=false",
        "HOST=0.0.0.0",
        "LOG_FORMAT=simple",
        "LOG_LEVEL=INFO",
        "PORT=8000",
        "PROMETHEUS_MULTIPROC_DIR=/tmp/prometheus_multiproc",
        "SERVICE_NAME=encontros-tech",
        "SERVICE_VERSION=1.0.0",
    ]
    tests = resources(PRODUCTION)[STORE]["inputs"]["healthcheck"]["tests"]
    assert tests == ["CMD", "pg_isready", "-h", "127.0.0.1", "-U", "doadmin"]


def test_a_kubernetes_secret_shows_its_name_only() -> None:
    [secret] = [
        row
        for row in resources(PRODUCTION, KUBERNETES).values()
        if row["name"] == "encontros-tech-app-encontros-tech"
        and row["type"] == "kubernetes:core/v1:Secret"
    ]
    assert secret["inputs"]["metadata"]["name"] == "db-credentials"
    assert secret["inputs"]["stringData"] == "[secret]"


# --- secrets and placeholders ---------------------------------------------------------------------


@TARGETS
@pytest.mark.parametrize("environment", [DEVELOPMENT, PRODUCTION])
def test_no_secret_is_in_it(environment: str, target: str) -> None:
    for text in (
        encontros_tech(environment, target),
        encontros_tech(environment, target, SECRETS),
    ):
        assert "[secret]" in text
        assert PASSWORD not in text
        assert "__secret." not in text
        assert "ENCONTROS_TECH_DATA_POSTGRES_DOADMIN_PASSWORD" not in text


def test_every_kind_of_secret_is_hidden_wherever_it_stands() -> None:
    inputs = {
        "whole": Secret("x"),
        "map": Secret({"a": 1}),
        "deep": [{"b": [Secret(2)]}],
        "unmarked": f"redis://:{secret_placeholder('redis-password')}@redis:6379",
    }
    assert graph(made_of(inputs))["resources"][0]["inputs"] == {
        "whole": "[secret]",
        "map": "[secret]",
        "deep": [{"b": ["[secret]"]}],
        "unmarked": "[secret]",
    }


def test_what_only_a_cloud_knows_is_named() -> None:
    host, port = (later_placeholder(f"digitalocean.postgres.{key}") for key in ("host", "port"))
    shown = graph(made_of({"host": host, "addresses": [f"{host}:{port}"]}))["resources"][0][
        "inputs"
    ]
    assert shown == {
        "host": "${digitalocean.postgres.host}",
        "addresses": ["${digitalocean.postgres.host}:${digitalocean.postgres.port}"],
    }


# --- the same text every time ---------------------------------------------------------------------


@TARGETS
def test_the_same_program_gives_the_same_bytes(target: str) -> None:
    assert len({encontros_tech(PRODUCTION, target) for _ in range(3)}) == 1


def test_so_it_does_in_another_process() -> None:
    """The order of sets, and so of protobuf's maps, differs from process to process."""
    program = (
        "import json\n"
        "from pulumi_tiers.program import main\n"
        "from pulumi_tiers.render.graph import graph\n"
        "from pulumi_tiers.render.recorder import record\n"
        "config = {'tiers:environment': 'production'}\n"
        "print(json.dumps(graph(record(main, project='tiers', stack='dev', config=config))))\n"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert texts == {encontros_tech(PRODUCTION, DOCKER) + "\n"}


def test_neither_order_of_registration_nor_of_keys_matters() -> None:
    def resource(name: str, inputs: Json, *needs: str) -> Resource:
        return Resource(f"urn:{name}", "a:b:C", name, "parent", inputs, needs)

    first = Recording([resource("a", {"x": 1, "y": {"p": 1, "q": 2}}, "1", "2"), resource("b", {})])
    other = Recording([resource("b", {}), resource("a", {"y": {"q": 2, "p": 1}, "x": 1}, "2", "1")])
    assert json.dumps(graph(first)) == json.dumps(graph(other))


@TARGETS
def test_it_is_plain_json(target: str) -> None:
    config = {"tiers:environment": PRODUCTION, "tiers:target": target}
    made = graph(record(main, project="tiers", stack="dev", config=config))
    assert json.loads(json.dumps(made)) == made
