"""All systems on a real control plane: the engine, rendered files, who may reach whom.

Nodes are simulated, so no program runs. What the nodes would refuse is looked at here instead: that
everything exists that pods read, and what the NetworkPolicies let through.
"""

import base64
import ipaddress
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster
from pulumi_tiers.cli.engine import Engine
from sandbox import Sandbox
from test_cluster import Stack, documented, wait_until_ready

pytestmark = pytest.mark.cluster
engine = pytest.mark.engine

SYSTEMS = ("nutrifitcoach", "pigmeu")
VISION = "vision-development"
COACH, PIGMEU = (f"{system}-production" for system in SYSTEMS)
#: What a stack on any Kubernetes says, with an edge that has TLS.
CONFIG: dict[str, Any] = {
    "tiers:target": "kubernetes",
    "tiers:systems": list(SYSTEMS),
    "tiers:port_offset": None,
    # Ten seconds each.
    "tiers:load_balancers": {"await": False},
    "tiers:protect": "never",
}
SELF_SIGNED = {"mode": "self_signed"}
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "development": {"tiers:domains": {"nutrifitcoach": "coach.example.com"}},
    "production": {
        "tiers:domains": {"nutrifitcoach": "coach.example.com", "pigmeu": "copilot.example.com"},
        "tiers:tls": dict.fromkeys(SYSTEMS, SELF_SIGNED),
    },
}

# With another limit, as somebody would have it who edits the description.
PROGRAM = """
from pulumi_tiers.program import main
from pulumi_tiers.systems import SYSTEMS

described = SYSTEMS["nutrifitcoach"]

def coach(environment):
    made = described(environment)
    limits = made.edges["nginx"].rate_limits
    limits["api"] = limits["api"].model_copy(update={"rate": %r})
    return made

SYSTEMS["nutrifitcoach"] = coach
main()
"""


@pytest.fixture
def project(tmp_path: Path) -> Sandbox:
    made = Sandbox.make(tmp_path / "project")
    (made.root / ".venv").symlink_to(sys.prefix)
    return made


@pytest.fixture
def stack(cluster: Cluster, project: Sandbox, tmp_path: Path) -> Stack:
    _, why_not = Engine.find(("kubernetes", "random", "tls"))
    if why_not:
        pytest.skip(why_not)
    (tmp_path / "backend").mkdir()
    made = Stack(project, tmp_path / "backend", cluster.kubeconfig)
    project.configure(**CONFIG)
    made.pulumi("stack", "init")
    return made


@contextmanager
def both(cluster: Cluster, environment: str) -> Iterator[tuple[str, ...]]:
    """A cluster without the systems' namespaces."""
    names = tuple(f"{system}-{environment}" for system in SYSTEMS)
    with ExitStack() as entered:
        for name in names:
            entered.enter_context(documented(cluster, name))
        yield names


# --- what there is --------------------------------------------------------------------------------


def number_of_pods(cluster: Cluster, namespace: str) -> dict[str, int]:
    """How many run, by the label ``app``; jobs are done and count nothing."""
    counts: dict[str, int] = {}
    for pod in cluster.get_json("pods", "-n", namespace)["items"]:
        if pod["status"]["phase"] == "Running":
            name = pod["metadata"]["labels"]["app"]
            counts[name] = counts.get(name, 0) + 1
    return counts


def is_sound(cluster: Cluster, namespace: str) -> None:
    """Nothing was refused, jobs are done, and what pods read is there."""
    events = cluster.get_json("events", "-n", namespace)["items"]
    assert not [event["message"] for event in events if event["reason"] == "FailedCreate"]
    jobs = cluster.get_json("jobs", "-n", namespace)["items"]
    assert all(job["status"].get("succeeded") for job in jobs)
    keys = {
        kind: {
            item["metadata"]["name"]: set(item.get("data") or {})
            for item in cluster.get_json(kind, "-n", namespace)["items"]
        }
        for kind in ("configmaps", "secrets", "persistentvolumeclaims")
    }
    pods = cluster.get_json("pods", "-n", namespace)["items"]
    assert pods
    for pod in pods:
        spec = pod["spec"]
        for volume in spec.get("volumes", []):
            match volume:
                case {"configMap": {"name": name}}:
                    assert keys["configmaps"][name]
                case {"secret": {"secretName": name}}:
                    assert keys["secrets"][name]
                case {"persistentVolumeClaim": {"claimName": name}}:
                    assert name in keys["persistentvolumeclaims"]
                case {"hostPath": _}:
                    assert namespace.endswith("-collectors")
                case {"projected": _}:  # the token of who discovers
                    assert spec["serviceAccountName"] != "default"
                case _:
                    assert "emptyDir" in volume, volume
        containers = [*spec["containers"], *spec.get("initContainers", [])]
        for variable in [item for each in containers for item in each.get("env", [])]:
            if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
                assert reference["key"] in keys["secrets"][reference["name"]]


