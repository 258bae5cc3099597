"""The workflows of a Pulumi project: previews of pull requests, and `up` for what is merged.

A preview needs the stack's state and the cloud. A run that gets no secrets (of a fork's pull
request, of Dependabot's, before they are set) renders a report instead. Its token may not comment
either: that is left to a workflow of the default branch, which runs nothing of the change.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pulumi_tiers.model.deployment import Deployment, Health, PulumiDeployment
from pulumi_tiers.model.environment import Environment
from pulumi_tiers.model.pipeline import Backend, ClusterAccess, Pipeline, PipelineOptions
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
from pulumi_tiers.pipelines.steps import backend_variables, checkout, install_program, reach_backend

PREVIEW = "infra-preview.yaml"
COMMENT = "infra-comment.yaml"
UP = "infra-up.yaml"

_TITLE = "Infra preview"
_MARK = "<!-- infra-preview -->"
"""The first line of the comment, by which the next run finds it."""
_ARTIFACT = "report"
_LONGEST = 60_000
"""Characters of a comment; GitHub takes 65,536."""
_GIVEN = "steps.credentials.outputs.given == 'true'"
_THERE = "steps.state.outputs.there == 'true'"


@dataclass(frozen=True)
class Stage:
    """A stack that is brought up from branches."""

    stack: str
    #: Environment on GitHub, which may ask for approvals.
    environment: str | None
    branches: tuple[str, ...]
    health: tuple[Health, ...] = ()


def stack_workflows(pipeline: Pipeline, options: PipelineOptions) -> dict[str, Workflow]:
    """The files of a system's stacks: those of the environments that its pipeline deploys to."""
    stages = stages_of(pipeline, options)
    if not stages:
        return {}
    stacks = [stage.stack for stage in stages]
    branches = list(dict.fromkeys(branch for stage in stages for branch in stage.branches))
    return {
        PREVIEW: preview_workflow(pipeline, stacks, folder=options.folder, branches=branches),
        COMMENT: comment_workflow(),
        UP: up_workflow(stages, folder=options.folder, runs_on=options.runs_on),
    }


def stages_of(pipeline: Pipeline, options: PipelineOptions) -> list[Stage]:
    """Development before production."""
    found: dict[Environment, Stage] = {}
    for name, environment in pipeline.environments.items():
        stack = options.stack(environment.environment)
        # A pattern is no branch that a job could be compared with.
        branches = [branch for branch in environment.branches if not set(branch) & set("*?+!")]
        stage = Stage(stack, name, tuple(branches or ["main"]), _health(pipeline, stack))
        found.setdefault(environment.environment, stage)
    return [found[environment] for environment in Environment if environment in found]


def _paths(folder: str, paths: Sequence[str]) -> list[str]:
    if paths or folder == ".":
        return [*paths]
    return [f"{folder}/**"]


def _health(pipeline: Pipeline, stack: str) -> tuple[Health, ...]:
    """What the system's own deployments to the stack ask for."""
    for workflow in pipeline.workflows.values():
        for job in workflow.jobs.values():
            if job.deploy and job.deploy.pulumi and job.deploy.pulumi.stack == stack:
                return tuple(job.deploy.health)
    return ()


# --- previews -------------------------------------------------------------------------------------


def preview_workflow(
    pipeline: Pipeline,
    stacks: Sequence[str],
    *,
    folder: str,
    branches: Sequence[str],
    paths: Sequence[str] = (),
) -> Workflow:
    """Shows what a pull request would change. `paths`: default are all of the project's folder."""
    return Workflow(
        name=_TITLE,
        comment="Shows in pull requests what they would change in the stacks. Nothing is changed.",
        on=Triggers(pull_request=PullRequest(branches=[*branches], paths=_paths(folder, paths))),
        jobs={
            "stacks": Job(
                name="Find the stacks that this touches",
                checkout=False,
                timeout_minutes=5,
                permissions={Permission.CONTENTS: Access.READ},
                outputs={"stacks": "${{ steps.find.outputs.stacks }}"},
                steps=[
                    checkout(**{"fetch-depth": "2"}),
                    _find(stacks, folder),
                ],
            ),
            "preview": _preview(pipeline, folder),
        },
    )


