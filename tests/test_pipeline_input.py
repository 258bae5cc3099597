"""Whatever is written into a description of a pipeline is valid and stays data, or is refused."""

import copy
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pulumi_tiers.model.errors import DescriptionError, Mistake, mistakes_of
from pulumi_tiers.model.expression import check_expression, uses_of
from pulumi_tiers.model.pipeline import Pipeline
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.pipelines.workflows import workflow_data, workflow_text
from pulumi_tiers.plan import make_plan
from pulumi_tiers.settings import read_settings
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from workflow_judges import actionlint_errors, schema_errors, write

#: The same examples in every run.
repeatable = settings(
    derandomize=True, database=None, deadline=None, max_examples=100, phases=[Phase.generate]
)

IMAGE = "octo/shop"
TOKEN = "correct-horse-battery-staple"
RUN: dict[str, Any] = {"steps": [{"run": "true"}]}
PUSH: dict[str, Any] = {"push": {"branches": ["main"]}}
BUILD: dict[str, Any] = {"images": [{"image": IMAGE}]}


def workflow(jobs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": "CI", "on": PUSH, "jobs": jobs or {"test": RUN}, **more}


def described(workflows: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"workflows": workflows or {"ci.yml": workflow()}, **more}


def in_job(**job: Any) -> dict[str, Any]:
    return described({"ci.yml": workflow({"test": {**RUN, **job}})})


def deployed(way: dict[str, Any], images: dict[str, str], **job: Any) -> dict[str, Any]:
    jobs = {"build": BUILD, "go": {"needs": ["build"], "deploy": {**way, "images": images}, **job}}
    return described({"cd.yml": workflow(jobs)})


def by_pulumi(**more: Any) -> dict[str, Any]:
    return deployed({"pulumi": {"stack": "prod"}, **more}, {"shop/web": IMAGE})


def by_compose(**more: Any) -> dict[str, Any]:
    return deployed({"compose": {"project": "shop", **more}}, {"web": IMAGE})


def by_kubectl(**more: Any) -> dict[str, Any]:
    names = dict.fromkeys(("namespace", "deployment", "container", "service"), "shop")
    return deployed({"kubectl": {**names, **more}}, {"shop": IMAGE})


def two(ci: dict[str, Any], cd: dict[str, Any]) -> dict[str, Any]:
    return described({"ci.yml": workflow(**ci), "cd.yml": {**workflow(), "name": "CD", **cd}})


def mistakes(description: dict[str, Any]) -> list[Mistake]:
    with pytest.raises(ValidationError) as caught:
        Pipeline.model_validate(description)
    return mistakes_of(caught.value)


# --- one by one -----------------------------------------------------------------------------------

GATE = {"gate": {"awaits": "ci.yml"}}


@pytest.mark.parametrize(
    ("description", "why"),
    [
        # Texts that would leave the place that they are for.
        (described({"ci.yml": workflow(name="CI\non: push")}), "is not a line of text"),
        (described({"ci.yml": workflow(name="CI ${{ github.token }}")}), "takes for text here"),
        (described({"ci.yml": workflow(comment="a\rjobs: {}")}), "that nobody sees: U+000D"),
        (in_job(comment="a\u2028b"), "that nobody sees: U+2028"),
        (in_job(name="Te\u202est"), "that nobody sees: U+202E"),
        (in_job(steps=[{"run": "a\r\nb"}]), "that nobody sees: U+000D"),
        (in_job(steps=[{"run": "true", "env": {"A": "\x1b[2J"}}]), "that nobody sees: U+001B"),
        (in_job(steps=[{"uses": "a/b", "inputs": {"#": "x"}}]), "is not a name for an input"),
        (in_job(steps=[{"uses": "a/b", "inputs": {"a: b": "x"}}]), "is not a name for an input"),
        (in_job(images=[{"image": IMAGE, "args": {"A": "1\nB=2"}}]), "would be another argument"),
        (in_job(images=[{"image": IMAGE, "target": "a\nb"}]), "is not a stage of a Dockerfile"),
        (in_job(images=[{"image": IMAGE, "context": "git@h:a"}]), "not a path inside the repo"),
        (in_job(images=[{"image": IMAGE, "context": "${{ x }}"}]), "not a path inside the repo"),
        (in_job(images=[{"image": IMAGE, "context": "./app"}]), "not a path inside the repo"),
        (in_job(images=[{"image": IMAGE, "context": "app*"}]), "is a pattern of files"),
        (by_compose(files=["a:/etc/passwd"]), "not a path inside the repository"),
        (by_compose(env={"COMPOSE_FILE": "x"}), "is Compose's own"),
        (by_pulumi(pulumi={"stack": "prod", "folder": "--help"}), "not a path inside the repo"),
        (by_kubectl(namespace="x --all"), "is not a valid name"),
        (by_kubectl(manifests="-"), "not a path inside the repository"),
        (deployed({"pulumi": {"stack": "prod"}}, {"web": IMAGE}), "is not a service of a stack"),
        (
            deployed({"pulumi": {"stack": "prod"}}, {"--cwd=/\nb/c": IMAGE}),
            "is not a service of a stack",
        ),
        (deployed({"compose": {"project": "a"}}, {"a=b\nc": IMAGE}), "is not a service"),
        (
            by_pulumi(health=[{"service": "a/b", "path": "@evil.example/"}]),
            "is not a path of a URL",
        ),
        (by_pulumi(health=[{"service": "a/b", "path": "/a\nb"}]), "is not a path of a URL"),
        (by_pulumi(health=[{"url": "-o/etc/passwd"}]), "is not a URL"),
        (by_pulumi(health=[{"url": "file:///etc/passwd"}]), "is not a URL"),
        (by_pulumi(health=[{"url": f"https://me:{TOKEN}@h/"}]), "would show who logs in"),
        (by_pulumi(health=[{"url": "https://h/${{ secrets.A }}"}]), "uses a secret"),
        (by_pulumi(health=[{"url": "https://h/", "service": "a/b"}]), "both say what is asked"),
        (described(registry={"host": "a\nb"}), "is not a registry"),
        (described(registry={"host": "https://ghcr.io"}), "is not a registry"),
        # Expressions that GitHub refuses, or that look at more than they should.
        (in_job(env={"A": '${{ github.ref == "x" }}'}), "is not an expression of GitHub's"),
        (in_job(env={"A": "${{ secret.PASSWORD }}"}), "have no 'secret'"),
        (in_job(env={"A": "${{ SECRETS.PASSWORD }}"}), "there is no secret 'PASSWORD'"),
        (in_job(env={"A": "${{ secrets['PASSWORD'] }}"}), "uses all secrets at once"),
        (in_job(env={"A": "${{ secrets.* }}"}), "uses all secrets at once"),
        (in_job(env={"A": "${{ toJSON(vars) }}"}), "uses all vars at once"),
        (in_job(env={"A": "${{ github.ref"}), "has an expression without an end"),
        (in_job(condition="github.ref = 'x'"), "is not an expression of GitHub's"),
        (in_job(condition="Secrets.A != ''"), "which GitHub gives to no condition"),
        (in_job(condition="vars.A == 'x'"), "there is no variable 'A'"),
        (in_job(name="${{ vars.A }}"), "there is no variable 'A'"),
        (in_job(concurrency="${{ secrets.A }}"), "uses a secret"),
        (in_job(matrix={"a": "[1, 2]"}), "is not an expression of a list"),
        # What GitHub takes for the same.
        (in_job(env={"A": "1", "a": "2"}), "'a' stands here twice"),
        (described({"ci.yml": workflow({"A": RUN, "a": RUN})}), "'a' stands here twice"),
        (
            described({"CI.yml": workflow(), "ci.yaml": workflow(name="b")}),
            "but for its case or its ending",
        ),
        (described({"a.yml": workflow(), "b.yml": workflow()}), "another workflow is called 'CI'"),
        (
            described(
                environments={name: {"environment": "production"} for name in ("prod", "Prod")}
            ),
            "'Prod' stands here twice",
        ),
        (in_job(steps=[{"run": "a", "id": "x"}, {"run": "b", "id": "X"}]), "has the id 'X'"),
        (in_job(needs=["test", "test"]), "stands here twice"),
        (described(notify=["slack", "slack"]), "stands here twice"),
        (described(registry={"username": "A", "password": "A"}), "are the same secret"),
        (
            described(
                environments={"p": {"environment": "production", "reviewers": ["Octo", "octo"]}}
            ),
            "stands here twice",
        ),
        (
            described(
                environments={"p": {"environment": "production", "reviewers": list("abcdefg")}}
            ),
            "the list is too long",
        ),
        # What would never run, or never end.
        (in_job(branches=["release/**"]), "is a pattern, and is compared here"),
        (in_job(branches=["develop"]), "does not run on 'develop'"),
        (in_job(events=["schedule"]), "schedule does not start this workflow"),
        (
            described({"ci.yml": workflow(on={"push": {"branches": ["!main"]}})}),
            "all patterns leave something out",
        ),
        (described(protection={"branches": ["!main"]}), "leaves branches out"),
        (
            described({"ci.yml": workflow(on={"pull_request": {"types": ["open"]}})}),
            "nothing that happens to pull requests",
        ),
        (
            two({"jobs": {"a": {"awaits": "cd.yml"}}}, {"jobs": GATE}),
            "these workflows wait for each other: cd.yml -> ci.yml -> cd.yml",
        ),
        (
            two({}, {"jobs": GATE, "on": {**PUSH, "pull_request": {}}}),
            "a pull request's own commit is never pushed",
        ),
        (
            two(
                {
                    "jobs": {"b": {**BUILD, "branches": ["main"]}},
                    "on": {"push": {"branches": ["main", "dev"]}},
                },
                {
                    "jobs": {
                        **GATE,
                        "go": {
                            "needs": ["gate"],
                            "deploy": {"pulumi": {"stack": "dev"}, "images": {"a/b": IMAGE}},
                        },
                    },
                    "on": {"push": {"branches": ["dev"]}},
                },
            ),
            f"'{IMAGE}' is not built on the branch 'dev'",
        ),
        (
            described(
                {
                    "ci.yml": workflow({"test": RUN}, concurrency="x")
                    | {"jobs": {"test": {**RUN, "concurrency": "X"}}}
                }
            ),
            "would wait for its own workflow",
        ),
        (by_pulumi(timeout_minutes=15), "the job ends after 15"),
        (in_job(permissions={"id-token": "read"}), "nobody reads this: it is made"),
        # What would take another's place, or be started by anybody.
        (
            {
                **by_pulumi(),
                "notify": ["slack"],
                "workflows": {
                    "cd.yml": workflow(
                        {"Notify": RUN, **by_pulumi()["workflows"]["cd.yml"]["jobs"]}
                    )
                },
            },
            "the job that tells how it ended has this name",
        ),
        (
            deployed(
                {"pulumi": {"stack": "prod"}}, {"a/b": IMAGE}, steps=[{"run": "a", "id": "deploy"}]
            ),
            "another step of the job has the id 'deploy'",
        ),
        (in_job(images=[{"image": IMAGE}, {"image": IMAGE}]), "pushes 'octo/shop' twice"),
        (
            described({"cd.yml": {**by_pulumi()["workflows"]["cd.yml"], "on": {"dispatch": True}}}),
            "it would deploy any branch",
        ),
        (
            described(
                {
                    "ci.yml": workflow(
                        {"test": {**RUN, "runs_on": ["Staging"]}}, on={"pull_request": {}}
                    )
                }
            ),
            "would run its code on your own machine",
        ),
        (
            described(
                {
                    "ci.yml": workflow(
                        {"b": {"images": [{"image": IMAGE, "tags": [{"name": "{branch}-{sha}"}]}]}},
                        on={"push": {}},
                    )
                }
            ),
            "the branch '**' makes no tag",
        ),
    ],
)
def test_what_breaks_out_or_cannot_work_is_refused(description: dict[str, Any], why: str) -> None:
    found = mistakes(description)
    assert why in " | ".join(item.why for item in found)
    assert all(item.remedy and item.place for item in found)
    assert TOKEN not in "".join(map(str, found))


def test_all_mistakes_are_told_at_once() -> None:
    description = described(
        {
            "ci.yml": workflow(
                {
                    "a": {**RUN, "needs": ["b"], "name": ""},
                    "notify": {"deploy": {"pulumi": {"stack": "x"}}},
                },
                name="a\nb",
            )
        },
        registry={"password": "hunter2"},
    )
    assert [item.place for item in mistakes(description)] == [
        "workflows.ci.yml.name",
        "workflows.ci.yml.jobs.a.name",
        "workflows.ci.yml.jobs.notify.deploy",
        "registry.password",
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "github.ref == 'refs/heads/main' && !cancelled()",
        "!failure() && (github.event.inputs.x || !vars.Y)",
        "contains(needs.*.result, 'failure') && 'failed' || 'it''s \"well\"}}'",
        "github.event.labels[0].name != steps['a-b'].outputs.c[github.run_attempt == 1]",
        "toJSON(fromJSON('{\"a\": 1}')).a >= -1.5e3",
        "hashFiles('secrets/**', format('{0}', matrix.os))",
        "((true))",
        "GitHub.SHA",
    ],
)
def test_what_github_evaluates_is_an_expression(expression: str) -> None:
    check_expression(expression)
    assert uses_of(f"a ${{{{ {expression} }}}} b", "secrets") == []


