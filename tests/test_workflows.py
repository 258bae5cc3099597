"""Workflow files: the text, its order and quoting, and what others say of it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.pipeline import (
    Backend,
    Channel,
    ClusterAccess,
    Owner,
    Pipeline,
    PipelineOptions,
    PushedTo,
    RegistryAccess,
)
from pulumi_tiers.model.workflow import (
    Access,
    Job,
    Permission,
    PullRequest,
    Push,
    Step,
    Triggers,
    Workflow,
)
from pulumi_tiers.pipelines.actions import pin
from pulumi_tiers.pipelines.expand import expanded
from pulumi_tiers.pipelines.planned import with_pipeline
from pulumi_tiers.pipelines.seal import is_edited
from pulumi_tiers.pipelines.workflows import (
    BESIDE,
    COMMENT,
    workflow_data,
    workflow_files,
    workflow_text,
)
from pulumi_tiers.settings import Settings
from pulumi_tiers.systems import SYSTEMS
from pulumi_tiers.systems.pipelines import PIPELINES
from ruamel.yaml import YAML
from workflow_judges import (
    actionlint_errors,
    checkov_failures,
    schema_errors,
    write,
    zizmor_findings,
)

CHECKOUT, PYTHON = pin("actions/checkout"), pin("actions/setup-python")

WORKFLOW = Workflow(
    name="CI",
    comment="Tests every push. What is on main is delivered by another workflow, which waits for "
    "the run of this one.",
    on=Triggers(
        push=Push(branches=["main", "develop"], paths=["app/**", "!app/docs/**"]),
        pull_request=PullRequest(),
        schedule=["30 3 * * 1", "*/20 * * * *"],
        dispatch=True,
    ),
    concurrency="ci-${{ github.ref }}",
    cancel_in_progress=True,
    env={"PYTHONUNBUFFERED": "1"},
    jobs={
        "test": Job(
            name="Test",
            checkout=False,
            permissions={Permission.CONTENTS: Access.READ},
            outputs={"version": "${{ steps.version.outputs.version }}"},
            steps=[
                Step(
                    uses="actions/checkout",
                    inputs={"persist-credentials": "false", "fetch-depth": "0"},
                ),
                Step(
                    name="Set up Python",
                    comment="The oldest that is supported.",
                    uses="actions/setup-python",
                    inputs={"python-version": "3.10", "cache": "pip"},
                ),
                Step(
                    name="Test",
                    id="version",
                    env={"BRANCH": "${{ github.ref_name }}", "CI": "true"},
                    working_directory="app",
                    run='\npytest\nprintf \'version=%s\\n\' "$BRANCH" >> "$GITHUB_OUTPUT"\n\n',
                ),
            ],
        ),
        "tell": Job(
            comment="Also if the tests failed.",
            needs=["test"],
            condition="!cancelled() && github.event_name == 'push'",
            timeout_minutes=5,
            concurrency="tell",
            checkout=False,
            matrix={"channel": "${{ fromJSON('[1]') }}"},
            steps=[Step(run='echo "done: $GITHUB_SHA"\n')],
        ),
    },
)

TEXT = f"""\
# Tests every push. What is on main is delivered by another workflow, which waits for the run of
# this one.
name: CI

