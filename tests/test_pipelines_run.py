"""The documented pipelines, run: what they call, in which order, and what a failure stops."""

import glob
import json
import shlex
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from events import SHA, Event
from expressions import expand
from pulumi_tiers.model.pipeline import Channel, Owner
from pulumi_tiers.systems.pipelines import PIPELINES
from repository import CHANGES, OLD, GitHub, ci, digest
from runner import TOKEN, ActionFailed, Gate, Run, Runner, Uses, loaded
from sandbox import ROOT
from stubs import Answer

#: What brings something to run, or takes it away.
DEPLOYS = ("pulumi", "tiers images", "kubectl", "doctl", "docker compose up", "docker compose down")


Opened = Callable[..., GitHub]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    def opened(system: str, **options: Any) -> GitHub:
        return GitHub(tmp_path, system, options)

    return opened


def words(run: Run, *starts: str) -> list[str]:
    """The lines of what it did that start so."""
    return [line for line in run.lines() if line.startswith(starts)]


def deployed(runs: Iterable[Run]) -> list[str]:
    return [line for run in runs for line in words(run, *DEPLOYS)]


def pushed(runs: Iterable[Run]) -> list[str]:
    """The tags that were pushed."""
    return [
        tag
        for run in runs
        for uses in run.uses("docker/build-push-action")
        if uses.given["push"] == "true"
        for tag in uses.given["tags"].splitlines()
        if tag
    ]


def failing(_: Uses) -> None:
    raise ActionFailed("told to fail")


# --- Encontros Tech -------------------------------------------------------------------------------

EN = "marcospaulo1991/encontros-tech"
BRANCHES = [
    ("develop", "cd-homologacao.yaml", "homologacao", "dev"),
    ("main", "cd-production.yaml", "production", "prod"),
]


@pytest.mark.parametrize(
    ("branch", "aliases"), [("develop", ["develop"]), ("main", ["main", "latest"])]
)
def test_encontros_tech_is_tested_built_and_pushed(
    opened: Opened, branch: str, aliases: list[str]
) -> None:
    run = opened("encontros-tech").run("ci.yaml", branch)
    assert run.result == "success"
    assert run.lines() == [
        *("uses actions/checkout", "uses actions/setup-python"),
        *("pip install -r requirements.txt", "pytest"),
        *("uses actions/checkout", "uses docker/setup-buildx-action"),
        *("uses docker/login-action", "uses docker/build-push-action"),
    ]
    for call in run.calls("p"):
        assert call.cwd.endswith("/02-encontros-tech")
    assert run.uses("actions/setup-python")[0].given["python-version"] == "3.11"
    build = run.uses("docker/build-push-action")[0]
    assert build.given["context"] == "02-encontros-tech"
    assert pushed([run]) == [f"{EN}:{tag}" for tag in (*aliases, f"{branch}-{SHA}")]
    login = run.uses("docker/login-action")[0].given
    assert login["username"] == "the-docker_username-itself"
    assert login["password"] == "the-docker_password-itself"


@pytest.mark.parametrize(("branch", "file", "environment", "stack"), BRANCHES)
def test_encontros_tech_is_deployed_when_its_commit_is_tested(
    opened: Opened, branch: str, file: str, environment: str, stack: str
) -> None:
    github = opened("encontros-tech")
    run = github.run(file, branch)
    assert run.result == "success", run.log
    assert run.jobs[f"deploy-{environment}"].environment == environment
    image = digest(f"{EN}:{branch}-{SHA}")
    asked = words(run, "gh run list")
    assert len(asked) == 3, "it asks again until the run has ended"
    # A merge without a commit of its own leaves one commit on both branches.
    which = f"--workflow ci.yaml --branch {branch} --commit {SHA} "
    assert all(which in line for line in asked)
    assert words(run, "docker", "tiers", "pulumi", "kubectl", "doctl") == [
        f"docker buildx imagetools inspect {EN}:{branch}-{SHA} --format '{{{{.Manifest.Digest}}}}'",
        f"pulumi stack output --json --stack {stack}",
        f"tiers images --deployed --stack {stack} encontros-tech/encontros-tech={image}",
        f"pulumi up --yes --non-interactive --stack {stack}",
        f"pulumi stack output urls --json --stack {stack}",
    ]
    # L132: five minutes, then an interrupt, which lets Pulumi write down what it has done.
    limits = [each for each in run.processes if each[0] == "timeout"]
    assert [each[1:4] for each in limits] == [["--signal=INT", "--kill-after=2m", "5m"]]
    assert run.lines()[-1].endswith("http://encontros-tech.example/")
    up = run.calls("pulumi up")[0].env
    assert up["PULUMI_BACKEND_URL"] == "the-pulumi_backend_url-itself"
    assert up["DIGITALOCEAN_TOKEN"] == "the-digitalocean_access_token-itself"


