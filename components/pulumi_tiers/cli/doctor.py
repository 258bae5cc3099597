"""`tiers doctor`: what is on this machine."""

import os
import shutil
import sys
from dataclasses import dataclass

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.compose import Compose
from pulumi_tiers.cli.engine import Engine
from pulumi_tiers.cli.project import Project


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    what: str
    ok: bool
    found: str
    remedy: str
    #: False: everything works without it, in another way.
    needed: bool = True


def examine(project: Project) -> list[Finding]:
    """All findings, the needed ones first."""
    return [
        _python(),
        _docker(),
        _engine(),
        _compose(),
        _tool("dot", "Graphviz: pictures as SVG", "install graphviz"),
        _tool(
            "mmdebstrap",
            "stand-in images on closed networks",
            "apt-get install mmdebstrap (Debian)",
        ),
        Finding(
            "project", True, f"{project.name}: stacks {', '.join(project.stacks) or 'none'}", ""
        ),
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


def _engine() -> Finding:
    engine, why = Engine.find()
    what = "Pulumi engine (CLI, Python host, plugins)"
    if engine:
        return Finding(what, True, engine.version, "", needed=False)
    remedy = "tiers up installs it, or uses Docker Compose; https://www.pulumi.com/docs/install/"
    return Finding(what, False, why, remedy, needed=False)


def _compose() -> Finding:
    tool = Compose.find()
    what = "Docker Compose (without the engine)"
    if tool:
        return Finding(what, True, f"{' '.join(tool.command)} {tool.version}", "", needed=False)
    return Finding(what, False, "not found", "apt-get install docker-compose", needed=False)


def _tool(command: str, what: str, remedy: str) -> Finding:
    path = shutil.which(command)
    return Finding(
        what, path is not None, path or "not found", "" if path else remedy, needed=False
    )
