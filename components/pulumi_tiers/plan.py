"""A plan: the systems of a stack with its settings in place, checked as a whole."""

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pulumi_tiers.checks import check_systems
from pulumi_tiers.limits import check_logins
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, shown
from pulumi_tiers.model.system import System, Target
from pulumi_tiers.overrides import (
    check_edges,
    check_moved,
    check_overrides,
    check_secrets,
    check_systems_named,
    check_wanted,
)
from pulumi_tiers.pipelines.planned import check_github, with_pipeline
from pulumi_tiers.settings import Names, Settings
from pulumi_tiers.settled import chosen, with_settings, with_watchers
from pulumi_tiers.systems import SYSTEMS

CLUSTER = "cluster"
"""The component's name, with which the names of the cluster and its VPC end."""

_STACK = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


@dataclass(frozen=True)
class Plan:
    """What a stack is to be."""

    stack: str
    settings: Settings
    systems: tuple[System, ...]

    @property
    def target(self) -> Target:
        return self.settings.target


def make_plan(stack: str, settings: Settings, root: Path | None = None) -> Plan:
    """The plan of a stack. Raises DescriptionError with every mistake of every system.

    `root`: the folder that others are given from. Without it, nobody looks whether they are there.
    """
    mistakes: list[Mistake] = []
    if root is not None:
        settings, mistakes = _with_folders(settings, root)
    if not _STACK.fullmatch(stack) or len(stack) > 20:
        mistakes.append(
            Mistake(
                "stack",
                f"{shown(stack)} cannot be the beginning of the names of containers and volumes",
                "name the stack with at most 20 lower-case letters, digits and hyphens",
            )
        )
    mistakes += check_systems_named(settings)
    systems: list[System] = []
    for name in settings.systems:
        try:
            systems.append(SYSTEMS[name](settings.environment))
        except ValidationError as error:  # a mistake in systems/, or in one that was added
            mistakes += mistakes_of(error, name)
    mistakes += check_wanted(settings, systems)
    # Only what there is can be meant by the other keys.
    described = systems
    systems = [with_watchers(chosen(system, settings), settings, mistakes) for system in systems]
    if len(systems) == len(settings.systems):
        mistakes += check_overrides(settings, systems)
        mistakes += check_secrets(settings, systems, described)
    mistakes += check_logins("tiers:registry_logins", settings.registry_logins, settings.target)
    mistakes += check_edges(settings, systems)
    mistakes += check_moved(settings, systems)
    systems = [with_settings(system, settings, mistakes) for system in systems]
    if settings.github or settings.pipelines:
        systems = [with_pipeline(system, settings, mistakes) for system in systems]
        mistakes += check_github(settings, systems, stack)
    mistakes += check_systems(
        systems,
        settings.target,
        stack=stack,
        documented_names=settings.names is Names.DOCUMENTED,
    )
    if mistakes:
        raise DescriptionError(_in_its_tier(mistake, systems) for mistake in mistakes)
    return Plan(stack, settings, tuple(systems))


def _with_folders(settings: Settings, root: Path) -> tuple[Settings, list[Mistake]]:
    """The settings with whole paths, and those that lead to no folder."""
    mistakes: list[Mistake] = []

    def whole(place: str, folder: str) -> str:
        path = posixpath.normpath(root / folder)
        if not os.path.isdir(path):  # noqa: PTH112 - Path's raises where a name is too long
            why = f"there is no folder {shown(path)}"
            remedy = "give the one of the checkout: its whole path, or from the project's folder on"
            mistakes.append(Mistake(place, why, remedy))
        return path

    sources = {
        system: whole(f"tiers:sources.{system}", folder)
        for system, folder in settings.sources.items()
    }
    pipelines = {
        system: options.model_copy(
            update={"checkout": whole(f"tiers:pipelines.{system}.checkout", options.checkout)}
        )
        if options.checkout
        else options
        for system, options in settings.pipelines.items()
    }
    return settings.model_copy(update={"sources": sources, "pipelines": pipelines}), mistakes


def _in_its_tier(mistake: Mistake, systems: list[System]) -> Mistake:
    """The mistake with the place where the description has the service: `ml` has some of them."""
    place, why = mistake.place, mistake.why
    for system in systems:
        for name in system.ml:
            all_together = (
                rf"(?<={re.escape(system.name)}: )services(?=\.{re.escape(name)}(?![\w-]))"
            )
            place, why = (re.sub(all_together, "ml", text) for text in (place, why))
    return Mistake(place, why, mistake.remedy)
