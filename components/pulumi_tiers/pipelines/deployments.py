"""How what was built comes to run: by Pulumi, kubectl or Compose, and back if it fails."""

from collections.abc import Iterator, Mapping

from pulumi_tiers.model.deployment import (
    ComposeDeployment,
    Deployment,
    ImageBuild,
    KubectlDeployment,
)
from pulumi_tiers.model.pipeline import Pipeline
from pulumi_tiers.model.workflow import Access, Permission, Step
from pulumi_tiers.pipelines.images import log_in, tagged
from pulumi_tiers.pipelines.steps import (
    ask_health,
    backend_variables,
    curl,
    install_program,
    reach_backend,
    secret,
    state_variables,
)

_IMAGES = "$RUNNER_TEMP/images"
"""A line for each service: ``<service>=<image with its digest>``."""


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


def deploy_steps(
    pipeline: Pipeline,
    deployment: Deployment,
    built: Mapping[str, ImageBuild],
    permissions: dict[Permission, Access],
) -> Iterator[Step]:
    """Logs in, finds the digests of the images, and deploys them."""
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
        inputs={"token": secret(kubectl.token)},
    )
    yield Step(
        name="Reach the cluster",
        env={"CLUSTER": secret(kubectl.cluster)},
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
                    curl("http://$address$HEALTH_PATH", health),
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
