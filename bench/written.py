"""A recording as the data of a flat program: what somebody would have written by hand."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from pulumi_tiers.render.recorder import Recording, Resource, Secret, answered

Json: TypeAlias = Any

_IMAGE = "docker:index/remoteImage:RemoteImage"
#: What a provider computes and other resources are told, by its name in the SDK for Python.
_OUTPUTS = {
    "random:index/randomPassword:RandomPassword": {"result": "result"},
    "tls:index/privateKey:PrivateKey": {"privateKeyPem": "private_key_pem"},
    "tls:index/selfSignedCert:SelfSignedCert": {"certPem": "cert_pem"},
}


def written(recording: Recording) -> list[dict[str, Json]]:
    """The resources without components, in an order in which each can refer to earlier ones.

    References are ``{"$output": [number, property]}``, texts around them ``{"$text": [...]}``,
    secrets ``{"$secret": value}``. An image that several containers have stands there once.
    """
    return _Writer().write(recording)


class _Writer:
    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}
        self.images: dict[str, int] = {}
        #: By placeholder.
        self.outputs: dict[str, Json] = {}
        self.items: list[dict[str, Json]] = []

    def write(self, recording: Recording) -> list[dict[str, Json]]:
        for resource in recording.resources:
            # Only components have such a type, and they depend on nothing.
            if resource.type.startswith(("docker:", "random:", "tls:")):
                self.numbers[resource.urn] = self._number(resource)
        return self.items

    def _number(self, resource: Resource) -> int:
        name = str(resource.inputs["name"]) if resource.type == _IMAGE else ""
        if name in self.images:
            return self.images[name]
        number = len(self.items)
        inputs = {_snake(key): self._value(value) for key, value in resource.inputs.items()}
        if "image" in inputs:
            inputs["image"] = {"$output": [self.images[inputs["image"]], "image_id"]}
        self.items.append(
            {
                "type": resource.type,
                "name": resource.name,
                "inputs": inputs,
                "depends_on": sorted({self.numbers[urn] for urn in resource.depends_on}),
                "ignore_changes": [_snake(key) for key in resource.ignore_changes],
            }
        )
        if name:
            self.images[name] = number
        for key, attribute in _OUTPUTS.get(resource.type, {}).items():
            self.outputs[answered(resource, key)] = {"$output": [number, attribute]}
        return number

    def _value(self, value: Json) -> Json:
        match value:
            case Secret():
                return {"$secret": self._value(value.value)}
            case str():
                parts = list(self._parts(value))
                if parts == [value] or not parts:
                    return value
                return parts[0] if len(parts) == 1 else {"$text": parts}
            case Mapping():
                return {_snake(key): self._value(item) for key, item in value.items()}
            case list():
                return [self._value(item) for item in value]
            case _:
                return value

    def _parts(self, text: str) -> Iterator[Json]:
        known = "|".join(re.escape(placeholder) for placeholder in self.outputs)
        for part in re.split(f"({known})", text) if known else [text]:
            if part:
                yield self.outputs.get(part, part)


def _snake(name: str) -> str:
    """As the SDK for Python calls it. Keys that are data, such as paths, have no such capitals."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", name)
