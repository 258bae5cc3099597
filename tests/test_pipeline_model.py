"""Pipelines are refused where GitHub, or good sense, would refuse them: all mistakes together."""

import json
from pathlib import Path
from typing import Any

import pytest
from pulumi_tiers.doubts import doubts
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of, shown
from pulumi_tiers.model.pipeline import Pipeline
from pulumi_tiers.pipelines.checkout import check_checkout, pattern
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.plan import make_plan
from pulumi_tiers.settings import read_settings
from pydantic import ValidationError

IMAGE = "octo/shop"
BUILD = {"images": [{"image": IMAGE}]}
RUN = {"steps": [{"run": "true"}]}
PUSH = {"push": {"branches": ["main"]}}


def workflow(jobs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "CI", "on": PUSH, "jobs": jobs or {"test": RUN}, **more}


def described(workflows: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"workflows": workflows or {"ci.yml": workflow()}, **more}


def mistakes(description: dict[str, Any]) -> list[Mistake]:
    with pytest.raises(ValidationError) as caught:
        Pipeline.model_validate(description)
    return mistakes_of(caught.value)


def mistake(description: dict[str, Any]) -> Mistake:
    [found] = mistakes(description)
    return found


def in_job(**job: Any) -> dict[str, Any]:
    return described({"ci.yml": workflow({"test": job})})


# --- what is refused ------------------------------------------------------------------------------


def test_an_unknown_secret_is_refused_wherever_it_is_used() -> None:
    job = {
        "env": {"A": "${{ secrets.PASWORD }}"},
        "steps": [{"run": "true", "env": {"B": "x-${{ secrets.NONE || secrets.PASSWORD }}"}}],
        "images": [{"image": IMAGE, "args": {"C": "${{ vars.NOWHERE }}"}}],
    }
    found = mistakes(in_job(**job) | {"secrets": {"PASSWORD": {}}})
    at = "workflows.ci.yml.jobs.test"
    assert [(item.place, item.why) for item in found] == [
        (f"{at}.env.A", "there is no secret 'PASWORD'"),
        (f"{at}.steps[0].env.B", "there is no secret 'NONE'"),
        (f"{at}.images[0].args.C", "there is no variable 'NOWHERE'"),
    ]
    assert found[0].remedy == "did you mean 'PASSWORD'? valid: GITHUB_TOKEN, PASSWORD"


def test_all_secrets_at_once_are_refused() -> None:
    found = mistake(in_job(steps=[{"run": "true", "env": {"ALL": "${{ toJSON(secrets) }}"}}]))
    assert "uses all secrets at once" in found.why


def test_needs_go_to_jobs_that_are_there_and_never_in_a_circle() -> None:
    found = mistakes(
        described({"ci.yml": workflow({"a": {**RUN, "needs": ["tset"]}, "test": RUN})})
    )
    assert [item.why for item in found] == ["there is no job 'tset' in this workflow"]
    circle = {name: {**RUN, "needs": [need]} for name, need in (("a", "b"), ("b", "c"), ("c", "a"))}
    assert mistake(described({"ci.yml": workflow(circle)})).why == (
        "these jobs wait for each other: a -> b -> c -> a"
    )
    alone = {"a": {**RUN, "needs": ["a"]}}
    assert "a -> a" in mistake(described({"ci.yml": workflow(alone)})).why


