"""The examples, run as somebody else runs them: on the built wheel, and through the plugin."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster
from sandbox import TIERS
from wheelhouse import ROOT, build_wheel


def missing(*programs: str) -> str:
    return ", ".join(program for program in programs if shutil.which(program) is None)


EXAMPLES = ROOT / "examples"
#: The second's stand-in is the reference workload, as for every application.
IMAGES = ("postgres:15", "marcospaulo1991/encontros-tech:develop")
DATABASE, WEB = (f"standin.local/{image}" for image in IMAGES)
MISSING_FOR_YAML = missing("pulumi-language-yaml")
MISSING_FOR_TYPESCRIPT = missing("pulumi-language-nodejs", "node", "npm")
PROVIDERS = ("digitalocean", "docker", "github", "kubernetes", "random", "tls")
"""What the library's dependencies are for: `pulumi install` wants the plugins of all of them."""

# --- without an engine ----------------------------------------------------------------------------


def test_the_kubernetes_example_renders_twice_of_everything(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "kubernetes", tmp_path, dirs_exist_ok=True)
    (tmp_path / "Pulumi.dev.yaml").write_text("config: {}\n")
    rendered = subprocess.run(
        [TIERS, "render", "--to", "kubernetes"], cwd=tmp_path, capture_output=True, check=True
    )
    objects = list(yaml.safe_load_all(rendered.stdout))
    for name in ("home", "work"):
        made = {
            (item["kind"], item["metadata"]["name"])
            for item in objects
            if item["metadata"].get("namespace") == f"dev-{name}"
        }
        assert {("StatefulSet", "postgres"), ("Secret", "database"), ("Deployment", "web")} < made


def test_the_plugin_installs_what_the_repository_installs() -> None:
    def lines(path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if not line.startswith("#")]

    root = lines(ROOT / "requirements.txt")
    assert lines(ROOT / "components" / "requirements.txt") == [
        line.replace("constraints.txt", "../constraints.txt").replace("-e .", "-e ..")
        for line in root
    ]


# --- the machinery --------------------------------------------------------------------------------


