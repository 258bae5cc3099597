"""The `tiers` command where it needs no daemon."""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi_tiers.cli import docker
from pulumi_tiers.cli.compose import remove_leftovers
from pulumi_tiers.cli.docker import Container, gives_gpus
from pulumi_tiers.cli.main import app
from pulumi_tiers.cli.stack import check_subnets
from pulumi_tiers.component import RefusedError
from pulumi_tiers.model.errors import DescriptionError, Mistake
from pulumi_tiers.render.recorder import record
from pulumi_tiers.site import Site
from sandbox import ROOT, TIERS
from typer.testing import CliRunner, Result


def tiers(*arguments: str, cwd: Path = ROOT, code: int = 0) -> Result:
    """Runs the command in this process: most of a new one is spent on imports."""
    with contextlib.chdir(cwd):
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code == code, done.output
    # What ends by itself is a SystemExit; anything else would have been a traceback.
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("Pulumi.yaml", "Pulumi.dev.yaml", "Pulumi.prod.yaml", "__main__.py"):
        (tmp_path / name).write_text((ROOT / name).read_text(), encoding="utf-8")
    return tmp_path


def configure(project: Path, **config: object) -> None:
    text = yaml.safe_dump({"config": {f"tiers:{key}": value for key, value in config.items()}})
    (project / "Pulumi.dev.yaml").write_text(text, encoding="utf-8")


def test_help_teaches() -> None:
    said = tiers("--help").stdout
    for command in (
        "up",
        "down",
        "status",
        "logs",
        "exec",
        "run",
        "scale",
        "images",
        "restart",
        "render",
        "doctor",
    ):
        assert f" {command} " in said
        assert "Usage: tiers" in tiers(command, "--help").stdout


def test_a_graph_of_the_dev_stack_is_what_the_issue_asks_for() -> None:
    graph = json.loads(tiers("render", "--to", "graph", "--stack", "dev").stdout)
    assert set(graph) == {"resources"}
    for resource in graph["resources"]:
        assert set(resource) == {"urn", "type", "name", "parent", "inputs", "depends_on"}
    assert "[secret]" in json.dumps(graph)


@pytest.mark.parametrize("stack", ["dev", "prod"])
@pytest.mark.parametrize("to", ["compose", "kubernetes"])
def test_both_stacks_render_for_both_targets_without_anything(
    stack: str, to: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [TIERS, "render", "--stack", stack, "--to", to],
        cwd=ROOT,
        env={"PATH": "/nonexistent", "HOME": str(tmp_path), "DOCKER_HOST": "unix:///nonexistent"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = done.stdout
    documents = list(yaml.safe_load_all(text))
    title = "Encontros Tech" if stack == "prod" else "Encontros Tech - HOMOLOGAÇÃO"
    assert title in json.dumps(documents, ensure_ascii=False)
    tag = "latest" if stack == "prod" else "develop"
    assert f"marcospaulo1991/encontros-tech:{tag}" in text


def test_files_of_a_render_run_as_they_are(project: Path) -> None:
    out = project / "out"
    tiers("render", "--to", "compose", "--out", str(out), cwd=project)
    assert {path.name for path in out.iterdir()} == {"compose.yaml", ".env", ".gitignore"}
    assert (out / ".env").stat().st_mode & 0o777 == 0o600
    assert (out / ".gitignore").read_text() == "/.env\n"
    values = (out / ".env").read_text()
    tiers("render", "--to", "compose", "--out", str(out), cwd=project)
    assert (out / ".env").read_text() == values


def test_what_is_encrypted_is_never_made_up(project: Path) -> None:
    secret = {"encontros-tech/postgres/doadmin": {"secure": "v1:abc"}}
    configure(project, secrets=secret)
    out = project / "out"
    out.mkdir()
    (out / ".gitignore").write_text("mine\n")
    done = tiers("render", "--to", "compose", "--out", str(out), cwd=project)
    name = "TIERS_SECRETS_ENCONTROS_TECH_POSTGRES_DOADMIN"
    assert f"tiers:secrets is encrypted: give the files its value as {name}" in done.stderr
    assert f"${{{name}}}" in (out / "compose.yaml").read_text()
    assert not (out / ".env").exists()
    assert (out / ".gitignore").read_text() == "mine\n"


def test_kubernetes_secrets_are_in_clear_only_on_request(project: Path) -> None:
    out = project / "out"
    tiers("render", "--to", "kubernetes", "--out", str(out), cwd=project)
    texts = "".join(path.read_text() for path in out.glob("*.yaml"))
    password = (out / ".env").read_text().strip().partition("=")[2]
    assert password
    assert password not in texts
    tiers("render", "--to", "kubernetes", "--out", str(out), "--secrets", cwd=project)
    assert password in (out / "02-secret.yaml").read_text()
    assert (out / "02-secret.yaml").stat().st_mode & 0o777 == 0o600


def test_one_system_can_be_chosen(project: Path) -> None:
    configure(project, systems=["encontros-tech"])
    tiers("render", "--to", "graph", "--system", "encontros-tech", cwd=project)
    failed = tiers("render", "--to", "graph", "--system", "encontros", cwd=project, code=2)
    assert "there is no system 'encontros'" in failed.stderr
    assert "did you mean 'encontros-tech'?" in failed.stderr


def test_all_mistakes_are_told_at_once(project: Path) -> None:
    configure(
        project,
        target="dockr",
        port_offset="many",
        registy="x",
        images={"encontros-tech/encontros-tech": "Not An Image"},
    )
    failed = tiers("render", "--to", "graph", cwd=project, code=2)
    assert "4 mistakes in the description; nothing was changed" in failed.stderr
    for part in (
        "tiers:target",
        "did you mean 'docker'?",
        "tiers:port_offset",
        "did you mean 'registry'?",
        "'Not An Image' is not an image reference",
    ):
        assert part in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["render", "--to", "graph", "--stack", "nope"], "there is no stack 'nope'"),
        (["render", "--to", "nope"], "'nope'"),
        (["render"], "--to"),
        (["up", "--stack", "prod"], "target digitalocean"),
        (["nope"], "nope"),
    ],
)
def test_wrong_words_on_the_command_line(arguments: list[str], said: str, project: Path) -> None:
    assert said in tiers(*arguments, cwd=project, code=2).stderr


