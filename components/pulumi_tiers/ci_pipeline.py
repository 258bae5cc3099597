"""CIPipeline: how a system is tested, built and delivered by GitHub Actions."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import pulumi

from pulumi_tiers.component import Component, refuse, validated
from pulumi_tiers.model.base import Flag, Name, Text
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.expression import expressions_in, uses_of
from pulumi_tiers.model.github import Delivery, Edits, RepositoryName
from pulumi_tiers.model.github_texts import BranchName, EnvironmentName, SecretName
from pulumi_tiers.model.pipeline import (
    Backend,
    Channel,
    ClusterAccess,
    Pipeline,
    RegistryAccess,
    Scope,
    SecretSource,
)
from pulumi_tiers.model.workflow import Access, Event, Job, When, Workflow
from pulumi_tiers.model.workload import Given
from pulumi_tiers.pipelines.checkout import check_checkout
from pulumi_tiers.pipelines.checks import check_registry, unapproved
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.pipelines.picture import page
from pulumi_tiers.pipelines.workflows import workflow_files


class PushArgs(TypedDict):
    """Commits that are pushed."""

    branches: NotRequired[list[str]]
    """Default: every branch."""
    paths: NotRequired[list[str]]
    """Only if one of these files changed. Default: whatever changed."""
    tags: NotRequired[list[str]]
    """Tags that are pushed. Default: none."""


class PullRequestArgs(TypedDict):
    """Pull requests, also those from forks: they get no secrets."""

    branches: NotRequired[list[str]]
    """That they are to be merged into. Default: every one."""
    paths: NotRequired[list[str]]
    """Only if one of these files is changed. Default: whatever is changed."""
    types: NotRequired[list[str]]
    """Default: GitHub's own, which are opened, synchronize and reopened."""


class TriggersArgs(TypedDict):
    """When a workflow runs."""

    push: NotRequired[PushArgs]
    """On commits that are pushed."""
    pull_request: NotRequired[PullRequestArgs]
    """On pull requests."""
    dispatch: NotRequired[bool]
    """By hand, with GitHub's button. Default: false."""
    schedule: NotRequired[list[str]]
    """Times as cron has them, in UTC. GitHub runs it on the default branch."""
    after: NotRequired[list[str]]
    """After runs of other workflows, by their `name`: on the default branch, whatever those ran
    on."""


class StepArgs(TypedDict):
    """One step of a job: an action that is used, or a script that is run."""

    name: NotRequired[str]
    """As GitHub shows it."""
    id: NotRequired[str]
    """By which others find its outputs."""
    comment: NotRequired[str]
    """Why it is there, for who reads the file."""
    uses: NotRequired[str]
    """An action without its version, such as ``actions/checkout``."""
    inputs: NotRequired[dict[str, str]]
    """Inputs of the action."""
    run: NotRequired[str]
    """Lines for bash. Expressions come through `env`."""
    env: NotRequired[dict[str, str]]
    """Variables of the step."""
    working_directory: NotRequired[str]
    """Where it runs. Default: the repository's root."""
    when: NotRequired[When]
    """Whether it runs: success (default), failure or always."""
    condition: NotRequired[str]
    """An expression that has to be true besides."""


class ImageTagArgs(TypedDict):
    """A tag that an image is pushed with."""

    name: str
    """``{branch}`` and ``{sha}`` stand for those of the commit."""
    branches: NotRequired[list[str]]
    """On which it is given. Default: all that the workflow runs on."""


class ImageBuildArgs(TypedDict):
    """An image that is built and pushed."""

    image: str
    """Without its tag, such as ``marcospaulo1991/encontros-tech``."""
    context: NotRequired[str]
    """Folder that it is built from. Default: the repository's root."""
    dockerfile: NotRequired[str]
    """Default: the context's."""
    target: NotRequired[str]
    """Stage of the Dockerfile. Default: its last."""
    args: NotRequired[dict[str, str]]
    """Build arguments."""
    push: NotRequired[bool]
    """False: it is built only, which fills the cache for a job that pushes it. Default: true."""
    tags: NotRequired[list[ImageTagArgs]]
    """One of them has ``{sha}``: that one is deployed. Default: it alone."""