def _find(stacks: Sequence[str], folder: str) -> Step:
    return Step(
        name="Compare with the branch that this is merged into",
        id="find",
        comment="The commit is that of the merge. A stack's own file concerns that stack, any other"
        " file of the program all of them, documentation none.",
        env={"STACKS": json.dumps([*stacks])},
        working_directory=None if folder == "." else folder,
        run="\n".join(
            [
                "stacks=$(git diff --name-only --relative HEAD^1 HEAD |",
                '  jq --raw-input --null-input --compact-output --argjson stacks "$STACKS" \'',
                '    [inputs | select(test("(^|/)docs/|\\\\.md$") | not)] as $changed |',
                '    [$stacks[] | select("Pulumi.\\(.).yaml" as $own | any($changed[];',
                '      . == $own or (test("^Pulumi\\\\.[^/]+\\\\.yaml$") | not)))]\')',
                'echo "stacks=$stacks" | tee -a "$GITHUB_OUTPUT"',
            ]
        ),
    )


def _preview(pipeline: Pipeline, folder: str) -> Job:
    inside = None if folder == "." else folder
    stack = "${{ matrix.stack }}"
    env = {"STACK": stack, **backend_variables(pipeline)}
    permissions = {Permission.PULL_REQUESTS: Access.WRITE}
    python, program, command = install_program(folder)
    return Job(
        name=f"Preview {stack}",
        needs=["stacks"],
        condition="needs.stacks.outputs.stacks != '[]'",
        matrix={"stack": "${{ fromJSON(needs.stacks.outputs.stacks) }}"},
        timeout_minutes=30,
        steps=[
            _credentials(pipeline),
            python,
            program,
            *(
                step.model_copy(update={"condition": _GIVEN})
                for step in (command, *reach_backend(pipeline, permissions))
            ),
            Step(
                name="Take the images that run",
                id="state",
                comment="Else what pipelines have deployed would look like a change of this one.",
                condition=_GIVEN,
                env=env,
                working_directory=inside,
                run="\n".join(
                    [
                        "code=0",
                        'pulumi stack select --stack "$STACK" --non-interactive || code=$?',
                        'case "$code" in',
                        '  0) tiers images --deployed --stack "$STACK"',
                        '    echo "there=true" >> "$GITHUB_OUTPUT" ;;',
                        '  6) echo "::notice::there is no stack $STACK yet: it is rendered" ;;',
                        '  *) exit "$code" ;;',
                        "esac",
                    ]
                ),
            ),
            Step(
                name="Preview",
                uses="pulumi/actions",
                condition=_THERE,
                inputs={
                    "command": "preview",
                    "stack-name": stack,
                    "work-dir": folder,
                    "comment-on-pr": "true",
                    "edit-pr-comment": "true",
                    "comment-on-summary": "true",
                },
                env={name: text for name, text in env.items() if name != "STACK"},
            ),
            *_rendered(stack, inside),
        ],
        permissions=permissions,
    )


def _credentials(pipeline: Pipeline) -> Step:
    """Whether the run has what a preview needs. A condition can't look at secrets itself."""
    needed = dict(backend_variables(pipeline))
    del needed["GITHUB_TOKEN"]  # only stacks that keep something on GitHub need it
    if pipeline.cluster is ClusterAccess.KUBECONFIG:
        needed["KUBECONFIG"] = "${{ secrets.KUBECONFIG }}"
    is_set = {name: text.replace(" }}", " != '' }}") for name, text in needed.items()}
    if pipeline.backend is Backend.CLOUD_OIDC:
        is_set["PULUMI_ORGANIZATION"] = "${{ vars.PULUMI_ORGANIZATION != '' }}"
        is_set["OWN_BRANCH"] = (
            "${{ github.event.pull_request.head.repo.full_name == github.repository"
            " && github.event.pull_request.user.login != 'dependabot[bot]' }}"
        )
    return Step(
        name="See whether there are credentials",
        id="credentials",
        comment="Pull requests of forks and of Dependabot have none. Only whether they are set"
        " comes in here.",
        env=is_set,
        run="\n".join(
            [
                "given=true",
                f"for name in {' '.join(is_set)}; do",
                '  if [ "${!name}" != true ]; then',
                '    echo "::notice::$name is not set: the stack is rendered, not previewed"',
                "    given=false",
                "  fi",
                "done",
                'echo "given=$given" >> "$GITHUB_OUTPUT"',
            ]
        ),
    )


