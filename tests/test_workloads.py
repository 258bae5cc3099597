"""What files, networks, numbers and secrets of a workload become, on Docker and on Kubernetes."""

import os
import re
import stat
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pulumi
import pytest
import yaml
from pulumi_tiers import AppTier, Cluster, DataTier, EdgeProxy, MLTier, Site, Target, TlsMode
from pulumi_tiers.app_tier import WorkloadArgs
from pulumi_tiers.cli.compose import Compose, write
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.workload import Condition
from pulumi_tiers.program import main
from pulumi_tiers.render.compose import compose, compose_yaml
from pulumi_tiers.render.details import labels_of
from pulumi_tiers.render.graph import graph
from pulumi_tiers.render.kubernetes import to_files, to_yaml
from pulumi_tiers.render.recorder import Json, Recording, Resource, Secret, bare, record
from pulumi_tiers.site import SiteArgs
from test_compose import SCHEMA
from test_kubernetes import PODS, Network, Objects, violations

CONTAINER = "docker:index/container:Container"
TARGETS = pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES], ids="on-{}".format)
HEALTHY = {"test": ["CMD", "true"]}
PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg==\nkqhkiG9w0BAQEFAAS=\n-----END PRIVATE KEY-----\n"
)


def shop(
    target: Target,
    services: dict[str, WorkloadArgs],
    place: SiteArgs | None = None,
    config: dict[str, Json] | None = None,
) -> Recording:
    """A site with a Postgres and these services."""

    def program() -> None:
        site = Site("shop", {**(place or {}), "target": target})
        data = DataTier("shop-data", {"site": site.ref, "stores": {"db": {"engine": "postgres"}}})
        AppTier(
            "shop-app",
            {"site": site.ref, "services": services, "connections": data.connections},
        )

    return record(program, project="shop", stack="dev", config=config or {})


def named(recording: Recording, name: str, kind: str = CONTAINER) -> Resource:
    [found] = [item for item in recording.of_type(kind) if item.name == name]
    return found


def inputs(recording: Recording, name: str, kind: str = CONTAINER) -> dict[str, Any]:
    return dict(bare(named(recording, name, kind).inputs))


def needs(resource: Resource) -> set[str]:
    """The names of what it waits for."""
    return {urn.rpartition("::")[2] for urn in resource.depends_on}


# --- files on Docker ------------------------------------------------------------------------------

WITH_FILES: WorkloadArgs = {
    "image": "api:1",
    "user": "1234:2345",
    "configs": {"b.conf": "two $HOME `x`\n", "a.conf": "one"},
    "secret_files": {"url": "${db.url}", "key": PEM},
}


def test_a_job_writes_the_files_before_the_service_starts() -> None:
    recording = shop(Target.DOCKER, {"api": WITH_FILES})
    writer, api = named(recording, "shop-app-api-files"), named(recording, "shop-app-api")
    assert "shop-app-api-files" in needs(api)
    made = bare(writer.inputs)
    # The same image and user, so that nothing else has to be there and the files are its own.
    assert (made["image"], made["user"]) == (bare(api.inputs)["image"], "1234:2345")
    assert made["entrypoints"] == ["sh", "-c"]
    assert (made["mustRun"], made["attach"], made["restart"]) == (False, True, "no")
    # It talks to nobody.
    assert made["networkMode"] == "none"
    assert not made.get("networksAdvanced")
    labels = labels_of(writer)
    assert (labels["tiers.part_of"], labels["tiers.service"]) == ("api", "api-files")
    assert labels["tiers.job"] == "true"


def test_files_are_in_volumes_that_the_service_cannot_change() -> None:
    recording = shop(Target.DOCKER, {"api": WITH_FILES})
    assert inputs(recording, "shop-app-api")["mounts"] == [
        {"type": "volume", "source": source, "target": target, "readOnly": True}
        for source, target in (
            ("dev-shop-api-configs", "/run/configs"),
            ("dev-shop-api-secrets", "/run/secrets"),
        )
    ]
    assert {
        item["source"]: item["target"] for item in inputs(recording, "shop-app-api-files")["mounts"]
    } == {
        "dev-shop-api-configs": "/tmp",
        "dev-shop-api-secrets": "/var/tmp",
    }


def test_only_what_is_needed_is_written() -> None:
    recording = shop(Target.DOCKER, {"api": {"image": "api:1", "configs": {"a": "x"}}})
    [mount] = inputs(recording, "shop-app-api")["mounts"]
    assert mount["target"] == "/run/configs"
    volumes = [
        bare(item.inputs)["name"] for item in recording.of_type("docker:index/volume:Volume")
    ]
    assert volumes == ["dev-shop-db-data", "dev-shop-api-configs"]
    without = shop(Target.DOCKER, {"api": {"image": "api:1"}})
    assert not any(item.name.endswith("-files") for item in without.resources)


