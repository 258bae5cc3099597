"""Pigmeu Copilot: built and tested by Docker Compose, then deployed.

Source: "Infraestrutura - Pigmeu Copilot". The numbers in the comments are the lines of the
document.
"""

from pulumi_tiers.model.deployment import Deployment, Health, ImageBuild, ImageTag, PulumiDeployment
from pulumi_tiers.model.pipeline import DeploymentEnvironment, Pipeline, PipelineOptions
from pulumi_tiers.model.system import Environment
from pulumi_tiers.model.workflow import Job, Push, Step, Triggers, Workflow

_COMPOSE = "docker compose -f infra/docker-compose.yml"


def pigmeu(options: PipelineOptions) -> Pipeline:
    """deploy.yml (L585-614). PI-12: the file's name is ours."""
    api = options.image("api", "pigmeu/api")
    worker = options.image("worker", "pigmeu/worker")
    tags = [ImageTag(name="latest"), ImageTag(name="{sha}")]
    return Pipeline(
        workflows={
            "deploy.yml": Workflow(
                name="Deploy",
                comment="Tests what is pushed to main in its own container, and deploys it.",
                on=Triggers(push=Push(branches=["main"])),
                jobs={
                    "build": _build(),
                    "push": Job(
                        needs=["build"],
                        timeout_minutes=45,
                        images=[
                            ImageBuild(image=api, dockerfile="infra/Dockerfile", tags=tags),
                            ImageBuild(
                                image=worker, dockerfile="infra/Dockerfile.worker", tags=tags
                            ),
                        ],
                    ),
                    "deploy": Job(
                        needs=["push"],
                        runs_on=options.runs_on,
                        environment="production",
                        # A worker may have 30 minutes to end its task (PI-16).
                        timeout_minutes=90,
                        deploy=Deployment(
                            pulumi=PulumiDeployment(
                                stack=options.stack(Environment.PRODUCTION), folder=options.folder
                            ),
                            # Migrations run the API's image.
                            images={
                                "pigmeu/api": api,
                                "pigmeu/migrations": api,
                                "pigmeu/worker": worker,
                            },
                            timeout_minutes=45,
                            health=[Health(path="/health", service="pigmeu/nginx")],
                        ),
                    ),
                },
            )
        },
        environments={
            "production": DeploymentEnvironment(
                environment=Environment.PRODUCTION, branches=["main"]
            )
        },
    )


def _build() -> Job:
    return Job(
        timeout_minutes=45,
        steps=[
            Step(
                name="Make .env",
                comment="The Compose file demands it. What is tested needs none of the real keys.",
                run="cp .env.example .env",
            ),
            # PI-12, as VI-18: docker-compose 1 is gone from runners.
            Step(name="Build Docker images", run=f"{_COMPOSE} build"),
            Step(name="Run tests", run=f"{_COMPOSE} run --rm api pytest"),
        ],
    )