def generations(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """A value for each object, which changes with what it asks for or holds, and how often made."""
    kinds = (
        "configmaps,secrets,services,deployments,statefulsets,jobs,networkpolicies"
        ",poddisruptionbudgets,horizontalpodautoscalers,cronjobs,daemonsets"
    )
    found: dict[str, Any] = {}
    for item in cluster.get_json(kinds, "-n", namespace)["items"]:
        metadata = item["metadata"]
        key = f"{item['kind']} {metadata['name']}"
        found[key] = (
            metadata["uid"],
            item["spec"] if "spec" in item else item.get("data"),
        )
    return found


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    return {key for key in {*before, *after} if before.get(key) != after.get(key)}


def same_object(before: Mapping[str, Any], after: Mapping[str, Any], key: str) -> bool:
    """Changed in place, not deleted and made again."""
    same: bool = before[key][0] == after[key][0]
    return same


# --- who may reach whom ---------------------------------------------------------------------------


_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Policies:
    """NetworkPolicies, which the simulated nodes don't enforce: a namespace's, its collectors'."""

    items: list[Any]
    pods: dict[str, dict[str, str]]
    ports: dict[str, set[int]]
    #: Pod -> its namespace.
    places: dict[str, str]
    #: Pod -> the port that its annotations want to be asked.
    metrics: dict[str, int]

    @classmethod
    def of(cls, cluster: Cluster, namespace: str) -> "Policies":
        kinds = "networkpolicies,pods"
        items = [
            item
            for place in (namespace, f"{namespace}-collectors")
            for item in cluster.get_json(kinds, "-n", place)["items"]
        ]
        pods = {item["metadata"]["labels"]["app"]: item for item in items if item["kind"] == "Pod"}
        return cls(
            [item for item in items if item["kind"] == "NetworkPolicy"],
            {name: pod["metadata"]["labels"] for name, pod in pods.items()},
            {
                name: {
                    port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])
                }
                for name, pod in pods.items()
            },
            {name: pod["metadata"]["namespace"] for name, pod in pods.items()},
            {
                name: int(pod["metadata"]["annotations"]["prometheus.io/port"])
                for name, pod in pods.items()
                if "prometheus.io/scrape" in pod["metadata"].get("annotations", {})
            },
        )

    def clients(self, target: str, port: int) -> set[str]:
        """The workloads whose packets leave them for this port, and arrive."""
        return {
            source
            for source in self.pods
            if source != target
            and self._allows("egress", source, target, port)
            and self._allows("ingress", target, source, port)
        }

    def from_outside(self) -> dict[str, set[int]]:
        """The ports that any address may reach, by workload."""
        public = {
            name: {port for port in ports if self._allows("ingress", name, "8.8.8.8", port)}
            for name, ports in self.ports.items()
        }
        return {name: ports for name, ports in public.items() if ports}

    def to_outside(self, address: str, port: int) -> set[str]:
        return {name for name in self.pods if self._allows("egress", name, address, port)}

    def _allows(self, way: str, name: str, peer: str, port: int) -> bool:
        rules = [
            rule
            for item in self.items
            if item["metadata"]["namespace"] == self.places[name]
            and way.capitalize() in item["spec"]["policyTypes"]
            and self._selects(item["spec"]["podSelector"], name)
            for rule in item["spec"].get(way, [])
        ]
        side = "from" if way == "ingress" else "to"
        return any(
            ("ports" not in rule or port in {item["port"] for item in rule["ports"]})
            and (
                side not in rule
                or any(self._is(item, peer, self.places[name]) for item in rule[side])
            )
            for rule in rules
        )

    def _is(self, item: Any, peer: str, own: str) -> bool:
        """Whether a rule of the namespace `own` means the peer."""
        if "ipBlock" not in item:
            chosen = item.get("namespaceSelector", {}).get("matchLabels", {_NAME: own})
            there = peer in self.pods and chosen == {_NAME: self.places[peer]}
            return there and self._selects(item.get("podSelector", {}), peer)
        # Addresses of pods are some of these, too.
        address = ipaddress.ip_address("10.0.0.1" if peer in self.pods else peer)
        block = item["ipBlock"]
        return address in ipaddress.ip_network(block["cidr"]) and not any(
            address in ipaddress.ip_network(network) for network in block.get("except", [])
        )

    def _selects(self, selector: Any, name: str) -> bool:
        return set(selector.get("matchLabels", {}).items()) <= set(self.pods[name].items())


