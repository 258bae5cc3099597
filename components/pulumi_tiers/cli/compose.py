"""The fallback: the rendered Compose file, run by Docker Compose."""

import os
import re
import secrets
import shutil
import string
import subprocess
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pulumi_tiers.cli import certificates, docker
from pulumi_tiers.cli.console import EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.files import private_folder, write_private
from pulumi_tiers.engines.base import KEY_LENGTH
from pulumi_tiers.render.compose import compose_yaml, literal_secrets, on_demand
from pulumi_tiers.render.recorder import Recording, placeholders

SECRETS_FILE = ".env"
_ALPHABET = string.ascii_letters + string.digits
_FOLDER_LABEL = "com.docker.compose.project.working_dir"
_PROJECT_LABEL = "com.docker.compose.project"


@dataclass(frozen=True)
class Compose:
    """A Docker Compose of this machine."""

    command: tuple[str, ...]
    version: str

    @classmethod
    def find(cls) -> "Compose | None":
        """Docker's plugin (v2 or newer), else Debian's 1.29."""
        for command in (("docker", "compose"), ("docker-compose",)):
            if shutil.which(command[0]) is None:
                continue
            answer = subprocess.run(
                [*command, "version", "--short"], capture_output=True, text=True, check=False
            )
            version = answer.stdout.strip().removeprefix("v")
            if answer.returncode == 0 and re.match(r"\d+\.\d+", version):
                return cls(command, version)
        return None

    @classmethod
    def ensure(cls, steps: Steps) -> "Compose":
        found = cls.find()
        if found is None and docker.can_install() and docker.install(steps, "docker-compose"):
            found = cls.find()
        if found is None:
            raise Stop(
                "neither the Pulumi engine nor Docker Compose is here.\n"
                "  Install Docker Compose (https://docs.docker.com/compose/install/) or Pulumi.",
                EXIT_MISSING,
            )
        return found

    def run(self, folder: Path, stack: str, *arguments: str) -> int:
        """Runs it on the rendered file; its output goes to the log beside that. The exit code."""
        command = [
            *self.command,
            "--project-name",
            _project(stack),
            "--project-directory",
            str(folder),
            "--file",
            str(folder / "compose.yaml"),
            *arguments,
        ]
        environment = {**os.environ, "COMPOSE_IGNORE_ORPHANS": "false"}
        with (folder / "compose.log").open("ab") as log:
            return subprocess.run(
                command, cwd=folder, env=environment, stdout=log, stderr=log, check=False
            ).returncode


def up(recording: Recording, stack: str, folder: Path, steps: Steps) -> bool:
    """Renders and starts the stack. Returns whether Compose itself was content."""
    tool = Compose.ensure(steps)
    write(recording, stack, folder)
    steps.say(f"Docker Compose {tool.version} runs the rendered {folder / 'compose.yaml'}")
    (folder / "compose.log").unlink(missing_ok=True)
    total = len(recording.of_type("docker:index/container:Container"))
    waiting = on_demand(recording, stack)
    codes: list[int] = []

    def run() -> None:
        code = tool.run(folder, stack, "up", "--detach", "--remove-orphans")
        if waiting and code == 0:
            code = tool.run(folder, stack, "up", "--no-start", "--no-deps", *waiting)
        codes.append(code)

    thread = threading.Thread(target=run)
    with steps.during(f"starting {total} containers"):
        thread.start()
        while thread.is_alive():
            thread.join(1)
            steps.now(_summary(docker.containers(stack), total))
    return codes == [0]


def wait(stack: str, seconds: float, steps: Steps, old: Collection[str] = ()) -> bool:
    """Waits until every container is well. False: one isn't, or time is up.

    `old`: ids of containers that were there before, and may have to recover.
    """
    deadline = time.monotonic() + seconds
    before = {item.id: item for item in docker.containers(stack) if item.id in old}
    with steps.during("waiting for health"):
        while True:
            containers = docker.containers(stack)
            if containers and all(container.well for container in containers):
                return True
            hopeless = any(item.hopeless(before.get(item.id)) for item in containers)
            if hopeless or time.monotonic() > deadline:
                return False
            steps.now(_summary(containers, len(containers)))
            time.sleep(0.5)


def _summary(containers: list[docker.Container], total: int) -> str:
    well = sum(container.well for container in containers)
    waiting = [item.name for item in containers if not item.well]
    return f"{well} of {total} healthy" + (f"; waiting for {', '.join(waiting)}" if waiting else "")


