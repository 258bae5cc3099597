"""The Docker daemon of this machine, by its own command line."""

import http.client
import json
import os
import queue
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, cast

from pulumi_tiers.cli.console import Steps, Stop
from pulumi_tiers.platforms.labels import (
    LABEL_IMAGE,
    LABEL_JOB,
    LABEL_ON_DEMAND,
    LABEL_ONE_OFF,
    LABEL_OWNER,
    LABEL_PART_OF,
    LABEL_SERVICE,
    LABEL_STACK,
    LABEL_SYSTEM,
    LABEL_UNVERIFIED,
    LABEL_URLS,
)

STAND_IN_PREFIX = "standin.local/"
_RESTARTS = 4
"""A container that Docker has started so often doesn't recover by itself."""
_FAILURES = 3
"""A container that was unhealthy before, and whose check fails so often again, stays so."""
_QUIET_SECONDS = 30
"""A pull that says nothing for so long is going nowhere."""


@dataclass(frozen=True)
class Container:
    """A container of a stack, as Docker sees it."""

    id: str
    name: str
    system: str
    service: str
    image: str
    state: str
    health: str
    exit_code: int
    restarts: int
    #: Health checks that failed one after another.
    failures: int
    restart: str
    urls: tuple[str, ...]
    unverified: bool
    job: bool
    on_demand: bool
    #: The service or store that it helps: it writes its files, or sets it up.
    part_of: str
    labels: dict[str, str] = field(repr=False)

    @property
    def condition(self) -> str:
        """For people: healthy, starting, unhealthy, running, exited (3), completed, on demand."""
        if self.on_demand and self.state == "created":
            return "on demand"
        if self.state != "running":
            if self.job and self.state == "exited" and self.exit_code == 0:
                return "completed"
            return f"exited ({self.exit_code})" if self.state == "exited" else self.state
        return self.health or "running"

    @property
    def well(self) -> bool:
        if self.on_demand:
            return True  # what counts are its runs
        if self.job:
            return self.condition == "completed"
        return self.condition in {"healthy", "running"}

    def hopeless(self, before: "Container | None" = None) -> bool:
        """Docker says so, or it ends again and again, or will never run again.

        `before`: the same container a while ago. What had failed until then, without its store
        perhaps, says nothing of what it does now.
        """
        restarts, failures = self.restarts, self.failures
        if before:
            restarts -= before.restarts
            failures -= 0 if restarts else before.failures
        ended = self.state == "exited" and self.restart == "no"
        sick = self.condition == "unhealthy" and (before is None or failures >= _FAILURES)
        return sick or (not self.well and (restarts >= _RESTARTS or ended))

    @property
    def telling(self) -> bool:
        """Whether people want to see it: a helper only where it failed."""
        return not (self.part_of and self.job and self.well)

    @property
    def stand_in(self) -> bool:
        return self.image.startswith(STAND_IN_PREFIX)


def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """``docker …``, its output captured. Never raises for an exit code."""
    try:
        return subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, timeout=timeout, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(arguments, 127, "", str(error))


def installed() -> bool:
    """Whether the client is on PATH."""
    return shutil.which("docker") is not None


def server_version() -> str | None:
    """Version of the daemon; None where none answers."""
    answer = run("version", "--format", "{{.Server.Version}}", timeout=20)
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def why_not() -> str:
    """The daemon's or the client's own words for why there is no answer."""
    answer = run("version", "--format", "{{.Server.Version}}", timeout=20)
    lines = answer.stderr.strip().splitlines()
    return lines[-1] if lines else f"docker ended with exit code {answer.returncode}"


