"""A workflow: one file of GitHub Actions, in GitHub's own words.

Texts hold its expressions (``${{ secrets.NAME }}``) where GitHub takes them, except in `run`: a
shell would execute what one brings, so values come through `env`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import Flag, Model, Variable, Whole, Word
from pulumi_tiers.model.cron import Cron
from pulumi_tiers.model.deployment import (
    TAG,
    ComposeDeployment,
    Deployment,
    ImageBuild,
    KubectlDeployment,
    PulumiDeployment,
)
from pulumi_tiers.model.errors import nearest, reject, reject_all, shown
from pulumi_tiers.model.github_texts import (
    JOB_NAME,
    ActionName,
    Branch,
    BranchName,
    Condition,
    Distinct,
    Env,
    EnvironmentName,
    Expressions,
    JobId,
    Label,
    Line,
    ListExpression,
    Once,
    PathFilter,
    RepositoryPath,
    RunnerLabel,
    Script,
    Seen,
    WorkflowFile,
)

# --- triggers -------------------------------------------------------------------------------------


class Push(Model):
    """Commits that are pushed."""

    #: Default: every branch.
    branches: Annotated[list[Branch], Once] = []
    #: Only if one of these files changed. Default: whatever changed.
    paths: Annotated[list[PathFilter], Once] = []
    #: Tags that are pushed. Default: none.
    tags: Annotated[list[Branch], Once] = []


_ACTIVITIES = (
    *("assigned", "unassigned", "labeled", "unlabeled", "opened", "edited", "closed", "reopened"),
    *("synchronize", "converted_to_draft", "locked", "unlocked", "milestoned", "demilestoned"),
    *("ready_for_review", "review_requested", "review_request_removed", "auto_merge_enabled"),
    *("auto_merge_disabled", "enqueued", "dequeued"),
)


def _activity(value: str) -> str:
    if value not in _ACTIVITIES:
        raise reject(
            f"{shown(value)} is nothing that happens to pull requests", nearest(value, _ACTIVITIES)
        )
    return value


class PullRequest(Model):
    """Pull requests, also those from forks: they get no secrets."""

    #: That they are to be merged into. Default: every one.
    branches: Annotated[list[Branch], Once] = []
    paths: Annotated[list[PathFilter], Once] = []
    #: Default: GitHub's own, which are opened, synchronize and reopened.
    types: Annotated[list[Annotated[str, AfterValidator(_activity)]], Once] = []


class Triggers(Model):
    """When a workflow runs."""

    push: Push | None = None
    pull_request: PullRequest | None = None
    #: By hand, with GitHub's button.
    dispatch: Flag = False
    #: In UTC. GitHub runs it on the default branch.
    schedule: Annotated[list[Cron], Once] = []
    #: After runs of other workflows, by their `name`: on the default branch, whatever those ran on.
    after: Annotated[list[Line], Once] = []

    @model_validator(mode="after")
    def _some(self) -> "Triggers":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if not (self.push or self.pull_request or self.dispatch or self.schedule or self.after):
            yield (), "nothing starts the workflow", "add push, pull_request, dispatch or schedule"
        for key, trigger in (("push", self.push), ("pull_request", self.pull_request)):
            for field in ("branches", "paths", "tags"):
                patterns: list[str] = getattr(trigger, field, [])
                if patterns and all(pattern.startswith("!") for pattern in patterns):
                    why = "all patterns leave something out, so nothing is left"
                    yield (key, field), why, "begin with what is meant, such as '**'"


class Event(Word):
    """What can start a workflow, in GitHub's words."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    WORKFLOW_DISPATCH = "workflow_dispatch"
    SCHEDULE = "schedule"
    WORKFLOW_RUN = "workflow_run"


# --- jobs -----------------------------------------------------------------------------------------

_HOSTED = re.compile(r"(?:ubuntu|windows|macos)-[a-z0-9.-]+", re.IGNORECASE)
"""Labels of GitHub's own runners: any other may be that of a machine of one's own."""