class HealthArgs(TypedDict):
    """What is asked after a deployment, until it answers with 200."""

    path: NotRequired[str]
    """Below the URL that the deployment tells. Default: /."""
    url: NotRequired[str]
    """The whole URL, where no deployment tells one."""
    service: NotRequired[str]
    """Pulumi: ``<system>/<service>`` in the stack's output `urls`."""
    timeout_minutes: NotRequired[int]
    """Minutes until it is given up. Default: 5."""


class PulumiDeploymentArgs(TypedDict):
    """`pulumi up` of a stack, with the images of this commit."""

    stack: str
    """Its name."""
    folder: NotRequired[str]
    """Folder of the Pulumi project. Default: infra."""
    program_only: NotRequired[bool]
    """Nothing was built: only what the program says is brought up, with the images that run.
    Default: false."""


class KubectlDeploymentArgs(TypedDict):
    """doctl and kubectl: `apply`, `set image`, a patch of `restartedAt`, `rollout status`."""

    namespace: str
    """Where it runs."""
    deployment: str
    """Name of the Deployment."""
    container: str
    """Name of its container."""
    manifests: NotRequired[str]
    """Applied first, so that a new cluster has the Deployment. Default: none."""
    service: str
    """Service whose load balancer is asked for the health."""
    cluster: NotRequired[str]
    """Secret that holds the cluster's ID. Default: K8S_CLUSTER_ID."""
    token: NotRequired[str]
    """Secret that holds DigitalOcean's token. Default: DIGITALOCEAN_ACCESS_TOKEN."""


class ComposeDeploymentArgs(TypedDict):
    """Docker Compose on the runner itself, which is the host: a self-hosted one."""

    files: NotRequired[list[str]]
    """Compose files of the repository. Default: docker-compose.yml."""
    project: str
    """Of Compose: what runs under that name is replaced."""
    env: NotRequired[dict[str, str]]
    """Given to Compose, which puts them where its files name them: no file holds them."""
    profiles: NotRequired[list[str]]
    """Of Compose."""


class DeploymentArgs(TypedDict):
    """What was built comes to run: by exactly one of `pulumi`, `kubectl` and `compose`."""

    pulumi: NotRequired[PulumiDeploymentArgs]
    """By `pulumi up`."""
    kubectl: NotRequired[KubectlDeploymentArgs]
    """By kubectl."""
    compose: NotRequired[ComposeDeploymentArgs]
    """By Docker Compose."""
    images: NotRequired[dict[str, str]]
    """Service -> its image. For Pulumi ``<system>/<service>``, for Compose the service."""
    timeout_minutes: NotRequired[int]
    """Minutes until everything has to be there. Default: 5."""
    health: NotRequired[list[HealthArgs]]
    """What is asked afterwards."""
    rollback: NotRequired[bool]
    """If it fails, what ran before comes back. The run fails all the same. Default: true."""


class JobArgs(TypedDict):
    """A job: it runs on a machine of its own."""

    name: NotRequired[str]
    """As GitHub shows it. Default: its key."""
    comment: NotRequired[str]
    """Why it is there, for who reads the file."""
    needs: NotRequired[list[str]]
    """Jobs that must have succeeded before."""
    runs_on: NotRequired[list[str]]
    """Labels of its runner. Default: ubuntu-latest."""
    environment: NotRequired[str]
    """One of the pipeline's environments."""
    branches: NotRequired[list[str]]
    """Only on these branches."""
    events: NotRequired[list[Event]]
    """Only on these events."""
    condition: NotRequired[str]
    """An expression that has to be true besides."""
    permissions: NotRequired[dict[str, Access]]
    """Besides those that its parts need."""
    timeout_minutes: NotRequired[int]
    """Minutes until it is ended. Default: 15."""
    concurrency: NotRequired[str]
    """Jobs of the same group wait for each other. Default: of deployments to the same place."""
    matrix: NotRequired[dict[str, str]]
    """Name -> expression of a list: the job runs once for each item, as ``${{ matrix.NAME }}``."""
    outputs: NotRequired[dict[str, str]]
    """What other jobs can read."""
    env: NotRequired[dict[str, str]]
    """Variables of all its steps."""
    checkout: NotRequired[bool]
    """False: it needs no files of the repository. Default: true."""
    steps: NotRequired[list[StepArgs]]
    """Its own steps, after the checkout."""
    images: NotRequired[list[ImageBuildArgs]]
    """Images that are built then."""
    deploy: NotRequired[DeploymentArgs]
    """What is deployed then."""
    awaits: NotRequired[str]
    """It waits until the run of this workflow for the same commit has succeeded, and fails with
    it."""


