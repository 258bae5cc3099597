"""A workload: one container, or several of the same, in the words of Compose.

Each key has one canonical form (a command is a list, an environment a map, a port an object),
because a schema for other languages knows no unions.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from pulumi_tiers.model.base import (
    AbsolutePath,
    Duration,
    FileName,
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
    seconds,
    size_in_bytes,
)
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.image import ImageReference
from pulumi_tiers.model.linux import capability, tmpfs_options
from pulumi_tiers.model.ml import Gpu, MlModel
from pulumi_tiers.model.network import AddressRange

CONFIGS = "/run/configs"
"""Where a workload finds its `configs`."""
SECRET_FILES = "/run/secrets"  # noqa: S105 - Docker's own path
"""Where a workload finds its `secret_files`."""

Place = tuple[tuple[str | int, ...], str, str]
"""A mistake in a part: its place below the part, why, remedy."""


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


class ImageOwner(Word):
    """Who changes the image of a service that runs. Both at once would undo each other's work."""

    PROGRAM = "program"
    #: On Kubernetes: ``kubectl set image``, as a pipeline does it. The program's is the first one.
    OTHERS = "others"


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


HostAddress = Annotated[str, AfterValidator(_address)]
"""An address of the Docker host."""

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
    host_ip: HostAddress = "127.0.0.1"
    scheme: Annotated[str, AfterValidator(_scheme)] = "http"


def _folder(value: str) -> str:
    if ":" in value:
        raise reject(f"{shown(value)} holds a colon, which Docker takes for a separator", "move it")
    if value.rstrip("/").endswith("/docker.sock"):
        why = "whoever has the daemon's socket has the whole machine"
        raise reject(why, "set 'docker_socket' where that is meant, or remove it")
    return value


HostFolder = Annotated[Given, AfterValidator(_folder)]
"""A folder of this machine; a relative one is below the program's."""


class Volume(Model):
    """A named volume."""

    name: LongName
    target: AbsolutePath
    #: Size of the claim on Kubernetes. Docker's volumes grow with the disk: there it is a label.
    size: StorageSize = "10Gi"
    #: Nobody needs its content later: on Kubernetes each pod has its own, which ends with it.
    scratch: Flag = False
    #: Docker: another workload of the site makes it, and this one uses it too.
    external: Flag = False
    read_only: Flag = False


def _test(value: list[str]) -> list[str]:
    match value:
        case ["NONE"]:
            return value
        # An empty line for the shell is always healthy, an empty program never.
        case ["CMD", begin, *_] | ["CMD-SHELL", begin] if begin.strip():
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


def _some(value: str) -> str:
    if not seconds(value):
        raise reject("Docker takes 0 for its own 30 seconds", "write '1s' or more")
    return value


Span = Annotated[Duration, AfterValidator(_some)]
"""A duration that isn't none at all."""


class Healthcheck(Model):
    """A command in the container whose exit code 0 means healthy (Docker's default numbers)."""

    test: Annotated[list[PlainText], AfterValidator(_test)]
    interval: Span = "30s"
    timeout: Span = "30s"
    retries: Annotated[Whole, Field(ge=1, le=1000)] = 3
    start_period: Duration = "0s"
    #: The same question over HTTP, for the probes of Kubernetes: a path on `port`.
    path: Annotated[str, AfterValidator(_url_path)] | None = None
    #: Default: the first of the workload's.
    port: PortNumber | None = None


class Resources(Model):
    """Limits, and what is kept free for it."""

    #: The kernel shares out in hundredths.
    cpus: Annotated[float, Field(strict=True, ge=0.01, le=512)] = 0.5
    memory: MemorySize = "128m"
    #: Kubernetes requests them. Default: a quarter of the CPUs. Docker reserves none.
    reserved_cpus: Annotated[float, Field(strict=True, ge=0.01, le=512)] | None = None
    #: Default: on Kubernetes all of it, on Docker none.
    reserved_memory: MemorySize | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Resources":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if self.reserved_cpus and self.reserved_cpus > self.cpus:
            why = f"{self.reserved_cpus:g} are more than the limit, {self.cpus:g}"
            yield ("reserved_cpus",), why, "lower it, or raise 'cpus'"
        if self.reserved_memory and (
            size_in_bytes(self.reserved_memory) > size_in_bytes(self.memory)
        ):
            why = f"{self.reserved_memory} is more than the limit, {self.memory}"
            yield ("reserved_memory",), why, "lower it, or raise 'memory'"