def test_one_commit_on_two_branches_is_tested_on_each(opened: Opened) -> None:
    ci_text = opened("encontros-tech").texts["ci.yaml"]
    groups = {
        expand(loaded(ci_text)["concurrency"]["group"], {"github": github})
        for github in (
            {"ref": "refs/heads/develop", "sha": SHA, "run_id": "1"},
            {"ref": "refs/heads/main", "sha": SHA, "run_id": "2"},
        )
    }
    assert len(groups) == 2


@pytest.mark.parametrize(("branch", "file", "namespace", "_stack"), BRANCHES)
def test_encontros_tech_is_deployed_by_the_documented_commands(
    opened: Opened, branch: str, file: str, namespace: str, _stack: str
) -> None:
    run = opened("encontros-tech", owner="kubectl").run(file, branch)
    assert run.result == "success", run.log
    at = f"--namespace {namespace}"
    lines = words(run, "doctl", "kubectl apply", "kubectl set", "kubectl rollout", "kubectl patch")
    patch = lines.pop(3)
    assert lines == [
        "doctl kubernetes cluster kubeconfig save the-k8s_cluster_id-itself",
        f"kubectl apply --filename 02-encontros-tech/k8s/{namespace}/manifests.yaml {at}",
        "kubectl set image deployment/encontros-tech"
        f" encontros-tech={digest(f'{EN}:{branch}-{SHA}')} {at}",
        f"kubectl rollout status deployment/encontros-tech {at} --timeout 5m",
    ]
    assert patch.startswith(f"kubectl patch deployment encontros-tech {at} --patch")
    assert (
        "restartedAt"
        in json.loads(shlex.split(patch)[-1])["spec"]["template"]["metadata"][
            "annotations"
        ].popitem()[0]
    )
    assert run.lines()[-1].endswith(" http://203.0.113.6/")
    assert not words(run, "pulumi", "tiers")
    token = run.uses("digitalocean/action-doctl")[0].given["token"]
    assert token == "the-digitalocean_access_token-itself"


@pytest.mark.parametrize("owner", [*Owner])
def test_encontros_tech_goes_back_to_what_ran(opened: Opened, owner: Owner) -> None:
    """A deployment that fails, and one that comes up but isn't well."""
    github = opened("encontros-tech", owner=owner.value)
    back = {
        Owner.PULUMI: [
            f"tiers images --stack prod encontros-tech/encontros-tech={EN}:old@{OLD}",
            "pulumi up --yes --non-interactive --stack prod",
        ],
        Owner.KUBECTL: [
            "kubectl rollout undo deployment/encontros-tech --namespace production --to-revision 7",
            "kubectl rollout status deployment/encontros-tech --namespace production --timeout 5m",
        ],
    }[owner]
    for command in (
        {Owner.PULUMI: "pulumi up", Owner.KUBECTL: "kubectl rollout status"}[owner],
        "curl",
    ):
        # The first time only: going back works.
        github.tools.answer("gh run list", ci())
        github.tools.answer(command, Answer(code=1), "")
        run = github.run("cd-production.yaml")
        assert run.result == "failure", command
        assert run.lines()[-2:] == back, command
        assert not words(run, "pulumi destroy", "kubectl delete")
        github.tools.answer(command, "")


@pytest.mark.parametrize("owner", [*Owner])
def test_encontros_tech_has_nothing_to_go_back_to_at_first(opened: Opened, owner: Owner) -> None:
    github = opened("encontros-tech", owner=owner.value)
    github.tools.answer("pulumi stack output --json", "{}")
    github.tools.answer("kubectl get deployment", "")
    github.tools.fail("curl")
    run = github.run("cd-production.yaml")
    assert run.result == "failure"
    assert run.lines()[-1].startswith("curl")


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        (ci(conclusion="failure"), 1),
        (ci(conclusion="cancelled"), 1),
        (ci(conclusion="skipped"), 1),
        (ci("queued", ""), 3),
        ("[]", 3),
    ],
)
def test_nothing_is_deployed_that_ci_has_not_passed(opened: Opened, state: str, asked: int) -> None:
    github = opened("encontros-tech")
    # It asks for half an hour and more; here three times.
    (github.tools.bin / "seq").write_text("#!/bin/sh\necho 1 2 3\n")
    github.tools.answer("gh run list", state)
    run = github.run("cd-production.yaml")
    assert run.jobs["gate"].result == "failure"
    assert run.jobs["deploy-production"].result == "skipped"
    assert len(words(run, "gh")) == asked
    assert deployed([run]) == []


@pytest.mark.parametrize("command", ["pip install", "pytest"])
def test_what_fails_its_tests_is_not_built(opened: Opened, command: str) -> None:
    github = opened("encontros-tech")
    github.tools.fail(command)
    run = github.run("ci.yaml", "develop")
    assert (run.jobs["test"].result, run.jobs["build"].result) == ("failure", "skipped")
    assert not run.uses("docker/login-action")
    assert pushed([run]) == []


