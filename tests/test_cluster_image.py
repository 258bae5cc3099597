"""Others change the image of a running service, on a real control plane with the real engine."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster import Cluster, new_namespace
from test_cluster import Stack, project, simulated, stack

__all__ = ["project", "simulated", "stack"]

pytestmark = [pytest.mark.cluster, pytest.mark.engine, pytest.mark.load]

PROGRAM = """
import pulumi
from pulumi_tiers import AppTier, ImageOwner, Site, Target

site = Site("shop", {{"target": Target.KUBERNETES, "namespace": "{namespace}"}})
service = {{
    "image": "{image}",
    "image_owner": ImageOwner("{owner}"),
    "pull_policy": "always",
    "replicas": 2,
    "environment": {environment},
    "secrets": {{"TOKEN": pulumi.Output.secret("{secret}")}},
    "ports": [{{"target": 8000}}],
}}
AppTier("shop-app", {{"site": site.ref, "services": {{"web": service}}}})
"""
RESTARTED = "kubectl.kubernetes.io/restartedAt"


class Shop:
    """One service, and what the cluster makes of it."""

    def __init__(self, cluster: Cluster, stack: Stack, namespace: str) -> None:
        self.cluster, self.stack, self.namespace = cluster, stack, namespace
        self.facts: dict[str, Any] = {
            "image": "example.com/shop:1",
            "owner": "others",
            "environment": {"A": "1", "B": "2"},
            "secret": "first",
        }

    def describe(self, **facts: Any) -> None:
        self.facts |= facts
        program = PROGRAM.format(namespace=self.namespace, **self.facts)
        (self.stack.project.root / "__main__.py").write_text(program)

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(*arguments, "-n", self.namespace)

    def deployment(self) -> Any:
        return self.cluster.get_json("deployment", "web", "-n", self.namespace)

    def generation(self) -> int:
        """Rises whenever the Deployment asks for something else."""
        number: int = self.deployment()["metadata"]["generation"]
        return number

    def container(self) -> Any:
        return self.deployment()["spec"]["template"]["spec"]["containers"][0]

    def variables(self) -> dict[str, str | None]:
        return {item["name"]: item.get("value") for item in self.container()["env"]}

    def annotations(self) -> dict[str, str]:
        found: dict[str, str] = self.deployment()["spec"]["template"]["metadata"]["annotations"]
        return found

    def deploy(self, image: str, moment: str) -> None:
        """What the documented pipeline of Encontros Tech does ("PIPELINE CI/CD")."""
        self.kubectl("set", "image", "deployment/web", f"web={image}")
        template = {"metadata": {"annotations": {RESTARTED: moment}}}
        patch = json.dumps({"spec": {"template": template}})
        self.kubectl("patch", "deployment", "web", "-p", patch)
        self.kubectl("rollout", "status", "deployment/web", "--timeout=180s")


@pytest.fixture
def shop(simulated: Cluster, stack: Stack) -> Iterator[Shop]:
    namespace = new_namespace()
    yield Shop(simulated, stack, namespace)
    simulated.remove_namespace(namespace, wait=False)


def test_others_change_the_image_and_the_program_all_the_rest(shop: Shop) -> None:
    shop.describe()
    shop.stack.pulumi("preview")
    shop.stack.up()
    # It is there, with the program's image, before anybody sets another one; and ready.
    assert shop.container()["image"] == "example.com/shop:1"
    assert shop.container()["imagePullPolicy"] == "Always"
    assert shop.deployment()["status"]["availableReplicas"] == 2
    shop.stack.changes_nothing()

    shop.deploy("example.com/shop:main-1a2b3c4", "2026-11-22T10:00:00Z")
    before = shop.generation()
    shop.stack.changes_nothing()
    assert shop.generation() == before

    # Without a refresh: the engine doesn't know what others did. No variable is left behind.
    shop.describe(environment={"A": "9", "C": "3"}, image="example.com/shop:5")
    shop.stack.pulumi("preview")
    shop.stack.up()
    assert shop.variables() == {"A": "9", "C": "3", "TOKEN": None}
    assert shop.container()["image"] == "example.com/shop:main-1a2b3c4"
    assert shop.annotations()[RESTARTED] == "2026-11-22T10:00:00Z"
    shop.stack.changes_nothing()

    # With one, after another deployment.
    shop.deploy("example.com/shop:main-5d6e7f8", "2026-11-22T11:00:00Z")
    shop.kubectl("rollout", "restart", "deployment/web")
    restarted = shop.annotations()
    shop.describe(secret="second")
    shop.stack.pulumi("preview", "--refresh")
    shop.stack.up("--refresh")
    assert shop.container()["image"] == "example.com/shop:main-5d6e7f8"
    assert shop.annotations()[RESTARTED] == restarted[RESTARTED]
    assert shop.annotations()["tiers.secrets"] != restarted["tiers.secrets"]

    # What others don't own is still the program's.
    shop.kubectl("scale", "deployment/web", "--replicas=1")
    shop.kubectl("set", "env", "deployment/web", "A=8")
    shop.stack.has_drifted()
    shop.stack.up("--refresh")
    assert shop.deployment()["spec"]["replicas"] == 2
    assert shop.variables()["A"] == "9"
    assert shop.container()["image"] == "example.com/shop:main-5d6e7f8"

    # Somebody deleted it: made again, with the program's image.
    shop.kubectl("delete", "deployment", "web")
    shop.stack.up("--refresh")
    assert shop.container()["image"] == "example.com/shop:5"
    assert shop.deployment()["status"]["availableReplicas"] == 2
    shop.stack.pulumi("destroy", "--yes", "--skip-preview")
    assert not shop.cluster.has_namespace(shop.namespace)


def test_a_running_service_is_handed_over_and_taken_back(shop: Shop) -> None:
    shop.describe(owner="program")
    shop.stack.up()
    before = shop.generation()
    shop.describe(owner="others")
    shop.stack.up()
    assert shop.generation() == before
    release(shop)
    shop.deploy("example.com/shop:2", "2026-11-22T10:00:00Z")
    shop.describe(environment={"A": "9"})
    shop.stack.up()
    assert shop.variables() == {"A": "9", "TOKEN": None}
    assert shop.container()["image"] == "example.com/shop:2"

    shop.describe(owner="program", image="example.com/shop:3")
    shop.stack.up()
    assert shop.container()["image"] == "example.com/shop:3"
    shop.stack.up("--refresh")
    shop.stack.changes_nothing()


def release(shop: Shop) -> None:
    """As docs/images.md says: the program's first manager lets go of what the second one has."""
    found = json.loads(
        shop.kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields")
    )
    fields = found["metadata"]["managedFields"]
    found["metadata"]["managedFields"] = [
        item
        for item in fields
        if not (
            item["manager"].startswith("pulumi-kubernetes")
            and '"f:image"' in json.dumps(item["fieldsV1"])
        )
    ]
    assert len(found["metadata"]["managedFields"]) == len(fields) - 1
    done = shop.cluster.run("replace", "-f", "-", stdin=json.dumps(found))
    assert done.returncode == 0, done.stderr
