"""What `tiers up` and `tiers down` do with a stack on local Docker."""

import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pulumi_tiers.cli import compose, docker, images, one_off
from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.engine import Engine, Stack, plugins_of
from pulumi_tiers.cli.engine import down as engine_down
from pulumi_tiers.cli.engine import up as engine_up
from pulumi_tiers.cli.files import private_folder
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.runner import Runner
from pulumi_tiers.model.errors import DescriptionError, Mistake
from pulumi_tiers.model.system import Target
from pulumi_tiers.platforms.labels import LABEL_SYSTEM
from pulumi_tiers.render.details import CONTAINER, NETWORK
from pulumi_tiers.render.recorder import Json, Recording, bare
from pulumi_tiers.settings import NAMESPACE

_HEALTH_SECONDS = 300


@dataclass(frozen=True)
class Outcome:
    """What `up` did."""

    runner: Runner
    changed: bool


def up(project: Project, stack: str, runner: Runner, steps: Steps) -> Outcome:
    """Brings a stack up and waits until all of it is healthy."""
    _require_docker_target(project, stack)
    mine: dict[str, Json] = {f"{NAMESPACE}:owner": project.owner}
    recording = project.record(stack, mine)
    ensure_docker(project, stack, recording, steps)
    with alone(project, stack):
        _refuse_foreign(project, stack)
        return _up(project, stack, runner, recording, mine, steps)


def _up(
    project: Project,
    stack: str,
    runner: Runner,
    recording: Recording,
    overrides: dict[str, Json],
    steps: Steps,
) -> Outcome:
    before = {container.id: container for container in docker.containers(stack)}
    check_host_ports(recording, list(before.values()))
    check_subnets(recording, docker.subnets())
    check_gpus(recording)
    stand_ins = images.ensure(project, images.wanted(recording), steps)
    if stand_ins:
        configured = project.config(stack).get(f"{NAMESPACE}:images") or {}
        overrides = {**overrides, f"{NAMESPACE}:images": {**configured, **stand_ins}}
        recording = project.record(stack, overrides)
    engine = find_engine(project, stack, runner, steps, plugins_of(recording))
    try:
        if engine is not None:
            opened = Stack(project, stack, engine, steps)
            steps.say(f"Pulumi {engine.version} brings up stack {stack}")
            engine_up(opened, recording, overrides)
            content = True
        else:
            _require_values(project, stack)
            content = compose.up(recording, stack, project.state(stack), steps)
        seconds = _HEALTH_SECONDS if content else 0
        if not (compose.wait(stack, seconds, steps, before) and content):
            raise Stop("the stack did not become healthy")
    except Stop as stop:
        raise Stop(f"{stop}{_complaints(project, stack)}", stop.code) from None
    after = {container.id for container in docker.containers(stack)}
    return Outcome(
        Runner.PULUMI if engine else Runner.COMPOSE, changed=after != set(before) or not before
    )


def down(project: Project, stack: str, *, data: bool, steps: Steps) -> None:
    """Takes a stack down. Volumes and secrets stay, unless `data`."""
    project.stack_file(stack)
    folder = project.state(stack)
    if docker.server_version() is None:
        raise Stop(f"no Docker daemon answers: {docker.why_not()}", EXIT_MISSING)
    by_engine, by_compose = _ran_by(project, stack)
    if not (by_engine or by_compose):
        raise Stop(f"stack {stack} was never brought up from this folder")
    with alone(project, stack):
        _refuse_foreign(project, stack)
        one_off.remove_all(stack)
        if by_engine:
            engine, why = Engine.find()
            if engine is None:
                raise Stop(f"stack {stack} was brought up by Pulumi, but {why}", EXIT_MISSING)
            engine_down(Stack(project, stack, engine, steps), data=data)
        else:
            compose.down(stack, folder, data=data, steps=steps)
        if data:
            # Also what an interrupted run has left; the passwords go last.
            docker.remove_all(stack)
            for path in sorted(folder.iterdir()):
                path.unlink()
            folder.rmdir()


def _ran_by(project: Project, stack: str) -> tuple[bool, bool]:
    """Whether the engine has worked on the stack here, and whether Compose has."""
    folder = project.state(stack)
    return (folder / f"Pulumi.{stack}.yaml").is_file(), (folder / "compose.yaml").is_file()


def runner_of(project: Project, stack: str) -> Runner:
    """Who brings a stack up again without making all of it anew."""
    by_engine, by_compose = _ran_by(project, stack)
    return Runner.COMPOSE if by_compose and not by_engine else Runner.AUTO


@contextmanager
def alone(project: Project, stack: str) -> Iterator[None]:
    """Two commands at once would undo each other's work."""
    folder = project.state(stack)
    private_folder(folder)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop(f"another 'tiers' command is at work on stack {stack}") from None
        yield


def _refuse_foreign(project: Project, stack: str) -> None:
    """Two folders with a stack of one name would share its containers, volumes and ports."""
    if names := docker.foreign(stack, project.owner):
        raise Stop(
            f"another folder or program has a stack {stack} on this Docker host:"
            f" {', '.join(names)}\n"
            "  Take it down there, or give this one another name: a file Pulumi.NAME.yaml",
            EXIT_INPUT,
        )


def find_engine(
    project: Project, stack: str, runner: Runner, steps: Steps, plugins: list[str]
) -> Engine | None:
    """The engine, installed if need be. None: Docker Compose is to run the stack."""
    ours, _ = _ran_by(project, stack)
    if runner is Runner.COMPOSE:
        if ours:
            raise Stop(
                f"stack {stack} was brought up by Pulumi; Docker Compose can't take it over.\n"
                f"  Take it down first: tiers down --stack {stack} --data",
                EXIT_INPUT,
            )
        return None
    engine, why = Engine.find(plugins)
    if engine is None:
        steps.say(f"no Pulumi engine here: {why}")
        engine, why = Engine.install(steps, plugins)
    if engine is None and (ours or runner is Runner.PULUMI):
        raise Stop(f"the Pulumi engine is needed and can't be had: {why}", EXIT_MISSING)
    if engine is None:
        steps.say(f"{why}: the same program is rendered and run by Docker Compose instead")
    return engine