def test_encontros_tech_starts_for_its_folder_and_its_branches_only(opened: Opened) -> None:
    github = opened("encontros-tech")
    for branch, file, _, _ in BRANCHES:
        event = Event("push", branch, changed=CHANGES[github.system])
        assert [
            name for name, text in github.texts.items() if event.starts(loaded(text)["on"])
        ] == [
            "ci.yaml",
            file,
        ]
    assert github.push("main", "01-other/main.py", "README.md") == {}
    assert github.push("feature") == {}
    for name in ("pull_request", "workflow_run"):
        assert github.happens(Event(name, "develop", changed=CHANGES[github.system])) == {}


def test_encontros_tech_by_hand_on_another_branch_is_tested_only(opened: Opened) -> None:
    runs = opened("encontros-tech").happens(Event("workflow_dispatch", "feature"))
    assert [*runs] == ["ci.yaml", "cd-homologacao.yaml", "cd-production.yaml", "infra-up.yaml"]
    assert words(runs["ci.yaml"], "pytest") == ["pytest"]
    assert pushed(runs.values()) == []
    assert deployed(runs.values()) == []


def test_encontros_tech_by_hand_is_deployed_as_by_a_push(opened: Opened) -> None:
    github = opened("encontros-tech")
    # What was started by hand counts as well as what a push has started.
    github.tools.answer("gh run list", ci(event="workflow_dispatch"))
    runs = github.happens(Event("workflow_dispatch", "develop"))
    assert [tag.partition(":")[2] for tag in pushed(runs.values())] == ["develop", f"develop-{SHA}"]
    assert deployed([runs["cd-production.yaml"]]) == []
    assert words(runs["cd-homologacao.yaml"], "pulumi up")


@pytest.mark.parametrize(("approval", "result"), [("waiting", "waiting"), ("rejected", "failure")])
def test_production_waits_for_its_approval(opened: Opened, approval: str, result: str) -> None:
    github = opened("encontros-tech")
    github.gates["production"] = Gate(approval)
    run = github.run("cd-production.yaml")
    assert run.jobs["deploy-production"].result == result
    assert deployed([run]) == []


# --- OColecionador --------------------------------------------------------------------------------

OC = "patrickcaloriocarvalho/ocolecionador"
FOLDERS = {
    "backend": "OColecionadorBackEnd",
    "frontend": "OColecionadorFrontEnd",
    "augmentations": "OColecionadorAugmentations",
    "classifier": "OColecionadorClassifier",
    "training": "OColecionadorTraining",
}
COMPOSE = "docker compose up --detach --no-build --wait --wait-timeout 600"


def test_ocolecionador_builds_its_app(opened: Opened) -> None:
    github = opened("ocolecionador")
    for branch in ("main", "develop"):
        runs = github.push(branch, "OColecionadorMobile/App.tsx")
        assert [*runs] == ["BuildExpoReactNativeAPK.yml"]
    run = runs["BuildExpoReactNativeAPK.yml"]
    assert run.result == "success", run.log
    assert run.uses("actions/setup-node")[0].given["node-version"] == "20"
    install, cli, build = words(run, "npm", "eas")
    assert install == "npm install"
    assert cli.startswith("npm install --global eas-cli")
    # OC-26.
    assert build == (
        "eas build --platform android --profile preview --non-interactive --local"
        " --output build/app-preview.apk"
    )
    assert all(call.cwd.endswith("/OColecionadorMobile") for call in run.calls("npm"))
    assert run.calls("eas")[0].env["EXPO_TOKEN"] == "the-expo_token-itself"
    upload = run.uses("actions/upload-artifact")[0].given
    assert upload["name"] == "app-preview.apk"
    assert (github.runner.artifacts / "app-preview.apk" / "app-preview.apk").is_file()


def test_ocolecionador_fails_without_an_app(opened: Opened) -> None:
    github = opened("ocolecionador")
    github.tools.answer("eas build", "done")
    run = github.push("main", "OColecionadorMobile/App.tsx")["BuildExpoReactNativeAPK.yml"]
    assert run.result == "failure"


def test_ocolecionador_pushes_all_five_images(opened: Opened) -> None:
    run = opened("ocolecionador").run("DeployDockerHub.yml")
    builds = {each.given["context"]: each.given for each in run.uses("docker/build-push-action")}
    # OC-24.
    assert [*builds] == [*FOLDERS.values()]
    assert pushed([run]) == [f"{OC}-{name}:{tag}" for name in FOLDERS for tag in ("latest", SHA)]
    # OC-25.
    assert builds["OColecionadorFrontEnd"]["build-args"].splitlines() == [
        "GITHUB_CLIENT_ID=the-oc_github_client_id-itself",
        "GOOGLE_CLIENT_ID=the-oc_google_client_id-itself",
    ]


