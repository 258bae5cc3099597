"""Pictures and tables of pipelines."""

import re

import pytest
from mermaid_judge import mermaid_errors
from pulumi_tiers.model.deployment import (
    ComposeDeployment,
    Deployment,
    ImageBuild,
    ImageTag,
    KubectlDeployment,
    PulumiDeployment,
)
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.pipeline import (
    DeploymentEnvironment,
    Pipeline,
    PipelineOptions,
    PipelineSecret,
)
from pulumi_tiers.model.workflow import Event, Job, PullRequest, Push, Step, Triggers, Workflow
from pulumi_tiers.pipelines.expand import expanded
from pulumi_tiers.pipelines.picture import mermaid, page
from pulumi_tiers.systems.pipelines import PIPELINES
from sandbox import ROOT

IMAGE = "shop/api"

PIPELINE = Pipeline(
    environments={
        "staging": DeploymentEnvironment(environment=Environment.DEVELOPMENT, branches=["main"]),
        "production": DeploymentEnvironment(
            environment=Environment.PRODUCTION,
            reviewers=["octocat", "company/platform"],
            wait_minutes=10,
        ),
    },
    secrets={"SMTP_PASSWORD": PipelineSecret(purpose="a | b")},
    workflows={
        "ci.yaml": Workflow(
            name="CI",
            comment="Tests *everything*.",
            on=Triggers(
                push=Push(branches=["main", "develop"], paths=["a/**", "b/**", "c/**", "d/**"]),
                pull_request=PullRequest(),
                schedule=["0 3 * * *"],
            ),
            jobs={
                "test": Job(name="Test", steps=[Step(name="Run tests", run="make test")]),
                "build": Job(
                    needs=["test"],
                    events=[Event.PUSH],
                    branches=["main"],
                    images=[ImageBuild(image=IMAGE, tags=[ImageTag(name="{branch}-{sha}")])],
                ),
                "nightly": Job(events=[Event.SCHEDULE], steps=[Step(run="make all")]),
            },
        ),
        "cd.yaml": Workflow(
            name="CD",
            on=Triggers(
                push=Push(branches=["main", "develop"], paths=["a/**", "b/**", "c/**", "d/**"]),
                dispatch=True,
            ),
            jobs={
                "gate": Job(awaits="ci.yaml"),
                "staging": Job(
                    needs=["gate"],
                    branches=["main"],
                    environment="staging",
                    runs_on=["self-hosted", "staging"],
                    deploy=Deployment(
                        compose=ComposeDeployment(project="shop"), images={"api": IMAGE}
                    ),
                ),
                "production": Job(
                    needs=["gate", "staging"],
                    branches=["main"],
                    environment="production",
                    deploy=Deployment(
                        pulumi=PulumiDeployment(stack="prod"), images={"shop/api": IMAGE}
                    ),
                ),
            },
        ),
    },
)


def test_a_workflow_that_tests_and_builds() -> None:
    assert mermaid(PIPELINE, "ci.yaml").splitlines() == [
        "flowchart LR",
        '  on_push{{"push<br/>main, develop<br/>a/**, b/**, c/** and 1 more"}}',
        '  on_pull_request{{"pull request"}}',
        '  on_schedule{{"schedule (UTC)<br/>0 3 * * *"}}',
        '  job_test["Test"]',
        '  job_build["build"]',
        '  image_shop_api[("shop/api<br/>{branch}-{sha}")]',
        '  job_nightly["nightly"]',
        "  on_push --> job_test",
        "  on_pull_request --> job_test",
        "  on_schedule --> job_test",
        '  job_test -->|"push, main"| job_build',
        '  job_build -.->|"pushes"| image_shop_api',
        "  on_schedule --> job_nightly",
    ]


def test_a_workflow_that_deploys_after_people_have_approved() -> None:
    assert mermaid(PIPELINE, "cd.yaml").splitlines()[3:] == [
        '  job_gate["gate"]',
        '  file_ci_yaml[/"CI<br/>ci.yaml"/]',
        '  job_staging["staging<br/>on self-hosted, staging<br/>environment staging"]',
        '  runs_staging[["Docker Compose<br/>project shop<br/>api"]]',
        '  job_production["production<br/>environment production"]',
        '  approval_production(["\N{BUST IN SILHOUETTE} octocat or company/platform<br/>10 minutes'
        '<br/>for production"])',
        '  runs_production[["pulumi up<br/>stack prod<br/>shop/api"]]',
        "  on_push --> job_gate",
        "  on_workflow_dispatch --> job_gate",
        "  file_ci_yaml -.-> job_gate",
        '  job_gate -->|"main"| job_staging',
        '  job_staging ==>|"deploys"| runs_staging',
        "  approval_production --> job_production",
        '  job_gate -->|"main"| approval_production',
        '  job_staging -->|"main"| approval_production',
        '  job_production ==>|"deploys"| runs_production',
    ]