def _often(value: str) -> str:
    if not 1 <= seconds(value) <= 120:
        remedy = "Prometheus takes a series for gone after five minutes, and has to miss a question"
        raise reject(f"{value} is not 1s to 2m", remedy)
    return value


ScrapeInterval = Annotated[Duration, AfterValidator(_often)]
"""How often Prometheus asks."""


class Metrics(Model):
    """What Prometheus reads of a workload."""

    path: Annotated[str, AfterValidator(_url_path)] = "/metrics"
    #: Default: the first of the workload's.
    port: PortNumber | None = None
    #: How often. Default: as often as everything.
    interval: ScrapeInterval | None = None


class Autoscale(Model):
    """Kubernetes decides how many there are: by CPU, or by the length of a queue."""

    #: 0: none while the queue is empty.
    min: Annotated[Whole, Field(ge=0, le=100)] = 1
    max: Annotated[Whole, Field(ge=1, le=100)]
    #: A HorizontalPodAutoscaler: percent of the requested CPU that the replicas use on average.
    #: Default, where no queue is named: 70.
    cpu: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    #: KEDA's ScaledObject: how many waiting jobs one replica is for.
    queue_length: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None
    #: The queue in the workload's `queue` store.
    queue_name: Given | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscale":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if self.min > self.max:
            why = f"the smallest number, {self.min}, is above the largest, {self.max}"
            yield (), why, "exchange them"
        if (self.queue_length is None) is not (self.queue_name is None):
            key = "queue_name" if self.queue_name is None else "queue_length"
            why = "a queue needs its name and the number of jobs for one replica"
            yield (key,), why, "give both, or none"
        if self.queue_name is None and self.min == 0:
            why = "without a queue nothing tells when one is needed"
            yield ("min",), why, "set it to 1, or give 'queue_name' and 'queue_length'"

    @property
    def percent(self) -> int | None:
        """The CPU to aim at; none where only the queue counts."""
        return 70 if self.cpu is None and self.queue_name is None else self.cpu


class LoadBalancer(Model):
    """How a load balancer passes connections on, where the cloud can be asked for it."""

    #: It tells the client's address in front of each connection; the program must expect that.
    proxy_protocol: Flag = False
    #: Only nodes that run a replica take connections: without it, the client's address is lost.
    local: Flag = False
    #: DigitalOcean: id of the certificate with which it ends TLS on its port 443.
    certificate: Text | None = None


class Source(Model):
    """Where a workload's program is in the checkout of its system (`tiers:sources`)."""

    #: Below the checkout.
    context: Given = "."
    dockerfile: Given = "Dockerfile"
    #: Variables of the service that are arguments of its build too, where a stack sets them.
    args: list[Variable] = []
    #: Where the container has the checkout, so that the program can reload it in development.
    mount: AbsolutePath | None = None


TmpfsOptions = Annotated[str, AfterValidator(tmpfs_options)]
"""Docker's options of a folder in memory: ``size=16m,uid=999``; none of them is ''."""


def _twice(environment: Iterable[str], secrets: Iterable[str]) -> Iterator[Place]:
    for variable in sorted(set(environment) & set(secrets)):
        why = "the variable is set both in environment and in secrets"
        yield ("environment", variable), why, "keep it in one of them"


def _empty(part: "Init | Workload") -> Iterator[Place]:
    for key, texts in (("entrypoint", part.entrypoint), ("command", part.command)):
        for position, text in enumerate(texts):
            if isinstance(text, str) and not text:
                why = "a command holds an empty text"
                yield (key, position), why, "remove it; Docker refuses to start it"


