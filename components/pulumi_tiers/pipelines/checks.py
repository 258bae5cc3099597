"""What is right in itself, and wrong as a whole."""

from collections.abc import Iterator

from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.pipeline import Pipeline


def unapproved(pipeline: Pipeline) -> Iterator[str]:
    """What is deployed to production though nobody has to agree."""
    for name, environment in pipeline.environments.items():
        if environment.environment is Environment.PRODUCTION and not environment.reviewers:
            yield f"nobody has to approve what is deployed to the environment '{name}'"


def lost(pipeline: Pipeline, environment: Environment) -> Iterator[str]:
    """What is brought up on Docker, on a machine that is gone when the run ends."""
    for file, workflow in pipeline.workflows.items():
        for name, job in workflow.jobs.items():
            placed = pipeline.environments.get(job.environment or "")
            own = placed is not None and placed.environment is environment
            if own and job.deploy and job.deploy.pulumi and not job.on_own_machine:
                yield (
                    f"{file}: {name} brings this stack up on a machine of GitHub's, and its Docker"
                    " ends with the run: it needs a runner of your own"
                )


def check_registry(place: str, pipeline: Pipeline) -> Iterator[Mistake]:
    """Whether jobs log in to where they push."""
    for file, workflow in pipeline.workflows.items():
        for name, job in workflow.jobs.items():
            for position, image in enumerate(job.images):
                if image.push and (why := pipeline.registry.refuses(image.image)):
                    at = f"{place}: workflows.{file}.jobs.{name}.images[{position}].image"
                    yield Mistake(at, why, "name an image there ('images'), or its 'registry'")