def test_kubectl_and_what_follows_other_workflows() -> None:
    deploy = Deployment(
        kubectl=KubectlDeployment(
            namespace="shop", deployment="api", container="api", service="api"
        ),
        images={"api": IMAGE},
    )
    jobs = PIPELINE.workflows["cd.yaml"].jobs
    changed = {"gate": jobs["gate"], "k": Job(needs=["gate"], deploy=deploy)}
    workflow = PIPELINE.workflows["cd.yaml"].model_copy(update={"jobs": changed})
    after = Workflow(
        name="After", on=Triggers(after=["CD"]), jobs={"a": Job(steps=[Step(run="a")])}
    )
    files = {**PIPELINE.workflows, "cd.yaml": workflow, "after.yaml": after}
    pipeline = PIPELINE.model_copy(update={"workflows": files})
    assert '  runs_k[["kubectl<br/>namespace shop<br/>api"]]\n' in mermaid(pipeline, "cd.yaml")
    assert '  on_workflow_run{{"after<br/>CD"}}\n' in mermaid(pipeline, "after.yaml")


def test_the_page_says_what_each_job_does_and_what_github_keeps() -> None:
    text = page("Shop", PIPELINE)
    assert text.startswith("# Pipelines of Shop\n\n## CI: `ci.yaml`\n\nTests \\*everything\\*.\n")
    lines = text.splitlines()
    # As the file has it: as long as what it waits for may take.
    wait = expanded(PIPELINE)["cd.yaml"].jobs["gate"].timeout_minutes
    for line in (
        "| Test | - | - | - | Run tests | 15 |",
        "| build | push, main | Test | - | builds and pushes shop/api | 15 |",
        f"| gate | - | - | - | waits until ci.yaml has succeeded for the commit | {wait} |",
        "| production | main | gate, staging | production"
        " | deploys by pulumi up, stack prod, shop/api | 15 |",
        "| staging | - | - | main |",
        "| production | octocat or company/platform | 10 | - |",
        "| SMTP_PASSWORD | a \\| b | repository | yes |",
        # What deployments use by themselves is named too.
        "| PULUMI_CONFIG_PASSPHRASE | opens the secrets of the stacks | repository | yes |",
    ):
        assert lines.count(line) == 1, line
    for file in PIPELINE.workflows:
        assert f"```mermaid\n{mermaid(PIPELINE, file)}```\n" in text


@pytest.mark.parametrize("system", PIPELINES)
def test_every_system_is_drawn_whole(system: str) -> None:
    pipeline = PIPELINES[system](PipelineOptions())
    for file, workflow in pipeline.workflows.items():
        text = mermaid(pipeline, file)
        ids = re.findall(r"^  (\w+)[\[({]", text, re.MULTILINE)
        assert len(set(ids)) == len(ids)
        ends = re.findall(r"^  (\w+) \S+ (\w+)$", re.sub(r"\|.*\|", "", text), re.MULTILINE)
        assert {end for edge in ends for end in edge} <= set(ids)
        assert len([one for one in ids if one.startswith("job_")]) == len(workflow.jobs)
        deployed = [name for name, job in workflow.jobs.items() if job.deploy]
        assert len([one for one in ids if one.startswith("runs_")]) == len(deployed)


@pytest.mark.load
def test_mermaid_itself_can_draw_every_picture() -> None:
    """Also those of stacks, with whatever stands in their labels."""
    drawn = [
        mermaid(pipeline, file)
        for pipeline in [PIPELINE, *(make(PipelineOptions()) for make in PIPELINES.values())]
        for file in pipeline.workflows
    ]
    odd = PIPELINE.workflows["ci.yaml"].model_copy(
        update={"jobs": {"end": Job(name='"a" #1; <b> [c] {d} | e', steps=[Step(run="a")])}}
    )
    drawn.append(mermaid(PIPELINE.model_copy(update={"workflows": {"ci.yaml": odd}}), "ci.yaml"))
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        found = re.findall(r"^```mermaid\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)
        drawn += found
    assert len(drawn) > 15
    assert mermaid_errors(drawn) == [""] * len(drawn)
    [said] = mermaid_errors(['flowchart LR\n  a["b" --> c\n'])
    assert "Parse error" in said
