"""`tiers render`: a recording becomes files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pulumi_tiers.cli import certificates
from pulumi_tiers.cli.certificates import Wanted
from pulumi_tiers.cli.compose import read_secrets, write_secrets
from pulumi_tiers.cli.console import EXIT_INPUT, Stop
from pulumi_tiers.cli.files import write_private
from pulumi_tiers.cli.project import Project
from pulumi_tiers.model.cloud import Cloud
from pulumi_tiers.render.recorder import Json, Recording, bare, placeholders, variable_name

#: What a format can show; a stack with another target is shown as if it had the first.
_TARGETS = {"compose": ("docker",), "kubernetes": ("kubernetes", "digitalocean")}


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
    #: Sentences for people: warnings, and what can't be known here.
    remarks: list[str]
    #: The files hold secrets in clear.
    private: bool = False
    #: Certificates among the secrets.
    certificates: Sequence[Wanted] = ()

    def write(self, folder: Path) -> list[Path]:
        """Writes the files; existing secrets keep their values."""
        folder.mkdir(parents=True, exist_ok=True)
        written = [folder / name for name in self.files]
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if self.private:
                write_private(folder / name, text)
            else:
                (folder / name).write_text(text, encoding="utf-8")
        if self.secrets or self.literals:
            _ignore(folder / ".gitignore", "*" if self.private else "/.env")
            known = set(self.secrets)
            written.append(write_secrets(folder, known, self.literals, self.certificates))
        return written


def _ignore(path: Path, line: str) -> None:
    """Adds a line to a .gitignore that may be there already."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if line not in lines:
        path.write_text("\n".join([*lines, line]) + "\n", encoding="utf-8")


def render(
    project: Project,
    stack: str,
    to: str,
    overrides: Mapping[str, Json],
    secrets_in: Path | None = None,
) -> Rendered:
    """Records the stack's program and renders it. `to` names the renderer.

    `secrets_in`: the folder whose secrets are written into Kubernetes' YAML; None: into none.
    """
    if to == "workflows" and "tiers:github" not in project.config(stack):
        # No pipeline is made without it. The files are the same whoever the owner is, and whatever
        # else is written.
        overrides = {**overrides, "tiers:github": {"owner": "owner", "repository_wide": False}}
    targets = _TARGETS.get(to)
    if targets and project.config(stack).get("tiers:target") not in targets:
        overrides = {**overrides, "tiers:target": targets[0]}
    recording = project.record(stack, overrides)
    found = {found for resource in recording.resources for found in placeholders(resource.inputs)}
    encrypted = project.encrypted(stack)
    names = frozenset(name for kind, name in found if kind == "secret" and name not in encrypted)
    remarks = [f"warning: {warning}" for warning in dict.fromkeys(recording.warnings)]
    if to == "workflows":
        return _workflows(recording, remarks)
    remarks += [
        f"{place} is encrypted: give the files its value as {name}"
        for name, place in encrypted.items()
        if ("secret", name) in found
    ]
    if to in ("graph", "kubernetes"):
        remarks += _unknown(recording, to)
    if to == "graph":
        from pulumi_tiers.render.graph import graph

        text = json.dumps(graph(recording), indent=2, ensure_ascii=False) + "\n"
        return Rendered(text, {"graph.json": text}, frozenset(), {}, remarks)
    if to == "picture":
        from pulumi_tiers.render.picture import PictureError, mermaid, svg

        text = mermaid(recording)
        files = {"picture.mmd": text}
        try:
            files["picture.svg"] = svg(recording)
        except PictureError as error:
            remarks.append(str(error))
        return Rendered(text, files, frozenset(), {}, remarks)
    if to == "report":
        from pulumi_tiers.render.report import report

        text = report(recording, stack, _prices(project, stack))
        return Rendered(text, {"report.md": text}, frozenset(), {}, remarks)
    if to == "compose":
        from pulumi_tiers.render.compose import compose_yaml, literal_secrets

        text = compose_yaml(recording, stack)
        literals = literal_secrets(recording)
        made = certificates.wanted(recording)
        return Rendered(text, {"compose.yaml": text}, names, literals, remarks, certificates=made)
    return _kubernetes(recording, names, remarks, secrets_in)


def _unknown(recording: Recording, to: str) -> list[str]:
    """What stands in the files and is known after an `up` only."""
    found: set[str] = set()
    for resource in recording.resources:
        # Manifests are made of Kubernetes' resources alone.
        if to != "kubernetes" or "metadata" in resource.inputs:
            found |= {name for kind, name in placeholders(resource.inputs) if kind == "later"}
    # As the manifests call it, for envsubst.
    names = {variable_name(name) if to == "kubernetes" else name for name in found}
    return [f"only the cloud knows ${{{name}}}" for name in sorted(names)]


def _prices(project: Project, stack: str) -> Mapping[str, float]:
    """Those that the stack gives. Another program's configuration may be anything."""
    try:
        return Cloud.model_validate(bare(project.config(stack).get("tiers:digitalocean"))).prices
    except ValidationError:
        return {}


def _workflows(recording: Recording, remarks: list[str]) -> Rendered:
    from pulumi_tiers.render.workflows import as_text, workflows

    try:
        files = workflows(recording)
    except ValueError as error:
        raise Stop(f"{error}: give each a 'system' of its own", EXIT_INPUT) from None
    if not files:
        raise Stop(
            "the program makes no pipeline: turn one on in tiers:pipelines for one of the stack's"
            " systems, or make a CIPipeline",
            EXIT_INPUT,
        )
    return Rendered(as_text(files), files, frozenset(), {}, remarks)


def _kubernetes(
    recording: Recording, names: frozenset[str], remarks: list[str], folder: Path | None
) -> Rendered:
    from pulumi_tiers.render.kubernetes import to_files, to_yaml

    made = certificates.wanted(recording)
    if folder is None:
        files = to_files(recording)
        return Rendered(to_yaml(recording), files, names, {}, remarks, certificates=made)
    write_secrets(folder, set(names), {}, made)
    files = to_files(recording, read_secrets(folder))
    return Rendered("", files, names, {}, remarks, private=True, certificates=made)