def check_networks_of_coach(policies: Policies) -> None:
    """Layer 4: the data network is for those who are in it."""
    assert policies.from_outside() == {"nginx": {8080, 8443}}
    inside = {"api", "worker", "migrations", "minio", "postgres-setup", "minio-setup"}
    if "postgres" in policies.pods:
        assert policies.clients("postgres", 5432) == inside | {"redis"}
        assert policies.clients("redis", 6379) == inside | {"postgres"}
    assert "nginx" in policies.clients("api", 3000)
    assert "nginx" in policies.clients("minio", 9000)
    # Its status page and the kubelet's probes: from the node itself, or not at all.
    assert not policies.clients("nginx", 8081)
    # The node's own services hand out the cloud's credentials.
    assert not policies.to_outside("169.254.169.254", 80)
    internal = {"migrations", "postgres-setup", "postgres", "redis", "minio"}
    assert policies.to_outside("8.8.8.8", 443) == set(policies.pods) - internal


def check_networks_of_pigmeu(policies: Policies) -> None:
    assert policies.from_outside() == {"nginx": {8080, 8443}}
    assert "nginx" in policies.clients("api", 8000)
    assert {"api", "worker", "migrations", "mongo-setup"} <= policies.clients("mongo", 27017)
    # Members are pods of one workload, and speak to each other.
    assert policies._allows("ingress", "mongo", "mongo", 27017)
    assert policies._allows("egress", "mongo", "mongo", 27017)
    assert not policies.to_outside("8.8.8.8", 443) & {"mongo", "redis"}


def check_networks_of_watchers(policies: Policies) -> None:
    """All that tells its numbers is reached by who asks for them, on every machine too."""
    expected = {"nginx": {8080, 8443}} if "nginx" in policies.pods else {}
    assert policies.from_outside() == expected
    numbers = {name: port for name, port in policies.metrics.items() if name != "prometheus"}
    assert numbers["node-exporter"] == 9100
    assert policies.places["node-exporter"] == f"{policies.places['prometheus']}-collectors"
    for name, port in numbers.items():
        assert "prometheus" in policies.clients(name, port), name
    for client, server, port in (
        ("prometheus", "alertmanager", 9093),
        ("prometheus", "blackbox-exporter", 9115),
        ("grafana", "prometheus", 9090),
        ("nginx-exporter", "nginx", 8081),
        ("filebeat", "logstash", 5044),
        ("logstash", "elasticsearch", 9200),
        ("kibana", "elasticsearch", 9200),
        *((f"{store}-exporter", store, port) for store, port in _WATCHED.items()),
    ):
        if {client, server} <= set(policies.pods):
            assert client in policies.clients(server, port), (client, server)
    if "nginx" in policies.pods:
        assert policies.clients("nginx", 8081) == {"nginx-exporter"}
    # Whom it shall ask, the API server says.
    assert "prometheus" in policies.to_outside("10.96.0.1", 443)
    # A machine is read, and nobody is reached from there by the way.
    assert not policies.clients("node-exporter", 22)
    assert not policies.to_outside("169.254.169.254", 80)


_WATCHED = {"postgres": 5432, "redis": 6379, "sqlserver": 1433, "elasticsearch": 9200}


# --- rendered files -------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rendered_files_run(cluster: Cluster, project: Sandbox, environment: str) -> None:
    out = project.root / "out"
    project.configure(
        **{**CONFIG, "tiers:environment": environment, **ENVIRONMENTS[environment]},
        **{"tiers:autoscale": {"pigmeu/worker": {"min": 2, "max": 8}}},
    )
    project.tiers("render", "--to", "kubernetes", "--secrets", "--out", str(out))

    def apply(what: Path, *arguments: str) -> list[str]:
        done = cluster.run("apply", "--validate=strict", "--filename", str(what), *arguments)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, "a warning"  # of Pod Security, deprecations, unknown fields
        return done.stdout.splitlines()

    with both(cluster, environment) as namespaces:
        apply(out / "00-namespace.yaml")
        assert all("(server dry run)" in line for line in apply(out, "--dry-run=server"))
        apply(out)
        for namespace in namespaces:
            wait_until_ready(cluster, namespace)
            finished = ("--all", "--for=condition=Complete", "--timeout=60s")
            cluster.kubectl("wait", "jobs", "-n", namespace, *finished)
            is_sound(cluster, namespace)
        # Again: nothing changes, and the autoscaler's number stays.
        worker = ("deployment/worker", "-n", namespaces[1])
        cluster.kubectl("scale", "--replicas=5", *worker)
        before = [generations(cluster, namespace) for namespace in namespaces]
        apply(out)
        assert [generations(cluster, namespace) for namespace in namespaces] == before
        assert not cluster.kubectl("diff", "--filename", str(out))


