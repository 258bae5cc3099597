"""The stack's configuration: every ``tiers:`` key, checked, in one place.

`Pulumi.yaml` types and describes the scalar and list keys for the engine; a test holds both equal.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import PydanticKnownError

from pulumi_tiers.model.base import Flag, LabelValue, Model, Name, Text, Whole, Word
from pulumi_tiers.model.cloud import Cloud, SourceRange
from pulumi_tiers.model.edge_texts import HostName
from pulumi_tiers.model.errors import (
    DescriptionError,
    Mistake,
    mistakes_of,
    nearest,
    reject,
    reject_all,
    shown,
)
from pulumi_tiers.model.github import GitHub
from pulumi_tiers.model.image import ImageReference, Mirrors, Registry, RegistryLogin
from pulumi_tiers.model.ml import ModelVersion
from pulumi_tiers.model.network import Subnet
from pulumi_tiers.model.observability import Observability
from pulumi_tiers.model.pipeline import PipelineOptions
from pulumi_tiers.model.store import Managed
from pulumi_tiers.model.system import Environment, Target
from pulumi_tiers.model.tls import Tls
from pulumi_tiers.model.workload import Autoscale, Given, HostAddress
from pulumi_tiers.systems import SYSTEMS

NAMESPACE = "tiers"


class Names(Word):
    """How containers are called: ``<stack>-<system>-<name>``, or as the documents call them."""

    UNIQUE = "unique"
    DOCUMENTED = "documented"


class Databases(Word):
    """Whose the databases are: the admin's, as the documents have it, or a user's of their own."""

    DOCUMENTED = "documented"
    DEDICATED = "dedicated"


class Gpus(Word):
    """Whether services compute on the GPUs that they ask for, or on CPUs."""

    ON = "on"
    OFF = "off"


class Publish(Word):
    """Which ports of the Docker host are opened: the documented ones, or those of edges only."""

    ALL = "all"
    EDGES = "edges"


class Protect(Word):
    """When the engine refuses to delete or replace what holds data."""

    PRODUCTION = "production"
    ALWAYS = "always"
    NEVER = "never"


class LoadBalancers(Model):
    """How the systems are reached from outside, on Kubernetes."""

    #: False: for clusters that never give a load balancer an address.
    await_: Annotated[Flag, Field(alias="await")] = True
    #: Who may reach the load balancers. Default: everybody.
    source_ranges: list[SourceRange] = []


def _system(value: str) -> str:
    if value not in SYSTEMS:
        raise reject(f"there is no system {shown(value)}", nearest(value, SYSTEMS))
    return value


def _once_each(value: list[str]) -> list[str]:
    reject_all(
        ((position,), f"the system '{name}' stands here twice", "give it once")
        for position, name in enumerate(value)
        if name in value[:position]
    )
    return value


def _registry(value: object) -> object:
    if isinstance(value, Mirrors):
        return value
    if isinstance(value, str):
        return Mirrors.parse(value)
    raise PydanticKnownError("string_type")


def _number(value: object) -> object:
    """The engine hands every value over as a text."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,9}", value) else value


def _switch(value: object) -> object:
    """YAML reads ``on`` and ``off`` as truth values."""
    known = {True: "on", False: "off", "true": "on", "false": "off"}
    return known.get(value, value) if isinstance(value, bool | str) else value


Replicas = Annotated[Whole, Field(ge=1, le=100)]
Concurrency = Annotated[Whole, Field(ge=1, le=1000)]


