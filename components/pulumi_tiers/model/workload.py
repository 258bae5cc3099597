"""A workload: one container, or several of the same, in the words of Compose.

Each key has one canonical form (a command is a list, an environment a map, a port an object),
because a schema for other languages knows no unions.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import (
    AbsolutePath,
    Duration,
    MemorySize,
    Model,
    Name,
    PortNumber,
    StorageSize,
    Text,
    Variable,
)
from pulumi_tiers.model.errors import reject
from pulumi_tiers.model.image import check_image


class Condition(StrEnum):
    """What a dependency must have reached, in Compose's words."""

    SERVICE_STARTED = "service_started"
    SERVICE_HEALTHY = "service_healthy"
    SERVICE_COMPLETED = "service_completed_successfully"


class RestartPolicy(StrEnum):
    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


class PullPolicy(StrEnum):
    """Compose's words; `always` is Kubernetes' ``imagePullPolicy: Always``."""

    ALWAYS = "always"
    MISSING = "missing"


def _image(value: object) -> object:
    return check_image(value) if isinstance(value, str) else value


ImageReference = Annotated[Text, AfterValidator(_image)]


class Build(Model):
    """A build context instead of an image."""

    context: str
    dockerfile: str = "Dockerfile"
    args: dict[Variable, str] = {}
    target: str | None = None


class Port(Model):
    """A port that the containers listen on (`target`), and where it is reached from outside."""

    target: PortNumber
    #: Port on the Docker host, or of the load balancer on Kubernetes. Not given: in-network only.
    published: PortNumber | None = None
    #: Port of the load balancer, where it differs from the Docker host's (80 for a web site).
    load_balancer: PortNumber | None = None
    #: Address of the Docker host. Every address of the machine takes an explicit 0.0.0.0.
    host_ip: str = "127.0.0.1"
    scheme: str = "http"


class Volume(Model):
    """A named volume."""

    name: Name
    target: AbsolutePath
    #: Size of the claim on Kubernetes. Docker's volumes grow with the disk.
    size: StorageSize = "10Gi"


class Healthcheck(Model):
    """A command in the container whose exit code 0 means healthy (Docker's default numbers)."""

    test: Annotated[list[str], Field(min_length=1)]
    interval: Duration = "30s"
    timeout: Duration = "30s"
    retries: Annotated[int, Field(ge=1)] = 3
    start_period: Duration = "0s"
    #: The same question over HTTP, for the probes of Kubernetes: a path on the first port.
    path: str | None = None


class Resources(Model):
    """Limits. Kubernetes requests a quarter of the CPU and all of the memory."""

    cpus: Annotated[float, Field(gt=0, le=512)] = 0.5
    memory: MemorySize = "128m"


class Workload(Model):
    """One service of a system."""

    image: ImageReference | None = None
    build: Build | None = None
    entrypoint: list[Text] = []
    command: list[Text] = []
    environment: dict[Variable, Text] = {}
    #: Environment variables whose values are secret. On Kubernetes they live in a Secret only.
    secrets: dict[Variable, Text] = {}
    #: Name of that Secret, where a document names it. Default: the workload's name.
    secret_name: Name | None = None
    ports: list[Port] = []
    volumes: list[Volume] = []
    #: Writable, empty at every start: path -> options of Docker (``size=16m,uid=999``).
    tmpfs: dict[AbsolutePath, str] = {}
    healthcheck: Healthcheck | None = None
    depends_on: dict[Name, Condition] = {}
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    resources: Resources = Resources()
    restart: RestartPolicy = RestartPolicy.UNLESS_STOPPED
    pull_policy: PullPolicy = PullPolicy.MISSING
    stop_grace_period: Duration = "10s"
    #: ``uid:gid``. Numbers, because Kubernetes can't tell that a named user isn't root.
    user: str = "1000:1000"
    read_only: bool = True
    cap_add: list[str] = []
    #: Keeps its data over restarts and moves: a StatefulSet on Kubernetes.
    stateful: bool = False
    #: True: runs once, to its end, before what depends on it (``service_completed_successfully``).
    job: bool = False
    #: True: nobody has run this image with this hardening yet. Said wherever it is shown.
    unverified: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> "Workload":
        if (self.image is None) == (self.build is None):
            raise reject(
                "give either an image or a build", "set exactly one of 'image' and 'build'"
            )
        both = sorted(set(self.environment) & set(self.secrets))
        if both:
            raise reject(
                f"{both[0]} is set both in environment and in secrets", "keep it in one of them"
            )
        for part in (*self.command, *self.entrypoint):
            if part == "":
                raise reject(
                    "a command holds an empty text", "remove it; Docker refuses to start it"
                )
        targets = [port.target for port in self.ports]
        if len(targets) != len(set(targets)):
            raise reject("a container port stands twice in ports", "give each target once")
        paths = [volume.target for volume in self.volumes] + list(self.tmpfs)
        if len(paths) != len(set(paths)):
            raise reject("two volumes have the same target", "mount each path once")
        user, _, group = self.user.partition(":")
        if not (user.isdecimal() and group.isdecimal()):
            raise reject(f"user {self.user!r} is not uid:gid", "write numbers, such as '1000:1000'")
        return self

    @property
    def values(self) -> dict[str, Any]:
        """Environment and secrets together."""
        return {**self.environment, **self.secrets}