@pytest.mark.parametrize(
    "expression",
    [
        *("", "a b", "github.", "== 1", "github.a ==", "(github.a", "github.a)", "github.a = 1"),
        *("github.a && && github.b", "github.a 'x'", "github.x(1)", "'x", "github..a", "$x", "!"),
        *("always(", "always", "contain('a', 'b')", "join(, )", "github.a!github.b", "a" * 30_000),
        *("(" * 20_000, "!" * 20_999, "github" + "[github" * 3000),
    ],
)
def test_what_github_does_not_is_none(expression: str) -> None:
    with pytest.raises(PydanticCustomError):
        check_expression(expression)


def test_secrets_are_seen_however_they_are_written() -> None:
    text = "${{ Secrets . A || x.secrets.B }} ${{ 'secrets.C' }} ${{ secrets['D'] }} secrets.E"
    assert uses_of(text, "secrets") == ["A", ""]


# --- what a stack says ----------------------------------------------------------------------------

GITHUB: dict[str, Any] = {
    "owner": "octo",
    "repositories": {"encontros-tech": "shop"},
    "branch": "main",
    "delivery": "pull_request",
    "repository_wide": True,
    "secrets": {"encontros-tech/REGISTRY_TOKEN": TOKEN},
    "scopes": {"REGISTRY_TOKEN": "repository"},
    "base_url": "https://github.example.com/",
}
PIPELINES: dict[str, Any] = {
    "encontros-tech": {
        "notify": ["slack"],
        "protection": {"branches": ["main"], "checks": ["test"], "reviews": 1},
        "registry": {"host": "docker.io", "username": "A", "password": "REGISTRY_TOKEN"},
        "images": {"encontros-tech": "octo/encontros-tech"},
        "stacks": {"development": "dev"},
        "folder": "infra",
        "runs_on": ["staging"],
        "reviewers": {"production": ["octocat"]},
    }
}
ODD: tuple[Any, ...] = (
    *(None, True, 0, -1, 10**400, 1.5, float("nan"), "", "x" * 100_000, "a\nb", "\0", "'", '"'),
    *("${{ github.token }}", "}}", "on", "no", "1e3", "é", "-x", "%", "a:b", "#a", "`a`", "$(a)"),
    *("\ud800", [], {}, ["a"], {"a": "b"}, [None], {"": ""}, {"secrets": TOKEN}, [[TOKEN]]),
)