def test_ocolecionador_comes_up_on_its_own_machine(opened: Opened) -> None:
    run = opened("ocolecionador").run("SelfHostedDockerCompose.yml")
    assert run.result == "success", run.log
    assert run.jobs["docker-compose"].definition["runs-on"] == "self-hosted"
    assert run.jobs["gate"].definition["runs-on"] == "ubuntu-latest"
    assert "--workflow DeployDockerHub.yml" in run.lines("gh")[0]
    assert words(run, "docker compose", "curl") == [
        "docker compose pull --policy missing",
        COMPOSE,
        *(
            "curl --fail --silent --show-error --output /dev/null --max-time 10 --retry 30"
            f" --retry-all-errors --retry-delay 10 {url}"
            for url in ("http://localhost:5000/api/health", "http://localhost:5002/health")
        ),
    ]
    # OC-28: neither a fixed wait nor what takes production down.
    assert not words(run, "sleep 10")
    up = run.calls("docker compose up")[0].env
    # OC-27: the seven documented ones, and those that were left out.
    for name in (
        *("OC_AUTH_USER", "OC_AUTH_PASSWORD", "OC_GITHUB_CLIENT_ID", "OC_GITHUB_CLIENT_SECRET"),
        *("OC_GOOGLE_CLIENT_ID", "OC_GOOGLE_CLIENT_SECRET", "OC_NGROK_TOKEN"),
        *("GLITCHTIP_SECRET_KEY", "SENTRY_DSN"),
    ):
        assert up[name] == f"the-{name.lower()}-itself"
    assert images_of(up) == {
        f"ocolecionador{name}": digest(f"{OC}-{name}:{SHA}") for name in FOLDERS
    }


def images_of(env: dict[str, str]) -> dict[str, str]:
    """What the last of Compose's files says."""
    services = json.loads(Path(env["COMPOSE_FILE"].split(":")[-1]).read_text())["services"]
    return {service: found["image"] for service, found in services.items()}


@pytest.mark.parametrize("command", ["docker compose up", "curl"])
def test_ocolecionador_goes_back_to_what_ran(opened: Opened, command: str) -> None:
    github = opened("ocolecionador")
    first = Event("push", sha="1" * 40, changed=CHANGES["ocolecionador"])
    file = "SelfHostedDockerCompose.yml"
    assert github.happens(first, file)[file].result == "success"
    github.tools.answer(command, Answer(code=1), "")
    for _ in range(2):
        run = github.run(file)
        assert run.result == "failure"
        assert words(run, "docker compose")[-2:] == ["docker compose logs --tail=100", COMPOSE]
        # What failed is not kept: a second failure goes back to the same.
        back = images_of(run.calls("docker compose up")[-1].env)
        assert back == {f"ocolecionador{x}": digest(f"{OC}-{x}:{'1' * 40}") for x in FOLDERS}
        assert not words(run, "docker compose down", "docker compose stop", "docker compose rm")
        github.tools.answer(command, Answer(code=1), "")


def test_ocolecionador_has_nothing_to_go_back_to_at_first(opened: Opened) -> None:
    github = opened("ocolecionador")
    github.tools.fail("curl")
    run = github.run("SelfHostedDockerCompose.yml")
    assert run.result == "failure"
    assert words(run, "docker compose")[1:] == [COMPOSE, "docker compose logs --tail=100"]


def test_a_pull_request_reaches_nothing_of_ocolecionador(opened: Opened) -> None:
    github = opened("ocolecionador")
    for fork in (True, False):
        for action in ("opened", "synchronize", "reopened"):
            event = Event("pull_request", fork=fork, action=action, changed=("docker-compose.yml",))
            runs = github.happens(event)
            assert not runs.keys() & {"SelfHostedDockerCompose.yml", "DeployDockerHub.yml"}
            assert deployed(runs.values()) == pushed(runs.values()) == []


def test_ocolecionador_is_not_deployed_without_its_images(opened: Opened) -> None:
    github = opened("ocolecionador")
    github.tools.fail("docker buildx imagetools inspect *-classifier*")
    run = github.run("SelfHostedDockerCompose.yml")
    assert run.result == "failure"
    assert not words(run, "docker compose")


# --- Vision ---------------------------------------------------------------------------------------

VISION_TEST = [
    *("uses actions/checkout", "uses actions/setup-python"),
    "pip install -r requirements.txt -r requirements-dev.txt",
    "python -m pytest tests/ -v --cov=vision",
]


@pytest.mark.parametrize("fork", [True, False])
def test_a_pull_request_of_vision_is_tested_and_no_more(opened: Opened, fork: bool) -> None:
    github = opened("vision", notify=["slack"])
    title = "$(curl evil)"
    event = Event("pull_request", "`id`", fork=fork, title=title)
    run = github.happens(event)["deploy.yml"]
    # VI-12.
    assert run.lines() == VISION_TEST
    assert [name for name, job in run.jobs.items() if job.result != "skipped"] == ["test"]
    assert run.jobs["test"].permissions == {"contents": "read"}
    for call in run.calls("p"):
        assert not {*github.secrets.values()} & {*call.env.values()}
        assert title not in call.env.values()


