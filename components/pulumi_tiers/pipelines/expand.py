"""What a pipeline's parts become: builds, deployments, gates and messages as plain steps and jobs.

Scripts get every value through their environment, and no secret on a command line, where every
process of the machine could read it.
"""

from collections.abc import Iterator, Mapping

from pulumi_tiers.model.pipeline import (
    NOTIFY,
    WEBHOOKS,
    Access,
    Backend,
    Channel,
    ClusterAccess,
    ComposeDeployment,
    Deployment,
    Event,
    Health,
    ImageBuild,
    Job,
    KubectlDeployment,
    Permission,
    Pipeline,
    PipelineSecret,
    PipelineVariable,
    RegistryAccess,
    Scope,
    SecretSource,
    Step,
    When,
    Workflow,
    uses_of,
)

PYTHON = "3.11"
SPACES = ("SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY")
"""Secrets with which DigitalOcean's provider makes buckets."""
PIPELINES_TOKEN = "PIPELINES_TOKEN"  # noqa: S105 - a name
"""GitHub's own token may neither write workflows nor secrets; names with GITHUB_ are refused."""
_IMAGES = "$RUNNER_TEMP/images"
"""A line for each service: ``<service>=<image with its digest>``."""


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
        steps += _build(pipeline, job.images, permissions)
    if job.deploy:
        steps += _deploy(pipeline, job.deploy, pipeline.built_before(file, name), permissions)
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
        _any_of("github.event_name", [event.value for event in job.events]),
        _any_of("github.ref", [f"refs/heads/{branch}" for branch in branches]),
        job.condition,
    ]
    given = [part for part in parts if part]
    if len(given) == 1:
        return given[0]
    return " && ".join(f"({part})" if "||" in part else part for part in given)


def _any_of(what: str, values: list[str]) -> str:
    return " || ".join(f"{what} == '{value}'" for value in values)


def _plain(step: Step) -> Step:
    """The step with `when` in its condition."""
    if step.when is When.SUCCESS:
        return step
    condition = f"{step.when}()" + (f" && ({step.condition})" if step.condition else "")
    return step.model_copy(update={"when": When.SUCCESS, "condition": condition})


# --- steps that others use too --------------------------------------------------------------------


def checkout(**inputs: str) -> Step:
    """The files of the commit."""
    # The token would stay in .git, for everything that runs afterwards.
    return Step(uses="actions/checkout", inputs={**inputs, "persist-credentials": "false"})


def install_program(folder: str) -> list[Step]:
    """Python, what the program of the folder needs, and Pulumi's command."""
    below = "" if folder == "." else f"{folder}/"
    return [
        Step(
            name="Set up Python",
            uses="actions/setup-python",
            inputs={
                "python-version": PYTHON,
                "cache": "pip",
                "cache-dependency-path": f"{below}requirements.txt",
            },
        ),
        Step(
            name="Install the program",
            # Where a Pulumi.yaml with `virtualenv: .venv` looks for it; others find it on PATH.
            run="\n".join(
                [
                    "python -m venv .venv",
                    ".venv/bin/pip install -r requirements.txt",
                    'echo "$PWD/.venv/bin" >> "$GITHUB_PATH"',
                ]
            ),
            working_directory=None if folder == "." else folder,
        ),
        Step(name="Install Pulumi", uses="pulumi/actions"),
    ]


def state_variables(pipeline: Pipeline) -> dict[str, str]:
    """What `pulumi` needs to read the stack's state."""
    match pipeline.backend:
        case Backend.BUCKET:
            names = ["PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"]
            names += ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            return {name: _secret(name) for name in names}
        case Backend.CLOUD:
            return {"PULUMI_ACCESS_TOKEN": _secret("PULUMI_ACCESS_TOKEN")}
        case Backend.CLOUD_OIDC:
            # pulumi/auth-actions puts it into the job's environment.
            return {}


def backend_variables(pipeline: Pipeline) -> dict[str, str]:
    """What `pulumi` needs to change a stack: its state, the cloud, GitHub."""
    given = state_variables(pipeline)
    if pipeline.cluster is ClusterAccess.DIGITALOCEAN:
        given["DIGITALOCEAN_TOKEN"] = _secret("DIGITALOCEAN_ACCESS_TOKEN")
    if pipeline.spaces:
        given |= {name: _secret(name) for name in SPACES}
    return {**given, "GITHUB_TOKEN": _secret(PIPELINES_TOKEN)}


