"""A pipeline: how a system is tested, built and delivered by GitHub Actions.

Words are GitHub's own. Texts hold its expressions (``${{ secrets.NAME }}``) where GitHub takes
them, except in `run`: a shell would execute what one brings, so values come through `env`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import Flag, Model, Name, PlainText, Variable, Whole, Word
from pulumi_tiers.model.cron import Cron
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.errors import nearest, reject, reject_all, shown
from pulumi_tiers.model.expression import check_expression, check_expressions, used_by, uses_of
from pulumi_tiers.model.image import DOCKER_HUB, Image, Registry

T = TypeVar("T")
M = TypeVar("M", bound=Mapping[str, object])

# --- texts ----------------------------------------------------------------------------------------

# What no editor shows: control characters, and those that turn the direction of what is read.
_UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff]"
)


def _seen(value: str) -> str:
    if found := _UNSEEN.search(value):
        raise reject(
            f"this text holds a character that nobody sees: U+{ord(found[0]):04X}",
            "remove it (lines end with \\n alone)",
        )
    return value


def _line(value: str) -> str:
    if not value or len(value) > 500 or value != value.strip() or set(value) & {"\n", "\t"}:
        raise reject(
            f"{shown(value)} is not a line of text",
            "write at most 500 characters on one line, with no space at an end",
        )
    return value


def _plain(value: str) -> str:
    if "${{" in value:
        raise reject(
            f"{shown(value)} has an expression, which GitHub takes for text here", "write it out"
        )
    return value


Seen = Annotated[PlainText, AfterValidator(_seen)]
"""A text that an editor shows as it is. Of any length, and of many lines."""
Line = Annotated[Seen, AfterValidator(_line), AfterValidator(_plain)]


def _once(value: list[T]) -> list[T]:
    reject_all(
        ((position,), f"{shown(item)} stands here twice", "give it once")
        for position, item in enumerate(value)
        if str(item).lower() in {str(other).lower() for other in value[:position]}
    )
    return value


Once = AfterValidator(_once)
"""A list in which nothing stands twice, in whatever case."""


def _distinct(value: M) -> M:
    """GitHub takes two keys that differ in nothing but their case for the same."""
    count = Counter(key.lower() for key in value)
    reject_all(
        ((key,), f"'{key}' stands here twice: GitHub does not tell A from a", "rename one")
        for key in value
        if count[key.lower()] > 1
    )
    return value


Distinct = AfterValidator(_distinct)

# --- names ----------------------------------------------------------------------------------------

_WORKFLOW_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}\.ya?ml")
_JOB = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_SECRET = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.-]{0,98}[A-Za-z0-9_])?")
_BRANCH = re.compile(r"!?[A-Za-z0-9_*][A-Za-z0-9_./*?+-]{0,199}")
_ACTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}")
_REVIEWER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){0,38}(/[a-z0-9_-]{1,100})?")


def _workflow_file(value: str) -> str:
    if not _WORKFLOW_FILE.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for a workflow's file",
            "write it like 'deploy.yml': GitHub reads files below .github/workflows that end in"
            " .yml or .yaml",
        )
    return value


WorkflowFile = Annotated[str, AfterValidator(_workflow_file)]
"""Name of a file below ``.github/workflows``."""


def _job_id(value: str) -> str:
    if not _JOB.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name that GitHub takes for a job or a step",
            "use letters, digits, '-' and '_', beginning with a letter or '_'",
        )
    return value


JobId = Annotated[str, AfterValidator(_job_id)]


def _secret_name(value: str) -> str:
    if not _SECRET.fullmatch(value) or value.startswith("GITHUB_"):
        raise reject(
            f"{shown(value)} is not a name that GitHub takes for a secret or a variable",
            "use capital letters, digits and '_', not beginning with a digit or GITHUB_",
        )
    return value


SecretName = Annotated[str, AfterValidator(_secret_name)]
"""The name of a secret or a variable on GitHub."""


def _secret_reference(value: str) -> str:
    if not _SECRET.fullmatch(value) or value.startswith("GITHUB_"):
        # It may be the secret itself.
        raise reject(
            "this is not a name that GitHub takes for a secret or a variable",
            "write its name here, such as 'DOCKER_PASSWORD': capital letters, digits and '_'."
            " The value goes into tiers:github.secrets",
        )
    return value


SecretReference = Annotated[str, AfterValidator(_secret_reference)]
"""The name of a secret where people might write the secret: it is never repeated."""


def _environment_name(value: str) -> str:
    if not _ENVIRONMENT.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a name for an environment on GitHub",
            "use at most 100 letters, digits, '-', '_', '.' and spaces",
        )
    return value


EnvironmentName = Annotated[str, AfterValidator(_environment_name)]


def _branch(value: str) -> str:
    wrong = ".." in value or "//" in value or value.endswith(("/", ".", ".lock"))
    if wrong or not _BRANCH.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a branch, nor a pattern of branches",
            "write it like 'main' or 'release/**'",
        )
    return value


Branch = Annotated[str, AfterValidator(_branch)]
"""A branch, or GitHub's pattern of some: ``release/**``. With ``!`` in front: not those."""


