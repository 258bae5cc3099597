"""Kubernetes: what the documents state, what Pod Security demands, what the network allows."""

import copy
import ipaddress
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi
import pytest
import yaml
from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.data_tier import DataTier, StoreArgs
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Condition, ImageOwner, PullPolicy, RestartPolicy
from pulumi_tiers.program import main
from pulumi_tiers.render.kubernetes import manifests, to_files, to_yaml
from pulumi_tiers.render.recorder import Json, Recording, Secret, record
from pulumi_tiers.site import Site

ENVIRONMENTS = {"development": "homologacao", "production": "production"}
PASSWORD = "ENCONTROS_TECH_DATA_POSTGRES_DOADMIN_PASSWORD"
PODS = ("Deployment", "StatefulSet", "Job")


class Objects:
    """The rendered objects of a recording, by kind and name."""

    def __init__(self, recording: Recording, secrets: Mapping[str, str] | None = None) -> None:
        self.recording = recording
        self.all = manifests(recording, secrets)

    def of(self, *kinds: str) -> list[Json]:
        return [item for item in self.all if item["kind"] in kinds]

    def get(self, kind: str, name: str) -> Json:
        [found] = [item for item in self.of(kind) if item["metadata"]["name"] == name]
        return found

    def names(self, kind: str) -> list[str]:
        return [item["metadata"]["name"] for item in self.of(kind)]

    def container(self, kind: str, name: str) -> Json:
        [found] = self.get(kind, name)["spec"]["template"]["spec"]["containers"]
        return found


def encontros_tech(environment: str, **config: Json) -> Recording:
    keys = {f"tiers:{key}": value for key, value in config.items()}
    target = {"tiers:environment": environment, "tiers:target": "kubernetes"}
    return record(main, project="tiers", stack="prod", config={**target, **keys})