on:
  push:
    branches: [main, develop]
    paths: [app/**, '!app/docs/**']
  pull_request:
  schedule:
    - cron: 30 3 * * 1
    - cron: '*/20 * * * *'
  workflow_dispatch:

permissions: {{}}

env:
  PYTHONUNBUFFERED: '1'

defaults:
  run:
    shell: bash

concurrency:
  group: ci-${{{{ github.ref }}}}
  cancel-in-progress: true

jobs:
  test:
    name: Test
    runs-on: ubuntu-latest
    permissions:
      contents: read
    timeout-minutes: 15
    outputs:
      version: ${{{{ steps.version.outputs.version }}}}
    steps:
      - uses: actions/checkout@{CHECKOUT.sha} # {CHECKOUT.version}
        with:
          persist-credentials: false
          fetch-depth: 0

      # The oldest that is supported.
      - name: Set up Python
        uses: actions/setup-python@{PYTHON.sha} # {PYTHON.version}
        with:
          python-version: '3.10'
          cache: pip

      - name: Test
        id: version
        env:
          BRANCH: ${{{{ github.ref_name }}}}
          CI: 'true'
        working-directory: app
        run: |
          pytest
          printf 'version=%s\\n' "$BRANCH" >> "$GITHUB_OUTPUT"

  # Also if the tests failed.
  tell:
    needs: test
    if: "!cancelled() && github.event_name == 'push'"
    runs-on: ubuntu-latest
    permissions: {{}}
    concurrency:
      group: tell
      cancel-in-progress: false
    timeout-minutes: 5
    strategy:
      fail-fast: false
      matrix:
        channel: ${{{{ fromJSON('[1]') }}}}
    steps:
      - run: 'echo "done: $GITHUB_SHA"'
"""


def read(text: str) -> Any:
    return YAML(typ="safe").load(text)


def plain(value: Any) -> Any:
    """Without comments, and with the pins."""
    if isinstance(value, dict):
        known = {key: plain(item) for key, item in value.items() if key not in (COMMENT, BESIDE)}
        if "uses" in known and "@" not in known["uses"]:
            known["uses"] = pin(known["uses"]).uses
        return known
    return [plain(item) for item in value] if isinstance(value, list) else value


def test_the_text_is_as_a_person_writes_it() -> None:
    assert workflow_text(workflow_data(WORKFLOW)) == TEXT


def test_the_text_holds_exactly_the_data() -> None:
    assert read(TEXT) == plain(workflow_data(WORKFLOW))


def test_keys_have_their_order_however_they_are_given() -> None:
    data = workflow_data(WORKFLOW)
    turned = {key: data[key] for key in reversed(data)}
    turned["jobs"] = {
        name: {
            **{key: job[key] for key in reversed(job)},
            "steps": [{key: step[key] for key in reversed(step)} for step in job["steps"]],
        }
        for name, job in data["jobs"].items()
    }
    assert list(turned) != list(data)
    assert workflow_text(turned) == TEXT


@pytest.mark.parametrize(
    ("push", "expected"),
    [
        # GitHub's own default takes tags too.
        (Push(), {"branches": ["**"]}),
        (Push(tags=["v*"]), {"branches": ["**"], "tags": ["v*"]}),
        (Push(branches=["main"], paths=["a"]), {"branches": ["main"], "paths": ["a"]}),
    ],
)
def test_a_push_is_one_of_the_branches_that_are_meant(push: Push, expected: Any) -> None:
    workflow = WORKFLOW.model_copy(update={"on": Triggers(push=push)})
    assert workflow_data(workflow)["on"] == {"push": expected}


def test_what_runs_after_others_runs_when_they_are_completed() -> None:
    """Whoever checks nothing out may do so with a token's rights; all others are told of it."""
    on = Triggers(after=["CI", "Nightly tests"])
    harmless = WORKFLOW.model_copy(update={"on": on, "jobs": {"tell": WORKFLOW.jobs["tell"]}})
    checks_out = WORKFLOW.model_copy(update={"on": on})
    lines = ["    workflows: [CI, Nightly tests]", "    types: [completed]", ""]
    ignored = "  workflow_run: # zizmor: ignore[dangerous-triggers]"
    for workflow, first in ((harmless, ignored), (checks_out, "  workflow_run:")):
        text = workflow_text(workflow_data(workflow)).splitlines()
        assert text[text.index("on:") + 1 :][:4] == [first, *lines]


# --- quoting --------------------------------------------------------------------------------------

WORDS = [
    *("on", "off", "yes", "No", "true", "null", "~", "", "20", "3.10", "1e3", "0o7", "0x1F", "08"),
    *("1:30", "2026-01-01", "<<", "=", "- a", "? a", "a: b", "a:", "# a", "a #b", "*a", "&a", "!a"),
    *(
        "@a",
        "`a",
        "%a",
        "'a'",
        '"a"',
        "[a]",
        "{a}",
        "a, b",
        " a",
        "a ",
        "a\tb",
        "\\n",
        "---",
        "...",
    ),
    *(
        "${{ a }}",
        "${{ a }} b: c",
        "é ✓",
        "y",
        "n",
        ".inf",
        "|",
        ">",
        ",",
        "a\n",
        "\na",
        "a\n\n b\n",
    ),
]


@pytest.mark.parametrize("word", WORDS)
def test_every_text_is_read_as_that_text(word: str) -> None:
    for value in ({"env": {"A": word}}, {"env": {"A": [word, "b"]}}):
        text = workflow_text(value)
        assert read(text) == value
        # Nor do programs that read YAML 1.1 take it for something else.
        assert yaml.safe_load(text) == value


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=60))
def test_any_text_is_read_as_that_text(word: str) -> None:
    value = {"env": {"A": word, "B": f"{word}\n{word}"}}
    assert read(workflow_text(value)) == value