@dataclass
class Workshop:
    """A clone of this repository whose plugin is installed, and engines' own folders."""

    root: Path
    environment: dict[str, str]

    @property
    def clone(self) -> Path:
        return self.root / "clone"

    @property
    def examples(self) -> Path:
        return self.clone / "examples"

    def run(self, *command: str | Path, cwd: Path, code: int = 0) -> str:
        """What the command prints. With another `code`, it must fail."""
        done = self._run(command, cwd)
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == (code != 0), said
        assert "Traceback" not in said, said
        return said

    def install(self, *command: str, cwd: Path) -> None:
        """Runs what downloads packages. Without their registry, the test is skipped."""
        done = self._run(command, cwd)
        said = done.stdout + done.stderr
        if unreachable := re.search(
            r"No matching distribution.*|E(?:NOTFOUND|CONN|AI|TIMED).*", said
        ):
            pytest.skip(f"no package registry: {unreachable[0]}")
        assert done.returncode == 0, said

    def _run(self, command: Sequence[str | Path], cwd: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@dataclass
class Program:
    """An example with a stack of its own."""

    root: Path
    stack: str
    workshop: Workshop

    def pulumi(self, *arguments: str, code: int = 0) -> str:
        options = ("--non-interactive", "--color", "never", "--stack", self.stack)
        return self.workshop.run("pulumi", *arguments, *options, cwd=self.root, code=code)

    def begin(self, **config: object) -> None:
        self.pulumi("stack", "init")
        values = [f"--plaintext={key}={value}" for key, value in config.items()]
        if values:
            self.pulumi("config", "set-all", *values)

    def up(self) -> None:
        """Twice: the second time there is nothing to do."""
        self.pulumi("up", "--yes", "--skip-preview")
        self.pulumi("up", "--yes", "--skip-preview", "--expect-no-changes")

    def down(self) -> None:
        self.pulumi("destroy", "--yes", "--skip-preview")
        assert self.left() == []

    def left(self) -> list[str]:
        """What Docker has of it, by name."""
        return [
            name
            for kind in ("container", "volume", "network")
            for name in self._docker(kind, "ls", *(("-a",) if kind == "container" else ()))
        ]

    def _docker(self, *listing: str) -> list[str]:
        column = "{{.Names}}" if listing[0] == "container" else "{{.Name}}"
        command = ["docker", *listing, "--format", column, "--filter", f"name={self.stack}-"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    def remove(self) -> None:
        """Whatever a failed test has left."""
        for kind, *names in (
            ("container", *self._docker("container", "ls", "-a")),
            ("volume", *self._docker("volume", "ls")),
            ("network", *self._docker("network", "ls")),
        ):
            if names:
                force = ("--force",) if kind == "container" else ()
                subprocess.run(["docker", kind, "rm", *force, *names], check=False)


def plugin_of(name: str) -> Path | None:
    """The provider's plugin on this machine."""
    if found := shutil.which(f"pulumi-resource-{name}"):
        return Path(found)
    home = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"))
    installed = home / "plugins" / f"resource-{name}-v{version(f'pulumi-{name}')}"
    return next(iter(installed.glob("pulumi-resource-*")), None)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    root = tmp_path_factory.mktemp("workshop")
    for name in ("components", "examples"):
        ignored = shutil.ignore_patterns(
            "__pycache__", "*.egg-info", ".venv", "node_modules", "sdks"
        )
        shutil.copytree(ROOT / name, root / "clone" / name, ignore=ignored)
    for name in ("pyproject.toml", "constraints.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / "clone")
    (root / "state").mkdir()
    for name in PROVIDERS:
        plugin = plugin_of(name)
        if plugin is None:
            pytest.skip(f"no plugin for {name}")
        # `pulumi install` doesn't look on PATH.
        folder = root / "home" / "plugins" / f"resource-{name}-v{version(f'pulumi-{name}')}"
        folder.mkdir(parents=True)
        (folder / f"pulumi-resource-{name}").symlink_to(plugin)
    environment = {
        **os.environ,
        "PULUMI_HOME": str(root / "home"),
        "PULUMI_BACKEND_URL": f"file://{root / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }
    environment.pop("VIRTUAL_ENV", None)
    made = Workshop(root, environment)
    # One of them is enough: this takes the longest.
    language = "yaml" if MISSING_FOR_TYPESCRIPT else "typescript"
    made.install("pulumi", "package", "add", "../../components", cwd=made.examples / language)
    return made


@pytest.fixture(scope="module")
def wheel_venv(workshop: Workshop) -> None:
    """An environment with the wheel. The plugin's lends it the dependencies, and they suffice."""
    plugins, venv = workshop.clone / ".venv", workshop.root / "venv"
    workshop.run(plugins / "bin" / "python", "-m", "venv", "--without-pip", venv, cwd=workshop.root)
    (workshop.root / "dist").mkdir()
    wheel = build_wheel(workshop.root / "dist")
    install = ("install", "--quiet", "--no-deps", "--no-index")
    python = venv / "bin" / "python"
    pip = plugins / "bin" / "pip"
    workshop.run(pip, "--python", python, *install, wheel, cwd=workshop.root)
    [packages] = venv.glob("lib/python*/site-packages")
    [lent] = plugins.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(f"{lent}\n")
    told = workshop.run(
        python, "-c", "import pulumi_tiers; print(pulumi_tiers.__file__)", cwd=workshop.root
    )
    assert Path(told.strip()).is_relative_to(packages)
    for example in ("docker", "kubernetes"):
        (workshop.examples / example / ".venv").symlink_to(venv)


@pytest.fixture
def example(request: pytest.FixtureRequest, workshop: Workshop) -> Iterator[Program]:
    made = Program(workshop.examples / request.param, f"t{secrets.token_hex(3)}", workshop)
    yield made
    if request.node.get_closest_marker("docker"):
        made.remove()


def two_ports() -> int:
    """The first of two that are free."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


def wait_for_its_database(port: int) -> None:
    """Until the program there says that it writes into its database and reads it back."""
    deadline = time.monotonic() + 30
    told: Any = None
    while told is None:
        assert time.monotonic() < deadline, "it doesn't answer"
        # 503 while it doesn't reach its database.
        with (
            suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=10) as answer,
        ):
            told = json.load(answer)
        time.sleep(0.2)
    assert told["dependencies"]["DATABASE_URL"]["ok"], told


@pytest.fixture(scope="module")
def stand_ins() -> None:
    build = (sys.executable, ROOT / "offline" / "build.py")
    subprocess.run([*build, *IMAGES], capture_output=True, check=True)


with_stand_ins = pytest.mark.usefixtures("stand_ins")
on_the_wheel = pytest.mark.usefixtures("wheel_venv")


def one_of(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


# --- own programs on the wheel --------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.engine
@with_stand_ins
@on_the_wheel
@one_of("docker")
def test_a_lone_data_tier_beside_ones_own_containers(example: Program) -> None:
    port = two_ports()
    example.begin(image=WEB, database_image=DATABASE, port=port)
    example.up()
    wait_for_its_database(port)
    wait_for_its_database(port + 1)
    example.down()


@pytest.mark.engine
@on_the_wheel
@one_of("kubernetes")
def test_a_lone_data_tier_beside_ones_own_deployment(example: Program) -> None:
    # No cluster: the provider writes down what it would apply.
    example.begin(**{"kubernetes:renderYamlToDirectory": "rendered"})
    example.up()
    objects = [
        yaml.safe_load(path.read_text()) for path in (example.root / "rendered").rglob("*.yaml")
    ]
    deployments = {
        item["metadata"]["namespace"] for item in objects if item["kind"] == "Deployment"
    }
    assert deployments == {f"{example.stack}-home", f"{example.stack}-work"}
    example.pulumi("destroy", "--yes", "--skip-preview")
    assert not list((example.root / "rendered").rglob("*.yaml"))


@pytest.mark.engine
@pytest.mark.cluster
@on_the_wheel
@one_of("kubernetes")
def test_ones_own_deployment_on_a_cluster(
    example: Program, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(example.workshop.environment, "KUBECONFIG", str(cluster.kubeconfig))
    example.begin()
    namespaces = [f"{example.stack}-{name}" for name in ("home", "work")]
    try:
        example.up()
        for namespace in namespaces:
            for kind in ("statefulset/postgres", "deployment/web"):
                cluster.kubectl("rollout", "status", kind, "-n", namespace, "--timeout=60s")
        example.pulumi("destroy", "--yes", "--skip-preview")
        assert not any(cluster.has_namespace(namespace) for namespace in namespaces)
    finally:
        for namespace in namespaces:
            cluster.remove_namespace(namespace, wait=False)


# --- other languages through the plugin -----------------------------------------------------------


@pytest.mark.docker
@pytest.mark.engine
@with_stand_ins
@pytest.mark.skipif(bool(MISSING_FOR_YAML), reason=f"not on PATH: {MISSING_FOR_YAML}")
@one_of("yaml")
def test_a_yaml_program(example: Program) -> None:
    file = example.root / "Pulumi.yaml"
    program: dict[str, Any] = yaml.safe_load(file.read_text())
    once = json.dumps(program["resources"])
    again = once.replace("shop", "blog").replace("${port}", "${secondPort}")
    program["resources"] |= json.loads(again)
    program["config"]["secondPort"] = {"type": "integer"}
    file.write_text(yaml.safe_dump(program, sort_keys=False))

    port = two_ports()
    example.begin(image=WEB, databaseImage=DATABASE, port=0, secondPort=port + 1)
    refused = example.pulumi("preview", code=1)
    assert "AppTier shop-app: services.web.ports[0].published: 0 is not a port" in refused
    example.pulumi("config", "set", "port", str(port))
    example.up()
    wait_for_its_database(port)
    wait_for_its_database(port + 1)
    example.down()


@pytest.mark.docker
@pytest.mark.engine
@with_stand_ins
@pytest.mark.skipif(bool(MISSING_FOR_TYPESCRIPT), reason=f"not on PATH: {MISSING_FOR_TYPESCRIPT}")
@one_of("typescript")
def test_a_typescript_program(example: Program) -> None:
    port = two_ports()
    example.begin(image=WEB, databaseImage=DATABASE, port=port)
    example.up()
    wait_for_its_database(port)
    wait_for_its_database(port + 1)
    example.down()
