"""`tiers scale`: the stack's file says how many there are."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_tiers.cli.console import Stop
from pulumi_tiers.cli.stack_file import with_entries
from sandbox import APP, ROOT, Sandbox
from test_cli import tiers

KEY = "tiers:replicas"
FILE = """\
# This stack is mine.
config:
  tiers:environment: development   # words
  tiers:systems: [pigmeu, encontros-tech]
  # two of them want one port
  tiers:port_offsets: {pigmeu: 100}
encryptionsalt: v1:abc
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of a stack that does not run."""
    monkeypatch.setattr("pulumi_tiers.cli.docker.server_version", lambda: None)
    for name in ("Pulumi.yaml", "Pulumi.prod.yaml", "__main__.py"):
        (tmp_path / name).write_text((ROOT / name).read_text(), encoding="utf-8")
    (tmp_path / "Pulumi.dev.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def rows(project: Path, *arguments: str, stack: str = "dev") -> dict[str, dict[str, Any]]:
    said = tiers("scale", *arguments, "--json", "--stack", stack, cwd=project).stdout
    return {f"{row['system']}/{row['service']}": row for row in json.loads(said)}


# --- the table ------------------------------------------------------------------------------------


def test_alone_it_shows_what_there_is(project: Path) -> None:
    assert rows(project) == {
        f"{system}/{service}": {
            "system": system,
            "service": service,
            "replicas": 1,
            "concurrency": concurrency,
            "autoscale": None,
            "healthy_here": 0,
        }
        for system, service, concurrency in (
            ("encontros-tech", "encontros-tech", None),
            ("pigmeu", "api", None),
            ("pigmeu", "worker", 2),
        )
    }
    assert (project / "Pulumi.dev.yaml").read_text() == FILE
    shown = tiers("scale", cwd=project).stdout.splitlines()
    assert [line.split() for line in shown if "pigmeu/worker" in line] == [
        ["pigmeu/worker", "1", "2", "0"]
    ]


def test_what_an_autoscaler_decides_is_shown_and_not_scaled(project: Path) -> None:
    config = {
        "tiers:target": "kubernetes",
        "tiers:autoscale": {"encontros-tech/encontros-tech": {"min": 2, "max": 5}},
    }
    text = yaml.safe_dump({"config": config})
    (project / "Pulumi.dev.yaml").write_text(text)
    [row] = rows(project).values()
    assert row["autoscale"] == {"min": 2, "max": 5, "cpu": 70}
    assert "2 to 5" in tiers("scale", cwd=project).stdout
    refused = tiers("scale", "encontros-tech=3", cwd=project, code=2).stderr
    assert "the autoscaler decides how many there are" in refused
    assert (project / "Pulumi.dev.yaml").read_text() == text


# --- writing --------------------------------------------------------------------------------------


def test_the_number_goes_into_the_file_and_nothing_else_changes(project: Path) -> None:
    path = project / "Pulumi.dev.yaml"
    path.chmod(0o640)
    done = tiers("scale", "worker=4", cwd=project)
    assert "Pulumi.dev.yaml says pigmeu/worker: 4" in done.stderr
    assert "next: tiers up --stack dev" in done.stderr
    assert path.read_text() == FILE.replace(
        "encryptionsalt", "  tiers:replicas:\n    pigmeu/worker: 4\nencryptionsalt"
    )
    assert path.stat().st_mode & 0o777 == 0o640
    assert rows(project)["pigmeu/worker"]["replicas"] == 4

    written = path.stat().st_mtime_ns
    assert "says so already" in tiers("scale", "pigmeu/worker=4", cwd=project).stderr
    assert path.stat().st_mtime_ns == written

    assert rows(project, "worker=2", "pigmeu/api=3")["pigmeu/api"]["replicas"] == 3
    content = yaml.safe_load(path.read_text())
    assert content["config"][KEY] == {"pigmeu/worker": 2, "pigmeu/api": 3}


def test_for_another_target_it_says_what_to_run(project: Path) -> None:
    done = tiers("scale", "encontros-tech=3", "-s", "prod", cwd=project)
    assert "next: pulumi up -s prod" in done.stderr
    config = yaml.safe_load((project / "Pulumi.prod.yaml").read_text())["config"]
    assert config[KEY] == {"encontros-tech/encontros-tech": 3}


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["wroker=2"], ["there is no service 'wroker'", "did you mean 'worker'?"]),
        (
            ["pigmeu/wroker=2"],
            ["there is no service 'pigmeu/wroker'", "did you mean 'pigmeu/worker'?"],
        ),
        (["worker"], ["'worker' does not say how many", "worker=4"]),
        (["worker=many", "=", "api=-1"], ["'worker=many'", "'='", "'api=-1'", "3 mistakes"]),
        (["worker=2", "pigmeu/worker=3"], ["two numbers for pigmeu/worker"]),
        (["worker=0"], ["tiers:replicas.pigmeu/worker", "use at least 1"]),
        (["worker=101"], ["tiers:replicas.pigmeu/worker", "use at most 100"]),
        (["migrations=2"], ["there is no service 'migrations' that can have several replicas"]),
    ],
)
def test_a_mistake_changes_nothing(project: Path, arguments: list[str], parts: list[str]) -> None:
    said = tiers("scale", *arguments, cwd=project, code=2).stderr
    for part in parts:
        assert part in said
    assert (project / "Pulumi.dev.yaml").read_text() == FILE


def test_replicas_that_clash_on_one_docker_host_are_refused(project: Path) -> None:
    path = project / "Pulumi.dev.yaml"
    path.write_text(FILE.replace("100", "2"))
    before = path.read_text()
    said = tiers("scale", "encontros-tech=3", cwd=project, code=2).stderr
    assert "host port 8002 is already published by" in said
    assert path.read_text() == before
    tiers("scale", "encontros-tech=2", cwd=project)


def test_more_than_the_fixed_addresses_are_refused(project: Path) -> None:
    path = project / "Pulumi.dev.yaml"
    path.write_text("config: {'tiers:systems': [nutrifitcoach]}\n")
    before = path.read_text()
    said = tiers("scale", "worker=50", cwd=project, code=2).stderr
    assert "50 replicas do not fit into the" in said
    assert path.read_text() == before


def test_a_program_that_counts_by_itself_is_told(project: Path) -> None:
    (project / "__main__.py").write_text(
        "from pulumi_tiers import AppTier, Site\n"
        "web = {'image': 'web:1', 'replicas': 2}\n"
        "AppTier('shop-app', {'site': Site('shop', {}).ref, 'services': {'web': web}})\n"
    )
    (project / "Pulumi.dev.yaml").write_text("config: {}\n")
    for numbers in ("", "web=3"):
        said = tiers("scale", *numbers.split(), cwd=project, code=2).stderr
        assert "__main__.py does not take tiers:replicas" in said
    assert (project / "Pulumi.dev.yaml").read_text() == "config: {}\n"


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "config:\n  tiers:replicas:\n    a/b: 4\n"),
        ("# mine\n", "# mine\nconfig:\n  tiers:replicas:\n    a/b: 4\n"),
        ("config:\n", "config:\n  tiers:replicas:\n    a/b: 4\n"),
        (
            "config:\n  x:y: 'q' # why\n# the end\n",
            "config:\n  x:y: 'q' # why\n  tiers:replicas:\n    a/b: 4\n# the end\n",
        ),
        (
            "config:\n  tiers:replicas:\n    a/b: 1 # one\n# the end\n",
            "config:\n  tiers:replicas:\n    a/b: 4 # one\n# the end\n",
        ),
        (
            'config: {"a:b": "c", "tiers:replicas": {"a/b": 1}}\n',
            'config: {"a:b": "c", "tiers:replicas": {"a/b": 4}}\n',
        ),
        (
            "config:\n  tiers:replicas: '{\"a/b\": 2}'\n",
            "config:\n  tiers:replicas:\n    a/b: 4\n",
        ),
        (
            "config:\n    l:\n      - x\n      - y\n",
            "config:\n    l:\n      - x\n      - y\n    tiers:replicas:\n        a/b: 4\n",
        ),
        ("config:\n  l:\n  - x\n", "config:\n  l:\n  - x\n  tiers:replicas:\n    a/b: 4\n"),
        ("config:\r\n  a: 1\r\n", "config:\r\n  a: 1\r\n  tiers:replicas:\r\n    a/b: 4\r\n"),
        # What YAML 1.1 and 1.2 read differently stays as it is written.
        (
            "config:\n  a: on\n  b: 012\n  c: |\n    x\n     y\n",
            "config:\n  a: on\n  b: 012\n  c: |\n    x\n     y\n  tiers:replicas:\n    a/b: 4\n",
        ),
    ],
)
def test_comments_order_and_quotes_stay(before: str, after: str) -> None:
    assert with_entries(before, KEY, {"a/b": 4}, "Pulumi.dev.yaml") == after


def test_a_new_entry_stands_before_the_comments_that_follow() -> None:
    before = "config:\n  tiers:replicas:\n    a/b: 2 # two\n    # then\n# the end\nsalt: x\n"
    assert with_entries(before, KEY, {"a/b": 2, "c/d": 3}, "f") == (
        "config:\n  tiers:replicas:\n    a/b: 2 # two\n    c/d: 3\n    # then\n# the end\nsalt: x\n"
    )


def test_what_would_change_more_is_refused() -> None:
    shared = "x: &a {a/b: 1}\nconfig:\n  tiers:replicas: *a\n"
    with pytest.raises(Stop, match=r"Pulumi\.dev\.yaml can't be changed by a program"):
        with_entries(shared, KEY, {"a/b": 4}, "Pulumi.dev.yaml")


# --- with the engine ------------------------------------------------------------------------------


@pytest.mark.docker
@pytest.mark.engine
@pytest.mark.load
def test_the_engine_touches_the_scaled_service_alone(sandbox: Sandbox) -> None:
    sandbox.tiers("up", "--runner", "pulumi")
    one = sandbox.ids()
    sandbox.tiers("scale", "encontros-tech=3")
    three = sandbox.ids()
    assert one < three
    assert len(three) == len(one) + 2
    done = sandbox.tiers("scale", "encontros-tech=2")
    assert one < sandbox.ids() < three
    assert len([row for row in done.stdout.splitlines() if APP in row]) == 2
