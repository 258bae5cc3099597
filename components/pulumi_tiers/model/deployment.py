"""What a job builds, and how that comes to run."""

import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import Flag, Model, Name, PlainText, Variable, Whole
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.github_texts import (
    BranchName,
    Env,
    Expressions,
    ImageRepository,
    Label,
    Once,
    RepositoryPath,
    SecretReference,
)

TAG = re.compile(r"(\w|\{branch\}|\{sha\})([\w.-]|\{branch\}|\{sha\}){0,120}", re.ASCII)


def _tag(value: str) -> str:
    if not TAG.fullmatch(value):
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
    """doctl and kubectl: `apply`, `set image`, a patch of `restartedAt`, `rollout status`."""

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
