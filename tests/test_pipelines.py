"""The documented pipelines: what the documents say, what is repaired, and where they belong."""

import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.render import render
from pulumi_tiers.model.pipeline import (
    ClusterAccess,
    Owner,
    Pipeline,
    PipelineOptions,
    RegistryAccess,
    Scope,
)
from pulumi_tiers.model.system import Environment
from pulumi_tiers.model.workflow import Event, Job
from pulumi_tiers.pipelines.checkout import check_checkout
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.pipelines.picture import mermaid, page
from pulumi_tiers.pipelines.stack import stack_workflows
from pulumi_tiers.pipelines.workflows import workflow_files
from pulumi_tiers.plan import make_plan
from pulumi_tiers.settings import read_settings
from pulumi_tiers.systems import SYSTEMS
from pulumi_tiers.systems.pipelines import FUTURE, PIPELINES
from wheelhouse import ROOT

REPOSITORIES = ROOT / "examples" / "repositories"
PAGE = ROOT / "docs" / "pipelines.md"
EACH = pytest.mark.parametrize("system", PIPELINES)
OWNERS = pytest.mark.parametrize("owner", Owner)
STACKS = ("infra-preview.yaml", "infra-comment.yaml", "infra-up.yaml")
"""Every system has them: a stack's own."""


def described(system: str, **options: Any) -> Pipeline:
    """As its module has it, and nothing of stacks."""
    return PIPELINES[system](PipelineOptions.model_validate(options))


@cache
def exemplified(system: str) -> Pipeline:
    """As the stack `prod` of its example repository has it."""
    infra = REPOSITORIES / system / "infra"
    config = yaml.safe_load((infra / "Pulumi.prod.yaml").read_text())["config"]
    [found] = make_plan("prod", read_settings(config), infra).systems
    assert found.pipeline
    return found.pipeline


@cache
def files(system: str) -> dict[str, str]:
    """Path in the repository -> YAML."""
    return workflow_files(exemplified(system))


def workflow(system: str, file: str) -> dict[Any, Any]:
    """A generated file, read again."""
    loaded: dict[Any, Any] = yaml.safe_load(files(system)[f".github/workflows/{file}"])
    # YAML 1.1 takes the word for a truth value.
    return {"on": loaded.pop(True), **loaded}


