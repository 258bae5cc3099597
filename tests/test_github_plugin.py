"""CIPipeline on the real GitHub plugin, against the double of GitHub's API."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from github import Double, Repository
from pulumi_tiers.cli.engine import Engine
from pulumi_tiers.pipelines.seal import is_edited

_MISSING = Engine.find(("github",))[1]
pytestmark = [pytest.mark.engine, pytest.mark.skipif(bool(_MISSING), reason=_MISSING)]

PROGRAM = """
import json
import os
from pathlib import Path

import pulumi
import pulumi_github

from pulumi_tiers import CIPipeline

args = json.loads(Path("args.json").read_text())
secrets = pulumi.Config().get_secret_object("secrets") or pulumi.Output.from_input({})
args["secret_values"] = {
    name: secrets.apply(lambda known, name=name: known[name]) for name in args["secret_values"]
}

options = pulumi.ResourceOptions()
if args["repository"]:
    # A provider asks whose it is, whether it is used or not.
    options.providers = [
        pulumi_github.Provider(
            "github", owner="acme", base_url=os.environ["DOUBLE"], write_delay_ms=0
        )
    ]
made = CIPipeline("shop-ci", args, options)
pulumi.export("files", made.files.apply(sorted))
"""
CI = ".github/workflows/ci.yaml"
CD = ".github/workflows/cd.yaml"
REPO = "/repos/acme/shop"
STEP = {"run": "make test"}
BUILD = {
    "name": "CI",
    "on": {"push": {"branches": ["main"]}, "pull_request": {}},
    "jobs": {"tests": {"name": "Tests", "steps": [STEP]}},
}
DEPLOY = {
    "name": "CD",
    "on": {"push": {"branches": ["main"]}},
    "jobs": {
        "deploy": {
            "environment": "production",
            "steps": [
                {
                    "run": "deploy",
                    "env": {
                        "TOKEN": "${{ secrets.DEPLOY_TOKEN }}",
                        "CLUSTER": "${{ secrets.K8S_CLUSTER_ID }}",
                        "SHARED": "${{ secrets.SHARED }}",
                        "REGION": "${{ vars.REGION }}",
                        "STAGE": "${{ vars.STAGE }}",
                        "TEAM": "${{ vars.TEAM }}",
                    },
                }
            ],
        }
    },
}
PRODUCTION = {
    "environment": "production",
    "reviewers": ["octocat", "acme/operators"],
    "prevent_self_review": True,
    "wait_minutes": 5,
    "branches": ["main", "release/*"],
}
VALUES = {
    "DEPLOY_TOKEN": "the-token-of-deployments",
    "K8S_CLUSTER_ID": "the-id-of-the-cluster",
    "SHARED": "known-to-all-of-acme",
}
DESCRIBED: dict[str, Any] = {
    "system": "shop",
    "repository": "shop",
    "workflows": {"ci.yaml": BUILD, "cd.yaml": DEPLOY},
    "environments": {"production": PRODUCTION},
    "secrets": {
        "DEPLOY_TOKEN": {},
        "K8S_CLUSTER_ID": {"scope": "environment"},
        "SHARED": {"scope": "organization"},
    },
    "variables": {
        "REGION": {"value": "nyc1"},
        "STAGE": {"scope": "environment", "value": "prod"},
        "TEAM": {"scope": "organization", "value": "blue"},
    },
}


@dataclass
class Project:
    """A folder with a program, whose engine speaks to the double."""

    root: Path
    double: Double
    token: str = ""
    """Default: one that may do everything."""
    said: list[str] = field(default_factory=list)
    """Everything that the engine said, with its logs."""

    def __post_init__(self) -> None:
        options = {"toolchain": "pip", "virtualenv": sys.prefix}
        runtime = {"name": "python", "options": options}
        (self.root / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "ci", "runtime": runtime}))
        (self.root / "__main__.py").write_text(PROGRAM)
        self.pulumi("stack", "init", "prod")
        self.give(VALUES)
        self.describe()

    def describe(self, **changes: Any) -> None:
        usual = {**DESCRIBED, "secret_values": list(VALUES)}
        (self.root / "args.json").write_text(json.dumps({**usual, **changes}))

    def give(self, values: dict[str, str]) -> None:
        process = self._run("config", "set", "--secret", "secrets", given=json.dumps(values))
        assert process.returncode == 0, process.stdout

    def _run(self, *arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            "DOUBLE": self.double.url,
            "GITHUB_TOKEN": self.token or self.double.token,
            "PULUMI_BACKEND_URL": f"file://{self.root}",
            "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        }
        return subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.root,
            env=environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=200,
            check=False,
        )

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Runs the CLI. Returns all that it says."""
        process = self._run(*arguments)
        self.said.append(process.stdout)
        assert (process.returncode != 0) is fails, process.stdout
        return process.stdout

    def up(self, *arguments: str, fails: bool = False) -> str:
        """Without a preview. Forgets the requests before."""
        self.double.log.clear()
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, fails=fails)

    def is_up_to_date(self) -> None:
        """Neither the state nor GitHub differs from the program."""
        for refresh in ("false", "true"):
            self.pulumi("preview", "--expect-no-changes", f"--refresh={refresh}")

    def nobody_reads(self, *texts: str) -> None:
        """Whether they stand nowhere: what the engine said, its files, its exported state."""
        exported = self.pulumi("stack", "export")
        files = [path.read_bytes() for path in self.root.rglob("*") if path.is_file()]
        for text in texts:
            assert text not in exported
            assert not any(text in said for said in self.said)
            assert not any(text.encode() in content for content in files)


