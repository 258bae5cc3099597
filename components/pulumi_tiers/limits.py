"""What a target cannot do: told with the field and the target, before anything is made."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from pulumi_tiers.engines import ENGINES, Engine
from pulumi_tiers.engines.base import Consumer
from pulumi_tiers.model.cloud import Cloud, GpuPool
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.image import RegistryLogin
from pulumi_tiers.model.ml import Sharing
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Target
from pulumi_tiers.model.workload import Autoscale, ImageOwner, RestartPolicy, Workload

LARGEST_FILES = 1_000_000
"""Bytes. Kubernetes takes 1 MiB in a ConfigMap; Linux starts a program with 2 MiB of variables."""
#: What "restricted" lets a container keep.
_CAPABILITIES = frozenset({"NET_BIND_SERVICE"})
_GIBIBYTES = {"Mi": 1 / 1024, "Gi": 1, "Ti": 1024}
#: Those that people name: what there is changes from day to day, and no document lists it.
_GPU_REGIONS = ("tor1", "nyc2", "atl1")
#: Of a writable path without a size of its own. It counts as the container's memory.
_TMPFS_SIZE = "64m"


def check_limits(place: str, workload: Workload, target: Target) -> Iterator[Mistake]:
    """What of a workload cannot be had on its target."""
    for key in ("configs", "secret_files"):
        texts: Mapping[str, object] = getattr(workload, key)
        size = sum(len(text.encode()) for text in texts.values() if isinstance(text, str))
        if size > LARGEST_FILES:
            yield Mistake(
                f"{place}.{key}",
                f"these files have {size} bytes together",
                f"keep them below {LARGEST_FILES}, or put them into the image",
            )
    if workload.per_node:
        yield from _per_node(place, workload)
    yield from _once(place, workload, target)
    if target is Target.DOCKER:
        yield from _docker(place, workload)
    else:
        yield from _kubernetes(place, workload, target)
    if target is Target.KUBERNETES:
        for key, instead in (
            ("proxy_protocol", "set 'local', which keeps clients' addresses"),
            ("certificate", "end TLS in an edge"),
        ):
            if getattr(workload.load_balancer, key):
                yield Mistake(
                    f"{place}.load_balancer.{key}",
                    "on kubernetes alone, nobody knows how the cloud is asked for it",
                    f"remove it for this target, which is not digitalocean: {instead}",
                )
    if target is Target.DIGITALOCEAN:
        public = public_ports(workload).values()
        if workload.load_balancer.certificate is not None and public and 443 not in public:
            yield Mistake(
                f"{place}.load_balancer.certificate",
                "DigitalOcean's load balancer ends TLS on its port 443, and it has no such port",
                "set 'load_balancer' of the port to 443",
            )
        for position, volume in enumerate(workload.volumes):
            if volume.scratch:  # a part of the node's disk
                continue
            if not 1 <= int(volume.size[:-2]) * _GIBIBYTES[volume.size[-2:]] <= 16 * 1024:
                yield Mistake(
                    f"{place}.volumes[{position}].size",
                    f"DigitalOcean has no volume of {volume.size}",
                    "give at least '1Gi', and at most '16Ti'",
                )


def _once(place: str, workload: Workload, target: Target) -> Iterator[Mistake]:
    """What ends and is not started again."""
    if not (workload.job or workload.on_demand):
        return
    refused = {RestartPolicy.ALWAYS}
    if target is Target.DOCKER or workload.on_demand:  # Kubernetes tries a job six times more
        refused.add(RestartPolicy.ON_FAILURE)
    if workload.restart in refused:
        yield Mistake(
            f"{place}.restart",
            f"on {target}, what runs to its end is not started again: '{workload.restart}' cannot"
            " be had",
            "remove it",
        )


def _docker(place: str, workload: Workload) -> Iterator[Mistake]:
    """What of a workload cannot be had on one Docker host."""
    if workload.replicas > 1 and workload.stateful:
        yield Mistake(
            f"{place}.stateful",
            f"on Docker, {workload.replicas} replicas would write into one volume",
            "set 'replicas' to 1; where they may share their volumes, remove 'stateful'",
        )
    if workload.replicas > 1 and workload.job:
        yield Mistake(f"{place}.job", "on Docker, a job runs once", "remove 'replicas', or 'job'")
    # Where a queue decides, 'replicas' is how many there are without KEDA: a doubt says so.
    if workload.autoscale and workload.autoscale.queue_name is None:
        yield Mistake(
            f"{place}.autoscale",
            "Docker has no autoscaler",
            "remove it for this target, and set 'replicas' (tiers:replicas)",
        )
    if workload.image_owner is ImageOwner.OTHERS:
        yield Mistake(
            f"{place}.image_owner",
            "on Docker, a container has one image from its start to its end",
            "remove it for this target: whoever changes the image makes a new container",
        )


def _kubernetes(place: str, workload: Workload, target: Target) -> Iterator[Mistake]:
    """What of a workload cannot be had on Kubernetes, or not under "restricted"."""
    if workload.image is None:
        yield Mistake(
            f"{place}.build",
            "Kubernetes runs images from a registry, it builds none",
            "build and push the image, then name it in 'image' (or tiers:images)",
        )
    if workload.per_node:
        yield from _per_node_there(place, workload)
    if workload.docker_only:
        yield Mistake(
            f"{place}.docker_only",
            f"it says why the service can't be on {target}: {workload.docker_only}",
            "leave the service out for this target",
        )
    # Its namespace lets it, because folders of a node belong to root.
    if not (int(workload.user.partition(":")[0]) or workload.per_node):
        yield Mistake(
            f"{place}.user",
            "Kubernetes' Pod Security 'restricted' lets nothing run as root",
            "give the uid:gid of a user in the image, such as '1000:1000'",
        )
    refused = set[str]() if workload.per_node else set(capabilities(workload)) - _CAPABILITIES
    for capability in sorted(refused):
        yield Mistake(
            f"{place}.cap_add",
            f"Kubernetes' Pod Security 'restricted' refuses the capability {capability}",
            f"do without it; it allows {', '.join(_CAPABILITIES)} only",
        )
    many = workload.replicas > 1 or workload.autoscale is not None
    lasting = [volume for volume in workload.volumes if not volume.scratch]
    if many and lasting and not workload.stateful:
        yield Mistake(
            f"{place}.volumes",
            f"on Kubernetes, {workload.replicas} replicas cannot share a volume",
            "set 'stateful' so that each has its own, its 'scratch' if nobody needs it later, or"
            " 'replicas' to 1",
        )
    for position, volume in enumerate(workload.volumes):
        if volume.external:
            yield Mistake(
                f"{place}.volumes[{position}].external",
                "on Kubernetes, two workloads cannot share a volume",
                "give each its own, or a store that both use",
            )
    if workload.binds and not workload.per_node:
        yield Mistake(
            f"{place}.binds",
            "Kubernetes has no folders of this machine",
            "remove them for this target; they are for development on Docker",
        )
    if workload.docker_socket:
        yield Mistake(
            f"{place}.docker_socket",
            "Kubernetes has no Docker daemon",
            "say in 'docker_only' why the service is left out there, or remove it",
        )
    if workload.job and (workload.stateful or workload.replicas > 1):
        yield Mistake(
            f"{place}.job",
            "on Kubernetes, a job runs once: it is neither stateful nor replicated",
            "remove 'stateful' and 'replicas', or 'job'",
        )
    runs_once = workload.job or workload.on_demand
    if not runs_once and workload.restart in {RestartPolicy.NO, RestartPolicy.ON_FAILURE}:
        yield Mistake(
            f"{place}.restart",
            f"Kubernetes restarts a service always, so '{workload.restart}' cannot be had",
            "set 'job' for what runs once, or restart to 'unless-stopped'",
        )
    public = public_ports(workload)
    for position, port in enumerate(workload.ports):
        if public and port.target not in public:
            yield Mistake(
                f"{place}.ports[{position}]",
                f"Kubernetes' load balancer would open {port.target} to everybody, like its others",
                "give the port to a service of its own, or a 'load_balancer' if it is public",
            )
    numbers = list(public.values())
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        yield Mistake(
            f"{place}.ports",
            f"Kubernetes' load balancer would have its port {number} twice",
            "give each port a 'load_balancer' of its own",
        )
    health = workload.healthcheck
    if health and health.path and not (workload.ports or health.port):
        yield Mistake(
            f"{place}.healthcheck.path",
            "Kubernetes asks for it on the first port, and there is no port",
            "add the port, or remove the path",
        )
    if health and not health.path and health.test[0] not in {"CMD", "CMD-SHELL"}:
        yield Mistake(
            f"{place}.healthcheck.test",
            f"Kubernetes asks with a command, and '{health.test[0]}' begins none",
            "begin the test with 'CMD' or 'CMD-SHELL', give a path, or remove the healthcheck",
        )
    for path, options in workload.tmpfs.items():
        if not re.fullmatch(r"[1-9]\d*[bkmg]?", tmpfs_size(options), re.IGNORECASE):
            yield Mistake(
                f"{place}.tmpfs.{path}",
                f"Kubernetes has no volume of the size '{tmpfs_size(options)}'",
                "write a number of bytes, such as 'size=64m'",
            )


def _per_node(place: str, workload: Workload) -> Iterator[Mistake]:
    """What a collector has nowhere: on Kubernetes it is a DaemonSet."""
    for key in ("job", "stateful", "autoscale", "gpu"):
        if getattr(workload, key):
            yield Mistake(
                f"{place}.{key}",
                "what runs on every node of a cluster has no such thing",
                "remove it, or 'per_node'",
            )
    if workload.replicas > 1:
        yield Mistake(
            f"{place}.replicas",
            "there are as many as nodes: one on Docker",
            "remove it, or 'per_node'",
        )


def _per_node_there(place: str, workload: Workload) -> Iterator[Mistake]:
    """What a DaemonSet cannot have, besides."""
    for position, volume in enumerate(workload.volumes):
        if not volume.scratch:
            yield Mistake(
                f"{place}.volumes[{position}]",
                "on Kubernetes, the pods on all nodes cannot share a volume",
                "set its 'scratch', or remove it",
            )
    for position, port in enumerate(workload.ports):
        if port.load_balancer:
            yield Mistake(
                f"{place}.ports[{position}].load_balancer",
                "nobody outside reaches what runs on every node",
                "remove it, or 'per_node'",
            )


def workload_doubts(place: str, workload: Workload, target: Target) -> Iterator[str]:
    """What of a workload is less on its target than described, or dangerous there."""
    if target is Target.DOCKER:
        if workload.autoscale:
            yield f"{place}: nothing scales on Docker: there are always {workload.replicas}"
        if workload.docker_socket:
            yield (
                f"{place}: it has the socket of the Docker daemon, and with it everything on this"
                " machine"
            )
        if workload.gpu and workload.gpu.kind:
            yield f"{place}: on Docker, nobody asks whether the GPU is a {workload.gpu.kind}"
        return
    if workload.gpu and workload.gpu.devices:
        yield f"{place}: on {target}, nobody can choose a GPU by its number: gpu.devices"
    if workload.gpu and workload.gpu.sharing is Sharing.SHARED:
        yield (
            f"{place}: on {target}, a GPU belongs to one container: who would share it waits for"
            " another"
        )
    if workload.healthcheck and (workload.job or workload.on_demand):
        yield f"{place}: on {target}, nobody asks for the health of what runs to its end"
    if not public_ports(workload):
        return
    if str(workload.environment.get("DEBUG", "")).lower() in {"true", "1"}:
        yield f"{place}: DEBUG is on, and everybody can reach it"
    if workload.metrics:
        yield (
            f"{place}: everybody who reaches the load balancer can read {workload.metrics.path}: it"
            " forwards connections and knows no paths; tiers:load_balancers.source_ranges says who"
            " may reach it"
        )


def _gpus(workloads: Iterable[Workload]) -> int:
    """How many they have at a time. With an autoscaler, there may be as many as it says."""
    return sum(
        item.gpu.count * (item.autoscale.max if item.autoscale else item.replicas)
        for item in workloads
        if item.gpu
    )


def gpu_pool(cloud: Cloud, workloads: Iterable[Workload]) -> GpuPool | None:
    """The nodes for what computes on GPUs: none where nothing does, or in an existing cluster."""
    needed = _gpus(workloads)
    if not needed or cloud.cluster_id:
        return None
    pool = cloud.gpu or GpuPool()
    if pool.max_nodes is None:
        most = max(pool.min_nodes, math.ceil(needed / pool.gpus))
        pool = pool.model_copy(update={"max_nodes": most})
    return pool


def check_gpu_pool(workloads: Mapping[str, Workload], cloud: Cloud) -> Iterator[Mistake]:
    """Workloads by ``<system>/<name>`` that no node of DigitalOcean's would have the GPUs for."""
    pool = gpu_pool(cloud, workloads.values())
    for key, workload in workloads.items() if pool else ():
        if pool and workload.gpu and workload.gpu.count > pool.gpus:
            yield Mistake(
                "tiers:digitalocean.gpu.size",
                f"{key} wants {workload.gpu.count} GPUs, and a node of the size {pool.size} has"
                f" {pool.gpus}",
                "choose a larger size, such as 'gpu-h100x8-640gb'",
            )


