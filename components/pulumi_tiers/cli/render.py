"""`tiers render`: a recording becomes files."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pulumi_tiers.cli.console import Stop
from pulumi_tiers.cli.project import Project
from pulumi_tiers.render.recorder import Json, Recording, placeholders


@dataclass(frozen=True)
class Rendered:
    """What a renderer made."""

    #: For standard output.
    text: str
    #: Files by name, for a folder.
    files: Mapping[str, str]
    #: The secrets that the files refer to; their values belong into one file beside them.
    secrets: frozenset[str]
    #: Secrets that the program itself holds, by the name that the files have for them.
    literals: Mapping[str, str]
    #: Sentences about what can't be known here.
    unknown: list[str]

    def write(self, folder: Path) -> list[Path]:
        """Writes the files; existing secrets keep their values."""
        from pulumi_tiers.cli.compose import write_secrets

        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / name for name in self.files]
        for name, text in self.files.items():
            (folder / name).write_text(text, encoding="utf-8")
        if self.secrets or self.literals:
            (folder / ".gitignore").write_text("/.env\n", encoding="utf-8")
            written.append(write_secrets(folder, set(self.secrets), self.literals))
        return written


def render(
    project: Project, stack: str, to: str, overrides: Mapping[str, Json], *, secrets: bool
) -> Rendered:
    """Records the stack's program and renders it. `to` names the renderer."""
    if to in ("compose", "kubernetes"):
        overrides = {**overrides, "tiers:target": {"compose": "docker"}.get(to, to)}
    recording = project.record(stack, overrides)
    found = {found for resource in recording.resources for found in placeholders(resource.inputs)}
    names = frozenset(name for kind, name in found if kind == "secret")
    unknown = [
        f"only the cloud knows ${{{name}}}" for kind, name in sorted(found) if kind == "later"
    ]
    if to == "graph":
        from pulumi_tiers.render.graph import graph

        text = json.dumps(graph(recording), indent=2, ensure_ascii=False) + "\n"
        return Rendered(text, {"graph.json": text}, frozenset(), {}, unknown)
    if to == "picture":
        from pulumi_tiers.render.picture import PictureError, mermaid, svg

        text = mermaid(recording)
        files = {"picture.mmd": text}
        try:
            files["picture.svg"] = svg(recording)
        except PictureError as error:
            unknown.append(str(error))
        return Rendered(text, files, frozenset(), {}, unknown)
    if to == "compose":
        from pulumi_tiers.render.compose import compose_yaml, literal_secrets

        text = compose_yaml(recording, stack)
        literals = literal_secrets(recording)
        return Rendered(text, {"compose.yaml": text}, names, literals, unknown)
    return _kubernetes(project, stack, recording, names, unknown, secrets=secrets)


def _kubernetes(
    project: Project,
    stack: str,
    recording: Recording,
    names: frozenset[str],
    unknown: list[str],
    *,
    secrets: bool,
) -> Rendered:
    from pulumi_tiers.cli.compose import read_secrets
    from pulumi_tiers.render.kubernetes import to_files, to_yaml

    values = None
    if secrets:
        values = read_secrets(project.state(stack))
        absent = sorted(names - set(values))
        if absent:
            raise Stop(f"no value is known here for {', '.join(absent)}")
    return Rendered(to_yaml(recording, values), to_files(recording, values), names, {}, unknown)