def reach_backend(pipeline: Pipeline, permissions: dict[Permission, Access]) -> list[Step]:
    """What has to be done before `pulumi` finds its state, and the cluster."""
    steps: list[Step] = []
    if pipeline.backend is Backend.CLOUD_OIDC:
        permissions[Permission.ID_TOKEN] = Access.WRITE
        steps.append(
            Step(
                name="Prove to Pulumi Cloud who this is",
                uses="pulumi/auth-actions",
                inputs={
                    "organization": "${{ vars.PULUMI_ORGANIZATION }}",
                    "requested-token-type": "urn:pulumi:token-type:access_token:organization",
                },
            )
        )
    if pipeline.cluster is ClusterAccess.KUBECONFIG:
        steps.append(
            Step(
                name="Write the kubeconfig",
                env={"CONTENT": _secret("KUBECONFIG")},
                run="\n".join(
                    [
                        "umask 077",
                        'printf \'%s\' "$CONTENT" > "$RUNNER_TEMP/kubeconfig"',
                        'echo "KUBECONFIG=$RUNNER_TEMP/kubeconfig" >> "$GITHUB_ENV"',
                    ]
                ),
            )
        )
    return steps


def ask_health(health: Health, folder: str = ".", env: Mapping[str, str] | None = None) -> Step:
    """Asks until it answers with 200. `env`: what `pulumi` needs to tell the stack's URLs."""
    at: dict[str, str]
    if health.url:
        lines = ['url="$HEALTH_URL"']
        at = {"HEALTH_URL": health.url}
    else:
        system, _, service = (health.service or "").partition("/")
        lines = [
            'url=$(pulumi stack output urls --json --stack "$STACK" |',
            '  jq -er --arg system "$SYSTEM" --arg service "$SERVICE" \'.[$system][$service][0]\')',
        ]
        at = {"SYSTEM": system, "SERVICE": service, "HEALTH_PATH": health.path, **(env or {})}
    return Step(
        name=f"Ask for {health.service or health.url} until it is well",
        env=at,
        run="\n".join([*lines, _curl("$url" if health.url else "$url$HEALTH_PATH", health)]),
        working_directory=None if health.url or folder == "." else folder,
    )


def _curl(url: str, health: Health) -> str:
    attempts = health.timeout_minutes * 6
    return "\n".join(
        [
            "curl --fail --silent --show-error --output /dev/null --max-time 10 \\",
            f'  --retry {attempts} --retry-all-errors --retry-delay 10 "{url}"',
        ]
    )


def pulumi_up(deployment: Deployment, pipeline: Pipeline) -> Iterator[Step]:
    """`pulumi up`, and back if it fails. The program is installed, and the images are listed."""
    assert deployment.pulumi is not None
    folder = deployment.pulumi.folder
    inside = None if folder == "." else folder
    stack = {"STACK": deployment.pulumi.stack}
    reading = {**stack, **state_variables(pipeline)}
    env = {**stack, **backend_variables(pipeline)}
    own = not deployment.pulumi.program_only
    keep = 'tiers images --deployed --stack "$STACK"'
    pin = [f'mapfile -t images < "{_IMAGES}"', f'{keep} "${{images[@]}}"'] if own else [keep]
    up = 'pulumi up --yes --non-interactive --stack "$STACK"'
    if own:
        # An interrupt lets Pulumi write down what it has done.
        up = f"timeout --signal=INT --kill-after=2m {deployment.timeout_minutes}m \\\n  {up}"
    if deployment.rollback and own:
        yield Step(
            name="Note what runs now",
            env=reading,
            working_directory=inside,
            run="\n".join(
                [
                    'pulumi stack output --json --stack "$STACK" |',
                    "  jq -r '.images // {} | to_entries[] | \"\\(.key)=\\(.value)\"'"
                    ' > "$RUNNER_TEMP/before"',
                ]
            ),
        )
    yield Step(
        name="Deploy",
        id="deploy",
        # A later `up` of the stack finds these images in its output, and keeps them.
        comment="The stack's file names the images by digest; --deployed keeps those of services"
        " that were not built here.",
        env=env,
        working_directory=inside,
        run="\n".join([*pin, up]),
    )
    for health in deployment.health:
        yield ask_health(health, folder, reading)
    if deployment.rollback and own:
        yield Step(
            name="Go back to what ran before",
            condition="failure() && steps.deploy.outcome != 'skipped'",
            env=env,
            working_directory=inside,
            run="\n".join(
                [
                    'if [ ! -s "$RUNNER_TEMP/before" ]; then',
                    '  echo "::warning::nothing was deployed before, so nothing comes back"',
                    "  exit 0",
                    "fi",
                    'mapfile -t images < "$RUNNER_TEMP/before"',
                    'tiers images --stack "$STACK" "${images[@]}"',
                    'pulumi up --yes --non-interactive --stack "$STACK"',
                ]
            ),
        )


