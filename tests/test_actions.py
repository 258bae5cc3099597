"""The pins of GitHub's actions, and `tiers actions`, against repositories made here."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi_tiers.cli import actions as command
from pulumi_tiers.cli.main import app
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.pipelines import actions
from pulumi_tiers.pipelines.actions import PACKAGED, PINS, Pin, pin, pins, read
from sandbox import ROOT, TIERS
from typer.testing import CliRunner

NAME = "someone/does-it"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", folder, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


class Hub:
    """Repositories in a folder that git takes for github.com."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commits = 0

    def commit(self, name: str, *tags: str, annotated: bool = False) -> str:
        """Adds a commit to a repository, and tags on it, which may have been elsewhere before."""
        folder = self.root / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            git(folder, "init", "--quiet", "--bare")
        tree = git(folder, "hash-object", "-t", "tree", "-w", "/dev/null")
        self.commits += 1
        sha = git(folder, "commit-tree", "-m", str(self.commits), tree)
        for tag in tags:
            message = ["--annotate", "--message", tag] if annotated else []
            git(folder, "tag", "--force", *message, tag, sha)
        return sha


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Every other address leads nowhere."""
    root = tmp_path / "hub"
    settings = {
        f"url.file://{root}/.insteadOf": "https://github.com/",
        "user.name": "me",
        "user.email": "me@localhost",
    }
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for position, (key, value) in enumerate(settings.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{position}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{position}", value)
    return Hub(root)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without the packaged pins: each test has its own."""
    monkeypatch.setattr(actions, "PINS", {})
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "Pulumi.yaml").write_text("name: mine\nruntime: python\n", encoding="utf-8")
    return folder


def write(project: Path, **versions: tuple[str, str]) -> Path:
    """The project's own pins: ``does_it=("v1.0.0", sha)``."""
    content = {
        f"someone/{name.replace('_', '-')}": {"version": version, "sha": sha}
        for name, (version, sha) in versions.items()
    }
    path = project / "actions.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def tiers(folder: Path, *arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["actions", "--cwd", str(folder), *arguments])
    assert done.exit_code == code, done.output
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.output


def told(folder: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["actions", "--cwd", str(folder), "--json", *arguments])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def only(report: dict[str, Any]) -> dict[str, Any]:
    [row] = report["pins"]
    return row


# --- the pins -------------------------------------------------------------------------------------


def test_every_packaged_pin_is_a_commit_and_a_full_version() -> None:
    content = json.loads(PACKAGED.read_text())
    assert list(content) == sorted(content)
    assert set(content) == set(PINS)
    assert set(content) >= {"actions/checkout", "docker/build-push-action", "pulumi/actions"}
    for name, entry in content.items():
        assert set(entry) == {"version", "sha"}
        version, sha = entry["version"], entry["sha"]
        assert version.removeprefix("v").count(".") == 2
        assert len(sha) == 40
        assert set(sha) <= set("0123456789abcdef")
        assert PINS[name] == Pin(name, version, sha)
    # Two actions of one commit would be a mistake of copying.
    assert len({entry["sha"] for entry in content.values()}) == len(content)


def test_a_pin_says_what_stands_in_a_workflow() -> None:
    found = pin("actions/checkout")
    assert found.uses == f"actions/checkout@{found.sha}"
    assert Pin("github/codeql-action/init", "v1.2.3", "a" * 40).repository == "github/codeql-action"


def test_an_action_without_a_pin_is_told_with_those_that_have_one() -> None:
    with pytest.raises(DescriptionError) as caught:
        pin("actions/chekout")
    assert "the action 'actions/chekout' has no pin" in str(caught.value)
    assert "did you mean 'actions/checkout'?" in str(caught.value)
    assert "docker/login-action" in str(caught.value)


def test_a_projects_own_pins_win_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.yaml").touch()
    own = {
        "actions/checkout": {"version": "v1.2.3", "sha": "a" * 40},
        "mine/own": {"version": "2.0.0", "sha": "b" * 40},
    }
    (tmp_path / "actions.json").write_text(json.dumps(own))
    (tmp_path / "program").mkdir()
    with contextlib.chdir(tmp_path / "program"):
        assert pin("actions/checkout") == Pin("actions/checkout", "v1.2.3", "a" * 40)
        assert pin("mine/own").version == "2.0.0"
        assert pin("actions/cache") == PINS["actions/cache"]
    assert pin("actions/checkout") == PINS["actions/checkout"]


