"""What a pipeline's parts become: plain steps and jobs, with all that they need."""

from collections.abc import Iterator

from pulumi_tiers.model.deployment import KubectlDeployment
from pulumi_tiers.model.expression import uses_of
from pulumi_tiers.model.pipeline import (
    NOTIFY,
    WEBHOOKS,
    Channel,
    Pipeline,
    PipelineSecret,
    PipelineVariable,
    Scope,
    SecretSource,
)
from pulumi_tiers.model.workflow import Access, Event, Job, Permission, Step, When, Workflow
from pulumi_tiers.pipelines.deployments import deploy_steps
from pulumi_tiers.pipelines.images import build_steps
from pulumi_tiers.pipelines.steps import PIPELINES_TOKEN, SPACES, any_of, checkout, secret


def expanded(pipeline: Pipeline) -> dict[str, Workflow]:
    """The workflows by file, with nothing left in them but steps."""
    return {file: _workflow(pipeline, file) for file in pipeline.workflows}


def completed(pipeline: Pipeline) -> Pipeline:
    """The pipeline with the secrets and variables that logins, state and deployments need."""
    workflows = expanded(pipeline).values()
    texts = [
        text for workflow in workflows for job in workflow.jobs.values() for _, text in job.texts
    ]
    secrets = dict(pipeline.secrets)
    variables = dict(pipeline.variables)
    known = _known_secrets(pipeline)
    for text in texts:
        for name in uses_of(text, "secrets"):
            # What a description declares has a purpose of its own; only its source may be missing.
            if name in known and secrets.setdefault(name, known[name]).source is SecretSource.GIVEN:
                secrets[name] = secrets[name].model_copy(update={"source": known[name].source})
        for name in uses_of(text, "vars"):
            variables.setdefault(name, PipelineVariable())
    return pipeline.model_copy(update={"secrets": secrets, "variables": variables})


def _known_secrets(pipeline: Pipeline) -> dict[str, PipelineSecret]:
    """Those that this module's steps use, and where their values come from."""
    registry = pipeline.registry
    bucket = {
        "PULUMI_BACKEND_URL": ("where the stacks' state is", SecretSource.STATE_URL),
        "AWS_ACCESS_KEY_ID": ("the key of the state's bucket", SecretSource.STATE_KEY_ID),
        "AWS_SECRET_ACCESS_KEY": ("its secret part", SecretSource.STATE_KEY),
        "PULUMI_CONFIG_PASSPHRASE": ("opens the secrets of the stacks", SecretSource.GIVEN),
        "PULUMI_ACCESS_TOKEN": ("logs in to Pulumi Cloud", SecretSource.GIVEN),
        SPACES[0]: ("the key that makes buckets", SecretSource.GIVEN),
        SPACES[1]: ("its secret part", SecretSource.GIVEN),
        "DIGITALOCEAN_ACCESS_TOKEN": ("reaches DigitalOcean", SecretSource.DIGITALOCEAN_TOKEN),
        registry.username: ("logs in to the registry", SecretSource.REGISTRY_USERNAME),
        registry.password: ("its token", SecretSource.REGISTRY_PASSWORD),
    }
    found = {
        name: PipelineSecret(purpose=purpose, source=source)
        for name, (purpose, source) in bucket.items()
    }
    clusters = {"KUBECONFIG": SecretSource.KUBECONFIG, "K8S_CLUSTER_ID": SecretSource.CLUSTER_ID}
    for kubectl in _by_kubectl(pipeline):
        clusters[kubectl.cluster] = SecretSource.CLUSTER_ID
        found[kubectl.token] = found["DIGITALOCEAN_ACCESS_TOKEN"]
    # Each stack has a cluster of its own.
    for name, source in clusters.items():
        found[name] = PipelineSecret(purpose="the cluster", source=source, scope=Scope.ENVIRONMENT)
    found[PIPELINES_TOKEN] = PipelineSecret(
        purpose="writes what the stack keeps on GitHub: files, secrets, environments"
    )
    for channel, webhook in WEBHOOKS.items():
        found[webhook] = PipelineSecret(purpose=f"where {channel} is told", optional=True)
    return found


def _by_kubectl(pipeline: Pipeline) -> Iterator[KubectlDeployment]:
    for workflow in pipeline.workflows.values():
        for job in workflow.jobs.values():
            if job.deploy and job.deploy.kubectl:
                yield job.deploy.kubectl


def _workflow(pipeline: Pipeline, file: str) -> Workflow:
    workflow = pipeline.workflows[file]
    jobs = {name: _job(pipeline, file, name) for name in workflow.jobs}
    if workflow.deploys and pipeline.notify:
        jobs[NOTIFY] = _notify(pipeline, workflow)
    group, cancel = workflow.concurrency, workflow.cancel_in_progress
    if cancel is None:
        cancel = not workflow.deploys
    if group is None:
        # Deployments of a branch in the order of its commits; everything else side by side: one
        # commit can be pushed to two branches, each of which waits for its own run.
        which = "github.ref" if workflow.deploys else "github.run_id"
        if workflow.on.pull_request:
            which = f"github.event.pull_request.number || {which}"
        group = f"{file.rpartition('.')[0]}-${{{{ {which} }}}}"
    return workflow.model_copy(
        update={"jobs": jobs, "concurrency": group, "cancel_in_progress": cancel}
    )


