"""The documented pipelines, as a stack has them."""

import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from pulumi_tiers.model.errors import Mistake, mistakes_of, nearest
from pulumi_tiers.model.expression import uses_of
from pulumi_tiers.model.github import Delivery
from pulumi_tiers.model.pipeline import Owner, Pipeline, PipelineOptions, Scope
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.model.workload import ImageOwner, Workload
from pulumi_tiers.pipelines.checkout import check_checkout
from pulumi_tiers.pipelines.checks import check_registry, unapproved
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.pipelines.stack import PREVIEW, stack_workflows
from pulumi_tiers.settings import Settings
from pulumi_tiers.systems.pipelines import FUTURE, PIPELINES


def with_pipeline(system: System, settings: Settings, mistakes: list[Mistake]) -> System:
    """The system with its pipeline, if the stack wants one, and with what that means for images."""
    name = system.name
    place = f"tiers:pipelines.{name}"
    given = settings.pipelines.get(name)
    options = given or PipelineOptions()
    # Whoever says how, wants it.
    enabled = options.enabled if options.enabled is not None else given or name not in FUTURE
    if not enabled or (settings.github is None and given is None) or name not in PIPELINES:
        return system
    try:
        pipeline = _with_options(PIPELINES[name](options), options, settings)
    except ValidationError as error:
        mistakes.extend(mistakes_of(error, place))
        return system
    mistakes.extend(_check(place, system, pipeline, options, settings))
    checkout = options.checkout or settings.sources.get(name, "")
    # One that isn't there is told already, and one that isn't whole is looked for by nobody.
    if posixpath.isabs(checkout) and os.path.isdir(checkout):  # noqa: PTH112
        mistakes.extend(check_checkout(place, pipeline, Path(checkout)))
    system = system.model_copy(update={"pipeline": pipeline})
    if options.owner is Owner.KUBECTL and settings.target is not Target.DOCKER:
        return _left_alone(system, pipeline)
    return system


def _with_options(pipeline: Pipeline, options: PipelineOptions, settings: Settings) -> Pipeline:
    """The pipeline with what a stack may say about any of them. Raises ValidationError."""
    environments = {
        name: environment.model_copy(
            update={"reviewers": options.reviewers.get(name, environment.reviewers)}
        )
        for name, environment in pipeline.environments.items()
    }
    own = dict(pipeline)
    own |= {
        "environments": environments,
        "notify": options.notify,
        "attest": options.attest,
        "protection": options.protection or pipeline.protection,
        "registry": options.registry,
        "backend": options.backend,
        "cluster": options.cluster,
        "spaces": bool(settings.github and settings.github.state_bucket),
    }
    made = Pipeline.model_validate(own)
    if options.stack_workflows:
        workflows = {**made.workflows, **stack_workflows(made, options)}
        made = made.model_copy(update={"workflows": workflows})
    # What these use comes by itself.
    return Pipeline.model_validate(dict(completed(made)))


def _check(
    place: str,
    system: System,
    pipeline: Pipeline,
    options: PipelineOptions,
    settings: Settings,
) -> Iterator[Mistake]:
    for name in options.reviewers:
        if name not in pipeline.environments:
            why = f"the pipeline has no environment '{name}'"
            yield Mistake(f"{place}.reviewers.{name}", why, nearest(name, pipeline.environments))
    built = {
        image.image
        for workflow in pipeline.workflows.values()
        for job in workflow.jobs.values()
        for image in job.images
    }
    for name, image in options.images.items():
        if image not in built:
            why = f"the pipeline builds no image of a service '{name}'"
            yield Mistake(f"{place}.images.{name}", why, nearest(name, system.workloads))
    yield from _unknown_services(place, system, pipeline)
    yield from check_registry(place, pipeline)
    if settings.github and settings.github.strict:
        for doubt in unapproved(pipeline):
            remedy = f"name who approves in {place}.reviewers"
            yield Mistake(place, doubt, remedy)


def _unknown_services(place: str, system: System, pipeline: Pipeline) -> Iterator[Mistake]:
    """What `pulumi up` is to deploy, and is not there. Another environment may have others."""
    known = [f"{system.name}/{name}" for name in (*system.workloads, *system.disabled)]
    asked = [*known, *(f"{system.name}/{name}" for name in system.edges)]
    for file, workflow in pipeline.workflows.items():
        for name, job in workflow.jobs.items():
            place_on_github = pipeline.environments.get(job.environment or "")
            elsewhere = place_on_github and place_on_github.environment != system.environment
            if elsewhere or job.deploy is None or job.deploy.pulumi is None:
                continue
            at = f"{place}: workflows.{file}.jobs.{name}.deploy"
            services = [(f"{at}.images.{service}", service, known) for service in job.deploy.images]
            services += [
                (f"{at}.health[{position}].service", health.service, asked)
                for position, health in enumerate(job.deploy.health)
                if health.service
            ]
            for where, service, there in services:
                if service not in there:
                    yield Mistake(
                        where, f"there is no service '{service}'", nearest(service, there)
                    )


