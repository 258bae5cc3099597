"""`tiers run` on Kubernetes: what is made, what is shown, and which exit code."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster import Cluster, new_namespace
from pulumi_tiers.cli.console import Stop
from pulumi_tiers.cli.lookup import in_one_word, lookup
from pulumi_tiers.cli.pods import Place, exit_code, find, job_like, policy_like
from pulumi_tiers.cli.project import Project
from pulumi_tiers.render.kubernetes import to_yaml
from pulumi_tiers.render.recorder import Recording
from sandbox import ROOT, TIERS
from test_cli import tiers

PROGRAM = """\
from pulumi_tiers import AppTier, Condition, DataTier, Site

site = Site("shop", {{"target": "kubernetes", "namespace": {namespace!r}}})
stores = {{"postgres": {{"engine": "postgres"}}}}
data = DataTier("shop-data", {{"site": site.ref, "stores": stores}})
AppTier(
    "shop-app",
    {{
        "site": site.ref,
        "connections": data.connections,
        "services": {{
            "worker": {{
                "image": "worker:1",
                "entrypoint": ["/entry"],
                "command": ["work"],
                "secrets": {{"URL": "${{postgres.url}}"}},
                "secret_files": {{"key.pem": "secret"}},
                "volumes": [{{"name": "spool", "target": "/spool"}}],
                "ports": [{{"target": 8000}}],
                "healthcheck": {{"test": ["CMD", "true"], "path": "/health"}},
            }},
            "migrations": {{"image": "worker:1", "job": True, "command": ["migrate"]}},
        }},
    }},
)
"""
PLACE = Place("dev", "shop", "worker", "shop-dev")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    root = tmp_path / "project"
    root.mkdir()
    (root / "Pulumi.yaml").write_text((ROOT / "Pulumi.yaml").read_text())
    (root / "Pulumi.dev.yaml").write_text("config: {tiers:target: kubernetes}\n")
    (root / "__main__.py").write_text(PROGRAM.format(namespace="shop-dev"))
    return Project.find(root)


def model(recording: Recording, kind: str, service: str) -> dict[str, Any]:
    """A rendered object as the API server gives it back."""
    for item in yaml.safe_load_all(to_yaml(recording, {})):
        if item["kind"] == kind and item["metadata"]["labels"].get("tiers.service") == service:
            found: dict[str, Any] = item
            return found
    raise AssertionError((kind, service))


# --- what is made ---------------------------------------------------------------------------------


def test_a_service_has_one_place(project: Project) -> None:
    recording = project.record("dev")
    assert find(recording, "dev", "worker") == (PLACE, ())
    assert find(recording, "dev", "shop/worker") == (PLACE, ())
    assert find(recording, "dev", "shop", ["worker", "ls", "-l"]) == (PLACE, ["ls", "-l"])
    assert PLACE.selector == "tiers.stack=dev,tiers.system=shop,tiers.service=worker"
    assert find(recording, "dev", "postgres")[0].service == "postgres"
    for word, near in (("wroker", "worker"), ("shop/wroker", "shop/worker")):
        with pytest.raises(Stop, match=f"there is no service '{word}': did you mean '{near}'"):
            find(recording, "dev", word)


def test_a_service_may_repeat_its_systems_name() -> None:
    known = {("shop", "shoptraining"), ("shop", "shop"), ("school", "schooltraining")}
    known |= {("school", "mail"), ("shop", "mail")}
    assert lookup("shoptraining", known) == lookup("shop/training", known)
    assert in_one_word("school", ["training", "--quick"], known) == ("school/training", ["--quick"])
    # A service of that name is meant itself, and what follows is its command.
    assert in_one_word("shop", ["training"], known) == ("shop", ["training"])
    assert lookup("shop", known) == ("shop", "shop")
    # The whole name of one is never a part of another's.
    assert lookup("shop/mail", {*known, ("shop", "shopmail")}) == ("shop", "mail")
    for asked, said in (
        ("mail", "'mail' stands in several systems; write one of school/mail, shop/mail"),
        ("training", "there is no service 'training'"),
        ("shop/", "there is no service 'shop/'"),
    ):
        with pytest.raises(Stop, match=re.escape(said)):
            lookup(asked, known)
    # Helpers may be meant, and are not proposed.
    with_helper = {*known, ("shop", "mail-setup")}
    assert lookup("mail-setup", with_helper, known) == ("shop", "mail-setup")
    with pytest.raises(Stop, match="'mail-setub': valid: mail, schooltraining, shop, shoptraining"):
        lookup("mail-setub", with_helper, known)


def test_the_job_is_like_the_service_but_nobody_speaks_to_it(project: Project) -> None:
    deployment = model(project.record("dev"), "Deployment", "worker")
    job = job_like(deployment, PLACE, ["echo", "$(URL) costs $5"])
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (0, 3600)
    pod, before = spec["template"]["spec"], deployment["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"] == before["securityContext"]
    [container], [of_service] = pod["containers"], before["containers"]
    assert container["command"] == ["/entry"]
    assert container["args"] == ["echo", "$$(URL) costs $$5"]
    for key in ("image", "env", "resources", "securityContext", "volumeMounts"):
        assert container[key] == of_service[key], key
    assert not {"ports", "readinessProbe", "livenessProbe", "startupProbe"} & set(container)
    # A claim is one pod's; files are everybody's.
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes["spool"] == {"name": "spool", "emptyDir": {}}
    assert "secret" in volumes["tiers-files"]
    # Neither a Service nor a budget nor a policy of the service chooses it.
    labels = spec["template"]["metadata"]["labels"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= labels.items()
    assert "tiers.service" not in labels
    assert labels["tiers.one_off"] == "worker"


def test_without_a_command_it_runs_the_services_own(project: Project) -> None:
    recording = project.record("dev")
    own = job_like(model(recording, "Deployment", "worker"), PLACE, [])
    assert own["spec"]["template"]["spec"]["containers"][0]["args"] == ["work"]
    migrations = job_like(model(recording, "Job", "migrations"), PLACE, [])
    assert migrations["spec"]["template"]["spec"]["containers"][0]["args"] == ["migrate"]
    store = job_like(model(recording, "StatefulSet", "postgres"), PLACE, ["true"])
    pod = store["spec"]["template"]["spec"]
    assert {"name": "postgres-data", "emptyDir": {}} in pod["volumes"]


def test_it_may_reach_what_the_service_reaches(project: Project) -> None:
    policy = model(project.record("dev"), "NetworkPolicy", "worker")
    job = {"metadata": {"name": "worker-run-1", "uid": "u", "labels": {"a": "b"}}}
    made = policy_like(policy, job)
    assert made["spec"]["egress"] == policy["spec"]["egress"]
    assert "ingress" not in made["spec"]
    assert made["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made["spec"]["podSelector"] == {"matchLabels": {"job-name": "worker-run-1"}}
    assert made["metadata"]["ownerReferences"][0]["uid"] == "u"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ({"phase": "Pending"}, None),
        ({"phase": "Running", "containerStatuses": [{"state": {"running": {}}}]}, None),
        ({"phase": "Failed", "containerStatuses": [{"state": {"terminated": {"exitCode": 7}}}]}, 7),
        ({"phase": "Running", "containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]},
         0),
        ({"phase": "Succeeded"}, 0),
        ({"phase": "Failed", "reason": "Evicted"}, 1),
    ],
)  # fmt: skip
def test_exit_codes(status: dict[str, Any], code: int | None) -> None:
    assert exit_code({"status": status}) == code


# --- with a kubectl that answers what it is told --------------------------------------------------

KUBECTL = """\
#!{python}
import json, pathlib, sys
folder = pathlib.Path({folder!r})
arguments = [word for word in sys.argv[1:] if not word.startswith("--request")]
text = sys.stdin.read() if "create" in arguments else ""
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps([arguments, text]) + chr(10))
said = json.loads((folder / "answers").read_text())
verb = " ".join(word for word in arguments[2:4] if not word.startswith("-"))
if verb == "create":
    made = json.loads(text)
    made["metadata"]["uid"] = "1"
    print(json.dumps(made))