# --- the engine -----------------------------------------------------------------------------------


@engine
def test_production_through_the_engine(cluster: Cluster, stack: Stack) -> None:
    stack.project.configure(**{"tiers:environment": "production", **ENVIRONMENTS["production"]})
    key = 'tiers:secrets["pigmeu/OPENAI_API_KEY"]'
    stack.pulumi("config", "set", "--secret", "--path", key, "sk-Jd83hfnsA72mZqP91xKvT5wE")
    with both(cluster, "production"):
        said = stack.up()
        assert "PodSecurity" not in said
        for namespace in (COACH, PIGMEU):
            is_sound(cluster, namespace)
        stores = {"postgres": 1, "redis": 1, "minio": 1}
        assert number_of_pods(cluster, COACH) == {**stores, "api": 3, "worker": 3, "nginx": 1}
        pods = {"mongo": 3, "redis": 1, "api": 1, "worker": 4, "nginx": 1}
        assert number_of_pods(cluster, PIGMEU) == pods
        assert stack.urls() == {
            "nutrifitcoach": {"nginx": ["https://coach.example.com"]},
            "pigmeu": {"nginx": ["https://copilot.example.com"]},
        }
        check_networks_of_coach(Policies.of(cluster, COACH))
        check_networks_of_pigmeu(Policies.of(cluster, PIGMEU))
        check_services(cluster)
        stack.up("--refresh", "--expect-no-changes")
        stack.pulumi("preview", "--expect-no-changes")

        only_the_worker_is_scaled(cluster, stack)
        only_the_edges_file_changes(cluster, stack)
        pods_are_rolled_for_a_changed_secret(cluster, stack)
        the_autoscaler_takes_over(cluster, stack)
        what_was_changed_by_hand_is_repaired(cluster, stack)

        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert not stack.resources()
        assert not cluster.has_namespace(COACH)
        assert not cluster.has_namespace(PIGMEU)
        claimed = cluster.get_json("persistentvolumes")["items"]
        left = {volume["spec"]["claimRef"]["namespace"] for volume in claimed}
        assert not left & {COACH, PIGMEU}


def check_services(cluster: Cluster) -> None:
    """How members of the set, and pods behind an edge, are found."""

    def service(name: str, namespace: str) -> Any:
        return cluster.get_json("service", name, "-n", namespace)["spec"]

    mongo = service("mongo", PIGMEU)
    # A member that is not ready is found all the same: it becomes ready by being found.
    assert (mongo["clusterIP"], mongo["publishNotReadyAddresses"]) == ("None", True)
    for namespace, name in ((COACH, "api-peers"), (COACH, "minio-peers"), (PIGMEU, "api-peers")):
        peers = service(name, namespace)
        assert peers["clusterIP"] == "None"
        # Requests go to who is ready.
        assert not peers.get("publishNotReadyAddresses")
    slices = cluster.get_json("endpointslices", "-n", COACH, "-l", f"{_SERVICE}=api-peers")["items"]
    assert sum(len(item["endpoints"]) for item in slices) == 3
    edge = service("nginx", COACH)
    assert [(port["port"], port["targetPort"]) for port in edge["ports"]] == [
        (80, 8080),
        (443, 8443),
    ]
    # The client's address is the one that is limited.
    assert edge["externalTrafficPolicy"] == "Local"


_SERVICE = "kubernetes.io/service-name"


def only_the_worker_is_scaled(cluster: Cluster, stack: Stack) -> None:
    before = {name: generations(cluster, name) for name in (COACH, PIGMEU)}
    stack.set('tiers:replicas["pigmeu/worker"]', "6")
    stack.up()
    assert number_of_pods(cluster, PIGMEU)["worker"] == 6
    assert changed(before[PIGMEU], generations(cluster, PIGMEU)) == {"Deployment worker"}
    assert generations(cluster, COACH) == before[COACH]


