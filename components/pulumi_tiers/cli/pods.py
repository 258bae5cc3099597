"""`tiers run` on Kubernetes: a Job like the pods of a service, for one command. No stack has it.

What runs on demand only is a CronJob that is never due: the Job is made from its template.
"""

import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_tiers.cli.console import EXIT_INPUT, EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.lookup import in_one_word, lookup
from pulumi_tiers.cli.project import Project
from pulumi_tiers.platforms.labels import (
    LABEL_ONE_OFF,
    LABEL_SERVICE,
    LABEL_STACK,
    LABEL_SYSTEM,
)
from pulumi_tiers.render.recorder import Json, Recording, Secret, bare

_KEPT_SECONDS = 3600
"""How long its log can be read afterwards."""
_START_SECONDS = 300
"""For an image that has to be pulled."""
_NODE_SECONDS = 1800
"""For a node with a GPU that has to be made first."""
_WORKLOADS = (
    "kubernetes:apps/v1:DaemonSet",
    "kubernetes:apps/v1:Deployment",
    "kubernetes:apps/v1:StatefulSet",
    "kubernetes:batch/v1:CronJob",
    "kubernetes:batch/v1:Job",
)


@dataclass(frozen=True)
class Place:
    """Where a service is in the cluster."""

    stack: str
    system: str
    service: str
    namespace: str

    @property
    def selector(self) -> str:
        """Finds what the stack has made for the service."""
        labels = {
            LABEL_STACK: self.stack,
            LABEL_SYSTEM: self.system,
            LABEL_SERVICE: self.service,
        }
        return ",".join(f"{label}={value}" for label, value in labels.items())


def run(project: Project, stack: str, service: str, command: Sequence[str], steps: Steps) -> int:
    """Runs a command, or the service's own, and shows its log. Its exit code."""
    place, command = find(project.record(stack), stack, service, command)
    with _kubectl(project.config(stack), place.namespace) as kubectl:
        model, policy = _live(kubectl, place)
        on_demand = model["kind"] == "CronJob"
        job = job_from(model, place, command) if on_demand else job_like(model, place, command)
        name = str(job["metadata"]["name"])
        if not on_demand and (claims := _claims(model)):
            steps.say(f"empty here, because they belong to the pods of {place.service}: {claims}")
        made = kubectl.create(job)
        try:
            # The pods of a template are those that its policy is for.
            if policy and not on_demand:
                kubectl.create(policy_like(policy, made))
            hours = job["spec"].get("ttlSecondsAfterFinished", _KEPT_SECONDS) // 3600
            kept = "an hour" if hours == 1 else f"{hours} hours"
            steps.say(f"job {name} in namespace {place.namespace}; kept for {kept}")
            pod = _started(kubectl, name, steps, gpu="nvidia.com/gpu" in json.dumps(job["spec"]))
            kubectl.log(str(pod["metadata"]["name"]), *_failed_before(pod))
            return _ended(kubectl, name, steps)
        except BaseException:
            kubectl.run("delete", "job", name, "--wait=false", "--ignore-not-found")
            raise


def find(
    recording: Recording, stack: str, asked: str, command: Sequence[str] = ()
) -> tuple[Place, Sequence[str]]:
    """The service's place, as the program describes it, and the command. Raises Stop."""
    known: dict[tuple[str, str], Place] = {}
    for resource in recording.resources:
        if resource.type in _WORKLOADS:
            metadata = bare(resource.inputs.get("metadata") or {})
            labels = metadata.get("labels") or {}
            if LABEL_SERVICE not in labels:  # the program's own
                continue
            system, service = labels[LABEL_SYSTEM], labels[LABEL_SERVICE]
            known[system, service] = Place(stack, system, service, metadata["namespace"])
    asked, command = in_one_word(asked, command, known)
    return known[lookup(asked, known)], command