@pytest.mark.parametrize(
    ("description", "why"),
    [
        (described({"ci.txt": workflow()}), "is not a name for a workflow's file"),
        (described({"../ci.yml": workflow()}), "is not a name for a workflow's file"),
        (described({"ci.yml": workflow({"1st": RUN})}), "GitHub takes for a job or a step"),
        (described({"ci.yml": workflow({"a b": RUN})}), "GitHub takes for a job or a step"),
        (described(secrets={"GITHUB_PAT": {}}), "GitHub takes for a secret or a variable"),
        (described(secrets={"lower": {}}), "GitHub takes for a secret or a variable"),
        (described(variables={"1ST": {}}), "GitHub takes for a secret or a variable"),
        (described(environments={"a/b": {"environment": "production"}}), "environment on GitHub"),
        (in_job(steps=[{"uses": "checkout"}]), "is not an action"),
        (in_job(steps=[{"uses": "actions/checkout@v4"}]), "names a version"),
        (in_job(**RUN, runs_on=["my runner!"]), "is not a runner's label"),
        (in_job(**RUN, environment="prod"), "there is no environment 'prod'"),
        (in_job(images=[{"image": "octo/shop:1"}]), "has a tag"),
        (in_job(images=[{"image": "Octo/Shop"}]), "is not an image reference"),
        (in_job(images=[{"image": IMAGE, "context": "../up"}]), "not a path inside the repository"),
        (in_job(images=[{"image": IMAGE, "context": "/etc"}]), "not a path inside the repository"),
        (in_job(steps=[]), "the job does nothing"),
        (in_job(steps=[{"name": "nothing"}]), "uses an action or runs a script"),
        (in_job(**RUN, needs=["test", 1]), "valid string"),
    ],
)
def test_names_that_github_refuses_are_refused_before(
    description: dict[str, Any], why: str
) -> None:
    assert why in " ".join(item.why for item in mistakes(description))


@pytest.mark.parametrize(
    ("cron", "right"),
    [
        ("30 3 * * 1", True),
        ("*/15 0-6,22 1 JAN-MAR sun", True),
        ("0 0 31 12 7", True),
        ("60 3 * * *", False),
        ("0 24 * * *", False),
        ("0 0 0 * *", False),
        ("* * * *", False),
        ("@daily", False),
        ("0 5-3 * * *", False),
        ("0 0 * * */0", False),
        ("0 0 * foo *", False),
        ("0  0 * * *", False),
    ],
)
def test_schedules_are_crons(cron: str, *, right: bool) -> None:
    description = described({"ci.yml": workflow(on={"schedule": [cron]})})
    if right:
        assert Pipeline.model_validate(description).workflows["ci.yml"].on.schedule == [cron]
    else:
        found = mistake(description)
        assert found.place == "workflows.ci.yml.on.schedule[0]"
        assert "is not a schedule of cron" in found.why


def test_nothing_that_others_write_gets_into_a_shell() -> None:
    found = mistake(in_job(steps=[{"run": 'echo "${{ github.event.pull_request.title }}"'}]))
    assert found.why == "a shell executes what an expression brings, whoever wrote that"
    assert "'env'" in found.remedy


def test_a_deployment_needs_a_build() -> None:
    deploy = {"pulumi": {"stack": "prod"}, "images": {"shop/web": IMAGE}}
    jobs: dict[str, Any] = {"build": BUILD, "deploy": {"deploy": deploy}}
    found = mistake(described({"cd.yml": workflow(jobs)}))
    assert found.place == "workflows.cd.yml.jobs.deploy.deploy.images.shop/web"
    assert found.why == f"no job before this one builds '{IMAGE}'"
    jobs["deploy"]["needs"] = ["build"]
    assert Pipeline.model_validate(described({"cd.yml": workflow(jobs)}))
    # One that isn't pushed is not there for anybody else.
    jobs["build"] = {"images": [{"image": IMAGE, "push": False}]}
    assert mistake(described({"cd.yml": workflow(jobs)})).why == found.why


def test_another_workflows_build_counts_where_it_is_awaited() -> None:
    deploy = {"pulumi": {"stack": "prod"}, "images": {"shop/web": IMAGE}}
    cd = {"gate": {"awaits": "ci.yml"}, "deploy": {"needs": ["gate"], "deploy": deploy}}
    both = {"ci.yml": workflow({"build": BUILD}), "cd.yml": workflow(cd, name="CD")}
    assert Pipeline.model_validate(described(both)).built_before("cd.yml", "deploy").keys() == {
        IMAGE
    }


def test_a_gate_waits_for_what_comes() -> None:
    def found(own: dict[str, Any], other: dict[str, Any]) -> str:
        cd = workflow({"gate": {"awaits": "ci.yml"}}, name="CD", on=own)
        return mistake(described({"ci.yml": workflow(on=other), "cd.yml": cd})).why

    paths = {"push": {"branches": ["main"], "paths": ["app/**"]}}
    assert found(PUSH, paths).startswith("ci.yml does not run for the same files")
    assert found({"push": {}}, PUSH) == "ci.yml does not run on all branches of this workflow"
    assert found({"dispatch": True}, PUSH) == "both workflows have to run on pushes"
    cd = workflow({"gate": {"awaits": "cd.yml"}})
    assert mistake(described({"cd.yml": cd})).why == "the workflow would wait for itself"
    cd = workflow({"gate": {"awaits": "c.yml"}})
    assert mistake(described({"cd.yml": cd})).why == "there is no workflow 'c.yml'"


