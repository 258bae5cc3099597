"""Encontros Tech: CI on every push, and a deployment of each branch into its namespace.

Source: "PROJETO ENCONTROS TECH - DOCUMENTAÇÃO" 1.0 of 2025-11-09; the numbers in the comments are
its lines.
"""

from pulumi_tiers.model.deployment import (
    Deployment,
    Health,
    ImageBuild,
    ImageTag,
    KubectlDeployment,
    PulumiDeployment,
)
from pulumi_tiers.model.pipeline import (
    ClusterAccess,
    DeploymentEnvironment,
    Owner,
    Pipeline,
    PipelineOptions,
    PipelineSecret,
    Scope,
    SecretSource,
)
from pulumi_tiers.model.system import Environment
from pulumi_tiers.model.workflow import Job, Push, Step, Triggers, Workflow
from pulumi_tiers.systems.pipelines.steps import python

_NAME = "encontros-tech"
_FOLDER = "02-encontros-tech"
_PATHS = [f"{_FOLDER}/**"]
_CI = "ci.yaml"


def encontros_tech(options: PipelineOptions) -> Pipeline:
    """ci.yaml, cd-homologacao.yaml and cd-production.yaml (L95-174, L305-351)."""
    return Pipeline(
        workflows={
            _CI: _ci(options),
            "cd-homologacao.yaml": _cd(options, Environment.DEVELOPMENT),
            "cd-production.yaml": _cd(options, Environment.PRODUCTION),
        },
        environments={
            "homologacao": DeploymentEnvironment(
                environment=Environment.DEVELOPMENT, branches=["develop"]
            ),
            "production": DeploymentEnvironment(
                environment=Environment.PRODUCTION, branches=["main"]
            ),
        },
        secrets=_secrets(options),
    )


def _secrets(options: PipelineOptions) -> dict[str, PipelineSecret]:
    """L322: four, of which the registry's two come by themselves."""
    if options.cluster is not ClusterAccess.DIGITALOCEAN:
        return {}
    return {
        "DIGITALOCEAN_ACCESS_TOKEN": PipelineSecret(
            purpose="reaches DigitalOcean", source=SecretSource.DIGITALOCEAN_TOKEN
        ),
        # Incident 1: it named a cluster that was gone. Each stack writes that of its own.
        "K8S_CLUSTER_ID": PipelineSecret(
            purpose="the cluster", scope=Scope.ENVIRONMENT, source=SecretSource.CLUSTER_ID
        ),
    }


def _ci(options: PipelineOptions) -> Workflow:
    branches = ["main", "develop"]
    requirements = f"{_FOLDER}/requirements.txt"
    return Workflow(
        name="CI",
        comment="Tests what is pushed, and builds the image that its deployment takes.",
        on=Triggers(push=Push(branches=branches, paths=_PATHS), dispatch=True),
        jobs={
            "test": Job(
                steps=[
                    python("3.11", requirements),
                    Step(
                        name="Install dependencies",
                        run="pip install -r requirements.txt",
                        working_directory=_FOLDER,
                    ),
                    Step(name="Run tests", run="pytest", working_directory=_FOLDER),
                ]
            ),
            "build": Job(
                needs=["test"],
                branches=branches,
                images=[
                    ImageBuild(
                        image=_image(options),
                        context=_FOLDER,
                        # EN-05: of four lists, the whole one (L329-333).
                        tags=[
                            ImageTag(name="develop", branches=["develop"]),
                            ImageTag(name="main", branches=["main"]),
                            ImageTag(name="latest", branches=["main"]),
                            ImageTag(name="{branch}-{sha}"),
                        ],
                    )
                ],
            ),
        },
    )


def _cd(options: PipelineOptions, environment: Environment) -> Workflow:
    production = environment is Environment.PRODUCTION
    branch = "main" if production else "develop"
    namespace = "production" if production else "homologacao"
    return Workflow(
        name="CD Production" if production else "CD Homologação",
        comment=(
            # Incident 4.
            "Starts with the push, as CI does: workflow_run works for the default branch alone."
            f" So the gate waits for {_CI}."
        ),
        on=Triggers(push=Push(branches=[branch], paths=_PATHS), dispatch=True),
        jobs={
            # EN-01.
            "gate": Job(
                name=f"Wait for {_CI}",
                comment=f"Started by hand for a commit that CI has not seen: start {_CI} first.",
                branches=[branch],
                awaits=_CI,
            ),
            f"deploy-{namespace}": Job(
                needs=["gate"],
                branches=[branch],
                runs_on=options.runs_on if options.owner is Owner.PULUMI else ["ubuntu-latest"],
                environment=namespace,
                timeout_minutes=30,
                deploy=_deployment(options, environment, namespace),
            ),
        },
    )


def _deployment(options: PipelineOptions, environment: Environment, namespace: str) -> Deployment:
    """EN-02: of the image with the commit in its tag. The documented tags are aliases that move."""
    rollout = 5  # minutes: L132
    if options.owner is Owner.KUBECTL:
        return Deployment(
            kubectl=KubectlDeployment(
                namespace=namespace,
                deployment=_NAME,
                container=_NAME,
                # Incident 2.
                manifests=f"{_FOLDER}/k8s/{namespace}/manifests.yaml",
                service=_NAME,
            ),
            images={_NAME: _image(options)},
            timeout_minutes=rollout,
            health=[Health(path="/")],
        )
    # EN-03: one owner of the image that runs, which is the program.
    return Deployment(
        pulumi=PulumiDeployment(stack=options.stack(environment), folder=options.folder),
        images={f"{_NAME}/{_NAME}": _image(options)},
        timeout_minutes=rollout,
        health=[Health(path="/", service=f"{_NAME}/{_NAME}")],
    )


def _image(options: PipelineOptions) -> str:
    return options.image(_NAME, "marcospaulo1991/encontros-tech")