# --- kubectl --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kubectl:
    """The command, for one namespace of one cluster."""

    options: tuple[str, ...]

    def run(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["kubectl", *self.options, "--request-timeout=30s", *arguments],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def read(self, *arguments: str, stdin: str | None = None) -> dict[str, Any]:
        done = self.run(*arguments, "--output", "json", stdin=stdin)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            if _absent(said):
                remedy = "reach the stack's cluster: set KUBECONFIG"
                raise Stop(f"kubectl {arguments[0]}: {said}\n  {remedy}", EXIT_MISSING)
            raise Stop(f"kubectl {arguments[0]}: {said}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def create(self, what: Mapping[str, Any]) -> dict[str, Any]:
        return self.read("create", "--filename", "-", stdin=json.dumps(what))

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        return list(self.read("get", *arguments)["items"])

    def log(self, pod: str, *arguments: str) -> None:
        """Shows it until it ends."""
        command = ["kubectl", *self.options, "logs", "--follow", "--pod-running-timeout=5s"]
        subprocess.run([*command, *arguments, pod], stdin=subprocess.DEVNULL, check=False)


def _absent(said: str) -> bool:
    """Whether there is no cluster, in kubectl's words."""
    words = ("connection to the server", "Unable to connect", "context", "couldn't get current")
    return any(word in said for word in words)


@contextmanager
def _kubectl(config: Mapping[str, Json], namespace: str) -> Iterator[_Kubectl]:
    """For the cluster that the engine would use: the stack's own, or that of KUBECONFIG."""
    if shutil.which("kubectl") is None:
        raise Stop(
            "kubectl is not on PATH: install it (https://kubernetes.io/docs/tasks/tools/)",
            EXIT_MISSING,
        )
    given = config.get("kubernetes:kubeconfig")
    if isinstance(given, Secret):
        raise Stop(
            "kubernetes:kubeconfig is encrypted, and only the engine can read it: remove it for"
            " this command, and set KUBECONFIG",
            EXIT_INPUT,
        )
    options = ["--namespace", namespace]
    if context := config.get("kubernetes:context"):
        options += ["--context", str(context)]
    text = given if isinstance(given, str) else json.dumps(given) if given else ""
    if "\n" in text or text.startswith("{"):
        with tempfile.NamedTemporaryFile("w", suffix=".kubeconfig", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            yield _Kubectl((*options, "--kubeconfig", file.name))
    else:
        path = ["--kubeconfig", str(Path(text).expanduser())] if text else []
        yield _Kubectl((*options, *path))


def _live(kubectl: _Kubectl, place: Place) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """What runs the service in the cluster, and its network policy."""
    kinds = "deployments,statefulsets,daemonsets,cronjobs,jobs,networkpolicies"
    found = kubectl.items(kinds, "--selector", place.selector)
    policies = [item for item in found if item["kind"] == "NetworkPolicy"]
    # A changed job is a new one beside the old one; the runs of a template are none.
    models = sorted(
        (item for item in found if item["kind"] != "NetworkPolicy"),
        key=lambda item: (
            item["kind"] == "CronJob",
            str(item["metadata"].get("creationTimestamp", "")),
        ),
    )
    if not models:
        raise Stop(
            f"nothing of {place.system}/{place.service} is in namespace {place.namespace} of this"
            f" cluster.\n  Bring it up: pulumi up -s {place.stack}; or reach its cluster: set"
            " KUBECONFIG"
        )
    return models[-1], policies[0] if policies else None


# --- what is made ---------------------------------------------------------------------------------


def _run_name(place: Place) -> str:
    return f"{place.service[:50]}-run-{secrets.token_hex(3)}"


def _with_command(container: dict[str, Any], command: Sequence[str]) -> None:
    if command:
        # Kubernetes would expand $(NAME) and halve $$.
        container["args"] = [part.replace("$", "$$") for part in command]


def job_from(template: Mapping[str, Any], place: Place, command: Sequence[str]) -> dict[str, Any]:
    """A Job from a CronJob as the API gives it, like `kubectl create job --from` makes one."""
    metadata = template["metadata"]
    inner = json.loads(json.dumps(template["spec"]["jobTemplate"]))
    _with_command(inner["spec"]["template"]["spec"]["containers"][0], command)
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": _run_name(place),
            "labels": {**inner["metadata"]["labels"], LABEL_ONE_OFF: place.service},
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            # It goes with the template, and the template's controller keeps the last ones only.
            "ownerReferences": [owner],
        },
        "spec": inner["spec"],
    }


def job_like(model: Mapping[str, Any], place: Place, command: Sequence[str]) -> dict[str, Any]:
    """A Job whose pod is like those of a Deployment, StatefulSet or Job as the API gives it."""
    template = model["spec"]["template"]
    pod = json.loads(json.dumps(template["spec"]))
    container = pod["containers"][0]
    # Nobody asks it anything: neither probes nor other pods.
    for key in ("startupProbe", "readinessProbe", "livenessProbe", "ports"):
        container.pop(key, None)
    _with_command(container, command)
    pod["restartPolicy"] = "Never"
    pod.pop("topologySpreadConstraints", None)
    pod["volumes"] = [
        {"name": volume["name"], "emptyDir": {}} if "persistentVolumeClaim" in volume else volume
        for volume in pod.get("volumes", [])
    ]
    pod["volumes"] += [
        {"name": claim["metadata"]["name"], "emptyDir": {}}
        for claim in model["spec"].get("volumeClaimTemplates", [])
    ]
    # Services, budgets and the service's own policy choose pods by the other labels.
    kept = {
        label: value
        for label, value in template["metadata"]["labels"].items()
        if label.startswith("tiers.") and label != LABEL_SERVICE
    }
    labels = {**kept, LABEL_ONE_OFF: place.service}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": _run_name(place),
            "labels": labels,
        },
        "spec": {
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _KEPT_SECONDS,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def policy_like(policy: Mapping[str, Any], job: Mapping[str, Any]) -> dict[str, Any]:
    """Lets the job reach what the service reaches, and ends with it. Nobody reaches the job."""
    name = job["metadata"]["name"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "labels": job["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": {
            "podSelector": {"matchLabels": {"job-name": name}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": policy["spec"].get("egress", []),
        },
    }


def _claims(model: Mapping[str, Any]) -> str:
    """Volumes that are not handed over: a claim is for one pod, or for those on one node."""
    volumes = model["spec"]["template"]["spec"].get("volumes", [])
    names = [volume["name"] for volume in volumes if "persistentVolumeClaim" in volume]
    templates = model["spec"].get("volumeClaimTemplates", [])
    return ", ".join([*names, *(claim["metadata"]["name"] for claim in templates)])


# --- following ------------------------------------------------------------------------------------


def _pod(kubectl: _Kubectl, job: str) -> dict[str, Any] | None:
    found = kubectl.items("pods", "--selector", f"job-name={job}")
    return found[0] if found else None


def _started(kubectl: _Kubectl, job: str, steps: Steps, *, gpu: bool) -> Mapping[str, Any]:
    """The pod, once its container runs or has ended. Raises Stop with what is in the way."""
    patience = _NODE_SECONDS if gpu else _START_SECONDS
    deadline = time.monotonic() + patience
    why = "no pod yet"
    with steps.during("waiting for its pod"):
        while time.monotonic() < deadline:
            pod = _pod(kubectl, job)
            if pod and pod["status"].get("phase") in ("Running", "Succeeded", "Failed"):
                return pod
            if pod and _prepares(pod):
                deadline = time.monotonic() + patience
            if pod is None and (refused := _refusal(kubectl, job)):
                raise Stop(f"the cluster refuses its pod: {refused}")
            why = _obstacle(pod) if pod else why
            steps.now(f"waiting for its pod: {why}")
            time.sleep(1)
    raise Stop(f"its pod did not start within {patience} s: {why}")


def _inits(pod: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What runs before the container, and how it is."""
    for item in pod["status"].get("initContainerStatuses", []):
        yield str(item["name"]), item["state"]


def _prepares(pod: Mapping[str, Any]) -> bool:
    """Whether something fetches what the container needs."""
    return any("running" in state for _, state in _inits(pod))


def _failed_before(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """Options of the log: that of a container that ended badly before the one that was meant."""
    for init, state in _inits(pod):
        if state.get("terminated", {}).get("exitCode"):
            return "--container", init
    return ()


def _refusal(kubectl: _Kubectl, job: str) -> str:
    """What Pod Security or a quota has said."""
    fields = f"involvedObject.name={job},reason=FailedCreate"
    events = kubectl.items("events", "--field-selector", fields)
    return str(events[-1].get("message", "")) if events else ""


def _obstacle(pod: Mapping[str, Any]) -> str:
    status = pod["status"]
    waiting = [
        item["state"]["waiting"]
        for item in status.get("containerStatuses", [])
        if "waiting" in item["state"]
    ]
    conditions = [item for item in status.get("conditions", []) if item["status"] == "False"]
    for item in (*waiting, *conditions):
        if item.get("message") or item.get("reason"):
            return f"{item.get('reason', '')}: {item.get('message', '')}".strip(": ")
    return str(status.get("phase", "Pending"))


def _ended(kubectl: _Kubectl, job: str, steps: Steps) -> int:
    """Its exit code. The log may have broken off before: then it goes on."""
    while True:
        pod = _pod(kubectl, job)
        if pod is None:
            raise Stop("its pod is gone: somebody has deleted it, or its node is lost")
        if (code := exit_code(pod)) is not None:
            if reason := _reason(pod):
                steps.say(reason)
            return code
        time.sleep(1)
        kubectl.log(str(pod["metadata"]["name"]), "--tail=0")


def exit_code(pod: Mapping[str, Any]) -> int | None:
    """None while it runs; 1 where nobody knows, because its node ended it."""
    status = pod["status"]
    for container in status.get("containerStatuses", []):
        if ended := container["state"].get("terminated"):
            return int(ended["exitCode"])
    return {"Succeeded": 0, "Failed": 1}.get(status.get("phase", ""))


def _reason(pod: Mapping[str, Any]) -> str:
    """Why it ended, where its exit code doesn't tell: OOMKilled, Evicted."""
    status = pod["status"]
    for container in status.get("containerStatuses", []):
        reason = container["state"].get("terminated", {}).get("reason", "")
        if reason not in ("", "Completed", "Error"):
            return str(reason)
    return f"{status['reason']}: {status.get('message', '')}" if status.get("reason") else ""