def _wanted_branch(value: str) -> str:
    if value.startswith("!"):
        raise reject(f"{shown(value)} leaves branches out", "name those that are meant")
    return value


def _one_branch(value: str) -> str:
    if set(value) & set("*?+!"):
        raise reject(f"{shown(value)} is a pattern, and is compared here", "name each branch")
    return value


BranchPattern = Annotated[Branch, AfterValidator(_wanted_branch)]
"""A branch, or a pattern of some."""
BranchName = Annotated[Branch, AfterValidator(_one_branch)]
"""One branch."""


def _repository_path(value: str) -> str:
    parts = value.split("/")
    # One spelling of each. Compose and Docker take what has a ':' for something else, and a shell's
    # command what begins with '-'; expressions are no paths.
    wrong = {"", ".."} & {*parts} or ("." in parts and value != ".") or value.startswith("-")
    wrong = wrong or {"\\", ":"} & {*value} or "${{" in value
    if len(value) > 500 or wrong or not value.isprintable() or value != value.strip():
        raise reject(
            f"{shown(value)} is not a path inside the repository",
            "write it from the repository's root on, such as 'backend/Dockerfile', or '.': without"
            " '..', ':' and '\\', and not beginning with '-'",
        )
    return value


def _one_path(value: str) -> str:
    if set(value) & {*"*?[]!"}:
        raise reject(f"{shown(value)} is a pattern of files", "name the file, or the folder")
    return value


RepositoryPath = Annotated[PlainText, AfterValidator(_repository_path), AfterValidator(_one_path)]
"""A file or a folder, from the repository's root on."""


def _path_filter(value: str) -> str:
    _repository_path(value.removeprefix("!").removesuffix("/**"))
    return value


PathFilter = Annotated[PlainText, AfterValidator(_path_filter)]
"""GitHub's pattern of files: ``backend/**``. With ``!`` in front, those are left out again."""


def _action(value: str) -> str:
    if "@" in value:
        raise reject(
            f"{shown(value)} names a version", "leave it out: all actions are pinned in one place"
        )
    if not _ACTION.fullmatch(value):
        raise reject(f"{shown(value)} is not an action", "write it like 'actions/checkout'")
    return value


ActionName = Annotated[str, AfterValidator(_action)]
"""An action without its version, such as ``actions/checkout``: `tiers actions` pins it."""


def _runner(value: str) -> str:
    if not _LABEL.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a runner's label",
            "write it like 'ubuntu-latest', 'self-hosted'",
        )
    return value


RunnerLabel = Annotated[str, AfterValidator(_runner)]


def _reviewer(value: str) -> str:
    if not _REVIEWER.fullmatch(value):
        raise reject(
            f"{shown(value)} is neither a user of GitHub nor a team",
            "write 'octocat', or 'my-organisation/my-team'",
        )
    return value


Reviewer = Annotated[str, AfterValidator(_reviewer)]
"""A user, or a team as ``<organisation>/<team>``."""


def _repository(value: str) -> str:
    image = Image.parse(value)
    if image.tag or image.digest:
        raise reject(f"{shown(value)} has a tag", "leave it out: 'tags' has them")
    return value