class When(Word):
    """Whether a step runs."""

    #: If all steps before it succeeded.
    SUCCESS = "success"
    #: If one of them failed.
    FAILURE = "failure"
    ALWAYS = "always"


def _input_name(value: str) -> str:
    if not JOB_NAME.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for an input of an action",
            "use letters, digits, '-' and '_', beginning with a letter or '_'",
        )
    return value


class Step(Model):
    """One step of a job: an action that is used, or a script that is run."""

    name: Label | None = None
    id: JobId | None = None
    #: Why it is there, for who reads the file.
    comment: Seen = ""
    uses: ActionName | None = None
    #: Of the action.
    inputs: Annotated[dict[Annotated[str, AfterValidator(_input_name)], Expressions], Distinct] = {}
    run: Script | None = None
    env: Env = {}
    #: Default: the repository's root.
    working_directory: RepositoryPath | None = None
    when: When = When.SUCCESS
    #: Besides.
    condition: Condition = ""

    @model_validator(mode="after")
    def _one_thing(self) -> "Step":
        if (self.uses is None) == (self.run is None):
            raise reject("a step uses an action or runs a script", "give one of 'uses' and 'run'")
        if self.uses and self.working_directory:
            raise reject("an action has no working directory", "remove 'working_directory'")
        if self.run and self.inputs:
            raise reject("a script has no inputs", "put them into 'env'")
        return self


class Access(Word):
    """What a job may do with a part of the repository."""

    READ = "read"
    WRITE = "write"


class Permission(Word):
    """Parts of a repository, as GitHub calls them."""

    ACTIONS = "actions"
    ATTESTATIONS = "attestations"
    CHECKS = "checks"
    CONTENTS = "contents"
    DEPLOYMENTS = "deployments"
    ID_TOKEN = "id-token"  # noqa: S105 - a name
    ISSUES = "issues"
    PACKAGES = "packages"
    PULL_REQUESTS = "pull-requests"
    STATUSES = "statuses"