def told(github: Any, pipelines: Any) -> list[Mistake]:
    """The mistakes; none if it is a plan."""
    try:
        make_plan("dev", read_settings({"tiers:github": github, "tiers:pipelines": pipelines}))
    except DescriptionError as error:
        found = error.mistakes
    else:
        found = list[Mistake]()
    assert TOKEN not in "".join(map(str, found))
    return found


def places(value: Any, *before: str | int) -> Iterator[tuple[str | int, ...]]:
    yield before
    lists = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else lists:
        yield from places(item, *before, key)


def test_a_stack_may_say_anything_and_gets_an_answer() -> None:
    assert told(GITHUB, PIPELINES) == []
    for position, place in (
        *((0, place) for place in places(GITHUB)),
        *((1, place) for place in places(PIPELINES)),
    ):
        for odd in ODD:
            config = copy.deepcopy([GITHUB, PIPELINES])
            inner: Any = config
            for key in (full := (position, *place))[:-1]:
                inner = inner[key]
            inner[full[-1]] = odd
            for mistake in told(config[0], config[1]):
                assert mistake.remedy, (mistake, odd)


@pytest.mark.parametrize(
    ("github", "pipelines", "place"),
    [
        # JSON that does not parse is told without it.
        ('{"owner": "octo", "secrets": {"A": "' + TOKEN, "{}", "tiers:github"),
        # The secret itself where its name should be.
        (GITHUB, {"encontros-tech": {"registry": {"password": TOKEN}}}, "registry.password"),
        (GITHUB, {"encontros-tech": {"registry": {"username": f"me:{TOKEN}"}}}, "username"),
        (
            GITHUB,
            {"encontros-tech": {"notify": [f"https://hooks.slack.com/services/T0/{TOKEN}"]}},
            "notify[0]",
        ),
        ({**GITHUB, "base_url": f"https://me:{TOKEN}@h/"}, PIPELINES, "tiers:github.base_url"),
        ({**GITHUB, "base_url": "http://github.example.com/"}, PIPELINES, "base_url"),
        ({**GITHUB, "secrets": [TOKEN]}, PIPELINES, "tiers:github.secrets"),
        ({**GITHUB, "secrets": {"A": [TOKEN]}}, PIPELINES, "tiers:github.secrets.A"),
        ({**GITHUB, "secrets": {"A": TOKEN * 2000}}, PIPELINES, "tiers:github.secrets.A"),
        ({**GITHUB, "secrets": {"GITHUB_A": TOKEN}}, PIPELINES, "tiers:github.secrets.GITHUB_A"),
        ({**GITHUB, "branch": "release/**"}, PIPELINES, "tiers:github.branch"),
        # The job that pushes images is in no environment.
        (
            {**GITHUB, "scopes": {"REGISTRY_TOKEN": "environment"}},
            PIPELINES,
            "tiers:github.scopes.REGISTRY_TOKEN",
        ),
        (GITHUB, {"encontros-tech": {"stacks": {"development": "prod"}}}, "stacks"),
        (GITHUB, {"encontros-tech": {"reviewers": {"production": list("abcdefg")}}}, "production"),
        (GITHUB, {"encontros-tech": {"images": {"encontros": "a/encontros-tech"}}}, "encontros"),
    ],
)
def test_mistakes_of_a_stack_are_told_without_its_secrets(
    github: Any, pipelines: Any, place: str
) -> None:
    assert any(item.place.endswith(place) for item in told(github, pipelines))