def _job(pipeline: Pipeline, file: str, name: str) -> Job:
    workflow = pipeline.workflows[file]
    job = workflow.jobs[name]
    permissions = dict(job.permissions)
    steps: list[Step] = []
    minutes = job.timeout_minutes
    if job.awaits:
        permissions.setdefault(Permission.ACTIONS, Access.READ)
        # The other run may wait for a free machine, too.
        minutes = min(360, pipeline.workflows[job.awaits].longest_minutes + 10)
        steps.append(_gate(job.awaits, minutes - 5))
    elif job.checkout:
        permissions.setdefault(Permission.CONTENTS, Access.READ)
        steps.append(checkout())
    steps += [_plain(step) for step in job.steps]
    if job.images:
        steps += build_steps(pipeline, job.images, permissions)
    if job.deploy:
        steps += deploy_steps(pipeline, job.deploy, pipeline.built_before(file, name), permissions)
    update: dict[str, object] = {
        "steps": steps,
        "images": [],
        "deploy": None,
        "awaits": None,
        "checkout": False,
        "permissions": permissions,
        "condition": _condition(workflow, job),
        "branches": [],
        "events": [],
        "concurrency": job.group,
        "timeout_minutes": minutes,
    }
    return job.model_copy(update=update)


def _condition(workflow: Workflow, job: Job) -> str:
    """GitHub's `if`. By hand, a workflow can be started on any branch: on those of pushes only."""
    branches = job.branches
    delivers = job.images or job.deploy or job.awaits
    if not branches and delivers and workflow.on.dispatch and workflow.on.push:
        branches = [branch for branch in workflow.on.push.branches if "*" not in branch]
    parts = [
        any_of("github.event_name", [event.value for event in job.events]),
        any_of("github.ref", [f"refs/heads/{branch}" for branch in branches]),
        job.condition,
    ]
    given = [part for part in parts if part]
    if len(given) == 1:
        return given[0]
    return " && ".join(f"({part})" if "||" in part else part for part in given)


def _plain(step: Step) -> Step:
    """The step with `when` in its condition."""
    if step.when is When.SUCCESS:
        return step
    condition = f"{step.when}()" + (f" && ({step.condition})" if step.condition else "")
    return step.model_copy(update={"when": When.SUCCESS, "condition": condition})


# --- a gate ---------------------------------------------------------------------------------------


def _gate(file: str, minutes: int) -> Step:
    return Step(
        name=f"Wait until {file} has succeeded for this commit",
        comment="Both workflows start on the same push: without this, what failed its tests would"
        " be deployed.",
        env={"GH_TOKEN": "${{ github.token }}", "WORKFLOW": file},
        run="\n".join(
            [
                f"for attempt in $(seq {minutes * 4}); do",
                '  state=$(gh run list --repo "$GITHUB_REPOSITORY" --workflow "$WORKFLOW" \\',
                '    --branch "$GITHUB_REF_NAME" --commit "$GITHUB_SHA" --limit 20 \\',
                "    --json event,status,conclusion |",
                # A pull request's run of the same commit tests, and builds nothing.
                '    jq -r \'map(select(.event == "push" or .event == "workflow_dispatch")) |'
                ' .[:1][] | "\\(.status) \\(.conclusion)"\')',
                '  echo "$attempt: $WORKFLOW: ${state:-no run yet}"',
                '  case "$state" in',
                '    "completed success") exit 0 ;;',
                '    completed*) echo "::error::$WORKFLOW did not succeed: $state"; exit 1 ;;',
                "  esac",
                '  if [ -z "$state" ] && [ "$attempt" -gt 20 ]; then',
                '    echo "::error::$WORKFLOW never ran for this commit: start it first"',
                "    exit 1",
                "  fi",
                "  sleep 15",
                "done",
                'echo "::error::$WORKFLOW has not succeeded for $GITHUB_SHA in time"',
                "exit 1",
            ]
        ),
    )


# --- messages -------------------------------------------------------------------------------------

_FIELDS = {Channel.SLACK: "text", Channel.DISCORD: "content"}


def _notify(pipeline: Pipeline, workflow: Workflow) -> Job:
    return Job(
        name="Tell how it ended",
        needs=[*workflow.jobs],
        # Where everything was skipped, nothing ended.
        condition=f"always() && github.event_name != '{Event.PULL_REQUEST}' &&"
        " (contains(needs.*.result, 'success') || contains(needs.*.result, 'failure') ||"
        " contains(needs.*.result, 'cancelled'))",
        checkout=False,
        timeout_minutes=5,
        steps=[_tell(channel) for channel in pipeline.notify],
    )


def _tell(channel: Channel) -> Step:
    failed = "contains(needs.*.result, 'failure') && 'failed'"
    ended = f"{failed} || contains(needs.*.result, 'cancelled') && 'was cancelled' || 'succeeded'"
    url = "${{ github.server_url }}/${{ github.repository }}/actions/runs/${{ github.run_id }}"
    return Step(
        name=f"Tell {channel.value.capitalize()}",
        # One channel that fails keeps no other from being told.
        condition="always()",
        env={
            "WEBHOOK": secret(WEBHOOKS[channel]),
            "TEXT": f"${{{{ github.workflow }}}} ${{{{ {ended} }}}}"
            f" (${{{{ github.ref_name }}}}): {url}",
        },
        run="\n".join(
            [
                'if [ -z "$WEBHOOK" ]; then',
                f'  echo "::notice::{WEBHOOKS[channel]} is not set: nobody is told"',
                "  exit 0",
                "fi",
                # A command line can be read by every process of the machine.
                f"jq --null-input --arg text \"$TEXT\" '{{{_FIELDS[channel]}: $text}}'"
                ' > "$RUNNER_TEMP/message.json"',
                'printf \'url = "%s"\\n\' "$WEBHOOK" | curl --config - --fail --silent'
                " --show-error \\",
                '  --retry 3 --json @"$RUNNER_TEMP/message.json"',
            ]
        ),
    )
