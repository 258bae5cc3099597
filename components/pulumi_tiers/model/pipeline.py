"""A pipeline: how a system is tested, built and delivered, and what GitHub keeps for that."""

from collections.abc import Iterable, Iterator
from typing import Annotated

from pydantic import Field, model_validator

from pulumi_tiers.model.base import Flag, Model, Name, PlainText, Whole, Word
from pulumi_tiers.model.deployment import ImageBuild
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.errors import nearest, reject, reject_all
from pulumi_tiers.model.expression import uses_of
from pulumi_tiers.model.github_texts import (
    GIVEN,
    BranchPattern,
    Distinct,
    EnvironmentName,
    ImageRepository,
    Line,
    Once,
    RepositoryPath,
    Reviewer,
    RunnerLabel,
    SecretName,
    SecretReference,
    Seen,
    WorkflowFile,
)
from pulumi_tiers.model.image import DOCKER_HUB, Image, Registry
from pulumi_tiers.model.workflow import Event, Job, Workflow, excludes


class Scope(Word):
    """Where GitHub keeps a secret or a variable."""

    REPOSITORY = "repository"
    #: In the environments of the jobs that use it.
    ENVIRONMENT = "environment"
    ORGANIZATION = "organization"


class SecretSource(Word):
    """Where the value of a secret comes from."""

    #: `tiers:github.secrets`.
    GIVEN = "given"
    #: What the system's own services get under the same name.
    SYSTEM = "system"
    CLUSTER_ID = "cluster_id"
    KUBECONFIG = "kubeconfig"
    DIGITALOCEAN_TOKEN = "digitalocean_token"  # noqa: S105 - a name
    REGISTRY_USERNAME = "registry_username"
    REGISTRY_PASSWORD = "registry_password"  # noqa: S105 - a name
    STATE_URL = "state_url"
    STATE_KEY_ID = "state_key_id"
    STATE_KEY = "state_key"


class PipelineSecret(Model):
    """A secret that workflows use."""

    #: What it is for.
    purpose: Seen = ""
    scope: Scope = Scope.REPOSITORY
    source: SecretSource = SecretSource.GIVEN
    #: The workflows do without it.
    optional: Flag = False


class PipelineVariable(Model):
    """A variable that workflows use: no secret."""

    purpose: Seen = ""
    scope: Scope = Scope.REPOSITORY
    #: Default: `tiers:github.variables`.
    value: PlainText | None = None
    optional: Flag = False


Reviewers = Annotated[list[Reviewer], Field(max_length=6), Once]


class DeploymentEnvironment(Model):
    """An environment on GitHub: who approves what is deployed there, and what may be."""

    #: Whose stack makes it.
    environment: Environment
    #: At most six. One of them has to approve.
    reviewers: Reviewers = []
    prevent_self_review: Flag = False
    wait_minutes: Annotated[Whole, Field(ge=0, le=43200)] = 0
    #: From which something may be deployed. Default: every one.
    branches: Annotated[list[BranchPattern], Once] = []


class Protection(Model):
    """What a branch demands before something is merged into it."""

    branches: Annotated[list[BranchPattern], Field(min_length=1), Once] = ["main"]
    #: Jobs that must have succeeded, by the names that GitHub shows. Default: all that every pull
    #: request runs.
    checks: Annotated[list[Line], Once] = []
    #: Approvals.
    reviews: Annotated[Whole, Field(ge=0, le=10)] = 1


class RegistryAccess(Word):
    """How jobs log in to the registry."""

    #: By a user's name and a token, both secrets.
    SECRETS = "secrets"
    #: GitHub's own registry, by the token of the run.
    GITHUB = "github"
    #: Amazon's, by a role that the run proves itself to (OIDC): no secret at all.
    AWS = "aws"


class PushedTo(Model):
    """The registry that images are pushed to."""

    login: RegistryAccess = RegistryAccess.SECRETS
    #: Default: Docker Hub.
    host: Registry | None = None
    username: SecretReference = "DOCKER_USERNAME"
    password: SecretReference = "DOCKER_PASSWORD"  # noqa: S105 - a name
    #: AWS: variables that hold the role's ARN and the region.
    role: SecretReference = "AWS_ROLE_ARN"
    region: SecretReference = "AWS_REGION"

    def refuses(self, image: str) -> str | None:
        """Why nobody could push an image: it goes where nobody has logged in."""
        registry = Image.parse(image).registry
        match self.login:
            case RegistryAccess.AWS:
                right = registry.endswith(".amazonaws.com") and self.host in (None, registry)
                there = self.host or "Amazon's"
            case RegistryAccess.GITHUB:
                there = self.host or "ghcr.io"
                right = registry == there
            case RegistryAccess.SECRETS:
                there = self.host or DOCKER_HUB
                right = registry == there
        if right:
            return None
        return f"'{image}' would be pushed to {registry}, and the login is for {there}"

    @model_validator(mode="after")
    def _two_secrets(self) -> "PushedTo":
        if self.username == self.password:
            raise reject("'username' and 'password' are the same secret", "name two")
        return self