def test_what_only_the_engine_can_read_passes() -> None:
    secrets = {"encontros-tech/REGISTRY_TOKEN": "__secret.tiers.github__"}
    assert told({**GITHUB, "secrets": secrets}, PIPELINES) == []
    assert told({**GITHUB, "base_url": "__secret.tiers.github.base_url__"}, PIPELINES) == []
    # As the engine hands it over.
    assert told(json.dumps(GITHUB), json.dumps(PIPELINES)) == []


# --- what it becomes ------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *(
            "on",
            "no",
            "yes",
            "null",
            "~",
            "1e3",
            "0x1f",
            "1_000",
            "12:30",
            "2026-01-01",
            "é 日本",
            "=",
        ),
        *("- a", "a: b", "a #b", "#", "'", '"', "`a`", "$(touch x)", "${x}", "}}", "%", "@a", "!a"),
        *(
            "&a",
            "*a",
            "[a",
            "{a}",
            "|",
            ">",
            "? a",
            "<<",
            "\\",
            "a\\nb",
            "---",
            "...",
            "true",
            "🚀",
        ),
    ]
)
LINES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
TEXTS = st.lists(
    st.one_of(WORDS, st.sampled_from([*" \n\t", "\n\n", "  ", "a ", "\xa0", "${{ github.sha }}"])),
    max_size=6,
).map("".join)
SCRIPTS = TEXTS.map(lambda text: text.replace("${{", "$")).filter(lambda text: text.strip())
NAMES = st.sampled_from(["on", "true", "null", "_", "a-b", "Y", "no", "A1"])
ENV = st.dictionaries(
    st.sampled_from(["ON", "no", "_", "NULL", "A1", "y"]),
    st.one_of(TEXTS, st.just("x ${{ secrets.OWN }} ${{ vars.OWN }}")),
    max_size=3,
)
PATHS = st.sampled_from(["a", "é b/c", "it's", '"', "$(a)", "`a`", "#a", "%", "a&b", "on"])
STEPS = st.one_of(
    st.fixed_dictionaries(
        {"run": SCRIPTS},
        optional={"name": LINES, "comment": TEXTS, "env": ENV, "working_directory": PATHS},
    ),
    st.fixed_dictionaries(
        {"uses": st.just("actions/checkout")},
        optional={
            "name": LINES,
            "comment": TEXTS,
            "env": ENV,
            "inputs": ENV,
            "when": st.just("always"),
        },
    ),
)
DEPLOYED = st.one_of(
    st.fixed_dictionaries(
        {
            "pulumi": st.fixed_dictionaries(
                {"stack": st.sampled_from(["on", "x1"]), "folder": PATHS}
            ),
            "images": st.just({"on/no": "ghcr.io/octo/no"}),
        },
        optional={"health": st.just([{"service": "on/no", "path": "/?a=$(x)&b='`x`"}])},
    ),
    st.fixed_dictionaries(
        {
            "kubectl": st.fixed_dictionaries(
                {
                    name: NAMES.filter(lambda name: name.islower() and name.isalpha())
                    for name in ("namespace", "deployment", "container", "service")
                },
                optional={
                    "manifests": PATHS,
                    "cluster": st.just("MY_CLUSTER"),
                    "token": st.just("MY_TOKEN"),
                },
            ),
            "images": st.just({"no": "ghcr.io/octo/no"}),
        }
    ),
    st.fixed_dictionaries(
        {
            "compose": st.fixed_dictionaries(
                {
                    "project": st.just("on"),
                    "files": st.lists(PATHS, min_size=1, max_size=2, unique=True),
                    "env": ENV,
                }
            ),
            "images": st.just({"no": "ghcr.io/octo/no"}),
        },
        optional={"rollback": st.booleans()},
    ),
)
BUILDS = st.fixed_dictionaries(
    {"image": st.just("ghcr.io/octo/no")},
    optional={
        "context": PATHS,
        "dockerfile": PATHS,
        "args": st.dictionaries(st.sampled_from(["ON", "no"]), WORDS),
        "tags": st.just([{"name": "latest", "branches": ["on", "no"]}, {"name": "{branch}-{sha}"}]),
    },
)