def only_the_edges_file_changes(cluster: Cluster, stack: Stack) -> None:
    """In place: at no moment it is missing. nginx is told by what watches the file."""
    before = {name: generations(cluster, name) for name in (COACH, PIGMEU)}
    (stack.project.root / "__main__.py").write_text(PROGRAM % "20r/s")
    stack.up()
    after = generations(cluster, COACH)
    edge = "ConfigMap nginx"
    assert changed(before[COACH], after) == {edge}
    assert same_object(before[COACH], after, edge)
    assert "rate=20r/s" in after[edge][1]["nginx.conf"]
    assert generations(cluster, PIGMEU) == before[PIGMEU]


def pods_are_rolled_for_a_changed_secret(cluster: Cluster, stack: Stack) -> None:
    """Secrets change in place, Deployments too: their old pods stay until new ones are ready."""
    before = generations(cluster, PIGMEU)
    stack.pulumi("config", "rm", "--path", 'tiers:secrets["pigmeu/OPENAI_API_KEY"]')
    watch = ("-o", "jsonpath={.status.availableReplicas} ")
    with cluster.watching("deployment", "api", "-n", PIGMEU, *watch) as seen:
        stack.up()
    assert set(seen.read_text().split()) <= {"1", "2"}
    after = generations(cluster, PIGMEU)
    there = {f"{kind} {name}" for kind in ("Secret", "Deployment") for name in ("api", "worker")}
    jobs = {key for key in {*before, *after} if key.startswith("Job migrations-")}
    assert changed(before, after) == there | {"Secret migrations"} | jobs
    assert all(same_object(before, after, key) for key in there)
    assert set(after["Secret api"][1]) == {"MONGODB_URI", "REDIS_URL"}


