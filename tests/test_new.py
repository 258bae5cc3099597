"""`tiers new`: whatever it accepts becomes a program that works, and has tests that say so."""

import json
import os
import pty
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pulumi_tiers.cli import new
from pulumi_tiers.cli.main import app
from pulumi_tiers.cli.new import Options, make
from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.starter import Service, Starter, databases
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.system import Target
from pulumi_tiers.render.recorder import Recording, Resource, record
from sandbox import TIERS, Sandbox
from typer.testing import CliRunner, Result

WEB = "web=ghcr.io/example/web:1.0"
LONG = "x" * 40
DIGEST = "registry.example.com:5000/a/b@sha512:" + "0" * 128
#: Options by the folder.
SHAPES: dict[str, list[str]] = {
    "alone": ["--service", "web=nginx"],
    "shop": ["--service", WEB, "--port", "web=8000", "--store", "postgres"],
    "two": [
        *("--service", "front-end=web", "--port", "front-end=80", "--port", "front-end=9000"),
        *("--service", f"worker={DIGEST}", "--port", "worker=9000", "--target", "docker"),
        *("--store", "postgres", "--store", "orders=postgres"),
    ],
    # Words of YAML and of Python, a beginning that Postgres has reserved, the longest names.
    "on": [
        *("--service", "class=a/b:c", "--service", f"{LONG}={LONG}/{LONG}:{LONG}"),
        *("--port", f"{LONG}=65535", "--port", "class=65535", "--store", "import=postgres"),
    ],
    "My Folder": [
        *("--name", f"pg-{LONG[:37]}", "--service", "pg-setup=web"),
        *("--port", "pg-setup=1", "--store", f"{LONG}=postgres"),
    ],
    "cloud": [
        *("--name", f"pg-{LONG[:37]}", "--service", WEB, "--service", "worker=worker"),
        *("--port", "web=8000", "--store", "postgres", "--store", "orders=postgres"),
        *("--target", "digitalocean"),
    ],
}


def tiers(*arguments: str | Path, code: int = 0, given: str | None = None) -> Result:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments], input=given)
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done


def forgetful(action: Callable[[], object]) -> None:
    """Each program has its own module `system`, and this process would keep the first one."""
    sys.modules.pop("system", None)
    try:
        action()
    finally:
        sys.modules.pop("system", None)


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program of each shape."""
    folder = tmp_path_factory.mktemp("new")
    for name, options in SHAPES.items():
        tiers("new", folder / name, *options)
    return folder


@pytest.fixture(scope="module")
def recordings() -> dict[str, Recording]:
    """What was recorded of programs that nobody changes."""
    return {}


@pytest.fixture
def recorded_once(recordings: dict[str, Recording], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program of the same stack gives the same recording, which takes its time."""
    now = Project.record

    def known(
        project: Project, stack: str, overrides: Mapping[str, Any] | None = None
    ) -> Recording:
        key = json.dumps([str(project.root), stack, dict(overrides or {})], sort_keys=True)
        if key not in recordings:
            recordings[key] = now(project, stack, overrides)
        return recordings[key]

    monkeypatch.setattr(Project, "record", known)


EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES)


# --- what is made ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorded_once")
@EACH_SHAPE
def test_the_programs_pass_their_own_tests(made: Path, shape: str) -> None:
    forgetful(lambda: pass_tests(made / shape))


def pass_tests(folder: Path) -> None:
    """In this process: most of a new one would be spent on imports."""
    module = runpy.run_path(str(folder / "tests" / "test_program.py"))
    tests = {name: test for name, test in module.items() if name.startswith("test_")}
    for shown in ("compose", "kubernetes"):  # the same for each of them
        module["container"].__globals__[shown] = cache(module[shown])
    assert len(tests) == 5 + (folder.name == "cloud")
    for stack in ("dev", "prod"):
        tests["test_the_description_has_no_mistakes"](stack)
    for name, test in tests.items():
        if name != "test_the_description_has_no_mistakes":
            test()