def test_the_script_writes_what_was_given_and_nobody_else_can_read_secrets(tmp_path: Path) -> None:
    """Run by a real shell, in folders of this test."""
    recording = shop(Target.DOCKER, {"api": {**WITH_FILES, "secret_files": {"key": PEM}}})
    made = inputs(recording, "shop-app-api-files")
    configs, secrets = tmp_path / "configs", tmp_path / "secrets"
    [script] = made["command"]
    folders = {"/tmp": configs, "/var/tmp": secrets}
    script = re.sub(r" (/tmp|/var/tmp)\b", lambda match: f" {folders[match[1]]}", script)
    # It removes files: nowhere but in the folders of this test.
    paths = re.findall(r"(?<![\w$}\"*])/(?:tmp|var)\S*", script)
    assert paths
    assert all(path.startswith(str(tmp_path)) for path in paths), paths
    environment = dict(entry.split("=", 1) for entry in made["envs"])
    for _ in range(2):
        for folder in (configs, secrets):
            folder.mkdir(exist_ok=True)
            (folder / "removed-from-the-description").write_text("old")
        subprocess.run(
            ["sh", "-c", script], env={"PATH": "/usr/bin:/bin", **environment}, check=True
        )
    assert (configs / "a.conf").read_text() == "one"
    assert (configs / "b.conf").read_text() == "two $HOME `x`\n"
    assert (secrets / "key").read_text() == PEM
    assert stat.S_IMODE((configs / "a.conf").stat().st_mode) == 0o444
    assert stat.S_IMODE((secrets / "key").stat().st_mode) == 0o400
    # Nothing half-written stays.
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "a.conf",
        "b.conf",
        "key",
    }
    # A service that was another user's before.
    theirs = secrets / "theirs"
    if os.geteuid() == 0:
        theirs.touch()
        os.chown(theirs, 12345, 12345)
    else:
        theirs.symlink_to("/etc/passwd")
    told = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert "docker volume rm dev-shop-api-secrets" in told.stderr


def test_a_changed_file_starts_the_service_again_unless_it_reloads() -> None:
    def label(text: str, **more: Any) -> str | None:
        service: Any = {"image": "api:1", "configs": {"a": text}, **more}
        recording = shop(Target.DOCKER, {"api": service})
        return labels_of(named(recording, "shop-app-api")).get("tiers.files")

    assert label("one") == label("one")
    assert label("one") != label("two")
    assert label("one", secret_files={"b": "x"}) != label("one", secret_files={"b": "y"})
    assert label("one", reloads=True) is label("two", reloads=True) is None


def test_replicas_share_their_files() -> None:
    recording = shop(Target.DOCKER, {"api": {**WITH_FILES, "replicas": 3}})
    writers = [item for item in recording.of_type(CONTAINER) if item.name.endswith("-files")]
    assert len(writers) == 1
    for number in ("", "-2", "-3"):
        assert "shop-app-api-files" in needs(named(recording, f"shop-app-api{number}"))


def test_secrets_in_files_stay_secret() -> None:
    recording = shop(Target.DOCKER, {"api": WITH_FILES})
    entries: dict[str, Json] = {
        str(bare(entry)).partition("=")[0]: entry
        for entry in named(recording, "shop-app-api-files").inputs["envs"]
    }
    assert isinstance(entries["SECRETS_0"], Secret)
    assert isinstance(entries["SECRETS_1"], Secret)
    assert isinstance(entries["CONFIGS_0"], str)
    for text in (str(graph(recording)), compose_yaml(recording, "dev")):
        assert "BEGIN PRIVATE KEY" not in text
        assert "__secret" not in text
    [label] = [
        item["value"]
        for item in named(recording, "shop-app-api").inputs["labels"]
        if item["label"] == "tiers.files"
    ]
    assert re.fullmatch(r"[0-9a-f]{10}", label)


def test_compose_has_the_job_too() -> None:
    found: Any = compose(shop(Target.DOCKER, {"api": WITH_FILES}), "dev")["services"]
    assert found["shop-api"]["depends_on"] == {
        "shop-api-files": {"condition": "service_completed_successfully"}
    }
    assert found["shop-api"]["volumes"] == [
        "dev-shop-api-configs:/run/configs:ro,nocopy",
        "dev-shop-api-secrets:/run/secrets:ro,nocopy",
    ]
    writer = found["shop-api-files"]
    assert writer["network_mode"] == "none"
    assert "networks" not in writer
    assert writer["environment"]["CONFIGS_1"] == "two $$HOME `x`\n"
    assert re.fullmatch(r"\$\{\w+\}", writer["environment"]["SECRETS_0"])