class Backend(Word):
    """Where the state of stacks is kept."""

    #: An S3 bucket, and a passphrase.
    BUCKET = "bucket"
    #: Pulumi Cloud, with a token.
    CLOUD = "cloud"
    #: Pulumi Cloud, which the run proves itself to (OIDC): no secret at all.
    CLOUD_OIDC = "cloud_oidc"


class ClusterAccess(Word):
    """How a run reaches the cluster that it deploys to."""

    #: By DigitalOcean's token.
    DIGITALOCEAN = "digitalocean"
    #: By a kubeconfig.
    KUBECONFIG = "kubeconfig"


class Channel(Word):
    """Where it is told how a delivery ended."""

    SLACK = "slack"
    DISCORD = "discord"


WEBHOOKS = {Channel.SLACK: "SLACK_WEBHOOK_URL", Channel.DISCORD: "DISCORD_WEBHOOK_URL"}
"""The secrets that hold the addresses."""


NOTIFY = "notify"
"""The job that tells how a delivery ended."""


def _stem(file: str) -> str:
    return file.rpartition(".")[0].lower()


class Pipeline(Model):
    """A system's delivery."""

    workflows: Annotated[dict[WorkflowFile, Workflow], Field(min_length=1)]
    environments: Annotated[dict[EnvironmentName, DeploymentEnvironment], Distinct] = {}
    secrets: dict[SecretName, PipelineSecret] = {}
    variables: dict[SecretName, PipelineVariable] = {}
    registry: PushedTo = PushedTo()
    backend: Backend = Backend.BUCKET
    cluster: ClusterAccess = ClusterAccess.DIGITALOCEAN
    #: The program makes buckets on DigitalOcean, which takes keys of its own.
    spaces: Flag = False
    #: Default: nothing is demanded.
    protection: Protection | None = None
    notify: Annotated[list[Channel], Once] = []
    #: Images bear how they were built, and of what (provenance, SBOM).
    attest: Flag = True

    @model_validator(mode="after")
    def _consistent(self) -> "Pipeline":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        titles = [workflow.name for workflow in self.workflows.values()]
        stems = [_stem(file) for file in self.workflows]
        for file, workflow in self.workflows.items():
            at = ("workflows", file)
            if stems.count(_stem(file)) > 1:
                why = f"another file is called '{file}' but for its case or its ending"
                yield at, why, "rename one: many machines would take them for the same"
            if titles.count(workflow.name) > 1:
                why = f"another workflow is called '{workflow.name}' too"
                yield (*at, "name"), why, "rename one: GitHub finds workflows by their names"
            if cycle := self._circle(file):
                why = "these workflows wait for each other: " + " -> ".join(cycle)
                yield at, why, "remove one of these 'awaits'"
            for position, title in enumerate(workflow.on.after):
                if title not in titles:
                    why = f"there is no workflow '{title}'"
                    yield (*at, "on", "after", position), why, nearest(title, titles)
            for key, text in workflow.env.items():
                yield from self._unknown((*at, "env", key), text)
            for name, job in workflow.jobs.items():
                place = (*at, "jobs", name)
                if name.lower() == NOTIFY and self.notify and workflow.deploys:
                    why = "the job that tells how it ended has this name"
                    yield place, why, "choose another, or remove the pipeline's 'notify'"
                if job.deploy and workflow.events == [Event.WORKFLOW_DISPATCH]:
                    yield from self._from_anywhere(place, job)
                if job.environment and job.environment not in self.environments:
                    why = f"there is no environment '{job.environment}'"
                    yield (*place, "environment"), why, nearest(job.environment, self.environments)
                for inner, text in job.texts:
                    yield from self._unknown((*place, *inner), text)
                for why, remedy in self._awaiting(file, job):
                    yield (*place, "awaits"), why, remedy
                yield from self._without_build(place, file, name)

    def _awaiting(self, file: str, job: Job) -> Iterator[tuple[str, str]]:
        """Whether each push that starts a workflow also starts the one that it waits for."""
        if job.awaits is None:
            return
        if job.awaits == file:
            yield "the workflow would wait for itself", "name another"
            return
        if job.awaits not in self.workflows:
            yield f"there is no workflow '{job.awaits}'", nearest(job.awaits, self.workflows)
            return
        own, other = self.workflows[file].on, self.workflows[job.awaits].on
        if not (own.push and other.push):
            yield "both workflows have to run on pushes", "give both the trigger 'push'"
            return
        if own.push.paths != other.push.paths:
            why = f"{job.awaits} does not run for the same files: this one would wait in vain"
            yield why, "give both the same 'paths'"
        if other.push.branches and not set(own.push.branches or ["**"]) <= {*other.push.branches}:
            why = f"{job.awaits} does not run on all branches of this workflow"
            yield why, "add them there"

    def _circle(self, file: str) -> list[str]:
        """The workflows that a workflow waits for, if it is one of them and the first."""
        paths = [[file]]
        while paths:
            path = paths.pop()
            awaited = {job.awaits for job in self.workflows[path[-1]].jobs.values() if job.awaits}
            for other in sorted(awaited & self.workflows.keys()):
                if other == file:
                    return [*path, file] if file == min(path) and len(path) > 1 else []
                if other not in path:
                    paths.append([*path, other])
        return []

    def _from_anywhere(
        self, place: tuple[str | int, ...], job: Job
    ) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """By hand, a workflow is started on any branch, with what that branch has of it."""
        environment = self.environments.get(job.environment or "")
        if not job.branches and not (environment and environment.branches):
            why = "started by hand, it would deploy any branch"
            yield (*place, "branches"), why, "name those that may be deployed"

    def _unknown(
        self, place: tuple[str | int, ...], text: str
    ) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        kinds: list[tuple[str, str, Iterable[str]]] = [
            ("secrets", "secret", {*self.secrets, *GIVEN}),
            ("vars", "variable", self.variables),
        ]
        for context, word, known in kinds:
            for name in uses_of(text, context):
                if name not in known:
                    yield place, f"there is no {word} '{name}'", nearest(name, known)

    def _without_build(
        self, place: tuple[str | int, ...], file: str, name: str
    ) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        job = self.workflows[file].jobs[name]
        push = self.workflows[file].on.push
        branches = job.branches or (push.branches if push else [])
        built = self._builders(file, name)
        for service, image in job.deploy.images.items() if job.deploy else ():
            at = (*place, "deploy", "images", service)
            if image not in built:
                yield (
                    at,
                    f"no job before this one builds '{image}'",
                    "let it need the job that does, or a job that awaits its workflow",
                )
                continue
            builder = built[image][0]
            without = [branch for branch in branches if excludes(builder.branches, branch)]
            if without:
                why = f"'{image}' is not built on the branch '{without[0]}', where this runs"
                yield at, why, "give both jobs the same 'branches'"
            elif push and builder.events and Event.PUSH not in builder.events and not job.events:
                why = f"'{image}' is not built on pushes, where this runs"
                yield at, why, "give both jobs the same 'events'"

    def built_before(self, file: str, name: str) -> dict[str, ImageBuild]:
        """The images that are there when a job runs, by their names."""
        return {image: build for image, (_, build) in self._builders(file, name).items()}

    def _builders(self, file: str, name: str) -> dict[str, tuple[Job, ImageBuild]]:
        workflow = self.workflows[file]
        found: dict[str, tuple[Job, ImageBuild]] = {}
        for before in workflow.before(name):
            job = workflow.jobs[before]
            jobs = [job]
            if job.awaits in self.workflows:
                jobs += self.workflows[job.awaits].jobs.values()
            for item in jobs:
                found |= {image.image: (item, image) for image in item.images if image.push}
        return found


