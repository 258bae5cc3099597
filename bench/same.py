"""Two programs are compared only if they make the same things."""

from collections.abc import Iterator, Mapping
from typing import Any

from pulumi_tiers.cli import project as projects
from pulumi_tiers.render.recorder import Recording, Secret, bare, replace_placeholders

from bench.workplace import MeasureError, Project

_KINDS = ("Container", "Network", "Volume")


def check(ours: Project, flat: Project) -> None:
    """Raises MeasureError where the hand-written program makes anything else than ours does."""
    made, expected = _made(ours), _made(flat)
    for name in sorted(made.keys() | expected.keys()):
        mine, theirs = made.get(name, {}), expected.get(name, {})
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                raise MeasureError(
                    f"the programs differ, so their times can't be compared: {name}.{key} is"
                    f" {mine.get(key)!r} in ours, {theirs.get(key)!r} in the flat one"
                )


def _made(project: Project) -> dict[str, dict[str, Any]]:
    """Inputs by kind and physical name, both without what is allowed to differ."""
    recording = projects.Project.find(project.folder).record(project.stack)
    names = {
        item.urn: f"{kind} {str(item.inputs['name']).removeprefix(project.stack)}"
        for kind in (*_KINDS, "RemoteImage")
        for item in recording.of_type(f"docker:index/{kind[0].lower()}{kind[1:]}:{kind}")
    }
    made = {
        names[item.urn]: {
            **_inputs(item.inputs, project.stack),
            "what it waits for": sorted({names[urn] for urn in item.depends_on if urn in names}),
        }
        for kind in _KINDS
        for item in recording.of_type(f"docker:index/{kind.lower()}:{kind}")
    }
    return {**made, **_objects(recording, project.stack), "other": _others(recording)}


def _objects(recording: Recording, stack: str) -> dict[str, dict[str, Any]]:
    """Kubernetes' objects by path, labels and annotations too.

    Not as manifests, which lack the annotations that tell the provider how to wait.
    """
    return {
        f"{item.inputs['kind']} {item.inputs['metadata']['name'].removeprefix(stack)}": dict(
            _leaves(_clean(item.inputs, stack))
        )
        for item in recording.resources
        if item.type.startswith("kubernetes:")
    }


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case Mapping() if value:
            items = value.items()
        case list() if value:
            items = enumerate(value)
        case _:
            yield path, value
            return
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))


def _others(recording: Recording) -> dict[str, Any]:
    """Images by name: one resource may stand for several containers. Secrets by number."""
    images = recording.of_type("docker:index/remoteImage:RemoteImage")
    return {
        "images": sorted({str(image.inputs["name"]) for image in images}),
        "passwords": len(recording.of_type("random:index/randomPassword:RandomPassword")),
        "keys": len(recording.of_type("tls:index/privateKey:PrivateKey")),
        "certificates": len(recording.of_type("tls:index/selfSignedCert:SelfSignedCert")),
    }


def _inputs(inputs: Mapping[str, Any], stack: str) -> dict[str, Any]:
    """Without labels, which are for finding things, and without what is empty."""
    cleaned = {key: _clean(value, stack) for key, value in bare(inputs).items() if key != "labels"}
    # The provider takes it as a set.
    if "envs" in cleaned:
        cleaned["envs"] = sorted(cleaned["envs"])
    return {key: value for key, value in cleaned.items() if value not in (None, [], {})}


def _clean(value: Any, stack: str) -> Any:
    """Texts without the stack's name and the names of secrets."""
    if isinstance(value, Secret):
        return Secret(_clean(value.value, stack))
    if isinstance(value, str):
        return replace_placeholders(value.removeprefix(stack), lambda kind, _: f"<{kind}>")
    if isinstance(value, list):
        return [_clean(item, stack) for item in value]
    if isinstance(value, Mapping):
        return {key: _clean(item, stack) for key, item in value.items()}
    return value