AMAZON = "1.dkr.ecr.eu-west-1.amazonaws.com"
PUSHED = st.sampled_from(
    [
        ({"login": "secrets"}, "octo/no"),
        ({"login": "secrets", "host": "registry.example.com:5000"}, "registry.example.com:5000/no"),
        ({"login": "github"}, "ghcr.io/octo/no"),
        ({"login": "aws"}, f"{AMAZON}/no"),
    ]
)


@st.composite
def pipelines(draw: st.DrawFn) -> dict[str, Any]:
    registry, image = draw(PUSHED)
    jobs: dict[str, Any] = {
        name: {"steps": steps}
        for name, steps in draw(
            st.dictionaries(NAMES, st.lists(STEPS, min_size=1, max_size=2), max_size=3)
        ).items()
        if name not in ("no", "null")
    }
    jobs["no"] = {"images": [draw(BUILDS) | {"image": image}], "comment": draw(TEXTS)}
    deploy: dict[str, Any] = draw(DEPLOYED)
    jobs["null"] = {
        "needs": ["no"],
        "deploy": deploy | {"images": dict.fromkeys(deploy["images"], image)},
        "name": draw(LINES),
        "env": draw(ENV),
    }
    return described(
        {
            "on.yml": {
                "name": draw(LINES),
                "comment": draw(TEXTS),
                "on": {
                    "push": {
                        "branches": ["on", "no"],
                        "paths": draw(st.lists(PATHS, max_size=2, unique=True)),
                    }
                },
                "env": draw(ENV),
                "jobs": jobs,
            }
        },
        secrets={"OWN": {}},
        variables={"OWN": {}},
        registry=registry,
        backend=draw(st.sampled_from(["bucket", "cloud", "cloud_oidc"])),
        cluster=draw(st.sampled_from(["digitalocean", "kubeconfig"])),
        notify=draw(st.sampled_from([[], ["slack", "discord"]])),
        attest=draw(st.booleans()),
    )