class Owner(Word):
    """Who changes the image of a service that runs (EN-03)."""

    #: `pulumi up`, also in pipelines.
    PULUMI = "pulumi"
    #: `kubectl set image`, in pipelines: the program leaves the image alone.
    KUBECTL = "kubectl"


class PipelineOptions(Model):
    """What a stack says about a documented pipeline: `tiers:pipelines`."""

    #: Default: yes, except where the document calls it future.
    enabled: Flag | None = None
    owner: Owner = Owner.PULUMI
    notify: Annotated[list[Channel], Once] = []
    attest: Flag = True
    #: What the branch demands before something is merged. Default: the description's.
    protection: Protection | None = None
    registry: PushedTo = PushedTo()
    backend: Backend = Backend.BUCKET
    cluster: ClusterAccess = ClusterAccess.DIGITALOCEAN
    #: Service -> where its image is pushed to. Default: the documented name.
    images: dict[Name, ImageRepository] = {}
    #: The stacks of the two environments.
    stacks: dict[Environment, Name] = {}
    #: Folder of the Pulumi project.
    folder: RepositoryPath = "infra"
    #: The repository's checkout on this machine, from the project's folder on: all that the
    #: pipeline names has to be there. Default: that of `tiers:sources`, else nobody looks.
    checkout: PlainText | None = None
    #: Where `pulumi up` runs. Stacks on Docker need a runner of your own, on their host.
    runs_on: Annotated[list[RunnerLabel], Field(min_length=1)] = ["ubuntu-latest"]
    #: Environment on GitHub -> who approves.
    reviewers: dict[EnvironmentName, Reviewers] = {}
    #: Also workflows that preview pull requests and bring up what is merged.
    stack_workflows: Flag = True

    @model_validator(mode="after")
    def _two_stacks(self) -> "PipelineOptions":
        one, other = (self.stack(environment) for environment in Environment)
        if one == other:
            why = f"both environments are the stack '{one}'"
            reject_all([(("stacks",), why, "name two: each has its own secrets and approvals")])
        return self

    def stack(self, environment: Environment) -> str:
        """The stack of an environment."""
        default = {Environment.DEVELOPMENT: "dev", Environment.PRODUCTION: "prod"}
        return self.stacks.get(environment, default[environment])

    def image(self, service: str, documented: str) -> str:
        """Where a service's image is pushed to."""
        return self.images.get(service, documented)
