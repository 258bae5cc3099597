"""Single workloads on real Docker, as the Docker platform runs them, without the engine."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pulumi_tiers.model.base import size_in_bytes
from pulumi_tiers.model.references import Reference, substitute
from pulumi_tiers.model.workload import CONFIGS, SECRET_FILES, Workload
from sandbox import ROOT

Done = subprocess.CompletedProcess[bytes]


def stand_in(image: str) -> str:
    """The stand-in of an image, built if need be."""
    build = (sys.executable, str(ROOT / "offline" / "build.py"), image)
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no stand-in of {image} here: {done.stderr.strip().splitlines()[-1]}")
    made: dict[str, str] = json.loads(done.stdout)
    return made[image]


@dataclass
class Containers:
    """The containers of one test, in a network of their own."""

    folder: Path
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")

    def __enter__(self) -> "Containers":
        self.docker("network", "create", "--label", f"test={self.name}", self.name)
        return self

    def __exit__(self, *_: object) -> None:
        label = f"label=test={self.name}"
        if left := self.docker("ps", "-aq", "--filter", label).split():
            self.docker("rm", "--force", "--volumes", *left)
        if volumes := self.docker("volume", "ls", "-q", "--filter", label).split():
            self.docker("volume", "rm", *volumes)
        self.docker("network", "rm", self.name)

    def docker(self, *arguments: str) -> str:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, service: str, workload: Workload, values: Mapping[str, str]) -> str:
        """Starts it. `values`: what its references mean, ``store.field`` → text."""

        def value(reference: Reference) -> str:
            return values[f"{reference.connection}.{reference.field}"]

        name = f"{self.name}-{service}"
        arguments = [
            *("run", "--detach", "--name", name, "--hostname", secrets.token_hex(6), "--init"),
            *("--network", self.name, "--network-alias", service, "--label", f"test={self.name}"),
            *("--user", workload.user, "--read-only", "--cap-drop", "ALL"),
            *("--security-opt", "no-new-privileges", "--cpus", str(workload.resources.cpus)),
            *("--memory", str(size_in_bytes(workload.resources.memory))),
            *("--memory-swap", str(size_in_bytes(workload.resources.memory))),
        ]
        for path, options in workload.tmpfs.items():
            arguments += ["--tmpfs", f"{path}:{options}" if options else path]
        for volume in workload.volumes:
            source = f"{self.name}-{volume.name}"
            self.docker("volume", "create", "--label", f"test={self.name}", source)
            arguments += ["--volume", f"{source}:{volume.target}"]
        for path, source in workload.binds.items():
            arguments += ["--volume", f"{source}:{path}:ro"]
        for path, files in ((CONFIGS, workload.configs), (SECRET_FILES, workload.secret_files)):
            folder = self.folder / name / path.rpartition("/")[2]
            for file, text in files.items():
                folder.mkdir(parents=True, exist_ok=True)
                # In configs, nothing is a reference.
                plain = text if path == CONFIGS else substitute(text, value)
                (folder / file).write_text(plain)
                (folder / file).chmod(0o444)
            if files:
                arguments += ["--volume", f"{folder}:{path}:ro"]
        for variable, text in workload.values.items():
            arguments += ["--env", f"{variable}={substitute(text, value)}"]
        command = [*workload.entrypoint[1:], *workload.command]
        if workload.entrypoint:
            arguments += ["--entrypoint", workload.entrypoint[0]]
        assert isinstance(workload.image, str)
        self.docker(*arguments, workload.image, *command)
        return name

    def run(self, service: str, workload: Workload, values: Mapping[str, str]) -> tuple[int, str]:
        """Runs a job to its end. Returns its exit code and all that it has said."""
        name = self.start(service, workload, values)
        code = int(self.docker("wait", name))
        said = self.logs(name)
        self.docker("rm", "--volumes", name)
        return code, said

    def logs(self, name: str) -> str:
        done = subprocess.run(["docker", "logs", name], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def execute(
        self,
        name: str,
        *command: str,
        environment: Mapping[str, str] | None = None,
        given: bytes = b"",
    ) -> Done:
        variables = [part for key, value in (environment or {}).items()
                     for part in ("--env", f"{key}={value}")]  # fmt: skip
        arguments = ["docker", "exec", "--interactive", *variables, name, *command]
        return subprocess.run(arguments, input=given, capture_output=True, check=False)

    def healthy(self, name: str, workload: Workload) -> bool:
        """Whether the health check says so now."""
        assert workload.healthcheck is not None
        kind, *test = [str(part) for part in workload.healthcheck.test]
        command = ("sh", "-c", *test) if kind == "CMD-SHELL" else tuple(test)
        return self.execute(name, *command).returncode == 0

    def wait_healthy(self, name: str, workload: Workload, seconds: float = 60) -> None:
        self.wait(lambda: self.healthy(name, workload), name, seconds)

    def wait(self, done: Callable[[], bool], name: str, seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, self.logs(name)
            time.sleep(0.3)