def gpu_doubts(workloads: Iterable[Workload], cloud: Cloud) -> Iterator[str]:
    """Why what computes on GPUs on DigitalOcean may have to wait."""
    workloads = list(workloads)
    needed = _gpus(workloads)
    if needed and cloud.cluster_id:
        yield (
            f"digitalocean: {needed} GPUs are asked for, and nobody adds nodes to the existing"
            " cluster: it must have some with GPUs of NVIDIA's"
        )
    if (pool := gpu_pool(cloud, workloads)) is None:
        return
    if needed > (most := (pool.max_nodes or 1) * pool.gpus):
        yield (
            f"digitalocean: {needed} GPUs are asked for, and there are {most} at most: one waits"
            " until another has done (tiers:digitalocean.gpu.max_nodes)"
        )
    if cloud.region not in _GPU_REGIONS:
        yield (
            f"digitalocean: few regions have nodes with GPUs, {', '.join(_GPU_REGIONS)} among them;"
            f" whether {cloud.region} has {pool.size}, 'doctl compute size list' tells"
        )


def check_scaler(place: str, engine: Engine, scale: Autoscale) -> Iterator[Mistake]:
    """Whether KEDA can measure the queue in a store of this kind."""
    if scale.queue_name is None or scale.queue_length is None:
        return
    store, nobody = Store(engine=engine.name), Consumer("", "")
    if engine.scaler(store, nobody, scale.queue_name, scale.queue_length) is None:
        yield Mistake(
            f"{place}.autoscale.queue_name",
            f"nobody measures the length of a queue in {engine.name}",
            "set 'cpu' instead, or use a queue in redis or rabbitmq",
        )