class WorkflowArgs(TypedDict):
    """One file below ``.github/workflows``."""

    name: str
    """As GitHub shows it."""
    comment: NotRequired[str]
    """What it is for, for who reads the file."""
    on: TriggersArgs
    """When it runs."""
    concurrency: NotRequired[str]
    """Runs of a group wait for each other. Default: a pull request, or a branch to deploy."""
    cancel_in_progress: NotRequired[bool]
    """A newer run of the group ends the older one. Default: only what deploys nothing."""
    env: NotRequired[dict[str, str]]
    """Variables of all its jobs."""
    jobs: dict[str, JobArgs]
    """What is done."""


class PipelineSecretArgs(TypedDict):
    """A secret that workflows use."""

    purpose: NotRequired[str]
    """What it is for."""
    scope: NotRequired[Scope]
    """Where it is kept: repository (default), environment or organization."""
    source: NotRequired[SecretSource]
    """Where its value comes from in a stack of `tiers`. Default: given."""
    optional: NotRequired[bool]
    """The workflows do without it. Default: false."""


class PipelineVariableArgs(TypedDict):
    """A variable that workflows use: no secret."""

    purpose: NotRequired[str]
    """What it is for."""
    scope: NotRequired[Scope]
    """Where it is kept: repository (default), environment or organization."""
    value: NotRequired[str]
    """Default: the one of `variable_values`."""
    optional: NotRequired[bool]
    """The workflows do without it. Default: false."""


class DeploymentEnvironmentArgs(TypedDict):
    """An environment on GitHub: who approves what is deployed there, and what may be."""

    environment: Environment
    """Whose stack makes it: development or production."""
    reviewers: NotRequired[list[str]]
    """Users, and teams as ``<organisation>/<team>``: at most six. One of them has to approve."""
    prevent_self_review: NotRequired[bool]
    """Nobody approves what they started themselves. Default: false."""
    wait_minutes: NotRequired[int]
    """Minutes until a deployment begins. Default: 0."""
    branches: NotRequired[list[str]]
    """From which something may be deployed. Default: every one."""


class ProtectionArgs(TypedDict):
    """What a branch demands before something is merged into it."""

    branches: NotRequired[list[str]]
    """Default: main."""
    checks: NotRequired[list[str]]
    """Jobs that must have succeeded, by the names that GitHub shows. Default: all that every pull
    request runs."""
    reviews: NotRequired[int]
    """Approvals. Default: 1."""


class PushedToArgs(TypedDict):
    """The registry that images are pushed to."""

    login: NotRequired[RegistryAccess]
    """By secrets (default), by the run's own token at github, or by a role at aws."""
    host: NotRequired[str]
    """Default: Docker Hub."""
    username: NotRequired[str]
    """Secret that holds the user's name. Default: DOCKER_USERNAME."""
    password: NotRequired[str]
    """Secret that holds the user's token. Default: DOCKER_PASSWORD."""
    role: NotRequired[str]
    """AWS: variable that holds the role's ARN. Default: AWS_ROLE_ARN."""
    region: NotRequired[str]
    """AWS: variable that holds the region. Default: AWS_REGION."""


