"""A recording of Kubernetes resources as manifests: what `up` would make, for kubectl.

All secrets stand in the Secrets, as ``${NAME}`` for `envsubst`; only on request with their values.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import groupby

import yaml

from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Secret,
    placeholders,
    replace_placeholders,
    variable_name,
)

Manifest = dict[str, Json]

# What others need comes before them; kinds that are not named here come last.
_ORDER = (
    ("Namespace",),
    ("NetworkPolicy",),
    ("Secret",),
    ("ConfigMap", "Role", "RoleBinding", "ServiceAccount"),
    ("PersistentVolumeClaim",),
    ("Service",),
    ("DaemonSet", "StatefulSet"),
    ("Deployment",),
    ("Job",),
    ("CronJob",),
    ("PodDisruptionBudget", "TriggerAuthentication"),
)
# Where people look first.
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace")


def manifests(
    recording: Recording, with_secrets: Mapping[str, str] | None = None
) -> list[Manifest]:
    """Every Kubernetes object, in an order that `kubectl apply` can follow.

    `with_secrets` has the values of the secrets by name; without it they are ``${NAME}``.
    """
    found: list[Manifest] = []
    for resource in recording.resources:
        if resource.type.startswith("kubernetes:") and "metadata" in resource.inputs:
            inputs = _without_pulumi(resource.inputs)
            for ignored in resource.ignore_changes:
                # Somebody else decides it, and each `kubectl apply` would set it back.
                inputs = _without(inputs, ignored.split("."))
            metadata = inputs["metadata"]
            path = (metadata.get("namespace", ""), metadata["name"])
            found.append(_shown(inputs, path, with_secrets))
    return sorted(found, key=_position)


def _without_pulumi(manifest: Mapping[str, Json]) -> Manifest:
    """Without the annotations that tell Pulumi how to wait: kubectl has nothing to do with it."""
    metadata = dict(manifest["metadata"])
    annotations = {
        key: value
        for key, value in metadata.pop("annotations", {}).items()
        if not key.startswith("pulumi.com/")
    }
    if annotations:
        metadata["annotations"] = annotations
    return {**manifest, "metadata": metadata}


def _without(manifest: Mapping[str, Json], path: list[str]) -> Manifest:
    key, *rest = path
    if rest and key in manifest:
        return {**manifest, key: _without(manifest[key], rest)}
    return {name: value for name, value in manifest.items() if name != key}


def to_files(recording: Recording, with_secrets: Mapping[str, str] | None = None) -> dict[str, str]:
    """One file per kind, so that all secrets are in one: ``00-namespace.yaml`` and so on."""
    return {
        f"{_rank(kind):02d}-{kind.lower()}.yaml": _dump(group, complete=with_secrets is not None)
        for kind, group in groupby(manifests(recording, with_secrets), key=_kind)
    }


def to_yaml(recording: Recording, with_secrets: Mapping[str, str] | None = None) -> str:
    """Everything as one text of several documents."""
    return _dump(manifests(recording, with_secrets), complete=with_secrets is not None)


def _kind(manifest: Manifest) -> str:
    return manifest["kind"]


def _rank(kind: str) -> int:
    ranks = (rank for rank, kinds in enumerate(_ORDER) if kind in kinds)
    return next(ranks, len(_ORDER))


def _position(manifest: Manifest) -> tuple[int, str, str, str]:
    kind, metadata = _kind(manifest), manifest["metadata"]
    return _rank(kind), kind, metadata.get("namespace", ""), metadata["name"]


def _shown(
    value: Json, path: tuple[str, ...], secrets: Mapping[str, str] | None, *, hidden: bool = False
) -> Json:
    """The value in a fixed order, without `Secret` wrappers and placeholders."""
    match value:
        case Secret():
            return _shown(value.value, path, secrets, hidden=True)
        case str() if hidden and secrets is None and not _is_ours(value):
            # Somebody wrote the secret, or a part of it, into the program: all of it is a variable.
            return f"${{{variable_name('-'.join(path))}}}"
        case str():
            known = secrets or {}
            # What only the cloud knows is a variable too: envsubst takes letters and underscores.
            return replace_placeholders(
                value, lambda _, name: known.get(name, f"${{{variable_name(name)}}}")
            )
        case Mapping():
            return {
                key: _shown(value[key], (*path, key), secrets, hidden=hidden)
                for key in sorted(value, key=lambda key: (key not in _FIRST, key))
            }
        case list():
            return [
                _shown(item, (*path, str(number)), secrets, hidden=hidden)
                for number, item in enumerate(value)
            ]
        case _:
            return value


_HOST = r"[\w.-]*(:\d*)?"
#: What stands around the placeholders of a URL, or of a key, that an engine has built.
_BUILT = re.compile(
    rf"[a-z0-9+]+://[\w.%~-]*:@{_HOST}(,{_HOST})*(/[\w.%~-]*)?"
    r"(\?(sslmode=[a-z]+|authSource=admin(&replicaSet=[\w%-]+|&tls=true)?"
    r"|encrypt=true&trustServerCertificate=true))?"
    # MinIO's key: its name, and the end of 32 bytes in base64.
    r"|tiers:A="
    # The user of an HTTP login, such as Flower's.
    r"|admin:"
)


def _is_ours(secret: str) -> bool:
    """Whether nothing but placeholders is secret in it: it is one, or the URL of a store."""
    if not any(placeholders(secret)):
        return False
    around = replace_placeholders(secret, lambda _, __: "")
    return not around or _BUILT.fullmatch(around) is not None


class _Dumper(yaml.SafeDumper):
    """Quotes more than PyYAML does, which only thinks of YAML 1.1."""


# "1e3" is a number for kubectl, "y" a boolean, and a variable may become either.
_DOUBTFUL = re.compile(r"[\d.+-]|[yn]$|.*\$\{", re.IGNORECASE)


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else "'" if _DOUBTFUL.match(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


def _dump(documents: Iterable[Manifest], *, complete: bool) -> str:
    documents = list(documents)
    text = yaml.dump_all(
        documents,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        explicit_start=True,
        width=1_000_000,
    )
    if complete:
        return text
    # Named one by one: the dollar signs of a shell command are none of envsubst's business.
    values = (value for item in documents for value in item.get("stringData", {}).values())
    names = sorted({name for value in values for name in re.findall(r"\$\{\w+\}", value)})
    return f"# Fill in the secrets: envsubst '{' '.join(names)}'\n{text}" if names else text