def is_managed(store: Store, target: Target) -> bool:
    """Whether the cloud runs the store itself."""
    engine = ENGINES.get(store.engine)
    if target is not Target.DIGITALOCEAN or engine is None or engine.service is None:
        return False
    enabled = store.managed.enabled
    return engine.service.default if enabled is None else enabled


def as_placed(store: Store, target: Target) -> Store:
    """The store as it is on its target. One that the cloud runs is `Engine.as_managed`."""
    if target is Target.DOCKER and store.replicas > 1:
        # One host is one failure: more members would only need more of its memory.
        return store.model_copy(update={"replicas": 1})
    return store


def store_doubts(place: str, store: Store, target: Target) -> Iterator[str]:
    """What of a store is less on its target than described, or probably not meant so."""
    if engine := ENGINES.get(store.engine):
        yield from (f"{place}: {doubt}" for doubt in engine.doubts(store))
    if as_placed(store, target).replicas < store.replicas:
        yield (
            f"{place}: on Docker, the replica set has one member instead of {store.replicas}:"
            " nothing takes its place while it is away"
        )


def managed_name(site: str, name: str, store: Store) -> str:
    """What the cloud calls a managed store: its names are shared by the whole account."""
    return store.managed.name or f"{site}-{name}"


def bucket_name(site: str, name: str, store: Store, bucket: str) -> str:
    """What the cloud calls a bucket: its names are shared by everybody in the region."""
    return f"{managed_name(site, name, store)}-{bucket}"