@pytest.mark.parametrize(
    ("content", "complaints"),
    [
        ("{", ["this is no JSON"]),
        ("[" * 100_000, ["this is no JSON"]),
        ("[]", ["this is no map"]),
        ('{"a/b": 1}', ["a/b: this does not hold exactly a version and a sha"]),
        ('{"a/b": {"version": "v1.0.0"}}', ["does not hold exactly"]),
        (
            '{"a/b": {"version": "v4", "sha": "ABC"}, "a": {"version": "v1.0.0", "sha": 1}}',
            ["a/b.version: 'v4' is none", "a/b.sha: 'ABC' is none", "a: this is no", "a.sha: 1 is"],
        ),
        ('{"-c/../x y": {"version": "v1.0.0", "sha": "%s"}}' % ("a" * 40), ["is no action"]),
    ],
)
def test_all_mistakes_of_a_file_are_told(
    content: str, complaints: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "actions.json"
    path.write_text(content)
    with pytest.raises(DescriptionError) as caught:
        read(path)
    for complaint in complaints:
        assert complaint in str(caught.value)
    assert len(caught.value.mistakes) == len(complaints)
    (tmp_path / "Pulumi.yaml").touch()
    assert "Traceback" not in tiers(tmp_path, code=2)


# --- the check ------------------------------------------------------------------------------------


@pytest.mark.parametrize("annotated", [False, True])
def test_a_tag_on_the_pinned_commit_is_right(hub: Hub, project: Path, *, annotated: bool) -> None:
    sha = hub.commit(NAME, "v1.0.0", "v1", annotated=annotated)
    if annotated:
        # What is pinned is the commit, not the tag that points to it.
        assert git(hub.root / NAME, "rev-parse", "v1.0.0") != sha
    write(project, does_it=("v1.0.0", sha))
    assert told(project) == {
        "well": True,
        "pins": [
            {
                "action": NAME,
                "version": "v1.0.0",
                "sha": sha,
                "result": "right",
                "why": "",
                "newer": None,
                "newer_major": None,
                "places": [],
                "was": None,
            }
        ],
        "unpinned": [],
        "written": None,
    }
    output = tiers(project)
    assert NAME in output
    assert f"v1.0.0   {sha[:12]}  right" in output


def test_newer_releases_are_told_and_the_pin_is_right(hub: Hub, project: Path) -> None:
    sha = hub.commit(NAME, "v1.9.0")
    for tag in ("v1.8.7", "v1.10.0", "v1.10.0-rc1", "v2.0.0", "v11.0.0", "v1", "v12", "nightly"):
        hub.commit(NAME, tag)
    write(project, does_it=("v1.9.0", sha))
    row = only(told(project))
    assert (row["result"], row["newer"], row["newer_major"]) == ("right", "v1.10.0", "v11.0.0")
    assert "v1.10.0, v11.0.0" in tiers(project)


@pytest.mark.parametrize("annotated", [False, True])
def test_a_moved_tag_is_told(hub: Hub, project: Path, *, annotated: bool) -> None:
    sha = hub.commit(NAME, "v1.0.0", annotated=annotated)
    now = hub.commit(NAME, "v1.0.0", annotated=annotated)
    assert now != sha
    write(project, does_it=("v1.0.0", sha))
    row = only(told(project, code=1))
    assert (row["result"], row["why"]) == ("moved", f"v1.0.0 is {now}")


def test_a_pin_under_another_versions_name_is_told(hub: Hub, project: Path) -> None:
    sha = hub.commit(NAME, "v1.0.0")
    now = hub.commit(NAME, "v1.0.1")
    write(project, does_it=("v1.0.1", sha))
    row = only(told(project, code=1))
    assert row["why"] == f"v1.0.1 is {now}; the pinned commit is v1.0.0"


def test_a_tag_that_is_not_there_is_told(hub: Hub, project: Path) -> None:
    hub.commit(NAME)
    hub.commit("someone/else", "v1.0.0")
    write(project, does_it=("v1.0.0", "a" * 40), **{"else": ("v2.0.0", "b" * 40)})
    report = told(project, code=1)
    assert [row["result"] for row in report["pins"]] == ["no such tag", "no such tag"]
    assert "https://github.com/someone/does-it has no v1.0.0" in tiers(project, code=1)


def test_what_cannot_be_asked_fails_the_check_and_says_why(hub: Hub, project: Path) -> None:
    sha = hub.commit(NAME, "v1.0.0")
    write(project, does_it=("v1.0.0", sha), gone=("v1.0.0", "a" * 40))
    report = told(project, code=1)
    assert not report["well"]
    assert [row["result"] for row in report["pins"]] == ["right", "could not be verified"]
    assert "does not appear to be a git repository" in report["pins"][1]["why"]
    assert "could not be verified: " in tiers(project, code=1)


def test_without_git_it_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, does_it=("v1.0.0", "a" * 40))
    monkeypatch.setenv("PATH", "/nonexistent")
    assert "git is not installed" in tiers(project, code=3)