def test_pytest_alone_finds_all_that_they_need(made: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=made / "cloud",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout
    assert "warning" not in done.stdout


@EACH_SHAPE
@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "format", "--check"],
        ["ruff", "check"],
        ["ruff", "check", "--select", "I,UP,B,SIM,RUF"],
        ["pyrefly", "check", "--python-interpreter-path", sys.executable],
    ],
    ids=" ".join,
)
def test_the_programs_are_typed_formatted_and_linted(
    made: Path, shape: str, command: list[str]
) -> None:
    program = Path(sys.executable).with_name(command[0])
    # There, so that no settings but the program's own are in force.
    done = subprocess.run(
        [program, *command[1:]], cwd=made / shape, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.usefixtures("recorded_once")
@EACH_SHAPE
def test_the_programs_render(made: Path, shape: str) -> None:
    def render() -> None:
        for stack in ("dev", "prod"):
            for to in ("graph", "picture", "compose", "kubernetes"):
                done = tiers("render", "--to", to, "--stack", stack, "--cwd", made / shape)
                assert "warning" not in done.stderr
                assert done.stdout

    forgetful(render)


def test_a_program_is_what_was_asked_for(made: Path) -> None:
    project = Project.find(made / "two")
    assert project.name == "two"
    assert project.stacks == ["dev", "prod"]
    assert project.config("dev") == {"tiers:target": "docker", "two:replicas": 1}
    assert project.config("prod") == {"tiers:target": "docker", "two:replicas": 1}
    assert Project.find(made / "shop").config("prod")["tiers:target"] == "kubernetes"

    def look() -> None:
        text = tiers("render", "--to", "compose", "--cwd", made / "two").stdout
        services = yaml.safe_load(text)["services"]
        # The machine's own low ports stay free, and no port is given twice.
        assert services["two-front-end"]["ports"] == ["127.0.0.1:8080:80", "127.0.0.1:9000:9000"]
        assert services["two-worker"]["ports"] == ["127.0.0.1:9001:9000"]
        assert services["two-worker"]["image"] == DIGEST
        urls = services["two-worker"]["environment"]
        assert set(urls) == {"POSTGRES_URL", "ORDERS_URL"}
        # Programs are not the admin of their database.
        assert urls["ORDERS_URL"] == (
            "postgresql://two:${TWO_DATA_ORDERS_TWO_PASSWORD}@orders:5432/two?sslmode=prefer"
        )

    forgetful(look)


@pytest.mark.parametrize("target", Target)
def test_texts_are_of_no_machine_and_lines_not_longer_than_usual(target: str) -> None:
    starter, _ = new.read(Options("shop", (WEB,), ("web=8000",), ("postgres",), target), "")
    files = starter.files()
    assert f"\npulumi-tiers=={version('pulumi-tiers')}\n" in files["requirements.txt"]
    assert not any("lock" in name for name in files)
    for name, text in files.items():
        assert not re.search(r"/root|/home|/tmp/|https?://(?!127.0.0.1:)", text), name
        assert text.endswith("\n")
        assert max(map(len, text.splitlines())) <= (88 if name.endswith(".py") else 100), name


CHANGES = {
    "shop": {
        "test_each_service_runs_its_image": ("web:1.0", "web:1.1"),
        "test_services_start_when_the_stores_are_healthy": ("SERVICE_HEALTHY", "SERVICE_STARTED"),
        "test_the_urls_of_stores_lead_there_and_are_secret": (
            '"secrets": {"DATABASE_URL": "${postgres.url}"}',
            '"environment": {"DATABASE_URL": "postgresql://me:word@postgres:5432/shop"}',
        ),
        "test_nothing_is_open_to_everybody": (
            '"target": 8000',
            '"target": 8000, "load_balancer": 1',
        ),
    },
    "cloud": {
        "test_the_urls_of_stores_lead_there_and_are_secret": (
            '"postgres": {\n',
            '"postgres": {"managed": {"enabled": False},\n',
        ),
        "test_the_cluster_and_the_data_are_protected": (
            '"protect": protect, "cluster"',
            '"cluster"',
        ),
    },
}


@pytest.mark.parametrize("shape", CHANGES)
def test_the_tests_of_a_program_can_fail(made: Path, shape: str) -> None:
    folder = made / shape
    system = folder / "system.py"
    right = system.read_text()
    try:
        for test, (old, changed) in CHANGES[shape].items():
            assert right.count(old) == 1
            system.write_text(right.replace(old, changed))
            # Python takes a file of the same size and second for the one that it has compiled.
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)
            check = runpy.run_path(str(folder / "tests" / "test_program.py"))[test]
            with pytest.raises(AssertionError):
                forgetful(check)
    finally:
        system.write_text(right)
        shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def test_two_containers_of_each_are_one_setting_away(made: Path) -> None:
    def look() -> None:
        # A text, as `pulumi config set` writes it.
        recording = Project.find(made / "two").record(
            "prod", {"tiers:target": "kubernetes", "two:replicas": "2"}
        )
        deployments = recording.of_type("kubernetes:apps/v1:Deployment")
        assert [item.inputs["spec"]["replicas"] for item in deployments] == [2, 2]

    forgetful(look)