def test_vision_goes_through_development_to_production(opened: Opened) -> None:
    run = opened("vision").run("deploy.yml")
    assert run.result == "success", run.log
    assert run.lines()[: len(VISION_TEST)] == VISION_TEST
    # VI-13.
    assert pushed([run]) == [f"vision/api:{tag}" for tag in ("latest", "main", SHA)]
    image = f"vision/vision-api={digest(f'vision/api:{SHA}')}"
    assert words(run, "tiers", "pulumi up") == [
        line
        for stack in ("dev", "prod")
        for line in (
            f"tiers images --deployed --stack {stack} {image}",
            f"pulumi up --yes --non-interactive --stack {stack}",
        )
    ]
    # L509-515: less than five minutes, and less than ten.
    assert [each[3] for each in run.processes if each[0] == "timeout"] == ["5m", "10m"]
    asked = [line.split()[-1] for line in words(run, "curl")]
    assert asked == ["http://vision-api.example/health", "http://nginx.example/health"]
    environments = [job.environment for job in run.jobs.values() if job.environment]
    assert environments == ["development", "production"]


def test_the_other_branch_of_vision_stays_in_development(opened: Opened) -> None:
    branch = "refactor-vision-architecture"
    run = opened("vision").run("deploy.yml", branch)
    assert pushed([run]) == [f"vision/api:{tag}" for tag in (branch, SHA)]
    assert words(run, "pulumi up") == ["pulumi up --yes --non-interactive --stack dev"]
    assert run.jobs["deploy-prod"].result == "skipped"


@pytest.mark.parametrize(
    ("command", "results"),
    [
        ("python -m pytest", ["failure", "skipped", "skipped", "skipped"]),
        ("pulumi up * --stack dev", ["success", "success", "failure", "skipped"]),
        ("pulumi up * --stack prod", ["success", "success", "success", "failure"]),
    ],
)
def test_a_failure_stops_vision(opened: Opened, command: str, results: list[str]) -> None:
    github = opened("vision")
    github.tools.fail(command)
    run = github.run("deploy.yml")
    assert [run.jobs[x].result for x in ("test", "build", "deploy-dev", "deploy-prod")] == results
    assert bool(pushed([run])) is (results[1] == "success")
    if "prod" not in command:
        assert not any("--stack prod" in line for line in run.lines())


def test_vision_is_not_deployed_if_its_image_is_not_pushed(opened: Opened) -> None:
    github = opened("vision")
    github.runner.effects["docker/build-push-action"] = failing
    run = github.run("deploy.yml")
    assert deployed([run]) == []


# --- Pigmeu ---------------------------------------------------------------------------------------


def test_pigmeu_is_tested_in_its_container_and_deployed(opened: Opened) -> None:
    github = opened("pigmeu")
    assert github.push("develop") == {}
    assert github.happens(Event("pull_request")).keys() <= {"infra-preview.yaml"}
    run = github.run("deploy.yml")
    assert run.result == "success", run.log
    # PI-12.
    assert words(run, "docker compose") == [
        "docker compose -f infra/docker-compose.yml build",
        "docker compose -f infra/docker-compose.yml run --rm api pytest",
    ]
    assert pushed([run]) == [
        f"pigmeu/{x}:{tag}" for x in ("api", "worker") for tag in ("latest", SHA)
    ]
    api, worker = (digest(f"pigmeu/{name}:{SHA}") for name in ("api", "worker"))
    assert words(run, "tiers", "pulumi up") == [
        f"tiers images --deployed --stack prod pigmeu/api={api} pigmeu/migrations={api}"
        f" pigmeu/worker={worker}",
        "pulumi up --yes --non-interactive --stack prod",
    ]
    assert run.lines()[-1].endswith(" http://nginx.example/health")


@pytest.mark.parametrize("step", ["cp", "build", "run"])
def test_a_failure_stops_pigmeu(opened: Opened, step: str) -> None:
    github = opened("pigmeu")
    if step == "cp":
        (github.runner.checkout / ".env.example").unlink()
    else:
        github.tools.fail(f"docker compose -f infra/docker-compose.yml {step}")
    run = github.run("deploy.yml")
    assert [run.jobs[each].result for each in ("push", "deploy")] == ["skipped", "skipped"]
    assert pushed([run]) == deployed([run]) == []


# --- NutriFitCoach --------------------------------------------------------------------------------


def test_nutrifitcoach_comes_by_way_of_staging_into_production(opened: Opened) -> None:
    github = opened("nutrifitcoach")
    run = github.run("pipeline.yml")
    assert run.result == "success", run.log
    assert [*run.jobs] == [
        *("test", "build", "push", "deploy-staging", "integration-tests", "deploy-production")
    ]
    # Beside the tests nothing is pushed yet.
    assert [each.given["push"] for each in run.uses("docker/build-push-action")] == [
        *("false", "false", "true", "true")
    ]
    assert words(run, "npm", "docker compose", "tiers", "pulumi up")[:6] == [
        *("npm ci", "npm test", "docker compose pull --policy missing", COMPOSE),
        *("npm ci", "npm run test:integration"),
    ]
    assert words(run, "pulumi up") == ["pulumi up --yes --non-interactive --stack prod"]
    staging = images_of(run.calls("docker compose up")[0].env)
    production = run.calls("tiers images")[0].argv[4:]
    assert production == [f"nutrifitcoach/{name}={image}" for name, image in staging.items()]


