"""`tiers doctor`: what is on this machine."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pulumi_tiers.cli import digitalocean, docker
from pulumi_tiers.cli.compose import Compose
from pulumi_tiers.cli.console import Stop
from pulumi_tiers.cli.engine import Engine
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.stack import check_subnets
from pulumi_tiers.model.cloud import CREDENTIALS
from pulumi_tiers.model.errors import DescriptionError, nearest, shown
from pulumi_tiers.model.system import Target
from pulumi_tiers.render.details import NETWORK
from pulumi_tiers.render.recorder import Json

DEFAULT_STACK = "dev"


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    ok: bool
    found: str
    remedy: str
    #: False: everything works without it, in another way.
    needed: bool = True


def examine(project: Project, stack: str) -> list[Finding]:
    """All findings, the needed ones first. What is needed depends on the stack's target."""
    # A project may do without the stack that nobody has to name.
    absent = stack == DEFAULT_STACK and stack not in project.stacks
    config: Mapping[str, Json] = {} if absent else project.config(stack)
    target = config.get("tiers:target") or Target.DOCKER
    match target:
        case Target.DOCKER:
            own = [_docker(), _engine("docker", "random", needed=False), _compose()]
            own += [_gpus(), _memory_maps()]
            own += [] if absent else _networks(project, stack)
        case Target.KUBERNETES:
            own = [_engine("kubernetes", "random"), _kubeconfig(config), _kubectl()]
        case Target.DIGITALOCEAN:
            own = [_engine("digitalocean", "kubernetes", "random"), _token(), _command(config)]
            own.append(_kubectl())
        case _:
            found = f"{shown(target)} is no target"
            own = [Finding("tiers:target", False, found, nearest(str(target), list(Target)))]
    if config.get("tiers:github"):
        own += [_engine("github"), _github_token(config)]
    stacks = ", ".join(project.stacks) or "none"
    return [
        _python(),
        *own,
        _tool("dot", "Graphviz: pictures as SVG", "install graphviz"),
        _tool(
            "mmdebstrap",
            "stand-in images on closed networks",
            "apt-get install mmdebstrap (Debian)",
        ),
        _tool("go", "stand-ins of MinIO and MongoDB", "https://go.dev/dl/"),
        _tool("npm", "stand-in of MongoDB", "apt-get install npm (Debian)"),
        Finding("project", True, f"{project.name}: stacks {stacks}; this is {stack}", ""),
    ]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding("Python 3.11 or newer", sys.version_info >= (3, 11), version, "")


def _docker() -> Finding:
    version = docker.server_version()
    if version:
        return Finding("Docker daemon", True, version, "")
    if not docker.installed():
        remedy = "install it (https://docs.docker.com/engine/install/)"
        if docker.can_install():
            remedy = "tiers up installs it (docker.io)"
        return Finding("Docker daemon", False, "docker is not installed", remedy)
    chosen = os.environ.get("DOCKER_HOST")
    remedy = f"start it, or unset DOCKER_HOST ({chosen})" if chosen else "start it"
    if not chosen and os.geteuid() == 0:
        remedy = "tiers up starts it"
    return Finding("Docker daemon", False, docker.why_not(), remedy)


def _engine(*plugins: str, needed: bool = True) -> Finding:
    engine, why = Engine.find(plugins)
    what = "Pulumi engine (CLI, Python host, plugins)"
    if engine:
        return Finding(what, True, engine.version, "", needed)
    how = "" if needed else "tiers up installs it, or uses Docker Compose; "
    return Finding(what, False, why, f"{how}https://www.pulumi.com/docs/install/", needed)


def _github_token(config: Mapping[str, Json]) -> Finding:
    """Only whether there is one: nobody is asked."""
    where = "GITHUB_TOKEN" if os.environ.get("GITHUB_TOKEN") else ""
    where = where or ("github:token of the stack" if config.get("github:token") else "")
    remedy = "export GITHUB_TOKEN=..., or pulumi config set --secret github:token"
    return Finding("GitHub token", bool(where), where or "there is none", remedy)


def _kubeconfig(config: Mapping[str, Json]) -> Finding:
    """Whether there is a cluster that answers."""
    what = "cluster"
    if config.get("kubernetes:kubeconfig"):
        return Finding(what, True, "kubernetes:kubeconfig of the stack", "")
    path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube" / "config")
    remedy = "set KUBECONFIG, or kubernetes:kubeconfig in the stack's configuration"
    try:
        chosen, server = _server(path, config.get("kubernetes:context"))
        address = urlsplit(server)
        port = address.port or (443 if address.scheme == "https" else 80)
    except (OSError, ValueError, yaml.YAMLError) as error:
        return Finding(what, False, f"{path}: {error}", remedy)
    except (AttributeError, KeyError, TypeError):
        return Finding(what, False, f"{path} is no kubeconfig", remedy)
    try:
        socket.create_connection((address.hostname or "", port), timeout=5).close()
    except OSError as error:
        return Finding(what, False, f"{server} does not answer: {error}", remedy)
    return Finding(what, True, f"{server} (context {chosen})", "")


