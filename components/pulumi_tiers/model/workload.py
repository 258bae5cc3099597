"""A workload: one container, or several of the same, in the words of Compose.

Each key has one canonical form (a command is a list, an environment a map, a port an object),
because a schema for other languages knows no unions.
"""

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import (
    AbsolutePath,
    Duration,
    Flag,
    LongName,
    MemorySize,
    Model,
    Name,
    PlainText,
    PortNumber,
    StorageSize,
    Text,
    Variable,
    Whole,
    Word,
)
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.image import check_image


class Condition(Word):
    """What a dependency must have reached, in Compose's words."""

    SERVICE_STARTED = "service_started"
    SERVICE_HEALTHY = "service_healthy"
    SERVICE_COMPLETED = "service_completed_successfully"


class RestartPolicy(Word):
    """When a container that ended is started again, in Compose's words."""

    NO = "no"
    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    UNLESS_STOPPED = "unless-stopped"


class PullPolicy(Word):
    """Compose's words; `always` is Kubernetes' ``imagePullPolicy: Always``."""

    ALWAYS = "always"
    MISSING = "missing"


def _image(value: object) -> object:
    return check_image(value) if isinstance(value, str) else value


ImageReference = Annotated[Text, AfterValidator(_image)]


def _given(value: str) -> str:
    if not value:
        raise reject("the text is empty", "write it out, or leave the key out")
    return value


Given = Annotated[PlainText, AfterValidator(_given)]
"""A text that says something."""


class Build(Model):
    """A build context instead of an image."""

    context: Given
    dockerfile: Given = "Dockerfile"
    args: dict[Variable, PlainText] = {}
    target: Given | None = None


def _address(value: str) -> str:
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise reject(
            f"{shown(value)} is not an address of the Docker host",
            "write an IPv4 address: '127.0.0.1', or '0.0.0.0' for every address it has",
        ) from None


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


def _scheme(value: str) -> str:
    if not _SCHEME.fullmatch(value):
        raise reject(f"{shown(value)} is not the beginning of a URL", "write 'http' or 'https'")
    return value


class Port(Model):
    """A port that the containers listen on (`target`), and where it is reached from outside."""

    target: PortNumber
    #: Port on the Docker host. Not given: reachable in the system's own network only.
    published: PortNumber | None = None
    #: Port of the load balancer on Kubernetes, open to everybody. Not given: in-cluster only.
    load_balancer: PortNumber | None = None
    #: Address of the Docker host. Every address of the machine takes an explicit 0.0.0.0.
    host_ip: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    scheme: Annotated[str, AfterValidator(_scheme)] = "http"


class Volume(Model):
    """A named volume."""

    name: LongName
    target: AbsolutePath
    #: Size of the claim on Kubernetes. Docker's volumes grow with the disk.
    size: StorageSize = "10Gi"


def _test(value: list[str]) -> list[str]:
    match value:
        case ["NONE"] | ["CMD", _, *_] | ["CMD-SHELL", _]:
            return value
        case _:
            raise reject(
                f"{shown(' '.join(value))} is not a test",
                "write [CMD, program, argument ...], [CMD-SHELL, a line for the shell] or [NONE]",
            )


def _url_path(value: str) -> str:
    if not (value.startswith("/") and value.isascii() and value.isprintable() and " " not in value):
        raise reject(
            f"{shown(value)} is not the path of a URL", "begin it with '/', such as '/health'"
        )
    return value


class Healthcheck(Model):
    """A command in the container whose exit code 0 means healthy (Docker's default numbers)."""

    test: Annotated[list[PlainText], AfterValidator(_test)]
    interval: Duration = "30s"
    timeout: Duration = "30s"
    retries: Annotated[Whole, Field(ge=1, le=1000)] = 3
    start_period: Duration = "0s"
    #: The same question over HTTP, for the probes of Kubernetes: a path on the first port.
    path: Annotated[str, AfterValidator(_url_path)] | None = None


class Resources(Model):
    """Limits. Kubernetes requests a quarter of the CPU and all of the memory."""

    #: The kernel shares out in hundredths.
    cpus: Annotated[float, Field(strict=True, ge=0.01, le=512)] = 0.5
    memory: MemorySize = "128m"