def test_pull_requests_push_nothing_deploy_nothing_and_stay_off_own_machines() -> None:
    on: dict[str, Any] = {**PUSH, "pull_request": {}}
    deploy = {
        "needs": ["build"],
        "deploy": {"pulumi": {"stack": "prod"}, "images": {"shop/web": IMAGE}},
    }
    own = {**RUN, "runs_on": ["self-hosted"]}
    jobs: dict[str, Any] = {"build": BUILD, "deploy": deploy, "own": own}
    found = mistakes(described({"ci.yml": workflow(jobs, on=on)}))
    assert {(item.place, item.why) for item in found} == {
        ("workflows.ci.yml.jobs.build.events", "every pull request would push images"),
        ("workflows.ci.yml.jobs.deploy.events", "every pull request would be deployed"),
        (
            "workflows.ci.yml.jobs.own.runs_on",
            "anybody's pull request would run its code on your own machine",
        ),
    }
    jobs = {name: {**job, "events": ["push"]} for name, job in jobs.items()}
    assert Pipeline.model_validate(described({"ci.yml": workflow(jobs, on=on)}))


def test_mutable_tags_alone_are_refused() -> None:
    tags = [{"name": "latest"}, {"name": "{sha}", "branches": ["main"]}]
    found = mistake(in_job(images=[{"image": IMAGE, "tags": tags}]))
    assert found.why.startswith("all tags are mutable")
    tags = [{"name": "{branch}-{sha}"}]
    slash = workflow({"build": {"images": [{"image": IMAGE, "tags": tags}]}})
    slash["on"] = {"push": {"branches": ["feature/x"]}}
    assert mistake(described({"ci.yml": slash})).why == (
        "the branch 'feature/x' makes no tag of an image"
    )
    slash["on"] = {"push": {"branches": ["main"], "tags": ["v1", "release/*"]}}
    found = mistake(described({"ci.yml": slash}))
    assert found.why == "the git tag 'release/*' makes no tag of an image"
    assert found.remedy == "leave {branch} out of its tags, or the git tag"
    slash["on"] = {"push": {"tags": ["v1"]}}
    assert Pipeline.model_validate(described({"ci.yml": slash}))


@pytest.mark.parametrize(
    ("deploy", "why"),
    [
        ({"images": {"a": IMAGE}}, "there is one way to deploy"),
        ({"pulumi": {"stack": "prod"}}, "no image is deployed"),
        (
            {"compose": {"project": "shop"}, "images": {"web": IMAGE}, "health": [{"path": "/"}]},
            "Compose tells no URL",
        ),
        (
            {"pulumi": {"stack": "prod"}, "images": {"a/b": IMAGE}, "health": [{}]},
            "it isn't said what is asked",
        ),
    ],
)
def test_deployments_say_how_and_what(deploy: dict[str, Any], why: str) -> None:
    jobs = {"build": BUILD, "deploy": {"needs": ["build"], "deploy": deploy}}
    assert why in mistake(described({"ci.yml": workflow(jobs)})).why


# --- what a stack says ----------------------------------------------------------------------------


def told(**config: Any) -> list[str]:
    with pytest.raises(DescriptionError) as caught:
        make_plan("dev", read_settings({f"tiers:{key}": value for key, value in config.items()}))
    return [f"{item.place}: {item.why}" for item in caught.value.mistakes]


