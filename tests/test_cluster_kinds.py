"""What computes, collects and scales, on a real control plane with the custom resources of KEDA
and of the Prometheus operator as they are published."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, NoClusterError, definitions, new_namespace
from pulumi_tiers.cli.engine import Engine
from sandbox import Sandbox
from test_cluster import Stack, documented, wait_until_ready
from test_cluster_systems import Policies, check_networks_of_watchers, is_sound

pytestmark = [pytest.mark.cluster, pytest.mark.load]

KEDA = (
    "github.com/kedacore/keda/v2@v2.18.3",
    "h1:PY3o80tzBAzCffS8J6eBZctT4B+g/r26zErNSMleC50=",
    "config/crd/bases/keda.sh_scaledobjects.yaml",
    "config/crd/bases/keda.sh_triggerauthentications.yaml",
)
OPERATOR = (
    "github.com/prometheus-operator/prometheus-operator@v0.87.1",
    "h1:zjzxO10Rv3goA/GDbE3Vgf2TNhhcOp7fZbRG0Tkm3OY=",
    "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
)

PROGRAM = """
import pulumi
from pulumi_tiers import DataTier, MLTier, Site, Target

site = Site(
    "shop",
    {{
        "target": Target.KUBERNETES,
        "namespace": "{namespace}",
        "collectors": True,
        "service_monitors": "monitoring",
    }},
)
stores = {{"redis": {{"engine": "redis"}}, "rabbit": {{"engine": "rabbitmq"}}}}
data = DataTier("shop-data", {{"site": site.ref, "stores": stores}})
scaled = {{"max": 5, "queue_name": "jobs", "queue_length": 20}}
services = {{
    "api": {{"ports": [{{"target": 8000}}], "metrics": {{"interval": "30s"}}}},
    "few": {{"queue": "redis", "autoscale": {{**scaled, "min": 0}}}},
    "many": {{"queue": "rabbit", "autoscale": {{**scaled, "min": 1, "cpu": 70}}}},
    "compute": {{
        "gpu": {{"count": 1}},
        "init": {{"image": "fetch:1", "secrets": {{"KEY": "${{redis.password}}"}}}},
        "volumes": [{{"name": "models", "target": "/models", "scratch": True, "read_only": True}}],
    }},
    "train": {{"gpu": {{}}, "on_demand": True, "command": ["python", "main.py"]}},
    "nodes": {{
        "per_node": True,
        "user": "0:0",
        "ports": [{{"target": 9100}}],
        "binds": {{"/host": "/"}},
    }},
    "prometheus": {{"discovers": True, "ports": [{{"target": 9090}}]}},
}}
made = {{name: {{"image": "example.com/" + name + ":1", **it}} for name, it in services.items()}}
MLTier(
    "shop-ml", {{"site": site.ref, "services": made, "connections": data.connections}}
)
"""


@pytest.fixture(scope="module")
def prepared(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster that knows the custom resources, with a node that has two GPUs."""
    if not cluster.ours:
        pytest.skip("only on a cluster of the tests' own")
    try:
        texts = [definitions(*KEDA), definitions(*OPERATOR)]
    except NoClusterError as error:
        pytest.skip(str(error))
    # They are too large for the annotation of a client-side apply.
    crds = "\n---\n".join(texts)
    cluster.kubectl("apply", "--server-side", "--filename", "-", stdin=crds)
    cluster.kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=60s")
    with cluster.gpus():
        yield cluster
    cluster.kubectl("delete", "--filename", "-", "--wait=false", stdin=crds)


@pytest.fixture
def stack(prepared: Cluster, tmp_path: Path) -> Iterator[tuple[Stack, str]]:
    """A stack of all of it, and its namespace."""
    _, why_not = Engine.find(("kubernetes", "random"))
    if why_not:
        pytest.skip(why_not)
    namespace = new_namespace()
    project = Sandbox.make(tmp_path / "project")
    (project.root / "__main__.py").write_text(PROGRAM.format(namespace=namespace))
    (project.root / ".venv").symlink_to(sys.prefix)
    (tmp_path / "backend").mkdir()
    made = Stack(project, tmp_path / "backend", prepared.kubeconfig)
    project.configure(**{"tiers:target": "kubernetes", "tiers:port_offset": None})
    made.pulumi("stack", "init")
    yield made, namespace
    for name in (namespace, f"{namespace}-collectors"):
        prepared.remove_namespace(name, wait=False)


def runs(cluster: Cluster, namespace: str) -> list[Any]:
    found: list[Any] = cluster.get_json("jobs", "-n", namespace, "-l", "tiers.one_off")["items"]
    return found


