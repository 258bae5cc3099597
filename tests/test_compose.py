"""The Compose file: what it says, and what real tools think of it."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pulumi
import pytest
import yaml
from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.cli.compose import Compose, read_secrets, write, write_secrets
from pulumi_tiers.cli.console import Stop
from pulumi_tiers.cli.images import wanted
from pulumi_tiers.data_tier import DataTier
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.ml import Sharing
from pulumi_tiers.model.workload import Condition
from pulumi_tiers.program import main
from pulumi_tiers.render.compose import compose, compose_yaml, on_demand
from pulumi_tiers.render.recorder import Recording, Secret, record
from pulumi_tiers.site import Site

SCHEMA = json.loads((Path(__file__).parent / "data" / "compose-spec.json").read_text())
PASSWORD = "ENCONTROS_TECH_DATA_POSTGRES_DOADMIN_PASSWORD"
#: Several lines, as keys and certificates have.
PEM = "-----BEGIN PRIVATE KEY-----\nMIIEvQ+/ab==\n\n# it's $x\n-----END PRIVATE KEY-----\n"


def encontros_tech(environment: str) -> Recording:
    config = {"tiers:environment": environment}
    return record(main, project="tiers", stack="dev", config=config)


def services(recording: Recording) -> dict[str, Any]:
    found: dict[str, Any] = compose(recording, "dev")["services"]
    return found


def one(service: WorkloadArgs, **others: WorkloadArgs) -> Recording:
    """A program of one site with these services and a Postgres."""

    def program() -> None:
        site = Site("shop", {})
        data = DataTier(
            "shop-data", {"site": site.ref, "stores": {"postgres": {"engine": "postgres"}}}
        )
        AppTier(
            "shop-app",
            {
                "site": site.ref,
                "services": {"api": service, **others},
                "connections": data.connections,
            },
        )

    return record(program, project="shop", stack="dev", config={})


def test_the_documented_application() -> None:
    app = services(encontros_tech("development"))["encontros-tech-encontros-tech"]
    assert app["image"] == "marcospaulo1991/encontros-tech:develop"
    assert app["ports"] == ["127.0.0.1:8000:8000"]
    assert app["environment"] == {
        "APP_TITLE": "Encontros Tech - HOMOLOGAÇÃO",
        "DATABASE_URL": f"postgresql://doadmin:${{{PASSWORD}}}@postgres:5432/defaultdb?sslmode=prefer",
        "DEBUG": "true",
        "HOST": "0.0.0.0",
        "LOG_FORMAT": "colored",
        "LOG_LEVEL": "DEBUG",
        "PORT": "8000",
        "PROMETHEUS_MULTIPROC_DIR": "/tmp/prometheus_multiproc",
        "SERVICE_NAME": "encontros-tech",
        "SERVICE_VERSION": "1.0.0",
    }
    assert app["depends_on"] == {"encontros-tech-postgres": {"condition": "service_healthy"}}
    assert app["read_only"] is True
    assert app["cap_drop"] == ["ALL"]
    assert app["security_opt"] == ["no-new-privileges:true"]
    assert app["user"] == "1000:1000"
    assert app["mem_limit"] == app["memswap_limit"] == "256m"
    assert app["cpus"] == 0.5


def test_the_documented_database_is_not_published() -> None:
    database = services(encontros_tech("development"))["encontros-tech-postgres"]
    assert "ports" not in database
    assert database["networks"] == {"dev-encontros-tech": {"aliases": ["postgres"]}}
    assert database["volumes"] == ["dev-encontros-tech-postgres-data:/var/lib/postgresql/data"]
    assert database["environment"]["POSTGRES_PASSWORD"] == f"${{{PASSWORD}}}"


def test_a_volume_that_a_job_prepares_takes_nothing_from_the_image() -> None:
    """Compose makes all containers before any runs: an empty volume would take the image's rights.

    Those of the container that was made last, so that the job could not write.
    """
    found = services(
        one(
            {
                "image": "web:1",
                "volumes": [
                    {"name": "logs", "target": "/var/log/web", "external": True},
                    {"name": "data", "target": "/data"},
                ],
                "configs": {"web.conf": "on"},
                "depends_on": {"logs": Condition.SERVICE_COMPLETED},
            },
            logs={
                "image": "web:1",
                "job": True,
                "volumes": [{"name": "logs", "target": "/tmp"}],
            },
        )
    )
    assert found["shop-logs"]["volumes"] == ["dev-shop-logs:/tmp"]
    assert found["shop-api-files"]["volumes"] == ["dev-shop-api-configs:/tmp"]
    assert found["shop-api"]["volumes"] == [
        "dev-shop-logs:/var/log/web:nocopy",
        "dev-shop-data:/data",
        "dev-shop-api-configs:/run/configs:ro,nocopy",
    ]


def test_production_runs_two_replicas_on_ports_that_follow() -> None:
    found = services(encontros_tech("production"))
    first, second = (found[f"encontros-tech-encontros-tech{n}"] for n in ("", "-2"))
    assert first["image"] == second["image"] == "marcospaulo1991/encontros-tech:latest"
    assert first["ports"] + second["ports"] == ["127.0.0.1:8000:8000", "127.0.0.1:8001:8000"]
    assert {**first, "container_name": "", "ports": [], "labels": {}} == {
        **second,
        "container_name": "",
        "ports": [],
        "labels": {},
    }
    assert first["environment"]["DEBUG"] == "false"


@pytest.mark.parametrize("environment", ["development", "production"])
def test_the_specification_accepts_it(environment: str) -> None:
    rendered = yaml.safe_load(compose_yaml(encontros_tech(environment), "dev"))
    jsonschema.Draft202012Validator(SCHEMA).validate(rendered)


def test_only_keys_that_compose_1_29_knows() -> None:
    refused = {"name", "configs", "gpus", "develop", "annotations", "include", "secrets"}
    rendered = yaml.safe_load(compose_yaml(encontros_tech("production"), "dev"))
    assert set(rendered) == {"services", "networks", "volumes"}
    for service in rendered["services"].values():
        assert not refused & set(service)
        assert "deploy" not in service, "v5 refuses limits that stand in two places"


def test_gpus_runs_on_demand_and_what_comes_before() -> None:
    recording = one(
        {
            "image": "api:1",
            "replicas": 2,
            "rolling": True,
            "healthcheck": {"test": ["CMD", "true"]},
            "gpu": {"count": 2, "devices": [1, 3], "sharing": Sharing.SHARED},
            "volumes": [
                {"name": f"api-{name}", "target": f"/{name}", "size": "1Gi", "read_only": True}
                for name in ("a", "b", "c")
            ],
            "init": {"image": "init:1", "secrets": {"KEY": "${postgres.password}"}},
        },
        train={"image": "train:1", "on_demand": True},
        node={"image": "node:1", "per_node": True, "binds": {"/host": "/"}},
    )
    rendered = yaml.safe_load(compose_yaml(recording, "dev"))
    jsonschema.Draft202012Validator(SCHEMA).validate(rendered)
    found = rendered["services"]
    devices = [{"driver": "nvidia", "device_ids": ["1", "3"], "capabilities": ["gpu"]}]
    assert found["shop-api"]["deploy"] == {"resources": {"reservations": {"devices": devices}}}
    # The first is healthy again before the second is replaced.
    assert found["shop-api-2"]["depends_on"]["shop-api"] == {"condition": "service_healthy"}
    completed = {"condition": "service_completed_successfully"}
    assert found["shop-api"]["depends_on"] == {"shop-api-init": completed}
    assert found["shop-api-init"]["depends_on"] == {
        "shop-api-volumes": completed,
        "shop-api-volumes-2": completed,
    }
    assert found["shop-api-volumes"]["volumes"] == [
        "dev-shop-api-a:/tmp",
        "dev-shop-api-b:/var/tmp",
    ]
    assert found["shop-api-init"]["image"] == "init:1"
    assert found["shop-api-init"]["volumes"] == [
        f"dev-shop-api-{name}:/{name}:nocopy" for name in ("a", "b", "c")
    ]
    assert found["shop-api-init"]["environment"] != {}
    assert found["shop-train"]["profiles"] == ["on-demand"]
    assert found["shop-train"]["restart"] == "no"
    assert "profiles" not in found["shop-api"]
    assert found["shop-node"]["volumes"] == ["/:/host:ro"]
    assert on_demand(recording, "dev") == ["shop-train"]
    images = wanted(recording)
    assert images["shop/api"].reference == "api:1"
    assert images["shop/api-init"].reference == "init:1"


def test_dollars_and_secrets_of_a_program_survive() -> None:
    recording = one(
        {
            "image": "api:1",
            "command": ["sh", "-c", "echo $HOME ${SHELL}"],
            "environment": {"PRICE": "5$$", "WHERE": "${postgres.host}:${postgres.port}"},
            "secrets": {"KEY": "it's $ecret", "URL": "${postgres.url}"},
        }
    )
    api = services(recording)["shop-api"]
    assert api["command"] == ["sh", "-c", "echo $$HOME $${SHELL}"]
    assert api["environment"]["PRICE"] == "5$$"
    assert api["environment"]["WHERE"] == "postgres:5432"
    assert api["environment"]["KEY"] == "${SHOP_APP_API_KEY}"
    assert "SHOP_DATA_POSTGRES_POSTGRES_PASSWORD" in api["environment"]["URL"]
    assert "$ecret" not in compose_yaml(recording, "dev")


def test_conditions_are_those_of_the_description() -> None:
    found = services(
        one(
            {
                "image": "api:1",
                "depends_on": {
                    "postgres": Condition.SERVICE_STARTED,
                    "migrate": Condition.SERVICE_COMPLETED,
                    "cache": Condition.SERVICE_HEALTHY,
                },
            },
            migrate={
                "image": "api:1",
                "job": True,
                "depends_on": {"postgres": Condition.SERVICE_HEALTHY},
            },
            cache={"image": "cache:1", "healthcheck": {"test": ["CMD", "true"]}},
        )
    )
    assert found["shop-api"]["depends_on"] == {
        "shop-cache": {"condition": "service_healthy"},
        "shop-migrate": {"condition": "service_completed_successfully"},
        "shop-postgres": {"condition": "service_started"},
    }
    assert found["shop-migrate"]["restart"] == "no"


def test_a_store_with_several_databases_holds_its_users_up_until_they_exist() -> None:
    def program() -> None:
        site = Site("shop", {})
        databases: list[Any] = [
            {"name": "one", "owner": "first"},
            {"name": "two", "owner": "second"},
        ]
        stores: dict[str, Any] = {"postgres": {"engine": "postgres", "databases": databases}}
        data = DataTier("shop-data", {"site": site.ref, "stores": stores})
        AppTier(
            "shop-app",
            {
                "site": site.ref,
                "services": {
                    "api": {
                        "image": "api:1",
                        "secrets": {"URL": "${postgres.two.url}"},
                        "depends_on": {"postgres": Condition.SERVICE_HEALTHY},
                    }
                },
                "connections": data.connections,
            },
        )

    found = services(record(program, project="shop", stack="dev", config={}))
    assert found["shop-api"]["depends_on"]["shop-postgres-setup"] == {
        "condition": "service_completed_successfully"
    }
    assert found["shop-api"]["environment"]["URL"] == (
        "postgresql://second:${SHOP_DATA_POSTGRES_SECOND_PASSWORD}@postgres:5432/two?sslmode=prefer"
    )
    setup = found["shop-postgres-setup"]
    assert setup["depends_on"] == {"shop-postgres": {"condition": "service_healthy"}}
    assert set(re.findall(r"\$\{(\w+)\}", str(setup["environment"]))) == {
        "SHOP_DATA_POSTGRES_POSTGRES_PASSWORD",
        "SHOP_DATA_POSTGRES_FIRST_PASSWORD",
        "SHOP_DATA_POSTGRES_SECOND_PASSWORD",
    }


def test_two_instances_of_every_component_live_in_one_stack() -> None:
    def program() -> None:
        for name in ("east", "west"):
            site = Site(name, {})
            data = DataTier(
                f"{name}-data", {"site": site.ref, "stores": {"postgres": {"engine": "postgres"}}}
            )
            AppTier(
                f"{name}-app",
                {
                    "site": site.ref,
                    "services": {"api": {"image": "api:1", "secrets": {"URL": "${postgres.url}"}}},
                    "connections": data.connections,
                },
            )

    found = compose(record(program, project="two", stack="dev", config={}), "dev")
    assert set(found["services"]) == {"east-api", "east-postgres", "west-api", "west-postgres"}
    assert set(found["networks"]) == {"dev-east", "dev-west"}
    assert len(found["volumes"]) == 2


def test_resource_options_are_the_escape_hatch() -> None:
    def small(
        args: pulumi.ResourceTransformationArgs,
    ) -> pulumi.ResourceTransformationResult | None:
        if args.type_ != "docker:index/container:Container":
            return None
        return pulumi.ResourceTransformationResult({**args.props, "shm_size": 64}, args.opts)

    def program() -> None:
        site = Site("shop", {})
        AppTier(
            "shop-app",
            {"site": site.ref, "services": {"api": {"image": "api:1"}}},
            pulumi.ResourceOptions(transformations=[small]),
        )

    recording = record(program, project="shop", stack="dev", config={})
    [container] = recording.of_type("docker:index/container:Container")
    assert container.inputs["shmSize"] == 64


def test_secrets_stand_in_one_file_and_keep_their_values(tmp_path: Path) -> None:
    recording = one({"image": "api:1", "secrets": {"KEY": "it's $ecret", "PEM": PEM}})
    _, secrets = write(recording, "dev", tmp_path)
    assert secrets.stat().st_mode & 0o777 == 0o600
    first = read_secrets(tmp_path)
    assert first["SHOP_APP_API_KEY"] == "it's $ecret"
    assert first["SHOP_APP_API_PEM"] == PEM
    assert re.fullmatch(r"[A-Za-z0-9]{42}", first["SHOP_DATA_POSTGRES_POSTGRES_PASSWORD"])
    write(recording, "dev", tmp_path)
    assert read_secrets(tmp_path) == first


def test_a_line_that_cannot_be_read_is_named_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# mine\n\nA=b\nKEY=-----BEGIN KEY-----\nMIIEvQ\n")
    with pytest.raises(Stop, match=r"\.env:4: this value can't be used") as told:
        read_secrets(tmp_path)
    assert "BEGIN" not in str(told.value)
    (tmp_path / ".env").write_text("A='it\\'s\ntwo lines'\n\n  # more\nB=c")
    assert read_secrets(tmp_path) == {"A": "it's\ntwo lines", "B": "c"}
    for value in ("a\\b", "a\r\nb"):
        with pytest.raises(Stop, match="can't go through Docker Compose"):
            write_secrets(tmp_path, set(), {"A": value})


@pytest.mark.skipif(Compose.find() is None, reason="no Docker Compose on PATH")
def test_a_real_docker_compose_reads_what_we_meant(tmp_path: Path) -> None:
    tool = Compose.find()
    assert tool is not None
    recording = one(
        {
            "image": "api:1",
            "command": ["echo", "$HOME"],
            "secrets": {"KEY": 'it\'s $ecret "quoted"', "PEM": PEM},
        }
    )
    write(recording, "dev", tmp_path)
    done = subprocess.run(
        [*tool.command, "-f", "compose.yaml", "config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    api = yaml.safe_load(done.stdout)["services"]["shop-api"]
    # `config` writes a dollar as it would have to be written in a file.
    assert api["environment"]["KEY"].replace("$$", "$") == 'it\'s $ecret "quoted"'
    assert api["environment"]["PEM"].replace("$$", "$") == PEM
    assert [part.replace("$$", "$") for part in api["command"]] == ["echo", "$HOME"]


@pytest.mark.parametrize(
    ("service", "place"),
    [
        ({"image": "api:1", "replicas": 2, "stateful": True}, "services.api.stateful"),
        ({"image": "api:1", "replicas": 2, "job": True}, "services.api.job"),
        ({"image": "api:1", "image_owner": "others"}, "services.api.image_owner"),
        (
            {"image": "api:1", "ports": [{"target": n, "published": 80} for n in (1, 2)]},
            "services.api.ports[1]",
        ),
    ],
)
def test_what_docker_cannot_do_is_said_by_a_lone_tier_too(service: Any, place: str) -> None:
    with pytest.raises(DescriptionError) as raised:
        one(service)
    assert [mistake.place for mistake in raised.value.mistakes] == [f"AppTier shop-app: {place}"]


def test_a_tier_without_its_arguments_says_which() -> None:
    def program() -> None:
        DataTier("data", {})  # type: ignore[typeddict-item]

    with pytest.raises(DescriptionError, match="DataTier data: site: is missing"):
        record(program, project="shop", stack="dev", config={})


def test_a_password_of_the_stack_wins_in_any_program() -> None:
    def program() -> None:
        site = Site("shop", {})
        stores: dict[str, Any] = {"postgres": {"engine": "postgres"}}
        DataTier("shop-data", {"site": site.ref, "stores": stores})

    chosen = {"tiers:secrets": {"shop/postgres/postgres": "chosen by the stack"}}
    recording = record(program, project="shop", stack="dev", config=chosen)
    assert recording.of_type("random:index/randomPassword:RandomPassword") == []
    [container] = recording.of_type("docker:index/container:Container")
    assert Secret("POSTGRES_PASSWORD=chosen by the stack") in container.inputs["envs"]
