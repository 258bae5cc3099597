"""How images are built and pushed: tags, logins, caches."""

from collections.abc import Iterator

from pulumi_tiers.model.deployment import ImageBuild
from pulumi_tiers.model.expression import uses_of
from pulumi_tiers.model.pipeline import Pipeline, RegistryAccess
from pulumi_tiers.model.workflow import Access, Permission, Step
from pulumi_tiers.pipelines.steps import any_of, secret

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
            only = any_of("github.ref", [f"refs/heads/{branch}" for branch in tag.branches])
            only = f"({only})" if len(tag.branches) > 1 else only
            yield f"${{{{ {only} && '{name}' || '' }}}}"
        else:
            short = tag.name.replace("{branch}", "{0}").replace("{sha}", "{1}")
            only = any_of("github.ref", [f"refs/heads/{branch}" for branch in tag.branches])
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
            user = {"username": secret(registry.username), "password": secret(registry.password)}
        case RegistryAccess.GITHUB:
            # A job that pushes and deploys logs in twice.
            if permissions.get(Permission.PACKAGES) is not Access.WRITE:
                permissions[Permission.PACKAGES] = access
            host = {"registry": registry.host or "ghcr.io"}
            user = {"username": "${{ github.actor }}", "password": secret("GITHUB_TOKEN")}
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


def build_steps(
    pipeline: Pipeline, images: list[ImageBuild], permissions: dict[Permission, Access]
) -> list[Step]:
    """Builds the images, and pushes those that are to be."""
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