@pytest.mark.parametrize("command", ["npm test", "npm run test:integration"])
def test_a_failure_keeps_nutrifitcoach_out_of_production(opened: Opened, command: str) -> None:
    github = opened("nutrifitcoach")
    github.tools.fail(command)
    run = github.run("pipeline.yml")
    assert not words(run, "pulumi")
    assert bool(pushed([run])) is (command != "npm test")


def test_nutrifitcoach_waits_for_approval_behind_its_integration_tests(opened: Opened) -> None:
    github = opened("nutrifitcoach")
    github.gates["production"] = Gate("waiting")
    run = github.run("pipeline.yml")
    assert run.jobs["integration-tests"].result == "success"
    assert run.jobs["deploy-production"].result == "waiting"
    assert not words(run, "pulumi")


# --- stacks ---------------------------------------------------------------------------------------

PREVIEW = "infra-preview.yaml"
STACKS = {
    "ocolecionador": ["prod"],
    "pigmeu": ["prod"],
    **{name: ["dev", "prod"] for name in ("vision", "nutrifitcoach", "encontros-tech")},
}


def changes_program(name: str = "pull_request", **event: Any) -> Event:
    event.setdefault("changed", ("infra/__main__.py",))
    return Event(name, **event)


@pytest.mark.parametrize("system", PIPELINES)
def test_a_pull_request_is_previewed(opened: Opened, system: str) -> None:
    github = opened(system)
    github.tools.answer("git diff", "__main__.py\n")
    run = github.happens(changes_program(), PREVIEW)[PREVIEW]
    assert run.result == "success", run.log
    assert [name for name in run.jobs if name != "stacks"] == [
        f"preview ({stack})" for stack in STACKS[system]
    ]
    assert words(run, "pulumi", "tiers") == [
        line
        for stack in STACKS[system]
        for line in (
            f"pulumi stack select --stack {stack} --non-interactive",
            f"tiers images --deployed --stack {stack}",
        )
    ]
    previews = [uses.given for uses in run.uses("pulumi/actions") if uses.given.get("command")]
    assert [(each["command"], each["stack-name"]) for each in previews] == [
        ("preview", stack) for stack in STACKS[system]
    ]
    assert all(each["comment-on-pr"] == "true" for each in previews)
    assert not run.uses("actions/upload-artifact")
    writes = {"contents": "read", "pull-requests": "write"}
    assert {json.dumps(job.permissions) for job in run.jobs.values()} == {
        json.dumps({"contents": "read"}),
        json.dumps(writes),
    }


@pytest.mark.parametrize(
    ("system", "branch", "stacks"),
    [
        ("encontros-tech", "develop", ["dev"]),
        ("encontros-tech", "main", ["prod"]),
        ("vision", "main", ["dev", "prod"]),
        ("nutrifitcoach", "main", ["dev", "prod"]),
        ("pigmeu", "main", ["prod"]),
        ("ocolecionador", "main", ["prod"]),
    ],
)
def test_what_is_merged_is_brought_up(
    opened: Opened, system: str, branch: str, stacks: list[str]
) -> None:
    github = opened(system)
    event = changes_program("push", branch=branch)
    run = github.happens(event, "infra-up.yaml")["infra-up.yaml"]
    assert run.result == "success", run.log
    # With the images that run: nothing was built.
    assert words(run, "tiers", "pulumi up", "docker") == [
        line
        for stack in stacks
        for line in (
            f"tiers images --deployed --stack {stack}",
            f"pulumi up --yes --non-interactive --stack {stack}",
        )
    ]


def test_a_stack_that_fails_stops_production(opened: Opened) -> None:
    github = opened("vision")
    github.tools.fail("pulumi up * --stack dev")
    run = github.happens(changes_program("push"), "infra-up.yaml")["infra-up.yaml"]
    assert run.result == "failure"
    assert words(run, "pulumi up") == ["pulumi up --yes --non-interactive --stack dev"]


# --- what holds for all ---------------------------------------------------------------------------

ALL = [(system, "pulumi") for system in PIPELINES] + [("encontros-tech", "kubectl")]


@pytest.mark.parametrize(
    ("outcome", "words_told"), [("success", "succeeded"), ("failure", "failed")]
)
def test_it_is_told_how_a_delivery_ended(opened: Opened, outcome: str, words_told: str) -> None:
    channels = [channel.value for channel in Channel]
    github = opened("vision", notify=channels)
    if outcome == "failure":
        github.tools.fail("python -m pytest")
    run = github.run("deploy.yml")
    assert run.result == outcome
    told = run.calls("curl --config -")
    assert len(told) == len(channels)
    for call, channel in zip(told, channels, strict=True):
        # The address is the secret: it comes by standard input.
        assert call.stdin == f'url = "the-{channel}_webhook_url-itself"\n'
        assert not any("http" in each for each in call.argv)
    message = json.loads(Path(told[-1].argv[-1].removeprefix("@")).read_text())
    assert (
        f" {words_told} (main): https://github.com/acme/shop/actions/runs/11" in message["content"]
    )