def steps(system: str, file: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = workflow(system, file)["jobs"][job]["steps"]
    return found


def scripts(system: str, file: str, job: str) -> str:
    return "\n".join(step["run"] for step in steps(system, file, job) if "run" in step)


def using(system: str, file: str, job: str, action: str) -> list[dict[str, Any]]:
    """What an action is given, for each step that uses it."""
    return [
        step.get("with", {})
        for step in steps(system, file, job)
        if step.get("uses", "").startswith(f"{action}@")
    ]


def tags(system: str, file: str, job: str) -> list[list[str]]:
    """The tags of each image that is pushed."""
    pushed = using(system, file, job, "docker/build-push-action")
    return [item["tags"].splitlines() for item in pushed if item["push"] is True]


# --- all of them ----------------------------------------------------------------------------------


def test_every_documented_system_has_a_pipeline() -> None:
    assert list(PIPELINES) == list(SYSTEMS)
    # The document's heading says "Futuro".
    assert {"nutrifitcoach"} == FUTURE


OC, VI, NF, PI, EN = "ocolecionador", "vision", "nutrifitcoach", "pigmeu", "encontros-tech"
NAMES: dict[tuple[str, str], str] = {
    (OC, "BuildExpoReactNativeAPK.yml"): "Build Expo React Native APK",
    (OC, "DeployDockerHub.yml"): "Deploy Docker Hub",
    (OC, "SelfHostedDockerCompose.yml"): "Self Hosted Docker Compose",
    (VI, "deploy.yml"): "🚀 Deploy e Infraestrutura - Fase 4",
    (NF, "pipeline.yml"): "Pipeline",
    (PI, "deploy.yml"): "Deploy",
    (EN, "ci.yaml"): "CI",
    (EN, "cd-homologacao.yaml"): "CD Homologação",
    (EN, "cd-production.yaml"): "CD Production",
}
VISION = ["main", "refactor-vision-architecture"]
APP = ["02-encontros-tech/**"]
PUSHED_BY_OC = [
    "OColecionadorBackEnd/**",
    "OColecionadorFrontEnd/**",
    "OColecionadorAugmentations/**",
    # Not in the document: their images, and what Compose itself reads.
    "OColecionadorClassifier/**",
    "OColecionadorTraining/**",
    "LocalServer/**",
    "docker-compose.yml",
]
TRIGGERS: dict[tuple[str, str], dict[str, Any]] = {
    (OC, "BuildExpoReactNativeAPK.yml"): {
        "push": {"branches": ["main", "develop"], "paths": ["OColecionadorMobile/**"]}
    },
    (OC, "DeployDockerHub.yml"): {"push": {"branches": ["main"], "paths": PUSHED_BY_OC}},
    (OC, "SelfHostedDockerCompose.yml"): {"push": {"branches": ["main"], "paths": PUSHED_BY_OC}},
    (VI, "deploy.yml"): {"push": {"branches": VISION}, "pull_request": {"branches": VISION}},
    (NF, "pipeline.yml"): {"push": {"branches": ["main"]}},
    (PI, "deploy.yml"): {"push": {"branches": ["main"]}},
    (EN, "ci.yaml"): {
        "push": {"branches": ["main", "develop"], "paths": APP},
        "workflow_dispatch": None,
    },
    (EN, "cd-homologacao.yaml"): {
        "push": {"branches": ["develop"], "paths": APP},
        "workflow_dispatch": None,
    },
    (EN, "cd-production.yaml"): {
        "push": {"branches": ["main"], "paths": APP},
        "workflow_dispatch": None,
    },
}
JOBS: dict[tuple[str, str], dict[str, list[str]]] = {
    (OC, "BuildExpoReactNativeAPK.yml"): {"build": []},
    (OC, "DeployDockerHub.yml"): {"deploy": []},
    (OC, "SelfHostedDockerCompose.yml"): {"gate": [], "docker-compose": ["gate"]},
    (VI, "deploy.yml"): {
        "test": [],
        "build": ["test"],
        "deploy-dev": ["build"],
        "deploy-prod": ["build", "deploy-dev"],
    },
    (NF, "pipeline.yml"): {
        "test": [],
        "build": [],
        "push": ["test", "build"],
        "deploy-staging": ["push"],
        "integration-tests": ["deploy-staging"],
        "deploy-production": ["integration-tests"],
    },
    (PI, "deploy.yml"): {"build": [], "push": ["build"], "deploy": ["push"]},
    (EN, "ci.yaml"): {"test": [], "build": ["test"]},
    (EN, "cd-homologacao.yaml"): {"gate": [], "deploy-homologacao": ["gate"]},
    (EN, "cd-production.yaml"): {"gate": [], "deploy-production": ["gate"]},
}


@EACH
def test_files_are_the_documented_ones_and_those_of_stacks(system: str) -> None:
    documented = [file for owner, file in NAMES if owner == system]
    assert list(described(system).workflows) == documented
    assert list(files(system)) == [f".github/workflows/{file}" for file in (*documented, *STACKS)]


@pytest.mark.parametrize(("system", "file"), NAMES)
def test_names_triggers_and_order_are_the_documented_ones(system: str, file: str) -> None:
    found = workflow(system, file)
    assert found["name"] == NAMES[system, file]
    assert found["on"] == TRIGGERS[system, file]

    def needs(job: dict[str, Any]) -> list[str]:
        given = job.get("needs", [])
        return [given] if isinstance(given, str) else given

    assert {name: needs(job) for name, job in found["jobs"].items()} == JOBS[system, file]


REGISTRY = {"DOCKER_USERNAME", "DOCKER_PASSWORD"}
STATE = {
    *("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "DIGITALOCEAN_ACCESS_TOKEN"),
    # The stacks write to GitHub.
    "PIPELINES_TOKEN",
}
SECRETS: dict[str, set[str]] = {
    OC: {
        *("OC_AUTH_USER", "OC_AUTH_PASSWORD", "OC_NGROK_TOKEN"),
        *("OC_GITHUB_CLIENT_ID", "OC_GITHUB_CLIENT_SECRET"),
        *("OC_GOOGLE_CLIENT_ID", "OC_GOOGLE_CLIENT_SECRET"),
        # OC-26, OC-27: missing there.
        *("EXPO_TOKEN", "GLITCHTIP_SECRET_KEY"),
    },
    VI: set(),
    NF: {"POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "JWT_SECRET"},
    PI: set(),
    EN: {"K8S_CLUSTER_ID", "DIGITALOCEAN_ACCESS_TOKEN"},
}


@EACH
def test_secrets_are_the_documented_ones_and_those_of_states(system: str) -> None:
    pipeline = exemplified(system)
    needed = {name for name, secret in pipeline.secrets.items() if not secret.optional}
    assert needed == SECRETS[system] | REGISTRY | STATE
    # Without the stacks' own workflows, Compose needs no state.
    alone = completed(described(system))
    needed = {name for name, secret in alone.secrets.items() if not secret.optional}
    assert needed == SECRETS[system] | REGISTRY | (set() if system == OC else STATE)


@EACH
@OWNERS
def test_production_is_deployed_from_main_in_its_environment_alone(
    system: str, owner: Owner
) -> None:
    pipeline = described(system, owner=owner)
    production = pipeline.environments["production"]
    assert production.environment is Environment.PRODUCTION
    assert production.branches == ["main"]
    for file, item in pipeline.workflows.items():
        for name, job in item.jobs.items():
            if not job.deploy:
                continue
            assert job.environment in pipeline.environments
            images = pipeline.built_before(file, name)
            for image in job.deploy.images.values():
                assert "{sha}" in images[image].immutable_tag
            assert job.deploy.rollback
            assert job.deploy.health


@EACH
def test_a_pull_request_pushes_and_deploys_nothing(system: str) -> None:
    for item in described(system).workflows.values():
        for name, job in item.jobs.items():
            if item.on.pull_request and name != "test":
                assert job.events == [Event.PUSH]


@EACH
def test_images_go_where_the_stack_says(system: str) -> None:
    services = {
        service.rpartition("/")[2]
        for item in described(system).workflows.values()
        for job in item.jobs.values()
        if job.deploy
        for service in job.deploy.images
    }
    own = {service: f"ghcr.io/octo-org/{service}" for service in services}
    for item in described(system, images=own).workflows.values():
        for job in item.jobs.values():
            assert all(image.image.startswith("ghcr.io/octo-org/") for image in job.images)
            if job.deploy:
                images = job.deploy.images.values()
                assert all(image.startswith("ghcr.io/octo-org/") for image in images)


@EACH
def test_options_reach_deployments(system: str) -> None:
    stacks = {Environment.DEVELOPMENT: "test", Environment.PRODUCTION: "live"}
    pipeline = described(system, stacks=stacks, folder="pulumi", runs_on=["self-hosted"])
    for item in pipeline.workflows.values():
        for job in item.jobs.values():
            if job.deploy and job.deploy.pulumi:
                environment = pipeline.environments[job.environment or ""].environment
                assert job.deploy.pulumi.stack == stacks[environment]
                assert job.deploy.pulumi.folder == "pulumi"
                assert job.runs_on == ["self-hosted"]


# --- OColecionador --------------------------------------------------------------------------------


def test_ocolecionador_builds_its_app_into_a_file() -> None:
    """OC-26."""
    file = "BuildExpoReactNativeAPK.yml"
    [node] = using(OC, file, "build", "actions/setup-node")
    assert node["node-version"] == "20"
    script = scripts(OC, file, "build")
    assert re.search(r"^npm install$", script, re.M)
    assert re.search(r"npm install --global eas-cli@\d+\.\d+\.\d+", script)
    build = " ".join(script[script.index("eas build") :].replace("\\\n", "").split())
    assert build == (
        "eas build --platform android --profile preview --non-interactive --local"
        " --output build/app-preview.apk"
    )
    [eas] = [step for step in steps(OC, file, "build") if "eas build" in step.get("run", "")]
    assert eas["env"] == {"EXPO_TOKEN": "${{ secrets.EXPO_TOKEN }}"}
    [upload] = using(OC, file, "build", "actions/upload-artifact")
    assert upload == {
        "name": "app-preview.apk",
        "path": "OColecionadorMobile/build/app-preview.apk",
        "if-no-files-found": "error",
    }
    profile = REPOSITORIES / OC / "OColecionadorMobile" / "eas.json"
    assert yaml.safe_load(profile.read_text())["build"]["preview"]["android"]["buildType"] == "apk"


def test_ocolecionador_pushes_all_five_images() -> None:
    """OC-24."""
    names = ("backend", "frontend", "augmentations", "classifier", "training")
    images = [f"patrickcaloriocarvalho/ocolecionador-{name}" for name in names]
    assert tags(OC, "DeployDockerHub.yml", "deploy") == [
        [f"{image}:latest", f"{image}:${{{{ github.sha }}}}"] for image in images
    ]
    given = using(OC, "DeployDockerHub.yml", "deploy", "docker/build-push-action")
    assert [item["context"] for item in given] == [
        *("OColecionadorBackEnd", "OColecionadorFrontEnd", "OColecionadorAugmentations"),
        *("OColecionadorClassifier", "OColecionadorTraining"),
    ]
    [login] = using(OC, "DeployDockerHub.yml", "deploy", "docker/login-action")
    assert login == {
        "username": "${{ secrets.DOCKER_USERNAME }}",
        "password": "${{ secrets.DOCKER_PASSWORD }}",
    }
    # They are those that the system runs.
    workloads = SYSTEMS[OC](Environment.PRODUCTION).workloads
    [deployment] = [
        job.deploy
        for job in described(OC).workflows["SelfHostedDockerCompose.yml"].jobs.values()
        if job.deploy
    ]
    assert deployment.images == {
        name: item.image.removesuffix(":latest")
        for name, item in workloads.items()
        if name.startswith("ocolecionador") and item.image
    }


def test_ocolecionadors_frontend_gets_its_ids() -> None:
    """OC-25."""
    given = using(OC, "DeployDockerHub.yml", "deploy", "docker/build-push-action")
    assert [item.get("build-args", "").splitlines() for item in given] == [
        [],
        [
            "GITHUB_CLIENT_ID=${{ secrets.OC_GITHUB_CLIENT_ID }}",
            "GOOGLE_CLIENT_ID=${{ secrets.OC_GOOGLE_CLIENT_ID }}",
        ],
        *([], [], []),
    ]
    # No environment: a job that builds could not read theirs.
    secrets = described(OC).secrets
    assert secrets["OC_GITHUB_CLIENT_ID"].scope is Scope.REPOSITORY
    assert secrets["OC_GOOGLE_CLIENT_ID"].scope is Scope.REPOSITORY
    assert secrets["OC_AUTH_PASSWORD"].scope is Scope.ENVIRONMENT


def test_ocolecionadors_compose_file_gets_all_that_it_names() -> None:
    """OC-27."""
    [deploy] = [
        step
        for step in steps(OC, "SelfHostedDockerCompose.yml", "docker-compose")
        if step.get("id") == "deploy"
    ]
    compose = (REPOSITORIES / OC / "docker-compose.yml").read_text()
    needed = set(re.findall(r"\$\{(\w+):\?", compose))
    optional = set(re.findall(r"\$\{(\w+):-", compose))
    assert needed == SECRETS[OC] - {"EXPO_TOKEN"}
    assert optional == {"OC_AUTH_EMAIL", "SENTRY_DSN"}
    own = {name: text for name, text in deploy["env"].items() if not name.startswith("COMPOSE_")}
    # An address is no secret.
    kinds = {name: "vars" if name == "OC_AUTH_EMAIL" else "secrets" for name in needed | optional}
    assert own == {name: f"${{{{ {kind}.{name} }}}}" for name, kind in kinds.items()}
    pipeline = described(OC)
    assert {name for name, secret in pipeline.secrets.items() if secret.optional} == {"SENTRY_DSN"}
    assert pipeline.variables["OC_AUTH_EMAIL"].optional


def test_ocolecionador_deploys_what_was_merged_and_takes_nothing_down() -> None:
    """OC-28, OC-07."""
    file = "SelfHostedDockerCompose.yml"
    job = workflow(OC, file)["jobs"]["docker-compose"]
    assert job["runs-on"] == "self-hosted"
    assert job["environment"] == "production"
    script = scripts(OC, file, "docker-compose")
    assert "docker compose down" not in script
    assert not re.search(r"\bsleep\b|--build|--force-recreate", script)
    assert "--wait" in script
    given = [step.get("env", {}) for step in job["steps"]]
    urls = [env["HEALTH_URL"] for env in given if "HEALTH_URL" in env]
    assert urls == ["http://localhost:5000/api/health", "http://localhost:5002/health"]
    [deploy] = [step for step in job["steps"] if step.get("id") == "deploy"]
    assert deploy["env"]["COMPOSE_PROFILES"] == "automatic"
    [gate] = [step["env"]["WORKFLOW"] for step in steps(OC, file, "gate")]
    assert gate == "DeployDockerHub.yml"


# --- Vision ---------------------------------------------------------------------------------------


def test_vision_tests_as_documented() -> None:
    file = "deploy.yml"
    script = scripts(VI, file, "test")
    assert "pip install -r requirements.txt -r requirements-dev.txt" in script
    assert "python -m pytest tests/ -v --cov=vision" in script
    [python] = using(VI, file, "test", "actions/setup-python")
    # Not stated: that of its image.
    dockerfile = (REPOSITORIES / VI / "Dockerfile").read_text()
    assert f"FROM python:{python['python-version']}-" in dockerfile


def test_visions_pull_requests_are_tested_only() -> None:
    """VI-12."""
    jobs = workflow(VI, "deploy.yml")["jobs"]
    conditions = {name: job.get("if") for name, job in jobs.items()}
    assert conditions == {
        "test": None,
        "build": "github.event_name == 'push'",
        "deploy-dev": "github.event_name == 'push'",
        "deploy-prod": "github.event_name == 'push' && github.ref == 'refs/heads/main'",
    }
    assert {name: job.get("environment") for name, job in jobs.items()} == {
        "test": None,
        "build": None,
        "deploy-dev": "development",
        "deploy-prod": "production",
    }
    # A pull request's run gets no secret at all.
    assert "secrets." not in str(jobs["test"])


def test_visions_images_have_their_commit() -> None:
    """VI-13: `latest` alone named none."""
    [found] = tags(VI, "deploy.yml", "build")
    assert found == [
        "${{ github.ref == 'refs/heads/main' && 'vision/api:latest' || '' }}",
        "vision/api:${{ github.ref_name }}",
        "vision/api:${{ github.sha }}",
    ]
    for job in ("deploy-dev", "deploy-prod"):
        [images] = [
            step["env"]["IMAGES"]
            for step in steps(VI, "deploy.yml", job)
            if "IMAGES" in step.get("env", {})
        ]
        assert images == "vision/vision-api=vision/api:${{ github.sha }}"


def test_visions_deployments_are_as_fast_as_documented() -> None:
    jobs = described(VI).workflows["deploy.yml"].jobs
    minutes = {name: job.deploy.timeout_minutes for name, job in jobs.items() if job.deploy}
    assert minutes == {"deploy-dev": 5, "deploy-prod": 10}


# --- NutriFitCoach --------------------------------------------------------------------------------


def test_nutrifitcoach_pushes_what_was_built_beside_the_tests() -> None:
    built = using(NF, "pipeline.yml", "build", "docker/build-push-action")
    pushed = using(NF, "pipeline.yml", "push", "docker/build-push-action")
    assert [item["push"] for item in built] == [False, False]
    # A job that logs in to nothing pushes nothing.
    assert using(NF, "pipeline.yml", "build", "docker/login-action") == []
    assert "secrets." not in str(workflow(NF, "pipeline.yml")["jobs"]["build"])
    for key in ("context", "file", "cache-from"):
        assert [item[key] for item in built] == [item[key] for item in pushed]
    assert tags(NF, "pipeline.yml", "push") == [
        [f"nutrifitcoach/{name}:latest", f"nutrifitcoach/{name}:${{{{ github.sha }}}}"]
        for name in ("api", "worker")
    ]


def test_nutrifitcoach_goes_by_staging_and_approval_into_production() -> None:
    jobs = workflow(NF, "pipeline.yml")["jobs"]
    assert jobs["deploy-staging"]["runs-on"] == ["self-hosted", "staging"]
    assert jobs["deploy-staging"]["environment"] == "staging"
    staging = scripts(NF, "pipeline.yml", "deploy-staging")
    assert re.search(r"docker compose pull.*docker compose up --detach", staging, re.S)
    # Where staging is.
    assert jobs["integration-tests"]["runs-on"] == ["self-hosted", "staging"]
    assert "npm run test:integration" in scripts(NF, "pipeline.yml", "integration-tests")
    assert jobs["deploy-production"]["environment"] == "production"
    assert exemplified(NF).environments["production"].reviewers == ["octo-org/release"]
    # Compose's file takes what the deployment gives, and publishes what is asked.
    compose = (REPOSITORIES / NF / "docker-compose.yml").read_text()
    assert set(re.findall(r"\$\{(\w+):\?", compose)) == SECRETS[NF]
    assert "127.0.0.1:8080:" in compose


# --- Pigmeu ---------------------------------------------------------------------------------------


def test_pigmeu_is_tested_in_its_container() -> None:
    """PI-12, VI-18."""
    lines = scripts(PI, "deploy.yml", "build").splitlines()
    assert lines == [
        "cp .env.example .env",
        "docker compose -f infra/docker-compose.yml build",
        "docker compose -f infra/docker-compose.yml run --rm api pytest",
    ]
    assert tags(PI, "deploy.yml", "push") == [
        [f"pigmeu/{name}:latest", f"pigmeu/{name}:${{{{ github.sha }}}}"]
        for name in ("api", "worker")
    ]
    jobs = workflow(PI, "deploy.yml")["jobs"]
    assert jobs["deploy"]["environment"] == "production"
    assert 'pulumi up --yes --non-interactive --stack "$STACK"' in scripts(
        PI, "deploy.yml", "deploy"
    )
    assert "env_file: ../.env" in (REPOSITORIES / PI / "infra" / "docker-compose.yml").read_text()


# --- Encontros Tech -------------------------------------------------------------------------------


def test_encontros_tech_tests_and_tags_as_documented() -> None:
    """EN-05: the list of L329-333."""
    script = scripts(EN, "ci.yaml", "test")
    assert "pip install -r requirements.txt" in script
    assert "pytest" in script.split()
    [python] = using(EN, "ci.yaml", "test", "actions/setup-python")
    assert python["python-version"] == "3.11"
    [found] = tags(EN, "ci.yaml", "build")
    image = "marcospaulo1991/encontros-tech"
    assert found == [
        f"${{{{ github.ref == 'refs/heads/develop' && '{image}:develop' || '' }}}}",
        f"${{{{ github.ref == 'refs/heads/main' && '{image}:main' || '' }}}}",
        f"${{{{ github.ref == 'refs/heads/main' && '{image}:latest' || '' }}}}",
        f"{image}:${{{{ github.ref_name }}}}-${{{{ github.sha }}}}",
    ]


CDS = pytest.mark.parametrize(
    ("file", "namespace", "branch", "stack"),
    [
        ("cd-homologacao.yaml", "homologacao", "develop", "dev"),
        ("cd-production.yaml", "production", "main", "prod"),
    ],
)


@CDS
def test_encontros_tech_waits_for_its_tests(
    file: str, namespace: str, branch: str, stack: str
) -> None:
    """EN-01, and incident 4: a push, not workflow_run."""
    jobs = workflow(EN, file)["jobs"]
    assert "workflow_run" not in workflow(EN, file)["on"]
    [gate] = [step["env"]["WORKFLOW"] for step in jobs["gate"]["steps"]]
    assert gate == "ci.yaml"
    # By hand, somebody may choose another branch.
    only = f"github.ref == 'refs/heads/{branch}'"
    assert {job["if"] for job in jobs.values()} == {only}
    assert jobs[f"deploy-{namespace}"]["environment"] == namespace
    assert exemplified(EN).environments[namespace].branches == [branch]
    # Two deployments to one stack would not know of each other.
    group = jobs[f"deploy-{namespace}"]["concurrency"]["group"]
    assert group == f"pulumi-{stack}"
    assert workflow(EN, "infra-up.yaml")["jobs"][f"up-{stack}"]["concurrency"]["group"] == group


@CDS
def test_encontros_tech_deploys_the_commits_image(
    file: str, namespace: str, branch: str, stack: str
) -> None:
    """EN-02, EN-03: by the program, which owns what runs."""
    found = steps(EN, file, f"deploy-{namespace}")
    [images] = [step["env"]["IMAGES"] for step in found if "IMAGES" in step.get("env", {})]
    image = "marcospaulo1991/encontros-tech:${{ github.ref_name }}-${{ github.sha }}"
    assert images == f"encontros-tech/encontros-tech={image}"
    script = scripts(EN, file, f"deploy-{namespace}")
    assert "pulumi up" in script
    assert "kubectl" not in script
    assert re.search(r"timeout .* 5m", script)
    [deploy] = [step for step in found if step.get("id") == "deploy"]
    assert deploy["env"]["STACK"] == stack


@CDS
def test_encontros_tech_keeps_kubectl_where_a_stack_wants_it(
    file: str, namespace: str, branch: str, stack: str
) -> None:
    """EN-03: then, the program leaves the image alone."""
    pipeline = described(EN, owner="kubectl", runs_on=["self-hosted"])
    job = expanded(pipeline)[file].jobs[f"deploy-{namespace}"]
    assert job.runs_on == ["ubuntu-latest"]
    lines = "\n".join(step.run or "" for step in job.steps)
    order = [
        'doctl kubernetes cluster kubeconfig save "$CLUSTER"',
        "kubectl apply",
        "kubectl set image",
        "kubectl.kubernetes.io/restartedAt",
        "kubectl rollout status",
        "curl --fail",
    ]
    places = [lines.index(word) for word in order]
    assert places == sorted(places)
    assert "--timeout 5m" in lines
    given: dict[str, str] = {}
    for step in job.steps:
        given |= step.env
    assert given["MANIFESTS"] == f"02-encontros-tech/k8s/{namespace}/manifests.yaml"
    assert given["NAMESPACE"] == namespace
    assert given["DEPLOYMENT"] == given["CONTAINER"] == given["SERVICE"] == "encontros-tech"
    assert given["CLUSTER"] == "${{ secrets.K8S_CLUSTER_ID }}"
    needed = completed(pipeline).secrets
    assert set(needed) == SECRETS[EN] | REGISTRY


def test_encontros_techs_manifests_are_the_documented_ones() -> None:
    for namespace, tag, replicas in (("homologacao", "develop", 1), ("production", "latest", 2)):
        path = REPOSITORIES / EN / "02-encontros-tech" / "k8s" / namespace / "manifests.yaml"
        deployment, service = yaml.safe_load_all(path.read_text())
        assert deployment["spec"]["replicas"] == replicas
        [container] = deployment["spec"]["template"]["spec"]["containers"]
        assert container["image"] == f"marcospaulo1991/encontros-tech:{tag}"
        assert container["imagePullPolicy"] == "Always"
        labels = {"app": "encontros-tech", "environment": namespace}
        assert service["spec"]["selector"] == labels
        assert service["spec"]["ports"] == [{"port": 80, "targetPort": 8000}]


def test_the_cluster_of_each_environment_is_its_own() -> None:
    """Incident 1: the secret named a cluster that was gone."""
    secret = described(EN).secrets["K8S_CLUSTER_ID"]
    assert secret.scope is Scope.ENVIRONMENT
    # Elsewhere, there is no ID.
    elsewhere = described(EN, cluster=ClusterAccess.KUBECONFIG)
    assert "K8S_CLUSTER_ID" not in elsewhere.secrets


# --- example repositories -------------------------------------------------------------------------


@EACH
def test_workflows_in_example_repositories_are_current(system: str) -> None:
    """If not: `make workflows`."""
    folder = REPOSITORIES / system
    paths = [*(folder / ".github" / "workflows").iterdir(), folder / "pipelines.md"]
    there = {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in paths}
    assert there == {**files(system), "pipelines.md": page(system, exemplified(system))}


@EACH
@OWNERS
def test_example_repositories_have_all_that_their_workflows_name(system: str, owner: Owner) -> None:
    folder = REPOSITORIES / system
    options = PipelineOptions(owner=owner)
    pipeline = described(system, owner=owner)
    stacks = stack_workflows(pipeline, options)
    whole = pipeline.model_copy(update={"workflows": {**pipeline.workflows, **stacks}})
    assert list(check_checkout(system, whole, folder)) == []
    for item in expanded(pipeline).values():
        for job in item.jobs.values():
            for path in named(job):
                assert (folder / path).is_file(), path


def named(job: Job) -> Iterator[str]:
    """Files that scripts and actions read."""
    for step in job.steps:
        inside = f"{step.working_directory}/" if step.working_directory else ""
        for found in re.findall(r"(?:install -r|compose -f|^cp) ([\w./-]+)", step.run or ""):
            yield inside + found
        yield from step.inputs.get("cache-dependency-path", "").splitlines()


def test_a_file_that_is_missing_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    shutil.copytree(REPOSITORIES / EN, folder)
    shutil.rmtree(folder / "02-encontros-tech")
    wrong = "\n".join(mistake.place for mistake in check_checkout("x", described(EN), folder))
    assert "ci.yaml.on.push.paths[0]" in wrong
    assert "ci.yaml.jobs.build.images[0].dockerfile" in wrong


@EACH
def test_compose_files_of_example_repositories_have_the_deployed_services(system: str) -> None:
    for item in described(system).workflows.values():
        for job in item.jobs.values():
            if not (job.deploy and job.deploy.compose):
                continue
            [file] = job.deploy.compose.files
            services = yaml.safe_load((REPOSITORIES / system / file).read_text())["services"]
            deployed = {name: f"{image}:latest" for name, image in job.deploy.images.items()}
            assert {name: services[name]["image"] for name in deployed} == deployed


@EACH
@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_programs_of_example_repositories_render(system: str, stack: str) -> None:
    project = Project.find(REPOSITORIES / system / "infra")
    assert project.stacks == ["dev", "prod"]
    assert f"## System {system} (" in render(project, stack, "report", {}).text


# --- the page -------------------------------------------------------------------------------------


@EACH
def test_pictures_on_the_page_are_current(system: str) -> None:
    """If not: `make workflows`."""
    text = PAGE.read_text(encoding="utf-8")
    pipeline = exemplified(system)
    for file in pipeline.workflows:
        if file not in STACKS or system == EN:
            picture = f"```mermaid\n{mermaid(pipeline, file)}```"
            assert f"<!-- {system} {file} -->\n{picture}" in text, file


def test_registries_without_secrets_need_none() -> None:
    github = completed(
        described(EN, owner="kubectl").model_copy(
            update={
                "registry": described(EN).registry.model_copy(
                    update={"login": RegistryAccess.GITHUB}
                )
            }
        )
    )
    assert not REGISTRY & set(github.secrets)
