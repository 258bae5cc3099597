"""Docker: runs on demand, what runs before a service, GPUs, collectors, the socket, rolling."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sandbox import Sandbox

pytestmark = [pytest.mark.docker, pytest.mark.load]
RUNNERS = pytest.mark.parametrize(
    "runner", ["compose", pytest.param("pulumi", marks=pytest.mark.engine)]
)
PROGRAM = """\
from pulumi_tiers import AppTier, Site

site = Site("shop", {{}})
AppTier("shop-app", {{"site": site.ref, "services": {services!r}}})
"""
IMAGE = {"image": "standin.local/postgres:15", "stop_grace_period": "1s"}


def describe(sandbox: Sandbox, **services: dict[str, Any]) -> None:
    text = PROGRAM.format(services={name: {**IMAGE, **item} for name, item in services.items()})
    (sandbox.root / "__main__.py").write_text(text)


def inspect(sandbox: Sandbox, service: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(
        sandbox.docker("inspect", f"{sandbox.stack}-shop-{service}")
    )
    return found[0]


@RUNNERS
def test_on_demand_is_made_and_runs_when_asked(sandbox: Sandbox, runner: str) -> None:
    train = {
        "on_demand": True,
        "command": ["sh", "-c", 'echo "trained with $KEY and $(cat /run/configs/lr)"; exit 3'],
        "secrets": {"KEY": "s3cret"},
        "configs": {"lr": "0.1"},
    }
    describe(sandbox, train=train, web={"command": ["sleep", "1000"]})
    up = ("up", "--runner", runner)
    sandbox.tiers(*up)
    status = sandbox.status()
    assert status["shop/train"]["health"] == "on demand"
    assert status["shop/web"]["health"] == "running"
    assert inspect(sandbox, "train")["State"]["Status"] == "created"
    for _ in range(2):
        done = sandbox.tiers("run", "train", code=3)
        assert done.stdout == "trained with s3cret and 0.1\n"
    assert sandbox.tiers("run", "shop/train", "--", "echo", "other").stdout == "other\n"
    ids = sandbox.ids()
    assert "nothing to change" in sandbox.tiers(*up).stderr
    assert sandbox.ids() == ids
    sandbox.tiers("restart")
    assert inspect(sandbox, "train")["State"]["Status"] == "created"

    describe(sandbox, train={**train, "configs": {"lr": "0.2"}}, web={"command": ["sleep", "1000"]})
    web = inspect(sandbox, "web")["Id"]
    sandbox.tiers(*up)
    assert inspect(sandbox, "web")["Id"] == web
    assert sandbox.tiers("run", "train", code=3).stdout == "trained with s3cret and 0.2\n"

    describe(sandbox, web={"command": ["sleep", "1000"]})
    sandbox.tiers(*up)
    assert set(sandbox.status()) == {"shop/web"}
    describe(sandbox, train=train)
    sandbox.tiers(*up)
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


@RUNNERS
def test_what_runs_before_a_service_fills_its_volumes(sandbox: Sandbox, runner: str) -> None:
    volumes = [
        {"name": f"web-{name}", "target": f"/app/{name}", "size": "1Mi", "read_only": name != "own"}
        for name in ("one", "two", "own")
    ]
    web = {
        "command": ["sh", "-c", "cat /app/one/f /app/two/f; touch /app/own/mine; sleep 1000"],
        "volumes": volumes,
        "init": {
            "image": "standin.local/postgres:15",
            "entrypoint": ["sh", "-c"],
            "command": ['for f in one two; do echo "$KEY $(id -u)" >/app/$f/f; done; exit $CODE'],
            "environment": {"CODE": "0"},
            "secrets": {"KEY": "s3cret"},
        },
    }
    describe(sandbox, web=web)
    sandbox.tiers("up", "--runner", runner)
    assert set(sandbox.status()) == {"shop/web"}  # helpers are shown where they failed
    assert sandbox.tiers("logs", "web").stdout == "s3cret 1000\n" * 2
    refused = sandbox.tiers("exec", "web", "touch", "/app/one/x", code=1).stderr
    assert "Read-only file system" in refused
    init = inspect(sandbox, "web-init")
    assert init["HostConfig"]["CapDrop"] == ["ALL"]
    assert init["HostConfig"]["ReadonlyRootfs"] is True
    assert init["Config"]["User"] == "1000:1000"

    before = inspect(sandbox, "web")["Id"]
    sandbox.tiers("restart", "web")
    assert sandbox.tiers("logs", "web").stdout == "s3cret 1000\n" * 4
    again = inspect(sandbox, "web-init")
    assert again["Id"] == init["Id"]
    assert again["State"]["StartedAt"] > init["State"]["StartedAt"]
    web["init"]["environment"] = {"CODE": "0", "NEW": "1"}
    describe(sandbox, web=web)
    sandbox.tiers("up", "--runner", runner)
    # What it starts with is another one.
    assert inspect(sandbox, "web")["Id"] != before

    web["init"]["environment"] = {"CODE": "5"}
    describe(sandbox, web=web)
    failed = sandbox.tiers("up", "--runner", runner, code=1)
    assert "web-init" in failed.stderr
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


def test_a_gpu_that_is_not_here_is_told_and_may_be_left_out(sandbox: Sandbox) -> None:
    if "nvidia" in sandbox.docker("info", "--format", "{{json .Runtimes}}"):
        pytest.skip("this machine's daemon gives GPUs")
    describe(sandbox, train={"on_demand": True, "gpu": {"count": 2}, "command": ["true"]})
    said = sandbox.tiers("up", "--runner", "compose", code=3).stderr
    assert f"{sandbox.stack}-shop-train: the Docker daemon can't give GPUs" in said
    assert "set tiers:gpu to off" in said
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


@RUNNERS
def test_a_gpu_is_asked_for_as_docker_run_does(
    sandbox: Sandbox, tmp_path: Path, runner: str
) -> None:
    """Only the start of a container needs a GPU; this machine seems to have one."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "nvidia-container-runtime-hook").touch(0o755)
    env = {"PATH": f"{programs}:{os.environ['PATH']}"}
    gpu = {"count": 2, "devices": [0, 2]}
    describe(sandbox, train={"on_demand": True, "gpu": gpu, "command": ["true"]})
    sandbox.tiers("up", "--runner", runner, env=env)
    [request] = inspect(sandbox, "train")["HostConfig"]["DeviceRequests"]
    assert request["Driver"] == "nvidia"
    assert sorted(request["DeviceIDs"]) == ["0", "2"]
    assert request["Capabilities"] == [["gpu"]]
    assert "nothing to change" in sandbox.tiers("up", "--runner", runner, env=env).stderr
    said = sandbox.tiers("run", "train", code=3).stderr
    assert "set tiers:gpu to off" in said
    sandbox.tiers("down", "--data")