def _rendered(stack: str, inside: str | None) -> list[Step]:
    rendered = "steps.state.outputs.there != 'true'"
    return [
        Step(
            name="Render",
            condition=rendered,
            comment="Needs nothing but the program.",
            env={"STACK": stack, "NUMBER": "${{ github.event.pull_request.number }}"},
            working_directory=inside,
            run="\n".join(
                [
                    f'mkdir "$GITHUB_WORKSPACE/{_ARTIFACT}"',
                    f'cd "$GITHUB_WORKSPACE/{_ARTIFACT}"',
                    'tiers render --to report --stack "$STACK" --cwd "$OLDPWD" > report.md',
                    'echo "$NUMBER" > number',
                    'cat report.md >> "$GITHUB_STEP_SUMMARY"',
                ]
            ),
        ),
        Step(
            name="Keep the report",
            comment=f"{COMMENT} makes a comment of it: a fork's run may not.",
            condition=rendered,
            uses="actions/upload-artifact",
            inputs={
                "name": f"{_ARTIFACT}-{stack}",
                "path": f"{_ARTIFACT}/",
                "if-no-files-found": "error",
                "overwrite": "true",
                "retention-days": "5",
            },
        ),
    ]


# --- comments -------------------------------------------------------------------------------------


def comment_workflow() -> Workflow:
    """Comments what was rendered. It runs nothing of the change, and has no secrets."""
    return Workflow(
        name="Infra preview comment",
        comment=f"Comments what {PREVIEW} has rendered, because the run of a fork's pull request"
        " may not. What that run left is data: nothing of it is executed, and the pull request that"
        " it names must be the one that was run.",
        on=Triggers(after=[_TITLE]),
        concurrency="infra-comment-${{ github.event.workflow_run.head_sha }}",
        cancel_in_progress=False,
        jobs={
            "comment": Job(
                name="Comment",
                condition="github.event.workflow_run.event == 'pull_request'"
                " && github.event.workflow_run.conclusion == 'success'",
                checkout=False,
                timeout_minutes=5,
                permissions={
                    # Of the other run's artifacts.
                    Permission.ACTIONS: Access.READ,
                    Permission.PULL_REQUESTS: Access.WRITE,
                },
                steps=[
                    Step(
                        name="Get the reports",
                        uses="actions/download-artifact",
                        inputs={
                            "pattern": f"{_ARTIFACT}-*",
                            "path": "reports",
                            "run-id": "${{ github.event.workflow_run.id }}",
                            "github-token": "${{ github.token }}",
                        },
                    ),
                    _comment(),
                ],
            )
        },
    )