class CIPipelineArgs(TypedDict):
    """Arguments of CIPipeline."""

    system: str
    """Name of the system that is delivered."""
    workflows: dict[str, WorkflowArgs]
    """The workflows, by the names of their files."""
    environments: NotRequired[dict[str, DeploymentEnvironmentArgs]]
    """Where is deployed to, by GitHub's names of the environments."""
    secrets: NotRequired[dict[str, PipelineSecretArgs]]
    """Secrets that the workflows use. Those of logins, state and notifications come by
    themselves."""
    variables: NotRequired[dict[str, PipelineVariableArgs]]
    """Variables that the workflows use."""
    registry: NotRequired[PushedToArgs]
    """Where images are pushed to. Default: Docker Hub."""
    backend: NotRequired[Backend]
    """Where the state of stacks is: bucket (default), cloud or cloud_oidc."""
    cluster: NotRequired[ClusterAccess]
    """How a run reaches the cluster: by DigitalOcean's token (default) or a kubeconfig."""
    spaces: NotRequired[bool]
    """The program makes buckets on DigitalOcean, which takes keys of its own. Default: false."""
    protection: NotRequired[ProtectionArgs]
    """What branches demand of a merge. Default: nothing."""
    notify: NotRequired[list[Channel]]
    """Where it is told how a delivery ended: slack, discord."""
    attest: NotRequired[bool]
    """Images bear how they were built, and of what (provenance, SBOM). Default: true."""
    repository: NotRequired[str]
    """Name of the repository of the provider's owner. Default: none: nothing is made on GitHub,
    and nobody is asked."""
    branch: NotRequired[str]
    """That workflow files are for. Default: main."""
    delivery: NotRequired[Delivery]
    """How workflow files come into the repository: pull_request (default) or direct."""
    edits: NotRequired[Edits]
    """Where somebody has edited a workflow file by hand: refuse (default), overwrite or keep."""
    repository_wide: NotRequired[bool]
    """Also what a repository has once: files, secrets, variables, protection. Default: true."""
    own_environments: NotRequired[list[str]]
    """The environments that are made here, with their secrets and variables. Default: all."""
    secret_values: NotRequired[dict[str, pulumi.Input[str]]]
    """Values of the secrets. One without a value isn't written."""
    variable_values: NotRequired[dict[str, pulumi.Input[str]]]
    """Values of the variables that have none in `variables`."""
    organization_readers: NotRequired[list[str]]
    """Other repositories that may read the secrets and variables of the organisation."""
    strict: NotRequired[bool]
    """Production that nobody has to approve is a mistake. Default: it is told. False."""
    checkout: NotRequired[str]
    """The repository's checkout on this machine: its whole path, or from where the program runs.
    All that the workflows name has to be there. Default: nobody looks."""


class CIPipelineSpec(Pipeline):
    """CIPipelineArgs, checked."""

    system: Name
    repository: RepositoryName | None = None
    branch: BranchName = "main"
    delivery: Delivery = Delivery.PULL_REQUEST
    edits: Edits = Edits.REFUSE
    repository_wide: Flag = True
    own_environments: list[EnvironmentName] | None = None
    secret_values: dict[SecretName, Text] = {}
    variable_values: dict[SecretName, Text] = {}
    organization_readers: list[RepositoryName] = []
    strict: Flag = False
    checkout: Given | None = None


class CIPipeline(Component):
    """Workflow files, and what GitHub keeps for them: secrets, variables, environments, protection.

    Files stay in the repository when the component is taken away.
    """

    system: pulumi.Output[str]
    """Name of the system."""
    files: pulumi.Output[dict[str, str]]
    """The workflow files: path in the repository -> text."""
    page: pulumi.Output[str]
    """A description of them for people, in Markdown."""

    def __init__(
        self,
        name: str,
        args: CIPipelineArgs,
        opts: pulumi.ResourceOptions | None = None,
        *,
        planned: bool = False,
    ) -> None:
        """`planned`: a plan has looked at the pipeline, and tells itself what is doubtful."""
        kind = f"CIPipeline {name}"
        spec = validated(CIPipelineSpec, args, kind)
        pipeline = completed(spec)
        doubtful = [] if planned else list(unapproved(pipeline))
        refuse(_check(kind, spec, pipeline, doubtful))
        super().__init__(name, opts)
        for doubt in doubtful:
            pulumi.log.warn(f"{kind}: {doubt}: name who approves in its 'reviewers'", self)
        files = workflow_files(pipeline)
        if spec.repository:
            _Delivered(self, spec, pipeline, spec.repository).make(files)
        self.system = pulumi.Output.from_input(spec.system)
        self.files = pulumi.Output.from_input(files)
        self.page = pulumi.Output.from_input(page(spec.system, pipeline))
        self.register_outputs({"system": self.system, "files": self.files, "page": self.page})