def test_a_repository_that_asks_for_a_password_gets_none() -> None:
    asks = "fatal: could not read Username for 'https://github.com': terminal prompts disabled\n"
    assert "no such repository, or only for those who log in" in command._reason(asks)
    assert command._reason("") == "git does not say why"
    assert command._reason("fatal: \x1b[31mred\n") == "[31mred"


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"


def commands() -> str:
    """What runs on this machine."""
    lines = ["ps", "-eo", "args"]
    return subprocess.run(lines, capture_output=True, text=True, check=True).stdout


def test_a_repository_that_never_answers_is_left_in_time(
    hub: Hub, project: Path, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha = hub.commit(NAME, "v1.0.0")
    write(project, does_it=("v1.0.0", sha), slow=("v1.0.0", "a" * 40))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "4")
    monkeypatch.setenv("GIT_CONFIG_KEY_3", f"url.{silent}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_3", "https://github.com/someone/slow")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(command, "SECONDS", 1)
    report = told(project, code=1)
    assert [row["result"] for row in report["pins"]] == ["right", "could not be verified"]
    assert report["pins"][1]["why"] == "no answer in 1 seconds"
    # Neither git nor what it started to ask is left.
    assert (
        silent
        not in subprocess.run(
            ["ps", "-eo", "args"], capture_output=True, text=True, check=True
        ).stdout
    )


def test_an_interrupted_check_ends_with_its_questions(hub: Hub, project: Path, silent: str) -> None:
    write(project, does_it=("v1.0.0", "a" * 40))
    running = subprocess.Popen(
        [TIERS, "actions"],
        cwd=project,
        env={**os.environ, "GIT_CONFIG_KEY_0": f"url.{silent}.insteadOf", "no_proxy": "127.0.0.1"},
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has turned it off for them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert running.stderr
    assert "asking" in running.stderr.readline()
    time.sleep(0.5)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=30)
    assert running.returncode == 130
    assert errors.endswith("interrupted; run the same command again to go on\n")
    assert "Traceback" not in errors
    assert silent not in commands()


# --- the update -----------------------------------------------------------------------------------


def test_an_update_stays_in_the_major_version(hub: Hub, project: Path) -> None:
    sha = hub.commit(NAME, "v1.0.0")
    hub.commit(NAME, "v1.1.0", annotated=True)
    newer = hub.commit(NAME, "v1.2.0", annotated=True)
    newest = hub.commit(NAME, "v3.0.0")
    path = write(project, does_it=("v1.0.0", sha))
    path.chmod(0o640)
    report = told(project, "--update")
    assert report["written"] == str(path)
    row = only(report)
    assert (row["version"], row["sha"], row["was"]) == ("v1.2.0", newer, "v1.0.0")
    assert (row["result"], row["newer"], row["newer_major"]) == ("right", None, "v3.0.0")
    assert read(path) == {NAME: Pin(NAME, "v1.2.0", newer)}
    assert path.stat().st_mode & 0o777 == 0o640

    assert "nothing to update" in tiers(project, "--update")
    assert "v3.0.0 (was v1.2.0)" in tiers(project, "--update", "--major")
    assert read(path) == {NAME: Pin(NAME, "v3.0.0", newest)}
    assert [item.name for item in project.iterdir()].count("actions.json") == 1
    assert not list(project.glob(".actions*"))
    assert "--major goes with --update" in tiers(project, "--major", code=2)