@pytest.fixture
def double() -> Iterator[Double]:
    with Double() as running:
        yield running


@pytest.fixture
def shop(double: Double) -> Repository:
    return double.world.add("shop")


@pytest.fixture
def project(tmp_path: Path, double: Double, shop: Repository) -> Project:
    return Project(tmp_path, double)


def merge(repository: Repository) -> None:
    """Somebody merges the pull request that is open."""
    [number] = [n for n, pull in repository.pulls.items() if pull["state"] == "open"]
    repository.merge(number)


def test_a_life(project: Project, double: Double, shop: Repository) -> None:
    other = double.world.add("other")
    project.describe(protection={}, organization_readers=["other"])
    project.pulumi("preview")
    assert double.writes == []
    project.up()

    assert shop.vault.secrets == {"DEPLOY_TOKEN": VALUES["DEPLOY_TOKEN"]}
    assert shop.vault.variables == {"REGION": "nyc1"}
    gate = shop.environments["production"]
    assert gate.vault.secrets == {"K8S_CLUSTER_ID": VALUES["K8S_CLUSTER_ID"]}
    assert gate.vault.variables == {"STAGE": "prod"}
    assert gate.rules["reviewers"] == [{"type": "Team", "id": 815}, {"type": "User", "id": 583231}]
    assert (gate.rules["wait_timer"], gate.rules["prevent_self_review"]) == (5, True)
    assert set(gate.policies.values()) == {"main", "release/*"}
    company = double.world.vault
    assert (company.secrets, company.variables) == ({"SHARED": VALUES["SHARED"]}, {"TEAM": "blue"})
    assert company.details["secret/SHARED"]["selected"] == [shop.number, other.number]
    assert company.details["variable/TEAM"]["selected"] == [shop.number, other.number]
    [rules] = shop.rulesets.values()
    parameters = {rule["type"]: rule.get("parameters") for rule in rules["rules"]}
    assert set(parameters) == {
        *("deletion", "non_fast_forward", "pull_request", "required_status_checks")
    }
    [check] = parameters["required_status_checks"]["required_status_checks"]
    assert check["context"] == "Tests"
    assert parameters["pull_request"]["required_approving_review_count"] == 1
    assert rules["conditions"]["ref_name"]["include"] == ["refs/heads/main"]
    [pull] = shop.pulls.values()
    proposed = shop.files(pull["head"]["ref"])
    assert {CI, CD} < set(proposed)
    assert not is_edited(proposed[CI])
    assert CI not in shop.files()
    project.is_up_to_date()

    # A rotation.
    project.give({**VALUES, "DEPLOY_TOKEN": "the-next-token"})
    assert "DEPLOY_TOKEN" in project.up()
    assert double.writes == [f"PUT {REPO}/actions/secrets/DEPLOY_TOKEN"]
    assert shop.vault.secrets == {"DEPLOY_TOKEN": "the-next-token"}
    project.is_up_to_date()

    project.nobody_reads(*VALUES.values(), "the-next-token", double.token)
    merge(shop)
    project.pulumi("destroy", "--yes")
    assert (shop.vault.secrets, shop.vault.variables, shop.environments) == ({}, {}, {})
    assert (company.secrets, company.variables, shop.rulesets) == ({}, {}, {})
    # What is in a repository belongs to those who work in it.
    assert {CI, CD} < set(shop.files())