def check_version(place: str, store: Store, engine: Engine, target: Target) -> Iterator[Mistake]:
    """A managed server's version. One that is given must be right wherever the store runs."""
    if engine.service is None or not (store.managed.version or is_managed(store, target)):
        return
    if not engine.service.versions:
        if store.managed.version:
            why = f"there are no versions of what DigitalOcean runs for {engine.name}"
            yield Mistake(f"{place}.managed.version", why, "remove it")
        return
    version = engine.managed_version(store)
    if version not in engine.service.versions:
        told = f"'{version}'" if version else "which is not in its image's tag"
        which = (
            "it"
            if store.managed.version
            else (
                "tiers:managed.<system>/<store>.version (in a component: managed.version), or the"
                " image's tag,"
            )
        )
        yield Mistake(
            f"{place}.managed.version",
            f"DigitalOcean has no {engine.name} of the version {told}",
            f"set {which} to one of {', '.join(sorted(engine.service.versions))}",
        )


def check_managed(place: str, store: Store, engine: Engine) -> Iterator[Mistake]:
    """What of a store cannot be had where the cloud runs it."""
    assert engine.service is not None
    # https://docs.digitalocean.com/products/databases/postgresql/how-to/add-standby-nodes/
    if store.managed.nodes > 1 and store.managed.size.endswith("-1gb"):
        yield Mistake(
            f"{place}.managed.nodes",
            f"standby nodes need 2 GB, and {store.managed.size} has 1",
            "set managed.size to db-s-1vcpu-2gb or larger, or managed.nodes to 1",
        )
    if store.managed.nodes not in engine.service.nodes:
        yield Mistake(
            f"{place}.managed.nodes",
            f"DigitalOcean's {engine.name} does not have {store.managed.nodes}",
            f"set it to {' or '.join(map(str, engine.service.nodes))}",
        )
    for section, position, thing in (
        *(("databases", number, item) for number, item in enumerate(store.databases)),
        *(("buckets", number, item) for number, item in enumerate(store.buckets)),
    ):
        # The described admin becomes the cloud's.
        owner = None if thing.owner == engine.admin_of(store) else thing.owner
        for key, name in (("name", thing.name), ("owner", owner)):
            if name in engine.service.reserved:
                yield Mistake(
                    f"{place}.{section}[{position}].{key}",
                    f"DigitalOcean's servers have a '{name}' of their own",
                    "choose another name",
                )
    yield from (Mistake(place, why, remedy) for why, remedy in engine.check_managed(store))
    remedy = "remove it, or set managed.enabled to false: then it runs in the cluster"
    for key in store.settings:
        if key not in engine.service.settings:
            why = "DigitalOcean decides this of a managed server"
            yield Mistake(f"{place}.settings.{key}", why, remedy)
    for user in store.passwords:
        yield Mistake(
            f"{place}.passwords.{user}",
            "DigitalOcean makes the passwords of a managed server itself",
            remedy,
        )


