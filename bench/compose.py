"""The Docker Compose to compare with: this machine's, else one built from its Go module."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.compose import Compose

from bench.workplace import MeasureError, Workplace

#: The newest that Go's module mirror serves whole.
VERSION = "5.5.1"
_MODULE = "github.com/docker/compose/v5"
_BUILD_SECONDS = 600
_HEALTHY_SECONDS = 120


@dataclass(frozen=True)
class Tool:
    """A Docker Compose."""

    command: tuple[str, ...]
    version: str

    @property
    def waits(self) -> bool:
        """Whether `up` has the option to wait for health."""
        return not self.version.startswith("1.")

    def __str__(self) -> str:
        return f"Docker Compose {self.version}"


def find() -> tuple[Tool | None, str]:
    """The best there is; otherwise None and what is missing."""
    installed = Compose.find()
    if installed and not installed.version.startswith("1."):
        return Tool(installed.command, installed.version), ""
    built, why = _build()
    if built:
        return built, ""
    if installed:
        return Tool(installed.command, installed.version), ""
    return None, f"no Docker Compose here ({why})"


def _build() -> tuple[Tool | None, str]:
    """Compose's own source, built once per version into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "pulumi-tiers" / f"docker-compose-{VERSION}"
    program = folder / "docker-compose"
    if program.is_file():
        return Tool((str(program),), VERSION), ""
    if shutil.which("go") is None:
        return None, "nor Go to build one"
    sys.stderr.write(f"building Docker Compose {VERSION} into {folder}, once: some minutes\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "go.mod").write_text(
        # The line "go" spares it from reading the modules that only Compose's tests need.
        f"module pulumi-tiers/compose\ngo 1.24\nrequire {_MODULE} v{VERSION}\n",
        encoding="utf-8",
    )
    new = folder / "docker-compose.new"
    stamp = f"-X {_MODULE}/internal.Version=v{VERSION}"
    try:
        done = subprocess.run(
            ["go", "build", "-mod=mod", "-ldflags", stamp, "-o", new, f"{_MODULE}/cmd"],
            cwd=folder,
            env={**os.environ, "CGO_ENABLED": "0"},
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"its build took more than {_BUILD_SECONDS} s"
    if done.returncode:
        return None, f"its build failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    new.replace(program)
    return Tool((str(program),), VERSION), ""


@dataclass(frozen=True)
class Rendered:
    """A rendered Compose file under its own project name."""

    workplace: Workplace
    tool: Tool
    folder: Path
    project: str

    def up(self) -> float:
        """Until everything is healthy, as the engine's `up`."""
        if self.tool.waits:
            return self._run("up", "--detach", "--wait")
        return self._run("up", "--detach") + self._wait()

    def down(self) -> float:
        return self._run("down", "--volumes")

    def _run(self, *arguments: str) -> float:
        file = ("--project-name", self.project, "--file", str(self.folder / "compose.yaml"))
        return self.workplace.run(*self.tool.command, *file, *arguments, cwd=self.folder)

    def _wait(self) -> float:
        label = f"label=com.docker.compose.project={self.project}"

        def all_healthy() -> bool:
            ids = docker.run("ps", "-q", "--filter", label).stdout.split()
            states = json.loads(docker.run("inspect", *ids).stdout or "[]")
            return all(item["State"]["Health"]["Status"] == "healthy" for item in states)

        return _until(all_healthy)


def _until(done: Callable[[], bool]) -> float:
    begin = time.monotonic()
    while not done():
        if time.monotonic() - begin > _HEALTHY_SECONDS:
            raise MeasureError(f"not everything was healthy after {_HEALTHY_SECONDS} s")
        time.sleep(0.1)
    return time.monotonic() - begin
