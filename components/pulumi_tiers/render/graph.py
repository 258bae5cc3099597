"""The recorded resources as plain data, without secrets: the same program gives the same text."""

from collections.abc import Mapping
from typing import TypedDict

from pulumi_tiers.render.recorder import Json, Recording, Secret, placeholders, replace_placeholders

SECRET = "[secret]"  # noqa: S105 - what stands in the place of one


class GraphResource(TypedDict):
    """One resource; `inputs` hold neither secrets nor placeholders."""

    urn: str
    type: str
    name: str
    parent: str
    inputs: dict[str, Json]
    depends_on: list[str]


class Graph(TypedDict):
    """Every resource, sorted by URN: Pulumi registers them in another order each time."""

    resources: list[GraphResource]


def graph(recording: Recording) -> Graph:
    """The recording as JSON."""
    return {
        "resources": [
            {
                "urn": resource.urn,
                "type": resource.type,
                "name": resource.name,
                "parent": resource.parent,
                "inputs": shown(resource.inputs),
                "depends_on": sorted(resource.depends_on),
            }
            for resource in sorted(recording.resources, key=lambda resource: resource.urn)
        ]
    }


def shown(value: Json) -> Json:
    """The value as people may see it. Maps are sorted; the order of a list means something."""
    match value:
        case Secret():
            return SECRET
        case str():
            # The whole text: what stands around a password may be a part of it.
            if any(kind == "secret" for kind, _ in placeholders(value)):
                return SECRET
            return replace_placeholders(value, lambda _, path: f"${{{path}}}")
        case Mapping():
            return {key: shown(item) for key, item in sorted(value.items())}
        case list():
            return [shown(item) for item in value]
        case _:
            return value
