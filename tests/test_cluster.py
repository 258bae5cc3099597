"""Encontros Tech on a real Kubernetes: rendered files by kubectl, and the real Pulumi engine."""

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import ADDRESSES, Cluster, new_namespace
from pulumi_tiers.cli.engine import Engine
from pulumi_tiers.render.kubernetes import to_yaml
from sandbox import APP, Sandbox
from test_kubernetes import ENVIRONMENTS, EVERYTHING, shops

pytestmark = pytest.mark.cluster
engine = pytest.mark.engine
#: Namespaces that the system's document names.
DEVELOPMENT, PRODUCTION = ENVIRONMENTS["development"], ENVIRONMENTS["production"]
SERVICE = "encontros-tech"


@contextmanager
def documented(cluster: Cluster, name: str) -> Iterator[None]:
    """A cluster without a documented namespace. Nobody else's is touched."""
    if cluster.ours:
        cluster.remove_namespace(name)  # a test before this one didn't wait until it's gone
    elif cluster.has_namespace(name):
        pytest.skip(f"the offered cluster has a namespace {name} already")
    try:
        yield
    finally:
        cluster.remove_namespace(name, wait=False)


@pytest.fixture
def simulated(cluster: Cluster) -> Cluster:
    """A cluster where each image seems to run, and whose servers can be stopped."""
    if not cluster.ours:
        pytest.skip("only on a cluster of the tests' own")
    return cluster


@pytest.fixture
def project(tmp_path: Path) -> Sandbox:
    """A copy of the program. The fixture `sandbox` would ask Docker for what is left."""
    return Sandbox.make(tmp_path / "project")


def wait_until_ready(cluster: Cluster, namespace: str) -> None:
    for workload in cluster.kubectl(
        "get", "deployments,statefulsets", "-n", namespace, "-o", "name"
    ).split():
        cluster.kubectl("rollout", "status", workload, "-n", namespace, "--timeout=180s")


def versions(cluster: Cluster, namespace: str) -> dict[str, object]:
    """A number for each object, which changes whenever what it asks for changes."""
    kinds = "secrets,deployments,statefulsets,networkpolicies,poddisruptionbudgets"
    found = [item["metadata"] for item in cluster.get_json(kinds, "-n", namespace)["items"]]
    return {item["uid"]: item.get("generation", item["resourceVersion"]) for item in found}


# --- rendered files -------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rendered_files_run(cluster: Cluster, project: Sandbox, environment: str) -> None:
    namespace, out = ENVIRONMENTS[environment], project.root / "out"
    project.configure(**{"tiers:environment": environment})
    project.tiers("render", "--to", "kubernetes", "--secrets", "--out", str(out))

    def apply(what: Path, *arguments: str) -> list[str]:
        done = cluster.run("apply", "--validate=strict", "--filename", str(what), *arguments)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, "a warning"  # of Pod Security, deprecations, unknown fields
        return done.stdout.splitlines()

    with documented(cluster, namespace):
        apply(out / "00-namespace.yaml")
        assert all("(server dry run)" in line for line in apply(out, "--dry-run=server"))
        assert not cluster.names("deployments", namespace)
        apply(out)
        wait_until_ready(cluster, namespace)
        pods = cluster.get_json("pods", "-n", namespace)["items"]
        assert len(pods) == (3 if environment == "production" else 2)
        assert {pod["status"]["phase"] for pod in pods} == {"Running"}
        claims = cluster.get_json("persistentvolumeclaims", "-n", namespace)["items"]
        assert [claim["status"]["phase"] for claim in claims] == ["Bound"]

        # Again: kubectl calls some "configured" each time, Secrets for one, but nothing changes.
        before = versions(cluster, namespace)
        apply(out)
        assert versions(cluster, namespace) == before
        assert not cluster.kubectl("diff", "--filename", str(out))

        # The namespace's labels are enough to keep everything else out.
        refused = cluster.run("run", "bad", "--image=bad", "--privileged", "-n", namespace)
        assert refused.returncode
        assert 'violates PodSecurity "restricted:latest"' in refused.stderr