def _server(path: Path, context: str | None) -> tuple[str, str]:
    """The chosen context of a kubeconfig, and the address of its cluster."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    chosen = context or found["current-context"]

    def named(kind: str, name: str) -> dict[str, Any]:
        of_that_name = [item for item in found.get(f"{kind}s") or [] if item["name"] == name]
        if len(of_that_name) != 1:
            raise ValueError(f"it has no {kind} '{name}'")
        return of_that_name[0][kind]

    parts = named("context", chosen)
    # Without a user, the provider asks for one and waits for ever.
    named("user", parts["user"])
    return chosen, named("cluster", parts["cluster"])["server"]


def _token() -> Finding:
    """Whether DigitalOcean takes the token."""
    what = "DigitalOcean token"
    try:
        return Finding(what, True, f"account {digitalocean.account()}", "")
    except Stop as stop:
        return Finding(what, False, str(stop), f"export {digitalocean.TOKENS[0]}=...")


def _command(config: Mapping[str, Json]) -> Finding:
    """Whether the engine will find the command that gets tokens for the cluster."""
    given = config.get("tiers:digitalocean")
    command = (given.get("credentials") if isinstance(given, dict) else None) or CREDENTIALS
    if not isinstance(command, list) or not all(isinstance(part, str) for part in command):
        what = "tiers:digitalocean.credentials"
        return Finding(what, False, "is not a list of texts", f"write it like {CREDENTIALS}")
    path = shutil.which(command[0])
    remedy = "" if path else "activate the virtual environment: . .venv/bin/activate"
    return Finding(f"'{command[0]}' on PATH", path is not None, path or "not found", remedy)


def _compose() -> Finding:
    tool = Compose.find()
    what = "Docker Compose (without the engine)"
    if tool:
        return Finding(what, True, f"{' '.join(tool.command)} {tool.version}", "", needed=False)
    return Finding(what, False, "not found", "apt-get install docker-compose", needed=False)


def _gpus() -> Finding:
    what = "NVIDIA GPUs for containers"
    if docker.installed() and docker.gives_gpus():
        found = "the daemon has the NVIDIA runtime"
        if shutil.which("nvidia-smi"):
            told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
            found = ", ".join(told.stdout.splitlines()) or told.stderr.strip() or found
        return Finding(what, True, found, "", needed=False)
    remedy = "install the NVIDIA Container Toolkit, or compute on the CPU: tiers:gpu: off"
    return Finding(what, False, "the daemon has no NVIDIA runtime", remedy, needed=False)


def _networks(project: Project, stack: str) -> list[Finding]:
    """Whether the stack's subnets are free, where it has some and can be described."""
    if docker.server_version() is None:
        return []
    try:
        recording = project.record(stack, {})
    except Exception:  # `tiers up` tells what is wrong with a program
        return []
    wanted = [item for item in recording.of_type(NETWORK) if item.inputs.get("ipamConfigs")]
    if not wanted:
        return []
    what = "subnets of the stack"
    try:
        check_subnets(recording, docker.subnets())
    except DescriptionError as error:
        return [
            Finding(what, False, f"{mistake.place} {mistake.why}", mistake.remedy)
            for mistake in error.mistakes
        ]
    subnets = [part["subnet"] for item in wanted for part in item.inputs["ipamConfigs"]]
    return [Finding(what, True, f"{', '.join(subnets)}: free", "")]


#: What Elasticsearch asks for: https://www.elastic.co/guide/en/elasticsearch/reference/8.8
_MEMORY_MAPS = 262_144


def _memory_maps() -> Finding:
    """Of the machine, which its containers share."""
    what = "vm.max_map_count: Elasticsearch"
    try:
        count = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return Finding(what, False, "not Linux: ask the machine with the daemon", "", needed=False)
    enough = count >= _MEMORY_MAPS
    remedy = "" if enough else f"as root: sysctl -w vm.max_map_count={_MEMORY_MAPS}"
    return Finding(what, enough, str(count), remedy, needed=False)


def _kubectl() -> Finding:
    return _tool("kubectl", "kubectl: tiers run", "https://kubernetes.io/docs/tasks/tools/")


def _tool(command: str, what: str, remedy: str) -> Finding:
    path = shutil.which(command)
    return Finding(
        what, path is not None, path or "not found", "" if path else remedy, needed=False
    )