def check_logins(
    place: str, logins: Mapping[str, RegistryLogin], target: Target
) -> Iterator[Mistake]:
    """Docker pulls with what `docker login` has left."""
    if logins and target is Target.DOCKER:
        yield Mistake(
            place,
            "on Docker, the daemon's user logs in to registries",
            f"remove it, and run: docker login {next(iter(logins))}",
        )


def public_ports(workload: Workload) -> dict[int, int]:
    """The ports that everybody may reach: the container's number → the load balancer's."""
    # `published` is meant for the Docker host, where it is bound to 127.0.0.1.
    return {port.target: port.load_balancer for port in workload.ports if port.load_balancer}


def files_name(name: str) -> str:
    """Called after a workload's files: on Docker who writes them, on Kubernetes a Secret."""
    return f"{name}-files"


def init_name(name: str) -> str:
    """Called after what runs before a workload: a container, on Kubernetes a Secret too."""
    return f"{name}-init"


def opening_names(name: str, workload: Workload) -> list[str]:
    """On Docker, the containers that let everybody write to the volumes that the init fills.

    One for two of them.
    """
    new = [volume for volume in workload.volumes if not volume.external]
    count = math.ceil(len(new) / 2) if workload.init else 0
    return [f"{name}-volumes" + (f"-{number + 1}" if number else "") for number in range(count)]


def capabilities(workload: Workload) -> list[str]:
    """What it keeps, as Kubernetes spells it: without CAP_."""
    return [capability.upper().removeprefix("CAP_") for capability in workload.cap_add]


def tmpfs_size(options: str) -> str:
    """The size among Docker's options. The others are about the owner: here, any user may write."""
    sizes = [option[5:] for option in options.split(",") if option.startswith("size=")]
    return sizes[-1] if sizes else _TMPFS_SIZE
