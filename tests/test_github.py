"""What a CIPipeline makes on GitHub, without an engine."""

from pathlib import Path
from typing import Any, cast

import pulumi
import pytest
from pulumi_tiers import ci_pipeline
from pulumi_tiers.ci_pipeline import CIPipeline, CIPipelineArgs, CIPipelineSpec, required_checks
from pulumi_tiers.component import validated
from pulumi_tiers.model import deployment, pipeline, workflow
from pulumi_tiers.model.base import Model
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.pipelines.seal import is_edited
from pulumi_tiers.render.recorder import Recording, Secret, record

CI = ".github/workflows/ci.yaml"
STEP = {"run": "make test"}
PUSH = {"push": {"branches": ["main"]}}
TESTS = {
    "name": "CI",
    "on": {**PUSH, "pull_request": {}},
    "jobs": {"tests": {"steps": [{**STEP, "env": {"TOKEN": "${{ secrets.TOKEN }}"}}]}},
}
DEPLOY = {
    "name": "CD",
    "on": PUSH,
    "env": {"SHARED": "${{ secrets.SHARED }}"},
    "jobs": {"deploy": {"environment": "production", "steps": [STEP]}},
}


APPROVED = {"production": {"environment": "production", "reviewers": ["octocat"]}}


def recorded(**changes: Any) -> Recording:
    args: dict[str, Any] = {
        "system": "shop",
        "repository": "shop",
        "workflows": {"ci.yaml": TESTS, "cd.yaml": DEPLOY},
        "environments": {"production": {"environment": "production"}},
        "secrets": {"TOKEN": {}, "SHARED": {"scope": "environment"}},
        **changes,
    }
    given = args.get("secret_values", {"TOKEN": "a", "SHARED": "b"})

    def program() -> None:
        values = {name: pulumi.Output.secret(value) for name, value in given.items()}
        CIPipeline("shop-ci", cast("CIPipelineArgs", {**args, "secret_values": values}))

    return record(program, project="shop", stack="dev", config={})


def made(recording: Recording) -> set[str]:
    """The names of everything on GitHub."""
    return {item.name for item in recording.resources if item.type.startswith("github:")}


def test_production_without_approvals_is_told_or_refused() -> None:
    why = "nobody has to approve what is deployed to the environment 'production'"
    remedy = "name who approves in its 'reviewers'"
    assert recorded().warnings == [f"CIPipeline shop-ci: {why}: {remedy}"]
    assert f"CIPipeline shop-ci: environments: {why}" in mistakes(strict=True)
    assert recorded(environments=APPROVED, strict=True).warnings == []
    # No key of the arguments silences it.
    assert "there is no key 'planned' here" in mistakes(planned=True)


def test_all_that_workflows_name_is_in_the_checkout(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert f"checkout: there is no folder '{missing}'" in mistakes(checkout=str(missing))
    on = {"push": {"branches": ["main"], "paths": ["app/**"]}}
    workflows = {"ci.yaml": TESTS, "cd.yaml": {**DEPLOY, "on": on}}
    told = mistakes(workflows=workflows, checkout=str(tmp_path))
    assert "CIPipeline shop-ci: workflows.cd.yaml.on.push.paths[0]: 'app/**' matches no" in told
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("")
    assert recorded(workflows=workflows, checkout=str(tmp_path)).resources


def mistakes(**changes: Any) -> str:
    with pytest.raises(DescriptionError) as caught:
        recorded(**changes)
    return str(caught.value)


def test_children_bear_the_name_of_the_component() -> None:
    names = made(recorded(protection={}))
    proposal = next(name.rpartition("-")[2] for name in names if "-branch-" in name)
    assert names == {
        "shop-ci-environment-production",
        "shop-ci-environment-production-secret-SHARED",
        "shop-ci-secret-TOKEN",
        f"shop-ci-branch-{proposal}",
        f"shop-ci-file-{proposal}-{CI}",
        f"shop-ci-file-{proposal}-.github/workflows/cd.yaml",
        "shop-ci-pull-request",
        "shop-ci-protection",
    }


def test_secrets_stay_secret() -> None:
    [secret] = recorded().of_type("github:index/actionsSecret:ActionsSecret")
    assert secret.inputs["value"] == Secret("a")


def test_without_a_repository_there_are_files_and_nothing_else() -> None:
    recording = recorded(repository=None, environments=APPROVED)
    assert made(recording) == set()
    assert recording.warnings == []


def test_files_are_sealed_and_kept() -> None:
    recording = recorded(delivery="direct")
    files = recording.of_type("github:index/repositoryFile:RepositoryFile")
    assert {item.inputs["file"] for item in files} == {CI, ".github/workflows/cd.yaml"}
    for item in files:
        assert not is_edited(item.inputs["content"])
        assert item.retain_on_delete
        assert "[skip ci]" in item.inputs["commitMessage"]


def test_a_secret_without_a_value_is_told_and_not_written() -> None:
    secrets = {"TOKEN": {"purpose": "for tests"}, "SHARED": {"scope": "environment"}}
    recording = recorded(secrets=secrets, secret_values={}, environments=APPROVED)
    assert not [name for name in made(recording) if "secret" in name]
    [told] = recording.warnings
    assert "secret TOKEN (for tests), secret SHARED" in told or (
        "secret SHARED (no purpose is told), secret TOKEN (for tests)" in told
    )
    optional = {name: {**it, "optional": True} for name, it in secrets.items()}
    recording = recorded(secrets=optional, secret_values={}, environments=APPROVED)
    assert recording.warnings == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"own_environments": ["producton"]},
            "own_environments: the pipeline has no environment 'producton'",
        ),
        ({"secret_values": {"TOKN": "x"}}, "secret_values: the pipeline has no secret 'TOKN'"),
        (
            {"variable_values": {"REGION": "x"}},
            "variable_values: the pipeline has no variable 'REGION'",
        ),
        (
            {"delivery": "direct", "protection": {}},
            "delivery: 'protection' lets nobody write to 'main' directly, this program neither",
        ),
        ({"repository": "me/shop"}, "'me/shop' is not a name that GitHub takes"),
        ({"edits": "overwritten"}, "edits: this is not one of the valid words"),
        ({"delivery": "pr"}, "valid: direct, pull_request"),
    ],
)
def test_mistakes_name_the_key_and_what_to_do(changes: dict[str, Any], told: str) -> None:
    assert told in mistakes(**changes)


