"""The real Pulumi engine: found or installed, with a state of this machine's own."""

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import yaml
from pulumi import automation
from pulumi.automation import OpType, errors, events

from pulumi_tiers.cli import compose, docker
from pulumi_tiers.cli.console import EXIT_INPUT, Steps, Stop
from pulumi_tiers.cli.files import private_folder, write_private
from pulumi_tiers.cli.project import Project
from pulumi_tiers.component import PACKAGE
from pulumi_tiers.render.dumper import Dumper
from pulumi_tiers.render.recorder import STACK_TYPE, Json, Recording, variable_name

_PLUGINS = ("docker", "random")
"""What a stack on Docker needs."""
_PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105 - a type
_INSTALLER_HOST = "get.pulumi.com"
_INSTALL_SECONDS = 120


@dataclass(frozen=True)
class Engine:
    """A usable engine."""

    command: automation.PulumiCommand
    version: str

    @classmethod
    def find(cls, plugins: Sequence[str] = _PLUGINS) -> "tuple[Engine | None, str]":
        """The engine of this machine; otherwise None and what is missing."""
        extend_path()
        for program in ("pulumi", "pulumi-language-python"):
            if shutil.which(program) is None:
                return None, f"{program} is neither on PATH nor below {_home()}"
        if absent := [name for name in plugins if not _has_plugin(name)]:
            return None, f"no plugin for {' and '.join(absent)}"
        try:
            command = automation.PulumiCommand()
        except Exception as error:  # the SDK raises plain ones
            return None, str(error)
        return cls(command, str(command.version)), ""

    @classmethod
    def install(
        cls, steps: Steps, plugins: Sequence[str] = _PLUGINS
    ) -> "tuple[Engine | None, str]":
        """Gets what is missing with the official installers. Otherwise None and why."""
        try:
            socket.create_connection((_INSTALLER_HOST, 443), timeout=4).close()
        except OSError as error:
            return None, f"{_INSTALLER_HOST} can't be reached ({error.strerror or error})"
        if shutil.which("pulumi") is None or shutil.which("pulumi-language-python") is None:
            steps.say(f"installing the Pulumi CLI from {_INSTALLER_HOST} (no account needed)")
            # In a process of its own: the SDK's installer knows no timeout.
            script = "from pulumi.automation import PulumiCommand as P; P.install()"
            if why := _patiently(steps, "the Pulumi CLI", [sys.executable, "-c", script]):
                return None, why
            extend_path()
        for name in plugins:
            if _has_plugin(name):
                continue
            plugin = ["resource", name, version(f"pulumi-{name}")]
            if why := _patiently(steps, f"plugin {name}", ["pulumi", "plugin", "install", *plugin]):
                return None, why
        return cls.find(plugins)


def plugins_of(recording: Recording) -> list[str]:
    """The providers of everything that a program makes: ``docker``, ``random``, ``tls``."""
    packages = {resource.type.partition(":")[0] for resource in recording.resources}
    return sorted((packages | {*_PLUGINS}) - {"pulumi", PACKAGE})


def _patiently(steps: Steps, what: str, command: list[str]) -> str:
    """Runs an installer with a limit. Why it failed; empty if it didn't."""
    try:
        with steps.during(f"installing {what}"):
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
    except OSError as error:
        return f"installing {what}: {error}"
    except subprocess.TimeoutExpired:
        return f"installing {what} took more than {_INSTALL_SECONDS} s"
    said = done.stderr.strip().splitlines()
    return f"{what}: {said[-1] if said else 'the installer failed'}" if done.returncode else ""


def _home() -> Path:
    return Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"))


def extend_path() -> None:
    """Where the official installers put the CLI, behind whatever PATH says."""
    folders = [_home() / "bin", _home() / "versions" / version("pulumi") / "bin"]
    path = os.environ.get("PATH", "").split(os.pathsep)
    path += [str(folder) for folder in folders if folder.is_dir() and str(folder) not in path]
    os.environ["PATH"] = os.pathsep.join(path)