class Init(Model):
    """A container that runs to its end before the workload starts, as the same user.

    It has the workload's networks, its volumes, writable, and /dev/shm.
    """

    image: ImageReference
    entrypoint: list[Text] = []
    command: list[Text] = []
    environment: dict[Variable, Text] = {}
    secrets: dict[Variable, Text] = {}
    #: As a workload's.
    tmpfs: dict[AbsolutePath, TmpfsOptions] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Init":
        reject_all([*_twice(self.environment, self.secrets), *_empty(self)])
        return self


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
    #: Variables that a stack may set (`tiers:variables`); left out where it doesn't.
    optional_environment: list[Variable] = []
    #: The same for secret ones (`tiers:secrets`).
    optional_secrets: list[Variable] = []
    #: Those without which it can't run: a stack must set them.
    required_secrets: list[Variable] = []
    #: Files in /run/configs, by name.
    configs: dict[FileName, Text] = {}
    #: Files in /run/secrets, by name. ``${postgres.url}`` refers to a store, as in `secrets`.
    secret_files: dict[FileName, Text] = {}
    #: The program notices changed files by itself; else it is started again.
    reloads: Flag = False
    ports: list[Port] = []
    #: Those of the site that it is in. Default: all of them.
    networks: list[Name] = []
    #: Fixed addresses on Docker, one per replica: ``172.28.0.20-172.28.0.29``.
    addresses: AddressRange | None = None
    load_balancer: LoadBalancer = LoadBalancer()
    volumes: list[Volume] = []
    #: Docker: folders of this machine by their path in the container. For development.
    binds: dict[AbsolutePath, HostFolder] = {}
    #: Writable, empty at every start: path -> options of Docker (``size=16m,uid=999``).
    tmpfs: dict[AbsolutePath, TmpfsOptions] = {}
    healthcheck: Healthcheck | None = None
    metrics: Metrics | None = None
    depends_on: dict[Name, Condition] = {}
    #: It exists only where one of them is chosen (`tiers:profiles`). Default: always.
    profiles: list[Name] = []
    replicas: Annotated[Whole, Field(ge=1, le=100)] = 1
    autoscale: Autoscale | None = None
    #: Jobs that each replica does at a time: ``${concurrency}`` in its command and environment.
    concurrency: Annotated[Whole, Field(ge=1, le=1000)] | None = None
    #: The store with the queue that it works off.
    queue: Name | None = None
    gpu: Gpu | None = None
    #: Trained models that it needs, by name.
    models: dict[Name, MlModel] = {}
    #: Runs before each start.
    init: Init | None = None
    resources: Resources = Resources()
    restart: RestartPolicy = RestartPolicy.UNLESS_STOPPED
    pull_policy: PullPolicy = PullPolicy.MISSING
    image_owner: ImageOwner = ImageOwner.PROGRAM
    stop_grace_period: Duration = "10s"
    #: ``uid:gid``. Numbers, because Kubernetes can't tell that a named user isn't root.
    user: Annotated[str, AfterValidator(_user)] = "1000:1000"
    read_only: Flag = True
    cap_add: list[Annotated[str, AfterValidator(capability)]] = []
    #: Keeps its data over restarts and moves: a StatefulSet on Kubernetes.
    stateful: Flag = False
    #: True: runs once, to its end, before what depends on it (``service_completed_successfully``).
    job: Flag = False
    #: True: it runs only when somebody asks for a run (``tiers run``).
    on_demand: Flag = False
    #: True: a collector, on every node of a cluster. Its binds are read-only.
    per_node: Flag = False
    #: True: it may list what is in its namespace, to find whom to ask for metrics.
    discovers: Flag = False
    #: True: on Docker, replicas are replaced one after another. Kubernetes always does that.
    rolling: Flag = False
    #: Docker: it gets the daemon's socket, with which it can do anything on the machine.
    docker_socket: Flag = False
    #: Why it can't be on Kubernetes: it is left out there.
    docker_only: Given | None = None
    #: True: nobody has run this image with this hardening yet. Said wherever it is shown.
    unverified: Flag = False
    source: Source | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Workload":
        reject_all(self._mistakes())
        return self

    def _mistakes(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        if (self.image is None) == (self.build is None):
            given = "neither an image nor a build" if self.image is None else "an image and a build"
            yield (), f"this has {given}", "set exactly one of 'image' and 'build'"
        yield from _twice(self.environment, self.secrets)
        for name in sorted(set(self.configs) & set(self.secret_files)):
            yield ("configs", name), "the file is also in secret_files", "keep it in one of them"
        yield from _empty(self)
        targets = [port.target for port in self.ports]
        for position, target in enumerate(targets):
            if target in targets[:position]:
                why = f"the container port {target} stands twice in ports"
                yield ("ports", position), why, "give each target once"
        names = [volume.name for volume in self.volumes]
        files = [CONFIGS] if self.configs else []
        files += [SECRET_FILES] if self.secret_files else []
        before = [*self.tmpfs, *self.binds, *files]
        paths = [*before, *(volume.target for volume in self.volumes)]
        for path in sorted({path for path in before if before.count(path) > 1}):
            yield (), f"two things are mounted at {path}", "mount each path once"
        for position, volume in enumerate(self.volumes):
            if volume.name in names[:position]:
                why = f"the volume '{volume.name}' stands here twice"
                yield ("volumes", position), why, "give each volume one target"
            if volume.target in paths[: len(before) + position]:
                why = f"something else is mounted at {volume.target}"
                yield ("volumes", position), why, "mount each path once"
        for folder in files:
            for path in paths:
                if path.startswith(f"{folder}/"):
                    why = f"{path} is below {folder}, which is read-only"
                    yield (), why, "mount it elsewhere"
        for position, name in enumerate(self.networks):
            if name in self.networks[:position]:
                why = f"the network '{name}' stands here twice"
                yield ("networks", position), why, "give it once"
        if self.init:
            for path in sorted(set(self.init.tmpfs) & {volume.target for volume in self.volumes}):
                why = f"a volume of the service is mounted at {path}, and there for its init, too"
                yield ("init", "tmpfs", path), why, "mount each path once"
        if self.autoscale and (self.stateful or self.job or self.on_demand):
            kind = "what keeps data" if self.stateful else "a job"
            yield ("autoscale",), f"nothing scales {kind} by itself", "remove it"
        if self.autoscale and self.autoscale.queue_name and self.queue is None:
            why = "'queue_name' is a queue in the workload's 'queue', and it has none"
            yield ("autoscale", "queue_name"), why, "name the store in 'queue'"
        if self.metrics and not targets:
            why = "Prometheus asks for them on the first port, and there is no port"
            yield ("metrics",), why, "add the port, or remove the metrics"
        elif self.metrics and self.metrics.port and self.metrics.port not in targets:
            why = f"it does not listen on {self.metrics.port}"
            yield ("metrics", "port"), why, "add it to 'ports', or leave it out"
        yield from self._unfit()

    def _unfit(self) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """What its kind cannot have."""
        if self.on_demand:
            for key in ("job", "stateful", "per_node"):
                if getattr(self, key):
                    why = "what runs on demand is none of the others"
                    yield (key,), why, "remove it, or 'on_demand'"
            if self.replicas > 1:
                yield ("replicas",), "each run is one container", "remove it"
            if self.ports:
                yield ("ports",), "nobody reaches what runs on demand", "remove them"
        if self.image_owner is ImageOwner.OTHERS:
            for key in ("job", "on_demand", "per_node", "stateful"):
                if getattr(self, key):
                    why = f"others change the image of a service, and this is one with '{key}'"
                    yield ("image_owner",), why, f"remove it, or '{key}'"
        if self.metrics and (self.on_demand or self.job):
            why = "it ends, and Prometheus would take it for one that is down"
            yield ("metrics",), why, "remove it, and let a service tell what became of the work"
        for name, model in self.models.items():
            if (model.store is None) is not (model.bucket is None):
                key = "bucket" if model.bucket is None else "store"
                why = "a bucket is in a store"
                yield ("models", name, key), why, "give both, or none for a volume"
        if self.models and self.init:
            why = "the models are fetched by one that is made for them, and there is one only"
            yield ("init",), why, "remove it, or fetch the models with it and remove 'models'"
        yield from self._model_mistakes()

    def _model_mistakes(self) -> Iterator[Place]:
        """Each needs a folder of its own: versions that are no longer needed are deleted there."""
        taken = {*self.tmpfs, *self.binds, *(volume.target for volume in self.volumes)}
        # What fetches them has these for itself.
        taken |= {CONFIGS, SECRET_FILES, "/data", "/dev/shm", "/tmp", "/var/tmp"}  # noqa: S108
        targets = [model.target for model in self.models.values()]
        if len(set(targets)) < len(targets):
            yield ("models",), "two models have one target", "give each its own"
        for name, model in self.models.items():
            at = ("models", name, "target")
            if model.target in taken:
                remedy = "choose a folder of its own, such as '/app/models'"
                yield at, f"{model.target} is something else already", remedy
            for other in targets:
                if model.target.startswith(f"{other}/"):
                    why = (
                        f"{model.target} is in {other}, where another model's versions come and go"
                    )
                    yield at, why, "give each a folder beside the other's"

    @property
    def tells_health(self) -> bool:
        """Whether it can be waited for; ``["NONE"]`` switches the image's own check off."""
        return self.healthcheck is not None and self.healthcheck.test != ["NONE"]

    @property
    def stack_secrets(self) -> list[str]:
        """The secret variables that a stack sets."""
        return [*self.optional_secrets, *self.required_secrets]

    @property
    def files(self) -> dict[str, Any]:
        """Configs and secret files together, by path."""
        configs = {f"{CONFIGS}/{name}": text for name, text in self.configs.items()}
        return {
            **configs,
            **{f"{SECRET_FILES}/{name}": text for name, text in self.secret_files.items()},
        }

    @property
    def values(self) -> dict[str, Any]:
        """Environment and secrets together."""
        return {**self.environment, **self.secrets}