def test_everything_that_a_description_can_say_is_accepted(simulated: Cluster) -> None:
    recording = shops(EVERYTHING)
    # Values don't matter to the server.
    text = to_yaml(recording, {})
    try:
        done = simulated.run("apply", "--validate=strict", "-f", "-", stdin=text)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, "a warning"
        wait_until_ready(simulated, "dev-shop")
        finished = ("--all", "--for=condition=Complete", "--timeout=60s")
        simulated.kubectl("wait", "jobs", "-n", "dev-shop", *finished)
    finally:
        simulated.remove_namespace("dev-shop", wait=False)


# --- the engine -----------------------------------------------------------------------------------


@dataclass
class Stack:
    """A stack with target kubernetes, in a folder and with a backend of its own."""

    project: Sandbox
    backend: Path
    kubeconfig: Path

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PULUMI_BACKEND_URL": f"file://{self.backend}",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        options = ("--non-interactive", "--color", "never", "--stack", self.project.stack)
        return subprocess.run(
            ["pulumi", *arguments, *options],
            cwd=self.project.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def pulumi(self, *arguments: str) -> str:
        """What the CLI prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def fails(self, *arguments: str) -> str:
        """What the CLI prints; it must fail."""
        done = self.run(*arguments)
        assert done.returncode, done.stdout
        return done.stdout + done.stderr

    def set(self, path: str, value: str) -> None:
        self.pulumi("config", "set", "--path", path, value)

    def up(self, *arguments: str) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments)

    def resources(self) -> list[Any]:
        deployment = json.loads(self.pulumi("stack", "export"))["deployment"]
        return deployment.get("resources") or []

    def urls(self) -> Any:
        return json.loads(self.pulumi("stack", "output", "urls", "--json"))

    def changes_nothing(self) -> str:
        """Neither what the program wants nor what the cluster has differs from the state."""
        said = self.up("--expect-no-changes")
        said += self.pulumi("refresh", "--yes", "--skip-preview", "--expect-no-changes")
        return said + self.pulumi("preview", "--diff", "--refresh", "--expect-no-changes")

    def has_drifted(self) -> None:
        """A refresh sees that the cluster has something else than the state."""
        said = self.fails("refresh", "--preview-only", "--expect-no-changes")
        assert "no changes were expected" in said


@pytest.fixture
def stack(cluster: Cluster, project: Sandbox, tmp_path: Path) -> Stack:
    _, why_not = Engine.find(("kubernetes", "random"))
    if why_not:
        pytest.skip(why_not)
    (project.root / ".venv").symlink_to(sys.prefix)
    (tmp_path / "backend").mkdir()
    made = Stack(project, tmp_path / "backend", cluster.kubeconfig)
    project.configure(**{"tiers:target": "kubernetes", "tiers:port_offset": None})
    made.pulumi("stack", "init")
    return made


def image(cluster: Cluster) -> str:
    spec = cluster.get_json("deployment", SERVICE, "-n", DEVELOPMENT)["spec"]
    found: str = spec["template"]["spec"]["containers"][0]["image"]
    return found


@engine
def test_a_life_through_the_engine(cluster: Cluster, stack: Stack) -> None:
    with documented(cluster, DEVELOPMENT):
        said = stack.pulumi("preview", "--diff")
        said += stack.up()
        wait_until_ready(cluster, DEVELOPMENT)
        if cluster.ours:
            assert stack.urls()[SERVICE][SERVICE][0].startswith(f"http://{ADDRESSES}")
        said += stack.changes_nothing()
        nothing_is_in_clear(cluster, stack, said)

        # Another image: the old pod stays until the new one is ready.
        stack.set(f'tiers:images["{APP}"]', "example.com/another:1")
        watch = ("-o", "jsonpath={.status.availableReplicas},{.status.observedGeneration} ")
        with cluster.watching("deployment", SERVICE, "-n", DEVELOPMENT, *watch) as seen:
            stack.up()
        states = [state.split(",") for state in seen.read_text().split()]
        assert len({generation for _, generation in states}) == 2
        assert all(available >= "1" for available, _ in states)
        assert image(cluster) == "example.com/another:1"

        # By hand: another image, and nothing at all. Refresh sees both, `up --refresh` repairs.
        name, wrong = f"deployment/{SERVICE}", f"{SERVICE}=example.com/wrong:1"
        cluster.kubectl("set", "image", name, wrong, "-n", DEVELOPMENT)
        cluster.kubectl("delete", "service", "postgres", "-n", DEVELOPMENT)
        stack.has_drifted()
        stack.up("--refresh")
        assert image(cluster) == "example.com/another:1"
        assert "postgres" in cluster.names("services", DEVELOPMENT)
        stack.pulumi("preview", "--refresh", "--expect-no-changes")

        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert not cluster.has_namespace(DEVELOPMENT)
        assert not stack.resources()
        volumes = cluster.get_json("persistentvolumes")["items"]
        assert DEVELOPMENT not in {volume["spec"]["claimRef"]["namespace"] for volume in volumes}


def nothing_is_in_clear(cluster: Cluster, stack: Stack, said: str) -> None:
    """The generated password is in the cluster, but neither in what was said nor in the state."""
    encoded = cluster.get_json("secret", "postgres", "-n", DEVELOPMENT)["data"]["POSTGRES_PASSWORD"]
    password = base64.b64decode(encoded).decode()
    assert len(password) == 32
    files = [path for path in stack.backend.rglob("*") if path.is_file()]
    assert any(path.name == f"{stack.project.stack}.json" for path in files)
    state = stack.pulumi("stack", "export")
    for text in (said, state, *(path.read_text(errors="replace") for path in files)):
        assert password not in text
        assert encoded not in text


@engine
def test_what_holds_data_in_production_is_protected(cluster: Cluster, stack: Stack) -> None:
    def claim() -> str:
        name = ("persistentvolumeclaim", "postgres-data-postgres-0")
        uid: str = cluster.get_json(*name, "-n", PRODUCTION)["metadata"]["uid"]
        return uid

    stack.set("tiers:environment", "production")
    stack.set("tiers:load_balancers.await", "false")  # ten seconds each time
    with documented(cluster, PRODUCTION):
        stack.up()
        made = claim()
        refused = stack.fails("destroy", "--yes")
        assert "Preview failed" in refused
        assert "because it is protected" in refused
        status = cluster.get_json("deployment", SERVICE, "-n", PRODUCTION)["status"]
        assert status["availableReplicas"] == 2
        # Without a preview, the engine deletes all that isn't protected before it fails.
        assert "because it is protected" in stack.fails("destroy", "--yes", "--skip-preview")
        assert not cluster.names("deployments,statefulsets", PRODUCTION)
        assert claim() == made
        stack.set("tiers:protect", "never")
        stack.up()
        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert not cluster.has_namespace(PRODUCTION)


SHOP = """
import pulumi
from pulumi_tiers import AppTier, Site, Target

site = Site("shop", {"target": Target.KUBERNETES, "namespace": %r})
service = {
    "image": "example.com/shop:1",
    "replicas": %d,
    "ports": [{"target": 8000, "load_balancer": 80}],
}
app = AppTier("shop-app", {"site": site.ref, "services": {"web": service}})
pulumi.export("urls", app.urls)
"""


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a namespace that doesn't exist yet."""
    name = new_namespace()
    yield name
    cluster.remove_namespace(name, wait=False)


@engine
def test_replicas_come_and_go(simulated: Cluster, stack: Stack, namespace: str) -> None:
    program = stack.project.root / "__main__.py"

    def replicas() -> int:
        return simulated.get_json("deployment", "web", "-n", namespace)["status"]["readyReplicas"]

    for count in (1, 3):
        program.write_text((SHOP % (namespace, count)).replace(', "load_balancer": 80', ""))
        stack.up()
        assert replicas() == count
    assert simulated.names("poddisruptionbudgets", namespace) == ["web"]
    pods = simulated.get_json("pods", "-n", namespace)["items"]
    assert len({pod["spec"]["nodeName"] for pod in pods}) > 1

    simulated.kubectl("scale", "deployment/web", "--replicas=1", "-n", namespace)
    stack.has_drifted()
    stack.up("--refresh")
    assert replicas() == 3
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


# --- what goes wrong ------------------------------------------------------------------------------


@engine
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no configuration has been provided"),
        ("https://127.0.0.1:1", "127.0.0.1:1: connect: connection refused"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_named(
    stack: Stack, tmp_path: Path, content: str | None, reason: str
) -> None:
    stack.kubeconfig = tmp_path / "nowhere"
    if content:
        context = {"name": "dead", "context": {"cluster": "dead", "user": "me"}}
        config = {
            "clusters": [{"name": "dead", "cluster": {"server": content}}],
            # Without a user, the provider asks for a name and a password, and nobody hears it.
            "users": [{"name": "me", "user": {"token": "x"}}],
            "contexts": [context],
            "current-context": "dead",
        }
        stack.kubeconfig.write_text(yaml.safe_dump(config))
    stack.pulumi("preview")  # asks no cluster
    said = stack.fails("up", "--yes", "--skip-preview")
    assert "error: configured Kubernetes cluster is unreachable" in said
    assert reason in said


@engine
def test_somebody_elses_namespace_is_left_alone(cluster: Cluster, stack: Stack) -> None:
    with cluster.namespace() as name:
        (stack.project.root / "__main__.py").write_text(SHOP % (name, 1))
        said = stack.fails("up", "--yes", "--skip-preview")
        assert f'namespaces "{name}" already exists' in said
        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert cluster.has_namespace(name)
        assert not cluster.names("deployments", name)


IMPATIENT = """
import pulumi

def hurry(args):
    soon = pulumi.ResourceOptions(custom_timeouts=pulumi.CustomTimeouts(create="12s"))
    options = pulumi.ResourceOptions.merge(args.opts, soon)
    return pulumi.ResourceTransformationResult(args.props, options)

pulumi.runtime.register_stack_transformation(hurry)
"""
CARELESS = """
def uncover(args):
    if args.type_.endswith(":Deployment"):
        args.props["spec"]["template"]["spec"]["containers"][0]["security_context"] = {}
        return pulumi.ResourceTransformationResult(args.props, args.opts)

pulumi.runtime.register_stack_transformation(uncover)
"""


@engine
def test_an_address_that_never_comes_is_named(
    simulated: Cluster, stack: Stack, namespace: str
) -> None:
    program = stack.project.root / "__main__.py"
    with simulated.without_addresses():
        program.write_text(IMPATIENT + SHOP % (namespace, 1))
        said = stack.fails("up", "--yes", "--skip-preview")
        assert "'web' timed out waiting to be Ready" in said
        assert "Service was not allocated an IP address" in said
        # The same without waiting: the rest is there, and the URL says what is missing.
        hasty = '"await_load_balancers": False, "target"'
        program.write_text((SHOP % (namespace, 1)).replace('"target"', hasty, 1))
        stack.up()
        assert stack.urls() == {"web": ["http://<pending>"]}
    stack.up("--refresh")
    assert stack.urls()["web"][0].startswith(f"http://{ADDRESSES}")


@engine
def test_pods_that_pod_security_refuses_are_noticed(
    simulated: Cluster, stack: Stack, namespace: str
) -> None:
    (stack.project.root / "__main__.py").write_text(IMPATIENT + CARELESS + SHOP % (namespace, 1))
    said = stack.fails("up", "--yes", "--skip-preview")
    assert "'web' timed out waiting to be Ready" in said
    assert "Minimum number of live Pods was not attained" in said
    # The engine doesn't say why. The cluster does.
    events = simulated.kubectl("get", "events", "-n", namespace)
    assert 'violates PodSecurity "restricted:latest"' in events