# --- files on Kubernetes --------------------------------------------------------------------------


def test_files_are_a_config_map_and_a_secret() -> None:
    recording = shop(Target.KUBERNETES, {"api": WITH_FILES})
    objects = Objects(recording)
    assert objects.get("ConfigMap", "api")["data"] == {
        "a.conf": "one",
        "b.conf": "two $HOME `x`\n",
    }
    assert set(objects.get("Secret", "api-files")["stringData"]) == {"key", "url"}
    pod = objects.get("Deployment", "api")["spec"]["template"]["spec"]
    sources = {item["name"]: item for item in pod["volumes"]}
    [container] = pod["containers"]
    mounts = {item["mountPath"]: item for item in container["volumeMounts"]}
    assert set(mounts) == {"/run/configs", "/run/secrets"}
    assert all(item["readOnly"] for item in mounts.values())
    assert sources[mounts["/run/configs"]["name"]]["configMap"] == {"name": "api"}
    # Nobody but its user's group reads them.
    assert sources[mounts["/run/secrets"]["name"]]["secret"] == {
        "secretName": "api-files",
        "defaultMode": 0o440,
    }
    assert pod["securityContext"]["fsGroup"] == 2345
    # No variable has any of it.
    assert container["env"] == []
    kinds = {
        item.type.rpartition(":")[2]
        for item in recording.resources
        if item.urn in named(recording, "shop-app-api", "kubernetes:apps/v1:Deployment").depends_on
    }
    assert {"ConfigMap", "Secret"} <= kinds


def test_pods_are_rolled_for_a_changed_file_unless_they_reload() -> None:
    def annotation(text: str, **more: Any) -> str | None:
        service: Any = {"image": "api:1", "secret_files": {"a": text}, **more}
        objects = Objects(shop(Target.KUBERNETES, {"api": service}))
        metadata = objects.get("Deployment", "api")["spec"]["template"]["metadata"]
        return metadata.get("annotations", {}).get("tiers.files")

    assert annotation("one") == annotation("one") != annotation("two")
    assert annotation("one", reloads=True) is annotation("two", reloads=True) is None


def test_a_text_of_several_lines_survives_yaml() -> None:
    recording = shop(Target.KUBERNETES, {"api": WITH_FILES})
    clear = list(yaml.safe_load_all(to_yaml(recording, {})))
    [secret] = [
        item
        for item in clear
        if item["kind"] == "Secret" and item["metadata"]["name"] == "api-files"
    ]
    assert secret["stringData"]["key"] == PEM
    hidden = to_yaml(recording)
    assert "BEGIN PRIVATE KEY" not in hidden
    documents = list(yaml.safe_load_all(hidden))
    [secret] = [
        item
        for item in documents
        if item["kind"] == "Secret" and item["metadata"]["name"] == "api-files"
    ]
    assert secret["stringData"]["key"] == "${DEV_SHOP_API_FILES_STRINGDATA_KEY}"
    # The URL of a store is put together of its password alone.
    assert secret["stringData"]["url"].startswith("postgresql://")
    [config] = [item for item in documents if item["kind"] == "ConfigMap"]
    assert config["data"]["b.conf"] == "two $HOME `x`\n"


# --- volumes and folders --------------------------------------------------------------------------


def test_scratch_is_a_volume_on_docker_and_ends_with_its_pod_on_kubernetes() -> None:
    service: WorkloadArgs = {
        "image": "api:1",
        "replicas": 2,
        "volumes": [{"name": "frames", "target": "/frames", "size": "2Gi", "scratch": True}],
    }
    recording = shop(Target.DOCKER, {"api": service})
    volume = named(recording, "shop-app-frames", "docker:index/volume:Volume")
    assert labels_of(volume)["tiers.size"] == "2Gi"
    objects = Objects(shop(Target.KUBERNETES, {"api": service}))
    assert not objects.of("PersistentVolumeClaim")
    spec = objects.get("Deployment", "api")["spec"]
    assert spec["template"]["spec"]["volumes"] == [
        {"name": "frames", "emptyDir": {"sizeLimit": "2Gi"}}
    ]
    # It holds nothing that two pods could fight for.
    assert spec["strategy"]["type"] == "RollingUpdate"
    assert spec["replicas"] == 2