class Job(Model):
    """A job: it runs on a machine of its own.

    Its steps come in this order: the checkout, `steps`, `images`, `deploy`.
    """

    name: Label | None = None
    comment: Seen = ""
    needs: Annotated[list[JobId], Once] = []
    runs_on: Annotated[list[RunnerLabel], Field(min_length=1), Once] = ["ubuntu-latest"]
    environment: EnvironmentName | None = None
    #: Only on these branches.
    branches: Annotated[list[BranchName], Once] = []
    #: Only on these events.
    events: Annotated[list[Event], Once] = []
    condition: Condition = ""
    #: Besides those that its parts need.
    permissions: dict[Permission, Access] = {}
    timeout_minutes: Annotated[Whole, Field(ge=1, le=360)] = 15
    #: Jobs of the same group wait for each other. Default: of deployments to the same place.
    concurrency: Label | None = None
    #: Name -> expression of a list: the job runs once for each item, as ``${{ matrix.NAME }}``.
    matrix: Annotated[dict[Variable, ListExpression], Distinct] = {}
    outputs: Annotated[dict[JobId, Expressions], Distinct] = {}
    env: Env = {}
    #: False: it needs no files of the repository.
    checkout: Flag = True
    steps: list[Step] = []
    images: list[ImageBuild] = []
    deploy: Deployment | None = None
    #: It waits until the run of this workflow for the same commit has succeeded, and fails with it.
    awaits: WorkflowFile | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "Job":
        if not (self.steps or self.images or self.deploy or self.awaits):
            raise reject("the job does nothing", "give it steps, images, deploy or awaits")
        if self.awaits and (self.steps or self.images or self.deploy):
            raise reject(
                "a job that awaits does nothing else", "give its steps a job that needs it"
            )
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        taken = {"deploy", "before"} if self.deploy else set[str]()
        for position, step in enumerate(self.steps):
            if step.id and step.id.lower() in taken:
                why = f"another step of the job has the id '{step.id}'"
                yield ("steps", position, "id"), why, "choose another"
            taken |= {step.id.lower()} if step.id else set()
        if self.permissions.get(Permission.ID_TOKEN) is Access.READ:
            yield ("permissions", "id-token"), "nobody reads this: it is made", "set it to write"
        pushed = [image.image for image in self.images if image.push]
        for position, image in enumerate(self.images):
            if image.push and pushed.count(image.image) > 1:
                why = f"the job pushes '{image.image}' twice: one would take the other's place"
                yield ("images", position, "image"), why, "give each its own name"
        if self.deploy and self.deploy.longest_minutes >= self.timeout_minutes:
            why = (
                f"the deployment may take {self.deploy.longest_minutes} minutes with what is asked"
                f" afterwards, and the job ends after {self.timeout_minutes}: nothing would go back"
            )
            yield ("timeout_minutes",), why, "give the job more"

    @property
    def on_own_machine(self) -> bool:
        """Whether it may run on a machine that is not GitHub's."""
        return any(not _HOSTED.fullmatch(label) for label in self.runs_on)

    @property
    def group(self) -> str | None:
        """Whose jobs wait for each other: two deployments would not know of each other.

        Those to one stack, namespace or project of Compose do. No more than these: GitHub lets one
        job of a group wait, and cancels it when another comes, whatever that one deploys.
        """
        match self.deploy:
            case _ if self.concurrency:
                return self.concurrency
            case Deployment(pulumi=PulumiDeployment(stack=stack)):
                return f"pulumi-{stack}"
            case Deployment(kubectl=KubectlDeployment(namespace=namespace)):
                return f"kubectl-{namespace}"
            case Deployment(compose=ComposeDeployment(project=project)):
                return f"compose-{project}"
            case _:
                return None

    @property
    def texts(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Everything that may hold expressions, with its place."""
        maps: list[tuple[tuple[str | int, ...], Mapping[str, str]]] = [
            ((), {"name": self.name or "", "concurrency": self.concurrency or ""}),
            # A condition is an expression without the signs of one.
            ((), {"condition": f"${{{{ {self.condition} }}}}"}),
            (("matrix",), self.matrix),
            (("outputs",), self.outputs),
            (("env",), self.env),
        ]
        for position, step in enumerate(self.steps):
            at = ("steps", position)
            condition = f"${{{{ {step.condition} }}}}"
            maps.append((at, {"name": step.name or "", "condition": condition}))
            maps.append((("steps", position, "env"), step.env))
            maps.append((("steps", position, "inputs"), step.inputs))
        for position, image in enumerate(self.images):
            maps.append((("images", position, "args"), image.args))
        if self.deploy and self.deploy.compose:
            maps.append((("deploy", "compose", "env"), self.deploy.compose.env))
        for position, health in enumerate(self.deploy.health if self.deploy else []):
            maps.append((("deploy", "health", position), {"url": health.url or ""}))
        for place, texts in maps:
            for key, text in texts.items():
                yield (*place, key), text


def excludes(patterns: list[str], branch: str) -> bool:
    """Whether the branch is certainly none of these."""
    return bool(patterns) and not set("".join(patterns)) & {*"*?+!"} and branch not in patterns


class Workflow(Model):
    """One file below ``.github/workflows``."""

    #: As GitHub shows it.
    name: Line
    #: What it is for, for who reads the file.
    comment: Seen = ""
    on: Triggers
    #: Runs of a group wait for each other. Default: a pull request, or a branch to deploy.
    concurrency: Label | None = None
    #: A newer run of the group ends the older one. Default: only what deploys nothing.
    cancel_in_progress: Flag | None = None
    env: Env = {}
    jobs: Annotated[dict[JobId, Job], Field(min_length=1), Distinct]

    @model_validator(mode="after")
    def _consistent(self) -> "Workflow":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        for name, job in self.jobs.items():
            yield from self._reachable(name, job)
            for position, need in enumerate(job.needs):
                if need not in self.jobs:
                    why = f"there is no job '{need}' in this workflow"
                    yield ("jobs", name, "needs", position), why, nearest(need, self.jobs)
            if self.on.pull_request and job.on_own_machine and not self._is_kept(job):
                yield (
                    ("jobs", name, "runs_on"),
                    "anybody's pull request would run its code on your own machine",
                    "give the job 'events' without pull_request, or take a runner of GitHub's",
                )
            group = job.group
            if group and self.concurrency and group.lower() == self.concurrency.lower():
                why = f"the job would wait for its own workflow: both are of the group '{group}'"
                yield ("jobs", name, "concurrency"), why, "name another group"
        if cycle := self._cycle():
            why = "these jobs wait for each other: " + " -> ".join(cycle)
            yield ("jobs", cycle[0], "needs"), why, "remove one of these needs"

    def _reachable(self, name: str, job: Job) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """What a pull request, or a branch that was chosen by hand, must not start."""
        pushed = [image for image in job.images if image.push]
        if self.on.pull_request and not self._is_kept(job):
            if pushed or job.deploy:
                what = "push images" if pushed else "be deployed"
                why = f"every pull request would {what}"
                yield ("jobs", name, "events"), why, "set it to [push]"
            if job.awaits:
                why = "a pull request's own commit is never pushed: the job would wait in vain"
                yield ("jobs", name, "events"), why, "set it to [push]"
        for position, event in enumerate(job.events):
            if event not in self.events:
                why = f"{event} does not start this workflow, so not this job either"
                yield ("jobs", name, "events", position), why, nearest(event, self.events)
        started = self.on.push.branches if self.on.push else []
        for position, branch in enumerate(job.branches):
            if self.events == [Event.PUSH] and excludes(started, branch):
                why = f"the workflow does not run on '{branch}', so not this job either"
                yield ("jobs", name, "branches", position), why, nearest(branch, started)
        for position, image in enumerate(job.images):
            if any("{branch}" in tag.name for tag in image.tags):
                for word, ref in self._refs(job):
                    if not TAG.fullmatch(ref):
                        place = ("jobs", name, "images", position, "tags")
                        why = f"the {word} '{ref}' makes no tag of an image"
                        yield place, why, f"leave {{branch}} out of its tags, or the {word}"

    def _refs(self, job: Job) -> list[tuple[str, str]]:
        """What a job may run on: ``{branch}`` stands for the name of any."""
        push = self.on.push or Push()
        branches = job.branches or push.branches
        tags = push.tags if not job.branches else list[str]()
        if not branches and not tags:
            branches = ["**"]
        return [*(("branch", name) for name in branches), *(("git tag", name) for name in tags)]

    @property
    def events(self) -> list[Event]:
        """What starts it."""
        given = {
            Event.PUSH: self.on.push,
            Event.PULL_REQUEST: self.on.pull_request,
            Event.WORKFLOW_DISPATCH: self.on.dispatch,
            Event.SCHEDULE: self.on.schedule,
            Event.WORKFLOW_RUN: self.on.after,
        }
        return [event for event, trigger in given.items() if trigger]

    @staticmethod
    def _is_kept(job: Job) -> bool:
        return bool(job.events) and Event.PULL_REQUEST not in job.events

    @property
    def deploys(self) -> bool:
        """Whether something comes to run."""
        return any(job.deploy for job in self.jobs.values())

    def _cycle(self) -> list[str]:
        done: set[str] = set()

        def walk(name: str, path: list[str]) -> list[str]:
            if name in path:
                return [*path[path.index(name) :], name]
            if name in done or name not in self.jobs:
                return []
            for need in self.jobs[name].needs:
                if found := walk(need, [*path, name]):
                    return found
            done.add(name)
            return []

        return next((cycle for name in self.jobs if (cycle := walk(name, []))), [])

    @property
    def longest_minutes(self) -> int:
        """How long a run can take, without waiting for machines."""

        def until(name: str) -> int:
            job = self.jobs[name]
            return job.timeout_minutes + max((until(need) for need in job.needs), default=0)

        return max(until(name) for name in self.jobs)

    def before(self, name: str) -> set[str]:
        """All jobs that a job waits for, and itself."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            current = waiting.pop()
            if current in self.jobs and current not in found:
                found.add(current)
                waiting += self.jobs[current].needs
        return found