_OPTIONS = re.compile(r"(?:[a-z]+(?:=[A-Za-z0-9%]{1,20})?(?:,(?!$)|$))*")


def _options(value: str) -> str:
    if len(value) > 200 or not _OPTIONS.fullmatch(value):
        raise reject(
            f"{shown(value)} are not options of a tmpfs",
            "write them like Docker does: 'size=64m,uid=1000', or '' for none",
        )
    return value


_CAPABILITY = re.compile(r"[A-Za-z_]{1,40}")


def _capability(value: str) -> str:
    if not _CAPABILITY.fullmatch(value):
        raise reject(f"{shown(value)} is not a capability", "write it like 'NET_BIND_SERVICE'")
    return value


_USER = re.compile(r"(\d{1,10}):(\d{1,10})", re.ASCII)


def _user(value: str) -> str:
    match = _USER.fullmatch(value)
    if match is None or max(int(match[1]), int(match[2])) >= 2**31:
        raise reject(f"{shown(value)} is not uid:gid", "write numbers, such as '1000:1000'")
    return value


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
    tmpfs: dict[AbsolutePath, Annotated[str, AfterValidator(_options)]] = {}
    healthcheck: Healthcheck | None = None
    #: Path of its Prometheus metrics on the first port.
    metrics: Annotated[str, AfterValidator(_url_path)] | None = None
    depends_on: dict[Name, Condition] = {}
    replicas: Annotated[Whole, Field(ge=1, le=100)] = 1
    resources: Resources = Resources()
    restart: RestartPolicy = RestartPolicy.UNLESS_STOPPED
    pull_policy: PullPolicy = PullPolicy.MISSING
    stop_grace_period: Duration = "10s"
    #: ``uid:gid``. Numbers, because Kubernetes can't tell that a named user isn't root.
    user: Annotated[str, AfterValidator(_user)] = "1000:1000"
    read_only: Flag = True
    cap_add: list[Annotated[str, AfterValidator(_capability)]] = []
    #: Keeps its data over restarts and moves: a StatefulSet on Kubernetes.
    stateful: Flag = False
    #: True: runs once, to its end, before what depends on it (``service_completed_successfully``).
    job: Flag = False
    #: True: nobody has run this image with this hardening yet. Said wherever it is shown.
    unverified: Flag = False

    @model_validator(mode="after")
    def _consistent(self) -> "Workload":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if (self.image is None) == (self.build is None):
            given = "neither an image nor a build" if self.image is None else "an image and a build"
            yield (), f"this has {given}", "set exactly one of 'image' and 'build'"
        for variable in sorted(set(self.environment) & set(self.secrets)):
            why = "the variable is set both in environment and in secrets"
            yield ("environment", variable), why, "keep it in one of them"
        for key, texts in (("entrypoint", self.entrypoint), ("command", self.command)):
            for position, text in enumerate(texts):
                if isinstance(text, str) and not text:
                    why = "a command holds an empty text"
                    yield (key, position), why, "remove it; Docker refuses to start it"
        targets = [port.target for port in self.ports]
        for position, target in enumerate(targets):
            if target in targets[:position]:
                why = f"the container port {target} stands twice in ports"
                yield ("ports", position), why, "give each target once"
        names = [volume.name for volume in self.volumes]
        paths = [*self.tmpfs, *(volume.target for volume in self.volumes)]
        for position, volume in enumerate(self.volumes):
            if volume.name in names[:position]:
                why = f"the volume '{volume.name}' stands here twice"
                yield ("volumes", position), why, "give each volume one target"
            if volume.target in paths[: len(self.tmpfs) + position]:
                why = f"something else is mounted at {volume.target}"
                yield ("volumes", position), why, "mount each path once"

    @property
    def tells_health(self) -> bool:
        """Whether it can be waited for; ``["NONE"]`` switches the image's own check off."""
        return self.healthcheck is not None and self.healthcheck.test != ["NONE"]

    @property
    def values(self) -> dict[str, Any]:
        """Environment and secrets together."""
        return {**self.environment, **self.secrets}