def test_a_volume_of_another_workload_is_not_made_again() -> None:
    services: dict[str, WorkloadArgs] = {
        "api": {"image": "api:1", "volumes": [{"name": "files", "target": "/files"}]},
        "web": {
            "image": "web:1",
            "volumes": [{"name": "files", "target": "/www", "external": True, "read_only": True}],
        },
    }
    recording = shop(Target.DOCKER, services)
    assert [
        bare(item.inputs)["name"] for item in recording.of_type("docker:index/volume:Volume")
    ] == ["dev-shop-db-data", "dev-shop-files"]
    [mount] = inputs(recording, "shop-app-web")["mounts"]
    assert (mount["source"], mount["target"]) == ("dev-shop-files", "/www")
    assert mount["readOnly"] is True
    with pytest.raises(DescriptionError, match="on Kubernetes, two workloads cannot share a volu"):
        shop(Target.KUBERNETES, services)


def test_folders_of_this_machine_are_for_docker(tmp_path: Path) -> None:
    service: WorkloadArgs = {"image": "api:1", "binds": {"/app": str(tmp_path)}}
    recording = shop(Target.DOCKER, {"api": service})
    assert inputs(recording, "shop-app-api")["mounts"] == [
        {"type": "bind", "source": str(tmp_path), "target": "/app"}
    ]
    with pytest.raises(DescriptionError, match="Kubernetes has no folders of this machine"):
        shop(Target.KUBERNETES, {"api": service})


# --- networks -------------------------------------------------------------------------------------

PLACE: SiteArgs = {
    "networks": {
        "front": {"subnet": "172.30.0.0/24"},
        "data": {"subnet": "172.30.1.0/24", "internal": True},
    }
}
IN_NETWORKS: dict[str, WorkloadArgs] = {
    "web": {
        "image": "web:1",
        "networks": ["front"],
        "ports": [{"target": 80}],
        "addresses": "172.30.0.10-172.30.0.19",
        "replicas": 2,
    },
    "api": {"image": "api:1", "ports": [{"target": 8000}], "addresses": "172.30.1.10"},
    "cache": {"image": "cache:1", "networks": ["data"], "ports": [{"target": 6379}]},
}


def test_networks_on_docker() -> None:
    recording = shop(Target.DOCKER, IN_NETWORKS, PLACE)
    networks = {
        item.name: bare(item.inputs) for item in recording.of_type("docker:index/network:Network")
    }
    assert set(networks) == {"shop-network-front", "shop-network-data"}
    assert networks["shop-network-front"]["ipamConfigs"] == [{"subnet": "172.30.0.0/24"}]
    assert networks["shop-network-data"]["internal"] is True
    assert "internal" not in networks["shop-network-front"]

    def joined(name: str) -> list[tuple[str, list[str], str | None]]:
        return [
            (network["name"], network["aliases"], network.get("ipv4Address"))
            for network in inputs(recording, name)["networksAdvanced"]
        ]

    # One address after the other, and one host name for all.
    assert joined("shop-app-web") == [("dev-shop-front", ["web"], "172.30.0.10")]
    assert joined("shop-app-web-2") == [("dev-shop-front", ["web"], "172.30.0.11")]
    # Without any, it is in all of them; the address is in the network that has it.
    assert joined("shop-app-api") == [
        ("dev-shop-front", ["api"], None),
        ("dev-shop-data", ["api"], "172.30.1.10"),
    ]
    assert joined("shop-app-cache") == [("dev-shop-data", ["cache"], None)]
    assert [name for name, _, _ in joined("shop-data-db")] == ["dev-shop-front", "dev-shop-data"]


def test_networks_in_compose() -> None:
    made: Any = compose(shop(Target.DOCKER, IN_NETWORKS, PLACE), "dev")
    assert made["services"]["shop-api"]["networks"] == {
        "dev-shop-front": {"aliases": ["api"]},
        "dev-shop-data": {"aliases": ["api"], "ipv4_address": "172.30.1.10"},
    }
    assert made["networks"]["dev-shop-data"]["internal"] is True
    assert made["networks"]["dev-shop-front"]["ipam"] == {"config": [{"subnet": "172.30.0.0/24"}]}


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        ("web", "api", 8000, True),
        ("api", "cache", 6379, True),
        ("web", "cache", 6379, False),
        ("cache", "api", 8000, True),
        ("api", "web", 80, True),
        ("api", "db", 5432, True),
        # In an internal network only: no way out.
        ("cache", "203.0.113.7", 443, False),
        ("api", "203.0.113.7", 443, True),
        ("web", "203.0.113.7", 443, True),
        ("cache", "kube-system", 53, True),
    ],
)
def test_networks_on_kubernetes_are_policies(
    source: str, target: str, port: int, *, allowed: bool
) -> None:
    objects = Objects(_in_networks())
    assert Network(objects).allows(source, target, port) is allowed


@cache
def _in_networks() -> Recording:
    return shop(Target.KUBERNETES, IN_NETWORKS, PLACE)