def test_a_wrong_value_of_a_secret_is_not_repeated() -> None:
    with pytest.raises(DescriptionError) as caught:
        validated(
            CIPipelineSpec,
            {"system": "shop", "workflows": {"ci.yaml": TESTS}, "secret_values": {"TOKEN": 4711}},
            "CIPipeline shop",
        )
    assert "secret_values.TOKEN" in str(caught.value)
    assert "4711" not in str(caught.value)


MODELS = [
    *(workflow.Push, workflow.PullRequest, workflow.Triggers, workflow.Step, deployment.ImageTag),
    *(
        deployment.ImageBuild,
        deployment.Health,
        deployment.PulumiDeployment,
        deployment.KubectlDeployment,
    ),
    *(deployment.ComposeDeployment, deployment.Deployment, workflow.Job, workflow.Workflow),
    *(pipeline.PipelineSecret, pipeline.PipelineVariable, pipeline.DeploymentEnvironment),
    *(pipeline.Protection, pipeline.PushedTo),
]


@pytest.mark.parametrize("model", MODELS)
def test_arguments_are_the_models_fields(model: type[Model]) -> None:
    args = getattr(ci_pipeline, f"{model.__name__}Args")
    _compare(args, model)


def test_arguments_of_the_component_are_its_models_fields() -> None:
    _compare(CIPipelineArgs, CIPipelineSpec)


def _compare(args: Any, model: type[Model]) -> None:
    assert set(args.__annotations__) == set(model.model_fields)
    required = {key for key, field in model.model_fields.items() if field.is_required()}
    assert args.__required_keys__ == required


def checks(**workflows: Any) -> list[str]:
    spec = CIPipelineSpec.model_validate(
        {
            "system": "shop",
            "workflows": {f"{name}.yaml": workflow for name, workflow in workflows.items()},
            "environments": {"production": {"environment": "production"}},
        }
    )
    return required_checks(spec, ["main"])


def test_only_what_every_pull_request_runs_can_be_demanded() -> None:
    def on(jobs: dict[str, Any], **pull_request: Any) -> dict[str, Any]:
        return {"name": "x", "on": {**PUSH, "pull_request": pull_request}, "jobs": jobs}

    job: dict[str, Any] = {"steps": [STEP]}
    assert checks(ci=on({"tests": {**job, "name": "All tests"}, "lint": job})) == [
        "All tests",
        "lint",
    ]
    assert checks(ci=on({"tests": job}, branches=["main", "develop"])) == ["tests"]
    for described in (
        on({"tests": job}, branches=["develop"]),
        on({"tests": job}, paths=["backend/**"]),
        on({"tests": {**job, "events": ["push"]}}),
        on({"tests": {**job, "branches": ["main"]}}),
        on({"tests": {**job, "condition": "github.actor == 'me'"}}),
        on({"tests": {**job, "matrix": {"version": "${{ fromJSON('[1]') }}"}}}),
        on({"tests": {**job, "name": "Tests for ${{ github.actor }}"}}),
        {key: value for key, value in DEPLOY.items() if key != "env"},
    ):
        assert checks(ci=described) == []
