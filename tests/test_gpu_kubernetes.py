"""What computes, collects and scales on Kubernetes: GPUs and their nodes, collectors, queues."""

import re
from typing import Any, NotRequired, TypedDict

import pulumi
import pytest
from pulumi_tiers.app_tier import WorkloadArgs
from pulumi_tiers.cli.pods import Place, job_from
from pulumi_tiers.cluster import Cluster, ClusterArgs, GpuPoolArgs
from pulumi_tiers.data_tier import DataTier, StoreArgs
from pulumi_tiers.limits import check_gpu_pool, gpu_doubts, gpu_pool
from pulumi_tiers.ml_tier import MLTier
from pulumi_tiers.model.cloud import Cloud, GpuPool
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.digitalocean import DigitalOceanPlatform
from pulumi_tiers.prices import GPU_SIZES, price
from pulumi_tiers.render.details import files
from pulumi_tiers.render.picture import picture
from pulumi_tiers.render.recorder import Json, Recording, record
from pulumi_tiers.render.report import report
from pulumi_tiers.site import RegistryLoginArgs, Site, SiteArgs
from test_kubernetes import Objects

POOL = "digitalocean:index/kubernetesNodePool:KubernetesNodePool"
EXISTING = {"cluster_id": "11111111-2222-4333-8444-555555555555", "cluster_name": "theirs"}


def cluster(args: ClusterArgs) -> Recording:
    def program() -> None:
        made = Cluster("cloud", args)
        pulumi.export("id", made.cluster_id)

    return record(program, project="shop", stack="prod", config={})


def pools(recording: Recording) -> list[Any]:
    return [item for item in recording.resources if item.type == POOL]


def computing(count: int = 1, **more: Any) -> Workload:
    return Workload.model_validate({"image": "train:1", "gpu": {"count": count}, **more})


# --- nodes ----------------------------------------------------------------------------------------


def test_a_cluster_has_no_gpus_unless_told() -> None:
    assert not pools(cluster({}))


def test_the_pool_scales_to_zero_and_is_the_autoscalers() -> None:
    [pool] = pools(cluster({"gpu": {}}))
    assert {key: value for key, value in pool.inputs.items() if key != "clusterId"} == {
        "name": "gpu",
        "size": "gpu-4000adax1-20gb",
        "autoScale": True,
        "minNodes": 0,
        "maxNodes": 1,
    }
    assert list(pool.ignore_changes) == ["nodeCount", "taints"]


def test_idle_gpus_cost_nothing_and_the_most_is_told() -> None:
    [pool] = pools(cluster({"gpu": {"size": "gpu-h100x1-80gb", "max_nodes": 2}}))
    found = price(POOL, pool.inputs)
    assert found is not None
    assert (found.what, found.usd, found.most) == ("0 to 2 nodes gpu-h100x1-80gb", 0, 2 * 3281)


def test_every_nvidia_size_with_a_price_is_known() -> None:
    assert {"gpu-4000adax1-20gb", "gpu-l40sx1-48gb", "gpu-h100x8-640gb"} <= set(GPU_SIZES)
    assert not [size for size in GPU_SIZES if "mi300" in size]
    assert {size: GpuPool(size=size).gpus for size in GPU_SIZES}["gpu-h100x8-640gb"] == 8
    assert GpuPool().gpus == 1


@pytest.mark.parametrize(
    ("gpu", "says"),
    [
        ({"size": "gpu-h100x1-80"}, "did you mean 'gpu-h100x1-80gb'"),
        # AMD's are another resource for Kubernetes.
        ({"size": "gpu-mi300x1-192gb"}, "knows no size 'gpu-mi300x1-192gb'"),
        ({"size": "s-2vcpu-4gb"}, "knows no size 's-2vcpu-4gb'"),
        ({"min_nodes": 3, "max_nodes": 2}, "max_nodes is 2, and min_nodes is 3"),
        ({"max_nodes": 0}, "max_nodes"),
    ],
)
def test_a_wrong_pool_is_refused(gpu: GpuPoolArgs, says: str) -> None:
    with pytest.raises(DescriptionError) as told:
        cluster({"gpu": gpu})
    assert says in str(told.value)