elif verb not in said:
    sys.exit("error: nobody expected " + verb)
else:
    answers = said[verb]
    number = len([1 for line in (folder / "calls").read_text().splitlines()
                  if verb == " ".join(w for w in json.loads(line)[0][2:4] if w[0] != "-")])
    answer = answers[min(number, len(answers)) - 1]
    if isinstance(answer, str):
        print(answer)
    else:
        print(json.dumps({{"items": answer}}))
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the file `answers`, and then `calls`."""
    folder = tmp_path / "kubectl"
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(KUBECTL.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


LIVE = "get deployments,statefulsets,daemonsets,cronjobs,jobs,networkpolicies"


def answer(folder: Path, project: Project, *pods: Any, **others: Any) -> None:
    deployment = model(project.record("dev"), "Deployment", "worker")
    policy = model(project.record("dev"), "NetworkPolicy", "worker")
    said: dict[str, Any] = {
        LIVE: [[deployment, policy]],
        "get pods": pods,
        "get events": [[]],
        "logs": ["hello from the pod"],
        "delete job": ["deleted"],
        **others,
    }
    (folder / "answers").write_text(json.dumps(said))


def calls(folder: Path) -> list[tuple[list[str], str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def a_pod(phase: str, code: int | None = None, reason: str = "Error") -> list[Any]:
    ended = {"terminated": {"exitCode": code, "reason": reason}} if code is not None else {}
    status = {"phase": phase, "containerStatuses": [{"state": ended}]}
    return [{"metadata": {"name": "worker-run-1-x"}, "status": status}]


def in_a_process(project: Project, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [TIERS, "run", *arguments], cwd=project.root, capture_output=True, text=True, check=False
    )


def test_the_log_is_shown_and_the_exit_code_handed_on(project: Project, kubectl: Path) -> None:
    # No pod yet; it is pulled; it runs; its log ended before it did; it has ended.
    answer(kubectl, project, [], a_pod("Pending"), a_pod("Running"), a_pod("Running"),
           a_pod("Failed", 7))  # fmt: skip
    done = in_a_process(project, "worker", "--", "flush", "--all")
    assert done.returncode == 7, done.stderr
    assert done.stdout == "hello from the pod\n" * 2
    assert "empty here, because they belong to the pods of worker: spool" in done.stderr
    made = [json.loads(text) for _, text in calls(kubectl) if text]
    assert [item["kind"] for item in made] == ["Job", "NetworkPolicy"]
    assert made[0]["spec"]["template"]["spec"]["containers"][0]["args"] == ["flush", "--all"]
    assert all(arguments[:2] == ["--namespace", "shop-dev"] for arguments, _ in calls(kubectl))
    assert not any("delete" in arguments for arguments, _ in calls(kubectl))


def test_what_the_cluster_refuses_is_told_and_removed(project: Project, kubectl: Path) -> None:
    event = {"message": 'violates PodSecurity "restricted:latest"'}
    answer(kubectl, project, [], **{"get events": [[event]]})
    said = tiers("run", "worker", cwd=project.root, code=1).stderr
    assert "the cluster refuses its pod: violates PodSecurity" in said
    assert calls(kubectl)[-1][0][2:4] == ["delete", "job"]


def test_why_it_ended_is_told_where_the_code_does_not(project: Project, kubectl: Path) -> None:
    answer(kubectl, project, a_pod("Failed", 137, "OOMKilled"))
    assert "OOMKilled" in tiers("run", "worker", cwd=project.root, code=137).stderr


def test_what_is_missing_is_said(
    project: Project, kubectl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(kubectl, project, **{LIVE: [[]]})
    said = tiers("run", "worker", cwd=project.root, code=1).stderr
    assert "nothing of shop/worker is in namespace shop-dev of this cluster" in said
    assert "pulumi up -s dev" in said
    (kubectl / "kubectl").write_text(
        "#!/bin/sh\necho 'The connection to the server localhost:8080 was refused' >&2; exit 1\n"
    )
    said = tiers("run", "worker", cwd=project.root, code=3).stderr
    assert "The connection to the server localhost:8080 was refused" in said
    assert "set KUBECONFIG" in said
    monkeypatch.setenv("PATH", str(project.root))
    said = tiers("run", "worker", cwd=project.root, code=3).stderr
    assert "kubectl is not on PATH: install it" in said


def test_the_stacks_own_cluster_is_used(project: Project, kubectl: Path) -> None:
    answer(kubectl, project, a_pod("Succeeded", 0, "Completed"))
    path = project.root / "Pulumi.dev.yaml"
    config = {
        "tiers:target": "kubernetes",
        "kubernetes:context": "kind",
        "kubernetes:kubeconfig": "/k",
    }
    path.write_text(yaml.safe_dump({"config": config}))
    # The fake kubectl looks at the third and fourth word: the options come first.
    tiers("run", "worker", cwd=project.root, code=1)
    assert calls(kubectl)[0][0][2:6] == ["--context", "kind", "--kubeconfig", "/k"]
    config["kubernetes:kubeconfig"] = "apiVersion: v1\nclusters: []\n"
    path.write_text(yaml.safe_dump({"config": config}))
    tiers("run", "worker", cwd=project.root, code=1)
    own = Path(calls(kubectl)[-1][0][5])
    assert own.suffix == ".kubeconfig"
    assert not own.exists()
    path.write_text("config: {tiers:target: kubernetes, kubernetes:kubeconfig: {secure: v1:x}}\n")
    said = tiers("run", "worker", cwd=project.root, code=2).stderr
    assert "kubernetes:kubeconfig is encrypted" in said


# --- on a real control plane ----------------------------------------------------------------------


def versions(cluster: Cluster, namespace: str) -> dict[str, object]:
    """A number for each of the stack's objects, which changes with what it asks for."""
    kinds = "secrets,services,deployments,statefulsets,daemonsets,cronjobs,jobs,networkpolicies"
    own = ("--selector", "tiers.service")
    found = [item["metadata"] for item in cluster.get_json(kinds, "-n", namespace, *own)["items"]]
    return {item["uid"]: item.get("generation", item["resourceVersion"]) for item in found}