def check_text(pipeline: Pipeline) -> str:
    """What must hold of every workflow. Returns its text."""
    whole = completed(pipeline)
    [plain] = expanded(whole).values()
    data = workflow_data(plain)
    text = workflow_text(data)
    read = YAML(typ="safe", pure=True).load(io.StringIO(text))
    # The same data: all but comments, and the pins of the actions.
    assert without_comments(read) == without_comments(data)
    assert read["permissions"] == {}
    for name, job in read["jobs"].items():
        assert job["timeout-minutes"] > 0, name
        assert job["permissions"] is not None
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step.get("uses", "a@" + "0" * 40))
    assert set(uses_of(text, "secrets")) <= {*whole.secrets, "GITHUB_TOKEN"}
    assert set(uses_of(text, "vars")) <= {*whole.variables}
    return text


def without_comments(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: str(item).partition("@")[0] if key == "uses" else without_comments(item)
            for key, item in value.items()
            if key != "#"
        }
    return [without_comments(item) for item in value] if isinstance(value, list) else value


@repeatable
@given(pipelines())
def test_what_is_valid_stays_data(description: dict[str, Any]) -> None:
    check_text(Pipeline.model_validate(description))


def test_nobody_finds_anything_in_the_oddest_that_are_valid(tmp_path: Path) -> None:
    texts: list[str] = []

    @settings(repeatable, max_examples=15)
    @given(pipelines())
    def collect(description: dict[str, Any]) -> None:
        for job in description["workflows"]["on.yml"]["jobs"].values():
            for step in job.get("steps", ()):
                # What is odd in a script is the shell's affair.
                step |= {"run": "true"} if "run" in step else {}
        texts.append(check_text(Pipeline.model_validate(description)))

    collect()
    files = {f".github/workflows/{position}.yml": text for position, text in enumerate(texts)}
    paths = write(tmp_path, files)
    assert schema_errors(paths) == ""
    assert actionlint_errors(paths) == ""