def test_a_collector_reads_the_machine_and_the_socket_is_the_daemons(sandbox: Sandbox) -> None:
    described = {
        "node": {"per_node": True, "binds": {"/host/etc": "/etc"}, "command": ["sleep", "1000"]},
        "panel": {"docker_socket": True, "user": "0:0", "command": ["sleep", "1000"]},
    }
    describe(sandbox, **described)
    sandbox.tiers("up", "--runner", "compose")
    assert "root" in sandbox.tiers("exec", "node", "cat", "/host/etc/passwd").stdout
    refused = sandbox.tiers("exec", "node", "touch", "/host/etc/x", code=1).stderr
    assert "Read-only file system" in refused
    ask = (
        "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/var/run/docker.sock');"
        " s.sendall(b'GET /_ping HTTP/1.0\\r\\n\\r\\n'); print(s.recv(1000).split(b'\\r\\n')[0])"
    )
    assert "200 OK" in sandbox.tiers("exec", "panel", "python3", "-c", ask).stdout
    sandbox.tiers("down", "--data")


@RUNNERS
def test_replicas_are_replaced_one_after_another(sandbox: Sandbox, runner: str) -> None:
    def web(version: str) -> dict[str, Any]:
        return {
            "rolling": True,
            "replicas": 2,
            "command": ["sh", "-c", "sleep 1; touch /tmp/ready; sleep 1000"],
            "environment": {"VERSION": version},
            "tmpfs": {"/tmp": ""},
            "healthcheck": {"test": ["CMD", "test", "-e", "/tmp/ready"], "interval": "1s"},
        }

    describe(sandbox, web=web("1"))
    sandbox.tiers("up", "--runner", runner)
    before = sandbox.ids()
    describe(sandbox, web=web("2"))
    with _fewest_healthy(sandbox) as seen:
        sandbox.tiers("up", "--runner", runner)
    assert not before & sandbox.ids()
    assert min(seen) >= 1, seen
    sandbox.tiers("down", "--data")


@contextmanager
def _fewest_healthy(sandbox: Sandbox) -> Iterator[list[int]]:
    """How many were healthy, again and again."""
    until, seen = threading.Event(), [2]
    label = f"label=tiers.stack={sandbox.stack}"

    def watch() -> None:
        while not until.is_set():
            healthy = sandbox.docker("ps", "-q", "--filter", label, "--filter", "health=healthy")
            seen.append(len(healthy.split()))
            time.sleep(0.1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        until.set()
        thread.join()