def test_one_channel_that_fails_does_not_keep_the_other_from_being_told(opened: Opened) -> None:
    github = opened("pigmeu", notify=["slack", "discord"])
    github.tools.answer("curl --config -", Answer(code=22), "")
    run = github.run("deploy.yml")
    assert len(run.calls("curl --config -")) == 2


def test_without_an_address_nobody_is_told(opened: Opened) -> None:
    github = opened("pigmeu", notify=["slack"])
    del github.secrets["SLACK_WEBHOOK_URL"]
    github.runner.secrets = github.secrets
    run = github.run("deploy.yml")
    assert run.result == "success"
    assert not run.calls("curl --config -")
    assert "SLACK_WEBHOOK_URL is not set" in run.log


def test_nobody_is_told_of_what_was_not_done(opened: Opened) -> None:
    runs = opened("encontros-tech", notify=["slack"]).happens(Event("workflow_dispatch", "other"))
    assert [line for run in runs.values() for line in words(run, "curl")] == []


@pytest.mark.parametrize(("system", "owner"), ALL)
def test_a_pull_request_pushes_and_deploys_nothing(opened: Opened, system: str, owner: str) -> None:
    github = opened(system, owner=owner, notify=["slack", "discord"])
    for fork in (True, False):
        for base in ("main", "develop"):
            event = Event("pull_request", "x", fork=fork, base=base, changed=CHANGES[system])
            runs = github.happens(event)
            assert pushed(runs.values()) == deployed(runs.values()) == []
            for run in runs.values():
                assert not run.uses("docker/login-action")
                assert not words(run, "curl")


@pytest.mark.parametrize(("system", "owner"), ALL)
def test_jobs_may_do_no_more_than_they_need(opened: Opened, system: str, owner: str) -> None:
    github = opened(system, owner=owner)
    for text in github.texts.values():
        workflow = loaded(text)
        assert workflow["permissions"] == {}
        for name, job in workflow["jobs"].items():
            allowed = {"contents": "read"} if "checkout" in text else {}
            given = job["permissions"]
            if name == "gate":
                allowed = {"actions": "read"}
            if name in ("preview", "comment"):
                allowed = {"contents": "read", "actions": "read", "pull-requests": "write"}
            assert given.items() <= allowed.items(), name


@pytest.mark.load
@pytest.mark.parametrize(
    ("system", "owner", "branch"),
    [*((system, owner, "main") for system, owner in ALL), ("encontros-tech", "pulumi", "develop")],
)
def test_whatever_fails_stops_what_comes_behind_it(
    opened: Opened, system: str, owner: str, branch: str
) -> None:
    """Each command and each action in turn."""
    github = opened(system, owner=owner)
    (github.tools.bin / "date").write_text("#!/bin/sh\necho 2026-01-01T00:00:00Z\n")
    event = Event("push", branch, changed=(*CHANGES[system], "infra/__main__.py"))
    for file, well in github.happens(event).items():
        assert well.result == "success", well.log
        github.tools.answer("gh run list", ci())
        commands = {str(call): call for call in well.calls("") if call.tool != "sleep"}
        for command, call in commands.items():
            pattern = glob.escape(" ".join([call.tool, *call.argv]))
            # It works again when it is tried a second time: going back.
            github.tools.answer(pattern, Answer(code=1), Answer())
            assert_stopped(github.happens(event, file)[file], command)
            github.tools.forget(pattern)
        for action in dict.fromkeys(str(x) for x in well.trace if isinstance(x, Uses)):
            working = dict(github.runner.effects)
            github.runner.effects[action.removeprefix("uses ")] = failing
            assert_stopped(github.happens(event, file)[file], action)
            github.runner.effects = working


def assert_stopped(run: Run, failed: str) -> None:
    """Asserts that only what goes back comes behind what failed."""
    assert run.result == "failure", failed
    lines = run.lines()
    assert not [line for line in lines if " down" in line or "destroy" in line], failed
    at = next(number for number, line in enumerate(lines) if line.startswith(failed))
    changes = ("pulumi up", "kubectl apply", "kubectl set", "kubectl rollout undo")
    changes = (*changes, "docker compose up")
    behind = [line for line in lines[at + 1 :] if line.startswith(changes)]
    begins = (*changes, "tiers images", "docker compose pull")
    began = any(line.startswith(begins) for line in lines[: at + 1])
    # What runs is changed once more only to go back, and only if its change had begun.
    assert len(behind) <= began, (failed, behind)
    later = [each for each in run.trace[at + 1 :] if isinstance(each, Uses)]
    assert not [each for each in later if each.given.get("push") == "true"], failed


# --- what a stack may choose ----------------------------------------------------------------------