def test_what_no_pipeline_uses_is_refused() -> None:
    github = {
        "owner": "octo",
        "repositories": {"shop": "shop"},
        "secrets": {"DOCKER_PASWORD": "x", "encontros-tech/K8S_CLUSTER_ID": "x"},
        "variables": {"NOTHING": "x"},
        "scopes": {"NONE": "organization"},
        "state_bucket": "octo-state",
    }
    pipelines = {"encontros-tech": {"reviewers": {"prod": ["octocat"]}, "images": {"app": "a/b"}}}
    assert told(github=json.dumps(github), pipelines=json.dumps(pipelines)) == [
        "tiers:github.repositories.shop: the stack has no system 'shop'",
        "tiers:github.scopes.NONE: no pipeline of the stack uses it",
        "tiers:github.secrets.DOCKER_PASWORD: no pipeline of the stack uses it",
        "tiers:github.state_bucket: there are no buckets of DigitalOcean on docker",
        "tiers:github.variables.NOTHING: no pipeline of the stack uses it",
        "tiers:pipelines.encontros-tech.images.app:"
        " the pipeline builds no image of a service 'app'",
        "tiers:pipelines.encontros-tech.reviewers.prod: the pipeline has no environment 'prod'",
    ]


def test_a_stack_writes_for_the_runs_that_bring_it_up() -> None:
    pipelines = {"encontros-tech": {"stacks": {"development": "staging"}}}
    assert told(github='{"owner": "octo"}', pipelines=json.dumps(pipelines)) == [
        "tiers:pipelines.encontros-tech.stacks.development:"
        " runs for development bring up the stack 'staging', and this one is 'dev'"
    ]
    # Nothing is written anywhere.
    assert make_plan("review", read_settings({"tiers:pipelines": '{"encontros-tech": {}}'}))


def test_a_protected_branch_takes_no_direct_writes() -> None:
    pipelines = '{"encontros-tech": {"protection": {"reviews": 2}}}'
    assert told(github='{"owner": "octo", "delivery": "direct"}', pipelines=pipelines) == [
        "tiers:github.delivery:"
        " 'encontros-tech' protects 'main', which refuses files that are just written"
    ]


@pytest.mark.parametrize(
    ("registry", "there"),
    [
        ({"login": "github"}, "ghcr.io"),
        ({"login": "aws"}, "Amazon's"),
        ({"host": "registry.example.com"}, "registry.example.com"),
    ],
)
def test_images_go_where_jobs_log_in(registry: dict[str, str], there: str) -> None:
    image = "marcospaulo1991/encontros-tech"
    pipelines = {"encontros-tech": {"registry": registry}}
    assert told(github='{"owner": "octo"}', pipelines=json.dumps(pipelines)) == [
        "tiers:pipelines.encontros-tech: workflows.ci.yaml.jobs.build.images[0].image:"
        f" '{image}' would be pushed to docker.io, and the login is for {there}"
    ]


def test_production_that_nobody_approves_is_told_and_with_strict_refused() -> None:
    why = "nobody has to approve what is deployed to the environment 'production'"
    assert told(github='{"owner": "octo", "strict": true}') == [
        f"tiers:pipelines.encontros-tech: {why}"
    ]
    reviewers = '{"encontros-tech": {"reviewers": {"production": ["octocat", "octo/ops"]}}}'
    settings = read_settings(
        {"tiers:github": '{"owner": "octo", "strict": true}', "tiers:pipelines": reviewers}
    )
    pipeline = make_plan("dev", settings).systems[0].pipeline
    assert pipeline is not None
    assert pipeline.environments["production"].reviewers == ["octocat", "octo/ops"]


def test_docker_that_ends_with_a_run_is_told() -> None:
    def told_of(target: str, runs_on: str) -> list[str]:
        pipelines = {"encontros-tech": {"runs_on": [runs_on]}}
        given = {"tiers:github": '{"owner": "octo"}', "tiers:pipelines": json.dumps(pipelines)}
        plan = make_plan("dev", read_settings({**given, "tiers:target": target}))
        return [text for text in doubts(plan.systems, plan.target) if "ends with the run" in text]

    told = told_of("docker", "ubuntu-latest")
    assert [text.partition(" brings")[0] for text in told] == [
        "encontros-tech: cd-homologacao.yaml: deploy-homologacao",
        "encontros-tech: infra-up.yaml: up-dev",
    ]
    assert told_of("docker", "self-hosted") == []
    # A label of a machine of one's own, without GitHub's word for those.
    assert told_of("docker", "shop-host") == []
    assert told_of("kubernetes", "ubuntu-latest") == []


def test_without_github_there_is_no_pipeline() -> None:
    assert make_plan("dev", read_settings({})).systems[0].pipeline is None


