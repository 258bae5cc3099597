"""This repository's own workflows: made from their description, and run by the stand-in."""

import re
import shutil
from pathlib import Path

import pytest
from events import Event
from pulumi_tiers.pipelines.checkout import files_of, pattern
from pulumi_tiers.pipelines.stack import COMMENT, PREVIEW
from ruamel.yaml import YAML
from runner import Run, Runner
from sandbox import ROOT
from stubs import Answer
from workflow_judges import actionlint_errors, checkov_failures, schema_errors, zizmor_findings

from scripts.workflows import FOLDER, PROGRAM, STACKS, files

FILES = ["actions.yaml", "ci.yaml", COMMENT, PREVIEW]


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    (tmp_path / "runner").mkdir()
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("Makefile", "Pulumi.yaml", "requirements.txt"):
        shutil.copy(ROOT / name, checkout / name)
    made = Runner(tmp_path / "runner", checkout)
    tools = (
        'mkdir -p .venv/bin; for tool in pip tiers; do ln -s "$(command -v $tool)" .venv/bin; done'
    )
    made.tools.answer("python -m venv", Answer(script=tools))
    made.tools.answer("git diff", "components/pulumi_tiers/plan.py\n")
    made.tools.answer("tiers render", "# Stack\n")
    return made


def run(runner: Runner, file: str, event: Event) -> Run:
    done = runner.trigger(files(), event)
    assert file in done
    return done[file]


def test_what_is_committed_is_what_the_description_gives() -> None:
    made = files()
    assert sorted(made) == FILES
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == made, "run: make workflows"


def test_nobody_finds_anything() -> None:
    paths = sorted(FOLDER.iterdir())
    assert schema_errors(paths) == ""
    assert actionlint_errors(paths) == ""
    assert zizmor_findings(paths) == ""


@pytest.mark.load
def test_checkov_finds_nothing() -> None:
    assert checkov_failures(FOLDER.parent.parent) == []


def test_a_pull_request_starts_tests_and_previews_of_both_stacks(runner: Runner) -> None:
    changed = ("components/pulumi_tiers/plan.py",)
    runs = runner.trigger(files(), Event("pull_request", fork=True, changed=changed))
    assert sorted(runs) == ["ci.yaml", PREVIEW]
    previews = runs[PREVIEW]
    assert previews.result == "success"
    assert [job for job in previews.jobs if job.startswith("preview (")] == [
        f"preview ({stack})" for stack in STACKS
    ]
    # Without credentials: nothing but the program is asked.
    assert previews.lines("pulumi") == []
    rendered = [line.partition(" --cwd ")[0] for line in previews.lines("tiers")]
    assert rendered == [f"tiers render --to report --stack {stack}" for stack in STACKS]
    only_docs = runner.trigger(files(), Event("pull_request", changed=("docs/images.md",)))
    assert sorted(only_docs) == ["ci.yaml"]
    jobs = YAML(typ="safe", pure=True).load(files()["ci.yaml"])["jobs"]
    assert [name for name, job in jobs.items() if "if" not in job] == ["plain", "docker"]


def test_everything_that_the_stacks_are_made_of_starts_a_preview() -> None:
    tracked = files_of(ROOT)
    for glob in PROGRAM:
        assert any(pattern(glob).fullmatch(name) for name in tracked), glob
    for stack in STACKS:
        assert any(pattern(glob).fullmatch(f"Pulumi.{stack}.yaml") for glob in PROGRAM)


def test_every_level_but_load_is_run_once() -> None:
    jobs = YAML(typ="safe", pure=True).load(files()["ci.yaml"])["jobs"]
    chosen = [
        match[1]
        for job in jobs.values()
        for step in job["steps"]
        if (match := re.search(r'pytest -m "(.*)"', step.get("run", "")))
    ]
    levels = ("docker", "engine", "cluster", "load")
    for marks in (
        *((), ("docker",), ("engine",), ("docker", "engine")),
        *(("cluster",), ("cluster", "engine"), ("cluster", "docker")),
    ):
        truth = {level: level in marks for level in levels}
        running = [each for each in chosen if eval(each, {}, truth)]
        assert len(running) == 1, (marks, running)
    for marks in ((), ("docker",), ("engine",), ("cluster",)):
        truth = {level: level in (*marks, "load") for level in levels}
        assert not any(eval(each, {}, truth) for each in chosen)


def test_make_knows_what_is_made() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(r"^\s*(?:- )?run: make (.+)$", "".join(files().values()), re.MULTILINE)
    assert made
    assert {target for targets_ in made for target in targets_.split()} <= targets


def test_the_pinned_actions_are_checked_every_week(runner: Runner) -> None:
    runner.tools.answer(
        "make lint",
        Answer(script='mkdir .venv; ln -s "$(dirname "$(command -v tiers)")" .venv/bin'),
    )
    done = run(runner, "actions.yaml", Event("schedule", cron="17 5 * * 1"))
    assert done.result == "success"
    assert done.lines("tiers") == ["tiers actions"]
    runner.tools.fail("tiers actions")
    assert run(runner, "actions.yaml", Event("workflow_dispatch")).result == "failure"
