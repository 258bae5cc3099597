"""`tiers images`: which image each service has, and why. The stack's file names others."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic_core import PydanticCustomError

from pulumi_tiers.cli import stack as stacks
from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.engine import extend_path
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.scale import made_services
from pulumi_tiers.cli.stack_file import write_entries
from pulumi_tiers.limits import init_name, is_managed
from pulumi_tiers.model.errors import DescriptionError, Mistake, nearest, shown
from pulumi_tiers.model.image import Mirrors, check_image
from pulumi_tiers.model.system import Target
from pulumi_tiers.plan import Plan, make_plan
from pulumi_tiers.render.picture import picture
from pulumi_tiers.render.recorder import Json, Recording, bare
from pulumi_tiers.settings import NAMESPACE, Settings, read_settings

KEY = f"{NAMESPACE}:images"
OUTPUT = "images"
"""The stack's output that holds what its last `pulumi up` had in `KEY`."""
_STACK_NOT_FOUND = 6
"""Pulumi's exit code."""
_ENGINE_SECONDS = 120
_PROBE = "tiers.invalid/probe:1"
"""No program has it by itself."""


class Why(StrEnum):
    """Where a service's image comes from."""

    DESCRIPTION = "description"
    REGISTRY = f"{NAMESPACE}:registry"
    STACK = KEY
    #: Carried on from the last `pulumi up`: it stands in the stack's file only since now.
    DEPLOYED = "deployed"
    #: Built on the Docker host: `image` is None.
    BUILT = "built"


@dataclass(frozen=True)
class Service:
    """The image of one service, store, edge, or of what runs before a service."""

    system: str
    name: str
    image: str | None
    why: Why
    #: What the description alone would have; None: it is built.
    described: str | None

    @property
    def key(self) -> str:
        return f"{self.system}/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """What `pin` did."""

    services: list[Service]
    #: The stack's file was changed.
    written: bool
    #: The command that makes it so.
    next: str


def table(project: Project, stack: str) -> list[Service]:
    """The image of everything, as the stack's file has it."""
    return _described(project, stack, {})[1]


def pin(
    project: Project, stack: str, asked: Sequence[str], *, deployed: bool, steps: Steps
) -> Outcome:
    """Writes images into the stack's file, after the whole description was checked with them.

    `asked`: ``api=repo:tag`` or ``pigmeu/api=repo:tag@sha256:…``. `deployed`: what the last
    `pulumi up` had in `tiers:images` is written too, where neither `asked` nor the file names one.
    """
    with stacks.alone(project, stack):
        services = table(project, stack)
        wanted = _references(asked, services)
        configured = dict(_settings(project, stack, {}).images)
        carried: dict[str, str] = {}
        if deployed:
            carried = _carried(project, stack, services, {*configured, *wanted}, steps)
        chosen = {**carried, **wanted}
        changes = {key: image for key, image in chosen.items() if configured.get(key) != image}
        if changes:
            entries: dict[str, Json] = {**configured, **changes}
            services = _described(project, stack, {KEY: entries}, carried)[1]
            write_entries(project.root / f"Pulumi.{stack}.yaml", KEY, entries)
            for key, image in changes.items():
                origin = " (deployed)" if key in carried else ""
                steps.say(f"Pulumi.{stack}.yaml says {key}: {image}{origin}")
        else:
            steps.say(f"Pulumi.{stack}.yaml says so already")
    here = _settings(project, stack, {}).target is Target.DOCKER
    # What somebody runs with the CLI is asked for its outputs.
    following = f"tiers up --stack {stack}" if here and not deployed else f"pulumi up -s {stack}"
    return Outcome(services, bool(changes), following)


# --- the description ------------------------------------------------------------------------------


def _settings(project: Project, stack: str, overrides: Mapping[str, Json]) -> Settings:
    return read_settings(bare({**project.config(stack), **overrides}))


def _described(
    project: Project, stack: str, overrides: Mapping[str, Json], carried: Mapping[str, str] = {}
) -> tuple[Recording, list[Service]]:
    """The recorded program and its images. Raises with every mistake."""
    mine = {**overrides, f"{NAMESPACE}:owner": project.owner}
    recording = project.record(stack, mine)
    services: list[Service] = []
    # Else they are another program's keys: it was content with them.
    with suppress(DescriptionError):
        services = _services(stack, _settings(project, stack, mine), carried)
    made = made_services(recording)
    if not any(item.key in made for item in services):
        services = _taken(project, stack, mine, carried)
    if not services:
        raise Stop(
            f"{project.main} does not take {KEY}: it names its images itself.\n"
            "  Change them there, or let it look them up in"
            f" pulumi.Config('{NAMESPACE}').get_object('images')",
            EXIT_INPUT,
        )
    return recording, services


def _taken(
    project: Project, stack: str, overrides: Mapping[str, Json], carried: Mapping[str, str]
) -> list[Service]:
    """Of a program of somebody's own: the services whose images follow `KEY`."""

    def images(**changed: Json) -> dict[str, str]:
        recording = project.record(stack, {**overrides, **changed})
        return {node.key: node.image for node in picture(recording).nodes if node.image}

    configured = bare({**project.config(stack), **overrides}).get(KEY) or {}
    described = images(**{KEY: {}})
    probed = images(**{KEY: dict.fromkeys(described, _PROBE)})
    found: list[Service] = []
    for key, image in sorted(images().items()):
        if probed.get(key) == _PROBE:
            given = Why.DEPLOYED if key in carried else Why.STACK
            why = given if key in configured else Why.DESCRIPTION
            system, _, name = key.partition("/")
            found.append(Service(system, name, image, why, described.get(key)))
    return found