def ensure_docker(project: Project, stack: str, recording: Recording, steps: Steps) -> None:
    """A daemon that answers; where that is impossible, what would run and what is missing."""
    if docker.server_version():
        return
    # A daemon that somebody chose is theirs to start.
    if not os.environ.get("DOCKER_HOST"):
        if not docker.installed() and docker.can_install():
            docker.install(steps, "docker.io")
        if docker.installed() and docker.start(steps):
            return
    reason = docker.why_not() if docker.installed() else "docker is not installed"
    folder = project.state(stack)
    compose.write_file(recording, stack, folder)
    wanted = images.wanted(recording)
    services = "".join(f"\n  {key}: {image.reference}" for key, image in wanted.items())
    remedy = (
        "start it, or make sure that you may use it (group docker)"
        if docker.installed()
        else "install it (https://docs.docker.com/engine/install/)"
    )
    raise Stop(
        f"no Docker daemon answers: {reason}\n  {remedy}, then run this again.\n"
        f"What would run is rendered in {folder / 'compose.yaml'}:{services}",
        EXIT_MISSING,
    )


def check_host_ports(recording: Recording, running: list[docker.Container]) -> None:
    """Ports that somebody else listens on. Raises DescriptionError with all of them."""
    own = {url.rpartition("//")[2] for container in running for url in container.urls}
    mistakes: list[Mistake] = []
    for container in recording.of_type(CONTAINER):
        inputs = bare(container.inputs)
        for port in inputs.get("ports") or []:
            address, number = port["ip"], port["external"]
            if f"{address}:{number}" not in own and _taken(address, number):
                mistakes.append(
                    Mistake(
                        f"{inputs['name']}: ports",
                        f"host port {number} on {address} is taken by another program",
                        "end that program, or set tiers:port_offset",
                    )
                )
    if mistakes:
        raise DescriptionError(mistakes)


def check_subnets(recording: Recording, there: Mapping[str, Sequence[str]]) -> None:
    """Networks that would overlap with one that the daemon has. Raises DescriptionError with all.

    `there`: the subnets of its networks, by their names. One of the stack's own is no obstacle.
    """
    wanted = {str(item.inputs["name"]): bare(item.inputs) for item in recording.of_type(NETWORK)}
    mistakes: list[Mistake] = []
    for name, inputs in wanted.items():
        labels = {item["label"]: item["value"] for item in inputs.get("labels") or []}
        for subnet in (item["subnet"] for item in inputs.get("ipamConfigs") or []):
            for other, taken in there.items():
                overlapping = [text for text in taken if _overlap(subnet, text)]
                if overlapping and other not in wanted:
                    mistakes.append(
                        Mistake(
                            f"{name}: subnet",
                            f"{subnet} overlaps with {overlapping[0]}, which is the network"
                            f" '{other}' of this Docker host",
                            "move the system: tiers:subnets"
                            f".{labels.get(LABEL_SYSTEM, '<system>')}; or remove that network, if"
                            f" nobody needs it: docker network rm {other}",
                        )
                    )
    if mistakes:
        raise DescriptionError(mistakes)


def _overlap(one: str, other: str) -> bool:
    first, second = ipaddress.ip_network(one), ipaddress.ip_network(other, strict=False)
    return first.version == second.version and first.overlaps(second)


def check_gpus(recording: Recording) -> None:
    """GPUs that the daemon has none of. Raises Stop: containers that ask for one don't start."""
    containers = recording.of_type(CONTAINER)
    asking = [str(item.inputs["name"]) for item in containers if item.inputs.get("deviceRequests")]
    if asking and not docker.gives_gpus():
        raise Stop(f"{', '.join(sorted(asking))}: {docker.NO_GPUS}", EXIT_MISSING)


def _taken(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
        # As Docker's own listener does it: a connection in TIME_WAIT is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except PermissionError:
            return False  # a low port, which only the daemon may open
        except OSError:
            return True
    return False


def _require_docker_target(project: Project, stack: str) -> None:
    target = project.config(stack).get(f"{NAMESPACE}:target")
    if target in (Target.KUBERNETES, Target.DIGITALOCEAN):
        raise Stop(
            f"stack {stack} has target {target}; this command is for local Docker.\n"
            f"  Use: pulumi up -s {stack}",
            EXIT_INPUT,
        )


def _require_values(project: Project, stack: str) -> None:
    """Encrypted values that nobody but the engine can read must have been written down here."""
    folder = project.state(stack)
    values = compose.read_secrets(folder)
    missing = [name for name in project.encrypted(stack) if name not in values]
    if missing:
        raise Stop(
            f"Pulumi.{stack}.yaml holds encrypted values, which only the engine can read.\n"
            f"  Write them into {folder / compose.SECRETS_FILE}, or install the engine:\n"
            + "".join(f"  {name}=...\n" for name in missing),
            EXIT_INPUT,
        )


def _complaints(project: Project, stack: str) -> str:
    """The last words of every container that isn't well, and of Compose."""
    text = ""
    for container in docker.containers(stack):
        if not container.well:
            lines = "".join(f"\n    {line}" for line in docker.last_lines(container, 15))
            text += f"\n{container.name} is {container.condition}; its last log lines:{lines}"
    log = project.state(stack) / "compose.log"
    if not text and log.is_file():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-10:]
        text = "".join(f"\n    {line}" for line in lines)
    return text