@pytest.fixture(scope="module", params=ENVIRONMENTS)
def environment(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def system(environment: str) -> Objects:
    return Objects(encontros_tech(environment))


class Shop(TypedDict):
    """What a test puts into a system of its own."""

    name: NotRequired[str]
    services: NotRequired[dict[str, WorkloadArgs]]
    stores: NotRequired[dict[str, StoreArgs]]


def shops(*described: Shop) -> Recording:
    def program() -> None:
        for shop in described:
            name = shop.get("name", "shop")
            site = Site(name, {"target": Target.KUBERNETES})
            data = DataTier(f"{name}-data", {"site": site.ref, "stores": shop.get("stores", {})})
            apps = AppTier(
                f"{name}-app",
                {
                    "site": site.ref,
                    "services": shop.get("services", {}),
                    "connections": data.connections,
                },
            )
            pulumi.export(name, apps.urls)

    return record(program, project="shop", stack="dev", config={})


def one(workload: WorkloadArgs) -> Objects:
    """A service called ``api``."""
    return Objects(shops({"services": {"api": {"image": "api:1", **workload}}}))


# A store with a setup job, a service with a volume, and one that uses everything else.
EVERYTHING: Shop = {
    "stores": {"db": {"engine": "postgres", "databases": [{"name": "shop", "owner": "seller"}]}},
    "services": {
        "api": {
            "image": "api:1",
            "entrypoint": ["api"],
            "command": ["--price", "$$5", "$(HOME)"],
            "environment": {"PRICE": "$(PRICE)"},
            "secrets": {"URL": "${db.url}"},
            "ports": [{"target": 8443, "load_balancer": 443, "scheme": "https"}],
            "tmpfs": {"/tmp": "size=16m,uid=1000"},
            "healthcheck": {"test": ["CMD-SHELL", "true"], "start_period": "1m"},
            "depends_on": {"db": Condition.SERVICE_HEALTHY, "files": Condition.SERVICE_STARTED},
            "replicas": 3,
            "cap_add": ["CAP_NET_BIND_SERVICE"],
        },
        "files": {
            "image": "files:1",
            "ports": [{"target": 80}],
            "volumes": [{"name": "files-data", "target": "/data", "size": "2Gi"}],
        },
    },
}


@pytest.fixture(scope="module")
def everything() -> Objects:
    return Objects(shops(EVERYTHING))


# --- the documented facts -------------------------------------------------------------------------


def test_the_namespace_is_documented_and_restricted(system: Objects, environment: str) -> None:
    [namespace] = system.of("Namespace")
    assert namespace["metadata"]["name"] == ENVIRONMENTS[environment]
    labels = namespace["metadata"]["labels"]
    for mode in ("enforce", "warn", "audit"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
    others = [item for item in system.all if item is not namespace]
    assert {item["metadata"]["namespace"] for item in others} == {ENVIRONMENTS[environment]}


def test_the_deployment_is_the_documented_one(system: Objects, environment: str) -> None:
    production = environment == "production"
    deployment = system.get("Deployment", "encontros-tech")
    container = system.container("Deployment", "encontros-tech")
    tag = "latest" if production else "develop"
    assert deployment["spec"]["replicas"] == (2 if production else 1)
    assert container["name"] == "encontros-tech"
    assert container["image"] == f"marcospaulo1991/encontros-tech:{tag}"
    assert container["imagePullPolicy"] == "Always"
    assert container["ports"] == [{"containerPort": 8000}]
    assert {item["name"]: item.get("value") for item in container["env"]} == {
        "APP_TITLE": "Encontros Tech" if production else "Encontros Tech - HOMOLOGAÇÃO",
        "DATABASE_URL": None,
        "DEBUG": "false" if production else "true",
        "HOST": "0.0.0.0",
        "LOG_FORMAT": "simple" if production else "colored",
        "LOG_LEVEL": "INFO" if production else "DEBUG",
        "PORT": "8000",
        "PROMETHEUS_MULTIPROC_DIR": "/tmp/prometheus_multiproc",
        "SERVICE_NAME": "encontros-tech",
        "SERVICE_VERSION": "1.0.0",
    }


def test_the_database_url_comes_from_the_documented_secret_only(system: Objects) -> None:
    container = system.container("Deployment", "encontros-tech")
    [url] = [item for item in container["env"] if item["name"] == "DATABASE_URL"]
    reference = {"name": "db-credentials", "key": "DATABASE_URL"}
    assert url == {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": reference}}
    assert system.get("Secret", "db-credentials")["stringData"] == {
        "DATABASE_URL": f"postgresql://doadmin:${{{PASSWORD}}}@postgres:5432/defaultdb"
        "?sslmode=prefer"
    }
    for item in system.all:
        if item["kind"] != "Secret":
            assert "postgresql://" not in str(item)
            assert PASSWORD not in str(item)


def test_service_and_deployment_select_by_the_two_documented_labels(
    system: Objects, environment: str
) -> None:
    selector = {"app": "encontros-tech", "environment": ENVIRONMENTS[environment]}
    deployment = system.get("Deployment", "encontros-tech")["spec"]
    assert system.get("Service", "encontros-tech")["spec"]["selector"] == selector
    assert deployment["selector"] == {"matchLabels": selector}
    labels = deployment["template"]["metadata"]["labels"]
    assert labels == {
        **selector,
        "tiers.service": "encontros-tech",
        "tiers.stack": "prod",
        "tiers.system": "encontros-tech",
    }


def test_the_load_balancer_is_the_documented_one(system: Objects) -> None:
    service = system.get("Service", "encontros-tech")["spec"]
    assert service["type"] == "LoadBalancer"
    [port] = service["ports"]
    assert (port["protocol"], port["port"], port["targetPort"]) == ("TCP", 80, 8000)
    assert system.recording.outputs["urls"] == {
        "encontros-tech": {
            "encontros-tech": [
                "http://__later.kubernetes.encontros-tech-app-encontros-tech.address__"
            ]
        }
    }


def test_postgres_keeps_its_data_and_its_host_name(system: Objects) -> None:
    spec = system.get("StatefulSet", "postgres")["spec"]
    assert spec["serviceName"] == "postgres"
    assert spec["volumeClaimTemplates"] == [
        {
            "metadata": {"name": "postgres-data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "10Gi"}},
            },
        }
    ]
    mounts = system.container("StatefulSet", "postgres")["volumeMounts"]
    assert {"name": "postgres-data", "mountPath": "/var/lib/postgresql/data"} in mounts
    service = system.get("Service", "postgres")["spec"]
    assert service["clusterIP"] == "None"
    assert service["type"] == "ClusterIP"
    assert [port["port"] for port in service["ports"]] == [5432]
    assert not system.of("PersistentVolumeClaim")


def test_a_store_published_on_docker_stays_private_here() -> None:
    objects = Objects(shops({"stores": {"db": {"engine": "postgres", "published": 5432}}}))
    assert objects.get("Service", "db")["spec"]["type"] == "ClusterIP"


def test_the_application_waits_for_its_store_and_its_secret(system: Objects) -> None:
    [deployment] = system.recording.of_type("kubernetes:apps/v1:Deployment")
    waits_for = {urn.split("::")[-2].split("$")[-1] for urn in deployment.depends_on}
    assert {"kubernetes:apps/v1:StatefulSet", "kubernetes:core/v1:Secret"} <= waits_for


def test_only_replicas_are_spread_and_protected(system: Objects, environment: str) -> None:
    spec = system.get("Deployment", "encontros-tech")["spec"]
    rolling = {"maxUnavailable": 0, "maxSurge": 1}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    spread = spec["template"]["spec"].get("topologySpreadConstraints", [])
    budgets = [item["spec"] for item in system.of("PodDisruptionBudget")]
    if environment == "production":
        assert budgets == [{"maxUnavailable": 1, "selector": spec["selector"]}]
        assert [item["topologyKey"] for item in spread] == ["kubernetes.io/hostname"]
        assert spread[0]["labelSelector"] == spec["selector"]
    else:
        assert not budgets
        assert not spread


def test_an_unverified_image_is_called_so(system: Objects) -> None:
    metadata = system.get("Deployment", "encontros-tech")["metadata"]
    assert metadata["annotations"] == {
        "tiers.depends_on": "postgres:service_healthy",
        "tiers.unverified": "true",
    }
    assert "annotations" not in system.get("StatefulSet", "postgres")["metadata"]


# --- pods -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("health", "asks"),
    [
        ({"test": ["CMD", "ls", "$$"]}, {"exec": {"command": ["ls", "$$$$"]}}),
        ({"test": ["CMD-SHELL", "a || b"]}, {"exec": {"command": ["/bin/sh", "-c", "a || b"]}}),
        ({"test": ["CMD", "ls"], "path": "/up"}, {"httpGet": {"path": "/up", "port": 8080}}),
    ],
)
def test_probes_ask_what_the_health_check_asks(health: Json, asks: Json) -> None:
    numbers: Json = {"interval": "500ms", "timeout": "1ms", "retries": 7, "start_period": "10s"}
    described: Json = {**health, **numbers}
    ports: list[Json] = [{"target": 8080}, {"target": 9090}]
    objects = one({"healthcheck": described, "ports": ports})
    container = objects.container("Deployment", "api")
    # Kubernetes counts whole seconds, from one.
    probe = {**asks, "periodSeconds": 1, "timeoutSeconds": 1}
    assert container["startupProbe"] == {**probe, "failureThreshold": 17}
    assert container["readinessProbe"] == {**probe, "failureThreshold": 3}
    assert container["livenessProbe"] == {**probe, "failureThreshold": 7}


def test_a_quarter_of_the_cpu_and_all_of_the_memory_are_requested() -> None:
    container = one({"resources": {"cpus": 0.5, "memory": "6500k"}}).container("Deployment", "api")
    assert container["resources"] == {
        "limits": {"cpu": "500m", "memory": "6656000"},
        "requests": {"cpu": "125m", "memory": "6656000"},
    }


def test_a_pod_gets_nothing_that_it_did_not_ask_for() -> None:
    objects = one(
        {"stop_grace_period": "1m500ms", "user": "10:20", "pull_policy": PullPolicy.MISSING}
    )
    pod = objects.get("Deployment", "api")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] == 61
    assert pod["securityContext"] == {
        "fsGroup": 20,
        "fsGroupChangePolicy": "OnRootMismatch",
        "runAsGroup": 20,
        "runAsNonRoot": True,
        "runAsUser": 10,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert not objects.of("Secret", "Service")


@pytest.mark.parametrize("claims", [False, True])
def test_an_image_of_others_stands_in_the_manifest_all_the_same(*, claims: bool) -> None:
    volumes = [{"name": "data", "target": "/data"}] if claims else []
    service: Any = {"environment": {"A": "1"}, "volumes": volumes, "ports": [{"target": 80}]}
    usual = one(service)
    shared = one({**service, "image_owner": ImageOwner.OTHERS})
    # For kubectl, as ever: it is what makes the Deployment before anybody sets another image.
    assert shared.all == usual.all
    patches = shared.recording.of_type("kubernetes:apps/v1:DeploymentPatch")
    assert not patches, "one object, one record"


@pytest.mark.parametrize("key", ["job", "on_demand", "per_node", "stateful"])
def test_what_others_cannot_change_the_image_of(key: str) -> None:
    service: Any = {key: True, "image_owner": ImageOwner.OTHERS}
    with pytest.raises(pulumi.RunError, match=f"image_owner: .*'{key}'"):
        one(service)


def test_writable_paths_are_memory_of_a_limited_size() -> None:
    objects = one(
        {
            "tmpfs": {"/tmp/in": "uid=1000,size=16M", "/tmp": "", "/run": "size=4096"},
            "volumes": [{"name": "kept", "target": "/tmp/kept"}],
        }
    )
    pod = objects.get("Deployment", "api")["spec"]["template"]["spec"]
    sizes = {item["name"]: item.get("emptyDir") for item in pod["volumes"]}
    mounts = pod["containers"][0]["volumeMounts"]
    assert [(item["mountPath"], sizes[item["name"]]) for item in mounts] == [
        ("/run", {"medium": "Memory", "sizeLimit": "4096"}),
        ("/tmp", {"medium": "Memory", "sizeLimit": "64Mi"}),
        ("/tmp/in", {"medium": "Memory", "sizeLimit": "16Mi"}),
        ("/tmp/kept", None),
    ]


def test_dollar_signs_mean_themselves(everything: Objects) -> None:
    container = everything.container("Deployment", "api")
    # The kubelet replaces $(NAME) and makes one dollar sign of two.
    assert container["args"] == ["--price", "$$$$5", "$$(HOME)"]
    assert {"name": "PRICE", "value": "$$(PRICE)"} in container["env"]


def test_a_service_with_a_volume_is_replaced_not_doubled(everything: Objects) -> None:
    spec = everything.get("Deployment", "files")["spec"]
    assert spec["strategy"] == {"type": "Recreate"}
    [volume] = spec["template"]["spec"]["volumes"]
    assert volume == {"name": "files-data", "persistentVolumeClaim": {"claimName": "files-data"}}
    claim = everything.get("PersistentVolumeClaim", "files-data")["spec"]
    assert claim["resources"] == {"requests": {"storage": "2Gi"}}


def test_the_pods_change_with_their_secrets() -> None:
    def annotations(key: str) -> Json:
        objects = one({"secrets": {"KEY": key}})
        return objects.get("Deployment", "api")["spec"]["template"]["metadata"]["annotations"]

    assert annotations("first") == annotations("first") != annotations("second")


# --- jobs -----------------------------------------------------------------------------------------


def job(workload: WorkloadArgs) -> Json:
    [found] = one({"job": True, **workload}).of("Job")
    return found


def test_a_job_runs_once_before_what_depends_on_it(everything: Objects) -> None:
    [setup] = everything.of("Job")
    assert setup["spec"]["backoffLimit"] == 6
    pod = setup["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert not {"startupProbe", "readinessProbe", "livenessProbe"} & set(pod["containers"][0])
    [resource] = everything.recording.of_type("kubernetes:batch/v1:Job")
    [api] = [
        item
        for item in everything.recording.of_type("kubernetes:apps/v1:Deployment")
        if item.name == "shop-app-api"
    ]
    assert resource.urn in api.depends_on


def test_a_changed_job_has_a_new_name() -> None:
    first = job({"command": ["a"], "secrets": {"KEY": "first"}})["metadata"]["name"]
    assert first.startswith("api-")
    assert first == job({"command": ["a"], "secrets": {"KEY": "first"}})["metadata"]["name"]
    assert first != job({"command": ["b"], "secrets": {"KEY": "first"}})["metadata"]["name"]
    assert first != job({"command": ["a"], "secrets": {"KEY": "second"}})["metadata"]["name"]


# --- Pod Security "restricted" --------------------------------------------------------------------

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def violations(pod: Json) -> Iterator[str]:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    of_pod = pod.get("securityContext", {})
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes", []):
        if set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume['name']}"
    for sysctl in of_pod.get("sysctls", []):
        yield f"sysctl {sysctl['name']}"
    for container in pod["containers"] + pod.get("initContainers", []):
        own = container.get("securityContext", {})
        both = {**of_pod, **own}
        if own.get("privileged"):
            yield "privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        if both.get("runAsNonRoot") is not True:
            yield "runAsNonRoot"
        if both.get("runAsUser") == 0:
            yield "runAsUser"
        if both.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
            yield "seccompProfile"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            yield "capabilities.drop"
        if set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            yield "capabilities.add"
        if own.get("procMount", "Default") != "Default":
            yield "procMount"
        if {"seLinuxOptions", "appArmorProfile", "windowsOptions"} & set(both):
            yield "other modules"
        for port in container.get("ports", []):
            if port.get("hostPort"):
                yield "hostPort"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            if container.get(probe, {}).get("httpGet", {}).get("host"):
                yield f"{probe}.host"


def test_every_pod_is_restricted(system: Objects, everything: Objects) -> None:
    pods = [item["spec"]["template"]["spec"] for item in (*system.of(*PODS), *everything.of(*PODS))]
    assert len(pods) == 6
    assert [list(violations(pod)) for pod in pods] == [[]] * 6


@pytest.mark.parametrize(
    ("violation", "place", "value"),
    [
        ("hostNetwork", (), {"hostNetwork": True}),
        ("volume host", (), {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]}),
        ("runAsNonRoot", ("securityContext",), {"runAsNonRoot": False}),
        ("runAsUser", ("securityContext",), {"runAsUser": 0}),
        ("seccompProfile", ("securityContext",), {"seccompProfile": {"type": "Unconfined"}}),
        ("allowPrivilegeEscalation", ("containers", 0), {"securityContext": {}}),
        ("capabilities.drop", ("containers", 0, "securityContext"), {"capabilities": {}}),
        (
            "capabilities.add",
            ("containers", 0, "securityContext", "capabilities"),
            {"add": ["SYS_ADMIN"]},
        ),
    ],
)
def test_the_checker_sees_what_is_not_restricted(
    violation: str, place: Sequence[str | int], value: Json
) -> None:
    pod = copy.deepcopy(one({}).get("Deployment", "api")["spec"]["template"]["spec"])
    changed = pod
    for step in place:
        changed = changed[step]
    changed |= value
    assert violation in list(violations(pod))


# --- the network ----------------------------------------------------------------------------------

OUTSIDE = "203.0.113.7"


class Network:
    """What NetworkPolicies allow, for pods by their `app` label and for addresses."""

    def __init__(self, objects: Objects) -> None:
        self.policies = [item["spec"] for item in objects.of("NetworkPolicy")]
        self.labels = {
            item["metadata"]["name"]: item["spec"]["template"]["metadata"]["labels"]
            for item in objects.of(*PODS)
        }

    def allows(self, source: str, target: str, port: int) -> bool:
        """Whether a connection opens. Names are pods, ``kube-system`` is DNS, others addresses."""
        leaves = source not in self.labels or self._side("Egress", "to", source, target, port)
        arrives = target not in self.labels or self._side("Ingress", "from", target, source, port)
        return leaves and arrives

    def _side(self, kind: str, peers: str, pod: str, other: str, port: int) -> bool:
        policies = [
            policy
            for policy in self.policies
            if kind in policy["policyTypes"] and self._selects(policy["podSelector"], pod)
        ]
        return not policies or any(
            self._passes(rule, peers, other, port)
            for policy in policies
            for rule in policy.get(kind.lower(), [])
        )

    def _passes(self, rule: Json, peers: str, other: str, port: int) -> bool:
        ports = rule.get("ports")
        matches = peers not in rule or any(self._is(peer, other) for peer in rule[peers])
        return matches and (ports is None or any(entry["port"] == port for entry in ports))

    def _is(self, peer: Json, other: str) -> bool:
        if "ipBlock" in peer:
            inside = [peer["ipBlock"]["cidr"], *peer["ipBlock"].get("except", [])]
            if other in self.labels or other == "kube-system":
                return False
            address = ipaddress.ip_address(other)
            hits = [address in ipaddress.ip_network(network) for network in inside]
            return hits[0] and not any(hits[1:])
        if "namespaceSelector" in peer:
            wanted = {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}
            return peer["namespaceSelector"] == wanted and other == "kube-system"
        return other in self.labels and self._selects(peer["podSelector"], other)

    def _selects(self, selector: Json, pod: str) -> bool:
        return selector.get("matchLabels", {}).items() <= self.labels[pod].items()


@pytest.mark.parametrize(
    ("source", "target", "port", "allowed"),
    [
        ("encontros-tech", "postgres", 5432, True),
        ("encontros-tech", "postgres", 22, False),
        ("encontros-tech", "kube-system", 53, True),
        ("encontros-tech", "kube-system", 443, False),
        ("encontros-tech", "169.254.20.10", 53, True),
        ("encontros-tech", OUTSIDE, 443, True),
        ("encontros-tech", "169.254.169.254", 80, False),
        ("postgres", "kube-system", 53, True),
        ("postgres", OUTSIDE, 443, False),
        (OUTSIDE, "encontros-tech", 8000, True),
        (OUTSIDE, "encontros-tech", 9000, False),
        (OUTSIDE, "postgres", 5432, False),
        ("kube-system", "postgres", 5432, False),
    ],
)
def test_the_network_lets_through_what_is_needed(
    system: Objects, source: str, target: str, port: int, *, allowed: bool
) -> None:
    assert Network(system).allows(source, target, port) is allowed


def test_services_are_private_unless_published(everything: Objects) -> None:
    network = Network(everything)
    assert network.allows("api", "files", 80)
    assert not network.allows(OUTSIDE, "files", 80)
    assert everything.get("Service", "files")["spec"]["type"] == "ClusterIP"
    policy = everything.get("NetworkPolicy", "default-deny")["spec"]
    assert policy == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_url_names_the_port_that_its_scheme_does_not() -> None:
    ports: list[Json] = [{"target": 8443, "load_balancer": 443, "scheme": "https"}]
    ports += [{"target": 8080, "load_balancer": 8080}]
    recording = one({"ports": ports}).recording
    address = "__later.kubernetes.shop-app-api.address__"
    assert recording.outputs["shop"] == {"api": [f"https://{address}", f"http://{address}:8080"]}


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "workload"),
    [
        ("build", {"image": None, "build": {"context": "."}}),
        ("user", {"user": "0:0"}),
        ("cap_add", {"cap_add": ["SYS_ADMIN"]}),
        ("volumes", {"replicas": 2, "volumes": [{"name": "data", "target": "/data"}]}),
        ("job", {"job": True, "replicas": 2}),
        ("restart", {"restart": RestartPolicy.ON_FAILURE}),
        ("ports[1]", {"ports": [{"target": 80, "load_balancer": 80}, {"target": 9090}]}),
        ("healthcheck.path", {"healthcheck": {"test": ["CMD", "true"], "path": "/"}}),
        ("healthcheck.test", {"healthcheck": {"test": ["NONE"]}}),
        ("tmpfs./tmp", {"tmpfs": {"/tmp": "size=50%"}}),
    ],
)
def test_what_kubernetes_cannot_do_is_said_with_its_place(field: str, workload: Json) -> None:
    with pytest.raises(DescriptionError) as raised:
        one(workload)
    [mistake] = raised.value.mistakes
    assert mistake.place == f"AppTier shop-app: services.api.{field}"
    assert "Kubernetes" in mistake.why
    assert mistake.remedy