@pytest.mark.load
def test_what_somebody_deletes_is_made_again_after_a_refresh(
    project: Project, double: Double, shop: Repository
) -> None:
    project.up()
    del shop.vault.secrets["DEPLOY_TOKEN"], shop.vault.stamps["secret/DEPLOY_TOKEN"]
    del shop.environments["production"]
    project.up("--refresh")
    assert shop.vault.secrets == {"DEPLOY_TOKEN": VALUES["DEPLOY_TOKEN"]}
    gate = shop.environments["production"]
    assert gate.vault.secrets == {"K8S_CLUSTER_ID": VALUES["K8S_CLUSTER_ID"]}
    assert set(gate.policies.values()) == {"main", "release/*"}
    assert "PUT /orgs/acme/actions/secrets/SHARED" not in double.writes


@pytest.mark.load
def test_another_stack_makes_its_own_environment_only(
    project: Project, double: Double, shop: Repository
) -> None:
    project.describe(repository_wide=False)
    project.up()
    assert set(shop.environments) == {"production"}
    assert shop.environments["production"].vault.secrets == {
        "K8S_CLUSTER_ID": VALUES["K8S_CLUSTER_ID"]
    }
    assert (shop.vault.secrets, shop.pulls, set(shop.files())) == ({}, {}, {"README.md"})
    assert double.world.vault.secrets == {}


def test_without_a_repository_nobody_is_asked(
    tmp_path: Path, double: Double, shop: Repository
) -> None:
    lone = Project(tmp_path, double)
    lone.describe(repository=None)
    lone.pulumi("preview")
    said = lone.up()
    assert CI in said
    lone.pulumi("destroy", "--yes")
    assert double.log == []


# --- files ----------------------------------------------------------------------------------------

FILES_ONLY: dict[str, Any] = {
    "workflows": {"ci.yaml": BUILD},
    "environments": {},
    "secrets": {},
    "variables": {},
    "secret_values": [],
}
CHANGED = {**BUILD, "name": "Tests of everything"}
EDIT = "name: mine\n"


@pytest.mark.load
def test_files_come_onto_the_branch_itself(
    project: Project, double: Double, shop: Repository
) -> None:
    direct = {**FILES_ONLY, "delivery": "direct"}
    project.describe(**direct)
    project.up()
    assert not is_edited(shop.files()[CI])
    # It must not start what it describes.
    assert "[skip ci]" in shop.commits[shop.head()].message
    project.is_up_to_date()
    project.up()
    assert double.writes == []

    project.describe(**direct | {"workflows": {"ci.yaml": CHANGED}})
    project.up()
    assert "Tests of everything" in shop.files()[CI]
    assert double.writes == [f"PUT {REPO}/contents/{CI}"]
    project.is_up_to_date()

    # Somebody deletes it. The state doesn't know.
    shop.commit("main", "away", {CI: None})
    project.up()
    assert "Tests of everything" in shop.files()[CI]
    project.is_up_to_date()

    # Another one takes its place, and it stays: with a word.
    project.describe(**direct | {"workflows": {"new.yaml": BUILD}})
    for _ in range(2):
        said = project.up()
        assert f"{CI} on the branch main of acme/shop was made by tiers" in said
    assert set(shop.files()) == {"README.md", CI, ".github/workflows/new.yaml"}