def test_pods_say_in_which_networks_they_are() -> None:
    objects = Objects(_in_networks())
    labels = {
        item["metadata"]["name"]: {
            label
            for label in item["spec"]["template"]["metadata"]["labels"]
            if label.startswith("tiers.network.")
        }
        for item in objects.of(*PODS)
    }
    both = {"tiers.network.front", "tiers.network.data"}
    assert labels == {
        "web": {"tiers.network.front"},
        "cache": {"tiers.network.data"},
        "api": both,
        "db": both,
    }
    # They are no part of what a Service selects by: that could never change.
    for item in objects.of("Service", "Deployment"):
        assert "tiers.network" not in str(item["spec"]["selector"])


@TARGETS
def test_a_network_that_the_site_does_not_have_is_told_by_the_component(target: Target) -> None:
    with pytest.raises(DescriptionError) as told:
        shop(target, {"api": {"image": "api:1", "networks": ["dta"]}}, PLACE)
    [mistake] = told.value.mistakes
    assert mistake.place == "AppTier shop-app: services.api.networks[0]"
    assert mistake.remedy == "did you mean 'data'? valid: data, front"


def test_a_lone_component_checks_its_own_addresses() -> None:
    services: dict[str, WorkloadArgs] = {
        "a": {"image": "a:1", "addresses": "172.30.0.10"},
        "b": {"image": "b:1", "addresses": "172.30.0.10-172.30.0.12"},
        "c": {"image": "c:1", "addresses": "172.31.0.10"},
    }
    with pytest.raises(DescriptionError) as told:
        shop(Target.DOCKER, services, PLACE)
    assert [mistake.place for mistake in told.value.mistakes] == [
        "AppTier shop-app: services.b.addresses",
        "AppTier shop-app: services.c.addresses",
    ]


def test_networks_of_one_site_lie_beside_each_other() -> None:
    place: SiteArgs = {"networks": {"a": {"subnet": "10.0.0.0/16"}, "b": {"subnet": "10.0.5.0/24"}}}
    with pytest.raises(DescriptionError) as told:
        shop(Target.DOCKER, {}, place)
    [mistake] = told.value.mistakes
    assert mistake.place == "Site shop: networks.b.subnet"
    assert mistake.why == "10.0.5.0/24 overlaps with 10.0.0.0/16 of Site shop: networks.a.subnet"


# --- generated secrets ----------------------------------------------------------------------------

SIGNED: dict[str, WorkloadArgs] = {
    "api": {"image": "api:1", "secrets": {"KEY": "${secret.JWT_SECRET}"}},
    "web": {"image": "web:1", "secret_files": {"key": "${secret.JWT_SECRET}"}},
    "other": {"image": "web:1", "secrets": {"OTHER": "a:${secret.OTHER_KEY}"}},
}
PASSWORDS = "random:index/randomPassword:RandomPassword"


@TARGETS
def test_a_secret_of_the_systems_own_is_generated_once(target: Target) -> None:
    recording = shop(target, SIGNED)
    made = [item for item in recording.of_type(PASSWORDS) if "-app-" in item.name]
    assert [item.name for item in made] == [
        "shop-app-jwt-secret-secret",
        "shop-app-other-key-secret",
    ]
    assert bare(made[0].inputs)["length"] == 32
    assert bare(made[0].inputs)["keepers"] == {"for": "shop/JWT_SECRET"}
    text = to_yaml(recording) if target is Target.KUBERNETES else compose_yaml(recording, "dev")
    assert text.count("${SHOP_APP_JWT_SECRET_SECRET}") >= 2


@TARGETS
def test_a_secret_of_the_systems_own_may_be_given(target: Target) -> None:
    given = "given-and-long-enough-9817"
    config = {"tiers:secrets": Secret({"shop/JWT_SECRET": given})}
    recording = shop(target, SIGNED, config=config)
    assert [item.name for item in recording.of_type(PASSWORDS) if "-app-" in item.name] == [
        "shop-app-other-key-secret"
    ]
    assert given not in str(graph(recording))
    if target is Target.DOCKER:
        [entry] = named(recording, "shop-app-api").inputs["envs"]
        assert entry == Secret(f"KEY={given}")


@TARGETS
def test_a_generated_secret_in_the_environment_is_refused(target: Target) -> None:
    with pytest.raises(DescriptionError, match="is secret, and environment is not"):
        shop(target, {"api": {"image": "a:1", "environment": {"KEY": "${secret.JWT_SECRET}"}}})


# --- jobs at a time, and how many there are -------------------------------------------------------