def _has_plugin(name: str) -> bool:
    if shutil.which(f"pulumi-resource-{name}"):
        return True
    folder = f"resource-{name}-v{version(f'pulumi-{name}')}"
    return (_home() / "plugins" / folder).is_dir()


@dataclass
class Stack:
    """One stack of a project in the machine's own state."""

    project: Project
    name: str
    engine: Engine
    steps: Steps

    @property
    def folder(self) -> Path:
        return self.project.state(self.name)

    @property
    def config_file(self) -> Path:
        """The stack's configuration as it runs here: git's copy is never written to."""
        return self.folder / f"Pulumi.{self.name}.yaml"

    def environment(self) -> dict[str, str]:
        state = self.project.root / ".tiers" / "state"
        passphrase = self.project.root / ".tiers" / "passphrase"
        private_folder(state)
        if not passphrase.is_file():
            write_private(passphrase, secrets.token_urlsafe(32))
        variables = {
            "PULUMI_BACKEND_URL": f"file://{state}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            # What Docker needs is here; looking for the others costs 14 seconds on closed networks.
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
        if (address := docker.host()) is not None:
            variables["DOCKER_HOST"] = address
        return variables

    def open(self, overrides: Mapping[str, Json]) -> automation.Stack:
        """The stack, made where it is missing, its configuration as `overrides` want it.

        The engine works in a folder of its own whose Pulumi.yaml points back at the program:
        it writes salts and secrets beside the Pulumi.yaml that it is started with.
        """
        declared = _yaml(self.project.root / "Pulumi.yaml")
        main = os.path.relpath(self.project.main.parent, self.folder)
        runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": sys.prefix}}
        copy = {**declared, "main": main, "runtime": runtime}
        write_private(self.folder / "Pulumi.yaml", _text(copy))
        self._configure(overrides)
        self._drop_half_written()
        options = automation.LocalWorkspaceOptions(
            env_vars=self.environment(), pulumi_command=self.engine.command
        )
        try:
            return automation.create_or_select_stack(
                self.name, work_dir=str(self.folder), opts=options
            )
        except errors.CommandError as error:
            raise Stop(f"the engine can't open stack {self.name}: {_last_line(error)}") from None

    def _drop_half_written(self) -> None:
        # Beside each file of its state the engine keeps what kind of file it is, written later.
        # A run that was killed in between leaves that empty, and the engine stops at it.
        for path in (self.project.root / ".tiers" / "state").rglob(f"{self.name}.json*.attrs"):
            if not path.stat().st_size:
                path.unlink()

    def _configure(self, overrides: Mapping[str, Json]) -> None:
        kept = _yaml(self.config_file)
        if encrypted := self.project.encrypted(self.name):
            raise Stop(
                f"Pulumi.{self.name}.yaml: {', '.join(encrypted.values())} is encrypted with a"
                " passphrase or a key that only you have.\n"
                f"  Use: pulumi up -s {self.name}",
                EXIT_INPUT,
            )
        # Not its salt: that belongs to the passphrase of whoever ran the CLI there.
        config = {**(self.project.stack_file(self.name).get("config") or {})}
        # What the engine took over from the fallback stands here only, encrypted. What is in clear
        # came from the stack's file, and goes with it.
        before = (kept.get("config") or {}).get("tiers:secrets") or {}
        taken_over = {key: value for key, value in before.items() if isinstance(value, dict)}
        if taken_over:
            config["tiers:secrets"] = {**taken_over, **(config.get("tiers:secrets") or {})}
        for key, value in overrides.items():
            merged = isinstance(value, dict) and isinstance(config.get(key), dict)
            config[key] = {**config[key], **value} if merged else value
        write_private(self.config_file, _text({**kept, "config": config}))

    def take_over(self, recording: Recording) -> None:
        """What the fallback started becomes the engine's: its secrets, and by that its data."""
        values = compose.read_secrets(self.folder)
        if not values:
            return
        self.steps.say(
            "the engine takes over what Docker Compose started, with its data and secrets"
        )
        passwords = {
            password.inputs["keepers"]["for"]: values[variable_name(password.name)]
            for password in recording.of_type(_PASSWORD)
            if variable_name(password.name) in values
        }
        for key, value in passwords.items():
            self._set_secret(key, value)
        compose.remove_leftovers(self.name, self.folder)
        # Last: until here, a rerun begins again and loses nothing.
        (self.folder / compose.SECRETS_FILE).unlink()
        self.steps.say("its secrets stand in the stack's encrypted configuration now")

    def _set_secret(self, key: str, value: str) -> None:
        # Through standard input: a command line can be read by others.
        done = subprocess.run(
            [
                self.engine.command.command,
                "config",
                "set",
                "--path",
                "--secret",
                f'tiers:secrets["{key}"]',
                "--stack",
                self.name,
                "--non-interactive",
            ],
            input=value,
            cwd=self.folder,
            env={**os.environ, **self.environment()},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Stop(f"the engine refused a secret: {done.stderr.strip()}")


def _yaml(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8")) or {} if path.is_file() else {}


def _text(content: Mapping[str, Any]) -> str:
    return yaml.dump(content, Dumper=Dumper, sort_keys=False)


# --- running --------------------------------------------------------------------------------------


class Watcher:
    """Turns the engine's events into steps, and keeps what went wrong."""

    def __init__(self, steps: Steps, total: int) -> None:
        self.steps = steps
        self.total = total
        self.done = 0
        self.mistakes: list[str] = []
        self._busy: dict[str, str] = {}

    def __call__(self, event: events.EngineEvent) -> None:
        if event.resource_pre_event is not None:
            metadata = event.resource_pre_event.metadata
            verb = _VERBS.get(OpType(metadata.op).value)
            if verb and not _is_container_of_others(metadata.type):
                self._busy[metadata.urn] = f"{verb} {_name(metadata.urn)}"
                self._show()
        elif event.res_outputs_event is not None:
            metadata = event.res_outputs_event.metadata
            self._busy.pop(metadata.urn, None)
            self.done += OpType(metadata.op) is not OpType.REFRESH
        elif event.diagnostic_event is not None and event.diagnostic_event.severity == "error":
            self._keep(event.diagnostic_event.urn or "", event.diagnostic_event.message)

    def _show(self) -> None:
        # Deleted and replaced ones come on top of what the program has.
        total = max(self.total, self.done + len(self._busy))
        busy = list(self._busy.values())
        more = f" and {len(busy) - 3} more" if len(busy) > 3 else ""
        self.steps.now(f"{self.done} of {total}: {', '.join(busy[:3])}{more}")

    def _keep(self, urn: str, message: str) -> None:
        text = re.sub(r"<\{%.*?%\}>", "", message).strip()
        # After a failed resource the host adds its own end as a traceback, the provider its log.
        if not text or re.search(r"^update failed$|KeyboardInterrupt|^sdk-v2/|exited with", text):
            return
        text = re.sub(r"^\d+ errors? occurred:\s*\* ", "", text)
        name = "" if not urn or STACK_TYPE in urn else f"{_name(urn)}: "
        if f"{name}{text}" not in self.mistakes:
            self.mistakes.append(f"{name}{text}")


def _is_container_of_others(kind: str) -> bool:
    """Components, providers and the stack take no time of their own."""
    return kind.startswith(("pulumi:", f"{PACKAGE}:"))


_VERBS = {
    "create": "creating",
    "update": "updating",
    "delete": "deleting",
    "replace": "replacing",
    "create-replacement": "replacing",
    "delete-replaced": "deleting the old",
}


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]


def up(stack: Stack, recording: Recording, overrides: Mapping[str, Json]) -> None:
    """Brings the stack up. Raises Stop with what failed."""
    opened = stack.open(overrides)
    stack.take_over(recording)
    _unlock(stack, opened)
    watcher = Watcher(stack.steps, len(recording.resources) + 1)
    _clear_interrupted(stack, opened)
    for container in docker.containers(stack.name):
        # Its exit code stands in the state: only a new one can succeed.
        if container.job and not container.well:
            docker.remove(container)
    try:
        with stack.steps.during("comparing with what runs"), _finishing(stack.steps):
            opened.up(
                on_event=watcher, config_file=str(stack.config_file), refresh=True, color="never"
            )
    except errors.CommandError as error:
        raise Stop(_failure(watcher, error)) from None


def down(stack: Stack, *, data: bool) -> None:
    """Destroys the stack. Without `data`, volumes and passwords stay, also in the state."""
    opened = stack.open({})
    _unlock(stack, opened)
    _clear_interrupted(stack, opened)
    compose.remove_leftovers(stack.name, stack.folder)
    resources = _deployment(opened).get("resources") or []
    kept = set() if data else _with_parents(resources, _holds_data)
    doomed = [item["urn"] for item in resources if item["urn"] not in kept]
    if not doomed and kept:
        return
    watcher = Watcher(stack.steps, len(doomed))
    try:
        with stack.steps.during("destroying"), _finishing(stack.steps):
            opened.destroy(
                on_event=watcher,
                refresh=not kept,
                target=doomed if kept else None,
                color="never",
            )
    except errors.CommandError as error:
        raise Stop(_failure(watcher, error)) from None
    if data:
        opened.workspace.remove_stack(stack.name)


def _holds_data(resource: Mapping[str, Any]) -> bool:
    return resource["type"] in ("docker:index/volume:Volume", _PASSWORD)


@contextmanager
def _finishing(steps: Steps) -> Iterator[None]:
    """Ctrl-C reaches the engine too, which ends what is under way: we wait for that."""
    interrupted = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        steps.say("stopping when what is under way has ended; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    except errors.CommandError:
        if not interrupted.is_set():
            raise
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted.is_set():
        raise KeyboardInterrupt


def _with_parents(
    resources: list[dict[str, Any]], chosen: Callable[[Mapping[str, Any]], bool]
) -> set[str]:
    """The URNs of the chosen resources and of all that they are inside of."""
    parents = {item["urn"]: item.get("parent", "") for item in resources}
    found: set[str] = set()
    for item in resources:
        urn = item["urn"] if chosen(item) else ""
        while urn and urn not in found:
            found.add(urn)
            urn = parents.get(urn, "")
        # The provider that made it is needed to keep it.
        if chosen(item) and item.get("provider"):
            found.add(item["provider"].rpartition("::")[0])
    return found


def _failure(watcher: Watcher, error: Exception) -> str:
    return "\n".join(watcher.mistakes or [_last_line(error)])


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "error:" in line]
    return (told or lines or [type(error).__name__])[-1]


def _unlock(stack: Stack, opened: automation.Stack) -> None:
    """Removes the lock of a run that was killed; a living one keeps it."""
    locks = stack.project.root / ".tiers" / "state" / ".pulumi" / "locks"
    for path in locks.rglob("*.json"):
        try:
            holder = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # half written
            holder = {"pid": 0}
        if path.parent.name != stack.name:
            continue
        if _alive(process := int(holder.get("pid", 0))):
            raise Stop(f"stack {stack.name} is being worked on by process {process}")
        stack.steps.say("an earlier run was killed: its lock is removed")
        opened.cancel()
        return


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:  # no Linux
        return pid > 0
    # Killed, but its parent has not taken notice yet.
    return pid > 0 and state not in ("Z", "X")


def _clear_interrupted(stack: Stack, opened: automation.Stack) -> None:
    """Removes containers whose creation was interrupted: Docker may have them, the state not."""
    deployment = _deployment(opened)
    pending = deployment.get("pending_operations") or []
    names = {
        operation["resource"].get("inputs", {}).get("name")
        for operation in pending
        if operation["type"] == "creating"
    }
    known = {item.get("id") for item in deployment.get("resources") or []}
    for container in docker.containers(stack.name):
        if container.name in names and container.id not in known:
            stack.steps.say(f"{container.name} is left from an interrupted run: it is removed")
            docker.remove(container)
    if pending:
        opened.import_stack(
            automation.Deployment(version=3, deployment={**deployment, "pending_operations": []})
        )


def _deployment(opened: automation.Stack) -> dict[str, Any]:
    return dict(opened.export_stack().deployment or {})
