"""What documented pipelines have in common: what a stack chose, and steps that several take."""

from collections.abc import Mapping

from pulumi_tiers.model.pipeline import (
    DeploymentEnvironment,
    Pipeline,
    PipelineOptions,
    PipelineSecret,
    PipelineVariable,
    Step,
    Workflow,
)


def delivery(
    options: PipelineOptions,
    workflows: Mapping[str, Workflow],
    *,
    environments: Mapping[str, DeploymentEnvironment],
    secrets: Mapping[str, PipelineSecret] | None = None,
    variables: Mapping[str, PipelineVariable] | None = None,
) -> Pipeline:
    """A documented pipeline with what the stack chose: registry, notifications, who approves.

    `secrets` and `variables`: its own. Those of registries, state and messages come by themselves.
    """
    return Pipeline(
        workflows=dict(workflows),
        environments={
            name: environment.model_copy(update={"reviewers": options.reviewers.get(name, [])})
            for name, environment in environments.items()
        },
        secrets=dict(secrets or {}),
        variables=dict(variables or {}),
        registry=options.registry,
        backend=options.backend,
        cluster=options.cluster,
        notify=options.notify,
        attest=options.attest,
    )


def python(version: str, *requirements: str) -> Step:
    """Python, and a cache of what pip downloads that changes with the files of requirements."""
    return Step(
        name=f"Set up Python {version}",
        uses="actions/setup-python",
        inputs={
            "python-version": version,
            "cache": "pip",
            "cache-dependency-path": "\n".join(requirements),
        },
    )


def node(version: str, lock: str) -> Step:
    """Node, and a cache of what npm downloads that changes with the lock file."""
    return Step(
        name=f"Set up Node.js {version}",
        uses="actions/setup-node",
        inputs={"node-version": version, "cache": "npm", "cache-dependency-path": lock},
    )
