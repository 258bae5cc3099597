"""The stack's configuration: every ``tiers:`` key, checked, in one place.

`Pulumi.yaml` types and describes the scalar and list keys for the engine; a test holds both equal.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from pulumi_tiers.model.base import Model, Text
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, nearest
from pulumi_tiers.model.image import Mirrors
from pulumi_tiers.model.system import Environment, Target
from pulumi_tiers.model.workload import ImageReference

NAMESPACE = "tiers"


class Names(StrEnum):
    """How containers are called: ``<stack>-<system>-<name>``, or as the documents call them."""

    UNIQUE = "unique"
    DOCUMENTED = "documented"


def _registry(value: object) -> object:
    return Mirrors.parse(value) if isinstance(value, str) else value


class Settings(Model):
    """What a stack says about itself."""

    environment: Environment = Environment.DEVELOPMENT
    target: Target = Target.DOCKER
    systems: Annotated[list[str], Field(min_length=1)] = ["encontros-tech"]
    #: ``<system>/<service>`` -> image reference.
    images: dict[str, ImageReference] = {}
    registry: Annotated[Mirrors, BeforeValidator(_registry)] = Mirrors()
    port_offset: Annotated[int, Field(ge=0, le=60000)] = 0
    names: Names = Names.UNIQUE
    #: ``<system>/<store>/<user>`` -> password. Default: generated.
    secrets: dict[str, Text] = {}


STRUCTURED = frozenset({"systems", "images", "secrets"})


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
        if key in STRUCTURED and isinstance(value, str):
            try:
                value = json.loads(value)
            except json.JSONDecodeError:
                kind = "list" if key == "systems" else "map"
                mistakes.append(Mistake(full, f"{value!r} is not a {kind}", f"write a YAML {kind}"))
                continue
        values[key] = value
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        found = mistakes_of(error)
        mistakes += [Mistake(f"{NAMESPACE}:{item.place}", item.why, item.remedy) for item in found]
    else:
        if not mistakes:
            return settings
    raise DescriptionError(mistakes)
