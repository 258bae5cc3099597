"""What belongs to a workload and is nothing of its own: its files, and who helps it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pulumi_tiers.model.workload import CONFIGS, SECRET_FILES
from pulumi_tiers.platforms.labels import LABEL_PART_OF, LABEL_SERVICE, LABEL_SYSTEM
from pulumi_tiers.render.recorder import Json, Recording, Resource, bare

CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/network:Network"
PODS = frozenset(
    f"kubernetes:{kind}"
    for kind in (
        "apps/v1:DaemonSet",
        "apps/v1:Deployment",
        "apps/v1:StatefulSet",
        "batch/v1:CronJob",
        "batch/v1:Job",
    )
)
"""What makes the pods of a workload."""
SCALERS = (
    "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
    "kubernetes:keda.sh/v1alpha1:ScaledObject",
)
"""What decides how many there are."""


@dataclass(frozen=True)
class File:
    """A file that a workload is given."""

    path: str
    #: Its whole text, with placeholders. Only for looking at: it may be a secret.
    text: str
    secret: bool


def labels_of(resource: Resource) -> dict[str, str]:
    """The labels of a resource of Docker or Kubernetes; not what other providers call so."""
    if resource.type.startswith("kubernetes:"):
        return dict(_metadata(resource).get("labels") or {})
    if resource.type.startswith("docker:"):
        return {item["label"]: item["value"] for item in bare(resource.inputs).get("labels") or []}
    return {}


def pod_template(resource: Resource) -> Json:
    """Of one of `PODS`: the metadata and spec of its pods, with whatever wraps its secrets."""
    spec = bare(resource.inputs["spec"])
    return (spec["jobTemplate"]["spec"] if "jobTemplate" in spec else spec)["template"]


def part_of(resource: Resource) -> str:
    """The service that it helps: sets up, writes files for. Empty for what is there by itself."""
    if resource.type.startswith("kubernetes:"):
        return str((_metadata(resource).get("annotations") or {}).get(LABEL_PART_OF, ""))
    return labels_of(resource).get(LABEL_PART_OF, "")


def _metadata(resource: Resource) -> dict[str, Json]:
    """That of an object of Kubernetes."""
    return dict(bare(resource.inputs.get("metadata")) or {})


def files(recording: Recording) -> dict[tuple[str, str], list[File]]:
    """The files of all workloads, by system and service, in the order of their paths."""
    found: dict[tuple[str, str], dict[str, File]] = {}
    for resource in recording.resources:
        labels = labels_of(resource)
        if resource.type == CONTAINER and part_of(resource):
            key = labels.get(LABEL_SYSTEM, ""), part_of(resource)
            given = _written(resource.inputs)
        elif resource.type in PODS:
            key = labels.get(LABEL_SYSTEM, ""), labels.get(LABEL_SERVICE, "")
            given = _mounted(recording, resource)
        else:
            continue
        for file in given:
            found.setdefault(key, {})[file.path] = file
    return {key: [each[path] for path in sorted(each)] for key, each in found.items()}


#: As the Docker platform lets a container write them: ``put 222 /tmp/nginx.conf "$CONFIGS_0"``.
_PUT = re.compile(r'^put \d+ /\S+/(\S+) "\$((?:CONFIGS|SECRETS)_\d+)"$', re.MULTILINE)


def _written(inputs: Mapping[str, Json]) -> Iterator[File]:
    values: dict[str, str] = {}
    for entry in inputs.get("envs") or []:
        name, _, value = str(bare(entry)).partition("=")
        values[name] = value
    for name, variable in _PUT.findall("\n".join(bare(inputs.get("command") or []))):
        secret = variable.startswith("SECRETS")
        folder = SECRET_FILES if secret else CONFIGS
        yield File(f"{folder}/{name}", values.get(variable, ""), secret)


def _mounted(recording: Recording, workload: Resource) -> Iterator[File]:
    namespace = bare(workload.inputs["metadata"]).get("namespace")
    pod = pod_template(workload)["spec"]
    mounts = pod["containers"][0].get("volumeMounts") or []
    paths = {item["name"]: item["mountPath"] for item in mounts}
    for volume in pod.get("volumes") or []:
        for kind, source, name in (
            ("Secret", "secret", "secretName"),
            ("ConfigMap", "configMap", "name"),
        ):
            if source in volume and volume["name"] in paths:
                for key, text in _data(recording, kind, namespace, volume[source][name]):
                    yield File(f"{paths[volume['name']]}/{key}", text, kind == "Secret")


def _data(recording: Recording, kind: str, namespace: str, name: str) -> Iterator[tuple[str, str]]:
    for resource in recording.of_type(f"kubernetes:core/v1:{kind}"):
        inputs = bare(resource.inputs)
        metadata = inputs["metadata"]
        if (metadata.get("namespace"), metadata.get("name")) == (namespace, name):
            yield from {**(inputs.get("data") or {}), **(inputs.get("stringData") or {})}.items()