@pytest.mark.cluster
def test_the_job_is_accepted_and_is_no_part_of_the_stack(
    cluster: Cluster, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not cluster.built:
        pytest.skip("only on a cluster of the tests' own, whose nodes pretend")
    namespace = new_namespace()
    (project.root / "__main__.py").write_text(PROGRAM.format(namespace=namespace))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "kubectl").symlink_to(cluster.built / "cluster")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("KUBECACHEDIR", str(cluster.folder / "kube-cache"))
    text = to_yaml(project.record("dev"), {})
    try:
        cluster.kubectl("apply", "--validate=strict", "-f", "-", stdin=text)
        before = versions(cluster, namespace)
        # The simulated nodes say that it ended well; they have no logs.
        tiers("run", "worker", "--", "true", cwd=project.root)
        jobs = {
            job["metadata"]["name"]: job
            for job in cluster.get_json("jobs", "-n", namespace, "-l", "tiers.one_off")["items"]
        }
        [(name, job)] = jobs.items()
        assert job["status"]["succeeded"] == 1
        [policy] = cluster.get_json("networkpolicy", "-n", namespace, "-l", "tiers.one_off")[
            "items"
        ]
        assert policy["metadata"]["ownerReferences"][0]["name"] == name
        [pod] = cluster.get_json("pods", "-n", namespace, "-l", f"job-name={name}")["items"]
        assert pod["spec"]["containers"][0]["args"] == ["true"]
        # Nothing that the stack has was changed, or is served by the new pod.
        assert versions(cluster, namespace) == before
        # Of a job that has ended: what `tiers run` made is never taken for the service.
        tiers("run", "migrations", cwd=project.root)
        found = cluster.get_json("jobs", "-n", namespace, "-l", "tiers.one_off=migrations")
        assert len(found["items"]) == 1
    finally:
        cluster.remove_namespace(namespace, wait=False)
