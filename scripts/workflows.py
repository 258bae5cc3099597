"""Writes this repository's own .github/workflows, from the same parts as those of the systems.

Also those of the example repositories, as `tiers render --to workflows` writes them, and their
pictures in the documentation.
"""

import re
from pathlib import Path

from pulumi_tiers.cli.project import Project
from pulumi_tiers.cli.render import render
from pulumi_tiers.model.pipeline import Pipeline
from pulumi_tiers.model.workflow import Event, Job, PullRequest, Push, Step, Triggers, Workflow
from pulumi_tiers.pipelines.expand import completed, expanded
from pulumi_tiers.pipelines.stack import COMMENT, PREVIEW, comment_workflow, preview_workflow
from pulumi_tiers.pipelines.steps import PULUMI
from pulumi_tiers.pipelines.workflows import workflow_data, workflow_text

_ROOT = Path(__file__).parent.parent
FOLDER = _ROOT / ".github" / "workflows"
_EXAMPLES = _ROOT / "examples" / "repositories"
_PAGE = _ROOT / "docs" / "pipelines.md"
STACKS = ("dev", "prod")
#: What the stacks are made of.
PROGRAM = (
    *("components/**", "__main__.py", "Pulumi*.yaml"),
    *("constraints.txt", "pyproject.toml", "requirements.txt"),
)
_HEAD = "# Made by scripts/workflows.py. Change that, then run: make workflows\n\n"
_PYTHON = Step(
    name="Set up Python",
    uses="actions/setup-python",
    inputs={
        # The oldest one that is supported.
        "python-version": "3.11",
        "cache": "pip",
        "cache-dependency-path": "constraints.txt\npyproject.toml",
    },
)
_PYTEST = ".venv/bin/python -m pytest -m"


def files() -> dict[str, str]:
    """The workflows' texts, by the names of their files."""
    described = Pipeline(workflows={"ci.yaml": _ci(), "actions.yaml": _actions()})
    preview = preview_workflow(described, STACKS, folder=".", branches=["main"], paths=PROGRAM)
    workflows = {**described.workflows, PREVIEW: preview, COMMENT: comment_workflow()}
    whole = completed(described.model_copy(update={"workflows": workflows}))
    checked = Pipeline.model_validate(dict(whole))
    return {
        file: _HEAD + workflow_text(workflow_data(workflow))
        for file, workflow in expanded(checked).items()
    }


def _ci() -> Workflow:
    return Workflow(
        name="CI",
        comment="What must be green before a change is merged, as far as GitHub's machines have it."
        " Load and faults are for one's own: make test-all.",
        on=Triggers(
            push=Push(branches=["main"]), pull_request=PullRequest(branches=["main"]), dispatch=True
        ),
        jobs={
            "plain": Job(
                name="Lint, types, plain tests",
                timeout_minutes=20,
                steps=[
                    _PYTHON,
                    Step(name="Check format, lint and types", run="make lint types"),
                    Step(
                        name="Run the tests that need nothing",
                        run=f'{_PYTEST} "not (docker or engine or cluster or load)"',
                    ),
                ],
            ),
            "docker": Job(
                name="Tests with Docker and the engine",
                timeout_minutes=60,
                steps=[
                    _PYTHON,
                    Step(
                        name="Install what stand-ins are made with",
                        comment="They take the place of images that no registry has.",
                        run="\n".join(
                            [
                                "sudo apt-get update",
                                "sudo apt-get install --yes --no-install-recommends"
                                " debian-archive-keyring mmdebstrap",
                            ]
                        ),
                    ),
                    *_engine(),
                    _kept("offline/build.py"),
                    Step(
                        name="Run the tests",
                        run=f'{_PYTEST} "(docker or engine) and not (cluster or load)"',
                    ),
                ],
            ),
            "cluster": Job(
                name="Tests with Kubernetes",
                comment="It is built from its Go modules the first time, which takes ten minutes.",
                events=[Event.PUSH, Event.WORKFLOW_DISPATCH],
                timeout_minutes=90,
                steps=[
                    _PYTHON,
                    *_engine(),
                    _kept("tests/cluster/go.sum"),
                    Step(name="Run the tests", run=f'{_PYTEST} "cluster and not load"'),
                ],
            ),
        },
    )


def _engine() -> list[Step]:
    return [
        Step(name="Install Pulumi", uses="pulumi/actions", inputs={"pulumi-version": PULUMI}),
        Step(name="Install the library", run="make lint"),
        Step(name="Install the plugins of Pulumi", run="pulumi install"),
    ]


def _kept(source: str) -> Step:
    """What tests build once per version of a file."""
    name = source.replace("/", "-").rpartition(".")[0]
    return Step(
        name="Keep what is built once",
        uses="actions/cache",
        inputs={
            "path": "~/.cache/pulumi-tiers",
            "key": f"{name}-${{{{ runner.os }}}}-${{{{ hashFiles('{source}') }}}}",
        },
    )


def _actions() -> Workflow:
    return Workflow(
        name="Pinned actions",
        comment="Whether the actions that are pinned are still what their repositories say.",
        # On Monday mornings.
        on=Triggers(schedule=["17 5 * * 1"], dispatch=True),
        jobs={
            "check": Job(
                name="Compare with the repositories",
                steps=[
                    _PYTHON,
                    Step(name="Install the library", run="make lint"),
                    Step(name="Compare", run=".venv/bin/tiers actions"),
                ],
            )
        },
    )


def main() -> None:
    """Writes what has changed, and removes what is no more."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = files()
    for path in FOLDER.glob("*.y*ml"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    for program in sorted(_EXAMPLES.glob("*/infra")):
        render(Project.find(program), "prod", "workflows", {}).write(_EXAMPLES)
    pattern = r"(<!-- (\S+) (\S+) -->\n```mermaid\n).*?(?=```)"
    page = re.sub(pattern, _picture, _PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    _PAGE.write_text(page, encoding="utf-8")


def _picture(place: re.Match[str]) -> str:
    """The picture that the page of an example repository has."""
    page = (_EXAMPLES / place[2] / "pipelines.md").read_text(encoding="utf-8")
    _, _, rest = page.partition(f": `{place[3]}`\n")
    return place[1] + rest.partition("```mermaid\n")[2].partition("```")[0]


if __name__ == "__main__":
    main()