def down(stack: str, folder: Path, *, data: bool, steps: Steps) -> None:
    """Removes containers and networks; with `data`, the volumes and the secrets too."""
    tool = Compose.ensure(steps)
    # Compose leaves those that nobody chose, and their networks.
    for container in docker.containers(stack):
        if container.on_demand:
            docker.remove(container)
    with steps.during("removing the containers"):
        code = tool.run(folder, stack, "down", "--remove-orphans", *(["--volumes"] if data else []))
    if code:
        log = (folder / "compose.log").read_text(encoding="utf-8", errors="replace").splitlines()
        raise Stop("Docker Compose could not remove everything:\n  " + "\n  ".join(log[-5:]))


def remove_leftovers(stack: str, folder: Path) -> None:
    """Removes the containers and networks that Compose made from this folder, not the volumes."""
    leftovers = [
        container
        for container in docker.containers(stack)
        if container.labels.get(_FOLDER_LABEL) == str(folder)
    ]
    docker.stop(leftovers)
    for container in leftovers:
        docker.remove(container)
    for network in docker.networks(stack, f"{_PROJECT_LABEL}={_project(stack)}"):
        docker.run("network", "rm", network)


def _project(stack: str) -> str:
    return f"tiers-{stack}"


# --- the rendered files ---------------------------------------------------------------------------


def write_file(recording: Recording, stack: str, folder: Path) -> Path:
    """`compose.yaml` alone."""
    private_folder(folder)
    file = folder / "compose.yaml"
    file.write_text(compose_yaml(recording, stack), encoding="utf-8")
    return file


def write(recording: Recording, stack: str, folder: Path) -> list[Path]:
    """`compose.yaml`, and beside it the secrets in a file for its owner only."""
    file = write_file(recording, stack, folder)
    names = {
        name
        for resource in recording.resources
        for kind, name in placeholders(resource.inputs)
        if kind == "secret"
    }
    given = literal_secrets(recording)
    return [file, write_secrets(folder, names, given, certificates.wanted(recording))]


def _generated() -> str:
    """What is right for every server: a key is so long, and SQL Server wants all three kinds."""
    while True:
        found = "".join(secrets.choice(_ALPHABET) for _ in range(KEY_LENGTH))
        if re.search("[A-Z]", found) and re.search("[a-z]", found) and re.search("[0-9]", found):
            return found


def write_secrets(
    folder: Path,
    names: set[str],
    literals: Mapping[str, str],
    wanted: Iterable[certificates.Wanted] = (),
) -> Path:
    """Keeps the values that are there, generates the ones that are missing."""
    path = folder / SECRETS_FILE
    values = read_secrets(folder)
    values |= certificates.made(wanted, values)
    for name in sorted(names - set(values)):
        values[name] = _generated()
    values |= literals
    text = "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(values.items()))
    write_private(path, text)
    return path


_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")
#: A value between quotes may have several lines: a key in PEM.
_ENTRY = re.compile(
    r"([A-Za-z_][A-Za-z0-9_]*)=(?:'((?:[^'\\]|\\.)*)'|([A-Za-z0-9._~-]+))[ \t]*(?:\n|\Z)", re.DOTALL
)
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")


def _quoted(value: str) -> str:
    if _UNRESERVED.fullmatch(value):
        return value
    # Compose 1.29 and today's read a backslash differently, and line breaks of other systems.
    if "\r" in value or "\\" in value:
        raise Stop("a secret with a backslash or a carriage return can't go through Docker Compose")
    return "'" + value.replace("'", "\\'") + "'"


def read_secrets(folder: Path) -> dict[str, str]:
    """The values of the file, by name. Empty where there is none."""
    path = folder / SECRETS_FILE
    if not path.is_file():
        return {}
    values: dict[str, str] = {}
    text, place = path.read_text(encoding="utf-8"), 0
    while place < len(text):
        # Generated ones stand inside URLs as they are, and Compose interprets quotes and dollars.
        if entry := _ENTRY.match(text, place):
            name, quoted, plain = entry.groups()
            values[name] = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            place = entry.end()
        elif rest := _REST.match(text, place):
            place = rest.end()
        else:
            # Not what stands there: it may be a line of a key.
            raise Stop(
                f"{path}:{text.count(chr(10), 0, place) + 1}: this value can't be used.\n"
                "  Write NAME=value, the value of letters, digits and . _ ~ - only, or between"
                " single quotes."
            )
    return values