ImageRepository = Annotated[PlainText, AfterValidator(_repository)]
"""An image without its tag: ``marcospaulo1991/encontros-tech``."""

# --- expressions ----------------------------------------------------------------------------------

_GIVEN = frozenset({"GITHUB_TOKEN"})
"""GitHub itself gives it to every run."""


def _expressions(value: str) -> str:
    check_expressions(value)
    for context in ("secrets", "vars"):
        if "" in uses_of(value, context):
            raise reject(
                f"{shown(value)} uses all {context} at once",
                f"name the one that is needed: {context}.NAME",
            )
    return value


Expressions = Annotated[Seen, AfterValidator(_expressions)]
"""A text that may hold GitHub's expressions: ``${{ secrets.NAME }}``."""


def _label(value: str) -> str:
    if uses_of(_expressions(value), "secrets"):
        raise reject(f"{shown(value)} uses a secret, and everybody reads it", "leave it out")
    return value


Label = Annotated[Seen, AfterValidator(_line), AfterValidator(_label)]
"""A line that GitHub shows. It may hold expressions, without secrets."""


def _condition(value: str) -> str:
    if not value:
        return value
    if "${{" in value:
        raise reject(
            f"{shown(value)} is an expression in an expression", "leave out '${{' and '}}'"
        )
    check_expression(value)
    if used_by(value, "secrets"):
        raise reject(
            f"{shown(value)} uses a secret, which GitHub gives to no condition",
            "put whether it is set into 'env' of a step, and write that as the step's output",
        )
    return value


Condition = Annotated[Seen, AfterValidator(_condition)]
"""An expression of GitHub's that is true or false, without ``${{`` and ``}}``."""


def _list_expression(value: str) -> str:
    if not re.fullmatch(r"\$\{\{[^}]*\}\}", value):
        raise reject(
            f"{shown(value)} is not an expression of a list",
            "write it like ${{ fromJSON(needs.find.outputs.stacks) }}",
        )
    return value


ListExpression = Annotated[Expressions, AfterValidator(_list_expression)]


def _script(value: str) -> str:
    if "${{" in value:
        raise reject(
            "a shell executes what an expression brings, whoever wrote that",
            "put the expression into the step's 'env', and use the variable: \"$NAME\"",
        )
    if not value.strip():
        raise reject("the script is empty", "write it, or remove the step")
    return value


Script = Annotated[Seen, AfterValidator(_script)]
"""Lines for bash, which stops at the first one that fails."""

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


class When(Word):
    """Whether a step runs."""

    #: If all steps before it succeeded.
    SUCCESS = "success"
    #: If one of them failed.
    FAILURE = "failure"
    ALWAYS = "always"


Env = Annotated[dict[Variable, Expressions], Distinct]


def _input_name(value: str) -> str:
    if not _JOB.fullmatch(value):
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


_TAG = re.compile(r"(\w|\{branch\}|\{sha\})([\w.-]|\{branch\}|\{sha\}){0,120}", re.ASCII)


def _tag(value: str) -> str:
    if not _TAG.fullmatch(value):
        raise reject(
            f"{shown(value)} is not a tag of an image",
            "write it like 'latest' or '{branch}-{sha}'",
        )
    return value


class ImageTag(Model):
    """A tag that an image is pushed with."""

    #: ``{branch}`` and ``{sha}`` stand for those of the commit.
    name: Annotated[PlainText, AfterValidator(_tag)]
    #: On which it is given. Default: all that the workflow runs on.
    branches: Annotated[list[BranchName], Once] = []

    @property
    def immutable(self) -> bool:
        """No later commit gets the same one."""
        return "{sha}" in self.name


