"""NutriFitCoach: the delivery that its document calls future (L401-443), so off by default.

Source: "Arquitetura de Infraestrutura - NFC/NFV". It draws the stages, and names no file, branch,
command or secret: those are ours.
"""

from pulumi_tiers.model.deployment import (
    ComposeDeployment,
    Deployment,
    Health,
    ImageBuild,
    ImageTag,
    PulumiDeployment,
)
from pulumi_tiers.model.pipeline import (
    DeploymentEnvironment,
    Pipeline,
    PipelineOptions,
    PipelineSecret,
    Scope,
)
from pulumi_tiers.model.system import Environment
from pulumi_tiers.model.workflow import Job, Push, Step, Triggers, Workflow
from pulumi_tiers.systems.pipelines.steps import node

_STAGING = "http://localhost:8080"
"""Where the Compose file publishes the API, on the runner itself."""


def nutrifitcoach(options: PipelineOptions) -> Pipeline:
    """pipeline.yml: tests and builds side by side, staging, integration tests, production."""
    return Pipeline(
        workflows={
            "pipeline.yml": Workflow(
                name="Pipeline",
                comment="What is pushed to main comes by way of staging into production.",
                on=Triggers(push=Push(branches=["main"])),
                jobs=_jobs(options),
            )
        },
        environments={
            "staging": DeploymentEnvironment(
                environment=Environment.DEVELOPMENT, branches=["main"]
            ),
            "production": DeploymentEnvironment(
                environment=Environment.PRODUCTION, branches=["main"]
            ),
        },
        secrets={
            name: PipelineSecret(purpose=purpose, scope=Scope.ENVIRONMENT)
            for name, purpose in (
                ("POSTGRES_PASSWORD", "of staging's database"),
                ("MINIO_ROOT_PASSWORD", "of staging's videos"),
                ("JWT_SECRET", "what staging signs sessions with"),
            )
        },
    )


def _jobs(options: PipelineOptions) -> dict[str, Job]:
    api = options.image("api", "nutrifitcoach/api")
    worker = options.image("worker", "nutrifitcoach/worker")
    tags = [ImageTag(name="latest"), ImageTag(name="{sha}")]
    images = [
        ImageBuild(image=api, dockerfile="docker/api.Dockerfile", tags=tags),
        ImageBuild(image=worker, dockerfile="docker/worker.Dockerfile", tags=tags),
    ]
    setup = [
        # "20 Alpine" (L447-460).
        node("20", "package-lock.json"),
        Step(name="Install dependencies", run="npm ci"),
    ]
    return {
        "test": Job(steps=[*setup, Step(name="Run tests", run="npm test")]),
        "build": Job(
            comment="Beside the tests, so nothing is pushed yet: it fills the cache for that.",
            timeout_minutes=45,
            images=[image.model_copy(update={"push": False}) for image in images],
        ),
        "push": Job(needs=["test", "build"], timeout_minutes=45, images=images),
        "deploy-staging": Job(
            needs=["push"],
            runs_on=["self-hosted", "staging"],
            environment="staging",
            timeout_minutes=30,
            deploy=Deployment(
                compose=ComposeDeployment(
                    project="nutrifitcoach-staging",
                    env={
                        name: f"${{{{ secrets.{name} }}}}"
                        for name in ("POSTGRES_PASSWORD", "MINIO_ROOT_PASSWORD", "JWT_SECRET")
                    },
                ),
                images={"api": api, "migrations": api, "worker": worker},
                timeout_minutes=10,
                health=[Health(url=f"{_STAGING}/health")],
            ),
        ),
        "integration-tests": Job(
            comment="On staging's own machine: nothing else reaches it.",
            needs=["deploy-staging"],
            runs_on=["self-hosted", "staging"],
            timeout_minutes=30,
            steps=[
                *setup,
                Step(
                    name="Run integration tests",
                    run="npm run test:integration",
                    env={"BASE_URL": _STAGING},
                ),
            ],
        ),
        "deploy-production": Job(
            comment=(
                "The environment's reviewers approve it. Replicas are replaced one by one; if they"
                " don't come up, those before come back."
            ),
            needs=["integration-tests"],
            runs_on=options.runs_on,
            environment="production",
            timeout_minutes=60,
            deploy=Deployment(
                pulumi=PulumiDeployment(
                    stack=options.stack(Environment.PRODUCTION), folder=options.folder
                ),
                images={
                    "nutrifitcoach/api": api,
                    "nutrifitcoach/migrations": api,
                    "nutrifitcoach/worker": worker,
                },
                timeout_minutes=30,
                health=[Health(path="/health", service="nutrifitcoach/nginx")],
            ),
        ),
    }