def _services(stack: str, settings: Settings, carried: Mapping[str, str]) -> list[Service]:
    plain = settings.model_copy(update={"images": {}, "registry": Mirrors()})
    described = dict(_images(make_plan(stack, plain)))
    found: list[Service] = []
    for key, image in _images(make_plan(stack, settings)):
        system, _, name = key.partition("/")
        if image is None:
            why = Why.BUILT
        elif key in settings.images:
            why = Why.DEPLOYED if key in carried else Why.STACK
        else:
            why = Why.DESCRIPTION if image == described.get(key) else Why.REGISTRY
        found.append(Service(system, name, image, why, described.get(key)))
    return sorted(found, key=lambda item: item.key)


def _images(plan: Plan) -> Iterator[tuple[str, str | None]]:
    """The image of everything that the plan runs in a container; None where it is built."""
    for system in plan.systems:
        for name, item in system.workloads.items():
            yield f"{system.name}/{name}", _text(item.image)
            before = [item.init.image] if item.init else []
            for image in [*before, *(model.image for model in item.models.values())][:1]:
                yield f"{system.name}/{init_name(name)}", _text(image)
        for name, edge in system.edges.items():
            yield f"{system.name}/{name}", _text(edge.image)
        for name, store in system.stores.items():
            if not is_managed(store, plan.target):
                yield f"{system.name}/{name}", _text(store.image)


def _text(image: object) -> str | None:
    return image if isinstance(image, str) else None


# --- what was asked -------------------------------------------------------------------------------


def _references(asked: Sequence[str], services: Sequence[Service]) -> dict[str, str]:
    """``worker=repo:tag`` by the whole name. Raises DescriptionError with all mistakes."""
    mistakes: list[Mistake] = []
    found: dict[str, str] = {}
    for text in asked:
        name, equals, reference = text.partition("=")
        if not equals:
            why = f"{shown(text)} does not say which image"
            mistakes.append(Mistake("images", why, "write it like worker=ghcr.io/owner/worker:tag"))
            continue
        try:
            check_image(reference)
        except PydanticCustomError as error:
            said = error.context or {}
            mistakes.append(Mistake("images", f"{shown(name)}: {said['why']}", said["remedy"]))
        chosen = [item for item in services if name in (item.name, item.key)]
        if not chosen:
            system, _, service = name.rpartition("/")
            known = {item.key if system else item.name for item in services}
            why = f"the stack runs no {shown(name)} that has an image"
            mistakes.append(Mistake("images", why, nearest(name if system else service, known)))
        elif len(chosen) > 1:
            keys = ", ".join(item.key for item in chosen)
            why = f"'{name}' stands in several systems"
            mistakes.append(Mistake("images", why, f"write one of {keys}"))
        elif found.get(chosen[0].key, reference) != reference:
            mistakes.append(Mistake("images", f"two images for {chosen[0].key}", "give one"))
        else:
            found[chosen[0].key] = reference
    if mistakes:
        raise DescriptionError(mistakes)
    return found


# --- what was deployed ----------------------------------------------------------------------------


def _carried(
    project: Project, stack: str, services: Sequence[Service], named: set[str], steps: Steps
) -> dict[str, str]:
    """What the last `pulumi up` had, of what the stack still has and nobody names."""
    known = {item.key for item in services}
    carried: dict[str, str] = {}
    for key, image in sorted(_outputs(project, stack, steps).items()):
        if key not in known:
            steps.say(f"{key} was deployed, and the stack runs it no more: left out")
        elif key not in named:
            carried[key] = image
    return carried


def _outputs(project: Project, stack: str, steps: Steps) -> dict[str, str]:
    """The stack's output. Raises Stop where the engine can't tell."""
    extend_path()
    pulumi = shutil.which("pulumi")
    if pulumi is None:
        raise Stop(
            "the Pulumi CLI is needed to see what was deployed, and is not on PATH\n"
            "  https://www.pulumi.com/docs/install/",
            EXIT_MISSING,
        )
    # All outputs: a missing one alone would be an error like any other.
    command = [pulumi, "stack", "output", "--json", "--stack", stack, "--non-interactive"]
    try:
        done = subprocess.run(
            command,
            cwd=project.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_ENGINE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Stop(
            f"the engine did not tell within {_ENGINE_SECONDS} s what was deployed:"
            " does its backend answer?"
        ) from None
    if done.returncode == _STACK_NOT_FOUND:
        steps.say(f"the backend has no stack {stack} yet: nothing was deployed")
        return {}
    if done.returncode:
        said = done.stderr.strip() or "it said nothing"
        raise Stop(f"the engine can't tell what was deployed: {said}")
    try:
        outputs = _map(json.loads(done.stdout))
        found = _map(outputs.get(OUTPUT, {}))
        images = {str(key): check_image(image) for key, image in found.items()}
    except (ValueError, TypeError, PydanticCustomError):
        raise Stop(
            f"the output '{OUTPUT}' of stack {stack} is not a map of image references:"
            f" {shown(done.stdout.strip())}"
        ) from None
    if OUTPUT not in outputs:
        steps.say(f"stack {stack} has no output '{OUTPUT}' yet: nothing to carry on")
    return images


def _map(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value