def _secret(name: str) -> str:
    return f"${{{{ secrets.{name} }}}}"


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


# --- images ---------------------------------------------------------------------------------------

_ALIASES = {"{branch}": "${{ github.ref_name }}", "{sha}": "${{ github.sha }}"}


def tagged(image: str, tag: str) -> str:
    """``name:tag`` with GitHub's expressions for what the tag says of the commit."""
    for short, expression in _ALIASES.items():
        tag = tag.replace(short, expression)
    return f"{image}:{tag}"


def _tag_lines(image: ImageBuild) -> Iterator[str]:
    for tag in image.tags:
        name = tagged(image.image, tag.name)
        if not tag.branches:
            yield name
        elif "${{" not in name:
            # The action leaves out empty lines.
            only = _any_of("github.ref_name", [*tag.branches])
            only = f"({only})" if len(tag.branches) > 1 else only
            yield f"${{{{ {only} && '{name}' || '' }}}}"
        else:
            short = tag.name.replace("{branch}", "{0}").replace("{sha}", "{1}")
            only = _any_of("github.ref_name", [*tag.branches])
            text = f"format('{image.image}:{short}', github.ref_name, github.sha)"
            yield f"${{{{ ({only}) && {text} || '' }}}}"


def log_in(
    pipeline: Pipeline, permissions: dict[Permission, Access], access: Access = Access.READ
) -> list[Step]:
    """Logs in to the registry of images."""
    registry = pipeline.registry
    host = {"registry": registry.host} if registry.host else {}
    match registry.login:
        case RegistryAccess.SECRETS:
            user = {"username": _secret(registry.username), "password": _secret(registry.password)}
        case RegistryAccess.GITHUB:
            # A job that pushes and deploys logs in twice.
            if permissions.get(Permission.PACKAGES) is not Access.WRITE:
                permissions[Permission.PACKAGES] = access
            host = {"registry": registry.host or "ghcr.io"}
            user = {"username": "${{ github.actor }}", "password": _secret("GITHUB_TOKEN")}
        case RegistryAccess.AWS:
            permissions[Permission.ID_TOKEN] = Access.WRITE
            return [
                Step(
                    name="Prove to AWS who this is",
                    uses="aws-actions/configure-aws-credentials",
                    inputs={
                        "role-to-assume": f"${{{{ vars.{registry.role} }}}}",
                        "aws-region": f"${{{{ vars.{registry.region} }}}}",
                    },
                ),
                Step(name="Log in to the registry", uses="aws-actions/amazon-ecr-login"),
            ]
    return [
        Step(name="Log in to the registry", uses="docker/login-action", inputs={**host, **user})
    ]


def _build(
    pipeline: Pipeline, images: list[ImageBuild], permissions: dict[Permission, Access]
) -> list[Step]:
    steps = [Step(name="Set up Docker Buildx", uses="docker/setup-buildx-action")]
    if any(image.push for image in images):
        steps += log_in(pipeline, permissions, Access.WRITE)
    for image in images:
        short = image.image.rpartition("/")[2]
        inputs = {"context": image.context}
        if image.dockerfile:
            inputs["file"] = image.dockerfile
        if image.target:
            inputs["target"] = image.target
        if image.args:
            inputs["build-args"] = "\n".join(f"{key}={text}" for key, text in image.args.items())
        inputs["push"] = "true" if image.push else "false"
        if image.push:
            inputs["tags"] = "\n".join(_tag_lines(image))
            inputs["labels"] = "org.opencontainers.image.revision=${{ github.sha }}"
        if image.push and pipeline.attest:
            # The whole provenance shows the arguments of the build to everybody who pulls.
            given = any(uses_of(text, "secrets") for text in image.args.values())
            inputs |= {"provenance": f"mode={'min' if given else 'max'}", "sbom": "true"}
        else:
            inputs["provenance"] = "false"
        # Each image its own, or they would push each other out.
        inputs |= {
            "cache-from": f"type=gha,scope={short}",
            "cache-to": f"type=gha,mode=max,scope={short}",
        }
        verb = "Build and push" if image.push else "Build"
        steps.append(Step(name=f"{verb} {short}", uses="docker/build-push-action", inputs=inputs))
    return steps