@TARGETS
def test_the_number_of_jobs_stands_where_it_is_named(target: Target) -> None:
    service: WorkloadArgs = {
        "image": "worker:1",
        "concurrency": 4,
        "entrypoint": ["run", "--jobs=${concurrency}"],
        "command": ["work", "-c", "${concurrency}", "--n=${concurrency}"],
        "environment": {"JOBS": "${concurrency}", "HOST": "${db.host}"},
    }
    recording = shop(target, {"worker": service})
    if target is Target.DOCKER:
        made = inputs(recording, "shop-app-worker")
        assert made["entrypoints"] == ["run", "--jobs=4"]
        assert made["command"] == ["work", "-c", "4", "--n=4"]
        assert made["envs"] == ["HOST=db", "JOBS=4"]
        return
    container = Objects(recording).container("Deployment", "worker")
    assert container["command"] == ["run", "--jobs=4"]
    assert container["args"] == ["work", "-c", "4", "--n=4"]
    assert {"name": "JOBS", "value": "4"} in container["env"]


def test_an_autoscaler_decides_alone() -> None:
    service: WorkloadArgs = {"image": "api:1", "autoscale": {"min": 2, "max": 9, "cpu": 55}}
    objects = Objects(shop(Target.KUBERNETES, {"api": service}))
    spec = objects.get("HorizontalPodAutoscaler", "api")["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 9)
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "api"}
    [metric] = spec["metrics"]
    assert metric["resource"]["target"] == {"type": "Utilization", "averageUtilization": 55}
    deployment = objects.get("Deployment", "api")["spec"]
    # Each `up` would take it back.
    assert "replicas" not in deployment
    assert deployment["template"]["spec"]["topologySpreadConstraints"]
    assert objects.names("PodDisruptionBudget") == ["api"]
    assert "pulumi.com" not in to_yaml(objects.recording)


def test_docker_has_no_autoscaler() -> None:
    with pytest.raises(DescriptionError) as told:
        shop(Target.DOCKER, {"api": {"image": "api:1", "autoscale": {"max": 3}}})
    [mistake] = told.value.mistakes
    assert mistake.place == "AppTier shop-app: services.api.autoscale"
    assert mistake.why == "Docker has no autoscaler"


def test_a_probe_asks_on_the_port_that_is_given() -> None:
    service: WorkloadArgs = {
        "image": "api:1",
        "ports": [{"target": 80}],
        "healthcheck": {"test": ["CMD", "true"], "path": "/up", "port": 8081},
    }
    container = Objects(shop(Target.KUBERNETES, {"api": service})).container("Deployment", "api")
    assert container["readinessProbe"]["httpGet"] == {"path": "/up", "port": 8081}


# --- tiers beside each other ----------------------------------------------------------------------


def tiers(target: Target, condition: Condition = Condition.SERVICE_HEALTHY) -> Recording:
    """An app, a worker that waits for it, and an edge in front."""

    def program() -> None:
        site = Site("shop", {"target": target})
        app = AppTier(
            "shop-app",
            {
                "site": site.ref,
                "services": {
                    "api": {
                        "image": "api:1",
                        "ports": [{"target": 8000}, {"target": 9000}],
                        "healthcheck": {"test": ["CMD", "true"]},
                        "replicas": 2,
                    }
                },
            },
        )
        pulumi.export("endpoints", app.endpoints)
        worker: WorkloadArgs = {"image": "worker:1", "depends_on": {"api": condition}}
        MLTier(
            "shop-ml",
            {"site": site.ref, "services": {"worker": worker}, "endpoints": app.endpoints},
        )
        EdgeProxy(
            "shop-edge",
            {
                "site": site.ref,
                "endpoints": app.endpoints,
                "upstreams": {
                    "api": {"endpoint": "api"},
                    "other": {"endpoint": "api", "port": 9000},
                },
                "routes": [
                    {"path": "/", "upstream": "api"},
                    {"path": "/other/", "upstream": "other"},
                ],
            },
        )

    return record(program, project="shop", stack="dev", config={})


@TARGETS
def test_an_endpoint_is_plain_but_for_when_it_is_ready(target: Target) -> None:
    assert tiers(target).outputs["endpoints"] == {
        "api": {"host": "api", "ports": [8000, 9000], "ready": "api"}
    }


def test_a_service_waits_for_one_of_another_tier() -> None:
    recording = tiers(Target.DOCKER)
    assert {"shop-app-api", "shop-app-api-2"} <= needs(named(recording, "shop-ml-worker"))
    assert {"shop-app-api", "shop-app-api-2"} <= needs(named(recording, "shop-edge-edge"))
    found: Any = compose(recording, "dev")["services"]
    assert found["shop-worker"]["depends_on"] == {
        name: {"condition": "service_healthy"} for name in ("shop-api", "shop-api-2")
    }
    deployment = "kubernetes:apps/v1:Deployment"
    recording = tiers(Target.KUBERNETES)
    assert "shop-app-api" in needs(named(recording, "shop-ml-worker", deployment))


