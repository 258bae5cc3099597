"""Encontros Tech on real Docker, without the engine: the rendered Compose file does it."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sandbox import APP, TIERS, Sandbox

pytestmark = pytest.mark.docker
COMPOSE = ("--runner", "compose")


def installer_reachable() -> bool:
    try:
        socket.create_connection(("get.pulumi.com", 443), timeout=4).close()
    except OSError:
        return False
    return True


def test_a_life_from_up_to_down(sandbox: Sandbox) -> None:
    said = sandbox.tiers("up", *COMPOSE)
    assert "Docker Compose" in said.stderr
    status = sandbox.status()
    assert {row["health"] for row in status.values()} == {"healthy"}
    assert status[APP]["urls"] == [sandbox.url]
    assert status["encontros-tech/postgres"]["urls"] == []

    sandbox.write("first")
    ids = sandbox.ids()
    again = sandbox.tiers("up", *COMPOSE)
    assert "nothing to change" in again.stderr
    assert sandbox.ids() == ids

    # The server process dies: Docker restarts it, and the application finds it again.
    # Process 1 is Docker's init; the server is its only child.
    sandbox.tiers(
        "exec", "postgres", "--", "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)", code=None
    )
    sandbox.wait_healthy()
    assert sandbox.titles() == ["first"]

    sandbox.tiers("restart")
    sandbox.write("second")
    assert sandbox.titles() == ["second", "first"]

    sandbox.tiers("down")
    left = sandbox.left()
    assert (left["containers"], left["networks"]) == ([], [])
    assert left["volumes"] == [f"{sandbox.stack}-encontros-tech-postgres-data"]

    sandbox.tiers("up", *COMPOSE)
    assert sandbox.titles() == ["second", "first"]
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}
    assert not (sandbox.root / ".tiers" / sandbox.stack).exists()


@pytest.mark.skipif(installer_reachable(), reason="the engine's installer can be reached here")
def test_without_an_engine_the_fallback_says_so_in_one_line(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(folder).glob("*"):
            link = programs / program.name
            if not program.name.startswith("pulumi"):
                link.unlink(missing_ok=True)
                link.symlink_to(program)
    nothing = {"PATH": str(programs), "PULUMI_HOME": str(tmp_path)}
    said = sandbox.tiers("up", env=nothing).stderr
    assert "no Pulumi engine here: pulumi is neither on PATH nor below" in said
    lines = [line for line in said.splitlines() if "run by Docker Compose instead" in line]
    assert len(lines) == 1
    assert sandbox.health()[0] == 200


def test_hardening_and_secrets_as_promised(sandbox: Sandbox) -> None:
    sandbox.tiers("up", *COMPOSE)
    for service, user in (("encontros-tech", "1000:1000"), ("postgres", "999:999")):
        found = sandbox.inspect(service)
        host = found["HostConfig"]
        assert host["ReadonlyRootfs"] is True
        assert host["CapDrop"] == ["ALL"]
        assert host["CapAdd"] in (None, [])
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert found["Config"]["User"] == user
        assert host["Memory"] == host["MemorySwap"] == 256 * 1024**2
        assert host["NanoCpus"] > 0
        assert host["LogConfig"] == {
            "Type": "json-file",
            "Config": {
                "labels": "tiers.stack,tiers.system,tiers.service",
                "max-file": "3",
                "max-size": "10m",
            },
        }
    app = sandbox.inspect("encontros-tech")
    port = str(8000 + sandbox.config["tiers:port_offset"])
    assert app["HostConfig"]["PortBindings"] == {
        "8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": port}]
    }
    assert sandbox.inspect("postgres")["HostConfig"]["PortBindings"] in (None, {})

    folder = sandbox.root / ".tiers" / sandbox.stack
    secrets_file = folder / ".env"
    assert secrets_file.stat().st_mode & 0o777 == 0o600
    password = secrets_file.read_text().strip().partition("=")[2]
    assert len(password) >= 32
    assert password not in (folder / "compose.yaml").read_text()
    assert password not in (folder / "compose.log").read_text()


def test_a_container_that_never_gets_healthy_is_told_with_its_log(sandbox: Sandbox) -> None:
    sandbox.tiers("up", *COMPOSE)
    sandbox.write("kept")
    # A server image without the application: its process ends at once, complaining.
    sandbox.configure(**{"tiers:images": {APP: "standin.local/postgres:15"}})
    failed = sandbox.tiers("up", *COMPOSE, code=1)
    assert f"{sandbox.stack}-encontros-tech-encontros-tech is" in failed.stderr
    assert "its last log lines" in failed.stderr
    assert "must belong to the user of this container" in failed.stderr
    sandbox.configure(**{"tiers:images": None})
    sandbox.tiers("up", *COMPOSE)
    assert sandbox.titles() == ["kept"]


def test_a_taken_port_is_told_before_anything_starts(sandbox: Sandbox) -> None:
    port = 8000 + sandbox.config["tiers:port_offset"]
    with socket.create_server(("127.0.0.1", port)):
        failed = sandbox.tiers("up", *COMPOSE, code=2)
    assert f"host port {port} on 127.0.0.1 is taken by another program" in failed.stderr
    assert "tiers:port_offset" in failed.stderr
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


def test_no_daemon_shows_what_would_run(sandbox: Sandbox, tmp_path: Path) -> None:
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/nowhere.sock"}
    failed = sandbox.tiers("up", code=3, env=nowhere)
    assert "no Docker daemon answers" in failed.stderr
    assert f"{APP}: marcospaulo1991/encontros-tech:develop" in failed.stderr
    rendered = sandbox.root / ".tiers" / sandbox.stack / "compose.yaml"
    assert str(rendered) in failed.stderr
    assert "postgres:15" in rendered.read_text()
    for command in (["status"], ["logs"], ["down"], ["restart"]):
        assert "no Docker daemon answers" in sandbox.tiers(*command, code=3, env=nowhere).stderr


@pytest.mark.parametrize("runner", ["compose", pytest.param("pulumi", marks=pytest.mark.engine)])
def test_an_interrupted_up_converges(sandbox: Sandbox, runner: str) -> None:
    process = sandbox.start("up", "--runner", runner)
    while not sandbox.ids():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "Traceback" not in said, said
    sandbox.tiers("up", "--runner", runner)
    assert sandbox.health()[0] == 200
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_loses_nothing(sandbox: Sandbox) -> None:
    state = sandbox.root / ".tiers"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state], check=True)
    try:
        sandbox.tiers("up", *COMPOSE)
        sandbox.write("kept")
        secrets_file = state / sandbox.stack / ".env"
        before = secrets_file.read_text()
        filler = state / "filler"
        with pytest.raises(OSError, match="No space left"):
            filler.write_bytes(b"x" * 1024**2)
        failed = sandbox.tiers("up", *COMPOSE, code=1)
        assert "No space left on device" in failed.stderr
        assert secrets_file.read_text() == before
        filler.unlink()
        sandbox.tiers("up", *COMPOSE)
        assert sandbox.titles() == ["kept"]
        sandbox.tiers("down", "--data")
    finally:
        subprocess.run(["umount", "--lazy", state], check=True)


def test_logs_exec_and_restart_know_services(sandbox: Sandbox) -> None:
    assert "tiers up" in sandbox.tiers("logs", code=1).stderr
    sandbox.tiers("up", *COMPOSE)
    assert "database system is ready" in sandbox.tiers("logs", "postgres").stdout
    answer = sandbox.tiers(
        "exec", "postgres", "psql", "-U", "doadmin", "-tAc", "select 6*7", "defaultdb"
    )
    assert answer.stdout.strip() == "42"
    assert sandbox.tiers("exec", "postgres", "false", code=1).stdout == ""
    wrong = sandbox.tiers("logs", "postgre", code=2)
    assert "there is no service 'postgre': did you mean 'postgres'?" in wrong.stderr
    before = sandbox.inspect("postgres")["State"]["StartedAt"]
    sandbox.tiers("restart", "postgres")
    assert sandbox.inspect("postgres")["State"]["StartedAt"] > before


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no Compose on PATH")
def test_two_replicas_of_production_share_a_name(sandbox: Sandbox) -> None:
    sandbox.configure(**{"tiers:environment": "production"})
    sandbox.tiers("up", *COMPOSE)
    rows = [row for row in sandbox.tiers("status").stdout.splitlines() if APP in row]
    assert len(rows) == 2
    answer = sandbox.tiers(
        "exec",
        "postgres",
        "--",
        "sh",
        "-c",
        "getent ahosts encontros-tech | cut -d' ' -f1 | sort -u",
    )
    assert len(answer.stdout.split()) == 2


def test_an_encrypted_value_is_asked_for_not_replaced(sandbox: Sandbox) -> None:
    secret = {"encontros-tech/postgres/doadmin": {"secure": "v1:abc"}}
    sandbox.configure(**{"tiers:secrets": secret})
    refused = sandbox.tiers("up", *COMPOSE, code=2)
    name = "TIERS_SECRETS_ENCONTROS_TECH_POSTGRES_DOADMIN"
    assert f"{name}=..." in refused.stderr
    folder = sandbox.root / ".tiers" / sandbox.stack
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".env").write_text(f"{name}=the-right-one\n")
    sandbox.tiers("up", *COMPOSE)
    environment = sandbox.inspect("postgres")["Config"]["Env"]
    assert "POSTGRES_PASSWORD=the-right-one" in environment


def test_another_folders_stack_of_the_same_name_is_left_alone(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    sandbox.tiers("up", *COMPOSE)
    sandbox.write("kept")
    other = Sandbox.make(tmp_path / "other")
    other.stack = sandbox.stack
    other.configure()
    for command in (("up", *COMPOSE), ("up",), ("down", "--data")):
        refused = other.tiers(*command, code=None)
        assert refused.returncode in (1, 2)
        assert "another folder" in refused.stderr or "never brought up" in refused.stderr
    # Neither while the first one is down and has only its volume here.
    sandbox.tiers("down")
    refused = other.tiers("up", *COMPOSE, code=2)
    assert f"{sandbox.stack}-encontros-tech-postgres-data" in refused.stderr
    sandbox.tiers("up", *COMPOSE)
    assert sandbox.titles() == ["kept"]
    sandbox.tiers("down", "--data")


def test_scaling_and_one_off_containers_touch_nothing_else(sandbox: Sandbox) -> None:
    sandbox.tiers("up", *COMPOSE)
    sandbox.write("kept")
    path = sandbox.root / f"Pulumi.{sandbox.stack}.yaml"
    path.write_text(f"# mine\n{path.read_text()}")
    before = sandbox.ids()
    said = sandbox.tiers("scale", "encontros-tech=2")
    assert len([row for row in said.stdout.splitlines() if APP in row]) == 2
    # Those that were there are the same; what brought the stack up does it again.
    assert before < sandbox.ids()
    assert len(sandbox.ids()) == len(before) + 1
    assert path.read_text().startswith("# mine\n")
    ids, written = sandbox.ids(), path.stat().st_mtime_ns
    sandbox.tiers("scale", "encontros-tech=2")
    assert (sandbox.ids(), path.stat().st_mtime_ns) == (ids, written)
    [row] = [
        row for row in json.loads(sandbox.tiers("scale", "--json").stdout) if row["service"] in APP
    ]
    assert (row["replicas"], row["healthy_here"]) == (2, 2)

    # Variables, user, hardening and network of the service; its exit code.
    script = (
        "import os, psycopg2; d = psycopg2.connect(os.environ['DATABASE_URL']).cursor();"
        " d.execute('select title from events'); print(d.fetchall(), os.getuid())"
    )
    done = sandbox.tiers("run", "encontros-tech", "--", "python3", "-c", script)
    assert done.stdout.strip() == "[('kept',)] 1000"
    assert sandbox.tiers("run", "encontros-tech", "sh", "-c", "exit 7", code=7).stdout == ""
    refused = sandbox.tiers("run", "postgres", code=2).stderr
    assert f"writes into {sandbox.stack}-encontros-tech-postgres-data" in refused
    assert sandbox.ids() == ids

    password = sandbox.inspect("encontros-tech")["Config"]["Env"]
    [url] = [entry for entry in password if entry.startswith("DATABASE_URL=")]
    process = sandbox.start("run", "encontros-tech", "sleep", "100")
    label = f"label=tiers.stack={sandbox.stack}"
    one_off = ("ps", "-q", "--filter", label, "--filter", "label=tiers.one_off=encontros-tech")
    while not (container := sandbox.docker(*one_off)):
        assert process.poll() is None, process.communicate()
    found = json.loads(sandbox.docker("inspect", container))[0]
    # What the image exposes, and nothing published.
    assert not any(found["NetworkSettings"]["Ports"].values())
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["Memory"] == 256 * 1024**2
    commands: list[bytes] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            commands.append(path.read_bytes())
    assert not any(url.partition("=")[2].encode() in command for command in commands)
    # It is no replica: nobody finds it by the service's name, or counts it.
    names = sandbox.tiers("exec", "postgres", "getent", "ahosts", "encontros-tech").stdout
    assert len({line.split()[0] for line in names.splitlines()}) == 2
    status = sandbox.tiers("status")
    assert len([row for row in status.stdout.splitlines() if APP in row]) == 2
    assert f"made by tiers run: {found['Name'][1:]} (running)" in status.stderr

    # Two at a time; Ctrl-C ends its own alone.
    other = sandbox.start("run", "encontros-tech", "sleep", "100")
    while len(sandbox.docker(*one_off).split()) < 2:
        assert other.poll() is None, other.communicate()
    os.killpg(other.pid, signal.SIGINT)
    said, _ = other.communicate(timeout=60)
    assert other.returncode == 130, said
    assert said.strip().endswith(": interrupted, and removed")
    assert sandbox.docker(*one_off) == container
    # On a terminal it is one in the container, too.
    keyboard, screen = os.openpty()
    typed = subprocess.Popen(
        [TIERS, "run", "encontros-tech", "sh"],
        cwd=sandbox.root,
        env={**os.environ, "TIERS_STACK": sandbox.stack},
        stdin=screen,
        stdout=screen,
        stderr=screen,
    )
    os.close(screen)
    os.write(keyboard, b"test -t 0 && test -t 1 && exit 9\n")
    assert typed.wait(60) == 9
    os.close(keyboard)

    sandbox.tiers("scale", "encontros-tech=1")
    assert sandbox.ids() == before | {found["Id"]}
    sandbox.tiers("down", "--data")
    assert process.wait(60) == 137
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


def test_two_commands_at_once_do_not_undo_each_other(sandbox: Sandbox) -> None:
    first = sandbox.start("up", *COMPOSE)
    assert first.stdout is not None
    for line in first.stdout:
        if "starting" in line:
            break
    refused = sandbox.tiers("up", *COMPOSE, code=1)
    assert "another 'tiers' command is at work" in refused.stderr
    said, _ = first.communicate(timeout=120)
    assert first.returncode == 0, said


def test_a_job_that_fails_fails_the_command(sandbox: Sandbox) -> None:
    (sandbox.root / "__main__.py").write_text(
        "from pulumi_tiers import AppTier, Site\n"
        "job = {'image': 'standin.local/postgres:15', 'job': True,"
        " 'command': ['sh', '-c', 'sleep 3; echo no such luck; exit 4']}\n"
        "AppTier('shop-app', {'site': Site('shop', {}).ref, 'services': {'migrate': job}})\n"
    )
    failed = sandbox.tiers("up", *COMPOSE, code=1)
    assert "exited (4); its last log lines:" in failed.stderr
    assert "no such luck" in failed.stderr
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}