# --- deployments ----------------------------------------------------------------------------------


def _deploy(
    pipeline: Pipeline,
    deployment: Deployment,
    built: Mapping[str, ImageBuild],
    permissions: dict[Permission, Access],
) -> Iterator[Step]:
    if deployment.images:
        yield from log_in(pipeline, permissions)
        yield _digests(deployment, built)
    if deployment.pulumi:
        yield from install_program(deployment.pulumi.folder)
        yield from reach_backend(pipeline, permissions)
        yield from pulumi_up(deployment, pipeline)
    elif deployment.kubectl:
        yield from _kubectl(deployment, deployment.kubectl)
    elif deployment.compose:
        yield from _compose(deployment, deployment.compose)


def _digests(deployment: Deployment, built: Mapping[str, ImageBuild]) -> Step:
    images = [
        f"{service}={tagged(image, built[image].immutable_tag)}"
        for service, image in deployment.images.items()
    ]
    return Step(
        name="Find the digests of this commit's images",
        comment="A tag can be moved; a digest is the image that was built and tested.",
        env={"IMAGES": "\n".join(images)},
        run="\n".join(
            [
                "while IFS='=' read -r service image; do",
                '  digest=$(docker buildx imagetools inspect "$image"'
                " --format '{{.Manifest.Digest}}')",
                '  echo "$service=$image@$digest"',
                f'done <<< "$IMAGES" | tee "{_IMAGES}"',
            ]
        ),
    )


def _kubectl(deployment: Deployment, kubectl: KubectlDeployment) -> Iterator[Step]:
    names = {
        "DEPLOYMENT": kubectl.deployment,
        "CONTAINER": kubectl.container,
        "NAMESPACE": kubectl.namespace,
    }
    there = {key: names[key] for key in ("DEPLOYMENT", "NAMESPACE")}
    at = '--namespace "$NAMESPACE"'
    wait = (
        f'kubectl rollout status "deployment/$DEPLOYMENT" {at}'
        f" --timeout {deployment.timeout_minutes}m"
    )
    yield Step(
        name="Install doctl",
        uses="digitalocean/action-doctl",
        inputs={"token": _secret(kubectl.token)},
    )
    yield Step(
        name="Reach the cluster",
        env={"CLUSTER": _secret(kubectl.cluster)},
        run='doctl kubernetes cluster kubeconfig save "$CLUSTER"',
    )
    if deployment.rollback:
        revision = "{.metadata.annotations.deployment\\.kubernetes\\.io/revision}"
        yield Step(
            name="Note what runs now",
            id="before",
            env=there,
            run="\n".join(
                [
                    f'revision=$(kubectl get deployment "$DEPLOYMENT" {at} --ignore-not-found \\',
                    f"  --output jsonpath='{revision}')",
                    'echo "revision=$revision" >> "$GITHUB_OUTPUT"',
                ]
            ),
        )
    if kubectl.manifests:
        yield Step(
            name="Apply the manifests",
            # Incident 2: a new cluster has no deployment whose image could be set.
            comment="First, so that a new cluster has the deployment whose image is set.",
            env={"MANIFESTS": kubectl.manifests, "NAMESPACE": kubectl.namespace},
            run=f'kubectl apply --filename "$MANIFESTS" {at}',
        )
    yield Step(
        name="Set the image",
        id="deploy",
        env=names,
        run="\n".join(
            [
                f'image=$(cut --delimiter = --fields 2- "{_IMAGES}")',
                f'kubectl set image "deployment/$DEPLOYMENT" "$CONTAINER=$image" {at}',
            ]
        ),
    )
    yield Step(
        name="Restart the pods",
        env=there,
        run="\n".join(
            [
                "now=$(date --utc +%Y-%m-%dT%H:%M:%SZ)",
                f'kubectl patch deployment "$DEPLOYMENT" {at} --patch \\',
                '  "{\\"spec\\":{\\"template\\":{\\"metadata\\":{\\"annotations\\":'
                '{\\"kubectl.kubernetes.io/restartedAt\\":\\"$now\\"}}}}}"',
            ]
        ),
    )
    yield Step(name="Wait for the rollout", env=there, run=wait)
    for health in deployment.health:
        yield Step(
            name="Ask until it is well",
            env={
                "HEALTH_PATH": health.path,
                "NAMESPACE": kubectl.namespace,
                "SERVICE": kubectl.service,
            },
            run="\n".join(
                [
                    f'address=$(kubectl get service "$SERVICE" {at}'
                    " --output jsonpath='{.status.loadBalancer.ingress[0].ip}')",
                    _curl("http://$address$HEALTH_PATH", health),
                ]
            ),
        )
    if deployment.rollback:
        yield Step(
            name="Go back to what ran before",
            # Each of the steps before may have made a revision of its own.
            condition="failure() && steps.before.outputs.revision != ''",
            env={**there, "REVISION": "${{ steps.before.outputs.revision }}"},
            run="\n".join(
                [
                    f'kubectl rollout undo "deployment/$DEPLOYMENT" {at} --to-revision "$REVISION"',
                    wait,
                ]
            ),
        )


