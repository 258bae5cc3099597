"""Any Kubernetes: one namespace per system, under Pod Security's "restricted" profile."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, cast

import pulumi
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.limits import capabilities, files_name, init_name, public_ports, tmpfs_size
from pulumi_tiers.model.base import seconds, size_in_bytes
from pulumi_tiers.model.image import DOCKER_HUB, RegistryLogin
from pulumi_tiers.model.workload import (
    CONFIGS,
    SECRET_FILES,
    Autoscale,
    Healthcheck,
    ImageOwner,
    Init,
    Metrics,
    Port,
    PullPolicy,
    Resources,
    Volume,
    Workload,
)
from pulumi_tiers.platforms.base import (
    JOB_SECONDS,
    After,
    ConnectionArgs,
    Platform,
    Running,
    SiteRef,
    depends_on,
    digest,
    networks_of,
    ready,
)
from pulumi_tiers.platforms.keda import scale_by_queue
from pulumi_tiers.platforms.labels import (
    CLUSTER_DOMAIN,
    LABEL_DEPENDS_ON,
    LABEL_FILES,
    LABEL_NAMESPACE,
    LABEL_NETWORK,
    LABEL_PART_OF,
    LABEL_SERVICE,
    LABEL_UNVERIFIED,
)


def _pod_security(profile: str) -> dict[str, str]:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    modes = ("enforce", "warn", "audit")
    return {f"pod-security.kubernetes.io/{mode}": profile for mode in modes}


#: On pods: changes with the values of their secrets, which are read at the start only.
_ANNOTATION_SECRETS = "tiers.secrets"
#: Volumes of a pod: what nobody else calls so, because names of volumes are lower-case words.
_CONFIGS, _FILES = "tiers-configs", "tiers-files"
#: What NVIDIA's device plugin calls a GPU. A taint of this name keeps others off such nodes.
_GPU = "nvidia.com/gpu"
#: There is no such day, and the schedule is suspended: only its template is used.
_NEVER = "0 0 31 2 *"
_DAY = 24 * 3600
#: Seconds of grace that fit into the engine's usual patience.
_QUICK = 60
#: Of those that ended well, and of the others: how many are kept with their logs, for a day.
_RUNS = 3
_PULL_SECRET = "registries"  # noqa: S105 - a name
#: What `docker login` calls Docker Hub.
_DOCKER_HUB = "https://index.docker.io/v1/"
#: 169.254.169.254 hands out the cloud's credentials.
EVERYWHERE: kubernetes.networking.v1.IPBlockArgsDict = {
    "cidr": "0.0.0.0/0",
    "except_": ["169.254.0.0/16"],
}
#: What a URL does not repeat.
_DEFAULT_PORTS = {"http": 80, "https": 443}


class KubernetesPlatform(Platform):
    """The cluster is the one of the Kubernetes provider that the components are given."""

    #: Of nodes: the kind of their GPUs, as NVIDIA's feature discovery writes it.
    gpu_label: ClassVar[str] = "nvidia.com/gpu.product"

    def open(
        self,
        owner: Component,
        ref: SiteRef,
        namespace: str,
        logins: Mapping[str, RegistryLogin],
    ) -> SiteRef:
        # All claims go with their namespace.
        protect = ref.get("protect", False)
        name = _namespace(owner, ref, "namespace", namespace, _pod_security("restricted"), protect)
        opened: SiteRef = {**ref, "namespace": name}
        places = {"": name}
        if "collectors" in ref:
            # They see folders of their nodes, which every other profile refuses.
            profile = _pod_security("privileged")
            beside = _namespace(owner, ref, "collectors", ref["collectors"], profile)
            opened["collectors"] = places["collectors-"] = beside
        for prefix, place in places.items():
            _close(owner, opened, prefix, place, [own for own in places.values() if own != place])
        if logins:
            secrets = [
                kubernetes.core.v1.Secret(
                    owner.child(f"{prefix}registries"),
                    metadata={"name": _PULL_SECRET, "namespace": place, "labels": ref["labels"]},
                    type="kubernetes.io/dockerconfigjson",
                    string_data={".dockerconfigjson": _docker_config(logins)},
                    opts=owner.child_options(),
                ).metadata.name
                for prefix, place in places.items()
            ]
            opened["pull_secret"] = pulumi.Output.all(*secrets).apply(lambda made: str(made[0]))
        return opened

    def run(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        after: After,
        *,
        part_of: str = "",
        queue: pulumi.Input[ConnectionArgs] | None = None,
    ) -> Running:
        if workload.per_node:
            site = _across(site)
        # Types are a part of a URN: everything of one workload can have the same logical name.
        child, options = owner.child(name), owner.child_options()
        # What pods read is made before them, or they could start with the values of yesterday.
        read: list[pulumi.Resource] = []
        if workload.secrets:
            read.append(
                kubernetes.core.v1.Secret(
                    child,
                    metadata=metadata_of(site, name, _secret(name, workload)),
                    string_data=workload.secrets,
                    opts=options,
                )
            )
        if workload.configs:
            read.append(
                kubernetes.core.v1.ConfigMap(
                    child,
                    metadata=metadata_of(site, name, name),
                    data=workload.configs,
                    opts=options,
                )
            )
        if workload.secret_files:
            read.append(
                kubernetes.core.v1.Secret(
                    owner.child(files_name(name)),
                    metadata=metadata_of(site, name, files_name(name)),
                    string_data=workload.secret_files,
                    opts=options,
                )
            )
        if workload.init and workload.init.secrets:
            read.append(
                kubernetes.core.v1.Secret(
                    owner.child(init_name(name)),
                    metadata=metadata_of(site, name, init_name(name)),
                    string_data=workload.init.secrets,
                    opts=options,
                )
            )
        if workload.discovers:
            read += _account(owner, site, name)
        if read:
            # Not by what they are called: the engine replaces what has a property of something
            # replaced, and a Deployment would be gone until all before it is done.
            after = [*after, ready(*read)]
        if pull_secret := site.get("pull_secret"):
            after = [*after, pulumi.Output.from_input(pull_secret).apply(lambda _: [])]
        if not workload.stateful:
            for volume in _claimed(workload):
                kubernetes.core.v1.PersistentVolumeClaim(
                    owner.child(volume.name),
                    metadata=metadata_of(site, name, volume.name),
                    spec=_claim(volume),
                    opts=owner.child_options(protect=site.get("protect", False)),
                )
        kubernetes.networking.v1.NetworkPolicy(
            child,
            metadata=metadata_of(site, name, name),
            spec=_network_policy(site, name, workload),
            opts=options,
        )
        if workload.replicas > 1 or workload.autoscale:
            kubernetes.policy.v1.PodDisruptionBudget(
                child,
                metadata=metadata_of(site, name, name),
                spec={
                    "max_unavailable": 1,
                    "selector": {"match_labels": _selector(site, name)},
                },
                opts=options,
            )
        controller = self._controller(owner, site, name, workload, after, part_of)
        if workload.autoscale and workload.autoscale.queue_name:
            assert queue is not None
            scale_by_queue(
                owner,
                site,
                name,
                workload.autoscale,
                queue,
                lambda helper: metadata_of(site, name, helper),
                lambda host: _selector(site, host),
            )
        elif workload.autoscale:
            kubernetes.autoscaling.v2.HorizontalPodAutoscaler(
                child,
                metadata=metadata_of(
                    # Without pods there is nothing to measure: nobody waits for that.
                    site,
                    name,
                    name,
                    {"pulumi.com/skipAwait": "true"},
                ),
                spec=_autoscaler(name, workload.autoscale),
                opts=options,
            )
        if workload.metrics and "service_monitors" in site:
            _service_monitor(owner, site, name, workload, workload.metrics)
        return Running(
            host=name, ready=ready(controller), urls=self._service(owner, site, name, workload)
        )

    def _controller(
        self,
        owner: Component,
        site: SiteRef,
        name: str,
        workload: Workload,
        after: After,
        part_of: str,
    ) -> pulumi.Resource:
        child = owner.child(name)
        options = owner.child_options(
            depends_on=depends_on(after),
            # The number is the autoscaler's, who takes over what there is.
            ignore_changes=["spec.replicas"] if workload.autoscale else [],
            custom_timeouts=_timeouts(workload),
        )
        template = _template(site, name, workload, self.gpu_label)
        annotations = _annotations(workload)
        if part_of:
            annotations[LABEL_PART_OF] = part_of
        if not (workload.job or workload.on_demand):
            # `kubectl scale` owns what it sets: no later `up` could set it again without this.
            annotations["pulumi.com/patchForce"] = "true"
        metadata = metadata_of(site, name, name, annotations)
        if workload.job:
            # No time to live: a job that removes itself would be made again by the next run.
            job: kubernetes.batch.v1.JobSpecArgsDict = {"backoff_limit": 6, "template": template}
            # Kubernetes changes no job. A changed one is a new one, for `kubectl apply` too.
            metadata["name"] = pulumi.Output.concat(name, "-", digest(job))
            return kubernetes.batch.v1.Job(child, metadata=metadata, spec=job, opts=options)
        if workload.on_demand:
            # `tiers run` makes jobs of this template. It belongs to no run, and nothing starts it.
            return kubernetes.batch.v1.CronJob(
                child,
                metadata=metadata,
                spec={
                    "schedule": _NEVER,
                    "suspend": True,
                    "successful_jobs_history_limit": _RUNS,
                    "failed_jobs_history_limit": _RUNS,
                    "job_template": {
                        "metadata": {"labels": _labels(site, name)},
                        "spec": {
                            "backoff_limit": 0,
                            "ttl_seconds_after_finished": _DAY,
                            "template": template,
                        },
                    },
                },
                opts=options,
            )
        selector: kubernetes.meta.v1.LabelSelectorArgsDict = {"match_labels": _selector(site, name)}
        if workload.per_node:
            return kubernetes.apps.v1.DaemonSet(
                child,
                metadata=metadata,
                spec={"selector": selector, "template": template},
                opts=options,
            )
        if workload.stateful:
            return kubernetes.apps.v1.StatefulSet(
                child,
                metadata=metadata,
                spec={
                    "service_name": name,
                    "replicas": workload.replicas,
                    "selector": selector,
                    "template": template,
                    "volume_claim_templates": [
                        {"metadata": {"name": volume.name}, "spec": _claim(volume)}
                        for volume in _claimed(workload)
                    ],
                },
                opts=options,
            )
        rolling: kubernetes.apps.v1.RollingUpdateDeploymentArgsDict = (
            {"max_unavailable": 1, "max_surge": 0}
            if workload.gpu
            else {"max_unavailable": 0, "max_surge": 1}
        )
        spec: kubernetes.apps.v1.DeploymentSpecArgsDict = {
            "selector": selector,
            # The new pod could wait forever for the volume, or the GPU, that the old one holds.
            "strategy": {"type": "Recreate"}
            if _claimed(workload)
            else {"type": "RollingUpdate", "rolling_update": rolling},
            "replicas": workload.autoscale.min if workload.autoscale else workload.replicas,
            "template": template,
        }
        if workload.image_owner is ImageOwner.OTHERS:
            return _shared(owner, site, name, workload.image, metadata, spec, options)
        return kubernetes.apps.v1.Deployment(child, metadata=metadata, spec=spec, opts=options)

    def _service(
        self, owner: Component, site: SiteRef, name: str, workload: Workload
    ) -> list[pulumi.Input[str]]:
        """Makes the Service that gives the workload its host name. Returns the public URLs."""
        if not workload.ports:
            return []
        public = public_ports(workload)
        spec: kubernetes.core.v1.ServiceSpecArgsDict = {
            "selector": _selector(site, name),
            "ports": [
                {
                    "name": f"tcp-{port.target}",
                    "port": public.get(port.target, port.target),
                    "target_port": port.target,
                    "protocol": "TCP",
                }
                for port in workload.ports
            ],
            "type": "LoadBalancer" if public else "ClusterIP",
        }
        if workload.per_node:
            spec["cluster_ip"] = "None"
        if workload.stateful:
            # Clients reach the server itself, and members of a cluster each other. A member must
            # find itself by its name before it can be ready.
            spec["cluster_ip"] = "None"
            spec["publish_not_ready_addresses"] = True
        if public and "source_ranges" in site:
            spec["load_balancer_source_ranges"] = site["source_ranges"]
        if public and workload.load_balancer.local:
            spec["external_traffic_policy"] = "Local"
        annotations = self._service_annotations(site, name, workload) if public else {}
        if not public or not site.get("await_load_balancers", True):
            # Its pods are waited for themselves. Waiting here too costs ten seconds a Service.
            annotations["pulumi.com/skipAwait"] = "true"
        service = kubernetes.core.v1.Service(
            owner.child(name),
            metadata=metadata_of(site, name, name, annotations),
            spec=spec,
            opts=owner.child_options(),
        )
        if workload.per_node:
            _alias(owner, site, name)
        address = service.status.apply(_address) if public else ""
        return [_url(port, address, public[port.target]) for port in workload.ports if public]

    def _service_annotations(
        self, site: SiteRef, name: str, workload: Workload
    ) -> dict[str, pulumi.Input[str]]:
        """What the cloud wants to know of a load balancer."""
        del site, name, workload
        return {}

    def peers(self, owner: Component, site: SiteRef, host: str, ports: Sequence[int]) -> str:
        name = f"{host}-peers"
        kubernetes.core.v1.Service(
            owner.child(name),
            metadata=metadata_of(site, host, name, {"pulumi.com/skipAwait": "true"}),
            spec={
                "selector": _selector(site, host),
                "cluster_ip": "None",
                # By other names than the workload's Service: a ServiceMonitor means that one.
                "ports": [{"name": f"peer-{port}", "port": port} for port in ports],
            },
            opts=owner.child_options(),
        )
        return name


def _shared(
    owner: Component,
    site: SiteRef,
    name: str,
    image: pulumi.Input[str] | None,
    metadata: kubernetes.meta.v1.ObjectMetaArgsDict,
    spec: kubernetes.apps.v1.DeploymentSpecArgsDict,
    options: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """A Deployment whose image is others' as soon as it is there; `spec` names none.

    One resource that ignores its image can't do it: with any other change, the provider takes over
    what a manager called kubectl-... has set, sends the image that it remembers, and removes
    ``restartedAt``. So one makes the Deployment, with its image, and never changes it again. The
    other one has all the rest: of a Patch, the provider takes nothing over.
    """
    made = kubernetes.apps.v1.Deployment(
        owner.child(name),
        metadata=metadata_of(site, name, name, {"pulumi.com/skipAwait": "true"}),
        spec={
            # Nothing starts before the rest is there. The provider can't set `paused` to false.
            "replicas": 0,
            "selector": spec["selector"],
            # It has no numbers, which would stay where the rest needs none.
            "strategy": {"type": "Recreate"},
            "template": {
                "metadata": {"labels": _selector(site, name)},
                "spec": {"containers": [{"name": name, "image": image}]},
            },
        },
        opts=pulumi.ResourceOptions.merge(
            options,
            pulumi.ResourceOptions(
                ignore_changes=["metadata.annotations", "metadata.labels", "spec"]
            ),
        ),
    )
    return kubernetes.apps.v1.DeploymentPatch(
        owner.child(name),
        metadata=cast("kubernetes.meta.v1.ObjectMetaPatchArgsDict", metadata),
        spec=cast("kubernetes.apps.v1.DeploymentSpecPatchArgsDict", spec),
        opts=pulumi.ResourceOptions.merge(
            options,
            # On its own, its deletion would first take all that it has set from what still runs.
            pulumi.ResourceOptions(depends_on=[made], deleted_with=made),
        ),
    )


# --- what everything carries ----------------------------------------------------------------------


def _namespace(
    owner: Component,
    ref: SiteRef,
    child: str,
    name: pulumi.Input[str],
    profile: Mapping[str, str],
    protect: bool = False,
) -> pulumi.Output[str]:
    made = kubernetes.core.v1.Namespace(
        owner.child(child),
        metadata={"name": name, "labels": {**ref["labels"], **profile}},
        opts=owner.child_options(protect=protect),
    )
    return made.metadata.name.apply(lambda known: str(known))


def _close(
    owner: Component,
    ref: SiteRef,
    prefix: str,
    namespace: pulumi.Output[str],
    others: Sequence[pulumi.Output[str]],
) -> None:
    """Nothing goes into the namespace; nothing out but to DNS and to the system's namespaces."""
    kubernetes.networking.v1.NetworkPolicy(
        owner.child(f"{prefix}default-deny"),
        metadata={"name": "default-deny", "namespace": namespace, "labels": ref["labels"]},
        spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
        opts=owner.child_options(),
    )
    kubernetes.networking.v1.NetworkPolicy(
        owner.child(f"{prefix}allow-internal"),
        metadata={"name": "allow-internal", "namespace": namespace, "labels": ref["labels"]},
        spec={
            "pod_selector": {},
            "policy_types": ["Egress"],
            "egress": [
                # Who may be spoken to is the other side's decision: see `_network_policy`.
                {
                    "to": [
                        {"pod_selector": {}},
                        *({"namespace_selector": _called(other)} for other in others),
                    ]
                },
                {
                    "to": [
                        {"namespace_selector": _called("kube-system")},
                        # The address of a DNS cache on each node, where there is one.
                        {"ip_block": {"cidr": "169.254.20.10/32"}},
                    ],
                    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
                },
            ],
        },
        opts=owner.child_options(),
    )