def test_an_update_keeps_what_cannot_be_asked_and_what_has_moved(hub: Hub, project: Path) -> None:
    old = hub.commit(NAME, "v1.0.0")
    newer = hub.commit(NAME, "v1.1.0")
    moved = hub.commit("someone/moved", "v1.0.0")
    hub.commit("someone/moved", "v1.0.0", "v1.1.0")
    hub.commit("someone/withdrawn", "v1.0.1")
    path = write(
        project,
        does_it=("v1.0.0", old),
        moved=("v1.0.0", moved),
        gone=("v1.0.0", "a" * 40),
        withdrawn=("v1.0.0", "b" * 40),
    )
    before = read(path)
    report = told(project, "--update", code=1)
    results = {row["action"].partition("/")[2]: row["result"] for row in report["pins"]}
    assert results == {
        "does-it": "right",
        "gone": "could not be verified",
        "moved": "moved",
        "withdrawn": "right",
    }
    after = read(path)
    assert after[NAME] == Pin(NAME, "v1.1.0", newer)
    assert after["someone/withdrawn"].version == "v1.0.1"
    for kept in ("someone/moved", "someone/gone"):
        assert after[kept] == before[kept]


def test_an_update_writes_the_projects_file_over_the_packaged_pins(
    hub: Hub, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = hub.commit(NAME, "v1.0.0")
    newer = hub.commit(NAME, "v1.1.0")
    other = hub.commit("someone/else", "v1.0.0")
    packaged = [Pin(NAME, "v1.0.0", old), Pin("someone/else", "v1.0.0", other)]
    monkeypatch.setattr(actions, "PINS", {item.name: item for item in packaged})
    untouched = PACKAGED.read_bytes()
    own = project / "actions.json"
    tiers(project / ".", "--update")
    # Only what differs: the others go on following the library.
    assert read(own) == {NAME: Pin(NAME, "v1.1.0", newer)}
    assert own.stat().st_mode & 0o777 == 0o644
    assert PACKAGED.read_bytes() == untouched
    assert pins(own)["someone/else"].sha == other


def test_in_the_source_tree_an_update_writes_the_packaged_pins(hub: Hub, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    shutil.copytree(
        ROOT / "components" / "pulumi_tiers",
        tree / "components" / "pulumi_tiers",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copy(ROOT / "Pulumi.yaml", tree)
    packaged = tree / "components" / "pulumi_tiers" / "pipelines" / "actions.json"
    sha = hub.commit(NAME, "v1.0.0")
    newer = hub.commit(NAME, "v1.0.1")
    packaged.write_text(json.dumps({NAME: {"version": "v1.0.0", "sha": sha}}))
    done = subprocess.run(
        [sys.executable, "-m", "pulumi_tiers.cli.main", "actions", "--update", "--json"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "components")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == str(packaged)
    assert read(packaged) == {NAME: Pin(NAME, "v1.0.1", newer)}
    assert not (tree / "actions.json").exists()


def test_outside_of_a_project_nothing_is_written(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "PINS", {})
    assert "run this in a project" in tiers(tmp_path, "--update", code=2)
    assert not (tmp_path / "actions.json").exists()
    assert told(tmp_path)["well"]


# --- workflow files -------------------------------------------------------------------------------

Workflow = Callable[[str], Path]


@pytest.fixture
def workflow(project: Path) -> Workflow:
    def write_workflow(steps: str) -> Path:
        folder = project / ".github" / "workflows"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "ci.yaml"
        path.write_text(f"on: push\njobs:\n  test:\n    steps:\n{steps}", encoding="utf-8")
        return path

    return write_workflow


def test_what_workflow_files_use_is_checked_too(
    hub: Hub, project: Path, workflow: Workflow
) -> None:
    first = hub.commit(NAME, "v1.0.0")
    second = hub.commit(NAME, "v1.1.0")
    write(project, does_it=("v1.1.0", second))
    workflow(
        f"      - uses: {NAME}@{second} # v1.1.0\n"
        f"      - uses: '{NAME}@{first}' # v1.0.0\n"
        f"      - {{uses: {NAME}/part@{first}}} # v1.0.1\n"
        "      - uses: ./.github/actions/mine\n"
        f"      - uses: docker://alpine@sha256:{'a' * 64}\n"
        "      - run: |\n"
        "          uses: nothing/at@all\n"
        "        env:\n"
        "          uses: nothing/at@all\n"
    )
    report = told(project, code=1)
    where = ".github/workflows/ci.yaml"
    assert [
        (row["action"], row["version"], row["result"], row["places"]) for row in report["pins"]
    ] == [
        (NAME, "v1.0.0", "right", [f"{where}:6"]),
        (NAME, "v1.1.0", "right", [f"{where}:5"]),
    ]
    # The comment is behind the brace there, which is no comment on the action.
    [unpinned] = report["unpinned"]
    assert unpinned["place"] == f"{where}:7"
    assert "does not say which release it is" in unpinned["why"]


def test_an_update_pins_nothing_that_only_workflow_files_use(
    hub: Hub, project: Path, workflow: Workflow
) -> None:
    sha = hub.commit(NAME, "v1.0.0")
    hub.commit(NAME, "v1.1.0")
    workflow(f"      - uses: {NAME}@{sha} # v1.0.0\n")
    report = told(project, "--update")
    assert only(report)["newer"] == "v1.1.0"
    assert report["written"] is None
    assert not (project / "actions.json").exists()


def test_a_wrong_comment_in_a_workflow_is_told(hub: Hub, project: Path, workflow: Workflow) -> None:
    first = hub.commit(NAME, "v1.0.0")
    hub.commit(NAME, "v4.0.0")
    workflow(f"      - uses: {NAME}@{first} # v4.0.0\n")
    row = only(told(project, code=1))
    assert row["result"] == "moved"
    assert row["why"].endswith("the pinned commit is v1.0.0")
    # Whoever wrote that file corrects it: it is not one of the pins.
    assert told(project, "--update", code=1)["written"] is None


@pytest.mark.parametrize(
    ("uses", "why"),
    [
        (f"{NAME}@v4", "names no commit"),
        (f"{NAME}@main # v4.2.2", "names no commit"),
        (NAME, "names no commit"),
        (f"{NAME}@{'a' * 39} # v1.0.0", "names no commit"),
        (f"{NAME}@{'A' * 40} # v1.0.0", "names no commit"),
        (f"{NAME}@{'a' * 40}", "does not say which release"),
        (f"{NAME}@{'a' * 40} # v4", "does not say which release"),
        (f"{NAME}@{'a' * 40} # v1.0.0-rc1", "does not say which release"),
        ("docker://alpine:3", "names no digest"),
    ],
)
def test_what_is_not_pinned_is_told(
    uses: str, why: str, hub: Hub, project: Path, workflow: Workflow
) -> None:
    workflow(f"      - uses: {uses}\n")
    report = told(project, code=1)
    assert report["pins"] == []
    [unpinned] = report["unpinned"]
    assert unpinned["place"] == ".github/workflows/ci.yaml:5"
    assert why in unpinned["why"]
    assert "not pinned: .github/workflows/ci.yaml:5: " in tiers(project, code=1)


def test_composite_actions_and_called_workflows_count_too(hub: Hub, project: Path) -> None:
    sha = hub.commit(NAME, "v1.0.0")
    called = f"{NAME}/.github/workflows/x.yml@{sha} # v1.0.0"
    for name, text in {
        "workflows/call.yml": f"jobs:\n  a:\n    uses: {called}\n",
        "actions/mine/action.yml": f"runs:\n  steps:\n  - uses: {NAME}@v1\n",
    }.items():
        path = project / ".github" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    report = told(project, code=1)
    assert only(report)["places"] == [".github/workflows/call.yml:3"]
    [unpinned] = report["unpinned"]
    assert unpinned["place"] == ".github/actions/mine/action.yml:3"


@pytest.mark.parametrize("text", ["a: [", "\x00", "- " * 5000, "a: 1\n---\nb: 2\n"])
def test_a_workflow_that_is_no_yaml_is_told(
    text: str, hub: Hub, project: Path, workflow: Workflow
) -> None:
    workflow("").write_text(text)
    [unpinned] = told(project, code=1)["unpinned"]
    assert unpinned["place"] == ".github/workflows/ci.yaml"
    assert "can't be read as YAML" in unpinned["why"]


def test_this_repositorys_own_workflows_use_the_pins() -> None:
    uses, unpinned = command._uses(ROOT)
    assert unpinned == []
    assert {item.name: item for item in uses if PINS.get(item.name) != item} == {}