def _stage(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", value):
        raise reject(f"{shown(value)} is not a stage of a Dockerfile", "write what stands after AS")
    return value


def _argument(value: str) -> str:
    if "\n" in value:
        raise reject(
            "an argument of a build is one line: the next would be another argument",
            "write it on one line",
        )
    return value


class ImageBuild(Model):
    """An image that is built and pushed."""

    image: ImageRepository
    context: RepositoryPath = "."
    #: Default: the context's.
    dockerfile: RepositoryPath | None = None
    target: Annotated[str, AfterValidator(_stage)] | None = None
    args: dict[Variable, Annotated[Expressions, AfterValidator(_argument)]] = {}
    #: False: it is built only, which fills the cache for a job that pushes it.
    push: Flag = True
    #: One of them has ``{sha}``: that one is deployed.
    tags: Annotated[list[ImageTag], Field(min_length=1)] = [ImageTag(name="{sha}")]

    @model_validator(mode="after")
    def _has_immutable(self) -> "ImageBuild":
        if not any(tag.immutable and not tag.branches for tag in self.tags):
            raise reject(
                "all tags are mutable: nobody could tell what runs, nor go back",
                "add a tag with {sha}, without 'branches'",
            )
        names = [tag.name for tag in self.tags]
        if len(set(names)) < len(names):
            raise reject("a tag stands here twice", "give it once")
        return self

    @property
    def immutable_tag(self) -> str:
        """The one that is deployed."""
        return next(tag.name for tag in self.tags if tag.immutable and not tag.branches)


def _url_path(value: str) -> str:
    if not re.fullmatch(r"/[!-~]{0,500}", value) or "${{" in value:
        raise reject(
            f"{shown(value)} is not a path of a URL", "write it from the host on, such as '/health'"
        )
    return value


def _url(value: str) -> str:
    # What stands before '@' may be a password.
    if "@" in value:
        raise reject("a URL with an '@' would show who logs in, and how", "leave that out")
    if not re.fullmatch(r"https?://[A-Za-z0-9\[$][!-~ ]{0,500}", value) or value != value.strip():
        raise reject(f"{shown(value)} is not a URL", "write it like 'https://example.com/health'")
    if " " in re.sub(r"\$\{\{.*?\}\}", "", value):
        raise reject(f"{shown(value)} is a URL with a space", "write %20")
    return value


_SERVICE = re.compile(r"[a-z][a-z0-9-]*/[a-z][a-z0-9-]*")
_COMPOSE_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _service(value: str) -> str:
    if not _SERVICE.fullmatch(value):
        raise reject(f"{shown(value)} is not a service of a stack", "write it <system>/<service>")
    return value


class Health(Model):
    """What is asked after a deployment, until it answers with 200."""

    #: Below the URL that the deployment tells.
    path: Annotated[str, AfterValidator(_url_path)] = "/"
    #: The whole URL, where no deployment tells one.
    url: Annotated[Label, AfterValidator(_url)] | None = None
    #: Pulumi: ``<system>/<service>`` in the stack's output `urls`.
    service: Annotated[str, AfterValidator(_service)] | None = None
    #: Minutes until it is given up.
    timeout_minutes: Annotated[Whole, Field(ge=1, le=60)] = 5


class PulumiDeployment(Model):
    """`pulumi up` of a stack, with the images of this commit."""

    stack: Name
    #: Folder of the Pulumi project.
    folder: RepositoryPath = "infra"
    #: Nothing was built: only what the program says is brought up, with the images that run.
    program_only: Flag = False


class KubectlDeployment(Model):
    """doctl and kubectl: `apply`, `set image`, `rollout restart`, `rollout status`."""

    namespace: Name
    deployment: Name
    container: Name
    #: Applied first, so that a new cluster has the deployment. Default: none.
    manifests: RepositoryPath | None = None
    #: Service whose load balancer is asked for the health.
    service: Name
    #: Secret that holds the cluster's ID.
    cluster: SecretReference = "K8S_CLUSTER_ID"
    #: Secret that holds DigitalOcean's token.
    token: SecretReference = "DIGITALOCEAN_ACCESS_TOKEN"  # noqa: S105 - a name


class ComposeDeployment(Model):
    """Docker Compose on the runner itself, which is the host: a self-hosted one."""

    files: Annotated[list[RepositoryPath], Field(min_length=1), Once] = ["docker-compose.yml"]
    #: Of Compose: what runs under that name is replaced.
    project: Name
    #: Given to Compose, which puts them where its files name them: no file holds them.
    env: Env = {}
    profiles: Annotated[list[Name], Once] = []

    @model_validator(mode="after")
    def _own_names(self) -> "ComposeDeployment":
        reject_all(
            (("env", name), f"'{name}' is Compose's own", "use 'files', 'project', 'profiles'")
            for name in self.env
            if name.upper() in ("COMPOSE_FILE", "COMPOSE_PROJECT_NAME", "COMPOSE_PROFILES")
        )
        return self


class Deployment(Model):
    """What was built comes to run: by exactly one of `pulumi`, `kubectl` and `compose`."""

    pulumi: PulumiDeployment | None = None
    kubectl: KubectlDeployment | None = None
    compose: ComposeDeployment | None = None
    #: Service -> its image. For Pulumi ``<system>/<service>``, for Compose the service.
    images: dict[PlainText, ImageRepository] = {}
    #: Minutes until everything has to be there.
    timeout_minutes: Annotated[Whole, Field(ge=1, le=60)] = 5
    health: list[Health] = []
    #: If it fails, what ran before comes back. The run fails all the same.
    rollback: Flag = True

    @model_validator(mode="after")
    def _one_way(self) -> "Deployment":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if sum(way is not None for way in (self.pulumi, self.kubectl, self.compose)) != 1:
            yield (), "there is one way to deploy", "give one of pulumi, kubectl and compose"
            return
        program_only = self.pulumi is not None and self.pulumi.program_only
        if not self.images and not program_only:
            yield (), "no image is deployed", "name the images of its services in 'images'"
        if self.images and program_only:
            yield (), "'program_only' deploys no images", "remove it, or 'images'"
        if self.kubectl and len(self.images) > 1:
            yield (), "kubectl sets one image", "give one, or deploy by pulumi"
        word = "a service of a stack" if self.pulumi else "a service"
        form, remedy = (
            (_SERVICE, "write it <system>/<service>")
            if self.pulumi
            else (_COMPOSE_SERVICE, "use letters, digits, '.', '-' and '_'")
        )
        for service in self.images:
            if not form.fullmatch(service):
                yield ("images", service), f"{shown(service)} is not {word}", remedy
        for position, health in enumerate(self.health):
            place = ("health", position)
            if self.compose and not health.url:
                yield place, "Compose tells no URL", "give it its 'url'"
            if self.pulumi and not (health.url or health.service):
                yield place, "it isn't said what is asked", "give it a 'service' or a 'url'"
            if self.kubectl and (health.url or health.service):
                why = "kubectl asks the load balancer of its own 'service'"
                yield place, why, "give 'path' alone"
            elif health.url and health.service:
                yield place, "'url' and 'service' both say what is asked", "remove one"

    @property
    def longest_minutes(self) -> int:
        """How long it takes until what fails is seen."""
        program_only = self.pulumi is not None and self.pulumi.program_only
        health = sum(item.timeout_minutes for item in self.health)
        return health if program_only else self.timeout_minutes + health


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
    def group(self) -> str | None:
        """Whose jobs wait for each other: two deployments would not know of each other."""
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


_HOSTED = re.compile(r"(?:ubuntu|windows|macos)-[a-z0-9.-]+", re.IGNORECASE)
"""Labels of GitHub's own runners: any other may be that of a machine of one's own."""


def _excludes(patterns: list[str], branch: str) -> bool:
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
            own = any(not _HOSTED.fullmatch(label) for label in job.runs_on)
            if self.on.pull_request and own and not self._is_kept(job):
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
            if self.events == [Event.PUSH] and _excludes(started, branch):
                why = f"the workflow does not run on '{branch}', so not this job either"
                yield ("jobs", name, "branches", position), why, nearest(branch, started)
        for position, image in enumerate(job.images):
            if any("{branch}" in tag.name for tag in image.tags):
                for branch in job.branches or started or ["**"]:
                    if not _TAG.fullmatch(branch):
                        place = ("jobs", name, "images", position, "tags")
                        why = f"the branch '{branch}' makes no tag of an image"
                        yield place, why, "leave {branch} out of its tags, or the branch"

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


# --- what GitHub keeps ----------------------------------------------------------------------------


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
            ("secrets", "secret", {*self.secrets, *_GIVEN}),
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
            without = [branch for branch in branches if _excludes(builder.branches, branch)]
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