class Settings(Model):
    """What a stack says about itself."""

    environment: Environment = Environment.DEVELOPMENT
    target: Target = Target.DOCKER
    systems: Annotated[
        list[Annotated[str, AfterValidator(_system)]],
        Field(min_length=1),
        AfterValidator(_once_each),
    ] = ["encontros-tech"]
    #: ``<system>/<service>`` -> image reference, taken as it is written.
    images: dict[str, ImageReference] = {}
    #: For the images that the descriptions name.
    registry: Annotated[Mirrors, BeforeValidator(_registry)] = Mirrors()
    #: `off` takes GPUs away from everything: for machines that have none.
    gpu: Annotated[Gpus, BeforeValidator(_switch)] = Gpus.ON
    publish: Publish = Publish.ALL
    port_offset: Annotated[Whole, BeforeValidator(_number), Field(ge=0, le=60000)] = 0
    names: Names = Names.UNIQUE
    #: Set by `tiers up`: a mark of the folder that it runs in.
    owner: LabelValue = ""
    databases: Databases = Databases.DOCUMENTED
    protect: Protect = Protect.PRODUCTION
    load_balancers: LoadBalancers = LoadBalancers()
    #: Host of a private registry -> who pulls from it.
    registry_logins: dict[Registry, RegistryLogin] = {}
    #: What all systems share on DigitalOcean.
    digitalocean: Cloud = Cloud()
    #: ``<system>/<store>`` -> how DigitalOcean runs the store.
    managed: dict[str, Managed] = {}
    #: ``<system>/<store>/<user>`` -> password, ``<system>/<VARIABLE>`` -> secret of its services.
    #: Default: generated, and optional ones left out.
    secrets: dict[str, Text] = {}
    #: ``<system>/<VARIABLE>`` -> value, in all of the system's services that take it.
    variables: dict[str, Text] = {}
    #: ``<system>/<service>`` -> how many of it there are.
    replicas: dict[str, Replicas] = {}
    #: ``<system>/<service>`` -> Kubernetes decides how many there are.
    autoscale: dict[str, Autoscale] = {}
    #: ``<system>/<service>`` -> how many jobs each of its replicas does at a time.
    concurrency: dict[str, Concurrency] = {}
    #: ``<system>/<service>/<model>`` -> the version of the model that it is to have.
    models: dict[str, ModelVersion] = {}
    #: ``<system>/<service>`` that get the socket of the Docker daemon.
    docker_sockets: list[Text] = []
    #: System -> how it is watched, put over the description's own.
    observability: dict[str, Observability] = {}
    #: System -> the optional parts of it that are wanted. Default: the description's.
    profiles: dict[str, list[Name]] = {}
    #: System -> added to `port_offset` for its ports.
    port_offsets: dict[str, Annotated[Whole, Field(ge=0, le=60000)]] = {}
    #: System -> the private network that all its fixed addresses are in.
    subnets: dict[str, Subnet] = {}
    #: System -> the host name that clients reach its edge by.
    domains: dict[str, HostName] = {}
    #: System -> address of the Docker host on which its edge is published. Default: 127.0.0.1.
    host_ips: dict[str, HostAddress] = {}
    #: System -> the certificate of its edge. Default: self-signed in development.
    tls: dict[str, Tls] = {}
    #: System -> folder of its checkout on this machine: images are built from it, on Docker.
    sources: dict[str, Given] = {}
    #: Where pipelines go. Default: nowhere.
    github: GitHub | None = None
    #: System -> what its documented pipeline is to be like.
    pipelines: dict[str, PipelineOptions] = {}

    @property
    def protects(self) -> bool:
        """Whether what holds data is protected."""
        if self.protect is not Protect.PRODUCTION:
            return self.protect is Protect.ALWAYS
        # On Docker, `tiers down` keeps the data, and asks before it deletes any.
        return self.environment is Environment.PRODUCTION and self.target is not Target.DOCKER


STRUCTURED = frozenset(
    {"systems", "load_balancers", "registry_logins", "digitalocean", "github", "pipelines"}
    # Maps by system, or by a part of one.
    | {"images", "secrets", "managed", "variables", "replicas", "autoscale", "concurrency"}
    | {"models", "docker_sockets", "observability"}
    | {"profiles", "port_offsets", "subnets", "domains", "host_ips", "tls", "sources"}
)


ONLY_FOR = {
    Target.DOCKER: frozenset(
        {"publish", "port_offset", "port_offsets", "subnets", "host_ips", "sources"}
    ),
    Target.KUBERNETES: frozenset({"load_balancers"}),
    Target.DIGITALOCEAN: frozenset({"load_balancers", "digitalocean", "managed"}),
}
"""Keys that mean something on some targets only. They may stand in a stack of another one."""


def settings_doubts(settings: Settings) -> Iterator[str]:
    """What the stack says, and its target has no use for."""
    elsewhere = frozenset[str]().union(*ONLY_FOR.values()) - ONLY_FOR[settings.target]
    defaults = Settings()
    for key in sorted(elsewhere):
        if getattr(settings, key) == getattr(defaults, key):
            continue
        places = " and ".join(target for target, keys in ONLY_FOR.items() if key in keys)
        yield f"tiers:{key}: it does nothing on {settings.target}, it is for {places}"


def read_settings(config: Mapping[str, Any]) -> Settings:
    """Settings from ``tiers:`` keys; other namespaces are other providers' business.

    Raises DescriptionError with all mistakes.
    """
    values: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    for full, value in config.items():
        namespace, _, key = full.partition(":")
        if namespace != NAMESPACE:
            continue
        if key not in Settings.model_fields:
            remedy = nearest(key, Settings.model_fields)
            mistakes.append(Mistake(full, "there is no such configuration key", remedy))
            continue
        values[key] = _structured(value) if key in STRUCTURED else value
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        found = mistakes_of(error)
        mistakes += [Mistake(f"{NAMESPACE}:{item.place}", item.why, item.remedy) for item in found]
    else:
        if not mistakes:
            return settings
    raise DescriptionError(mistakes)


def _structured(value: object) -> object:
    """What the engine hands over as JSON. What isn't JSON stays, and is refused for what it is."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
