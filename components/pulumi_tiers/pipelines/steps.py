"""Steps that several parts of a pipeline take.

Scripts get every value through their environment, and no secret on a command line, where every
process of the machine could read it.
"""

from collections.abc import Mapping

from pulumi_tiers.model.deployment import Health
from pulumi_tiers.model.pipeline import Backend, ClusterAccess, Pipeline
from pulumi_tiers.model.workflow import Access, Permission, Step

PYTHON = "3.11"
PULUMI = "3.259.0"
"""The release that this library was tried with."""
SPACES = ("SPACES_ACCESS_KEY_ID", "SPACES_SECRET_ACCESS_KEY")
"""Secrets with which DigitalOcean's provider makes buckets."""
PIPELINES_TOKEN = "PIPELINES_TOKEN"  # noqa: S105 - a name
"""GitHub's own token may neither write workflows nor secrets; names with GITHUB_ are refused."""


def any_of(what: str, values: list[str]) -> str:
    """An expression that is true if `what` is one of the values."""
    return " || ".join(f"{what} == '{value}'" for value in values)


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
        Step(name="Install Pulumi", uses="pulumi/actions", inputs={"pulumi-version": PULUMI}),
    ]


def state_variables(pipeline: Pipeline) -> dict[str, str]:
    """What `pulumi` needs to read the stack's state."""
    match pipeline.backend:
        case Backend.BUCKET:
            names = ["PULUMI_BACKEND_URL", "PULUMI_CONFIG_PASSPHRASE"]
            names += ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            return {name: secret(name) for name in names}
        case Backend.CLOUD:
            return {"PULUMI_ACCESS_TOKEN": secret("PULUMI_ACCESS_TOKEN")}
        case Backend.CLOUD_OIDC:
            # pulumi/auth-actions puts it into the job's environment.
            return {}


def backend_variables(pipeline: Pipeline) -> dict[str, str]:
    """What `pulumi` needs to change a stack: its state, the cloud, GitHub."""
    given = state_variables(pipeline)
    if pipeline.cluster is ClusterAccess.DIGITALOCEAN:
        given["DIGITALOCEAN_TOKEN"] = secret("DIGITALOCEAN_ACCESS_TOKEN")
    if pipeline.spaces:
        given |= {name: secret(name) for name in SPACES}
    return {**given, "GITHUB_TOKEN": secret(PIPELINES_TOKEN)}


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
                env={"CONTENT": secret("KUBECONFIG")},
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
        run="\n".join([*lines, curl("$url" if health.url else "$url$HEALTH_PATH", health)]),
        working_directory=None if health.url or folder == "." else folder,
    )


def curl(url: str, health: Health) -> str:
    """Asks a URL until it answers with 200; every 10 seconds, as long as `health` says."""
    attempts = health.timeout_minutes * 6
    return "\n".join(
        [
            "curl --fail --silent --show-error --output /dev/null --max-time 10 \\",
            f'  --retry {attempts} --retry-all-errors --retry-delay 10 "{url}"',
        ]
    )


def secret(name: str) -> str:
    """The expression of a secret."""
    return f"${{{{ secrets.{name} }}}}"
