"""Encontros Tech on real Docker through the real Pulumi engine."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import yaml
from pulumi_tiers.cli.project import Project
from sandbox import APP, Sandbox

pytestmark = [pytest.mark.docker, pytest.mark.engine]
PULUMI = ("--runner", "pulumi")


def pulumi(sandbox: Sandbox, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The CLI itself, on the stack as `tiers` runs it."""
    folder = sandbox.root / ".tiers"
    return subprocess.run(
        ["pulumi", *arguments, "--stack", sandbox.stack, "--non-interactive", "--color", "never"],
        cwd=folder / sandbox.stack,
        env={
            **os.environ,
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE_FILE": f"{folder}/passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def password_of(sandbox: Sandbox) -> str:
    """The database's password as its container has it."""
    environment = sandbox.inspect("postgres")["Config"]["Env"]
    return next(e.partition("=")[2] for e in environment if e.startswith("POSTGRES_PASSWORD="))


def everything_on_disk(sandbox: Sandbox) -> str:
    """All files below .tiers, as text."""
    files = (path for path in (sandbox.root / ".tiers").rglob("*") if path.is_file())
    return "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files)


def test_a_life_through_the_engine(sandbox: Sandbox) -> None:
    sandbox.tiers("up", *PULUMI)
    assert {row["health"] for row in sandbox.status().values()} == {"healthy"}
    sandbox.write("first")
    password = password_of(sandbox)
    assert len(password) == 32
    assert password not in everything_on_disk(sandbox)

    ids = sandbox.ids()
    assert "nothing to change" in sandbox.tiers("up", *PULUMI).stderr
    assert sandbox.ids() == ids
    for refresh in ((), ("--refresh",)):
        preview = pulumi(sandbox, "preview", "--expect-no-changes", *refresh)
        assert preview.returncode == 0, preview.stdout + preview.stderr
        assert password not in preview.stdout + preview.stderr

    # Removed by hand: found and made again.
    sandbox.docker("rm", "--force", f"{sandbox.stack}-encontros-tech-encontros-tech")
    sandbox.tiers("up", *PULUMI)
    assert sandbox.titles() == ["first"]

    # Another image: one container is replaced, the other stays.
    database = sandbox.inspect("postgres")["Id"]
    sandbox.docker("tag", sandbox.status()[APP]["image"], "standin.local/another:1")
    sandbox.configure(**{"tiers:images": {APP: "standin.local/another:1"}})
    sandbox.tiers("up", *PULUMI)
    assert sandbox.status()[APP]["image"] == "standin.local/another:1"
    assert sandbox.inspect("postgres")["Id"] == database

    # Another configuration: the application's environment changes.
    sandbox.configure(**{"tiers:environment": "production"})
    sandbox.tiers("up", *PULUMI)
    environment = sandbox.inspect("encontros-tech")["Config"]["Env"]
    assert "APP_TITLE=Encontros Tech" in environment
    assert "DEBUG=false" in environment
    assert sandbox.titles() == ["first"]

    # Down keeps the data and the password, in Docker and in the state.
    sandbox.tiers("down")
    left = sandbox.left()
    assert (left["containers"], left["networks"]) == ([], [])
    sandbox.tiers("up", *PULUMI)
    assert sandbox.titles() == ["first"]
    assert password_of(sandbox) == password

    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


@pytest.fixture
def marked_with_a_number(tmp_path: Path) -> Iterator[Sandbox]:
    """A sandbox whose folder's mark on the Docker host is a number for Go's YAML, not Python's."""
    for number in count():
        root = tmp_path / f"project{number}"
        if re.fullmatch(r"0\d*[89]\d*", Project(root, "", root, {}).owner):
            made = Sandbox.make(root)
            yield made
            made.remove()
            return


def test_the_engine_takes_the_fallbacks_system_over(marked_with_a_number: Sandbox) -> None:
    sandbox = marked_with_a_number
    sandbox.tiers("up", "--runner", "compose")
    sandbox.write("written under Compose")
    password = password_of(sandbox)
    said = sandbox.tiers("up")
    assert "the engine takes over" in said.stderr
    assert sandbox.titles() == ["written under Compose"]
    assert password_of(sandbox) == password
    assert not (sandbox.root / ".tiers" / sandbox.stack / ".env").exists()
    refused = sandbox.tiers("up", "--runner", "compose", code=2)
    assert "was brought up by Pulumi" in refused.stderr
    assert "nothing to change" in sandbox.tiers("up").stderr
    preview = pulumi(sandbox, "preview", "--expect-no-changes", "--refresh")
    assert preview.returncode == 0, preview.stdout
    assert password not in everything_on_disk(sandbox).replace(
        (sandbox.root / ".tiers" / sandbox.stack / "compose.log").read_text(), ""
    )
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


OWN_PROGRAM = """
from pulumi_tiers import DataTier, Site

site = Site("shop", {})
databases = [
    {"name": "one", "owner": "first", "init_sql": {"rows": "CREATE TABLE t (x int)"}},
    {"name": "two", "owner": "second"},
]
store = {"engine": "postgres", "image": "standin.local/postgres:15", "databases": databases}
DataTier("shop-data", {"site": site.ref, "stores": {"postgres": store}})
"""


def test_somebody_elses_program_is_taken_over_with_its_jobs(sandbox: Sandbox) -> None:
    (sandbox.root / "__main__.py").write_text(OWN_PROGRAM)
    (sandbox.root / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (sandbox.root / f"Pulumi.{sandbox.stack}.yaml").write_text("config: {}\n")

    def sql(statement: str) -> str:
        psql = ("psql", "-U", "postgres", "-tAc", statement, "one")
        return sandbox.tiers("exec", "postgres", *psql).stdout.strip()

    sandbox.tiers("up", "--runner", "compose")
    sql("INSERT INTO t VALUES (42)")
    sandbox.tiers("up", *PULUMI)
    assert sql("SELECT x FROM t") == "42"
    owners = "SELECT datname || '=' || rolname FROM pg_database d JOIN pg_roles r ON r.oid = datdba"
    assert {"one=first", "two=second"} < set(sql(owners).splitlines())
    # It belongs to postgres: the table is of what runs.
    assert set(sandbox.status()) == {"shop/postgres"}
    setup = f"{sandbox.stack}-shop-postgres-setup"
    state = json.loads(sandbox.docker("inspect", "--format", "{{json .State}}", setup))
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    assert "nothing to change" in sandbox.tiers("up", *PULUMI).stderr
    sandbox.tiers("down", "--data")
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


def test_mistakes_reach_the_user_through_the_engine_without_a_traceback(sandbox: Sandbox) -> None:
    sandbox.tiers("up", *PULUMI)
    stack_file = sandbox.root / ".tiers" / sandbox.stack / f"Pulumi.{sandbox.stack}.yaml"
    content = yaml.safe_load(stack_file.read_text())
    content["config"] |= {"tiers:environmnt": "x", "tiers:target": "dockr"}
    stack_file.write_text(yaml.safe_dump(content))
    failed = pulumi(sandbox, "preview")
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "tiers:environmnt: there is no such configuration key" in said
    assert "did you mean 'environment'?" in said
    assert "did you mean 'docker'?" in said
    assert "Traceback" not in said


def test_a_killed_run_leaves_no_lock_behind(sandbox: Sandbox) -> None:
    process = sandbox.start("up", *PULUMI)
    assert process.stdout is not None
    for line in process.stdout:
        if "creating" in line:
            break
    os.killpg(process.pid, 9)
    process.wait()
    locks = sandbox.root / ".tiers" / "state" / ".pulumi" / "locks"
    assert list(locks.rglob("*.json")), "the kill came too late"
    # As a kill leaves it that comes while the state is written.
    notes = list(locks.parent.rglob(f"{sandbox.stack}.json.attrs"))
    assert notes
    for path in notes:
        path.write_bytes(b"")
    said = sandbox.tiers("up", *PULUMI)
    assert "its lock is removed" in said.stderr
    assert sandbox.health()[0] == 200


def test_the_cli_alone_brings_the_tracked_stack_up(sandbox: Sandbox, tmp_path: Path) -> None:
    """`pulumi up -s dev` as the README writes it: no `tiers` command in between."""
    sandbox.tiers("up", "--runner", "compose")  # makes the stand-ins present
    images = {key: row["image"] for key, row in sandbox.status().items()}
    sandbox.tiers("down", "--data")
    (sandbox.root / ".venv").symlink_to(
        Path(os.environ["VIRTUAL_ENV"])
        if "VIRTUAL_ENV" in os.environ
        else Path(__file__).resolve().parent.parent / ".venv"
    )
    sandbox.configure(**{"tiers:images": images})
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{tmp_path}",
        "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
    }

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments],
            cwd=sandbox.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("stack", "init", sandbox.stack)
    run("preview", "--stack", sandbox.stack)
    run("up", "--yes", "--stack", sandbox.stack)
    assert sandbox.health()[0] == 200
    urls = json.loads(run("stack", "output", "urls", "--json", "--stack", sandbox.stack))
    assert urls == {"encontros-tech": {"encontros-tech": [sandbox.url]}}
    run("up", "--yes", "--expect-no-changes", "--stack", sandbox.stack)
    run("up", "--yes", "--expect-no-changes", "--refresh", "--stack", sandbox.stack)
    run("destroy", "--yes", "--stack", sandbox.stack)
    assert sandbox.left() == {"containers": [], "networks": [], "volumes": []}


def test_a_salt_of_somebody_elses_passphrase_does_no_harm(sandbox: Sandbox) -> None:
    path = sandbox.root / f"Pulumi.{sandbox.stack}.yaml"
    salt = "encryptionsalt: v1:0dMiZF/OMuY=:v1:twLcaB2xTgl90n+L:2jXNFYC83mOXAwJrRfC+zsnS/VQH5g==\n"
    path.write_text(path.read_text() + salt)
    sandbox.tiers("up", *PULUMI)
    assert sandbox.health()[0] == 200
    secret = "  tiers:secrets:\n    encontros-tech/postgres/doadmin:\n      secure: v1:abc\n"
    path.write_text(path.read_text().replace("encryptionsalt", f"{secret}encryptionsalt"))
    refused = sandbox.tiers("up", *PULUMI, code=2)
    assert "is encrypted with a passphrase or a key that only you have" in refused.stderr