def _called(namespace: pulumi.Input[str]) -> kubernetes.meta.v1.LabelSelectorArgsDict:
    """Selects the namespace of this name."""
    return {"match_labels": {LABEL_NAMESPACE: namespace}}


def _across(site: SiteRef) -> SiteRef:
    """The site as it is seen from its other namespace."""
    assert "namespace" in site, "Place has looked for it"
    assert "collectors" in site, "AppTier has looked for it"
    return {**site, "namespace": site["collectors"], "collectors": site["namespace"]}


def _alias(owner: Component, site: SiteRef, name: str) -> None:
    """The system, too, finds a collector by its name alone. A DNS name for all its pods."""
    here, there = site.get("namespace", ""), _across(site)
    kubernetes.core.v1.Service(
        owner.child(f"{name}-alias"),
        metadata=metadata_of(there, name, name, {"pulumi.com/skipAwait": "true"}),
        spec={
            "type": "ExternalName",
            "external_name": pulumi.Output.concat(name, ".", here, CLUSTER_DOMAIN),
        },
        opts=owner.child_options(),
    )


def _account(owner: Component, site: SiteRef, name: str) -> list[pulumi.Resource]:
    """Who may see the pods and services of its namespace, and nothing else."""
    made: list[pulumi.Resource] = [
        kubernetes.core.v1.ServiceAccount(
            owner.child(name),
            metadata=metadata_of(site, name, name),
            # Its pods say that they want the token.
            automount_service_account_token=False,
            opts=owner.child_options(),
        )
    ]
    metadata = metadata_of(site, name, name)
    return [
        *made,
        kubernetes.rbac.v1.Role(
            owner.child(name),
            metadata=metadata,
            rules=[
                {"api_groups": [group], "resources": resources, "verbs": ["get", "list", "watch"]}
                for group, resources in _DISCOVERED.items()
            ],
            opts=owner.child_options(),
        ),
        kubernetes.rbac.v1.RoleBinding(
            owner.child(name),
            metadata=metadata,
            role_ref={"api_group": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            subjects=[{"kind": "ServiceAccount", "name": name}],
            opts=owner.child_options(),
        ),
    ]


#: What `discovers` may see, by API group.
_DISCOVERED = {"": ["endpoints", "pods", "services"], "discovery.k8s.io": ["endpointslices"]}


def _service_monitor(
    owner: Component, site: SiteRef, name: str, workload: Workload, metrics: Metrics
) -> None:
    """Tells the Prometheus of an operator what the annotations tell others."""
    endpoint = {"port": f"tcp-{_metrics_port(workload, metrics)}", "path": metrics.path}
    if metrics.interval:
        endpoint["interval"] = metrics.interval
    kubernetes.apiextensions.CustomResource(
        owner.child(name),
        api_version="monitoring.coreos.com/v1",
        kind="ServiceMonitor",
        metadata=metadata_of(site, name, name),
        spec={"selector": {"matchLabels": _labels(site, name)}, "endpoints": [endpoint]},
        opts=owner.child_options(),
    )


def _metrics_port(workload: Workload, metrics: Metrics) -> int:
    return metrics.port or workload.ports[0].target


def _selector(site: SiteRef, name: pulumi.Input[str]) -> dict[str, pulumi.Input[str]]:
    """Which pods are this workload's. It cannot change later, so it holds nothing else."""
    selector: dict[str, pulumi.Input[str]] = {"app": name}
    if "environment" in site:
        selector["environment"] = site["environment"]
    return selector


def _labels(site: SiteRef, name: str) -> dict[str, pulumi.Input[str]]:
    return {**site["labels"], LABEL_SERVICE: name, **_selector(site, name)}


def _secret(name: str, workload: Workload) -> str:
    """The Secret with the workload's variables."""
    return workload.secret_name or name


def network_label(network: str) -> str:
    """On the pods that are in it."""
    return f"{LABEL_NETWORK}.{network}"


def metadata_of(
    site: SiteRef,
    workload: str,
    name: pulumi.Input[str],
    annotations: Mapping[str, pulumi.Input[str]] | None = None,
) -> kubernetes.meta.v1.ObjectMetaArgsDict:
    """Of an object that belongs to the workload."""
    metadata: kubernetes.meta.v1.ObjectMetaArgsDict = {
        "name": name,
        "namespace": site["namespace"],
        "labels": _labels(site, workload),
    }
    if annotations:
        metadata["annotations"] = annotations
    return metadata


def _docker_config(logins: Mapping[str, RegistryLogin]) -> pulumi.Output[str]:
    """The file that `docker login` writes. Kubelets need no field ``auth``."""
    auths = {
        _DOCKER_HUB if registry == DOCKER_HUB else registry: {
            "username": login.username,
            "password": login.password,
        }
        for registry, login in sorted(logins.items())
    }
    return pulumi.Output.secret(pulumi.Output.json_dumps({"auths": auths}))


def _annotations(workload: Workload) -> dict[str, str]:
    annotations: dict[str, str] = {}
    if workload.depends_on:
        annotations[LABEL_DEPENDS_ON] = ",".join(
            f"{other}:{condition}" for other, condition in sorted(workload.depends_on.items())
        )
    if workload.unverified:
        annotations[LABEL_UNVERIFIED] = "true"
    return annotations


# --- network --------------------------------------------------------------------------------------


def _network_policy(
    site: SiteRef, name: str, workload: Workload
) -> kubernetes.networking.v1.NetworkPolicySpecArgsDict:
    """What is allowed beyond the namespace's default: DNS, and speaking to each other.

    Ports are open to the namespace's pods: to all of them, or to those in a network of the
    workload's. Who uses which is not known here (a variable with a host name is enough). Behind a
    load balancer, clients can have any address. Services may call the APIs of others, so they reach
    every address but the node's own services. Stores call nobody, nor does what is in internal
    networks only.
    """
    networks = networks_of(site, workload)
    ingress: kubernetes.networking.v1.NetworkPolicyIngressRuleArgsDict = {
        "ports": [{"port": port.target, "protocol": "TCP"} for port in workload.ports]
    }
    rules = [ingress]
    members: list[kubernetes.networking.v1.NetworkPolicyPeerArgsDict] = [
        {"pod_selector": {"match_labels": {network_label(network): "true"}}} for network in networks
    ] or [{"pod_selector": {}}]
    health = workload.healthcheck
    if health and health.port and health.port not in {port.target for port in workload.ports}:
        # Beside what it serves: an edge tells its numbers there, and its exporter alone asks.
        rules.append(
            {
                "from_": [{"pod_selector": {"match_labels": _selector(site, f"{name}-exporter")}}],
                "ports": [{"port": health.port, "protocol": "TCP"}],
            }
        )
    if not public_ports(workload):
        ingress["from_"] = members
        if "collectors" in site:
            beside = _called(site["collectors"])
            ingress["from_"] = [
                *members,
                *({**member, "namespace_selector": beside} for member in members),
            ]
        if workload.metrics and "service_monitors" in site:
            port = _metrics_port(workload, workload.metrics)
            rules.append(
                {
                    "from_": [{"namespace_selector": _called(site["service_monitors"])}],
                    "ports": [{"port": port, "protocol": "TCP"}],
                }
            )
    policy: kubernetes.networking.v1.NetworkPolicySpecArgsDict = {
        "pod_selector": {"match_labels": _selector(site, name)},
        "policy_types": ["Ingress", "Egress"],
    }
    if workload.ports:  # a rule without ports would open all of them
        policy["ingress"] = rules
    internal = bool(networks) and all(item.get("internal") for item in networks.values())
    if not (workload.stateful or internal):
        policy["egress"] = [{"to": [{"ip_block": EVERYWHERE}]}]
    elif workload.discovers:
        # The API server's address is the cluster's choice.
        ports = [{"port": port, "protocol": "TCP"} for port in (443, 6443)]
        policy["egress"] = [{"to": [{"ip_block": EVERYWHERE}], "ports": ports}]
    return policy


def _address(status: kubernetes.core.v1.outputs.ServiceStatus | None) -> str:
    """What the load balancer is reached by: some clouds give an address, some a name."""
    balancer = status.load_balancer if status else None
    for ingress in (balancer.ingress if balancer else None) or []:
        return ingress.hostname or ingress.ip or "<pending>"
    return "<pending>"


def _url(port: Port, address: pulumi.Input[str], number: int) -> pulumi.Output[str]:
    suffix = "" if _DEFAULT_PORTS.get(port.scheme) == number else f":{number}"
    return pulumi.Output.concat(port.scheme, "://", address, suffix)


# --- pods -----------------------------------------------------------------------------------------


def _template(
    site: SiteRef, name: str, workload: Workload, gpu_label: str
) -> kubernetes.core.v1.PodTemplateSpecArgsDict:
    user, _, group = workload.user.partition(":")
    pod: kubernetes.core.v1.PodSpecArgsDict = {
        "containers": [_container(name, workload)],
        # Others don't speak to the API server.
        "automount_service_account_token": workload.discovers,
        # A Service called postgres would set POSTGRES_PORT to tcp://… in every container.
        "enable_service_links": False,
        "security_context": {
            "run_as_non_root": int(user) != 0,
            "run_as_user": int(user),
            "run_as_group": int(group),
            # Volumes belong to this group; big ones are not walked through at every start.
            "fs_group": int(group),
            "fs_group_change_policy": "OnRootMismatch",
            "seccomp_profile": {"type": "RuntimeDefault"},
        },
        "termination_grace_period_seconds": math.ceil(seconds(workload.stop_grace_period)),
    }
    if workload.init:
        pod["init_containers"] = [_init(name, workload, workload.init)]
    if workload.job or workload.on_demand:
        pod["restart_policy"] = "Never"
    if workload.discovers:
        pod["service_account_name"] = name
    if workload.gpu:
        pod["tolerations"] = [{"key": _GPU, "operator": "Exists", "effect": "NoSchedule"}]
        if workload.gpu.kind:
            pod["node_selector"] = {gpu_label: workload.gpu.kind}
    if workload.per_node:
        # Nodes with GPUs are nodes, too.
        pod["tolerations"] = [{"operator": "Exists", "effect": "NoSchedule"}]
        # So that they find the system's services by their names alone.
        domain = pulumi.Output.concat(site["collectors"], CLUSTER_DOMAIN)
        pod["dns_config"] = {"searches": [domain]}
    # In other languages, a Site without logins hands an empty text on.
    if site.get("pull_secret"):
        pod["image_pull_secrets"] = [{"name": _PULL_SECRET}]
    volumes: list[kubernetes.core.v1.VolumeArgsDict] = [
        # A container that restarts within its pod finds what it left there; on Docker it doesn't.
        {
            "name": f"tmpfs-{number}",
            "empty_dir": {"medium": "Memory", "size_limit": _quantity(tmpfs_size(options))},
        }
        for number, (_, options) in enumerate(sorted(workload.tmpfs.items()))
    ]
    if not workload.stateful:  # a StatefulSet makes its claims by itself
        volumes += [
            {"name": volume.name, "persistent_volume_claim": {"claim_name": volume.name}}
            for volume in _claimed(workload)
        ]
    volumes += [
        {"name": volume.name, "empty_dir": {"size_limit": volume.size}}
        for volume in workload.volumes
        if volume.scratch
    ]
    volumes += [
        {"name": f"host-{number}", "host_path": {"path": folder}}
        for number, (_, folder) in enumerate(sorted(workload.binds.items()))
    ]
    if workload.init:
        volumes += [
            {
                "name": f"init-tmpfs-{number}",
                "empty_dir": {"medium": "Memory", "size_limit": _quantity(tmpfs_size(options))},
            }
            for number, (_, options) in enumerate(sorted(workload.init.tmpfs.items()))
        ]
    if workload.configs:
        volumes.append({"name": _CONFIGS, "config_map": {"name": name}})
    if workload.secret_files:
        # For the user of the container, by its group.
        files: kubernetes.core.v1.SecretVolumeSourceArgsDict = {
            "secret_name": files_name(name),
            "default_mode": 0o440,
        }
        volumes.append({"name": _FILES, "secret": files})
    if volumes:
        pod["volumes"] = volumes
    if workload.replicas > 1 or workload.autoscale:
        pod["topology_spread_constraints"] = [
            {
                "max_skew": 1,
                "topology_key": "kubernetes.io/hostname",
                # Two on one node are better than one that waits for a second node.
                "when_unsatisfiable": "ScheduleAnyway",
                "label_selector": {"match_labels": _selector(site, name)},
            }
        ]
    annotations: dict[str, pulumi.Input[str]] = {}
    if workload.secrets:
        annotations[_ANNOTATION_SECRETS] = digest(workload.secrets)
    if workload.files and not workload.reloads:
        annotations[LABEL_FILES] = digest(workload.files)
    if workload.metrics:
        # EN-07: each pod has its own; a load balancer would show those of any.
        annotations |= {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(_metrics_port(workload, workload.metrics)),
            "prometheus.io/path": workload.metrics.path,
        }
        if workload.metrics.interval:
            annotations["prometheus.io/interval"] = workload.metrics.interval
    joined = {network_label(network): "true" for network in networks_of(site, workload)}
    metadata: kubernetes.meta.v1.ObjectMetaArgsDict = {"labels": {**_labels(site, name), **joined}}
    if annotations:
        metadata["annotations"] = annotations
    return {"metadata": metadata, "spec": pod}


def _container(name: str, workload: Workload) -> kubernetes.core.v1.ContainerArgsDict:
    always = workload.pull_policy is PullPolicy.ALWAYS
    mounts = {volume.target: volume.name for volume in workload.volumes}
    mounts |= {path: f"tmpfs-{number}" for number, path in enumerate(sorted(workload.tmpfs))}
    mounts |= {path: f"host-{number}" for number, path in enumerate(sorted(workload.binds))}
    read_only = {volume.target for volume in workload.volumes if volume.read_only}
    read_only |= set(workload.binds)
    if workload.configs:
        mounts[CONFIGS] = _CONFIGS
    if workload.secret_files:
        mounts[SECRET_FILES] = _FILES
    read_only |= {CONFIGS, SECRET_FILES}
    container: kubernetes.core.v1.ContainerArgsDict = {
        "name": name,
        "image_pull_policy": "Always" if always else "IfNotPresent",
        "env": _environment(_secret(name, workload), workload.environment, workload.secrets),
        "ports": [{"container_port": port.target} for port in workload.ports],
        "volume_mounts": _mounts(mounts, read_only, workload.binds),
        "resources": _resources(workload.resources, workload.gpu.count if workload.gpu else 0),
        "security_context": _hardening(workload),
    }
    if workload.image_owner is ImageOwner.PROGRAM:
        container["image"] = workload.image
    if workload.entrypoint:
        container["command"] = [_literal(part) for part in workload.entrypoint]
    if workload.command:
        container["args"] = [_literal(part) for part in workload.command]
    if workload.healthcheck and not (workload.job or workload.on_demand):
        health = workload.healthcheck
        probe = _probe(health, workload.ports)
        patience = math.ceil(seconds(health.start_period) / _whole_seconds(health.interval))
        # Docker counts the same failures at the start and later. Here, the start has them all, a
        # restart needs them all, and three in a row are enough to get no more requests.
        container["startup_probe"] = {**probe, "failure_threshold": patience + health.retries}
        container["readiness_probe"] = {**probe, "failure_threshold": min(3, health.retries)}
        container["liveness_probe"] = {**probe, "failure_threshold": health.retries}
    return container


def _init(name: str, workload: Workload, init: Init) -> kubernetes.core.v1.ContainerArgsDict:
    """What runs before the container: it writes into the volumes that the container only reads."""
    mounts = {volume.target: volume.name for volume in workload.volumes}
    mounts |= {path: f"init-tmpfs-{number}" for number, path in enumerate(sorted(init.tmpfs))}
    container: kubernetes.core.v1.ContainerArgsDict = {
        "name": init_name(name),
        "image": init.image,
        "image_pull_policy": "IfNotPresent",
        "env": _environment(init_name(name), init.environment, init.secrets),
        "volume_mounts": _mounts(mounts, set()),
        "resources": _resources(workload.resources),
        "security_context": _hardening(workload),
    }
    if init.entrypoint:
        container["command"] = [_literal(part) for part in init.entrypoint]
    if init.command:
        container["args"] = [_literal(part) for part in init.command]
    return container


def _environment(
    secret: str,
    environment: Mapping[str, pulumi.Input[str]],
    secrets: Mapping[str, pulumi.Input[str]],
) -> list[kubernetes.core.v1.EnvVarArgsDict]:
    return [
        {"name": variable, "value_from": {"secret_key_ref": {"name": secret, "key": variable}}}
        if variable in secrets
        else {"name": variable, "value": _literal(environment[variable])}
        for variable in sorted({**environment, **secrets})
    ]


def _mounts(
    mounts: Mapping[str, str], read_only: Collection[str], host: Collection[str] = ()
) -> list[kubernetes.core.v1.VolumeMountArgsDict]:
    """By path: a folder comes before what is mounted in it. `host`: those of the node."""
    made: list[kubernetes.core.v1.VolumeMountArgsDict] = []
    for path in sorted(mounts):
        mount: kubernetes.core.v1.VolumeMountArgsDict = {"name": mounts[path], "mount_path": path}
        if path in read_only:
            mount["read_only"] = True
        if path in host:
            # What the node mounts later is seen, too.
            mount["mount_propagation"] = "HostToContainer"
        made.append(mount)
    return made


def _hardening(workload: Workload) -> kubernetes.core.v1.SecurityContextArgsDict:
    kept: kubernetes.core.v1.CapabilitiesArgsDict = {"drop": ["ALL"]}
    if workload.cap_add:
        kept["add"] = capabilities(workload)
    return {
        "allow_privilege_escalation": False,
        "capabilities": kept,
        "read_only_root_filesystem": workload.read_only,
    }


def _literal(text: pulumi.Input[str]) -> pulumi.Input[str]:
    """The text written so that it means itself: Kubernetes would expand $(NAME) and halve $$."""
    if isinstance(text, str):
        return text.replace("$", "$$")
    return pulumi.Output.from_input(text).apply(lambda known: known.replace("$", "$$"))


def _probe(health: Healthcheck, ports: list[Port]) -> kubernetes.core.v1.ProbeArgsDict:
    probe: kubernetes.core.v1.ProbeArgsDict = {
        "period_seconds": _whole_seconds(health.interval),
        "timeout_seconds": _whole_seconds(health.timeout),
    }
    if health.path:
        probe["http_get"] = {"path": health.path, "port": health.port or ports[0].target}
    else:
        shell = ["/bin/sh", "-c"] if health.test[0] == "CMD-SHELL" else []
        probe["exec_"] = {"command": [*shell, *map(_literal, health.test[1:])]}
    return probe


def _whole_seconds(duration: str) -> int:
    """Probes know neither parts of a second nor zero."""
    return max(1, math.ceil(seconds(duration)))


def _resources(limits: Resources, gpus: int = 0) -> kubernetes.core.v1.ResourceRequirementsArgsDict:
    memory = _quantity(limits.memory)
    # Who has a limit of them requests as many.
    own = {_GPU: str(gpus)} if gpus else {}
    return {
        "limits": {"cpu": _cpus(limits.cpus), "memory": memory, **own},
        "requests": {
            # CPU can be taken back from a container, memory cannot.
            "cpu": _cpus(limits.reserved_cpus or limits.cpus / 4),
            "memory": _quantity(limits.reserved_memory or limits.memory),
        },
    }


def _cpus(cpus: float) -> str:
    return f"{max(1, round(cpus * 1000))}m"


def _quantity(size: str) -> str:
    """A size in Compose's spelling as Kubernetes writes it."""
    count = int(size) if size.isdecimal() else size_in_bytes(size)
    return str(count) if count % 1024**2 else f"{count // 1024**2}Mi"


def _timeouts(workload: Workload) -> pulumi.CustomTimeouts:
    """How long the engine waits."""
    # The documented "rollout status" waits as long ("PIPELINE CI/CD" of Encontros Tech). For a GPU,
    # a node may have to be made first.
    start = 30 * 60 if workload.gpu else 5 * 60
    grace = math.ceil(seconds(workload.stop_grace_period))
    # What goes may finish its work, and some wait for that before the next one begins.
    in_turn = workload.stateful or workload.per_node or workload.gpu or _claimed(workload)
    update = start + grace if in_turn and grace > _QUICK else start
    return pulumi.CustomTimeouts(
        create=f"{JOB_SECONDS if workload.job else start}s",
        update=f"{update}s",
        # The engine's own are 10 minutes.
        delete=f"{10 * 60 + grace}s" if grace > _QUICK else None,
    )


def _claimed(workload: Workload) -> list[Volume]:
    """The volumes whose content outlives a pod."""
    return [volume for volume in workload.volumes if not volume.scratch]


def _autoscaler(
    name: str, autoscale: Autoscale
) -> kubernetes.autoscaling.v2.HorizontalPodAutoscalerSpecArgsDict:
    return {
        "scale_target_ref": {"api_version": "apps/v1", "kind": "Deployment", "name": name},
        "min_replicas": autoscale.min,
        "max_replicas": autoscale.max,
        "metrics": [
            {
                "type": "Resource",
                "resource": {
                    "name": "cpu",
                    "target": {"type": "Utilization", "average_utilization": autoscale.percent},
                },
            }
        ],
    }


def _claim(volume: Volume) -> kubernetes.core.v1.PersistentVolumeClaimSpecArgsDict:
    return {
        "access_modes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": volume.size}},
    }
