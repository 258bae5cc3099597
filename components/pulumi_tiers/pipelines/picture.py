"""A pipeline for people: each workflow as a picture, and what it does as tables."""

from collections.abc import Iterator

from pulumi_tiers.model.deployment import Deployment
from pulumi_tiers.model.pipeline import DeploymentEnvironment, Pipeline
from pulumi_tiers.model.workflow import Event, Job, Triggers, Workflow
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.render.markdown import table, text
from pulumi_tiers.render.mermaid import Ids, label

_FEW = 3
_PERSON = "\N{BUST IN SILHOUETTE}"

# --- the picture ----------------------------------------------------------------------------------


def mermaid(pipeline: Pipeline, file: str) -> str:
    """A workflow as a Mermaid flowchart, which GitHub draws in a Markdown file.

    Hexagons start it, boxes are jobs, rounded ones are people's approvals, cylinders images,
    double-edged boxes what comes to run, slanted ones other workflows.
    """
    workflow = pipeline.workflows[file]
    ids = Ids()
    nodes: dict[str, str] = {}
    edges: list[str] = []

    def node(key: str, left: str, lines: list[str], right: str) -> str:
        nodes[key] = f"{ids[key]}{left}{label(lines)}{right}"
        return ids[key]

    def edge(source: str, target: str, line: str = "", arrow: str = "-->") -> None:
        edges.append(f"{source} {arrow}{f'|{label([line])}|' if line else ''} {target}")

    starts = {
        event: node(f"on {event}", "{{", lines, "}}")
        for event, lines in _triggers(workflow.on).items()
    }
    for name, job in workflow.jobs.items():
        target = node(f"job {name}", "[", _job(name, job), "]")
        ways = _approval(pipeline.environments.get(job.environment or ""))
        if ways:
            people = node(f"approval {name}", "([", [*ways, f"for {job.environment}"], "])")
            edge(people, target)
            target = people
        before = [ids[f"job {need}"] for need in job.needs] or [
            start for event, start in starts.items() if not job.events or event in job.events
        ]
        for source in before:
            edge(source, target, _only(job, workflow.on))
        target = ids[f"job {name}"]
        if job.awaits:
            other = pipeline.workflows[job.awaits].name
            edge(node(f"file {job.awaits}", "[/", [other, job.awaits], "/]"), target, "", "-.->")
        for image in job.images:
            lines = [image.image, ", ".join(tag.name for tag in image.tags)]
            if image.push:
                edge(target, node(f"image {image.image}", "[(", lines, ")]"), "pushes", "-.->")
        if job.deploy:
            edge(target, node(f"runs {name}", "[[", _deployed(job.deploy), "]]"), "deploys", "==>")
    return "\n".join(["flowchart LR", *(f"  {line}" for line in [*nodes.values(), *edges])]) + "\n"


def _triggers(on: Triggers) -> dict[Event, list[str]]:
    found: dict[Event, list[str]] = {}
    if on.push:
        tags = [f"tag {tag}" for tag in on.push.tags]
        found[Event.PUSH] = ["push", *_few([*on.push.branches, *tags]), *_few(on.push.paths)]
    if on.pull_request:
        asked = on.pull_request
        found[Event.PULL_REQUEST] = ["pull request", *_few(asked.branches), *_few(asked.paths)]
    if on.after:
        found[Event.WORKFLOW_RUN] = ["after", *_few(on.after)]
    if on.schedule:
        found[Event.SCHEDULE] = ["schedule (UTC)", *on.schedule]
    if on.dispatch:
        found[Event.WORKFLOW_DISPATCH] = ["by hand"]
    return found


def _few(words: list[str]) -> list[str]:
    """One line, or none."""
    more = f" and {len(words) - _FEW} more" if len(words) > _FEW else ""
    return [", ".join(words[:_FEW]) + more] if words else []


def _only(job: Job, on: Triggers) -> str:
    """What of all that starts the workflow starts a job."""
    all_branches = on.push.branches if on.push else []
    branches = job.branches if job.branches != all_branches else []
    return ", ".join([*(event.replace("_", " ") for event in job.events if job.needs), *branches])


def _job(name: str, job: Job) -> list[str]:
    lines = [job.name or name]
    if job.runs_on != ["ubuntu-latest"]:
        lines.append(f"on {', '.join(job.runs_on)}")
    if job.environment:
        lines.append(f"environment {job.environment}")
    if job.matrix:
        lines.append(f"for each {', '.join(job.matrix)}")
    return lines


def _approval(environment: DeploymentEnvironment | None) -> list[str]:
    """What has to happen before a job of the environment begins; nothing if nothing has to."""
    if environment is None:
        return []
    lines = [f"{_PERSON} {' or '.join(environment.reviewers)}"] if environment.reviewers else []
    return [*lines, *([f"{environment.wait_minutes} minutes"] if environment.wait_minutes else [])]


def _deployed(deploy: Deployment) -> list[str]:
    if deploy.pulumi:
        how = ["pulumi up", f"stack {deploy.pulumi.stack}"]
    elif deploy.kubectl:
        how = ["kubectl", f"namespace {deploy.kubectl.namespace}"]
    else:
        assert deploy.compose is not None
        how = ["Docker Compose", f"project {deploy.compose.project}"]
    return [*how, *_few(list(deploy.images))]


# --- the page -------------------------------------------------------------------------------------


def page(title: str, pipeline: Pipeline) -> str:
    """Markdown: every workflow of a system's pipeline, and what GitHub has to keep for it."""
    pipeline = completed(pipeline)
    made = expanded(pipeline)
    parts = [f"# Pipelines of {text(title)}"]
    for file, workflow in pipeline.workflows.items():
        parts += [f"## {text(workflow.name)}: `{file}`", text(workflow.comment)]
        parts += [f"```mermaid\n{mermaid(pipeline, file)}```"]
        parts += table("Job|Only|After|Environment|Does|Minutes", _rows(workflow, made[file]))
    environments = [
        [name, " or ".join(it.reviewers), it.wait_minutes or "", ", ".join(it.branches)]
        for name, it in pipeline.environments.items()
    ]
    secrets = [
        [name, secret.purpose, secret.scope, "no" if secret.optional else "yes"]
        for name, secret in pipeline.secrets.items()
    ]
    variables = [
        [name, variable.purpose, variable.scope, "no" if variable.optional else "yes"]
        for name, variable in pipeline.variables.items()
    ]
    for heading, head, rows in (
        ("Environments", "Name|Approved by|Minutes to wait|Branches", environments),
        ("Secrets", "Name|For|Kept in|Needed", secrets),
        ("Variables", "Name|For|Kept in|Needed", variables),
    ):
        if rows:
            parts += [f"## {heading}", *table(head, rows)]
    return "\n\n".join(part for part in parts if part != "-") + "\n"


def _rows(workflow: Workflow, made: Workflow) -> Iterator[list[object]]:
    for name, job in workflow.jobs.items():
        only = [*(event.replace("_", " ") for event in job.events), *job.branches]
        yield [
            job.name or name,
            ", ".join(only),
            ", ".join(workflow.jobs[need].name or need for need in job.needs),
            job.environment,
            "; ".join(_does(job)),
            made.jobs[name].timeout_minutes,
        ]


def _does(job: Job) -> Iterator[str]:
    if job.awaits:
        yield f"waits until {job.awaits} has succeeded for the commit"
    yield from (step.name or step.uses or step.id or "script" for step in job.steps)
    for image in job.images:
        yield f"{'builds and pushes' if image.push else 'builds'} {image.image}"
    if job.deploy:
        yield f"deploys by {', '.join(_deployed(job.deploy))}"