def test_who_needs_it_started_only_does_not_wait() -> None:
    recording = tiers(Target.DOCKER, Condition.SERVICE_STARTED)
    assert "shop-app-api" not in needs(named(recording, "shop-ml-worker"))
    found: Any = compose(recording, "dev")["services"]
    assert found["shop-worker"]["depends_on"]["shop-api"] == {"condition": "service_started"}


@TARGETS
def test_a_service_that_no_tier_has_is_refused(target: Target) -> None:
    def program() -> None:
        site = Site("shop", {"target": target})
        worker: WorkloadArgs = {
            "image": "worker:1",
            "depends_on": {"apis": Condition.SERVICE_HEALTHY},
        }
        AppTier(
            "shop-app",
            {
                "site": site.ref,
                "services": {"worker": worker},
                "endpoints": {"api": {"host": "api", "ports": [80]}},
            },
        )

    with pytest.raises(DescriptionError) as told:
        record(program, project="shop", stack="dev", config={})
    [mistake] = told.value.mistakes
    assert mistake.place == "AppTier shop-app: services.worker.depends_on.apis"
    assert mistake.remedy == "did you mean 'api'? valid: api"


def test_an_edge_finds_every_replica() -> None:
    objects = Objects(tiers(Target.KUBERNETES))
    peers = objects.get("Service", "api-peers")["spec"]
    assert peers["clusterIP"] == "None"
    assert [port["port"] for port in peers["ports"]] == [8000, 9000]
    assert peers["selector"] == objects.get("Service", "api")["spec"]["selector"]
    # One for both upstreams.
    assert [name for name in objects.names("Service") if "peers" in name] == ["api-peers"]
    assert objects.get("ConfigMap", "edge")["data"]["upstreams"].splitlines() == [
        "api api-peers 8000",
        "other api-peers 9000",
    ]
    network = Network(objects)
    assert network.allows("edge", "api", 8000)
    assert not network.allows("203.0.113.7", "api", 8000)


# --- load balancers -------------------------------------------------------------------------------


def balanced(**more: Any) -> dict[str, Any]:
    """The Service of an edge on DigitalOcean."""

    def program() -> None:
        cluster = Cluster("cluster", {})
        options = pulumi.ResourceOptions(providers=[cluster.provider])
        site = Site("shop", {"target": Target.DIGITALOCEAN, "cluster": cluster.ref}, options)
        args: Any = {
            "site": site.ref,
            "endpoints": {"api": {"host": "api", "ports": [8000]}},
            "upstreams": {"api": {"endpoint": "api"}},
            "routes": [{"path": "/", "upstream": "api"}],
            **more,
        }
        EdgeProxy("shop-edge", args, options)

    recording = record(program, project="shop", stack="dev", config={})
    [service] = [
        bare(item.inputs)
        for item in recording.of_type("kubernetes:core/v1:Service")
        if item.name == "shop-edge-edge"
    ]
    return service


PREFIX = "service.beta.kubernetes.io/do-loadbalancer-"


def test_digitaloceans_load_balancer_tells_clients_addresses() -> None:
    service = balanced(tls={"mode": TlsMode.SELF_SIGNED})
    annotations = service["metadata"]["annotations"]
    assert annotations[f"{PREFIX}enable-proxy-protocol"] == "true"
    assert annotations[f"{PREFIX}name"] == "dev-shop-edge"
    assert f"{PREFIX}certificate-id" not in annotations
    assert [port["port"] for port in service["spec"]["ports"]] == [80, 443]


def test_digitaloceans_load_balancer_may_end_tls() -> None:
    number = "892071a0-bb95-49bc-8021-3afd67a210bf"
    service = balanced(tls={"mode": TlsMode.DIGITALOCEAN, "certificate_id": number})
    annotations = service["metadata"]["annotations"]
    assert annotations[f"{PREFIX}certificate-id"] == number
    assert annotations[f"{PREFIX}tls-ports"] == "443"
    assert 443 in [port["port"] for port in service["spec"]["ports"]]


def test_elsewhere_nodes_without_a_replica_take_no_connections() -> None:
    """Else the client's address is lost on the way."""
    spec = Objects(tiers(Target.KUBERNETES)).get("Service", "edge")["spec"]
    assert spec["type"] == "LoadBalancer"
    assert spec["externalTrafficPolicy"] == "Local"


# --- the documented systems, whole ----------------------------------------------------------------