def _check(
    kind: str, spec: CIPipelineSpec, pipeline: Pipeline, doubtful: list[str]
) -> Iterator[Mistake]:
    for doubt in doubtful if spec.strict else ():
        yield Mistake(f"{kind}: environments", doubt, "name who approves in its 'reviewers'")
    if spec.checkout:
        folder = Path(spec.checkout)
        if os.path.isdir(folder):  # noqa: PTH112 - Path's raises where a name is too long
            yield from check_checkout(kind, pipeline, folder)
        else:
            why = f"there is no folder {shown(spec.checkout)}"
            yield Mistake(f"{kind}: checkout", why, "give the whole path of the checkout")
    lists: list[tuple[str, list[str], Mapping[str, object], str]] = [
        ("own_environments", spec.own_environments or [], pipeline.environments, "environment"),
        ("secret_values", list(spec.secret_values), pipeline.secrets, "secret"),
        ("variable_values", list(spec.variable_values), pipeline.variables, "variable"),
    ]
    for key, names, known, word in lists:
        for name in names:
            if name not in known:
                why = f"the pipeline has no {word} '{name}'"
                yield Mistake(f"{kind}: {key}", why, nearest(name, known))
    yield from check_registry(kind, pipeline)
    protected = pipeline.protection.branches if pipeline.protection else []
    if spec.delivery is Delivery.DIRECT and spec.repository_wide and spec.branch in protected:
        yield Mistake(
            f"{kind}: delivery",
            f"'protection' lets nobody write to '{spec.branch}' directly, this program neither",
            "use 'pull_request', or protect other branches",
        )


