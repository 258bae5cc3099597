"""Runs a Pulumi program in this process, without an engine, and records what it registers.

The SDK's mock monitor answers the program. What only a provider could know is answered by a
placeholder of the right type, so that the program's own texts and URLs are built as usual and the
renderers can turn the placeholder into what their format calls it.
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

import pulumi
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime import mocks, rpc, set_all_config, set_mocks, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import Stack, run_pulumi_func

from pulumi_tiers.model.unknown import PLACEHOLDER

STACK_TYPE = "pulumi:pulumi:Stack"

Json: TypeAlias = Any
"""What JSON can hold; secrets are `Secret` objects."""


@dataclass(frozen=True)
class Secret:
    """A value that must not be shown."""

    value: Json


@dataclass(frozen=True)
class Resource:
    """One registered resource. `inputs` have the provider's own names (camelCase)."""

    urn: str
    type: str
    name: str
    parent: str
    inputs: Mapping[str, Json]
    depends_on: tuple[str, ...]
    protect: bool = False
    retain_on_delete: bool = False
    ignore_changes: tuple[str, ...] = ()
    #: ``<URN>::<id>`` of the provider, where the program chose one.
    provider: str = ""
    #: How long the engine waits, where the program says it: ``{"create": "5m"}``.
    timeouts: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Recording:
    """Everything that a program registered, in the order of registration."""

    resources: list[Resource] = field(default_factory=list)
    outputs: dict[str, Json] = field(default_factory=dict)
    #: Those of components, by their URNs.
    component_outputs: dict[str, dict[str, Json]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def of_type(self, token: str) -> list[Resource]:
        return [resource for resource in self.resources if resource.type == token]


# --- placeholders ---------------------------------------------------------------------------------


def variable_name(text: str) -> str:
    """A name as an environment variable: ``data-postgres`` → ``DATA_POSTGRES``."""
    return re.sub(r"[^A-Z0-9]+", "_", text.upper()).strip("_")


def secret_placeholder(name: str) -> str:
    """Stands for a secret value; `name` becomes the variable that renderers call it by."""
    return f"__secret.{variable_name(name)}__"


def later_placeholder(path: str) -> str:
    """`path` is what people read: ``digitalocean.postgres.host``."""
    return f"__later.{re.sub(r'_+', '_', path)}__"


def replace_placeholders(text: str, shown: Callable[[str, str], str]) -> str:
    """`shown` gets the kind (``secret`` or ``later``) and the name."""
    return PLACEHOLDER.sub(lambda match: shown(match[1], match[2]), text)


def placeholders(value: Json) -> Iterator[tuple[str, str]]:
    """All ``(kind, name)`` inside a value."""
    if isinstance(value, Secret):
        yield from placeholders(value.value)
    elif isinstance(value, str):
        yield from ((match[1], match[2]) for match in PLACEHOLDER.finditer(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from placeholders(item)
    elif isinstance(value, list):
        for item in value:
            yield from placeholders(item)


# Outputs that a provider computes and this library uses: type -> property -> how it is answered,
# from the resource's name and inputs. Anything else that a program reads stays unknown.
Answer: TypeAlias = Callable[[str, Mapping[str, Json]], Json]

_DATABASE_PORTS = {"mongodb": 27017, "valkey": 25061}

_ANSWERS: dict[str, dict[str, Answer]] = {
    "random:index/randomPassword:RandomPassword": {
        "result": lambda name, _: secret_placeholder(name)
    },
    "tls:index/privateKey:PrivateKey": {
        "privateKeyPem": lambda name, _: secret_placeholder(f"{name}-key")
    },
    # No secret, but a value that belongs to its key's.
    "tls:index/selfSignedCert:SelfSignedCert": {
        "certPem": lambda name, _: secret_placeholder(f"{name}-certificate")
    },
    # An image is known by its name until it is pulled.
    "docker:index/remoteImage:RemoteImage": {
        "imageId": lambda _, inputs: inputs["name"],
        "repoDigest": lambda _, inputs: inputs["name"],
    },
    "docker:index/container:Container": {"exitCode": lambda _, __: 0},
    "digitalocean:index/kubernetesCluster:KubernetesCluster": {
        "endpoint": lambda name, _: later_placeholder(f"digitalocean.{name}.endpoint"),
        "kubeConfigs": lambda name, _: Secret(
            [{"clusterCaCertificate": later_placeholder(f"digitalocean.{name}.certificate")}]
        ),
    },
    # Their passwords are made by the cloud: no `.env` can have them.
    "digitalocean:index/databaseCluster:DatabaseCluster": {
        "privateHost": lambda name, _: later_placeholder(f"digitalocean.{name}.host"),
        "port": lambda _, inputs: _DATABASE_PORTS.get(str(inputs["engine"]), 25060),
        "password": lambda name, _: Secret(later_placeholder(f"digitalocean.{name}.password")),
    },
    "digitalocean:index/databaseUser:DatabaseUser": {
        "password": lambda name, _: Secret(later_placeholder(f"digitalocean.{name}.password"))
    },
    "digitalocean:index/spacesKey:SpacesKey": {
        "accessKey": lambda name, _: later_placeholder(f"digitalocean.{name}.access_key"),
        "secretKey": lambda name, _: Secret(later_placeholder(f"digitalocean.{name}.secret_key")),
    },
    "kubernetes:core/v1:Service": {
        "status": lambda name, _: {
            "loadBalancer": {"ingress": [{"ip": later_placeholder(f"kubernetes.{name}.address")}]}
        }
    },
}


def answered(resource: Resource, key: str) -> Json:
    """What the program was told that a provider has computed."""
    return _ANSWERS[resource.type][key](resource.name, bare(resource.inputs))


def _cluster(name: str) -> dict[str, Json]:
    """What DigitalOcean answers of an existing cluster."""
    at = f"digitalocean.{name}"
    certificate = later_placeholder(f"{at}.certificate")
    return {
        "region": later_placeholder(f"{at}.region"),
        "vpcUuid": later_placeholder(f"{at}.vpc"),
        "endpoint": later_placeholder(f"{at}.endpoint"),
        "kubeConfigs": [{"clusterCaCertificate": certificate}],
    }


_CALLS: dict[str, Callable[[Mapping[str, Json]], dict[str, Json]]] = {
    "digitalocean:index/getKubernetesCluster:getKubernetesCluster": lambda asked: _cluster(
        str(asked["name"])
    ),
    "digitalocean:index/getDatabaseCa:getDatabaseCa": lambda asked: {
        "certificate": later_placeholder(f"digitalocean.{asked['clusterId']}.ca")
    },
    # A repository without files, where everybody is known.
    "github:index/getRepository:getRepository": lambda asked: {
        "fullName": f"{later_placeholder('github.owner')}/{asked['name']}",
        "repoId": 1,
    },
    "github:index/getBranch:getBranch": lambda asked: {
        "sha": later_placeholder(f"github.{asked['branch']}")
    },
    "github:index/getRestApi:getRestApi": lambda asked: {
        "code": 404 if "/contents/" in asked["endpoint"] else 200,
        "body": "[]" if "/pulls?" in asked["endpoint"] else '{"id": 1}',
    },
}


# --- the monitor ----------------------------------------------------------------------------------


class _NoMocks(mocks.Mocks):
    """Resources are answered by the monitor itself, and the few questions that this library asks.

    A program that asks a provider for anything else is refused.
    """

    def call(
        self, args: mocks.MockCallArgs
    ) -> tuple[dict[str, Json], list[tuple[str, str]] | None]:
        if args.token in _CALLS:
            return _CALLS[args.token](args.args), []
        raise pulumi.RunError(f"{args.token} asks a provider, which rendering cannot do")

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Json]]:
        return f"{args.name}-id", args.inputs


class _Monitor(mocks.MockMonitor):
    def __init__(self, recording: Recording, project: str, stack: str) -> None:
        super().__init__(_NoMocks())
        self.recording = recording
        self.project = project
        self.stack = stack

    def make_urn(self, parent: str, type_: str, name: str) -> str:
        # As the engine does it: the stack itself is not a part of its children's types. The SDK's
        # own version asks for stack and project in a thread that doesn't know them.
        if parent and STACK_TYPE not in parent:
            type_ = f"{parent.split('::')[2]}${type_}"
        return f"urn:pulumi:{self.stack}::{self.project}::{type_}::{name}"

    def RegisterResource(  # noqa: N802 - the SDK's name
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        urn = self.make_urn(request.parent, request.type, request.name)
        if request.type == STACK_TYPE:
            return resource_pb2.RegisterResourceResponse(urn=urn)
        registration = mocks.MockMonitor.ResourceRegistration(urn, f"{request.name}-id", {})
        if self.resources.setdefault(urn, registration) is not registration:
            raise pulumi.RunError(f"the engine refuses a second resource of this name: {urn}")
        inputs = _plain(request.object)
        self.recording.resources.append(
            Resource(
                urn=urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                inputs=inputs,
                depends_on=tuple(sorted(request.dependencies)),
                protect=request.protect,
                retain_on_delete=request.retainOnDelete,
                ignore_changes=tuple(request.ignoreChanges),
                provider=request.provider,
                timeouts={
                    step: str(getattr(request.customTimeouts, step))
                    for step in ("create", "update", "delete")
                    if getattr(request.customTimeouts, step)
                },
            )
        )
        state = struct_pb2.Struct()
        state.CopyFrom(request.object)
        bare = _bare(inputs)
        for key, answer in _ANSWERS.get(request.type, {}).items():
            value = answer(request.name, bare)
            secret = key in request.additionalSecretOutputs or isinstance(value, Secret)
            _set(state, key, _bare(value), secret=secret)
        return resource_pb2.RegisterResourceResponse(urn=urn, id=f"{request.name}-id", object=state)

    def RegisterResourceOutputs(  # noqa: N802 - the SDK's name
        self, request: resource_pb2.RegisterResourceOutputsRequest
    ) -> empty_pb2.Empty:
        if STACK_TYPE in request.urn:
            self.recording.outputs = dict(_plain(request.outputs))
        else:
            self.recording.component_outputs[request.urn] = _plain(request.outputs)
        return super().RegisterResourceOutputs(request)


def _set(state: struct_pb2.Struct, key: str, value: Json, *, secret: bool) -> None:
    state.update(
        {key: {rpc._special_sig_key: rpc._special_secret_sig, "value": value} if secret else value}
    )


def _plain(message: struct_pb2.Struct) -> dict[str, Json]:
    """A protobuf Struct as Python values: numbers as they were, secrets as `Secret`."""
    converted = _value(struct_pb2.Value(struct_value=message))
    assert isinstance(converted, dict)
    return converted


def _value(value: struct_pb2.Value) -> Json:
    match value.WhichOneof("kind"):
        case "struct_value":
            fields = value.struct_value.fields
            signature = (
                fields[rpc._special_sig_key].string_value if rpc._special_sig_key in fields else ""
            )
            if signature == rpc._special_secret_sig:
                return Secret(_value(fields["value"]))
            return {key: _value(item) for key, item in fields.items()}
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "number_value":
            number = value.number_value
            # Protobuf knows floats only: 8000 arrives as 8000.0.
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case _:
            return None


def _bare(value: Json) -> Json:
    """The value without its `Secret` wrappers."""
    if isinstance(value, Secret):
        return _bare(value.value)
    if isinstance(value, Mapping):
        return {key: _bare(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value


bare = _bare


class _Warnings(logging.Handler):
    def __init__(self, recording: Recording) -> None:
        super().__init__(logging.WARNING)
        self.recording = recording

    def emit(self, record: logging.LogRecord) -> None:
        self.recording.warnings.append(record.getMessage())


def _with_patches(resources: list[Resource]) -> list[Resource]:
    """A Patch, and what it belongs to, are one object of the cluster: here they are one, too."""
    found = {(item.type, item.name, item.parent): item for item in resources}
    for key, patch in list(found.items()):
        whole = found.get((patch.type.removesuffix("Patch"), *key[1:]))
        if patch.type.startswith("kubernetes:") and whole and whole is not patch:
            inputs = _merged(whole.inputs, patch.inputs)
            found[(whole.type, *key[1:])] = replace(
                whole, inputs=inputs, ignore_changes=patch.ignore_changes
            )
            del found[key]
    return list(found.values())


def _merged(old: Json, new: Json) -> Json:
    """As Kubernetes merges: maps by their keys, lists of objects by their names."""
    match old, new:
        case Mapping(), Mapping():
            both = {key: _merged(old[key], new[key]) for key in old if key in new}
            return {**old, **new, **both}
        case [{"name": _}, *_], [{"name": _}, *_]:
            names = {item["name"]: item for item in old}
            return [_merged(names.get(item["name"], {}), item) for item in new]
        case _:
            return new


def record(
    program: Callable[[], None], *, project: str, stack: str, config: Mapping[str, Json]
) -> Recording:
    """Runs `program` as the program of that stack and returns what it registered.

    `config` has full keys (``tiers:target``); structured values are given as such, secret ones as
    `Secret`. Exceptions of the program are raised unchanged.
    """
    recording = Recording()
    logger = logging.getLogger("pulumi_tiers.recorder")
    logger.handlers = [_Warnings(recording)]
    logger.propagate = False
    texts = {key: _config_text(_bare(value)) for key, value in config.items()}
    secret_keys = [key for key, value in config.items() if _holds_secret(value)]
    settings.ROOT.set(None)
    # A program that failed leaves outputs of its own loop, which is closed.
    cast("set[object]", settings.SETTINGS.outputs).clear()
    loop = asyncio.new_event_loop()
    # The first failure is raised; asyncio would print it again for each output that it reached.
    loop.set_exception_handler(lambda _loop, _context: None)
    asyncio.set_event_loop(loop)
    try:
        set_all_config(texts, secret_keys)
        set_mocks(
            _NoMocks(),
            project=project,
            stack=stack,
            preview=False,
            logger=logger,
            monitor=_Monitor(recording, project, stack),
        )
        root = settings.get_root_resource()
        loop.run_until_complete(run_pulumi_func(lambda: program()))
        assert isinstance(root, Stack)
        # The stack was made before the program ran: its outputs are registered now.
        root.register_outputs(dict(root.outputs))
        loop.run_until_complete(run_pulumi_func(lambda: None))
    finally:
        loop.close()
        asyncio.set_event_loop(None)
    recording.resources = _with_patches(recording.resources)
    return recording


def _config_text(value: Json) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else json.dumps(value)


def _holds_secret(value: Json) -> bool:
    if isinstance(value, Secret):
        return True
    if isinstance(value, Mapping):
        return any(_holds_secret(item) for item in value.values())
    return isinstance(value, list) and any(_holds_secret(item) for item in value)