def test_a_cluster_is_made_on_digitalocean_only(made: Path) -> None:
    project = Project.find(made / "cloud")
    unprotected = {f"{project.name}:protect": False}

    def of_cloud(recording: Recording) -> list[Resource]:
        return [item for item in recording.resources if item.type.startswith("digitalocean:")]

    def look() -> None:
        recording = project.record("prod", unprotected)
        [cluster] = recording.of_type("digitalocean:index/kubernetesCluster:KubernetesCluster")
        # An account has no two VPCs or clusters of one name.
        assert cluster.inputs["name"] == f"prod-{project.name}-cluster"
        assert not any(item.protect for item in recording.resources)
        [provider] = recording.of_type("pulumi:providers:kubernetes")
        inside = [item for item in recording.resources if item.type.startswith("kubernetes:")]
        assert inside
        assert {item.provider.rpartition("::")[0] for item in inside} == {provider.urn}
        assert set(recording.outputs) == {"cluster_id", "kubeconfig", "urls"}
        for target in ("docker", "kubernetes"):
            recording = project.record("prod", {"tiers:target": target})
            assert of_cloud(recording) == []
            assert set(recording.outputs) == {"urls"}
            # The key counts there, too.
            assert any(item.protect for item in recording.resources)

    forgetful(look)


def test_only_programs_for_digitalocean_have_a_word_of_it(made: Path) -> None:
    def words(shape: str) -> set[str]:
        files = (path for path in (made / shape).rglob("*.*") if path.is_file())
        text = "".join(path.read_text() for path in files if path.suffix != ".pyc")
        own = "DigitalOcean|export DIGITALOCEAN_TOKEN|[.] .venv/bin/activate|Cluster[^I]|protect"
        return set(re.findall(own, text))

    assert words("shop") == words("two") == set()
    assert len(words("cloud")) >= 5


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)


@settings(derandomize=True, database=None, deadline=None, max_examples=15)
@given(
    name=NAMES,
    services=st.dictionaries(
        NAMES, st.sets(st.integers(1, 65535), max_size=2), min_size=1, max_size=3
    ),
    stores=st.dictionaries(NAMES, st.sampled_from(sorted(ENGINES)), max_size=2),
    production=st.sampled_from([Target.KUBERNETES, Target.DIGITALOCEAN]),
)
def test_whatever_is_accepted_works(
    name: str, services: dict[str, set[int]], stores: dict[str, str], production: Target
) -> None:
    options = Options(
        name,
        tuple(f"{service}=web" for service in services),
        tuple(f"{service}={port}" for service, ports in services.items() for port in ports),
        tuple(f"{store}={engine}" for store, engine in stores.items()),
        production,
    )
    starter, mistakes = new.read(options, "")
    if mistakes:  # a reserved name, or one that two things would have
        return
    files = starter.files()
    assert yaml.safe_load(files["Pulumi.yaml"])["name"] == name
    system: dict[str, object] = {}
    exec(compile(files["system.py"], "system.py", "exec"), system)
    deploy = system["deploy"]
    assert callable(deploy)
    more = {"port_offset": 0} if any(services.values()) else {}
    if production is Target.DIGITALOCEAN:
        more["protect"] = True
    for target in (Target.DOCKER, production):
        record(
            lambda target=target: void(deploy(target=target, replicas=1, **more)),
            project=name,
            stack="dev",
            config={},
        )