@pytest.mark.load
def test_a_file_that_is_right_already_is_left_alone(
    project: Project, double: Double, shop: Repository
) -> None:
    """Whichever way it came, and whatever the state knows."""
    project.describe(**FILES_ONLY)
    project.up()
    merge(shop)
    project.describe(**FILES_ONLY | {"delivery": "direct"})
    project.up()
    assert set(double.writes) <= {f"PATCH {REPO}/pulls/1"}
    project.is_up_to_date()
    project.describe(**FILES_ONLY)
    project.up()
    assert double.writes == []
    assert CI in shop.files()


@pytest.mark.load
@pytest.mark.parametrize("delivery", ["direct", "pull_request"])
def test_an_edit_by_hand_is_decided_by_people(
    project: Project, double: Double, shop: Repository, delivery: str
) -> None:
    described = {**FILES_ONLY, "delivery": delivery}
    project.describe(**described)
    project.up()
    if delivery == "pull_request":
        merge(shop)
        project.up()
    ours = shop.files()[CI]
    shop.commit("main", "my way", {CI: EDIT})

    for command in ("preview", "up"):
        extra = ["--yes", "--skip-preview"] if command == "up" else []
        double.log.clear()
        said = project.pulumi(command, *extra, fails=True)
        assert f"{CI}: was edited by hand on the branch main of acme/shop" in said
        assert "'overwrite' writes the description's file over it" in said
        assert "Traceback" not in said
        assert double.writes == []

    project.describe(**described | {"edits": "keep"})
    for _ in range(2):
        said = project.up()
        assert "it stays as it is, and differs from the description" in said
        assert double.writes in ([], [f"PATCH {REPO}/pulls/1"])
        assert shop.files()[CI] == EDIT

    project.describe(**described | {"edits": "overwrite"})
    said = project.up()
    assert "the description's file is written over it" in said
    if delivery == "pull_request":
        assert shop.files()[CI] == EDIT
        merge(shop)
        project.up()
    assert shop.files()[CI] == ours
    project.is_up_to_date()


@pytest.mark.load
def test_a_file_that_was_there_before_is_an_edit_too(
    project: Project, double: Double, shop: Repository
) -> None:
    shop.commit("main", "mine", {CI: EDIT})
    project.describe(**FILES_ONLY | {"delivery": "direct"})
    assert "was edited by hand" in project.up(fails=True)
    assert double.writes == []
    # The state knows nothing of it, and keeps it so.
    project.describe(**FILES_ONLY | {"delivery": "direct", "edits": "keep"})
    project.up()
    project.pulumi("destroy", "--yes")
    assert shop.files()[CI] == EDIT


@pytest.mark.load
@pytest.mark.parametrize("refresh", [[], ["--refresh"]])
def test_pull_requests_follow_the_description(
    project: Project, double: Double, shop: Repository, refresh: list[str]
) -> None:
    project.describe(**FILES_ONLY)
    project.up(*refresh)
    project.up(*refresh)
    assert double.writes == []

    # Nobody merged it, and the description changes: another one takes its place.
    project.describe(**FILES_ONLY | {"workflows": {"ci.yaml": CHANGED}})
    project.up(*refresh)
    assert [pull["state"] for pull in shop.pulls.values()] == ["closed", "open"]
    heads = [pull["head"]["ref"] for pull in shop.pulls.values()]
    assert len(set(heads)) == 2

    # It is merged, and its branch deleted.
    shop.merge(2)
    assert "Tests of everything" in shop.files()[CI]
    before = json.dumps(shop.pulls)
    for _ in range(2):
        project.up(*refresh)
        assert set(double.writes) <= {f"PATCH {REPO}/pulls/2"}
    assert [pull["state"] for pull in shop.pulls.values()] == ["closed", "closed"]
    assert json.loads(before)["2"]["merged"]
    project.is_up_to_date()

    # Back to what it was first: a branch of that name may be there, its pull request was closed.
    project.describe(**FILES_ONLY)
    project.up(*refresh)
    assert len(shop.pulls) == 3
    assert shop.pulls[3]["state"] == "open"
    assert shop.pulls[3]["head"]["ref"] not in heads

    # Somebody doesn't want it: it isn't forced upon them.
    shop.delete_branch(shop.pulls[3]["head"]["ref"])
    said = project.up(*refresh)
    assert "the pull request #3 with these workflow files was closed" in said
    assert len(shop.pulls) == 3
    project.describe(**FILES_ONLY | {"workflows": {"ci.yaml": {**BUILD, "name": "Third"}}})
    project.up(*refresh)
    assert shop.pulls[4]["state"] == "open"
    project.is_up_to_date()