def test_a_site_of_another_target_is_refused() -> None:
    def program() -> None:
        site = Site("shop", {})
        site.ref["target"] = Target.KUBERNETES
        AppTier("shop-app", {"site": site.ref, "services": {"api": {"image": "api:1"}}})

    with pytest.raises(DescriptionError, match=r"site\.namespace: is missing"):
        record(program, project="shop", stack="dev", config={})


# --- several in one stack -------------------------------------------------------------------------


def test_two_instances_do_not_collide() -> None:
    objects = Objects(shops({"name": "one", **EVERYTHING}, {"name": "two", **EVERYTHING}))
    places = [
        (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        for item in objects.all
    ]
    assert len(places) == len(set(places))
    assert objects.names("Namespace") == ["dev-one", "dev-two"]
    assert len(objects.recording.resources) == len(
        {resource.urn for resource in objects.recording.resources}
    )


# --- files ----------------------------------------------------------------------------------------


def test_every_object_has_the_published_schema(system: Objects, everything: Objects) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    for item in (*system.all, *everything.all):
        for version in ("1.34", "1.37"):
            validator.validate(item, version, strict=True)


def test_files_are_in_the_order_that_kubectl_needs(everything: Objects) -> None:
    assert list(to_files(everything.recording)) == [
        "00-namespace.yaml",
        "01-networkpolicy.yaml",
        "02-secret.yaml",
        "04-persistentvolumeclaim.yaml",
        "05-service.yaml",
        "06-statefulset.yaml",
        "07-deployment.yaml",
        "08-job.yaml",
        "10-poddisruptionbudget.yaml",
    ]


def to_folder(recording: Recording) -> str:
    return "".join(to_files(recording).values())


@pytest.mark.parametrize("render", [to_yaml, to_folder])
def test_files_hold_the_objects_and_nothing_else(render: Callable[[Recording], str]) -> None:
    first, second = shops(EVERYTHING), shops(EVERYTHING)
    assert render(first) == render(second)
    documents = list(yaml.safe_load_all(render(first)))
    assert documents == manifests(first)
    for document in documents:
        assert list(document)[:3] == ["apiVersion", "kind", "metadata"]
        assert set(document) <= {"apiVersion", "kind", "metadata", "spec", "stringData"}
    assert "pulumi" not in render(first)


def test_scripts_can_be_read(everything: Objects) -> None:
    text = to_files(everything.recording)["08-job.yaml"]
    assert "value: |-\n" in text


def test_texts_that_look_like_numbers_stay_texts() -> None:
    values: dict[str, pulumi.Input[str]] = {
        "A": "1e3",
        "B": "0o17",
        "C": "y",
        "D": "N",
        "E": "on",
        "F": "~",
        "G": ".5",
        "H": "+1",
    }
    text = to_yaml(one({"environment": values}).recording)
    for value in values.values():
        assert f"value: '{value}'\n" in text
    assert "containerPort: 8000" in to_yaml(one({"ports": [{"target": 8000}]}).recording)


def test_no_secret_is_in_clear_unless_asked_for() -> None:
    recording = encontros_tech("production")
    files = to_files(recording)
    assert [name for name, text in files.items() if "${" in text] == ["02-secret.yaml"]
    assert files["02-secret.yaml"].startswith(
        f"# Fill in the secrets: envsubst '${{{PASSWORD}}}'\n"
    )
    assert "__" not in "".join(files.values())
    filled = to_files(recording, {PASSWORD: "s3cret"})
    assert "${" not in filled["02-secret.yaml"]
    assert Objects(recording, {PASSWORD: "s3cret"}).get("Secret", "postgres")["stringData"] == {
        "POSTGRES_PASSWORD": "s3cret"
    }


def test_a_password_that_was_given_is_not_in_clear_either() -> None:
    given = "Zx9-Tulip-Harbor-42"
    secrets = {"encontros-tech/postgres/doadmin": Secret(given)}
    recording = encontros_tech("production", secrets=Secret(secrets))
    assert given not in to_yaml(recording)
    assert Objects(recording).get("Secret", "postgres")["stringData"] == {
        "POSTGRES_PASSWORD": "${PRODUCTION_POSTGRES_STRINGDATA_POSTGRES_PASSWORD}"
    }
    assert f":{given}@postgres" in to_yaml(recording, {})


# --- what a stack says beside its systems ---------------------------------------------------------


def test_logins_of_registries_reach_every_pod_and_nobody_else() -> None:
    password = "t0ken-that-pulls-only"
    logins = {"docker.io": {"username": "me", "password": password}}
    recording = encontros_tech("production", registry_logins=Secret(logins))
    objects = Objects(recording)
    secret = objects.get("Secret", "registries")
    assert secret["type"] == "kubernetes.io/dockerconfigjson"
    assert password not in to_yaml(recording)
    filled = Objects(recording, {}).get("Secret", "registries")["stringData"]
    assert json.loads(filled[".dockerconfigjson"]) == {
        "auths": {"https://index.docker.io/v1/": {"username": "me", "password": password}}
    }
    for item in objects.of(*PODS):
        assert item["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "registries"}]
    for item in Objects(encontros_tech("production")).of(*PODS):
        assert "imagePullSecrets" not in item["spec"]["template"]["spec"]


def test_load_balancers_let_in_who_may_come() -> None:
    ranges = ["203.0.113.0/24", "198.51.100.7/32"]
    narrowed = Objects(encontros_tech("production", load_balancers={"source_ranges": ranges}))
    spec = narrowed.get("Service", "encontros-tech")["spec"]
    assert spec["loadBalancerSourceRanges"] == ranges
    # A Service without a load balancer has nobody to let in.
    assert "loadBalancerSourceRanges" not in narrowed.get("Service", "postgres")["spec"]


def awaited(recording: Recording) -> dict[str, bool]:
    """By name of the Service: whether the engine waits for it."""
    return {
        item.inputs["metadata"]["name"]: "pulumi.com/skipAwait"
        not in item.inputs["metadata"].get("annotations", {})
        for item in recording.of_type("kubernetes:core/v1:Service")
    }


def test_only_addresses_are_waited_for_and_only_where_they_come() -> None:
    assert awaited(encontros_tech("production")) == {"encontros-tech": True, "postgres": False}
    never = encontros_tech("production", load_balancers={"await": False})
    assert awaited(never) == {"encontros-tech": False, "postgres": False}


def test_metrics_are_found_on_each_pod() -> None:
    """EN-07: the load balancer would show those of any replica."""
    objects = Objects(encontros_tech("production"))
    template = objects.get("Deployment", "encontros-tech")["spec"]["template"]
    annotations = template["metadata"]["annotations"]
    assert {key: annotations[key] for key in annotations if key.startswith("prometheus.io/")} == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": "8000",
        "prometheus.io/path": "/metrics",
    }
    postgres = objects.get("StatefulSet", "postgres")["spec"]["template"]["metadata"]
    assert not any(key.startswith("prometheus.io/") for key in postgres["annotations"])


def test_what_holds_data_is_protected_in_production(environment: str) -> None:
    held = {item.type for item in encontros_tech(environment).resources if item.protect}
    production = {"kubernetes:core/v1:Namespace", "random:index/randomPassword:RandomPassword"}
    assert held == (production if environment == "production" else set())
    never = encontros_tech(environment, protect="never")
    assert not any(item.protect for item in never.resources)


def test_a_dedicated_user_owns_its_database_here_too() -> None:
    objects = Objects(encontros_tech("production", databases="dedicated"))
    assert any(name.startswith("postgres-setup-") for name in objects.names("Job"))
    url = objects.get("Secret", "db-credentials")["stringData"]["DATABASE_URL"]
    assert url.startswith("postgresql://encontros_tech:")
    assert "@postgres:5432/encontros_tech" in url


@pytest.mark.parametrize(
    "literal", ["${db.url}&key=hunter2", "${db.host} hunter2", "hunter2 ${db.password}"]
)
def test_no_part_of_a_secret_is_shown_that_somebody_wrote(literal: str) -> None:
    objects = shops(
        {
            "stores": {"db": {"engine": "postgres"}},
            "services": {"api": {"image": "api:1", "secrets": {"MIXED": literal}}},
        }
    )
    assert "hunter2" not in to_yaml(objects)
    assert Objects(objects).get("Secret", "api")["stringData"] == {
        "MIXED": "${DEV_SHOP_API_STRINGDATA_MIXED}"
    }


def test_of_two_logins_the_one_in_clear_is_not_shown_beside_the_encrypted_one() -> None:
    logins = {
        "docker.io": {"username": "me", "password": Secret("__secret.ENCRYPTED__")},
        "ghcr.io": {"username": "you", "password": "hunter2"},
    }
    assert "hunter2" not in to_yaml(encontros_tech("production", registry_logins=logins))


def test_the_number_is_the_autoscalers() -> None:
    objects = one({"replicas": 1, "autoscale": {"min": 2, "max": 4}})
    [deployment] = objects.recording.of_type("kubernetes:apps/v1:Deployment")
    # Pulumi begins with the fewest. `kubectl apply` would go back to them each time.
    assert deployment.inputs["spec"]["replicas"] == 2
    assert deployment.ignore_changes == ("spec.replicas",)
    assert "replicas" not in objects.get("Deployment", "api")["spec"]
    scaler = objects.get("HorizontalPodAutoscaler", "api")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)
    assert scaler["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "api",
    }