def void(_: object) -> None:
    return None


@pytest.mark.usefixtures("recorded_once")
@pytest.mark.parametrize(("folder", "target"), [("shop", "kubernetes"), ("cloud", "digitalocean")])
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_each_engine_can_begin_a_program(
    engine: str, folder: str, target: str, tmp_path: Path
) -> None:
    options = ("--service", WEB, "--store", f"kept={engine}", "--target", target)
    tiers("new", tmp_path / folder, *options)

    forgetful(lambda: pass_tests(tmp_path / folder))


def test_a_reserved_name_is_no_database() -> None:
    assert [item.name for item in databases("shop-floor", "postgres")] == ["shop_floor"]
    assert [item.name for item in databases("pg-tools", "postgres")] == ["app"]
    assert [item.owner for item in databases("public", "postgres")] == ["app"]


def test_ports_of_the_host_never_run_out_of_the_range() -> None:
    services = {name: Service("web", (65535,)) for name in ("a", "b")}
    starter = Starter("shop", services, {}, Target.DOCKER, "1")
    assert list(starter.published.values()) == [65535, 1024]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["--service: is missing", "tiers new", WEB]),
        (["--yes"], ["--service: is missing"]),
        (["--service", "web"], ["--service web: this names no image", "NAME=IMAGE"]),
        (["--service", "=web"], ["'' is not a valid name"]),
        (["--service", "web="], ["'' is not an image reference"]),
        (["--service", "web=Web:1"], ["--service web=Web:1: 'Web:1' is not an image reference"]),
        (["--service", "Web=web"], ["--service Web=web: 'Web' is not a valid name"]),
        (["--service", "localhost=web"], ["the name 'localhost' is reserved"]),
        (["--service", WEB, "--service", WEB], ["the name 'web' was given already"]),
        (["--service", WEB, "--port", "8000"], ["this names no service", "web=8000"]),
        (["--service", WEB, "--port", "wbe=8000"], ["did you mean 'web'?"]),
        (["--service", WEB, "--port", "web=http"], ["--port web=http: 'http' is not a port"]),
        (["--service", WEB, "--port", "web=0"], ["0 is not a port"]),
        (["--service", WEB, "--port", "web=65536"], ["65536 is not a port"]),
        (["--service", WEB, "--port", "web=" + "9" * 5000], ["is not a port"]),
        (["--service", WEB, "--port", "web=٣"], ["is not a port"]),
        (["--service", WEB, "--port", "web=1", "--port", "web=1"], ["this port was given already"]),
        (["--service", WEB, "--store", "postgre"], ["did you mean 'postgres'?"]),
        (["--service", WEB, "--store", "db="], ["there is no engine ''"]),
        (["--service", WEB, "--store", "DB=postgres"], ["'DB' is not a valid name"]),
        (["--service", WEB, "--store", "postgres", "--store", "postgres"], ["given already"]),
        (["--service", WEB, "--store", "web=postgres"], ["the container 'web' is already that of"]),
        (
            ["--service", "postgres-setup=web", "--store", "postgres"],
            ["the container 'postgres-setup' is already that of shop: stores.postgres"],
        ),
        (["--service", WEB, "--target", "kubernets"], ["did you mean 'kubernetes'?"]),
        (["--service", WEB, "--target", "moon"], ["valid: digitalocean, docker, kubernetes"]),
        (
            [
                *("--name", LONG, "--service", WEB, "--store", f"{LONG}=postgres"),
                *("--target", "digitalocean"),
            ],
            [f"stores.{LONG}.managed.name", "has 86 characters, and DigitalOcean takes 63"],
        ),
        (
            ["--service", WEB, "--name", "My Shop"],
            ["--name My Shop: 'My Shop' is not a valid name"],
        ),
        (["--service", WEB, "--name", "tiers"], ["the name 'tiers' is reserved"]),
        (["--service", "web=a\x1b[31m"], [r"\x1b[31m"]),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_made(
    arguments: list[str], said: list[str], tmp_path: Path
) -> None:
    failed = tiers("new", tmp_path / "shop", *arguments, code=2)
    assert "nothing was changed" in failed.stderr
    assert "\x1b" not in failed.stderr
    for part in said:
        assert part in failed.stderr
    assert left(tmp_path) == []