def _compose(deployment: Deployment, compose: ComposeDeployment) -> Iterator[Step]:
    env = {"COMPOSE_PROJECT_NAME": compose.project, "COMPOSE_FILE": ":".join(compose.files)}
    if compose.profiles:
        env["COMPOSE_PROFILES"] = ",".join(compose.profiles)
    env |= compose.env
    # What ran before is kept on the host itself, for this user alone.
    kept = 'kept="$HOME/.local/state/deployments/$COMPOSE_PROJECT_NAME.json"'
    wait = f"--detach --no-build --wait --wait-timeout {deployment.timeout_minutes * 60}"
    yield Step(
        name="Deploy",
        id="deploy",
        comment="The file of this commit's images comes on top of the repository's own: nothing is"
        " built on the host.",
        env=env,
        run="\n".join(
            [
                'images="$RUNNER_TEMP/images.json"',
                "jq --raw-input --null-input '{services: ([inputs |",
                '  capture("^(?<key>[^=]+)=(?<image>.+)$") | {key, value: {image}}] |',
                f'  from_entries)}}\' "{_IMAGES}" > "$images"',
                'export COMPOSE_FILE="$COMPOSE_FILE:$images"',
                "docker compose pull --policy missing",
                f"docker compose up {wait}",
            ]
        ),
    )
    for health in deployment.health:
        yield ask_health(health)
    yield Step(
        name="Show the logs",
        condition="failure() && steps.deploy.outcome != 'skipped'",
        # In the checkout, Compose would read the repository's file, and ask for its values.
        env={"COMPOSE_PROJECT_NAME": compose.project},
        run='cd "$RUNNER_TEMP"\ndocker compose logs --tail=100',
    )
    if deployment.rollback:
        yield Step(
            name="Go back to what ran before",
            comment="Never `docker compose down`: it would take away what still runs.",
            condition="failure() && steps.deploy.outcome != 'skipped'",
            env=env,
            run="\n".join(
                [
                    kept,
                    'if [ ! -s "$kept" ]; then',
                    '  echo "::warning::nothing was deployed before, so nothing comes back"',
                    "  exit 0",
                    "fi",
                    'export COMPOSE_FILE="$COMPOSE_FILE:$kept"',
                    f"docker compose up {wait}",
                ]
            ),
        )
    yield Step(
        name="Note what runs now",
        env={"COMPOSE_PROJECT_NAME": compose.project},
        run="\n".join(
            [
                kept,
                'mkdir -p "$(dirname "$kept")"',
                'cp "$RUNNER_TEMP/images.json" "$kept"',
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
            "WEBHOOK": _secret(WEBHOOKS[channel]),
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