def test_an_existing_cluster_has_its_own_nodes() -> None:
    with pytest.raises(DescriptionError, match="'gpu' is a matter of the existing cluster"):
        cluster({"gpu": {}, **EXISTING})  # type: ignore[typeddict-item]


def test_a_stack_has_the_nodes_that_its_gpus_need() -> None:
    idle = Workload(image="api:1")
    assert gpu_pool(Cloud(gpu=GpuPool()), [idle]) is None
    assert gpu_pool(Cloud(), [computing(), idle]) == GpuPool(max_nodes=1)
    # Two that each want one for themselves wait for each other on one node only (OC-30).
    assert gpu_pool(Cloud(), [computing(), computing()]) == GpuPool(max_nodes=2)
    scaled = computing(autoscale={"min": 1, "max": 5})
    assert gpu_pool(Cloud(), [scaled, computing(replicas=2)]) == GpuPool(max_nodes=7)
    large = Cloud(gpu=GpuPool(size="gpu-h100x8-640gb"))
    assert gpu_pool(large, [computing(8), computing(1)]) == GpuPool(
        size="gpu-h100x8-640gb", max_nodes=2
    )
    given = GpuPool(min_nodes=1, max_nodes=1)
    assert gpu_pool(Cloud(gpu=given), [computing(), computing()]) == given
    assert gpu_pool(Cloud.model_validate(EXISTING), [computing()]) is None


def test_more_gpus_than_a_node_has_are_refused() -> None:
    [mistake] = check_gpu_pool({"shop/train": computing(2), "shop/api": computing()}, Cloud())
    assert mistake.place == "tiers:digitalocean.gpu.size"
    assert "shop/train wants 2 GPUs, and a node of the size gpu-4000adax1-20gb has 1" in mistake.why
    large = Cloud(gpu=GpuPool(size="gpu-h100x8-640gb"))
    assert not list(check_gpu_pool({"shop/train": computing(8)}, large))


def test_what_may_have_to_wait_for_a_gpu_is_told() -> None:
    def doubts(cloud: dict[str, Any]) -> list[str]:
        return list(gpu_doubts([computing(), computing()], Cloud.model_validate(cloud)))

    assert not doubts({"region": "tor1"})
    assert not list(gpu_doubts([Workload(image="api:1")], Cloud()))
    [waits] = doubts({"region": "tor1", "gpu": {"max_nodes": 1}})
    assert "2 GPUs are asked for, and there are 1 at most" in waits
    [elsewhere] = doubts({})
    assert "whether nyc1 has gpu-4000adax1-20gb" in elsewhere
    [theirs] = doubts(EXISTING)
    assert "it must have some with GPUs" in theirs


# --- pods -----------------------------------------------------------------------------------------


class Shop(TypedDict):
    """What a test puts into a system of its own."""

    site: NotRequired[SiteArgs]
    services: dict[str, WorkloadArgs]
    stores: NotRequired[dict[str, StoreArgs]]


def shop(described: Shop) -> Objects:
    def program() -> None:
        site = Site("shop", {"target": Target.KUBERNETES, **described.get("site", {})})
        data = DataTier("shop-data", {"site": site.ref, "stores": described.get("stores", {})})
        tier = MLTier(
            "shop-ml",
            {
                "site": site.ref,
                "services": described["services"],
                "connections": data.connections,
            },
        )
        pulumi.export("urls", tier.urls)

    return Objects(record(program, project="shop", stack="dev", config={}))


def one(
    workload: WorkloadArgs,
    site: SiteArgs | None = None,
    stores: dict[str, StoreArgs] | None = None,
) -> Objects:
    """A service called ``api``."""
    services: dict[str, WorkloadArgs] = {"api": {"image": "api:1", **workload}}
    return shop({"services": services, "site": site or {}, "stores": stores or {}})


def pod(objects: Objects, kind: str = "Deployment", name: str = "api") -> Json:
    return objects.get(kind, name)["spec"]["template"]["spec"]


