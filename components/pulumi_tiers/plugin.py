"""The components for programs in other languages: Pulumi's plugin boundary."""

import inspect
import json
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any, TypeVar

import pulumi
from pulumi.errors import InputPropertiesError
from pulumi.provider import ConstructResult, main
from pulumi.provider.experimental.analyzer import PropertyDefinition, TypeDefinition
from pulumi.provider.experimental.component import ComponentProvider

from pulumi_tiers import (
    AppTier,
    CIPipeline,
    Cluster,
    DataTier,
    EdgeProxy,
    MLTier,
    Observability,
    Site,
    StateBucket,
)
from pulumi_tiers.component import PACKAGE, refuse
from pulumi_tiers.model.errors import Mistake, nearest

T = TypeVar("T")

_RESERVED = {"pulumi": "pulumiUp"}
"""What no property may be called in a schema -> what it is called outside of Python."""


class Plugin(ComponentProvider):
    """Pulumi's provider of components, which tells mistakes as this library does.

    Pulumi's own drops keys that it doesn't know, empties maps of enums, and sends people a
    traceback.
    """

    def __init__(self) -> None:
        components: list[type[pulumi.ComponentResource]] = [
            Site,
            DataTier,
            AppTier,
            MLTier,
            Observability,
            # After all that have `endpoints` as an output: the last one says whether the parts of
            # an Endpoint are plain, and here they must be.
            EdgeProxy,
            Cluster,
            StateBucket,
            CIPipeline,
        ]
        super().__init__(components, PACKAGE, version=version("pulumi-tiers"))
        # Most languages make `StoreArgs` of `Store` by themselves.
        schema = re.sub(rf"({PACKAGE}:index:\w+)Args\b", r"\1", str(self.schema))
        whole = json.loads(schema, object_hook=_without_indentation)
        for kind in whole["types"].values():
            if "properties" in kind:
                kind["properties"] = _renamed(kind["properties"])
        self.schema = json.dumps(whole)
        for definition in self._type_defs.values():
            definition.properties = _renamed(definition.properties)
            definition.properties_mapping = _renamed(definition.properties_mapping)

    def construct(
        self,
        name: str,
        resource_type: str,
        inputs: pulumi.Inputs,
        options: pulumi.ResourceOptions | None = None,
    ) -> ConstructResult:
        component = resource_type.rpartition(":")[2]
        definition = self._component_defs[component]
        arguments = _Arguments(self._type_defs)
        given = arguments.named(
            f"{component} {name}: ", inputs, definition.inputs, definition.inputs_mapping
        )
        try:
            refuse(arguments.mistakes)
            # A component's constructor has other parameters than its base class.
            constructor: Any = self._components[component]
            made = constructor(name, given, options)
        except pulumi.RunError as error:
            # Without a list, the SDK fails at telling it.
            raise InputPropertiesError(str(error), []) from None
        state = self.get_state(made, definition)
        # Whole: of a map with outputs in it, YAML programs would get `{}` for the secret ones.
        whole = {key: pulumi.Output.from_input(value) for key, value in state.items()}
        return ConstructResult(made.urn, whole)


class _Arguments:
    """Arguments as they come over the boundary become those that the components take."""

    def __init__(self, types: Mapping[str, TypeDefinition]) -> None:
        self._types = types
        self.mistakes: list[Mistake] = []

    def named(
        self,
        place: str,
        values: Mapping[str, Any],
        properties: Mapping[str, PropertyDefinition],
        names: Mapping[str, str],
    ) -> dict[str, Any]:
        """A map of known keys, with their names in Python."""
        for key in values:
            if key not in properties:
                why = f"there is no key '{key}' here"
                self.mistakes.append(Mistake(place + key, why, nearest(key, properties)))
        found: dict[str, Any] = {}
        for key, definition in properties.items():
            if values.get(key) is not None:
                found[names[key]] = self.value(place + key, values[key], definition)
            elif not definition.optional:
                self.mistakes.append(Mistake(place + key, "is missing", "add it"))
        return found

    def value(self, place: str, value: Any, definition: PropertyDefinition) -> Any:
        """Anything else than known keys stays as it is: the components check it."""
        if isinstance(value, pulumi.Output):
            if definition.plain:
                why = "is an output as a whole, and it decides what is made"
                remedy = "write the value itself; of a map or a list, texts in it may be outputs"
                self.mistakes.append(Mistake(place, why, remedy))
            return value
        match value, definition:
            case dict(), PropertyDefinition(additional_properties=PropertyDefinition() as inner):
                return {key: self.value(f"{place}.{key}", value[key], inner) for key in value}
            case list(), PropertyDefinition(items=PropertyDefinition() as inner):
                return [self.value(f"{place}[{i}]", item, inner) for i, item in enumerate(value)]
            case dict(), PropertyDefinition(ref=str() as ref):
                known = self._types[ref.rpartition(":")[2]]
                if not known.enum:
                    return self.named(
                        f"{place}.", value, known.properties, known.properties_mapping
                    )
        return value


def _renamed(properties: Mapping[str, T]) -> dict[str, T]:
    return {_RESERVED.get(key, key): value for key, value in properties.items()}


def _without_indentation(part: dict[str, Any]) -> dict[str, Any]:
    if isinstance(text := part.get("description"), str):
        part["description"] = inspect.cleandoc(text)
    return part


def serve() -> None:
    """Answers the engine until it ends this process."""
    main(Plugin(), sys.argv[1:])