# --- what goes wrong ------------------------------------------------------------------------------


def test_a_repository_that_is_not_there(project: Project, double: Double) -> None:
    project.describe(repository="shopp")
    for said in (project.pulumi("preview", fails=True), project.up(fails=True)):
        assert "CIPipeline shop-ci: there is no repository 'shopp' that this token may see" in said
        assert "Traceback" not in said
    assert double.writes == []


@pytest.mark.load
def test_a_branch_that_is_not_there(project: Project) -> None:
    project.describe(branch="trunk")
    assert "acme/shop has no branch 'trunk'" in project.pulumi("preview", fails=True)


@pytest.mark.load
@pytest.mark.parametrize(
    ("reviewer", "told"),
    [("octocatt", "GitHub has no user 'octocatt'"), ("acme/op", "GitHub has no team 'acme/op'")],
)
def test_a_reviewer_who_is_not_there(project: Project, reviewer: str, told: str) -> None:
    project.describe(environments={"production": {**PRODUCTION, "reviewers": [reviewer]}})
    said = project.pulumi("preview", fails=True)
    assert told in said
    assert "correct 'reviewers'" in said


@pytest.mark.load
def test_a_token_that_is_wrong(project: Project, double: Double) -> None:
    project.token = "ghp_ofsomebodyelse"
    said = project.pulumi("preview", fails=True)
    assert "the repository shop can't be looked up" in said
    assert "401 Bad credentials" in said
    assert "GITHUB_TOKEN (or github:token) holds no valid token: make a new one" in said
    assert "Traceback" not in said
    project.nobody_reads(project.token)


@pytest.mark.load
def test_a_token_without_rights(project: Project, double: Double, shop: Repository) -> None:
    told = "Resource not accessible by personal access token"
    double.refuse("PUT|POST", f"{REPO}/.*", 403, told)
    said = project.up(fails=True)
    assert f"403 {told}" in said
    assert f"{REPO}/environments/production" in said
    double.refuse("GET", f"{REPO}/contents/.*", 403, told)
    said = project.pulumi("preview", fails=True)
    assert f"{CI} can't be read" in said
    assert "a fine-grained token needs, for this repository, read and write of" in said
    assert "Traceback" not in said


@pytest.mark.load
@pytest.mark.parametrize("status", [403, 429])
def test_too_many_requests_are_repeated(
    project: Project, double: Double, shop: Repository, status: int
) -> None:
    project.describe(**FILES_ONLY)
    double.limit(status, times=1, method="GET")
    double.limit(status, times=1, method="PUT")
    project.up()
    assert [entry.status for entry in double.log].count(status) == 2
    assert [pull["state"] for pull in shop.pulls.values()] == ["open"]


@pytest.mark.load
def test_an_hour_without_requests_is_waited_for(
    project: Project, double: Double, shop: Repository
) -> None:
    project.describe(**FILES_ONLY)
    double.exhaust(3)
    project.up()
    assert [pull["state"] for pull in shop.pulls.values()] == ["open"]


@pytest.mark.load
def test_too_many_requests_without_an_end(
    project: Project, double: Double, shop: Repository
) -> None:
    """The plugin repeats what it has sent already: these are the words that people see then."""
    project.describe(environments={}, variables={}, workflows={"ci.yaml": BUILD})
    double.limit(times=10**6, method="PUT")
    said = project.up(fails=True)
    assert "/actions/secrets/DEPLOY_TOKEN" in said
    assert "http: ContentLength" in said
    assert len(double.calls("PUT")) > 1
    double.relent()
    project.up()
    assert shop.vault.secrets == {"DEPLOY_TOKEN": VALUES["DEPLOY_TOKEN"]}
    project.nobody_reads(*VALUES.values())
