"""A whole stack tells GitHub what it has made: two APIs doubled, the engine and a cluster real."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import github
import pytest
from cluster import Cluster
from digitalocean import Double
from pulumi_tiers.cli.engine import Engine
from test_digitalocean_plugin import Project, only, put_behind

_MISSING = Engine.find(("digitalocean", "kubernetes", "random", "github"))[1]
pytestmark = [
    pytest.mark.engine,
    pytest.mark.cluster,
    pytest.mark.load,
    pytest.mark.skipif(bool(_MISSING), reason=_MISSING),
]

NAMESPACE = "production"
FILES = {
    f".github/workflows/{name}.yaml"
    for name in (
        *("ci", "cd-homologacao", "cd-production"),
        *("infra-preview", "infra-comment", "infra-up"),
    )
}
GIVEN = {
    "DOCKER_USERNAME": "marcospaulo1991",
    "DOCKER_PASSWORD": "the-registrys-own-token",
    "encontros-tech/PULUMI_CONFIG_PASSPHRASE": "nobody-can-guess-this",
}


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture
def backed(cluster: Cluster, double: Double) -> Iterator[Cluster]:
    put_behind(cluster, double)
    cluster.remove_namespace(NAMESPACE)
    yield cluster
    cluster.remove_namespace(NAMESPACE, wait=False)


def configuration(hub: github.Double, **secrets: str) -> dict[str, Any]:
    return {
        "tiers:environment": "production",
        "tiers:target": "digitalocean",
        "tiers:load_balancers": {"await": False},
        "tiers:protect": "never",
        "tiers:github": {
            "owner": "acme",
            "base_url": f"{hub.url.rstrip('/')}/",
            "secrets": {**GIVEN, **secrets},
        },
        "tiers:pipelines": {"encontros-tech": {"reviewers": {"production": ["octocat"]}}},
    }


def test_the_cluster_that_pipelines_deploy_to_is_the_one_that_is_there(
    backed: Cluster, double: Double, tmp_path: Path
) -> None:
    with github.Double() as hub:
        repository = hub.world.add("encontros-tech")
        project = Project.whole(tmp_path, double)
        project.configure(configuration(hub))
        said = project.up(GITHUB_TOKEN=hub.token)
        # Incident 1 of the document: its secret named a cluster that was gone.
        gate = repository.environments[NAMESPACE]
        assert gate.vault.secrets == {"K8S_CLUSTER_ID": only(double.world.clusters)["id"]}
        assert list(repository.environments) == [NAMESPACE]
        assert gate.rules["reviewers"] == [{"type": "User", "id": 583231}]
        assert repository.vault.secrets == {
            name.rpartition("/")[2]: value for name, value in GIVEN.items()
        }
        assert "secret DIGITALOCEAN_ACCESS_TOKEN" in said
        [pull] = repository.pulls.values()
        assert set(repository.files(pull["head"]["ref"])) >= FILES

        repository.merge(pull["number"])
        project.up(GITHUB_TOKEN=hub.token)
        hub.log.clear()
        project.pulumi("preview", "--expect-no-changes", GITHUB_TOKEN=hub.token)

        # A rotation is one write.
        project.configure(configuration(hub, DOCKER_PASSWORD="the-next-token"))
        project.up(GITHUB_TOKEN=hub.token)
        written = "/repos/acme/encontros-tech/actions/secrets/DOCKER_PASSWORD"
        assert hub.writes == [f"PUT {written}"]
        assert repository.vault.secrets["DOCKER_PASSWORD"] == "the-next-token"
        assert "the-next-token" not in json.dumps(
            json.loads(project.pulumi("stack", "export"))["deployment"]["resources"]
        )

        project.pulumi("destroy", "--yes", "--skip-preview", GITHUB_TOKEN=hub.token)
        assert (repository.environments, repository.vault.secrets) == ({}, {})
        assert set(repository.files()) >= FILES