def test_all_mistakes_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "mine.txt").touch()
    options = ("--service", "web=Web", "--port", "api=1", "--store", "dbase", "--target", "moon")
    failed = tiers("new", tmp_path / "shop", "--name", "Shop", *options, code=2)
    assert "6 mistakes in the description; nothing was changed" in failed.stderr
    assert "the folder is not empty" in failed.stderr
    assert left(tmp_path) == ["shop", "shop/mine.txt"]


def test_a_folder_that_can_not_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    failed = tiers("new", tmp_path / "file", "--name", "shop", "--service", WEB, code=2)
    assert "this is not a folder" in failed.stderr
    failed = tiers("new", tmp_path / "no" / "shop", "--service", WEB, code=2)
    assert f"there is no folder {tmp_path / 'no'}" in failed.stderr
    failed = tiers("new", tmp_path / "My Shop", "--service", WEB, code=2)
    assert "--name My Shop: 'My Shop' is not a valid name" in failed.stderr
    assert tiers("new", code=2).stderr
    assert left(tmp_path) == ["file"]


def test_a_second_time_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    tiers("new", tmp_path / "shop", "--service", WEB)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    failed = tiers("new", tmp_path / "shop", "--service", WEB, code=2)
    assert "the folder is not empty" in failed.stderr
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize("there", [(), ("shop",), ("shop", "shop/.git")])
def test_all_files_are_written_or_none(
    there: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in there:
        (tmp_path / folder).mkdir()

    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        """As on a disk that goes away halfway."""
        if target.name in ("pyproject.toml", "shop"):
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refuse)
        assert (
            "Input/output error" in tiers("new", tmp_path / "shop", "--service", WEB, code=1).stderr
        )
    assert left(tmp_path) == list(there)

    def full(_: Path, __: str, **___: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert "No space left" in tiers("new", tmp_path / "shop", "--service", WEB, code=1).stderr
    assert left(tmp_path) == list(there)

    tiers("new", tmp_path / "shop", "--service", WEB)
    assert {"shop/Pulumi.yaml", "shop/tests/test_program.py", *there} <= set(left(tmp_path))
    assert [path for path in left(tmp_path) if "tiers-new" in path] == []


def test_the_folder_of_a_shell_stays_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    inode = folder.stat().st_ino
    monkeypatch.chdir(folder)
    tiers("new", ".", "--service", WEB)
    assert folder.stat().st_ino == inode
    assert Project.find(Path()).name == "shop"


def test_rights_are_those_of_other_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        tiers("new", tmp_path / "shop", "--service", WEB)
    finally:
        os.umask(before)
    assert (tmp_path / "shop").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "shop" / "system.py").stat().st_mode & 0o777 == 0o640


# --- asking ---------------------------------------------------------------------------------------


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "_somebody_is_there", lambda: True)


@pytest.mark.usefixtures("terminal")
def test_answers_make_what_options_make(tmp_path: Path) -> None:
    answers = ["", "", "ghcr.io/example/web:1.0", "8000", "", "postgres", "", ""]
    done = tiers("new", tmp_path / "shop", given="\n".join(answers) + "\n")
    assert "Name of the system [shop]" in done.stderr
    options = ("--service", WEB, "--port", "web=8000", "--store", "postgres")
    (tmp_path / "other").mkdir()
    tiers("new", tmp_path / "other" / "shop", *options)
    for path in (tmp_path / "shop").rglob("*.*"):
        twin = tmp_path / "other" / path.relative_to(tmp_path)
        assert twin.read_text() == path.read_text()


