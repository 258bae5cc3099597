"""The workflow files of a recording: what `up` would put into the repositories."""

from pulumi_tiers.component import PACKAGE
from pulumi_tiers.render.recorder import Recording, bare

COMPONENT = f"{PACKAGE}:index:CIPipeline"
PAGE = "pipelines.md"


def workflows(recording: Recording) -> dict[str, str]:
    """The files of every CIPipeline by ``<system>/<path in its repository>``, and a page of each.

    Raises ValueError where two pipelines have the same file.
    """
    found: dict[str, str] = {}
    for component in recording.of_type(COMPONENT):
        outputs = bare(recording.component_outputs[component.urn])
        # What the engine's protocol has carried is in no order.
        files = {**dict(sorted(outputs["files"].items())), PAGE: outputs["page"]}
        for path, text in files.items():
            name = f"{outputs['system']}/{path}"
            if name in found:
                raise ValueError(f"two pipelines of {outputs['system']} have the file {path}")
            found[name] = text
    return found


def as_text(files: dict[str, str]) -> str:
    """All workflow files one after another, each below a comment with its path."""
    shown = {name: text for name, text in files.items() if not name.endswith(f"/{PAGE}")}
    return "\n".join(f"# {name}\n{text}" for name, text in shown.items())