def test_nothing_is_quoted_without_need() -> None:
    texts = [
        "a b",
        "v1.2.3",
        "a/b:c",
        "https://example.com/#a",
        "$A",
        "a='b'",
        "x-${{ b }}",
    ]
    lines = workflow_text({"env": {f"A{n}": text for n, text in enumerate(texts)}}).splitlines()
    assert lines[1:] == [f"  A{n}: {text}" for n, text in enumerate(texts)]


def test_a_long_list_has_a_line_for_each_word() -> None:
    paths = [f"components/part-{number}/**" for number in range(4)]
    text = workflow_text({"on": {"push": {"paths": paths}}})
    assert text.splitlines()[3:] == [f"      - {path}" for path in paths]


# --- judges ---------------------------------------------------------------------------------------


def test_the_judges_of_every_run_find_nothing(tmp_path: Path) -> None:
    paths = write(tmp_path, {".github/workflows/ci.yaml": TEXT})
    assert schema_errors(paths) == ""
    assert zizmor_findings(paths) == ""


@pytest.mark.load
def test_the_judges_that_have_to_be_built_find_nothing(tmp_path: Path) -> None:
    paths = write(tmp_path, {".github/workflows/ci.yaml": TEXT})
    assert actionlint_errors(paths) == ""
    assert checkov_failures(tmp_path) == []


def test_the_judges_of_every_run_do_look(tmp_path: Path) -> None:
    timeless = TEXT.replace("    timeout-minutes: 5\n", "")
    [path] = write(tmp_path, {".github/workflows/ci.yaml": timeless})
    assert "timeout-minutes" in schema_errors([path])
    path.write_text(TEXT.replace("  pull_request:", "  pull_requests:"))
    assert "pull_requests" in schema_errors([path])
    path.write_text(TEXT.replace(f"@{CHECKOUT.sha} # {CHECKOUT.version}", "@main"))
    assert "unpinned-uses" in zizmor_findings([path])
    path.write_text(TEXT.replace("          pytest\n", "          echo ${{ github.head_ref }}\n"))
    assert "template-injection" in zizmor_findings([path])


@pytest.mark.load
def test_the_judges_that_have_to_be_built_do_look(tmp_path: Path) -> None:
    [path] = write(
        tmp_path, {".github/workflows/ci.yaml": TEXT.replace("needs: test", "needs: no")}
    )
    assert '"no" which does not exist' in actionlint_errors([path])
    path.write_text(TEXT.replace("workflow_dispatch:", "workflow_dispatch: {inputs: {a: {}}}"))
    [failure] = checkov_failures(tmp_path)
    assert failure.startswith("CKV_GHA_7 .github/workflows/ci.yaml: ")


# --- the systems' pipelines -----------------------------------------------------------------------