@cache
def documented(system: str, environment: str) -> Recording:
    config: dict[str, Json] = {
        "tiers:environment": environment,
        "tiers:target": "kubernetes",
        "tiers:systems": [system],
    }
    if system == "nutrifitcoach" or (system, environment) == ("pigmeu", "production"):
        config["tiers:tls"] = {system: {"mode": "self_signed"}}
        config["tiers:domains"] = {system: "app.example.com"}
    if system == "pigmeu":
        config["tiers:profiles"] = {system: ["flower"]}
        config["tiers:autoscale"] = {"pigmeu/worker": {"min": 2, "max": 8}}
    return record(main, project="tiers", stack="dev", config=config)


SYSTEMS = pytest.mark.parametrize(
    ("system", "environment"),
    [
        (system, environment)
        for system in ("nutrifitcoach", "pigmeu", "encontros-tech")
        for environment in ("development", "production")
    ],
)


@SYSTEMS
def test_every_pod_of_every_system_is_restricted(system: str, environment: str) -> None:
    found = Objects(documented(system, environment)).of(*PODS)
    assert len(found) >= 2
    for item in found:
        pod = item["spec"]["template"]["spec"]
        assert list(violations(pod)) == [], item["metadata"]["name"]


@SYSTEMS
def test_every_object_of_every_system_has_the_published_schema(
    system: str, environment: str
) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    # The kinds of an older version are the same: see test_kubernetes.py.
    for item in Objects(documented(system, environment)).all:
        validator.validate(item, "1.37", strict=True)


def test_files_of_all_kinds_are_in_the_order_that_kubectl_needs() -> None:
    assert list(to_files(documented("pigmeu", "production"))) == [
        "00-namespace.yaml",
        "01-networkpolicy.yaml",
        "02-secret.yaml",
        "03-configmap.yaml",
        "05-service.yaml",
        "06-statefulset.yaml",
        "07-deployment.yaml",
        "08-job.yaml",
        "10-poddisruptionbudget.yaml",
        "11-horizontalpodautoscaler.yaml",
    ]


def test_a_login_keeps_its_user_in_rendered_secrets() -> None:
    """Its password alone is a variable: with all of it as one, nobody could fill it in."""
    [secret] = [
        item
        for item in Objects(documented("pigmeu", "production")).of("Secret")
        if item["metadata"]["name"] == "flower"
    ]
    assert secret["stringData"]["FLOWER_BASIC_AUTH"] == (
        "admin:${PIGMEU_APP_FLOWER_PASSWORD_SECRET}"
    )


@SYSTEMS
def test_every_system_is_a_compose_file_for_old_and_new(
    system: str, environment: str, tmp_path: Path
) -> None:
    config: dict[str, Json] = {"tiers:environment": environment, "tiers:systems": [system]}
    if (system, environment) in {("pigmeu", "production"), ("nutrifitcoach", "production")}:
        config["tiers:tls"] = {system: {"mode": "self_signed"}}
    recording = record(main, project="tiers", stack="dev", config=config)
    rendered = yaml.safe_load(compose_yaml(recording, "dev"))
    jsonschema.Draft202012Validator(SCHEMA).validate(rendered)
    assert set(rendered) == {"services", "networks", "volumes"}
    for service in rendered["services"].values():
        assert not {"configs", "secrets", "deploy", "gpus"} & set(service)
        # What is waited for is there, and what is mounted and joined.
        assert set(service.get("depends_on", {})) <= set(rendered["services"])
        assert set(service.get("networks", {})) <= set(rendered["networks"])
    text = compose_yaml(recording, "dev")
    assert "__secret" not in text
    tool = Compose.find()
    # It takes seconds, and development differs in nothing that it looks at.
    if tool is None or environment == "development":
        return
    write(recording, "dev", tmp_path)
    done = subprocess.run(
        [*tool.command, "-f", "compose.yaml", "config"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # No variable was left without a value.
    assert "variable is not set" not in done.stderr
    assert len(yaml.safe_load(done.stdout)["services"]) == len(rendered["services"])


@SYSTEMS
def test_no_secret_of_any_system_is_shown(system: str, environment: str) -> None:
    recording = documented(system, environment)
    assert "__secret" not in str(graph(recording))
    text = to_yaml(recording)
    assert "__secret" not in text
    for item in yaml.safe_load_all(text):
        if item["kind"] == "Secret":
            # Each has a variable; what stands around it is a user, a host, a database.
            for key, value in item["stringData"].items():
                assert "${" in value or value.isalnum(), (item["metadata"]["name"], key)
        else:
            assert not re.search(r"\$\{[A-Z_]+(PASSWORD|SECRET|KEY)\}", yaml.safe_dump(item))