def test_a_gpu_is_a_limit_on_nodes_that_others_are_kept_off() -> None:
    objects = one({"gpu": {"count": 2}, "replicas": 2})
    [container] = pod(objects)["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"
    # It can't be overcommitted: who has a limit requests as many.
    assert "nvidia.com/gpu" not in container["resources"]["requests"]
    assert pod(objects)["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
    ]
    assert "nodeSelector" not in pod(objects)
    strategy = objects.get("Deployment", "api")["spec"]["strategy"]
    # The new pod would wait for the GPU of the old one.
    assert strategy == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }


def test_without_a_gpu_nothing_is_said_of_any() -> None:
    objects = one({})
    assert "nvidia" not in str(objects.all)
    assert "tolerations" not in pod(objects)


def test_a_kind_of_gpu_is_a_label_of_the_nodes() -> None:
    objects = one({"gpu": {"kind": "NVIDIA-L4"}})
    assert pod(objects)["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert DigitalOceanPlatform.gpu_label == "doks.digitalocean.com/gpu-model"


def test_what_runs_before_a_start_is_hardened_and_writes_what_the_service_reads() -> None:
    objects = one(
        {
            "init": {
                "image": "fetch:1",
                "entrypoint": ["fetch"],
                "command": ["$(all)"],
                "environment": {"URL": "http://models"},
                "secrets": {"KEY": "a key"},
                "tmpfs": {"/tmp": "size=16m"},
            },
            "volumes": [
                {"name": "models", "target": "/models", "scratch": True, "read_only": True}
            ],
            "gpu": {},
        }
    )
    found = pod(objects)
    [init] = found["initContainers"]
    [container] = found["containers"]
    assert (init["image"], init["command"], init["args"]) == ("fetch:1", ["fetch"], ["$$(all)"])
    assert init["env"] == [
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "api-init", "key": "KEY"}}},
        {"name": "URL", "value": "http://models"},
    ]
    assert list(objects.get("Secret", "api-init")["stringData"]) == ["KEY"]
    assert {mount["mountPath"]: mount.get("readOnly") for mount in init["volumeMounts"]} == {
        "/models": None,
        "/tmp": None,
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/models"]
    assert container["volumeMounts"][0]["readOnly"] is True
    assert init["securityContext"] == container["securityContext"]
    # Another's GPU would have to be waited for, only to fetch a file.
    assert "nvidia.com/gpu" not in init["resources"]["limits"]
    assert found["volumes"] == [
        {"name": "models", "emptyDir": {"sizeLimit": "10Gi"}},
        {"name": "init-tmpfs-0", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
    ]


def test_what_runs_on_demand_is_a_template_that_nothing_starts() -> None:
    objects = one({"on_demand": True, "healthcheck": {"test": ["CMD", "true"]}, "gpu": {}})
    assert not objects.of("Deployment", "Job", "Service")
    spec = objects.get("CronJob", "api")["spec"]
    assert (spec["suspend"], spec["schedule"]) == (True, "0 0 31 2 *")
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["ttlSecondsAfterFinished"]) == (0, 24 * 3600)
    found = job["template"]["spec"]
    assert found["restartPolicy"] == "Never"
    assert found["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert not {"startupProbe", "readinessProbe", "livenessProbe"} & set(found["containers"][0])
    # Its policy is for the pods of its runs.
    labels = job["template"]["metadata"]["labels"]
    chosen = objects.get("NetworkPolicy", "api")["spec"]["podSelector"]["matchLabels"]
    assert chosen.items() <= labels.items()


# --- collectors -----------------------------------------------------------------------------------

COLLECTOR: WorkloadArgs = {
    "image": "node-exporter:1",
    "per_node": True,
    "user": "0:0",
    "ports": [{"target": 9100}],
    "binds": {"/host/proc": "/proc"},
    "metrics": {"interval": "30s"},
}


@pytest.fixture(scope="module")
def collected() -> Objects:
    return shop(
        {
            "site": {"collectors": True, "registry_logins": {"ghcr.io": LOGIN}},
            "stores": {"db": {"engine": "postgres"}},
            "services": {
                "nodes": COLLECTOR,
                "prometheus": {
                    "image": "prometheus:1",
                    "discovers": True,
                    "ports": [{"target": 9090}],
                },
            },
        }
    )


LOGIN: RegistryLoginArgs = {"username": "puller", "password": "a token"}


def test_collectors_have_a_namespace_with_rules_of_its_own(collected: Objects) -> None:
    profiles = {
        item["metadata"]["name"]: item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for item in collected.of("Namespace")
    }
    assert profiles == {"dev-shop": "restricted", "dev-shop-collectors": "privileged"}
    there = [
        (item["kind"], item["metadata"]["name"])
        for item in collected.all
        if item["metadata"].get("namespace") == "dev-shop-collectors"
    ]
    assert sorted(there) == [
        ("DaemonSet", "nodes"),
        ("NetworkPolicy", "allow-internal"),
        ("NetworkPolicy", "default-deny"),
        ("NetworkPolicy", "nodes"),
        ("Secret", "registries"),
        ("Service", "nodes"),
    ]


def test_a_collector_reads_its_node_and_nothing_more(collected: Objects) -> None:
    found = pod(collected, "DaemonSet", "nodes")
    [container] = found["containers"]
    assert found["volumes"] == [{"name": "host-0", "hostPath": {"path": "/proc"}}]
    assert container["volumeMounts"] == [
        {
            "name": "host-0",
            "mountPath": "/host/proc",
            "mountPropagation": "HostToContainer",
            "readOnly": True,
        }
    ]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        assert key not in found
    assert found["automountServiceAccountToken"] is False
    # Nodes with GPUs have room for it; and it finds the services by their names alone.
    assert found["tolerations"] == [{"operator": "Exists", "effect": "NoSchedule"}]
    assert found["dnsConfig"] == {"searches": ["dev-shop.svc.cluster.local"]}
    annotations = collected.get("DaemonSet", "nodes")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/interval"] == "30s"


def test_the_two_namespaces_reach_each_other(collected: Objects) -> None:
    def called(name: str) -> Json:
        return {"matchLabels": {"kubernetes.io/metadata.name": name}}

    for own, other in (
        ("dev-shop", "dev-shop-collectors"),
        ("dev-shop-collectors", "dev-shop"),
    ):
        policies = {
            item["metadata"]["name"]: item["spec"]
            for item in collected.of("NetworkPolicy")
            if item["metadata"]["namespace"] == own
        }
        assert policies["allow-internal"]["egress"][0]["to"] == [
            {"podSelector": {}},
            {"namespaceSelector": called(other)},
        ]
        for name in {"nodes", "db", "prometheus"} & set(policies):
            assert policies[name]["ingress"][0]["from"] == [
                {"podSelector": {}},
                {"namespaceSelector": called(other), "podSelector": {}},
            ]


def test_the_system_finds_a_collector_by_its_name(collected: Objects) -> None:
    named = {
        item["metadata"]["namespace"]: item["spec"]
        for item in collected.of("Service")
        if item["metadata"]["name"] == "nodes"
    }
    assert named["dev-shop-collectors"]["clusterIP"] == "None"
    assert named["dev-shop"] == {
        "type": "ExternalName",
        "externalName": "nodes.dev-shop-collectors.svc.cluster.local",
    }


def test_who_discovers_sees_the_pods_of_the_system_only(collected: Objects) -> None:
    found = pod(collected, "Deployment", "prometheus")
    assert found["automountServiceAccountToken"] is True
    assert found["serviceAccountName"] == "prometheus"
    account = collected.get("ServiceAccount", "prometheus")
    assert account["automountServiceAccountToken"] is False
    role, binding = collected.get("Role", "prometheus"), collected.get("RoleBinding", "prometheus")
    assert role["metadata"]["namespace"] == "dev-shop"
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "prometheus"}]
    assert not collected.of("ClusterRole", "ClusterRoleBinding")


