"""Who has to agree before something is deployed."""

from collections.abc import Iterator

from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.pipeline import Pipeline


def unapproved(pipeline: Pipeline) -> Iterator[str]:
    """What is deployed to production though nobody has to agree."""
    for name, environment in pipeline.environments.items():
        if environment.environment is Environment.PRODUCTION and not environment.reviewers:
            yield f"nobody has to approve what is deployed to the environment '{name}'"