def _comment() -> Step:
    comments = '"repos/$GITHUB_REPOSITORY/issues/$number/comments"'
    return Step(
        name="Comment on the pull request",
        env={
            "GH_TOKEN": "${{ github.token }}",
            "HEAD_SHA": "${{ github.event.workflow_run.head_sha }}",
            "RUN_URL": "${{ github.event.workflow_run.html_url }}",
        },
        run="\n".join(
            [
                "shopt -s nullglob globstar",
                "# The only artifact comes without a folder of its own.",
                "reports=(reports/**/report.md)",
                'if [ "${#reports[@]}" = 0 ]; then',
                '  echo "nothing was rendered"',
                "  exit 0",
                "fi",
                "# A link could lead to a file of this machine.",
                'if [ -n "$(find reports ! -type f ! -type d)" ]; then',
                '  echo "::error::the artifact holds something that is no file"',
                "  exit 1",
                "fi",
                'number=$(head --bytes=20 "${reports[0]%/*}/number")',
                'if ! [[ "$number" =~ ^[1-9][0-9]{0,8}$ ]]; then',
                '  echo "::error::the artifact names no pull request"',
                "  exit 1",
                "fi",
                'pull=$(gh api "repos/$GITHUB_REPOSITORY/pulls/$number"'
                " --jq '\"\\(.head.sha) \\(.state)\"')",
                'if [ "$pull" != "$HEAD_SHA open" ]; then',
                '  echo "::warning::the artifact names a pull request of another commit, or it has'
                ' moved on"',
                "  exit 0",
                "fi",
                "{",
                f"  echo '{_MARK}'",
                "  echo '### What this would be'",
                "  echo",
                "  echo '> Rendered without credentials, from a change that nobody may have'",
                '  echo "> reviewed yet: the text below is its author\'s. [The run]($RUN_URL)"',
                "  echo",
                "  echo '<details><summary>Report</summary>'",
                '  for report in "${reports[@]:0:10}"; do',
                "    echo",
                '    head --bytes=200000 "$report"',
                "  done",
                '} > "$RUNNER_TEMP/body"',
                'jq --null-input --rawfile body "$RUNNER_TEMP/body"'
                f" '{{body: $body[:{_LONGEST}]}}' > \"$RUNNER_TEMP/comment.json\"",
                f"id=$(gh api --paginate {comments} --jq '.[] |",
                '  select(.user.login == "github-actions[bot]" and'
                f' (.body | startswith("{_MARK}"))) | .id\' |',
                "  sed -n 1p)",
                'if [ -n "$id" ]; then',
                '  gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id"'
                ' --input "$RUNNER_TEMP/comment.json"',
                "else",
                f'  gh api --silent --method POST {comments} --input "$RUNNER_TEMP/comment.json"',
                "fi",
            ]
        ),
    )


# --- up -------------------------------------------------------------------------------------------


def up_workflow(
    stages: Sequence[Stage],
    *,
    folder: str,
    runs_on: Sequence[str] = ("ubuntu-latest",),
    paths: Sequence[str] = (),
) -> Workflow:
    """Brings up what is merged, one stack after the other: a failure stops those that follow."""
    branches = list(dict.fromkeys(branch for stage in stages for branch in stage.branches))
    jobs: dict[str, Job] = {}
    before: dict[str, Stage] = {}
    for stage in stages:
        name = f"up-{stage.stack}"
        needs = {
            other: earlier
            for other, earlier in before.items()
            if set(earlier.branches) & set(stage.branches)
        }
        jobs[name] = Job(
            name=f"Bring up {stage.stack}",
            needs=[*needs],
            condition=_not_stopped(stage, needs),
            branches=[*stage.branches],
            environment=stage.environment,
            runs_on=[*runs_on],
            # A cluster and its databases take their time.
            timeout_minutes=60,
            deploy=Deployment(
                pulumi=PulumiDeployment(stack=stage.stack, folder=folder, program_only=True),
                health=[*stage.health],
            ),
        )
        before[name] = stage
    return Workflow(
        name="Infra up",
        comment="Brings up what is merged, with the images that run. The environment on GitHub says"
        " who has to approve.",
        on=Triggers(push=Push(branches=branches, paths=_paths(folder, paths)), dispatch=True),
        jobs=jobs,
    )


def _not_stopped(stage: Stage, needs: Mapping[str, Stage]) -> str:
    """A job before this one may be skipped on a branch that is only this one's."""
    if all(set(stage.branches) <= set(earlier.branches) for earlier in needs.values()):
        return ""
    return "!failure() && !cancelled()"