def test_who_discovers_from_an_internal_network_reaches_the_api_server() -> None:
    objects = one({"discovers": True}, site={"networks": {"back": {"internal": True}}})
    [egress] = objects.get("NetworkPolicy", "api")["spec"]["egress"]
    assert [port["port"] for port in egress["ports"]] == [443, 6443]


@pytest.mark.parametrize(
    ("workload", "place"),
    [
        ({"gpu": {}}, "gpu"),
        ({"replicas": 2}, "replicas"),
        ({"volumes": [{"name": "state", "target": "/state"}]}, "volumes[0]"),
        ({"ports": [{"target": 9100, "load_balancer": 80}]}, "ports[0].load_balancer"),
    ],
)
def test_what_cannot_be_on_every_node_is_refused(workload: WorkloadArgs, place: str) -> None:
    with pytest.raises(DescriptionError, match=re.escape(f"services.api.{place}")):
        one({**COLLECTOR, **workload}, site={"collectors": True})


def test_a_site_without_a_place_for_collectors_is_told() -> None:
    with pytest.raises(DescriptionError, match=r"services\.api\.per_node: the site has no"):
        one(COLLECTOR)


def test_only_collectors_have_folders_of_their_machine() -> None:
    with pytest.raises(DescriptionError) as told:
        one({"binds": {"/src": "."}, "user": "0:0", "docker_socket": True})
    for key in ("binds", "user", "docker_socket"):
        assert f"services.api.{key}: " in str(told.value)