def test_images_go_to_githubs_registry_without_a_secret(opened: Opened) -> None:
    images = {name: f"ghcr.io/acme/{name}" for name in ("api", "worker")}
    github = opened("pigmeu", registry={"login": "github"}, images=images)
    run = github.run("deploy.yml")
    assert run.result == "success", run.log
    assert not {"DOCKER_USERNAME", "DOCKER_PASSWORD"} & github.secrets.keys()
    for uses in run.uses("docker/login-action"):
        assert uses.given == {"registry": "ghcr.io", "username": "octocat", "password": TOKEN}
    assert pushed([run])[:2] == ["ghcr.io/acme/api:latest", f"ghcr.io/acme/api:{SHA}"]
    assert run.jobs["push"].permissions == {"contents": "read", "packages": "write"}
    assert run.jobs["deploy"].permissions == {"contents": "read", "packages": "read"}
    assert run.jobs["build"].permissions == {"contents": "read"}


def test_images_go_to_amazons_registry_without_a_secret(opened: Opened) -> None:
    host = "1.dkr.ecr.sa-east-1.amazonaws.com"
    images = {name: f"{host}/acme/{name}" for name in ("api", "worker")}
    github = opened("pigmeu", registry={"login": "aws"}, images=images)
    github.runner.variables = {"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_REGION": "sa-east-1"}
    run = github.run("deploy.yml")
    assert run.result == "success", run.log
    asked = run.uses("aws-actions/configure-aws-credentials")[0].given
    assert asked == {"role-to-assume": "arn:aws:iam::1:role/x", "aws-region": "sa-east-1"}
    lines = run.lines("uses")
    login = lines.index("uses aws-actions/amazon-ecr-login")
    assert login < lines.index("uses docker/build-push-action")
    for name in ("push", "deploy"):
        assert run.jobs[name].permissions == {"contents": "read", "id-token": "write"}


@pytest.mark.parametrize("backend", ["cloud", "cloud_oidc"])
def test_the_state_is_in_pulumi_cloud(opened: Opened, backend: str) -> None:
    github = opened("pigmeu", backend=backend)
    github.runner.variables = {"PULUMI_ORGANIZATION": "acme"}
    run = github.run("deploy.yml")
    assert run.result == "success", run.log
    env = run.calls("pulumi up")[0].env
    assert not {"PULUMI_BACKEND_URL", "AWS_ACCESS_KEY_ID"} & env.keys()
    if backend == "cloud":
        assert env["PULUMI_ACCESS_TOKEN"] == github.secrets["PULUMI_ACCESS_TOKEN"]
        assert run.jobs["deploy"].permissions == {"contents": "read"}
    else:
        assert "PULUMI_ACCESS_TOKEN" not in github.secrets
        lines = run.lines()
        login = lines.index("uses pulumi/auth-actions")
        assert login < next(at for at, line in enumerate(lines) if line.startswith("pulumi"))
        assert run.uses("pulumi/auth-actions")[0].given["organization"] == "acme"
        assert run.jobs["deploy"].permissions == {"contents": "read", "id-token": "write"}


def test_a_cluster_is_reached_by_its_kubeconfig(opened: Opened) -> None:
    github = opened("pigmeu", cluster="kubeconfig")
    run = github.run("deploy.yml")
    assert run.result == "success", run.log
    env = run.calls("pulumi up")[0].env
    kubeconfig = Path(env["KUBECONFIG"])
    assert kubeconfig.read_text() == github.secrets["KUBECONFIG"]
    assert kubeconfig.stat().st_mode & 0o777 == 0o600
    assert "DIGITALOCEAN_TOKEN" not in env


def test_pulumi_runs_where_the_stack_says(opened: Opened) -> None:
    run = opened("pigmeu", runs_on=["self-hosted", "inside"], folder="infra").run("deploy.yml")
    runs_on = [job.definition["runs-on"] for job in run.jobs.values()]
    assert runs_on == ["ubuntu-latest", "ubuntu-latest", ["self-hosted", "inside"]]


# --- this repository's own ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "jobs"),
    [
        (Event("push"), ["plain", "docker", "cluster"]),
        (Event("workflow_dispatch"), ["plain", "docker", "cluster"]),
        (Event("pull_request", fork=True), ["plain", "docker"]),
    ],
)
def test_this_repository_is_tested(tmp_path: Path, event: Event, jobs: list[str]) -> None:
    (tmp_path / "runner").mkdir()
    (tmp_path / "checkout").mkdir()
    runner = Runner(tmp_path / "runner", tmp_path / "checkout")
    made = 'mkdir -p .venv/bin; ln -s "$(command -v python)" .venv/bin/python'
    runner.tools.answer("make lint", Answer(script=made))
    text = (ROOT / ".github" / "workflows" / "ci.yaml").read_text()
    run = runner.run(text, event)
    assert run
    assert run.result == "success", run.log
    assert [name for name, job in run.jobs.items() if job.result == "success"] == jobs
    tested = [line.split(" -m ", 2)[2] for line in run.lines("python -m pytest")]
    assert len(tested) == len(jobs)
    assert all(job.permissions == {"contents": "read"} for job in run.jobs.values() if job.steps)
    # What doesn't keep its style is not tested.
    runner.tools.fail("make lint")
    run = runner.run(text, event)
    assert run
    assert {job.result for job in run.jobs.values() if job.steps} == {"failure"}
    assert not run.lines("python")
