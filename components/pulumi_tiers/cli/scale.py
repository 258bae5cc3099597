"""`tiers scale`: how many there are of each service. The stack's file says it."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pulumi_tiers.cli import docker
from pulumi_tiers.cli import stack as stacks
from pulumi_tiers.cli.console import EXIT_INPUT, Steps, Stop
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.stack_file import write_entries
from pulumi_tiers.model.errors import DescriptionError, Mistake, nearest, shown
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Autoscale
from pulumi_tiers.plan import Plan, make_plan
from pulumi_tiers.platforms.labels import LABEL_SERVICE, LABEL_SYSTEM
from pulumi_tiers.render.details import labels_of
from pulumi_tiers.render.recorder import Json, Recording, bare
from pulumi_tiers.settings import NAMESPACE, read_settings

KEY = f"{NAMESPACE}:replicas"


@dataclass(frozen=True)
class Service:
    """What a stack says of one service."""

    system: str
    name: str
    replicas: int
    #: Jobs that each replica does at a time; None: it isn't one that does jobs.
    concurrency: int | None
    autoscale: Autoscale | None

    @property
    def key(self) -> str:
        return f"{self.system}/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """What `scale` did."""

    services: list[Service]
    #: The stack's file was changed.
    written: bool
    #: The stack was brought up.
    up: bool
    #: Else the command that does it.
    next: str


def table(project: Project, stack: str) -> list[Service]:
    """Every service that can have several replicas, as the stack's file has it."""
    return _described(project, stack, {})[1]


def scale(project: Project, stack: str, asked: Sequence[str], steps: Steps) -> Outcome:
    """Writes the numbers, after the whole description was checked with them, and brings it up.

    `asked`: ``worker=4`` or ``pigmeu/worker=4``. Only a stack that runs on local Docker, and was
    brought up from here, is brought up again.
    """
    with stacks.alone(project, stack):
        # Another folder's stack of this name is not ours to bring up.
        here = _runs_here(project, stack)
        services = table(project, stack)
        wanted = _numbers(asked, services)
        changes = {
            item.key: wanted[item.key]
            for item in services
            if item.key in wanted and item.replicas != wanted[item.key]
        }
        if changes:
            entries = {**_configured(project, stack), **changes}
            recording, services = _described(project, stack, {KEY: entries})
            if here:
                stacks.check_host_ports(recording, docker.containers(stack))
            write_entries(project.root / f"Pulumi.{stack}.yaml", KEY, entries)
            told = ", ".join(f"{key}: {number}" for key, number in changes.items())
            steps.say(f"Pulumi.{stack}.yaml says {told}")
        else:
            steps.say(f"Pulumi.{stack}.yaml says so already")
    if here:
        stacks.up(project, stack, stacks.runner_of(project, stack), steps)
        return Outcome(services, bool(changes), up=True, next="")
    docker_here = _target(project, stack) is Target.DOCKER and not _containers(stack)
    following = f"tiers up --stack {stack}" if docker_here else f"pulumi up -s {stack}"
    return Outcome(services, bool(changes), up=False, next=following)


def _target(project: Project, stack: str) -> Target:
    return read_settings(bare(project.config(stack))).target


def _containers(stack: str) -> list[docker.Container]:
    return docker.containers(stack) if docker.server_version() else []


def _runs_here(project: Project, stack: str) -> bool:
    """Whether the stack runs on local Docker, and was brought up from this folder."""
    if _target(project, stack) is not Target.DOCKER or not _containers(stack):
        return False
    return not docker.foreign(stack, project.owner)


# --- the description ------------------------------------------------------------------------------


def _described(
    project: Project, stack: str, overrides: Mapping[str, Json]
) -> tuple[Recording, list[Service]]:
    """The recorded program and its services. Raises with every mistake."""
    mine = {**overrides, f"{NAMESPACE}:owner": project.owner}
    recording = project.record(stack, mine)
    config = bare({**project.config(stack), **mine})
    services: list[Service] = []
    # Else they are another program's keys: it was content with them.
    with suppress(DescriptionError):
        services = _services(make_plan(stack, read_settings(config)))
    made = made_services(recording)
    if not services or not all(item.key in made for item in services):
        raise Stop(
            f"{project.main} does not take {KEY}: it says itself how many there are.\n"
            "  Change the number there",
            EXIT_INPUT,
        )
    return recording, services


def _services(plan: Plan) -> list[Service]:
    here = plan.target is Target.DOCKER
    found = [
        # Nothing scales on Docker: where a queue would decide, the number does.
        Service(
            system.name, name, item.replicas, item.concurrency, None if here else item.autoscale
        )
        for system in plan.systems
        for name, item in system.workloads.items()
        if not (item.job or item.on_demand or item.per_node)
    ]
    for system in plan.systems:
        found += [
            Service(system.name, name, edge.replicas, None, None)
            for name, edge in system.edges.items()
        ]
        found += [
            Service(system.name, name, store.replicas, None, None)
            for name, store in system.stores.items()
            # On Docker it always has one member.
            if store.replica_set and not here
        ]
    return sorted(found, key=lambda item: item.key)


def made_services(recording: Recording) -> set[str]:
    """``system/service`` of everything that bears the labels."""
    labels = [labels_of(resource) for resource in recording.resources]
    return {
        f"{item.get(LABEL_SYSTEM, '')}/{item[LABEL_SERVICE]}"
        for item in labels
        if LABEL_SERVICE in item
    }


def _configured(project: Project, stack: str) -> dict[str, Json]:
    """The numbers that the stack gives already."""
    return dict(read_settings(bare(project.config(stack))).replicas)


# --- what was asked -------------------------------------------------------------------------------


def _numbers(asked: Sequence[str], services: Sequence[Service]) -> dict[str, int]:
    """``worker=4`` by the whole name. Raises DescriptionError with all mistakes."""
    mistakes: list[Mistake] = []
    found: dict[str, int] = {}
    for text in asked:
        name, equals, number = text.partition("=")
        if not equals or not re.fullmatch(r"[0-9]{1,6}", number):
            why = f"{shown(text)} does not say how many"
            mistakes.append(Mistake("scale", why, "write it like worker=4"))
            continue
        chosen = [item for item in services if name in (item.name, item.key)]
        if not chosen:
            known = {item.key if "/" in name else item.name for item in services}
            why = f"there is no service {shown(name)} that can have several replicas"
            mistakes.append(Mistake("scale", why, nearest(name, known)))
        elif len(chosen) > 1:
            keys = ", ".join(item.key for item in chosen)
            why = f"'{name}' stands in several systems"
            mistakes.append(Mistake("scale", why, f"write one of {keys}"))
        elif chosen[0].autoscale:
            why = f"{chosen[0].key}: the autoscaler decides how many there are"
            mistakes.append(Mistake("scale", why, "change or remove its 'autoscale'"))
        elif found.get(chosen[0].key, int(number)) != int(number):
            why = f"two numbers for {chosen[0].key}"
            mistakes.append(Mistake("scale", why, "give one"))
        else:
            found[chosen[0].key] = int(number)
    if mistakes:
        raise DescriptionError(mistakes)
    return found