def host() -> str | None:
    """Address of the daemon that the client's context names; the providers ask for DOCKER_HOST."""
    if os.environ.get("DOCKER_HOST"):
        return os.environ["DOCKER_HOST"]
    answer = run("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    return answer.stdout.strip() or None


NO_GPUS = (
    "the Docker daemon can't give GPUs to containers\n"
    "  Install the NVIDIA Container Toolkit"
    " (https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/latest/install-guide.html),"
    "\n  or compute on the CPU: set tiers:gpu to off"
)


def gives_gpus() -> bool:
    """Whether the daemon can give NVIDIA's GPUs to containers."""
    told = json.loads(run("info", "--format", "{{json .}}").stdout or "{}")
    devices = [str(item.get("ID", "")) for item in told.get("DiscoveredDevices") or []]
    return (
        "nvidia" in (told.get("Runtimes") or {})
        or any(device.startswith("nvidia.com/gpu") for device in devices)
        # A daemon that nobody configured looks for this program, and may be on this machine.
        or shutil.which("nvidia-container-runtime-hook") is not None
    )


def subnets() -> dict[str, list[str]]:
    """The addresses of all networks of the daemon, by the network's name."""
    ids = run("network", "ls", "--quiet", "--no-trunc").stdout.split()
    answer = run("network", "inspect", *ids) if ids else None
    # Of one that is gone meanwhile, nothing is told; of all others it is.
    networks = json.loads(answer.stdout or "[]") if answer else []
    return {
        network["Name"]: [
            part["Subnet"] for part in network["IPAM"].get("Config") or [] if part.get("Subnet")
        ]
        for network in networks
    }


# --- installing and starting ----------------------------------------------------------------------


def can_install() -> bool:
    """As root on Debian or Ubuntu."""
    try:
        release = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return False
    family = {"ID=debian", "ID=ubuntu", "ID_LIKE=debian"} & set(
        release.replace('"', "").splitlines()
    )
    return os.geteuid() == 0 and bool(family) and shutil.which("apt-get") is not None


def install(steps: Steps, *packages: str) -> bool:
    """Installs Debian packages, saying so before. Returns whether it worked."""
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    steps.say(f"as root: {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with steps.during(f"installing {', '.join(packages)}"):
        subprocess.run(
            ["apt-get", "update", "-qq"], env=environment, capture_output=True, check=False
        )
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        steps.say(
            f"apt-get failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    return done.returncode == 0


def start(steps: Steps) -> bool:
    """Starts an installed daemon, by hand where no systemd runs. Returns whether it answers."""
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        return False
    if Path("/run/systemd/system").is_dir():
        steps.say("as root: systemctl start docker")
        subprocess.run(["systemctl", "start", "docker"], capture_output=True, check=False)
    else:
        log = Path("/var/log/dockerd.log")
        steps.say(f"as root: dockerd (no systemd here; its log is {log})")
        with log.open("ab") as stream:
            subprocess.Popen(
                ["dockerd", "-p", "/var/run/docker.pid", "-H", "unix:///var/run/docker.sock"],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server_version():
            return True
        time.sleep(0.3)
    return False


# --- images ---------------------------------------------------------------------------------------


def has_image(reference: str) -> bool:
    """Whether the daemon has the image already."""
    return run("image", "inspect", "--format", "{{.Id}}", reference).returncode == 0


def pull(reference: str, steps: Steps) -> str | None:
    """Pulls an image, showing its progress. Returns why it couldn't; None when it is there."""
    process = subprocess.Popen(
        ["docker", "pull", reference], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    last, heard, layers = "", time.monotonic(), 0
    while process.poll() is None:
        for line in process.stdout:
            last, heard = line.strip() or last, time.monotonic()
            if "Pull complete" in line:
                layers += 1
                steps.now(f"pulling {reference}: {layers} layers done")
        # A layer that is on its way says nothing until it has arrived.
        if "fs layer" not in last and not layers and time.monotonic() - heard > _QUIET_SECONDS:
            process.terminate()
            process.wait()
            return f"nothing arrived for {_QUIET_SECONDS} s"
        time.sleep(0.05)
    for line in process.stdout:
        last = line.strip() or last
    # Of "Get https://…: dial tcp: lookup …: no such host" the end tells most.
    return None if process.returncode == 0 else last.rpartition(": ")[2] or "no reason given"


# --- containers -----------------------------------------------------------------------------------


def containers(stack: str) -> list[Container]:
    """Everything that bears the stack's label, running or not, but what `tiers run` made."""
    return [item for item in _labelled(stack) if LABEL_ONE_OFF not in item.labels]


def one_offs(stack: str) -> list[Container]:
    """What `tiers run` made and has not ended."""
    return [item for item in _labelled(stack) if LABEL_ONE_OFF in item.labels]


def _labelled(stack: str) -> list[Container]:
    answer = run("ps", "-aq", "--no-trunc", "--filter", f"label={LABEL_STACK}={stack}")
    if answer.returncode:
        raise Stop(f"the Docker daemon doesn't answer: {answer.stderr.strip()}")
    ids = answer.stdout.split()
    return sorted(_inspect(ids), key=lambda item: (item.system, item.service, item.name))


def inspect(container: Container) -> dict[str, Any]:
    """Everything that Docker knows of a container."""
    answer = run("inspect", "--type", "container", container.id)
    if answer.returncode:
        raise Stop(f"{container.name}: {answer.stderr.strip()}")
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found[0]


def _inspect(ids: Sequence[str]) -> Iterable[Container]:
    if not ids:
        return
    for found in json.loads(run("inspect", "--type", "container", *ids).stdout or "[]"):
        labels = found["Config"]["Labels"] or {}
        state = found["State"]
        yield Container(
            id=found["Id"],
            name=found["Name"].removeprefix("/"),
            system=labels.get(LABEL_SYSTEM, ""),
            service=labels.get(LABEL_SERVICE, ""),
            image=labels.get(LABEL_IMAGE, found["Config"]["Image"]),
            state=state["Status"],
            health=(state.get("Health") or {}).get("Status", ""),
            exit_code=state["ExitCode"],
            restarts=found["RestartCount"],
            failures=(state.get("Health") or {}).get("FailingStreak", 0),
            restart=found["HostConfig"]["RestartPolicy"]["Name"] or "no",
            urls=tuple(filter(None, labels.get(LABEL_URLS, "").split(","))),
            unverified=labels.get(LABEL_UNVERIFIED) == "true",
            job=labels.get(LABEL_JOB) == "true",
            on_demand=labels.get(LABEL_ON_DEMAND) == "true",
            part_of=labels.get(LABEL_PART_OF, ""),
            labels=labels,
        )


def foreign(stack: str, owner: str) -> list[str]:
    """Names of the stack's containers and volumes that another folder or program has made."""
    names = [item.name for item in containers(stack) if item.labels.get(LABEL_OWNER) != owner]
    everything, ours = (
        set(run("volume", "ls", "-q", *_filters(*labels)).stdout.split())
        for labels in (
            (f"{LABEL_STACK}={stack}",),
            (f"{LABEL_STACK}={stack}", f"{LABEL_OWNER}={owner}"),
        )
    )
    return names + sorted(everything - ours)


def remove_all(stack: str) -> None:
    """Removes every container, network and volume of the stack."""
    for container in _labelled(stack):
        remove(container)
    label = _filters(f"{LABEL_STACK}={stack}")
    for kind in ("network", "volume"):
        for name in run(kind, "ls", "-q", *label).stdout.split():
            answer = run(kind, "rm", name)
            if answer.returncode:
                raise Stop(f"{kind} {name} can't be removed: {answer.stderr.strip()}")


def _filters(*labels: str) -> list[str]:
    return [part for label in labels for part in ("--filter", f"label={label}")]


def networks(stack: str, *labels: str) -> list[str]:
    """Ids of the stack's networks that bear all these labels (``name=value``)."""
    filters = _filters(f"{LABEL_STACK}={stack}", *labels)
    return run("network", "ls", "-q", *filters).stdout.split()


def grace(container: Container) -> int:
    """Seconds that it may take to end."""
    return int(inspect(container)["Config"].get("StopTimeout") or 10)


def stop(chosen: Sequence[Container]) -> None:
    """Lets them end by themselves, all at once: a worker finishes its job, a server writes."""
    if chosen:
        patience = max(map(grace, chosen)) + 60
        run("stop", *(container.id for container in chosen), timeout=patience)


def remove(container: Container) -> None:
    """Removes a container, running or not."""
    run("rm", "--force", "--volumes", container.id, timeout=120)


def run_again(container: Container) -> None:
    """Runs a job that has ended once more, to its end. Raises Stop where it fails."""
    command = ["docker", "start", "--attach", container.id]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stdout + done.stderr).splitlines()[-15:]
        said = "".join(f"\n    {line}" for line in lines)
        raise Stop(f"{container.name}: exited ({done.returncode}); its last log lines:{said}")


def last_lines(container: Container, count: int) -> list[str]:
    """The end of a container's log."""
    log = _log(container, "--tail", str(count))
    return log.communicate()[0].splitlines()


def follow(containers: Sequence[Container], count: int, tell: Callable[[str], None]) -> int:
    """Tells the last lines of several logs, and what comes, each with its container's name.

    Until all of them have ended. What Docker's client ended with, the worst of all.
    """

    lines: queue.Queue[str | None] = queue.Queue(maxsize=1000)

    def read(container: Container, log: Iterable[str]) -> None:
        for line in log:
            lines.put(f"{container.name} | {line.rstrip()}")
        lines.put(None)

    logs = [
        (container, _log(container, "--follow", "--tail", str(count))) for container in containers
    ]
    try:
        for container, log in logs:
            threading.Thread(target=read, args=(container, log.stdout), daemon=True).start()
        for _ in logs:
            while (line := lines.get()) is not None:
                tell(line)
        return max(log.wait() for _, log in logs)
    finally:
        for _, log in logs:
            log.terminate()


def _log(container: Container, *options: str) -> subprocess.Popen[str]:
    """A container's log, to be read: both streams in one, in the order of their lines."""
    return subprocess.Popen(
        ["docker", "logs", *options, container.id],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Programs may print anything.
        errors="replace",
    )


# --- the daemon's own interface -------------------------------------------------------------------

_ANSWER_SECONDS = 60


def create(name: str, body: Mapping[str, Any]) -> None:
    """Makes a container from what the daemon's interface takes. Raises Stop.

    Unlike the arguments of `docker create`, nobody else on this machine can read that.
    """
    status, answer = _post(f"/containers/create?name={name}", body)
    if status != http.client.CREATED:
        raise Stop(f"{name}: {answer.get('message', f'the Docker daemon said {status}')}")


class _Stream:
    """As much of a socket as `http.client` reads answers from."""

    def __init__(self, stream: BufferedReader) -> None:
        self.stream = stream

    def makefile(self, _mode: str) -> BufferedReader:
        return self.stream


def _post(path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Asks the daemon through the client, which knows the way there: a socket, TLS or SSH."""
    text = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    )
    with subprocess.Popen(
        ["docker", "system", "dial-stdio"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # nothing is left to be written when it ends before its time
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        overdue = threading.Timer(_ANSWER_SECONDS, process.kill)
        overdue.start()
        try:
            # It stays open: to a daemon, an end means that nobody waits for the answer.
            process.stdin.write(head.encode() + text)
            stream = _Stream(BufferedReader(cast("RawIOBase", process.stdout)))
            answer = http.client.HTTPResponse(cast("Any", stream))
            answer.begin()
            return answer.status, json.loads(answer.read() or b"{}")
        except (OSError, ValueError, http.client.HTTPException) as error:
            process.kill()
            said = process.stderr.read().decode(errors="replace").strip().splitlines()
            raise Stop(f"the Docker daemon doesn't answer: {said[-1] if said else error}") from None
        finally:
            overdue.cancel()
            process.kill()