def test_what_a_document_calls_future_is_off_until_it_is_asked_for() -> None:
    base = {"tiers:systems": '["nutrifitcoach"]', "tiers:github": '{"owner": "octo"}'}
    with pytest.raises(DescriptionError, match="no system of the stack has a pipeline"):
        make_plan("dev", read_settings(base))
    settings = read_settings({**base, "tiers:pipelines": '{"nutrifitcoach": {}}'})
    assert make_plan("dev", settings).systems[0].pipeline is not None


# --- what fits a checkout -------------------------------------------------------------------------


def test_paths_that_a_repository_does_not_have_are_told(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("")
    description = described(
        {
            "ci.yml": workflow(
                {
                    "build": {
                        "images": [{"image": IMAGE, "context": "app"}],
                        "steps": [{"run": "pytest", "working_directory": "ap"}],
                    }
                },
                on={"push": {"branches": ["main"], "paths": ["app/**", "ap/**", "!app/**.md"]}},
            )
        }
    )
    found = list(check_checkout("shop", Pipeline.model_validate(description), tmp_path))
    at = "shop: workflows.ci.yml"
    assert [(item.place, item.why) for item in found] == [
        (f"{at}.on.push.paths[1]", f"'ap/**' matches no file of {tmp_path}"),
        (f"{at}.on.push.paths[2]", f"'!app/**.md' matches no file of {tmp_path}"),
        (f"{at}.jobs.build.steps[0].working_directory", f"{tmp_path} has no 'ap'"),
        (f"{at}.jobs.build.images[0].dockerfile", f"{tmp_path} has no 'app/Dockerfile'"),
    ]
    assert found[0].remedy == "did you mean 'app/**'? valid: app/**"


def test_a_stack_of_any_target_names_its_checkout(tmp_path: Path) -> None:
    infra = tmp_path / "infra"
    infra.mkdir()

    def told(checkout: str, **more: str) -> list[str]:
        pipelines = {"encontros-tech": {"checkout": checkout}} if checkout else {}
        given = {"tiers:github": '{"owner": "octo"}', "tiers:pipelines": json.dumps(pipelines)}
        settings = read_settings({"tiers:target": "digitalocean", **given, **more})
        with pytest.raises(DescriptionError) as caught:
            make_plan("dev", settings, infra)
        return [str(item) for item in caught.value.mistakes]

    path = "workflows.ci.yaml.on.push.paths[0]: '02-encontros-tech/**' matches no file of"
    assert any(f"{path} {tmp_path}" in line for line in told(".."))
    [missing] = told("nowhere")
    # Long paths are shown in part.
    nowhere = f"there is no folder {shown(f'{infra}/nowhere')}"
    assert f"tiers:pipelines.encontros-tech.checkout: {nowhere}" in missing
    # The other folder is no reason for a traceback either.
    lines = told("", **{"tiers:target": "docker", "tiers:sources": '{"encontros-tech": "nowhere"}'})
    assert any(nowhere in line for line in lines)


@pytest.mark.parametrize(
    ("glob", "path", "matches"),
    [
        ("app/**", "app/a/b.py", True),
        ("app/**", "application/a.py", False),
        ("*.py", "a.py", True),
        ("*.py", "app/a.py", False),
        ("**.py", "app/a.py", True),
        ("**/README.md", "README.md", True),
        ("**/README.md", "docs/README.md", True),
        ("*.jsx?", "page.js", True),
        ("*.jsx?", "page.jsx", True),
        ("[abc].txt", "b.txt", True),
        ("[abc].txt", "d.txt", False),
        ("a+.txt", "aaa.txt", True),
    ],
)
def test_patterns_are_githubs(glob: str, path: str, *, matches: bool) -> None:
    assert bool(pattern(glob).fullmatch(path)) is matches


# --- what it becomes ------------------------------------------------------------------------------


def delivered(**more: Any) -> Pipeline:
    hosts = {"github": "ghcr.io/", "aws": "1.dkr.ecr.eu-west-1.amazonaws.com/"}
    image = hosts.get(more.get("registry", {}).get("login"), "") + IMAGE
    deploy = {"pulumi": {"stack": "prod"}, "images": {"shop/web": image}}
    build = {"images": [{"image": image}]}
    jobs = {"build": build, "deploy": {"needs": ["build"], "deploy": deploy}}
    return Pipeline.model_validate(described({"cd.yml": workflow(jobs)}, **more))


def test_what_deployments_need_is_declared_by_itself() -> None:
    names = {"DOCKER_USERNAME", "DOCKER_PASSWORD", "DIGITALOCEAN_ACCESS_TOKEN", "PIPELINES_TOKEN"}
    bucket = {"PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"}
    bucket |= {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert completed(delivered()).secrets.keys() == names | bucket
    cloud = completed(delivered(backend="cloud", cluster="kubeconfig"))
    names -= {"DIGITALOCEAN_ACCESS_TOKEN"}
    assert cloud.secrets.keys() == names | {"PULUMI_ACCESS_TOKEN", "KUBECONFIG"}
    proved = completed(delivered(backend="cloud_oidc", registry={"login": "aws"}))
    assert proved.secrets.keys() == {"DIGITALOCEAN_ACCESS_TOKEN", "PIPELINES_TOKEN"}
    assert proved.variables.keys() == {"PULUMI_ORGANIZATION", "AWS_ROLE_ARN", "AWS_REGION"}
    told = completed(delivered(notify=["discord"]))
    assert told.secrets["DISCORD_WEBHOOK_URL"].optional


def test_a_program_that_makes_buckets_gets_the_keys_for_that() -> None:
    keys = {"SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY"}
    assert completed(delivered(spaces=True)).secrets.keys() >= keys
    assert not keys & completed(delivered()).secrets.keys()
    github = '{"owner": "octo", "state_bucket": "octo-state"}'
    production = {"tiers:environment": "production", "tiers:target": "digitalocean"}
    plan = make_plan("prod", read_settings({**production, "tiers:github": github}))
    pipeline = plan.systems[0].pipeline
    assert pipeline is not None
    assert pipeline.secrets.keys() >= keys


def test_jobs_may_do_what_they_need_and_no_more() -> None:
    def allowed(name: str, **more: Any) -> dict[str, str]:
        job = expanded(delivered(**more))["cd.yml"].jobs[name]
        return {part.value: access.value for part, access in job.permissions.items()}

    assert allowed("build") == {"contents": "read"}
    assert allowed("build", registry={"login": "github"}) == {
        "contents": "read",
        "packages": "write",
    }
    assert allowed("deploy", registry={"login": "github"}) == {
        "contents": "read",
        "packages": "read",
    }
    assert allowed("deploy", backend="cloud_oidc") == {"contents": "read", "id-token": "write"}
    assert allowed("notify", notify=["slack"]) == {}


def test_two_deployments_to_one_stack_never_run_at_once() -> None:
    workflow = expanded(delivered())["cd.yml"]
    assert workflow.jobs["deploy"].concurrency == "pulumi-prod"
    assert workflow.cancel_in_progress is False
    assert workflow.jobs["build"].concurrency is None


def test_two_deployments_to_one_place_never_run_at_once() -> None:
    """And to two places never wait: GitHub would cancel what waits when a third comes."""
    kubectl = {"namespace": "shop", "deployment": "api", "container": "api", "service": "api"}
    prod = {"pulumi": {"stack": "prod", "program_only": True}}
    place = {"needs": ["build"], "environment": "production"}
    jobs: dict[str, Any] = {
        "build": BUILD,
        "one": {**place, "deploy": {"images": {"api": IMAGE}, "kubectl": kubectl}},
        "other": {**place, "deploy": prod},
        # The same stack, without approval.
        "third": {"deploy": prod},
        "own": {**place, "deploy": prod, "concurrency": "mine"},
    }
    environments = {"production": {"environment": "production"}}
    made = Pipeline.model_validate(described({"cd.yml": workflow(jobs)}, environments=environments))
    groups = {name: job.concurrency for name, job in expanded(made)["cd.yml"].jobs.items()}
    assert groups == {
        "build": None,
        "one": "kubectl-shop",
        **dict.fromkeys(("other", "third"), "pulumi-prod"),
        "own": "mine",
    }
    clash = workflow({"other": {**jobs["other"], "needs": []}}, concurrency="Pulumi-Prod")
    found = mistake(described({"cd.yml": clash}, environments=environments))
    assert found.why.startswith("the job would wait for its own workflow")
