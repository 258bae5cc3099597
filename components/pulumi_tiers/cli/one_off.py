"""`tiers run` on Docker: a container like those of a service, for one command."""

import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_INTERRUPTED, EXIT_MISSING, Stop
from pulumi_tiers.platforms.labels import (
    LABEL_IMAGE,
    LABEL_ONE_OFF,
    LABEL_OWNER,
    LABEL_STACK,
    LABEL_SYSTEM,
)

_SECONDS_TO_END = 10
#: A volume that the image asks for: each container has one of its own.
_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_KEPT = (LABEL_STACK, LABEL_SYSTEM, LABEL_OWNER, LABEL_IMAGE)


def run(model: docker.Container, command: Sequence[str]) -> int:
    """Runs a command, or the service's own, in a new container like `model`. Its exit code.

    The container is gone afterwards. Its values go over the daemon's own interface: they stand
    neither in the list of processes nor in a file.
    """
    found = docker.inspect(model)
    if not command:
        _refuse_second_writer(model, found)
    if found["HostConfig"].get("DeviceRequests") and not docker.gives_gpus():
        raise Stop(f"{model.name}: {docker.NO_GPUS}", EXIT_MISSING)
    networks = [name for name in found["NetworkSettings"]["Networks"] if name != "none"]
    name = f"{model.name}-run-{secrets.token_hex(2)}"
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    docker.create(name, _body(model, found, command, networks, terminal=terminal))
    with _removed(name):
        # Older daemons take one network at the creation.
        for network in networks[1:]:
            answer = docker.run("network", "connect", network, name)
            if answer.returncode:
                raise Stop(f"{name}: {answer.stderr.strip()}")
        return subprocess.run(
            ["docker", "start", "--attach", "--interactive", name], check=False
        ).returncode


def remove_all(stack: str) -> None:
    """Ends what still runs: it would hold the networks of the stack."""
    for container in docker.one_offs(stack):
        docker.remove(container)


@contextmanager
def _removed(name: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        docker.run("stop", "--time", str(_SECONDS_TO_END), name, timeout=_SECONDS_TO_END + 60)
        raise Stop(f"{name}: interrupted, and removed", EXIT_INTERRUPTED) from None
    finally:
        # It removes itself when it ends, but not what never began.
        docker.run("rm", "--force", "--volumes", name)


def _refuse_second_writer(model: docker.Container, found: Mapping[str, Any]) -> None:
    """A second database server on the same files would destroy them."""
    written = [
        str(mount["Name"])
        for mount in found["Mounts"]
        if mount["Type"] == "volume" and mount["RW"] and not _ANONYMOUS.fullmatch(mount["Name"])
    ]
    if found["State"]["Running"] and written and not model.job:
        raise Stop(
            f"{model.name} runs, and writes into {', '.join(written)}: another one beside it could"
            " destroy what is there.\n"
            f"  Give a command: tiers run {model.system}/{model.service} -- COMMAND,"
            " or use tiers exec",
            EXIT_INPUT,
        )


def _body(
    model: docker.Container,
    found: Mapping[str, Any],
    command: Sequence[str],
    networks: Sequence[str],
    *,
    terminal: bool,
) -> dict[str, Any]:
    config, host = found["Config"], found["HostConfig"]
    own: dict[str, Any] = {
        "Image": found["Image"],  # its id: the name may mean another one by now
        "Cmd": list(command) or config["Cmd"],
        "Labels": {label: model.labels[label] for label in _KEPT if label in model.labels}
        | {LABEL_ONE_OFF: model.service},
        "Hostname": "",
        "ExposedPorts": {},
        "Healthcheck": {"Test": ["NONE"]},
        "Tty": terminal,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "StopTimeout": _SECONDS_TO_END,
    }
    if terminal and "TERM" in os.environ:
        own["Env"] = [*(config["Env"] or []), f"TERM={os.environ['TERM']}"]
    return {
        **config,
        **own,
        "HostConfig": {
            **host,
            "PortBindings": {},
            "PublishAllPorts": False,
            "RestartPolicy": {"Name": "no"},
            "AutoRemove": True,
            "NetworkMode": networks[0] if networks else "none",
        },
        # Without the aliases and addresses of the service: nobody is to speak to it.
        "NetworkingConfig": {"EndpointsConfig": {name: {} for name in networks[:1]}},
    }