@pytest.mark.engine
def test_a_life_of_what_computes_collects_and_scales(
    prepared: Cluster, stack: tuple[Stack, str]
) -> None:
    made, namespace = stack
    made.up()
    made.changes_nothing()

    # KEDA's own schemas have taken them; what is written in them, the API server keeps.
    scaled = prepared.get_json("scaledobject", "many", "-n", namespace)["spec"]
    assert [trigger["type"] for trigger in scaled["triggers"]] == ["rabbitmq", "cpu"]
    assert scaled["scaleTargetRef"] == {"name": "many"}
    assert prepared.names("scaledobjects", namespace) == ["few", "many"]
    assert prepared.names("triggerauthentications", namespace) == ["few", "many"]
    assert prepared.names("servicemonitors", namespace) == ["api", "rabbit"]
    assert not prepared.names("horizontalpodautoscalers", namespace)

    # One pod per node, the one with the GPU too, and what computes is there alone.
    pods = prepared.get_json("pods", "-n", f"{namespace}-collectors")["items"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) == len(pods) == 4
    there = prepared.get_json("pods", "-n", namespace, "--field-selector", "spec.nodeName=gpu-0")
    assert [pod["metadata"]["labels"]["app"] for pod in there["items"]] == ["compute"]

    # Who may discover sees pods and nothing secret, nor anybody else's.
    account = f"--as=system:serviceaccount:{namespace}:prometheus"
    for verb, what, where, answer in (
        ("list", "pods", namespace, "yes"),
        ("watch", "pods", namespace, "yes"),
        ("list", "services", namespace, "no"),
        ("get", "secrets", namespace, "no"),
        ("delete", "pods", namespace, "no"),
        ("list", "pods", "kube-system", "no"),
    ):
        said = prepared.run("auth", "can-i", verb, what, "-n", where, account).stdout
        assert said.strip() == answer, (verb, what, where)

    # Started twice, it runs twice.
    assert not runs(prepared, namespace)
    for _ in range(2):
        done = made.project.tiers("run", "train", env=prepared.on_path)
        assert "kept for 24 hours" in done.stderr
    first, second = runs(prepared, namespace)
    assert first["metadata"]["uid"] != second["metadata"]["uid"]
    for job in (first, second):
        assert job["status"]["succeeded"] == 1
        assert job["spec"]["ttlSecondsAfterFinished"] == 24 * 3600
        assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    assert prepared.get_json("cronjob", "train", "-n", namespace)["spec"]["suspend"] is True

    # A run is no drift, and nothing that an update would end.
    made.pulumi("preview", "--refresh", "--expect-no-changes")
    made.up("--refresh", "--expect-no-changes")
    assert len(runs(prepared, namespace)) == 2

    made.pulumi("destroy", "--yes", "--skip-preview")
    assert not prepared.has_namespace(namespace)
    assert not prepared.has_namespace(f"{namespace}-collectors")


def test_rendered_files_are_taken(prepared: Cluster, stack: tuple[Stack, str]) -> None:
    made, namespace = stack
    out = made.project.root / "out"
    made.project.tiers("render", "--to", "kubernetes", "--secrets", "--out", str(out))
    applied = prepared.run("apply", "--validate=strict", "--filename", str(out))
    assert applied.returncode == 0, applied.stderr
    assert not applied.stderr, "a warning"
    wait_until_ready(prepared, namespace)


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("system", ["ocolecionador", "vision"])
def test_the_documented_systems_are_taken(
    prepared: Cluster, tmp_path: Path, system: str, environment: str
) -> None:
    project = Sandbox.make(tmp_path / "project")
    project.configure(
        **{
            "tiers:target": "kubernetes",
            "tiers:environment": environment,
            "tiers:systems": [system],
            "tiers:port_offset": None,
            # Not all have an edge in development.
            "tiers:tls": {system: {"mode": "self_signed"}} if environment == "production" else None,
            "tiers:observability": {system: {"enabled": True, "service_monitors": "monitoring"}},
        }
    )
    out, namespace = project.root / "out", f"{system}-{environment}"
    project.tiers("render", "--to", "kubernetes", "--secrets", "--out", str(out))
    with documented(prepared, namespace), documented(prepared, f"{namespace}-collectors"):
        applied = prepared.run("apply", "--validate=strict", "--filename", str(out))
        assert applied.returncode == 0, applied.stderr
        assert not applied.stderr, "a warning"
        for place in (namespace, f"{namespace}-collectors"):
            wait_until_ready(prepared, place)
            jobs = prepared.names("jobs", place)
            for job in jobs:
                finished = ("--for=condition=Complete", "--timeout=60s")
                prepared.kubectl("wait", f"job/{job}", "-n", place, *finished)
            is_sound(prepared, place)
        check_networks_of_watchers(Policies.of(prepared, namespace))
