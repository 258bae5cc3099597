"""GPUs on Kubernetes and DigitalOcean: who gets one, and the nodes that have them."""

from typing import Any

import pulumi
import pytest
from pulumi_tiers.cluster import Cluster, ClusterArgs, GpuPoolArgs
from pulumi_tiers.limits import check_gpu_pool, gpu_pool
from pulumi_tiers.model.cloud import Cloud, GpuPool
from pulumi_tiers.model.errors import DescriptionError
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.prices import GPU_SIZES, price
from pulumi_tiers.render.recorder import Recording, record

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