@pytest.mark.usefixtures("terminal")
def test_a_wrong_answer_is_told_and_asked_for_again(tmp_path: Path) -> None:
    answers = [
        *("Shop", "shop"),
        *("Web", "web", "Not An Image", "web:1", "http", ""),
        *("web", "worker", "worker:1", ""),
        *("",),
        *("mysql", "worker=postgres", "db=postgres", ""),
        *("moon", "docker"),
    ]
    done = tiers("new", tmp_path / "My Folder", given="\n".join(answers) + "\n")
    for part in (
        "Name of the system [app]",
        "'Shop' is not a valid name",
        "'Web' is not a valid name",
        "'Not An Image' is not an image reference",
        "'http' is not a port",
        "the name 'web' was given already",
        "there is no engine 'mysql'",
        "the container 'worker' is already that of",
        "'moon' is not a target of a new program",
    ):
        assert part in done.stderr
    project = Project.find(tmp_path / "My Folder")
    assert project.name == "shop"
    assert project.config("prod")["tiers:target"] == "docker"
    text = (project.root / "system.py").read_text()
    assert '"web": {' in text
    assert '"worker": {' in text
    assert '"db": {' in text
    assert "port_offset" not in text


@pytest.mark.usefixtures("terminal")
def test_only_what_no_option_says_is_asked_for(tmp_path: Path) -> None:
    answers = ["web", "web:1", "", ""]
    options = ("--name", "shop", "--store", "postgres", "--target", "docker")
    done = tiers("new", tmp_path / "a", *options, given="\n".join(answers) + "\n")
    assert "Name of the system" not in done.stderr
    assert "store" not in done.stderr
    assert "prod" not in done.stderr.replace("Pulumi.prod.yaml", "")
    tiers("new", tmp_path / "b", "--service", WEB, given="")
    assert "is missing" in tiers("new", tmp_path / "c", "--yes", code=2).stderr
    # Before any question.
    failed = tiers("new", tmp_path / "a", "--target", "moon", code=2)
    assert "2 mistakes" in failed.stderr
    # The end of the input is the end of the command.
    assert "Abort" in tiers("new", tmp_path / "d", code=1, given="shop\n").stderr
    assert not (tmp_path / "d").exists()


def test_a_terminal_is_asked_on(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    answers = ["", "", "web:1", "8000", "", "", ""]
    os.write(ours, ("\n".join(answers) + "\n").encode())
    done = subprocess.run(
        [TIERS, "new", "shop"],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        timeout=60,
        check=False,
        env={**os.environ, "TERM": "dumb", "NO_COLOR": "1"},
    )
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0, said
    assert "Name of the system [shop]:" in said
    assert (tmp_path / "shop" / "system.py").is_file()


def test_what_comes_next_is_told(tmp_path: Path) -> None:
    done = tiers("new", tmp_path / "a shop", "--name", "shop", "--service", WEB)
    assert f"cd '{tmp_path / 'a shop'}'" in done.stdout
    assert ".venv/bin/tiers up" in done.stdout
    assert len(done.stderr.splitlines()) == len(
        make(tmp_path / "b", Options(services=(WEB,)), ask=False)
    )
    with pytest.raises(DescriptionError):
        make(tmp_path / "b", Options(services=(WEB,)), ask=False)


# --- on Docker ------------------------------------------------------------------------------------


@pytest.mark.docker
def test_a_new_program_runs(sandbox: Sandbox, tmp_path: Path) -> None:
    image = "standin.local/marcospaulo1991/encontros-tech:develop"
    sandbox.root = tmp_path / "shop"
    options = ("--service", f"web={image}", "--port", "web=8000", "--store", "postgres")
    tiers("new", sandbox.root, *options)
    system = sandbox.root / "system.py"
    described = '"engine": "postgres",'
    system.write_text(
        system.read_text().replace(described, f'{described} "image": "standin.local/postgres:15",')
    )
    sandbox.configure()
    sandbox.tiers("up", "--runner", "compose")
    sandbox.wait_healthy()  # the starter's service has no health check
    sandbox.write("kept")
    health, said = sandbox.health()
    assert (health, said["dependencies"]["DATABASE_URL"]["ok"]) == (200, True), json.dumps(said)
    sandbox.tiers("up", "--runner", "compose")
    assert sandbox.titles() == ["kept"]
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}