def check_github(settings: Settings, systems: list[System], stack: str) -> Iterator[Mistake]:
    """Whether what the stack gives to GitHub is something that its pipelines use."""
    github = settings.github
    if github is None:
        return
    for name in github.repositories:
        if name not in settings.systems:
            why = f"the stack has no system '{name}'"
            yield Mistake(f"tiers:github.repositories.{name}", why, nearest(name, settings.systems))
    pipelines = {system.name: system.pipeline for system in systems if system.pipeline}
    if not pipelines:
        why = "no system of the stack has a pipeline"
        remedy = "turn one on in tiers:pipelines, or remove this"
        yield Mistake("tiers:github", why, remedy)
        return
    for name, pipeline in pipelines.items():
        yield from _another_stack(name, pipeline, settings, stack)
    for kind in ("secrets", "variables"):
        known: set[str] = set()
        for name, pipeline in pipelines.items():
            names: Iterable[str] = getattr(pipeline, kind)
            known |= {key for item in names for key in (item, f"{name}/{item}")}
        for key in getattr(github, kind):
            if key not in known:
                why = "no pipeline of the stack uses it"
                yield Mistake(f"tiers:github.{kind}.{key}", why, nearest(key, known))
    every = {name for pipeline in pipelines.values() for name in pipeline.secrets}
    for name, scope in github.scopes.items():
        if name not in every:
            why = "no pipeline of the stack uses it"
            yield Mistake(f"tiers:github.scopes.{name}", why, nearest(name, every))
        elif scope is Scope.ENVIRONMENT:
            yield from _out_of_reach(name, pipelines)
    for name, pipeline in pipelines.items():
        guarded = pipeline.protection.branches if pipeline.protection else []
        if github.delivery is Delivery.DIRECT and github.branch in guarded:
            why = f"'{name}' protects '{github.branch}', which refuses files that are just written"
            yield Mistake("tiers:github.delivery", why, "set it to pull_request")
    if github.state_bucket and settings.target is not Target.DIGITALOCEAN:
        why = f"there are no buckets of DigitalOcean on {settings.target}"
        yield Mistake("tiers:github.state_bucket", why, "remove it, and give PULUMI_BACKEND_URL")


def _another_stack(
    name: str, pipeline: Pipeline, settings: Settings, stack: str
) -> Iterator[Mistake]:
    """What this stack writes would be used by runs that bring up another one."""
    environment = settings.environment
    theirs = settings.pipelines.get(name, PipelineOptions()).stack(environment)
    there = {item.environment for item in pipeline.environments.values()}
    if environment in there and stack != theirs:
        why = f"runs for {environment} bring up the stack '{theirs}', and this one is '{stack}'"
        remedy = f"set it to '{stack}', or remove tiers:github from this stack"
        yield Mistake(f"tiers:pipelines.{name}.stacks.{environment}", why, remedy)


def _out_of_reach(secret: str, pipelines: Mapping[str, Pipeline]) -> Iterator[Mistake]:
    """Jobs that use a secret of environments, and are in none: GitHub gives them an empty text."""
    jobs = [
        f"{system}: {file}: {name}"
        for system, pipeline in pipelines.items()
        for file, workflow in expanded(pipeline).items()
        for name, job in workflow.jobs.items()
        # A preview without its secrets is rendered.
        if job.environment is None and file != PREVIEW
        if any(secret in uses_of(text, "secrets") for _, text in job.texts)
    ]
    if jobs:
        why = f"jobs use it that are in no environment: {', '.join(jobs)}"
        yield Mistake(f"tiers:github.scopes.{secret}", why, "keep it in the repository")


def _left_alone(system: System, pipeline: Pipeline) -> System:
    """EN-03: the images that `kubectl set image` changes are no longer the program's."""
    theirs = {
        job.deploy.kubectl.deployment
        for workflow in pipeline.workflows.values()
        for job in workflow.jobs.values()
        if job.deploy and job.deploy.kubectl
    }

    def left(services: dict[str, Workload]) -> dict[str, Workload]:
        return {
            name: item.model_copy(update={"image_owner": ImageOwner.OTHERS})
            if name in theirs
            else item
            for name, item in services.items()
        }

    return system.model_copy(update={"services": left(system.services), "ml": left(system.ml)})