def the_autoscaler_takes_over(cluster: Cluster, stack: Stack) -> None:
    stack.pulumi("config", "rm", "--path", 'tiers:replicas["pigmeu/worker"]')
    stack.set('tiers:autoscale["pigmeu/worker"]["min"]', "2")
    stack.set('tiers:autoscale["pigmeu/worker"]["max"]', "8")
    watch = ("-o", "jsonpath={.spec.replicas} ")
    with cluster.watching("deployment", "worker", "-n", PIGMEU, *watch) as seen:
        stack.up()
    # Not down to one first.
    assert set(seen.read_text().split()) == {"6"}
    scaler = cluster.get_json("horizontalpodautoscaler", "worker", "-n", PIGMEU)["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 8)
    # It scales like this. Nobody sets it back, by no other change either.
    cluster.kubectl("scale", "deployment/worker", "--replicas=5", "-n", PIGMEU)
    stack.set('tiers:images["pigmeu/worker"]', "example.com/worker:2")
    stack.up("--refresh")
    worker = cluster.get_json("deployment", "worker", "-n", PIGMEU)["spec"]
    assert worker["replicas"] == 5
    assert worker["template"]["spec"]["containers"][0]["image"] == "example.com/worker:2"


def what_was_changed_by_hand_is_repaired(cluster: Cluster, stack: Stack) -> None:
    before = generations(cluster, COACH)
    patch = json.dumps({"data": {"nginx.conf": "events {}"}})
    cluster.kubectl("patch", "configmap", "nginx", "-n", COACH, "--patch", patch)
    cluster.kubectl("scale", "deployment/api", "--replicas=1", "-n", COACH)
    cluster.kubectl("delete", "networkpolicy", "redis", "-n", COACH)
    cluster.kubectl("delete", "service", "api-peers", "-n", COACH)
    stack.up("--refresh")
    after = generations(cluster, COACH)
    assert after["ConfigMap nginx"] == before["ConfigMap nginx"]
    assert after["Deployment api"] == before["Deployment api"]
    assert after["NetworkPolicy redis"][1] == before["NetworkPolicy redis"][1]
    assert "Service api-peers" in after
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


@engine
def test_development_through_the_engine(cluster: Cluster, stack: Stack) -> None:
    """With Vision, which is watched."""
    stack.project.configure(
        **ENVIRONMENTS["development"], **{"tiers:systems": [*SYSTEMS, "vision"]}
    )
    watched = (VISION, f"{VISION}-collectors")
    with both(cluster, "development") as namespaces, ExitStack() as entered:
        for name in watched:
            entered.enter_context(documented(cluster, name))
        assert "PodSecurity" not in stack.up()
        for namespace in (*namespaces, *watched):
            is_sound(cluster, namespace)
        check_networks_of_watchers(Policies.of(cluster, VISION))
        pods = number_of_pods(cluster, VISION)
        assert {"vision-api", "postgres", "redis", "prometheus", "grafana"} <= set(pods)
        assert set(pods.values()) == {1}
        assert number_of_pods(cluster, namespaces[1]) == dict.fromkeys(
            ("mongo", "redis", "api", "worker"), 1
        )
        # A certificate of its own, for the name that it has.
        files = cluster.get_json("secret", "nginx-files", "-n", namespaces[0])["data"]
        assert set(files) == {"tls.crt", "tls.key"}
        assert "BEGIN CERTIFICATE" in base64.b64decode(files["tls.crt"]).decode()
        stack.up("--expect-no-changes")
        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert not any(cluster.has_namespace(name) for name in (*namespaces, *watched))


# --- what learns, and what watches ----------------------------------------------------------------

LEARNS = "ocolecionador-development"
TOOLS = ["metabase", "glitchtip"]


@engine
@pytest.mark.load
def test_what_learns_through_the_engine(cluster: Cluster, stack: Stack) -> None:
    """OColecionador, watched. DigitalOcean has its production, and Vision's."""
    if not cluster.ours:
        pytest.skip("only on a cluster of the tests' own")
    stack.project.configure(
        **{
            "tiers:systems": ["ocolecionador"],
            "tiers:profiles": {"ocolecionador": ["automatic", *TOOLS]},
            "tiers:observability": {"ocolecionador": {"enabled": True}},
        }
    )
    places = (LEARNS, f"{LEARNS}-collectors")
    with ExitStack() as entered:
        entered.enter_context(cluster.gpus())
        for name in places:
            entered.enter_context(documented(cluster, name))
        stack.up()
        for name in places:
            is_sound(cluster, name)
        check_networks_of_watchers(Policies.of(cluster, LEARNS))
        the_profile_is_switched(cluster, stack)
        training_runs_twice(cluster, stack)

        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert not stack.resources()
        assert not [name for name in places if cluster.has_namespace(name)]


_RECOGNISES = ("ocolecionadoraugmentations", "ocolecionadorclassifier")


def the_profile_is_switched(cluster: Cluster, stack: Stack) -> None:
    """OC-06, OC-07: what recognises goes, what learns comes, and nobody else is touched."""
    before = generations(cluster, LEARNS)
    assert number_of_pods(cluster, LEARNS)["ocolecionadorclassifier"] == 1
    stack.project.configure(**{"tiers:profiles": {"ocolecionador": ["manual", *TOOLS]}})
    stack.up()
    is_sound(cluster, LEARNS)
    assert "ocolecionadorclassifier" not in number_of_pods(cluster, LEARNS)
    after = generations(cluster, LEARNS)
    classifier, training = "ocolecionadorclassifier", "ocolecionadortraining"
    gone = {key for key in before if key not in after}
    assert gone == {
        *(f"Deployment {name}" for name in _RECOGNISES),
        *(f"NetworkPolicy {name}" for name in _RECOGNISES),
        *(f"Secret {name}" for name in (*_RECOGNISES, f"{classifier}-init")),
        *(f"Service {name}" for name in (*_RECOGNISES, f"{classifier}-peers")),
    }
    assert {key for key in after if key not in before} == {
        f"{kind} {training}" for kind in ("CronJob", "NetworkPolicy", "Secret")
    }
    # Who leads to them and who watches them, in place.
    others = changed(before, after) & set(before) & set(after)
    assert others == {
        *(f"ConfigMap {name}" for name in ("nginx", "prometheus", "grafana")),
        *("Deployment prometheus", "StatefulSet grafana"),
    }
    assert all(same_object(before, after, key) for key in others)


def training_runs_twice(cluster: Cluster, stack: Stack) -> None:
    for _ in range(2):
        done = stack.project.tiers(
            "run", "ocolecionador/ocolecionadortraining", env=cluster.on_path
        )
        assert "kept for 24 hours" in done.stderr
    runs = cluster.get_json("jobs", "-n", LEARNS, "-l", "tiers.one_off")["items"]
    assert [job["status"]["succeeded"] for job in runs] == [1, 1]
    nodes = [
        pod["spec"]["nodeName"]
        for job in runs
        for pod in cluster.get_json(
            "pods", "-n", LEARNS, "-l", f"job-name={job['metadata']['name']}"
        )["items"]
    ]
    assert nodes == ["gpu-0"] * 2
    # A run is no drift, and nothing that an update would end.
    stack.up("--refresh", "--expect-no-changes")
