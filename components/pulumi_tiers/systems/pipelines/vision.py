"""Vision: one workflow that tests, builds, and deploys to development and then to production.

Source: "Vision - Fase 4: Deploy e Infraestrutura". The numbers in the comments are the lines of the
document.
"""

from pulumi_tiers.model.deployment import Deployment, Health, ImageBuild, ImageTag, PulumiDeployment
from pulumi_tiers.model.pipeline import DeploymentEnvironment, Pipeline, PipelineOptions
from pulumi_tiers.model.system import Environment
from pulumi_tiers.model.workflow import Event, Job, PullRequest, Push, Step, Triggers, Workflow
from pulumi_tiers.systems.pipelines.steps import python

_BRANCHES = ["main", "refactor-vision-architecture"]


def vision(options: PipelineOptions) -> Pipeline:
    """deploy.yml (L208-248)."""
    # VI-12: the document names it by variables that nothing defines.
    image = options.image("vision-api", "vision/api")
    return Pipeline(
        workflows={
            "deploy.yml": Workflow(
                name="🚀 Deploy e Infraestrutura - Fase 4",
                # VI-12.
                comment=(
                    "Pull requests are tested, and no more: only what is pushed to these branches"
                    " is built and deployed."
                ),
                on=Triggers(
                    push=Push(branches=_BRANCHES), pull_request=PullRequest(branches=_BRANCHES)
                ),
                jobs={
                    "test": _test(),
                    "build": Job(
                        needs=["test"],
                        events=[Event.PUSH],
                        timeout_minutes=30,
                        images=[
                            ImageBuild(
                                image=image,
                                # VI-13: "latest" alone names no commit to go back to.
                                tags=[
                                    # Of what is released: the other branch is not.
                                    ImageTag(name="latest", branches=["main"]),
                                    ImageTag(name="{branch}"),
                                    ImageTag(name="{sha}"),
                                ],
                            )
                        ],
                    ),
                    "deploy-dev": Job(
                        needs=["build"],
                        events=[Event.PUSH],
                        runs_on=options.runs_on,
                        environment="development",
                        timeout_minutes=30,
                        # L509-515: less than 5 minutes, and less than 10 in production.
                        deploy=_deployment(
                            options, Environment.DEVELOPMENT, image, "vision-api", minutes=5
                        ),
                    ),
                    "deploy-prod": Job(
                        needs=["build", "deploy-dev"],
                        events=[Event.PUSH],
                        branches=["main"],
                        runs_on=options.runs_on,
                        environment="production",
                        timeout_minutes=30,
                        deploy=_deployment(
                            options, Environment.PRODUCTION, image, "nginx", minutes=10
                        ),
                    ),
                },
            )
        },
        environments={
            "development": DeploymentEnvironment(
                environment=Environment.DEVELOPMENT, branches=_BRANCHES
            ),
            "production": DeploymentEnvironment(
                environment=Environment.PRODUCTION, branches=["main"]
            ),
        },
    )


def _test() -> Job:
    requirements = ("requirements.txt", "requirements-dev.txt")
    return Job(
        steps=[
            # Not stated: its image's (L43).
            python("3.9", *requirements),
            Step(
                name="Install dependencies",
                run="pip install -r requirements.txt -r requirements-dev.txt",
            ),
            Step(name="Run tests", run="python -m pytest tests/ -v --cov=vision"),
        ]
    )


def _deployment(
    options: PipelineOptions, environment: Environment, image: str, asked: str, *, minutes: int
) -> Deployment:
    return Deployment(
        pulumi=PulumiDeployment(stack=options.stack(environment), folder=options.folder),
        images={"vision/vision-api": image},
        timeout_minutes=minutes,
        health=[Health(path="/health", service=f"vision/{asked}")],
    )