def test_outside_a_project(tmp_path: Path) -> None:
    assert "no Pulumi.yaml" in tiers("render", "--to", "graph", cwd=tmp_path, code=2).stderr


def test_broken_files_are_named(project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text("config: [", encoding="utf-8")
    assert (
        "Pulumi.dev.yaml is not valid YAML"
        in tiers("render", "--to", "graph", cwd=project, code=2).stderr
    )
    for wrong in ("config: [a]", "config: text", "config: {1: x}"):
        (project / "Pulumi.dev.yaml").write_text(wrong, encoding="utf-8")
        failed = tiers("render", "--to", "graph", cwd=project, code=2)
        assert "Pulumi.dev.yaml: 'config' does not hold a map of keys" in failed.stderr
    (project / "Pulumi.dev.yaml").write_bytes(b"config: \xff")
    failed = tiers("render", "--to", "graph", cwd=project, code=2)
    assert "Pulumi.dev.yaml is not valid YAML" in failed.stderr
    (project / "Pulumi.dev.yaml").write_text("config: {}", encoding="utf-8")
    (project / "__main__.py").write_text("1 / 0", encoding="utf-8")
    failed = tiers("render", "--to", "graph", cwd=project, code=1)
    assert "__main__.py failed: ZeroDivisionError" in failed.stderr


def test_doctor_tells_machines_too(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_tiers.cli.docker.server_version", lambda: None)
    done = tiers("doctor", "--json", cwd=project, code=3)
    findings = json.loads(done.stdout)
    assert {"what", "ok", "found", "remedy", "needed"} == set(findings[0])
    missing = [finding["what"] for finding in findings if finding["needed"] and not finding["ok"]]
    assert missing == ["Docker daemon"]


@pytest.mark.parametrize(
    ("told", "gives"),
    [
        ({"Runtimes": {"runc": {}}}, False),
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, True),
        ({"Runtimes": None, "DiscoveredDevices": [{"ID": "nvidia.com/gpu=0"}]}, True),
    ],
)
def test_gpus_are_given_by_a_runtime_or_as_devices(
    told: dict[str, Any], gives: bool, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def docker(*_: str, **__: float) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess((), 0, json.dumps(told), "")

    monkeypatch.setattr("pulumi_tiers.cli.docker.run", docker)
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setattr("pulumi_tiers.cli.docker.installed", lambda: True)
    assert gives_gpus() is gives
    # Python alone is needed on this machine: the daemon says nothing of its version.
    findings = json.loads(tiers("doctor", "--json", cwd=project).stdout)
    found = {finding["what"]: finding for finding in findings}
    gpus = found["NVIDIA GPUs for containers"]
    assert (gpus["ok"], gpus["needed"]) == (gives, False)
    assert ("tiers:gpu: off" in gpus["remedy"]) is not gives
    maps = found["vm.max_map_count: Elasticsearch"]
    assert maps["ok"] is (not maps["remedy"])


def test_what_runs_on_demand_is_well_while_it_does_not_run() -> None:
    waiting = a_container("train", on_demand=True, state="created", health="")
    assert (waiting.condition, waiting.well, waiting.hopeless()) == ("on demand", True, False)


@pytest.mark.parametrize(
    ("before", "now", "hopeless"),
    [
        # Its store was away, and is back: it gets a few checks.
        ({"health": "unhealthy", "failures": 40}, {"health": "unhealthy", "failures": 41}, False),
        ({"health": "unhealthy", "failures": 40}, {"health": "unhealthy", "failures": 43}, True),
        # It ended again and again without its store.
        ({"restarts": 9, "health": "starting"}, {"restarts": 10, "health": "starting"}, False),
        ({"restarts": 9, "health": "starting"}, {"restarts": 13, "health": "starting"}, True),
        # Docker counts failures from each start.
        (
            {"restarts": 9, "failures": 2, "health": "starting"},
            {"restarts": 10, "failures": 3, "health": "unhealthy"},
            True,
        ),
        ({"health": "healthy"}, {"health": "unhealthy", "failures": 3}, True),
        (None, {"health": "unhealthy", "failures": 3}, True),
        (None, {"restarts": 4, "health": "starting"}, True),
        (None, {"restarts": 4}, False),
    ],
)
def test_what_failed_before_says_nothing_of_now(
    before: dict[str, Any] | None, now: dict[str, Any], hopeless: bool
) -> None:
    then = a_container("api", **before) if before else None
    assert a_container("api", **now).hopeless(then) is hopeless


def test_mistakes_in_a_program_of_ones_own_are_told_like_ours(project: Path) -> None:
    program = "from pulumi_tiers import Site\nSite('shop', {'target': 'dokcer', 'labels': 1})\n"
    (project / "__main__.py").write_text(program, encoding="utf-8")
    told = tiers("render", "--to", "graph", cwd=project, code=2).stderr
    assert told.startswith("2 mistakes in the description; nothing was changed\n")
    assert "Site shop: target: this is not one of the valid words (got 'dokcer')" in told
    # The engine prints what is a RunError without a traceback.
    assert issubclass(RefusedError, pulumi.RunError)


def a_container(name: str, **different: Any) -> Container:
    values: dict[str, Any] = {
        "id": name,
        "name": f"dev-shop-{name}",
        "system": "shop",
        "service": name,
        "image": "postgres:15",
        "state": "running",
        "health": "healthy",
        "exit_code": 0,
        "restarts": 0,
        "failures": 0,
        "restart": "no",
        "urls": (),
        "unverified": False,
        "job": False,
        "on_demand": False,
        "part_of": "",
        "labels": {},
    }
    return Container(**{**values, **different})


def test_helpers_are_shown_only_where_they_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = {"state": "exited", "health": "", "job": True}
    edge = a_container("nginx")
    files = a_container("nginx-files", part_of="nginx", **ended)
    migrations = a_container("migrations", **ended)
    here = [edge, files, migrations]
    monkeypatch.setattr("pulumi_tiers.cli.docker.server_version", lambda: "1")

    def log(container: Container, _count: int) -> list[str]:
        return [f"of {container.name}"]

    def containers(_stack: str) -> list[Container]:
        return here

    def one_offs(_stack: str) -> list[Container]:
        return []

    monkeypatch.setattr("pulumi_tiers.cli.docker.containers", containers)
    monkeypatch.setattr("pulumi_tiers.cli.docker.one_offs", one_offs)
    monkeypatch.setattr("pulumi_tiers.cli.docker.last_lines", log)

    rows = json.loads(tiers("status", "--json").stdout)
    assert [row["service"] for row in rows] == ["nginx", "migrations"]
    assert [row["health"] for row in rows] == ["healthy", "completed"]
    assert "nginx-files" not in tiers("status").stdout
    assert "nginx-files" not in tiers("logs").stdout
    # By its name it is there.
    assert tiers("logs", "nginx-files").stdout == "of dev-shop-nginx-files\n"

    here[1] = a_container("nginx-files", part_of="nginx", **{**ended, "exit_code": 1})
    assert "shop/nginx-files" in tiers("status", code=1).stdout
    assert "of dev-shop-nginx-files" in tiers("logs").stdout
    # While it works it is told, too.
    assert a_container("nginx-files", part_of="nginx", job=True, health="").telling


def test_several_logs_are_followed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every line said whose it is, and bytes that are no text."""
    client = tmp_path / "docker"
    client.write_text('#!/bin/sh\nfor last; do :; done\nprintf "%s $last\\n\\377\\n" "$*"\n')
    client.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    here = [a_container("web"), a_container("worker")]

    def containers(_stack: str) -> list[Container]:
        return here

    monkeypatch.setattr("pulumi_tiers.cli.docker.server_version", lambda: "1")
    monkeypatch.setattr("pulumi_tiers.cli.docker.containers", containers)

    lines = tiers("logs", "--follow", "--tail", "2").stdout.splitlines()
    assert sorted(lines) == [
        "dev-shop-web | logs --follow --tail 2 web web",
        "dev-shop-web | \N{REPLACEMENT CHARACTER}",
        "dev-shop-worker | logs --follow --tail 2 worker worker",
        "dev-shop-worker | \N{REPLACEMENT CHARACTER}",
    ]

    client.write_text("#!/bin/sh\nexit 3\n")
    tiers("logs", "--follow", code=3)

    # Where nobody reads any more, nothing goes on.
    client.write_text("#!/bin/sh\necho ready\nexec sleep 60\n")

    def gone(_line: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        docker.follow(here, 1, gone)

    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    # Ctrl-C is how it is meant to end: nothing is left to go on with.
    monkeypatch.setattr("pulumi_tiers.cli.docker.follow", interrupted)
    ended = tiers("logs", "--follow", code=130)
    assert (ended.stdout, ended.stderr) == ("", "")


@pytest.mark.parametrize("command", ["run", "exec"])
def test_a_service_whose_name_is_empty_is_not_any_service(command: str) -> None:
    """As in ``tiers run "$UNSET" -- rm -r /data``."""
    answer = tiers(command, "", "--", "true", code=2)
    assert "the service is an empty text: name one" in answer.stderr


def test_what_is_taken_over_may_end_by_itself_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker finishes its job: it is not killed because the engine makes a new one."""
    of_compose = {"com.docker.compose.project.working_dir": str(tmp_path)}
    worker = a_container("worker", labels=of_compose)
    api = a_container("api", labels=of_compose)
    asked: list[tuple[tuple[str, ...], float]] = []

    def run(*arguments: str, timeout: float = 60) -> "subprocess.CompletedProcess[str]":
        asked.append((arguments, timeout))
        return subprocess.CompletedProcess(arguments, 0, "", "")

    def containers(_stack: str) -> list[Container]:
        return [worker, api, a_container("another")]

    def inspect(container: Container) -> dict[str, Any]:
        return {"Config": {"StopTimeout": 1800} if container is worker else {}}

    monkeypatch.setattr(docker, "run", run)
    monkeypatch.setattr(docker, "inspect", inspect)
    monkeypatch.setattr(docker, "containers", containers)
    remove_leftovers("dev", tmp_path)
    assert asked[0] == (("stop", "worker", "api"), 1860)
    assert [arguments[:1] + arguments[-1:] for arguments, _ in asked[1:3]] == [
        ("rm", "worker"),
        ("rm", "api"),
    ]
    assert not any("another" in arguments for arguments, _ in asked)


def test_networks_of_the_daemon_that_overlap_are_told_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def program() -> None:
        Site("shop", {"networks": {"data": {"subnet": "172.28.0.0/16"}, "own": {}}})

    recording = record(program, project="shop", stack="dev", config={})
    answers: dict[tuple[str, ...], str] = {
        ("network", "ls", "--quiet", "--no-trunc"): "1\n2\n3\n",
        ("network", "inspect", "1", "2", "3"): json.dumps(
            [
                {"Name": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
                # A stack's own network is no obstacle to it.
                {"Name": "dev-shop-data", "IPAM": {"Config": [{"Subnet": "172.28.0.0/16"}]}},
                {
                    "Name": "others_default",
                    "IPAM": {"Config": [{"Subnet": "fd00::/64"}, {"Subnet": "172.28.5.0/24"}]},
                },
            ]
        ),
    }

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, answers[command])

    monkeypatch.setattr(docker, "run", run)
    there = docker.subnets()
    with pytest.raises(DescriptionError) as told:
        check_subnets(recording, there)
    assert told.value.mistakes == [
        Mistake(
            "dev-shop-data: subnet",
            "172.28.0.0/16 overlaps with 172.28.5.0/24, which is the network 'others_default' of"
            " this Docker host",
            "move the system: tiers:subnets.shop; or remove that network, if nobody needs it:"
            " docker network rm others_default",
        )
    ]
    del there["others_default"]
    check_subnets(recording, there)
    answers = {("network", "ls", "--quiet", "--no-trunc"): ""}  # no daemon
    assert docker.subnets() == {}


def test_doctor_looks_whether_a_stacks_subnets_are_free(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(project, systems=["nutrifitcoach"])
    monkeypatch.setattr(docker, "server_version", lambda: "20.10")
    monkeypatch.setattr(docker, "subnets", lambda: {"others": ["172.28.0.0/16"]})
    found = json.loads(tiers("doctor", "--json", cwd=project, code=3).stdout)
    [subnets] = [item for item in found if item["what"] == "subnets of the stack"][:1]
    assert not subnets["ok"]
    assert "the network 'others' of this Docker host" in subnets["found"]
    monkeypatch.setattr(docker, "subnets", dict)
    findings = json.loads(CliRunner().invoke(app, ["doctor", "--json", "-C", str(project)]).stdout)
    [subnets] = [item for item in findings if item["what"] == "subnets of the stack"]
    assert subnets["ok"]