class _Delivered:
    """What a pipeline becomes in a repository."""

    def __init__(
        self, owner: CIPipeline, spec: CIPipelineSpec, pipeline: Pipeline, repository: str
    ) -> None:
        # It takes a third of a second, and most programs have no repository.
        from pulumi_tiers.platforms import github

        self._github = github
        self._owner = owner
        self._spec = spec
        self._pipeline = pipeline
        self._workflows = expanded(pipeline)
        self._repository = github.find_repository(owner, repository)
        self._made: list[pulumi.Resource] = []
        self._without: list[str] = []

    def make(self, files: dict[str, str]) -> None:
        own = self._spec.own_environments
        for name in self._pipeline.environments if own is None else own:
            self._environment(name)
        if self._spec.repository_wide:
            self._of(Scope.REPOSITORY, self._pipeline.secrets, self._pipeline.variables)
            self._of_organization()
        self._tell_of_missing()
        if not self._spec.repository_wide:
            return
        # Runs that new files start find all that they use.
        delivered = self._github.deliver(
            self._owner,
            self._github.Files(self._repository, self._spec.branch, files),
            self._spec.delivery,
            self._spec.edits,
            self._made,
        )
        if protection := self._pipeline.protection:
            checks = protection.checks or required_checks(self._pipeline, protection.branches)
            self._github.protect(self._owner, self._repository, protection, checks, delivered)

    def _environment(self, name: str) -> None:
        environment = self._github.make_environment(
            self._owner, self._repository, name, self._pipeline.environments[name]
        )
        self._made.append(environment)
        self._of(
            Scope.ENVIRONMENT,
            self._wanted(name, "secrets", self._pipeline.secrets),
            self._wanted(name, "vars", self._pipeline.variables),
            environment=environment,
        )

    def _wanted(
        self, environment: str, context: str, declared: Mapping[str, object]
    ) -> Mapping[str, object]:
        """What jobs of the environment use, and what is declared for people and other workflows."""
        jobs = [
            (workflow, job)
            for workflow in self._workflows.values()
            for job in workflow.jobs.values()
        ]
        everywhere = _used(jobs, context)
        here = _used([item for item in jobs if item[1].environment == environment], context)
        return {**here, **{name: None for name in declared if name not in everywhere}}

    def _of(
        self,
        scope: Scope,
        secrets: Mapping[str, object],
        variables: Mapping[str, object],
        **environment: Any,
    ) -> None:
        """Those of these names that are kept there."""
        for name, secret_value in self._secrets(scope, secrets):
            made = self._github.make_secret(
                self._owner, self._repository, name, secret_value, **environment
            )
            self._made.append(made)
        for name, value in self._variables(scope, variables):
            made = self._github.make_variable(
                self._owner, self._repository, name, value, **environment
            )
            self._made.append(made)

    def _of_organization(self) -> None:
        secrets = list(self._secrets(Scope.ORGANIZATION, self._pipeline.secrets))
        variables = list(self._variables(Scope.ORGANIZATION, self._pipeline.variables))
        if not secrets and not variables:
            return
        readers = [self._repository] + [
            self._github.find_repository(self._owner, name)
            for name in self._spec.organization_readers
        ]
        for name, value in secrets:
            self._made.append(
                self._github.make_organization_secret(self._owner, name, value, readers)
            )
        for name, value in variables:
            self._made.append(
                self._github.make_organization_variable(self._owner, name, value, readers)
            )

    def _secrets(
        self, scope: Scope, names: Mapping[str, object]
    ) -> Iterator[tuple[str, pulumi.Input[str]]]:
        for name, secret in self._pipeline.secrets.items():
            if name not in names or secret.scope is not scope:
                continue
            if name in self._spec.secret_values:
                yield name, self._spec.secret_values[name]
            elif not secret.optional:
                self._without.append(f"secret {name} ({secret.purpose or 'no purpose is told'})")

    def _variables(
        self, scope: Scope, names: Mapping[str, object]
    ) -> Iterator[tuple[str, pulumi.Input[str]]]:
        for name, variable in self._pipeline.variables.items():
            if name not in names or variable.scope is not scope:
                continue
            value = self._spec.variable_values.get(name, variable.value)
            if value is not None:
                yield name, value
            elif not variable.optional:
                self._without.append(
                    f"variable {name} ({variable.purpose or 'no purpose is told'})"
                )

    def _tell_of_missing(self) -> None:
        if self._without:
            names = ", ".join(dict.fromkeys(self._without))
            pulumi.log.warn(
                f"workflows of {self._spec.system} use what has no value, so it isn't written:"
                f" {names}. Give it in 'secret_values' or 'variable_values'; in a stack of tiers:"
                " pulumi config set --secret --path 'tiers:github.secrets.NAME'",
                self._owner,
            )


def _used(jobs: list[tuple[Workflow, Job]], context: str) -> dict[str, None]:
    """The names that jobs use of `context`: ``secrets`` or ``vars``."""
    texts = [
        text
        for workflow, job in jobs
        for text in (*workflow.env.values(), *(text for _, text in job.texts))
    ]
    return dict.fromkeys(name for text in texts for name in uses_of(text, context))


def required_checks(pipeline: Pipeline, branches: list[str]) -> list[str]:
    """The jobs that every pull request into these branches runs, by the names that GitHub shows.

    A check that some pull request doesn't run would never let that one be merged.
    """
    found: dict[str, None] = {}
    for workflow in pipeline.workflows.values():
        trigger = workflow.on.pull_request
        if trigger is None or trigger.paths or trigger.types:
            continue
        if trigger.branches and not set(branches) <= set(trigger.branches):
            continue
        for key, job in workflow.jobs.items():
            name = job.name or key
            always = not job.events or Event.PULL_REQUEST in job.events
            # What an expression becomes in a name is another for each run.
            always = always and not expressions_in(name)
            if always and not (job.branches or job.condition or job.matrix or job.environment):
                found[name] = None
    return list(found)
