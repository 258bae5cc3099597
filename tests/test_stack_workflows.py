"""Previews of pull requests, their comments, and `up` of what is merged: run by the stand-in."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from events import SHA, Event
from pulumi_tiers.model.pipeline import PipelineOptions
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.pipelines.stack import COMMENT, PREVIEW, UP, preview_workflow, stack_workflows
from pulumi_tiers.systems.pipelines import PIPELINES
from repository import GitHub
from runner import ActionFailed, Run, Uses
from stubs import Answer

CHANGED = ("infra/__main__.py",)
REPORT = "# Stack dev\n\nIt has `$(touch stolen)` and ${{ secrets.X }}; </details> ``` é\n"
NUMBER = 7
HEADS = "gh api repos/acme/shop/pulls/7"
COMMENTS = "gh api --paginate repos/acme/shop/issues/7/comments"


@pytest.fixture
def github(tmp_path: Path) -> GitHub:
    made = GitHub(tmp_path, "encontros-tech")
    made.tools.answer("git diff", "__main__.py\n")
    made.tools.answer("pulumi stack output --json", "{}")
    made.tools.answer("tiers render", REPORT)
    return made


def pull_request(*, fork: bool = False, changed: tuple[str, ...] = CHANGED) -> Event:
    return Event("pull_request", branch="$(evil)", fork=fork, changed=changed, title="`evil`")


def happens(github: GitHub, event: Event, file: str) -> Run:
    """The one run of these workflows."""
    runs = {name: run for name, run in github.happens(event).items() if name.startswith("infra")}
    assert list(runs) == [file]
    return runs[file]


def steps(run: Run, job: str) -> dict[str, str]:
    return {step.name: step.outcome for step in run.jobs[job].steps}


# --- which stacks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "stacks"),
    [
        (["__main__.py"], ["dev", "prod"]),
        (["Pulumi.yaml"], ["dev", "prod"]),
        (["requirements.txt", "README.md"], ["dev", "prod"]),
        (["Pulumi.dev.yaml"], ["dev"]),
        (["Pulumi.prod.yaml", "docs/x.txt"], ["prod"]),
        (["Pulumi.prod.yaml", "Pulumi.dev.yaml"], ["dev", "prod"]),
        (["Pulumi.prod.yaml", "modules/a.py"], ["dev", "prod"]),
        (["README.md", "docs/a.py", "a/docs/b"], []),
        (["Pulumi.evil.yaml"], []),
        (['"Pulumi.\\303\\251.yaml"'], ["dev", "prod"]),
        (["sub/Pulumi.dev.yaml"], ["dev", "prod"]),
        ([], []),
    ],
)
def test_a_stack_is_previewed_where_something_of_it_changed(
    tmp_path: Path, changed: list[str], stacks: list[str]
) -> None:
    pipeline = PIPELINES["encontros-tech"](PipelineOptions())
    workflow = preview_workflow(pipeline, ["dev", "prod"], folder="infra", branches=["main"])
    find = workflow.jobs["stacks"].steps[-1]
    (tmp_path / "changed").write_text("".join(f"{name}\n" for name in changed))
    subprocess.run(
        ["bash", "-eo", "pipefail", "-c", f"git() {{ cat changed; }}\n{find.run}"],
        cwd=tmp_path,
        env={**os.environ, **find.env, "GITHUB_OUTPUT": str(tmp_path / "output")},
        check=True,
    )
    name, _, found = (tmp_path / "output").read_text().partition("=")
    assert (name, json.loads(found)) == ("stacks", stacks)


def test_where_nothing_of_a_stack_changed_nothing_is_previewed(github: GitHub) -> None:
    github.tools.answer("git diff", "README.md\n")
    run = happens(github, pull_request(changed=("infra/README.md",)), PREVIEW)
    assert run.lines("git") == ["git diff --name-only --relative 'HEAD^1' HEAD"]
    assert {name: job.result for name, job in run.jobs.items()} == {
        "stacks": "success",
        "preview": "skipped",
    }


def test_what_a_merge_brings_is_compared_by_the_real_git(github: GitHub) -> None:
    checkout = github.runner.checkout

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        done = subprocess.run(
            ["git", "-C", checkout, *who, *arguments],
            env={**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def commit(name: str) -> None:
        with (checkout / name).open("a") as file:
            file.write("# changed\n")
        git("add", "--all")
        git("commit", "--message", name)

    git("init", "--initial-branch", "main")
    commit("infra/Pulumi.dev.yaml")
    git("checkout", "-b", "change")
    commit("infra/Pulumi.prod.yaml")
    commit("02-encontros-tech/main.py")
    git("checkout", "main")
    commit("infra/Pulumi.dev.yaml")  # meanwhile, and not of this change
    git("merge", "--no-ff", "--no-edit", "change")
    github.runner.tools.answer("git", Answer(script=f'exec {shutil.which("git")} "$@"'))
    run = happens(github, pull_request(changed=("infra/Pulumi.prod.yaml",)), PREVIEW)
    assert run.jobs["stacks"].outputs == {"stacks": '["prod"]'}


def test_what_touches_no_program_starts_nothing(github: GitHub) -> None:
    runs = github.happens(pull_request(changed=("02-encontros-tech/main.py",)))
    assert PREVIEW not in runs


# --- with credentials -----------------------------------------------------------------------------


def test_with_credentials_the_change_is_previewed_and_commented(github: GitHub) -> None:
    run = happens(github, pull_request(), PREVIEW)
    assert run.result == "success"
    for stack in ("dev", "prod"):
        job = run.jobs[f"preview ({stack})"]
        assert job.permissions == {"contents": "read", "pull-requests": "write"}
        assert not job.environment
        done = [
            str(each)
            for each in run.trace
            if each.job == job.name and not str(each).startswith(("python", "pip"))
        ]
        assert done == [
            "uses actions/checkout",
            "uses actions/setup-python",
            "uses pulumi/actions",
            f"pulumi stack select --stack {stack} --non-interactive",
            f"tiers images --deployed --stack {stack}",
            "uses pulumi/actions",
        ]
    previews = [uses for uses in run.uses("pulumi/actions") if "command" in uses.given]
    assert [uses.given for uses in previews] == [
        {
            "command": "preview",
            "stack-name": stack,
            "work-dir": "infra",
            "comment-on-pr": "true",
            "edit-pr-comment": "true",
            "comment-on-summary": "true",
        }
        for stack in ("dev", "prod")
    ]
    assert {name for name in github.secrets if name in previews[0].env} == {
        *("PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"),
        *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    }
    assert previews[0].env["DIGITALOCEAN_TOKEN"] == github.secrets["DIGITALOCEAN_ACCESS_TOKEN"]
    assert not github.runner.artifacts.exists()
    given = [call.env for call in run.calls("git")] + [uses.env for uses in run.uses("actions/*")]
    assert not any(text in json.dumps(given) for text in github.secrets.values())


def test_what_one_stack_fails_at_says_nothing_about_the_other(github: GitHub) -> None:
    def failing(uses: Uses) -> None:
        if uses.given.get("stack-name") == "dev":
            raise ActionFailed("told to fail")

    github.runner.effects["pulumi/actions"] = failing
    run = happens(github, pull_request(), PREVIEW)
    assert {name: job.result for name, job in run.jobs.items()} == {
        "stacks": "success",
        "preview (dev)": "failure",
        "preview (prod)": "success",
    }


def test_a_stack_that_is_not_there_yet_is_rendered(github: GitHub) -> None:
    github.tools.answer("pulumi stack select --stack dev", Answer(code=6, err="no stack"))
    run = happens(github, pull_request(), PREVIEW)
    assert run.result == "success"
    assert steps(run, "preview (dev)")["Preview"] == "skipped"
    assert run.jobs["preview (dev)"].summary == REPORT
    assert [path.name for path in github.runner.artifacts.iterdir()] == ["report-dev"]
    assert steps(run, "preview (prod)")["Preview"] == "success"


@pytest.mark.parametrize("command", ["pulumi stack select", "tiers images"])
def test_an_engine_that_fails_is_no_reason_to_render(github: GitHub, command: str) -> None:
    github.tools.fail(command, 255)
    run = happens(github, pull_request(), PREVIEW)
    for stack in ("dev", "prod"):
        done = steps(run, f"preview ({stack})")
        assert (done["Take the images that run"], done["Render"]) == ("failure", "skipped")


# --- without credentials --------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["fork", *("PULUMI_BACKEND_URL", "DIGITALOCEAN_ACCESS_TOKEN")])
def test_without_credentials_the_change_is_rendered(github: GitHub, why: str) -> None:
    github.runner.secrets = {k: text for k, text in github.runner.secrets.items() if k != why}
    run = happens(github, pull_request(fork=why == "fork"), PREVIEW)
    assert run.result == "success"
    assert run.lines("pulumi") == []
    assert run.uses("pulumi/actions") == []
    assert [line.partition(" --cwd ")[0] for line in run.lines("tiers")] == [
        "tiers render --to report --stack dev",
        "tiers render --to report --stack prod",
    ]
    assert all(line.endswith("/infra") for line in run.lines("tiers"))
    for stack in ("dev", "prod"):
        assert run.jobs[f"preview ({stack})"].summary == REPORT
        kept = github.runner.artifacts / f"report-{stack}"
        assert {path.name: path.read_text() for path in kept.iterdir()} == {
            "report.md": REPORT,
            "number": f"{NUMBER}\n",
        }


def test_a_description_that_is_wrong_fails_there_too(github: GitHub) -> None:
    github.tools.fail("tiers render", 2)
    run = happens(github, pull_request(fork=True), PREVIEW)
    assert run.result == "failure"
    assert not github.runner.artifacts.exists()


# --- the comment ----------------------------------------------------------------------------------


def ended(fork: bool = True, **also: Any) -> Event:
    """The end of a preview, which starts the workflow of the default branch."""
    return Event("workflow_run", branch="$(evil)", workflow="Infra preview", fork=fork, **also)


def artifact(github: GitHub, **files: str) -> Path:
    folder = github.runner.artifacts / "report-dev"
    folder.mkdir(parents=True)
    for name, text in {"report": REPORT, "number": f"{NUMBER}\n", **files}.items():
        (folder / (f"{name}.md" if name == "report" else name)).write_text(text)
    return folder


def said(run: Run) -> list[tuple[str, str]]:
    """Method and path of what was written to GitHub."""
    calls = [call.argv for call in run.calls("gh api --silent")]
    return [(argv[argv.index("--method") + 1], argv[4]) for argv in calls]


def comment(run: Run, github: GitHub) -> str:
    [path] = github.runner.folder.glob("**/comment.json")
    text: str = json.loads(path.read_text())["body"]
    path.unlink()
    return text


def test_a_report_becomes_a_comment_and_then_the_same_comment(github: GitHub) -> None:
    happens(github, pull_request(fork=True), PREVIEW)
    github.tools.answer(HEADS, f"{SHA} open\n")
    github.tools.answer(COMMENTS, "", "41\n52\n")
    run = happens(github, ended(), COMMENT)
    assert run.result == "success"
    assert run.jobs["comment"].permissions == {"actions": "read", "pull-requests": "write"}
    assert said(run) == [("POST", "repos/acme/shop/issues/7/comments")]
    lines = comment(run, github).splitlines()
    assert lines[0] == "<!-- infra-preview -->"
    assert "a change that nobody may have" in lines[3]
    assert "\n".join(lines).count(REPORT.strip()) == 2
    # Nothing of the change is there, and nothing of it was run.
    assert run.uses("actions/checkout") == []
    assert {call.tool for call in run.calls("")} == {"gh"}
    assert not list(github.runner.folder.glob("**/stolen"))
    [got] = run.uses("actions/download-artifact")
    assert got.given["run-id"] == "11"

    again = happens(github, ended(), COMMENT)
    assert said(again) == [("PATCH", "repos/acme/shop/issues/comments/41")]


def test_the_report_of_one_stack_alone_becomes_a_comment(github: GitHub) -> None:
    github.tools.answer("git diff", "Pulumi.dev.yaml\n")
    happens(github, pull_request(fork=True, changed=("infra/Pulumi.dev.yaml",)), PREVIEW)
    assert [path.name for path in github.runner.artifacts.iterdir()] == ["report-dev"]
    github.tools.answer(HEADS, f"{SHA} open\n")
    run = happens(github, ended(), COMMENT)
    assert said(run) == [("POST", "repos/acme/shop/issues/7/comments")]
    assert comment(run, github).count(REPORT.strip()) == 1


def test_only_an_own_comment_is_edited(github: GitHub) -> None:
    artifact(github)
    github.tools.answer(HEADS, f"{SHA} open\n")
    run = happens(github, ended(), COMMENT)
    [asked] = run.calls("gh api --paginate")
    query = asked.argv[asked.argv.index("--jq") + 1]
    comments = [
        {"id": 1, "user": {"login": "stranger"}, "body": "<!-- infra-preview -->"},
        {"id": 2, "user": {"login": "github-actions[bot]"}, "body": "#### preview"},
        {"id": 3, "user": {"login": "github-actions[bot]"}, "body": "<!-- infra-preview -->\nx"},
    ]
    done = subprocess.run(
        ["jq", "--raw-output", query],
        input=json.dumps(comments),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "3\n"


@pytest.mark.parametrize(
    ("number", "head", "result"),
    [
        ("7", f"{'c' * 40} open", "success"),  # of another commit, or it moved on
        ("7", f"{SHA} closed", "success"),
        ("7; gh api --method DELETE", f"{SHA} open", "failure"),
        ("$(touch stolen)", f"{SHA} open", "failure"),
        ("../../../orgs/acme", f"{SHA} open", "failure"),
        ("7\n8", f"{SHA} open", "failure"),
        ("0", f"{SHA} open", "failure"),
        ("-1", f"{SHA} open", "failure"),
        ("9" * 30, f"{SHA} open", "failure"),
        ("", f"{SHA} open", "failure"),
    ],
)
def test_an_artifact_that_names_another_pull_request_is_not_commented(
    github: GitHub, number: str, head: str, result: str
) -> None:
    artifact(github, number=number)
    github.tools.answer("gh api repos/*", f"{head}\n")
    run = happens(github, ended(), COMMENT)
    assert run.result == result
    assert said(run) == []
    assert not list(github.runner.folder.glob("**/stolen"))


def test_a_link_in_the_artifact_is_not_followed(github: GitHub) -> None:
    def downloaded(uses: Uses) -> None:
        folder = uses.workspace / uses.given["path"] / "report-dev"
        folder.mkdir(parents=True)
        (folder / "number").write_text(f"{NUMBER}\n")
        (folder / "report.md").symlink_to("/proc/self/environ")

    github.runner.effects["actions/download-artifact"] = downloaded
    github.tools.answer(HEADS, f"{SHA} open\n")
    run = happens(github, ended(), COMMENT)
    assert (run.result, said(run)) == ("failure", [])


def test_a_report_that_is_too_long_is_cut(github: GitHub) -> None:
    artifact(github, report="é" * 300_000)
    github.tools.answer(HEADS, f"{SHA} open\n")
    run = happens(github, ended(), COMMENT)
    assert said(run)
    assert 59_000 < len(comment(run, github)) <= 60_000


@pytest.mark.parametrize(
    "event", [ended(fork=False), ended(conclusion="failure"), ended(conclusion="cancelled")]
)
def test_other_runs_are_not_commented(github: GitHub, event: Event) -> None:
    artifact(github)
    assert happens(github, event, COMMENT).result == "skipped"


def test_where_everything_was_previewed_there_is_nothing_to_comment(github: GitHub) -> None:
    run = happens(github, ended(), COMMENT)
    assert run.result == "success"
    assert run.lines("gh") == []


# --- up -------------------------------------------------------------------------------------------


def merged(branch: str = "main") -> Event:
    return Event("push", branch, changed=CHANGED)


def test_what_is_merged_is_brought_up_with_the_images_that_run(github: GitHub) -> None:
    for branch, stack, environment in (
        ("main", "prod", "production"),
        ("develop", "dev", "homologacao"),
    ):
        run = github.happens(merged(branch))[UP]
        assert run.result == "success"
        job = run.jobs[f"up-{stack}"]
        assert (job.result, job.environment) == ("success", environment)
        assert job.permissions == {"contents": "read"}
        assert run.lines("tiers") == [f"tiers images --deployed --stack {stack}"]
        assert run.lines("pulumi")[0] == f"pulumi up --yes --non-interactive --stack {stack}"
        [asked] = run.calls("curl")
        assert asked.argv[-1] == "http://encontros-tech.example/"


def test_a_deployment_that_nobody_approved_waits(github: GitHub) -> None:
    gate = replace(github.gates["production"], approval="waiting")
    github.runner.environments = {**github.gates, "production": gate}
    run = github.happens(merged())[UP]
    assert run.result == "waiting"
    assert run.lines("pulumi") == []


def test_development_goes_first_where_both_come_from_one_branch(tmp_path: Path) -> None:
    vision = GitHub(tmp_path, "vision")
    done = [
        line
        for line in vision.happens(merged())[UP].lines("pulumi up")
        if line.startswith("pulumi up")
    ]
    assert [line.rpartition(" ")[2] for line in done] == ["dev", "prod"]

    vision.tools.fail("pulumi up --yes --non-interactive --stack dev")
    run = vision.happens(merged())[UP]
    assert {name: run.jobs[name].result for name in ("up-dev", "up-prod")} == {
        "up-dev": "failure",
        "up-prod": "skipped",
    }


def test_two_workflows_never_bring_up_one_stack_at_once() -> None:
    for name, documented in PIPELINES.items():
        pipeline = documented(PipelineOptions())
        stacks = stack_workflows(pipeline, PipelineOptions())
        every = {**pipeline.workflows, **stacks}
        both = completed(pipeline.model_copy(update={"workflows": every}))
        groups = {
            (step.env["STACK"], job.concurrency)
            for workflow in expanded(both).values()
            for job in workflow.jobs.values()
            for step in job.steps
            if "pulumi up" in (step.run or "")
        }
        assert groups, name
        assert all(group for _, group in groups), name
        assert len(dict(groups)) == len(groups), name


# --- other backends -------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["cloud", "cloud_oidc"])
def test_pulumi_cloud_needs_no_bucket(tmp_path: Path, backend: str) -> None:
    github = GitHub(tmp_path, "encontros-tech", {"backend": backend})
    github.tools.answer("git diff", "__main__.py\n")
    github.runner.variables = {"PULUMI_ORGANIZATION": "acme"}
    github.tools.answer("tiers render", REPORT)
    text = github.texts[PREVIEW]
    assert "PULUMI_CONFIG_PASSPHRASE" not in text
    run = happens(github, pull_request(), PREVIEW)
    previews = [uses for uses in run.uses("pulumi/actions") if "command" in uses.given]
    assert len(previews) == 2
    if backend == "cloud":
        token = github.secrets["PULUMI_ACCESS_TOKEN"]
        assert {uses.env["PULUMI_ACCESS_TOKEN"] for uses in previews} == {token}
    else:
        assert {uses.given["organization"] for uses in run.uses("pulumi/auth-actions")} == {"acme"}
        permissions = run.jobs["preview (dev)"].permissions
        assert permissions["id-token"] == "write"
    other = happens(github, pull_request(fork=True), PREVIEW)
    assert other.uses("pulumi/auth-actions") == []
    assert other.jobs["preview (dev)"].summary == REPORT


def test_a_cluster_whose_kubeconfig_belongs_to_environments_is_rendered(tmp_path: Path) -> None:
    github = GitHub(tmp_path, "encontros-tech", {"cluster": "kubeconfig"})
    github.tools.answer("git diff", "Pulumi.dev.yaml\n")
    github.tools.answer("tiers render", REPORT)
    run = happens(github, pull_request(), PREVIEW)
    assert run.jobs["preview (dev)"].summary == REPORT
    # Unless the repository has one too.
    github.runner.secrets = {**github.runner.secrets, "KUBECONFIG": "theirs"}
    run = happens(github, pull_request(), PREVIEW)
    assert run.lines("tiers") == ["tiers images --deployed --stack dev"]
