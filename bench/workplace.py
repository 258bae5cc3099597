"""Where the benchmark works: a temporary state of its own, and nothing left of it at the end."""

import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import yaml
from pulumi_tiers.cli import docker

PROGRAMS = Path(__file__).resolve().parent / "programs"
TIERS = Path(sys.executable).with_name("tiers")
PROJECT = "bench"


class MeasureError(Exception):
    """Something could not be measured."""


@dataclass(frozen=True)
class Workplace:
    """Runs commands and takes their time."""

    root: Path
    #: The beginning of every physical name, so that what is left can be found.
    id: str
    environment: Mapping[str, str]
    #: Processor time is counted, not what the clock says.
    processor: bool = False
    running: list["subprocess.Popen[str]"] = field(default_factory=list)
    #: What else is to be taken away at the end.
    kept: ExitStack = field(default_factory=ExitStack)

    def run(self, *command: str | Path, cwd: Path | None = None, seconds: float = 300) -> float:
        """How long the command took. Raises MeasureError with its last words."""
        begin = self._now()
        # In a session of its own: Ctrl-C is ours to handle, and a group can be ended as a whole.
        process = subprocess.Popen(
            command,
            cwd=cwd or self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise MeasureError(f"{_shown(command)} took more than {seconds:.0f} s") from None
        self.running.remove(process)
        if process.returncode:
            raise MeasureError(
                f"{_shown(command)} ended with exit code {process.returncode}: {_reason(said)}"
            )
        return self._now() - begin

    def _now(self) -> float:
        """Seconds; of processor time, those of all commands that have ended."""
        if not self.processor:
            return time.monotonic()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def project(self, program: str, stack: str, config: Mapping[str, str]) -> "Project":
        """A project whose program is `programs/<program>`, with one stack."""
        folder = self.root / f"{program}-{stack}"
        folder.mkdir()
        declared = {
            "name": PROJECT,
            "main": os.path.relpath(PROGRAMS / program, folder),
            "runtime": {
                "name": "python",
                "options": {"toolchain": "pip", "virtualenv": sys.prefix},
            },
        }
        (folder / "Pulumi.yaml").write_text(yaml.safe_dump(declared), encoding="utf-8")
        made = Project(self, folder, f"{self.id}-{stack}")
        made.file.write_text(
            yaml.safe_dump({"config": {_full(key): text for key, text in config.items()}}),
            encoding="utf-8",
        )
        return made

    def end(self) -> None:
        """Ends what still runs and removes what Docker has of it."""
        for process in self.running:
            _stop(process)
        # Twice nothing: a provider that was interrupted may finish a request to the daemon.
        quiet, deadline = 0, time.monotonic() + 30
        while quiet < 2 and time.monotonic() < deadline:
            quiet = 0 if self._remove() else quiet + 1
            time.sleep(0.2)
        self.kept.close()

    def _remove(self) -> bool:
        """Whether there was something to remove."""
        named = ("--filter", f"name=^/?{self.id}-")
        found = False
        for listing, removal in (
            (("ps", "-aq"), ("rm", "--force", "--volumes")),
            (("network", "ls", "-q"), ("network", "rm")),
            (("volume", "ls", "-q"), ("volume", "rm")),
        ):
            ids = docker.run(*listing, *named).stdout.split()
            if ids:
                found = True
                docker.run(*removal, *ids)
        return found


@dataclass(frozen=True)
class Project:
    """One Pulumi project with one stack."""

    workplace: Workplace
    folder: Path
    stack: str

    @property
    def file(self) -> Path:
        return self.folder / f"Pulumi.{self.stack}.yaml"

    def init(self) -> None:
        self._pulumi("stack", "init")

    def up(self) -> float:
        return self._pulumi("up", "--yes", "--skip-preview")

    def unchanged(self) -> float:
        return self._pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")

    def preview(self) -> float:
        return self._pulumi("preview")

    def destroy(self) -> float:
        return self._pulumi("destroy", "--yes", "--skip-preview")

    def render(self, out: Path, to: str = "compose") -> float:
        return self.workplace.run(
            TIERS,
            "render",
            "--to",
            to,
            "--stack",
            self.stack,
            "--out",
            out,
            cwd=self.folder,
        )

    def _pulumi(self, *arguments: str) -> float:
        common = ("--stack", self.stack, "--non-interactive", "--color", "never")
        return self.workplace.run("pulumi", *arguments, *common, cwd=self.folder)


def _full(key: str) -> str:
    return key if ":" in key else f"{PROJECT}:{key}"


def _shown(command: tuple[str | Path, ...]) -> str:
    return " ".join([Path(command[0]).name, *(str(part) for part in command[1:3])])


def _reason(said: str) -> str:
    """The errors that a command told, else its last words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return " | ".join(dict.fromkeys(errors or lines[-8:]))[:1000]


def _stop(process: "subprocess.Popen[str]") -> None:
    """As by Ctrl-C, so that the engine ends its plugins; then again; then for good."""
    for sign, patience in ((signal.SIGINT, 10), (signal.SIGINT, 5), (signal.SIGKILL, 5)):
        if process.poll() is not None:
            return
        os.killpg(process.pid, sign)
        try:
            process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            continue


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def workplace(*, processor: bool = False) -> Iterator[Workplace]:
    """A workplace, taken away at the end, however it ends."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    root = Path(tempfile.mkdtemp(prefix="tiers-bench-"))
    place = Workplace(root, f"bench{secrets.token_hex(3)}", _environment(root), processor)
    try:
        yield place
    finally:
        # A second Ctrl-C must not leave the half of it.
        held = signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        place.end()
        shutil.rmtree(root)
        signal.signal(signal.SIGINT, held)
        signal.signal(signal.SIGTERM, before)


def _environment(root: Path) -> dict[str, str]:
    state = root / "state"
    state.mkdir()
    # A home of its own, for the engine's logs and notes; the installed plugins stay in use.
    home = root / "home"
    home.mkdir()
    plugins = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi")) / "plugins"
    if plugins.is_dir():
        (home / "plugins").symlink_to(plugins)
    variables = {
        **os.environ,
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{state}",
        "PULUMI_CONFIG_PASSPHRASE": "bench",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    # What is installed is compiled; where this forbids it, ours alone would be compiled each time.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    if shutil.which("docker") and (address := docker.host()) is not None:
        variables["DOCKER_HOST"] = address
    return variables