def test_a_name_that_leaves_no_room_for_the_collectors_is_told() -> None:
    with pytest.raises(DescriptionError, match="has 64 characters"):
        one({}, site={"namespace": "n" * 53, "collectors": True})


# --- an operator's Prometheus ---------------------------------------------------------------------


def test_service_monitors_say_what_the_annotations_say() -> None:
    objects = one(
        {"ports": [{"target": 80}, {"target": 9000}], "metrics": {"port": 9000, "interval": "1m"}},
        site={"service_monitors": "monitoring"},
    )
    spec = objects.get("ServiceMonitor", "api")["spec"]
    assert spec["endpoints"] == [{"port": "tcp-9000", "path": "/metrics", "interval": "1m"}]
    service = objects.get("Service", "api")
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert "tcp-9000" in {port["name"] for port in service["spec"]["ports"]}
    theirs = objects.get("NetworkPolicy", "api")["spec"]["ingress"][1]
    assert theirs == {
        "from": [
            {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
        ],
        "ports": [{"port": 9000, "protocol": "TCP"}],
    }
    assert not one({"ports": [{"target": 80}], "metrics": {}}).of("ServiceMonitor")


# --- queues ---------------------------------------------------------------------------------------

SCALED: WorkloadArgs = {
    "queue": "redis",
    "autoscale": {"min": 0, "max": 5, "queue_name": "celery", "queue_length": 20},
}


def test_a_queue_decides_how_many_there_are() -> None:
    objects = one(SCALED, stores={"redis": {"engine": "redis"}})
    assert not objects.of("HorizontalPodAutoscaler")
    assert "replicas" not in objects.get("Deployment", "api")["spec"]
    spec = objects.get("ScaledObject", "api")["spec"]
    [trigger] = spec.pop("triggers")
    assert spec == {
        "scaleTargetRef": {"name": "api"},
        "minReplicaCount": 0,
        "maxReplicaCount": 5,
    }
    assert trigger["type"] == "redis"
    # KEDA is in another namespace.
    assert trigger["metadata"] == {
        "address": "redis.dev-shop.svc.cluster.local:6379",
        "enableTLS": "false",
        "listName": "celery",
        "listLength": "20",
        "databaseIndex": "0",
    }
    assert trigger["authenticationRef"] == {"name": "api"}
    login = objects.get("TriggerAuthentication", "api")["spec"]["secretTargetRef"]
    secret = objects.get("Secret", "api-scaler")["stringData"]
    assert {item["name"] for item in login} == {"api-scaler"}
    assert {item["parameter"]: item["key"] for item in login} == {key: key for key in secret}
    assert list(secret) == ["password"]
    assert secret["password"].startswith("${")
    policy = objects.get("NetworkPolicy", "api-scaler")["spec"]
    assert policy["podSelector"]["matchLabels"]["app"] == "redis"
    [ingress] = policy["ingress"]
    assert ingress["ports"] == [{"port": 6379, "protocol": "TCP"}]
    names = ingress["from"][0]["namespaceSelector"]["matchLabels"]
    assert names == {"kubernetes.io/metadata.name": "keda"}
    for item in objects.of("ScaledObject", "TriggerAuthentication"):
        assert "PASSWORD" not in str(item)


def test_a_queue_and_the_load_can_decide_together() -> None:
    both: WorkloadArgs = {**SCALED, "autoscale": {**SCALED["autoscale"], "min": 1, "cpu": 60}}
    objects = one(both, stores={"redis": {"engine": "redis"}})
    assert objects.get("ScaledObject", "api")["spec"]["triggers"][1] == {
        "type": "cpu",
        "metricType": "Utilization",
        "metadata": {"value": "60"},
    }


def test_a_queue_that_nobody_measures_is_refused() -> None:
    with pytest.raises(DescriptionError, match="nobody measures the length of a queue in postgres"):
        one(SCALED, stores={"redis": {"engine": "postgres"}})


def test_keda_reads_a_queue_of_rabbitmq_by_its_url() -> None:
    objects = one({**SCALED, "queue": "rabbit"}, stores={"rabbit": {"engine": "rabbitmq"}})
    [trigger] = objects.get("ScaledObject", "api")["spec"]["triggers"]
    assert (trigger["type"], trigger["metadata"]["queueName"]) == ("rabbitmq", "celery")
    [url] = objects.get("Secret", "api-scaler")["stringData"].values()
    assert re.fullmatch(r"amqp://\w+:\$\{\w+\}@rabbit\.dev-shop\.svc\.cluster\.local:5672/.*", url)


# --- how it is shown ------------------------------------------------------------------------------


def test_the_report_says_what_each_is() -> None:
    services: dict[str, WorkloadArgs] = {
        "nodes": COLLECTOR,
        "train": {"on_demand": True, "gpu": {}, "configs": {"rate.ini": "fast"}},
        "work": SCALED,
    }
    found = shop(
        {
            "site": {"collectors": True},
            "stores": {"redis": {"engine": "redis"}},
            "services": {name: {"image": f"{name}:1", **it} for name, it in services.items()},
        }
    )
    rows = {
        cells[1]: cells
        for line in report(found.recording, "dev").splitlines()
        if len(cells := [cell.strip() for cell in line.split("|")]) > 8
    }
    assert rows["nodes"][4] == "one per node"
    assert rows["train"][4] == "on demand"
    assert "1 GPU" in rows["train"][5]
    assert rows["work"][4] == "0-5, by redis"
    assert [file.path for file in files(found.recording)["shop", "train"]] == [
        "/run/configs/rate.ini"
    ]
    assert {node.name: node.count for node in picture(found.recording).nodes}["work"] == "0-5"


# --- a run ----------------------------------------------------------------------------------------

PLACE = Place("dev", "shop", "api", "dev-shop")


def template(described: WorkloadArgs) -> dict[str, Any]:
    """A CronJob as the API gives it."""
    found = one({"on_demand": True, **described}).get("CronJob", "api")
    return {**found, "metadata": {**found["metadata"], "uid": "1"}}


def test_a_run_is_a_job_of_the_template() -> None:
    cron = template({"gpu": {}, "command": ["train"]})
    job = job_from(cron, PLACE, [])
    assert job["spec"] == cron["spec"]["jobTemplate"]["spec"]
    [owner] = job["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("CronJob", "api", "1")
    assert owner["controller"] is True
    assert job["metadata"]["labels"]["tiers.one_off"] == "api"
    # Twice is two.
    assert job_from(cron, PLACE, [])["metadata"]["name"] != job["metadata"]["name"]


def test_a_run_can_have_another_command() -> None:
    cron = template({"command": ["train"]})
    job = job_from(cron, PLACE, ["train", "--rate", "$(RATE)"])
    [container] = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["train", "--rate", "$$(RATE)"]
    kept = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    assert kept["args"] == ["train"]