REVIEWERS = {"production": ["octocat", "company/platform"]}
AWS = "1.dkr.ecr.sa-east-1.amazonaws.com"
OPTIONS = {
    "usual": PipelineOptions(reviewers=REVIEWERS),
    "kubectl-and-messages": PipelineOptions(
        owner=Owner.KUBECTL,
        cluster=ClusterAccess.KUBECONFIG,
        notify=list(Channel),
        attest=False,
    ),
    "without-secrets": PipelineOptions(
        backend=Backend.CLOUD_OIDC,
        registry=PushedTo(login=RegistryAccess.AWS, host=AWS),
    ),
    "GitHub's-registry": PipelineOptions(
        backend=Backend.CLOUD, registry=PushedTo(login=RegistryAccess.GITHUB), folder="."
    ),
}
HOSTS = {RegistryAccess.AWS: AWS, RegistryAccess.GITHUB: "ghcr.io"}


def _builds(system: str, images: dict[str, str]) -> bool:
    """Whether these are images that the system's pipeline builds."""
    described = PIPELINES[system](PipelineOptions(images=images))
    built = [
        image.image
        for workflow in described.workflows.values()
        for job in workflow.jobs.values()
        for image in job.images
    ]
    return set(images.values()) <= set(built)


def pipeline_of(system: str, options: PipelineOptions) -> Pipeline:
    """As a stack has it, with the workflows of the stack itself."""
    mistakes: list[Mistake] = []
    production = Environment.PRODUCTION
    if host := HOSTS.get(options.registry.login):
        # Images have to be where the login is for.
        named = {name: f"{host}/octo/{name}" for name in SYSTEMS[system](production).workloads}
        images = {name: image for name, image in named.items() if _builds(system, {name: image})}
        options = options.model_copy(update={"images": images})
    settings = Settings(pipelines={system: options})
    made = with_pipeline(SYSTEMS[system](production), settings, mistakes).pipeline
    assert not mistakes
    assert made is not None
    return made


def files(system: str, options: PipelineOptions) -> dict[str, str]:
    return workflow_files(pipeline_of(system, options))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("system", PIPELINES)
def test_files_hold_exactly_what_was_described(system: str, options: PipelineOptions) -> None:
    pipeline = pipeline_of(system, options)
    made = expanded(pipeline)
    found = workflow_files(pipeline)
    assert list(found) == [f".github/workflows/{file}" for file in pipeline.workflows]
    for (path, text), workflow in zip(found.items(), made.values(), strict=True):
        assert read(text) == plain(workflow_data(workflow)), path
        assert not is_edited(text)
        assert is_edited(text.replace("ubuntu-latest", "ubuntu-24.04"))
    assert found == files(system, options)


@pytest.mark.parametrize("system", PIPELINES)
def test_every_action_is_pinned_and_every_job_says_what_it_may(system: str) -> None:
    for text in files(system, OPTIONS["kubectl-and-messages"]).values():
        workflow = read(text)
        assert workflow["permissions"] == {}
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 120
            assert "write-all" not in job["permissions"]
            for step in job["steps"]:
                assert "${{" not in step.get("run", "")
                if step.get("uses", "").startswith("actions/checkout@"):
                    assert step["with"]["persist-credentials"] is False
        for uses in re.findall(r"uses: (.*)", text):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", uses), uses


@pytest.mark.parametrize("system", PIPELINES)
def test_people_could_have_written_it(system: str) -> None:
    for path, text in files(system, OPTIONS["usual"]).items():
        lines = text.splitlines()
        assert not [line for line in lines if line.strip() and line != line.rstrip()]
        assert not [
            number for number, line in enumerate(lines) if lines[number : number + 2] == ["", ""]
        ]
        # Expressions of GitHub's can't be broken.
        long = [line for line in lines if len(line) > 130 and "${{" not in line]
        assert long == [], path


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_judges_of_every_run_find_nothing_in_pipelines(
    options: PipelineOptions, tmp_path: Path
) -> None:
    paths = [path for name in PIPELINES for path in write(tmp_path / name, files(name, options))]
    assert schema_errors(paths) == ""
    assert zizmor_findings(paths) == ""


@pytest.mark.load
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_judges_that_have_to_be_built_find_nothing_in_pipelines(
    options: PipelineOptions, tmp_path: Path
) -> None:
    paths = [path for name in PIPELINES for path in write(tmp_path / name, files(name, options))]
    assert actionlint_errors(paths) == ""
    assert checkov_failures(tmp_path) == []
